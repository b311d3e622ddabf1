"""The journal's entries on calls: what is kept of a reply, judged; of a row that got none; of a refused parameter."""

from __future__ import annotations

import hashlib

from paraphrase.checks import clean, verdict_on
from paraphrase.plan import Request
from paraphrase.prices import cost_of
from paraphrase.prompts import wording
from paraphrase.server import Reply, Server


def entry_of(request: Request, verdict: str, body: dict, server: Server) -> dict:
    """Return the part of an entry that is known without a reply; never the source, which is in the table."""
    settings = {name: value for name, value in body.items() if name not in ("messages", "seed", "temperature")}
    told = repr((server.address, wording(request.prompt), sorted(settings.items())))
    return {
        "key": request.key,
        "verdict": verdict,
        "settings": hashlib.sha256(told.encode()).hexdigest()[:16],
        "asked_model": body["model"],
        "system_prompt": request.prompt.name,
        "temperature": body.get("temperature"),
        "seed": body.get("seed"),
    }


def reply_entry(request: Request, body: dict, reply: Reply, server: Server) -> dict:
    """Judge a reply; return its entry."""
    usage = reply.usage or {}
    verdict = verdict_on(reply.text, reply.finish_reason, request.source, request.prompt, usage.get("total_tokens", 0))
    if not reply.text and reply.refused:
        verdict = "refused by the model"
    return entry_of(request, verdict, body, server) | {
        "model": reply.model,
        "finish_reason": reply.finish_reason,
        "usage": reply.usage,
        "cost": cost_of_reply(usage, server),
        "request_id": reply.request_id,
        "text": clean(reply.text, request.source),
    }


def cost_of_reply(usage: dict, server: Server) -> float | None:
    """Return dollars; None where price or tokens aren't known."""
    if not usage or not server.price:
        return None
    return cost_of(usage["prompt_tokens"], usage["completion_tokens"], server.price)


def parameter_note(parameter: str, server: Server) -> dict:
    """Return the entry that says that a model's server doesn't take a parameter."""
    return {
        "event": "parameter refused",
        "param": parameter,
        "asked_model": server.model,
        "where": server.address,
    }
