"""What is checked before a job is submitted: cluster/checks.py on what Slurm 22.05 (tests/cluster) and df printed."""

import os
import subprocess
from pathlib import Path

import pytest

from cluster import checks, cost
from cluster.checks import Finding
from cluster.jobs import Command, Request
from cluster.place import Answer

ROOT = Path(__file__).resolve().parents[1]
REQUEST = Request("train", "nopara", (), "slurm/train_nopara.slurm", ())
APPLY = Request("apply", "nopara", (), "slurm/apply_tuned.slurm", ())
MODEL = "output/models/nopara/final"
APPLYING = Command(("Apply_Tuned_Model.py", "-m", MODEL), MODEL, "output/embeddings/nopara/manifest.json")
ACCEPTED = "Job 1 to start at 2026-11-25T22:46:09 using 16 processors on nodes vm in partition gpuA100x4"
PARTITIONS = """\
PartitionName=cpu AllowGroups=ALL Default=YES DefaultTime=00:30:00 MaxNodes=UNLIMITED MaxTime=2-00:00:00 MinNodes=0
PartitionName=gpuA100x4 AllowGroups=ALL Default=NO QoS=N/A DefaultTime=00:30:00 MaxTime=2-00:00:00 MinNodes=0 State=UP
PartitionName=cpu-interactive AllowGroups=ALL Default=NO DefaultTime=00:30:00 MaxTime=00:30:00 MinNodes=0 State=UP
PartitionName=endless AllowGroups=ALL Default=NO DefaultTime=NONE MaxTime=UNLIMITED MinNodes=0 State=UP
"""
NODES = "cpu|idle\ngpuA100x4|mixed\ngpuA100x4|allocated\n"
PYTHON = Answer(".venv/bin/python\n", 0)
DISK = """/projects/bbiq/novelty
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda         264212084 25459260  80931652      24% /
"""


def sbatch_said(outcome=ACCEPTED, account="bbiq-delta-gpu", partition="gpuA100x4", time="08:00:00"):
    """Return what sbatch --test-only -v prints."""
    return f"""sbatch: defined options
sbatch: -------------------- --------------------
sbatch: account             : {account}
sbatch: cpus-per-task       : 16
sbatch: partition           : {partition}
sbatch: signal              : USR1@300
sbatch: test-only           : set
sbatch: time                : {time}
sbatch: verbose             : 1
sbatch: -------------------- --------------------
sbatch: end of defined options
sbatch: select/cons_tres: common_init: select/cons_tres loaded
{outcome}

"""


def facts(sbatch=None, status=0, **given):
    """Return the answers of the first round trip."""
    answers = {
        "host": Answer("dt-login03\n", 0),
        "sbatch": Answer(sbatch or sbatch_said(), status),
        "partitions": Answer(PARTITIONS, 0),
        "nodes": Answer(NODES, 0),
        "environment": Answer("", 0),
        "variables": Answer("", 1),
        "python": PYTHON,
        "disk": Answer(DISK, 0),
        "command": Answer("python\nTuneEmbeddings.py\n", 0),
    }
    return answers | given


def faults(**given):
    return [finding.text for finding in checks.findings(REQUEST, facts(**given)) if not finding.well]


def test_what_is_well_is_said():
    assert [finding.line() for finding in checks.findings(REQUEST, facts())] == [
        "ok     account bbiq-delta-gpu, partition gpuA100x4",
        "ok     time 08:00:00",
        "ok     environment .venv/bin/python",
        "ok     disk: 77 GB free (df does not show a group's quota: see the command `quota`)",
    ]
    assert Finding(False, "why").line() == "FAULT  why"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"account": "nobody"}, "Invalid account or account/partition combination specified"),
        ({"partition": "gpuB200"}, "Invalid partition name specified"),
        ({}, "Invalid feature specification"),  # --constraint=nowhere
    ],
)
def test_what_slurm_refuses_is_told_with_account_and_partition(changed, reason):
    used = {"account": "bbiq-delta-gpu", "partition": "gpuA100x4"} | changed
    (text,) = faults(sbatch=sbatch_said(f"allocation failure: {reason}", **changed), status=1)
    assert text == (
        f"Slurm refuses the job: {reason} (account '{used['account']}', partition '{used['partition']}'); set "
        "DELTA_ACCOUNT (`accounts` lists yours) or DELTA_PARTITION, or edit slurm/train_nopara.slurm"
    )


