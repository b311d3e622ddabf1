"""One year's passages compared with every other year of the window: blocks of a matrix product, and the filters.

Comes in: the embedding folder, the center year, the exclusions. Goes out: a Comparison, which holds each passage's mean
distance to each year, by filter and fraction, and counts. Rows are passages of the center year, columns of the other.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from precocity.arithmetic import FRACTIONS, Numpy, Torch
from precocity.embeddings import Folder, Year
from precocity.exclusions import Exclusions
from script import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from precocity.arithmetic import Positions

    Columns = dict[int, list[np.ndarray]]  # index of a center document: columns that each of FILTERS leaves out

FILTERS = ("no filter", "train", "trainauth", "trainauthquote")  # each leaves out what the one before does and more
RADII = (10, 20)  # years
WINDOW = max(RADII)
OFFSETS = (*range(-WINDOW, 0), *range(1, WINDOW + 1))

MOST_GATHERED = 2048  # near pairs of a part are computed one by one; if there are more, the part is again, in float64
# How far float32 is off is measured on this many passages, compared with every tenth year in float64: less than 1% of
# the time.
CHECKED_ROWS, CHECKED_EVERY = 8, 10
MOST_DIFFERENCE = 1e-5  # of a year's mean; if float32 is off by more, the run stops


def window_of(year: int) -> range:
    """Return the years whose passages a year's values depend on, the year itself included."""
    return range(year - WINDOW, year + WINDOW + 1)


class Task(NamedTuple):
    """A block of center passages to compare with one other year."""

    at: int  # position of the other year in OFFSETS
    rows: range  # of the center year
    center: np.ndarray | torch.Tensor  # left factor of all rows, (passages, dimensions)
    other: np.ndarray | torch.Tensor  # right factor of the other year, not yet transposed
    other_year: Year
    left_out: Columns


class Part(NamedTuple):
    """Some rows of a block, few enough to stay in a core's cache."""

    cosines: np.ndarray | torch.Tensor  # (rows, columns); after transform(), 2·artanh (Torch: artanh)
    rows: range  # of the center year
    task: Task


class Comparison:
    """The result of comparing a center year with its window, filled block by block.

    means: float64, (passages, years of OFFSETS, filters, fractions), distances; NaN where there is nothing to compare.
    """

    def __init__(self, center: Year, drop_identical: bool):
        import numpy as np

        self.center, self.drop_identical = center, drop_identical
        self.means = np.full((len(center.numbers), len(OFFSETS), len(FILTERS), len(FRACTIONS)), np.nan)
        self.counts, self.lock = Counter(), threading.Lock()
        self.float32_difference = 0.0

    def count(self, **found: int) -> None:
        with self.lock:
            self.counts.update(found)


def compare_window(
    folder: Folder, center: Year, left_out: Exclusions, arithmetic: Numpy | Torch, drop_identical: bool
) -> Comparison:
    """Compare a year's passages with those of every other year of its window.

    Raises:
        InputError: a decade cannot be read, or float32 is off by more than MOST_DIFFERENCE.
    """
    found = Comparison(center, drop_identical)
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
    """An iterator shared by several threads. Leaving its context, for example by Ctrl-C, ends it for all of them."""

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


def tasks_of(
    folder: Folder, found: Comparison, checked: CheckedRows, left_out: Exclusions, arithmetic: Numpy | Torch
) -> Iterator[Task]:
    """Yield the blocks of all comparison years in turn; a year is read once the one before is given out."""
    center, distance = found.center, arithmetic.distance
    held = arithmetic.array(distance.centers(center, arithmetic.dtype))
    for at, offset in enumerate(OFFSETS):
        other = folder.year(center.year + offset, until=center.year + WINDOW)
        if other is None:
            continue
        columns, listed, present = left_out_columns(center, other, left_out)
        pairs = len(center.numbers) * len(other.numbers)
        found.count(pairs=pairs, passages_listed=listed, passages_listed_and_found=present)
        checked.compute(at, other)
        yours = arithmetic.array(distance.others(other, arithmetic.dtype))
        step = arithmetic.block_rows(len(yours))
        for start in range(0, len(held), step):
            rows = range(start, min(start + step, len(held)))
            yield Task(at, rows, held, yours, other, columns)


class CheckedRows:
    """A few passages whose unfiltered means are also computed in float64, to measure how far float32 is off."""

    def __init__(self, found: Comparison, arithmetic: Numpy | Torch):
        import numpy as np

        self.found, self.means, self.distance, center = found, {}, arithmetic.distance, found.center
        needed = arithmetic.dtype == "float32" and not found.drop_identical
        rows = np.linspace(0, len(center.numbers) - 1, min(CHECKED_ROWS, len(center.numbers)))
        self.rows = np.unique(rows.astype(int)) if needed else np.empty(0, int)
        self.vectors = self.distance.centers(center, "float64", self.rows)
        self.exact = Numpy("float64", 1, self.distance)

    def compute(self, at: int, other: Year) -> None:
        """Compute the checked rows' means with the other year, if that year is checked."""
        if len(self.rows) and at % CHECKED_EVERY == 0:
            cosines = self.exact.cosines(self.vectors, self.distance.others(other, "float64"))
            near = self.exact.near(cosines)
            self.exact.transform(cosines, near, None if near is None else cosines[near])
            self.means[at] = -self.exact.means(cosines)

    def difference(self) -> float:
        """Return the largest difference of a year's mean. InputError if it exceeds MOST_DIFFERENCE."""
        import numpy as np

        off = [np.abs(self.found.means[self.rows, at, 0] - means).max() for at, means in self.means.items()]
        if off and not max(off) <= MOST_DIFFERENCE:
            raise InputError(f"float32 is off by {max(off):.1e} in {self.found.center.year}, more than "
                             f"{MOST_DIFFERENCE:g}; use --dtype float64.")  # fmt: skip
        return float(max(off, default=0))


