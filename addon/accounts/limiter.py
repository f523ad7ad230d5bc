"""
The limiter: what a request must hold while it runs, and the queue of requests that wait for it.

One table, keyed by scope, serves every limit: concurrency, rate per minute, one model at a time, numbered slots. All
that one ticket holds is given back together, once.

The queue is fair: parties (`Ask.party`) take turns, and each party's requests are served in the order of arrival. When
the queue is full, the party with the most requests in it gives up a place to a party that has fewer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field

from ..frozen import dataclass

Scope = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """
    One limit of a request: *amount* of the *most* that *scope* has; *why* is the reason in words for people.

    With a *window* (seconds) the amount is not given back but expires. With a *tenant*, requests of the same tenant
    share the scope, and others wait. *numbered*: the request gets a number below *most* that no other one has.
    *counts_tokens*: the amount, in a window, is an estimate until `correct` states it.
    """

    scope: Scope
    most: float
    why: str
    amount: float = 1
    window: float = 0.0
    tenant: str | None = None
    numbered: bool = False
    counts_tokens: bool = False


@dataclass(slots=True)
class _Usage:
    """The used part of one scope. *spent* holds, by second, the amounts of a window that are still to expire."""

    used: float = 0
    tenant: str | None = None
    numbers: set[int] = field(default_factory=set)
    spent: deque[list[float]] = field(default_factory=deque)
    holders: int = 0


@dataclass(slots=True)
class _Waiting:
    place: int
    recheck: Callable[[], None]
    party: bytes
    scopes: dict[Scope, str | None]


@dataclass(slots=True)
class _Queue:
    """
    The queue of one scope, by party, each party's requests in the order of arrival.

    *turns* is the turn of a party's first request; the next ones follow at one turn each. A request that is served
    moves its party one turn back. A new party begins at the earliest turn there is: it waits for one request of every
    other party at most, and saves no turns while it is away.
    """

    waiters: dict[bytes, list[tuple[int, str]]] = field(default_factory=dict)
    turns: dict[bytes, int] = field(default_factory=dict)

    def add(self, party: bytes, place: int, waiter: str) -> None:
        if party not in self.waiters:
            self.turns[party] = self.first_turn()
            self.waiters[party] = []
        insort(self.waiters[party], (place, waiter))

    def remove(self, party: bytes, place: int, waiter: str) -> None:
        mine = self.waiters[party]
        mine.remove((place, waiter))
        if not mine:
            del self.waiters[party], self.turns[party]

    def first_turn(self) -> int:
        """Return the turn of a party that is not in the queue yet."""
        return min(self.turns.values(), default=0)

    def ahead(self, party: bytes, place: int) -> int:
        """Return how many of `in_order` go before a request of *party* at *place*, queued or not, without a sort."""
        mine = self.waiters.get(party, [])
        before = bisect_left(mine, (place, ""))
        turn = self.turns.get(party, self.first_turn()) + before
        return before + sum(self._ahead_among(other, turn, place) for other in self.waiters if other != party)

    def _ahead_among(self, other: bytes, turn: int, place: int) -> int:
        theirs = self.waiters[other]
        steps = turn - self.turns[other]
        if steps < 0:
            return 0
        same = steps < len(theirs) and theirs[steps][0] < place  # at the same turn, the earlier one goes first
        return min(steps, len(theirs)) + same

    def in_order(self) -> list[str]:
        """Return the waiters by turn, then by place."""
        order = [(self.turns[party] + step, *waiter) for party, mine in self.waiters.items()
                 for step, waiter in enumerate(mine)]  # fmt: skip
        return [waiter for _, _, waiter in sorted(order)]


@dataclass(frozen=True, slots=True)
class Holder:
    """What one ticket holds; *number* is the one that a numbered limit gave it."""

    limits: tuple[Limit, ...]
    number: int | None = None


class Limiter:
    """The usage of every scope, and the queue. At most *limit* requests wait."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self._usage: dict[Scope, _Usage] = {}
        self._holders: dict[int, Holder] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._queues: dict[Scope, _Queue] = {}
        self._parties: dict[bytes, dict[str, None]] = {}  # the waiters of each party, the newest last
        self._places = 0

    def in_use(self) -> set[str]:
        """Return the second word of each scope that is used or queued for: under no other one a limit is reached."""
        return {scope[1] for scope in (*self._usage, *self._queues)}

    def obstacle(self, limits: Iterable[Limit], now: float, waiter: str = "", party: bytes = b"") -> Limit | None:
        """Return the first of *limits* that leaves no room for *waiter* of *party*; earlier waiters come first."""
        for limit in limits:
            if not self._fits(limit, now, waiter, party):
                return limit
        return None

    def free_at(self, limit: Limit, now: float) -> float | None:
        """Return when time alone makes room under *limit*; None: only a release does."""
        usage = self._usage.get(limit.scope)
        if usage is None or not limit.window:
            return None
        used = self._used(limit, usage, now)
        for second, amount in usage.spent:
            used -= amount
            if used <= 0 or used + limit.amount <= limit.most:
                return second + 1 + limit.window
        return None

    def acquire(self, ticket: int, limits: Sequence[Limit], now: float, wanted: int = 0, waiter: str = "") -> Holder:
        """
        Take the amounts of *limits* for *ticket*; a numbered one gives the first free number from *wanted* on.

        The request that waited as *waiter* has had its turn, and leaves the queue.
        """
        number: int | None = None
        self._leave_served(waiter, limits)
        for limit in limits:
            usage = self._usage.setdefault(limit.scope, _Usage())
            if limit.window:
                self._spend(limit, usage, limit.amount, now)
                continue
            usage.used += limit.amount
            usage.holders += 1
            usage.tenant = limit.tenant
            if limit.numbered:
                number = _free_number(usage.numbers, int(limit.most), wanted)
                usage.numbers.add(number)
        holder = self._holders[ticket] = Holder(tuple(limits), number)
        return holder

    def correct(self, ticket: int, amount: float, now: float) -> None:
        """Replace the estimate of *ticket* by the *amount* of tokens it spent, in every limit that counts them."""
        holder = self._holders.get(ticket)
        for limit in holder.limits if holder else ():
            if limit.counts_tokens:
                self._spend(limit, self._usage[limit.scope], amount - limit.amount, now)

    def release(self, ticket: int) -> bool:
        """Give back all that *ticket* holds and call the next in the queue; return whether it held anything."""
        holder = self._holders.pop(ticket, None)
        if holder is None:
            return False
        for limit in holder.limits:
            if not limit.window:
                self._give_back(limit, holder.number)
        for limit in holder.limits:
            self._call_next(limit.scope)
        return True

    def wait(
        self, waiter: str, recheck: Callable[[], None], wanted: Iterable[tuple[Scope, str | None]], party: bytes = b""
    ) -> bool:
        """
        Queue *waiter* of *party* for the *wanted* scopes, each with its tenant; it keeps its place.

        Return False when the queue is full, unless another party has so many requests in it that one of them gives up
        its place: that one is called, and refused when it would wait again.
        """
        before = self._waiting.get(waiter)
        party = before.party if before else party
        if before is None and len(self._waiting) >= self.limit and not self._makes_room_for(party):
            return False
        if before is None:
            self._places += 1
        entry = _Waiting(before.place if before else self._places, recheck, party, dict(wanted))
        self._waiting[waiter] = entry
        self._parties.setdefault(party, {})[waiter] = None
        kept = before.scopes if before else {}
        for scope in entry.scopes:
            if scope not in kept:  # a request that looks again keeps its turn
                self._queues.setdefault(scope, _Queue()).add(party, entry.place, waiter)
        gone = [scope for scope in kept if scope not in entry.scopes]
        self._remove(waiter, entry, gone)
        for scope in gone:
            self._call_next(scope)  # what it has not taken may be the next one's
        return True

    def leave(self, waiter: str) -> None:
        """Take *waiter* out of the queue, served or not; if it was its turn, the next one is called."""
        entry = self._waiting.pop(waiter, None)
        if entry is None:
            return
        self._remove(waiter, entry, entry.scopes)
        self._parties[entry.party].pop(waiter)
        if not self._parties[entry.party]:
            del self._parties[entry.party]
        for scope in entry.scopes:
            self._call_next(scope)

    def call_all(self, scope: Scope) -> None:
        """Call every request that waits for *scope*."""
        for waiter in self._in_order(scope):
            self._waiting[waiter].recheck()

    def shift(self, seconds: float) -> None:
        """Move what expires with time by *seconds*: the clock was set."""
        for usage in self._usage.values():
            for spent in usage.spent:
                spent[0] += seconds

    def waiting_for(self, account: str) -> int:
        """Return how many wait for something of *account*."""
        queues = [queue for scope, queue in self._queues.items() if account in scope[1:2]]
        return len({waiter for queue in queues for mine in queue.waiters.values() for _, waiter in mine})

    def used(self, scope: Scope) -> float:
        """Return the used part of *scope*; of a window, as of the last look."""
        usage = self._usage.get(scope)
        return usage.used if usage else 0

    def _fits(self, limit: Limit, now: float, waiter: str, party: bytes) -> bool:
        usage, queue = self._usage.get(limit.scope), self._queues.get(limit.scope)
        mine = self._waiting.get(waiter)
        place = mine.place if mine else self._places + 1
        ahead = queue.ahead(party, place) if queue else 0
        if limit.tenant is not None:
            before = queue.in_order()[:ahead] if queue else []
            others = any(self._waiting[each].scopes[limit.scope] != limit.tenant for each in before)
            return not others and (usage is None or not usage.holders or usage.tenant == limit.tenant)
        used = self._used(limit, usage, now) if usage else 0
        if limit.window:  # a request larger than the whole limit must be able to pass alone
            return not ahead and (used <= 0 or used + limit.amount <= limit.most)
        return used + ahead + limit.amount <= limit.most

    def _makes_room_for(self, party: bytes) -> bool:
        most = max(self._parties, key=lambda each: len(self._parties[each]), default=party)
        if len(self._parties.get(party, ())) + 1 >= len(self._parties.get(most, ())):
            return False
        newest = next(reversed(self._parties[most]))
        recheck = self._waiting[newest].recheck
        self.leave(newest)
        recheck()
        return True

    def _leave_served(self, waiter: str, limits: Sequence[Limit]) -> None:
        entry = self._waiting.get(waiter)
        if entry is None:
            return
        for scope in {limit.scope for limit in limits} & entry.scopes.keys():
            queue = self._queues[scope]
            del entry.scopes[scope]
            queue.remove(entry.party, entry.place, waiter)
            if entry.party in queue.turns:
                queue.turns[entry.party] += 1
            if not queue.waiters:
                del self._queues[scope]

    def _used(self, limit: Limit, usage: _Usage, now: float) -> float:
        if not limit.window:
            return usage.used
        while usage.spent and usage.spent[0][0] + 1 + limit.window <= now:
            usage.used -= usage.spent.popleft()[1]
        if not usage.spent:
            usage.used = 0
        return usage.used

    def _spend(self, limit: Limit, usage: _Usage, amount: float, now: float) -> None:
        self._used(limit, usage, now)
        second = float(int(now))
        if usage.spent and usage.spent[-1][0] >= second:
            usage.spent[-1][1] += amount
        else:
            usage.spent.append([second, amount])
        usage.used += amount

    def _give_back(self, limit: Limit, number: int | None) -> None:
        usage = self._usage[limit.scope]
        usage.used -= limit.amount
        usage.holders -= 1
        if number is not None:
            usage.numbers.discard(number)
        if not usage.holders:
            del self._usage[limit.scope]

    def _call_next(self, scope: Scope) -> None:
        """Call the next request for *scope*; with tenants, all of the same tenant that may go together."""
        usage = self._usage.get(scope)
        order = self._in_order(scope)
        if not order:
            return
        tenant = self._waiting[order[0]].scopes[scope]
        if tenant is None:
            self._waiting[order[0]].recheck()
            return
        if usage is not None and usage.holders and usage.tenant != tenant:
            return
        for waiter in order:  # up to the first one of another tenant
            if self._waiting[waiter].scopes[scope] != tenant:
                return
            self._waiting[waiter].recheck()

    def _in_order(self, scope: Scope) -> list[str]:
        queue = self._queues.get(scope)
        return queue.in_order() if queue else []

    def _remove(self, waiter: str, entry: _Waiting, scopes: Iterable[Scope]) -> None:
        for scope in scopes:
            queue = self._queues[scope]
            queue.remove(entry.party, entry.place, waiter)
            if not queue.waiters:
                del self._queues[scope]


def _free_number(taken: set[int], most: int, wanted: int) -> int:
    return next(number for step in range(most) if (number := (wanted + step) % most) not in taken)
