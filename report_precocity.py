"""Show what calc_precocity_for_embeddings.py measured: pictures, a table by decade, and a part of the report's page.

Reads one or more tables (<prefix><startdate>s_docs.tsv, or the folder with its manifest.json; passages/ lies beside
them) and the metadata (paperId, year; title and numeric columns are welcome). Writes into the output folder PNG
figures, precocity_most_least.tsv, and last section.html, a fragment that evaluate_timeline.py puts into its page.
With --covariate NAME, a numeric column such as citations, it fits the paper's regression: the column explained by
precocity, its square, novelty and date.
"""

from __future__ import annotations

import html
import math
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import corpus
import script
from evaluation.drawing import BASE_COLOR, DPI, TUNED_COLORS, figure_html, save
from precocity.arithmetic import FRACTIONS
from precocity.comparison import FILTERS, RADII
from script import InputError, log

EXAMPLE = "python report_precocity.py precocity/para10 -t metadata.tsv -o report --covariate citations"

AHEAD, BEHIND = TUNED_COLORS[0], TUNED_COLORS[1]
LABELLED = 6  # documents named at either end of a picture
LISTED = 3  # documents at either end of each decade in the TSV; the page shows the first
STRIPS = 8  # documents at either end whose passages are drawn
LONGEST_TITLE = 46  # letters of a title in a picture
FEWEST = 20  # documents a regression needs for its five coefficients
VALUES = ("precocity", "novelty", "transience")
TERMS = ("precocity", "precocity²", "novelty", "date")


class Choice(NamedTuple):
    """Which of the table's values are shown."""

    fraction: float
    filtered: str
    radius: int

    def __str__(self) -> str:
        nearest = "all" if self.fraction == 1 else f"the nearest {self.fraction:.0%}"
        return f"{nearest} of each year's passages, {self.radius} years either way, filter {self.filtered}"

    def of(self, table):
        """Return the rows of a table that are of this choice."""
        same = (table.fraction_compared == self.fraction) & (table.time_radius == self.radius)
        return table[same & (table.filtered == self.filtered)]


# ---------------------------------------------------------------- reading


def table_in(path: str) -> str:
    """Return the table itself: of a folder the one that its manifest.json names."""
    if not Path(path).is_dir():
        return path
    manifest = Path(path) / corpus.MANIFEST
    if not manifest.exists():
        raise InputError(f"{manifest} does not exist: not all years are done; run calc_precocity_for_embeddings.py.")
    return str(Path(path) / script.read_json(manifest)["table"])


def read_tables(paths: list[str]):
    """Return the tables' rows as a data frame; ids stay text, empty values are NaN. InputError for another table."""
    import pandas as pd

    tables = []
    for path in paths:
        as_text, empty = {"docid": str, "filtered": str}, {name: "" for name in VALUES}
        try:
            table = pd.read_csv(path, sep="\t", quoting=3, dtype=as_text, keep_default_na=False, na_values=empty)
        except ValueError as error:
            raise InputError(f"{path} is no table of precocity ({error}); make it with "
                             "calc_precocity_for_embeddings.py.") from None  # fmt: skip
        lacking = [name for name in ("docid", "date", "filtered", "chunks_used", *VALUES) if name not in table]
        if lacking:
            raise InputError(f"{path}, line 1: no column {lacking[0]}; make it with calc_precocity_for_embeddings.py.")
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    keys = ["docid", "fraction_compared", "filtered", "time_radius", "chunks_used"]
    if table.duplicated(keys).any():
        raise InputError(f"{table.docid[table.duplicated(keys)].iloc[0]!r} is in two of the tables; pass it once.")
    return table


def read_rows(metadata: str) -> dict[str, dict[str, str]]:
    """Return the metadata's rows by paperId."""
    return {row["paperId"]: row for _, row in corpus.metadata_rows(metadata)}


def documents_of(table, choice: Choice, rows: dict[str, dict[str, str]]):
    """Return a data frame of the documents: year, passages, the three values, `top` of the top quarter, title.

    Documents without precocity are left out. InputError where the metadata lacks one.
    """
    some = choice.of(table).set_index("docid")
    found, top = some[some.chunks_used == 1.0], some[some.chunks_used == 0.25]
    found = found[["date", "num_chunks", *VALUES]].rename(columns={"date": "year", "num_chunks": "passages"})
    found = found.join(top[list(VALUES)].add_prefix("top_")).dropna()
    unknown = [docid for docid in found.index if docid not in rows]
    if unknown:
        raise InputError(f"the metadata has no {script.first_few(unknown)}; pass the one the table came from.")
    found["title"] = [rows[docid].get("title", "").strip() or docid for docid in found.index]
    return found


