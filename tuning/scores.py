"""How well a model distinguishes a held-out anchor's positive from random passages: the published test."""

from __future__ import annotations

import random

FALSE_PARTNERS = 5  # a held-out anchor is scored against its positive and so many others


def binary_evaluator(rows: list[dict], split_seed: int):
    """Return the published test: each anchor with its positive (1) and with the next five rows' positives (0)."""
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

    rows = sorted(rows, key=lambda row: (row["paperId"], row["anchor"], row["positive"]))
    # In document order the next rows' positives would be of the same document: a harder, order-bound test.
    random.Random(f"partners {split_seed}").shuffle(rows)
    anchors, partners, labels = [], [], []
    for i, row in enumerate(rows):
        for shift in range(FALSE_PARTNERS + 1):
            partner = rows[(i + shift) % len(rows)]["positive"]
            if shift == 0 or partner != row["positive"]:
                anchors.append(row["anchor"])
                partners.append(partner)
                labels.append(int(shift == 0))
    return BinaryClassificationEvaluator(anchors, partners, labels, show_progress_bar=False)


def score(model, evaluator, autocast) -> dict[str, float] | None:
    """Return accuracy, F1 and average precision (by cosine, chance is 1/6), or None without held-out pairs."""
    if evaluator is None:
        return None
    with autocast():
        measured = evaluator(model)
    names = {"cosine_accuracy": "accuracy", "cosine_f1": "f1", "cosine_ap": "average_precision"}
    return {name: round(float(measured[key]), 4) for key, name in names.items()}
