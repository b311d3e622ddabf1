"""The same calls through OpenAI's Batch API: half the price, within a day, resumable by the batch's id.

In: what the survey found to be missing. Out: entries in the journal. submit uploads what is missing and returns;
status shows how far it is; collect journals what came back. The journal says which batches are open. While one is,
nothing else is asked for: no row is paid for twice.
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
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from paraphrase.asking import Effort, ask, worst_cost
from paraphrase.checks import ACCEPTED
from paraphrase.entries import cost_of_reply, entry_of, parameter_note, reply_entry
from paraphrase.journal import Journal
from paraphrase.key import without_key
from paraphrase.plan import Request
from paraphrase.prices import BATCH_DISCOUNT
from paraphrase.server import (
    ErrorInReply,
    Server,
    Stop,
    call_body,
    code_of,
    fault_of,
    fault_of_status,
    open_client,
    reply_of,
)
from paraphrase.survey import Survey
from script import REMEDIES, InputError, log, name_file

MOST_REQUESTS, MOST_BYTES = 50_000, 190_000_000  # of one batch; the documented limits are 50,000 and 200 MB
ENDED = ("completed", "failed", "expired", "cancelled")
TOGETHER = 200  # answers journaled with one sync; an interrupted collection is repeated from the server's files
MARK = "tunedembeddings"  # the batch's metadata field that holds the submission's nonce


def run(action: str, found: Survey, journal: Journal, server: Server) -> int:
    """Do what --batch says; return the exit status.

    Raises:
        InputError: key, quota, address or server are at fault, or a batch is still open.
    """
    import openai

    try:
        with open_client(openai.OpenAI, server, retries=5) as client:
            if action == "status":
                return status(client, journal)
            return (submit if action == "submit" else collect)(client, found, journal, server)
    except Stop as stop:
        raise InputError(f"{stop} ({len(journal.accepted)} paraphrases are kept.)") from None
    except openai.APIError as error:
        reason = fault_of(error, {}, server).reason
        raise InputError(f"{reason.rstrip('.')}; run the same command again later, nothing is lost.") from None
    except OSError as error:  # what the HTTP library raises in the middle of a download is one, or has one inside
        if error.errno in REMEDIES:  # the disk, not the server
            raise
        raise InputError(f"a batch's files: {error}; run the same command again later, nothing is lost.") from None


# ---------------------------------------------------------------- submit


class RequestFile(NamedTuple):
    """A file of requests, one a line."""

    path: Path
    requests: int
    size: int  # bytes


def submit(client, found: Survey, journal: Journal, server: Server) -> int:
    """Upload the missing rows, in as many batches as the limits require."""
    adopt(client, journal)
    if journal.open_batches():
        raise InputError(f"batch {journal.open_batches()[0]['batch']} is open; run with --batch collect first.")
    # One row the normal way: a key, model or parameter that is refused shows now, not tomorrow.
    missing = found.requests(journal)
    first = next(missing, None)
    if first is None:
        log.info("nothing to submit: no row with tries left lacks its paraphrase")
        return 0
    asyncio.run(ask(iter([first]), 1, journal, server, found.effort))
    steps = (journal.outstanding(request) for request in missing)
    for number, file in enumerate(request_files(steps, journal, server, found.effort), start=1):
        log.info("batch %d: %d rows, %.1f MB", number, file.requests, file.size / 1e6)
        submit_file(client, file, journal, settings_now(found, journal, server))
    rows = sum(batch["requests"] for batch in journal.open_batches())
    if rows:
        log.info("%d rows submitted; later: --batch status, --batch collect", rows)
    return 0


def request_files(steps: Iterator[Request], journal: Journal, server: Server, effort: Effort) -> Iterator[RequestFile]:
    """Yield files of requests within the limits of a batch.

    Ends early where --max-cost would not cover what the batches can cost at most.
    """
    spent, step = journal.cost, next(steps, None)
    while step is not None:
        with temporary_folder(journal) as folder:
            path, count = folder / "requests.jsonl", 0
            with open(path, "wb") as lines:
                while step is not None and count < MOST_REQUESTS:
                    line = request_line(step, journal, server)
                    worst = worst_cost(len(line), server) * BATCH_DISCOUNT
                    if effort.max_cost is not None and spent + worst > effort.max_cost:
                        log.warning("--max-cost %g covers no more rows at the highest possible price", effort.max_cost)
                        step = None
                    elif lines.tell() + len(line) > MOST_BYTES and count:
                        break
                    else:
                        lines.write(line)
                        count, spent = count + 1, spent + worst
                        step = next(steps, None)
                size = lines.tell()
            if count:
                yield RequestFile(path, count, size)


@contextmanager
def temporary_folder(journal: Journal) -> Iterator[Path]:
    """Yield a folder beside the journal, where there is room for a batch's files."""
    beside = journal.path.absolute().parent
    try:
        with tempfile.TemporaryDirectory(dir=beside) as folder:
            yield Path(folder)
    except OSError as error:
        name_file(error, beside)
        raise


