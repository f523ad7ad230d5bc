"""
Measures what it costs to find out whose conversation a request is; exit code 1 when a figure is over its bound.

Times are medians of pairs taken in turn, so that a busy machine slows both sides alike. Memory is what the process
holds more after so many sessions, and what Python's allocator says of it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from patchbay import dialects
from patchbay.body import Body
from patchbay.identity.identify import Identifier
from patchbay.ledger import Ledger
from patchbay.settings.settings import SessionSettings
from patchbay.values.answer import Fact
from patchbay.values.decision import Identity
from patchbay.values.http import Headers, Origin, Request

HERE = Origin("https", "llm.example", 443)
PATHS = {"openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages", "openai_responses": "/v1/responses",
         "gemini": "/v1beta/models/m:generateContent"}  # fmt: skip
BIG = 10_000_000  # bytes
PAIRS = 7
MEMORY_BOUND, FLAT_BOUND = 100_000_000, 1.5


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. *holds* is None for a figure without a bound."""

    what: str
    value: str
    beside: str
    holds: bool | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench_identity", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=20)
    asked = parser.parse_args()
    figures = [*big_bodies(), *going_on(), *flat(), *memory(asked.sessions, asked.turns)]
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        verdict = {None: "", True: "holds", False: "OVER"}[figure.holds]
        print(f"{figure.what:{width}}  {figure.value:>10}  {figure.beside:40}  {verdict}".rstrip())
    return 1 if any(figure.holds is False for figure in figures) else 0


def big_bodies() -> Iterable[Figure]:
    """Compare identifying a request of 10 MB, in a fresh identifier, with `json.loads` of its body."""
    for (what_of, word), dialect in product((("ASCII", "house"), ("accents", "café")), PATHS):
        body = _written(dialect, _big_talk(word))
        for named in (True, False):
            identify = _once(dialect, body, named=named)
            ours, theirs = _paired(identify, partial(json.loads, body))
            what = f"{len(body) / 1e6:.0f} MB of {dialect}, {what_of}, {'an id' if named else 'no id'}"
            beside = f"{ours / theirs:.2f} of json.loads ({theirs * 1e3:.0f} ms)"
            yield Figure(what, f"{ours * 1e3:.1f} ms", beside, ours <= theirs)


