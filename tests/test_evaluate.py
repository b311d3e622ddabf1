"""evaluate_timeline.py: metrics on vectors counted by hand, and the page they are shown on."""

import json
import re
import shutil

import numpy as np
import pytest
from small_corpus import make_word_corpus
from tiny_encoder import make_tiny_encoder

import Apply_Tuned_Model as apply
import corpus
import evaluate_timeline as evaluate
import lock
import script
from report import controls, measures, representations, topics, trainings
from report.bench import Measurements
from report.measures import Estimate
from report.representations import Passages, Wanted
from report.timeline_page import summary

HOW = ("", ", centered", ", normalized means")  # an embedding is shown


def unit(degrees):
    """Return points on the unit circle, where 1 − cosine grows with the angle between them."""
    radians = np.radians(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_ranks_counted_by_hand():
    vectors = unit([0, 10, 25, 80])
    # From 0°: nearest is 10°, then 25°. From 10°: 0° (10 apart), 25° (15). From 25°: 10° (15), 0° (25), 80° (55).
    ranks = measures.next_passage_ranks(vectors, np.array([0, 1, 2]), np.array([1, 2, 3]))
    assert ranks.tolist() == [1, 2, 3]


def test_ties_count_against():
    vectors = unit([0, 10, 10, 90])
    assert measures.next_passage_ranks(vectors, np.array([0]), np.array([2])).tolist() == [2]


def test_next_passages_stay_within_a_document_and_skip_gaps():
    passages = Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 0, 1, 1]), np.array([0, 1, 3, 0, 1]))
    queries, targets = measures.next_passage_pairs(passages, np.arange(5))
    assert list(zip(queries, targets)) == [(0, 1), (3, 4)]


def test_only_the_first_passages_of_held_out_documents_are_asked():
    number = np.concatenate([np.arange(40), np.arange(5)])
    passages = Passages(["a", "b"], np.array([1, 2]), np.repeat([0, 1], [40, 5]), number)
    assert measures.held_out_rows(passages, [0]).tolist() == list(range(30))
    assert measures.held_out_rows(passages, [1]).tolist() == list(range(40, 45))


def the_sample(documents):
    return np.ones((1, documents), dtype=int)


def test_false_partners_are_of_the_kind_asked_for_and_never_neighbours():
    document, number, decade = np.repeat(np.arange(6), 8), np.tile(np.arange(8), 6), np.repeat([190, 190, 191], 16)
    rows, queries = measures.Rows(document, number, decade), np.flatnonzero(number < 7)
    for kind in ("anywhere", "same_decade", "same_document"):
        asked, partners = measures.false_partners(kind, rows, queries, np.random.default_rng(0))
        query = queries[asked]
        assert set(np.bincount(asked)) == {5} and len(set(zip(asked, partners))) == len(asked)
        if kind == "same_document":
            assert (document[partners] == document[query]).all() and (abs(number[partners] - number[query]) > 1).all()
        else:
            assert (document[partners] != document[query]).all()
        if kind == "same_decade":
            assert (decade[partners] == decade[query]).all()
    rows = rows._replace(decade=document)  # no other document of the decade: nothing is asked
    asked, _ = measures.false_partners("same_decade", rows, queries, np.random.default_rng(0))
    assert not len(asked)


def precision_of(vectors, document, number, draws):
    queries = np.flatnonzero(number == 0)
    rows = measures.Rows(document, number, 0 * number)
    false = measures.false_partners("anywhere", rows, queries, np.random.default_rng(0))
    return measures.average_precision(vectors, measures.Pairs(queries, queries + 1), false, document, draws)


def test_average_precision_is_one_where_neighbours_are_nearest_and_chance_where_nothing_is_told():
    document, number = np.repeat(np.arange(40), 2), np.tile([0, 1], 40)
    near = unit(document * 9 + number)
    assert precision_of(near, document, number, the_sample(40)) == [1.0]
    document, number = np.repeat(np.arange(2000), 2), np.tile([0, 1], 2000)
    random = np.random.default_rng(0).normal(size=(4000, 64))
    assert abs(precision_of(random, document, number, the_sample(2000))[0] - 1 / 6) < 0.02


