"""The family of ids: what a value that came back proves about whose answer it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ...ledger import Entry
from ...values import Fact, Finding
from ..sent import Sent

FAMILY = "ids"
_PLACES = ("echo", "id", "provider_id", "token")
_ID_HEAD = re.compile(r"^[a-z]+(?:[-_.][a-z]+)*[-_.]")  # `chatcmpl-`, `chat.id.`, `msg_bdrk_`
Strength = Literal["proof", "strong", "weak"]
_SHOWN = 160  # characters of a value that came from outside


def contract(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    Where the provider promises an echo, any other value belongs to another request.

    Absence and blanks are no alarm, and neither is an error answer: gateways in between write those.
    """
    expected = sent.expected.get(fact.where, "")
    if fact.kind != "echo" or not sent.promised or not expected or sent.status >= 400:
        return
    returned = sent.returned(str(fact.value), now)
    if returned.kind in ("blank", "mine", "own", "earlier"):
        return
    if returned.entry and sent.repeats(returned.entry):
        return
    yield _finding("contract", "proof", fact, expected, returned.entry)


def tag(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    An id of ours that we gave to another exchange proves itself, in every structured place.

    Nobody but us can make one, so no promise is needed. In an error answer it is worth less: error pages quote.
    """
    value = fact.value
    if fact.kind not in _PLACES or not isinstance(value, str) or len(value) > 256:
        return
    if "pb1-" not in value.lower() and not (len(value) == 36 and sent.mint.recognise(value)):
        return
    returned = sent.returned(value, now)
    match returned.kind:
        case "another" if returned.entry and not sent.repeats(returned.entry):
            proof: Strength = "proof" if sent.status < 400 else "strong"
            yield _finding("tag", proof, fact, sent.entry.request_id, returned.entry)
        case "ours":
            # A neighbour's, which we never saw. Made after ours was sent, it may also be that of an instance upstream
            # of us, which asked in our name.
            made = sent.mint.time_of(returned.value) or 0.0
            strength: Strength = "strong" if made < sent.entry.at else "weak"
            yield _finding("unknown-tag", strength, fact, sent.entry.request_id, None)
        case "mangled":
            yield _finding("mangled-tag", "strong", fact, sent.entry.request_id, None)


def duplicate(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One id of the provider's on two exchanges that asked for different things: one of the two answers is misdelivered.

    Notes the id for those who come after. Void for ids that repeat by nature, and where a stored answer is fetched.
    """
    value = fact.value
    if fact.kind not in ("id", "provider_id") or not isinstance(value, str) or sent.status >= 400:
        return
    if not sent.generation or not telling(value) or sent.returned(value, now).kind != "foreign":
        return
    other = sent.ledger.find("answer", value, now)
    if other is None:
        sent.ledger.note("answer", value, sent.entry, now)
    elif other.exchange != sent.entry.exchange and not sent.repeats(other):
        # Gateways cache heads and write trace ids into them; the id in a body is the answer's own.
        yield _finding("duplicate", "proof" if fact.kind == "id" else "strong", fact, "an id of its own", other)


def telling(value: str) -> bool:
    """Whether *value* is random enough to be one answer's alone: no counter, no `chatcmpl-417`, nothing blank."""
    rest = _ID_HEAD.sub("", value.lower(), count=1)
    return len(rest) >= 12 and len(value) <= 256 and len(set(rest)) >= 6


def _finding(detector: str, strength: Strength, fact: Fact, expected: str, victim: Entry | None) -> Finding:
    return Finding(
        detector=detector,
        family=FAMILY,
        strength=strength,
        where=fact.where,
        expected=_shown(expected),
        received=_shown(str(fact.value)),
        victim=victim.exchange if victim else "unknown",
    )


def _shown(value: str) -> str:
    """Return what came from outside as it may stand in a log: one line, printable, not endless."""
    text = value if value.isprintable() else value.encode("unicode_escape").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
