"""The key to the server: where it is found, and that nothing shows it.

In: OPENAI_API_KEY, or for OpenAI's own server credentials.txt; whatever a server told. Out: the key; the same without
the key, which some servers echo in an error's code, a model's name, or anywhere else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from paraphrase.address import is_loopback, is_openai
from script import InputError, log, regular_file

CREDENTIALS = "credentials.txt"  # the original's: organization, then key, a line each
SHORTEST, LONGEST_WORD = 8, 20  # characters; "EMPTY" or a word stands for no key, and may occur in a paraphrase


def find_key(address: str) -> tuple[str | None, str]:
    """Return the organization, None if not known, and the key, empty if there is none.

    The key is OPENAI_API_KEY, or else, for OpenAI's own server alone, the second line of credentials.txt.

    Raises:
        InputError: no key for OpenAI's server, or something that can't be a key.
    """
    key, organization = os.environ.get("OPENAI_API_KEY", "").strip(), None
    if not key and is_openai(address) and Path(CREDENTIALS).exists():
        lines = regular_file(CREDENTIALS).read_text(encoding="utf-8-sig", errors="replace").split()
        if len(lines) != 2:
            raise InputError(f"{CREDENTIALS} must hold two lines, organization and key; or set OPENAI_API_KEY.")
        organization, key = lines
    if not key and is_openai(address):
        raise InputError("no key: set OPENAI_API_KEY, or name a server of your own with --base-url.")
    sent = {CREDENTIALS if organization else "OPENAI_API_KEY": f"{organization or ''}{key}"}
    sent |= {name: os.environ.get(name, "") for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")}
    for name, value in sent.items():
        if not re.fullmatch(r"[!-~]*", value):  # as a header takes it
            raise InputError(f"{name} must be the key or id alone: one line, without spaces, all in ASCII characters.")
    return organization, key


def without_key(told, address: str):
    """Return what a server told (text, list, dict, or anything else), with … wherever the key to it stood."""
    try:
        key = find_key(address)[1]
    except (InputError, OSError, ValueError):  # gone meanwhile: no reason to lose a reply that was paid for
        return told
    could_be_a_word = len(key) < SHORTEST or (key.isalpha() and len(key) < LONGEST_WORD)
    return told if could_be_a_word else replaced(told, key)


def replaced(told, key: str):
    if isinstance(told, str):
        return told.replace(key, "…")
    if isinstance(told, dict):
        return {replaced(name, key): replaced(value, key) for name, value in told.items()}
    return [replaced(value, key) for value in told] if isinstance(told, list) else told


def warn_of_open_key(address: str) -> None:
    """Warn where the key would travel through a network for everybody on the way to read."""
    parts = urlsplit(address)
    if parts.scheme == "http" and not is_loopback(parts.hostname or "") and find_key(address)[1]:
        log.warning("the key goes to %s unencrypted; use https, or an SSH tunnel to 127.0.0.1", address)
