"""What all drawings share: colors, and how a picture gets onto the disk."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt

import script

matplotlib.use("Agg")  # files only: a cluster has no screen

BASE_COLOR, TOPIC_COLOR = "#8a8a8a", "#1c1c1c"
TUNED_COLORS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce")
DPI = 130  # of the files; where text is placed by its size, also of the figure while it is drawn


class Picture(NamedTuple):
    """A picture on a page."""

    path: Path
    heading: str
    caption: str


def save(figure, path: Path, heading: str, caption: str) -> Picture:
    """Write a matplotlib figure as PNG, whole or not at all, and close it; return it as a picture."""
    with script.replacing(path) as beside:
        figure.savefig(beside, dpi=DPI, format="png")
    plt.close(figure)
    return Picture(path, heading, caption)
