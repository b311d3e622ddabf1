"""The same calls through OpenAI's Batch API: half the price, within a day, resumable by the batch's id.

submit uploads what is missing and returns; status shows how far it is; collect journals what came back. Which
batches are open is in the journal. While one is, nothing else is asked for: no row is paid for twice.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paraphrase.asking import (
    OVERHEAD_TOKENS,
    Stop,
    ask,
    client_options,
    cost_of,
    entry_of,
    fault_of,
    fault_of_status,
    parameter_note,
    reply_entry,
    reply_of,
)
from paraphrase.journal import Journal
from paraphrase.plan import Request, call_body, plan
from paraphrase.plan import drawn_with as plan_facts
from paraphrase.prompts import ACCEPTED, Prompt
from script import InputError, log

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000  # of one batch; the documented limits are 50,000 and 200 MB
ENDED = ("completed", "failed", "expired", "cancelled")
DISCOUNT = 0.5
TOGETHER = 200  # answers journaled with one sync; a collection that is cut off is repeated from the server's files
MARK = "tunedembeddings"  # the batch's metadata field that holds the submission's nonce


def run(args, prompts: dict[str, Prompt], journal: Journal, price, missing: Iterator[Request]) -> int:
    """Do what --batch says; return the exit status.

    Args:
        price: dollars per million tokens in and out at the normal rate, or None.
        missing: requests of rows that lack their paraphrase and have tries left.

    Raises:
        InputError: key, quota, address or server are at fault, or a batch is still open.
    """
    import openai

    try:
        with openai.OpenAI(**client_options(args.base_url, args.timeout) | {"max_retries": 5}) as client:
            if args.batch == "submit":
                return submit(client, args, prompts, journal, price, missing)
            return (status if args.batch == "status" else collect)(client, args, prompts, journal, price)
    except Stop as stop:
        raise InputError(f"{stop} ({len(journal.accepted)} paraphrases are kept.)") from None
    except openai.APIError as error:
        reason = fault_of(error, {}, args.base_url, args.model).reason
        raise InputError(f"{reason.rstrip('.')}; run the same command again later, nothing is lost.") from None
    except OSError as error:  # what the HTTP library raises in the middle of a download is one, or has one inside
        raise InputError(f"a batch's files: {error}; run the same command again later, nothing is lost.") from None


# ---------------------------------------------------------------- submit


def submit(client, args, prompts: dict[str, Prompt], journal: Journal, price, missing: Iterator[Request]) -> int:
    """Upload the missing rows, in as many batches as the limits ask for."""
    adopt(client, journal)
    if journal.open_batches():
        raise InputError(f"batch {journal.open_batches()[0]['batch']} is open; make --batch collect first.")
    # One row the normal way: a key, model or parameter that is refused shows now, not tomorrow.
    first = next(missing, None)
    if first is None:
        log.info("nothing is missing, or has tries left")
        return 0
    asyncio.run(ask(iter([first]), 1, journal, prompts, price, args))
    steps = (journal.outstanding(request, prompts) for request in missing)
    for number, (path, count, size) in enumerate(request_files(steps, args, journal, price), start=1):
        log.info("batch %d: %d rows, %.1f MB", number, count, size / 1e6)
        submit_file(client, path, count, args, journal, drawn_with(args, prompts) | {"price": price})
    rows = sum(batch["requests"] for batch in journal.open_batches())
    if rows:
        log.info("%d rows submitted; later: --batch status, --batch collect", rows)
    return 0


def request_files(requests: Iterator[Request], args, journal: Journal, price) -> Iterator[tuple[Path, int, int]]:
    """Yield files of requests within the limits of a batch, with their numbers of requests and bytes.

    Ends early where --max-cost would not cover what the batches can cost at most.
    """
    spent, request = journal.cost, next(requests, None)
    while request is not None:
        with tempfile.TemporaryDirectory(dir=Path(args.output).absolute().parent) as folder:
            path, count = Path(folder, "requests.jsonl"), 0
            with open(path, "wb") as lines:
                while request is not None and count < MOST_REQUESTS:
                    line = request_line(request, args, journal)
                    worst = cost_of(len(line) + OVERHEAD_TOKENS, args.max_tokens, price) * DISCOUNT if price else 0.0
                    if args.max_cost is not None and spent + worst > args.max_cost:
                        log.warning("--max-cost %g covers no more rows at their worst price", args.max_cost)
                        request = None
                    elif lines.tell() + len(line) > MOST_BYTES and count:
                        break
                    else:
                        lines.write(line)
                        count, spent = count + 1, spent + worst
                        request = next(requests, None)
                size = lines.tell()
            if count:
                yield path, count, size


def request_line(request: Request, args, journal: Journal) -> bytes:
    body = body_of(request, journal, **settings_now(args, journal))
    line = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def settings_now(args, journal: Journal) -> dict:
    """Return what a call's body depends on beside its request; it is journaled with the batch."""
    settings = {"asked_model": args.model, "max_tokens": args.max_tokens, "at_openai": args.at_openai}
    return settings | {"refused": sorted(journal.refused)}


