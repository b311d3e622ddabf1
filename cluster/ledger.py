"""The jobs of this folder, and what state each is in, by squeue, sacct and the files they leave.

In: the answers to `parts`, as text, from one round trip. Out: a Snapshot, and a state for each job: a word such as
COMPLETED, or for an array the count of each state, COMPLETED×2,FAILED. InputError where Slurm does not answer.

logs/jobs.tsv has a line for each job: time (UTC), stage, model, job id (- where all was there already), user, what it
runs, and the file that says it is complete. delta.py writes it when it submits a job; a job submitted by hand does when
it starts (slurm/job.sh), and while it waits, its job file is asked for the line.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from time import gmtime, strftime
from typing import NamedTuple

from cluster.place import Answer, last_line
from script import InputError

LEDGER = "logs/jobs.tsv"
NOT_ENDED = re.compile("PENDING|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|REQUEUE|RESIZING|STOPPED|SIGNALING")
UNKNOWN = "UNKNOWN"
# Sets $ledger: its lines, and those of this user's jobs in this folder that have none yet.
READ = f"""ledger=$(cat {LEDGER} 2> /dev/null) here=$(pwd -P)
ledger+=$(squeue -h -u "${{USER:-$(id -un)}}" -o '%F|%Z|%o' 2> /dev/null | sort -u |
while IFS='|' read -r id folder command; do
  if [ "$folder" != "$here" ] || cut -f 4 <<< "$ledger" | grep -x "$id" > /dev/null; then continue; fi
  read -ra words <<< "${{command#"$folder"/}}"
  # Other scripts would do their work here.
  grep -Eqs '^(run_to_the_end|begin) ' "${{words[0]}}" || continue
  export SHOW_COMMAND=ledger SLURM_JOB_ID=$id SLURM_SUBMIT_DIR=$folder SLURM_ARRAY_TASK_ID=0
  echo; bash "${{words[@]}}" < /dev/null 2> /dev/null | tail -n 1
done)
printf '%s\\n' "$ledger"
"""


class Job(NamedTuple):
    """A line of the ledger."""

    time: str
    stage: str
    model: str
    id: str
    user: str
    words: str
    record: str


class Task(NamedTuple):
    """A job, or a task of an array, as squeue shows it."""

    state: str
    told: str  # time used, time limit, and why it waits


class File(NamedTuple):
    """A name at the far end."""

    changed: int | None  # seconds since 1970; None where it is not there
    real: str  # absolute, without links


@dataclass(frozen=True)
class Snapshot:
    """Ledger, queue, accounting and files at one moment."""

    now: str = ""
    jobs: list[Job] = field(default_factory=list)
    queue: dict[str, Task] = field(default_factory=dict)
    accounted: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)
    fault: str = ""  # what squeue said in place of an answer


def parts(*names: str) -> dict[str, str]:
    """Return the scripts whose answers make a Snapshot: of the ledger's files, and of more names.

    Beside each file of the ledger they look at `final`, the model of a training.
    """
    these = f"printf '%s\\n' {shlex.join(names)}" if names else ":"
    return {
        "now": "date -u +%FT%TZ",
        "ledger": READ,
        "queue": "jobs=$(cut -f 4 <<< \"$ledger\" | grep -x '[0-9][0-9]*' | sort -u | paste -s -d , -)\n"
        '[ -z "$jobs" ] || squeue -h -r -t all -j "$jobs" -o "%i|%T|%M of %l, %r"',
        "accounts": '[ -z "$jobs" ] || sacct -n -X -P -j "$jobs" -o JobID,State 2> /dev/null',
        "files": f"{{ cut -sf 7 <<< \"$ledger\" | sed 'p; s|[^/]*$|final|'; {these}; }} | sort -u |\n"
        'while IFS= read -r name; do printf "%s\\t%s\\t%s\\n" '
        '"$name" "$(stat -c %Y "$name" 2> /dev/null)" "$(realpath -m "$name")"; done',
    }


def snapshot(answers: dict[str, Answer]) -> Snapshot:
    """Read the answers to `parts`."""
    queue = answers["queue"]
    tasks = read_queue(queue.text)
    return Snapshot(
        now=answers["now"].text.strip(),
        jobs=read_ledger(answers["ledger"].text, tasks),
        queue=tasks,
        accounted=read_accounts(answers["accounts"].text),
        files=read_files(answers["files"].text),
        fault=last_line(queue.text) if queue.status and "Invalid job id" not in queue.text else "",
    )


def read_ledger(text: str, queue: dict[str, Task] | None = None) -> list[Job]:
    """Return the jobs that count, sorted by model, training before embeddings.

    Of each stage and model the last job counts, and each that squeue shows as under way. A job may have two lines: its
    own and delta.py's.
    """
    lines = [cells for line in text.splitlines() if len(cells := line.split("\t")) == 7]
    jobs = [Job(*cells) for cells in lines if re.fullmatch("[0-9]+|-", cells[3])]
    by_id = {job if job.id == "-" else job.id: job for job in jobs}
    last = {(job.stage, job.model): job for job in by_id.values()}
    running = {name.split("_")[0] for name, task in (queue or {}).items() if underway([task.state])}
    counts = [job for job in by_id.values() if job.id in running or last[job.stage, job.model] is job]
    trainings_first = sorted(counts, key=lambda job: job.stage, reverse=True)
    return sorted(trainings_first, key=lambda job: job.model)


def read_queue(text: str) -> dict[str, Task]:
    """Read squeue's lines; a site's wrapper of squeue may put blanks where | is asked for."""
    lines = [re.fullmatch(r"([0-9_]+)[| ]+([A-Z_]+)[| ]*(.*)", line.strip()) for line in text.splitlines()]
    return {found[1]: Task(found[2], found[3]) for found in lines if found}


def read_accounts(text: str) -> dict[str, str]:
    """Return the state of each job or task; `CANCELLED by 0` is CANCELLED."""
    lines = [line.split("|") for line in text.splitlines()]
    return {cells[0]: cells[1].split()[0] for cells in lines if len(cells) == 2 and cells[1].strip()}


def read_files(text: str) -> dict[str, File]:
    lines = [cells for line in text.splitlines() if len(cells := line.split("\t")) == 3]
    return {name: File(int(changed) if changed else None, real) for name, changed, real in lines}


# ---------------------------------------------------------------- states


def state_of(job: Job, seen: Snapshot) -> str:
    """Return one word, or for an array the count of each state. InputError where Slurm does not answer."""
    queued = {name: task.state for name, task in seen.queue.items() if belongs(name, job)}
    tasks = queued if underway(queued.values()) else ended_tasks(job, queued, seen)
    counts = sorted(Counter(tasks.values()).items())
    return ",".join(f"{state}×{n}" if n > 1 else state for state, n in counts)


def ended_tasks(job: Job, queued: dict[str, str], seen: Snapshot) -> dict[str, str]:
    """Return the state of each task of a job that squeue does not show as under way.

    Slurm forgets an array's ended tasks one by one, after minutes. Accounting, where there is any, forgets none, but on
    a busy cluster it learns of an end seconds late. So each task is looked up, by its own number, in both.
    """
    accounted = {name: state for name, state in seen.accounted.items() if belongs(name, job)}
    if seen.fault and not accounted:
        raise InputError(f"Slurm does not answer ({seen.fault}); run the same command again later.")
    if not seen.fault and not queued:  # Slurm has forgotten the job; accounting missed its end
        accounted = {name: UNKNOWN if NOT_ENDED.search(state) else state for name, state in accounted.items()}
    tasks = accounted | queued  # accounting still says REQUEUED of a job that was cancelled after it
    if not accounted and set(tasks.values()) <= {"COMPLETED"}:
        tasks = {job.id: UNKNOWN}  # the tasks that Slurm has forgotten may have failed
    # The record is written last. Where somebody finished the work by hand, it is newer than the job.
    if not underway(tasks.values()) and set(tasks.values()) != {"COMPLETED"} and is_newer(job, seen):
        tasks = {job.id: "COMPLETED"}
    return tasks


def belongs(name: str, job: Job) -> bool:
    """Tell whether squeue's or sacct's name of a job is this one, or a task of it."""
    return name.split("_")[0] == job.id


def underway(states) -> bool:
    return any(NOT_ENDED.search(state) for state in states)


def is_newer(job: Job, seen: Snapshot) -> bool:
    """Tell whether a job's record is there and was written since the job was submitted; whole seconds."""
    changed = seen.files[job.record].changed if job.record in seen.files else None
    return changed is not None and strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(changed)) >= job.time


