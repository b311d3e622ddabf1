"""What is compared: embedding folders and topic mixtures as runs over the same passages.

In: embedding folders, read a decade at a time, or mixtures (passages, topics). Out: Passages, what each row stands for,
and Runs: the vectors, features and distances of the passages and documents that are wanted, never of a whole corpus.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

import corpus
import script
from corpus import Document
from encoder import unit_rows
from script import InputError

PART = 8192  # passages whose vectors are computed with at once, 25 MB each time
SHRINKAGE = 0.01  # of the covariance within documents; from .01 to .3, ρ of the State of the Union is the same ± .004
MOST_DOCUMENTS = 2000  # that are compared with one another (2 million pairs) or that a topic model is fitted on


class Passages(NamedTuple):
    """What the rows of every representation stand for."""

    paper_ids: list[str]  # one a document
    years: np.ndarray  # int, one a document
    document: np.ndarray  # int, one a passage: index of its document
    number: np.ndarray  # int, one a passage: chunknumber
    authors: list[str] | None = None  # one a document, empty where unknown; None where the metadata has none

    def of(self, documents: list[int]) -> Passages:
        """Return the passages of some documents, which are numbered anew; their indices ascend."""
        rows = np.isin(self.document, documents)
        paper_ids = [self.paper_ids[i] for i in documents]
        document = np.searchsorted(documents, self.document[rows])
        authors = self.authors and [self.authors[i] for i in documents]
        return Passages(paper_ids, self.years[documents], document, self.number[rows], authors)

    def at(self, rows: np.ndarray) -> Passages:
        """Return some passages, given by their positions, of the same documents."""
        return self._replace(document=self.document[rows], number=self.number[rows])


class Wanted(NamedTuple):
    """What is measured of a run, and so held in memory. A wanted row's document is wanted, too."""

    rows: np.ndarray  # int, ascending: positions of passages whose vectors are compared
    documents: list[int]  # indices of documents whose features and distances are, ascending


class Run(NamedTuple):
    """One model's vectors, or one topic model's mixtures, of what is wanted.

    passages: float32, (wanted rows, dimensions), rows of length 1; nearness is their dot product.
    documents: (wanted documents, features), what a document's year is read off.
    distance: (wanted documents, wanted documents), what the timeline's distances are.
    halves: the distances of the documents of wanted rows that have rows of odd and of even number, once by the odd
        rows alone and once by the even ones.
    """

    passages: np.ndarray | None
    documents: np.ndarray
    distance: np.ndarray
    halves: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, documents: np.ndarray) -> Run:
        """Return some of the wanted documents, given by their positions, without passages."""
        return Run(None, self.documents[documents], self.distance[np.ix_(documents, documents)])


def drawn(documents: Sequence[int], seed: int) -> list[int]:
    """Return the documents, ascending: all of them, or MOST_DOCUMENTS drawn at random where there are more."""
    return sorted(random.Random(seed).sample(documents, min(MOST_DOCUMENTS, len(documents))))


class EmbeddingFolders:
    """The embedding folders of each NAME, the base model's first.

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
        self.paper_ids, numbers = [], []
        for paper_ids, numbers_of_decade, _ in corpus.each_decade(self.folders[0][1]):
            self.paper_ids += paper_ids
            numbers.append(numbers_of_decade)
        self.numbers = np.concatenate(numbers)

    def decades(self, folder: str) -> Iterator[np.ndarray]:
        """Yield a folder's vectors (float32, passages × dimensions) in parts of whole documents: all are gigabytes.

        Raises:
            InputError: the rows of the folder stand for other passages than those of the first.
        """
        end = 0
        for paper_ids, numbers, vectors in corpus.each_decade(folder):
            start, end = end, end + len(vectors)
            if paper_ids != self.paper_ids[start:end] or (numbers != self.numbers[start:end]).any():
                raise self.other_passages(folder)
            yield from np.split(vectors, ends_of_parts(paper_ids))
        if end < len(self.paper_ids):
            raise self.other_passages(folder)

    def other_passages(self, folder: str) -> InputError:
        return InputError(
            f"{folder} and {self.folders[0][1]} don't hold the same passages; delete both folders and embed the same "
            "corpus again."
        )


def ends_of_parts(paper_ids: list[str]) -> list[int]:
    """Return where rows can be cut into parts of about PART, no document being cut."""
    starts = [i for i in range(1, len(paper_ids)) if paper_ids[i] != paper_ids[i - 1]]
    return [start for before, start in zip([0, *starts], starts) if start // PART > before // PART]


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
    return Passages(list(order), years, document, embedded.numbers, read_cells(list(order), metadata, author))


def read_cells(paper_ids: list[str], metadata: str, column: str) -> list[str] | None:
    """Return each document's cell of a column of the metadata, None where there is no such column."""
    rows = {row["paperId"]: row for _, row in corpus.metadata_rows(metadata)}
    if column not in rows[paper_ids[0]]:
        return None
    return [rows[paper_id][column].strip() for paper_id in paper_ids]


