"""Two questions to the yardsticks of the report. No retraining; prints a Markdown table.

Do normalized document means bring a tuned model's timeline level with words and topics? How strongly they are shrunk is
chosen on the training documents alone, once with half of their mean subtracted and once with all of it: in five folds
of whole authors, each transform being fitted on the other four. The choice is then fitted on all training documents and
measured once on the held-out ones.

And is latent semantic analysis ahead only because long documents have more different words? The same with eight evenly
spaced passages of each document.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # corpus.py lies one folder up

import corpus  # noqa: E402
import script  # noqa: E402
from encoder import unit_rows  # noqa: E402
from report import measures, representations  # noqa: E402
from report.bench import LEXICAL  # noqa: E402
from report.lexical import Lexical, lexical_run, words_by_document  # noqa: E402
from report.topics import TopicSettings, needed_texts, topic_mixtures  # noqa: E402
from report.trainings import read_training  # noqa: E402

EXAMPLE = (
    "python benchmarks/yardsticks.py base=embeddings/base tuned=embeddings/para10 --training training.json"
    " -t metadata.tsv -r chunks -o report"
)
SHRINKAGES, SHARES, FOLDS = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9), {0.5: "half centered", 1.0: "centered"}, 5
FEW = 8


class Model:
    """One embedding folder: unit vectors of all passages, and the mean passage of each document."""

    def __init__(self, embedded: representations.EmbeddingFolders, folder: str, passages):
        self.vectors, self.passages = unit_rows(np.concatenate(list(embedded.decades(folder)))), passages
        self.means = representations.means_by_document(self.vectors, passages.document)

    def transform(self, fitted: np.ndarray, shrinkage: float, share: float) -> representations.Normalizer:
        """Return the transform fitted on some documents, which subtracts a share of their mean."""
        unseen = set(self.passages.paper_ids) - {self.passages.paper_ids[i] for i in fitted}
        made = representations.normalizer([self.vectors], self.passages, unseen, shrinkage)
        return made._replace(mean=share * made.mean)

    def of_few(self, rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return 1 − cosine of every two of these documents by some of their passages."""
        means = representations.means_by_document(self.vectors[rows], self.passages.document[rows])
        return representations.cosine_distance(unit_rows(means)[documents])

    def distance(self, documents: np.ndarray, to_documents=unit_rows) -> np.ndarray:
        """Return 1 − cosine of every two of these documents."""
        return representations.cosine_distance(to_documents(self.means[documents]))

    def chosen(self, train: np.ndarray, groups: np.ndarray, share: float) -> tuple[float, float]:
        """Return the shrinkage whose ρ is highest on training documents, in folds of whole authors, and that ρ."""
        folds = [(train[a], train[b]) for a, b in GroupKFold(FOLDS).split(train, groups=groups)]
        score = {
            shrinkage: np.mean([self.rho(test, self.transform(fitted, shrinkage, share)) for fitted, test in folds])
            for shrinkage in SHRINKAGES
        }
        best = max(score, key=score.get)
        return best, score[best]

    def rho(self, documents: np.ndarray, to_documents) -> float:
        """Return the timeline's ρ of some documents."""
        years, once = self.passages.years[documents].astype(float), np.ones((1, len(documents)), dtype=int)
        return measures.timeline_correlation(self.distance(documents, to_documents), years, once)[0]


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("representations", nargs=2, metavar="NAME=FOLDER", help="embedding folders, the base model's first")
    add("--training", required=True, metavar="JSON", help="the tuned model's training.json")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with paperId, year, author")
    add("-r", "--rootfolder", required=True, metavar="FOLDER", help="folder of chunk files")
    add("-o", "--output", required=True, metavar="FOLDER", help="the report's folder, which keeps its topic model")
    add("--topics", type=script.positive_int, default=50, help="(default %(default)s)")
    return arguments.parse_args(argv)


