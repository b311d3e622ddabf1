"""Note what a stage of make depends on; an unchanged note keeps its time.

In: the note's path and settings, each as 'NAME = value'. Out: the note, with the settings and the state of every file
or folder that a value, or a word of flags, names. A file counts by its content; a folder by the names, sizes, and times
of its files, because to read a corpus takes a minute, and to list 40,000 files a fraction of a second; DOCUMENTS by
the columns of the metadata that all stages use. A new note is as old as the files it names; settings alone, so old that
no product is older.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
import time
from pathlib import Path

LONG_AGO = 946684800 * 10**9  # ns: 2000-01-01


def named_in(setting: str, value: str) -> list[str]:
    """Return what of a setting's value may be a path: of flags each word, or the part of it after =; else all of it."""
    if "_FLAGS" not in setting:
        return [value]
    try:
        words = shlex.split(value)
    except ValueError:
        sys.exit(
            f"{setting} = {value}: a quotation mark is not closed; close it, and write \\# for a # in a settings file."
        )
    parts = [os.path.expanduser(part) for word in words for part in {word, word.partition("=")[2]}]
    return [part for part in parts if "/" in part or os.path.isfile(part)]  # --prompt-set demo names no folder


def files_below(folder: str) -> list[str]:
    """Return name, size, and time (ns) of each file in a folder and its subfolders, sorted; hidden ones don't count.

    Size and time of a link are those of the file that it leads to.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                found += files_below(entry.path)
            elif entry.is_file():
                state = entry.stat()
                found.append(f"{entry.path} {state.st_size} {state.st_mtime_ns}")
    return sorted(found)


def documents_in(path: str) -> str:
    """Return the documents of the metadata as text: paperId, year, and file name of each."""
    import corpus  # takes a tenth of a second, which only this setting must

    try:
        return repr(corpus.read_metadata(path)[0])
    except corpus.InputError as error:
        sys.exit(str(error))


def digest_of(path: str) -> str:
    """Return a SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def state_of(setting: str, path: str) -> tuple[str, int] | None:
    """Return the state of what a path leads to, as a line, and the time (ns) of its newest file; None if neither."""
    if setting == "DOCUMENTS":
        return f"documents {hashlib.sha256(documents_in(path).encode()).hexdigest()}", os.stat(path).st_mtime_ns
    if os.path.isfile(path):
        return f"{path} {digest_of(path)}", os.stat(path).st_mtime_ns
    if os.path.isdir(path):
        files = files_below(path)
        newest = max((int(file.rpartition(" ")[2]) for file in files), default=0)
        return f"{path} {len(files)} files {hashlib.sha256(repr(files).encode()).hexdigest()}", newest
    return None


def write_if_other(note: Path, text: str, age: int) -> None:
    """Write a note unless it says this already; if it is new, with the given time (ns), but not one in the future."""
    before = note.read_text(encoding="utf-8") if note.exists() else None
    if before == text:
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    beside = note.with_name(f".{note.name}.{os.getpid()}.partial")
    beside.write_text(text, encoding="utf-8")
    if before is None:
        os.utime(beside, ns=(min(age, time.time_ns()),) * 2)
    os.replace(beside, note)


def main(note: str, *settings: str) -> None:
    lines, newest = [], LONG_AGO
    for line in settings:
        setting, _, value = line.partition(" = ")
        lines.append(line)
        for found in filter(None, (state_of(setting, path) for path in named_in(setting, value))):
            lines.append(found[0])
            newest = max(newest, found[1])
    write_if_other(Path(note), "\n".join(lines) + "\n", newest)


if __name__ == "__main__":
    main(*sys.argv[1:])
