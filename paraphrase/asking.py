"""Calls to an OpenAI-compatible server, many at a time: limits kept, faults told apart, every reply journaled."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from paraphrase.journal import Journal
from paraphrase.plan import Request, call_body, wording
from paraphrase.prompts import ACCEPTED, Prompt, clean, messages, verdict_on
from script import InputError, log

RETRIES = 5  # of a call that met a passing fault; with FIRST_PAUSE doubled each time a quarter of a minute
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
LONGEST_WAIT = 3600  # seconds a server may ask us to wait; and for so long it may refuse every call as too many
BARREN = 10  # rows in a row, beside those under way, without any text: a fault of all rows
OVERHEAD_TOKENS = 50  # of a call beside the texts: roles, separators
LINE_EVERY = 60  # seconds between lines of progress in a log
OPENAI = "https://api.openai.com/v1"
CREDENTIALS = "credentials.txt"  # the original's: organization, then key, a line each

CUT_OFF, NO_REPLY, TOO_LATE = "connection broken", "a page or half a reply", "no answer in time"
DEAD = 3  # rows in succession that no attempt brought any answer for: the server is gone, not a row at fault
NOT_TAKEN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|forbidden|invalid param",
    re.IGNORECASE,
)
TOO_LONG = re.compile(r"too (large|long)|context (length|window)|maximum context", re.IGNORECASE)
QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


class Stop(Exception):
    """A fault that every further call would meet too. The message is one sentence with the remedy."""


# ---------------------------------------------------------------- server and key


def server_address(asked: str | None) -> str:
    """Return --base-url, OPENAI_BASE_URL or OpenAI's own address. InputError where it holds a password or query."""
    address = asked or os.environ.get("OPENAI_BASE_URL") or OPENAI
    parts = urlsplit(address)
    if "@" in parts.netloc or parts.query:
        raise InputError(f"the address of {parts.hostname} holds a name or key; put the key into OPENAI_API_KEY.")
    return address


def is_openai(address: str) -> bool:
    return (urlsplit(address).hostname or "").endswith("api.openai.com")  # eu.api.openai.com too


def client_options(address: str, timeout: float) -> dict:
    """Return what opens a client: address, key and organization.

    The key is OPENAI_API_KEY, else for OpenAI's own server the second line of credentials.txt; never sent elsewhere.

    Raises:
        InputError: OpenAI's server and no key, or something that can't be one.
    """
    key, organization = os.environ.get("OPENAI_API_KEY", "").strip(), None
    if not key and is_openai(address) and Path(CREDENTIALS).is_file():
        lines = Path(CREDENTIALS).read_text(encoding="utf-8").split()
        if len(lines) != 2:
            raise InputError(f"{CREDENTIALS} must hold two lines, organization and key; or set OPENAI_API_KEY.")
        organization, key = lines
    if not key and is_openai(address):
        raise InputError("no key: set OPENAI_API_KEY, or name a server of your own with --base-url.")
    if not key.isascii():
        raise InputError("OPENAI_API_KEY holds other than ASCII characters: paste the key itself.")
    # Faults are told apart below; the package would ask five times again for an account without money.
    options = {"api_key": key or "none", "max_retries": 0, "timeout": timeout, "organization": organization}
    return options | {"base_url": address}


async def check_model(client, model: str, where: str) -> None:
    """Look the model up in the server's list: stop where key or address are wrong, warn where its end is announced.

    Costs nothing. Servers that have no such list, or not for this key, are not held up.
    """
    import openai

    try:
        listed = await client.with_options(max_retries=2, timeout=20).models.list()
        found = {item.id: item for item in listed.data or ()}.get(model)
    except openai.AuthenticationError as error:
        raise Stop(fault_of(error, {}, where, model).reason) from None
    except (openai.APITimeoutError, openai.APIStatusError):
        return
    except openai.APIConnectionError:
        raise Stop(no_server(where)) from None
    except (openai.APIError, ValueError, AttributeError):  # not what a list of models looks like
        return
    ends = getattr(found, "shutdown_date", None)
    if ends:
        log.warning("%s will be shut down on %s; what is missing then has to come from another model", model, ends)


