"""Heads of messages with placeholders for their credentials: a flow may be saved or shown at any moment."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from mitmproxy import http
from mitmproxy.net.http import url

from .. import credential_places, secret_patterns
from ..credential_places import PROTOCOL_KEYS, KeyHeaders
from ..values import header_names
from ..values.http import Origin
from .header_fields import HeaderFields, Raw
from .redaction import Redactor

_PREFIXES = {name.encode(): prefix.encode() for name, prefix in header_names.CREDENTIALS.items()}
_WORD = credential_places.HIDDEN.encode()
_PLACEHOLDER = re.compile(_WORD + rb"(?::[\w.-]{1,64})?")
_WITH_SCHEME = re.compile(rb"(?:Bearer )?" + _PLACEHOLDER.pattern)
_IN_PATH = re.compile(rf"[/=]{credential_places.HIDDEN}(?::[\w.-]{{1,64}})?(?=[&/?]|$)")
_LOGIN_CODE, _LOGIN_STATE = re.compile(r"([?&]code=)[^&#]+"), re.compile(r"[?&]state=")
_PROTOCOLS = b"sec-websocket-protocol"
# Random values, of which some look like a key (3 in a million): the nonce of a WebSocket upgrade and its answer
# (RFC 6455, section 4), and the boundary of a multipart body (RFC 2046, section 5.1.1).
_RANDOM = {
    b"sec-websocket-key": re.compile(rb"[A-Za-z0-9+/]{22}=="),
    b"sec-websocket-accept": re.compile(rb"[A-Za-z0-9+/]{27}="),
    b"content-type": re.compile(rb"multipart/[a-z-]+; *boundary=\"?[A-Za-z0-9'()+_,./:=?-]{1,70}\"?", re.IGNORECASE),
}
_SHORTEST = 20  # bytes of a value that may be a key
_USUAL = 2048  # bytes of names that are remembered
_PRESENTED = 16  # bytes of a client's credential that is searched for in the rest of the head
_NONE = Redactor(())


class RedactedHeads:
    """The heads of one request and its answer as they came, while the flow holds placeholders for their credentials."""

    __slots__ = (
        "_came", "_destination", "_known", "_path", "_stands", "_stands_path", "_told", "_told_stands", "by_value",
        "keys", "presented",
    )  # fmt: skip

    def __init__(self, request: http.Request, keys: KeyHeaders = PROTOCOL_KEYS, known: Redactor = _NONE) -> None:
        self.keys = keys
        self._known = known  # what covers the accounts' own keys
        self._came, self._path = request.headers.fields, request.path
        # the client's credentials: what signs one request alone is none
        self.presented = placeholder(request, keys=keys, known=known)
        self._stands, self._stands_path = request.headers.fields, request.path
        self._destination = _destination(request)
        # fields that are credentials by their value, not by their name
        by_value = _hidden(self._stands) - _hidden(self._came) if self._stands != self._came else frozenset()
        self.by_value = by_value - keys.encoded_own
        self._told: Raw | None = None
        self._told_stands: Raw | None = None

    def __repr__(self) -> str:
        return "RedactedHeads()"

    def assign(self, request: http.Request, account: str, origin: Origin, keys: KeyHeaders = PROTOCOL_KEYS) -> None:
        """Name *account* in the placeholders of *request*, the flow's, also for what it got since; aim at *origin*."""
        word, fields = f"{credential_places.HIDDEN}:{account}", HeaderFields(request.headers.fields)
        _cover_named(fields, word.encode(), keys)
        _bare_host(request, fields)
        aim(request, fields, origin)
        fields.on(request.headers)
        if _PROTOCOLS in fields:
            _hide_protocol(request)
        if "?" in request.path or request.path != self._stands_path:
            request.path = credential_places.without_key(request.path, word)

    def with_credentials(self, request: http.Request) -> http.Request:
        """
        Return a copy of *request*, the flow's, with the client's credentials; itself where it holds no placeholder.

        Edits of the flow stay. The credentials go to the client's own destination alone.
        """
        if (self._came, self._path) == (self._stands, self._stands_path) or _destination(request) != self._destination:
            return request
        copy = request.copy()
        copy.headers = _uncovered(copy.headers, self._came, self._stands)
        if copy.path == self._stands_path:
            copy.path = self._path
        elif key := credential_places.in_query(self._path):
            copy.path = credential_places.with_key(copy.path, key)
        return copy

    def hide_login(self, request: http.Request) -> None:
        """Put a placeholder for the code of a login (RFC 6749, section 4.1.2) on *request*, the flow's."""
        if _LOGIN_STATE.search(request.path):
            request.path = _LOGIN_CODE.sub(rf"\1{credential_places.HIDDEN}", request.path)
            self._stands_path = request.path

    def cover_added(self, request: http.Request) -> None:
        """Cover what *request*, the flow's, got since its head came, as by `upstream_auth`; the wire gets it."""
        if request.headers.fields != self._stands:
            self._came = _uncovered(http.Headers(request.headers.fields), self._came, self._stands).fields
            fields = HeaderFields(request.headers.fields)
            _cover(fields, self.keys)
            _cover_values(fields, self._known)
            fields.on(request.headers)
            self._stands = request.headers.fields

    def cover_known(self, request: http.Request, known: Redactor) -> None:
        """Cover in *request*, the flow's, what is *known* now and was not when its head came: no upstream gets it."""
        if known is not self._known:
            self._known, before = known, request.headers.fields
            fields = HeaderFields(before)
            _cover_known(request, fields, known)
            fields.on(request.headers)
            self.by_value |= _hidden(request.headers.fields) - _hidden(before) - self.keys.encoded_own
            request.trailers = request.trailers and self.bare(request.trailers)

    def bare(self, trailers: http.Headers) -> http.Headers:
        """Return a client's *trailers* without credentials: they go up as the flow keeps them, with none."""
        return http.Headers([field for field in trailers.fields if not self._is_credential(*field)])

    def _is_credential(self, name: bytes, value: bytes) -> bool:
        if names_credential(name.lower()) or name.lower() in self.keys.encoded_own or _is_key(value):
            return True
        known = self._known.scrub(value) != value or self._known.name(name) != name
        return known or any(presented in value for presented in self.presented)

    def given(self, names: Collection[str]) -> Iterator[tuple[bytes, bytes]]:
        """Yield the fields called one of *names* (lower case) that were covered, as they came."""
        for name, value in self._came:
            if name.lower().decode("latin-1") in names and (name, value) not in self._stands:
                yield name, value

    def parameters(self, names: Collection[str]) -> dict[str, str]:
        """Return the parameters of the query called one of *names*, as they came."""
        return credential_places.parameters(self._path, names)

    def redact_answer(self, response: http.Response) -> None:
        """Put placeholders on *response*, the flow's; `for_client` returns what the client gets."""
        self._told = response.headers.fields
        fields = HeaderFields(self._told)
        _cover(fields, self.keys)
        _cover_values(fields, self._known)
        if any(value in fields.values() for value in self.presented):
            fields.each_field(lambda name, held: _WORD if any(value in held for value in self.presented) else held)
        fields.on(response.headers)
        self._told_stands = response.headers.fields

    def for_client(self, response: http.Response) -> http.Response:
        """Return a copy of *response* with the headers that the provider sent; itself where it holds no placeholder."""
        if self._told is None or self._told_stands is None or self._told == self._told_stands:
            return response
        copy = response.copy()
        copy.headers = _uncovered(copy.headers, self._told, self._told_stands)
        return copy


