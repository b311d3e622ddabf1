"""Precocity by several representations side by side: how alike they rank documents, and where they disagree most.

In: tables that calc_precocity_for_embeddings.py wrote, by name of representation; several tables of one name are seeds
of one representation. Out: rank correlations, and a data frame of the documents that all tables measure.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from script import log

from .page import Cell, Table
from .precocity_tables import KEYS, Choice, measured_in, read_table
from .tsv import write_tsv

SHOWN = 10  # documents on the page; the TSV lists all
FEWEST = 3  # documents that a correlation needs


class Beside(NamedTuple):
    """What is shown of several representations.

    Attributes:
        names: of the representations, the one that the section is about first.
        correlations: Spearman's ρ by two names, the mean over their tables; of a name with itself, between seeds.
        documents: those in all tables, where they disagree most first: year, title, and for each name the mean
            precocity, `<name>`, and the mean rank as a share, `<name> rank`, 1 being furthest ahead.
    """

    names: list[str]
    correlations: dict[tuple[str, str], float]
    documents: pd.DataFrame

    def as_json(self) -> list[dict]:
        """Return the correlations, each once, for precocity_report.json."""
        pairs = itertools.combinations_with_replacement(self.names, 2)
        return [{"of": a, "and": b, "rho": self.correlations[a, b]} for a, b in pairs if (a, b) in self.correlations]


def values_of(path: str, choice: Choice) -> pd.Series:
    """Return the precocity of each document in a table, all passages, where it has any."""
    chosen = choice.of(read_table(measured_in(path).table, (*KEYS, "precocity")))
    return chosen[chosen.chunks_used == 1.0].set_index("docid").precocity.dropna()


def compare(documents: pd.DataFrame, name: str, others: dict[str, list[str]], choice: Choice) -> Beside | None:
    """Compare the section's own documents with other tables; None where too few documents are in all.

    Args:
        documents: index docid; columns precocity, year, title.
        others: paths by name; those of `name` are further seeds of the section's own representation.
    """
    tables = {name: [documents.precocity]}
    for other, paths in others.items():
        tables.setdefault(other, []).extend(values_of(path, choice) for path in paths)
    common = documents.index
    for of_name in itertools.chain(*tables.values()):
        common = common.intersection(of_name.index, sort=False)
    if len(common) < FEWEST:
        log.warning("%d documents have precocity in all of %s: nothing to compare", len(common), ", ".join(tables))
        return None
    found = documents.loc[common, ["year", "title"]].copy()
    ranks = {of: [one.loc[common].rank(pct=True) for one in several] for of, several in tables.items()}
    for of, several in tables.items():
        found[of] = np.mean([one.loc[common] for one in several], axis=0)
        found[f"{of} rank"] = np.mean(ranks[of], axis=0)
    shares = found[[f"{of} rank" for of in tables]]
    found["disagreement"] = shares.max(axis=1) - shares.min(axis=1)
    found = found.sort_values("disagreement", ascending=False, kind="stable")
    return Beside(list(tables), correlations_of(ranks), found)


def correlations_of(ranks: dict[str, list[pd.Series]]) -> dict[tuple[str, str], float]:
    """Return the mean correlation of ranks over all pairs of tables of two names, or of one name with several."""
    found = {}
    for one, other in itertools.combinations_with_replacement(ranks, 2):
        same = one == other
        pairs = list(itertools.combinations(ranks[one], 2) if same else itertools.product(ranks[one], ranks[other]))
        if pairs:
            found[one, other] = found[other, one] = float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))
    return found


def write_beside(path: Path, beside: Beside) -> None:
    """Write all documents, where the representations disagree most first, as TSV for people."""
    write_tsv(path, beside.documents.rename_axis("docid").reset_index().to_dict("records"))


def correlations_table(beside: Beside) -> Table:
    """Return the correlations of every two representations; on the diagonal, those between seeds."""
    rows = []
    for one in beside.names:
        values = [beside.correlations.get((one, other)) for other in beside.names]
        rows.append([Cell(one, kind="text"), *(Cell("" if value is None else f"{value:.2f}") for value in values)])
    return Table(["Spearman’s ρ", *beside.names], rows)


def disagreements_table(beside: Beside) -> Table:
    """Return the documents about which they disagree most: the share of documents that each ranks no higher."""
    rows = []
    for _, row in beside.documents.head(SHOWN).iterrows():
        ranks = [Cell(f"{row[f'{name} rank']:.0%}", f"{row[name]:+.3f}") for name in beside.names]
        rows.append([Cell(str(row["year"])), Cell(row["title"], kind="text"), *ranks])
    return Table(["year", "document", *beside.names], rows)
