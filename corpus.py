"""The file formats that pass between the stages, and nothing else.

Metadata (one TSV), chunk files (one text file per document), pair tables (TSV), and embedding folders (one file per
decade). Readers raise InputError, which names the file, the line or row, and what to do. Writers are atomic: a file is
complete or absent.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import itertools
import os
import re
import stat
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from script import (
    InputError,
    file_digest,
    first_few,
    log,
    read_json,
    record_path,
    regular_file,
    replacing,
    shortened,
    write_json,
)

if TYPE_CHECKING:  # numpy costs 0.1 s, pyarrow 0.3 s: --help must not pay for them
    import numpy as np
    import pyarrow as pa

PAIR_COLUMNS = ("paperId", "year", "anchor", "positive", "category")
PARAPHRASED_COLUMNS = (*PAIR_COLUMNS, "system_prompt", "temperature", "model")
CATEGORIES = ("successive", "single-synthetic", "synthetic-pair", "random-pair")
TO_GENERATE = "generate"  # the word in a cell that is still to be paraphrased
PAIRS_DIGEST = "pairs_sha256"  # in a paraphrased table's record: of the pair table it was made from

EMBEDDING_FORMATS = ("parquet", "tsv")
MANIFEST = "manifest.json"  # an embedding folder is complete only if it has this file
DECADE_RECORDS = "decades"  # <folder>/decades/1790.json: what 1790.parquet was made from
TRAINING_RECORD = "training.json"  # a model folder is complete only if it has this file
KEPT = "kept.json"  # beside it: what a finished model, kept as it is, has otherwise than was asked for
DEFINITION = 1  # raise it whenever what a decade's file holds changes: decades of another definition are made again
FORMERLY = {"definition": 1}  # what is true of decades whose record doesn't say it

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+(\.0*)?")  # pandas writes 1790.0 if any year in the column is missing
MOST_DIGITS = 4  # of a year; 19500101 is a date
BEFORE_PASSAGE = re.compile(r"\r+(?= *[0-9]+ *\t)")  # a CR that ends a line: an index and a tab follow


# ---------------------------------------------------------------- metadata


class Document(NamedTuple):
    """One row of the metadata."""

    paper_id: str
    year: int
    filename: str


def read_metadata(
    path: str | Path, start_year: int | None = None, end_year: int | None = None
) -> tuple[list[Document], Counter]:
    """Read the metadata TSV.

    Every line is one row, whatever quotation marks it contains: eighteenth-century titles start with unpaired ones.
    Cells that a spreadsheet or pandas has quoted are unquoted.

    Args:
        start_year, end_year: keep documents with start_year <= year < end_year.
    Returns:
        The documents in file order, and how many rows were skipped for each reason.
    Raises:
        InputError: a missing column, a row of another length, a repeated paperId, or a path that leaves the folder.
    """
    documents, skipped, seen = [], Counter(), {}
    for number, row in metadata_rows(path):
        paper_id = row["paperId"]
        if paper_id.strip() and (first := seen.setdefault(same_name(paper_id), number)) != number:
            raise InputError(f"{path}: paperId {paper_id!r} is on lines {first} and {number}; keep one.")
        reason = reason_to_skip(row, start_year, end_year)
        if reason is not None:
            skipped[reason] += 1
            continue
        filename = row.get("FILENAME", "").strip() or f"{paper_id}.txt"
        check_inside(path, number, filename)
        documents.append(Document(paper_id, whole_year(row), filename))
    return documents, skipped


def metadata_rows(path: str | Path):
    """Yield (line number, row as a dict of text) for every row of the metadata, even those that will be skipped."""
    text = decode(regular_file(path).read_bytes(), path)
    # Where CR ends the header, it ends every line. Elsewhere it is part of a cell, as in titles from a database.
    lines = lines_of(text) if re.match(r"[^\r\n]*\r(?!\n)", text) else text.split("\n")
    header = [unquoted(cell) for cell in lines[0].removesuffix("\r").split("\t")]
    for column in ("paperId", "year"):
        if column not in header:
            found = ", ".join(shortened(name) for name in header[:8])
            raise InputError(f"{path}, line 1: no column {column!r} among {found}; add it to the tab-separated header.")
    check_header(path, header)
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip(" \r"):
            continue
        cells = [unquoted(cell) for cell in line.removesuffix("\r").split("\t")]
        if len(cells) != len(header):
            remedy = "replace tabs and line breaks inside cells with spaces"
            if len(cells) < len(header):
                remedy = "add a tab for each empty cell left out at its end, or rejoin a row that a line break splits"
            raise InputError(f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}; {remedy}.")
        yield number, dict(zip(header, cells))


def lines_of(text: str) -> list[str]:
    """Return a text's lines in file order, whether they end in LF, CRLF, or CR."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def check_header(path: str | Path, names: Iterable[str]) -> None:
    """Refuse a table with two columns of one name; of columns without a name there may be several."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name.strip()]
    if twice:
        name = shortened(twice[0])
        raise InputError(f"{path}, line 1: two columns are named {name!r}; rename or delete one of them.")


def whole_year(row: dict[str, str]) -> int | None:
    """Return the row's year, or None if its cell holds no year; 1790.0, -44, and 9999 are years."""
    return None if fault_of_year(row) else int(row["year"].split(".")[0])


