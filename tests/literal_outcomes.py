"""The paper's regression, written out: documents repeated as often as a draw has them, then textbook least squares."""

import numpy as np
from scipy import stats


def z(values):
    values = np.asarray(values, dtype=float)
    return (values - values.mean()) / values.std()


def r_squared(predictors, outcome):
    """Return R² and the coefficients of an ordinary least squares fit with a constant."""
    predictors = np.column_stack([np.ones(len(outcome)), *predictors])
    slopes, *_ = np.linalg.lstsq(predictors, outcome, rcond=None)
    return 1 - np.var(outcome - predictors @ slopes) / np.var(outcome), slopes[1:]


def regress(design, precocity, novelty, counts):
    """Return the figures of one draw, in which document i is there counts[i] times."""
    drawn = np.repeat(np.arange(len(precocity)), counts)
    outcome, years, p = z(design.outcome[drawn]), design.years[drawn], z(precocity[drawn])
    dates = (
        [z(years)] if design.linear else [(years // 5 == span).astype(float) for span in sorted(set(years // 5))[1:]]
    )
    alone, _ = r_squared(dates, outcome)
    full, slopes = r_squared([p, z(p**2), z(novelty[drawn]), *dates], outcome)
    found = {"r_squared_date": alone, "r_squared_beyond": full - alone}
    names = ("precocity", "precocity²", "novelty", *(["date"] if design.linear else []))
    return found | dict(zip(names, slopes))


def compare_groups(design, precocity, counts):
    """Return difference, Welch's t, and Cohen's d of one draw."""
    drawn = np.repeat(np.arange(len(precocity)), counts)
    one, other = (precocity[drawn][design.outcome[drawn] == group] for group in (1, 0))
    pooled = ((len(one) - 1) * one.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)) / (len(one) + len(other) - 2)
    difference = one.mean() - other.mean()
    t = stats.ttest_ind(one, other, equal_var=False).statistic
    return {"difference": difference, "t": t, "d": difference / pooled**0.5}