UP = "MinNodes=0 State=UP"
FULL = "allocation failure: Requested node configuration is not available"


@pytest.mark.parametrize(
    ("state", "nodes", "reason", "expected"),
    [
        ("UP", NODES, FULL, "FAULT  no node of partition gpuA100x4 has what the job asks for; ask for fewer GPUs"),
        (
            "UP",
            NODES.replace("mixed", "drained"),
            FULL,
            "ok     1 of the 2 nodes of partition gpuA100x4 are drained or",
        ),
        (
            "UP",
            "gpuA100x4|down*\n",
            FULL,
            "ok     1 of the 1 nodes of partition gpuA100x4 are drained or down: the job",
        ),
        ("UP", "cpu|drained\ngpuA100x4|idle\n", FULL, "FAULT  no node of partition gpuA100x4 has what the job asks"),
        ("DOWN", NODES, FULL, "ok     partition gpuA100x4 is down: the job will wait until it is up again"),
        (
            "DRAIN",
            NODES,
            FULL,
            "FAULT  partition gpuA100x4 takes no jobs now (its state is DRAIN); set DELTA_PARTITION",
        ),
        (
            "INACTIVE",
            NODES,
            "allocation failure: Required partition not available (inactive or drain)",
            "FAULT  partition gpuA100x4 takes no jobs now (its state is INACTIVE)",
        ),
    ],
)
def test_nodes_that_are_away_a_partition_and_a_request_that_never_fits_are_told_apart(state, nodes, reason, expected):
    """sbatch --test-only says the same of all; sbatch queues the job where nodes are away or a partition is down."""
    partitions = Answer(PARTITIONS.replace(UP, f"MinNodes=0 State={state}", 1), 0)
    given = facts(sbatch=sbatch_said(reason), status=1, partitions=partitions, nodes=Answer(nodes, 0))
    line = checks.findings(REQUEST, given)[0].line()
    assert line.startswith(expected) and "account" not in line.lower()


# So sbatch -v prints the time, whether it was given as -t 72:00:00, --time 3-0, --time=10 -t4320, or in the job file.
@pytest.mark.parametrize(
    ("partition", "asked", "limit"),
    [
        ("gpuA100x4", "3-00:00:00", "2-00:00:00"),
        ("gpuA100x4", "UNLIMITED", "2-00:00:00"),
        ("gpuA100x4", "2-00:01:00", "2-00:00:00"),
        ("gpuA100x4", "2-00:00:00", None),
        ("gpuA100x4", "01:31:00", None),
        ("cpu-interactive", "01:30:00", "00:30:00"),
        ("cpu-interactive,gpuA100x4", "3-00:00:00", "2-00:00:00"),
        ("cpu-interactive,gpuA100x4", "02:00:00", None),  # one of them takes it
        ("cpu-interactive,endless", "3-00:00:00", None),
        ("", "3-00:00:00", "2-00:00:00"),  # the cluster's default
        ("unknown", "3-00:00:00", None),
        ("gpuA100x4", "", None),
    ],
)
def test_a_time_over_the_limit_of_every_partition_is_seen(partition, asked, limit):
    found = faults(sbatch=sbatch_said(partition=partition, time=asked))
    expected = (
        f"--time={asked} is over the {limit} of partition {partition}; ask for less: a training that is stopped "
        "goes on by itself"
    )
    assert found == ([expected] if limit else [])
    for finding in checks.findings(APPLY, facts(sbatch=sbatch_said(partition=partition, time=asked))):
        assert finding.well or "an embedding job that is stopped goes on by itself" in finding.text


def test_a_time_that_is_not_asked_for_is_the_partitions():
    said = sbatch_said().replace("sbatch: time                : 08:00:00\n", "")
    assert Finding(True, "time by default of the partition") in checks.findings(REQUEST, facts(sbatch=said))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("0:30", 1), ("90", 90), ("90:30", 91), ("01:30:00", 90), ("01:30:01", 91), ("3-0", 4320), ("1-02", 1560)]
    + [("1-02:03", 1563), ("1-02:03:04", 1564), ("", 0), ("UNLIMITED", cost.ENDLESS), ("INFINITE", cost.ENDLESS)],
)
def test_every_way_to_write_a_time_is_read(text, minutes):
    assert cost.minutes(text) == minutes