def fault_of_year(row: dict[str, str]) -> str | None:
    """Return why the row's year is none, or None."""
    year = row["year"].strip()
    if not WHOLE_NUMBER.fullmatch(year):
        return "not a whole number"
    digits = year.lstrip("+-").split(".")[0].lstrip("0")
    return "outside -9999 to 9999" if len(digits) > MOST_DIGITS else None


def reason_to_skip(row: dict[str, str], start_year: int | None, end_year: int | None) -> str | None:
    """Return why a metadata row is skipped, or None."""
    if not row["paperId"].strip():
        return "empty paperId"
    if fault := fault_of_year(row):
        return f"year {fault}"
    year = whole_year(row)
    if row.get("SOURCE") == "extracted_features":
        return "SOURCE extracted_features: no full text"
    if (start_year is not None and year < start_year) or (end_year is not None and year >= end_year):
        return "outside the years asked for"
    return None


def check_inside(path: str | Path, number: int, name: str) -> None:
    """Refuse a file name that would make a metadata row read outside the chunk folder."""
    if "/" in name or ".." in name or os.path.isabs(name) or "\0" in name:
        raise InputError(
            f"{path}, line {number}: {name!r} contains '/', '..', or NUL and could lead out of the chunk folder; "
            "rename the document and its file, or give the file's name in a column FILENAME."
        )


def unquoted(cell: str) -> str:
    """Return a cell without the quotation marks around it, if it has them and all inner ones are doubled."""
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"')
    return cell


def decode(data: bytes, path: str | Path, errors: str | None = None) -> str:
    """Decode UTF-8, with or without a byte order mark. InputError, with the byte offset, if it is not UTF-8.

    Args:
        errors: of a chunk file, --encoding-errors; for other files there is no such choice.
    """
    try:
        return data.decode("utf-8", errors or "strict").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        choice = " or pass --encoding-errors replace" if errors else ""
        raise InputError(
            f"{path}: byte {error.start} (0x{data[error.start]:02x}) is not UTF-8; convert the file to UTF-8{choice}."
        ) from None


def documents_of_years(path: str, start: int | None, end: int | None) -> list[Document]:
    """Return the metadata's documents of these years, and log how many are skipped. InputError where there are none."""
    documents, skipped = read_metadata(path, start, end)
    log_skipped(documents, skipped)
    if not documents:
        raise InputError(f"{path} has no document of the years asked for; check -s and -e (exclusive).")
    return documents


def log_skipped(documents: list[Document], skipped: Counter) -> None:
    """Log how many documents the metadata has, why rows were skipped, and which files several documents share."""
    reasons = "".join(f"; {count} skipped ({reason})" for reason, count in sorted(skipped.items()))
    log.info("metadata: %d documents%s", len(documents), reasons)
    owners = defaultdict(list)
    for document in documents:
        owners[same_name(document.filename)].append(document.paper_id)
    shared = [f"{name} ({first_few(ids)})" for name, ids in owners.items() if len(ids) > 1]
    if shared:
        log.warning("%d chunk files are shared by several documents, whose texts are the same: %s", len(shared),
                    first_few(shared))  # fmt: skip


def same_name(name: str) -> str:
    """Return what names that look alike have in common: é is one character in NFC, two in NFD, as on a Mac's disk."""
    return unicodedata.normalize("NFC", name)


# ---------------------------------------------------------------- chunk files


