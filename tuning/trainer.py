"""The library's trainer, with our batches and our loss; it writes no training text beside its checkpoints.

What comes in: a model, the rows to train on, a recipe, and where this process stands among others (Machine). What goes
out: the model, trained in place; checkpoints below the output folder, each marked once all of it is on disk.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import script
from encoder import (
    autocasting,
    check_length,
    load_model,
    most_tokens,
    own_prompt,
    pick_device,
    pick_precision,
    reads_tokens,
    set_prompt,
    told_by,
)
from script import InputError, log

from .folder import OVERWRITES, WHOLE, newest_whole_checkpoint, save_model
from .recipe import Recipe
from .stopping import StopSignals

WARMUP = 0.1  # share of the steps in which the learning rate rises
LOSS_POINTS = 100  # points of the loss curve, about
SHORT = 160  # tokens up to which plain attention trains faster on a CPU in bfloat16
TRIED = 4  # pairs in the batch that shows whether a model can be trained
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")  # as configurations call it
CHECKPOINTS_KEPT = 2  # the newest may be torn by a kill; the one before it is complete


# ---------------------------------------------------------------- device, processes


class Machine:
    """Device and precision of a training, and this process's place among those of torchrun.

    Attributes:
        device: cuda, mps or cpu; precision: bf16, fp16 or fp32; autocast: makes the context they are computed in.
        state: accelerate's PartialState; processes: how many there are; is_main: whether this one writes and reports.
    """

    def __init__(self, device: str, precision: str):
        from accelerate import PartialState

        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.autocast = autocasting(self.device, self.precision)
        if self.device == "cuda" and "LOCAL_RANK" not in os.environ:
            # One process that sees several GPUs would make the trainer use DataParallel, half as fast as torchrun.
            os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        self.state = PartialState(cpu=self.device == "cpu")  # under torchrun waits for all to join
        self.processes, self.is_main = self.state.num_processes, self.state.is_main_process

    def part(self) -> None:
        """End the work of several processes together; what follows is one process's work.

        One that ends while still joined may be killed by SIGABRT as Python shuts down
        (github.com/pytorch/pytorch/pull/179291), and torchrun then calls a finished training failed.
        """
        self.state.wait_for_everyone()
        self.state.destroy_process_group()


def check_batch(batch_size: int, pairs: int, processes: int) -> None:
    """Refuse a batch that several GPUs can't share evenly, or that is never full."""
    if processes > 1 and (batch_size % processes or pairs < batch_size):
        raise InputError(
            f"--batch-size {batch_size} with {pairs} pairs on {processes} GPUs: choose one that divides by {processes} "
            "and is no larger than the number of pairs."
        )


# ---------------------------------------------------------------- what goes in


def load_base_model(recipe: Recipe, machine: Machine, trust: bool):
    """Return the base model, ready to be trained; with `trust` the code that it brings may run."""
    # In float32: some models are stored in half precision, in which they would train badly.
    options = {"model_kwargs": {"dtype": "float32"}}
    if not recipe.attention_dropout:
        options["config_kwargs"] = dict.fromkeys(ATTENTION_DROPOUT, 0.0)  # a configuration heeds the name that it has
    model = load_model("--base-model", recipe.base_model, machine.device, trust, **options)
    check_length(model, recipe.max_seq_length)
    set_prompt(model, recipe.prompt)
    return model


def document_numbers(rows: list[dict]) -> list[int]:
    """Return for each row a number that stands for its document."""
    number_of = {paper_id: i for i, paper_id in enumerate(dict.fromkeys(row["paperId"] for row in rows))}
    return [number_of[row["paperId"]] for row in rows]


def count_truncated(model, rows: list[dict]) -> int:
    """Return how many of the rows' distinct texts have more tokens than the model will read."""
    prompt, truncated, most = own_prompt(model) or "", 0, most_tokens(model)
    if most == math.inf:
        return 0
    texts = sorted({row[name] for row in rows for name in ("anchor", "positive")})
    for start in range(0, len(texts), 10_000):
        part = [prompt + text for text in texts[start : start + 10_000]]
        truncated += sum(len(ids) > most for ids in model.tokenizer(part, verbose=False)["input_ids"])
    if truncated:
        log.warning("%d of %d passages are longer than %d tokens and are cut", truncated, len(texts), most)
    return truncated


@contextlib.contextmanager
def cut_at(model, tokens: int | None):
    """Have the model cut passages while it is trained, where that is asked for; after, it embeds them whole."""
    own = model.max_seq_length
    if tokens:
        model.max_seq_length = tokens
    yield
    if tokens:
        model.max_seq_length = max(own, tokens)