def placeholder(
    request: http.Request, *, keys: KeyHeaders = PROTOCOL_KEYS, known: Redactor = _NONE
) -> tuple[bytes, ...]:
    """
    Replace every credential of the client, and every *known* one, in *request*.

    Return those that the client presented as its key, which may be quoted elsewhere.
    """
    fields = HeaderFields(request.headers.fields)
    presented = _presented_credentials(fields, request.path, keys)
    _cover(fields, keys)
    for value in presented:
        _cover_in_rest(request, fields, value)
    _cover_known(request, fields, known)
    _bare_host(request, fields)
    fields.on(request.headers)
    if _PROTOCOLS in fields:
        _hide_protocol(request)
    if "?" in request.path or credential_places.holds_key(request.path):
        request.path = credential_places.without_key(request.path, credential_places.HIDDEN)
    return tuple(presented)


def lacks_credentials(request: http.Request) -> bool:
    """Whether *request*, which was stored, holds placeholders for its client's credentials."""
    values = (value for _, value in request.headers.fields)
    return any(map(_WITH_SCHEME.fullmatch, values)) or _IN_PATH.search(request.path) is not None


@secret_patterns.remembered
def names_credential(name: bytes) -> bool:
    """Whether a header called *name* carries a credential, by its name."""
    text = name.decode("latin-1")
    return secret_patterns.names_key(text) or secret_patterns.is_key(text)


def credential_names(names: list[bytes]) -> frozenset[bytes]:
    """Return those of *names* that carry a credential; clients send the same ones again and again."""
    return _names_seen(tuple(names)) if sum(map(len, names)) <= _USUAL else _names_in(names)


