"""A real HTTP server that answers with every fault that servers of the OpenAI protocol are known for.

`Faults` is a `reply` for OpenAIServer: of a share of the requests, drawn with a seed, it answers with one of the
named faults, and slowly. By hand: python tests/fault_server.py 8000 0.3 busy,reset,html
"""

from __future__ import annotations

import random
import sys
import threading
import time

from openai_server import Answer, OpenAIServer, completion, refusal, shorten

PAGE = "<html><body>502 Bad Gateway</body></html>"


def text(make, **fields):
    """Return a fault that is a reply with this text."""
    return lambda request: Answer(200, completion(request, make(request), **fields))


def source(request: dict) -> str:
    return request["messages"][-1]["content"]


def error(status: int, message: str, headers=(), **fields):
    return lambda request: Answer(status, refusal(message, **fields), headers)


# What passes by itself: the same call succeeds later.
PASSING = {
    "rate limit": error(429, "slow down", (("retry-after-ms", "30"),), code="rate_limit_exceeded", type="requests"),
    "rate limit, seconds": error(429, "slow down", (("retry-after", "0.05"),), code="rate_limit_exceeded"),
    "rate limit, bare": error(429, "slow down", code="rate_limit_exceeded"),
    "busy": error(500, "oops"),
    "overloaded": error(503, "try later", (("retry-after", "0.02"),)),
    "page 502": lambda request: Answer(502, PAGE),
    "page 200": lambda request: Answer(200, PAGE),
    "reset": lambda request: Answer(200, "", how="reset"),
    "cut": lambda request: Answer(200, completion(request, shorten(request)), how="cut"),
    "half JSON": lambda request: Answer(200, '{"id": "chatcmpl'),
    "hang": lambda request: Answer(200, completion(request, shorten(request)), seconds=60),
}
# A reply that must not serve as a paraphrase; another try gets a better one.
BAD_REPLIES = {
    "no choices": lambda request: Answer(200, completion(request, "") | {"choices": []}),
    "null content": text(lambda request: None),
    "refusal": text(lambda request: None, refusal="I can't."),
    "cut off": text(shorten, finish_reason="length"),
    "filtered": text(lambda request: "", finish_reason="content_filter"),
    "thinks to the end": text(lambda request: "", finish_reason="length", reasoning_content="hm"),
    "open thoughts": text(lambda request: "<think>hm, the passage"),
    "chat": text(lambda request: "Sure! Here is a condensed version."),
    "apology": text(lambda request: "I'm sorry, I can't help with that."),
    "copy": text(source),
    "echo of the prompt": text(lambda request: request["messages"][0]["content"]),
    "the word": text(lambda request: "generate"),
    "list": text(lambda request: "- " + shorten(request).replace(". ", ".\n- ")),
    "question": text(lambda request: shorten(request) + " Would you like it shorter?"),
    "too short": text(lambda request: "Yes."),
    "one sentence too many": text(lambda request: "Oh no. " * 4 + shorten(request)),
    "other script": text(lambda request: "Торговля выросла. Народ процветал."),
    "nothing usable": text(lambda request: "\ud83d\0\n"),
}
# Every further call would meet it too.
FATAL = {
    "key": error(401, "Incorrect API key provided: sk-secret-1"),
    "forbidden": error(403, "sk-secret-1 may not"),
    "model gone": error(404, "gone", code="model_not_found"),
    "quota": error(429, "pay", code="insufficient_quota", type="insufficient_quota"),
    "no money": error(402, "Insufficient Balance"),
}
# This row will never be answered.
REFUSALS = {
    "too long": error(400, "maximum context length", code="context_length_exceeded", param="messages"),
    "policy": error(400, "policy", code="content_policy_violation"),
    "too large": error(413, "large"),
}
FAULTS = PASSING | BAD_REPLIES | FATAL | REFUSALS


class Faults:
    """Answers well, but for a share of the requests with a fault drawn from the named ones.

    Attributes:
        given: the faults that were given, in order; good: (time, passage) of each good answer.
    """

    def __init__(self, names, share: float = 1.0, seed: int = 0, seconds: float = 0.0, good=shorten):
        self.names, self.share, self.seconds, self.reply = sorted(names), share, seconds, good
        self.dice, self.lock = random.Random(seed), threading.Lock()
        self.given, self.good = [], []

    def __call__(self, request: dict) -> Answer:
        with self.lock:
            name = self.dice.choice(self.names) if self.names and self.dice.random() < self.share else None
            seconds = self.dice.uniform(0, 2 * self.seconds)
            (self.given if name else self.good).append(name or (time.time(), source(request)))
        if name is None:
            return Answer(200, completion(request, self.reply(request)), seconds=seconds)
        answer = FAULTS[name](request)
        return answer._replace(seconds=answer.seconds + seconds)


class Limited:
    """Answers well as long as no more than so many requests a second come, by a bucket; says so in the headers."""

    def __init__(self, each_second: float, bucket: int, good=shorten):
        self.rate, self.bucket, self.left, self.then = each_second, bucket, float(bucket), time.monotonic()
        self.reply, self.lock, self.refused = good, threading.Lock(), 0

    def __call__(self, request: dict) -> Answer:
        with self.lock:
            now = time.monotonic()
            self.left, self.then = min(self.bucket, self.left + (now - self.then) * self.rate), now
            enough = self.left >= 1
            self.left -= enough
            self.refused += not enough
            told = {
                "x-ratelimit-limit-requests": self.bucket,
                "x-ratelimit-remaining-requests": int(self.left),
                "x-ratelimit-reset-requests": f"{int((self.bucket - self.left) / self.rate * 1000)}ms",
            }
        headers = tuple((name, str(value)) for name, value in told.items())
        if not enough:
            return Answer(429, refusal("slow down", code="rate_limit_exceeded"), headers)
        return Answer(200, completion(request, self.reply(request)), headers, seconds=0.05)


if __name__ == "__main__":
    port, share, names = (sys.argv[1:] + ["0", "0.3", ",".join(PASSING)][len(sys.argv) - 1 :])[:3]
    with OpenAIServer(Faults(names.split(","), float(share), seconds=0.2), int(port)) as running:
        print(running.url, flush=True)
        threading.Event().wait()
