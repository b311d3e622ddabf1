"""The server: its address, the body of a call, and what its answers and errors mean.

In: settings, a Request, an HTTP answer or an exception of the openai package. Out: what opens a client, the parameters
of a call, a Reply, or a Fault that says whether to stop, try again, slow down or leave a parameter out.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import NamedTuple

from paraphrase.address import is_openai, proxy_for
from paraphrase.key import find_key, without_key
from paraphrase.leftovers import THOUGHT, kind_of
from paraphrase.plan import Request
from paraphrase.prices import Price
from paraphrase.prompts import messages
from paraphrase.waits import asked_to_wait
from script import InputError, log

CUT_OFF, NO_REPLY, TOO_LATE = "connection broken", "a page or half a reply", "no answer in time"
NOT_TAKEN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|forbidden|invalid param",
    re.IGNORECASE,
)
CODE = re.compile(r"[\w.:-]{1,60}")
TOO_LONG = re.compile(r"too (large|long)|context (length|window)|maximum context", re.IGNORECASE)
LONGEST_LOOK = 60  # seconds for the list of models, which a run can do without
# What an error without an HTTP status is, by the words in its code, its type, or else its message.
STATUSES = {
    402: re.compile(r"quota|credit|balance|billing|payment", re.IGNORECASE),
    429: re.compile(r"rate.?limit|too.?many|throttl|exhausted|overload|capacity|busy", re.IGNORECASE),
    401: re.compile(r"unauthori[sz]ed|authentication|(invalid|incorrect|missing).?(api.?)?key", re.IGNORECASE),
    404: re.compile(r"model.{0,80}not.?(found|exist)", re.IGNORECASE),
    500: re.compile(r"server|internal|unavailable|time.?out|loading|upstream|provider|connection", re.IGNORECASE),
}
QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


class Stop(Exception):
    """A fault that every further call would meet too. The message is one sentence with the remedy."""


# ---------------------------------------------------------------- address


@dataclass(frozen=True)
class Server:
    """Which model is asked, where and how."""

    address: str
    model: str
    timeout: float = 300  # seconds for one reply
    max_tokens: int = 768  # of a reply; five long sentences stay under 300
    price: Price | None = None  # None where it isn't known

    @property
    def at_openai(self) -> bool:
        return is_openai(self.address)


def client_options(address: str, timeout: float) -> dict:
    """Return what opens a client: address, key and organization. InputError as in find_key."""
    organization, key = find_key(address)
    # Faults are judged below; the package would try five more times for an account without money.
    options = {"api_key": key or "none", "max_retries": 0, "timeout": timeout, "organization": organization}
    return options | {"base_url": address}


def open_client(kind, server: Server, retries: int = 0):
    """Return a client of one of the openai package's kinds. InputError where address, key or proxy can't be used."""
    import openai

    httpx = http_library()
    options, proxy = client_options(server.address, server.timeout), proxy_for(server.address)
    http = openai.DefaultAsyncHttpxClient if kind is openai.AsyncOpenAI else openai.DefaultHttpxClient
    try:
        # The library would take proxies from the environment for this machine, too, and stumble over odd entries.
        called = http(proxy=proxy and proxy.address, trust_env=False, verify=httpx.create_ssl_context())
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        remedy = " or install the package socksio" if isinstance(error, ImportError) else ""
        raise InputError(
            f"the proxy that {proxy.variable} names can't be used; correct it{remedy}, or put the server into NO_PROXY."
            if proxy
            else f"the environment's certificates can't be used: {error}"
        ) from None
    return kind(**options | {"max_retries": retries}, http_client=called)


def http_library():
    """Return the openai package's HTTP library."""
    try:
        import httpx2 as httpx  # since its version 3
    except ImportError:
        import httpx
    return httpx


async def check_model(client, server: Server) -> None:
    """Look the model up in the server's list; Stop where key or address is wrong; warn of an announced shutdown.

    Costs nothing. A server that shows no such list is used all the same.
    """
    import openai

    try:
        async with asyncio.timeout(LONGEST_LOOK):
            listed = await client.with_options(max_retries=2, timeout=20).models.list()
        found = {item.id: item for item in listed.data or ()}.get(server.model)
    except openai.AuthenticationError as error:
        raise Stop(fault_of(error, {}, server).reason) from None
    except (TimeoutError, openai.APITimeoutError, openai.APIStatusError):
        return
    except openai.APIConnectionError:
        raise Stop(no_server(server.address)) from None
    except (openai.APIError, ValueError, AttributeError):  # not what a list of models looks like
        return
    ends = without_key(getattr(found, "shutdown_date", None), server.address)
    if ends:
        log.warning("%s will be shut down on %s; finish before that, or with another model", server.model, ends)


def no_server(address: str) -> str:
    proxy = proxy_for(address)
    way = f" through the proxy that {proxy.variable} names" if proxy else ""
    return f"no server answers at {address}{way}; start it, or check --base-url and the network."


# ---------------------------------------------------------------- a call and its reply


def call_body(request: Request, seed: int, server: Server, refused: set[str]) -> dict:
    """Return the parameters of one call, without those that the server has refused.

    OpenAI's newer models don't take max_tokens, and think first, at five times the price, unless told not to; some
    other servers know max_tokens only.
    """
    caps = ("max_completion_tokens", "max_tokens") if server.at_openai else ("max_tokens", "max_completion_tokens")
    cap = next((name for name in caps if name not in refused), None)
    wanted = {"temperature": request.temperature, "seed": seed}
    if cap:
        wanted[cap] = server.max_tokens
    if server.at_openai:
        wanted["reasoning_effort"] = "none"
    body = {"model": server.model, "messages": messages(request.prompt, request.source)}
    return body | {name: value for name, value in wanted.items() if name not in refused}


