"""What a run would ask for, cost and take.

In: a Survey, the journal, the server's settings. Out: lines to print. The figures come from this model's replies so
far; before there are enough of those, from assumptions that the lines name.
"""

from __future__ import annotations

from typing import NamedTuple

import corpus
from paraphrase.journal import Journal
from paraphrase.plan import FLAGGED
from paraphrase.prices import BATCH_DISCOUNT, PRICES, PRICES_OF, clock, cost_of, dollars, listed_price
from paraphrase.server import Server
from paraphrase.survey import CHARACTERS_A_TOKEN, REPLY_TOKENS, Survey

CALL_SECONDS = 2
ENOUGH_REPLIES = 20


class Estimate(NamedTuple):
    """What is missing would take: measured by the replies so far, or assumed."""

    calls: float
    tokens_in: float
    tokens_out: float
    seconds: float  # of calls one after the other
    measured: bool


def estimate(counts, journal: Journal) -> Estimate:
    """Return what a survey's counts amount to."""
    seen = {name: journal.totals[f"model_{name}"] for name in ("replies", "accepted", "seconds", "completion_tokens")}
    measured = seen["replies"] >= ENOUGH_REPLIES and seen["accepted"] > 0 and seen["completion_tokens"] > 0
    calls = counts["calls"] * (seen["replies"] / seen["accepted"] if measured else 1)
    tokens_in = counts["characters"] / CHARACTERS_A_TOKEN * calls / max(1, counts["calls"])
    reply_tokens = seen["completion_tokens"] / seen["replies"] if measured else REPLY_TOKENS
    seconds = seen["seconds"] / seen["replies"] if measured and seen["seconds"] else CALL_SECONDS
    return Estimate(calls, tokens_in, calls * reply_tokens, calls * seconds, measured)


def estimate_lines(found: Survey, journal: Journal, server: Server) -> list[str]:
    """Return what to print, a figure a line."""
    told = estimate(found.counts, journal)
    lines = rows_of_table(found)
    if told.measured:
        basis = f"as with the {journal.totals['model_replies']:,} replies so far, rejected ones included"
    else:
        basis = f"{CHARACTERS_A_TOKEN} characters a token, {REPLY_TOKENS} tokens a reply, none rejected"
    lines.append(("calls", f"{told.calls:,.0f} with {server.model}"))
    lines.append(("tokens", f"{told.tokens_in:,.0f} in, {told.tokens_out:,.0f} out ({basis})"))
    lines.append(("price", price_line(told, server)))
    if server.at_openai:
        ends = PRICES.get(server.model, (0, 0, None))[2]
        known = f"{ends}" if ends else "not announced" if server.model in PRICES else "not known here"
        lines.append(("model's shutdown date", f"{known} ({PRICES_OF}; a run asks the server)"))
    concurrency = found.effort.concurrency
    pace = "as so far" if told.measured else f"{CALL_SECONDS} s a call"
    lines.append((f"time at --concurrency {concurrency}", f"{clock(told.seconds / concurrency)} ({pace})"))
    return [f"{name:<28} {value}" for name, value in lines] + ["No call was made."]


def rows_of_table(found: Survey) -> list[tuple[str, str]]:
    """Return what the pair table holds and what the journal has of it, as (name, value)."""
    counts = found.counts
    lines = [(f"{found.pairs.path}", f"{counts['rows']:,} rows")]
    for category in corpus.CATEGORIES:
        to_do = "to be paraphrased" if category in FLAGGED else "left as they are"
        lines.append((f"  {category}", f"{counts[category]:,}, {to_do}"))
    kept = f"{counts['done']:,} of {counts['flagged']:,} rows" if counts["flagged"] else "nothing to paraphrase"
    lines.append(("paraphrases so far", kept))
    if counts["used_up"]:
        lines.append(("rows out of tries", f"{counts['used_up']:,}: raise --tries, or use --accept-rejects"))
    return lines


def price_line(told: Estimate, server: Server) -> str:
    """Return what the tokens cost, and in a batch."""
    if server.price is None:
        return "not known for this model and server; give it with --price IN/OUT"
    amount = cost_of(told.tokens_in, told.tokens_out, server.price)
    at_half = f"; {dollars(amount * BATCH_DISCOUNT)} with --batch submit" if server.at_openai else ""
    listed = server.at_openai and server.price == listed_price(server.model)
    source = f"list of {PRICES_OF}" if listed else "--price"
    return (
        f"{dollars(amount)} (at ${server.price[0]:.2f} in and ${server.price[1]:.2f} out a million, {source}){at_half}"
    )
