"""What the tests share: a corpus to count by hand, a tiny encoder, a server that speaks OpenAI's protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of the hub's package, which reads it once
if "PYTEST_XDIST_WORKER" in os.environ:  # two processes of two threads each would wait for each other on two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # OpenMP, once it has drawn the map, gives PyTorch two threads again: each later training takes forty times the CPU.
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

import pytest
from openai_server import OpenAIServer
from small_corpus import Corpus, make_word_corpus
from tiny_encoder import make_tiny_encoder

WARM_PYTHON = [sys.executable, str(Path(__file__).with_name("warm_python.py"))]


def pytest_configure(config):
    """Start one warm Python for all workers. It does nothing before a test asks for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.warm_folder = tempfile.mkdtemp(dir="/tmp")  # elsewhere a socket's name may get too long
        os.environ["WARM_PYTHON"] = f"{config.warm_folder}/socket"
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [*WARM_PYTHON, os.environ["WARM_PYTHON"]]
        config.warm_python = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert config.warm_python.stdout.readline() == b"listening\n"


def pytest_unconfigure(config):
    if hasattr(config, "warm_python"):
        config.warm_python.kill()
        config.warm_python.wait()
        shutil.rmtree(config.warm_folder)


@pytest.fixture
def corpus_folder(tmp_path) -> Corpus:
    return Corpus(tmp_path / "corpus")


@pytest.fixture
def word_corpus(tmp_path) -> Corpus:
    return make_word_corpus(tmp_path / "words")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


@pytest.fixture(scope="session")
def warm_server() -> str:
    """Return the address of a Python that has loaded the heavy packages and forks for each script."""
    return os.environ["WARM_PYTHON"]


@pytest.fixture(scope="session")
def warm_python(warm_server) -> list[str]:
    """Return the command of this Python."""
    return [*WARM_PYTHON, warm_server]
