"""Tune a sentence-transformers model on training pairs of the corpus.

Reads a pair table (paperId, year, anchor, positive, category), paraphrased where pairs are flagged for it.
Tunes the base model with Multiple Negatives Ranking Loss, holding out whole documents, and scores it on their
pairs before and after. Writes <outputdir>/final (loadable by SentenceTransformer), checkpoints beside it, and
last <outputdir>/training.json: arguments, versions, counts, loss, scores, held-out documents. The defaults are
the published recipe's. No passage of the corpus goes into the model's folder.

Told to stop by SIGUSR1 or SIGTERM (Slurm, before it ends a job) or Ctrl-C, it finishes the step, writes a
checkpoint and <outputdir>/stopped.json and exits with status 75; --resume goes on from there. Under torchrun it
trains on several GPUs, which share each batch: the same batches and negatives as on one.
"""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import corpus
from corpus import InputError, log

EXAMPLE = "python TuneEmbeddings.py -d training_pairs_paraphrased.tsv -o models/para10"

BASE_MODEL = "sentence-transformers/all-distilroberta-v1"
FALSE_PARTNERS = 5  # a held-out anchor is scored against its positive and so many others
WARMUP = 0.1  # share of the steps in which the learning rate rises
LOSS_POINTS = 100  # points of the loss curve, about
CHECKPOINTS_KEPT = 2  # the newest may be torn by a kill; the one before it is whole
RECIPE = "recipe.json"  # what the checkpoints beside it were made with
WHOLE = "complete.json"  # written into a checkpoint once all of it is on disk
STOPPED = "stopped.json"  # says that the training below ended on a signal and waits to be gone on with
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on


# ---------------------------------------------------------------- the pairs


def read_training_pairs(path: str, limit: int | None) -> list[dict[str, str]]:
    """Read the pair table. InputError where a cell or a synthetic pair still waits for its paraphrase."""
    rows = corpus.read_pairs(path)[:limit]
    if not rows:
        raise InputError(f"{path} holds no pair; make it again with its script.")
    for number, row in enumerate(rows, start=1):
        waits = corpus.TO_GENERATE in (row["anchor"], row["positive"])
        if waits or (row["category"] == "synthetic-pair" and "system_prompt" not in row):
            raise InputError(
                f"{path}, pair {number} ({row['paperId']}): {row['category']} without its paraphrase; "
                "run synthetic_data_generator.py on the table first."
            )
    return rows


def is_held_out(paper_id: str, share: float, split_seed: int) -> bool:
    """Tell whether a document is kept from training: the same answer for every pair table and training seed."""
    return random.Random(f"held out {split_seed} {paper_id}").random() < share


def split_by_document(rows: list[dict], share: float, split_seed: int) -> tuple[list[dict], list[dict]]:
    """Return training rows and held-out rows; no document has pairs in both."""
    held = {row["paperId"] for row in rows if is_held_out(row["paperId"], share, split_seed)}
    train_rows = [row for row in rows if row["paperId"] not in held]
    if share > 0 and (not held or not train_rows):
        raise InputError(
            f"--eval-fraction {share:g} puts {len(held)} of {len({r['paperId'] for r in rows})} documents aside; "
            "choose a fraction that leaves some on either side."
        )
    return train_rows, [row for row in rows if row["paperId"] in held]


def binary_evaluator(rows: list[dict], split_seed: int):
    """Return the published test: each anchor with its positive (1) and with the next five rows' positives (0)."""
    from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator

    rows = sorted(rows, key=lambda row: (row["paperId"], row["anchor"], row["positive"]))
    # In document order the next rows' positives would be of the same document: a harder, order-bound test.
    random.Random(f"partners {split_seed}").shuffle(rows)
    anchors, partners, labels = [], [], []
    for i, row in enumerate(rows):
        for shift in range(FALSE_PARTNERS + 1):
            partner = rows[(i + shift) % len(rows)]["positive"]
            if shift == 0 or partner != row["positive"]:
                anchors.append(row["anchor"])
                partners.append(partner)
                labels.append(int(shift == 0))
    return BinaryClassificationEvaluator(anchors, partners, labels, show_progress_bar=False)


def score(model, evaluator, autocast) -> dict[str, float] | None:
    """Return accuracy, F1 and average precision (by cosine, chance is 1/6), or None without held-out pairs."""
    if evaluator is None:
        return None
    with autocast():
        measured = evaluator(model)
    names = {"cosine_accuracy": "accuracy", "cosine_f1": "f1", "cosine_ap": "average_precision"}
    return {name: round(float(measured[key]), 4) for key, name in names.items()}


