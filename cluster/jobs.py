"""What a job runs, and how it is submitted: never twice, and never without its line in the ledger.

In: a Place, a Request, what its job file prints. Out: a line for the user. InputError where nothing was submitted. What
to do is decided from a Snapshot (ledger.py) taken under a lock; one round trip takes lock and Snapshot, one more acts.
"""

from __future__ import annotations

import posixpath
import re
import shlex
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster import cost, ledger
from cluster.ledger import LEDGER, Job, Snapshot
from cluster.place import Answer, Place, last_line
from cluster.send import Corpus, set_of
from corpus import MANIFEST, TRAINING_RECORD, decade_of
from script import InputError

AT_ONCE = 8  # tasks of the array, where the job file does not say
FILE_CORES = 16  # what the job files ask for: a GPU's share of most nodes
LOCK = "logs/.submitting"
PAUSE, TRIES = 2, 120  # seconds between tries for the lock, and how many
# A site's sbatch may print a banner around the id, or a sentence in spite of --parsable.
JOB_ID = r"s/^ *(Submitted batch job )?([0-9]+)(;.*| on cluster .*)? *$/\2/p"
RECORDS = {"train": TRAINING_RECORD, "apply": MANIFEST, "precocity": MANIFEST}
FILES = {"train": "slurm/train_{}.slurm", "apply": "slurm/apply_tuned.slurm", "precocity": "slurm/precocity.slurm"}


# ---------------------------------------------------------------- what a job runs


@dataclass(frozen=True)
class Queue:
    """How jobs are queued. An empty setting leaves what the job file says."""

    account: str = ""
    partition: str = ""
    sbatch: str = ""  # more flags of sbatch, as one would type them
    shards: int = 1  # tasks among which the passages are divided

    def words(self) -> list[str]:
        set_here = {"account": self.account, "partition": self.partition}
        share = cost.share_of(self.partition)
        if share and share.cores < FILE_CORES:
            set_here["cpus-per-task"] = share.cores
        return [f"--{name}={value}" for name, value in set_here.items() if value]


@dataclass(frozen=True)
class Request:
    """A job to submit: flags of sbatch, the job file, flags of the script that it runs."""

    stage: str
    model: str
    sbatch: tuple[str, ...]
    file: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """What a job would run, from its script on; the model it reads, and the file that marks its work as complete."""

    words: tuple[str, ...]
    model: str
    record: str
    adjusts: bool = False  # the model is trained, and a run only adjusts it anew


def requested(stage: str, model: str, queue: Queue, flags: list[str], corpus: Corpus) -> Request:
    """Return the job of a stage, with what the user set; the job file has the rest."""
    if stage == "train" and model == "base":
        raise InputError("TRAIN=base is the model as it came: there is nothing to train; make apply TRAIN=base embeds.")
    file, named, folder = job_file(stage, model)
    array = [f"--array={array_of_decades(corpus, file)}"] if stage == "precocity" else []
    if stage == "apply" and queue.shards > 1:
        array = [f"--array=1-{queue.shards}", "--output=logs/%x-%A_%a.out"]
    words = (*named, *queue.words(), *array, *shlex.split(queue.sbatch))
    return Request(stage, model, words, file, (*folder, *flags))


def job_file(stage: str, model: str) -> tuple[str, list[str], list[str]]:
    """Return a stage's job file, and the words of sbatch and of the script that go before the user's.

    A second model of the same pairs that has no job file takes the first's, with a name and a folder of its own.
    """
    file, first = FILES[stage].format(model), FILES[stage].format(set_of(model))
    if Path(file).exists():
        return file, [], []
    if not Path(first).exists():
        raise InputError(f"there is no {first}; copy slurm/train_para20.slurm to that name and edit it.")
    return first, [f"--job-name={stage}_{model}"], ["-o", f"output/models/{model}"]


