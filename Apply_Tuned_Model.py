"""Embed every passage of the corpus with a (tuned) model, one decade in, one file out.

Reads the metadata, the folder of chunk files and a sentence-transformers model. Writes <outputpath>/1790.parquet
and so on (paperId, chunknumber, embedding), each whole or not at all; a decade that is there already, made by the
same model from the same texts, is skipped. A run that was stopped goes on within a decade. When all decades asked for
are done, <outputpath>/manifest.json says so: model, dimensions, counts, documents without passages, size and SHA-256
of each file. With --shard (an array of jobs), the last task of all writes it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import corpus
import lock
import script
from corpus import ChunkFolder, Document
from embedding import Embedding
from encoder import Encoder, EncoderSettings, check_version, model_digest
from script import InputError, log

EXAMPLE = "python Apply_Tuned_Model.py -m models/para10/final -o embeddings/para10 -t metadata.tsv -r chunks"


# ---------------------------------------------------------------- what there is to embed


def documents_asked_for(args) -> list[Document]:
    """Return the documents of the years, held-out documents and number asked for."""
    documents, skipped = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    corpus.log_skipped(documents, skipped)
    if args.held_out_of:
        documents = corpus.only_held_out(documents, args.held_out_of)
    if args.format == "tsv":
        corpus.check_tsv_names(documents)
    return documents[: args.limit]


# ---------------------------------------------------------------- what is there already


def settings_of(args) -> dict:
    """Return what a decade's vectors depend on beside its texts."""
    names = ("format", "dtype", "precision", "max_seq_length", "limit")
    settings = {"definition": corpus.DEFINITION, "model_sha256": model_digest(args.modelpath)}
    settings |= {name: getattr(args, name) for name in names}
    if args.held_out_of:
        held = "\n".join(corpus.held_out_documents(args.held_out_of))
        settings["held_out_of"] = hashlib.sha256(held.encode()).hexdigest()
    return settings


def asked_for(decade: int, args) -> bool:
    """Tell whether any year of the decade lies within -s and -e."""
    after_start = args.startyear is None or decade + 10 > args.startyear
    return after_start and (args.endyear is None or decade < args.endyear)


def check_folder(folder: Path, args, settings: dict) -> None:
    """Refuse to mix vectors of two models or formats in one folder, or to put a part in place of whole decades."""
    for decade, record in corpus.read_records(folder).items():
        record = corpus.FORMERLY | record
        if "limit" not in record:  # made by join_embeddings.py or fit_topics.py
            raise InputError(f"{folder} holds what another script wrote; choose another -o.")
        differs = [name for name in {**settings, "held_out_of": None} if record.get(name) != settings.get(name)]
        if differs and not asked_for(decade, args) and not args.only_these_years:
            raise InputError(
                f"{folder} holds the {decade}s made with another {differs[0]}; choose another -o, delete the folder or "
                "embed these years too."
            )
        is_part = record["limit"] is not None or "held_out_of" in record
        if (args.limit or args.held_out_of) and not is_part:
            flag = "--limit" if args.limit else "--held-out-of"
            raise InputError(f"{folder} holds whole decades; give a trial with {flag} an -o of its own.")


def check_chunk_files(args, decades: dict[int, list[Document]], chunks: ChunkFolder) -> None:
    """Say how many documents have a chunk file. InputError where none has."""
    documents = [document for of_decade in decades.values() for document in of_decade]
    found = sum(chunks.path_of(document).is_file() for document in documents)
    if not found:
        raise InputError(f"{args.rootfolder} has no chunk file of the {len(documents)} documents; check -r.")
    log.info("%d of %d documents have a chunk file; %d decades", found, len(documents), len(decades))


# ---------------------------------------------------------------- the manifest


def listed(found: dict[int, dict], args, done) -> list[dict]:
    """Return the records that the manifest lists: of decades in `done`, and if wanted of those beyond the years."""
    with_others = not args.only_these_years
    return [
        record for decade, record in found.items() if decade in done or (with_others and not asked_for(decade, args))
    ]


def manifest_stands(folder: Path, args, done) -> bool:
    """Tell whether manifest.json is there and lists what it would list now."""
    manifest = corpus.read_if_there(folder / corpus.MANIFEST)
    return manifest.get("decades") == listed(corpus.read_records(folder), args, done)