def read_passages(tables: list[str], choice: Choice, documents: list[str], years: set[int]):
    """Return the passages' precocity of these documents, a data frame: paperId, chunknumber, precocity."""
    import pandas as pd

    parts = []
    for table in map(Path, tables):
        prefix = re.sub(r"-?\d+s_docs\.tsv$", "", table.name)
        for year in sorted(years):
            path = table.parent / "passages" / f"{prefix}{year}.parquet"
            if path.exists():
                part = choice.of(pd.read_parquet(path))
                parts.append(part[part.paperId.isin(documents)][["paperId", "chunknumber", "precocity"]])
    lacking = set(documents) - set().union(*(set(part.paperId) for part in parts))
    if lacking:
        folder, names = Path(tables[0]).parent / "passages", script.first_few(sorted(lacking))
        raise InputError(f"{folder} lacks {names}; keep that folder beside the table.")
    return pd.concat(parts)


# ---------------------------------------------------------------- drawing


def short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"


def dated(row) -> str:
    """Return a document's title, shortened, with its year where the title doesn't hold it."""
    return short(row.title) if str(row.year) in row.title else f"{short(row.title)} ({row.year})"


def ends(documents, by: str, count: int):
    """Return the documents with the highest and with the lowest values, as two data frames, none in both."""
    ordered = documents.sort_values(by, ascending=False, kind="stable")
    count = min(count, len(ordered) // 2)
    return ordered.head(count), ordered.tail(count).iloc[::-1]


def label(axes, points) -> None:
    """Write titles beside points (x, y, title, colour), each where it covers no other of them, as far as possible."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    axes.figure.set_dpi(DPI)
    axes.figure.canvas.draw()
    centres = axes.transData.transform([point[:2] for point in points])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    places = [(x, y, side) for y in (0, 9, -9, 18, -18, 27, -27) for x, side in ((7, "left"), (-7, "right"))]
    style = {"textcoords": "offset points", "va": "center", "fontsize": 7.5}
    style["path_effects"] = [withStroke(linewidth=2.5, foreground="white", alpha=0.8)]
    for x, y, title, color in points:
        for dx, dy, side in places:
            text = axes.annotate(short(title), (x, y), (dx, dy), ha=side, color=color, **style)
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()  # at last without a title: the point keeps its colour


def running_median(years, values):
    """Return years and the median of the values at most five years off, where there are at least three."""
    import numpy as np

    years, values = np.asarray(years), np.asarray(values)
    middles = np.arange(years.min(), years.max() + 1)
    near = [values[np.abs(years - middle) <= 5] for middle in middles]
    enough = np.array([len(some) >= 3 for some in near])
    return middles[enough], np.array([np.median(some) for some, keep in zip(near, enough) if keep])


def scatter_with_titles(axes, documents, x: str, y: str, extremes) -> None:
    """Draw documents as grey points, the two frames of extremes in colour with their titles."""
    axes.scatter(documents[x], documents[y], s=14, color=BASE_COLOR, alpha=0.6, linewidth=0)
    points = []
    for some, color in zip(extremes, (AHEAD, BEHIND)):
        axes.scatter(some[x], some[y], s=22, color=color, linewidth=0)
        points += [(getattr(row, x), getattr(row, y), row.title, color) for row in some.itertuples()]
    axes.margins(x=0.08, y=0.1)
    axes.legend(frameon=False, loc="upper left")
    label(axes, points)


def draw_timeline(documents, path: Path) -> None:
    """Draw precocity against year, a running median, and the extreme documents' titles."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    axes.axhline(0, color="#cccccc", linewidth=1, zorder=0)
    median = running_median(documents.year, documents.precocity)
    axes.plot(*median, color="#1c1c1c", linewidth=1.2, label="median of 11 years")
    axes.set(xlabel="year", ylabel="precocity (above: ahead of its time)")
    scatter_with_titles(axes, documents, "year", "precocity", ends(documents, "precocity", LABELLED))
    save(figure, path)


def draw_top_quarter(documents, path: Path) -> None:
    """Draw the precocity of the top quarter of passages against that of all, those that gain most and least named."""
    import matplotlib.pyplot as plt
    import numpy as np

    slope, base = np.polyfit(documents.precocity, documents.top_precocity, 1) if len(documents) > 2 else (1, 0)
    beyond = documents.assign(beyond=documents.top_precocity - base - slope * documents.precocity)
    figure, axes = plt.subplots(figsize=(8.2, 5.6), layout="constrained")
    span = np.array([documents.precocity.min(), documents.precocity.max()])
    axes.plot(span, span, color="#cccccc", linewidth=1, zorder=0, label="as all passages")
    axes.plot(span, base + slope * span, color="#1c1c1c", linewidth=1.2, label="usual gain")
    axes.set(xlabel="precocity, all passages", ylabel="precocity, top quarter of passages")
    scatter_with_titles(axes, documents, "precocity", "top_precocity", ends(beyond, "beyond", LABELLED))
    save(figure, path)


def draw_strips(documents, passages, path: Path) -> None:
    """Draw each document as a strip from beginning to end, every passage in the colour of its precocity."""
    import matplotlib.pyplot as plt
    import numpy as np

    strips = {
        docid: values.to_numpy() for docid, values in passages.sort_values("chunknumber").groupby("paperId").precocity
    }
    spread = float(np.percentile(np.abs(passages.precocity), 97)) or 1.0  # one passage must not pale all others
    figure, axes = plt.subplots(figsize=(9.5, 0.36 * len(documents) + 1.1), layout="constrained")
    for row, docid in enumerate(documents.index):
        edges, line = np.linspace(0, 1, len(strips[docid]) + 1), 0.3 if len(strips[docid]) < 100 else 0
        values = strips[docid][None, :]
        image = axes.pcolormesh(edges, [row - 0.4, row + 0.4], values, cmap="PuOr_r", vmin=-spread, vmax=spread)
        image.set(edgecolor="white" if line else "face", linewidth=line)
    axes.set_yticks(range(len(documents)), [dated(row) for row in documents.itertuples()], fontsize=8)
    axes.set_xticks([0, 1], ["beginning", "end"])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.9, pad=0.01, label="precocity of a passage")
    save(figure, path)


