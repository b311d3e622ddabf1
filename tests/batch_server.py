"""A stand-in for OpenAI's Batch API that follows the documented protocol: files, batches, output and error files.

A batch stays "in_progress" until the test says how it ends. Its answers come from the server's `reply`, as for a
single call; what is no 200 goes to the error file, as documented.
"""

from __future__ import annotations

import email
import json
import time
from urllib.parse import parse_qs, urlsplit

from openai_server import Answer, OpenAIServer, refusal


class BatchServer(OpenAIServer):
    """Attributes: files (id → bytes), batches (id → object), uploads in order; `lost` drops the answer to a create."""

    def __init__(self, *args, **words):
        super().__init__(*args, **words)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.lost = False
        self.most_requests = 50_000

    # ---- the protocol

    def post(self, path: str, data: bytes, headers) -> Answer:
        if path == "/v1/files":
            return self.upload(data, headers)
        if path == "/v1/batches":
            return self.create(json.loads(data))
        return super().post(path, data, headers)

    def get(self, path: str) -> Answer:
        parts = urlsplit(path).path.split("/")[2:]
        if parts[0] == "files":
            return Answer(200, self.files[parts[1]]) if parts[1] in self.files else Answer(404, refusal("no file"))
        if parts == ["batches"]:
            return self.page(parse_qs(urlsplit(path).query))
        if parts[0] == "batches":
            batch = self.batches.get(parts[1])
            return Answer(200, batch) if batch else Answer(404, refusal("no batch"))
        return super().get(path)

    def page(self, query: dict) -> Answer:
        """One batch a page, the newest first, so that a client has to turn pages."""
        newest_first = list(self.batches)[::-1]
        after = query.get("after", [None])[0]
        rest = newest_first[newest_first.index(after) + 1 :] if after else newest_first
        data = [self.batches[name] for name in rest[:1]]
        return Answer(200, {"object": "list", "data": data, "has_more": len(rest) > 1})

    def upload(self, data: bytes, headers) -> Answer:
        form = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + data)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
        assert fields["purpose"].get_payload() == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = fields["file"].get_payload(decode=True)
        told = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0, "status": "processed"}
        return Answer(200, told | {"filename": "requests.jsonl", "purpose": "batch"})

    def create(self, asked: dict) -> Answer:
        assert asked["completion_window"] == "24h" and asked["endpoint"] == "/v1/chat/completions"
        lines = self.lines_of(asked)
        keys = [line["custom_id"] for line in lines]
        assert len(set(keys)) == len(keys) <= self.most_requests and len({line["body"]["model"] for line in lines}) == 1
        name = f"batch_{len(self.batches)}"
        counts = {"total": len(keys), "completed": 0, "failed": 0}
        self.batches[name] = {"id": name, "object": "batch", "status": "in_progress", "request_counts": counts}
        self.batches[name] |= {"created_at": int(time.time()), "metadata": asked.get("metadata"), **asked}
        return Answer(200, self.batches[name], how="reset" if self.lost else "all")

    def lines_of(self, batch: dict) -> list[dict]:
        return [json.loads(line) for line in self.files[batch["input_file_id"]].decode().splitlines()]

    # ---- what a test lets happen

    def end(self, name: str, status: str = "completed", answered: int | None = None) -> None:
        """End a batch: so many of its requests were answered, all without a number; the rest expired."""
        batch, output, errors = self.batches[name], [], []
        lines = self.lines_of(batch)
        for number, line in enumerate(lines):
            answer = {"id": f"r{number}", "custom_id": line["custom_id"], "response": None, "error": None}
            if answered is not None and number >= answered:
                errors.append(answer | {"error": {"code": "batch_expired", "message": "not executed in time"}})
                continue
            got = self.complete(line["body"])
            answer["response"] = {"status_code": got.status, "request_id": f"req{number}", "body": got.body}
            (output if got.status == 200 else errors).append(answer)
        counts = {"total": len(lines), "completed": len(output), "failed": len(errors)}
        batch |= {"status": status, "request_counts": counts}
        for field, answers in (("output_file_id", output), ("error_file_id", errors)):
            if answers:  # the documented quirk: no file where it would be empty
                batch[field] = f"file-{field}-{name}"
                self.files[batch[field]] = "".join(json.dumps(one) + "\n" for one in reversed(answers)).encode()

    def fail(self, name: str, code: str) -> None:
        """Refuse a batch at validation."""
        errors = {"object": "list", "data": [{"code": code, "message": "m", "line": None, "param": None}]}
        self.batches[name] |= {"status": "failed", "errors": errors}
