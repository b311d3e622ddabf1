"""Compare representations of the corpus on documents no model was trained on, and on its timeline.

Reads embedding folders made by Apply_Tuned_Model.py, given as NAME=FOLDER, the untuned base model first (a NAME given
several times is one model trained with several seeds); the metadata (paperId, year, and author if it has one); the
training.json of each tuned folder, which names the held-out documents; and for --topics, which compares with a topic
model, the chunk files. Writes <output>/report.html (one file, opens from disk), PNG figures, and evaluation.json.
Every embedding is also shown centred: the mean passage subtracted, which needs no training and is the yardstick that
tuning has to beat. All figures have 95% intervals from a bootstrap over documents.
"""

from __future__ import annotations

import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import corpus
import script
from script import InputError, log

EXAMPLE = (
    "python evaluate_timeline.py base=embeddings/base tuned=embeddings/para10"
    " --training models/para10/training.json -t metadata.tsv -r chunks --topics 50 -o report"
)

MOST_DOCUMENTS = 2000  # for figures over all documents: 2 million pairs of them; more are drawn by seed


def named_folders(items: list[str]) -> dict[str, list[str]]:
    """Return the folders of each NAME, in the order given. InputError where an item is no NAME=FOLDER."""
    folders = defaultdict(list)
    for item in items:
        name, equals, folder = item.partition("=")
        if not equals or not name:
            raise InputError(f"{item!r}: write NAME=FOLDER, e.g. base=embeddings/base.")
        if folder in folders[name]:
            raise InputError(f"{item} is given twice; give each run its own folder.")
        folders[name].append(folder)
    return dict(folders)


def read_trainings(folders: dict[str, list[str]], paths: list[str]) -> dict[str, list[dict]]:
    """Return the training records of each tuned NAME, each with what its embeddings were adjusted by.

    Raises:
        InputError: there is not one for each folder.
    """
    tuned = [(name, folder) for name, of_name in list(folders.items())[1:] for folder in of_name]
    if len(paths) != len(tuned):
        raise InputError(f"{len(paths)} --training for {len(tuned)} tuned folders; give one each, in their order.")
    trainings = defaultdict(list)
    for (name, folder), path in zip(tuned, paths):
        record = script.read_json(path)
        if "held_out_documents" not in record:
            raise InputError(f"{path} is not a training.json; pass the one TuneEmbeddings.py wrote beside the model.")
        arguments = corpus.read_manifest(folder)["arguments"]
        trainings[name].append(record | {"adjusted": {key: arguments.get(key, 0) for key in ("centre", "whiten")}})
    return dict(trainings)


def held_out_documents(trainings: dict[str, list[dict]], passages) -> tuple[list[int], set[str]]:
    """Return the indices of documents that every training held out, and the paperIds that any training held out.

    The first are compared on; means and topics are fitted without the second. InputError where the first are too few.
    """
    lists = [set(record["held_out_documents"]) for of_name in trainings.values() for record in of_name]
    common = set.intersection(*lists)
    indices = [i for i, paper_id in enumerate(passages.paper_ids) if paper_id in common]
    if len(indices) < 2:
        raise InputError("fewer than two embedded documents were held out by every training; train with more.")
    return indices, set.union(*lists)


def read_authors(args, passages) -> list[str] | None:
    """Return each document's author, None where the metadata has no such column."""
    rows = {row["paperId"]: row for _, row in corpus.metadata_rows(args.metadatapath)}
    if args.author not in next(iter(rows.values())):
        return None
    return [rows[paper_id][args.author].strip() for paper_id in passages.paper_ids]


def measure_embeddings(folders: dict[str, list[str]], passages, unseen: set[str], bench):
    """Return the figures of every run of every NAME, plain and centred, and each NAME's first run for the drawings."""
    from evaluation.representations import centred, check_same_passages, embedding_run

    runs, drawn, first = defaultdict(list), {}, None
    for name, of_name in folders.items():
        for folder in of_name:
            paper_ids, numbers, vectors = corpus.read_embedding_folder(folder)
            first = first or (folder, paper_ids, numbers)
            check_same_passages(folder, paper_ids, numbers, first)
            run = embedding_run(vectors, passages)
            runs[name].append(bench.measure(run))
            drawn.setdefault(name, run._replace(passages=None))
            runs[f"{name}, centred"].append(bench.measure(embedding_run(centred(vectors, passages, unseen), passages)))
            log.info("measured %s", folder)
    return dict(runs), drawn


def measure_topics(args, documents, passages, unseen: set[str], bench):
    """Return the topic models' name, figures and first run; nothing with --topics 0."""
    from evaluation.representations import topic_run
    from evaluation.topics import topic_mixtures

    if not args.topics:
        return {}, {}
    name, runs = f"{args.topics} topics", []
    for seed in range(args.seed, args.seed + args.topic_seeds):
        mixtures = topic_mixtures(Path(args.output), passages, unseen, documents, args, seed)
        runs.append(topic_run(mixtures, passages))
    return {name: [bench.measure(run) for run in runs]}, {name: runs[0]._replace(passages=None)}


def compare(means: dict, base: str, tuned: list[str], topics: list[str]) -> list[tuple[str, str, dict]]:
    """Return each tuned model's figures less those of the yardsticks, draw by draw."""
    from evaluation.metrics import Measured

    differences = []
    pairs = [(name, other) for name in tuned for other in (f"{base}, centred", *topics)]
    pairs += [(name, tuned[0]) for name in tuned[1:]]
    for name, other in pairs:
        found = {}
        for key, one in means[name].items():
            two = means[other][key]
            value = None if None in (one.value, two.value) else one.value - two.value
            found[key] = Measured(value, one.replicates - two.replicates)
        differences.append((name, other, found))
    return differences


