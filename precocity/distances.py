"""The distances of passages: −artanh of the cosine of vectors, or the divergence of one mixture of topics from another.

Comes in: a year's passages. Goes out: two factors whose matrix product is the larger the nearer two passages are: the
cosine, or the divergence times −1. What is near or identical is computed again from a few rows, in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from precocity.embeddings import Year
from script import InputError

if TYPE_CHECKING:
    import numpy as np

MOST_COSINE = 1 - 1e-9  # artanh is 10.7; identical passages come out at 1 ± rounding, where it would be 18 or infinite
# A cosine in float32 errs by about 1e-7, which artanh multiplies by 1 / (1 − c²) near 1. Pairs above NEAR are computed
# again in float64. Below it the factor is at most 50, and a pair's error about 5e-6.
NEAR = 0.99
SMOOTHING = 1e-6  # added to every topic of a mixture that has a zero, before it is divided by its new sum
MOST_OFF = 1e-3  # a mixture's sum from 1: float16 is off by less


class Cosine:
    """The cosine; the arithmetic turns it into its artanh."""

    is_curved = True  # the distance is −artanh of the product
    low, high = -NEAR, NEAR  # products beyond are computed again in float64
    identical = MOST_COSINE  # passages count as identical from this product on

    def centers(self, year: Year, dtype: str, rows=slice(None)) -> np.ndarray:
        """Return the left factor of some rows, (passages, dimensions).

        In float32, rounding the lengths changes a cosine by at most 6e-8 of its value, as rounding the vectors does.
        """
        return year.vectors[rows] / year.lengths[rows, None].astype(dtype)

    others = centers  # the right factor, to be transposed

    def exact(self, center: Year, mine: np.ndarray, other: Year, theirs: np.ndarray) -> np.ndarray:
        """Return the products of single pairs, rows `mine` with rows `theirs`, float64."""
        import numpy as np

        products = np.einsum("ij,ij->i", center.vectors[mine], other.vectors[theirs], dtype=np.float64)
        return products / (center.lengths[mine] * other.lengths[theirs])


class Divergence:
    """The Kullback–Leibler divergence KL(p ‖ q) = Σ p·ln(p / q) of a center passage p from another q, times −1.

    It is the product of (p, Σ p·ln p) and (ln q, −1).
    """

    is_curved = False
    low, high = -float("inf"), -1e-3  # float32 is off by 1e-6, too much to tell which passages are identical
    identical = -1e-9

    def centers(self, year: Year, dtype: str, rows=slice(None)) -> np.ndarray:
        """Return the left factor of some rows, (passages, topics + 1)."""
        import numpy as np

        mixtures = mixtures_of(year, rows)
        entropies = (mixtures * np.log(mixtures)).sum(axis=1, keepdims=True)
        return np.hstack([mixtures, entropies]).astype(dtype)

    def others(self, year: Year, dtype: str, rows=slice(None)) -> np.ndarray:
        """Return the right factor of some rows, to be transposed, (passages, topics + 1)."""
        import numpy as np

        logarithms = np.log(mixtures_of(year, rows))
        return np.hstack([logarithms, np.full((len(logarithms), 1), -1.0)]).astype(dtype)

    def exact(self, center: Year, mine: np.ndarray, other: Year, theirs: np.ndarray) -> np.ndarray:
        """Return the products of single pairs, rows `mine` with rows `theirs`, float64."""
        import numpy as np

        return np.einsum("ij,ij->i", self.centers(center, "float64", mine), self.others(other, "float64", theirs))


COSINE = Cosine()
DISTANCES = {"cosine": COSINE, "kl": Divergence()}


def mixtures_of(year: Year, rows) -> np.ndarray:
    """Return the mixtures of some rows, float64, (passages, topics): as they are, or smoothed where one has a zero.

    Raises:
        InputError: a vector that is no mixture.
    """
    import numpy as np

    mixtures = year.vectors[rows].astype("float64")
    bad = np.flatnonzero((mixtures < 0).any(axis=1) | (np.abs(mixtures.sum(axis=1) - 1) > MOST_OFF))
    if len(bad):
        row = np.arange(len(year.numbers))[rows][bad[0]]
        document = year.documents[np.searchsorted(year.starts, row, side="right") - 1]
        raise InputError(
            f"passage {document}-{year.numbers[row]} is no mixture of topics (numbers from 0 that sum to 1); give the "
            "folder that fit_topics.py wrote, or leave out --distance kl."
        )
    zeros = (mixtures == 0).any(axis=1)
    mixtures[zeros] += SMOOTHING
    mixtures[zeros] /= mixtures[zeros].sum(axis=1, keepdims=True)
    return mixtures
