"""The request of one attempt as its upstream gets it: a copy of the flow's, which alone carries the credential."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from urllib.parse import unquote_plus

from mitmproxy import http
from mitmproxy.connection import Server

from .. import credential_places, dialects, upstream_url
from ..accounts.lease import Lease
from ..body import Body
from ..exchange import Exchange
from ..frozen import dataclass
from ..values import header_names
from ..values.account import Account, CredentialHeader
from ..values.http import Origin, is_loopback
from . import message_content
from .credentials import Credentials
from .header_fields import HeaderFields
from .redacted_heads import RedactedHeads, aim, credential_names

_HEADER_OF_FORM = {
    **{header_names.credential_form(name): name for name in header_names.CREDENTIALS},
    "query": "",  # no header: the key is a parameter of the path
}
_EXTENSIONS = b"sec-websocket-extensions"  # a compressed message has no size to hold against a limit
_PROTOCOLS_PLACES = header_names.encoded(header_names.CREDENTIALS)
_OUR_PREFIX = header_names.OURS.encode()
_OF_CLIENT = header_names.encoded({*header_names.ACCOUNTS, "cookie"})  # whose account the client's is
_LENGTHS = frozenset((b"transfer-encoding", b"content-encoding"))


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One attempt's request in the making."""

    exchange: Exchange
    lease: Lease
    heads: RedactedHeads  # with the credentials that the client sent
    credentials: Credentials
    knows_address: Callable[[], bool]  # whether Patchbay gave the address to this client
    limit: int  # bytes of a body that is decoded

    def copy(self, request: http.Request, server: Server) -> tuple[http.Request, bytes | None]:
        """Return the copy of *request* that goes upstream on *server*, and its body (None: the flow's own)."""
        wire, fields = _copied(request), HeaderFields(request.headers.fields)
        aim(wire, fields, self.lease.origin)
        if wire.data.authority and not (server.via or wire.is_http2):
            wire.authority = ""  # a target in absolute form is for proxies
        self._choose_fields(fields, server)
        body = self._body(request)
        if body is not None:
            fields.drop(_LENGTHS.__contains__)
            fields.put(b"content-length", b"%d" % len(body))
        _frame(fields, request, server)
        wire.path = self._with_credential(fields, self._path(request))
        fields.on(wire.headers)
        return wire, body

    def _choose_fields(self, fields: HeaderFields, server: Server) -> None:
        fields.drop_hops(_connection_value(fields, server))
        own = self.heads.keys.encoded_own
        fields.drop((_withheld(fields.names()) - own).__contains__)
        if self.heads.by_value:
            fields.drop(self.heads.by_value.__contains__)
        if names := self.lease.account.provider.pass_headers:
            fields.drop((header_names.encoded(names) & own).__contains__)
            for name, value in self.heads.given(names):
                if not self._is_ours(value):
                    fields.add(name, value)
        fields.drop(_EXTENSIONS.__eq__)
        for edited, text in self.lease.edit.headers:
            if text is None:
                fields.drop(edited.lower().encode().__eq__)
            else:
                fields.put(edited.encode(), text.encode("utf-8", "surrogateescape"))
        for listing, item in self.lease.account.provider.list_items.items():
            fields.put_item(listing.encode(), item.encode())
        if b"accept-encoding" in fields:  # an answer is read as it streams past, so it should come uncompressed
            fields.put(b"accept-encoding", b"identity")

    def _is_ours(self, value: bytes) -> bool:
        """Whether *value* holds a key that Patchbay knows: a provider gets no other's key, and no client's."""
        return self.credentials.scrub(value) != value

    def _path(self, request: http.Request) -> str:
        """Return the path without the client's key, but with the parameters that pass."""
        lease, names = self.lease, self._query_names(request.path)
        found = self.heads.parameters(names) if names else {}
        passing = {name: value for name, value in found.items() if not self._is_ours(value.encode())}
        if credential_places.is_same_path(request.path, self.exchange.request.path):
            return credential_places.without_key(lease.edit.path, passing=passing)
        # the user has edited the flow while it was intercepted
        endpoint = dialects.endpoint(request.method, request.path.partition("?")[0])
        model = self.exchange.attempts[-1].lease.model
        path = upstream_url.join(lease.account, request.path, endpoint, model)
        return credential_places.without_key(path, passing=passing)

    def _query_names(self, path: str) -> Collection[str]:
        """Return the parameters that go up although they look like credentials: those of an address we gave, too."""
        names = self.lease.account.provider.pass_query
        if "?" not in path or credential_places.without_key(path) == path or not self.knows_address():
            return names
        found = {unquote_plus(part.partition("=")[0]) for part in path.partition("?")[2].split("&")}
        return {*names, *found} - credential_places.QUERY_KEYS

    def _body(self, request: http.Request) -> bytes | None:
        """Return the body in place of the flow's, which may have been edited while it was intercepted."""
        body = self.lease.body
        if body is None or (content := message_content.content(request, self.limit)) == self.exchange.request.body.raw:
            return body
        try:
            return upstream_url.changed(replace(self.exchange.request, body=Body(content)), self.lease.edit.body)
        except ValueError:
            return None

    def _with_credential(self, fields: HeaderFields, path: str) -> str:
        """Put the credential on *fields*, or into the *path* that is returned."""
        account = self.lease.account
        for own in account.secret_headers:
            fields.put(own.name.encode(), f"{own.scheme}{self.credentials.value(own.secret)}".encode())
        value = self.credentials.value(account.secret)
        place = self._place(account, value)
        keeps = place.header.lower().encode()
        others = self.heads.keys.encoded - header_names.encoded(account.provider.pass_headers)
        fields.drop((others - {keeps}).__contains__)
        if not keeps:
            return credential_places.with_key(path, value)
        # set in place, so that it stands and is spelled as the client had it
        fields.put(place.header.encode(), f"{place.prefix}{value}".encode())
        return path

    def _place(self, account: Account, value: str) -> CredentialHeader:
        """Return the header of the key, without a name where it goes into the query."""
        form = account.provider.credential
        if isinstance(form, CredentialHeader):
            return form
        if form == "auto":
            request = self.exchange.request
            sent = request.credential_form or dialects.of(request.endpoint.dialect).credential_form
        else:
            sent = form
        if sent == "x-api-key" and value.startswith("sk-ant-oat"):  # an OAuth token is no API key
            sent = "bearer"
        keys = self.heads.keys
        header = sent if sent in keys.own_names else _HEADER_OF_FORM[sent]  # an unknown form must not reach the path
        return CredentialHeader(header.title(), keys.prefix(header) if header else "")


