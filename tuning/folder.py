"""The model's folder: what is in it, what of it is complete, what it was made with."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import corpus
import script
from encoder import OLD_ADJUSTMENT
from script import InputError, log

from .recipe import ADJUSTMENT, LACKED, Recipe

RECIPE = "recipe.json"  # what the checkpoints beside it were made with
WHOLE = "complete.json"  # written into a checkpoint once all of it is on disk
OVERWRITES = "overwrites.json"  # says that --overwrite began the training below
STOPPED = "stopped.json"  # says that the training below ended on a signal and waits to be resumed
FINAL = "final"  # the tuned model
MARK = "adjustment.json"  # in it: how much was adjusted, and how many layers at its end do it

# What a folder holds, seen from a recipe.
ADJUSTS = "only adjusts it anew"  # what --check says of a run on OTHER_ADJUSTMENT
UNFINISHED, OTHER_ADJUSTMENT, OTHER_SETTINGS, FINISHED = "unfinished", "other adjustment", "other settings", "finished"


def state_of(folder: Path, recipe: Recipe, resume: bool, overwrite: bool, keep: bool = False) -> str:
    """Return what the folder holds, seen from this recipe.

    UNFINISHED; OTHER_ADJUSTMENT: trained by this recipe, adjusted by another; OTHER_SETTINGS: finished with these pairs
    and other settings, and to be kept; FINISHED.

    Raises:
        InputError: the folder holds another training, or an unfinished one and neither flag says what to do.
    """
    if overwrite and not goes_on(folder, recipe, resume, overwrite):
        return UNFINISHED
    if not (folder / RECIPE).exists():
        # A training stopped before its first step has left nothing but the word that it was.
        if set(earlier_products(folder)) - {folder / STOPPED}:
            raise InputError(f"{folder} holds a model of unknown settings; choose another -o, or --overwrite it.")
        return UNFINISHED
    finished = (folder / corpus.TRAINING_RECORD).exists() and (folder / FINAL).is_dir()
    changed = changed_settings(folder, recipe)
    if set(changed) - set(ADJUSTMENT):
        is_older = (folder / FINAL / OLD_ADJUSTMENT).exists()  # it has to be adjusted before anybody can use it
        if finished and keep and "pairs_sha256" not in changed and not is_older:
            return OTHER_SETTINGS
        refuse(folder, [told for name, told in changed.items() if name not in ADJUSTMENT])
    if not finished and checkpoints(folder) and not resume:
        raise InputError(f"{folder} holds an unfinished training; pass --resume to go on or --overwrite to delete it.")
    if not finished:
        return UNFINISHED
    return OTHER_ADJUSTMENT if changed else FINISHED


def goes_on(folder: Path, recipe: Recipe, resume: bool, overwrite: bool) -> bool:
    """Tell whether a run goes on from the folder's checkpoints, if there are any.

    With both flags it does where --overwrite began them, by this recipe: the same command again, after it was stopped.
    """
    if not overwrite:
        return resume
    is_begun = (folder / OVERWRITES).exists() and not (folder / corpus.TRAINING_RECORD).exists()
    return resume and is_begun and not set(changed_settings(folder, recipe)) - set(ADJUSTMENT)


def changed_settings(folder: Path, recipe: Recipe) -> dict[str, str]:
    """Return which settings the folder's recipe has otherwise, by name, in words: "epochs 9 → 3"."""
    before = LACKED | script.read_json(folder / RECIPE)
    if (folder / FINAL).is_dir():
        before |= adjusted_by(folder)
    return {name: recipe.change(name, before) for name in recipe.differences(before)}


def adjusted_by(folder: Path) -> dict[str, float | None]:
    """Return how the finished model is adjusted; None for both where model and record disagree, as after a kill."""
    mark = corpus.read_if_there(folder / FINAL / MARK)
    record = corpus.read_if_there(folder / corpus.TRAINING_RECORD).get("recipe", {})
    of_model, of_record = ({name: told.get(name) for name in ADJUSTMENT} for told in (mark, record))
    return of_model if of_model == of_record else dict.fromkeys(ADJUSTMENT)


