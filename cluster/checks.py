"""Check everything that could fail once a job waits in the queue, before it is submitted.

In: a Place and a Request. Two round trips: the first asks Slurm, disk, environment and job file; the second has the
script look at its own inputs (--check). Out: the Command that the job would run, and on standard output a line for each
check. InputError where a check found a fault.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import NamedTuple

from cluster import ledger
from cluster.jobs import Command, Request, read_command, show_command
from cluster.ledger import Snapshot
from cluster.place import Answer, Place, last_line
from script import InputError
from tuning.folder import ADJUSTS

# GB. Checkpoints and model take 4, the vectors of a million passages 3, their precocity 1.
ROOM = {"train": 10, "apply": 10, "precocity": 2}
ENDLESS = 1e9  # minutes
OVERRIDING = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT")
ENVIRONMENT = ". slurm/environment.sh > /dev/null 2>&1 || true"
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
    got = place.gather(facts(request), ENVIRONMENT)
    if place.dry_run:
        place.gather(inputs(request, DRY), ENVIRONMENT)
        return DRY
    if got["file"].status:
        file = request.file
        raise InputError(
            f"there is no {file} there; run make sync-delta, or copy another job file of slurm/ to that name."
        )
    report(found := findings(request, got))
    if all(finding.well for finding in found):
        command = read_command(request.stage, got["command"].text)
        got = place.gather(inputs(request, command), ENVIRONMENT)
        report(found := check_inputs(request, command, got))
        command = replace(command, adjusts=ADJUSTS in found[0].text)
    if faults := sum(not finding.well for finding in found):
        raise InputError(f"{faults} fault(s); nothing was submitted.")
    return command


def report(found: list[Finding]) -> None:
    print("\n".join(finding.line() for finding in found), flush=True)


# ---------------------------------------------------------------- Slurm, environment, disk


def facts(request: Request) -> dict[str, str]:
    """Return the scripts of the first round trip; `findings` reads their answers."""
    sbatch = shlex.join(["sbatch", "--test-only", "-v", *request.sbatch, request.file])
    return {
        "file": f"mkdir -p logs; [ -e {shlex.quote(request.file)} ]",
        "host": "hostname",
        "sbatch": sbatch,
        "partitions": "scontrol show partition -o 2> /dev/null",
        "variables": f"env | grep -E '^({'|'.join(OVERRIDING)})=.'",
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
    python = got["python"].text.partition("\n")[0]
    made_by = "precocity-cluster" if request.stage == "precocity" else "setup-delta"
    lacks = f"environment: {python} lacks {' or '.join(PACKAGES[request.stage])}; run make {made_by}"
    found.append(Finding(False, lacks) if got["python"].status else Finding(True, f"environment {python}"))
    found.append(check_room(got["disk"].text, ROOM[request.stage]))
    if got["command"].status:
        found.append(Finding(False, f"{request.file}: {got['command'].text.strip()}"))
    return found


def check_slurm(request: Request, got: dict[str, Answer]) -> list[Finding]:
    """Judge sbatch --test-only -v, which lists the flags in force: of command line, environment and job file."""
    sbatch = got["sbatch"]
    if sbatch.status == 127:
        return [Finding(False, f"no sbatch on {got['host'].text.strip()}: DELTA has to name a login node")]
    account, partition, asked = (option(sbatch.text, name) for name in ("account", "partition", "time"))
    accepted = Finding(True, f"account {account}, partition {partition}")
    if sbatch.status:
        refused = f"Slurm refuses the job with account '{account}' and partition '{partition}'"
        settings = "DELTA_ACCOUNT (`accounts` lists yours) or DELTA_PARTITION"
        if request.stage == "precocity":
            settings = "--account and --partition in PRECOCITY_SBATCH"
        remedy = f"set {settings}, or edit {request.file}"
        accepted = Finding(False, f"{refused} ({last_line(sbatch.text)}); {remedy}")
    limit = exceeded(partition, asked, got["partitions"].text)
    if limit is None:
        return [accepted, Finding(True, f"time {asked or 'by default of the partition'}")]
    remedy = "ask for less, a stopped job goes on by itself"
    return [accepted, Finding(False, f"--time={asked} is over the {limit} of partition {partition}; {remedy}")]


def option(said: str, name: str) -> str:
    """Return the value of a flag in the list of sbatch -v, empty where it is not set."""
    found = re.search(rf"^sbatch: {name} *: (.*)$", said, re.MULTILINE)
    return found[1] if found else ""


def exceeded(partitions: str, asked: str, shown: str) -> str | None:
    """Return the longest limit of the partitions, if it is shorter than the time asked for.

    Slurm accepts a job that is longer than every partition allows, and never starts it.

    Args:
        partitions: names with commas between them; empty for the cluster's default.
        shown: what scontrol show partition -o says, a line for each.
    """
    limits = []
    for line in shown.splitlines():
        facts_of = dict(word.split("=", 1) for word in line.split() if "=" in word)
        is_default = not partitions and facts_of.get("Default") == "YES"
        if "MaxTime" in facts_of and (is_default or facts_of.get("PartitionName") in partitions.split(",")):
            limits.append(facts_of["MaxTime"])
    longest = max(limits, key=minutes, default="UNLIMITED")
    return longest if minutes(asked) > minutes(longest) else None


def minutes(text: str) -> float:
    """Return a time as Slurm writes it: [days-]hours:minutes:seconds, days-hours, minutes:seconds, minutes, or none."""
    if re.search("UNLIMITED|INFINITE", text):
        return ENDLESS
    days, _, clock = text.rpartition("-")
    fields = [int(field) for field in clock.split(":")] if clock else [0]
    if days:
        hours, mins, seconds = (*fields, 0, 0)[:3]
    elif len(fields) == 3:
        hours, mins, seconds = fields
    else:
        hours, mins, seconds = 0, *(*fields, 0)[:2]
    return int(days or 0) * 1440 + hours * 60 + mins + (seconds > 0)


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
    scripts = {"checked": f'HF_HUB_OFFLINE=1 "$PYTHON" {shlex.join(command.words)} --check'}
    if request.stage == "apply":
        loads = f'HF_HUB_OFFLINE=1 "$PYTHON" -c "{LOADS}" {model} {shlex.join(command.words)} > /dev/null 2>&1'
        loads = loads if request.model == "base" else "false"
        scripts["model"] = f"[ -e {model}/modules.json ] || {loads}"
        scripts |= ledger.parts(command.record, command.model or ".")
    return scripts


def check_inputs(request: Request, command: Command, got: dict[str, Answer]) -> list[Finding]:
    """Judge the script's own check and, for embeddings, whether the model is there or being trained."""
    found = [check_script(got["checked"])]
    if request.stage == "apply":
        found.append(check_model(request, command, got["model"].status == 0, ledger.snapshot(got)))
    return found


def check_script(answer: Answer) -> Finding:
    """Judge what --check printed. Its last line is shown; where all is well, a time of day stands before it."""
    if answer.status:
        return Finding(False, last_line(answer.text))
    lines = [line for line in answer.text.splitlines() if not re.match("[0-9:]* settings:", line)]
    return Finding(True, last_line("\n".join(lines)).partition(" ")[2])


def check_model(request: Request, command: Command, is_there: bool, seen: Snapshot) -> Finding:
    """Judge whether the model is there, or a running training will make it."""
    if training := ledger.training_of(seen, request.model, command.model):
        return Finding(True, f"model: job {training.id} is training it; this job waits for its end")
    if is_there:
        return Finding(True, f"model {command.model}")
    if request.model == "base":
        return Finding(False, f"model: {command.model} cannot be loaded; run make setup-delta, which fetches it")
    return Finding(False, f"model: {command.model} is not there and no job is training it; run make train first")
