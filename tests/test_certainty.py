"""How sure precocity is: each formula against literal loops, the null on a corpus without change, an early bird."""

import json
import math

import literal_certainty as literal
import numpy as np
import pytest
from scipy.stats import kstest
from test_precocity import Embedded

from precocity import certainty, standing
from precocity.comparison import OFFSETS
from precocity.values import SHARES, triples_of

# Comparison years from 12 before to 12 after, by five authors; outside there are none, and one year is missing.
BLOCKS = [0] * 14 + [1] * 3 + [2] * 5 + [3] * 4 + [4] * 14
SIZES = (1, 4, 5)  # passages


@pytest.fixture(scope="module")
def by_hand():
    """Return distances (passages, years, filters, fractions), the starts of three documents, and CERTAINTY of them."""
    dice = np.random.default_rng(3)
    means = np.full((sum(SIZES), len(OFFSETS), 4, 3), np.nan)
    means[:, 8:32] = -0.3 + 0.1 * dice.normal(size=(sum(SIZES), 24, 1, 3))
    means[:, 17] = np.nan
    means[2, 25] = np.nan  # of one passage alone
    means[:5, 12, 2:] = np.nan  # by the filter trainauth
    starts = np.cumsum([0, *SIZES])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certainty, "DRAWS", 20_000)  # so many that what is drawn is near what loops enumerate
        found = certainty.certainty_of(starts, means, triples_of(means), BLOCKS)
    certainty.weights_of_ranks.cache_clear()
    certainty.past_less_future.cache_clear()
    return means, starts, found


def kinds(by_hand):
    """Yield (passages of a document as literal loops have them, its blocks, share, its values by name) for each."""
    means, starts, found = by_hand
    for at, f, k, r, s in np.ndindex(found.shape[:-1]):
        within = slice(10, 30) if r == 0 else slice(0, 40)
        rows = means[starts[at] : starts[at + 1], within, k, f].tolist()
        passages = [[None if math.isnan(x) else x for x in row] for row in rows]
        yield passages, BLOCKS[within], SHARES[s], dict(zip(certainty.CERTAINTY, found[at, f, k, r, s]))


def test_the_jackknife_is_that_of_leaving_out_each_year(by_hand):
    for passages, _, share, found in kinds(by_hand):
        assert found["se_years"] == pytest.approx(literal.jackknife(passages, share))


def test_the_bootstrap_is_near_that_of_every_resample_and_a_passage_alone_has_none(by_hand):
    for passages, _, share, found in kinds(by_hand):
        if len(passages) == 1:
            assert math.isnan(found["se_passages"])
        else:
            exact = share == 1.0
            assert found["se_passages"] == pytest.approx(
                literal.bootstrap(passages, share), rel=1e-9 if exact else 0.03
            )


def test_the_null_is_near_that_of_every_order_of_blocks(by_hand):
    some = [case for case in kinds(by_hand)][::5]
    assert {share for _, _, share, _ in some} == set(SHARES)
    for passages, blocks, share, found in some:
        p, mean, spread = literal.null(passages, blocks, share)
        assert found["p_value"] == pytest.approx(p, abs=0.03)
        assert found["null_mean"] == pytest.approx(mean, abs=0.05 * spread)
        assert found["null_sd"] == pytest.approx(spread, rel=0.03)


def test_halves_are_every_other_passage(by_hand):
    for passages, _, share, found in kinds(by_hand):
        even, odd = literal.halves(passages, share)
        assert found["even"] == pytest.approx(even)
        assert math.isnan(found["odd"]) if odd is None else found["odd"] == pytest.approx(odd)


def test_z_and_the_second_measure_are_taken_among_the_documents_of_the_window():
    dice, kind = np.random.default_rng(4), len(standing.KINDS)
    of_years = {year: dice.normal(size=(count, kind)) for year, count in zip(range(1900, 1920, 2), [1, 2, 0, 3] * 3)}
    of_years[1902][0, :5] = np.nan
    for window in (0, 5):
        got = list(standing.standing(of_years, window))
        for i in (0, kind - 1):
            dated = [(y, None if math.isnan(x) else x) for y, rows in of_years.items() for x in rows[:, i].tolist()]
            for part in (0, 1):
                mine = np.concatenate([year[part][:, i] for year in got])
                theirs = [math.nan if pair[part] is None else pair[part] for pair in literal.standing(dated, window)]
                assert mine == pytest.approx(theirs, nan_ok=True)
    ratios = standing.log_ratio(
        {"novelty": np.array([-0.2, 0.1, -0.2]), "transience": np.array([-0.4, -0.4, 0.0])}, "cosine"
    )
    assert ratios == pytest.approx([math.log(2), math.nan, math.nan], nan_ok=True)
    ratios = standing.log_ratio({"novelty": np.array([0.4, 0.0]), "transience": np.array([0.1, 0.1])}, "kl")
    assert ratios == pytest.approx([math.log(4), math.nan], nan_ok=True)


@pytest.mark.parametrize("by_block", [True, False])
@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_changes_and_only_in_blocks_where_authors_write_for_years(by_block):
    """Five passages each; every author's years are alike to a document, and so are every document's to all authors."""
    dice, documents = np.random.default_rng(5), 400
    authors = np.repeat(np.arange(20), 2)
    of_author = dice.normal(size=(documents, 20))[:, authors]
    years = np.repeat(of_author, 5, axis=0) + 0.5 * dice.normal(size=(5 * documents, 40))
    means = np.broadcast_to(years[:, :, None, None], (*years.shape, 4, 3))
    blocks = authors.tolist() if by_block else list(range(40))
    found = certainty.certainty_of(np.arange(0, 5 * documents + 1, 5), means, triples_of(means), blocks)
    for share in (0, 1):
        p = found[:, 0, 0, 1, share, certainty.CERTAINTY.index("p_value")]
        assert (kstest(p, "uniform").pvalue > 0.05) == by_block, share
        assert ((p < 0.05).mean() > 0.1) != by_block


