"""Run the heavy steps on a Slurm cluster: send code and data there, check, submit, follow, bring the results back.

Needs ssh and rsync here; there bash, Slurm and rsync. Sends nothing but the files it lists, never deletes at the far
end, and takes over only what is whole. With an empty --host it works on the cluster itself: the same checks, the same
jobs. Exits with 0 only when all of it was done; whatever stopped halfway goes on with the same command.
"""

import argparse
import re
import shlex
import shutil
import sys

import oldest_python  # noqa: F401  before all others: the files below mean nothing to an older Python
from cluster import campus, checks, fetch, follow, jobs, send
from cluster.jobs import Queue
from cluster.place import Place
from cluster.send import Corpus
from script import InputError, command, log, parser, positive_int

EXAMPLE = "python delta.py train --host delta --folder /projects/bbiq/novelty/tunedembeddings --train para10"


def connect(args: argparse.Namespace, delta: Place) -> None:
    """Open the connection that all other commands use, to the cluster and, where it is named, to campus."""
    for place in filter(None, (delta, campus_of(args))):
        if not place.host:
            log.info("no host is set: this is the cluster itself, nothing to connect to")
            continue
        place.connect()
        if not place.dry_run:
            log.info("connected to %s; the connection stays open for hours", place.host)


def setup(args: argparse.Namespace, delta: Place) -> None:
    """Make folders and environment on the cluster and fetch the base model."""
    if delta.host:
        send.send_code(delta)
    delta.show(["bash", "slurm/setup.sh", args.base_model, *shlex.split(args.pip_flags)])


def checked(args: argparse.Namespace, delta: Place, stage: str) -> tuple[jobs.Request, jobs.Command]:
    """Check all that could fail later; return the job and what it would run. InputError where something would."""
    queue = Queue(args.account or "", args.partition or "", args.sbatch, args.shards)
    request = jobs.requested(stage, args.train, queue, args.flags, corpus_of(args))
    send.check_sent(delta, stage, corpus_of(args), args.output, args.train)
    return request, checks.preflight(delta, request)


def submit(args: argparse.Namespace, delta: Place) -> None:
    """Check, then submit; a job that is under way already is named and not submitted again."""
    say(jobs.submit(delta, *checked(args, delta, args.action)))


def say(*lines: str) -> None:
    """Print lines, those of a dry run none."""
    print("".join(f"{line}\n" for line in lines if line), end="")


def pull_embeddings(args: argparse.Namespace, delta: Place) -> None:
    """Bring the embeddings here or, where campus is named, send them there."""
    there = campus_of(args)
    if there:
        fetch.pass_on_embeddings(delta, there.at(f"{there.folder}/{args.train}"), args.train)
    else:
        fetch.pull_embeddings(delta, args.output, args.train)


def precocity(args: argparse.Namespace, there: Place) -> None:
    """Send what precocity needs to campus, make its environment there, check, submit."""
    request = campus.requested(corpus_of(args), args.train, args.sbatch, args.flags)
    told = campus.prepare(there, corpus_of(args), request, args.flags)
    if not told:
        there.show(["bash", "slurm/setup.sh", "--precocity", *shlex.split(args.pip_flags)])
        told = jobs.submit(there, request, checks.preflight(there, request))
    say(told)


ON_CAMPUS = ("precocity", "pull-precocity")
ACTIONS = {
    "connect": connect,
    "setup": setup,
    "sync": lambda args, delta: send.sync(delta, corpus_of(args), args.output, args.train),
    "preflight": lambda args, delta: checked(args, delta, args.stage),
    "train": submit,
    "apply": submit,
    "status": lambda args, delta: say(*follow.status(delta)),
    "logs": lambda args, delta: follow.show_logs(delta, args.train, args.follow),
    "cancel": lambda args, delta: follow.cancel(delta, args.train),
    "wait": lambda args, delta: follow.wait(delta, args.train, args.every),
    "pull-model": lambda args, delta: fetch.pull_model(delta, args.output, args.train),
    "pull-embeddings": pull_embeddings,
    "precocity": precocity,
    "pull-precocity": lambda args, there: campus.pull(there, args.output, args.train),
}


def model_name(text: str) -> str:
    """Return the name of a model (a type for argparse)."""
    if not re.fullmatch(r"base|(nopara|para[0-9]+)(\+[A-Za-z0-9._-]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of para10, para20 …, nopara, base, para10+timeline …")
    return text


