"""Build a second corpus for benchmarks/TUNING.md: Requests for Comments, 1969 to 2022, a dozen a year.

A guard against tuning to presidents: many authors, many documents a year, half a century, technical prose. The texts
are those of Debian's packages doc-rfc-* (section non-free), installed or unpacked; --rootfolder is their folder
usr/share/doc/RFC. Page heads, tables, lists and the boilerplate of each period (which would tell the year by itself)
are left out. Writes <output>/metadata.tsv (paperId, year, title, author) and <output>/chunks/<paperId>.txt.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # corpus.py lies one folder up

import corpus  # noqa: E402
from corpus import InputError, log  # noqa: E402
from demo.build_corpus import passages  # noqa: E402

EXAMPLE = "python benchmarks/rfc_corpus.py -r usr/share/doc/RFC -o rfc --tokenizer path/to/all-MiniLM-L6-v2"

PAGE_FOOT = re.compile(r"\[page\s+[\divxlc-]+\]", re.IGNORECASE)
BOILERPLATE = re.compile(
    r"copyright|status of this memo|distribution of this|internet society|ietf|rfc editor|bcp \d|rfc ?2119|rfc ?8174|"
    r"internet[- ]drafts?|request for comments|internet community|intellectual property|official protocol standards",
    re.IGNORECASE,
)
FEWEST, MOST = 4, 12  # passages of a document, from its beginning
LONGEST = 30_000  # characters are enough for twice as many


def read_text(path: Path) -> str:
    """Return a file's text, unpacked; old ones are not all valid UTF-8."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")


def paragraphs(text: str) -> list[str]:
    """Return a document's paragraphs without page heads and feet; one cut in two by a page's end is joined again."""
    joined: list[str] = []
    for number, page in enumerate(text.replace("\r", "").split("\f")):
        page = "\n".join(line for line in page.split("\n") if not PAGE_FOOT.search(line))
        blocks = [" ".join(block.split()) for block in re.split(r"\n\s*\n", page) if block.strip()]
        for block in blocks[1 if number else 0 :]:  # the first block of a later page is its running head
            if joined and block[:1].islower() and joined[-1][-1:] not in ".:?!":
                joined[-1] += " " + block
            else:
                joined.append(block)
    return joined


def is_prose(paragraph: str) -> bool:
    """Tell prose from headings, tables, diagrams, lists of references, and what each period's rules put there."""
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    whole = len(paragraph.split()) >= 20 and paragraph[0].isalpha() and paragraph[-1] in ".:?!"
    return whole and letters >= 0.85 * len(paragraph) and not BOILERPLATE.search(paragraph)


def documents_of(root: Path) -> dict[int, list[dict]]:
    """Return by year what the folder's metadata says of each document that has a text."""
    years: dict[int, list[dict]] = {}
    texts = {path.name.split(".")[0]: path for path in sorted(root.rglob("rfc*.txt*"))}
    records = {path.name.split(".")[0]: path for path in sorted(root.rglob("rfc*.json*"))}
    for name in sorted(texts.keys() & records.keys()):
        record = json.loads(read_text(records[name]))
        year = re.search(r"\d{4}", record["pub_date"])
        if year:
            authors = "; ".join(author.removesuffix(", Ed.").strip() for author in record["authors"])
            row = {"paperId": name, "title": " ".join(record["title"].split()), "author": authors, "path": texts[name]}
            years.setdefault(int(year[0]), []).append(row)
    if not years:
        raise InputError(f"{root} holds no rfc….txt with its rfc….json; unpack Debian's doc-rfc packages.")
    return dict(sorted(years.items()))


def parse_args(argv: list[str] | None = None):
    arguments = corpus.parser(__doc__, EXAMPLE)
    add = arguments.add_argument
    add("-r", "--rootfolder", required=True, type=Path, metavar="FOLDER")
    add("-o", "--output", required=True, type=Path, metavar="FOLDER")
    add("--tokenizer", required=True, metavar="MODEL", help="folder of the model whose tokens are counted")
    add("--max-tokens", type=corpus.positive_int, default=254, help="of a passage (default %(default)s)")
    add("--per-year", type=corpus.positive_int, default=12, help="documents, drawn by seed (default %(default)s)")
    return arguments.parse_args(argv)


@corpus.command
def main(argv: list[str] | None = None) -> int:
    import sentencex
    from tokenizers import Tokenizer

    args = parse_args(argv)
    tokenizer = Tokenizer.from_file(str(Path(args.tokenizer) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows, chunks = [], args.output / "chunks"
    chunks.mkdir(parents=True, exist_ok=True)
    for year, found in documents_of(args.rootfolder).items():
        random.Random(f"documents {year}").shuffle(found)
        kept = 0
        for row in found:
            cut = passages(
                "\n".join(filter(is_prose, paragraphs(read_text(row["path"]))))[:LONGEST],
                lambda paragraph: sentencex.segment("en", paragraph),
                lambda part: len(tokenizer.encode(part, add_special_tokens=False).ids),
                args.max_tokens,
            )[:MOST]
            if len(cut) >= FEWEST and kept < args.per_year:
                kept += 1
                corpus.write_lines(chunks / f"{row['paperId']}.txt", (f"{i}\t{part}\n" for i, part in enumerate(cut)))
                rows.append("\t".join((row["paperId"], str(year), row["title"], row["author"])) + "\n")
            if kept == args.per_year:
                break
    corpus.write_lines(args.output / "metadata.tsv", ["paperId\tyear\ttitle\tauthor\n", *rows])
    log.info("%d documents in %s", len(rows), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
