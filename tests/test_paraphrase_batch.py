"""--batch submit, status and collect through the real client, against a stand-in that keeps to the protocol."""

import itertools
import json
import os
import subprocess
import time
from pathlib import Path

import generator_process
import pytest
from batch_server import BatchServer
from fault_server import BAD_REPLIES
from openai_server import refusal, shorten
from test_generator import FLAGGED, journal_of, run, table  # noqa: F401 (a fixture)
from test_paraphrase_faults import many_rows

import corpus
from paraphrase import batch as batches

PRICED = ("--price", "1/2")


@pytest.fixture
def server():
    with BatchServer() as running:
        yield running


def submitted(table, server, *flags):  # noqa: F811
    """Submit; return the id of the newest batch."""
    assert run(table, server, "--batch", "submit", *flags) == (0, None)
    return list(server.batches)[-1]


def forget(table):  # noqa: F811
    for path in table.parent.glob("paraphrased.tsv*"):
        path.unlink()


def test_submit_status_collect(table, server, capsys):  # noqa: F811
    name = submitted(table, server, *PRICED)
    assert len(server.requests) == 1  # one row the normal way
    lines = server.lines_of(server.batches[name])
    assert len(lines) == FLAGGED - 1 and lines[0]["method"] == "POST" and lines[0]["url"] == "/v1/chat/completions"
    assert run(table, server, "--batch", "status")[0] == 0
    assert f"{name}: in_progress, 0 done, 0 failed of 19, submitted" in capsys.readouterr().out
    assert run(table, server, "--batch", "collect") == (1, None)
    assert "not done yet; run with --batch collect again later" in capsys.readouterr().err
    server.end(name)
    status, rows = run(table, server, "--batch", "collect", *PRICED)
    assert status == 0 and len(rows) == 23 and len(server.requests) == 1
    entries = journal_of(table)
    assert sum(entry.get("verdict") == "accepted" for entry in entries) == FLAGGED
    costs = {entry.get("batch_id"): entry["cost"] for entry in entries if "key" in entry}
    assert costs[name] == costs[None] / 2 == pytest.approx(10e-6)
    sent = {line["custom_id"]: line["body"] for line in lines}
    kept = [entry for entry in entries if entry.get("batch_id")]
    assert all(entry["temperature"] == sent[entry["key"]]["temperature"] for entry in kept)
    assert all(entry["seed"] == sent[entry["key"]]["seed"] and entry["request_id"] for entry in kept)
    assert run(table, server, "--batch", "status")[0] == 0 and "no batch is open" in capsys.readouterr().out
    before = (table.parent / "paraphrased.tsv").read_bytes()
    assert run(table, server)[0] == 0 and (table.parent / "paraphrased.tsv").read_bytes() == before


def test_the_result_is_the_same_as_by_single_calls(table, server, tmp_path):  # noqa: F811
    assert run(table, server)[0] == 0
    single = (table.parent / "paraphrased.tsv").read_bytes()
    forget(table)
    server.end(submitted(table, server))
    assert run(table, server, "--batch", "collect")[0] == 0
    assert (table.parent / "paraphrased.tsv").read_bytes() == single


def test_while_a_batch_is_open_no_row_is_asked_for_another_way(table, server, capsys):  # noqa: F811
    name = submitted(table, server)
    assert run(table, server) == (2, None) and run(table, server, "--model", "other") == (2, None)
    assert "run with --batch collect first" in capsys.readouterr().err
    assert run(table, server, "--batch", "submit") == (2, None)
    assert f"batch {name} is open" in capsys.readouterr().err
    assert len(server.requests) == 1 and len(server.batches) == 1


def test_a_preview_asks_for_no_row_that_is_in_a_batch(table, server, capsys):  # noqa: F811
    submitted(table, server)
    assert run(table, server, "--preview", "5") == (2, None) and len(server.requests) == 1
    assert "run with --batch collect first" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--seed", "1"], ["--prompt-set", "fiction"], ["--model", "other"]])
