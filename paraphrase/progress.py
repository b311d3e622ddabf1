"""How far the asking is: a bar on a terminal, a line in the log now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time

from paraphrase.checks import ACCEPTED
from paraphrase.prices import clock, money
from script import log

LINE_EVERY = 60  # seconds between lines of progress in a log


async def show_progress(asker, total: int) -> None:
    """Show the progress until cancelled.

    Args:
        asker: has journal, finished (rows), verdicts (of replies, counted), failures (of calls, counted).
        total: of rows.
    """
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


def progress_text(asker, total: int, begun: float) -> str:
    """Return one line: rows done, time left, money, tokens, replies accepted, and rejected by reason."""
    journal, done = asker.journal, asker.finished
    rejected = {reason: count for reason, count in asker.verdicts.most_common() if reason != ACCEPTED}
    reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    tokens = journal.totals["prompt_tokens"] + journal.totals["completion_tokens"]
    failed = "".join(f", {count} × {what}" for what, count in asker.failures.items())
    left = clock((time.monotonic() - begun) / done * (total - done)) if done else "?"
    return (
        f"{done} of {total} rows, {left} left, {money(journal.cost, journal.unpriced)}, {tokens:,} tokens, "
        f"{asker.verdicts[ACCEPTED]} replies accepted, {sum(rejected.values())} rejected"
        f"{f' ({reasons})' if reasons else ''}{failed}"
    )
