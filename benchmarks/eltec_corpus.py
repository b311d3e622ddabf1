"""Build a third corpus to measure on: 99 English novels of 1840 to 1920.

Reads an archive of the English part of the European Literary Text Collection (COST-ELTeC/ELTeC-eng, level 1, snapshot
of 2023-03-29; texts in the public domain, metadata CC BY 4.0, COST Action CA16204) in this project's formats:
metadata.tsv and chunks/ in one folder. Keeps the first --passages passages of each novel. Writes <output>/chunks, and
then <output>/metadata.tsv with one more column, author_age.
"""

from __future__ import annotations

import lzma
import sys
import tarfile
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # script.py lies one folder up

import script  # noqa: E402
from script import InputError, log  # noqa: E402

EXAMPLE = "python benchmarks/eltec_corpus.py --archive eltec_eng.tar.xz -o novels"


def read_archive(path: str) -> dict[str, str]:
    """Return the archive's texts by name, without their common folder. InputError where there are none to read."""
    try:
        with tarfile.open(path) as archive:
            files = {PurePosixPath(one.name): archive.extractfile(one).read() for one in archive if one.isfile()}
        texts = {"/".join(name.parts[1:]): content.decode("utf-8") for name, content in files.items()}
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as a tar archive of texts ({error}); name eltec_eng.tar.xz.") from None
    if "metadata.tsv" not in texts or not any(name.startswith("chunks/") for name in texts):
        raise InputError(f"{path} holds no metadata.tsv and chunks/ in one folder; name eltec_eng.tar.xz.")
    return texts


def whole_rows(table: str) -> list[dict[str, str]]:
    """Return the rows of a TSV. A line that ends before its last column goes on in the next: one title has a break.

    Raises:
        InputError: a row has too many cells, or the last one too few.
    """
    head, *lines = table.rstrip("\n").split("\n")
    columns, cells, rows = head.split("\t"), [], []
    for line in lines:
        more = line.split("\t")
        cells = [*cells[:-1], f"{cells[-1]} {more[0].strip()}", *more[1:]] if cells else more
        if len(cells) == len(columns):
            rows.append(dict(zip(columns, cells, strict=True)))
            cells = []
        elif len(cells) > len(columns):
            break
    if cells:
        raise InputError(f"metadata.tsv: the row of {cells[0]} has {len(cells)} cells, not {len(columns)}; mend it.")
    return rows


def age_of(row: dict[str, str]) -> str:
    """Return the author's age when the novel appeared, empty where the year of birth is unknown."""
    return str(int(row["year"]) - int(row["author_birth"])) if row["author_birth"].isdigit() else ""


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("--archive", required=True, metavar="FILE", help="eltec_eng.tar.xz")
    arguments.add_argument("-o", "--output", required=True, metavar="FOLDER")
    arguments.add_argument(
        "--passages", type=script.positive_int, default=40, metavar="N", help="(default %(default)s)"
    )
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    texts, output = read_archive(args.archive), Path(args.output)
    rows = [row | {"author_age": age_of(row)} for row in whole_rows(texts["metadata.tsv"])]
    for row in rows:
        name = f"chunks/{row['paperId']}.txt"
        if name not in texts:
            raise InputError(f"{args.archive} has no {name}, which its metadata.tsv lists; get the archive again.")
        passages = texts[name].rstrip("\n").split("\n")[: args.passages]
        with script.replacing(output / name) as beside:
            beside.write_text("".join(f"{passage}\n" for passage in passages), encoding="utf-8")
    with script.replacing(output / "metadata.tsv") as beside:
        lines = [rows[0], *(row.values() for row in rows)]
        beside.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    log.info("%d novels in %s", len(rows), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
