"""What is sent to the cluster: code, pair tables, metadata, chunk files; and what was edited there and stays.

In: a Place, a Corpus, the folder of what was made here. Out: files at the far end, whole, compared by content.
InputError where something needed is not here, or was edited on both sides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import corpus
import script
from cluster.place import Place
from corpus import Document
from script import InputError, log

ROOT = Path(__file__).resolve().parents[1]
# What the cluster runs or a user reads there: scripts, packages with their templates, job files, documents.
CODE = ("*.py", "*/*.py", "*/templates/*", "slurm/*", "docs/*.md", "README.md", "LICENSE", "Makefile", "prompts.toml")
CODE += ("requirements.txt", "requirements-precocity.txt", "constraints.txt", "settings.mk", "joined.mk", "topics.mk")
CODE += ("config.example.mk",)
NOT_CODE = ("tests", "benchmarks", "demo", "data", "output")
FOLDERS = ("slurm", "logs", "data/chunks", "output/pairs", "output/paraphrased")


@dataclass(frozen=True)
class Corpus:
    """Where the corpus lies here, and the years that are asked for: start <= year < end."""

    metadata: str
    chunks: str
    start_year: int | None = None
    end_year: int | None = None

    def documents(self) -> list[Document]:
        return corpus.read_metadata(self.metadata, self.start_year, self.end_year)[0]

    def chunk_names(self) -> list[str]:
        """Return the chunk files of the metadata's documents that exist."""
        chunks = corpus.ChunkFolder(self.chunks)
        paths = [chunks.path_of(document) for document in self.documents()]
        for path in paths:
            if path.is_symlink() and not path.exists():
                raise InputError(f"{path} is a link to {os.readlink(path)}, which is not there; bring it there first.")
        names = [path.name for path in paths if path.is_file()]
        if not names:
            raise InputError(f"{self.chunks} holds no chunk file of {self.metadata}; check METADATA and CHUNKS.")
        return names


# ---------------------------------------------------------------- code


def code_files(root: Path = ROOT) -> list[str]:
    """Return the files of the project that the cluster needs; a clone and a copy without git have the same."""
    files = {path.relative_to(root) for pattern in CODE for path in root.glob(pattern) if path.is_file()}
    own = [name for name in files if name.parts[0] not in NOT_CODE and not any(p.startswith(".") for p in name.parts)]
    return sorted(map(str, own))


def send_code(place: Place) -> None:
    """Send scripts and job files, but leave as they are those that were edited at the far end since."""
    place.at("/").run(["mkdir", "-p", *(f"{place.folder}/{name}" for name in FOLDERS)])
    local = {name: script.file_digest(ROOT / name) for name in code_files()}
    sent, there = digests_there(place, list(local))
    kept = edited_there(local, sent, there)
    for name in sorted(kept):
        if name in sent and local[name] not in sent[name]:
            raise InputError(
                f"{name} was edited here and on {place.host} since it was sent: bring the two together by hand, or "
                f"delete {place.folder}/{name} there."
            )
        log.info("%s was edited on %s: left as it is there (delete it there to send this one)", name, place.host)
    ours = {name: sent.get(name, set()) if name in kept else {local[name]} for name in local}
    lines = "".join(f"{digest}  {name}\n" for name, digests in ours.items() for digest in sorted(digests))
    # Known before it is sent: where that is cut off, what came through does not count as edited there.
    place.run(["bash", "-c", "cat >> .sent"], text=f"\n{lines}")
    place.rsync(["--checksum"], f"{ROOT}/", place.path(""), [name for name in local if name not in kept])
    place.write(".sent", lines)
    place.write(".commit", f"{script.commit() or ''}\n")


