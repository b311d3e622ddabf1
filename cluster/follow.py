"""Follow the jobs: wait for them, show them and their logs, cancel them.

In: a Place and a model's name. Out: lines for the user. InputError where a job has not ended well, has no log, or is
somebody else's.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import time

from cluster import ledger
from cluster.ledger import Job, Snapshot
from cluster.place import Answer, Place, last_line
from corpus import MANIFEST, TRAINING_RECORD
from script import InputError, log

MOST_TAIL = 110  # characters of a log's last line
LIST_LOGS = "ls -t logs/*.out 2> /dev/null"  # the newest first
LIST_PRODUCTS = """ls -d output/models/*/training.json output/embeddings/*/ output/embeddings/*/manifest.json \\
  output/embeddings/*/decades/*.json output/precocity/*/manifest.json 2> /dev/null"""


def look(place: Place, **more: str) -> tuple[Snapshot, dict[str, Answer]]:
    """Return a Snapshot of the far end, and the answers to more scripts; in a dry run both are empty."""
    got = place.gather(ledger.parts() | more)
    return (ledger.snapshot(got) if got else Snapshot()), got


def wait(place: Place, model: str, every: float) -> None:
    """Return when the model's jobs have ended well; InputError where one has not, or none is known."""
    told = None
    while True:
        seen, _ = look(place)
        if place.dry_run:
            return
        found = ledger.states(seen, model)
        if not found:
            raise InputError(f"no job of {model} is known; run make train or make apply.")
        words = ", ".join(f"{job.stage} {job.id} {state}" for job, state in found)
        waits = "".join(dict.fromkeys(why_stuck(text) for job, _ in found for text in tasks_told(job, seen)))
        if words + waits != told:
            log.info("%s%s", words, waits)
            told = words + waits
        if not ledger.underway(state for _, state in found):
            break
        time.sleep(every)
    if bad := failures(found):
        shows_why = f"{place.target(f'logs TRAIN={model}')} shows why"
        raise InputError(f"{'; '.join(bad)}: {shows_why}; the same make target goes on.")


def failures(found: list[tuple[Job, str]]) -> list[str]:
    """Return a phrase for each job that has not ended well."""
    bad = [(job, state) for job, state in found if not re.fullmatch(r"COMPLETED(×\d+)?", state)]
    return [f"{job.stage} job {job.id} {state}" for job, state in bad]


def status(place: Place) -> list[str]:
    """Return lines that show every job, the last line of its log, and what is complete."""
    seen, got = look(place, logs=LIST_LOGS, made=LIST_PRODUCTS)
    if place.dry_run:
        return []
    found = ledger.states(seen)
    logs = {job.id: own[0] for job, _ in found if (own := logs_of(job, got["logs"].text))}
    ends = ends_of_logs(place, list(logs.values()))
    lines = [] if seen.jobs else ["no job was submitted here yet"]
    for job, state in found:
        name = logs.get(job.id, "")
        lines += job_lines(job, state, seen, f"{name}: {ends.get(name, '')}" if name else "")
    return lines + products(got["made"].text.splitlines())


def job_lines(job: Job, state: str, seen: Snapshot, log_line: str) -> list[str]:
    """Return the lines of one job: its state, what it waits for, the last line of its log."""
    lines = [f"{job.stage:<6} {job.model:<8} job {job.id:<9} {state}"]
    told = tasks_told(job, seen)
    for text in sorted(set(told), key=told.count, reverse=True)[:3]:
        lines.append(f"         {told.count(text)} × {text}{why_stuck(text)}")
    if log_line:
        lines.append(f"         {log_line}")
    elif "FAILED" in state:
        lines.append("         no log: the folder logs was missing when it started")
    return lines


def tasks_told(job: Job, seen: Snapshot) -> list[str]:
    """Return what squeue tells of each task of a job under way."""
    tasks = [task for name, task in seen.queue.items() if ledger.belongs(name, job) and ledger.underway([task.state])]
    return [f"{task.state} for {task.told}" for task in tasks]


