"""The generator against every fault of real servers (fault_server.py), alone, mixed, and killed in between."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from datetime import datetime
from email.utils import formatdate
from pathlib import Path

import generator_process
import pytest
from fault_server import BAD_REPLIES, FATAL, PASSING, REFUSALS, Faults, Limited, source
from openai_server import Answer, OpenAIServer, completion, refusal, shorten
from test_generator import FLAGGED, LONG, journal_of, run, table  # noqa: F401 (a fixture)

import corpus
import script
from paraphrase import asking
from paraphrase.gate import Gate
from paraphrase.key import warn_of_open_key
from paraphrase.waits import asked_to_wait


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.002)


def once(fault):
    """Return a reply that gives the fault to the first request for each passage."""
    seen, lock = set(), threading.Lock()

    def reply(request):
        with lock:
            first = source(request) not in seen
            seen.add(source(request))
        return fault(request) if first else shorten(request)

    return reply


@pytest.mark.parametrize("name", sorted(PASSING.keys() - {"hang"}))
@pytest.mark.slow
def test_a_passing_fault_costs_a_row_nothing(table, server, name):  # noqa: F811
    server.reply = once(PASSING[name])
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23 and len(journal_of(table)) == FLAGGED
    assert len(server.requests) >= FLAGGED + 1 + ("rate" not in name) * (FLAGGED - 1)


@pytest.mark.slow
def test_a_reply_that_never_comes_is_given_up_and_asked_for_again(table, server):  # noqa: F811
    server.reply = once(PASSING["hang"])
    status, rows = run(table, server, "--timeout", "3", "--concurrency", "20")  # seconds; a busy machine needs them
    assert status == 0 and len(rows) == 23 and len(server.requests) == 2 * FLAGGED


@pytest.mark.parametrize("name", sorted(BAD_REPLIES))
def test_a_bad_reply_is_rejected_and_another_asked_for(table, server, name, monkeypatch):  # noqa: F811
    monkeypatch.setattr(asking, "BARREN", 100)
    server.reply = once(BAD_REPLIES[name])
    status, rows = run(table, server)
    assert status == 0 and len(rows) == 23
    verdicts = [entry["verdict"] for entry in journal_of(table)]
    assert verdicts.count("accepted") == FLAGGED and len(verdicts) == 2 * FLAGGED
    record = script.read_json(table.parent / "paraphrased.tsv.json")
    assert sum(record["replies"]["rejected"].values()) == FLAGGED and record["tokens"]["prompt"] == 20 * FLAGGED


@pytest.mark.parametrize("name", sorted(FATAL))
def test_a_fatal_fault_stops_at_once_and_loses_nothing(table, server, name, capsys):  # noqa: F811
    run(table, server, "--limit", "5")
    server.reply = FATAL[name]
    capsys.readouterr()
    assert run(table, server, "--concurrency", "1") == (2, None)
    errors = capsys.readouterr().err.strip().splitlines()
    assert "5 paraphrases are kept" in errors[-1] and "sk-secret-1" not in "".join(errors)
    assert len(server.requests) == 6
    server.reply = shorten
    assert run(table, server)[0] == 0 and len(server.requests) == 6 + FLAGGED - 5


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_a_refused_row_fails_alone(table, server, name, capsys):  # noqa: F811
    server.reply = lambda request: (
        REFUSALS[name](request) if "passage 1 " in request["messages"][-1]["content"] else shorten(request)
    )
    assert run(table, server) == (1, None)
    assert "2 rows lack a paraphrase" in capsys.readouterr().err
    listed = (table.parent / "paraphrased.tsv.rejects.tsv").read_text().splitlines()[1:]
    assert len(listed) == 2 and all(line.count("refused by the server: ") == 3 for line in listed)
    asked = len(server.requests)
    status, rows = run(table, server, "--accept-rejects", "keep-original")
    assert status == 0 and len(rows) == 23 and len(server.requests) == asked
    kept = [row for row in rows if row["paperId"] in ("s1", "t1")]
    assert all(row["anchor"] == row["positive"] and row["model"] == row["temperature"] == "" for row in kept)
    assert "generate" not in {row[cell] for row in rows for cell in ("anchor", "positive")}
    assert script.read_json(table.parent / "paraphrased.tsv.json")["counts"]["kept_without_paraphrase"] == 2


@pytest.mark.slow
def test_a_server_that_is_down_for_a_while_is_waited_for(table, server):  # noqa: F811
    server.reply = lambda request: (time.sleep(0.05), shorten(request))[1]
    output, url = table.parent / "paraphrased.tsv", server.url
    running = generator_process.start(table, output, url, "--concurrency", "2", first_pause=0.25)
    while len(server.requests) < 6:
        time.sleep(0.01)
    server.http.shutdown()
    server.http.server_close()
    time.sleep(1)
    with OpenAIServer(server.reply, port=int(url.split(":")[2].split("/")[0])):
        running.join(60)
    assert running.exitcode == 0, said(output)
    assert len(corpus.read_pairs(output)) == 23


def test_a_server_that_stays_down_stops_the_run(table, server, capsys):  # noqa: F811
    run(table, server, "--limit", "5")
    server.reply = PASSING["reset"]
    assert run(table, server) == (2, None)
    assert "no server answers at" in capsys.readouterr().err


def test_a_model_that_brings_no_text_stops_the_run(table, server, capsys):  # noqa: F811
    server.reply = BAD_REPLIES["thinks to the end"]
    assert run(table, server, "--tries", "50", "--concurrency", "4") == (2, None)
    errors = capsys.readouterr().err
    assert "brought no text (finish reason length)" in errors and "--max-tokens" in errors
    assert len(server.requests) < 25


@pytest.mark.parametrize("name", ["busy", "reset", "half JSON"])
@pytest.mark.parametrize("concurrency", ["1", "16"])
@pytest.mark.slow
def test_a_row_that_always_fails_holds_up_no_other_and_can_be_done_without(table, server, name, concurrency):  # noqa: F811
    server.reply = lambda request: (PASSING[name] if "passage 1 " in source(request) else shorten)(request)
    for times in (1, 2, 3):
        assert run(table, server, "--concurrency", concurrency) == (1, None)
        reasons = [entry["verdict"] for entry in journal_of(table) if entry["verdict"] != "accepted"]
        assert len(reasons) == 2 * times and all(reason.startswith("no reply: ") for reason in reasons)
    status, rows = run(table, server, "--accept-rejects", "drop")
    assert status == 0 and len(rows) == 21
    assert "no reply: " in (table.parent / "paraphrased.tsv.rejects.tsv").read_text()


def test_a_passage_that_is_too_long_takes_no_parameter_from_the_others(table, server):  # noqa: F811
    """As vLLM puts it: the message names max_tokens, but is about the row."""
    message = "'max_tokens' or 'max_completion_tokens' is too large: 768. This model's maximum context length is 2048."
    server.reply = lambda request: (
        (400, refusal(message, param="max_tokens", code=400)) if "passage 1 " in source(request) else shorten(request)
    )
    assert run(table, server) == (1, None)
    assert all(request["max_tokens"] == 768 and "seed" in request for request in server.requests)


def test_a_row_that_is_forbidden_fails_alone_once_the_key_has_served(table, server):  # noqa: F811
    run(table, server, "--limit", "1")
    server.reply = lambda request: FATAL["forbidden"](request) if "passage 3 " in source(request) else shorten(request)
    assert run(table, server, "--concurrency", "1") == (1, None)
    assert sum(entry["verdict"] == "accepted" for entry in journal_of(table)) == FLAGGED - 2


@pytest.mark.slow
def test_a_reply_that_trickles_in_is_cut_off_in_time(table, server, monkeypatch):  # noqa: F811
    monkeypatch.setattr(asking, "RETRIES", 1)

    def trickle(handler, answer):
        for byte in b"HTTP/1.1 200 -\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)

    server.send = trickle
    started = time.time()
    assert run(table, server, "--timeout", "0.3", "--limit", "1")[0] == 1
    assert time.time() - started < 2  # whole, a reply would take 7 seconds


@pytest.mark.slow
def test_a_long_wait_is_kept_to_and_a_very_long_one_stops_the_run(table, server, capsys):  # noqa: F811
    server.reply = once(lambda request: Answer(429, refusal("later"), (("Retry-After", "1"),)))
    started = time.time()
    assert run(table, server, "--concurrency", "32")[0] == 0
    assert time.time() - started > 1 and len(server.requests) <= 2 * FLAGGED
    (table.parent / "paraphrased.tsv.journal.jsonl").unlink()
    server.reply = lambda request: Answer(429, refusal("later"), (("Retry-After", "7200"),))
    assert run(table, server)[0] == 2
    assert "asks to wait 120 minutes; run again after that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "7200"}, 7200),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9),
        ({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}, 0),
        *(
            ({name: slip}, None)
            for name in ("retry-after", "retry-after-ms")
            for slip in ("nan", "NaN", "inf", "-inf", "-5", "1e9", "1_0", "٣", "soon", "", "9" * 14, "9" * 400)
        ),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": "Fri, 31 Dec 9999999 23:59:59 GMT"}, None),
        ({}, None),
    ],
)
def test_a_wish_to_wait_is_read_strictly(headers, seconds):
    assert asked_to_wait(headers) == seconds


def test_a_moment_to_wait_for_may_be_a_date_or_seconds_since_1970():
    for moment in (str(int(time.time()) + 90), formatdate(time.time() + 90, usegmt=True)):
        assert 80 < asked_to_wait({"retry-after": moment}) <= 90


@pytest.mark.parametrize("wish", ["nan", "inf", "-1", "99999999999999"])
def test_a_wish_that_makes_no_sense_neither_ends_the_waiting_nor_prolongs_it(table, server, wish):  # noqa: F811
    server.reply = once(lambda request: Answer(429, refusal("later"), (("Retry-After", wish),)))
    assert run(table, server, "--concurrency", "32")[0] == 0
    assert len(server.requests) <= 2 * FLAGGED


@pytest.mark.parametrize("reset", ["9" * 12, "9999999h", "9.9.9", "nan"])
def test_a_limit_that_is_reset_in_a_thousand_years_closes_the_gate_for_an_hour_at_most(table, reset):  # noqa: F811
    gate = Gate(4, None, None)
    told = {"remaining": "0", "limit": "10", "reset": reset}
    gate.answered({f"x-ratelimit-{name}-requests": value for name, value in told.items()}, 1)
    assert gate.closed_until - time.monotonic() <= 3600


@pytest.mark.slow
def test_limits_told_in_headers_are_kept_to(tmp_path, server):
    """40 calls a second are allowed; 64 at a time would be refused hundreds of times if the headers were not read."""
    path = many_rows(tmp_path / "pairs.tsv", 120)
    server.reply = limited = Limited(each_second=40, bucket=10)
    started = time.time()
    assert run(path, server, "--concurrency", "64")[0] == 0
    took = time.time() - started
    assert limited.refused < 130 and 2.5 < took < 20, (limited.refused, took)


def test_a_refused_parameter_is_remembered(table, server):  # noqa: F811
    def reply(request):
        if "temperature" in request:
            return 400, refusal("Unsupported value: 'temperature' does not support 0.61", param="temperature")
        if "seed" in request:
            return 422, refusal("extra fields not permitted: seed")  # as other servers put it
        return shorten(request)

    server.reply = reply
    assert run(table, server, "--limit", "5", "--concurrency", "1")[0] == 1
    assert len(server.requests) == 7
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == 7 + FLAGGED - 5 and {row["temperature"] for row in rows} == {""}


@pytest.mark.slow
def test_ctrl_c_waits_for_the_replies_that_are_paid_for(table, server):  # noqa: F811
    server.reply = lambda request: (time.sleep(0.5), shorten(request))[1]
    output = table.parent / "paraphrased.tsv"
    ways = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGHUP: 129}
    for number, status in ways.items():
        if signal.getsignal(number) == signal.SIG_IGN:  # these tests run under nohup, or in the background of a script
            continue
        server.requests.clear()
        before = len(journal_of(table)) if output.with_name(f"{output.name}.journal.jsonl").exists() else 0
        running = generator_process.start(table, output, server.url, "--concurrency", "4")
        while len(server.requests) < 4:
            time.sleep(0.01)
        os.kill(running.pid, number)
        if number == signal.SIGHUP:
            time.sleep(0.1)
            os.kill(running.pid, number)  # shell and kernel send one each
        running.join(20)
        errors = said(output)
        assert running.exitcode == status and "waiting for 4 replies under way" in errors, errors
        assert len(journal_of(table)) - before == len(server.requests) == 4
        assert "run the same command again" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_a_full_disk_keeps_every_reply(tmp_path, server):
    """On a small real file system: the reserve takes the replies under way, nothing is torn, the next run goes on."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "x", tmp_path]).returncode:
        pytest.skip("needs root to mount a small file system")
    try:
        path, output = many_rows(tmp_path / "pairs.tsv", 300), tmp_path / "paraphrased.tsv"
        server.reply = lambda request: shorten(request) + " Padding" + "g" * 900 + "."
        filler = tmp_path / "filler"
        filler.write_bytes(os.urandom(2**21 - 2**20 - path.stat().st_size - 150_000))
        assert generated(path, output, server) == 2
        assert "No space left on device; make room and run again" in said(output)
        kept = journal_of(path)
        assert 20 < len(kept) == len(server.requests) < 300
        filler.unlink()
        server.requests.clear()
        generated(path, output, server)
        assert len(server.requests) == 300 - len(kept), said(output)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# ---- the soak


