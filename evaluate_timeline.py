"""Compare embedding models on documents that none of them was trained on: next passages, timeline, dates, authors.

Reads embedding folders made by Apply_Tuned_Model.py, given as NAME=FOLDER, the untuned base model first; repeat a NAME
for runs of one model with different seeds. Also reads the training.json of each tuned model, which lists the held-out
documents; the metadata (paperId, year, and author if there is one); and with -r the chunk files, for latent semantic
analysis and, with --topics, a topic model. Writes <output>/report.html (one file, opens in any browser), PNG pictures,
and all figures as evaluation.json and evaluation.tsv. Without any embedding folder, the page shows only the --section
files.

Every embedding is also shown centered, with the mean passage subtracted, and with normalized document means. Neither
takes any training, so the base model treated so is the yardstick that tuning has to beat. All figures have 95%
intervals from a bootstrap over documents.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import corpus
import lock
import script
from script import InputError, log

EXAMPLE = (
    "python evaluate_timeline.py base=embeddings/base tuned=embeddings/para10"
    " --training models/para10/training.json -t metadata.tsv -r chunks --topics 50 -o report"
)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("representations", nargs="*", metavar="NAME=FOLDER", help="embedding folders, the base model's first")
    add("--training", action="append", default=[], metavar="JSON", help="training.json, one for each tuned folder")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-o", "--output", required=True, metavar="FOLDER", help="where the report goes")
    add("--author", default="author", metavar="COLUMN", help="metadata column, used if present (default %(default)s)")
    add("--cohort", metavar="COLUMN", help="metadata column of authors' years of birth: what generation explains")
    same = "metadata column, such as genre: are documents of its kinds nearer, at the same date? may be repeated"
    add("--same", action="append", default=[], metavar="COLUMN", help=same)
    forward = "date the documents from this year on by those before it (default: two thirds are before)"
    add("--forward", type=int, metavar="YEAR", help=forward)
    add("--draws", type=script.positive_int, default=1000, help="bootstrap draws of documents (default %(default)s)")
    add("--title", default="What tuning did", help="the page's heading (default %(default)s)")
    add("--note", default="", help="a sentence to show above the tables")
    add("--section", action="append", default=[], metavar="HTML", help="fragment to show below the pictures")
    add("--seed", type=int, default=0, help="for false partners, bootstrap and topic models (default %(default)s)")
    topics = arguments.add_argument_group("latent semantic analysis and topic model")
    add = topics.add_argument
    add("--topics", type=int, default=0, metavar="N", help="compare with N topics; the paper has 250 (default none)")
    ready = "what fit_topics.py made; used instead of a new fit, if it was fitted as is asked for here"
    add("--topic-embeddings", metavar="FOLDER", help=ready)
    add("-r", "--rootfolder", metavar="FOLDER", help="folder of chunk files: adds latent semantic analysis")
    add("--encoding-errors", choices=("strict", "replace"), default="strict", help="as in Apply_Tuned_Model.py")
    add("--topic-iterations", type=script.positive_int, default=400, help="of Gibbs sampling (default %(default)s)")
    add("--topic-seeds", type=script.positive_int, default=1, help="models to average over (default %(default)s)")
    threads = "threads of the fit; another number makes another fit (default %(default)s)"
    add("--topic-workers", type=script.positive_int, default=1, help=threads)
    return arguments.parse_args(argv)


def evaluate(args, folders: dict[str, list[str]], started: float) -> None:
    """Measure the embeddings and the topic models; write pictures, evaluation.json and last report.html."""
    folder, (base, *tuned) = Path(args.output), folders

    from report import bench as benches  # these take a second, which --help must not
    from report import timeline_figures as figures
    from report.bench import Bench, Measurements
    from report.controls import Extras
    from report.representations import MOST_DOCUMENTS, EmbeddingFolders, read_column, read_passages, read_years
    from report.timeline_page import Frame, write_page
    from report.timeline_tables import FIRST, write_figures
    from report.topics import TopicSettings, needed_texts, usable
    from report.trainings import held_out_documents, read_trainings

    trainings = read_trainings([(name, folder) for name in tuned for folder in folders[name]], args.training)
    documents, _ = corpus.read_metadata(args.metadatapath)
    embedded = EmbeddingFolders(folders)
    passages = read_passages(embedded, documents, args.metadatapath, args.author)
    held, unseen = held_out_documents(trainings, passages)

    births = read_years(passages.paper_ids, args.metadatapath, args.cohort) if args.cohort else None
    kinds = {column: read_column(passages.paper_ids, args.metadatapath, column) for column in args.same}
    bench = Bench(passages, held, args.draws, args.seed, Extras(births, kinds, args.forward))
    measurements = Measurements(base, tuned, f"{args.topics} topics" if args.topics else None, bench.metrics)
    if args.rootfolder:
        chunks = corpus.ChunkFolder(args.rootfolder, args.encoding_errors)
        measured = [passages.paper_ids[i] for i in bench.wanted.documents]
        texts = needed_texts(documents, chunks, unseen, measured, args.seed)
    if args.topics:
        seeds = range(args.seed, args.seed + args.topic_seeds)
        settings = TopicSettings(args.topics, args.topic_iterations, seeds, args.topic_workers)
        if args.topic_embeddings:
            ready = usable(args.topic_embeddings, folders[base][0], settings, unseen)
            settings = dataclasses.replace(settings, ready=ready)
        benches.hold_topics_equal(folder / "topics", texts, settings, bench)
    drawn = benches.measure_embeddings(embedded, bench, unseen, measurements)
    if args.rootfolder:
        benches.measure_words(texts, bench, measurements)
    if args.topics:
        drawn |= benches.measure_topics(folder / "topics", texts, settings, bench, measurements)
    for name, mean in measurements.means.items():
        shown = [f"{key} {mean[key].value:.3f}" for key in FIRST if mean[key].value is not None]
        log.info("%s: %s", name, ", ".join(shown))

    years, color = passages.years[bench.sampled], figures.colors_of(measurements)
    pictures = [
        figures.draw_scores(measurements, color, folder),
        figures.draw_heat_maps(drawn, years, folder),
        figures.draw_distance_by_gap(drawn, years, color, folder),
        figures.draw_maps(drawn, years, folder),
        figures.draw_loss(trainings, color, folder),
    ]
    facts = {"held_out_documents": len(held), **measurements.as_json()}
    script.write_json(folder / "evaluation.json", script.run_record(args, started, **facts))
    write_figures(folder / "evaluation.tsv", measurements)
    corpus_line = (
        f"{len(passages.years)} documents, {len(passages.document)} passages, {passages.years.min()}–"
        f"{passages.years.max()}; {len(held)} documents held out from training."
    )
    if max(len(held), len(passages.years)) > MOST_DOCUMENTS:
        corpus_line += (
            f" Figures, pictures and topic models use at most {MOST_DOCUMENTS:,} documents of those held out and of "
            f"all, drawn at random (seed {args.seed})."
        )
    frame = Frame(args.title, corpus_line, args.note, tuple(args.section))
    write_page(folder / "report.html", frame, measurements, pictures, trainings)
    log.info("%s", folder / "report.html")


def show_sections(args, started: float) -> None:
    """Write a page of the sections alone, as where precocity was measured elsewhere and no embeddings are here."""
    from report.timeline_page import write_sections

    folder = Path(args.output)
    script.write_json(folder / "evaluation.json", script.run_record(args, started))
    write_sections(folder / "report.html", args.title, args.note, args.section)
    log.info("%s", folder / "report.html")


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    if args.topics and not args.rootfolder:
        raise InputError("--topics needs the chunk files: pass their folder with -r.")
    folders = script.named_paths(args.representations)
    if not folders and not args.section:
        raise InputError("nothing to show; give embedding folders as NAME=FOLDER, or a --section.")
    with lock.alone_in(args.output):
        if folders:
            evaluate(args, folders, started)
        else:
            show_sections(args, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
