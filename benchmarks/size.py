"""Run every stage on a synthetic corpus of published size: 40,000 documents, 800,000 passages, 300 million words.

Each stage runs as a user would run it: its script, in a process of its own. Recorded are its time by the clock, its CPU
time, and its peak memory. The encoder is tiny and random and reads 128 tokens, so embedding shows the loop and not the
arithmetic; its vectors have 768 dimensions, so what comes after works on as much as it would. --scale 0.1 makes a tenth
of the corpus; the hundred steps of tuning stay a hundred. With several scales the table also tells the exponent of each
stage's growth in CPU time: 1 is in proportion, 2 quadratic. The time to start, which small scales cannot hide, makes it
look smaller.

Precocity compares ten years with the twenty before and after, so its work is quadratic in the passages of a year.
Sending needs the test cluster (root; tests/cluster/rig.sh install) and is left out where that is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = 40_000
STEPS, BATCH = 100, 32  # of tuning
SHARE = 0.14  # of the pairs are paraphrased: 6,000 rows at full size
YEARS = (1960, 1970)  # whose precocity is measured
MEMORY, EVALUATION = 4.0, (15.0, 3.0)  # GB at most; minutes and GB of the evaluation of all documents


class Cost(NamedTuple):
    """What a stage took."""

    seconds: float
    cpu: float
    gigabytes: float


def timed(words: list, **environment: str) -> Cost:
    """Run a command in the project's folder; return what it took. SystemExit where it fails."""
    before = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        running = subprocess.Popen(map(str, words), cwd=ROOT, stdout=said, stderr=said, env=os.environ | environment)
        _, status, used = os.wait4(running.pid, 0)
        if status:
            said.seek(0)
            print(said.read().decode()[-2000:], file=sys.stderr)
            raise SystemExit(f"size.py: {words[1]} failed; its last words are above.")
    factor = 1 if sys.platform == "darwin" else 1024
    return Cost(time.perf_counter() - before, used.ru_utime + used.ru_stime, used.ru_maxrss * factor / 1e9)


def stages(folder: Path, server: str) -> dict[str, list]:
    """Return each stage's command after Python, in their order."""
    corpus = ["-t", folder / "metadata.tsv", "-r", folder / "chunks"]
    made = folder / "output"  # where delta.py looks for tables
    pairs, nopara, paraphrased = made / "pairs/para14.tsv", made / "pairs/nopara.tsv", made / "paraphrased/para14.tsv"
    tuned, base = folder / "tuned", folder / "encoder/model"
    precocity = folder / "precocity"
    embed = ["Apply_Tuned_Model.py", *corpus, "-m"]
    # A random encoder's vectors are nearly alike, too near for float32; whitened ones are not.
    tuning = ["--epochs", 1, "--batch-size", BATCH, "--limit", STEPS * BATCH, "--centre", 1, "--whiten", 1]
    years = ["-s", YEARS[0], "-e", YEARS[1], "--train-pairs", pairs, "--exclude-same-author", "--exclude-quotes"]
    return {
        "pairs": ["select_training_pairs_final.py", 400, *corpus, "--paraphrase-share", SHARE, "-o", pairs],
        "pairs without paraphrase": ["select_training_pairs_no_paraphrase.py", *corpus, "--match", pairs, "-o", nopara],
        "paraphrase, local server": ["synthetic_data_generator.py", "-d", pairs, "-o", paraphrased, "--base-url",
                                     server, "--model", "local", "--price", "0/0"],
        "tuning, 100 steps": ["TuneEmbeddings.py", "-d", paraphrased, "-o", tuned, *corpus, "--base-model", base,
                              *tuning],
        "embedding, base": [*embed, base, "-o", folder / "embedded/base"],
        "embedding, tuned": [*embed, tuned / "final", "-o", folder / "embedded/tuned"],
        "counted words": ["fit_lsa.py", *corpus, "--training", tuned / "training.json", "-o", folder / "words"],
        "precocity, ten years": ["calc_precocity_for_embeddings.py", "-m", folder / "metadata.tsv", "-d",
                                 folder / "embedded/tuned", *years, *corpus[2:], "-o", precocity],
        "report on precocity": ["report_precocity.py", precocity, "-t", folder / "metadata.tsv", "-o", precocity],
        "evaluation, 50 topics": ["evaluate_timeline.py", f"base={folder}/embedded/base",
                                  f"tuned={folder}/embedded/tuned", "--training", tuned / "training.json", *corpus,
                                  "--topics", 50, "--topic-workers", 2, "--section", precocity / "section.html",
                                  "-o", folder / "report"],
    }  # fmt: skip


