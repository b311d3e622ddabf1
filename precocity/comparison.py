"""One year's passages with every other year of the window: blocks of a matrix product, and what filters change."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from precocity.arithmetic import FRACTIONS, MOST_COSINE, Numpy
from precocity.embeddings import Folder, Year
from precocity.exclusions import Exclusions
from script import InputError

FILTERS = ("no filter", "train", "trainauth", "trainauthquote")  # each leaves out what the one before does, and more
RADII = (10, 20)  # years
WINDOW = max(RADII)
OFFSETS = (*range(-WINDOW, 0), *range(1, WINDOW + 1))

MOST_GATHERED = 2048  # near pairs of a part, computed one by one; more, and the whole part is multiplied in float64
# What float32 also computes in float64, to say how far it is off: so many passages, with every tenth year. Under 1%.
CHECKED_ROWS, CHECKED_EVERY = 8, 10
MOST_DIFFERENCE = 1e-5  # of a year's mean; float32 that is farther off is refused


class Task(NamedTuple):
    """A block of centre passages to compare with one other year."""

    at: int  # position of the other year in OFFSETS
    rows: range  # of the centre year
    centre: object  # normalised, in the arithmetic's form, all rows
    other: object
    other_year: Year
    left_out: dict[int, list]  # index of a centre document: columns that each filter leaves out


class Comparison:
    """What comparing one centre year with its window gives, filled block by block.

    means: float64, (passages, years of OFFSETS, filters, fractions), distances; NaN where nothing is to compare.
    """

    def __init__(self, centre: Year, drop_identical: bool):
        import numpy as np

        self.centre, self.drop_identical = centre, drop_identical
        self.means = np.full((len(centre.numbers), len(OFFSETS), len(FILTERS), len(FRACTIONS)), np.nan)
        self.counts, self.lock = Counter(), threading.Lock()
        self.float32_difference = 0.0

    def count(self, **found: int) -> None:
        with self.lock:
            self.counts.update(found)


def compare_window(folder: Folder, centre: Year, left_out: Exclusions, arithmetic, drop_identical: bool) -> Comparison:
    """Compare a year's passages with those of every other year of its window.

    Raises:
        InputError: a decade that can't be read, or float32 farther off than MOST_DIFFERENCE.
    """
    found = Comparison(centre, drop_identical)
    checked = CheckedRows(found, arithmetic)
    queue = Queue(tasks_of(folder, found, checked, left_out, arithmetic))

    def work(_) -> None:
        for task in queue:
            compare_block(task, found, arithmetic)

    with arithmetic.limited():
        if arithmetic.threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(arithmetic.threads) as pool, queue:
                list(pool.map(work, range(arithmetic.threads)))
    found.float32_difference = checked.difference()
    return found


class Queue:
    """An iterator that several threads draw from; when its context is left, by Ctrl-C too, it has no more for them."""

    def __init__(self, items):
        self.items, self.lock, self.closed = items, threading.Lock(), False

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.closed = True

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            if self.closed:
                raise StopIteration
            return next(self.items)


def tasks_of(folder: Folder, found: Comparison, checked: CheckedRows, left_out: Exclusions, arithmetic):
    """Yield the blocks of all comparison years in turn; a year is read when the one before has been handed out."""
    centre = found.centre
    held = arithmetic.array(centre)
    for at, offset in enumerate(OFFSETS):
        other = folder.year(centre.year + offset, until=centre.year + WINDOW)
        if other is None:
            continue
        columns, listed, present = left_out_columns(centre, other, left_out)
        pairs = len(centre.numbers) * len(other.numbers)
        found.count(pairs=pairs, passages_listed=listed, passages_listed_and_found=present)
        checked.compute(at, other)
        yours = arithmetic.array(other)
        step = arithmetic.block_rows(len(yours))
        for start in range(0, len(held), step):
            rows = range(start, min(start + step, len(held)))
            yield Task(at, rows, held, yours, other, columns)


class CheckedRows:
    """Passages whose unfiltered means are, for some years, also computed in float64: says how far float32 is off."""

    def __init__(self, found: Comparison, arithmetic):
        import numpy as np

        self.found, self.means, centre = found, {}, found.centre
        needed = arithmetic.dtype == "float32" and not found.drop_identical
        rows = np.linspace(0, len(centre.numbers) - 1, min(CHECKED_ROWS, len(centre.numbers)))
        self.rows = np.unique(rows.astype(int)) if needed else np.empty(0, int)
        self.vectors = centre.vectors[self.rows].astype("float64") / centre.lengths[self.rows, None]
        self.exact = Numpy("float64", 1)

    def compute(self, at: int, other: Year) -> None:
        """Compute the checked rows' means with the other year, if it is one of those checked."""
        if len(self.rows) and at % CHECKED_EVERY == 0:
            cosines = self.exact.cosines(self.vectors, other.normalised())
            near = self.exact.near(cosines)
            self.exact.transform(cosines, near, None if near is None else cosines[near])
            self.means[at] = -self.exact.means(cosines)

    def difference(self) -> float:
        """Return the largest difference of a year's mean; InputError where it is more than MOST_DIFFERENCE."""
        import numpy as np

        off = [np.abs(self.found.means[self.rows, at, 0] - means).max() for at, means in self.means.items()]
        if off and not max(off) <= MOST_DIFFERENCE:
            raise InputError(f"float32 is {max(off):.1e} off in {self.found.centre.year}, more than "
                             f"{MOST_DIFFERENCE:g}; take --dtype float64.")  # fmt: skip
        return float(max(off, default=0))


