"""Tune a sentence-transformers model on training pairs of the corpus.

Reads a pair table (paperId, year, anchor, positive, category), paraphrased where pairs are flagged for it.
Tunes the base model with Multiple Negatives Ranking Loss, holding out whole documents, and scores it on their
pairs before and after. Writes <outputdir>/final (loadable by SentenceTransformer; with it what Apply_Tuned_Model.py
adjusts embeddings by), checkpoints beside it, and last <outputdir>/training.json: arguments, versions, counts, loss,
scores, held-out documents. The defaults are explained in benchmarks/TUNING.md; --recipe replication has the published
ones. No passage of the corpus goes into the model's folder.

Told to stop by SIGUSR1 or SIGTERM (Slurm, before it ends a job) or Ctrl-C, it finishes the step, writes a
checkpoint and <outputdir>/stopped.json and exits with status 75; --resume goes on from there. Under torchrun it
trains on several GPUs, which share each batch: the same batches and negatives as on one.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import corpus
import script
from script import InputError, log
from tuning.folder import (
    STOPPED,
    WHOLE,
    BestEpoch,
    check_output,
    newest_whole_checkpoint,
    save_final,
    start_anew,
    write_model_card,
)
from tuning.split import read_training_pairs, split_rows
from tuning.stopping import Stopped, StopSignals

EXAMPLE = "python TuneEmbeddings.py -d training_pairs_paraphrased.tsv -o models/para10"

BASE_MODEL = "sentence-transformers/all-distilroberta-v1"
FALSE_PARTNERS = 5  # a held-out anchor is scored against its positive and so many others
WARMUP = 0.1  # share of the steps in which the learning rate rises
# What decides the result, by recipe; any flag of its own name goes before.
RECIPES = {
    "default": {
        "epochs": 3,
        "batch_size": 80,
        "learning_rate": 5e-5,
        "recombine": 0,
        "same_document": "mask",
        "batches": "any",
        "symmetric": True,
        "keep": "last",
    },
    # The published script drew its batches in document order, the same in every epoch, by a fault of its library; here
    # they are shuffled, and held out are documents, not pairs.
    "replication": {
        "epochs": 9,
        "batch_size": 80,
        "learning_rate": 5e-5,
        "recombine": 0,
        "same_document": "allow",
        "batches": "any",
        "symmetric": False,
        "keep": "last",
    },
}
LOSS_POINTS = 100  # points of the loss curve, about
CHECKPOINTS_KEPT = 2  # the newest may be torn by a kill; the one before it is whole
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on


# ---------------------------------------------------------------- the pairs


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
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if device == "cpu" and gains_by_bf16(processor) else "fp32"


def gains_by_bf16(processor: dict) -> bool:
    """Tell whether a processor (torch.cpu.get_capabilities()) multiplies matrices faster in bfloat16 than in float32.

    With avx512_bf16, encoding is 2.1 times as fast on an AMD EPYC, but 0.7 times as fast on an Intel Xeon without AMX.
    """
    is_amd = "AMD" in processor.get("cpu_name", "")
    return processor.get("amx_bf16", False) or is_amd and processor.get("avx512_bf16", False)


def autocasting(device: str, precision: str):
    """Return a context manager factory under which encode() computes in that precision."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    return functools.partial(torch.autocast, device, dtype, enabled=precision != "fp32")


# ---------------------------------------------------------------- the output folder: what is there, what is whole


def recipe_of(args) -> dict:
    """Return all that decides what the model becomes; a checkpoint is continued only under the same recipe."""
    names = ("base_model", *RECIPES["default"], "mini_batch_size", "scale", "matryoshka", "max_seq_length", "prompt")
    names += ("precision", "limit", "eval_fraction", "split_seed", "hold_out_by", "seed")
    return {"pairs_sha256": script.file_digest(args.datasource), **{name: getattr(args, name) for name in names}}


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


def check_dimensions(model, asked: list[int] | None) -> None:
    """Refuse --matryoshka dimensions that the model has not."""
    dimensions = model.get_embedding_dimension()
    if asked and max(asked) > dimensions:
        raise InputError(f"--matryoshka {max(asked)}: this model has {dimensions} dimensions.")


def document_numbers(rows: list[dict]) -> list[int]:
    """Return for each row a number that stands for its document."""
    number_of = {paper_id: i for i, paper_id in enumerate(dict.fromkeys(row["paperId"] for row in rows))}
    return [number_of[row["paperId"]] for row in rows]


