"""What is submitted, shown, cancelled: cluster/jobs.py and follow.py on recorded text, or in a folder without Slurm."""

import os
import re
import shlex
import shutil
import subprocess
import time
from calendar import timegm
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import fetch, follow, jobs, ledger
from cluster.jobs import Command, Request, next_step, read_command
from cluster.ledger import Snapshot
from cluster.place import Answer, Place
from cluster.send import Corpus
from script import InputError

ROOT = Path(__file__).resolve().parents[1]
RECORD = "output/models/nopara/training.json"
MODEL = "output/models/nopara/final"
TRAIN = Request("train", "nopara", (), "slurm/train_nopara.slurm", ())
APPLY = Request("apply", "nopara", ("--array=1-3",), "slurm/apply_tuned.slurm", ("--device", "cpu"))
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
    flags = ["--array=1-3", "--dependency=afterok:8", "--kill-on-invalid-dep=yes", APPLY.file, "--device", "cpu"]
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
            InputError(r"sbatch refused slurm/train_nopara.slurm: Batch job submission failed: Invalid account\.$"),
        ),
        (
            {"submitted": Answer("17\n", 0), "noted": Answer("bash: logs/jobs.tsv: No space left on device\n", 1)},
            InputError("job 17 was cancelled, for logs/jobs.tsv cannot be written: make room on its disk"),
        ),
        (
            {
                "submitted": Answer(
                    "sbatch: error: QOSMaxSubmit\nsbatch: error: Batch job failed: policy\nToo many.\n", 1
                )
            },
            InputError(r"sbatch refused .*: QOSMaxSubmit; Batch job failed: policy; Too many\.$"),
        ),
        (
            {"submitted": Answer("Welcome!\nhave fun\n", 0), "noted": Answer("", 0)},
            InputError(r"sbatch gave no job id \(have fun\): make status shows whether the job is there\.$"),
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


BANNER = """
-----------------------------------
   Welcome to 2 clusters, since 2009
-----------------------------------
--> Verifying valid submit host (login4)...OK"""


@pytest.mark.parametrize(
    "said",
    ["519605", "519605;delta", f"{BANNER}\n519605", f"519605;delta\n{BANNER}\n", "Submitted batch job 519605"]
    + [f"{BANNER}\nSubmitted batch job 519605 on cluster delta\nHave fun!", "  519605  \nCharging 2009 hours"],
)
def test_the_jobs_id_is_found_whatever_else_a_sites_sbatch_prints(folder, monkeypatch, said):
    program(monkeypatch, "sbatch", f"cat <<'EOF'\n{said}\nEOF\n")
    assert jobs.submit(folder, TRAIN, TRAINING) == "submitted job 519605 (train nopara)"
    (job,) = ledger.read_ledger(Path("logs/jobs.tsv").read_text())
    assert (job.id, job.stage, job.record) == ("519605", "train", RECORD)


def program(monkeypatch, name, script):
    """Put a program of this name before all others."""
    Path("bin").mkdir(exist_ok=True)
    Path("bin", name).write_text(f"#!/bin/bash\n{script}")
    Path("bin", name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').resolve()}:{os.environ['PATH']}")


# ---------------------------------------------------------------- jobs submitted by hand


def run_job(*words, **variables) -> str:
    """Run a job file as Slurm would, with an srun that does nothing; return what it said."""
    environment = {**os.environ, "SLURM_JOB_ID": "9", "SLURM_JOB_NAME": "x", **variables}
    return subprocess.run(["bash", *words], env=environment, capture_output=True, text=True).stderr


def noted() -> list[list[str]]:
    lines = Path("logs/jobs.tsv").read_text().splitlines() if Path("logs/jobs.tsv").exists() else []
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize(
    ("words", "stage", "model", "record"),
    [
        (["slurm/train_para20.slurm"], "train", "para20", "output/models/para20/training.json"),
        (
            ["slurm/train_para20.slurm", "-o", "out/models/my own/"],
            "train",
            "my own",
            "out/models/my own/training.json",
        ),
        (["slurm/train_para20.slurm", "--outputdir=my tests/x"], "train", "my tests/x", "my tests/x/training.json"),
        (["slurm/apply_tuned.slurm"], "apply", "para10", "output/embeddings/para10/manifest.json"),
        (["slurm/precocity.slurm"], "precocity", "para10", "output/precocity/para10/manifest.json"),
        (["slurm/paraphrase_local.slurm"], "paraphrase", "para10", "output/paraphrased/para10.tsv.json"),
    ],
)
def test_every_job_writes_its_own_line_once(folder, monkeypatch, words, stage, model, record):
    program(monkeypatch, "srun", "exit 0\n")
    sed = "s|^SERVER=.*|SERVER=(false)|"
    subprocess.run(["sed", "-i", sed, "slurm/paraphrase_local.slurm"], check=True)
    for restart in "01":  # after a requeue it has its line
        run_job(*words, SLURM_ARRAY_JOB_ID="8", SLURM_ARRAY_TASK_ID="190", SLURM_RESTART_COUNT=restart)
    ((time_, *cells),) = noted()
    assert cells[:3] == [stage, model, "8"] and cells[5] == record and len(cells) == 6
    assert abs(time.time() - timegm(time.strptime(time_, "%Y-%m-%dT%H:%M:%SZ"))) < 60
    (job,) = ledger.read_ledger(Path("logs/jobs.tsv").read_text())
    assert shlex.split(job.words)[0].endswith(".py")


def test_the_line_has_the_time_of_submission(folder, monkeypatch):
    """Embeddings submitted while a training waits are newer than it, whenever it starts."""
    monkeypatch.setenv("TZ", "CST6")  # squeue prints local time
    program(monkeypatch, "squeue", "[[ $* == *%V* ]] && echo 2026-11-25T16:59:49\n")
    run_job(TRAIN.file)
    assert noted()[0][0] == "2026-11-25T22:59:49Z"


def test_a_job_that_delta_submitted_has_its_line_and_one_that_fails_early_gets_one(folder, monkeypatch):
    Path("logs/jobs.tsv").write_text(line(9, "slurm/train_nopara.slurm TuneEmbeddings.py"))
    run_job(TRAIN.file)
    assert len(noted()) == 1
    environment = Path("slurm/environment.sh")
    environment.write_text('echo "no modules here" >&2\nPYTHON=x\nreturn 2\n')
    assert "no modules here" in run_job("slurm/train_para20.slurm", SLURM_JOB_ID="10")
    assert [cells[3] for cells in noted()] == ["9", "10"]


def test_a_job_with_two_lines_is_one_job_and_all_that_run_count():
    text = line(8, "x") + line(9, "y") + line(9, "z") + line("", "x") + line("1;rm", "x") + line("-", "w", "apply")
    assert [(job.id, job.words) for job in ledger.read_ledger(text)] == [("9", "z"), ("-", "w")]
    seen = snapshot(text, "8|RUNNING|0:12 of 30:00, None\n9|PENDING|0:00 of 30:00, Dependency\n")
    assert [job.id for job, _ in ledger.states(seen, "nopara") if job.stage == "train"] == ["8", "9"]


def test_what_a_hand_submitted_training_does_already_is_not_submitted_beside_it():
    queue = "8|RUNNING|0:12 of 30:00, None\n"
    own = " ".join(TRAINING.words)
    assert next_step(TRAIN, TRAINING, snapshot(line(8, f"{own} "), queue)).told.startswith("job 8 does this already")
    elsewhere = line(8, f"{own} --epochs 3").replace("\tnopara\t", "\tmy own\t")
    with pytest.raises(InputError, match=r"another train of my own is under way \(job 8\)"):  # in the same folder
        next_step(TRAIN, TRAINING, snapshot(elsewhere, queue, found=files(RECORD)))
    found = files(MODEL, RECORD)
    assert "after job 8" in next_step(APPLY, APPLYING, snapshot(elsewhere, queue, found=found)).told


def test_jobs_by_hand_that_wait_are_asked_for_their_lines(folder, monkeypatch):
    """By what squeue -o '%F|%Z|%o' printed (22.05): a job file with its flags, of this folder and of others."""
    here = Path.cwd()
    Path("logs/jobs.tsv").write_text(line(7, "x"))
    Path("slurm/mine.slurm").write_text("touch ran\n")
    waiting = f"""7|{here}|{here}/slurm/train_nopara.slurm
8|{here}|{here}/slurm/train_para20.slurm --epochs 3
9|{here}|{here}/slurm/apply_tuned.slurm -m output/models/para20/final -o output/embeddings/para20
9|{here}|{here}/slurm/apply_tuned.slurm -m output/models/para20/final -o output/embeddings/para20
10|/elsewhere|/elsewhere/slurm/train_para20.slurm
11|{here}|{here}/slurm/mine.slurm
12|{here}|(null)
13|{here}|{here}/slurm/paraphrase_local.slurm
"""
    states_ = "".join(f"{id_}|PENDING|0:00 of 8:00:00, Priority\n" for id_ in (7, 8, "9_179", "9_180", 13))
    program(monkeypatch, "squeue", f"[[ $* == *%F* ]] && cat <<'EOF' || echo '{states_}'\n{waiting}EOF\n")
    seen, _ = follow.look(folder)
    assert [(job.id, job.stage, job.model, state) for job, state in ledger.states(seen)] == [
        ("7", "train", "nopara", "PENDING"),
        ("13", "paraphrase", "para10", "PENDING"),
        ("8", "train", "para20", "PENDING"),
        ("9", "apply", "para20", "PENDING×2"),
    ]
    assert ledger.training_of(seen, "output/models/para20/final").id == "8"
    assert not Path("ran").exists() and len(noted()) == 1
    with pytest.raises(
        InputError, match=r"job 8 is to make output/models/para20 anew; make wait first, or make cancel"
    ):
        fetch.pull_model(folder, "output", "para20")


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ([], ""),
        (
            ["-m", "output/models/para20/final"],
            "embeddings/para10 is named for another model than output/models/para20/final",
        ),
        (
            ["-o", "output/embeddings/para20"],
            "output/embeddings/para20 is named for another model than output/models/para10",
        ),
        (
            ["--outputpath=x/nopara/", "--modelpath=x/models/para20/checkpoint-5"],
            "x/nopara/ is named for another model than x/models/",
        ),
        (
            ["-m", "sentence-transformers/x"],
            "output/embeddings/para10 is named for another model than sentence-transformers/x",
        ),
        (
            ["-o", "output/embeddings/base"],
            "output/embeddings/base is named for another model than output/models/para10",
        ),
        (["-m", "/work/models/x", "-o", "output/embeddings/base"], ""),
        (
            ["-m", "output/models/my own/final", "-o", "output/embeddings/other"],
            "embeddings/other is named for another model",
        ),
        (["-m", "output/models/my own/final", "-o", "output/embeddings/my own"], ""),
        (["-m", "output/models/my own/final/", "-o", "output/embeddings/my own, centered"], ""),
        (["-o", "output/embeddings/para10_float16"], ""),
    ],
)
def test_a_folder_of_one_model_takes_no_other_models_vectors(folder, monkeypatch, flags, complaint):
    """Neither before a job is submitted nor in it; output/models/other is a model, too."""
    program(monkeypatch, "srun", "touch ran\n")
    Path("output/models/other").mkdir(parents=True)
    request = replace(APPLY, flags=tuple(flags))
    shown = subprocess.run(["bash", "-c", jobs.show_command(request)], capture_output=True, text=True)
    assert (shown.returncode != 0) == bool(complaint) and complaint in shown.stderr
    said = run_job(APPLY.file, *flags, SLURM_ARRAY_TASK_ID="190")
    assert complaint in said and Path("ran").exists() == (not complaint)
    assert noted()[0][1] == "apply"  # known to have failed


