"""The controls of the report: by author, topic, generation and kind, counted by hand and by literal loops."""

import literal_timeline as literal
import numpy as np
import pytest

from report import authors, controls, measures
from report.authors import Documents
from report.controls import Controls, Extras
from report.representations import Run

AUTHORS = ["a", "a", "b", "b", "b", "c", "", "", "d", "d", "d", "d"]


def distances(count, seed=0):
    """Return symmetric distances with ties, none of a document from itself."""
    matrix = np.round(np.random.default_rng(seed).random((count, count)), 1)
    return np.triu(matrix, 1) + np.triu(matrix, 1).T


@pytest.fixture
def documents():
    """Twelve documents by four authors and two unknown, within fifty years; four draws."""
    dice = np.random.default_rng(5)
    years = dice.integers(1850, 1900, 12).astype(float)
    return Documents(years, AUTHORS, measures.document_draws(12, 4, seed=1), seed=2)


def of_one_draw(years, names):
    return Documents(np.array(years, dtype=float), names, np.ones((1, len(years)), dtype=int), seed=0)


def test_whole_authors_are_drawn(documents):
    drawn = documents.author_draws
    assert drawn.shape == (5, 12) and (drawn[0] == 1).all() and (drawn[:, [6, 7]] != drawn[:, [7, 6]]).any()
    for author in "abd":
        of_author = drawn[:, np.array(AUTHORS) == author]
        assert (of_author == of_author[:, :1]).all()
    each = [AUTHORS.index(author) for author in "abcd"] + [6, 7]
    assert (drawn[:, each].sum(axis=1) == 6).all()


@pytest.mark.parametrize("most", [None, 20])
def test_pairs_by_one_author_do_not_count(documents, most):
    distance, draws = distances(12), documents.author_draws
    found = measures.timeline_correlation(distance, documents.years, draws, most, documents.group)
    expected = [literal.timeline(distance, documents.years, draw, most, AUTHORS) for draw in draws]
    np.testing.assert_allclose(found, expected)
    # By hand: b's own pair is out. The others are 10 20 30 20 10 years apart, ranks 1½ 3½ 5 3½ 1½; distances 1 2 4 3 3,
    # ranks 1 2 5 3½ 3½: ρ = 6 / √(9 · 9.5).
    distance = np.array([[0, 1, 2, 4], [1, 0, 9, 3], [2, 9, 0, 3], [4, 3, 3, 0]], dtype=float)
    four = of_one_draw([1900, 1910, 1920, 1930], ["a", "b", "b", "c"])
    pairs = list(zip(*measures.document_pairs(four.years, None, four.group)))
    assert pairs == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    assert list(zip(*measures.document_pairs(four.years, 10, four.group))) == [(0, 1), (2, 3)]
    rho = measures.timeline_correlation(distance, four.years, four.draws, None, four.group)[0]
    assert rho == pytest.approx(6 / (9 * 9.5) ** 0.5)


def permuted_p(distance, documents, most):
    """Return permutation_p() with a loop for each sum."""
    years, names = documents.years, [name or i for i, name in enumerate(documents.authors)]
    first = {name: [y for y, other in zip(years, names) if other == name] for name in names}
    order = sorted(first, key=lambda name: documents.group[names.index(name)])
    middle = np.array([sum(first[name]) / len(first[name]) for name in order])
    dice, found = np.random.default_rng(documents.seed), []
    for _ in range(authors.PERMUTATIONS):
        of = dict(zip(order, dice.permutation(middle)))
        own = dict(zip(order, middle))
        moved = [round(y - own[name] + of[name]) for y, name in zip(years, names)]
        found.append(literal.timeline(distance, moved, [1] * len(moved), most, documents.authors))
    own = literal.timeline(distance, years, [1] * len(years), most, documents.authors)
    return (1 + sum(value >= own - 1e-12 for value in found)) / (1 + len(found))


@pytest.mark.parametrize("most", [None, 20])
def test_the_permutation_test_moves_whole_authors(documents, most):
    for seed in range(2):
        distance = distances(12, seed)
        assert authors.permutation_p(distance, documents, most) == pytest.approx(permuted_p(distance, documents, most))


def test_the_permutation_test_tells_a_timeline_from_chance():
    years, names = np.arange(1800, 1900, 5), [f"a{i // 2}" for i in range(20)]
    documents = of_one_draw(years, names)
    assert authors.permutation_p(np.abs(years[:, None] - years[None, :]), documents, None) == 0.005
    assert authors.permutation_p(distances(20, 3), documents, None) > 0.1
    assert np.isnan(authors.permutation_p(np.zeros((20, 20)), documents, None))