def read_column(paper_ids: list[str], metadata: str, column: str) -> list[str]:
    """Return each document's cell of a column of the metadata. InputError where there is no such column."""
    cells = read_cells(paper_ids, metadata, column)
    if cells is None:
        raise InputError(f"{metadata} has no column {column!r}; name one of its header's, or leave out the flag.")
    return cells


def read_years(paper_ids: list[str], metadata: str, column: str) -> np.ndarray:
    """Return each document's year in a column of the metadata, float, NaN where the cell is empty.

    Raises:
        InputError: there is no such column, or a cell is no whole number.
    """
    years = []
    for paper_id, text in zip(paper_ids, read_column(paper_ids, metadata, column)):
        try:
            years.append(int(text) if text else np.nan)
        except ValueError:
            said = f"{column} of {paper_id} is {script.shortened(text)!r}, not a year"
            raise InputError(f"{metadata}: {said}; write a whole number, or leave the cell empty.") from None
    return np.array(years, dtype=float)


def means_by_document(rows: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Return the mean of each document's rows, (documents, columns); document: int, one a row."""
    starts = np.flatnonzero(np.diff(document, prepend=-1))  # a document's rows stand together
    counts = np.diff(starts, append=len(rows))
    return np.add.reduceat(rows, starts, axis=0) / counts[:, None]


def cosine_distance(documents: np.ndarray) -> np.ndarray:
    """Return 1 − cosine of every two rows, which have length 1: (documents, documents)."""
    return 1 - documents @ documents.T


def halves_of(passages: Passages, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the documents that have rows of odd and of even number, ascending, and which of the rows are their odd
    and their even ones: int; bool; bool, one a row."""
    document, odd = passages.document[rows], passages.number[rows] % 2 == 1
    both = np.intersect1d(document[odd], document[~odd])
    is_kept = np.isin(document, both)
    return both, is_kept & odd, is_kept & ~odd


class MeanPassages(NamedTuple):
    """What an embedding model's runs are made of, however its documents are then treated.

    rows: float32, (wanted rows, dimensions), of length 1.
    documents: (wanted documents, dimensions), each the mean of its passages' directions.
    halves: the same by odd and by even rows alone, see Run.
    """

    rows: np.ndarray
    documents: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]

    def run(self, to_documents: Callable[[np.ndarray], np.ndarray] = unit_rows) -> Run:
        """Return the run in which the distance of documents is 1 − cosine.

        Args:
            to_documents: makes the vectors of documents, of length 1, from their mean passages.
        """
        documents = to_documents(self.documents)
        halves = tuple(cosine_distance(to_documents(means)) for means in self.halves)
        return Run(self.rows, documents, cosine_distance(documents), halves)


def mean_passages(decades: Iterable[np.ndarray], passages: Passages, wanted: Wanted) -> MeanPassages:
    """Return the wanted rows, and the mean passages of the wanted documents.

    Args:
        decades: vectors, float32, (passages, dimensions), which together are those of all passages.
    """
    is_row = np.isin(np.arange(len(passages.document)), wanted.rows)
    of_document = np.isin(passages.document, wanted.documents)
    rows, means, end = [], [], 0
    for vectors in decades:
        here, unit = slice(end, end := end + len(vectors)), unit_rows(vectors)
        rows.append(unit[is_row[here]])
        if of_document[here].any():
            means.append(means_by_document(unit[of_document[here]], passages.document[here][of_document[here]]))
    rows = np.concatenate(rows)
    _, *halves = halves_of(passages, wanted.rows)
    of_half = (means_by_document(rows[half], passages.document[wanted.rows][half]) for half in halves)
    return MeanPassages(rows, np.concatenate(means), tuple(of_half))


def embedding_run(
    decades: Iterable[np.ndarray],
    passages: Passages,
    wanted: Wanted,
    to_documents: Callable[[np.ndarray], np.ndarray] = unit_rows,
) -> Run:
    """Return an embedding model's run, read once; see MeanPassages."""
    return mean_passages(decades, passages, wanted).run(to_documents)


class Normalizer(NamedTuple):
    """A transform of mean passages in which all directions that passages of one document differ in weigh alike.

    Fitted on passages, without any training: what is left of the differences between documents is not chance of their
    passages (within-class covariance normalization, as of speakers' vectors; Hatch, Kajarekar & Stolcke 2006).
    """

    mean: np.ndarray  # float64, (dimensions,): of the documents it was fitted on
    transform: np.ndarray  # float64, (dimensions, dimensions)

    def __call__(self, means: np.ndarray) -> np.ndarray:
        """Return documents, rows of length 1, from their mean passages."""
        return unit_rows((means - self.mean) @ self.transform)


def normalizer(decades: Iterable[np.ndarray], passages: Passages, unseen: set[str], shrinkage: float) -> Normalizer:
    """Fit a Normalizer on the documents that are not unseen (on all, where all are).

    Args:
        decades: vectors, float32, (passages, dimensions), in parts of whole documents.
        shrinkage: λ, above 0 to 1. The covariance C of passages within documents becomes (1 − λ) C + λ m I, m being
            the mean of its eigenvalues.
    """
    seen, total, within, documents, end = seen_rows(passages, unseen), 0, 0, 0, 0
    for vectors in decades:
        here = slice(end, end := end + len(vectors))
        rows, document = unit_rows(vectors)[seen[here]].astype(float), passages.document[here][seen[here]]
        if len(rows):
            means = means_by_document(rows, document)
            off = rows - np.repeat(means, np.unique(document, return_counts=True)[1], axis=0)
            total, within, documents = total + means.sum(axis=0), within + off.T @ off, documents + len(means)
    values, directions = np.linalg.eigh(within / seen.sum())
    shrunk = (1 - shrinkage) * values.clip(min=0) + shrinkage * values.mean()
    if values.mean() <= 0:  # no document has two passages that differ
        shrunk = np.ones_like(values)
    return Normalizer(total / documents, (directions / np.sqrt(shrunk)) @ directions.T)


def seen_rows(passages: Passages, unseen: set[str]) -> np.ndarray:
    """Tell which passages are of documents that are not unseen: bool, all where no document is left."""
    seen = np.array([paper_id not in unseen for paper_id in passages.paper_ids])[passages.document]
    return seen if seen.any() else np.ones_like(seen)


def mean_passage(decades: Iterable[np.ndarray], passages: Passages, unseen: set[str]) -> np.ndarray:
    """Return the mean unit vector, (dimensions,), of the documents that are not unseen (of all, where all are)."""
    seen, total, end = seen_rows(passages, unseen), 0, 0
    for vectors in decades:
        rows = unit_rows(vectors)[seen[end : (end := end + len(vectors))]]
        if len(rows):
            rows[0] += total  # the sum is the same to the last bit, however the passages are divided
            total = rows.sum(axis=0)
    return total / seen.sum().item()


def centered(decades: Iterable[np.ndarray], mean: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the unit vectors of each decade less the mean passage."""
    return (unit_rows(vectors) - mean for vectors in decades)


def topic_run(mixtures: np.ndarray, passages: Passages, rows: np.ndarray) -> Run:
    """Return a topic model's run of these documents from their mixtures, (passages, topics), rows of sum 1.

    Args:
        rows: int, positions of the passages that are compared.

    Passages are compared by the Bhattacharyya coefficient (the dot product of square roots), documents by the
    Jensen–Shannon distance of their mean mixtures: what is customary for distributions.
    """
    means = means_by_document(mixtures, passages.document)
    _, *halves = halves_of(passages, rows)
    of_half = (means_by_document(mixtures[rows[half]], passages.document[rows[half]]) for half in halves)
    passage_vectors = np.sqrt(mixtures[rows]).astype(np.float32)
    return Run(passage_vectors, np.sqrt(means), jensen_shannon(means), tuple(map(jensen_shannon, of_half)))


def jensen_shannon(means: np.ndarray) -> np.ndarray:
    """Return the Jensen–Shannon distance of every two rows of sum 1: (documents, documents)."""
    from scipy.spatial.distance import pdist, squareform

    return np.nan_to_num(squareform(pdist(means, "jensenshannon")))
