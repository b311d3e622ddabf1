"""The topic model that embeddings are compared with: latent Dirichlet allocation by collapsed Gibbs sampling, fitted
on the passages of documents that are not held out.

In: the texts of the corpus. Out: mixtures of the embedded passages, float32, (passages, topics), rows of sum 1.
"""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log

from .representations import Passages, drawn, texts_by_decade

WORD = re.compile(r"[^\W\d_]\w+")
RAREST = 5  # passages a word must occur in
MOST_FREQUENT = 20  # words left out, because no list of stop words fits three centuries
INFERENCE_ITERATIONS = 100
DEFINITION = 1  # raise it whenever the mixtures change: those of another definition are made again


@dataclass(frozen=True)
class TopicSettings:
    """How topic models are fitted.

    Attributes:
        ready: a seed, and the folder of mixtures that fit_topics.py made with it of the same passages; see usable().
    """

    topics: int
    iterations: int  # of Gibbs sampling
    seeds: range  # one model each
    workers: int = 1  # threads of the fit; another number makes another fit
    ready: tuple[int, str] | None = None


def words_in(text: str) -> list[str]:
    """Return a text's lower-case words, in order."""
    return list(map(sys.intern, WORD.findall(text.lower())))


class Texts:
    """The texts of documents, embedded or not, read when they are first asked for.

    Args:
        held: paperIds of the documents that nothing is fitted on.
    """

    def __init__(self, documents: list[Document], chunks: ChunkFolder, held: set[str]):
        self.documents, self.chunks, self.held = documents, chunks, held

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 of all passages in order, and of which documents are held out.

        The texts are read for it alone: a minute for a corpus whose topic model takes hours, and no words in memory.
        """
        digest = hashlib.sha256(repr(sorted(self.held)).encode())
        for document in self.documents:
            digest.update(repr((document.paper_id, self.chunks.passages(document))).encode())
        return digest.hexdigest()

    @functools.cached_property
    def words(self) -> dict[str, list[list[str]]]:
        """The lower-case words of each of a document's passages, by paperId."""
        return {document.paper_id: self.read(document) for document in self.documents}

    def read(self, document: Document) -> list[list[str]]:
        """Return the lower-case words of each of a document's passages."""
        return list(map(words_in, self.chunks.passages(document)))

    def words_of(self, paper_id: str) -> list[list[str]]:
        """Return the words of one document; where they have not all been read, these alone are."""
        return self.words[paper_id] if "words" in vars(self) else self.read(self.document_of[paper_id])

    @functools.cached_property
    def document_of(self) -> dict[str, Document]:
        """The documents by paperId."""
        return {document.paper_id: document for document in self.documents}

    def fitted(self) -> list[list[str]]:
        """Return the words of each passage of the documents that are not held out."""
        return [passage for paper_id, rows in self.words.items() if paper_id not in self.held for passage in rows]


def needed_texts(
    documents: list[Document], chunks: ChunkFolder, unseen: set[str], measured: list[str], seed: int
) -> Texts:
    """Return the texts of the documents that a topic model is fitted on, drawn where there are many, and measured on.

    Args:
        documents: all of the corpus, embedded or not.
        unseen: paperIds of the documents that nothing may be fitted on.
        measured: paperIds.
    """
    seen = [i for i, document in enumerate(documents) if document.paper_id not in unseen]
    fitted = {documents[i].paper_id for i in drawn(seen, seed)}
    needed = [document for document in documents if document.paper_id in fitted.union(measured)]
    return Texts(needed, chunks, unseen.union(measured) - fitted)


def words_of_rows(words: dict[str, list[list[str]]], passages: Passages) -> list[list[str]]:
    """Return the words of each embedded passage. InputError where the chunk files hold fewer than were embedded."""
    rows = []
    for document, number in zip(passages.document, passages.number):
        paper_id = passages.paper_ids[document]
        if number >= len(words.get(paper_id, ())):
            raise InputError(f"passage {number} of {paper_id} was embedded but is not in the chunk files; embed again.")
        rows.append(words[paper_id][number])
    return rows


def check_vocabulary(fitted: list[list[str]]) -> None:
    """Refuse passages that leave no word to fit on: the library would end the process without a message."""
    frequency = Counter(word for words in fitted for word in set(words))
    if sum(count >= RAREST for count in frequency.values()) <= MOST_FREQUENT:
        raise InputError(
            f"the corpus is too small for a topic model: apart from the {MOST_FREQUENT} most frequent words, none "
            f"is in {RAREST} passages; do without it (evaluate_timeline.py: --topics 0)."
        )


