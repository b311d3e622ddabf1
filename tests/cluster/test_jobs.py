"""Jobs on a real Slurm: submitted by make and by hand, stopped in every way, and what is left then."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import corpus
import script

LONG = "--epochs 400 --save-steps 50"  # 1600 steps, some forty seconds on a core


def trained(user, model):
    return (user.far / "output/models" / model / "training.json").exists()


def begin(user, model, *flags, script=LONG):
    """Submit a training by hand, under a name of its own: jobs of one name wait for each other."""
    words = [*flags, f"--job-name={model}", "slurm/train_nopara.slurm", f"-o output/models/{model}"]
    settings = f"--base-model {user.encoder} --batch-size 8 --eval-fraction 0.4 --device cpu {script}"
    return user.submit(*words, settings)


def checkpoint(user, model, step):
    """Tell whether a whole checkpoint of this step or a later one is there."""
    folder = user.far / "output/models" / model
    return any(int(path.parent.name.split("-")[1]) >= step for path in folder.glob("checkpoint-*/complete.json"))


def weights(folder):
    from safetensors.numpy import load_file

    return load_file(folder / "final/model.safetensors")


LEFT_ALONE = []  # the folder of the reference, once a test has made it


@pytest.fixture
def reference(sent, tmp_path_factory):
    """Return the model of the same training, left alone; all users have the same pairs."""
    if not LEFT_ALONE:
        folder = tmp_path_factory.mktemp("alone")
        words = ["-d", "output/pairs/nopara.tsv", "-o", folder / "model", "--base-model", sent.encoder, *LONG.split()]
        more = ["--batch-size", "8", "--eval-fraction", "0.4", "--device", "cpu"]
        single = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in the rig's jobs
        command = [sys.executable, "TuneEmbeddings.py", *words, *more]
        subprocess.run(command, cwd=sent.clone, check=True, capture_output=True, env=single)
        LEFT_ALONE.append(folder / "model")
    return LEFT_ALONE[0]


def assert_same(user, model, reference):
    record = script.read_json(reference / "training.json")
    assert user.steps(model) == record["steps"] == 1600
    got, expected = weights(user.far / "output/models" / model), weights(reference)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=1e-5, err_msg=f"{model} {name}")


def test_stopped_jobs_go_on_by_themselves_and_end_like_one_left_alone(sent, reference):
    """USR1 (time limit), TERM to the step (preemption), scontrol requeue, scancel and a second sbatch: each twice."""
    ways = {
        "usr1": "scancel --signal=USR1 {}",
        "term": "scancel --signal=TERM {}",
        "requeued": "scontrol requeue {}",
        "cancelled": "scancel {}",
    }
    jobs = {name: begin(sent, name) for name in ways}
    left = [(name, step) for name in ways for step in (50, 600)]
    while left:
        name, step = sent.until(lambda: next((one for one in left if checkpoint(sent, *one)), None))
        left.remove((name, step))
        sent.delta(ways[name].format(jobs[name]))
        if name == "cancelled":
            assert sent.until_ended(jobs[name]) == "CANCELLED"
            jobs[name] = begin(sent, name)
    for name, job in jobs.items():
        assert sent.until_ended(job) == "COMPLETED", sent.log(job)
        assert_same(sent, name, reference)
        assert not (sent.far / f"output/models/{name}/stopped.json").exists()
        assert name == "cancelled" or sent.log(job).count("going on from output/models") == 2, sent.log(job)
    for name in ("usr1", "term"):
        assert sent.log(jobs[name]).count("goes on in a new run") == 2


def test_the_time_limit_stops_with_a_checkpoint_and_the_job_goes_on(sent):
    job = begin(sent, "limit", "--time=00:01:00", "--signal=USR1@30", script="--epochs 400 --save-steps 5000")
    assert sent.until_ended(job, 400) == "COMPLETED", sent.log(job)
    assert sent.steps("limit") == 1600
    assert "stopped by SIGUSR1 after step" in sent.log(job) and "going on from output/models" in sent.log(job)


def test_a_lost_node_loses_what_came_after_the_last_checkpoint_and_no_more(sent, reference):
    job = begin(sent, "lost")
    sent.until(lambda: checkpoint(sent, "lost", 300))
    sent.delta(f"pkill -KILL -f 'slurmstepd: .{job}[.]|models/[l]ost'; true")
    sent.delta('scontrol update nodename="$(hostname -s)" state=down reason=test')
    sent.until(lambda: sent.state(job) == "PENDING")
    sent.delta(
        'scontrol update nodename="$(hostname -s)" state=resume; true'
    )  # back already, where slurmd has reported
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    assert "going on from output/models/lost/checkpoint-" in sent.log(job)
    assert_same(sent, "lost", reference)


def test_a_preempted_job_saves_and_goes_on_when_the_gpus_are_free(sent, reference):
    job = begin(sent, "cheap", "--partition=gpuA100x4-preempt")
    sent.until(lambda: checkpoint(sent, "cheap", 50))
    wants_all = "--partition=gpuA100x4 --gpus-per-node=4 --account=bbiq-delta-gpu --output=/dev/null"
    other = sent.submit(f"{wants_all} --wrap 'sleep 5'")
    assert sent.until_ended(other) == "COMPLETED"
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    assert_same(sent, "cheap", reference)
    assert "stopped by SIGTERM after step" in sent.log(job) and "going on from output/models" in sent.log(job)


def test_one_flag_trains_on_several_gpus_and_a_signal_loses_nothing(sent):
    job = begin(sent, "two", "--gpus-per-node=2", script="--epochs 100 --save-steps 30")
    sent.until(lambda: checkpoint(sent, "two", 90))
    sent.delta(f"scancel --signal=USR1 {job}")
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    record = script.read_json(sent.far / "output/models/two/training.json")
    assert record["processes"] == 2 and record["steps"] == 100 * (record["counts"]["training_pairs"] // 8)
    assert "going on from output/models" in sent.log(job)


def test_a_job_that_goes_on_and_on_ends_after_the_bound(sent):
    file = sent.far / "slurm/job.sh"
    file.write_text(file.read_text().replace("RESTARTS=20", "RESTARTS=1"))
    job = begin(sent, "bound")
    for step in (50, 600):
        sent.until(lambda step=step: checkpoint(sent, "bound", step))
        sent.delta(f"scancel --signal=USR1 {job}")
        if step == 50:
            sent.until(lambda: "goes on in a new run" in sent.log(job))
    assert sent.until_ended(job) == "FAILED"
    assert "restarted 1 times: submit it again to go on" in sent.log(job)


def test_a_failing_training_takes_the_jobs_that_wait_for_it_along(sent):
    sent.make("train", "TRAIN_SBATCH=--hold")
    assert "after job" in sent.make("apply")
    (sent.far / "output/pairs/nopara.tsv").write_text("nonsense\n")
    train, apply = (line.split("\t")[3] for line in (sent.far / "logs/jobs.tsv").read_text().splitlines())
    sent.delta(f"scontrol release {train}")
    assert sent.until_ended(train) == "FAILED"
    assert sent.until_ended(apply) == "CANCELLED"
    sent.make("wait", "EVERY=1", fails=f"train job {train} FAILED")
    said = sent.make("status")
    assert "no column paperId" in sent.make("logs") and "FAILED" in said and "folder logs was missing" not in said
    assert sent.delta("squeue -h") == ""


def test_embeddings_wait_for_a_training_that_is_requeued(sent):
    sent.make("train", f"TUNE_FLAGS=--batch-size 8 --eval-fraction 0.4 --device cpu {LONG}")
    sent.make("apply")
    train, apply = (line.split("\t")[3] for line in (sent.far / "logs/jobs.tsv").read_text().splitlines())
    sent.until(lambda: checkpoint(sent, "nopara", 50))
    sent.delta(f"scancel --signal=USR1 {train}")
    sent.until(lambda: "goes on in a new run" in sent.log(train))
    assert sent.state(apply) == "PENDING"
    sent.make("wait", "EVERY=1")
    assert script.read_json(sent.far / "output/embeddings/nopara/manifest.json")["passages"] == 24 * 12


def test_two_at_once_submit_one_job(sent):
    both = [sent.start("train", "TRAIN_SBATCH=--hold") for _ in range(2)]
    said = [running.communicate(timeout=120)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0], said
    assert sum("submitted job" in text and "nothing" not in text for text in said) == 1
    assert sum("does this already; nothing submitted" in text for text in said) == 1
    assert sent.delta("squeue -h -o %j") == "train_nopara"
    assert len((sent.far / "logs/jobs.tsv").read_text().splitlines()) == 1
    assert "cancelled job" in sent.make("cancel")
    assert "no job of nopara" in sent.make("cancel")


def test_job_files_edited_and_submitted_by_hand(sent):
    file = sent.far / "slurm/train_nopara.slurm"
    edited = file.read_text().replace("MODEL=output/models/nopara", 'MODEL="output/models/my own"')
    edited = edited.replace("BASE_MODEL=sentence-transformers/all-distilroberta-v1", f"BASE_MODEL={sent.encoder}")
    edited = edited.replace("FLAGS=()", "FLAGS=(--epochs 1 --batch-size 8 --eval-fraction 0.4 --device cpu)")
    file.write_text(edited)
    assert sent.until_ended(sent.submit("slurm/train_nopara.slurm")) == "COMPLETED"
    file = sent.far / "slurm/apply_tuned.slurm"
    edited = file.read_text().replace("MODEL=output/models/para10/final", 'MODEL="output/models/my own/final"')
    edited = edited.replace("EMBEDDINGS=output/embeddings/para10", 'EMBEDDINGS="output/embeddings/my own"')
    edited = edited.replace("YEARS=()", "YEARS=(-s 1905 -e 1930)").replace("--array=179-202%8", "--array=189-193%8")
    file.write_text(edited)
    job = sent.submit("slurm/apply_tuned.slurm", "--device", "cpu")
    assert sent.until_ended(job) == "COMPLETED"
    folder = sent.far / "output/embeddings/my own"
    assert sorted(path.name for path in folder.glob("*.parquet")) == ["1900.parquet", "1910.parquet", "1920.parquet"]
    assert set(corpus.read_embeddings(folder / "1900.parquet")[0]) == {"doc02", "doc03"}
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert sent.until_ended(sent.submit("slurm/apply_tuned.slurm", "--device", "cpu")) == "COMPLETED"
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")} == before
    said = sent.make("sync-delta")  # the edits are the user's, and stay
    assert "slurm/apply_tuned.slurm was edited on delta" in said and file.read_text() == edited
    mine = sent.clone / "slurm/apply_tuned.slurm"
    mine.write_text(mine.read_text() + "# mine\n")
    sent.make("sync-delta", fails="was edited here and on delta since it was sent")
    assert file.read_text() == edited


def test_submitted_from_another_folder_is_one_sentence(sent):
    sent.delta("cd slurm && mkdir -p logs")
    job = sent.delta("cd slurm && sbatch --parsable train_nopara.slurm")
    assert sent.until_ended(job) == "FAILED"
    log = (sent.far / f"slurm/logs/train_nopara-{job}.out").read_text()
    assert "cd to the project's folder, then sbatch slurm/train_nopara.slurm" in log


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["DELTA_ACCOUNT=nobody"], "account 'nobody'"),
        (["DELTA_PARTITION=gpuB200"], "partition 'gpuB200'"),
        (["TRAIN_SBATCH=--time=72:00:00"], "--time=3-00:00:00 is over the 2-00:00:00 of partition gpuA100x4"),
        (["TRAIN_SBATCH=--gpus-per-node=5"], "Slurm refuses the job"),
        (["TRAIN_SBATCH=--constraint=nowhere"], "Slurm refuses the job"),
        (["BASE_MODEL=no/such-model"], "--base-model no/such-model can't be loaded"),
        (["TRAIN=para20"], "lacks 1 files as they are here (paraphrased/para20.tsv …)"),
        (["TRAIN=para35"], "there is no slurm/train_para35.slurm; copy slurm/train_para20.slurm"),
        (["TRAIN=base"], "there is nothing to train"),
    ],
)
def test_preflight_names_the_fault_and_nothing_is_submitted(sent, words, complaint):
    if "TRAIN=para20" in words:
        (sent.clone / "output/paraphrased").mkdir(parents=True, exist_ok=True)
        (sent.clone / "output/paraphrased/para20.tsv").write_bytes(
            (sent.clone / "output/pairs/nopara.tsv").read_bytes()
        )
    sent.make("preflight", *words, fails=complaint)
    sent.make("train", *words, fails=complaint)
    assert sent.delta("squeue -h") == "" and not (sent.far / "logs/jobs.tsv").exists()


def test_what_is_missing_at_the_far_end_is_named(sent):
    (sent.far / "output/pairs/nopara.tsv").unlink()
    sent.make("train", fails="delta lacks 1 files as they are here (pairs/nopara.tsv …); run make sync-delta")
    sent.make("sync-delta")
    (sent.far / "data/chunks/doc07.txt").unlink()
    sent.make("apply", fails="delta lacks 1 files as they are here (doc07.txt …); run make sync-delta")
    sent.make("sync-delta")
    sent.make("apply", fails="no job is training it; run make train first")
    (sent.far / ".venv").unlink()
    sent.make("train", fails="environment: .venv/bin/python lacks torch or sentence-transformers; run make setup-delta")
    assert sent.delta("squeue -h") == ""


def test_a_missing_log_folder_is_made_again(sent):
    sent.delta("rm -rf logs")
    sent.make("train")
    sent.make("wait", "EVERY=1")
    assert trained(sent, "nopara") and list(sent.far.glob("logs/train_nopara-*.out"))
    assert "is complete already; nothing submitted" in sent.make("train")


def test_on_the_cluster_itself_the_same_targets_submit_directly(sent):
    with open(sent.far / "config.mk", "w") as config:
        config.write(sent.config.read_text() + "DELTA =\n")
    assert "nothing to send" in sent.delta("make sync-delta 2>&1")
    assert "submitted job" in sent.delta("make train 2>&1")
    sent.delta("make apply wait EVERY=1 2>&1")
    assert "6 decades, complete" in sent.delta("make status")
    assert "is here already" in sent.delta("make pull-embeddings 2>&1")
    record = json.loads((sent.far / "output/models/nopara/training.json").read_text())
    assert record["commit"]  # from the note that make sync-delta left: there is no git folder


def test_paraphrases_from_a_server_inside_the_job(sent, environment):
    """With a small HTTP server in place of vLLM, which needs a GPU: an edit of one line, as a user would make it."""
    sent.make("pairs", "TRAIN=para20")
    (sent.far / "output/pairs/para20.tsv").write_bytes((sent.clone / "output/pairs/para20.tsv").read_bytes())
    (sent.far / "openai_server.py").write_bytes((sent.clone / "tests/openai_server.py").read_bytes())
    file = sent.far / "slurm/paraphrase_local.slurm"
    edited = file.read_text().replace("para10", "para20")
    server = 'SERVER=(python3 openai_server.py "$PORT")'
    edited = "\n".join(server if line.startswith("SERVER=(") else line for line in edited.split("\n"))
    file.write_text(edited)
    job = sent.submit("slurm/paraphrase_local.slurm", "tiny")
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    rows = corpus.read_pairs(sent.far / "output/paraphrased/para20.tsv")
    assert len(rows) == len(corpus.read_pairs(sent.clone / "output/pairs/para20.tsv"))
    assert sent.delta("pgrep -f openai_server.py", check=False) == ""
    file.write_text(edited.replace(server, "SERVER=(false)"))
    job = sent.submit("slurm/paraphrase_local.slurm", "tiny")
    assert sent.until_ended(job) == "FAILED" and f"the server ended: see logs/server-{job}.out" in sent.log(job)

    # Told to stop, the generator lets the calls under way end: until then the server stays, and only then the job ends.
    file.write_text(edited)
    (sent.far / "synthetic_data_generator.py").write_text(
        """import os, signal, sys, time, urllib.request
def stop(*_):
    time.sleep(2)
    urllib.request.urlopen(os.environ["OPENAI_BASE_URL"] + "/models")
    print("the calls under way have ended", flush=True)
    os._exit(143)
signal.signal(signal.SIGTERM, stop)
print("asking", flush=True)
while not os.environ.get("SLURM_RESTART_COUNT"):
    time.sleep(0.1)
"""
    )
    job = sent.submit("slurm/paraphrase_local.slurm", "tiny")
    sent.until(lambda: "asking" in sent.log(job))
    sent.delta(f"scancel --batch --signal=USR1 {job}")
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    said = sent.log(job)
    assert 0 < said.find("the calls under way have ended") < said.find("goes on in a new run"), said