# ---------------------------------------------------------------- signals


class Stopped(Exception):
    """A signal asked for the end. The message says where training stands."""


class StopSignals:
    """Takes the signals that announce an end: while training they are remembered, at other times they raise Stopped."""

    def __init__(self):
        self.received: str | None = None
        self.training = False

    def __enter__(self):
        numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
        self.handlers_before = {number: signal.signal(number, self.take) for number in numbers}
        return self

    def __exit__(self, *_):
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)

    def take(self, number, frame):
        """Handle a signal; a second Ctrl-C doesn't wait for the end of the step."""
        self.received = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if not self.training:
            raise Stopped(f"stopped by {self.received}")

    def agreed(self, device) -> bool:
        """Tell whether any process was signalled: all must leave the training after the same step."""
        import torch
        from torch import distributed

        if not distributed.is_initialized():
            return self.received is not None
        flag = torch.tensor(int(self.received is not None), device=device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)


# ---------------------------------------------------------------- device, processes, precision


def join_processes(device: str):
    """Return accelerate's PartialState: this process's rank and device; under torchrun waits for all to join."""
    from accelerate import PartialState

    if device == "cuda" and "LOCAL_RANK" not in os.environ:
        # One process that sees several GPUs would make the trainer use DataParallel, half as fast as torchrun.
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return PartialState(cpu=device == "cpu")


def check_batch(batch_size: int, pairs: int, processes: int) -> None:
    """Refuse a batch that several GPUs can't share evenly, or that is never full."""
    if processes > 1 and (batch_size % processes or pairs < batch_size):
        raise InputError(
            f"--batch-size {batch_size} with {pairs} pairs on {processes} GPUs: choose one that divides by {processes} "
            "and is no larger than the number of pairs."
        )


def pick_device(requested: str) -> str:
    """Return cuda, mps or cpu: what was asked for, else the best there is."""
    import torch

    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if requested in ("auto", "cpu", found):
        return found if requested == "auto" else requested
    raise InputError(f"--device {requested}: this machine has none that PyTorch can use; leave the flag out.")


def pick_precision(requested: str, device: str) -> str:
    """Return the arithmetic of training: half precision where the device does it in hardware."""
    import torch

    if requested != "auto":
        return requested
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without avx512_bf16 a CPU emulates bfloat16 and is slower than in float32.
    has_bf16 = device == "cpu" and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if has_bf16 else "fp32"


def autocasting(device: str, precision: str):
    """Return a context manager factory under which encode() computes in that precision."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    return functools.partial(torch.autocast, device, dtype, enabled=precision != "fp32")


# ---------------------------------------------------------------- the output folder: what is there, what is whole


def recipe_of(args) -> dict:
    """Return all that decides what the model becomes; a checkpoint is continued only under the same recipe."""
    names = ("base_model", "epochs", "batch_size", "learning_rate", "max_seq_length", "precision", "limit")
    names += ("eval_fraction", "split_seed", "seed")
    return {"pairs_sha256": corpus.file_digest(args.datasource), **{name: getattr(args, name) for name in names}}


def check_output(folder: Path, recipe: dict, resume: bool, overwrite: bool) -> bool:
    """Return whether the finished model of this very recipe is there already.

    Raises:
        InputError: the folder holds another training, or an unfinished one and neither flag says what to do.
    """
    if overwrite:
        return False
    if not (folder / RECIPE).exists():
        if earlier_products(folder):
            raise InputError(f"{folder} holds a model of unknown settings; choose another -o, or --overwrite it.")
        return False
    before = corpus.read_json(folder / RECIPE)
    changed = [name for name, value in recipe.items() if before.get(name) != value]
    if changed:
        what = "; ".join(
            "other pairs" if name == "pairs_sha256" else f"{name} {before.get(name)} → {recipe[name]}"
            for name in changed
        )
        raise InputError(
            f"{folder} holds a training with other settings ({what}); choose another -o, move or delete the folder, or "
            "pass --overwrite."
        )
    if (folder / corpus.TRAINING_RECORD).exists() and (folder / "final").is_dir():
        return True
    if checkpoints(folder) and not resume:
        raise InputError(f"{folder} holds an unfinished training; pass --resume to go on or --overwrite to delete it.")
    return False


def earlier_products(folder: Path) -> list[Path]:
    """Return what an earlier training left in the folder, but for its recipe."""
    products = [folder / corpus.TRAINING_RECORD, folder / "final", folder / STOPPED, *checkpoints(folder)]
    return [path for path in products if path.exists()]


def start_anew(folder: Path, recipe: dict) -> None:
    """Delete an earlier training and write the new recipe; the old one stays until all it tells about is gone."""
    for old in earlier_products(folder):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    corpus.write_json(folder / RECIPE, recipe)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint folders, whole or torn, by step."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, and delete torn ones after it."""
    for path in reversed(checkpoints(folder)):
        if (path / WHOLE).exists():
            return path
        shutil.rmtree(path)
    return None


