"""Measure for every document how far it resembles the future more than the past: novelty, transience, precocity.

Reads the folder of decade files that Apply_Tuned_Model.py wrote (Parquet, or the original's TSV) and the metadata
(paperId, year). Every passage is compared with every passage of the 20 years before and the 20 after, its own year
left out. Writes <outputfolder>/<prefix><startdate>s_docs.tsv, a line for each document, nearest fraction of a year
(1.0, 0.1, 0.05), filter, radius (10, 20 years) and share of the document's passages (1.0, the 0.25 most precocious).

The distance of two passages is −artanh of their cosine. Novelty is the mean over the years before of a year's mean
distance, transience the same over the years after, precocity novelty minus transience (Barron et al. 2018, Griebel
et al. 2024). A year without passages is left out of the mean; where fewer than half of a radius's years have any, the
value is empty. The cosine of identical passages counts as 1 − 1e-9.

Each year is a file of its own in <outputfolder>/years and <outputfolder>/passages until all are there; a year made from
the same embeddings, exclusions and settings is not made again. With --year (an array of jobs, some years each) the task
that finds all others done writes the table.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import corpus
import script
from corpus import Document
from precocity import exclusions
from precocity.arithmetic import FRACTIONS, pick_arithmetic
from precocity.comparison import CHECKED_ROWS, FILTERS, OFFSETS, RADII, WINDOW, Comparison, compare_window
from precocity.embeddings import MEMORY, Folder, Year
from precocity.exclusions import Exclusions
from precocity.values import COLUMNS, Triples, document_lines, triples_of
from script import InputError, log

EXAMPLE = "python calc_precocity_for_embeddings.py -m metadata.tsv -d embeddings/para10 -s 1900 -e 2010 -o precocity"

DEFINITION = 1  # to be raised with every change of the numbers: years made by another are made again
YEARS, PASSAGES, QUOTES = "years", "passages", "quotes"  # folders below the output folder


# ---------------------------------------------------------------- the output folder


class Places(NamedTuple):
    """The files of one year's results."""

    table: Path
    passages: Path
    record: Path


def places(args, year: int) -> Places:
    """Return where a year's results go."""
    folder, name = Path(args.outputfolder), f"{args.prefix}{year}"
    return Places(
        folder / YEARS / f"{name}.tsv", folder / PASSAGES / f"{name}.parquet", folder / YEARS / f"{name}.json"
    )


def window_of(year: int) -> range:
    return range(year - WINDOW, year + WINDOW + 1)


def plan_year(year: int, folder: Folder, left_out: Exclusions, args) -> dict:
    """Return what the record of a year will say of what it was made from."""
    digest = hashlib.sha256(folder.digest_of(window_of(year)).encode())
    digest.update(repr(sorted(left_out.train)).encode())
    for centre in sorted(folder.of_year(year)):
        others = sorted((name, sorted(numbers)) for name, numbers in left_out.passages.get(centre, {}).items())
        digest.update(repr((centre, sorted(left_out.articles.get(centre, ())), others)).encode())
    return {
        "year": year,
        "definition": DEFINITION,
        "dtype": args.dtype,
        "drop_identical": args.drop_identical,
        "inputs_sha256": digest.hexdigest(),
    }


def is_done(planned: dict, place: Places) -> bool:
    """Tell whether a year is there, whole, made from the planned inputs with the planned settings."""
    try:
        record = script.read_json(place.record)
    except FileNotFoundError:
        return False
    if not planned.items() <= record.items():
        return False
    return record["sha256"] == [script.file_digest(place.table), script.file_digest(place.passages)]


def make_year(year: int, folder: Folder, left_out: Exclusions, args, arithmetic) -> None:
    """Write one year's table, passages and, last, its record, unless they are there, made from the same inputs."""
    planned, place, started = plan_year(year, folder, left_out, args), places(args, year), time.time()
    if is_done(planned, place):
        log.info("%d: there already, made from the same inputs", year)
        return
    folder.expect(year - WINDOW)  # the first to be compared with: two cores read two decades
    centre = folder.year(year)
    in_metadata = folder.of_year(year)
    facts = {"documents": 0, "passages": 0, "without_embeddings": in_metadata, "with_gaps": []}
    if centre is not None:
        found = compare_window(folder, centre, left_out, arithmetic, args.drop_identical)
        triples = triples_of(found.means)
        facts = facts_of(centre, in_metadata, found, triples)
    # All that could be refused is read and compared; from here on the table isn't whole.
    for path in (manifest_path(args), table_path(args), place.record):
        path.unlink(missing_ok=True)
    place.table.parent.mkdir(parents=True, exist_ok=True)
    if centre is None:
        script.write_lines(place.table, [])
        place.passages.unlink(missing_ok=True)
    else:
        script.write_lines(place.table, document_lines(centre, triples))
        write_passages(place.passages, centre, triples)
    seconds = round(time.time() - started, 2)
    sums = [script.file_digest(place.table), script.file_digest(place.passages)]
    script.write_json(place.record, planned | facts | {"seconds": seconds, "sha256": sums})
    log.info("%d: %d documents, %d passages, %.3g pairs, %.1f s", year, facts["documents"], facts["passages"],
             facts.get("pairs", 0), seconds)  # fmt: skip