def test_average_precision_is_sklearns_under_every_draw():
    from sklearn.metrics import average_precision_score

    dice = np.random.default_rng(2)
    scores, labels = dice.integers(0, 30, 200) / 30, dice.integers(0, 2, 200)  # many ties
    weights = dice.integers(0, 3, (70, 200))
    found = measures.weighted_average_precision(scores, labels, weights, np.arange(200))
    for value, weight in zip(found, weights):
        assert value == pytest.approx(average_precision_score(labels, scores, sample_weight=weight))
    never = np.zeros((1, 200), dtype=int)
    assert np.isnan(measures.weighted_average_precision(scores, labels, never, np.arange(200)))[0]


def test_a_document_that_is_not_drawn_does_not_count():
    """Documents 0 to 9 have their passages together, 10 to 19 opposite each other."""
    document, number = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    vectors = unit(document * 17 + number * 180 * (document >= 10))
    draws = np.repeat([[1, 1], [2, 0], [0, 2]], 10, axis=1)
    both, together, opposite = precision_of(vectors, document, number, draws)
    assert together == 1.0 and together > both > opposite


def test_timeline_correlation_counted_by_hand():
    def rho(angles, years, most=None):
        documents = unit(angles)
        distance = 1 - documents @ documents.T
        return measures.timeline_correlation(distance, np.array(years, dtype=float), the_sample(len(years)), most)[0]

    years = [1900, 1910, 1930, 1970]
    assert rho([0, 10, 30, 70], years) == pytest.approx(1)
    # Years apart 10 30 70 20 60 40, ranks 1 3 6 2 5 4; angles 60 35 15 25 45 20, ranks 6 4 1 3 5 2: 1 − 6·56/210.
    assert rho([60, 0, 25, 45], years) == pytest.approx(-0.6)
    assert np.isnan(rho([0, 1], [1900, 1900])) and np.isnan(rho([5, 5, 5], [1900, 1910, 1950]))
    years = [1900, 1910, 1930, 2000]
    assert rho([0, 10, 30, 5], years) < 1 and rho([0, 10, 30, 5], years, 50) == pytest.approx(1)


def test_a_pair_weighs_the_product_of_its_documents_draws():
    from scipy.stats import rankdata

    dice = np.random.default_rng(1)
    years, distance = dice.integers(1800, 1900, 12).astype(float), dice.random((12, 12))
    distance = distance + distance.T
    draws = measures.document_draws(12, 4, seed=3)
    first, second = np.triu_indices(12, k=1)
    x, y = (rankdata(values) for values in (abs(years[first] - years[second]), distance[first, second]))
    for value, draw in zip(measures.timeline_correlation(distance, years, draws), draws):
        covariance = np.cov(x, y, fweights=draw[first] * draw[second])
        assert value == pytest.approx(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def test_draws_take_as_many_documents_as_there_are_and_the_interval_holds_the_middle():
    draws = measures.document_draws(30, 2000, seed=0)
    assert (draws[0] == 1).all() and (draws.sum(axis=1) == 30).all() and draws.shape == (2001, 30)
    values = measures.weighted_mean(np.arange(60.0), np.repeat(np.arange(30), 2), draws)
    low, high = measures.interval(values[1:])
    assert values[0] == pytest.approx(29.5) and low < 29.5 < high
    # The mean of 30 documents' means, whose standard deviation is 17.3, has a standard error of 3.16: ± 6.2.
    assert high - low == pytest.approx(12.4, abs=0.8)
    assert measures.interval(np.array([np.nan, np.nan, 1.0])) is None


def test_years_that_stand_in_the_vectors_are_read_off_and_noise_is_not():
    dice = np.random.default_rng(0)
    years, noise = dice.integers(1800, 2000, 80).astype(float), dice.normal(size=(80, 5))
    groups, draws = np.arange(80), the_sample(80)
    told = np.column_stack([years, noise])
    assert measures.explained(years, measures.cross_validated_years(told, years, groups), draws)[0] > 0.99
    assert measures.explained(years, measures.cross_validated_years(noise, years, groups), draws)[0] < 0.1
    assert measures.cross_validated_years(told, years, np.repeat([0, 1], 40)) is None


def test_an_author_is_kept_from_the_regression_whole():
    """Each author's years are told by a feature of their own: of no use for a new author."""
    years, authors, draws = np.repeat(np.arange(1800.0, 2000, 20), 6), np.repeat(np.arange(10), 6), the_sample(60)
    features = np.eye(10)[authors]
    by_document = measures.explained(years, measures.cross_validated_years(features, years, np.arange(60)), draws)[0]
    by_author = measures.explained(years, measures.cross_validated_years(features, years, authors), draws)[0]
    assert by_document > 0.9 > 0.1 > by_author


def test_same_author_nearer_counted_by_hand():
    years, authors = np.array([1900.0, 1904, 1905, 1930]), ["a", "a", "b", "b"]
    distance = np.array([[0, 1, 2, 9], [1, 0, 3, 9], [2, 3, 0, 9], [9, 9, 9, 0]], dtype=float)
    # From 1900 (a): 1904 (a) against 1905 (b), 4 and 5 years apart: 1 < 2, won. From 1904: own 4 years away, others 1
    # and 26: nothing to compare. From 1905: own 25 away, others 5 and 1. From 1930: own 25, another 26: a tie.
    assert measures.same_author_nearer(distance, years, authors, the_sample(4))[0] == pytest.approx((1 + 0.5) / 2)
    assert np.isnan(measures.same_author_nearer(distance, years, ["", "a", "", "b"], the_sample(4))[0])


def test_document_means_are_the_normalised_mean_of_their_passages():
    passages = Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 1]), np.array([0, 1, 0]))
    run = representations.embedding_run([3 * unit([0, 90, 30])], passages, Wanted(np.arange(3), [0, 1]))
    np.testing.assert_allclose(run.documents, unit([45, 30]), atol=1e-6)
    assert run.distance[0, 1] == pytest.approx(1 - np.cos(np.radians(15)), abs=1e-6)


