"""Centring and soft whitening, as two layers at the end of the tuned model.

What comes in: a tuned model and passages it was trained on. What goes out: the same model, whose vectors have less of
the passage that all passages resemble, and less of the few directions in which they differ most. Both are affine, so a
Dense layer does them, with a Normalize on either side: every tool that loads the model gives these very vectors.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

import script
from encoder import OLD_ADJUSTMENT, unit_rows

from .folder import MARK

MOST_TEXTS = 5000  # fitted on so many: several times the dimensions
SMALLEST = 1e-3  # of the largest standard deviation; what is below it is rounding, and no power of it is taken


def training_texts(rows: list[dict], seed: int) -> list[str]:
    """Return at most MOST_TEXTS of the texts trained on, drawn by seed."""
    texts = sorted({row[name] for row in rows for name in ("anchor", "positive")})
    return random.Random(f"adjustment {seed}").sample(texts, min(MOST_TEXTS, len(texts)))


def affine(vectors: np.ndarray, centre: float, whiten: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix and the bias that adjust unit vectors, fitted on these vectors.

    A unit vector x becomes (x − centre · mean) W. W divides each principal component by its standard deviation to the
    power `whiten` and turns the components back, so that the dimensions stay what they were. What none of the vectors
    varied in, as with fewer of them than dimensions, counts like the direction of least variance.

    Args:
        vectors: (passages, dimensions).
        centre: share of the mean that is subtracted: 0 none of it, 1 all.
        whiten: the power: 0 leaves the components as they are, 1 is whitening, in between soft whitening.
    Returns:
        matrix (dimensions, dimensions), symmetric, and bias (dimensions,), float64.
    """
    unit = unit_rows(np.asarray(vectors, dtype=np.float64))
    mean = unit.mean(axis=0)
    _, singular, rows = np.linalg.svd(unit - mean, full_matrices=False)
    deviations = singular / np.sqrt(len(unit))
    kept = deviations > SMALLEST * deviations[0]
    if not kept.any():  # all vectors alike
        return np.eye(len(mean)), -centre * mean
    directions, scales = rows[kept].T, deviations[kept] ** -whiten
    matrix = scales[-1] * np.eye(len(mean)) + (directions * (scales - scales[-1])) @ directions.T
    return matrix, -centre * mean @ matrix


def append_layers(model, matrix: np.ndarray, bias: np.ndarray) -> int:
    """Append the layers that adjust to the model; return how many: two, and a Normalize before them where none is."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize

    weights = (torch.tensor(value, dtype=torch.float32) for value in (matrix.T, bias))
    dense = Dense(len(bias), len(bias), True, torch.nn.Identity(), *weights)
    layers = [] if isinstance(model[-1], Normalize) else [Normalize()]
    layers += [dense.to(model.device), Normalize()]
    for layer in layers:
        model.append(layer)
    return len(layers)


def adjust(model, texts: list[str], centre: float, whiten: float) -> dict:
    """Adjust the model by what it embeds of these texts; return what the mark in its folder says."""
    layers = 0
    if centre or whiten:
        layers = append_layers(model, *affine(model.encode(texts, show_progress_bar=False), centre, whiten))
    return {"centre": centre, "whiten": whiten, "layers": layers}


def load_unadjusted(folder: Path, load):
    """Return a finished model without the layers that adjust it; `load` loads a folder.

    A model that was tuned before they were part of it has none, and a file beside its weights instead.
    """
    mark = folder / MARK
    model = load(str(folder))
    if not mark.exists() and not (folder / OLD_ADJUSTMENT).exists():
        raise script.InputError(f"{mark} does not exist, so nobody knows how {folder} was adjusted; pass --overwrite.")
    for _ in range(script.read_json(mark)["layers"] if mark.exists() else 0):
        del model[-1]
    return model