class ErrorInReply(ValueError):
    """An error object that came with HTTP 200.

    Attributes:
        status: the HTTP status that the error should have had.
        told: code, type, param and message, as far as the server tells.
    """

    def __init__(self, error):
        self.told = error if isinstance(error, dict) else {"message": str(error)}
        code, kind, status, message = (str(self.told.get(name)) for name in ("code", "type", "status", "message"))
        known = next((int(number) for number in (code, status) if re.fullmatch("[45][0-9][0-9]", number)), None)
        for words in (f"{code} {kind} {status}", message):  # the message last: it may quote the passage
            known = known or next((number for number, form in STATUSES.items() if form.search(words)), None)
        self.status = known or 400


class Reply(NamedTuple):
    """What matters in a chat completion."""

    text: str
    finish_reason: str | None
    refused: bool
    model: str | None
    usage: dict | None
    request_id: str | None


def reply_of(body, request_id: str | None, server: Server) -> Reply:
    """Read a completion's JSON, even if fields are missing.

    Raises:
        ErrorInReply: it says that the call failed. ValueError: it is no completion at all.
    """
    body, request_id = without_key([body, request_id], server.address)
    choices = dict_of(body).get("choices")
    choice = dict_of(choices[0] if isinstance(choices, list) and choices else None)
    is_error = not isinstance(choices, list) and {"code", "message"} & dict_of(body).keys()
    error = dict_of(body).get("error") or choice.get("error") or (is_error and body)
    if error:
        raise ErrorInReply(error)
    if not isinstance(choices, list):
        raise ValueError("no chat completion")
    message, usage = dict_of(choice.get("message")), dict_of(body.get("usage"))
    content = message.get("content")
    if isinstance(content, list):  # in parts
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        content = "".join(str(part.get("text") or "") for part in parts if kind_of(str(part.get("type"))) != THOUGHT)
    tokens = {name: n for name in ("prompt_tokens", "completion_tokens") if isinstance(n := usage.get(name), int)}
    whole = {**usage, **tokens, "total_tokens": sum(tokens.values())} if len(tokens) == 2 else None
    text = content if isinstance(content, str) else ""
    return Reply(text, choice.get("finish_reason"), bool(message.get("refusal")), body.get("model"), whole, request_id)


def dict_of(value) -> dict:
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------- faults


class Fault(NamedTuple):
    """What a failed call means: "stop" the run, "refused" row, try "again", omit a "parameter", "slow" down."""

    kind: str
    reason: str
    seconds: float | None = None  # that the server asks us to wait


def fault_of(error: Exception, body: dict, server: Server) -> Fault:
    """Judge an exception of the openai package. Its own text is never shown: it may quote key or passage."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return Fault("again", TOO_LATE)
    if isinstance(error, openai.APIConnectionError):
        return Fault("again", CUT_OFF)
    if not isinstance(error, openai.APIStatusError):
        return Fault("again", NO_REPLY)
    told = {"code": error.code, "type": error.type, "param": error.param, "message": str(error.message)}
    fault = fault_of_status(error.status_code, told, body, server)
    return fault._replace(seconds=asked_to_wait(error.response.headers))


def fault_of_status(status: int, told: dict, body: dict, server: Server) -> Fault:
    """Judge an HTTP status and the fields of an error object."""
    told = without_key(told, server.address)
    codes = {str(told.get("code")), str(told.get("type"))}
    if status == 402 or codes & QUOTA:
        return Fault("stop", "the account's quota is used up; raise it or wait, then run again.")
    if status in (401, 403):
        return Fault("stop", f"{server.address} refuses the key (HTTP {status}); set OPENAI_API_KEY to a valid one.")
    if status == 404 or "model_not_found" in codes:
        missing = f"{server.address} has no model {server.model!r} (HTTP {status})"
        return Fault("stop", f"{missing}; name one with --model, or check --base-url, which mostly ends with /v1.")
    if status == 429:
        return Fault("slow", "too many requests")
    if status in (408, 409, 425) or status >= 500:
        return Fault("again", f"HTTP {status}")
    parameter = refused_parameter(told, body)
    if parameter:
        return Fault("parameter", parameter)
    return Fault("refused", f"refused by the server: {code_of(told) or f'HTTP {status}'}")


def code_of(told: dict) -> str | None:
    """Return an error's code if it has the form of one; another text may quote the passage."""
    code = str(told.get("code") or "")
    return code if CODE.fullmatch(code) else None


def refused_parameter(told: dict, body: dict) -> str | None:
    """Return which of the call's parameters the server doesn't take; None where the error is about something else."""
    message, param = str(told.get("message") or ""), str(told.get("param") or "")
    if not NOT_TAKEN.search(f"{told.get('code')} {message}") or TOO_LONG.search(message):
        return None
    dispensable = body.keys() - {"model", "messages"}
    if param in dispensable:
        return param
    # Servers other than OpenAI's name it in the message alone.
    named = [name for name in dispensable if re.search(rf"\b{name}\b", message)]
    return named[0] if len(named) == 1 and not param else None
