"""
The story of one exchange: open · next · answered · close.

Everything it needs is passed in; nothing here waits, reads a clock or knows mitmproxy. Between reading and writing
state nothing is awaited, so an exchange sees the accounts as they are.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from random import Random

import msgspec
from blake3 import blake3

from . import account_bound, answer_urls, clients, correlation, dialects, requested_models, upstream_url
from .accounts import models, refusals
from .accounts.outcome import ALONE, NO_API, classify, classify_error, classify_failure
from .accounts.pool import Accounts, Ask, Choice
from .accounts.quoted_text import ClientText
from .answer.reader import BODY_BYTES, AnswerReader as Reader
from .answer_urls import Way
from .body import Body, members
from .crosstalk.recent import RecentExchanges
from .crosstalk.request_summary import RequestSummary
from .crosstalk.watch import Watch
from .dialects.dialect import BoundField
from .identity import references
from .identity.identify import Identifier
from .identity.signals import names_one
from .ledger import Ledger
from .requested_models import RequestedModels
from .settings.settings import Config
from .state import State
from .values.account import Account, Stamp
from .values.answer import AnswerEvent, Chunk, End, Fact, Failure, Head, Message, Overdue, Reaction, Usage
from .values.decision import Candidate, Decision, Edit, Finding, Identity, Outcome, Refusal, Route, Tried, Verdict, Wait
from .values.http import Client, Endpoint, Headers, Origin, Request, Served

UNNAMED = 1000  # models that `model_ids` has no entry for, of which is remembered that it was said
HELD_BYTES = 256 * 1024  # of an error or a whole answer: enough to read any error, small enough to keep many
HELD_STREAM_BYTES = 64 * 1024  # of a stream that says nothing
HELD_SECONDS = 5.0  # for the body of an error
PAUSE = 1.0  # before a conversation asks its home again, where the home does not say when
BYTES_PER_TOKEN = 4  # of a request's body, as an estimate until the provider has counted
LEFT_SECONDS = 30.0  # for which a conversation whose WebSocket failed opens no other one on that account
LEARNED_FACTS = 1024  # ids and tokens kept of one answer
FOREIGN = Refusal(502, "crosstalk_detected", "The provider gave this request an answer that belongs to another one")
# Events of a client on a WebSocket, beside the one that asks for an answer.
_EVENTS = frozenset({"response.append", "response.cancel", "response.processed"})
_EMPTY = (204, 205)
_JSON = frozenset({"application/json", "text/json"})
_TURN_STATE = "x-codex-turn-state"  # the client gives it back, and only the account that made it can read it
# Members that name what a provider has kept of earlier requests.
_STORED = ("previous_response_id", "previous_interaction_id", "conversation")
_UNKNOWN = Served()
_OWNER_OUT, _NO_THREAD = "owner_unavailable", "thread_not_found"
# What only one account has of a conversation, by where it stands in a request.
_OWNED = {
    "reasoning": "encrypted reasoning",
    "state": "turn state",
    "sealed": "compacted history",
    "reference": "stored response",
    "file": "file",
    "container": "container",
    "cache": "cached content",
}
_MOVABLE = frozenset({"rate", "quota", "overload", "auth", "permission", "model", "server"})


@dataclass(slots=True)
class Attempt:
    """One sending upstream, as it goes."""

    route: Route
    choice: Choice
    ask: Ask
    reader: Reader
    watch: Watch
    started: float
    head: Head | None = None
    said: Head | None = None  # what would be the head of an error that comes in an event
    body: bytearray = field(default_factory=bytearray)  # of an error answer
    outcome: Outcome | None = None
    held: bool = False
    held_bytes: int = 0
    alarm: bool = False  # its answer is another's, or two exchanges got it
    proof: bool = False  # its answer is another's for certain, so that its owner loses nothing when it is kept back
    judged: bool = False  # and something was done about it
    reached: bool = True  # the upstream may have seen the request
    lost: bool = False  # its connection ended under it, for which others on it may be the reason
    broken: bool = False  # no answer came, or half of one
    lacks: str = ""  # why what came under a good status is no answer
    slow: bool = False  # it was given up although the upstream may be working on it, and must not be repeated
    served: bool = False  # its first content came
    closed: bool = False  # it said why it ended, so it may be empty
    ended: bool = False
    released: bool = False
    usage: Usage | None = None
    error: str = ""
    finished: float | None = None
    complaint: str = ""  # what an error says
    left: bool = False  # something of the request stayed here, which belongs to another account
    learned: list[Fact] = field(default_factory=list)
    learned_from: bool = False


@dataclass(slots=True)
class Exchange:
    """One client request and the answer the client gets, over however many attempts."""

    id: str
    request: Request
    identity: Identity
    model: str
    names: RequestedModels
    stream: bool
    digest: bytes
    opened: float
    pin: str
    reverse: Origin | None
    in_flight: int
    socket: Route | None = None
    served: Served | None = None  # how it was served before, if it is a replay in the same conversation
    woken: Callable[[], None] = lambda: None  # called when a wait may be over
    waits_since: float | None = None
    renewed: set[str] = field(default_factory=set)  # accounts that got another secret meanwhile, and may try again
    unsealed: set[str] = field(default_factory=set)  # accounts that get it without what others sealed
    attempts: list[Attempt] = field(default_factory=list)
    candidates: tuple[Candidate, ...] = ()
    pool: str = ""
    first_byte: float | None = None
    stay: str = ""  # the home it waited for, once
    stay_until: float = 0.0
    refusal: Refusal | None = None
    decision: Decision | None = None
    words: ClientText | None = None  # what the client wrote, once an error asked for it

    @property
    def attempt(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent twice: asking a model again does no harm, creating a batch again may."""
        if self.request.body.raw is None:  # it streamed through and is gone
            return False
        if self.request.endpoint.kind == "generation":
            return self.request.body.get("background") is not True  # a job that goes on when nobody listens
        return self.request.method in ("GET", "HEAD", "OPTIONS")


