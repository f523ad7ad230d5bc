"""The family of time: an answer that was made before it was asked for, or that took longer than it could."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from ...values.answer import Fact
from ...values.decision import Finding
from ..attempt_record import AttemptRecord
from ..host_habits import BY_OUR_CLOCK, KNOWN, detector_of
from .finding import Strength, found

FAMILY = "time"
_SLACK = 3.0  # seconds: both clocks are read to whole seconds
_TOOK_SLACK = 0.25


def created(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer that says it was created before its request was sent.

    By the host's own clock, where its head has a `Date`: how old the answer is, and how long we have waited. And by
    ours, which says something only at a host that has been right by it before.
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


def took(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """A server that says it worked on an answer for longer than we have waited for it."""
    if fact.kind != "took" or not isinstance(fact.value, int | float) or not _judged(sent):
        return
    waited = max(0.0, now - sent.entry.at)
    fits = fact.value <= waited + max(_TOOK_SLACK, 0.05 * fact.value)
    yield from _kept(sent, "took", fits, fact, f"at most {waited:.3f} s", now)


def age(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """An `Age` above nothing, on an answer that was made for this request."""
    if fact.kind == "kept":
        sent.kept = True
    if fact.kind != "age" or not isinstance(fact.value, int) or not _judged(sent):
        return
    waited = max(0.0, now - sent.entry.at)
    yield from _kept(sent, "age", fact.value <= waited + _SLACK, fact, "a fresh answer", now)


def early(sent: AttemptRecord, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An answer whose head came while its request was still on its way up: weak, some servers need not hear all of it.

    Errors and redirects are exempt: those refuse by the head.
    """
    if not 200 <= sent.status < 300:
        return
    if fact.kind == "over":
        sent.held.add("early")
        return
    sent.broke("early", now)
    if not sent.void("early"):
        yield found("early", FAMILY, "weak", fact, "after the whole request")


def _judged(sent: AttemptRecord) -> bool:
    if sent.memory is None or sent.memory.clock != sent.clock:  # it was set while we waited
        return False
    return sent.generation and sent.status < 400 and not sent.kept


def _kept(sent: AttemptRecord, rule: str, fits: bool, fact: Fact, expected: str, now: float) -> Iterator[Finding]:
    if fits:
        sent.held.add(rule)
        return
    sent.broke(rule, now)
    if not sent.void(rule):
        strength: Strength = "strong" if sent.suspects(rule, KNOWN) else "weak"
        yield found(detector_of(rule), FAMILY, strength, fact, expected)


def _expected(early: float) -> str:
    return f"after the request ({early:.0f} s too early)"


def _seconds(value: object) -> float | None:
    """Return the time that *value* says: a number of seconds, RFC 3339, or the form of HTTP's `Date`."""
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
