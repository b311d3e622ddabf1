"""Which cell of which row is to be paraphrased, and how: drawn from the seed and the row before any call.

In: the pair table, a seed, a set of prompts. Out: the table's rows in order, each with its Request or None; and the
requests of chosen rows again, read from where those begin in the file. Never more than one row is held in memory.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import corpus
from paraphrase.prompts import Prompt, to_draw, wording
from script import InputError, regular_file

FLAGGED = ("single-synthetic", "synthetic-pair")
TEXTS = ("category", "anchor", "positive")  # neither year nor paperId: one that was wrong changes no text
EARLIER = ("paperId", *TEXTS)  # what versions before December 2026 knew a row by
TEMPERATURES = (0.5, 0.7)  # drawn uniformly for each row


class Request(NamedTuple):
    """One text to ask the model for, with everything drawn before the first call."""

    key: str  # hexadecimal digest of the source, what was drawn for it, and the prompt's words
    row: int  # from 0
    cell: str  # the column that gets the paraphrase
    source: str
    prompt: Prompt
    temperature: float
    seed: int
    second: Prompt | None = None  # the prompt of a second step, which the reply is given to
    identity: str = ""  # hexadecimal digest of the row alone: neither seed nor prompts change it


@dataclass(frozen=True)
class Draw:
    """What the requests of a table are drawn with."""

    seed: int
    prompt_set: str
    prompts: dict[str, Prompt]

    def facts(self) -> dict:
        """Return this as journal and record keep it, the prompts as a digest of their words."""
        words = digest_of(*(f"{name} {wording(prompt)}" for name, prompt in sorted(self.prompts.items())))
        return {"seed": self.seed, "prompt_set": self.prompt_set, "prompts": words[:16]}

    def request(self, row: dict[str, str], place: Place) -> Request:
        """Draw cell, prompt and temperature for one row.

        The cell is drawn from both texts, all else from the source alone: another year, paperId, or order of the table
        changes no key. Raises InputError where it isn't clear which cell to generate.
        """
        cell, source = self.cell_and_source(row, place.number)
        told = f"{self.seed}\t{place.texts}\t{source}"
        return self.drawn(told, random.Random(f"paraphrase {told}"), place, row)._replace(cell=cell, source=source)

    def cell_and_source(self, row: dict[str, str], number: int) -> tuple[str, str]:
        drawn = row["category"] == "synthetic-pair"  # to seed dice takes as long as all else together
        dice = random.Random(f"cell {self.seed}\t{row['anchor']}\t{row['positive']}") if drawn else None
        return cell_and_source(row, number, dice)

    def earlier_request(self, row: dict[str, str], place: Place) -> Request:
        """Draw as versions before December 2026 did, from the whole row with its year; a journal may hold replies."""
        told = f"{self.seed}\t{place.rows}\t" + "\t".join(row[column] for column in corpus.PAIR_COLUMNS)
        dice = random.Random(f"paraphrase {told}")
        cell, source = cell_and_source(row, place.number, dice)
        return self.drawn(f"{told}\t{cell}", dice, place, row)._replace(cell=cell, source=source)

    def drawn(self, told: str, dice: random.Random, place: Place, row: dict[str, str]) -> Request:
        """Return a request without its cell and source; told is what the draws and the key depend on."""
        prompt = self.prompts[dice.choice(to_draw(self.prompts))]
        temperature = round(dice.uniform(*TEMPERATURES), 2)
        key = digest_of(told, wording(prompt), temperature)
        second = self.prompts[prompt.then] if prompt.then else None
        row_alone = digest_of(place.pairs, *cells_of(row, TEXTS))[:32]
        return Request(key, place.number, "", "", prompt, temperature, dice.randrange(2**31), second, row_alone)


def cell_and_source(row: dict[str, str], number: int, dice: random.Random | None) -> tuple[str, str]:
    """Return which cell gets the paraphrase, and of which text."""
    if row["category"] == "synthetic-pair":
        cell = dice.choice(("anchor", "positive"))
        return cell, row[cell]
    to_generate = [cell for cell in ("anchor", "positive") if row[cell] == corpus.TO_GENERATE]
    if len(to_generate) != 1:
        raise InputError(
            f"pair {number + 1} ({row['paperId']}) is single-synthetic, but {len(to_generate)} of its cells hold "
            f"the word {corpus.TO_GENERATE!r} instead of one; make the table again."
        )
    return to_generate[0], row["positive" if to_generate[0] == "anchor" else "anchor"]


def check_word(row: dict[str, str], number: int) -> None:
    """Refuse the word that stands for a paraphrase in a row that gets none there."""
    if row["category"] != "single-synthetic" and corpus.TO_GENERATE in (row["anchor"], row["positive"]):
        raise InputError(
            f"pair {number + 1} ({row['paperId']}) holds the word {corpus.TO_GENERATE!r} but is {row['category']}; "
            "make the table again."
        )


def cells_of(row: dict[str, str], names: tuple[str, ...]) -> list[str]:
    return [row[name] for name in names]


def digest_of(*parts) -> str:
    return hashlib.sha256("\t".join(map(str, parts)).encode()).hexdigest()


def following(request: Request, reply: str) -> Request | None:
    """Return the request for the second step on an accepted reply; None where its prompt has no other after it."""
    if request.second is None:
        return None
    key = digest_of(request.key, wording(request.second), reply)
    return request._replace(key=key, source=reply, prompt=request.second, second=None)


class Place(NamedTuple):
    """Where a flagged row stands in the pair table."""

    offset: int  # in bytes; 0 for the first row, which is read with the header
    number: int  # from 0
    rows: int = 1  # how often the same row stood there up to here, whatever its year …
    texts: int = 1  # … and the same source; each one is asked for …
    pairs: int = 1  # … and the same texts, whatever their document


class Places:
    """Places in order, at 40 bytes each."""

    def __init__(self, places: Iterable[Place] = ()):
        self.numbers = array("Q")
        for place in places:
            self.add(place)

    def add(self, place: Place) -> None:
        self.numbers.extend(place)

    def __len__(self) -> int:
        return len(self.numbers) // len(Place._fields)

    def __iter__(self) -> Iterator[Place]:
        numbers = iter(self.numbers)
        return map(Place, *[numbers] * len(Place._fields))


class Lines:
    """An open table's lines; offset is where the next one begins, in bytes."""

    def __init__(self, table):
        self.table, self.offset = table, 0
        self.mark = len(codecs.BOM_UTF8) if table.buffer.peek(3)[:3] == codecs.BOM_UTF8 else 0

    def __iter__(self) -> Iterator[str]:
        self.offset = self.mark
        for line in self.table:
            self.offset += len(line.encode())
            yield line


