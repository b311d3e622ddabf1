"""Compare representations of the corpus on documents no model was trained on, and on its timeline.

Reads two or more embedding folders made by Apply_Tuned_Model.py, given as NAME=FOLDER, the untuned base model
first; the metadata (paperId, year); and the training.json of each tuned model, which
names the held-out documents and holds the loss. Writes <output>/report.html (one file, opens from disk), PNG
figures, and evaluation.json. Every representation is also shown centred: the mean of all passages subtracted,
which needs no training and is the yardstick that tuning has to beat.
"""

from __future__ import annotations

import base64
import html
import random
import string
import sys
import time
from pathlib import Path
from typing import NamedTuple

import corpus
from corpus import InputError, log

EXAMPLE = (
    "python evaluate_timeline.py base=embeddings/base tuned=embeddings/para10"
    " --training models/para10/training.json -t metadata.tsv -o report"
)

FALSE_PARTNERS = 5
MOST_PASSAGES = 30  # of a held-out document, its first; else one novel would outweigh fifty articles
MOST_DOCUMENTS = 2000  # for the timeline's pairs: 2 million of them; more are drawn by seed
NEAR = 50  # years; the second timeline figure looks only this far
BLOCK = 1024  # queries whose similarities are held at once: 1024 × 60,000 float32 = 250 MB

# What each figure of the table means, in the order of its columns: key, heading, definition.
METRICS = (
    ("mrr_at_10", "MRR@10", "next-passage retrieval: mean of 1/rank of the passage that really follows, among all "
     "held-out passages by cosine; 0 where its rank is above 10"),
    ("accuracy_at_1", "accuracy@1", "next-passage retrieval: share of passages whose nearest neighbour is the one that "
     "follows"),
    ("average_precision", "average precision", "neighbouring passages against five false partners each, drawn from "
     "held-out documents; chance is 0.167"),
    ("timeline_rho", "timeline ρ", "Spearman correlation of the distance of two documents (1 − cosine of their mean "
     "passages) with the years between them, all pairs of documents"),
    ("timeline_rho_held_out", "timeline ρ, held-out", "the same, pairs of held-out documents only"),
    ("timeline_rho_near", f"timeline ρ, ≤ {NEAR} years", f"the same as timeline ρ, pairs at most {NEAR} years apart"),
)  # fmt: skip

# The figures of the page, in order: file, heading, caption.
FIGURES = (
    ("heat_maps.png", "Every year with every other", "Cosine of two years' mean documents; each panel has its own "
     "scale. Periods show as squares along the diagonal, a corpus that moves steadily as a band."),
    ("distance_by_gap.png", "Distance against time", "Mean distance of documents so many years apart. The more "
     "steadily a line rises, the better distance tells time."),
    ("maps.png", "A map of the documents", "Each point a document, on its first two principal "
     "components."),
    ("loss.png", "Training loss", "Multiple Negatives Ranking Loss by step, and its running mean. Dips are the "
     "last, smaller batches of an epoch: fewer negatives to tell apart."),
)  # fmt: skip

BASE_COLOR, TUNED_COLORS = "#8a8a8a", ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce")


class Representation(NamedTuple):
    """Vectors of all passages, L2-normalised, float32, (passages, dimensions), and of all documents' means."""

    name: str
    passages: object
    documents: object


class Passages(NamedTuple):
    """What the rows of every representation stand for; arrays over passages but for paper_ids and years."""

    paper_ids: list[str]  # one a document
    years: object  # int, one a document
    document: object  # int: index of the passage's document
    number: object  # int: chunknumber


# ---------------------------------------------------------------- reading