def test_a_batch_is_collected_only_with_what_it_was_submitted_with(table, server, capsys, flags):  # noqa: F811
    name = submitted(table, server)
    server.end(name)
    assert run(table, server, "--batch", "collect", *flags) == (2, None)
    assert f"batch {name} was submitted with another {flags[0][2:].replace('-', '_')}"[:40] in capsys.readouterr().err
    assert run(table, server, "--batch", "collect")[0] == 0


def test_a_batch_costs_half_whatever_the_collection_is_told(table, server):  # noqa: F811
    name = submitted(table, server, *PRICED)
    server.end(name)
    assert run(table, server, "--batch", "collect")[0] == 0
    assert all(entry["cost"] == pytest.approx(10e-6) for entry in journal_of(table) if entry.get("batch_id"))


def test_a_submission_that_the_server_refuses_holds_nothing_up(table, server, capsys):  # noqa: F811
    from openai_server import Answer

    server.create = lambda asked: Answer(400, refusal("no"))
    assert run(table, server, "--batch", "submit") == (2, None)
    assert "refused by the server" in capsys.readouterr().err
    assert run(table, server)[0] == 0


def test_files_that_are_damaged_or_gone_are_one_sentence(table, server, capsys):  # noqa: F811
    name = submitted(table, server)
    server.end(name)
    file = server.batches[name]["output_file_id"]
    whole = server.files[file]
    server.files[file] = whole[:-20]
    assert run(table, server, "--batch", "collect") == (2, None)
    assert "run the same command again later, nothing is lost" in capsys.readouterr().err
    del server.files[file]
    assert run(table, server, "--batch", "collect") == (2, None)
    assert f"the server has deleted the batch's file {file}" in capsys.readouterr().err
    lines = whole.splitlines(keepends=True)
    odd = json.loads(lines[0])
    odd["response"]["body"] = {}
    server.files[file] = json.dumps(odd).encode() + b"\n" + b"".join(lines[1:])
    assert run(table, server, "--batch", "collect") == (1, None)
    assert [e["verdict"] for e in journal_of(table) if "key" in e].count("accepted") == FLAGGED - 1


def test_the_only_missing_row_needs_no_batch(table, server):  # noqa: F811
    assert run(table, server, "--limit", str(FLAGGED - 1))[0] == 1
    status, rows = run(table, server, "--batch", "submit")
    assert status == 0 and len(rows) == 23 and not server.batches


@pytest.mark.parametrize("leftovers", ["single calls", "another batch"])
def test_an_expired_batch_keeps_what_came_and_the_rest_goes_on(table, server, leftovers):  # noqa: F811
    server.end(submitted(table, server), "expired", answered=7)
    assert run(table, server, "--batch", "collect") == (1, None)
    assert sum("key" in entry for entry in journal_of(table)) == 8
    if leftovers == "single calls":
        assert run(table, server)[0] == 0 and len(server.requests) == 1 + 12
    else:
        name = submitted(table, server)
        assert len(server.lines_of(server.batches[name])) == 11 and len(server.requests) == 2
        server.end(name)
        assert run(table, server, "--batch", "collect")[0] == 0


def test_completed_without_an_output_file(table, server):  # noqa: F811
    name = submitted(table, server)
    server.reply = lambda request: (400, refusal("long", code="context_length_exceeded", param="messages"))
    server.end(name)
    assert "output_file_id" not in server.batches[name]
    assert run(table, server, "--batch", "collect") == (1, None)
    listed = (table.parent / "paraphrased.tsv.rejects.tsv").read_text().splitlines()[1:]
    assert len(listed) == 19 and all(line.endswith("refused by the server: context_length_exceeded") for line in listed)
    server.reply = shorten
    server.end(submitted(table, server))
    assert run(table, server, "--batch", "collect")[0] == 0


