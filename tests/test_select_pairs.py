"""The selection method of formats.md §2, rule by rule."""

import json
import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
import select_training_pairs_final as final
import select_training_pairs_no_paraphrase as nopara
import selection
from corpus import Document
from script import InputError


def documents_of(lengths, first_year=1900, per_year=3):
    """Return (document, passages) for a corpus of these lengths, `per_year` documents in each year."""
    return [(Document(f"d{i}", first_year + i // per_year, f"d{i}.txt"), length) for i, length in enumerate(lengths)]


def candidates_of(corpus_, seed=0):
    return [c for document, length in corpus_ for c in final.document_candidates(document, length, seed)]


corpora = st.lists(st.integers(0, 60), min_size=1, max_size=80).map(documents_of)
seeds = st.integers(0, 10**6)

# ---- one document


@given(st.integers(2, 300), st.integers(1, 60), st.integers(1, 3), seeds)
def test_pairs_of_a_document_keep_their_distance(passages, wanted, gap, seed):
    starts = selection.spaced_starts(passages, wanted, gap, random.Random(seed))
    assert all(0 <= start <= passages - 2 for start in starts)
    assert all(b - a >= gap + 2 for a, b in zip(starts, starts[1:]))
    assert len(starts) == min(wanted, (passages + gap) // (gap + 2))  # fewer only if no more fit


def test_every_placement_is_equally_likely():
    dice = random.Random(1)
    drawn = Counter(tuple(selection.spaced_starts(9, 2, 2, dice)) for _ in range(15000))
    placements = {(a, b) for a in range(8) for b in range(a + 4, 8)}
    assert set(drawn) == placements and len(placements) == 10
    assert all(abs(count - 1500) < 200 for count in drawn.values())  # five standard deviations


@given(st.integers(2, 200), seeds)
def test_a_document_gives_one_pair_for_eight_passages(passages, seed):
    found = final.document_candidates(Document("d", 1900, "d.txt"), passages, seed)
    if found[0].is_random:
        assert passages <= 20 and len(found) == 1 and found[0].first != found[0].second
    else:
        assert len(found) == math.ceil(passages / 8)
        assert all(c.second == c.first + 1 for c in found)
        assert all(b.first - a.second > 2 for a, b in zip(found, found[1:]))


def test_documents_of_one_passage_and_of_none():
    document = Document("d", 1900, "d.txt")
    assert final.document_candidates(document, 0, 0) == []
    (only,) = final.document_candidates(document, 1, 0)
    assert only.is_single and not only.is_random


def test_about_two_in_a_hundred_short_documents_are_random_pairs_and_no_long_one():
    short = candidates_of(documents_of([20] * 5000))
    long = candidates_of(documents_of([21] * 5000))
    assert 60 <= sum(c.is_random for c in short) <= 140  # 100 expected, four standard deviations
    assert not any(c.is_random for c in long)


@given(corpora, seeds)
def test_candidates_depend_on_seed_and_paper_id_alone(corpus_, seed):
    alone = {d.paper_id: final.document_candidates(d, n, seed) for d, n in corpus_}
    shuffled = random.Random(seed).sample(corpus_, len(corpus_))
    together = defaultdict(list)
    for candidate in candidates_of(shuffled, seed):
        together[candidate.document.paper_id].append(candidate)
    assert all(alone[paper_id] == together[paper_id] for paper_id in alone)


def test_half_of_the_pairs_are_swapped_and_the_seed_matters():
    pairs = candidates_of(documents_of([16] * 1000))
    assert 0.46 < sum(c.swapped for c in pairs) / len(pairs) < 0.54
    assert [c.first for c in pairs] != [c.first for c in candidates_of(documents_of([16] * 1000), seed=1)]


# ---- leveling


def test_the_limit_is_the_published_41st_of_118_years():
    sizes = random.Random(0).sample(range(1000), 118)
    assert selection.year_limit(sizes, 10**6, selection.LEVEL_QUANTILE) == sorted(sizes)[40]


@pytest.mark.parametrize(
    ("sizes", "most", "quantile", "limit"),
    [
        ([5], 100, 41 / 118, 5),  # one year: no crash on a corpus of 40 years or fewer
        ([1, 2, 3], 100, 41 / 118, 2),
        ([1, 2, 3], 100, 1.0, 3),
        ([1, 2, 3], 2, 1.0, 2),
        ([1, 2, 3], 100, 0.0, 1),
    ],
)
def test_limits_counted_by_hand(sizes, most, quantile, limit):
    assert selection.year_limit(sizes, most, quantile) == limit


@given(corpora, st.integers(1, 10), st.floats(0, 1), seeds)
def test_no_year_exceeds_the_limit_and_none_is_cut_below_it(corpus_, most, quantile, seed):
    pairs = candidates_of(corpus_, seed)
    if not pairs:
        with pytest.raises(InputError, match="no document has passages"):
            selection.level_years(pairs, most, quantile)
        return
    before = Counter(c.document.year for c in pairs)
    after = Counter(c.document.year for c in selection.level_years(pairs, most, quantile))
    limit = selection.year_limit(list(before.values()), most, quantile)
    assert after == {year: min(size, limit) for year, size in before.items()}


# ---- shares


@given(corpora, st.floats(0, 0.9), seeds)
@settings(max_examples=200)
def test_the_share_of_paraphrase_is_exact_and_even_over_the_decades(corpus_, share, seed):
    pairs = without_surplus(candidates_of(corpus_, seed), share)
    eligible = [c for c in pairs if not c.is_random]
    if round(len(pairs) * share) > len(eligible):
        with pytest.raises(InputError, match="--paraphrase-share"):
            final.assign_categories(pairs, share)
        return
    chosen = final.assign_categories(pairs, share)
    count = Counter(category for _, category in chosen)
    paraphrased = count["single-synthetic"] + count["synthetic-pair"]
    assert len(chosen) == len(pairs)
    assert abs(paraphrased - share * len(pairs)) <= 1
    assert abs(count["single-synthetic"] - 0.8 * paraphrased) <= 1
    assert all((category == "random-pair") == c.is_random for c, category in chosen)
    assert all(category == "single-synthetic" for c, category in chosen if c.is_single)
    for decade in {c.decade for c in pairs}:
        group = [(c, category) for c, category in chosen if c.decade == decade]
        flagged = sum(category in ("single-synthetic", "synthetic-pair") for _, category in group)
        room = sum(not c.is_random for c, _ in group)
        forced = sum(c.is_single for c, _ in group)
        # If no decade is forced above its share or is too small for it, none is off by more than one pair.
        if flagged not in (forced, room) and all_free(chosen, share):
            assert abs(flagged - share * len(group)) < 1 + 1e-9


def without_surplus(pairs, share):
    surplus = final.surplus_singles(pairs, share)
    return [pair for pair in pairs if pair.document.paper_id not in surplus]


def all_free(chosen, share):
    """Tell whether each decade has enough pairs for its share and no more one-passage documents than its share."""
    for decade in {c.decade for c, _ in chosen}:
        group = [c for c, _ in chosen if c.decade == decade]
        if not sum(c.is_single for c in group) <= 0.8 * share * len(group) <= sum(not c.is_random for c in group) - 1:
            return False
    return True


def test_too_many_one_passage_documents_are_dropped_not_drifted_with():
    pairs = final.choose_pairs(candidates_of(documents_of([1] * 50 + [16] * 50)), 1000, 1.0, 0.10)
    chosen = Counter(category for _, category in final.assign_categories(pairs, 0.10))
    assert chosen["single-synthetic"] + chosen["synthetic-pair"] == round(0.10 * len(pairs))
    assert sum(c.is_single for c in pairs) == chosen["single-synthetic"] > 0


def test_what_is_dropped_is_made_up_for_so_that_the_years_stay_level():
    """Ten years have a hundred ordinary pairs each; three of them also have hundreds of one-passage documents."""
    ordinary = [(Document(f"d{i}", 1900 + i % 10, f"d{i}.txt"), 16) for i in range(500)]
    short = [(Document(f"s{i}", 1900 + i % 3, f"s{i}.txt"), 1) for i in range(1200)]
    pairs = final.choose_pairs(candidates_of(ordinary + short), 80, 1.0, 0.10)
    assert set(Counter(c.document.year for c in pairs).values()) == {80}
    assert final.surplus_singles(pairs, 0.10) == set()


@given(corpora, st.integers(1, 10), st.floats(0, 1), seeds, st.data())
def test_adding_a_document_changes_as_little_as_possible(corpus_, most, quantile, seed, data):
    """Other years keep their pairs; the document's own year loses no more pairs than the document adds."""
    year = data.draw(st.sampled_from(sorted({d.year for d, n in corpus_ if n} or {1900})))
    new = Document("new", year, "new.txt")
    if not candidates_of(corpus_, seed) or year not in {c.document.year for c in candidates_of(corpus_, seed)}:
        return

    def leveled(documents):
        pairs = selection.level_years(candidates_of(documents, seed), most, quantile)
        return {(c.document.year, c.document.paper_id, c.first) for c in pairs}

    lost = leveled(corpus_) - leveled([*corpus_, (new, 9)])
    assert {lost_year for lost_year, _, _ in lost} <= {year}
    assert len(lost) <= len(final.document_candidates(new, 9, seed))


# ---- the script


def run_final(corpus_folder, *flags, output="pairs.tsv"):
    path = corpus_folder.folder / output
    status = final.main([*flags, *corpus_folder.flags, "-o", str(path)])
    return status, (corpus.read_pairs(path) if path.exists() else None)


def filled(corpus_folder, documents=60, passages=16):
    for i in range(documents):
        corpus_folder.add(f"d{i}", 1900 + i // 2, passages)
    return corpus_folder


def test_the_table_has_neighbors_with_their_texts_and_one_cell_to_generate(corpus_folder):
    status, rows = run_final(filled(corpus_folder), "100", "--level-quantile", "1", "--paraphrase-share", "0.2")
    assert status == 0
    count = Counter(row["category"] for row in rows)
    assert (count["single-synthetic"], count["synthetic-pair"]) == (round(0.8 * round(0.2 * len(rows))), 5)
    for row in rows:
        assert list(row) == list(corpus.PAIR_COLUMNS)
        cells = [row["anchor"], row["positive"]]
        if row["category"] == "single-synthetic":
            assert cells.count("generate") == 1
        elif row["category"] != "random-pair":
            numbers = sorted(int(cell.rsplit(" ", 1)[1]) for cell in cells)
            assert all(cell.startswith(row["paperId"] + " ") for cell in cells)
            assert numbers[1] == numbers[0] + 1
    assert {row["category"] for row in rows if row["anchor"] == "generate"} == {"single-synthetic"}
    assert any(row["positive"] == "generate" for row in rows)


def test_the_table_does_not_depend_on_the_order_of_the_metadata(corpus_folder):
    run_final(filled(corpus_folder), "3")
    table = (corpus_folder.folder / "pairs.tsv").read_bytes()
    random.Random(5).shuffle(corpus_folder.rows)
    corpus_folder.write()
    run_final(corpus_folder, "3", output="again.tsv")
    assert (corpus_folder.folder / "again.tsv").read_bytes() == table
    run_final(corpus_folder, "3", "--seed", "1", output="other.tsv")
    assert (corpus_folder.folder / "other.tsv").read_bytes() != table


def test_the_record_lies_beside_the_table(corpus_folder):
    _, rows = run_final(filled(corpus_folder, 10), "100")
    record = json.loads((corpus_folder.folder / "pairs.tsv.json").read_text())
    assert record["counts"]["documents"] == 10 and record["counts"]["passages"] == 160
    assert record["counts"]["pairs"] == len(rows) and record["arguments"]["seed"] == 0


def test_limit_reads_so_many_documents(corpus_folder):
    _, rows = run_final(filled(corpus_folder), "100", "--level-quantile", "1", "--limit", "4")
    assert {row["paperId"] for row in rows} <= {"d0", "d1", "d2", "d3"}
    assert json.loads((corpus_folder.folder / "pairs.tsv.json").read_text())["counts"]["documents"] == 4


def test_a_corpus_of_missing_files_is_an_error_and_writes_nothing(corpus_folder, capsys):
    corpus_folder.add("a", 1900, 0)
    (corpus_folder.chunks / "a.txt").unlink()
    status, rows = run_final(corpus_folder, "10")
    assert (status, rows) == (2, None)
    assert "no document has passages to pair" in capsys.readouterr().err


def test_bad_input_is_one_line_on_stderr_and_status_2(corpus_folder, capsys):
    corpus_folder.add("a", 1900, 3)
    (corpus_folder.chunks / "a.txt").write_text("no tab here\n")
    status, _ = run_final(corpus_folder, "10")
    errors = capsys.readouterr().err.strip().splitlines()
    assert status == 2 and "Traceback" not in "".join(errors)
    assert errors[-1].startswith("select_training_pairs_final.py: ") and "a.txt, line 1: no tab" in errors[-1]


# ---- without paraphrase


def run_nopara(corpus_folder, *flags):
    path = corpus_folder.folder / "nopara.tsv"
    status = nopara.main([*flags, *corpus_folder.flags, "-o", str(path)])
    return status, (corpus.read_pairs(path) if path.exists() else None)


def test_it_has_as_many_pairs_a_year_as_the_set_it_matches(corpus_folder):
    for i in range(40):
        corpus_folder.add(f"d{i}", 1900 + i // 4, 3 + i % 30)
        corpus_folder.add(f"one{i}", 1900 + i // 4, 1)
    _, rows = run_final(corpus_folder, "7", "--paraphrase-share", "0.3", "--level-quantile", "1")
    status, plain = run_nopara(corpus_folder, "--match", str(corpus_folder.folder / "pairs.tsv"))
    assert status == 0 and {row["category"] for row in plain} == {"successive"}
    assert Counter(row["year"] for row in plain) == Counter(row["year"] for row in rows)
    spans = defaultdict(list)
    for row in plain:
        numbers = sorted(int(row[cell].rsplit(" ", 1)[1]) for cell in ("anchor", "positive"))
        assert numbers[1] == numbers[0] + 1
        spans[row["paperId"]].append(numbers)
    for pairs in spans.values():
        assert all(b[0] - a[1] > 1 for a, b in zip(sorted(pairs), sorted(pairs)[1:]))


def test_a_year_of_too_few_pairs_is_named_or_allowed(corpus_folder, capsys):
    corpus_folder.add("a", 1900, 2).add("b", 1901, 1)
    match = corpus_folder.folder / "match.tsv"
    rows = [dict(zip(corpus.PAIR_COLUMNS, ("x", year, "a", "b", "successive"))) for year in (1900, 1901)]
    corpus.write_pairs(match, rows)
    assert run_nopara(corpus_folder, "--match", str(match)) == (2, None)
    assert "1 pairs of the --match set have no counterpart, years 1901 (1)" in capsys.readouterr().err
    status, plain = run_nopara(corpus_folder, "--match", str(match), "--allow-shortfall")
    assert status == 0 and [row["year"] for row in plain] == ["1900"]
    record = json.loads((corpus_folder.folder / "nopara.tsv.json").read_text())
    assert record["counts"]["pairs_lacking_by_year"] == {"1901": 1}


def test_a_short_year_places_its_pairs_more_densely(corpus_folder):
    corpus_folder.add("a", 1900, 11)  # one for eight: 2 pairs; at most (11 + 1) // 3 = 4
    match = corpus_folder.folder / "match.tsv"
    corpus.write_pairs(match, [dict(zip(corpus.PAIR_COLUMNS, ("x", 1900, "a", "b", "successive")))] * 4)
    status, plain = run_nopara(corpus_folder, "--match", str(match))
    assert status == 0 and len(plain) == 4


def test_an_empty_set_to_match_is_an_error(corpus_folder, capsys):
    corpus_folder.add("a", 1900, 8)
    corpus.write_pairs(corpus_folder.folder / "match.tsv", [])
    assert run_nopara(corpus_folder, "--match", str(corpus_folder.folder / "match.tsv")) == (2, None)
    assert "no pair is left" in capsys.readouterr().err


def test_odd_files_are_counted_once(corpus_folder):
    corpus_folder.add("a", 1900, 8)
    (corpus_folder.chunks / "a.txt").write_text("".join(f"{9 - i}\tpass\0age {i}\n" for i in range(8)))
    assert run_nopara(corpus_folder, "5")[0] == 0
    counts = json.loads((corpus_folder.folder / "nopara.tsv.json").read_text())["counts"]
    assert (counts["nul_bytes_removed"], counts["documents_with_disordered_indices"]) == (8, 1)


def test_without_a_set_to_match_the_years_are_leveled(corpus_folder):
    status, plain = run_nopara(filled(corpus_folder), "3", "--level-quantile", "1")
    assert status == 0 and set(Counter(row["year"] for row in plain).values()) == {3}


def test_n_or_match_but_not_both(corpus_folder, capsys):
    with pytest.raises(SystemExit) as stop:
        run_nopara(corpus_folder.add("a", 1900, 4))
    assert stop.value.code == 2 and "either N or --match" in capsys.readouterr().err
