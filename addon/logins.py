"""Logins that tools keep in files of theirs: when such a login is over, and what to say of that."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

_ENDS = ("expiresAt", "expires_at", "expiry_date")  # members beside a token: Claude Code, OAuth libraries, Google's
_MILLISECONDS = 1e11  # a larger number counts milliseconds since 1970: in seconds it would be the year 5138
_EXPIRED = re.compile(r"login expired at [^;]*; (?:run (`[^`]*`) once)?")
_UNKNOWN_TOOL = "Log in again with the tool that keeps this login"
_LONGEST = 16_384  # characters of a token that is looked into


def end_of(token: str, around: object) -> float | None:
    """
    Return when the login of *token* is over, in seconds since 1970; None where nothing says so.

    *around* is the JSON object in which the token stands. Without a member there, the `exp` of a JWT counts.
    """
    if isinstance(around, Mapping):
        for name in _ENDS:
            if (found := _time(around.get(name))) is not None:
                return found
    return _of_jwt(token)


def expired(end: float, tool: str) -> str:
    """Say that a login was over at *end*, and what renews it: the *tool* that keeps it."""
    at = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"login expired at {at}; run `{tool}` once" if tool else f"login expired at {at}; its tool must renew it"


def renewal(why: str) -> str:
    """Return what mends *why*, where `expired` says that a login is over; empty for anything else."""
    found = _EXPIRED.search(why)
    return "" if found is None else f"Run {found[1]} once, which renews the login" if found[1] else _UNKNOWN_TOOL


def _time(value: object) -> float | None:
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
            value = when.replace(tzinfo=when.tzinfo or UTC).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value < _MILLISECONDS * 1000:
        return None
    return value / 1000 if value > _MILLISECONDS else float(value)


def _of_jwt(token: str) -> float | None:
    pieces = token.split(".")
    if len(pieces) != 3 or len(token) > _LONGEST:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return _time(claims.get("exp")) if isinstance(claims, dict) else None
