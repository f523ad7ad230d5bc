"""
Who asks: the client's own key names it and tells what it may; without configured keys everybody here is one client.

A scope is what keeps one client from steering another's sessions. It comes from a stable claim, never from a token that
is refreshed every few hours.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus

from blake3 import blake3

from . import secret_patterns
from .client_claim import claim
from .requested_models import RequestedModels, bare, matches
from .settings.settings import ClientKey
from .values.decision import Refusal
from .values.http import Client, Endpoint, Headers, Request

# Header → what stands before the key in it. The upgrade of a browser's realtime socket carries one among its protocols.
CREDENTIAL_HEADERS: Mapping[str, str] = {
    "authorization": "Bearer ",
    "x-api-key": "",
    "x-goog-api-key": "",
    "api-key": "",
}
WEBSOCKET_KEY = "openai-insecure-api-key."
QUERY_KEY = "key"
NO_HEADERS = Headers()
HIDDEN = "patchbay"  # stands where a credential of the client's was
_NOTHING: Mapping[str, str] = {}
QUERY_KEYS = frozenset({QUERY_KEY, "access_token", "oauth_token", "api_key", "api-key"})
# What tells an upstream whose account a client has, or had; and an answer's headers that tell the client whose ours is.
REVEALING_UPWARD = frozenset(
    {"cookie", "openai-organization", "openai-project", "anthropic-organization-id", "x-goog-user-project",
     "chatgpt-account-id"}
)  # fmt: skip
REVEALING_DOWNWARD = frozenset(
    {"set-cookie", "openai-organization", "openai-project", "anthropic-organization-id", "x-goog-user-project",
     "chatgpt-account-id"}
)  # fmt: skip
GONE = Refusal(401, "client_unknown", "This client is not known to the proxy any more")
_MAX_NAME = 256
_LISTS = re.compile(
    r"(?:/v\d+[a-z0-9]*)?(?:/projects/.*)?/(?:files|batches|uploads|vector_stores|containers|chat/completions|responses"
    r"|fine_tuning/jobs|conversations|messages/batches|skills|cachedContents|operations|fileSearchStores|corpora"
    r"|tunedModels|interactions|assistants|threads|videos|evals|batch/jobs|agents|sessions|environments|vaults"
    r"|memory_stores)"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A configured client with its key's present value."""

    key: ClientKey
    value: bytes


def identify(headers: Headers, path: str, known: Sequence[Known], secret: bytes, *, loopback: bool) -> Client | Refusal:
    """
    Say who sent a request with *headers* and *path*, before its credentials are replaced.

    With *known* clients, one of their keys must be there. *secret* keys the digest that becomes the scope; *loopback*
    says whether the peer is on this machine.
    """
    if not known:
        named = claim(headers) or _in_query(path)
        return Client(scope=_scope(secret, named) if named else b"", may_pin=loopback)
    sent = [_digest(secret, value.encode("utf-8", "surrogateescape")) for value in presented(headers, path)]
    found: Known | None = None
    for candidate in known:  # all of them, always: how long this takes must not tell how near a guess was
        kept = _digest(secret, candidate.value)
        for value in sent:
            if hmac.compare_digest(kept, value):
                found = candidate
    if found is None:
        return Refusal(401, "client_unknown", "This proxy asks for a client key, and none was given that it knows")
    return _client(found, secret)


def again(client: Client, known: Sequence[Known], secret: bytes) -> Client | None:
    """
    Return what *client*, who was identified earlier, is and may now that *known* are the clients; None: it is unknown.

    Who came when there were no clients, and who came as one of them before there were none, stays what it was.
    """
    if not known:
        return client
    return next((now for one in known if (now := _client(one, secret)).key == client.key), None)


def _client(known: Known, secret: bytes) -> Client:
    key = known.key
    scope = _scope(secret, "client:" + (key.scope or key.name))
    return Client(scope, key.name, key.may_pin, key.pools, key.providers, key.models, _digest(secret, known.value))


