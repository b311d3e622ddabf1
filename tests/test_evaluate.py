"""evaluate_timeline.py: metrics on vectors counted by hand, and the page they are shown on."""

import json
import re

import numpy as np
import pytest

import Apply_Tuned_Model as apply
import corpus
import evaluate_timeline as evaluate


def unit(degrees):
    """Return points on the unit circle, where 1 − cosine grows with the angle between them."""
    radians = np.radians(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_ranks_counted_by_hand():
    vectors = unit([0, 10, 25, 80])
    # From 0°: nearest is 10°, then 25°. From 10°: 0° (10 apart), 25° (15). From 25°: 10° (15), 0° (25), 80° (55).
    ranks = evaluate.next_passage_ranks(vectors, np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert ranks.tolist() == [1, 2, 3]


def test_ties_count_against():
    vectors = unit([0, 10, 10, 90])
    assert evaluate.next_passage_ranks(vectors, np.array([0]), np.array([2])).tolist() == [2]


def test_next_passages_stay_within_a_document_and_skip_gaps():
    passages = evaluate.Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 0, 1, 1]), np.array([0, 1, 3, 0, 1]))
    queries, targets = evaluate.next_passage_pairs(passages, np.arange(5))
    assert list(zip(queries, targets)) == [(0, 1), (3, 4)]


def test_only_the_first_passages_of_held_out_documents_are_asked():
    number = np.concatenate([np.arange(40), np.arange(5)])
    passages = evaluate.Passages(["a", "b"], np.array([1, 2]), np.repeat([0, 1], [40, 5]), number)
    assert evaluate.held_out_rows(passages, [0]).tolist() == list(range(30))
    assert evaluate.held_out_rows(passages, [1]).tolist() == list(range(40, 45))


def test_average_precision_is_one_where_neighbours_are_nearest_and_chance_where_nothing_is_told():
    queries = np.arange(0, 80, 2)
    near = unit(np.repeat(np.arange(40) * 9, 2) + np.tile([0, 1], 40))
    assert evaluate.partner_average_precision(near, queries, queries + 1, seed=0) == 1.0
    random = np.random.default_rng(0).normal(size=(4000, 64))
    many = np.arange(0, 4000, 2)
    assert abs(evaluate.partner_average_precision(random, many, many + 1, seed=0) - 1 / 6) < 0.02


def test_no_passage_is_its_own_false_partner():
    """Successive passages are query and target in turn; orthogonal ones tell nothing, so the score is that of ties."""
    queries = np.arange(20)
    vectors = np.eye(21, dtype=np.float32)
    positives = len(queries)
    score = evaluate.partner_average_precision(vectors, queries, queries + 1, seed=0)
    assert positives / (positives * 6) <= score <= positives / (positives * 6 - 12)  # all tie: the share of positives


def test_timeline_correlation_counted_by_hand():
    years = np.array([1900, 1910, 1930, 1970])
    assert evaluate.timeline_correlation(unit(years - 1900), years) == pytest.approx(1)
    # Years apart 10 30 70 20 60 40, ranks 1 3 6 2 5 4; angles 60 35 15 25 45 20, ranks 6 4 1 3 5 2: 1 − 6·56/210.
    assert evaluate.timeline_correlation(unit([60, 0, 25, 45]), years) == pytest.approx(-0.6)
    assert evaluate.timeline_correlation(unit([0, 1]), np.array([1900, 1900])) is None
    assert evaluate.timeline_correlation(unit([5, 5, 5]), np.array([1900, 1910, 1950])) is None


def test_near_pairs_leave_out_distant_ones():
    years = np.array([1900, 1910, 1930, 2000])
    angles = unit([0, 10, 30, 5])
    assert evaluate.timeline_correlation(angles, years) < 1
    assert evaluate.timeline_correlation(angles, years, most_years=50) == pytest.approx(1)


def test_document_means_are_the_normalised_mean_of_their_passages():
    passages = evaluate.Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 1]), np.array([0, 1, 0]))
    means = evaluate.document_means(unit([0, 90, 30]), passages)
    np.testing.assert_allclose(means, unit([45, 30]), atol=1e-6)