def refuse(folder: Path, changed: list[str]) -> None:
    """InputError that names the settings in which another training differs."""
    raise InputError(
        f"{folder} holds a training with other settings ({'; '.join(changed)}); choose another -o, move or delete the "
        "folder, or pass --overwrite."
    )


def take_as_it_is(folder: Path, recipe: Recipe, look_only: bool) -> None:
    """Take a finished model, say so, and note for the report in which settings it is not what was asked for."""
    changed = list(changed_settings(folder, recipe).values())
    if changed:
        what = "; ".join(changed)
        log.warning("%s was trained with other settings (%s) and is kept; --overwrite retrains it", folder, what)
    else:
        log.info("%s was trained with these very pairs and settings: nothing to do (--overwrite trains again)", folder)
    if look_only or not script.is_main_process():
        return
    if changed:
        script.write_json(folder / corpus.KEPT, {"differs": changed})
    else:
        (folder / corpus.KEPT).unlink(missing_ok=True)
    (folder / corpus.TRAINING_RECORD).touch()  # newer than the pairs, so that make believes it


def earlier_products(folder: Path) -> list[Path]:
    """Return what an earlier training left in the folder, but for its recipe."""
    names = (corpus.TRAINING_RECORD, FINAL, STOPPED, corpus.KEPT, OVERWRITES)
    return [path for path in [*(folder / name for name in names), *checkpoints(folder)] if path.exists()]


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write down what the folder's checkpoints and model are made with."""
    (folder / corpus.KEPT).unlink(missing_ok=True)
    script.write_json(folder / RECIPE, dataclasses.asdict(recipe))


def prepare(folder: Path, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Make the folder ready to train: with the checkpoints to go on from, or without an earlier training."""
    if not (goes_on(folder, recipe, resume, overwrite) and newest_whole_checkpoint(folder)):
        start_anew(folder, recipe, overwrite)
    (folder / STOPPED).unlink(missing_ok=True)


def start_anew(folder: Path, recipe: Recipe, overwrite: bool) -> None:
    """Delete an earlier training and write the new recipe; the old one stays until all it tells about is gone."""
    for old in earlier_products(folder):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_recipe(folder, recipe)
    if overwrite:
        script.write_json(folder / OVERWRITES, {})


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, complete or torn, by step."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, and delete torn ones after it."""
    for path in reversed(checkpoints(folder)):
        if (path / WHOLE).exists():
            return path
        shutil.rmtree(path)
    return None


def write_model_card(folder: Path, recipe: Recipe) -> None:
    """Write a README.md without a word of the corpus; the library's own card quotes training passages."""
    base = Path(recipe.base_model).name
    cells = dataclasses.asdict(recipe) | {"base_model": base}
    settings = "".join(f"| {name} | {value} |\n" for name, value in cells.items())
    (folder / "README.md").write_text(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n"
        f"# {base}, tuned on a corpus\n\nMade by TuneEmbeddings.py with Multiple Negatives Ranking Loss. "
        "Load it with `SentenceTransformer(path)`. training.json, one folder up, has counts and scores.\n\n"
        f"| setting | value |\n|---|---|\n{settings}",
        encoding="utf-8",
    )


def save_model(model, folder: Path, recipe: Recipe) -> None:
    """Write a model with our card, and with the code that its layers bring, which the library leaves out."""
    from transformers.dynamic_module_utils import custom_object_save

    model.save_pretrained(str(folder), create_model_card=False)
    write_model_card(folder, recipe)
    for layer in model:
        if type(layer).__module__.startswith("transformers_modules."):
            custom_object_save(layer, folder)


def save_final(model, folder: Path, recipe: Recipe, adjusted: dict) -> None:
    """Write <folder>/final beside its name and rename it."""
    beside = folder / ".final.partial"
    shutil.rmtree(beside, ignore_errors=True)
    save_model(model, beside, recipe)
    script.write_json(beside / MARK, adjusted)
    for path in beside.rglob("*.safetensors"):  # the library makes them readable by their owner alone
        path.chmod((beside / "README.md").stat().st_mode)
    script.take_place(beside, folder / FINAL)
