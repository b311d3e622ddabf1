"""Check everything that could fail once a job waits in the queue, before it is submitted.

In: a Place and a Request. Two round trips: the first asks Slurm, disk, environment and job file; the second has the
script look at its own inputs (--check). Out: the Command that the job would run, and on standard output a line for each
check. InputError where a check found a fault.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import replace
from typing import NamedTuple

import lock
from cluster import cost, ledger
from cluster.cost import minutes, option
from cluster.jobs import Command, Request, read_command, refusal, show_command
from cluster.ledger import Snapshot
from cluster.place import Answer, Place, last_line
from script import InputError
from tuning.folder import ADJUSTS

# GB. Checkpoints and model take 4, the vectors of a million passages 3, their precocity 1.
ROOM = {"train": 10, "apply": 10, "precocity": 2}
STOPPED = {
    "train": "a training that is stopped goes on by itself",
    "apply": "an embedding job that is stopped goes on by itself",
    "precocity": "of a job that is stopped, the years that are done stay",
}
OVERRIDING = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT")
ENVIRONMENT = ". slurm/environment.sh"
# A line for each lock: its name, the state of the job that holds it, this user's number, and what it says.
LOCKS = """for lock in FOLDER/.lock FOLDER/.lock-*; do
  [ -e "$lock" ] || continue
  job=$(sed -n 's/.*"job": "\\([0-9_]*\\)".*/\\1/p' "$lock")
  state=$([ -z "$job" ] || squeue -h -j "$job" -o %T 2> /dev/null)
  printf '%s\\t%s\\t%s\\t%s\\n' "$lock" "$state" "$(id -u)" "$(cat "$lock")"
