"""Standard errors, null, z-scores, and reliability as docs/precocity.md defines them, in Python loops.

A document is a list of passages, a passage a list of distances by year, None where nothing is compared; the first half
of the years is the past.
"""

from __future__ import annotations

import itertools
import math
from statistics import correlation, fmean, pstdev, stdev


def sides(years: list[float | None]) -> tuple[list[float], list[float]]:
    half = len(years) // 2
    return [x for x in years[:half] if x is not None], [x for x in years[half:] if x is not None]


def precocity(years: list[float | None]) -> float:
    past, future = sides(years)
    return fmean(past) - fmean(future)


def largest(values: list[float], share: float) -> list[float]:
    return sorted(values, reverse=True)[: math.ceil(len(values) * share)]


def without_gaps(passages):
    """Return passages and positions of the years that any has; a gap of one passage gets the mean of its side."""
    kept = [k for k in range(len(passages[0])) if any(years[k] is not None for years in passages)]
    past = sum(k < len(passages[0]) // 2 for k in kept)
    filled = []
    for years in passages:
        means = [fmean(side) for side in sides(years)]
        filled.append([means[i >= past] if years[k] is None else years[k] for i, k in enumerate(kept)])
    return filled, kept, past


def jackknife(passages, share: float) -> float:
    """Leave out one year at a time, the passages chosen once."""
    filled, _, past = without_gaps(passages)
    count = math.ceil(len(filled) * share)
    chosen = sorted(range(len(filled)), key=lambda i: -precocity(passages[i]))[:count]

    def value(years: list[int], others: list[int]) -> float:
        return fmean(fmean(filled[i][k] for k in years) - fmean(filled[i][k] for k in others) for i in chosen)

    total, every = 0.0, list(range(len(filled[0])))
    for side, other in ((every[:past], every[past:]), (every[past:], every[:past])):
        left = [value([k for k in side if k != out], other) for out in side]
        total += (len(side) - 1) / len(side) * sum((x - fmean(left)) ** 2 for x in left)
    return math.sqrt(total)


def bootstrap(passages, share: float) -> float:
    """Draw every possible resample of the passages once."""
    values = [precocity(years) for years in passages]
    return pstdev(fmean(largest(list(drawn), share)) for drawn in itertools.product(values, repeat=len(values)))


def null(passages, blocks: list[int], share: float) -> tuple[float, float, float]:
    """Put the blocks into every possible order once; return the p-value, mean, and standard deviation."""
    filled, kept, past = without_gaps(passages)
    of_block = [[i for i, k in enumerate(kept) if blocks[k] == block] for block in sorted({blocks[k] for k in kept})]
    values = []
    for order in itertools.permutations(of_block):
        places = [i for block in order for i in block]
        some = [fmean(y[i] for i in places[:past]) - fmean(y[i] for i in places[past:]) for y in filled]
        values.append(fmean(largest(some, share)))
    observed = fmean(largest([precocity(years) for years in passages], share))
    above, below = fmean(v >= observed - 1e-12 for v in values), fmean(v <= observed + 1e-12 for v in values)
    return min(1, 2 * above, 2 * below), fmean(values), pstdev(values)


def halves(passages, share: float) -> list[float | None]:
    values = [precocity(years) for years in passages]
    return [fmean(largest(half, share)) if half else None for half in (values[::2], values[1::2])]


def standing(dated: list[tuple[int, float | None]], window: int) -> list[tuple[float | None, float | None]]:
    """Return for each value its distance from the mean of its window of years, and the same in standard deviations."""
    found = []
    for year, value in dated:
        near = [x for other, x in dated if x is not None and abs(other - year) <= window]
        if value is None or len(near) < 5:
            found.append((None, None))
        else:
            found.append((value - fmean(near), (value - fmean(near)) / stdev(near)))
    return found


def reliability(even: list[float], odd: list[float]) -> float:
    r = correlation(even, odd)
    return 2 * r / (1 + r)


def expected_spread(nulls: list[tuple[float, float]]) -> float:
    """Return the standard deviation of all documents' permuted values together, from their (mean, deviation)."""
    return math.sqrt(fmean(sd**2 for _, sd in nulls) + (pstdev(mean for mean, _ in nulls)) ** 2)
