"""
What of our memory is worth keeping beyond this process, as records: homes, rests, owners of tokens, aliases of ids,
and rules that were demoted at a host.

Memory is what counts; a store is told what changed and tells what others, or an earlier process, knew. Each record is
merged by a rule that gives the same whichever comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec

from .accounts.bindings import Binding, Bindings, Key
from .accounts.health import Blocked, Health, Rest
from .crosstalk.host_habits import IN_A_ROW, Demotion, HostHabits
from .identity.aliases import Alias, Aliases
from .identity.lineage import KINDS as LINEAGES, demoted
from .ledger import Entry, Ledger, Told
from .values import OutcomeKind, Record

_OVER = '["ok",null]'  # the value of a rest that has ended before its time
HABIT, DEMOTED = "habit", "demoted"  # a record's kind, and its value while the demotion lasts
_ROWS = tuple(map(str, range(1, IN_A_ROW)))  # … and while answers in a row break a rule, how many
_HABIT_TTL = 90 * 86_400.0  # seconds; a host that is asked so seldom is learned anew
# Kinds of the ledger that say who can serve what, and whose it is.
OWNERS = (*LINEAGES, *map(demoted, LINEAGES), "held")


class State:
    """The records of one router."""

    def __init__(
        self, bindings: Bindings, health: Health, ledger: Ledger, aliases: Aliases, habits: HostHabits | None = None
    ) -> None:
        self._bindings = bindings
        self._health = health
        self._ledger = ledger
        self._aliases = aliases
        self._habits = habits or HostHabits()
        self._rests: dict[str, Record] = {}  # as they were last told

    def watch(self) -> None:
        """Keep track of changes from now on."""
        self._bindings.watch()
        self._ledger.watch(OWNERS)
        self._aliases.watch()
        self._habits.watch()

    def changes(self, now: float) -> list[Record]:
        """Return what changed since the last call; nothing before `watch`."""
        found = [_of_binding(told) for told in self._bindings.changes(now)]
        found += [_of_owner(told) for told in self._ledger.changes()]
        found += [_of_alias(*told) for told in self._aliases.changes()]
        found += [of_demotion(told) for told in self._habits.changes()]
        return found + self._changed_rests(now)

    def everything(self, now: float) -> Iterator[Record]:
        """Yield all there is to keep, for a store that may have lost it. What goes meanwhile may be left out."""
        yield from self._present_rests(now).values()
        yield from map(_of_binding, self._bindings.all(now))
        yield from map(_of_owner, self._ledger.all())
        yield from (_of_alias(*told) for told in self._aliases.all())
        yield from map(of_demotion, self._habits.all())

    def adopt(self, records: Iterable[Record], now: float) -> int:
        """Merge what a store tells into what is known; return how many records could not be read."""
        unread = 0
        for record in records:
            try:
                self._adopt(record, now)
            except (msgspec.MsgspecError, ValueError, TypeError):  # another version wrote it, or nobody sane
                unread += 1
        return unread

    def _adopt(self, record: Record, now: float) -> None:
        match record.kind:
            case "binding":
                self._bindings.adopt(_to_binding(record), now)
            case "rest":
                self._health.adopt(_to_rest(record), now)
                known = self._rests.get(record.key)
                if known is None or known.order < record.order:
                    self._rests[record.key] = record
            case "owner":
                self._ledger.adopt(_to_owner(record), now)
            case "alias":
                self._aliases.adopt(record.key, _to_alias(record), now)
            case "habit":
                self._habits.adopt(to_demotion(record))

    # What counts of a rest is how long it lasts, so it has no rank of its own. One that ended early (another secret, a
    # request that got through) is told as over, under a new rank; the rests after it have the next one.

    def _changed_rests(self, now: float) -> list[Record]:
        present = self._present_rests(now)
        gone = {key: told for key, told in self._rests.items() if key not in present and told.expires > now}
        over = {key: _over(told, now) for key, told in gone.items() if told.value != _OVER}
        changed = [told for key, told in present.items() if self._rests.get(key) != told]
        self._rests = gone | over | present
        return [*changed, *over.values()]

    def _present_rests(self, now: float) -> dict[str, Record]:
        found = (_of_rest(rest) for rest in self._health.rests(now))
        return {told.key: replace(told, rank=self._rank(told.key)) for told in found}

    def _rank(self, key: str) -> float:
        known = self._rests.get(key)
        if known is None:
            return 0.0
        return math.nextafter(known.rank, math.inf) if known.value == _OVER else known.rank


def _text(parts: object) -> str:
    return msgspec.json.encode(parts).decode()


def _of_binding(told: Binding) -> Record:
    key = _text((told.key.pool, told.key.scope.hex(), told.key.affinity, told.key.model))
    return Record("binding", key, told.home, told.since, told.expires)


def _to_binding(record: Record) -> Binding:
    pool, scope, affinity, model = msgspec.json.decode(record.key, type=tuple[str, str, str, str])
    return Binding(Key(pool, bytes.fromhex(scope), affinity, model), record.value, record.rank, record.expires)


def _of_rest(told: Rest) -> Record:
    verify_at = None if math.isinf(told.verify_at) else told.verify_at
    key = _text((told.account, told.lane, told.state))
    return Record("rest", key, _text((told.kind, verify_at)), 0.0, told.until)


def _over(told: Record, now: float) -> Record:
    return replace(told, value=_OVER, rank=now)


def _to_rest(record: Record) -> Rest:
    account, lane, state = msgspec.json.decode(record.key, type=tuple[str, str | None, Blocked])
    kind, verify_at = msgspec.json.decode(record.value, type=tuple[OutcomeKind, float | None])
    return Rest(account, lane, state, kind, record.expires, math.inf if verify_at is None else verify_at)


def _of_owner(told: Told) -> Record:
    entry = told.entry
    value = _text((entry.account, entry.affinity, entry.thread))
    return Record("owner", _text((told.kind, told.token)), value, entry.at, told.expires)


def _to_owner(record: Record) -> Told:
    kind, token = msgspec.json.decode(record.key, type=tuple[str, str])
    account, affinity, thread = msgspec.json.decode(record.value, type=tuple[str, str, str])
    if kind not in OWNERS:
        raise ValueError("no kind that is kept")
    entry = Entry("", account=account, affinity=affinity, thread=thread, at=record.rank)
    return Told(kind, token, record.expires, entry)


def _of_alias(seed: str, alias: Alias) -> Record:
    return Record("alias", seed, _text((alias.affinity, alias.claimed)), 0.0, alias.expires)


def _to_alias(record: Record) -> Alias:
    affinity, claimed = msgspec.json.decode(record.value, type=tuple[str, str])
    return Alias(affinity, claimed, record.expires)


def of_demotion(told: Demotion) -> Record:
    """Return *told* as it is kept."""
    value = (str(told.row) if told.row else "") if told.over else DEMOTED
    return Record(HABIT, _text((told.host, told.rule)), value, told.since, told.since + _HABIT_TTL)


def to_demotion(record: Record) -> Demotion:
    """Return what *record* tells. Raises ValueError and msgspec's errors."""
    host, rule = msgspec.json.decode(record.key, type=tuple[str, str])
    row = record.value if record.value != DEMOTED else ""
    if row not in ("", *_ROWS):
        raise ValueError("no value of a habit")
    return Demotion(host, rule, record.rank, over=record.value != DEMOTED, row=int(row or 0))
