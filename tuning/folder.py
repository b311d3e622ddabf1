"""The model's folder: what is in it, what of it is whole, what it was made with."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import corpus
import script
from script import InputError, log

RECIPE = "recipe.json"  # what the checkpoints beside it were made with
WHOLE = "complete.json"  # written into a checkpoint once all of it is on disk
BEST = "best.pt"  # under --keep best: the weights of the best epoch so far
STOPPED = "stopped.json"  # says that the training below ended on a signal and waits to be gone on with


def check_output(folder: Path, recipe: dict, resume: bool, overwrite: bool) -> bool:
    """Return whether the finished model of this very recipe is there already.

    Raises:
        InputError: the folder holds another training, or an unfinished one and neither flag says what to do.
    """
    if overwrite:
        return False
    if not (folder / RECIPE).exists():
        # A training stopped before its first step has left nothing but the word that it was.
        if set(earlier_products(folder)) - {folder / STOPPED}:
            raise InputError(f"{folder} holds a model of unknown settings; choose another -o, or --overwrite it.")
        return False
    before = script.read_json(folder / RECIPE)
    changed = [name for name, value in recipe.items() if before.get(name) != value]
    if changed:
        what = "; ".join(
            "other pairs" if name == "pairs_sha256" else f"{name} {before.get(name)} → {recipe[name]}"
            for name in changed
        )
        raise InputError(
            f"{folder} holds a training with other settings ({what}); choose another -o, move or delete the folder, or "
            "pass --overwrite."
        )
    if (folder / corpus.TRAINING_RECORD).exists() and (folder / "final").is_dir():
        return True
    if checkpoints(folder) and not resume:
        raise InputError(f"{folder} holds an unfinished training; pass --resume to go on or --overwrite to delete it.")
    return False


def earlier_products(folder: Path) -> list[Path]:
    """Return what an earlier training left in the folder, but for its recipe."""
    products = [folder / name for name in (corpus.TRAINING_RECORD, "final", STOPPED, BEST)] + checkpoints(folder)
    return [path for path in products if path.exists()]


def start_anew(folder: Path, recipe: dict) -> None:
    """Delete an earlier training and write the new recipe; the old one stays until all it tells about is gone."""
    for old in earlier_products(folder):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    script.write_json(folder / RECIPE, recipe)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, whole or torn, by step."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, and delete torn ones after it."""
    for path in reversed(checkpoints(folder)):
        if (path / WHOLE).exists():
            return path
        shutil.rmtree(path)
    return None


def write_model_card(folder: Path, recipe: dict) -> None:
    """Write a README.md without a word of the corpus; the library's own card quotes training passages."""
    base = Path(recipe["base_model"]).name
    settings = "".join(f"| {name} | {base if name == 'base_model' else value} |\n" for name, value in recipe.items())
    (folder / "README.md").write_text(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n"
        f"# {base}, tuned on a corpus\n\nMade by TuneEmbeddings.py with Multiple Negatives Ranking Loss. "
        "Load it with `SentenceTransformer(path)`. training.json, one folder up, has counts and scores.\n\n"
        f"| setting | value |\n|---|---|\n{settings}",
        encoding="utf-8",
    )


class BestEpoch:
    """Under --keep best, remembers on disk the weights that did best on the validation documents."""

    def __init__(self, folder: Path, measure):
        """`measure` gives a model's average precision; None to keep the last epoch whatever it is."""
        self.path, self.measure, self.scores = folder / BEST, measure, {}

    def consider(self, model, epoch: int) -> None:
        """Score the model after an epoch and keep its weights if none were better."""
        import torch

        if self.measure is None:
            return
        self.scores[epoch] = self.measure(model)
        log.info("epoch %d: average precision %.4f on the validation documents", epoch, self.scores[epoch])
        before = torch.load(self.path)["score"] if self.path.exists() else -1.0
        if self.scores[epoch] > before:
            with script.replacing(self.path) as beside:
                torch.save({"score": self.scores[epoch], "epoch": epoch, "weights": model.state_dict()}, beside)

    def restore(self, model) -> int | None:
        """Give the model the best epoch's weights; return which epoch that was, None for the last."""
        import torch

        if self.measure is None:
            return None
        kept = torch.load(self.path)
        model.load_state_dict(kept["weights"])
        return kept["epoch"]


def save_final(model, folder: Path, recipe: dict, adjustment: dict) -> None:
    """Write <folder>/final beside its name and rename it."""
    from . import adjust

    beside, final = folder / ".final.partial", folder / "final"
    for old in (beside, final):
        shutil.rmtree(old, ignore_errors=True)
    model.save_pretrained(str(beside), create_model_card=False)
    write_model_card(beside, recipe)
    adjust.save(adjustment, beside)
    for path in beside.rglob("*.safetensors"):  # the library makes them readable by their owner alone
        path.chmod((beside / "README.md").stat().st_mode)
    beside.rename(final)