class ChunkFolder:
    """The folder of chunk files, one `<index><TAB><passage>` per line; counts everything odd in the files it reads."""

    def __init__(self, root: str | Path, encoding_errors: str = "strict"):
        self.root = Path(root)
        self.encoding_errors = encoding_errors
        self.missing: list[str] = []
        self.empty: list[str] = []
        self.disordered: list[str] = []
        self.nul_bytes = 0
        self.blank_passages = 0
        self.places: dict[str, Places | None] = {}
        if not self.root.is_dir():
            raise InputError(f"{root} is not a folder; give the folder of <paperId>.txt files with -r/--rootfolder.")

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """The folder's file names, by what names that look alike have in common."""
        return {same_name(name): name for name in sorted(os.listdir(self.root))}

    def path_of(self, document: Document) -> Path:
        """Return the path of a document's chunk file, also where disk and metadata write its accents differently."""
        path = self.root / document.filename
        if document.filename.isascii() or path.exists():
            return path
        return self.root / self.names.get(same_name(document.filename), document.filename)

    def passages(self, document: Document) -> list[str]:
        """Return a document's passages in file order; an empty list if its file is missing or empty."""
        path = self.path_of(document)
        try:
            data = regular_file(path).read_bytes()
        except FileNotFoundError:
            self.missing.append(document.paper_id)
            return []
        text = decode(data, path, self.encoding_errors)
        if "\0" in text:
            self.nul_bytes += text.count("\0")
            text = text.replace("\0", "")
        passages, in_order, blank = parse_passages(text, path)
        self.blank_passages += blank
        if not passages:
            self.empty.append(document.paper_id)
        if not in_order:
            self.disordered.append(document.paper_id)
        return passages

    def lines(self, document: Document) -> int:
        """Return about how many passages a document has, 0 where its file can't be read; refuses and counts nothing."""
        data, _ = read_plain_file(str(self.path_of(document)))
        return max(data.count(b"\n"), data.count(b"\r")) + bool(data and not data.endswith((b"\n", b"\r")))

    def count(self, document: Document) -> int:
        """Return how many passages a document has; chosen() then reads them from their places alone."""
        path = f"{self.root}/{document.filename}"
        data, stamp = read_plain_file(path)
        starts = data and starts_of_lines(data)
        if not starts:
            return len(self.passages(document))
        self.places[document.paper_id] = Places(stamp, starts)
        return len(starts) - 1

    def chosen(self, document: Document, numbers: Iterable[int]) -> dict[int, str]:
        """Return some of a document's passages by their numbers.

        Raises:
            InputError: since they were counted, the chunk file has changed.
        """
        path, places = f"{self.root}/{document.filename}", self.places.get(document.paper_id)
        if places is None:
            passages = self.passages(document)
            found = {number: passages[number] for number in numbers if number < len(passages)}
        else:
            found = read_places(path, places, numbers)
        if not all(number in found for number in numbers):
            raise InputError(f"{path} changed while it was being read; run this again.")
        return found

    def afresh(self) -> ChunkFolder:
        """Return the same folder with nothing read and counted yet."""
        return ChunkFolder(self.root, self.encoding_errors)

    def add(self, other: ChunkFolder) -> None:
        """Count what was odd in the files that another has read as if they had been read here."""
        self.missing += other.missing
        self.empty += other.empty
        self.disordered += other.disordered
        self.nul_bytes += other.nul_bytes
        self.blank_passages += other.blank_passages

    def log_oddities(self) -> None:
        """Log what was missing or odd in the files read so far."""
        for names, what in (
            (self.missing, "documents without a chunk file, skipped"),
            (self.empty, "documents without passages, skipped"),
            (self.disordered, "documents whose passage indices are not 0, 1, 2 … (file order kept)"),
        ):
            if names:
                log.warning("%d %s: %s", len(names), what, first_few(names))
        if self.nul_bytes:
            log.warning("%d NUL bytes removed from chunk files", self.nul_bytes)
        if self.blank_passages:
            log.warning("%d blank passages skipped; numbering continues without gaps", self.blank_passages)

    def counts(self) -> dict:
        """Return what was missing or odd, for the record of the run."""
        return {
            "documents_without_file": len(self.missing),
            "documents_without_passages": len(self.empty),
            "documents_with_disordered_indices": len(self.disordered),
            "nul_bytes_removed": self.nul_bytes,
            "blank_passages_skipped": self.blank_passages,
        }


class Places(NamedTuple):
    """Where the passages stand in a chunk file without oddities.

    stamp: size and time of change of the file; starts: of each line, in bytes, and at last where the next would start.
    """

    stamp: tuple[int, int]
    starts: array


