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
    assert "hardly any word is in two of the passages" in capsys.readouterr().err
    assert not (corpus_folder.folder / "lsa/manifest.json").exists()


def test_words_are_joined_with_a_model_unless_they_saw_what_it_held_out(word_corpus, tiny_encoder, tmp_path, capsys):
    model, counted, both = (str(tmp_path / name) for name in ("model", "counted", "both"))
    assert apply.main(["-m", str(tiny_encoder), "-o", model, "--device", "cpu", *word_corpus.flags]) == 0
    assert fit_lsa.main([*word_corpus.flags, "-o", counted]) == 0
    assert join_embeddings.main([model, counted, "-o", both]) == 0
    one, two, found = map(rows_of, (model, counted, both))
    one, two = unit_rows(one), unit_rows(two)
    assert found @ found.T == pytest.approx(0.7 * one @ one.T + 0.3 * two @ two.T, abs=1e-5)
    manifest = corpus.read_manifest(both)
    assert manifest["held_out_documents"] == []  # the words were fitted on all
    seen = {"held_out_documents": ["w00"], "model_sha256": manifest["joined"]["model_sha256"][0]}
    with pytest.raises(script.InputError, match="has counted words of documents that .* held out; run fit_lsa.py"):
        check_model("training.json", seen, both, manifest)
    before = corpus.read_manifest(model)
    assert fit_lsa.main([*word_corpus.flags, "-o", model]) == 2 and corpus.read_manifest(model) == before
    assert "holds other embeddings; name another folder with -o" in capsys.readouterr().err


def test_passages_without_a_counted_word_have_zeros(two_kinds):
    two_kinds.add("odd", 1899, ["neverseen"])
    ids = [paper_id for paper_ids, *_ in corpus.each_decade(fit(two_kinds)[1]) for paper_id in paper_ids]
    vectors = rows_of(two_kinds.folder / "lsa")
    assert not vectors[ids.index("odd")].any() and vectors[ids.index("t01")].any()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-r", "nowhere"], "nowhere has no chunk file of the 40 documents; check -r"),
        (["--held-out-of", "training.json"], "names no document of the metadata as held out"),
    ],
)
def test_what_names_nothing_is_refused(two_kinds, capsys, monkeypatch, words, complaint):
    monkeypatch.chdir(two_kinds.folder)
    script.write_json(two_kinds.folder / "training.json", {"held_out_documents": ["another"]})
    (two_kinds.folder / "nowhere").mkdir()
    assert fit(two_kinds, *words)[0] == 2 and complaint in capsys.readouterr().err
