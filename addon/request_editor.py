"""
The edits of one attempt: request id, session id, headers, path and body, as the account of the attempt needs them.

What belongs to another account (encrypted reasoning, turn state) is left out where it cannot be used there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import account_bound, answer_urls, correlation, dialects, upstream_url
from .accounts import models
from .accounts.lease import Lease
from .body import Body
from .bounded import BoundedMap
from .crosstalk.sent_prefixes import SentPrefixes
from .dialects.dialect import BoundField
from .exchange import Attempt, Exchange
from .frozen import replace
from .identity.identify import Identifier
from .identity.signals import names_one
from .settings.settings import Config
from .values.account import Stamp
from .values.decision import Edit
from .values.http import Headers

UNNAMED = 1000  # models without an entry in `model_ids` that are remembered as reported
_UNSTAMPED = Stamp(patchbay_headers=False)
# members that an upstream may do without
_ADDED = frozenset({"metadata", "diagnostics", "prompt_cache_options", "stream_options"})
# Codex's own backend refused `metadata` in September 2026: github.com/router-for-me/CLIProxyAPI/issues/1028
_CODEX = "/backend-api/codex"


class RequestEditor:
    """
    Edits the requests of one configuration.

    `unnamed` is called once for each provider and model whose requests lack the model's id, because `model_ids` does
    not name it; `unstamped` for each upstream's provider and member of a body that it refuses.
    """

    def __init__(
        self,
        config: Config,
        session_key: bytes,
        mint: correlation.Mint,
        identifier: Identifier,
        random_bytes: Callable[[int], bytes],
        sent: SentPrefixes,
    ) -> None:
        self._config = config
        self._session_key = session_key
        self._mint = mint
        self._resources = identifier.account_resources
        self._random_bytes = random_bytes
        self._sent = sent
        self._unnamed: BoundedMap[tuple[str, str], None] = BoundedMap(UNNAMED)
        # conversations, by client, of which an account refused what others sealed
        self._unsealed: BoundedMap[tuple[bytes, str, str], None] = BoundedMap(config.sessions.limit)
        # upstreams, and members which they refuse
        self._refused: BoundedMap[tuple[str, str], None] = BoundedMap(UNNAMED)
        self.unstamped: Callable[[str, str], None] = lambda provider, member: None
        self.unnamed: Callable[[str, str], None] = lambda provider, model: None

    def reload(self, config: Config) -> None:
        """Go by *config* from now on."""
        self._config = config
        self._unsealed.limit = config.sessions.limit

    def edit(self, exchange: Exchange, lease: Lease, now: float) -> tuple[Lease, correlation.Stamps, bool]:
        """
        Return *lease* with the edits of *exchange* for its account, the stamps, and whether something was left out.

        Raises ValueError where the request cannot be prepared for the account.
        """
        request, account = exchange.request, lease.account
        request_id = self._mint.new(now, self._random_bytes)
        session_id = self._session_id(exchange, lease)
        stamps = self._stamps(exchange, lease, request_id, session_id)
        path, renamed = upstream_url.renamed(request, account, lease.model)
        comparing, previous = self._comparing(exchange, lease)
        if previous is not None:
            stamps = replace(stamps, compared=previous)
        members = {**stamps.body, **comparing, **self._counting(exchange, lease), **renamed}
        ties = self._ties(exchange, lease, now)
        prepared = self._prepared(exchange, lease, ties, now)
        asked = request if prepared is request.body else replace(request, body=prepared)
        removed = ((bound.header, None) for bound in ties if bound.header)
        edit = Edit(
            (*removed, *account.headers.items(), *stamps.headers),
            upstream_url.join(account, path, request.endpoint, lease.model),
            members,
        )
        body = upstream_url.changed(asked, members) if members else None if asked is request else prepared.raw
        edited = replace(lease, request_id=request_id, session_id=session_id, edit=edit, body=body)
        return edited, stamps, bool(ties)

    def _stamps(self, exchange: Exchange, lease: Lease, request_id: str, session_id: str) -> correlation.Stamps:
        request, account, provider = exchange.request, lease.account, lease.account.provider
        thread = exchange.identity.thread if provider.stamp.uses("thread_id") else ""
        return correlation.stamps(
            provider if self._config.mode == "serve" else replace(provider, stamp=_UNSTAMPED),
            _without_shared_session(lease, _headers_on(exchange.socket_lease, request.headers)),
            request.body,
            request_id=request_id,
            request_guid=self._mint.guid(request_id) if provider.stamp.uses("request_guid") else "",
            at=request.endpoint.suffix,
            in_metadata=self._takes(exchange, lease, "metadata"),
            session_id=session_id,
            thread_id=correlation.session_id(self._session_key, thread, account.id) if thread else "",
            model_id=self._model_id(lease),
        )

    def _comparing(self, exchange: Exchange, lease: Lease) -> tuple[Mapping[str, object], str | None]:
        """
        Return what asks the provider to compare a turn with the one before, as `attest` says, and that one's id.

        The id is empty for a first turn, and None where Patchbay asks for nothing.
        """
        request, account, thread = exchange.request, lease.account, exchange.identity.thread
        if not self._attests(exchange, lease) or request.endpoint.suffix.endswith("/compact"):
            return {}, None
        dialect = dialects.of(request.endpoint.dialect)
        if dialect.compared_id(request.body):
            return {}, None
        previous = self._sent.last(account.id, thread) if thread else ""
        found = dialect.comparing(request.body, previous)
        asks = bool(found) or not previous  # of a first turn, some providers are asked nothing
        takes = asks and all(self._takes(exchange, lease, name) for name in _outer(found))
        return (found, previous) if takes else ({}, None)

    def _counting(self, exchange: Exchange, lease: Lease) -> Mapping[str, object]:
        """Return what asks the provider for the count of tokens, as `attest` says."""
        if not self._attests(exchange, lease):
            return {}
        at = exchange.request.endpoint
        found = dialects.of(at.dialect).counting(at.suffix, exchange.request.body)
        return found if all(self._takes(exchange, lease, name) for name in _outer(found)) else {}

    def _attests(self, exchange: Exchange, lease: Lease) -> bool:
        """Whether the provider of *lease* is to be asked for evidence about its answer."""
        asks, request = lease.account.provider.attest and self._config.mode == "serve", exchange.request
        return asks and request.endpoint.kind == "generation" and request.body.is_object

    def _takes(self, exchange: Exchange, lease: Lease, member: str) -> bool:
        """Whether the upstream of *lease* takes *member* of ours."""
        if member in exchange.unstamped or lease.account.base_path.startswith(_CODEX):
            return False
        return not self._refused or (str(lease.origin), member) not in self._refused

    def _session_id(self, exchange: Exchange, lease: Lease) -> str:
        """Return the id of the session as the provider of *lease* knows it; a replay's is the one it had."""
        before, account = exchange.prior_serving, lease.account.id
        if lease.slot is not None:
            session = _slot_session(lease.slot, lease.lane, exchange.request.client.scope)
        elif before and before.session_id and before.account == account:
            return before.session_id
        else:
            session = exchange.identity.affinity
        return correlation.session_id(self._session_key, session, account) if session else ""

    def _model_id(self, lease: Lease) -> str:
        """Return the value of `{model_id}`, empty where the settings do not name it."""
        provider, model = lease.account.provider, lease.model
        found = provider.model_ids.get(model, "") or provider.model_ids.get(models.base(model), "")
        key = provider.name, models.bounded(model)
        if model and not found and key not in self._unnamed and provider.stamp.uses("model_id"):
            self._unnamed[key] = None
            if self._config.mode == "serve":
                self.unnamed(*key)
        return found

    # -- what belongs to other accounts ----------------------------------------------------------------------------

    def unseals(self, exchange: Exchange, attempt: Attempt) -> bool:
        """
        Whether *attempt* was refused for what another account sealed, and may be made again without it, once.

        The exchange goes to the same account again then.
        """
        account, config = attempt.lease.account.id, self._config
        wanted = (
            config.failover.encrypted_reasoning == "strip" and config.mode == "serve" and exchange.socket_lease is None
        )
        if not (wanted and exchange.repeatable and account not in exchange.unsealed):
            return False
        misses = account_bound.wants_thinking(attempt.complaint) and self._has_moved_unsealed(exchange)
        if not (misses or account_bound.is_refused(attempt.complaint)):
            return False
        if account_bound.unsealed(exchange.request.body, lambda sealed: False) == exchange.request.body.raw:
            return False
        self._unseal(exchange, account)
        return True

    def unstamps(self, exchange: Exchange, attempt: Attempt) -> bool:
        """
        Whether *attempt* was refused for a member that we added to, and may be made again without ours.

        Where the client sent none, no later request to that upstream carries it; else its own may be at fault.
        """
        lease, upstream, complaint = attempt.lease, str(attempt.lease.origin), attempt.complaint.lower()
        refused = {name for name in _outer(lease.edit.body) if name in _ADDED and name in complaint}
        for name in refused:
            if name not in exchange.request.body and (upstream, name) not in self._refused:
                self._refused[upstream, name] = None
                self.unstamped(lease.account.provider.name, name)
        if not refused or exchange.unstamped or exchange.socket_lease is not None or not exchange.repeatable:
            return False
        exchange.unstamped = frozenset(refused)
        exchange.may_retry.add(lease.account.id)
        return True

    def _unseal(self, exchange: Exchange, account: str) -> None:
        exchange.unsealed.add(account)
        exchange.may_retry.add(account)
        exchange.identity = replace(exchange.identity, owner=frozenset((account,)))
        if exchange.identity.affinity:
            self._unsealed[exchange.request.client.scope, exchange.identity.affinity, account] = None

    def _has_moved_unsealed(self, exchange: Exchange) -> bool:
        """Whether an account got this conversation without what others sealed, and so answered without thinking."""
        scope, affinity = exchange.request.client.scope, exchange.identity.affinity
        return any((scope, affinity, account.id) in self._unsealed for account in self._config.accounts)

    def _ties(self, exchange: Exchange, lease: Lease, now: float) -> tuple[BoundField, ...]:
        """Return what of *exchange* belongs to another account than that of *lease*, and does not go there."""
        if self._config.mode != "serve":
            return ()
        account, identity = lease.account.id, exchange.identity
        moved = lease.binding == "reselected" or (lease.binding != "hit" and identity.home not in ("", account))
        moved = moved or any(attempt.lease.account.id != account for attempt in exchange.attempts)
        return self._resources.bound_elsewhere(exchange.request, identity.affinity, account, now, moved=moved)

    def _prepared(self, exchange: Exchange, lease: Lease, ties: tuple[BoundField, ...], now: float) -> Body:
        """Return the body of *exchange* as the account of *lease* can use it; the client's own where it can."""
        request, account = exchange.request, lease.account
        if not request.body.raw or self._config.mode != "serve":
            return request.body
        raw = account_bound.without(request.body, ties) if ties else request.body.raw
        key = (request.client.scope, exchange.identity.affinity, account.id)
        if account.id in exchange.unsealed or key in self._unsealed:
            raw = self._unsealed_for(exchange, Body(raw), account.id, now)
        raw = answer_urls.for_upstream(request, raw, account, lease.origin)
        return request.body if raw == request.body.raw else Body(raw)

    def _unsealed_for(self, exchange: Exchange, body: Body, account: str, now: float) -> bytes:
        """Return *body* without what others than *account* sealed; without all of it where that is nothing."""
        request, raw = exchange.request, body.raw or b""
        kept = account_bound.unsealed(body, lambda sealed: self._resources.owner_of(request, sealed, now) == account)
        if kept == raw and account in exchange.unsealed:
            return account_bound.unsealed(body, lambda sealed: False)
        return kept


def _outer(members: Mapping[str, object]) -> set[str]:
    return {name.partition(".")[0] for name in members}


def _slot_session(slot: int, lane: str, client: bytes) -> str:
    return f"slot {slot} {client.hex()} {lane}"


def _without_shared_session(lease: Lease, headers: Headers) -> Headers:
    """
    Return *headers* without the client's session where two clients may name theirs alike.

    That is where sessions upstream are handed out, and where the value names no conversation, or may name many.
    """
    templates = lease.account.provider.stamp.headers
    ours = {name.lower() for name, template in templates.items() if "{session_id}" in template}
    named = all(names_one("generic_header", value) for name in ours for value in headers.all(name))
    if lease.slot is None and named:
        return headers
    return Headers((name, value) for name, value in headers if name.lower() not in ours)


def _headers_on(socket: Lease | None, headers: Headers) -> Headers:
    """Return *headers* with those that went up when the socket was opened: its messages share them, ids and all."""
    if socket is None:
        return headers
    return Headers((*headers, *((name, value) for name, value in socket.edit.headers if value is not None)))
