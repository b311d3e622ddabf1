"""search_timeline.py: the nearest passage of every decade, the model it must be made with, what is shown of a text."""

import numpy as np
import pytest
from tiny_encoder import make_tiny_encoder

import Apply_Tuned_Model as apply
import corpus
import join_embeddings
import search_timeline as search


@pytest.fixture
def embedded(word_corpus, tiny_encoder, tmp_path):
    """Return the flags of a search in the word corpus, embedded by the tiny encoder."""
    folder = tmp_path / "embeddings"
    base = ["-m", str(tiny_encoder), "-o", str(folder), "--device", "cpu", "--precision", "fp32"]
    assert apply.main([*base, *word_corpus.flags]) == 0
    return ["-m", str(tiny_encoder), "-d", str(folder), "-t", str(word_corpus.metadata)]


def passages_of(word_corpus) -> dict[str, list[str]]:
    documents, _ = corpus.read_metadata(word_corpus.metadata)
    chunks = corpus.ChunkFolder(word_corpus.chunks)
    return {document.paper_id: chunks.passages(document) for document in documents}


@pytest.mark.slow
def test_each_decade_shows_what_a_slow_search_finds(embedded, word_corpus, tiny_encoder, capsys, monkeypatch):
    from sentence_transformers import SentenceTransformer

    monkeypatch.setenv("COLUMNS", "200")
    texts = passages_of(word_corpus)
    sentence = texts["doc09"][3]
    assert search.main([sentence, *embedded, "-n", "2"]) == 0
    shown = [line[8:].split() for line in capsys.readouterr().out.splitlines()]
    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    asked, expected = model.encode(sentence), []
    for decade in range(1900, 1960, 10):
        found = []
        for i in range(24):
            year = 1900 + i * 60 // 24
            if year // 10 * 10 == decade:
                for number, text in enumerate(texts[f"doc{i:02d}"]):
                    vector = model.encode(text)
                    cosine = vector @ asked / np.linalg.norm(vector) / np.linalg.norm(asked)
                    found.append((cosine, str(year), f"doc{i:02d}-{number}"))
        expected += [[f"{cosine:.2f}", year, name] for cosine, year, name in sorted(found, reverse=True)[:2]]
    assert shown == expected
    assert ["1.00", "1922", "doc09-3"] in shown


def test_texts_are_shown_only_with_the_chunk_files_and_never_wider_than_the_screen(
    embedded, word_corpus, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "60")
    sentence = passages_of(word_corpus)["doc00"][0]
    search.main([sentence, *embedded])
    without = capsys.readouterr().out
    search.main([sentence, *embedded, "-r", str(word_corpus.chunks)])
    lines = capsys.readouterr().out.splitlines()
    assert sentence[:30] not in without and len(without.splitlines()) == 6
    assert lines[0].startswith(" 1900s   1.00  1900  doc00-0") and lines[1].strip().startswith(sentence[:30])
    assert len(lines) == 12 and max(map(len, lines)) == 60


def test_titles_are_shown_and_documents_without_a_year_are_not(embedded, word_corpus, capsys):
    rows = [f"doc{i:02d}\t{'' if i == 0 else 1900 + i * 60 // 24}\tTitle {i}" for i in range(24)]
    word_corpus.metadata.write_text("\n".join(["paperId\tyear\ttitle", *rows]) + "\n")
    search.main([passages_of(word_corpus)["doc01"][0], *embedded, "-n", "12"])
    out = capsys.readouterr().out
    assert "doc01-0  Title 1\n" in out and "doc00" not in out


def test_a_model_that_did_not_make_the_embeddings_is_refused(embedded, tmp_path, capsys):
    other = make_tiny_encoder(tmp_path / "other")
    (other / "modules.json").write_text((other / "modules.json").read_text() + " ")
    assert search.main(["w1 w2", "-m", str(other), *embedded[2:]]) == 2
    assert "is not the model that embedded" in capsys.readouterr().err
    folder = embedded[embedded.index("-d") + 1]
    assert join_embeddings.main([folder, folder, "-o", str(tmp_path / "joined")]) == 0
    words = [str(tmp_path / "joined") if word == folder else word for word in embedded]
    assert search.main(["w1 w2", *words]) == 2 and "in one; search those of one model" in capsys.readouterr().err


def test_embeddings_from_elsewhere_are_searched_and_other_dimensions_refused(embedded, tmp_path, capsys):
    folder = tmp_path / "embeddings"
    for name in ("manifest.json", "decades"):
        path = folder / name
        path.unlink() if path.is_file() else [*map(type(path).unlink, path.iterdir())] and path.rmdir()
    assert search.main(["w1 w2", *embedded]) == 0
    ids, numbers, vectors = corpus.read_embeddings(folder / "1910.parquet")
    corpus.write_embeddings(folder / "1910.parquet", ids, numbers, vectors[:, :8].copy())
    assert search.main(["w1 w2", *embedded]) == 2
    assert "the embeddings have 8 dimensions and the model 32" in capsys.readouterr().err


def test_an_unfinished_folder_is_refused_before_the_model_is_loaded(embedded, tmp_path, capsys):
    (tmp_path / "embeddings" / "manifest.json").unlink()
    assert search.main(["w1", *embedded]) == 2
    error = capsys.readouterr().err
    assert "not complete" in error and "tokens at most" not in error


def test_the_sentence_must_not_be_empty(embedded):
    with pytest.raises(SystemExit):
        search.main([" ", *embedded])
