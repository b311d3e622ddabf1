"""Represent passages by the words they have (latent semantic analysis), in the form of embeddings, a file per decade.

Reads the metadata and the folder of chunk files. Counts the words of passages (tf-idf), reduces the counts to 100
components, and adjusts the vectors as TuneEmbeddings.py adjusts a model's: half their mean is subtracted, and the
strongest directions are softened. All of this is fitted without the documents that --training lists as held out. Writes
<output>/1790.parquet and so on (paperId, chunknumber, embedding) and last manifest.json. A passage none of whose words
is counted gets zeros. join_embeddings.py joins these vectors with a tuned model's; make report TRAIN=para10+lsa does
both. What was made from the same texts with the same settings is left as it is.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import numpy as np

import corpus
import lock
import script
from corpus import ChunkFolder, Document
from encoder import unit_rows
from script import InputError, log

EXAMPLE = "python fit_lsa.py -t metadata.tsv -r chunks --training models/para10/training.json -o embeddings/lsa"
CENTRE, WHITEN = 0.5, 0.25  # of the vectors: the defaults of TuneEmbeddings.py
DEFINITION = 1  # grows when the same texts and settings give other vectors


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    script.add_corpus_arguments(arguments)
    add = arguments.add_argument
    add("-o", "--output", required=True, metavar="FOLDER", help="where the decades' files go")
    held = "fit nothing on what this training.json held out; may be repeated"
    add("--training", action="append", default=[], metavar="JSON", help=held)
    add("--held-out-of", metavar="JSON", help="write only documents that this training.json held out")
    add("--seed", type=int, default=0, help="of the fit (default %(default)s)")
    return arguments.parse_args(argv)


class WordVectors:
    """Vectors of texts by their words. InputError where the texts that they are fitted on have too few."""

    def __init__(self, texts, seed: int):
        from report.lexical import Lexical, spaced
        from tuning.adjust import MOST_TEXTS, affine

        try:
            self.lexical = Lexical(texts, seed)
        except ValueError:
            fault = "hardly any word is in two of the passages, so counted words can't represent them"
            raise InputError(f"{fault}; go on without, as with TRAIN=para10 instead of para10+lsa.") from None
        fitted = [document.paper_id for document in texts.documents if document.paper_id not in texts.held]
        passages = [words for paper_id in fitted for words in spaced(texts.words_of(paper_id))]
        some = random.Random(seed).sample(passages, min(MOST_TEXTS, len(passages)))
        self.matrix, self.bias = affine(self.lexical.vectors(some), CENTRE, WHITEN)

    def of(self, texts: list[str]) -> np.ndarray:
        """Return a row for each text, of length 1, or zeros for one whose words are not counted: float32."""
        from report.topics import words_in

        vectors = self.lexical.vectors(map(words_in, texts))
        known = vectors.any(axis=1, keepdims=True)
        return (unit_rows(vectors @ self.matrix + self.bias) * known).astype(np.float32)


def fit(args, documents: list[Document], started: float) -> None:
    """Write the folder, unless it is there already, made from the same texts with the same settings."""
    from report.topics import needed_texts  # a second, which --help must not take
    from report.trainings import held_out_by

    folder, chunks = Path(args.output), ChunkFolder(args.rootfolder, args.encoding_errors)
    held = held_out_by(args.training)
    texts = needed_texts(documents, chunks.afresh(), held, [], args.seed)
    settings = {"format": "parquet", "definition": corpus.DEFINITION, "lsa_definition": DEFINITION}
    settings |= {"seed": args.seed, "fitted_sha256": texts.digest}
    if len(texts.chunks.missing) == len(texts.documents):
        raise InputError(f"{args.rootfolder} has no chunk file of the {len(documents)} documents; check -r.")
    if args.held_out_of:
        documents = corpus.only_held_out(documents, args.held_out_of)
    decades, manifest = corpus.by_decade(documents), folder / corpus.MANIFEST
    if manifest.exists() and corpus.are_written(folder, decades, chunks, settings):
        log.info("%s: there already, made from the same texts with the same settings", folder)
        manifest.touch()  # so that make sees it is up to date
        return
    log.info("fitting counted words, %d documents left out", len(held))
    vectors = WordVectors(texts, args.seed)
    manifest.unlink(missing_ok=True)
    corpus.write_decades(folder, decades, chunks, settings, vectors.of)
    chunks.log_oddities()
    found = corpus.read_records(folder)
    facts = corpus.manifest_facts("latent semantic analysis", [found[decade] for decade in decades])
    facts["held_out_documents"] = sorted(held)
    script.write_json(manifest, script.run_record(args, started, **facts))
    log.info("%d decades in %s", len(decades), folder)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    documents = corpus.documents_of_years(args.metadatapath, args.startyear, args.endyear)
    corpus.check_kind(Path(args.output), "lsa_definition")
    with lock.alone_in(args.output):
        fit(args, documents, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
