"""How much of an outcome precocity explains beyond the date, and how far two groups differ in it, draw by draw.

In: precocity and novelty of documents, and a Design: outcome, years, authors, and draws of authors (see measures.py).
Out: arrays (1 + draws,), the first value being that of the documents as they are; NaN where a draw can't be measured.
All of it follows from sums of products over documents. They are linear in how often each author is drawn, so that one
matrix product gives the sums of all draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TERMS = ("precocity", "precocity²", "novelty", "date")
SPAN = 5  # years that share a dummy
TINY = 1e-10  # eigenvalues below this share of the largest are 0, as where a draw has no document of a span of years


class Design(NamedTuple):
    """What the regressions of one outcome have in common; one value a document.

    Attributes:
        outcome: float; 1 and 0 where two groups are compared.
        years: int.
        linear: whether the null model has the date as a line; else it has dummies for spans of five years.
        author: int, from 0.
        draws: how often each author is drawn, (1 + draws, authors), once each in the first row.
    """

    outcome: np.ndarray
    years: np.ndarray
    linear: bool
    author: np.ndarray
    draws: np.ndarray

    def dates(self) -> np.ndarray:
        """Return the predictors of the null model, beside its constant: float, (documents, any)."""
        if self.linear:
            return standardised(self.years)[:, None]
        spans = self.years // SPAN
        return (spans[:, None] == np.unique(spans)[1:]).astype(float)


def standardised(values: np.ndarray) -> np.ndarray:
    """Return values in standard deviations from their mean; zeros where they don't differ."""
    values = np.asarray(values, dtype=float)
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1)


def regress(design: Design, precocity: np.ndarray, novelty: np.ndarray) -> dict[str, np.ndarray]:
    """Fit outcome ~ precocity + precocity² + novelty + date by least squares, and the null model of date alone.

    Returns:
        r_squared_date, of the null model; r_squared_beyond, what the other predictors add to it; and the coefficients
        by TERMS, the date's only where it is a line. Predictors and outcome are in standard deviations, so that
        coefficients compare; precocity is centered before it is squared.
    """
    p, dates = standardised(precocity), design.dates()
    columns = [p, p**2, standardised(novelty), *dates.T, np.ones(len(p)), design.outcome]
    sums = sums_of_products(np.column_stack(columns), design)
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes, left = least_squares(sums)
        _, left_by_date = least_squares(sums[:, 3:, 3:])
        total = sums[:, -1, -1] - sums[:, -1, -2] ** 2 / sums[:, -2, -2]
        found = {"r_squared_date": 1 - left_by_date / total, "r_squared_beyond": (left_by_date - left) / total}
        terms = TERMS if design.linear else TERMS[:-1]
        return found | dict(zip(terms, in_deviations(slopes, sums).T))


def sums_of_products(columns: np.ndarray, design: Design) -> np.ndarray:
    """Return the sums of products of every two columns over documents, under each draw: (1 + draws, k, k)."""
    k, authors = columns.shape[1], design.draws.shape[1]
    pairs = [(i, j) for i in range(k) for j in range(i + 1) if (columns[:, i] * columns[:, j]).any()]  # few of dummies
    by_author = [np.bincount(design.author, columns[:, i] * columns[:, j], minlength=authors) for i, j in pairs]
    sums, (rows, others) = np.zeros((len(design.draws), k, k)), np.transpose(pairs)
    sums[:, rows, others] = sums[:, others, rows] = design.draws @ np.column_stack(by_author)
    return sums


def least_squares(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients, (draws, k − 1), by which all columns predict the last, and the sum of squares left."""
    products = sums[:, :-1, -1]
    slopes = np.einsum("bij,bj->bi", np.linalg.pinv(sums[:, :-1, :-1], TINY, hermitian=True), products)
    return slopes, sums[:, -1, -1] - (slopes * products).sum(axis=1)


def in_deviations(slopes: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return the first four coefficients for columns in standard deviations, precocity centered before it is squared.

    With m the mean of p under a draw, a·p + b·p² is (a + 2mb)·(p − m) + b·(p − m)² and a constant.
    """
    means = sums[:, -2] / sums[:, -2, -2, None]
    covariances = sums / sums[:, -2, -2, None, None] - means[:, :, None] * means[:, None]
    variances, m = np.diagonal(covariances, axis1=1, axis2=2).copy(), means[:, 0]
    variances[:, 1] += 4 * m * (m * covariances[:, 0, 0] - covariances[:, 0, 1])
    slopes = slopes.copy()
    slopes[:, 0] += 2 * m * slopes[:, 1]
    return slopes[:, :4] * np.sqrt(variances[:, :4] / variances[:, -1:])


def compare_groups(design: Design, precocity: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean precocity of the outcome's group 1 less that of group 0, Welch's t, and Cohen's d.

    d is the difference in standard deviations within the groups, pooled.
    """
    centered = precocity - precocity.mean()  # or the sums of squares would lose digits
    columns = [np.ones(len(centered)), centered, centered**2, design.outcome]
    sums = sums_of_products(np.column_stack(columns), design)
    ones = sums[:, :3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        (n, mean, variance), (n_other, mean_other, variance_other) = map(moments, (ones, sums[:, :3, 0] - ones))
        difference = mean - mean_other
        pooled = ((n - 1) * variance + (n_other - 1) * variance_other) / (n + n_other - 2)
        t = difference / np.sqrt(variance / n + variance_other / n_other)
        return {"difference": difference, "t": t, "d": difference / np.sqrt(pooled)}


def moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers, means, and variances (n − 1) from numbers, sums, and sums of squares, (draws, 3)."""
    n, total, squares = sums.T
    return n, total / n, (squares - total**2 / n) / (n - 1)