def test_years_of_one_main_author_are_a_block_and_gaps_do_not_part_them():
    class Folder:
        authors = {"a": {"x"}, "b": {"x", "y"}, "c": {"z"}, "d": set()}
        years = {
            1881: ["a"],
            1882: ["b"],
            1884: ["a", "c", "b"],
            1885: ["a", "c"],
            1886: ["c"],
            1887: ["d"],
            1888: ["c"],
        }

        def of_year(self, year):
            return self.years.get(year, [])

    blocks = certainty.blocks_of(Folder(), 1900)  # 1880 to 1920
    assert blocks[:9] == [0, 1, 1, 1, 1, 2, 3, 4, 5] and set(blocks[9:]) == {5}


# ---------------------------------------------------------------- the whole script


def dated_corpus(folder, turn, dice):
    """Write 100 years of two documents of two passages; from year to year their direction turns by so many radians."""
    made = Embedded(folder)
    for year in range(1850, 1950):
        for name in "ab":
            angle = turn * (year + 12 * (f"{name}{year}" == "a1900"))  # a1900 writes as others will in 1912
            direction = np.array([math.cos(angle), math.sin(angle), 0, 0, 0, 0])
            made.add(f"{name}{year}", year, 2 * (turn != 0) * direction + dice.normal(size=(2, 6)) * 0.4 + 0.5)
    return made.write()


@pytest.mark.slow
def test_a_corpus_without_change_has_uniform_p_values_and_the_spread_expected(tmp_path):
    made = dated_corpus(tmp_path, 0, np.random.default_rng(6))
    assert made.run("-s", 1870, "-e", 1930) == 0
    rows = [row for row in made.table() if row[3:7] == (1.0, "no filter", 20, 1.0)]
    p = [row[14] for row in rows]
    assert len(p) == 120 and kstest(p, "uniform").statistic < 0.15 and np.mean(np.array(p) < 0.05) < 0.12
    kinds = json.loads((made.out / "manifest.json").read_text())["kinds"]
    (kind,) = [kind for kind in kinds if [*kind.values()][:4] == [1.0, "no filter", 20, 1.0]]
    assert kind["documents"] == 120 and kind["share_below_05"] == np.mean(np.array(p) < 0.05)
    assert kind["spread"] == pytest.approx(np.std([row[7] for row in rows], ddof=1))
    assert kind["spread"] == pytest.approx(kind["expected_spread"], rel=0.15)


@pytest.mark.slow
def test_an_early_bird_is_found_and_everything_in_the_table_is_what_literal_loops_give(tmp_path):
    made = dated_corpus(tmp_path, 0.03, np.random.default_rng(7))
    assert made.run("-s", 1880, "-e", 1920, "--z-window", 3) == 0
    table = made.table()
    for radius in (10, 20):
        rows = [row for row in table if row[3:7] == (0.1, "no filter", radius, 1.0)]
        (bird,) = [row for row in rows if row[0] == "a1900"]
        assert bird[14] <= 0.01 and bird[15] == max(row[15] for row in rows if 1897 <= row[1] <= 1903)
        assert bird[16] > 0 and 0 < 2 * math.hypot(*bird[12:14]) < bird[7]
        z = [pair[1] for pair in literal.standing([(row[1], row[7]) for row in rows], 3)]
        assert [row[15] for row in rows] == pytest.approx(z, abs=1e-6)
        ratios = [(row[1], math.log(row[9] / row[8]) if max(row[8:10]) < 0 else None) for row in rows]
        ratios = [math.nan if pair[0] is None else pair[0] for pair in literal.standing(ratios, 3)]
        assert [math.nan if row[16] is None else row[16] for row in rows] == pytest.approx(
            ratios, abs=1e-6, nan_ok=True
        )


@pytest.mark.slow
def test_the_manifest_tells_reliability_and_spread(tmp_path):
    import pandas as pd

    made = dated_corpus(tmp_path, 0.03, np.random.default_rng(8))
    assert made.run("-s", 1880, "-e", 1920) == 0
    passages = pd.concat(map(pd.read_parquet, sorted((made.out / "passages").iterdir())))
    some = passages[(passages.fraction_compared == 0.1) & (passages.filtered == "train") & (passages.time_radius == 20)]
    even, odd = (some[some.chunknumber == number].sort_values("paperId").precocity.tolist() for number in (0, 1))
    kinds = json.loads((made.out / "manifest.json").read_text())["kinds"]
    (kind,) = [kind for kind in kinds if [*kind.values()][:4] == [0.1, "train", 20, 1.0]]
    assert kind["reliability"] == pytest.approx(literal.reliability(even, odd), abs=1e-5) and kind["reliability"] > 0.2
    assert kind["spread"] > kind["expected_spread"] > 0


def test_authors_who_are_corrected_or_kept_together_make_the_years_again(tmp_path):
    made = dated_corpus(tmp_path, 0, np.random.default_rng(9))
    assert made.run("-s", 1900, "-e", 1901) == 0
    before = {row[:7]: (row[7:14], row[14]) for row in made.table()}
    made.authors = {name: f"author {year // 8}" for name, year in made.documents}
    made.write()
    assert made.run("-s", 1900, "-e", 1901) == 0
    after = {row[:7]: (row[7:14], row[14]) for row in made.table()}
    assert [values for values, _ in after.values()] == [values for values, _ in before.values()]
    assert [p for _, p in after.values()] != [p for _, p in before.values()]