def digests_there(place: Place, names: list[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return SHA-256 by name: as sent last, and as the files at the far end are now."""
    script = "exec 2> /dev/null; cat .sent; echo ==; xargs -0 sha256sum"
    answer = place.run(["bash", "-c", script], text="\0".join(names), check=False).text
    sent, there = answer.partition("==\n")[::2]
    return digests_by_name(sent), digests_by_name(there)


def digests_by_name(lines: str) -> dict[str, set[str]]:
    """Return what sha256sum printed, or send_code wrote, as a dict."""
    digests: dict[str, set[str]] = {}
    for digest, _, name in (line.partition("  ") for line in lines.splitlines()):
        digests.setdefault(name, set()).add(digest)
    return digests


def edited_there(local: dict[str, str], sent: dict[str, set[str]], there: dict[str, set[str]]) -> set[str]:
    """Return the files that are neither as they were sent nor as they are here."""
    return {name for name in there if not there[name] <= sent.get(name, set()) | {local[name]}}


# ---------------------------------------------------------------- data


def set_of(model: str) -> str:
    """Return the set of pairs that a model is tuned on: para10 for para10+timeline."""
    return model.partition("+")[0]


def training_table(train: str) -> str:
    """Return the name of a model's pair table below the output folder."""
    return "pairs/nopara.tsv" if set_of(train) == "nopara" else f"paraphrased/{set_of(train)}.tsv"


def pair_tables(place: Place, output: str, train: str) -> list[str]:
    """Return the tables of pairs below the output folder, without the records beside them.

    Raises:
        InputError: the model has no table, here or there, nor one to be paraphrased there.
    """
    paths = sorted(Path(output).glob("pairs/*para*.tsv")) + sorted(Path(output).glob("paraphrased/para*.tsv"))
    tables = [f"{path.parent.name}/{path.name}" for path in paths if ".tsv" not in path.stem]
    needed, pairs = training_table(train), f"pairs/{set_of(train)}.tsv"
    if train == "base" or needed in tables or place.has(f"output/{needed}"):
        return tables
    if pairs not in tables:
        made_by = "pairs-no-paraphrase" if set_of(train) == "nopara" else f"pairs TRAIN={train}"
        raise InputError(f"no {output}/{pairs}; run make {made_by} first.")
    log.info("not paraphrased yet: make paraphrase, or slurm/paraphrase_local.slurm there, does it (docs/cluster.md)")
    return tables


def check_paraphrased(output: str, train: str) -> None:
    """InputError where a model's table was paraphrased from other pairs than those that lie here now."""
    table, pairs = Path(output, training_table(train)), Path(output, "pairs", f"{set_of(train)}.tsv")
    if table != pairs and corpus.is_made_from(table, pairs) is False:
        raise InputError(f"{table} was made from other pairs than {pairs}; run make paraphrase TRAIN={train} first.")


def sync(place: Place, corpus_here: Corpus, output: str, train: str) -> None:
    """Send code, pairs, metadata and chunk files; whole files only, compared by content."""
    if not place.host:
        log.info("no host is set: this is the cluster itself, nothing to send")
        return
    check_paraphrased(output, train)
    tables = pair_tables(place, output, train)
    names = corpus_here.chunk_names()
    send_code(place)
    new = changed_files(
        [
            *place.rsync(["-i", "--checksum"], f"{output}/", place.path("output/"), tables),
            *place.rsync(["-i", "--checksum"], corpus_here.metadata, place.path("data/metadata.tsv")),
            *place.rsync(["-i", "--checksum"], f"{corpus_here.chunks}/", place.path("data/chunks/"), names),
        ]
    )
    total = len(names) + len(tables) + 1
    log.info("%d of %d files of data were new or changed; %s is up to date", len(new), total, place.path(""))


def check_sent(place: Place, stage: str, corpus_here: Corpus, output: str, train: str) -> None:
    """InputError where the far end has not what is here. Chunk files are compared by size and time only: seconds."""
    if stage == "train":
        check_paraphrased(output, train)
    if not place.host:
        return
    # Who has no table here trains on the one that lies there; the checks over there look at it.
    tables = [name for name in [training_table(train)] if stage == "train" and (Path(output) / name).exists()]
    differ = [
        *place.rsync(["-n", "-i", "--checksum"], f"{output}/", place.path("output/"), tables),
        *place.rsync(["-n", "-i", "--checksum"], corpus_here.metadata, place.path("data/metadata.tsv")),
        *place.rsync(["-n", "-i"], f"{corpus_here.chunks}/", place.path("data/chunks/"), corpus_here.chunk_names()),
    ]
    if files := changed_files(differ):
        raise InputError(f"{place.host} lacks {len(files)} files as they are here ({files[0]} …); run make sync-delta.")


def changed_files(itemized: list[str]) -> list[str]:
    """Return the files that rsync -i says it sends: `<f+++++++++ name` and `<f.st...... name`."""
    return [line.split(" ", 1)[1] for line in itemized if line.startswith("<f")]
