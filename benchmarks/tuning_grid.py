"""Measure flags of TuneEmbeddings.py one at a time: the rows of benchmarks/TUNING.md.

A variant is the set of pairs with flags of its own. `make experiment` tunes each variant with every seed, embeds the
held-out documents and compares all variants; its report lies in <output>/report. Prints two Markdown tables: the
figures, and their differences from the yardsticks and the first variant. What is done already is not done again. One
GPU runs all variants on the State of the Union corpus in an hour or so (an estimate); on two CPU cores choose a few
with --variants. --splits does all of it for several choices of held-out documents, each in a folder of its own:
across.py makes one table of them.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # script.py lies one folder up

import corpus  # noqa: E402
import script  # noqa: E402
from script import InputError, log  # noqa: E402

EXAMPLE = (
    "python benchmarks/tuning_grid.py CONFIG=demo/demo.mk DEMO_SIZE=experiment 'REPORT_FLAGS=--topics 50' "
    "-o grid --variants default recombine-1 --seeds 0 1 2"
)

# Flags of TuneEmbeddings.py for each variant. make has flags of its own for timeline. Nothing is trained for lsa and
# joined: make joins the default model's vectors with counted words and with those of timeline.
VARIANTS = {
    "default": "",
    "not-adjusted": "--centre 0 --whiten 0",
    "half-centered": "--whiten 0",
    "half-whitened": "--whiten 0.5",
    "centered": "--centre 1 --whiten 0",
    "centered-quarter-whitened": "--centre 1 --whiten 0.25",
    "centered-half-whitened": "--centre 1 --whiten 0.5",
    "allow": "--same-document allow",
    "one-way": "--no-symmetric",
    "256-tokens-dropout": "--max-seq-length 256 --attention-dropout",
    "timeline": "",
    "lsa": "",
    "joined": "",
    "recombine-1": "--recombine 1",
    "recombine-1-not-adjusted": "--recombine 1 --centre 0 --whiten 0",
    "recombine-1-half-whitened": "--recombine 1 --whiten 0.5",
    "recombine-3": "--recombine 3",
    "recombine-3-allow": "--recombine 3 --same-document allow",
    "scale-40": "--scale 40",
    "batches-of-32": "--batch-size 32",
    "batches-of-128": "--batch-size 128 --mini-batch-size 32",
    "three-epochs": "--epochs 3",
    "rate-5e-5": "--learning-rate 5e-5",
    "rate-1e-4": "--learning-rate 1e-4",
    "rate-2e-4": "--learning-rate 2e-4",
    "256-tokens": "--max-seq-length 256",
    "256-tokens-recombine-1": "--max-seq-length 256 --recombine 1",
    "replication": "--recipe replication",
}
COLUMNS = {
    "mrr_at_10": "MRR@10",
    "ap_anywhere": "AP, anywhere",
    "ap_same_decade": "AP, same decade",
    "timeline_rho": "timeline ρ",
    "timeline_rho_near": "ρ, ≤ 50 years",
    "dating_r2_author": "dating R², new authors",
}


def table(measured: dict[str, dict], sign: str = "", minutes: dict[str, float] | None = None) -> str:
    """Return figures with their intervals as a Markdown table, a row for each name."""
    rows = {name: [cell(**figures[column], sign=sign) for column in COLUMNS] for name, figures in measured.items()}
    if minutes:
        rows = {name: [*cells, f"{minutes[name]:.1f}" if name in minutes else ""] for name, cells in rows.items()}
    return markdown([*COLUMNS.values(), *(["minutes"] if minutes else [])], rows)


def markdown(heads: list[str], rows: dict[str, list[str]]) -> str:
    """Return a Markdown table whose first column has the rows' names."""
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def differences_of(report: dict) -> dict[str, dict]:
    """Return a report's differences by name."""
    return {f"{one['of']} less {one['less']}": one for one in report["differences"]}


def cell(value: float | None, interval: list[float] | None, sign: str, **_) -> str:
    """Return a figure with its interval, – where there is none."""
    if value is None:
        return "–"
    return f"{value:{sign}.3f}" + (f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else "")


def run_experiment(args, folder: Path, split: int | None, names: dict[str, str]) -> None:
    """Have make tune, embed and compare the variants; what it says goes to stderr.

    Args:
        names: of EXPERIMENT_SETS -> the variant.
    """
    words = ["make", *args.settings, f"EXPERIMENT={folder}", f"EXPERIMENT_SETS={' '.join(names)}"]
    words += [f"EXPERIMENT_SEEDS={' '.join(map(str, args.seeds))}"]
    words += [f"TUNE_FLAGS_{variant}={VARIANTS[variant]}" for variant in names.values() if VARIANTS[variant]]
    words += [] if split is None else [f"EXPERIMENT_SPLIT={split}"]
    log.info("%s experiment", shlex.join(words))
    if subprocess.run([*words, "experiment"], cwd=ROOT, stdout=sys.stderr).returncode:
        raise InputError("make experiment failed; see above, then run the same command again.")


def minutes_of(folder: Path, name: str, seeds: list[int]) -> float:
    """Return the minutes that a variant's training took, the mean of its seeds."""
    records = [script.read_json(folder / f"{name}-seed{seed}" / corpus.TRAINING_RECORD) for seed in seeds]
    return mean(record["seconds"] for record in records) / 60


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("settings", nargs="*", metavar="SETTING=VALUE", help="of make, as in CONFIG=demo/demo.mk")
    add("-o", "--output", required=True, metavar="FOLDER", help="where models, embeddings and report go")
    add("--set", default="nopara", help="pairs to tune on: nopara, para10 … (default %(default)s)")
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="(default 0 1 2)")
    many = "also hold out other documents: a --split-seed each, whose models and report go to <output>/split-N"
    add("--splits", nargs="+", type=int, metavar="N", help=many)
    return arguments.parse_args(argv)


def names_of(args) -> dict[str, str]:
    """Return what make calls the variants, the pairs' name first -> the variant."""
    return {args.set if variant == "default" else f"{args.set}+{variant}": variant for variant in args.variants}


def measure(args, folder: Path, split: int | None) -> None:
    """Run all variants with one choice of held-out documents, and print their tables."""
    names = names_of(args)
    run_experiment(args, folder, split, names)
    trained = [name for name, variant in names.items() if variant not in ("lsa", "joined")]
    minutes = {name: minutes_of(folder, name, args.seeds) for name in trained}
    report = script.read_json(folder / "report/evaluation.json")
    chosen = "" if split is None else f", split {split}"
    print(f"Measured {time.strftime('%Y-%m-%d')}, seeds {args.seeds}{chosen}, {shlex.join(args.settings)}\n")
    print(table(report["measured"], minutes=minutes), table(differences_of(report), "+"), sep="\n\n")


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    folder = Path(args.output).resolve()
    for split in args.splits or [None]:
        measure(args, folder if split is None else folder / f"split-{split}", split)
    return 0


if __name__ == "__main__":
    sys.exit(main())