def read_plain_file(path: str) -> tuple[bytes, tuple[int, int]]:
    """Return a regular file's bytes, none where it can't be read, and its size and time of change.

    A third of the time that pathlib takes, which for small files is as long as reading them.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for somebody to write
    except OSError:
        return b"", (0, 0)
    try:
        status = os.fstat(handle)
        data = os.read(handle, status.st_size) if stat.S_ISREG(status.st_mode) else b""
        return data if len(data) == status.st_size else b"", (status.st_size, status.st_mtime_ns)
    finally:
        os.close(handle)


def starts_of_lines(data: bytes) -> array | None:
    """Return where each line of a chunk file starts and the last one ends, None if parse_passages has to see to it.

    That is: another index than 0, 1, 2 …, a blank line, a passage that may be blank, CR, NUL, invalid UTF-8, a BOM.
    """
    if b"\r" in data or b"\0" in data or not is_utf8(data):
        return None
    starts, start, size = array("Q"), 0, len(data)
    for index, width in line_indices():
        first = start + width
        if first >= size or not data.startswith(index, start) or not 32 < data[first] < 128:
            return None
        starts.append(start)
        start = data.find(b"\n", first) + 1 or size + 1
        if start >= size:
            starts.append(start)
            return starts
    return None


@functools.cache
def line_indices() -> list[tuple[bytes, int]]:
    """Return how a chunk file's lines begin, and the number of bytes; a longer file than a long novel's is left out."""
    return [(index, len(index)) for index in (b"%d\t" % i for i in range(5000))]


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are valid UTF-8."""
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def read_places(path: str, places: Places, numbers: Iterable[int]) -> dict[int, str]:
    """Return passages by their numbers, read from their places; none where the file has changed."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status, found = os.fstat(handle), {}
        if (status.st_size, status.st_mtime_ns) != places.stamp:
            return {}
        for number in numbers:
            start, end = places.starts[number : number + 2]
            line = os.pread(handle, end - start, start).decode().removesuffix("\n")
            found[number] = line[len(str(number)) + 1 :].replace("\t", " ")
        return found
    finally:
        os.close(handle)


def parse_passages(text: str, path: Path) -> tuple[list[str], bool, int]:
    """Return the passages of one chunk file, whether its indices are 0, 1, 2 …, and how many passages were blank."""
    passages, indices = [], []
    for number, line in enumerate(BEFORE_PASSAGE.sub("\n", text).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        index, tab, passage = line.partition("\t")
        if not tab:
            raise InputError(f"{path}, line {number}: no tab; every line is <index><TAB><passage>.")
        indices.append(index.strip())
        if passage.strip():
            passages.append(passage.replace("\t", " ").replace("\r", " "))
    in_order = indices == [str(i) for i in range(len(indices))]
    return passages, in_order, len(indices) - len(passages)


# ---------------------------------------------------------------- pair tables


def write_pairs(path: str | Path, rows, columns: tuple[str, ...] = PAIR_COLUMNS) -> int:
    """Write dicts as a pair table that pandas.read_csv(path, sep="\\t") reads back exactly; return their number."""
    written = 0
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as table:
        for row in itertools.chain([dict(zip(columns, columns))], rows):
            table.write(quoted_line([row[column] for column in columns]))
            written += 1
    return written - 1


def quoted_line(cells: list) -> str:
    """Return cells as csv.writer(delimiter="\t", quoting=csv.QUOTE_ALL) writes them, in a fifth of its time."""
    return '"' + '"\t"'.join([str(cell).replace('"', '""') for cell in cells]) + '"\n'


def read_pairs(path: str | Path) -> list[dict[str, str]]:
    """Return all rows of a pair table, read as in each_pair."""
    return list(each_pair(path))


def each_pair(path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a pair table; every cell is text, even `NA` and `007`.

    Raises:
        InputError: a missing column, an unknown category, an empty text, or a row of another length.
    """
    with open(regular_file(path), encoding="utf-8-sig", newline="") as table:
        yield from pairs_in(table, path)


def pairs_in(lines: Iterable[str], path: str | Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a pair table's lines, which keep their line ends; path is for messages."""
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is too little for a long passage that was not split
    reader = csv.DictReader(lines, delimiter="\t", strict=True, restkey="more")
    try:
        absent = [column for column in PAIR_COLUMNS if column not in (reader.fieldnames or ())]
        if absent:
            raise InputError(f"{path}, line 1: no column {', '.join(absent)}; expected {', '.join(PAIR_COLUMNS)}.")
        check_header(path, reader.fieldnames)
        for row in reader:
            check_pair(row, path, reader.line_num)
            yield row
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.reader.line_num}: {error}; make the table again with its script."
        ) from None
    except UnicodeDecodeError:
        decode(Path(path).read_bytes(), path)  # its error names the byte
        raise