def read_folder(folder: str) -> tuple[list[str], object, object]:
    """Read all decades of an embedding folder: paperIds, passage numbers, vectors. InputError if not whole."""
    import numpy as np

    manifest = Path(folder) / corpus.MANIFEST
    if not manifest.exists():
        raise InputError(f"{manifest} does not exist: the folder is not complete; run Apply_Tuned_Model.py to its end.")
    paper_ids, numbers, vectors = [], [], []
    for record in corpus.read_json(manifest)["decades"]:
        if record["passages"]:
            ids, chunk_numbers, decade_vectors = corpus.read_embeddings(Path(folder) / record["file"])
            paper_ids += ids
            numbers.append(chunk_numbers)
            vectors.append(decade_vectors)
    return paper_ids, np.concatenate(numbers), np.concatenate(vectors)


def index_passages(paper_ids: list[str], numbers, year_of: dict[str, int], metadata: str) -> Passages:
    """Return which document each row belongs to. InputError where the metadata has no such document."""
    import numpy as np

    order = {paper_id: i for i, paper_id in enumerate(dict.fromkeys(paper_ids))}
    unknown = [paper_id for paper_id in order if paper_id not in year_of]
    if unknown:
        raise InputError(f"{metadata} has no {corpus.first_few(unknown)}; pass the metadata the embeddings came from.")
    years = np.array([year_of[paper_id] for paper_id in order])
    return Passages(list(order), years, np.array([order[paper_id] for paper_id in paper_ids]), numbers)


def read_representations(named: list[str], year_of: dict[str, int], metadata: str):
    """Read every NAME=FOLDER; return the passages and each representation, as it is and centred.

    Raises:
        InputError: the folders do not hold the same passages in the same order.
    """
    first, passages, found = None, None, []
    for item in named:
        name, equals, folder = item.partition("=")
        if not equals or not name:
            raise InputError(f"{item!r}: write NAME=FOLDER, e.g. base=embeddings/base.")
        paper_ids, numbers, vectors = read_folder(folder)
        if first is None:
            first, passages = (folder, paper_ids, numbers), index_passages(paper_ids, numbers, year_of, metadata)
        elif paper_ids != first[1] or (numbers != first[2]).any():
            raise InputError(
                f"{folder} and {first[0]} don't hold the same passages; delete both folders and embed one corpus."
            )
        plain = normalised(vectors)
        centred = normalised(plain - plain.mean(axis=0))
        found += [
            Representation(label, matrix, document_means(matrix, passages))
            for label, matrix in ((name, plain), (f"{name}, centred", centred))
        ]
    return passages, found


def normalised(vectors):
    """Return rows of length 1; rows of zeros stay zeros."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def document_means(vectors, passages: Passages):
    """Return the normalised mean vector of each document's passages, (documents, dimensions)."""
    import numpy as np

    starts = np.flatnonzero(np.diff(passages.document, prepend=-1))  # a document's rows stand together
    return normalised(np.add.reduceat(vectors, starts, axis=0))


def held_out_documents(training_files: list[str], passages: Passages) -> list[int]:
    """Return the indices of documents that every training held out. InputError where there are none."""
    records = [corpus.read_json(path) for path in training_files]
    for path, record in zip(training_files, records):
        if "held_out_documents" not in record:
            raise InputError(f"{path} is not a training.json; pass the one TuneEmbeddings.py wrote beside the model.")
    common = set.intersection(*(set(record["held_out_documents"]) for record in records))
    indices = [i for i, paper_id in enumerate(passages.paper_ids) if paper_id in common]
    if len(indices) < 2:
        raise InputError(f"{', '.join(training_files)}: fewer than two held-out documents in common; train with more.")
    return indices


# ---------------------------------------------------------------- measuring


def held_out_rows(passages: Passages, held: list[int]):
    """Return the rows of the held-out documents' first passages, in order."""
    import numpy as np

    return np.flatnonzero(np.isin(passages.document, held) & (passages.number < MOST_PASSAGES))


def next_passage_pairs(passages: Passages, rows):
    """Return positions in rows: passages, and the passage that follows each in its document."""
    import numpy as np

    document, number = passages.document[rows], passages.number[rows]
    follows = (document[1:] == document[:-1]) & (number[1:] == number[:-1] + 1)
    queries = np.flatnonzero(follows)
    return queries, queries + 1


