"""The tables of precocity: reading them, and the most and least precocious documents of each decade.

In: tables that calc_precocity_for_embeddings.py wrote, the folders passages/ beside them, and the metadata. Out: data
frames of documents (index docid; columns year, passages, precocity, novelty, transience, those of SURE, the three of
the most precocious quarter as top_precocity …, title) and of passages (paperId, chunknumber, precocity).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import corpus
import script
from script import InputError

from .tsv import write_tsv

LISTED = 3  # documents at either end of each decade in the TSV; the page shows the first
VALUES = ("precocity", "novelty", "transience")
SURE = ("se_years", "se_passages", "p_value", "z", "later_over_earlier")
KEYS = ["docid", "fraction_compared", "filtered", "time_radius", "chunks_used"]
COLUMNS = ("date", "num_chunks", *KEYS, *VALUES, *SURE)


class Choice(NamedTuple):
    """Which of the table's values are shown."""

    fraction: float
    filtered: str
    radius: int

    def __str__(self) -> str:
        nearest = "all" if self.fraction == 1 else f"the nearest {self.fraction:.0%}"
        return f"{nearest} of each year's passages, {self.radius} years either way, filter {self.filtered}"

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that are of this choice."""
        same = (table.fraction_compared == self.fraction) & (table.time_radius == self.radius)
        return table[same & (table.filtered == self.filtered)]


class Measured(NamedTuple):
    """A table that calc_precocity_for_embeddings.py wrote, and the prefix of its files."""

    table: Path
    prefix: str

    def manifest(self) -> dict:
        """Return the record of the run that wrote the table."""
        return script.read_json(self.table.with_name(self.prefix + corpus.MANIFEST))

    def author_column(self) -> str:
        """Return the metadata's column of authors that the table was made with."""
        return self.manifest().get("arguments", {}).get("author_column", "author")

    def facts(self, choice: Choice) -> dict:
        """Return what the manifest says of all documents for this choice: reliability, spread, and expected spread."""
        wanted = {"fraction_compared": choice.fraction, "filtered": choice.filtered, "time_radius": choice.radius}
        kinds = self.manifest().get("kinds", ())
        return next((kind for kind in kinds if (wanted | {"chunks_used": 1.0}).items() <= kind.items()), {})

    def passages(self, year: int) -> Path:
        """Return the file of a year's passages."""
        return self.table.parent / "passages" / f"{self.prefix}{year}.parquet"


def measured_in(path: str) -> Measured:
    """Return the table at this path, or the one in this folder, as its manifest tells it.

    Raises:
        InputError: no manifest tells of the table, or the folder has several.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    found = {}
    for manifest in sorted(folder.glob(f"*{corpus.MANIFEST}")):
        if name := script.read_json(manifest).get("table"):
            found[folder / name] = Measured(folder / name, manifest.name.removesuffix(corpus.MANIFEST))
    if folder != Path(path):
        found = {table: measured for table, measured in found.items() if table == Path(path)}
    if not found:
        which = f"{folder / corpus.MANIFEST} does not exist" if folder == Path(path) else f"no manifest tells of {path}"
        raise InputError(f"{which}: not all years are done; run calc_precocity_for_embeddings.py.")
    if len(found) > 1:
        raise InputError(f"{folder} has {' and '.join(table.name for table in found)}; pass one of them.")
    return next(iter(found.values()))


def read_table(path: str | Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """Return a table's rows; ids stay text, empty values are NaN. InputError where one of the columns is lacking."""
    as_text, empty = {"docid": str, "filtered": str}, {name: "" for name in VALUES + SURE}
    try:
        with open(script.regular_file(path), encoding="utf-8") as lines:
            corpus.check_header(path, lines.readline().removesuffix("\n").split("\t"))
        table = pd.read_csv(path, sep="\t", quoting=3, dtype=as_text, keep_default_na=False, na_values=empty)
    except ValueError as error:
        raise InputError(
            f"{path} is not a precocity table ({error}); make it with calc_precocity_for_embeddings.py."
        ) from None
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise InputError(f"{path}, line 1: no column {lacking[0]}; make it with calc_precocity_for_embeddings.py.")
    return table


