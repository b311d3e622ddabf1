"""synthetic_data_generator.py in a process of its own that is ready in hundredths of a second, not in one and a half.

It is forked from a process that has imported everything already, so a test can kill it twenty times.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import openai

import synthetic_data_generator as generator
from paraphrase import asking

openai.AsyncOpenAI(api_key="none")  # imports what a first client needs
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def start(pairs: Path, output: Path, url: str, *flags: str, first_pause: float = 0.5):
    """Start the generator; return its process. What it says is in <output>.stderr."""
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):  # Python 3.11 forgets it in the forkserver
        forkserver.ensure_running()
    command = ["-d", str(pairs), "-o", str(output), "--base-url", url, "--model", "m", *flags]
    process = CONTEXT.Process(target=run, args=(command, f"{output}.stderr", first_pause))
    process.start()
    return process


def run(command: list[str], stderr: str, first_pause: float) -> None:
    with open(stderr, "w") as handle:
        os.dup2(handle.fileno(), 2)
    asking.FIRST_PAUSE = first_pause
    sys.exit(generator.main(command))