def check_pair(row: dict[str, str], path: str | Path, number: int) -> None:
    """Refuse a row that is cut off, has an empty text, or has an unknown category or year."""
    if "more" in row or None in row.values():
        raise InputError(f"{path}, line {number}: not as many cells as in the header; make the table again.")
    if row["category"] not in CATEGORIES:
        category = shortened(row["category"])
        raise InputError(f"{path}, line {number}: category {category!r} is not one of {', '.join(CATEGORIES)}.")
    if fault := fault_of_year(row):
        raise InputError(f"{path}, line {number}: year {shortened(row['year'])!r} is {fault}; correct it.")
    for column in ("anchor", "positive"):
        if not row[column].strip():
            raise InputError(f"{path}, line {number}: the {column} is empty; make the table again with its script.")


def is_made_from(paraphrased: str | Path, pairs: str | Path) -> bool | None:
    """Tell whether a paraphrased table was made from a pair table as this is now.

    Returns:
        None if that can't be known: no record beside the table, one of an earlier version, or no pair table.
    Raises:
        InputError: the record is not valid JSON.
    """
    record, now = record_path(paraphrased), file_digest(pairs)
    then = read_json(record).get(PAIRS_DIGEST) if record.exists() else None
    return then == now if then and now else None


# ---------------------------------------------------------------- embedding files


def decade_of(year: int) -> int:
    """Return a decade by its first year: 1790 for 1799, -10 for -1."""
    return year // 10 * 10


def write_embeddings(path: str | Path, paper_ids: list[str], chunk_numbers: list[int], vectors: np.ndarray) -> None:
    """Write one decade's embeddings, as Parquet or TSV depending on the ending of path.

    Args:
        paper_ids: one for each passage, in metadata order.
        chunk_numbers: one for each passage, from 0 within a document, in file order.
        vectors: float32 or float16, shape (passages, dimensions).
    """
    import pyarrow as pa

    columns = {"paperId": pa.array(paper_ids, pa.string()), "chunknumber": pa.array(chunk_numbers, pa.int32())}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    write_tables(path, iter([pa.table(columns)]))


def join_embeddings(path: str | Path, parts: list[Path]) -> None:
    """Write one file of all passages in Parquet files of one decade, in their order; one of them is in memory."""
    write_tables(path, map(read_part, parts))


def read_part(path: Path) -> pa.Table:
    """Return an embedding file as the table that it was written from: Parquet has a name of its own for list items."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_batches(parquet.ParquetFile(path).iter_batches(4096))  # in half the time of read_table()
    vectors = table.schema.field("embedding").type
    as_written = pa.field("embedding", pa.list_(vectors.value_type, vectors.list_size))
    return table.cast(table.schema.set(2, as_written))


def write_tables(path: str | Path, tables: Iterator[pa.Table]) -> None:
    """Write tables of paperId, chunknumber and embedding to one file, one after the other."""
    from pyarrow import parquet

    first = next(tables)
    with replacing(path) as beside, open(beside, "wb") as handle:
        if Path(path).suffix == ".tsv":
            dimensions = first.schema.field("embedding").type.list_size
            # The original's reader splits at tabs and does not unquote, not even the header.
            names = ("paperId", "chunknumber", *(f"embedding_{i + 1}" for i in range(dimensions)))
            handle.write(("\t".join(names) + "\n").encode())
            for table in itertools.chain([first], tables):
                write_tsv(handle, table, names)
            return
        how = {"compression": "zstd", "use_dictionary": ["paperId"]}
        with parquet.ParquetWriter(handle, first.schema, **how) as writer:
            for table in itertools.chain([first], tables):
                writer.write_table(table)


def write_tsv(handle, table: pa.Table, names: tuple[str, ...]) -> None:
    """Write a table's rows to an open file, a column for each dimension."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    numbers = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1).astype("float32")
    columns = [table["paperId"], table["chunknumber"], *map(pa.array, numbers.T)]
    options = arrow_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    arrow_csv.write_csv(pa.table(columns, names), handle, options)


def check_tsv_names(documents: list[Document]) -> None:
    """Refuse paperIds with quotation marks, which the original's TSV layout cannot represent."""
    for document in documents:
        if '"' in document.paper_id:
            raise InputError(f"paperId {document.paper_id!r} can't be written with --format tsv; use --format parquet.")


