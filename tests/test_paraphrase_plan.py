"""The plan: rows read again by their place in the file are the rows that a pass through the table gave."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
import synthetic_data_generator as generator
from paraphrase.plan import Draw, PairTable, Place, Places, following
from paraphrase.prompts import Prompt, read_prompts
from script import InputError

PROMPTS = read_prompts(Path(__file__).resolve().parents[1] / "prompts.toml", "fiction")
CELL = st.text(st.sampled_from("ab é“日\t\n\r\"'\u2028\ufeff"), min_size=1, max_size=12).map(lambda text: f"x{text}")


def flagged(path):
    """Return the requests of a pass through the table, and the table and places to read them again."""
    pairs, places = PairTable(path, Draw(0, "fiction", PROMPTS)), Places()
    requests = []
    for place, row, request in pairs.rows():
        if request:
            places.add(place)
            requests.append((row, request))
    return requests, pairs, places


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, st.sampled_from(corpus.CATEGORIES)), min_size=1, max_size=8),
    mark=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    times=st.integers(1, 2),
)
def test_any_row_is_found_again_at_its_place(tmp_path_factory, rows, mark, end, quoting, times):
    path = tmp_path_factory.mktemp("plan") / "pairs.tsv"
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator=end, quoting=quoting)
    writer.writerow((*corpus.PAIR_COLUMNS, "own"))
    for anchor, positive, category in rows * times:
        positive = "generate" if category == "single-synthetic" else positive
        writer.writerow(("d1", 1900, anchor, positive, category, "é"))
        text.write(end * (category == "synthetic-pair"))  # an empty line
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    requests, pairs, places = flagged(path)
    assert len({request.key for _, request in requests}) == len(requests) == len(places)
    assert list(pairs.at(places)) == requests
    assert list(pairs.at(list(places)[::-1])) == requests[::-1]


def test_a_table_that_is_replaced_during_a_run_is_refused(tmp_path):
    path = tmp_path / "pairs.tsv"
    rows = [dict(zip(corpus.PAIR_COLUMNS, ("d", 1900, f"a{i}", "generate", "single-synthetic"))) for i in range(3)]
    corpus.write_pairs(path, rows)
    _, pairs, places = flagged(path)
    corpus.write_pairs(path, rows)
    for again in (pairs.at(places), pairs.rows()):
        with pytest.raises(InputError, match="was changed during this run; run again"):
            list(again)


def test_keys_stay_so_that_replies_that_were_paid_for_are_found():
    """Whoever changes these digests makes every user pay again. The earlier ones are those of 3a788ec."""
    system, second = Prompt("first", "Be brief.", then="second", examples=(("a", "b"),)), Prompt("second", "Rename.")
    draw = Draw(7, "mine", {"first": system, "second": second})
    row = dict(zip(corpus.PAIR_COLUMNS, ("d1", "1900", "a passage", "its neighbor", "synthetic-pair")))
    request = draw.earlier_request(row, Place(0, 0))
    assert request.key.startswith("20dfeeb8fe941cd2")
    assert following(request, "a reply").key.startswith("16d56b1fa1ff6011")
    assert (request.cell, request.temperature, request.seed) == ("anchor", 0.67, 613429655)
    assert draw.facts()["prompts"] == "dc38525cbcd6fd28"
    request = draw.request(row, Place(0, 0))
    assert request.key.startswith("d5afc4322fe293d2")
    assert following(request, "a reply").key.startswith("b073b0931b16a127")
    assert (request.cell, request.temperature, request.seed) == ("anchor", 0.66, 1473590438)


def test_a_key_is_made_of_the_text_and_what_it_is_asked_with():
    draw = Draw(7, "fiction", PROMPTS)
    row = dict(zip(corpus.PAIR_COLUMNS, ("d1", "1900", "a passage", "generate", "single-synthetic")))
    same = [{}, {"year": "1850"}, {"paperId": "d2"}, {"anchor": "generate", "positive": "a passage"}]
    assert len({draw.request(row | change, Place(0, 0)).key for change in same}) == 1
    other = [draw.request(row | {"anchor": "another"}, Place(0, 0)), draw.request(row, Place(0, 0, texts=2))]
    other += [Draw(8, "fiction", PROMPTS).request(row, Place(0, 0))]
    assert len({request.key for request in [draw.request(row, Place(0, 0)), *other]}) == 4


def test_rows_that_share_a_source_are_asked_for_one_by_one(tmp_path):
    path = tmp_path / "pairs.tsv"
    rows = [(f"d{i}", 1900, "one passage", "generate", "single-synthetic") for i in range(5)]
    rows += [(f"d{i}", 1900, "one passage", f"neighbor {i}", "synthetic-pair") for i in range(40)]
    corpus.write_pairs(path, [dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows])
    requests, _, _ = flagged(path)
    assert len({request.key for _, request in requests}) == 45
    assert sum(request.source == "one passage" for _, request in requests) > 10


def test_a_run_goes_through_the_pair_table_once_to_survey_and_once_to_write(tmp_path, server, monkeypatch):
    path, passes, pairs_in = tmp_path / "pairs.tsv", [], corpus.pairs_in
    rows = [dict(zip(corpus.PAIR_COLUMNS, ("d", 1900, f"a{i}", "generate", "single-synthetic"))) for i in range(3)]
    corpus.write_pairs(path, rows)
    monkeypatch.setattr(corpus, "pairs_in", lambda lines, where: (passes.append(where), pairs_in(lines, where))[1])
    command = ["-d", str(path), "-o", str(tmp_path / "out.tsv"), "--base-url", server.url]
    assert generator.main(command) == 0 and len(server.requests) == 3
    assert passes == [path] * 2
