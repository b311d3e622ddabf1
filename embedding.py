"""How the passages of the corpus become one file a decade: in parts, which are kept until their decade is whole.

A decade is cut at ends of documents into parts of some 50,000 passages, always at the same places. The parts of all
decades, in order, are divided into as many shards as there are tasks, nearly equal in passages. A part is a file
<folder>/decades/1790-<digest>.parquet, named for its texts and for all that its vectors depend on; its record comes
last. So whoever was stopped, or runs with other shards, finds what is done, and never what is stale. The task that
finds all parts of a decade puts the decade's file together and deletes them. No more than three parts are in memory:
one is read while another is embedded and a third written.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import corpus
import lock
from corpus import ChunkFolder, DecadePassages, DecadePlan, Document, read_if_there
from encoder import Encoder, progress_bar
from script import InputError, log, read_json, write_json

if TYPE_CHECKING:
    import numpy as np

PART = 50_000  # passages: 20 seconds of an A100; texts and vectors take 300 MB


class Part(NamedTuple):
    """Documents of one decade that are embedded together, and about how many passages they have."""

    decade: int
    documents: list[Document]
    passages: int


# ---------------------------------------------------------------- cutting


def cut(decades: dict[int, list[Document]], chunks: ChunkFolder) -> list[Part]:
    """Return the parts of all decades in order, each of at most PART passages, or of one document that has more."""
    parts = []
    for decade, documents in decades.items():
        together, passages = [], 0
        for document in documents:
            lines = chunks.lines(document)
            if together and passages + lines > PART:
                parts.append(Part(decade, together, passages))
                together, passages = [], 0
            together.append(document)
            passages += lines
        parts.append(Part(decade, together, passages))
    return parts


def shard_of(parts: list[Part], number: int, count: int) -> list[Part]:
    """Return the number-th (from 1) of `count` consecutive shards, as equal in passages as whole parts allow."""
    total, before, own = sum(part.passages for part in parts), 0, []
    for part in parts:
        middle = before + part.passages / 2
        before += part.passages
        if min(int(middle * count / max(total, 1)), count - 1) == number - 1:
            own.append(part)
    return own


# ---------------------------------------------------------------- embedding


@dataclass
class Decade:
    """A decade at work: a task's own parts and all, what is known of its texts, and the files of the own parts."""

    own: list[Part]
    parts: list[Part]
    plan: DecadePlan
    is_whole: bool
    files: list[Path] = field(default_factory=list)


