"""Which comparisons are left out: read from files, or made from authors and training pairs.

The center document is the one that is measured. An article exclusion is a line `center<TAB>other` without header: the
center document is not compared with any passage of the other document. A passage exclusion is a line
`center<TAB>paperId-chunk<TAB>paperId-chunk…`: it is not compared with these passages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import corpus
import script
from corpus import Document
from script import InputError, log

if TYPE_CHECKING:
    from precocity.embeddings import Folder

ArticleExclusions = dict[str, set[str]]  # center document → other documents
PassageExclusions = dict[str, dict[str, set[int]]]  # center document → other document → numbers of its passages


class Exclusions(NamedTuple):
    """Everything that is left out of a run's comparisons."""

    train: set[str]  # documents with which no center document is compared
    articles: ArticleExclusions
    passages: PassageExclusions


def gather(args, folder: Folder, centers: set[str], radius: int) -> tuple[Exclusions, ArticleExclusions]:
    """Return what a run leaves out for the center documents, except quotations; and the part that authors gave.

    Args:
        args: the arguments of calc_precocity_for_embeddings.py.
        radius: years before and after, within which an author's other documents are left out.
    """
    articles, passages, by_author, train = {}, {}, {}, set()
    if args.articleexclude:
        articles = read_articles(args.articleexclude, folder.order)
    if args.chunkexclude:
        passages = read_passages(args.chunkexclude, folder.order)
    if args.exclude_same_author:
        check_authors(args.meta, args.author_column, folder.authors)
        by_author = same_author(folder.documents, folder.authors, centers, radius)
    if args.train_pairs:
        train = trained_documents(args.train_pairs, folder.order)
    return Exclusions(train, join_articles(articles, by_author), passages), by_author


# ---------------------------------------------------------------- the files


