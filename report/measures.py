"""What is measured: the table of measures, and the statistics behind them, each computed under every bootstrap draw.

In: vectors, distances, years and authors of documents, and `draws`, int, (1 + draws, documents): how often each
document is drawn, the first row being the sample itself. Out: arrays (1 + draws,), NaN where there is nothing to
measure. All representations are measured under the same draws, so the interval of a difference comes from the
differences of their replicates (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 and 16).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .representations import Passages

FALSE_PARTNERS = 5
MOST_PASSAGES = 30  # of a held-out document, its first; else one novel would outweigh fifty articles
NEAR = 50  # years; the second timeline figure looks only this far
BLOCK = 1024  # queries whose similarities are held at once: 1024 × 60,000 float32 = 250 MB
WEIGHTS_AT_ONCE = 4_000_000  # of average precision: draws × pairs of passages, float64, 32 MB
FOLDS = 10  # of the dating; fewer where there are fewer groups
GAP_SLACK = 2  # years by which two pairs of documents may differ in their distance in time and count as equal

# What each figure means, in the order of the table's columns: key, heading, definition.
METRICS = (
    ("mrr_at_10", "MRR@10", "Next-passage retrieval: mean of 1/rank of the passage that really follows, among all "
     "passages of the held-out documents by cosine; 0 where its rank is above 10."),
    ("accuracy_at_1", "accuracy@1", "Next-passage retrieval: share of passages whose nearest neighbour is the one that "
     "follows."),
    ("ap_anywhere", "AP, anywhere", "Average precision of the next passage among five false partners, drawn from other "
     "held-out documents; chance is 0.167."),
    ("ap_same_decade", "AP, same decade", "The same, false partners from other held-out documents of the decade."),
    ("ap_same_document", "AP, same document", "The same, false partners from the passage's own document, neighbours "
     "excluded."),
    ("timeline_rho", "timeline ρ", "Spearman correlation of the distance of two held-out documents with the years "
     "between them, over all pairs. The distance is 1 − cosine of mean passages; for topic models the Jensen–Shannon "
     "distance of mean mixtures; for latent semantic analysis 1 − cosine of whole documents."),
    ("timeline_rho_near", f"timeline ρ, ≤ {NEAR} years", f"The same, pairs at most {NEAR} years apart."),
    ("timeline_rho_all", "timeline ρ, all documents", "The same over all embedded documents, those trained on too."),
    ("dating_r2", "dating R²", "Share of the variance of the documents' years that ridge regression on their vectors "
     f"explains for documents it has not seen ({FOLDS}-fold cross-validation, all embedded documents)."),
    ("dating_error", "dating error", "The same regression's mean absolute error in years; less is better."),
    ("dating_r2_author", "dating R², new authors", "Dating R² where the regression has seen no document by the "
     "author."),
    ("same_author", "same author", "Of two documents equally far in time from a third (± "
     f"{GAP_SLACK} years), one by the third's author and one not, how often the author's own is nearer; 0.5 is chance. "
     "Above it, the representation sees more than period and spelling. All embedded documents."),
)  # fmt: skip
LESS_IS_BETTER = {"dating_error", "forward_error"}


class Estimate(NamedTuple):
    """A measure's value, and that under each draw of documents, (draws,); None and NaNs where it can't be measured."""

    value: float | None
    replicates: np.ndarray


def document_draws(documents: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each document is drawn: int, (1 + draws, documents). The first row is the sample itself."""
    dice = np.random.default_rng(seed)
    drawn = dice.multinomial(documents, np.full(documents, 1 / documents), size=draws)
    return np.concatenate([np.ones((1, documents), dtype=int), drawn])


def estimate(values: np.ndarray) -> Estimate:
    """Return the estimate of values under each draw, the sample's own first."""
    return Estimate(float(values[0]) if np.isfinite(values[0]) else None, values[1:])


