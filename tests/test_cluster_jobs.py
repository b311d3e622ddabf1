"""What is submitted, shown, cancelled: cluster/jobs.py and follow.py on recorded text, or in a folder without Slurm."""

import os
import shlex
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import follow, jobs, ledger
from cluster.jobs import Command, Request, next_step, read_command
from cluster.ledger import Snapshot
from cluster.place import Answer, Place
from cluster.send import Corpus
from script import InputError

ROOT = Path(__file__).resolve().parents[1]
RECORD = "output/models/nopara/training.json"
MODEL = "output/models/nopara/final"
TRAIN = Request("train", "nopara", (), "slurm/train_nopara.slurm", ())
APPLY = Request("apply", "nopara", ("--array=190-192%8",), "slurm/apply_tuned.slurm", ("--device", "cpu"))
TRAINING = Command(("TuneEmbeddings.py", "-o", "output/models/nopara"), "", RECORD)
APPLYING = Command(("Apply_Tuned_Model.py", "-m", MODEL), MODEL, "output/embeddings/nopara/manifest.json")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Place:
    """Return a folder with the job files, on this machine, which has no modules."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    environment = tmp_path / "slurm/environment.sh"
    environment.write_text(environment.read_text().replace('MODULES="pytorch-conda/2.12"', 'MODULES=""'))
    (tmp_path / "logs").mkdir()
    monkeypatch.chdir(tmp_path)
    return Place("", ".")


def command_of(place, request) -> Command:
    return read_command(request.stage, place.run(["bash", "-c", jobs.show_command(request)]).text)


def files(*names, there=()) -> dict[str, ledger.File]:
    return {name: ledger.File(1 if name in there else None, f"/projects/x/{name}") for name in names}


def snapshot(text="", queue="", accounts="", found=None) -> Snapshot:
    said = {"now": "2026-11-25T23:10:00Z\n", "ledger": text, "queue": queue, "accounts": accounts, "files": ""}
    seen = ledger.snapshot({name: Answer(answer, 0) for name, answer in said.items()})
    seen.files.update(found or {})
    return seen


def line(id_, words, stage="train", record=RECORD):
    return f"2026-11-25T22:59:49Z\t{stage}\tnopara\t{id_}\troot\t{words}\t{record}\n"


# ---------------------------------------------------------------- what is submitted


@pytest.mark.parametrize(
    ("stage", "flags", "model", "record"),
    [
        ("train", [], "", RECORD),
        ("train", ["-o", "other"], "", "other/training.json"),
        ("train", ["--outputdir=my models/x"], "", "my models/x/training.json"),
        ("train", ["--outputdir", "a", "-o", "b"], "", "b/training.json"),
        ("apply", [], "output/models/para10/final", "output/embeddings/para10/manifest.json"),
        ("apply", ["-m", "x/final", "-o", "y"], "x/final", "y/manifest.json"),
        ("apply", ["--modelpath=x/final", "--outputpath=y"], "x/final", "y/manifest.json"),
    ],
)
def test_the_job_file_tells_what_it_would_run(folder, stage, flags, model, record):
    file = {"train": "slurm/train_nopara.slurm", "apply": "slurm/apply_tuned.slurm"}[stage]
    command = command_of(folder, Request(stage, "nopara", (), file, tuple(flags)))
    script = {"train": "TuneEmbeddings.py", "apply": "Apply_Tuned_Model.py"}[stage]
    assert command.words[0] == script and command.words[len(command.words) - len(flags) :] == tuple(flags)
    assert (command.model, command.record) == (model, record)


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("base", "there is nothing to train"),
        ("para35", "there is no slurm/train_para35.slurm; copy slurm/train_para20.sl"),
    ],
)
def test_a_training_that_cannot_be_is_named(folder, model, complaint):
    with pytest.raises(InputError, match=complaint):
        jobs.requested("train", model, jobs.Queue(), [], Corpus("metadata.tsv", "chunks"))


def test_what_is_complete_is_told_by_the_command_that_would_run(folder):
    def told(request=TRAIN, there=(RECORD,)):
        command = command_of(folder, request)
        return next_step(request, command, snapshot(found=files(command.record, there=there))).told

    assert told() == "output/models/nopara is complete already; nothing submitted"
    assert told(there=()) == "submitted job {id} (train nopara)"
    adjusts = replace(command_of(folder, TRAIN), adjusts=True)  # another --centre for a finished model
    assert "submitted job" in next_step(TRAIN, adjusts, snapshot(found=files(adjusts.record, there=(RECORD,)))).told
    for flags in (["-o", "other"], ["--outputdir=other"], ["--overwrite"]):
        assert "submitted job" in told(Request("train", "nopara", (), TRAIN.file, tuple(flags)))
    file = Path(TRAIN.file)
    before = file.read_text()
    for old, new in (("FLAGS=()", "FLAGS=(--overwrite)"), ("MODEL=output/models/nopara", 'MODEL="my models/x"')):
        file.write_text(before.replace(old, new))
        assert "submitted job" in told()
    assert told(there=("my models/x/training.json",)) == "my models/x is complete already; nothing submitted"


def test_what_was_made_by_hand_is_noted_and_counts_as_done(folder):
    record = Path(RECORD)
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    os.utime(record, (1e9, 1e9))
    for _ in range(2):  # the second time the ledger knows it
        said = jobs.submit(folder, TRAIN, command_of(folder, TRAIN))
        assert said == "output/models/nopara is complete already; nothing submitted"
        noted = Path("logs/jobs.tsv").read_text().splitlines()
        assert len(noted) == 1 and noted[0].split("\t")[1:4] == ["train", "nopara", "-"]
    assert time.time() - record.stat().st_mtime < 60  # newer than any job that left it undone
    seen, _ = follow.look(folder)
    assert [state for _, state in ledger.states(seen, "nopara")] == ["COMPLETED"]
    follow.wait(folder, "nopara", every=1)
    assert not Path(jobs.LOCK).exists()


def test_another_job_of_the_same_kind_is_not_submitted_beside_one_under_way():
    queue = "8|RUNNING|0:12 of 30:00, None\n"
    words = "slurm/train_nopara.slurm TuneEmbeddings.py -o output/models/nopara"
    step = next_step(TRAIN, TRAINING, snapshot(line(8, words), queue))
    assert step == jobs.Step({}, "job 8 does this already; nothing submitted")
    bash_quotes = line(8, words.replace("Tune", r"\Tune") + " ")  # as written by earlier versions
    assert next_step(TRAIN, TRAINING, snapshot(bash_quotes, queue)).told == step.told
    for other in (f"{words} --epochs 3", f"--hold {words}", "it's"):
        with pytest.raises(
            InputError, match=r"another train of nopara is under way \(job 8\): make wait, or make canc"
        ):
            next_step(TRAIN, TRAINING, snapshot(line(8, other), queue))
    ended = snapshot(line(8, words), "8|FAILED|0:12 of 30:00, None\n")
    assert next_step(TRAIN, TRAINING, ended).told == "submitted job {id} (train nopara)"


def test_embeddings_wait_for_the_training_under_way_that_makes_their_model():
    queue = "8|RUNNING|0:12 of 30:00, None\n"
    found = files(MODEL, RECORD, "other/training.json", "other/final")

    def step(**given):
        return next_step(APPLY, APPLYING, snapshot(**({"queue": queue, "found": found} | given)))

    waits = step(text=line(8, "x"))
    assert waits.told == "submitted job {id} (apply nopara, after job 8)"
    flags = ["--array=190-192%8", "--dependency=afterok:8", "--kill-on-invalid-dep=yes", APPLY.file, "--device", "cpu"]
    assert shlex.join(["sbatch", "--parsable", *flags]) in waits.scripts["submitted"]
    for alone in (
        step(text=line(8, "x"), queue="8|COMPLETED|0:12 of 30:00, None\n", accounts="8|COMPLETED\n"),
        step(text=line(8, "x", record="other/training.json")),
        step(),
    ):
        assert alone.told == "submitted job {id} (apply nopara)" and "afterok" not in alone.scripts["submitted"]
    linked = found | {"other/final": ledger.File(1, f"/projects/x/{MODEL}")}
    assert "after job 8" in step(text=line(8, "x", record="other/training.json"), found=linked).told


def test_the_ledgers_line_is_one_line_whatever_the_words(folder):
    request = Request("train", "nopara", ("--comment=two words,\ta tab\nand 'quotes'",), TRAIN.file, ())
    words = jobs.ledger_text([*request.sbatch, request.file])
    note = jobs.note(request, TRAINING, "2026-11-25T23:10:00Z", words, id_="$id")
    folder.run(["bash", "-c", f"id=17; {note}"])
    text = Path("logs/jobs.tsv").read_text()
    (job,) = ledger.read_ledger(text)
    assert text.count("\n") == 1 and (job.id, job.stage, job.record) == ("17", "train", RECORD)
    assert jobs.same_words(job.words, words)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ({"submitted": Answer("17\n", 0), "noted": Answer("", 0)}, "submitted job 17 (train nopara)"),
        (
            {"submitted": Answer("sbatch: Charging account bbiq\n17\n", 0), "noted": Answer("", 0)},
            "sbatch: Charging account bbiq\nsubmitted job 17 (train nopara)",
        ),
        (
            {"submitted": Answer("sbatch: error: Batch job submission failed: Invalid account\n", 1)},
            InputError(
                r"sbatch refused slurm/train_nopara.slurm \(sbatch: error: .* Invalid account\); make preflight"
            ),
        ),
        (
            {"submitted": Answer("17\n", 0), "noted": Answer("bash: logs/jobs.tsv: No space left on device\n", 1)},
            InputError("job 17 was cancelled, for logs/jobs.tsv cannot be written: make room on its disk"),
        ),
        ({"keep": Answer("", 1)}, InputError("was taken over by somebody else's submission: run the same command")),
    ],
)
def test_what_came_of_a_submission_is_told(done, expected):
    step = next_step(TRAIN, TRAINING, snapshot())
    done = {"keep": Answer("", 0)} | done
    if isinstance(expected, InputError):
        with pytest.raises(InputError, match=str(expected)):
            jobs.outcome(TRAIN, step, done)
    else:
        assert jobs.outcome(TRAIN, step, done) == expected


# ---------------------------------------------------------------- the lock


def test_the_lock_of_a_lost_connection_expires_while_another_waits(folder, monkeypatch):
    monkeypatch.setattr(jobs, "PAUSE", 0.2)
    lock = Path(jobs.LOCK)
    lock.mkdir()
    os.utime(lock, (time.time() - 119, time.time() - 119))
    mark, _ = jobs.take_lock(folder, TRAINING)
    assert (
        lock.is_dir() and mark.split()[1] == str(int(lock.stat().st_mtime)) and time.time() - lock.stat().st_mtime < 9
    )
    monkeypatch.setattr(jobs, "TRIES", 2)
    with pytest.raises(
        InputError, match=r"logs/.submitting has been there for .* seconds: delete it if nobody is submitting"
    ):
        jobs.take_lock(folder, TRAINING)


def test_a_lock_that_cannot_be_made_is_a_fault(folder):
    Path("logs").rmdir()
    Path("logs").write_text("")
    with pytest.raises(InputError, match=r"logs/.submitting.*Not a directory: check the folder logs and the disk in"):
        jobs.submit(folder, TRAIN, TRAINING)


def test_nothing_is_submitted_once_another_has_the_lock(folder, monkeypatch):
    """As when this machine slept between look and submission, until its lock had expired."""
    take_lock = jobs.take_lock
    monkeypatch.setattr(jobs, "take_lock", lambda *words: ("1 1", take_lock(*words)[1]))
    with pytest.raises(InputError, match="taken over"):
        jobs.submit(folder, TRAIN, TRAINING)
    assert Path(jobs.LOCK).is_dir() and not Path("logs/jobs.tsv").exists()


def test_a_refused_job_is_not_noted_and_the_lock_is_free_again(folder, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", "/dev/null")
    with pytest.raises(InputError, match="sbatch refused slurm/train_nopara.slurm"):
        jobs.submit(folder, TRAIN, TRAINING)
    assert not Path("logs/jobs.tsv").exists() and not Path(jobs.LOCK).exists()


def test_another_folder_than_the_projects_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path}: the project is not there yet; cd to the project's folder"):
        follow.status(Place("", "."))


# ---------------------------------------------------------------- following


def test_failures_are_named_by_job():
    def failures(*states):
        names = zip(ledger.read_ledger(line(8, "x") + line(9, "x", "apply")), states)
        return follow.failures(list(names))

    assert failures("COMPLETED", "COMPLETED×3") == []
    assert failures("FAILED", "COMPLETED×2,FAILED") == ["train job 8 FAILED", "apply job 9 COMPLETED×2,FAILED"]
    assert failures("UNKNOWN", "CANCELLED") == ["train job 8 UNKNOWN", "apply job 9 CANCELLED"]


def test_status_shows_what_waits_and_why():
    queue = """24_190|FAILED|0:00 of 30:00, NonZeroExitCode