class Router:
    """
    The rooms, put together for one configuration.

    *key* is the 32-byte master key; *random_bytes* returns as many random bytes as it is asked for. `unnamed` is called
    once for each provider and model whose requests lack the model's id, because `model_ids` does not name it. `changed`
    is called when something has changed that another instance should know before its next request.
    """

    def __init__(self, config: Config, key: bytes, random: Random, random_bytes: Callable[[int], bytes]) -> None:
        self.config = config
        self._scopes = _scopes(config)
        self.ledger = Ledger(config.limits.remembered)
        self.memory = RecentExchanges()
        self.accounts = Accounts(config, _derived(key, "accounts"), random)
        self._identifier = Identifier(_derived(key, "identity"), config.sessions, self.ledger)
        self._mint = mint_of(key)
        self._session_key = _derived(key, "session")
        self._digest_key = _derived(key, "digest")
        self._random_bytes = random_bytes
        self._in_flight: Counter[str] = Counter()
        self._on_sockets: OrderedDict[tuple[bytes, str], str] = OrderedDict()
        self._left: OrderedDict[tuple[bytes, str], dict[str, float]] = OrderedDict()
        self._unnamed: OrderedDict[tuple[str, str], None] = OrderedDict()
        # conversations, by client, of which an account refused what others sealed
        self._unsealed: OrderedDict[tuple[bytes, str, str], None] = OrderedDict()
        self.unnamed: Callable[[str, str], None] = lambda provider, model: None
        kept = self.accounts.bindings, self.accounts.health, self.ledger, self._identifier.aliases
        self.changed: Callable[[], None] = lambda: None
        self.state = State(*kept, self.memory.habits)
        self.state.woken = self.accounts.woken

    def reload(self, config: Config) -> None:
        """Go by *config* from now on. What is known stays; what is under way ends on the account it is on."""
        self.config = config
        self._scopes = _scopes(config)
        self.accounts.reload(config)
        self._identifier.reload(config.sessions)

    def open(
        self, request: Request, now: float, *, reverse: Origin | None = None, socket: Route | None = None
    ) -> Exchange | Refusal:
        """
        Read *request* once and say whose conversation it is; *reverse* is the upstream of `--mode reverse:`.

        *socket* is the route of the WebSocket that *request* is a message on: no other account can have it. Every
        exchange that was opened must be closed.
        """
        pin = request.headers.get("x-patchbay-account").strip()
        if pin and not request.client.may_pin:
            return Refusal(403, "pin_not_allowed", "This client may not choose the account of a request")
        names = self._naming(request, socket)
        if names.hidden and _is_broken(request):
            return refusals.broken_json()
        if refusal := clients.overstepped(request.client, request.endpoint, names):
            return refusal
        if refusal := self._kept_apart(request, now):
            return refusal
        # a body that streams through is not seen, so it counts as like no other
        digest = self._random_bytes(16) if request.body.raw is None else _digest(self._digest_key, request)
        name = self._random_bytes(8).hex()
        found = self._identifier.identify(request, now, name)
        identity, served = _as_before(found, request.replay, digest)
        model = self._spoken_model(request, identity, names.model, socket)
        self._in_flight[identity.affinity] += 1
        return Exchange(
            id=name,
            request=request,
            identity=identity,
            model=model,
            names=names,
            stream=request.endpoint.stream or request.body.get("stream") is True or socket is not None,
            digest=digest,
            opened=now,
            pin=socket.account.id if socket else pin,
            reverse=reverse,
            in_flight=self._in_flight[identity.affinity],
            socket=socket,
            served=served,
        )

    def is_new(self, exchange: Exchange, now: float) -> bool:
        """Whether the conversation of *exchange*, if it has one, is not known here."""
        return self.accounts.is_new(self._ask(exchange, now), now)

    def look_again(self, exchange: Exchange, now: float) -> None:
        """Say once more whose conversation *exchange* is, before its first attempt: more may be known than before."""
        self._leave(exchange.identity)
        found = self._identifier.identify(exchange.request, now, exchange.id)
        exchange.identity, exchange.served = _as_before(found, exchange.request.replay, exchange.digest)
        self._in_flight[exchange.identity.affinity] += 1
        exchange.in_flight = self._in_flight[exchange.identity.affinity]

    def _leave(self, identity: Identity) -> None:
        self._identifier.closed(identity)
        self._in_flight[identity.affinity] -= 1
        if self._in_flight[identity.affinity] <= 0:
            del self._in_flight[identity.affinity]

    def oversteps(self, request: Request, socket: Route | None = None) -> Refusal | None:
        """Say why *request*, which was let in before, would not be now: what its client may has changed."""
        return clients.overstepped(request.client, request.endpoint, self._naming(request, socket))

    def stands(self, route: Route) -> bool:
        """Whether the account of *route*, of some time ago, is still served, at the same place."""
        now = self._present(route.account)
        return (
            now is not None
            and now.enabled
            and (now.origin, now.base_path) == (route.account.origin, route.account.base_path)
        )

    def _present(self, account: Account) -> Account | None:
        return next((one for one in self.config.accounts if one.id == account.id), None)

    def is_served_elsewhere(self, exchange: Exchange) -> bool:
        """Whether the account of the WebSocket of *exchange* lacks a model that another account serves."""
        if exchange.socket is None or not self.accounts.restricts:
            return False
        here = self._present(exchange.socket.account) or exchange.socket.account
        names, family = exchange.names.all, exchange.request.endpoint.family
        if all(models.serves(here, name) for name in names):
            return False
        others = (one for one in self.config.accounts if one.enabled and family in one.provider.families)
        return any(all(models.serves(one, name) for name in names) for one in others)

    def left(self, exchange: Exchange, now: float) -> None:
        """Take note that a WebSocket of this conversation ends because of its account: the next one gets another."""
        account = exchange.socket.account if exchange.socket else exchange.attempts[-1].route.account
        key = exchange.request.client.scope, exchange.identity.affinity
        self._left[key] = {**self._left.get(key, {}), account.id: now}
        self._left.move_to_end(key)
        while len(self._left) > self.config.sessions.limit:
            self._left.popitem(last=False)

    def _left_by(self, exchange: Exchange, now: float) -> dict[str, float]:
        if not self._left or exchange.socket is not None or not _is_upgrade(exchange.request):
            return {}
        left = self._left.get((exchange.request.client.scope, exchange.identity.affinity), {})
        return {account: at for account, at in left.items() if now < at + LEFT_SECONDS}

    def may_go_on(self, exchange: Exchange, now: float) -> bool:
        """Whether the account of *exchange*, the last one on its WebSocket, could take another one now."""
        return exchange.attempt is None or self.accounts.may_serve(exchange.attempt.choice, now)

    def has_failed(self, exchange: Exchange) -> bool:
        """Whether the answer of the present attempt says that its account fails, so that another may do better."""
        attempt = exchange.attempt
        return attempt is not None and attempt.outcome is not None and attempt.outcome.kind in _MOVABLE

    def passes(self, request: Request, socket: Route, now: float) -> Refusal | None:
        """Say why a message on the WebSocket of *socket* that asks for no answer may not go on, if it may not."""
        names = requested_models.of_message(request.body, creates=False)
        if request.body.text("type") not in _EVENTS:
            names = replace(names, hidden=names.hidden or "nobody here knows this event")
        if refusal := clients.overstepped(request.client, request.endpoint, names):
            return refusal
        if refusal := self._kept_apart(request, now):
            return refusal
        account = next((one for one in self.config.accounts if one.id == socket.account.id), socket.account)
        if all(models.serves(account, model) for model in names.all):
            return None
        return Refusal(403, "model_not_allowed", f"The account of this WebSocket does not serve {', '.join(names.all)}")

    def next(self, exchange: Exchange, now: float) -> Route | Wait | Refusal:
        """Choose the account of the next attempt, with a fresh request id and the edits it needs."""
        decided = self._bounded(exchange, now) or self._staying(exchange, now) or self._chosen(exchange, now)
        if not isinstance(decided, Wait):
            exchange.waits_since = None
            self.accounts.leave(exchange.id)
        if isinstance(decided, Refusal):
            exchange.refusal = decided
        return decided

    def renewed(self, exchange: Exchange, account: str) -> None:
        """Take note that *account*, which refused this exchange, has another secret now: once, it may try again."""
        self.accounts.cleared(account)
        exchange.renewed.add(account)

    def _kept_apart(self, request: Request, now: float) -> Refusal | None:
        """Refuse what would show a client, or give into its hands, what the provider stores for another one."""
        if not request.client.key:
            return None
        if self._scopes > 1 and clients.lists(request):
            return Refusal(
                403, "list_not_allowed", "This list would show what other clients of this proxy have stored as well"
            )
        if self._scopes > 1 and request.body.is_object and _is_twofold(request.body):
            return Refusal(400, "body_unusable", "The body holds a member twice, so that it can be read in two ways")
        if found := self._identifier.foreign(request, now):
            if found == _thread_of(request.body):
                return _thread_not_found(f"There is no thread {found[:256]!r}")
            chained = found == request.body.text("previous_response_id")
            code = "previous_response_not_found" if chained else "not_found"
            return Refusal(404, code, f"There is no {found[:256]!r}")
        return None

    def _naming(self, request: Request, socket: Route | None) -> RequestedModels:
        """Return the models of *request*: all of them where somebody's rights or lists depend on it."""
        if not (request.client.models or self.accounts.restricts):
            return requested_models.read(request)
        return (
            requested_models.strictly(request)
            if socket is None
            else requested_models.of_message(request.body, creates=True)
        )

    def _spoken_model(self, request: Request, identity: Identity, model: str, socket: Route | None) -> str:
        """
        Return *model*, or for an upgrade, which names none, the one that was asked for last on such a socket.

        Without it an account that rests for that model alone would get every new socket of the conversation again.
        """
        key = (request.client.scope, identity.affinity)
        if socket is not None and model:
            self._on_sockets[key] = model[:256]
            self._on_sockets.move_to_end(key)
            while len(self._on_sockets) > self.config.sessions.limit:
                self._on_sockets.popitem(last=False)
        return model or (self._on_sockets.get(key, "") if _is_upgrade(request) else "")

    def serves(self, endpoint: Endpoint, destination: Origin, reverse: Origin | None = None) -> bool:
        """Whether any enabled account answers for *endpoint* at *destination*; *reverse* as in `open`."""
        anywhere = upstream_url.is_anywhere(destination)
        if anywhere and not endpoint.family:
            return False  # a path of no dialect says nothing about which provider it is for
        path = "" if endpoint.family else endpoint.suffix
        return self.accounts.serves(endpoint.family, None if anywhere else destination, reverse, path)

    def unserved(
        self, endpoint: Endpoint, destination: Origin, reverse: Origin | None, client: Client, now: float
    ) -> Refusal | None:
        """Say why no enabled account answers for *endpoint*, where it is of a protocol; see `serves`."""
        there = None if upstream_url.is_anywhere(destination) else destination
        return self.accounts.unserved(endpoint.family, there, reverse, client, now)

    def has_account_at(self, destination: Origin) -> bool:
        """Whether *destination* is the origin of an enabled account."""
        return any(account.enabled and account.origin == destination for account in self.config.accounts)

    def must_read(self, client: Client, endpoint: Endpoint) -> bool:
        """Whether the body of a request for *endpoint* has to be read before it goes up, because it names models."""
        names = endpoint.asks in ("model", "named", "batch", "tuning")
        return names and (bool(client.models) or self.accounts.restricts or self.accounts.renames)

    def made(self, request_id: str) -> bool:
        """Whether *request_id* was made under this instance's key."""
        return bool(self._mint.recognise(request_id))

    def resolved(
        self, endpoint: Endpoint, path: str, headers: Container[str], destination: Origin, reverse: Origin | None
    ) -> Endpoint:
        """Return what *path* means: where several dialects spell it alike, the first that an account here speaks."""
        readings = upstream_url.readings(endpoint, path, headers)
        if len(readings) == 1:
            return endpoint
        return next((each for each in readings if self.serves(each, destination, reverse)), endpoint)

    def way(self, exchange: Exchange) -> Way | None:
        """Return what addresses of the upstream in the present answer of *exchange* are to its client."""
        attempt, request = exchange.attempt, exchange.request
        if attempt is None:
            return None
        route, anywhere = attempt.route, upstream_url.is_anywhere(request.destination)
        return Way(route.account, route.origin, request.address, request.path, route.edit.path, anywhere)

    def given(self, exchange: Exchange, way: Way, now: float) -> None:
        """Remember the addresses that the client of *exchange* was given by *way*: their account is asked for them."""
        if way.given and not exchange.request.replay:
            self._identifier.given(exchange.request, way.account.id, way.given, now)
            way.given.clear()

    def is_given(self, exchange: Exchange, now: float) -> bool:
        """Whether *exchange* asks for an address that an answer gave to its client."""
        return exchange.request.endpoint.kind != "generation" and self._identifier.is_given(exchange.request, now)

    def given_to(self, path: str, now: float) -> Client | None:
        """Return the client that an answer gave the address of an upload, *path* with its query, if it is one."""
        found = self._identifier.given_to(path, now) if "?" in path else None
        return Client(scope=found[0], key=found[1]) if found else None

    def instead(self, exchange: Exchange) -> Refusal | None:
        """
        Say what the client gets in place of the last real answer, where that must not reach it, or there is none.

        A tool that sees 401 or 403 logs its user out; but here it is an account of ours that was not let in.
        """
        if exchange.attempt and exchange.attempt.judged:
            return FOREIGN
        if exchange.refusal and exchange.refusal.code == _NO_THREAD:  # the client knows what to do about it
            return exchange.refusal
        if refused := _no_answer(exchange) or _unanswered(exchange):
            return refused
        last = next((attempt for attempt in reversed(exchange.attempts) if attempt.head), None)
        if last is None or last.head is None or last.outcome is None:
            return None
        status = (last.said or last.head).status
        if status == 403 and last.outcome.detail.endswith(ALONE):  # no login cures it, and a client reads the words
            return None
        if status in (401, 403, 407) and last.outcome.detail.endswith(NO_API):
            return refusals.on_the_way_instead(status, exchange.refusal)
        if status == 429 and not exchange.socket and refusals.is_far(exchange.refusal):
            return exchange.refusal
        if status == 403 and last.outcome.kind == "model" and exchange.refusal and last.outcome.scope != "none":
            return exchange.refusal
        kinds = {"auth", "permission", "quota"} if status in (401, 403, 407) else set[str]()
        if status == 400 and last.outcome.scope == "account" and exchange.refusal:  # as it is told from then on
            kinds = {"auth", "permission"}
        if exchange.socket:  # an event says what is wrong in a code, and need not name a status
            kinds |= {"auth", "permission"}
        if last.outcome.kind not in kinds:
            return None
        if exchange.refusal and exchange.refusal.code == _OWNER_OUT:  # it says which account that is
            return exchange.refusal
        if exchange.socket:
            message = "The account of this WebSocket was not let in by its provider; connect again for another one"
            return Refusal(502, "upstream_credentials_exhausted", message, fields={"tried": len(exchange.attempts)})
        return refusals.not_let_in(exchange.refusal, len(exchange.attempts))

    def hold_seconds(self, exchange: Exchange) -> float:
        """Say how long the present answer may be held back."""
        attempt = exchange.attempt
        failed = attempt is not None and attempt.head is not None and attempt.head.status >= 400
        return HELD_SECONDS if failed else self.config.failover.hold_seconds

    def unsent(self, exchange: Exchange, reason: str, now: float) -> None:
        """Take note that the present attempt was not sent: its account's credential cannot be had."""
        attempt = exchange.attempt
        if attempt and not attempt.ended:
            attempt.reached = False
            self._finish(exchange, attempt, refusals.unsent(reason), now)

    def answered(self, exchange: Exchange, what: AnswerEvent, now: float) -> Reaction:
        """
        Take note of what the upstream of the present attempt did, and say what is to be done about it.

        A failing answer is held until it can be read; then it is delivered, or another account is tried.
        """
        attempt = exchange.attempt
        if attempt is None or attempt.ended:
            return "deliver"
        unseen = attempt.held or isinstance(what, Head)
        reaction = self._noted(exchange, attempt, what, now)
        if attempt.proof and not attempt.judged and self.config.crosstalk.reaction != "observe":
            return self._foreign(exchange, attempt, unseen, now)
        return reaction

    def _noted(self, exchange: Exchange, attempt: Attempt, what: AnswerEvent, now: float) -> Reaction:
        match what:
            case Head():
                return self._head(exchange, attempt, what, now)
            case Chunk():
                return self._chunk(exchange, attempt, what, now)
            case Message():
                return self._message(exchange, attempt, what, now)
            case End():
                return self._end(exchange, attempt, now)
            case Failure():
                return self._failure(exchange, attempt, what, now)
            case Overdue():
                return self._overdue(exchange, attempt, now)

    def verdict(self, exchange: Exchange) -> Verdict:
        """Say what is known so far about whether the answer is ours."""
        if exchange.attempt is None:
            return Verdict("unverifiable", note="nothing was sent")
        return exchange.attempt.watch.verdict()

    def is_nameless(self, exchange: Exchange) -> bool:
        """Whether an id stands in the answer that belongs to somebody whom nobody here knows."""
        return exchange.attempt is not None and exchange.attempt.watch.is_nameless

    def settle(self, exchange: Exchange, now: float) -> list[Finding]:
        """Look again for the owners of such ids; return the findings that name one now."""
        return exchange.attempt.watch.settle(now) if exchange.attempt else []

    def sent(self, exchange: Exchange) -> list[dict[str, object]]:
        """Return, as plain types, what it takes to judge the answer again later, by `crosstalk.again`."""
        return [attempt.watch.record() for attempt in exchange.attempts]

    def close(self, exchange: Exchange, error: str, now: float, *, status: int | None = None) -> Decision:
        """
        End *exchange*, once: later calls return the first one's decision.

        *error* says why the client did not get a whole answer; *status* is what it got.
        """
        if exchange.decision is not None:
            return exchange.decision
        self.accounts.leave(exchange.id)
        attempt = exchange.attempt
        if attempt and not attempt.ended:
            attempt.error = attempt.error or error
            self._finish(exchange, attempt, Outcome("cancelled", scope="none", detail=error), now)
        if attempt and attempt.outcome and attempt.outcome.kind == "ok":
            self._learn(exchange, attempt, now)
        self._leave(exchange.identity)
        exchange.decision = _decision(exchange, self.verdict(exchange), error, now, status, self.config.mode)
        return exchange.decision

    # -- one attempt -----------------------------------------------------------------------------------------------

    def _bounded(self, exchange: Exchange, now: float) -> Refusal | None:
        bounds, attempt = self.config.failover, exchange.attempt
        if attempt is None:
            return None
        if attempt.slow:
            return self._gave_up(exchange, "upstream_slow", "the upstream may still be working on the request", now)
        if attempt.reached and not exchange.repeatable:
            why = "the request may have been carried out and must not be sent twice"
            return self._gave_up(exchange, "not_repeatable", why, now)
        if len(exchange.attempts) - bool(exchange.stay) - len(exchange.unsealed) >= bounds.attempts:
            # a second look at its home is free, and so is one without what another account sealed
            why = f"{bounds.attempts} attempts failed, and failover.attempts allows no more"
            return self._gave_up(exchange, "attempts_exhausted", why, now)
        if now - exchange.opened > bounds.seconds:
            why = f"there was no answer within the {bounds.seconds:g} seconds of failover.seconds"
            return self._gave_up(exchange, "time_exhausted", why, now)
        return None

    def _gave_up(self, exchange: Exchange, code: str, why: str, now: float) -> Refusal:
        return refusals.gave_up(code, why, self.accounts.absent(self._ask(exchange, now), now), now)

    def _staying(self, exchange: Exchange, now: float) -> Wait | None:
        """
        Let a conversation wait a moment for its home, once, where the fault may be over by then.

        Another account would answer at once, but has nothing of the conversation in its cache.
        """
        attempt = exchange.attempt
        keeps = self.config.sessions.on_error == "keep"
        if keeps and not exchange.stay and attempt is not None and _may_pass(exchange, attempt):
            assert attempt.outcome is not None
            pause = 0.0 if attempt.lost else PAUSE
            if attempt.outcome.until is not None:
                pause = max(PAUSE, attempt.outcome.until - now)
            if pause <= self.config.failover.patience:
                exchange.stay, exchange.stay_until = attempt.choice.account.id, now + pause
        return Wait(exchange.stay_until, "waits for its home") if exchange.stay and now < exchange.stay_until else None

    def _chosen(self, exchange: Exchange, now: float) -> Route | Wait | Refusal:
        ask = self._ask(exchange, now)
        chosen = self.accounts.choose(ask, now)
        if isinstance(chosen, Refusal) and chosen.code == _OWNER_OUT:
            if self.config.failover.owner != "refuse" and self._leaves_owner(exchange, now):
                ask = self._ask(exchange, now)
                chosen = self.accounts.choose(ask, now)
            if isinstance(chosen, Refusal) and chosen.code == _OWNER_OUT:
                return _owner_out(exchange, chosen, self.config.failover.owner)
        if isinstance(chosen, Wait):
            exchange.waits_since = now if exchange.waits_since is None else exchange.waits_since
            ends = exchange.waits_since + self.config.queue.seconds
            if now < ends:
                return replace(chosen, until=min(chosen.until, ends))
            why = f"no account was free within the {self.config.queue.seconds:g} seconds of queue.seconds"
            return refusals.gave_up("queue_exhausted", why, self.accounts.absent(ask, now), now)
        if not isinstance(chosen, Choice):
            return chosen
        try:
            return self._begin(exchange, ask, chosen, now)
        except ValueError as e:
            self.accounts.release(chosen)
            return Refusal(400, "body_unusable", f"The request cannot be prepared for account {chosen.account.id}: {e}")

    def _leaves_owner(self, exchange: Exchange, now: float) -> bool:
        """
        Let *exchange* go to another account than that of its encrypted reasoning; return whether it may.

        A file, or what it continues, lies with one account, and no other can do without it.
        """
        stored = self._identifier.stored_at(exchange.request, now)
        if stored == exchange.identity.owner:
            return False
        exchange.identity = replace(exchange.identity, owner=stored)
        if exchange.socket and self.config.failover.owner == "strip":  # nothing is sent twice on a socket
            exchange.unsealed.add(exchange.socket.account.id)
        return True

    def _ask(self, exchange: Exchange, now: float) -> Ask:
        request = exchange.request
        waits_since = now if exchange.waits_since is None else exchange.waits_since  # slow attempts were no wait
        return Ask(
            family=request.endpoint.family,
            destination=self._destination(exchange),
            reverse=exchange.reverse,
            model=exchange.model,
            identity=exchange.identity,
            client=request.client,
            pin=exchange.pin,
            websocket=_is_upgrade(request),
            tried=_tried_by(exchange),
            ended={each.choice.account.id: each.outcome for each in exchange.attempts if each.outcome},
            opens=exchange.socket is None and _is_upgrade(request),
            left=self._left_by(exchange, now),
            tokens=len(request.body.raw or b"") // BYTES_PER_TOKEN,
            waiter=exchange.id,
            woken=exchange.woken,
            patient=waits_since + self.config.queue.patience,
            stay=exchange.stay if len(exchange.attempts) == 1 else "",
            served=exchange.served if not exchange.attempts else None,
            others=exchange.names.others,
            sealed=exchange.names.hidden if exchange.names.sealed else "",
            path="" if request.endpoint.family else request.endpoint.suffix,
        )

    def _destination(self, exchange: Exchange) -> Origin | None:
        """Return where *exchange* must go; None leaves it to the model. What names none goes to the first pool."""
        request = exchange.request
        if not upstream_url.is_anywhere(request.destination):
            return request.destination
        bound = exchange.pin or exchange.model or exchange.identity.owner is not None
        if request.endpoint.kind != "resource" or bound:
            return None
        return upstream_url.first(self.config.accounts, request.endpoint.family, exchange.reverse)

    def _begin(self, exchange: Exchange, ask: Ask, choice: Choice, now: float) -> Route:
        request, account = exchange.request, choice.account
        provider = account.provider
        request_id = self._mint.new(now, self._random_bytes)
        affinity = exchange.identity.affinity
        session_id = self._session_id(exchange, choice)
        stamped = correlation.stamps(
            provider if self.config.mode == "serve" else replace(provider, stamp=Stamp(namespace=False)),
            _unless_ours(choice, _with_those_of(exchange.socket, request.headers)),
            request.body,
            request_id=request_id,
            request_guid=self._mint.guid(request_id) if provider.stamp.names("request_guid") else "",
            at=request.endpoint.suffix,
            session_id=session_id,
            thread_id=correlation.session_id(self._session_key, exchange.identity.thread, account.id)
            if exchange.identity.thread
            else "",
            model_id=self._model_id(choice),
        )
        path, renamed = upstream_url.renamed(request, account, choice.model)
        body = {**stamped.body, **renamed}
        left = self._left_behind(exchange, choice, now)
        prepared = self._prepared(exchange, choice, left, now)
        asked = request if prepared is request.body else replace(request, body=prepared)
        route = Route(
            account=account,
            origin=choice.origin,
            request_id=request_id,
            session_id=session_id,
            attempt=len(exchange.attempts) + 1,
            edit=Edit(
                (*((bound.header, None) for bound in left if bound.header), *account.headers.items(), *stamped.headers),
                upstream_url.join(account, path, request.endpoint, choice.model),
                body,
            ),
            body=upstream_url.changed(asked, body) if body else None if asked is request else prepared.raw,
            binding=choice.binding,
        )
        watch = Watch(
            provider.echo,
            stamped.expected,
            request_id=request_id,
            earlier=tuple(attempt.route.request_id for attempt in exchange.attempts),
            client_id=stamped.client_id,
            sent=stamped.sent,
            # a compacted history holds what was said, ids and all
            generation=request.endpoint.kind == "generation" and not request.endpoint.suffix.endswith("/compact"),
            exchange=exchange.id,
            account=account.id,
            affinity=affinity,
            thread=exchange.identity.thread,
            digest=exchange.digest,
            mint=self._mint,
            ledger=self.ledger,
            now=now,
            memory=self.memory,
            asked=RequestSummary(
                request.endpoint, self._asked_in(exchange, route), choice.model or exchange.model, exchange.stream
            ),
            host=str(choice.origin),
            silent=frozenset(provider.silent),
        )
        reader = Reader(request.endpoint.dialect, provider.echo, asked_stream=exchange.stream)
        exchange.attempts.append(Attempt(route, choice, ask, reader, watch, now, left=bool(left)))
        exchange.candidates, exchange.pool, exchange.refusal = choice.candidates, choice.pool, None
        self.changed()
        return route

    def _left_behind(self, exchange: Exchange, choice: Choice, now: float) -> tuple[BoundField, ...]:
        """Return what of *exchange* belongs to another account than that of *choice*, and does not go there."""
        if self.config.mode != "serve":
            return ()
        account, identity = choice.account.id, exchange.identity
        moved = choice.binding == "reselected" or (choice.binding != "hit" and identity.home not in ("", account))
        moved = moved or any(attempt.choice.account.id != account for attempt in exchange.attempts)
        return self._identifier.left_behind(exchange.request, identity.affinity, account, now, moved=moved)

    def _prepared(self, exchange: Exchange, choice: Choice, left: tuple[BoundField, ...], now: float) -> Body:
        """Return the body of *exchange* as the account of *choice* can use it; the client's own where it is that."""
        request, account = exchange.request, choice.account
        if not request.body.raw or self.config.mode != "serve":
            return request.body
        raw = account_bound.without(request.body, left) if left else request.body.raw
        key = (request.client.scope, exchange.identity.affinity, account.id)
        if account.id in exchange.unsealed or key in self._unsealed:
            raw = self._unsealed_for(exchange, Body(raw), account.id, now)
        raw = answer_urls.upwards(request, raw, account, choice.origin)
        return request.body if raw == request.body.raw else Body(raw)

    def _unsealed_for(self, exchange: Exchange, body: Body, account: str, now: float) -> bytes:
        """Return *body* without what others than *account* sealed; without all of it where that is nothing."""
        request, raw = exchange.request, body.raw or b""
        kept = account_bound.unsealed(body, lambda sealed: self._identifier.owner_of(request, sealed, now) == account)
        return (
            account_bound.unsealed(body, lambda sealed: False) if kept == raw and account in exchange.unsealed else kept
        )

    def _unseals(self, exchange: Exchange, attempt: Attempt) -> bool:
        """Say whether *attempt* was refused for what another account sealed, and may be made again without it, once."""
        account, request = attempt.choice.account.id, exchange.request
        wanted = self.config.failover.owner == "strip" and self.config.mode == "serve" and exchange.socket is None
        if not (wanted and exchange.repeatable and account not in exchange.unsealed):
            return False
        misses = account_bound.wants_thinking(attempt.complaint) and self._has_moved_unsealed(exchange)
        if not (misses or account_bound.is_refused(attempt.complaint)):
            return False
        if account_bound.unsealed(request.body, lambda sealed: False) == request.body.raw:
            return False
        exchange.unsealed.add(account)
        exchange.renewed.add(account)
        exchange.identity = replace(exchange.identity, owner=frozenset((account,)))
        if exchange.identity.affinity:
            self._unsealed[request.client.scope, exchange.identity.affinity, account] = None
            while len(self._unsealed) > self.config.sessions.limit:
                self._unsealed.popitem(last=False)
        return True

    def _has_moved_unsealed(self, exchange: Exchange) -> bool:
        """Whether an account got this conversation without what others sealed, and so answered without thinking."""
        key, affinity = exchange.request.client.scope, exchange.identity.affinity
        return any((key, affinity, account.id) in self._unsealed for account in self.config.accounts)

    def _model_id(self, choice: Choice) -> str:
        """Return what `{model_id}` stands for, empty where the settings do not say."""
        provider, model = choice.account.provider, choice.model
        found = provider.model_ids.get(model, "") or provider.model_ids.get(models.base(model), "")
        key = provider.name, models.base(model)[:256]
        if model and not found and key not in self._unnamed and provider.stamp.names("model_id"):
            self._unnamed[key] = None
            if len(self._unnamed) > UNNAMED:
                self._unnamed.popitem(last=False)
            if self.config.mode == "serve":
                self.unnamed(*key)
        return found

    def _session_id(self, exchange: Exchange, choice: Choice) -> str:
        """Return the id of the session as the provider of *choice* knows it; a replay's is the one it had."""
        before, account = exchange.served, choice.account.id
        if choice.slot is not None:
            session = _session_of(choice.slot, choice.lane, exchange.request.client.scope)
        elif before and before.session_id and before.account == account:
            return before.session_id
        else:
            session = exchange.identity.affinity
        return correlation.session_id(self._session_key, session, account) if session else ""

    def _asked_in(self, exchange: Exchange, route: Route) -> Body:
        """Return the body that says what was asked: on a socket what goes up, since nothing else is kept of it."""
        changed = exchange.socket is not None and route.body is not None and self.config.mode == "serve"
        return Body(route.body) if changed else exchange.request.body

    def _head(self, exchange: Exchange, attempt: Attempt, head: Head, now: float) -> Reaction:
        attempt.head = head
        self._see(exchange, attempt, attempt.reader.head(head), now)
        if state := head.headers.get(_TURN_STATE):
            attempt.learned.append(Fact("token", state, "state"))
        if why := _no_answer_by_head(exchange, head):
            return self._unanswered(exchange, attempt, why, now)
        attempt.held = head.status >= 400 or self._holds(exchange, head)
        if not attempt.held:
            exchange.first_byte = now
        if head.status < 400:
            self.accounts.headed(attempt.choice, head, now)
        return "hold" if attempt.held else "deliver"

    def _holds(self, exchange: Exchange, head: Head) -> bool:
        """Whether a good head waits for what comes behind it: an error may, while another could still take over."""
        return self.config.failover.hold and _is_generation(exchange) and 200 <= head.status < 300

    def _chunk(self, exchange: Exchange, attempt: Attempt, chunk: Chunk, now: float) -> Reaction:
        self._see(exchange, attempt, attempt.reader.feed(chunk.data), now)
        if attempt.head and attempt.head.status >= 400 and len(attempt.body) < HELD_BYTES:
            attempt.body += chunk.data[: HELD_BYTES - len(attempt.body)]
        if not attempt.held:
            return "deliver"
        attempt.held_bytes += len(chunk.data)
        if attempt.head and attempt.head.status >= 400:
            return self._end(exchange, attempt, now) if attempt.held_bytes >= HELD_BYTES else "hold"
        if attempt.outcome and not attempt.served:  # an error, before anything was said
            return self._end(exchange, attempt, now)
        reader = attempt.reader
        if reader.is_foreign and (why := reader.lacks(exchange.request.endpoint)):
            return self._unanswered(exchange, attempt, why, now)
        if reader.is_text:  # the client can make nothing of a part of it
            bound = BODY_BYTES
        elif reader.streamed:
            bound = 0 if attempt.served or reader.answers(exchange.request.endpoint) else HELD_STREAM_BYTES
        else:
            bound = 0 if reader.is_foreign else HELD_BYTES  # nothing but blanks so far
        return self._release(exchange, attempt, now) if attempt.held_bytes >= bound else "hold"

    def _release(self, exchange: Exchange, attempt: Attempt, now: float) -> Reaction:
        attempt.held = False
        exchange.first_byte = now
        return "deliver"

    def _overdue(self, exchange: Exchange, attempt: Attempt, now: float) -> Reaction:
        if attempt.head and attempt.head.status >= 400:  # an error whose body does not come is an error all the same
            return self._end(exchange, attempt, now)
        if not exchange.stream and attempt.head and _kind_of(attempt.head) in _JSON:
            return "hold"  # it is collected anyway, so that nothing is gained by letting go of it
        return self._release(exchange, attempt, now)

    def _message(self, exchange: Exchange, attempt: Attempt, message: Message, now: float) -> Reaction:
        facts = attempt.reader.message(message.data)
        self._see(exchange, attempt, facts, now)
        over = any(fact.kind in ("end", "error") for fact in facts)
        return self._end(exchange, attempt, now) if over else "deliver"

    def _end(self, exchange: Exchange, attempt: Attempt, now: float) -> Reaction:
        self._see(exchange, attempt, attempt.reader.end(), now)
        held, attempt.held = attempt.held, False
        assert attempt.head is not None
        outcome = attempt.outcome
        if attempt.head.status == 101:
            outcome = Outcome("ok")
        elif outcome is None or outcome.kind == "ok":
            body = Body(attempt.reader.decoded(bytes(attempt.body))) if attempt.body else None
            family = exchange.request.endpoint.family or next(iter(sorted(attempt.choice.account.provider.families)))
            outcome = classify(family, attempt.head, body, now, attempt.choice.account.error_rules, _sent(exchange))
            if 300 <= attempt.head.status < 400 and exchange.request.method in ("GET", "HEAD"):
                outcome = Outcome("ok")  # not modified, or to be had elsewhere
            if outcome.kind == "model" and not exchange.model:  # `GET /v1/models/x` is about no lane
                outcome = Outcome("request", scope="none", detail=outcome.detail)
        if outcome.kind == "ok" and _is_generation(exchange) and (why := _lack(exchange, attempt)):
            attempt.lacks = attempt.error = why
            outcome = Outcome("server", detail=why)
        self._finish(exchange, attempt, outcome, now)
        moving = held and (outcome.kind in _MOVABLE or (outcome.kind == "request" and self._unseals(exchange, attempt)))
        if not moving:
            exchange.first_byte = exchange.first_byte or now
        return "next" if moving else "deliver"

    def _unanswered(self, exchange: Exchange, attempt: Attempt, why: str, now: float) -> Reaction:
        """Take note that what comes is no answer, whatever follows."""
        attempt.held = False
        attempt.lacks = attempt.error = why
        self._finish(exchange, attempt, Outcome("server", detail=why), now)
        return "next"

    def _failure(self, exchange: Exchange, attempt: Attempt, failure: Failure, now: float) -> Reaction:
        attempt.error, attempt.broken = failure.message, True
        unseen = attempt.head is None or attempt.held
        attempt.held = False
        attempt.reached, attempt.lost = failure.kind != "connect", failure.kind == "lost"
        attempt.slow = failure.kind == "timeout" and attempt.head is None and not self._repeats_slow(exchange)
        slow = Outcome("cancelled", scope="none", detail="slow")  # it says nothing about the account
        outcome = slow if attempt.slow else classify_failure(failure.kind)
        if outcome.kind == "server":
            outcome = replace(outcome, said=refusals.on_the_way(failure.kind, failure.message))
        self._finish(exchange, attempt, replace(outcome, scope="none") if failure.counted else outcome, now)
        return "next" if unseen else "deliver"

    def _repeats_slow(self, exchange: Exchange) -> bool:
        """Whether a request that was sent whole, and whose answer does not begin, may be sent again elsewhere."""
        if exchange.request.method in ("GET", "HEAD", "OPTIONS"):
            return True
        repeats = self.config.failover.repeat_slow
        return repeats == "all" or (repeats == "streams" and exchange.stream)

    def _foreign(self, exchange: Exchange, attempt: Attempt, unseen: bool, now: float) -> Reaction:
        """Keep from the client what is another's: ask once more while it has seen nothing, or put an end to it."""
        earlier = any(each.proof for each in exchange.attempts[:-1])
        attempt.judged, attempt.held = True, False
        attempt.error = FOREIGN.code
        if not attempt.ended:
            self._finish(exchange, attempt, Outcome("cancelled", scope="none", detail=FOREIGN.code), now)
        again = self.config.crosstalk.reaction == "retry" and unseen and exchange.repeatable and not earlier
        return "next" if again else "cut"

    def _see(self, exchange: Exchange, attempt: Attempt, facts: list[Fact], now: float) -> None:
        if not facts:
            return
        for fact in facts:
            if fact.kind == "error" and isinstance(fact.value, dict):
                attempt.complaint = f"{fact.value.get('code')} {fact.value.get('message')}"
            found = attempt.watch.see(fact, attempt.head.status if attempt.head else 0, now)
            proofs = [each for each in found if each.strength == "proof"]
            attempt.alarm = attempt.alarm or bool(proofs)
            attempt.proof = attempt.proof or any(not each.disputed for each in proofs)
            match fact.kind:
                case "usage":
                    attempt.usage = fact.value if isinstance(fact.value, Usage) else attempt.usage
                case "finish":
                    attempt.closed = True
                case "content":
                    self._serve(exchange, attempt, now)
                case "error" if _is_answer(exchange, attempt):  # a stored answer's error is nobody's fault now
                    attempt.said = _said(fact)
                    attempt.outcome = _told(exchange, fact, attempt.said, now)
                    attempt.error = attempt.outcome.detail
                case "id" | "token" | "text" | "calls" if len(attempt.learned) < LEARNED_FACTS:
                    attempt.learned.append(fact)
        if any(fact.kind == "end" for fact in facts) and attempt.served and attempt.outcome is None:
            self._learn(exchange, attempt, now)  # now: the next turn may be here before the last byte of this answer

    def _learn(self, exchange: Exchange, attempt: Attempt, now: float) -> None:
        if attempt.learned_from or attempt.proof or exchange.request.replay:
            return
        attempt.learned_from = True
        account = attempt.choice.account.id
        self._identifier.learn(exchange.request, exchange.identity, account, attempt.learned, now)
        if not attempt.left:
            self._identifier.accepted(exchange.request, exchange.identity.affinity, account, now)
        self.changed()

    def _serve(self, exchange: Exchange, attempt: Attempt, now: float) -> None:
        good = attempt.head is not None and attempt.head.status < 400
        if attempt.served or not good or attempt.proof or exchange.request.replay:
            return
        attempt.served = True
        self.accounts.started(attempt.ask, attempt.choice, now)
        self.changed()

    def _finish(self, exchange: Exchange, attempt: Attempt, outcome: Outcome, now: float) -> None:
        attempt.outcome, attempt.ended, attempt.finished = outcome, True, now
        attempt.watch.end(now, whole=outcome.kind == "ok")
        if outcome.kind == "ok" and not attempt.reader.streamed:
            self._serve(exchange, attempt, now)
        if not attempt.released:
            attempt.released = True
            # in shadow it was the client's own key: what happened to it says nothing about the account
            told = (
                outcome if self.config.mode == "serve" or outcome.kind == "ok" else Outcome("cancelled", scope="none")
            )
            # a key that cannot be had here is no matter of what was asked, however many accounts lack theirs
            unsent = outcome.kind == "auth" and not attempt.reached
            ask = replace(attempt.ask, waiter="") if unsent else attempt.ask
            spent = attempt.usage.prompt + attempt.usage.completion if attempt.usage else None
            self.accounts.settled(ask, attempt.choice, told, now, spent)
            self.accounts.release(attempt.choice)
            self.changed()


