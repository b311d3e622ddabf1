"""What a map shows: documents and some of their passages, their places, and which documents are nearest.

In: an embedding folder and the metadata's rows. Out: Documents and Passages with their vectors; their places on a plane
(UMAP); the nearest documents of earlier and of later years; a Parquet file with a row for each document.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

import corpus
import script
from encoder import unit_rows
from precocity.embeddings import Folder
from script import InputError, log

NEAREST = 8  # documents of earlier years, and as many of later ones
BLOCK = 512  # documents that are compared with all others at once: 80 MB of cosines for 40,000 documents
LEAST = 4  # documents, or UMAP has no neighborhoods to keep
NEIGHBORHOOD = 15  # points that UMAP keeps together, its own default


class Documents(NamedTuple):
    """The documents that have embeddings, in the order of their years."""

    paper_ids: list[str]
    years: np.ndarray  # int, (documents,), ascending
    passages: np.ndarray  # int, (documents,): how many each has
    vectors: np.ndarray  # float32, (documents, dimensions): the mean of its passages' directions, of length 1


class Passages(NamedTuple):
    """Passages drawn from the documents, document by document."""

    document: np.ndarray  # int, (passages,): index of its document
    number: np.ndarray  # int, (passages,): in its document, from 0
    vectors: np.ndarray  # float32, (passages, dimensions), of length 1


class Nearest(NamedTuple):
    """For each document the nearest others of one kind, nearest first."""

    ids: np.ndarray  # int, (documents, NEAREST): indices of documents, -1 where there are no more
    cosines: np.ndarray  # float32, (documents, NEAREST)


# ---------------------------------------------------------------- reading


class Draw:
    """Draws at most `most` passages out of all it is shown, each with the same chance; holds twice as many at most."""

    def __init__(self, most: int, seed: int):
        self.most, self.random = most, np.random.default_rng(seed)
        self.parts, self.held, self.limit = [], 0, 1.0 if most else 0.0

    def show(self, passages: Passages) -> None:
        """Give each passage a random number; hold those that may be among the smallest."""
        lot = self.random.random(len(passages.number))
        chosen = lot < self.limit
        self.parts.append((lot[chosen], *(column[chosen] for column in passages)))
        self.held += chosen.sum()
        if self.held > 2 * self.most:
            self.drawn()

    def drawn(self) -> Passages:
        """Return the passages with the smallest numbers, in the order they were shown, and forget the others."""
        lot, *columns = map(np.concatenate, zip(*self.parts))
        if len(lot) > self.most:
            rows = np.sort(np.argpartition(lot, self.most)[: self.most])
            lot, *columns = lot[rows], *(column[rows] for column in columns)
            self.limit = lot.max(initial=0)
        self.parts, self.held = [(lot, *columns)], len(lot)
        return Passages(*columns)


def read_folder(path: str, metadata: str, most: int, seed: int) -> tuple[Documents, Passages]:
    """Return the documents of an embedding folder and at most `most` of their passages; decades are read in turn.

    Raises:
        InputError: fewer than LEAST documents, or vectors of which corpus or precocity.embeddings say what is wrong.
    """
    documents, skipped = corpus.read_metadata(metadata)
    corpus.log_skipped(documents, skipped)
    folder, draw = Folder(path, documents, memory=0), Draw(most, seed)
    paper_ids, years, counts, means = [], [], [], []
    for year in sorted(folder.by_year):
        found = folder.year(year, until=max(folder.by_year))
        if found is None:
            continue
        vectors, counted = (found.vectors / found.lengths[:, None]).astype(np.float32), np.diff(found.starts)
        draw.show(Passages(np.repeat(np.arange(len(counted)) + len(paper_ids), counted), found.numbers, vectors))
        means.append(unit_rows(np.add.reduceat(vectors, found.starts[:-1])))
        paper_ids += found.documents
        years += [year] * len(counted)
        counts.append(counted)
    folder.log_unknown(metadata)
    if len(paper_ids) < LEAST:
        raise InputError(f"{path} has {len(paper_ids)} documents of {metadata}; a map needs at least {LEAST}.")
    return Documents(paper_ids, np.array(years), np.concatenate(counts), np.concatenate(means)), draw.drawn()


# ---------------------------------------------------------------- places


def lay_out(documents: Documents, passages: Passages, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of documents and of passages on a plane, float32, (documents, 2) and (passages, 2).

    UMAP places the documents; each passage then goes where the documents are that it resembles, so that passages don't
    change the map.
    """
    from umap import UMAP  # a second, and only a map needs it

    neighborhood = min(NEIGHBORHOOD, len(documents.years) - 1)
    # Its spectral start fails with few documents; with 40,000 in 200 islands, it had not ended after minutes.
    layout = UMAP(n_neighbors=neighborhood, metric="cosine", init="pca", random_state=seed, n_jobs=1)
    places = layout.fit_transform(documents.vectors)
    turn = turn_to_time(places, documents.years)
    # For fewer than 4,096 documents, UMAP would call its own cosine from Python for each passage and document, 4 µs a
    # pair; scikit-learn's is one matrix product. (An attribute of UMAP's own: without it, a map only takes longer.)
    layout._input_distance_func = "cosine"
    of_passages = layout.transform(passages.vectors) if len(passages.number) else np.empty((0, 2))
    return ((found - places.mean(axis=0)) @ turn for found in (places, of_passages))


