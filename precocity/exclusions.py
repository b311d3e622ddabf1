"""Which comparisons calc_precocity_for_embeddings.py leaves out: read from files, or made from authors and texts.

An article exclusion is a line `centre<TAB>other`, no header: all passages of the other document are left out for that
centre document. A passage exclusion is a line `centre<TAB>paperId-chunk<TAB>paperId-chunk…`: those passages are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log

QUOTE = 6  # words that stand in the same order in both texts
WORD = re.compile(r"\w+")
ROLL = 0x9E3779B97F4A7C15  # odd, so that powers of it mod 2**64 don't vanish: tells the orders of six words apart


class Exclusions(NamedTuple):
    """What is left out for whom."""

    train: set[str]  # documents that no centre document is compared with
    articles: dict[str, set[str]]  # of a centre document: the other documents
    passages: dict[str, dict[str, set[int]]]  # of a centre document: other documents and their passages' numbers


# ---------------------------------------------------------------- the files


def lines_of(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of an exclusion file; blank lines and tabs at a line's end don't count."""
    for number, line in enumerate(corpus.decode(Path(path).read_bytes(), path).split("\n"), start=1):
        if line := line.rstrip("\t\r "):
            yield number, line.split("\t")


def read_articles(path: str | Path, known) -> dict[str, set[str]]:
    """Read article exclusions. InputError for a malformed line, or where no line names documents of the metadata."""
    found, unknown = defaultdict(set), {}
    for number, cells in lines_of(path):
        if len(cells) != 2 or not cells[0]:
            raise InputError(f"{path}, line {number}: {len(cells)} cells; a line is centre<TAB>other, without header.")
        note_unknown(unknown, cells, known, number)
        if not unknown.keys() & set(cells):
            found[cells[0]].add(cells[1])
    tell_unknown(path, unknown, found)
    return dict(found)


def read_passages(path: str | Path, known) -> dict[str, dict[str, set[int]]]:
    """Read passage exclusions; the passage's number is what follows the last hyphen, so ids may hold hyphens."""
    found, unknown = {}, {}
    for number, (centre, *others) in lines_of(path):
        note_unknown(unknown, [centre], known, number)
        for other in others:
            paper_id, hyphen, chunk = other.rpartition("-")
            if not hyphen or not chunk.isdecimal():
                raise InputError(
                    f"{path}, line {number}: {script.shortened(other)!r} is not paperId-number; correct it."
                )
            note_unknown(unknown, [paper_id], known, number)
            if centre in known and paper_id in known:
                found.setdefault(centre, {}).setdefault(paper_id, set()).add(int(chunk))
    tell_unknown(path, unknown, found)
    return found


def note_unknown(unknown: dict[str, int], names: list[str], known, number: int) -> None:
    """Keep the names that are no documents of the metadata, and the line each stands on first."""
    for name in names:
        if name not in known:
            unknown.setdefault(name, number)


def tell_unknown(path: str | Path, unknown: dict[str, int], found) -> None:
    """Warn of names that are no documents; refuse a file none of whose lines could be used."""
    if not unknown:
        return
    name, number = next(iter(unknown.items()))
    if not found:
        raise InputError(
            f"{path}, line {number}: {script.shortened(name)!r} is no paperId of the metadata, and no line names only "
            "documents of it; pass the exclusions of this corpus."
        )
    log.warning("%s: %d names are no documents of the metadata, left aside: %s", path, len(unknown),
                script.first_few([f"{name} (line {line})" for name, line in unknown.items()]))  # fmt: skip


def write_articles(path: str | Path, articles: dict[str, set[str]]) -> None:
    """Write article exclusions, sorted, whole or not at all."""
    lines = (f"{centre}\t{other}\n" for centre in sorted(articles) for other in sorted(articles[centre]))
    script.write_lines(path, lines)


def write_passages(path: str | Path, passages: dict[str, dict[str, set[int]]]) -> None:
    """Write passage exclusions, sorted, whole or not at all."""
    lines = []
    for centre, others in sorted(passages.items()):
        names = [f"{other}-{chunk}" for other, chunks in sorted(others.items()) for chunk in sorted(chunks)]
        lines.append("\t".join([centre, *names]) + "\n")
    script.write_lines(path, lines)


