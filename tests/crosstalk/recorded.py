"""
A week of recorded clients: their requests begin conversations, which go on at random speeds, many at once.

Every answer is right. They go through the router, and what is said of them is said again from what a dump keeps.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

from mitmproxy import http, io

from patchbay import dialects
from patchbay.crosstalk.reverify import judge

from ..simulator.asking import Mistake
from ..simulator.diagnosis import Diagnoses
from ..simulator.dialects import DIALECTS
from .talks import RoutedTalks, Talk
from .world import NAMES, Line

WEEK = 7 * 86_400.0
TOGETHER, TURNS = 8, 24  # conversations that begin within a minute, at most; turns of one, at most
_HISTORY = {"openai_responses": "input", "gemini": "contents"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request of a recorded client: where it went, and its body."""

    dialect: str
    stream: bool
    document: dict[str, Any]


@dataclass(slots=True)
class Said:
    """What was said of a week's answers: *beside* had others under way, *differ* are judged otherwise from a dump."""

    answers: int = 0
    beside: int = 0
    proofs: int = 0
    suspects: int = 0
    differ: int = 0

    def add(self, other: Said) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def recorded(file: Path) -> list[Recorded]:
    """Return the generations in *file*, which mitmdump has written."""
    raw = file.read_bytes()
    stream = io.FlowReader(BytesIO(gzip.decompress(raw) if file.suffix == ".gz" else raw)).stream()
    return [found for flow in stream if isinstance(flow, http.HTTPFlow) for found in _generations(flow)]


def _generations(flow: http.HTTPFlow) -> Iterator[Recorded]:
    path = flow.request.path.partition("?")[0]
    at = dialects.endpoint(flow.request.method, path)
    if at.kind != "generation" or at.dialect not in NAMES or flow.request.method != "POST":
        return
    with suppress(ValueError, Mistake):
        document = json.loads(flow.request.content or b"")
        stream = "stream" in path if at.dialect == "gemini" else document.get("stream") is True
        DIALECTS[NAMES[at.dialect]].read(document, "sim-large", stream)
        yield Recorded(at.dialect, stream, document)


class _Week(RoutedTalks):
    """The conversations of one client's dialect, at one host."""

    def __init__(self, dialect: str, stream: bool, seed: int, requests: Sequence[Recorded]) -> None:
        super().__init__("none", dialect, stream, seed)
        self.requests = requests
        self.diagnoses = Diagnoses("right")

    def conversation(self) -> Iterator[float]:
        """Take the turns of a conversation at a speed of its own; yield the seconds until it goes on."""
        talk, speed = self.talk(), self.random.lognormvariate(0, 1)
        for _ in range(self.random.randrange(1, TURNS)):
            line = self.asked(talk)
            yield speed * self.random.expovariate(1 / 4)
            for _ in self.delivering(line, line.own):
                yield speed * self.random.expovariate(50)
            self.heard(talk, line)
            yield speed * self.random.expovariate(1 / 20)

    def _members_of(self, talk: Talk) -> dict[str, Any]:
        document = dict(self.requests[int(talk.name.split()[1]) % len(self.requests)].document)
        name = _HISTORY.get(self.dialect, "messages")
        begun = document.get(name)
        document[name] = [*(begun if isinstance(begun, list) else ()), *(self._turn(*turn) for turn in talk.turns)]
        if self.dialect == "anthropic" and "diagnostics" in document:
            document["diagnostics"] = {"previous_message_id": talk.previous or None}
        return document

    def _turn(self, role: str, text: str) -> dict[str, Any]:
        if self.dialect == "gemini":
            return {"role": {"assistant": "model"}.get(role, role), "parts": [{"text": text}]}
        return {"role": role, "content": text}

    def _document(self, dialect: str, model: str, asks: dict[str, Any]) -> dict[str, Any]:
        return asks if dialect == "gemini" else {"model": model, **asks}


def week(requests: Sequence[Recorded], seed: int, answers: int) -> Said:
    """Let the conversations of *requests* pass in a week, until there are so many *answers*."""
    said = Said()
    places = sorted({(each.dialect, each.stream) for each in requests})
    for dialect, stream in places:
        here = [each for each in requests if (each.dialect, each.stream) == (dialect, stream)]
        said.add(_passed(_Week(dialect, stream, seed, here), answers // len(places)))
    return said


def _passed(world: _Week, answers: int) -> Said:
    random, began = Random(f"{world.dialect} {answers}"), world.now
    due: list[tuple[float, int, Iterator[float]]] = []
    number = 0
    while number < answers * 2 // TURNS + 1:
        at = began + random.random() * WEEK
        for _ in range(random.randrange(1, TOGETHER)):
            due.append((at + random.random() * 60, number, world.conversation()))
            number += 1
    heapq.heapify(due)
    while due:
        at, number, talk = heapq.heappop(due)
        world.now = max(world.now, at)
        if (pause := next(talk, None)) is not None:
            heapq.heappush(due, (world.now + pause, number, talk))
    return _counted(world)


def _counted(world: _Week) -> Said:
    said = Said(len(world.lines))
    verdicts = [world.later(line).kind for line in world.lines]
    said.beside = sum(map(_is_beside, world.lines[1:], world.lines))
    said.proofs, said.suspects = verdicts.count("crosstalk"), verdicts.count("suspect")
    said.differ = sum(not each.agrees for each in judge(world.stored(), world.mint))
    return said


def _is_beside(line: Line, before: Line) -> bool:
    """Whether *line* was sent before the answer to *before* had ended."""
    return before.watch.record.ended[1] > line.watch.record.at.clock
