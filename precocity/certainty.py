"""How sure a document's precocity is: two standard errors, a null model, and the two halves of the document.

Comes in: a Comparison's means and the passages' triples. Goes out: for each document, fraction, filter, radius, and
share, the values named in CERTAINTY. docs/precocity.md has the formulas and says what each covers.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import TYPE_CHECKING

from precocity.arithmetic import FRACTIONS
from precocity.comparison import FILTERS, OFFSETS, RADII
from precocity.embeddings import Folder
from precocity.values import SHARES, Triples

if TYPE_CHECKING:
    import numpy as np

CERTAINTY = ("se_years", "se_passages", "p_value", "null_mean", "null_sd", "even", "odd")
DRAWS = 999  # so the smallest p-value is 0.002, and a bootstrap's standard error is off by 2%
SEED = 0  # the same draws for every document: its values depend on nothing but its own comparisons
TIE = 1e-12  # a permutation that changes nothing differs from the observed value by rounding alone


def blocks_of(folder: Folder, year: int) -> list[int]:
    """Return for each of OFFSETS the block of that year: neighbors of one main author share a number, ascending.

    A year's main author wrote more than half of its documents. A year without documents interrupts no block.
    """
    blocks, block, before = [], 0, None
    for offset in OFFSETS:
        if documents := folder.of_year(year + offset):
            counts = Counter(author for document in documents for author in folder.authors.get(document, ()))
            author = max(sorted(counts), key=counts.get, default=None)
            author = author if 2 * counts[author] > len(documents) else None
            block += author is None or author != before
            before = author
        blocks.append(block)
    return blocks


def certainty_of(starts: np.ndarray, means: np.ndarray, triples: Triples, blocks: list[int]) -> np.ndarray:
    """Return float64, (documents, fractions, filters, radii, shares, CERTAINTY); NaN where precocity is.

    Args:
        starts: int, (documents + 1,), the rows of each document.
        means: distances, float64, (passages, years, filters, fractions).
        blocks: of the years, as blocks_of returns them.
    """
    import numpy as np

    shape = (len(FRACTIONS), len(FILTERS), len(RADII), len(SHARES), len(CERTAINTY))
    found, offsets, blocks = np.full((len(starts) - 1, *shape), np.nan), np.array(OFFSETS), np.array(blocks)
    for at, (start, stop) in enumerate(zip(starts, starts[1:])):
        for f, k in np.ndindex(shape[:2]):
            years = means[start:stop, :, k, f]
            if k and np.array_equal(years, means[start:stop, :, k - 1, f], equal_nan=True):
                found[at, f, k] = found[at, f, k - 1]  # most filters leave nothing out of most documents
                continue
            for r, radius in enumerate(RADII):
                within = np.abs(offsets) <= radius
                precocity = triples.values[start:stop, f, k, r, 0]
                if not np.isnan(precocity).any():
                    found[at, f, k, r] = of_document(years[:, within], precocity, blocks[within])
    return found


def of_document(years: np.ndarray, precocity: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return the values of one document for one fraction, filter, and radius: (shares, CERTAINTY).

    Args:
        years: distances of its passages, (passages, years within the radius); NaN where a year has none.
        precocity: of its passages, (passages,), not NaN.
    """
    import numpy as np

    years, blocks, past = without_gaps(years, blocks)
    permuted = past_less_future(tuple(blocks.tolist()), past) @ years.T
    order = np.argsort(-precocity, kind="stable")
    found = np.empty((len(SHARES), len(CERTAINTY)))
    for i, share in enumerate(SHARES):
        count = math.ceil(len(precocity) * share)
        chosen = order[:count]
        null = mean_of_largest(permuted, share)
        found[i, :2] = jackknife(years[chosen].mean(axis=0), past), bootstrap(precocity[order], count)
        found[i, 2:5] = p_value(precocity[chosen].mean(), null), null.mean(), null.std()
        halves = (precocity[::2], precocity[1::2])
        found[i, 5:] = [mean_of_largest(half, share) if len(half) else np.nan for half in halves]
    return found


def without_gaps(years: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the years that the document is compared with, their blocks from 0, and how many lie in the past.

    A year that only some passages are compared with counts for the others as the mean of their side, which changes no
    passage's value.
    """
    import numpy as np

    there = ~np.isnan(years).all(axis=0)
    past = int(there[: len(there) // 2].sum())
    years = years[:, there]
    for side in (years[:, :past], years[:, past:]):
        if (gaps := np.isnan(side)).any():
            side[:] = np.where(gaps, np.nanmean(side, axis=1)[:, None], side)
    return years, np.unique(blocks[there], return_inverse=True)[1], past


def jackknife(years: np.ndarray, past: int) -> float:
    """Return the jackknife's standard error of the past's mean less the future's, one year left out at a time.

    For a mean, this is the textbook's s / √n of each side; the two sides' squares add up.
    """
    return math.sqrt(sum(side.var(ddof=1) / len(side) for side in (years[:past], years[past:])))


def bootstrap(ordered: np.ndarray, count: int) -> float:
    """Return the bootstrap's standard error over passages of the mean of the `count` largest.

    Args:
        ordered: precocity of the passages, descending.
    """
    import numpy as np

    if len(ordered) < 2:
        return math.nan
    if count == len(ordered):
        return ordered.std() / math.sqrt(count)  # what the draws would tend to
    return (np.asarray(weights_of_ranks(len(ordered), count)) @ ordered).std(ddof=1)


@functools.lru_cache(maxsize=32)
def weights_of_ranks(passages: int, count: int) -> np.ndarray:
    """Return how much each rank counts in the mean of the `count` largest of a resample: float32, (DRAWS, passages).

    A resample draws ranks, largest value first; of these it takes the first `count`.
    """
    import numpy as np

    drawn = np.random.default_rng(SEED).integers(passages, size=(DRAWS, passages))
    drawn += passages * np.arange(DRAWS)[:, None]
    times = np.bincount(drawn.ravel(), minlength=DRAWS * passages).reshape(DRAWS, passages)
    taken = np.minimum(np.cumsum(times, axis=1), count)
    return (np.diff(taken, axis=1, prepend=0) / count).astype(np.float32)


@functools.lru_cache(maxsize=64)
def past_less_future(blocks: tuple[int, ...], past: int) -> np.ndarray:
    """Return what each year weighs in precocity after a permutation of blocks: float64, (DRAWS, years).

    The blocks are put into a random order; the first `past` years of it are the past, the rest the future.
    """
    import numpy as np

    keys = np.random.default_rng(SEED).random((DRAWS, blocks[-1] + 1))[:, list(blocks)]
    order = np.argsort(keys, axis=1, kind="stable")  # stable: a block's years stay together and in order
    weights = np.full(order.shape, -1 / (len(blocks) - past))
    np.put_along_axis(weights, order[:, :past], 1 / past, axis=1)
    return weights


def mean_of_largest(values: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of the largest ceil(m·share) of m values along the last axis."""
    import numpy as np

    rest = values.shape[-1] - math.ceil(values.shape[-1] * share)
    return np.partition(values, rest, axis=-1)[..., rest:].mean(axis=-1) if rest else values.mean(axis=-1)


def p_value(observed: float, null: np.ndarray) -> float:
    """Return twice the share of values at least as far out on the observed one's side, itself among them; at most 1."""
    above, below = (null >= observed - TIE).sum(), (null <= observed + TIE).sum()
    return min(1.0, 2 * (1 + min(above, below)) / (1 + len(null)))