def join_articles(*several: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the union of article exclusions."""
    joined = defaultdict(set)
    for articles in several:
        for centre, others in articles.items():
            joined[centre] |= others
    return dict(joined)


def join_passages(*several: dict[str, dict[str, set[int]]]) -> dict[str, dict[str, set[int]]]:
    """Return the union of passage exclusions."""
    joined = {}
    for passages in several:
        for centre, others in passages.items():
            for other, chunks in others.items():
                joined.setdefault(centre, {}).setdefault(other, set()).update(chunks)
    return joined


# ---------------------------------------------------------------- documents by the same author


def authors_in(cell: str) -> set[str]:
    """Return the authors in a cell: separated by semicolons, upper and lower case alike, spaces evened out."""
    return {" ".join(name.split()).casefold() for name in cell.split(";")} - {""}


def same_author(metadata: str, documents: list[Document], column: str, centres: set[str], radius: int):
    """Return article exclusions: for each centre document the others by any of its authors, at most `radius` years off.

    Raises:
        InputError: the metadata has no such column, or it is empty throughout.
    """
    year_of = {document.paper_id: document.year for document in documents}
    works, authors = defaultdict(list), {}
    for _, row in corpus.metadata_rows(metadata):
        if column not in row:
            raise InputError(f"{metadata}, line 1: no column {column!r} for --exclude-same-author; name it with "
                             "--author-column.")  # fmt: skip
        if row["paperId"] in year_of:
            authors[row["paperId"]] = authors_in(row[column])
            for author in authors[row["paperId"]]:
                works[author].append(row["paperId"])
    if not works:
        raise InputError(f"{metadata}: the column {column!r} is empty; leave --exclude-same-author out.")
    found = {}
    for centre in centres:
        others = {other for author in authors[centre] for other in works[author]}
        near = {other for other in others if 0 < abs(year_of[other] - year_of[centre]) <= radius}
        if near:
            found[centre] = near
    most = max(works, key=lambda author: len(works[author]))
    log.info("same author: %d documents have others within %d years; most works: %s (%d)", len(found), radius, most,
             len(works[most]))  # fmt: skip
    return found


# ---------------------------------------------------------------- passages that share six words


def six_words(text: str):
    """Return a 64-bit hash of every six words in a row, as an array; case and punctuation don't count.

    Python's hash of a word differs from one process to the next, so these hashes never leave this one.
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
    """Every six words in a row of a year's passages, sorted by hash."""

    documents: list[str]
    hashes: object  # uint64
    document: object  # int32: index into documents
    number: object  # int32: the passage's number in its document


def phrases_of(documents: list[Document], chunks: ChunkFolder) -> Phrases:
    """Return the phrases of these documents: some 350 a passage, 16 bytes each."""
    import numpy as np

    hashes, document, number = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for i, one in enumerate(documents):
        for n, text in enumerate(chunks.passages(one)):
            hashes.append(six_words(text))
            document.append(np.full(len(hashes[-1]), i, dtype=np.int32))
            number.append(np.full(len(hashes[-1]), n, dtype=np.int32))
    hashes, document, number = (np.concatenate(parts) for parts in (hashes, document, number))
    order = np.argsort(hashes, kind="stable")
    return Phrases([d.paper_id for d in documents], hashes[order], document[order], number[order])


def shared_phrases(centre: Phrases, other: Phrases):
    """Return rows of centre and of other that hold the same phrase, every combination, as two arrays."""
    import numpy as np

    first = np.searchsorted(other.hashes, centre.hashes, side="left")
    count = np.searchsorted(other.hashes, centre.hashes, side="right") - first
    rows = np.repeat(np.arange(len(centre.hashes)), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, np.repeat(first, count) + within


def sharing_six_words(centre: Phrases, others: list[Phrases], most_documents: int) -> dict[str, dict[str, set[int]]]:
    """Return passage exclusions: for each centre document the other years' passages that share six words with it.

    A phrase that stands in more than `most_documents` documents of the other years is a phrase of the language or of
    the genre and not a quotation, and doesn't count.
    """
    import numpy as np

    matches = [shared_phrases(centre, other) for other in others]
    in_documents = np.zeros(len(centre.hashes), dtype=np.int64)
    for (rows, columns), other in zip(matches, others):
        pairs = np.unique(np.stack([rows, other.document[columns]]), axis=1)
        np.add.at(in_documents, pairs[0], 1)
    found = {}
    for (rows, columns), other in zip(matches, others):
        rare = in_documents[rows] <= most_documents
        triples = np.stack([centre.document[rows[rare]], other.document[columns[rare]], other.number[columns[rare]]])
        for (c, o), group in groupby(np.unique(triples, axis=1).T.tolist(), key=lambda triple: triple[:2]):
            numbers = {number for _, _, number in group}
            found.setdefault(centre.documents[c], {}).setdefault(other.documents[o], set()).update(numbers)
    return found
