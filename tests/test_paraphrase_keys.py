"""Nothing is paid for twice: not after a corrected year, and not with a journal that an earlier version wrote."""

import hashlib
import json
from contextlib import contextmanager

import pytest
from batch_server import BatchServer
from openai_server import OpenAIServer, shorten
from test_generator import FLAGGED, LONG, journal_of, run, table  # noqa: F401 (a fixture)
from test_paraphrase_corrections import MINE, correct, edit, paraphrase_cell, paraphrased, row_of

import corpus
import script
from paraphrase.plan import Draw


def in_steps(request):
    """Answer the second step of fiction with what it is given."""
    return request["messages"][-1]["content"] if "another name" in str(request["messages"]) else shorten(request)


def change(table, **cells):  # noqa: F811
    corpus.write_pairs(table, [row | cells for row in corpus.read_pairs(table)])


@contextmanager
def earlier_version():
    """Let the generator draw and name its requests as earlier versions did."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draw, "request", Draw.earlier_request)
        yield


@pytest.mark.parametrize("cells", [{"year": 1850}, {"paperId": "renamed"}])
@pytest.mark.parametrize("prompts", ["scholarly", "fiction"])
def test_a_corrected_year_or_name_costs_nothing(table, server, cells, prompts):  # noqa: F811
    server.reply = in_steps
    before = run(table, server, "--prompt-set", prompts)[1]
    asked = len(server.requests)
    change(table, **cells)
    corpus.write_pairs(table, corpus.read_pairs(table)[::-1])
    status, rows = run(table, server, "--prompt-set", prompts)
    assert status == 0 and len(server.requests) == asked
    as_text = {name: str(value) for name, value in cells.items()}
    assert rows[::-1] == [row | as_text for row in before]


def test_a_corrected_year_does_not_cost_a_correction_by_hand(table, server, caplog):  # noqa: F811
    run(table, server)
    cells = {paper_id: paraphrase_cell(table, paper_id) for paper_id in ("s1", "p2")}
    correct(table, *cells)
    change(table, year=1850)
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED and {row["year"] for row in rows} == {"1850"}
    assert all(row_of(rows, paper_id)[cell] == MINE for paper_id, cell in cells.items())
    assert "kept 2 paraphrases corrected by hand" in caplog.text


def test_another_name_does_not_cost_a_correction_by_hand(table, server):  # noqa: F811
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [*rows, row_of(rows, "s1") | {"paperId": "reprint"}])
    run(table, server)
    cells = {paper_id: paraphrase_cell(table, paper_id) for paper_id in ("s1", "p2")}
    correct(table, *cells)
    run(table, server)
    corpus.write_pairs(table, [row | {"paperId": f"new-{row['paperId']}"} for row in corpus.read_pairs(table)])
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED + 1
    assert all(row_of(rows, f"new-{paper_id}")[cell] == MINE for paper_id, cell in cells.items())
    assert row_of(rows, "new-reprint")["positive"] != MINE


def test_a_correction_that_an_earlier_version_kept_by_name_is_found(table, server):  # noqa: F811
    run(table, server)
    journal = table.parent / "paraphrased.tsv.journal.jsonl"
    row = row_of(corpus.read_pairs(table), "s1")
    told = "\t".join(["1", "s1", row["category"], row["anchor"], row["positive"]])
    entry = {"event": "corrected", "row": hashlib.sha256(told.encode()).hexdigest()[:32], "cell": "positive"}
    entry |= {"model": "corrected by hand", "system_prompt": "", "temperature": "", "text": MINE}
    journal.write_text(journal.read_text() + json.dumps(entry) + "\n")
    assert row_of(run(table, server)[1], "s1")["positive"] == MINE
    edit(table, "s1", positive="Other words. Of my own.")
    assert row_of(run(table, server)[1], "s1")["positive"] == "Other words. Of my own."
    assert len(server.requests) == FLAGGED


@pytest.mark.parametrize("prompts", ["scholarly", "fiction"])
def test_a_journal_of_an_earlier_version_is_taken_up(table, server, prompts):  # noqa: F811
    flags, server.reply = ("--prompt-set", prompts), in_steps
    with earlier_version():
        before = run(table, server, *flags)[1]
    written, asked = paraphrased(table).read_bytes(), len(server.requests)
    for _ in (1, 2):
        assert run(table, server, *flags) == (0, before) and len(server.requests) == asked
        assert paraphrased(table).read_bytes() == written
    change(table, year=1850)
    assert run(table, server, *flags) == (0, [row | {"year": "1850"} for row in before])
    assert len(server.requests) == asked


def test_half_a_journal_of_an_earlier_version_is_taken_up(table, server):  # noqa: F811
    server.reply = lambda request: "Sure! Here." if "passage 1 " in str(request) else shorten(request)
    with earlier_version():
        run(table, server, "--limit", "12", "--tries", "2")
    half = len(server.requests)
    rejected = sum(entry["verdict"] != "accepted" for entry in journal_of(table))
    assert rejected and run(table, server, "--tries", "2")[0] == 1
    kept = [entry["verdict"] == "accepted" for entry in journal_of(table) if "verdict" in entry]
    assert len(server.requests) == len(kept) and sum(kept) == FLAGGED - 2  # s1 and t1, each with two tries
    assert len(kept) - sum(kept) == 4 and half < len(kept)
    assert run(table, server, "--tries", "2", "--accept-rejects", "drop")[0] == 0
    assert len(server.requests) == len(kept)


def test_a_batch_that_an_earlier_version_submitted_is_collected(table):  # noqa: F811
    with BatchServer() as server:
        with earlier_version():
            assert run(table, server, "--batch", "submit") == (0, None)
        server.end(next(iter(server.batches)))
        status, rows = run(table, server, "--batch", "collect")
        assert status == 0 and len(rows) == 23 and len(server.requests) == 1
        entries = [entry for entry in journal_of(table) if "key" in entry]
        assert len(entries) == FLAGGED and {entry["verdict"] for entry in entries} == {"accepted"}
        change(table, year=1850)
        assert run(table, server) == (0, [row | {"year": "1850"} for row in rows]) and len(server.requests) == 1


def test_a_copy_of_a_passage_is_asked_for_and_nobody_is_said_to_have_corrected_it(table, server, caplog):  # noqa: F811
    run(table, server)
    correct(table, "s4")
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [row_of(rows, "s2") | {"paperId": "reprint"}, *rows])
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED + 1 and len(rows) == 24
    assert "kept 1 paraphrase corrected by hand" in caplog.text and "(s4)" in caplog.text


# ---- the pair table that a paraphrased table was made from


def test_a_paraphrased_table_tells_whether_it_was_made_from_a_pair_table(table, server):  # noqa: F811
    assert corpus.is_made_from(paraphrased(table), table) is None  # not made yet
    run(table, server)
    assert corpus.is_made_from(paraphrased(table), table) is True
    assert script.read_json(script.record_path(paraphrased(table)))["pairs_sha256"] == script.file_digest(table)
    change(table, year=1850)
    assert corpus.is_made_from(paraphrased(table), table) is False
    run(table, server)
    assert corpus.is_made_from(paraphrased(table), table) is True
    record = script.read_json(script.record_path(paraphrased(table)))
    del record["pairs_sha256"]  # as earlier versions wrote it
    script.write_json(script.record_path(paraphrased(table)), record)
    assert corpus.is_made_from(paraphrased(table), table) is None
    assert corpus.is_made_from(paraphrased(table), table.with_name("gone.tsv")) is None


def test_a_pair_table_of_another_seed_is_told_from_that_of_the_first(corpus_folder, tmp_path):
    import select_training_pairs_final as final
    import synthetic_data_generator as generator

    for i in range(20):
        corpus_folder.add(f"d{i}", 1900, [f"passage {n} of {i} {LONG}" for n in range(20)])
    pairs, output = tmp_path / "pairs.tsv", tmp_path / "out.tsv"
    with OpenAIServer() as server:
        for seed in ("0", "1"):
            assert final.main(["400", *corpus_folder.flags, "--seed", seed, "-o", str(pairs)]) == 0
            assert corpus.is_made_from(output, pairs) is (None if seed == "0" else False)
            command = ["-d", str(pairs), "-o", str(output), "--base-url", server.url, "--model", "m"]
            assert generator.main(command) == 0 and corpus.is_made_from(output, pairs) is True