def drawn_with(args, prompts: dict[str, Prompt]) -> dict:
    """Return what the requests of a batch were drawn with: with anything else its answers would fit no row."""
    told = {"where": args.base_url, "asked_model": args.model, "prompt_set": args.prompt_set}
    return told | plan_facts(args.seed, prompts)


def settings_of(batch: dict) -> dict:
    return {name: batch[name] for name in ("asked_model", "max_tokens", "at_openai", "refused")}


def body_of(request: Request, journal: Journal, asked_model: str, max_tokens: int, at_openai: bool, refused) -> dict:
    seed = request.seed + journal.tries(request)
    return call_body(request, asked_model, seed, max_tokens, at_openai, set(refused))


def submit_file(client, path: Path, count: int, args, journal: Journal, facts: dict) -> None:
    """Upload a file and make a batch of it. What is about to happen is journaled first, so that a crash loses none."""
    import openai

    with open(path, "rb") as handle:
        uploaded = client.files.create(file=handle, purpose="batch")
    nonce = uuid.uuid4().hex
    sent = settings_now(args, journal) | facts | {"requests": count, "nonce": nonce}
    journal.write([{"event": "submitting", **sent}])
    # Not by itself a second time: an answer that was lost on its way doesn't mean that no batch was made.
    try:
        made = client.with_options(max_retries=0).batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={MARK: nonce},
        )
    except openai.APIStatusError as error:
        if error.status_code < 500:  # surely none was made
            journal.write([{"event": "not submitted", "nonce": nonce}])
        raise
    journal.write([{"event": "submitted", "batch": made.id, "input_file": uploaded.id, **sent}])
    log.info("batch %s is submitted", made.id)


def adopt(client, journal: Journal) -> None:
    """Settle submissions that were cut off: the server knows whether their batch was made."""
    if not journal.submitting:
        return
    other = next((sent["where"] for sent in journal.submitting.values() if sent["where"] != journal.where), None)
    if other:
        raise InputError(f"a submission to {other} was cut off; settle it there first, with --batch status.")
    for made in client.batches.list():
        sent = journal.submitting.get((made.metadata or {}).get(MARK, ""))
        if sent:
            journal.write([{**sent, "event": "submitted", "batch": made.id}])
            log.info("batch %s was made by a submission that was cut off", made.id)
    for nonce in list(journal.submitting):
        journal.write([{"event": "not submitted", "nonce": nonce}])


# ---------------------------------------------------------------- status, collect


def status(client, args, prompts, journal: Journal, price) -> int:
    """Print a line for every open batch."""
    adopt(client, journal)
    for batch in journal.open_batches():
        print(line_of(find(client, batch), batch))
    if not journal.open_batches():
        print("no batch is open")
    return 0


def find(client, batch: dict):
    """Return what the server knows of a batch. InputError where it doesn't know it."""
    import openai

    try:
        return client.batches.retrieve(batch["batch"])
    except openai.NotFoundError:
        raise InputError(
            f"the server knows no batch {batch['batch']} under this key; use the key it was submitted with, or delete "
            "its lines from the journal to give it up."
        ) from None


def line_of(made, batch: dict) -> str:
    counts = made.request_counts
    told = f"{counts.completed} done, {counts.failed} failed" if counts else "0 done"
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made.created_at))
    return f"{made.id}: {made.status}, {told} of {batch['requests']}, submitted {since}"


def collect(client, args, prompts: dict[str, Prompt], journal: Journal, price) -> int:
    """Journal what the ended batches brought; 1 while others go on."""
    adopt(client, journal)
    waiting = 0
    for batch in journal.open_batches():
        for name, value in drawn_with(args, prompts).items():
            if batch[name] != value:
                raise InputError(
                    f"batch {batch['batch']} was submitted with another {name} ({batch[name]}): collect it with that."
                )
        made = find(client, batch)
        log.info("%s", line_of(made, batch))
        if made.status not in ENDED:
            waiting += 1
            continue
        for fault in (made.errors.data if made.errors else None) or ():
            log.warning("batch %s: %s; submit again, where tokens are the limit with --limit", made.id, fault.code)
        half = tuple(rate * DISCOUNT for rate in batch["price"]) if batch["price"] else None
        with answers(client, made, args) as found:
            counts = keep_answers(found, batch, args, prompts, journal, half)
        journal.write([{"event": "collected", "batch": made.id, "status": made.status, **counts}])
        log.info("batch %s: %s", made.id, ", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing came back")
    if waiting:
        print(f"{waiting} batches are not done yet; make --batch collect again later.", file=sys.stderr)
    return int(waiting > 0)


