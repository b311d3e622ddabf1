"""TuneEmbeddings.py with a tiny real encoder: what is held out, what is kept, what a stop leaves behind."""

import json
import os
import pickle
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from warm_python import Script

import corpus
import encoder
import script
import TuneEmbeddings as tune
from tuning import folder as model_folder
from tuning import recipe, scores, split, trainer
from tuning.folder import newest_whole_checkpoint

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def pairs(tmp_path):
    """Return a pair table of 60 documents, four pairs each: an anchor in words w0 … w9, its positive in w10 … w19.

    Which word goes with which (w3 with w13) is the same in all documents, and only training can tell.
    """
    dice, rows = random.Random(0), []
    for i in range(60):
        for _ in range(4):
            topic = dice.sample(range(10), 2)
            anchor, positive = (" ".join(f"w{dice.choice(topic) + shift}" for _ in range(12)) for shift in (0, 10))
            rows.append(dict(zip(corpus.PAIR_COLUMNS, (f"doc{i}", 1900 + i, anchor, positive, "successive"))))
    corpus.write_pairs(tmp_path / "pairs.tsv", rows)
    return tmp_path / "pairs.tsv"


def command(pairs, encoder, folder, *flags):
    base = ["-d", str(pairs), "-o", str(folder), "--base-model", str(encoder), "--device", "cpu"]
    recipe = ["--epochs", "6", "--batch-size", "8", "--eval-fraction", "0.3", "--learning-rate", "3e-3"]
    return [*base, *recipe, *flags]


@pytest.fixture
def start(warm_server):
    """Return a function that starts a training as a process of its own, in a Python that has its packages loaded."""

    def start(flags, stderr=None):
        return Script(warm_server, ["TuneEmbeddings.py", *flags], ROOT, stderr)

    return start


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


# ---- what is held out


def test_documents_are_held_out_whole_and_the_same_for_every_table():
    rows = [{"paperId": f"d{i % 40}", "n": i} for i in range(200)]
    train_rows, held_rows = split.split_by_document(rows, 0.25, 0)
    train, held = ({row["paperId"] for row in part} for part in (train_rows, held_rows))
    assert not train & held and len(train | held) == 40 and 3 <= len(held) <= 18
    assert len(train_rows) + len(held_rows) == 200
    part = [row for row in rows if row["paperId"] < "d3"]
    assert {row["paperId"] for row in split.split_by_document(part, 0.25, 0)[1]} == {p for p in held if p < "d3"}
    assert {row["paperId"] for row in split.split_by_document(rows, 0.25, 1)[1]} != held


def test_nothing_held_out_is_an_error_unless_asked_for():
    rows = [{"paperId": "a"}]
    assert split.split_by_document(rows, 0, 0) == (rows, [])
    with pytest.raises(script.InputError, match="--eval-fraction 0.0001 puts 0 of 1 documents aside"):
        split.split_by_document(rows, 0.0001, 0)


def test_each_held_out_anchor_meets_its_positive_and_five_others():
    rows = [{"paperId": f"d{i}", "anchor": f"a{i}", "positive": f"p{i}"} for i in range(10)]
    evaluator = scores.binary_evaluator(rows, 0)
    assert len(evaluator.labels) == 60 and sum(evaluator.labels) == 10
    for anchor, partner, label in zip(evaluator.sentences1, evaluator.sentences2, evaluator.labels):
        assert (anchor[1:] == partner[1:]) == bool(label)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("d", 1900, "generate", "text", "single-synthetic"), "pair 1 .d.: single-synthetic without its paraphrase"),
        (("d", 1900, "one", "two", "synthetic-pair"), "pair 1 .d.: synthetic-pair without its paraphrase"),
    ],
)
def test_pairs_that_wait_for_their_paraphrase_are_refused(tmp_path, capsys, row, complaint):
    corpus.write_pairs(tmp_path / "pairs.tsv", [dict(zip(corpus.PAIR_COLUMNS, row))])
    with pytest.raises(script.InputError, match=complaint):
        split.read_training_pairs(tmp_path / "pairs.tsv", None)


