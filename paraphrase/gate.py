"""How many calls run at once: as many as the user, the server and --max-cost allow.

In: the worst cost of a call that wants to start, and the headers of every answer. Out: leave to start, or a refusal.
"""

from __future__ import annotations

import asyncio
import time

from paraphrase.journal import Journal
from paraphrase.server import Stop
from paraphrase.waits import LONGEST_WAIT, limits_in
from script import log

SILENT = 10  # seconds that a run may wait without saying so


class Gate:
    """Lets calls start.

    Args:
        most: calls at once.
        max_cost: dollars for all replies of the journal and the calls under way; None for no limit.
    """

    def __init__(self, most: int, max_cost: float | None, journal: Journal):
        self.most, self.allowed, self.under_way = most, float(most), 0
        self.closed_until = self.last_cut = 0.0  # monotonic seconds
        self.max_cost, self.reserved, self.lost, self.journal = max_cost, 0.0, 0.0, journal
        self.waiting: list[asyncio.Future] = []
        self.stopped = False

    async def enter(self, worst_cost: float) -> bool:
        """Wait until a call may start; return False once none may. Stop where --max-cost doesn't cover it."""
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
        """Return whether --max-cost covers a call even if it and all others under way cost as much as they can."""
        return self.max_cost is None or self.journal.cost + self.lost + self.reserved + worst_cost <= self.max_cost

    async def change(self, seconds: float | None = None) -> None:
        """Return when a call has ended or everything is to stop, but after these seconds at the latest."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        await asyncio.wait([waiter], timeout=seconds)

    def wake(self) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)
        self.waiting.clear()

    def close(self, seconds: float, reason: str) -> None:
        """Let no call start for this many seconds, at most an hour; then a server can say again what it wants."""
        until = time.monotonic() + min(seconds, LONGEST_WAIT)
        if until - max(self.closed_until, time.monotonic()) > SILENT:
            clock = time.strftime("%H:%M:%S", time.localtime(time.time() + until - time.monotonic()))
            log.warning("waiting until %s: %s", clock, reason)
        self.closed_until = max(self.closed_until, until)

    def too_many(self, started: float, seconds: float, reason: str) -> None:
        """Halve the number of calls at once, though only once for calls that were under way together; pause."""
        if started > self.last_cut:
            self.last_cut = time.monotonic()
            self.allowed = max(1.0, min(self.allowed, self.under_way) / 2)
        self.close(seconds, reason)

    def answered(self, headers, tokens: int) -> None:
        """Let slowly more through, but no more than the server's headers say is left.

        Args:
            tokens: used by a call.
        """
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)
        for told in limits_in(headers):
            need = max(1, tokens) if told.of_tokens else 1
            if told.remaining < told.limit and told.seconds is not None:
                self.allowed = max(1.0, min(self.allowed, self.under_way + told.remaining / need))
                if told.remaining < need:  # refilled evenly: the time until it is enough for a call
                    share = (need - told.remaining) / (told.limit - told.remaining)
                    self.close(share * told.seconds, "the server's limit of calls or tokens is used up")