def _as_before(identity: Identity, before: Served | None, digest: bytes) -> tuple[Identity, Served | None]:
    """
    Return the identity of a replay, and how it was served before as far as that holds for it.

    A request that is the same has the identity it had, whatever was learned or forgotten since. One that was edited is
    asked anew whose conversation it is, and in another one goes where that belongs.
    """
    if before is None:
        return identity, None
    edited = before.edited or (before.digest != "" and before.digest != digest.hex())
    if not edited and before != _UNKNOWN:
        identity = replace(identity, affinity=before.affinity, thread=before.thread, tier=before.tier)
    if not before.account or identity.affinity != before.affinity:
        return identity, None
    return replace(identity, binds=False), before


def _scopes(config: Config) -> int:
    return len({client.scope or client.name for client in config.clients})


def _tried_by(exchange: Exchange) -> frozenset[str]:
    if not exchange.attempts:
        return frozenset()
    counts = Counter(attempt.choice.account.id for attempt in exchange.attempts)
    return frozenset(account for account, count in counts.items() if account not in exchange.renewed or count > 1)


def _session_of(slot: int, lane: str, client: bytes) -> str:
    """Name one of the sessions upstream that a client has for a model; no affinity reads so."""
    return f"slot {slot} {client.hex()} {lane}"