def request_line(step: Request, journal: Journal, server: Server) -> bytes:
    body = body_of(step, journal, server, journal.refused)
    line = {"custom_id": step.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def body_of(step: Request, journal: Journal, server: Server, refused) -> dict:
    return call_body(step, step.seed + journal.tries(step), server, set(refused))


def settings_now(found: Survey, journal: Journal, server: Server) -> dict:
    """Return what is journaled with a batch: what bodies and draws depend on besides the rows."""
    settings = {"asked_model": server.model, "max_tokens": server.max_tokens, "at_openai": server.at_openai}
    return settings | {"refused": sorted(journal.refused)} | drawn_with(found, server) | {"price": server.price}


def drawn_with(found: Survey, server: Server) -> dict:
    """Return what a batch must be collected with: with anything else its answers would fit no row."""
    return {"where": server.address, "asked_model": server.model} | found.pairs.draw.facts()


def submit_file(client, file: RequestFile, journal: Journal, settings: dict) -> None:
    """Upload a file and make a batch of it. The intention is journaled first, so that a crash loses no batch."""
    import openai

    with open(file.path, "rb") as handle:
        uploaded = client.files.create(file=handle, purpose="batch")
    nonce = uuid.uuid4().hex
    sent = settings | {"requests": file.requests, "nonce": nonce}
    journal.write([{"event": "submitting", **sent}])
    # Never retried by itself: an answer that was lost on its way doesn't mean that no batch was made.
    try:
        made = client.with_options(max_retries=0).batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={MARK: nonce},
        )
    except openai.APIStatusError as error:
        if error.status_code < 500:  # certainly none was made
            journal.write([{"event": "not submitted", "nonce": nonce}])
        raise
    journal.write([{"event": "submitted", "batch": made.id, "input_file": uploaded.id, **sent}])
    log.info("batch %s is submitted", made.id)


def adopt(client, journal: Journal) -> None:
    """Settle interrupted submissions: the server knows whether their batch was made."""
    if not journal.submitting:
        return
    other = next((sent["where"] for sent in journal.submitting.values() if sent["where"] != journal.where), None)
    if other:
        raise InputError(
            f"a submission to {other} was interrupted; settle it first: --batch status with that --base-url."
        )
    for made in client.batches.list():
        sent = journal.submitting.get((made.metadata or {}).get(MARK, ""))
        if sent:
            journal.write([{**sent, "event": "submitted", "batch": made.id}])
            log.info("batch %s was made by an interrupted submission", made.id)
    for nonce in list(journal.submitting):
        journal.write([{"event": "not submitted", "nonce": nonce}])


# ---------------------------------------------------------------- status, collect


def status(client, journal: Journal) -> int:
    """Print a line for every open batch."""
    adopt(client, journal)
    for batch in journal.open_batches():
        print(line_of(find(client, batch), batch))
    if not journal.open_batches():
        print("no batch is open")
    return 0


def find(client, batch: dict):
    """Return what the server knows of a batch. InputError where it has none of that id."""
    import openai

    try:
        return client.batches.retrieve(batch["batch"])
    except openai.NotFoundError:
        raise InputError(
            f"the server has no batch {batch['batch']} under this key; use the key it was submitted with, or delete "
            "its lines from the journal to give it up."
        ) from None


def line_of(made, batch: dict) -> str:
    counts = made.request_counts
    told = f"{counts.completed} done, {counts.failed} failed" if counts else "0 done"
    since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made.created_at))
    return f"{made.id}: {made.status}, {told} of {batch['requests']}, submitted {since}"


def collect(client, found: Survey, journal: Journal, server: Server) -> int:
    """Journal the answers of ended batches; return 1 while others go on."""
    adopt(client, journal)
    waiting = 0
    for batch in journal.open_batches():
        check_drawn(batch, drawn_with(found, server))
        made = find(client, batch)
        log.info("%s", line_of(made, batch))
        if made.status not in ENDED:
            waiting += 1
            continue
        for fault in (made.errors.data if made.errors else None) or ():
            code = code_of(without_key({"code": fault.code}, server.address)) or "failed"
            log.warning("batch %s: %s; submit again, with --limit where tokens are the limit", made.id, code)
        half = tuple(rate * BATCH_DISCOUNT for rate in batch["price"]) if batch["price"] else None
        asked = replace(server, model=batch["asked_model"], max_tokens=batch["max_tokens"], price=half)
        with answers(client, made, journal) as came:
            counts = keep_answers(came, batch, found, journal, asked)
        journal.write([{"event": "collected", "batch": made.id, "status": made.status, **counts}])
        log.info("batch %s: %s", made.id, ", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing came back")
    if waiting:
        print(f"{waiting} batches are not done yet; run with --batch collect again later.", file=sys.stderr)
    return int(waiting > 0)


def check_drawn(batch: dict, now: dict) -> None:
    """InputError where a batch was submitted with other settings."""
    for name, value in now.items():
        if batch[name] != value:
            raise InputError(
                f"batch {batch['batch']} was submitted with another {name} ({batch[name]}): collect it with that."
            )


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
    """Fetch one file of a batch. OSError where only part of it comes, InputError where the server no longer has it."""
    import openai

    try:
        with client.files.with_streaming_response.content(name) as content:
            content.stream_to_file(path)
    except openai.NotFoundError:
        raise InputError(
            f"the server has deleted the batch's file {name}; delete the batch's lines from the journal to give it up."
        ) from None
    except openai.APIError:
        raise
    except Exception as error:  # of the HTTP library, whichever it is
        if getattr(error, "errno", None) in REMEDIES:
            raise
        raise OSError(f"the download of {name} broke off ({type(error).__name__})") from None


@contextmanager
def answers(client, made, journal: Journal) -> Iterator[Answers]:
    """Download a batch's files, however many there are; yield their Answers."""
    came = Answers()
    with temporary_folder(journal) as folder:
        # "completed" may come without an output file, all answers being in the error file.
        for name in filter(None, (made.output_file_id, made.error_file_id)):
            path = folder / name.replace("/", "_")
            download(client, name, path)
            came.add(path)
        yield came


class Keeper:
    """Journals answers of one batch, many with one sync; counts them."""

    def __init__(self, batch: dict, journal: Journal):
        self.batch, self.journal = batch, journal
        self.counts, self.entries = Counter(), []

    def keep(self, entry: dict | None) -> None:
        if entry:
            self.entries.append(entry | {"batch_id": self.batch["batch"]})
            self.counts["accepted" if entry["verdict"] == ACCEPTED else "rejected"] += 1
        if len(self.entries) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        if self.entries:
            self.journal.write(self.entries)
            self.entries.clear()


def keep_answers(came: Answers, batch: dict, found: Survey, journal: Journal, asked: Server) -> dict[str, int]:
    """Journal every answer; return how many were accepted, rejected, or leave their row for another call.

    Args:
        asked: the settings that the batch was submitted with, at half the price.
    """
    keeper = Keeper(batch, journal)
    collected = set(journal.collected.get(batch["batch"], ()))
    journal.coming = came.places  # it may have been submitted by an earlier version, under that version's keys
    for _, request in found.pairs.at(found.lacking):
        step = journal.outstanding(request)
        answer = came.take(step.key) if step and step.key not in collected else None
        if answer:
            entry = judge(answer, step, body_of(step, journal, asked, batch["refused"]), journal, asked)
            keeper.keep(entry)
            keeper.counts["to be asked for again"] += entry is None
    for key in came.places.keys() - collected:
        keeper.keep(orphan(key, came.take(key), asked))
    keeper.flush()
    journal.coming = ()
    return {what: count for what, count in keeper.counts.items() if count}


def orphan(key: str, answer: dict, asked: Server) -> dict | None:
    """Return the journal entry for a paid answer whose row is no longer in the table; None where it wasn't paid."""
    response = answer.get("response") or {}
    if response.get("status_code") != 200:
        return None
    try:
        reply = reply_of(response.get("body"), response.get("request_id"), asked)
    except ValueError:
        return None
    usage = reply.usage or {}
    return {
        "key": key,
        "verdict": "its row is no longer in the table",
        "asked_model": asked.model,
        "usage": usage,
        "cost": cost_of_reply(usage, asked),
        "text": reply.text,
    }


def judge(answer: dict, step: Request, body: dict, journal: Journal, asked: Server) -> dict | None:
    """Return the journal entry for one line of a batch's files; None where the row is to be asked for again."""
    response = answer.get("response") or {}
    if not response:  # never started: batch_expired, batch_cancelled
        return None
    status, error = response["status_code"], (response.get("body") or {}).get("error") or answer.get("error") or {}
    if status == 200:
        try:
            return reply_entry(step, body, reply_of(response.get("body"), response.get("request_id"), asked), asked)
        except ErrorInReply as fault:
            status, error = fault.status, fault.told
        except ValueError:
            return entry_of(step, "no chat completion", body, asked)
    fault = fault_of_status(status, error, body, asked)
    if fault.kind == "parameter" and fault.reason not in journal.refused:
        log.warning("the server refuses the parameter %s; continuing without it", fault.reason)
        journal.write([parameter_note(fault.reason, asked)])
    return entry_of(step, fault.reason, body, asked) if fault.kind == "refused" else None
