"""The way to a server, what it says of a call that failed, how long it asks to wait, and when a run gives up."""

import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import openai
import pytest
from openai_server import Answer, OpenAIServer, refusal, shorten
from test_generator import FLAGGED, journal_of, run, table  # noqa: F401 (a fixture)
from test_paraphrase_faults import many_rows, once

import script
from paraphrase import asking, gate
from paraphrase.address import OPENAI, proxy_for, server_address
from paraphrase.gate import Gate
from paraphrase.server import Server, open_client
from paraphrase.waits import asked_to_wait, seconds_of

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.002)
    for name in (*PROXIES, *map(str.upper, PROXIES)):
        monkeypatch.delenv(name, raising=False)


# ---- address, proxies, key


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("http://10.0.0.1:8000/v1\r\n", "http://10.0.0.1:8000/v1"),
        ("\tHTTPS://gateway.example/v1", "HTTPS://gateway.example/v1"),
        ("https://gateway.example/openai/v1/chat/completions/", "https://gateway.example/openai/v1"),
        ("http://localhost:8000/v1/completions", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        (" \r", OPENAI),
    ],
)
def test_an_address_may_come_with_what_people_paste(monkeypatch, given, address):
    monkeypatch.setenv("OPENAI_BASE_URL", given)
    assert server_address(None) == address


@pytest.mark.parametrize(
    "given",
    ["localhost:8000/v1", "gateway.example", "ftp://gateway.example/v1", "http://", "http:///v1", "http://h:80a/v1"]
    + ["http://[::1/v1", "http://a b/v1", "http://h/v1\r\nX: y", "'http://h/v1'", "http://h\u200b/v1", "http://h:0/v1"],
)
def test_what_is_no_address_is_one_sentence_before_any_call(table, capsys, given):  # noqa: F811
    assert run(table, given) == (2, None)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is no server's address; write it like http://127.0.0.1:8000/v1" in line and line.isprintable()
    assert list(table.parent.iterdir()) == [table]


ENVIRONMENT = {
    "http_proxy": "proxy.example:3128",
    "HTTPS_PROXY": "http://proxy.example:3129",
    "ALL_PROXY": "socks5://p",
}


@pytest.mark.parametrize(
    ("address", "excepted", "proxy"),
    [
        ("http://127.0.0.1:8000/v1", "", None),
        ("https://localhost:8000/v1", "", None),
        ("http://[::1]:8000/v1", "", None),
        ("http://0.0.0.0:8000/v1", "", None),
        ("http://10.1.2.3:8000/v1", "", "http://proxy.example:3128"),
        ("http://10.1.2.3:8000/v1", "localhost, 10.0.0.0/8", None),
        ("http://[fd07::5]:8000/v1", "[::1],[fd07::5]", None),
        ("http://[fd07::5]:8000/v1", "::1/128,fd07::/16", None),
        ("http://[fd07::5]:8000/v1", "[::1],fe80::/10,not:a:net/999", "http://proxy.example:3128"),
        ("https://gateway.example/v1", "", "http://proxy.example:3129"),
        ("https://gateway.example/v1", ".example", None),
        ("https://gateway.example/v1", "a.example,*", None),
    ],
)
def test_a_server_is_called_past_the_proxies_that_are_not_for_it(monkeypatch, address, excepted, proxy):
    for name, value in (ENVIRONMENT | {"no_proxy": excepted}).items():
        monkeypatch.setenv(name, value)
    found = proxy_for(address)
    assert (found and found.address) == proxy
    open_client(openai.OpenAI, Server(address, "m")).close()


def test_a_server_of_ones_own_is_reached_past_a_dead_proxy(table, server, monkeypatch):  # noqa: F811
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert run(table, server)[0] == 0
    assert run(table, server, "--seed", "1", "--batch", "status")[0] == 0


@pytest.mark.parametrize("proxy", ["socks5://me:secret@127.0.0.1:9", "gopher://127.0.0.1:9", "http://127.0.0.1:9a"])
def test_a_proxy_that_cannot_be_used_is_one_sentence(table, monkeypatch, capsys, proxy):  # noqa: F811
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert run(table, "http://gateway.example/v1") == (2, None)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the proxy that ALL_PROXY names can't be used" in line and "NO_PROXY" in line and "secret" not in line
    assert ("install the package socksio" in line) == proxy.startswith("socks")


@pytest.mark.slow
def test_a_proxy_that_does_not_answer_is_named(table, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(asking, "RETRIES", 0)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert run(table, "http://gateway.example/v1") == (2, None)
    assert "through the proxy that HTTP_PROXY names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "org-1\nsk-secret-1"),
        ("OPENAI_API_KEY", "Bearer sk-secret-1"),
        ("OPENAI_API_KEY", "sk-secret-1\u200b"),
        ("OPENAI_API_KEY", "“sk-secret-1”"),
        ("OPENAI_ORG_ID", "org-secret-1\n"),
        ("OPENAI_PROJECT_ID", "proj-secret-1 # mine"),
    ],
)
def test_a_key_that_no_header_can_carry_is_named_before_any_call(table, server, monkeypatch, capsys, name, value):  # noqa: F811
    monkeypatch.setenv(name, value)
    assert run(table, server) == (2, None) and not server.requests
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{name} must be the key or id alone" in line and "secret-1" not in line


