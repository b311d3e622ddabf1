"""How a script behaves: errors in one sentence, the log, common flags, atomic writes, and the record of a run."""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import glob
import hashlib
import json
import logging
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from importlib import metadata as installed
from pathlib import Path

SHOWN = 5  # names in a warning before "and n more"
DAY = 86400  # seconds
ASIDE = ".replaced"  # end of the name of a folder whose place another is taking
RUNS = re.compile(r'[\s"]*[=+\-@＝＋－＠]')  # how a formula begins, in East Asian spreadsheets also in wide characters
PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")

log = logging.getLogger("tunedembeddings")


# ---------------------------------------------------------------- errors, log, settings


class InputError(Exception):
    """Bad input. The message is one sentence that names the file, line, or value and says what to do."""


def command(main):
    """Decorate a script's main(argv): bad input ends with one sentence and exit status 2, without a traceback."""

    @functools.wraps(main)
    def run(argv: list[str] | None = None) -> int:
        # Only our own logger at INFO: httpx would log one line per paraphrase.
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logging.basicConfig(handlers=[shown])
        log.setLevel(logging.INFO if is_main_process() else logging.ERROR)
        script = Path(sys.modules[main.__module__].__file__ or main.__module__).name
        try:
            check_words(sys.argv[1:] if argv is None else argv)
            return main(argv) or 0
        except InputError as error:
            if is_main_process():
                print(printable(f"{script}: {error}"), file=sys.stderr)
            return 2
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            print(printable(f"{script}: {sentence_of(error)}"), file=sys.stderr)
            return 2
        except KeyboardInterrupt as interrupt:
            print(f"{script}: interrupted; run the same command again to continue.", file=sys.stderr)
            return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)

    return run


REMEDIES = {
    errno.ENOSPC: "make room there and run the same command again",
    errno.EDQUOT: "make room there or ask for a larger quota, then run the same command again",
    errno.EFBIG: "choose a disk that takes larger files, or raise ulimit -f",
    errno.EROFS: "choose another place for it",
}


def printable(text: str) -> str:
    """Return a message in which characters that would steer the terminal, or not show, are written as escapes.

    A carriage return would have the end of a line written over its beginning; a no-break space would look like a space.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Formatter(logging.Formatter):
    """Makes the message of a log line printable, but not a traceback below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def check_words(words: list[str]) -> None:
    """Refuse an argument that is not valid UTF-8, as names unpacked from old archives are: no record could hold it."""
    for word in words:
        try:
            str(word).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"{word} is not valid UTF-8; rename it, or make a link to it that has another name."
            ) from None


