"""Time the steps of tuning with attention dropout and without, each with PyTorch's fused and with plain attention.

All ways train the same model on the same pairs with the project's own trainer, in one process; of each the median step
counts, the first left out. Without -d, the passages are synthetic, and all longer than the model reads: there is no
padding. Without --model, the encoder has the shape of all-distilroberta-v1 and random weights.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts lie one folder up

import numpy as np  # noqa: E402
import synthetic  # noqa: E402

import TuneEmbeddings as tune  # noqa: E402
from tuning import trainer as training  # noqa: E402
from tuning.recipe import recipe_of  # noqa: E402
from tuning.split import read_training_pairs  # noqa: E402

WAYS = {
    "dropout, fused": (True, False),
    "dropout, plain": (True, True),
    "no dropout, fused": (False, False),
    "no dropout, plain": (False, True),
}


def synthetic_pairs(count: int) -> list[dict]:
    """Return pairs of passages, each of a document of its own; all are longer than a model reads."""
    words, dice, cumulative = synthetic.vocabulary(), np.random.default_rng(0), synthetic.zipfian()
    texts = [synthetic.document_texts(1900, words, cumulative, dice)[:6] for _ in range(count)]
    return [
        {"paperId": f"d{i}", "anchor": " ".join(own[:3]), "positive": " ".join(own[3:])} for i, own in enumerate(texts)
    ]


def step_clock():
    """Return a callback of the trainer that keeps the seconds of each step."""
    from transformers import TrainerCallback

    class StepClock(TrainerCallback):
        def __init__(self):
            self.seconds = []

        def on_step_begin(self, *_, **__):
            self.started = time.perf_counter()

        def on_step_end(self, *_, **__):
            self.seconds.append(time.perf_counter() - self.started)

    return StepClock()


def seconds_of_a_step(args, rows: list[dict], tokens: int, dropout: bool, plain: bool) -> float:
    """Return the median time of a step, trained in one way."""
    training.SHORT = 10**6 if plain else 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pairs.tsv").touch()
        words = ["-d", f"{folder}/pairs.tsv", "-o", folder, "--base-model", args.model, "--epochs", "1"]
        words += ["--batch-size", str(args.batch_size), "--max-seq-length", str(tokens)]
        words += ["--attention-dropout" if dropout else "--no-attention-dropout"]
        recipe, machine = recipe_of(tune.parse_args(words)), training.Machine("cpu", args.precision)
        model = training.load_base_model(recipe, machine, trust=False)
        trainer = training.build_trainer(model, rows, recipe, training.Run(Path(folder), None, 0.0), machine)
        trainer.args.save_strategy, clock = "no", step_clock()
        trainer.add_callback(clock)
        with training.cut_at(model, tokens), training.attention_for_training(model, machine):
            trainer.train()
    return statistics.median(clock.seconds[1:])


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = arguments.add_argument
    add("-d", "--datasource", metavar="TSV", help="pair table (default: synthetic pairs)")
    add("--model", help="folder of a sentence-transformers model (default: random weights)")
    add("--tokens", type=int, nargs="+", default=[64, 128, 256], help="lengths of passages (default 64 128 256)")
    add("--batch-size", type=int, default=32, help="pairs (default %(default)s)")
    add("--steps", type=int, default=5, help="of each way (default %(default)s)")
    add("--precision", default="auto", help="auto, bf16, fp32 (default %(default)s)")
    args = arguments.parse_args(argv)
    wanted = args.batch_size * args.steps
    rows = read_training_pairs(args.datasource, wanted) if args.datasource else synthetic_pairs(wanted)
    with tempfile.TemporaryDirectory() as temporary:
        args.model = args.model or str(synthetic.make_encoder(Path(temporary) / "model", hidden=768, layers=6))
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}"
        print(f"{machine}, load {os.getloadavg()[0]:.1f}; seconds a step of {args.batch_size} pairs, times the first\n")
        print(f"| tokens | {' | '.join(WAYS)} |\n|{'---|' * (len(WAYS) + 1)}")
        for tokens in args.tokens:
            seconds = [seconds_of_a_step(args, rows, tokens, *way) for way in WAYS.values()]
            cells = [f"{one:.2f} (**{one / seconds[0]:.2f}**)" for one in seconds]
            print(f"| {tokens} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
