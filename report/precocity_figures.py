"""The pictures of the section on precocity.

In: data frames of documents and passages (see precocity_tables.py). Out: PNG files in a folder, each with its heading
and its reading as a Picture.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from scipy.stats import spearmanr

from .drawing import BASE_COLOR, DPI, TUNED_COLORS, Picture, fit_font, save
from .precocity_tables import SURE, VALUES, ends, errors_of

AHEAD, BEHIND = TUNED_COLORS[0], TUNED_COLORS[1]
SHADES = LinearSegmentedColormap.from_list("precocity", [BEHIND, "#f7f7f7", AHEAD])
LABELLED = 6  # documents named at either end of a picture
LONGEST_TITLE = 46  # letters of a title in a picture


def short(title: str) -> str:
    """Return a title cut to what a picture has room for, without characters that don't show."""
    title = "".join(filter(str.isprintable, " ".join(title.split())))
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"


def dated(row) -> str:
    """Return a document's title, shortened, with its year unless the title holds it; row has year and title."""
    return short(row.title) if str(row.year) in row.title else f"{short(row.title)} ({row.year})"


def label(axes, points: list[tuple[float, float, str, str]]) -> None:
    """Write titles beside points (x, y, title, color), each where it covers no other, as far as possible."""
    axes.figure.set_dpi(DPI)
    axes.figure.canvas.draw()
    centres = axes.transData.transform([point[:2] for point in points])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    places = [(x, y, side) for y in (0, 9, -9, 18, -18, 27, -27) for x, side in ((7, "left"), (-7, "right"))]
    style = {"textcoords": "offset points", "va": "center", "fontsize": 7.5}
    style["path_effects"] = [withStroke(linewidth=2.5, foreground="white", alpha=0.8)]
    for x, y, title, color in points:
        for dx, dy, side in places:
            text = axes.annotate(short(title), (x, y), (dx, dy), ha=side, color=color, **style)
            fit_font(text)
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()  # no place is free: the point keeps its color, without a title


def running_median(years, values) -> tuple[np.ndarray, np.ndarray]:
    """Return years and the median of the values at most five years off, where there are at least three."""
    years, values = np.asarray(years), np.asarray(values)
    middles = np.arange(years.min(), years.max() + 1)
    near = [values[np.abs(years - middle) <= 5] for middle in middles]
    enough = np.array([len(some) >= 3 for some in near])
    return middles[enough], np.array([np.median(some) for some, keep in zip(near, enough) if keep])


def scatter_with_titles(axes, documents: pd.DataFrame, x: str, y: str, extremes: tuple) -> None:
    """Draw documents as gray points, the two data frames of extremes in color with their titles."""
    axes.scatter(documents[x], documents[y], s=14, color=BASE_COLOR, alpha=0.6, linewidth=0)
    points = []
    for some, color in zip(extremes, (AHEAD, BEHIND)):
        axes.scatter(some[x], some[y], s=22, color=color, linewidth=0)
        points += [(getattr(row, x), getattr(row, y), row.title, color) for row in some.itertuples()]
    axes.margins(x=0.08, y=0.1)
    axes.legend(frameon=False, loc="upper left")
    label(axes, points)


def draw_timeline(documents: pd.DataFrame, folder: Path) -> Picture:
    """Draw precocity against year, a running median, and the extreme documents' titles."""
    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    axes.axhline(0, color="#cccccc", linewidth=1, zorder=0)
    median = running_median(documents.year, documents.precocity)
    axes.plot(*median, color="#1c1c1c", linewidth=1.2, label="median over 11 years")
    axes.set(xlabel="year", ylabel="precocity (above 0: ahead of its time)")
    extremes = ends(documents, "precocity", LABELLED)
    for some, color in zip(extremes, (AHEAD, BEHIND)):
        axes.errorbar(some.year, some.precocity, 2 * errors_of(some), fmt="none", ecolor=color, alpha=0.4, zorder=1)
    scatter_with_titles(axes, documents, "year", "precocity", extremes)
    caption = "Bars reach two standard errors either way."
    path = folder / "precocity_timeline.png"
    return save(figure, path, "Precocity by year", caption, rows_of(documents, (*VALUES, *SURE)))


