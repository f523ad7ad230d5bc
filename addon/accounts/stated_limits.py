"""
Rate limit hints: the times that providers state, in all their formats, as one time of the clock.

Hints are ranked by how directly they say when to retry; the first usable one is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ..frozen import dataclass
from ..values.http import Headers
from . import error_body, quoted_text
from .error_body import ErrorBody
from .quoted_text import ClientText

ABSURD = 31 * 86400.0  # seconds; no provider means a longer time

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "d": 86400.0}
_TERM = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_TERM.pattern}){{1,8}}")
_WORDS = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?(?: your request)?|retry[-_ ]after:?|resets?|available|please wait|wait for)"
    r"(?: again)? (?:in |after |for )?(?:about |approximately )?"
    r"(?:(?P<go>(?:[0-9.]{1,16}(?:ms|d|h|m|s)){1,8})\b"
    r"|(?P<n>[0-9]{1,9}(?:\.[0-9]{1,9})?) ?(?P<unit>(?:ms|milli|s|sec|m|min|h|hr|hour|d|day)[a-z]{0,7}\b)?)"
)
_AT = re.compile(
    r"(?:try again|retry|resets?|available|regain access|restored)(?: again)? (?:at|on) "
    r"(\d{4}-\d\d-\d\d)(?:t| at | )([\d:.]{5,15}(?: ?z\b| ?utc\b|[+-]\d\d:\d\d)?)"
)
_LIMIT = re.compile(r"\blimit:? ([\d,]{1,15})\b.{0,40}?\brequested:? (?:about )?([\d,]{1,15})\b")
# Codex: two windows, and what of each is used up. Families of limits have a word before `primary`.
_CODEX = re.compile(r"x-codex-(?:[a-z0-9-]+-)?(?:primary|secondary)-reset-(?:after-seconds|at)")
_REMAINING = re.compile(r"(?:^|-)remaining(?=-|$)")
_MAX_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit in a successful answer: the share that is *left*, 0 to 1, and when it is full again."""

    left: float
    reset: float


def headroom(headers: Headers, now: float) -> list[Bucket]:
    """
    Return what the head of a successful answer says is left of the provider's limits.

    A bucket counts if it states its size, what is left of it, and when it is full again.
    """
    found: list[Bucket] = []
    for name, value in headers:
        key = name.lower()
        if "ratelimit" in key and len(found) < _MAX_BUCKETS:
            bucket = _anthropic_window(headers, key, value, now) or _remaining(headers, key, value, now)
            if bucket:
                found.append(bucket)
    return found


def _anthropic_window(headers: Headers, key: str, value: str, now: float) -> Bucket | None:
    if not key.endswith("-utilization") or not _NUMBER.fullmatch(value.strip()):
        return None
    reset = moment(headers.get(key.replace("utilization", "reset")), now)
    used = float(value)
    return Bucket(1 - min(max(used, 0.0), 1.0), reset) if reset is not None else None


def _remaining(headers: Headers, key: str, value: str, now: float) -> Bucket | None:
    if not _REMAINING.search(key) or not _NUMBER.fullmatch(value.strip()):
        return None
    left, most = float(value), headers.get(_REMAINING.sub(lambda m: m[0].replace("remaining", "limit"), key)).strip()
    if not _NUMBER.fullmatch(most) or float(most) <= 0 or left < 0:
        return None
    by_size = "ratelimitbysize" in key  # its one reset belongs to the minute
    if by_size and not key.endswith("-minute"):
        return None
    reset = "ratelimitbysize-reset" if by_size else _REMAINING.sub(lambda m: m[0].replace("remaining", "reset"), key)
    at = moment(headers.get(reset), now)
    return Bucket(min(left / float(most), 1.0), at) if at is not None else None


def retry_at(headers: Headers, said: ErrorBody, now: float, sent: ClientText = quoted_text.NOTHING) -> float | None:
    """
    Return the time before which the provider asks for no further request, or None.

    `retry-after-ms`, then `retry-after`, then the body, then empty buckets. A time in the body that *sent* holds is the
    client's text. A value that is not positive (some write `-1` for "unknown") or more than a month away is no hint.
    """
    ranks: tuple[Callable[[], float | None], ...] = (
        lambda: _milliseconds(headers, now),
        lambda: moment(headers.get("retry-after"), now),
        lambda: _in_body(said, now, sent),
        lambda: in_text(said.own, now, sent),
        lambda: max(_resets_of_empty_buckets(headers, now), default=None),
        lambda: max(_quoted_resets(said, now, sent), default=None),
        lambda: _codex(headers, now),
        lambda: _structured(headers, now),
        lambda: min(_lone_resets(headers, now), default=None),
    )
    return next((at for rank in ranks if (at := rank()) is not None), None)


def is_larger_than_limit(message: str) -> bool:
    """Whether a lower-case *message* says that the request is larger than the limit (`limit 30, requested 50`)."""
    found = _LIMIT.search(message)
    numbers = [int(number.replace(",", "") or 0) for number in found.groups()] if found else []
    return bool(numbers) and numbers[1] > numbers[0]


