"""
Conversations made of real text, at a provider that gives no id back: each is about one file of Python's own library.

A turn sends a part of the file, and the answer says the next part. Answers can be exchanged; what was said of each is
counted, at once and a turn later.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from patchbay.values.decision import Verdict

from ..simulator.diagnosis import Care, Diagnoses
from ..simulator.manners import Manners
from ..simulator.reply import Reply, Usage, mint, prompt_tokens, tokens
from .routed import Routed
from .world import Line, World

_LEAST = 30_000  # bytes of a file that a conversation can be about
_INSTRUCTIONS = 3  # that conversations share
MIXED = ("swap", "rotate")


@cache
def library() -> tuple[str, ...]:
    """Return the texts of Python's own library that are long enough."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    texts = (file.read_text("utf-8", "replace") for file in files if file.stat().st_size > _LEAST)
    return tuple(texts)


@dataclass
class Talk:
    """One conversation, and where in its text it is."""

    name: str
    text: str
    instructions: str
    random: Random
    turns: list[tuple[str, str]] = field(default_factory=list)  # role and text
    seals: dict[int, str] = field(default_factory=dict)  # of the reasoning in a turn
    at: int = 0
    previous: str = ""  # the id of the answer that it got last
    lines: list[Line] = field(default_factory=list)

    def piece(self, middle: float, spread: float) -> str:
        """Return the next piece of the text, of a length that varies as those of real turns do."""
        size = max(20, int(self.random.lognormvariate(middle, spread)))
        begin, self.at = self.at, (self.at + size) % len(self.text)
        return self.text[begin : begin + size] or self.text[:size]

    def question(self) -> str:
        """Return what a user or a tool says next."""
        return self.piece(7.0, 1.2) if self.random.random() < 0.7 else self.piece(4.5, 0.8)


@dataclass
class Told:
    """
    What was said of one answer. *of* is the line whose answer it was; None: its own.

    *continued*: the conversation had a next turn, in which it may have been said later.
    """

    line: Line
    of: Line | None
    at_once: Verdict
    continued: bool = False

    @property
    def later(self) -> Verdict:
        return self.line.verdict()


class Conversations(World):
    """
    Conversations at one host, some of them under way at once.

    *diagnoses* compares their turns; None: the host never does. *project*: all of them are about one text. *counts*: a
    client of OpenAI chat asks for the count of tokens in a stream. *thinks*: Anthropic's answers have sealed reasoning.
    *manners*: what the host tells of its counts, and whose metadata it repeats.
    """

    diagnoses: Diagnoses | None = None
    manners = Manners()
    thinks = False
    project = False
    counts = True
    _number = 0

    def talk(self) -> Talk:
        """Begin a conversation."""
        self._number += 1
        texts = library()
        text = texts[-1 if self.project else self.random.randrange(len(texts))]
        instructions = texts[self.random.randrange(_INSTRUCTIONS)][: 2000 + 3000 * (self._number % _INSTRUCTIONS)]
        random = Random(f"{self.random.random()} {self._number}")
        return Talk(f"talk {self._number}", text, instructions, random, at=random.randrange(len(text)))

    def asked(self, talk: Talk, **asks: Any) -> Line:
        """Send the next turn of *talk*; *asks* goes into the body."""
        talk.turns.append(("user", talk.question()))
        self.thread = talk.name
        line = self.send(**self._members_of(talk), **asks)
        said = talk.piece(6.5, 0.9)
        usage = Usage(prompt=sum(prompt_tokens(line.reply.asked.turns)), completion=tokens(said))
        told = self.diagnoses.told(line.reply.asked, "a") if self.diagnoses else {}
        usage = self.manners.usage(usage, line.reply.asked)
        asked, _ = self.manners.metadata(line.reply.asked, line.number)
        sealed = mint("sealed-", f"{line.number} {said}", 60) if self.thinks else ""
        line.reply = replace(line.reply, asked=asked, text=said, usage=usage, tool=None, told=told, sealed=sealed)
        line.own = self.wire(line)
        self.becomes(line, line.reply)
        talk.lines.append(line)
        return line

    def becomes(self, line: Line, reply: Reply) -> None:
        """Let *reply* be the right answer to *line*."""
        line.reply = reply
        if self.diagnoses:
            self.diagnoses.keep(reply.answer_id, "a", reply.asked, reply.sealed)

    def heard(self, talk: Talk, line: Line) -> None:
        """Let *talk* go on with the answer of *line*, whosever it is."""
        if line.reply.sealed:
            talk.seals[len(talk.turns)] = line.reply.sealed
        talk.turns.append(("assistant", line.reply.text))
        talk.previous = line.reply.answer_id

    def _document(self, dialect: str, model: str, asks: dict[str, Any]) -> dict[str, Any]:
        limit = {"max_tokens": 4096} if dialect == "anthropic" else {}
        named = {} if dialect == "gemini" else {"model": model, "stream": self.stream}
        return {**named, **limit, **asks}

    def _members_of(self, talk: Talk) -> dict[str, Any]:
        messages = [
            {"role": role, "content": _thought(talk.seals[at], text) if at in talk.seals else text}
            for at, (role, text) in enumerate(talk.turns)
        ]
        match self.dialect:
            case "anthropic":
                asks: dict[str, Any] = {"diagnostics": {"previous_message_id": talk.previous or None}}
                return {"system": talk.instructions, "messages": messages, **(asks if self.diagnoses else {})}
            case "openai_responses":
                named = {"comparison_response_id": talk.previous} if talk.previous else {}
                asks = {"prompt_cache_options": named}
                return {"instructions": talk.instructions, "input": messages, **(asks if self.diagnoses else {})}
            case "gemini":
                names = {"user": "user", "assistant": "model"}
                contents = [{"role": names[role], "parts": [{"text": text}]} for role, text in talk.turns]
                return {"systemInstruction": {"parts": [{"text": talk.instructions}]}, "contents": contents}
            case _:
                counted = {"stream_options": {"include_usage": True}} if self.counts and self.stream else {}
                return {"messages": [{"role": "system", "content": talk.instructions}, *messages], **counted}


