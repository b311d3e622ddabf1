"""report.html: one file with every figure inside it, opens from disk."""

from __future__ import annotations

import html
import string
import time
from pathlib import Path

import script

from .drawing import figure_html
from .figures import FIGURES
from .metrics import LESS_IS_BETTER, METRICS, Measured, interval

PAGE = string.Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
 body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c;
        background: #fff }
 h1 { font-size: 1.6rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
 .lead { font-size: 1.1rem } .note { border-left: 4px solid #c2410c; padding: .3rem .9rem; background: #fff7ed }
 table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .35rem .6rem; text-align: right }
 th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #1c1c1c; font-size: .9rem }
 tbody tr:nth-child(even) { background: #f6f6f4 } td { font-variant-numeric: tabular-nums } td.best { font-weight: 700 }
 td span { display: block; font-size: .75rem; color: #555; font-weight: 400; white-space: nowrap }
 .wide { overflow-x: auto } .wide th, .wide td { padding: .35rem .3rem } .wide td span { font-size: .68rem }
 img { max-width: 100%; height: auto } figure { margin: 0 } figcaption, dl, .small { color: #555; font-size: .9rem }
 summary { cursor: pointer } dt { font-weight: 600 } dd { margin: 0 0 .4rem 0 }
</style></head><body>
<h1>$title</h1>
<p class="small">$corpus</p>
<p class="lead">$summary</p>
$note
<h2>Measured</h2>
<div class="wide"><table><thead><tr><th>representation</th>$headings</tr></thead><tbody>
$rows</tbody></table></div>
<p class="small">Below each figure its 95% interval over documents. The best of each column is bold. Centred: the mean
passage subtracted from each, no training; what tuning gains beyond the centred base is what it learned of the corpus.
$seeds</p>
<details><summary>What the columns mean</summary><dl>$definitions</dl></details>
<h2>Differences</h2>
<div class="wide"><table><thead><tr><th>difference</th>$headings</tr></thead><tbody>
$differences</tbody></table></div>
<p class="small">Under the same draws of documents. Bold where the 95% interval leaves out 0.</p>
$figures
$sections
<h2>How it was made</h2>
$trainings
<p class="small">$made</p>
</body></html>
""")


def bounds_html(mean: Measured) -> str:
    """Return a figure's interval as HTML, nothing where it has none."""
    bounds = interval(mean.replicates)
    return f"<span>{bounds[0]:.3f} … {bounds[1]:.3f}</span>" if bounds else ""


def cells(metrics: dict[str, Measured], is_bold, form: str) -> str:
    """Return a row's cells as HTML; is_bold tells from key and figure whether to mark it."""
    text = ""
    for key, _, _ in METRICS:
        found = metrics[key]
        if found.value is None:
            text += "<td>–</td>"
            continue
        mark = ' class="best"' if is_bold(key, found) else ""
        text += f"<td{mark}>{found.value:{form}}{bounds_html(found)}</td>"
    return text


def table_rows(means: dict[str, dict[str, Measured]]) -> str:
    """Return the table's rows as HTML, the best figure of each column marked."""
    best = {}
    for key, _, _ in METRICS:
        values = [m[key].value for m in means.values() if m[key].value is not None]
        best[key] = (min if key in LESS_IS_BETTER else max)(values, default=None)
    return "".join(
        f"<tr><td>{html.escape(name)}</td>{cells(metrics, lambda k, m: m.value == best[k], '.3f')}</tr>\n"
        for name, metrics in means.items()
    )


def difference_rows(differences: list[tuple[str, str, dict[str, Measured]]]) -> str:
    """Return the rows of the differences as HTML, those whose interval leaves out 0 marked."""

    def is_sure(key, difference):
        bounds = interval(difference.replicates)
        return bounds is not None and (bounds[0] > 0 or bounds[1] < 0)

    return "".join(
        f"<tr><td>{html.escape(name)} less {html.escape(other)}</td>{cells(found, is_sure, '+.3f')}</tr>\n"
        for name, other, found in differences
    )


def summary(means: dict[str, dict[str, Measured]], differences: list[tuple[str, str, dict[str, Measured]]]) -> str:
    """Return a sentence for each difference of timeline ρ: what tuning gained, and whether its interval is sure."""
    sentences = []
    for name, other, found in differences:
        difference, bounds = found["timeline_rho"], interval(found["timeline_rho"].replicates)
        if difference.value is None or bounds is None:
            continue
        verdict = "above" if bounds[0] > 0 else "below" if bounds[1] < 0 else "not distinguishable from"
        sentences.append(
            f"On held-out documents {name} represents the timeline (ρ {means[name]['timeline_rho'].value:.3f}) "
            f"{verdict} {other} ({means[other]['timeline_rho'].value:.3f}; difference {difference.value:+.3f}, "
            f"95% interval {bounds[0]:+.3f} to {bounds[1]:+.3f})."
        )
    return " ".join(sentences)


def training_html(name: str, trainings: list[dict]) -> str:
    """Return one paragraph on how a model was trained; with several seeds the first stands for all."""
    training = trainings[0]
    recipe, counts = training["recipe"], training["counts"]
    kinds = ", ".join(f"{n} {category}" for category, n in counts["training_categories"].items())
    seeds = ", ".join(str(one["recipe"]["seed"]) for one in trainings)
    minutes = " + ".join(f"{one['seconds'] / 60:.1f}" for one in trainings)
    centre, whiten = training["adjusted"]["centre"], training["adjusted"]["whiten"]
    adjusted = (
        f"less {centre:g} of the mean and whitened to the power {whiten:g}" if centre or whiten else "as they come"
    )
    text = (
        f"{name}: {Path(recipe['base_model']).name}, {counts['training_pairs']} pairs of "
        f"{counts['training_documents']} documents ({kinds}), {recipe['epochs']} epochs of batches of "
        f"{recipe['batch_size']}, learning rate {recipe['learning_rate']:g}, {training['steps']} steps on "
        f"{training['device']} in {training['precision']}, seed {seeds}, {minutes} "
        f"minutes; {counts['held_out_documents']} documents held out; vectors {adjusted}."
    )
    return f"<p>{html.escape(text)}</p>"


def seeds_line(runs: dict[str, list]) -> str:
    """Return how many runs each representation is the mean of, where any is of several."""
    several = [f"{name}: {len(of_name)}" for name, of_name in runs.items() if len(of_name) > 1]
    return f"Means over runs with different seeds ({', '.join(several)})." if several else "One run (seed) each."


def write_page(
    folder: Path, args, corpus_line: str, means: dict, runs: dict, differences: list, trainings: dict
) -> None:
    """Write report.html with every figure inside it."""
    page = PAGE.substitute(
        title=html.escape(args.title),
        corpus=html.escape(corpus_line),
        summary=html.escape(summary(means, differences)),
        note=f'<p class="note">{html.escape(args.note)}</p>' if args.note else "",
        headings="".join(f"<th>{html.escape(heading)}</th>" for _, heading, _ in METRICS),
        rows=table_rows(means),
        seeds=html.escape(seeds_line(runs)),
        definitions="".join(f"<dt>{html.escape(h)}</dt><dd>{html.escape(d)}</dd>" for _, h, d in METRICS),
        differences=difference_rows(differences),
        figures="".join(figure_html(folder, *figure) for figure in FIGURES if (folder / figure[0]).exists()),
        sections="".join(Path(section).read_text(encoding="utf-8") for section in args.section),
        trainings="".join(training_html(name, of_name) for name, of_name in trainings.items()),
        made=html.escape(time.strftime("Made %Y-%m-%d by evaluate_timeline.py; evaluation.json has all figures.")),
    )
    with script.replacing(folder / "report.html") as beside:
        beside.write_text(page, encoding="utf-8")