# ---------------------------------------------------------------- tables and regression


def most_and_least(documents) -> list[dict]:
    """Return the LISTED most and least precocious documents of each decade, as rows of the TSV."""
    found = []
    for decade, members in documents.groupby([corpus.decade_of(year) for year in documents.year]):
        both = ends(members, "precocity", LISTED) if len(members) > 1 else [members]
        for kind, some in zip(("most", "least"), both):
            for rank, row in enumerate(some.itertuples(), start=1):
                values = {name: f"{getattr(row, name):.6g}" for name in VALUES}
                found.append({"decade": decade, "kind": kind, "rank": rank, "docid": row.Index, "year": row.year,
                              "title": row.title.replace("\t", " "), "passages": row.passages} | values)  # fmt: skip
    return found


def write_most_and_least(path: Path, listed: list[dict]) -> None:
    """Write them as TSV, with a header."""
    names = ("decade", "kind", "rank", "docid", "year", "title", "passages", *VALUES)
    lines = ["\t".join(names)] + ["\t".join(str(row[name]) for name in names) for row in listed]
    script.write_lines(path, (line + "\n" for line in lines))


def decades_html(listed: list[dict]) -> str:
    """Return a table of the first of each decade's lists."""
    cells = {}
    for row in listed:
        if row["rank"] == 1:
            cells.setdefault(row["decade"], {})[row["kind"]] = row
    body = ""
    for decade, kinds in cells.items():
        body += f"<tr><td>{decade}s</td>"
        for row in kinds.values():
            year = "" if str(row["year"]) in row["title"] else f" ({row['year']})"
            title = html.escape(row["title"] + year)
            body += f'<td style="text-align: left">{title}</td><td>{float(row["precocity"]):+.3f}</td>'
        body += "</tr>\n"
    return (
        "<table><thead><tr><th>decade</th><th>furthest ahead</th><th>precocity</th><th>furthest behind</th>"
        f"<th>precocity</th></tr></thead><tbody>\n{body}</tbody></table>"
    )


