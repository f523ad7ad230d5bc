"""
First turns: which conversations began with an opening, or under an id that an application may use for all its chats.

A request whose history holds no answer of ours begins a conversation. Two requests with equal openings are two
conversations, unless the first one was never answered: then the second is its retry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ..ledger import Entry
from .history import Conversation
from .lineage import Lineage
from .prefixes import prefixes_of
from .seeds import Seeds

_PROBED = 64  # turns at either end of a history that may be the last of a known one
_RENEWED = 4  # times in its life that the record of a conversation under way is written again


class FirstTurns:
    """
    Marks under which conversations began: openings, common ids, and the names that were taken.

    A mark is a seed. Of each the lineage knows the conversation that began under it, or that several did; so this
    outlives a restart. Marks of first turns under way are held in memory, from `hold` to `release`.
    """

    def __init__(self, seeds: Seeds, lineage: Lineage, ttl: float) -> None:
        self._seeds = seeds
        self._lineage = lineage
        self.ttl = ttl
        self._held: Counter[str] = Counter()
        self._fresh = 0

    def of(self, scope: bytes, conversation: Conversation) -> str:
        """Return the mark of the opening that all turns of *conversation* are."""
        return self._mark(scope, prefixes_of(conversation)[-1])

    def find(self, scope: bytes, mark: str, now: float) -> Entry | None:
        """Return the conversation that began under *mark*; without affinity when several did."""
        return self._lineage.find(scope, _token(mark), now)

    def is_taken(self, scope: bytes, mark: str, now: float) -> bool:
        """Say whether a conversation began under *mark*, or is about to."""
        return self._held[mark] > 0 or self.find(scope, mark, now) is not None

    def grew(self, scope: bytes, conversation: Conversation, entry: Entry, now: float) -> None:
        """Remember that *conversation*, its last answer included, is that of *entry*, also after a restart."""
        self._lineage.note(scope, _token(self.of(scope, conversation)), entry, now, self.ttl)

    def grown_from(self, scope: bytes, conversation: Conversation, now: float) -> Entry | None:
        """
        Return what is known of the longest history, or else the opening, that *conversation* has grown out of.

        An opening without an answer in it leaves the thread open: its conversation may have been forked right there.
        """
        known = prefixes_of(conversation)[:-1]
        answered = next((at for at, turn in enumerate(conversation.turns) if turn.role == "assistant"), len(known))
        for place in (*range(len(known) - 1, max(_PROBED, len(known) - _PROBED) - 1, -1),
                      *range(min(_PROBED, len(known)) - 1, -1, -1)):  # fmt: skip
            if entry := self.find(scope, self._mark(scope, known[place]), now):
                return entry if place >= answered else replace(entry, thread="")
        return None

    def near(self, scope: bytes, marks: Iterable[str], now: float) -> str:
        """Return the account where the last conversation under the first known one of *marks* began."""
        found = (self.find(scope, mark, now) for mark in marks)
        return next((entry.account for entry in found if entry and entry.account), "")

    def fresh(self, scope: bytes, name: str, exchange: str) -> str:
        """Return an affinity that no conversation has: *name* is taken. *exchange* is unique, or empty."""
        if not exchange:
            self._fresh += 1
            exchange = f"#{self._fresh}"
        return self._seeds.derive("began", scope, name, exchange)

    def hold(self, marks: Iterable[str]) -> None:
        """Take *marks* for a first turn under way. Follow with `release`."""
        self._held.update(marks)

    def release(self, marks: Iterable[str]) -> None:
        """Undo one `hold`."""
        for mark in marks:
            self._held[mark] -= 1
            if self._held[mark] <= 0:
                del self._held[mark]

    def note(self, scope: bytes, marks: Iterable[str], entry: Entry, now: float) -> None:
        """Remember that the conversation of *entry* began under *marks*."""
        for mark in marks:
            self._lineage.note(scope, _token(mark), entry, now, self.ttl)

    def keep(self, scope: bytes, entry: Entry, now: float) -> None:
        """Renew the name of a conversation under way, so that no other one takes it."""
        before = self.find(scope, entry.affinity, now)
        if before and before.at + self.ttl / _RENEWED <= now:
            self._lineage.note(scope, _token(entry.affinity), replace(entry, at=now), now, self.ttl)

    def _mark(self, scope: bytes, prefix: bytes) -> str:
        return self._seeds.derive("opening", scope, prefix)


def _token(mark: str) -> str:
    return f"began {mark}"
