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
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from importlib import metadata as installed
from pathlib import Path

LOCK = ".lock"  # in an output folder: who works there; .lock-1790 for a part of it that one task of an array makes
SHOWN = 5  # names in a warning before "and n more"
DAY = 86400  # seconds
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
        logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
        log.setLevel(logging.INFO if is_main_process() else logging.ERROR)
        script = Path(sys.modules[main.__module__].__file__ or main.__module__).name
        try:
            return main(argv) or 0
        except InputError as error:
            if is_main_process():
                print(f"{script}: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            print(f"{script}: {sentence_of(error)}", file=sys.stderr)
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


def is_main_process() -> bool:
    """Tell whether this is the only process or, under torchrun, the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


def parser(doc: str, example: str) -> argparse.ArgumentParser:
    """Return an ArgumentParser whose --help shows the script's docstring and ends with a command to paste."""
    return argparse.ArgumentParser(
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


def positive_int(text: str) -> int:
    """Return the whole number of at least 1 that an argument gives (a type for argparse)."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


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
    # The name has host and process because array tasks on several nodes write to one folder.
    beside = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
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


def remove_leftovers(path: Path) -> None:
    """Remove what killed runs left of a file that is to be written: each time a whole table's size.

    What a living process of this host writes stays, and what another host has written to within the last day.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.partial"):
        host, _, process = left.name.removeprefix(f".{path.name}.").removesuffix(".partial").rpartition("-")
        with contextlib.suppress(OSError, ValueError):  # removed by another task, or not ours to remove
            alive, old = is_alive(int(process)), time.time() - left.stat().st_mtime > DAY
            if (not alive) if host == socket.gethostname() else old:
                left.unlink()
                log.info("removed %s, which a killed run left", left)


def is_alive(process: int) -> bool:
    """Tell whether a process of this host is running, whoever owns it."""
    try:
        os.kill(process, 0)
    except OSError as error:  # EPERM: somebody else's
        return error.errno != errno.ESRCH
    return True


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
    packages = ("numpy", "openai", "pandas", "pyarrow", "sentence-transformers", "statsmodels", "torch", "transformers")
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


# ---------------------------------------------------------------- one run at a time in an output folder


@contextlib.contextmanager
def alone_in(folder: str | Path, *parts: str | int):
    """Keep other runs out of an output folder, or out of some parts of it, while this one works there.

    Tasks of an array may work on different parts at once. A lock is a file that is created exclusively, because NFS and
    Lustre often know no flock. It names host, process, and job. One whose process is certainly gone is taken over, with
    a line in the log. Under torchrun, the main process alone locks.

    Raises:
        InputError: another run works there, or may do so. The message says which, and which file to delete if it is
            gone.
    """
    if not is_main_process():
        yield
        return
    folder = Path(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as kept:
        kept.callback(remove_empty, folder if is_new else None)
        kept.enter_context(ending_in_order())
        for part in dict.fromkeys(parts) or [None]:
            kept.enter_context(holding(folder / (LOCK if part is None else f"{LOCK}-{part}")))
        # Each looks for locks of the other kind after making its own, so of two that begin at once none is missed.
        for other in [folder / LOCK] if parts else sorted(folder.glob(f"{LOCK}-*")):
            clear_lock(other)
        yield


@contextlib.contextmanager
def ending_in_order():
    """Have SIGTERM end this process as Ctrl-C does, giving back what it holds; its exit status is 143 either way."""

    def interrupt(number, frame):
        raise KeyboardInterrupt(number)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def holding(path: Path):
    """Hold one lock. InputError if another run holds it or may do so."""
    holder = this_run()
    while not create_lock(path, holder):
        clear_lock(path)
    try:
        yield
    finally:
        if read_lock(path) == holder:
            path.unlink(missing_ok=True)


def create_lock(path: Path, holder: dict) -> bool:
    """Create a lock that names its holder; tell whether there was none."""
    try:
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with open(created, "w", encoding="utf-8") as lock:
            lock.write(json.dumps(holder) + "\n")
    except OSError as error:  # a full disk
        path.unlink(missing_ok=True)
        name_file(error, path)
        raise
    return True


def read_lock(path: Path) -> dict | None:
    """Return who holds a lock, an empty dict if it doesn't say, None if there is no lock."""
    for patience in (0.1, 0.9, 0):  # seconds: it may have been created just now and be empty
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            time.sleep(patience)
    return {}


def clear_lock(path: Path) -> None:
    """Delete a lock whose holder is certainly gone. InputError if the holder is at work or may be."""
    holder = read_lock(path)
    if holder is None:
        return
    if not is_gone(holder):
        raise InputError(in_use(path, holder))
    # Two runs may find the same stale lock. The second must not delete the new lock of the first.
    with exclusively(path.with_name(path.name.replace(LOCK, ".taking"))):
        if read_lock(path) == holder:
            path.unlink(missing_ok=True)
            log.warning("%s is taken over from %s, which ended without giving it back", path.parent, named(holder))


@contextlib.contextmanager
def exclusively(path: Path):
    """Hold a file for a moment while a lock is taken over."""
    for patience in (0.1, 0.9, 0):  # seconds
        if create_lock(path, this_run()):
            break
        time.sleep(patience)
    else:
        raise InputError(f"{path} shows that another run is taking over; run again, and delete the file if it stays.")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def this_run() -> dict:
    """Return what tells this process from all others."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": beginning_of(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def beginning_of(process: int) -> str | None:
    """Return when a process of this host began, in ticks since boot; "" where Linux doesn't tell, None if it is gone.

    A later process may have the number of an earlier one, but not its beginning.
    """
    if not is_alive(process):
        return None
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] == "Z" else fields[19]


def is_gone(holder: dict) -> bool:
    """Tell whether a lock's holder is certainly gone: its process here, or the earlier run of this requeued job."""
    ours = this_run()
    if holder.get("host") == ours["host"]:
        began = beginning_of(holder["process"])
        if began is None or (began and holder["began"] and began != holder["began"]):
            return True
    return ours["job"] is not None and holder.get("job") == ours["job"] and holder["restart"] < ours["restart"]


def named(holder: dict) -> str:
    """Return a lock's holder in words."""
    if not holder:
        return "a run that left no name"
    job = f", job {holder['job']}" if holder["job"] else ""
    return f"process {holder['process']} on {holder['host']}{job} (since {holder['since']})"


def in_use(path: Path, holder: dict) -> str:
    """Return that a folder, or a part of it, is in use by whom, and what to do."""
    advice = f", or delete {path} if that run is gone" if holder.get("host") != socket.gethostname() else ""
    return f"{path.parent} is in use by {named(holder)}; let it end or choose another output folder{advice}."


def remove_empty(folder: Path | None) -> None:
    """Remove a folder that this run made and wrote nothing into."""
    if folder is not None and not any(folder.iterdir()):
        folder.rmdir()