def states(seen: Snapshot, model: str = "") -> list[tuple[Job, str]]:
    """Return the last job of each stage, of one model or of all, with its state.

    Embeddings that were submitted before the last training, and have ended, no longer count.
    """
    found = []
    trained: dict[str, str] = {}
    for job in seen.jobs:
        if model not in ("", job.model):
            continue
        state = state_of(job, seen)
        if job.stage == "train":
            trained[job.model] = job.time
        elif job.time < trained.get(job.model, "") and not underway([state]):
            continue
        found.append((job, state))
    return found


def last_job(seen: Snapshot, stage: str, model: str) -> Job | None:
    """Return the last job of a stage and model."""
    return next((job for job in seen.jobs if (job.stage, job.model) == (stage, model)), None)


def job_underway(seen: Snapshot, stage: str, model: str, record: str = "") -> Job | None:
    """Return a job under way of a stage, for this model or with this record."""
    for job in reversed(seen.jobs):
        is_its = job.stage == stage and (job.model == model or same_file(seen, job.record, record))
        if is_its and underway([state_of(job, seen)]):
            return job
    return None


def training_of(seen: Snapshot, path: str) -> Job | None:
    """Return the training under way that will write the model at this path."""
    for job in reversed(seen.jobs):
        makes = posixpath.join(posixpath.dirname(job.record), "final")
        if job.stage == "train" and same_file(seen, makes, path) and underway([state_of(job, seen)]):
            return job
    return None


def same_file(seen: Snapshot, one: str, other: str) -> bool:
    """Tell whether two names at the far end are one file, by a link, too."""
    return one in seen.files and other in seen.files and seen.files[one].real == seen.files[other].real
