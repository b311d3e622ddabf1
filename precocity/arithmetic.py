"""Cosines, artanh and the means of the largest: numpy in threads, or PyTorch on a GPU, to the same results."""

from __future__ import annotations

import math
import os
import threading
from contextlib import nullcontext

from precocity.embeddings import Year
from script import InputError

FRACTIONS = (1.0, 0.1, 0.05)  # of a year's passages, the nearest

MOST_COSINE = 1 - 1e-9  # artanh is 10.7; identical passages come out at 1 ± rounding, where it would be 18 or infinite
# In float32 a cosine errs by some 1e-7, which near 1 artanh multiplies by 1 / (1 − c²). Pairs above this are computed
# again in float64; below it the factor is at most 50, and the error of a pair some 5e-6.
NEAR = 0.99

BLOCK_ROWS = 1024  # centre passages multiplied at once: fewer, and BLAS repacks the other year's vectors too often
BLOCK_BYTES = 2**26  # of cosines at most, for each thread: 1,024 × 7,000 float32 are 29 MB
PART_BYTES = 2**20  # of cosines transformed and sorted at once: they stay in a core's own cache


class Numpy:
    """The arithmetic on CPUs. Threads take blocks of cosines from a queue; BLAS itself is kept to one thread each."""

    def __init__(self, dtype: str, threads: int):
        self.dtype, self.threads = dtype, threads
        self.local = threading.local()

    def limited(self):
        """Return a context in which BLAS uses one thread."""
        from threadpoolctl import threadpool_limits

        return threadpool_limits(1, user_api="blas")

    def array(self, year: Year):
        """Return a year's normalised vectors as this arithmetic holds them."""
        return year.normalised(self.dtype)

    def block_rows(self, columns: int) -> int:
        """Return how many centre passages are multiplied at once."""
        size = 8 if self.dtype == "float64" else 4
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (columns * size)))

    def part_rows(self, columns: int) -> int:
        """Return how many rows of cosines are transformed and sorted at once."""
        return max(1, PART_BYTES // (columns * 4))

    def cosines(self, centre, other):
        """Return centre @ other.T, in memory that the next call of this thread uses again."""
        import numpy as np

        size = len(centre) * len(other)
        if getattr(self.local, "buffer", np.empty(0)).size < size:
            self.local.buffer = np.empty(size, dtype=self.dtype)
        out = self.local.buffer[:size].reshape(len(centre), len(other))
        return np.matmul(centre, other.T, out=out)

    def near(self, cosines):
        """Return rows and columns of cosines beyond ±NEAR, NaN included."""
        import numpy as np

        if cosines.max() <= NEAR and cosines.min() >= -NEAR:
            return None
        return np.nonzero(~(np.abs(cosines) <= NEAR))

    def transform(self, cosines, near, exact) -> None:
        """Put 2·artanh in the cosines' place, for means() to halve: that of `exact`, float64 and clipped, at `near`.

        2·artanh c = ln((1 + c) / (1 − c)) = ln(2 / (1 − c) − 1), four passes in place. numpy's arctanh is vectorised
        with AVX-512 only, its logarithm of float32 everywhere.
        """
        import numpy as np

        if near is not None:
            cosines[near] = 0
        np.subtract(1, cosines, out=cosines)
        np.divide(2, cosines, out=cosines)
        np.subtract(cosines, 1, out=cosines)
        np.log(cosines, out=cosines)
        if near is not None:
            cosines[near] = 2 * np.arctanh(np.clip(exact, -MOST_COSINE, MOST_COSINE))

    def without(self, values, columns):
        """Return a copy without these columns."""
        import numpy as np

        return np.delete(values, columns, axis=1)

    def means(self, values):
        """Return the mean artanh of the largest FRACTIONS of each row, float64, (rows, fractions); sorts rows in place.

        partition puts the largest tenth at a row's end, in no order: no full sort. NaN where there is no column.
        """
        import numpy as np

        found, columns = np.full((len(values), len(FRACTIONS)), np.nan), values.shape[1]
        if columns == 0:
            return found
        rest = values
        for i, share in enumerate(FRACTIONS):
            count = math.ceil(columns * share)
            if count < rest.shape[1]:
                rest.partition(rest.shape[1] - count, axis=1)
                rest = rest[:, rest.shape[1] - count :]
            found[:, i] = rest.sum(axis=1) / (2 * count)
        return found

    def to_numpy(self, values):
        """Return values as a numpy array."""
        return values


class Torch:
    """The same arithmetic on a GPU (or, for tests, on the CPU) through PyTorch; one thread feeds it."""

    threads = 1

    def __init__(self, dtype: str, device: str):
        import torch

        if device == "mps" and dtype == "float64":
            raise InputError("--device mps has no float64; take --dtype float32, or --device cpu.")
        self.torch, self.device, self.dtype = torch, device, dtype
        torch.backends.cuda.matmul.allow_tf32 = False  # ten bits of cosine are not enough

    def limited(self):
        return nullcontext()

    def array(self, year: Year):
        return self.torch.from_numpy(year.normalised(self.dtype)).to(self.device)

    def block_rows(self, columns: int) -> int:
        return max(1, BLOCK_BYTES // columns)  # 256 MB of float32: a GPU likes large blocks and needs no parts

    def part_rows(self, columns: int) -> int:
        return self.block_rows(columns)

    def cosines(self, centre, other):
        return centre @ other.T

    def near(self, cosines):
        found = (~(cosines.abs() <= NEAR)).nonzero().cpu().numpy()
        return (found[:, 0], found[:, 1]) if len(found) else None

    def transform(self, cosines, near, exact) -> None:
        import numpy as np

        cosines.atanh_()
        if near is not None:
            values = np.arctanh(np.clip(exact, -MOST_COSINE, MOST_COSINE)).astype(self.dtype)
            rows, columns = (self.torch.from_numpy(index).to(self.device) for index in near)
            cosines[rows, columns] = self.torch.from_numpy(values).to(self.device)

    def without(self, values, columns):
        keep = self.torch.ones(values.shape[1], dtype=self.torch.bool)
        keep[self.torch.as_tensor(columns, dtype=self.torch.int64)] = False
        return values[:, keep.to(self.device)]

    def means(self, values):
        import numpy as np

        columns = values.shape[1]
        if columns == 0:
            return np.full((len(values), len(FRACTIONS)), np.nan)
        largest = values.topk(math.ceil(columns * FRACTIONS[1]), dim=1).values  # descending
        counts = [math.ceil(columns * share) for share in FRACTIONS]
        sums = [values.sum(dim=1), *(largest[:, :count].sum(dim=1) for count in counts[1:])]
        return np.stack([total.cpu().numpy().astype("float64") / n for total, n in zip(sums, counts)], axis=1)

    def to_numpy(self, values):
        return values.cpu().numpy()


def pick_arithmetic(args):
    """Return the arithmetic for --device and --dtype; PyTorch is loaded only where a GPU is asked for."""
    if args.device == "cpu":
        return Numpy(args.dtype, args.threads or default_threads())
    from encoder import pick_device

    device = pick_device(args.device)
    if device == "cpu":
        return Numpy(args.dtype, args.threads or default_threads())
    return Torch(args.dtype, device)


def default_threads() -> int:
    """Return OMP_NUM_THREADS, else the number of cores this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
