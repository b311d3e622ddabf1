"""Paraphrase the cells that the pair table flags, through an OpenAI-compatible server.

Reads a pair table (paperId, year, anchor, positive, category). Of a single-synthetic row the "generate" cell
becomes a paraphrase of the other cell; of a synthetic-pair row one cell, drawn at random, becomes a paraphrase
of itself; other rows pass through. Writes the table in the same order with three columns more (system_prompt,
temperature, model), only once every row has its paraphrase. Every reply is kept in <output>.journal.jsonl before
it counts: run again after any stop and only what is missing is asked for, and paid for.
The key is read from OPENAI_API_KEY; --base-url or OPENAI_BASE_URL name another server (vLLM, llama.cpp …).
"""

from __future__ import annotations

import asyncio
import csv
import difflib
import fcntl
import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import corpus
from corpus import InputError, log

EXAMPLE = "python synthetic_data_generator.py -d training_pairs_final_set.tsv -o training_pairs_paraphrased.tsv"

MODEL = "gpt-6-luna"  # 2026-11: the cheapest current model, $0.10 in, $0.50 out per million tokens
PROMPTS = {
    "condense-4-5": (
        "You condense passages of prose. Restate the user's passage in four or five sentences of your own: keep its "
        "meaning, use other words than it does, and make it shorter. Reply with the condensed passage only; add no "
        "comment and no title."
    ),
    "condense-2-3": (
        "You condense passages of prose. Restate the user's passage in two or three sentences of your own: keep its "
        "meaning, use other words than it does, and make it much shorter. Reply with the condensed passage only; add "
        "no comment and no title."
    ),
}
TEMPERATURES = (0.5, 0.7)  # drawn uniformly for each row
MOST_TOKENS = 768  # of a reply; five long sentences stay under 300
SHORT_SOURCE = 30  # words; a passage this short can hardly be condensed, so its length isn't checked
MOST_SHARED_RUN = 0.5  # of a reply's words may stand in one run in the source, or it is a copy
CLIENT_RETRIES = 5  # of the openai package, for busy servers and broken connections, with its own back-off

# How a reply begins that speaks to the user or about the passage instead of restating it. Narrow on purpose: "The
# passage of the bill" and "I cannot recommend" are ordinary prose.
CHAT_FRAME = re.compile(
    r"(sure|certainly|of course|okay)[,!.:]|i'm sorry|i apologi[sz]e|as an ai\b"
    r"|i can(no|')t (help|assist|fulfil|provide|comply|paraphrase|rewrite|summari[sz]e|condense)"
    r"|here('s| is| are) [^.]{0,60}:|(condensed|revised|summary|rewritten)\b[^.]{0,30}:"
    r"|in (rewriting|condensing|revising|this passage)\b"
    r"|(the|this|your) (\w+ )?(passage|text|paragraph|summary|author|article) (effectively |clearly |also )?"
    r"(is|was|can|could|says|states|describes|discusses|provides|explains|outlines|highlights|aims|conveys|mentions"
    r"|emphasi[sz]es|suggests|presents|appears|seems)\b",
    re.IGNORECASE,
)
THINKING = re.compile(r"^.*</think>", re.DOTALL)  # some chat templates put the opening tag into the prompt


class Request(NamedTuple):
    """One cell to paraphrase, with everything drawn before the first call."""

    key: str  # of the row, its text and what was drawn for it
    row: int  # from 0
    cell: str  # the column that gets the paraphrase
    source: str
    prompt: str  # name in PROMPTS
    temperature: float
    seed: int


class Stop(Exception):
    """A fault that every further call would meet too. The message is one sentence with the remedy."""


# ---------------------------------------------------------------- what to ask


def plan_requests(rows: list[dict[str, str]], seed: int) -> list[Request]:
    """Return what to ask for, row by row; it depends on the seed and the row alone."""
    seen, requests = Counter(), []
    for number, row in enumerate(rows):
        if row["category"] not in ("single-synthetic", "synthetic-pair"):
            continue
        cells = "\t".join(row[column] for column in corpus.PAIR_COLUMNS)
        seen[cells] += 1  # the same row twice is asked for twice
        requests.append(plan_row(row, number, f"{seed}\t{seen[cells]}\t{cells}"))
    return requests


