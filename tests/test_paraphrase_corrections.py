"""Paraphrases that a person corrected in the finished table are kept, and nothing else in it is destroyed."""

import csv

import pytest
from openai_server import shorten
from test_generator import FLAGGED, PROMPTS, journal_of, run, table  # noqa: F401 (a fixture)

import corpus
import script
import synthetic_data_generator as generator

MINE = "A person's own words. They are better."


def paraphrased(table):  # noqa: F811
    return table.parent / "paraphrased.tsv"


def edit(table, paper_id, **cells):  # noqa: F811
    """Change cells of the finished table's row of a document, as a text editor would."""
    rows = corpus.read_pairs(paraphrased(table))
    next(row for row in rows if row["paperId"] == paper_id).update(cells)
    corpus.write_pairs(paraphrased(table), rows, corpus.PARAPHRASED_COLUMNS)


def paraphrase_cell(table, paper_id):  # noqa: F811
    """Return which cell of a row was paraphrased."""
    rows = [
        next(r for r in corpus.read_pairs(path) if r["paperId"] == paper_id) for path in (table, paraphrased(table))
    ]
    return next(cell for cell in ("anchor", "positive") if rows[0][cell] != rows[1][cell])


def row_of(rows, paper_id):
    return next(row for row in rows if row["paperId"] == paper_id)


def correct(table, *paper_ids):  # noqa: F811
    for paper_id in paper_ids:
        edit(table, paper_id, **{paraphrase_cell(table, paper_id): MINE})


def test_a_corrected_paraphrase_is_kept_and_named(table, server, caplog):  # noqa: F811
    run(table, server)
    cells = {paper_id: paraphrase_cell(table, paper_id) for paper_id in ("s0", "t3", "p5")}
    before = corpus.read_pairs(paraphrased(table))
    correct(table, *cells)
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED
    for old, new in zip(before, rows):
        changed = {cells[old["paperId"]]: MINE, "model": "corrected by hand"} if old["paperId"] in cells else {}
        assert new == old | changed
    assert "kept 3 paraphrases corrected by hand" in caplog.text and "(s0, t3, p5)" in caplog.text
    assert script.read_json(f"{paraphrased(table)}.json")["counts"]["corrected_by_hand"] == 3
    written, kept = paraphrased(table).read_bytes(), len(journal_of(table))
    caplog.clear()
    assert run(table, server)[0] == 0 and paraphrased(table).read_bytes() == written
    assert len(journal_of(table)) == kept == FLAGGED + 3 and "kept" not in caplog.text
    paraphrased(table).unlink()  # the journal has it all
    assert run(table, server)[0] == 0 and paraphrased(table).read_bytes() == written
    assert len(server.requests) == FLAGGED


def test_a_correction_can_be_corrected_and_taken_back(table, server):  # noqa: F811
    before = row_of(run(table, server)[1], "s1")
    for text in (MINE, "Other words. Of my own.", before["positive"]):
        edit(table, "s1", positive=text)
        assert row_of(run(table, server)[1], "s1")["positive"] == text
    assert len(server.requests) == FLAGGED


@pytest.mark.parametrize("change", ["seed", "prompts", "pairs", "order"])
def test_a_correction_outlives_other_prompts_seeds_and_pairs(table, server, tmp_path, change):  # noqa: F811
    """What was corrected is never asked for again; the other rows are the new run's."""
    run(table, server)
    cells = {paper_id: paraphrase_cell(table, paper_id) for paper_id in ("s0", "p0", "p1", "p2", "p3")}
    correct(table, "s0", "p0", "p1")
    flags, asked = [], 0
    if change == "seed":
        flags, asked = ["--seed", "7"], FLAGGED - 3
    elif change == "prompts":
        (tmp_path / "own.toml").write_text("[mine.short]\nsystem = 'Be brief.'\n")
        flags, asked = ["--prompts", str(tmp_path / "own.toml"), "--prompt-set", "mine"], FLAGGED - 3
    else:
        rows = corpus.read_pairs(table)
        more = [row_of(rows, "s2") | {"paperId": "new"}] if change == "pairs" else []
        corpus.write_pairs(table, more + (rows if change == "pairs" else rows[::-1]))
        asked = len(more)
    server.requests.clear()
    for _ in (1, 2):
        status, rows = run(table, server, *flags)
        assert status == 0 and len(server.requests) == asked
        corrected = [row["paperId"] for row in rows if MINE in (row["anchor"], row["positive"])]
        assert sorted(corrected) == ["p0", "p1", "s0"]
        assert all(row_of(rows, one)[cells[one]] == MINE for one in corrected)
        assert sum(row["model"] == "corrected by hand" for row in rows) == 3
    correct(table, "s4")
    status, rows = run(table, server)
    assert status == 0 and row_of(rows, "s4")["positive"] == row_of(rows, "s0")["positive"] == MINE
    assert len(server.requests) == asked