@pytest.fixture
def evaluated(word_corpus, tiny_encoder, tmp_path):
    """Return embeddings of two encoders, a training record, and a function that evaluates them."""
    from tiny_encoder import make_tiny_encoder

    other = make_tiny_encoder(tmp_path / "other", seed=1)
    for name, model in (("base", tiny_encoder), ("tuned", other)):
        assert apply.main(["-m", str(model), "-o", str(tmp_path / name), *word_corpus.flags]) == 0
    training = {
        "held_out_documents": [f"doc{i:02d}" for i in range(0, 24, 3)],
        "loss_curve": [{"step": i, "loss": 2 / i} for i in range(1, 20)],
        "recipe": {"base_model": "tiny", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "seed": 0},
        "counts": {"training_categories": {"successive": 5}, "training_pairs": 5, "training_documents": 2},
    }
    training["counts"]["held_out_documents"] = 8
    training |= {"steps": 19, "device": "cpu", "precision": "fp32", "seconds": 60}
    corpus.write_json(tmp_path / "training.json", training)

    def run(*flags):
        base = [f"base={tmp_path / 'base'}", f"tuned={tmp_path / 'tuned'}", "-t", str(word_corpus.metadata)]
        return evaluate.main([*base, "--training", str(tmp_path / "training.json"), "-o", str(tmp_path / "r"), *flags])

    return tmp_path, run


def test_the_page_is_one_file_with_every_figure_and_what_was_measured(evaluated):
    folder, run = evaluated
    assert run("--title", "My <corpus>", "--note", "Weak & small.") == 0
    page = (folder / "r/report.html").read_text()
    measured = json.loads((folder / "r/evaluation.json").read_text())["measured"]
    assert list(measured) == ["base", "base, centred", "tuned", "tuned, centred"]
    for metrics in measured.values():
        assert set(metrics) == {key for key, _, _ in evaluate.METRICS}
        for value in metrics.values():
            assert f"{value:.3f}</td>" in page
    assert "My &lt;corpus&gt;" in page and "Weak &amp; small." in page
    assert "24 documents, 288 passages, 1900–1957; 8 documents held out" in page
    assert page.count("data:image/png;base64,") == 4 and not re.findall(r'(?:src|href)="(?!data:)', page)
    assert {path.name for path in (folder / "r").glob("*.png")} == {
        "heat_maps.png", "distance_by_gap.png", "maps.png", "loss.png"
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "r").glob("*.png"))


def test_folders_of_different_passages_are_refused(evaluated, word_corpus, tiny_encoder, capsys):
    folder, run = evaluated
    word_corpus.add("more", 1955, ["w1 w2"])
    assert apply.main(["-m", str(tiny_encoder), "-o", str(folder / "tuned"), *word_corpus.flags]) == 0
    assert run() == 2 and "don't hold the same passages" in capsys.readouterr().err


def test_an_unfinished_folder_is_refused(evaluated, capsys):
    folder, run = evaluated
    (folder / "tuned/manifest.json").unlink()
    assert run() == 2 and "the folder is not complete" in capsys.readouterr().err


def test_two_representations_of_one_name_and_a_wrong_record_are_refused(evaluated, capsys):
    folder, run = evaluated
    training, metadata = ["--training", str(folder / "training.json")], ["-t", str(folder / "words/metadata.tsv")]
    twice = [f"base={folder / 'base'}", f"base={folder / 'tuned'}"]
    assert evaluate.main([*twice, *training, *metadata, "-o", str(folder / "r")]) == 2
    assert "the same NAME" in capsys.readouterr().err
    corpus.write_json(folder / "training.json", {"recipe": 1})
    assert run() == 2 and "is not a training.json" in capsys.readouterr().err


def test_metadata_of_another_corpus_is_refused(evaluated, word_corpus, capsys):
    word_corpus.rows = word_corpus.rows[1:]
    word_corpus.write()
    assert evaluated[1]() == 2 and "has no doc00" in capsys.readouterr().err