def plan_row(row: dict[str, str], number: int, identity: str) -> Request:
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
    prompt = dice.choice(sorted(PROMPTS))
    temperature = round(dice.uniform(*TEMPERATURES), 2)
    key = hashlib.sha256(f"{identity}\t{cell}\t{PROMPTS[prompt]}\t{temperature}".encode()).hexdigest()
    return Request(key, number, cell, source, prompt, temperature, dice.randrange(2**31))


# ---------------------------------------------------------------- what was asked already


class Journal:
    """Every reply ever received for an output, one JSON object a line; appended, flushed and synced."""

    def __init__(self, path: Path, model: str):
        self.path, self.model = path, model
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{path} is in use by another run; wait until it ends, or give another -o.") from None
        self.accepted: dict[str, dict] = {}
        self.rejected: dict[str, list[str]] = {}
        self.file.seek(0)
        whole = 0
        for number, line in enumerate(self.file, start=1):
            if line.endswith(b"\n"):  # else torn by a crash while it was written
                whole += len(line)
                self.count(self.parse(line, number))
        self.file.truncate(whole)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_) -> None:
        self.file.close()  # gives the lock back

    def parse(self, line: bytes, number: int) -> dict:
        """Return the entry on a line. InputError where the line is damaged, so that no paid reply is passed over."""
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not {"key", "verdict", "asked_model"} <= entry.keys():
            raise InputError(f"{self.path}, line {number}: not a journal entry; mend or remove that line.")
        return entry

    def count(self, entry: dict) -> None:
        """Remember an entry as accepted, whichever model wrote it, or as a try of this model that was rejected."""
        if entry["verdict"] == "accepted":
            self.accepted[entry["key"]] = entry
        elif entry["asked_model"] == self.model:
            self.rejected.setdefault(entry["key"], []).append(entry["verdict"])

    def tries(self, key: str) -> int:
        """Return how many replies of this model to a request were rejected, in all runs."""
        return len(self.rejected.get(key, ()))

    def append(self, entry: dict) -> None:
        """Put an entry on disk, then count it."""
        self.file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.count(entry)


# ---------------------------------------------------------------- asking


def clean(reply: str) -> str:
    """Return a reply as one line, without a reasoning model's thoughts or quotation marks around the whole."""
    writable = reply.replace("\0", "").encode("utf-8", "replace").decode()  # JSON may hold half a surrogate pair
    text = " ".join(THINKING.sub(" ", writable).split())
    if len(text) > 2 and text[0] + text[-1] in ('""', "“”") and not set(text[1:-1]) & set('"“”'):
        text = text[1:-1]
    return text


def verdict_on(text: str, finish_reason: str | None, source: str) -> str:
    """Return "accepted", or why a cleaned reply can't serve as the source's paraphrase."""
    words, source_words = text.lower().split(), source.lower().split()
    if finish_reason not in ("stop", None):
        return f"finish reason {finish_reason}"
    if not words or text == corpus.TO_GENERATE:
        return "empty"
    if CHAT_FRAME.match(text):
        return "talks about the passage"
    if words == source_words:
        return "copy of the source"
    if len(source_words) <= SHORT_SOURCE:
        return "accepted"
    if len(words) >= len(source_words):
        return "not shorter than the source"
    matcher = difflib.SequenceMatcher(None, source_words, words, autojunk=False)
    if matcher.find_longest_match().size > MOST_SHARED_RUN * len(words):
        return "copy of the source"
    return "accepted"


