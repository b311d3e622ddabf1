"""Run the heavy steps on a Slurm cluster: send code and data there, check, submit, follow, bring the results back.

Needs ssh and rsync here, slurm/jobs.sh there. Sends nothing but the files it lists, never deletes at the far end,
and takes over only what is whole. With an empty --host it works on the cluster itself: the same checks, the same
jobs. Exits with 0 only when all of it was done; whatever stopped halfway goes on with the same command.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import corpus
import script
from script import InputError, log

EXAMPLE = "python delta.py train --host delta --folder /projects/bbiq/novelty/tunedembeddings --train para10"

ACTIONS = ("connect", "setup", "sync", "preflight", "train", "apply", "status", "logs", "cancel", "wait")
ACTIONS += ("pull-model", "pull-embeddings")
CODE = (
    "*.py",
    "paraphrase/*.py",
    "tuning/*.py",
    "report/*.py",
    "report/templates/*",
    "precocity/*.py",
    "prompts.toml",
    "slurm/*",
    "Makefile",
    "README.md",
    "LICENSE",
    "requirements.txt",
    "constraints.txt",
    "settings.mk",
    "config.example.mk",
)
# A far end that is gone without a word would be waited for for ever.
PATIENCE = ("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
COPY = ("-rltz", "--partial-dir=.rsync-partial")  # without -p: the far folder's own group and rights
AT_ONCE = 8  # tasks of the array, where the job file does not say
NOT_ENDED = re.compile("PENDING|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|REQUEUE|RESIZING|STOPPED|SIGNALING")


# ---------------------------------------------------------------- a folder on another machine


class Place:
    """The project's folder on a machine reached by ssh, or on this one where host is empty."""

    def __init__(self, host: str, folder: str, ssh: str, dry_run: bool):
        if host and not folder.startswith("/"):
            raise InputError(f"{host}:{folder} is not a whole path; DELTA_DIR, and CAMPUS after host:, begin with /.")
        self.host, self.folder, self.dry_run = host, folder if host else ".", dry_run
        self.login = [*shlex.split(ssh), *PATIENCE, *self.shared_connection(ssh)]
        self.ssh = [*self.login, "-o", "BatchMode=yes"]  # where a login would ask a person, fail

    def at(self, folder: str) -> Place:
        """Return another folder on the same machine."""
        other = copy.copy(self)
        other.folder = folder
        return other

    def shared_connection(self, ssh: str) -> list[str]:
        """Return the options that let all commands use one connection, unless the user's ssh config has its own."""
        if not self.host:
            return []
        resolved = subprocess.run([*shlex.split(ssh), "-G", self.host], capture_output=True, text=True).stdout
        if re.search(r"^controlpath (?!none)", resolved, re.MULTILINE):
            return []
        return ["-o", "ControlMaster=auto", "-o", "ControlPath=~/.ssh/cm-%C", "-o", "ControlPersist=8h"]

    def command(self, words: list[str]) -> list[str]:
        """Return the command that runs these words in the folder, in a login shell: modules and Slurm are there.

        What the user's profile prints goes nowhere: it would stand in front of every answer.
        """
        if not self.host:
            return words
        there = f"exec >&3 3>&-; cd {shlex.quote(self.folder)} && {shlex.join(words)}"
        return [*self.ssh, self.host, f"bash -lc {shlex.quote(there)} 3>&1 > /dev/null"]

    def run(self, words: list[str], capture: bool = False, check: bool = True, text: str | None = None):
        """Run words in the folder, with text on standard input; return the completed process.

        Raises:
            InputError: no connection, or with `check` the words failed.
        """
        command = self.command(words)
        if self.dry_run:
            print(shown(command))
            return subprocess.CompletedProcess(command, 0, "", "")
        out = subprocess.PIPE if capture else None
        # Never this terminal's input: ssh would swallow what is typed or piped for the next command.
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, input=text or "")
        if self.host and done.returncode == 255:
            raise InputError(self.no_connection(done.stderr))
        said = "".join(line for line in done.stderr.splitlines(True) if "Shared connection to" not in line)
        if check and done.returncode and re.search(r"(cd:|slurm/\w+\.sh:).*No such file or directory", said):
            raise InputError(f"{self.path('')}: the project is not there yet; run make sync-delta first.")
        if check and done.returncode:
            fault = no_room(said) or last_line(said) or f"{shlex.join(words[:4])} failed"
            raise InputError(f"{self.host or 'here'}: {fault}")
        sys.stderr.write("" if capture else said)
        return done

    def has(self, name: str) -> bool:
        """Tell whether the folder holds a file of this name; in a dry run yes."""
        return self.run(["test", "-e", name], check=False).returncode == 0

    def no_connection(self, said: str) -> str:
        return f"no connection to {self.host} ({last_line(said) or 'ssh gave up'}); run make connect first."

    def path(self, name: str) -> str:
        """Return a name in the folder as rsync writes it."""
        return f"{self.host}:{self.folder}/{name}" if self.host else name

    def rsync(self, flags: list[str], source: str, target: str, names: list[str] | None = None) -> list[str]:
        """Copy whole files beside their names and rename them; return rsync's lines. InputError where it stops."""
        if names == []:
            return []
        command = ["rsync", *COPY, *flags, "-e", shlex.join(self.ssh)]
        if re.search(r"[^\w@%+=:,./~-]", self.folder):
            command.append("-s")  # older versions of rsync would have the far shell split the path
        if names is not None:
            command += ["--from0", "--files-from=-"]
        command += [source, target]
        if self.dry_run:
            print(shown(command) + (f"  # {len(names)} names on standard input" if names is not None else ""))
            return []
        # Without ./ a name that begins with # or ; is a comment to rsync.
        names_in = "".join(f"./{name}\0" for name in names) if names is not None else None
        done = subprocess.run(command, input=names_in, capture_output=True, text=True)
        if done.returncode:
            raise InputError(self.rsync_failure(done, source))
        return done.stdout.splitlines()

    def rsync_failure(self, done: subprocess.CompletedProcess, source: str) -> str:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        if full := no_room(done.stderr):
            return f"copying {source}: {full}"
        if re.search("rsync.*(unknown|unrecognized|invalid) option", done.stderr):
            return f"this rsync is too old ({said[0]}); install rsync 3 (on a Mac: brew install rsync)."
        if done.returncode == 255 or "Permission denied (" in done.stderr:
            return self.no_connection(said[0] if said else "")
        first = said[0] if said else f"rsync ended with {done.returncode}"
        return f"copying {source} stopped ({first}); run the same command again, what came through is kept."


