"""A host with a habit answers many clients at once; what is said of its answers, all of which are right, is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from ..simulator.diagnosis import Diagnoses
from .honest_habit import Habit, Right
from .honest_hosts import HABITS, settled
from .routed import Policy, Routed
from .talks import RoutedTalks, Talk
from .world import Line

ANSWERS = 64  # of each host, since the habit is there, where everything is tried
SETTLED = 32  # answers with it, after which a habit is known
AT_ONCE = 4  # requests under way
TALKS, ENDS = 6, 0.12  # conversations at a time; the chance that an answer is the last of its own
WORKERS = 8
STRANGE = 3  # the worker that has the habit, where one has
Way = Literal["alone", "one worker of eight", "deploy after 12", "deploy after 40"]
ONE_OF_EIGHT: Way = "one worker of eight"
BEFORE: dict[Way, int] = {"alone": 0, ONE_OF_EIGHT: 0, "deploy after 12": 12, "deploy after 40": 40}
WAYS: tuple[Way, ...] = tuple(BEFORE)
ENOUGH: dict[Way, int] = {"alone": 32, ONE_OF_EIGHT: 48, "deploy after 12": 24, "deploy after 40": 24}  # for the suite


@dataclass(frozen=True, slots=True)
class Host:
    """One habit at one place: what is served there, and since when."""

    habit: Habit
    dialect: str
    stream: bool
    way: Way

    def __str__(self) -> str:
        return f"{self.habit}, {self.dialect}, {'stream' if self.stream else 'whole'}, {self.way}"

    @property
    def proofs(self) -> int:
        """How many answers may be called another's: two after a sudden change, else what the habit itself allows."""
        return max(self.habit.first, 2 if BEFORE[self.way] else 0)

    @property
    def occasions(self) -> int:
        """How often suspicion may arise: once; after a change of how turns are compared, of three under way at once."""
        return 3 if BEFORE[self.way] and self.habit.care else 1


@dataclass(slots=True)
class Said:
    """What was said of one host's answers."""

    answers: int = 0
    proofs: int = 0
    blocked: int = 0
    suspects: int = 0
    paired: int = 0  # suspects that are said to have received one another's answers
    settled: int = 0  # answers since the habit is known; so the next two
    settled_proofs: int = 0
    settled_suspects: int = 0
    detectors: Counter[str] = field(default_factory=Counter)
    accused: set[str] = field(default_factory=set)

    def wrong(self, host: Host) -> bool:
        """Whether more was said than may be."""
        return self.proofs > host.proofs or self.blocked > host.proofs or self.occasions > host.occasions

    @property
    def occasions(self) -> int:
        """How often suspicion arose: a pair is suspected at once."""
        return self.suspects - self.paired // 2


def hosts(*habits: Habit) -> Iterator[Host]:
    """Yield every host with one of *habits*; with any habit where none is given."""
    for habit in habits or HABITS:
        for dialect in habit.dialects:
            for stream in (False, True):
                if habit.framing in ("both", "stream" if stream else "whole"):
                    for way in WAYS:
                        if not (habit.shared and way == ONE_OF_EIGHT):
                            yield Host(habit, dialect, stream, way)


