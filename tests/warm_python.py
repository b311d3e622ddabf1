"""A Python that has loaded the heavy packages once and forks for every script: the tests through make, without minutes
of imports.

`python warm_python.py ADDRESS script.py …` has the server at this address (a Unix socket) run the script with the
caller's streams, folder and environment, passes on the signals that ask for an end, and ends with its exit status. The
script itself runs as always, in a process of its own.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading

STATUS = [1]  # of a script's process at its end: 1 where an exception ends it
HEAVY = (
    "sentence_transformers", "datasets", "accelerate", "pandas", "pyarrow.parquet",
    "matplotlib.pyplot", "scipy.stats", "sklearn.decomposition", "sklearn.linear_model", "sklearn.model_selection",
)  # fmt: skip


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def call(address: str, words: list[str]) -> int:
    """Have the server run a script; return its exit status."""
    if words[0] == "stamp.py":  # loads no heavy package, and make calls it a dozen times
        os.execv(sys.executable, [sys.executable, *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until there is a process to pass them on to
    script = Script(address, words)
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: pass_on(script.pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    status = script.wait()
    return status if status >= 0 else 128 - status


def pass_on(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


class Script:
    """A script that the server runs: as much of subprocess.Popen as the tests need; pid is the script's own process."""

    def __init__(self, address: str, words: list[str], folder: str | None = None, stderr: int | None = None):
        self.line, self.returncode = socket.socket(socket.AF_UNIX), None
        self.line.connect(address)
        reading, writing = os.pipe() if stderr == subprocess.PIPE else (None, 2)
        socket.send_fds(self.line, [b"."], [0, 1, writing])
        if reading is not None:
            os.close(writing)
            self.stderr = open(reading)
        self.line.sendall(json.dumps([words, str(folder or os.getcwd()), dict(os.environ)]).encode())
        self.line.shutdown(socket.SHUT_WR)
        self.said = self.line.makefile()
        self.pid = int(self.said.readline())

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            pass_on(self.pid, number)

    def poll(self) -> int | None:
        ended, _, _ = select.select([self.line], [], [], 0)
        return self.wait() if ended else self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self.said.readline())
        return self.returncode

    def communicate(self, timeout: float) -> tuple[None, str]:
        too_late = threading.Timer(timeout, self.send_signal, [signal.SIGKILL])
        too_late.start()
        said, _ = self.stderr.read(), self.wait()
        too_late.cancel()
        return None, said


def serve(address: str) -> None:
    """Answer calls until killed. The first has the packages loaded; one process waits for each script."""
    # Handlers run in reverse order, so this one runs after all others, and saves clearing half a gigabyte away.
    atexit.register(lambda: (sys.stdout.flush(), sys.stderr.flush(), os._exit(STATUS[0])))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("listening", flush=True)
        select.select([listening], [], [])
        for name in HEAVY:
            __import__(name)
        gc.freeze()  # or each fork would copy all of it at its first collection
        while True:
            line, _ = listening.accept()
            if os.fork() == 0:
                answer(line)
            line.close()


def answer(line: socket.socket) -> None:
    """Run the script that a caller asks for in a process of its own, and send back its exit status."""
    _, streams, *_ = socket.recv_fds(line, 1, 3)
    words, folder, environment = json.load(line.makefile())
    script = os.fork()
    if script == 0:
        line.close()
        sys.exit(run(words, folder, environment, streams))
    for stream in streams:
        os.close(stream)
    line.sendall(f"{script}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # the caller was killed
        line.sendall(f"{status}\n".encode())
    os._exit(0)


def run(words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Run a script as `python script.py …` would."""
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[0] = words, folder
    try:
        runpy.run_path(words[0], run_name="__main__")
        STATUS[0] = 0
    except SystemExit as stop:
        STATUS[0] = stop.code or 0
        raise


if __name__ == "__main__":
    address, *words = sys.argv[1:]
    sys.exit(call(address, words) if words else serve(address))