def _names_in(names: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(filter(names_credential, names))


_names_seen = lru_cache(256)(_names_in)


def aim(request: http.Request, fields: HeaderFields, origin: Origin) -> None:
    """Direct *request* to *origin*: its address, `Host` and authority."""
    data, name = request.data, _called(origin)
    data.scheme, data.host, data.port = origin.scheme.encode(), origin.host, origin.port
    if b"host" in fields:
        fields.put(b"host", name.encode("utf-8", "surrogateescape"))
    if data.authority:
        request.authority = name


def _bare_host(request: http.Request, fields: HeaderFields) -> None:
    """Take a password off the name of the host."""
    if b"@" in (host := fields.first(b"host")):
        fields.put(b"host", host.rpartition(b"@")[2])
    if b"@" in request.data.authority:
        request.data.authority = request.data.authority.rpartition(b"@")[2]


def _cover_named(fields: HeaderFields, word: bytes, keys: KeyHeaders) -> None:
    for name in credential_names(fields.names()).union(keys.encoded_own.intersection(fields.names())):
        fields.put(name, _PREFIXES.get(name, b"") + word)


def _cover(fields: HeaderFields, keys: KeyHeaders) -> None:
    _cover_named(fields, _WORD, keys)
    if _is_key(fields.values()):
        fields.each_field(lambda name, value: _WORD if _is_key(value) and not _needs_value(name, value) else value)


def _presented_credentials(fields: HeaderFields, path: str, keys: KeyHeaders) -> list[bytes]:
    # a value of several words, with commas, signs one request alone
    values = map(fields.first, keys.encoded.intersection(fields.names()))
    found = [value.rpartition(b" ")[2] for value in values if b"," not in value]
    if "?" in path:
        found.append(credential_places.in_query(path).encode("utf-8", "surrogateescape"))
    return [value for value in found if len(value) >= _PRESENTED and not _PLACEHOLDER.fullmatch(value)]


def _cover_in_rest(request: http.Request, fields: HeaderFields, value: bytes) -> None:
    if value in fields.values():
        fields.each_field(lambda name, held: _WORD if value in held and name not in (_PROTOCOLS, b"host") else held)
    if value in request.data.path:
        request.data.path = request.data.path.replace(value, _WORD)


def _cover_known(request: http.Request, fields: HeaderFields, known: Redactor) -> None:
    """Cover the keys of accounts: a client may have them too, but only the account's own upstream may get them."""
    _cover_values(fields, known)
    request.data.path = known.scrub(request.data.path)


def _cover_values(fields: HeaderFields, known: Redactor) -> None:
    if known.scrub(values := fields.values()) is not values:
        fields.each_field(lambda name, held: held if (safe := known.scrub(held)) is held else _covered(name, safe))
    if known.scrub(names := b"\n".join(fields.names())) is not names:
        fields.drop(lambda name: known.scrub(name) is not name)


def _covered(name: bytes, safe: bytes) -> bytes:
    """Return what stands for a value that is *safe* once it is scrubbed: a part of some must be kept."""
    return safe if name in (_PROTOCOLS, b"host") else _WORD


def _is_key(value: bytes) -> bool:
    return len(value) >= _SHORTEST and secret_patterns.holds_key(value.decode("latin-1"))


def _needs_value(name: bytes, value: bytes) -> bool:
    """Whether *value*, which looks like a key, must stay in the field *name*."""
    return name == _PROTOCOLS or (name in _RANDOM and _RANDOM[name].fullmatch(value) is not None)


def _hidden(fields: Raw) -> frozenset[bytes]:
    hidden = [name.lower() for name, value in fields if value == _WORD]
    return frozenset(hidden) - credential_names(hidden)


def _uncovered(headers: http.Headers, came: Raw, stands: Raw) -> http.Headers:
    """Return *headers* with the values that *came*, where they still are as in *stands*: edits stay."""
    if headers.fields == stands:
        return http.Headers(came)
    given, covered = http.Headers(came), http.Headers(stands)
    for name in {name.lower() for name in given if given.get_all(name) != covered.get_all(name)}:
        if headers.get_all(name) == covered.get_all(name):
            headers.set_all(name, given.get_all(name))
    return headers


def _destination(request: http.Request) -> tuple[bytes, str, int]:
    return request.data.scheme, request.data.host, request.data.port


@lru_cache(256)
def _called(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return url.hostport(origin.scheme, host, origin.port)


def _hide_protocol(request: http.Request) -> None:
    protocols = request.headers.get("sec-websocket-protocol", "")
    each = [protocol.strip() for protocol in protocols.split(",")]
    kept = [protocol for protocol in each if not credential_places.is_key_protocol(protocol)]
    if len(kept) < len(each):
        request.headers["sec-websocket-protocol"] = ", ".join(kept)
