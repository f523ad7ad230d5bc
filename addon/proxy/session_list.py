"""The conversations that passed since the start, the latest last, and the totals of all exchanges."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import field

from .. import secret_patterns
from ..accounts.bindings import Binding
from ..bounded import BoundedMap
from ..exchange import Exchange
from ..frozen import dataclass
from ..given_text import printable
from ..values.decision import Candidate, Decision, Evidence, Refusal, session_name
from . import terminal_lines
from .control_answers import MoveShown, SessionShown, TokenTotals, Totals

logger = logging.getLogger(__name__)

SESSIONS = 2000  # conversations that are kept
EXCHANGES = 1000  # of all conversations, for `explain`
MOVES = 20  # of a conversation
_FULL_LENGTH = 32  # characters of an affinity
# Why another account answers than before, where it is no stand-in for the home and no home that is back.
_OTHERWISE = {
    "hit": "it is the home of this conversation by now",
    "new": "the conversation had no home any more",
    "inherited": "it answered a related request",
    "none": "the request was bound to no home",
}


@dataclass(slots=True)
class _Tokens:
    input: int = 0
    cached: int = 0
    output: int = 0

    def add(self, decision: Decision) -> None:
        if used := decision.tokens:
            self.input += used.prompt
            self.cached += used.cached
            self.output += used.completion

    def shown(self) -> TokenTotals:
        return TokenTotals(self.input, self.cached, self.output)


@dataclass(frozen=True, slots=True)
class LastExchange:
    """The last exchange of a conversation, with what was considered, and the message of its *refusal* (empty: none)."""

    decision: Decision
    candidates: tuple[Candidate, ...]
    evidence: tuple[Evidence, ...]
    refusal: str = ""


@dataclass(slots=True)
class _Row:
    """*account* is the one that answered last, *left* the home that it stands in for (empty: none)."""

    last: LastExchange
    first: float
    account: str = ""
    left: str = ""
    turns: int = 0
    failed: int = 0
    moved: int = 0
    tokens: _Tokens = field(default_factory=_Tokens)
    moves: deque[MoveShown] = field(default_factory=lambda: deque(maxlen=MOVES))

    def answered_by(self, decision: Decision) -> None:
        """Note the account that answered, and why it is another one than before."""
        account = decision.account
        self.moved += decision.binding == "reselected"
        if self.account not in ("", account):
            at = decision.time + decision.duration_seconds
            self.moves.append(MoveShown(at, self.account, account, self._reason(decision)))
        self.account, self.left = account, decision.moved_from

    def _reason(self, decision: Decision) -> str:
        if decision.binding == "reselected":
            elsewhere = "" if decision.moved_from == self.account else f"{decision.moved_from}: "
            return f"{elsewhere}{decision.moved_because}"
        if decision.account == self.left:
            return f"{decision.account} is back"
        return _OTHERWISE.get(decision.binding, "")


class SessionList:
    """Told of the end of every exchange. At most SESSIONS conversations are kept, those with the latest exchanges."""

    def __init__(self) -> None:
        self._by_id: BoundedMap[str, LastExchange] = BoundedMap(EXCHANGES)
        self._rows: BoundedMap[str, _Row] = BoundedMap(SESSIONS)
        self._exchanges = self._failed = self._moved = self._refused = 0
        self._last_failure = ""
        self._accounts: Counter[str] = Counter()
        self._account_tokens: dict[str, _Tokens] = {}
        self._verdicts: Counter[str] = Counter()
        self._tokens = _Tokens()
        self._has_failed = False

    def record(self, exchange: Exchange, decision: Decision) -> None:
        """Take *exchange*, which ended with *decision*, into account. Never raises."""
        try:
            if decision.is_handshake:
                return
            refusal = _told(exchange.refusal)
            self._count(decision, is_reached=exchange.is_answered or _is_reached(decision))
            if _is_failed(decision):
                self._last_failure = refusal or terminal_lines.reason(decision)
            last = LastExchange(decision, exchange.candidates, exchange.identity.evidence, refusal)
            self._by_id[decision.exchange] = last
            if decision.session:
                self._add(last, exchange)
        except Exception as e:  # what is shown must not break an exchange
            if not self._has_failed:
                logger.warning("patchbay: the list of sessions is not complete: %s", type(e).__name__)
            self._has_failed = True

    def refused(self, refusal: Refusal) -> None:
        """Count a request that was refused before it became an exchange."""
        self._refused += 1
        self._last_failure = _told(refusal)

    def totals(self) -> Totals:
        """Return the totals since the start."""
        return Totals(
            self._exchanges, self._failed, self._moved, self._tokens.shown(), dict(self._accounts),
            dict(self._verdicts), self._refused, self._last_failure,
            {account: used.shown() for account, used in self._account_tokens.items()},
        )  # fmt: skip

    def shown(self, bindings: Iterable[Binding], ttl: float) -> list[SessionShown]:
        """
        Return the conversations with an exchange since the start, and those of *bindings*; the latest use first.

        *ttl* is the lifetime of a binding after its last use.
        """
        homes: dict[str, Binding] = {}
        for each in bindings:
            if each.home and not (each.key.model and each.key.affinity in homes):
                homes[each.key.affinity] = each
        found = [_shown(affinity, row, homes.get(affinity)) for affinity, row in self._rows.items()]
        found += [_only_bound(each, ttl) for affinity, each in homes.items() if affinity not in self._rows]
        return sorted(found, key=lambda each: each.last, reverse=True)

    def last(self, session: str) -> LastExchange | None:
        """Return the last exchange of the conversation with the affinity *session*."""
        row = self._rows.get(session)
        return row.last if row else None

    def exchange(self, name: str) -> LastExchange | None:
        """Return the exchange called *name*, by its own id or a request id of its attempts, if it was of late."""
        if name in self._by_id:
            return self._by_id[name]
        sent = (each for each in reversed(self._by_id.values()) if _sent_as(each.decision, name))
        return next(sent, None)

    def _count(self, decision: Decision, *, is_reached: bool) -> None:
        self._exchanges += 1
        self._failed += _is_failed(decision)
        self._moved += decision.binding == "reselected"
        self._verdicts[decision.verdict] += 1
        self._tokens.add(decision)
        if decision.account and is_reached:
            self._accounts[decision.account] += 1
            self._account_tokens.setdefault(decision.account, _Tokens()).add(decision)

    def _add(self, last: LastExchange, exchange: Exchange) -> None:
        decision = last.decision
        row = self._rows.get(decision.session)
        if row is None:
            row = _Row(last, decision.time)
        self._rows[decision.session] = row  # the latest
        row.last = last
        is_whole = exchange.is_answered and not decision.error
        row.turns += exchange.is_turn and is_whole
        row.failed += exchange.is_turn and not is_whole
        row.tokens.add(decision)
        if exchange.is_answered:
            row.answered_by(decision)


def _is_failed(decision: Decision) -> bool:
    return bool(decision.error) or (decision.status or 0) >= 400


def _is_reached(decision: Decision) -> bool:
    """Whether the account of *decision* answered anything; in shadow mode, the account that would have been asked."""
    reached = (each.status is not None for each in decision.attempts if each.account == decision.account)
    return decision.mode == "shadow" or any(reached)


def _sent_as(decision: Decision, request_id: str) -> bool:
    return decision.request_id == request_id or any(each.request_id == request_id for each in decision.attempts)


def named(name: str, among: Sequence[SessionShown]) -> list[SessionShown]:
    """Return the conversations *among* these whose name begins with *name*: a short name, or all of an affinity."""
    wanted = name.strip().lower()
    return [each for each in among if wanted and each.session.startswith(wanted[:_FULL_LENGTH])]


def _told(refusal: Refusal | None) -> str:
    """Return the message of *refusal*; a model in it may have any name, also that of a key."""
    return secret_patterns.covered(printable(refusal.message)) if refusal else ""


def _shown(affinity: str, row: _Row, binding: Binding | None) -> SessionShown:
    decision = row.last.decision
    return SessionShown(
        name=session_name(affinity),
        session=affinity,
        tool=decision.tool,
        client=decision.client,
        home=binding.home if binding else "",
        account=row.account,
        model=decision.model,
        turns=row.turns,
        failed=row.failed,
        moved=row.moved,
        tokens=row.tokens.shown(),
        first=row.first,
        last=decision.time + decision.duration_seconds,
        verdict=decision.verdict,
        moves=list(row.moves),
    )


def _only_bound(binding: Binding, ttl: float) -> SessionShown:
    affinity = binding.key.affinity
    return SessionShown(session_name(affinity), affinity, home=binding.home, last=binding.expires - ttl)
