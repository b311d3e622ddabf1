"""An embedding folder, read year by year: only the decades that are needed, and no more of them at once than fit."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import corpus
import script
from corpus import Document
from script import InputError, log

MEMORY = 1.5  # GB of vectors kept between years: a window of 41 years × 7,000 passages × 768 is 0.9
SHORTEST, LONGEST = 1e-30, 1e30  # of a vector: a zero vector has no direction, float32 divides by no more than this


class Year(NamedTuple):
    """A year's passages, documents in metadata order, each one's rows together and in order."""

    year: int
    documents: list[str]
    starts: object  # int, documents + 1: the rows of document i are starts[i]:starts[i + 1]
    numbers: object  # int, one a passage
    vectors: object  # float32, passages × dimensions, as read
    lengths: object  # float64, one a passage

    def normalised(self, dtype: str = "float64"):
        """Return the vectors divided by their lengths, these computed in float64 and rounded to dtype.

        In float32 that adds up to 6e-8 of itself to a cosine, as much as rounding the vectors does.
        """
        return self.vectors / self.lengths[:, None].astype(dtype)

    @property
    def index(self) -> dict[str, int]:
        return {document: i for i, document in enumerate(self.documents)}


class Folder:
    """An embedding folder: finds its decade files, reads those that are needed, and keeps as many as memory allows."""

    def __init__(self, path: str, documents: list[Document], memory: float = MEMORY):
        self.path, self.most_bytes = Path(path), memory * 1e9
        self.order = {document.paper_id: i for i, document in enumerate(documents)}
        self.documents = documents
        self.by_year: dict[int, list[Document]] = {}
        for document in documents:
            self.by_year.setdefault(document.year, []).append(document)
        self.files = corpus.find_decades(self.path)
        self.dimensions: tuple[int, Path] | None = None
        self.unknown: dict[int, list[str]] = {}
        self.kept: OrderedDict[int, dict[int, Year]] = OrderedDict()
        self.reader = ThreadPoolExecutor(1)
        self.coming: dict[int, Future] = {}

    def year(self, year: int, until: int | None = None) -> Year | None:
        """Return a year's passages, None where it has none.

        With `until`, the last of the years that will be asked for in turn, the next decade is read meanwhile: a decade
        of 70,000 passages takes some two seconds, in which the other threads would run out of work.
        """
        decade = corpus.decade_of(year)
        if decade not in self.files:
            return None
        if decade not in self.kept:
            self.make_room()
            coming = self.coming.pop(decade, None)
            self.kept[decade] = coming.result() if coming else self.read(decade)
            self.check_dimensions(decade)
        self.kept.move_to_end(decade)
        if until is not None and decade + 10 <= until:
            self.expect(decade + 10)
        return self.kept[decade].get(year)

    def expect(self, year: int) -> None:
        """Begin to read a year's decade beside what else is done, unless it has none, or is there or on its way."""
        decade = corpus.decade_of(year)
        if decade in self.files.keys() - self.kept.keys() - self.coming.keys():
            self.coming[decade] = self.reader.submit(self.read, decade)

    def of_year(self, year: int) -> list[str]:
        """Return the paperIds that the metadata has for a year."""
        return [document.paper_id for document in self.by_year.get(year, [])]

    def warn_of_gaps(self, years: range) -> None:
        """Name the decades for which the metadata has documents of these years and the folder no file."""
        lacking = Counter()
        for year in years:
            if corpus.decade_of(year) not in self.files:
                lacking[corpus.decade_of(year)] += len(self.by_year.get(year, []))
        lacking = [f"{decade}s ({count} documents)" for decade, count in lacking.items() if count]
        if lacking:
            log.warning(
                "%s has no file for the %s: nothing is compared with them", self.path, script.first_few(lacking)
            )

    def log_unknown(self, metadata: str) -> None:
        """Name the documents read that have embeddings but no line in the metadata."""
        unknown = sorted({document for documents in self.unknown.values() for document in documents})
        if unknown:
            log.warning("%d documents have embeddings and no line in %s, left aside: %s", len(unknown), metadata,
                        script.first_few(unknown))  # fmt: skip

    def make_room(self) -> None:
        """Forget the decades used longest ago until another of the largest's size would fit."""
        sizes = [sum(year.vectors.nbytes for year in years.values()) for years in self.kept.values()]
        while self.kept and sum(sizes) + max(sizes) > self.most_bytes:
            self.kept.popitem(last=False)
            sizes.pop(0)

    def read(self, decade: int) -> dict[int, Year]:
        """Read one decade's file; return its years.

        Raises:
            InputError: a zero vector, NaN, a passage twice, a document whose year in the metadata is of another decade.
        """
        import numpy as np

        path = self.files[decade].path
        paper_ids, numbers, vectors = corpus.read_embeddings(path)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
        bad = np.flatnonzero((lengths < SHORTEST) | (lengths > LONGEST))
        if len(bad):
            name, length = f"{paper_ids[bad[0]]}-{numbers[bad[0]]}", lengths[bad[0]]
            raise InputError(
                f"{path}, row {bad[0]}: the vector of {name} has length {length:.3g}; embed this decade again."
            )
        position = np.array([self.order.get(paper_id, -1) for paper_id in paper_ids], dtype=np.int64)
        self.unknown[decade] = sorted({paper_ids[row] for row in np.flatnonzero(position < 0)})
        rows = np.lexsort((numbers, position))
        rows = rows[position[rows] >= 0]
        self.check_passages(path, decade, position[rows], numbers[rows], rows)
        years = np.array([self.documents[i].year for i in position[rows]], dtype=np.int64)
        return {
            int(year): self.gather(int(year), position, numbers, vectors, lengths, rows[years == year])
            for year in np.unique(years)
        }

    def gather(self, year: int, position, numbers, vectors, lengths, rows) -> Year:
        """Return the rows of one year, sorted by document."""
        import numpy as np

        present, starts = np.unique(position[rows], return_index=True)
        documents = [self.documents[i].paper_id for i in present]
        if (np.diff(rows) == 1).all():  # as Apply_Tuned_Model.py writes them where the metadata is sorted by year
            rows = slice(rows[0], rows[-1] + 1)  # a view: no second copy of the decade
        own = numbers[rows]
        return Year(year, documents, np.append(starts, len(own)), own, vectors[rows], lengths[rows])

    def check_dimensions(self, decade: int) -> None:
        """Refuse a decade whose vectors are longer or shorter than those of the decade used first."""
        path = self.files[decade].path
        dimensions = next((year.vectors.shape[1] for year in self.kept[decade].values()), None)
        if dimensions is None:
            return
        self.dimensions = self.dimensions or (dimensions, path)
        if dimensions != self.dimensions[0]:
            raise InputError(
                f"{path} has {dimensions} dimensions and {self.dimensions[1].name} {self.dimensions[0]}; embed all "
                "decades with one model."
            )

    def check_passages(self, path: Path, decade: int, position, numbers, rows) -> None:
        """Refuse a passage that is there twice, and a document that the metadata puts into another decade."""
        import numpy as np

        twice = np.flatnonzero((np.diff(position) == 0) & (np.diff(numbers) == 0))
        if len(twice):
            at = twice[0]
            name = f"{self.documents[position[at]].paper_id}-{numbers[at]}"
            raise InputError(f"{path}: rows {rows[at]} and {rows[at + 1]} are both passage {name}; embed this decade "
                             "again.")  # fmt: skip
        for i in np.unique(position):
            if corpus.decade_of(self.documents[i].year) != decade:
                paper_id, year, _ = self.documents[i]
                raise InputError(f"{path} holds {paper_id!r}, in the metadata of {year}; embed these decades again.")

    def digest_of(self, years) -> str:
        """Return a SHA-256 of the files that these years are in, and of which documents each year has."""
        digest, decades = hashlib.sha256(), sorted({corpus.decade_of(year) for year in years})
        for decade in decades:
            if decade in self.files:
                digest.update(f"{decade} {self.files[decade].digest}\n".encode())
        for year in years:
            for paper_id in self.of_year(year):
                digest.update(f"{paper_id}\t{year}\n".encode())
        return digest.hexdigest()
