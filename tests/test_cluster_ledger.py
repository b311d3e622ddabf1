"""What state a job is in: cluster/ledger.py on what squeue and sacct of a real Slurm printed (22.05, tests/cluster)."""

import pytest

from cluster import ledger
from cluster.ledger import Snapshot, read_ledger, state_of, states
from cluster.place import Answer, answers
from script import InputError

RECORD = "output/models/nopara/training.json"
MANIFEST = "output/embeddings/nopara/manifest.json"
FORGOTTEN = Answer("slurm_load_jobs error: Invalid job id specified\n", 1)
DOWN = Answer("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", 1)
NO_ACCOUNTING = ""
ARRAY_RUNNING = """24_190|FAILED|0:00 of 30:00, NonZeroExitCode
24_191|RUNNING|0:12 of 30:00, None
24_192|RUNNING|0:12 of 30:00, None
"""
ARRAY_HALF_FORGOTTEN = """24_192|COMPLETED|0:14 of 30:00, None
24_191|COMPLETED|0:22 of 30:00, None
"""
ACCOUNTS = "24_190|FAILED\n24_191|COMPLETED\n24_192|COMPLETED\n"


def line(id_, stage="apply", time="2026-11-25T22:59:49Z", model="nopara", record=MANIFEST):
    return f"{time}\t{stage}\t{model}\t{id_}\troot\tslurm/x.slurm\t{record}\n"


def seen(text, queue="", accounts=NO_ACCOUNTING, files="") -> Snapshot:
    """Return the snapshot of a ledger, of what squeue and sacct printed, and of a list of files."""
    queue = queue if isinstance(queue, Answer) else Answer(queue, 0)
    given = {"now": "2026-11-25T23:10:00Z\n", "ledger": text, "accounts": accounts, "files": files}
    return ledger.snapshot({"queue": queue, **{name: Answer(said, 0) for name, said in given.items()}})


def state(*, id_="24", **given):
    snapshot = seen(line(id_), **given)
    return state_of(snapshot.jobs[0], snapshot)


def test_one_round_trip_is_divided_into_answers():
    said = "2026-11-25T23:10:00Z\n\x1enow 0\n\x1eledger 1\nslurm_load_jobs error: no line feed\x1equeue 1\n"
    assert answers(said) == {
        "now": Answer("2026-11-25T23:10:00Z\n", 0),
        "ledger": Answer("", 1),
        "queue": Answer("slurm_load_jobs error: no line feed", 1),
    }
    assert answers("") == {}


@pytest.mark.parametrize(
    ("queue", "accounts", "expected"),
    [
        (ARRAY_RUNNING, "24_190|FAILED\n24_191|RUNNING\n24_192|RUNNING\n", "FAILED,RUNNING×2"),
        (ARRAY_RUNNING, "24|PENDING\n", "FAILED,RUNNING×2"),  # accounting is late
        (ARRAY_HALF_FORGOTTEN, ACCOUNTS, "COMPLETED×2,FAILED"),
        (ARRAY_HALF_FORGOTTEN, "24_190|FAILED\n24_191|COMPLETED\n", "COMPLETED×2,FAILED"),
        (FORGOTTEN, ACCOUNTS, "COMPLETED×2,FAILED"),
        ("25|RUNNING|0:12 of 30:00, None\n", ACCOUNTS, "COMPLETED×2,FAILED"),  # forgotten beside another that is known
        ("24|PENDING|0:00 of 30:00, JobHeldUser\n", "24|PENDING\n", "PENDING"),
        ("24|CANCELLED|0:00 of 30:00, Dependency\n", "24|CANCELLED by 0\n", "CANCELLED"),
        ("24|CANCELLED|0:00 of 30:00, None\n", "24|REQUEUED\n", "CANCELLED"),  # accounting keeps the earlier run's end
        ("24|COMPLETED|0:09 of 30:00, None\n", "24|RUNNING\n", "COMPLETED"),
        ("24|REQUEUE_HOLD|0:00 of 30:00, None\n", ACCOUNTS, "REQUEUE_HOLD"),
        (DOWN, ACCOUNTS, "COMPLETED×2,FAILED"),  # the controller is away, its memory is not
        (FORGOTTEN, "24|COMPLETED\n", "COMPLETED"),
        (FORGOTTEN, "24|RUNNING\n", "UNKNOWN"),  # accounting has missed the end
        (FORGOTTEN, "24_190|RUNNING\n24_191|COMPLETED\n", "COMPLETED,UNKNOWN"),
        (FORGOTTEN, NO_ACCOUNTING, "UNKNOWN"),
        (ARRAY_HALF_FORGOTTEN, NO_ACCOUNTING, "UNKNOWN"),  # of the three tasks one is forgotten: it may have failed
        ("24_190|FAILED|0:00 of 30:00, NonZeroExitCode\n", NO_ACCOUNTING, "FAILED"),
    ],
)
def test_the_state_is_made_from_queue_and_accounting(queue, accounts, expected):
    assert state(queue=queue, accounts=accounts) == expected


