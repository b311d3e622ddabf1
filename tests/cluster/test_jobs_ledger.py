"""What slurm/jobs.sh submits, remembers and says, with jobs whose work is a line of shell."""

import re
import subprocess
from contextlib import contextmanager

import pytest

TRAIN = "train nopara slurm/train_nopara.slurm"
APPLY = "apply nopara --array=190-192 slurm/apply_tuned.slurm -m output/models/nopara/final -o output/embeddings/nopara"
RECORD = "output/models/nopara/training.json"


@pytest.fixture
def light(sent):
    """Return a user whose job files run the scripts work/train and work/apply in place of Python."""
    (sent.far / "work").mkdir()
    for stage, name in (("train", "train_nopara"), ("apply", "apply_tuned")):
        file = sent.far / f"slurm/{name}.slurm"
        start = "run_to_the_end"
        instead = f'[ -n "${{SHOW_COMMAND:-}}" ] || exec bash -e work/{stage}\n{start}'
        file.write_text(file.read_text().replace(start, instead))
        (sent.far / "work" / stage).write_text("")
    return sent


def jobs(user, words, fails=None):
    """Run slurm/jobs.sh; return what it said. With `fails`, expect status 2 and this in what it said."""
    said = user.delta(f"timeout 60 bash slurm/jobs.sh {words} 2>&1; echo status $?")
    assert said.endswith("status 0" if fails is None else "status 2"), said
    assert fails is None or fails in said, said
    return said


def last_id(user):
    return (user.far / "logs/jobs.tsv").read_text().splitlines()[-1].split("\t")[3]


def settings(user, name, *lines, without):
    """Return the file of a copy of slurm.conf, without some lines and with others: another cluster, seen from here."""
    kept = [line for line in (user.rig / "slurm.conf").read_text().splitlines() if not re.match(without, line)]
    path = user.rig / name
    path.write_text("\n".join([*kept, *lines]) + "\n")
    return path


@contextmanager
def forgets_ended_jobs_at_once(user):
    """As after MinJobAge on Delta, 300 seconds; squeue then knows nothing of the array's tasks that have ended."""
    file = user.rig / "slurm.conf"
    before = file.read_text()
    try:
        file.write_text(before.replace("MinJobAge=300", "MinJobAge=2"))
        user.delta("scontrol reconfigure")
        yield
    finally:
        file.write_text(before)
        user.delta("scontrol reconfigure")


def test_wait_believes_neither_a_forgotten_failure_nor_one_that_was_mended(light):
    no_accounting = settings(light, "none.conf", "AccountingStorageType=accounting_storage/none", without="AccountingS")
    down = settings(light, "down.conf", "SlurmctldPort=1", "MessageTimeout=1", without="SlurmctldPort|AccountingS")
    train, apply = light.far / "work/train", light.far / "work/apply"
    record = f"mkdir -p output/models/nopara; touch {RECORD}\n"

    # A training that failed, then was finished by hand.
    train.write_text("exit 3\n")
    jobs(light, f"submit {TRAIN}")
    assert light.until_ended(last_id(light)) == "FAILED"
    light.make("wait", "EVERY=1", fails="FAILED")
    light.delta(record)
    light.make("wait", "EVERY=1")

    # One that failed and took its embeddings along, then a better one: what was cancelled before counts no more.
    light.delta(f"rm {RECORD}")
    jobs(light, f"submit {TRAIN.replace('slurm/', '--hold slurm/')}")
    failed = last_id(light)
    assert "after job" in jobs(light, f"submit {APPLY}")
    light.delta(f"scontrol release {failed}")
    light.until(lambda: light.state(last_id(light)) == "CANCELLED")
    light.make("wait", "EVERY=1", fails="CANCELLED")
    assert "folder logs was missing" not in jobs(light, "status nopara")
    train.write_text(record)
    jobs(light, f"submit {TRAIN}")
    light.make("wait", "EVERY=1")

    # A decade fails while others run on, and Slurm has forgotten it when they end.
    apply.write_text("[ $SLURM_ARRAY_TASK_ID != 190 ] || exit 3\nuntil [ -e go ]; do sleep 0.2; done\n")
    with forgets_ended_jobs_at_once(light):
        jobs(light, f"submit {APPLY}")
        array = last_id(light)
        light.until(lambda: light.delta(f"squeue -h -r -t all -j {array} -o %T") == "RUNNING\nRUNNING")
        said = light.delta(f"SLURM_CONF={down} timeout 60 bash slurm/jobs.sh state nopara 2>&1; echo status $?")
        assert "Slurm does not answer" in said and said.endswith("status 2"), said
        light.delta("touch go")
        # On a busy machine accounting may not know one of the completed tasks yet, of which squeue has forgotten all.
        said = light.make("wait", "EVERY=1", fails=f"apply job {array} COMPLETED")
        assert ",FAILED" in said
    without = f"SLURM_CONF={no_accounting} bash slurm/jobs.sh state nopara"
    assert f"{array}\tUNKNOWN" in light.delta(without)
    manifest = "output/embeddings/nopara/manifest.json"
    light.delta(f"mkdir -p output/embeddings/nopara; touch -d yesterday {manifest}")
    assert f"{array}\tUNKNOWN" in light.delta(without)
    light.delta(f"touch {manifest}")
    assert f"{array}\tCOMPLETED" in light.delta(without)


