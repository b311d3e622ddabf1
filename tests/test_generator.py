"""synthetic_data_generator.py against a real HTTP server: what is asked, what is kept, what is written."""

import contextlib
import json
import os
import threading
import time
from collections import Counter

import generator_process
import pytest
from openai_server import completion, refusal, shorten

import corpus
import lock
import script
import synthetic_data_generator as generator
from paraphrase import asking, progress
from paraphrase.address import OPENAI
from paraphrase.plan import Request
from paraphrase.prompts import read_prompts
from paraphrase.server import Server, call_body, client_options

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
PROMPTS = ("condense-4-5", "condense-2-3")


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
        assert new["system_prompt"] in PROMPTS and new["model"] == "m-2026"
        assert 0.5 <= float(new["temperature"]) <= 0.7
    cells = [n for o, n in zip(originals, rows) if o["category"] == "synthetic-pair"]
    both = Counter(row["anchor"] == f"left {row['paperId'][1:]} {LONG}" for row in cells)
    assert both[True] and both[False]  # the cell is drawn
    assert {row["system_prompt"] for row in rows} == {"", *PROMPTS}  # and so is the prompt


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


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(table, server):
    server.reply = lambda request: (time.sleep(0.05), shorten(request))[1]
    output = table.parent / "paraphrased.tsv"
    running = generator_process.start(table, output, server.url, "--concurrency", "2")
    while len(server.requests) < 8:
        time.sleep(0.01)
    running.kill()
    running.join()
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


def test_two_runs_on_one_output_are_refused_and_on_two_are_not(table, server, capsys):
    with lock.alone_in(table.parent, "paraphrased.tsv"):
        assert run(table, server) == (2, None)
        assert "is in use by process" in capsys.readouterr().err and not server.requests
        assert generator.main(["-d", str(table), "-o", str(table.parent / "other.tsv"), "--base-url", server.url]) == 0
    assert run(table, server)[0] == 0 and not list(table.parent.glob(".*"))


# ---- replies that can't serve


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
        "talks to the user": FLAGGED,
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
    record = script.read_json(table.parent / "paraphrased.tsv.json")
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
        (200, "<html>portal</html>", "answers with a page instead of a completion"),
    ],
)
def test_faults_of_every_call_stop_the_run_and_keep_what_there_is(
    table, server, capsys, monkeypatch, status, body, sentence
):
    monkeypatch.setattr(asking, "RETRIES", 0)
    run(table, server, "--limit", "5")
    server.reply = lambda request: (status, body)
    capsys.readouterr()
    assert run(table, server, "--concurrency", "1") == (2, None)
    errors = capsys.readouterr().err.strip().splitlines()
    assert sentence in errors[-1] and "5 paraphrases are kept" in errors[-1] and "sk-123" not in errors[-1]
    asked = len(server.requests)
    assert asked == (5 + asking.DEAD if status == 200 else 6)  # one refusal is enough, a page may be one row's bad luck
    server.reply = shorten
    assert run(table, server)[0] == 0 and len(server.requests) == asked + FLAGGED - 5


@pytest.mark.slow
def test_no_server_is_one_sentence(table, capsys, monkeypatch):
    monkeypatch.setattr(asking, "RETRIES", 0)
    assert run(table, "http://127.0.0.1:9/v1") == (2, None)
    assert "no server answers at http://127.0.0.1:9/v1" in capsys.readouterr().err


@pytest.mark.slow
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
    assert "2 rows lack a paraphrase" in capsys.readouterr().err
    server.reply = shorten
    assert run(table, server, "--tries", "4")[0] == 0