def test_the_job_file_asks_its_server_past_proxies():
    job = (Path(script.__file__).parent / "slurm/paraphrase_local.slurm").read_text()
    (line,) = [line for line in job.splitlines() if "curl" in line]
    with OpenAIServer() as server:
        environment = {"PATH": "/usr/bin:/bin", "http_proxy": "http://127.0.0.1:9", "OPENAI_BASE_URL": server.url}
        command = line.removeprefix("until ").removesuffix("; do")
        assert subprocess.run(["bash", "-c", command], env=environment).returncode == 0


# ---- errors inside HTTP 200

CHOICE = {"choices": [{"finish_reason": "error", "error": {"code": 502}, "message": {"content": "Trade gr"}}]}


def inside(error, **fields):
    """Return a reply of HTTP 200 whose body is an error."""
    return lambda request: Answer(200, {"error": error} | fields)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "429", "message": "busy"},
        {"code": 503, "message": "no provider"},
        {"type": "overloaded_error", "message": "later"},
        {"status": "RESOURCE_EXHAUSTED"},
        {"code": "server_error", "message": "oops"},
        "upstream timed out",
        {},
    ],
)
def test_an_error_that_passes_is_one_in_a_good_answer_too(table, server, error):  # noqa: F811
    fault = inside(error, choices=None, usage=None) if error else lambda request: Answer(200, CHOICE)
    server.reply = once(fault)
    assert run(table, server)[0] == 0
    assert len(journal_of(table)) == FLAGGED and len(server.requests) == 2 * FLAGGED


def test_an_answer_that_is_an_error_itself_is_read_as_one(table, server, capsys):  # noqa: F811
    server.reply = lambda request: Answer(200, {"object": "error", "message": "no credits left", "code": 40301})
    assert run(table, server, "--concurrency", "1") == (2, None) and len(server.requests) == 1
    assert "quota is used up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ({"code": 402, "message": "Insufficient credits"}, "quota is used up"),
        ({"type": "insufficient_quota"}, "quota is used up"),
        ("Insufficient balance", "quota is used up"),
        ({"code": 401, "message": "No auth"}, "refuses the key (HTTP 401)"),
        ({"code": "invalid_api_key"}, "refuses the key (HTTP 401)"),
        ("model 'm' not found, try pulling it first", "has no model 'm' (HTTP 404)"),
    ],
)
def test_an_error_of_every_call_stops_the_run_in_a_good_answer_too(table, server, capsys, error, sentence):  # noqa: F811
    server.reply = inside(error)
    assert run(table, server, "--concurrency", "1") == (2, None) and len(server.requests) == 1
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_error_of_one_row_is_its_own_in_a_good_answer_too(table, server):  # noqa: F811
    server.reply = lambda request: (
        inside({"code": "data_inspection_failed", "message": "no"})(request)
        if "passage 1 " in request["messages"][-1]["content"]
        else shorten(request)
    )
    assert run(table, server)[0] == 1
    listed = (table.parent / "paraphrased.tsv.rejects.tsv").read_text()
    assert listed.count("refused by the server: data_inspection_failed") == 2 * 3


# ---- waits


def moments(seconds):
    """Return a moment so many seconds ahead as servers write it."""
    then = time.time() + seconds
    date = datetime.fromtimestamp(then, UTC)
    return [str(int(then)), f"{then:.3f}", str(int(then * 1000)), date.isoformat(), f"{date:%Y-%m-%dT%H:%M:%SZ}"] + [
        f"{date:%a, %d %b %Y %H:%M:%S GMT}"
    ]


