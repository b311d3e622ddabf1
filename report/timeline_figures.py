"""The pictures of the page on tuning.

In: what was measured, the first run of each representation that is not centered (of its sampled documents only, whose
years, int, go with it), training records. Out: PNG files in a folder, each with its heading and caption as a Picture.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from encoder import unit_rows

from .bench import LEXICAL, Measurements, centered_name, normalized_name
from .drawing import BASE_COLOR, TOPIC_COLOR, TUNED_COLORS, Picture, legend_name, save, show_rows
from .measures import METRICS, interval
from .representations import Run
from .timeline_tables import figure_rows

SHOWN = ("mrr_at_10", "ap_same_decade", "timeline_rho", "timeline_rho_near", "dating_r2", "same_author")  # of METRICS


def colors_of(measurements: Measurements) -> dict[str, str]:
    """Return each representation's color: gray for the base, black for what counts words; however it is centered."""
    color = {measurements.base: BASE_COLOR} | dict(zip(measurements.tuned, itertools.cycle(TUNED_COLORS)))
    color |= {named(name): value for name, value in color.items() for named in (centered_name, normalized_name)}
    return color | {LEXICAL: TOPIC_COLOR, measurements.topics: TOPIC_COLOR}


def draw_scores(measurements: Measurements, color: dict[str, str], folder: Path) -> Picture:
    """Draw a panel for each main measure: every representation's value, interval and single runs."""
    means = measurements.means
    keys = [key for key in SHOWN if any(mean[key].value is not None for mean in means.values())]
    headings = {key: heading for key, heading, _ in METRICS}
    figure, panels = plt.subplots(
        1, len(keys), figsize=(2.3 * len(keys) + 1.6, 0.34 * len(means) + 1.1), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, key in zip(panels[0], keys):
        draw_panel(axes, key, measurements, color)
        axes.set_title(headings[key], fontsize=10)
        show_rows(axes, list(means))
    panels[0][0].invert_yaxis()
    caption = "With 95% intervals; the tables below have all measures. Small dots are single runs (seeds)."
    return save(figure, folder / "scores.png", "The main measures", caption, figure_rows(measurements, keys))


def draw_panel(axes, key: str, measurements: Measurements, color: dict[str, str]) -> None:
    """Draw one measure: a row for each representation that has it."""
    for row, (name, mean) in enumerate(measurements.means.items()):
        if mean[key].value is None:
            continue
        bounds = interval(mean[key].replicates)
        if bounds:
            axes.plot(bounds, [row, row], color=color[name], linewidth=2, solid_capstyle="butt")
        axes.plot(mean[key].value, row, "o", color=color[name], markersize=6)
        single = [run[key].value for run in measurements.runs[name]]
        if len(single) > 1:
            axes.plot(single, [row + 0.22] * len(single), ".", color=color[name], markersize=4)


def draw_loss(trainings: dict[str, list[dict]], color: dict[str, str], folder: Path) -> Picture:
    """Draw each model's training loss by step, of its first seed, raw and as a running mean."""
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    rows = []
    for name, (training, *_) in trainings.items():
        if training["joined"]:
            continue  # not trained itself
        steps = [point["step"] for point in training["loss_curve"]]
        loss = np.array([point["loss"] for point in training["loss_curve"]], dtype=float)
        width = max(1, len(loss) // 10)
        running = [loss[max(0, i - width + 1) : i + 1].mean() for i in range(len(loss))]
        axes.plot(steps, loss, color=color[name], alpha=0.3, linewidth=1)
        axes.plot(steps, running, color=color[name], linewidth=2, label=legend_name(name))
        columns = zip(steps, loss, running)
        rows += [{"model": name, "step": step, "loss": one, "running_mean": mean} for step, one, mean in columns]
    axes.set(xlabel="optimizer step", ylabel="training loss", ylim=(0, None))
    axes.legend(frameon=False)
    caption = (
        "Multiple Negatives Ranking Loss at each step, and its running mean. It dips at the end of an epoch, "
        "because the last batch is smaller and holds fewer negatives."
    )
    return save(figure, folder / "loss.png", "Training loss", caption, rows)


def year_similarity(documents: np.ndarray, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the years that have documents and the cosine of every two years' mean documents."""
    present = np.unique(years)
    means = unit_rows(np.stack([documents[years == year].mean(axis=0) for year in present]))
    return present, means @ means.T


def draw_heat_maps(drawn: dict[str, Run], years: np.ndarray, folder: Path) -> Picture:
    """Draw the similarity of every year with every other, one panel a representation."""
    figure, panels = plt.subplots(1, len(drawn), figsize=(5.2 * len(drawn), 4.6), layout="constrained", squeeze=False)
    rows = []
    for axes, (name, run) in zip(panels[0], drawn.items()):
        present, similarity = year_similarity(run.documents, years)
        for i, j in zip(*np.triu_indices(len(present))):
            rows.append({"representation": name, "year": present[i], "other": present[j], "cosine": similarity[i, j]})
        off_diagonal = similarity[~np.eye(len(present), dtype=bool)]
        low, high = np.percentile(off_diagonal, [1, 99]) if len(off_diagonal) else (0, 1)
        edges = np.append(present, present[-1] + 1)
        image = axes.pcolormesh(edges, edges, similarity, vmin=low, vmax=high, cmap="magma", rasterized=True)
        axes.set(title=name, aspect="equal", facecolor="#dddddd")
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    caption = (
        "Cosine similarity of two years' mean documents; each panel has its own scale. Distinct periods appear "
        "as squares along the diagonal, steady change as a band."
    )
    return save(figure, folder / "heat_maps.png", "Every year compared with every other", caption, rows)


def draw_distance_by_gap(drawn: dict[str, Run], years: np.ndarray, color: dict[str, str], folder: Path) -> Picture:
    """Draw the mean distance of documents against the years between them, in standard deviations of all pairs."""
    upper = np.triu_indices(len(years), k=1)
    apart = np.abs(years[:, None] - years[None, :])[upper]
    bins = apart // 5
    enough = [b for b in np.unique(bins) if (bins == b).sum() >= 10]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    rows = []
    for name, run in drawn.items():
        distance = run.distance[upper]
        score = (distance - distance.mean()) / distance.std()
        means = [score[bins == b].mean() for b in enough]
        middles = [b * 5 + 2.5 for b in enough]
        axes.plot(middles, means, color=color[name], linewidth=2, label=legend_name(name))
        rows += [{"representation": name, "years_between": x, "distance": y} for x, y in zip(middles, means)]
    axes.set(xlabel="years between two documents", ylabel="distance (standard deviations)")
    axes.axhline(0, color="#cccccc", linewidth=1, zorder=0)
    axes.legend(frameon=False)
    caption = (
        "Mean distance of two documents by the years between them. The more steadily a line rises, the better "
        "distance reflects time."
    )
    return save(figure, folder / "distance_by_gap.png", "Distance against time", caption, rows)


def draw_maps(drawn: dict[str, Run], years: np.ndarray, folder: Path) -> Picture:
    """Draw the documents on their first two principal components, colored by year."""
    figure, panels = plt.subplots(1, len(drawn), figsize=(5.2 * len(drawn), 4.6), layout="constrained", squeeze=False)
    rows = []
    for axes, (name, run) in zip(panels[0], drawn.items()):
        centered = run.documents - run.documents.mean(axis=0)
        _, singular, directions = np.linalg.svd(centered, full_matrices=False)
        plane = centered @ directions[:2].T
        plane[:, 0] *= np.sign(np.corrcoef(plane[:, 0], years)[0, 1] or 1)  # time runs to the right
        shares = singular[:2] ** 2 / (singular**2).sum()
        points = axes.scatter(*plane.T, c=years, cmap="viridis", s=22, linewidth=0)
        rows += [{"representation": name, "year": year, "x": x, "y": y} for year, (x, y) in zip(years, plane)]
        axes.set(title=name, xticks=[], yticks=[])
        axes.set(xlabel=f"1st component ({shares[0]:.0%})", ylabel=f"2nd component ({shares[1]:.0%})")
    figure.colorbar(points, ax=panels[0].tolist(), shrink=0.8, label="year")
    caption = "Each point is a document, placed by its first two principal components."
    return save(figure, folder / "maps.png", "A map of the documents", caption, rows)
