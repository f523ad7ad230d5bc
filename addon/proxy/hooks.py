"""
mitmproxy's events, one method each: look, ask the router, act.

A hook that could let a request, a message or an answer through unchanged is `_closed_on_failure`: its failure becomes
an error answer. A failure of the others (connections, the end of a WebSocket) is mitmproxy's to log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from mitmproxy import connection, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import events, layer, server_hooks

from .. import clients, dialects, guards, uploads
from ..accounts.lease import Lease
from ..answer.sse import EventBuffer
from ..body import Body
from ..destinations import NOT_OURS
from ..exchange import Exchange
from ..media_types import is_json, media_type
from ..replacement import replacement
from ..router import Router
from ..values import header_names
from ..values.decision import Refusal, Wait
from ..values.http import Client, Request
from . import (
    alpn,
    client_connections,
    cors,
    flow_view,
    header_fields,
    keepalive,
    message_content,
    misdirected,
    option_defaults,
    own_responses,
    persistence,
    replay,
    request_head,
    response_head,
    tls_passthrough,
    upstream_connections,
    upstream_layer,
    upstream_stream,
)
from .body_hooks import PassingBodyHooks
from .commands import PatchbayCommands
from .credentials import Credentials, KeyUnavailable
from .event_loop_share import EventLoopShare
from .exchange_driver import ExchangeDriver, RequestTarget
from .in_flight import InFlight, driver_of
from .lifecycle import Lifecycle, Service
from .memory_trim import MemoryTrim
from .pending_connections import PendingConnections
from .redacted_heads import placeholder
from .request_head import RequestHead
from .shadow import Passthrough, ShadowDriver
from .terminal import Terminal
from .websockets import WebSocketDriver

logger = logging.getLogger(__name__)

_GLANCE = 0.05  # seconds between two looks at whether a client takes its answer again
_LOST_AFTER = 5.0  # seconds after its client has left in which an exchange may end by itself
_BROKEN = Refusal(502, "patchbay_failed", "Patchbay could not handle this request; see its log")
_CLIENT_LEFT = Refusal(499, "client_left", "The client left while the request waited")
SHUTTING_DOWN = Refusal(503, "shutting_down", "Patchbay is shutting down and accepts no new requests", 1.0)
_NOT_KEPT = Refusal(
    400,
    "credential_not_kept",
    "This request passed with its client's own credential, which is kept nowhere, so it cannot be sent again as it was;"
    " put a credential on it, or replay it with mode: serve",
)


def _closed_on_failure(hook: Callable[..., Any]) -> Callable[..., Any]:
    # mitmproxy logs what a hook raises and forwards the request as the client sent it, under the client's own
    # credentials. So nothing may escape: the flow gets an answer of ours, and the stream lets nothing else out.
    def failed(self: Patchbay, flow: http.HTTPFlow, e: Exception) -> None:
        _log_failure(hook.__name__, e)
        self.broken(flow)

    if asyncio.iscoroutinefunction(hook):

        @wraps(hook)
        async def asynchronous(self: Patchbay, flow: http.HTTPFlow) -> None:
            try:
                await hook(self, flow)
            except Exception as e:
                failed(self, flow, e)

        return asynchronous

    @wraps(hook)
    def synchronous(self: Patchbay, flow: http.HTTPFlow) -> None:
        try:
            hook(self, flow)
        except Exception as e:
            failed(self, flow, e)

    return synchronous


def _log_failure(hook: str, e: Exception) -> None:
    logger.error("%s failed: %s", hook, type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))


class Patchbay:
    """The addon."""

    name = "patchbay"

    def __init__(self) -> None:
        self._keys = Credentials()
        self._in_flight = InFlight(self._close)
        self._terminal = Terminal(self._keys.texts)
        self._lifecycle = Lifecycle(self._keys, self._in_flight, self._terminal)
        commands = PatchbayCommands(self._lifecycle, self._keys, self._in_flight)
        self.addons = [PassingBodyHooks(), commands, self._terminal]  # mitmproxy takes them for addons of ours
        self._loop_share = EventLoopShare(time.monotonic)
        self._http1_upstreams = alpn.Http1Upstreams()
        self._warnings = misdirected.Warnings()
        self._memory_trim = MemoryTrim(self._in_flight.count)
        self._pending = PendingConnections(client_connections.close_client)

    # -- the addon itself ------------------------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        self._lifecycle.load(loader)

    def configure(self, updated: set[str]) -> None:
        self._terminal.configure(updated)  # first: the settings' warnings are to have its form
        self._lifecycle.configure(updated)

    def running(self) -> None:
        self._lifecycle.running()

    def done(self) -> None:
        self._memory_trim.stop()
        self._lifecycle.done()

    # -- connections -----------------------------------------------------------------------------------------------

    async def client_connected(self, client: connection.Client) -> None:
        if self._lifecycle.refused:
            client.error = "Patchbay cannot start."
            return
        await option_defaults.hold_back(client)
        tls_passthrough.widen(client)
        if client_connections.speaks_http(client):
            self._pending.add(client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        self._pending.remove(client.id)
        if left := self._in_flight.of(client):
            # mitmproxy cancels the tasks of a client that has left. A request that waited for its turn takes its event
            # along, and a stream that waits for a connection hears neither of it nor that the client left.
            asyncio.get_running_loop().call_later(_LOST_AFTER, self._in_flight.end, left, "the client left")

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        found = client_connections.transport_of(data.client.id, data.server)
        if found and isinstance(found.writer, asyncio.StreamWriter):
            keepalive.enable(found.writer.get_extra_info("socket"))

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        if data.server in upstream_connections.unended:  # a stream that waits for it would wait until its timeout
            data.server.state = connection.ConnectionState.CLOSED
            client_connections.send(client_connections.handler_of(data.client.id), events.ConnectionClosed(data.server))

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        self._http1_upstreams.choose(data)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        if told := misdirected.tls_to_plain(data.context.client):
            self._warnings.tell(told)

    def tls_established_server(self, data: tls.TlsData) -> None:
        if isinstance(data.conn, connection.Server):
            self._http1_upstreams.record(data.conn)

    def next_layer(self, decided: layer.NextLayer) -> None:
        try:
            tls_passthrough.next_layer(decided, self._router().config)
        except Exception as e:
            _log_failure("next_layer", e)
            decided.layer = upstream_layer.Closed(decided.context)

    # -- requests --------------------------------------------------------------------------------------------------

    @_closed_on_failure
    def http_connect(self, flow: http.HTTPFlow) -> None:
        self._pending.remove(flow.client_conn.id)
        self._hide(flow)  # the client's password for a proxy
        flow.response = flow.response or tls_passthrough.error_response(flow, self._router().config)

    @_closed_on_failure
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.live:
            return
        self._pending.remove(flow.client_conn.id)
        if self._is_misdirected(flow):
            return
        head, shadow = request_head.read(flow, self._router()), self._router().config.mode == "shadow"
        passes = request_head.passes(flow, head, self._router(), self._keys.key_headers)
        if passes or shadow:
            option_defaults.untouched(flow.request, flow.client_conn.proxy_mode)
        if passes:
            self._pass(flow, head)
        else:
            await self._take(flow, head, ShadowDriver if shadow else ExchangeDriver)
        if flow.response:
            flow.request.headers.pop("expect", None)  # the client need not send what will not be read

    def _hide(self, flow: http.HTTPFlow) -> None:
        """Put placeholders for every credential on *flow*, which goes nowhere."""
        placeholder(flow.request, keys=self._keys.key_headers, known=self._keys.cover_of_heads())

    def _is_misdirected(self, flow: http.HTTPFlow) -> bool:
        """Whether *flow* reached the wrong kind of listener; then it goes nowhere, and the log says what is wrong."""
        if flow.request.method == "CONNECT":  # to a listener that is no proxy
            refused: Refusal | None = misdirected.no_proxy(flow.client_conn)
        else:
            refused = misdirected.no_base_url(flow, request_head.destination(flow))
        if refused is None:
            return False
        self._hide(flow)
        flow.patchbay = None  # type: ignore[attr-defined]
        self._warnings.tell(refused.message)
        self._terminal.refused(flow, refused)
        if flow.request.method != "CONNECT":
            flow.response = own_responses.error_response(_dialect(flow), refused, "")
        return True

    def _pass(self, flow: http.HTTPFlow, head: RequestHead) -> None:
        flow.patchbay = Passthrough(flow, self._keys)  # type: ignore[attr-defined]
        if head.incomplete:
            flow.response = own_responses.error_response(head.endpoint.dialect, _NOT_KEPT, "")

    async def _take(self, flow: http.HTTPFlow, head: RequestHead, kind: type[ExchangeDriver]) -> None:
        """Attach a driver to *flow*, and answer it where its head alone decides; open it where its body streams."""
        service = self._service()
        places = self._keys.key_headers
        client = request_head.client(flow, head.headers, service.clients, service.key, service.router, places)
        form = places.form(head.headers, flow.request.path)
        streams = uploads.streams_through(flow.request.method, head.path, head.endpoint, head.headers)
        if streams and not isinstance(client, Refusal) and not kind.shadow:
            streams = not service.router.access.must_read(client, head.endpoint)
        # the credentials are placeholders from now on
        driver = kind(flow, service.context, head.endpoint.dialect, places)
        flow.patchbay = driver  # type: ignore[attr-defined]
        endpoint = request_head.endpoint_shown(flow, head, service.router)
        driver.target = RequestTarget(endpoint, head.destination, form, request_head.address(flow, head.headers))
        if answer := self._answer(flow, driver, head, client, streams=streams):
            flow.response = answer
            return
        driver.client = Client() if isinstance(client, Refusal) else client
        self._warnings.tell_path(flow.client_conn, head.path, endpoint)
        if streams:
            await self._open(flow, driver, Body(None))
            flow.request.stream = flow.response is None

    def _answer(
        self, flow: http.HTTPFlow, driver: ExchangeDriver, head: RequestHead, client: Client | Refusal, *, streams: bool
    ) -> http.Response | None:
        """Return the answer to *flow* that its head decides, None where the request goes on."""
        service, endpoint = self._service(), driver.target.endpoint
        if driver.shadow:
            return driver.error_response(_NOT_KEPT) if head.incomplete else None
        if self._lifecycle.shutdown.begun:
            return driver.error_response(SHUTTING_DOWN)
        if refused := request_head.guarded(flow, head.headers, endpoint, service.guards, streams=streams):
            if refused.code == "path_unusable":
                self._warnings.tell(refused.message)
            return driver.error_response(refused)
        if preflight := cors.preflight(flow.request, service.guards.allowed_origin(head.headers)):
            return preflight
        if isinstance(client, Refusal):
            return driver.error_response(client)
        if head.serves:
            return None
        if presence := request_head.presence_answer(flow, head):
            return presence
        unserved = request_head.unserved(flow, head, service.router, client, time.time())
        if unserved != NOT_OURS:
            self._warnings.tell(unserved.message)
        return driver.error_response(unserved)

    @_closed_on_failure
    async def request(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        if driver is None or flow.response or driver.client is None or driver.exchange:
            return
        content = message_content.decoded(flow.request, self._router().config.limits.body)
        if isinstance(content, Refusal) and not driver.shadow:
            flow.request.raw_content = b""  # no other addon should try to unpack it
            flow.response = driver.error_response(content)
            return
        body = Body(None if isinstance(content, Refusal) else content)
        body.names()
        if body.is_too_deep and not driver.shadow:
            flow.response = driver.error_response(guards.body_too_deep())
            return
        await self._open(flow, driver, body)

    async def _open(self, flow: http.HTTPFlow, driver: ExchangeDriver, body: Body) -> None:
        """Open the exchange of *flow* with *body* and give it its first lease, or the answer that says why not."""
        service, behind = self._service(), request_head.reverse(flow)
        left = await service.store.caught_up()
        opened = service.router.open(self._router_request(flow, driver, body), service.context.now(), reverse=behind)
        if isinstance(opened, Refusal):
            flow.response = None if driver.shadow else driver.error_response(opened)
            return
        driver.exchange = opened
        opened.shown = driver.names
        self._in_flight.flows[driver] = flow
        service.log.opened(flow, opened)
        if service.store.shared and service.router.is_new(opened, time.time()):
            await asyncio.sleep(persistence.NEW)
            await service.store.caught_up(left)
            service.router.identify_again(opened, time.time())
        if driver.shadow:
            driver.lease = service.router.observe(opened, time.time())
            flow_view.show_lease(flow, opened, driver.lease)
        elif refusal := await self._next_lease(flow, driver):
            flow.response = driver.error_response(refusal)

    def _router_request(self, flow: http.HTTPFlow, driver: ExchangeDriver, body: Body) -> Request:
        assert driver.client is not None
        service = self._service()
        return Request(
            method=flow.request.method,
            path=flow.request.path,
            headers=driver.request_headers(),
            body=body,
            endpoint=driver.target.endpoint,
            destination=driver.target.destination,
            client=driver.client,
            replay=replay.served(flow, service.router, service.key),
            address=driver.target.address,
            credential_form=driver.target.credential_form,
        )

    # -- routes ----------------------------------------------------------------------------------------------------

    async def patchbay_next(self, wanted: upstream_stream.NextAttempt) -> None:
        try:
            driver = driver_of(wanted.flow)
            if driver and driver.exchange and not driver.client_gone.is_set():
                await self._reread(driver)
                wanted.again = await self._next_lease(wanted.flow, driver) is None
                if not wanted.again:
                    wanted.instead = replacement(driver.exchange)
        except Exception as e:
            _log_failure("patchbay_next", e)

    async def patchbay_give_way(self, pause: upstream_stream.Pause) -> None:
        resume = client_connections.stop_reading(pause)  # what arrives would be kept in a queue
        try:
            while pause.over and not pause.over():
                await asyncio.sleep(_GLANCE)
            if not pause.over:
                await asyncio.sleep(self._loop_share.wait(pause.seconds))
        finally:
            resume()

    async def _next_lease(self, flow: http.HTTPFlow, driver: ExchangeDriver) -> Refusal | None:
        """Give *driver* its next lease with the credential at hand, waiting where it must; or say why there is none."""
        exchange = driver.exchange
        assert exchange is not None
        exchange.recheck = driver.recheck.set
        while True:
            decided = self._router().next(exchange, time.time())
            match decided:
                case Refusal():
                    return decided
                case Wait(until=until):
                    if not await _wait(driver, until):
                        return _CLIENT_LEFT
                    if refused := self._not_allowed_now(flow, exchange):
                        return refused
                case Lease() if await self._has_keys(exchange, decided):
                    driver.lease = decided
                    account, heads = decided.account.id, driver.redacted_heads
                    heads.cover_known(flow.request, self._keys.cover_of_heads())
                    heads.assign(flow.request, account, decided.origin, self._keys.key_headers)
                    driver.placed_fields = flow.request.headers.fields
                    flow_view.show_lease(flow, exchange, decided)
                    return None

    async def _has_keys(self, exchange: Exchange, lease: Lease) -> bool:
        try:
            await self._keys.ready(*lease.account.secrets)
        except KeyUnavailable as e:
            logger.debug("account %s: %s", lease.account.id, e)  # the terminal says it when the account rests
            self._router().key_missing(exchange, str(e), time.time())
            return False
        return True

    async def _reread(self, driver: ExchangeDriver) -> None:
        """Read the secrets of an account that was refused: they may have been renewed meanwhile."""
        exchange = driver.exchange
        assert exchange is not None
        last = exchange.attempts[-1]
        account = last.lease.account
        refused = last.outcome is not None and last.outcome.kind == "auth" and last.outcome.scope != "exchange"
        if not refused:
            return
        for secret in account.secrets:
            await self._keys.refresh(secret)
        if driver.sent_with != self._keys.state_of(account.secrets):  # another request may have read them anew
            self._router().secret_changed(exchange, account.id)

    def _not_allowed_now(self, flow: http.HTTPFlow, exchange: Exchange) -> Refusal | None:
        """Say why *exchange*, which waited, may not be sent any more: the settings may have changed."""
        client = self._service().context.client_now(exchange.request.client)
        if flow.is_replay or client == exchange.request.client:
            return None
        if client is None:
            return clients.GONE
        exchange.request = replace(exchange.request, client=client)
        return self._router().access.oversteps(exchange.request)

    # -- answers ---------------------------------------------------------------------------------------------------

    @_closed_on_failure
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response is None:
            return
        if isinstance(attached := getattr(flow, "patchbay", None), Passthrough):
            attached.redact_answer(flow.response)
        driver = driver_of(flow)
        if driver is None:
            return
        if "origin" in flow.request.headers and not driver.shadow:
            origin = self._service().guards.allowed_origin(header_fields.read(flow.request.headers))
            cors.admit(flow.response, origin)
        if driver.own_answer or (driver.lease is None and not driver.shadow):
            return
        driver.head_taken = True
        if driver.shadow:
            driver.redacted_heads.redact_answer(flow.response)
            kind = media_type(flow.response.headers.get("content-type", ""))
            flow.response.stream = driver.streaming = not is_json(kind)
        else:
            self._deliver(flow.response, driver)

    def _deliver(self, response: http.Response, driver: ExchangeDriver) -> None:
        config = self._router().config
        driver.takes_off = response_head.taken_off(driver)
        fields = response_head.for_client(response, driver)
        if response_head.streams(fields, response.status_code, driver):
            response.stream = driver.streaming = True
            if b"content-encoding" in fields:
                driver.takes_off = None
            if driver.takes_off:  # an event, or a body that is none, is held back until it is whole
                driver.event_buffer = EventBuffer(config.limits.body)
                fields.drop(b"content-length".__eq__)
            elif config.crosstalk.reaction != "observe" and response_head.is_events(fields):
                driver.event_buffer = EventBuffer()
        fields.on(response.headers)

    @_closed_on_failure
    async def response(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        if driver is None:
            self._take_loaded(flow)
            return
        if flow.response is None:
            return
        if driver.victim_lookups:
            await asyncio.wait(driver.victim_lookups)
        if driver.streaming:  # the stream has gone out already; this copy is to be looked at
            flow.response.raw_content = bytes(driver.streamed_copy)
        elif flow.response.raw_content and not driver.shadow:
            driver.head_taken = False
            driver.rewrite_body(flow.response)
        if flow.response.trailers and not driver.shadow:
            response_head.without_private(flow.response.trailers).on(flow.response.trailers)
        if driver.exchange and not (driver.streaming or driver.own_answer or driver.shadow):
            flow.response.headers[header_names.VERDICT] = driver.exchange.verdict.kind
        self._close(flow, driver, "")

    @_closed_on_failure
    def error(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        if driver is None:
            self._take_loaded(flow)
            return
        if driver.streaming and flow.response:
            flow.response.raw_content = bytes(driver.streamed_copy)
        self._close(flow, driver, flow.error.msg if flow.error else "ended")

    def _take_loaded(self, flow: http.HTTPFlow) -> None:
        if self._lifecycle.service:
            self._lifecycle.service.loaded.take(flow)

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        if driver is not None:
            self._socket(flow, driver)

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        if driver is None or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        try:
            await self._socket(flow, driver).message(message)
        except Exception as e:
            _log_failure("websocket_message", e)
            if not driver.shadow:
                message.drop()

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        driver = driver_of(flow)
        socket = self._in_flight.sockets.pop(driver, None) if driver else None
        if socket:
            socket.ended()

    def _socket(self, flow: http.HTTPFlow, driver: ExchangeDriver) -> WebSocketDriver:
        sockets = self._in_flight.sockets
        if driver not in sockets:  # also when the script was loaded anew while the socket was open
            sockets[driver] = WebSocketDriver(flow, driver, self._service().context)
        return sockets[driver]

    def broken(self, flow: http.HTTPFlow) -> None:
        """Turn *flow*, in which a hook failed, into an error answer; nothing of it may leave."""
        driver = driver_of(flow)
        self._hide(flow)
        if driver is None:
            flow.patchbay = None  # type: ignore[attr-defined]
            flow.response = flow.response or own_responses.error_response(_dialect(flow), _BROKEN, "")
            return
        driver.lease = None
        if driver.head_taken:  # an upstream's body would be poured into any answer we made now
            flow.kill()
        else:
            flow.response = driver.error_response(_BROKEN)
        self._close(flow, driver, _BROKEN.code)

    def _close(self, flow: http.HTTPFlow, driver: ExchangeDriver, error: str) -> None:
        if driver.closed:
            return
        if driver.exchange is None:
            driver.closed = driver.refusal is not None
            if driver.refusal:
                self._terminal.refused(flow, driver.refusal)
            return
        driver.closed = True
        self._in_flight.flows.pop(driver, None)
        self._memory_trim.exchange_ended(_size(flow))
        self._service().log.closed(flow, driver, error)

    # -- what serves -----------------------------------------------------------------------------------------------

    def _service(self) -> Service:
        if self._lifecycle.service is None:
            raise RuntimeError("not configured")
        return self._lifecycle.service

    def _router(self) -> Router:
        return self._service().router


async def _wait(driver: ExchangeDriver, until: float) -> bool:
    """Wait until it may be the turn of *driver*, or the clock says *until*; return False when the client left."""
    driver.recheck.clear()
    if not driver.client_gone.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(driver.recheck.wait(), max(0.01, until - time.time()))
    return not driver.client_gone.is_set()


def _dialect(flow: http.HTTPFlow) -> str:
    return dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0]).dialect


def _size(flow: http.HTTPFlow) -> int:
    return sum(len(message.raw_content or b"") for message in (flow.request, flow.response) if message)