def next_passage_ranks(vectors, queries, targets):
    """Return for each query the rank of its target among all other rows by cosine, 1 the nearest; ties count against.

    Args:
        vectors: normalised, (rows, dimensions).
        queries, targets: int, positions in vectors.
    """
    import numpy as np

    ranks = np.empty(len(queries), dtype=int)
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        similarity = vectors[queries[block]] @ vectors.T
        rows = np.arange(len(similarity))
        true = similarity[rows, targets[block]].copy()
        similarity[rows, queries[block]] = -np.inf
        ranks[block] = (similarity >= true[:, None]).sum(axis=1)
    return ranks


def partner_average_precision(vectors, queries, targets, seed: int) -> float:
    """Return the average precision of true next passages among five false partners each (targets rolled by 1 to 5).

    A passage is often the query of one pair and the target of another; where rolling gives it itself, or its true
    partner again, that false pair is left out.
    """
    import numpy as np
    from sklearn.metrics import average_precision_score

    order = np.random.default_rng(seed).permutation(len(queries))
    anchors, true = queries[order], targets[order]
    scores, labels = [(vectors[anchors] * vectors[true]).sum(axis=1)], [np.ones(len(true))]
    for shift in range(1, FALSE_PARTNERS + 1):
        partners = np.roll(true, -shift)
        false = (partners != anchors) & (partners != true)
        scores.append((vectors[anchors[false]] * vectors[partners[false]]).sum(axis=1))
        labels.append(np.zeros(false.sum()))
    return float(average_precision_score(np.concatenate(labels), np.concatenate(scores)))


def timeline_correlation(documents, years, most_years: int | None = None) -> float | None:
    """Return Spearman's rho of 1 − cosine with |years apart| over all pairs; None where no two values differ."""
    import numpy as np
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(years), k=1)
    apart = np.abs(years[:, None] - years[None, :])[upper]
    distance = (1 - documents @ documents.T)[upper]
    if most_years is not None:
        near = apart <= most_years
        apart, distance = apart[near], distance[near]
    if len(apart) == 0 or np.ptp(apart) == 0 or np.ptp(distance) == 0:
        return None
    return float(spearmanr(apart, distance).statistic)


def measure(representation: Representation, passages: Passages, held: list[int], some: list[int], seed: int) -> dict:
    """Return all METRICS of one representation; `some` are the documents whose pairs make the timeline."""
    import numpy as np

    rows = held_out_rows(passages, held)
    queries, targets = next_passage_pairs(passages, rows)
    if len(queries) <= FALSE_PARTNERS:
        raise InputError(f"held-out documents have only {len(queries)} neighbouring passages; hold out more of them.")
    vectors = representation.passages[rows]
    ranks = next_passage_ranks(vectors, queries, targets)
    documents, years = representation.documents, passages.years
    return {
        "mrr_at_10": float(np.where(ranks <= 10, 1 / ranks, 0).mean()),
        "accuracy_at_1": float((ranks == 1).mean()),
        "average_precision": partner_average_precision(vectors, queries, targets, seed),
        "timeline_rho": timeline_correlation(documents[some], years[some]),
        "timeline_rho_held_out": timeline_correlation(documents[held], years[held]),
        "timeline_rho_near": timeline_correlation(documents[some], years[some], NEAR),
    }


# ---------------------------------------------------------------- drawing


def color_of(position: int) -> str:
    """Return a representation's colour: grey for the base, the first given."""
    return BASE_COLOR if position == 0 else TUNED_COLORS[(position - 1) % len(TUNED_COLORS)]