@pytest.mark.parametrize("name", ["train_para20", "apply_tuned", "precocity", "paraphrase_local"])
def test_bash_before_4_4_meets_no_empty_array_under_nounset(folder, name):
    """There, \"${FLAGS[@]}\" of FLAGS=() is an unset variable: no job file expands anything with set -u on."""
    Path("trace").write_text("PS4='+$- '; set -x\n")
    trace = run_job(f"slurm/{name}.slurm", BASH_ENV="trace", SHOW_COMMAND="yes", SLURM_ARRAY_TASK_ID="190").splitlines()
    options = [found[1] for text in trace if (found := re.match(r"\++([A-Za-z]+) ", text))]
    assert len(options) > 10 and not [letters for letters in options if "u" in letters]


@pytest.mark.parametrize("status", [143, 138])
def test_a_job_that_is_stopped_by_a_signal_says_that_it_goes_on(folder, monkeypatch, status):
    program(monkeypatch, "srun", f"exit {status}\n")
    program(monkeypatch, "squeue", "echo RUNNING\n")
    program(monkeypatch, "scontrol", 'echo "$@" >> requeued\n')
    environment = {**os.environ, "SLURM_JOB_ID": "9", "SLURM_JOB_NAME": "x", "SLURM_ARRAY_TASK_ID": "190"}
    for file in (APPLY.file, TRAIN.file):
        done = subprocess.run(["bash", file], env=environment, capture_output=True, text=True)
        assert "goes on in a new run of job 9" in done.stdout, done.stderr
    assert Path("requeued").read_text() == "requeue 9\n" * 2


# ---------------------------------------------------------------- the lock


@pytest.mark.slow
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
    assert follow.status(folder) == ["no job was submitted here yet"]
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


def test_a_balance_that_is_too_small_is_told_where_a_job_waits_for_it(folder, monkeypatch, caplog):
    caplog.set_level("INFO")
    for reason in ("QOSGrpBillingMinutes", "AssocGrpGRESMinutes"):
        assert "the account has less left than the job asks for" in follow.why_stuck(
            f"PENDING for 0:00 of 8:00:00, {reason}"
        )
    assert not follow.why_stuck("PENDING for 0:00 of 8:00:00, QOSMaxJobsPerUserLimit")
    Path("logs/jobs.tsv").write_text(line(24, "x"))
    waits = (
        "[[ $* == *%F* ]] || [ -e over ] && exit; echo '24|PENDING|0:00 of 8:00:00, QOSGrpBillingMinutes'; touch over\n"
    )
    program(monkeypatch, "squeue", waits)
    with pytest.raises(InputError, match="train job 24 UNKNOWN: .* the same make target goes on"):
        follow.wait(folder, "nopara", every=0.1)
    assert "train 24 PENDING: the account has less left than the job asks for; make cancel, then" in caplog.text


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