def no_server(where: str) -> str:
    return f"no server answers at {where}; start it, or check --base-url and the network."


# ---------------------------------------------------------------- faults


class Fault(NamedTuple):
    """What a failed call means: "stop" all, "refused" row, ask "again", leave out a "parameter", "slow" down."""

    kind: str
    reason: str
    seconds: float | None = None  # the server asks us to wait


def fault_of(error: Exception, body: dict, where: str, model: str) -> Fault:
    """Tell what an exception of the openai package means. Its own text is never shown: it may quote key or passage."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return Fault("again", TOO_LATE)
    if isinstance(error, openai.APIConnectionError):
        return Fault("again", CUT_OFF)
    if not isinstance(error, openai.APIStatusError):
        return Fault("again", NO_REPLY)
    told = {"code": error.code, "type": error.type, "param": error.param, "message": str(error.message)}
    fault = fault_of_status(error.status_code, told, body, where, model)
    return fault._replace(seconds=asked_to_wait(error.response.headers))


def fault_of_status(status: int, told: dict, body: dict, where: str, model: str) -> Fault:
    """Tell what an HTTP status and the fields of an error object mean."""
    codes = {told.get("code"), told.get("type")}
    if status == 402 or codes & QUOTA:
        return Fault("stop", "the account's quota is used up; raise it or wait, then run again.")
    if status in (401, 403):
        return Fault("stop", f"{where} refuses the key (HTTP {status}); set OPENAI_API_KEY to a valid one.")
    if status == 404 or "model_not_found" in codes:
        reason = f"{where} has no model {model!r} (HTTP {status}); name one with --model, or check --base-url."
        return Fault("stop", reason)
    if status == 429:
        return Fault("slow", "too many requests")
    if status in (408, 409, 425) or status >= 500:
        return Fault("again", f"HTTP {status}")
    parameter = refused_parameter(told, body)
    if parameter:
        return Fault("parameter", parameter)
    return Fault("refused", f"refused by the server: {told.get('code') or f'HTTP {status}'}")


def refused_parameter(told: dict, body: dict) -> str | None:
    """Return which of the call's parameters the server doesn't take; None where the error is about something else."""
    message = told.get("message") or ""
    if not NOT_TAKEN.search(f"{told.get('code')} {message}") or TOO_LONG.search(message):
        return None
    dispensable = body.keys() - {"model", "messages"}
    if told.get("param") in dispensable:
        return told["param"]
    # Servers other than OpenAI's name it in the message alone.
    named = [name for name in dispensable if re.search(rf"\b{name}\b", message)]
    return named[0] if len(named) == 1 and not told.get("param") else None


def asked_to_wait(headers) -> float | None:
    """Return the seconds that Retry-After tells, in any of its three forms; None where it tells none."""
    with contextlib.suppress(TypeError, ValueError):
        return float(headers.get("retry-after-ms")) / 1000
    with contextlib.suppress(TypeError, ValueError):
        return float(headers.get("retry-after"))
    with contextlib.suppress(TypeError, ValueError):
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after"))
        return max(0.0, moment.timestamp() - time.time())
    return None


def seconds_of(text: str) -> float:
    """Return the seconds of a duration as OpenAI's headers write it: 6m0s, 1.5s, 120ms, or a plain number."""
    if re.fullmatch(r"[\d.]+", text):
        return float(text)
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))


# ---------------------------------------------------------------- how many at once


