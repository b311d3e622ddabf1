"""Put corpora and choices of held-out documents into one table: what holds for all of them?

Reads what tuning_grid.py --splits measured, a folder for each corpus, and prints a Markdown table for each. A figure is
the mean over the splits, with the least and the most of them; a difference also says in how many of them its whole
interval lies above or below 0. Splits share documents by chance, so no interval is computed of all of them together.
--picture draws the figures, too.
"""

from __future__ import annotations

import re
import sys
from itertools import cycle
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
    return [with_short_names(script.read_json(path)) for path in paths]


def with_short_names(report: dict) -> dict:
    """Return the report with nopara and nopara+x named tuned and tuned+x, if all models share their pairs."""
    sets = {re.split("[+,]", one["of"])[0] for one in report["differences"]}
    if len(sets) != 1:
        return report
    (pairs,) = sets

    def short(name: str) -> str:
        return re.sub(rf"^{re.escape(pairs)}(?![^+,])", "tuned", name)

    differences = [one | {"of": short(one["of"]), "less": short(one["less"])} for one in report["differences"]]
    measured = {short(name): figures for name, figures in report["measured"].items()}
    return report | {"measured": measured, "differences": differences}


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


def draw(corpora: dict[str, list[dict]], path: Path, models: list[str] | None) -> None:
    """Draw a row of panels for each corpus: of each yardstick and model the single splits, and their mean."""
    import matplotlib.pyplot as plt

    from report.drawing import save

    colors = {corpus: colors_of(reports[0], models) for corpus, reports in corpora.items()}
    heights = [len(of_corpus) + 2 for of_corpus in colors.values()]
    shape = {"figsize": (13, 0.3 * sum(heights)), "height_ratios": heights, "layout": "constrained"}
    figure, rows = plt.subplots(len(corpora), len(COLUMNS), squeeze=False, sharey="row", **shape)
    for panels, (corpus, reports) in zip(rows, corpora.items()):
        for axes, (key, heading) in zip(panels, COLUMNS.items()):
            draw_panel(axes, key, reports, colors[corpus])
            axes.set_title(heading, fontsize=10)
        panels[0].set_title(corpus, loc="left", x=-0.95, fontweight="bold")
    save(figure, path, "", "")


def colors_of(report: dict, models: list[str] | None = None) -> dict[str, str]:
    """Return the colors of what is drawn: yardsticks, and tuned models, as they are and with normalized means."""
    from report.bench import centered_name, normalized_name
    from report.drawing import BASE_COLOR, TOPIC_COLOR, TUNED_COLORS

    base = next(iter(report["measured"]))
    tuned = dict.fromkeys(one["of"].partition(",")[0] for one in report["differences"])
    colors = dict.fromkeys((base, centered_name(base), normalized_name(base)), BASE_COLOR)
    colors |= {how: color for name, color in zip(tuned, cycle(TUNED_COLORS)) for how in (name, normalized_name(name))}
    left_out = {how for name in tuned if models and name not in models for how in (name, normalized_name(name))}
    left_out.update(map(centered_name, tuned))
    return {name: colors.get(name, TOPIC_COLOR) for name in report["measured"] if name not in left_out}


def draw_panel(axes, key: str, reports: list[dict], colors: dict[str, str]) -> None:
    """Draw one figure: a line for each representation, small dots for splits, a large one for their mean."""
    from report.drawing import show_rows

    for at, (name, color) in enumerate(colors.items()):
        values = [report["measured"][name][key]["value"] for report in reports]
        if None not in values:
            axes.plot(values, [at] * len(values), ".", color=color, markersize=5, alpha=0.5)
            axes.plot(mean(values), at, "o", color=color, markersize=7)
    show_rows(axes, colors)
    axes.set_ylim(len(colors) - 0.5, -0.5)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("corpora", nargs="+", metavar="NAME=FOLDER", help="what tuning_grid.py -o named")
    arguments.add_argument("--picture", metavar="PNG", help="also draw all figures into this file")
    arguments.add_argument("--models", nargs="+", metavar="NAME", help="tuned models in the picture (default: all)")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, corpora = parse_args(argv), {}
    for name, folders in script.named_paths(args.corpora).items():
        corpora[name] = [report for folder in folders for report in read_splits(folder)]
        print(table_of(name, corpora[name]), end="\n\n")
    if args.picture:
        draw(corpora, Path(args.picture), args.models)
    return 0


if __name__ == "__main__":
    sys.exit(main())
