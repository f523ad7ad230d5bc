"""
What a request holds that the next turn of its conversation repeats, by digests; and the request of each answer's id.

Some providers compare a request with the one whose answer it names, and say where the two differ. Where ours do not
differ, the answer was given to another request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from ..bounded import BoundedMap, ChangeLog
from ..frozen import dataclass
from ..ledger import Entry
from ..values.decision import Finding
from .request_summary import RequestSummary

_KNOWN = 10_000  # answers
_TOLD = 64  # findings
BESIDE = 16  # concurrent exchanges of one answer
_RECEIVERS = 4  # of one answer
_RUNS = 256  # turns of a conversation that the provider keeps
_SHARED = 256  # characters of an id that other instances are told of
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
# Marks of a cache move from turn to turn, and are no part of a prompt. Within a text, their quotes would be escaped.
_MARK = re.compile(rb',?\s*"(?:cache_control|prompt_cache_breakpoint)":\s*(?:\{[^{}]*\}|null)')
_TEXT = re.compile(rb'(\{"role":"\w+","content":)("(?:[^"\\]|\\.)*")\}', re.DOTALL)
Keyed = Callable[[bytes], bytes]  # a digest under a key, so that it cannot be guessed: the store has it too


class _Message(msgspec.Struct):
    role: str = ""


_ROLE = msgspec.json.Decoder(_Message)


class Prefix(msgspec.Struct, frozen=True, array_like=True):
    """
    *parts*: member beside the history → digest; *messages* of the history, and the *digest* of them all.

    Of a conversation that the provider keeps, *fields* are its other members, and *runs* the numbers of messages that
    were sent at each turn. Between two runs stands an answer, of which no digest is known.
    """

    parts: dict[str, bytes]
    messages: int
    digest: bytes
    fields: dict[str, bytes] = {}
    runs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """
    A request that was answered *at* a time: its *entry*, its *prefix*, and the exchanges under way *beside* it.

    *seals*: digests of the signatures of its answer. *ours*: it is one of this instance.
    """

    entry: Entry
    prefix: Prefix
    at: float
    beside: tuple[Entry, ...] = ()
    seals: tuple[bytes, ...] = ()
    ours: bool = True


class SentPrefixes:
    """The answered requests by host and id of the answer, and by exchange; the least recently used are forgotten."""

    def __init__(self) -> None:
        self._by_answer: BoundedMap[tuple[str, str], tuple[Answered, ...]] = BoundedMap(_KNOWN)
        self._by_exchange: BoundedMap[str, Answered] = BoundedMap(_KNOWN)
        # by exchange: what was found, of which request, and whether it counts without another exchange to explain it
        self.told: BoundedMap[str, tuple[Finding, Answered, bool]] = BoundedMap(_TOLD)
        # (exchange, detector) that suspected it for no other's sake → others that may be suspected for its sake
        self.first: BoundedMap[tuple[str, str], int] = BoundedMap(_KNOWN)
        # exchanges whose answer's reasoning was said to be another conversation's
        self.bound_elsewhere: BoundedMap[str, None] = BoundedMap(_KNOWN)
        self._last: BoundedMap[tuple[str, str], str] = BoundedMap(_KNOWN)
        self._by_seal: BoundedMap[bytes, Answered] = BoundedMap(_KNOWN)
        self._hosts: BoundedMap[str, None] = BoundedMap(_KNOWN)  # that compare
        self._changes: ChangeLog[tuple[str, str]] = ChangeLog()

    def note(self, host: str, answer: str, told: Answered) -> None:
        """Note that *answer* is the id of the answer to the request of *told*."""
        self.adopt(host, answer, told)
        if len(answer) <= _SHARED:
            self._changes.note((host, answer))

    def adopt(self, host: str, answer: str, told: Answered) -> None:
        """The same of a request of another instance."""
        entry, key = told.entry, (host, answer)
        self._by_exchange[entry.exchange] = told
        self._by_answer[key] = (told, *self._by_answer.get(key, ()))[:_RECEIVERS]
        for seal in told.seals:
            self._by_seal[seal] = told
        if entry.thread:
            self._last[entry.account, entry.thread] = answer

    def watch(self) -> None:
        """Log what is noted from now on, for `changes`."""
        self._changes.watch()

    def changes(self) -> list[tuple[str, str, Answered]]:
        """Return host, answer and request of what was noted since the last call."""
        noted = [(key, told) for key in self._changes.take() for told in self._by_answer.get(key, ())]
        return [(*key, told) for key, told in noted if told.ours]

    def last(self, account: str, thread: str) -> str:
        """Return the id of the last answer of *account* in *thread*; empty where none is known."""
        return self._last.get((account, thread), "")

    def compared(self, host: str, answer: str) -> tuple[Answered, ...]:
        """
        Return the requests whose answer has the id *answer* at *host*, the last one first: several may receive one.

        The host compares with it, so it may with others.
        """
        self._hosts[host] = None
        return self._by_answer.get((host, answer), ())

    def is_compared_at(self, host: str) -> bool:
        """Whether *host* compared a request lately, so that a later one may name any answer."""
        return host in self._hosts

    def of_exchange(self, exchange: str) -> Answered | None:
        """Return the request of *exchange*."""
        return self._by_exchange.get(exchange)

    def sealed(self, seal: bytes) -> Answered | None:
        """Return the request whose answer has the signature of this digest."""
        return self._by_seal.get(seal)


def prefix_of(request: RequestSummary, keyed: Keyed, before: Prefix | None = None) -> Prefix | None:
    """
    Return what *request* holds; None where its history cannot be read.

    *before* is that of the turn before, where the provider has the earlier turns; without it, the history is unknown.
    """
    messages = _messages(request)
    if messages is None:
        return None
    parts, fields = _parts(request, keyed), {name: keyed(_plain(raw)) for name, raw in request.fields()}
    if not request.adds:
        return Prefix(parts, len(messages), _digest_of_all(messages, keyed), fields)
    if before is None or not before.digest or len(before.runs) >= _RUNS:
        return Prefix(parts, 0, b"", fields)
    parts |= {name: digest for name, digest in before.parts.items() if name not in fields}
    runs = (*(before.runs or (before.messages,)), len(messages))
    digest = _digest_of_all(messages, keyed, before.digest)
    return Prefix(parts, before.messages + 1 + len(messages), digest, before.fields | fields, runs)


def resends(request: RequestSummary, prefix: Prefix, name: str, keyed: Keyed) -> bool:
    """Whether *request* has the member *name* as the conversation of *prefix* has it."""
    sent = dict(request.fields())
    return name in sent and keyed(_plain(sent[name])) == prefix.fields.get(name)


def repeats(request: RequestSummary, prefix: Prefix, part: str, keyed: Keyed, *, messages: int | None = None) -> bool:
    """
    Whether *request* repeats *part* of *prefix*: a member, or, where it is the empty string, the history and all else.

    *messages*: how many messages the history of *prefix* must have. A provider may read messages of one role in a
    row as one. What tools there are may change where the provider has some of its own, as of an MCP server.
    """
    if part == "tools" and request.tools is None:
        return False
    parts = _parts(request, keyed)
    if part:
        return part in prefix.parts and parts.get(part) == prefix.parts[part]
    known = _messages(request) or []
    if prefix.messages >= len(known) or messages not in (None, prefix.messages) or _goes_on(known, prefix.messages):
        return False
    at, digest = 0, b""
    for run in prefix.runs or (prefix.messages,):
        digest = _digest_of_all(known[at : at + run], keyed, digest)
        at += run + 1
    return parts == prefix.parts and digest == prefix.digest


def _parts(request: RequestSummary, keyed: Keyed) -> dict[str, bytes]:
    return {name: keyed(_plain(raw)) for name, raw in request.parts()}


def _goes_on(messages: Sequence[msgspec.Raw], at: int) -> bool:
    """Whether the message *at* has the role of the one before."""
    return at > 0 and _role(messages[at]) == _role(messages[at - 1]) != ""


def _role(message: bytes) -> str:
    try:
        return _ROLE.decode(message).role
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""


def _messages(request: RequestSummary) -> list[msgspec.Raw] | None:
    try:
        return _ITEMS.decode(request.history)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _digest_of_all(messages: Sequence[msgspec.Raw], keyed: Keyed, before: bytes = b"") -> bytes:
    return keyed(before + b"".join(keyed(_plain(bytes(each))) for each in messages))


def _plain(raw: bytes) -> bytes:
    """Return JSON without marks of a cache; a message's text becomes the list of one part that it stands for."""
    if b'_control":' in raw or b'_breakpoint":' in raw:
        raw = _MARK.sub(b"", raw)
    if found := _TEXT.fullmatch(raw):
        raw = found[1] + b'[{"type":"text","text":' + found[2] + b"}]}"
    return raw