def write_manifest(folder: Path, args, started: float, done) -> bool:
    """Write manifest.json; tell whether it stands, no other task having begun one of these decades anew meanwhile.

    Array tasks may finish at the same moment; each looks again after writing, so the last manifest has all.
    """
    before = None
    while before != (found := corpus.read_records(folder)):
        before, records = found, listed(found, args, done)
        if not any(record["passages"] for decade, record in found.items() if decade in done):
            raise InputError("no document of the years asked for has a passage; check -t and -r.")
        if not done <= found.keys():
            (folder / corpus.MANIFEST).unlink(missing_ok=True)
            return False
        facts = corpus.manifest_facts(args.modelpath, records)
        script.write_json(folder / corpus.MANIFEST, script.run_record(args, started, **facts))
    for decade in found.keys() - {record["decade"] for record in records}:
        who = "the metadata has no document of" if asked_for(decade, args) else "nobody asks for"
        log.warning("%s the %ds any more; manifest.json leaves them out", who, decade)
    return True


# ---------------------------------------------------------------- the command


def shard(text: str) -> tuple[int, int]:
    """Argparse type: K/N, the K-th of N shards."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N, where K is from 1 to N, as 2/4 is")
    return int(number), int(count)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("-m", "--modelpath", required=True, metavar="MODEL", help="folder, or name on the Hugging Face hub")
    script.add_corpus_arguments(arguments)
    add("-o", "--outputpath", required=True, metavar="FOLDER", help="where the decades' files go")
    share = "one task of several: only the K-th of N equal shares of the passages"
    add("--shard", type=shard, default=(1, 1), metavar="K/N", help=share)
    add("--only-these-years", action="store_true", help="leave decades of earlier runs out of the manifest")
    how = arguments.add_argument_group("how")
    count, add = script.positive_int, how.add_argument
    add("--format", choices=corpus.EMBEDDING_FORMATS, default="parquet", help="tsv: the original's, 3 times the size")
    dtypes = "of the stored vectors; float16 halves the files and errs by 6e-5 at most"
    add("--dtype", choices=("float32", "float16"), default="float32", help=dtypes)
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="auto: a GPU where there is one")
    add("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="auto: half where in hardware")
    add("--batch-size", type=count, metavar="PASSAGES", help="at most (default: as many as suit the device)")
    add("--max-seq-length", type=count, metavar="TOKENS", help="cut passages here (default the model's)")
    script.add_trust_remote_code(how)
    add("--check", action="store_true", help="check metadata, chunk files and output folder; embed nothing")
    add("--limit", type=count, metavar="DOCUMENTS", help="a trial: only so many documents")
    add("--held-out-of", metavar="JSON", help="a quick look: only the documents this training.json held out")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    decades = corpus.by_decade(documents_asked_for(args))
    if not decades:
        raise InputError(f"{args.metadatapath} has no document of the years asked for; check -s and -e (exclusive).")
    folder, settings = Path(args.outputpath), settings_of(args)
    chunks = ChunkFolder(args.rootfolder, args.encoding_errors)
    check_folder(folder, args, settings)
    if args.check:
        check_version(args.modelpath)
        check_chunk_files(args, decades, chunks)
        return 0
    number, tasks = args.shard
    with lock.alone_in(folder, *([f"{number}-of-{tasks}"] if tasks > 1 else [])):
        check_folder(folder, args, settings)  # another run may just have ended
        how = (args.device, args.precision, args.batch_size, args.max_seq_length, args.dtype, args.trust_remote_code)
        embedding = Embedding(folder, chunks, Encoder(EncoderSettings(args.modelpath, *how)), settings)
        whole = embedding.make(decades, args.shard)
        others = {decade: documents for decade, documents in decades.items() if decade not in whole}
        if all(whole.values()) and manifest_stands(folder, args, decades):
            log.info("manifest.json is there already and lists all %d decades", len(decades))
            if not others:
                (folder / corpus.MANIFEST).touch()  # newer than what it was checked against, so that make believes it
        elif not all(whole.values()) or not corpus.are_written(folder, others, chunks, settings):
            log.info("other tasks have passages left to embed; the last of them writes manifest.json")
        elif write_manifest(folder, args, started, decades.keys()):
            log.info("%d decades in %s", len(decades), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