def read_embeddings(path: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read one decade's file.

    Returns:
        paperIds, passage numbers (int, (passages,)), vectors (float32, (passages, dimensions)).
    Raises:
        InputError: not an embedding file, or a vector that contains NaN or infinity.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    try:
        if regular_file(path).suffix == ".tsv":
            as_text = arrow_csv.ConvertOptions(column_types={"paperId": pa.string()}, null_values=[])
            unquoting = arrow_csv.ParseOptions(delimiter="\t", quote_char=False)
            table = arrow_csv.read_csv(path, parse_options=unquoting, convert_options=as_text)
            names = [name for name in table.column_names if name.startswith("embedding_")]
            vectors = np.column_stack([table[name].to_numpy() for name in names])
        else:
            file = parquet.ParquetFile(path)
            table = file.read(columns=["paperId", "chunknumber"])
            vectors = read_vectors(file)
        paper_ids, chunk_numbers = table["paperId"].to_pylist(), table["chunknumber"].to_numpy()
    except (pa.ArrowException, AttributeError, KeyError, ValueError, OSError) as error:
        fault = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not an embedding file ({fault}); make it again with Apply_Tuned_Model.py."
        ) from None
    vectors = vectors.astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise InputError(f"{path}, row {bad[0]}: the vector contains NaN or infinity; embed this decade again.")
    return paper_ids, chunk_numbers, vectors


def read_vectors(file) -> np.ndarray:
    """Return the column `embedding` of an open Parquet file as float32, (passages, dimensions).

    Copying it in batches into one array takes half the memory and half the time of reading the whole column.
    """
    import numpy as np

    dimensions = file.schema_arrow.field("embedding").type.list_size
    vectors, start = np.empty((file.metadata.num_rows, dimensions), np.float32), 0
    for batch in file.iter_batches(batch_size=4096, columns=["embedding"]):
        rows = vectors[start : start + len(batch)]
        rows[:] = batch.column(0).flatten().to_numpy().reshape(rows.shape)
        start += len(batch)
    return vectors


class DecadePassages(NamedTuple):
    """A decade's passages: three lists of equal length, in metadata order, then passage order."""

    paper_ids: list[str]
    numbers: list[int]
    texts: list[str]

    def digest(self) -> str:
        """Return a SHA-256 of the passages in order."""
        return self.added_to(hashlib.sha256()).hexdigest()

    def added_to(self, digest):
        """Return a SHA-256 that goes on with these passages."""
        for paper_id, text in zip(self.paper_ids, self.texts):
            digest.update(f"{paper_id}\t{text}\n".encode())
        return digest


def by_decade(documents: list[Document]) -> dict[int, list[Document]]:
    """Return the documents of each decade, in metadata order, decades ascending."""
    decades = defaultdict(list)
    for document in documents:
        decades[decade_of(document.year)].append(document)
    return dict(sorted(decades.items()))


def read_decade(documents: list[Document], chunks: ChunkFolder) -> DecadePassages:
    """Read the passages of a decade's documents."""
    paper_ids, numbers, texts = [], [], []
    for document in documents:
        passages = chunks.passages(document)
        paper_ids += [document.paper_id] * len(passages)
        numbers += range(len(passages))
        texts += passages
    return DecadePassages(paper_ids, numbers, texts)


class DecadePlan:
    """What is known of a decade before its passages are embedded, once all its documents have been read in order.

    Attributes:
        chunks: what was odd in the files of these documents alone.
        passages: how many there are.
    """

    def __init__(self, decade: int, chunks: ChunkFolder, settings: dict):
        self.decade, self.chunks, self.settings = decade, chunks.afresh(), settings
        self.digest, self.documents, self.passages, self.without = hashlib.sha256(), 0, 0, []

    def read(self, documents: list[Document]) -> DecadePassages:
        """Return the passages of the next documents."""
        passages = read_decade(documents, self.chunks)
        passages.added_to(self.digest)
        found = set(passages.paper_ids)
        self.documents += len(found)
        self.passages += len(passages.texts)
        self.without += [document.paper_id for document in documents if document.paper_id not in found]
        return passages

    def record(self) -> dict:
        """Return the beginning of the decade's record."""
        return {
            "decade": self.decade,
            "file": f"{self.decade}.{self.settings['format']}",
            "documents": self.documents,
            "passages": self.passages,
            "without_passages": self.without,
            "texts_sha256": self.digest.hexdigest(),
            **self.settings,
        }


def record_of_decade(folder: Path, decade: int) -> Path:
    """Return the path of the record of a decade's file."""
    return folder / DECADE_RECORDS / f"{decade}.json"


