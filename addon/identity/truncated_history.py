"""
What names a conversation where neither an id nor a served history does: an exchange that a window kept, an answer that
a client quotes after it compacted its history, and an opening whose dates change.

All of it is weaker than a history: other conversations may hold the same words. So what two conversations were given
names neither (as in `Lineage`), and each piece leads on one continuation only, the first that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ..keyed import fingerprint
from ..ledger import Entry
from ..values.http import Request
from .auxiliary_calls import says_summary
from .history import Conversation, Turn, instructions, masked, messages_of, role_of, squeezed, text_of, texts_of
from .lineage import Lineage
from .references import MIN_TEXT
from .seeds import encode
from .shingles import LENGTH, letters, shingles

Where = Literal["exchange", "summary", "quote", "opening"]

_OF_ANSWER = 2  # passages remembered of an answer, and its first one
_OF_SUMMARY = 8  # … of one that was asked for as a summary of a conversation
_OF_MESSAGE = 48  # passages looked up in one message
_OF_REQUEST = 128  # … and in one request
_QUOTING = 8  # messages that are searched for quotes, from either end of a history
_RECENT = 16  # messages in which the newest exchanges are looked for
_FOLLOW = 64  # turns after a quote in which the next answer is looked for
_TOLD = 400  # characters of instructions that may ask for a summary: later they may speak of it only
_WORDS = 10  # letters and digits of a question below which it may be anybody's
_EXCHANGES = 16  # … and of exchanges in a row
_IN_A_ROW = 3
_LONG = 1024  # characters; of a longer message both ends count
_LABEL = re.compile(r"^[^\W\d_][\w ]{0,30}:\s+")
_TAG = re.compile(r"</?[\w:-]{1,40}>")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class TruncatedMatch:
    """
    To whom what a request holds was handed. *continues*: the request goes on with that conversation; else it only
    quotes it, and is best served by the same account.
    """

    entry: Entry
    where: Where
    continues: bool


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """An answered *request*: its *messages* but for the first *before*, which are known, and the *answer*'s text."""

    request: Request
    conversation: Conversation
    before: int
    messages: Sequence[Any]
    answer: str
    binds: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """A block of text that may quote an answer, who says it, and the turns from its own on."""

    role: str
    text: str
    follows: Sequence[Turn] = ()

    @property
    def onward(self) -> str:
        """A digest of the text and what follows, up to the next answer: what it leads on to."""
        answers = (place for place, turn in enumerate(self.follows) if place and turn.role == "assistant")
        kept = self.follows[: next(answers, len(self.follows))]
        return fingerprint(*(turn.digest for turn in kept)).hex() if kept else _onward(self.text)


