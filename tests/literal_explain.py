"""What explains a document, word for word in Python loops. Tests compare report/explain.py with it."""

from __future__ import annotations

import math

from literal_precocity import distance, divergence, normalized

OFFSETS = (*range(-20, 0), *range(1, 21))


class Literal:
    """A corpus as lists: documents (paperId, year), passages paperId → {number: vector}, and what is left out."""

    def __init__(self, documents, passages, left_out=(), kl=False):
        self.passages, self.left_out, self.kl = passages, set(left_out), kl
        self.year_of = dict(documents)

    def others(self, center, year, filtered=True):
        """Yield (document, number, vector) of a year; left_out has (center, other) and (center, other, number)."""
        for document, vectors in self.passages.items():
            for number, vector in vectors.items():
                barred = {(center, document), (center, document, number)} & self.left_out
                if self.year_of[document] == year and not (filtered and barred):
                    yield document, number, vector

    def apart(self, p, q):
        return divergence(p, q) if self.kl else distance(normalized(p), normalized(q))

    def curve(self, center, fraction, filtered):
        """Return the mean similarity to each year around a document, None for a year without passages."""
        found = []
        for offset in OFFSETS:
            means = []
            for p in self.passages[center].values():
                others = self.others(center, self.year_of[center] + offset, filtered)
                near = sorted(self.apart(p, q) for _, _, q in others)
                near = near[: math.ceil(len(near) * fraction)]
                means += [-sum(near) / len(near)] if near else []
            found.append(sum(means) / len(means) if means else None)
        return found

    def nearest(self, center, number, offsets):
        """Return the nearest three of the years at these offsets: (cosine or −divergence, year, document, number)."""
        p, found = self.passages[center][number], []
        for offset in offsets:
            year = self.year_of[center] + offset
            for document, other, q in self.others(center, year):
                near = -divergence(p, q) if self.kl else sum(map(math.prod, zip(normalized(p), normalized(q))))
                found.append((near, year, document, other))
        return sorted(found, key=lambda each: -each[0])[:3]
