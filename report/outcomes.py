"""The paper's criterion: how much of an outcome, such as citations, precocity explains beyond the date.

In: tables of precocity by representation, and the metadata's rows. Out: Figures, one for each outcome, representation,
share of passages, and fraction compared, with an interval from a bootstrap over authors; precocity_outcomes.tsv.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import skew

import script
from precocity.arithmetic import FRACTIONS
from precocity.exclusions import authors_in
from precocity.values import SHARES
from script import InputError, log

from .measures import document_draws, estimate, interval
from .precocity_tables import KEYS, Choice, measured_in, read_table
from .regression import TERMS, Design, compare_groups, regress
from .tsv import write_tsv

DRAWS, SEED = 999, 0
DOCUMENTS_EACH = 4  # that a coefficient needs
FEWEST_AUTHORS = 10  # that a bootstrap over authors needs
FEWEST_IN_GROUP = 5  # documents
SKEWED = 1  # counts whose skewness is above this are logged
BY_CHANCE = ("r_squared_date", "r_squared_beyond")  # figures that chance alone puts above 0, in a draw even more

Rows = dict[str, dict[str, str]]  # the metadata's, by paperId


class Figure(NamedTuple):
    """One line of precocity_outcomes.tsv."""

    outcome: str
    representation: str
    chunks_used: float
    fraction_compared: float
    documents: int
    authors: int
    figure: str
    value: float | None
    low: float | None
    high: float | None


class Outcome(NamedTuple):
    """What is to be explained: numbers by docid, or 1 and 0 for the two groups; documents without any are left out."""

    label: str
    values: pd.Series
    are_groups: bool = False


# ---------------------------------------------------------------- outcomes in the metadata


def outcome_of(name: str, rows: Rows, docids: pd.Index) -> Outcome:
    """Return a numeric column of the metadata; counts are logged, that is, whole numbers from 0 with a long tail.

    Raises:
        InputError: the metadata has no such column.
    """
    values = pd.Series([as_number(cell) for cell in cells_of(f"--outcome {name}", name, rows, docids)], index=docids)
    there = values[np.isfinite(values)]
    log.info("%s: %d documents have a number, %d have none and are left out", name, len(there),
             len(values) - len(there))  # fmt: skip
    if len(there) and (there >= 0).all() and (there % 1 == 0).all() and np.ptp(there) and skew(there) > SKEWED:
        log.info("%s is taken as log(1 + %s): whole numbers with a skewness of %.1f", name, name, skew(there))
        return Outcome(f"log(1 + {name})", np.log1p(there))
    return Outcome(name, there)


def as_number(text: str) -> float:
    """Return a cell's number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def groups_of(asked: str, rows: Rows, docids: pd.Index) -> Outcome:
    """Return 1 for the documents of COLUMN=ONE,OTHER that have the one value there, and 0 for those with the other.

    Raises:
        InputError: not of that form, no such column, or too few documents have one of the values.
    """
    column, _, names = asked.partition("=")
    pair = [name.strip() for name in names.split(",")]
    if len(pair) != 2 or len(set(pair) - {""}) != 2:
        raise InputError(f"--groups {asked}: write COLUMN=ONE,OTHER, e.g. reprints=high,low.")
    cells = pd.Series(cells_of(f"--groups {asked}", column, rows, docids), index=docids)
    there = cells[cells.isin(pair)]
    for name in pair:
        if (there == name).sum() < FEWEST_IN_GROUP:
            known = script.first_few([script.shortened(cell) for cell in sorted(set(cells) - {""})])
            raise InputError(
                f"--groups {asked}: {(there == name).sum()} documents with precocity have {name!r} there, and "
                f"{FEWEST_IN_GROUP} are needed; the column has {known}."
            )
    log.info("%s: %d documents are %s, %d are %s, %d are neither and left out", column, (there == pair[0]).sum(),
             pair[0], (there == pair[1]).sum(), pair[1], len(cells) - len(there))  # fmt: skip
    return Outcome(f"{column}: {pair[0]} against {pair[1]}", (there == pair[0]).astype(float), are_groups=True)


def cells_of(flag: str, column: str, rows: Rows, docids: pd.Index) -> list[str]:
    """Return the cells of a column. InputError where the metadata has no such column."""
    columns = next(iter(rows.values()))
    if column not in columns:
        raise InputError(f"{flag}: the metadata's columns are {', '.join(columns)}; name one of them.")
    return [rows[docid][column].strip() for docid in docids]


# ---------------------------------------------------------------- what explains them


class Asked(NamedTuple):
    """--outcome, --groups, whether the null model has the date as a line, and the metadata's column of authors."""

    outcomes: list[str]
    groups: list[str]
    linear: bool
    author_column: str


class Measures(NamedTuple):
    """Precocity and novelty by several representations; several tables of one are seeds.

    Attributes:
        tables: by name, as values_of returns them, all of the same documents.
        years: of these documents, by docid.
    """

    tables: dict[str, list[pd.DataFrame]]
    years: pd.Series


def tables_of(name: str, table: pd.DataFrame, others: dict[str, list[str]]) -> dict[str, list[pd.DataFrame]]:
    """Return the rows of all tables by representation: the section's own, `name`, and those at the paths of others."""
    tables, needed = {name: [table]}, (*KEYS, "precocity", "novelty")
    for other, paths in others.items():
        tables.setdefault(other, []).extend(read_table(measured_in(path).table, needed) for path in paths)
    return tables