@pytest.mark.parametrize("form", range(6))
def test_a_moment_is_a_moment_in_any_header(form):
    told = moments(90)[form]
    used_up = {"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "0"}
    for headers in (
        {"Retry-After": told},
        {"x-retry-after": told},
        {"retry-after-ms": told},
        used_up | {"x-ratelimit-reset-requests": told},
        {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": told},
        {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": told},
    ):
        assert 85 < asked_to_wait(headers) < 90.5, headers
    closed = Gate(4, None, None)
    closed.answered(used_up | {"x-ratelimit-reset-requests": told}, 1)
    assert 8 < closed.closed_until - time.monotonic() < 9.5  # a tenth is enough for a call


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1.5s", 1.5),
        ("120ms", 0.12),
        ("1d", 86400),
        ("30", 30),
        ("2020-01-01T00:00:00Z", 0),
        ("9.9.9", None),
    ]
    + [("8d", None), ("-1s", None), ("2999-01-01", None), ("1e3s", None), ("soon", None)],
)
def test_a_duration_is_read_in_any_form_but_not_believed_in_any_length(text, seconds):
    assert seconds_of(text) == seconds


def test_a_limit_that_is_not_used_up_is_no_wish_to_wait():
    assert asked_to_wait({"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "60s"}) is None


def test_a_wait_says_for_what_and_until_when_once(caplog):
    closed = Gate(4, None, None)
    for seconds in (gate.SILENT - 1, 600, 601, 599):
        closed.close(seconds, "the server, too many requests")
    (line,) = caplog.messages
    until = time.strftime("%H:%M:", time.localtime(time.time() + 600))
    assert line.startswith(f"waiting until {until}") and line.endswith(": the server, too many requests")
    closed.close(10**9, "the server")
    assert closed.closed_until - time.monotonic() <= 3600 and len(caplog.messages) == 2


@pytest.mark.slow
def test_a_server_that_refuses_every_call_from_the_beginning_is_given_up(table, server, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(asking, "UNPROVEN_WAIT", 0.2)
    server.reply = lambda request: (429, refusal("slow down"))
    assert run(table, server) == (2, None)
    assert "has refused every call for 0 s (too many requests)" in capsys.readouterr().err
    monkeypatch.undo()
    with OpenAIServer(once(server.reply)) as other:
        assert run(table, other)[0] == 0


# ---- when a run gives up


@pytest.mark.slow
def test_a_run_whose_replies_all_fail_alike_stops_early(tmp_path, server, capsys):
    path = many_rows(tmp_path / "pairs.tsv", 200)
    server.reply = lambda request: shorten(request).rstrip(".")
    assert run(path, server, "--concurrency", "4") == (2, None)
    assert "replies were all rejected for one reason (no end of a sentence" in capsys.readouterr().err
    first = len(server.requests)
    assert first < 50
    assert run(path, server, "--concurrency", "4") == (2, None)  # rows that failed before don't count again
    assert first < len(server.requests) < 120
    server.reply = shorten
    assert run(path, server, "--tries", "9")[0] == 0


def test_a_number_in_a_verdict_makes_it_no_other_cause(tmp_path, server, capsys):
    path = many_rows(tmp_path / "pairs.tsv", 200)
    server.reply = lambda request: "Ah. " * 9 + shorten(request)
    assert run(path, server, "--concurrency", "2") == (2, None) and len(server.requests) < 50
    assert "sentences); read some in" in capsys.readouterr().err


@pytest.mark.slow
def test_few_rows_or_several_causes_stop_nothing(tmp_path, server):
    path = many_rows(tmp_path / "pairs.tsv", 60)
    faults, lock = iter(range(10**6)), threading.Lock()

    def reply(request):
        with lock:
            return ("Sure, here.", shorten(request).rstrip("."))[next(faults) % 2]

    server.reply = reply
    assert run(path, server, "--concurrency", "1")[0] == 1 and len(server.requests) == 180
    few = many_rows(tmp_path / "few.tsv", asking.BARREN - 1)
    server.reply = lambda request: "Sure, here."
    assert run(few, server, "--concurrency", "1", "--tries", "9", "--seed", "1")[0] == 1


def test_a_stretch_of_bad_rows_stops_no_run_that_brings_paraphrases(tmp_path, server):
    path = many_rows(tmp_path / "pairs.tsv", 60)
    server.reply = lambda request: (
        "Sure, here." if "passage 1" in request["messages"][-1]["content"] else shorten(request)
    )
    assert run(path, server, "--concurrency", "1")[0] == 1
    assert len(server.requests) == 60 + 2 * 11  # 1 and 10 to 19, each with all its tries


@pytest.mark.parametrize("what", ["drop", "keep-original"])
def test_a_run_without_any_paraphrase_is_no_success(tmp_path, server, capsys, what):
    path = many_rows(tmp_path / "pairs.tsv", 4)
    server.reply = lambda request: (400, refusal("no", code="content_policy_violation"))
    assert run(path, server, "--accept-rejects", what) == (1, None)
    errors = capsys.readouterr().err
    assert "4 rows lack a paraphrase" in errors and "not one reply of --tries 3 a row could serve" in errors
    assert "--accept-rejects" not in errors.splitlines()[-1]


def test_progress_says_what_keeps_a_run(table, server, tmp_path):  # noqa: F811
    from paraphrase.journal import Journal
    from paraphrase.progress import progress_text

    with Journal(tmp_path / "j.jsonl", "m") as journal:
        asker = asking.Asker(None, journal, Server(server.url, "m"), asking.Effort())
        asker.failures["no answer in time"] = 3
        assert progress_text(asker, 5, time.monotonic()).endswith("0 rejected, 3 × no answer in time")
