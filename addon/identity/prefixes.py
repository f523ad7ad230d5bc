"""Histories we have served, each prefix by a rolling digest, so that what grows out of one is recognised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..bounded import BoundedMap
from ..keyed import fingerprint
from ..ledger import Entry, Ledger
from .history import Conversation, Turn
from .seeds import Seeds

_KEPT = 64  # prefixes of one request, the newest
_PROBED = 1024


def prefixes(turns: Sequence[Turn]) -> tuple[bytes, ...]:
    """Return one digest for each prefix of *turns*, the shortest first; each stands for all turns up to its own."""
    return _prefixes(b"", turns)


def _prefixes(last: bytes, turns: Sequence[Turn]) -> tuple[bytes, ...]:
    found: list[bytes] = []
    for turn in turns:
        last = _grown(last, turn.role, turn.digest)
        found.append(last)
    return tuple(found)


def prefixes_of(conversation: Conversation) -> tuple[bytes, ...]:
    """Return what `prefixes` does for the turns of *conversation*, some of which may be known."""
    known = conversation.prefixes
    return known + _prefixes(known[-1] if known else b"", conversation.turns[len(known) :])


def with_prefixes(conversation: Conversation) -> Conversation:
    """Return *conversation* with the digests of all its prefixes."""
    return replace(conversation, prefixes=prefixes_of(conversation))


def _prefix(conversation: Conversation, place: int) -> bytes:
    known = conversation.prefixes
    return known[place] if place < len(known) else prefixes(conversation.turns[: place + 1])[-1]


def _grown(last: bytes, role: str, turn: bytes) -> bytes:
    return fingerprint(last, role.encode(), turn)


class Prefixes:
    """Prefixes with the affinity, thread and account they were served under: at most *limit*, for *ttl* seconds."""

    def __init__(self, seeds: Seeds, limit: int, ttl: float) -> None:
        self._seeds = seeds
        self._memory = Ledger(limit, ttl)
        self._begun: BoundedMap[bytes, None] = BoundedMap(limit)  # how the histories begin that are in memory

    def resize(self, limit: int, ttl: float) -> None:
        """Let *limit* and *ttl* hold from the next prefix on."""
        self._begun.limit = limit
        self._memory.resize(limit, ttl)

    def find(self, scope: bytes, conversation: Conversation, now: float) -> Entry | None:
        """
        Return what is known of the longest served prefix of *conversation* that has an answer in it.

        It has no affinity when several conversations have that prefix.
        """
        answer = conversation.first_answer
        if answer < 0 or not self._has_begun(scope, conversation):
            return None
        known = prefixes_of(conversation)
        for place in range(len(known) - 1, max(answer, len(known) - _PROBED) - 1, -1):
            if entry := self._find("prefix", scope, now, known[place]):
                return self._shared_answer(scope, conversation, known, place, now) or entry
        return None

    def _shared_answer(
        self, scope: bytes, conversation: Conversation, known: Sequence[bytes], place: int, now: float
    ) -> Entry | None:
        """
        Return what is known of the history up to its last answer at or before *place*, if several had that.

        What the first of them said next is no more its own then, since the others may say it too.
        """
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
        Remember that *conversation* was served, and what it grows into by the turns of its *answer*.

        With *begins* it is the first that is known of a conversation, and another one may begin with all of it.

        Once its answer was *seen*, only what follows a request that we served is its own: many conversations may begin
        with the same examples. Without that, what it holds of answers is all that may tell it again.
        """
        known = prefixes_of(conversation)
        if not known:
            return
        self._begin(scope, conversation)
        first = max(conversation.first_answer, len(known) - _KEPT, 0)
        last = -1 if begins and conversation.first_answer >= 0 else len(known)
        for prefix in reversed(known[self._served(scope, known, now, first) + 1 if seen else first : last]):
            before = self._history(scope, entry, now, prefix)
            if before and before.affinity == entry.affinity and prefix != known[-1]:
                break  # what grew out of it is new; what it grew out of was remembered with it
        self._note("served", scope, entry, now, known[-1])
        if answer:
            self._history(scope, entry, now, prefixes_of(self.grown(conversation, answer))[-1])

    def answers(self, scope: bytes, conversation: Conversation, now: float, served: int = 0) -> Iterator[Turn]:
        """
        Yield the turns of *conversation* that follow a request we served: our answers, seen or not.

        The first *served* turns are a request that we served, and none of them is asked for. An example that an
        application puts before the first question follows nothing and is nobody's answer.
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
        before = self._find(purpose, scope, now, seed)
        if before is None:
            self._note(purpose, scope, entry, now, seed)
        return before or entry

    @staticmethod
    def grown(conversation: Conversation, answer: Sequence[bytes]) -> Conversation:
        """Return *conversation* as the next request will hold it, with the turns of the *answer*."""
        last = len(conversation.turns)
        turns = (Turn("assistant", told, last + place) for place, told in enumerate(answer))
        return replace(conversation, turns=(*conversation.turns, *turns))

    def thread_seed(self, scope: bytes, conversation: Conversation) -> str:
        """Derive the thread of *conversation* from its instructions and all up to its first answer."""
        last = max(conversation.first_answer, conversation.root)
        return self._seeds.derive("history", scope, conversation.system, _prefix(conversation, last))

    def named(self, scope: bytes, seed: str, now: float) -> Entry | None:
        """Return the thread that *seed*, an opening with its answer, was given."""
        return self._find("thread", scope, now, seed)

    def name(self, scope: bytes, seed: str, entry: Entry, now: float) -> None:
        """Give an opening with its answer, *seed*, a thread."""
        self._note("thread", scope, entry, now, seed)

    # A history that begins like none in memory has no prefix there, so that a long one need not be read to its end to
    # know it is new. Each is used when its prefixes are, and there is room for one for each: none leaves before them.

    def _begin(self, scope: bytes, conversation: Conversation) -> None:
        self._begun[self._opening(scope, conversation)] = None

    def _has_begun(self, scope: bytes, conversation: Conversation) -> bool:
        opening = self._opening(scope, conversation)
        if opening not in self._begun:
            return False
        self._begun.move_to_end(opening)
        return True

    @staticmethod
    def _opening(scope: bytes, conversation: Conversation) -> bytes:
        return fingerprint(scope, _prefix(conversation, max(conversation.root, 0)))

    def _served(self, scope: bytes, known: Sequence[bytes], now: float, first: int) -> int:
        """Return the place of the oldest request from *first* - 1 on that we served before the last one of *known*."""
        last = len(known) - 1
        places = range(max(first - 1, 0), last)
        return next((place for place in places if self._find("served", scope, now, known[place])), last)

    def _history(self, scope: bytes, entry: Entry, now: float, prefix: bytes) -> Entry | None:
        """Remember who said *prefix*; return who did before. One that two conversations share names neither."""
        before = self._find("prefix", scope, now, prefix)
        if before and before.affinity != entry.affinity:
            entry = replace(entry, affinity="", thread="")
        self._note("prefix", scope, entry, now, prefix)
        return before

    def _find(self, purpose: str, scope: bytes, now: float, key: str | bytes) -> Entry | None:
        return self._memory.find(purpose, self._seeds.derive(purpose, scope, key), now)

    def _note(self, purpose: str, scope: bytes, entry: Entry, now: float, key: str | bytes) -> None:
        self._memory.note(purpose, self._seeds.derive(purpose, scope, key), entry, now)

    def __len__(self) -> int:
        return len(self._memory)
