"""
The state that outlives the process, as records: bindings, cooldowns, owners of tokens, aliases of ids, demoted rules,
and, for the other instances of a shared store, what was asked and what was found about an answer.

A store takes the changes and returns those of other instances and earlier processes. Records merge to the same state in
any order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import msgspec

from .accounts.bindings import Binding, Bindings, Key
from .accounts.cooldown import LONGEST, Blocked, CooldownKind, SharedCooldown
from .accounts.health import Health
from .crosstalk.host_habits import BREAKS_FOR_HABIT, Demotion
from .crosstalk.judgement import LateReport
from .crosstalk.recent import RecentExchanges
from .crosstalk.sent_prefixes import Answered, Prefix
from .frozen import dataclass
from .identity.aliases import Alias, Aliases
from .identity.lineage import LINEAGES, demoted
from .ledger import Entry, Ledger, LedgerRow
from .values.decision import Finding
from .values.record import Record

_OVER = '["ok",null]'  # the value of a rest that has ended before its time
SWITCHED, OFF = "switched", "off"  # a record's kind, and its value while a user has disabled an account
_SWITCHED_TTL = 10 * 365 * 86_400.0  # seconds; a user ends it
WOKEN = "woken"  # a record's kind: a user said that an account is well
_WOKEN_TTL = 600.0  # seconds in which another instance, or a new one, hears of it
HABIT, DEMOTED = "habit", "demoted"  # a record's kind, and its value while the demotion lasts
_ROWS = tuple(map(str, range(1, BREAKS_FOR_HABIT)))  # … and while answers in a row break a rule, how many
_HABIT_TTL = 90 * 86_400.0  # seconds; a host that is asked so seldom is learned anew
REQUEST = "request"  # the ledger's kind of the ids that went up, by which another instance names a victim
_REQUEST = tuple[str, str, str, str, str, str]  # the value of such a record: see `_of_request`
_LEAK_TTL = 3600.0  # seconds
ANSWERED, LATE = "answered", "late"  # kinds of records of a shared store
_ANSWERED_TTL = 3600.0  # seconds; the prompt cache, which makes providers compare, lasts no longer
# Kinds of the ledger that say who can serve what, and whose it is.
OWNERS = (*LINEAGES, *map(demoted, LINEAGES), "held")


@dataclass(frozen=True, slots=True)
class Leak:
    """
    The answer to the exchange *victim* came to the request *receiver* of another instance.

    *disputed*: both received the same answer, and its owner is unknown.
    """

    victim: str
    receiver: str
    disputed: bool = False
    session: str = ""  # the receiver's, as users see it


class _LeakValue(msgspec.Struct, array_like=True):
    """The value of a leak's record; earlier releases wrote none of the last members."""

    receiver: str
    disputed: bool
    session: str = ""


class _AnsweredValue(msgspec.Struct, array_like=True):
    """
    The value of a record about an answered request; *beside*: exchange, request id and session of each.

    *took*: milliseconds from its sending until its answer had come. A time would be by the clock of this instance.
    """

    exchange: str
    request_id: str
    account: str
    affinity: str
    thread: str
    took: int
    digest: bytes
    words: bytes
    prefix: Prefix
    beside: list[tuple[str, str, str]]
    seals: list[bytes]


