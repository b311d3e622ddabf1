"""Measure calc_precocity_for_embeddings.py: one center year compared with the years around it, on random vectors.

Prints Markdown: nanoseconds per passage pair and core for a plain loop over pairs (on a sample), for our code in
float32 and float64, and for the matrix product alone; how much of the machine's float32 matrix-multiplication rate
our code reaches from reading the files to the table; how far its values are from the loop's; and the peak memory.
Everything is measured in one run, the loop on one core, the rest on --threads.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import corpus  # noqa: E402
import script  # noqa: E402
from script import cores  # noqa: E402

CENTER = 1900
OF_A_DOCUMENT = 20  # passages


def apart(function, *words):
    """Call a function in its own process; its memory would otherwise count for the processes started from here."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(function, *words).result()


def offsets(years: int) -> list[int]:
    """Return the offsets of this many years around the center year, half of them before it."""
    before = years // 2
    return [*range(-before, 0), *range(1, years - before + 1)]


def vectors_of(dice, passages: int, dimensions: int, shared):
    """Return vectors with the cosines of a real corpus, about 0.3 on average and up to 0.8; all contain `shared`."""
    import numpy as np

    topics = dice.normal(size=(50, dimensions)).astype(np.float32)
    noise = dice.normal(size=(passages, dimensions)).astype(np.float32)
    return shared + 0.8 * topics[dice.integers(50, size=passages)] + noise


