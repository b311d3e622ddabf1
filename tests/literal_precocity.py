"""The definition of precocity, word for word in Python loops. Tests compare the script with it."""

from __future__ import annotations

import math

FRACTIONS, FILTERS = (1.0, 0.1, 0.05), ("no filter", "train", "trainauth", "trainauthquote")
RADII, SHARES = (10, 20), (1.0, 0.25)


def normalized(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def divergence(p: list[float], q: list[float]) -> float:
    """KL(p ‖ q) in natural logarithms; a mixture with a zero gets 1e-6 more of every topic, then sums to 1 again."""

    def smoothed(mixture):
        if min(mixture) > 0:
            return mixture
        return [(x + 1e-6) / (sum(mixture) + 1e-6 * len(mixture)) for x in mixture]

    return sum(a * math.log(a / b) for a, b in zip(smoothed(p), smoothed(q)))


def distance(p: list[float], q: list[float]) -> float:
    """−½·ln((1 + c) / (1 − c)), c clipped to 1 − 1e-9."""
    c = sum(x * y for x, y in zip(p, q))
    c = max(-(1 - 1e-9), min(1 - 1e-9, c))
    return -0.5 * math.log((1 + c) / (1 - c))


def is_identical(p: list[float], q: list[float]) -> bool:
    return sum(x * y for x, y in zip(p, q)) >= 1 - 1e-9


def literal_precocity(
    documents, passages, start, end, train=(), articles=(), quotes=(), drop_identical=False, kl=False
):
    """Return the table's rows as tuples, values as floats or None.

    Args:
        documents: (paperId, year), in metadata order.
        passages: paperId → {number: vector}.
        train: paperIds; articles: (center, other); quotes: (center, other, number).
    """
    prepared, apart = (list, divergence) if kl else (normalized, distance)
    same = (lambda p, q: divergence(p, q) <= 1e-9) if kl else is_identical
    unit = {d: {n: prepared(v) for n, v in sorted(vectors.items())} for d, vectors in passages.items() if vectors}
    year_of = dict(documents)

    def allowed(center, other, number, name):
        if name == "no filter":
            return True
        if other in train:
            return False
        if name != "train" and (center, other) in articles:
            return False
        return name != "trainauthquote" or (center, other, number) not in quotes

    def year_mean(center, p, year, fraction, name):
        distances = sorted(
            apart(p, q)
            for other in unit
            if year_of[other] == year
            for number, q in unit[other].items()
            if allowed(center, other, number, name) and not (drop_identical and same(p, q))
        )
        nearest = distances[: math.ceil(len(distances) * fraction)]
        return sum(nearest) / len(nearest) if nearest else None

    def side(means, radius):
        there = [mean for mean in means if mean is not None]
        return (sum(there) / len(there) if 2 * len(there) >= radius else None), len(there)

    def triple(center, p, fraction, name, radius):
        year = year_of[center]
        past = [year_mean(center, p, year - k, fraction, name) for k in range(1, radius + 1)]
        future = [year_mean(center, p, year + k, fraction, name) for k in range(1, radius + 1)]
        novelty, years_past = side(past, radius)
        transience, years_future = side(future, radius)
        precocity = None if novelty is None or transience is None else novelty - transience
        return precocity, novelty, transience, years_past, years_future

    def mean(values):
        return None if None in values else sum(values) / len(values)

    rows = []
    for center, year in sorted(documents, key=lambda document: document[1]):  # stable: metadata order within a year
        if not (start <= year < end) or center not in unit:
            continue
        for fraction in FRACTIONS:
            for name in FILTERS:
                for radius in RADII:
                    triples = [triple(center, p, fraction, name, radius) for p in unit[center].values()]
                    for share in SHARES:
                        count, chosen = math.ceil(len(triples) * share), triples
                        if count < len(triples):
                            unordered = any(t[0] is None for t in triples)
                            chosen = [(None, None, None)] if unordered else sorted(triples, key=lambda t: -t[0])[:count]
                        values = [mean([t[i] for t in chosen]) for i in range(3)]
                        years = [min(t[i] for t in triples) for i in (3, 4)]
                        rows.append((center, year, len(triples), fraction, name, radius, share, *values, *years))
    return rows
