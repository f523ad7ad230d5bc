"""
What one instance remembers for its detectors: who is under way, what was sent lately, and the habits of each host.

Bounded, and it knows no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..ledger import Entry
from .host_habits import BY_OUR_CLOCK, HostHabits
from .request_summary import RequestSummary

_JUST_ENDED, _SMALL = 32, 256 * 1024  # attempts, and bytes of a request of theirs
_LIVE, _SENT, _MODELS, _RECEIVED = 10_000, 50_000, 20_000, 20_000


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """An attempt whose answer has not ended."""

    entry: Entry
    asked: RequestSummary
    host: str


class RecentExchanges:
    """See the module. Every table lets go of the oldest."""

    def __init__(self) -> None:
        self._live: OrderedDict[str, LiveAttempt] = OrderedDict()
        self._ended: deque[tuple[float, LiveAttempt]] = deque(maxlen=_JUST_ENDED)
        self._sent: OrderedDict[tuple[str, str, str], Entry | None] = OrderedDict()
        self._asked: OrderedDict[bytes, str] = OrderedDict()
        self._received: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self.habits = HostHabits()
        self._models: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._ticks = 0
        self.clock = 0  # how often our clock was set

    def tick(self) -> int:
        """Return the next number: the order in which things were seen, for whoever looks at them again later."""
        self._ticks += 1
        return self._ticks

    def clock_was_set(self) -> None:
        """
        Take note that our clock was set: what hosts were found to do by it must be learned anew.

        Answers that are under way are not judged by it.
        """
        self.clock += 1
        self.habits.unlearn(BY_OUR_CLOCK)

    # -- who is under way ------------------------------------------------------------------------------------------

    def begin(self, live: LiveAttempt) -> None:
        """Remember an attempt, and the settings it sent, until `finish`."""
        _put(self._live, live.entry.request_id, live, _LIVE)
        if live.entry.digest:
            self._asked.setdefault(live.entry.digest, live.entry.exchange)
            while len(self._asked) > _LIVE:
                self._asked.popitem(last=False)
        for name, value in live.asked.settings.items():
            key = (live.host, name, value)
            before = self._sent.get(key, live.entry)
            alone = before is not None and before.exchange == live.entry.exchange
            _put(self._sent, key, live.entry if alone else None, _SENT)

    def finish(self, request_id: str, now: float) -> None:
        """Take note that the attempt of *request_id* is over. A few of the last stay in view, small ones only."""
        live = self._live.pop(request_id, None)
        if live is not None and live.asked.size <= _SMALL:
            self._ended.append((now, live))

    def asked_before(self, entry: Entry) -> bool:
        """Whether another exchange asked for the same thing before: what is kept for it may be given to *entry*'s."""
        return self._asked.get(entry.digest, entry.exchange) != entry.exchange

    def others(self, entry: Entry, host: str) -> Iterator[LiveAttempt]:
        """Yield the attempts at *host*, of other exchanges than *entry*'s, that are or were under way beside it."""
        beside = [live for over, live in self._ended if over >= entry.at]
        for live in (*self._live.values(), *beside):
            if live.host == host and live.entry.exchange != entry.exchange:
                yield live

    def sender(self, host: str, name: str, value: str) -> Entry | None:
        """Return the one exchange that sent *value* as its setting *name*; None when there is none, or several."""
        return self._sent.get((host, name, value))

    def received(self, host: str, name: str, value: str, exchange: str) -> bool:
        """
        Note that *exchange* was answered with a setting that it had not sent; return whether others were before.

        A value that *host* writes into several answers is the host's own, whoever else sent it.
        """
        before = self._received.get((host, name, value))
        _put(self._received, (host, name, value), before or exchange, _RECEIVED)
        return before is not None and before != exchange

    # -- models ----------------------------------------------------------------------------------------------------

    def answers(self, host: str, asked: str, model: str) -> None:
        """Note that *host* answers as *model* when it is asked for *asked*."""
        _put(self._models, (host, asked, model), None, _MODELS)

    def has_answered(self, host: str, asked: str, model: str) -> bool:
        """Whether *host* has answered so before."""
        return (host, asked, model) in self._models


def _put[K, V](table: OrderedDict[K, V], key: K, value: V, limit: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > limit:
        table.popitem(last=False)
