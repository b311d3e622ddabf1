"""Small corpora for the tests: to count by hand, or in the words that the tiny encoder knows."""

from __future__ import annotations

import random
from pathlib import Path

from tiny_encoder import WORDS


class Corpus:
    """A folder with metadata.tsv and chunks/, filled by the test."""

    def __init__(self, folder: Path):
        self.folder, self.metadata, self.chunks = folder, folder / "metadata.tsv", folder / "chunks"
        self.chunks.mkdir(parents=True)
        self.rows: list[tuple[str, ...]] = []

    def add(self, paper_id: str, year, passages: int | list[str]) -> Corpus:
        """Add a document; a number of passages gives texts that name document and passage."""
        texts = [f"{paper_id} passage {i}" for i in range(passages)] if isinstance(passages, int) else passages
        (self.chunks / f"{paper_id}.txt").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(texts)))
        self.rows.append((paper_id, str(year)))
        return self.write()

    def write(self) -> Corpus:
        self.metadata.write_text("paperId\tyear\n" + "".join("\t".join(row) + "\n" for row in self.rows))
        return self

    @property
    def flags(self) -> list[str]:
        return ["-t", str(self.metadata), "-r", str(self.chunks)]


def sentences(seed: str, count: int) -> list[str]:
    """Return texts of the tiny encoder's words; a document's passages share a topic of twenty words."""
    dice = random.Random(seed)
    topic = dice.sample(range(WORDS), 20)
    return [" ".join(f"w{dice.choice(topic)}" for _ in range(40)) for _ in range(count)]


def make_word_corpus(folder: Path) -> Corpus:
    """Make twenty-four documents of 12 passages over six decades, in words the tiny encoder knows."""
    corpus = Corpus(folder)
    for i in range(24):
        corpus.add(f"doc{i:02d}", 1900 + i * 60 // 24, sentences(f"doc{i}", 12))
    return corpus
