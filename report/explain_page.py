"""The part of the section on precocity that explains single documents: their curves, and their nearest passages.

In: what explain.py found, and the documents' titles and values. Out: a picture and two TSV files, and what the template
explain.html shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from precocity.comparison import OFFSETS

from .drawing import Picture, save
from .explain import Explained, Neighbor, Passage
from .page import render
from .precocity_figures import AHEAD, BEHIND, dated
from .precocity_tables import title_of
from .tsv import write_tsv

BESIDE = 3  # curves beside each other
BEGINNING, LONGEST = 240, 900  # letters of a text on the page, folded and unfolded
HEADING = "Why these documents?"
SIMILARITY = {"cosine": "artanh of the cosine", "divergence": "divergence × −1"}


class Shown(NamedTuple):
    """A passage as the page shows it."""

    label: str
    beginning: str = ""  # of its text; empty where texts are not shown
    rest: str = ""


class Row(NamedTuple):
    """A passage that is explained, between those nearest to it."""

    earlier: list[Shown]
    own: Shown
    later: list[Shown]


class Explanation(NamedTuple):
    """What the page says of one document."""

    title: str
    reading: str
    rows: list[Row]


def explanation(
    explained: list[Explained], reasons: list[str], documents: pd.DataFrame, rows: dict[str, dict], folder: Path
) -> str:
    """Write the picture and the tables of the explained documents; return the page's part, HTML.

    Args:
        reasons: why others are not explained.
        documents: index docid; columns year, title, precocity, novelty, transience.
        rows: of the metadata, by paperId.
    """
    if explained:
        write_tsv(folder / "precocity_passages.tsv", passage_rows(explained, rows))
    return render(
        "explain.html",
        heading=HEADING,
        reasons=reasons,
        curves=draw_curves(explained, documents, folder) if explained else None,
        explanations=explanations(explained, documents, rows),
        compared=how_compared(explained) if explained else "",
        texts=any(one.texts for one in explained),
    )


def own_end(one: Explained, precocity: float) -> list[Passage]:
    """Return the passages furthest ahead of a document that is ahead of its time, else those furthest behind."""
    return [passage for passage in one.passages if passage.is_ahead == (precocity > 0)] or one.passages


def explanations(explained: list[Explained], documents: pd.DataFrame, rows: dict[str, dict]) -> list[Explanation]:
    """Return what the page says of each document.

    Args:
        documents: index docid; columns title, year, precocity, novelty, transience.
        rows: of the metadata, by paperId.
    """
    found = []
    for one in explained:
        row = documents.loc[one.document]
        shown = [row_of(one, passage, rows) for passage in own_end(one, row.precocity)]
        found.append(Explanation(f"{dated(row)}, {row.precocity:+.3f}", reading(row, one.measure), shown))
    return found


def reading(row: pd.Series, measure: str) -> str:
    """Return in two sentences how a document comes by its precocity."""
    more, end = ("more", "ahead") if row.precocity > 0 else ("less", "behind")
    name, sign = ("similarity", -1) if measure == "cosine" else ("divergence", 1)
    later, earlier = (f"{sign * value:.3f}" for value in (row.transience, row.novelty))
    return (
        f"Its passages resemble those of the years after it (mean {name} {later}) {more} than those of the years "
        f"before ({earlier}). Below are its passages furthest {end}, each between the passages nearest to it."
    )


def row_of(one: Explained, passage: Passage, rows: dict[str, dict]) -> Row:
    """Return a passage and its neighbors as the page shows them; of a side's neighbors, only the nearest with text."""

    def side(neighbors: list[Neighbor]) -> list[Shown]:
        found = []
        for near in neighbors:
            title = dated(
                pd.Series({"title": title_of(rows.get(near.document, {"paperId": near.document})), "year": near.year})
            )
            label = f"{title}, passage {near.number}, {one.measure} {value_of(near, one):.2f}"
            found.append(Shown(label) if found else with_text(label, one, near.document, near.number))
        return found

    label = f"passage {passage.number}, precocity {passage.precocity:+.3f}"
    return Row(side(passage.earlier), with_text(label, one, one.document, passage.number), side(passage.later))


