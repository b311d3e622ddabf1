"""The bench that all representations are measured on, and what it measured.

In: passages, the held-out documents, one run (vectors, document features, distances) at a time. Out: Measurements, the
estimates of every run of every representation, their means over seeds, and the differences between representations.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from script import log

from . import authors, measures
from .controls import Controls, Documents, Extras
from .lexical import lexical_run
from .measures import METRICS, Estimate
from .representations import (
    SHRINKAGE,
    EmbeddingFolders,
    Passages,
    Run,
    Wanted,
    centered,
    drawn,
    embedding_run,
    halves_of,
    mean_passage,
    mean_passages,
    normalizer,
    topic_run,
)
from .topics import Texts, TopicSettings, topic_mixtures

Estimates = dict[str, Estimate]  # by the keys of the metrics
LEXICAL = "latent semantic analysis"


class Bench:
    """The same queries, false partners and draws of documents for all representations.

    Args:
        held: indices of the held-out documents, ascending.
        draws: of the bootstrap.
        extras: what some controls need, of all documents.
    Attributes:
        held: those of them that are measured, all or as many as drawn() draws, ascending.
        sampled: indices of the documents whose pairs make the measures over all documents, drawn likewise.
        wanted: what a run has to hold; at_held and at_sampled: where held and sampled stand among its documents.
    """

    def __init__(self, passages: Passages, held: list[int], draws: int, seed: int, extras: Extras | None = None):
        self.passages, self.seed = passages, seed
        self.held, self.sampled = drawn(held, seed), drawn(range(len(passages.years)), seed)
        self.rows = measures.held_out_rows(passages, self.held)
        self.wanted = Wanted(self.rows, sorted({*self.held, *self.sampled}))
        self.at_held, self.at_sampled = (np.searchsorted(self.wanted.documents, d) for d in (self.held, self.sampled))
        self.pairs = measures.next_passage_pairs(passages, self.rows)
        self.document = np.searchsorted(self.held, passages.document[self.rows])
        decade = passages.years[passages.document[self.rows]] // 10
        rows, dice = measures.Rows(self.document, passages.number[self.rows], decade), np.random.default_rng(seed)
        self.false = {
            kind: measures.false_partners(kind, rows, self.pairs.queries, dice)
            for kind in ("anywhere", "same_decade", "same_document")
        }
        self.held_draws = measures.document_draws(len(self.held), draws, seed)
        self.sampled_draws = measures.document_draws(len(self.sampled), draws, seed + 1)
        held, sampled = self.documents(self.held, self.held_draws), self.documents(self.sampled, self.sampled_draws)
        self.controls = Controls(held, sampled, (extras or Extras()).of(self.sampled))
        self.metrics = (*METRICS, *self.controls.metrics)

    def documents(self, documents: list[int], draws: np.ndarray) -> Documents:
        """Return years, authors and draws of some documents."""
        of_these = self.passages.authors and [self.passages.authors[i] for i in documents]
        return Documents(self.passages.years[documents].astype(float), of_these, draws, self.seed + 2)

    def measure(self, run: Run, of_passages: dict[str, np.ndarray] | None = None) -> Estimates:
        """Return all metrics of one run.

        Args:
            of_passages: what retrieval() returned for another run with the same passages, not to be measured twice.
        """
        found = self.retrieval(run) if of_passages is None else of_passages
        found = found | self.timeline(run) | self.dating(run) | self.authorship(run) | self.reliability(run)
        found |= self.controls.measure(run.of(self.at_held), run.of(self.at_sampled))
        nothing = np.full(len(self.held_draws), np.nan)
        return {key: measures.estimate(found.get(key, nothing)) for key, _, _ in self.metrics}

    def retrieval(self, run: Run) -> dict[str, np.ndarray]:
        """Return the measures of next passages under each draw."""
        vectors, of_query = run.passages, self.document[self.pairs.queries]
        ranks = measures.next_passage_ranks(vectors, *self.pairs)
        reciprocal = np.where(ranks <= 10, 1 / ranks, 0)
        found = {
            "mrr_at_10": measures.weighted_mean(reciprocal, of_query, self.held_draws),
            "accuracy_at_1": measures.weighted_mean((ranks == 1).astype(float), of_query, self.held_draws),
        }
        for kind, false in self.false.items():
            found[f"ap_{kind}"] = measures.average_precision(vectors, self.pairs, false, self.document, self.held_draws)
        return found

    def timeline(self, run: Run) -> dict[str, np.ndarray]:
        """Return how the distance of documents goes with the years between them, under each draw."""
        rho, years = measures.timeline_correlation, self.passages.years.astype(float)
        held = run.of(self.at_held).distance, years[self.held], self.held_draws
        sampled = run.of(self.at_sampled).distance, years[self.sampled], self.sampled_draws
        return {
            "timeline_rho": rho(*held),
            "timeline_rho_near": rho(*held, measures.NEAR),
            "timeline_rho_all": rho(*sampled),
        }

    def dating(self, run: Run) -> dict[str, np.ndarray]:
        """Return how well a regression dates the sampled documents, under each draw."""
        years, each = self.passages.years[self.sampled].astype(float), np.arange(len(self.sampled))
        predicted = measures.cross_validated_years(run.documents[self.at_sampled], years, each)
        if predicted is None:
            return {}
        return {
            "dating_r2": measures.explained(years, predicted, self.sampled_draws),
            "dating_error": measures.weighted_mean(np.abs(years - predicted), each, self.sampled_draws),
        }

    def reliability(self, run: Run) -> dict[str, np.ndarray]:
        """Return how far odd and even passages agree on the distances of held-out documents, under each draw."""
        both, *_ = halves_of(self.passages, self.rows)
        draws = self.held_draws[:, np.searchsorted(self.held, both)]
        return {"reliability": authors.reliability(run.halves, draws)}

    def authorship(self, run: Run) -> dict[str, np.ndarray]:
        """Return the measures that need the documents' authors, under each draw; none without them."""
        if self.passages.authors is None:
            return {}
        years = self.passages.years[self.sampled].astype(float)
        names = [self.passages.authors[i] for i in self.sampled]
        run = run.of(self.at_sampled)
        found = {"same_author": measures.same_author_nearer(run.distance, years, names, self.sampled_draws)}
        predicted = measures.cross_validated_years(run.documents, years, measures.author_groups(names))
        if predicted is not None:
            found["dating_r2_author"] = measures.explained(years, predicted, self.sampled_draws)
        return found


