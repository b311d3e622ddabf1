"""Centring and soft whitening: by hand, in the model itself, and done anew without training."""

import json
import shutil

import numpy as np
import pytest
from test_tune import command, pairs  # noqa: F401

import Apply_Tuned_Model as apply
import corpus
import encoder
import TuneEmbeddings as tune
from cluster import checks
from encoder import unit_rows
from tuning import adjust


def adjusted(vectors, centre, whiten, fitted_on=None):
    """Return what the layers make of unit vectors."""
    matrix, bias = adjust.affine(vectors if fitted_on is None else fitted_on, centre, whiten)
    return unit_rows(unit_rows(vectors) @ matrix + bias)


def test_soft_whitening_by_hand():
    dice = np.random.default_rng(0)
    turn, _ = np.linalg.qr(dice.normal(size=(3, 3)))
    vectors = np.array([3.0, 0.5, 0.5]) + dice.normal(size=(20000, 3)) * [0.2, 0.4, 0.1]
    vectors = unit_rows(vectors) @ turn
    mean = vectors.mean(axis=0)
    directions = np.linalg.svd(vectors - mean, full_matrices=False)[2].T
    deviations = ((vectors - mean) @ directions).std(axis=0)

    def by_hand(centre, whiten):
        return unit_rows((vectors - centre * mean) @ directions / deviations**whiten @ directions.T)

    np.testing.assert_allclose(adjusted(vectors, 1, 0.5), by_hand(1, 0.5), atol=1e-4)
    np.testing.assert_allclose(adjusted(vectors, 0.5, 0.25), by_hand(0.5, 0.25), atol=1e-4)
    centered = adjusted(vectors, 1, 0)
    np.testing.assert_allclose(centered, unit_rows(vectors - mean), atol=1e-5)
    # Turning by principal directions and back alone changes no cosine.
    turned = adjusted(vectors, 1, 1e-9)
    np.testing.assert_allclose(turned[:50] @ turned[:50].T, centered[:50] @ centered[:50].T, atol=1e-4)


def test_what_few_passages_did_not_vary_in_is_kept():
    dice = np.random.default_rng(0)
    few = np.zeros((10, 6))
    few[:, :3] = dice.normal(size=(10, 3))
    found = adjusted(np.eye(6), 0, 0.5, fitted_on=few)
    np.testing.assert_allclose(found[3:] @ found[3:].T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(found[3:, :3], 0, atol=1e-6)


def test_passages_all_alike_are_only_centered():
    matrix, bias = adjust.affine(np.ones((4, 3)), 0.5, 0.25)
    np.testing.assert_allclose(matrix, np.eye(3))
    np.testing.assert_allclose(bias, -0.5 / 3**0.5)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny_encoder):
    """Return a model's folder, adjusted by default, and the command that made it."""
    folder = tmp_path_factory.mktemp("tuned")
    flags = command(pairs.__wrapped__(folder), tiny_encoder, folder / "model", "--precision", "fp32")
    assert tune.main(flags) == 0
    return folder / "model", flags