24_191|RUNNING|0:12 of 30:00, None
24_192|RUNNING|0:12 of 30:00, None
24_193|PENDING|0:00 of 30:00, JobArrayTaskLimit
"""
    seen = snapshot(line(24, "x", "apply"), queue)
    (job,) = seen.jobs
    assert follow.job_lines(job, "FAILED,PENDING,RUNNING×2", seen, "logs/apply_tuned-24_191.out: 3 of 9") == [
        "apply  nopara   job 24        FAILED,PENDING,RUNNING×2",
        "         2 × RUNNING for 0:12 of 30:00, None",
        "         1 × PENDING for 0:00 of 30:00, JobArrayTaskLimit",
        "         logs/apply_tuned-24_191.out: 3 of 9",
    ]
    assert follow.job_lines(job, "CANCELLED", snapshot(), "")[1:] == []
    assert follow.job_lines(job, "FAILED", snapshot(), "")[1:] == [
        "         no log: the folder logs was missing when it started"
    ]


def test_status_in_a_folder_shows_logs_and_products(folder):
    assert follow.status(folder) == ["no job was submitted by make here yet"]
    Path("logs/jobs.tsv").write_text(line("-", "x") + line("-", "x", "apply"))
    for name in ("models/my own/training.json", "embeddings/a b/manifest.json", "embeddings/a b/decades/1900.json"):
        Path("output", name).parent.mkdir(parents=True, exist_ok=True)
        Path("output", name).write_text("{}")
    Path("output/embeddings/half/decades").mkdir(parents=True)
    Path("logs/train_nopara--.out").write_bytes(b"old\n 1%|#\r 9%|####\r\xff99%|####" + b"x" * 200 + b"\n\n")
    lines = follow.status(folder)
    assert lines[0] == "train  nopara   job -         UNKNOWN"
    assert lines[1].startswith("         logs/train_nopara--.out: \N{REPLACEMENT CHARACTER}99%|####xx")
    assert len(lines[1].partition(": ")[2]) == 110
    assert lines[-3:] == [
        "model  output/models/my own: complete",
        "embeddings output/embeddings/a b: 1 decades, complete",
        "embeddings output/embeddings/half: 0 decades, not complete",
    ]


def test_logs_of_an_array_are_told_from_those_of_other_jobs(folder, capsys):
    names = ["logs/apply-24_191.out", "logs/apply-24_190.out", "logs/apply-124_1.out", "logs/train-24.out"]
    (job,) = ledger.read_ledger(line(24, "x", "apply"))
    assert follow.logs_of(job, "\n".join([*names, "logs/x-240.out", "logs/server-24.outs"])) == [*names[:2], names[3]]
    with pytest.raises(InputError, match="no log of nopara yet: make status tells whether its job waits"):
        follow.show_logs(folder, "nopara", follow=False)
    Path("logs/jobs.tsv").write_text(line("-", "x"))
    Path("logs/train_nopara--.out").write_text("".join(f"{i}\r" for i in range(50)) + "the end\n")
    follow.show_logs(folder, "nopara", follow=False)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "==> logs/train_nopara--.out" and said[-1] == "the end" and len(said) == 26


def test_a_colleagues_job_is_not_said_to_be_cancelled(folder, capsys):
    found = ledger.read_ledger(line(22, "x") + line(24, "x", "apply"))
    denied = Answer("scancel: error: Kill job error on job id 22: Access/permission denied\n", 210)
    over = Answer("scancel: error: Kill job error on job id 24: Job/step already completing or completed\n", 1)
    done, left = follow.cancelled(found, [denied, over])
    assert done == ["cancelled job 24 (apply nopara)"]
    assert left.startswith(
        "job 22 (train nopara) was not cancelled (scancel: error: Kill job error on job id 22: Access/"
    )
    assert follow.cancelled(found, [Answer("", 0), Answer("", 0)])[0][0] == "cancelled job 22 (train nopara)"
    follow.cancel(folder, "nopara")
    assert capsys.readouterr().out == "no job of nopara is waiting or running\n"
