"""Detectors of time: an answer older than its request, or with a duration longer than the wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import BY_OUR_CLOCK, RUN_STRONG, RUN_UNIQUE_ID, detector_of
from ..id_order import SLACK
from .finding import FindingStrength, finding
from .ids import is_distinctive

FAMILY = "time"
_SLACK = 3.0  # seconds: both clocks are read to whole seconds
_TOOK_SLACK = 0.25


def created(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer whose time of creation is before the sending of its request.

    The host's clock gives it where the head has a `Date`; ours counts only at hosts that have agreed with it.
    """
    if fact.kind == "date":
        ctx.date = _seconds(fact.value)
        if ctx.date is not None and _applies(ctx):
            yield from _not_before(ctx, BY_OUR_CLOCK, ctx.entry.at - ctx.date, fact, now)
        return
    if not _applies(ctx):
        return
    made = _seconds(fact.value)
    if made is None or made <= 0:
        return
    waited = max(0.0, (ctx.head_at or now) - ctx.entry.at)
    yield from _not_before(ctx, BY_OUR_CLOCK, ctx.entry.at - made, fact, now)
    if ctx.date is not None:
        yield from _not_before(ctx, "created by-date", ctx.date - made - waited, fact, now)


def took(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A server-side duration longer than our wait."""
    if not isinstance(fact.value, int | float) or not _applies(ctx):
        return
    waited = max(0.0, now - ctx.entry.at)
    fits = fact.value <= waited + max(_TOOK_SLACK, 0.05 * fact.value)
    yield from _compared(ctx, "took", fits, fact, f"at most {waited:.3f} s", now)


def age(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An `Age` older than the request, on an answer that is made for it."""
    if fact.kind == "kept":
        ctx.cached = True
    if not isinstance(fact.value, int) or not _applies(ctx):
        return
    waited = max(0.0, now - ctx.entry.at)
    yield from _compared(ctx, "age", fact.value <= waited + _SLACK, fact, "a fresh answer", now)


def early(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A head (no error, no redirect) before the end of the request: weak, since some servers answer early."""
    if not 200 <= ctx.status < 300:
        return
    if fact.kind == "over":
        ctx.kept.add("early")
        return
    if not ctx.broke("early", now).void:
        yield finding("early", FAMILY, "weak", fact, "after the whole request")


def order(ctx: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id that sorts before one of an answer that had come before the request was sent.

    Counts only at hosts whose ids sort by time; those of most are random, which three answers show.
    """
    value, memory = fact.value, ctx.memory
    if memory is None or not isinstance(value, str) or not _applies(ctx) or not is_distinctive(value):
        return
    place = f"id-order {fact.where}"
    if ctx.void(place) or place in ctx.kept or place in ctx.broken or ctx.returned(value, now).kind != "foreign":
        return
    before = memory.order.before(ctx.record.host, fact.where, value, ctx.entry.at - SLACK)
    memory.order.note(ctx.record.host, fact.where, value, now)
    if not before:
        return
    if value > before:
        ctx.kept.add(place)
        return
    standing = ctx.broke(place, now)
    if standing.suspects(RUN_UNIQUE_ID):
        yield finding("id-order", FAMILY, "strong", fact, f"an id after {before}")


def _applies(ctx: DetectorContext) -> bool:
    if ctx.memory is None or ctx.memory.clock != ctx.clock:  # our clock was set during the wait
        return False
    return ctx.record.generation and ctx.status < 400 and not ctx.cached


def _compared(ctx: DetectorContext, rule: str, fits: bool, fact: Fact, expected: str, now: float) -> Iterator[Finding]:
    if fits:
        ctx.kept.add(rule)
        return
    standing = ctx.broke(rule, now)
    if not standing.void:
        strength: FindingStrength = "strong" if standing.suspects(RUN_STRONG) else "weak"
        yield finding(detector_of(rule), FAMILY, strength, fact, expected)


def _not_before(ctx: DetectorContext, rule: str, early: float, fact: Fact, now: float) -> Iterator[Finding]:
    fits = early <= _SLACK
    return _compared(ctx, rule, fits, fact, "" if fits else f"after the request ({early:.0f} s too early)", now)


def _seconds(value: object) -> float | None:
    """Return the time of *value*: a number of seconds, RFC 3339, or the format of HTTP's `Date`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 < value < 1e11 else None
    if not isinstance(value, str):
        return None
    try:
        if value.replace(".", "", 1).isdigit() and value.isascii():
            return float(value) if float(value) < 1e11 else None
        read = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
        return read.timestamp() if read.tzinfo is not None else None
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