def test_topic_is_held_equal(documents):
    distance, topics, years = distances(12), distances(12, 1), documents.years
    apart, pairs = np.abs(years[:, None] - years[None, :]), measures.document_pairs(years)
    found = authors.partial_correlation((distance, apart, topics), pairs, documents.draws)
    expected = [literal.partial(distance, apart, topics, draw, list(zip(*pairs))) for draw in documents.draws]
    np.testing.assert_allclose(found, expected)
    # What only repeats the topic model has nothing of its own, and the topic model itself can't be asked.
    assert np.isnan(authors.partial_correlation((topics, apart, topics), pairs, documents.draws)).all()


def test_within_clusters_counted_by_hand():
    """One cluster of three documents in step with time, one of two pairs' worth against it."""
    years = np.array([1900, 1910, 1930, 1900, 1910, 1930.0])
    apart = np.abs(years[:, None] - years[None, :])
    distance, clusters = apart.copy(), np.array([0, 0, 0, 1, 1, 1])
    distance[3:, 3:] = 100 - apart[3:, 3:]
    distance[:3, 3:] = distance[3:, :3] = 1000  # between clusters: never looked at
    draws = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [2, 1, 1, 1, 1, 1]])
    found = authors.correlation_in_clusters(distance, years, clusters, draws)
    # 3 pairs each way; then 3 and a single one, which has no correlation; then 5 and 3.
    np.testing.assert_allclose(found, [0, 1, (5 - 3) / 8], atol=1e-12)


def test_clusters_are_of_about_ten_documents_with_the_same_topics():
    kinds = np.repeat([0, 1, 2], 10)
    found = authors.clusters_of(np.eye(3)[kinds], seed=0)
    assert len(set(zip(kinds, found))) == 3 == len(set(found))
    assert len(set(authors.clusters_of(np.eye(4), seed=0))) == 2


def test_persistence_counted_by_hand(documents):
    years = [1900, 1905, 1910, 1915, 1900]
    distance = np.zeros((5, 5))
    for (i, j), value in {(0, 1): 1, (1, 2): 2, (0, 2): 2, (2, 3): 3, (1, 3): 1}.items():
        distance[i, j] = distance[j, i] = value
    # 1900–1910: 2 against 1 and 2: one and a half of two. 1905–1915: 1 against 2 and 3: none of two.
    assert authors.persistence(distance, of_one_draw(years, [*"aaaab"]))[0] == pytest.approx(1.5 / 4)
    assert np.isnan(authors.persistence(distance, of_one_draw(years, [*"aabbc"]))[0])
    distance = distances(12)
    expected = [literal.persistence(distance, documents.years, AUTHORS, draw) for draw in documents.author_draws]
    np.testing.assert_allclose(authors.persistence(distance, documents), expected)


def test_persistence_tells_drift_from_noise():
    dice, names, years = np.random.default_rng(0), np.repeat([f"a{i}" for i in range(40)], 6).tolist(), np.arange(240)
    noise = dice.normal(size=(240, 20))
    drift = np.cumsum(noise.reshape(40, 6, 20), axis=1).reshape(240, 20)
    of_noise, of_drift = (
        authors.persistence(((x[:, None] - x[None, :]) ** 2).sum(axis=2), of_one_draw(years, names))[0]
        for x in (noise, drift)
    )
    assert of_noise == pytest.approx(0.5, abs=0.05) and of_drift > 0.85


def test_reliability_is_the_correlation_of_the_halves(documents):
    odd, even = distances(12), distances(12, 1)
    pairs = list(literal.pairs_of(documents.years, None, None))
    expected = [
        literal.spearman([(odd[p], even[p], draw[p[0]] * draw[p[1]]) for p in pairs]) for draw in documents.draws
    ]
    np.testing.assert_allclose(authors.reliability((odd, even), documents.draws), expected)
    assert authors.reliability((odd, odd), documents.draws)[0] == pytest.approx(1)
    assert np.isnan(authors.reliability((odd[:2, :2], even[:2, :2]), documents.draws[:, :2])).all()


def test_cohort_is_what_births_explain_beyond_the_date(documents):
    births = documents.years - np.random.default_rng(3).integers(30, 70, 12)
    births[4] = np.nan
    distance = distances(12)
    pairs = [(i, j) for i, j in literal.pairs_of(documents.years, None, AUTHORS) if 4 not in (i, j)]
    born, dated = (np.abs(v[:, None] - v[None, :]) for v in (births, documents.years))
    expected = [literal.partial(distance, born, dated, draw, pairs) for draw in documents.author_draws]
    np.testing.assert_allclose(authors.cohort(distance, documents, births), expected)
    assert authors.cohort(born, documents, births)[0] == pytest.approx(1)