def interval(replicates: np.ndarray) -> tuple[float, float] | None:
    """Return the 95% percentile interval, None where fewer than half of the draws could be measured."""
    finite = replicates[np.isfinite(replicates)]
    if len(finite) < len(replicates) / 2 or not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def weighted_mean(values: np.ndarray, document: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean of values under each draw; `document` is the index of the document of each value."""
    size = draws.shape[1]
    totals = draws @ np.bincount(document, values, minlength=size)
    counts = draws @ np.bincount(document, minlength=size)
    return totals / np.where(counts, counts, np.nan)


# ---------------------------------------------------------------- next passages


class Rows(NamedTuple):
    """Passages to draw false partners from; int arrays, one value a passage."""

    document: np.ndarray
    number: np.ndarray  # chunknumber
    decade: np.ndarray


class Pairs(NamedTuple):
    """Positions of passages and of the passage that really follows each; int arrays of one length."""

    queries: np.ndarray
    targets: np.ndarray


def held_out_rows(passages: Passages, held: list[int]) -> np.ndarray:
    """Return the rows of the held-out documents' first passages, in order."""
    return np.flatnonzero(np.isin(passages.document, held) & (passages.number < MOST_PASSAGES))


def next_passage_pairs(passages: Passages, rows: np.ndarray) -> Pairs:
    """Return positions in rows: passages, and the passage that follows each in its document."""
    document, number = passages.document[rows], passages.number[rows]
    follows = (document[1:] == document[:-1]) & (number[1:] == number[:-1] + 1)
    queries = np.flatnonzero(follows)
    return Pairs(queries, queries + 1)


def next_passage_ranks(vectors: np.ndarray, queries: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return for each query the rank of its target among all other rows by cosine, 1 the nearest; ties count against.

    Args:
        vectors: normalised, (rows, dimensions).
        queries, targets: int, positions in vectors.
    """
    ranks = np.empty(len(queries), dtype=int)
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        similarity = vectors[queries[block]] @ vectors.T
        rows = np.arange(len(similarity))
        true = similarity[rows, targets[block]].copy()
        similarity[rows, queries[block]] = -np.inf
        ranks[block] = (similarity >= true[:, None]).sum(axis=1)
    return ranks


def false_partners(kind: str, rows: Rows, queries: np.ndarray, dice) -> tuple[np.ndarray, np.ndarray]:
    """Draw five false partners for each query that has that many.

    Args:
        kind: "anywhere", "same_decade" or "same_document".
        queries: int, positions in rows.
        dice: numpy random generator.
    Returns:
        Positions in queries, and rows, equally long.
    """
    among = {"same_document": rows.document, "same_decade": rows.decade, "anywhere": np.zeros_like(rows.decade)}[kind]
    members, of_document = positions_by_value(among), positions_by_value(rows.document)
    asked, partners = [], []
    for position, query in enumerate(queries):
        pool, excluded = members[among[query]], of_document[rows.document[query]]
        if kind == "same_document":
            excluded = pool[np.abs(rows.number[pool] - rows.number[query]) <= 1]
        at = np.searchsorted(pool, excluded)  # the excluded ones are in the pool
        allowed = len(pool) - len(at)
        if allowed >= FALSE_PARTNERS:
            asked += [position] * FALSE_PARTNERS
            drawn = dice.choice(allowed, FALSE_PARTNERS, replace=False)
            # Each excluded one before a partner moves it one place on in the pool.
            partners += pool[drawn + np.searchsorted(at - np.arange(len(at)), drawn, side="right")].tolist()
    return np.array(asked, dtype=int), np.array(partners, dtype=int)


def positions_by_value(values: np.ndarray) -> dict[int, np.ndarray]:
    """Return where each value stands, ascending."""
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:])))


def weighted_average_precision(scores, labels, draws: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Return the average precision of the scores under each draw, (draws,); NaN where no true one is drawn.

    As sklearn.metrics.average_precision_score, of equal scores all count at once; here the scores are sorted once for
    a thousand draws instead of once for each.

    Args:
        scores, labels: (pairs,), the labels 1 or 0.
        document: int, (pairs,): the document whose number of draws is the pair's weight.
    """
    order = np.argsort(-scores, kind="stable")
    scores, labels, document = scores[order], labels[order], document[order]
    last = np.searchsorted(-scores, -scores, side="right") - 1  # of those with the same score
    found, at_once = np.empty(len(draws)), max(1, WEIGHTS_AT_ONCE // len(scores))
    for start in range(0, len(draws), at_once):
        weight = draws[start : start + at_once, document].astype(float)
        true = weight * labels
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing drawn yet among the nearest
            precision = np.cumsum(true, axis=1)[:, last] / np.cumsum(weight, axis=1)[:, last]
            total = np.where(true > 0, true * precision, 0).sum(axis=1)
            found[start : start + at_once] = total / true.sum(axis=1)
    return found


def average_precision(vectors: np.ndarray, pairs: Pairs, false, document, draws: np.ndarray) -> np.ndarray:
    """Return the average precision of true partners among false ones under each draw, NaN without any.

    Args:
        vectors: normalised, (rows, dimensions).
        false: what false_partners returned for the pairs' queries.
        document: int, index of each row's document among the drawn.
    """
    asked, partners = false
    if not len(asked):
        return np.full(len(draws), np.nan)
    kept = np.unique(asked)
    anchors = np.concatenate([pairs.queries[kept], pairs.queries[asked]])
    others = np.concatenate([pairs.targets[kept], partners])
    scores = np.einsum("ij,ij->i", vectors[anchors], vectors[others])
    labels = np.repeat([1, 0], [len(kept), len(asked)])
    return weighted_average_precision(scores, labels, draws, document[anchors])


# ---------------------------------------------------------------- timeline


def document_pairs(years: np.ndarray, most: int | None = None, group: np.ndarray | None = None):
    """Return the first and the second document of each pair, int, that is at most so many years apart.

    Args:
        group: int, one a document; pairs of one group are left out.
    """
    first, second = np.triu_indices(len(years), k=1)
    kept = np.ones(len(first), dtype=bool) if most is None else np.abs(years[first] - years[second]) <= most
    if group is not None:
        kept &= group[first] != group[second]
    return first[kept], second[kept]


def weighted_correlation(x: np.ndarray, y: np.ndarray, pairs, draws: np.ndarray) -> np.ndarray:
    """Return the correlation of two values of pairs of documents under each draw; NaN where one doesn't vary.

    Under a draw a pair weighs the product of its documents' weights.

    Args:
        pairs: first and second document of each pair.
    """
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.full(len(draws), np.nan)
    x, y = x - x.mean(), y - y.mean()

    def total(values):
        """The sum over pairs under each draw, as a quadratic form: (draws,)."""
        matrix = np.zeros((draws.shape[1], draws.shape[1]))
        matrix[pairs] = values
        return np.einsum("ij,ij->i", draws @ matrix, draws)

    weight, sx, sy = total(1), total(x), total(y)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without two different pairs has no correlation
        covariance = total(x * y) - sx * sy / weight
        return covariance / np.sqrt((total(x * x) - sx**2 / weight) * (total(y * y) - sy**2 / weight))


def timeline_correlation(
    distance: np.ndarray, years: np.ndarray, draws: np.ndarray, most: int | None = None, group: np.ndarray | None = None
) -> np.ndarray:
    """Return Spearman's ρ of distance and years apart over pairs of documents under each draw; NaN without any.

    The ranks are those of the sample itself. Which pairs: see document_pairs().
    """
    from scipy.stats import rankdata

    first, second = pairs = document_pairs(years, most, group)
    apart = np.abs(years[first] - years[second])
    return weighted_correlation(rankdata(apart), rankdata(distance[pairs]), pairs, draws)


def year_regression():
    """Return an unfitted ridge regression of years on features. Fitting chooses its penalty."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 13)))


def cross_validated_years(features: np.ndarray, years: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
    """Return the year that ridge regression gives each document from the others; None with fewer than three groups.

    Documents of one group are never on both sides. The penalty is chosen within the training side.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict

    folds = min(FOLDS, len(np.unique(groups)))
    if folds < 3:
        return None
    return cross_val_predict(year_regression(), features, years, groups=groups, cv=GroupKFold(folds))


def explained(years: np.ndarray, predicted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return R² of the predicted years under each draw."""
    document = np.arange(len(years))
    residual = weighted_mean((years - predicted) ** 2, document, draws)
    mean = weighted_mean(years, document, draws)
    return 1 - residual / (weighted_mean(years**2, document, draws) - mean**2)


def author_groups(authors: list[str]) -> np.ndarray:
    """Return a number for each author, int, one a document; a document without one is a group of its own."""
    return np.unique([author or f"\t{i}" for i, author in enumerate(authors)], return_inverse=True)[1]


def nearer(distance: np.ndarray, apart: np.ndarray, sides, comparable=True) -> tuple[float, int]:
    """Return how often documents of one side are nearer than those of the other, and of how many comparisons.

    Two that are not equally far in time (± GAP_SLACK years) are not compared; ties count half.

    Args:
        distance, apart: from one document to each, and the years between them; (documents,).
        sides: indices of the documents of either side.
        comparable: bool, (one side, other side): which may be compared.
    """
    own, other = sides
    comparable = comparable & (np.abs(apart[own][:, None] - apart[other][None, :]) <= GAP_SLACK)
    won = distance[own][:, None] < distance[other][None, :]
    ties = distance[own][:, None] == distance[other][None, :]
    return ((won + 0.5 * ties) * comparable).sum(), comparable.sum()


def same_author_nearer(distance: np.ndarray, years: np.ndarray, authors: list[str], draws: np.ndarray) -> np.ndarray:
    """Return how often a document is nearer to one by its author than to another's of the same distance in time.

    For each document all such pairs are compared. NaN where there are none.
    """
    names = np.array(authors)
    apart = np.abs(years[:, None] - years[None, :])
    wins, counts = np.zeros(len(years)), np.zeros(len(years))
    for i in range(len(years)):
        own = np.flatnonzero((names == names[i]) & (names != ""))
        other = np.flatnonzero((names != names[i]) & (names != ""))
        wins[i], counts[i] = nearer(distance[i], apart[i], (own[own != i], other))
    totals = draws @ counts
    return draws @ wins / np.where(totals, totals, np.nan)