def test_bad_replies_are_rejected_and_a_refused_parameter_is_left_out_next_time(table, server):  # noqa: F811
    name = submitted(table, server)
    bad = iter([BAD_REPLIES["copy"], BAD_REPLIES["cut off"], BAD_REPLIES["no choices"]])

    def reply(request):
        if "temperature" in request and "passage 3 " in request["messages"][-1]["content"]:
            return 400, refusal("no", param="temperature", code="unsupported_value")
        fault = next(bad, None)
        return fault(request) if fault else shorten(request)

    server.reply = reply
    server.end(name)
    assert run(table, server, "--batch", "collect") == (1, None)
    verdicts = [entry["verdict"] for entry in journal_of(table) if "key" in entry]
    assert len(verdicts) == FLAGGED - 2 and verdicts.count("accepted") == FLAGGED - 5
    name = submitted(table, server)
    assert not any("temperature" in line["body"] for line in server.lines_of(server.batches[name]))
    server.end(name)
    assert run(table, server, "--batch", "collect")[0] == 0
    temperatures = [entry["temperature"] for entry in journal_of(table) if entry.get("batch_id") == name]
    assert set(temperatures) == {None}


def test_a_batch_that_fails_at_validation_gives_its_rows_back(table, server, caplog):  # noqa: F811
    server.fail(submitted(table, server), "token_limit_exceeded")
    assert run(table, server, "--batch", "collect") == (1, None)
    assert "token_limit_exceeded; submit again, with --limit where tokens are the limit" in caplog.text
    name = submitted(table, server, "--limit", "5")
    assert len(server.lines_of(server.batches[name])) == 4


def test_a_submission_that_was_cut_off_is_found_and_not_made_twice(table, server, capsys):  # noqa: F811
    """The batch was made, but the answer was lost on its way."""
    server.lost = True
    assert run(table, server, "--batch", "submit")[0] == 2
    assert "nothing is lost" in capsys.readouterr().err
    assert len(server.batches) == 1 and run(table, server)[0] == 2  # nothing is asked for before that is settled
    server.lost = False
    assert run(table, server, "--batch", "submit")[0] == 2 and len(server.batches) == 1
    server.end("batch_0")
    assert run(table, server, "--batch", "collect")[0] == 0


def test_limits_of_a_batch_make_several(table, server, monkeypatch):  # noqa: F811
    monkeypatch.setattr(batches, "MOST_REQUESTS", 8)
    submitted(table, server)
    assert [len(server.lines_of(batch)) for batch in server.batches.values()] == [8, 8, 3]
    for name in server.batches:
        server.end(name)
    assert run(table, server, "--batch", "collect")[0] == 0
    monkeypatch.setattr(batches, "MOST_BYTES", 3000)
    forget(table)
    submitted(table, server)
    sizes = [len(server.files[batch["input_file_id"]]) for batch in list(server.batches.values())[3:]]
    assert len(sizes) > 3 and max(sizes) <= 3000


def test_max_cost_bounds_what_is_submitted(table, server, caplog):  # noqa: F811
    submitted(table, server, "--price", "1/1", "--max-cost", "0.01")
    rows = len(server.lines_of(next(iter(server.batches.values()))))
    assert 4 <= rows < 15 and "--max-cost 0.01 covers no more rows" in caplog.text


def test_a_collection_that_is_killed_goes_on_and_counts_nothing_twice(table, server, monkeypatch):  # noqa: F811
    server.reply = lambda request: shorten(request) if "passage 1" in str(request) else "Sure, here."
    name = submitted(table, server)
    server.end(name)
    monkeypatch.setattr(batches, "TOGETHER", 5)
    written = batches.Journal.write

    def killed(journal, entries):
        written(journal, entries)
        if "key" in entries[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(batches.Journal, "write", killed)
    assert run(table, server, "--batch", "collect")[0] == 130
    monkeypatch.setattr(batches.Journal, "write", written)
    assert run(table, server, "--batch", "collect")[0] == 1
    keys = [entry["key"] for entry in journal_of(table) if entry.get("batch_id")]
    assert len(keys) == len(set(keys)) == FLAGGED - 1


def test_paid_answers_to_rows_that_are_gone_are_kept(table, server):  # noqa: F811
    name = submitted(table, server)
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [row for row in rows if row["paperId"] not in ("s2", "s3")])
    server.end(name)
    assert run(table, server, "--batch", "collect")[0] == 0
    gone = [entry for entry in journal_of(table) if entry.get("verdict") == "its row is no longer in the table"]
    assert len(gone) == 2 and all(entry["text"] for entry in gone)