def _thought(seal: str, text: str) -> list[dict[str, Any]]:
    return [{"type": "thinking", "thinking": "", "signature": seal}, {"type": "text", "text": text}]


class Talks(Conversations):
    """The same without a router. *care* is how well the host compares turns; None: never."""

    def __init__(
        self,
        dialect: str,
        stream: bool,
        seed: int,
        care: Care | None = None,
        *,
        counts: bool = True,
        depth: str = "none",
    ) -> None:
        super().__init__(depth, dialect, stream, seed)
        self.counts = counts
        self.diagnoses = Diagnoses(care) if care else None


class RoutedTalks(Conversations, Routed):
    """The same with a router."""

    def send(self, **asks: Any) -> Line:
        return super().send(session=self.thread, **asks)


def run(world: Talks, rounds: int, at_once: int, mix: Callable[[int], str]) -> Iterator[Told]:
    """
    Let *at_once* conversations have a turn each, so many *rounds*; yield what was said of each answer.

    *mix* says what goes wrong in a round, one of MIXED, or nothing. Conversations end after some turns.
    """
    talks = [world.talk() for _ in range(at_once)]
    before: dict[str, Told] = {}
    for number in range(rounds):
        lines = [world.asked(talk) for talk in talks]
        for talk in talks:
            if talk.name in before:
                before[talk.name].continued = True
        given = _given(mix(number), lines, world.random)
        order = list(range(at_once))
        world.random.shuffle(order)
        for at in order:
            world.deliver(lines[at], given[at].own)
        for line in lines:
            line.watch.judgement.told = line.verdict()
        for at, (talk, line) in enumerate(zip(talks, lines, strict=True)):
            other = given[at]
            before[talk.name] = told = Told(line, other if other is not line else None, line.verdict())
            yield told
            world.heard(talk, other)
            if world.random.random() < 0.12:
                talks[at] = world.talk()


def _given(wrong: str, lines: Sequence[Line], random: Random) -> list[Line]:
    """Return for each of *lines* whose answer it gets."""
    given = list(lines)
    match wrong:
        case "swap":
            a, b = random.sample(range(len(lines)), 2)
            given[a], given[b] = lines[b], lines[a]
        case "rotate":
            some = random.sample(range(len(lines)), min(3, len(lines)))
            for at, place in enumerate(some):
                given[place] = lines[some[(at + 1) % len(some)]]
    return given