def batch_keys(rows: list[dict], documents: list[int] | None) -> list[set]:
    """Return for each row what must not meet in a batch: its texts, and with `documents` its document."""
    own = [set()] * len(rows) if documents is None else [{number} for number in documents]
    return [{row["anchor"], row["positive"]} | document for row, document in zip(rows, own)]


def count_truncated(model, rows: list[dict]) -> int:
    """Return how many of the rows' distinct texts have more tokens than the model will read."""
    texts = sorted({row[name] for row in rows for name in ("anchor", "positive")})
    prompt, truncated = own_prompt(model) or "", 0
    for start in range(0, len(texts), 10_000):
        part = [prompt + text for text in texts[start : start + 10_000]]
        truncated += sum(len(ids) > model.max_seq_length for ids in model.tokenizer(part, verbose=False)["input_ids"])
    if truncated:
        log.warning(
            "%d of %d passages are longer than %d tokens and are cut", truncated, len(texts), model.max_seq_length
        )
    return truncated


def set_prompt(model, prompt: str | None) -> None:
    """Make the model put a text before each passage, in training and whenever the tuned model is used."""
    if prompt is not None:
        model.prompts, model.default_prompt_name = {"passage": prompt}, "passage"
    elif any(model.prompts.values()) and model.default_prompt_name is None:
        known = "; ".join(f"{name}: {text!r}" for name, text in model.prompts.items() if text)
        log.warning("this model was trained with prompts (%s), and none is used; see --prompt", known)


def own_prompt(model) -> str | None:
    """Return the text that the model puts before whatever it embeds, None where there is none."""
    return model.prompts.get(model.default_prompt_name)


def build_trainer(model, rows: list[dict], args, precision: str, recipe: dict, state, callback):
    """Return a SentenceTransformerTrainer that writes no training text beside its checkpoints."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    from tuning.batches import PairBatches
    from tuning.loss import build_loss

    documents = document_numbers(rows)
    keys = batch_keys(rows, documents if args.same_document == "exclude" else None)
    decades = [corpus.decade_of(corpus.whole_year(row)) for row in rows]

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, default_args_dict):
            """Collect no example rows for the library's card."""

        def get_batch_sampler(self, *sampler_args, **options):
            self.sampler = PairBatches(*sampler_args, keys=keys, decades=decades, together=args.batches, **options)
            return self.sampler

        def _save(self, output_dir=None, state_dict=None):
            self.model.save_pretrained(output_dir, create_model_card=False)
            torch.save(self.args, Path(output_dir) / "training_args.bin")
            write_model_card(Path(output_dir), recipe)

    steps = args.epochs * -(-len(rows) // args.batch_size)
    trainer = Trainer(
        model=model,
        args=training_arguments(args, own_prompt(model), model.device.type, precision, steps, state.num_processes),
        train_dataset=Dataset.from_dict(
            {
                "anchor": [row["anchor"] for row in rows],
                "positive": [row["positive"] for row in rows],
                "label": documents,
            }
        ),
        loss=build_loss(model, args, gather=state.num_processes > 1),
        callbacks=[callback],
    )
    callback.trainer = trainer
    for noisy in (PrinterCallback, ProgressCallback):  # a dict per logged step, on stdout
        trainer.remove_callback(noisy)
    return trainer


def training_arguments(args, prompt: str | None, device: str, precision: str, steps: int, processes: int):
    """Return the trainer's arguments; `steps` is about how many there will be."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    return SentenceTransformerTrainingArguments(
        output_dir=args.outputdir,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        warmup_steps=WARMUP,
        prompts=prompt,
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


def follow_training(started: float, stop: StopSignals, is_main: bool, best: BestEpoch):
    """Return the trainer's callback: shows progress, stops on a signal, marks checkpoints that are whole on disk."""
    import torch
    from torch import distributed
    from tqdm import tqdm
    from transformers import TrainerCallback

    from tuning.loss import NonFiniteLoss

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

        def on_epoch_end(self, arguments, state, control, model=None, **_):
            if self.stopped:
                control.should_save = False  # saved after the step already
            elif is_main:
                best.consider(model, round(state.epoch))
                left_out = len(self.trainer.sampler.left_out)
                if left_out:
                    log.info(
                        "epoch %d: %d pairs sat out, no full batch being free of their texts", state.epoch, left_out
                    )

        def on_log(self, arguments, state, control, logs=None, **_):
            if "loss" in (logs or {}):
                self.bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)

        def on_train_end(self, arguments, state, control, **_):
            self.bar.close()
            stop.training = False

        def on_save(self, arguments, state, control, model=None, **_):
            if not all(torch.isfinite(weights).all() for weights in model.parameters()):
                raise NonFiniteLoss
            if distributed.is_initialized():
                distributed.barrier()  # each process writes its own random state
            whole = Path(arguments.output_dir) / f"checkpoint-{state.global_step}" / WHOLE
            if is_main:
                script.write_json(whole, {"step": state.global_step, "seconds": time.time() - started})

    return FollowTraining()