def check_destination(account: Account, origin: Origin, server: Server, *, verified: bool) -> None:
    """Raise PermissionError unless *server* leads to *origin* alone, over TLS (*verified* certificates) or locally."""
    if server.address is None or (server.address[0].lower(), server.address[1]) != (origin.host, origin.port):
        raise PermissionError("this connection does not go to the account's origin")
    if server.tls != (origin.scheme == "https"):
        raise PermissionError("this connection does not have the account's scheme")
    if server.tls and not verified:
        raise PermissionError("the certificate of the account's origin is not checked")
    if server.tls or account.insecure_http:
        return
    if not is_loopback(origin.host):
        raise PermissionError("no credential goes over plain http beyond this machine")
    if server.via and not is_loopback(server.via[1][0]):  # an upstream proxy reads what is not inside TLS
        raise PermissionError("no credential goes over plain http to a proxy beyond this machine")


def _copied(request: http.Request) -> http.Request:
    """Return a copy without headers; mitmproxy's own `copy` checks the type of every value again."""
    wire, data = object.__new__(type(request)), object.__new__(type(request.data))
    vars(data).update(vars(request.data), headers=http.Headers())
    vars(wire).update(vars(request), data=data)
    return wire


def _withheld(names: list[bytes]) -> frozenset[bytes]:
    """
    Return which of *names*, a client's headers, do not go up: ours, credentials, what reveals whose account it is.

    Places of keys in the protocols stay: the account's own credential takes one of them, and the others go then.
    """
    ours = [name for name in names if name.startswith(_OUR_PREFIX)]
    return credential_names(names).union(ours, _OF_CLIENT) - _PROTOCOLS_PLACES


def _connection_value(fields: HeaderFields, server: Server) -> bytes:
    if server.alpn == b"h2":
        return b""
    return b"Upgrade" if fields.first(b"upgrade").lower() == b"websocket" else b"keep-alive"


def _frame(fields: HeaderFields, request: http.Request, server: Server) -> None:
    """Set how the body ends toward *server*: HTTP/1 without a length would read it as the next request."""
    if server.alpn == b"h2":
        fields.drop(b"transfer-encoding".__eq__)
    elif b"content-length" not in fields and b"transfer-encoding" not in fields:
        if request.stream:
            fields.put(b"transfer-encoding", b"chunked")
        elif request.raw_content:
            fields.put(b"content-length", b"%d" % len(request.raw_content))