def value_of(near: Neighbor, one: Explained) -> float:
    """Return the cosine, or the divergence."""
    return near.nearness if one.measure == "cosine" else -near.nearness


def with_text(label: str, one: Explained, document: str, number: int) -> Shown:
    """Return a passage with its text where texts are shown: the beginning, and the rest of LONGEST letters."""
    text = one.texts.get((document, number), "")
    beginning = shortened(text, BEGINNING)
    return Shown(label, beginning, shortened(text, LONGEST)[len(beginning) :])


def shortened(text: str, most: int) -> str:
    """Return a text, cut between two words if it has more letters than `most`."""
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0]


def how_compared(explained: list[Explained]) -> str:
    """Return in a sentence what nearest passages are chosen from."""
    if not explained[0].left_out:
        return "The table’s filters leave out nothing."
    return f"Left out, as in the strictest filter: {explained[0].left_out}."


# ---------------------------------------------------------------- picture and tables


def draw_curves(explained: list[Explained], documents: pd.DataFrame, folder: Path) -> Picture:
    """Draw for each document its similarity to every year around it, and the means before and after."""
    count, width = len(explained), min(BESIDE, len(explained))
    height = -(-count // width)
    figure, panels = plt.subplots(
        height, width, figsize=(3.3 * width + 0.6, 2.5 * height + 0.5), sharey=True, squeeze=False, layout="constrained"
    )
    offsets = np.array(OFFSETS)
    for axes, one in zip(panels.flat, explained):
        row = documents.loc[one.document]
        axes.axvline(0, color="#999999", linewidth=1, linestyle=":")
        for side, color, mean in ((-1, BEHIND, -row.novelty), (1, AHEAD, -row.transience)):
            half = np.sign(offsets) == side
            axes.plot(offsets[half], one.curve[half], "o-", color=color, markersize=3.5, linewidth=0.7, alpha=0.7)
            axes.plot([side * 0.5, side * one.radius], [mean, mean], color=color, linewidth=2.2)
        axes.set_title(dated(row), fontsize=8.5, color=AHEAD if row.precocity > 0 else BEHIND)
        axes.set_xticks([-20, -10, 0, 10, 20], ["−20", "−10", str(row.year), "+10", "+20"])
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in panels.flat[count:]:
        axes.set_visible(False)
    figure.supylabel(f"similarity ({SIMILARITY[explained[0].measure]})", fontsize=9)
    figure.supxlabel("years before and after the document", fontsize=9)
    caption = (
        "A year without a dot has no passages to compare with; the filter may leave out all of them, such as those of "
        "the same author."
    )
    return save(figure, folder / "precocity_curves.png", HEADING, caption, curve_rows(explained))


def curve_rows(explained: list[Explained]) -> Iterator[dict]:
    """Yield the curves as rows of the TSV; a year without passages to compare with has no similarity."""
    for one in explained:
        for offset, similarity in zip(OFFSETS, one.curve):
            facts = {"docid": one.document, "year": one.year, "offset": offset, "compared_year": one.year + offset}
            yield facts | {"similarity": similarity}


def passage_rows(explained: list[Explained], rows: dict[str, dict]) -> Iterator[dict]:
    """Yield a row for each neighbor of each passage."""
    for one in explained:
        for passage in one.passages:
            facts = {"docid": one.document, "year": one.year, "title": rows[one.document].get("title", "")}
            facts |= {"passage": passage.number, "precocity": passage.precocity}
            facts["end"] = "ahead" if passage.is_ahead else "behind"
            for side, neighbors in (("earlier", passage.earlier), ("later", passage.later)):
                for rank, near in enumerate(neighbors, start=1):
                    other = {"side": side, "rank": rank, "near_docid": near.document, "near_year": near.year}
                    other |= {"near_title": rows[near.document].get("title", ""), "near_passage": near.number}
                    yield facts | other | {one.measure: value_of(near, one)}
