"""Why a document is ahead of its time, or behind: its similarity to every year around it, and its nearest passages.

In: the table that calc_precocity_for_embeddings.py wrote, and the embeddings that it was measured from. Out: for some
documents, an Explained. All of it is computed anew, by the same code as the table, from the few documents' passages and
one other year at a time. A table whose embeddings, documents, or exclusions have changed since is not explained.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
import pandas as pd

import corpus
import script
from corpus import ChunkFolder
from precocity import exclusions
from precocity.arithmetic import FRACTIONS, pick_arithmetic
from precocity.comparison import FILTERS, OFFSETS, RADII, WINDOW, compare_window, left_out_columns
from precocity.distances import DISTANCES
from precocity.embeddings import Folder, Year
from precocity.exclusions import Exclusions
from precocity.quotes import check_texts
from precocity.settings import Settings
from precocity.values import triples_of
from precocity.years import plan_year
from script import InputError, log

from .precocity_tables import Choice, Measured, ends

EXPLAINED = 3  # documents at either end
PASSAGES = 3  # of a document, at either end
NEAREST = 3  # passages of other documents, earlier and later
BLOCK = 4096  # passages of another year compared at once: 25 MB in float64


class Inputs(NamedTuple):
    """What explanations are made from, beside the tables."""

    metadata: str
    embeddings: str | None  # the folder, if not the one that a table's manifest names
    chunks: ChunkFolder | None  # to show texts


class Neighbor(NamedTuple):
    """A passage of another document, near a passage that is explained."""

    nearness: float  # the cosine, or with --distance kl the divergence times −1
    year: int
    document: str
    number: int  # of the passage in its document, from 0


class Passage(NamedTuple):
    """A passage at either end of its document."""

    number: int
    precocity: float
    is_ahead: bool  # one of those furthest ahead; else of those furthest behind
    earlier: list[Neighbor]  # the nearest first
    later: list[Neighbor]


class Explained(NamedTuple):
    """Why a document has its precocity.

    Attributes:
        curve: float64, (years of OFFSETS,): mean similarity of its passages to each year around it, NaN for none.
            Similarity is distance times −1, so the later half's mean less the earlier half's is the precocity.
        passages: those furthest ahead, the first foremost, then those furthest behind.
        texts: of the passages, if there are chunk files, by document and number.
    """

    document: str
    year: int
    radius: int  # years either way that count for its precocity
    measure: str  # of nearness: cosine or divergence
    left_out: str  # what the strictest filter leaves out, in words
    curve: np.ndarray
    passages: list[Passage]
    texts: dict[tuple[str, int], str]


class Source:
    """What a table was measured from, as its manifest tells.

    Raises:
        InputError: something is not there any more.
    """

    def __init__(self, measured: Measured, inputs: Inputs):
        manifest = measured.manifest()
        if "arguments" not in manifest:
            raise InputError(f"the manifest of {measured.table} does not say how it was made.")
        self.args = args = argparse.Namespace(**manifest["arguments"] | {"meta": inputs.metadata})
        self.records = {record["year"]: record for record in manifest["years"]}
        how = (args.dtype, args.drop_identical, args.distance, args.z_window)
        self.settings = Settings(measured.table.parent, measured.prefix, args.startdate, *how)
        authors = exclusions.read_authors(inputs.metadata, args.author_column)
        documents, _ = corpus.read_metadata(inputs.metadata)
        self.folder = Folder(inputs.embeddings or args.data, documents, args.memory, authors)
        self.distance = DISTANCES[args.distance]

    def gather(self, years: set[int]) -> dict[int, Exclusions]:
        """Return what is left out for each year's documents. InputError where the table was made from anything else."""
        centers = {document for year in years for document in self.folder.of_year(year)}
        always, _ = exclusions.gather(self.args, self.folder, centers, WINDOW)
        found = {}
        for year in sorted(years):
            quoted = self.settings.quotes(year)
            some = exclusions.read_passages(quoted, self.folder.order) if self.args.exclude_quotes else {}
            found[year] = always._replace(passages=exclusions.join_passages(always.passages, some))
            planned = plan_year(year, self.folder, found[year], self.settings)
            if not planned.items() <= self.records.get(year, {}).items():
                raise InputError(
                    f"the embeddings in {self.folder.path}, the documents, or what is left out have changed since the "
                    f"precocity of {year} was measured; run calc_precocity_for_embeddings.py again."
                )
        return found

    def left_out(self) -> str:
        """Return in words what the strictest filter leaves out."""
        args = self.args
        what = {
            "documents used in training": args.train_pairs,
            "documents by the same author": args.exclude_same_author or args.articleexclude,
            "passages that quote": args.exclude_quotes or args.chunkexclude,
        }
        return ", ".join(name for name, is_so in what.items() if is_so)

    def explain(self, document: str, year: int, left_out: Exclusions, choice: Choice) -> Explained:
        """Compare one document's passages with the years around it."""
        center = only(self.folder.year(year), document)
        arithmetic = pick_arithmetic(self.args.dtype, "cpu", None, self.args.distance)
        found = compare_window(self.folder, center, left_out, arithmetic, self.args.drop_identical)
        f, k, r = FRACTIONS.index(choice.fraction), FILTERS.index(choice.filtered), RADII.index(choice.radius)
        values = triples_of(found.means).values[:, f, k, r, 0]
        order = np.argsort(-values, kind="stable")
        ahead = order[:PASSAGES]
        behind = order[len(ahead) :][-PASSAGES:][::-1]
        rows = np.concatenate([ahead, behind])
        passages = [
            Passage(int(center.numbers[row]), float(values[row]), place < len(ahead), *near)
            for place, (row, near) in enumerate(zip(rows, self.nearest(center, rows, left_out, choice.radius)))
        ]
        curve = mean_of_passages(-found.means[:, :, k, f])
        measure = "divergence" if self.args.distance == "kl" else "cosine"
        return Explained(document, year, choice.radius, measure, self.left_out(), curve, passages, {})

    def nearest(
        self, center: Year, rows: np.ndarray, left_out: Exclusions, radius: int
    ) -> list[tuple[list[Neighbor], list[Neighbor]]]:
        """Return for each row the nearest passages of the years before and of those after, by the strictest filter."""
        mine = self.distance.centers(center, "float64", rows)
        found = [([], []) for _ in rows]
        for offset in (offset for offset in OFFSETS if abs(offset) <= radius):
            other = self.folder.year(center.year + offset, until=center.year + radius)
            if other is None:
                continue
            columns, _, _ = left_out_columns(center, other, left_out)
            barred = np.zeros(len(other.numbers), dtype=bool)
            barred[columns[0][-1] if columns else []] = True
            for start in range(0, len(barred), BLOCK):
                block = slice(start, start + BLOCK)
                products = mine @ self.distance.others(other, "float64", block).T
                products[:, barred[block]] = -np.inf
                if self.args.drop_identical:
                    products[products >= self.distance.identical] = -np.inf
                for sides, values in zip(found, products):
                    keep_nearest(sides[offset > 0], values, other, start)
        return found


