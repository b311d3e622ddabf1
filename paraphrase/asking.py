"""Calls to the server, many at a time: limits kept, faults judged, every reply journaled.

In: requests of rows that lack their paraphrase. Out: entries in the journal, accepted or not. Stop for a fault that
every call would meet, KeyboardInterrupt with the signal's number where one came; what came so far is journaled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from paraphrase.checks import ACCEPTED
from paraphrase.entries import entry_of, parameter_note, reply_entry
from paraphrase.gate import Gate
from paraphrase.journal import Journal
from paraphrase.plan import Request
from paraphrase.prices import clock, cost_of
from paraphrase.progress import show_progress
from paraphrase.prompts import messages
from paraphrase.server import (
    CUT_OFF,
    NO_REPLY,
    TOO_LATE,
    ErrorInReply,
    Fault,
    Reply,
    Server,
    Stop,
    call_body,
    check_model,
    fault_of,
    fault_of_status,
    http_library,
    no_server,
    open_client,
    reply_of,
)
from paraphrase.waits import LONGEST_WAIT, asked_to_wait
from script import leave_terminal, log

RETRIES = 5  # of a call that met a passing fault; with FIRST_PAUSE doubled each time, that is a quarter of a minute
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
BARREN = 10  # replies in a row, besides those under way, that failed alike: no row's own fault
PROVEN = 10  # times as many where the run has brought paraphrases: one document's rows may all fail, one after another
UNPROVEN_WAIT = 70  # seconds of refusals (too many requests) before the first reply; a minute's limit is over by then
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
        self.unanswered, self.proven, self.last_answer = 0, False, time.monotonic()
        self.failed_before = set(journal.rejected)  # such rows, often all that is left, say nothing of the server
        self.alike: tuple[str, list[str]] = ("", [])  # how the last replies failed, all of them alike; their rows
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

        started, response = time.monotonic(), None
        try:
            # chat.completions.create would do the same, but takes a third longer to copy and check what is sent.
            async with asyncio.timeout(self.server.timeout):  # the package's own timeout is for each piece of a reply
                response = await self.client.post("/chat/completions", body=body, cast_to=http_library().Response)
            reply = reply_of(response.json(), response.headers.get("x-request-id"), self.server)
        except ErrorInReply as error:
            fault = fault_of_status(error.status, error.told, body, self.server)
            return self.judge(fault._replace(seconds=asked_to_wait(response.headers)), error.status)
        except ValueError:  # a page, or cut off on its way
            return Fault("again", NO_REPLY)
        except TimeoutError:
            return Fault("again", TOO_LATE)
        except openai.APIError as error:
            return self.judge(fault_of(error, body, self.server), getattr(error, "status_code", 0))
        self.unanswered, self.proven, self.last_answer = 0, True, time.monotonic()
        self.gate.answered(response.headers, (reply.usage or {}).get("total_tokens", 0))
        await self.journal_reply(request, body, reply, self.last_answer - started)
        return None

    def judge(self, fault: Fault, status: int) -> Fault:
        """Return what a fault means for this row. Stop where every call would meet it."""
        if fault.kind == "stop" and status == 403 and self.proven:
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
        texts = "".join(message["content"] for message in messages(request.prompt, request.source))
        return worst_cost(len(texts.encode()), self.server)

    async def journal_reply(self, request: Request, body: dict, reply: Reply, seconds: float) -> None:
        """Judge a reply and put it on disk."""
        entry = reply_entry(request, body, reply, self.server)
        if self.server.price and entry["cost"] is None:  # the server doesn't say
            entry["cost"] = self.worst_cost(request)
        await self.keep(entry | {"seconds": round(seconds, 2)})

    async def journal_refusal(self, request: Request, body: dict, fault: Fault) -> None:
        """Journal that the server refuses this row, as a rejected try. It costs nothing."""
        await self.keep(entry_of(request, fault.reason, body, self.server))

    async def keep(self, entry: dict) -> None:
        await self.journal.append(entry)
        self.verdicts[entry["verdict"]] += 1
        self.compare_faults(entry)

    async def leave_out(self, parameter: str) -> None:
        """Continue without a parameter, in this run and later ones, and say so once."""
        if parameter not in self.journal.refused:
            log.warning("the server refuses the parameter %s; continuing without it", parameter)
            self.journal.refused.add(parameter)
            await self.journal.append(parameter_note(parameter, self.server))

    def slow_down(self, started: float, fault: Fault, attempt: int) -> None:
        """Start fewer calls, and later. Stop where nothing has come through for an hour, or from the beginning."""
        longest = LONGEST_WAIT if self.proven or fault.seconds else UNPROVEN_WAIT
        if (waited := time.monotonic() - self.last_answer) > longest:
            told = f"{self.server.address} has refused every call for {clock(waited)} ({fault.reason})"
            raise Stop(f"{told}; try later, or see what the account's limits are.")
        seconds = max(fault.seconds or 0.0, pause_after(min(attempt, RETRIES)))
        self.gate.too_many(started, seconds, f"{self.server.address}, {fault.reason}")

    async def pause(self, fault: Fault, attempt: int) -> None:
        """Wait before this row's next attempt; if the server asks for a pause, hold back all other calls, too."""
        if fault.seconds is not None:
            self.gate.close(fault.seconds, f"{self.server.address}, {fault.reason}")
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
        await self.keep(entry_of(request, f"no reply: {fault.reason}", body, self.server))
        return False

    def compare_faults(self, entry: dict) -> None:
        """Stop where all the last replies failed for one cause, whatever their rows: so would the rest.

        Without any text, that is one cause. With it, a verdict is, but for its numbers, and it takes several rows.
        """
        if entry["verdict"] == ACCEPTED:
            self.alike = ("", [])
        if entry["verdict"] == ACCEPTED or bytes.fromhex(entry["key"]) in self.failed_before:
            return
        cause = re.sub("[0-9]+", "#", entry["verdict"]) if entry.get("text") else "no text"
        self.alike = (cause, [*(self.alike[1] if cause == self.alike[0] else []), entry["key"]])
        count, most = len(self.alike[1]), BARREN + self.effort.concurrency
        if cause == "no text" and count >= most:
            raise Stop(
                f"the last {count} calls brought no text ({entry['verdict']}); try --preview 1, another --model, or, "
                "for one that thinks first, a larger --max-tokens."
            )
        if count >= most * (PROVEN if self.verdicts[ACCEPTED] else 1) and len(set(self.alike[1])) >= BARREN:
            raise Stop(
                f"the last {count} replies were all rejected for one reason ({entry['verdict']}); read some in "
                f"{self.journal.path}, then try another --model, server, or --prompt-set."
            )

    def interrupt(self, number: signal.Signals) -> None:
        """On a signal, start no more calls; on a second one, drop those under way, too."""
        if self.interrupted:
            if number == self.interrupted == signal.SIGHUP:  # of a lost connection, shell and kernel send one each
                return
            os._exit(128 + number)
        self.interrupted = number
        leave_terminal(number)
        under_way = self.gate.under_way
        log.warning("interrupted: waiting for %d replies under way (interrupt again to drop them)", under_way)
        self.gate.stop()


