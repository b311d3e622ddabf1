"""Which cell of which row is to be paraphrased, and how; drawn from the seed and the row before any call."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import corpus
from paraphrase.prompts import Prompt, messages, to_draw
from script import InputError

FLAGGED = ("single-synthetic", "synthetic-pair")
IDENTIFYING = ("paperId", "category", "anchor", "positive")  # not the year: a date that was wrong changes no text
TEMPERATURES = (0.5, 0.7)  # drawn uniformly for each row


class Request(NamedTuple):
    """One text to be had from the model, with everything drawn before the first call."""

    key: str  # hexadecimal digest of the row, what was drawn for it, and the prompt's words
    row: int  # from 0
    cell: str  # the column that gets the paraphrase
    source: str
    prompt: Prompt
    temperature: float
    seed: int
    identity: str = ""  # hexadecimal digest of the row alone: neither seed nor prompts change it


def plan(path: str | Path, seed: int, prompts: dict[str, Prompt]) -> Iterator[tuple[int, dict, Request | None]]:
    """Yield each row's number and cells, and the request for a flagged one; one row in memory at a time.

    Raises:
        InputError: the table is damaged, or a row doesn't say which of its cells to generate.
    """
    seen: Counter[bytes] = Counter()
    for number, row in enumerate(corpus.each_pair(path)):
        if row["category"] != "single-synthetic" and corpus.TO_GENERATE in (row["anchor"], row["positive"]):
            raise InputError(
                f"pair {number + 1} ({row['paperId']}) holds the word {corpus.TO_GENERATE!r} but is {row['category']}; "
                "make the table again."
            )
        if row["category"] not in FLAGGED:
            yield number, row, None
            continue
        cells = "\t".join(row[column] for column in corpus.PAIR_COLUMNS)
        digest = hashlib.blake2b(cells.encode(), digest_size=8).digest()
        seen[digest] += 1  # the same row twice is asked for twice
        identity = digest_of(seen[digest], *(row[name] for name in IDENTIFYING))[:32]
        request = plan_row(row, number, f"{seed}\t{seen[digest]}\t{cells}", prompts)
        yield number, row, request._replace(identity=identity)


def plan_row(row: dict[str, str], number: int, identity: str, prompts: dict[str, Prompt]) -> Request:
    """Draw cell, prompt and temperature for one row. InputError where it isn't clear which cell to generate."""
    dice = random.Random(f"paraphrase {identity}")
    to_generate = [cell for cell in ("anchor", "positive") if row[cell] == corpus.TO_GENERATE]
    if row["category"] == "single-synthetic":
        if len(to_generate) != 1:
            raise InputError(
                f"pair {number + 1} ({row['paperId']}) is single-synthetic, but {len(to_generate)} of its cells hold "
                f"the word {corpus.TO_GENERATE!r} instead of one; make the table again."
            )
        cell = to_generate[0]
        source = row["positive" if cell == "anchor" else "anchor"]
    else:
        cell = dice.choice(("anchor", "positive"))
        source = row[cell]
    prompt = prompts[dice.choice(to_draw(prompts))]
    temperature = round(dice.uniform(*TEMPERATURES), 2)
    key = digest_of(identity, cell, wording(prompt), temperature)
    return Request(key, number, cell, source, prompt, temperature, dice.randrange(2**31))


def digest_of(*parts) -> str:
    return hashlib.sha256("\t".join(map(str, parts)).encode()).hexdigest()


def wording(prompt: Prompt) -> str:
    """Return all that the model is told beside the source."""
    return "\t".join([prompt.system, *(text for example in prompt.examples for text in example)])


def drawn_with(seed: int, prompts: dict[str, Prompt]) -> dict:
    """Return what all requests of a table were drawn with, the prompts as a digest of their words."""
    words = digest_of(*(f"{name} {wording(prompt)}" for name, prompt in sorted(prompts.items())))
    return {"seed": seed, "prompts": words[:16]}


def following(request: Request, reply: str, prompts: dict[str, Prompt]) -> Request | None:
    """Return the request for the second step on an accepted reply; None where its prompt has no other after it."""
    if request.prompt.then is None:
        return None
    prompt = prompts[request.prompt.then]
    return request._replace(key=digest_of(request.key, wording(prompt), reply), source=reply, prompt=prompt)


def call_body(request: Request, model: str, seed: int, most_tokens: int, at_openai: bool, refused: set[str]) -> dict:
    """Return the parameters of one call, without those that the server has refused.

    Args:
        most_tokens: of the reply.
        at_openai: newer models there take no max_tokens, and think first, at five times the price, unless told not to;
            some other servers know max_tokens only.
    """
    caps = ("max_completion_tokens", "max_tokens") if at_openai else ("max_tokens", "max_completion_tokens")
    cap = next((name for name in caps if name not in refused), None)
    wanted = {"temperature": request.temperature, "seed": seed}
    if cap:
        wanted[cap] = most_tokens
    if at_openai:
        wanted["reasoning_effort"] = "none"
    body = {"model": model, "messages": messages(request.prompt, request.source)}
    return body | {name: value for name, value in wanted.items() if name not in refused}
