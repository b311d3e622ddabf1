"""Embed every passage of the corpus with a (tuned) model, one decade in, one file out.

Reads the metadata, the folder of chunk files and a sentence-transformers model. Writes <outputpath>/1790.parquet
and so on (paperId, chunknumber, embedding), each whole or not at all; a decade that is there already, made by the
same model from the same texts, is skipped. When all decades asked for are done, <outputpath>/manifest.json says so:
model, dimensions, counts, documents without passages, size and SHA-256 of each file. With --decade (an array of
jobs, one a decade) the task that finds all others done writes it.

What a model tuned by TuneEmbeddings.py embeds is adjusted: half the mean training passage is subtracted, and the
directions in which all passages differ most are turned down. --centre 0 --whiten 0 leaves its vectors as they come.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import corpus
import script
from corpus import ChunkFolder, Document
from script import InputError, log
from TuneEmbeddings import autocasting, check_length, load_model, pick_device, pick_precision

EXAMPLE = (
    "python Apply_Tuned_Model.py -m models/para10/final -s 1790 -e 2030 -o embeddings/para10 -t metadata.tsv -r chunks"
)

BATCH_SIZE = 32
CENTRE, WHITEN = 0.5, 0.25  # of models tuned by TuneEmbeddings.py; benchmarks/TUNING.md shows what they do
SLICE = 2048  # passages sorted by length and encoded together: steady progress, little padding


def by_decade(documents: list[Document]) -> dict[int, list[Document]]:
    """Return the documents of each decade, in metadata order, decades ascending."""
    decades = defaultdict(list)
    for document in documents:
        decades[corpus.decade_of(document.year)].append(document)
    return dict(sorted(decades.items()))


def model_digest(folder: str) -> str:
    """Return a SHA-256 of a model folder's weights and settings, or of its name where it is a hub's."""
    digest = hashlib.sha256()
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.name != "README.md")
    for path in files:
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(bytes.fromhex(script.file_digest(path)))
    return digest.hexdigest() if files else hashlib.sha256(folder.encode()).hexdigest()


def text_digest(paper_ids: list[str], texts: list[str]) -> str:
    """Return a SHA-256 of a decade's passages in order."""
    digest = hashlib.sha256()
    for paper_id, text in zip(paper_ids, texts):
        digest.update(f"{paper_id}\t{text}\n".encode())
    return digest.hexdigest()


def read_decade(documents: list[Document], chunks: ChunkFolder) -> tuple[list[str], list[int], list[str]]:
    """Return a decade's passages as three equally long lists: paperIds, passage numbers, texts."""
    paper_ids, numbers, texts = [], [], []
    for document in documents:
        passages = chunks.passages(document)
        paper_ids += [document.paper_id] * len(passages)
        numbers += range(len(passages))
        texts += passages
    return paper_ids, numbers, texts


def check_tsv_names(documents: list[Document]) -> None:
    """Refuse quotation marks in paperIds: the original's TSV layout has no way to write them."""
    for document in documents:
        if '"' in document.paper_id:
            raise InputError(f"paperId {document.paper_id!r} can't be written with --format tsv; use parquet.")


class Encoder:
    """The model, loaded when the first decade needs it."""

    def __init__(self, args):
        self.args = args
        self.model = None
        self.cut = 0  # passages as long as the model reads, or longer

    def load(self):
        """Load the model onto the device, once; InputError where the path holds none."""
        from tuning import adjust

        if self.model is not None:
            return
        device = pick_device(self.args.device)
        precision = pick_inference_precision(self.args.precision, device)
        self.model = load_model("-m", self.args.modelpath, device)
        if self.args.max_seq_length:
            check_length(self.model, self.args.max_seq_length)
            self.model.max_seq_length = self.args.max_seq_length
        self.adjustment = adjust.load(self.args.modelpath) if self.args.centre or self.args.whiten else None
        self.model[0].register_forward_pre_hook(self.count_cut)
        self.autocast, self.computed = autocasting(device, precision), f"{precision} on {device}"
        log.info("%s on %s in %s, %d tokens at most", self.args.modelpath, device, precision, self.model.max_seq_length)

    def count_cut(self, _, inputs):
        """Count the passages of a batch that fill all the tokens there are."""
        mask = inputs[0].get("attention_mask")
        if mask is not None and mask.shape[1] >= self.model.max_seq_length:
            self.cut += int((mask.sum(dim=1) >= self.model.max_seq_length).sum())

    def encode(self, texts: list[str], progress):
        """Return the texts' embeddings, float32 or float16, shape (texts, dimensions)."""
        import numpy as np

        from tuning import adjust

        self.load()
        vectors = []
        for start in range(0, len(texts), SLICE):
            part = texts[start : start + SLICE]
            with self.autocast():
                vectors.append(self.model.encode(part, batch_size=self.args.batch_size, show_progress_bar=False))
            progress.update(len(part))
        vectors = np.concatenate(vectors)
        if self.adjustment:
            vectors = adjust.apply(self.adjustment, vectors, self.args.centre, self.args.whiten)
        return vectors.astype(self.args.dtype)


