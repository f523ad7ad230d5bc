"""
The habits of each host: how often its answers kept and broke each rule.

A detector reports a strong finding only where its rule stands: the host kept it in enough answers in a row. A rule that
a host breaks habitually is demoted there, until a long run of answers keeps it or a user resets it.

A rule's name is that of its detector, with a space and a case behind it where there are several: `shape embedding`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from ..bounded import BoundedMap, ChangeLog
from ..frozen import dataclass

# A rule stands at a host after a run: so many answers in a row that kept it. A round is one answer of each of eight
# workers, of which one may be odd.
RUN_EXPLAINED = 3  # where a concurrent exchange explains the break
RUN_STRONG = 8  # for a strong finding: one round
RUN_PROOF = 12  # for a proof by a fault that no host is known to make habitually
RUN_UNIQUE_VALUE = 16  # for a strong finding by a value that comes a second time: two rounds
RUN_UNIQUE_ID = 24  # for a proof by an id that comes a second time: three rounds
RUN_FORM_PROOF = 64  # for a proof by form alone
RUN_AFTER_BREAK = 40  # for any finding once the rule was broken, at least: an odd worker of eight shows by then
GROWTH_AFTER_BREAK = 2  # the run after a break is so many times the run before it: a recurring change is accused once
RUN_AFTER_BREAK_MAX = 512
RUN_REINSTATED = 64  # ends a demotion, at least
BREAKS_FOR_HABIT = 3  # answers in a row that break a rule show a habit
KEPT_PER_BREAK = 4  # a rule that is kept at most so many times as often as it is broken is not the host's
CONTRACT = "contract"
BY_OUR_CLOCK = "created clock"  # the answer's time, compared with our clock
_BREAKS_FOR_VOID = 3  # breaks before KEPT_PER_BREAK makes a rule void
# One worker of eight breaks a rule in 12.5 % of the answers; wrong deliveries, at 5 % and less, must never add up to a
# habit. A cumulative sum (CUSUM) separates the two: it rises at the one rate, and returns to 0 at the other.
_SCORE_DECAY, _HABIT_SCORE = 0.09, 8.0
_HABITS_MAX, _NEWS_MAX, _EVIDENCE_MAX = 20_000, 1_000, 200


class Standing(Struct, frozen=True, omit_defaults=True):
    """
    The standing of one rule at one host at one moment.

    *run*: how many answers in a row kept it until now. *row*: how many in a row broke it until now. *needs*: the *run*
    after which a broken rule counts again. Of the last break: *began* is its time, *last* its evidence, *before* the
    run that it ended. *doubted*: the same detector suspected another answer of the host recently, by any rule.
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
        """Whether the run is at least *answers*, and *needs* once the rule was broken."""
        return not self.in_doubt and self.run >= max(answers, self.needs)

    def suspects(self, answers: int) -> bool:
        """
        Whether a break counts that no concurrent exchange explains: the rule stands and is not *doubted*.

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
    def seldom_broken(self) -> bool:
        """Whether the host seldom breaks it: enough for a finding that a concurrent exchange explains."""
        return not self.in_doubt and self.kept >= RUN_EXPLAINED and self.kept > KEPT_PER_BREAK * self.broken

    @property
    def rarely_broken(self) -> bool:
        """Whether breaks are rarer than one odd worker's: enough where a concurrent exchange may explain it."""
        return not self.in_doubt and self.kept >= RUN_FORM_PROOF and self.kept > 2 * RUN_STRONG * self.broken

    @property
    def in_doubt(self) -> bool:
        """Whether the rule is demoted, or the next break in a row demotes it."""
        return self.demoted or self.row >= BREAKS_FOR_HABIT - 1

    @property
    def void(self) -> bool:
        """Whether the host breaks it habitually."""
        return self.demoted or (self.broken >= _BREAKS_FOR_VOID and self.kept <= KEPT_PER_BREAK * self.broken)


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
    accused: bool = False  # a break may raise an alarm: one came while the rule stood, or it is an id of ours


