"""section.html, the part of the page on precocity: a fragment that evaluate_timeline.py puts into its page.

In: pictures, the most and least precocious documents, regressions. Out: the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import script

from .drawing import Picture
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
        regressions: by covariate.
        beside: other representations.
    """

    choice: Choice
    left_out: int
    facts: list[dict] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    listed: list[dict] = field(default_factory=list)
    regressions: dict[str, list[dict]] = field(default_factory=dict)
    beside: Beside | None = None


def write_section(path: Path, section: Section) -> None:
    """Write the section, whole or not at all."""
    found = section.regressions
    html = render(
        "precocity.html",
        choice=str(section.choice),
        left_out=section.left_out,
        certainty=" ".join(map(certainty_reading, section.facts)),
        pictures=section.pictures,
        decades=decades_table(section.listed),
        correlations=correlations_table(section.beside) if section.beside else None,
        disagreements=disagreements_table(section.beside) if section.beside else None,
        regressions=regressions_table(found) if found else None,
        reading=regressions_reading(found) if found else "",
    )
    script.write_lines(path, [html])


def certainty_reading(facts: dict) -> str:
    """Return how sure the values of a table are, in a few sentences; nothing where its manifest doesn't say."""
    sentences = []
    if facts.get("reliability") is not None:
        sentences.append(
            f"Precocity from every other passage and from the rest correlate at r = "
            f"{facts['split_half_correlation']:.2f}, so that from all passages has a reliability of "
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
            error = math.hypot(float(row["se_years"]), float(row["se_passages"] or 0))
            value = Cell(f"{float(row['precocity']):+.3f}", f"± {2 * error:.3f}")
            cells.setdefault(row["decade"], []).extend([Cell(row["title"] + year, kind="text"), value])
    headings = ["decade", "furthest ahead", "precocity", "furthest behind", "precocity"]
    return Table(headings, [[Cell(f"{decade}s"), *of_decade] for decade, of_decade in cells.items()])


def regressions_table(found: dict[str, list[dict]]) -> Table:
    """Return a row of coefficients for each regression."""
    rows = []
    for name, fits in found.items():
        for fit in fits:
            stars = {term: "*" if fit["p_values"][term] < 0.05 else "" for term in TERMS}
            texts = [f"{name}, {fit['passages']}", str(fit["documents"])]
            texts += [f"{fit['coefficients'][term]:+.3f}{stars[term]}" for term in TERMS]
            texts += [f"{fit['r_squared']:.3f}", f"{fit['r_squared_date_alone']:.3f}"]
            rows.append([Cell(text) for text in texts])
    return Table(["outcome, passages", "documents", *TERMS, "R²", "R², date alone"], rows)


def regressions_reading(found: dict[str, list[dict]]) -> str:
    """Return what the first covariate's better regression shows, in one sentence."""
    name, fits = next(iter(found.items()))
    best = max(fits, key=lambda fit: fit["r_squared"])
    passages = "all passages" if best["passages"] == "all" else "the top quarter of passages"
    return (
        f"Date alone explains {best['r_squared_date_alone']:.1%} of the variance in {name}; the precocity and novelty "
        f"of {passages} raise this to {best['r_squared']:.1%}."
    )
