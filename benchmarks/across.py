"""Put corpora and choices of held-out documents into one table: what holds for all of them?

Reads what tuning_grid.py --splits measured, a folder for each corpus, and prints a Markdown table for each. A figure is
the mean over the splits, with the least and the most of them; a difference also says in how many of them its whole
interval lies above or below 0. Splits share documents by chance, so no interval is computed of all of them together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # script.py lies one folder up

from tuning_grid import COLUMNS, differences_of, markdown  # noqa: E402

import script  # noqa: E402
from script import InputError  # noqa: E402

EXAMPLE = "python benchmarks/across.py addresses=grid/addresses novels=grid/novels"


def read_splits(folder: str) -> list[dict]:
    """Return what was measured in each of a folder's splits. InputError where there is none."""
    paths = sorted(Path(folder).glob("split-*/report/evaluation.json"), key=lambda path: int(path.parts[-3][6:]))
    if not paths:
        raise InputError(f"{folder} has no split-N/report/evaluation.json; run benchmarks/tuning_grid.py --splits 0 1.")
    return [script.read_json(path) for path in paths]


def cell(figures: list[dict], is_difference: bool) -> str:
    """Return one figure of several splits as text, – where a split has none.

    Args:
        figures: each with value and interval (low, high), as evaluation.json has them.
    """
    values = [one["value"] for one in figures]
    if None in values:
        return "–"
    form = "+.3f" if is_difference else ".3f"
    text = f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}}"
    if is_difference:
        bounds = [one["interval"] or (0, 0) for one in figures]
        sides = {"above": sum(low > 0 for low, _ in bounds), "below": sum(high < 0 for _, high in bounds)}
        text += "".join(f"; {count} {side} 0" for side, count in sides.items() if count)
    return f"{text})"


def table_of(corpus: str, reports: list[dict]) -> str:
    """Return the table of one corpus: a row for each representation and difference that all of its splits have."""
    splits = [report["measured"] | differences_of(report) for report in reports]
    rows = {
        name: [cell([split[name][key] for split in splits], name not in reports[0]["measured"]) for key in COLUMNS]
        for name in splits[0]
        if all(name in split for split in splits)
    }
    held = ", ".join(str(report["held_out_documents"]) for report in reports)
    return f"{corpus}: {len(reports)} splits of {held} held-out documents\n\n{markdown([*COLUMNS.values()], rows)}"


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("corpora", nargs="+", metavar="NAME=FOLDER", help="what tuning_grid.py -o named")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    for words in parse_args(argv).corpora:
        name, is_there, folder = words.partition("=")
        if not is_there:
            raise InputError(f"{words} is not of the form NAME=FOLDER.")
        print(table_of(name, read_splits(folder)), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