def load(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def test_the_model_itself_gives_the_vectors_that_applying_writes(tuned, word_corpus, tmp_path):
    """Every tool that loads it does, and they are the trained model's, adjusted by half centring, soft whitening."""
    model, _ = tuned
    flags = ["-m", str(model / "final"), "-o", str(tmp_path / "e"), "--device", "cpu", "--precision", "fp32"]
    assert apply.main([*flags, *word_corpus.flags]) == 0
    written = corpus.read_embeddings(tmp_path / "e/1900.parquet")[2]
    documents = corpus.read_metadata(word_corpus.metadata)[0][:4]
    texts = [text for document in documents for text in corpus.ChunkFolder(word_corpus.chunks).passages(document)]
    np.testing.assert_allclose(load(model / "final").encode(texts), written, atol=1e-5)

    plain = adjust.load_unadjusted(model / "final", load)
    trained_on = [row for row in corpus.read_pairs(model.parent / "pairs.tsv") if row["paperId"] not in held_out(model)]
    fitted_on = plain.encode(adjust.training_texts(trained_on, 0))
    np.testing.assert_allclose(adjusted(plain.encode(texts), 0.5, 0.25, fitted_on), written, atol=1e-4)
    assert not np.allclose(plain.encode(texts), written, atol=1e-2)


def held_out(model):
    return json.loads((model / "training.json").read_text())["held_out_documents"]


def test_another_adjustment_of_a_finished_model_trains_nothing(tuned, tmp_path, monkeypatch, caplog):
    """Off, as much as before again, and off: the same vectors each time, whatever was there between."""
    model = tmp_path / "model"
    shutil.copytree(tuned[0], model)
    flags = [*tuned[1], "-o", str(model)]
    monkeypatch.setattr(tune.training, "train", None)  # training would fail
    before = load(model / "final").encode(["w1 w2", "w3"])
    plain = adjust.load_unadjusted(model / "final", load).encode(["w1 w2", "w3"])
    assert tune.main([*flags, "--centre", "0", "--check"]) == 0
    assert checks.ADJUSTS in caplog.messages[-1]  # so that make train submits the job
    for centre, whiten, expected in ((0, 0, plain), (0.5, 0.25, before), (0, 0, plain)):
        assert tune.main([*flags, "--centre", str(centre), "--whiten", str(whiten)]) == 0
        np.testing.assert_allclose(load(model / "final").encode(["w1 w2", "w3"]), expected, atol=1e-5)
        record = json.loads((model / "training.json").read_text())
        made_with = record["recipe"]
        assert (made_with["centre"], made_with["whiten"]) == (centre, whiten)
        assert record["model_sha256"] == encoder.model_digest(model / "final")
    assert len(load(model / "final")) == 3


def test_a_model_of_an_earlier_version_is_adjusted_without_training(tuned, word_corpus, tmp_path, monkeypatch, capsys):
    """It has a file beside its weights and levers that are gone, no --centre, and had attention dropout."""
    model = tmp_path / "model"
    shutil.copytree(tuned[0], model)
    plain = adjust.load_unadjusted(model / "final", load)
    shutil.rmtree(model / "final")
    plain.save_pretrained(str(model / "final"), create_model_card=False)
    (model / "final" / encoder.OLD_ADJUSTMENT).write_bytes(b"mean, directions, deviations")
    recipe = json.loads((model / "recipe.json").read_text()) | {"batches": "any", "keep": "last", "matryoshka": None}
    del recipe["centre"], recipe["whiten"], recipe["attention_dropout"]
    (model / "recipe.json").write_text(json.dumps(recipe))
    embed = ["-m", str(model / "final"), "-o", str(tmp_path / "e"), "--device", "cpu", *word_corpus.flags]
    for look_only in ([], ["--check"]):  # before a job waits in the queue
        assert apply.main([*embed, *look_only]) == 2
        assert "run TuneEmbeddings.py again with the same flags" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr(tune.training, "train", None)  # training would fail
    assert (
        tune.main([*tuned[1], "-o", str(model)]) == 2 and "(attention_dropout True → False)" in capsys.readouterr().err
    )
    assert tune.main([*tuned[1], "-o", str(model), "--attention-dropout"]) == 0 and apply.main(embed) == 0
    np.testing.assert_allclose(
        load(model / "final").encode(["w1 w2"]), load(tuned[0] / "final").encode(["w1 w2"]), atol=1e-5
    )
    (model / "recipe.json").write_text(json.dumps(recipe | {"keep": "best"}))
    assert (
        tune.main([*tuned[1], "-o", str(model), "--attention-dropout"]) == 2
        and "keep best → None" in capsys.readouterr().err
    )


def test_a_base_model_that_does_not_normalise_is_normalised_before_and_after(tiny_encoder):
    model = load(tiny_encoder)
    del model[-1]
    assert adjust.adjust(model, ["w1 w2", "w3 w4", "w5"], 0.5, 0.25)["layers"] == 3
    np.testing.assert_allclose(np.linalg.norm(model.encode(["w1 w2", "w9"]), axis=1), 1, atol=1e-6)


def test_the_model_itself_says_how_it_is_adjusted(tuned, tmp_path, monkeypatch):
    """After a kill between the model and its record, or a resumed training whose recipe has another adjustment."""
    model = tmp_path / "model"
    shutil.copytree(tuned[0], model)
    flags = [*tuned[1], "-o", str(model)]
    monkeypatch.setattr(tune.training, "train", None)  # training would fail
    by_default = load(model / "final").encode(["w1 w2"])
    with monkeypatch.context() as killed:
        killed.setattr(tune.model_folder, "write_recipe", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune.main([*flags, "--centre", "0", "--whiten", "0"])
    record = json.loads((tuned[0] / "training.json").read_text())
    (model / "training.json").write_text(json.dumps(record))  # as if it had not been written either
    assert not np.allclose(load(model / "final").encode(["w1 w2"]), by_default, atol=1e-3)
    assert tune.main(flags) == 0  # the recipe has these very settings; the model has not
    np.testing.assert_allclose(load(model / "final").encode(["w1 w2"]), by_default, atol=1e-5)
    recipe = json.loads((model / "recipe.json").read_text())
    (model / "recipe.json").write_text(json.dumps(recipe | {"centre": 0.0, "whiten": 0.0}))
    before = (model / "final/modules.json").stat().st_mtime_ns
    assert tune.main(flags) == 0 and (model / "final/modules.json").stat().st_mtime_ns == before