def left_out_columns(center: Year, other: Year, left_out: Exclusions) -> tuple[Columns, int, int]:
    """Return the columns that each filter leaves out, for each center document that has any.

    Also returns how many single passages are listed, and how many of these the other year has.
    """
    import numpy as np

    index = other.index
    trained = [i for i, document in enumerate(other.documents) if document in left_out.train]
    train, found, listed, present = columns_of(other, trained), {}, 0, 0
    for at, document in enumerate(center.documents):
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


def columns_of(other: Year, indices: list[int], numbers: set[int] | None = None) -> np.ndarray:
    """Return the columns of these documents' passages, or only of the passages with these numbers: int64."""
    import numpy as np

    rows = [np.arange(other.starts[i], other.starts[i + 1]) for i in indices]
    rows = np.concatenate([np.empty(0, np.int64), *rows])
    return rows if numbers is None else rows[np.isin(other.numbers[rows], list(numbers))]


def compare_block(task: Task, found: Comparison, arithmetic: Numpy | Torch) -> None:
    """Multiply one block, then transform and average it part by part."""
    block = arithmetic.cosines(task.center[task.rows.start : task.rows.stop], task.other)
    step = arithmetic.part_rows(block.shape[1])
    for start in range(0, len(task.rows), step):
        part = Part(block[start : start + step], task.rows[start : start + step], task)
        near = arithmetic.near(part.cosines)
        exact = None if near is None else exact_cosines(part, near, found.center, arithmetic)
        arithmetic.transform(part.cosines, near, exact)
        identical = {}
        if exact is not None:
            same = exact >= arithmetic.distance.identical
            found.count(identical_pairs=int(same.sum()))
            if found.drop_identical:
                identical = columns_by_row(near[0][same] + part.rows.start, near[1][same])
        settle(part, identical, found, arithmetic)


def exact_cosines(part: Part, near: Positions, center: Year, arithmetic: Numpy | Torch) -> np.ndarray:
    """Return the products of the near pairs in float64, (pairs,)."""
    if arithmetic.dtype == "float64":
        return arithmetic.to_numpy(part.cosines)[near]
    rows, other, distance = part.rows, part.task.other_year, arithmetic.distance
    if len(near[0]) > MOST_GATHERED:
        mine = distance.centers(center, "float64", slice(rows.start, rows.stop))
        return (mine @ distance.others(other, "float64").T)[near]
    return distance.exact(center, near[0] + rows.start, other, near[1])


def columns_by_row(rows: np.ndarray, columns: np.ndarray) -> dict[int, list[int]]:
    """Return the columns of each row that has any."""
    found = {}
    for row, column in zip(rows.tolist(), columns.tolist()):
        found.setdefault(row, []).append(column)
    return found


def settle(part: Part, identical: dict[int, list[int]], found: Comparison, arithmetic: Numpy | Torch) -> None:
    """Write the distances of a part's rows to found.means: without filter for all rows, then with filters for some.

    The filters are computed first, on copies, because means() reorders the columns of each row.
    """
    rows, task = part.rows, part.task
    corrections = [
        (some, i, arithmetic.means(arithmetic.without(part.cosines[[row - rows.start for row in some]], columns)))
        for some, filters in groups(rows, found.center, task.left_out, identical)
        for i, columns in enumerate(filters)
        if len(columns) > (len(filters[i - 1]) if i else 0)
    ]
    found.means[rows.start : rows.stop, task.at] = -arithmetic.means(part.cosines)[:, None, :]
    for some, i, means in corrections:
        found.means[some, task.at, i:] = -means[:, None, :]


def groups(
    rows: range, center: Year, left_out: Columns, identical: dict[int, list[int]]
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Yield (rows, columns that each filter leaves out) for those rows of a part that leave anything out."""
    import numpy as np

    if not left_out and not identical:
        return
    first = int(np.searchsorted(center.starts, rows.start, side="right")) - 1
    for at in range(first, len(center.documents)):
        own = range(max(rows.start, center.starts[at]), min(rows.stop, center.starts[at + 1]))
        if center.starts[at] >= rows.stop:
            return
        columns = left_out.get(at)
        ordinary = [row for row in own if row not in identical]
        if columns and ordinary:
            yield ordinary, columns
        for row in own:
            if row in identical:
                yield [row], [np.union1d(some, identical[row]).astype(int) for some in columns or [[]] * len(FILTERS)]