def few_rows(passages) -> np.ndarray:
    """Return the positions of FEW evenly spaced passages of each document, all of a shorter one."""
    rows = np.split(np.arange(len(passages.document)), np.flatnonzero(np.diff(passages.document)) + 1)
    return np.concatenate([of_one[np.unique(np.linspace(0, len(of_one) - 1, FEW).astype(int))] for of_one in rows])


def word_distances(args, documents, passages, held: np.ndarray) -> dict[str, np.ndarray]:
    """Return the distances of the held-out documents by latent semantic analysis and by the topic model."""
    unseen = {passages.paper_ids[i] for i in held}
    texts = needed_texts(documents, corpus.ChunkFolder(args.rootfolder), unseen, passages.paper_ids, 0)
    rows, settings = measures.held_out_rows(passages, held), TopicSettings(args.topics, 400, range(1))
    mixtures = topic_mixtures(Path(args.output) / "topics", passages, texts, settings, 0)
    of_topics = representations.topic_run(mixtures, passages, rows)
    runs = {LEXICAL: lexical_run(texts, passages, rows, 0), f"{args.topics} topics": of_topics}
    few = map(chain.from_iterable, words_by_document(texts, passages.at(few_rows(passages))))
    of_few = representations.cosine_distance(Lexical(texts, 0).vectors(few)[held])
    return {name: run.of(held).distance for name, run in runs.items()} | {f"{LEXICAL}, {FEW} passages": of_few}


def show(distances: dict[str, np.ndarray], years: np.ndarray, compared: list[tuple[str, str]]) -> None:
    """Print ρ of all and of near pairs, with the intervals of the differences, as a Markdown table."""
    draws = measures.document_draws(len(years), 1000, 0)
    found = {
        name: [measures.timeline_correlation(distance, years, draws, most) for most in (None, measures.NEAR)]
        for name, distance in distances.items()
    }
    print("| | timeline ρ | ρ, ≤ 50 years |\n|---|---|---|")
    for name, figures in found.items():
        print(f"| {name} | {' | '.join(f'{one[0]:.3f}' for one in figures)} |")
    for one, other in compared:
        cells = []
        for of, less in zip(found[one], found[other]):
            low, high = measures.interval((of - less)[1:])
            cells.append(f"{of[0] - less[0]:+.3f} [{low:+.3f}, {high:+.3f}]")
        print(f"| {one} less {other} | {' | '.join(cells)} |")


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    folders = script.named_paths(args.representations)
    documents, _ = corpus.read_metadata(args.metadatapath)
    embedded = representations.EmbeddingFolders(folders)
    passages = representations.read_passages(embedded, documents, args.metadatapath, "author")
    unseen = set(read_training(args.training)["held_out_documents"])
    is_held = np.array([paper_id in unseen for paper_id in passages.paper_ids])
    held, train = np.flatnonzero(is_held), np.flatnonzero(~is_held)
    groups = measures.author_groups(passages.authors or [""] * len(is_held))[train]
    distances, made = {}, {name: [] for name in folders}
    for name, (folder,) in folders.items():
        model = Model(embedded, folder, passages)
        distances[name] = model.distance(held)
        distances[f"{name}, {FEW} passages"] = model.of_few(few_rows(passages), held)
        for share, how in SHARES.items():
            shrinkage, rho = model.chosen(train, groups, share)
            made[name].append(f"{name}, {how}, λ {shrinkage:g} ({rho:.3f} on training documents)")
            distances[made[name][-1]] = model.distance(held, model.transform(train, shrinkage, share))
    words, (base, tuned) = word_distances(args, documents, passages, held), made
    compared = [(of, less) for of in (tuned, *made[tuned]) for less in (made[base][-1], *list(words)[:2])]
    compared.append((f"{tuned}, {FEW} passages", f"{LEXICAL}, {FEW} passages"))
    show(distances | words, passages.years[held].astype(float), compared)
    return 0


if __name__ == "__main__":
    sys.exit(main())
