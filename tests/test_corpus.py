"""Every row of formats.md's tables of what real files contain, and exact reading of what was written."""

import csv
import io
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus
import script
from corpus import ChunkFolder
from script import InputError


def metadata(tmp_path, text):
    path = tmp_path / "metadata.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def passages(tmp_path, data, encoding_errors="strict", paper_id="a"):
    """Return what ChunkFolder reads from one chunk file of these bytes, and the folder."""
    (tmp_path / f"{paper_id}.txt").write_bytes(data)
    folder = ChunkFolder(tmp_path, encoding_errors)
    return folder.passages(corpus.Document(paper_id, 1900, f"{paper_id}.txt")), folder


# ---- metadata


def test_paper_ids_stay_text(tmp_path):
    ids = ["10517", "00010517", "1e5", "NA", "nan", "null", "1.0"]
    path = metadata(tmp_path, "paperId\tyear\n" + "".join(f"{i}\t1900\n" for i in ids))
    assert [document.paper_id for document in corpus.read_metadata(path)[0]] == ids


def test_rows_that_cannot_serve_are_skipped_and_counted(tmp_path):
    rows = (
        "\t1900\tx\n\t\t\n\na\t\tx\nb\tn.d.\tx\nc\t1900.5\tx\nd\t1900\textracted_features\ne\t1900.0\tx\nf\t1901\tx\n"
    )
    documents, skipped = corpus.read_metadata(metadata(tmp_path, "paperId\tyear\tSOURCE\n" + rows))
    assert [(d.paper_id, d.year) for d in documents] == [("e", 1900), ("f", 1901)]
    assert skipped == {
        "empty paperId": 2,
        "year not a whole number": 3,
        "SOURCE extracted_features: no full text": 1,
    }


def test_a_date_is_no_year_but_years_before_christ_are(tmp_path):
    years = ["19500101", "-10000", "18500", "1950.0101", "9" * 5000, "9999", "-9999", "-44", "0", "+1850", "00001850.0"]
    rows = "".join(f"d{i}\t{year}\n" for i, year in enumerate(years))
    documents, skipped = corpus.read_metadata(metadata(tmp_path, "paperId\tyear\n" + rows))
    assert [d.year for d in documents] == [9999, -9999, -44, 0, 1850, 1850]
    assert skipped == {"year outside -9999 to 9999": 4, "year not a whole number": 1}


