"""A Python that has loaded the heavy packages once and forks for every script: the tests through make, without minutes
of imports.

`python warm_python.py ADDRESS script.py …` has the server at this address (a Unix socket) run the script with the
caller's streams, folder and environment, and ends with its exit status. The script itself runs as always.
"""

import atexit
import gc
import json
import os
import runpy
import socket
import sys

STATUS = [1]  # of a script's process at its end: 1 where an exception ends it
HEAVY = ("sentence_transformers", "datasets", "accelerate", "pandas", "pyarrow.parquet")


def call(address: str, words: list[str]) -> int:
    """Have the server run a script; return its exit status."""
    if words[0] == "stamp.py":  # loads no heavy package, and make calls it a dozen times
        os.execv(sys.executable, [sys.executable, *words])
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        socket.send_fds(line, [b"."], [0, 1, 2])
        line.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode())
        line.shutdown(socket.SHUT_WR)
        return int(line.recv(8) or 1)


def serve(address: str) -> None:
    """Load the packages, say "ready", and answer calls until killed; one process waits for each script."""
    # Handlers run in reverse order, so this one runs after all others, and saves clearing half a gigabyte away.
    atexit.register(lambda: (sys.stdout.flush(), sys.stderr.flush(), os._exit(STATUS[0])))
    for name in HEAVY:
        __import__(name)
    gc.freeze()  # or each fork would copy all of it at its first collection
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
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
        sys.exit(run(words, folder, environment, streams))
    status = os.waitstatus_to_exitcode(os.waitpid(script, 0)[1])
    line.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def run(words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Run a script as `python script.py …` would."""
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
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