def test_the_mean_that_is_subtracted_is_of_passages_not_held_out():
    passages = Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 1]), np.array([0, 1, 0]))
    vectors = unit([0, 90, 200])
    for unseen, mean in (({"b"}, vectors[:2].mean(axis=0)), ({"a", "b"}, vectors.mean(axis=0))):
        found = representations.mean_passage([vectors[:2], vectors[2:]], passages, unseen)
        assert (found == mean).all()
        np.testing.assert_allclose(next(representations.centered([vectors], found)), vectors - mean)


def test_what_one_training_held_out_alone_is_neither_compared_on_nor_fitted_on():
    passages = Passages(["a", "b", "c", "d"], np.arange(4), np.arange(4), np.zeros(4, dtype=int))
    lists = ({"a", "b", "c"}, {"b", "c", "x"})
    of_name = {"t": [{"held_out_documents": sorted(documents)} for documents in lists]}
    assert trainings.held_out_documents(of_name, passages) == ([1, 2], {"a", "b", "c", "x"})
    with pytest.raises(script.InputError, match="fewer than two embedded documents"):
        trainings.held_out_documents({"t": [{"held_out_documents": ["a"]}]}, passages)


def test_a_run_read_by_decades_is_that_of_all_vectors_at_once_to_the_last_bit():
    """Also where some documents are wanted only, as in a large corpus."""
    dice = np.random.default_rng(0)
    document = np.sort(dice.integers(0, 300, 3000))
    paper_ids = [f"d{i}" for i in range(300)]
    number = np.arange(3000) - np.searchsorted(document, document)
    passages = Passages(paper_ids, np.repeat(np.arange(1900, 1930), 10), document, number)
    vectors = dice.normal(size=(3000, 16)).astype(np.float32) + 3
    decades = np.split(vectors, np.searchsorted(document, [100, 100, 200]))  # one of them without passages
    mean = representations.mean_passage(decades, passages, {"d7"})
    unit = representations.unit_rows(vectors)
    assert (mean == unit[document != 7].mean(axis=0)).all()
    for documents in (list(range(300)), list(range(3, 300, 7)), [5]):
        wanted = Wanted(np.flatnonzero(np.isin(document, documents) & (number < 3)), documents)
        run = representations.embedding_run(representations.centered(decades, mean), passages, wanted)
        plain = representations.unit_rows(unit - mean)
        assert (run.passages == plain[wanted.rows]).all() and run.distance.shape == 2 * (len(documents),)
        means = representations.means_by_document(plain, document)
        assert (run.documents == representations.unit_rows(means)[documents]).all()