def test_a_batch_that_the_server_does_not_know_is_named(table, server, capsys):  # noqa: F811
    name = submitted(table, server)
    server.batches.clear()
    assert run(table, server, "--batch", "collect") == (2, None)
    assert f"the server has no batch {name} under this key" in capsys.readouterr().err


def test_a_key_that_is_refused_shows_before_anything_is_uploaded(table, server, capsys):  # noqa: F811
    server.reply = lambda request: (401, refusal("bad"))
    assert run(table, server, "--batch", "submit") == (2, None)
    assert "refuses the key" in capsys.readouterr().err and not server.files


def test_two_steps_take_two_batches(table, server, tmp_path):  # noqa: F811
    flags = ("--prompt-set", "fiction")
    server.reply = lambda request: (
        request["messages"][-1]["content"] if "another name" in str(request["messages"]) else shorten(request)
    )
    for _ in range(2):
        server.end(submitted(table, server, *flags))
        last = run(table, server, "--batch", "collect", *flags)
    assert last[0] == 0 and len(last[1]) == 23


@pytest.mark.slow
def test_killed_at_any_moment_of_submit_and_collect(table, server, monkeypatch):  # noqa: F811
    """SIGKILL at the first, second … request or just after it; the end is the same and no row is paid for twice."""
    output, killed, hits = table.parent / "paraphrased.tsv", 0, []
    post, get = server.post, server.get
    monkeypatch.setattr(server, "post", lambda path, *rest: (hits.append(path), post(path, *rest))[1])
    monkeypatch.setattr(server, "get", lambda path: (hits.append(path), get(path))[1])
    for request, seconds in itertools.product(range(1, 7), (0, 0.02)):
        for action in ("submit", "collect"):
            hits.clear()
            running = generator_process.start(table, output, server.url, "--batch", action)
            while running.is_alive() and len(hits) < request:
                time.sleep(0.001)
            running.join(seconds)
            killed += running.exitcode is None
            running.kill()
            running.join()
            for name, batch in server.batches.items():
                if batch["status"] == "in_progress":
                    server.end(name, "expired", answered=3)
    deadline = time.time() + 120
    while not output.exists():
        assert time.time() < deadline
        for action in ("collect", "submit"):
            run(table, server, "--batch", action)
        for name, batch in server.batches.items():
            if batch["status"] == "in_progress":
                server.end(name)
    entries = [json.loads(line) for line in Path(f"{output}.journal.jsonl").read_text().splitlines()]
    accepted = [entry["key"] for entry in entries if entry.get("verdict") == "accepted"]
    assert len(accepted) == len(set(accepted)) == FLAGGED and killed > 6 and os.path.exists(f"{output}.json")


@pytest.mark.parametrize("action", ["submit", "collect"])
def test_a_full_disk_is_not_blamed_on_the_server(tmp_path, server, capsys, action):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "x", tmp_path]).returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        path, filler = many_rows(tmp_path / "pairs.tsv", 300), tmp_path / "filler"
        if action == "collect":
            server.end(submitted(path, server))
        there = os.statvfs(tmp_path)
        filler.write_bytes(os.urandom(there.f_bavail * there.f_frsize - 2**20 - 60_000))  # the journal reserves 1 MiB
        assert run(path, server, "--batch", action) == (2, None)
        said = capsys.readouterr().err
        assert f"{tmp_path}: No space left on device; make room there and run the same command again." in said
        filler.unlink()
        assert run(path, server, "--batch", action)[0] == 0
        assert len(server.requests) <= 2 and len(server.batches) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)