def write_model_card(folder: Path, recipe: dict) -> None:
    """Write a README.md without a word of the corpus; the library's own card quotes training passages."""
    base = Path(recipe["base_model"]).name
    settings = "".join(f"| {name} | {base if name == 'base_model' else value} |\n" for name, value in recipe.items())
    (folder / "README.md").write_text(
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n"
        f"# {base}, tuned on a corpus\n\nMade by TuneEmbeddings.py with Multiple Negatives Ranking Loss. "
        "Load it with `SentenceTransformer(path)`. training.json, one folder up, has counts and scores.\n\n"
        f"| setting | value |\n|---|---|\n{settings}",
        encoding="utf-8",
    )


# ---------------------------------------------------------------- training


def load_model(flag: str, name: str, device: str, **options):
    """Load a SentenceTransformer quietly. InputError naming the flag where the name leads to no model."""
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        return SentenceTransformer(name, device=device, **options)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(
            f"{flag} {name} can't be loaded ({first_line}); give a model's folder, or a name of the Hugging Face hub "
            "on a machine that reaches it."
        ) from None


def check_length(model, asked: int | None) -> None:
    """Refuse a --max-seq-length for which the model has no positions."""
    table = getattr(getattr(model[0].model, "embeddings", None), "position_embeddings", None)
    if not asked or table is None:  # rotary positions, as in ModernBERT, need no table
        return
    # RoBERTa numbers positions from padding_idx + 1 on: of 514 rows 512 are usable.
    longest = table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    if asked > longest:
        raise InputError(f"--max-seq-length {asked}: this model has positions for {longest} tokens at most.")


def build_trainer(model, rows: list[dict], args, precision: str, recipe: dict, state, callback):
    """Return a SentenceTransformerTrainer that writes no training text beside its checkpoints."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, default_args_dict):
            """Collect no example rows for the library's card."""

        def get_batch_sampler(self, *sampler_args, **options):
            self.sampler = super().get_batch_sampler(*sampler_args, **options)
            return self.sampler

        def _save(self, output_dir=None, state_dict=None):
            self.model.save_pretrained(output_dir, create_model_card=False)
            torch.save(self.args, Path(output_dir) / "training_args.bin")
            write_model_card(Path(output_dir), recipe)

    steps = args.epochs * -(-len(rows) // args.batch_size)
    trainer = Trainer(
        model=model,
        args=training_arguments(args, model.device.type, precision, steps, state.num_processes),
        train_dataset=Dataset.from_dict({name: [row[name] for row in rows] for name in ("anchor", "positive")}),
        loss=MultipleNegativesRankingLoss(model, gather_across_devices=state.num_processes > 1),
        callbacks=[callback],
    )
    callback.trainer = trainer
    for noisy in (PrinterCallback, ProgressCallback):  # a dict per logged step, on stdout
        trainer.remove_callback(noisy)
    return trainer


def training_arguments(args, device: str, precision: str, steps: int, processes: int):
    """Return the trainer's arguments; `steps` is about how many there will be."""
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    return SentenceTransformerTrainingArguments(
        output_dir=args.outputdir,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=WARMUP,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device == "cpu",
        seed=args.seed,
        save_strategy="steps" if args.save_steps else "epoch",
        save_steps=args.save_steps or 500,
        save_total_limit=CHECKPOINTS_KEPT,
        logging_steps=max(1, round(steps / LOSS_POINTS)),
        report_to="none",
        # Several processes divide each batch of --batch-size between them, instead of taking one each.
        accelerator_config={"split_batches": processes > 1},
        dataloader_drop_last=processes > 1,  # an uneven last batch would leave some waiting
    )


def follow_training(started: float, stop: StopSignals, is_main: bool):
    """Return the trainer's callback: shows progress, stops on a signal, marks checkpoints that are whole on disk."""
    from torch import distributed
    from tqdm import tqdm
    from transformers import TrainerCallback

    class FollowTraining(TrainerCallback):
        stopped = False

        def on_train_begin(self, arguments, state, control, **_):
            interval = 0.5 if sys.stderr.isatty() else 30
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit=" steps",
                mininterval=interval,
                disable=not is_main,
            )
            stop.training = True

        def on_epoch_begin(self, arguments, state, control, **_):
            # Resuming within an epoch, several processes would replay the first epoch's order: accelerate's
            # SkipBatchSampler around BatchSamplerShard does not pass the epoch on.
            steps_per_epoch = state.max_steps // int(arguments.num_train_epochs)
            self.trainer.sampler.set_epoch(state.global_step // steps_per_epoch)

        def on_step_end(self, arguments, state, control, **_):
            self.bar.update(state.global_step - self.bar.n)
            if stop.agreed(arguments.device) and state.global_step < state.max_steps:
                self.stopped = control.should_save = control.should_training_stop = True

        def on_epoch_end(self, arguments, state, control, **_):
            if self.stopped:
                control.should_save = False  # saved after the step already

        def on_log(self, arguments, state, control, logs=None, **_):
            if "loss" in (logs or {}):
                self.bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)

        def on_train_end(self, arguments, state, control, **_):
            self.bar.close()
            stop.training = False

        def on_save(self, arguments, state, control, **_):
            if distributed.is_initialized():
                distributed.barrier()  # each process writes its own random state
            whole = Path(arguments.output_dir) / f"checkpoint-{state.global_step}" / WHOLE
            if is_main:
                corpus.write_json(whole, {"step": state.global_step, "seconds": time.time() - started})

    return FollowTraining()


