"""Which account keeps a resource that a request refers to: files, responses, uploads, sealed reasoning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import account_bound, upstream_url
from ..dialects.dialect import BoundField
from ..ledger import Entry
from ..values.answer import Fact
from ..values.decision import Evidence
from ..values.http import Request
from . import references
from .client_resources import ClientResources
from .lineage import Lineage
from .references import Reference
from .signals import MAX_ID

OWNED_TTL = 30 * 86_400.0  # seconds: as long as providers keep the resources of an account
ADDRESS_TTL = 86_400.0  # seconds in which an address that an answer gave leads to the account of that answer
_ANY_CLIENT = b"\0"  # a scope that no client has: its entries apply to all clients


class AccountResources:
    """Resources in *lineage*, each for *ttl* seconds or `OWNED_TTL`, whichever is longer."""

    def __init__(self, lineage: Lineage, client_resources: ClientResources, ttl: float) -> None:
        self._lineage = lineage
        self._client_resources = client_resources
        self.resize(ttl)

    def resize(self, ttl: float) -> None:
        """Let *ttl* hold from the next note on."""
        self.ttl = max(OWNED_TTL, ttl)

    def owner_of(self, request: Request, token: str, now: float) -> str:
        """Return the account that gave *token* to the client of *request*, or the empty string."""
        entry = self._lineage.find(request.client.scope, token, now)
        return entry.account if entry else ""

    def owner(
        self, request: Request, outline: Request | None, now: float
    ) -> tuple[frozenset[str] | None, list[Evidence]]:
        """
        Return the accounts that can honour all references of *request*, None when every account can, and evidence.

        *outline* is the request without its known history, if there is one. Where two references want different
        accounts the first one counts: no account could serve both.
        """
        searched = self._lineage.ties(request.client.scope, now)
        found = self._owner(outline or request, now, searched=searched)  # the newest references, and less to read
        return self._owner(request, now, searched=True) if found[0] is None and searched and outline else found

    def stored_at(self, request: Request, now: float) -> frozenset[str] | None:
        """
        Return the account of a resource that *request* cannot do without: a file, or a response that it continues.

        The whole history is read for it, so ask only where the owner is unavailable.
        """
        for reference in _owning(request, searched=True):
            account = "" if reference.place in references.SPARED else self.owner_of(request, reference.value, now)
            if account:
                return frozenset((account,))
        return None

    def bound_elsewhere(
        self, request: Request, affinity: str, account: str, now: float, *, moved: bool
    ) -> tuple[BoundField, ...]:
        """
        Return the fields of *request* that belong to another account than *account*.

        Where the owner is unknown and the conversation has *moved*, a field belongs to the former account.
        """
        found = (
            (bound, self.owner_of(request, _token_of(bound, value, affinity), now))
            for bound, value in account_bound.bound_fields(request)
        )
        return tuple(bound for bound, owner in found if (owner != account if owner else moved))

    def note_bound(self, request: Request, affinity: str, account: str, now: float) -> None:
        """Remember that *account* served *request*, of *affinity*, with the fields whose values no answer gives."""
        for bound, value in account_bound.bound_fields(request):
            token = _token_of(bound, value, affinity)
            if bound.accepted and affinity and not self.owner_of(request, token, now):
                self._lineage.note(request.client.scope, token, Entry("", account=account, at=now), now, self.ttl)

    def note_addresses(self, request: Request, account: str, targets: Iterable[str], now: float) -> None:
        """Remember the addresses in *account*'s answer to *request*: their *targets*, paths with a query."""
        client, entry = request.client, Entry("", account=account, at=now)
        for target in filter(references.names_one, targets):
            whole, *ids = references.of_address(target)
            self._lineage.note(client.scope, whole.value, entry, now, ADDRESS_TTL)
            for reference in ids:
                self._lineage.note(client.scope, reference.value, entry, now, self.ttl)
                self._client_resources.note(request, Fact("token", reference.value, reference.place), now, self.ttl)
            if ids and upstream_url.opens_itself(target):  # it cannot be guessed, so it identifies the client
                holder = Entry("", affinity=client.scope.hex() or "-", thread=client.key.hex(), at=now)
                self._lineage.note(_ANY_CLIENT, whole.value, holder, now, ADDRESS_TTL)

    def knows_address(self, request: Request, now: float) -> bool:
        """Whether the path of *request* is an address that an answer gave to its client."""
        return self.owner_of(request, next(references.of_address(request.path)).value, now) != ""

    def client_of(self, path: str, now: float) -> tuple[bytes, bytes] | None:
        """
        Return scope and key of the client that was given the address of an upload, *path* with its query.

        Some SDKs send no credential to such an address: the address itself is one.
        """
        if self._lineage.is_empty():
            return None
        whole, *ids = references.of_address(path)
        known = ids and upstream_url.opens_itself(path)
        entry = self._lineage.find(_ANY_CLIENT, whole.value, now) if known else None
        if entry is None or not entry.affinity:
            return None
        return bytes.fromhex(entry.affinity.strip("-")), bytes.fromhex(entry.thread)

    def _owner(self, request: Request, now: float, *, searched: bool) -> tuple[frozenset[str] | None, list[Evidence]]:
        owner: frozenset[str] | None = None
        evidence: list[Evidence] = []
        for reference in _owning(request, searched=searched):
            account = self.owner_of(request, reference.value, now)
            if not account:
                continue
            value = reference.value[:MAX_ID]
            if owner is None:
                owner = frozenset((account,))
                evidence.append(Evidence("owner", reference.place, used=True, value=value))
            elif account not in owner:
                evidence.append(Evidence("owner", reference.place, used=False, why="of another account", value=value))
        return owner, evidence


def _owning(request: Request, *, searched: bool) -> Iterator[Reference]:
    if request.endpoint.kind == "resource":
        yield from references.of_path(request.path)
    if request.endpoint.kind != "generation":
        yield from references.of_address(request.path)
    yield from references.owning(request, in_history=searched)


def _token_of(bound: BoundField, value: str, affinity: str) -> str:
    """Return the token of *value*: a value of the client's own making counts for this conversation alone."""
    return f"{affinity} {value}" if bound.accepted else value