def mint_of(key: bytes) -> correlation.Mint:
    """Return what makes and knows request ids under the master *key*."""
    return correlation.Mint(_derived(key, "correlation"))


def _unless_ours(choice: Choice, headers: Headers) -> Headers:
    """
    Take the client's session from *headers* where two may name theirs alike.

    That is where sessions upstream are handed out, and where it is a word that names no conversation, or may name many.
    """
    templates = choice.account.provider.stamp.headers
    ours = {name.lower() for name, template in templates.items() if "{session_id}" in template}
    named = all(names_one("generic_header", value) for name in ours for value in headers.all(name))
    if choice.slot is None and named:
        return headers
    return Headers((name, value) for name, value in headers if name.lower() not in ours)


def _unanswered(exchange: Exchange) -> Refusal | None:
    """Say why there are no more attempts, where none of them brought an answer that the client could get."""
    last, refusal = exchange.attempt, exchange.refusal
    whole = any(each.head and each.head.status >= 400 and not each.broken for each in exchange.attempts)
    if last is None or refusal is None or not last.broken or whole:
        return None
    return refusals.unanswered(refusal)


def _no_answer(exchange: Exchange) -> Refusal | None:
    """
    Say what the client gets where the last attempt was given up as too slow, or brought what is no answer.

    JSON that answers nothing is delivered as it came: a client of this dialect can read it.
    """
    last, refusal = exchange.attempt, exchange.refusal
    if last is None:
        return None
    if last.slow:
        what = f"The upstream did not begin its answer within the setting timeouts.first_byte ({last.error})"
        more = "; it may still be working on it, so it was not asked again"
        return refusals.of_upstream(last.choice.account.id, "upstream_slow", what, status=504, more=more)
    if not last.lacks or last.reader.is_object:
        return None
    what = f"What the upstream sent is no answer: {last.lacks}"
    told = refusals.of_upstream(last.choice.account.id, "upstream_no_answer", what)
    if refusal is None:
        return told
    message, fields = f"{told.message}. {refusal.message}", {"gave_up": refusal.code}
    return replace(told, message=message, retry_after=refusal.retry_after, fields=fields)


