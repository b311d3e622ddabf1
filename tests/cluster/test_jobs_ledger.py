"""What Slurm itself is needed to prove of submitting and of states, with jobs whose work is a line of shell."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from cluster import jobs
from cluster.jobs import Request
from cluster.place import Place
from script import InputError

TRAIN = ("train", "slurm/train_nopara.slurm", "--hold")
APPLY = ("apply", "slurm/apply_tuned.slurm", "--array=190-192")
FLAGS = ("-m", "output/models/nopara/final", "-o", "output/embeddings/nopara")
SUBMIT = """
import sys
from cluster import jobs
from cluster.place import Place
request = jobs.Request("train", "nopara", ("--hold",), "slurm/train_nopara.slurm", ())
command = jobs.Command(("TuneEmbeddings.py",), "", "output/models/nopara/training.json")
print(jobs.submit(Place(*sys.argv[1:]), request, command))
"""


@pytest.fixture
def light(sent):
    """Return a user whose job files run the scripts work/train and work/apply in place of Python."""
    (sent.far / "work").mkdir()
    for stage, name in (("train", "train_nopara"), ("apply", "apply_tuned")):
        file = sent.far / f"slurm/{name}.slurm"
        start = ". slurm/job.sh\n"
        instead = f'{start}run_to_the_end() {{ begin "$@"; exec bash -e work/{stage}; }}\n'
        file.write_text(file.read_text().replace(start, instead))
        (sent.far / "work" / stage).write_text("")
    return sent


def place(user) -> Place:
    return Place("delta", str(user.far), f"ssh -F {user.rig}/ssh_config")


def submit(user, stage, file, *sbatch, flags=()) -> str:
    """Submit a job as make does after its checks; return what it says."""
    request = Request(stage, "nopara", sbatch, file, flags)
    command = jobs.read_command(stage, place(user).run(["bash", "-c", jobs.show_command(request)]).text)
    return jobs.submit(place(user), request, command)


def ids(user) -> list[str]:
    return [line.split("\t")[3] for line in (user.far / "logs/jobs.tsv").read_text().splitlines()]


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


def test_wait_does_not_believe_a_failure_that_slurm_has_forgotten(light):
    """Which states follow from which answers: tests/test_cluster_ledger.py; here they come from a real Slurm."""
    no_accounting = settings(light, "none.conf", "AccountingStorageType=accounting_storage/none", without="AccountingS")
    down = settings(light, "down.conf", "SlurmctldPort=1", "MessageTimeout=1", without="SlurmctldPort|AccountingS")
    by_hand = "{} .venv/bin/python delta.py wait --train nopara --every 1 2>&1; true"
    (light.far / "work/apply").write_text(
        "[ $SLURM_ARRAY_TASK_ID != 190 ] || exit 3\nuntil [ -e go ]; do sleep 0.2; done\n"
    )
    with forgets_ended_jobs_at_once(light):
        assert "submitted job" in submit(light, *APPLY, flags=FLAGS)
        (array,) = ids(light)
        light.until(lambda: light.delta(f"squeue -h -r -t all -j {array} -o %T") == "RUNNING\nRUNNING")
        assert "Slurm does not answer" in light.delta(by_hand.format(f"SLURM_CONF={down}"))
        light.delta("touch go")
        # On a busy machine accounting may not know one of the completed tasks yet, of which squeue has forgotten all.
        said = light.make("wait", "EVERY=1", fails=f"apply job {array} COMPLETED")
        assert ",FAILED" in said
    without = by_hand.format(f"SLURM_CONF={no_accounting}")
    assert f"apply {array} UNKNOWN" in light.delta(without)
    manifest = "output/embeddings/nopara/manifest.json"
    light.delta(f"mkdir -p output/embeddings/nopara; touch -d yesterday {manifest}")
    assert f"apply {array} UNKNOWN" in light.delta(without)
    light.delta(f"touch {manifest}")
    assert f"apply {array} COMPLETED" in light.delta(without)


def test_a_stopped_task_goes_on_alone_though_slurm_is_slow_to_answer(light):
    down = settings(light, "down.conf", "SlurmctldPort=1", "MessageTimeout=1", without="SlurmctldPort")
    conf = light.far / "work/slurm.conf"
    conf.symlink_to(light.rig / "slurm.conf")
    file = light.far / "slurm/job.sh"
    file.write_text(file.read_text().replace("PAUSE=10", "PAUSE=1").replace("RESTARTS=20", "RESTARTS=1"))
    (light.far / "work/step").write_text(
        """echo "$SLURM_ARRAY_TASK_ID $SLURM_RESTART_COUNT: $*" >> runs
        case $SLURM_ARRAY_TASK_ID:$SLURM_RESTART_COUNT in
          1:) until [ -e go ]; do sleep 0.2; done ;;
          2:) exit 75 ;;
          3:) ln -sfn down work/slurm.conf; exit 75 ;;
          4:*) exit 75 ;;
        esac"""
    )
    (light.far / "work/array.slurm").write_text(
        """#!/bin/bash
