"""Reading embedding folders: passages, documents and how far documents are apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import script
from encoder import unit_rows
from script import InputError


class Passages(NamedTuple):
    """What the rows of every representation stand for; arrays over passages but for paper_ids and years."""

    paper_ids: list[str]  # one a document
    years: np.ndarray  # int, one a document
    document: np.ndarray  # int: index of the passage's document
    number: np.ndarray  # int: chunknumber


class Run(NamedTuple):
    """One model's vectors, or one topic model's mixtures, of the same passages.

    passages: float32, (passages, dimensions), rows of length 1; nearness is their dot product.
    documents: (documents, features), what a document's year is read off.
    distance: (documents, documents), what the timeline's distances are.
    """

    passages: np.ndarray
    documents: np.ndarray
    distance: np.ndarray


def index_passages(paper_ids: list[str], numbers, year_of: dict[str, int], metadata: str) -> Passages:
    """Return which document each row belongs to. InputError where the metadata has no such document."""
    order = {paper_id: i for i, paper_id in enumerate(dict.fromkeys(paper_ids))}
    unknown = [paper_id for paper_id in order if paper_id not in year_of]
    if unknown:
        raise InputError(f"{metadata} has no {script.first_few(unknown)}; pass the metadata the embeddings came from.")
    years = np.array([year_of[paper_id] for paper_id in order])
    return Passages(list(order), years, np.array([order[paper_id] for paper_id in paper_ids]), numbers)


def check_same_passages(folder: str, paper_ids, numbers, first: tuple) -> None:
    """Refuse a folder whose rows stand for other passages than the first folder's."""
    first_folder, first_ids, first_numbers = first
    if paper_ids != first_ids or (numbers != first_numbers).any():
        raise InputError(
            f"{folder} and {first_folder} don't hold the same passages; delete both folders and embed one corpus."
        )


def means_by_document(rows: np.ndarray, passages: Passages) -> np.ndarray:
    """Return the mean of each document's rows, (documents, columns)."""
    starts = np.flatnonzero(np.diff(passages.document, prepend=-1))  # a document's rows stand together
    counts = np.diff(starts, append=len(rows))
    return np.add.reduceat(rows, starts, axis=0) / counts[:, None]


def embedding_run(vectors: np.ndarray, passages: Passages) -> Run:
    """Return an embedding model's run; the distance of documents is 1 − cosine of their mean passages."""
    unit = unit_rows(vectors)
    documents = unit_rows(means_by_document(unit, passages))
    return Run(unit, documents, 1 - documents @ documents.T)


def centred(vectors: np.ndarray, passages: Passages, unseen: set[str]) -> np.ndarray:
    """Return unit vectors less the mean passage of the documents that are not unseen (of all, where all are)."""
    unit = unit_rows(vectors)
    seen = np.array([paper_id not in unseen for paper_id in passages.paper_ids])[passages.document]
    return unit - unit[seen if seen.any() else slice(None)].mean(axis=0)


def topic_run(mixtures: np.ndarray, passages: Passages) -> Run:
    """Return a topic model's run from its mixtures, (passages, topics), rows of sum 1.

    Passages are compared by the Bhattacharyya coefficient (the dot product of square roots), documents by the
    Jensen–Shannon distance of their mean mixtures: what is customary for distributions.
    """
    from scipy.spatial.distance import pdist, squareform

    means = means_by_document(mixtures, passages)
    distance = squareform(pdist(means, "jensenshannon"))
    return Run(np.sqrt(mixtures).astype(np.float32), np.sqrt(means), np.nan_to_num(distance))
