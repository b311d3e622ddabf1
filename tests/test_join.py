"""Two models' vectors in one."""

import numpy as np
import pytest
from tiny_encoder import make_tiny_encoder

import Apply_Tuned_Model as apply
import corpus
import join_embeddings
from encoder import unit_rows


def test_joined_vectors_have_the_weighted_mean_of_both_models_cosines(word_corpus, tiny_encoder, tmp_path, capsys):
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder, model in zip(folders, (tiny_encoder, other)):
        assert apply.main(["-m", str(model), "-o", folder, "--device", "cpu", *word_corpus.flags]) == 0
    both = tmp_path / "both"
    assert join_embeddings.main([*folders, "--share", "0.3", "-o", str(both)]) == 0
    digests = [corpus.read_manifest(folder)["decades"][0]["model_sha256"] for folder in folders]
    joined = {"models": [str(tiny_encoder), str(other)], "share": 0.3, "model_sha256": sorted(digests)}
    assert corpus.read_manifest(both)["joined"] == joined
    assert corpus.read_manifest(both)["dimensions"] == 2 * corpus.read_manifest(folders[0])["dimensions"]
    for (ids, numbers, one), (_, _, two), (found, places, vectors) in zip(*map(corpus.each_decade, [*folders, both])):
        assert found == ids and (places == numbers).all() and vectors.dtype == np.float32
        one, two = unit_rows(one), unit_rows(two)
        assert vectors @ vectors.T == pytest.approx(0.7 * one @ one.T + 0.3 * two @ two.T, abs=1e-5)
    before = corpus.read_manifest(folders[1])
    assert join_embeddings.main([*folders, "-o", folders[1]]) == 2 and corpus.read_manifest(folders[1]) == before
    again = corpus.read_manifest(both)
    assert join_embeddings.main([str(both), folders[1], "-o", str(both)]) == 2 and corpus.read_manifest(both) == again
    assert capsys.readouterr().err.count("holds other embeddings; name another folder") == 2
    assert join_embeddings.main([str(both), folders[1], "-o", str(tmp_path / "three")]) == 0
    assert corpus.read_manifest(tmp_path / "three")["joined"]["model_sha256"] == sorted(digests)
    words = ["-m", str(other), "-o", str(both), "--device", "cpu", *word_corpus.flags]
    assert apply.main(words) == 2 and "holds what another script wrote" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere"  # decades without a record
    elsewhere.mkdir()
    (elsewhere / "1900.parquet").write_bytes((both / "1900.parquet").read_bytes())
    assert join_embeddings.main([*folders, "-o", str(elsewhere)]) == 2
    assert "holds other embeddings; name another folder" in capsys.readouterr().err
    shorter = tmp_path / "shorter"
    words = ["-m", str(other), "-o", str(shorter), "--device", "cpu", *word_corpus.flags]
    assert apply.main([*words, "--only-these-years", "-e", "1910"]) == 0  # fewer decades
    assert join_embeddings.main([folders[0], str(shorter), "-o", str(tmp_path / "c")]) == 2
    assert "don't hold the same passages; embed the same corpus again" in capsys.readouterr().err