def _is_generation(exchange: Exchange) -> bool:
    """Whether what comes back must be an answer of a model. A GET of the same path is for a WebSocket."""
    if exchange.socket:
        return False  # its messages say themselves how they end
    return exchange.request.endpoint.kind == "generation" and exchange.request.method == "POST"


def _no_answer_by_head(exchange: Exchange, head: Head) -> str:
    """Say why an answer of a model, or a WebSocket, cannot come with *head*; empty where it can."""
    status = head.status
    if exchange.request.endpoint.kind != "generation" or exchange.socket or 400 <= status < 600:
        return ""
    if _is_upgrade(exchange.request):
        return "" if status == 101 else f"a WebSocket was asked for, and the status is {status}"
    if exchange.request.method == "POST" and (status in _EMPTY or not 200 <= status < 300):
        return f"its status is {status}"
    return ""


_LISTS = ("input", "documents", "requests", "instances", "texts", "inputs")  # of what an answer has one part each


def _lack(exchange: Exchange, attempt: Attempt) -> str:
    """Say what the present answer of a model lacks, now that it has ended."""
    why, body = attempt.reader.lacks(exchange.request.endpoint), exchange.request.body
    if why and (body.get("deferred") is True or any(body.get(name) == [] for name in _LISTS)):
        return ""  # xAI: it is fetched later; and who asks about nothing gets nothing
    return why


