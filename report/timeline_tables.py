"""The tables of figures: five figures first, the others in groups; and all of them as evaluation.tsv.

In: measurements. Out: Tables, each with the heading of its group, and a file with one figure a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .bench import Estimates, Measurements
from .measures import LESS_IS_BETTER, Estimate, interval
from .page import Cell, Table
from .tsv import write_tsv

FIRST = ("mrr_at_10", "ap_anywhere", "timeline_rho", "timeline_rho_near", "dating_r2_author")
# By how their keys begin; the longest beginning counts.
GROUPS = {
    "Next passages": ("mrr_", "accuracy_", "ap_"),
    "Timeline, held-out documents": ("timeline_",),
    "Timeline, all documents": ("timeline_rho_all",),
    "Dating": ("dating_", "forward_"),
    "Authors, generations, kinds, chance": ("",),
}
# More is better of the others. These only describe: a representation of mere noise or of mere author may have more.
DESCRIBES = ("timeline_p", "persistence", "cohort", "reliability", "same_date_")

Row = tuple[str, Estimates]  # what stands at its left, and the figures


def grouped(measurements: Measurements) -> dict[str, list[str]]:
    """Return the keys of FIRST, under "", and of each group, without those that no representation could be asked."""
    measured = [
        key
        for key, *_ in measurements.metrics
        if any(mean[key].value is not None for mean in measurements.means.values())
    ]
    group_of = {start: name for name, starts in GROUPS.items() for start in starts}
    groups = {name: [] for name in ("", *GROUPS)}
    for key in measured:
        groups[group_of[max(filter(key.startswith, group_of), key=len)]].append(key)
    groups[""] = [key for key in FIRST if key in measured]
    return {name: keys for name, keys in groups.items() if keys or not name}


def tables(measurements: Measurements, rows: list[Row], first: str, cell: Callable) -> dict[str, Table]:
    """Return a table of the first figures, under "", and one of each group; a row for each measure.

    Args:
        first: what the other columns are.
        cell: makes a Cell of a key and an estimate.
    """
    headings = {key: heading for key, heading, _ in measurements.metrics}
    return {
        group: Table(
            [first, *(headings[key] for key in keys)],
            [[Cell(name), *(cell(key, estimates[key]) for key in keys)] for name, estimates in rows],
        ).turned("measure")
        for group, keys in grouped(measurements).items()
    }


def measured_tables(measurements: Measurements) -> dict[str, Table]:
    """Return the estimates of every representation, the best of each measure bold."""
    best = {}
    for key, *_ in measurements.metrics:
        values = [mean[key].value for mean in measurements.means.values() if mean[key].value is not None]
        if not key.startswith(DESCRIBES):
            best[key] = (min if key in LESS_IS_BETTER else max)(values, default=None)

    def cell(key: str, one: Estimate) -> Cell:
        return estimate_cell(one, ".3f", one.value == best.get(key))

    return tables(measurements, list(measurements.means.items()), "representation", cell)


def difference_tables(measurements: Measurements) -> dict[str, Table]:
    """Return the differences, those whose interval leaves out 0 bold. Those of p-values would mean nothing."""

    def cell(key: str, one: Estimate) -> Cell:
        return Cell("–") if key.startswith("timeline_p") else estimate_cell(one, "+.3f", sign(one) != 0)

    rows = [(f"{one.of} less {one.less}", one.estimates) for one in measurements.differences]
    return tables(measurements, rows, "difference", cell)


def estimate_cell(one: Estimate, form: str, is_bold: bool) -> Cell:
    """Return a value with its interval, a dash where there is none."""
    if one.value is None:
        return Cell("–")
    bounds = interval(one.replicates)
    return Cell(
        f"{one.value:{form}}", f"{bounds[0]:.3f} … {bounds[1]:.3f}" if bounds else "", "best" if is_bold else ""
    )


def sign(difference: Estimate) -> int:
    """Return 1 or -1 where the whole interval lies above or below 0, else 0."""
    bounds = interval(difference.replicates)
    return 0 if bounds is None else int(bounds[0] > 0) - int(bounds[1] < 0)


def figure_rows(measurements: Measurements, keys: Iterable[str]) -> Iterator[dict]:
    """Yield these figures of every representation, and of every difference, as rows of a TSV; none without a value."""
    named = [(name, "", mean) for name, mean in measurements.means.items()] + list(measurements.differences)
    for name, less, estimates in named:
        for key in keys:
            one, (low, high) = estimates[key], interval(estimates[key].replicates) or (None, None)
            if one.value is not None and not (less and key.startswith("timeline_p")):
                facts = {"representation": name, "less": less, "measure": key}
                yield facts | {"value": one.value, "low": low, "high": high}


def write_figures(path: Path, measurements: Measurements) -> None:
    """Write every figure and every difference with its definition as a line of a TSV, for a paper's appendix."""
    definitions = {key: text for key, _, text in measurements.metrics}
    rows = figure_rows(measurements, definitions)
    write_tsv(path, (row | {"definition": definitions[row["measure"]]} for row in rows))