class State:
    """
    The records of one router.

    `leaked` is called with a leak that another instance reports, `amended` with the exchange that showed there that a
    verdict of ours must change.
    """

    def __init__(
        self, bindings: Bindings, health: Health, ledger: Ledger, aliases: Aliases,
        memory: RecentExchanges | None = None,
    ) -> None:  # fmt: skip
        self._bindings = bindings
        self._health = health
        self._ledger = ledger
        self._aliases = aliases
        self._memory = memory or RecentExchanges()
        self._habits = self._memory.habits
        self._rests: dict[str, Record] = {}  # as they were last told
        self._leaks: list[Record] = []
        self.leaked: Callable[[Leak], None] = lambda _: None
        self.amended: Callable[[str], None] = lambda _: None
        self._woken: list[Record] = []
        self.woken: Callable[[str], None] = health.wake  # called when a user says that an account is well
        self._switched: dict[str, Record] = {}  # by account, as last told
        self._switched_here: list[Record] = []
        self.switched: Callable[[], None] = lambda: None  # called when `disabled` has changed

    def watch(self, *, shared: bool = False) -> None:
        """Log changes from now on; with *shared*, also those that only other instances use."""
        self._bindings.watch()
        self._ledger.watch((*OWNERS, REQUEST) if shared else OWNERS)
        self._aliases.watch()
        self._habits.watch()
        if shared:
            self._memory.sent.watch()
            self._memory.late.watch()

    def leak(self, leak: Leak, now: float) -> None:
        """Report to the other instances that an answer to an exchange of theirs came to one of ours."""
        self._leaks.append(
            Record("leak", leak.victim, _text((leak.receiver, leak.disputed, leak.session)), now, now + _LEAK_TTL)
        )

    def changes(self, now: float) -> list[Record]:
        """Return the changes since the last call; none before `watch`."""
        found = [_of_binding(told) for told in self._bindings.changes(now)]
        found += [_of_entry(told) for told in self._ledger.changes()]
        found += [_of_alias(*told) for told in self._aliases.changes()]
        found += [of_demotion(told) for told in self._habits.changes()]
        found += [_of_answered(*told) for told in self._memory.sent.changes()]
        found += [_of_late(told) for told in self._memory.late.reports()]
        leaks, self._leaks = self._leaks, []
        woken, self._woken = self._woken, []
        switched, self._switched_here = self._switched_here, []
        return found + leaks + woken + switched + self._changed_rests(now)

    def wake(self, account: str, now: float) -> None:
        """End all cooldowns of *account*, here and at the other instances."""
        self.woken(account)
        self._woken.append(of_woken(account, now))

    def pause(self, account: str, until: float, now: float) -> None:
        """Let no instance use *account* until that time, on behalf of a user."""
        self._health.pause(account, until, now)
        self._woken.append(replace(of_woken(account, now), value=""))  # an earlier one would end it at a restart

    def disabled(self) -> frozenset[str]:
        """Return the accounts that a user has disabled by a command, here or at another instance."""
        return frozenset(name for name, told in self._switched.items() if told.value == OFF)

    def switch(self, account: str, now: float, *, on: bool) -> None:
        """Enable or disable *account* on behalf of a user, here and at the other instances, until it is changed."""
        known = self._switched.get(account)
        if on == (known is None or known.value != OFF):
            return
        told = of_switch(account, known, now, on=on)
        self._switched_here.append(told)
        self._switched[account] = told
        self.switched()

    def everything(self, now: float) -> Iterator[Record]:
        """Yield all records, for a store that may have lost them; those that expire meanwhile may be missing."""
        yield from self._present_rests(now).values()
        yield from map(_of_binding, self._bindings.all(now))
        yield from map(_of_entry, self._ledger.all())
        yield from (_of_alias(*told) for told in self._aliases.all())
        yield from map(of_demotion, self._habits.all())
        yield from self._switched.values()

    def adopt(self, records: Iterable[Record], now: float) -> int:
        """Merge the *records* of a store; return how many could not be read."""
        unread = 0
        for record in records:
            try:
                self._adopt(record, now)
            except (msgspec.MsgspecError, ValueError, TypeError):  # written by another version, or broken
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
            case "woken":
                if record.value:
                    self.woken(record.key)
            case "switched":
                self._adopt_switch(record)
            case "owner":
                self._ledger.adopt(_to_owner(record), now)
            case "request":
                row = _to_request(record)
                self._ledger.adopt(row, now)
                self._memory.elsewhere.asked(row.entry)
            case "answered":
                host, answer, told = _to_answered(record)
                self._memory.sent.adopt(host, answer, told)
                self._memory.elsewhere.answered(told.entry, told.at, ours=False)
            case "late":
                report = _to_late(record)
                if self._memory.late.adopt(report):
                    self.amended(report.by)
            case "leak":
                self.leaked(_to_leak(record))
            case "alias":
                self._aliases.adopt(record.key, record.expires, _to_alias(record), now)
            case "habit":
                self._habits.adopt(to_demotion(record))

    def _adopt_switch(self, told: Record) -> None:
        known = self._switched.get(told.key)
        if known is None or known.order < told.order:
            self._switched[told.key] = told
            self.switched()

    # The longer of two cooldowns wins, so they share a rank. One that ended early (new secret, success) is recorded as
    # over, under a new rank, and later ones have the next rank. So have those after a record of a clock far ahead of
    # ours, which would win otherwise.

    def _changed_rests(self, now: float) -> list[Record]:
        present = self._present_rests(now)
        gone = {key: told for key, told in self._rests.items() if key not in present and told.expires > now}
        over = {key: replace(told, value=_OVER, rank=now) for key, told in gone.items() if told.value != _OVER}
        changed = [told for key, told in present.items() if self._rests.get(key) != told]
        self._rests = gone | over | present
        return [*changed, *over.values()]

    def _present_rests(self, now: float) -> dict[str, Record]:
        found = (_of_rest(rest) for rest in self._health.cooldowns(now))
        return {told.key: replace(told, rank=self._rank(told.key, now)) for told in found}

    def _rank(self, key: str, now: float) -> float:
        known = self._rests.get(key)
        if known is None:
            return 0.0
        if known.value == _OVER or known.expires > now + LONGEST:
            return math.nextafter(known.rank, math.inf)
        return known.rank