def read_if_there(path: Path) -> dict:
    """Return a record, or an empty one if there is none or another task has just deleted it."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return {}


def held_out_documents(training: str) -> list[str]:
    """Return the paperIds that a training.json names as held out, sorted."""
    return sorted(read_json(training).get("held_out_documents", ()))


def only_held_out(documents: list[Document], training: str) -> list[Document]:
    """Return the documents that a training held out. InputError where there are none."""
    held = set(held_out_documents(training))
    documents = [document for document in documents if document.paper_id in held]
    if not documents:
        where = f"{training} names no document of the metadata as held out"
        raise InputError(f"{where}; pass a training.json of this corpus.")
    return documents


def read_records(folder: Path) -> dict[int, dict]:
    """Return the records of all finished decades, ascending."""
    records = filter(None, map(read_if_there, (folder / DECADE_RECORDS).glob("*.json")))
    return {record["decade"]: record for record in sorted(records, key=lambda record: record["decade"])}


def check_kind(folder: Path, key: str) -> None:
    """Refuse to write over embeddings of another kind: each decade's record must have this key."""
    records = read_records(folder).values()
    without_records = not (folder / DECADE_RECORDS).is_dir() and any(
        decade_in(path) is not None for path in folder.glob("*")
    )
    if without_records or not all(key in record for record in records):
        raise InputError(f"{folder} holds other embeddings; name another folder with -o.")


def is_so(planned: dict, record: dict) -> bool:
    """Tell whether a decade's record says all that is planned."""
    return planned.items() <= (FORMERLY | record).items()


def is_written(folder: Path, planned: dict, record: dict) -> bool:
    """Tell whether a decade's file exists and was made from the planned texts with the planned settings."""
    return is_so(planned, record) and file_size(folder / record["file"]) == record["bytes"]


def are_written(folder: Path, decades: dict[int, list[Document]], chunks: ChunkFolder, settings: dict) -> bool:
    """Tell whether other tasks have written these decades, from these texts with these settings.

    The texts are read only where all the rest fits: by the last task, and after a change of texts.
    """
    records = read_records(folder)
    if not all(is_so(settings, records.get(decade, {})) for decade in decades):
        return False
    for decade, documents in decades.items():
        plan = DecadePlan(decade, chunks, settings)
        for document in documents:  # one at a time: a decade may be larger than the memory
            plan.read([document])
        if not is_written(folder, plan.record(), records[decade]):
            return False
    return True


def check_vectors(decade: int, passages: DecadePassages, vectors: np.ndarray) -> None:
    """Refuse vectors with NaN or infinity before they are written: every reader would refuse them."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        first = f"passage {passages.numbers[bad[0]]} of {passages.paper_ids[bad[0]]}"
        raise InputError(
            f"the {decade}s are not written: the vectors of {len(bad)} of {len(vectors)} passages, the first being "
            f"{first}, contain NaN or infinity; run again with --precision fp32 and --dtype float32, and if that "
            "fails, check the model given with -m."
        )


def write_decade(folder: Path, record: dict, write: Callable[[Path], None] | None) -> None:
    """Replace a decade's file, then its record; `write` makes the file, and is None for a decade without passages."""
    path, target = record_of_decade(folder, record["decade"]), folder / record["file"]
    path.parent.mkdir(parents=True, exist_ok=True)  # a folder with decades and without this is an earlier version's
    before = read_if_there(path)
    path.unlink(missing_ok=True)
    if write is None:
        target.unlink(missing_ok=True)
    else:
        write(target)
    if before and before["file"] != target.name:
        (folder / before["file"]).unlink(missing_ok=True)
    write_json(path, record | {"bytes": file_size(target), "sha256": file_digest(target)})


def write_decades(folder: Path, decades: dict[int, list[Document]], chunks: ChunkFolder, settings: dict, embed) -> None:
    """Write every decade's file and record, a decade at a time.

    Args:
        chunks: gathers what was odd in the files.
        settings: what the records say of how the vectors were made.
        embed: takes a decade's texts and returns their vectors, float32, (passages, dimensions).
    """
    for decade, documents in decades.items():
        plan = DecadePlan(decade, chunks, settings)
        paper_ids, numbers, texts = plan.read(documents)
        chunks.add(plan.chunks)
        write, record = None, plan.record() | {"oddities": {}}
        if texts:
            vectors = embed(texts)
            write = functools.partial(write_embeddings, paper_ids=paper_ids, chunk_numbers=numbers, vectors=vectors)
            record["dimensions"] = vectors.shape[1]
        write_decade(folder, record, write)


