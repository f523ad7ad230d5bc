"""
What a request must hold while it runs, and the line of those that wait for it.

One table, keyed by scope, serves every bound: so many at once, so much a minute, one model at a time, a number of its
own out of so many. What is taken under one ticket is given back together, once.

The line is fair by client: clients take turns, and within a client the first comes first. When the line is full, the
client with the most requests in it makes room for one that has fewer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
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
    client: bytes
    scopes: dict[Scope, str | None]


@dataclass(slots=True)
class _Line:
    """
    Those who wait for one scope, by client, each client's in the order in which they came.

    *turns* is the turn at which a client's first one may go; the next ones follow at one turn each. Who is served moves
    its client one turn back, and a client that comes new begins at the earliest turn there is: so it waits for one of
    every other client at most, and saves up nothing while it is away.
    """

    waiters: dict[bytes, list[tuple[int, str]]] = field(default_factory=dict)
    turns: dict[bytes, int] = field(default_factory=dict)

    def add(self, client: bytes, place: int, waiter: str) -> None:
        if client not in self.waiters:
            self.turns[client] = self.newcomer()
            self.waiters[client] = []
        insort(self.waiters[client], (place, waiter))

    def remove(self, client: bytes, place: int, waiter: str) -> None:
        mine = self.waiters[client]
        mine.remove((place, waiter))
        if not mine:
            del self.waiters[client], self.turns[client]

    def newcomer(self) -> int:
        """Return the turn of a client that is not in line yet."""
        return min(self.turns.values(), default=0)

    def ahead(self, client: bytes, place: int) -> int:
        """Return how many go before one of *client* at *place*, which need not be in line."""
        mine = self.waiters.get(client, [])
        before = bisect_left(mine, (place, ""))
        turn = self.turns.get(client, self.newcomer()) + before
        return before + sum(self._before(other, turn, place) for other in self.waiters if other != client)

    def _before(self, other: bytes, turn: int, place: int) -> int:
        """Return how many of *other* go before the one that came at *place* and may go at *turn*."""
        theirs = self.waiters[other]
        steps = turn - self.turns[other]
        if steps < 0:
            return 0
        same = steps < len(theirs) and theirs[steps][0] < place  # of one turn, who came first
        return min(steps, len(theirs)) + same

    def in_order(self) -> list[str]:
        order = [(self.turns[client] + step, *waiter) for client, mine in self.waiters.items()
                 for step, waiter in enumerate(mine)]  # fmt: skip
        return [waiter for _, _, waiter in sorted(order)]


@dataclass(frozen=True, slots=True)
class Holder:
    """What one ticket holds; *number* is the one that a numbered claim gave it."""

    claims: tuple[Limit, ...]
    number: int | None = None


class Limiter:
    """The table and the line. At most *limit* wait."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self._rooms: dict[Scope, _Room] = {}
        self._held: dict[int, Holder] = {}
        self._line: dict[str, _Waiting] = {}
        self._lines: dict[Scope, _Line] = {}
        self._clients: dict[bytes, dict[str, None]] = {}  # who of each client waits, the newest last
        self._places = 0

    # -- taking and giving back ------------------------------------------------------------------------------------

    def obstacle(self, claims: Iterable[Limit], now: float, waiter: str = "", client: bytes = b"") -> Limit | None:
        """Return the first of *claims* that *waiter* of *client* cannot get now; earlier waiters come first."""
        return next((claim for claim in claims if not self._fits(claim, now, waiter, client)), None)

    def free_at(self, claim: Limit, now: float) -> float | None:
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

    def take(self, ticket: int, claims: Sequence[Limit], now: float, wanted: int = 0, waiter: str = "") -> Holder:
        """
        Take *claims* for *ticket*; of numbers the first that is free from *wanted* on, which may be any number.

        Who waited for it as *waiter* has had its turn, and leaves the line.
        """
        number: int | None = None
        self._served(waiter, claims)
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
        held = self._held[ticket] = Holder(tuple(claims), number)
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

    def wait(
        self, waiter: str, woken: Callable[[], None], wanted: Iterable[tuple[Scope, str | None]], client: bytes = b""
    ) -> bool:
        """
        Put *waiter* of *client* in line for the *wanted* scopes; it keeps its place.

        Return False when the line is full, unless another client has so many in it that one of them makes room: that
        one is called, and refused when it would wait again.
        """
        before = self._line.get(waiter)
        client = before.client if before else client
        if before is None and len(self._line) >= self.limit and not self._made_room(client):
            return False
        if before is None:
            self._places += 1
        entry = _Waiting(before.place if before else self._places, woken, client, dict(wanted))
        self._line[waiter] = entry
        self._clients.setdefault(client, {})[waiter] = None
        kept = before.scopes if before else {}
        for scope in entry.scopes:
            if scope not in kept:  # who looks again keeps its turn
                self._lines.setdefault(scope, _Line()).add(client, entry.place, waiter)
        gone = [scope for scope in kept if scope not in entry.scopes]
        self._unlist(waiter, entry, gone)
        for scope in gone:
            self._call(scope)  # what it has not taken may be the next one's
        return True

    def leave(self, waiter: str) -> None:
        """Take *waiter* out of the line, served or not; if it was its turn, it is the next one's."""
        entry = self._line.pop(waiter, None)
        if entry is None:
            return
        self._unlist(waiter, entry, entry.scopes)
        self._clients[entry.client].pop(waiter)
        if not self._clients[entry.client]:
            del self._clients[entry.client]
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
        lines = [line for scope, line in self._lines.items() if account in scope[1:2]]
        return len({waiter for line in lines for mine in line.waiters.values() for _, waiter in mine})

    def used(self, scope: Scope) -> float:
        """Return how much of *scope* is taken; of a window, what was at the last look."""
        room = self._rooms.get(scope)
        return room.used if room else 0

    # -- within ----------------------------------------------------------------------------------------------------

    def _fits(self, claim: Limit, now: float, waiter: str, client: bytes) -> bool:
        room, line = self._rooms.get(claim.scope), self._lines.get(claim.scope)
        mine = self._line.get(waiter)
        place = mine.place if mine else self._places + 1
        ahead = line.ahead(client, place) if line else 0
        if claim.tenant is not None:
            before = line.in_order()[: ahead + 1] if line else []
            others = [each for each in before[:ahead] if self._line[each].scopes[claim.scope] != claim.tenant]
            return not others and (room is None or not room.holders or room.tenant == claim.tenant)
        used = self._used(claim, room, now) if room else 0
        if claim.window:  # what is larger than the whole bound must be able to pass alone
            return not ahead and (used <= 0 or used + claim.amount <= claim.most)
        return used + ahead + claim.amount <= claim.most

    def _made_room(self, client: bytes) -> bool:
        """Take the newest one of the client with the most out of a full line, if *client* has fewer even then."""
        most = max(self._clients, key=lambda each: len(self._clients[each]), default=client)
        if len(self._clients.get(client, ())) + 1 >= len(self._clients.get(most, ())):
            return False
        newest = next(reversed(self._clients[most]))
        woken = self._line[newest].woken
        self.leave(newest)
        woken()
        return True

    def _served(self, waiter: str, claims: Sequence[Limit]) -> None:
        """Take *waiter* out of the line for what it got: its client's next one waits a turn for it."""
        entry = self._line.get(waiter)
        if entry is None:
            return
        for scope in {claim.scope for claim in claims} & entry.scopes.keys():
            line = self._lines[scope]
            del entry.scopes[scope]
            line.remove(entry.client, entry.place, waiter)
            if entry.client in line.turns:
                line.turns[entry.client] += 1
            if not line.waiters:
                del self._lines[scope]

    def _used(self, claim: Limit, room: _Room, now: float) -> float:
        if not claim.window:
            return room.used
        while room.passed and room.passed[0][0] + 1 + claim.window <= now:
            room.used -= room.passed.popleft()[1]
        if not room.passed:
            room.used = 0
        return room.used

    def _spend(self, claim: Limit, room: _Room, amount: float, now: float) -> None:
        self._used(claim, room, now)
        second = float(int(now))
        if room.passed and room.passed[-1][0] >= second:
            room.passed[-1][1] += amount
        else:
            room.passed.append([second, amount])
        room.used += amount

    def _give_back(self, claim: Limit, number: int | None) -> None:
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
        line = self._lines.get(scope)
        return line.in_order() if line else []

    def _unlist(self, waiter: str, entry: _Waiting, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            line = self._lines[scope]
            line.remove(entry.client, entry.place, waiter)
            if not line.waiters:
                del self._lines[scope]


def _free_number(taken: set[int], most: int, wanted: int) -> int:
    return next(number for step in range(most) if (number := (wanted + step) % most) not in taken)