def why_stuck(told: str) -> str:
    """Return a sentence where Slurm will not start a task before somebody acts."""
    if not re.search(r"PENDING.*(QOS|Assoc)Grp\w*Minutes", told):
        return ""
    return ": the account has less left than the job asks for; make cancel, then ask for less time or set DELTA_ACCOUNT"


def logs_of(job: Job, listing: str) -> list[str]:
    """Return a job's log files among those listed, in their order."""
    return [name for name in listing.splitlines() if re.fullmatch(rf"logs/.*-{re.escape(job.id)}(_[^/]*)?\.out", name)]


def ends_of_logs(place: Place, names: list[str]) -> dict[str, str]:
    """Return the last line of each log."""
    if not names:
        return {}
    got = place.gather({f"log{i}": f"tail -c 4000 {shlex.quote(name)}" for i, name in enumerate(names)})
    # A progress bar overwrites its line with carriage returns.
    return {name: last_line(got[f"log{i}"].text.replace("\r", "\n"))[:MOST_TAIL] for i, name in enumerate(names)}


def products(names: list[str]) -> list[str]:
    """Return the lines about models, embeddings and precocity, from the names of their records."""
    lines = [f"model  {posixpath.dirname(name)}: complete" for name in names if name.endswith(TRAINING_RECORD)]
    tables = [posixpath.dirname(name) for name in names if name.startswith("output/precocity/")]
    lines += [f"precocity {folder}: complete" for folder in tables]
    for folder in sorted(name.rstrip("/") for name in names if name.endswith("/")):
        decades = sum(name.startswith(f"{folder}/decades/") for name in names)
        complete = "complete" if f"{folder}/{MANIFEST}" in names else "not complete"
        lines.append(f"embeddings {folder}: {decades} decades, {complete}")
    return lines


def show_logs(place: Place, model: str, follow: bool) -> None:
    """Print the end of the model's newest logs; with follow, go on until interrupted."""
    seen, got = look(place, logs=LIST_LOGS)
    if place.dry_run:
        return
    names = [name for job in seen.jobs if job.model == model for name in logs_of(job, got["logs"].text)[:3]]
    if not names:
        raise InputError(f"no log of {model} yet: {place.target('status')} tells whether its job waits.")
    if follow:
        place.show(["tail", "-n", "20", "-F", *names])
        return
    ends = {f"log{i}": f"tr '\\r' '\\n' < {shlex.quote(name)} | tail -n 25" for i, name in enumerate(names)}
    for name, answer in zip(names, place.gather(ends).values()):
        print(f"==> {name}\n{answer.text}", end="")


def cancel(place: Place, model: str) -> None:
    """Cancel the model's jobs that have not ended, the waiting ones first, and print what was done.

    Raises:
        InputError: a job is another user's, or Slurm does not answer.
    """
    seen, _ = look(place)
    if place.dry_run:
        return
    found = [job for job, state in ledger.states(seen, model) if ledger.underway([state])]
    if not found:
        print(f"no job of {model} is waiting or running")
        return
    found.sort(key=lambda job: job.stage)
    got = place.gather({f"job{i}": f"scancel {shlex.quote(job.id)}" for i, job in enumerate(found)})
    done, left = cancelled(found, list(got.values()))
    print("".join(f"{line}\n" for line in done), end="")
    if left:
        raise InputError(left)


def cancelled(found: list[Job], said: list[Answer]) -> tuple[list[str], str]:
    """Return a line for each job that scancel ended, and a sentence about the last one that it did not."""
    done, left = [], ""
    for job, answer in zip(found, said):
        what = f"job {job.id} ({job.stage} {job.model})"
        if answer.status == 0 or "already comp" in answer.text:
            done.append(f"cancelled {what}")
        else:
            left = f"{what} was not cancelled ({last_line(answer.text)}): try again, or ask its owner, see squeue."
    return done, left