def as_number(text: str) -> float:
    """Return a cell's number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def regress(documents, outcome, of_top: bool) -> dict:
    """Fit outcome ~ precocity + precocity² + novelty + date by ordinary least squares (statsmodels).

    Predictors and outcome are in standard deviations, so that coefficients compare; precocity is centred before it is
    squared. Also R² of date alone, which needs no text.

    Args:
        outcome: float, one a document, no NaN.
    """
    import numpy as np
    import statsmodels.api as sm

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


def standardised(values):
    """Return values in standard deviations from their mean; zeros where they don't differ."""
    import numpy as np

    values = np.asarray(values, dtype=float)
    spread = values.std()
    return (values - values.mean()) / (spread if spread > 0 else 1)


def regressions(documents, rows: dict[str, dict[str, str]], covariates: list[str]) -> dict[str, list[dict]]:
    """Return the regressions of each covariate, by all passages and by the top quarter.

    Raises:
        InputError: the metadata has no such column, or too few documents have a number in it.
    """
    import numpy as np

    found = {}
    for name in covariates:
        if name not in next(iter(rows.values())):
            columns = ", ".join(next(iter(rows.values())))
            raise InputError(f"--covariate {name}: the metadata's columns are {columns}; name one of them.")
        outcome = np.array([as_number(rows[docid][name]) for docid in documents.index])
        there = np.isfinite(outcome)
        if there.sum() < FEWEST or np.ptp(outcome[there]) == 0:
            raise InputError(f"--covariate {name}: {there.sum()} documents have a number there, or all the same one; "
                             f"at least {FEWEST} are needed.")  # fmt: skip
        log.info("%s: %d documents have a number, %d have none and are left out", name, there.sum(), (~there).sum())
        found[name] = [regress(documents[there], outcome[there], of_top) for of_top in (False, True)]
    return found


def regressions_html(found: dict[str, list[dict]]) -> str:
    """Return the table of regressions and its reading."""
    body = ""
    for name, fits in found.items():
        for fit in fits:
            cells = "".join(
                f"<td>{fit['coefficients'][term]:+.3f}{'*' if fit['p_values'][term] < 0.05 else ''}</td>"
                for term in TERMS
            )
            body += (
                f"<tr><td>{html.escape(name)}, {fit['passages']}</td><td>{fit['documents']}</td>{cells}"
                f"<td>{fit['r_squared']:.3f}</td><td>{fit['r_squared_date_alone']:.3f}</td></tr>\n"
            )
    heads = "".join(f"<th>{term}</th>" for term in TERMS)
    name, fits = next(iter(found.items()))
    best = max(fits, key=lambda fit: fit["r_squared"])
    reading = (
        f"Date alone explains {best['r_squared_date_alone']:.1%} of {name}; with the precocity and novelty of "
        f"{'the top quarter of' if best['passages'] != 'all' else 'all'} passages it is {best['r_squared']:.1%}."
    )
    return (
        f"<h2>What precocity goes with</h2><p>{html.escape(reading)}</p><table><thead><tr><th>outcome, passages</th>"
        f"<th>documents</th>{heads}<th>R²</th><th>R², date alone</th></tr></thead><tbody>\n{body}</tbody></table>"
        '<p class="small">Ordinary least squares; coefficients in standard deviations of the outcome for one of the '
        "predictor, * where p &lt; 0.05.</p>\n"
    )


# ---------------------------------------------------------------- the section


def timeline_reading(documents) -> str:
    """Return what the timeline shows, in one sentence."""
    most, least = documents.loc[documents.precocity.idxmax()], documents.loc[documents.precocity.idxmin()]
    return (
        f"Furthest ahead of its time is {dated(most)} ({most.precocity:+.3f}), furthest behind {dated(least)} "
        f"({least.precocity:+.3f}); {(documents.precocity > 0).mean():.0%} of "
        f"{len(documents)} documents resemble the following years more than the years before."
    )


def top_reading(documents) -> str:
    """Return what the top quarter shows, in one sentence."""
    from scipy.stats import spearmanr

    rho = spearmanr(documents.precocity, documents.top_precocity).statistic
    gain = (documents.top_precocity - documents.precocity).mean()
    return (
        f"The order of documents by their most forward-looking quarter agrees with that by all passages to Spearman's "
        f"ρ = {rho:.2f}; the quarter is {gain:.3f} more precocious on average, and documents in orange gain more than "
        "others as precocious as they."
    )