class Gate:
    """Lets calls start: as many at once, as soon and as dear as --concurrency, the server and --max-cost allow."""

    def __init__(self, most: int, max_cost: float | None, journal: Journal):
        self.most, self.allowed, self.under_way = most, float(most), 0
        self.closed_until = self.last_cut = 0.0  # monotonic seconds
        self.max_cost, self.reserved, self.lost, self.journal = max_cost, 0.0, 0.0, journal
        self.waiting: list[asyncio.Future] = []
        self.stopped = False

    async def enter(self, worst_cost: float) -> bool:
        """Wait until a call may start; return False where none may any more. Stop where the money doesn't reach."""
        while not self.stopped:
            pause = self.closed_until - time.monotonic()
            if pause > 0:
                await self.change(pause)
            elif not self.affords(worst_cost) and self.under_way == 0:
                raise Stop(f"--max-cost {self.max_cost:g} is reached; raise it to go on.")
            elif self.under_way < max(1, int(self.allowed)) and self.affords(worst_cost):
                self.under_way += 1
                self.reserved += worst_cost
                return True
            else:
                await self.change()
        return False

    def leave(self, worst_cost: float) -> None:
        self.under_way -= 1
        self.reserved -= worst_cost
        self.wake()

    def stop(self) -> None:
        self.stopped = True
        self.wake()

    def affords(self, worst_cost: float) -> bool:
        """Tell whether a call fits into --max-cost even if it and all others under way cost what they can at most."""
        return self.max_cost is None or self.journal.cost + self.lost + self.reserved + worst_cost <= self.max_cost

    async def change(self, seconds: float | None = None) -> None:
        """Return when a call ended or all is to stop, after so many seconds at the latest."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        await asyncio.wait([waiter], timeout=seconds)

    def wake(self) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)
        self.waiting.clear()

    def close(self, seconds: float) -> None:
        """Let no call start for so long."""
        self.closed_until = max(self.closed_until, time.monotonic() + seconds)

    def too_many(self, started: float, seconds: float) -> None:
        """Halve the calls at once, but only once for all that were under way together; pause."""
        if started > self.last_cut:
            self.last_cut = time.monotonic()
            self.allowed = max(1.0, min(self.allowed, self.under_way) / 2)
        self.close(seconds)

    def answered(self, headers, tokens: int) -> None:
        """Let slowly more through, but no more than what the server's headers say is left.

        Args:
            tokens: that a call takes.
        """
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)
        for kind, need in (("requests", 1), ("tokens", max(1, tokens))):
            told = [headers.get(f"x-ratelimit-{what}-{kind}") for what in ("remaining", "limit", "reset")]
            with contextlib.suppress(TypeError, ValueError):
                remaining, limit, reset = float(told[0]), float(told[1]), seconds_of(told[2])
                if limit > 0 <= remaining < limit:
                    self.allowed = max(1.0, min(self.allowed, self.under_way + remaining / need))
                    if remaining < need:  # refilled evenly: so long until it is enough for a call
                        self.close((need - remaining) * reset / (limit - remaining))


# ---------------------------------------------------------------- asking


class Asker:
    """Asks one server for paraphrases and journals every reply.

    Attributes:
        verdicts: why replies were rejected, and how many were accepted, in this run.
        failures: calls that brought no reply, by kind; their rows are asked for again by the next run.
        finished: rows that this run is done with.
    """

    def __init__(self, client, journal: Journal, prompts: dict[str, Prompt], price: tuple[float, float] | None, args):
        self.client, self.journal, self.prompts, self.price, self.args = client, journal, prompts, price, args
        self.gate = Gate(args.concurrency, args.max_cost, journal)
        self.verdicts, self.failures, self.finished = Counter(), Counter(), 0
        self.barren, self.unanswered, self.proven, self.last_answer = 0, 0, False, time.monotonic()
        self.fault: BaseException | None = None
        self.interrupted: signal.Signals | None = None
        self.where = args.base_url

    async def run(self, requests: Iterator[Request]) -> None:
        """Ask for all requests. Where all is to stop, calls under way still end and their replies are journaled.

        Raises:
            Stop: a fault that every call would meet. OSError: the journal can't be written.
        """

        async def work() -> None:
            try:
                for request in requests:
                    if self.gate.stopped:
                        return
                    await self.paraphrase(request)
                    if self.journal.failed:
                        raise self.journal.failed
                    self.finished += 1
            except BaseException as fault:
                self.fault = self.fault or fault
                self.gate.stop()

        await asyncio.gather(*(work() for _ in range(self.args.concurrency)))
        if self.fault:
            raise self.fault

    async def paraphrase(self, request: Request) -> None:
        """Ask for each step of a row until it is accepted or the tries, those of earlier runs too, are used up."""
        while step := self.journal.outstanding(request, self.prompts):
            if self.journal.tries(step) >= self.args.tries or not await self.have(step):
                return

    async def have(self, request: Request) -> bool:
        """Get one reply and journal it; return False where none came. Passing faults are waited out."""
        faults = Counter()
        while await self.gate.enter(worst := self.worst_cost(request)):
            body, started = self.body(request), time.monotonic()
            try:
                fault = await self.try_call(request, body)
            finally:
                self.gate.leave(worst)
            if fault is None:
                return True
            if fault.kind in ("again", "slow"):
                self.failures[fault.reason] += 1
            if fault.reason in (TOO_LATE, NO_REPLY):
                self.gate.lost += worst  # the server may have worked for it, and charge it
            if fault.kind == "refused":
                await self.journal_refusal(request, body, fault)
                return True
            if fault.kind == "parameter":
                await self.leave_out(fault.reason)
            elif fault.kind == "slow":
                self.slow_down(started, fault, faults["slow"])
            elif faults["again"] == RETRIES:
                return await self.give_up(request, body, fault)
            else:
                await self.pause(fault, faults["again"])
            faults[fault.kind] += 1
        return False

    async def try_call(self, request: Request, body: dict) -> Fault | None:
        """Make one call and journal its reply; return the fault where none came. Stop where all others would fail."""
        import openai

        try:
            import httpx2 as httpx  # the package's own HTTP library since its version 3
        except ImportError:
            import httpx

        started = time.monotonic()
        try:
            # chat.completions.create would do the same, but takes a third longer to copy and check what is sent.
            async with asyncio.timeout(self.args.timeout):  # the package's own is for each piece of a reply
                response = await self.client.post("/chat/completions", body=body, cast_to=httpx.Response)
            reply = reply_of(response.json(), response.headers.get("x-request-id"))
        except ValueError:  # a page, or cut off on its way
            return Fault("again", NO_REPLY)
        except TimeoutError:
            return Fault("again", TOO_LATE)
        except openai.APIError as error:
            fault = fault_of(error, body, self.where, self.args.model)
            if fault.kind == "stop" and getattr(error, "status_code", 0) == 403 and self.proven:
                return Fault("refused", "refused by the server: HTTP 403")  # the key has served before
            if fault.kind == "stop":
                raise Stop(fault.reason) from None
            if (fault.seconds or 0) > LONGEST_WAIT:
                raise Stop(f"{self.where} asks to wait {fault.seconds / 60:.0f} minutes; run again then.") from None
            return fault
        self.unanswered, self.proven, self.last_answer = 0, True, time.monotonic()
        self.gate.answered(response.headers, (reply.usage or {}).get("total_tokens", 0))
        await self.journal_reply(request, body, reply, self.last_answer - started)
        return None

    def body(self, request: Request) -> dict:
        seed = request.seed + self.journal.tries(request)
        refused = self.journal.refused
        return call_body(request, self.args.model, seed, self.args.max_tokens, self.args.at_openai, refused)

    def worst_cost(self, request: Request) -> float:
        """Return dollars that a call can cost at most: a token is one byte or more, and max_tokens is the rest."""
        if not self.price:
            return 0.0
        texts = "".join(message["content"] for message in messages(request.prompt, request.source))
        return cost_of(len(texts.encode()) + OVERHEAD_TOKENS, self.args.max_tokens, self.price)

    async def journal_reply(self, request: Request, body: dict, reply, seconds: float) -> None:
        """Judge a reply and put it on disk."""
        entry = reply_entry(request, body, reply, self.price, self.where)
        if self.price and entry["cost"] is None:  # the server doesn't tell
            entry["cost"] = self.worst_cost(request)
        self.barren = 0 if entry["text"] else self.barren + 1
        await self.keep(entry | {"seconds": round(seconds, 2)})

    async def journal_refusal(self, request: Request, body: dict, fault: Fault) -> None:
        """Keep that the server refuses this row, as a try that was rejected. It costs nothing."""
        self.barren += 1
        await self.keep(entry_of(request, fault.reason, body, self.where))

    async def keep(self, entry: dict) -> None:
        await self.journal.append(entry)
        self.verdicts[entry["verdict"]] += 1
        self.check_barren(entry["verdict"])

    async def leave_out(self, parameter: str) -> None:
        """Go on without a parameter, in this run and later ones, and say so once."""
        if parameter not in self.journal.refused:
            log.warning("the server refuses the parameter %s; going on without it", parameter)
            self.journal.refused.add(parameter)
            await self.journal.append(parameter_note(parameter, self.args.model, self.where))

    def slow_down(self, started: float, fault: Fault, attempt: int) -> None:
        """Start fewer calls, later. Stop where nothing came through for an hour."""
        if time.monotonic() - self.last_answer > LONGEST_WAIT:
            raise Stop(f"{self.where} has refused every call as too many for an hour; run again later.")
        self.gate.too_many(started, max(fault.seconds or 0.0, pause_after(min(attempt, RETRIES))))

    async def pause(self, fault: Fault, attempt: int) -> None:
        """Wait before this row's next attempt; where the server asks for a wait, let all others wait as well."""
        if fault.seconds is not None:
            self.gate.close(fault.seconds)
        end = time.monotonic() + pause_after(attempt)
        while not self.gate.stopped and (left := end - time.monotonic()) > 0:
            await self.gate.change(left)

    async def give_up(self, request: Request, body: dict, fault: Fault) -> bool:
        """Journal that a row got no reply, as a try; the next run asks again. Stop where the fault is no row's own."""
        self.unanswered += 1
        if self.unanswered >= DEAD and fault.reason == NO_REPLY:
            raise Stop(f"{self.where} answers with a page, not with a completion; check --base-url.")
        if self.unanswered >= DEAD and fault.reason == CUT_OFF:
            raise Stop(no_server(self.where))
        self.barren += 1
        await self.keep(entry_of(request, f"no reply: {fault.reason}", body, self.where))
        return False

    def check_barren(self, reason: str) -> None:
        if self.barren >= BARREN + self.args.concurrency:
            raise Stop(
                f"the last {self.barren} calls brought no text ({reason}); try --preview 1, another --model, or, for "
                "one that thinks first, a larger --max-tokens."
            )

    def interrupt(self, number: signal.Signals) -> None:
        """On a signal start no more calls; on a second one drop those under way too."""
        if self.interrupted:
            os._exit(128 + number)
        self.interrupted = number
        log.warning("interrupted: waiting for %d replies under way (again to drop them)", self.gate.under_way)
        self.gate.stop()


