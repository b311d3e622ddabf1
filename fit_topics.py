"""Fit a topic model to the corpus and write its mixtures in the form of embeddings, one file per decade.

Reads the metadata and the folder of chunk files. Fits latent Dirichlet allocation to the passages (tomotopy, as
evaluate_timeline.py does), without the documents that a training.json lists as held out; then infers the mixture of
topics of every passage, fitted on or not. Writes <output>/1790.parquet and so on (paperId, chunknumber, embedding: the
shares of the topics, which sum to 1) and last manifest.json. calc_precocity_for_embeddings.py --distance kl compares
them. What was made from the same texts with the same settings is left as it is.
"""

from __future__ import annotations

import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np

import corpus
import lock
import script
from corpus import ChunkFolder, Document
from script import log

EXAMPLE = "python fit_topics.py -t metadata.tsv -r chunks --topics 250 --training models/para10/training.json -o topics"


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    script.add_corpus_arguments(arguments)
    add, count = arguments.add_argument, script.positive_int
    add("-o", "--output", required=True, metavar="FOLDER", help="where the decades' files go")
    held = "leave out of the fit what this training.json held out; may be repeated"
    add("--training", action="append", default=[], metavar="JSON", help=held)
    add("--topics", type=count, default=250, metavar="N", help="(default %(default)s, as in the paper)")
    add("--iterations", type=count, default=400, metavar="N", help="of Gibbs sampling (default %(default)s)")
    add("--seed", type=int, default=0, help="of the fit (default %(default)s)")
    threads = "threads of the fit; another number makes another fit (default %(default)s)"
    add("--workers", type=count, default=1, metavar="N", help=threads)
    return arguments.parse_args(argv)


def fit(args, decades: dict[int, list[Document]], started: float) -> None:
    """Write the folder, unless it is there already, made from the same texts with the same settings."""
    from report.topics import DEFINITION, Texts, TopicSettings, fit_and_infer  # a second, which --help must not take
    from report.trainings import held_out_by

    folder, chunks = Path(args.output), ChunkFolder(args.rootfolder, args.encoding_errors)
    documents = [document for of_decade in decades.values() for document in of_decade]
    held = held_out_by(args.training)
    texts = Texts(documents, chunks.afresh(), held)
    settings = {"format": "parquet", "definition": corpus.DEFINITION, "topic_definition": DEFINITION}
    settings |= {name: getattr(args, name) for name in ("topics", "iterations", "seed")}
    settings["corpus_sha256"] = texts.digest
    if (folder / corpus.MANIFEST).exists() and corpus.are_written(folder, decades, chunks, settings):
        log.info("%s: there already, made from the same texts with the same settings", folder)
    else:
        log.info("fitting %d topics, %d documents left out", args.topics, len(texts.held & texts.words.keys()))
        how = TopicSettings(args.topics, args.iterations, range(args.seed, args.seed + 1), args.workers)
        mixtures = iter(fit_and_infer(texts.fitted(), list(chain(*texts.words.values())), how, args.seed))
        (folder / corpus.MANIFEST).unlink(missing_ok=True)
        # The mixtures are in the order of the decades.
        corpus.write_decades(folder, decades, chunks, settings, lambda read: np.array([next(mixtures) for _ in read]))
        texts.chunks.log_oddities()
    found = corpus.read_records(folder)
    facts = corpus.manifest_facts(f"topic model of {args.topics} topics", [found[decade] for decade in decades])
    facts["held_out_documents"] = sorted(held)
    script.write_json(folder / corpus.MANIFEST, script.run_record(args, started, **facts))
    log.info("%d decades in %s", len(decades), folder)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    documents = corpus.documents_of_years(args.metadatapath, args.startyear, args.endyear)
    corpus.check_kind(Path(args.output), "topic_definition")
    with lock.alone_in(args.output):
        fit(args, corpus.by_decade(documents), started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