def test_topic_distances_are_jensen_shannon():
    passages = Passages(["a", "b"], np.array([1, 2]), np.array([0, 0, 1]), np.array([0, 1, 0]))
    mixtures = np.array([[1.0, 0], [0, 1], [1, 0]], dtype=np.float32)
    run = representations.topic_run(mixtures, passages, np.arange(3))
    # Means (½, ½) and (1, 0), middle (¾, ¼): ½ · (½ ln ⅔ + ½ ln 2) + ½ · ln 4/3 = 0.2157615; its root.
    assert run.distance[0, 1] == pytest.approx(0.2157615**0.5, abs=1e-6)
    assert run.passages[0] @ run.passages[2] == 1 and run.passages[0] @ run.passages[1] == 0


def test_the_topic_model_tells_kinds_of_documents_apart_and_is_kept(tmp_path, corpus_folder, monkeypatch):
    for i in range(24):  # documents of two kinds, each with words of its own
        corpus_folder.add(f"t{i}", 1900 + i, [" ".join("xyzuv"[k % 5] + "ab"[i % 2] * 3 for k in range(30))] * 6)
    monkeypatch.setattr(topics, "MOST_FREQUENT", 0)
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    settings = topics.TopicSettings(topics=2, iterations=400, seeds=range(1))
    ids = [f"t{i}" for i in range(0, 24, 3)]  # held-out ones alone are embedded, the first, fourth … of them
    passages = Passages(ids, np.arange(8), np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8))
    texts = topics.Texts(documents, corpus.ChunkFolder(corpus_folder.chunks), set(ids))
    mixtures = topics.topic_mixtures(tmp_path / "r", passages, texts, settings, 0)
    assert mixtures.shape == (48, 2) and np.allclose(mixtures.sum(axis=1), 1, atol=1e-5)
    kinds = mixtures.argmax(axis=1).reshape(8, 6)
    assert (kinds[::2] == kinds[0, 0]).all() and (kinds[1::2] == 1 - kinds[0, 0]).all()
    monkeypatch.setattr(topics, "fit_and_infer", None)  # not called again
    assert (topics.topic_mixtures(tmp_path / "r", passages, texts, settings, 0) == mixtures).all()
    passages.number[-1] = 6
    with pytest.raises(script.InputError, match="passage 6 of t21 was embedded but is not in the chunk files"):
        topics.words_of_rows(texts.words, passages)


def test_the_topic_model_is_fitted_again_when_a_text_or_the_embedded_passages_changed(
    tmp_path, corpus_folder, monkeypatch
):
    corpus_folder.add("a", 1900, 3).add("b", 1901, 3)
    documents, _ = corpus.read_metadata(corpus_folder.metadata)
    settings, fitted = topics.TopicSettings(topics=2, iterations=1, seeds=range(1)), []
    monkeypatch.setattr(topics, "fit_and_infer", lambda *words: fitted.append(words) or np.zeros((3, 2)))

    def is_fitted(held, numbers):
        """Tell whether the mixtures of these passages of document b are made anew."""
        before = len(fitted)
        texts = topics.Texts(documents, corpus.ChunkFolder(corpus_folder.chunks), held)
        passages = Passages(["b"], np.array([1901]), np.zeros(len(numbers), dtype=int), np.array(numbers))
        topics.topic_mixtures(tmp_path / "r", passages, texts, settings, 0)
        return len(fitted) > before

    assert is_fitted({"b"}, [0, 1, 2]) and not is_fitted({"b"}, [0, 1, 2])
    (corpus_folder.chunks / "a.txt").write_text("0\tcorrected\n1\ta passage 1\n2\ta passage 2\n")
    assert is_fitted({"b"}, [0, 1, 2]) and not is_fitted({"b"}, [0, 1, 2])
    assert is_fitted({"b"}, [2, 1, 0]) and is_fitted({"a"}, [2, 1, 0]) and not is_fitted({"a"}, [2, 1, 0])


@pytest.fixture(scope="module")
def embedded(tiny_encoder, tmp_path_factory):
    """Return a folder with the word corpus's embeddings by two encoders: base and tuned."""
    folder = tmp_path_factory.mktemp("embedded")
    words, other = make_word_corpus(folder / "words"), make_tiny_encoder(folder / "other", seed=1)
    for name, model in (("base", tiny_encoder), ("tuned", other)):
        assert apply.main(["-m", str(model), "-o", str(folder / name), *words.flags]) == 0
    return folder


