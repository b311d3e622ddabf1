"""Jobs on a real Slurm: submitted by make and by hand, stopped in every way, and what is left then."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import corpus
import script

LONG = "--epochs 160 --save-steps 40"  # 640 steps, eight seconds or more on a core


def begin(user, model, *flags, script=LONG):
    """Submit a training by hand, under a name of its own: jobs of one name wait for each other."""
    words = [*flags, f"--job-name={model}", "slurm/train_nopara.slurm", f"-o output/models/{model}"]
    settings = f"--base-model {user.encoder} --batch-size 8 --eval-fraction 0.4 --device cpu {script}"
    return user.submit(*words, settings)


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
    assert user.steps(model) == record["steps"] == 640
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
    left = [(name, step) for name in ways for step in (40, 160)]

    def can_be_stopped(name, step):
        """Tell whether the job has gone on since it was last stopped, and has got to this step."""
        stops = 2 - sum(other == name for other, _ in left)
        return sent.log(jobs[name]).count("going on from") == stops and sent.checkpoint(name, step)

    while left:
        name, step = sent.until(lambda: next((one for one in left if can_be_stopped(*one)), None))
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
    twice = LONG.replace("160", "320")  # on a busy machine, this test has come too late to a training of 640 steps
    # The signal comes within the second minute: a busy machine may take half a minute to begin.
    job = begin(sent, "limit", "--time=00:03:00", "--signal=USR1@90", script=twice)
    sent.until(lambda: sent.checkpoint("limit", 40))
    # Slurm looks at limits every 30 s only. Until it sends its signal, the training waits, however fast it is.
    (pid,) = sent.training("limit")
    os.kill(pid, signal.SIGSTOP)
    sent.until(lambda: "stopped by SIGUSR1 after step" in sent.log(job) or usr1_is_pending(pid), 240)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)  # some versions of Slurm send it with the signal
    sent.until(lambda: "stopped by SIGUSR1 after step" in sent.log(job))
    # One stop is enough: on a busy machine the training would be stopped again and again.
    sent.delta(f"scontrol update jobid={job} timelimit=20")
    assert sent.until_ended(job, 400) == "COMPLETED", sent.log(job)
    assert sent.steps("limit") == 1280
    assert "goes on in a new run" in sent.log(job) and "going on from output/models" in sent.log(job)


def usr1_is_pending(pid):
    """Tell whether a process that is stopped has been sent USR1."""
    status = Path(f"/proc/{pid}/status")
    mask = re.search(r"ShdPnd:\s*(\w+)", status.read_text())[1] if status.exists() else "0"
    return int(mask, 16) & 1 << (signal.SIGUSR1 - 1)


def test_one_flag_trains_on_several_gpus_and_a_signal_loses_nothing(sent):
    job = begin(sent, "two", "--gpus-per-node=2", script="--epochs 60 --save-steps 15")
    sent.until(lambda: sent.checkpoint("two", 45))
    sent.delta(f"scancel --signal=USR1 {job}")
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    record = script.read_json(sent.far / "output/models/two/training.json")
    assert record["processes"] == 2 and record["steps"] == 60 * (record["counts"]["training_pairs"] // 8)
    assert "going on from output/models" in sent.log(job)


def test_a_job_goes_on_after_preemption_and_on_a_node_that_was_lost_from_its_last_checkpoint(sent, reference):
    job = begin(sent, "cheap", "--partition=gpuA100x4-preempt")
    sent.until(lambda: sent.checkpoint("cheap", 40))
    wants_all = "--partition=gpuA100x4 --gpus-per-node=4 --account=bbiq-delta-gpu --output=/dev/null"
    other = sent.submit(f"{wants_all} --wrap 'sleep 1'")
    assert sent.until_ended(other) == "COMPLETED"
    assert "stopped by SIGTERM after step" in sent.log(job)
    sent.until(lambda: sent.checkpoint("cheap", 160))
    sent.delta(f"pkill -KILL -f 'slurmstepd: .{job}[.]|models/[c]heap'; true")
    sent.delta('scontrol update nodename="$(hostname -s)" state=down reason=test')
    sent.until(lambda: sent.state(job) == "PENDING")
    # It may be back already, where slurmd has reported.
    sent.delta('scontrol update nodename="$(hostname -s)" state=resume; true')
    assert sent.until_ended(job) == "COMPLETED", sent.log(job)
    assert sent.log(job).count("going on from output/models/cheap/checkpoint-") == 2
    assert_same(sent, "cheap", reference)


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
    edited = edited.replace("YEARS=()", "YEARS=(-s 1905 -e 1920)").replace("logs/%x-%j.out", "logs/%x-%A_%a.out")
    edited = edited.replace("##SBATCH --array=1-4", "#SBATCH --array=0-1")
    file.write_text(edited)
    # Parts of two documents, and time to be stopped in the second of the three.
    module, slow = sent.far / "embedding.py", "        __import__('time').sleep(3)\n        cut_before ="
    code = module.read_text().replace("PART = 50_000", "PART = 24").replace("        cut_before =", slow)
    module.write_text(code)
    job = sent.submit("slurm/apply_tuned.slurm", "--device", "cpu")
    folder = sent.far / "output/embeddings/my own"
    sent.until(lambda: list(folder.glob("decades/1910-*.part")))
    sent.delta(f"scancel --signal=USR1 {job}")
    assert sent.until_ended(job) == "COMPLETED"
    log = sent.log(f"{job}_1")
    assert "--shard 2/2" in log and "ended with status 138" in log and "goes on in a new run" in log, log
    assert "decade 1910: a part of 24 passages is there already" in log and not list(folder.glob(".lock*")), log
    assert not list(folder.glob("decades/*-*")) and corpus.read_manifest(folder)["passages"] == 72
    assert sorted(path.name for path in folder.glob("*.parquet")) == ["1900.parquet", "1910.parquet"]
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


def test_a_second_model_of_the_same_pairs_has_jobs_and_folders_of_its_own(sent):
    both = ("nopara", "nopara+timeline")
    for name in both:
        assert "submitted job" in sent.make("train", f"TRAIN={name}")
    assert "after job" in sent.make("apply", "TRAIN=nopara+timeline")
    for name in both:
        sent.make("wait", "EVERY=1", f"TRAIN={name}")
        sent.make("pull-model", f"TRAIN={name}")
        assert list(sent.far.glob(f"logs/train_{name}-[0-9]*.out"))
    sent.make("pull-embeddings", "TRAIN=nopara+timeline")
    recipes = [json.loads((sent.clone / f"output/models/{name}/recipe.json").read_text()) for name in both]
    assert [recipe["recombine"] for recipe in recipes] == [0, 1]
    assert (sent.clone / "output/embeddings/nopara+timeline/manifest.json").exists()
    said = sent.make("status")
    assert "models/nopara: complete" in said and "models/nopara+timeline: complete" in said
    assert "is complete already; nothing submitted" in sent.make("train", "TRAIN=nopara+timeline")
    # By hand, its vectors don't go into the other model's folder.
    job = sent.submit(
        "slurm/apply_tuned.slurm", "-m", "output/models/nopara/final", "-o", "output/embeddings/nopara+timeline"
    )
    assert sent.until_ended(job) == "FAILED" and "is named for another model" in sent.log(job)


def test_submitted_from_another_folder_is_one_sentence(sent):
    sent.delta("cd slurm && mkdir -p logs")
    job = sent.delta("cd slurm && sbatch --parsable train_nopara.slurm")
    assert sent.until_ended(job) == "FAILED"
    log = (sent.far / f"slurm/logs/train_nopara-{job}.out").read_text()
    assert "cd to the project's folder, then sbatch slurm/train_nopara.slurm" in log


def test_preflight_names_the_fault_and_nothing_is_submitted(sent):
    complaints = {
        "DELTA_ACCOUNT=nobody": "account 'nobody'",
        "TRAIN_SBATCH=--time=72:00:00": "--time=3-00:00:00 is over the 2-00:00:00 of partition gpuA100x4",
    }
    for words, complaint in complaints.items():
        sent.make("preflight", words, fails=complaint)
        sent.make("train", words, fails=complaint)
    sent.make("train", "BASE_MODEL=no/such-model", fails="--base-model no/such-model can't be loaded")
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


def test_on_the_cluster_itself_the_same_targets_submit_directly(sent):
    """By make and without it; for the base model, which is embedded there and brought here, too."""
    with open(sent.far / "config.mk", "w") as config:
        config.write(sent.config.read_text() + "DELTA =\n")
    assert "nothing to send" in sent.delta("make sync-delta 2>&1")
    assert "submitted job" in sent.delta("make train TRAIN_SBATCH=--hold 2>&1")
    by_hand = '. slurm/environment.sh && "$PYTHON" delta.py'
    assert "PENDING for 0:00 of 8:00:00, JobHeldUser" in sent.delta(f"{by_hand} status")
    assert "cancelled job" in sent.delta(f"{by_hand} cancel --train nopara")
    years = "-s 1910 -e 1930"
    flags = f"-m {sent.encoder} -o output/embeddings/base {years} --device cpu"
    assert "submitted job" in sent.delta(f"{by_hand} apply --train base {years} -- {flags} 2>&1")
    sent.delta("make wait TRAIN=base EVERY=1 2>&1")
    assert "2 decades, complete" in sent.delta("make status")
    assert "is here already" in sent.delta("make pull-embeddings TRAIN=base 2>&1")
    record = json.loads((sent.far / "output/embeddings/base/manifest.json").read_text())
    assert record["commit"]  # from the note that make sync-delta left: there is no git folder
    sent.make("pull-embeddings", "TRAIN=base")
    assert (sent.clone / "output/embeddings/base/manifest.json").exists()


# A task that is killed as it works, as one out of memory is. Its node is another's: all of the rig's have one name.
KILLED = """import os, signal, socket
socket.gethostname = lambda: "another"
import lock
task = os.environ["SLURM_ARRAY_TASK_ID"]
with lock.alone_in("out", task):
    os.kill(os.getpid(), signal.SIGKILL) if task == "1" else signal.pause()