def many_rows(path, count):
    """Write a table of single-synthetic rows whose passages all differ."""
    rows = ((f"d{i}", 1900 + i % 100, f"passage {i} {LONG}", "generate", "single-synthetic") for i in range(count))
    corpus.write_pairs(path, (dict(zip(corpus.PAIR_COLUMNS, row)) for row in rows))
    return path


def generate(folder, url):
    flags = ("--concurrency", "32", "--timeout", "2", "--tries", "12")
    return generator_process.start(folder / "pairs.tsv", folder / "out.tsv", url, *flags, first_pause=0.05)


def generated(path, output, server):
    running = generator_process.start(path, output, server.url)
    running.join(60)
    return running.exitcode


def said(output):
    return Path(f"{output}.stderr").read_text()


ROWS = 700


@pytest.mark.slow
def test_soak_all_faults_and_twenty_kills(tmp_path):
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
        many_rows(folder / "pairs.tsv", ROWS)
    with OpenAIServer() as server:
        running = generate(undisturbed, server.url)
        running.join(120)
        assert running.exitcode == 0 and len(server.requests) == ROWS, said(undisturbed / "out.tsv")

    dice, kills = random.Random(1), 0
    faults = Faults(PASSING.keys() | BAD_REPLIES, share=0.35, seed=1, seconds=0.15)
    with OpenAIServer(faults) as server:
        while True:
            before = len(server.requests)
            running = generate(disturbed, server.url)
            while running.is_alive() and len(server.requests) == before:  # however long it takes to get going
                time.sleep(0.01)
            running.join(dice.uniform(0.05, 0.5) if kills < 20 else 300)
            if running.exitcode is not None:
                break
            running.kill()
            running.join()
            kills += 1
        assert running.exitcode == 0, said(disturbed / "out.tsv")
        asked = [(moment, source(request)) for moment, request in zip(server.times, server.requests)]
    assert kills == 20 and set(faults.given) == PASSING.keys() | BAD_REPLIES

    assert (disturbed / "out.tsv").read_bytes() == (undisturbed / "out.tsv").read_bytes()
    assert len(corpus.read_pairs(disturbed / "out.tsv")) == ROWS
    entries = [json.loads(line) for line in (disturbed / "out.tsv.journal.jsonl").read_text().splitlines()]
    accepted = [entry["key"] for entry in entries if entry["verdict"] == "accepted"]
    assert len(accepted) == len(set(accepted)) == ROWS

    # A passage is asked for again only after a fault, or where the kill came before its reply was on disk.
    rows = {entry["key"]: entry["text"] for entry in entries if entry["verdict"] == "accepted"}
    moments = {
        entry["text"]: datetime.fromisoformat(entry["time"]).timestamp()
        for entry in entries
        if entry["verdict"] == "accepted"
    }
    assert len(moments) == len(rows) == ROWS
    late = [passage for moment, passage in asked if moment > moments[shorten_of(passage)]]
    assert late == []


