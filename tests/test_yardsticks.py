"""What tuning has to beat: normalized document means and latent semantic analysis, counted by hand."""

import literal_timeline as literal
import numpy as np
import pytest

import corpus
from report import lexical, representations, topics
from report.representations import Passages, Wanted


def passages_of(sizes):
    document = np.repeat(np.arange(len(sizes)), sizes)
    number = np.concatenate([np.arange(size) for size in sizes])
    return Passages([f"d{i}" for i in range(len(sizes))], np.arange(len(sizes)) + 1900, document, number)


def test_normalized_means_counted_by_hand():
    """Two documents whose mean is (0, .8, 0); their passages differ along the first and the third direction."""
    vectors = np.array([[0.6, 0.8, 0], [-0.6, 0.8, 0], [0, 0.8, 0.6], [0, 0.8, -0.6], [1, 0, 0]], dtype=np.float32)
    passages = passages_of([2, 2, 1])
    fitted = representations.normalizer([vectors[:2], vectors[2:]], passages, {"d2"}, 0.5)
    np.testing.assert_allclose(fitted.mean, [0, 0.8, 0], atol=1e-6)
    # Covariance within documents: diag(.18, 0, .18), eigenvalues .12 on average; half of each: diag(.15, .06, .15).
    np.testing.assert_allclose(fitted.transform, np.diag([0.15**-0.5, 0.06**-0.5, 0.15**-0.5]), atol=1e-5)
    run = representations.embedding_run([vectors], passages, Wanted(np.arange(5), [2]), fitted)
    expected = np.array([0.15**-0.5, -0.8 * 0.06**-0.5, 0])
    np.testing.assert_allclose(run.documents, [expected / np.linalg.norm(expected)], atol=1e-5)
    np.testing.assert_allclose(run.passages, vectors, atol=1e-6)  # passages stay as they are


def test_normalized_means_are_those_of_the_literal_version_however_the_passages_are_divided():
    dice, sizes = np.random.default_rng(0), [3, 1, 4, 2, 5, 3]
    passages, vectors = passages_of(sizes), dice.normal(size=(18, 6)).astype(np.float32) + 1
    expected = literal.normalized(vectors, passages.document, [0, 1, 3, 4], 0.01)
    for cuts in ([], [4], [3, 4, 8, 10, 15]):
        parts = np.split(vectors, cuts)
        fitted = representations.normalizer(parts, passages, {"d2", "d5"}, 0.01)
        run = representations.embedding_run(parts, passages, Wanted(np.arange(18), list(range(6))), fitted)
        np.testing.assert_allclose(run.documents, expected, atol=1e-5)
        np.testing.assert_allclose(run.distance, 1 - expected @ expected.T, atol=1e-5)


def test_documents_of_one_passage_each_are_centered_alone():
    vectors = np.eye(3, dtype=np.float32)
    fitted = representations.normalizer([vectors], passages_of([1, 1, 1]), set(), 0.01)
    np.testing.assert_allclose(fitted.transform, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(fitted.mean, np.full(3, 1 / 3), atol=1e-6)


def test_noise_of_passages_is_weighed_down():
    """Documents differ in the second direction; passages differ much more in the first, which then decides nothing."""
    dice, truth = np.random.default_rng(0), np.repeat(np.arange(30) - 14.5, 4)
    noise = 40 * dice.normal(size=(120, 1))
    vectors = np.hstack([noise, truth[:, None], np.full((120, 1), 100), dice.normal(size=(120, 1))]).astype(np.float32)
    passages, wanted = passages_of([4] * 30), Wanted(np.arange(120), list(range(30)))
    fitted = representations.normalizer([vectors], passages, {"d0"}, 0.01)
    gap = np.abs(truth[::4, None] - truth[None, ::4])
    plain, normalized = (
        np.corrcoef(run.distance.ravel(), gap.ravel())[0, 1]
        for run in (
            representations.embedding_run([vectors], passages, wanted),
            representations.embedding_run([vectors], passages, wanted, fitted),
        )
    )
    assert normalized > 0.7 > 0.5 > plain


@pytest.fixture
def texts(corpus_folder):
    """Documents of two kinds of words; the last of each kind is held out and has a word of its own."""
    for i in range(8):
        words = (["sea ship sail", "ship sail wind"], ["corn field plough", "field plough rain"])[i % 2]
        corpus_folder.add(f"d{i}", 1900 + i, [*words, words[0], *(["secret secret"] * 2 if i > 5 else [])])
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    return topics.Texts(documents, corpus.ChunkFolder(corpus_folder.chunks), {"d6", "d7"})


def test_latent_semantic_analysis_tells_kinds_of_documents_apart_without_those_held_out(texts):
    assert "secret" not in lexical.Lexical(texts, 0).tfidf.vocabulary_
    passages = passages_of([3] * 8)
    run = lexical.lexical_run(texts, passages, np.arange(24), 0)
    same = np.equal.outer(np.arange(8) % 2, np.arange(8) % 2)
    assert (run.distance[same] < 0.01).all() and (run.distance[~same] > 0.9).all()
    assert run.passages.shape == (24, run.documents.shape[1])
    np.testing.assert_allclose(run.passages[0] @ run.passages[2], 1, atol=1e-5)  # the same words
    assert [half.shape for half in run.halves] == [(8, 8), (8, 8)]


def test_words_read_for_the_topic_model_are_not_read_again(texts, monkeypatch):
    passages = passages_of([3] * 8)
    before = lexical.lexical_run(texts, passages, np.arange(24), 0)
    assert "words" not in vars(texts)  # a large corpus's are not held for it
    assert len(texts.words) == 8
    monkeypatch.setattr(texts, "chunks", None)
    assert (lexical.lexical_run(texts, passages, np.arange(24), 0).documents == before.documents).all()


def test_a_corpus_of_too_few_words_goes_without(corpus_folder):
    corpus_folder.add("a", 1900, ["one"]).add("b", 1901, ["two"])
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    texts = topics.Texts(documents, corpus.ChunkFolder(corpus_folder.chunks), {"b"})
    assert lexical.lexical_run(texts, passages_of([1, 1]), np.arange(2), 0) is None
    held_all = topics.Texts(documents, corpus.ChunkFolder(corpus_folder.chunks), {"a", "b"})
    assert lexical.lexical_run(held_all, passages_of([1, 1]), np.arange(2), 0) is None


def test_of_a_long_document_thirty_passages_evenly_spaced_are_fitted_on():
    assert lexical.spaced(list(range(59))) == list(range(0, 59, 2)) and lexical.spaced([5, 7]) == [5, 7]
    assert lexical.spaced([]) == []


def test_halves_are_the_odd_and_the_even_passages():
    passages = passages_of([3, 1, 2])
    vectors = np.eye(6, dtype=np.float32)
    run = representations.embedding_run([vectors], passages, Wanted(np.arange(6), [0, 1, 2]))
    odd, even = run.halves  # of documents 0 and 2
    np.testing.assert_allclose(odd, [[0, 1], [1, 0]], atol=1e-6)
    vectors[2] = vectors[4]  # an even passage of the first document is that of the third
    _, even = representations.embedding_run([vectors], passages, Wanted(np.arange(6), [0, 1, 2])).halves
    assert even[0, 1] == pytest.approx(1 - np.sqrt(0.5), abs=1e-6)
    mixtures = np.eye(6, dtype=np.float32)
    odd, even = representations.topic_run(mixtures, passages, np.arange(6)).halves
    assert odd[0, 1] == even[0, 1] == pytest.approx(np.log(2) ** 0.5)
