"""The table of all years: written once every year's files are up to date, from these files.

Comes in: for each year what it should be made from. Goes out: <prefix><first year>s_docs.tsv, the counts for its
record, and one line in the log for everything that was missing, left out, or odd.
"""

from __future__ import annotations

from itertools import chain

import script
from precocity.comparison import CHECKED_ROWS
from precocity.settings import Settings
from precocity.standing import complete_lines, read_values, summaries
from precocity.values import COLUMNS
from precocity.years import is_done
from script import log


def write_table(planned: dict[int, dict], settings: Settings) -> dict | None:
    """Write the table if every planned year is up to date; return the facts for its record, else None."""
    missing = [year for year in planned if not is_done(planned[year], settings.places(year))]
    if missing:
        log.info("%d of %d years remain for other tasks; the last task writes the table", len(missing), len(planned))
        return None
    records = [script.read_json(settings.places(year).record) for year in planned]
    tables = {year: settings.places(year).table for year in planned}
    of_years = {year: read_values(path) for year, path in tables.items()}
    lines = chain(["\t".join(COLUMNS) + "\n"], complete_lines(tables, of_years, settings))
    written = script.write_lines(settings.table, lines) - 1
    log_oddities(records)
    names = ("documents", "passages", "pairs", "identical_pairs", "passages_listed_not_found")
    return {
        **{name: sum(record.get(name, 0) for record in records) for name in names},
        "table": settings.table.name,
        "table_sha256": script.file_digest(settings.table),
        "lines": written,
        "float32_difference": max(record.get("float32_difference", 0) for record in records),
        "kinds": summaries(of_years),
        "years": records,
    }


def log_oddities(records: list[dict]) -> None:
    """Log once for all years what was missing, left out, or odd."""
    for name, what in (
        ("without_embeddings", "documents of the metadata have no embeddings and no lines in the table"),
        ("with_gaps", "documents whose passage numbers are not 0, 1, 2 …; their passages are used as they are"),
    ):
        documents = [document for record in records for document in record[name]]
        if documents:
            log.warning("%d %s: %s", len(documents), what, script.first_few(documents))
    for name, what in (
        (
            "identical_pairs",
            "pairs of identical passages: nearest of all (a cosine of 1 − 1e-9), or left out with --drop-identical",
        ),
        ("passages_listed_not_found", "times a passage listed for a document has no embedding"),
        ("passages_without_precocity", "passages without precocity: fewer than half of the years on one side have any"),
    ):
        if count := sum(record.get(name, 0) for record in records):
            log.warning("%d %s", count, what)
    if difference := max(record.get("float32_difference", 0) for record in records):
        log.info("float32 differs from float64 by at most %.1e in a year's mean (%d passages of each year checked)",
                 difference, CHECKED_ROWS)  # fmt: skip
