"""section.html, the part of the page on precocity: a fragment that evaluate_timeline.py puts into its page.

In: pictures, the most and least precocious documents, regressions. Out: the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import script

from .drawing import Picture
from .page import Cell, Table, render
from .precocity_tables import Choice
from .regression import TERMS


@dataclass(frozen=True)
class Section:
    """What the section shows; without pictures it says that there is nothing to show.

    Attributes:
        left_out: documents without a value.
        pictures: timeline, top_quarter, strips.
        listed: rows of most_and_least.
        regressions: by covariate.
    """

    choice: Choice
    left_out: int
    pictures: dict[str, Picture] = field(default_factory=dict)
    listed: list[dict] = field(default_factory=list)
    regressions: dict[str, list[dict]] = field(default_factory=dict)


def write_section(path: Path, section: Section) -> None:
    """Write the section, whole or not at all."""
    found = section.regressions
    html = render(
        "precocity.html",
        choice=str(section.choice),
        left_out=section.left_out,
        pictures=section.pictures,
        decades=decades_table(section.listed),
        regressions=regressions_table(found) if found else None,
        reading=regressions_reading(found) if found else "",
    )
    script.write_lines(path, [html])


def decades_table(listed: list[dict]) -> Table:
    """Return the first of each decade's two lists."""
    cells = {}
    for row in listed:
        if row["rank"] == 1:
            year = "" if str(row["year"]) in row["title"] else f" ({row['year']})"
            cells.setdefault(row["decade"], []).extend(
                [Cell(row["title"] + year, kind="text"), Cell(f"{float(row['precocity']):+.3f}")]
            )
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