@pytest.fixture
def evaluated(word_corpus, embedded, tmp_path):
    """Return a folder with base, tuned and a training record, and a function that evaluates them."""
    for name in ("base", "tuned"):
        shutil.copytree(embedded / name, tmp_path / name)
    training = {
        "held_out_documents": [f"doc{i:02d}" for i in range(0, 24, 3)],
        "loss_curve": [{"step": i, "loss": 2 / i} for i in range(1, 20)],
        "recipe": {"base_model": "tiny", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "seed": 0},
        "counts": {"training_categories": {"successive": 5}, "training_pairs": 5, "training_documents": 2},
    }
    training["counts"]["held_out_documents"] = 8
    training |= {"steps": 19, "device": "cpu", "precision": "fp32", "seconds": 60}
    script.write_json(tmp_path / "training.json", training)

    def run(*flags):
        folders = [f"base={tmp_path / 'base'}", f"tuned={tmp_path / 'tuned'}", *(f for f in flags if "=" in f)]
        flags = ["-t", str(word_corpus.metadata), *(f for f in flags if "=" not in f)]
        return evaluate.main(
            [*folders, "--training", str(tmp_path / "training.json"), "-o", str(tmp_path / "r"), *flags]
        )

    return tmp_path, run


@pytest.mark.slow
def test_the_answer_is_two_sentences_and_sorts_the_others_by_what_is_certain():
    known, spread = {"base, centered": 0.5, "base, normalized means": 0.79, "40 topics": 0.9}, np.array([-0.02, 0.02])
    measurements = Measurements("base", ["tuned"], "40 topics")
    for name, rho in {"base": 0.4, "tuned": 0.8, **known}.items():
        noise = spread if name == "tuned" else 0 * spread
        figures = {"mrr_at_10": Estimate(0.2, np.full(2, 0.2)), "timeline_rho": Estimate(rho, rho + noise)}
        measurements.add(name, figures)
    assert summary(measurements) == [
        "tuned finds the passage that follows (MRR@10 0.200) about as often as “base, centered” (0.200), "
        "“base, normalized means” (0.200), and “40 topics” (0.200).",
        "With tuned, distances between held-out documents follow the years between them (timeline ρ 0.800) more "
        "closely than with “base, centered” (0.500); about as closely as with “base, normalized means” (0.790); less "
        "closely than with “40 topics” (0.900).",
    ]


def test_the_page_is_one_file_with_every_figure_and_what_was_measured(evaluated):
    folder, run = evaluated
    assert run("--title", "My <corpus>", "--note", "Weak & small.", "--draws", "200") == 0
    page = (folder / "r/report.html").read_text()
    measured = json.loads((folder / "r/evaluation.json").read_text())["measured"]
    assert list(measured) == [f"{name}{how}" for name in ("base", "tuned") for how in HOW]
    for of_name in measured.values():
        keys = [key for key, *_ in (*measures.METRICS, *controls.CONTROLS)]
        assert list(of_name) == [*keys, "forward_error"]
        for figure in of_name.values():
            if figure["value"] is not None:
                low, high = figure["interval"]
                assert f"{figure['value']:.3f}<span>{low:.3f} … {high:.3f}</span></td>" in page
        assert of_name["dating_r2_author"]["value"] is None  # the metadata has no authors
    assert measured["base"]["mrr_at_10"]["value"] and measured["base"]["timeline_rho_near"]["interval"]
    assert "My &lt;corpus&gt;" in page and "Weak &amp; small." in page
    assert "24 documents, 288 passages, 1900–1957; 8 documents held out" in page
    assert "8 documents held out; vectors not adjusted." in page
    assert page.count("data:image/png;base64,") == 5 and not re.findall(r'(?:src|href)="(?!data:)', page)
    assert {path.name for path in (folder / "r").glob("*.png")} == {
        "scores.png", "heat_maps.png", "distance_by_gap.png", "maps.png", "loss.png"
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "r").glob("*.png"))
    written = {path.stem: path.read_text().splitlines() for path in (folder / "r").glob("*.tsv")}
    assert set(written) == {path.stem for path in (folder / "r").glob("*.png")} | {"evaluation"}
    rows = [dict(zip(written["scores"][0].split("\t"), line.split("\t"))) for line in written["scores"][1:]]
    # Six of embeddings and two differences; of the six measures drawn, same_author needs authors.
    assert len(rows) == (6 + 4) * 5 and rows[-1]["less"] == "base, normalized means"
    assert float(rows[0]["value"]) == pytest.approx(measured["base"]["mrr_at_10"]["value"], rel=1e-5)
    heading = page.index("<h2>The main measures")
    assert page.index('class="lead"') < heading < page.index("<table>") < page.index("<h2>Every year")


