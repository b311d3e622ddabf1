"""fit_lsa.py: passages by their words in the form of embeddings, and joined with a model's vectors."""

import numpy as np
import pytest

import Apply_Tuned_Model as apply
import corpus
import fit_lsa
import join_embeddings
import script
from encoder import unit_rows
from report.trainings import check_model


@pytest.fixture
def two_kinds(corpus_folder):
    """Return a corpus of 40 documents of two passages, whose words of one kind give way to those of another."""
    for i in range(40):
        texts = [" ".join("xyzuv"[k % 5] + "ab"[k * 40 < i * 40] * 3 for k in range(40))] * 2
        corpus_folder.add(f"t{i:02d}", 1890 + i, texts)
    return corpus_folder


def rows_of(folder):
    return np.concatenate([vectors for _, _, vectors in corpus.each_decade(folder)])


def fit(made, *flags, out="lsa"):
    folder = made.folder / out
    return fit_lsa.main([*made.flags, "-o", str(folder), *map(str, flags)]), folder


def test_passages_with_other_words_are_further_apart(two_kinds):
    status, out = fit(two_kinds)
    ids, numbers = zip(*((paper_ids, places) for paper_ids, places, _ in corpus.each_decade(out)))
    assert status == 0 and sum(ids, []) == [f"t{i:02d}" for i in range(40) for _ in range(2)]
    assert np.concatenate(numbers).tolist() == [0, 1] * 40
    vectors = rows_of(out)
    assert vectors.dtype == np.float32 and np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] == pytest.approx(1, abs=1e-5)  # the same words
    assert cosines[0, 20] > cosines[0, 40] > cosines[0, 78]
    manifest = corpus.read_manifest(out)
    assert manifest["model"] == "latent semantic analysis" and manifest["dimensions"] == vectors.shape[1]


def test_what_was_held_out_is_not_fitted_on_and_nothing_is_fitted_twice(two_kinds, caplog):
    held = [f"t{i:02d}" for i in range(0, 40, 2)]
    training = two_kinds.folder / "training.json"
    script.write_json(training, {"held_out_documents": held})
    status, out = fit(two_kinds, "--training", training)
    assert status == 0 and corpus.read_manifest(out)["held_out_documents"] == held
    before, others = rows_of(out), [i // 2 % 2 == 1 for i in range(80)]
    assert fit(two_kinds, "--training", training)[0] == 0 and "there already" in caplog.text
    few, only = fit(two_kinds, "--training", training, "--held-out-of", training, out="few")
    assert few == 0 and sum((list(ids) for ids, *_ in corpus.each_decade(only)), []) == [
        one for one in held for _ in (0, 1)
    ]
    assert rows_of(only) == pytest.approx(before[[not other for other in others]], abs=1e-6)
    chunks = two_kinds.folder / "chunks"
    path = next(chunks.rglob("t00.txt"))
    path.write_text(path.read_text().replace("xaaa", "quite other words xaaa"))  # of a document held out
    caplog.clear()
    assert fit(two_kinds, "--training", training)[0] == 0 and "there already" not in caplog.text
    assert rows_of(out)[others] == pytest.approx(before[others], abs=1e-6)


def test_texts_without_common_words_are_refused_in_one_sentence(corpus_folder, capsys):
    for i in range(3):
        corpus_folder.add(f"t{i}", 1900 + i, [f"alone{i}"])
    assert fit(corpus_folder)[0] == 2
    assert "hardly any word is in two passages" in capsys.readouterr().err
    assert not (corpus_folder.folder / "lsa/manifest.json").exists()


def test_three_are_joined_with_a_share_each(word_corpus, tiny_encoder, tmp_path, capsys):
    model, counted, three = (str(tmp_path / name) for name in ("model", "counted", "three"))
    assert apply.main(["-m", str(tiny_encoder), "-o", model, "--device", "cpu", *word_corpus.flags]) == 0
    assert fit_lsa.main([*word_corpus.flags, "-o", counted]) == 0
    assert join_embeddings.main([model, model, counted, "--share", "0.2", "0.3", "-o", three]) == 0
    one, two, found = map(rows_of, (model, counted, three))
    one, two = unit_rows(one), unit_rows(two)
    assert found @ found.T == pytest.approx(0.7 * one @ one.T + 0.3 * two @ two.T, abs=1e-5)
    assert join_embeddings.main([model, model, counted, "-o", three]) == 0  # 0.3 for each further one
    assert corpus.read_manifest(three)["joined"]["share"] == [0.3, 0.3]
    for shares, complaint in (
        (["0.2", "0.3", "0.1"], "name two or more folders, and a share for each but the first"),
        (["0.6", "0.6"], "sum to more than 1"),
    ):
        assert join_embeddings.main([model, model, counted, "--share", *shares, "-o", three]) == 2
        assert complaint in capsys.readouterr().err
    manifest = corpus.read_manifest(three)
    assert manifest["held_out_documents"] == []  # the words were fitted on all
    seen = {"held_out_documents": ["w00"], "model_sha256": manifest["joined"]["model_sha256"][0]}
    with pytest.raises(script.InputError, match="was fitted on documents that .* held out; run fit_lsa.py again"):
        check_model("training.json", seen, three, manifest)
