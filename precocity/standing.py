"""What a document's precocity means beside that of others: z-scores, a second measure, reliability, expected spread.

Comes in: the lines of all years' tables. Goes out: the last columns of the table, and facts on the whole of it.
docs/precocity.md has the formulas.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import script
from precocity.arithmetic import FRACTIONS
from precocity.certainty import CERTAINTY
from precocity.comparison import FILTERS, RADII
from precocity.settings import Settings
from precocity.values import COLUMNS, SHARES, VALUES, number

if TYPE_CHECKING:
    import numpy as np

KINDS = list(itertools.product(FRACTIONS, FILTERS, RADII, SHARES))  # the lines of each document, in this order
KIND_COLUMNS = ("fraction_compared", "filtered", "time_radius", "chunks_used")
IN_YEAR = (*COLUMNS[: COLUMNS.index("se_years")], *CERTAINTY)  # the cells of a line in a year's table
READ = (*VALUES, *CERTAINTY)
FEWEST = 5  # documents that a z-score or a mean of a window needs


def split_lines(path: Path) -> Iterator[list[str]]:
    """Yield the cells of each line of a year's table."""
    with open(script.regular_file(path), encoding="utf-8", newline="") as table:
        for line in table:
            yield line.removesuffix("\n").split("\t")


def read_values(path: Path) -> dict[str, np.ndarray]:
    """Return the columns READ of a year's table, each float64, (documents, kinds); NaN for an empty cell."""
    import numpy as np

    at = [IN_YEAR.index(name) for name in READ]
    rows = [[float(cells[i] or "nan") for i in at] for cells in split_lines(path)]
    values = np.array(rows, dtype=float).reshape(-1, len(KINDS), len(READ))
    return {name: values[..., i] for i, name in enumerate(READ)}


def standing(of_years: dict[int, np.ndarray], window: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each year its values less the mean of those of its window, and the same in standard deviations.

    Args:
        of_years: by year, float64, (documents, kinds), NaN where there is no value.
        window: years before and after that count, too.
    Yields:
        The year's shape twice; NaN where the window has fewer than FEWEST values, or they don't differ.
    """
    import numpy as np

    for year, values in of_years.items():
        near = np.concatenate([rows for other, rows in of_years.items() if abs(other - year) <= window])
        count = (~np.isnan(near)).sum(axis=0).astype(float)
        count[count < FEWEST] = np.nan
        off, spread = values - np.nansum(near, axis=0) / count, near - np.nansum(near, axis=0) / count
        spread = np.sqrt(np.nansum(spread**2, axis=0) / (count - 1))
        yield off, off / np.where(spread > 0, spread, np.nan)


def log_ratio(values: dict[str, np.ndarray], distance: str) -> np.ndarray:
    """Return ln(later / earlier similarity), NaN unless both are above 0.

    Similarity is the distance times −1, that of divergences 1 / distance.
    """
    import numpy as np

    sign = 1 if distance == "kl" else -1
    later, earlier = sign * values["transience"], sign * values["novelty"]
    both = (later > 0) & (earlier > 0)
    return -sign * np.log(np.where(both, later, np.nan) / np.where(both, earlier, np.nan))


def complete_lines(tables: dict[int, Path], of_years: dict[int, dict], settings: Settings) -> Iterator[str]:
    """Yield the lines of all years' tables as COLUMNS has them.

    Args:
        tables: files by year.
        of_years: their values, as read_values returns them.
    """
    kept, window = COLUMNS.index("z"), settings.z_window
    scores = standing({year: values["precocity"] for year, values in of_years.items()}, window)
    ratios = standing({year: log_ratio(values, settings.distance) for year, values in of_years.items()}, window)
    for path, (_, z), (ratio, _) in zip(tables.values(), scores, ratios):
        for cells, *last in zip(split_lines(path), z.ravel(), ratio.ravel()):
            yield "\t".join([*cells[:kept], *map(number, last)]) + "\n"


def summaries(of_years: dict[int, dict]) -> list[dict]:
    """Return for each of KINDS how many documents have a value, their spread, and their split-half reliability."""
    import numpy as np

    values = {name: np.concatenate([of_year[name] for of_year in of_years.values()]) for name in READ}
    found = []
    for i, kind in enumerate(KINDS):
        column = {name: of_all[~np.isnan(values["precocity"][:, i]), i] for name, of_all in values.items()}
        facts = dict(zip(KIND_COLUMNS, kind)) | {"documents": len(column["precocity"])}
        found.append(facts | spread_of(column) | reliability_of(column["even"], column["odd"]))
    return found


def spread_of(column: dict[str, np.ndarray]) -> dict:
    """Return the documents' standard deviation, the one that permuted years lead to expect, and the share p < 0.05."""
    if len(column["precocity"]) < 2:
        return {"spread": None, "expected_spread": None, "share_below_05": None}
    expected = math.sqrt((column["null_sd"] ** 2).mean() + column["null_mean"].var())
    below = float((column["p_value"] < 0.05).mean())
    return {"spread": float(column["precocity"].std(ddof=1)), "expected_spread": expected, "share_below_05": below}


def reliability_of(even: np.ndarray, odd: np.ndarray) -> dict:
    """Return the correlation of documents' halves and, by Spearman and Brown, the reliability of whole documents.

    None with fewer than FEWEST documents of two passages or more, or where a half does not differ between them.
    """
    import numpy as np

    both = ~np.isnan(even) & ~np.isnan(odd)
    if both.sum() < FEWEST or not (even[both].std() and odd[both].std()):
        return {"split_half_correlation": None, "reliability": None}
    r = float(np.corrcoef(even[both], odd[both])[0, 1])
    return {"split_half_correlation": r, "reliability": 2 * r / (1 + r)}