def left_out_columns(centre: Year, other: Year, left_out: Exclusions) -> tuple[dict[int, list], int, int]:
    """Return for each centre document that has any the columns each of the four filters leaves out, cumulated.

    Also how many single passages are listed, and how many of these the other year has.
    """
    import numpy as np

    index = other.index
    trained = [i for i, document in enumerate(other.documents) if document in left_out.train]
    train, found, listed, present = columns_of(other, trained), {}, 0, 0
    for at, document in enumerate(centre.documents):
        articles = [index[name] for name in left_out.articles.get(document, ()) if name in index]
        listed_for = left_out.passages.get(document, {})
        chunks = {index[name]: numbers for name, numbers in listed_for.items() if name in index}
        if not (trained or articles or chunks):
            continue
        by_author = np.union1d(train, columns_of(other, articles))
        single = [columns_of(other, [i], numbers) for i, numbers in chunks.items()]
        listed += sum(len(numbers) for numbers in chunks.values())
        present += sum(len(columns) for columns in single)
        found[at] = [train[:0], train, by_author, np.unique(np.concatenate([by_author, *single]))]
    return found, listed, present


def columns_of(other: Year, indices: list[int], numbers: set[int] | None = None):
    """Return the rows of these documents, of the passages of these numbers only."""
    import numpy as np

    rows = [np.arange(other.starts[i], other.starts[i + 1]) for i in indices]
    rows = np.concatenate([np.empty(0, np.int64), *rows])
    return rows if numbers is None else rows[np.isin(other.numbers[rows], list(numbers))]


def compare_block(task: Task, found: Comparison, arithmetic) -> None:
    """Multiply one block and settle it part by part."""
    block = arithmetic.cosines(task.centre[task.rows.start : task.rows.stop], task.other)
    step = arithmetic.part_rows(block.shape[1])
    for start in range(0, len(task.rows), step):
        part = block[start : start + step]
        rows = task.rows[start : start + step]
        near = arithmetic.near(part)
        exact = None if near is None else exact_cosines(part, near, rows, task, found.centre, arithmetic)
        arithmetic.transform(part, near, exact)
        identical = {}
        if exact is not None:
            same = exact >= MOST_COSINE
            found.count(identical_pairs=int(same.sum()))
            if found.drop_identical:
                identical = columns_by_row(near[0][same] + rows.start, near[1][same])
        settle(part, rows, task, identical, found, arithmetic)


def exact_cosines(part, near, rows: range, task: Task, centre: Year, arithmetic):
    """Return the cosines of the near pairs in float64."""
    import numpy as np

    if arithmetic.dtype == "float64":
        return arithmetic.to_numpy(part)[near]
    other = task.other_year
    if len(near[0]) > MOST_GATHERED:
        own = slice(rows.start, rows.stop)
        mine = centre.vectors[own].astype("float64") / centre.lengths[own, None]
        return (mine @ other.normalised().T)[near]
    mine, theirs = near[0] + rows.start, near[1]
    products = np.einsum("ij,ij->i", centre.vectors[mine], other.vectors[theirs], dtype=np.float64)
    return products / (centre.lengths[mine] * other.lengths[theirs])


def columns_by_row(rows, columns) -> dict[int, list[int]]:
    """Return the columns of each row that has any."""
    found = {}
    for row, column in zip(rows.tolist(), columns.tolist()):
        found.setdefault(row, []).append(column)
    return found


def settle(part, rows: range, task: Task, identical: dict[int, list[int]], found: Comparison, arithmetic) -> None:
    """Put the distances of these rows into found.means: unfiltered for all, then what is left out for some.

    What is left out is dealt with first, on copies: sorting a row for its nearest loses the columns.
    """
    corrections = [
        (some, i, arithmetic.means(arithmetic.without(part[[row - rows.start for row in some]], columns)))
        for some, filters in groups(rows, found.centre, task.left_out, identical)
        for i, columns in enumerate(filters)
        if len(columns) > (len(filters[i - 1]) if i else 0)
    ]
    found.means[rows.start : rows.stop, task.at] = -arithmetic.means(part)[:, None, :]
    for some, i, means in corrections:
        found.means[some, task.at, i:] = -means[:, None, :]


def groups(rows: range, centre: Year, left_out: dict[int, list], identical: dict[int, list[int]]):
    """Yield (rows, columns that each filter leaves out) for the rows of a part for which anything is left out."""
    import numpy as np

    if not left_out and not identical:
        return
    first = int(np.searchsorted(centre.starts, rows.start, side="right")) - 1
    for at in range(first, len(centre.documents)):
        own = range(max(rows.start, centre.starts[at]), min(rows.stop, centre.starts[at + 1]))
        if centre.starts[at] >= rows.stop:
            return
        columns = left_out.get(at)
        ordinary = [row for row in own if row not in identical]
        if columns and ordinary:
            yield ordinary, columns
        for row in own:
            if row in identical:
                yield [row], [np.union1d(some, identical[row]).astype(int) for some in columns or [[]] * len(FILTERS)]
