"""The addresses that answers gave to clients: whose account they belong to, and whose client may ask for them."""

from __future__ import annotations

from . import upstream_url
from .answer_urls import AddressMap
from .exchange import Exchange
from .identity.account_resources import AccountResources
from .values.http import Client


class GivenAddresses:
    """Those that *resources* keep."""

    def __init__(self, resources: AccountResources) -> None:
        self._resources = resources

    def map_of(self, exchange: Exchange) -> AddressMap | None:
        """Return what addresses of the upstream in the present answer of *exchange* are to its client."""
        attempt, request = exchange.attempt, exchange.request
        if attempt is None:
            return None
        lease, anywhere = attempt.lease, upstream_url.is_anywhere(request.destination)
        return AddressMap(lease.account, lease.origin, request.address, request.path, lease.edit.path, anywhere)

    def note(self, exchange: Exchange, addresses: AddressMap, now: float) -> None:
        """Remember which account owns the *addresses* that the client of *exchange* was given."""
        if addresses.given and not exchange.request.replay:
            self._resources.note_addresses(exchange.request, addresses.account.id, addresses.given, now)
            addresses.given.clear()

    def knows(self, exchange: Exchange, now: float) -> bool:
        """Whether *exchange* asks for an address that an answer gave to its client."""
        return exchange.request.endpoint.kind != "generation" and self._resources.knows_address(exchange.request, now)

    def client_of(self, path: str, now: float) -> Client | None:
        """Return the client that an answer gave the address of an upload, *path* with its query, if it is one."""
        found = self._resources.client_of(path, now) if "?" in path else None
        return Client(scope=found[0], key=found[1]) if found else None
