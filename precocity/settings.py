"""What a precocity run is told once: where its results go, and what changes them besides the inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from corpus import MANIFEST


class Places(NamedTuple):
    """The files of one year's results."""

    table: Path
    passages: Path
    record: Path


@dataclass(frozen=True)
class Settings:
    """The output folder with the names of its files, and the settings that a year's record repeats."""

    folder: Path
    prefix: str  # of file names
    first_year: int  # in the name of the table
    dtype: str  # of the arithmetic
    drop_identical: bool  # leave identical passages out of every mean
    distance: str  # cosine or kl
    z_window: int  # years before and after, with whose documents a document is compared

    @property
    def table(self) -> Path:
        """The table of all years."""
        return self.folder / f"{self.prefix}{self.first_year}s_docs.tsv"

    def earlier_tables(self) -> list[Path]:
        """Return the tables of this prefix that begin with other years."""
        name = re.compile(rf"{re.escape(self.prefix)}-?\d{{1,4}}s_docs\.tsv")
        return [path for path in self.folder.iterdir() if name.fullmatch(path.name) and path != self.table]

    @property
    def manifest(self) -> Path:
        """The record of the table; the table is complete only if this file exists."""
        return self.folder / f"{self.prefix}{MANIFEST}"

    @property
    def author_exclusions(self) -> Path:
        """The exclusions made from the authors, for inspection."""
        return self.folder / f"{self.prefix}author_exclusions.tsv"

    def places(self, year: int) -> Places:
        """Return where one year's results go."""
        years, name = self.folder / "years", f"{self.prefix}{year}"
        return Places(years / f"{name}.tsv", self.folder / "passages" / f"{name}.parquet", years / f"{name}.json")

    def quotes(self, year: int) -> Path:
        """Return where the passages go that share six words with a year's documents."""
        return self.folder / "quotes" / f"{self.prefix}{year}.tsv"