def sentence_of(error: OSError) -> str:
    """Return a system error as one sentence: which file, what is wrong, what to do."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {REMEDIES.get(error.errno, 'check the path, its permissions, and the disk')}."


def name_file(error: OSError, path: str | Path) -> None:
    """Add to an error in writing the file that is being written; the system names none.

    numpy says no more than "8 requested and 0 written"; only a full disk can be the reason.
    """
    if error.errno is None and str(error).endswith(" written"):
        error.errno = errno.ENOSPC
    if error.errno in REMEDIES:
        error.filename, error.strerror = str(path), os.strerror(error.errno)


@contextlib.contextmanager
def naming_full_disk(folder: str | Path):
    """Turn what safetensors and PyTorch say of a disk that takes no more into a system error that names the folder.

    They raise errors of their own: "I/O error: … (os error 28)" and "[enforce fail …] unexpected pos 576 vs 534".
    """
    try:
        yield
    except OSError as error:
        name_file(error, error.filename or folder)
        raise
    except Exception as error:
        told = re.search(r"\(os error (\d+)\)|unexpected pos \d+", str(error))
        number = int(told[1] or errno.ENOSPC) if told else 0
        if number not in REMEDIES:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error


def leave_terminal(number: int) -> None:
    """After SIGHUP, send what is still said to nowhere: the terminal is gone, and writing there would fail."""
    if number != signal.SIGHUP:
        return
    with open(os.devnull, "r+b", buffering=0) as nowhere:
        for stream in (0, 1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere.fileno(), stream)


def is_main_process() -> bool:
    """Tell whether this is the only process or, under torchrun, the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are printable, whatever an argument contains."""

    def error(self, message: str):
        super().error(printable(message))


def parser(doc: str, example: str) -> argparse.ArgumentParser:
    """Return an ArgumentParser whose --help shows the script's docstring and ends with a command to paste."""
    return Parser(
        description=doc,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_corpus_arguments(arguments: argparse.ArgumentParser) -> None:
    """Add the flags shared by all scripts that read the corpus: -t, -r, -s, -e, and --encoding-errors."""
    group = arguments.add_argument_group("corpus")
    add = group.add_argument
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-r", "--rootfolder", required=True, metavar="FOLDER", help="folder of chunk files, <paperId>.txt")
    add("-s", "--startyear", type=int, metavar="YEAR", help="first year, inclusive (default all)")
    add("-e", "--endyear", type=int, metavar="YEAR", help="last year, exclusive (default all)")
    add_encoding_errors(group)


def add_encoding_errors(arguments) -> None:
    """Add --encoding-errors, which every script that reads chunk files has: they must all read the same texts."""
    arguments.add_argument(
        "--encoding-errors",
        choices=("strict", "replace"),
        default="strict",
        help="invalid UTF-8 in a chunk file: stop (strict, the default) or replace it with U+FFFD",
    )


def add_trust_remote_code(arguments) -> None:
    """Add --trust-remote-code, which every script that loads a model has."""
    own = "run the code that the model brings; it can do whatever you can (default: refuse such models)"
    arguments.add_argument("--trust-remote-code", action="store_true", help=own)


def whole_number(text: str, least: int = 0) -> int:
    """Return the whole number of at least 0 that an argument gives (a type for argparse)."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def positive_int(text: str) -> int:
    """Return the whole number of at least 1 that an argument gives (a type for argparse)."""
    return whole_number(text, 1)


def named_paths(items: list[str]) -> dict[str, list[str]]:
    """Return the paths of each NAME, in the order given. InputError where an item is no NAME=FOLDER."""
    paths = {}
    for item in items:
        name, equals, path = item.partition("=")
        if not equals or not name:
            raise InputError(f"{item!r}: write NAME=FOLDER, e.g. base=embeddings/base.")
        if path in paths.setdefault(name, []):
            raise InputError(f"{item} is given twice; give each run its own folder.")
        paths[name].append(path)
    return paths


def fraction(text: str) -> float:
    """Return the number from 0 to 1 that an argument gives (a type for argparse)."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def log_settings(args: argparse.Namespace) -> None:
    """Log every setting, including defaults."""
    log.info("settings: %s", "  ".join(f"{name}={value}" for name, value in vars(args).items()))


def shortened(text: str, most: int = 24) -> str:
    """Return enough of a cell to find it. In a wrong file it may be a passage under a restricted license."""
    return text if len(text) <= most else text[:most] + "…"


def first_few(names: list[str]) -> str:
    """Return the first names of a list and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


# ---------------------------------------------------------------- reading and writing

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular_file(path: str | Path) -> Path:
    """Return the path once it is sure to lead to a regular file; links are followed.

    Every input is checked by this function before it is opened. To open a pipe that nobody writes to would take
    forever, and what it gave could not be read a second time.

    Raises:
        InputError: a folder, pipe, socket, or device. FileNotFoundError: nothing is there.
    """
    path = Path(path)
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise InputError(f"{path} is {KINDS.get(kind, 'something else')}, not a file; give the path of a regular file.")
    return path


@contextlib.contextmanager
def replacing(path: str | Path):
    """Yield a temporary path in the same folder to write to; rename it to path only if nothing fails."""
    path = Path(path)
    with contextlib.suppress(FileNotFoundError):
        regular_file(path)  # for root, nothing else protects /dev/null from being replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    beside = beside_of(path)
    try:
        yield beside
        with open(beside, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(beside, path)
    except OSError as error:
        name_file(error, path)
        if str(error.filename) == str(beside):
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # missing, or on a disk that has become read-only
            beside.unlink()


def beside_of(path: Path) -> Path:
    """Return where to write what is to stand at a path once it is whole.

    The name has host and process because array tasks on several nodes write to one folder.
    """
    return path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs left of a file that is to be written: each time a whole table's size.

    What a living process of this host writes stays, and what another host has written to within the last day.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.partial"):
        host, _, process = left.name.removeprefix(f".{path.name}.").removesuffix(".partial").rpartition("-")
        with contextlib.suppress(OSError, ValueError):  # removed by another task, or not ours to remove
            ended, old = beginning_of(int(process)) is None, time.time() - left.stat().st_mtime > DAY
            if ended if host == socket.gethostname() else old:
                left.unlink()
                log.info("removed %s, which a killed run left", left)


def cores() -> int:
    """Return OMP_NUM_THREADS if set, else the number of cores this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def beginning_of(process: int) -> str | None:
    """Return when a process of this host began, in ticks since boot; "" where Linux doesn't tell, None if it is gone.

    A later process may have the number of an earlier one, but not its beginning. One that has ended stays listed, as a
    zombie, until its parent asks; in a container that may be never.
    """
    try:
        os.kill(process, 0)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None  # any other error, such as EPERM: somebody else's
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] == "Z" else fields[19]