class Paraphraser:
    """Asks one server for paraphrases, several at a time, and journals every reply."""

    def __init__(self, client, journal: Journal, args):
        self.client, self.journal, self.args = client, journal, args
        self.unsupported: set[str] = set()  # parameters the server refused once
        self.stop: Stop | None = None
        self.failures, self.verdicts = Counter(), Counter()

    async def run(self, requests: list[Request], progress) -> None:
        """Ask for all requests, args.concurrency at a time. On Stop, calls under way are still journaled."""
        waiting = iter(requests)

        async def work():
            for request in waiting:
                if self.stop:
                    return
                try:
                    await self.paraphrase(request)
                except Stop as stop:
                    self.stop = stop
                progress.update(1)
                tally = f"{self.verdicts['accepted']} accepted, {self.verdicts['rejected']} replies rejected"
                progress.set_postfix_str(tally, refresh=False)

        await asyncio.gather(*(work() for _ in range(min(self.args.concurrency, len(requests)))))
        if self.stop:
            raise self.stop

    async def paraphrase(self, request: Request) -> None:
        """Ask until a reply is accepted or the row's tries, those of earlier runs counted in, are used up."""
        while self.journal.tries(request.key) < self.args.tries and not self.stop:
            completion, temperature = await self.ask(request)
            if completion is None:
                return
            choice = completion.choices[0] if completion.choices else None
            text = clean((choice and choice.message.content) or "")
            entry = {
                "key": request.key,
                "verdict": verdict_on(text, choice.finish_reason if choice else None, request.source),
                "asked_model": self.args.model,
                "model": completion.model,
                "system_prompt": request.prompt,
                "temperature": temperature,
                "finish_reason": choice.finish_reason if choice else None,
                "usage": completion.usage.model_dump(exclude_none=True) if completion.usage else None,
                "request_id": completion._request_id,
                "text": text,
            }
            self.journal.append(entry)
            self.verdicts["accepted" if entry["verdict"] == "accepted" else "rejected"] += 1
            if entry["verdict"] == "accepted":
                return

    def parameters(self, request: Request) -> dict:
        """Return the call's parameters, without those the server refused."""
        parameters = {
            "temperature": request.temperature,
            "max_completion_tokens": self.args.max_tokens,
            "seed": request.seed + self.journal.tries(request.key),
        }
        if urlsplit(str(self.client.base_url)).hostname == "api.openai.com":
            parameters["reasoning_effort"] = "none"  # else it thinks first, at the price of a reply five times as long
        if "max_completion_tokens" in self.unsupported:
            parameters["max_tokens"] = self.args.max_tokens
        return {name: value for name, value in parameters.items() if name not in self.unsupported}

    async def ask(self, request: Request):
        """Return one completion and the temperature really applied, or (None, None) where this row failed.

        Raises:
            Stop: key, quota, model or address are at fault.
        """
        import openai

        messages = [
            {"role": "system", "content": PROMPTS[request.prompt]},
            {"role": "user", "content": request.source},
        ]
        while True:
            parameters = self.parameters(request)
            try:
                completion = await self.client.chat.completions.create(
                    model=self.args.model, messages=messages, **parameters
                )
            except openai.BadRequestError as error:
                if error.param in parameters:
                    if error.param not in self.unsupported:
                        log.warning("the server refuses the parameter %s; going on without it", error.param)
                    self.unsupported.add(error.param)
                    continue
                return self.failed(error)
            except openai.APIError as error:
                stop = self.reason_to_stop(error)
                if stop:
                    raise Stop(stop) from None
                return self.failed(error)
            except ValueError as error:  # a body cut off on its way is no JSON
                return self.failed(error)
            if not hasattr(completion, "choices"):
                raise Stop(f"{self.client.base_url} answers with a page, not with a completion; check --base-url.")
            return completion, parameters.get("temperature")

    def failed(self, error) -> tuple[None, None]:
        """Count a call that failed for this row only; the row is asked for again in the next run."""
        self.failures[f"{type(error).__name__} {getattr(error, 'status_code', '')}".strip()] += 1
        return None, None

    def reason_to_stop(self, error) -> str | None:
        """Return the sentence for a fault that further calls would meet too, or None."""
        import openai

        where = self.client.base_url
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            return f"{where} refuses the key (HTTP {error.status_code}); set OPENAI_API_KEY to a valid one."
        if isinstance(error, openai.NotFoundError):
            return f"{where} has no model {self.args.model!r} (HTTP 404); name one with --model, or check --base-url."
        if isinstance(error, openai.RateLimitError) and "insufficient_quota" in (error.code, error.type):
            return "the account's quota is used up; raise it or wait, then run again: replies so far are kept."
        if isinstance(error, openai.APITimeoutError):
            return None
        if isinstance(error, openai.APIConnectionError):
            return f"no server answers at {where}; start it, or check --base-url and the network."
        return None


