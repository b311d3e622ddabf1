"""One run at a time in an output folder: who is kept out, who takes over, what is left behind."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lock
import script

ROOT = Path(__file__).resolve().parents[1]
HOLD = "import lock, sys, time\nwith lock.alone_in(*sys.argv[1:]):\n print('held', flush=True)\n time.sleep(60)"


@contextlib.contextmanager
def held_by_another(*words, **environment):
    """Run a process that holds a folder's lock; yield the process."""
    command, environment = [sys.executable, "-c", HOLD, *map(str, words)], os.environ | environment
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout.readline() == "held\n"
        yield running
        running.kill()


def refused(*words):
    """Return what a run in this folder is told, None if it may work."""
    try:
        with lock.alone_in(*words):
            return None
    except script.InputError as error:
        return str(error)


def test_a_second_run_is_told_who_works_there_and_the_folder_is_free_again_afterwards(tmp_path):
    with held_by_another(tmp_path / "out") as running:
        said = refused(tmp_path / "out")
        assert f"{tmp_path / 'out'} is in use by process {running.pid} on {socket.gethostname()} (since" in said
        running.terminate()
        running.wait()
        assert refused(tmp_path / "out") is None
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_run_that_is_told_to_end_gives_its_lock_back(tmp_path, number):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("these tests run under nohup, or in the background of a script")
    with held_by_another(tmp_path) as running:
        running.send_signal(number)
        assert running.wait(30) != 0
    assert not (tmp_path / ".lock").exists()