def test_environment_disk_and_job_file_are_judged():
    none = Answer(".venv/bin/python\nbash: line 9: .venv/bin/python: No such file or directory\n", 127)
    lacks = "environment: .venv/bin/python lacks torch or sentence-transformers; run make setup-delta"
    assert faults(python=none) == [lacks]
    no_modules = 'slurm/environment.sh: there are no modules on dt-login03; set MODULES="" in that file'
    assert faults(environment=Answer(f"a banner\n{no_modules}\n", 2), python=none) == [f"environment: {no_modules}"]
    assert faults(environment=Answer("", 1)) == ["environment: slurm/environment.sh fails"]
    variables = Answer("SBATCH_ACCOUNT=abcd\nSBATCH_TIMELIMIT=10\n", 0)
    overrides = "in your environment here overrides the job file: unset it"
    assert faults(variables=variables) == [f"SBATCH_ACCOUNT=abcd {overrides}", f"SBATCH_TIMELIMIT=10 {overrides}"]
    (full,) = faults(disk=Answer(DISK.replace("80931652", "10000000"), 0))
    assert full.startswith("disk: 9 GB free in /projects/bbiq/novelty, 10 are needed; delete old models")
    assert faults(disk=Answer("df: .: Stale file handle\n", 1)) == [
        "disk: df does not answer (df: .: Stale file handle)"
    ]
    broken = Answer("slurm/train_nopara.slurm: line 30: syntax error\n", 2)
    assert faults(command=broken) == ["slurm/train_nopara.slurm: slurm/train_nopara.slurm: line 30: syntax error"]
    nowhere = Answer("bash: line 5: sbatch: command not found\n", 127)
    assert faults(sbatch=nowhere.text, status=127) == ["no sbatch on dt-login03: DELTA has to name a login node"]


def test_the_scripts_are_sound_and_find_what_there_is(tmp_path):
    (tmp_path / "slurm").mkdir()
    scripts = checks.facts(Request("train", "a b", ("--comment=it's",), "slurm/a b.slurm", ("-o", "c d")))
    scripts |= checks.inputs(APPLY, APPLYING) | checks.inputs(Request("apply", "base", (), "x", ()), APPLYING)
    for script in scripts.values():
        subprocess.run(["bash", "-n", "-c", script], check=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "SBATCH_ACCOUNT": "abcd",
        "SBATCH_PARTITION": "",
        "PYTHON": "/usr/bin/false",
    }

    def said(name):
        words = ["bash", "-c", scripts[name]]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return Answer(done.stdout, done.returncode)

    assert said("file").status == 1 and said("variables").text == "SBATCH_ACCOUNT=abcd\n"
    assert checks.check_room(said("disk").text, 10).text.startswith("disk: ")
    assert said("python") == Answer("/usr/bin/false\n", 1)


def test_the_scripts_own_look_is_told_in_its_last_line():
    well = "12:00:01 settings: a=1\n12:00:02 24 documents, 288 passages, as asked for\n12:00:01 settings: b=2\n"
    assert checks.check_script(Answer(well, 0)) == Finding(True, "24 documents, 288 passages, as asked for")
    refused = "12:00:01 settings: a=1\nApply_Tuned_Model.py: data/chunks has no chunk file of the 24 documents.\n"
    assert checks.check_script(Answer(refused, 2)).line().endswith("data/chunks has no chunk file of the 24 documents.")


