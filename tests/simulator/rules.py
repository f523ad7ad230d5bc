"""Which request a fault hits: rules, counted and seeded, so that the same traffic has the same victims."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .faults import FAULTS, Fault
from .play import Play
from .truth import Record

_FIRST = frozenset({"echo"})  # decides how the answer is composed, so it goes before what changes the answer


@dataclass(slots=True, kw_only=True)
class Rule:
    """
    One fault and the requests it hits. What is left empty does not narrow.

    *path* is a pattern with `*`. *nth* counts the requests that match everything else, from 1; with *every*
    each third (fourth …) of them is hit; *times* is how often the rule may strike at all; *probability* is decided by
    the seed and that count alone.
    """

    fault: str | Fault
    settings: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""
    credential: str = ""
    path: str = ""
    method: str = ""
    dialect: str = ""
    model: str = ""
    mark: str = ""
    streaming: bool | None = None
    nth: int | Collection[int] | None = None
    every: int | None = None
    times: int | None = None
    probability: float = 1.0
    when: Callable[[Record], bool] | None = None
    seed: str = ""
    matched: int = 0
    struck: int = 0

    @property
    def name(self) -> str:
        """Return the fault's name."""
        return self.fault if isinstance(self.fault, str) else self.fault.__name__

    def strikes(self, record: Record) -> bool:
        """Count *record* if it matches, and say whether the fault hits it."""
        if not self._matches(record):
            return False
        self.matched += 1
        if not self._chosen() or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    async def apply(self, play: Play) -> None:
        """Let the fault happen to *play*."""
        fault = FAULTS[self.fault] if isinstance(self.fault, str) else self.fault
        play.note(self.name)
        await fault(play, **self.settings)

    def _matches(self, record: Record) -> bool:
        wanted = (
            (self.account, record.account),
            (self.credential, record.credential),
            (self.method, record.method),
            (self.dialect, record.dialect),
            (self.model, record.model),
            (self.mark, record.mark),
        )
        if any(want and want != got for want, got in wanted):
            return False
        if self.path and not fnmatch.fnmatchcase(record.path, self.path):
            return False
        if self.streaming is not None and self.streaming != record.streaming:
            return False
        return self.when is None or self.when(record)

    def _chosen(self) -> bool:
        if self.nth is not None:
            return self.matched in ((self.nth,) if isinstance(self.nth, int) else self.nth)
        if self.every is not None:
            return self.matched % self.every == 0
        return self.probability >= 1.0 or random.Random(f"{self.seed}:{self.matched}").random() < self.probability


class Rules:
    """The rules in force, in the order in which they were made."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made = 0
        self.rules: list[Rule] = []

    def add(self, fault: str | Fault, settings: Mapping[str, Any] | None = None, **where: Any) -> Rule:
        """
        Make a rule: *fault* with its *settings* for the requests that *where* names (fields of `Rule`).

        Raises ValueError for a fault of no known name and TypeError for a word that is no field of a rule.
        """
        if isinstance(fault, str) and fault not in FAULTS:
            raise ValueError(f"fault: {fault!r} is none of {', '.join(sorted(FAULTS))}")
        self._made += 1
        rule = Rule(fault=fault, settings=settings or {}, seed=f"{self._seed}:{self._made}", **where)
        self.rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Take *rule* out of force, if it still is."""
        self.rules = [other for other in self.rules if other is not rule]

    def clear(self) -> None:
        """Take every rule out of force."""
        self.rules = []

    def striking(self, record: Record) -> list[Rule]:
        """Return the rules that hit *record*, in the order they are to be applied."""
        hit = [rule for rule in self.rules if rule.strikes(record)]
        return sorted(hit, key=lambda rule: rule.name not in _FIRST)
