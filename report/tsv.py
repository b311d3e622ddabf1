"""Tables for people: what a picture or a table of the page shows, as TSV for a spreadsheet or an appendix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import script


def write_tsv(path: Path, rows: Iterable[dict]) -> None:
    """Write rows of the same keys with a header: floats to six digits, NaN and None as nothing, no tab in a cell."""
    rows = list(rows)
    lines = [list(rows[0]), *(map(cell, row.values()) for row in rows)] if rows else []
    script.write_lines(path, ("\t".join(line) + "\n" for line in lines))


def cell(value) -> str:
    """Return a value as a cell's text; a text that a spreadsheet would run as a formula gets an apostrophe before."""
    if value is None:
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(script.spreadsheet_cell(value)).replace("\t", " ")