@contextlib.contextmanager
def attention_for_training(model, machine: Machine):
    """Have short passages trained with plain attention on a CPU in bfloat16; after, the model's own does the work.

    PyTorch's fused attention computes gradients slowly there: a step with plain attention takes 0.6 times as long with
    128 tokens, as long with 192, 1.8 times as long with 256 (benchmarks/RESULTS.md). Both compute the same.
    """
    from transformers import PreTrainedModel

    encoder = next((part for part in model.modules() if isinstance(part, PreTrainedModel)), None)
    own = encoder and encoder.config._attn_implementation
    plain = own == "sdpa" and (machine.device, machine.precision) == ("cpu", "bf16") and most_tokens(model) <= SHORT
    if plain:
        encoder.set_attn_implementation("eager")
    yield
    if plain:
        encoder.set_attn_implementation(own)


@dataclass
class Run:
    """Where and how a training runs, whatever its recipe. save_steps: between checkpoints, None for each epoch."""

    folder: Path
    save_steps: int | None
    started: float


def training_arguments(recipe: Recipe, run: Run, machine: Machine, prompt: str | None, steps: int):
    """Return the trainer's arguments; `steps` is about how many there will be."""
    from sentence_transformers import SentenceTransformerTrainingArguments

    return SentenceTransformerTrainingArguments(
        output_dir=str(run.folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=WARMUP,
        prompts=prompt,
        bf16=machine.precision == "bf16",
        fp16=machine.precision == "fp16",
        use_cpu=machine.device == "cpu",
        seed=recipe.seed,
        save_strategy="steps" if run.save_steps else "epoch",
        save_steps=run.save_steps or 500,
        save_total_limit=CHECKPOINTS_KEPT,
        logging_steps=max(1, round(steps / LOSS_POINTS)),
        report_to="none",
        # Several processes divide each batch of --batch-size between them, instead of taking one each.
        accelerator_config={"split_batches": machine.processes > 1},
        dataloader_drop_last=machine.processes > 1,  # an uneven last batch would leave some waiting
    )


def build_trainer(model, rows: list[dict], recipe: Recipe, run: Run, machine: Machine):
    """Return the trainer of this model on these rows, after it has computed the loss of a few of them.

    Raises:
        InputError: the model can't be trained.
    """
    from .loss import NonFiniteLoss

    try:
        trainer = make_trainer(model, rows, recipe, run, machine)
        try_step(trainer)
    except NonFiniteLoss:
        fault = "has a loss of infinity or NaN before it is trained; pass --precision fp32, or choose another model"
        raise InputError(f"--base-model {recipe.base_model} {fault}.") from None
    except Exception as error:  # each architecture has faults of its own
        fault = f"can't be trained ({told_by(error)}); choose another model"
        raise InputError(f"--base-model {recipe.base_model} {fault}.") from None
    return trainer


def try_step(trainer) -> None:
    """Compute the loss of a small batch. Nothing is drawn at random, so the training after it stays what it was.

    Raises:
        ValueError: the loss depends on no weights.
    """
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(min(TRIED, len(trainer.train_dataset)))])
    trainer.model.eval()
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    if not loss.requires_grad:
        raise ValueError("it has no weights to train")


def check_training(recipe: Recipe, rows: list[dict], trust: bool) -> None:
    """Load the base model and compute the loss of a few rows, on the CPU. InputError where a training would fail."""
    machine = Machine("cpu", "fp32")
    model = load_base_model(recipe, machine, trust)
    with tempfile.TemporaryDirectory() as folder:
        build_trainer(model, rows[:TRIED], recipe, Run(Path(folder), None, 0.0), machine)