def test_same_date_counted_by_hand(documents):
    years, names = [1900, 1901, 1902, 1903, 1930], [*"abcdd"]
    kinds = ["novel", "novel", "poem", "", "novel"]
    distance = np.array([[0, 1, 2, 9, 9], [1, 0, 1, 9, 9], [2, 1, 0, 9, 9], [9] * 5, [9] * 5], dtype=float)
    # From 1900: 1901 (novel, 1 year) against 1902 (poem, 2): 1 < 2, won. From 1901: 1900 against 1902, a tie. From
    # 1902 there is no other poem; 1903 is of no kind, 1930 of another date.
    assert authors.same_date_nearer(distance, of_one_draw(years, names), kinds)[0] == pytest.approx(0.75)
    assert np.isnan(authors.same_date_nearer(distance, of_one_draw(years, [*"abbdd"]), kinds)[0])
    distance, kinds = distances(12), ["x", "y", "", "x", "y", "x", "y", "y", "x", "y", "x", "y"]
    names = [name or str(i) for i, name in enumerate(AUTHORS)]
    close = Documents(documents.years // 10 + 1850, AUTHORS, documents.draws, 2)
    expected = [literal.same_date(distance, close.years, names, kinds, draw) for draw in close.author_draws]
    np.testing.assert_allclose(authors.same_date_nearer(distance, close, kinds), expected)


def test_later_documents_by_new_authors_are_dated_by_earlier_ones():
    years = np.arange(1800, 1860.0)
    names = [f"a{i}" for i in range(60)]
    features = np.column_stack([years, np.random.default_rng(0).normal(size=60)])
    assert authors.forward_error(features, of_one_draw(years, names), 1850)[0] < 1
    assert authors.year_to_date_from(years) == 1839
    features[50:55] += 1000  # by authors known before: not dated
    assert authors.forward_error(features, of_one_draw(years, [*names[:50], *names[:5], *names[55:]]), 1850)[0] < 1
    assert np.isnan(authors.forward_error(features, of_one_draw(years, names), 1859)[0])
    assert np.isnan(authors.forward_error(features, of_one_draw(years, [*names[:50], *names[:10]]), 1850)[0])


def test_the_weighted_median_is_that_of_the_repeated_values():
    dice = np.random.default_rng(0)
    values, draws = dice.random(9), dice.integers(0, 3, (20, 9))
    draws[3] = 0
    found = authors.weighted_median(values, draws)
    assert np.isnan(found[3])
    for one, draw in zip(found, draws):
        if draw.any():
            assert one == np.median(np.repeat(values, draw))


def test_every_control_has_its_definition_and_is_measured(documents):
    """Also the reaches: each ρ is over the pairs that its key names."""
    twelve = Documents(documents.years, AUTHORS, documents.draws, 3)
    births, kinds = documents.years - 40 - np.arange(12), {"genre": ["x", "y"] * 6}
    made = Controls(documents, twelve, Extras(births, kinds).of(list(range(12))))
    held, sampled = (Run(None, np.random.default_rng(i).random((12, 3)), distances(12, i)) for i in (0, 1))
    assert Controls(documents, twelve, Extras(forward=1870)).forward == 1870 and 1850 < made.forward < 1900
    keys = [key for key, *_ in made.metrics]
    assert len(set(keys)) == len(keys) and not {"timeline_rho_given_topics"} & made.measure(held, sampled).keys()
    made.hold_equal(Run(None, np.eye(12), distances(12, 7)))
    found = made.measure(held, sampled)
    assert set(found) | {"reliability"} == set(keys)
    assert all(len(values) == 5 for values in found.values())
    for key, run, most, names in (
        ("timeline_rho_near20", held, 20, None),
        ("timeline_rho_others", held, None, AUTHORS),
        ("timeline_rho_near20_others", held, 20, AUTHORS),
        ("timeline_rho_all_near", sampled, 50, None),
        ("timeline_rho_all_near20_others", sampled, 20, AUTHORS),
    ):
        expected = literal.timeline(run.distance, documents.years, np.ones(12), most, names)
        assert found[key][0] == pytest.approx(expected), key
    without = Controls(*(Documents(d.years, None, d.draws, 0) for d in (documents, twelve)), Extras())
    assert not [key for key in without.measure(held, sampled) if "others" in key or key in ("persistence", "cohort")]


def test_definitions_say_which_pairs():
    of = {key: (heading, text) for key, heading, text in controls.CONTROLS}
    assert of["timeline_rho_all_near20_others"] == (
        "timeline ρ, ≤ 20 years, other authors, all documents",
        "Timeline ρ over pairs of all embedded documents by different authors, at most 20 years apart. The interval "
        "draws authors.",
    )