def test_the_page_tells_what_a_kept_model_has_otherwise_than_asked_for(evaluated):
    folder, _ = evaluated
    given = [("tuned", str(folder / "tuned"))], [str(folder / "training.json")]
    assert "kept" not in trainings.described("tuned", trainings.read_trainings(*given)["tuned"])
    script.write_json(folder / "kept.json", {"differs": ["epochs 6 → 2"]})
    told = trainings.described("tuned", trainings.read_trainings(*given)["tuned"])
    assert told.endswith("It was kept although other settings were asked for (epochs 6 → 2).")


def test_the_page_tells_how_vectors_were_adjusted(evaluated):
    """The page shows this sentence, as the test above says; older embeddings have the adjustment in their manifest."""
    folder, _ = evaluated

    def sentence(recipe, arguments):
        for name, part, values in (("tuned/manifest", "arguments", arguments), ("training", "recipe", recipe)):
            record = script.read_json(folder / f"{name}.json")
            record[part] = {k: v for k, v in record[part].items() if k not in ("centre", "whiten")} | values
            script.write_json(folder / f"{name}.json", record)
        read = trainings.read_trainings([("tuned", str(folder / "tuned"))], [str(folder / "training.json")])
        return trainings.described("tuned", read["tuned"])

    adjusted = "vectors less 0.5 of the mean, whitened to the power 0.25."
    assert sentence({}, {"centre": 0.5, "whiten": 0.25}).endswith(adjusted)
    assert sentence({"centre": 0.5, "whiten": 0.25}, {}).endswith(adjusted)
    assert sentence({"centre": 0.0, "whiten": 0.0}, {}).endswith("vectors not adjusted.")
    assert sentence({}, {}).endswith("vectors not adjusted.")


def test_folders_of_different_passages_are_refused(evaluated, word_corpus, tiny_encoder, capsys):
    folder, run = evaluated
    word_corpus.add("more", 1955, ["w1 w2"])
    assert apply.main(["-m", str(tiny_encoder), "-o", str(folder / "tuned"), *word_corpus.flags]) == 0
    assert run() == 2 and "don't hold the same passages" in capsys.readouterr().err


@pytest.mark.slow
def test_a_base_embedded_from_other_texts_is_refused(evaluated, word_corpus, tiny_encoder, capsys):
    folder, run = evaluated
    chunk = word_corpus.chunks / "doc05.txt"
    chunk.write_text(chunk.read_text().replace(" w", " w1", 1))  # of the 1910s; as many passages as before
    assert apply.main(["-m", str(tiny_encoder), "-o", str(folder / "base"), *word_corpus.flags]) == 0
    assert run() == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{folder / 'tuned'} and {folder / 'base'}" in said and "their 1910s were embedded from different" in said
    manifest = script.read_json(folder / "base/manifest.json")
    for record in manifest["decades"]:
        del record["texts_sha256"]  # as of an older version
    script.write_json(folder / "base/manifest.json", manifest)
    assert run("--draws", "2") == 0


@pytest.mark.slow
def test_the_training_of_another_model_is_refused(evaluated, capsys):
    folder, run = evaluated
    training = script.read_json(folder / "training.json")
    embedded = script.read_json(folder / "tuned/manifest.json")["decades"][0]["model_sha256"]
    script.write_json(folder / "training.json", training | {"model_sha256": embedded.swapcase()[::-1]})
    assert run() == 2
    said = f"training.json is not the training of the model that {folder / 'tuned'} was embedded with"
    assert said in capsys.readouterr().err
    script.write_json(folder / "training.json", training | {"model_sha256": embedded})
    assert run("--draws", "2") == 0


