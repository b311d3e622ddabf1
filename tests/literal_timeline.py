"""The yardsticks and controls of report/, in the most literal way: a loop for every sum. For tests alone."""

from __future__ import annotations

import numpy as np


def normalized(vectors, document, seen, shrinkage):
    """Return the documents' means as a Normalizer makes them, each a row of length 1.

    Args:
        document: of each vector.
        seen: the documents it is fitted on.
    """
    unit = [v / np.sqrt(sum(x * x for x in v)) for v in np.asarray(vectors, dtype=float)]
    means = {d: sum(v for v, of in zip(unit, document) if of == d) / list(document).count(d) for d in set(document)}
    passages = [(v, d) for v, d in zip(unit, document) if d in seen]
    within = sum(np.outer(v - means[d], v - means[d]) for v, d in passages) / len(passages)
    scale = np.trace(within) / len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * scale * np.eye(len(within))
    values, directions = np.linalg.eigh(shrunk)
    inverse_root = sum(np.outer(e, e) / np.sqrt(value) for value, e in zip(values, directions.T))
    middle = sum(means[d] for d in seen) / len(seen)
    found = [(means[d] - middle) @ inverse_root for d in sorted(means)]
    return np.array([row / np.sqrt(row @ row) for row in found])


def spearman(pairs):
    """Return Spearman's ρ of (x, y, weight) triples, the ranks being those of the unweighted values."""
    x, y, weight = (np.array(values, dtype=float) for values in zip(*pairs))
    x, y = ranks(x), ranks(y)
    x, y = x - weight @ x / weight.sum(), y - weight @ y / weight.sum()
    return weight @ (x * y) / np.sqrt((weight @ x**2) * (weight @ y**2))


def ranks(values):
    """Return ranks from 1; equal values share the mean of theirs."""
    return np.array([sum(v < one for v in values) + (sum(v == one for v in values) + 1) / 2 for one in values])


def pairs_of(years, most, authors):
    """Yield each pair of documents at most so many years apart, and not by one author where authors are given."""
    for i in range(len(years)):
        for j in range(i + 1, len(years)):
            by_one = authors is not None and authors[i] == authors[j] != ""
            if (most is None or abs(years[i] - years[j]) <= most) and not by_one:
                yield i, j


def timeline(distance, years, draw, most=None, authors=None):
    """Return the timeline's ρ; a pair weighs how often its documents are drawn."""
    return spearman(
        [(distance[i][j], abs(years[i] - years[j]), draw[i] * draw[j]) for i, j in pairs_of(years, most, authors)]
    )


def partial(distance, other, given, draw, pairs):
    """Return the partial rank correlation of two distances given a third: that of what is left of both."""
    weight = np.array([draw[i] * draw[j] for i, j in pairs], dtype=float)
    x, y, z = (ranks([matrix[i][j] for i, j in pairs]) for matrix in (distance, other, given))
    line = np.column_stack([np.ones(len(z)), z])
    root = np.sqrt(weight)[:, None]
    left = [v - line @ np.linalg.lstsq(line * root, v * root[:, 0], rcond=None)[0] for v in (x, y)]
    return (weight * left[0]) @ left[1] / np.sqrt((weight @ left[0] ** 2) * (weight @ left[1] ** 2))


def persistence(distance, years, authors, draw):
    """Return how often two steps lead farther than one, over three consecutive documents by an author."""
    won = compared = 0
    for author in set(authors) - {""}:
        own = sorted((i for i in range(len(years)) if authors[i] == author), key=lambda i: years[i])
        for k in range(len(own) - 2):
            one, two, three = own[k : k + 3]
            for step in (distance[one][two], distance[two][three]):
                far = distance[one][three]
                won += draw[one] * (1 if far > step else 0.5 if far == step else 0)
                compared += draw[one]
    return won / compared if compared else np.nan


def same_date(distance, years, authors, kinds, draw):
    """Return how often, of two documents of a third's date, that of its kind is nearer, all by different authors."""
    won = compared = 0
    documents = [i for i in range(len(years)) if kinds[i]]
    for i in documents:
        near = [j for j in documents if abs(years[j] - years[i]) <= 5 and authors[j] != authors[i]]
        for own in (j for j in near if kinds[j] == kinds[i]):
            for other in (j for j in near if kinds[j] != kinds[i] and authors[j] != authors[own]):
                if abs(abs(years[own] - years[i]) - abs(years[other] - years[i])) <= 2:
                    ties = 0.5 * (distance[i][own] == distance[i][other])
                    won += draw[i] * ((distance[i][own] < distance[i][other]) + ties)
                    compared += draw[i]
    return won / compared if compared else np.nan
