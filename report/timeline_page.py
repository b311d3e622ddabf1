"""report.html, the page on tuning: one file with every picture inside it, opens from disk.

In: measurements, pictures, training records, and what the page says at its top. Out: the file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import script

from .bench import LEXICAL, Measurements, centered_name
from .drawing import Picture
from .lexical import COMPONENTS
from .measures import interval
from .page import render
from .representations import SHRINKAGE
from .timeline_tables import difference_tables, measured_tables, sign
from .trainings import described

REPRESENTATIONS = (
    ("…, centered", "An embedding model's vectors less the mean passage of the training documents."),
    ("…, normalized means", "Documents are mean passages less the mean of the training documents, times the inverse "
     "root of the covariance of passages within training documents, which is shrunk by "
     f"{SHRINKAGE:.0%} towards a multiple of the identity. Passages stay as they are, and so do their figures."),
    (LEXICAL, f"Which words a text has: tf-idf of the training documents' passages, reduced to {COMPONENTS} "
     "components. Whole documents and passages are projected into that space and compared by cosine."),
)  # fmt: skip


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
        measured=measured_tables(measurements),
        differences=difference_tables(measurements),
        definitions=[*REPRESENTATIONS, *(metric[1:] for metric in measurements.metrics)],
        pictures=pictures,
        sections=[script.regular_file(section).read_text(encoding="utf-8") for section in frame.sections],
        trainings=[described(name, of_name) for name, of_name in trainings.items()],
        made=time.strftime("Made %Y-%m-%d by evaluate_timeline.py. All figures: evaluation.tsv, evaluation.json."),
    )
    with script.replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def write_sections(path: Path, title: str, note: str, sections: list[str]) -> None:
    """Write a page of HTML files alone, whole or not at all."""
    texts = [script.regular_file(section).read_text(encoding="utf-8") for section in sections]
    page = render("sections.html", title=title, note=note, sections=texts)
    with script.replacing(path) as beside:
        beside.write_text(page, encoding="utf-8")


def summary(measurements: Measurements) -> list[str]:
    """Return a sentence for each difference of timeline ρ: what tuning gained, and whether it is certain.

    The centered base comes last: the easiest to beat of the yardsticks.
    """
    sentences, means, easiest = [], measurements.means, centered_name(measurements.base)
    for of, less, estimates in sorted(measurements.differences, key=lambda one: one.less == easiest):
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