def worst_cost(size: int, server: Server) -> float:
    """Return dollars that a call of so many bytes can cost at most: a token is one byte or more, then max_tokens."""
    return cost_of(size + OVERHEAD_TOKENS, server.max_tokens, server.price) if server.price else 0.0


def pause_after(attempt: int) -> float:
    """Return the seconds before another attempt: doubled each time, then cut by up to half at random."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1)


@contextlib.contextmanager
def told_of_signals(asker: Asker):
    """Have the signals that announce an end interrupt the asker; afterwards they do what they did before."""
    loop, before = asyncio.get_running_loop(), {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler != signal.SIG_IGN:  # as nohup has SIGHUP
            with contextlib.suppress(ValueError, RuntimeError):  # not the main thread
                loop.add_signal_handler(number, asker.interrupt, number)
                before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def ask(requests: Iterator[Request], total: int, journal: Journal, server: Server, effort: Effort) -> None:
    """Ask a server for these requests, journaling every reply, with progress."""
    import openai

    async with open_client(openai.AsyncOpenAI, server) as client:
        asker = Asker(client, journal, server, effort)
        await check_model(client, server)
        showing = asyncio.create_task(show_progress(asker, total))
        try:
            with told_of_signals(asker):
                await asker.run(requests)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)  # the bar ends before the next line begins
            if asker.failures:
                log.info("calls without a reply: %s", ", ".join(f"{n} × {what}" for what, n in asker.failures.items()))
    if asker.interrupted:
        raise KeyboardInterrupt(asker.interrupted)
