"""Which pairs are trained on, which are held out: whole documents, no text in common."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import corpus
import script
from corpus import ChunkFolder
from script import InputError, log

from .recipe import Recipe


class Split(NamedTuple):
    """The rows of the pair table that are trained on, and those of held-out documents."""

    train_rows: list[dict]
    held_rows: list[dict]

    def counts(self) -> dict:
        """Return how many pairs, documents and categories are trained on and held out."""
        return {
            "training_pairs": len(self.train_rows),
            "training_documents": len({row["paperId"] for row in self.train_rows}),
            "held_out_pairs": len(self.held_rows),
            "held_out_documents": len(self.held_out_documents()),
            "training_categories": dict(Counter(row["category"] for row in self.train_rows)),
        }

    def check_negatives(self, recipe: Recipe) -> None:
        """Refuse pairs of which no batch can hold a negative: the loss would be 0, and nothing would be learned."""
        documents = {row["paperId"] for row in self.train_rows}
        shared = set.intersection(*({row["anchor"], row["positive"]} for row in self.train_rows))
        if recipe.batch_size < 2:
            raise InputError("--batch-size 1 leaves an anchor without negatives: nothing would be learned; raise it.")
        if recipe.same_document == "mask" and len(documents) == 1:
            raise InputError(
                f"all {len(self.train_rows)} pairs to train on are of one document, {documents.pop()}, whose passages "
                "are not negatives of each other: nothing would be learned; add documents, or pass --same-document "
                "allow."
            )
        if shared:
            raise InputError(
                f"all {len(self.train_rows)} pairs to train on have a text in common, and no batch holds a text twice: "
                "nothing would be learned; check the pair table."
            )

    def digest(self) -> str:
        """Return a SHA-256 of the pairs that are trained on and of the documents that are held out."""
        trained_on = [(row["paperId"], row["anchor"], row["positive"]) for row in self.train_rows]
        return hashlib.sha256(repr((trained_on, self.held_out_documents())).encode()).hexdigest()

    def held_out_documents(self) -> list[str]:
        """Return the paperIds of the held-out documents, sorted."""
        return sorted({row["paperId"] for row in self.held_rows})


def read_training_pairs(path: str, limit: int | None) -> list[dict[str, str]]:
    """Read the pair table. InputError where a cell or a synthetic pair still waits for its paraphrase."""
    rows = corpus.read_pairs(path)[:limit]
    if not rows:
        raise InputError(f"{path} holds no pair; make it again with its script.")
    for number, row in enumerate(rows, start=1):
        waits = corpus.TO_GENERATE in (row["anchor"], row["positive"])
        if waits or (row["category"] == "synthetic-pair" and "system_prompt" not in row):
            raise InputError(
                f"{path}, pair {number} ({row['paperId']}): {row['category']} without its paraphrase; "
                "run synthetic_data_generator.py on the table first."
            )
    return rows


def is_held_out(paper_id: str, share: float, split_seed: int) -> bool:
    """Tell whether a document is kept from training: the same answer for every pair table and training seed."""
    return random.Random(f"held out {split_seed} {paper_id}").random() < share


def split_groups(rows: list[dict], metadata: str | None, column: str) -> dict[str, str]:
    """Return for each document what is held out together with it: itself, or its author (or another column's value).

    Raises:
        InputError: no such column, or the metadata lacks a document of the pair table.
    """
    documents = dict.fromkeys(row["paperId"] for row in rows)
    if column == "paperId":
        return {paper_id: paper_id for paper_id in documents}
    if metadata is None:
        raise InputError(f"--hold-out-by {column} needs the metadata: pass it with -t.")
    values = {row["paperId"]: row.get(column) for _, row in corpus.metadata_rows(metadata)}
    absent = [paper_id for paper_id in documents if values.get(paper_id) is None]
    if absent:
        raise InputError(f"{metadata} has no {column} of {script.first_few(absent)}; correct --hold-out-by or -t.")
    return {paper_id: values[paper_id].strip() or paper_id for paper_id in documents}


def split_by_document(rows: list[dict], share: float, split_seed: int, groups: dict[str, str] | None = None):
    """Return training rows and held-out rows; no document, and none of its group, has pairs in both."""
    group_of = groups or {row["paperId"]: row["paperId"] for row in rows}
    held = {paper_id for paper_id, group in group_of.items() if is_held_out(group, share, split_seed)}
    train_rows = [row for row in rows if row["paperId"] not in held]
    if share > 0 and (not held or not train_rows):
        raise InputError(
            f"--eval-fraction {share:g} puts {len(held)} of {len(group_of)} documents aside; "
            "choose a fraction that leaves some on either side."
        )
    return train_rows, [row for row in rows if row["paperId"] in held]


def held_out_texts(held_rows: list[dict], metadata: str | None, chunks: ChunkFolder | None) -> Iterator[str]:
    """Yield the texts of held-out documents: of their pairs and, where the chunk files are given, all passages."""
    for row in held_rows:
        yield from (row["anchor"], row["positive"])
    if chunks is not None:
        held = {row["paperId"] for row in held_rows}
        for document in corpus.read_metadata(metadata)[0]:
            if document.paper_id in held:
                yield from chunks.passages(document)
        chunks.log_oddities()


def without_texts(train_rows: list[dict], held_texts: Iterable[str]) -> list[dict]:
    """Return the training rows that hold none of the texts: reprints would tell what is held out."""

    def plain(text: str) -> str:
        return " ".join(text.split())

    texts_of = [{plain(row["anchor"]), plain(row["positive"])} for row in train_rows]
    trained_on = set().union(*texts_of)
    known = {text for text in map(plain, held_texts) if text in trained_on}
    kept = [row for row, texts in zip(train_rows, texts_of) if known.isdisjoint(texts)]
    if len(kept) < len(train_rows):
        log.warning("%d training pairs left out: they hold a text of a held-out document", len(train_rows) - len(kept))
    return kept


def recombined(rows: list[dict], ratio: int, seed: int) -> list[dict]:
    """Return, for each document, `ratio` times as many further pairs as it has: any two of its texts, drawn by seed.

    Neighbouring passages teach what a text speaks of, any two of a document what it shares as a whole: hand, time,
    genre. A document with a single pair has nothing to recombine, a short one fewer pairs than asked for.
    """
    texts, pairs = defaultdict(set), defaultdict(set)
    for row in rows:
        texts[row["paperId"]] |= {row["anchor"], row["positive"]}
        pairs[row["paperId"]].add(frozenset((row["anchor"], row["positive"])))
    year_of = {row["paperId"]: row["year"] for row in rows}
    added = []
    for paper_id, known in pairs.items():
        dice = random.Random(f"recombined {seed} {paper_id}")
        possible = [pair for pair in combinations(sorted(texts[paper_id]), 2) if frozenset(pair) not in known]
        for pair in dice.sample(possible, min(ratio * len(known), len(possible))):
            anchor, positive = dice.sample(pair, 2)
            cells = (paper_id, year_of[paper_id], anchor, positive, "random-pair")
            added.append(dict(zip(corpus.PAIR_COLUMNS, cells)))
    return added


def split_rows(
    rows: list[dict], recipe: Recipe, metadata: str | None = None, chunks: ChunkFolder | None = None
) -> Split:
    """Return what is trained on and what is held out; they share neither documents nor texts.

    Without chunk files, only the texts of held-out pairs are known, not all passages of their documents.

    Raises:
        InputError: the metadata lacks what --hold-out-by names, or one side would be empty.
    """
    groups = split_groups(rows, metadata, recipe.hold_out_by)
    train_rows, held_rows = split_by_document(rows, recipe.eval_fraction, recipe.split_seed, groups)
    train_rows = without_texts(train_rows, held_out_texts(held_rows, metadata, chunks))
    train_rows = train_rows + recombined(train_rows, recipe.recombine, recipe.seed)
    if not train_rows:
        raise InputError("no pair is left to train on; hold out fewer documents with --eval-fraction.")
    return Split(train_rows, held_rows)