class Difference(NamedTuple):
    """What one representation's estimates are, less those of another, draw by draw."""

    of: str
    less: str
    estimates: Estimates


@dataclass
class Measurements:
    """The estimates of every run (seed) of every representation, the base's first.

    Attributes:
        base: name of the untuned model.
        tuned: names of the tuned models.
        topics: name of the topic models, None without any.
        metrics: key, heading and definition of each measure.
        runs: by name; embeddings are there as "<name>, centered" and "<name>, normalized means", too.
    """

    base: str
    tuned: list[str]
    topics: str | None = None
    metrics: tuple[tuple[str, str, str], ...] = METRICS
    runs: dict[str, list[Estimates]] = field(default_factory=dict)

    def add(self, name: str, estimates: Estimates) -> None:
        """Add one run."""
        self.runs.setdefault(name, []).append(estimates)

    @functools.cached_property
    def means(self) -> dict[str, Estimates]:
        """Each representation's mean over its runs; ask for it once all are added."""
        return {name: mean_of_runs(runs) for name, runs in self.runs.items()}

    @functools.cached_property
    def differences(self) -> list[Difference]:
        """Each tuned model, also with normalized means, less the yardsticks; then each later one less the first."""
        yardsticks = [centered_name(self.base), normalized_name(self.base), LEXICAL, self.topics]
        yardsticks = [name for name in yardsticks if name in self.runs]
        models = [one for name in self.tuned for one in (name, normalized_name(name)) if one in self.runs]
        pairs = [(name, other) for name in models for other in yardsticks]
        pairs += [(name, self.tuned[0]) for name in self.tuned[1:]]
        return [Difference(name, other, difference(self.means[name], self.means[other])) for name, other in pairs]

    def as_json(self) -> dict:
        """Return the part of evaluation.json that holds the estimates."""
        return {
            "definitions": {key: text for key, _, text in self.metrics},
            "measured": {name: as_json(mean, self.runs[name]) for name, mean in self.means.items()},
            "differences": [{"of": one.of, "less": one.less, **as_json(one.estimates)} for one in self.differences],
        }


