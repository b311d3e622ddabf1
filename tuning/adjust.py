"""Centring and soft whitening: what subtracts the passage that all passages resemble, and turns down the few directions
in which they differ most. Fitted on the training passages once a model is tuned, applied by Apply_Tuned_Model.py.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from script import InputError

ADJUSTMENT = "adjustment.safetensors"  # in the model's folder
MOST_TEXTS = 5000  # fitted on so many: several times the dimensions
SMALLEST = 1e-3  # of the largest standard deviation; what is below it is rounding, and no power of it is taken


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return the rows with length 1; rows of zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def fit(vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean, principal directions and standard deviations of the vectors, float32.

    Returns:
        mean (dimensions,), directions (dimensions, kept), deviations (kept,), largest first.
    """
    unit = unit_rows(np.asarray(vectors, dtype=np.float64))
    mean = unit.mean(axis=0)
    _, singular, rows = np.linalg.svd(unit - mean, full_matrices=False)
    deviations = singular / np.sqrt(len(unit))
    kept = deviations > SMALLEST * deviations[0]
    found = {"mean": mean, "directions": rows[kept].T, "deviations": deviations[kept]}
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in found.items()}


def apply(adjustment: dict[str, np.ndarray], vectors: np.ndarray, centre: float, whiten: float) -> np.ndarray:
    """Return the vectors less a share of the mean, each principal component divided by a power of its deviation.

    Args:
        vectors: (passages, dimensions).
        centre: share of the mean that is subtracted: 0 none of it, 1 all.
        whiten: the power: 0 leaves the components as they are, 1 is whitening, in between soft whitening.

    Returns:
        Unit rows, float32.
    """
    shifted = unit_rows(vectors.astype(np.float32)) - np.float32(centre) * adjustment["mean"]
    if whiten:
        directions, scales = adjustment["directions"], adjustment["deviations"] ** np.float32(-whiten)
        # Turned back afterwards: cosines don't tell, but the dimensions stay what they were. What no training passage
        # varied in, as with fewer of them than dimensions, is kept and counts like the direction of least variance.
        shifted = scales[-1] * shifted + (shifted @ directions) * (scales - scales[-1]) @ directions.T
    return unit_rows(shifted).astype(np.float32)


def save(adjustment: dict[str, np.ndarray], model_folder: Path) -> None:
    """Write the adjustment into a model's folder."""
    from safetensors.numpy import save_file

    save_file(adjustment, model_folder / ADJUSTMENT)


def load(model_folder: str | Path) -> dict[str, np.ndarray]:
    """Read a model's adjustment. InputError where it has none."""
    from safetensors.numpy import load_file

    path = Path(model_folder) / ADJUSTMENT
    if not path.exists():
        raise InputError(
            f"{path} does not exist: --centre and --whiten are for models tuned by TuneEmbeddings.py; tune it again."
        )
    return load_file(path)


def training_texts(rows: list[dict], seed: int) -> list[str]:
    """Return at most MOST_TEXTS of the texts trained on, drawn by seed."""
    texts = sorted({row[name] for row in rows for name in ("anchor", "positive")})
    return random.Random(f"adjustment {seed}").sample(texts, min(MOST_TEXTS, len(texts)))
