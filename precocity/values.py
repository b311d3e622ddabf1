"""From the distances of years to the novelty, transience, and precocity of passages and documents.

Comes in: a Comparison's means. Goes out: every passage's triples, and the table's lines of a year's documents. After
Barron et al. 2018 and Griebel et al. 2024.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from precocity.arithmetic import FRACTIONS
from precocity.comparison import FILTERS, OFFSETS, RADII
from precocity.embeddings import Year

if TYPE_CHECKING:
    import numpy as np

SHARES = (1.0, 0.25)  # of a document's passages: all, and the most precocious quarter
VALUES = ("precocity", "novelty", "transience")
COLUMNS = (
    *("docid date num_chunks fraction_compared filtered time_radius chunks_used".split()),
    *VALUES,
    *("years_past", "years_future", "se_years", "se_passages", "p_value", "z", "later_over_earlier"),
)
DIGITS = 10  # of a value in the table


class Triples(NamedTuple):
    """The values of every passage for each fraction, filter, and radius; NaN where too few years have passages."""

    values: np.ndarray  # float64, (passages, fractions, filters, radii, 3): precocity, novelty, transience
    years: np.ndarray  # int, (passages, filters, radii, 2): years that count for novelty and for transience


def triples_of(means: np.ndarray) -> Triples:
    """Return the triples of all passages from the distances, float64, (passages, years, filters, fractions).

    The mean over a radius is the unweighted mean of the years that have passages, and NaN if fewer than half have any.
    """
    import numpy as np

    offsets, passages = np.array(OFFSETS), len(means)
    values = np.full((passages, len(FRACTIONS), len(FILTERS), len(RADII), 3), np.nan)
    years = np.zeros((passages, len(FILTERS), len(RADII), 2), dtype=int)
    for i, radius in enumerate(RADII):
        for side, within in enumerate(((offsets < 0) & (offsets >= -radius), (offsets > 0) & (offsets <= radius))):
            some = means[:, within]
            there = ~np.isnan(some[..., 0])
            count = there.sum(axis=1)
            total = np.where(there[..., None], some, 0).sum(axis=1)
            mean = np.where(2 * count >= radius, 1, np.nan)[..., None] * total / np.maximum(count, 1)[..., None]
            values[:, :, :, i, 1 + side] = mean.transpose(0, 2, 1)
            years[:, :, i, side] = count
    values[..., 0] = values[..., 1] - values[..., 2]
    return Triples(values, years)


def most_precocious(triples: np.ndarray, share: float) -> np.ndarray:
    """Return the mean triple of the first ceil(m·share) passages by descending precocity; (…, 3) from (m, …, 3).

    If a passage has no precocity, there is no order, and the mean of a share below 1 is NaN.
    """
    import numpy as np

    count = math.ceil(len(triples) * share)
    if count == len(triples):
        return triples.mean(axis=0)
    order = np.argsort(-triples[..., 0], axis=0, kind="stable")[:count]
    chosen = np.take_along_axis(triples, order[..., None], axis=0).mean(axis=0)
    chosen[np.isnan(triples[..., 0]).any(axis=0)] = np.nan
    return chosen


def document_lines(center: Year, triples: Triples, certainty: np.ndarray) -> Iterator[str]:
    """Yield a line for each document in metadata order, fraction, filter, radius, and share, without header.

    The cells are those of COLUMNS, then the certainty, (documents, fractions, filters, radii, shares, values).
    """
    for at, document in enumerate(center.documents):
        own = slice(center.starts[at], center.starts[at + 1])
        passages = center.starts[at + 1] - center.starts[at]
        chosen = [most_precocious(triples.values[own], share) for share in SHARES]
        years = triples.years[own].min(axis=0)
        for f, share_of_year in enumerate(FRACTIONS):
            for k, name in enumerate(FILTERS):
                for r, radius in enumerate(RADII):
                    for s, (share, means) in enumerate(zip(SHARES, chosen)):
                        cells = [document, center.year, passages, share_of_year, name, radius, share]
                        cells += [*map(number, means[f, k, r]), *years[k, r], *map(number, certainty[at, f, k, r, s])]
                        yield "\t".join(map(str, cells)) + "\n"


def number(value: float) -> str:
    """Return a value as text, or nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.{DIGITS}g}"