class Answers:
    """The lines of a batch's output and error files on disk, by custom_id."""

    def __init__(self):
        self.places: dict[str, tuple[Path, int]] = {}

    def add(self, path: Path) -> None:
        offset = 0
        with open(path, "rb") as lines:
            for line in lines:
                if line.strip():
                    self.places.setdefault(custom_id(line), (path, offset))
                offset += len(line)

    def take(self, key: str) -> dict | None:
        """Return the answer to a request, once; None where there is none."""
        if key not in self.places:
            return None
        path, offset = self.places.pop(key)
        with open(path, "rb") as lines:
            lines.seek(offset)
            return json.loads(lines.readline())


def custom_id(line: bytes) -> str:
    """Return which request a line answers. OSError where it is torn: the download can be repeated."""
    try:
        return json.loads(line)["custom_id"]
    except (ValueError, KeyError, TypeError):
        raise OSError("a line is torn") from None


def download(client, name: str, path: Path) -> None:
    """Fetch one file of a batch. OSError where it comes only in part, InputError where the server has it no more."""
    import openai

    try:
        with client.files.with_streaming_response.content(name) as content:
            content.stream_to_file(path)
    except openai.NotFoundError:
        raise InputError(
            f"the server has deleted the batch's file {name}; delete the batch's lines from the journal."
        ) from None
    except openai.APIError:
        raise
    except Exception as error:  # of the HTTP library, whichever it is
        raise OSError(f"the download of {name} broke off ({type(error).__name__})") from None


@contextmanager
def answers(client, made, args):
    """Download a batch's files, in any order and number that the server gives them; yield their Answers."""
    found = Answers()
    with tempfile.TemporaryDirectory(dir=Path(args.output).absolute().parent) as folder:
        # "completed" may come without an output file, all answers being in the error file.
        for name in filter(None, (made.output_file_id, made.error_file_id)):
            path = Path(folder, name.replace("/", "_"))
            download(client, name, path)
            found.add(path)
        yield found


def keep_answers(found: Answers, batch: dict, args, prompts, journal: Journal, price) -> dict[str, int]:
    """Journal every answer; return how many were accepted, rejected, or leave their row for another call."""
    counts, entries = Counter(), []
    collected = set(journal.collected.get(batch["batch"], ()))

    def keep(entry: dict | None, at_once: int = TOGETHER) -> None:
        if entry:
            entries.append(entry | {"batch_id": batch["batch"]})
            counts["accepted" if entry["verdict"] == ACCEPTED else "rejected"] += 1
        if len(entries) >= at_once:
            journal.write(entries)
            entries.clear()

    for _, _, request in plan(args.datasource, args.seed, prompts):
        step = journal.outstanding(request, prompts)
        answer = found.take(step.key) if step and step.key not in collected else None
        if answer:
            entry = judge(answer, step, body_of(step, journal, **settings_of(batch)), args, journal, price)
            keep(entry)
            counts["to be asked for again"] += entry is None
    for key in found.places.keys() - collected:
        keep(orphan(key, found.take(key), batch, price))
    keep(None, at_once=1 if entries else TOGETHER)
    return {what: count for what, count in counts.items() if count}


def orphan(key: str, answer: dict, batch: dict, price) -> dict | None:
    """Return the journal entry for a paid answer whose row is no longer in the table; None where it wasn't paid."""
    response = answer.get("response") or {}
    if response.get("status_code") != 200:
        return None
    try:
        reply = reply_of(response.get("body"), response.get("request_id"))
    except ValueError:
        return None
    usage = reply.usage or {}
    return {
        "key": key,
        "verdict": "its row is no longer in the table",
        "asked_model": batch["asked_model"],
        "usage": usage,
        "cost": cost_of(usage["prompt_tokens"], usage["completion_tokens"], price) if price and usage else None,
        "text": reply.text,
    }


def judge(answer: dict, request: Request, body: dict, args, journal: Journal, price) -> dict | None:
    """Return the journal entry for one line of a batch's files; None where the row is to be asked for again."""
    where = args.base_url
    response = answer.get("response") or {}
    if response.get("status_code") == 200:
        try:
            return reply_entry(request, body, reply_of(response.get("body"), response.get("request_id")), price, where)
        except ValueError:
            return entry_of(request, "no chat completion", body, where)
    error = (response.get("body") or {}).get("error") or answer.get("error") or {}
    if not response:  # never started: batch_expired, batch_cancelled
        return None
    fault = fault_of_status(response["status_code"], error, body, where, body["model"])
    if fault.kind == "parameter" and fault.reason not in journal.refused:
        log.warning("the server refuses the parameter %s; going on without it", fault.reason)
        journal.write([parameter_note(fault.reason, body["model"], where)])
    return entry_of(request, fault.reason, body, where) if fault.kind == "refused" else None