def lines_of(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of an exclusion file; blank lines and tabs at the end of a line don't count."""
    text = corpus.decode(script.regular_file(path).read_bytes(), path)
    for number, line in enumerate(corpus.lines_of(text), start=1):
        if line := line.rstrip("\t "):
            yield number, line.split("\t")


def read_articles(path: str | Path, known: Container[str]) -> ArticleExclusions:
    """Read article exclusions; names that are not known are skipped with a warning.

    Raises:
        InputError: a malformed line, or no line with known names only.
    """
    found, unknown = defaultdict(set), {}
    for number, cells in lines_of(path):
        if len(cells) != 2 or not cells[0]:
            raise InputError(f"{path}, line {number}: {len(cells)} cells; write center<TAB>other, no header.")
        note_unknown(unknown, cells, known, number)
        if not unknown.keys() & set(cells):
            found[cells[0]].add(cells[1])
    tell_unknown(path, unknown, found)
    return dict(found)


def read_passages(path: str | Path, known: Container[str]) -> PassageExclusions:
    """Read passage exclusions as read_articles does; the number follows the last hyphen, so a paperId may have some."""
    found, unknown = {}, {}
    for number, (center, *others) in lines_of(path):
        note_unknown(unknown, [center], known, number)
        for other in others:
            paper_id, hyphen, chunk = other.rpartition("-")
            if not hyphen or not chunk.isdecimal():
                raise InputError(
                    f"{path}, line {number}: {script.shortened(other)!r} is not of the form paperId-number; correct it."
                )
            note_unknown(unknown, [paper_id], known, number)
            if center in known and paper_id in known:
                found.setdefault(center, {}).setdefault(paper_id, set()).add(int(chunk))
    tell_unknown(path, unknown, found)
    return found


def note_unknown(unknown: dict[str, int], names: list[str], known: Container[str], number: int) -> None:
    """Add to `unknown` the names that are not in the metadata, each with the first line that has it."""
    for name in names:
        if name not in known:
            unknown.setdefault(name, number)


def tell_unknown(path: str | Path, unknown: dict[str, int], found) -> None:
    """Warn of names that are not in the metadata; refuse a file without a usable line."""
    if not unknown:
        return
    name, number = next(iter(unknown.items()))
    if not found:
        raise InputError(
            f"{path}, line {number}: {script.shortened(name)!r} is not a paperId in the metadata, and no line is "
            "usable; pass the exclusions of this corpus."
        )
    log.warning("%s: %d names are not in the metadata, skipped: %s", path, len(unknown),
                script.first_few([f"{name} (line {line})" for name, line in unknown.items()]))  # fmt: skip


def write_articles(path: str | Path, articles: ArticleExclusions) -> None:
    """Write article exclusions, sorted, atomically."""
    lines = (f"{center}\t{other}\n" for center in sorted(articles) for other in sorted(articles[center]))
    script.write_lines(path, lines)


def write_passages(path: str | Path, passages: PassageExclusions) -> None:
    """Write passage exclusions, sorted, atomically."""
    lines = []
    for center, others in sorted(passages.items()):
        names = [f"{other}-{chunk}" for other, chunks in sorted(others.items()) for chunk in sorted(chunks)]
        lines.append("\t".join([center, *names]) + "\n")
    script.write_lines(path, lines)


def join_articles(*several: ArticleExclusions) -> ArticleExclusions:
    """Return the union of article exclusions."""
    joined = defaultdict(set)
    for articles in several:
        for center, others in articles.items():
            joined[center] |= others
    return dict(joined)


def join_passages(*several: PassageExclusions) -> PassageExclusions:
    """Return the union of passage exclusions."""
    joined = {}
    for passages in several:
        for center, others in passages.items():
            for other, chunks in others.items():
                joined.setdefault(center, {}).setdefault(other, set()).update(chunks)
    return joined


# ---------------------------------------------------------------- from authors and training pairs


def authors_in(cell: str) -> set[str]:
    """Return the authors in a cell, separated by semicolons; case and extra spaces don't count."""
    return {" ".join(name.split()).casefold() for name in cell.split(";")} - {""}


def read_authors(metadata: str, column: str) -> dict[str, set[str]]:
    """Return the authors of each row by paperId; nothing if the metadata has no such column."""
    found = {row["paperId"]: authors_in(row[column]) for _, row in corpus.metadata_rows(metadata) if column in row}
    if not found:
        log.info("%s has no column %r: p-values take every year by itself, whoever wrote in it", metadata, column)
    return found


def check_authors(metadata: str, column: str, authors: dict[str, set[str]]) -> None:
    """Refuse metadata without authors where --exclude-same-author needs them."""
    if not authors:
        raise InputError(f"{metadata}, line 1: no column {column!r} for --exclude-same-author; pass the column's "
                         "name with --author-column.")  # fmt: skip
    if not any(authors.values()):
        raise InputError(f"{metadata}: the column {column!r} is empty; run without --exclude-same-author.")


def same_author(
    documents: list[Document], authors: dict[str, set[str]], centers: set[str], radius: int
) -> ArticleExclusions:
    """Return for each center document the others by any of its authors from at most `radius` years before or after."""
    year_of = {document.paper_id: document.year for document in documents}
    works = defaultdict(list)
    for paper_id in (paper_id for paper_id in authors if paper_id in year_of):
        for author in authors[paper_id]:
            works[author].append(paper_id)
    found = {}
    for center in centers:
        others = {other for author in authors[center] for other in works[author]}
        near = {other for other in others if 0 < abs(year_of[other] - year_of[center]) <= radius}
        if near:
            found[center] = near
    most = max(works, key=lambda author: len(works[author]))
    log.info("same author: %d documents have others within %d years; most documents: %s (%d)", len(found), radius, most,
             len(works[most]))  # fmt: skip
    return found


def trained_documents(path: str | Path, known: Container[str]) -> set[str]:
    """Return the paperIds of a table of training pairs; warns of those that are not in the metadata."""
    train = {row["paperId"] for row in corpus.each_pair(path)}
    if unknown := sorted(paper_id for paper_id in train if paper_id not in known):
        log.warning("%s: %d documents are not in the metadata: %s", path, len(unknown), script.first_few(unknown))
    return train