# ---- a training


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder):
    """Return the folder of one finished training and its pair table."""
    folder = tmp_path_factory.mktemp("trained")
    table = pairs.__wrapped__(folder)
    assert tune.main(command(table, tiny_encoder, folder / "model")) == 0
    return folder / "model", table


def test_training_learns_and_the_record_says_what_was_done(trained):
    folder, table = trained
    record = json.loads((folder / "training.json").read_text())
    assert record["scores"]["after"]["average_precision"] > record["scores"]["before"]["average_precision"] + 0.2
    assert record["counts"]["training_pairs"] + record["counts"]["held_out_pairs"] == 240
    assert record["counts"]["held_out_documents"] == len(record["held_out_documents"]) > 0
    assert record["steps"] == 6 * -(-record["counts"]["training_pairs"] // 8)
    assert record["loss_curve"][-1]["loss"] < record["loss_curve"][0]["loss"]
    assert record["recipe"]["seed"] == 0 and record["versions"]["torch"]
    assert record["model_sha256"] == encoder.model_digest(folder / "final")


def test_the_final_model_loads_and_embeds_whole_passages(trained):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(trained[0] / "final"), device="cpu")
    assert model.encode(["w1 w2"]).shape == (1, 32)
    assert model.max_seq_length == 64
    assert (trained[0] / "final" / "model.safetensors").stat().st_mode & 0o044  # the group can read it


def test_no_passage_of_the_corpus_is_in_the_models_folder(trained):
    folder, table = trained
    starts = {" ".join(row["anchor"].split()[:4]).encode() for row in corpus.read_pairs(table)}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "README.md" and path.parent.name.startswith("checkpoint") for path in files)
    for path in files:
        data = path.read_bytes()
        assert not any(start in data for start in starts), path


@pytest.mark.slow
def test_training_on_short_cuts_leaves_the_models_own_length(pairs, tiny_encoder, tmp_path):
    flags = command(pairs, tiny_encoder, tmp_path / "model", "--max-seq-length", "16", "--limit", "40")
    assert tune.main(flags) == 0
    from sentence_transformers import SentenceTransformer

    assert SentenceTransformer(str(tmp_path / "model/final"), device="cpu").max_seq_length == 64


def test_a_finished_training_is_not_repeated_but_made_newer_for_make(trained, tiny_encoder):
    folder, table = trained
    os.utime(folder / "training.json", (1, 1))
    before = (folder / "final/model.safetensors").stat().st_mtime_ns
    assert tune.main(command(table, tiny_encoder, folder)) == 0
    assert (folder / "final/model.safetensors").stat().st_mtime_ns == before
    assert (folder / "training.json").stat().st_mtime > 1


def test_other_settings_in_the_same_folder_are_refused(trained, tiny_encoder, capsys):
    folder, table = trained
    assert tune.main(command(table, tiny_encoder, folder, "--seed", "7", "--resume")) == 2
    assert "holds a training with other settings (seed 0 → 7)" in capsys.readouterr().err
    assert (folder / "training.json").exists()


@pytest.mark.slow
def test_a_stopped_training_goes_on_with_the_same_base_model_and_the_same_documents_held_out(
    pairs, tiny_encoder, tmp_path, capsys
):
    from tiny_encoder import make_tiny_encoder

    folder, base, metadata = tmp_path / "model", tmp_path / "base", tmp_path / "metadata.tsv"
    shutil.copytree(tiny_encoder, base)

    def write_authors(documents_of_each):
        rows = [f"doc{i}\t1900\tauthor {i // documents_of_each}\n" for i in range(60)]
        metadata.write_text("paperId\tyear\tauthor\n" + "".join(rows))

    write_authors(2)
    flags = command(pairs, base, folder, "--hold-out-by", "author", "-t", str(metadata), "--epochs", "1", "--resume")
    assert tune.main(flags) == 0
    (folder / "training.json").unlink()  # as if it had been stopped after its last checkpoint
    checkpoint, recipe = newest_whole_checkpoint(folder), script.read_json(folder / "recipe.json")
    write_authors(3)
    assert tune.main(flags) == 2 and "(other documents held out" in capsys.readouterr().err
    write_authors(2)
    shutil.rmtree(base)
    shutil.copytree(make_tiny_encoder(tmp_path / "other", seed=1), base)
    assert tune.main(flags) == 2 and "(another base model of that name)" in capsys.readouterr().err
    assert newest_whole_checkpoint(folder) == checkpoint
    del recipe["base_model_sha256"], recipe["split_sha256"]
    script.write_json(folder / "recipe.json", recipe)  # as of an older version
    assert tune.main(flags) == 0 and (folder / "training.json").exists()


