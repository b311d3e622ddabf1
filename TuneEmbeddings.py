"""Tune a sentence-transformers model on training pairs of the corpus.

Reads a pair table (paperId, year, anchor, positive, category), paraphrased where pairs are flagged for it. Tunes the
base model with Multiple Negatives Ranking Loss. Holds out whole documents, and scores the model on their pairs before
and after. Then centers and softly whitens its vectors by two more layers at the model's end; --centre 0 --whiten 0
leaves them out. Writes <outputdir>/final (loadable by SentenceTransformer), checkpoints beside it, and last
<outputdir>/training.json: arguments, versions, counts, loss, scores, held-out documents. benchmarks/TUNING.md explains
the defaults; --recipe replication has the published ones. No passage of the corpus goes into the folder.

A finished training is not repeated. With another --centre or --whiten the model is adjusted without training, which
takes a minute. On SIGUSR1 or SIGTERM (Slurm sends them before it ends a job) or Ctrl-C, training finishes its step,
writes a checkpoint and <outputdir>/stopped.json, and exits with status 75; --resume goes on from there. Under torchrun,
several GPUs share each batch: batches and negatives are the same as on one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import signal
import sys
import time
from pathlib import Path

import corpus
import lock
import script
from encoder import load_model, model_digest
from script import log
from tuning import folder as model_folder
from tuning import trainer as training
from tuning.recipe import RECIPES, Recipe, recipe_of
from tuning.scores import binary_evaluator, score
from tuning.split import Split, read_training_pairs, split_rows
from tuning.stopping import Stopped, StopSignals

EXAMPLE = "python TuneEmbeddings.py -d training_pairs_paraphrased.tsv -o models/para10"

BASE_MODEL = "sentence-transformers/all-distilroberta-v1"
EXIT_STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command again goes on


def tune(args, recipe: Recipe, split: Split, stop: StopSignals) -> None:
    """Train, score before and after, write the model and its record. Raises Stopped on a signal."""
    folder = Path(args.outputdir)
    run = training.Run(folder, args.save_steps, time.time())
    machine = training.Machine(args.device, args.precision)
    training.check_batch(recipe.batch_size, len(split.train_rows), machine.processes)
    split.check_negatives(recipe)
    model = training.load_base_model(recipe, machine, args.trust_remote_code)
    log.info("%s on %d × %s in %s", recipe.base_model, machine.processes, machine.device, machine.precision)
    trainer = training.build_trainer(model, split.train_rows, recipe, run, machine)

    checkpoint = begin(args, recipe, machine)
    if checkpoint:
        log.info("going on from %s", checkpoint)
        run.started -= script.read_json(checkpoint / model_folder.WHOLE)["seconds"]  # the record tells all runs' time

    evaluator = binary_evaluator(split.held_rows, recipe.split_seed) if split.held_rows and machine.is_main else None
    before = score(model, evaluator, machine.autocast)
    log.info("held-out documents, before: %s", before)

    with training.cut_at(model, recipe.max_seq_length), training.attention_for_training(model, machine):
        truncated = training.count_truncated(model, split.train_rows) if machine.is_main else None
        steps = training.train(trainer, run, checkpoint, stop)
    machine.part()
    if stop.obeyed:
        raise Stopped(f"stopped by {stop.received} after step {steps} of {trainer.state.max_steps}, checkpoint written")
    if not machine.is_main:
        return

    after = finish(model, folder, recipe, split, machine)
    facts = {
        "recipe": dataclasses.asdict(recipe),
        "model_sha256": model_digest(folder / model_folder.FINAL),
        "device": machine.device,
        "processes": machine.processes,
        "precision": machine.precision,
        "counts": split.counts() | {"truncated_passages": truncated},
        "steps": steps,
        "scores": {"before": before, "after": after},
        **training.losses(trainer),
        "held_out_documents": split.held_out_documents(),
    }
    stop.too_late = True
    script.write_json(folder / corpus.TRAINING_RECORD, script.run_record(args, run.started, **facts))
    (folder / model_folder.OVERWRITES).unlink(missing_ok=True)
    log.info("%d steps; the model is in %s", steps, folder / model_folder.FINAL)


def begin(args, recipe: Recipe, machine: training.Machine) -> Path | None:
    """Prepare the output folder, once for all processes; return the checkpoint to go on from, None to start anew."""
    folder = Path(args.outputdir)
    if machine.is_main:
        model_folder.prepare(folder, recipe, args.resume, args.overwrite)
    machine.state.wait_for_everyone()
    return model_folder.newest_whole_checkpoint(folder)


def finish(model, folder: Path, recipe: Recipe, split: Split, machine: training.Machine) -> dict | None:
    """Adjust the trained model, write it, and return its scores on the held-out documents."""
    from tuning.adjust import adjust, training_texts

    with machine.autocast():
        texts = training_texts(split.train_rows, recipe.seed)
        adjusted = adjust(model, texts, recipe.centre, recipe.whiten)
    evaluator = binary_evaluator(split.held_rows, recipe.split_seed) if split.held_rows else None
    after = score(model, evaluator, machine.autocast)
    log.info("held-out documents, after:  %s", after)
    model_folder.save_final(model, folder, recipe, adjusted)
    return after


def adjust_anew(args, recipe: Recipe, split: Split) -> None:
    """Give a finished model another adjustment, without training it; bring its record up to date."""
    from tuning.adjust import load_unadjusted

    folder, machine = Path(args.outputdir), training.Machine(args.device, args.precision)
    if machine.is_main:
        final, trust = folder / model_folder.FINAL, args.trust_remote_code
        model = load_unadjusted(final, lambda name: load_model("-o", name, machine.device, trust))
        record = script.read_json(folder / corpus.TRAINING_RECORD)
        recipe = dataclasses.replace(recipe, split_sha256=record["recipe"].get("split_sha256"))  # None in earlier ones
        record["scores"]["after"] = finish(model, folder, recipe, split, machine)
        record |= {"recipe": dataclasses.asdict(recipe), "arguments": vars(args)}
        record["model_sha256"] = model_digest(folder / model_folder.FINAL)
        script.write_json(folder / corpus.TRAINING_RECORD, record)
        (folder / model_folder.STOPPED).unlink(missing_ok=True)
        model_folder.write_recipe(folder, recipe)  # last: until it is there, the next run adjusts again
        log.info("adjusted with --centre %g --whiten %g, nothing trained: %s", recipe.centre, recipe.whiten, folder)
    machine.part()


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("-d", "--datasource", required=True, metavar="TSV", help="pair table, paraphrased")
    arguments.add_argument("-o", "--outputdir", required=True, metavar="FOLDER", help="where the model goes")
    count, share, yes_or_no = script.positive_int, script.fraction, argparse.BooleanOptionalAction
    add = arguments.add_argument_group("recipe").add_argument
    add("--recipe", choices=RECIPES, default="default", help="replication: the published settings")
    add("--base-model", default=BASE_MODEL, metavar="MODEL", help="folder or hub name (default %(default)s)")
    add("--epochs", type=count, help=by_recipe("passes through all pairs", "epochs"))
    add(
        "--batch-size",
        type=count,
        metavar="PAIRS",
        help=by_recipe("pairs that are one another's negatives", "batch_size"),
    )
    add("--mini-batch-size", type=count, metavar="PAIRS", help="embed so many at a time: less memory, 1/3 slower")
    add("--learning-rate", type=float, metavar="RATE", help=by_recipe("at its peak", "learning_rate"))
    more = "add N pairs of any two texts of its document for each pair"
    add("--recombine", type=int, choices=range(101), metavar="N", help=by_recipe(more, "recombine"))
    own = "passages of the anchor's own document: left out of its negatives, or not"
    add("--same-document", choices=("mask", "allow"), help=by_recipe(own, "same_document"))
    add("--symmetric", action=yes_or_no, help=by_recipe("also find each anchor by its positive", "symmetric"))
    zeroed = "in training, set attention weights to zero at random, as often as the base model's configuration says"
    add("--attention-dropout", action=yes_or_no, help=by_recipe(zeroed, "attention_dropout"))
    add("--scale", type=float, default=20.0, help="factor of the cosines in the loss (default %(default)s)")
    add("--max-seq-length", type=count, metavar="TOKENS", help="cut passages here in training (default the model's)")
    add("--prompt", metavar="TEXT", help="put before every passage, if the base model needs it ('search_document: ')")
    less = "after training: subtract this share of the mean passage from every vector"
    add("--centre", type=share, metavar="SHARE", help=by_recipe(less, "centre"))
    turned = "after training: divide each principal component by its deviation to this power"
    add("--whiten", type=share, metavar="POWER", help=by_recipe(turned, "whiten"))
    add("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="auto: half where in hardware")
    add("--seed", type=int, default=0, help="of the batches and dropout (default %(default)s)")
    add("--limit", type=count, metavar="PAIRS", help="a trial: train on the first PAIRS only")
    group = arguments.add_argument_group("held-out documents")
    add = group.add_argument
    add("--eval-fraction", type=share, default=0.05, metavar="SHARE", help="of documents (default %(default)s)")
    add("--split-seed", type=int, default=0, help="which documents; independent of --seed (default %(default)s)")
    add("--hold-out-by", default="paperId", metavar="COLUMN", help="author: whole authors are held out; needs -t")
    add("-t", "--metadatapath", metavar="TSV", help="metadata, for --hold-out-by and -r")
    add("-r", "--rootfolder", metavar="FOLDER", help="chunk files: no pair with a passage of a held-out document")
    script.add_encoding_errors(group)
    script.add_trust_remote_code(arguments)
    add = arguments.add_argument_group("run").add_argument
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="auto: a GPU where there is one")
    add("--save-steps", type=count, metavar="STEPS", help="between checkpoints (default: one each epoch)")
    add("--resume", action="store_true", help="go on from the last complete checkpoint, if there is one")
    add("--check", action="store_true", help="check pairs, base model and output folder; train nothing")
    add("--keep-finished", action="store_true", help="keep a finished model of these pairs, however it was trained")
    add("--overwrite", action="store_true", help="delete an earlier training; if stopped, --resume goes on")
    args = arguments.parse_args(argv)
    if args.rootfolder and not args.metadatapath:
        arguments.error("-r/--rootfolder needs -t/--metadatapath, which names each document's file")
    for name, value in RECIPES[args.recipe].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def by_recipe(text: str, name: str) -> str:
    """Return a flag's help with its defaults."""
    return f"{text} (default {RECIPES['default'][name]}; replication {RECIPES['replication'][name]})"