def test_a_stopped_task_goes_on_alone_though_slurm_is_slow_to_answer_and_overwrites_once(light):
    down = settings(light, "down.conf", "SlurmctldPort=1", "MessageTimeout=1", without="SlurmctldPort")
    conf = light.far / "work/slurm.conf"
    conf.symlink_to(light.rig / "slurm.conf")
    file = light.far / "slurm/job.sh"
    file.write_text(file.read_text().replace("PAUSE=10", "PAUSE=1"))
    (light.far / "work/step").write_text(
        """echo "$SLURM_ARRAY_TASK_ID $SLURM_RESTART_COUNT: $*" >> runs
        case $SLURM_ARRAY_TASK_ID:$SLURM_RESTART_COUNT in
          1:) until [ -e go ]; do sleep 0.2; done ;;
          2:) exit 75 ;;
          3:) ln -sfn down work/slurm.conf; exit 75 ;;
        esac"""
    )
    (light.far / "work/array.slurm").write_text(
        """#!/bin/bash
#SBATCH --account=bbiq-delta-gpu --array=1-3 --requeue --open-mode=append --output=logs/%x-%j.out --mem=1g
. slurm/job.sh
[ "$SLURM_ARRAY_TASK_ID" != 3 ] || export SLURM_CONF="$PWD/work/slurm.conf"
run_to_the_end bash work/step --overwrite -o "output/$SLURM_ARRAY_TASK_ID"
"""
    )
    light.delta(f"ln -sfn {down} work/down; mkdir -p output/2; touch output/2/training.json")
    job = light.submit("work/array.slurm")  # Slurm gives the array's own number to the last task
    light.until(lambda: "Unable to contact slurm controller" in light.log(job))
    light.delta(f"ln -sfn {light.rig}/slurm.conf work/slurm.conf")
    light.until(lambda: len((light.far / "runs").read_text().splitlines()) == 5)
    light.delta("touch go")
    assert light.until_ended(job) == "COMPLETED"
    runs = sorted((light.far / "runs").read_text().splitlines())
    assert runs == [
        "1 : --overwrite -o output/1",
        "2 1: --overwrite -o output/2",  # the earlier model was there still: stopped before it had begun
        "2 : --overwrite -o output/2",
        "3 1: -o output/3",
        "3 : --overwrite -o output/3",
    ]


