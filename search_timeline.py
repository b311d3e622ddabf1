"""Find the passages nearest to a sentence in every decade: how each age spoke of it.

Reads a model and the embeddings made with it. Prints, for each decade, the nearest passage: its cosine, year, document,
and number in the document, and the title where the metadata has one. With -r it also prints how the passage begins.
A passage is numbered from 0. Decades are read in turn, so memory holds a few of them at a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import corpus
import script
from corpus import DecadeFile, Document
from encoder import Encoder, EncoderSettings, model_digest
from script import InputError

if TYPE_CHECKING:  # numpy costs 0.1 s: --help must not pay for it
    import numpy as np

EXAMPLE = 'python search_timeline.py "the price of wheat" -m models/para10/final -d embeddings/para10 -t metadata.tsv'
AHEAD = 3  # decades read before they are needed; 100,000 passages of 768 numbers are 0.3 GB


class Found(NamedTuple):
    """A passage near the sentence."""

    cosine: float
    document: Document
    number: int  # of the passage in its document, from 0


# ---------------------------------------------------------------- reading


def check_model(model: str, folder: str) -> None:
    """Refuse a model that did not make these embeddings: its vectors have other directions."""
    if not (Path(folder) / corpus.MANIFEST).exists():
        return  # embeddings from elsewhere say nothing of their model
    digest, manifest = model_digest(model), corpus.read_manifest(folder)
    if joined := manifest.get("joined"):
        raise InputError(
            f"{folder} has the vectors of {' and '.join(joined['models'])} in one; search those of one model."
        )
    for record in manifest["decades"]:
        if record["passages"] and record.get("model_sha256") not in (digest, None):
            raise InputError(f"-m {model} is not the model that embedded {folder}; its manifest.json names that model.")


def documents_by_id(path: str) -> tuple[dict[str, Document], dict[str, str]]:
    """Return the metadata's documents and their titles, by paperId; titles are empty where there is no such column."""
    documents, _ = corpus.read_metadata(path)
    titles = {row["paperId"]: row.get("title", "") for _, row in corpus.metadata_rows(path)}
    return {document.paper_id: document for document in documents}, titles


class ReadAhead:
    """The contents of decade files, in order; the next ones are read in the background, the first from now on."""

    def __init__(self, files: list[DecadeFile], readers: ThreadPoolExecutor):
        self.waiting, self.readers = iter(files), readers
        self.coming = deque(self.start(AHEAD))

    def start(self, most: int) -> list[Future]:
        return [self.readers.submit(corpus.read_embeddings, file.path) for file in islice(self.waiting, most)]

    def __iter__(self) -> Iterator[tuple]:
        while self.coming:
            found = self.coming.popleft().result()
            self.coming += self.start(1)
            yield found


# ---------------------------------------------------------------- searching


def embed(sentence: str, model: str) -> np.ndarray:
    """Return the sentence's vector of length 1, float32, (dimensions,).

    On the processor: a GPU takes seconds to wake, one sentence takes hundredths.
    """
    from tqdm import tqdm

    encoder = Encoder(EncoderSettings(model, "cpu", "fp32", 1, None, "float32"))
    vector = encoder.encode([sentence], tqdm(disable=True))[0]
    return vector / (vector @ vector) ** 0.5


def nearest(sentence: np.ndarray, found: tuple, documents: dict[str, Document], most: int) -> list[Found]:
    """Return the passages of one decade with the largest cosines, largest first.

    Args:
        sentence: float32, (dimensions,), of length 1.
        found: paperIds; passage numbers, int, (passages,); vectors, float32, (passages, dimensions).
    """
    import numpy as np

    paper_ids, numbers, vectors = found
    if vectors.shape[1] != len(sentence):
        raise InputError(f"the embeddings have {vectors.shape[1]} dimensions and the model {len(sentence)}; check -m.")
    cosines = vectors @ sentence
    cosines /= np.maximum(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)), 1e-30)
    nearest_first = np.argsort(-cosines, kind="stable")
    known = (row for row in nearest_first if paper_ids[row] in documents)
    return [Found(float(cosines[row]), documents[paper_ids[row]], int(numbers[row])) for row in islice(known, most)]


# ---------------------------------------------------------------- showing


def lines_of(decade: int, found: list[Found], titles: dict[str, str], chunks: corpus.ChunkFolder | None):
    """Yield the lines that show a decade's passages, each as wide as the screen at most."""
    width = shutil.get_terminal_size((120, 24)).columns
    for place, (cosine, document, number) in enumerate(found):
        label = f"{decade}s" if place == 0 else ""
        title = f"  {titles[document.paper_id]}" if titles[document.paper_id] else ""
        yield fitted(f"{label:>6}  {cosine:5.2f}  {document.year}  {document.paper_id}-{number}{title}", width)
        if chunks is not None:
            passages = chunks.passages(document)
            text = passages[number] if number < len(passages) else "(its chunk file no longer has this passage)"
            yield fitted(f"{'':21}{text}", width)


def fitted(line: str, width: int) -> str:
    """Return a line as one of at most `width` characters."""
    line = line.rstrip().replace("\t", " ")
    return line if len(line) <= width else line[: width - 1] + "…"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("sentence", help="what to look for, in quotation marks")
    add("-m", "--modelpath", required=True, metavar="MODEL", help="the model that made the embeddings")
    add("-d", "--embeddings", required=True, metavar="FOLDER", help="embeddings, from Apply_Tuned_Model.py")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-r", "--rootfolder", metavar="FOLDER", help="chunk files: also show how each passage begins")
    add("-n", "--nearest", type=script.positive_int, default=1, metavar="N", help="a decade (default %(default)s)")
    script.add_encoding_errors(arguments)
    args = arguments.parse_args(argv)
    if not args.sentence.strip():
        arguments.error("the sentence is empty")
    return args


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    documents, titles = documents_by_id(args.metadatapath)
    chunks = corpus.ChunkFolder(args.rootfolder, args.encoding_errors) if args.rootfolder else None
    files = corpus.find_decades(args.embeddings)
    check_model(args.modelpath, args.embeddings)
    with ThreadPoolExecutor(min(AHEAD, os.cpu_count() or 1)) as readers:
        decades = ReadAhead(list(files.values()), readers)  # while the model is loaded
        sentence = embed(args.sentence, args.modelpath)
        for decade, found in zip(files, decades):
            for line in lines_of(decade, nearest(sentence, found, documents, args.nearest), titles, chunks):
                print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