def test_years_start_inclusive_end_exclusive(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\na\t1899\nb\t1900\nc\t1909\nd\t1910\n")
    documents, skipped = corpus.read_metadata(path, 1900, 1910)
    assert [d.paper_id for d in documents] == ["b", "c"]
    assert skipped["outside the years asked for"] == 2


def test_the_same_paper_id_twice_names_both_lines(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\na\t1900\nb\t1900\na\tn.d.\n")
    with pytest.raises(InputError, match=r"'a' is on lines 2 and 4"):
        corpus.read_metadata(path)


def test_filename_column_names_the_chunk_file(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\tFILENAME\na\t1900\tnovel.txt\nb\t1900\t\n")
    assert [d.filename for d in corpus.read_metadata(path)[0]] == ["novel.txt", "b.txt"]


@pytest.mark.parametrize("name", ["../secret", "a/b", "/etc/passwd", "..", "x..y"])
@pytest.mark.parametrize("column", ["paperId", "FILENAME"])
def test_a_row_never_leads_out_of_the_folder(tmp_path, name, column):
    paper_id, filename = (name, "") if column == "paperId" else ("ok", name)
    path = metadata(tmp_path, f"paperId\tyear\tFILENAME\n{paper_id}\t1900\t{filename}\n")
    with pytest.raises(InputError, match="line 2"):
        corpus.read_metadata(path)


def test_with_a_filename_of_its_own_a_paper_id_is_any_text(tmp_path):
    ids = ["10.2307/408", "hvd.ark:/13960/x", "../x", "/y"]
    rows = "".join(f"{paper_id}\t1900\tf{i}.txt\n" for i, paper_id in enumerate(ids))
    documents, _ = corpus.read_metadata(metadata(tmp_path, "paperId\tyear\tFILENAME\n" + rows))
    assert [document.paper_id for document in documents] == ids


def test_files_that_several_documents_share_are_named(tmp_path, caplog):
    rows = "a\t1850\tone.txt\nb\t1900\ttwo.txt\none\t1910\t\nc\t1920\tcafe\u0301.txt\ncaf\u00e9\t1921\t\n"
    documents, skipped = corpus.read_metadata(metadata(tmp_path, "paperId\tyear\tFILENAME\n" + rows))
    corpus.log_skipped(documents, skipped)
    told = "2 chunk files are shared by several documents, whose texts are the same: "
    assert told + "one.txt (a, one), caf\u00e9.txt (c, caf\u00e9)" in caplog.text


def test_the_same_paper_id_in_another_normal_form_is_the_same(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\nM\u00e9rim\u00e9e\t1830\nMe\u0301rime\u0301e\t1831\n")
    with pytest.raises(InputError, match="on lines 2 and 3"):
        corpus.read_metadata(path)


def test_a_header_that_ends_in_a_carriage_return_means_that_all_lines_do(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\ttitle\r\ra\t1900\tx\rb\t1901\t\r\nc\t1902\tz\nd\t1903\r")
    rows = []
    with pytest.raises(InputError, match=r"line 6: 2 cells where the header has 3; add a tab"):
        for number, row in corpus.metadata_rows(path):
            rows.append((number, *row.values()))
    assert rows == [(3, "a", "1900", "x"), (4, "b", "1901", ""), (5, "c", "1902", "z")]


def test_a_carriage_return_inside_a_cell_is_text(tmp_path):
    path = metadata(tmp_path, "paperId\ttitle\tyear\na\tOn\rTrade\t1900\r\n")
    assert [row["title"] for _, row in corpus.metadata_rows(path)] == ["On\rTrade"]


def test_lone_quotation_marks_swallow_nothing_and_quoted_cells_are_unquoted(tmp_path):
    rows = 'a\t1790\t"Tis pity\n"b"\t"1791"\t"A ""true"" tale"\n"c ""d"""\t1792\t"x" y\n"e\t1793\t\n'
    documents, _ = corpus.read_metadata(metadata(tmp_path, "paperId\tyear\ttitle\n" + rows))
    assert [(d.paper_id, d.year) for d in documents] == [("a", 1790), ("b", 1791), ('c "d"', 1792), ('"e', 1793)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id\tyear\na\t1900\n", "line 1: no column 'paperId'"),
        ("paperId,year\na,1900\n", "line 1: no column 'paperId'"),
        ("paperId\tyear\na\t1900\tmore\n", "line 2: 3 cells where the header has 2"),
        ("paperId\tyear\na\t1900\tmore\n", "replace tabs and line breaks"),
        ("paperId\tyear\ttitle\n\na\t1900\n", "line 3: 2 cells where the header has 3; add a tab for each empty cell"),
        ("paperId\tyear\tnote\tyear\na\t1900\t\t1901\n", "line 1: two columns are named 'year'; rename or delete"),
        ('paperId\tyear\tgenre\t"genre"\n', "line 1: two columns are named 'genre'"),
        (b"paperId\tyear\n\xe9\t1900\n", "byte 13 .* not UTF-8"),
        ("", "line 1: no column 'paperId'"),
    ],
)
def test_bad_metadata_gets_one_sentence(tmp_path, text, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        corpus.read_metadata(metadata(tmp_path, text))
    assert "\n" not in str(error.value)


def test_columns_without_a_name_may_be_several(tmp_path):
    path = metadata(tmp_path, "paperId\tyear\t\t\na\t1900\t\t\n")
    assert len(corpus.read_metadata(path)[0]) == 1


def test_crlf_and_byte_order_mark_are_read_normally(tmp_path):
    path = metadata(tmp_path, "\ufeffpaperId\tyear\r\na\t1900\r\n".encode())
    assert [(d.paper_id, d.year) for d in corpus.read_metadata(path)[0]] == [("a", 1900)]


# ---- chunk files


def test_no_file_is_skipped_counted_and_named(tmp_path, caplog):
    folder = ChunkFolder(tmp_path)
    for i in range(7):
        assert folder.passages(corpus.Document(f"gone{i}", 1900, f"gone{i}.txt")) == []
    assert folder.counts()["documents_without_file"] == 7
    folder.log_oddities()
    assert "7 documents without a chunk file, skipped: gone0, gone1, gone2, gone3, gone4 and 2 more" in caplog.text


@pytest.mark.parametrize("data", [b"", b"\n \n\t\n", b"0\t\n1\t  \n"])
def test_empty_files_have_no_passages(tmp_path, data):
    found, folder = passages(tmp_path, data)
    assert found == [] and folder.empty == ["a"]
    assert folder.counts()["blank_passages_skipped"] == data.count(b"\t ") + data.count(b"0\t\n")


def test_blank_lines_are_skipped(tmp_path):
    assert passages(tmp_path, b"\n0\tone\n\n1\ttwo\n\n")[0] == ["one", "two"]


def test_a_line_without_a_tab_names_file_and_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt, line 2: no tab"):
        passages(tmp_path, b"0\tone\ntwo\n")


def test_further_tabs_become_spaces(tmp_path):
    assert passages(tmp_path, b"0\ta\tb\t\tc\n")[0] == ["a b  c"]


@pytest.mark.parametrize("data", [b"0\tone\r\n1\ttwo\r\n", b"\xef\xbb\xbf0\tone\n1\ttwo\n", b"0\tone\n1\ttwo"])
def test_line_ends_and_byte_order_mark(tmp_path, data):
    found, folder = passages(tmp_path, data)
    assert found == ["one", "two"] and folder.disordered == []


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"0\tone\r1\ttwo\r", ["one", "two"]),
        (b"0\tone\r\r 1 \ttwo\n2\tthree\r\n3\tfour", ["one", "two", "three", "four"]),
        (b"0\tone\rof it\r1 apple\n1\ttwo\r", ["one of it 1 apple", "two"]),
    ],
)
def test_a_lone_carriage_return_ends_a_line_where_an_index_and_a_tab_follow(tmp_path, data, texts):
    found, folder = passages(tmp_path, data)
    assert found == texts and folder.disordered == []


def test_lines_that_end_in_a_carriage_return_are_counted_in_file_order(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt, line 4: no tab"):
        passages(tmp_path, b"0\tone\r1\ttwo\r2\tthree\nfour\r5\tsix\r")


@pytest.mark.parametrize(("listed", "on_disk"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC"), ("NFD", "NFD")])
def test_a_name_is_found_whichever_way_its_accents_are_written(tmp_path, listed, on_disk):
    name = "Sh\u014dsetsu_\u1ec7_1885.txt"
    (tmp_path / unicodedata.normalize(on_disk, name)).write_bytes(b"0\tone\n")
    document = corpus.Document("a", 1885, unicodedata.normalize(listed, name))
    assert ChunkFolder(tmp_path).passages(document) == ["one"]


def test_of_two_files_whose_names_look_alike_each_document_has_its_own(tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "\u00fc.txt")).write_text(f"0\t{form}\n")
    folder = ChunkFolder(tmp_path)
    for form in ("NFC", "NFD"):
        assert folder.passages(corpus.Document("a", 1900, unicodedata.normalize(form, "\u00fc.txt"))) == [form]


def test_nul_bytes_are_removed_and_counted(tmp_path):
    found, folder = passages(tmp_path, b"0\to\0ne\0\n")
    assert found == ["one"] and folder.counts()["nul_bytes_removed"] == 2


def test_invalid_utf8_names_file_and_byte_offset_or_is_replaced(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt: byte 5 \(0xe9\) .*--encoding-errors replace"):
        passages(tmp_path, b"0\tcaf\xe9\n")
    assert passages(tmp_path, b"0\tcaf\xe9\n", "replace")[0] == ["caf\ufffd"]


def test_quotes_na_and_unusual_line_breaks_are_ordinary_text(tmp_path):
    texts = ['"', "NA", "null", '"open', "form\x0cfeed", "next\x85line", "line\u2028separator"]
    data = "".join(f"{i}\t{text}\n" for i, text in enumerate(texts)).encode()
    assert passages(tmp_path, data)[0] == texts


def test_disordered_indices_keep_file_order_and_are_noted(tmp_path):
    found, folder = passages(tmp_path, b"7\tone\n3\ttwo\n")
    assert found == ["one", "two"] and folder.disordered == ["a"]


def test_the_chunk_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        ChunkFolder(tmp_path / "nowhere")


# ---- pair tables

text_cells = st.text(min_size=1).map(lambda t: t.replace("\0", "").replace("\r", " ")).filter(str.strip)


@given(st.lists(st.tuples(text_cells, text_cells), min_size=1, max_size=5))
@pytest.mark.slow
def test_pairs_come_back_exactly_through_pandas_and_our_reader(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "pairs.tsv"  # one file for all examples: new folders are slow
    rows = [dict(zip(corpus.PAIR_COLUMNS, ("007", 1900, a, b, "successive"))) for a, b in texts]
    assert corpus.write_pairs(path, rows) == len(texts)
    for read in (
        corpus.read_pairs(path),
        pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).to_dict("records"),
    ):
        assert [(r["paperId"], r["anchor"], r["positive"]) for r in read] == [("007", a, b) for a, b in texts]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("paperId\tyear\tanchor\tpositive\na\t1\tb\tc\n", "line 1: no column category"),
        ("paperId\tyear\tanchor\tpositive\tcategory\na\t1\tb\tc\tother\n", "line 2: category 'other'"),
        ("paperId\tyear\tanchor\tpositive\tcategory\na\t1\tb\tc\n", "line 2: not as many cells"),
        ("paperId\tyear\tanchor\tpositive\tcategory\na\t1\t\tc\tsuccessive\n", "line 2: the anchor is empty"),
        (
            "paperId\tyear\tanchor\tpositive\tcategory\na\tx\tb\tc\tsuccessive\n",
            "line 2: year 'x' is not a whole number",
        ),
        (
            "paperId\tyear\tanchor\tpositive\tcategory\na\t19500101\tb\tc\tsuccessive\n",
            "line 2: year '19500101' is outside -9999 to 9999",
        ),
        ('"paperId\tyear\n', "line 1: unexpected end of data"),
        ('paperId\tyear\tanchor\tpositive\tcategory\na\t1\t"b\tc\tsuccessive\n', "line 2: unexpected end of data"),
    ],
)
def test_bad_pair_tables_get_one_sentence(tmp_path, text, complaint):
    path = tmp_path / "pairs.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        corpus.read_pairs(path)


def test_a_pair_table_with_two_columns_of_one_name_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("paperId\tyear\tanchor\tpositive\tcategory\tanchor\na\t1\tb\tc\tsuccessive\td\n")
    with pytest.raises(InputError, match="line 1: two columns are named 'anchor'"):
        corpus.read_pairs(path)


def test_a_pair_table_with_carriage_returns_as_line_ends_is_read(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(
        b'paperId\tyear\tanchor\tpositive\tcategory\ra\t1\t"b\rc"\td\tsuccessive\re\t2\tf\tg\tsuccessive\r'
    )
    assert [(row["paperId"], row["anchor"]) for row in corpus.read_pairs(path)] == [("a", "b\rc"), ("e", "f")]


# ---- embedding files


@pytest.mark.parametrize("ending", corpus.EMBEDDING_FORMATS)
def test_embeddings_come_back_exactly(tmp_path, ending):
    path = tmp_path / f"1790.{ending}"
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    ids = ["007", "NA", "a-b c", "10517"]
    corpus.write_embeddings(path, ids, [0, 1, 0, 0], vectors)
    read_ids, numbers, read_vectors = corpus.read_embeddings(path)
    assert read_ids == ids and numbers.tolist() == [0, 1, 0, 0]
    np.testing.assert_array_equal(read_vectors, vectors)


def test_the_tsv_has_the_originals_layout(tmp_path):
    corpus.write_embeddings(tmp_path / "1790.tsv", ["a"], [0], np.array([[0.5, -1]], dtype=np.float32))
    assert (tmp_path / "1790.tsv").read_text() == "paperId\tchunknumber\tembedding_1\tembedding_2\na\t0\t0.5\t-1\n"


def test_the_parquet_file_holds_one_fixed_size_list_of_the_dtype_asked_for(tmp_path):
    from pyarrow import parquet

    corpus.write_embeddings(tmp_path / "1790.parquet", ["a"], [0], np.array([[0.5, -1]], dtype=np.float16))
    schema = parquet.read_schema(tmp_path / "1790.parquet")
    assert schema.names == ["paperId", "chunknumber", "embedding"]
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat>[2]"


def test_a_vector_with_nan_names_file_and_row(tmp_path):
    corpus.write_embeddings(tmp_path / "1790.parquet", ["a", "b"], [0, 0], np.array([[1, 2], [1, np.nan]]))
    with pytest.raises(InputError, match=r"1790\.parquet, row 1: .* NaN"):
        corpus.read_embeddings(tmp_path / "1790.parquet")


def test_a_broken_embedding_file_gets_one_sentence(tmp_path):
    (tmp_path / "1790.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"1790\.parquet is not an embedding file"):
        corpus.read_embeddings(tmp_path / "1790.parquet")


def test_a_missing_embedding_file_gets_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"1790\.parquet is not an embedding file"):
        corpus.read_embeddings(tmp_path / "1790.parquet")


@pytest.mark.parametrize("read", [corpus.read_pairs, corpus.read_metadata])
def test_errors_hold_no_more_of_a_text_than_the_words_to_find_it(tmp_path, read):
    passage = "a passage under a restricted licence that nobody may print"
    path = metadata(tmp_path, f"paperId\tyear\tanchor\tpositive\tcategory\na\t1\tb\tc\t{passage}\n")
    if read is corpus.read_metadata:
        path = metadata(tmp_path, f"0\t{passage}\n")
    with pytest.raises(InputError) as error:
        read(path)
    assert passage[:20] in str(error.value) and "restricted licence" not in str(error.value)


def test_counts_of_skipped_rows_and_odd_files_are_logged_once(tmp_path, caplog):
    caplog.set_level("INFO", logger="tunedembeddings")
    path = metadata(tmp_path, "paperId\tyear\na\t1900\n\t1900\nb\tn.d.\n")
    corpus.log_skipped(*corpus.read_metadata(path))
    assert "1 documents; 1 skipped (empty paperId); 1 skipped (year not a whole number)" in caplog.text
    folder = passages(tmp_path, b"3\to\0ne\n")[1]
    folder.log_oddities()
    assert caplog.text.count("not 0, 1, 2 … (file order kept): a") == 1
    assert caplog.text.count("1 NUL bytes removed") == 1


@pytest.mark.parametrize(("year", "decade"), [(1790, 1790), (1799, 1790), (2000, 2000), (-1, -10)])
def test_decades_are_named_by_their_first_year(year, decade):
    assert corpus.decade_of(year) == decade


# ---- writing


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), script.replacing(path) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


CHUNK_FILES = (
    b"0\tone\n1\ttwo\n2\tthree\n",
    b"0\tone\n1\tno line feed at the end",
    b'0\ta\tb\n1\t"x" \xc3\xa9\n',
    "0\té first\n1\ttwo\n".encode(),
    b"\xef\xbb\xbf0\tBOM\n1\ttwo\n",
    b"0\tone\r\n1\ttwo\r\n",
    b"0\ta\rb\n1\ttwo\n",
    b"0\tone\n\n1\ttwo\n\n",
    b"0\t \n1\t\n2\tthree\n",
    b"0\t",
    b"0\tone\n1\t\n",
    b"0\tN\0UL\n1\ttwo\n",
    b"5\tone\n3\ttwo\n",
    b" 0\tone\n1\ttwo\n",
    b"",
    b"\n",
    None,
)


@pytest.mark.parametrize("data", CHUNK_FILES)
def test_passages_counted_and_chosen_from_their_places_are_those_of_the_whole_file(tmp_path, data):
    """Also what is odd is counted alike; None stands for a document without a file."""
    if data is not None:
        (tmp_path / "d.txt").write_bytes(data)
    document = corpus.Document("d", 1900, "d.txt")
    whole, quick = corpus.ChunkFolder(tmp_path), corpus.ChunkFolder(tmp_path)
    passages = whole.passages(document)
    assert quick.count(document) == len(passages) and quick.counts() == whole.counts()
    assert quick.chosen(document, range(len(passages))) == dict(enumerate(passages))
    assert (document.paper_id in quick.places) == (data in CHUNK_FILES[:3])  # of others, nothing is presumed


def test_what_can_not_be_read_is_refused_when_it_is_counted(tmp_path):
    (tmp_path / "d.txt").write_bytes(b"0\t\xff\n")
    document = corpus.Document("d", 1900, "d.txt")
    with pytest.raises(InputError, match="byte 2 .* is not UTF-8"):
        corpus.ChunkFolder(tmp_path).count(document)
    assert corpus.ChunkFolder(tmp_path, "replace").count(document) == 1
    (tmp_path / "d.txt").unlink()
    os.mkfifo(tmp_path / "d.txt")
    with pytest.raises(InputError, match="is a pipe, not a file"):
        corpus.ChunkFolder(tmp_path).count(document)


@pytest.mark.parametrize("after", [b"0\tone\n1\tTWO\n2\tmore\n", b"0\tone", b"0\tone\n1\t2wo\n"])
def test_a_chunk_file_that_changed_after_it_was_counted_is_refused(tmp_path, after):
    path, document = tmp_path / "d.txt", corpus.Document("d", 1900, "d.txt")
    path.write_bytes(b"0\tone\n1\ttwo\n")
    os.utime(path, (1, 1))
    chunks = corpus.ChunkFolder(tmp_path)
    assert chunks.count(document) == 2
    path.write_bytes(after)
    with pytest.raises(InputError, match="d.txt changed while it was being read; run this again"):
        chunks.chosen(document, {0, 1})


def test_a_row_is_quoted_as_the_csv_module_does():
    cells = ["", 1900, 'said "so"', "'", "a\rb", "line\nfeed", " NA ", "é", 0.5]
    beside = io.StringIO()
    csv.writer(beside, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(cells)
    assert corpus.quoted_line(cells) == beside.getvalue()
