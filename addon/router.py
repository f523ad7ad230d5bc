"""
The router: open · next · answered · close.

`open` reads a request once, `next` chooses the account of an attempt, `answered` follows its answer, `close` makes the
decision. Nothing here waits, reads a clock or knows mitmproxy. State is read and written without an await between, so
an exchange sees the accounts as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random

from . import correlation, failover
from .access import Access
from .accounts import observed, refusals
from .accounts.lease import Ask, Lease
from .accounts.pool import Accounts
from .answer.reader import AnswerReader
from .body import Body
from .crosstalk.recent import RecentExchanges
from .crosstalk.request_summary import RequestSummary
from .crosstalk.watch import Watch
from .destinations import Destinations
from .exchange import Attempt, Exchange, decide, record_of
from .failover import Step
from .given_addresses import GivenAddresses
from .identity.identify import Identifier
from .keyed import derive, digest
from .ledger import Ledger
from .replacement import CROSSTALK, OWNER_UNAVAILABLE, owner_unavailable
from .request_editor import RequestEditor
from .settings.settings import Config
from .state import State
from .values import header_names
from .values.answer import AnswerEvent, Chunk, End, Fact, Failure, Head, Message, Overdue, Reaction, Usage
from .values.decision import Decision, Finding, Identity, Outcome, Refusal, Wait
from .values.http import Origin, PriorServing, Request
from .websocket_history import WebSocketHistory

BYTES_PER_TOKEN = 4  # of a request's body, as an estimate until the provider has counted
LEARNED_FACTS = 1024  # ids and tokens kept of one answer
_UNKNOWN = PriorServing()


class Router:
    """
    The parts that decide, put together for one configuration.

    *key* is the 32-byte master key; *random_bytes* returns as many random bytes as it is asked for. `changed` is called
    when something has changed that another instance should know before its next request.
    """

    def __init__(self, config: Config, key: bytes, random: Random, random_bytes: Callable[[int], bytes]) -> None:
        self.config = self._settings = config
        self.ledger = Ledger(config.limits.known_ids)
        self.memory = RecentExchanges()
        self.accounts = Accounts(config, derive(key, "patchbay 2026 accounts"), random)
        self._identifier = Identifier(derive(key, "patchbay 2026 identity"), config.sessions, self.ledger)
        self._resources = self._identifier.account_resources
        self._mint = mint_of(key)
        self._digest_key = derive(key, "patchbay 2026 digest")
        self._random_bytes = random_bytes
        self._in_flight: Counter[str] = Counter()
        self.access = Access(config, self.accounts, self._identifier)
        self.destinations = Destinations(config, self.accounts)
        self.addresses = GivenAddresses(self._resources)
        self.editor = RequestEditor(
            config, derive(key, "patchbay 2026 session"), self._mint, self._identifier, random_bytes, self.memory.sent
        )
        self.websockets = WebSocketHistory(config.sessions.limit)
        self.changed: Callable[[], None] = lambda: None
        kept = self.accounts.bindings, self.accounts.health, self.ledger, self._identifier.aliases
        self.state = State(*kept, self.memory)
        self.state.woken = self.accounts.wake
        self.state.switched = lambda: self._use(self._settings)

    def reload(self, config: Config) -> None:
        """
        Go by *config* from now on. What is known stays; what is under way ends on the account it is on.

        An account that it enables, and the settings before did not, is enabled whatever a command had disabled.
        """
        before = {account.id for account in self._settings.accounts if not account.enabled}
        self._settings = config
        for account in config.accounts:
            if account.enabled and account.id in before:
                self.state.switch(account.id, 0.0, on=True)  # later than what it ends
        self._use(config)

    def _use(self, settings: Config) -> None:
        config = settings.without(self.state.disabled())
        self.config = self.destinations.config = config
        self.editor.reload(config)
        self.websockets.reload(config.sessions.limit)
        self.access.reload(config)
        self.accounts.reload(config)
        self._identifier.reload(config.sessions)
        self.ledger.resize(config.limits.known_ids)

    def is_own_id(self, request_id: str) -> bool:
        """Whether *request_id* was made under this instance's key."""
        return bool(self._mint.recognise(request_id))

    # -- open ------------------------------------------------------------------------------------------------------

    def open(
        self, request: Request, now: float, *, reverse: Origin | None = None, socket_lease: Lease | None = None
    ) -> Exchange | Refusal:
        """
        Read *request* once and identify its conversation; *reverse* is the upstream of `--mode reverse:`.

        *socket_lease* is the lease of the WebSocket on which *request* is a message: no other account can have it.
        Every exchange that was opened must be closed.
        """
        names = self.access.models_of(request, socket_lease)
        refusal = self.access.refusal(request, names, now)
        if refusal and self.config.mode == "serve":
            return refusal
        # a body that streams through is not seen, so it counts as like no other
        told = self._random_bytes(16) if request.body.raw is None else _digest(self._digest_key, request)
        name = self._random_bytes(8).hex()
        identity, prior = self._identified(request, told, name, now)
        exchange = Exchange(
            id=name,
            request=request,
            identity=identity,
            model=names.model,
            requested_models=names,
            stream=request.endpoint.stream or request.body.get("stream") is True or socket_lease is not None,
            digest=told,
            opened=now,
            pin=socket_lease.account.id if socket_lease else request.headers.get(header_names.ACCOUNT).strip(),
            reverse=reverse,
            in_flight=self._entered(identity),
            socket_lease=socket_lease,
            prior_serving=prior,
            refusal=None if self.config.looks else refusal,
        )
        exchange.model = self.websockets.asked(exchange)
        return exchange

    def identify_again(self, exchange: Exchange, now: float) -> None:
        """Identify the conversation of *exchange* again, before its first attempt: more may be known by now."""
        self._left(exchange.identity)
        exchange.identity, exchange.prior_serving = self._identified(
            exchange.request, exchange.digest, exchange.id, now
        )
        exchange.in_flight = self._entered(exchange.identity)

    def is_new(self, exchange: Exchange, now: float) -> bool:
        """Whether the conversation of *exchange*, if it has one, is not known here."""
        return self.accounts.is_new(self._ask(exchange, now), now)

    def _identified(
        self, request: Request, digest: bytes, name: str, at: float
    ) -> tuple[Identity, PriorServing | None]:
        return _as_before(self._identifier.identify(request, at, name), request.replay, digest)

    def _entered(self, identity: Identity) -> int:
        self._in_flight[identity.affinity] += 1
        return self._in_flight[identity.affinity]

    def _left(self, identity: Identity) -> None:
        self._identifier.close(identity)
        self._in_flight[identity.affinity] -= 1
        if self._in_flight[identity.affinity] <= 0:
            del self._in_flight[identity.affinity]

    # -- next ------------------------------------------------------------------------------------------------------

    def next(self, exchange: Exchange, now: float) -> Lease | Wait | Refusal:
        """Choose the account of the next attempt, with a fresh request id and the edits it needs."""
        decided = self._exhausted(exchange, now) or self._retries_home(exchange, now) or self._chosen(exchange, now)
        if not isinstance(decided, Wait):
            exchange.waits_since = None
            self.accounts.leave_queue(exchange.id)
        if isinstance(decided, Refusal):
            exchange.refusal = decided
        return decided

    def observe(self, exchange: Exchange, now: float) -> Lease:
        """
        Choose as `next` does, for an exchange that is not served but observed: it neither waits nor is refused.

        Without an account the lease names none, and the refusal of the exchange says why; where no account is enabled,
        nothing would have been decided, so there is no refusal.
        """
        refusal = exchange.refusal
        if refusal is None and not self.config.looks:
            match self.next(exchange, now):
                case Lease() as lease:
                    return lease
                case Refusal() as refusal:
                    pass
                case Wait(reason=reason):
                    refusal = Refusal(503, "would_wait", reason)
        lease = self._begin(exchange, observed.lease(self._ask(exchange, now), exchange.request.destination), now)
        exchange.refusal = refusal
        return lease

    def secret_changed(self, exchange: Exchange, account: str) -> None:
        """Let *account*, which refused this exchange, try again, once: it has another secret now."""
        self.accounts.credential_changed(account)
        exchange.may_retry.add(account)

    def key_missing(self, exchange: Exchange, reason: str, now: float) -> None:
        """End the present attempt, which was not sent: its account's credential cannot be had."""
        attempt = exchange.attempt
        if attempt and not attempt.ended:
            attempt.reached = False
            self._finish(exchange, attempt, refusals.no_key(reason), now)

    def avoid_account(self, exchange: Exchange, now: float) -> None:
        """Remember that a WebSocket of this conversation ends because of its account: the next one gets another."""
        account = exchange.socket_lease.account if exchange.socket_lease else exchange.attempts[-1].lease.account
        self.websockets.avoid(exchange, account.id, now)

    def may_continue(self, exchange: Exchange, now: float) -> bool:
        """Whether the account of *exchange*, the last one on its WebSocket, could take another one now."""
        return exchange.attempt is None or self.accounts.may_serve(exchange.attempt.lease, now)

    def _exhausted(self, exchange: Exchange, now: float) -> Refusal | None:
        found = failover.exhausted(exchange, self.config.failover, now)
        return self._gave_up(exchange, *found, now) if found else None

    def _gave_up(self, exchange: Exchange, code: str, why: str, now: float) -> Refusal:
        return refusals.gave_up(code, why, self.accounts.absent(self._ask(exchange, now), now), now)

    def _retries_home(self, exchange: Exchange, now: float) -> Wait | None:
        """Let a conversation wait for its home, once, where the fault may be over in a moment."""
        if exchange.attempts and self.config.sessions.on_error == "keep":
            at = failover.retry_home_at(exchange, self.config.failover, now)
            if at is not None:
                exchange.retry_home, exchange.retry_home_at = exchange.attempts[-1].lease.account.id, at
        waits = bool(exchange.retry_home) and now < exchange.retry_home_at
        return Wait(exchange.retry_home_at, "waits for its home") if waits else None

    def _chosen(self, exchange: Exchange, now: float) -> Lease | Wait | Refusal:
        ask = self._ask(exchange, now)
        chosen = self.accounts.choose(ask, now)
        if isinstance(chosen, Refusal) and chosen.code == OWNER_UNAVAILABLE:
            if self.config.failover.encrypted_reasoning != "refuse" and self._leaves_owner(exchange, now):
                ask = self._ask(exchange, now)
                chosen = self.accounts.choose(ask, now)
            if isinstance(chosen, Refusal) and chosen.code == OWNER_UNAVAILABLE:
                return owner_unavailable(exchange, chosen, self.config.failover.encrypted_reasoning)
        if isinstance(chosen, Wait):
            return self._waits(exchange, chosen, now)
        if isinstance(chosen, Refusal):
            return chosen
        try:
            return self._begin(exchange, chosen, now)
        except ValueError as e:
            self.accounts.release(chosen)
            return Refusal(400, "body_unusable", f"The request cannot be prepared for account {chosen.account.id}: {e}")

    def _waits(self, exchange: Exchange, wait: Wait, now: float) -> Wait | Refusal:
        exchange.waits_since = now if exchange.waits_since is None else exchange.waits_since
        ends = exchange.waits_since + self.config.queue.timeout
        if now < ends:
            return replace(wait, until=min(wait.until, ends))
        why = f"no account was free within the {self.config.queue.timeout:g} seconds of queue.timeout"
        return self._gave_up(exchange, "queue_exhausted", why, now)

    def _leaves_owner(self, exchange: Exchange, now: float) -> bool:
        """
        Let *exchange* go to another account than that of its encrypted reasoning; return whether it may.

        A file, or a stored response that it continues, lies with one account, and no other can do without it.
        """
        stored = self._resources.stored_at(exchange.request, now)
        if stored == exchange.identity.owner:
            return False
        exchange.identity = replace(exchange.identity, owner=stored)
        # nothing is sent twice on a socket
        if exchange.socket_lease and self.config.failover.encrypted_reasoning == "strip":
            exchange.unsealed.add(exchange.socket_lease.account.id)
        return True

    def _ask(self, exchange: Exchange, now: float) -> Ask:
        request = exchange.request
        waits_since = now if exchange.waits_since is None else exchange.waits_since  # slow attempts were no wait
        upgrade = exchange.is_upgrade
        return Ask(
            family=request.endpoint.family,
            destination=self.destinations.of(exchange),
            reverse=exchange.reverse,
            model=exchange.model,
            identity=exchange.identity,
            client=request.client,
            pin=exchange.pin,
            websocket=upgrade,
            tried=exchange.tried,
            ended={each.lease.account.id: each.outcome for each in exchange.attempts if each.outcome},
            opens=exchange.socket_lease is None and upgrade,
            avoided=self.websockets.avoided(exchange, now),
            tokens=len(request.body.raw or b"") // BYTES_PER_TOKEN,
            waiter=exchange.id,
            recheck=exchange.recheck,
            preferred_until=waits_since + self.config.queue.preferred_wait,
            retry_home=exchange.retry_home if len(exchange.attempts) == 1 else "",
            prior_serving=exchange.prior_serving if not exchange.attempts else None,
            others=exchange.requested_models.others,
            unreadable=exchange.requested_models.hidden if exchange.requested_models.unreadable else "",
            path="" if request.endpoint.family else request.endpoint.suffix,
            endpoint=request.endpoint.suffix if request.endpoint.family else "",
        )

    def _begin(self, exchange: Exchange, granted: Lease, now: float) -> Lease:
        lease, stamps, stripped = self.editor.edit(exchange, granted, now)
        endpoint, echo = exchange.request.endpoint, lease.account.provider.echo
        watch = self._watch(exchange, lease, stamps, now)
        reader = AnswerReader(endpoint.dialect, echo, asked_stream=exchange.stream)
        exchange.attempts.append(Attempt(lease, reader, watch, now, stripped=stripped))
        exchange.refusal = None
        self.changed()
        return lease

    def _watch(self, exchange: Exchange, lease: Lease, stamps: correlation.Stamps, now: float) -> Watch:
        record, model = record_of(exchange, lease, stamps, now), lease.model or exchange.model
        asked = RequestSummary(exchange.request.endpoint, self._summarised(exchange, lease), model, exchange.stream)
        return Watch(record, self._mint, self.ledger, now, self.memory, asked)

    def _summarised(self, exchange: Exchange, lease: Lease) -> Body:
        """Return the body that says what was asked: on a socket what goes up, since nothing else is kept of it."""
        changed = exchange.socket_lease is not None and lease.body is not None and self.config.mode == "serve"
        return Body(lease.body) if changed else exchange.request.body

    # -- answered --------------------------------------------------------------------------------------------------

    def answered(self, exchange: Exchange, event: AnswerEvent, now: float) -> Reaction:
        """
        Follow the answer of the present attempt by one event, and return what is to be done about it.

        A failing answer is held until it can be read; then it is delivered, or another account is tried.
        """
        attempt = exchange.attempt
        if attempt is None or attempt.ended:
            return "deliver"
        unseen = attempt.held or isinstance(event, Head)
        reaction = self._reaction(exchange, attempt, event, now)
        if attempt.proof and not attempt.withheld and self.config.crosstalk.reaction != "observe":
            return self._withhold(exchange, attempt, unseen, now)
        return reaction

    def settle(self, exchange: Exchange, now: float) -> list[Finding]:
        """Look again for the owners of unknown ids in the answer; return the findings that name one now."""
        return exchange.attempt.watch.settle(now) if exchange.attempt else []

    def _reaction(self, exchange: Exchange, attempt: Attempt, event: AnswerEvent, now: float) -> Reaction:
        match event:
            case Chunk():
                step = self._chunk(exchange, attempt, event, now)
            case Head():
                step = self._head(exchange, attempt, event, now)
            case Message():
                return self._message(exchange, attempt, event, now)
            case End():
                step = None
            case Failure():
                return self._failure(exchange, attempt, event, now)
            case Overdue():
                step = failover.when_overdue(exchange, attempt)
        return self._end(exchange, attempt, now) if step is None else self._take(exchange, attempt, step, now)

    def _take(self, exchange: Exchange, attempt: Attempt, step: Step, now: float) -> Reaction:
        if step.outcome is not None:
            attempt.held = False
            attempt.lacks = attempt.error = step.lacks
            self._finish(exchange, attempt, step.outcome, now)
            return step.reaction
        attempt.held = step.reaction == "hold"
        if not attempt.held and exchange.first_byte is None:
            exchange.first_byte = now
        return step.reaction

    def _head(self, exchange: Exchange, attempt: Attempt, head: Head, now: float) -> Step:
        attempt.head = head
        self._read(exchange, attempt, attempt.reader.head(head), now)
        if state := head.headers.get(header_names.TURN_STATE):
            attempt.learned.append(Fact("token", state, "state"))
        step = failover.after_head(exchange, head, self.config.failover)
        if head.status < 400 and step.outcome is None:
            self.accounts.record_head(attempt.lease, head, now)
        return step

    def _chunk(self, exchange: Exchange, attempt: Attempt, chunk: Chunk, now: float) -> Step | None:
        self._read(exchange, attempt, attempt.reader.feed(chunk.data), now)
        if attempt.is_error:
            attempt.body += chunk.data[: failover.HELD_BYTES - len(attempt.body)]
        if attempt.held:
            attempt.held_bytes += len(chunk.data)
        return failover.after_chunk(exchange, attempt)

    def _message(self, exchange: Exchange, attempt: Attempt, message: Message, now: float) -> Reaction:
        facts = attempt.reader.message(message.data)
        self._read(exchange, attempt, facts, now)
        over = any(fact.kind in ("end", "error") for fact in facts)
        return self._end(exchange, attempt, now) if over else "deliver"

    def _end(self, exchange: Exchange, attempt: Attempt, now: float) -> Reaction:
        self._read(exchange, attempt, attempt.reader.end(), now)
        held, attempt.held = attempt.held, False
        assert attempt.head is not None
        outcome, lacks = failover.after_end(exchange, attempt, attempt.head, now)
        if lacks:
            attempt.lacks = attempt.error = lacks
        self._finish(exchange, attempt, outcome, now)
        moves = outcome.kind in failover.MOVABLE or (
            held and outcome.kind == "request" and self._may_mend(exchange, attempt)
        )
        if held and moves:
            return "next"
        exchange.first_byte = now if exchange.first_byte is None else exchange.first_byte
        return "deliver"

    def _may_mend(self, exchange: Exchange, attempt: Attempt) -> bool:
        """Whether *attempt* was refused for something that its request can do without."""
        return self.editor.unseals(exchange, attempt) or self.editor.unstamps(exchange, attempt)

    def _failure(self, exchange: Exchange, attempt: Attempt, failure: Failure, now: float) -> Reaction:
        step = failover.after_failure(exchange, attempt, failure, self.config.failover)
        assert step.outcome is not None
        attempt.error, attempt.broken, attempt.held = failure.message, True, False
        attempt.reached, attempt.lost = failure.kind != "connect", failure.kind == "lost"
        attempt.slow = step.outcome.detail == failover.SLOW
        self._finish(exchange, attempt, step.outcome, now)
        return step.reaction

    def _withhold(self, exchange: Exchange, attempt: Attempt, unseen: bool, now: float) -> Reaction:
        """Keep an answer that is another's from the client."""
        attempt.withheld, attempt.held, attempt.error = True, False, CROSSTALK.code
        if not attempt.ended:
            self._finish(exchange, attempt, Outcome("cancelled", scope="exchange", detail=CROSSTALK.code), now)
        return failover.after_proof(exchange, unseen, self.config.crosstalk)

    def _read(self, exchange: Exchange, attempt: Attempt, facts: list[Fact], now: float) -> None:
        status = attempt.status
        for fact in facts:
            if fact.kind == "error" and isinstance(fact.value, dict):
                attempt.complaint = f"{fact.value.get('code')} {fact.value.get('message')}"
            for finding in attempt.watch.see(fact, status, now):
                if finding.strength == "proof":
                    attempt.alarm = True
                    attempt.proof = attempt.proof or not finding.disputed
            match fact.kind:
                case "usage":
                    attempt.usage = fact.value if isinstance(fact.value, Usage) else attempt.usage
                case "content":
                    self._serve(exchange, attempt, now)
                case "error" if attempt.is_good and exchange.request.endpoint.kind != "resource":
                    self._error_event(exchange, attempt, fact, now)  # in a stored answer it is no fault of now
                case "id" | "token" | "text" | "calls" if len(attempt.learned) < LEARNED_FACTS:
                    attempt.learned.append(fact)
        if attempt.content_began and attempt.outcome is None and "end" in [fact.kind for fact in facts]:
            self._learn(exchange, attempt, now)  # now: the next turn may be here before the last byte of this answer

    @staticmethod
    def _error_event(exchange: Exchange, attempt: Attempt, fact: Fact, now: float) -> None:
        attempt.error_head = failover.error_head(fact)
        attempt.outcome = failover.outcome_of_event(exchange, attempt, fact, now)
        attempt.error = attempt.outcome.detail

    def _learn(self, exchange: Exchange, attempt: Attempt, now: float) -> None:
        if attempt.learned_from or attempt.proof or exchange.request.replay:
            return
        attempt.learned_from = True
        account = attempt.lease.account.id
        self._identifier.learn(exchange.request, exchange.identity, account, attempt.learned, now)
        if not attempt.stripped:
            self._resources.note_bound(exchange.request, exchange.identity.affinity, account, now)
        self.changed()

    def _serve(self, exchange: Exchange, attempt: Attempt, now: float) -> None:
        """Make the account the conversation's home: its answer has begun."""
        if attempt.content_began or not attempt.is_good or attempt.proof or exchange.request.replay:
            return
        attempt.content_began = True
        self.accounts.first_success(attempt.lease, now)
        self.changed()

    def _finish(self, exchange: Exchange, attempt: Attempt, outcome: Outcome, now: float) -> None:
        attempt.outcome, attempt.finished = outcome, now
        attempt.watch.end(now, whole=outcome.kind == "ok")
        if outcome.kind == "ok" and not attempt.reader.streamed:
            self._serve(exchange, attempt, now)
        # in shadow it was the client's own key: its failure says nothing about the account
        counts = self.config.mode == "serve" or outcome.kind == "ok"
        counts = counts and not (outcome.kind == "auth" and attempt.key_replaced)
        told = outcome if counts else Outcome("cancelled", scope="exchange")
        # a key that cannot be had here is no matter of the request, however many accounts lack theirs
        keyless = outcome.kind == "auth" and not attempt.reached
        lease = replace(attempt.lease, ask=replace(attempt.lease.ask, waiter="")) if keyless else attempt.lease
        spent = attempt.usage.prompt + attempt.usage.completion if attempt.usage else None
        self.accounts.record_outcome(lease, told, now, spent)
        self.accounts.release(attempt.lease)
        self.changed()

    # -- close -----------------------------------------------------------------------------------------------------

    def close(self, exchange: Exchange, error: str, now: float, *, status: int | None = None) -> Decision:
        """
        End *exchange*, once: later calls return the first one's decision.

        *error* says why the client did not get a whole answer; *status* is what it got.
        """
        if exchange.decision is not None:
            return exchange.decision
        self.accounts.leave_queue(exchange.id)
        attempt = exchange.attempt
        if attempt and not attempt.ended:
            attempt.error = attempt.error or error
            self._finish(exchange, attempt, Outcome("cancelled", scope="exchange", detail=error), now)
        if attempt and attempt.outcome and attempt.outcome.kind == "ok":
            self._learn(exchange, attempt, now)
        self._left(exchange.identity)
        exchange.decision = decide(exchange, error, now, status=status, mode=self.config.mode)
        if attempt:
            attempt.watch.judgement.told = exchange.verdict
        return exchange.decision


def mint_of(key: bytes) -> correlation.Mint:
    """Return what makes and knows request ids under the master *key*."""
    return correlation.Mint(derive(key, "patchbay 2026 correlation"))


def _as_before(identity: Identity, before: PriorServing | None, digest: bytes) -> tuple[Identity, PriorServing | None]:
    """
    Return the identity of a replay, and how it was served before as far as that holds for it.

    A request that is the same has the identity it had, whatever was learned or forgotten since. An edited one is
    identified anew, and in another conversation goes where that belongs.
    """
    if before is None:
        return identity, None
    edited = before.edited or (before.digest != "" and before.digest != digest.hex())
    if not edited and before != _UNKNOWN:
        identity = replace(identity, affinity=before.affinity, thread=before.thread, tier=before.tier)
    if not before.account or identity.affinity != before.affinity:
        return identity, None
    return replace(identity, binds=False), before


def _digest(key: bytes, request: Request) -> bytes:
    path = request.path.encode("utf-8", "surrogateescape")
    return digest(key, request.method.encode(), path, request.body.raw or b"")
