"""Choose the training pairs of which some are to be paraphrased.

Reads the metadata (TSV with columns paperId, year) and the folder of chunk files, one text file per document.
Writes a table of pairs (paperId, year, anchor, positive, category): mostly neighbouring passages of one
document (successive), some flagged for paraphrase (single-synthetic: one cell is the word "generate";
synthetic-pair: one of two neighbours), a few pairs of any two passages of a document (random-pair).
The years are levelled, so that no period teaches the model more than another. The choice depends on --seed,
paperIds and texts alone: neither the order of the metadata nor other documents move a document's candidates.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter, defaultdict
from typing import NamedTuple

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log

EXAMPLE = "python select_training_pairs_final.py 400 -t metadata.tsv -r chunks -o training_pairs_final_set.tsv"

PASSAGES_PER_PAIR = 8  # one pair for every eight passages begun
GAP = 2  # unselected passages between two pairs of a document
RANDOM_SHARE = 0.02  # of the documents serve as a random-pair …
RANDOM_MOST_PASSAGES = 20  # … none longer than this
SINGLE_SHARE = 0.8  # of the paraphrased pairs are single-synthetic, the rest synthetic-pair
LEVEL_QUANTILE = 41 / 118  # the published corpus: its 41st smallest of 118 years set the limit


class Candidate(NamedTuple):
    """A pair that may be chosen: two passage numbers of a document, the same twice where it has only one."""

    document: Document
    first: int
    second: int
    is_random: bool
    rank: float  # uniform in [0, 1): a year takes its lowest
    paraphrase_rank: float  # uniform in [0, 1): a decade paraphrases its lowest
    swapped: bool  # anchor and positive change places

    @property
    def is_single(self) -> bool:
        return self.first == self.second

    @property
    def decade(self) -> int:
        return corpus.decade_of(self.document.year)


# ---------------------------------------------------------------- candidates of one document


def spaced_starts(passages: int, pairs: int, gap: int, dice: random.Random) -> list[int]:
    """Draw where pairs of neighbours start, uniformly among all ways that leave gap passages between two pairs.

    Returns fewer than `pairs` starts where no more fit. Every way to place k pairs corresponds to one way to
    choose k of the starts that remain once each pair but the last has its gap and second passage taken out.
    """
    step = gap + 2
    pairs = min(pairs, (passages + gap) // step)
    remaining = passages - 1 - (pairs - 1) * (step - 1)
    return [start + i * (step - 1) for i, start in enumerate(sorted(dice.sample(range(remaining), pairs)))]


def document_candidates(document: Document, passages: int, seed: int) -> list[Candidate]:
    """Return a document's candidate pairs; they depend on seed, paperId and its number of passages alone."""
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


# ---------------------------------------------------------------- levelling the years


def by_year(candidates: list[Candidate]) -> dict[int, list[Candidate]]:
    """Return the candidates of each year, those of low rank first."""
    years = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.rank, c.document.paper_id, c.first)):
        years[candidate.document.year].append(candidate)
    return dict(sorted(years.items()))


def year_limit(sizes: list[int], most: int, quantile: float) -> int:
    """Return how many pairs a year may give: `most`, or the quantile of the years' sizes if that is less."""
    position = max(math.ceil(quantile * len(sizes) - 1e-9), 1)  # 41/118 of 118 years is the 41st, not the 42nd
    return min(most, sorted(sizes)[position - 1])


def level_years(candidates: list[Candidate], most: int, quantile: float) -> list[Candidate]:
    """Keep of each year the pairs of lowest rank, as many as year_limit allows. InputError where there are none."""
    years = by_year(candidates)
    if not years:
        raise InputError("no document has passages to pair; check -r and the file names in it, -s, -e and the share.")
    limit = year_limit([len(pairs) for pairs in years.values()], most, quantile)
    return [pair for pairs in years.values() for pair in pairs[:limit]]