def _kind_of(head: Head) -> str:
    return head.headers.get("content-type").partition(";")[0].strip().lower()


def _is_upgrade(request: Request) -> bool:
    return request.headers.get("upgrade").lower() == "websocket"


def _with_those_of(socket: Route | None, headers: Headers) -> Headers:
    """Return *headers* with those that went up when the socket was opened: its messages share them, ids and all."""
    if socket is None:
        return headers
    return Headers((*headers, *((name, value) for name, value in socket.edit.headers if value is not None)))


def _may_pass(exchange: Exchange, attempt: Attempt) -> bool:
    """Whether the first attempt of a conversation failed at its home, in a way that may be over in a moment."""
    at_home = len(exchange.attempts) == 1 and (attempt.route.binding == "hit" or attempt.lost)
    passing = attempt.outcome is not None and attempt.outcome.kind in ("rate", "overload", "server")
    return at_home and passing and attempt.reached and exchange.repeatable


def _is_answer(exchange: Exchange, attempt: Attempt) -> bool:
    good = attempt.head is not None and attempt.head.status < 400
    return good and exchange.request.endpoint.kind != "resource"


def _said(fact: Fact) -> Head | None:
    """Return what an error event says of the status and the headers that the error would have had as an answer."""
    told = fact.value if isinstance(fact.value, dict) else {}
    status, headers = told.get("status"), told.get("headers")
    if not isinstance(status, int) or not 400 <= status < 600:
        return None
    given = headers.items() if isinstance(headers, dict) else ()
    return Head(status, Headers((name, value) for name, value in given if isinstance(value, str)))


