"""What all drawings share: colors, fonts, and how a picture gets onto the disk."""

from __future__ import annotations

import functools
import logging
import unicodedata
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.text import Text

import script
from script import log

from .tsv import write_tsv

matplotlib.use("Agg")  # files only: a cluster has no screen
# Titles and names are text: "$5 & $10" is no formula, wherever it is drawn.
matplotlib.rcParams.update({"text.parse_math": False, "text.usetex": False})
warnings.filterwarnings("ignore", "Glyph .* missing from")  # tell_lacking says it in one sentence
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells of every weight that a font lacks

BASE_COLOR, TOPIC_COLOR = "#8a8a8a", "#1c1c1c"
TUNED_COLORS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce")
DPI = 130  # of the files; where text is placed by its size, also of the figure while it is drawn
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")  # how the names of their characters begin


class Picture(NamedTuple):
    """A picture on a page."""

    path: Path
    heading: str
    caption: str


def save(figure, path: Path, heading: str, caption: str, rows: Iterable[dict] = ()) -> Picture:
    """Write a matplotlib figure as PNG, whole or not at all, and close it; return it as a picture.

    Args:
        rows: what is drawn, written beside the picture as TSV.
    """
    figure.draw_without_rendering()  # only now do all axes have their labels
    tell_lacking(frozenset().union(*map(fit_font, figure.findobj(Text))))
    with script.replacing(path) as beside:
        figure.savefig(beside, dpi=DPI, format="png")
    plt.close(figure)
    if rows := list(rows):
        write_tsv(path.with_suffix(".tsv"), rows)
    return Picture(path, heading, caption)


def show_rows(axes, names: list[str]) -> None:
    """Give a panel a named row for each representation, and a faint grid."""
    axes.set(yticks=range(len(names)), yticklabels=names)
    axes.grid(axis="x", color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def legend_name(name: str) -> str:
    """Return a name as a legend shows it: matplotlib leaves out what begins with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


# ---------------------------------------------------------------- fonts


@functools.cache  # once for pictures with the same titles
def tell_lacking(characters: frozenset[str]) -> None:
    """Say which characters of a picture no font has, and what to install."""
    if not characters:
        return
    east_asian = any(unicodedata.name(character, "").startswith(EAST_ASIAN) for character in characters)
    some, package = "".join(sorted(characters)[: script.SHOWN]), "fonts-noto-cjk" if east_asian else "fonts-noto-core"
    log.warning("in the pictures, %d characters are boxes (%s), because no font on this machine has them; install one, "
                "on Debian or Ubuntu the package %s, and run again", len(characters), some, package)  # fmt: skip


def fit_font(text: Text) -> frozenset[str]:
    """Give a text the fonts of this machine that its characters need; return the characters that none has."""
    default = matplotlib.rcParams["font.family"]
    needed = frozenset(filter(str.isprintable, text.get_text().replace(" ", "")))
    lacking = needed - having(needed, tuple(default))
    fonts = list(default)
    while lacking:
        best = max(installed_fonts(), key=lambda font: len(having(lacking, (font,))))
        if not (found := having(lacking, (best,))):
            break
        fonts.append(best)
        lacking -= found
    if len(fonts) > len(default):
        text.set_fontfamily(fonts)
    return lacking


@functools.cache
def having(characters: frozenset[str], families: tuple[str, ...]) -> frozenset[str]:
    """Return those of the characters that a font of one of the families has."""
    paths = [font_manager.findfont(font_manager.FontProperties(family=[family])) for family in families]
    fonts = [font_manager.get_font(path) for path in paths]
    return frozenset(c for c in characters if any(font.get_char_index(ord(c)) for font in fonts))


@functools.cache
def installed_fonts() -> list[str]:
    """Return the names of all fonts on this machine, also of those installed since matplotlib made its list."""
    manager = font_manager.fontManager
    for path in sorted(set(font_manager.findSystemFonts()) - {entry.fname for entry in manager.ttflist}):
        try:
            manager.addfont(path)
        except (OSError, RuntimeError):  # a font of colored pictures, for instance, has no outlines
            continue
    names = {entry.name for entry in manager.ttflist}
    return sorted(name for name in names if "last resort" not in name.lower().replace("lastresort", "last resort"))
