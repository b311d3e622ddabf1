"""An embedding folder, read year by year: only the decades that are needed, and only as many at once as fit in memory.

Comes in: the folder that Apply_Tuned_Model.py wrote and the documents of the metadata. Goes out: a Year, the
passages of one year and their vectors. A bad vector, passage, or file is an InputError that names file and row.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import corpus
import script
from corpus import Document
from script import InputError, log

if TYPE_CHECKING:
    import numpy as np

MEMORY = 1.5  # GB of vectors kept between years: a window of 41 years × 7,000 passages × 768 is 0.9
SHORTEST, LONGEST = 1e-30, 1e30  # length of a vector: zero has no direction, and float32 divides only within these


class Year(NamedTuple):
    """A year's passages: documents in metadata order, each document's rows together and in order."""

    year: int
    documents: list[str]
    starts: np.ndarray  # int, (documents + 1,): the rows of document i are starts[i]:starts[i + 1]
    numbers: np.ndarray  # int, (passages,): the passage's number in its document
    vectors: np.ndarray  # float32, (passages, dimensions), as read
    lengths: np.ndarray  # float64, (passages,)

    @property
    def index(self) -> dict[str, int]:
        return {document: i for i, document in enumerate(self.documents)}


class DecadeRows(NamedTuple):
    """A decade file's rows, in the order of the file."""

    path: Path
    position: np.ndarray  # int64, (rows,): the document's line among the metadata's documents, -1 if it has none
    numbers: np.ndarray  # int, (rows,): the passage's number in its document
    vectors: np.ndarray  # float32, (rows, dimensions)
    lengths: np.ndarray  # float64, (rows,): of the vectors


def lengths_of(path: Path, paper_ids: list[str], numbers: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the vectors' lengths, float64. InputError for a vector without direction."""
    import numpy as np

    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    bad = np.flatnonzero((lengths < SHORTEST) | (lengths > LONGEST))
    if len(bad):
        row = bad[0]
        raise InputError(
            f"{path}, row {row}: the vector of {paper_ids[row]}-{numbers[row]} has length {lengths[row]:.3g}; embed "
            "this decade again."
        )
    return lengths


class Folder:
    """An embedding folder: finds its decade files, reads the ones that are needed, keeps as many as memory allows.

    Args:
        memory: GB.
        authors: of each document, by paperId; none where they are not known.
    """

    def __init__(
        self,
        path: str,
        documents: list[Document],
        memory: float = MEMORY,
        authors: dict[str, set[str]] | None = None,
    ):
        self.path, self.most_bytes, self.authors = Path(path), memory * 1e9, authors or {}
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
        """Return a year's passages, or None if it has none.

        `until` is the last year that the caller will ask for in turn: the next decade is then read in the background.
        A decade of 70,000 passages takes about two seconds, in which the other threads would run out of work.
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
        """Start to read a year's decade in the background, unless it has no file or has been read or started."""
        decade = corpus.decade_of(year)
        if decade in self.files.keys() - self.kept.keys() - self.coming.keys():
            self.coming[decade] = self.reader.submit(self.read, decade)

    def of_year(self, year: int) -> list[str]:
        """Return the paperIds of a year in the metadata."""
        return [document.paper_id for document in self.by_year.get(year, [])]

    def warn_of_gaps(self, years: range) -> None:
        """Warn of decades that have documents in these years but no file in the folder."""
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
        """Warn of documents that were read but have no line in the metadata."""
        unknown = sorted({document for documents in self.unknown.values() for document in documents})
        if unknown:
            log.warning("%d documents have embeddings but no line in %s, skipped: %s", len(unknown), metadata,
                        script.first_few(unknown))  # fmt: skip

    def make_room(self) -> None:
        """Forget the least recently used decades until one more of the largest size would fit."""
        sizes = [sum(year.vectors.nbytes for year in years.values()) for years in self.kept.values()]
        while self.kept and sum(sizes) + max(sizes) > self.most_bytes:
            self.kept.popitem(last=False)
            sizes.pop(0)

    def read(self, decade: int) -> dict[int, Year]:
        """Read one decade's file; return its years.

        Raises:
            InputError: a zero vector, NaN, a passage twice, or a document that the metadata puts into another decade.
        """
        import numpy as np

        path = self.files[decade].path
        paper_ids, numbers, vectors = self.files[decade].read()
        position = np.array([self.order.get(paper_id, -1) for paper_id in paper_ids], dtype=np.int64)
        self.unknown[decade] = sorted({paper_ids[row] for row in np.flatnonzero(position < 0)})
        found = DecadeRows(path, position, numbers, vectors, lengths_of(path, paper_ids, numbers, vectors))
        order = np.lexsort((numbers, position))
        order = order[position[order] >= 0]
        self.check_passages(decade, found, order)
        years = np.array([self.documents[i].year for i in position[order]], dtype=np.int64)
        return {int(year): self.gather(int(year), found, order[years == year]) for year in np.unique(years)}

    def gather(self, year: int, found: DecadeRows, rows: np.ndarray) -> Year:
        """Return these rows, sorted by document, as one year's passages."""
        import numpy as np

        present, starts = np.unique(found.position[rows], return_index=True)
        documents = [self.documents[i].paper_id for i in present]
        if (np.diff(rows) == 1).all():  # Apply_Tuned_Model.py writes them so if the metadata is sorted by year
            rows = slice(rows[0], rows[-1] + 1)  # a view: no second copy of the decade
        own = found.numbers[rows]
        return Year(year, documents, np.append(starts, len(own)), own, found.vectors[rows], found.lengths[rows])

    def check_dimensions(self, decade: int) -> None:
        """Refuse a decade whose vectors have more or fewer dimensions than those of the first decade used."""
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

    def check_passages(self, decade: int, found: DecadeRows, rows: np.ndarray) -> None:
        """Refuse a passage that occurs twice, and a document that the metadata puts into another decade.

        Args:
            rows: those of documents in the metadata, sorted by document and passage number.
        """
        import numpy as np

        path, position, numbers = found.path, found.position[rows], found.numbers[rows]
        twice = np.flatnonzero((np.diff(position) == 0) & (np.diff(numbers) == 0))
        if len(twice):
            at = twice[0]
            name = f"{self.documents[position[at]].paper_id}-{numbers[at]}"
            raise InputError(f"{path}: rows {rows[at]} and {rows[at + 1]} are both passage {name}; embed this decade "
                             "again.")  # fmt: skip
        for i in np.unique(position):
            if corpus.decade_of(self.documents[i].year) != decade:
                paper_id, year, _ = self.documents[i]
                raise InputError(f"{path} holds {paper_id!r}, of {year} in the metadata; embed both decades again.")

    def digest_of(self, years) -> str:
        """Return a SHA-256 of the decade files of these years and of the documents in each year."""
        digest, decades = hashlib.sha256(), sorted({corpus.decade_of(year) for year in years})
        for decade in decades:
            if decade in self.files:
                digest.update(f"{decade} {self.files[decade].digest}\n".encode())
        for year in years:
            for paper_id in self.of_year(year):
                digest.update(f"{paper_id}\t{year}\n".encode())
        return digest.hexdigest()
