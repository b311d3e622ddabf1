"""Measure the selection of training pairs against reading the bytes of all chunk files.

Makes a synthetic corpus. Then takes turns, several times, in one process, and keeps the least CPU time of each: reading
all bytes and counting line feeds; a loop over the lines of text; the plain way (all passages decoded and split twice,
rows by csv.DictWriter); both scripts. Prints one Markdown table. The pairs must be the plain way's, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts lie one folder up

from synthetic import make_corpus  # noqa: E402

import corpus  # noqa: E402
import select_training_pairs_final as final  # noqa: E402
import select_training_pairs_no_paraphrase as nopara  # noqa: E402
import selection  # noqa: E402


def read_bytes(paths: list[str]) -> int:
    """Return the number of lines: the floor."""
    lines = 0
    for path in paths:
        with open(path, "rb", buffering=0) as handle:
            lines += handle.read().count(b"\n")
    return lines


def read_lines(paths: list[str]) -> int:
    """Return the number of lines, read as text."""
    return sum(1 for path in paths for _ in open(path, encoding="utf-8"))


class PlainFolder(corpus.ChunkFolder):
    """Reads every file whole, each time."""

    def count(self, document: corpus.Document) -> int:
        return len(self.passages(document))

    def chosen(self, document: corpus.Document, numbers) -> dict[int, str]:
        passages = self.passages(document)
        return {number: passages[number] for number in numbers}


def select_plainly(folder: Path) -> None:
    """Choose as select_training_pairs_final.py does, in the plain way."""
    documents, _ = corpus.read_metadata(folder / "metadata.tsv")
    chunks = PlainFolder(folder / "chunks")
    candidates, _ = final.read_candidates(documents, chunks, 0)
    pairs = final.choose_pairs(candidates, 400, selection.LEVEL_QUANTILE, 0.1)
    chosen = final.assign_categories(pairs, 0.1)
    with open(folder / "plain.tsv", "w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, corpus.PAIR_COLUMNS, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(selection.pair_rows(chosen, chunks))


def least_seconds(ways: dict, turns: int) -> dict[str, float]:
    """Return the least CPU seconds of each way; all take turns."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(turns):
        for name, way in ways.items():
            before = time.process_time()
            way()
            least[name] = min(least[name], time.process_time() - before)
    return least


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=1500, help="(default %(default)s)")
    arguments.add_argument("--turns", type=int, default=5, help="(default %(default)s)")
    args = arguments.parse_args(argv)
    logging.disable()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_corpus(folder, args.files)
        paths = [f"{folder}/chunks/d{i}.txt" for i in range(args.files)]
        flags = ["-t", f"{folder}/metadata.tsv", "-r", f"{folder}/chunks"]
        pairs = f"{folder}/pairs.tsv"
        ways = {
            "bytes read, line feeds counted": lambda: read_bytes(paths),
            "lines of text": lambda: read_lines(paths),
            "pairs, the plain way": lambda: select_plainly(folder),
            "select_training_pairs_final.py": lambda: final.main(["400", *flags, "-o", pairs]),
            "select_training_pairs_no_paraphrase.py": lambda: nopara.main(
                [*flags, "--match", pairs, "-o", f"{folder}/nopara.tsv"]
            ),
        }
        seconds = least_seconds(ways, args.turns)
        assert Path(pairs).read_bytes() == (folder / "plain.tsv").read_bytes()
        megabytes = sum(os.path.getsize(path) for path in paths) / 1e6
    print(f"{platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}, "
          f"{args.files:,} files, {megabytes:.0f} MB, least of {args.turns}\n")  # fmt: skip
    print("| way | CPU s | times the bytes |\n|---|---|---|")
    floor = seconds["bytes read, line feeds counted"]
    for name, one in seconds.items():
        print(f"| {name} | {one:.3f} | **{one / floor:.2f}** |")


if __name__ == "__main__":
    main()