def strips_reading(documents, passages) -> str:
    """Return what the strips show, in one sentence."""
    ahead = passages.precocity > 0
    chosen = passages.paperId.isin(documents.index[: len(documents) // 2])
    return (
        f"Of the passages of the documents furthest ahead {ahead[chosen].mean():.0%} look ahead (orange), of those of "
        f"the documents furthest behind {ahead[~chosen].mean():.0%}."
    )


def write_section(path: Path, choice: Choice, left_out: int, parts: list[str]) -> None:
    """Write section.html, a fragment for the report's page."""
    lead = (
        "<h2>Ahead of their time</h2><p>Precocity is how much more a text resembles what is written after it than what "
        f'was written before. <span class="small">Compared with {html.escape(str(choice))}; {left_out} documents have '
        "no value, because fewer than half of the years on one side of them have passages.</span></p>\n"
    )
    script.write_lines(path, [lead, *parts])


def write_nothing(path: Path, choice: Choice, left_out: int) -> None:
    """Write a section that says why it shows nothing: a short or thin corpus is no fault of the input."""
    log.warning("fewer than two documents have precocity, nothing to show; take another --radius or a longer corpus")
    write_section(path, choice, left_out, ["<p>Fewer than two documents have a value: nothing to show.</p>\n"])


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("tables", nargs="+", metavar="TABLE", help="TSV or folder that calc_precocity_for_embeddings.py wrote")
    add("-t", "--metadatapath", required=True, metavar="TSV", help="metadata with columns paperId, year, title …")
    add("-o", "--output", required=True, metavar="FOLDER", help="where figures, table and section.html go")
    add("--fraction", type=float, choices=FRACTIONS, default=0.1, help="of each year's passages (default %(default)s)")
    add("--filter", choices=FILTERS, default=FILTERS[-1], help="what is left out (default %(default)s, the most)")
    add("--radius", type=int, choices=RADII, default=20, help="years either way (default %(default)s)")
    add("--covariate", action="append", default=[], metavar="NAME", help="a numeric column to explain; may be repeated")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    folder, choice = Path(args.output), Choice(args.fraction, args.filter, args.radius)
    args.tables = [table_in(path) for path in args.tables]
    rows, table = read_rows(args.metadatapath), read_tables(args.tables)
    documents = documents_of(table, choice, rows)
    left_out = table.docid.nunique() - len(documents)
    log.info("%d documents, %d more have no precocity: %s", len(documents), left_out, choice)
    if len(documents) < 2:
        write_nothing(folder / "section.html", choice, left_out)
        return 0
    found = regressions(documents, rows, args.covariate)

    import matplotlib
    import pandas as pd

    matplotlib.use("Agg")
    shown = pd.concat(ends(documents, "precocity", STRIPS))
    passages = read_passages(args.tables, choice, list(shown.index), set(shown.year))
    listed = most_and_least(documents)
    draw_timeline(documents, folder / "precocity_timeline.png")
    draw_top_quarter(documents, folder / "precocity_top_quarter.png")
    draw_strips(shown, passages, folder / "precocity_strips.png")
    write_most_and_least(folder / "precocity_most_least.tsv", listed)

    readings = map(html.escape, (timeline_reading(documents), top_reading(documents), strips_reading(shown, passages)))
    timeline, top, strips = readings
    parts = [
        figure_html(folder, "precocity_timeline.png", "Precocity by year", timeline),
        f'<h2>Ahead and behind, by decade</h2>{decades_html(listed)}<p class="small">The three at either end of each '
        "decade are in precocity_most_least.tsv.</p>\n",
        figure_html(
            folder, "precocity_top_quarter.png", "The top quarter of passages", html.escape(top_reading(documents))
        ),
        figure_html(folder, "precocity_strips.png", "Passage by passage", strips),
        *([regressions_html(found)] if found else []),
    ]
    facts = {"documents": len(documents), "without_precocity": left_out, "regressions": found}
    script.write_json(folder / "precocity_report.json", script.run_record(args, started, **facts))
    write_section(folder / "section.html", choice, left_out, parts)
    log.info("%s", folder / "section.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
