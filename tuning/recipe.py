"""The recipe of a training: all that decides what the model becomes, and the published settings beside the defaults."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass

from encoder import model_digest
from script import file_digest

# What --recipe sets; any flag of its own goes before. benchmarks/TUNING.md explains the defaults.
RECIPES = {
    "default": {
        "epochs": 3,
        "batch_size": 80,
        "learning_rate": 5e-5,
        "recombine": 0,
        "same_document": "mask",
        "symmetric": True,
        "attention_dropout": False,
        "centre": 0.5,
        "whiten": 0.25,
    },
    # The published script drew its batches in document order, the same in every epoch, by a fault of its library; here
    # they are shuffled, and held out are documents, not pairs.
    "replication": {
        "epochs": 9,
        "batch_size": 80,
        "learning_rate": 5e-5,
        "recombine": 0,
        "same_document": "allow",
        "symmetric": False,
        "attention_dropout": True,
        "centre": 0.0,
        "whiten": 0.0,
    },
}
ADJUSTMENT = ("centre", "whiten")  # what is done to the trained model, and can be done anew without training
# What recipes of earlier versions also held, and what it was unless a flag said otherwise.
FORMERLY = {"batches": "any", "keep": "last", "matryoshka": None}
LACKED = {"attention_dropout": True}  # what recipes of earlier versions don't say, and what was true of them
# What it means where a digest differs; recipes of earlier versions don't have them all.
DIGESTS = {
    "pairs_sha256": "other pairs",
    "base_model_sha256": "another base model of that name",
    "split_sha256": "other documents held out, or other pairs left out because of them",
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the model becomes; a checkpoint is continued only under the same recipe.

    Each field has the meaning of the flag of its name. The digests are of the pair table, of the base model (where it
    is a folder, else of its name) and of which pairs and documents are trained on and held out. Lengths are in tokens,
    batch sizes and limits in pairs, eval_fraction is a share of documents.
    """

    pairs_sha256: str
    base_model: str
    base_model_sha256: str
    epochs: int
    batch_size: int
    learning_rate: float
    recombine: int
    same_document: str
    symmetric: bool
    attention_dropout: bool
    centre: float
    whiten: float
    mini_batch_size: int | None
    scale: float
    max_seq_length: int | None
    prompt: str | None
    precision: str
    limit: int | None
    eval_fraction: float
    split_seed: int
    hold_out_by: str
    seed: int
    split_sha256: str | None = None  # known once the pairs are split

    def differences(self, before: dict) -> list[str]:
        """Return the names of what is other than in an earlier recipe, as read from its file."""
        ours = dataclasses.asdict(self)
        told = [name for name in {**ours, **before} if before.get(name) is not None or name not in DIGESTS]
        return [name for name in told if before.get(name) != ours.get(name, FORMERLY.get(name))]

    def change(self, name: str, before: dict) -> str:
        """Return what is other than in an earlier recipe under this name, in words."""
        return DIGESTS.get(name) or f"{name} {before.get(name)} → {getattr(self, name, None)}"


def recipe_of(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the flags ask for."""
    asked = {field.name: getattr(args, field.name) for field in dataclasses.fields(Recipe) if field.name not in DIGESTS}
    return Recipe(pairs_sha256=file_digest(args.datasource), base_model_sha256=model_digest(args.base_model), **asked)
