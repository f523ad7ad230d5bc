"""Histories we have served, each prefix by a rolling digest, so that a history that extends one is recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..bounded import BoundedMap, ExpiringMap
from ..keyed import fingerprint
from ..ledger import Entry
from .seeds import Seeds
from .turns import Conversation, Turn

_KEPT = 64  # prefixes of one request, the newest
_PROBED = 1024


def prefixes(turns: Sequence[Turn], last: bytes = b"") -> tuple[bytes, ...]:
    """Return one digest for each prefix of *turns*, which follow the prefix *last*: the shortest first."""
    found: list[bytes] = []
    for turn in turns:
        last = fingerprint(last, turn.role.encode(), turn.digest)
        found.append(last)
    return tuple(found)


def prefixes_of(conversation: Conversation) -> tuple[bytes, ...]:
    """Return the `prefixes` of *conversation*; those that it holds already are not made again."""
    known = conversation.prefixes
    return known + prefixes(conversation.turns[len(known) :], known[-1] if known else b"")


def with_prefixes(conversation: Conversation) -> Conversation:
    """Return *conversation* with the digests of all its prefixes."""
    return replace(conversation, prefixes=prefixes_of(conversation))


def _prefix(conversation: Conversation, place: int) -> bytes:
    known = conversation.prefixes
    return known[place] if place < len(known) else prefixes(conversation.turns[: place + 1])[-1]


class Prefixes:
    """Prefixes with the affinity, thread and account they were served under: at most *limit*, for *ttl* seconds."""

    def __init__(self, seeds: Seeds, limit: int, ttl: float) -> None:
        self._seeds = seeds
        self._ttl = ttl
        self._entries: ExpiringMap[tuple[str, bytes], Entry] = ExpiringMap(limit)
        self._first_turns: BoundedMap[bytes, bool] = BoundedMap(limit)  # of the histories whose prefixes are in memory

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next prefix on."""
        self._first_turns.limit = self._entries.limit = limit
        self._ttl = ttl

    def find(self, scope: bytes, conversation: Conversation, now: float) -> Entry | None:
        """
        Return the entry of the longest served prefix of *conversation* that has an answer in it.

        The entry has no affinity when several conversations have that prefix.
        """
        answer = conversation.first_answer
        if answer < 0 or not self._knows_first_turn(scope, conversation):
            return None
        known = prefixes_of(conversation)
        for place in range(len(known) - 1, max(answer, len(known) - _PROBED) - 1, -1):
            if entry := self._find("prefix", scope, now, known[place]):
                return self._shared_answer(scope, conversation, known, place, now) or entry
        return None

    def _shared_answer(
        self, scope: bytes, conversation: Conversation, known: Sequence[bytes], place: int, now: float
    ) -> Entry | None:
        """Return the entry up to the last answer if it is shared: then the next question names none either."""
        while place and conversation.turns[place].role != "assistant":
            place -= 1
        entry = self._find("prefix", scope, now, known[place])
        return entry if entry and not entry.affinity else None

    def note(
        self,
        scope: bytes,
        conversation: Conversation,
        entry: Entry,
        now: float,
        answer: Sequence[bytes] = (),
        *,
        seen: bool = False,
        begins: bool = False,
    ) -> None:
        """
        Remember that *conversation* was served, and its extension by the turns of its *answer*.

        With *begins* this is the first request of a conversation; another conversation may begin with all of it.

        Once its answer was *seen*, only the turns after a request that we served name it: many conversations may begin
        with the same examples. Otherwise all prefixes with an answer in them do.
        """
        known = prefixes_of(conversation)
        if not known:
            return
        self._first_turns[self._first_turn(scope, conversation)] = True
        first = max(conversation.first_answer, len(known) - _KEPT, 0)
        last = -1 if begins and conversation.first_answer >= 0 else len(known)
        for prefix in reversed(known[self._served(scope, known, now, first) + 1 if seen else first : last]):
            before = self._note_history(scope, entry, now, prefix)
            if before and before.affinity == entry.affinity and prefix != known[-1]:
                break  # shorter prefixes were noted together with this one
        self._entries["served", scope + known[-1]] = now + self._ttl, entry
        if answer:
            self._note_history(scope, entry, now, prefixes_of(conversation.with_answer(answer))[-1])

    def answers(self, scope: bytes, conversation: Conversation, now: float, served: int = 0) -> Iterator[Turn]:
        """
        Yield the turns of *conversation* that follow a request we served: our answers, seen or not.

        The first *served* turns are a request that we served, and are left out. An example that an application puts
        before the first question follows no request of ours.
        """
        ours = served > 0
        known = prefixes_of(conversation)
        start = max(len(known) - _PROBED, served)
        for turn, prefix in zip(conversation.turns[start:], known[start:], strict=True):
            if turn.role != "assistant":
                ours = False
            elif ours:
                yield turn
            ours = ours or self._find("served", scope, now, prefix) is not None

    def first(self, purpose: str, scope: bytes, seed: str, entry: Entry, now: float) -> Entry:
        """Return the entry that came first under *seed* for *purpose*: an earlier one, else *entry*."""
        key = purpose, scope + seed.encode()
        before = self._entries.find(key, now)
        if before is None:
            self._entries[key] = now + self._ttl, entry
        return before or entry

    def thread_seed(self, scope: bytes, conversation: Conversation) -> str:
        """Derive the thread of *conversation* from its instructions and all up to its first answer."""
        last = max(conversation.first_answer, conversation.root)
        return self._seeds.derive("history", scope, conversation.system, _prefix(conversation, last))

    def named(self, scope: bytes, seed: str, now: float) -> Entry | None:
        """Return the entry whose thread was given to *seed*, a first turn with its answer."""
        return self._entries.find(("thread", scope + seed.encode()), now)

    def name(self, scope: bytes, seed: str, entry: Entry, now: float) -> None:
        """Give a first turn with its answer, *seed*, the thread of *entry*."""
        self._entries["thread", scope + seed.encode()] = now + self._ttl, entry

    # A history whose first turn is unknown has no prefix in memory, so it need not be read to its end. A first turn is
    # used whenever its prefixes are, and there is room for as many: it leaves after them.

    def _knows_first_turn(self, scope: bytes, conversation: Conversation) -> bool:
        return self._first_turns.use(self._first_turn(scope, conversation)) is not None

    @staticmethod
    def _first_turn(scope: bytes, conversation: Conversation) -> bytes:
        return scope + _prefix(conversation, max(conversation.root, 0))

    def _served(self, scope: bytes, known: Sequence[bytes], now: float, first: int) -> int:
        """Return the place of the oldest request from *first* - 1 on that we served before the last one of *known*."""
        last = len(known) - 1
        places = range(max(first - 1, 0), last)
        return next((place for place in places if self._find("served", scope, now, known[place])), last)

    def _note_history(self, scope: bytes, entry: Entry, now: float, prefix: bytes) -> Entry | None:
        """Note *prefix*; return its former entry. A prefix that two conversations share names neither."""
        key = "prefix", scope + prefix
        before = self._entries.find(key, now)
        if before and before.affinity != entry.affinity:
            entry = replace(entry, affinity="", thread="")
        self._entries[key] = now + self._ttl, entry
        return before

    def _find(self, purpose: str, scope: bytes, now: float, prefix: bytes) -> Entry | None:
        return self._entries.find((purpose, scope + prefix), now)

    def __len__(self) -> int:
        return len(self._entries)
