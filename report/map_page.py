"""The map as a page to walk in, and as a still picture with its section for the report.

In: documents, passages, places, and the nearest documents (map_data.py); titles, authors, precocity. Out: map.html, one
file that opens from disk without a network; map.png; section.html. No passage's text goes onto a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import script

from .drawing import Picture, save
from .map_data import Documents, Nearest, Passages
from .page import render
from .precocity_figures import label

FIELDS = 5  # columns and rows of the still map; in each, one document is named if there is room


@dataclass(frozen=True)
class Map:
    """All that a map shows.

    Attributes:
        titles, authors: one a document; authors are separated by semicolons, and empty where they are not known.
        precocity: one a document, None where it is not known.
        places, passage_places: float, (documents, 2) and (passages, 2).
    """

    documents: Documents
    passages: Passages
    titles: list[str]
    authors: list[str]
    precocity: list[float | None]
    places: np.ndarray
    passage_places: np.ndarray
    earlier: Nearest
    later: Nearest

    @property
    def heading(self) -> str:
        years = self.documents.years
        return f"A map of {len(years):,} documents, {years[0]}–{years[-1]}"


def columns_of(shown: Map) -> dict:
    """Return the table's columns, one value a document."""
    import pyarrow as pa

    documents = shown.documents
    columns = {"paperId": documents.paper_ids, "title": shown.titles, "year": documents.years, "author": shown.authors}
    columns |= {"precocity": pa.array(shown.precocity, pa.float64()), "passages": documents.passages}
    return columns | dict(zip("xy", shown.places.T))


# ---------------------------------------------------------------- the page


def write_map(path: Path, shown: Map) -> None:
    """Write the page, whole or not at all."""
    from plotly.offline import get_plotlyjs  # only a map needs it

    script.write_lines(path, [render("map.html", title=shown.heading, data=data_of(shown), plotly=get_plotlyjs())])


def data_of(shown: Map) -> dict:
    """Return what the page's script draws, as lists: numbers are rounded to what a screen shows."""
    documents, passages = shown.documents, shown.passages
    names, authors = numbered(shown.authors)
    data = {"title": shown.titles, "year": documents.years.tolist(), "author": authors, "names": names}
    data |= {"precocity": [x and round(x, 4) for x in shown.precocity], **xy(shown.places)}
    for side in ("earlier", "later"):
        nearest, there = getattr(shown, side), getattr(shown, side).ids >= 0
        data[side] = [row[some].tolist() for row, some in zip(nearest.ids, there)]
        thousandths = np.rint(np.where(there, nearest.cosines, 0) * 1000).astype(int)
        data[f"{side}_cosine"] = [row[some].tolist() for row, some in zip(thousandths, there)]
    places = xy(shown.passage_places)
    of_passages = {"document": passages.document.tolist(), "number": passages.number.tolist(), **places}
    return data | {"passages": of_passages, "all_passages": int(documents.passages.sum())}


def xy(places: np.ndarray) -> dict[str, list[float]]:
    """Return places as two lists."""
    return {name: np.round(values.astype(float), 3).tolist() for name, values in zip("xy", places.T)}


def numbered(cells: Iterable[str]) -> tuple[list[str], list[list[int]]]:
    """Return the authors, as first written, and of each document the numbers of its authors.

    As in precocity.exclusions, authors are separated by semicolons; case and extra spaces don't count.
    """
    cells = [[" ".join(name.split()) for name in cell.split(";") if name.strip()] for cell in cells]
    first_written: dict[str, str] = {}
    for name in chain.from_iterable(cells):
        first_written.setdefault(name.casefold(), name)
    number = {folded: i for i, folded in enumerate(first_written)}
    return list(first_written.values()), [[number[name.casefold()] for name in cell] for cell in cells]


# ---------------------------------------------------------------- the still picture


def draw_still(shown: Map, folder: Path) -> Picture:
    """Draw the documents by year, and name one in each part of the map."""
    width, height = np.ptp(shown.places, axis=0)
    figure, axes = plt.subplots(figsize=(9.5, np.clip(8 * height / width, 3.5, 7)), layout="constrained")
    size = np.clip(9000 / len(shown.places), 2, 26)
    points = axes.scatter(*shown.places.T, c=shown.documents.years, cmap="viridis", s=size, linewidth=0)
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    figure.colorbar(points, ax=axes, shrink=0.7, pad=0.01, label="year")
    label(axes, [(*shown.places[i], shown.titles[i], "#1c1c1c") for i in landmarks(shown.places)])
    page = Path(*folder.resolve().parts[-2:], "map.html")
    caption = (
        "Each point is a document. Documents that the model finds alike lie close together (UMAP of their mean "
        f"vectors, by cosine); distances across the map mean little. The page {page} is the same map to walk in: "
        "search it, or click on a document to see the nearest earlier and later ones."
    )
    return save(figure, folder / "map.png", "A map of neighborhoods", caption)


def landmarks(places: np.ndarray) -> list[int]:
    """Return of each field of a grid over the map the document nearest to the middle of those in it."""
    low, high = places.min(axis=0), places.max(axis=0)
    fields = np.minimum((places - low) / np.maximum(high - low, 1e-9) * FIELDS, FIELDS - 1).astype(int)
    found = []
    for field in np.unique(fields, axis=0):
        (inside,) = np.nonzero((fields == field).all(axis=1))
        off = places[inside] - np.median(places[inside], axis=0)
        found.append(int(inside[np.square(off).sum(axis=1).argmin()]))
    return found


def write_section(path: Path, picture: Picture) -> None:
    """Write the part of the report that shows the still picture, whole or not at all."""
    script.write_lines(path, [render("map_section.html", picture=picture)])