class TruncatedHistories:
    """Exchanges, passages and openings in *words*, for *ttl* seconds each. *lineage* has the texts of whole answers."""

    def __init__(self, lineage: Lineage, words: Lineage, ttl: float) -> None:
        self._lineage = lineage
        self._words = words
        self.ttl = ttl

    def find(self, request: Request, conversation: Conversation, now: float) -> TruncatedMatch | None:
        """Return which conversation *request*, whose history nobody served, goes on with."""
        if self._words.is_empty():
            return None
        scope, messages = request.client.scope, messages_of(request.body)
        return (
            self._by_exchange(scope, messages, now)
            or self._by_quote(scope, request, messages, conversation, now)
            or self._by_opening(scope, messages, conversation, now)
        )

    def quoted(self, request: Request, now: float) -> Entry | None:
        """Return the conversation of which a side call quotes the answers; the same ones may be quoted by many."""
        if self._words.is_empty():
            return None
        texts = [text_of(message) for message in messages_of(request.body)[:_QUOTING]]
        looked_up = [passage for text in texts for passage in shingles(text, _OF_MESSAGE)][:_OF_REQUEST]
        return _agreed([entry for _, entry in self._hits(request.client.scope, looked_up, now)])

    def note(self, served: ServedRequest, entry: Entry, now: float) -> None:
        """Remember that *entry* was handed what *served* says. Of a call that does not bind, a summary alone counts."""
        if not entry.affinity:
            return
        keys = [*_quotable(served)]
        if served.binds:
            keys += self._openings(served, entry, now)
            if self._may_be_anybodys(served.request.client.scope, served.answer, now):
                keys += _exchange_keys(_texts(served.messages), served.answer)
        for key in keys:
            self._words.note(served.request.client.scope, key, entry, now, self.ttl)

    def _may_be_anybodys(self, scope: bytes, answer: str, now: float) -> bool:
        """Whether *answer* by itself names no conversation: it is short, or several were given it."""
        text = squeezed(answer)
        if len(text) < MIN_TEXT:
            return text != ""
        entry = self._lineage.find(scope, text, now)
        return entry is not None and not entry.affinity

    # -- exchanges -------------------------------------------------------------------------------------------------

    def _by_exchange(self, scope: bytes, messages: Sequence[Any], now: float) -> TruncatedMatch | None:
        """Find the newest answer in *messages* by the question before it: a window may have cut off all others."""
        texts = _texts(messages)
        place = next((place for place in range(len(texts) - 1, -1, -1) if texts[place][0] == "assistant"), -1)
        if place < 1 or place + 1 == len(texts):
            return None
        onward = _onward(texts[place + 1][1])
        for key in _exchange_keys(texts[:place], texts[place][1]):
            entry = self._words.find(scope, key, now)
            if entry and entry.affinity and self._leads(scope, [key], onward, now):
                return TruncatedMatch(entry, "exchange", continues=True)
        return None

    # -- quotes ----------------------------------------------------------------------------------------------------

    def _by_quote(
        self, scope: bytes, request: Request, messages: Sequence[Any], conversation: Conversation, now: float
    ) -> TruncatedMatch | None:
        left = _OF_REQUEST
        for message in _quoting(request, messages, conversation):
            if len(message.text) < MIN_TEXT:
                continue
            looked_up = shingles(message.text, min(_OF_MESSAGE, left))
            left -= len(looked_up)
            if found := self._in_message(scope, message, looked_up, now):
                return found
        return None

    def _in_message(self, scope: bytes, message: _Said, looked_up: Sequence[str], now: float) -> TruncatedMatch | None:
        whole = squeezed(message.text) if message.role == "user" else ""
        if len(whole) >= MIN_TEXT and (entry := self._lineage.find(scope, whole, now)) and entry.affinity:
            if self._leads(scope, [whole], message.onward, now):
                return TruncatedMatch(entry, "summary", continues=True)
            return None
        hits = self._hits(scope, looked_up, now)
        entry = _agreed([entry for _, entry in hits])
        if entry is None or not self._leads(scope, [key for key, _ in hits], message.onward, now):
            return None
        if message.role == "assistant" or says_summary(message.text) or self._were_summary(scope, hits, now):
            return TruncatedMatch(entry, "summary", continues=True)
        return TruncatedMatch(entry, "quote", continues=False)

    def _hits(self, scope: bytes, looked_up: Sequence[str], now: float) -> list[tuple[str, Entry]]:
        """Return which of the passages *looked_up* one conversation alone was given, as their keys, and by whom."""
        keys = map(_passage, looked_up)
        found = ((key, self._words.find(scope, key, now)) for key in keys)
        return [(key, entry) for key, entry in found if entry and entry.affinity]

    def _were_summary(self, scope: bytes, hits: Sequence[tuple[str, Entry]], now: float) -> bool:
        return any(self._words.find(scope, _summary(key.partition(" ")[2]), now) for key, _ in hits)

    # -- openings --------------------------------------------------------------------------------------------------

    def _by_opening(
        self, scope: bytes, messages: Sequence[Any], conversation: Conversation, now: float
    ) -> TruncatedMatch | None:
        for key in _opening_keys(messages, 0, conversation):
            entry = self._words.find(scope, key, now)
            if entry and entry.affinity:
                return TruncatedMatch(entry, "opening", continues=True)
        return None

    def _openings(self, served: ServedRequest, entry: Entry, now: float) -> Iterator[str]:
        """
        Yield the keys of an opening that *served* answers, or that it goes on from.

        An answer in a history that nobody was seen to give may be an example, which is in every opening of a fleet.
        """
        begins = served.conversation.first_answer < 0
        for key in _opening_keys(served.messages, served.before, served.conversation, served.answer):
            known = None if begins else self._words.find(served.request.client.scope, key, now)
            if begins or (known and known.affinity == entry.affinity):
                yield key

    def _leads(self, scope: bytes, keys: Sequence[str], onward: str, now: float) -> bool:
        """Whether all *keys* lead on to *onward*: they do to the first that is asked for, and to no other."""
        claims = {claim: self._words.find(scope, claim, now) for claim in (f"claim {key}" for key in keys)}
        if any(before is not None and before.affinity != onward for before in claims.values()):
            return False
        for claim in (claim for claim, before in claims.items() if before is None):
            self._words.note(scope, claim, Entry("", affinity=onward, at=now), now, self.ttl)
        return True


def _quotable(served: ServedRequest) -> Iterator[str]:
    """Yield the keys of what a later request may quote of an answer."""
    if len(served.answer) < LENGTH:
        return
    if _asks_for_summary(served):
        for passage in shingles(served.answer, _OF_SUMMARY):
            yield _passage(passage)
            yield _summary(passage)
    elif served.binds:
        yield from map(_passage, shingles(served.answer, _OF_ANSWER, first=True))


def _passage(passage: str) -> str:
    return f"passage {passage}"


