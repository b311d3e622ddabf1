"""What a person changed in the finished table, found before the table is replaced.

In: the table on disk, its record (which holds the digest of what was written), the pair table's rows, the journal.
Out: each paraphrase that a person corrected goes into the journal, from which every later run takes it, whatever its
seed and prompts. InputError for a change that can't be kept that way; the table then stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import corpus
import script
from paraphrase.journal import BY_HAND, Journal
from paraphrase.plan import PairTable
from script import InputError, log

CELLS = ("anchor", "positive")
ADDED = frozenset(corpus.PARAPHRASED_COLUMNS) - frozenset(corpus.PAIR_COLUMNS)  # they are the run's own account
MOVE_IT = "Move the table to another name, then run again."


class Cell(NamedTuple):
    """A cell of the pair table that may be paraphrased; texts as digests."""

    identity: str  # of the row, as in Request
    source: bytes
    text: bytes | None  # what the journal holds for this cell
    corrected: bool  # by hand, earlier


class Expected:
    """The pair table's rows as they should stand in the finished table, some 300 bytes each; cells as digests."""

    def __init__(self, pairs: PairTable, columns: list[str], journal: Journal):
        self.columns, self.count = columns, 0
        self.unchanged: set[bytes] = set()
        self.cells: dict[bytes, list[Cell]] = {}
        self.taken: set[str] = set()
        for _, row, request in pairs.rows():
            self.count += 1
            if request is None:
                self.unchanged.add(self.rest_of(row, None))
                continue
            entry = journal.paraphrase_of(request)
            written = entry.get("cell", request.cell) if entry else None
            # With another seed, the other cell of a synthetic pair may have been drawn.
            for cell in CELLS if row["category"] == "synthetic-pair" else (request.cell,):
                text = digest(entry["text"]) if cell == written else None
                source = digest(row[cell] if row["category"] == "synthetic-pair" else request.source)
                cell_of_row = Cell(request.identity, source, text, cell == written and entry["model"] == BY_HAND)
                self.cells.setdefault(self.rest_of(row, cell), []).append(cell_of_row)

    def rest_of(self, row: dict[str, str], cell: str | None) -> bytes:
        """Return a digest of a row without the paraphrase and what the generator adds."""
        rest = [row.get(name, "") for name in self.columns if name != cell and name not in ADDED]
        return digest("\t".join([cell or "", *rest]))

    def find(self, row: dict[str, str]) -> tuple[str, Cell] | None:
        """Return which cell of which row of the pair table a row of the finished table paraphrases."""
        for cell in CELLS:
            for place in self.cells.get(self.rest_of(row, cell), ()):
                if place.identity not in self.taken and row[cell] != corpus.TO_GENERATE:
                    self.taken.add(place.identity)
                    return cell, place
        return None


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def keep_corrections(table: Path, pairs: PairTable, journal: Journal) -> None:
    """Journal the paraphrases that a person corrected in the table since it was written.

    Raises:
        InputError: another change, which replacing the table would destroy.
    """
    record = record_of(table)
    if not table.is_file() or script.file_digest(table) == record.get("sha256"):
        return
    columns = set(next(finished_rows(table), corpus.PARAPHRASED_COLUMNS))
    other_pairs = record.get(corpus.PAIRS_DIGEST, then := pairs.digest()) != then
    if other_pairs:
        columns.discard("year")  # it may have been corrected where it belongs: in the metadata
    expected = Expected(pairs, sorted(columns), journal)
    same_draws = record.get("drawn") == pairs.draw.facts() and not other_pairs
    found, strange, count = compare(table, expected, journal, same_draws)
    if found:
        journal.write(found)
        names = script.first_few([entry["paperId"] for entry in found])
        log.info("kept %d paraphrase%s corrected by hand in %s (%s)", len(found), "s" * (len(found) > 1), table, names)
    refuse_the_rest(table, strange, record.get("written", count) - count if expected.count > count else 0)


def finished_rows(table: Path) -> Iterator[dict[str, str]]:
    """Yield the finished table's rows. InputError where it is no pair table any more."""
    try:
        yield from corpus.each_pair(table)
    except InputError as error:
        raise InputError(f"{error} {MOVE_IT}") from None


def record_of(table: Path) -> dict:
    """Return the table's record; an empty one where there is none that can be read."""
    try:
        return script.read_json(script.record_path(table))
    except (InputError, FileNotFoundError):
        return {}


def compare(
    table: Path, expected: Expected, journal: Journal, same_draws: bool
) -> tuple[list[dict], list[tuple[int, str]], int]:
    """Return journal entries for what was corrected, (number, paperId) of rows that match none, and the rows' number.

    With other draws or pairs than the table's, the journal's replies to this run's requests say little of what was
    written: then any of its replies is taken to be no person's.
    """
    replies = set() if same_draws else {digest(text) for text in journal.accepted_texts()}
    found, strange, count = [], [], 0
    for count, row in enumerate(finished_rows(table), start=1):
        if expected.rest_of(row, None) in expected.unchanged:
            continue
        match = expected.find(row)
        if match is None:
            strange.append((count, row["paperId"]))
            continue
        cell, place = match
        own = {place.text or place.source}
        if not same_draws and not place.corrected:
            own |= replies | {place.source}
        if digest(row[cell]) not in own:
            found.append(correction(row, cell, place.identity))
    return found, strange, count


def correction(row: dict[str, str], cell: str, identity: str) -> dict:
    """Return the journal entry of a paraphrase as a person wrote it."""
    told = {name: row.get(name, "") for name in ("paperId", "system_prompt", "temperature")}
    entry = {"event": "corrected", "row": identity, "cell": cell, "model": BY_HAND, **told}
    return entry | {"text": " ".join(row[cell].split())}


def refuse_the_rest(table: Path, strange: list[tuple[int, str]], fewer: int) -> None:
    """InputError where rows of the table match none of the pair table, or rows were deleted."""
    faults = []
    if strange:
        number, paper_id = strange[0]
        some = "1 row matches" if len(strange) == 1 else f"{len(strange)} rows match"
        faults.append(f"{some} no row of the pair table (first: row {number}, {paper_id})")
    if fewer > 0:
        faults.append(f"it has {fewer} row{'s' * (fewer > 1)} fewer than was written")
    if faults:
        raise InputError(
            f"{table} was changed by hand: {', and '.join(faults)}. Corrected paraphrases are kept in the journal; "
            f"other changes would be lost. {MOVE_IT}"
        )