def test_without_key_and_server_it_says_what_to_set(table, capsys, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert generator.main(["-d", str(table), "-o", str(table.parent / "out.tsv")]) == 2
    assert "set OPENAI_API_KEY" in capsys.readouterr().err


def test_another_model_gets_tries_of_its_own_and_keeps_what_was_paid_for(table, server, caplog):
    server.reply = lambda request: "" if "passage 2" in request["messages"][-1]["content"] else shorten(request)
    assert run(table, server)[0] == 1
    server.requests.clear()
    server.reply = shorten
    status, rows = run(table, server, "--model", "better")
    assert status == 0 and len(rows) == 23 and {request["model"] for request in server.requests} == {"better"}
    assert len(server.requests) == 2 and "18 paraphrases kept from an earlier run were written by m" in caplog.text


def test_every_row_without_paraphrase_is_listed(table, server):
    server.reply = lambda request: "Sure, here it is."
    assert run(table, server, "--concurrency", "60")[0] == 1  # so many under way at once that it doesn't stop before
    listed = (table.parent / "paraphrased.tsv.rejects.tsv").read_text().splitlines()
    assert len(listed) == 1 + FLAGGED and listed[1].split("\t")[:3] == ["2", "s0", "single-synthetic"]
    assert listed[1].endswith("talks to the user; talks to the user; talks to the user")
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


# ---- looking first


def dry_run(table, capsys, *flags):
    command = ["-d", str(table), "-o", str(table.parent / "paraphrased.tsv"), "--dry-run", *flags]
    status = generator.main(command)
    return status, {line[:28].strip(): line[28:].strip() for line in capsys.readouterr().out.splitlines()}


def test_a_dry_run_counts_estimates_and_calls_nobody(table, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    status, told = dry_run(table, capsys)
    assert status == 0 and [path.name for path in table.parent.iterdir()] == ["pairs.tsv"]
    assert told["successive"] == "2, left as they are" and told["random-pair"] == "1, left as they are"
    assert told["single-synthetic"] == "12, to be paraphrased" and told["synthetic-pair"] == "8, to be paraphrased"
    assert told["calls"] == "20 with gpt-6-luna" and told["paraphrases so far"] == "0 of 20 rows"
    assert told["tokens"].endswith("2,600 out (4 characters a token, 130 tokens a reply, none rejected)")
    assert "at $0.10 in and $0.50 out a million" in told["price"] and "with --batch submit" in told["price"]
    assert told["model's shutdown date"].startswith("not announced (2026-")
    assert told["time at --concurrency 16"] == "2 s (2 s a call)"
    assert "2026-12-11" in dry_run(table, capsys, "--model", "gpt-5-nano")[1]["model's shutdown date"]
    told = dry_run(table, capsys, "--model", "mine", "--base-url", "http://127.0.0.1:9/v1")[1]
    assert told["price"].startswith("not known") and "model's shutdown date" not in told
    told = dry_run(table, capsys, "--limit", "5", "--prompt-set", "fiction")[1]
    assert told["calls"] == "10 with gpt-6-luna"  # two steps a row


def test_a_dry_run_goes_by_what_came_so_far(table, server, capsys):
    server.reply = lambda request: (time.sleep(0.02), shorten(request))[1]
    assert run(table, server, "--price", "1/2")[0] == 0
    rows = corpus.read_pairs(table)
    more = [row | {"paperId": f"more{i}"} for i, row in enumerate(rows)]
    corpus.write_pairs(table, rows + more)
    told = dry_run(table, capsys, "--model", "m", "--base-url", server.url, "--price", "1/2")[1]
    assert told["paraphrases so far"] == "20 of 40 rows" and told["calls"] == "20 with m"
    assert "100 out (as with the 20 replies so far, rejected ones included)" in told["tokens"]
    assert told["time at --concurrency 16"].endswith("(as so far)") and len(server.requests) == FLAGGED


def test_a_preview_shows_sources_beside_paraphrases_and_stops(table, server, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run(table, server, "--preview", "3") == (0, None)
    shown = capsys.readouterr().out
    assert len(server.requests) == 3 and shown.count("temperature") == 3
    body = [line for line in shown.splitlines() if "|" in line]
    assert all(line.index("|") == 49 and len(line) <= 100 for line in body)
    sources, replies = (" ".join(line.split("|")[side].strip() for line in body) for side in (0, 1))
    assert "one two three" in sources and "ones twos threes" in replies
    assert run(table, server, "--preview", "3")[0] == 0
    assert capsys.readouterr().out == shown and len(server.requests) == 3  # kept, and drawn from the seed
    assert run(table, server)[0] == 0 and len(server.requests) == FLAGGED
    server.reply = lambda request: "Sure, here."
    assert run(table, server, "--preview", "1", "--seed", "9")[0] == 1
    body = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert " ".join(body).strip() == "(talks to the user; talks to the user; talks to the user)"


# ---- money


def test_max_cost_is_never_passed_and_counts_earlier_runs(table, server, capsys):
    """A reply costs 20 of a million; at worst, and that is what counts before a call, some 600 + 2 × 768."""
    flags = ("--price", "1/2", "--concurrency", "4")
    assert run(table, server, *flags, "--max-cost", "0.0023") == (2, None)
    assert "--max-cost 0.0023 is reached; raise it to go on" in capsys.readouterr().err
    spent = sum(entry["cost"] for entry in journal_of(table))
    few = len(server.requests)
    assert 0 < few < FLAGGED and spent == pytest.approx(few * 20e-6) and spent < 0.0023
    assert run(table, server, *flags, "--max-cost", "0.0023") == (2, None) and len(server.requests) == few
    assert run(table, server, *flags, "--max-cost", "1")[0] == 0 and len(server.requests) == FLAGGED
    record = script.read_json(table.parent / "paraphrased.tsv.json")
    assert record["dollars"] == pytest.approx(FLAGGED * 20e-6)


@pytest.mark.parametrize("flags", [["--max-cost", "1"], ["--max-cost", "0"], ["--price", "1"], ["--price", "-1/2"]])
def test_money_needs_a_price(table, server, capsys, flags):
    with pytest.raises(SystemExit) if flags[1] != "1" or flags[0] == "--price" else contextlib.nullcontext():
        assert run(table, server, *flags) == (2, None)
        assert "add --price IN/OUT" in capsys.readouterr().err
    assert not server.requests


# ---- keys, models, prompts


def test_the_originals_credentials_file_serves_openai_and_no_other_server(table, server, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "credentials.txt").write_text("org-1\nsk-file\n")
    options = client_options(OPENAI, 5)
    assert options["api_key"] == "sk-file" and options["organization"] == "org-1" and options["base_url"] == OPENAI
    assert client_options("http://127.0.0.1:9/v1", 5)["api_key"] == "none"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    assert client_options(OPENAI, 5)["api_key"] == "sk-env"
    monkeypatch.delenv("OPENAI_API_KEY")
    (tmp_path / "credentials.txt").write_text("sk-file\n")
    with pytest.raises(script.InputError, match="two lines, organization and key") as caught:
        client_options(OPENAI, 5)
    assert "sk-file" not in str(caught.value)


def test_the_end_of_a_model_is_announced(table, server, caplog):
    server.models = [{"id": "m", "object": "model", "created": 0, "owned_by": "x", "shutdown_date": "2026-12-11"}]
    assert run(table, server)[0] == 0
    assert "m will be shut down on 2026-12-11" in caplog.text


@pytest.mark.parametrize("listing", [(500, "no"), (403, "no"), (404, "<html>"), (200, "<html>"), (200, "{}")])
@pytest.mark.slow
def test_a_server_without_a_list_of_models_serves_as_well(table, server, listing):
    from openai_server import Answer

    server.get = lambda path: Answer(*listing)
    assert run(table, server, "--limit", "1")[0] == 1 and len(server.requests) == 1


def test_openai_is_asked_as_its_models_need_it_and_others_as_they_do():
    prompt = read_prompts(generator.PROMPTS, "scholarly")["condense-2-3"]
    request = Request("00", 0, "anchor", "text", prompt, 0.6, 1)
    servers = [Server(address, "m", max_tokens=768) for address in (OPENAI, "http://127.0.0.1:9/v1")]
    there, elsewhere = (call_body(request, 1, server, set()) for server in servers)
    assert there["max_completion_tokens"] == 768 and there["reasoning_effort"] == "none" and "max_tokens" not in there
    assert elsewhere["max_tokens"] == 768 and "reasoning_effort" not in elsewhere
    left = call_body(request, 1, servers[0], {"temperature", "max_completion_tokens", "reasoning_effort"})
    assert left["max_tokens"] == 768 and not {"temperature", "reasoning_effort"} & left.keys()


def test_fiction_gets_another_name_in_a_second_step(table, server):
    def reply(request):
        if "another name" in request["messages"][0]["content"].replace("\n", " "):
            return request["messages"][-1]["content"].replace("Passages", "Annas")
        return shorten(request)

    server.reply = reply
    status, rows = run(table, server, "--prompt-set", "fiction", "--limit", "6")
    assert status == 1 and len(server.requests) == 12
    status, rows = run(table, server, "--prompt-set", "fiction")
    assert status == 0 and len(server.requests) == 2 * FLAGGED
    assert {row["system_prompt"] for row in rows} == {"", *PROMPTS}
    singles = [row for row in rows if row["category"] == "single-synthetic"]
    assert any("Annas" in row["anchor"] + row["positive"] for row in singles)


def test_prompts_of_ones_own(table, server, tmp_path, capsys):
    own = tmp_path / "own.toml"
    own.write_text("[mine.short]\nsystem = 'Be brief.'\nexamples = [['long', 'short']]\n")
    status, rows = run(table, server, "--prompts", str(own), "--prompt-set", "mine")
    assert status == 0 and {row["system_prompt"] for row in rows} == {"", "short"}
    assert [one["content"] for one in server.requests[0]["messages"][:3]] == ["Be brief.", "long", "short"]
    own.write_text("[mine.short]\nsystem = 'Be briefer.'\n")  # other words: every row is asked for again
    assert run(table, server, "--prompts", str(own), "--prompt-set", "mine")[0] == 0
    assert len(server.requests) == 2 * FLAGGED
    assert run(table, server, "--prompts", str(tmp_path / "none.toml"))[0] == 2
    assert "none.toml: No such file" in capsys.readouterr().err


# ---- what one sees


@pytest.mark.slow
def test_a_line_of_progress_and_a_summary(table, server, caplog, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    bad = iter(["Sure, here.", SAME := "- a list.\n- of two."])
    lock = threading.Lock()

    def reply(request):
        time.sleep(0.1)
        with lock:
            return next(bad, None) or shorten(request)

    server.reply = reply
    assert run(table, server, "--concurrency", "4", "--price", "1000/2000")[0] == 0
    line = next(text for text in caplog.messages if "1 talks to the user" in text and "1 a list" in text)
    assert "replies accepted" in line and "1 talks to the user" in line and "1 a list or Markdown" in line
    assert " left, $" in line and " tokens, " in line and SAME not in caplog.text
    assert "cost         $0.44" in caplog.messages
    assert any(message.startswith("replies      22, 20 of them accepted") for message in caplog.messages)


def test_no_passage_is_in_log_journal_or_record(table, server, caplog):
    """The journal holds replies; sources stay in the table."""
    assert run(table, server)[0] == 0
    for path in table.parent.glob("paraphrased.tsv.*"):
        assert "one two three" not in path.read_text()
    assert "one two three" not in caplog.text and "ones twos" not in caplog.text


# ---- what reviews found


@pytest.mark.parametrize("flags", [["-o", "pairs.tsv"], ["--rejects", "pairs.tsv"]])
def test_no_file_is_written_over_another(table, server, capsys, monkeypatch, flags):
    monkeypatch.chdir(table.parent)
    before = table.read_bytes()
    assert generator.main(["-d", str(table), "--base-url", server.url, *flags]) == 2
    assert "must name three different files" in capsys.readouterr().err and table.read_bytes() == before


def test_the_word_generate_never_gets_into_the_table(tmp_path, server, capsys):
    path = tmp_path / "pairs.tsv"
    for category in ("successive", "synthetic-pair", "random-pair"):
        row = dict(zip(corpus.PAIR_COLUMNS, ("d9", 1900, f"a {LONG}", "generate", category)))
        corpus.write_pairs(path, [row])
        assert run(path, server)[0] == 2
        assert f"pair 1 (d9) holds the word 'generate' but is {category}" in capsys.readouterr().err


def test_columns_of_ones_own_are_carried_along(table, server):
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [{**row, "journal": "PMLA"} for row in rows], (*corpus.PAIR_COLUMNS, "journal"))
    status, rows = run(table, server)
    assert status == 0 and {row["journal"] for row in rows} == {"PMLA"}
    assert list(rows[0]) == [*corpus.PAIR_COLUMNS, "journal", "system_prompt", "temperature", "model"]


def test_a_last_line_that_an_editor_left_without_its_end_is_kept(table, server):
    run(table, server)
    journal = table.parent / "paraphrased.tsv.journal.jsonl"
    journal.write_bytes(journal.read_bytes().rstrip(b"\n"))
    rows = corpus.read_pairs(table)
    corpus.write_pairs(table, [*rows, {**rows[1], "paperId": "new"}])
    assert run(table, server)[0] == 0 and len(server.requests) == FLAGGED + 1
    assert len(journal_of(table)) == FLAGGED + 1


ODD = {
    "no usage": {"usage": None},
    "half a usage": {"usage": {"prompt_tokens": 3}},
    "no total": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}},
    "bare": {"id": None, "model": None, "object": None, "created": None, "usage": None},
}


@pytest.mark.parametrize("name", ODD)
def test_replies_that_lack_what_they_should_have_serve_all_the_same(table, server, name):
    server.reply = lambda request: (200, completion(request, shorten(request)) | ODD[name])
    assert run(table, server, "--price", "1/2")[0] == 0
    known = name == "no total"
    for entry in journal_of(table):
        assert (entry["cost"] < 20e-6) == known and entry["cost"] > 0  # where the server doesn't tell, the worst case


def test_content_in_parts_and_choices_of_nonsense(table, server):
    nonsense = iter([["x"], [None], [{"message": "x"}], [{"message": {"content": 7}}]])
    lock = threading.Lock()

    def reply(request):
        body = completion(request, None)
        with lock:
            choices = next(nonsense, None)
        if choices:
            return 200, body | {"choices": choices}
        body["choices"][0]["message"]["content"] = [{"type": "text", "text": shorten(request)}]
        return 200, body

    server.reply = reply
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(server.requests) == FLAGGED + 4