def test_a_decade_replaced_under_its_manifest_is_refused(evaluated, capsys):
    folder, run = evaluated
    file = folder / "tuned/1910.parquet"
    paper_ids, numbers, vectors = corpus.read_embeddings(file)
    corpus.write_embeddings(file, paper_ids, numbers, vectors[::-1].copy())
    manifest = script.read_json(folder / "tuned/manifest.json")
    manifest["decades"][1]["bytes"] = file.stat().st_size
    script.write_json(folder / "tuned/manifest.json", manifest)
    assert run() == 2 and "tuned/1910.parquet is not the file that manifest.json lists" in capsys.readouterr().err
    assert not (folder / "r/report.html").exists()


def test_two_reports_in_one_folder_are_refused(evaluated, capsys):
    folder, run = evaluated
    with lock.alone_in(folder / "r"):
        assert run() == 2 and "r is in use by process" in capsys.readouterr().err
        assert [path.name for path in (folder / "r").iterdir()] == [".lock"]


def test_an_unfinished_folder_is_refused(evaluated, capsys):
    folder, run = evaluated
    (folder / "tuned/manifest.json").unlink()
    assert run() == 2 and "the folder is not complete" in capsys.readouterr().err


@pytest.mark.slow
def test_seeds_of_one_model_are_averaged_draw_by_draw(evaluated, word_corpus):
    folder, run = evaluated
    third = make_tiny_encoder(folder / "third", seed=2)
    assert apply.main(["-m", str(third), "-o", str(folder / "tuned2"), *word_corpus.flags]) == 0
    assert run(f"tuned={folder / 'tuned2'}", "--training", str(folder / "training.json"), "--draws", "50") == 0
    found = json.loads((folder / "r/evaluation.json").read_text())
    one = found["measured"]["tuned"]["timeline_rho"]
    assert one["runs"][0] != one["runs"][1] and one["value"] == pytest.approx(sum(one["runs"]) / 2)
    difference = found["differences"][0]
    assert (difference["of"], difference["less"]) == ("tuned", "base, centered")
    base = found["measured"]["base, centered"]["timeline_rho"]["value"]
    assert difference["timeline_rho"]["value"] == pytest.approx(one["value"] - base)
    assert "Means over runs with different seeds (tuned: 2" in (folder / "r/report.html").read_text()


@pytest.mark.slow
def test_authors_births_and_kinds_have_their_figures_in_the_page_and_in_a_table(evaluated, word_corpus, capsys):
    folder, run = evaluated
    lines = ["paperId\tyear\tauthor\tborn\tgenre"]
    for i, (paper_id, year) in enumerate(word_corpus.rows):
        lines.append(f"{paper_id}\t{year}\ta{i // 3}\t{int(year) - 40 - i % 7}\t{'novel' if i // 4 % 2 else 'poem'}")
    word_corpus.metadata.write_text("\n".join(lines) + "\n")
    assert run("--cohort", "born", "--same", "genre", "--forward", "1940", "--draws", "20") == 0
    found = json.loads((folder / "r/evaluation.json").read_text())
    asked = {"cohort", "same_date_genre", "forward_error", "persistence", "timeline_rho_others", "reliability"}
    assert not [key for key in asked if found["measured"]["tuned"][key]["value"] is None]
    assert "of its genre and one not" in found["definitions"]["same_date_genre"]
    assert "fitted on the documents before 1940" in found["definitions"]["forward_error"]
    page = (folder / "r/report.html").read_text()
    assert page.split("</tbody>")[0].count("<tr><td>") == 5  # the first table; the others are folded
    assert page.index("<td>same date, genre") > page.index("<details><summary>All figures</summary>")
    table = [line.split("\t") for line in (folder / "r/evaluation.tsv").read_text().splitlines()]
    assert table[0] == ["representation", "less", "measure", "value", "low", "high", "definition"]
    rows = {tuple(row[:3]): row[3:] for row in table[1:]}
    one = found["measured"]["tuned"]["cohort"]
    shown = [f"{value:.6g}" for value in (one["value"], *one["interval"])]
    assert rows["tuned", "", "cohort"] == [*shown, found["definitions"]["cohort"]]
    assert float(rows["tuned", "base, centered", "timeline_rho"][0]) == pytest.approx(
        found["differences"][0]["timeline_rho"]["value"], abs=1e-6
    )
    assert rows["tuned", "", "timeline_p_others"][1:3] == ["", ""]
    assert ("tuned", "base, centered", "timeline_p_others") not in rows
    assert run("--cohort", "genre") == 2
    assert "genre of doc00 is 'poem', not a year; write a whole number" in capsys.readouterr().err
    assert run("--same", "party") == 2 and "has no column 'party'" in capsys.readouterr().err


