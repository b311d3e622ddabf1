"""The drawings of the report, PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

from encoder import unit_rows

from .drawing import BASE_COLOR, TOPIC_COLOR, TUNED_COLORS, save
from .metrics import METRICS, Measured, interval

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SHOWN = ("mrr_at_10", "ap_same_decade", "timeline_rho", "timeline_rho_near", "dating_r2", "same_author")  # of METRICS

# The figures of the page, in order: file, heading, caption.
FIGURES = (
    ("scores.png", "How sure the figures are", "The main columns of the table with their 95% intervals over documents; "
     "small dots are single runs (seeds)."),
    ("heat_maps.png", "Every year with every other", "Cosine of two years' mean documents; each panel has its own "
     "scale. Periods show as squares along the diagonal, a corpus that moves steadily as a band."),
    ("distance_by_gap.png", "Distance against time", "Mean distance of documents so many years apart. The more "
     "steadily a line rises, the better distance tells time."),
    ("maps.png", "A map of the documents", "Each point a document, on its first two principal "
     "components."),
    ("loss.png", "Training loss", "Multiple Negatives Ranking Loss by step, and its running mean. Dips are the "
     "last, smaller batches of an epoch: fewer negatives to tell apart."),
)  # fmt: skip


class Drawn(NamedTuple):
    """A representation in the drawings: its first run, of the drawn documents only (see Run)."""

    name: str
    color: str
    documents: np.ndarray
    distance: np.ndarray


def colors(names: list[str], base: str, topics: str | None) -> dict[str, str]:
    """Return each representation's colour: grey for the base, black for the topic model; centred as uncentred."""
    found, tuned = {base: BASE_COLOR, topics: TOPIC_COLOR}, iter(TUNED_COLORS * len(names))
    return {name: found.get(name) or found.setdefault(name, next(tuned)) for name in names}


def draw_scores(
    means: dict[str, dict[str, Measured]], runs: dict[str, list[dict[str, Measured]]], color: dict[str, str], path: Path
) -> None:
    """Draw a panel for each main figure: every representation's value, interval and single runs."""
    keys = [key for key in SHOWN if any(m[key].value is not None for m in means.values())]
    headings = {key: heading for key, heading, _ in METRICS}
    figure, panels = plt.subplots(
        1, len(keys), figsize=(2.3 * len(keys) + 1.6, 0.34 * len(means) + 1.1), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, key in zip(panels[0], keys):
        for row, (name, mean) in enumerate(means.items()):
            if mean[key].value is None:
                continue
            bounds = interval(mean[key].replicates)
            if bounds:
                axes.plot(bounds, [row, row], color=color[name], linewidth=2, solid_capstyle="butt")
            axes.plot(mean[key].value, row, "o", color=color[name], markersize=6)
            single = [run[key].value for run in runs[name]]
            if len(single) > 1:
                axes.plot(single, [row + 0.22] * len(single), ".", color=color[name], markersize=4)
        axes.set(title=headings[key], yticks=range(len(means)), yticklabels=list(means))
        axes.title.set_fontsize(10)
        axes.grid(axis="x", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0][0].invert_yaxis()
    save(figure, path)


def draw_loss(trainings: dict[str, dict], color: dict[str, str], path: Path) -> None:
    """Draw training loss by step, raw and as a running mean."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for name, training in trainings.items():
        steps = [point["step"] for point in training["loss_curve"]]
        loss = np.array([point["loss"] for point in training["loss_curve"]], dtype=float)
        width = max(1, len(loss) // 10)
        running = [loss[max(0, i - width + 1) : i + 1].mean() for i in range(len(loss))]
        axes.plot(steps, loss, color=color[name], alpha=0.3, linewidth=1)
        axes.plot(steps, running, color=color[name], linewidth=2, label=name)
    axes.set(xlabel="optimizer step", ylabel="training loss", ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, path)


def year_similarity(documents, years):
    """Return the years that have documents and the cosine of every two years' mean documents."""
    present = np.unique(years)
    means = unit_rows(np.stack([documents[years == year].mean(axis=0) for year in present]))
    return present, means @ means.T


def draw_heat_maps(drawn: list[Drawn], years, path: Path) -> None:
    """Draw the similarity of every year with every other, one panel a representation."""
    figure, panels = plt.subplots(1, len(drawn), figsize=(5.2 * len(drawn), 4.6), layout="constrained", squeeze=False)
    for axes, representation in zip(panels[0], drawn):
        present, similarity = year_similarity(representation.documents, years)
        off_diagonal = similarity[~np.eye(len(present), dtype=bool)]
        low, high = np.percentile(off_diagonal, [1, 99]) if len(off_diagonal) else (0, 1)
        edges = np.append(present, present[-1] + 1)
        image = axes.pcolormesh(edges, edges, similarity, vmin=low, vmax=high, cmap="magma", rasterized=True)
        axes.set(title=representation.name, aspect="equal", facecolor="#dddddd")
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    save(figure, path)


def draw_distance_by_gap(drawn: list[Drawn], years, path: Path) -> None:
    """Draw the mean distance of documents against the years between them, in standard deviations of all pairs."""
    upper = np.triu_indices(len(years), k=1)
    apart = np.abs(years[:, None] - years[None, :])[upper]
    bins = apart // 5
    enough = [b for b in np.unique(bins) if (bins == b).sum() >= 10]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for representation in drawn:
        distance = representation.distance[upper]
        score = (distance - distance.mean()) / distance.std()
        means = [score[bins == b].mean() for b in enough]
        middles = [b * 5 + 2.5 for b in enough]
        axes.plot(middles, means, color=representation.color, linewidth=2, label=representation.name)
    axes.set(xlabel="years between two documents", ylabel="distance (standard deviations)")
    axes.axhline(0, color="#cccccc", linewidth=1, zorder=0)
    axes.legend(frameon=False)
    save(figure, path)


def draw_maps(drawn: list[Drawn], years, path: Path) -> None:
    """Draw the documents on their first two principal components, coloured by year."""
    figure, panels = plt.subplots(1, len(drawn), figsize=(5.2 * len(drawn), 4.6), layout="constrained", squeeze=False)
    for axes, representation in zip(panels[0], drawn):
        centred = representation.documents - representation.documents.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        plane = centred @ directions[:2].T
        plane[:, 0] *= np.sign(np.corrcoef(plane[:, 0], years)[0, 1] or 1)  # time runs to the right
        shares = singular[:2] ** 2 / (singular**2).sum()
        points = axes.scatter(*plane.T, c=years, cmap="viridis", s=22, linewidth=0)
        axes.set(title=representation.name, xticks=[], yticks=[])
        axes.set(xlabel=f"1st component ({shares[0]:.0%})", ylabel=f"2nd component ({shares[1]:.0%})")
    figure.colorbar(points, ax=panels[0].tolist(), shrink=0.8, label="year")
    save(figure, path)