def read_tables(paths: list[str | Path]) -> pd.DataFrame:
    """Return the rows of several tables. InputError where one document is in two of them."""
    table = pd.concat(map(read_table, paths), ignore_index=True)
    twice = table.docid[table.duplicated(KEYS)]
    if len(twice):
        raise InputError(f"{twice.iloc[0]!r} is in two of the tables; pass it once.")
    return table


def title_of(row: dict[str, str]) -> str:
    """Return the title of a row of the metadata, the paperId where it has none."""
    return row.get("title", "").strip() or row["paperId"]


def read_rows(metadata: str) -> dict[str, dict[str, str]]:
    """Return the metadata's rows by paperId."""
    return {row["paperId"]: row for _, row in corpus.metadata_rows(metadata)}


def documents_of(table: pd.DataFrame, choice: Choice, rows: dict[str, dict[str, str]]) -> pd.DataFrame:
    """Return the documents: year, passages, the three values, SURE, the values of the top quarter as `top_` …, title.

    Documents without precocity are left out. InputError where the metadata lacks one.
    """
    chosen = choice.of(table).set_index("docid")
    found, top = chosen[chosen.chunks_used == 1.0], chosen[chosen.chunks_used == 0.25]
    found = found[["date", "num_chunks", *VALUES, *SURE]].rename(columns={"date": "year", "num_chunks": "passages"})
    found = found.join(top[list(VALUES)].add_prefix("top_"))
    found = found.dropna(subset=[*VALUES, *(f"top_{name}" for name in VALUES)])
    unknown = [docid for docid in found.index if docid not in rows]
    if unknown:
        raise InputError(f"the metadata has no {script.first_few(unknown)}; pass the metadata the table was made from.")
    found["title"] = [title_of(rows[docid]) for docid in found.index]
    return found


def read_passages(several: list[Measured], choice: Choice, documents: pd.DataFrame) -> pd.DataFrame:
    """Return paperId, chunknumber and precocity of these documents' passages. InputError where a document has none."""
    parts = []
    for measured in several:
        for path in map(measured.passages, sorted(set(documents.year))):
            if path.exists():
                part = choice.of(pd.read_parquet(script.regular_file(path)))
                parts.append(part[part.paperId.isin(documents.index)][["paperId", "chunknumber", "precocity"]])
    lacking = set(documents.index) - set().union(*(set(part.paperId) for part in parts))
    if lacking:
        folder, names = several[0].table.parent / "passages", script.first_few(sorted(lacking))
        raise InputError(f"{folder} lacks {names}; keep that folder beside the table.")
    return pd.concat(parts)


def errors_of(documents: pd.DataFrame) -> pd.Series:
    """Return a cautious standard error of each document's precocity: that over years and that over passages."""
    return np.hypot(documents.se_years, documents.se_passages.fillna(0))


def ends(documents: pd.DataFrame, by: str, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the documents with the highest and those with the lowest values, none in both."""
    ordered = documents.sort_values(by, ascending=False, kind="stable")
    count = min(count, len(ordered) // 2)
    return ordered.head(count), ordered.tail(count).iloc[::-1]


def most_and_least(documents: pd.DataFrame) -> list[dict]:
    """Return the LISTED most and least precocious documents of each decade, as rows of the TSV."""
    found = []
    for decade, in_decade in documents.groupby([corpus.decade_of(year) for year in documents.year]):
        both = ends(in_decade, "precocity", LISTED) if len(in_decade) > 1 else [in_decade]
        for kind, members in zip(("most", "least"), both):
            for rank, row in enumerate(members.itertuples(), start=1):
                facts = {"decade": decade, "kind": kind, "rank": rank, "docid": row.Index, "year": row.year}
                facts |= {"title": row.title, "passages": row.passages}
                found.append(facts | {name: getattr(row, name) for name in VALUES + SURE})
    return found


def write_most_and_least(path: Path, listed: list[dict]) -> None:
    """Write the rows of most_and_least as TSV, with a header, for people to open in a spreadsheet."""
    write_tsv(path, listed)