class HostHabits:
    """The counts of each (host, rule), bounded: the least recently used are evicted."""

    def __init__(self) -> None:
        self._habits: BoundedMap[tuple[str, str], _Habit] = BoundedMap(_HABITS_MAX)
        self._news: deque[Demotion] = deque(maxlen=_NEWS_MAX)
        self._doubts: BoundedMap[str, dict[str, tuple[str, int]]] = BoundedMap(_HABITS_MAX)
        self._changed: ChangeLog[tuple[str, str]] = ChangeLog()

    def standing(self, host: str, rule: str, answer: str = "") -> Standing:
        """Return the standing of *rule* at *host* now, for *answer*."""
        habit = self._habits.get((host, rule))
        doubts = self._doubts.get(host)
        doubted = doubts is not None and doubts.get(detector_of(rule), (answer,))[0] != answer
        if habit is None:
            return _DOUBTED if doubted else _UNKNOWN
        # members one by one, for speed: every answer calls this
        return Standing(
            habit.kept, habit.broken, habit.run, habit.row, habit.before, habit.began, habit.last, habit.needs,
            habit.demoted, doubted,
        )  # fmt: skip

    def suspected(self, host: str, detector: str, answer: str) -> None:
        """Note that *detector* suspected *answer* of *host*; its rules there are in doubt for a while."""
        self._doubts[host] = {**self._doubts.get(host, {}), detector: (answer, RUN_AFTER_BREAK)}

    def suspect(self, host: str, detector: str) -> str:
        """Return the answer of *host* that *detector* suspected last, if that was recently; else an empty text."""
        return self._doubts.get(host, {}).get(detector, ("", 0))[0]

    def answered(self, host: str) -> None:
        """Note a complete answer of *host*."""
        if (doubts := self._doubts.pop(host, None)) is not None:
            left = {name: (answer, left - 1) for name, (answer, left) in doubts.items() if left > 1}
            if left:
                self._doubts[host] = left

    def kept(self, host: str, rule: str, now: float) -> None:
        """Note that an answer of *host* kept *rule*."""
        habit = self._habit(host, rule)
        if habit.row:
            self._in_a_row(host, rule, habit, 0.0, now)
        habit.kept += 1
        habit.run += 1
        habit.score = max(0.0, habit.score - _SCORE_DECAY)
        # one id of ours in a header shows that the host gives ids back there
        if habit.demoted and habit.run >= (1 if detector_of(rule) == CONTRACT else max(RUN_REINSTATED, habit.needs)):
            self._change(host, rule, habit, now, demoted=False)

    def broke(
        self, host: str, rule: str, now: float, *, found: str = "", explained: bool = False, misdelivery: bool = False
    ) -> None:
        """
        Note that an answer of *host* broke *rule*; *found* is the evidence.

        *explained*: another exchange waits for such an answer, so the break says less about the host and counts half.
        *misdelivery*: misdelivered or mixed answers break the rule, at any interval: no GROWTH_AFTER_BREAK.
        """
        weight = 0.5 if explained else 1.0
        habit = self._habit(host, rule)
        habit.accused = habit.accused or habit.run >= RUN_STRONG
        habit.before, habit.began, habit.last = habit.run, now, found[:_EVIDENCE_MAX]
        longer = 0 if misdelivery else GROWTH_AFTER_BREAK * habit.run
        habit.needs = min(max(habit.needs, RUN_AFTER_BREAK, longer), RUN_AFTER_BREAK_MAX)
        habit.broken += 1
        self._in_a_row(host, rule, habit, habit.row + weight, now)
        habit.score += weight
        habit.run = 0
        if habit.accused and not habit.demoted and self._is_habit(rule, habit):
            self._change(host, rule, habit, now, demoted=True)

    def unexplained(self, host: str, rule: str, now: float) -> None:
        """Note that nothing explains a break of *rule* that was said to be explained: it counts in full."""
        habit = self._habit(host, rule)
        habit.score += 0.5
        habit.accused = True
        if not habit.demoted and self._is_habit(rule, habit):
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
            self._habits[told.host, told.rule] = _begun(told.rule, told.since)
        elif told.over:
            habit.since, habit.row = told.since, float(told.row)
        else:
            habit.demoted, habit.since, habit.run = True, told.since, 0

    def _told(self, key: tuple[str, str]) -> Demotion:
        habit = self._habits[key]
        return Demotion(*key, habit.since, over=not habit.demoted, row=0 if habit.demoted else int(habit.row))

    def _end(self, key: tuple[str, str], now: float) -> None:
        was = self._habits[key]
        self._habits[key] = _begun(key[1], max(now, was.since))
        if was.demoted:
            self._changed.note(key)

    def _in_a_row(self, host: str, rule: str, habit: _Habit, row: float, now: float) -> None:
        """Set the row. That of an id in a header outlives a restart, since three in a row are few."""
        habit.row = row
        if row < BREAKS_FOR_HABIT and not habit.demoted and detector_of(rule) == CONTRACT:
            habit.since = max(now, habit.since)
            self._changed.note((host, rule))

    def _change(self, host: str, rule: str, habit: _Habit, now: float, *, demoted: bool) -> None:
        habit.demoted, habit.since, habit.run, habit.score = demoted, max(now, habit.since), 0, 0.0
        self._news.append(Demotion(host, rule, habit.since, over=not demoted))
        self._changed.note((host, rule))

    @staticmethod
    def _is_habit(rule: str, habit: _Habit) -> bool:
        # a single foreign id in a header may be crosstalk, so only an unbroken row makes a habit
        return habit.row >= BREAKS_FOR_HABIT or (detector_of(rule) != CONTRACT and habit.score >= _HABIT_SCORE)

    def _habit(self, host: str, rule: str) -> _Habit:
        key = host, rule
        habit = self._habits.use(key)
        if habit is None:
            habit = self._habits[key] = _begun(rule)
        return habit


def _begun(rule: str, since: float = 0.0) -> _Habit:
    return _Habit(since=since, accused=detector_of(rule) == CONTRACT)


_UNKNOWN, _DOUBTED = Standing(), Standing(doubted=True)


def _bare(parts: list[str]) -> list[str]:
    return [part.removesuffix(" tokens") for part in parts]