def values_of(table: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Return precocity and novelty by docid; columns (value, chunks_used, fraction_compared); no empty values."""
    chosen = table[(table.filtered == choice.filtered) & (table.time_radius == choice.radius)]
    return chosen.pivot(index="docid", columns=KEYS[-1:] + KEYS[1:2], values=["precocity", "novelty"]).dropna()


def measures_of(years: pd.Series, tables: dict[str, list[pd.DataFrame]], choice: Choice) -> Measures:
    """Return what the tables measure of the documents that are in all of them; years are those of docids."""
    values = {name: [values_of(one, choice) for one in several] for name, several in tables.items()}
    docids = years.index
    for one in itertools.chain(*values.values()):
        docids = docids.intersection(one.index, sort=False)
    values = {name: [one.loc[docids] for one in several] for name, several in values.items()}
    return Measures(values, years[docids])


def explain(asked: Asked, measures: Measures, rows: Rows) -> list[Figure]:
    """Return the figures of all outcomes, in the order asked for.

    Raises:
        InputError: an outcome isn't there, or too few documents or authors have it.
    """
    docids, found = measures.years.index, []
    outcomes = [(f"--outcome {name}", outcome_of(name, rows, docids)) for name in asked.outcomes]
    outcomes += [(f"--groups {name}", groups_of(name, rows, docids)) for name in asked.groups]
    for flag, outcome in outcomes:
        authors = authors_of(outcome.values.index, rows, asked.author_column)
        design = design_of(outcome, measures.years, authors, asked.linear)
        check(flag, design)
        for name, tables in measures.tables.items():
            found += figures_of(outcome, design, name, [table.loc[outcome.values.index] for table in tables])
    return found


def figures_of(outcome: Outcome, design: Design, name: str, tables: list[pd.DataFrame]) -> list[Figure]:
    """Return the figures of one representation: for each share of passages and fraction compared, means over seeds."""
    found, sizes = [], (len(design.outcome), design.draws.shape[1])
    for kind in itertools.product(SHARES, FRACTIONS):
        of_seeds = [draws_of(design, table, kind, outcome.are_groups) for table in tables]
        for figure in of_seeds[0]:
            draws = np.mean([one[figure] for one in of_seeds], axis=0)
            found.append(Figure(outcome.label, name, *kind, *sizes, figure, *with_interval(figure, draws)))
    return found


def authors_of(docids: pd.Index, rows: Rows, column: str) -> list[str]:
    """Return the author or authors of each document; one whose author is unknown has an author of its own."""
    cells = [rows[docid].get(column, "") for docid in docids]
    return ["; ".join(sorted(authors_in(cell))) or f"\t{docid}" for cell, docid in zip(cells, docids)]


def design_of(outcome: Outcome, years: pd.Series, authors: list[str], linear: bool) -> Design:
    """Return what the regressions of an outcome have in common, with draws of its authors."""
    known, author = np.unique(np.array(authors, dtype=str), return_inverse=True)
    draws = document_draws(max(len(known), 1), DRAWS, SEED).astype(float)  # once, not in every product
    return Design(outcome.values.to_numpy(), years[outcome.values.index].to_numpy(), linear, author, draws)


def check(flag: str, design: Design) -> None:
    """Refuse an outcome that too few documents or authors have, or that is the same for all."""
    documents, authors = len(design.outcome), len(np.unique(design.author))
    needed = DOCUMENTS_EACH * (len(TERMS) + (1 if design.linear else design.dates().shape[1]))
    if documents < needed:
        dummies = "" if design.linear else " with five-year dummies (--date linear needs fewer)"
        raise InputError(
            f"{flag}: of the documents with precocity in all tables, {documents} have a value there; at least {needed} "
            f"are needed{dummies}."
        )
    if np.ptp(design.outcome) == 0:
        raise InputError(f"{flag}: all {documents} documents have the same number there; name a column that varies.")
    if authors < FEWEST_AUTHORS:
        raise InputError(
            f"{flag}: the {documents} documents with a value there are by {authors} authors; at least {FEWEST_AUTHORS} "
            "are needed for a bootstrap over authors."
        )


def draws_of(design: Design, table: pd.DataFrame, kind: tuple[float, float], are_groups: bool) -> dict[str, np.ndarray]:
    """Return all figures of one table for a share of passages and a fraction compared, draw by draw."""
    precocity, novelty = (table[name, *kind].to_numpy() for name in ("precocity", "novelty"))
    return regress(design, precocity, novelty) | (compare_groups(design, precocity) if are_groups else {})


def with_interval(figure: str, draws: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Return a figure's value and its 95% interval: percentiles of the draws; for R², a more cautious one.

    Chance alone puts R² above 0, and in a draw, which has fewer different documents, higher still: its percentiles
    exclude 0 whatever is true. Reflected in the value (Davison and Hinkley 1997, ch. 5), they don't, but end too low
    where there is something. So each end is the more cautious of the two, and none is below 0, where R² can't be.
    """
    value, replicates = estimate(draws)
    low, high = interval(replicates) or (None, None)
    if None not in (value, low) and figure in BY_CHANCE:
        low, high = max(0.0, min(low, 2 * value - high)), max(high, 2 * value - low)
    return value, low, high


def write_outcomes(path: Path, figures: list[Figure]) -> None:
    """Write all figures as TSV for people; what can't be computed is empty."""
    write_tsv(path, (figure._asdict() for figure in figures))
