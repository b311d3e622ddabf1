"""Precocity on a campus cluster: what is sent there, what the job runs, and the table back here.

In: the project's folder there, below which make pull-embeddings puts the embeddings; the corpus here, and flags of
calc_precocity_for_embeddings.py. Out: a Request for a job there; here a whole, verified folder of results. InputError
where something is missing, another job is under way, or a table measured here would be replaced.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from cluster import fetch, follow, jobs, ledger, send
from cluster.jobs import Queue, Request, value_of
from cluster.place import Place, last_line
from cluster.send import Corpus
from corpus import MANIFEST
from script import InputError, file_digest, log, read_json, take_place

# Flags that name a file here, and what it is called there.
NAMED = {
    ("-a", "--articleexclude"): "data/articleexclude.tsv",
    ("-c", "--chunkexclude"): "data/chunkexclude.tsv",
    ("--train-pairs",): "data/train_pairs.tsv",
}
CHUNKS = ("-r", "--rootfolder")
CARRIED = ("years", "passages", "quotes")  # folders of results, beside the tables and the manifest


def prepare(place: Place, corpus: Corpus, request: Request, flags: list[str]) -> str:
    """Send all that the job needs; where one is under way, send nothing and return a line that names it.

    Raises:
        InputError: the place cannot do it, something is missing here, or another job is under way there.
    """
    check_place(place, request.model)
    told = under_way(place, request)
    if not told:
        send.send_code(place)
        send_data(place, corpus, flags)
    return told


# ---------------------------------------------------------------- what runs there


def requested(corpus: Corpus, train: str, sbatch: str, flags: list[str]) -> Request:
    """Return the array of jobs for the years that these flags measure here."""
    years = [document.year for document in replace(corpus, start_year=None, end_year=None).documents()]
    first, end = (year_of(flags, *names) for names in (("-s", "--startdate"), ("-e", "--enddate")))
    first = min(years, default=0) if first is None else first
    end = max(years, default=0) + 1 if end is None else end
    there = ["-m", "data/metadata.tsv", "-d", train, "-o", f"output/precocity/{train}"]
    # The last value of a flag counts: these come behind those of the job file and those given here.
    there += ["-s", str(first), "-e", str(end), *named_there(flags)]
    measured = replace(corpus, start_year=first, end_year=end)
    return jobs.requested("precocity", train, Queue(sbatch=sbatch), [*flags, *there], measured)


def year_of(flags: list[str], *names: str) -> int | None:
    """Return the year that a flag gives, None where it is not given."""
    text = value_of(flags, *names)
    if text and not re.fullmatch("-?[0-9]+", text):
        raise InputError(f"{names[0]} {text}: write a year, for example {names[0]} 1900.")
    return int(text) if text else None


def named_there(flags: list[str]) -> list[str]:
    """Return the flags that name files, with their names there."""
    words = [[names[0], there] for names, there in NAMED.items() if value_of(flags, *names)]
    if value_of(flags, *CHUNKS):
        words.append([CHUNKS[0], "data/chunks"])
    return sum(words, [])


def check_place(place: Place, train: str) -> None:
    """InputError, before anything is sent, where the host does not submit or holds no embeddings of the model.

    A transfer node reaches the same disks as the login node and takes embeddings, but has no Slurm.
    """
    home = place.at("/")
    slurm = home.run(["bash", "-c", "sinfo -h 2>&1"], check=False)
    if slurm.status:
        fault = f"Slurm does not answer on {place.host} ({last_line(slurm.text)})"
        raise InputError(f"{fault}: CAMPUS has to name a login node; a transfer node submits nothing.")
    if home.run(["test", "-d", f"{place.folder}/{train}"], check=False).status:  # whether they are whole, --check sees
        raise InputError(f"there is no {place.path(train)}; make pull-embeddings sends the embeddings there.")


def under_way(place: Place, request: Request) -> str:
    """Return a line about the job that does this already, or nothing. InputError where it measures something else."""
    if not place.has("slurm/environment.sh"):
        return ""
    seen, _ = follow.look(place)
    job = ledger.job_underway(seen, request.stage, request.model)
    if not job:
        return ""
    if all(shlex.join(words) in job.words for words in (request.sbatch, request.flags)):
        return f"job {job.id} does this already; nothing sent, nothing submitted"
    what = f"another precocity of {request.model} is under way on {place.host} (job {job.id})"
    raise InputError(f"{what}: {place.target('wait')}, or {place.target('cancel')} first.")


def send_data(place: Place, corpus: Corpus, flags: list[str]) -> None:
    """Send metadata, the files that flags name and, where passages are compared as texts, the chunk files."""
    files = {corpus.metadata: "data/metadata.tsv"}
    files |= {name: there for names, there in NAMED.items() if (name := value_of(flags, *names))}
    for here, there in files.items():
        if not Path(here).is_file():
            raise InputError(f"there is no {here}; check METADATA and PRECOCITY_FLAGS.")
        place.rsync(["--checksum"], here, place.path(there))
    if chunks := value_of(flags, *CHUNKS):
        names = Corpus(corpus.metadata, chunks).chunk_names()
        place.rsync(["--checksum"], f"{chunks}/", place.path("data/chunks/"), names)
    if not place.dry_run:
        log.info("%s has code, metadata and settings as they are here", place.where)


# ---------------------------------------------------------------- and back


def pull(place: Place, output: str, train: str) -> None:
    """Bring the table, every year's results and last the manifest; each year is compared with its digests."""
    far, target = f"output/precocity/{train}", Path(output, "precocity", train)
    if not place.has(f"{far}/{MANIFEST}"):
        remedy = f"{place.target('status')} tells how far it is, make precocity-cluster goes on"
        raise InputError(f"{place.path(far)} holds no finished table; {remedy}.")
    check_replaced(target)
    staged = target.with_name(f".{train}.pull")
    flags = ["--delete", *(f"--include=/{name}/***" for name in CARRIED), "--include=/*.tsv", f"--include=/{MANIFEST}"]
    flags += ["--exclude=*", f"--copy-dest={target.resolve()}"]
    if not place.dry_run:
        staged.mkdir(parents=True, exist_ok=True)
    for checksum in ([], ["--checksum"]):  # a file left from a pull that was cut off may have the right size and time
        place.rsync([*flags, *checksum], place.path(f"{far}/"), f"{staged}/")
    if place.dry_run:
        return
    manifest = verified(staged, place.path(far))
    (staged / fetch.PULLED).write_text(file_digest(staged / MANIFEST))
    take_place(staged, target)
    (target / MANIFEST).touch()  # newer than the settings, so that make believes it
    log.info("%d documents, %d lines in %s", manifest["documents"], manifest["lines"], target / manifest["table"])


def check_replaced(target: Path) -> None:
    """InputError where the folder here holds precocity that did not come from there."""
    mark = target / fetch.PULLED
    if target.exists() and file_digest(target / MANIFEST) != (mark.read_text() if mark.exists() else ""):
        raise InputError(f"{target} was measured here; move it away, then run make pull-precocity again.")


def verified(folder: Path, where: str) -> dict:
    """Return the manifest of a folder whose files are all what it tells of. InputError names the first that is not."""
    manifest = read_json(folder / MANIFEST)
    years = {int(record["year"]): record["sha256"] for record in manifest["years"]}
    names = {year: (f"years/{year}.tsv", f"passages/{year}.parquet") for year in years}
    files = [file for year in years for file in zip(names[year], years[year])]
    wrong = [name for name, sha256 in files if file_digest(folder / name) != sha256]
    table = Path(manifest["table"]).name
    if not wrong and file_digest(folder / table) != manifest.get("table_sha256", ""):
        wrong = [table]
    if wrong:
        raise InputError(
            f"{where}/{wrong[0]} is not what its record tells of; run the same command again, or, if it stays so, "
            "delete that file there and run make precocity-cluster."
        )
    return manifest