def check_single(action: str, model: str) -> None:
    """Refuse what is about one model where several are joined: make does that, not the cluster."""
    one, _, joins = model.partition("+")
    if joins in ("lsa", "joined") and action not in ("connect", "setup", "sync", "status"):
        each = f"TRAIN={one}" + (f" and then TRAIN={one}+timeline" if joins == "joined" else "")
        raise InputError(f"{model} is joined here, from the embeddings of its models; run this with {each}.")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    arguments = parser(__doc__, EXAMPLE)
    arguments.usage = "delta.py [options] action [-- flags of the script that the job runs]"
    add = arguments.add_argument
    add("action", choices=ACTIONS)
    add("--host", default="", help="ssh host of the cluster; empty on the cluster itself")
    add("--folder", default=".", help="the project's folder there")
    add("--campus", default="", metavar="HOST:PATH", help="PATH/MODEL is for embeddings, PATH for precocity")
    add("--at-campus", action="store_true", help="status, logs, cancel, wait: of the jobs on campus")
    add("--ssh", default="ssh", help="how to call ssh (default %(default)s)")
    add("--dry-run", action="store_true", help="print the commands; run none")
    models = "para10, para20, nopara; base for embeddings (default %(default)s)"
    add("--train", type=model_name, default="para10", metavar="MODEL", help=models)
    add("--output", default="output", metavar="FOLDER", help="where everything made goes here (default %(default)s)")
    corpus = arguments.add_argument_group("corpus (sync, apply, precocity)")
    corpus.add_argument("-t", "--metadatapath", default="data/metadata.tsv", metavar="TSV")
    corpus.add_argument("-r", "--rootfolder", default="data/chunks", metavar="FOLDER")
    corpus.add_argument("-s", "--startyear", type=int, metavar="YEAR", help="first year, inclusive")
    corpus.add_argument("-e", "--endyear", type=int, metavar="YEAR", help="last year, exclusive")
    job = arguments.add_argument_group("job (what is not given stays as the job file has it)")
    job.add_argument("--account")
    job.add_argument("--partition")
    job.add_argument("--sbatch", default="", metavar="FLAGS", help="more flags of sbatch, in one string")
    job.add_argument(
        "--shards", type=positive_int, default=1, metavar="N", help="apply: an array of N tasks, a GPU each"
    )
    job.add_argument("--stage", choices=("train", "apply"), default="train", help="preflight: of which job")
    more = arguments.add_argument_group("others")
    more.add_argument("--base-model", default="sentence-transformers/all-distilroberta-v1", help="setup: fetched there")
    more.add_argument("--pip-flags", default="", help="setup, precocity: more flags of pip, in one string")
    more.add_argument("--follow", action="store_true", help="logs: go on showing what comes")
    more.add_argument("--every", type=float, default=60, metavar="SECONDS", help="wait: between looks (default 60)")
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    args = arguments.parse_args(words[:cut])
    args.flags = words[cut + 1 :]
    return args


def corpus_of(args: argparse.Namespace) -> Corpus:
    return Corpus(args.metadatapath, args.rootfolder, args.startyear, args.endyear)


def campus_of(args: argparse.Namespace) -> Place | None:
    """Return the place that HOST:PATH names, None where nothing does."""
    if not args.campus:
        return None
    host, colon, path = args.campus.partition(":")
    if not (host and colon and path):
        raise InputError(f"CAMPUS is {args.campus!r}; it is host:path, for example campus:/projects/me/embeddings.")
    place = Place(host, path.rstrip("/"), args.ssh, args.dry_run)
    place.is_campus = True
    return place


def place_of(args: argparse.Namespace) -> Place:
    """Return the place that an action is about. InputError where none is set."""
    if args.at_campus or args.action in ON_CAMPUS:
        if not args.campus:
            raise InputError("CAMPUS is not set; in config.mk, write CAMPUS = host:path, the login node's ssh host.")
        return campus_of(args)
    if not args.host and args.action != "connect" and shutil.which("sbatch") is None and not args.dry_run:
        raise InputError(
            "DELTA is empty and there is no sbatch here; set DELTA in config.mk to your ssh host of the cluster."
        )
    return Place(args.host, args.folder, args.ssh, args.dry_run)


@command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    check_single(args.action, args.train)
    ACTIONS[args.action](args, place_of(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
