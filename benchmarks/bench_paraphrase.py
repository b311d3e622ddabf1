"""Measure synthetic_data_generator.py against a server that answers each call after a fixed time.

Prints Markdown: the time it takes relative to the ideal (rows × latency / concurrency), for the asking alone (from the
server's first request to its last answer) and for the whole process, and the peak memory for few and for many rows.
The server is a process of its own on the same machine, so on few cores the two share them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from openai_server import Answer, OpenAIServer, completion, shorten  # noqa: E402

import corpus  # noqa: E402

PASSAGE = " ".join(f"word{i}" for i in range(380))  # as long as a passage of 512 tokens


def serve(latency: float, ready, span) -> None:
    """Answer until killed; keep the time of the first request and of the last answer in span."""

    def reply(request: dict) -> Answer:
        if not span[0]:
            span[0] = time.time()
        span[1] = time.time() + latency
        span[2] += 1
        return Answer(200, completion(request, shorten(request)), seconds=latency)

    with OpenAIServer(reply) as running:
        ready.send(running.url)
        while True:
            running.requests.clear(), running.headers.clear(), running.times.clear()
            time.sleep(0.5)


def write_rows(path: Path, count: int) -> None:
    rows = ((f"d{i}", 1900, f"passage {i} {PASSAGE}", "generate", "single-synthetic") for i in range(count))
    corpus.write_pairs(path, (dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows))


def measure(rows: int, latency: float, concurrency: int) -> dict[str, float]:
    """Paraphrase so many rows; return seconds of asking and of the process, and its peak memory in MB."""
    here, there = multiprocessing.Pipe()
    span = multiprocessing.Array("d", 3)
    server = multiprocessing.Process(target=serve, args=(latency, there, span), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        pairs, output = Path(folder, "pairs.tsv"), Path(folder, "out.tsv")
        write_rows(pairs, rows)
        command = [sys.executable, "synthetic_data_generator.py", "-d", pairs, "-o", output, "--model", "m"]
        command += ["--base-url", here.recv(), "--concurrency", str(concurrency)]
        started = time.time()
        running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(running.pid, 0)
        whole = time.time() - started
        written = sum(1 for _ in corpus.each_pair(output))
    server.kill()
    if status or written != rows or span[2] != rows:
        sys.exit(f"bench_paraphrase.py: status {status}, {written} of {rows} rows, {span[2]:.0f} calls")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes here
    return {"asking": span[1] - span[0], "process": whole, "cpu": usage.ru_utime + usage.ru_stime} | {
        "memory": usage.ru_maxrss / unit
    }


def table_of_times(rows: int, latency: float, concurrencies: list[int]) -> None:
    print("| calls at a time | ideal, s | asking, s | ratio | whole process, s | ratio | CPU ms a call |")
    print("|---|---|---|---|---|---|---|")
    for concurrency in concurrencies:
        told, ideal = measure(rows, latency, concurrency), rows * latency / concurrency
        print(
            f"| {concurrency} | {ideal:.2f} | {told['asking']:.2f} | **{told['asking'] / ideal:.3f}** | "
            f"{told['process']:.2f} | {told['process'] / ideal:.3f} | {told['cpu'] / rows * 1e3:.1f} |",
            flush=True,
        )


def table_of_memory(sizes: list[int]) -> None:
    print("\n| rows | peak memory, MB | relative | calls a second, server without latency |")
    print("|---|---|---|---|")
    first = None
    for rows in sizes:
        told = measure(rows, 0.0, 16)
        first = first or told["memory"]
        pace = rows / told["asking"]
        print(f"| {rows:,} | {told['memory']:.0f} | {told['memory'] / first:.2f} | {pace:.0f} |", flush=True)


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=500, help="(default %(default)s)")
    arguments.add_argument("--latency", type=float, default=1.0, metavar="SECONDS", help="(default %(default)s)")
    arguments.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64], help="(default 1 16 64)")
    arguments.add_argument("--memory-rows", type=int, nargs="*", default=[500, 50_000], help="(default 500 50000)")
    args = arguments.parse_args(argv)
    command = shlex.join(["python", "benchmarks/bench_paraphrase.py", *sys.argv[1:]])
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    print(f"{machine}, `{command}`: {args.rows} rows, {args.latency:g} s a call.\n", flush=True)
    table_of_times(args.rows, args.latency, args.concurrency)
    if args.memory_rows:
        table_of_memory(args.memory_rows)


if __name__ == "__main__":
    main()
