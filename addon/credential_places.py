"""The places of credentials in a request: the headers that carry a key, the query and the path."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, unquote_plus

from . import secret_patterns
from .values import header_names
from .values.account import CredentialHeader
from .values.http import Headers

_WEBSOCKET_KEY = "openai-insecure-api-key."  # a browser's realtime socket sends its key among the subprotocols
QUERY_KEY = "key"
QUERY_KEYS = frozenset({QUERY_KEY, "access_token", "oauth_token", "api_key", "api-key"})
HIDDEN = "patchbay"  # replaces a credential of the client
_NOTHING: Mapping[str, str] = {}
# of a path without its query: tools ask for the same few
holds_key = secret_patterns.remembered(secret_patterns.holds_key)


class KeyHeaders:
    """
    The headers that carry a key: those of every protocol, and *own* ones that the settings name for their providers.

    *own_names* are the lower-case names of the latter; *encoded* and *encoded_own* are names as mitmproxy holds them.
    """

    __slots__ = ("_prefixes", "encoded", "encoded_own", "own", "own_names")

    def __init__(self, own: Iterable[CredentialHeader] = ()) -> None:
        self.own = tuple(dict.fromkeys(own))
        self.own_names = frozenset(each.header.lower() for each in self.own) - header_names.CREDENTIALS.keys()
        self._prefixes = {name: (prefix,) for name, prefix in header_names.CREDENTIALS.items()}
        for each in self.own:
            name = each.header.lower()
            self._prefixes[name] = (*self._prefixes.get(name, ()), each.prefix)
        self.encoded = header_names.encoded(self._prefixes)
        self.encoded_own = header_names.encoded(self.own_names)

    def __contains__(self, name: object) -> bool:
        return name in self._prefixes

    def prefix(self, name: str) -> str:
        """Return what stands before a key in the header *name*. Raises KeyError if it carries none."""
        return self._prefixes[name][0]

    def keys_in(self, headers: Headers, path: str) -> Iterator[str]:
        """Yield every key in *headers* and in the query of *path*."""
        for name, prefixes in self._prefixes.items():
            for value in headers.all(name):
                yield _without_prefix(value, prefixes)
        for value in headers.all("sec-websocket-protocol"):
            for part in value.split(","):
                if part.strip().startswith(_WEBSOCKET_KEY):
                    yield part.strip()[len(_WEBSOCKET_KEY) :]
        if key := in_query(path):
            yield key

    def in_own(self, headers: Headers) -> str:
        """Return the first key in a header of the settings, or the empty string."""
        found = (_without_prefix(value, self._prefixes[n]) for n in sorted(self.own_names) for value in headers.all(n))
        return next(filter(None, found), "")

    def form(self, headers: Headers, path: str) -> str:
        """Return the place of the client's credential: `bearer`, a header's name, `query`, or nothing."""
        for name in self._prefixes:
            if name in headers:
                return header_names.credential_form(name)
        return "query" if in_query(path) else ""


def _without_prefix(value: str, prefixes: tuple[str, ...]) -> str:
    found = (len(prefix) for prefix in prefixes if value[: len(prefix)].lower() == prefix.lower())
    return value[max(found, default=0) :].strip()


def in_query(path: str) -> str:
    """Return the first key in the query of *path*, or the empty string."""
    query = path.partition("?")[2]
    return next((value for name, value in parse_qsl(query) if name in QUERY_KEYS), "") if query else ""


def is_credential(name: str, value: str) -> bool:
    """Whether a header or a parameter is a credential, by its *name*, or since name or value holds a key."""
    return secret_patterns.names_key(name) or secret_patterns.is_key(name) or secret_patterns.holds_key(value)


def is_key_protocol(protocol: str) -> bool:
    """Whether *protocol*, one of those a WebSocket's client offers, carries a key."""
    return protocol.startswith(_WEBSOCKET_KEY) or is_credential(protocol.rpartition(".")[0], protocol)


def without_key(path: str, instead: str | None = None, passing: Mapping[str, str] = _NOTHING) -> str:
    """
    Return *path* without credentials: *instead* replaces those of the query, or they are removed; other bytes stay.

    *passing* are credentials in the query that stay, with their values. A key in a segment of the path is replaced.
    """
    bare, mark, query = path.partition("?")
    if holds_key(bare):
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


PROTOCOL_KEYS = KeyHeaders()
