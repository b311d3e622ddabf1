"""Draw a map of the documents to walk in: a page that opens from disk, without a network.

Reads a folder of embeddings, the metadata (paperId, year; title and author if there are any) and, with --precocity,
a table of precocity. Writes <output>/map.html (search titles, click on a document to see the nearest earlier and later
ones, color by year, precocity or author, choose years); map.parquet, a table with a row for each document (coordinates,
metadata, precocity, and neighbors, as embedding-atlas reads it); and map.png with section.html, a still map that
evaluate_timeline.py --section puts into its page. Passages are drawn as points; their texts are not read.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import lock
import script
from script import InputError, log

EXAMPLE = "python draw_map.py embeddings/para10 -t metadata.tsv --precocity precocity/para10 -o map"
PACKAGES = {"umap-learn": "umap", "plotly": "plotly"}  # and the module of each


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("embeddings", metavar="FOLDER", help="embeddings, from Apply_Tuned_Model.py")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId, year, title …")
    add("-o", "--output", required=True, metavar="FOLDER", help="where page, table and picture go")
    add("--precocity", metavar="TABLE", help="TSV or folder that calc_precocity_for_embeddings.py wrote")
    add("--author", default="author", metavar="COLUMN", help="metadata column, used if present (default %(default)s)")
    most = "show at most N passages, drawn at random from more; 0 shows documents only (default %(default)s)"
    add("--passages", type=script.whole_number, default=50_000, metavar="N", help=most)
    add("--seed", type=int, default=0, help="of layout and draw (default %(default)s)")
    return arguments.parse_args(argv)


def check_packages() -> None:
    """Refuse to begin without the packages that only a map needs: it would take minutes to find out."""
    lacking = [package for package, module in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if lacking:
        raise InputError(
            f"{lacking[0]} is not installed; run make map, or pip install -r requirements-map.txt -c constraints.txt."
        )


def precocity_of(table: str, rows: dict[str, dict[str, str]]) -> dict[str, float]:
    """Return the documents' precocity by paperId, of the choice that the report shows unless told otherwise."""
    from precocity.comparison import FILTERS
    from report import precocity_tables as tables

    choice = tables.Choice(0.1, FILTERS[-1], 20)
    documents = tables.documents_of(tables.read_table(tables.measured_in(table).table), choice, rows)
    log.info("%d documents with precocity: %s", len(documents), choice)
    return documents.precocity.to_dict()


def draw(args, started: float) -> None:
    """Write table, picture, section and last the page."""
    from report import map_data, map_page  # these take a second, which --help must not
    from report.precocity_tables import read_rows, title_of

    folder, rows = Path(args.output), read_rows(args.metadatapath)
    precocity = precocity_of(args.precocity, rows) if args.precocity else {}
    documents, passages = map_data.read_folder(args.embeddings, args.metadatapath, args.passages, args.seed)
    log.info("%d documents, %d of their %d passages", len(documents.years), len(passages.number),
             documents.passages.sum())  # fmt: skip
    earlier, later, nearest = map_data.nearest_of_all(documents)
    places, passage_places = map_data.lay_out(documents, passages, args.seed)

    own = [rows[paper_id] for paper_id in documents.paper_ids]
    titles = [title_of(row) for row in own]
    authors = [row.get(args.author, "").strip() for row in own]
    values = [precocity.get(paper_id) for paper_id in documents.paper_ids]
    shown = map_page.Map(documents, passages, titles, authors, values, places, passage_places, earlier, later)
    map_data.write_table(folder / "map.parquet", map_page.columns_of(shown), nearest)
    map_page.write_section(folder / "section.html", map_page.draw_still(shown, folder))
    facts = {"documents": len(documents.years), "passages_shown": len(passages.number)}
    script.write_json(folder / "map.json", script.run_record(args, started, **facts))
    map_page.write_map(folder / "map.html", shown)
    log.info("%s", folder / "map.html")


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    check_packages()
    with lock.alone_in(args.output):
        draw(args, started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
