"""One exchange as it is plugged into a flow: the credential at hand, the copy for the wire, the answer coming back."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands

from .. import answer_urls, clients, dialects, secret_patterns, upstream_url
from ..accounts.refusals import of_upstream
from ..answer.sse import EventBuffer
from ..body import Body
from ..router import FOREIGN, Exchange, Router
from ..values.account import Provider, Timeouts
from ..values.answer import AnswerEvent, Reaction
from ..values.decision import Decision, Finding, Refusal, Route
from ..values.http import Client, Endpoint, Headers, Origin, is_loopback
from . import message_content, own_responses
from .answer_filter import AnswerFilter
from .credentials import Credentials
from .header_fields import HeaderFields, as_text
from .redacted_heads import CREDENTIALS, RedactedHeads, aim, names_credential

_HEADER_OF_FORM = {
    "bearer": b"Authorization",
    "x-api-key": b"X-Api-Key",
    "x-goog-api-key": b"X-Goog-Api-Key",
    "api-key": b"Api-Key",
}
_EXTENSIONS = b"sec-websocket-extensions"  # compression has no bound that a message could be held to
_REVEALING = frozenset(name.encode() for name in clients.REVEALING_UPWARD)
_LENGTHS = frozenset((b"transfer-encoding", b"content-encoding"))


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a cord needs of the proxy it hangs in."""

    router: Router
    keys: Credentials
    verified: Callable[[], bool]  # whether upstream certificates are checked
    alarm: Callable[[http.HTTPFlow, Exchange, Finding], None]
    wake: Callable[[http.HTTPFlow, commands.RequestWakeup], None]
    opened: Callable[[http.HTTPFlow, Exchange], None]  # a message of a WebSocket began an exchange
    record: Callable[[http.HTTPFlow, Exchange, Decision], None]  # … which is over
    client_now: Callable[[Client], Client | None] = lambda client: client  # what a client may now; None: it is gone
    now: Callable[[], float] = time.time  # the seconds of the wall clock


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """
    What a request's head says: what for, where to, in which form the client sent its own credential, and by which
    address it came.
    """

    endpoint: Endpoint
    destination: Origin
    form: str
    address: str = ""


