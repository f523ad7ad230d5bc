"""What the head of a request says: its endpoint, its destination, its client, and whether it may go on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from mitmproxy import http
from mitmproxy.proxy import mode_specs

from .. import answer_urls, base_urls, clients, dialects, guards, stand_in_key, upstream_url
from ..credential_places import PROTOCOL_KEYS, KeyHeaders
from ..frozen import dataclass
from ..guards import Guards
from ..router import Router
from ..values.decision import Refusal
from ..values.http import Client, Endpoint, Headers, Origin, is_loopback
from . import header_fields, misdirected, redacted_heads, replay, start_page
from .redaction import MARK


@dataclass(frozen=True, slots=True)
class RequestHead:
    """
    A head as it was read.

    *path* is without its query. *reverse* is the upstream that a reverse listener names, None where any may serve.
    *serves* tells whether an account may serve the request. *incomplete* tells of a replay that holds placeholders for
    its client's credentials, so that it must not pass.
    """

    path: str
    endpoint: Endpoint
    destination: Origin
    reverse: Origin | None
    headers: Headers
    serves: bool
    incomplete: bool


def read(flow: http.HTTPFlow, router: Router) -> RequestHead:
    """Return what the head of *flow* says, before its credentials are replaced."""
    path = flow.request.path.partition("?")[0]
    named = dialects.endpoint(flow.request.method, path)
    to, behind = _destination(flow, named, router), reverse(flow)
    endpoint = router.destinations.resolve(named, flow.request.path, flow.request.headers, to, behind)
    serves = router.destinations.serves(endpoint, to, behind)
    incomplete = flow.is_replay is not None and _is_incomplete(flow.request)
    return RequestHead(path, endpoint, to, behind, header_fields.read(flow.request.headers), serves, incomplete)


def endpoint_shown(flow: http.HTTPFlow, head: RequestHead, router: Router) -> Endpoint:
    """Return the endpoint of *flow* now that its credentials are replaced: there may have been one in its path."""
    path = flow.request.path.partition("?")[0]
    if path == head.path:
        return head.endpoint
    named = dialects.endpoint(flow.request.method, path)
    return router.destinations.resolve(named, flow.request.path, flow.request.headers, head.destination, head.reverse)


def passes(flow: http.HTTPFlow, head: RequestHead, router: Router, places: KeyHeaders = PROTOCOL_KEYS) -> bool:
    """Whether *flow*, which no account serves, passes, with a key in *places* or none: by default in regular mode."""
    if head.serves:
        return False
    behind, keyed = _has_listener(flow), any(places.keys_in(head.headers, flow.request.path))
    return router.destinations.passes(head.endpoint, head.destination, reverse=behind, keyed=keyed)


def client(
    flow: http.HTTPFlow,
    headers: Headers,
    known: Sequence[clients.Known],
    key: bytes,
    router: Router,
    places: KeyHeaders = PROTOCOL_KEYS,
) -> Client | Refusal:
    """Return the client that sent *flow*; *known* are the clients of the settings, *key* is the master key."""
    if flow.is_replay == "request":
        return replay.client(flow, known, key)
    path, peer = flow.request.path, flow.client_conn.peername
    keys = list(places.keys_in(headers, path))
    if asked := stand_in_key.client(keys, known, key, time.time()):
        return asked
    found = clients.identify(headers, path, known, key, loopback=bool(peer) and is_loopback(peer[0]), places=places)
    given = None if any(keys) else router.addresses.client_of(path, time.time())
    return (clients.with_present_rights(given, known, key) if given else None) or found


def guarded(
    flow: http.HTTPFlow, headers: Headers, endpoint: Endpoint, guard: Guards, *, streams: bool
) -> Refusal | None:
    """Refuse *flow* by its head alone, or return None. The user's own replays pass."""
    if flow.is_replay is not None:
        return None
    refused = guard.refusal(_arrival(flow, headers), endpoint)
    if refused and refused.code == "host_not_allowed" and _has_listener(flow) and misdirected.is_absolute(flow.request):
        return misdirected.no_proxy(flow.client_conn, refused.status, refused.code)
    for name, code in guards.CHOICES.items() if refused is None else ():
        if name in headers and header_fields.read(flow.request.headers).all(name) != headers.all(name):  # it is hidden
            return Refusal(400, code, f"The value of {name} looks like a key, so it is not used as a name")
    return refused or (None if streams else guard.too_large(headers))


