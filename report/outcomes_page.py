"""The paper's criterion on the page: a table like the paper's Table 1, the coefficients, and the groups compared.

In: Figures (see outcomes.py), and which fraction compared the section shows. Out: tables and a reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .outcomes import Figure
from .page import Cell, Table

# Griebel et al. 2024, Table 1: R² beyond the date, by the most precocious quarter of passages, of the same outcomes.
PUBLISHED = {
    "log(1 + citations)": {
        "literary studies": {"topics": ".082", "embeddings": ".070", "perplexity": ".057"},
        "economics": {"topics": ".063", "embeddings": ".029", "perplexity": ".096"},
    },
    "author_age": {
        "literary studies": {"topics": ".033", "embeddings": ".035", "perplexity": ".024"},
        "fiction": {"topics": ".051", "embeddings": ".083", "perplexity": ".014"},
    },
}
PASSAGES = {1.0: "all passages", 0.25: "top quarter"}
GROUPS = ("difference", "t", "d")


def arranged(figures: Iterable[Figure], row: Callable, column: Callable) -> dict[tuple, dict]:
    """Return figures by the row and the column in which a table shows them, both in the order of the figures."""
    found = {}
    for one in figures:
        found.setdefault(row(one), {})[column(one)] = one
    return found


def explained_table(figures: list[Figure]) -> Table:
    """Return R² of the date, and what each representation adds, for all outcomes; below, what the paper found."""
    beyond = [one for one in figures if one.figure == "r_squared_beyond"]
    date = {one[:4]: one for one in figures if one.figure == "r_squared_date"}
    kinds = arranged(beyond, lambda one: (one.outcome, one.chunks_used, one.fraction_compared), lambda one: one[1])
    names, rows, last = list(dict.fromkeys(one.representation for one in beyond)), [], list(kinds)[-1]
    for kind, following in zip(kinds, [*list(kinds)[1:], last]):
        outcome, share, fraction = kind
        first = next(iter(kinds[kind].values()))
        nearest = "all" if fraction == 1 else f"nearest {fraction:.0%}"
        texts = [f"{outcome}, {PASSAGES[share]}", nearest, f"{first.documents} by {first.authors}"]
        cells = [Cell(f"{date[first[:4]].value:.3f}"), *(cell_of(kinds[kind].get(name), "") for name in names)]
        rows.append([*map(Cell, texts), *cells])
        if following[0] != outcome or kind == last:
            rows += published_rows(outcome, len(texts) + len(cells))
    headings = ["outcome, passages", "of each year", "documents, authors", "R², date alone", *names]
    return Table(headings, rows)


def published_rows(outcome: str, width: int) -> list[list[Cell]]:
    """Return a gray row for each corpus in which the paper explains this outcome."""
    rows = []
    for corpus, figures in PUBLISHED.get(outcome, {}).items():
        texts = [f"published, {corpus}, top quarter", *(f"{name} {figure}" for name, figure in figures.items())]
        rows.append([Cell(text, kind="published") for text in texts + [""] * (width - len(texts))])
    return rows


def cell_of(figure: Figure | None, sign: str = "+") -> Cell:
    """Return a figure with its interval below; an empty cell where it can't be computed."""
    if figure is None or figure.value is None:
        return Cell("")
    bounds = "" if figure.low is None else f"{figure.low:{sign}.3f} to {figure.high:{sign}.3f}"
    return Cell(f"{figure.value:{sign}.3f}", bounds)


def figures_table(figures: list[Figure], fraction: float, shown: tuple[str, ...]) -> Table | None:
    """Return coefficients, or what compares two groups, for the fraction that the section shows; None without any."""
    chosen = [one for one in figures if one.figure in shown and one.fraction_compared == fraction]
    lines = arranged(chosen, lambda one: one[:3], lambda one: one.figure)
    names = [name for name in shown if any(name in line for line in lines.values())]
    rows = [
        [Cell(f"{outcome}, {PASSAGES[share]}"), Cell(of, kind="text"), *(cell_of(line.get(name)) for name in names)]
        for (outcome, of, share), line in lines.items()
    ]
    return Table(["outcome, passages", "representation", *names], rows) if rows else None


def outcomes_reading(figures: list[Figure], fraction: float) -> str:
    """Return what the section's own representation adds to the date by the top quarter, a sentence for each outcome."""
    name, sentences = figures[0].representation, []
    chosen = [one for one in figures if one[1:4] == (name, 0.25, fraction)]
    for outcome, found in arranged(chosen, lambda one: one.outcome, lambda one: one.figure).items():
        date, beyond = found["r_squared_date"], found["r_squared_beyond"]
        interval = "" if beyond.low is None else f" (95% interval {beyond.low:.1%} to {beyond.high:.1%})"
        sentences.append(
            f"Date alone explains {date.value:.1%} of the variance in {outcome}; precocity and novelty of the top "
            f"quarter of passages, by {name}, add {beyond.value:.1%}{interval}."
        )
    return " ".join(sentences)
