"""Join two models' vectors of the same passages into one, so that one representation has what each is better at.

The cosine of two joined vectors is the weighted mean of the models' cosines: --share of the second model's, the rest of
the first's. So a model tuned on neighboring passages can be joined with the words that passages have (fit_lsa.py), or
with a model tuned with --recombine, which represents the timeline better (benchmarks/TUNING.md). Nothing is trained.
Writes an embedding folder, which all other scripts but search_timeline.py read, of as many dimensions as both have
together. make report TRAIN=para10+lsa joins para10 and counted words; make report TRAIN=para10+joined joins para10 and
para10+timeline.
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


def joined(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return rows of length 1 whose dot product is (1 − share) of the first rows' cosine and share of the other's.

    Args:
        one, other: (passages, dimensions); a row of zeros stays zeros in its part.
    """
    parts = (1 - share) ** 0.5 * unit_rows(one), share**0.5 * unit_rows(other)
    return np.concatenate(parts, axis=1).astype(np.float32)


def write_joined(folder: Path, folders: list[str], share: float) -> list[dict]:
    """Write every decade's file and record; return the records."""
    records = corpus.read_manifest(folders[0])["decades"]
    first, second = map(corpus.find_decades, folders)
    other_passages = InputError(f"{' and '.join(folders)} don't hold the same passages; embed the same corpus again.")
    if first.keys() != second.keys():
        raise other_passages
    for record in records:
        kept = {key: record[key] for key in OF_PASSAGES if key in record} | {"share": share}
        write = None
        if record["passages"]:
            (paper_ids, numbers, one), (*rows, other) = first[record["decade"]].read(), second[record["decade"]].read()
            if rows[0] != paper_ids or (rows[1] != numbers).any():
                raise other_passages
            vectors = joined(one, other, share)
            write = partial(corpus.write_embeddings, paper_ids=paper_ids, chunk_numbers=numbers, vectors=vectors)
            kept |= {"dimensions": vectors.shape[1], "dtype": "float32"}
        corpus.write_decade(folder, kept, write)
    written = corpus.read_records(folder)
    return [written[record["decade"]] for record in records]


def check_folder(folder: Path, folders: list[str]) -> None:
    """Refuse to write over what is read, and over embeddings of another kind."""
    if folder.resolve() in [Path(one).resolve() for one in folders]:
        raise InputError(f"{folder} holds other embeddings; name another folder with -o.")
    corpus.check_kind(folder, "share")


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("folders", nargs=2, metavar="FOLDER", help="embedding folders of the same passages")
    add("--share", type=script.fraction, default=0.3, help="of the second model's cosine (default %(default)s)")
    add("-o", "--output", required=True, metavar="FOLDER", help="where the decades' files go")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    script.log_settings(args)
    check_same_texts({one: texts_by_decade(one) for one in args.folders}, *args.folders)
    folder = Path(args.output)
    check_folder(folder, args.folders)
    with lock.alone_in(folder):
        (folder / corpus.MANIFEST).unlink(missing_ok=True)
        records = write_joined(folder, args.folders, args.share)
        manifests = [corpus.read_manifest(one) for one in args.folders]
        models = [str(manifest["model"]) for manifest in manifests]
        facts = corpus.manifest_facts(" and ".join(models), records)
        digests = {record.get("model_sha256") for manifest in manifests for record in manifest["decades"]}
        digests |= {one for manifest in manifests for one in manifest.get("joined", {}).get("model_sha256", [])}
        facts["joined"] = {"models": models, "share": args.share, "model_sha256": sorted(digests - {None})}
        unseen = [set(manifest["held_out_documents"]) for manifest in manifests if "held_out_documents" in manifest]
        if unseen:  # counted words say what they were not fitted on
            facts["held_out_documents"] = sorted(set.intersection(*unseen))
        script.write_json(folder / corpus.MANIFEST, script.run_record(args, started, **facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