def save_final(model, folder: Path, recipe: dict) -> None:
    """Write <folder>/final beside its name and rename it."""
    beside, final = folder / ".final.partial", folder / "final"
    for old in (beside, final):
        shutil.rmtree(old, ignore_errors=True)
    model.save_pretrained(str(beside), create_model_card=False)
    write_model_card(beside, recipe)
    for path in beside.rglob("*.safetensors"):  # the library makes them readable by their owner alone
        path.chmod((beside / "README.md").stat().st_mode)
    beside.rename(final)


def loss_curve(history: list[dict]) -> list[dict]:
    """Return the training loss by step from the trainer's log."""
    return [{"step": entry["step"], "loss": entry["loss"]} for entry in history if "loss" in entry]


def counts_of(train_rows: list[dict], held_rows: list[dict]) -> dict:
    """Return how many pairs, documents and categories were trained on and held out."""
    return {
        "training_pairs": len(train_rows),
        "training_documents": len({row["paperId"] for row in train_rows}),
        "held_out_pairs": len(held_rows),
        "held_out_documents": len({row["paperId"] for row in held_rows}),
        "training_categories": dict(Counter(row["category"] for row in train_rows)),
    }


def parse_args(argv: list[str] | None = None):
    arguments = corpus.parser(__doc__, EXAMPLE)
    arguments.add_argument("-d", "--datasource", required=True, metavar="TSV", help="pair table, paraphrased")
    arguments.add_argument("-o", "--outputdir", required=True, metavar="FOLDER", help="where the model goes")
    recipe = arguments.add_argument_group("recipe (the defaults are the published ones)")
    add = recipe.add_argument
    add("--base-model", default=BASE_MODEL, metavar="MODEL", help="folder or hub name (default %(default)s)")
    add("--epochs", type=corpus.positive_int, default=9, help="(default %(default)s)")
    add(
        "--batch-size",
        type=corpus.positive_int,
        default=80,
        help="pairs; the others' positives are an anchor's negatives (default %(default)s)",
    )
    add("--learning-rate", type=float, default=5e-5, help="at its highest (default %(default)s)")
    add(
        "--max-seq-length",
        type=corpus.positive_int,
        metavar="TOKENS",
        help="cut passages here in training (default the model's)",
    )
    add("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="auto: half where in hardware")
    add("--seed", type=int, default=0, help="of the batches and dropout (default %(default)s)")
    add("--limit", type=corpus.positive_int, metavar="PAIRS", help="a trial: train on so many pairs")
    held = arguments.add_argument_group("held-out documents")
    add = held.add_argument
    add(
        "--eval-fraction",
        type=corpus.fraction,
        default=0.05,
        metavar="SHARE",
        help="of documents (default %(default)s)",
    )
    add("--split-seed", type=int, default=0, help="which documents; independent of --seed (default %(default)s)")
    run = arguments.add_argument_group("run")
    run.add_argument(
        "--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="auto: a GPU where there is one"
    )
    run.add_argument("--save-steps", type=corpus.positive_int, metavar="STEPS", help="checkpoint (default each epoch)")
    run.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint, if there is one")
    run.add_argument("--check", action="store_true", help="check pairs, base model and output folder; train nothing")
    run.add_argument("--overwrite", action="store_true", help="delete what an earlier training left in -o")
    return arguments.parse_args(argv)


def tune(args, folder: Path, recipe: dict, rows: tuple[list[dict], list[dict]], stop: StopSignals) -> None:
    """Train, score before and after, write the model and its record. Raises Stopped on a signal."""
    started, (train_rows, held_rows) = time.time(), rows
    device = pick_device(args.device)
    precision = pick_precision(args.precision, device)
    state = join_processes(device)
    check_batch(args.batch_size, len(train_rows), state.num_processes)
    # In float32: some models are stored in half precision, in which they would train badly.
    model = load_model("--base-model", args.base_model, device, model_kwargs={"dtype": "float32"})
    check_length(model, args.max_seq_length)
    own_length = model.max_seq_length
    log.info("%s on %d × %s in %s", args.base_model, state.num_processes, device, precision)
    if state.is_main_process:
        if not (args.resume and not args.overwrite and newest_whole_checkpoint(folder)):
            start_anew(folder, recipe)
        (folder / STOPPED).unlink(missing_ok=True)
    state.wait_for_everyone()
    checkpoint = newest_whole_checkpoint(folder)
    if checkpoint:
        log.info("going on from %s", checkpoint)
        started -= corpus.read_json(checkpoint / WHOLE)["seconds"]  # the record tells the time of all runs together

    autocast = autocasting(device, precision)
    evaluator = binary_evaluator(held_rows, args.split_seed) if held_rows and state.is_main_process else None
    before = score(model, evaluator, autocast)
    log.info("held-out documents, before: %s", before)

    callback = follow_training(started, stop, state.is_main_process)
    trainer = build_trainer(model, train_rows, args, precision, recipe, state, callback)
    model.max_seq_length = args.max_seq_length or own_length
    steps = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).global_step
    if callback.stopped:
        state.wait_for_everyone()
        raise Stopped(f"stopped by {stop.received} after step {steps} of {trainer.state.max_steps}, checkpoint written")
    # Trained on passages cut short, it still embeds them whole.
    model.max_seq_length = max(own_length, model.max_seq_length)
    if not state.is_main_process:
        return

    after = score(model, evaluator, autocast)
    log.info("held-out documents, after:  %s", after)
    save_final(model, folder, recipe)
    facts = {
        "recipe": recipe,
        "device": device,
        "processes": state.num_processes,
        "precision": precision,
        "counts": counts_of(train_rows, held_rows),
        "steps": steps,
        "scores": {"before": before, "after": after},
        "loss_curve": loss_curve(trainer.state.log_history),
        "held_out_documents": sorted({row["paperId"] for row in held_rows}),
    }
    corpus.write_json(folder / corpus.TRAINING_RECORD, corpus.run_record(args, started, **facts))
    log.info("%d steps; the model is in %s", steps, folder / "final")