@pytest.mark.parametrize(
    ("model", "is_there", "queue", "expected"),
    [
        ("nopara", True, "", "ok     model output/models/nopara/final"),
        ("nopara", False, "8|RUNNING|0:12 of 30:00, None\n", "ok     model: job 8 is training it; this job waits for"),
        ("nopara", True, "8|RUNNING|0:12 of 30:00, None\n", "ok     model: job 8 is training it; this job waits for"),
        (
            "nopara",
            False,
            "8|FAILED|0:12 of 30:00, None\n",
            "FAULT  model: output/models/nopara/final is not there and no",
        ),
        (
            "nopara",
            False,
            "",
            "FAULT  model: output/models/nopara/final is not there and no job is training it; run make",
        ),
        ("base", True, "", "ok     model output/models/nopara/final"),
        ("base", False, "", "FAULT  model: output/models/nopara/final cannot be loaded; run make setup-delta, which"),
    ],
)
def test_the_model_is_there_or_on_its_way(model, is_there, queue, expected):
    record = "output/models/nopara/training.json"
    ledger = f"2026-11-25T22:59:49Z\ttrain\tnopara\t8\troot\tx\t{record}\n" if queue else ""
    names = "".join(f"{name}\t\t/projects/x/{name}\n" for name in (record, MODEL))
    texts = {"now": "", "locks": "", "ledger": ledger, "queue": queue, "accounts": "", "files": names}
    answers = {name: Answer(text, 0) for name, text in texts.items()}
    answers |= {"checked": Answer("12:00:02 24 documents\n", 0), "model": Answer("", 0 if is_there else 1)}
    request = Request("apply", model, (), "slurm/apply_tuned.slurm", ())
    found = checks.check_inputs(request, APPLYING, answers)
    assert found[0] == Finding(True, "24 documents") and found[1].line().startswith(expected)


HOLDER = '{"host": "gpua001", "process": 12, "began": "9", "job": JOB, "restart": 0, "since": "2026-11-25 22:59:49"}'


@pytest.mark.parametrize(
    ("state", "holder", "expected"),
    [
        ("RUNNING", HOLDER.replace("JOB", '"8"'), []),  # submission finds it by its ledger
        (
            "",
            HOLDER.replace("JOB", '"8"'),
            ["process 12 on gpua001, job 8 (since 2026-11-25 22:59:49), which has ended"],
        ),
        (
            "TIMEOUT",
            HOLDER.replace("JOB", '"8"'),
            ["job 8 (since 2026-11-25 22:59:49), which has ended: delete FOLDER/"],
        ),
        ("", HOLDER.replace("JOB", "null"), ["process 12 on gpua001 (since 2026-11-25 22:59:49), if that run is gone"]),
        ("", HOLDER.replace("JOB", '"8"').replace("{", f'{{"cluster": "d", "user": {os.getuid()}, '), []),
        (
            "",
            HOLDER.replace("JOB", '"8"').replace("{", f'{{"cluster": "d", "user": {os.getuid() + 1}, '),
            ["which has ended: delete FOLDER/"],
        ),
        ("", "", ["a run that left no name, if that run is gone: delete FOLDER/"]),
        ("", "[1]", ["a run that left no name, if that run is gone: delete FOLDER/"]),
    ],
)
def test_a_lock_that_a_killed_job_left_on_another_host_is_told(tmp_path, state, holder, expected):
    """By the very script that looks for locks, with a squeue that knows one job."""
    folder = tmp_path / "a model's"
    folder.mkdir()
    (folder / "manifest.json").write_text("")
    (folder / ".lock-1790").write_text(f"{holder}\n" if holder else "")
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\n[ \"$*\" = '-h -j 8 -o %T' ] && echo {state}\n")
    squeue.chmod(0o755)
    command = Command(("Apply_Tuned_Model.py",), "", f"{folder}/manifest.json")
    words = ["bash", "-c", checks.inputs(REQUEST, command)["locks"]]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found = [finding.text for finding in checks.check_locks(done.stdout)]
    assert len(found) == len(expected)
    for text, part in zip(found, expected):
        assert part.replace("FOLDER", str(folder)) in text and text.endswith("/.lock-1790 there")