def test_a_table_that_a_spreadsheet_saved_again_is_the_same(table, server, caplog):  # noqa: F811
    run(table, server)
    written = paraphrased(table).read_bytes()
    with open(paraphrased(table), encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))
    with open(paraphrased(table), "w", encoding="utf-8-sig", newline="") as lines:
        csv.writer(lines, delimiter="\t").writerows(rows)
    assert paraphrased(table).read_bytes() != written
    assert run(table, server)[0] == 0 and paraphrased(table).read_bytes() == written
    assert len(journal_of(table)) == FLAGGED and "kept" not in caplog.text


def test_texts_that_were_exchanged_are_corrections_too(table, server):  # noqa: F811
    rows = run(table, server)[1]
    texts = [row_of(rows, paper_id)["positive"] for paper_id in ("s0", "s1")]
    edit(table, "s0", positive=texts[1])
    edit(table, "s1", positive=texts[0])
    rows = run(table, server)[1]
    assert [row_of(rows, paper_id)["positive"] for paper_id in ("s1", "s0")] == texts


def without_record(path):
    path.with_name("paraphrased.tsv.json").unlink()


def with_an_older_record(path):
    record = path.with_name("paraphrased.tsv.json")
    told = script.read_json(record)
    del told["sha256"]
    script.write_json(record, told)


@pytest.mark.parametrize("older", [without_record, with_an_older_record])
def test_a_table_of_an_older_version_is_compared_with_the_journal(table, server, older):  # noqa: F811
    run(table, server)
    written = paraphrased(table).read_bytes()
    older(paraphrased(table))
    assert run(table, server)[0] == 0 and paraphrased(table).read_bytes() == written
    correct(table, "s2")
    older(paraphrased(table))
    assert row_of(run(table, server)[1], "s2")["positive"] == MINE and len(server.requests) == FLAGGED


def test_a_table_that_came_without_its_journal_is_taken_as_it_is(table, server):  # noqa: F811
    rows = run(table, server)[1]
    for path in table.parent.glob("paraphrased.tsv.*"):
        path.unlink()
    status, again = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED
    assert [row | {"model": ""} for row in again] == [row | {"model": ""} for row in rows]


@pytest.mark.parametrize(
    ("paper_id", "cells"),
    [
        ("r1", {"anchor": "another passage"}),
        ("s0", {"anchor": "another passage"}),
        ("s0", {"paperId": "other"}),
        ("s0", {"year": "1950"}),
        ("s0", {"positive": "generate"}),
        ("s0", {"category": "random-pair"}),
    ],
)
def test_what_is_no_correction_of_a_paraphrase_is_refused_and_left_alone(table, server, capsys, paper_id, cells):  # noqa: F811
    run(table, server)
    correct(table, "s5")
    edit(table, paper_id, **cells)
    edited = paraphrased(table).read_bytes()
    assert run(table, server)[0] == 2 and paraphrased(table).read_bytes() == edited
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("synthetic_data_generator.py:")]
    assert "paraphrased.tsv" in line and f"{cells.get('paperId', paper_id)})" in line and "Move the table" in line
    paraphrased(table).rename(table.parent / "aside.tsv")
    status, rows = run(table, server)
    assert status == 0 and row_of(rows, "s5")["positive"] == MINE and len(server.requests) == FLAGGED