def train(trainer, checkpoint: Path | None, folder: Path) -> int:
    """Train to the end or the signal; return the number of steps. InputError where the loss becomes infinite or NaN."""
    from tuning.loss import NonFiniteLoss

    try:
        return trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).global_step
    except NonFiniteLoss:
        kept = newest_whole_checkpoint(folder)
        raise InputError(
            f"the loss became infinite or NaN after step {trainer.state.global_step}"
            f"{f'; {kept} is whole and kept' if kept else ''}; train anew with a lower --learning-rate than "
            f"{trainer.args.learning_rate:g} or --precision fp32, into another -o or with --overwrite."
        ) from None


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
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("-d", "--datasource", required=True, metavar="TSV", help="pair table, paraphrased")
    arguments.add_argument("-o", "--outputdir", required=True, metavar="FOLDER", help="where the model goes")
    recipe = arguments.add_argument_group("recipe")
    add = recipe.add_argument
    add("--recipe", choices=RECIPES, default="default", help="replication: the published settings")
    add("--base-model", default=BASE_MODEL, metavar="MODEL", help="folder or hub name (default %(default)s)")
    add("--epochs", type=script.positive_int, help=by_recipe("times that every pair is seen", "epochs"))
    add(
        "--batch-size",
        type=script.positive_int,
        help=by_recipe("pairs; the others' positives are an anchor's negatives", "batch_size"),
    )
    add(
        "--mini-batch-size",
        type=script.positive_int,
        metavar="PAIRS",
        help="embed so many pairs of the batch at a time: batches larger than memory, a third more arithmetic",
    )
    add("--learning-rate", type=float, help=by_recipe("at its highest", "learning_rate"))
    add(
        "--recombine",
        type=int,
        choices=range(101),
        metavar="N",
        help=by_recipe("add N pairs of any two texts of its document for each pair", "recombine"),
    )
    add(
        "--same-document",
        choices=("mask", "exclude", "allow"),
        help=by_recipe("pairs of the anchor's document: no negatives, not in its batch, or as all", "same_document"),
    )
    add("--batches", choices=("any", "decade"), help=by_recipe("decade: costs the timeline", "batches"))
    add(
        "--symmetric",
        action=argparse.BooleanOptionalAction,
        help=by_recipe("find the anchor by its positive, too", "symmetric"),
    )
    add("--scale", type=float, default=20.0, help="factor of the cosines in the loss (default %(default)s)")
    add(
        "--matryoshka",
        type=script.positive_int,
        nargs="+",
        metavar="DIMENSIONS",
        help="train these first dimensions to serve alone, e.g. 768 256 128",
    )
    add(
        "--max-seq-length",
        type=script.positive_int,
        metavar="TOKENS",
        help="cut passages here in training (default the model's)",
    )
    add(
        "--prompt", metavar="TEXT", help="put before every passage, where the base model needs it ('search_document: ')"
    )
    add("--keep", choices=("last", "best"), help=by_recipe("epoch; best: by documents set aside for that", "keep"))
    add("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="auto: half where in hardware")
    add("--seed", type=int, default=0, help="of the batches and dropout (default %(default)s)")
    add("--limit", type=script.positive_int, metavar="PAIRS", help="a trial: train on so many pairs")
    held = arguments.add_argument_group("held-out documents")
    add = held.add_argument
    add(
        "--eval-fraction",
        type=script.fraction,
        default=0.05,
        metavar="SHARE",
        help="of documents (default %(default)s)",
    )
    add("--split-seed", type=int, default=0, help="which documents; independent of --seed (default %(default)s)")
    add("--hold-out-by", default="paperId", metavar="COLUMN", help="author: whole authors are held out; needs -t")
    add("-t", "--metadatapath", metavar="TSV", help="metadata with that column")
    run = arguments.add_argument_group("run")
    run.add_argument(
        "--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="auto: a GPU where there is one"
    )
    run.add_argument("--save-steps", type=script.positive_int, metavar="STEPS", help="checkpoint (default each epoch)")
    run.add_argument("--resume", action="store_true", help="go on from the last whole checkpoint, if there is one")
    run.add_argument("--check", action="store_true", help="check pairs, base model and output folder; train nothing")
    run.add_argument("--overwrite", action="store_true", help="delete what an earlier training left in -o")
    args = arguments.parse_args(argv)
    for name, value in RECIPES[args.recipe].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def by_recipe(text: str, name: str) -> str:
    """Return a flag's help with its defaults."""
    return f"{text} (default {RECIPES['default'][name]}; replication {RECIPES['replication'][name]})"


def tune(args, folder: Path, recipe: dict, rows: tuple[list[dict], ...], stop: StopSignals) -> None:
    """Train, score before and after, write the model and its record. Raises Stopped on a signal."""
    started, (train_rows, validation_rows, held_rows) = time.time(), rows
    device = pick_device(args.device)
    precision = pick_precision(args.precision, device)
    state = join_processes(device)
    check_batch(args.batch_size, len(train_rows), state.num_processes)
    # In float32: some models are stored in half precision, in which they would train badly.
    model = load_model("--base-model", args.base_model, device, model_kwargs={"dtype": "float32"})
    check_length(model, args.max_seq_length)
    check_dimensions(model, args.matryoshka)
    set_prompt(model, args.prompt)
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
        started -= script.read_json(checkpoint / WHOLE)["seconds"]  # the record tells the time of all runs together

    autocast = autocasting(device, precision)
    evaluator = binary_evaluator(held_rows, args.split_seed) if held_rows and state.is_main_process else None
    before = score(model, evaluator, autocast)
    log.info("held-out documents, before: %s", before)

    chooser = binary_evaluator(validation_rows, args.split_seed) if validation_rows else None
    best = BestEpoch(folder, chooser and (lambda model: score(model, chooser, autocast)["average_precision"]))
    callback = follow_training(started, stop, state.is_main_process, best)
    trainer = build_trainer(model, train_rows, args, precision, recipe, state, callback)
    model.max_seq_length = args.max_seq_length or own_length
    truncated = count_truncated(model, train_rows) if state.is_main_process else None
    steps = train(trainer, checkpoint, folder)
    # What follows is one process's work. One that ends while still joined may be killed by SIGABRT as Python shuts down
    # (github.com/pytorch/pytorch/pull/179291), and torchrun then calls a finished training failed.
    state.wait_for_everyone()
    state.destroy_process_group()
    if callback.stopped:
        raise Stopped(f"stopped by {stop.received} after step {steps} of {trainer.state.max_steps}, checkpoint written")
    if not state.is_main_process:
        return

    from tuning import adjust

    kept_epoch = best.restore(model)
    # Trained on passages cut short, it still embeds them whole.
    model.max_seq_length = max(own_length, model.max_seq_length)
    after = score(model, evaluator, autocast)
    log.info("held-out documents, after:  %s", after)
    with autocast():
        texts = adjust.training_texts(train_rows, args.seed)
        adjustment = adjust.fit(model.encode(texts, show_progress_bar=False))
    save_final(model, folder, recipe, adjustment)
    facts = {
        "recipe": recipe,
        "device": device,
        "processes": state.num_processes,
        "precision": precision,
        "counts": counts_of(train_rows, held_rows) | {"truncated_passages": truncated},
        "steps": steps,
        "kept_epoch": kept_epoch,
        "scores": {"before": before, "after": after, "validation": best.scores},
        "loss_curve": loss_curve(trainer.state.log_history),
        "held_out_documents": sorted({row["paperId"] for row in held_rows}),
    }
    script.write_json(folder / corpus.TRAINING_RECORD, script.run_record(args, started, **facts))
    log.info("%d steps; the model is in %s", steps, folder / "final")


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    folder = Path(args.outputdir)
    with StopSignals() as stop:
        try:
            script.log_settings(args)
            rows = read_training_pairs(args.datasource, args.limit)
            train_rows, validation_rows, held_rows = split_rows(args, rows)
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
            tune(args, folder, recipe, (train_rows, validation_rows, held_rows), stop)
        except Stopped as where:
            if script.is_main_process():
                script.write_json(folder / STOPPED, {"signal": stop.received, "where": str(where)})
            log.warning("%s; the same command with --resume goes on", where)
            return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    # What StopSignals gives back at its end: Slurm's warning must not kill a process that has just finished its work.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.exit(main())
