"""Choose training pairs and flag some of them for paraphrase.

Reads the metadata (TSV with columns paperId, year) and the folder of chunk files, one text file per document.
Writes a table of pairs (paperId, year, anchor, positive, category). Most are neighboring passages of one document
(successive). Some are flagged for paraphrase: single-synthetic, where one cell is the word "generate", and
synthetic-pair, where one of two neighbors will be paraphrased. A few are any two passages of one document
(random-pair). The years are leveled, so that no period teaches the model more than another. A document's candidate
pairs depend only on --seed, its paperId, and its number of passages; the order of the metadata does not matter.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter, defaultdict

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log
from selection import LEVEL_QUANTILE, PASSAGES_PER_PAIR, Candidate, level_years, pair_rows, spaced_starts

EXAMPLE = "python select_training_pairs_final.py 400 -t metadata.tsv -r chunks -o training_pairs_final_set.tsv"

GAP = 2  # unselected passages between two pairs of a document
RANDOM_SHARE = 0.02  # of the documents give one random-pair and nothing else …
RANDOM_MOST_PASSAGES = 20  # … and none of these is longer than this
SINGLE_SHARE = 0.8  # of the paraphrased pairs are single-synthetic, the rest synthetic-pair


# ---------------------------------------------------------------- candidates of one document


def document_candidates(document: Document, passages: int, seed: int) -> list[Candidate]:
    """Return a document's candidate pairs; they depend only on the seed, its paperId, and its number of passages."""
    dice = random.Random(f"pairs {seed} {document.paper_id}")
    is_random = dice.random() < RANDOM_SHARE and 2 <= passages <= RANDOM_MOST_PASSAGES
    if passages == 0:
        spans = []
    elif passages == 1:
        spans = [(0, 0)]
    elif is_random:
        spans = [tuple(sorted(dice.sample(range(passages), 2)))]
    else:
        starts = spaced_starts(passages, math.ceil(passages / PASSAGES_PER_PAIR), GAP, dice)
        spans = [(start, start + 1) for start in starts]
    return [
        Candidate(document, first, second, is_random, dice.random(), dice.random(), dice.random() < 0.5)
        for first, second in spans
    ]


# ---------------------------------------------------------------- leveling the years


def choose_pairs(candidates: list[Candidate], most: int, quantile: float, share: float) -> list[Candidate]:
    """Level the years and drop one-passage documents that exceed the paraphrase share.

    Other pairs of the same years replace what is dropped, so the years are leveled again until nothing is dropped.
    """
    dropped = 0
    while True:
        pairs = level_years(candidates, most, quantile)
        surplus = surplus_singles(pairs, share)
        if not surplus:
            break
        dropped += len(surplus)
        candidates = [pair for pair in candidates if pair.document.paper_id not in surplus]
    if dropped:
        log.warning(
            "%d one-passage documents dropped: they can only be paraphrased, and --paraphrase-share %g allows no more",
            dropped,
            share,
        )
    years = Counter(pair.document.year for pair in pairs)
    log.info(
        "leveled: %d years, at most %d pairs from each (set by N and --level-quantile)",
        len(years),
        max(years.values()),
    )
    return pairs


# ---------------------------------------------------------------- which pairs are paraphrased


def apportion(total: int, shares: dict, lowest: dict, highest: dict) -> dict:
    """Split total into whole numbers as close to the shares as lowest <= number <= highest allow.

    Each one goes to the key that is furthest below its share, which minimizes the sum of squared distances.
    """
    given = dict(lowest)
    for _ in range(total - sum(given.values())):
        open_keys = [key for key in shares if given[key] < highest[key]]
        neediest = max(open_keys, key=lambda key: shares[key] - given[key])
        given[neediest] += 1
    return given


def paraphrase_totals(pairs: int, share: float) -> tuple[int, int]:
    """Return how many of the pairs are paraphrased, and how many of those are single-synthetic."""
    paraphrased = round(pairs * share)
    return paraphrased, round(paraphrased * SINGLE_SHARE)


def surplus_singles(pairs: list[Candidate], share: float) -> set[str]:
    """Return the paperIds of one-passage documents to drop so that the rest fit the share.

    Such a document can only be single-synthetic; with too many of them the share of paraphrase would grow. The decades
    that exceed the share most lose theirs first.
    """
    singles = defaultdict(list)
    for pair in sorted(pairs, key=lambda c: (c.rank, c.document.paper_id)):
        if pair.is_single:
            singles[pair.decade].append(pair.document.paper_id)
    sizes, kept, surplus = Counter(pair.decade for pair in pairs), len(pairs), set()
    while sum(map(len, singles.values())) > paraphrase_totals(kept, share)[1]:
        richest = max(singles, key=lambda d: len(singles[d]) - share * SINGLE_SHARE * sizes[d])
        surplus.add(singles[richest].pop())
        sizes[richest] -= 1
        kept -= 1
    return surplus


