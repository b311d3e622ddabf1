"""Choose training pairs without paraphrase: neighboring passages only.

Reads the metadata (TSV with columns paperId, year), the folder of chunk files, and, with --match, the pairs of the
paraphrase set. Writes a table of pairs (paperId, year, anchor, positive, category "successive") with as many pairs in
each year as that set. Two models tuned on the two sets then differ only in paraphrase. Without --match, N limits each
year and the years are leveled, as for the paraphrase set.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log
from selection import LEVEL_QUANTILE, PASSAGES_PER_PAIR, Candidate, by_year, level_years, pair_rows, spaced_starts

EXAMPLE = (
    "python select_training_pairs_no_paraphrase.py -t metadata.tsv -r chunks"
    " --match training_pairs_final_set.tsv -o training_pairs_no_paraphrase.tsv"
)

GAP = 1  # unselected passages between two pairs of a document


def successive_candidates(document: Document, passages: int, seed: int, dense: bool = False) -> list[Candidate]:
    """Return a document's candidate pairs: one for every eight passages, or if dense as many as fit."""
    if passages < 2:
        return []
    dice = random.Random(f"successive {seed} {document.paper_id}")
    wanted = passages if dense else math.ceil(passages / PASSAGES_PER_PAIR)
    return [
        Candidate(document, start, start + 1, False, dice.random(), 0.0, dice.random() < 0.5)
        for start in spaced_starts(passages, wanted, GAP, dice)
    ]


def match_years(documents: list[Document], lengths: list[int], wanted: Counter, seed: int) -> list[Candidate]:
    """Return as many pairs as wanted in each year; a year with too few places its pairs closer together."""
    plain = by_year([c for d, n in zip(documents, lengths) for c in successive_candidates(d, n, seed)])
    short = {year for year, count in wanted.items() if len(plain.get(year, ())) < count}
    dense = by_year(
        [c for d, n in zip(documents, lengths) if d.year in short for c in successive_candidates(d, n, seed, True)]
    )
    if short:
        log.info("%d years need more than one pair for every %d passages", len(short), PASSAGES_PER_PAIR)
    return [
        pair
        for year, count in sorted(wanted.items())
        for pair in (dense if year in short else plain).get(year, [])[:count]
    ]


def check_matched(chosen: list[Candidate], wanted: Counter, allow_shortfall: bool) -> dict[int, int]:
    """Return how many pairs each year lacks. InputError if any year lacks pairs, unless that is allowed."""
    found = Counter(pair.document.year for pair in chosen)
    lacking = {year: count - found[year] for year, count in sorted(wanted.items()) if found[year] < count}
    if not lacking:
        return {}
    years = script.first_few([f"{year} ({count})" for year, count in lacking.items()])
    if not allow_shortfall:
        raise InputError(
            f"{sum(lacking.values())} pairs of the --match set have no counterpart, years {years}: too few documents "
            "have two passages; pass --allow-shortfall to continue with fewer pairs."
        )
    log.warning("%d fewer pairs than the --match set, years %s", sum(lacking.values()), years)
    return lacking


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument(
        "most", metavar="N", nargs="?", type=script.positive_int, help="without --match: at most N pairs from each year"
    )
    script.add_corpus_arguments(arguments)
    choice = arguments.add_argument_group("choice")
    choice.add_argument("--match", metavar="TSV", help="table of pairs; choose as many pairs in each year as it has")
    choice.add_argument("--allow-shortfall", action="store_true", help="continue if a year has too few pairs to match")
    choice.add_argument(
        "--level-quantile",
        type=script.fraction,
        default=LEVEL_QUANTILE,
        metavar="Q",
        help="without --match: no year gives more pairs than this quantile of the years' sizes (default 41/118)",
    )
    choice.add_argument("--seed", type=int, default=0, help="of the random choice (default %(default)s)")
    choice.add_argument("--limit", type=script.positive_int, metavar="DOCUMENTS", help="trial run: read only this many")
    arguments.add_argument(
        "-o", "--output", default="training_pairs_no_paraphrase.tsv", metavar="TSV", help="(default %(default)s)"
    )
    args = arguments.parse_args(argv)
    if (args.most is None) == (args.match is None):
        arguments.error("give either N or --match")
    return args


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    wanted = Counter(corpus.whole_year(row) for row in corpus.each_pair(args.match)) if args.match else None
    documents, skipped = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    corpus.log_skipped(documents, skipped)
    documents = documents[: args.limit]
    chunks = ChunkFolder(args.rootfolder, args.encoding_errors)

    lengths = [chunks.count(document) for document in documents]
    chunks.log_oddities()
    counts = {"documents": len(documents), "passages": sum(lengths), "skipped": skipped, **chunks.counts()}
    if wanted is not None:
        chosen = match_years(documents, lengths, wanted, args.seed)
        lacking = check_matched(chosen, wanted, args.allow_shortfall)
    else:
        candidates = [c for d, n in zip(documents, lengths) for c in successive_candidates(d, n, args.seed)]
        chosen, lacking = level_years(candidates, args.most, args.level_quantile), {}
    if not chosen:
        raise InputError(f"no pair is left: {args.match} is empty, or no document of its years has two passages.")

    written = corpus.write_pairs(args.output, pair_rows([(pair, "successive") for pair in chosen], chunks))
    counts |= {"pairs": written, "pairs_lacking_by_year": lacking}
    script.write_json(script.record_path(args.output), script.run_record(args, started, counts=counts))
    log.info("%d pairs in %s", written, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