# ---------------------------------------------------------------- what it runs, and what it costs


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            "gpus-per-node=1 cpus-per-task=16 mem=58G time=08:00:00",
            "8 charge units a run (1 GPU × 8 h × 1 on gpuA100x4)",
        ),
        ("gpus-per-node=4 time=30", "2 charge units a run (4 GPUs × 0.5 h × 1 on gpuA100x4)"),
        ("gres=gpu:a100:2 nodes=2 time=1:00:00", "4 charge units a run (4 GPUs × 1 h"),
        ("gpus=3 time=1:00:00", "3 charge units a run (3 GPUs × 1 h"),
        (
            "gpus-per-node=1 array=1-24%8 time=02:00:00",
            "48 charge units a run (24 tasks × 1 GPU × 2 h × 1 on gpuA100x4)",
        ),
        ("gpus-per-node=1 array=1,3-5,10-20:5 time=01:00:00", "7 charge units a run (7 tasks × 1 GPU"),
        (
            "gpus-per-node=1 cpus-per-task=32 time=1:00:00",
            "2 charge units a run (2 GPUs' share of cores or memory × 1 h",
        ),
        ("gpus-per-node=1 mem=125000M time=1:00:00", "2.1 charge units a run (2.1 GPUs' share of cores or memory"),
        (
            "partition=gpuA40x4-preempt gpus-per-node=1 time=4:00:00",
            "1 charge units a run (1 GPU × 4 h × 0.25 on gpuA40x4",
        ),
        ("partition=gpuH200x8 gpus-per-node=1 cpus-per-task=12 time=1:00:00", "3 charge units a run"),
        (
            "partition=gpuA40x4,gpuA100x8 gpus-per-node=1 time=1:00:00",
            "1.5 charge units a run (1 GPU × 1 h × 1.5 on gpuA1",
        ),
        ("partition=IllinoisComputes-GPU gres=gpu:A100:1 time=1-0", "24 GPU hours a run (1 GPU × 24 h)"),
        ("gpus-per-node=1 time=UNLIMITED", "as long as it runs: it has no time limit"),
        ("partition=cpu cpus-per-task=8 time=1:00:00", "no GPU hours"),
    ],
)
def test_the_most_that_a_job_costs(flags, expected):
    """As sbatch -v lists the flags in force; factors, cores and memory are those of Delta's documents."""
    given = {"partition": "gpuA100x4"} | dict(flag.split("=") for flag in flags.split())
    said = "".join(f"sbatch: {name:<20}: {value}\n" for name, value in given.items())
    assert expected in cost.most(said, given.get("time", ""))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--epochs 7 --resume --epochs 500", ["--epochs is given 2 times; 500 counts, not 7"]),
        ("--epochs=7 -x --epochs=9 --epochs 500", ["--epochs is given 3 times; 500 counts, not 7, 9"]),
        ("-o a --outputdir=b --outputpath c", ["-o is given 3 times; c counts, not a, b"]),
        ("--epochs 7 --epochs 7 --resume --resume", []),
        ("-s -50 -e 10 --year 1 2 --dtype float16", []),
        ("-s -50 --startyear -40", ["-s is given 2 times; -40 counts, not -50"]),
    ],
)
def test_flags_given_twice_are_named(words, expected):
    assert cost.repeated(("TuneEmbeddings.py", *words.split())) == expected


def test_what_a_job_runs_and_costs_is_shown_before_it_is_submitted(capsys):
    words = ("Apply_Tuned_Model.py", "-m", "a b", "--dtype", "float16", "--dtype", "float32")
    said = sbatch_said(time="02:00:00").replace("sbatch: cpus", "sbatch: gpus-per-node       : 1\nsbatch: cpus")
    checks.show_effect(Command(words, "a b", "x"), facts(sbatch=said))
    by_default = said.replace("sbatch: time                : 02:00:00\n", "")
    checks.show_effect(Command(words[:3], "a b", "x"), facts(sbatch=by_default))
    assert capsys.readouterr().out.splitlines() == [
        "runs   Apply_Tuned_Model.py -m 'a b' --dtype float16 --dtype float32",
        "NOTE   --dtype is given 2 times; float32 counts, not float16",
        "costs  at most 2 charge units a run (1 GPU × 2 h × 1 on gpuA100x4); an account with less left keeps it "
        "waiting (QOSGrpBillingMinutes)",
        "runs   Apply_Tuned_Model.py -m 'a b'",
        "costs  at most 0.5 charge units a run (1 GPU × 0.5 h × 1 on gpuA100x4); an account with less left keeps it "
        "waiting (QOSGrpBillingMinutes)",
    ]
