"""report.html, the page on tuning: one file with every picture inside it, opens from disk.

In: measurements, pictures, training records, and what the page says at its top. Out: the file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import script

from .bench import LEXICAL, Measurements
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

ANSWERS = (  # measure, claim, and verdicts by the sign of the difference
    ("mrr_at_10", "{} finds the passage that follows (MRR@10 {:.3f})",
     {1: "more often than", 0: "about as often as", -1: "less often than"}),
    ("timeline_rho", "With {}, distances between held-out documents follow the years between them (timeline ρ {:.3f})",
     {1: "more closely than with", 0: "about as closely as with", -1: "less closely than with"}),
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
    """Return two sentences for each tuned model: on next passages and on the timeline.

    More and less mean that the 95% interval of the difference excludes 0.
    """
    return [
        sentence
        for name in measurements.tuned
        for key, claim, verdicts in ANSWERS
        if (sentence := answer(name, key, claim, verdicts, measurements))
    ]


def answer(name: str, key: str, claim: str, verdicts: dict[int, str], measurements: Measurements) -> str:
    """Return how a tuned model compares with each other representation in one measure; empty where nothing is known."""
    means, found = measurements.means, {}
    for of, less, estimates in measurements.differences:
        difference, bounds = estimates[key], interval(estimates[key].replicates)
        if of != name or difference.value is None or bounds is None:
            continue
        found.setdefault(sign(difference), []).append(f"“{less}” ({means[less][key].value:.3f})")
    told = "; ".join(f"{verdicts[way]} {listed(found[way])}" for way in verdicts if way in found)
    return f"{claim.format(name, means[name][key].value)} {told}." if told else ""


def listed(names: list[str]) -> str:
    """Return names as a sentence lists them: a, b, and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}{',' * (len(names) > 2)} and {names[-1]}"


def seeds_line(measurements: Measurements) -> str:
    """Return how many runs each representation is the mean of, where any is of several."""
    several = [f"{name}: {len(of_name)}" for name, of_name in measurements.runs.items() if len(of_name) > 1]
    return f"Means over runs with different seeds ({'; '.join(several)})." if several else "One run (seed) each."
