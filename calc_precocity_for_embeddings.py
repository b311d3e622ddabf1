"""Measure how much each document resembles the future more than the past: novelty, transience, precocity.

Reads the folder of decade files that Apply_Tuned_Model.py wrote (Parquet, or the original's TSV) and the metadata
(paperId, year). Compares every passage with every passage of the 20 years before and the 20 years after, but not with
those of its own year. Writes <outputfolder>/<prefix><startdate>s_docs.tsv. It has one line for each combination of

  document
  fraction    of a year's passages, the nearest: 1.0, 0.1, 0.05
  filter      "no filter" leaves nothing out, "train" the documents of --train-pairs, "trainauth" also those of -a and
              --exclude-same-author, "trainauthquote" also the passages of -c and --exclude-quotes
  radius      10 or 20 years
  share       of the document's passages: 1.0, or 0.25, the most precocious quarter

The distance of two passages is −artanh of their cosine; identical passages count as a cosine of 1 − 1e-9. With
--distance kl, it is the Kullback–Leibler divergence of the center passage's mixture of topics from the other's.
Novelty is the mean over the years before of each year's mean distance, transience the same over the years after.
Precocity is novelty minus transience (Barron et al. 2018, Griebel et al. 2024). Years without passages do not count. A
value is empty if fewer than half of the years of a radius have passages.

Each value comes with two standard errors, a p-value, a z-score among the documents of about the same time, and a second
measure, later over earlier similarity (Kelly et al. 2021). docs/precocity.md defines them.

Each year has files of its own in <outputfolder>/years and <outputfolder>/passages. A year that was made from the same
embeddings, exclusions, and settings is not made again. With --year, several jobs can share the years; the last one to
finish writes the table.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import corpus
import lock
import script
from corpus import ChunkFolder, Document
from precocity import exclusions
from precocity.arithmetic import pick_arithmetic
from precocity.comparison import WINDOW
from precocity.embeddings import MEMORY, Folder
from precocity.exclusions import Exclusions
from precocity.quotes import Quotes
from precocity.settings import Settings
from precocity.table import write_table
from precocity.years import make_years, plan_year
from script import InputError, log

EXAMPLE = "python calc_precocity_for_embeddings.py -m metadata.tsv -d embeddings/para10 -s 1900 -e 2010 -o precocity"


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    group = arguments.add_argument_group("what is compared")
    add = group.add_argument
    add("-m", "--meta", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-d", "--data", required=True, metavar="FOLDER", help="embeddings, <decade>.parquet or <decade>.tsv")
    add("-s", "--startdate", type=int, metavar="YEAR", help="first year to measure, inclusive (default the first)")
    add("-e", "--enddate", type=int, metavar="YEAR", help="last year, exclusive (default all)")
    add("-o", "--outputfolder", required=True, metavar="FOLDER", help="for the table and the files of each year")
    add("-p", "--prefix", default="", help="of file names (default none)")
    add("--year", type=int, nargs="+", metavar="YEAR", help="make only these years (for an array of jobs)")
    group = arguments.add_argument_group("what is left out")
    add = group.add_argument
    add("-a", "--articleexclude", metavar="TSV", help="documents: lines center<TAB>other, no header")
    add("-c", "--chunkexclude", metavar="TSV", help="passages: lines center<TAB>paperId-chunk<TAB>…, no header")
    add("--exclude-same-author", action="store_true", help="make -a from the metadata, as author_exclusions.tsv")
    authors = "separated by semicolons; the null keeps an author's years together, too (default %(default)s)"
    add("--author-column", default="author", metavar="NAME", help=authors)
    add("--exclude-quotes", action="store_true", help="make -c from shared six-word phrases, in quotes/")
    add("-r", "--rootfolder", metavar="FOLDER", help="chunk files, <paperId>.txt, for --exclude-quotes")
    add(
        "--quote-documents",
        type=script.positive_int,
        default=10,
        metavar="N",
        help="a phrase in more documents than this is no quotation (default %(default)s)",
    )
    script.add_encoding_errors(group)
    add("--train-pairs", metavar="TSV", help="training pairs; the filter train leaves out their documents")
    add("--drop-identical", action="store_true", help="leave identical passages (reprints) out of every mean")
    group = arguments.add_argument_group("how")
    add = group.add_argument
    distance = "of passages: −artanh of the cosine (default), or KL divergence of mixtures of topics"
    add("--distance", choices=("cosine", "kl"), default="cosine", help=distance)
    window = "years before and after, for z and later_over_earlier (default %(default)s)"
    add("--z-window", type=script.whole_number, default=5, metavar="YEARS", help=window)
    add(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision; float64 takes twice as long (default %(default)s)",
    )
    add("--device", choices=("cpu", "cuda", "mps", "auto"), default="cpu", help="auto: a GPU if any (default cpu)")
    add("--threads", type=script.positive_int, metavar="N", help="on the CPU (default OMP_NUM_THREADS, else all cores)")
    add(
        "--memory",
        type=float,
        default=MEMORY,
        metavar="GB",
        help="for vectors kept from year to year (default %(default)s)",
    )
    add("--check", action="store_true", help="check metadata, embeddings and exclusions; measure nothing")
    args = arguments.parse_args(argv)
    if "/" in args.prefix:
        arguments.error(f"-p/--prefix {args.prefix!r} contains '/'; give the folder with -o/--outputfolder")
    if args.exclude_quotes and not args.rootfolder:
        arguments.error("--exclude-quotes needs -r/--rootfolder, the folder of chunk files")
    return args


def years_asked_for(args, documents: list[Document]) -> list[int]:
    """Return the years of -s and -e that have documents; without -s, set it to the first year."""
    years = sorted({document.year for document in documents})
    if args.startdate is None and years:
        args.startdate = years[0]
    years = [year for year in years if args.startdate <= year and (args.enddate is None or year < args.enddate)]
    if not years:
        raise InputError(f"{args.meta} has no document of the years asked for; check -s and -e (exclusive).")
    return years


def measure(args, years: list[int], folder: Folder, settings: Settings, started: float) -> None:
    """Make the years that this task is to make, and the table if no other task has years left."""
    arithmetic = pick_arithmetic(args.dtype, args.device, args.threads, args.distance)
    folder.warn_of_gaps(range(years[0] - WINDOW, years[-1] + WINDOW + 1))
    centers = {paper_id for year in years for paper_id in folder.of_year(year)}
    left_out, by_author = exclusions.gather(args, folder, centers, WINDOW)
    if args.exclude_same_author and not args.check:
        exclusions.write_articles(settings.author_exclusions, by_author)
    if args.check:
        log.info("%d documents of %d years, embeddings of %d decades", len(centers), len(years), len(folder.files))
        return
    quotes = None
    if args.exclude_quotes:
        quotes = Quotes(folder, ChunkFolder(args.rootfolder, args.encoding_errors), args.quote_documents, settings)

    def left_out_of(year: int) -> Exclusions:
        if quotes is None:
            return left_out
        return left_out._replace(passages=exclusions.join_passages(left_out.passages, quotes.of_year(year)))

    todo = [year for year in years if args.year is None or year in args.year]
    if not todo:
        log.info("%s has no document of %s: nothing to do", args.meta, script.first_few([str(y) for y in args.year]))
    make_years(todo, folder, left_out_of, arithmetic, settings)
    folder.log_unknown(args.meta)
    if quotes:
        quotes.chunks.log_oddities()

    if not all(settings.places(year).record.exists() for year in years):
        log.info("other tasks still have years to make; the last task writes the table")
        return
    facts = write_table({year: plan_year(year, folder, left_out_of(year), settings) for year in years}, settings)
    if facts is not None:
        finish(args, facts, settings, started)


def finish(args, facts: dict, settings: Settings, started: float) -> None:
    """Write the manifest, or only renew its time if it says the same; remove tables that no manifest names any more."""
    if facts.items() <= corpus.read_if_there(settings.manifest).items():
        settings.manifest.touch()  # newer than what it was checked against, so that make believes it
    else:
        script.write_json(settings.manifest, script.run_record(args, started, **facts))
    for earlier in settings.earlier_tables():
        earlier.unlink()
        log.info("%s removed: it begins with another year than %s", earlier, settings.table.name)
    log.info("%s: %d documents, %d lines", settings.table, facts["documents"], facts["lines"])


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    documents, skipped = corpus.read_metadata(args.meta)
    corpus.log_skipped(documents, skipped)
    years = years_asked_for(args, documents)
    how = (args.dtype, args.drop_identical, args.distance, args.z_window)
    settings = Settings(Path(args.outputfolder), args.prefix, args.startdate, *how)
    folder = Folder(args.data, documents, args.memory, exclusions.read_authors(args.meta, args.author_column))
    parts = [f"{args.prefix}{year}" for year in args.year or ()]
    with nullcontext() if args.check else lock.alone_in(settings.folder, *parts):
        measure(args, years, folder, settings, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