done"""
PACKAGES = {stage: ["torch", "sentence-transformers"] for stage in ("train", "apply")}
PACKAGES |= {"precocity": ["numpy", "pyarrow", "threadpoolctl"]}  # all of requirements-precocity.txt
HAS_PACKAGES = "import sys, importlib.metadata as m; [m.version(name) for name in sys.argv[1:]]"
QUOTA = "df does not show a group's quota: see the command `quota`"
LOADS = "import sys, encoder; encoder.load_model('-m', sys.argv[1], 'cpu', '--trust-remote-code' in sys.argv)"
DRY = Command(("SCRIPT.py", "FLAGS"), "MODEL", "RECORD")  # shown by a dry run, which cannot ask the job file


class Finding(NamedTuple):
    """The result of one check."""

    well: bool
    text: str

    def line(self) -> str:
        return f"{'ok    ' if self.well else 'FAULT '} {self.text}"


def preflight(place: Place, request: Request) -> Command:
    """Check everything, print the findings, and return the command that the job would run."""
    got = place.gather(facts(request))
    if place.dry_run:
        place.gather(inputs(request, DRY), f"{ENVIRONMENT} > /dev/null 2>&1")
        return DRY
    if got["file"].status:
        file = request.file
        raise InputError(
            f"there is no {file} there; run make sync-delta, or copy another job file of slurm/ to that name."
        )
    report(found := findings(request, got))
    if all(finding.well for finding in found):
        command = read_command(request.stage, got["command"].text)
        show_effect(command, got)
        looked = place.gather(inputs(request, command), f"{ENVIRONMENT} > /dev/null 2>&1")
        report(found := check_inputs(request, command, looked))
        command = replace(command, adjusts=ADJUSTS in found[0].text)
    if faults := sum(not finding.well for finding in found):
        raise InputError(f"{faults} fault(s); nothing was submitted.")
    return command


def report(found: list[Finding]) -> None:
    print("\n".join(finding.line() for finding in found), flush=True)


def show_effect(command: Command, got: dict[str, Answer]) -> None:
    """Print what the job would run, which flags are given twice, and what it may cost."""
    said = got["sbatch"].text
    rows = rows_of(option(said, "partition"), got["partitions"].text)
    time = option(said, "time") or max((row.get("DefaultTime", "") for row in rows), key=minutes, default="")
    print(f"runs   {shlex.join(command.words)}")
    print("".join(f"NOTE   {sentence}\n" for sentence in cost.repeated(command.words)), end="")
    print(f"costs  {cost.most(said, time)}", flush=True)


# ---------------------------------------------------------------- Slurm, environment, disk


def facts(request: Request) -> dict[str, str]:
    """Return the scripts of the first round trip; `findings` reads their answers."""
    sbatch = shlex.join(["sbatch", "--test-only", "-v", *request.sbatch, request.file])
    return {
        "file": f"mkdir -p logs; [ -e {shlex.quote(request.file)} ]",
        "host": "hostname",
        "sbatch": sbatch,
        "partitions": "scontrol show partition -o 2> /dev/null",
        "nodes": "sinfo -h -N -o '%R|%T' 2> /dev/null",
        "variables": f"env | grep -E '^({'|'.join(OVERRIDING)})=.'",
        "environment": ENVIRONMENT,
        "python": f'echo "$PYTHON"; "$PYTHON" -c "{HAS_PACKAGES}" {" ".join(PACKAGES[request.stage])}',
        "disk": "pwd; df -Pk .",
        "command": show_command(request),
    }


def findings(request: Request, got: dict[str, Answer]) -> list[Finding]:
    """Judge the answers about Slurm, environment, disk and job file."""
    found = check_slurm(request, got)
    found += [
        Finding(False, f"{variable} in your environment here overrides the job file: unset it")
        for variable in got["variables"].text.splitlines()
    ]
    found.append(check_environment(request.stage, got["environment"], got["python"]))
    found.append(check_room(got["disk"].text, ROOM[request.stage]))
    if got["command"].status:
        found.append(Finding(False, f"{request.file}: {got['command'].text.strip()}"))
    return found


def check_slurm(request: Request, got: dict[str, Answer]) -> list[Finding]:
    """Judge sbatch --test-only -v, which lists the flags in force: of command line, environment and job file."""
    sbatch = got["sbatch"]
    if sbatch.status == 127:
        return [Finding(False, f"no sbatch on {got['host'].text.strip()}: DELTA has to name a login node")]
    partition, asked = option(sbatch.text, "partition"), option(sbatch.text, "time")
    found = [accepted(request, got, partition)]
    limit = exceeded(partition, asked, got["partitions"].text)
    if limit is None:
        return [*found, Finding(True, f"time {asked or 'by default of the partition'}")]
    over = f"--time={asked} is over the {limit} of partition {partition}; ask for less: {STOPPED[request.stage]}"
    return [*found, Finding(False, over)]


def accepted(request: Request, got: dict[str, Answer], partition: str) -> Finding:
    """Judge whether Slurm would take the job, now or once nodes are back; --test-only alone refuses both alike."""
    account, reason = option(got["sbatch"].text, "account"), refusal(got["sbatch"].text)
    if not got["sbatch"].status:
        return Finding(True, f"account {account}, partition {partition}")
    if "not available" not in reason and "Nodes required" not in reason:
        settings = "DELTA_ACCOUNT (`accounts` lists yours) or DELTA_PARTITION"
        if request.stage == "precocity":
            settings = "--account and --partition in PRECOCITY_SBATCH"
        remedy = f"set {settings}, or edit {request.file}"
        used = f"account '{account}', partition '{partition}'"
        return Finding(False, f"Slurm refuses the job: {reason} ({used}); {remedy}")
    rows = rows_of(partition, got["partitions"].text)
    states = {row.get("State", "UP") for row in rows} or {"UP"}
    if "UP" not in states and "DOWN" in states:
        return Finding(True, f"partition {partition} is down: the job will wait until it is up again")
    if "UP" not in states:
        remedy = "set DELTA_PARTITION to another, or try again later"
        return Finding(False, f"partition {partition} takes no jobs now (its state is {min(states)}); {remedy}")
    names = {row["PartitionName"] for row in rows}
    nodes = [line.partition("|")[2] for line in got["nodes"].text.splitlines() if line.partition("|")[0] in names]
    if away := [state for state in nodes if re.match("drain|down|fail|maint|reboot|unknown", state)]:
        few = f"{len(away)} of the {len(nodes)} nodes of partition {partition} are drained or down"
        return Finding(True, f"{few}: the job will wait for them, if they have what it asks for")
    remedy = "ask for fewer GPUs or cores, or less memory, or set DELTA_PARTITION"
    return Finding(False, f"no node of partition {partition} has what the job asks for; {remedy}")


def exceeded(partitions: str, asked: str, shown: str) -> str | None:
    """Return the longest limit of the partitions, if it is shorter than the time asked for.

    Slurm accepts a job that is longer than every partition allows, and never starts it.

    Args:
        partitions: names with commas between them; empty for the cluster's default.
        shown: what scontrol show partition -o says, a line for each.
    """
    limits = [row["MaxTime"] for row in rows_of(partitions, shown) if "MaxTime" in row]
    longest = max(limits, key=minutes, default="UNLIMITED")
    return longest if minutes(asked) > minutes(longest) else None


def rows_of(partitions: str, shown: str) -> list[dict[str, str]]:
    """Return what scontrol shows of the partitions, or of the cluster's default where none is named."""
    rows = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in shown.splitlines()]
    if not partitions:
        return [row for row in rows if row.get("Default") == "YES"]
    return [row for row in rows if row.get("PartitionName") in partitions.split(",")]