class ExchangeDriver:
    """
    Plugged into a flow as `flow.patchbay`: a plain attribute, so that it is never saved, copied or shown.

    A cord without an exchange belongs to a request that was refused before it was opened.
    """

    shadow = False  # True: nothing is changed

    def __init__(self, flow: http.HTTPFlow, around: DriverContext, dialect: str) -> None:
        self.covered = RedactedHeads(flow.request)
        self._flow = flow
        self._around = around
        self._dialect = dialect
        self.asked = RequestTarget(Endpoint(), Origin("", "", 0), "")
        self.client: Client | None = None
        self.own_answer = False  # the client gets an answer of ours, not an upstream's
        self.answering = False  # an upstream's head has been taken for the client
        self.exchange: Exchange | None = None
        self.route: Route | None = None
        self.gone = asyncio.Event()
        self.stirred = asyncio.Event()  # it may be the turn of one that waits, or it left
        self.closed = False
        self.spoke = 0.0  # when the upstream of a WebSocket last said something
        self.copy = bytearray()  # of a streamed answer, to be looked at
        self.cut_short = False
        self.streaming = False
        self.in_events: EventBuffer | None = None  # a stream that may be cut passes in whole events
        self.naming: set[asyncio.Task[None]] = set()  # they look for the owners of ids that came back
        self._way: answer_urls.Way | None = None  # of an answer in whose body addresses are looked for
        self._lines: answer_urls.Lines | None = None  # … as it streams past
        self._alarmed: set[str] = set()
        self._spliced: bytes | None = None

    # -- for the stream --------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return self.route is not None and not self.closed

    @property
    def owner(self) -> object:
        return (self.route.account.id, self.route.account.secret) if self.route and not self.shadow else None

    @property
    def repeatable(self) -> bool:
        return self.exchange is not None and self.exchange.repeatable

    @property
    def timeouts(self) -> Timeouts:
        assert self.route is not None
        timeouts, exchange = self.route.account.provider.timeouts, self.exchange
        if exchange is None or exchange.stream or exchange.request.method != "POST":
            return timeouts
        return timeouts.of_whole if exchange.request.endpoint.kind == "generation" else timeouts

    def blame(self, code: str, what: str, status: int = 502) -> Refusal:
        """Refuse with *code* and name the account in use, whose upstream did *what*."""
        return of_upstream(self.route.account.id if self.route else "", code, what, status=status)

    @property
    def body_limit(self) -> int:
        return sys.maxsize if self.shadow else self._around.router.config.limits.body

    @property
    def hold_seconds(self) -> float:
        assert self.exchange is not None
        return self._around.router.hold_seconds(self.exchange)

    def wake(self, seconds: float, timer: commands.RequestWakeup) -> asyncio.TimerHandle | None:
        return asyncio.get_running_loop().call_later(seconds, self._around.wake, self._flow, timer)

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        route = self.route
        assert route is not None
        self._check(route.origin, server)
        wire, fields = _copied(request), HeaderFields(request.headers.fields)
        aim(wire, fields, route.origin)
        if wire.data.authority and not (server.via or wire.is_http2):
            wire.authority = ""  # a target in absolute form is for proxies
        provider = route.account.provider
        path = clients.without_key(self._path(request, route), passing=self._passing(self._query_names(provider)))
        fields.drop_hops(_connection(fields, server))
        fields.drop(_stays_here)
        if self.covered.by_value:
            fields.drop(self.covered.by_value.__contains__)
        if provider.pass_headers:
            self._pass(fields, provider.pass_headers)
        fields.drop(_EXTENSIONS.__eq__)
        for name, value in route.edit.headers:
            if value is None:
                fields.drop(name.lower().encode().__eq__)
            else:
                fields.put(name.encode(), value.encode("utf-8", "surrogateescape"))
        if b"accept-encoding" in fields:  # an answer is read as it streams past, so it should come uncompressed
            fields.put(b"accept-encoding", b"identity")
        self._spliced = self._body(request, route)
        if self._spliced is not None:
            fields.drop(_LENGTHS.__contains__)
            fields.put(b"content-length", b"%d" % len(self._spliced))
        _frame(fields, request, server)
        wire.path = self._with_credential(fields, path, route)
        fields.on(wire.headers)
        return wire

    def _pass(self, fields: HeaderFields, names: Collection[str]) -> None:
        """Put on *fields* what the client sent under *names*, but for keys of our own: those are for nobody else."""
        for name, value in self.covered.given(names):
            if self._around.keys.scrub(value) == value:
                fields.add(name, value)

    def _query_names(self, provider: Provider) -> Collection[str]:
        """Return the parameters that go up although they look like credentials: those of an address we gave, too."""
        names, path, exchange = provider.pass_query, self._flow.request.path, self.exchange
        signed = "?" in path and exchange is not None and clients.without_key(path) != path
        if not (signed and exchange and self._around.router.is_given(exchange, time.time())):
            return names
        found = {unquote_plus(part.partition("=")[0]) for part in path.partition("?")[2].split("&")}
        return {*names, *found} - clients.QUERY_KEYS

    def _passing(self, names: Collection[str]) -> dict[str, str]:
        """Return the parameters of the query called one of *names*, but for keys of our own."""
        found = self.covered.parameters(names) if names else {}
        return {
            name: value for name, value in found.items() if self._around.keys.scrub(value.encode()) == value.encode()
        }

    def client_response(self, response: http.Response) -> http.Response:
        return response

    def wire_body(self, content: bytes) -> bytes:
        return content if self._spliced is None else self._spliced

    def answered(self, what: AnswerEvent) -> Reaction:
        exchange = self.exchange
        if exchange is None:
            return "deliver"
        reaction = self._around.router.answered(exchange, what, self._around.now())
        if exchange.attempt and exchange.attempt.alarm:
            self._tell(exchange)
        return reaction

    def _tell(self, exchange: Exchange) -> None:
        for finding in self._around.router.verdict(exchange).findings:
            if finding.strength == "proof" and finding.where not in self._alarmed:
                self._alarmed.add(finding.where)
                self._around.alarm(self._flow, exchange, finding)

    def intake(self) -> AnswerFilter:
        return AnswerFilter(self._around.keys, self.body_limit)

    def passing(self, data: bytes) -> bytes:
        if self.in_events:
            data = self.in_events.feed(data)
        return self._passed(self._addressed(self._lines.feed(data)) if self._lines else data)

    def rest(self) -> bytes:
        data = self.in_events.rest() if self.in_events else b""
        if self._lines:
            data = self._addressed(self._lines.feed(data) + self._lines.rest())
        return self._passed(data)

    def found_addresses(self, head: HeaderFields, status: int) -> None:
        """Put on *head*, of the present answer, the addresses that the client can use, and prepare for its body."""
        exchange = self.exchange
        way = self._around.router.way(exchange) if exchange else None
        if exchange is None or way is None:
            return
        head.each_field(lambda name, value: _told(way, name, value))
        self._around.router.given(exchange, way, time.time())
        asked = exchange.request
        reads = answer_urls.reads(asked.endpoint, asked.path, status, as_text(head.raw()))
        self._way = way if reads else None
        if reads == "lines":
            self._lines = answer_urls.Lines(way)
            if b"content-length" in head and self._flow.request.method != "HEAD":
                head.drop(b"content-length".__eq__)
                if self._flow.request.http_version == "HTTP/1.1":
                    head.put(b"transfer-encoding", b"chunked")

    def with_addresses(self, response: http.Response) -> None:
        """Put into the body of *response*, which is whole, the addresses that the client can use."""
        before = response.raw_content or b""
        after = self._addressed(self._way.body(before)) if self._way else before
        if after != before:
            response.raw_content = after
            if "content-length" in response.headers:
                response.headers["content-length"] = str(len(after))

    def _addressed(self, data: bytes) -> bytes:
        if self._way and self.exchange:
            self._around.router.given(self.exchange, self._way, time.time())
        return data

    def _passed(self, data: bytes) -> bytes:
        if self.streaming:
            room = self._around.router.config.limits.keep_streamed - len(self.copy)
            self.copy += data[: max(0, room)]
            self.cut_short = self.cut_short or len(data) > room
        return data

    def refusal(self, refusal: Refusal) -> http.Response:
        self.own_answer = True
        if self.exchange is not None:
            self.exchange.refusal = refusal
        return own_responses.refusal(self._dialect, refusal, self.route.request_id if self.route else "")

    @property
    def blocked(self) -> Refusal:
        return FOREIGN

    def last_words(self, refusal: Refusal) -> bytes:
        response = self._flow.response
        if response is None or "text/event-stream" not in response.headers.get("content-type", ""):
            return b""
        told = dialects.of(self._dialect).error_event(refusal, self.route.request_id if self.route else "")
        return self._passed(told)

    @property
    def left(self) -> bool:
        return self.gone.is_set()

    def client_left(self) -> None:
        self.gone.set()
        self.stirred.set()

    def upstream_spoke(self) -> None:
        self.spoke = time.monotonic()

    def asked_headers(self) -> Headers:
        """Return the client's headers without those that stay here: they name nothing and hold up no stamp."""
        fields = HeaderFields(self._flow.request.headers.fields)
        unwanted = fields.listed() | self.covered.by_value
        fields.drop(lambda name: name in unwanted or (name not in CREDENTIALS and names_credential(name)))
        return as_text(fields.raw())

    # -- what goes up ----------------------------------------------------------------------------------------------

    def _path(self, request: http.Request, route: Route) -> str:
        exchange = self.exchange
        assert exchange is not None
        if clients.is_same_path(request.path, exchange.request.path):
            return route.edit.path
        # somebody has edited the flow while it was intercepted
        endpoint = dialects.endpoint(request.method, request.path.partition("?")[0])
        return upstream_url.join(route.account, request.path, endpoint, exchange.attempts[-1].choice.model)

    def _body(self, request: http.Request, route: Route) -> bytes | None:
        """Return what goes up in place of the flow's body, which may have been edited while it was intercepted."""
        exchange = self.exchange
        if route.body is None or exchange is None:
            return None
        content = message_content.content(request, self.body_limit)
        if content == exchange.request.body.raw:
            return route.body
        try:
            return upstream_url.changed(replace(exchange.request, body=Body(content)), route.edit.body)
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

    def _with_credential(self, fields: HeaderFields, path: str, route: Route) -> str:
        """Put the credential on *fields*, or into the *path* that is returned."""
        account, exchange = route.account, self.exchange
        assert exchange is not None
        for own in account.secret_headers:
            fields.put(own.name.encode(), f"{own.scheme}{self._around.keys.value(own.secret)}".encode())
        value = self._around.keys.value(account.secret)
        form: str = account.provider.credential
        if form == "auto":
            default = dialects.of(exchange.request.endpoint.dialect).key_form
            form = exchange.request.credential_form or default
        if form == "x-api-key" and value.startswith("sk-ant-oat"):  # an OAuth token is no API key
            form = "bearer"
        header = _HEADER_OF_FORM.get(form, b"")
        keeps = header.lower()
        fields.drop(lambda name: name != keeps and name in CREDENTIALS)
        if not header:
            return clients.with_key(path, value)
        # set in place, so that it stands and is spelled as the client had it
        fields.put(header, f"Bearer {value}".encode() if form == "bearer" else value.encode())
        return path


