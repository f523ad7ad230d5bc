"""
Clients: identified by their own keys, with rights. Also the places of credentials in a request.

A scope separates the sessions of clients. Without configured clients it comes from a stable claim of the credential, as
a token may change every few hours.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus

from . import keyed, secret_patterns
from .client_claim import claim
from .requested_models import RequestedModels, bare, matches
from .settings.settings import ClientKey
from .values import header_names
from .values.decision import Refusal
from .values.http import Client, Endpoint, Headers, Request

WEBSOCKET_KEY = "openai-insecure-api-key."  # a browser's realtime socket sends its key among the subprotocols
QUERY_KEY = "key"
NO_HEADERS = Headers()
HIDDEN = "patchbay"  # replaces a credential of the client
_NOTHING: Mapping[str, str] = {}
QUERY_KEYS = frozenset({QUERY_KEY, "access_token", "oauth_token", "api_key", "api-key"})
GONE = Refusal(401, "client_unknown", "This client is no longer known to the proxy")
_MAX_NAME = 256
_LISTS = re.compile(
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


def identify(headers: Headers, path: str, known: Sequence[Known], secret: bytes, *, loopback: bool) -> Client | Refusal:
    """
    Return the client of a request with *headers* and *path*, before its credentials are replaced.

    With *known* clients, the request needs the key of one. *secret* keys the scope; *loopback*: the peer is on this
    machine.
    """
    if not known:
        named = claim(headers) or _in_query(path)
        return Client(scope=_scope(secret, named) if named else b"", may_pin=loopback)
    sent = [_digest(secret, value.encode("utf-8", "surrogateescape")) for value in keys_in(headers, path)]
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
    return bool(_LISTS.fullmatch(request.endpoint.suffix.rstrip("/")))


def keys_in(headers: Headers, path: str) -> Iterator[str]:
    """Yield every key in *headers* and in the query of *path*."""
    for name, prefix in header_names.CREDENTIALS.items():
        for value in headers.all(name):
            start = len(prefix) if value[: len(prefix)].lower() == prefix.lower() else 0
            yield value[start:].strip()
    for value in headers.all("sec-websocket-protocol"):
        for part in value.split(","):
            if part.strip().startswith(WEBSOCKET_KEY):
                yield part.strip()[len(WEBSOCKET_KEY) :]
    if key := _in_query(path):
        yield key


def credential_form(headers: Headers, path: str) -> str:
    """Return the place of the client's credential: `bearer`, a header's name, `query`, or nothing."""
    for name in header_names.CREDENTIALS:
        if name in headers:
            return header_names.form(name)
    return "query" if _in_query(path) else ""


def is_credential(name: str, value: str) -> bool:
    """Whether a header or a parameter is a credential, by its *name*, or since name or value holds a key."""
    return secret_patterns.names_key(name) or secret_patterns.is_key(name) or secret_patterns.holds_key(value)


def without_key(path: str, instead: str | None = None, passing: Mapping[str, str] = _NOTHING) -> str:
    """
    Return *path* without credentials: *instead* replaces those of the query, or they are removed; other bytes stay.

    *passing* are credentials in the query that stay, with their values. A key in a segment of the path is replaced.
    """
    bare, mark, query = path.partition("?")
    if secret_patterns.holds_key(bare):
        pieces = ((instead or HIDDEN) if secret_patterns.holds_key(piece) else piece for piece in bare.split("/"))
        bare = "/".join(pieces)
    if not mark:
        return bare
    parts = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in passing:
            parts.append(f"{name}={passing[name]}")
        elif not (_is_hidden(value) or is_credential(unquote_plus(name), unquote_plus(value))):
            parts.append(part)
        elif instead is not None:
            name = HIDDEN if secret_patterns.is_key(unquote_plus(name)) else name
            parts.append(f"{name}={quote(instead, safe=':')}")
    return bare + ("?" + "&".join(parts) if parts else "")


def is_same_path(one: str, other: str) -> bool:
    """Whether two paths are equal but for their credentials."""
    return one == other or without_key(one) == without_key(other)


def _is_hidden(value: str) -> bool:
    return value == HIDDEN or value.startswith(f"{HIDDEN}:")


def parameters(path: str, names: Collection[str]) -> dict[str, str]:
    """Return the query parameters of *path* among *names*, undecoded."""
    query = path.partition("?")[2]
    parts = (part.partition("=") for part in query.split("&"))
    return {name: value for name, _, value in parts if unquote_plus(name) in names}


def with_key(path: str, key: str) -> str:
    """Return *path* with *key* in its query, in place of another one."""
    bare, _, query = path.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != QUERY_KEY]
    return f"{bare}?" + "&".join([*kept, f"{QUERY_KEY}={quote(key, safe='')}"])


def _in_query(path: str) -> str:
    found = (value for name, value in parse_qsl(path.partition("?")[2]) if name in QUERY_KEYS)
    return next(found, "")


def _digest(secret: bytes, value: bytes) -> bytes:
    return keyed.tag(secret, value, 32)


def _scope(secret: bytes, named: str) -> bytes:
    return keyed.tag(secret, named.encode("utf-8", "surrogateescape"))
