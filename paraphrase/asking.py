"""Calls to the server, many at a time: limits kept, faults judged, every reply journaled.

In: requests of rows that lack their paraphrase. Out: entries in the journal, accepted or not. Stop for a fault that
every call would meet, KeyboardInterrupt with the signal's number where one came; what came so far is journaled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from paraphrase.entries import entry_of, parameter_note, reply_entry
from paraphrase.gate import Gate
from paraphrase.journal import Journal
from paraphrase.plan import Request
from paraphrase.prices import cost_of
from paraphrase.progress import show_progress
from paraphrase.prompts import messages
from paraphrase.server import (
    CUT_OFF,
    LONGEST_WAIT,
    NO_REPLY,
    TOO_LATE,
    Fault,
    Reply,
    Server,
    Stop,
    call_body,
    check_model,
    client_options,
    fault_of,
    no_server,
    reply_of,
)
from script import log

RETRIES = 5  # of a call that met a passing fault; with FIRST_PAUSE doubled each time, that is a quarter of a minute
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
BARREN = 10  # consecutive rows, besides those under way, without any text: no row's own fault
DEAD = 3  # consecutive rows without any answer to any attempt: the server is gone
OVERHEAD_TOKENS = 50  # of a call besides the texts: roles, separators


@dataclass(frozen=True)
class Effort:
    """How much a run asks for."""

    concurrency: int = 16  # calls at once, at most
    tries: int = 3  # rejected replies allowed per row, over all runs
    limit: int | None = None  # rows to ask for in this run
    max_cost: float | None = None  # dollars, over all runs


class Asker:
    """Asks one server for paraphrases and journals every reply.

    Attributes:
        verdicts: why replies were rejected, and how many were accepted, in this run.
        failures: calls that brought no reply, by kind; the next run asks for their rows again.
        finished: rows that this run is done with.
    """

    def __init__(self, client, journal: Journal, server: Server, effort: Effort):
        self.client, self.journal, self.server, self.effort = client, journal, server, effort
        self.gate = Gate(effort.concurrency, effort.max_cost, journal)
        self.verdicts, self.failures, self.finished = Counter(), Counter(), 0
        self.barren, self.unanswered, self.proven, self.last_answer = 0, 0, False, time.monotonic()
        self.fault: BaseException | None = None
        self.interrupted: signal.Signals | None = None

    async def run(self, requests: Iterator[Request]) -> None:
        """Ask for all requests. On a stop, calls under way still end and their replies are journaled.

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

        await asyncio.gather(*(work() for _ in range(self.effort.concurrency)))
        if self.fault:
            raise self.fault

    async def paraphrase(self, request: Request) -> None:
        """Ask for each step of a row until one reply is accepted or the tries, earlier runs' included, are used up."""
        while step := self.journal.outstanding(request):
            if self.journal.tries(step) >= self.effort.tries or not await self.have(step):
                return

    async def have(self, request: Request) -> bool:
        """Get one reply and journal it; return False where none came. Passing faults are retried."""
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
            async with asyncio.timeout(self.server.timeout):  # the package's own timeout is for each piece of a reply
                response = await self.client.post("/chat/completions", body=body, cast_to=httpx.Response)
            reply = reply_of(response.json(), response.headers.get("x-request-id"), self.server)
        except ValueError:  # a page, or cut off on its way
            return Fault("again", NO_REPLY)
        except TimeoutError:
            return Fault("again", TOO_LATE)
        except openai.APIError as error:
            return self.judge(error, body)
        self.unanswered, self.proven, self.last_answer = 0, True, time.monotonic()
        self.gate.answered(response.headers, (reply.usage or {}).get("total_tokens", 0))
        await self.journal_reply(request, body, reply, self.last_answer - started)
        return None

    def judge(self, error: Exception, body: dict) -> Fault:
        """Return what an error means for this row. Stop where every call would meet it."""
        fault = fault_of(error, body, self.server)
        if fault.kind == "stop" and getattr(error, "status_code", 0) == 403 and self.proven:
            return Fault("refused", "refused by the server: HTTP 403")  # the key has served before
        if fault.kind == "stop":
            raise Stop(fault.reason) from None
        if (fault.seconds or 0) > LONGEST_WAIT:
            minutes = fault.seconds / 60
            raise Stop(f"{self.server.address} asks to wait {minutes:.0f} minutes; run again after that.") from None
        return fault

    def body(self, request: Request) -> dict:
        seed = request.seed + self.journal.tries(request)
        return call_body(request, seed, self.server, self.journal.refused)

    def worst_cost(self, request: Request) -> float:
        """Return dollars that a call can cost at most: a token is one byte or more, and max_tokens is the rest."""
        if not self.server.price:
            return 0.0
        texts = "".join(message["content"] for message in messages(request.prompt, request.source))
        return cost_of(len(texts.encode()) + OVERHEAD_TOKENS, self.server.max_tokens, self.server.price)

    async def journal_reply(self, request: Request, body: dict, reply: Reply, seconds: float) -> None:
        """Judge a reply and put it on disk."""
        entry = reply_entry(request, body, reply, self.server)
        if self.server.price and entry["cost"] is None:  # the server doesn't say
            entry["cost"] = self.worst_cost(request)
        self.barren = 0 if entry["text"] else self.barren + 1
        await self.keep(entry | {"seconds": round(seconds, 2)})

    async def journal_refusal(self, request: Request, body: dict, fault: Fault) -> None:
        """Journal that the server refuses this row, as a rejected try. It costs nothing."""
        self.barren += 1
        await self.keep(entry_of(request, fault.reason, body, self.server))

    async def keep(self, entry: dict) -> None:
        await self.journal.append(entry)
        self.verdicts[entry["verdict"]] += 1
        self.check_barren(entry["verdict"])

    async def leave_out(self, parameter: str) -> None:
        """Continue without a parameter, in this run and later ones, and say so once."""
        if parameter not in self.journal.refused:
            log.warning("the server refuses the parameter %s; continuing without it", parameter)
            self.journal.refused.add(parameter)
            await self.journal.append(parameter_note(parameter, self.server))

    def slow_down(self, started: float, fault: Fault, attempt: int) -> None:
        """Start fewer calls, and later. Stop where nothing has come through for an hour."""
        if time.monotonic() - self.last_answer > LONGEST_WAIT:
            raise Stop(f"{self.server.address} has refused every call for an hour (too many requests); try later.")
        self.gate.too_many(started, max(fault.seconds or 0.0, pause_after(min(attempt, RETRIES))))

    async def pause(self, fault: Fault, attempt: int) -> None:
        """Wait before this row's next attempt; if the server asks for a pause, hold back all other calls, too."""
        if fault.seconds is not None:
            self.gate.close(fault.seconds)
        end = time.monotonic() + pause_after(attempt)
        while not self.gate.stopped and (left := end - time.monotonic()) > 0:
            await self.gate.change(left)

    async def give_up(self, request: Request, body: dict, fault: Fault) -> bool:
        """Journal that a row got no reply, as a try; the next run asks again. Stop where the server is at fault."""
        self.unanswered += 1
        if self.unanswered >= DEAD and fault.reason == NO_REPLY:
            raise Stop(f"{self.server.address} answers with a page instead of a completion; check --base-url.")
        if self.unanswered >= DEAD and fault.reason == CUT_OFF:
            raise Stop(no_server(self.server.address))
        self.barren += 1
        await self.keep(entry_of(request, f"no reply: {fault.reason}", body, self.server))
        return False

    def check_barren(self, reason: str) -> None:
        if self.barren >= BARREN + self.effort.concurrency:
            raise Stop(
                f"the last {self.barren} calls brought no text ({reason}); try --preview 1, another --model, or, for "
                "one that thinks first, a larger --max-tokens."
            )

    def interrupt(self, number: signal.Signals) -> None:
        """On a signal, start no more calls; on a second one, drop those under way, too."""
        if self.interrupted:
            os._exit(128 + number)
        self.interrupted = number
        under_way = self.gate.under_way
        log.warning("interrupted: waiting for %d replies under way (interrupt again to drop them)", under_way)
        self.gate.stop()


def pause_after(attempt: int) -> float:
    """Return the seconds before another attempt: doubled each time, then cut by up to half at random."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)


async def ask(requests: Iterator[Request], total: int, journal: Journal, server: Server, effort: Effort) -> None:
    """Ask a server for these requests, journaling every reply, with progress."""
    import openai

    async with openai.AsyncOpenAI(**client_options(server.address, server.timeout)) as client:
        asker = Asker(client, journal, server, effort)
        await check_model(client, server)
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
