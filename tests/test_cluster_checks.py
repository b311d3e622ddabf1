"""What is checked before a job is submitted: cluster/checks.py on what Slurm 22.05 (tests/cluster) and df printed."""

import subprocess
from pathlib import Path

import pytest

from cluster import checks
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
        ({}, "Requested node configuration is not available"),  # --gpus-per-node=5
        ({}, "Invalid feature specification"),  # --constraint=nowhere
    ],
)
def test_what_slurm_refuses_is_told_with_account_and_partition(changed, reason):
    used = {"account": "bbiq-delta-gpu", "partition": "gpuA100x4"} | changed
    (text,) = faults(sbatch=sbatch_said(f"allocation failure: {reason}", **changed), status=1)
    assert text == (
        f"Slurm refuses the job with account '{used['account']}' and partition '{used['partition']}' "
        f"(allocation failure: {reason}); set DELTA_ACCOUNT (`accounts` lists yours) or DELTA_PARTITION, or edit "
        "slurm/train_nopara.slurm"
    )


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
        f"--time={asked} is over the {limit} of partition {partition}; ask for less, a stopped job goes on by itself"
    )
    assert found == ([expected] if limit else [])


def test_a_time_that_is_not_asked_for_is_the_partitions():
    said = sbatch_said().replace("sbatch: time                : 08:00:00\n", "")
    assert Finding(True, "time by default of the partition") in checks.findings(REQUEST, facts(sbatch=said))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("0:30", 1), ("90", 90), ("90:30", 91), ("01:30:00", 90), ("01:30:01", 91), ("3-0", 4320), ("1-02", 1560)]
    + [("1-02:03", 1563), ("1-02:03:04", 1564), ("", 0), ("UNLIMITED", checks.ENDLESS), ("INFINITE", checks.ENDLESS)],
)
def test_every_way_to_write_a_time_is_read(text, minutes):
    assert checks.minutes(text) == minutes


def test_environment_disk_and_job_file_are_judged():
    none = Answer(".venv/bin/python\nbash: line 9: .venv/bin/python: No such file or directory\n", 127)
    lacks = "environment: .venv/bin/python lacks torch or sentence-transformers; run make setup-delta"
    assert faults(python=none) == [lacks]
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
    texts = {"now": "", "ledger": ledger, "queue": queue, "accounts": "", "files": names}
    answers = {name: Answer(text, 0) for name, text in texts.items()}
    answers |= {"checked": Answer("12:00:02 24 documents\n", 0), "model": Answer("", 0 if is_there else 1)}
    request = Request("apply", model, (), "slurm/apply_tuned.slurm", ())
    found = checks.check_inputs(request, APPLYING, answers)
    assert found[0] == Finding(True, "24 documents") and found[1].line().startswith(expected)
