"""
The pool of accounts: chooses the account of each attempt, and learns from how it went.

After `choose` returned a Lease: `first_success` if a good answer begins, `record_outcome` when the end is known, then
`release`. Each at most once, in this order, `release` always. Nothing here awaits or locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

from .. import upstream_url
from ..bounded import BoundedMap
from ..frozen import dataclass
from ..settings.settings import Config
from ..values.account import Account, OutcomeKind
from ..values.answer import Head
from ..values.decision import BindingKind, Candidate, Identity, Outcome, Refusal, Wait
from ..values.http import Client, Origin, PriorServing
from . import mends, models, refusals, selection, stated_limits
from .absent import Absent
from .bindings import Bindings, Key
from .changes import AccountChange, Changes
from .cooldown import TRANSIENT
from .eligibility import Eligibility, Option, probe_scope
from .health import Health
from .lease import Ask, Lease
from .limiter import Limiter
from .status import AccountStatus, status
from .upstream_faults import OutcomeContext

LASTING = 10.0  # seconds without any reachable upstream, after which the refusal is final
QUIET = 60.0  # seconds without a request, after which such an outage counts as a new one
MAX_TRIED = 6  # accounts that one exchange tried, after which it probes no lane early
QUEUE_RECHECK = 5.0  # seconds between two looks of a queued request; `queue.timeout` ends its wait
LEAVES_HOME: frozenset[OutcomeKind] = frozenset({"auth", "quota", "permission"})  # they outlast a prompt cache
_SOCKET_FAILED = "failed on an earlier WebSocket"
_RESTS = "one of its models is cooling down"
_SETTINGS, _COMMAND = "by the settings", "by a command"
_UNBOUND = "this conversation was unbound from it"
MAX_LEFT = 1000  # conversations that a user has unbound, and that have no home again
_SET_ASIDE = (_SOCKET_FAILED, _RESTS, _UNBOUND)
MAX_FAILED = 1000  # faults of accounts in conversations, each until the account serves it again
_candidate = lru_cache(10_000)(Candidate)  # most of them are the same each time
_PRIORITY = "an account of a higher priority is back"


@dataclass(frozen=True, slots=True)
class _Pick:
    """
    The chosen account. *others* says why the other eligible ones were passed over.

    *left* is the home that it stands in for, *because* says why where the home's state does not.
    """

    account: Account
    binding: BindingKind
    others: str
    key: Key | None = None
    left: str = ""
    because: str = ""


class Accounts:
    """
    All accounts, their health, the homes of conversations, and the requests in flight.

    *key* is the instance's secret: instances with the same key order accounts alike. *random* spreads what must not
    happen everywhere at the same time.
    """

    def __init__(self, config: Config, key: bytes, random: Random) -> None:
        self._key = selection.derive_key(key)
        self._cursors = selection.Cursors(random)
        self.health = Health()
        self.bindings = Bindings(config.sessions.ttl, config.sessions.limit)
        self.changes = Changes(self.health, self.bindings, lambda: self._config.sessions.prompt_cache_ttl)
        self._limiter = Limiter(config.queue.limit)
        self._in_flight: Counter[str] = Counter()
        self._tickets: set[int] = set()
        self._last_ticket = 0
        self._draining: dict[str, Account] = {}  # gone from the settings, and still answering
        self._left: BoundedMap[str, frozenset[str]] = BoundedMap(MAX_LEFT)  # by conversation, until it has a home again
        self._failed: BoundedMap[tuple[str, str], str] = BoundedMap(MAX_FAILED)  # by conversation and account, why
        self._unreached: dict[str, tuple[float, float]] = {}  # by pool: since when nothing is reached, and when last
        self._use(config)

    def choose(self, ask: Ask, now: float) -> Lease | Wait | Refusal:
        """
        Choose the account for one attempt, or say why there is none.

        On Wait the request is queued, and its callback fires when it may be served; call `leave_queue` to abandon it.
        """
        self._set_clock(now)
        decided = self._at_home(ask, now) or self._among_all(ask, now)
        if not isinstance(decided, Wait):
            self.leave_queue(ask.waiter)
        return decided

    def may_serve(self, lease: Lease, now: float) -> bool:
        """Whether the account of *lease* could serve its model again now, as far as its health goes."""
        return self.health.available(lease.account.id, lease.lane, now)

    def leave_queue(self, waiter: str) -> None:
        """Take *waiter* out of the queue, if it is in it."""
        self._limiter.leave(waiter)

    def is_new(self, ask: Ask, now: float) -> bool:
        """Whether the conversation of *ask*, if it has one, neither has a home here nor is on its way to one."""
        return bool(ask.key.affinity) and not (self.bindings.home(ask.key, now) or self.bindings.pending(ask.key))

    def first_success(self, lease: Lease, now: float) -> None:
        """
        Record the first success of *lease* (of a stream: its first content): its account becomes the home.

        A conversation that already has a home keeps it; `record_outcome` and `choose` can end that.
        """
        if lease.is_observed:
            return
        self.health.first_success(lease.account.id, lease.lane, now, lease.ticket, _context(lease))
        self._limiter.call_all(probe_scope(lease.account.id))
        if lease.key is not None:
            self.bindings.bind(lease.key, lease.account.id, lease.generation, now)
            self._left.pop(lease.key.affinity, None)
        self._failed.pop((lease.ask.conversation, lease.account.id), None)

    def record_head(self, lease: Lease, head: Head, now: float) -> None:
        """Record what the *head* of a good answer says of the provider's limits."""
        if lease.is_observed:
            return
        self.health.record_headroom(lease.account.id, lease.lane, stated_limits.headroom(head.headers, now), now)

    def record_outcome(self, lease: Lease, outcome: Outcome, now: float, tokens: int | None = None) -> None:
        """
        Apply what follows from how *lease* ended, for its account's health and for the conversation's home.

        *tokens* is what the request cost, if that is known.
        """
        if lease.is_observed:
            return
        account = lease.account
        self._set_clock(now)
        strict = account.trust_reset == "strict"
        self.health.record_outcome(account.id, lease.lane, outcome, now, lease.ticket, _context(lease), strict=strict)
        self._limiter.call_all(probe_scope(account.id))
        if not (outcome.failure or outcome.kind == "cancelled"):
            self._unreached.pop(lease.pool, None)
        if tokens is not None:
            self._limiter.correct(lease.ticket, tokens, now)
        if lease.ask.conversation and outcome.kind not in ("ok", "cancelled", "request"):
            cause, detail = refusals.cause_of(outcome)
            why = refusals.reason(Absent(account.id, account.provider.name, cause, detail))
            self._failed[lease.ask.conversation, account.id] = why
        clears = outcome.kind in TRANSIENT and self._config.sessions.on_error == "clear"
        leaves = outcome.kind in LEAVES_HOME and not outcome.status_only
        if lease.key is not None and outcome.scope != "exchange" and (clears or leaves):
            self.bindings.unbind(lease.key, account.id, lease.generation)

    def release(self, lease: Lease) -> None:
        """Give back everything that *lease* holds. A second call does nothing."""
        account = lease.account.id
        if lease.ticket not in self._tickets:
            return
        self._tickets.remove(lease.ticket)
        self._limiter.release(lease.ticket)
        if self.health.release(account, lease.lane, lease.ticket):
            self._limiter.call_all(probe_scope(account))
        self._in_flight[account] -= 1
        if not self._in_flight[account]:
            del self._in_flight[account]
            self._draining.pop(account, None)
        if lease.key is not None:
            self.bindings.release(lease.key, account)

    def reload(self, config: Config) -> None:
        """
        Use *config* from the next choice on. What is known stays, unless an account has another secret or upstream.

        Requests in flight end as they began, also on an account that is gone.
        """
        before, now = self._by_id, {account.id: account for account in config.accounts}
        gone = {name: account for name, account in (self._draining | before).items() if name not in now}
        self._draining = {name: account for name, account in gone.items() if self._in_flight[name]}
        self._use(config)
        for name in before.keys() ^ now.keys():
            self.changes.note(name, "added" if name in now else "removed", _SETTINGS)
        for account in config.accounts:
            self._reloaded(before.get(account.id, account), account)

    def _reloaded(self, old: Account, account: Account) -> None:
        because = _COMMAND if account.switched_off or old.switched_off else _SETTINGS
        if (old.origin, old.base_path) != (account.origin, account.base_path):
            self.changes.because(account.id, "it has another upstream now")
            self.health.forget(account.id)
        elif account.enabled and not old.enabled:
            self.wake(account.id, because)
        elif old.secrets != account.secrets:
            self.wake(account.id, "it has another key now")
        if account.enabled != old.enabled:
            self.changes.note(account.id, "enabled" if account.enabled else "disabled", because)

    def _use(self, config: Config) -> None:
        self._config, self._strategy = config, selection.STRATEGIES[config.strategy]
        self._by_id = {account.id: account for account in config.accounts}
        self.restricts = any(map(models.restricts, config.accounts))  # some account does not serve every model
        self._eligibility = Eligibility(config.accounts, self.health, self._limiter)
        self.health.quotas = {account.id: account.quota_group for account in config.accounts if account.quota_group}
        self._limiter.limit = config.queue.limit
        self.bindings.resize(config.sessions.ttl, config.sessions.limit)

    def wake(self, account: str, because: str = "woken by a user") -> None:
        """End every cooldown of *account*, on behalf of a user."""
        self.changes.because(account, because)
        self.health.wake(account)
        self._limiter.call_all(probe_scope(account))

    def unbind(self, affinity: str) -> frozenset[str]:
        """
        Forget the home of the conversation *affinity*, on behalf of a user; return the accounts that it leaves.

        Its next request goes to none of them while another account can serve it.
        """
        left = self.bindings.forget(affinity)
        if left:
            self._left[affinity] = left
        return left

    def credential_changed(self, account: str) -> None:
        """Record that *account* has another secret: what was wrong with the former one is over."""
        self.changes.because(account, "it has another key now")
        self.health.credential_changed(account)
        self._limiter.call_all(probe_scope(account))

    @property
    def renames(self) -> bool:
        """Whether some account calls a model by another name than clients do."""
        return any(account.models.aliases or account.models.upstream_names for account in self._config.accounts)

    def serves(self, family: str, destination: Origin | None, reverse: Origin | None, path: str = "") -> bool:
        """Whether any enabled account is in the pool of *family* (empty: any) at *destination*, as in `Ask`."""
        return self._eligibility.serves(family, destination, reverse, path)

    def unserved(
        self, family: str, destination: Origin | None, reverse: Origin | None, client: Client, now: float
    ) -> Refusal | None:
        """Say why no enabled account of *client* speaks *family* at *destination*; None: *family* is not known."""
        if not family:
            return None
        ask = Ask(family, destination, reverse or upstream_url.ANY_ORIGIN, "", Identity(), client)
        absent = [self._eligibility.absent(ask, option, now) for option in self._eligibility.options(ask, now)]
        usable = [one for one in self._config.accounts if one.enabled and client.may_use(one.provider.name)]
        others = {other for one in usable for other in one.provider.families} - {family}
        return refusals.all_disabled(absent, family, now, anywhere=destination is None, others=others)

    def absent(self, ask: Ask, now: float) -> list[Absent]:
        """Return why each account that serves the model of *ask* cannot serve now."""
        return list(self._eligibility.all_absent(ask, now))

    def take_changes(self, now: float) -> list[AccountChange]:
        """Return what happened to accounts since the last call, if `changes` has a listener."""
        return self.changes.take(self._by_id, now)

    def status(self, now: float) -> list[AccountStatus]:
        """Return how every account stands, in the order of the settings, and those that drain."""
        accounts, draining = self._config.accounts, self._draining
        return status(accounts, draining, self._in_flight, self.health, self.bindings, self._limiter, now)

    def _at_home(self, ask: Ask, now: float) -> Lease | None:
        """Choose the home if no other account may matter: the cost of a turn at home does not grow with the pool."""
        if not ask.identity.affinity or ask.pin or ask.prior_serving or ask.tried or ask.retry_home or ask.websocket:
            return None
        key = ask.key
        account = self._by_id.get(self.bindings.home(key, now))
        if account is None or self.bindings.is_cold(key, now, self._config.sessions.prompt_cache_ttl):
            return None
        origin = self._eligibility.origin(ask, account)
        if origin is None or not self._eligibility.willing(ask, [account], now):
            return None
        option = self._eligibility.option(ask, account, origin, now)
        return None if option.obstacle else self._grant(ask, _Pick(account, "hit", "", key), [option], now)

    def _among_all(self, ask: Ask, now: float) -> Lease | Wait | Refusal:
        options = self._eligibility.options(ask, now)
        if ask.pin:
            pinned = [option for option in options if option.account.id == ask.pin]
            if not pinned:
                return refusals.account_unknown(ask.pin, [option.account.id for option in options])
            options = pinned
        if ask.prior_serving and (decided := self._as_before(ask, ask.prior_serving, options, now)):
            return decided
        if ask.avoided:
            options = _others_first(options, ask.avoided, _SOCKET_FAILED)
        if left := self._left.get(ask.identity.affinity):
            options = _others_first(options, dict.fromkeys(left, now), _UNBOUND)
        if ask.opens:
            options = self._well_first(options, now)
        eligible = [option.account for option in options if not option.obstacle]
        if not eligible:
            return self._last_chance(ask, options, now) or self._none(ask, options, now)
        pick = self._pick(ask, self._eligibility.willing(ask, eligible, now) or eligible, options, now)
        if pick.binding not in ("hit", "inherited") and (better := self._better_busy(ask, pick.account, options, now)):
            return self._wait(ask, better, now)
        return self._grant(ask, pick, options, now)

    def _well_first(self, options: list[Option], now: float) -> list[Option]:
        """Leave out accounts that cool down for some model: messages on a WebSocket can go to no other account."""
        able = [option.account.id for option in options if not option.obstacle]
        well = {account for account in able if self.health.is_well(account, now)}
        if not well:
            return options
        return [
            each if each.obstacle or each.account.id in well else replace(each, obstacle="resting", reason=_RESTS)
            for each in options
        ]

    def _as_before(
        self, ask: Ask, served: PriorServing, options: Sequence[Option], now: float
    ) -> Lease | Wait | Refusal | None:
        option = next((option for option in options if option.account.id == served.account), None)
        if option is None:
            return None
        if option.obstacle == "busy" and now < ask.preferred_until:
            return self._wait(ask, [option], now)
        if option.obstacle:
            return None
        key = None
        if ask.identity.affinity and ask.identity.binds:
            key = self._home(ask, [option.account], options, now)[0]
        pick = _Pick(option.account, "inherited", "another account served this before", key)
        return self._grant(ask, pick, options, now)

    def _pick(self, ask: Ask, eligible: Sequence[Account], options: Sequence[Option], now: float) -> _Pick:
        if ask.pin:
            return _Pick(eligible[0], "none", "")
        fit = selection.able(eligible, ask.websocket)
        if not ask.identity.affinity:
            return _Pick(self._select(ask, fit, now)[0], "none", "later in the order")
        key, home, lost = self._home(ask, fit, options, now)
        at_home = next((account for account in fit if account.id == home), None)
        if at_home is not None:
            at_home = self._home_from_now(key, at_home, fit, now)
            if at_home is None:
                return replace(self._new_home(ask, fit, key, home, now), because=_PRIORITY)
            return _Pick(at_home, "hit", "not the home of this conversation", key)
        if home:
            return _Pick(self._fallback(ask, fit, now), "reselected", "later in the order", key, home)
        return self._new_home(ask, fit, key, lost, now)

    def _home_from_now(self, key: Key, home: Account, fit: Sequence[Account], now: float) -> Account | None:
        """
        Return *home*, or the fallback that replaces it; None: the binding is dropped, and a new home is to be chosen.

        A home changes only after a silence, when its cache is cold; it is dropped for an account of a higher priority.
        """
        cold = self._config.sessions.prompt_cache_ttl
        if not self.bindings.is_cold(key, now, cold):
            return home
        fallback = self.bindings.fallback(key, now, cold)
        there = next((one for one in fit if one.id == fallback and one.priority >= home.priority), None)
        if there is not None:
            self.bindings.move(key, there.id, now)
            return there
        better = self._config.sessions.failback == "idle" and max(one.priority for one in fit) > home.priority
        if better and not fallback:
            self.bindings.drop(key)
            return None
        return home

    def _new_home(self, ask: Ask, fit: Sequence[Account], key: Key, lost: str, now: float) -> _Pick:
        identity = ask.identity
        warm = next((account for account in fit if account.id == identity.home), None)
        if not identity.binds:  # a side call leaves no trace, not even that of a session under way
            return _Pick(warm or self._admitted(ask, fit, now), "none", "later in the order")
        if warm is not None:
            return _Pick(warm, "inherited", "this conversation was answered elsewhere", key, lost)
        alike = next((account for account in fit if account.id == identity.near), None)
        if alike is not None and selection.has_room(alike, fit, self.bindings.sessions):
            return _Pick(alike, "inherited", "conversations that began alike are elsewhere", key, lost)
        pending = self.bindings.pending(key)
        there = next((account for account in fit if account.id in pending), None)
        if there is not None:
            return _Pick(there, "inherited", "this conversation is under way elsewhere", key, lost)
        label: BindingKind = "reselected" if lost else "new"
        return _Pick(self._admitted(ask, fit, now), label, "later in the order", key, lost)

    def _home(self, ask: Ask, fit: Sequence[Account], options: Sequence[Option], now: float) -> tuple[Key, str, str]:
        """
        Return the key to bind, the home under it (or empty), and a home that was lost on the way (or empty).

        A model (or a WebSocket) that the conversation's home lacks has a home of its own, under a key of its own.
        """
        key, model_key = ask.key, ask.model_key
        home, lost = self._living(key, options, now)
        beside, lost_beside = self._living(model_key, options, now)
        if home and not self._lacks(home, fit, ask.websocket, options, now):
            return key, home, ""
        if home or beside:
            return model_key, beside, home
        return key, "", lost or lost_beside

    def _living(self, key: Key, options: Sequence[Option], now: float) -> tuple[str, str]:
        """Return the home of *key* (or empty), and one that was dropped because it cannot come back (or empty)."""
        home = self.bindings.home(key, now)
        if not home:
            return "", ""
        here = next((each for each in options if each.account.id == home and each.obstacle != "disabled"), None)
        if here and (not here.obstacle or not self.health.is_dead(home, now)):
            return home, ""
        self.bindings.drop(key)
        return "", home

    def _lacks(self, home: str, fit: Sequence[Account], websocket: bool, options: Sequence[Option], now: float) -> bool:
        option = next(option for option in options if option.account.id == home)
        if option.obstacle == "model" or (option.obstacle and self.health.lacks(home, option.lane, now)):
            return True
        return websocket and not option.obstacle and all(account.id != home for account in fit)

    def _select(self, ask: Ask, fit: Sequence[Account], now: float) -> list[Account]:
        return self._strategy.order(ask.identity.affinity, selection.best_tier(fit), self._state(ask, now))

    def _admitted(self, ask: Ask, fit: Sequence[Account], now: float) -> Account:
        low = self.health.low(now)
        calm = [one for one in fit
                if one.id not in low or not self.health.is_low(one.id, models.lane(one, ask.model), now)]  # fmt: skip
        order = self._select(ask, calm or fit, now)
        return selection.admit(order, self.bindings.sessions) if self._strategy.bounded else order[0]

    def _fallback(self, ask: Ask, fit: Sequence[Account], now: float) -> Account:
        return self._strategy.fallback(ask.identity.affinity, selection.best_tier(fit), self._state(ask, now))[0]

    def _state(self, ask: Ask, now: float) -> selection.SelectionState:
        return selection.SelectionState(
            self._key,
            self._cursors,
            in_flight=lambda account: self._in_flight[account],
            errors=lambda account: self.health.errors(account, now),
            round=(ask.pool, models.bounded(ask.model)),
        )

    def _grant(self, ask: Ask, pick: _Pick, options: Sequence[Option], now: float) -> Lease:
        account = pick.account
        option = next(option for option in options if option.account.id == account.id)
        self._last_ticket += 1
        ticket = self._last_ticket
        self._tickets.add(ticket)
        self._in_flight[account.id] += 1
        before = ask.prior_serving.slot if ask.prior_serving and ask.prior_serving.account == account.id else None
        wanted = _preferred_slot(ask.identity.affinity) if before is None else before
        held = self._limiter.acquire(
            ticket, self._eligibility.limits(ask, account, option.lane), now, wanted, ask.waiter
        )
        early = not self.health.available(account.id, option.lane, now)
        self.health.acquire(account.id, option.lane, now, ticket, early=early)
        home = self._home_before(ask, pick, now)
        stands_in = home not in ("", account.id)
        because = (pick.because or self._why_left(ask, home, options, now)) if stands_in else ""
        return Lease(
            account,
            option.origin,
            models.upstream(account, ask.model),
            ask.pool,
            option.lane,
            pick.binding,
            tuple(
                [self._candidate(ask, each, pick, because if each.account.id == home else "", now) for each in options]
            ),
            self.bindings.hold(pick.key, account.id, now) if pick.key else 0,
            ask,
            pick.key,
            ticket,
            held.number,
            home=home,
            left_because=because,
        )

    def _home_before(self, ask: Ask, pick: _Pick, now: float) -> str:
        """Return the account that the conversation of *ask* had, as in `Lease`."""
        if pick.binding == "hit":
            return pick.account.id
        if pick.left or not ask.identity.affinity or ask.pin or ask.prior_serving:
            return pick.left
        bindings = self.bindings
        of_key = (bindings.home(key, now) or bindings.former(key) for key in (ask.key, ask.model_key))
        return next(filter(None, of_key), "") or (ask.identity.home if pick.binding != "inherited" else "")

    def _candidate(self, ask: Ask, option: Option, pick: _Pick, because: str, now: float) -> Candidate:
        """Return *option* with why it was passed over: *because*, where that is known."""
        if option.account.id == pick.account.id:
            return _candidate(option.account.id)
        if because or option.obstacle:
            return _candidate(option.account.id, because or self._why_not(ask, option, now))
        if pick.binding != "hit" and option.account.priority < pick.account.priority:
            return _candidate(option.account.id, "lower priority")
        return _candidate(option.account.id, pick.others)

    def _why_not(self, ask: Ask, option: Option, now: float) -> str:
        """Return in words why *option*, which has an obstacle, is not taken."""
        known = option.obstacle in ("disabled", "model", "owner") or option.reason in _SET_ASIDE
        if known or (option.obstacle == "tried" and option.account.id not in ask.ended):
            return option.reason
        why = refusals.reason(self._eligibility.absent(ask, option, now))
        return f"{why}, another request is probing it" if option.obstacle == "probed" else why

    def _why_left(self, ask: Ask, home: str, options: Sequence[Option], now: float) -> str:
        """Return in words why *home* does not serve *ask*."""
        option = next((each for each in options if each.account.id == home), None)
        if option is None:
            return "not in this pool any more"
        if not option.obstacle:
            failed = self._failed.get((ask.conversation, home))
            return failed or ("it takes no WebSocket" if ask.websocket else "it refused this conversation")
        return self._why_not(ask, option, now)

    def _set_clock(self, now: float) -> None:
        if back := self.health.clock(now):
            self._limiter.shift(back)

    def _better_busy(self, ask: Ask, than: Account, options: Sequence[Option], now: float) -> list[Option]:
        if now >= ask.preferred_until:
            return []
        return [each for each in options if each.obstacle == "busy" and each.account.priority > than.priority]

    def _last_chance(self, ask: Ask, options: Sequence[Option], now: float) -> Lease | None:
        """Let one request probe a lane that cools down, from time to time; each lane is probed by itself."""
        if any(each.obstacle in ("busy", "probed") for each in options) or len(ask.tried) >= MAX_TRIED:
            return None
        out = [(self.health.last_chance(each.account.id, each.lane, now, ask.conversation), each)
               for each in options if each.obstacle == "resting" and each.account.id not in ask.tried]  # fmt: skip
        chances = [(deadline, each.account.id, each) for deadline, each in out if deadline is not None]
        if not chances:
            return None
        option = min(chances, key=lambda chance: chance[:2])[2]
        if self._eligibility.reached(ask, option.account, option.lane, now):
            return None
        return self._grant(ask, _Pick(option.account, "none", "longer cooldown"), options, now)

    def _wait(self, ask: Ask, options: Sequence[Option], now: float) -> Wait | Refusal:
        awaited = [option.awaited for option in options]
        if ask.waiter and not self._limiter.wait(ask.waiter, ask.recheck, awaited, ask.party):
            absent = [self._eligibility.absent(ask, option, now) for option in options]
            return refusals.queue_full(self._limiter.limit, absent, now)
        ends = [self._eligibility.free_at(option, now) for option in options]
        until = min([now + QUEUE_RECHECK, *(at for at in ends if at is not None)])
        if now < ask.preferred_until:
            until = min(until, ask.preferred_until)
        return Wait(until, "every account that could serve this is busy")

    def _none(self, ask: Ask, options: Sequence[Option], now: float) -> Wait | Refusal:
        resting = [each for each in options if each.obstacle == "resting"]
        soon = [each for each in resting if self._eligibility.is_soon(ask, each, now)]
        if awaited := [each for each in options if each.obstacle in ("busy", "probed")] + soon:
            return self._wait(ask, awaited, now)
        out = [each for each in options if each.obstacle in ("resting", "tried")]
        absent = [self._eligibility.absent(ask, each, now) for each in out]
        if ask.identity.owner is not None:
            return refusals.owner_unavailable(absent, now)
        if not options:
            return refusals.no_account()
        off = [each for each in options if each.obstacle == "disabled" and models.serves(each.account, ask.model)]
        absent = absent or [self._eligibility.absent(ask, each, now) for each in off]
        if ask.unreadable and all(each.obstacle == "model" for each in options):
            return refusals.unreadable(ask.unreadable)
        asked = (ask.model, *ask.others)
        unserved = (name for name in asked if not any(models.serves(each.account, name) for each in options))
        model = next(unserved, ask.model)
        if not absent:
            accounts = [each.account for each in options]
            return refusals.unserved(model, mends.of_model(model, accounts, ask.client.models))
        return self._lasting(ask, refusals.none_left(model, absent, now, ask.family), now)

    def _lasting(self, ask: Ask, refusal: Refusal, now: float) -> Refusal:
        """Return *refusal*, final once no upstream could be reached for a while: no client retries for ever."""
        if refusal.code not in refusals.OF_THE_WAY:
            return refusal
        since, last = self._unreached.get(ask.pool, (now, now))
        self._unreached[ask.pool] = (since if now - last < QUIET else now, now)
        return replace(refusal, final=now - self._unreached[ask.pool][0] >= LASTING)


def _others_first(options: list[Option], avoided: Mapping[str, float], reason: str) -> list[Option]:
    """Return *options* without the accounts in *avoided*; where that leaves none, with the one avoided longest."""
    able = [option.account.id for option in options if not option.obstacle]
    fit = {account for account in able if account not in avoided} or set(sorted(able, key=avoided.__getitem__)[:1])
    return [
        each if each.obstacle or each.account.id in fit else replace(each, obstacle="tried", reason=reason)
        for each in options
    ]


def _context(lease: Lease) -> OutcomeContext:
    return OutcomeContext(str(lease.origin), lease.ask.waiter, lease.ask.conversation)


def _preferred_slot(affinity: str) -> int:
    return int.from_bytes(affinity.encode("utf-8", "replace")[-8:], "big")