def turn_to_time(places: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Return the turn, (2, 2), that lays the map's longest direction across the page, later years to the right."""
    centered = places - places.mean(axis=0)
    _, directions = np.linalg.eigh(centered.T @ centered)
    turn = directions[:, ::-1]  # eigenvalues ascend
    return turn * np.where((years - years.mean()) @ centered @ turn < 0, -1, 1)


# ---------------------------------------------------------------- the nearest


def nearest_of_all(documents: Documents) -> tuple[Nearest, Nearest, Nearest]:
    """Return each document's nearest of earlier years, of later years, and of all years.

    Documents of one year are compared with all others together, so that memory holds BLOCK rows of cosines at most.
    """
    vectors, years = documents.vectors, documents.years
    shape = len(years), NEAREST
    found = tuple(Nearest(np.full(shape, -1), np.full(shape, -np.inf, np.float32)) for _ in range(3))
    for year in np.unique(years):
        first, end = np.searchsorted(years, [year, year + 1])
        for start in range(first, end, BLOCK):
            rows = np.arange(start, min(start + BLOCK, end))
            cosines = vectors[rows] @ vectors.T
            cosines[np.arange(len(rows)), rows] = -np.inf  # nothing is near itself
            parts = [nearest_in(cosines[:, low:high], low) for low, high in ((0, first), (end, None), (first, end))]
            ids, values = map(np.hstack, zip(*parts))
            top, of_all = nearest_in(values, 0)
            parts[2] = np.take_along_axis(ids, top, axis=1), of_all
            for nearest, (ids, values) in zip(found, parts):
                nearest.cosines[rows, : ids.shape[1]] = values
                nearest.ids[rows, : ids.shape[1]] = np.where(np.isneginf(values), -1, ids)
    return found


def nearest_in(cosines: np.ndarray, low: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of each row's largest cosines, largest first, and these; columns are counted from `low`."""
    count = min(NEAREST, cosines.shape[1])
    top = np.argpartition(cosines, -count, axis=1)[:, -count:] if count else np.empty((len(cosines), 0), int)
    values = np.take_along_axis(cosines, top, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1) + low, np.take_along_axis(values, order, axis=1)


# ---------------------------------------------------------------- the table


def write_table(path: Path, columns: dict, nearest: Nearest) -> None:
    """Write a row for each document as Parquet, in the form that embedding-atlas reads.

    Args:
        columns: by name, one value a document.
        nearest: goes into a column `neighbors`, a struct of ids (numbers of rows, from 0) and distances (1 − cosine).
    """
    import pyarrow as pa
    from pyarrow import parquet

    there = nearest.ids >= 0
    ends = np.concatenate([[0], there.sum(axis=1).cumsum()])
    ids, distances = nearest.ids[there], (1 - nearest.cosines[there]).astype(np.float64)
    lists = [pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values)) for values in (ids, distances)]
    neighbors = pa.StructArray.from_arrays(lists, ["ids", "distances"])
    with script.replacing(path) as beside:
        parquet.write_table(pa.table(columns | {"neighbors": neighbors}), beside)
    log.info("%s", path)