#SBATCH --account=bbiq-delta-gpu --requeue --open-mode=append --output=logs/%x-%j.out --mem=1g
. slurm/job.sh
[ "$SLURM_ARRAY_TASK_ID" != 3 ] || export SLURM_CONF="$PWD/work/slurm.conf"
run_to_the_end bash work/step --overwrite -o "output/$SLURM_ARRAY_TASK_ID"
"""
    )
    light.delta(f"ln -sfn {down} work/down; mkdir -p output/2; touch output/2/training.json")
    bound = light.submit("--array=4 work/array.slurm")  # stopped again and again, it ends after RESTARTS
    job = light.submit("--array=1-3 work/array.slurm")  # Slurm gives the array's own number to the last task
    light.until(lambda: "Unable to contact slurm controller" in light.log(job))
    light.delta(f"ln -sfn {light.rig}/slurm.conf work/slurm.conf")
    light.until(lambda: len((light.far / "runs").read_text().splitlines()) == 7)
    light.delta("touch go")
    assert light.until_ended(job) == "COMPLETED"
    assert light.until_ended(bound) == "FAILED"
    assert "restarted 1 times: submit it again to go on" in light.log(bound)
    runs = sorted((light.far / "runs").read_text().splitlines())
    assert runs == [
        "1 : --overwrite -o output/1",
        "2 1: --overwrite -o output/2",  # TuneEmbeddings.py tells whether it has begun to overwrite
        "2 : --overwrite -o output/2",
        "3 1: --overwrite -o output/3",
        "3 : --overwrite -o output/3",
        "4 1: --overwrite -o output/4",
        "4 : --overwrite -o output/4",
    ]


def test_make_knows_a_job_that_was_submitted_by_hand_while_it_waits_and_runs_and_after(light):
    (light.far / "work/train").write_text("until [ -e go ]; do sleep 0.2; done\nexit 3\n")
    hand = light.submit("--hold slurm/train_nopara.slurm --epochs 3")
    assert f"job {hand}" in light.make("status")
    ledger = light.far / "logs/jobs.tsv"
    assert not ledger.exists()  # no line yet
    with pytest.raises(InputError, match=rf"another train of nopara is under way \(job {hand}\)"):
        submit(light, *TRAIN)
    assert f"after job {hand}" in submit(light, *APPLY, flags=FLAGS)
    (array,) = ids(light)
    light.make(
        "pull-model", fails=f"job {hand} is to make delta:{light.far}/output/models/nopara anew; make wait first"
    )
    light.delta(f"scontrol release {hand}")
    light.until(lambda: ids(light).count(hand) == 1)
    assert f"job {hand} does this already" in submit(light, *TRAIN[:2], flags=("--epochs", "3"))
    assert f"==> logs/train_nopara-{hand}.out" in light.make("logs")
    light.delta("touch go")
    assert light.until_ended(hand) == "FAILED"
    light.make("wait", "EVERY=1", fails=f"train job {hand} FAILED; apply job {array} CANCELLED")
    assert len(ids(light)) == 2  # its own line, and that of the embeddings, which have never started
    again = light.submit("--hold slurm/train_nopara.slurm")
    assert f"cancelled job {again} (train nopara)" in light.make("cancel")
    assert light.state(again) == "CANCELLED"


def test_two_at_once_submit_one_job(light):
    where = ["delta", str(light.far), f"ssh -F {light.rig}/ssh_config"]
    call = {"args": [sys.executable, "-c", SUBMIT, *where], "cwd": light.clone, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(**call) for _ in range(2)]
    said = [running.communicate(timeout=120)[0] for running in both]
    assert [running.returncode for running in both] == [0, 0], said
    assert sum("submitted job" in text and "nothing" not in text for text in said) == 1
    assert sum("does this already; nothing submitted" in text for text in said) == 1
    assert light.delta("squeue -h -o %j") == "train_nopara"
    assert len(ids(light)) == 1
    assert "cancelled job" in light.make("cancel")
    assert "no job of nopara" in light.make("cancel")


@pytest.mark.parametrize("over_ssh", [False, True])
def test_neither_signal_nor_broken_connection_comes_between_a_job_and_its_line(light, over_ssh):
    """Three attempts: on a busy machine sbatch may end before the signals come, and then they have proven nothing."""
    where = ["delta", str(light.far), f"ssh -F {light.rig}/ssh_config"] if over_ssh else ["", "."]
    slurm = {**os.environ, "SLURM_CONF": str(light.rig / "slurm.conf")}
    call = {"args": [sys.executable, "-c", SUBMIT, *where], "cwd": light.clone if over_ssh else light.far, "env": slurm}
    for _ in range(3):
        running, was_waiting = signalled_while_submitting(light, call, over_ssh)
        running.wait(60)
        job = light.until(lambda: (light.far / "logs/jobs.tsv").exists() and ids(light))[-1]
        light.until(lambda: not (light.far / jobs.LOCK).exists())
        assert light.delta("squeue -h -o %i") == job
        again = subprocess.run(**call, capture_output=True, text=True)
        assert f"job {job} does this already; nothing submitted" in again.stdout, again.stderr
        if was_waiting:
            return
        light.delta(f"scancel {job}; while squeue -h | grep -q .; do sleep 0.3; done")
    pytest.fail("sbatch never waited for Slurm long enough to be signalled")


def signalled_while_submitting(light, call, over_ssh):
    """Submit while Slurm is slow, and signal; return the process, and whether sbatch was still waiting after that."""
    controller = (light.rig / "pid/slurmctld").read_text().strip()
    waiting = f"^sbatch --parsable --hold {TRAIN[1]}"
    subprocess.run(["kill", "-STOP", controller], check=True)
    try:
        running = subprocess.Popen(**call)
        light.until(lambda: light.processes(waiting))
        for signal in ("-HUP", "-INT", "-TERM"):
            subprocess.run(["kill", signal, str(running.pid)], check=True)
        if over_ssh:
            light.end_sessions()
        time.sleep(0.5)
        return running, bool(light.processes(waiting))
    finally:
        subprocess.run(["kill", "-CONT", controller])
