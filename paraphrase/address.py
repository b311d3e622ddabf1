"""The server's address, and the way to it: which server is whose, and past which proxy.

In: --base-url or OPENAI_BASE_URL, and the environment's proxies. Out: an address that can be called. InputError for one
that can't.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from script import InputError

OPENAI = "https://api.openai.com/v1"
ENDPOINT = re.compile(r"/(chat/)?completions/?$")


def server_address(asked: str | None) -> str:
    """Return --base-url, OPENAI_BASE_URL or OpenAI's own address.

    Raises:
        InputError: no address of a server, or one with a password or query, which isn't shown.
    """
    address = ENDPOINT.sub("", (asked or os.environ.get("OPENAI_BASE_URL") or "").strip()) or OPENAI
    if set("@?#") & set(address):
        raise InputError(
            "the server's address holds a name, password, or query; leave out what stands before '@' or after '?', and "
            "put the key into OPENAI_API_KEY."
        )
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, half of a pair of brackets
        usable = False
    if not usable or not address.isprintable() or " " in address:
        raise InputError(
            f"{address!r} is no server's address; write it like http://127.0.0.1:8000/v1, in --base-url or "
            "OPENAI_BASE_URL."
        )
    return address


def is_openai(address: str) -> bool:
    return (urlsplit(address).hostname or "").endswith("api.openai.com")  # eu.api.openai.com too


def is_loopback(host: str) -> bool:
    number = as_number(host)
    return number.is_loopback if number else host.rstrip(".") == "localhost" or host.endswith(".localhost")


def as_number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a host's address as a number; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Proxy(NamedTuple):
    """A proxy, and the variable that names it."""

    address: str
    variable: str


def proxy_for(address: str) -> Proxy | None:
    """Return the environment's proxy for a server; None for one on this machine, or that NO_PROXY excepts."""
    parts = urlsplit(address)
    host, proxies = parts.hostname or "", getproxies()
    # 0.0.0.0 is how a server on this machine may call itself.
    if is_loopback(host) or host in ("0.0.0.0", "::") or is_excepted(host, proxies.get("no", "")):
        return None
    if proxy_bypass(host) or proxy_bypass(parts.netloc):
        return None
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(kind)
    return Proxy(proxy if "://" in proxy else f"http://{proxy}", f"{kind.upper()}_PROXY") if proxy else None


def is_excepted(host: str, excepted: str) -> bool:
    """Tell whether NO_PROXY names * or, for a host that is a number, its network; proxy_bypass knows the names."""
    number = as_number(host)
    for entry in re.split(r"[\s,]+", excepted):
        if entry == "*":
            return True
        try:
            if number and number in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False):
                return True
        except ValueError:
            continue
    return False