def shown(command: list[str]) -> str:
    """Return a command to read and to paste; words with spaces in double quotes where that changes nothing."""
    return " ".join(word if word == shlex.quote(word) else quoted(word) for word in command)


def quoted(word: str) -> str:
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def last_line(text: str) -> str:
    """Return the last line that holds anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def no_room(said: str) -> str:
    """Return the line that tells of a full disk, and what to do; nothing where none does."""
    full = [line.strip() for line in said.splitlines() if "No space left" in line or "quota" in line.lower()]
    return f"{full[0]}; make room (old models, checkpoints), then run the same command again." if full else ""


# ---------------------------------------------------------------- connecting, setting up


def connect(args, delta: Place, campus: Place | None) -> None:
    """Open the connection that all other commands use: one password and one tap of Duo for the day."""
    for place in filter(None, (delta, campus)):
        if not place.host:
            log.info("no host is set: this is the cluster itself, nothing to connect to")
            continue
        command = [*place.login, "-o", "ControlMaster=auto", "-o", "ControlPersist=8h", place.host, "true"]
        if args.dry_run:
            print(shown(command))
        elif subprocess.run(command).returncode:
            raise InputError(f"ssh {place.host} failed; check the host's name in config.mk and your ssh config.")
        else:
            log.info("connected to %s; the connection stays open for hours", place.host)


def setup(args, delta: Place) -> None:
    """Make folders and environment on the cluster and fetch the base model."""
    if delta.host:
        send_code(delta)
    delta.run(["bash", "slurm/setup.sh", args.base_model, *shlex.split(args.pip_flags)])


# ---------------------------------------------------------------- sending


def code_files() -> list[str]:
    """Return the files of the project that the cluster needs."""
    here = Path(__file__).resolve().parent
    files = [path.relative_to(here) for pattern in CODE for path in sorted(here.glob(pattern)) if path.is_file()]
    return [str(path) for path in files if not path.name.startswith(".")]


def send_code(delta: Place) -> None:
    """Send scripts and job files, but leave as they are those that were edited at the far end since."""
    here = Path(__file__).resolve().parent
    make_folder(delta)
    local = {name: script.file_digest(here / name) for name in code_files()}
    sent, there = digests_there(delta, list(local))
    kept = {name for name in there if not there[name] <= sent.get(name, set()) | {local[name]}}
    for name in sorted(kept):
        if name in sent and local[name] not in sent[name]:
            raise InputError(
                f"{name} was edited here and on {delta.host} since it was sent: bring the two together by hand, or "
                f"delete {delta.folder}/{name} there."
            )
        log.info("%s was edited on %s: left as it is there (delete it there to send this one)", name, delta.host)
    ours = {name: sent.get(name, set()) if name in kept else {local[name]} for name in local}
    lines = "".join(f"{digest}  {name}\n" for name, digests in ours.items() for digest in digests)
    # Known before it is sent: where that is cut off, what came through does not count as edited there.
    delta.run(["bash", "-c", "cat >> .sent"], text=f"\n{lines}")
    delta.rsync(["--checksum"], f"{here}/", delta.path(""), [name for name in local if name not in kept])
    write_there(delta, ".sent", lines)
    write_there(delta, ".commit", f"{script.commit() or ''}\n")


def make_folder(delta: Place) -> None:
    """Make the far folder with those for data and logs in it."""
    folders = ("slurm", "logs", "data/chunks", "output/pairs", "output/paraphrased")
    delta.at("/").run(["mkdir", "-p", *(f"{delta.folder}/{name}" for name in folders)])


def digests_there(delta: Place, names: list[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return SHA-256 by name: as sent last, and as the files at the far end are now."""
    script = "exec 2> /dev/null; cat .sent; echo ==; xargs -0 sha256sum"
    answer = delta.run(["bash", "-c", script], capture=True, check=False, text="\0".join(names)).stdout
    sent, there = answer.partition("==\n")[::2]
    return digests_by_name(sent), digests_by_name(there)


