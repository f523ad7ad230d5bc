"""
The habits of each host: how often its answers kept and broke each rule.

A detector reports a strong finding only where its rule stands: the host kept it in enough answers in a row. A rule that
a host breaks habitually is demoted there, until a long run of answers keeps it or a user resets it.

A rule's name is that of its detector, with a space and a case behind it where there are several: `shape embedding`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct

from ..bounded import BoundedMap, ChangeLog

PROVEN = 3  # answers in a row that kept a rule, for a finding that a concurrent exchange explains
KNOWN = 8  # … for a strong finding: one round of eight workers, one of which may be odd
NEVER = 12  # … for a proof by a fault that is no known habit of hosts
TWICE = 16  # … where a value has to come twice before it can look odd: two rounds of eight workers
ID_TWICE = 24  # … where that proves something: three rounds
AGAIN = 40  # … at least, for any finding once the rule was broken: an odd worker of eight shows by then
LONGER = 2  # … and so many times as many as before the break, so that what comes back every so often is accused once
MOST = 512  # … at most
PROVED = 64  # … for a proof by form alone
FORGOTTEN = 64  # answers in a row after which a demoted rule is back, at least
IN_A_ROW = 3  # answers in a row that break a rule show a habit
SELDOM = 4  # a rule that is kept at most so many times as often as it is broken is not the host's
CONTRACT = "contract"
BY_OUR_CLOCK = "created clock"  # the answer's time, compared with our clock
# rules that misdelivered or mixed answers break, at any interval: for these, AGAIN is enough
_DELIVERY = frozenset(
    {"disorder alternates", "disorder another-end", "disorder another-prompt", "disorder switch",
     "disorder two-starts", "duplicate", "same-text", "settings", "stray-head"}
)  # fmt: skip
_BROKEN = 3  # times it must have been broken for that
# One worker of eight breaks a rule in 12.5 % of the answers; wrong deliveries, at 5 % and less, must never add up to a
# habit. A cumulative sum tells the two apart: it rises in the one case, and returns to 0 in the other.
_STEP_BACK, _HABIT = 0.09, 8.0
# detectors that one change of a host sets off together: calls that repeat, answers that are kept
_CHANGED_TOGETHER = {"results": "tool-call", "duplicate": "created"}
_LIMIT, _NEWS, _SHOWN = 20_000, 1_000, 200


class Standing(Struct, frozen=True, omit_defaults=True):
    """
    The standing of one rule at one host at one moment.

    *run* and *row*: the answers in a row that kept it, and broke it. *needs*: the run after which a broken rule counts
    again. The last break found *last* at the time *began*, after a run of *before*. *doubted*: the same detector
    suspected another answer of the host recently, by any of its rules.
    """

    kept: int = 0
    broken: int = 0
    run: int = 0
    row: float = 0.0
    before: int = 0
    began: float = 0.0
    last: str = ""
    needs: int = 0
    demoted: bool = False
    doubted: bool = False

    def stands(self, answers: int) -> bool:
        """Whether the host has kept it in at least *answers* answers in a row, or *needs* once it was broken."""
        return not self.in_doubt and self.run >= max(answers, self.needs)

    def suspects(self, answers: int) -> bool:
        """
        Whether a break counts without another explanation: the rule stands and is not in doubt.

        A new version of a server breaks several rules at once: the first is reported, the others are learned.
        """
        return self.stands(answers) and not self.doubted

    def mirrors(self, answers: int, found: str, sent_at: float) -> bool:
        """
        Whether the last break mirrors *found* (`b → a`) in the answer to a request of *sent_at*.

        Two answers that switch into each other both break the rule; the first break must not excuse the second.
        """
        here, there = found.split(" → "), self.last.split(" → ")
        return self.began > sent_at and self.before >= answers and len(here) == 2 and _bare(here) == _bare(there[::-1])

    @property
    def seldom(self) -> bool:
        """Whether the host seldom breaks it: for findings that a concurrent exchange explains."""
        return not self.in_doubt and self.kept >= PROVEN and self.kept > SELDOM * self.broken

    @property
    def rare(self) -> bool:
        """Whether breaks are rarer than one odd worker's: for findings that a concurrent exchange may explain."""
        return not self.in_doubt and self.kept >= PROVED and self.kept > 2 * KNOWN * self.broken

    @property
    def in_doubt(self) -> bool:
        """Whether the rule may not hold at the host: the next break in a row makes a habit, or has made it."""
        return self.demoted or self.row >= IN_A_ROW - 1

    @property
    def void(self) -> bool:
        """Whether the host breaks it as a matter of course."""
        return self.demoted or (self.broken >= _BROKEN and self.kept <= SELDOM * self.broken)


