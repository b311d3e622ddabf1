"""The controls: does distance still follow time without pairs by one author, or with topic held equal?

And what is it made of besides time: authors, generations, kinds of texts, chance? In: runs of the held-out and of the
sampled documents. Out: arrays (1 + draws,) by the keys of the table of controls; authors.py has the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import authors, measures
from .authors import PER_CLUSTER, PERMUTATIONS, SAME_DATE, Documents
from .measures import GAP_SLACK, NEAR
from .representations import Run

NEARER = 20  # years; within them no representation is known to be ahead

REACHES = {"": None, "_near": NEAR, "_near20": NEARER}  # by a part of the key; years
TIMELINES = [(kind, reach, author) for kind in ("", "_all") for reach in REACHES for author in ("", "_others")]
IN_MEASURES = ("timeline_rho", "timeline_rho_near", "timeline_rho_all")


def timeline_metric(kind: str, reach: str, author: str) -> tuple[str, str, str]:
    """Return key, heading and definition of the timeline's ρ over some pairs of documents."""
    years = REACHES[reach]
    limits = (f"≤ {years} years" if years else "", "other authors" if author else "", "all documents" if kind else "")
    documents = "all embedded documents" if kind else "held-out documents"
    by, near = " by different authors" if author else "", f", at most {years} years apart" if years else ""
    return f"timeline_rho{kind}{reach}{author}", ", ".join(["timeline ρ", *filter(None, limits)]), (
        f"Timeline ρ over pairs of {documents}{by}{near}." + (" The interval draws authors." if author else "")
    )  # fmt: skip


def permutation_metric(reach: str) -> tuple[str, str, str]:
    """Return key, heading and definition of the permutation test of one reach."""
    years = REACHES[reach]
    _, heading, _ = timeline_metric("", reach, "_others")
    return f"timeline_p{reach}_others", heading.replace("timeline ρ", "timeline p"), (
        f"Permutation test of {heading}: how often it is at least as high when the authors' mean years are "
        f"shuffled among them, each author's documents keeping their distance in time ({PERMUTATIONS} times)."
        + (f" Which pairs are at most {years} years apart is decided anew each time." if years else "")
    )  # fmt: skip


CONTROLS = (
    *(metric for metric in map(timeline_metric, *zip(*TIMELINES)) if metric[0] not in IN_MEASURES),
    *map(permutation_metric, REACHES),
    ("timeline_rho_given_topics", "timeline ρ, topic held equal", "Partial Spearman correlation of the distance of two "
     "held-out documents with the years between them, given their distance by the topic model."),
    ("timeline_rho_in_clusters", "timeline ρ, within clusters", "Mean of timeline ρ within clusters of held-out "
     f"documents, weighted by their pairs; clusters of about {PER_CLUSTER} documents by k-means of their topics."),
    ("reliability", "reliability", "Spearman correlation of the distances of held-out documents by their odd passages "
     "alone with those by their even ones: how little of a distance is chance."),
    ("persistence", "persistence", "Of three consecutive documents by an author, how often the first and the third are "
     "farther apart than each is from the second. 0.5: the author's works scatter about one point (noise); 1: they "
     "move on (drift). All embedded documents; the interval draws authors."),
    ("cohort", "cohort", "Partial Spearman correlation of the distance of two documents by different authors with the "
     "years between the authors' births, given the years between the documents: what generation explains beyond the "
     "date. All embedded documents; the interval draws authors."),
)  # fmt: skip


def forward_metric(year: float) -> tuple[str, str, str]:
    """Return key, heading and definition of dating the documents from a year on."""
    return "forward_error", f"forward dating error, {year:.0f} on", (
        f"Median error, in years, of ridge regression fitted on the documents before {year:.0f} and dating those from "
        "then on, by other authors; less is better. All embedded documents; the interval draws authors."
    )  # fmt: skip


def same_date_metric(column: str) -> tuple[str, str, str]:
    """Return key, heading and definition of the triplets by a column of the metadata."""
    return f"same_date_{column}", f"same date, {column}", (
        f"Of two documents at most {SAME_DATE} years from a third and equally far from it in time (± {GAP_SLACK}), one "
        f"of its {column} and one not, all by different authors, how often that of its {column} is nearer; 0.5 is "
        "chance. All embedded documents; the interval draws authors."
    )  # fmt: skip