def pick_inference_precision(requested: str, device: str) -> str:
    """Return the arithmetic of encoding: fp16 on a GPU (finer than bf16, and embeddings don't overflow it)."""
    if requested == "auto" and device != "cpu":
        return "fp16"
    return pick_precision(requested, device)


# ---------------------------------------------------------------- the folder


def settings_of(args) -> dict:
    """Return what a decade's vectors depend on beside its texts."""
    names = ("format", "dtype", "precision", "max_seq_length", "centre", "whiten", "limit")
    settings = {"model_sha256": model_digest(args.modelpath), **{name: getattr(args, name) for name in names}}
    if args.held_out_of:
        settings["held_out_of"] = held_out_digest(args.held_out_of)
    return settings


def read_if_there(path: Path) -> dict:
    """Return a record; an empty one where there is none, or another task has just taken it away."""
    try:
        return script.read_json(path)
    except FileNotFoundError:
        return {}


def read_records(folder: Path) -> dict[int, dict]:
    """Return the records of the decades that are done, by decade."""
    records = filter(None, map(read_if_there, (folder / corpus.DECADE_RECORDS).glob("*.json")))
    return {record["decade"]: record for record in sorted(records, key=lambda record: record["decade"])}


def asked_for(decade: int, args) -> bool:
    """Tell whether any year of the decade lies within -s and -e."""
    after_start = args.startyear is None or decade + 10 > args.startyear
    return after_start and (args.endyear is None or decade < args.endyear)


def check_folder(folder: Path, args, settings: dict) -> None:
    """Refuse to mix vectors of two models or formats in one folder, or to put a part in place of whole decades."""
    for decade, record in read_records(folder).items():
        differs = [name for name in {**settings, "held_out_of": None} if record.get(name) != settings.get(name)]
        if differs and not asked_for(decade, args):
            raise InputError(
                f"{folder} holds the {decade}s made with another {differs[0]}; choose another -o, delete the folder or "
                "embed these years too."
            )
        is_part = record["limit"] is not None or "held_out_of" in record
        if (args.limit or args.held_out_of) and not is_part:
            flag = "--limit" if args.limit else "--held-out-of"
            raise InputError(f"{folder} holds whole decades; give a trial with {flag} an -o of its own.")


def plan_decade(decade: int, documents: list[Document], chunks, args, settings: dict) -> tuple[dict, tuple]:
    """Return what the record of a decade will say before it is embedded, and the decade's passages."""
    paper_ids, numbers, texts = read_decade(documents, chunks)
    with_passages = set(paper_ids)
    record = {
        "decade": decade,
        "file": f"{decade}.{args.format}",
        "documents": len(with_passages),
        "passages": len(texts),
        "without_passages": [d.paper_id for d in documents if d.paper_id not in with_passages],
        "texts_sha256": text_digest(paper_ids, texts),
        **settings,
    }
    return record, (paper_ids, numbers, texts)


def is_done(folder: Path, planned: dict, record: dict) -> bool:
    """Tell whether a decade is there, made from the planned texts with the planned settings."""
    return planned.items() <= record.items() and file_size(folder / record["file"]) == record["bytes"]


