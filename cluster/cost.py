"""What a job may cost at most, and which of its flags are given twice: what a user wants to see before it is submitted.

In: what sbatch -v prints of the flags in force, and the words that the job runs. Out: text.
"""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

ENDLESS = 1e9  # minutes


class Share(NamedTuple):
    """What goes with one GPU of a partition on Delta, and the charge for it."""

    factor: float  # charge units an hour
    cores: int
    gigabytes: float  # 10^9 bytes


DELTA = {
    "gpuA40x4": Share(0.5, 16, 62.5),
    "gpuA100x4": Share(1.0, 16, 62.5),
    "gpuA100x8": Share(1.5, 16, 250),
    "gpuH200x8": Share(3.0, 12, 250),
}
BALANCE = "an account with less left keeps it waiting (QOSGrpBillingMinutes)"
KINDS = {"": 1, "-interactive": 2, "-preempt": 0.5}  # what the charge is multiplied by
SAME = {"--datasource": "-d", "--outputdir": "-o", "--outputpath": "-o", "--modelpath": "-m", "--metadatapath": "-t"}
SAME |= {"--rootfolder": "-r", "--startyear": "-s", "--endyear": "-e"}


def option(said: str, name: str) -> str:
    """Return the value of a flag in the list of sbatch -v, empty where it is not set."""
    found = re.search(rf"^sbatch: {name} *: (.*)$", said, re.MULTILINE)
    return found[1] if found else ""


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


def most(said: str, time: str) -> str:
    """Return what a job of this time limit may cost at most, from the flags in force."""
    hours, gpus, tasks = minutes(time) / 60, gpus_of(said), tasks_of(option(said, "array"))
    parts = [f"{tasks} tasks"] * (tasks > 1) + [f"{gpus:g} GPU{'s' * (gpus > 1)}", f"{hours:.3g} h"]
    shares = {name: share_of(name) for name in option(said, "partition").split(",")}
    if not gpus:
        return "no GPU hours"
    if not time or hours * 60 >= ENDLESS:
        return "as long as it runs: it has no time limit"
    if None in shares.values():
        return f"at most {tasks * gpus * hours:.3g} GPU hours a run ({' × '.join(parts)}); {BALANCE}"
    name, share = max(shares.items(), key=lambda item: item[1].factor)
    nodes = number(option(said, "nodes") or "1")
    cores = number(option(said, "cpus-per-task") or "1") * number(option(said, "ntasks-per-node") or "1") * nodes
    bundles = max(gpus, cores / share.cores, gigabytes(option(said, "mem")) * nodes / share.gigabytes)
    if bundles > gpus:
        parts[-2] = f"{bundles:.3g} GPUs' share of cores or memory"
    units = tasks * bundles * hours * share.factor
    return f"at most {units:.3g} charge units a run ({' × '.join([*parts, f'{share.factor:g}'])} on {name}); {BALANCE}"


def share_of(partition: str) -> Share | None:
    """Return a partition's share, None where it is none of Delta's with GPUs."""
    name, dash, kind = partition.partition("-")
    factor = KINDS.get(dash + kind)
    share = DELTA.get(name)
    return share._replace(factor=share.factor * factor) if share and factor else None


def number(text: str) -> int:
    """Return the last number of a flag's value: 4, A100:4, gpu:A100:4, 1-2."""
    return int((re.findall(r"\d+", re.sub("[A-Za-z]+[0-9]+", "", text)) or [0])[-1])


def gpus_of(said: str) -> int:
    """Return how many GPUs a job asks for, on all its nodes; of an array, one task."""
    nodes = number(option(said, "nodes") or "1")
    each = option(said, "gpus-per-node") or next(iter(re.findall(r"gpu[:0-9A-Za-z]*", option(said, "gres"))), "")
    return number(each) * nodes or number(option(said, "gpus"))


def tasks_of(array: str) -> int:
    """Return how many tasks an array has: 179-202%8, 1,3-5, 0-10:5; 1 without one."""
    total = 0
    for part in filter(None, array.partition("%")[0].split(",")):
        first, _, rest = part.partition("-")
        last, _, step = rest.partition(":")
        total += len(range(int(first), int(last or first) + 1, int(step or 1)))
    return total or 1


def gigabytes(memory: str) -> float:
    """Return what --mem asks for, written with K, M, G or T (powers of 1024), in 10^9 bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", memory.upper())
    return float(found[1]) * 1024 ** ("KMGT".index(found[2] or "M") + 1) / 1e9 if found else 0.0


def repeated(words: tuple[str, ...]) -> list[str]:
    """Return a sentence for each flag that the words hold with different values; the last one counts."""
    given: dict[str, list[str]] = {}
    for word in words[1:]:
        if re.match("--?[A-Za-z]", word):
            name, _, value = word.partition("=")
            name = SAME.get(name, name)
            given.setdefault(name, []).append(value)
        elif given:
            given[name][-1] = f"{given[name][-1]} {shlex.quote(word)}".strip()
    return [
        f"{name} is given {len(values)} times; {values[-1]} counts, not {', '.join(dict.fromkeys(values[:-1]))}"
        for name, values in given.items()
        if len(set(values)) > 1
    ]