def server_address(asked: str | None) -> str | None:
    """Return --base-url or OPENAI_BASE_URL, None for OpenAI's own. InputError where it holds a password or query."""
    address = asked or os.environ.get("OPENAI_BASE_URL") or None
    parts = urlsplit(address or "")
    if "@" in parts.netloc or parts.query:
        raise InputError(f"the address of {parts.hostname} holds a name or key; put the key into OPENAI_API_KEY.")
    return address


def open_client(base_url: str | None):
    """Return an AsyncOpenAI client. InputError where there is neither a key nor another server than OpenAI's."""
    import openai

    key = os.environ.get("OPENAI_API_KEY")
    if not key and not base_url:
        raise InputError("no key: set OPENAI_API_KEY, or name a server of your own with --base-url.")
    # Five minutes: a local server works off a full queue of requests before it answers the last.
    return openai.AsyncOpenAI(base_url=base_url, api_key=key or "none", max_retries=CLIENT_RETRIES, timeout=300)


def ask_for_missing(requests: list[Request], journal: Journal, args) -> Counter:
    """Ask for every request without an accepted reply that has tries left; return the calls that failed, by kind."""
    missing = [
        request
        for request in requests
        if request.key not in journal.accepted and journal.tries(request.key) < args.tries
    ]
    log.info("%d rows to be paraphrased, %d of them to be asked for", len(requests), len(missing))
    writers = Counter(journal.accepted[r.key]["asked_model"] for r in requests if r.key in journal.accepted)
    for model in writers.keys() - {args.model}:
        log.warning("%d paraphrases kept from an earlier run were written by %s", writers[model], model)
    if not missing:
        return Counter()
    try:
        return asyncio.run(ask(missing[: args.limit], journal, args))
    except Stop as stop:
        raise InputError(f"{stop} ({len(journal.accepted)} paraphrases are kept.)") from None


async def ask(requests: list[Request], journal: Journal, args) -> Counter:
    """Ask the server for these requests, with a line of progress; return the calls that failed, by kind."""
    from tqdm import tqdm

    async with open_client(args.base_url) as client:
        paraphraser = Paraphraser(client, journal, args)
        interval = 0.5 if sys.stderr.isatty() else 60
        with tqdm(total=len(requests), unit=" rows", mininterval=interval, desc="paraphrases") as progress:
            await paraphraser.run(requests, progress)
    return paraphraser.failures


# ---------------------------------------------------------------- the result


def paraphrased_rows(rows: list[dict[str, str]], requests: list[Request], journal: Journal):
    """Yield every row in order with its paraphrase put in, leaving out those that have none."""
    by_row = {request.row: request for request in requests}
    for number, row in enumerate(rows):
        added = dict.fromkeys(("system_prompt", "temperature", "model"), "")
        request = by_row.get(number)
        if request:
            entry = journal.accepted.get(request.key)
            if entry is None:
                continue
            added = {name: "" if entry[name] is None else entry[name] for name in added}
            added[request.cell] = entry["text"]
        yield {column: (row | added)[column] for column in corpus.PARAPHRASED_COLUMNS}


