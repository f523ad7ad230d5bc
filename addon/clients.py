"""
Clients: identified by their own keys, with rights.

A scope separates the sessions of clients. Without configured clients it comes from a stable claim of the credential, as
a token may change every few hours.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from . import credential_places, keyed
from .client_claim import claim
from .credential_places import PROTOCOL_KEYS, KeyHeaders
from .frozen import dataclass
from .requested_models import RequestedModels, bare, matches
from .settings.settings import ClientKey
from .values.decision import Refusal
from .values.http import Client, Endpoint, Headers, Request

GONE = Refusal(401, "client_unknown", "This client is no longer known to the proxy")
_MAX_NAME = 256
_LISTINGS = re.compile(
    r"(?:/v\d+[a-z0-9]*)?(?:/projects/.*)?/(?:files|batches|uploads|vector_stores|containers|chat/completions|responses"
    r"|fine_tuning/jobs|conversations|messages/batches|skills|cachedContents|operations|fileSearchStores|corpora"
    r"|tunedModels|interactions|assistants|threads|videos|evals|batch/jobs|agents|sessions|environments|vaults"
    r"|memory_stores)"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A configured client, and the value of its key."""

    key: ClientKey
    value: bytes


def identify(
    headers: Headers,
    path: str,
    known: Sequence[Known],
    secret: bytes,
    *,
    loopback: bool,
    places: KeyHeaders = PROTOCOL_KEYS,
) -> Client | Refusal:
    """
    Return the client of a request with *headers* and *path*, before its credentials are replaced.

    With *known* clients, the request needs the key of one, in a header of *places* or in the query. *secret* keys the
    scope; *loopback*: the peer is on this machine.
    """
    if not known:
        named = claim(headers, places) or credential_places.in_query(path)
        return Client(scope=_scope(secret, named) if named else b"", may_pin=loopback)
    keys = places.keys_in(headers, path)
    sent = [_digest(secret, key.encode("utf-8", "surrogateescape")) for key in keys]
    found: Known | None = None
    for candidate in known:  # all of them: the time must not depend on the match
        kept = _digest(secret, candidate.value)
        for value in sent:
            if hmac.compare_digest(kept, value):
                found = candidate
    if found is None:
        return Refusal(401, "client_unknown", "This proxy requires a client key, and the request has no known one")
    return _client(found, secret)


def with_present_rights(client: Client, known: Sequence[Known], secret: bytes) -> Client | None:
    """
    Return *client*, identified earlier, with its rights by the present *known* clients; None: it is unknown now.

    Without *known* clients it is unchanged.
    """
    if not known:
        return client
    return next((now for one in known if (now := _client(one, secret)).key == client.key), None)


def of_name(name: str, known: Sequence[Known], secret: bytes) -> Client | None:
    """Return the one of the *known* clients that is called *name*, with its present rights."""
    return next((_client(one, secret) for one in known if one.key.name == name), None)


def _client(known: Known, secret: bytes) -> Client:
    key = known.key
    scope = _scope(secret, "client:" + (key.scope or key.name))
    return Client(scope, key.name, key.may_pin, key.pools, key.providers, key.models, _digest(secret, known.value))


def exceeded_right(client: Client, endpoint: Endpoint, naming: RequestedModels) -> Refusal | None:
    """Refuse a request of *client* to *endpoint* for the models of *naming* that exceeds its rights."""
    if client.pools and endpoint.family not in client.pools:
        return Refusal(403, "pool_not_allowed", f"This client may not use the pool {endpoint.family or 'of any path'}")
    if not client.models:
        return None
    if naming.hidden:
        message = f"This client may use some models only, and its requests must name them: {naming.hidden}"
        return Refusal(403, "model_not_allowed", message)
    for model in naming.all:
        if not _may_ask(client, model):
            return Refusal(403, "model_not_allowed", f"This client may not use the model {model[:_MAX_NAME]!r}")
    return None


def _may_ask(client: Client, model: str) -> bool:
    if model != model.strip() or not model.isprintable():  # a server may strip it, and find another model
        return False
    return matches(client.models, {model, bare(model)})


def is_list(request: Request) -> bool:
    """Whether *request* lists the objects stored at an account, of all clients."""
    upgrades = request.headers.get("upgrade").strip().lower() == "websocket"
    if request.method not in ("GET", "HEAD") or (upgrades and request.endpoint.model_source == "socket"):
        return False
    return bool(_LISTINGS.fullmatch(request.endpoint.suffix.rstrip("/")))


def _digest(secret: bytes, value: bytes) -> bytes:
    return keyed.tag(secret, value, 32)


def _scope(secret: bytes, named: str) -> bytes:
    return keyed.tag(secret, named.encode("utf-8", "surrogateescape"))