def parameter_note(parameter: str, model: str, where: str) -> dict:
    """Return the journal entry that says that a model's server doesn't take a parameter."""
    return {"event": "parameter refused", "param": parameter, "asked_model": model, "where": where}


def pause_after(attempt: int) -> float:
    """Return the seconds before another attempt, doubled each time, up to half less by chance so that calls spread."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)


def cost_of(tokens_in: int, tokens_out: int, price: tuple[float, float]) -> float:
    """Return dollars, by a price in dollars per million tokens in and out."""
    return (tokens_in * price[0] + tokens_out * price[1]) / 1e6


def entry_of(request: Request, verdict: str, body: dict, where: str) -> dict:
    """Return the part of a journal entry that is known without a reply; never the source, which is in the table."""
    settings = {name: value for name, value in body.items() if name not in ("messages", "seed", "temperature")}
    digest = hashlib.sha256(repr((where, wording(request.prompt), sorted(settings.items()))).encode()).hexdigest()
    return {
        "key": request.key,
        "verdict": verdict,
        "settings": digest[:16],
        "asked_model": body["model"],
        "system_prompt": request.prompt.name,
        "temperature": body.get("temperature"),
        "seed": body.get("seed"),
    }


class Reply(NamedTuple):
    """What counts of a chat completion."""

    text: str
    finish_reason: str | None
    refused: bool
    model: str | None
    usage: dict | None
    request_id: str | None


def reply_of(body, request_id: str | None) -> Reply:
    """Read a completion's JSON, whatever a server has left out of it. ValueError where it is no completion at all."""
    if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
        raise ValueError("no chat completion")
    choice = dict_of(body["choices"][0] if body["choices"] else None)
    message, usage = dict_of(choice.get("message")), dict_of(body.get("usage"))
    content = message.get("content")
    if isinstance(content, list):  # in parts
        content = "".join(str(dict_of(part).get("text") or "") for part in content)
    tokens = {name: n for name in ("prompt_tokens", "completion_tokens") if isinstance(n := usage.get(name), int)}
    whole = {**usage, **tokens, "total_tokens": sum(tokens.values())} if len(tokens) == 2 else None
    text = content if isinstance(content, str) else ""
    return Reply(text, choice.get("finish_reason"), bool(message.get("refusal")), body.get("model"), whole, request_id)


