"""Passages that share six words in a row with a document: quotations and reprints, which its comparisons leave out.

Comes in: the texts of a year and of its window. Goes out, for each year: quotes/<prefix>1900.tsv, passage exclusions as
exclusions.py reads them, and its record.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import corpus
import script
from corpus import ChunkFolder, Document, decade_of
from precocity.comparison import OFFSETS, window_of
from precocity.embeddings import Folder
from precocity.exclusions import PassageExclusions, read_passages, write_passages
from precocity.settings import Settings
from script import InputError, log

if TYPE_CHECKING:  # numpy costs 0.1 s: --help must not pay for it
    import numpy as np

DEFINITION = 1  # raise it whenever what counts as a quotation changes: files of another definition are made again
QUOTE = 6  # words in the same order in both texts
WORD = re.compile(r"\w+")
ROLL = 0x9E3779B97F4A7C15  # odd, so that its powers mod 2**64 never vanish: the order of the six words counts


class Quotes:
    """The passages that share six words with a center document, found year by year and kept as files.

    All texts of a window are read, and their phrases take 1.6 GB where each year has 7,000 passages.

    Args:
        most_documents: a phrase found in more documents than this is no quotation.
    """

    def __init__(self, folder: Folder, chunks: ChunkFolder, most_documents: int, settings: Settings):
        self.folder, self.chunks, self.most_documents, self.settings = folder, chunks, most_documents, settings
        self.kept: OrderedDict[int, Phrases] = OrderedDict()
        self.states: dict[int, str] = {}
        self.checked: set[int] = set()

    def of_year(self, year: int) -> PassageExclusions:
        """Return the passage exclusions of a year's documents, from its file if that was made from these texts.

        Raises:
            InputError: a decade was embedded from other texts, so that its passages may have other numbers.
        """
        path, decades = self.settings.quotes(year), sorted({decade_of(near) for near in window_of(year)})
        texts = "".join(self.state_of_texts(near) for near in window_of(year))
        planned = {
            "definition": DEFINITION,
            "most_documents": self.most_documents,
            "chunk_files": hashlib.sha256(texts.encode()).hexdigest(),
            "embedded": [self.folder.files[decade].texts for decade in decades if decade in self.folder.files],
        }
        record = script.record_path(path)
        if path.exists() and record.exists() and planned.items() <= script.read_json(record).items():
            return read_passages(path, self.folder.order)
        for decade in decades:
            self.check_texts(decade)
        others = [self.phrases(year + offset) for offset in OFFSETS]
        found = sharing_six_words(self.phrases(year), others, self.most_documents)
        record.unlink(missing_ok=True)
        write_passages(path, found)
        count = sum(len(numbers) for passages in found.values() for numbers in passages.values())
        script.write_json(record, planned | {"documents": len(found), "passages": count})
        log.info("%d: %d documents share six words with %d passages of other years", year, len(found), count)
        return found

    def check_texts(self, decade: int) -> None:
        """Refuse chunk files that are not those a decade was embedded from, once a run."""
        if decade not in self.checked:
            self.checked.add(decade)
            check_texts(decade, self.folder, self.chunks)

    def state_of_texts(self, year: int) -> str:
        """Return a line for each document of a year: its name and, of its chunk file, the size and time.

        Reading the texts of a window would cost most of what their quotations on file save.
        """
        if year not in self.states:
            lines = []
            for document in self.folder.by_year.get(year, []):
                path = self.chunks.path_of(document)
                found = path.stat() if path.exists() else None
                lines.append(f"{year} {document.paper_id} {found and (found.st_size, found.st_mtime_ns)}\n")
            self.states[year] = "".join(lines)
        return self.states[year]

    def phrases(self, year: int) -> Phrases:
        """Return a year's phrases; those of one window stay in memory, about 40 MB for 7,000 passages."""
        if year not in self.kept:
            self.kept[year] = phrases_of(self.folder.by_year.get(year, []), self.chunks)
        self.kept.move_to_end(year)
        while len(self.kept) > len(OFFSETS) + 1:
            self.kept.popitem(last=False)
        return self.kept[year]


