"""Detectors of time: an answer older than its request, or with a duration longer than the wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from ...values.answer import Fact
from ...values.decision import Finding
from ..detector_context import DetectorContext
from ..host_habits import BY_OUR_CLOCK, KNOWN, detector_of
from .finding import Strength, finding

FAMILY = "time"
_SLACK = 3.0  # seconds: both clocks are read to whole seconds
_TOOK_SLACK = 0.25


def created(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer whose time of creation is before the sending of its request.

    The host's clock gives it where the head has a `Date`; ours counts only at hosts that have agreed with it.
    """
    if fact.kind == "date":
        sent.date = _seconds(fact.value)
        if sent.date is not None and _judged(sent):
            early = sent.entry.at - sent.date
            yield from _kept(sent, BY_OUR_CLOCK, early <= _SLACK, fact, _expected(early), now)
        return
    if fact.kind != "created" or not _judged(sent):
        return
    made = _seconds(fact.value)
    if made is None or made <= 0:
        return
    waited = max(0.0, (sent.headed or now) - sent.entry.at)
    early = sent.entry.at - made
    yield from _kept(sent, BY_OUR_CLOCK, early <= _SLACK, fact, _expected(early), now)
    if sent.date is not None:
        early = sent.date - made - waited
        yield from _kept(sent, "created by-date", early <= _SLACK, fact, _expected(early), now)


def took(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A server-side duration longer than our wait."""
    if fact.kind != "took" or not isinstance(fact.value, int | float) or not _judged(sent):
        return
    waited = max(0.0, now - sent.entry.at)
    fits = fact.value <= waited + max(_TOOK_SLACK, 0.05 * fact.value)
    yield from _kept(sent, "took", fits, fact, f"at most {waited:.3f} s", now)


def age(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """An `Age` older than the request, on an answer that is made for it."""
    if fact.kind == "kept":
        sent.kept = True
    if fact.kind != "age" or not isinstance(fact.value, int) or not _judged(sent):
        return
    waited = max(0.0, now - sent.entry.at)
    yield from _kept(sent, "age", fact.value <= waited + _SLACK, fact, "a fresh answer", now)


def early(sent: DetectorContext, fact: Fact, now: float) -> Iterator[Finding]:
    """A head (no error, no redirect) before the end of the request: weak, since some servers answer early."""
    if not 200 <= sent.status < 300:
        return
    if fact.kind == "over":
        sent.held.add("early")
        return
    sent.broke("early", now)
    if not sent.void("early"):
        yield finding("early", FAMILY, "weak", fact, "after the whole request")


def _judged(sent: DetectorContext) -> bool:
    if sent.memory is None or sent.memory.clock != sent.clock:  # our clock was set during the wait
        return False
    return sent.record.generation and sent.status < 400 and not sent.kept


def _kept(sent: DetectorContext, rule: str, fits: bool, fact: Fact, expected: str, now: float) -> Iterator[Finding]:
    if fits:
        sent.held.add(rule)
        return
    sent.broke(rule, now)
    if not sent.void(rule):
        strength: Strength = "strong" if sent.suspects(rule, KNOWN) else "weak"
        yield finding(detector_of(rule), FAMILY, strength, fact, expected)


def _expected(early: float) -> str:
    return f"after the request ({early:.0f} s too early)"


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