def write_corpus(folder: Path, center: int, passages: int, years: int, dimensions: int) -> None:
    """Write metadata and decade files: `center` passages in the center year, `passages` in all other years together."""
    import numpy as np

    dice = np.random.default_rng(0)
    shared = dice.normal(size=dimensions).astype(np.float32)
    sizes = {CENTER + offset: passages // years for offset in offsets(years)} | {CENTER: center}
    rows, decades = ["paperId\tyear\n"], {}
    for year, count in sorted(sizes.items()):
        ids = [f"{year}-{i // OF_A_DOCUMENT}" for i in range(count)]
        rows += [f"{document}\t{year}\n" for document in dict.fromkeys(ids)]
        numbers = [i % OF_A_DOCUMENT for i in range(count)]
        decades.setdefault(corpus.decade_of(year), []).append((ids, numbers, count))
    (folder / "metadata.tsv").write_text("".join(rows))
    for decade, parts in decades.items():
        ids, numbers = sum((part[0] for part in parts), []), sum((part[1] for part in parts), [])
        vectors = vectors_of(dice, len(ids), dimensions, shared)
        (folder / "embeddings").mkdir(exist_ok=True)
        corpus.write_embeddings(folder / f"embeddings/{decade}.parquet", ids, numbers, vectors)


def matrix_seconds(center: int, passages: int, years: int, dimensions: int, threads: int) -> float:
    """Return the seconds for the multiplication alone, the center year with each other year, BLAS on all threads."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    dice = np.random.default_rng(0)
    left = dice.normal(size=(center, dimensions)).astype(np.float32)
    right = dice.normal(size=(passages // years, dimensions)).astype(np.float32)
    out = np.empty((center, len(right)), np.float32)
    with threadpool_limits(threads, user_api="blas"):
        np.matmul(left, right.T, out=out)
        times = []
        for _ in range(3):  # the fastest of three runs, each over a third of the years: other work only slows it
            started = time.perf_counter()
            for _ in range(max(1, years // 3)):
                np.matmul(left, right.T, out=out)
            times.append((time.perf_counter() - started) / max(1, years // 3))
    return min(times) * years


def loop_over_pairs(center, others) -> tuple[float, list[tuple[float, ...]]]:
    """Compare passage by passage in Python, as defined; return seconds per pair and each passage's means.

    Args:
        center, others: normalized float64, (passages, dimensions); the others are one year.
    """
    import numpy as np

    started, means = time.perf_counter(), []
    for p in center:
        distances = []
        for q in others:
            c = min(1 - 1e-9, max(1e-9 - 1, np.dot(p, q)))
            distances.append(-0.5 * math.log((1 + c) / (1 - c)))
        distances.sort()
        counts = [math.ceil(len(distances) * fraction) for fraction in (1.0, 0.1, 0.05)]
        means.append(tuple(sum(distances[:count]) / count for count in counts))
    return (time.perf_counter() - started) / (len(center) * len(others)), means


def measure_loop(folder: Path, sample: int) -> tuple[float, float, float]:
    """Run the loop on a sample of the center year and the next year; return seconds per pair and our differences.

    A difference is the largest one of a year's mean distance, first in float32, then in float64.
    """
    import numpy as np

    from precocity.arithmetic import Numpy
    from precocity.distances import COSINE
    from precocity.embeddings import Folder

    documents, _ = corpus.read_metadata(folder / "metadata.tsv")
    source = Folder(str(folder / "embeddings"), documents)
    mine, theirs = source.year(CENTER), source.year(CENTER + 1)
    mine, theirs = COSINE.centers(mine, "float64")[:sample], COSINE.others(theirs, "float64")
    seconds, means = loop_over_pairs(mine, theirs)
    off = []
    for dtype in ("float32", "float64"):
        numeric = Numpy(dtype, 1)
        values = numeric.cosines(mine.astype(dtype), theirs.astype(dtype))
        numeric.transform(values, None, None)
        off.append(float(np.abs(-numeric.means(values) - np.array(means)).max()))
    return seconds, *off


def measure_ours(folder: Path, dtype: str, threads: int) -> dict[str, float]:
    """Run the script on the center year; return seconds of the process, the year, and the CPU, and its peak memory."""
    out = folder / f"out-{dtype}"
    command = [sys.executable, ROOT / "calc_precocity_for_embeddings.py", "-m", folder / "metadata.tsv"]
    command += ["-d", folder / "embeddings", "-s", str(CENTER), "-e", str(CENTER + 1), "-o", out]
    command += ["--dtype", dtype, "--threads", str(threads)]
    started = time.perf_counter()
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(running.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"bench_precocity.py: {shlex.join(map(str, command))} ended with status {status}")
    record = script.read_json(out / f"years/{CENTER}.json")
    unit = 1e9 if sys.platform == "darwin" else 1e6  # bytes there, kilobytes here
    cpu = usage.ru_utime + usage.ru_stime
    return {"process": seconds, "year": record["seconds"], "cpu": cpu, "memory": usage.ru_maxrss / unit} | {
        name: record[name] for name in ("pairs", "float32_difference")
    }


def print_table(args, loop: float, off: tuple[float, float], product: float, ours: dict[str, dict]) -> None:
    """Print nanoseconds per pair and core, speed relative to the loop and the matrix product, and memory."""
    figures = next(iter(ours.values()))
    rate, core = 2 * args.dimensions * figures["pairs"] / product / 1e9, 1e9 * args.threads / figures["pairs"]
    print("| what | s | CPU s | ns per pair and core | times the loop | of the matrix product's rate | peak memory |")
    print("|---|---|---|---|---|---|---|")
    print(f"| loop over {args.sample} × {args.passages // args.years} pairs | | | {loop * 1e9:,.0f} | 1 | | |")
    alone = f"{product:.2f} | | {product * core:.2f} | {loop * 1e9 / (product * core):.0f}"
    print(f"| float32 matrix product alone, {rate:.0f} GFLOP/s | {alone} | 1 | |")
    for dtype, figures in ours.items():
        for name, what in (("year", "files to table"), ("process", "whole process")):
            times, share = loop * 1e9 / (figures[name] * core), product / figures[name]
            cpu = f"{figures['cpu']:.2f}" if name == "process" else ""
            cells = f"{figures[name]:.2f} | {cpu} | {figures[name] * core:.2f} | **{times:.0f}** | **{share:.2f}**"
            print(f"| {dtype}, {what} | {cells} | {figures['memory']:.2f} GB |")
    print(
        f"\nA year's mean distance differs from the loop's by at most {off[0]:.1e} in float32, {off[1]:.1e} in float64."
    )


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = arguments.add_argument
    add(
        "--centre",
        dest="center",
        type=int,
        default=7000,
        metavar="PASSAGES",
        help="in the center year (default %(default)s)",
    )
    add("--passages", type=int, default=280_000, help="in all other years together (default %(default)s)")
    add("--years", type=int, default=40, help="around the center year (default %(default)s)")
    add("--dimensions", type=int, default=768, help="(default %(default)s)")
    add("--sample", type=int, default=60, metavar="PASSAGES", help="that the loop compares with one year (default 60)")
    add("--threads", type=int, default=cores(), help="(default %(default)s)")
    add("--dtypes", nargs="+", default=["float32", "float64"], help="(default float32 float64)")
    add("--quick", action="store_true", help="500 × 20,000 × 384: takes seconds, but is too small for reliable figures")
    args = arguments.parse_args(argv)
    if args.quick:
        args.center, args.passages, args.dimensions, args.sample = 500, 20_000, 384, 20
    machine = f"{platform.machine()}, {args.threads} of {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
    command = shlex.join(["python", "benchmarks/bench_precocity.py", *sys.argv[1:]])
    sizes = f"{args.center:,} × {args.passages:,} × {args.dimensions} in {args.years} years"
    print(f"{machine}, `{command}`: {sizes}; load {os.getloadavg()[0]:.1f} before.\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        apart(write_corpus, folder, args.center, args.passages, args.years, args.dimensions)
        loop, *off = apart(measure_loop, folder, args.sample)
        product = apart(matrix_seconds, args.center, args.passages, args.years, args.dimensions, args.threads)
        ours = {dtype: measure_ours(folder, dtype, args.threads) for dtype in args.dtypes}
    print_table(args, loop, off, product, ours)


if __name__ == "__main__":
    main()