def test_make_keeps_a_finished_model_of_other_settings_and_names_them(trained, tiny_encoder, tmp_path, caplog):
    """One that was trained by hand, or on the cluster by an edited job file; but never one of other pairs."""
    folder, table = tmp_path / "model", trained[1]
    shutil.copytree(trained[0], folder)
    os.utime(folder / "training.json", (1, 1))
    record = (folder / "training.json").read_bytes()
    flags = command(table, tiny_encoder, folder, "--resume", "--keep-finished")
    assert tune.main([*flags, "--epochs", "2", "--whiten", "0"]) == 0
    assert "(epochs 6 → 2; whiten 0.25 → 0.0) and is kept" in caplog.messages[-1]
    assert script.read_json(folder / "kept.json") == {"differs": ["epochs 6 → 2", "whiten 0.25 → 0.0"]}
    assert (folder / "training.json").stat().st_mtime > 1 and (folder / "training.json").read_bytes() == record
    assert_same_weights(folder, trained[0])
    assert tune.main(flags) == 0 and not (folder / "kept.json").exists()
    corpus.write_pairs(other := tmp_path / "other.tsv", list(corpus.read_pairs(table))[:100])
    assert tune.main([*flags, "-d", str(other)]) == 2


@pytest.mark.slow
def test_a_killed_training_resumes_from_the_last_whole_checkpoint_and_ends_the_same(
    trained, tiny_encoder, tmp_path, start
):
    whole, table = trained
    folder = tmp_path / "model"
    flags = command(table, tiny_encoder, folder)
    running = start(flags)
    while not list(folder.glob("checkpoint-*/complete.json")):
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() in (-signal.SIGKILL, 0)
    torn = folder / "checkpoint-999"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half")
    if (folder / "training.json").exists():
        pytest.skip("the machine finished before it was killed")
    assert tune.main(flags) == 2  # neither --resume nor --overwrite
    assert tune.main([*flags, "--resume"]) == 0
    assert not torn.exists()
    assert script.read_json(folder / "training.json")["steps"] == script.read_json(whole / "training.json")["steps"]
    assert_same_weights(folder, whole)


def signalled(running, folder, number, checkpoint="*"):
    """Send a running training a signal at a checkpoint; return its exit status and what it said."""
    while not list(folder.glob(f"checkpoint-{checkpoint}/complete.json")):
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.002)
    running.send_signal(number)
    said = running.communicate(timeout=120)[1]
    if (folder / "training.json").exists():
        pytest.skip("the machine finished before the signal")
    return running.returncode, said


def assert_same_weights(folder, expected):
    got = weights(folder / "final")
    for name, value in weights(expected / "final").items():
        np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)


class Planted:
    """What a pickle may hold: code that runs when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.slow
def test_a_checkpoint_can_run_no_code(trained, tiny_encoder, tmp_path, name):
    """The library reads a checkpoint's pickles as weights alone; ours writes no others."""
    shutil.copytree(trained[0], tmp_path / "model")
    shutil.rmtree(newest_whole_checkpoint(tmp_path / "model"))  # of the last step: there is nothing to go on with
    checkpoint = newest_whole_checkpoint(tmp_path / "model")
    pickles = {path.name for path in checkpoint.iterdir() if path.suffix in (".bin", ".pt", ".pth")}
    assert pickles == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    (tmp_path / "model/training.json").unlink()
    torch.save(Planted(tmp_path / "it ran"), checkpoint / name)
    with pytest.raises(pickle.UnpicklingError):
        tune.main(command(trained[1], tiny_encoder, tmp_path / "model", "--resume"))
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_signal_ends_the_step_writes_a_checkpoint_and_resuming_ends_the_same(
    trained, tiny_encoder, tmp_path, start, number
):
    whole, table = trained
    folder, flags = tmp_path / "model", command(table, tiny_encoder, tmp_path / "model", "--epochs", "6")
    status, said = signalled(start(flags, subprocess.PIPE), folder, number)
    assert status == tune.EXIT_STOPPED and "the same command with --resume goes on" in said
    stopped = script.read_json(folder / "stopped.json")
    newest = newest_whole_checkpoint(folder)
    assert stopped["signal"] == number.name and f"after step {newest.name.split('-')[1]} of" in stopped["where"]
    assert tune.main([*flags, "--resume"]) == 0
    assert not (folder / "stopped.json").exists()
    assert script.read_json(folder / "training.json")["steps"] == script.read_json(whole / "training.json")["steps"]
    assert_same_weights(folder, whole)