def measure_embeddings(
    embedded: EmbeddingFolders, bench: Bench, unseen: set[str], measurements: Measurements
) -> dict[str, Run]:
    """Measure every embedding folder, plain, centered, and with normalized document means.

    Args:
        unseen: paperIds of the documents that mean and covariance are taken without.
    Returns:
        The sampled documents of each NAME's first run, for the pictures.
    """
    pictured, passages = {}, bench.passages
    for name, folder in embedded.folders:
        mean = mean_passage(embedded.decades(folder), passages, unseen)
        to_documents = normalizer(embedded.decades(folder), passages, unseen, SHRINKAGE)
        means = mean_passages(embedded.decades(folder), passages, bench.wanted)
        run = means.run()
        of_passages = bench.retrieval(run)
        measurements.add(name, bench.measure(run, of_passages))
        pictured.setdefault(name, run.of(bench.at_sampled))
        run = embedding_run(centered(embedded.decades(folder), mean), passages, bench.wanted)
        measurements.add(centered_name(name), bench.measure(run))
        measurements.add(normalized_name(name), bench.measure(means.run(to_documents), of_passages))
        log.info("measured %s", folder)
    return pictured


def measure_words(texts: Texts, bench: Bench, measurements: Measurements) -> None:
    """Measure latent semantic analysis, unless the corpus has too few words for it."""
    passages = bench.passages.of(bench.wanted.documents)
    run = lexical_run(texts, passages, measures.held_out_rows(passages, bench.at_held), bench.seed)
    if run is None:
        log.info("no %s: hardly any word is in two of the passages it may be fitted on", LEXICAL)
    else:
        measurements.add(LEXICAL, bench.measure(run))
        log.info("measured %s", LEXICAL)


def measure_topics(
    folder: Path, texts: Texts, settings: TopicSettings, bench: Bench, measurements: Measurements
) -> dict[str, Run]:
    """Measure the topic models, fitted or kept in the folder; return the sampled documents of the first."""
    pictured = {}
    for seed in settings.seeds:
        run = run_of_topics(folder, texts, settings, seed, bench)
        measurements.add(measurements.topics, bench.measure(run))
        pictured.setdefault(measurements.topics, run.of(bench.at_sampled))
    return pictured


@functools.lru_cache(maxsize=1)  # that of the first seed is needed before and after the embeddings are measured
def run_of_topics(folder: Path, texts: Texts, settings: TopicSettings, seed: int, bench: Bench) -> Run:
    """Return the run of one topic model, which is kept in the folder or, if it isn't there, fitted."""
    passages = bench.passages.of(bench.wanted.documents)
    mixtures = topic_mixtures(folder, passages, texts, settings, seed)
    return topic_run(mixtures, passages, measures.held_out_rows(passages, bench.at_held))


def hold_topics_equal(folder: Path, texts: Texts, settings: TopicSettings, bench: Bench) -> None:
    """Have the bench compare with topic held equal, by the topic model of the first seed."""
    run = run_of_topics(folder, texts, settings, settings.seeds[0], bench)
    bench.controls.hold_equal(run.of(bench.at_held))


def centered_name(name: str) -> str:
    """Return the name of a representation with the mean passage subtracted."""
    return f"{name}, centered"


def normalized_name(name: str) -> str:
    """Return the name of a representation with its document means normalized."""
    return f"{name}, normalized means"


def mean_of_runs(runs: list[Estimates]) -> Estimates:
    """Return each measure's mean over the runs (seeds) of one representation, draw by draw."""
    mean = {}
    for key in runs[0]:
        values = [run[key].value for run in runs]
        value = None if None in values else float(np.mean(values))
        mean[key] = Estimate(value, np.mean([run[key].replicates for run in runs], axis=0))
    return mean


def difference(one: Estimates, other: Estimates) -> Estimates:
    """Return the first estimates less the second, draw by draw; None where one of them is None."""
    found = {}
    for key, of_one in one.items():
        value = None if None in (of_one.value, other[key].value) else of_one.value - other[key].value
        found[key] = Estimate(value, of_one.replicates - other[key].replicates)
    return found


def as_json(estimates: Estimates, runs: list[Estimates] | None = None) -> dict:
    """Return estimates with their intervals, and with the values of the single runs, for evaluation.json."""
    facts = {}
    for key, one in estimates.items():
        facts[key] = {"value": one.value, "interval": measures.interval(one.replicates)}
        if runs is not None:
            facts[key]["runs"] = [run[key].value for run in runs]
    return facts