def test_a_slurm_that_does_not_answer_is_no_state():
    with pytest.raises(InputError, match=r"Slurm does not answer \(slurm_load_jobs error: Unable to contact .*\); run"):
        state(queue=DOWN)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("1795647588", "FAILED"),  # 2026-11-25T22:59:48Z, a second before the job was submitted
        ("1795647589", "COMPLETED"),
        ("", "FAILED"),  # not there
    ],
)
def test_what_was_finished_by_hand_since_is_complete(changed, expected):
    files = f"{MANIFEST}\t{changed}\t/projects/x/{MANIFEST}\n"
    given = {"queue": "24|FAILED|0:00 of 30:00, NonZeroExitCode\n", "files": files}
    assert state(**given) == expected
    assert state(queue=FORGOTTEN, files=files) == expected.replace("FAILED", "UNKNOWN")
    assert state(queue="24|RUNNING|0:01 of 30:00, None\n", files=files) == "RUNNING"


def test_what_was_there_without_a_job_is_complete():
    files = f"{MANIFEST}\t1795647589\t/projects/x/{MANIFEST}\n"
    assert state(id_="-", files=files) == "COMPLETED"
    assert state(id_="-") == "UNKNOWN"


def test_of_each_stage_and_model_the_last_job_counts_trainings_first():
    text = line(1) + line(2, "train") + line(3, "train", model="base") + line(4) + line(5, "train") + "half a li"
    assert [job.id for job in read_ledger(text)] == ["3", "5", "4"]


def test_how_embeddings_ended_that_are_older_than_the_training_says_nothing():
    old, new = "2026-11-25T10:00:00Z", "2026-11-25T12:00:00Z"
    text = line(7, time=old) + line(8, "train", time=new, record=RECORD)
    failed, done = "7|CANCELLED|0:00 of 1:00, Dependency\n", "8|COMPLETED|0:01 of 1:00, None\n"
    accounts = "8|COMPLETED\n"

    def shown(*args, model="nopara"):
        return [(job.stage, job.id, state) for job, state in states(seen(*args), model)]

    assert shown(text, failed + done, accounts) == [("train", "8", "COMPLETED")]
    waiting = failed.replace("CANCELLED", "PENDING")
    assert shown(text, waiting + done, accounts) == [("train", "8", "COMPLETED"), ("apply", "7", "PENDING")]
    text = line(8, "train", time=old, record=RECORD) + line(7, time=new)
    assert shown(text, failed + done, accounts) == [("train", "8", "COMPLETED"), ("apply", "7", "CANCELLED")]
    other = line(7, time=old) + line(8, "train", time=new, model="para20")
    assert shown(other, failed + done, accounts) == [("apply", "7", "CANCELLED")]
    assert len(shown(other, failed + done, accounts, model="")) == 2


@pytest.mark.parametrize("line", ["7|RUNNING|0:12 of 1:00, None", "  7 RUNNING  0:12 of 1:00, None", "7 RUNNING"])
def test_a_job_is_seen_whichever_way_squeue_parts_its_columns(line):
    assert ledger.read_queue(f"JOBID STATE\n{line}\n\n")["7"].state == "RUNNING"