@contextlib.contextmanager
def local_server():
    """Run the tests' server; yield its address."""
    command = [sys.executable, str(ROOT / "tests/openai_server.py")]
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield next(word for word in serving.stdout.readline().split() if word.startswith("http"))
    finally:
        serving.kill()
        serving.wait()


def send(folder: Path) -> Cost | None:
    """Send scripts, tables and chunk files to the test cluster over ssh; None where there is none."""
    rig = str(ROOT / "tests/cluster/rig.sh")
    if os.geteuid() or subprocess.run([rig, "missing"], capture_output=True, text=True).stdout.strip():
        return None
    far = tempfile.mkdtemp(prefix="rig.", dir="/tmp")  # the name has to be short: sockets
    try:
        subprocess.run([rig, "start", far], check=True, env=os.environ | {"RIG_PYTHON": sys.executable})
        place = ["--host", "delta", "--folder", f"{far}/delta/projects/size", "--ssh", f"ssh -F {far}/ssh_config"]
        corpus = ["-t", folder / "metadata.tsv", "-r", folder / "chunks"]
        tables = ["--output", folder / "output", "--train", "para14"]
        return timed([sys.executable, "delta.py", *place, *tables, *corpus, "sync"])
    finally:
        subprocess.run([rig, "stop", far], check=False)
        subprocess.run(["rm", "-rf", far], check=False)


def measure(folder: Path, scale: float, with_cluster: bool) -> dict[str, Cost | None]:
    """Make a corpus of that scale in the folder and run all stages on it."""
    costs = {}
    make = "import sys; sys.path.insert(0, 'benchmarks'); import synthetic; from pathlib import Path; "
    make += f"synthetic.make_corpus(Path({str(folder)!r}), {round(DOCUMENTS * scale)}); "
    make += f"synthetic.make_encoder(Path({str(folder)!r}) / 'encoder', 64, 1, dimensions=768, tokens=128)"
    costs["(making corpus and encoder)"] = timed([sys.executable, "-c", make])
    with local_server() as server:
        for name, words in stages(folder, server).items():
            costs[name] = timed([sys.executable, *words], OPENAI_API_KEY="none", HF_HUB_OFFLINE="1")
            took = "{:.1f} s, {:.1f} CPU s, {:.2f} GB".format(*costs[name])
            print(f"{scale:g}: {name}: {took}", file=sys.stderr, flush=True)
    costs["sending to a cluster"] = send(folder) if with_cluster else None
    return costs


def verdict(name: str, scale: float, cost: Cost) -> str:
    """Return whether a stage at full size reaches its goal, else nothing."""
    if scale < 1:
        return ""
    minutes, most = EVALUATION if name.startswith("evaluation") else (math.inf, MEMORY)
    return "yes" if cost.gigabytes <= most and cost.seconds <= 60 * minutes else "no"


def print_table(found: dict[float, dict[str, Cost | None]]) -> None:
    """Print each stage's costs at each scale, and the exponent between the first and the last."""
    small, large = min(found), max(found)
    heads = " | ".join(f"{scale:g}: s | CPU s | GB" for scale in found)
    print(f"| stage | {heads} | exponent | goal reached |")
    print("|---" * (3 * len(found) + 3) + "|")
    for name in found[large]:
        costs = [found[scale][name] for scale in found]
        if None in costs:
            print(f"| {name} | {'no test cluster here | | | ' * len(found)}| |")
            continue
        cells = " | ".join(f"{cost.seconds:.1f} | {cost.cpu:.1f} | {cost.gigabytes:.2f}" for cost in costs)
        exponent = math.log(costs[-1].cpu / costs[0].cpu) / math.log(large / small) if large > small else math.nan
        shown = f"{exponent:.2f}" if large > small else ""
        print(f"| {name} | {cells} | {shown} | {verdict(name, large, costs[-1])} |")


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = arguments.add_argument
    add("--scale", type=float, nargs="+", default=[0.1, 1.0], help="of the published size (default 0.1 1)")
    add("--folder", help="where all is made and kept (default a temporary one; full size takes 15 GB)")
    add("--no-cluster", action="store_true", help="leave out the sending of files to the test cluster")
    args = arguments.parse_args(argv)
    found = {}
    for scale in sorted(args.scale):
        with contextlib.ExitStack() as stack:
            parent = args.folder or stack.enter_context(tempfile.TemporaryDirectory())
            found[scale] = measure(Path(parent) / f"scale-{scale:g}", scale, not args.no_cluster)
    print(f"{platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}; "
          f"{', '.join(f'{round(DOCUMENTS * scale):,}' for scale in found)} documents\n")  # fmt: skip
    print_table(found)


if __name__ == "__main__":
    main()