def dict_of(value) -> dict:
    return value if isinstance(value, dict) else {}


def reply_entry(request: Request, body: dict, reply: Reply, price: tuple[float, float] | None, where: str) -> dict:
    """Judge a reply; return its journal entry."""
    usage = reply.usage or {}
    verdict = verdict_on(reply.text, reply.finish_reason, request.source, request.prompt, usage.get("total_tokens", 0))
    if not reply.text and reply.refused:
        verdict = "refused by the model"
    return entry_of(request, verdict, body, where) | {
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "usage": reply.usage,
        "cost": cost_of(usage["prompt_tokens"], usage["completion_tokens"], price) if usage and price else None,
        "request_id": reply.request_id,
        "text": clean(reply.text),
    }


# ---------------------------------------------------------------- progress


def progress_text(asker: Asker, total: int, begun: float) -> str:
    """Return one line: rows done, time left, money, tokens, replies accepted, and rejected by reason."""
    journal, done = asker.journal, asker.finished
    rejected = {reason: count for reason, count in asker.verdicts.most_common() if reason != ACCEPTED}
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    tokens = journal.totals["prompt_tokens"] + journal.totals["completion_tokens"]
    left = (time.monotonic() - begun) / done * (total - done) if done else None
    return (
        f"{done} of {total} rows, {'?' if left is None else clock(left)} left, {money(journal)}, {tokens:,} tokens, "
        f"{asker.verdicts[ACCEPTED]} replies accepted, {sum(rejected.values())} rejected"
        f"{f' ({reasons})' if reasons else ''}"
    )