@dataclass(frozen=True)
class Extras:
    """What some controls need beside years and authors; one value for each document.

    Attributes:
        births: float, years in which the authors were born, NaN where unknown.
        kinds: by column, the kind of each document, empty where unknown.
        forward: the year that dating forward starts from, None for that before which two thirds of documents are.
    """

    births: np.ndarray | None = None
    kinds: dict[str, list[str]] = field(default_factory=dict)
    forward: int | None = None

    def of(self, documents: list[int]) -> Extras:
        """Return those of some documents."""
        births = None if self.births is None else self.births[documents]
        kinds = {column: [values[i] for i in documents] for column, values in self.kinds.items()}
        return Extras(births, kinds, self.forward)


class Controls:
    """The controls of all representations, for the same documents.

    Args:
        held: the documents held out from training.
        sampled: all documents, or those drawn of them.
        extras: of the sampled.
    """

    def __init__(self, held: Documents, sampled: Documents, extras: Extras):
        self.held, self.sampled, self.extras = held, sampled, extras
        self.forward = authors.year_to_date_from(sampled.years) if extras.forward is None else extras.forward
        self.topic_distance, self.clusters = None, None

    @property
    def metrics(self) -> tuple[tuple[str, str, str], ...]:
        """Key, heading and definition of each."""
        return (*CONTROLS, forward_metric(self.forward), *map(same_date_metric, self.extras.kinds))

    def hold_equal(self, topics: Run) -> None:
        """Take a topic model's run of the held-out documents as what they are about."""
        self.topic_distance = topics.distance
        self.clusters = authors.clusters_of(topics.documents, self.held.seed)

    def measure(self, held: Run, sampled: Run) -> dict[str, np.ndarray]:
        """Return the controls of a run, given by its held-out and its sampled documents, under each draw."""
        found = self.timelines(held, sampled) | self.topic_controls(held) | self.time_controls(sampled)
        for column, kinds in self.extras.kinds.items():
            found[f"same_date_{column}"] = authors.same_date_nearer(sampled.distance, self.sampled, kinds)
        return found

    def timelines(self, held: Run, sampled: Run) -> dict[str, np.ndarray]:
        """Return the timeline's ρ over nearer and farther pairs, with and without those by one author."""
        found = {}
        for kind, reach, author in TIMELINES:
            documents, run = (self.sampled, sampled) if kind else (self.held, held)
            key = timeline_metric(kind, reach, author)[0]
            if key in IN_MEASURES or (author and documents.authors is None):
                continue
            draws, group = (documents.author_draws, documents.group) if author else (documents.draws, None)
            found[key] = measures.timeline_correlation(run.distance, documents.years, draws, REACHES[reach], group)
            if author and not kind:
                p = authors.permutation_p(run.distance, documents, REACHES[reach])
                found[f"timeline_p{reach}_others"] = np.append(p, np.full(len(draws) - 1, np.nan))
        return found

    def topic_controls(self, held: Run) -> dict[str, np.ndarray]:
        """Return the timeline's ρ where topic is held equal; nothing without a topic model."""
        if self.topic_distance is None:
            return {}
        years, draws = self.held.years, self.held.draws
        apart = np.abs(years[:, None] - years[None, :])
        pairs = measures.document_pairs(years)
        given = authors.partial_correlation((held.distance, apart, self.topic_distance), pairs, draws)
        within = authors.correlation_in_clusters(held.distance, years, self.clusters, draws)
        return {"timeline_rho_given_topics": given, "timeline_rho_in_clusters": within}

    def time_controls(self, sampled: Run) -> dict[str, np.ndarray]:
        """Return dating forward and, where authors are known, drift and generations."""
        documents = self.sampled
        found = {"forward_error": authors.forward_error(sampled.documents, documents, self.forward)}
        if documents.authors is not None:
            found["persistence"] = authors.persistence(sampled.distance, documents)
        if self.extras.births is not None:
            found["cohort"] = authors.cohort(sampled.distance, documents, self.extras.births)
        return found