@dataclass(frozen=True, slots=True)
class Demotion:
    """
    A rule that does not count at a host from the time *since*; *over*: it counts again.

    *row*: the answers in a row that had broken a rule which is not demoted.
    """

    host: str
    rule: str
    since: float
    over: bool = False
    row: int = 0

    @property
    def detector(self) -> str:
        """The rule's detector."""
        return detector_of(self.rule)


def detector_of(rule: str) -> str:
    """Return the name of the detector that has *rule*."""
    return rule.partition(" ")[0]


def _scope(detector: str) -> str:
    return _CHANGED_TOGETHER.get(detector, detector)


@dataclass(slots=True)
class _Habit:
    kept: int = 0
    broken: int = 0
    run: int = 0
    row: float = 0.0
    before: int = 0
    began: float = 0.0
    last: str = ""
    needs: int = 0
    demoted: bool = False
    since: float = 0.0  # the last demotion or its end
    score: float = 0.0
    accused: bool = False  # it stood when it was broken, so it may have raised an alarm


class HostHabits:
    """The counts of each (host, rule), bounded: the least recently used are evicted."""

    def __init__(self) -> None:
        self._habits: BoundedMap[tuple[str, str], _Habit] = BoundedMap(_LIMIT)
        self._news: deque[Demotion] = deque(maxlen=_NEWS)
        self._doubts: BoundedMap[str, dict[str, tuple[str, int]]] = BoundedMap(_LIMIT)
        self._changed: ChangeLog[tuple[str, str]] = ChangeLog()

    def standing(self, host: str, rule: str, answer: str = "") -> Standing:
        """Return the standing of *rule* at *host* now, for *answer*."""
        habit = self._habits.get((host, rule))
        doubts = self._doubts.get(host)
        doubted = doubts is not None and doubts.get(_scope(detector_of(rule)), (answer,))[0] != answer
        if habit is None:
            return _DOUBTED if doubted else _UNKNOWN
        # members one by one, for speed: every answer calls this
        return Standing(
            habit.kept, habit.broken, habit.run, habit.row, habit.before, habit.began, habit.last, habit.needs,
            habit.demoted, doubted,
        )  # fmt: skip

    def suspected(self, host: str, detector: str, answer: str) -> None:
        """Note that *detector* suspected *answer* of *host*; its rules there are in doubt for a while."""
        self._doubts[host] = {**self._doubts.get(host, {}), _scope(detector): (answer, AGAIN)}

    def answered(self, host: str) -> None:
        """Note a complete answer of *host*."""
        if (doubts := self._doubts.pop(host, None)) is not None:
            left = {scope: (answer, left - 1) for scope, (answer, left) in doubts.items() if left > 1}
            if left:
                self._doubts[host] = left

    def kept(self, host: str, rule: str, now: float) -> None:
        """Note that an answer of *host* kept *rule*."""
        habit = self._habit(host, rule)
        if habit.row:
            self._in_a_row(host, rule, habit, 0.0, now)
        habit.kept += 1
        habit.run += 1
        habit.score = max(0.0, habit.score - _STEP_BACK)
        # one id of ours in a header shows that the host gives ids back there
        if habit.demoted and habit.run >= (1 if detector_of(rule) == CONTRACT else max(FORGOTTEN, habit.needs)):
            self._change(host, rule, habit, now, demoted=False)

    def broke(self, host: str, rule: str, now: float, *, found: str = "", explained: bool = False) -> None:
        """
        Note that an answer of *host* broke *rule*; *found* is the evidence.

        *explained*: another exchange waits for such an answer, so the break says less about the host and counts half.
        """
        weight = 0.5 if explained else 1.0
        habit = self._habit(host, rule)
        habit.accused = habit.accused or habit.run >= KNOWN or detector_of(rule) == CONTRACT
        habit.before, habit.began, habit.last = habit.run, now, found[:_SHOWN]
        longer = 0 if rule in _DELIVERY or detector_of(rule) in _DELIVERY else LONGER * habit.run
        habit.needs = min(max(habit.needs, AGAIN, longer), MOST)
        habit.broken += 1
        self._in_a_row(host, rule, habit, habit.row + weight, now)
        habit.score += weight
        habit.run = 0
        if habit.accused and not habit.demoted and self._is_habit(rule, habit):
            self._change(host, rule, habit, now, demoted=True)

    def shown(self) -> dict[str, dict[str, Standing]]:
        """Return host → rule → standing, for display."""
        found: dict[str, dict[str, Standing]] = {}
        for host, rule in self._habits:
            found.setdefault(host, {})[rule] = self.standing(host, rule)
        return found

    def reset(self, host: str, detector: str, now: float) -> int:
        """Forget the rules of *host*, or those of *detector* there; return their number."""
        found = [key for key in self._habits if key[0] == host and detector in ("", detector_of(key[1]))]
        self._doubts.pop(host, None)
        for key in found:
            self._end(key, now)
        return len(found)

    def unlearn(self, rule: str) -> None:
        """Forget *rule* at all hosts where it is not demoted."""
        for key in [key for key, habit in self._habits.items() if key[1] == rule and not habit.demoted]:
            del self._habits[key]

    def news(self) -> list[Demotion]:
        """Return the demotions and their ends since the last call, each once, for the log."""
        found = list(self._news)
        self._news.clear()
        return found

    @property
    def has_news(self) -> bool:
        """Whether `news` has any."""
        return bool(self._news)

    # -- shared state ----------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Keep track of demotions from now on, for `changes`."""
        self._changed.watch()

    def changes(self) -> list[Demotion]:
        """Return the changes since the last call."""
        return [self._told(key) for key in self._changed.take() if key in self._habits]

    def all(self) -> Iterator[Demotion]:
        """Yield all demotions, ended ones too."""
        return (self._told(key) for key, habit in list(self._habits.items()) if habit.since)

    def adopt(self, told: Demotion) -> None:
        """Merge a demotion of another instance, or of an earlier process, if it is newer than ours."""
        habit = self._habit(told.host, told.rule)
        if habit.since >= told.since:
            return
        if told.over and habit.demoted:
            self._habits[told.host, told.rule] = _Habit(since=told.since)
        elif told.over:
            habit.since, habit.row = told.since, float(told.row)
        else:
            habit.demoted, habit.since, habit.run = True, told.since, 0

    def _told(self, key: tuple[str, str]) -> Demotion:
        habit = self._habits[key]
        return Demotion(*key, habit.since, over=not habit.demoted, row=0 if habit.demoted else int(habit.row))

    def _end(self, key: tuple[str, str], now: float) -> None:
        was = self._habits[key]
        self._habits[key] = _Habit(since=max(now, was.since))
        if was.demoted:
            self._changed.note(key)

    def _in_a_row(self, host: str, rule: str, habit: _Habit, row: float, now: float) -> None:
        """Set the row. That of an id in a header outlives a restart, since three in a row are few."""
        habit.row = row
        if detector_of(rule) == CONTRACT and not habit.demoted and row < IN_A_ROW:
            habit.since = max(now, habit.since)
            self._changed.note((host, rule))

    def _change(self, host: str, rule: str, habit: _Habit, now: float, *, demoted: bool) -> None:
        habit.demoted, habit.since, habit.run, habit.score = demoted, max(now, habit.since), 0, 0.0
        self._news.append(Demotion(host, rule, habit.since, over=not demoted))
        self._changed.note((host, rule))

    @staticmethod
    def _is_habit(rule: str, habit: _Habit) -> bool:
        # a single foreign id in a header may be crosstalk, so only an unbroken row makes a habit
        return habit.row >= IN_A_ROW or (detector_of(rule) != CONTRACT and habit.score >= _HABIT)

    def _habit(self, host: str, rule: str) -> _Habit:
        key = host, rule
        habit = self._habits.use(key)
        if habit is None:
            habit = self._habits[key] = _Habit()
        return habit


_UNKNOWN, _DOUBTED = Standing(), Standing(doubted=True)


def _bare(parts: list[str]) -> list[str]:
    return [part.removesuffix(" tokens") for part in parts]
