"""
Histories that a client has cut or compacted, and how they are recognised: by an exchange that a sliding window kept, by
an answer that a summary quotes, and by an opening whose dates change.

Other conversations may hold the same words. So a key of two conversations names neither (as in `Lineage`), and leads to
its first continuation only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from ..frozen import dataclass
from ..keyed import fingerprint
from ..ledger import Entry
from ..values.http import Request
from .auxiliary_calls import says_summary
from .history import instructions, messages_of, role_of, text_of, texts_of
from .lineage import Lineage
from .normalise import clipped, masked, squeezed
from .references import MIN_TEXT
from .seeds import encode
from .shingles import LENGTH, letters, shingles
from .turns import Conversation, Turn

Where = Literal["exchange", "summary", "quote", "opening"]

_OF_ANSWER = 2  # shingles kept of an answer, beside its first one
_OF_SUMMARY = 8  # … of an answer that was requested as a summary
_OF_MESSAGE = 48  # shingles looked up in one message
_OF_REQUEST = 128  # … and in one request
_QUOTING = 8  # messages that are searched for quotes, from either end of a history
_RECENT = 16  # messages in which the newest exchanges are looked for
_FOLLOW = 64  # turns after a quote in which the next answer is looked for
_TASK = 400  # characters of instructions that may ask for a summary; later ones may only mention it
_WORDS = 10  # letters and digits of a question below which it identifies nothing
_EXCHANGES = 16  # … and of exchanges in a row
_IN_A_ROW = 3
_LONG = 1024  # characters; of a longer message both ends count
_SHINGLE, _SUMMARY = "passage {}", "summary {}"  # keys; the second also of a summary
_LABEL = re.compile(r"^[^\W\d_][\w ]{0,30}:\s+")
_TAG = re.compile(r"</?[\w:-]{1,40}>")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class TruncatedMatch:
    """
    The *entry* of a conversation that a request holds a part of.

    *continues*: the request continues it; else it only quotes it, and the same account serves it best.
    """

    entry: Entry
    where: Where
    continues: bool


@dataclass(frozen=True, slots=True)
class ServedRequest:
    """An answered *request*: its *messages* after the first *before*, which are known, and the *answer*'s text."""

    request: Request
    conversation: Conversation
    before: int
    messages: Sequence[Any]
    answer: str
    binds: bool


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of text that may quote an answer, its role, and the turns from its own on."""

    role: str
    text: str
    follows: Sequence[Turn] = ()

    @property
    def onward(self) -> str:
        """A digest of the continuation: the text and the turns after it, up to the next answer."""
        answers = (place for place, turn in enumerate(self.follows) if place and turn.role == "assistant")
        kept = self.follows[: next(answers, len(self.follows))]
        return fingerprint(*(turn.digest for turn in kept)).hex() if kept else _onward(self.text)


class TruncatedHistories:
    """Exchanges, shingles and openings in *words*, for *ttl* seconds each. *lineage* has the texts of whole answers."""

    def __init__(self, lineage: Lineage, words: Lineage, ttl: float) -> None:
        self._lineage = lineage
        self._words = words
        self.ttl = ttl

    def find(self, request: Request, conversation: Conversation, now: float) -> TruncatedMatch | None:
        """Return the conversation that *request*, whose history is unknown, continues or quotes."""
        if self._words.is_empty():
            return None
        scope, messages = request.client.scope, messages_of(request.body)
        return (
            self._by_exchange(scope, messages, now)
            or self._by_quote(scope, request, messages, conversation, now)
            or self._by_opening(scope, messages, conversation, now)
        )

    def quoted(self, request: Request, now: float) -> Entry | None:
        """Return the conversation whose answers the auxiliary call *request* quotes; several calls may quote them."""
        if self._words.is_empty():
            return None
        texts = [text_of(message) for message in messages_of(request.body)[:_QUOTING]]
        looked_up = [shingle for text in texts for shingle in shingles(text, _OF_MESSAGE)][:_OF_REQUEST]
        return _agreed([entry for _, entry in self._hits(request.client.scope, looked_up, now)])

    def note(self, served: ServedRequest, entry: Entry, now: float) -> None:
        """Remember the keys of *served* for *entry*; of a call that does not bind, only those of a summary."""
        if not entry.affinity:
            return
        keys = [*_quotable_keys(served)]
        if served.binds:
            keys += self._opening(served, entry, now)
            if not self._names_its_conversation(served.request.client.scope, served.answer, now):
                keys += _exchange_keys(_texts(served.messages), served.answer)
        for key in keys:
            self._words.note(served.request.client.scope, key, entry, now, self.ttl)

    def _names_its_conversation(self, scope: bytes, answer: str, now: float) -> bool:
        text = squeezed(answer)
        if len(text) < MIN_TEXT:
            return text == ""
        entry = self._lineage.find(scope, text, now)
        return entry is None or entry.affinity != ""

    def _by_exchange(self, scope: bytes, messages: Sequence[Any], now: float) -> TruncatedMatch | None:
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

    def _by_quote(
        self, scope: bytes, request: Request, messages: Sequence[Any], conversation: Conversation, now: float
    ) -> TruncatedMatch | None:
        left = _OF_REQUEST
        for message in _quoting_blocks(request, messages, conversation):
            if len(message.text) < MIN_TEXT:
                continue
            looked_up = shingles(message.text, min(_OF_MESSAGE, left))
            left -= len(looked_up)
            if found := self._in_message(scope, message, looked_up, now):
                return found
        return None

    def _in_message(self, scope: bytes, message: _Block, looked_up: Sequence[str], now: float) -> TruncatedMatch | None:
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
        found = ((key, self._words.find(scope, key, now)) for key in map(_SHINGLE.format, looked_up))
        return [(key, entry) for key, entry in found if entry and entry.affinity]

    def _were_summary(self, scope: bytes, hits: Sequence[tuple[str, Entry]], now: float) -> bool:
        return any(self._words.find(scope, _SUMMARY.format(key.partition(" ")[2]), now) for key, _ in hits)

    def _by_opening(
        self, scope: bytes, messages: Sequence[Any], conversation: Conversation, now: float
    ) -> TruncatedMatch | None:
        key = _opening_key(messages, 0, conversation)
        entry = self._words.find(scope, key, now) if key else None
        return TruncatedMatch(entry, "opening", continues=True) if entry and entry.affinity else None

    def _opening(self, served: ServedRequest, entry: Entry, now: float) -> tuple[str, ...]:
        """Return the key of the opening; an answer that we did not see may be an example, which a fleet shares."""
        key = _opening_key(served.messages, served.before, served.conversation, served.answer)
        if not key or served.conversation.first_answer < 0:
            return (key,) if key else ()
        known = self._words.find(served.request.client.scope, key, now)
        return (key,) if known and known.affinity == entry.affinity else ()

    def _leads(self, scope: bytes, keys: Sequence[str], onward: str, now: float) -> bool:
        """Whether all *keys* lead to the continuation *onward*: the first one that comes claims them."""
        claims = {claim: self._words.find(scope, claim, now) for claim in (f"claim {key}" for key in keys)}
        if any(before is not None and before.affinity != onward for before in claims.values()):
            return False
        for claim in (claim for claim, before in claims.items() if before is None):
            self._words.note(scope, claim, Entry("", affinity=onward, at=now), now, self.ttl)
        return True


def _quotable_keys(served: ServedRequest) -> Iterator[str]:
    if len(served.answer) < LENGTH:
        return
    if _asks_for_summary(served):
        for shingle in shingles(served.answer, _OF_SUMMARY):
            yield _SHINGLE.format(shingle)
            yield _SUMMARY.format(shingle)
    elif served.binds:
        yield from map(_SHINGLE.format, shingles(served.answer, _OF_ANSWER, first=True))


def _agreed(entries: Sequence[Entry]) -> Entry | None:
    return entries[0] if len({entry.affinity for entry in entries}) == 1 else None


def _asks_for_summary(served: ServedRequest) -> bool:
    last = next((text_of(message) for message in reversed(served.messages) if role_of(message) == "user"), "")
    leading = [text_of(message) for message in served.messages[:1] if role_of(message) == "system"]
    instructed = (*leading, *instructions(served.request.body))
    return says_summary(last) or any(says_summary(text[:_TASK]) for text in instructed)


def _quoting_blocks(request: Request, messages: Sequence[Any], conversation: Conversation) -> Iterator[_Block]:
    turns = conversation.turns
    for place in sorted({*range(_QUOTING), *range(len(turns) - _QUOTING, len(turns))}, reverse=True):
        if 0 <= place < len(turns) and turns[place].role != "tool" and turns[place].index < len(messages):
            for text in texts_of(messages[turns[place].index])[:_QUOTING]:
                yield _Block(turns[place].role, text, turns[place : place + _FOLLOW])
    for text in (*(text_of(one) for one in messages[:1] if role_of(one) == "system"), *instructions(request.body)):
        yield _Block("system", text)


def _onward(text: str) -> str:
    return fingerprint(encode(_lasting(clipped(text, _LONG)))).hex()


@lru_cache(512)
def _lasting(text: str) -> str:
    return letters(masked(text))  # used with an answer and again with the next ones


@lru_cache(256)
def _opening_words(text: str) -> str:
    return letters(_DIGITS.sub("", masked(text)))  # used with each request of a conversation


def _texts(messages: Sequence[Any]) -> list[tuple[str, str]]:
    """Return role and text of the newest messages with a text: a window may drop all calls and results of tools."""
    found: list[tuple[str, str]] = []
    for message in reversed(messages[-_RECENT:]):
        role = role_of(message)
        if role in ("user", "assistant") and (text := text_of(message)).strip():
            found.append((role, text))
    return found[::-1]


def _exchange_keys(before: Sequence[tuple[str, str]], answer: str) -> tuple[str, ...]:
    """Return the keys of the newest exchange: alone, if its question is long enough, and with those before it."""
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
    answered = ""
    for role, text in reversed(texts):
        if role == "assistant":
            answered = letters(squeezed(text))
        elif answered:
            yield text, answered
            answered = ""


def _pieces(text: str) -> tuple[str, ...]:
    """Return the words of a question, and of its last line alone: search results may stand above it."""
    whole = _lasting(text.strip()) if len(text) <= _LONG else ""
    return tuple(dict.fromkeys((whole, _last_line(text))))


def _last_line(text: str) -> str:
    for line in reversed(text[-_LONG:].splitlines()):
        if words := _lasting(_LABEL.sub("", _TAG.sub(" ", line).strip())):
            return words
    return ""


def _opening_key(messages: Sequence[Any], before: int, conversation: Conversation, answer: str = "") -> str:
    root, first = conversation.root, conversation.first_answer
    place = conversation.turns[root].index - before if root >= 0 else -1
    if not 0 <= place < len(messages) or (first < 0 and not answer):
        return ""
    answered = conversation.turns[first] if first >= 0 else Turn("assistant", answer, 0)
    words = _opening_words(clipped(text_of(messages[place]), _LONG))
    return f"opening {words} {answered.digest.hex()}" if len(words) >= _WORDS else ""