def take_place(staged: Path, target: Path) -> None:
    """Rename a whole folder, staged beside its place, to its name; what stood there goes only after."""
    put_back(target)
    aside = aside_of(target)
    if target.exists():
        target.rename(aside)
    staged.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def aside_of(target: Path) -> Path:
    """Return where a folder stands for the moment in which another takes its place."""
    return target.with_name(f".{target.name}{ASIDE}")


def put_back(target: Path) -> None:
    """Undo a change of place that a kill cut in two, or remove what a kill right after it left."""
    aside = aside_of(target)
    if aside.exists() and not target.exists():
        aside.rename(target)
        log.info("%s is the one that a killed run was about to replace", target)
    shutil.rmtree(aside, ignore_errors=True)


def write_json(path: str | Path, data: dict) -> None:
    """Write data as indented JSON, atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_lines(path: str | Path, lines) -> int:
    """Write lines, each ending in a line feed, as UTF-8, atomically; return their number."""
    written = 0
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as handle:
        for line in lines:
            handle.write(line)
            written += 1
    return written


def spreadsheet_cell(value):
    """Return a cell of a table for people; a text that a spreadsheet would run as a formula gets an apostrophe before.

    Numbers stay. Never for tables that a script reads again: there, texts must come back exactly.
    """
    runs = isinstance(value, str) and RUNS.match(value) and not PLAIN_NUMBER.fullmatch(value)
    return f"'{value}" if runs else value


def read_json(path: str | Path) -> dict:
    """Read a JSON object that a stage wrote. InputError if it is not valid JSON."""
    try:
        return json.loads(regular_file(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}); make it again with the stage that wrote it.") from None


def file_digest(path: str | Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None if there is no file."""
    if not Path(path).is_file():
        return None
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def record_path(product: str | Path) -> Path:
    """Return the path of the record of a product that is a single file: <product>.json."""
    return Path(f"{product}.json")


def run_record(args: argparse.Namespace, started: float, **facts) -> dict:
    """Return how a product was made: command, settings, versions, commit, time (UTC), seconds, and the given facts."""
    packages = ("numpy", "openai", "pandas", "pyarrow", "sentence-transformers", "torch", "transformers")
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = installed.version(name)
        except installed.PackageNotFoundError:
            continue
    return {
        "command": shlex.join(sys.argv),
        "arguments": vars(args),
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.time() - started, 1),
        **facts,
    }


def commit() -> str | None:
    """Return the git commit of these scripts, with + if files have changed since; None if it is unknown.

    A cluster has no git folder. There, delta.py leaves a file with the commit that it sent.
    """
    here = Path(__file__).resolve().parent
    try:
        described = subprocess.run(
            ["git", "-C", here, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    note = here / ".commit"
    return described.stdout.strip() or (note.read_text().strip() if note.exists() else "") or None