def _told(exchange: Exchange, fact: Fact, said: Head | None, now: float) -> Outcome:
    told = fact.value if isinstance(fact.value, dict) else {}
    code = str(told.get("code") or told.get("type") or "")
    own = exchange.attempts[-1].choice.account.error_rules
    raw = told.get("raw")
    part = raw if isinstance(raw, dict) else None
    family, message = exchange.request.endpoint.family, str(told.get("message") or "")
    if said is not None:
        body = Body(msgspec.json.encode({"error": part or {"code": code, "message": message}}))
        return classify(family, said, body, now, own, _sent(exchange))
    return classify_error(family, code, message, now, own, _sent(exchange), part)


def _sent(exchange: Exchange) -> ClientText:
    """Return what the client wrote, as far as it is known; nothing of it is read unless an error asks for it."""
    if exchange.words is None:
        request = exchange.request
        # what is stored at an account holds words of earlier requests, which are not known here
        stored = exchange.identity.owner is not None or any(request.body.get(name) for name in _STORED)
        stored = stored or bool(_thread_of(request.body))
        stored = stored or isinstance(request.body.get("prompt"), dict)
        raw = None if stored else request.body.raw
        exchange.words = ClientText(raw, request.path, request.headers, exchange.model)
    return exchange.words


def _owner_out(exchange: Exchange, refused: Refusal, setting: str) -> Refusal:
    """Say whose account is out, what of this conversation it alone has, until when, and what may be done about it."""
    owner, thread = ", ".join(sorted(exchange.identity.owner or ())), _thread_of(exchange.request.body)
    place = next((each.where for each in exchange.identity.evidence if each.tier == "owner" and each.used), "")
    what = "message thread" if thread else _OWNED.get(place, "stored data")
    wait = refused.retry_after
    until = f"is out for {refusals.duration(math.ceil(wait))}" if wait is not None else "cannot be used"
    told = f"Account {owner} owns this conversation's {what} and {until}"
    if thread and setting != "refuse":
        return _thread_not_found(f"{told}; send the whole conversation")
    way = "start a new conversation"
    if setting == "refuse" and place in references.SPARED:
        way += ", or set failover.owner to strip"
    return replace(refused, message=f"{told}; {way}")


