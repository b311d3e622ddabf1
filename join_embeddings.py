"""Join several models' vectors of the same passages into one, so that one representation has what each is better at.

The cosine of two joined vectors is the weighted mean of the models' cosines: --share of each further model's, the rest
of the first's. So a model tuned on neighboring passages, which tells passages apart, can be joined with one tuned with
--recombine, which represents the timeline better, and with the words that passages have (fit_lsa.py), which date them
better (benchmarks/TUNING.md). Nothing is trained. Writes an embedding folder, which all other scripts read, of as many
dimensions as all have together. make TRAIN=para10+lsa joins para10 and counted words; make TRAIN=para10+joined joins
para10, para10+timeline, and counted words.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import corpus
import lock
import script
from encoder import unit_rows
from report.representations import check_same_texts, texts_by_decade
from script import InputError

EXAMPLE = "python join_embeddings.py embeddings/para10 embeddings/para10+timeline -o embeddings/para10+joined"
# What a decade's record says of its passages, whatever the model.
OF_PASSAGES = "decade file documents passages without_passages texts_sha256 definition format oddities".split()


def joined(parts: list[np.ndarray], shares: list[float]) -> np.ndarray:
    """Return rows whose dot product is the mean of the parts' cosines, weighted by the shares, which sum to 1.

    Args:
        parts: of each model (passages, dimensions); of zeros, a row's part stays zeros.
    """
    weighted = [share**0.5 * unit_rows(part) for part, share in zip(parts, shares)]
    return np.concatenate(weighted, axis=1).astype(np.float32)


def write_joined(folder: Path, folders: list[str], shares: list[float]) -> list[dict]:
    """Write every decade's file and record; return the records."""
    records, decades = corpus.read_manifest(folders[0])["decades"], list(map(corpus.find_decades, folders))
    other_passages = InputError(f"{' and '.join(folders)} don't hold the same passages; embed the same corpus again.")
    if any(of_folder.keys() != decades[0].keys() for of_folder in decades):
        raise other_passages
    for record in records:
        kept = {key: record[key] for key in OF_PASSAGES if key in record} | {"share": shares[1:]}
        write = None
        if record["passages"]:
            (paper_ids, numbers, one), *others = [of_folder[record["decade"]].read() for of_folder in decades]
            if any(ids != paper_ids or (places != numbers).any() for ids, places, _ in others):
                raise other_passages
            vectors = joined([one, *(other for *_, other in others)], shares)
            write = partial(corpus.write_embeddings, paper_ids=paper_ids, chunk_numbers=numbers, vectors=vectors)
            kept |= {"dimensions": vectors.shape[1], "dtype": "float32"}
        corpus.write_decade(folder, kept, write)
    written = corpus.read_records(folder)
    return [written[record["decade"]] for record in records]


def shares_of(args) -> list[float]:
    """Return the share of each folder, the first's first."""
    further = args.share * (len(args.folders) - 1) if len(args.share) == 1 else args.share
    if len(args.folders) < 2 or len(further) != len(args.folders) - 1:
        given = f"{len(args.folders)} folders and {len(args.share)} shares"
        raise InputError(f"{given}; name two or more folders, and a share for each but the first.")
    if sum(further) > 1:
        raise InputError(f"the shares {further} sum to more than 1, and nothing is left of {args.folders[0]}.")
    return [1 - sum(further), *further]


def check_folder(folder: Path, folders: list[str]) -> None:
    """Refuse to write over what is read, and over embeddings of another kind."""
    records = corpus.read_records(folder).values()
    without_records = not records and any(corpus.decade_in(path) is not None for path in folder.glob("*"))
    is_read = folder.resolve() in [Path(one).resolve() for one in folders]
    if is_read or without_records or not all("share" in record for record in records):
        raise InputError(f"{folder} holds other embeddings; name another folder with -o.")


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="embedding folders of the same passages")
    share = "of each further model's cosine; a single one counts for each (default 0.3)"
    add("--share", nargs="+", type=script.fraction, default=[0.3], metavar="SHARE", help=share)
    add("-o", "--output", required=True, metavar="FOLDER", help="where the decades' files go")
    return arguments.parse_args(argv)


def facts_of_parts(folders: list[str], shares: list[float]) -> dict:
    """Return what the manifest says of the parts: models and shares, and which documents counted words did not see."""
    manifests = list(map(corpus.read_manifest, folders))
    digests = {record.get("model_sha256") for manifest in manifests for record in manifest["decades"]}
    digests |= {one for manifest in manifests for one in manifest.get("joined", {}).get("model_sha256", [])}
    models = [str(manifest["model"]) for manifest in manifests]
    facts = {"joined": {"models": models, "share": shares[1:], "model_sha256": sorted(digests - {None})}}
    unseen = [set(one["held_out_documents"]) for one in manifests if "held_out_documents" in one]
    return facts | ({"held_out_documents": sorted(set.intersection(*unseen))} if unseen else {})


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    shares = shares_of(args)
    texts = {one: texts_by_decade(one) for one in args.folders}
    for other in args.folders[1:]:
        check_same_texts(texts, args.folders[0], other)
    folder = Path(args.output)
    check_folder(folder, args.folders)
    with lock.alone_in(folder):
        (folder / corpus.MANIFEST).unlink(missing_ok=True)
        records = write_joined(folder, args.folders, shares)
        facts = facts_of_parts(args.folders, shares)
        facts |= corpus.manifest_facts(" and ".join(facts["joined"]["models"]), records)
        script.write_json(folder / corpus.MANIFEST, script.run_record(args, started, **facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