def facts_of(centre: Year, in_metadata: list[str], found: Comparison, triples: Triples) -> dict:
    """Return what the record says of a year: counts, and everything odd."""
    import numpy as np

    with_embeddings, counts = set(centre.documents), np.diff(centre.starts)
    counted = np.concatenate([np.arange(count) for count in counts])
    gaps = np.add.reduceat(centre.numbers != counted, centre.starts[:-1], dtype=int)
    there = ~np.isnan(found.means[:, :, 0, 0]).all(axis=0)
    return {
        "documents": len(centre.documents),
        "passages": len(centre.numbers),
        "without_embeddings": [document for document in in_metadata if document not in with_embeddings],
        "with_gaps": [document for document, gap in zip(centre.documents, gaps) if gap],
        "years_without_passages": [centre.year + offset for offset, any_ in zip(OFFSETS, there) if not any_],
        "passages_without_precocity": int(np.isnan(triples.values[:, 0, 0, -1, 0]).sum()),
        **{name: found.counts[name] for name in ("pairs", "identical_pairs", "passages_listed")},
        "passages_listed_not_found": found.counts["passages_listed"] - found.counts["passages_listed_and_found"],
        "float32_difference": found.float32_difference,
    }


def write_passages(path: Path, centre: Year, triples: Triples) -> None:
    """Write every passage's values: paperId, chunknumber, fraction, filter, radius, precocity, novelty, transience."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [(share, name, radius) for share in FRACTIONS for name in FILTERS for radius in RADII]
    owner = np.repeat(np.arange(len(centre.documents)), np.diff(centre.starts))
    ids = pa.DictionaryArray.from_arrays(pa.array(np.repeat(owner, len(kinds)).astype("int32")), centre.documents)
    of_kind = np.tile(np.arange(len(kinds)), len(owner)).astype("int32")
    columns = {"paperId": ids.cast(pa.string()), "chunknumber": np.repeat(centre.numbers, len(kinds)).astype("int32")}
    for name, values in zip(("fraction_compared", "filtered", "time_radius"), zip(*kinds)):
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(of_kind), pa.array(values)).dictionary_decode()
    flat = triples.values.reshape(-1, 3).astype("float32")
    columns |= {name: flat[:, i] for i, name in enumerate(("precocity", "novelty", "transience"))}
    with script.replacing(path) as beside:
        parquet.write_table(pa.table(columns), beside, compression="zstd")


def table_path(args) -> Path:
    """Return where the table of all years goes."""
    return Path(args.outputfolder) / f"{args.prefix}{args.startdate}s_docs.tsv"


def manifest_path(args) -> Path:
    """Return where the record of the table goes; once it is there, the table is whole."""
    return Path(args.outputfolder) / f"{args.prefix}{corpus.MANIFEST}"


def merge(args, years: list[int], planned: dict[int, dict], started: float) -> None:
    """Write the table of all years, whole, and its record, if every year is there, made from what was planned."""
    missing = [year for year in years if not is_done(planned[year], places(args, year))]
    if missing:
        log.info("%d of %d years are left to other tasks; the last of them writes the table", len(missing), len(years))
        return
    records = [script.read_json(places(args, year).record) for year in years]
    header = "\t".join(COLUMNS) + "\n"

    def lines():
        yield header
        for year in years:
            with open(places(args, year).table, encoding="utf-8", newline="") as table:
                yield from table

    written = script.write_lines(table_path(args), lines()) - 1
    log_oddities(records)
    names = ("documents", "passages", "pairs", "identical_pairs", "passages_listed_not_found")
    facts = {name: sum(record.get(name, 0) for record in records) for name in names}
    facts |= {"table": table_path(args).name, "lines": written}
    facts |= {"float32_difference": max(record.get("float32_difference", 0) for record in records)}
    script.write_json(manifest_path(args), script.run_record(args, started, **facts, years=records))
    log.info("%s: %d documents, %d lines", table_path(args), facts["documents"], written)


def log_oddities(records: list[dict]) -> None:
    """Say once for all years what was missing, left aside or odd."""
    for name, what in (
        ("without_embeddings", "documents of the metadata without embeddings, no lines for them"),
        ("with_gaps", "documents whose passage numbers are not 0, 1, 2 …; the passages that are there are used"),
    ):
        documents = [document for record in records for document in record[name]]
        if documents:
            log.warning("%d %s: %s", len(documents), what, script.first_few(documents))
    for name, what in (
        ("identical_pairs", "pairs of identical passages: cosine 1 − 1e-9, or left out with --drop-identical"),
        ("passages_listed_not_found", "times a passage listed for a document has no embedding"),
        ("passages_without_precocity", "passages without precocity: fewer than half of the years on a side have any"),
    ):
        if count := sum(record.get(name, 0) for record in records):
            log.warning("%d %s", count, what)
    if difference := max(record.get("float32_difference", 0) for record in records):
        log.info("float32 differs from float64 by %.1e at most in a year's mean (%d passages of each year checked)",
                 difference, CHECKED_ROWS)  # fmt: skip


# ---------------------------------------------------------------- exclusions


def gather_exclusions(args, folder: Folder, centres: set[str]) -> Exclusions:
    """Return what is left out by files and by author; what was made from authors is written for inspection."""
    articles, passages, train = {}, {}, set()
    if args.articleexclude:
        articles = exclusions.read_articles(args.articleexclude, folder.order)
    if args.chunkexclude:
        passages = exclusions.read_passages(args.chunkexclude, folder.order)
    if args.exclude_same_author:
        made = exclusions.same_author(args.meta, folder.documents, args.author_column, centres, WINDOW)
        exclusions.write_articles(Path(args.outputfolder) / f"{args.prefix}author_exclusions.tsv", made)
        articles = exclusions.join_articles(articles, made)
    if args.train_pairs:
        train = {row["paperId"] for row in corpus.each_pair(args.train_pairs)}
        if unknown := sorted(train - folder.order.keys()):
            log.warning("%s: %d documents are not in the metadata: %s", args.train_pairs, len(unknown),
                        script.first_few(unknown))  # fmt: skip
    return Exclusions(train, articles, passages)


class Quotes:
    """The passages that share six words with a centre document, made year by year and kept as files.

    A window of 7,000 passages a year takes 1.6 GB and the reading of all its texts.
    """

    def __init__(self, args, folder: Folder):
        self.args, self.folder = args, folder
        self.chunks = corpus.ChunkFolder(args.rootfolder)
        self.kept: OrderedDict[int, exclusions.Phrases] = OrderedDict()

    def of_year(self, year: int) -> dict[str, dict[str, set[int]]]:
        """Return the passage exclusions of a year's documents; from its file where that was made from these inputs."""
        path = Path(self.args.outputfolder) / QUOTES / f"{self.args.prefix}{year}.tsv"
        planned = {"most_documents": self.args.quote_documents, "inputs": self.folder.digest_of(window_of(year))}
        record = script.record_path(path)
        if path.exists() and record.exists() and planned.items() <= script.read_json(record).items():
            return exclusions.read_passages(path, self.folder.order)
        others = [self.phrases(year + offset) for offset in OFFSETS]
        found = exclusions.sharing_six_words(self.phrases(year), others, self.args.quote_documents)
        record.unlink(missing_ok=True)
        exclusions.write_passages(path, found)
        count = sum(len(numbers) for passages in found.values() for numbers in passages.values())
        script.write_json(record, planned | {"documents": len(found), "passages": count})
        log.info("%d: %d documents share six words with %d passages of other years", year, len(found), count)
        return found

    def phrases(self, year: int) -> exclusions.Phrases:
        """Return a year's phrases; those of one window are kept, some 40 MB for 7,000 passages."""
        if year not in self.kept:
            self.kept[year] = exclusions.phrases_of(self.folder.by_year.get(year, []), self.chunks)
        self.kept.move_to_end(year)
        while len(self.kept) > len(OFFSETS) + 1:
            self.kept.popitem(last=False)
        return self.kept[year]