def _text(parts: object) -> str:
    try:
        return msgspec.json.encode(parts).decode()
    except UnicodeEncodeError:  # half a surrogate in a name that others gave: it must not cost the other records
        return json.dumps(msgspec.to_builtins(parts), ensure_ascii=False).encode("utf-8", "replace").decode()


def _of_binding(told: Binding) -> Record:
    key = _text((told.key.pool, told.key.scope.hex(), told.key.affinity, told.key.model))
    return Record("binding", key, told.home, told.since, told.expires)


def _to_binding(record: Record) -> Binding:
    pool, scope, affinity, model = msgspec.json.decode(record.key, type=tuple[str, str, str, str])
    return Binding(Key(pool, bytes.fromhex(scope), affinity, model), record.value, record.rank, record.expires)


def _of_rest(told: SharedCooldown) -> Record:
    key = _text((told.account, told.lane, told.state))
    return Record("rest", key, _text((told.kind, told.verify_at, told.at)), 0.0, told.until)  # in JSON, inf is null


def of_woken(account: str, now: float) -> Record:
    """Return the record that wakes *account* at the other instances."""
    return Record(WOKEN, account, "well", now, now + _WOKEN_TTL)


def of_switch(account: str, known: Record | None, now: float, *, on: bool) -> Record:
    """Return the record that enables or disables *account* at every instance; *known* is the latest one about it."""
    rank = now if known is None else max(now, math.nextafter(known.rank, math.inf))
    return Record(SWITCHED, account, "" if on else OFF, rank, rank + _SWITCHED_TTL)


def of_pause(account: str, until: float, records: Iterable[Record], now: float) -> list[Record]:
    """Return the records that pause *account* at every instance until that time; *records* are those of the store."""
    told = _of_rest(SharedCooldown(account, None, "paused", "paused", until, math.inf, now))
    ranks = [record.rank for record in records if (record.kind, record.key) == (told.kind, told.key)]
    rank = math.nextafter(max(ranks), math.inf) if ranks else 0.0
    return [replace(told, rank=rank), replace(of_woken(account, now), value="")]


def ended(record: Record, account: str, now: float) -> Record | None:
    """Return the record that ends *record*, if it is a cooldown of *account*. Raises msgspec's errors."""
    if record.kind != "rest" or record.value == _OVER or _to_rest(record).account != account:
        return None
    return replace(record, value=_OVER, rank=max(now, math.nextafter(record.rank, math.inf)))


def _to_rest(record: Record) -> SharedCooldown:
    account, lane, state = msgspec.json.decode(record.key, type=tuple[str, str | None, Blocked])
    value = record.value if record.value != _OVER else '["ok",null,0]'
    kind, verify_at, at = msgspec.json.decode(value, type=tuple[CooldownKind, float | None, float])
    return SharedCooldown(account, lane, state, kind, record.expires, math.inf if verify_at is None else verify_at, at)


def _of_entry(told: LedgerRow) -> Record:
    return _of_request(told) if told.kind == REQUEST else _of_owner(told)