def going_on() -> Iterable[Figure]:
    """Compare the next turn of a conversation, which repeats all others, with `json.loads` of its body."""
    for size, named in product((2_000, 50_000, 500_000, 5_000_000), (True, False)):
        texts = [f"turn {number}: " + "as much as one says " * 100 for number in range(max(size // 2_000, 1) | 1)]
        before, body = (_written("openai_chat", talk) for talk in (texts, [*texts, "an answer", "and then?"]))
        again = _next_turn(before, body, named=named)
        ours, theirs = _paired(again, partial(json.loads, body))
        what = f"the next turn at {size // 1000} kB, {'an id' if named else 'no id'}"
        yield Figure(what, f"{ours * 1e6:.0f} µs", f"{ours / theirs:.2f} of json.loads ({theirs * 1e6:.0f} µs)", None)


def _next_turn(before: bytes, body: bytes, *, named: bool) -> Callable[[], object]:
    """Make a run of one turn more each time; what was served before it is not part of it."""
    identifiers = []
    for _ in range(PAIRS):
        identifier = Identifier(bytes(32), SessionSettings(), Ledger())
        request = _request("openai_chat", before, named=named)
        identifier.learn(request, identifier.identify(request, 0.0), "account", [], 0.0)
        identifiers.append(identifier)
    requests = [_request("openai_chat", body, named=named) for _ in identifiers]
    return lambda: identifiers.pop().identify(requests.pop(), 1.0)


def _big_talk(word: str = "café") -> list[str]:
    """Return 401 turns such as agents have them: prose and code, with quotes and line ends."""
    piece = f'The function reads "config.yaml" and returns\n    {{"key": value}}  # the {word} of line 17\n'
    size = BIG // 401
    return [f"turn {number}: " + piece * (size // len(piece)) for number in range(401)]


def _once(dialect: str, body: bytes, *, named: bool) -> Callable[[], object]:
    def identify() -> Identity:
        return Identifier(bytes(32), SessionSettings(), Ledger()).identify(_request(dialect, body, named=named), 0.0)

    return identify


def flat() -> Iterable[Figure]:
    """Compare a lookup among 10 000 sessions with one among 100."""
    few, many = _filled(100), _filled(10_000)
    texts = [f"question {n} {word}" for n, word in enumerate("one two three four five".split())]
    for named in (True, False):
        body = _written("openai_chat", texts)

        def lookup(identifier: Identifier, body: bytes = body, named: bool = named) -> None:
            for number in range(200):
                text = body.replace(b"question 0", b"question %d" % (number % 100))
                identifier.identify(_request("openai_chat", text, named=named), 1.0)

        ours, theirs = _paired(lambda: lookup(many), lambda: lookup(few))
        what = f"lookup among 10 000 sessions, {'an id' if named else 'no id'}"
        beside = f"{ours / theirs:.2f} of among 100 ({theirs / 200 * 1e6:.0f} µs)"
        yield Figure(what, f"{ours / 200 * 1e6:.0f} µs", beside, ours <= FLAT_BOUND * theirs)


def memory(sessions: int, turns: int) -> Iterable[Figure]:
    """Hold *sessions* of *turns* and see what stays."""
    gc.collect()
    before = _resident()
    identifier, ledger = _filled(0)._parts()
    started = time.perf_counter()
    for turn in range(turns):
        for number in range(sessions):
            _turn(identifier, number, turn)
    each = (time.perf_counter() - started) / (sessions * turns)
    gc.collect()
    grown = _resident() - before
    what = f"{sessions} sessions of {turns} turns, no ids"
    yield Figure(
        what, f"{grown / 1e6:.0f} MB", f"{len(ledger)} entries; {each * 1e6:.0f} µs a turn", grown <= MEMORY_BOUND
    )


class _Filled(Identifier):
    """An identifier that has seen so many sessions, with the ledger it writes to."""

    def __init__(self, sessions: int) -> None:
        self._own = Ledger()
        super().__init__(bytes(32), SessionSettings(), self._own)
        for number in range(sessions):
            _turn(self, number, 0)

    def _parts(self) -> tuple[Identifier, Ledger]:
        return self, self._own


def _filled(sessions: int) -> _Filled:
    return _Filled(sessions)


def _turn(identifier: Identifier, number: int, turn: int) -> None:
    """Ask turn *turn* of conversation *number*, and learn its answer."""
    said = [_said(number, place) for place in range(2 * turn + 1)]
    request = _request("openai_chat", _written("openai_chat", said), named=False)
    identity = identifier.identify(request, float(turn))
    facts = [Fact("id", f"chatcmpl-{number:08x}{turn:08x}Zk3v9Qx"), Fact("text", _said(number, 2 * turn + 1))]
    identifier.learn(request, identity, "account", facts, float(turn))


def _said(number: int, place: int) -> str:
    who = ("question", "answer")[place % 2]
    return f"{who} {place} of conversation {number}: as much as one says in a line or so"


def _request(dialect: str, body: bytes, *, named: bool) -> Request:
    headers = [("content-type", "application/json")] + ([("x-session-id", "bench-1")] if named else [])
    path = PATHS[dialect]
    return Request("POST", path, Headers(headers), Body(body), dialects.endpoint("POST", path), HERE)


def _written(dialect: str, texts: list[str]) -> bytes:
    roles = [("user", "assistant")[place % 2] for place in range(len(texts))]
    if dialect == "gemini":
        names = {"user": "user", "assistant": "model"}
        contents = [{"role": names[r], "parts": [{"text": t}]} for r, t in zip(roles, texts, strict=True)]
        return json.dumps({"contents": contents}).encode()
    name = "input" if dialect == "openai_responses" else "messages"
    return json.dumps(
        {"model": "m", name: [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]}
    ).encode()


def _paired(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Return the medians of both, measured in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(PAIRS):
        for work, taken in zip((one, other), times, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def _resident() -> int:
    """Return the bytes this process holds, or 0 where the system does not say."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