def embed_decade(decade: int, documents: list[Document], chunks, encoder: Encoder, settings: dict, progress) -> None:
    """Write one decade's file, then its record, unless both are there, made from the same texts and settings."""
    folder = Path(encoder.args.outputpath)
    record_file = folder / corpus.DECADE_RECORDS / f"{decade}.json"
    odd_before = Counter(chunks.counts())
    record, (paper_ids, numbers, texts) = plan_decade(decade, documents, chunks, encoder.args, settings)
    oddities = {name: count - odd_before[name] for name, count in chunks.counts().items()}
    target, before = folder / record["file"], read_if_there(record_file)
    if is_done(folder, record, before):
        log.info("%s: there already, made from the same texts by the same model", target)
        return
    if before.get("passages") and not texts:
        raise InputError(
            f"{chunks.root} has no passage of the {decade}s, but {target} holds {before['passages']}: check -r "
            f"and its disk; if the documents are really gone, delete {record_file} and run again."
        )
    if texts:
        encoder.load()  # what can be refused is refused before anything is touched
    (folder / corpus.MANIFEST).unlink(missing_ok=True)  # from here on the folder isn't whole
    if texts:
        cut_before = encoder.cut
        vectors = encoder.encode(texts, progress)
        cut = encoder.cut - cut_before
        record |= {"dimensions": int(vectors.shape[1]), "computed": encoder.computed, "passages_at_the_limit": cut}
        record_file.unlink(missing_ok=True)
        corpus.write_embeddings(target, paper_ids, numbers, vectors)
    else:
        target.unlink(missing_ok=True)  # without a record it is nobody's
    if before and before["file"] != target.name:
        (folder / before["file"]).unlink(missing_ok=True)
    script.write_json(
        record_file, record | {"oddities": oddities, "bytes": file_size(target), "sha256": script.file_digest(target)}
    )


def file_size(path: Path) -> int | None:
    """Return a file's size in bytes, None where there is none."""
    return path.stat().st_size if path.exists() else None


def left_to_others(folder: Path, others: dict[int, list[Document]], chunks, args, settings: dict) -> bool:
    """Tell whether other tasks of the array still have a decade to embed, from these texts with these settings.

    Their texts are read only where all the rest fits: by the last task, and after a change of texts.
    """
    records = read_records(folder)
    if not all(settings.items() <= records.get(decade, {}).items() for decade in others):
        return True
    plans = (plan_decade(decade, documents, chunks, args, settings)[0] for decade, documents in others.items())
    return not all(is_done(folder, plan, records[plan["decade"]]) for plan in plans)


def listed(found: dict[int, dict], args, done) -> list[dict]:
    """Return the records that the manifest lists: of the decades in `done` and of those outside the years asked for."""
    return [record for decade, record in found.items() if decade in done or not asked_for(decade, args)]


def write_manifest(folder: Path, args, started: float, done) -> bool:
    """Write manifest.json; tell whether it stands, no other task having begun one of these decades anew meanwhile.

    Array tasks may finish at the same moment; each looks again after writing, so the last manifest has all.
    """
    before = None
    while before != (found := read_records(folder)):
        before, records = found, listed(found, args, done)
        if not done <= found.keys():
            (folder / corpus.MANIFEST).unlink(missing_ok=True)
            return False
        oddities = Counter()
        for record in records:
            oddities.update(record["oddities"])
        facts = {
            "model": args.modelpath,
            "dimensions": next((r["dimensions"] for r in records if "dimensions" in r), None),
            "documents": sum(r["documents"] for r in records),
            "passages": sum(r["passages"] for r in records),
            "passages_at_the_limit": sum(r.get("passages_at_the_limit", 0) for r in records),
            "oddities": dict(oddities),
            "decades": records,
        }
        script.write_json(folder / corpus.MANIFEST, script.run_record(args, started, **facts))
    for decade in found.keys() - {record["decade"] for record in records}:
        log.warning("the metadata has no document of the %ds any more; manifest.json leaves them out", decade)
    return True


def decade(text: str) -> int:
    """Argparse type: the first year of a decade."""
    if not text.removeprefix("-").isdecimal() or int(text) % 10:
        raise argparse.ArgumentTypeError(f"{text!r} is not the first year of a decade, as 1790 is")
    return int(text)


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument(
        "-m", "--modelpath", required=True, metavar="MODEL", help="folder, or name on the Hugging Face hub"
    )
    script.add_corpus_arguments(arguments)
    arguments.add_argument("-o", "--outputpath", required=True, metavar="FOLDER", help="where the decades' files go")
    arguments.add_argument("--decade", type=decade, metavar="YEAR", help="only the decade of this first year")
    how = arguments.add_argument_group("how")
    add = how.add_argument
    add("--format", choices=corpus.EMBEDDING_FORMATS, default="parquet", help="tsv: the original's, 3 times the size")
    add(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of the stored vectors; float16 halves the files and errs by 6e-5 at most",
    )
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="auto: a GPU where there is one")
    add("--precision", choices=("auto", "bf16", "fp16", "fp32"), default="auto", help="auto: half where in hardware")
    add("--batch-size", type=script.positive_int, default=BATCH_SIZE, help="passages (default %(default)s)")
    add("--max-seq-length", type=script.positive_int, metavar="TOKENS", help="cut passages here (default the model's)")
    add(
        "--centre",
        type=script.fraction,
        metavar="SHARE",
        help=f"subtract so much of the mean training passage (default {CENTRE} if the model has one, else 0)",
    )
    add(
        "--whiten",
        type=script.fraction,
        metavar="POWER",
        help=f"divide components by their deviation to this power (default {WHITEN} if the model has them, else 0)",
    )
    add("--check", action="store_true", help="check metadata, chunk files and output folder; embed nothing")
    add("--limit", type=script.positive_int, metavar="DOCUMENTS", help="a trial: only so many documents")
    add(
        "--held-out-of",
        metavar="JSON",
        help="a quick look: only the documents that this training.json says were held out",
    )
    return arguments.parse_args(argv)