def _of_request(told: LedgerRow) -> Record:
    entry = told.entry
    value = _text((
        entry.exchange, entry.request_id, entry.account, entry.affinity, entry.digest.hex(), entry.words.hex()
    ))  # fmt: skip
    return Record("request", told.token, value, entry.at, told.expires)


def _to_request(record: Record) -> LedgerRow:
    exchange, request_id, account, affinity, digest, words = msgspec.json.decode(record.value, type=_REQUEST)
    body, said = bytes.fromhex(digest), bytes.fromhex(words)
    entry = Entry(exchange, request_id, account, affinity, digest=body, at=record.rank, words=said)
    return LedgerRow(REQUEST, record.key, record.expires, entry)


def _to_leak(record: Record) -> Leak:
    value = msgspec.json.decode(record.value, type=_LeakValue)
    return Leak(record.key, value.receiver, value.disputed, value.session)


def _of_answered(host: str, answer: str, told: Answered) -> Record:
    entry, beside = told.entry, [(each.exchange, each.request_id, each.affinity) for each in told.beside]
    value = _AnsweredValue(
        entry.exchange, entry.request_id, entry.account, entry.affinity, entry.thread,
        int((told.at - entry.at) * 1000), entry.digest, entry.words, told.prefix, beside, list(told.seals),
    )  # fmt: skip
    return Record(ANSWERED, _text((host, answer)), _text(value), told.at, told.at + _ANSWERED_TTL)


def _to_answered(record: Record) -> tuple[str, str, Answered]:
    host, answer = msgspec.json.decode(record.key, type=tuple[str, str])
    value = msgspec.json.decode(record.value, type=_AnsweredValue)
    entry = Entry(
        value.exchange, value.request_id, value.account, value.affinity, value.thread, value.digest,
        record.rank - value.took / 1000, words=value.words,
    )  # fmt: skip
    beside = tuple(Entry(exchange, request_id, affinity=told) for exchange, request_id, told in value.beside)
    return host, answer, Answered(entry, value.prefix, record.rank, beside, tuple(value.seals), ours=False)


def _of_late(told: LateReport) -> Record:
    key = _text((told.exchange, told.by, told.finding.detector if told.finding else ""))
    return Record(LATE, key, _text((told.finding, told.withdrawn)), told.at, told.at + _LEAK_TTL)


def _to_late(record: Record) -> LateReport:
    exchange, by, _ = msgspec.json.decode(record.key, type=tuple[str, str, str])
    finding, withdrawn = msgspec.json.decode(record.value, type=tuple[Finding | None, bool])
    return LateReport(exchange, by, finding, record.rank, withdrawn)


def _of_owner(told: LedgerRow) -> Record:
    entry = told.entry
    value = _text((entry.account, entry.affinity, entry.thread))
    return Record("owner", _text((told.kind, told.token)), value, entry.at, told.expires)


def _to_owner(record: Record) -> LedgerRow:
    kind, token = msgspec.json.decode(record.key, type=tuple[str, str])
    account, affinity, thread = msgspec.json.decode(record.value, type=tuple[str, str, str])
    if kind not in OWNERS:
        raise ValueError("no kind that is kept")
    entry = Entry("", account=account, affinity=affinity, thread=thread, at=record.rank)
    return LedgerRow(kind, token, record.expires, entry)


def _of_alias(seed: str, expires: float, alias: Alias) -> Record:
    return Record("alias", seed, _text((alias.affinity, alias.claimed)), 0.0, expires)


def _to_alias(record: Record) -> Alias:
    affinity, claimed = msgspec.json.decode(record.value, type=tuple[str, str])
    return Alias(affinity, claimed)


def of_demotion(told: Demotion) -> Record:
    """Return the record of *told*."""
    value = (str(told.row) if told.row else "") if told.over else DEMOTED
    return Record(HABIT, _text((told.host, told.rule)), value, told.since, told.since + _HABIT_TTL)


def to_demotion(record: Record) -> Demotion:
    """Return the demotion of *record*. Raises ValueError and msgspec's errors."""
    host, rule = msgspec.json.decode(record.key, type=tuple[str, str])
    row = record.value if record.value != DEMOTED else ""
    if row not in ("", *_ROWS):
        raise ValueError("no value of a habit")
    return Demotion(host, rule, record.rank, over=record.value != DEMOTED, row=int(row or 0))
