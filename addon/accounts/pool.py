"""
Which account serves this attempt? The face of the wing, and the only place where its parts meet.

Every `choose` that gives a Choice is followed by `started` when the first success is there, `settled` when the outcome
is known, and `release`, once each and in this order. Between them nothing is awaited and nothing is locked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal
from zlib import crc32

from .. import upstream_url
from ..settings.settings import Config
from ..values.account import Account, OutcomeKind
from ..values.answer import Head
from ..values.decision import Candidate, Identity, Outcome, Refusal, Wait
from ..values.http import Client, Origin, Served
from . import limits, models, refusals, selection
from .bindings import Bindings, Key
from .claims import Wish, claims, is_bounded
from .health import Health
from .limiter import Limit, Limiter, Scope

LASTING = 10.0  # seconds after which it is no passing fault any more that nothing can be reached
QUIET = 60.0  # seconds without a request, after which such an outage counts as a new one
MAX_TRIED = 6  # accounts that one exchange was at, after which it looks at no lane that rests
PARTIES = 16  # groups of conversations that take turns in the line, where the settings name no clients
BUSY_WAIT = 5.0  # seconds until one that waits for a free slot looks again by itself, though nobody called it
TERMINAL: frozenset[OutcomeKind] = frozenset({"auth", "quota", "permission"})
TRANSIENT: frozenset[OutcomeKind] = frozenset({"rate", "overload", "server"})


@dataclass(frozen=True, slots=True)
class Ask:
    """
    What one attempt asks for.

    *destination* None means any (the one-port mode); *reverse* is the upstream that accounts with `base_url: reverse`
    mean. *pin* names an account that alone will do. *tried* are the accounts this exchange has been to, *ended* says
    how its attempts there ended. *opens*: a WebSocket, whose messages ask for themselves. *tokens* is an estimate of
    its size.

    *waiter* names who asks, in the line and in what is said of several attempts; *woken* is called when it may be its
    turn. *stay* is the account at which it waited for a passing fault to pass: it may be asked again. Until *patient*
    it rather waits than takes an account of a lower priority, or a refusal. *served* says how the request was served
    before, if it is a replay: it goes to the same account and session while they can be had.

    *others* are further models that it may run; *sealed* says why its models cannot all be read here (empty: they can).
    *path* is set for paths of no dialect. On *left*, its WebSockets failed, at those times.
    """

    family: str
    destination: Origin | None
    reverse: Origin | None
    model: str
    identity: Identity
    client: Client
    pin: str = ""
    websocket: bool = False
    tried: frozenset[str] = frozenset()
    ended: Mapping[str, Outcome] = field(default_factory=dict)
    opens: bool = False
    tokens: int = 0
    waiter: str = ""
    woken: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)
    patient: float = 0.0
    stay: str = ""
    served: Served | None = None
    others: tuple[str, ...] = ()
    sealed: str = ""
    path: str = ""
    left: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """
    The account that serves one attempt.

    *model* is what its provider calls the model (empty: none was asked for). *binding*: `hit` (at home), `new`,
    `reselected` (home cannot serve, for now or at all), `inherited` (where another request of this new conversation is
    already, whence the answer came that it quotes, or where others began alike), `none`. *key* is None where nothing is
    to be bound, *generation* says when the key was read. *slot* is the number of the upstream session that is this
    attempt's alone, None where conversations have one each.
    """

    account: Account
    origin: Origin
    model: str
    pool: str
    lane: str
    binding: str
    candidates: tuple[Candidate, ...]
    generation: int
    key: Key | None = None
    ticket: int = 0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """How one lane of an account stands: when it may be asked again, and when all is said to be well."""

    lane: str
    state: str
    reason: str
    until: float | None
    deadline: float | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """
    How an account stands, at its worst. *busiest* is the seed that uses it most, *share* its part of the uses, 0 to 1.

    *deadline* is when all is said to be well, *until* when it may be asked again, *waiting* how many wait for it;
    *minute* and *tokens* are what of its `rpm` and `tpm` is used up. *lanes* are those of which anything is known.
    """

    account: str
    provider: str
    state: str
    reason: str
    until: float | None
    in_flight: int
    sessions: int
    busiest: str
    share: float
    deadline: float | None = None
    waiting: int = 0
    minute: float = 0
    tokens: float = 0
    lanes: tuple[LaneStatus, ...] = ()


_LEFT = "failed on an earlier WebSocket"
_RESTS = "rests for a model"
Cause = Literal["", "disabled", "model", "owner", "resting", "probed", "tried", "busy"]


@dataclass(frozen=True, slots=True)
class _View:
    """An account of the pool, as one ask sees it. *cause* and *reason* say why it is out; empty: it is eligible."""

    account: Account
    origin: Origin
    lane: str
    cause: Cause = ""
    reason: str = ""
    claim: Limit | None = None  # what it is busy with


@dataclass(frozen=True, slots=True)
class _Pick:
    """One account out of the eligible ones. *others* says why the rest of them was passed over."""

    account: Account
    binding: str
    others: str
    key: Key | None = None


class Accounts:
    """
    All accounts, their health, their sessions, and who is on them right now.

    *key* is the instance's secret: two instances with the same one order accounts alike. *random* spreads what must not
    happen at the same moment everywhere.
    """

    def __init__(self, config: Config, key: bytes, random: Random) -> None:
        self._config = config
        self._by_id = _by_id(config)
        self._key = selection.derive_key(key)
        self._cursors = selection.Cursors(random)
        self._health = Health(random, _quotas(config))
        self._bindings = Bindings(config.sessions.ttl, config.sessions.limit)
        self._slots = Limiter(config.queue.limit)
        self._in_flight: Counter[str] = Counter()
        self._tickets: set[int] = set()
        self._last_ticket = 0
        self._leaving: dict[str, Account] = {}  # gone from the file, and still answering
        self._restricts = any(map(models.restricts, config.accounts))
        self._unreached: dict[str, tuple[float, float]] = {}  # by pool: since when nothing is reached, and when last

    def choose(self, ask: Ask, now: float) -> Choice | Wait | Refusal:
        """
        Choose the account for one attempt, or say why there is none.

        Who is told to wait stands in line, and is called when it may be its turn; who gives up says so by `leave`.
        """
        self._clock(now)
        decided = self._choose(ask, now)
        if not isinstance(decided, Wait):
            self.leave(ask.waiter)
        return decided

    def may_serve(self, choice: Choice, now: float) -> bool:
        """Whether the account of *choice* could serve its model again now, as far as its health goes."""
        return self._health.available(choice.account.id, choice.lane, now)

    def leave(self, waiter: str) -> None:
        """Take *waiter* out of the line, if it is in it."""
        self._slots.leave(waiter)

    def _choose(self, ask: Ask, now: float) -> Choice | Wait | Refusal:
        return self._at_home(ask, now) or self._among_all(ask, now)

    def _at_home(self, ask: Ask, now: float) -> Choice | None:
        """
        Choose the home of a conversation that can serve it at once, without looking at any other account.

        None where the other accounts may matter: the cost of a turn at home does not grow with the pool.
        """
        identity = ask.identity
        if not identity.affinity or ask.pin or ask.served or ask.tried or ask.stay or ask.websocket:
            return None
        key = Key(pool_name(ask), ask.client.scope, identity.affinity)
        account = self._by_id.get(self._bindings.home(key, now))
        if account is None or self._bindings.is_cold(key, now, self._config.sessions.cache_ttl):
            return None
        origin = self._origin(ask, account)
        if origin is None or not self._willing(ask, [account], now):
            return None
        view = self._view(ask, account, origin, now)
        return None if view.cause else self._take(ask, _Pick(account, "hit", "", key), [view], now)

    def _among_all(self, ask: Ask, now: float) -> Choice | Wait | Refusal:
        views = [self._view(ask, account, origin, now) for account, origin in self._members(ask)]
        if ask.pin:
            views = [view for view in views if view.account.id == ask.pin]
            if not views:
                return refusals.account_unknown(ask.pin)
        if ask.served and (decided := self._as_before(ask, ask.served, views, now)):
            return decided
        if ask.left:
            views = _others_first(views, ask.left)
        if ask.opens:
            views = self._rested_first(views, now)
        eligible = [view.account for view in views if not view.cause]
        if not eligible:
            return self._last_chance(ask, views, now) or self._none(ask, views, now)
        pick = self._pick(ask, self._willing(ask, eligible, now) or eligible, views, now)
        if pick.binding not in ("hit", "inherited") and (better := self._better(ask, pick.account, views, now)):
            return self._wait(ask, better, now)
        return self._take(ask, pick, views, now)

    def _rested_first(self, views: list[_View], now: float) -> list[_View]:
        """
        Return *views* without the accounts that rest for some model, while another account rests for none.

        An upgrade names no model, and the messages on its WebSocket can go to no other account.
        """
        able = [view.account.id for view in views if not view.cause]
        well = {account for account in able if self._health.is_well(account, now)}
        if not well:
            return views
        return [
            view if view.cause or view.account.id in well else replace(view, cause="resting", reason=_RESTS)
            for view in views
        ]

    def is_new(self, ask: Ask, now: float) -> bool:
        """Whether the conversation of *ask*, if it has one, neither has a home here nor is on its way to one."""
        key = Key(pool_name(ask), ask.client.scope, ask.identity.affinity)
        return bool(key.affinity) and not (self._bindings.home(key, now) or self._bindings.pending(key))

    def started(self, ask: Ask, choice: Choice, now: float) -> None:
        """
        Take note of the first success of *choice* (of a stream: its first content): its conversation is at home.

        Where it stood in for a home, that home stays: a home is left only by what `settled` and `choose` find out.
        """
        self._health.began(
            choice.account.id,
            choice.lane,
            now,
            choice.ticket,
            upstream=str(choice.origin),
            exchange=ask.waiter,
            conversation=_conversation(ask),
        )
        self._slots.stir(_probe(choice.account.id))
        if choice.key is not None:
            self._bindings.bind(choice.key, choice.account.id, choice.generation, now)

    def headed(self, choice: Choice, head: Head, now: float) -> None:
        """Take note of the *head* of a good answer: what it says of the limits."""
        self._health.headroom(choice.account.id, choice.lane, limits.headroom(head.headers, now), now)

    def settled(self, ask: Ask, choice: Choice, outcome: Outcome, now: float, tokens: int | None = None) -> None:
        """
        Draw the consequences of how *choice* ended: for the health of its account, and for who is at home there.

        *tokens* is what it cost, if that is known.
        """
        self._note(ask, choice, outcome, now)
        if not (outcome.said or outcome.kind == "cancelled"):
            self._unreached.pop(choice.pool, None)
        if tokens is not None:
            self._slots.corrected(choice.ticket, "tpm", tokens, now)
        clears = outcome.kind in TRANSIENT and self._config.sessions.on_error == "clear"
        terminal = outcome.kind in TERMINAL and not outcome.bare
        if choice.key is not None and outcome.scope != "none" and (clears or terminal):
            self._bindings.unbind(choice.key, choice.account.id, choice.generation)

    def release(self, choice: Choice) -> None:
        """Give back what *choice* held. A second time does nothing."""
        if choice.ticket not in self._tickets:
            return
        self._tickets.remove(choice.ticket)
        self._slots.release(choice.ticket)
        if self._health.returned(choice.account.id, choice.lane, choice.ticket):
            self._slots.stir(_probe(choice.account.id))
        self._in_flight[choice.account.id] -= 1
        if not self._in_flight[choice.account.id]:
            del self._in_flight[choice.account.id]
            self._leaving.pop(choice.account.id, None)
        if choice.key is not None:
            self._bindings.release(choice.key, choice.account.id)

    def invalidate(self, account_id: str) -> int:
        """Forget every conversation that is at home at this account; return how many there were."""
        return self._bindings.invalidate(account_id)

    def forget(self, affinity: str) -> int:
        """Forget where the conversation *affinity* is at home, in every pool; return how many homes there were."""
        return self._bindings.forget(affinity)

    @property
    def restricts(self) -> bool:
        """Whether some account does not serve every model, so that it matters which ones a request may run."""
        return self._restricts

    @property
    def renames(self) -> bool:
        """Whether some account calls a model by another name than clients do."""
        return any(account.models.aliases or account.models.names for account in self._config.accounts)

    @property
    def bindings(self) -> Bindings:
        return self._bindings

    @property
    def health(self) -> Health:
        return self._health

    def reload(self, config: Config) -> None:
        """
        Go by *config* from the next choice on. What is known stays, unless an account has another secret or place.

        What is under way ends as it began: an account that is gone is only not chosen any more.
        """
        before = {account.id: account for account in self._config.accounts}
        here = {account.id for account in config.accounts}
        gone = {name: account for name, account in (self._leaving | before).items() if name not in here}
        self._leaving = {name: account for name, account in gone.items() if self._in_flight[name]}
        self._config = config
        self._by_id = _by_id(config)
        self._restricts = any(map(models.restricts, config.accounts))
        self._health.quotas = _quotas(config)
        self._slots.limit = config.queue.limit
        self._bindings.resize(config.sessions.ttl, config.sessions.limit)
        for account in config.accounts:
            old = before.get(account.id, account)
            if (old.origin, old.base_path) != (account.origin, account.base_path):
                self._health.forget(account.id)
            elif account.enabled and not old.enabled:
                self.woken(account.id)
            elif old.secrets != account.secrets:
                self._health.cleared(account.id)

    def woken(self, account_id: str) -> None:
        """End whatever this account rests for: a user woke it."""
        self._health.woken(account_id)
        self._slots.stir(_probe(account_id))

    def cleared(self, account_id: str) -> None:
        """Take note that this account has another secret now: what was wrong with the old one is over."""
        self._health.cleared(account_id)
        self._slots.stir(_probe(account_id))

    @property
    def waiting(self) -> int:
        """How many requests wait in line."""
        return self._slots.waiting

    def serves(self, family: str, destination: Origin | None, reverse: Origin | None, path: str = "") -> bool:
        """Whether any enabled account is in the pool of *family* (empty: any) at *destination*, as in `Ask`."""
        return any(
            account.enabled
            and (origin := account.origin or reverse) is not None
            and (not family or family in account.provider.families)
            and upstream_url.takes(account, path)
            and (destination is None or destination == origin)
            for account in self._config.accounts
        )

    def unserved(
        self, family: str, destination: Origin | None, reverse: Origin | None, client: Client, now: float
    ) -> Refusal | None:
        """Say why no enabled account of *client* speaks *family* at *destination*; None: *family* is not known."""
        if not family:
            return None
        ask = Ask(family, destination, reverse, "", Identity(), client)
        return refusals.all_disabled(
            [self._absent(ask, self._view(ask, account, origin, now), now) for account, origin in self._members(ask)],
            family,
            now,
            anywhere=destination is None,
        )

    def in_flight(self, account_id: str) -> int:
        """Return how many attempts are on this account now."""
        return self._in_flight[account_id]

    def status(self, now: float) -> list[AccountStatus]:
        """Say how every account stands, in the order of the file, and those that are gone but still answering."""
        self._bindings.expire(now, len(self._bindings))
        busiest = self._bindings.busiest()
        found = (*self._config.accounts, *self._leaving.values())
        return [self._status(account, busiest.get(account.id, ("", 0.0)), now) for account in found]

    def _members(self, ask: Ask) -> Iterable[tuple[Account, Origin]]:
        """Go through the pool of *ask*, each account with the origin its credential is for."""
        for account in self._config.accounts:
            if (origin := self._origin(ask, account)) is not None:
                yield account, origin

    def _origin(self, ask: Ask, account: Account) -> Origin | None:
        """
        Return the origin that the credential of *account* is for; None when it is not in the pool of *ask*.

        An account without an origin of its own goes to the reverse upstream and nowhere else, least of all to wherever
        a client points.
        """
        origin = account.origin or ask.reverse
        if origin is None or (ask.family and ask.family not in account.provider.families):
            return None
        if not ask.client.may_use(account.provider.name):  # to this client there is no such account
            return None
        if not upstream_url.takes(account, ask.path):
            return None
        return origin if ask.destination is None or ask.destination == origin else None

    def _view(self, ask: Ask, account: Account, origin: Origin, now: float) -> _View:
        lane = models.lane(account, ask.model)
        cause, reason = self._obstacle(ask, account, lane, now)
        claim = None if cause else self._obstructed(ask, account, lane, now)
        if claim is not None:
            return _View(account, origin, lane, "busy", claim.why, claim)
        return _View(account, origin, lane, cause, reason)

    def _obstructed(self, ask: Ask, account: Account, lane: str, now: float) -> Limit | None:
        return self._slots.obstacle(self._claims(ask, account, lane), now, ask.waiter, _party(ask))

    def _claims(self, ask: Ask, account: Account, lane: str) -> tuple[Limit, ...]:
        if ask.opens or not is_bounded(account):
            return ()
        return claims(account, Wish(pool_name(ask), ask.client.scope, ask.identity.thread, lane, ask.tokens))

    def _obstacle(self, ask: Ask, account: Account, lane: str, now: float) -> tuple[Cause, str]:
        if not account.enabled:
            return "disabled", "disabled"
        if not (models.serves(account, ask.model) and all(models.serves(account, model) for model in ask.others)):
            return "model", "does not serve the model"
        if ask.sealed and models.restricts(account):
            return "model", "serves some models only, and which this request asks for cannot be read"
        if ask.identity.owner is not None and account.id not in ask.identity.owner:
            return "owner", "the request belongs to another account"
        if account.id == ask.stay and self._health.may_look(account.id, lane, now):
            return "", ""
        if resting := self._health.reason(account.id, lane, now):
            if account.id not in ask.tried and self._health.may_go_on(_conversation(ask), account.id, lane, now):
                return "", ""
            probed = account.id not in ask.tried and self._health.is_probed(account.id, lane, now)
            return "probed" if probed else "resting", resting
        if account.id in ask.tried:
            return "tried", "tried in this exchange"
        return "", ""

    def _willing(self, ask: Ask, eligible: Sequence[Account], now: float) -> Sequence[Account]:
        """Return those of *eligible* that did not refuse this conversation a while ago."""
        conversation = _conversation(ask)
        met, apart = self._health.met(conversation, now), self._health.apart(conversation, now)
        if not met and not apart:
            return eligible
        return [
            one
            for one in eligible
            if one.id == ask.stay or (one.id not in met and (one.id, models.lane(one, ask.model)) not in apart)
        ]

    def _as_before(
        self, ask: Ask, served: Served, views: Sequence[_View], now: float
    ) -> Choice | Wait | Refusal | None:
        """Choose the account that *served* the request before; None when that account cannot be had."""
        view = next((view for view in views if view.account.id == served.account), None)
        if view is None:
            return None
        if view.cause == "busy" and now < ask.patient:
            return self._wait(ask, [view], now)
        if view.cause:
            return None
        key = None
        if ask.identity.affinity and ask.identity.binds:
            key = self._home(ask, [view.account], views, now)[0]
        return self._take(ask, _Pick(view.account, "inherited", "another account served this before", key), views, now)

    def _pick(self, ask: Ask, eligible: Sequence[Account], views: Sequence[_View], now: float) -> _Pick:
        if ask.pin:
            return _Pick(eligible[0], "none", "")
        fit = selection.able(eligible, ask.websocket)
        if not ask.identity.affinity:
            return _Pick(self._select(ask, fit, now)[0], "none", "later in the order")
        key, home, lost = self._home(ask, fit, views, now)
        at_home = next((account for account in fit if account.id == home), None)
        if at_home is not None and (elsewhere := self._leaves(key, at_home, fit, now)):
            at_home, home, lost = (None, "", True) if elsewhere == at_home else (elsewhere, elsewhere.id, lost)
        if at_home is not None:
            return _Pick(at_home, "hit", "not the home of this conversation", key)
        if home:
            return _Pick(self._stand_in(ask, fit, now), "reselected", "later in the order", key)
        return self._settle(ask, fit, key, lost, now)

    def _leaves(self, key: Key, home: Account, fit: Sequence[Account], now: float) -> Account | None:
        """
        Say where a conversation goes whose *home* could serve it, but holds its cache no more; None: it stays.

        That is where it was served meanwhile, which becomes its home; or, when it was silent for so long, an account of
        a higher priority, whichever it may be: then *home* itself is returned, and is its home no more.
        """
        cold = self._config.sessions.cache_ttl
        if self._bindings.is_cold(key, now, cold):
            meanwhile = self._bindings.stand_in(key, now, cold)
            there = next((one for one in fit if one.id == meanwhile and one.priority >= home.priority), None)
            if there is not None:
                self._bindings.move(key, there.id, now)
                return there
            better = self._config.sessions.failback == "idle" and max(one.priority for one in fit) > home.priority
            if better and not meanwhile:
                self._bindings.drop(key)
                return home
        return None

    def _settle(self, ask: Ask, fit: Sequence[Account], key: Key, lost: bool, now: float) -> _Pick:
        """Pick for a conversation that is to find a home: where it is already on its way to, or by strategy."""
        warm = next((account for account in fit if account.id == ask.identity.home), None)
        if not ask.identity.binds:  # a side call leaves no trace, not even that of a session under way
            return _Pick(warm or self._admitted(ask, fit, now), "none", "later in the order")
        if warm is not None:
            return _Pick(warm, "inherited", "this conversation was answered elsewhere", key)
        alike = next((account for account in fit if account.id == ask.identity.near), None)
        if alike is not None and selection.has_room(alike, fit, self._bindings.sessions):
            return _Pick(alike, "inherited", "conversations that began alike are elsewhere", key)
        pending = self._bindings.pending(key)
        there = next((account for account in fit if account.id in pending), None)
        if there is not None:
            return _Pick(there, "inherited", "this conversation is under way elsewhere", key)
        label = "reselected" if lost or ask.tried else "new"
        return _Pick(self._admitted(ask, fit, now), label, "later in the order", key)

    def _home(self, ask: Ask, fit: Sequence[Account], views: Sequence[_View], now: float) -> tuple[Key, str, bool]:
        """
        Return the key that counts, the home under it (or empty), and whether a home was lost on the way.

        That is the conversation's own key, unless its home does not have what is asked for (the model, a WebSocket):
        then another home is kept for that model, and the first one stays.
        """
        key = Key(pool_name(ask), ask.client.scope, ask.identity.affinity)
        aside = Key(key.pool, key.scope, key.affinity, models.base(ask.model)[:256] or "-")
        home, lost = self._living(key, views, now)
        beside, lost_beside = self._living(aside, views, now)
        if home and not self._lacks(home, fit, ask.websocket, views, now):
            return key, home, False
        if home or beside:
            return aside, beside, bool(home)
        return key, "", lost or lost_beside

    def _living(self, key: Key, views: Sequence[_View], now: float) -> tuple[str, bool]:
        """Return the home of *key*, and whether one was dropped because it is gone for good."""
        home = self._bindings.home(key, now)
        if not home:
            return "", False
        here = next((view for view in views if view.account.id == home and view.cause != "disabled"), None)
        if here and (not here.cause or not self._health.is_dead(home, now)):
            return home, False
        self._bindings.drop(key)
        return "", True

    def _lacks(self, home: str, fit: Sequence[Account], websocket: bool, views: Sequence[_View], now: float) -> bool:
        view = next(view for view in views if view.account.id == home)
        if view.cause == "model" or (view.cause and self._health.lacks(home, view.lane, now)):
            return True
        return websocket and not view.cause and all(account.id != home for account in fit)

    def _select(self, ask: Ask, fit: Sequence[Account], now: float) -> list[Account]:
        strategy = selection.STRATEGIES[self._config.strategy]
        return strategy(ask.identity.affinity, selection.best_tier(fit), self._state(ask, now))

    def _admitted(self, ask: Ask, fit: Sequence[Account], now: float) -> Account:
        calm = [one for one in fit if not self._health.is_low(one.id, models.lane(one, ask.model), now)]
        order = self._select(ask, calm or fit, now)
        return selection.admit(order, self._bindings.sessions) if self._config.strategy == "rendezvous" else order[0]

    def _stand_in(self, ask: Ask, fit: Sequence[Account], now: float) -> Account:
        strategy = selection.STAND_INS[self._config.strategy]
        return strategy(ask.identity.affinity, selection.best_tier(fit), self._state(ask, now))[0]

    def _state(self, ask: Ask, now: float) -> selection.SelectionState:
        return selection.SelectionState(
            self._key,
            self._cursors,
            in_flight=lambda account: self._in_flight[account],
            errors=lambda account: self._health.errors(account, now),
            round=_looked_for(ask),
        )

    def _take(self, ask: Ask, pick: _Pick, views: Sequence[_View], now: float) -> Choice:
        account = pick.account
        view = next(view for view in views if view.account.id == account.id)
        self._last_ticket += 1
        self._tickets.add(self._last_ticket)
        self._in_flight[account.id] += 1
        before = ask.served.slot if ask.served and ask.served.account == account.id else None
        wanted = _wanted(ask.identity.affinity) if before is None else before
        held = self._slots.take(self._last_ticket, self._claims(ask, account, view.lane), now, wanted, ask.waiter)
        early = not self._health.available(account.id, view.lane, now)
        self._health.taken(account.id, view.lane, now, self._last_ticket, by_force=early)
        generation = self._bindings.hold(pick.key, account.id, now) if pick.key else 0
        return Choice(
            account,
            view.origin,
            models.upstream(account, ask.model),
            pool_name(ask),
            view.lane,
            pick.binding,
            tuple(_candidate(view, pick) for view in views),
            generation,
            pick.key,
            self._last_ticket,
            held.number,
        )

    def _note(self, ask: Ask, choice: Choice, outcome: Outcome, now: float) -> None:
        account = choice.account
        self._clock(now)
        self._health.note(
            account.id,
            choice.lane,
            outcome,
            now,
            choice.ticket,
            upstream=str(choice.origin),
            exchange=ask.waiter,
            conversation=_conversation(ask),
            strict=account.trust_reset == "strict",
        )
        self._slots.stir(_probe(account.id))

    def _clock(self, now: float) -> None:
        """Take note of the time. A clock that was set back moves what lasts, so that nothing lasts longer for it."""
        if back := self._health.clock(now):
            self._slots.shift(back)

    def _better(self, ask: Ask, than: Account, views: Sequence[_View], now: float) -> list[_View]:
        """Return the accounts of a higher priority than *than* that are only busy, if it is worth a moment."""
        if now >= ask.patient:
            return []
        return [view for view in views if view.cause == "busy" and view.account.priority > than.priority]

    def _last_chance(self, ask: Ask, views: Sequence[_View], now: float) -> Choice | None:
        """
        Let one request see whether a lane that rests is well after all, when there is no other, now and then.

        Each lane is looked at by itself: one may be well again while the others are not.
        """
        if any(view.cause in ("busy", "probed") for view in views) or len(ask.tried) >= MAX_TRIED:
            return None
        conversation = _conversation(ask)
        out = [(self._health.last_chance(view.account.id, view.lane, now, conversation), view)
               for view in views if view.cause == "resting" and view.account.id not in ask.tried]  # fmt: skip
        chances = [(deadline, view.account.id, view) for deadline, view in out if deadline is not None]
        if not chances:
            return None
        view = min(chances)[2]
        if self._obstructed(ask, view.account, view.lane, now):
            return None
        return self._take(ask, _Pick(view.account, "none", "rests for longer"), views, now)

    def _wait(self, ask: Ask, views: Sequence[_View], now: float) -> Wait | Refusal:
        """Put *ask* in line for what *views* are busy with."""
        awaited = [_awaited(view) for view in views]
        if ask.waiter and not self._slots.wait(ask.waiter, ask.woken, awaited, _party(ask)):
            return refusals.queue_full(self._slots.limit, [self._absent(ask, view, now) for view in views], now)
        ends = [self._again(view, now) for view in views]
        until = min([now + BUSY_WAIT, *(at for at in ends if at is not None)])
        if now < ask.patient:
            until = min(until, ask.patient)
        return Wait(until, "every account that could serve this is busy")

    def _again(self, view: _View, now: float) -> float | None:
        """Return when time alone may free what *view* is busy with."""
        if view.claim is not None:
            return self._slots.free_at(view.claim, now)
        return self._health.until(view.account.id, view.lane, now)

    def _none(self, ask: Ask, views: Sequence[_View], now: float) -> Wait | Refusal:
        soon = [view for view in views if view.cause == "resting" and self._is_soon(ask, view, now)]
        if awaited := [view for view in views if view.cause in ("busy", "probed")] + soon:
            return self._wait(ask, awaited, now)
        out = [view for view in views if view.cause in ("resting", "tried")]
        absent = [self._absent(ask, view, now) for view in out]
        if ask.identity.owner is not None:
            return refusals.owner_unavailable(absent, now)
        if not views:
            return refusals.no_account()
        off = [view for view in views if view.cause == "disabled" and models.serves(view.account, ask.model)]
        absent = absent or [self._absent(ask, view, now) for view in off]
        if ask.sealed and views and all(view.cause == "model" for view in views):
            return refusals.unreadable(ask.sealed)
        asked = (ask.model, *ask.others)
        unserved = (name for name in asked if not any(models.serves(view.account, name) for view in views))
        model = next(unserved, ask.model)
        if not absent:
            return refusals.unserved(model)
        return self._lasting(ask, refusals.none_left(model, absent, now, ask.family), now)

    def _lasting(self, ask: Ask, refusal: Refusal, now: float) -> Refusal:
        """Return *refusal*, which is final once nothing could be reached for a while: no client retries for ages."""
        if refusal.code not in refusals.OF_THE_WAY:
            return refusal
        pool = pool_name(ask)
        since, last = self._unreached.get(pool, (now, now))
        self._unreached[pool] = (since if now - last < QUIET else now, now)
        return replace(refusal, final=now - self._unreached[pool][0] >= LASTING)

    def _is_soon(self, ask: Ask, view: _View, now: float) -> bool:
        """Say whether a lane comes back so soon that waiting is better than a refusal."""
        if view.account.id in ask.tried or self._health.state(view.account.id, view.lane, now) != "cooling":
            return False
        return now < (self._health.until(view.account.id, view.lane, now) or now) <= ask.patient

    def absent(self, ask: Ask, now: float) -> list[refusals.Absent]:
        """Say of each account that serves what *ask* asks for why it cannot now."""
        views = [self._view(ask, account, origin, now) for account, origin in self._members(ask)]
        views = [view for view in views if view.account.id == ask.pin] if ask.pin else views
        return [self._absent(ask, view, now) for view in views if view.cause not in ("", "model", "owner", "disabled")]

    def _absent(self, ask: Ask, view: _View, now: float) -> refusals.Absent:
        account, lane, provider = view.account.id, view.lane, view.account.provider.name
        trouble = self._health.trouble(account, lane, now)
        if view.cause == "disabled":
            return refusals.Absent(account, provider, "disabled", view.reason)
        if view.claim is not None:  # a slot may be released at any moment
            return refusals.Absent(account, provider, "busy", view.reason, chance=self._again(view, now) or now)
        if trouble is None:
            outcome = ask.ended.get(account)
            cause, detail = refusals.cause_of(outcome)
            soon = outcome is not None and outcome.kind in TRANSIENT  # the next request may go there at once
            return refusals.Absent(account, provider, cause, detail, chance=now if soon else None)
        cause, detail = refusals.cause_of(trouble.outcome)
        chance, deadline = self._health.until(account, lane, now), self._health.deadline(account, lane, now)
        if not trouble.hinted:  # where no provider said until when, the next look at it is the best that is known
            look = self._health.next_chance(account, lane, now)
            chance = look if chance is None else min(chance, look)
        return refusals.Absent(account, provider, cause, detail, trouble.hinted, chance, deadline)

    def _status(self, account: Account, busiest: tuple[str, float], now: float) -> AccountStatus:
        lane = self._health.worst_lane(account.id, now)
        out = "draining" if account.id in self._leaving else "" if account.enabled else "disabled"
        return AccountStatus(
            account.id,
            account.provider.name,
            out or self._health.state(account.id, lane, now),
            "" if out else " on ".join(filter(None, (self._health.reason(account.id, lane, now), lane))),
            self._health.until(account.id, lane, now),
            self._in_flight[account.id],
            self._bindings.sessions(account.id),
            *busiest,
            self._health.deadline(account.id, lane, now),
            self._slots.waiting_for(account.id),
            self._slots.used(("rpm", account.id)),
            self._slots.used(("tpm", account.id)),
            tuple(self._lane_status(account, lane, now) for lane in self._health.lanes(account.id)),
        )

    def _lane_status(self, account: Account, lane: str, now: float) -> LaneStatus:
        health, name = self._health, account.id
        state, reason = health.state(name, lane, now), health.reason(name, lane, now)
        return LaneStatus(lane, state, reason, health.until(name, lane, now), health.deadline(name, lane, now))


def _others_first(views: list[_View], left: Mapping[str, float]) -> list[_View]:
    """Return *views* without the accounts that were *left*; where that leaves none, with the one left longest ago."""
    able = [view.account.id for view in views if not view.cause]
    stays = {account for account in able if account not in left} or set(sorted(able, key=left.__getitem__)[:1])
    return [
        view if view.cause or view.account.id in stays else replace(view, cause="tried", reason=_LEFT) for view in views
    ]


def pool_name(ask: Ask) -> str:
    """Name the pool of *ask*: the accounts that can stand in for one another."""
    return f"{ask.family or 'any'}@{ask.destination or 'any'}"


def _by_id(config: Config) -> dict[str, Account]:
    return {account.id: account for account in config.accounts}


def _looked_for(ask: Ask) -> tuple[str, str]:
    return pool_name(ask), models.base(ask.model)[:256]


def _party(ask: Ask) -> bytes:
    """
    Name who takes turns in the line: a client of the settings; for all others one of PARTIES groups of conversations.

    So one tool's flood does not hold up another tool of the same user, which often has the same key, and a look at the
    line costs no more when many conversations wait in it.
    """
    client = ask.client
    if client.key:
        return client.scope
    return bytes([crc32(client.scope + ask.identity.affinity.encode("utf-8", "replace")) % PARTIES])


def _conversation(ask: Ask) -> str:
    affinity = ask.identity.affinity
    return f"{ask.client.scope.hex()} {affinity}" if affinity else ""


def _quotas(config: Config) -> dict[str, str]:
    return {account.id: account.quota for account in config.accounts if account.quota}


def _probe(account: str) -> Scope:
    """Name what those wait for that wait for the request that looks whether an account is well again."""
    return ("probe", account)


def _awaited(view: _View) -> tuple[Scope, str | None]:
    return (view.claim.scope, view.claim.tenant) if view.claim else (_probe(view.account.id), None)


def _wanted(affinity: str) -> int:
    """Return the number a conversation begins to look at, so that it finds the session upstream that it had."""
    return int.from_bytes(affinity.encode("utf-8", "replace")[-8:], "big")


def _candidate(view: _View, pick: _Pick) -> Candidate:
    if view.account.id == pick.account.id:
        return Candidate(view.account.id)
    if view.reason:
        return Candidate(view.account.id, view.reason)
    if pick.binding != "hit" and view.account.priority < pick.account.priority:
        return Candidate(view.account.id, "lower priority")
    return Candidate(view.account.id, pick.others)