def draw_loss(trainings: dict[str, dict], path: Path) -> None:
    """Draw training loss by step, raw and as a running mean."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    for position, (name, training) in enumerate(trainings.items(), start=1):
        steps = [point["step"] for point in training["loss_curve"]]
        loss = np.array([point["loss"] for point in training["loss_curve"]], dtype=float)
        width = max(1, len(loss) // 10)
        running = [loss[max(0, i - width + 1) : i + 1].mean() for i in range(len(loss))]
        axes.plot(steps, loss, color=color_of(position), alpha=0.3, linewidth=1)
        axes.plot(steps, running, color=color_of(position), linewidth=2, label=name)
    axes.set(xlabel="optimizer step", ylabel="training loss", ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, path)


def year_similarity(documents, years):
    """Return the years that have documents and the cosine of every two years' mean documents."""
    import numpy as np

    present = np.unique(years)
    means = normalised(np.stack([documents[years == year].mean(axis=0) for year in present]))
    return present, means @ means.T


def draw_heat_maps(representations: list[Representation], years, path: Path) -> None:
    """Draw the similarity of every year with every other, one panel a representation."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, panels = plt.subplots(
        1, len(representations), figsize=(5.2 * len(representations), 4.6), layout="constrained", squeeze=False
    )
    for axes, representation in zip(panels[0], representations):
        present, similarity = year_similarity(representation.documents, years)
        off_diagonal = similarity[~np.eye(len(present), dtype=bool)]
        low, high = np.percentile(off_diagonal, [1, 99]) if len(off_diagonal) else (0, 1)
        edges = np.append(present, present[-1] + 1)
        image = axes.pcolormesh(edges, edges, similarity, vmin=low, vmax=high, cmap="magma", rasterized=True)
        axes.set(title=representation.name, aspect="equal", facecolor="#dddddd")
        axes.invert_yaxis()
        figure.colorbar(image, ax=axes, shrink=0.8, label="cosine")
    save(figure, path)


def draw_distance_by_gap(representations: list[Representation], years, path: Path) -> None:
    """Draw the mean distance of documents against the years between them, in standard deviations of all pairs."""
    import matplotlib.pyplot as plt
    import numpy as np

    upper = np.triu_indices(len(years), k=1)
    apart = np.abs(years[:, None] - years[None, :])[upper]
    bins = apart // 5
    enough = [b for b in np.unique(bins) if (bins == b).sum() >= 10]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for position, representation in enumerate(representations):
        distance = (1 - representation.documents @ representation.documents.T)[upper]
        score = (distance - distance.mean()) / distance.std()
        means = [score[bins == b].mean() for b in enough]
        middles = [b * 5 + 2.5 for b in enough]
        axes.plot(middles, means, color=color_of(position), linewidth=2, label=representation.name)
    axes.set(xlabel="years between two documents", ylabel="distance (standard deviations)")
    axes.axhline(0, color="#cccccc", linewidth=1, zorder=0)
    axes.legend(frameon=False)
    save(figure, path)


def draw_maps(representations: list[Representation], years, path: Path) -> None:
    """Draw the documents on their first two principal components, coloured by year."""
    import matplotlib.pyplot as plt
    import numpy as np

    figure, panels = plt.subplots(
        1, len(representations), figsize=(5.2 * len(representations), 4.6), layout="constrained", squeeze=False
    )
    for axes, representation in zip(panels[0], representations):
        centred = representation.documents - representation.documents.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        plane = centred @ directions[:2].T
        plane[:, 0] *= np.sign(np.corrcoef(plane[:, 0], years)[0, 1] or 1)  # time runs to the right
        shares = singular[:2] ** 2 / (singular**2).sum()
        points = axes.scatter(*plane.T, c=years, cmap="viridis", s=22, linewidth=0)
        axes.set(title=representation.name, xticks=[], yticks=[])
        axes.set(xlabel=f"1st component ({shares[0]:.0%})", ylabel=f"2nd component ({shares[1]:.0%})")
    figure.colorbar(points, ax=panels[0].tolist(), shrink=0.8, label="year")
    save(figure, path)


def save(figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    import matplotlib.pyplot as plt

    with corpus.replacing(path) as beside:
        figure.savefig(beside, dpi=130, format="png")
    plt.close(figure)


# ---------------------------------------------------------------- the page

PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c;
        background: #fff }
 h1 { font-size: 1.6rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
 .lead { font-size: 1.1rem } .note { border-left: 4px solid #c2410c; padding: .3rem .9rem; background: #fff7ed }
 table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .35rem .8rem; text-align: right }
 th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #1c1c1c; font-size: .9rem }
 tbody tr:nth-child(even) { background: #f6f6f4 } td { font-variant-numeric: tabular-nums } td.best { font-weight: 700 }
 img { max-width: 100%; height: auto } figure { margin: 0 } figcaption, dl, .small { color: #555; font-size: .9rem }
 summary { cursor: pointer } dt { font-weight: 600 } dd { margin: 0 0 .4rem 0 }
</style></head><body>
<h1>$title</h1>
<p class="small">$corpus</p>
<p class="lead">$summary</p>
$note
<h2>Measured</h2>
<table><thead><tr><th>representation</th>$headings</tr></thead><tbody>
$rows</tbody></table>
<p class="small">The best of each column is bold. Centred: the mean of all passages subtracted from each, no training;
what tuning gains beyond the centred base is what it learned of the corpus.</p>
<details><summary>What the columns mean</summary><dl>$definitions</dl></details>
$figures
<h2>How it was made</h2>
$trainings
<p class="small">$made</p>
</body></html>
""")