def test_what_is_complete_is_told_by_the_command_that_would_run(light):
    (light.far / "work/train").write_text("sleep 60\n")
    light.delta(f"mkdir -p output/models/nopara; touch {RECORD}")
    assert "output/models/nopara is complete already; nothing submitted" in jobs(light, f"submit {TRAIN}")
    light.make("wait", "EVERY=1")  # what was made by hand is done, too
    for words in ("-o other", "--outputdir=other", "--overwrite"):
        assert "submitted job" in jobs(light, f"submit {TRAIN} {words}")
        jobs(light, "cancel nopara")
    file = light.far / "slurm/train_nopara.slurm"
    before = file.read_text()
    for old, new in (("FLAGS=()", "FLAGS=(--overwrite)"), ("MODEL=output/models/nopara", 'MODEL="my models/x"')):
        file.write_text(before.replace(old, new))
        assert "submitted job" in jobs(light, f"submit {TRAIN}")
        jobs(light, "cancel nopara")
    light.delta("mkdir -p 'my models/x'; touch 'my models/x/training.json'")
    assert "my models/x is complete already" in jobs(light, f"submit {TRAIN}")


def test_preflight_looks_at_model_and_chunk_files(light):
    light.delta(f"rm -r data/chunks; mkdir -p data/chunks output/models/nopara; touch {RECORD}")  # but no final
    said = jobs(light, f"preflight {APPLY}", fails="model: output/models/nopara/final is not there")
    assert "data/chunks has no chunk file of the 24 documents" in said


def test_one_at_a_time_and_none_unrecorded(light):
    held = TRAIN.replace("slurm/", "--hold slurm/")
    jobs(light, f"submit {held}")
    job = last_id(light)
    assert f"job {job} does this already" in jobs(light, f"submit {held}")
    jobs(light, f"submit {held} --epochs 3", fails=f"another train of nopara is under way (job {job}): make wait, or")

    # A colleague's job is not ours to cancel.
    light.rig.chmod(0o755)
    cancel = f"SLURM_CONF={light.rig}/slurm.conf bash slurm/jobs.sh cancel nopara 2>&1; echo status $?"
    said = light.delta(f"setpriv --reuid=nobody --inh-caps=-all bash -c '{cancel}'")
    assert said.endswith("status 2") and f"job {job}" in said and "no job of" not in said, said
    assert f"cancelled job {job}" in jobs(light, "cancel nopara")

    # The lock of a lost connection expires while another waits; a lock that can't be made is a fault.
    light.delta("mkdir logs/.submitting; touch -d '-118 seconds' logs/.submitting")
    assert "submitted job" in jobs(light, f"submit {held}")
    jobs(light, "cancel nopara")
    light.delta("mv logs .logs; touch logs")
    jobs(light, f"submit {held}", fails="logs/.submitting")
    light.delta("rm logs; mv .logs logs")

    # A signal while Slurm is slow to take the job.
    light.delta("rm logs/jobs.tsv")
    controller = (light.rig / "pid/slurmctld").read_text().strip()
    subprocess.run(["kill", "-STOP", controller], check=True)
    try:
        said = light.delta(
            f"bash slurm/jobs.sh submit {held} --seed 1 > said 2>&1 & pid=$!\n"
            "until pgrep -P $pid -x sbatch; do sleep 0.1; done\n"
            f"kill -HUP $pid; sleep 0.5; kill -CONT {controller}; wait $pid; cat said"
        )
    finally:
        subprocess.run(["kill", "-CONT", controller])
    assert light.delta("squeue -h -o %i") == last_id(light), said


def test_a_time_over_the_limit_is_seen_however_it_is_written(light):
    file = light.far / "slurm/train_nopara.slurm"
    words = "preflight train nopara {} slurm/train_nopara.slurm"
    for given in (
        "-t 72:00:00",
        "--time 3-0",
        "--time=10 -t4320",
        "-t UNLIMITED",
        "-p cpu-interactive,gpuA100x4 -t 3-0",
    ):
        jobs(light, words.format(given), fails="of partition")
    file.write_text(file.read_text().replace("##SBATCH --constraint", "#SBATCH -t 72:00:00\n##SBATCH --constraint"))
    jobs(light, words.format(""), fails="--time=3-00:00:00 is over the 2-00:00:00 of partition gpuA100x4")
    said = jobs(light, words.format("-p cpu-interactive,gpuA100x4 -t 2:0:0"), fails="--base-model")
    assert "ok     time 02:00:00" in said
