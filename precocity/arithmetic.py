"""Cosines, artanh, and the means of the largest: numpy in threads or PyTorch on a GPU, with the same results.

Comes in: the factors of two years (see distances.py). Goes out: for each passage of one year, its mean distance
from the nearest passages of the other, times −1, for each of FRACTIONS. Numpy and Torch have the same methods; one
works on numpy arrays, the other on tensors on the device.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from encoder import pick_device
from precocity.distances import COSINE, DISTANCES, MOST_COSINE, Cosine, Divergence
from script import InputError, cores

if TYPE_CHECKING:
    import numpy as np
    import torch

    Positions = tuple[np.ndarray, np.ndarray]  # rows and columns of single values in a matrix, int64

FRACTIONS = (1.0, 0.1, 0.05)  # of a year's passages, the nearest

BLOCK_ROWS = 1024  # center passages multiplied at once; with fewer, BLAS repacks the other year's vectors too often
BLOCK_BYTES = 2**26  # of cosines at most, for each thread: 1,024 × 7,000 in float32 are 29 MB
PART_BYTES = 2**20  # of cosines transformed and sorted at once: they stay in a core's own cache


class Numpy:
    """The arithmetic on CPUs. Each thread takes blocks of cosines from a queue and uses BLAS with one thread."""

    def __init__(self, dtype: str, threads: int, distance: Cosine | Divergence = COSINE):
        self.dtype, self.threads, self.distance = dtype, threads, distance
        self.local = threading.local()

    def limited(self) -> AbstractContextManager:
        """Return a context in which BLAS uses one thread."""
        from threadpoolctl import threadpool_limits

        return threadpool_limits(1, user_api="blas")

    def array(self, factor: np.ndarray) -> np.ndarray:
        """Return a factor in this arithmetic's form, (passages, dimensions)."""
        return factor

    def block_rows(self, columns: int) -> int:
        """Return how many center passages are multiplied at once."""
        size = 8 if self.dtype == "float64" else 4
        return max(1, min(BLOCK_ROWS, BLOCK_BYTES // (columns * size)))

    def part_rows(self, columns: int) -> int:
        """Return how many rows of cosines are transformed and sorted at once."""
        return max(1, PART_BYTES // (columns * 4))

    def cosines(self, center: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return center @ other.T, (center passages, other passages); this thread's next call overwrites it."""
        import numpy as np

        size = len(center) * len(other)
        if getattr(self.local, "buffer", np.empty(0)).size < size:
            self.local.buffer = np.empty(size, dtype=self.dtype)
        out = self.local.buffer[:size].reshape(len(center), len(other))
        return np.matmul(center, other.T, out=out)

    def near(self, cosines: np.ndarray) -> Positions | None:
        """Return the positions of products to be computed again, NaN included; None if there are none."""
        import numpy as np

        low, high = self.distance.low, self.distance.high
        if cosines.max() <= high and cosines.min() >= low:
            return None
        return np.nonzero(~((cosines <= high) & (cosines >= low)))

    def transform(self, cosines: np.ndarray, near: Positions | None, exact: np.ndarray | None) -> None:
        """Replace the cosines by 2·artanh, which means() halves; at `near` take the cosines from `exact`, float64.

        2·artanh c = ln((1 + c) / (1 − c)) = ln(2 / (1 − c) − 1), four passes in place. numpy vectorizes arctanh only
        with AVX-512, but its float32 logarithm everywhere. Divergences are only doubled.
        """
        import numpy as np

        if not self.distance.is_curved:
            if near is not None:
                cosines[near] = exact
            np.multiply(cosines, 2, out=cosines)
            return
        if near is not None:
            cosines[near] = 0
        np.subtract(1, cosines, out=cosines)
        np.divide(2, cosines, out=cosines)
        np.subtract(cosines, 1, out=cosines)
        np.log(cosines, out=cosines)
        if near is not None:
            cosines[near] = 2 * np.arctanh(np.clip(exact, -MOST_COSINE, MOST_COSINE))

    def without(self, values: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return a copy without these columns."""
        import numpy as np

        return np.delete(values, columns, axis=1)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean artanh of the largest FRACTIONS of each row, float64, (rows, fractions); reorders the rows.

        partition moves the largest tenth to the end of a row without sorting it. NaN if there is no column.
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

    def to_numpy(self, values: np.ndarray) -> np.ndarray:
        """Return values as a numpy array."""
        return values


class Torch:
    """The same arithmetic in PyTorch, on a GPU or, for tests, on the CPU; one thread feeds it."""

    threads = 1

    def __init__(self, dtype: str, device: str, distance: Cosine | Divergence = COSINE):
        import torch

        if device == "mps" and dtype == "float64":
            raise InputError("--device mps cannot compute in float64; use --dtype float32 or --device cpu.")
        self.torch, self.device, self.dtype, self.distance = torch, device, dtype, distance
        torch.backends.cuda.matmul.allow_tf32 = False  # ten bits of cosine are not enough

    def limited(self) -> AbstractContextManager:
        return nullcontext()

    def array(self, factor: np.ndarray) -> torch.Tensor:
        return self.torch.from_numpy(factor).to(self.device)

    def block_rows(self, columns: int) -> int:
        return max(1, BLOCK_BYTES // columns)  # 256 MB of float32: a GPU is fast with large blocks and needs no parts

    def part_rows(self, columns: int) -> int:
        return self.block_rows(columns)

    def cosines(self, center: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return center @ other.T

    def near(self, cosines: torch.Tensor) -> Positions | None:
        inside = (cosines <= self.distance.high) & (cosines >= self.distance.low)
        found = (~inside).nonzero().cpu().numpy()
        return (found[:, 0], found[:, 1]) if len(found) else None

    def transform(self, cosines: torch.Tensor, near: Positions | None, exact: np.ndarray | None) -> None:
        import numpy as np

        if self.distance.is_curved:
            cosines.atanh_()
        if near is not None:
            curved = np.arctanh(np.clip(exact, -MOST_COSINE, MOST_COSINE)) if self.distance.is_curved else exact
            values = curved.astype(self.dtype)
            rows, columns = (self.torch.from_numpy(index).to(self.device) for index in near)
            cosines[rows, columns] = self.torch.from_numpy(values).to(self.device)

    def without(self, values: torch.Tensor, columns: np.ndarray) -> torch.Tensor:
        keep = self.torch.ones(values.shape[1], dtype=self.torch.bool)
        keep[self.torch.as_tensor(columns, dtype=self.torch.int64)] = False
        return values[:, keep.to(self.device)]

    def means(self, values: torch.Tensor) -> np.ndarray:
        import numpy as np

        columns = values.shape[1]
        if columns == 0:
            return np.full((len(values), len(FRACTIONS)), np.nan)
        largest = values.topk(math.ceil(columns * FRACTIONS[1]), dim=1).values  # descending
        counts = [math.ceil(columns * share) for share in FRACTIONS]
        sums = [values.sum(dim=1), *(largest[:, :count].sum(dim=1) for count in counts[1:])]
        return np.stack([total.cpu().numpy().astype("float64") / n for total, n in zip(sums, counts)], axis=1)

    def to_numpy(self, values: torch.Tensor) -> np.ndarray:
        return values.cpu().numpy()


def pick_arithmetic(dtype: str, device: str, threads: int | None, distance: str) -> Numpy | Torch:
    """Return the arithmetic for --dtype, --device, --threads, and --distance; only for a GPU, PyTorch is loaded."""
    if device != "cpu" and importlib.util.find_spec("torch") is None:
        raise InputError(f"--device {device} needs PyTorch, which is not installed here; leave --device out.")
    device, chosen = device if device == "cpu" else pick_device(device), DISTANCES[distance]
    return Numpy(dtype, threads or cores(), chosen) if device == "cpu" else Torch(dtype, device, chosen)
