"""What is brought back from the cluster, or passed on to another machine: models, pair tables, embeddings.

In: Places, the folder of what is made here. Out: whole and verified files only, the file that says it is complete last.
InputError where the far end has not made it, a file is not the one its record tells of, or something made here would be
replaced.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cluster import ledger
from cluster.place import BEGIN, Place, last_line, shown
from cluster.send import training_table
from corpus import MANIFEST, TRAINING_RECORD
from script import InputError, file_digest, log, take_place, write_json

PULLED = ".pulled"  # in a folder that was brought here: the digest of the record that came with it
LIST_RECORDS = """cd "$0" 2> /dev/null || exit 0
[ ! -e manifest.json ] || exec cat manifest.json
for f in decades/*.json; do cat "$f" || [ ! -e "$f" ] || exit; printf "\\0"; done"""


def check_here(record: Path, target: str) -> None:
    """On the cluster itself nothing has to be brought; InputError where it is not made yet."""
    if not record.exists():
        raise InputError(f"no {record} yet: make {target} makes it, make status shows how far it is.")
    log.info("no host is set: %s is here already", record.parent)


def check_made(place: Place, stage: str, train: str, record: str) -> None:
    """InputError where a job is at work on what a record tells of: what is there is of an earlier run."""
    got = place.gather(ledger.parts(record))
    if got and (job := ledger.job_underway(ledger.snapshot(got), stage, train, record)):
        folder = place.path(os.path.dirname(record))
        raise InputError(f"job {job.id} is to make {folder} anew; make wait first, or make cancel.")


# ---------------------------------------------------------------- models


def pull_model(place: Place, output: str, train: str) -> None:
    """Bring a finished model and its record; checkpoints stay where they are."""
    far, target = f"output/models/{train}", Path(output, "models", train)
    record = target / TRAINING_RECORD
    check_made(place, "train", train, f"{far}/{TRAINING_RECORD}")
    if not place.host:
        check_here(record, "train")
        return
    staged = target.with_name(f".{target.name}.pull")
    if not place.has(f"{far}/{TRAINING_RECORD}"):
        raise InputError(f"{place.path(far)} holds no finished model; see make status, and make train goes on.")
    if not place.dry_run:
        staged.mkdir(parents=True, exist_ok=True)
    # A pull that was cut off may have left files of another model.
    flags = ["--delete", "--include=/final/***", "--include=/*.json", "--exclude=*"]
    place.rsync(flags, place.path(f"{far}/"), f"{staged}/")
    # A file left from a pull that was cut off may have the right size and time, and other content.
    place.rsync([*flags, "--checksum"], place.path(f"{far}/"), f"{staged}/")
    if place.dry_run:
        pull_table(place, output, train)
        return
    pulled = file_digest(staged / TRAINING_RECORD)
    mark = target / PULLED
    if target.exists() and file_digest(record) not in (pulled, mark.read_text() if mark.exists() else ""):
        raise InputError(f"{target} holds another model, trained here; move it away, then run make pull-model again.")
    pull_table(place, output, train)
    (staged / PULLED).write_text(pulled)
    take_place(staged, target)
    record.touch()  # newer than the pairs, so that make believes it
    log.info("the model is in %s", target / "final")


def pull_table(place: Place, output: str, train: str) -> None:
    """Bring the table a model was trained on where there is none here: make would have it paraphrased again."""
    table = Path(output, training_table(train))
    if table.exists() or not place.has(f"output/{training_table(train)}"):
        return
    for endings in ((".json", ".journal.jsonl"), ("",)):  # the table last: where it is, all is
        flags = [f"--include=/{table.name}{ending}" for ending in endings]
        place.rsync([*flags, "--exclude=*"], place.path(f"output/{table.parent.name}/"), f"{table.parent}/")
    if not place.dry_run:
        table.touch()  # newer than the pairs


# ---------------------------------------------------------------- embeddings


@dataclass(frozen=True)
class FarEmbeddings:
    """A model's embeddings at the far end: the manifest, if the folder is complete, and each whole decade's record."""

    place: Place
    folder: str
    manifest: dict | None
    records: dict[int, dict]

    def files(self) -> list[str]:
        """Return the files of the decades that have passages."""
        return [record["file"] for record in self.records.values() if record["bytes"] is not None]

    def check_some(self) -> None:
        """InputError where there is no whole decade."""
        if not self.records:
            raise InputError(f"{self.place.path(self.folder)} holds no decade yet; see make status, or run make apply.")

    def check_complete(self) -> None:
        """InputError, after the whole decades were taken over, where others are missing."""
        if self.manifest is None and not self.place.dry_run:
            taken = f"{len(self.records)} decades are whole and were taken over, others are missing"
            raise InputError(f"{self.place.path(self.folder)}: {taken}: see make status; make apply makes them.")


def far_embeddings(place: Place, train: str) -> FarEmbeddings:
    """Ask for the records of a model's embeddings; those of the manifest, where there is one.

    Raises:
        InputError: there is no whole decade, a record is none, or a job is to make a complete folder anew.
    """
    folder = f"output/embeddings/{train}"
    answer = place.run(["bash", "-c", LIST_RECORDS, folder]).text
    if place.dry_run:
        decade = {"decade": "DECADE", "file": "DECADE.parquet", "bytes": 0, "sha256": "SHA256"}
        return FarEmbeddings(place, folder, None, {"DECADE": decade})
    found = FarEmbeddings(place, folder, *read_records(answer, place.path(folder)))
    found.check_some()
    if found.manifest is not None:
        check_made(place, "apply", train, f"{folder}/{MANIFEST}")
    return found


def read_records(answer: str, where: str) -> tuple[dict | None, dict[int, dict]]:
    """Read a manifest, or the records of decades with NUL behind each; return the manifest, and records by decade."""
    try:
        found = [json.loads(text) for text in answer.split("\0") if text.strip()]
    except ValueError as error:
        raise InputError(
            f"{where}: a record is not valid JSON ({error}); delete it there, then run make apply."
        ) from None
    manifest = found[0] if found and isinstance(found[0], dict) and "decades" in found[0] else None
    records = manifest["decades"] if manifest else found
    for record in records if isinstance(records, list) else [records]:
        if not is_record(record):
            what = json.dumps(record)[:80]
            raise InputError(f"{where}: {what} is no record of a decade; delete it there, then run make apply.")
    return manifest, {record["decade"]: record for record in records}


def is_record(record) -> bool:
    """Tell whether this has the form of a decade's record: its names become names of files here."""
    if not isinstance(record, dict) or type(decade := record.get("decade")) is not int:
        return False
    has_file = isinstance(record.get("file"), str) and re.fullmatch(rf"{decade}\.[a-z]+", record["file"])
    size, digest = record.get("bytes", ""), str(record.get("sha256"))
    return bool(has_file) and (size is None or (type(size) is int and re.fullmatch("[0-9a-f]{64}", digest) is not None))


def pull_embeddings(place: Place, output: str, train: str) -> None:
    """Bring the whole decades, verify each by size and SHA-256, and put them in place; the manifest comes last."""
    target = Path(output, "embeddings", train)
    if not place.host:
        check_here(target / MANIFEST, "apply")
        return
    staged = target.with_name(f".{target.name}.pull")
    far = far_embeddings(place, train)
    if not place.dry_run:
        staged.mkdir(parents=True, exist_ok=True)
    place.rsync([f"--copy-dest={target.resolve()}"], place.path(f"{far.folder}/"), f"{staged}/", far.files())
    if place.dry_run:
        return
    verify(far, staged)
    if far.manifest is None:
        take_decades(staged, target, far.records)
        far.check_complete()
    take_embeddings(far, staged, target)
    log.info("%d decades, %d passages in %s", len(far.records), far.manifest["passages"], target)


def is_wrong(folder: Path, record: dict) -> bool:
    """Tell whether a decade's file is not the one its record tells of."""
    path, size = folder / record["file"], record["bytes"]
    return size is not None and (
        not path.is_file() or path.stat().st_size != size or file_digest(path) != record["sha256"]
    )


def verify(far: FarEmbeddings, staged: Path) -> None:
    """Compare each staged file with its record, bring the wrong ones again, and write the records beside them."""
    # Same size and time, other content: the copy here was changed, or a file left from a pull that was cut off.
    damaged = [record["file"] for record in far.records.values() if is_wrong(staged, record)]
    far.place.rsync(["--ignore-times"], far.place.path(f"{far.folder}/"), f"{staged}/", damaged)
    for record in far.records.values():
        if is_wrong(staged, record):
            (staged / record["file"]).unlink(missing_ok=True)
            raise InputError(
                f"{far.place.path(far.folder)}/{record['file']} is not what its record tells of; run the same command "
                "again, or, if it stays so, delete the file there and run make apply."
            )
        write_json(staged / "decades" / f"{record['decade']}.json", record)


def take_decades(staged: Path, target: Path, records: dict[int, dict]) -> None:
    """Put the whole decades of an unfinished folder in place, unless a complete one stands there."""
    if (target / MANIFEST).exists():
        raise InputError(f"{target} is complete and stays as it is; the far folder is not yet: see make status.")
    for record in records.values():
        (target / "decades").mkdir(parents=True, exist_ok=True)
        if record["bytes"] is not None:
            shutil.copy2(staged / record["file"], target / f".{record['file']}.partial")
            os.replace(target / f".{record['file']}.partial", target / record["file"])
        write_json(target / "decades" / f"{record['decade']}.json", record)


def take_embeddings(far: FarEmbeddings, staged: Path, target: Path) -> None:
    """Put a complete staged folder in place. InputError where the one here holds decades that the far one lacks."""
    only_here = {path.stem for path in target.glob("decades/*.json")} - {str(decade) for decade in far.records}
    if only_here:
        where = far.place.path(far.folder)
        raise InputError(f"{target} holds decades that {where} lacks ({min(only_here)} …); move it away first.")
    write_json(staged / MANIFEST, far.manifest)
    for leftover in staged.glob("*.*"):
        if leftover.name not in {*far.files(), MANIFEST}:
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)
    take_place(staged, target)


# ---------------------------------------------------------------- straight to another machine


def pass_on_embeddings(place: Place, campus: Place, train: str) -> None:
    """Send the whole decades from the cluster straight to another machine, through this one but not onto its disk.

    Neither of the two can log in to the other without a tap of Duo; the two connections of make connect can.
    """
    far = far_embeddings(place, train)
    campus.at("/").run(["mkdir", "-p", f"{campus.folder}/decades"])
    for record in far.records.values():
        if record["bytes"] is not None:
            pass_on_file(far, campus, record)
        campus.write(f"decades/{record['decade']}.json", record)
    far.check_complete()
    if far.manifest is not None:
        campus.write(MANIFEST, far.manifest)
    log.info("%d decades in %s", len(far.records), campus.path(""))


def pass_on_file(far: FarEmbeddings, campus: Place, record: dict) -> None:
    """Send one decade's file, going on from where an earlier attempt was cut off."""
    name, partial = record["file"], f".{record['file']}.{record['sha256'][:12]}.partial"
    if campus.digest(name) == record["sha256"]:
        return
    campus.run(["rm", "-f", MANIFEST])
    size = campus.run(["bash", "-c", 'wc -c 2> /dev/null < "$0" || echo 0', partial]).text
    reads = ["tail", "-c", f"+{int(size or 0) + 1}", f"{far.folder}/{name}"]
    sink = campus.command(["bash", "-c", 'cat >> "$0"', partial])
    if campus.dry_run:
        print(f"{shown(far.place.command(reads))} | {shown(sink)}")
        return
    if fault := pipe(far.place.command(reads, BEGIN), sink, BEGIN if far.place.host else ""):
        raise InputError(
            f"{name} to {campus.path('')} stopped ({fault}); run the same command again, it goes on there."
        )
    if campus.digest(partial) != record["sha256"]:
        campus.run(["rm", "-f", partial])
        raise InputError(
            f"{name} arrived damaged at {campus.path('')}; run the same command again, or, if it stays so, delete "
            f"{far.place.path(far.folder)}/{name} and run make apply."
        )
    campus.run(["mv", partial, name])


def pipe(source: list[str], sink: list[str], mark: str) -> str:
    """Send what one command prints to another, from behind the mark on; return what went wrong, or nothing."""
    with subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as reading:
        before = b""
        while not before.endswith(mark.encode()) and (byte := reading.stdout.read(1)):
            before += byte
        writing = subprocess.run(sink, stdin=reading.stdout, capture_output=True)
        reading.stdout.close()
        fault = reading.stderr.read().decode(errors="replace").split(BEGIN, 1)[-1]
    if not reading.returncode and not writing.returncode:
        return ""
    return last_line(writing.stderr.decode(errors="replace")) or last_line(fault) or "the connection broke"