def tuned_summary(measured: dict[str, dict], base: str, tuned: str) -> str:
    """Return one sentence saying how the tuned model's figures moved against the base's."""
    moves = []
    for key, heading in (
        ("mrr_at_10", "MRR@10"),
        ("average_precision", "average precision"),
        ("timeline_rho", "timeline ρ"),
    ):
        before, after = measured[base][key], measured[tuned][key]
        if before is not None and after is not None:
            moves.append(f"{heading} {before:.3f} → {after:.3f}")
    return f"From {base} to {tuned}: " + ", ".join(moves) + "."


def table_rows(measured: dict[str, dict]) -> str:
    """Return the table's rows as HTML, the best figure of each column marked."""
    keys = [key for key, _, _ in METRICS]
    best = {key: max((m[key] for m in measured.values() if m[key] is not None), default=None) for key in keys}
    rows = ""
    for name, metrics in measured.items():
        cells = ""
        for key in keys:
            mark = ' class="best"' if metrics[key] is not None and metrics[key] == best[key] else ""
            cells += f"<td{mark}>{'–' if metrics[key] is None else format(metrics[key], '.3f')}</td>"
        rows += f"<tr><td>{html.escape(name)}</td>{cells}</tr>\n"
    return rows


def figure_html(folder: Path, name: str, heading: str, caption: str) -> str:
    """Return a figure with its picture inside the page."""
    data = base64.b64encode((folder / name).read_bytes()).decode()
    return (
        f'<h2>{heading}</h2><figure><img alt="{heading}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def training_html(name: str, training: dict) -> str:
    """Return one paragraph on how a model was trained."""
    recipe, counts = training["recipe"], training["counts"]
    kinds = ", ".join(f"{n} {category}" for category, n in counts["training_categories"].items())
    text = (
        f"{name}: {Path(recipe['base_model']).name}, {counts['training_pairs']} pairs of "
        f"{counts['training_documents']} documents ({kinds}), {recipe['epochs']} epochs of batches of "
        f"{recipe['batch_size']}, learning rate {recipe['learning_rate']:g}, {training['steps']} steps on "
        f"{training['device']} in {training['precision']}, seed {recipe['seed']}, {training['seconds'] / 60:.1f} "
        f"minutes; {counts['held_out_documents']} documents held out."
    )
    return f"<p>{html.escape(text)}</p>"


def write_page(folder: Path, args, measured: dict, trainings: dict[str, dict], corpus_line: str) -> None:
    """Write report.html with every figure inside it."""
    base = next(iter(measured))
    page = PAGE.substitute(
        title=html.escape(args.title),
        corpus=html.escape(corpus_line),
        summary=html.escape(" ".join(tuned_summary(measured, base, name) for name in trainings)),
        note=f'<p class="note">{html.escape(args.note)}</p>' if args.note else "",
        headings="".join(f"<th>{html.escape(heading)}</th>" for _, heading, _ in METRICS),
        rows=table_rows(measured),
        definitions="".join(f"<dt>{html.escape(h)}</dt><dd>{html.escape(d)}</dd>" for _, h, d in METRICS),
        figures="".join(figure_html(folder, *figure) for figure in FIGURES),
        trainings="".join(training_html(name, training) for name, training in trainings.items()),
        made=html.escape(time.strftime("Made %Y-%m-%d by evaluate_timeline.py; evaluation.json has all figures.")),
    )
    with corpus.replacing(folder / "report.html") as beside:
        beside.write_text(page, encoding="utf-8")


def parse_args(argv: list[str] | None = None):
    arguments = corpus.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("representations", nargs="+", metavar="NAME=FOLDER", help="embedding folders, the base model's first")
    add("--training", action="append", required=True, metavar="JSON", help="training.json, one for each tuned folder")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-o", "--output", required=True, metavar="FOLDER", help="where the report goes")
    add("--title", default="What tuning did", help="of the report (default %(default)s)")
    add("--note", default="", help="a sentence to show above the figures")
    add("--seed", type=int, default=0, help="of false partners and drawn documents (default %(default)s)")
    return arguments.parse_args(argv)


@corpus.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    corpus.log_settings(args)
    if len(args.training) != len(args.representations) - 1:
        raise InputError(
            f"{len(args.training)} --training for {len(args.representations) - 1} tuned folders; give one each."
        )
    if len({item.partition("=")[0] for item in args.representations}) < len(args.representations):
        raise InputError("two representations have the same NAME; give each its own.")
    documents, _ = corpus.read_metadata(args.metadatapath)
    year_of = {document.paper_id: document.year for document in documents}

    import matplotlib

    matplotlib.use("Agg")
    passages, all_representations = read_representations(args.representations, year_of, args.metadatapath)
    plain = all_representations[::2]
    names = [representation.name for representation in plain]
    trainings = {name: corpus.read_json(path) for name, path in zip(names[1:], args.training)}
    held = held_out_documents(args.training, passages)
    some = sorted(random.Random(args.seed).sample(range(len(passages.years)), min(MOST_DOCUMENTS, len(passages.years))))
    measured = {}
    for representation in all_representations:
        measured[representation.name] = measure(representation, passages, held, some, args.seed)
        shown = [f"{key} {value:.3f}" for key, value in measured[representation.name].items() if value is not None]
        log.info("%s: %s", representation.name, ", ".join(shown))

    folder = Path(args.output)
    years = passages.years[some]
    drawn = [r._replace(documents=r.documents[some]) for r in plain]
    draw_heat_maps(drawn, years, folder / "heat_maps.png")
    draw_distance_by_gap(drawn, years, folder / "distance_by_gap.png")
    draw_maps(drawn, years, folder / "maps.png")
    draw_loss(trainings, folder / "loss.png")

    corpus_line = (
        f"{len(passages.years)} documents, {len(passages.document)} passages, {passages.years.min()}–"
        f"{passages.years.max()}; {len(held)} documents held out from training."
    )
    facts = {"held_out_documents": len(held), "definitions": {key: text for key, _, text in METRICS}}
    corpus.write_json(folder / "evaluation.json", corpus.run_record(args, started, **facts, measured=measured))
    write_page(folder, args, measured, trainings, corpus_line)
    log.info("%s", folder / "report.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
