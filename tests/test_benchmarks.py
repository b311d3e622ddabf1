"""What measures tuning on several corpora: tables and pictures of many runs, and two models' vectors in one."""

import across
import join_embeddings
import numpy as np
import pytest
from tiny_encoder import make_tiny_encoder

import Apply_Tuned_Model as apply
import corpus
from encoder import unit_rows


def test_a_difference_of_several_splits_says_in_how_many_it_is_certain():
    figures = [{"value": value, "interval": [low, high]} for value, low, high in [(0.1, 0.05, 0.2), (0.3, -0.1, 0.5)]]
    assert across.cell(figures, True) == "+0.200 (+0.100 to +0.300; 1 above 0)"
    assert across.cell(figures, False) == "0.200 (0.100 to 0.300)"
    assert across.cell([*figures, {"value": None, "interval": None}], True) == "–"


def test_a_picture_of_corpora_shows_yardsticks_and_models_as_they_are():
    measured = ["base", "base, centered", "base, normalized means", "a", "a, centered", "b", "words"]
    report = {"measured": dict.fromkeys(measured), "differences": [{"of": "a"}, {"of": "a"}, {"of": "b"}]}
    colors = across.colors_of(report)
    assert list(colors) == ["base", "base, centered", "base, normalized means", "a", "b", "words"]
    base, model, other, words = (colors[name] for name in ("base", "a", "b", "words"))
    assert len({base, model, other, words}) == 4 and colors["base, normalized means"] == base


def test_joined_vectors_have_the_weighted_mean_of_both_models_cosines(word_corpus, tiny_encoder, tmp_path, capsys):
    other = make_tiny_encoder(tmp_path / "other", seed=1)
    folders = [str(tmp_path / name) for name in ("a", "b")]
    for folder, model in zip(folders, (tiny_encoder, other)):
        assert apply.main(["-m", str(model), "-o", folder, "--device", "cpu", *word_corpus.flags]) == 0
    both = tmp_path / "both"
    assert join_embeddings.main([*folders, "--share", "0.3", "-o", str(both)]) == 0
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
    shorter = tmp_path / "shorter"
    words = ["-m", str(other), "-o", str(shorter), "--device", "cpu", *word_corpus.flags]
    assert apply.main([*words, "--only-these-years", "-e", "1910"]) == 0  # fewer decades
    assert join_embeddings.main([folders[0], str(shorter), "-o", str(tmp_path / "c")]) == 2
    assert "don't hold the same passages; embed the same corpus again" in capsys.readouterr().err
