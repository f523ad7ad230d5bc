"""Histories that were read already: whoever asks again about the same request need not read it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ..body import Body
from ..values.http import Request
from .history import Conversation, conversation_of, extended, messages_of
from .history_cache import Histories, Past
from .prefixes import with_prefixes

_RENEWED = 4  # times in the life of what is learned that a history is read in whole
_TURNS = 5  # of the histories that are kept, for each session of the limit


class Reading:
    """What is known of one body: the history it has *grown* out of and what was added, and once read what it says."""

    __slots__ = ("conversation", "grown")

    def __init__(self, grown: tuple[Past, Body] | None) -> None:
        self.grown = grown
        self.conversation: Conversation | None = None


class Readings:
    """
    The histories of the bodies that are in use: asking and learning see the same one. Each goes with its body.

    Of what was learned the next request of the same conversation reads only what is new.
    """

    def __init__(self, limit: int, ttl: float) -> None:
        self._readings: WeakKeyDictionary[Body, Reading] = WeakKeyDictionary()
        self._histories = Histories(limit * _TURNS, ttl / _RENEWED)

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit*, in sessions, and *ttl* hold from the next request on."""
        self._histories.resize(limit * _TURNS, ttl / _RENEWED)

    def shortened(self, request: Request, now: float) -> Body | None:
        """Return the body of *request* without the history that is known, None when none is."""
        reading = self._readings[request.body] = Reading(self._histories.find(request.body, now))
        return reading.grown[1] if reading.grown else None

    def of(self, request: Request) -> Conversation:
        """Return the history of *request*."""
        reading = self._reading(request)
        if reading.conversation is None:
            if reading.grown:
                past, short = reading.grown
                reading.conversation = extended(past.conversation, short, past.name)
            else:
                reading.conversation = conversation_of(request.body)
        return reading.conversation

    def learned(self, request: Request) -> int:
        """Return how many of the first turns of *request* were learned with an earlier one."""
        grown = self._reading(request).grown
        return len(grown[0].conversation.turns) if grown else 0

    def added(self, request: Request) -> tuple[int, Sequence[Any]]:
        """Return the messages that *request* adds to what is known, and how many there are before them."""
        grown = self._reading(request).grown
        if grown is None:
            return 0, messages_of(request.body)
        past, short = grown
        return past.conversation.messages, short.get(past.name)

    def keep(self, request: Request, now: float) -> None:
        """Remember what *request* says, now that it was learned."""
        reading = self._reading(request)
        reading.conversation = with_prefixes(self.of(request))
        self._histories.note(request.body, reading.conversation, reading.grown, now)

    def _reading(self, request: Request) -> Reading:
        found = self._readings.get(request.body)
        if found is None:
            found = self._readings[request.body] = Reading(None)
        return found

    def __len__(self) -> int:
        return len(self._readings)