def money(journal: Journal) -> str:
    """Return what all replies of the journal cost."""
    if journal.unpriced == 0:
        return dollars(journal.cost)
    unknown = f"{journal.unpriced:,} replies of unknown price"
    return f"{dollars(journal.cost)} and {unknown}" if journal.cost else "price unknown"


def dollars(amount: float) -> str:
    """Return an amount to read; of a few cents, hundredths of them too."""
    return f"${amount:.4f}" if amount < 0.1 else f"${amount:,.2f}"


def clock(seconds: float) -> str:
    """Return a duration to read: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


async def show_progress(asker: Asker, total: int) -> None:
    """Until cancelled show how far it is: a bar on a terminal, else a line in the log now and then."""
    begun = time.monotonic()
    if not sys.stderr.isatty():
        while True:
            await asyncio.sleep(LINE_EVERY)
            log.info("%s", progress_text(asker, total, begun))
    from tqdm import tqdm

    with tqdm(total=total, unit=" rows", bar_format="{percentage:3.0f}%|{bar:20}| {desc}", dynamic_ncols=True) as bar:
        try:
            while True:
                bar.n = asker.finished
                bar.set_description_str(progress_text(asker, total, begun))
                await asyncio.sleep(0.5)
        finally:
            bar.n = asker.finished
            bar.set_description_str(progress_text(asker, total, begun))


async def ask(requests: Iterator[Request], total: int, journal: Journal, prompts: dict, price, args) -> None:
    """Ask a server for these requests, journaling every reply, with progress.

    Raises:
        Stop: a fault that every call would meet; what came so far is journaled.
        KeyboardInterrupt: a signal came, its number the argument; the calls under way have ended.
    """
    import openai

    async with openai.AsyncOpenAI(**client_options(args.base_url, args.timeout)) as client:
        asker = Asker(client, journal, prompts, price, args)
        await check_model(client, args.model, asker.where)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError, RuntimeError):  # not the main thread
                loop.add_signal_handler(number, asker.interrupt, number)
        showing = asyncio.create_task(show_progress(asker, total))
        try:
            await asker.run(requests)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)  # the bar ends before the next line begins
            if asker.failures:
                log.info("calls without a reply: %s", ", ".join(f"{n} × {what}" for what, n in asker.failures.items()))
    if asker.interrupted:
        raise KeyboardInterrupt(asker.interrupted)
