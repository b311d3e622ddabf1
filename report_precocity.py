"""Show what calc_precocity_for_embeddings.py measured: pictures, a table by decade, and a section for the report.

Reads one or more tables (<prefix><startdate>s_docs.tsv with its manifest and passages/ beside it, or the folder that
holds them) and the metadata (paperId, year; title and numeric columns if there are any). Writes PNG pictures, each with
a TSV of what it shows, precocity_most_least.tsv and last section.html, which evaluate_timeline.py --section puts into
its page. Of the documents at either end, and of those that --explain names, it shows how similar they are to every year
around them, and which passages of other documents are nearest; for this it reads the embeddings. With --beside
NAME=TABLE, it compares the ranks of documents with those by another representation, such as a topic model, and writes
precocity_beside.tsv. With --outcome NAME, a numeric column such as citations, or --groups COLUMN=ONE,OTHER, it says how
much precocity, its square, and novelty explain of that beyond the date, by each representation, and writes
precocity_outcomes.tsv.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import lock
import script
from corpus import ChunkFolder
from precocity.arithmetic import FRACTIONS
from precocity.comparison import FILTERS, RADII
from script import log

EXAMPLE = "python report_precocity.py precocity/para10 -t metadata.tsv -o report --outcome citations"

STRIPS = 8  # documents at either end whose passages are drawn


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("tables", nargs="+", metavar="TABLE", help="TSV or folder that calc_precocity_for_embeddings.py wrote")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId, year, title …")
    add("-o", "--output", required=True, metavar="FOLDER", help="where pictures, table and section.html go")
    add(
        "--fraction",
        type=float,
        choices=FRACTIONS,
        default=0.1,
        help="of each year's passages, the nearest (default %(default)s)",
    )
    add(
        "--filter",
        choices=FILTERS,
        default=FILTERS[-1],
        help="comparisons left out (default %(default)s, the strictest)",
    )
    add("--radius", type=int, choices=RADII, default=20, help="years before and after (default %(default)s)")
    beside = "another representation's table to compare with, or another seed's; may be repeated"
    add("--beside", action="append", default=[], metavar="NAME=TABLE", help=beside)
    add("--name", metavar="NAME", help="of the representation shown (default the name of the table's folder)")
    add("--outcome", action="append", default=[], metavar="NAME", help="numeric column to explain; may be repeated")
    groups = "two values of a column whose documents to compare; may be repeated"
    add("--groups", action="append", default=[], metavar="COLUMN=ONE,OTHER", help=groups)
    date = "null model of an outcome: a line, or a dummy for each five years (default %(default)s)"
    add("--date", choices=("linear", "years-5"), default="linear", help=date)
    add("--explain", action="append", default=[], metavar="PAPERID", help="a document to explain; may be repeated")
    add("-d", "--data", metavar="FOLDER", help="embeddings that were measured (default those that the manifest names)")
    add("--show-text", action="store_true", help="show the beginnings of explained passages; mind the corpus's license")
    add("-r", "--rootfolder", metavar="FOLDER", help="chunk files, for --show-text")
    script.add_encoding_errors(arguments)
    args = arguments.parse_args(argv)
    if args.show_text and not args.rootfolder:
        arguments.error("--show-text needs -r/--rootfolder, the folder of chunk files")
    return args


def show(args, started: float) -> None:
    """Write pictures, the list of the most and least precocious documents, and last section.html."""
    import pandas as pd  # these take a second, which --help must not

    from report import precocity_figures as figures
    from report import precocity_tables as tables
    from report.explain import Inputs, explain_documents, to_explain
    from report.explain_page import explanation
    from report.outcomes import Asked, explain, measures_of, tables_of, write_outcomes
    from report.precocity_beside import compare, write_beside
    from report.precocity_page import Section, write_section

    folder, choice = Path(args.output), tables.Choice(args.fraction, args.filter, args.radius)
    measured = [tables.measured_in(path) for path in args.tables]
    rows, table = tables.read_rows(args.metadatapath), tables.read_tables([one.table for one in measured])
    documents = tables.documents_of(table, choice, rows)
    left_out = table.docid.nunique() - len(documents)
    log.info("%d documents with precocity, %d without: %s", len(documents), left_out, choice)
    if len(documents) < 2:  # a short or thin corpus is no fault of the input
        log.warning("fewer than two documents have precocity; choose another --radius or a longer corpus")
        write_section(folder / "section.html", Section(choice, left_out))
        return
    others, name = script.named_paths(args.beside), args.name or measured[0].table.resolve().parent.name
    found = []
    if args.outcome or args.groups:
        asked = Asked(args.outcome, args.groups, args.date == "linear", measured[0].author_column())
        found = explain(asked, measures_of(documents.year, tables_of(name, table, others), choice), rows)
    shown = pd.concat(tables.ends(documents, "precocity", STRIPS))
    passages = tables.read_passages(measured, choice, shown)

    beside = compare(documents, name, others, choice) if others else None
    chunks = ChunkFolder(args.rootfolder, args.encoding_errors) if args.show_text else None
    inputs = Inputs(args.metadatapath, args.data, chunks)
    explained, reasons = explain_documents(measured, to_explain(documents, args.explain), choice, inputs)
    if beside:
        write_beside(folder / "precocity_beside.tsv", beside)
    if found:
        write_outcomes(folder / "precocity_outcomes.tsv", found)

    listed = tables.most_and_least(documents)
    tables.write_most_and_least(folder / "precocity_most_least.tsv", listed)
    pictures = {
        "timeline": figures.draw_timeline(documents, folder),
        "top_quarter": figures.draw_top_quarter(documents, folder),
        "strips": figures.draw_strips(shown, passages, folder),
    }
    facts = {"documents": len(documents), "without_precocity": left_out, "outcomes": [one._asdict() for one in found]}
    facts["rank_correlations"] = beside.as_json() if beside else []
    script.write_json(folder / "precocity_report.json", script.run_record(args, started, **facts))
    sure = [one.facts(choice) for one in measured]
    why = explanation(explained, reasons, documents, rows, folder)
    section = Section(choice, left_out, sure, pictures, listed, found, beside, figures.answer(documents), why)
    write_section(folder / "section.html", section)
    log.info("%s", folder / "section.html")


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    with lock.alone_in(args.output):
        show(args, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