def fit_and_infer(fitted: list[list[str]], wanted: list[list[str]], settings: TopicSettings, seed: int) -> np.ndarray:
    """Return the mixtures of the wanted passages, float32, (passages, topics), by topics fitted on the other list."""
    import tomotopy

    check_vocabulary(fitted)
    model = tomotopy.LDAModel(k=settings.topics, min_df=RAREST, rm_top=MOST_FREQUENT, seed=seed)
    for words in fitted:
        if words:
            model.add_doc(words)
    model.train(settings.iterations, workers=settings.workers)
    documents = [model.make_doc(words) if words else None for words in wanted]
    known = [document for document in documents if document is not None and len(document.words)]
    # Each passage is inferred with random numbers of its own, so the threads change nothing but the time.
    mixtures, _ = model.infer(known, iterations=INFERENCE_ITERATIONS, workers=script.cores())
    of_document = dict(zip(map(id, known), mixtures))
    nothing_known = np.full(settings.topics, 1 / settings.topics)
    return np.asarray([of_document.get(id(document), nothing_known) for document in documents], dtype=np.float32)


def usable(folder: str, embedded: str, settings: TopicSettings, unseen: set[str]) -> tuple[int, str] | None:
    """Return a folder's seed and the folder, if its topic model is fitted as these settings say; None, and say why not.

    Args:
        folder: made by fit_topics.py.
        embedded: an embedding folder, whose passages the mixtures have to be of.
        unseen: paperIds of the documents that the topic model must not have been fitted on.
    """
    manifest = corpus.read_manifest(folder)
    made, asked = manifest["arguments"], {"topics": settings.topics, "iterations": settings.iterations}
    faults = [
        f"it has {name} {made.get(name)}, not {value}" for name, value in asked.items() if made.get(name) != value
    ]
    if made.get("seed") not in settings.seeds:
        faults.append(f"its seed is {made.get('seed')}")
    if any(record.get("topic_definition") != DEFINITION for record in manifest["decades"]):
        faults.append("it was fitted by another version")
    if unseen - set(manifest.get("held_out_documents", ())):
        faults.append("it was fitted on documents that a model held out")
    if texts_by_decade(folder) != texts_by_decade(embedded):
        faults.append(f"it was made of other passages than {embedded}")
    if faults:
        log.info("%s is not used, a topic model is fitted: %s", folder, "; ".join(faults))
        return None
    return made["seed"], folder


def read_mixtures(folder: str, passages: Passages) -> np.ndarray:
    """Return the mixtures of these passages, in their order, from a folder that holds more: as topic_mixtures()."""
    wanted, number_of, rows, found = set(passages.paper_ids), passages.number.tolist(), [], []
    for paper_ids, numbers, mixtures in corpus.each_decade(folder):
        kept = [i for i, paper_id in enumerate(paper_ids) if paper_id in wanted]
        found.append(mixtures[kept])
        rows += [(paper_ids[i], int(numbers[i])) for i in kept]
    if rows != [(passages.paper_ids[document], number) for document, number in zip(passages.document, number_of)]:
        raise InputError(f"{folder} does not hold the embedded passages in their order; delete it and run make topics.")
    return np.concatenate(found)


def topic_mixtures(folder: Path, passages: Passages, texts: Texts, settings: TopicSettings, seed: int) -> np.ndarray:
    """Return the mixtures of the embedded passages by one topic model, from the folder if it was fitted before."""
    if settings.ready and seed == settings.ready[0]:
        return read_mixtures(settings.ready[1], passages)
    rows = zip(passages.document.tolist(), passages.number.tolist())
    embedded = repr([(passages.paper_ids[document], number) for document, number in rows])
    key = {
        "definition": DEFINITION,
        "topics": settings.topics,
        "iterations": settings.iterations,
        "seed": seed,
        "texts_sha256": texts.digest,
        "passages_sha256": hashlib.sha256(embedded.encode()).hexdigest(),
    }
    stem = folder / f"{settings.topics}-{seed}"
    record, store = stem.with_suffix(".json"), stem.with_suffix(".npy")
    if record.exists() and store.exists() and script.read_json(record) == key:
        return np.load(store)
    log.info("fitting a topic model of %d topics, seed %d", settings.topics, seed)
    mixtures = fit_and_infer(texts.fitted(), words_of_rows(texts.words, passages), settings, seed)
    record.unlink(missing_ok=True)
    with script.replacing(store) as beside, open(beside, "wb") as handle:
        np.save(handle, mixtures)
    script.write_json(record, key)
    return mixtures
