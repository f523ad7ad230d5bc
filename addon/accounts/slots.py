"""
What a request must hold while it runs, and the line of those that wait for it.

One table, keyed by scope, serves every bound: so many at once, so much a minute, one model at a time, a number of its
own out of so many. What is taken under one ticket is given back together, once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """
    One bound that a request comes under: *amount* of the *most* that *scope* has; *why* says so in words for people.

    With a *window* (seconds) it is not given back but passes. With a *tenant*, those of one tenant share the scope and
    the others wait. Where *numbered*, the request gets a number below *most* that nobody else has meanwhile.
    """

    scope: Scope
    most: float
    why: str
    amount: float = 1
    window: float = 0.0
    tenant: str | None = None
    numbered: bool = False


@dataclass(slots=True)
class _Room:
    """What is taken of one scope. *passed* holds, second by second, what of a window's amount is still to pass."""

    used: float = 0
    tenant: str | None = None
    numbers: set[int] = field(default_factory=set)
    passed: deque[list[float]] = field(default_factory=deque)
    holders: int = 0


@dataclass(slots=True)
class _Waiting:
    """Who waits: its place in the line, whom to tell, and for which scopes, as which tenant."""

    place: int
    woken: Callable[[], None]
    scopes: dict[Scope, str | None]


@dataclass(frozen=True, slots=True)
class Held:
    """What one ticket holds; *number* is the one that a numbered claim gave it."""

    claims: tuple[Claim, ...]
    number: int | None = None