@pytest.mark.slow
def test_of_a_large_corpus_documents_are_drawn_and_the_page_says_so(evaluated, word_corpus, monkeypatch):
    """Also the topic model is fitted on drawn ones alone. Which they are hangs on the seed."""
    folder, run = evaluated
    monkeypatch.setattr(representations, "MOST_DOCUMENTS", 7)
    compared, fitted, fit = [], [], topics.fit_and_infer
    correlation = measures.timeline_correlation
    monkeypatch.setattr(
        measures, "timeline_correlation", lambda d, *more: compared.append(d.shape) or correlation(d, *more)
    )
    monkeypatch.setattr(topics, "fit_and_infer", lambda f, *more: fitted.append(len(f)) or fit(f, *more))
    monkeypatch.setattr(topics, "MOST_FREQUENT", 0)
    more = ["--topics", "3", "-r", str(word_corpus.chunks), "--topic-iterations", "5", "--draws", "20"]
    found = []
    for seed in ("0", "1", "0"):
        assert run("--seed", seed, *more) == 0
        found.append(script.read_json(folder / "r/evaluation.json")["measured"])
    # Nothing larger; clusters are parts of the seven.
    assert max(compared) == (7, 7) and fitted == [7 * 12, 7 * 12]  # seed 0's is kept
    assert found[0] == found[2] and found[0]["base"]["timeline_rho_all"] != found[1]["base"]["timeline_rho_all"]
    page = (folder / "r/report.html").read_text()
    assert "use at most 7 documents of those held out and of all, drawn at random (seed 0)" in page


@pytest.mark.slow
def test_a_topic_model_and_another_part_stand_beside_the_embeddings(evaluated, word_corpus):
    folder, run = evaluated
    (folder / "part.html").write_text("<h2>Another part</h2>")
    more = f"--topics 3 -r {word_corpus.chunks} --topic-iterations 20 --topic-seeds 2 --section {folder / 'part.html'}"
    assert run(*more.split(), "--draws", "20") == 0
    found = json.loads((folder / "r/evaluation.json").read_text())
    assert len(found["measured"]["3 topics"]["timeline_rho"]["runs"]) == 2
    yardsticks = ["base, centered", "base, normalized means", "latent semantic analysis", "3 topics"]
    models = ["tuned", "tuned, normalized means"]
    assert [(d["of"], d["less"]) for d in found["differences"]] == [
        (one, name) for one in models for name in yardsticks
    ]
    tuned, of_topics = found["measured"]["tuned"], found["measured"]["3 topics"]
    assert tuned["timeline_rho_given_topics"]["value"] and tuned["timeline_rho_in_clusters"]["value"]
    assert of_topics["timeline_rho_given_topics"]["value"] is None  # of itself nothing is left
    page = (folder / "r/report.html").read_text()
    assert "tuned less 3 topics" in page and "<h2>Another part</h2>" in page and "w1 " not in page


def test_what_is_wrong_with_the_command_is_one_sentence(evaluated, word_corpus, capsys):
    folder, run = evaluated
    assert run(f"tuned={folder / 'tuned'}") == 2 and "is given twice" in capsys.readouterr().err
    assert run("--topics", "3") == 2 and "pass their folder with -r" in capsys.readouterr().err
    assert run("t=x") == 2 and "1 --training for 2 tuned folders" in capsys.readouterr().err
    script.write_json(folder / "training.json", {"recipe": 1})
    assert run() == 2 and "is not a training.json" in capsys.readouterr().err
    alone = [f"base={folder / 'base'}", "-t", str(word_corpus.metadata), "-o", str(folder / "alone")]
    assert evaluate.main(alone) == 2 and "no tuned model to compare" in capsys.readouterr().err


def test_metadata_of_another_corpus_is_refused(evaluated, word_corpus, capsys):
    word_corpus.rows = word_corpus.rows[1:]
    word_corpus.write()
    assert evaluated[1]() == 2 and "has no doc00" in capsys.readouterr().err