def serve(
    host: Host, seed: int, reaction: Policy = "block", silent: tuple[str, ...] = (), answers: int = ANSWERS
) -> Said:
    """Let *host* answer so many requests with its habit, after those that it answers without, and count."""
    habit = host.habit
    world = (_Talking if habit.talks else Routed)(habit.depth, host.dialect, host.stream, seed, reaction, silent)
    if isinstance(world, _Talking):
        world.begin(habit)
    random = Random(f"{seed} {host}")
    said, before = Said(), BEFORE[host.way]
    open_lines: list[tuple[Line, Iterator[None]]] = []
    answered: list[Line] = []
    known: set[int] = set()
    asked = strange = 0
    at_once = 1 if habit.depth == "handler" else AT_ONCE  # its rule counts answers in a row
    while asked < before + answers or open_lines:
        if asked < before + answers and len(open_lines) < at_once:
            line = _asked(world, habit, asked)
            worker = random.randrange(WORKERS)
            wire = line.own
            if asked >= before and (host.way != ONE_OF_EIGHT or worker == STRANGE):
                talk = world.busy[line.number] if isinstance(world, _Talking) else None
                wire = habit.change(Right(world, line, worker, strange, talk))
                strange += 1
            if asked >= before + SETTLED:
                known.add(line.number)
            open_lines.append((line, world.delivering(line, wire)))
            asked += 1
            continue
        at = random.randrange(len(open_lines))
        line, delivery = open_lines[at]
        if not all(next(delivery, _OVER) is not _OVER for _ in range(random.randrange(1, 12))):
            del open_lines[at]
            answered.append(line)
            if isinstance(world, _Talking):
                world.answered(line)
    for line in answered:
        _count(said, world, line, settled=line.number in known)
    victims = {world.name(line): world.later(line).victim for line in answered if world.later(line).kind == "suspect"}
    said.paired = sum(victims.get(victim) == name for name, victim in victims.items())
    return said


class _Talking(RoutedTalks):
    """Conversations whose turns come in any order. *busy* are those that wait for an answer, by its line's number."""

    def begin(self, habit: Habit) -> None:
        self.project = habit.project
        self.diagnoses = Diagnoses(habit.care) if habit.care else None
        self.busy: dict[int, Talk] = {}
        self._idle = [self.talk() for _ in range(TALKS)]

    def turn(self, **asks: Any) -> Line:
        """Let a conversation that waits for nothing go on."""
        talk = self._idle.pop(self.random.randrange(len(self._idle)))
        line = self.asked(talk, **asks)
        self.busy[line.number] = talk
        return line

    def answered(self, line: Line) -> None:
        """Let a conversation hear the answer to *line*, or end."""
        talk = self.busy.pop(line.number)
        self.heard(talk, line)
        self._idle.append(self.talk() if self.random.random() < ENDS else talk)


def _asked(world: Routed, habit: Habit, n: int) -> Line:
    if isinstance(world, _Talking):
        return world.turn(**habit.ask(n))
    asks = dict(habit.ask(n) or ordinary(n, world.dialect))
    before = world.lines[-1] if world.lines else None
    if n % 7 == 3 and before is not None and "at" not in asks:
        return world.send(like=before, model=before.model, session=f"conversation-{n % 16}")
    return world.send(session=f"conversation-{n % 16}", **asks)


def ordinary(n: int, dialect: str) -> Mapping[str, Any]:
    """Return what the *n*th request of many asks for."""
    match n % 6:
        case 1:
            return {"tools": ("read_file", "shell")}
        case 2:
            return {"model": "sim-small"}
        case 3:
            return {"words": 60}
        case 4:
            return settled(n) if dialect == "openai_responses" else {"temperature": 0.7}
        case 5:
            return {"tools": ("list", "ask"), "model": "sim-small"}
    return {}


def _count(said: Said, world: Routed, line: Line, *, settled: bool) -> None:
    verdict = world.later(line)
    said.answers += 1
    said.proofs += verdict.kind == "crosstalk"
    said.suspects += verdict.kind == "suspect"
    said.blocked += line.number in world.blocked
    said.settled += settled
    said.settled_proofs += settled and verdict.kind == "crosstalk"
    said.settled_suspects += settled and verdict.kind == "suspect"
    if verdict.kind in ("crosstalk", "suspect"):
        said.detectors.update(
            {f"{finding.detector} {finding.where}" for finding in verdict.findings if finding.strength != "weak"}
        )
        said.accused |= {verdict.victim} - {"", "unknown"}


_OVER = object()


def some_of(habit: Habit) -> list[Host]:
    """Return a few hosts of *habit*: alone, one worker of eight and a deploy, each at another place."""
    number = HABITS.index(habit)
    found: list[Host] = []
    for at, way in enumerate((WAYS[0], WAYS[1], WAYS[2 + number % 2])):
        places = [host for host in hosts(habit) if host.way == way]
        if places:
            found.append(places[(number + 3 * at) % len(places)])
    return found