def overstepped(client: Client, endpoint: Endpoint, naming: RequestedModels) -> Refusal | None:
    """Say what *client* may not do, when it asks *endpoint* for the models of *naming*."""
    if client.pools and endpoint.family not in client.pools:
        return Refusal(403, "pool_not_allowed", f"This client may not use the pool {endpoint.family or 'of any path'}")
    if not client.models:
        return None
    if naming.hidden:
        message = f"This client may use some models only, and this request has to name one of them: {naming.hidden}"
        return Refusal(403, "model_not_allowed", message)
    for model in naming.all:
        if not _may_ask(client, model):
            return Refusal(403, "model_not_allowed", f"This client may not use the model {model[:_MAX_NAME]!r}")
    return None


def _may_ask(client: Client, model: str) -> bool:
    if model != model.strip() or not model.isprintable():  # who strips it, asks for another one
        return False
    return matches(client.models, {model, bare(model)})


def lists(request: Request) -> bool:
    """Whether *request* asks for a list of what is stored for an account, whoever stored it."""
    upgrades = request.endpoint.asks == "socket" and request.headers.get("upgrade").strip().lower() == "websocket"
    if request.method not in ("GET", "HEAD") or upgrades:
        return False
    return bool(_LISTS.fullmatch(request.endpoint.suffix.rstrip("/")))


def presented(headers: Headers, path: str) -> Iterator[str]:
    """Yield every key that stands in *headers* or in the query of *path*."""
    for name, prefix in CREDENTIAL_HEADERS.items():
        for value in headers.all(name):
            start = len(prefix) if value[: len(prefix)].lower() == prefix.lower() else 0
            yield value[start:].strip()
    for value in headers.all("sec-websocket-protocol"):
        for part in value.split(","):
            if part.strip().startswith(WEBSOCKET_KEY):
                yield part.strip()[len(WEBSOCKET_KEY) :]
    if key := _in_query(path):
        yield key


def form(headers: Headers, path: str) -> str:
    """Say in which form the client sent its own credential: `bearer`, a header's name, `query`, or nothing."""
    for name in CREDENTIAL_HEADERS:
        if name in headers:
            return "bearer" if name == "authorization" else name
    return "query" if _in_query(path) else ""


def is_credential(name: str, value: str) -> bool:
    """Whether a header or a parameter is the client's credential: its *name* says so, or one of them holds a key."""
    return secret_patterns.names_key(name) or secret_patterns.is_key(name) or secret_patterns.holds_key(value)


def without_key(path: str, instead: str | None = None, passing: Mapping[str, str] = _NOTHING) -> str:
    """
    Return *path* without credentials: those of the query are replaced by *instead*, or taken off; other bytes stay.

    *passing* are parameters that stay though they are credentials, with their values. A key that is a piece of the path
    itself is replaced.
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
    """Whether two paths are the same but for the credentials in them."""
    return one == other or without_key(one) == without_key(other)


def _is_hidden(value: str) -> bool:
    return value == HIDDEN or value.startswith(f"{HIDDEN}:")


def parameters(path: str, names: Collection[str]) -> dict[str, str]:
    """Return the parameters called one of *names* that stand in the query of *path*, as they are written."""
    query = path.partition("?")[2]
    parts = (part.partition("=") for part in query.split("&"))
    return {name: value for name, _, value in parts if unquote_plus(name) in names}


def with_key(path: str, key: str) -> str:
    """Return *path* with *key* in its query, in place of any that stands there."""
    bare, _, query = path.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != QUERY_KEY]
    return f"{bare}?" + "&".join([*kept, f"{QUERY_KEY}={quote(key, safe='')}"])


def _in_query(path: str) -> str:
    if "?" not in path:
        return ""
    found = (value for name, value in parse_qsl(path.partition("?")[2]) if name in QUERY_KEYS)
    return next(found, "")


def _digest(secret: bytes, value: bytes) -> bytes:
    return blake3(value, key=secret).digest()


def _scope(secret: bytes, named: str) -> bytes:
    return blake3(named.encode("utf-8", "surrogateescape"), key=secret).digest(16)