# ---------------------------------------------------------------- command line


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    group = arguments.add_argument_group("what is compared")
    add = group.add_argument
    add("-m", "--meta", required=True, metavar="TSV", help="metadata with columns paperId and year")
    add("-d", "--data", required=True, metavar="FOLDER", help="embeddings, <decade>.parquet or <decade>.tsv")
    add("-s", "--startdate", type=int, metavar="YEAR", help="first year of documents, inclusive (default the first)")
    add("-e", "--enddate", type=int, metavar="YEAR", help="last year, exclusive (default all)")
    add("-o", "--outputfolder", required=True, metavar="FOLDER", help="where the table and the years' files go")
    add("-p", "--prefix", default="", help="of the files' names (default none)")
    add("--year", type=int, nargs="+", metavar="YEAR", help="make only these of the years (an array of jobs)")
    group = arguments.add_argument_group("what is left out")
    add = group.add_argument
    add("-a", "--articleexclude", metavar="TSV", help="documents: lines centre<TAB>other, no header")
    add("-c", "--chunkexclude", metavar="TSV", help="passages: lines centre<TAB>paperId-chunk<TAB>…, no header")
    add("--exclude-same-author", action="store_true", help="make -a from the metadata; see author_exclusions.tsv")
    add("--author-column", default="author", metavar="NAME", help="authors, between semicolons (default %(default)s)")
    add("--exclude-quotes", action="store_true", help="make -c from shared six-word strings (-r); see quotes/")
    add("-r", "--rootfolder", metavar="FOLDER", help="of chunk files, <paperId>.txt, for --exclude-quotes")
    add(
        "--quote-documents",
        type=script.positive_int,
        default=10,
        metavar="N",
        help="a string in more documents than this is a common phrase, no quotation (default %(default)s)",
    )
    add("--train-pairs", metavar="TSV", help="training pairs: their documents are left out by the filter train")
    add("--drop-identical", action="store_true", help="leave identical passages (reprints) out of every mean")
    group = arguments.add_argument_group("how")
    add = group.add_argument
    add(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="of the arithmetic; float64 takes twice as long",
    )
    add("--device", choices=("cpu", "cuda", "mps", "auto"), default="cpu", help="auto: a GPU where there is one")
    add("--threads", type=script.positive_int, metavar="N", help="default OMP_NUM_THREADS, or all cores")
    add(
        "--memory",
        type=float,
        default=MEMORY,
        metavar="GB",
        help="of vectors kept from year to year (default %(default)s)",
    )
    args = arguments.parse_args(argv)
    if "/" in args.prefix:
        arguments.error(f"-p/--prefix {args.prefix!r} holds '/'; -o/--outputfolder names the folder")
    if args.exclude_quotes and not args.rootfolder:
        arguments.error("--exclude-quotes needs -r/--rootfolder, the folder of chunk files")
    return args