def make_trainer(model, rows: list[dict], recipe: Recipe, run: Run, machine: Machine):
    """Return the library's trainer of this model on these rows."""
    from datasets import Dataset

    from .loss import build_loss

    columns = {name: [row[name] for row in rows] for name in ("anchor", "positive")}
    steps = recipe.epochs * -(-len(rows) // recipe.batch_size)
    trainer = trainer_class()(
        model=model,
        args=training_arguments(recipe, run, machine, own_prompt(model), steps),
        train_dataset=Dataset.from_dict(columns | {"label": document_numbers(rows)}),
        loss=build_loss(model, recipe, gather=machine.processes > 1),
    )
    trainer.recipe, trainer.keys = recipe, [{row["anchor"], row["positive"]} for row in rows]
    return trainer


def trainer_class():
    """Return the trainer's class, made here so that --help need not wait for the library."""
    from sentence_transformers import SentenceTransformerTrainer
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    from .batches import PairBatches

    class Trainer(SentenceTransformerTrainer):
        """Draws batches by PairBatches, and puts a model card of ours beside each checkpoint."""

        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            for noisy in (PrinterCallback, ProgressCallback):  # a dict per logged step, on stdout
                self.remove_callback(noisy)

        def add_model_card_callback(self, default_args_dict):
            """Collect no example rows for the library's card."""

        def get_batch_sampler(self, *arguments, **options):
            self.sampler = PairBatches(*arguments, keys=self.keys, **options)
            return self.sampler

        def _save(self, output_dir=None, state_dict=None):
            # The library would add its arguments, pickled, which nobody reads.
            save_model(self.model, Path(output_dir), self.recipe)

    return Trainer


# ---------------------------------------------------------------- the training


def train(trainer, run: Run, checkpoint: Path | None, stop: StopSignals) -> int:
    """Train to the end, or to the step in which a signal asks for the end; return the number of steps.

    Raises:
        InputError: the loss became infinite or NaN.
    """
    from .loss import NonFiniteLoss
    from .tokens import TokenizedOnce

    trainer.add_callback(follower_class()(trainer, run, stop))
    if reads_tokens(trainer.model):
        trainer.data_collator.preprocess_fn = TokenizedOnce(trainer.model, sorted(set().union(*trainer.keys)))
    try:
        return trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None).global_step
    except NonFiniteLoss:
        kept = newest_whole_checkpoint(run.folder)
        (run.folder / OVERWRITES).unlink(missing_ok=True)  # so that --overwrite does not go on from here
        raise InputError(
            f"the loss became infinite or NaN after step {trainer.state.global_step}"
            f"{f'; {kept} is complete and kept' if kept else ''}; train anew with a lower --learning-rate than "
            f"{trainer.args.learning_rate:g} or --precision fp32, into another -o or with --overwrite."
        ) from None


def losses(trainer) -> dict:
    """Return the training loss by step, and whether it ever was above 0; warn where it never was."""
    curve = [{"step": entry["step"], "loss": entry["loss"]} for entry in trainer.state.log_history if "loss" in entry]
    learned = not curve or any(point["loss"] for point in curve)
    if not learned:
        log.warning("nothing was learned: the loss was 0 throughout, because no batch held a negative for any anchor")
    return {"loss_curve": curve, "learned": learned}


def follower_class():
    """Return the callback's class, made here so that --help need not wait for the library."""
    import torch
    from torch import distributed
    from tqdm import tqdm
    from transformers import TrainerCallback

    from .loss import NonFiniteLoss

    class Follower(TrainerCallback):
        """Shows progress, stops on a signal, marks checkpoints that are complete on disk."""

        def __init__(self, trainer, run: Run, stop: StopSignals):
            self.trainer, self.run, self.stop = trainer, run, stop

        def on_train_begin(self, arguments, state, control, **_):
            interval = 0.5 if sys.stderr.isatty() else 30
            quiet = not state.is_world_process_zero
            done, total = state.global_step, state.max_steps
            self.bar = tqdm(total=total, initial=done, unit=" steps", mininterval=interval, disable=quiet)
            self.stop.training = True

        def on_epoch_begin(self, arguments, state, control, **_):
            # Resuming within an epoch, several processes would replay the first epoch's order: accelerate's
            # SkipBatchSampler around BatchSamplerShard does not pass the epoch on.
            steps_per_epoch = state.max_steps // int(arguments.num_train_epochs)
            self.trainer.sampler.set_epoch(state.global_step // steps_per_epoch)

        def on_step_end(self, arguments, state, control, **_):
            self.bar.update(state.global_step - self.bar.n)
            if self.stop.agreed(arguments.device) and state.global_step < state.max_steps:
                self.stop.obeyed = control.should_save = control.should_training_stop = True

        def on_epoch_end(self, arguments, state, control, **_):
            left_out = len(self.trainer.sampler.left_out)
            if self.stop.obeyed:
                control.should_save = False  # saved after the step already
            elif left_out and state.is_world_process_zero:
                log.info(
                    "epoch %d: %d pairs skipped, because every full batch already held one of their texts",
                    state.epoch,
                    left_out,
                )

        def on_log(self, arguments, state, control, logs=None, **_):
            if "loss" in (logs or {}):
                self.bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)

        def on_train_end(self, arguments, state, control, **_):
            self.bar.close()
            self.stop.training = False

        def on_save(self, arguments, state, control, model=None, **_):
            if not all(torch.isfinite(weights).all() for weights in model.parameters()):
                raise NonFiniteLoss
            if distributed.is_initialized():
                distributed.barrier()  # each process writes its own random state
            complete = self.run.folder / f"checkpoint-{state.global_step}" / WHOLE
            if state.is_world_process_zero:
                script.write_json(complete, {"step": state.global_step, "seconds": time.time() - self.run.started})

    return Follower