def _thread_of(body: Body) -> str:
    """Return the id of the answer whose message thread (Anthropic) *body* continues, or the empty string."""
    thread = body.get("thread")
    previous = thread.get("previous_message_id") if isinstance(thread, dict) else None
    return previous if isinstance(previous, str) else ""


def _thread_not_found(message: str) -> Refusal:
    """Refuse to continue a message thread in the provider's words: its clients then send the whole conversation."""
    return Refusal(404, _NO_THREAD, message, fields={"details": {"error_code": _NO_THREAD}})


def _derived(key: bytes, purpose: str) -> bytes:
    return blake3(key, derive_key_context=f"patchbay 2026 {purpose}").digest()


def _is_broken(request: Request) -> bool:
    """Whether the body of *request* should be JSON, is read here, and is none."""
    body, kind = request.body, request.headers.get("content-type").partition(";")[0].strip().lower()
    if not body.raw or body.is_object or body.is_too_deep or kind not in ("", "application/json"):
        return False
    return request.endpoint.asks == "model" and bool(request.endpoint.dialect)


def _is_twofold(body: Body) -> bool:
    try:
        members(body.raw or b"")
    except ValueError:
        return True
    return False


def _digest(key: bytes, request: Request) -> bytes:
    hasher = blake3(key=key)
    for part in (request.method.encode(), request.path.encode("utf-8", "surrogateescape"), request.body.raw or b""):
        hasher.update(len(part).to_bytes(8) + part)
    return hasher.digest(16)


def _tried(attempt: Attempt, now: float) -> Tried:
    return Tried(
        account=attempt.choice.account.id,
        request_id=attempt.route.request_id,
        status=attempt.head.status if attempt.head else None,
        outcome=attempt.outcome.kind if attempt.outcome else "",
        seconds=(attempt.finished or now) - attempt.started,
        detail=attempt.outcome.detail if attempt.outcome else "",
    )


def _decision(exchange: Exchange, verdict: Verdict, error: str, now: float, status: int | None, mode: str) -> Decision:
    request, attempt = exchange.request, exchange.attempt
    failed = bool(error) or exchange.refusal is not None or (status or 0) >= 400
    failed = failed or attempt is None or (attempt.outcome is not None and attempt.outcome.kind != "ok")
    what = dialects.of(request.endpoint.dialect).event_type or request.endpoint.dialect or "request"
    event = "crosstalk" if verdict.kind == "crosstalk" else f"{what}_{'error' if failed else 'success'}"
    route = attempt.route if attempt else None
    return Decision(
        exchange=exchange.id,
        time=exchange.opened,
        client=request.client.name,
        method=request.method,
        path=request.path.partition("?")[0],
        dialect=request.endpoint.dialect,
        endpoint=request.endpoint.kind,
        model=exchange.model,
        stream=exchange.stream,
        pool=exchange.pool,
        identity=exchange.identity,
        binding=route.binding if route else "none",
        account=route.account.id if route else "",
        provider=route.account.provider.name if route else "",
        request_id=route.request_id if route else "",
        client_request_id=_own_id(request.headers),
        session_id=route.session_id if route else "",
        candidates=exchange.candidates,
        attempts=tuple(_tried(tried, now) for tried in exchange.attempts),
        status=status if status is not None else (attempt.head.status if attempt and attempt.head else None),
        event_type=event,
        error=error or (attempt.error if attempt else "") or (exchange.refusal.code if exchange.refusal else ""),
        duration=now - exchange.opened,
        first_byte=None if exchange.first_byte is None else exchange.first_byte - exchange.opened,
        usage=attempt.usage if attempt else None,
        in_flight=exchange.in_flight,
        verdict=verdict,
        mode=mode,
    )


def _own_id(headers: Headers) -> str:
    value = headers.get("x-request-id") or headers.get("x-client-request-id")
    return value[:128] if value.isprintable() else ""
