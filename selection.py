"""What the two scripts that choose training pairs share: candidate pairs, their spacing, level years, the table's rows.

Comes in: documents of the metadata and how many passages each has. Goes out: candidates, which hold passage numbers and
no texts, and at the end the rows of the pair table. Nothing here draws at random without a seeded `dice`.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import corpus
from corpus import ChunkFolder, Document
from script import InputError

PASSAGES_PER_PAIR = 8  # one pair for every eight passages, the last eight not necessarily complete
LEVEL_QUANTILE = 41 / 118  # the published corpus: its 41st smallest of 118 years set the limit


class Candidate(NamedTuple):
    """A pair that may be chosen: two passage numbers of a document, the same number twice if it has one passage."""

    document: Document
    first: int
    second: int
    is_random: bool
    rank: float  # uniform in [0, 1): each year takes its lowest
    paraphrase_rank: float  # uniform in [0, 1): each decade paraphrases its lowest
    swapped: bool  # anchor and positive change places

    @property
    def is_single(self) -> bool:
        return self.first == self.second

    @property
    def decade(self) -> int:
        return corpus.decade_of(self.document.year)


def spaced_starts(passages: int, pairs: int, gap: int, dice: random.Random) -> list[int]:
    """Draw where pairs of neighbors start, uniformly among all ways that leave `gap` passages between two pairs.

    Returns fewer than `pairs` starts if no more fit. Every way to place k pairs corresponds to one way to choose k of
    the starts that remain after removing, from each pair but the last, its second passage and the gap behind it.
    """
    step = gap + 2
    pairs = min(pairs, (passages + gap) // step)
    remaining = passages - 1 - (pairs - 1) * (step - 1)
    return [start + i * (step - 1) for i, start in enumerate(sorted(dice.sample(range(remaining), pairs)))]


def by_year(candidates: list[Candidate]) -> dict[int, list[Candidate]]:
    """Return the candidates of each year, lowest rank first."""
    years = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.rank, c.document.paper_id, c.first)):
        years[candidate.document.year].append(candidate)
    return dict(sorted(years.items()))


def year_limit(sizes: list[int], most: int, quantile: float) -> int:
    """Return how many pairs a year may give: `most`, or the quantile of the years' sizes if that is less."""
    position = max(math.ceil(quantile * len(sizes) - 1e-9), 1)  # 41/118 of 118 years is the 41st, not the 42nd
    return min(most, sorted(sizes)[position - 1])


def level_years(candidates: list[Candidate], most: int, quantile: float) -> list[Candidate]:
    """Keep the pairs of lowest rank in each year, as many as year_limit allows.

    Raises:
        InputError: there is no candidate.
    """
    years = by_year(candidates)
    if not years:
        raise InputError(
            "no document has passages to pair; check -r and its file names, -s and -e, and the share of paraphrase."
        )
    limit = year_limit([len(pairs) for pairs in years.values()], most, quantile)
    return [pair for pairs in years.values() for pair in pairs[:limit]]


def pair_rows(chosen: list[tuple[Candidate, str]], chunks: ChunkFolder) -> Iterator[dict]:
    """Yield the rows of the pair table by year, paperId, and position.

    Reads the chosen passages, one document after the other, so that only one document's texts are in memory.

    Raises:
        InputError: a chunk file changed since its passages were counted.
    """
    order = sorted(chosen, key=lambda c: (c[0].document.year, c[0].document.paper_id, c[0].first))
    for document, of_document in itertools.groupby(order, key=lambda c: c[0].document):
        of_document = list(of_document)
        numbers = {number for candidate, _ in of_document for number in (candidate.first, candidate.second)}
        yield from rows_of_document(document, of_document, chunks.chosen(document, numbers))


def rows_of_document(document: Document, chosen: list[tuple[Candidate, str]], passages: dict[int, str]):
    """Yield the rows of one document's chosen pairs; passages are by their numbers."""
    for candidate, category in chosen:
        cells = [passages[candidate.first], passages[candidate.second]]
        if category == "single-synthetic":
            cells[1] = corpus.TO_GENERATE
        if candidate.swapped:
            cells.reverse()
        yield dict(zip(corpus.PAIR_COLUMNS, (document.paper_id, document.year, *cells, category)))
