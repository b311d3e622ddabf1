"""A synthetic corpus of any size, in the proportions of the published one: 40,000 documents, 800,000 passages.

The years 1900 to 2017 have more and more documents, so that leveling keeps four pairs in ten. Words are Zipfian, and
which words are frequent drifts with the years; each document has some words of its own, so that neighboring passages
resemble each other. One passage in 50 has a quotation mark, a tab, or a letter outside ASCII.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

FIRST_YEAR, LAST_YEAR = 1900, 2017
GROWTH = 3.0  # the last year has e³ times as many documents as the first
PASSAGES, WORDS = 20, 380  # of a document; of a passage
VOCABULARY = 30_000
DRIFT = 20  # ranks by which frequent words change places from one year to the next
OWN_WORDS, OWN_SHARE = 40, 0.15  # of a document; of its words
AUTHORS_EACH = 4  # documents of an author, about


SYLLABLES = ["".join(letters) for letters in itertools.product("bcdfghjklmnpqrstvwxz", "aeiou", "nrst")]


def vocabulary() -> np.ndarray:
    """Return words of one or two syllables, as objects, the most frequent first."""
    count = len(SYLLABLES)
    longer = (SYLLABLES[i % count] + SYLLABLES[i // count] for i in range(VOCABULARY - count))
    return np.array([*SYLLABLES, *longer], dtype=object)


def years_of(documents: int) -> np.ndarray:
    """Return the documents' years, ascending."""
    position = (np.arange(documents) + 0.5) / documents
    growth = np.log1p(position * np.expm1(GROWTH)) / GROWTH
    return (FIRST_YEAR + growth * (LAST_YEAR - FIRST_YEAR + 1)).astype(int)


def zipfian() -> np.ndarray:
    """Return the cumulative probabilities of the words."""
    weights = 1 / (np.arange(VOCABULARY) + 2.7)
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1
    return cumulative


def document_texts(year: int, words: np.ndarray, cumulative: np.ndarray, dice) -> list[str]:
    """Return one document's passages."""
    shape = PASSAGES, WORDS
    ranks = np.searchsorted(cumulative, dice.random(shape))
    # The 200 most frequent words stay; the others move up and down with the years.
    moved = (ranks + DRIFT * (year - FIRST_YEAR)) % VOCABULARY
    chosen = np.where(ranks < 200, ranks, moved)
    own = dice.integers(0, VOCABULARY, OWN_WORDS)[dice.integers(0, OWN_WORDS, shape)]
    chosen = np.where(dice.random(shape) < OWN_SHARE, own, chosen)
    return [" ".join(row) for row in words[chosen].tolist()]


def make_corpus(folder: Path, documents: int) -> None:
    """Write metadata.tsv (paperId, year, author) and chunks/."""
    (folder / "chunks").mkdir(parents=True)
    dice, words, cumulative = np.random.default_rng(0), vocabulary(), zipfian()
    rows = ["paperId\tyear\tauthor"]
    for i, year in enumerate(years_of(documents).tolist()):
        texts = document_texts(year, words, cumulative, dice)
        if i % 3 == 0:
            texts[i % PASSAGES] += ' said "Zoë"\tonce'
        lines = "".join(f"{number}\t{text}\n" for number, text in enumerate(texts))
        (folder / f"chunks/d{i}.txt").write_text(lines, encoding="utf-8")
        rows.append(f"d{i}\t{year}\tauthor {dice.integers(documents // AUTHORS_EACH + 1)}")
    (folder / "metadata.tsv").write_text("\n".join(rows) + "\n")


def make_encoder(folder: Path, hidden: int, layers: int, dimensions: int | None = None, tokens: int = 512) -> Path:
    """Write a SentenceTransformer with random weights that reads so many tokens; return its folder.

    Frequent words are one token, rare ones two. With `dimensions` a last layer makes vectors of as many.
    """
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *vocabulary()[:20_000], *(f"##{syllable}" for syllable in SYLLABLES)]
    tokenizer = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)})
    config = BertConfig(vocab_size=len(pieces), hidden_size=hidden, num_hidden_layers=layers,
                        num_attention_heads=max(1, hidden // 64), intermediate_size=4 * hidden)  # fmt: skip
    BertModel(config).save_pretrained(folder / "parts")
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **names).save_pretrained(folder / "parts")
    modules = [Transformer(str(folder / "parts"), max_seq_length=tokens), Pooling(hidden)]
    if dimensions:
        modules.append(Dense(hidden, dimensions))
    model = SentenceTransformer(modules=[*modules, Normalize()], device="cpu")
    model.save(str(folder / "model"), create_model_card=False)
    return folder / "model"
