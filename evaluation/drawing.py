"""Colours, and how a figure gets onto the disk and into a page."""

from __future__ import annotations

import base64
from pathlib import Path

import script

BASE_COLOR, TOPIC_COLOR = "#8a8a8a", "#1c1c1c"
DPI = 130  # of the files; where text is placed by its size, also of the figure while it is drawn
TUNED_COLORS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce")


def save(figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    import matplotlib.pyplot as plt

    with script.replacing(path) as beside:
        figure.savefig(beside, dpi=DPI, format="png")
    plt.close(figure)


def figure_html(folder: Path, name: str, heading: str, caption: str) -> str:
    """Return a figure with its picture inside the page."""
    data = base64.b64encode((folder / name).read_bytes()).decode()
    return (
        f'<h2>{heading}</h2><figure><img alt="{heading}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )
