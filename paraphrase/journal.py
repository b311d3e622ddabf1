"""Every reply ever received for an output, one JSON object a line, on disk before it counts.

In: entries (entries.py, corrections.py, batch.py write them). Out: what is known of a request: its accepted reply, why
others were rejected, and what all of them cost. The file survives whatever stops a run: a torn last line is cut off and
asked for again; a damaged line stops the next run with its number. Memory holds only where the accepted replies begin,
some 200 bytes each.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from pathlib import Path

from paraphrase.checks import ACCEPTED
from paraphrase.plan import Request, following
from script import InputError, name_file, regular_file

RESERVE = 2**20  # bytes; when the disk is full they make room for the replies still under way, 64 of 8 KiB and more
BY_HAND = "corrected by hand"  # stands for the model of such a paraphrase


class Journal:
    """The journal of one output; a context manager. Two runs must not write one journal: lock.py sees to that.

    Attributes:
        accepted: key of a request → where the line of its accepted reply begins.
        corrected: a row's identity → where the line of the paraphrase begins that a person wrote for it.
        years: a row's identity → the year that an earlier version made part of its key.
        rejected: key → why this run's model's replies to it were rejected, in order.
        refused: parameters that this model's server has refused.
        totals: over all runs: replies, accepted, prompt_tokens, completion_tokens, and of this model alone
            model_replies, model_accepted, model_completion_tokens, model_seconds.
        cost: dollars over all runs, as far as the price was known; unpriced counts the replies without.
        writers: model asked → accepted replies.
        batches: id → what is known of a batch; submitting: nonce → a submission with unknown outcome.
        collected: id of an open batch → keys of its answers that are here already.
        coming: keys of a batch's answers that are about to be journaled.
        failed: the OSError that kept a reply from the disk, or made it use the reserve.
    """

    def __init__(self, path: Path, model: str, where: str = "", read_only: bool = False):
        self.path, self.model, self.where = path, model, where
        self.accepted: dict[bytes, int] = {}
        self.corrected: dict[bytes, int] = {}
        self.years: dict[str, str] = {}
        self.rejected: dict[bytes, list[str]] = {}
        self.refused: set[str] = set()
        self.totals, self.writers, self.cost, self.unpriced = Counter(), Counter(), 0.0, 0
        self.batches: dict[str, dict] = {}
        self.submitting: dict[str, dict] = {}
        self.collected: dict[str, set[str]] = {}
        self.coming: Container[str] = ()
        self.failed: OSError | None = None
        self.end, self.file, self.waiting, self.lock, self.lacks_newline = 0, None, [], asyncio.Lock(), False
        self.reserve = path.with_name(f".{path.name}.reserve")
        if path.exists():
            regular_file(path)
        if not read_only:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.read()
        if self.file is not None:
            os.ftruncate(self.file, self.end)  # a line torn by a crash while it was written
            if self.lacks_newline:  # taken away by an editor
                self.end += os.write(self.file, b"\n")
            self.make_reserve()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_) -> None:
        if self.file is not None:
            self.reserve.unlink(missing_ok=True)
            os.close(self.file)

    def make_reserve(self) -> None:
        try:
            self.reserve.write_bytes(os.urandom(RESERVE))  # no zeros: some file systems would not store them
        except OSError as error:
            self.reserve.unlink(missing_ok=True)
            raise InputError(f"{self.reserve}: {error.strerror}; make room, then run again.") from None

    # ---- reading

    def read(self) -> None:
        """Read the file; count every whole line."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.endswith(b"\n") or is_whole(line):
                    self.count(self.parse(line, number), self.end)
                    self.end += len(line)
                    self.lacks_newline = not line.endswith(b"\n")

    def parse(self, line: bytes, number: int) -> dict:
        """Return the entry on a line. InputError where the line is damaged, so that no paid reply is skipped."""
        try:
            entry = json.loads(line)
            if "key" in entry:
                bytes.fromhex(entry["key"]), entry["verdict"], entry["asked_model"]
            elif entry["event"] == "corrected":
                bytes.fromhex(entry["row"]), entry["cell"], entry["text"]
            elif entry["event"] == "asked with year":
                entry["row"], entry["year"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.path}, line {number}: not a journal entry; repair or delete that line.") from None
        return entry

    def count(self, entry: dict, offset: int) -> None:
        """Remember what an entry says: an accepted reply whichever model wrote it, a rejected one as this model's."""
        if "key" not in entry:
            return self.count_event(entry, offset)
        key, own = bytes.fromhex(entry["key"]), entry["asked_model"] == self.model
        if entry["verdict"] == ACCEPTED:
            self.accepted[key] = offset
            self.writers[entry["asked_model"]] += 1
        elif own:
            self.rejected.setdefault(key, []).append(entry["verdict"])
        if entry.get("batch_id"):
            self.collected.setdefault(entry["batch_id"], set()).add(entry["key"])
        return self.count_usage(entry, own)

    def count_usage(self, entry: dict, own: bool) -> None:
        """Add up tokens, money and time."""
        usage = entry.get("usage") or {}
        measured = {
            "replies": "usage" in entry,
            "accepted": entry["verdict"] == ACCEPTED,
            "seconds": entry.get("seconds") or 0,
        }
        measured |= {name: usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}
        self.totals.update(measured)
        if own:
            self.totals.update({f"model_{name}": value for name, value in measured.items()})
        self.unpriced += entry.get("cost") is None and "usage" in entry
        self.cost += entry.get("cost") or 0.0

    def count_event(self, entry: dict, offset: int) -> None:
        """Remember what is no reply: a correction, a parameter that was refused, or a batch's course."""
        if entry["event"] == "corrected":
            self.corrected[bytes.fromhex(entry["row"])] = offset
        elif entry["event"] == "asked with year":
            self.years[entry["row"]] = entry["year"]
        elif entry["event"] == "parameter refused":
            if entry["asked_model"] == self.model and entry["where"] == self.where:
                self.refused.add(entry["param"])
        elif entry["event"] == "submitting":
            self.submitting[entry["nonce"]] = entry
        else:
            self.submitting.pop(entry.get("nonce"), None)
            if "batch" in entry:
                self.batches[entry["batch"]] = self.batches.get(entry["batch"], {}) | entry
            if entry["event"] == "collected":
                self.collected.pop(entry["batch"], None)

    def open_batches(self) -> list[dict]:
        """Return the batches whose replies were not fetched yet."""
        return [batch for batch in self.batches.values() if batch["event"] == "submitted"]

    def holds(self, key: str) -> bool:
        """Tell whether there are replies to a key: an accepted one, or rejected ones of this run's model."""
        return bytes.fromhex(key) in self.accepted or bytes.fromhex(key) in self.rejected or key in self.coming

    def knows(self, identity: str) -> bool:
        """Tell whether anything is known of a row itself: a correction, or the year that it was asked for with."""
        return bytes.fromhex(identity) in self.corrected or identity in self.years

    def reasons(self, request: Request) -> list[str]:
        """Return why this model's replies to a request were rejected, in all runs."""
        return self.rejected.get(bytes.fromhex(request.key), [])

    def tries(self, request: Request) -> int:
        """Return how many replies of this model to a request were rejected, in all runs."""
        return len(self.reasons(request))

    def reply_to(self, request: Request) -> dict | None:
        """Return the accepted reply's entry, from the disk; None where there is none."""
        return self.entry_at(self.accepted.get(bytes.fromhex(request.key)))

    def entry_at(self, offset: int | None) -> dict | None:
        if offset is None:
            return None
        with open(self.path, "rb") as lines:
            lines.seek(offset)
            return json.loads(lines.readline())

    def accepted_texts(self) -> Iterator[str]:
        """Yield the text of every accepted reply."""
        return (self.entry_at(offset)["text"] for offset in self.accepted.values())

    def outstanding(self, request: Request | None) -> Request | None:
        """Return the step of a request that has no accepted reply yet; None where the row has its paraphrase."""
        if request is not None and bytes.fromhex(request.identity) in self.corrected:
            return None
        while request is not None:
            if request.second is None:
                return None if bytes.fromhex(request.key) in self.accepted else request
            entry = self.reply_to(request)
            if entry is None:
                return request
            request = following(request, entry["text"])
        return None

    def paraphrase_of(self, request: Request) -> dict | None:
        """Return the entry of a row's paraphrase, its last step's or a person's; None where a step is outstanding."""
        corrected = self.entry_at(self.corrected.get(bytes.fromhex(request.identity)))
        if corrected:
            return corrected
        entry = self.reply_to(request)
        after = entry and following(request, entry["text"])
        return self.reply_to(after) if after else entry

    # ---- writing

    def keep_years(self, taken_up: dict[str, str]) -> None:
        """Note which year is in the keys of rows taken up from an earlier version, for when it is corrected."""
        new = {row: year for row, year in taken_up.items() if row not in self.years}
        if new:
            self.write([{"event": "asked with year", "row": row, "year": year} for row, year in new.items()])

    async def append(self, entry: dict) -> None:
        """Put an entry on disk, together with those that came while the disk was busy, then count it."""
        self.waiting.append(entry)
        async with self.lock:
            if self.waiting:
                entries, self.waiting = self.waiting, []
                await asyncio.to_thread(self.write, entries)

    def write(self, entries: list[dict]) -> None:
        """Put entries on disk and count them. On a full disk the reserve is given up for them, and `failed` set."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines = [json.dumps({"time": now, **e}, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for e in entries]
        try:
            self.put(b"".join(lines))
        except OSError as error:
            self.failed = error
            self.reserve.unlink(missing_ok=True)
            self.put(b"".join(lines))
        for entry, line in zip(entries, lines):
            self.count(entry, self.end)
            self.end += len(line)

    def put(self, data: bytes) -> None:
        """Append all of the data and sync it, or leave the file as it was."""
        try:
            written = 0
            while written < len(data):
                written += os.write(self.file, data[written:])
            os.fsync(self.file)
        except OSError as error:
            os.ftruncate(self.file, self.end)
            name_file(error, self.path)
            raise


def is_whole(line: bytes) -> bool:
    """Tell whether a last line without a line feed is a whole entry; a torn one is no JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