def as_json(found: dict, runs: list[dict] | None = None) -> dict:
    """Return figures with their intervals, and with those of the single runs, for evaluation.json."""
    from evaluation.metrics import interval

    facts = {}
    for key, one in found.items():
        facts[key] = {"value": one.value, "interval": interval(one.replicates)}
        if runs is not None:
            facts[key]["runs"] = [run[key].value for run in runs]
    return facts


def draw(folder: Path, drawn: dict, years, some: list[int], means, runs, trainings, names: tuple) -> None:
    """Write the figures."""
    import numpy as np

    from evaluation import figures

    color = figures.colors([*drawn, *means], *names)
    color |= {f"{name}, centred": color[name] for name in drawn}
    figures.draw_scores(means, runs, color, folder / "scores.png")
    parts = [
        figures.Drawn(name, color[name], run.documents[some], run.distance[np.ix_(some, some)])
        for name, run in drawn.items()
    ]
    figures.draw_heat_maps(parts, years, folder / "heat_maps.png")
    figures.draw_distance_by_gap(parts, years, folder / "distance_by_gap.png")
    figures.draw_maps(parts, years, folder / "maps.png")
    figures.draw_loss({name: of_name[0] for name, of_name in trainings.items()}, color, folder / "loss.png")


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("representations", nargs="+", metavar="NAME=FOLDER", help="embedding folders, the base model's first")
    add("--training", action="append", required=True, metavar="JSON", help="training.json, one for each tuned folder")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-o", "--output", required=True, metavar="FOLDER", help="where the report goes")
    add("--author", default="author", metavar="COLUMN", help="of the metadata, if it is there (default %(default)s)")
    add("--draws", type=script.positive_int, default=1000, help="of the bootstrap (default %(default)s)")
    add("--title", default="What tuning did", help="of the report (default %(default)s)")
    add("--note", default="", help="a sentence to show above the figures")
    add("--section", action="append", default=[], metavar="HTML", help="a part of a page to show below the figures")
    add("--seed", type=int, default=0, help="of false partners, draws and topic models (default %(default)s)")
    topics = arguments.add_argument_group("topic model")
    add = topics.add_argument
    add("--topics", type=int, default=0, help="compare with one of so many topics; 250 in the paper (default none)")
    add("-r", "--rootfolder", metavar="FOLDER", help="folder of chunk files, for its words")
    add("--encoding-errors", choices=("strict", "replace"), default="strict", help="as in Apply_Tuned_Model.py")
    add("--topic-iterations", type=script.positive_int, default=400, help="of Gibbs sampling (default %(default)s)")
    add("--topic-seeds", type=script.positive_int, default=1, help="fit so many, show their mean (default %(default)s)")
    add(
        "--topic-workers",
        type=script.positive_int,
        default=1,
        help="threads; with more than one no two fits are the same (default %(default)s)",
    )
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    if args.topics and not args.rootfolder:
        raise InputError("--topics needs the chunk files: pass their folder with -r.")
    folders = named_folders(args.representations)
    trainings = read_trainings(folders, args.training)
    documents, _ = corpus.read_metadata(args.metadatapath)

    from evaluation.metrics import METRICS, Bench, mean_of_runs
    from evaluation.representations import index_passages

    base, *tuned = folders
    paper_ids, numbers, _ = corpus.read_embedding_folder(folders[base][0])
    year_of = {document.paper_id: document.year for document in documents}
    passages = index_passages(paper_ids, numbers, year_of, args.metadatapath)
    held, unseen = held_out_documents(trainings, passages)
    some = sorted(random.Random(args.seed).sample(range(len(passages.years)), min(MOST_DOCUMENTS, len(passages.years))))
    bench = Bench(passages, held, some, read_authors(args, passages), args.draws, args.seed)
    runs, drawn = measure_embeddings(folders, passages, unseen, bench)
    topic_runs, topics_drawn = measure_topics(args, documents, passages, unseen, bench)
    runs |= topic_runs
    means = {name: mean_of_runs(of_name) for name, of_name in runs.items()}
    differences = compare(means, base, tuned, list(topic_runs))
    for name, found in means.items():
        shown = [f"{key} {one.value:.3f}" for key, one in found.items() if one.value is not None]
        log.info("%s: %s", name, ", ".join(shown))

    folder = Path(args.output)
    names = (base, next(iter(topic_runs), None))
    draw(folder, drawn | topics_drawn, passages.years[some], some, means, runs, trainings, names)
    facts = {
        "held_out_documents": len(held),
        "definitions": {key: text for key, _, text in METRICS},
        "measured": {name: as_json(found, runs[name]) for name, found in means.items()},
        "differences": [{"of": name, "less": other, **as_json(found)} for name, other, found in differences],
    }
    script.write_json(folder / "evaluation.json", script.run_record(args, started, **facts))
    from evaluation.page import write_page

    corpus_line = (
        f"{len(passages.years)} documents, {len(passages.document)} passages, {passages.years.min()}–"
        f"{passages.years.max()}; {len(held)} documents held out from training."
    )
    write_page(folder, args, corpus_line, means, runs, differences, trainings)
    log.info("%s", folder / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