def run(args, stop: StopSignals) -> None:
    """Read the pairs, split them, and bring the output folder up to date."""
    script.log_settings(args)
    rows = read_training_pairs(args.datasource, args.limit)
    recipe = recipe_of(args)
    chunks = corpus.ChunkFolder(args.rootfolder, args.encoding_errors) if args.rootfolder else None
    split = split_rows(rows, recipe, args.metadatapath, chunks)
    recipe = dataclasses.replace(recipe, split_sha256=split.digest())
    log.info("pairs: %(training_pairs)d to train on", split.counts())
    log.info("pairs: %(held_out_pairs)d of %(held_out_documents)d documents held out", split.counts())
    alone = contextlib.nullcontext() if args.check else lock.alone_in(args.outputdir)
    with alone, script.naming_full_disk(args.outputdir):
        bring_up_to_date(args, recipe, split, stop)


def bring_up_to_date(args, recipe: Recipe, split: Split, stop: StopSignals) -> None:
    """Train, or adjust a finished model anew, or find all done already."""
    folder = Path(args.outputdir)
    state = model_folder.state_of(folder, recipe, args.resume, args.overwrite, args.keep_finished)
    if state in (model_folder.FINISHED, model_folder.OTHER_SETTINGS):
        model_folder.take_as_it_is(folder, recipe, look_only=args.check)
    elif args.check and state == model_folder.OTHER_ADJUSTMENT:
        log.info("%s is trained already: a run %s", folder, model_folder.ADJUSTS)
    elif args.check:
        split.check_negatives(recipe)
        training.check_training(recipe, split.train_rows, args.trust_remote_code)
        log.info("pairs, base model and output folder are fit for training")
    elif state == model_folder.OTHER_ADJUSTMENT:
        adjust_anew(args, recipe, split)
    else:
        tune(args, recipe, split, stop)


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    with StopSignals() as stop:
        try:
            run(args, stop)
        except Stopped as where:
            if script.is_main_process() and not args.check:
                stopped = Path(args.outputdir) / model_folder.STOPPED
                script.write_json(stopped, {"signal": stop.received, "where": str(where)})
            log.warning("%s; the same command with --resume goes on", where)
            return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    # What StopSignals gives back at its end: Slurm's warning must not kill a process that has just finished its work.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.exit(main())