def _summary(passage: str) -> str:
    return f"summary {passage}"


def _agreed(entries: Sequence[Entry]) -> Entry | None:
    """Return the conversation that all *entries* speak of, None where there are several or none."""
    return entries[0] if len({entry.affinity for entry in entries}) == 1 else None


def _asks_for_summary(served: ServedRequest) -> bool:
    last = next((text_of(message) for message in reversed(served.messages) if role_of(message) == "user"), "")
    leading = [text_of(message) for message in served.messages[:1] if role_of(message) == "system"]
    instructed = (*leading, *instructions(served.request.body))
    return says_summary(last) or any(says_summary(text[:_TOLD]) for text in instructed)


def _quoting(request: Request, messages: Sequence[Any], conversation: Conversation) -> Iterator[_Said]:
    """Yield what may quote an answer: the messages at either end of a history, the newest first, and instructions."""
    turns = conversation.turns
    for place in sorted({*range(_QUOTING), *range(len(turns) - _QUOTING, len(turns))}, reverse=True):
        if 0 <= place < len(turns) and turns[place].role != "tool" and turns[place].index < len(messages):
            for text in texts_of(messages[turns[place].index])[:_QUOTING]:
                yield _Said(turns[place].role, text, turns[place : place + _FOLLOW])
    for text in (*(text_of(one) for one in messages[:1] if role_of(one) == "system"), *instructions(request.body)):
        yield _Said("system", text)


def _onward(text: str) -> str:
    return fingerprint(encode(_lasting(_clipped(text)))).hex()


def _clipped(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]}\n{text[-_LONG // 2 :]}"


@lru_cache(512)
def _lasting(text: str) -> str:
    """Return the letters and digits of *text* without what changes by itself."""
    return letters(masked(text))  # asked for with an answer and again with the next ones


@lru_cache(256)
def _opening_words(text: str) -> str:
    return letters(_DIGITS.sub("", masked(text)))  # asked for with each request of a conversation


# Of what tools do, a window may keep nothing: it is left out on both sides.


def _texts(messages: Sequence[Any]) -> list[tuple[str, str]]:
    """Return the newest messages that say something, each with who says it."""
    found: list[tuple[str, str]] = []
    for message in reversed(messages[-_RECENT:]):
        role = role_of(message)
        if role in ("user", "assistant") and (text := text_of(message)).strip():
            found.append((role, text))
    return found[::-1]


def _exchange_keys(before: Sequence[tuple[str, str]], answer: str) -> tuple[str, ...]:
    """
    Return what names the exchange that *answer* ends and that began with the newest question in *before*.

    That is as many exchanges in a row as are not likely to be anybody's, and this one alone if its question is not.
    """
    run = list(islice(_exchanges([*before, ("assistant", answer)]), _IN_A_ROW))
    if not run:
        return ()
    keys, weight = [], 0
    for count, (question, answered) in enumerate(run, start=1):
        weight += len(words := _last_line(question)) + len(answered)
        keys += [words, answered]
        if count > 1 and weight >= _EXCHANGES:
            break
    else:
        keys = []
    question, answered = run[0]
    alone = [f"exchange {piece} {answered}" for piece in _pieces(question) if len(piece) >= _WORDS]
    return (f"exchanges {' '.join(keys)}", *alone) if keys else tuple(alone)


def _exchanges(texts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the questions of *texts* with the letters and digits of their answers, the newest first."""
    answered = ""
    for role, text in reversed(texts):
        if role == "assistant":
            answered = letters(squeezed(text))
        elif answered:
            yield text, answered
            answered = ""


def _pieces(text: str) -> tuple[str, ...]:
    """Return the words of a question, and of its last line alone: what was looked up for it may stand above."""
    whole = _lasting(text.strip()) if len(text) <= _LONG else ""
    return tuple(dict.fromkeys((whole, _last_line(text))))


def _last_line(text: str) -> str:
    """Return the words of the last line of *text* that says something lasting, without its label."""
    for line in reversed(text[-_LONG:].splitlines()):
        if words := _lasting(_LABEL.sub("", _TAG.sub(" ", line).strip())):
            return words
    return ""


def _opening_keys(
    messages: Sequence[Any], before: int, conversation: Conversation, answer: str = ""
) -> tuple[str, ...]:
    """Return what names a conversation by its opening, without numbers and dates, and the first answer to it."""
    root, first = conversation.root, conversation.first_answer
    place = conversation.turns[root].index - before if root >= 0 else -1
    if not 0 <= place < len(messages) or (first < 0 and not answer):
        return ()
    answered = conversation.turns[first] if first >= 0 else Turn("assistant", answer, 0)
    words = _opening_words(_clipped(text_of(messages[place])))
    return (f"opening {words} {answered.digest.hex()}",) if len(words) >= _WORDS else ()