def array_of_decades(corpus: Corpus, file: str) -> str:
    """Return the array's indices, decades of the metadata without their 0, as 179,181-202 with the file's %limit."""
    decades = sorted({decade_of(document.year) // 10 for document in corpus.documents()})
    if not decades:
        raise InputError(f"{corpus.metadata} has no document of the years asked for; check START_YEAR and END_YEAR.")
    if decades[0] < 0:
        raise InputError("an array has no negative indices: run the script in one job for years before 0.")
    ranges: list[list[int]] = []
    for decade in decades:
        if ranges and ranges[-1][1] == decade - 1:
            ranges[-1][1] = decade
        else:
            ranges.append([decade, decade])
    limit = re.search(r"^#SBATCH --array=[^%\s]*(%\d+)", Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    text = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
    return text + (limit[1] if limit else f"%{AT_ONCE}")


def show_command(request: Request) -> str:
    """Return the script that has the job file print the command it would run, a word a line."""
    job = "SHOW_COMMAND=yes SLURM_SUBMIT_DIR=$PWD SLURM_ARRAY_TASK_ID=0 SLURM_GPUS_ON_NODE=1"
    return f"{job} bash {shlex.join([request.file, *request.flags])}"


def read_command(stage: str, printed: str) -> Command:
    """Read the command that a job file printed: its script and all words after it."""
    lines = printed.splitlines()
    first = next((i for i, word in enumerate(lines) if word.endswith(".py")), len(lines))
    model = value_of(lines, "-m", "--modelpath")
    folder = value_of(lines, "-o", "--outputdir", "--outputpath", "--outputfolder")
    return Command(tuple(lines[first:]), model, f"{folder}/{RECORDS[stage]}")


def value_of(words: list[str], *names: str) -> str:
    """Return the last value of a flag among words, given as --name value or --name=value."""
    found = ""
    for word, following in zip(words, [*words[1:], ""]):
        if word in names:
            found = following
        elif word.partition("=")[0] in names and word.startswith("--"):
            found = word.partition("=")[2]
    return found


# ---------------------------------------------------------------- submitting


@dataclass(frozen=True)
class Step:
    """What to do at the far end, as scripts, and what to tell the user."""

    scripts: dict[str, str]
    told: str


def submit(place: Place, request: Request, command: Command) -> str:
    """Submit a job, unless another does the same or its work is complete; return a line that says what happened.

    Of two submissions at once, the second waits for the lock and then finds the first one's job.
    """
    mark, seen = take_lock(place, command)
    release = f"rmdir {LOCK}"
    try:
        step = next_step(request, command, seen)
    except InputError:
        place.gather({"release": release})
        raise
    still_ours = f"[ \"$(stat -c '%i %Y' {LOCK})\" = {shlex.quote(mark)} ]"
    keep = f"trap '' HUP INT TERM PIPE; {still_ours} && touch {LOCK} && own=yes"
    with uninterrupted():  # a job without its line in the ledger would be lost
        done = place.gather({"keep": keep, **step.scripts, "release": f'[ -z "$own" ] || {release}'})
    return "" if place.dry_run else outcome(request, step, done)


def take_lock(place: Place, command: Command) -> tuple[str, Snapshot]:
    """Take the lock on the ledger and look; return a mark that no later lock has, and what was seen."""
    # After a lost connection the lock expires.
    expire = f"mkdir -p logs 2> /dev/null; find {LOCK} -maxdepth 0 -mmin +2 -exec rmdir {{}} \\; 2> /dev/null"
    script = f"{expire}\nLC_ALL=C mkdir {LOCK} && stat -c '%i %Y' {LOCK}"
    for _ in range(TRIES):
        got = place.gather({"lock": script, **ledger.parts(command.record, command.model or ".")})
        if place.dry_run:
            return "", Snapshot(now="NOW")
        if got["lock"].status == 0:
            return got["lock"].text.strip(), ledger.snapshot(got)
        if "File exists" not in got["lock"].text:
            said = last_line(got["lock"].text)
            raise InputError(f"{said}: check the folder logs and the disk in {place.where}.")
        time.sleep(PAUSE)
    seconds = PAUSE * TRIES
    raise InputError(
        f"{LOCK} has been there for {seconds} seconds: delete it if nobody is submitting in {place.where}."
    )


@contextmanager
def uninterrupted():
    """Ignore Ctrl-C and other signals that would end this process or what it has started."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def next_step(request: Request, command: Command, seen: Snapshot) -> Step:
    """Decide what to do about a request. InputError where another job of its stage and model is under way."""
    words = ledger_text([*request.sbatch, request.file, *command.words])
    if job := ledger.job_underway(seen, request.stage, request.model, command.record):
        # Of a job submitted by hand the ledger has the script and its words alone.
        if not any(same_words(job.words, own) for own in (words, ledger_text(list(command.words)))):
            what = f"another {job.stage} of {job.model} is under way (job {job.id})"
            raise InputError(f"{what}: make wait, or make cancel first.")
        return Step({}, f"job {job.id} does this already; nothing submitted")
    if is_complete(request, command, seen):
        # The record becomes newer than a job that failed, and the ledger learns of work done by hand.
        scripts = {"touched": f"touch {shlex.quote(command.record)}"}
        last = ledger.last_job(seen, request.stage, request.model)
        if not last or last.record != command.record:
            scripts["noted"] = note(request, command, seen.now, words, id_="-")
        return Step(scripts, f"{posixpath.dirname(command.record)} is complete already; nothing submitted")
    training = ledger.training_of(seen, command.model) if request.stage == "apply" else None
    return submission(request, command, seen.now, words, training)


def is_complete(request: Request, command: Command, seen: Snapshot) -> bool:
    """Tell whether the model is there. The checks have passed, so it was trained with these very pairs and settings."""
    there = command.record in seen.files and seen.files[command.record].changed is not None
    return request.stage == "train" and there and not command.adjusts and "--overwrite" not in command.words


def submission(request: Request, command: Command, now: str, words: str, training: Job | None) -> Step:
    """Return the step that submits a job and notes it; the job waits for the training that makes its model."""
    # If the training fails, Slurm cancels this job; otherwise it would stay pending forever.
    after = [f"--dependency=afterok:{training.id}", "--kill-on-invalid-dep=yes"] if training else []
    sbatch = shlex.join(["sbatch", "--parsable", *request.sbatch, *after, request.file, *request.flags])
    scripts = {
        "submitted": f'[ -n "$own" ] && if said=$({sbatch}); then id=$(sed -nE "{JOB_ID}" <<< "$said" | tail -n 1); '
        'printf "%s\\n" "${id:-$said}"; else printf "%s\\n" "$said"; false; fi',
        "noted": f'[ -z "$id" ] || {note(request, command, now, words, id_="$id")} || {{ scancel "$id"; false; }}',
    }
    waits = f", after job {training.id}" if training else ""
    return Step(scripts, f"submitted job {{id}} ({request.stage} {request.model}{waits})")


def note(request: Request, command: Command, now: str, words: str, id_: str) -> str:
    """Return the command that adds a line to the ledger; id_ is text or a variable of the shell."""
    before = shlex.join([now, request.stage, request.model])
    after = shlex.join([words, command.record])
    layout = r"%s\t%s\t%s\t%s\t%s\t%s\t%s\n"
    return f'printf \'{layout}\' {before} "{id_}" "${{USER:-$(id -un)}}" {after} >> {LEDGER}'


def ledger_text(words: list[str]) -> str:
    """Return words as one cell of the ledger: a command that could be typed."""
    return re.sub(r"[\t\r\n]", " ", shlex.join(words))


def same_words(one: str, other: str) -> bool:
    """Tell whether two cells of the ledger run the same command, however it is quoted."""
    try:
        return shlex.split(one) == shlex.split(other)
    except ValueError:
        return one == other


def outcome(request: Request, step: Step, done: dict[str, Answer]) -> str:
    """Return what to tell the user after a step, from its answers. InputError where it failed."""
    if done["keep"].status:
        raise InputError(f"{LOCK} was taken over by somebody else's submission: run the same command again.")
    said = done["submitted"].text.strip() if "submitted" in done else ""
    *warnings, job = said.splitlines() or [""]
    if "submitted" in done and done["submitted"].status:
        raise InputError(f"sbatch refused {request.file}: {refusal(said)}.")
    if "submitted" in done and not job.isdigit():
        raise InputError(f"sbatch gave no job id ({job}): make status shows whether the job is there.")
    if "noted" in done and done["noted"].status:
        what = f"job {job} was cancelled, for {LEDGER}" if job else LEDGER
        raise InputError(f"{what} cannot be written: make room on its disk.")
    return "\n".join([*warnings, step.told.replace("{id}", job)])


def refusal(said: str) -> str:
    """Return why sbatch refused a job, in its own words and in one line, without its account of flags (-v)."""
    lines = [line.strip(" .") for line in said.splitlines() if re.search("[A-Za-z]", line)]
    told = [line for line in lines if "error: " in line or not line.startswith("sbatch: ")]
    return "; ".join(dict.fromkeys(re.sub("^(sbatch: )?(error|allocation failure): ", "", line) for line in told))