def moment(text: object, now: float) -> float | None:
    """
    Parse *text* as a time after *now*, or None.

    It may be seconds, an epoch in seconds or milliseconds, a duration (`1h2m3.5s`), RFC 3339, or an HTTP-date.
    """
    value = _text(text)
    at = _number(value, now) or _duration(value, now) or _date(value)
    return at if at is not None and 0 < at - now <= ABSURD else None


def in_text(message: str, now: float, sent: ClientText = quoted_text.NOTHING) -> float | None:
    """Find a phrase such as `try again in 5.2s` or `retry after 37 seconds` in a lower-case *message*."""
    found = _WORDS.search(message)
    if not found:
        found = _AT.search(message)
        if not found or sent.hold(message, *found.span()):
            return None
        clock = found[2].upper().replace("UTC", "Z").replace(" ", "")
        return moment(f"{found[1]}T{clock}", now)
    if sent.hold(message, *found.span()):
        return None
    if found["go"]:
        return moment(found["go"], now)
    unit = found["unit"] or "s"
    return moment(float(found["n"]) * _UNIT["ms" if unit.startswith(("ms", "milli")) else unit[0]], now)


def _text(value: object) -> str:
    """Return a possible time as text; empty for a number beyond any clock, since a huge int cannot be printed."""
    if isinstance(value, str):
        return value.strip()[:64]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _milliseconds(headers: Headers, now: float) -> float | None:
    for name in ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms"):
        value = headers.get(name).strip()
        if _NUMBER.fullmatch(value) and (at := moment(float(value) / 1000, now)) is not None:
            return at
    return None


def _in_body(said: ErrorBody, now: float, sent: ClientText) -> float | None:
    for part in said.parts:
        for name in error_body.TIMES:
            value = told = part.get(name)
            if name.endswith("_ms") and isinstance(value, int | float) and not isinstance(value, bool):
                value = value / 1000
            if isinstance(value, dict):  # a protobuf Duration that was not written as text
                value = told = value.get("seconds")
            if (at := moment(value, now)) is not None and not sent.hold_member(name, _text(told)):
                return at
    return None


def _resets_of_empty_buckets(headers: Headers, now: float) -> Iterator[float]:
    for name, value in headers:
        key = name.lower()
        if "ratelimit" in key and "reset" in key and _is_empty(headers, key) and (at := moment(value, now)):
            yield at


def _quoted_resets(said: ErrorBody, now: float, sent: ClientText) -> Iterator[float]:
    """An aggregator whose answer has begun puts the headers into the body."""
    for part in said.parts:
        fields = part.get("headers")
        if isinstance(fields, dict):
            told = ((name, _text(fields[name])) for name in list(fields)[:32])
            yield from _resets_of_empty_buckets(Headers(each for each in told if not sent.hold_member(*each)), now)


def _codex(headers: Headers, now: float) -> float | None:
    """Return when the exhausted window is full again; where none is marked so, the first reset."""
    resets: dict[str, float] = {}
    for name, value in headers:
        key = name.lower()
        if _CODEX.fullmatch(key) and (at := moment(value, now)) is not None:
            window = key.partition("-reset-")[0]
            resets[window] = min(at, resets.get(window, at))
    used = {window: headers.get(f"{window}-used-percent").strip() for window in resets}
    spent = [resets[window] for window, part in used.items() if _NUMBER.fullmatch(part) and float(part) >= 100]
    return max(spent) if spent else min(resets.values(), default=None)


def _structured(headers: Headers, now: float) -> float | None:
    """Read the IETF's `RateLimit: "name";r=0;t=30`, or its older `limit=10, remaining=0, reset=30`."""
    found = []
    for item in re.split(r',\s*(?=")', headers.get("ratelimit").lower()):
        fields = dict(re.findall(r"\b(r|remaining|t|reset)=(\d{1,12})\b", item))
        if "0" in (fields.get("r"), fields.get("remaining")) and (at := fields.get("t", fields.get("reset"))):
            found.append(moment(at, now))
    return max((at for at in found if at is not None), default=None)


def _lone_resets(headers: Headers, now: float) -> Iterator[float]:
    """Yield the resets of buckets that state nothing else; which of them is empty is unknown."""
    for name, value in headers:
        key = name.lower()
        if "ratelimit" not in key or not key.endswith("reset") or key.replace("reset", "remaining") in headers:
            continue  # one for each of several limits (`…-reset-tokens`) does not say which of them it was
        if key.replace("reset", "status") not in headers and (at := moment(value, now)) is not None:
            yield at


def _is_empty(headers: Headers, reset: str) -> bool:
    if headers.get(reset.replace("reset", "status")).lower() == "rejected":
        return True
    by_size = reset == "ratelimitbysize-reset"  # the one scheme whose remainders have names of their own
    left = ["x-ratelimitbysize-remaining-minute", "ratelimitbysize-remaining"] if by_size else []
    return any(_is_zero(headers.get(name)) for name in (*left, reset.replace("reset", "remaining")))


def _is_zero(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text.strip())) and float(text) == 0


def _number(text: str, now: float) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value > 1e12:
        return value / 1000
    return value if value > 1e9 else now + value


def _duration(text: str, now: float) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return now + sum(float(count) * _UNIT[unit] for count, unit in _TERM.findall(text))


def _date(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None
