"""The paper's regression: a numeric column of the metadata, such as citations, explained by precocity.

In: the data frame of documents (see precocity_tables.py) and the metadata's rows. Out: coefficients, p-values and R²
as they go into precocity_report.json.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from script import InputError, log

FEWEST = 20  # documents a regression needs for its five coefficients
TERMS = ("precocity", "precocity²", "novelty", "date")


def as_number(text: str) -> float:
    """Return a cell's number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def regress(documents: pd.DataFrame, outcome: np.ndarray, of_top: bool) -> dict:
    """Fit outcome ~ precocity + precocity² + novelty + date by ordinary least squares (statsmodels).

    Predictors and outcome are in standard deviations, so that coefficients compare; precocity is centered before it is
    squared. Also R² of date alone, which needs no text.

    Args:
        outcome: float, one a document, no NaN.
        of_top: take precocity and novelty of the most precocious quarter of passages, not of all.
    """
    import statsmodels.api as sm  # takes a second, which only --covariate needs

    before = "top_" if of_top else ""
    precocity = standardised(documents[f"{before}precocity"].to_numpy())
    columns = [precocity, precocity**2, documents[f"{before}novelty"].to_numpy(), documents.year.to_numpy()]
    predictors = np.column_stack([standardised(column) for column in columns])
    fit = sm.OLS(standardised(outcome), sm.add_constant(predictors)).fit()
    alone = sm.OLS(standardised(outcome), sm.add_constant(predictors[:, 3:])).fit()
    return {
        "documents": len(documents),
        "passages": "top quarter" if of_top else "all",
        "coefficients": dict(zip(TERMS, map(float, fit.params[1:]))),
        "p_values": dict(zip(TERMS, map(float, fit.pvalues[1:]))),
        "r_squared": float(fit.rsquared),
        "r_squared_adjusted": float(fit.rsquared_adj),
        "r_squared_date_alone": float(alone.rsquared),
    }


def standardised(values) -> np.ndarray:
    """Return values in standard deviations from their mean; zeros where they don't differ."""
    values = np.asarray(values, dtype=float)
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1)


def regressions(
    documents: pd.DataFrame, rows: dict[str, dict[str, str]], covariates: list[str]
) -> dict[str, list[dict]]:
    """Return the regressions of each covariate, by all passages and by the top quarter.

    Args:
        rows: the metadata's, by paperId.
    Raises:
        InputError: the metadata has no such column, or too few documents have a number in it.
    """
    found = {}
    for name in covariates:
        if name not in next(iter(rows.values())):
            columns = ", ".join(next(iter(rows.values())))
            raise InputError(f"--covariate {name}: the metadata's columns are {columns}; name one of them.")
        outcome = np.array([as_number(rows[docid][name]) for docid in documents.index])
        there = np.isfinite(outcome)
        if there.sum() < FEWEST or np.ptp(outcome[there]) == 0:
            raise InputError(
                f"--covariate {name}: {there.sum()} documents have a number there; at least {FEWEST} are needed, "
                "not all the same."
            )
        log.info("%s: %d documents have a number, %d have none and are left out", name, there.sum(), (~there).sum())
        found[name] = [regress(documents[there], outcome[there], of_top) for of_top in (False, True)]
    return found