def test_a_run_under_nohup_outlives_its_terminal(tmp_path):
    words = ["nohup", sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "held\n"
        running.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert running.poll() is None
        running.kill()


def test_a_run_that_was_killed_leaves_a_lock_that_the_next_takes_over_with_a_line(tmp_path, caplog):
    with held_by_another(tmp_path) as running:
        pass
    assert (tmp_path / ".lock").exists() and refused(tmp_path) is None and not list(tmp_path.iterdir())
    assert f"taken over from process {running.pid} on" in caplog.text


KILLED = (
    "import lock, os, sys\nlink, end = os.link, lambda: os.kill(os.getpid(), 9)\n"
    "lock.os.link = lambda *of: ({})\nwith lock.alone_in(sys.argv[1]):\n pass"
)


@pytest.mark.parametrize("moment", ["end()", "link(*of), end()"], ids=["before its lock is there", "just after"])
def test_a_kill_while_a_lock_is_created_stops_nobody(tmp_path, moment):
    killed = subprocess.run([sys.executable, "-c", KILLED.format(moment), tmp_path], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL and list(tmp_path.iterdir())
    assert refused(tmp_path) is None and not list(tmp_path.iterdir())


def test_a_kill_while_a_lock_is_taken_over_stops_nobody_either(tmp_path):
    with held_by_another(tmp_path):
        pass
    (tmp_path / ".taking").write_bytes((tmp_path / ".lock").read_bytes())
    assert refused(tmp_path) is None and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_that_is_taking_over_right_now_is_waited_for_and_named(tmp_path):
    with held_by_another(tmp_path):
        pass
    (tmp_path / ".taking").write_text(json.dumps(lock.this_run()))
    assert f"{tmp_path / '.taking'} shows that another run" in refused(tmp_path) and (tmp_path / ".lock").exists()


def test_a_disk_without_links_has_locks_all_the_same(tmp_path, monkeypatch):
    def refuses(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT says it

    monkeypatch.setattr(lock.os, "link", refuses)
    with lock.alone_in(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert f"process {os.getpid()}" in refused(tmp_path)
    assert refused(tmp_path) is None and not list(tmp_path.iterdir())


def test_a_link_that_the_network_says_was_there_before_is_our_own(tmp_path, monkeypatch):
    def answers_late(beside, path, link=os.link):
        link(beside, path)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(lock.os, "link", answers_late)
    assert refused(tmp_path) is None and not list(tmp_path.iterdir())


def test_a_process_that_was_given_the_number_of_an_earlier_one_is_not_taken_for_it(tmp_path):
    with held_by_another(tmp_path):
        lock = json.loads((tmp_path / ".lock").read_text())
        if not lock["began"]:
            pytest.skip("this system does not tell when a process began")
        assert refused(tmp_path) is not None
        (tmp_path / ".lock").write_text(json.dumps(lock | {"began": "1"}))
        assert refused(tmp_path) is None


def lock_of(folder, **facts):
    """Write a lock of another host."""
    holder = {"host": "gpu7", "process": 1, "began": "5", "job": None, "restart": 0, "since": "2026-11-25 20:00:00"}
    (folder / ".lock").write_text(json.dumps(holder | facts))


@pytest.mark.slow
def test_a_lock_of_another_host_is_left_and_named_with_what_to_do(tmp_path):
    lock_of(tmp_path, job="42")
    before = (tmp_path / ".lock").read_bytes()
    said = refused(tmp_path)
    assert "process 1 on gpu7, job 42 (since 2026-11-25 20:00:00)" in said
    assert f"or delete {tmp_path / '.lock'} if that run is gone" in said
    assert (tmp_path / ".lock").read_bytes() == before
    (tmp_path / ".lock").write_text("")  # killed, on a disk without links, between creating and writing it
    assert "a run that left no name" in refused(tmp_path) and (tmp_path / ".lock").exists()


def test_a_requeued_job_takes_over_from_its_earlier_run_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    lock_of(tmp_path, job="42")
    assert "gpu7, job 42" in refused(tmp_path)  # another process of the same run of the job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    lock_of(tmp_path, job="41")
    assert "gpu7, job 41" in refused(tmp_path)
    lock_of(tmp_path, job="42")
    assert refused(tmp_path) is None and not (tmp_path / ".lock").exists()


INVALID = "slurm_load_jobs error: Invalid job id specified"
UNREACHABLE = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


@pytest.mark.parametrize(
    ("holder", "squeue", "is_taken_over"),
    [
        ({}, "echo OUT_OF_MEMORY", True),
        ({}, "true", True),  # no such task any more of an array whose others run
        ({}, f"echo {INVALID} >&2; exit 1", True),
        ({}, "echo RUNNING", False),
        ({}, "echo COMPLETING", False),
        ({}, "echo COMPLETED; echo RUNNING", False),
        ({}, "echo A_STATE_OF_THE_FUTURE", False),
        ({}, f"echo '{UNREACHABLE}' >&2; exit 1", False),
        ({"job": "42"}, "echo OUT_OF_MEMORY", False),  # this very job
        ({"job": None}, "true", False),
        ({"user": os.getuid() + 1}, "true", False),  # some clusters hide others' jobs
        ({"cluster": "campus"}, "true", False),
        ({"cluster": None}, "true", False),  # a shell that salloc opened
    ],
)
def test_the_lock_of_a_job_that_has_certainly_ended_is_taken_over(tmp_path, monkeypatch, holder, squeue, is_taken_over):
    """By a squeue that says what Slurm's says; test_jobs.py asks a real one."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/squeue").write_text(f"#!/bin/sh\n[ \"$*\" = '-h -t all -o %T -j 41_7' ] || exit 9\n{squeue}\n")
    (tmp_path / "bin/squeue").chmod(0o755)
    slurm = {"SLURM_JOB_ID": "42", "SLURM_CLUSTER_NAME": "delta", "SLURMD_NODENAME": "gpu8"}
    for name, value in {**slurm, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    lock_of(tmp_path, **({"job": "41_7", "cluster": "delta", "user": os.getuid()} | holder))
    assert (refused(tmp_path) is None) == is_taken_over
    assert (tmp_path / ".lock").exists() != is_taken_over


def test_a_lock_names_the_array_task_and_no_cluster_outside_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "delta")
    monkeypatch.setenv("SLURM_JOB_ID", "50")
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    assert lock.this_run()["cluster"] is None and lock.this_run()["job"] == "50"
    for name, value in {"SLURMD_NODENAME": "n", "SLURM_ARRAY_JOB_ID": "47", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    assert lock.this_run()["cluster"] == "delta" and lock.this_run()["job"] == "47_3"


def test_tasks_of_an_array_work_on_parts_at_once_and_nobody_on_the_whole(tmp_path):
    with held_by_another(tmp_path, "1790") as first, lock.alone_in(tmp_path, 1800, 1810, 1810):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock-1790", ".lock-1800", ".lock-1810"]
        assert f"process {first.pid}" in refused(tmp_path, 1780, 1790)
        assert f"process {first.pid}" in refused(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock-1790", ".lock-1800", ".lock-1810"]
    with held_by_another(tmp_path) as whole:
        assert f"process {whole.pid}" in refused(tmp_path, 1790)
    assert refused(tmp_path, 1790) is None and not list(tmp_path.iterdir())


def test_a_termination_gives_the_folder_back(tmp_path):
    with held_by_another(tmp_path) as running:
        running.terminate()
        running.wait()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_of_many_that_find_a_stale_lock_one_takes_over(tmp_path):
    code = (
        "import lock, sys, time\ntime.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "with lock.alone_in(sys.argv[1]):\n print('held', flush=True)\n time.sleep(2.5)"
    )
    for _ in range(2):
        with held_by_another(tmp_path):
            pass
        begin = str(time.time() + 1.5)
        command = [sys.executable, "-c", code, str(tmp_path), begin]
        running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                   for _ in range(8)]  # fmt: skip
        assert [process.communicate()[0] for process in running].count("held\n") == 1
    assert not list(tmp_path.iterdir())


def test_one_process_of_several_locks(tmp_path, monkeypatch):
    with lock.alone_in(tmp_path):
        monkeypatch.setenv("RANK", "1")
        assert refused(tmp_path) is None and (tmp_path / ".lock").exists()
        monkeypatch.delenv("RANK")


@pytest.mark.parametrize("inner", ["", "final"], ids=["the folder itself", "a folder in it"])
def test_a_change_of_place_that_a_kill_cut_in_two_is_undone_by_the_next_run(tmp_path, monkeypatch, inner):
    folder = tmp_path / "model"
    target, staged = folder / inner, tmp_path / "staged"
    for made, text in ((target, "old"), (staged, "new")):
        made.mkdir(parents=True)
        (made / "weights").write_text(text)
    monkeypatch.setattr(Path, "rename", dies_at_the_second(Path.rename))
    with pytest.raises(KeyboardInterrupt):
        script.take_place(staged, target)
    monkeypatch.undo()
    assert not target.exists()
    with lock.alone_in(folder):
        assert (target / "weights").read_text() == "old"
    script.take_place(staged, target)
    assert (target / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.rglob("*.replaced")] == []


def dies_at_the_second(rename):
    calls = []

    def renamed(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    return renamed


@pytest.mark.parametrize("has_links", [True, False], ids=["just after it is linked", "while it is written in place"])
def test_a_signal_while_a_lock_is_written_leaves_none(tmp_path, monkeypatch, has_links):
    def linked(beside, path, link=os.link):
        if not has_links:
            raise PermissionError
        link(beside, path)
        raise KeyboardInterrupt(15)

    def interrupted(*_, **__):
        raise KeyboardInterrupt(15)

    monkeypatch.setattr(lock.os, "link", linked)
    monkeypatch.setattr(lock, "open", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt), lock.holding(tmp_path / lock.LOCK):
        pass
    assert list(tmp_path.iterdir()) == []
