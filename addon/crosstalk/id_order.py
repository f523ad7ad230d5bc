"""Ids of answers in the order in which they came: at some hosts they sort by time, so that an old one shows its age."""

from __future__ import annotations

import re
from collections import deque

from ..bounded import BoundedMap

SLACK = 2.0  # seconds: ids of one second may sort either way
_KEPT, _HOSTS = 64, 2_000  # ids of one host, form and place; such places
_HEAD = re.compile(r"[a-z]*[-_.]?")


def form(value: str) -> str:
    """Return what two ids must have in common to be compared: what stands before the first digit, and the length."""
    found = _HEAD.match(value)
    return f"{found[0] if found else ''} {len(value)}"


class IdOrder:
    """The greatest ids of answers that ended, by host, place and form; the least recently used are forgotten."""

    def __init__(self) -> None:
        self._known: BoundedMap[tuple[str, str, str], deque[tuple[float, str]]] = BoundedMap(_HOSTS)

    def note(self, host: str, place: str, value: str, now: float) -> None:
        """Note that an answer with the id *value* came."""
        key = host, place, form(value)
        known = self._known.use(key)
        if known is None:
            known = self._known[key] = deque(maxlen=_KEPT)
        known.append((now, max(value, known[-1][1]) if known else value))

    def before(self, host: str, place: str, value: str, at: float) -> str:
        """Return the greatest id, of the form of *value*, of the answers that came before *at*; empty if none did."""
        known = self._known.get((host, place, form(value)), ())
        return next((greatest for came, greatest in reversed(known) if came < at), "")