def digests_by_name(lines: str) -> dict[str, set[str]]:
    """Return what sha256sum printed, or send_code wrote, as a dict."""
    digests: dict[str, set[str]] = {}
    for digest, _, name in (line.partition("  ") for line in lines.splitlines()):
        digests.setdefault(name, set()).add(digest)
    return digests


def training_table(train: str) -> str:
    """Return the name of a model's pair table below the output folder."""
    return "pairs/nopara.tsv" if train == "nopara" else f"paraphrased/{train}.tsv"


def pair_tables(args, delta: Place) -> list[str]:
    """Return the tables of pairs below the output folder, without the records beside them.

    Raises:
        InputError: the model has no table, here or there, nor one to be paraphrased there.
    """
    paths = sorted(Path(args.output).glob("pairs/*para*.tsv")) + sorted(Path(args.output).glob("paraphrased/para*.tsv"))
    tables = [f"{path.parent.name}/{path.name}" for path in paths if ".tsv" not in path.stem]
    needed, pairs = training_table(args.train), f"pairs/{args.train}.tsv"
    if args.train == "base" or needed in tables or delta.has(f"output/{needed}"):
        return tables
    if pairs not in tables:
        made_by = "pairs-no-paraphrase" if args.train == "nopara" else f"pairs TRAIN={args.train}"
        raise InputError(f"no {args.output}/{pairs}; run make {made_by} first.")
    log.info("not paraphrased yet: make paraphrase, or slurm/paraphrase_local.slurm there, does it (README, By hand)")
    return tables