def check_texts(decade: int, folder: Folder, chunks: ChunkFolder) -> None:
    """Refuse chunk files that are not those a decade was embedded from; where no record tells, do nothing."""
    file = folder.files.get(decade)
    if file is None or file.texts is None:
        return
    by_name = {document.paper_id: document for document in folder.documents}
    paper_ids = file.documents()
    if not by_name.keys() >= set(paper_ids):  # without its row in the metadata, a document's file is not known
        return
    fresh = chunks.afresh()
    if corpus.read_decade([by_name[paper_id] for paper_id in paper_ids], fresh).digest() != file.texts:
        raise InputError(
            f"the {decade}s in {file.path.parent} were not embedded from the texts in {fresh.root}; run "
            "Apply_Tuned_Model.py again, or pass the folder and the --encoding-errors that it had."
        )


def six_words(text: str) -> np.ndarray:
    """Return a hash of every six words in a row, ascending, each once: uint64. Case and punctuation don't count.

    Python hashes a word differently in every process, so these hashes must not leave this one.
    """
    import numpy as np

    words = WORD.findall(text.casefold())
    if len(words) < QUOTE:
        return np.empty(0, dtype=np.uint64)
    hashes = np.array([hash(word) for word in words], dtype=np.int64).view(np.uint64)
    count = len(words) - QUOTE + 1
    rolled = np.zeros(count, dtype=np.uint64)
    for i in range(QUOTE):
        rolled = rolled * np.uint64(ROLL) + hashes[i : i + count]
    return np.unique(rolled)


class Phrases(NamedTuple):
    """Every six words in a row of a year's passages, sorted by hash; each array has one entry for each phrase."""

    documents: list[str]
    hashes: np.ndarray  # uint64
    document: np.ndarray  # int32: index into documents
    number: np.ndarray  # int32: the passage's number in its document


def phrases_of(documents: list[Document], chunks: ChunkFolder) -> Phrases:
    """Return the phrases of these documents: about 350 in each passage, 16 bytes each."""
    import numpy as np

    hashes, owners, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for i, document in enumerate(documents):
        for number, text in enumerate(chunks.passages(document)):
            hashes.append(six_words(text))
            owners.append(np.full(len(hashes[-1]), i, dtype=np.int32))
            numbers.append(np.full(len(hashes[-1]), number, dtype=np.int32))
    hashes, owners, numbers = (np.concatenate(parts) for parts in (hashes, owners, numbers))
    order = np.argsort(hashes, kind="stable")
    return Phrases([document.paper_id for document in documents], hashes[order], owners[order], numbers[order])


def shared_phrases(center: Phrases, other: Phrases) -> tuple[np.ndarray, np.ndarray]:
    """Return every pair of equal phrases as two arrays of the same length: row in center, row in other."""
    import numpy as np

    first = np.searchsorted(other.hashes, center.hashes, side="left")
    # Few phrases are shared: the last place is looked up for those alone.
    inside = np.flatnonzero(first < len(other.hashes))
    shared = inside[other.hashes[first[inside]] == center.hashes[inside]]
    first = first[shared]
    count = np.searchsorted(other.hashes, center.hashes[shared], side="right") - first
    rows = np.repeat(shared, count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, np.repeat(first, count) + within


def sharing_six_words(center: Phrases, others: list[Phrases], most_documents: int) -> PassageExclusions:
    """Return for each center document the passages of other years that share six words with it.

    A phrase that occurs in more than `most_documents` documents of the other years belongs to the language or the
    genre; it is no quotation and doesn't count.
    """
    import numpy as np

    matches = [shared_phrases(center, other) for other in others]
    in_documents = np.zeros(len(center.hashes), dtype=np.int64)
    for (rows, columns), other in zip(matches, others):
        pairs = np.unique(np.stack([rows, other.document[columns]]), axis=1)
        np.add.at(in_documents, pairs[0], 1)
    found = {}
    for (rows, columns), other in zip(matches, others):
        rare = in_documents[rows] <= most_documents
        triples = np.stack([center.document[rows[rare]], other.document[columns[rare]], other.number[columns[rare]]])
        for (c, o), group in groupby(np.unique(triples, axis=1).T.tolist(), key=lambda triple: triple[:2]):
            numbers = {number for _, _, number in group}
            found.setdefault(center.documents[c], {}).setdefault(other.documents[o], set()).update(numbers)
    return found
