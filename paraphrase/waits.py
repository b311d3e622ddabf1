"""How long a server asks us to wait, in whichever header and form it says so.

In: an answer's headers. Out: seconds, or None where they tell nothing to be believed.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

LONGEST_WAIT = 3600  # seconds that a server may ask us to wait, or refuse every call as too many
LONGEST_BELIEVED = 7 * 86400  # seconds; a wish for more is a slip, and the run waits as if there were none
MOMENT, MOMENT_IN_MS = 1e9, 1e12  # since 1970, in 2001: a number above it is a moment, no duration
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


class Limit(NamedTuple):
    """One of the limits that a server's headers tell."""

    of_tokens: bool
    remaining: float
    limit: float
    seconds: float | None  # until it is full again


def asked_to_wait(headers) -> float | None:
    """Return the seconds that Retry-After and its kin give, or until a limit that is used up is full again."""
    told = {name.lower(): value for name, value in headers.items()}
    for name in sorted(told, key=len, reverse=True):  # milliseconds first, where both are given
        if re.search(r"retry-?after", name):
            seconds = seconds_of(told[name], 0.001 if name.endswith("ms") else 1)
            if seconds is not None:
                return seconds
    return max((limit.seconds for limit in limits_in(told) if limit.remaining == 0 and limit.seconds), default=None)


def limits_in(headers) -> Iterator[Limit]:
    """Yield the limits that headers tell, as OpenAI, Anthropic, or the IETF's draft name them."""
    told = {name.lower(): value for name, value in headers.items()}
    for name, value in told.items():
        if "remaining" in name:
            limit, reset = (told.get(name.replace("remaining", part), "") for part in ("limit", "reset"))
            left, most = plain_number(value), plain_number(limit)
            if left is not None:
                yield Limit("token" in name, left, most or 0.0, seconds_of(reset))


def seconds_of(text: str, unit: float = 1) -> float | None:
    """Return the seconds from now that a header gives, 0 for a past moment; None where there is nothing to be believed.

    Args:
        text: a number, a duration such as 6m0s or 120ms, seconds or milliseconds since 1970, or a date of any form.
        unit: of a plain number, in seconds.
    """
    number = plain_number(text)
    if number is None:
        moment = moment_of(text)
        seconds = duration_of(text) if moment is None else max(0.0, moment - time.time())
    elif number > MOMENT:
        seconds = max(0.0, number * (0.001 if number > MOMENT_IN_MS else 1) - time.time())
    else:
        seconds = number * unit
    return seconds if seconds is None or seconds <= LONGEST_BELIEVED else None


def plain_number(text: str) -> float | None:
    """Return the number that a header gives in plain digits; None for anything else: nan, inf, -5, 1e9."""
    return float(text) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", text.strip()) else None


def duration_of(text: str) -> float | None:
    """Return the seconds of a duration as OpenAI's headers write it: 6m0s, 1.5s, 120ms."""
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|[dhms]))+", text := text.strip().lower()):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|[dhms])", text))


def moment_of(text: str) -> float | None:
    """Return the seconds since 1970 of a date as HTTP or ISO 8601 write it; one without a zone is in UTC."""
    for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = read(text.strip())
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None