def to_explain(documents: pd.DataFrame, asked: list[str]) -> pd.DataFrame:
    """Return those of the documents (index docid) that were asked for, then those at either end.

    Raises:
        InputError: one that was asked for is not among them.
    """
    if unknown := [name for name in asked if name not in documents.index]:
        raise InputError(f"--explain {unknown[0]}: no such document has precocity here; see the table's column docid.")
    both = pd.concat(ends(documents, "precocity", EXPLAINED)).index
    return documents.loc[list(dict.fromkeys([*asked, *both]))]


def explain_documents(
    several: list[Measured], wanted: pd.DataFrame, choice: Choice, inputs: Inputs
) -> tuple[list[Explained], list[str]]:
    """Explain some documents of these tables; also return why those of a table cannot be.

    Args:
        wanted: index docid; column year.
    Raises:
        InputError: the chunk files are not the texts that were embedded.
    """
    found, reasons = {}, []
    for measured in several:
        mine = wanted[[has(measured, document, year) for document, year in wanted.year.items()]]
        try:
            source = Source(measured, inputs)
            left_out = source.gather(set(mine.year))
            some = [source.explain(document, year, left_out[year], choice) for document, year in mine.year.items()]
        except (InputError, OSError) as error:
            reasons.append(script.sentence_of(error) if isinstance(error, OSError) else str(error))
            log.warning("no document of %s is explained: %s", measured.table, reasons[-1])
            continue
        if inputs.chunks is not None:
            add_texts(some, source.folder, inputs.chunks)
        found |= {one.document: one for one in some}
    return [found[document] for document in wanted.index if document in found], reasons


def add_texts(explained: list[Explained], folder: Folder, chunks: ChunkFolder) -> None:
    """Give the explained documents their passages' texts and those of the passages near them."""
    documents, checked = {document.paper_id: document for document in folder.documents}, set()
    for one in explained:
        near = [(other.document, other.number) for each in one.passages for other in each.earlier + each.later]
        for document, number in [*((one.document, each.number) for each in one.passages), *near]:
            if (decade := corpus.decade_of(documents[document].year)) not in checked:
                check_texts(decade, folder, chunks)
                checked.add(decade)
            one.texts[document, number] = chunks.chosen(documents[document], [number])[number]


def has(measured: Measured, document: str, year: int) -> bool:
    """Tell whether a document's passages are among those of a table."""
    from pyarrow import parquet

    path = measured.passages(year)
    return path.exists() and document in parquet.read_table(path, columns=["paperId"])["paperId"].to_pylist()


def only(year: Year, document: str) -> Year:
    """Return one document's passages of a year."""
    at = year.index[document]
    own = slice(year.starts[at], year.starts[at + 1])
    starts = np.array([0, own.stop - own.start])
    return Year(year.year, [document], starts, year.numbers[own], year.vectors[own], year.lengths[own])


def mean_of_passages(similarity: np.ndarray) -> np.ndarray:
    """Return the mean over those passages that have a value, float64, (years,); NaN where none has."""
    there = ~np.isnan(similarity)
    count = there.sum(axis=0)
    return np.where(count, np.where(there, similarity, 0).sum(axis=0), np.nan) / np.maximum(count, 1)


def keep_nearest(kept: list[Neighbor], values: np.ndarray, other: Year, start: int) -> None:
    """Put the nearest of a block's passages among those kept, and keep the NEAREST of them.

    Args:
        values: float64, (passages of the block,), the larger the nearer; −inf for what is left out.
        start: the block's first row.
    """
    for row in np.argsort(-values, kind="stable")[:NEAREST]:
        if values[row] > -np.inf:
            document = other.documents[np.searchsorted(other.starts, start + row, side="right") - 1]
            kept.append(Neighbor(float(values[row]), other.year, document, int(other.numbers[start + row])))
    kept.sort(key=lambda near: -near.nearness)
    del kept[NEAREST:]
