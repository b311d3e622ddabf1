"""The demo's own parts: passages under the token limit, and a corpus that is whole where its metadata is."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))

import build_corpus

import corpus


def words(text):
    return len(text.split())


def by_stop(text):
    return [part + "." for part in text.split(".") if part.strip()]


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(2, 12))
def test_passages_stay_under_the_limit_and_lose_no_word(lengths, limit):
    text = " ".join(" ".join(f"w{i}x{j}" for j in range(length)) + "." for i, length in enumerate(lengths))
    found = build_corpus.passages(text, by_stop, words, limit)
    assert all(0 < words(passage) < limit for passage in found)
    assert " ".join(found).split() == text.split()


def test_whole_sentences_share_a_passage_where_they_fit():
    assert build_corpus.passages("a b. c d. e f g.\nh.", by_stop, words, 6) == ["a b. c d.", "e f g. h."]


def test_the_metadata_comes_last(tmp_path):
    speeches = [
        {"fileid": f"1790-W-{i}", "year": 1790, "date": "d", "president_full": "W", "party": "p"} for i in (1, 2)
    ]

    def read(fileid):
        if fileid.endswith("2"):
            raise OSError("disk")
        return "one. two."

    with pytest.raises(OSError, match="disk"):
        build_corpus.build(tmp_path, speeches, read, by_stop, words, 9)
    assert (tmp_path / "chunks/1790W1.txt").read_text() == "0\tone. two.\n" and not (tmp_path / "metadata.tsv").exists()
    assert build_corpus.build(tmp_path, speeches, lambda _: "one. two.", by_stop, words, 9) == 2
    documents, _ = corpus.read_metadata(tmp_path / "metadata.tsv")
    assert [(d.paper_id, d.year) for d in documents] == [("1790W1", 1790), ("1790W2", 1790)]
