"""The words of a request's end and of an answer, as numbers; and which of several requests an answer fits best."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from ..bounded import BoundedMap
from ..frozen import dataclass

TAIL, ANSWER = 8192, 16_384  # bytes of a history's end, and characters of an answer, that are read
_OTHER, _RATIO = 6, 3  # words of another request alone in an answer, and how many times its own: they name that request
_OWN = 2  # words of its own request alone, which name that one
_PENDING = 10_000

_SCRIPTS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces
_WORD = re.compile(rf"[^\W{_SCRIPTS}]{{4,}}")
_RUN = re.compile(rf"[{_SCRIPTS}]{{3,}}")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_BREAKS = (b"\\n", b"\\t", b"\\r", b'\\"')

Words = frozenset[int]


def of_json(text: bytes) -> Words:
    """Return the words in the end of a JSON *text*, names of members too."""
    tail = text[-TAIL:]
    for escape in _BREAKS:
        tail = tail.replace(escape, b" ")
    read = tail.decode("utf-8", "ignore")
    return of_text(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), read) if "\\u" in read else read)


def of_text(text: str) -> Words:
    """Return the words of *text*: numbers that only this process can compare, and none can turn back."""
    text = text[:ANSWER].lower()
    found = set(map(hash, _WORD.findall(text)))
    if not text.isascii():
        for run in _RUN.findall(text):
            found.update(hash(run[at : at + 3]) for at in range(len(run) - 2))
    return frozenset(found)


def fitting(answer: Words, requests: Mapping[str, Words]) -> dict[str, int]:
    """Return how many words of *answer* each of *requests* has, and no other of them."""
    shared = {name: words & answer for name, words in requests.items()}
    times = Counter(word for words in shared.values() for word in words)
    return {name: sum(times[word] == 1 for word in words) for name, words in shared.items()}


@dataclass(frozen=True, slots=True)
class Preference:
    """The exchange whose request an answer fits best, with *theirs* words of it, and *own* of the receiver's."""

    exchange: str
    theirs: int
    own: int


def preference(own: str, counts: Mapping[str, int]) -> Preference | None:
    """Return which of several requests an answer to *own* fits, by the counts of `fitting`; None: it does not tell."""
    mine = counts.get(own, 0)
    best = max(counts, key=lambda name: counts[name] if name != own else -1, default=own)
    theirs = counts[best] if best != own else 0
    if theirs >= _OTHER and theirs >= _RATIO * (mine + 1):
        return Preference(best, theirs, mine)
    return Preference(own, mine, mine) if mine >= max(_OWN, theirs) else None


class Preferences:
    """
    What the answers that ended fit best.

    An answer alone says little: many quote what others ask for too. If the exchange whose request it fits received an
    answer that fits yet another one, the two were mixed up.
    """

    def __init__(self) -> None:
        self._known: BoundedMap[str, Preference] = BoundedMap(_PENDING)
        self._waiting: BoundedMap[str, list[str]] = BoundedMap(_PENDING)  # by the exchange that they fit

    def note(self, exchange: str, found: Preference) -> list[tuple[str, Preference]]:
        """Note what the answer to *exchange* fits; return the answers that are seen to be others' now."""
        self._known[exchange] = found
        waiting = self._waiting.pop(exchange, [])
        if found.exchange == exchange:
            return []
        mixed = [(each, self._known[each]) for each in waiting if each in self._known]
        other = self._known.get(found.exchange)
        if other is None:
            self._waiting[found.exchange] = [*self._waiting.get(found.exchange, []), exchange]
        elif other.exchange != found.exchange:
            mixed.append((exchange, found))
        return mixed