def draw_top_quarter(documents: pd.DataFrame, folder: Path) -> Picture:
    """Draw the precocity of the top quarter of passages against that of all, those that gain most and least named."""
    slope, base = np.polyfit(documents.precocity, documents.top_precocity, 1) if len(documents) > 2 else (1, 0)
    beyond = documents.assign(beyond=documents.top_precocity - base - slope * documents.precocity)
    figure, axes = plt.subplots(figsize=(8.2, 5.6), layout="constrained")
    span = np.array([documents.precocity.min(), documents.precocity.max()])
    axes.plot(span, span, color="#cccccc", linewidth=1, zorder=0, label="no gain")
    axes.plot(span, base + slope * span, color="#1c1c1c", linewidth=1.2, label="typical gain")
    axes.set(xlabel="precocity, all passages", ylabel="precocity, top quarter of passages")
    scatter_with_titles(axes, documents, "precocity", "top_precocity", ends(beyond, "beyond", LABELLED))
    path = folder / "precocity_top_quarter.png"
    rows = rows_of(documents, ("precocity", "top_precocity"))
    return save(figure, path, "The top quarter of passages", top_reading(documents), rows)


def draw_strips(documents: pd.DataFrame, passages: pd.DataFrame, folder: Path) -> Picture:
    """Draw each document as a strip from beginning to end, every passage in the color of its precocity.

    Args:
        documents: as many of those furthest ahead as of those furthest behind, in this order.
    """
    strips = {
        docid: values.to_numpy() for docid, values in passages.sort_values("chunknumber").groupby("paperId").precocity
    }
    spread = float(np.percentile(np.abs(passages.precocity), 97)) or 1.0  # one passage must not pale all others
    figure, axes = plt.subplots(figsize=(9.5, 0.36 * len(documents) + 1.1), layout="constrained")
    for row, docid in enumerate(documents.index):
        edges, line = np.linspace(0, 1, len(strips[docid]) + 1), 0.3 if len(strips[docid]) < 100 else 0
        values = strips[docid][None, :]
        image = axes.pcolormesh(edges, [row - 0.4, row + 0.4], values, cmap=SHADES, vmin=-spread, vmax=spread)
        image.set(edgecolor="white" if line else "face", linewidth=line)
    axes.set_yticks(range(len(documents)), [dated(row) for row in documents.itertuples()], fontsize=8)
    axes.set_xticks([0, 1], ["beginning", "end"])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01, label="precocity of a passage")
    path = folder / "precocity_strips.png"
    rows = passages[["paperId", "chunknumber", "precocity"]].to_dict("records")
    return save(figure, path, "Passage by passage", strips_reading(documents, passages), rows)


def rows_of(documents: pd.DataFrame, columns: tuple[str, ...]) -> list[dict]:
    """Return documents as rows of a TSV: docid, year, title, and these columns."""
    return documents.rename_axis("docid").reset_index()[["docid", "year", "title", *columns]].to_dict("records")


def answer(documents: pd.DataFrame) -> str:
    """Return who is furthest ahead, who furthest behind, and how many are ahead, in two sentences."""
    most, least = documents.loc[documents.precocity.idxmax()], documents.loc[documents.precocity.idxmin()]
    return (
        f"Furthest ahead of its time is {dated(most)} ({most.precocity:+.3f}), furthest behind {dated(least)} "
        f"({least.precocity:+.3f}). {(documents.precocity > 0).mean():.0%} of {len(documents)} documents resemble the "
        "years after them more than the years before."
    )


def top_reading(documents: pd.DataFrame) -> str:
    """Return what the top quarter shows, in one sentence."""
    rho = spearmanr(documents.precocity, documents.top_precocity).statistic
    gain = (documents.top_precocity - documents.precocity).mean()
    return (
        f"The ranking of documents by their most precocious quarter of passages and that by all passages agree to "
        f"Spearman's ρ = {rho:.2f}. That quarter is {gain:.3f} more precocious on average. Documents in orange "
        "gain more than others of the same precocity, documents in blue less."
    )


def strips_reading(documents: pd.DataFrame, passages: pd.DataFrame) -> str:
    """Return what the strips show, in one sentence."""
    ahead = passages.precocity > 0
    chosen = passages.paperId.isin(documents.index[: len(documents) // 2])
    return (
        f"In the documents furthest ahead, {ahead[chosen].mean():.0%} of passages look ahead (orange); in those "
        f"furthest behind, {ahead[~chosen].mean():.0%}."
    )