def shorten_of(passage: str) -> str:
    return shorten({"messages": [{"content": passage}]})


# ---- the key

KEY = "sk-secret-1/+="


def everything(folder, capsys, caplog):
    """Return all that a run said, logged, or wrote."""
    written = "".join(path.read_text() for path in folder.iterdir() if path.name.startswith("paraphrased"))
    told = capsys.readouterr()
    return told.out + told.err + caplog.text + written


def echo(request, *_):
    """A reply that holds the key wherever a server can put a text."""
    text = shorten(request)
    body = completion(request, f"{text[:20]} {KEY} {text[20:]}", reasoning_content=KEY) | {"model": KEY, "id": KEY}
    body["usage"] |= {"prompt_tokens_details": {KEY: [KEY]}}
    return Answer(200, body, (("x-request-id", KEY),))


ECHOES = {
    "a reply": echo,
    "why a reply ended": lambda request: Answer(200, completion(request, shorten(request), f"length {KEY}")),
    "a code": lambda request: (400, refusal(f"key {KEY}", code=f"bad_{KEY}", type=KEY, param=KEY)),
    "a code that is a sentence": lambda request: (400, refusal("no", code=f"the key {KEY} and {source(request)}")),
    "a code that is an object": lambda request: (400, refusal("no", code={"key": KEY}, param=[KEY], type=[])),
    "no key": lambda request: (401, refusal(f"Incorrect API key provided: {KEY}", code=KEY)),
    "busy": lambda request: (503, refusal(KEY, code=KEY)),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_key_that_the_server_echoes_stands_nowhere(table, server, name, monkeypatch, capsys, caplog):  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(asking, "RETRIES", 1)
    caplog.set_level("INFO")
    server.models = [{"id": "m", "object": "model", "created": 0, "owned_by": KEY, "shutdown_date": KEY}]
    server.reply = ECHOES[name]
    status = run(table, server, "--tries", "1")[0]
    assert status == (0 if name == "a reply" else 2 if name == "no key" else status)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    told = everything(table.parent, capsys, caplog)
    assert "secret-1" not in told and "will be shut down on …" in told
    assert "passage 1" not in told.replace("verso", "") or name == "a reply"


def test_a_word_for_no_key_is_an_ordinary_word_in_a_paraphrase(table, server, monkeypatch):  # noqa: F811
    for key in ("one", "EMPTY", "enterprise"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        server.reply = lambda request, key=key: f"{key} {shorten(request)}"
        status, rows = run(table, server)
        assert status == 0 and sum(key in row["anchor"] + row["positive"] for row in rows) >= FLAGGED
        for path in table.parent.glob("paraphrased.tsv*"):
            path.unlink()


@pytest.mark.parametrize(
    ("address", "key", "warned"),
    [
        ("http://gateway.example.org/v1", "sk-1", True),
        ("http://10.1.2.3:8000/v1", "sk-1", True),
        ("http://gateway.example.org/v1", "", False),
        ("https://gateway.example.org/v1", "sk-1", False),
        ("http://127.0.0.1:8000/v1", "sk-1", False),
        ("http://[::1]:8000/v1", "sk-1", False),
        ("http://localhost:8000/v1", "sk-1", False),
    ],
)
def test_a_key_that_would_travel_unencrypted_is_warned_of(monkeypatch, caplog, address, key, warned):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    warn_of_open_key(address)
    assert ("unencrypted; use https, or an SSH tunnel" in caplog.text) == warned


@pytest.mark.slow
def test_the_warning_comes_once_a_run(table, server, monkeypatch, caplog):  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert run(table, server.url.replace("127.0.0.1", "0.0.0.0"))[0] == 0
    assert caplog.text.count("unencrypted") == 1
