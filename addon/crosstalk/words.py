"""The words of a request's end and of an answer, as numbers; and which of several requests an answer fits better."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

TAIL, ANSWER = 8192, 16_384  # bytes of a history's end, and characters of an answer, that are read
# So many words of another request alone, so many times those of its own and one, and so many times as many that others
# may have too, make an answer fit that better.
_OTHER, _RATIO, _IN_ALL = 5, 2, 1.8

_SCRIPTS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces
_WORD = re.compile(rf"[^\W{_SCRIPTS}]{{4,}}")
_RUN = re.compile(rf"[{_SCRIPTS}]{{3,}}")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_BREAKS = (b"\\n", b"\\t", b"\\r")

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


def fitting(answer: Words, requests: Mapping[str, Words]) -> dict[str, tuple[int, int]]:
    """Return how many words of *answer* each of *requests* has and no other of them, and how many it has in all."""
    shared = {name: words & answer for name, words in requests.items()}
    times = Counter(word for words in shared.values() for word in words)
    return {name: (sum(times[word] == 1 for word in words), len(words)) for name, words in shared.items()}


def better(own: str, counts: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """
    Return the requests that an answer to *own* fits better than that, by the counts of `fitting`.

    The more words, the nearer.
    """
    alone, in_all = counts[own]
    least = max(_OTHER, _RATIO * (alone + 1)), _IN_ALL * in_all
    return {name: 1 / count[0] for name, count in counts.items() if count[0] >= least[0] and count[1] >= least[1]}
