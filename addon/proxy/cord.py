"""One exchange as it is plugged into a flow: the credential at hand, the copy for the wire, the answer coming back."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands

from .. import clients, dialects, paths
from ..body import Body
from ..providers import Timeouts
from ..router import FOREIGN, Exchange, Router
from ..values import Answer, Client, Decision, Endpoint, Finding, Origin, Reaction, Refusal, Route
from . import answers
from .keys import Keys

_FORM_OF_FAMILY = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
_HEADER_OF_FORM = {
    "bearer": "Authorization",
    "x-api-key": "X-Api-Key",
    "x-goog-api-key": "X-Goog-Api-Key",
    "api-key": "Api-Key",
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cord needs of the proxy it hangs in."""

    router: Router
    keys: Keys
    verified: Callable[[], bool]  # whether upstream certificates are checked
    alarm: Callable[[http.HTTPFlow, Exchange, Finding], None]
    wake: Callable[[http.HTTPFlow, commands.RequestWakeup], None]
    opened: Callable[[http.HTTPFlow, Exchange], None]  # a message of a WebSocket began an exchange
    record: Callable[[http.HTTPFlow, Exchange, Decision], None]  # … which is over


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request's head says: what for, where to, and in which form the client sent its own credential."""

    endpoint: Endpoint
    destination: Origin
    form: str


class Cord:
    """
    Plugged into a flow as `flow.patchbay`: a plain attribute, so that it is never saved, copied or shown.

    A cord without an exchange belongs to a request that was refused before it was opened.
    """

    shadow = False  # True: nothing is changed

    def __init__(self, flow: http.HTTPFlow, around: Surroundings, dialect: str) -> None:
        self._flow = flow
        self._around = around
        self._dialect = dialect
        self.asked = Asked(Endpoint(), Origin("", "", 0), "")
        self.client: Client | None = None
        self.own_answer = False  # the client gets an answer of ours, not an upstream's
        self.answering = False  # an upstream's head has been taken for the client
        self.exchange: Exchange | None = None
        self.route: Route | None = None
        self.gone = asyncio.Event()
        self.stirred = asyncio.Event()  # it may be the turn of one that waits, or it left
        self.closed = False
        self.copy = bytearray()  # of a streamed answer, to be looked at
        self.cut_short = False
        self.streaming = False
        self._alarmed: set[str] = set()
        self._spliced: bytes | None = None

    # -- for the stream --------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return self.route is not None and not self.closed

    @property
    def timeouts(self) -> Timeouts:
        assert self.route is not None
        return self.route.account.provider.timeouts

    @property
    def body_limit(self) -> int:
        return sys.maxsize if self.shadow else self._around.router.config.limits.body

    @property
    def hold_seconds(self) -> float:
        assert self.exchange is not None
        return self._around.router.hold_seconds(self.exchange)

    def wake(self, seconds: float, timer: commands.RequestWakeup) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._around.wake, self._flow, timer)

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        route = self.route
        assert route is not None
        self._check(route.origin, server)
        copy = request.copy()
        copy.scheme, copy.host, copy.port = route.origin.scheme, route.origin.host, route.origin.port
        copy.path = clients.without_key(self._path(request, route))
        if not (server.via or copy.is_http2):
            copy.authority = ""  # a target in absolute form is for proxies
        for name in [name for name in copy.headers if _is_ours(name)]:
            del copy.headers[name]
        for name, value in route.edit.headers:
            if value is None:
                copy.headers.pop(name, None)
            else:
                copy.headers[name] = value
        if "accept-encoding" in copy.headers:  # an answer is read as it streams past, so it should come uncompressed
            copy.headers["accept-encoding"] = "identity"
        self._spliced = self._body(request, route)
        if self._spliced is not None:
            copy.headers.pop("transfer-encoding", None)
            copy.headers.pop("content-encoding", None)
            copy.headers["content-length"] = str(len(self._spliced))
        _frame(copy, request, server)
        self._credential(copy, route)
        return copy

    def wire_body(self, content: bytes) -> bytes:
        return content if self._spliced is None else self._spliced

    def answered(self, what: Answer) -> Reaction:
        exchange = self.exchange
        if exchange is None:
            return "deliver"
        reaction = self._around.router.answered(exchange, what, time.time())
        for finding in self._around.router.verdict(exchange).findings:
            if finding.strength == "proof" and finding.where not in self._alarmed:
                self._alarmed.add(finding.where)
                self._around.alarm(self._flow, exchange, finding)
        return reaction

    def passing(self, data: bytes) -> bytes:
        data = self._around.keys.scrub(data)
        if self.streaming:
            room = self._around.router.config.limits.keep_streamed - len(self.copy)
            self.copy += data[: max(0, room)]
            self.cut_short = self.cut_short or len(data) > room
        return data

    def refusal(self, refusal: Refusal) -> http.Response:
        self.own_answer = True
        if self.exchange is not None:
            self.exchange.refusal = refusal
        return answers.refusal(self._dialect, refusal, self.route.request_id if self.route else "")

    @property
    def blocked(self) -> Refusal:
        return FOREIGN

    def last_words(self, refusal: Refusal) -> bytes:
        response = self._flow.response
        if response is None or "text/event-stream" not in response.headers.get("content-type", ""):
            return b""
        told = dialects.of(self._dialect).error_event(refusal, self.route.request_id if self.route else "")
        return self.passing(told)

    def client_left(self) -> None:
        self.gone.set()
        self.stirred.set()

    # -- what goes up ----------------------------------------------------------------------------------------------

    def _path(self, request: http.Request, route: Route) -> str:
        exchange = self.exchange
        assert exchange is not None
        if clients.without_key(request.path) == clients.without_key(exchange.request.path):
            return route.edit.path
        # somebody has edited the flow while it was intercepted
        endpoint = dialects.endpoint(request.method, request.path.partition("?")[0])
        return paths.join(route.account, request.path, endpoint, exchange.attempts[-1].choice.model)

    def _body(self, request: http.Request, route: Route) -> bytes | None:
        """Return what goes up in place of the flow's body, which may have been edited while it was intercepted."""
        exchange = self.exchange
        if route.body is None or exchange is None:
            return None
        content = request.get_content(strict=False)
        if content == exchange.request.body.raw:
            return route.body
        try:
            return Body(content).splice(route.edit.body)
        except ValueError:
            return None

    # -- the credential --------------------------------------------------------------------------------------------

    def _check(self, origin: Origin, server: Server) -> None:
        """Refuse to hand a credential to anything but its own origin, over verified TLS or on this machine."""
        if server.address is None or (server.address[0].lower(), server.address[1]) != (origin.host, origin.port):
            raise PermissionError("this connection does not go to the account's origin")
        if server.tls != (origin.scheme == "https"):
            raise PermissionError("this connection does not have the account's scheme")
        if server.tls and not self._around.verified():
            raise PermissionError("the certificate of the account's origin is not checked")
        assert self.route is not None
        if not server.tls and not is_loopback(origin.host) and not self.route.account.insecure_http:
            raise PermissionError("no credential goes over plain http beyond this machine")
        through = server.via  # an upstream proxy reads what is not inside TLS
        if through and not server.tls and not is_loopback(through[1][0]) and not self.route.account.insecure_http:
            raise PermissionError("no credential goes over plain http to a proxy beyond this machine")

    def _credential(self, copy: http.Request, route: Route) -> None:
        account, exchange = route.account, self.exchange
        assert exchange is not None
        value = self._around.keys.value(account.secret)
        form: str = account.provider.credential
        if form == "auto":
            default = _FORM_OF_FAMILY.get(exchange.request.endpoint.family, "bearer")
            form = exchange.request.credential_form or default
        if form == "x-api-key" and value.startswith("sk-ant-oat"):  # an OAuth token is no API key
            form = "bearer"
        header = _HEADER_OF_FORM.get(form, "")
        for name in {*clients.CREDENTIAL_HEADERS, "proxy-authorization"} - {header.lower()}:
            copy.headers.pop(name, None)
        if header:  # set in place, so that it stands and is spelled as the client had it
            copy.headers[header] = f"Bearer {value}" if form == "bearer" else value
        else:
            copy.path = clients.with_key(copy.path, value)


