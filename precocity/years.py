"""One year's results in the output folder: what they are made from, whether they are up to date, how they are made.

Comes in: the embedding folder, the exclusions, the arithmetic, the settings. Goes out, for the year 1900:

    years/<prefix>1900.tsv          the year's lines of the table, without header, and what the table is completed from
    passages/<prefix>1900.parquet   the values of every passage
    years/<prefix>1900.json         the record, written last: what the year was made from, counts, everything odd

Whatever raises InputError (bad embeddings, imprecise float32) does so before anything is deleted or written.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import script
from precocity.arithmetic import FRACTIONS, Numpy, Torch
from precocity.certainty import blocks_of, certainty_of
from precocity.comparison import FILTERS, OFFSETS, RADII, WINDOW, Comparison, compare_window, window_of
from precocity.embeddings import Folder, Year
from precocity.exclusions import Exclusions
from precocity.settings import Places, Settings
from precocity.values import VALUES, Triples, document_lines, triples_of
from script import log

if TYPE_CHECKING:
    import numpy as np

SAID_EVERY = 60  # seconds: how much time is left
DEFINITION = 2  # raise it whenever the numbers change: years made by another definition are made again


def plan_year(year: int, folder: Folder, left_out: Exclusions, settings: Settings) -> dict:
    """Return what a year's record will say the year was made from."""
    digest = hashlib.sha256(folder.digest_of(window_of(year)).encode())
    digest.update(repr((sorted(left_out.train), blocks_of(folder, year))).encode())
    for center in sorted(folder.of_year(year)):
        others = sorted((name, sorted(numbers)) for name, numbers in left_out.passages.get(center, {}).items())
        digest.update(repr((center, sorted(left_out.articles.get(center, ())), others)).encode())
    return {
        "year": year,
        "definition": DEFINITION,
        "dtype": settings.dtype,
        "drop_identical": settings.drop_identical,
        "distance": settings.distance,
        "inputs_sha256": digest.hexdigest(),
    }


def is_done(planned: dict, places: Places) -> bool:
    """Tell whether a year's files are complete and were made from the planned inputs with the planned settings."""
    try:
        record = script.read_json(places.record)
    except FileNotFoundError:
        return False
    if not planned.items() <= record.items():
        return False
    return record["sha256"] == [script.file_digest(places.table), script.file_digest(places.passages)]


def make_years(
    years: list[int],
    folder: Folder,
    left_out_of: Callable[[int], Exclusions],
    arithmetic: Numpy | Torch,
    settings: Settings,
) -> None:
    """Make the years in turn; say once a minute how much time is left, judged by the documents to be compared."""
    documents = {year: len(folder.of_year(year)) for year in years}
    work = {year: documents[year] * sum(len(folder.of_year(other)) for other in window_of(year)) for year in years}
    seconds, done, said = 0.0, 0, time.time()
    for position, year in enumerate(years, 1):
        begun = time.time()
        if make_year(year, folder, left_out_of(year), arithmetic, settings):
            seconds, done = seconds + time.time() - begun, done + work[year]
        if done and position < len(years) and time.time() - said >= SAID_EVERY:
            left, said = seconds / done * sum(work[later] for later in years[position:]), time.time()
            log.info("%d of %d years, about %s left", position, len(years), timedelta(seconds=round(left)))


def make_year(year: int, folder: Folder, left_out: Exclusions, arithmetic: Numpy | Torch, settings: Settings) -> bool:
    """Write one year's table, its passages, and last its record, unless they are up to date; tell whether it did."""
    planned, places, started = plan_year(year, folder, left_out, settings), settings.places(year), time.time()
    if is_done(planned, places):
        log.info("%d: up to date", year)
        return False
    folder.expect(year - WINDOW)  # the first year to compare with: two cores read two decades
    center, in_metadata, triples, certainty = folder.year(year), folder.of_year(year), None, None
    facts = {"documents": 0, "passages": 0, "without_embeddings": in_metadata, "with_gaps": []}
    if center is not None:
        found = compare_window(folder, center, left_out, arithmetic, settings.drop_identical)
        triples = triples_of(found.means)
        certainty = certainty_of(center.starts, found.means, triples, blocks_of(folder, year))
        facts = facts_of(center, in_metadata, found, triples)
    # Everything that can be refused has been read and compared. From here on the table is incomplete.
    for path in (settings.manifest, settings.table, places.record):
        path.unlink(missing_ok=True)
    write_year(places, center, triples, certainty)
    seconds = round(time.time() - started, 2)
    sums = [script.file_digest(places.table), script.file_digest(places.passages)]
    script.write_json(places.record, planned | facts | {"seconds": seconds, "sha256": sums})
    log.info("%d: %d documents, %d passages, %.3g pairs, %.1f s", year, facts["documents"], facts["passages"],
             facts.get("pairs", 0), seconds)  # fmt: skip
    return True


def facts_of(center: Year, in_metadata: list[str], found: Comparison, triples: Triples) -> dict:
    """Return what the record says of a year: counts, and everything odd."""
    import numpy as np

    with_embeddings, counts = set(center.documents), np.diff(center.starts)
    counted = np.concatenate([np.arange(count) for count in counts])
    gaps = np.add.reduceat(center.numbers != counted, center.starts[:-1], dtype=int)
    present = ~np.isnan(found.means[:, :, 0, 0]).all(axis=0)
    return {
        "documents": len(center.documents),
        "passages": len(center.numbers),
        "without_embeddings": [document for document in in_metadata if document not in with_embeddings],
        "with_gaps": [document for document, gap in zip(center.documents, gaps) if gap],
        "years_without_passages": [center.year + offset for offset, any_ in zip(OFFSETS, present) if not any_],
        "passages_without_precocity": int(np.isnan(triples.values[:, 0, 0, -1, 0]).sum()),
        **{name: found.counts[name] for name in ("pairs", "identical_pairs", "passages_listed")},
        "passages_listed_not_found": found.counts["passages_listed"] - found.counts["passages_listed_and_found"],
        "float32_difference": found.float32_difference,
    }


def write_year(places: Places, center: Year | None, triples: Triples | None, certainty: np.ndarray | None) -> None:
    """Write a year's table and passages; for a year without passages, an empty table alone."""
    places.table.parent.mkdir(parents=True, exist_ok=True)
    if center is None:
        script.write_lines(places.table, [])
        places.passages.unlink(missing_ok=True)
    else:
        script.write_lines(places.table, document_lines(center, triples, certainty))
        write_passages(places.passages, center, triples)


def write_passages(path: Path, center: Year, triples: Triples) -> None:
    """Write every passage's values: paperId, chunknumber, fraction, filter, radius, precocity, novelty, transience."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [(share, name, radius) for share in FRACTIONS for name in FILTERS for radius in RADII]
    owner = np.repeat(np.arange(len(center.documents)), np.diff(center.starts))
    ids = pa.DictionaryArray.from_arrays(pa.array(np.repeat(owner, len(kinds)).astype("int32")), center.documents)
    of_kind = np.tile(np.arange(len(kinds)), len(owner)).astype("int32")
    columns = {"paperId": ids.cast(pa.string()), "chunknumber": np.repeat(center.numbers, len(kinds)).astype("int32")}
    for name, values in zip(("fraction_compared", "filtered", "time_radius"), zip(*kinds)):
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(of_kind), pa.array(values)).dictionary_decode()
    flat = triples.values.reshape(-1, 3).astype("float32")
    columns |= {name: flat[:, i] for i, name in enumerate(VALUES)}
    with script.replacing(path) as beside:
        parquet.write_table(pa.table(columns), beside, compression="zstd")
