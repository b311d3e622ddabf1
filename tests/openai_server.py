"""A real HTTP server on loopback that speaks the OpenAI protocol: chat completions, and a list of models.

Its answers come from `reply`, a function of the request's JSON that returns a text, (status, body) or an Answer; tests
set it. It is no language model: it shortens the source and changes every word a little, so that checks pass.
Run by hand, with a port or without, it prints its address and serves until it is stopped.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """What goes back, and how: after so many seconds; all, cut off in the middle, or the connection reset."""

    status: int
    body: dict | list | str | bytes
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    how: str = "all"  # "all", "cut", "reset"


def shorten(request: dict) -> str:
    """Return the first half of the user's words, each changed, in three sentences: a short text that is no copy."""
    words = [word.strip(".") + "s" for word in request["messages"][-1]["content"].split()]
    words = words[: max(1, len(words) // 2)]
    third = max(1, len(words) // 3)
    parts = [words[:third], words[third : 2 * third], words[2 * third :]]
    return " ".join(" ".join(part).capitalize() + "." for part in parts if part)


def completion(request: dict, text: str | None, finish_reason: str = "stop", **message) -> dict:
    """Return the body of a chat completion."""
    message = {"role": "assistant", "content": text, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": f"{request['model']}-2026",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def refusal(message: str, **fields) -> dict:
    """Return the body of an error."""
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, some of 16 connections at once are reset
    daemon_threads = True


class OpenAIServer:
    """Context manager; `requests` holds each completion request's JSON, `headers` its headers, `times` when it came."""

    def __init__(self, reply=shorten, port=0):
        self.reply, self.requests, self.headers, self.times = reply, [], [], []
        self.models = [{"id": "tiny", "object": "model", "created": 0, "owned_by": "tests"}]
        self.lock, self.send = threading.Lock(), None  # a function that sends an answer in its own way
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                self.send(owner.post(self.path, self.rfile.read(int(self.headers["Content-Length"])), self.headers))

            def do_GET(self):
                self.send(owner.get(self.path))

            def send(self, answer: Answer):
                if owner.send and self.command == "POST":
                    return owner.send(self, answer)
                time.sleep(answer.seconds)
                if answer.how == "reset":
                    # Closed with unread options, the peer sees a reset, not an end.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.close_connection = True
                    return self.connection.close()
                body, headers = answer.body, dict(answer.headers)
                kind = "text/html" if isinstance(body, str) and body.startswith("<") else "application/json"
                data = body if isinstance(body, bytes | str) else json.dumps(body)
                data = data.encode() if isinstance(data, str) else data
                head = f"HTTP/1.1 {answer.status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
                head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                if answer.how == "cut":
                    data, self.close_connection = data[: len(data) // 2], True
                return self.wfile.write(head.encode() + b"x-request-id: req_test\r\n\r\n" + data)

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, ValueError):  # the client has gone, or the connection was reset above
                    self.close_connection = True

            def finish(self):
                with contextlib.suppress(ConnectionError, ValueError):
                    super().finish()

            def log_message(self, *_):
                pass

        self.http = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def post(self, path: str, data: bytes, headers) -> Answer:
        """Answer a POST. Tests of other parts of the protocol override this."""
        request = json.loads(data)
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)  # names in any case
            self.times.append(time.time())
        return self.complete(request)

    def get(self, path: str) -> Answer:
        return Answer(200, {"object": "list", "data": self.models})

    def complete(self, request: dict) -> Answer:
        """Return the answer to one chat completion."""
        answer = self.reply(request)
        if isinstance(answer, str):
            return Answer(200, completion(request, answer))
        return answer if isinstance(answer, Answer) else Answer(*answer)

    def __enter__(self) -> OpenAIServer:
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


if __name__ == "__main__":
    with OpenAIServer(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as running:
        print(running.url, flush=True)
        threading.Event().wait()