def _told(way: answer_urls.Way, name: bytes, value: bytes) -> bytes:
    """Return the *value* that the client gets of the header *name*."""
    if b"/" not in value:
        return value
    said = way.header(name.decode("latin-1"), value.decode("latin-1"))
    return said.encode("latin-1", "replace")


def _copied(request: http.Request) -> http.Request:
    """Return a copy without headers. mitmproxy's own way goes through every value once more, and checks its type."""
    wire, data = object.__new__(type(request)), object.__new__(type(request.data))
    vars(data).update(vars(request.data), headers=http.Headers())
    vars(wire).update(vars(request), data=data)
    return wire


@secret_patterns.remembered
def _stays_here(name: bytes) -> bool:
    """Whether a header of the client's stays here: our own, a credential, and what would tell whose account it has."""
    if name in CREDENTIALS:
        return False  # the account's own takes its place
    return name.startswith(b"x-patchbay-") or name in _REVEALING or names_credential(name)


def _connection(fields: HeaderFields, server: Server) -> bytes:
    """Return what a request says of the connection to *server*; how long the client's own lives is no matter there."""
    if server.alpn == b"h2":
        return b""
    return b"Upgrade" if fields.first(b"upgrade").lower() == b"websocket" else b"keep-alive"


def _frame(fields: HeaderFields, request: http.Request, server: Server) -> None:
    """
    Say in *fields* how the body ends, in the words of the protocol that *server* speaks.

    HTTP/2 has an end of its own. Without a word about it, an HTTP/1 server would read a body as the next request.
    """
    if server.alpn == b"h2":
        fields.drop(b"transfer-encoding".__eq__)
    elif b"content-length" not in fields and b"transfer-encoding" not in fields:
        if request.stream:
            fields.put(b"transfer-encoding", b"chunked")
        elif request.raw_content:
            fields.put(b"content-length", b"%d" % len(request.raw_content))
