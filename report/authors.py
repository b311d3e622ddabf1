"""What documents share besides their date, and how their distance goes with it: authors, generations, kinds, topics.

In: distances, years and authors of documents. Out: arrays (1 + draws,) as in measures.py, NaN where there is nothing to
measure. Where documents by one author would count as so many witnesses, the bootstrap draws whole authors.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from . import measures

PERMUTATIONS = 199  # of authors' dates: p is 0.005 at least
SAME_DATE = 5  # years by which documents of the same date may differ
PER_CLUSTER, MOST_CLUSTERS = 10, 20  # documents of a cluster, on average; more clusters are not made
FEWEST = 3  # documents before and after the year, for dating forward
TRAINED_SHARE = 2 / 3  # of the documents are before that year, where none is given


@dataclass(frozen=True)
class Documents:
    """Documents that are compared with one another.

    Attributes:
        years: float, (documents,).
        authors: names, empty where unknown; None where no author is known.
        draws: as in measures.py.
        seed: for drawing and shuffling authors.
    """

    years: np.ndarray
    authors: list[str] | None
    draws: np.ndarray
    seed: int

    @functools.cached_property
    def group(self) -> np.ndarray:
        """A number for each author, and for each document whose author is unknown: int, (documents,)."""
        return measures.author_groups(self.authors or [""] * len(self.years))

    @functools.cached_property
    def author_draws(self) -> np.ndarray:
        """How often each document is drawn where whole authors are: int, (1 + draws, documents)."""
        of_author = measures.document_draws(self.group.max() + 1, len(self.draws) - 1, self.seed)
        return of_author[:, self.group]


# ---------------------------------------------------------------- timeline


def permutation_p(distance: np.ndarray, documents: Documents, most: int | None) -> float:
    """Return the share of shufflings of the authors' years whose ρ, over pairs by different authors, is no less.

    The sample itself counts as one of them. NaN where ρ can't be measured.
    """
    first, second = measures.document_pairs(documents.years, None, documents.group)
    _, codes = np.unique(distance[first, second], return_inverse=True)
    sizes, dice = np.bincount(documents.group), np.random.default_rng(documents.seed)
    of_all = ranks_of_codes(codes)
    middle = np.bincount(documents.group, documents.years) / sizes

    def rho(years):
        apart = np.abs(years[first] - years[second])
        near = slice(None) if most is None else apart <= most
        x, y = ranks_of_codes(apart[near]), of_all if most is None else ranks_of_codes(codes[near])
        return np.corrcoef(x, y)[0, 1] if len(x) > 1 and np.ptp(x) and np.ptp(y) else np.nan

    own = documents.years - middle[documents.group]
    shuffled = (dice.permutation(middle)[documents.group] + own for _ in range(PERMUTATIONS))
    found = np.array([rho(documents.years.astype(int)), *(rho(np.rint(years).astype(int)) for years in shuffled)])
    return np.nan if np.isnan(found[0]) else float((found >= found[0] - 1e-12).sum() / (1 + PERMUTATIONS))


def ranks_of_codes(codes: np.ndarray) -> np.ndarray:
    """Return the ranks of small whole numbers, equal ones sharing theirs, without sorting millions of them."""
    counts = np.bincount(codes)
    return (np.cumsum(counts) - (counts - 1) / 2)[codes]


def partial_correlation(matrices, pairs, draws: np.ndarray) -> np.ndarray:
    """Return the partial Spearman correlation of the first and second of three, given the third, under each draw.

    Args:
        matrices: distances of one kind or another, each (documents, documents).
        pairs: first and second document of each pair.
    """
    from scipy.stats import rankdata

    if len(pairs[0]) < 3:
        return np.full(len(draws), np.nan)
    x, y, z = (rankdata(values[pairs]) for values in matrices)
    xy, xz, yz = (measures.weighted_correlation(a, b, pairs, draws) for a, b in ((x, y), (x, z), (y, z)))
    left = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / np.sqrt(np.where(left > 1e-9, left, np.nan))


def clusters_of(documents: np.ndarray, seed: int) -> np.ndarray:
    """Return the cluster of each document, int, by k-means of the square roots of mean mixtures."""
    from sklearn.cluster import KMeans

    clusters = min(MOST_CLUSTERS, max(2, len(documents) // PER_CLUSTER))
    return KMeans(clusters, n_init=10, random_state=seed).fit_predict(documents)


def correlation_in_clusters(distance, years, clusters, draws) -> np.ndarray:
    """Return the mean of the timeline's ρ within clusters under each draw, weighted by the pairs drawn."""
    total, weight = np.zeros(len(draws)), np.zeros(len(draws))
    for cluster in np.unique(clusters):
        at = np.flatnonzero(clusters == cluster)
        rho = measures.timeline_correlation(distance[np.ix_(at, at)], years[at], draws[:, at])
        drawn = draws[:, at].astype(float)
        pairs = np.where(np.isfinite(rho), (drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2, 0)
        total, weight = total + np.nan_to_num(rho) * pairs, weight + pairs
    return total / np.where(weight, weight, np.nan)


# ---------------------------------------------------------------- authors, generations, kinds, chance


def reliability(halves: tuple[np.ndarray, np.ndarray], draws: np.ndarray) -> np.ndarray:
    """Return Spearman's ρ of distances by odd and by even passages under each draw; NaN with under three documents."""
    from scipy.stats import rankdata

    odd, even = halves
    if len(odd) < 3:
        return np.full(len(draws), np.nan)
    pairs = np.triu_indices(len(odd), k=1)
    return measures.weighted_correlation(rankdata(odd[pairs]), rankdata(even[pairs]), pairs, draws)


def persistence(distance: np.ndarray, documents: Documents) -> np.ndarray:
    """Return how often two steps between an author's consecutive documents lead farther than one; ties count half."""
    values, middle = [], []
    for author in sorted(set(documents.authors) - {""}):
        own = np.flatnonzero(np.array(documents.authors) == author)
        own = own[np.argsort(documents.years[own], kind="stable")]
        for one, two, three in zip(own, own[1:], own[2:]):
            far, steps = distance[one, three], np.array([distance[one, two], distance[two, three]])
            values.append(((far > steps) + 0.5 * (far == steps)).mean())
            middle.append(two)
    return measures.weighted_mean(np.array(values), np.array(middle, dtype=int), documents.author_draws)


def cohort(distance: np.ndarray, documents: Documents, births: np.ndarray) -> np.ndarray:
    """Return the partial correlation of distance and years between births, given the years between documents."""
    known = np.flatnonzero(np.isfinite(births))
    pairs = measures.document_pairs(documents.years[known], None, documents.group[known])
    born, dated = (np.abs(v[known][:, None] - v[known][None, :]) for v in (births, documents.years))
    matrices = distance[np.ix_(known, known)], born, dated
    return partial_correlation(matrices, pairs, documents.author_draws[:, known])


def same_date_nearer(distance: np.ndarray, documents: Documents, kinds: Iterable[str]) -> np.ndarray:
    """Return how often a document is nearer to one of its kind than to one of another, all of the same date."""
    kinds, years, group = np.array(kinds), documents.years, documents.group
    wins, counts = np.zeros(len(years)), np.zeros(len(years))
    for i in np.flatnonzero(kinds != ""):
        near = (np.abs(years - years[i]) <= SAME_DATE) & (group != group[i]) & (kinds != "")
        own, other = np.flatnonzero(near & (kinds == kinds[i])), np.flatnonzero(near & (kinds != kinds[i]))
        comparable = group[own][:, None] != group[other][None, :]
        wins[i], counts[i] = measures.nearer(distance[i], np.abs(years - years[i]), (own, other), comparable)
    totals = documents.author_draws @ counts
    return documents.author_draws @ wins / np.where(totals, totals, np.nan)


def year_to_date_from(years: np.ndarray) -> float:
    """Return the year of a document before which two thirds of the documents are, or nearly so many."""
    return np.quantile(years, TRAINED_SHARE, method="nearest")


def forward_error(features: np.ndarray, documents: Documents, year: float) -> np.ndarray:
    """Return the median error of dating the documents from a year on, by new authors, by those before it."""
    years, draws = documents.years, documents.author_draws
    before = years < year
    after = np.flatnonzero(~before & ~np.isin(documents.group, documents.group[before]))
    if before.sum() < FEWEST or len(after) < FEWEST:
        return np.full(len(draws), np.nan)
    model = measures.year_regression().fit(features[before], years[before])
    return weighted_median(np.abs(years[after] - model.predict(features[after])), draws[:, after])


def weighted_median(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the median of values, each as often as it is drawn, under each draw; NaN where none is."""
    order = np.argsort(values, kind="stable")
    counts = np.cumsum(draws[:, order], axis=1)
    total = counts[:, -1]
    low, high = (values[order][(counts >= half[:, None]).argmax(axis=1)] for half in ((total + 1) // 2, total // 2 + 1))
    return np.where(total, (low + high) / 2, np.nan)
