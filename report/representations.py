"""What is compared: embedding folders and topic mixtures as runs over the same passages.

In: embedding folders, or mixtures (passages, topics). Out: Passages, what each row stands for, and Runs: vectors,
features of documents, distances of documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

import corpus
import script
from corpus import Document
from encoder import unit_rows
from script import InputError


class Passages(NamedTuple):
    """What the rows of every representation stand for."""

    paper_ids: list[str]  # one a document
    years: np.ndarray  # int, one a document
    document: np.ndarray  # int, one a passage: index of its document
    number: np.ndarray  # int, one a passage: chunknumber
    authors: list[str] | None = None  # one a document, empty where unknown; None where the metadata has none


class Run(NamedTuple):
    """One model's vectors, or one topic model's mixtures, of the same passages.

    passages: float32, (passages, dimensions), rows of length 1; nearness is their dot product.
    documents: (documents, features), what a document's year is read off.
    distance: (documents, documents), what the timeline's distances are.
    """

    passages: np.ndarray | None
    documents: np.ndarray
    distance: np.ndarray

    def of(self, documents: list[int]) -> Run:
        """Return some of the documents, without passages."""
        return Run(None, self.documents[documents], self.distance[np.ix_(documents, documents)])


class EmbeddingFolders:
    """The embedding folders of each NAME, the base model's first; each is read once.

    Args:
        folders: paths by NAME.
    Attributes:
        paper_ids, numbers: paperId and chunknumber of each row, those of the first folder and so of all.
    Raises:
        InputError: a folder that is not complete, or was embedded from other texts than the first.
    """

    def __init__(self, folders: dict[str, list[str]]):
        self.folders = [(name, folder) for name, of_name in folders.items() for folder in of_name]
        # What is missing or does not fit is said before an hour is spent on the others.
        texts = {folder: texts_by_decade(folder) for _, folder in self.folders}
        for folder in texts:
            check_same_texts(texts, self.folders[0][1], folder)
        self.paper_ids, self.numbers, self.first = corpus.read_embedding_folder(self.folders[0][1])

    def __iter__(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield NAME, folder and vectors (float32, passages × dimensions), once.

        Raises:
            InputError: the rows of a folder stand for other passages than those of the first.
        """
        vectors, self.first = self.first, None  # a corpus of vectors is gigabytes: none is kept
        yield *self.folders[0], vectors
        for name, folder in self.folders[1:]:
            paper_ids, numbers, vectors = corpus.read_embedding_folder(folder)
            if paper_ids != self.paper_ids or (numbers != self.numbers).any():
                raise InputError(
                    f"{folder} and {self.folders[0][1]} don't hold the same passages; delete both folders and embed "
                    "the same corpus again."
                )
            yield name, folder, vectors


def texts_by_decade(folder: str) -> dict[int, str]:
    """Return the digest of the texts that each decade was embedded from; older manifests may lack it."""
    records = corpus.read_manifest(folder)["decades"]
    return {record["decade"]: record["texts_sha256"] for record in records if "texts_sha256" in record}


def check_same_texts(texts: dict[str, dict[int, str]], first: str, other: str) -> None:
    """Refuse two folders one of whose decades was embedded from different texts."""
    for decade in sorted(texts[first].keys() & texts[other].keys()):
        if texts[first][decade] != texts[other][decade]:
            raise InputError(
                f"{other} and {first} don't hold the same passages: their {decade}s were embedded from different "
                "texts; run Apply_Tuned_Model.py again for both, with the same metadata and chunk files."
            )


def read_passages(embedded: EmbeddingFolders, documents: list[Document], metadata: str, author: str) -> Passages:
    """Return what the rows of the embeddings stand for, with authors where the metadata has that column.

    Raises:
        InputError: the metadata lacks a document.
    """
    order = {paper_id: i for i, paper_id in enumerate(dict.fromkeys(embedded.paper_ids))}
    year_of = {document.paper_id: document.year for document in documents}
    unknown = [paper_id for paper_id in order if paper_id not in year_of]
    if unknown:
        raise InputError(f"{metadata} has no {script.first_few(unknown)}; pass the metadata they were embedded from.")
    years = np.array([year_of[paper_id] for paper_id in order])
    document = np.array([order[paper_id] for paper_id in embedded.paper_ids])
    return Passages(list(order), years, document, embedded.numbers, read_authors(list(order), metadata, author))


def read_authors(paper_ids: list[str], metadata: str, author: str) -> list[str] | None:
    """Return each document's author, None where the metadata has no such column."""
    rows = {row["paperId"]: row for _, row in corpus.metadata_rows(metadata)}
    if author not in rows[paper_ids[0]]:
        return None
    return [rows[paper_id][author].strip() for paper_id in paper_ids]


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


def centered(vectors: np.ndarray, passages: Passages, unseen: set[str]) -> np.ndarray:
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