def chunk_names(args) -> list[str]:
    """Return the chunk files of the metadata's documents that exist."""
    documents, _ = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    names = [document.filename for document in documents if (Path(args.rootfolder) / document.filename).is_file()]
    if not names:
        raise InputError(f"{args.rootfolder} holds no chunk file of {args.metadatapath}; check METADATA and CHUNKS.")
    return names


def sync(args, delta: Place) -> None:
    """Send code, pairs, metadata and chunk files; whole files only, compared by content."""
    if not delta.host:
        log.info("no host is set: this is the cluster itself, nothing to send")
        return
    tables = pair_tables(args, delta)
    names = chunk_names(args)
    send_code(delta)
    changed = [
        *delta.rsync(["-i", "--checksum"], f"{args.output}/", delta.path("output/"), tables),
        *delta.rsync(["-i", "--checksum"], args.metadatapath, delta.path("data/metadata.tsv")),
        *delta.rsync(["-i", "--checksum"], f"{args.rootfolder}/", delta.path("data/chunks/"), names),
    ]
    new = sum(line.startswith("<f") for line in changed)
    total = len(names) + len(tables) + 1
    log.info("%d of %d files of data were new or changed; %s is up to date", new, total, delta.path(""))


def check_sent(args, delta: Place, stage: str) -> None:
    """InputError where the far end has not what is here. Chunk files are compared by size and time only: seconds."""
    if not delta.host:
        return
    if stage == "train":
        # Who has no table here trains on the one that lies there; the checks over there look at it.
        here = [name for name in [training_table(args.train)] if (Path(args.output) / name).exists()]
        differ = delta.rsync(["-n", "-i", "--checksum"], f"{args.output}/", delta.path("output/"), here)
    else:
        differ = [
            *delta.rsync(["-n", "-i", "--checksum"], args.metadatapath, delta.path("data/metadata.tsv")),
            *delta.rsync(["-n", "-i"], f"{args.rootfolder}/", delta.path("data/chunks/"), chunk_names(args)),
        ]
    files = [line.split(" ", 1)[1] for line in differ if line.startswith("<f")]
    if files:
        raise InputError(f"{delta.host} lacks {len(files)} files as they are here ({files[0]} …); run make sync-delta.")


# ---------------------------------------------------------------- checking, submitting, following


def job_words(args, stage: str) -> list[str]:
    """Return the flags of sbatch, the job file and the script's flags: what the user set; the file has the rest."""
    if stage == "train" and args.train == "base":
        raise InputError("TRAIN=base is the model as it came: there is nothing to train; make apply TRAIN=base embeds.")
    name = f"train_{args.train}" if stage == "train" else "apply_tuned"
    job = f"slurm/{name}.slurm"
    if not Path(job).exists():
        raise InputError(f"there is no {job}; copy slurm/train_para20.slurm to that name and edit it.")
    flags = [f"--{name}={value}" for name in ("account", "partition") if (value := getattr(args, name))]
    if stage == "apply":
        flags += [f"--array={array_of_decades(args, job)}"]
    return [*flags, *shlex.split(args.sbatch), job, *args.flags]