class Embedding:
    """The making of an output folder: from which chunk files, by which encoder, with which settings."""

    def __init__(self, folder: Path, chunks: ChunkFolder, encoder: Encoder, settings: dict):
        self.folder, self.chunks, self.encoder, self.settings = folder, chunks, encoder, settings

    def make(self, decades: dict[int, list[Document]], shard: tuple[int, int] = (1, 1)) -> dict[int, bool]:
        """Embed a shard's parts; return for each decade that they belong to whether its file is whole now.

        While a part is embedded, one thread reads the next and another writes the last, so that the device never waits.
        """
        parts, whole = cut(decades, self.chunks), {}
        own = shard_of(parts, *shard)
        with progress_bar(sum(part.passages for part in own)) as self.progress, ThreadPoolExecutor(1) as behind:
            writing = behind.submit(int)  # nothing to write yet
            for decade, part, passages in ahead(self.readings(own, parts)):
                self.progress.set_postfix_str(f"decade {decade.plan.decade}", refresh=False)
                step = self.embed(decade, part, passages) if part else partial(self.finish, decade)
                writing.result()  # so that no more than one part waits to be written
                writing = behind.submit(step)
                if not part:
                    whole[decade.plan.decade] = writing
            whole = {decade: finished.result() for decade, finished in whole.items()}
        self.chunks.log_oddities()
        if self.encoder.cut:
            most = self.encoder.model.max_seq_length
            log.warning("%d passages fill all %d tokens and may be cut", self.encoder.cut, most)
        return whole

    def readings(self, own: list[Part], parts: list[Part]) -> Iterator[tuple]:
        """Yield (its decade, part, passages) of each of one's own parts; after those of a decade (decade, None, None).

        A decade whose file is there, made from the same texts, has no part; they are read only where all else fits.
        """
        for year in dict.fromkeys(part.decade for part in own):
            mine, all_ = ([part for part in some if part.decade == year] for some in (own, parts))
            record, plan = read_if_there(corpus.record_of_decade(self.folder, year)), self.plan(year)
            if corpus.is_so(self.settings, record):
                for part in all_:
                    plan.read(part.documents)
                if corpus.is_written(self.folder, plan.record(), record):
                    yield Decade(mine, all_, plan, is_whole=True), None, None
                    continue
            decade = Decade(mine, all_, self.plan(year), is_whole=False)
            for part in mine:
                yield decade, part, decade.plan.read(part.documents)
            yield decade, None, None

    def plan(self, decade: int) -> DecadePlan:
        return DecadePlan(decade, self.chunks, self.settings)

    def finish(self, decade: Decade) -> bool:
        """Once one's own parts of a decade are there, make its file if all others are, too. Tell whether it's whole.

        Of two tasks that end their parts at once, each looks for all only after its own, so one of them finds them.
        """
        self.chunks.add(decade.plan.chunks)
        if decade.is_whole:
            self.progress.total -= sum(part.passages for part in decade.own)
            self.delete_parts(decade.plan.decade)
            file = self.folder / decade.plan.record()["file"]
            log.info("%s: there already, made from the same texts by the same model", file)
            return True
        if len(decade.own) == len(decade.parts):
            return self.put_together(decade.plan, decade.files)
        plan, files = self.plan(decade.plan.decade), []
        for part in decade.parts:
            file = self.file_of(part.decade, plan.read(part.documents))
            if not is_kept(file):
                return False
            files += [file] if file else []
        return self.put_together(plan, files)

    # ---- parts

    def file_of(self, decade: int, passages: DecadePassages) -> Path | None:
        """Return the file of a part, whether it is there or not; None for one without passages."""
        made_from = json.dumps([passages.digest(), self.settings], sort_keys=True)
        name = f"{decade}-{hashlib.sha256(made_from.encode()).hexdigest()[:32]}.parquet"
        return self.folder / corpus.DECADE_RECORDS / name if passages.texts else None

    def embed(self, decade: Decade, part: Part, passages: DecadePassages) -> Callable:
        """Return what writes a part once it is embedded; nothing is to be done where an earlier run has kept it."""
        file = self.file_of(part.decade, passages)
        decade.files += [file] if file else []
        if is_kept(file):
            if file:
                log.info("decade %d: a part of %d passages is there already", part.decade, len(passages.texts))
            self.progress.total -= part.passages
            return int
        cut_before = self.encoder.cut
        vectors = self.encoder.encode(passages.texts, self.progress)
        corpus.check_vectors(part.decade, passages, vectors)
        facts = {"dimensions": int(vectors.shape[1]), "computed": self.encoder.computed}
        facts["passages_at_the_limit"] = self.encoder.cut - cut_before
        return partial(write_part, file, passages, vectors, facts)

    def delete_parts(self, decade: int) -> None:
        """Delete all parts of a decade, those of other texts and models, too."""
        for path in (self.folder / corpus.DECADE_RECORDS).glob(f"{decade}-*"):
            path.unlink(missing_ok=True)

    # ---- a decade's file

    def put_together(self, plan: DecadePlan, files: list[Path]) -> bool:
        """Make a decade's file of its parts, then its record; delete the parts. False where another task does so."""
        with lock.holding_if_free(self.folder / f"{lock.LOCK}-{plan.decade}") as is_free:
            if not is_free:
                return False
            record, path = plan.record(), corpus.record_of_decade(self.folder, plan.decade)
            before = read_if_there(path)
            if not corpus.is_written(self.folder, record, before):  # another task may just have done so
                if before.get("passages") and not files:
                    raise InputError(
                        f"no chunk file has a passage of the {plan.decade}s, but {self.folder / record['file']} holds "
                        f"{before['passages']}: check -r and its disk; if the documents are really gone, delete {path} "
                        "and run again."
                    )
                record |= {"oddities": plan.chunks.counts()} | together([read_json(record_of(file)) for file in files])
                # What can be refused has been refused. From here on the folder isn't complete.
                (self.folder / corpus.MANIFEST).unlink(missing_ok=True)
                corpus.write_decade(self.folder, record, partial(join, files) if files else None)
            self.delete_parts(plan.decade)
        return True


def ahead(items: Iterator[tuple]) -> Iterator[tuple]:
    """Yield what an iterator gives; a thread fetches the next item meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def write_part(file: Path, passages: DecadePassages, vectors: np.ndarray, facts: dict) -> None:
    """Write a part's file, then its record."""
    corpus.write_embeddings(file, passages.paper_ids, passages.numbers, vectors)
    write_json(record_of(file), facts | {"bytes": corpus.file_size(file)})


def record_of(file: Path) -> Path:
    """Return the path of a part's record; .json is for the records of decades."""
    return file.with_suffix(".part")


def is_kept(file: Path | None) -> bool:
    """Tell whether a part is there as it was written; one without passages (None) needs no file."""
    return file is None or read_if_there(record_of(file)).get("bytes", -1) == corpus.file_size(file)


def together(facts: list[dict]) -> dict:
    """Return what a decade's record says of its vectors, from the records of its parts, if it has any."""
    if not facts:
        return {}
    computed = ", ".join(dict.fromkeys(fact["computed"] for fact in facts))
    at_the_limit = sum(fact["passages_at_the_limit"] for fact in facts)
    return {"dimensions": facts[0]["dimensions"], "computed": computed, "passages_at_the_limit": at_the_limit}


def join(files: list[Path], target: Path) -> None:
    """Make one file of the parts' files; a single one has all of it and takes the place."""
    if len(files) == 1 and files[0].suffix == target.suffix:
        os.replace(files[0], target)
    else:
        corpus.join_embeddings(target, files)