@pytest.mark.slow
def test_a_training_whose_terminal_is_gone_writes_a_checkpoint(trained, tiny_encoder, tmp_path):
    """As when the connection to a login node breaks: SIGHUP comes, and what is written to the terminal fails."""
    import pty

    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        pytest.skip("these tests run under nohup")

    folder = tmp_path / "model"
    flags = command(trained[1], tiny_encoder, folder, "--epochs", "60", "--save-steps", "20")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "TuneEmbeddings.py", *flags])
    while not newest_complete(folder):
        if select.select([terminal], [], [], 0.01)[0]:
            os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == tune.EXIT_STOPPED
    stopped = script.read_json(folder / "stopped.json")
    assert stopped["signal"] == "SIGHUP" and f"step {newest_complete(folder)} of" in stopped["where"]


def newest_complete(folder):
    """Return the step of the last whole checkpoint, 0 if there is none."""
    return max((int(path.parent.name.split("-")[1]) for path in folder.glob("checkpoint-*/complete.json")), default=0)


@pytest.mark.slow
def test_a_stopped_training_that_overwrites_goes_on_by_the_same_command(trained, tiny_encoder, tmp_path, start, caplog):
    whole, table = trained
    folder = tmp_path / "model"
    flags = command(table, tiny_encoder, folder, "--epochs", "6", "--resume", "--overwrite")
    shutil.copytree(whole, folder)
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    assert signalled(start(flags, subprocess.PIPE), folder, signal.SIGTERM)[0] == tune.EXIT_STOPPED
    checkpoint = newest_whole_checkpoint(folder)
    caplog.clear()
    assert tune.main(flags) == 0 and f"going on from {checkpoint}" in caplog.text
    assert_same_weights(folder, whole)
    caplog.clear()
    assert tune.main(flags) == 0 and "going on from" not in caplog.text  # what is finished is overwritten
    assert not list(folder.glob("overwrites*"))


def test_both_flags_go_on_with_what_overwriting_began_and_by_the_same_recipe_alone(tmp_path):
    one, other = (recipe.recipe_of(tune.parse_args(["-d", "p", "-o", "m", "--epochs", n])) for n in "23")
    goes_on = model_folder.goes_on
    model_folder.start_anew(tmp_path, one, overwrite=False)
    assert goes_on(tmp_path, one, True, False) and not goes_on(tmp_path, one, True, True)
    model_folder.start_anew(tmp_path, one, overwrite=True)
    assert goes_on(tmp_path, one, True, True) and not goes_on(tmp_path, one, False, True)
    assert not goes_on(tmp_path, other, True, True)
    assert model_folder.state_of(tmp_path, other, True, True) == model_folder.UNFINISHED
    (tmp_path / "training.json").write_text("{}")
    assert not goes_on(tmp_path, one, True, True)


