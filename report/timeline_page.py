"""report.html, the page on tuning: one file with every picture inside it, opens from disk.

In: measurements, pictures, training records, and what the page says at its top. Out: the file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import script

from .bench import Difference, Estimates, Measurements
from .drawing import Picture
from .measures import LESS_IS_BETTER, METRICS, Estimate, interval
from .page import Cell, Table, render
from .trainings import described


@dataclass(frozen=True)
class Frame:
    """What stands around the measurements."""

    title: str
    corpus: str  # one line on documents and years
    note: str = ""  # above the figures
    sections: tuple[str, ...] = ()  # HTML files to show below the figures


def write_page(
    path: Path, frame: Frame, measurements: Measurements, pictures: list[Picture], trainings: dict[str, list[dict]]
) -> None:
    """Write the page, whole or not at all."""
    page = render(
        "timeline.html",
        title=frame.title,
        corpus=frame.corpus,
        note=frame.note,
        summary=summary(measurements),
        seeds=seeds_line(measurements),
        measured=measured_table(measurements.means).turned("measure"),
        differences=difference_table(measurements.differences).turned("measure"),
        definitions=[(heading, definition) for _, heading, definition in METRICS],
        pictures=pictures,
        sections=[script.regular_file(section).read_text(encoding="utf-8") for section in frame.sections],
        trainings=[described(name, of_name) for name, of_name in trainings.items()],
        made=time.strftime("Made %Y-%m-%d by evaluate_timeline.py; evaluation.json has all figures."),
    )
    with script.replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def write_sections(path: Path, title: str, note: str, sections: list[str]) -> None:
    """Write a page of HTML files alone, whole or not at all."""
    texts = [script.regular_file(section).read_text(encoding="utf-8") for section in sections]
    page = render("sections.html", title=title, note=note, sections=texts)
    with script.replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def measured_table(means: dict[str, Estimates]) -> Table:
    """Return the estimates of every representation, the best of each column bold."""
    best = {}
    for key, _, _ in METRICS:
        values = [mean[key].value for mean in means.values() if mean[key].value is not None]
        best[key] = (min if key in LESS_IS_BETTER else max)(values, default=None)
    rows = [
        [Cell(name), *(estimate_cell(mean[key], ".3f", mean[key].value == best[key]) for key, _, _ in METRICS)]
        for name, mean in means.items()
    ]
    return Table(headings("representation"), rows)


def difference_table(differences: list[Difference]) -> Table:
    """Return the differences, those whose interval leaves out 0 bold."""
    rows = []
    for of, less, estimates in differences:
        cells = [estimate_cell(estimates[key], "+.3f", sign(estimates[key]) != 0) for key, _, _ in METRICS]
        rows.append([Cell(f"{of} less {less}"), *cells])
    return Table(headings("difference"), rows)


def headings(first: str) -> list[str]:
    """Return the headings of a table with one column a measure."""
    return [first, *(heading for _, heading, _ in METRICS)]


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


def summary(measurements: Measurements) -> list[str]:
    """Return a sentence for each difference of timeline ρ: what tuning gained, and whether it is certain."""
    sentences, means = [], measurements.means
    for of, less, estimates in measurements.differences:
        difference, bounds = estimates["timeline_rho"], interval(estimates["timeline_rho"].replicates)
        if difference.value is None or bounds is None:
            continue
        how = {1: "more closely with {} than", -1: "less closely with {} than", 0: "about as closely with {} as"}
        values = [means[name]["timeline_rho"].value for name in (of, less)]
        sentences.append(
            "Distances between held-out documents follow the years between them "
            f"{how[sign(difference)].format(of)} with {less}: timeline ρ is {values[0]:.3f} and {values[1]:.3f} "
            f"(difference {difference.value:+.3f}, 95% interval {bounds[0]:+.3f} to {bounds[1]:+.3f})."
        )
    return sentences


def seeds_line(measurements: Measurements) -> str:
    """Return how many runs each representation is the mean of, where any is of several."""
    several = [f"{name}: {len(of_name)}" for name, of_name in measurements.runs.items() if len(of_name) > 1]
    return f"Means over runs with different seeds ({'; '.join(several)})." if several else "One run (seed) each."