def test_a_pair_that_is_gone_is_named_once_and_corrections_stay(table, server, capsys):  # noqa: F811
    """Whether the row was changed by hand or left the pair table can't be told, so the person decides."""
    run(table, server)
    correct(table, "s0", "t1")
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [row for row in rows if row["paperId"] not in ("s3", "t1")])
    assert run(table, server)[0] == 2
    assert "2 rows match no row of the pair table (first: row 5, s3)" in capsys.readouterr().err
    paraphrased(table).rename(table.parent / "aside.tsv")
    for _ in (1, 2):
        status, rows = run(table, server)
        assert status == 0 and len(rows) == 21 and row_of(rows, "s0")["positive"] == MINE
    assert len(server.requests) == FLAGGED


@pytest.mark.parametrize("rows", [slice(0, -1), slice(0, 22)])
def test_rows_that_were_deleted_or_added_are_refused_and_left_alone(table, server, capsys, rows):  # noqa: F811
    written = run(table, server)[1]
    kept = written[rows] if rows.stop == -1 else [*written, written[2]]
    corpus.write_pairs(paraphrased(table), kept, corpus.PARAPHRASED_COLUMNS)
    assert run(table, server)[0] == 2 and corpus.read_pairs(paraphrased(table)) == kept
    errors = capsys.readouterr().err
    assert ("1 row fewer than was written" if rows.stop == -1 else "(first: row 24, s1)") in errors
    assert "Move the table" in errors


def test_a_table_that_is_damaged_is_refused_and_left_alone(table, server, capsys):  # noqa: F811
    run(table, server)
    half = paraphrased(table).read_bytes()[:1000]
    paraphrased(table).write_bytes(half)
    command = ["-d", str(table), "-o", str(paraphrased(table)), "--base-url", server.url, "--model", "m"]
    assert generator.main(command) == 2 and paraphrased(table).read_bytes() == half
    assert "Move the table" in capsys.readouterr().err


def test_a_paraphrase_written_for_a_row_that_had_none(table, server):  # noqa: F811
    server.reply = lambda request: "" if "passage 2" in request["messages"][-1]["content"] else shorten(request)
    assert run(table, server, "--accept-rejects", "keep-original")[0] == 0
    asked = len(server.requests)
    edit(table, "s2", positive=MINE)
    status, rows = run(table, server, "--accept-rejects", "keep-original")
    assert status == 0 and row_of(rows, "s2")["positive"] == MINE and len(server.requests) == asked
    assert row_of(rows, "t2")["anchor"] == row_of(rows, "t2")["positive"]
    status, rows = run(table, server, "--accept-rejects", "drop")
    assert status == 0 and len(rows) == 22
    correct(table, "s0")
    status, rows = run(table, server, "--accept-rejects", "drop")
    assert status == 0 and len(rows) == 22 and row_of(rows, "s0")["positive"] == MINE


def test_columns_and_looks_of_the_table_count_as_well(table, server, capsys):  # noqa: F811
    rows = run(table, server)[1]
    corpus.write_pairs(paraphrased(table), [row | {"note": ""} for row in rows], (*rows[0], "note"))
    assert run(table, server)[0] == 0  # nothing in it that would be lost
    rows[3]["note"] = "bad"
    corpus.write_pairs(paraphrased(table), [{"note": ""} | row for row in rows], (*corpus.PARAPHRASED_COLUMNS, "note"))
    assert run(table, server)[0] == 2 and f"{rows[3]['paperId']})" in capsys.readouterr().err


def test_a_look_changes_nothing(table, server):  # noqa: F811
    run(table, server)
    correct(table, "s0")
    before = {path.name: path.read_bytes() for path in table.parent.iterdir()}
    run(table, server, "--dry-run")
    assert {path.name: path.read_bytes() for path in table.parent.iterdir()} == before


def test_a_correction_of_a_row_in_two_steps(table, server):  # noqa: F811
    flags = ("--prompt-set", "fiction")
    server.reply = lambda request: (
        request["messages"][-1]["content"] if "another name" in str(request["messages"]) else shorten(request)
    )
    run(table, server, *flags)
    correct(table, "t0")
    status, rows = run(table, server, *flags)
    assert status == 0 and row_of(rows, "t0")["anchor"] == MINE and row_of(rows, "t0")["system_prompt"] in PROMPTS
    assert len(server.requests) == 2 * FLAGGED