@pytest.mark.slow
def test_a_warning_that_comes_when_all_is_done_fails_nothing(trained, tiny_encoder, tmp_path):
    _, table = trained
    flags = command(table, tiny_encoder, tmp_path / "model", "--epochs", "1")
    running = subprocess.Popen(
        [sys.executable, "TuneEmbeddings.py", *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    said = next(line for line in running.stderr if "the model is in" in line)
    while running.poll() is None:
        running.send_signal(signal.SIGUSR1)
        time.sleep(0.005)
    assert running.returncode == 0, said + running.stderr.read()


# ---- several GPUs (here: processes of torchrun on the CPU)


@pytest.fixture
def torchrun(warm_python):
    """Return a function that starts a training under torchrun, whose two processes need not load their packages."""

    def start(flags, stderr=None):
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--no-python"]
        words += [*warm_python, "TuneEmbeddings.py", *flags]
        return subprocess.Popen(words, cwd=ROOT, stderr=stderr, text=True)

    return start


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(pairs, tiny_encoder, tmp_path, torchrun):
    """Without dropout, and with a number of pairs that divides by the batch, only rounding differs."""
    still = tmp_path / "still"
    shutil.copytree(tiny_encoder, still)
    settings = still / "config.json"
    without = script.read_json(settings) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    script.write_json(settings, without)
    flags = ["--limit", "80", "--eval-fraction", "0", "--epochs", "2", "--precision", "fp32"]
    assert tune.main(command(pairs, still, tmp_path / "one", *flags)) == 0
    assert torchrun(command(pairs, still, tmp_path / "two", *flags)).wait() == 0
    records = [script.read_json(tmp_path / name / "training.json") for name in ("one", "two")]
    assert [record["steps"] for record in records] == [20, 20] and records[1]["processes"] == 2
    one, two = (weights(tmp_path / name / "final") for name in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_two_processes_resume_within_an_epoch_in_the_same_order(pairs, tiny_encoder, tmp_path, torchrun):
    flags = ["--save-steps", "13", "--epochs", "12"]
    assert torchrun(command(pairs, tiny_encoder, tmp_path / "whole", *flags)).wait() == 0
    folder = tmp_path / "model"
    flags = command(pairs, tiny_encoder, folder, *flags, "--resume")
    status, said = signalled(torchrun(flags, subprocess.PIPE), folder, signal.SIGTERM, checkpoint=65)
    assert status != 0 and "after step" in script.read_json(folder / "stopped.json")["where"], said
    assert torchrun(flags).wait() == 0
    assert script.read_json(folder / "training.json")["steps"] == 12 * (
        script.read_json(folder / "training.json")["counts"]["training_pairs"] // 8
    )
    assert_same_weights(folder, tmp_path / "whole")


def test_a_batch_that_the_gpus_cannot_share_is_refused():
    trainer.check_batch(80, 100, 4)
    trainer.check_batch(81, 10, 1)
    for size, pairs_there in ((81, 100), (80, 79)):
        with pytest.raises(script.InputError, match=f"--batch-size {size} with {pairs_there} pairs on 4 GPUs"):
            trainer.check_batch(size, pairs_there, 4)


@pytest.mark.slow
def test_two_trainings_in_one_folder_are_refused_and_the_first_goes_on(trained, tiny_encoder, tmp_path, capsys, start):
    whole, table = trained
    folder, flags = tmp_path / "model", command(table, tiny_encoder, tmp_path / "model")
    running = start(flags)
    while not (folder / "recipe.json").exists():
        assert running.poll() is None
        time.sleep(0.002)
    assert tune.main([*flags, "--overwrite", "--seed", "7"]) == 2
    assert f"{folder} is in use by process {running.pid} on" in capsys.readouterr().err
    assert running.wait() == 0
    assert script.read_json(folder / "training.json")["recipe"] == script.read_json(whole / "training.json")["recipe"]
    assert_same_weights(folder, whole)
    assert not (folder / ".lock").exists()


def test_a_folder_with_a_model_of_unknown_settings_is_left_alone(pairs, tiny_encoder, tmp_path, capsys):
    folder = tmp_path / "model"
    (folder / "checkpoint-7").mkdir(parents=True)
    (folder / "checkpoint-7/model.safetensors").write_bytes(b"precious")
    assert tune.main(command(pairs, tiny_encoder, folder, "--resume")) == 2
    assert "holds a model of unknown settings" in capsys.readouterr().err
    assert (folder / "checkpoint-7/model.safetensors").read_bytes() == b"precious"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_training_stopped_before_its_first_step_can_begin_again(pairs, tiny_encoder, tmp_path, number):
    folder = tmp_path / "model"
    flags = command(pairs, tiny_encoder, folder, "--resume")
    running = subprocess.Popen(
        [sys.executable, "TuneEmbeddings.py", *flags], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    for line in running.stderr:
        if "documents held out" in line:  # the pairs are read, the model is not loaded
            running.send_signal(number)
            break
    running.stderr.read()
    assert running.wait() == tune.EXIT_STOPPED and (folder / "stopped.json").exists()
    assert tune.main(flags) == 0
    assert (folder / "training.json").exists() and not (folder / "stopped.json").exists()


def test_overwrite_deletes_nothing_before_the_base_model_is_loaded(trained, capsys):
    folder, table = trained
    assert tune.main(command(table, "no/such-model", folder, "--overwrite")) == 2
    assert (folder / "final/model.safetensors").exists() and (folder / "training.json").exists()


def test_the_published_recipe_is_one_switch_and_flags_go_before_it():
    args = tune.parse_args(["-d", "pairs.tsv", "-o", "model", "--recipe", "replication"])
    assert (args.base_model, args.batch_size, args.epochs) == ("sentence-transformers/all-distilroberta-v1", 80, 9)
    assert (args.learning_rate, args.same_document, args.symmetric) == (5e-5, "allow", False)
    assert (args.centre, args.whiten, args.attention_dropout) == (0, 0, True)
    run, machine = trainer.Run(Path("model"), None, 0.0), trainer.Machine("cpu", "fp32")
    assert trainer.training_arguments(recipe.recipe_of(args), run, machine, None, 100).warmup_steps == 0.1
    args = tune.parse_args(["-d", "p", "-o", "m", "--recipe", "replication", "--epochs", "2", "--symmetric"])
    assert (args.epochs, args.symmetric, args.batch_size) == (2, True, 80)


@pytest.mark.parametrize(
    "name, flags, gains",
    [
        ("AMD EPYC", {"avx512_bf16": True, "amx_bf16": False}, True),
        ("Intel Xeon", {"avx512_bf16": True, "amx_bf16": False}, False),
        ("Intel Xeon", {"avx512_bf16": True, "amx_bf16": True}, True),
        ("AMD EPYC", {"avx512_bf16": False}, False),
        ("Apple M2", {}, False),
    ],
)
def test_bfloat16_is_used_where_the_processor_gains_by_it(name, flags, gains):
    assert bool(encoder.gains_by_bf16({"cpu_name": name, **flags})) == gains


@pytest.mark.slow
def test_overwrite_starts_anew(pairs, tiny_encoder, tmp_path):
    folder = tmp_path / "model"
    assert tune.main(command(pairs, tiny_encoder, folder, "--limit", "40")) == 0
    assert tune.main(command(pairs, tiny_encoder, folder, "--limit", "48", "--overwrite")) == 0
    counts = script.read_json(folder / "training.json")["counts"]
    assert counts["training_pairs"] + counts["held_out_pairs"] == 48


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--base-model", "no/such-model"], "--base-model no/such-model can't be loaded"),
        (["--max-seq-length", "4096"], "this model has positions for 128 tokens at most"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_sentence(pairs, tiny_encoder, tmp_path, capsys, flags, complaint):
    assert tune.main([*command(pairs, tiny_encoder, tmp_path / "model"), *flags]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint in last


SMALL = """import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import TuneEmbeddings as tune
from tuning import trainer
train = trainer.train
def limited(*words):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
    return train(*words)
trainer.train = limited
sys.exit(tune.main(sys.argv[2:]))"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "told"),
    [(100_000, "File too large; choose a disk"), (200_000, "No space left on device; make room there")],
    ids=["weights of 145 kB", "optimizer of 305 kB"],
)
def test_a_disk_that_takes_no_checkpoint_is_one_sentence(pairs, tiny_encoder, tmp_path, warm_server, most, told):
    """The weights are written by safetensors, the optimizer's state by PyTorch, which does not say why it failed."""
    folder, small = tmp_path / "model", tmp_path / "small.py"
    small.write_text(SMALL)
    words = [str(small), str(most), *command(pairs, tiny_encoder, folder)]
    running = Script(warm_server, words, ROOT, subprocess.PIPE)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 2 and "Traceback" not in said
    assert f"{folder}: {told}" in said
