"""A real HTTP server on loopback that speaks the OpenAI protocol as far as chat completions go.

Its answers come from `reply`, a function of the request's JSON that returns (status, body) or a text; tests set it.
It is no language model: it shortens the source and changes every word a little, so that checks pass.
Run by hand, with a port or without, it prints its address and serves until it is stopped.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def shorten(request: dict) -> str:
    """Return the first half of the user's words, each changed: a short text that is no copy."""
    words = request["messages"][-1]["content"].split()
    return " ".join(word + "s" for word in words[: max(1, len(words) // 2)])


def completion(request: dict, text: str | None, finish_reason: str = "stop") -> dict:
    """Return the body of a chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": f"{request['model']}-2026",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}},
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def refusal(message: str, **fields) -> dict:
    """Return the body of an error."""
    return {"error": {"message": message, "type": None, "param": None, "code": None, **fields}}


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, some of 16 connections at once are reset


class OpenAIServer:
    """Context manager; `requests` holds every request's JSON, `headers` its headers."""

    def __init__(self, reply=shorten, port=0):
        self.reply, self.requests, self.headers = reply, [], []
        self.lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner.lock:
                    owner.requests.append(request)
                    owner.headers.append(self.headers)  # names in any case
                answer = owner.reply(request)
                status, body = (200, completion(request, answer)) if isinstance(answer, str) else answer
                self.send(status, body)

            def do_GET(self):
                self.send(200, {"object": "list", "data": [{"id": "tiny", "object": "model"}]})

            def send(self, status, body):
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                kind = "text/html" if isinstance(body, str) and body.startswith("<") else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("x-request-id", "req_test")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

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
