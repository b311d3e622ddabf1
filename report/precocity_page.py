"""section.html, the part of the page on precocity: a fragment that evaluate_timeline.py puts into its page.

In: pictures, the most and least precocious documents, figures of outcomes. Out: the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import script

from .drawing import Picture
from .outcomes import Figure
from .outcomes_page import GROUPS, explained_table, figures_table, outcomes_reading
from .page import Cell, Table, render
from .precocity_beside import Beside, correlations_table, disagreements_table
from .precocity_tables import Choice
from .regression import TERMS


@dataclass(frozen=True)
class Section:
    """What the section shows; without pictures it says that there is nothing to show.

    Attributes:
        left_out: documents without a value.
        facts: what the manifest of each table says of all documents.
        pictures: timeline, top_quarter, strips.
        listed: rows of most_and_least.
        outcomes: figures of what precocity explains.
        beside: other representations.
        answer: what the timeline shows.
        why: the part that explains documents, HTML.
    """

    choice: Choice
    left_out: int
    facts: list[dict] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    listed: list[dict] = field(default_factory=list)
    outcomes: list[Figure] = field(default_factory=list)
    beside: Beside | None = None
    answer: str = ""
    why: str = ""


def write_section(path: Path, section: Section) -> None:
    """Write the section, whole or not at all."""
    found = section.outcomes
    html = render(
        "precocity.html",
        answer=section.answer,
        why=section.why,
        choice=str(section.choice),
        left_out=section.left_out,
        certainty=" ".join(map(certainty_reading, section.facts)),
        pictures=section.pictures,
        decades=decades_table(section.listed),
        correlations=correlations_table(section.beside) if section.beside else None,
        disagreements=disagreements_table(section.beside) if section.beside else None,
        explained=explained_table(found) if found else None,
        coefficients=figures_table(found, section.choice.fraction, TERMS),
        groups=figures_table(found, section.choice.fraction, GROUPS),
        reading=outcomes_reading(found, section.choice.fraction) if found else "",
    )
    script.write_lines(path, [html])


def certainty_reading(facts: dict) -> str:
    """Return how sure the values of a table are, in a few sentences; nothing where its manifest doesn't say."""
    sentences = []
    if facts.get("reliability") is not None:
        sentences.append(
            f"Precocity from every other passage and from the rest correlate at r = "
            f"{facts['split_half_correlation']:.2f}, so that precocity from all passages has a reliability of "
            f"{facts['reliability']:.2f} (Spearman–Brown)."
        )
    if facts.get("spread") is not None:
        sentences.append(
            f"Documents spread by {facts['spread']:.3f} (standard deviation); if the years before and after were "
            f"interchangeable, it would be {facts['expected_spread']:.3f}. p is below 0.05 for "
            f"{facts['share_below_05']:.0%} of documents, where chance alone gives 5%."
        )
    return " ".join(sentences)


def decades_table(listed: list[dict]) -> Table:
    """Return the first of each decade's two lists."""
    cells = {}
    for row in listed:
        if row["rank"] == 1:
            year = "" if str(row["year"]) in row["title"] else f" ({row['year']})"
            error = np.hypot(row["se_years"], np.nan_to_num(row["se_passages"]))
            value = Cell(f"{row['precocity']:+.3f}", f"± {2 * error:.3f}")
            cells.setdefault(row["decade"], []).extend([Cell(row["title"] + year, kind="text"), value])
    headings = ["decade", "furthest ahead", "precocity", "furthest behind", "precocity"]
    return Table(headings, [[Cell(f"{decade}s"), *of_decade] for decade, of_decade in cells.items()])