def check_environment(stage: str, environment: Answer, python: Answer) -> Finding:
    """Judge whether slurm/environment.sh works, and whether its Python has what the jobs need."""
    if environment.status:
        return Finding(False, f"environment: {last_line(environment.text) or 'slurm/environment.sh fails'}")
    name = python.text.partition("\n")[0]
    if python.status:
        made_by = "precocity-cluster" if stage == "precocity" else "setup-delta"
        return Finding(False, f"environment: {name} lacks {' or '.join(PACKAGES[stage])}; run make {made_by}")
    return Finding(True, f"environment {name}")


def check_room(df: str, needed: int) -> Finding:
    """Judge the free disk space, from the output of pwd and df -Pk; needed is in GB."""
    folder, *lines = df.splitlines() or [""]
    if len(lines) != 2 or len(lines[1].split()) < 4:
        return Finding(False, f"disk: df does not answer ({last_line(df)})")
    free = int(lines[1].split()[3]) // 1024**2
    if free >= needed:
        return Finding(True, f"disk: {free} GB free ({QUOTA})")
    return Finding(False, f"disk: {free} GB free in {folder}, {needed} are needed; delete old models and checkpoints")


# ---------------------------------------------------------------- what the job reads


def inputs(request: Request, command: Command) -> dict[str, str]:
    """Return the scripts of the second round trip; `check_inputs` reads their answers."""
    model = shlex.quote(command.model)
    scripts = {
        "checked": f'HF_HUB_OFFLINE=1 "$PYTHON" {shlex.join(command.words)} --check',
        "locks": LOCKS.replace("FOLDER", shlex.quote(posixpath.dirname(command.record))),
    }
    if request.stage == "apply":
        loads = f'HF_HUB_OFFLINE=1 "$PYTHON" -c "{LOADS}" {model} {shlex.join(command.words)} > /dev/null 2>&1'
        loads = loads if request.model == "base" else "false"
        scripts["model"] = f"[ -e {model}/modules.json ] || {loads}"
        scripts |= ledger.parts(command.record, command.model or ".")
    return scripts


def check_inputs(request: Request, command: Command, got: dict[str, Answer]) -> list[Finding]:
    """Judge the script's own check and, for embeddings, whether the model is there or being trained."""
    found = [check_script(got["checked"]), *check_locks(got["locks"].text)]
    if request.stage == "apply":
        found.append(check_model(request, command, got["model"].status == 0, ledger.snapshot(got)))
    return found


def check_script(answer: Answer) -> Finding:
    """Judge what --check printed. Its last line is shown; where all is well, a time of day stands before it."""
    if answer.status:
        return Finding(False, last_line(answer.text))
    lines = [line for line in answer.text.splitlines() if not re.match("[0-9:]* settings:", line)]
    return Finding(True, last_line("\n".join(lines)).partition(" ")[2])


def check_locks(listed: str) -> list[Finding]:
    """Judge the locks in the output folder: of a killed holder, a job takes over only from this user's other jobs."""
    for line in listed.splitlines():
        name, state, user, text = (*line.split("\t", 3), "", "", "")[:4]
        holder = holder_of(text)
        takes_over = holder.get("cluster") and str(holder.get("user")) == user
        if ledger.underway([state]) or takes_over:  # the ledger knows the first
            continue
        gone = "which has ended" if holder.get("job") else "if that run is gone"
        return [Finding(False, f"{name} was left by {lock.named(holder)}, {gone}: delete {name} there")]
    return []


def holder_of(text: str) -> dict:
    """Return what a lock says of its holder, nothing where it says none."""
    try:
        holder = json.loads(text)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) and {"job", "process", "host", "since"} <= set(holder) else {}


def check_model(request: Request, command: Command, is_there: bool, seen: Snapshot) -> Finding:
    """Judge whether the model is there, or a running training will make it."""
    if training := ledger.training_of(seen, command.model):
        return Finding(True, f"model: job {training.id} is training it; this job waits for its end")
    if is_there:
        return Finding(True, f"model {command.model}")
    if request.model == "base":
        return Finding(False, f"model: {command.model} cannot be loaded; run make setup-delta, which fetches it")
    return Finding(False, f"model: {command.model} is not there and no job is training it; run make train first")