"""


def test_the_lock_of_a_job_that_was_killed_on_another_node_stops_no_job_and_that_of_a_running_one_does(sent):
    def submit(name, code, *flags):
        (sent.far / f"{name}.py").write_text(code)
        return sent.submit(f"-o logs/{name}-%A_%a.out", *flags, f"--wrap='{sys.executable} {name}.py'")

    array = submit("killed", KILLED, "--array=1-2")
    sent.until(lambda: (sent.far / "out/.lock-2").exists() and sent.state(f"{array}_1") == "FAILED")
    assert script.read_json(sent.far / "out/.lock-1")["job"] == f"{array}_1"
    for part, state in (("1", "COMPLETED"), ("2", "FAILED")):
        job = submit(
            f"follows{part}", f"import lock\nwith lock.alone_in('out', '{part}'): print('follows', flush=True)"
        )
        assert sent.until_ended(job) == state
        said = "".join(path.read_text() for path in sent.far.glob(f"logs/follows{part}-*"))
        assert f"on another, job {array}_{part} (since" in said, said
        assert ("follows\n" in said) == (state == "COMPLETED"), said
    assert [path.name for path in (sent.far / "out").glob(".lock*")] == [".lock-2"]


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
    own = 'for pid in $(pgrep -f openai_server.py); do [ "$(readlink /proc/$pid/cwd)" != "$PWD" ] || echo $pid; done'
    assert sent.delta(own, check=False) == ""
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

    # Stopped before the server answers, the job goes on in a new run, too.
    late = """bash -c '[ -n "$SLURM_RESTART_COUNT" ] || exec sleep 300; exec python3 openai_server.py $0' "$PORT" """
    file.write_text(edited.replace(server, f"SERVER=({late})"))
    job = sent.submit("slurm/paraphrase_local.slurm", "tiny")
    sent.until(lambda: "waiting for the server" in sent.log(job))
    sent.delta(f"scancel --batch --signal=USR1 {job}")
    assert sent.until_ended(job) == "COMPLETED" and "goes on in a new run" in sent.log(job), sent.log(job)