class Slots:
    """The table and the line. At most *limit* wait."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self._rooms: dict[Scope, _Room] = {}
        self._held: dict[int, Held] = {}
        self._line: OrderedDict[str, _Waiting] = OrderedDict()
        self._waiters: dict[Scope, dict[str, None]] = {}
        self._places = 0

    # -- taking and giving back ------------------------------------------------------------------------------------

    def obstacle(self, claims: Iterable[Claim], now: float, waiter: str = "") -> Claim | None:
        """Return the first of *claims* that cannot be had now by *waiter*, who passes nobody that came before."""
        return next((claim for claim in claims if not self._fits(claim, now, waiter)), None)

    def free_at(self, claim: Claim, now: float) -> float | None:
        """Return when time alone makes room for *claim*; None: only somebody who gives back does."""
        room = self._rooms.get(claim.scope)
        if room is None or not claim.window:
            return None
        used = self._used(claim, room, now)
        for second, amount in room.passed:
            used -= amount
            if used <= 0 or used + claim.amount <= claim.most:
                return second + 1 + claim.window
        return None

    def take(self, ticket: int, claims: Sequence[Claim], now: float, wanted: int = 0) -> Held:
        """Take *claims* for *ticket*; of numbers the first that is free from *wanted* on, which may be any number."""
        number: int | None = None
        for claim in claims:
            room = self._rooms.setdefault(claim.scope, _Room())
            if claim.window:
                self._spend(claim, room, claim.amount, now)
                continue
            room.used += claim.amount
            room.holders += 1
            room.tenant = claim.tenant
            if claim.numbered:
                number = _free_number(room.numbers, int(claim.most), wanted)
                room.numbers.add(number)
        held = self._held[ticket] = Held(tuple(claims), number)
        return held

    def corrected(self, ticket: int, kind: str, amount: float, now: float) -> None:
        """Note what *ticket* really spent of its window whose scope begins with *kind*; it had been an estimate."""
        held = self._held.get(ticket)
        for claim in held.claims if held else ():
            room = self._rooms.get(claim.scope)
            if claim.window and claim.scope[0] == kind and room is not None:
                self._spend(claim, room, amount - claim.amount, now)

    def release(self, ticket: int) -> bool:
        """Give back all that *ticket* holds and tell who is next in line; say whether it held anything."""
        held = self._held.pop(ticket, None)
        if held is None:
            return False
        for claim in held.claims:
            if not claim.window:
                self._give_back(claim, held.number)
        for claim in held.claims:
            self._call(claim.scope)
        return True

    # -- the line --------------------------------------------------------------------------------------------------

    def wait(self, waiter: str, woken: Callable[[], None], wanted: Iterable[tuple[Scope, str | None]]) -> bool:
        """Put *waiter* in line for the *wanted* scopes; it keeps its place. Return False when the line is full."""
        before = self._line.get(waiter)
        if before is None and len(self._line) >= self.limit:
            return False
        if before is None:
            self._places += 1
        else:
            self._unlist(waiter, before)
        entry = _Waiting(before.place if before else self._places, woken, dict(wanted))
        self._line[waiter] = entry
        for scope in entry.scopes:
            self._waiters.setdefault(scope, {})[waiter] = None
        for scope in before.scopes.keys() - entry.scopes.keys() if before else ():
            self._call(scope)  # what it has not taken may be the next one's
        return True

    def leave(self, waiter: str) -> None:
        """Take *waiter* out of the line, served or not; if it was its turn, it is the next one's."""
        entry = self._line.pop(waiter, None)
        if entry is None:
            return
        self._unlist(waiter, entry)
        for scope in entry.scopes:
            self._call(scope)

    def stir(self, scope: Scope) -> None:
        """Tell everybody who waits for *scope*."""
        for waiter in self._in_order(scope):
            self._line[waiter].woken()

    def shift(self, seconds: float) -> None:
        """Move what passes with time by *seconds*: the clock was set."""
        for room in self._rooms.values():
            for spent in room.passed:
                spent[0] += seconds

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    def waiting_for(self, account: str) -> int:
        """Return how many wait for something of *account*."""
        return len({waiter for scope, waiters in self._waiters.items() if account in scope[1:2] for waiter in waiters})

    def used(self, scope: Scope) -> float:
        """Return how much of *scope* is taken; of a window, what was at the last look."""
        room = self._rooms.get(scope)
        return room.used if room else 0

    # -- within ----------------------------------------------------------------------------------------------------

    def _fits(self, claim: Claim, now: float, waiter: str) -> bool:
        room = self._rooms.get(claim.scope)
        ahead = list(self._ahead(claim.scope, waiter))
        if claim.tenant is not None:
            others = [each for each in ahead if self._line[each].scopes[claim.scope] != claim.tenant]
            return not others and (room is None or not room.holders or room.tenant == claim.tenant)
        used = self._used(claim, room, now) if room else 0
        if claim.window:  # what is larger than the whole bound must be able to pass alone
            return not ahead and (used <= 0 or used + claim.amount <= claim.most)
        return used + len(ahead) + claim.amount <= claim.most

    def _ahead(self, scope: Scope, waiter: str) -> Iterator[str]:
        mine = self._line.get(waiter)
        for other in self._waiters.get(scope, ()):
            if other != waiter and (mine is None or self._line[other].place < mine.place):
                yield other

    def _used(self, claim: Claim, room: _Room, now: float) -> float:
        if not claim.window:
            return room.used
        while room.passed and room.passed[0][0] + 1 + claim.window <= now:
            room.used -= room.passed.popleft()[1]
        if not room.passed:
            room.used = 0
        return room.used

    def _spend(self, claim: Claim, room: _Room, amount: float, now: float) -> None:
        self._used(claim, room, now)
        second = float(int(now))
        if room.passed and room.passed[-1][0] >= second:
            room.passed[-1][1] += amount
        else:
            room.passed.append([second, amount])
        room.used += amount

    def _give_back(self, claim: Claim, number: int | None) -> None:
        room = self._rooms[claim.scope]
        room.used -= claim.amount
        room.holders -= 1
        if claim.numbered and number is not None:
            room.numbers.discard(number)
        if not room.holders:
            del self._rooms[claim.scope]

    def _call(self, scope: Scope) -> None:
        """
        Tell those who may have a turn now: one of each kind that can follow.

        Whom it does not help waits on, and gives its turn to the next when it leaves.
        """
        room = self._rooms.get(scope)
        line = self._in_order(scope)
        if not line:
            return
        tenant = self._line[line[0]].scopes[scope]
        if tenant is None:
            self._line[line[0]].woken()
            return
        if room is not None and room.holders and room.tenant != tenant:
            return
        for waiter in line:  # all of the tenant's until another one's turn would come
            if self._line[waiter].scopes[scope] != tenant:
                return
            self._line[waiter].woken()

    def _in_order(self, scope: Scope) -> list[str]:
        return sorted(self._waiters.get(scope, ()), key=lambda waiter: self._line[waiter].place)

    def _unlist(self, waiter: str, entry: _Waiting) -> None:
        for scope in entry.scopes:
            waiters = self._waiters.get(scope, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiters.pop(scope, None)


def _free_number(taken: set[int], most: int, wanted: int) -> int:
    return next(number for step in range(most) if (number := (wanted + step) % most) not in taken)