def years_asked_for(args, documents: list[Document]) -> list[int]:
    """Return the years of -s and -e that have documents; set -s where it was left out."""
    years = sorted({document.year for document in documents})
    if args.startdate is None and years:
        args.startdate = years[0]
    years = [year for year in years if args.startdate <= year and (args.enddate is None or year < args.enddate)]
    if not years:
        raise InputError(f"{args.meta} has no document of the years asked for; check -s and -e (exclusive).")
    return years


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    documents, skipped = corpus.read_metadata(args.meta)
    corpus.log_skipped(documents, skipped)
    years = years_asked_for(args, documents)
    folder, arithmetic = Folder(args.data, documents, args.memory), pick_arithmetic(args)
    folder.warn_of_gaps(range(years[0] - WINDOW, years[-1] + WINDOW + 1))
    left_out = gather_exclusions(args, folder, {paper_id for year in years for paper_id in folder.of_year(year)})
    quotes = Quotes(args, folder) if args.exclude_quotes else None

    def left_out_of(year: int) -> Exclusions:
        if quotes is None:
            return left_out
        return left_out._replace(passages=exclusions.join_passages(left_out.passages, quotes.of_year(year)))

    todo = [year for year in years if args.year is None or year in args.year]
    for year in todo:
        make_year(year, folder, left_out_of(year), args, arithmetic)
    if not todo:
        log.info("no document of %s in %s: nothing to make", script.first_few([str(y) for y in args.year]), args.meta)
    folder.log_unknown(args.meta)
    if quotes:
        quotes.chunks.log_oddities()
    if args.year is not None and not all(places(args, year).record.exists() for year in years):
        log.info("other tasks have years left to make; the last of them writes the table")
        return 0
    planned = {year: plan_year(year, folder, left_out_of(year), args) for year in years}
    merge(args, years, planned, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
