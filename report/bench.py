"""The bench that all representations are measured on, and what it measured.

In: passages, the held-out documents, one run (vectors, document features, distances) at a time. Out: Measurements, the
estimates of every run of every representation, their means over seeds, and the differences between representations.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from script import log

from . import measures
from .measures import METRICS, Estimate
from .representations import EmbeddingFolders, Passages, Run, centered, embedding_run, topic_run
from .topics import Texts, TopicSettings, topic_mixtures

MOST_DOCUMENTS = 2000  # for measures over all documents: 2 million pairs of them; more are sampled

Estimates = dict[str, Estimate]  # by the keys of METRICS


class Bench:
    """The same queries, false partners and draws of documents for all representations.

    Args:
        held: indices of the held-out documents, ascending.
        draws: of the bootstrap.
    Attributes:
        sampled: indices of the documents whose pairs make the measures over all documents, ascending.
    """

    def __init__(self, passages: Passages, held: list[int], draws: int, seed: int):
        self.passages, self.held = passages, held
        documents = len(passages.years)
        self.sampled = sorted(random.Random(seed).sample(range(documents), min(MOST_DOCUMENTS, documents)))
        self.rows = measures.held_out_rows(passages, held)
        self.pairs = measures.next_passage_pairs(passages, self.rows)
        self.document = np.searchsorted(held, passages.document[self.rows])
        decade = passages.years[passages.document[self.rows]] // 10
        rows, dice = measures.Rows(self.document, passages.number[self.rows], decade), np.random.default_rng(seed)
        self.false = {
            kind: measures.false_partners(kind, rows, self.pairs.queries, dice)
            for kind in ("anywhere", "same_decade", "same_document")
        }
        self.held_draws = measures.document_draws(len(held), draws, seed)
        self.sampled_draws = measures.document_draws(len(self.sampled), draws, seed + 1)

    def measure(self, run: Run) -> Estimates:
        """Return all METRICS of one run."""
        found = self.retrieval(run) | self.timeline(run) | self.dating(run) | self.authorship(run)
        nothing = np.full(len(self.held_draws), np.nan)
        return {key: measures.estimate(found.get(key, nothing)) for key, _, _ in METRICS}

    def retrieval(self, run: Run) -> dict[str, np.ndarray]:
        """Return the measures of next passages under each draw."""
        vectors, of_query = run.passages[self.rows], self.document[self.pairs.queries]
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
        held = run.distance[np.ix_(self.held, self.held)], years[self.held], self.held_draws
        sampled = run.distance[np.ix_(self.sampled, self.sampled)], years[self.sampled], self.sampled_draws
        return {
            "timeline_rho": rho(*held),
            "timeline_rho_near": rho(*held, measures.NEAR),
            "timeline_rho_all": rho(*sampled),
        }

    def dating(self, run: Run) -> dict[str, np.ndarray]:
        """Return how well a regression dates the sampled documents, under each draw."""
        years, each = self.passages.years[self.sampled].astype(float), np.arange(len(self.sampled))
        predicted = measures.cross_validated_years(run.documents[self.sampled], years, each)
        if predicted is None:
            return {}
        return {
            "dating_r2": measures.explained(years, predicted, self.sampled_draws),
            "dating_error": measures.weighted_mean(np.abs(years - predicted), each, self.sampled_draws),
        }

    def authorship(self, run: Run) -> dict[str, np.ndarray]:
        """Return the measures that need the documents' authors, under each draw; none without them."""
        if self.passages.authors is None:
            return {}
        years = self.passages.years[self.sampled].astype(float)
        authors = [self.passages.authors[i] for i in self.sampled]
        distance = run.distance[np.ix_(self.sampled, self.sampled)]
        found = {"same_author": measures.same_author_nearer(distance, years, authors, self.sampled_draws)}
        groups = np.unique([author or f"\t{i}" for i, author in enumerate(authors)], return_inverse=True)[1]
        predicted = measures.cross_validated_years(run.documents[self.sampled], years, groups)
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
        runs: by name; embeddings are there a second time as "<name>, centered".
    """

    base: str
    tuned: list[str]
    topics: str | None = None
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
        """Each tuned model less the centered base and the topic models, then each later tuned model less the first."""
        yardsticks = [centered_name(self.base), *([self.topics] if self.topics else [])]
        pairs = [(name, other) for name in self.tuned for other in yardsticks]
        pairs += [(name, self.tuned[0]) for name in self.tuned[1:]]
        return [Difference(name, other, difference(self.means[name], self.means[other])) for name, other in pairs]

    def as_json(self) -> dict:
        """Return the part of evaluation.json that holds the estimates."""
        return {
            "definitions": {key: text for key, _, text in METRICS},
            "measured": {name: as_json(mean, self.runs[name]) for name, mean in self.means.items()},
            "differences": [{"of": one.of, "less": one.less, **as_json(one.estimates)} for one in self.differences],
        }


def measure_embeddings(
    embedded: EmbeddingFolders, bench: Bench, unseen: set[str], measurements: Measurements
) -> dict[str, Run]:
    """Measure every embedding folder, plain and centered.

    Args:
        unseen: paperIds of the documents that the mean passage is taken without.
    Returns:
        The sampled documents of each NAME's first run, for the pictures.
    """
    drawn = {}
    for name, folder, vectors in embedded:
        run = embedding_run(vectors, bench.passages)
        measurements.add(name, bench.measure(run))
        drawn.setdefault(name, run.of(bench.sampled))
        run = embedding_run(centered(vectors, bench.passages, unseen), bench.passages)
        measurements.add(centered_name(name), bench.measure(run))
        log.info("measured %s", folder)
    return drawn


def measure_topics(
    folder: Path, texts: Texts, settings: TopicSettings, bench: Bench, measurements: Measurements
) -> dict[str, Run]:
    """Measure the topic models, fitted or kept in the folder; return the sampled documents of the first."""
    drawn = {}
    for seed in settings.seeds:
        run = topic_run(topic_mixtures(folder, bench.passages, texts, settings, seed), bench.passages)
        measurements.add(measurements.topics, bench.measure(run))
        drawn.setdefault(measurements.topics, run.of(bench.sampled))
    return drawn


def centered_name(name: str) -> str:
    """Return the name of a representation with the mean passage subtracted."""
    return f"{name}, centered"


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
