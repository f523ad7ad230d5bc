"""Which requests a client may send: the models it may use, and what the provider stores for other clients."""

from __future__ import annotations

from dataclasses import replace

from . import clients, dialects, requested_models
from .accounts import models, refusals
from .accounts.lease import Lease
from .accounts.pool import Accounts
from .body import Body, members
from .exchange import Exchange, continued_thread
from .identity.identify import Identifier
from .media_types import media_type
from .replacement import thread_not_found
from .requested_models import RequestedModels
from .settings.settings import Config
from .values import header_names
from .values.account import Account
from .values.decision import Refusal
from .values.http import Client, Endpoint, Request

_PIN = Refusal(403, "pin_not_allowed", "This client may not choose the account of a request")
_LIST = Refusal(403, "list_not_allowed", "This list would show what other clients of this proxy have stored as well")
_TWOFOLD = Refusal(400, "body_unusable", "The body holds a member twice, so that it is ambiguous")


class Access:
    """The rights of the clients of one configuration."""

    def __init__(self, config: Config, accounts: Accounts, identifier: Identifier) -> None:
        self._accounts = accounts
        self._identifier = identifier
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Go by *config* from now on."""
        self._by_id = {account.id: account for account in config.accounts}
        self._scopes = len({client.scope or client.name for client in config.clients})

    def models_of(self, request: Request, socket: Lease | None = None) -> RequestedModels:
        """Return the models that *request* names: all of them where rights or lists depend on it."""
        if not (request.client.models or self._accounts.restricts):
            return requested_models.in_usual_place(request)
        if socket is None:
            return requested_models.anywhere(request)
        return requested_models.of_message(request.body, creates=True)

    def refusal(self, request: Request, names: RequestedModels, now: float) -> Refusal | None:
        """Return why *request*, which names *names*, may not be sent; None where it may."""
        if request.headers.get(header_names.ACCOUNT).strip() and not request.client.may_pin:
            return _PIN
        if names.hidden and _is_broken(request):
            return refusals.broken_json()
        return clients.exceeded_right(request.client, request.endpoint, names) or self._foreign(request, now)

    def oversteps(self, request: Request, socket: Lease | None = None) -> Refusal | None:
        """Return why *request*, which was let in before, would be refused now: the rights of its client may change."""
        return clients.exceeded_right(request.client, request.endpoint, self.models_of(request, socket))

    def refused_event(self, request: Request, socket: Lease, now: float) -> Refusal | None:
        """Return why an event on the WebSocket of *socket* that asks for no answer is refused, if it is."""
        names = requested_models.of_message(request.body, creates=False)
        if request.body.text("type") not in dialects.of(request.endpoint.dialect).other_messages:
            names = replace(names, hidden=names.hidden or "this event is unknown here")
        if refusal := clients.exceeded_right(request.client, request.endpoint, names) or self._foreign(request, now):
            return refusal
        if self._serves_all(self._by_id.get(socket.account.id, socket.account), names):
            return None
        return Refusal(403, "model_not_allowed", f"The account of this WebSocket does not serve {', '.join(names.all)}")

    def must_read(self, client: Client, endpoint: Endpoint) -> bool:
        """Whether the body of a request for *endpoint* must be read before it goes up, because it names models."""
        names = endpoint.model_source in ("model", "named", "batch", "tuning")
        return names and (bool(client.models) or self._accounts.restricts or self._accounts.renames)

    def is_served_elsewhere(self, exchange: Exchange) -> bool:
        """Whether the account of the WebSocket of *exchange* lacks a model that another account serves."""
        if exchange.socket_lease is None or not self._accounts.restricts:
            return False
        here = self._by_id.get(exchange.socket_lease.account.id, exchange.socket_lease.account)
        if self._serves_all(here, exchange.requested_models):
            return False
        family = exchange.request.endpoint.family
        others = (one for one in self._by_id.values() if one.enabled and family in one.provider.families)
        return any(self._serves_all(one, exchange.requested_models) for one in others)

    @staticmethod
    def _serves_all(account: Account, names: RequestedModels) -> bool:
        return all(models.serves(account, name) for name in names.all)

    def _foreign(self, request: Request, now: float) -> Refusal | None:
        """Refuse access to what the provider stores for another client."""
        if not request.client.key:
            return None
        if self._scopes > 1 and clients.is_list(request):
            return _LIST
        if self._scopes > 1 and request.body.is_object and _is_twofold(request.body):
            return _TWOFOLD
        found = self._identifier.client_resources.foreign_id(request, now)
        if not found:
            return None
        if found == continued_thread(request.body):
            return thread_not_found(f"There is no thread {found[:256]!r}")
        chained = found == request.body.text("previous_response_id")
        code = "previous_response_not_found" if chained else "not_found"
        return Refusal(404, code, f"There is no {found[:256]!r}")


def _is_broken(request: Request) -> bool:
    """Whether the body of *request* should be JSON, is read here, and is none."""
    body, kind = request.body, media_type(request.headers.get("content-type"))
    if not body.raw or body.is_object or body.is_too_deep or kind not in ("", "application/json"):
        return False
    return request.endpoint.model_source == "model" and bool(request.endpoint.dialect)


def _is_twofold(body: Body) -> bool:
    try:
        members(body.raw or b"")
    except ValueError:
        return True
    return False
