"""How the compared models were trained, and which documents they did not see.

In: a training.json and a manifest.json for each tuned folder. Out: training records, each with how its vectors were
adjusted ("adjusted"), what they are joined with ("joined"), and what was asked for otherwise ("differs").
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import corpus
import script
from encoder import name_digest
from script import InputError

from .representations import Passages


def read_training(path: str) -> dict:
    """Read a training's record. InputError for a file of another kind."""
    record = script.read_json(path)
    if "held_out_documents" not in record:
        raise InputError(f"{path} is not a training.json; pass the one TuneEmbeddings.py wrote beside the model.")
    return record


def held_out_by(paths: list[str]) -> set[str]:
    """Return the paperIds that any of these trainings held out."""
    return {paper_id for path in paths for paper_id in read_training(path)["held_out_documents"]}


def read_trainings(folders: list[tuple[str, str]], paths: list[str]) -> dict[str, list[dict]]:
    """Return the training records of each tuned NAME, each with how its vectors were adjusted.

    Args:
        folders: NAME and embedding folder of each tuned model.
        paths: their training.json, in the same order.
    Raises:
        InputError: there is not one for each folder, or a file is no training record or that of another model.
    """
    if len(paths) != len(folders):
        raise InputError(
            f"{len(paths)} --training for {len(folders)} tuned folders; give one for each, in the same order."
        )
    trainings = defaultdict(list)
    for (name, folder), path in zip(folders, paths):
        record = read_training(path)
        manifest = corpus.read_manifest(folder)
        check_model(path, record, folder, manifest)
        kept = corpus.read_if_there(Path(path).with_name(corpus.KEPT)).get("differs", [])
        adjusted = adjustment(record["recipe"], manifest)
        trainings[name].append(record | {"adjusted": adjusted, "joined": manifest.get("joined"), "differs": kept})
    return dict(trainings)


def check_model(path: str, record: dict, folder: str, manifest: dict) -> None:
    """Refuse the training record of another model than the folder was embedded with; older ones don't tell."""
    trained = record.get("model_sha256")
    of_hub = name_digest(manifest.get("model", ""))  # a name says nothing of the weights
    embedded = {decade.get("model_sha256") for decade in manifest["decades"]} - {None, of_hub}
    joined = manifest.get("joined", {}).get("model_sha256", [])
    if trained and (embedded - {trained} or (joined and trained not in joined)):
        raise InputError(
            f"{path} is not the training of the model that {folder} was embedded with; pass the training.json of that "
            "model, or embed with this one."
        )
    unseen = manifest.get("held_out_documents")
    if unseen is not None and not set(record["held_out_documents"]) <= set(unseen):
        raise InputError(
            f"{folder} has counted words of documents that {path} held out; run fit_lsa.py with --training {path}, "
            "then join_embeddings.py again."
        )


def adjustment(recipe: dict, manifest: dict) -> dict[str, float]:
    """Return how far vectors were centered and whitened: as the recipe says, else as the embeddings' manifest does.

    Models adjust their vectors themselves since it is a choice of tuning; before, Apply_Tuned_Model.py did.
    """
    return {key: recipe.get(key, manifest["arguments"].get(key, 0)) for key in ("centre", "whiten")}


def held_out_documents(trainings: dict[str, list[dict]], passages: Passages) -> tuple[list[int], set[str]]:
    """Return the indices of documents that every training held out, and the paperIds that any training held out.

    The first are compared on; means and topics are fitted without the second. InputError where the first are too few.
    """
    lists = [set(record["held_out_documents"]) for of_name in trainings.values() for record in of_name]
    if not lists:
        raise InputError("no tuned model to compare; give its embedding folder, and its training.json with --training.")
    common = set.intersection(*lists)
    indices = [i for i, paper_id in enumerate(passages.paper_ids) if paper_id in common]
    if len(indices) < 2:
        raise InputError(
            "fewer than two embedded documents were held out by every training; hold out more when training."
        )
    return indices, set.union(*lists)


def described(name: str, trainings: list[dict]) -> str:
    """Return how a model was trained, in one sentence; with several seeds the first stands for all."""
    training = trainings[0]
    recipe, counts = training["recipe"], training["counts"]
    kinds = ", ".join(f"{n} {category}" for category, n in counts["training_categories"].items())
    seeds = ", ".join(str(one["recipe"]["seed"]) for one in trainings)
    minutes = " + ".join(f"{one['seconds'] / 60:.1f}" for one in trainings)
    centre, whiten = training["adjusted"]["centre"], training["adjusted"]["whiten"]
    adjusted = f"less {centre:g} of the mean, whitened to the power {whiten:g}" if centre or whiten else "not adjusted"
    differs = "; ".join(training["differs"])
    second = training["joined"]
    joined = f", joined with those of {second['models'][1]} ({second['share']:g} of the cosine)" if second else ""
    kept = f". It was kept although other settings were asked for ({differs})" if differs else ""
    return (
        f"{name}: {Path(recipe['base_model']).name}, {counts['training_pairs']} pairs from "
        f"{counts['training_documents']} documents ({kinds}); epochs {recipe['epochs']}, batch size "
        f"{recipe['batch_size']}, learning rate {recipe['learning_rate']:g}, seed {seeds}; {training['steps']} steps "
        f"on {training['device']} in {training['precision']}, {minutes} minutes; {counts['held_out_documents']} "
        f"documents held out; vectors {adjusted}{joined}{kept}."
    )
