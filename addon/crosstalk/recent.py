"""The recent exchanges of one instance, for its detectors: attempts under way, sent settings, habits of hosts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import takewhile

from ..bounded import BoundedMap
from ..frozen import dataclass
from ..ledger import Entry
from .elsewhere import Elsewhere
from .host_habits import BY_OUR_CLOCK, HostHabits
from .id_order import IdOrder
from .judgement import LateFindings
from .mixups import Mixups
from .prompt_lengths import Expected, PromptLengths
from .request_summary import UNSEEN, RequestSummary
from .sent_prefixes import SentPrefixes

_JUST_ENDED, _SMALL = 32, 256 * 1024  # attempts, and bytes of a request of theirs
_LONGEST = 256  # characters of a model that are compared
_LIVE, _SENT, _MODELS, _RECEIVED = 10_000, 50_000, 20_000, 20_000


@dataclass(frozen=True, slots=True)
class LiveAttempt:
    """An attempt whose answer has not ended."""

    entry: Entry
    request: RequestSummary
    host: str
    lengths: Expected | None = None


class RecentExchanges:
    """The tables of the module. Each evicts its least recently used entry."""

    def __init__(self) -> None:
        self._live: BoundedMap[str, LiveAttempt] = BoundedMap(_LIVE)
        self._ended: deque[tuple[float, LiveAttempt]] = deque(maxlen=_JUST_ENDED)
        self._sent: BoundedMap[tuple[str, str, str], Entry | None] = BoundedMap(_SENT)
        self._asked: BoundedMap[bytes, str] = BoundedMap(_LIVE)
        self._ends: BoundedMap[tuple[str, bytes], str] = BoundedMap(_LIVE)
        self._received: BoundedMap[tuple[str, str, str], str] = BoundedMap(_RECEIVED)
        self._models: BoundedMap[tuple[str, str, str], None] = BoundedMap(_MODELS)
        self.habits = HostHabits()
        self.late = LateFindings()
        self.lengths = PromptLengths()
        self.words, self.prompts = Mixups(), Mixups()
        self.sent = SentPrefixes()
        self.elsewhere = Elsewhere()
        self.order = IdOrder()
        self._ticks = 0
        self.clock = 0  # how often our clock was set

    def tick(self) -> int:
        """Return the next number in the order of events."""
        self._ticks += 1
        return self._ticks

    def clock_was_set(self) -> None:
        """Forget the habits by our clock, which was set. Answers under way are not judged by it."""
        self.clock += 1
        self.habits.unlearn(BY_OUR_CLOCK)

    # -- attempts under way ------------------------------------------------------------------------------------------

    def begin(self, live: LiveAttempt) -> None:
        """Remember an attempt, and the settings it sent, until `finish`."""
        self._live[live.entry.request_id] = live
        if live.request.size >= UNSEEN:
            self.sent_before(live.entry, live.request)
        if live.entry.digest:
            self._asked.setdefault(live.entry.digest, live.entry.exchange)
        for name, value in live.request.settings.items():
            key = (live.host, name, value)
            before = self._sent.get(key, live.entry)
            alone = before is not None and before.exchange == live.entry.exchange
            self._sent[key] = live.entry if alone else None

    def finish(self, request_id: str, now: float) -> None:
        """End the attempt of *request_id*; the last few stay in `others`."""
        live = self._live.pop(request_id, None)
        if live is None:
            return
        if live.request.size > _SMALL:
            if not any(each.host == live.host for each in self._live.values()):
                return  # nothing that is under way can be compared with it
            live.request.forget_body()
        self._ended.append((now, live))

    def asked_before(self, entry: Entry) -> bool:
        """Whether another exchange sent the same request before *entry*, so that a cache may hold its answer."""
        return self._asked.get(entry.digest, entry.exchange) != entry.exchange

    def sent_before(self, entry: Entry, request: RequestSummary) -> bool:
        """Whether another exchange sent a history with the end of that of *request* to the account before."""
        return self._ends.setdefault((entry.account, request.end), entry.exchange) != entry.exchange

    def others(self, entry: Entry, host: str) -> Iterator[LiveAttempt]:
        """Yield the attempts of other exchanges at *host* that overlap *entry*."""
        beside = takewhile(lambda ended: ended[0] >= entry.at, reversed(self._ended))
        for live in (*self._live.values(), *reversed([live for _, live in beside])):
            if live.host == host and live.entry.exchange != entry.exchange:
                yield live

    def sender(self, host: str, name: str, value: str) -> Entry | None:
        """Return the exchange that alone sent *value* as its setting *name*, if there is one."""
        return self._sent.get((host, name, value))

    def received(self, host: str, name: str, value: str, exchange: str) -> bool:
        """
        Note that *exchange* received a setting that it had not sent; return whether another had received it before.

        A value that *host* writes into several answers is the host's own, even if another exchange sent it.
        """
        before = self._received.get((host, name, value))
        self._received[host, name, value] = before or exchange
        return before is not None and before != exchange

    # -- models ----------------------------------------------------------------------------------------------------

    def answers(self, host: str, asked: str, model: str) -> None:
        """Note that *host* answers a request for *asked* as *model*."""
        self._models[host, asked[:_LONGEST], model[:_LONGEST]] = None

    def has_answered(self, host: str, asked: str, model: str) -> bool:
        """Whether `answers` was noted."""
        return (host, asked[:_LONGEST], model[:_LONGEST]) in self._models