class Answered(Protocol):
    """What the plan must know of the journal: which keys have replies, and for which year earlier versions asked."""

    years: dict[str, str]  # identity of a row → year

    def holds(self, key: str) -> bool: ...

    def knows(self, identity: str) -> bool: ...


class PairTable:
    """The pair table of a run and what is drawn for its flagged rows.

    Args:
        journal: tells which keys have replies; a row whose replies have an earlier version's key keeps that request.
            None where there are no replies yet.
    Attributes:
        taken_up: identity of each such row → the year in its key.
    """

    def __init__(self, path: str | Path, draw: Draw, journal: Answered | None = None):
        self.path, self.draw, self.journal, self.state = Path(path), draw, journal, None
        self.taken_up: dict[str, str] = {}
        self.columns: tuple[str, ...] = corpus.PAIR_COLUMNS  # the table's own, once its first row was read

    def open(self):
        """Open the file. InputError where it is no longer the file that this run opened first."""
        table = open(regular_file(self.path), encoding="utf-8-sig", newline="")
        about = os.fstat(table.fileno())
        state = about.st_ino, about.st_size, about.st_mtime_ns
        self.state = self.state or state
        if state != self.state:
            table.close()
            raise InputError(f"{self.path} was changed during this run; run again, replies so far are kept.")
        return table

    def digest(self) -> str:
        """Return the table's SHA-256 in hexadecimal."""
        with self.open() as table:
            return hashlib.file_digest(table.buffer, "sha256").hexdigest()

    def rows(self) -> Iterator[tuple[Place, dict[str, str], Request | None]]:
        """Yield each row, where it stands, and the request for a flagged one.

        Raises:
            InputError: the table is damaged, or a row doesn't say which of its cells to generate.
        """
        seen: Counter[bytes] = Counter()
        with self.open() as table:
            lines, offset = Lines(table), 0
            for number, row in enumerate(corpus.pairs_in(lines, self.path)):
                place, offset = Place(offset, number), lines.offset
                self.columns = tuple(row) if number == 0 else self.columns
                check_word(row, number)
                if row["category"] not in FLAGGED:
                    yield place, row, None
                    continue
                source = self.draw.cell_and_source(row, number)[1]
                same = (nth(seen, *cells_of(row, EARLIER)), nth(seen, source), nth(seen, *cells_of(row, TEXTS)))
                place = Place(place.offset, number, *same)
                yield place, row, self.request(row, place)

    def at(self, places: Iterable[Place]) -> Iterator[tuple[dict[str, str], Request]]:
        """Yield rows and requests at these places, which `rows` gave."""
        with self.open() as table:
            for place in places:
                table.seek(place.offset)
                names = self.columns if place.offset else None
                row = next(csv.DictReader(table, names, delimiter="\t", strict=True))
                yield row, self.request(row, place)

    def request(self, row: dict[str, str], place: Place) -> Request:
        """Return a row's request, or the one drawn for it by an earlier version if only that one has replies."""
        request = self.draw.request(row, place)
        if self.journal and not self.journal.knows(request.identity):
            earlier = digest_of(place.rows, *cells_of(row, EARLIER))[:32]
            request = request._replace(identity=earlier if self.journal.knows(earlier) else request.identity)
        if self.journal is None or self.journal.holds(request.key):
            return request
        year = self.journal.years.get(request.identity, row["year"])  # it may have been corrected since
        earlier = self.draw.earlier_request(row | {"year": year}, place)
        if not self.journal.holds(earlier.key):
            return request
        self.taken_up[request.identity] = year
        return earlier._replace(identity=request.identity)


def nth(seen: Counter[bytes], *cells: str) -> int:
    """Count these cells; return how often they were counted up to here."""
    digest = hashlib.blake2b("\t".join(cells).encode(), digest_size=8).digest()
    seen[digest] += 1
    return seen[digest]
