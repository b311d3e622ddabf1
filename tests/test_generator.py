"""synthetic_data_generator.py against a real HTTP server: what is asked, what is kept, what is written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from openai_server import completion, refusal, shorten

import corpus
import synthetic_data_generator as generator

ROOT = Path(__file__).resolve().parents[1]
LONG = "one two three four five six seven eight nine ten " * 5


@pytest.fixture
def table(tmp_path):
    """Return a pair table with every category, and a function that runs the generator on it."""
    path = tmp_path / "pairs.tsv"
    rows = [("d1", 1900, f"a1 {LONG}", f"b1 {LONG}", "successive")]
    rows += [(f"s{i}", 1900, f"passage {i} {LONG}", "generate", "single-synthetic") for i in range(6)]
    rows += [(f"t{i}", 1900, "generate", f"verso passage {i} {LONG}", "single-synthetic") for i in range(6)]
    rows += [(f"p{i}", 1900, f"left {i} {LONG}", f"right {i} {LONG}", "synthetic-pair") for i in range(8)]
    rows += [("r1", 1900, f"a2 {LONG}", f"b2 {LONG}", "random-pair"), ("d1", 1900, "NA", '"q"', "successive")]
    corpus.write_pairs(path, [dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows])
    return path


FLAGGED = 20


def run(table, server, *flags):
    """Run the generator; return its status and the rows written, None where there is no table."""
    output = table.parent / "paraphrased.tsv"
    url = getattr(server, "url", server)
    status = generator.main(["-d", str(table), "-o", str(output), "--base-url", url, "--model", "m", *flags])
    return status, (corpus.read_pairs(output) if output.exists() else None)


def journal_of(table):
    lines = (table.parent / "paraphrased.tsv.journal.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_flagged_cell_is_paraphrased_and_nothing_else_changes(table, server):
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED
    originals = corpus.read_pairs(table)
    assert [row["paperId"] for row in rows] == [row["paperId"] for row in originals]
    for old, new in zip(originals, rows):
        changed = [cell for cell in ("anchor", "positive") if old[cell] != new[cell]]
        if old["category"] in ("successive", "random-pair"):
            assert changed == [] and new["system_prompt"] == new["temperature"] == new["model"] == ""
            continue
        (cell,) = changed
        source = old[cell]
        if old["category"] == "single-synthetic":
            assert source == "generate"
            source = old["positive" if cell == "anchor" else "anchor"]
        assert new[cell] == shorten({"messages": [{"content": source}]})
        assert new["system_prompt"] in generator.PROMPTS and new["model"] == "m-2026"
        assert 0.5 <= float(new["temperature"]) <= 0.7
    cells = [n for o, n in zip(originals, rows) if o["category"] == "synthetic-pair"]
    both = Counter(row["anchor"] == f"left {row['paperId'][1:]} {LONG}" for row in cells)
    assert both[True] and both[False]  # the cell is drawn
    assert {row["system_prompt"] for row in rows} == {"", *generator.PROMPTS}  # and so is the prompt


def test_the_same_seed_asks_the_same(table, server):
    run(table, server)
    first = {json.dumps(request, sort_keys=True) for request in server.requests}
    (table.parent / "paraphrased.tsv.journal.jsonl").unlink()
    server.requests.clear()
    run(table, server)
    assert {json.dumps(request, sort_keys=True) for request in server.requests} == first


def test_a_second_run_asks_for_nothing_and_writes_the_same(table, server):
    run(table, server)
    written = (table.parent / "paraphrased.tsv").read_bytes()
    status, _ = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED
    assert (table.parent / "paraphrased.tsv").read_bytes() == written


def test_only_changed_rows_are_asked_again(table, server):
    run(table, server)
    rows = corpus.read_pairs(table)
    rows[3]["anchor"] += " changed"
    corpus.write_pairs(table, rows[::-1])  # the order doesn't matter either
    run(table, server)
    assert len(server.requests) == FLAGGED + 1


def test_limit_asks_for_so_many_and_says_that_work_is_left(table, server, capsys):
    assert run(table, server, "--limit", "5") == (1, None)
    assert len(server.requests) == 5 and "15 rows lack a paraphrase" in capsys.readouterr().err
    assert run(table, server)[0] == 0 and len(server.requests) == FLAGGED


def test_a_killed_run_goes_on_where_it_was(table, server):
    server.reply = lambda request: (time.sleep(0.05), shorten(request))[1]
    output = table.parent / "paraphrased.tsv"
    command = [sys.executable, "synthetic_data_generator.py", "-d", table, "-o", output, "--base-url", server.url]
    running = subprocess.Popen([*command, "--concurrency", "2"], cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(server.requests) < 8:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = len(journal_of(table))
    assert 4 <= kept < FLAGGED and not output.exists()
    server.requests.clear()
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(server.requests) == FLAGGED - kept


def test_a_torn_last_line_of_the_journal_is_asked_again(table, server):
    run(table, server)
    journal = table.parent / "paraphrased.tsv.journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-7])
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(server.requests) == FLAGGED + 1
    assert len(journal_of(table)) == FLAGGED


def test_a_damaged_journal_is_never_passed_over(table, server, capsys):
    run(table, server)
    journal = table.parent / "paraphrased.tsv.journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], "garbage", *lines[2:]]) + "\n")
    assert run(table, server)[0] == 2
    assert "journal.jsonl, line 2: not a journal entry" in capsys.readouterr().err


def test_two_runs_on_one_output_are_refused(table, server, capsys):
    with open(table.parent / "paraphrased.tsv.journal.jsonl", "ab") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(table, server) == (2, None)
    assert "is in use by another run" in capsys.readouterr().err and not server.requests


# ---- replies that can't serve

SOURCE = " ".join(f"word{i}" for i in range(60))


@pytest.mark.parametrize(
    ("text", "finish_reason", "verdict"),
    [
        ("A short new text.", "stop", "accepted"),
        ("A short new text.", "length", "finish reason length"),
        ("A short new text.", "content_filter", "finish reason content_filter"),
        ("", "stop", "empty"),
        ("generate", "stop", "empty"),
        ("Sure! Trade grew.", "stop", "talks about the passage"),
        ("I'm sorry, but no.", "stop", "talks about the passage"),
        ("The passage says that trade grew.", "stop", "talks about the passage"),
        ("Condensed passage: trade grew.", "stop", "talks about the passage"),
        (SOURCE, "stop", "copy of the source"),
        (" ".join(SOURCE.split()[:20]), "stop", "copy of the source"),
        (SOURCE.replace("word", "term"), "stop", "not shorter than the source"),
        ("Sure, trade grew.", "stop", "talks about the passage"),
        ("Here is a condensed version: trade grew.", "stop", "talks about the passage"),
        ("I cannot help with that.", "stop", "talks about the passage"),
        ("The author describes trade.", "stop", "talks about the passage"),
        ("Surely the nation will grow.", "stop", "accepted"),
        ("I cannot recommend this bill.", "stop", "accepted"),
        ("The passage of the bill was delayed.", "stop", "accepted"),
        ("Here is where the treaty began.", "stop", "accepted"),
        ("The sentence was commuted.", "stop", "accepted"),
    ],
)
def test_verdicts(text, finish_reason, verdict):
    assert generator.verdict_on(text, finish_reason, SOURCE) == verdict


def test_a_very_short_source_needs_no_shorter_paraphrase():
    assert generator.verdict_on("Trade has grown since.", "stop", "Trade grew.") == "accepted"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<think>hm\nhm</think>\nTrade\tgrew.\r\n", "Trade grew."),
        ("hm, hm</think>Trade grew.", "Trade grew."),
        ("Trade\ud83d grew.\0", "Trade? grew."),
        ('"Trade grew."', "Trade grew."),
        ('"Trade" and "war"', '"Trade" and "war"'),
    ],
)
def test_replies_become_one_line(reply, text):
    assert generator.clean(reply) == text


def test_a_rejected_reply_is_asked_again_with_another_seed(table, server):
    seen = Counter()

    def reply(request):
        seen[request["messages"][-1]["content"]] += 1
        return shorten(request) if seen[request["messages"][-1]["content"]] > 1 else "Sure, here it is."

    server.reply = reply
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(server.requests) == 2 * FLAGGED
    assert Counter(entry["verdict"] for entry in journal_of(table)) == {
        "accepted": FLAGGED,
        "talks about the passage": FLAGGED,
    }
    assert len({request["seed"] for request in server.requests}) == 2 * FLAGGED


def test_rows_without_paraphrase_keep_the_table_from_being_written(table, server, capsys):
    server.reply = lambda request: "" if "passage 2" in request["messages"][-1]["content"] else shorten(request)
    assert run(table, server) == (1, None)
    assert "2 rows lack a paraphrase" in (errors := capsys.readouterr().err) and "--accept-rejects drop" in errors
    asked = len(server.requests)
    assert asked == FLAGGED - 2 + 2 * 3
    status, rows = run(table, server, "--accept-rejects", "drop")
    assert status == 0 and len(rows) == 21 and len(server.requests) == asked  # no reply is paid for twice
    assert "s2" not in {row["paperId"] for row in rows}
    record = corpus.read_json(table.parent / "paraphrased.tsv.json")
    assert record["counts"]["dropped_without_paraphrase"] == 2
    assert "generate" not in {row[cell] for row in rows for cell in ("anchor", "positive")}


def test_a_reply_without_choices_or_content_is_rejected_not_crashed_on(table, server):
    replies = iter([(200, completion({"model": "m"}, None)), (200, completion({"model": "m"}, "x") | {"choices": []})])
    lock = threading.Lock()

    def reply(request):
        with lock:
            return next(replies, None) or shorten(request)

    server.reply = reply
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(server.requests) == FLAGGED + 2


# ---- servers that refuse


def test_a_refused_parameter_is_left_out_and_never_reported_as_applied(table, server):
    def reply(request):
        for name in ("temperature", "max_completion_tokens"):
            if name in request:
                return 400, refusal(f"no {name}", param=name, code="unsupported_parameter")
        return shorten(request)

    server.reply = reply
    status, rows = run(table, server, "--concurrency", "4")
    assert status == 0 and {row["temperature"] for row in rows} == {""}
    answered = [request for request in server.requests if not {"temperature", "max_completion_tokens"} & set(request)]
    assert len(answered) == FLAGGED and {request["max_tokens"] for request in answered} == {768}


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, refusal("bad key sk-123"), "refuses the key (HTTP 401)"),
        (403, refusal("no"), "refuses the key (HTTP 403)"),
        (404, refusal("no model"), "has no model 'm' (HTTP 404)"),
        (429, refusal("pay", code="insufficient_quota", type="insufficient_quota"), "quota is used up"),
        (200, "<html>portal</html>", "answers with a page"),
    ],
)
def test_faults_of_every_call_stop_the_run_and_keep_what_there_is(
    table, server, capsys, monkeypatch, status, body, sentence
):
    monkeypatch.setattr(generator, "CLIENT_RETRIES", 0)  # the openai package retries quota errors with its back-off
    run(table, server, "--limit", "5")
    server.reply = lambda request: (status, body)
    capsys.readouterr()
    assert run(table, server, "--concurrency", "1") == (2, None)
    errors = capsys.readouterr().err.strip().splitlines()
    assert sentence in errors[-1] and "5 paraphrases are kept" in errors[-1] and "sk-123" not in errors[-1]
    assert len(server.requests) == 6  # one refusal is enough
    server.reply = shorten
    assert run(table, server)[0] == 0 and len(server.requests) == 6 + FLAGGED - 5


def test_no_server_is_one_sentence(table, capsys, monkeypatch):
    monkeypatch.setattr(generator, "CLIENT_RETRIES", 0)
    assert run(table, "http://127.0.0.1:9/v1") == (2, None)
    assert "no server answers at http://127.0.0.1:9/v1" in capsys.readouterr().err


def test_a_busy_server_is_asked_again_and_a_row_it_refuses_fails_alone(table, server, capsys):
    busy = iter([(503, refusal("busy")), (429, refusal("slow down", code="rate_limit_exceeded"))])
    lock = threading.Lock()

    def reply(request):
        with lock:
            answer = next(busy, None)
        if answer:
            return answer
        if "passage 1 " in request["messages"][-1]["content"]:
            return 400, refusal("context length exceeded", code="context_length_exceeded")
        return shorten(request)

    server.reply = reply
    assert run(table, server) == (1, None)
    assert "2 rows lack a paraphrase (2 × BadRequestError 400)" in capsys.readouterr().err
    server.reply = shorten
    assert run(table, server)[0] == 0  # a failed call uses up no try


def test_without_key_and_server_it_says_what_to_set(table, capsys, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert generator.main(["-d", str(table), "-o", str(table.parent / "out.tsv")]) == 2
    assert "set OPENAI_API_KEY" in capsys.readouterr().err


def test_a_reply_cut_off_on_its_way_fails_its_row_and_no_other(table, server, capsys):
    cut = iter([(200, '{"id": "chatcmpl')])
    lock = threading.Lock()

    def reply(request):
        with lock:
            return next(cut, None) or shorten(request)

    server.reply = reply
    assert run(table, server, "--concurrency", "4") == (1, None)
    assert "1 rows lack a paraphrase" in capsys.readouterr().err and len(journal_of(table)) == FLAGGED - 1
    assert run(table, server)[0] == 0 and len(server.requests) == FLAGGED + 1


def test_another_model_gets_tries_of_its_own_and_keeps_what_was_paid_for(table, server, caplog):
    server.reply = lambda request: "" if "passage 2" in request["messages"][-1]["content"] else shorten(request)
    assert run(table, server)[0] == 1
    server.requests.clear()
    server.reply = shorten
    status, rows = run(table, server, "--model", "better")
    assert status == 0 and len(rows) == 23 and {request["model"] for request in server.requests} == {"better"}
    assert len(server.requests) == 2 and "18 paraphrases kept from an earlier run were written by m" in caplog.text


def test_every_row_without_paraphrase_is_listed(table, server):
    server.reply = lambda request: ""
    assert run(table, server)[0] == 1
    listed = (table.parent / "paraphrased.tsv.rejects.tsv").read_text().splitlines()
    assert len(listed) == 1 + FLAGGED and listed[1].split("\t")[:3] == ["2", "s0", "single-synthetic"]
    assert listed[1].endswith("empty; empty; empty")
    server.reply = shorten
    assert run(table, server, "--tries", "4")[0] == 0
    assert not (table.parent / "paraphrased.tsv.rejects.tsv").exists()


@pytest.mark.parametrize("address", ["http://me:secret@127.0.0.1:9/v1", "http://127.0.0.1:9/v1?key=secret"])
def test_an_address_with_a_secret_in_it_is_refused_without_printing_it(table, capsys, caplog, address):
    assert run(table, address) == (2, None)
    captured = capsys.readouterr()
    assert "put the key into OPENAI_API_KEY" in captured.err
    assert "secret" not in captured.out + captured.err + caplog.text


def test_the_key_goes_to_the_server_and_nowhere_else(table, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert generator.main(["-d", str(table), "-o", str(table.parent / "paraphrased.tsv")]) == 0
    assert server.headers[0]["Authorization"] == "Bearer sk-secret-1"
    captured = capsys.readouterr()
    written = "".join(path.read_text() for path in table.parent.iterdir() if path.is_file())
    assert "sk-secret-1" not in captured.out + captured.err + written


@pytest.mark.parametrize("cells", [("generate", "generate"), ("a b", "c d")])
def test_a_row_without_exactly_one_cell_to_generate_is_named(tmp_path, capsys, cells):
    path = tmp_path / "pairs.tsv"
    corpus.write_pairs(path, [dict(zip(corpus.PAIR_COLUMNS, ("d9", 1900, *cells, "single-synthetic")))])
    assert generator.main(["-d", str(path), "-o", str(tmp_path / "out.tsv")]) == 2
    assert "pair 1 (d9) is single-synthetic" in capsys.readouterr().err


def test_a_table_with_nothing_to_paraphrase_needs_no_key(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "pairs.tsv"
    corpus.write_pairs(path, [dict(zip(corpus.PAIR_COLUMNS, ("d", 1900, "a", "b", "successive")))])
    assert generator.main(["-d", str(path), "-o", str(tmp_path / "out.tsv")]) == 0
    assert len(corpus.read_pairs(tmp_path / "out.tsv")) == 1
    assert os.path.exists(tmp_path / "out.tsv.json")