def with_adjustment(args):
    """Return the arguments with the usual --centre and --whiten where none are given: 0 for a model without them."""
    from tuning import adjust

    has_one = (Path(args.modelpath) / adjust.ADJUSTMENT).exists()
    for name, usual in (("centre", CENTRE), ("whiten", WHITEN)):
        if getattr(args, name) is None:
            setattr(args, name, usual if has_one else 0.0)
    return args


def held_out_digest(path: str) -> str:
    """Return a SHA-256 of which documents a training held out."""
    held = sorted(script.read_json(path).get("held_out_documents", ()))
    return hashlib.sha256("\n".join(held).encode()).hexdigest()


def held_out_only(documents: list[Document], path: str) -> list[Document]:
    """Return the documents that a training held out. InputError where there are none of them."""
    held = set(script.read_json(path).get("held_out_documents", ()))
    kept = [document for document in documents if document.paper_id in held]
    if not kept:
        raise InputError(f"{path} names no document of the metadata as held out; pass a training.json of this corpus.")
    return kept


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = with_adjustment(parse_args(argv)), time.time()
    script.log_settings(args)
    documents, skipped = corpus.read_metadata(args.metadatapath, args.startyear, args.endyear)
    corpus.log_skipped(documents, skipped)
    if args.held_out_of:
        documents = held_out_only(documents, args.held_out_of)
    decades = by_decade(documents[: args.limit])
    if not decades:
        raise InputError(f"{args.metadatapath} has no document of the years asked for; check -s and -e (exclusive).")
    todo = {decade: members for decade, members in decades.items() if args.check or args.decade in (None, decade)}
    if not todo:
        log.info("no document of the %ds in %s: nothing to do", args.decade, args.metadatapath)
        return 0
    folder, settings = Path(args.outputpath), settings_of(args)
    check_folder(folder, args, settings)
    chunks, encoder = ChunkFolder(args.rootfolder, args.encoding_errors), Encoder(args)
    if args.format == "tsv":
        check_tsv_names(documents)
    if args.check:
        found = sum((chunks.root / document.filename).is_file() for document in documents)
        if not found:
            raise InputError(f"{args.rootfolder} has no chunk file of the {len(documents)} documents; check -r.")
        log.info("%d of %d documents have a chunk file; %d decades", found, len(documents), len(decades))
        return 0

    from tqdm import tqdm

    with tqdm(desc="embedded", unit=" passages", mininterval=1 if sys.stderr.isatty() else 60) as progress:
        for decade, members in todo.items():
            progress.set_postfix_str(f"{decade}s", refresh=False)
            embed_decade(decade, members, chunks, encoder, settings, progress)
    chunks.log_oddities()
    if encoder.cut:
        log.warning("%d passages fill all %d tokens and may be cut", encoder.cut, encoder.model.max_seq_length)
    found = read_records(folder)
    if args.decade is not None and read_if_there(folder / corpus.MANIFEST).get("decades") == listed(
        found, args, decades
    ):
        log.info("manifest.json is there already and lists all %d decades", len(decades))
        return 0
    others = {decade: members for decade, members in decades.items() if decade not in todo}
    if left_to_others(folder, others, chunks, args, settings):
        log.info("other tasks have decades left to embed; the last of the %d writes manifest.json", len(decades))
        return 0
    if not any(record["passages"] for decade, record in found.items() if decade in decades):
        raise InputError("no document of the years asked for has a passage; check -t and -r.")
    if write_manifest(folder, args, started, decades.keys()):
        log.info("%d decades in %s", len(decades), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