def assign_categories(pairs: list[Candidate], share: float) -> list[tuple[Candidate, str]]:
    """Return every pair with its category; the share of paraphrase is exact overall and even across the decades."""
    decades = defaultdict(list)
    for pair in pairs:
        decades[pair.decade].append(pair)
    paraphrased, single_synthetic = paraphrase_totals(len(pairs), share)
    singles = {d: sum(p.is_single for p in group) for d, group in decades.items()}
    eligible = {d: sum(not p.is_random for p in group) for d, group in decades.items()}
    if paraphrased > sum(eligible.values()):
        raise InputError(
            f"--paraphrase-share {share}: only {sum(eligible.values())} of {len(pairs)} pairs can be paraphrased; "
            "lower the share."
        )
    quota = apportion(paraphrased, {d: share * len(g) for d, g in decades.items()}, singles, eligible)
    single_quota = apportion(single_synthetic, {d: SINGLE_SHARE * n for d, n in quota.items()}, singles, quota)
    categories = []
    for decade, group in decades.items():
        categories += decade_categories(group, single_quota[decade], quota[decade])
    return categories


def decade_categories(pairs: list[Candidate], single_quota: int, quota: int) -> list[tuple[Candidate, str]]:
    """Return a decade's pairs with their categories: one-passage documents first, then by paraphrase rank."""
    eligible = [pair for pair in pairs if not pair.is_random]
    eligible.sort(key=lambda c: (not c.is_single, c.paraphrase_rank, c.document.paper_id, c.first))
    flags = ["single-synthetic"] * single_quota + ["synthetic-pair"] * (quota - single_quota)
    flags += ["successive"] * (len(eligible) - quota)
    return list(zip(eligible, flags)) + [(pair, "random-pair") for pair in pairs if pair.is_random]


# ---------------------------------------------------------------- reading and writing


def read_candidates(documents: list[Document], chunks: ChunkFolder, seed: int) -> tuple[list[Candidate], int]:
    """Read every chunk file once; return all candidates and the number of passages, but no texts."""
    candidates, passages = [], 0
    for document in documents:
        count = chunks.count(document)
        passages += count
        candidates += document_candidates(document, count, seed)
    return candidates, passages


def log_categories(chosen: list[tuple[Candidate, str]]) -> dict[str, int]:
    """Log and return the number of pairs of each category."""
    counts = Counter(category for _, category in chosen)
    for category in corpus.CATEGORIES:
        log.info("%-17s %6d  %5.1f%%", category, counts[category], 100 * counts[category] / len(chosen))
    return dict(counts)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("most", metavar="N", type=script.positive_int, help="at most N pairs from each year")
    script.add_corpus_arguments(arguments)
    choice = arguments.add_argument_group("choice")
    choice.add_argument(
        "--paraphrase-share",
        type=script.fraction,
        default=0.10,
        metavar="SHARE",
        help="share of the pairs to be paraphrased; four fifths become single-synthetic (default %(default)s)",
    )
    choice.add_argument(
        "--level-quantile",
        type=script.fraction,
        default=LEVEL_QUANTILE,
        metavar="Q",
        help="no year gives more pairs than this quantile of the years' sizes; 1: only N limits them (default 41/118)",
    )
    choice.add_argument("--seed", type=int, default=0, help="of the random choice (default %(default)s)")
    choice.add_argument("--limit", type=script.positive_int, metavar="DOCUMENTS", help="trial run: read only this many")
    arguments.add_argument(
        "-o", "--output", default="training_pairs_final_set.tsv", metavar="TSV", help="(default %(default)s)"
    )
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    documents, skipped = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    corpus.log_skipped(documents, skipped)
    chunks = ChunkFolder(args.rootfolder, args.encoding_errors)

    documents = documents[: args.limit]
    candidates, passages = read_candidates(documents, chunks, args.seed)
    chunks.log_oddities()
    counts = {"documents": len(documents), "passages": passages, "skipped": skipped, **chunks.counts()}
    log.info("%d candidate pairs from %d passages", len(candidates), passages)

    pairs = choose_pairs(candidates, args.most, args.level_quantile, args.paraphrase_share)
    chosen = assign_categories(pairs, args.paraphrase_share)
    categories = log_categories(chosen)

    written = corpus.write_pairs(args.output, pair_rows(chosen, chunks))
    counts |= {"candidates": len(candidates), "pairs": written, "categories": categories}
    script.write_json(script.record_path(args.output), script.run_record(args, started, counts=counts))
    log.info("%d pairs in %s", written, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
