"""What a map shows of documents, counted one pair at a time."""

from __future__ import annotations

import math


def direction(vector) -> list[float]:
    """Return the vector of length 1 in the same direction."""
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def mean_direction(vectors) -> list[float]:
    """Return the direction of the mean of directions."""
    each = [direction(vector) for vector in vectors]
    return direction([sum(column) / len(each) for column in zip(*each)])


def nearest(vectors, years, of: int, most: int, counts) -> list[tuple[int, float]]:
    """Return (document, cosine) of the nearest other documents whose year counts, nearest first."""
    found = []
    for other, vector in enumerate(vectors):
        if other != of and counts(years[other], years[of]):
            found.append((other, sum(x * y for x, y in zip(direction(vector), direction(vectors[of])))))
    return sorted(found, key=lambda one: -one[1])[:most]