def placeholder(request: http.Request, account: str = "") -> None:
    """Put a word that names no secret in the place of every credential the client sent."""
    word = f"patchbay:{account}" if account else "patchbay"
    for name, prefix in clients.CREDENTIAL_HEADERS.items():
        if name in request.headers:
            request.headers[name] = prefix + word
    for name in ("proxy-authorization", "cookie"):
        if name in request.headers:
            request.headers[name] = word
    protocols = request.headers.get("sec-websocket-protocol", "")
    if clients.WEBSOCKET_KEY in protocols:
        kept = [p.strip() for p in protocols.split(",") if not p.strip().startswith(clients.WEBSOCKET_KEY)]
        request.headers["sec-websocket-protocol"] = ", ".join(kept)
    if "?" in request.path:
        request.path = clients.without_key(request.path, word)


def _is_ours(name: str) -> bool:
    """Whether a header of the client's stays here: our own, and what would tell an upstream whose account it has."""
    return name.lower().startswith("x-patchbay-") or name.lower() in clients.REVEALING_UPWARD


def _frame(copy: http.Request, request: http.Request, server: Server) -> None:
    """
    Say on *copy* how its body ends, in the words of the protocol that *server* speaks.

    HTTP/2 has an end of its own. Without a word about it, an HTTP/1 server would read a body as the next request.
    """
    if server.alpn == b"h2":
        for name in ("transfer-encoding", "connection", "keep-alive", "proxy-connection"):
            copy.headers.pop(name, None)
    elif "content-length" not in copy.headers and "transfer-encoding" not in copy.headers:
        if request.stream:
            copy.headers["transfer-encoding"] = "chunked"
        elif request.raw_content:
            copy.headers["content-length"] = str(len(request.raw_content))


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