def write_rejects(path: Path, lacking: list[Request], rows: list[dict[str, str]], journal: Journal) -> None:
    """List every row without a paraphrase, its tries and why the replies were rejected; remove a list that is past."""
    if not lacking:
        path.unlink(missing_ok=True)
        return
    with corpus.replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, delimiter="\t", lineterminator="\n")
        writer.writerow(("pair", "paperId", "category", "cell", "rejected_replies"))
        for request in lacking:
            row, reasons = rows[request.row], journal.rejected.get(request.key, [])
            writer.writerow((request.row + 1, row["paperId"], row["category"], request.cell, "; ".join(reasons)))
    named = corpus.first_few([rows[request.row]["paperId"] for request in lacking])
    log.warning("%d rows without a paraphrase: %s; all of them in %s", len(lacking), named, path)
    reasons = Counter(reason for request in lacking for reason in journal.rejected.get(request.key, ()))
    for reason, count in reasons.most_common():
        log.warning("  %4d replies rejected: %s", count, reason)


def check_complete(lacking: list[Request], failures: Counter, journal: Journal, args) -> int:
    """Return 0 where the table can be written, else 1 after saying how to go on."""
    if not lacking:
        return 0
    used_up = sum(journal.tries(request.key) >= args.tries for request in lacking)
    if args.accept_rejects == "drop" and used_up == len(lacking):
        log.warning("leaving these %d rows out, as --accept-rejects drop says", len(lacking))
        return 0
    failed = f" ({', '.join(f'{n} × {kind}' for kind, n in failures.items())})" if failures else ""
    print(
        f"synthetic_data_generator.py: {len(lacking)} rows lack a paraphrase{failed}, so {args.output} is not written; "
        f"run again to ask for the rest ({used_up} have used up --tries {args.tries}: raise it, or finish without them "
        "by --accept-rejects drop). Replies so far are kept.",
        file=sys.stderr,
    )
    return 1


def parse_args(argv: list[str] | None = None):
    arguments = corpus.parser(__doc__, EXAMPLE)
    arguments.add_argument("-d", "--datasource", required=True, metavar="TSV", help="pair table with flagged rows")
    arguments.add_argument(
        "-o", "--output", default="training_pairs_paraphrased.tsv", metavar="TSV", help="(default %(default)s)"
    )
    server = arguments.add_argument_group("server")
    add = server.add_argument
    add("--model", default=MODEL, help="(default %(default)s)")
    add("--base-url", metavar="URL", help="another OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1")
    add("--concurrency", type=corpus.positive_int, default=16, help="calls at a time (default %(default)s)")
    add("--max-tokens", type=corpus.positive_int, default=MOST_TOKENS, help="of a reply (default %(default)s)")
    choice = arguments.add_argument_group("choice")
    add = choice.add_argument
    add("--seed", type=int, default=0, help="of cells, prompts and temperatures (default %(default)s)")
    add("--tries", type=corpus.positive_int, default=3, help="replies a row may have rejected (default %(default)s)")
    add("--accept-rejects", choices=("drop",), help="finish without the rows whose tries are used up")
    add("--limit", type=corpus.positive_int, metavar="ROWS", help="a trial: ask for so many rows now, not all")
    return arguments.parse_args(argv)


@corpus.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    args.base_url = server_address(args.base_url)
    corpus.log_settings(args)
    rows = corpus.read_pairs(args.datasource)
    requests = plan_requests(rows, args.seed)
    with Journal(Path(f"{args.output}.journal.jsonl"), args.model) as journal:
        failures = ask_for_missing(requests, journal, args)
        lacking = [request for request in requests if request.key not in journal.accepted]
        write_rejects(Path(f"{args.output}.rejects.tsv"), lacking, rows, journal)
        status = check_complete(lacking, failures, journal, args)
        if status == 0:
            table = paraphrased_rows(rows, requests, journal)
            written = corpus.write_pairs(args.output, table, corpus.PARAPHRASED_COLUMNS)
            counts = {"rows": len(rows), "written": written, "paraphrased": len(requests) - len(lacking)}
            counts["dropped_without_paraphrase"] = len(lacking)
            corpus.write_json(corpus.record_path(args.output), corpus.run_record(args, started, counts=counts))
            log.info("%d rows in %s, %d of them paraphrased", written, args.output, counts["paraphrased"])
    return status


if __name__ == "__main__":
    sys.exit(main())
