"""One run at a time in an output folder, so that two never mix their products.

In: the folder, and the parts of it that this run makes where several work there on purpose. Out: a lock file that lasts
as long as the run. InputError names the run that works there, or may do so.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from script import (
    ASIDE,
    InputError,
    beginning_of,
    beside_of,
    is_main_process,
    leave_terminal,
    log,
    name_file,
    put_back,
    remove_leftovers,
)

# What Slurm says of jobs that won't go on. A job in any other state may, so its lock stands.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
LOCK = ".lock"  # in an output folder: who works there; .lock-1790 for a part of it that one task of an array makes


@contextlib.contextmanager
def alone_in(folder: str | Path, *parts: str | int):
    """Keep other runs out of an output folder, or out of some parts of it, while this one works there.

    Tasks of an array may work on different parts at once. A lock is a file that is created exclusively, because NFS and
    Lustre often know no flock. It names host, process, and job. One whose process or job is certainly gone is taken
    over, with a line in the log. Under torchrun, the main process alone locks.

    Raises:
        InputError: another run works there, or may do so. The message says which, and which file to delete if it is
            gone.
    """
    if not is_main_process():
        yield
        return
    folder = Path(folder)
    put_back(folder)
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
        for aside in folder.glob(f".*{ASIDE}"):
            put_back(folder / aside.name[1 : -len(ASIDE)])
        yield


@contextlib.contextmanager
def ending_in_order():
    """Have SIGTERM, SIGUSR1 and SIGHUP end this process as Ctrl-C does, giving back what it holds.

    Slurm sends the second before a time limit; the third comes when a connection is lost. The exit status is the same
    as without: 143, 138 and 129.
    """

    def interrupt(number, frame):
        leave_terminal(number)
        raise KeyboardInterrupt(number)

    is_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    all_three = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP) if is_main else ()
    signals = [number for number in all_three if signal.getsignal(number) == signal.SIG_DFL]
    for number in signals:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def holding(path: Path):
    """Hold one lock. InputError if another run holds it or may do so."""
    holder = this_run() | {"lock": os.urandom(8).hex()}  # told from other locks of this very process
    try:  # around the creation, too: a signal may come right after it
        while not create_lock(path, holder):
            clear_lock(path)
        yield
    finally:
        if read_lock(path) == holder:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def holding_if_free(path: Path):
    """Hold a lock and yield True; where another run holds it or may do so, say which in the log and yield False."""
    with contextlib.ExitStack() as kept:
        try:
            kept.enter_context(holding(path))
            is_free = True
        except InputError as error:
            log.info("%s", error)
            is_free = False
        yield is_free


def create_lock(path: Path, holder: dict) -> bool:
    """Create a lock that names its holder; tell whether there was none.

    It is written beside its place and linked there, so that a kill leaves no lock that names nobody.
    """
    remove_leftovers(path)
    beside, text = beside_of(path), json.dumps(holder) + "\n"
    try:
        beside.write_text(text, encoding="utf-8")
        os.link(beside, path)
    except FileExistsError:
        return beside.stat().st_nlink > 1  # NFS may say so of a link that it has just made
    except OSError:  # some disks have no links, and some are full
        return create_in_place(path, text)
    finally:
        with contextlib.suppress(OSError):  # missing, or on a disk that can't be written to
            beside.unlink()
    return True


def create_in_place(path: Path, text: str) -> bool:
    """Create a lock where there are no links; tell whether there was none. A kill may leave it empty."""
    try:
        created = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        with open(created, "w", encoding="utf-8") as lock:
            lock.write(text)
    except BaseException as error:  # a full disk, or a signal, after which nobody would know whose lock it is
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
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
    """Hold a file for a moment while a lock is taken over. One that a killed run left is deleted."""
    for patience in (0.1, 0.9, 0):  # seconds
        if create_lock(path, this_run()):
            break
        if is_gone(read_lock(path) or {}):
            path.unlink(missing_ok=True)
        else:
            time.sleep(patience)
    else:
        raise InputError(f"{path} shows that another run is taking over; run again, and delete the file if it stays.")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def this_run() -> dict:
    """Return what tells this process from all others, and whose job it belongs to."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    # A shell that salloc opened on a login node has a job, too, but may outlive it.
    ends_with_job = "SLURMD_NODENAME" in os.environ
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "began": beginning_of(os.getpid()),
        "job": f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID"),
        "cluster": os.environ.get("SLURM_CLUSTER_NAME") if ends_with_job else None,
        "user": os.getuid(),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def is_gone(holder: dict) -> bool:
    """Tell whether a lock's holder is certainly gone: its process here, its job, or this job's run before a requeue."""
    ours = this_run()
    if holder.get("host") == ours["host"]:
        began = beginning_of(holder["process"])
        if began is None or (began and holder["began"]):
            return began != holder["began"]
    if ours["job"] is not None and holder.get("job") == ours["job"]:
        return holder["restart"] < ours["restart"]
    return asks_slurm(holder, ours) and has_ended(holder["job"])


def asks_slurm(holder: dict, ours: dict) -> bool:
    """Tell whether Slurm here can say if a holder's job has ended: one of this cluster and this user.

    Another cluster's job has the same number as one of here, and some clusters don't show one user another's jobs.
    """
    is_known = bool(holder.get("job") and holder.get("cluster"))
    return is_known and all(holder[name] == ours[name] for name in ("cluster", "user"))


def has_ended(job: str) -> bool:
    """Tell whether Slurm says for certain that a job has ended, and with it all of its processes."""
    try:
        words = ["squeue", "-h", "-t", "all", "-o", "%T", "-j", job]
        asked = subprocess.run(words, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if asked.returncode:
        return "Invalid job id" in asked.stderr  # it ended some minutes ago, and Slurm has forgotten it
    return set(asked.stdout.split()) <= ENDED


def named(holder: dict) -> str:
    """Return a lock's holder in words."""
    if not holder:
        return "a run that left no name"
    job = f", job {holder['job']}" if holder["job"] else ""
    return f"process {holder['process']} on {holder['host']}{job} (since {holder['since']})"


def in_use(path: Path, holder: dict) -> str:
    """Return that a folder, or a part of it, is in use by whom, and what to do."""
    is_certain = holder.get("host") == socket.gethostname() and holder.get("began")
    advice = "" if is_certain else f", or delete {path} if that run is gone"
    return f"{path.parent} is in use by {named(holder)}; let it end or choose another output folder{advice}."


def remove_empty(folder: Path | None) -> None:
    """Remove a folder that this run made and wrote nothing into."""
    if folder is not None and not any(folder.iterdir()):
        folder.rmdir()