def unserved(flow: http.HTTPFlow, head: RequestHead, router: Router, client: Client, now: float) -> Refusal:
    """Return why no account serves *flow*, and the right base URL where its own lacks the version, or doubles it."""
    refused = router.destinations.unserved(head.endpoint, head.destination, head.reverse, client, now)
    lacks = None if head.endpoint.dialect else base_urls.version_missing(flow.request.method, head.path)
    mistake = lacks or (base_urls.version_twice(head.path) if head.endpoint.dialect else None)
    if mistake is None:
        return refused
    return replace(
        refused, message=f"{refused.message}. {guards.wrong_base_url(mistake, _arrival(flow, head.headers))}"
    )


def destination(flow: http.HTTPFlow) -> Origin:
    """Return the origin that *flow* names."""
    return Origin(flow.request.scheme, flow.request.host.lower(), flow.request.port)


def reverse(flow: http.HTTPFlow) -> Origin | None:
    """Return the upstream that the listener of *flow* names; None where it is no reverse listener, or names none."""
    upstream = _listener(flow)
    return None if upstream is None or upstream_url.is_anywhere(upstream) else upstream


def address(flow: http.HTTPFlow, headers: Headers) -> str:
    """Return the address by which the client of *flow* reached this proxy; empty where it named the upstream itself."""
    if not _has_listener(flow):
        return ""
    scheme = "https" if flow.client_conn.tls else "http"
    return answer_urls.client_address(headers, flow.request.authority, scheme)


def presence_answer(flow: http.HTTPFlow, head: RequestHead) -> http.Response | None:
    """Answer a request for `/`, by which tools and people look for a server, if no one upstream could answer it."""
    if head.path != "/" or flow.request.method not in ("GET", "HEAD") or not upstream_url.is_anywhere(head.destination):
        return None
    if "text/html" in flow.request.headers.get("accept", ""):
        return start_page.response(misdirected.address(flow.client_conn))
    return http.Response.make(200, b"", {"content-type": "text/plain"})


def _is_incomplete(request: http.Request) -> bool:
    """Whether *request*, which was stored, holds placeholders for credentials in its head or its body."""
    if redacted_heads.lacks_credentials(request):
        return True
    return MARK in (request.get_content(strict=False) or b"")


def _destination(flow: http.HTTPFlow, endpoint: Endpoint, router: Router) -> Origin:
    found, listener = destination(flow), _listener(flow) if flow.is_replay == "request" else None
    if listener is None or not upstream_url.is_anywhere(listener):
        return found
    # the flow names its account's origin; its client had left that open, so another account may serve it now
    return listener if router.destinations.serves(endpoint, found, None) else found


def _arrival(flow: http.HTTPFlow, headers: Headers) -> guards.Arrival:
    request, at = flow.request, flow.client_conn.sockname
    hosts = headers.all("host")
    together = ", ".join(hosts)
    called = {request.authority or together, *hosts} | (set() if request.is_http2 else {together})
    is_proxy = isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode | mode_specs.UpstreamMode)
    return guards.Arrival(
        method=request.method,
        path=request.path,
        headers=headers,
        host=", ".join(sorted(called)),  # several names match none
        here=(request.host.lower(), *(at[:1] if at else ())),
        secure=flow.client_conn.tls,
        target=f"{request.host.lower()}:{request.port}" if is_proxy else "",
    )


def _has_listener(flow: http.HTTPFlow) -> bool:
    """Whether *flow* came to a reverse listener."""
    return isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode)


def _listener(flow: http.HTTPFlow) -> Origin | None:
    mode = flow.client_conn.proxy_mode
    if not isinstance(mode, mode_specs.ReverseMode):
        return None
    return Origin(mode.scheme, mode.address[0].lower(), mode.address[1])