def array_of_decades(args, job: str) -> str:
    """Return the array's indices, decades of the metadata without their 0, as 179,181-202 with the file's %limit."""
    documents, _ = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    decades = sorted({corpus.decade_of(document.year) // 10 for document in documents})
    if not decades:
        raise InputError(f"{args.metadatapath} has no document of the years asked for; check START_YEAR and END_YEAR.")
    if decades[0] < 0:
        raise InputError("an array has no negative indices: embed years before 0 with Apply_Tuned_Model.py in one job.")
    ranges: list[list[int]] = []
    for decade in decades:
        if ranges and ranges[-1][1] == decade - 1:
            ranges[-1][1] = decade
        else:
            ranges.append([decade, decade])
    limit = re.search(r"^#SBATCH --array=[^%\s]*(%\d+)", Path(job).read_text(encoding="utf-8"), re.MULTILINE)
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
    return text + (limit[1] if limit else f"%{AT_ONCE}")


def preflight(args, delta: Place, stage: str) -> None:
    """Check all that could fail later; InputError where something would."""
    words = job_words(args, stage)
    check_sent(args, delta, stage)
    delta.run(["bash", "slurm/jobs.sh", "preflight", stage, args.train, *words])


def submit(args, delta: Place, stage: str) -> None:
    """Check, then submit; a job that is under way already is named and not submitted again."""
    preflight(args, delta, stage)
    delta.run(["bash", "slurm/jobs.sh", "submit", stage, args.train, *job_words(args, stage)])


def wait(args, delta: Place) -> None:
    """Return when the model's jobs have ended well; InputError where one has not, or none is known."""
    seen = None
    while True:
        found = delta.run(["bash", "slurm/jobs.sh", "state", args.train], capture=True).stdout
        jobs = [line.split("\t") for line in found.splitlines() if line.count("\t") == 3]
        if args.dry_run:
            return
        if not jobs:
            raise InputError(f"no job of {args.train} was submitted by make; run make train or make apply.")
        states = ", ".join(f"{stage} {job} {state}" for stage, _, job, state in jobs)
        if states != seen:
            log.info("%s", states)
            seen = states
        if not any(NOT_ENDED.search(state) for *_, state in jobs):
            break
        time.sleep(args.every)
    bad = [
        f"{stage} job {job} {state}" for stage, _, job, state in jobs if not re.fullmatch(r"COMPLETED(×\d+)?", state)
    ]
    if bad:
        raise InputError(f"{'; '.join(bad)}: make logs TRAIN={args.train} shows why; the same make target goes on.")


# ---------------------------------------------------------------- bringing back


def take_place(staged: Path, target: Path) -> None:
    """Rename a whole staged folder to its name; what stood there goes only after."""
    aside = target.with_name(f".{target.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    staged.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def check_here(record: Path, target: str) -> None:
    """On the cluster itself nothing has to be brought; InputError where it is not made yet."""
    if not record.exists():
        raise InputError(f"no {record} yet: make {target} makes it, make status shows how far it is.")
    log.info("no host is set: %s is here already", record.parent)


def pull_model(args, delta: Place) -> None:
    """Bring a finished model and its record; checkpoints stay where they are."""
    far, target = f"output/models/{args.train}", Path(args.output, "models", args.train)
    record = target / corpus.TRAINING_RECORD
    if not delta.host:
        check_here(record, "train")
        return
    staged = target.with_name(f".{target.name}.pull")
    if not delta.has(f"{far}/{corpus.TRAINING_RECORD}"):
        raise InputError(f"{delta.path(far)} holds no finished model; see make status, and make train goes on.")
    if not args.dry_run:
        staged.mkdir(parents=True, exist_ok=True)
    flags = ["--include=/final/***", "--include=/*.json", "--exclude=*"]
    delta.rsync(flags, delta.path(f"{far}/"), f"{staged}/")
    # A file left from a pull that was cut off may have the right size and time, and other content.
    delta.rsync([*flags, "--checksum"], delta.path(f"{far}/"), f"{staged}/")
    if args.dry_run:
        pull_table(args, delta)
        return
    pulled = script.file_digest(staged / corpus.TRAINING_RECORD)
    mark = target / ".pulled"  # the digest of the record that came with the model
    if target.exists() and script.file_digest(record) not in (pulled, mark.read_text() if mark.exists() else ""):
        raise InputError(f"{target} holds another model, trained here; move it away, then run make pull-model again.")
    pull_table(args, delta)
    (staged / ".pulled").write_text(pulled)
    take_place(staged, target)
    record.touch()  # newer than the pairs, so that make believes it
    log.info("the model is in %s", target / "final")


def pull_table(args, delta: Place) -> None:
    """Bring the table a model was trained on where there is none here: make would have it paraphrased again."""
    table = Path(args.output, training_table(args.train))
    if table.exists() or not delta.has(f"output/{training_table(args.train)}"):
        return
    for endings in ((".json", ".journal.jsonl"), ("",)):  # the table last: where it is, all is
        flags = [f"--include=/{table.name}{ending}" for ending in endings]
        delta.rsync([*flags, "--exclude=*"], delta.path(f"output/{table.parent.name}/"), f"{table.parent}/")
    if not args.dry_run:
        table.touch()  # newer than the pairs


def far_records(delta: Place, far: str) -> tuple[dict | None, dict]:
    """Return the manifest, if the folder is complete, and the record of each whole decade: those of the manifest."""
    script = """cd "$0" 2> /dev/null || exit 0
[ ! -e manifest.json ] || exec cat manifest.json
for f in decades/*.json; do cat "$f" || [ ! -e "$f" ] || exit; printf "\\0"; done"""
    answer = delta.run(["bash", "-c", script, far], capture=True).stdout
    if delta.dry_run:
        return None, {"DECADE": {"decade": "DECADE", "file": "DECADE.parquet", "bytes": 0, "sha256": "SHA256"}}
    try:
        found = [json.loads(text) for text in answer.split("\0") if text.strip()]
    except ValueError as error:
        raise InputError(
            f"{delta.path(far)}: a record is not valid JSON ({error}); delete it there, then run make apply."
        ) from None
    manifest = found[0] if found and "decades" in found[0] else None
    return manifest, {record["decade"]: record for record in (manifest["decades"] if manifest else found)}


def wrong(folder: Path, record: dict) -> bool:
    """Tell whether a decade's file is not the one its record tells of."""
    path, size = folder / record["file"], record["bytes"]
    return size is not None and (
        not path.is_file() or path.stat().st_size != size or script.file_digest(path) != record["sha256"]
    )


def check_complete(delta: Place, far: str, manifest: dict | None, records: dict) -> None:
    """InputError, after the whole decades were taken over, where others are missing."""
    if manifest is None and not delta.dry_run:
        raise InputError(
            f"{delta.path(far)}: {len(records)} decades are whole and were taken over, others are missing: see make "
            "status; make apply makes them."
        )


def pull_embeddings(args, delta: Place) -> None:
    """Bring the whole decades, verify each by size and SHA-256, and put them in place; the manifest comes last."""
    far, target = f"output/embeddings/{args.train}", Path(args.output, "embeddings", args.train)
    if not delta.host:
        check_here(target / corpus.MANIFEST, "apply")
        return
    staged = target.with_name(f".{target.name}.pull")
    manifest, records = far_records(delta, far)
    files = [record["file"] for record in records.values() if record["bytes"] is not None]
    if not args.dry_run:
        if not records:
            raise InputError(f"{delta.path(far)} holds no decade yet; see make status, or run make apply.")
        staged.mkdir(parents=True, exist_ok=True)
    delta.rsync([f"--copy-dest={target.resolve()}"], delta.path(f"{far}/"), f"{staged}/", files)
    if args.dry_run:
        return
    # Same size and time, other content: the copy here was changed, or a file left from a pull that was cut off.
    damaged = [record["file"] for record in records.values() if wrong(staged, record)]
    delta.rsync(["--ignore-times"], delta.path(f"{far}/"), f"{staged}/", damaged)
    for record in records.values():
        if wrong(staged, record):
            (staged / record["file"]).unlink(missing_ok=True)
            raise InputError(
                f"{delta.path(far)}/{record['file']} is not what its record tells of; run the same command "
                "again, or, if it stays so, delete the file there and run make apply."
            )
        script.write_json(staged / "decades" / f"{record['decade']}.json", record)
    if manifest is None:
        take_decades(staged, target, records)
        check_complete(delta, far, manifest, records)
    only_here = {path.stem for path in target.glob("decades/*.json")} - {str(decade) for decade in records}
    if only_here:
        raise InputError(
            f"{target} holds decades that {delta.path(far)} lacks ({min(only_here)} …); move it away first."
        )
    script.write_json(staged / corpus.MANIFEST, manifest)
    for leftover in staged.glob("*.*"):
        if leftover.name not in {*files, corpus.MANIFEST}:
            leftover.unlink() if leftover.is_file() else shutil.rmtree(leftover)
    take_place(staged, target)
    log.info("%d decades, %d passages in %s", len(records), manifest["passages"], target)


def take_decades(staged: Path, target: Path, records: dict) -> None:
    """Put the whole decades of an unfinished folder in place, unless a complete one stands there."""
    if (target / corpus.MANIFEST).exists():
        raise InputError(f"{target} is complete and stays as it is; the far folder is not yet: see make status.")
    for record in records.values():
        (target / "decades").mkdir(parents=True, exist_ok=True)
        if record["bytes"] is not None:
            shutil.copy2(staged / record["file"], target / f".{record['file']}.partial")
            os.replace(target / f".{record['file']}.partial", target / record["file"])
        script.write_json(target / "decades" / f"{record['decade']}.json", record)


def pass_on_embeddings(args, delta: Place, campus: Place) -> None:
    """Send the whole decades from the cluster straight to another machine, through this one but not onto its disk.

    Neither of the two can log in to the other without a tap of Duo; the two connections of make connect can.
    """
    far = f"output/embeddings/{args.train}"
    manifest, records = far_records(delta, far)
    if not records:
        raise InputError(f"{delta.path(far)} holds no decade yet; see make status, or run make apply.")
    campus.at("/").run(["mkdir", "-p", f"{campus.folder}/decades"])
    for record in records.values():
        if record["bytes"] is not None:
            pass_on_file(delta, campus, far, record)
        write_there(campus, f"decades/{record['decade']}.json", record)
    check_complete(delta, far, manifest, records)
    if manifest is not None:
        write_there(campus, corpus.MANIFEST, manifest)
    log.info("%d decades in %s", len(records), campus.path(""))


def pass_on_file(delta: Place, campus: Place, far: str, record: dict) -> None:
    """Send one decade's file, going on from where an earlier attempt was cut off."""
    name, partial = record["file"], f".{record['file']}.{record['sha256'][:12]}.partial"
    if digest_there(campus, name) == record["sha256"]:
        return
    campus.run(["rm", "-f", corpus.MANIFEST])
    size = campus.run(["bash", "-c", 'wc -c 2> /dev/null < "$0" || echo 0', partial], capture=True).stdout
    source = delta.command(["tail", "-c", f"+{int(size or 0) + 1}", f"{far}/{name}"])
    sink = campus.command(["bash", "-c", 'cat >> "$0"', partial])
    if campus.dry_run:
        print(f"{shown(source)} | {shown(sink)}")
        return
    with subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        writing = subprocess.run(sink, stdin=reading.stdout, capture_output=True, text=True)
        reading.stdout.close()
        fault = reading.stderr.read().decode(errors="replace")
    if reading.returncode or writing.returncode:
        what = last_line(writing.stderr) or last_line(fault) or "the connection broke"
        raise InputError(f"{name} to {campus.path('')} stopped ({what}); run the same command again, it goes on there.")
    if digest_there(campus, partial) != record["sha256"]:
        campus.run(["rm", "-f", partial])
        raise InputError(
            f"{name} arrived damaged at {campus.path('')}; run the same command again, or, if it stays so, delete "
            f"{delta.path(far)}/{name} and run make apply."
        )
    campus.run(["mv", partial, name])


def digest_there(place: Place, name: str) -> str:
    return place.run(["bash", "-c", 'sha256sum < "$0" 2> /dev/null || true', name], capture=True).stdout[:64]


def write_there(place: Place, name: str, data: dict | str) -> None:
    """Write a small file, JSON or text, at the far end, whole or not at all."""
    text = data if isinstance(data, str) else json.dumps(data, indent=1, ensure_ascii=False)
    # To cat, a connection that was cut off is the end of the file.
    script = 'cat > "$0.partial" && [ "$(wc -c < "$0.partial")" -eq "$1" ] && mv "$0.partial" "$0"'
    place.run(["bash", "-c", script, name, str(len(text.encode()))], text=text)


# ---------------------------------------------------------------- the command


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.usage = "delta.py [options] action [-- flags of the script that the job runs]"
    add = arguments.add_argument
    add("action", choices=ACTIONS)
    add("--host", default="", help="ssh host of the cluster; empty on the cluster itself")
    add("--folder", default=".", help="the project's folder there")
    add("--campus", default="", metavar="HOST:PATH", help="pull-embeddings: send them there, below PATH/MODEL")
    add("--ssh", default="ssh", help="how to call ssh (default %(default)s)")
    add("--dry-run", action="store_true", help="print the commands; run none")
    add(
        "--train",
        default="para10",
        metavar="MODEL",
        help="para10, para20, nopara; base for embeddings (default %(default)s)",
    )
    add("--output", default="output", metavar="FOLDER", help="where everything made goes here (default %(default)s)")
    corpus_flags = arguments.add_argument_group("corpus (sync, apply)")
    corpus_flags.add_argument("-t", "--metadatapath", default="data/metadata.tsv", metavar="TSV")
    corpus_flags.add_argument("-r", "--rootfolder", default="data/chunks", metavar="FOLDER")
    corpus_flags.add_argument("-s", "--startyear", type=int, metavar="YEAR", help="first year, inclusive")
    corpus_flags.add_argument("-e", "--endyear", type=int, metavar="YEAR", help="last year, exclusive")
    job = arguments.add_argument_group("job (what is not given stays as the job file has it)")
    job.add_argument("--account")
    job.add_argument("--partition")
    job.add_argument("--sbatch", default="", metavar="FLAGS", help="more flags of sbatch, in one string")
    job.add_argument("--stage", choices=("train", "apply"), default="train", help="preflight: of which job")
    more = arguments.add_argument_group("others")
    more.add_argument("--base-model", default="sentence-transformers/all-distilroberta-v1", help="setup: fetched there")
    more.add_argument("--pip-flags", default="", help="setup: more flags of pip, in one string")
    more.add_argument("--follow", action="store_true", help="logs: go on showing what comes")
    more.add_argument("--every", type=float, default=60, metavar="SECONDS", help="wait: between looks (default 60)")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = arguments.parse_args(words[:cut])
    args.flags = words[cut + 1 :]
    return args


def place_of(campus: str, args) -> Place | None:
    """Return the folder PATH/MODEL of HOST:PATH."""
    if not campus:
        return None
    host, colon, path = campus.partition(":")
    if not (host and colon and path):
        raise InputError(f"CAMPUS is {campus!r}; it is host:path, for example campus:/projects/me/embeddings.")
    return Place(host, f"{path.rstrip('/')}/{args.train}", args.ssh, args.dry_run)


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    delta, campus = Place(args.host, args.folder, args.ssh, args.dry_run), place_of(args.campus, args)
    if not args.host and args.action not in ("connect",) and shutil.which("sbatch") is None and not args.dry_run:
        raise InputError(
            "DELTA is empty and there is no sbatch here; set DELTA in config.mk to your ssh host of the cluster."
        )
    if args.action == "connect":
        connect(args, delta, campus)
    elif args.action == "setup":
        setup(args, delta)
    elif args.action == "sync":
        sync(args, delta)
    elif args.action == "preflight":
        preflight(args, delta, args.stage)
    elif args.action in ("train", "apply"):
        submit(args, delta, args.action)
    elif args.action == "wait":
        wait(args, delta)
    elif args.action == "pull-model":
        pull_model(args, delta)
    elif args.action == "pull-embeddings":
        if campus:
            pass_on_embeddings(args, delta, campus)
        else:
            pull_embeddings(args, delta)
    else:
        words = {"status": [], "cancel": [args.train], "logs": [args.train, *(["follow"] if args.follow else [])]}
        delta.run(["bash", "slurm/jobs.sh", args.action, *words[args.action]])
    return 0


if __name__ == "__main__":
    sys.exit(main())
