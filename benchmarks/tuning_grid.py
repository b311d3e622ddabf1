"""Measure the levers of TuneEmbeddings.py one at a time: the rows of benchmarks/TUNING.md.

Each variant is the default recipe with something changed; it is tuned with every seed, embeds the held-out documents,
and all are compared by evaluate_timeline.py (its report lies in <output>/report). Prints Markdown: the figures, and
their differences to the centred base, the topic model and the first variant. What is done already is not done again.
One GPU runs the whole grid on the State of the Union corpus in an hour or so (an estimate); on two CPU cores choose
--variants.
"""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts lie one folder up

import Apply_Tuned_Model  # noqa: E402
import corpus  # noqa: E402
import evaluate_timeline  # noqa: E402
import script  # noqa: E402
import TuneEmbeddings  # noqa: E402
from script import InputError, log  # noqa: E402

EXAMPLE = (
    "python benchmarks/tuning_grid.py -d pairs.tsv -t metadata.tsv -r chunks --base-model MODEL -o grid "
    "--variants default allow 'recombine 3' --seeds 0 1 2 --tune-flags='--epochs 4 --batch-size 32'"
)

# Name, flags of TuneEmbeddings.py, flags of Apply_Tuned_Model.py. Variants with the same tuning share the model.
VARIANTS = {
    "default": ("", ""),
    "not adjusted": ("", "--centre 0 --whiten 0"),
    "centred": ("", "--centre 1 --whiten 0"),
    "centred, whitened ¼": ("", "--centre 1 --whiten 0.25"),
    "centred, whitened ½": ("", "--centre 1 --whiten 0.5"),
    "allow": ("--same-document allow", ""),
    "exclude": ("--same-document exclude", ""),
    "decade": ("--batches decade", ""),
    "one-way": ("--no-symmetric", ""),
    "recombine 1": ("--recombine 1", ""),
    "recombine 1, not adjusted": ("--recombine 1", "--centre 0 --whiten 0"),
    "recombine 1, whitened ½": ("--recombine 1", "--whiten 0.5"),
    "recombine 1, whitened ¾": ("--recombine 1", "--whiten 0.75"),
    "recombine 3": ("--recombine 3", ""),
    "recombine 3, not adjusted": ("--recombine 3", "--centre 0 --whiten 0"),
    "recombine 3, allow": ("--recombine 3 --same-document allow", ""),
    "scale 40": ("--scale 40", ""),
    "cached 128": ("--batch-size 128 --mini-batch-size 32", ""),
    "half the rate": ("--learning-rate 5e-5", ""),
    "twice the rate": ("--learning-rate 2e-4", ""),
    "256 tokens": ("--max-seq-length 256", ""),
    "256 tokens, recombine 1": ("--max-seq-length 256 --recombine 1", ""),
    "best epoch": ("--keep best", ""),
    "matryoshka": ("--matryoshka 384 192 96", ""),
    "replication": ("--recipe replication", ""),
}
COLUMNS = {
    "mrr_at_10": "MRR@10",
    "ap_anywhere": "AP, anywhere",
    "ap_same_decade": "AP, same decade",
    "timeline_rho": "timeline ρ",
    "timeline_rho_near": "ρ, ≤ 50 years",
    "dating_r2": "dating R²",
}


def done(status: int, what: str) -> None:
    """Stop where a script did not end well; it has said why."""
    if status:
        raise InputError(f"{what} ended with status {status}; see above, then run the same command again.")


def slug(flags: str) -> str:
    """Return flags as a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in flags).strip("-") or "default"


def run_variant(args, folder: Path, name: str, seed: int, held_out: Path) -> tuple[Path, Path]:
    """Tune and embed one variant with one seed; return its training record and embedding folder."""
    tune, apply = VARIANTS[name]
    model = folder / "models" / f"{slug(tune)}-{seed}"
    words = f"-d {args.datasource} -o {model} --base-model {args.base_model} --seed {seed} --resume --eval-fraction 0.2"
    log.info("%s, seed %d", name, seed)
    done(TuneEmbeddings.main(shlex.split(f"{words} {args.tune_flags} {tune}")), f"{name}, seed {seed}")
    embeddings = folder / "embeddings" / f"{slug(tune + apply)}-{seed}"
    words = f"-t {args.metadatapath} -r {args.rootfolder} --held-out-of {held_out} -m {model}/final -o {embeddings}"
    done(Apply_Tuned_Model.main(shlex.split(f"{words} {args.apply_flags} {apply}")), f"{name}, seed {seed}")
    return model / corpus.TRAINING_RECORD, embeddings


def table(found: dict[str, dict], sign: str = "", minutes: dict[str, float] | None = None) -> str:
    """Return figures with their intervals as a Markdown table, a row for each name."""
    heads = [*COLUMNS.values(), *(["minutes"] if minutes else [])]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, figures in found.items():
        cells = []
        for column in COLUMNS:
            value, interval = figures[column]["value"], figures[column]["interval"]
            low_high = f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else ""
            cells.append("–" if value is None else f"{value:{sign}.3f}{low_high}")
        if minutes:
            cells.append(f"{minutes[name]:.1f}" if name in minutes else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("-d", "--datasource", required=True, metavar="TSV", help="pair table")
    add("-t", "--metadatapath", required=True, metavar="TSV")
    add("-r", "--rootfolder", required=True, metavar="FOLDER")
    add("-o", "--output", required=True, metavar="FOLDER")
    add("--base-model", required=True, metavar="MODEL")
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=", ".join(VARIANTS))
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--tune-flags", default="", help="for all variants")
    add("--apply-flags", default="", help="for all variants")
    add("--report-flags", default="", help="of evaluate_timeline.py")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    folder = Path(args.output)
    # All embed the documents that the first run held out; the others hold out the same, by the same rule.
    held_out = folder / "models" / f"{slug(VARIANTS[args.variants[0]][0])}-{args.seeds[0]}" / corpus.TRAINING_RECORD
    representations, trainings, minutes = [], [], {}
    for name in args.variants:
        for seed in args.seeds:
            record, embeddings = run_variant(args, folder, name, seed, held_out)
            representations.append(f"{name}={embeddings}")
            trainings += ["--training", str(record)]
            minutes[name] = minutes.get(name, 0) + script.read_json(record)["seconds"] / 60 / len(args.seeds)
    base = folder / "embeddings" / "base"
    words = f"-t {args.metadatapath} -r {args.rootfolder} --held-out-of {held_out} -m {args.base_model} -o {base}"
    done(Apply_Tuned_Model.main(shlex.split(f"{words} {args.apply_flags}")), "base")
    words = [f"base={base}", *representations, *trainings, "-t", args.metadatapath, "-r", args.rootfolder]
    words += ["-o", str(folder / "report"), *shlex.split(args.report_flags)]
    done(evaluate_timeline.main(words), "the comparison")
    print(f"Measured {time.strftime('%Y-%m-%d')}, seeds {args.seeds}, {args.tune_flags or 'default flags'}\n")
    report = script.read_json(folder / "report/evaluation.json")
    differences = {f"{one['of']} less {one['less']}": one for one in report["differences"]}
    print(table(report["measured"], minutes=minutes), table(differences, "+"), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