@corpus.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    folder = Path(args.outputdir)
    with StopSignals() as stop:
        try:
            corpus.log_settings(args)
            rows = read_training_pairs(args.datasource, args.limit)
            train_rows, held_rows = split_by_document(rows, args.eval_fraction, args.split_seed)
            counts = counts_of(train_rows, held_rows)
            log.info("pairs: %(training_pairs)d to train on", counts)
            log.info("pairs: %(held_out_pairs)d of %(held_out_documents)d documents held out", counts)
            recipe = recipe_of(args)
            if check_output(folder, recipe, args.resume, args.overwrite):
                if not args.check:
                    (folder / corpus.TRAINING_RECORD).touch()  # newer than the pairs, so that make believes it
                log.info(
                    "%s was trained with these very pairs and settings: nothing to do (--overwrite trains again)",
                    folder,
                )
                return 0
            if args.check:
                check_length(load_model("--base-model", args.base_model, "cpu"), args.max_seq_length)
                log.info("pairs, base model and output folder are fit for training")
                return 0
            tune(args, folder, recipe, (train_rows, held_rows), stop)
        except Stopped as where:
            if corpus.is_main_process():
                corpus.write_json(folder / STOPPED, {"signal": stop.received, "where": str(where)})
            log.warning("%s; the same command with --resume goes on", where)
            return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    # What StopSignals gives back at its end: Slurm's warning must not kill a process that has just finished its work.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.exit(main())