def choose_pairs(candidates: list[Candidate], most: int, quantile: float, share: float) -> list[Candidate]:
    """Level the years and drop the one-passage documents for which the paraphrase share has no room.

    What is dropped is made up for from the same years, so the years are levelled again until nothing is dropped.
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
            "%d one-passage documents dropped: they can only be paraphrased, and --paraphrase-share %g has room for no "
            "more",
            dropped,
            share,
        )
    years = Counter(pair.document.year for pair in pairs)
    log.info(
        "levelled: %d years, at most %d pairs from each (N and --level-quantile set it)",
        len(years),
        max(years.values()),
    )
    return pairs


# ---------------------------------------------------------------- which pairs are paraphrased


def apportion(total: int, shares: dict, lowest: dict, highest: dict) -> dict:
    """Split total into whole numbers as near to shares as lowest <= number <= highest allow.

    Gives one at a time to whoever is furthest below its share: the optimum for the sum of squared distances.
    """
    given = dict(lowest)
    for _ in range(total - sum(given.values())):
        open_keys = [key for key in shares if given[key] < highest[key]]
        neediest = max(open_keys, key=lambda key: shares[key] - given[key])
        given[neediest] += 1
    return given


def paraphrase_totals(pairs: int, share: float) -> tuple[int, int]:
    """Return how many of so many pairs are paraphrased, and how many of those are single-synthetic."""
    paraphrased = round(pairs * share)
    return paraphrased, round(paraphrased * SINGLE_SHARE)


def surplus_singles(pairs: list[Candidate], share: float) -> set[str]:
    """Return the paperIds of one-passage documents to drop, from the decades richest in them, until all fit the share.

    They can serve as single-synthetic only; keeping more than its share would let paraphrase drift with them.
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
    """Return every pair with its category; the share of paraphrase is exact over the set, even over the decades."""
    decades = defaultdict(list)
    for pair in pairs:
        decades[pair.decade].append(pair)
    paraphrased, single_synthetic = paraphrase_totals(len(pairs), share)
    singles = {d: sum(p.is_single for p in group) for d, group in decades.items()}
    eligible = {d: sum(not p.is_random for p in group) for d, group in decades.items()}
    if paraphrased > sum(eligible.values()):
        raise InputError(f"--paraphrase-share {share}: only {sum(eligible.values())} of {len(pairs)} pairs can be.")
    quota = apportion(paraphrased, {d: share * len(g) for d, g in decades.items()}, singles, eligible)
    single_quota = apportion(single_synthetic, {d: SINGLE_SHARE * n for d, n in quota.items()}, singles, quota)
    categories = []
    for decade, group in decades.items():
        categories += decade_categories(group, single_quota[decade], quota[decade])
    return categories


def decade_categories(pairs: list[Candidate], single_quota: int, quota: int) -> list[tuple[Candidate, str]]:
    """Return a decade's pairs with categories: one-passage documents first, then by paraphrase rank."""
    eligible = [pair for pair in pairs if not pair.is_random]
    eligible.sort(key=lambda c: (not c.is_single, c.paraphrase_rank, c.document.paper_id, c.first))
    flags = ["single-synthetic"] * single_quota + ["synthetic-pair"] * (quota - single_quota)
    flags += ["successive"] * (len(eligible) - quota)
    return list(zip(eligible, flags)) + [(pair, "random-pair") for pair in pairs if pair.is_random]


# ---------------------------------------------------------------- reading and writing


def read_candidates(documents: list[Document], chunks: ChunkFolder, seed: int) -> tuple[list[Candidate], int]:
    """Read every chunk file once and return all candidates and the number of passages; texts are not kept."""
    candidates, passages = [], 0
    for document in documents:
        count = len(chunks.passages(document))
        passages += count
        candidates += document_candidates(document, count, seed)
    return candidates, passages


def pair_rows(chosen: list[tuple[Candidate, str]], chunks: ChunkFolder):
    """Yield the rows of the pair table, reading each chosen document again: texts of one document in memory."""
    order = sorted(chosen, key=lambda c: (c[0].document.year, c[0].document.paper_id, c[0].first))
    document, passages = None, []
    for candidate, category in order:
        if candidate.document is not document:
            document, passages = candidate.document, chunks.passages(candidate.document)
        if candidate.second >= len(passages):
            raise InputError(f"{chunks.root / document.filename} changed while it was read; run again.")
        cells = [passages[candidate.first], passages[candidate.second]]
        if category == "single-synthetic":
            cells[1] = corpus.TO_GENERATE
        if candidate.swapped:
            cells.reverse()
        yield dict(zip(corpus.PAIR_COLUMNS, (document.paper_id, document.year, *cells, category)))


def log_categories(chosen: list[tuple[Candidate, str]]) -> dict[str, int]:
    """Log and return the number of pairs of each category."""
    counts = Counter(category for _, category in chosen)
    for category in corpus.CATEGORIES:
        log.info("%-17s %6d  %5.1f%%", category, counts[category], 100 * counts[category] / len(chosen))
    return dict(counts)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("most", metavar="N", type=script.positive_int, help="no year gives more than N pairs")
    script.add_corpus_arguments(arguments)
    choice = arguments.add_argument_group("choice")
    choice.add_argument(
        "--paraphrase-share",
        type=script.fraction,
        default=0.10,
        metavar="SHARE",
        help="share of the pairs to be paraphrased, four fifths single-synthetic (default %(default)s)",
    )
    choice.add_argument(
        "--level-quantile",
        type=script.fraction,
        default=LEVEL_QUANTILE,
        metavar="Q",
        help="no year gives more pairs than this quantile of the years' sizes; 1 levels by N alone (default 41/118)",
    )
    choice.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    choice.add_argument("--limit", type=script.positive_int, metavar="DOCUMENTS", help="a trial: read only so many")
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