def manifest_facts(model: str, records: list[dict]) -> dict:
    """Return what the manifest of an embedding folder says besides how it was made."""
    oddities = Counter()
    for record in records:
        oddities.update(record["oddities"])
    return {
        "model": model,
        "dimensions": next((record["dimensions"] for record in records if "dimensions" in record), None),
        "documents": sum(record["documents"] for record in records),
        "passages": sum(record["passages"] for record in records),
        "passages_at_the_limit": sum(record.get("passages_at_the_limit", 0) for record in records),
        "oddities": dict(oddities),
        "decades": records,
    }


def file_size(path: Path) -> int | None:
    """Return a file's size in bytes, or None if there is no file."""
    return path.stat().st_size if path.exists() else None


class DecadeFile:
    """One decade's file in an embedding folder and its entry in the manifest (None if there is no manifest)."""

    def __init__(self, path: Path, record: dict | None):
        self.path, self.record = path, record
        if record is not None and path.stat().st_size != record["bytes"]:
            raise InputError(f"{path} does not have the {record['bytes']} bytes of {MANIFEST}; copy or embed it again.")

    @functools.cached_property
    def digest(self) -> str:
        """The file's SHA-256, from the manifest or else computed once."""
        return self.record["sha256"] if self.record is not None else file_digest(self.path)

    @property
    def texts(self) -> str | None:
        """The SHA-256 of the texts that it was made from; None where no manifest tells."""
        return self.record and self.record.get("texts_sha256")

    def documents(self) -> list[str]:
        """Return the paperIds of the documents, in the order of their passages."""
        from pyarrow import parquet

        if self.path.suffix == ".tsv":
            return list(dict.fromkeys(self.read()[0]))
        return list(dict.fromkeys(parquet.read_table(self.path, columns=["paperId"])["paperId"].to_pylist()))

    def read(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Read the file as read_embeddings does. InputError also where it is not the one that the manifest lists."""
        if self.record is not None and file_digest(self.path) != self.digest:
            raise InputError(
                f"{self.path} is not the file that {MANIFEST} lists (other SHA-256); copy it again with its manifest, "
                "or delete it and run Apply_Tuned_Model.py again."
            )
        return read_embeddings(self.path)


def read_manifest(folder: str | Path) -> dict:
    """Read an embedding folder's manifest. InputError if there is none: the folder is not complete."""
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise InputError(f"{path} does not exist: the folder is not complete; let Apply_Tuned_Model.py finish.")
    return read_json(path)


def find_decades(folder: str | Path) -> dict[int, DecadeFile]:
    """Return the file of each decade, ascending; other files are ignored and logged.

    A folder that Apply_Tuned_Model.py did not write has neither manifest nor records; its files are used as they are.

    Raises:
        InputError: no such folder, no decade's file in it, two files of one decade, or a folder that is not complete.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that Apply_Tuned_Model.py wrote.")
    ours = (folder / MANIFEST).exists() or (folder / DECADE_RECORDS).is_dir()
    records = {record["file"]: record for record in read_manifest(folder)["decades"]} if ours else None
    files, ignored = {}, []
    for path in sorted(folder.iterdir()):
        decade = decade_in(path)
        if decade is None or (records is not None and path.name not in records):
            if path.name not in (MANIFEST, DECADE_RECORDS):
                ignored.append(path.name)
            continue
        if decade in files:
            raise InputError(
                f"{folder} contains {files[decade].path.name} and {path.name}; delete the one you do not want."
            )
        files[decade] = DecadeFile(path, records and records[path.name])
    if ignored:
        log.info("%s: %d other files ignored: %s", folder, len(ignored), first_few(ignored))
    lacking = [name for name, r in (records or {}).items() if r["passages"] and not (folder / name).exists()]
    if lacking or not files:
        missing = first_few(lacking) or "any decade's file, such as 1790.parquet"
        raise InputError(f"{folder} lacks {missing}; run Apply_Tuned_Model.py again.")
    return dict(sorted(files.items()))


def decade_in(path: Path) -> int | None:
    """Return the decade in the name of its file, or None for any other file."""
    if path.suffix not in (".parquet", ".tsv") or not re.fullmatch(r"-?\d+", path.stem) or int(path.stem) % 10:
        return None
    return int(path.stem)


def each_decade(folder: str | Path) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Yield what read_embeddings returns for each decade of a complete embedding folder, decades ascending.

    Raises:
        InputError: the folder has no manifest or lacks a file, or a file is damaged or not the one it was.
    """
    read_manifest(folder)
    for file in find_decades(folder).values():
        yield file.read()
