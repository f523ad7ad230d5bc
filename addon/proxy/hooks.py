"""mitmproxy's events, one method each: look, ask the router, act. Whatever goes wrong here becomes an error answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from random import SystemRandom
from typing import Any, ParamSpec

from mitmproxy import command, connection, ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import commands, events, layer, mode_specs, server_hooks

from .. import answer_urls, clients, dialects, guards, journal, secret_patterns, uploads, upstream_url
from ..answer.sse import EventBuffer
from ..body import Body
from ..journal import Journal
from ..router import Exchange, Router, mint_of
from ..settings import reader
from ..settings.settings import Config, JournalSettings
from ..state import Leak
from ..store import StoreError, master_key
from ..values.decision import Decision, Finding, Refusal, Route, Wait
from ..values.http import Client, Endpoint, Headers, Origin, Request, is_loopback
from . import (
    alpn,
    compatibility,
    cors,
    environment,
    flow_record,
    flow_view,
    header_fields,
    keepalive,
    message_content,
    misdirected,
    option_checks,
    option_defaults,
    own_responses,
    persistence,
    replay,
    stored_flows,
    tls_passthrough,
    upstream_connections,
    upstream_stream,
)
from .clock import Clock
from .credentials import Credentials, KeyUnavailable
from .event_loop_share import EventLoopShare
from .exchange_driver import DriverContext, ExchangeDriver, RequestTarget
from .graceful_shutdown import GracefulShutdown
from .header_fields import HeaderFields
from .incident_recorder import Again, IncidentRecorder, habits, tell_habits
from .log_redaction import LogRedaction
from .memory_trim import MemoryTrim
from .pending_connections import PendingConnections
from .persistence import Persistence
from .redacted_heads import lacks_credentials, placeholder
from .reload import Reload, Settings, fixed
from .shadow import Passthrough, ShadowDriver, warn_of_nowhere
from .websockets import Socket

logger = logging.getLogger(__name__)
P = ParamSpec("P")

_waking: set[asyncio.Task[None]] = set()
_OPTION = "patchbay_config"
COLLECTED = 64 << 20  # bytes up to which an answer of JSON goes out in one piece; above, nobody reads it anyway
_GLANCE = 0.05  # seconds between two looks at whether a client takes its answer again
_LOST = 5.0  # seconds after its client has gone in which an exchange ends by itself, if it does
_REVEALING = frozenset(name.encode() for name in clients.REVEALING_DOWNWARD)
_BROKEN = Refusal(502, "patchbay_failed", "Patchbay could not handle this request; see its log")
_ENDED = "the proxy was ended"
_ENDING = Refusal(503, "shutting_down", "Patchbay is shutting down and accepts no new requests", 1.0)
_NOT_KEPT = Refusal(
    400,
    "credential_not_kept",
    "This request passed with its client's own credential, which is kept nowhere, so it cannot be sent again as it was;"
    " put a credential on it, or replay it with mode: serve",
)
_NOT_OURS = Refusal(404, "not_an_llm_path", "No account serves this path here; see the settings `paths` and `other`")


def _closed_on_failure(hook: Callable[..., Any]) -> Callable[..., Any]:
    # mitmproxy logs what a hook raises and forwards the request as the client sent it, under the client's own
    # credentials. So nothing may escape: the flow gets an answer of ours, and the stream lets nothing else out.
    def failed(self: Patchbay, flow: http.HTTPFlow, e: Exception) -> None:
        logger.error("%s failed: %s", hook.__name__, type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
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


class Patchbay:
    """The addon."""

    name = "patchbay"

    def __init__(self) -> None:
        self.keys = Credentials()
        self._log_cover = LogRedaction(self.keys.scrub_text)
        self._turns = EventLoopShare(time.monotonic)
        self._upstreams = alpn.Upstreams()
        self._warnings = misdirected.Warnings()
        self.router: Router | None = None
        self._secret = b""
        self._refused = False  # the settings were unusable at the start, and mitmproxy is about to end
        self._clients: tuple[clients.Known, ...] = ()
        self._guards = guards.Guards(Config(()))
        self._journal: Journal | None = None
        self._around: DriverContext | None = None
        self._reload: Reload | None = None
        self._keeping: Persistence | None = None
        self._aftermath: IncidentRecorder | None = None
        self._again: Again | None = None
        self._under_way: dict[ExchangeDriver, http.HTTPFlow] = {}
        self._sockets: dict[ExchangeDriver, Socket] = {}
        self._leftovers = MemoryTrim(self._in_flight)
        self._newcomers = PendingConnections(_hang_up)
        self._ending = GracefulShutdown(lambda: self._router().config.grace, self._in_flight, self._cut)

    # -- life cycle ------------------------------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        loader.add_option(
            _OPTION, str, "", "The YAML file with the accounts (else $PATCHBAY_CONFIG, else ./config.yaml)"
        )
        try:
            compatibility.check()
        except RuntimeError as e:
            self._refuse(f"patchbay does not run on this mitmproxy: {e}")
            return
        replay.install()
        self._log_cover.install()
        option_defaults.apply()

    def configure(self, updated: set[str]) -> None:
        if self._refused:
            return
        if self.router is None:
            self._begin_with(environment.settings_file(ctx.options.patchbay_config))
        elif _OPTION in updated:
            self._configure(environment.settings_file(ctx.options.patchbay_config))
            option_checks.warn()
        elif updated & option_checks.WATCHED:
            try:
                option_checks.check(self.router.config)
            except ValueError as e:
                raise exceptions.OptionsError(f"patchbay: {e}") from None
            option_checks.warn()

    def _begin_with(self, path: Path) -> None:
        try:
            self._configure(path)
        except exceptions.OptionsError as e:
            self._refuse(str(e))
        else:
            option_checks.warn()

    def _refuse(self, why: str) -> None:
        # What is raised while a script is loaded is shown with a traceback, and out of `load` not at all: mitmproxy
        # would go on without us. An error in the log ends it once it has begun; until then every hook fails closed.
        self._refused = True
        logger.error("%s", why)

    def running(self) -> None:
        if self._refused:
            return
        option_defaults.settle()
        option_defaults.listen()
        self._ending.install()
        assert self.router is not None and self._reload is not None and self._keeping is not None
        self._reload.start()
        self._keeping.start()
        tls_passthrough.warn(self.router.config)
        warn_of_nowhere(self.router.config, ctx.options.mode)
        enabled = sum(account.enabled for account in self.router.config.accounts)
        logger.info("patchbay: %d accounts (%d enabled)", len(self.router.config.accounts), enabled)

    def done(self) -> None:
        self._ending.remove()
        self._leftovers.stop()
        replay.remove()
        self._log_cover.remove()
        if self._reload:
            self._reload.stop()
        if self._keeping:
            self._keeping.end()
        self._close_journal()
        if self._aftermath:
            self._aftermath.close()
        if self._again:
            self._again.tell()

    def _close_journal(self) -> None:
        if self._journal:
            self._journal.close()
            self._journal = None

    def _configure(self, path: Path) -> None:
        try:
            settings = reader.load(_text_of(path), path.name, env=os.environ)
            settings = environment.looked_at(settings, os.environ)
            self._withhold(settings)
            key = master_key(Path(settings.state).expanduser())
            known = tuple(clients.Known(client, self.keys.now(client.secret).encode()) for client in settings.clients)
            option_checks.check(settings)
            found = Settings(settings, known)
            if self.router is None:
                self._begin(found, key)
            else:
                self._reloaded(fixed(self.router.config, found))
        except reader.ConfigError as e:
            raise exceptions.OptionsError(str(e)) from None
        except (OSError, ValueError, KeyUnavailable, StoreError) as e:
            raise exceptions.OptionsError("patchbay: " + secret_patterns.covered(_told(e))) from None
        for warning in settings.warnings:
            logger.warning("patchbay: %s", warning)
        self._watch(path)

    def _begin(self, found: Settings, key: bytes) -> None:
        router = Router(found.config, key, SystemRandom(), secrets.token_bytes)
        router.unnamed = self._warn_of_model
        router.changed = self._changed
        self._journal = Journal(found.config.journal) if found.config.journal.path else None
        self._keeping = Persistence(found.config, key, router.state)
        self._aftermath = IncidentRecorder(
            Path(found.config.state).expanduser(), found.config.crosstalk, self.keys.environment
        )
        self._again = Again(mint_of(key))
        router.state.leaked = self._aftermath.leaked
        self._secret = key
        self._clients = found.clients
        self._guards = guards.Guards(found.config)
        self.router = router
        self._around = DriverContext(
            self.router,
            self.keys,
            verified=lambda: not ctx.options.ssl_insecure,
            alarm=self._alarm,
            wake=_wake,
            opened=self._opened,
            record=self._record_message,
            client_now=lambda client: clients.again(client, self._clients, self._secret),
            now=Clock(lambda: time.time(), time.monotonic, router.memory.clock_was_set).now,
        )

    def _warn_of_model(self, provider: str, model: str) -> None:
        name = ascii(self.keys.scrub(model.encode("utf-8", "replace")).decode()[:64])
        logger.warning("provider %s: model_ids has no entry for %s: its requests carry no model id", provider, name)

    def _changed(self) -> None:
        if self._keeping:
            self._keeping.soon()

    def _watch(self, path: Path) -> None:
        running = self._reload is not None and self._reload.stop()
        self._reload = Reload(path, self._router(), self.keys, self._reloaded)
        if running:
            self._reload.start()

    def _reloaded(self, found: Settings) -> None:
        option_checks.check(found.config)
        before = self._router().config
        if found.config.journal != before.journal:
            self._change_journal(found.config.journal)
        self._router().reload(found.config)
        self._withhold(found.config)
        if self._aftermath:
            self._aftermath.change(found.config.crosstalk)
        self._clients = found.clients
        self._guards = guards.Guards(found.config)
        for socket in tuple(self._sockets.values()):
            socket.reloaded()

    def _withhold(self, settings: Config) -> None:
        secrets = [secret for account in settings.accounts for secret in account.secrets]
        secrets += [client.secret for client in settings.clients]
        store = {settings.store, os.environ.get(persistence.VARIABLE, "")}
        named = {url.removeprefix("env:") for url in store if url.startswith("env:")}
        self.keys.withhold(secrets, {*named, persistence.VARIABLE})  # a store's address may hold a password

    def _change_journal(self, settings: JournalSettings) -> None:
        before, self._journal = self._journal, Journal(settings) if settings.path else None
        if before:  # it writes what is left, and nothing shall wait for that
            asyncio.get_running_loop().run_in_executor(None, before.close)

    @command.command("patchbay.habits")  # type: ignore[untyped-decorator]
    def habits(self) -> Sequence[str]:
        """What was learned of each host's answers: the rules it keeps, and those it breaks (see docs/crosstalk.md)."""
        return habits(self._router().memory)

    @command.command("patchbay.habits.reset")  # type: ignore[untyped-decorator]
    def reset_habits(self, host: str, detector: str = "") -> str:
        """Forget what was learned of *host*, a line of patchbay.habits begins with it; or of one *detector* there."""
        found = self._router().memory.habits.reset(host, detector, time.time())
        return f"{found} rules of {host} are forgotten" if found else f"nothing is known of {host} {detector}".rstrip()

    @command.command("patchbay.wake")  # type: ignore[untyped-decorator]
    def wake(self, account: str) -> str:
        """Use *account* again, whatever it rests for."""
        known = [each.id for each in self._router().config.accounts]
        if account not in known:
            return f"there is no account {account}; there are: {', '.join(known) or 'none'}"
        self._router().state.wake(account, time.time())
        return f"account {account} may be used again"

    # -- flows -----------------------------------------------------------------------------------------------------

    async def client_connected(self, client: connection.Client) -> None:
        if self._refused:
            client.error = "Patchbay cannot start."
            return
        await option_defaults.hold_back(client)
        tls_passthrough.widen(client)
        if _speaks_http(client):
            self._newcomers.came(client.id)

    def client_disconnected(self, client: connection.Client) -> None:
        self._newcomers.settled(client.id)
        left = [(cord, flow) for cord, flow in self._under_way.items() if flow.client_conn is client]
        sockets = [cord for cord, socket in self._sockets.items() if socket.flow.client_conn is client]
        if left or sockets:
            asyncio.get_running_loop().call_later(_LOST, self._lost, left, sockets)

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        handler = ctx.master.addons.get("proxyserver").connections.get(data.client.id)
        found = handler.transports.get(data.server) if handler else None
        if found and isinstance(found.writer, asyncio.StreamWriter):
            keepalive.probe(found.writer.get_extra_info("socket"))

    def _lost(self, left: Sequence[tuple[ExchangeDriver, http.HTTPFlow]], sockets: Sequence[ExchangeDriver]) -> None:
        # mitmproxy cancels the tasks of a client that has gone, and one that waited for its turn then takes its event
        # along: a stream that waits for a connection is told neither of it nor that the client left.
        for cord, flow in left:
            self._close(flow, cord, "the client left")
        for cord in sockets:
            if socket := self._sockets.pop(cord, None):
                socket.ended("the client left")

    @_closed_on_failure
    def http_connect(self, flow: http.HTTPFlow) -> None:
        self._newcomers.settled(flow.client_conn.id)
        placeholder(flow.request)  # the client's password for a proxy
        flow.response = flow.response or tls_passthrough.refusal(flow, self._router().config)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        self._upstreams.greeted(data)

    def tls_established_server(self, data: tls.TlsData) -> None:
        if isinstance(data.conn, connection.Server):
            self._upstreams.connected(data.conn)

    def server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        if data.server in upstream_connections.unended:  # those who wait for it would wait until their time is up
            data.server.state = connection.ConnectionState.CLOSED
            _tell(
                ctx.master.addons.get("proxyserver").connections.get(data.client.id),
                events.ConnectionClosed(data.server),
            )

    def next_layer(self, decided: layer.NextLayer) -> None:
        try:
            if not tls_passthrough.decide(decided, self._router().config):
                ctx.master.addons.get("nextlayer").next_layer(decided)
                if tls_passthrough.passes_unread(decided, self._router().config):
                    logger.info("patchbay: closed a connection to a provider: what it carries is not read as HTTP")
                    decided.layer = upstream_stream.Closed(decided.context)
                upstream_stream.install(decided)
        except Exception as e:
            logger.error("next_layer failed: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))
            decided.layer = upstream_stream.Closed(decided.context)

    @_closed_on_failure
    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        if not flow.live:
            return
        self._newcomers.settled(flow.client_conn.id)
        bare = flow.request.path.partition("?")[0]
        endpoint = dialects.endpoint(flow.request.method, bare)
        if flow.request.method == "CONNECT":  # to a listener that is no proxy
            self._misdirected(flow, misdirected.no_proxy(flow.client_conn))
            return
        destination = self._destination(flow, endpoint)
        if refused := misdirected.no_base_url(flow, destination):
            self._misdirected(flow, refused)
            flow.response = own_responses.refusal(endpoint.dialect, refused, "")
            return
        endpoint = self._resolved(endpoint, flow, destination)
        serves = self._router().serves(endpoint, destination, _reverse(flow))
        shadow = self._router().config.mode == "shadow"
        headers = header_fields.read(flow.request.headers)
        # what asks a model is looked at in shadow, also where no account would serve it
        passes = not serves and (not endpoint.dialect if shadow else self._lets_be(flow, headers, destination))
        if passes or shadow:
            option_defaults.untouched(flow.request, flow.client_conn.proxy_mode)
        if passes:
            flow.patchbay = Passthrough(flow)  # type: ignore[attr-defined]
            if flow.is_replay and lacks_credentials(flow.request):
                flow.response = own_responses.refusal(endpoint.dialect, _NOT_KEPT, "")
            return
        client = self._client(flow, headers)
        form = clients.form(headers, flow.request.path)
        streams = uploads.streams_through(flow.request.method, bare, endpoint, headers)
        if streams and not isinstance(client, Refusal) and not shadow:
            streams = not self._router().must_read(client, endpoint)
        cord = (ShadowDriver if shadow else ExchangeDriver)(flow, self._surroundings(), endpoint.dialect)
        flow.patchbay = cord  # type: ignore[attr-defined]
        if (shown := flow.request.path.partition("?")[0]) != bare:  # there was a key in it
            endpoint = self._resolved(dialects.endpoint(flow.request.method, shown), flow, destination)
        cord.asked = RequestTarget(endpoint, destination, form, _address(flow, headers))
        if shadow and flow.is_replay and lacks_credentials(flow.request):
            flow.response = cord.refusal(_NOT_KEPT)
        elif shadow:
            cord.client = Client() if isinstance(client, Refusal) else client
        elif self._ending.begun:
            flow.response = cord.refusal(_ENDING)
        elif refused := self._guarded(flow, headers, endpoint, streams):
            flow.response = cord.refusal(refused)
            if refused.code == "path_unusable":
                self._warnings.tell(refused.message)
        elif asks := cors.preflight(flow.request, self._guards.allowed_origin(headers)):
            flow.response = asks
        elif isinstance(client, Refusal):
            flow.response = cord.refusal(client)
        elif serves:
            cord.client = client
        else:
            unserved = self._router().unserved(endpoint, destination, _reverse(flow), client, time.time())
            flow.response = _local(flow, bare, destination) or cord.refusal(unserved or _NOT_OURS)
        if cord.client:
            self._warnings.tell_path(flow.client_conn, bare, endpoint)
        if cord.client and streams:
            await self._open(flow, cord, Body(None))
            flow.request.stream = flow.response is None
        if flow.response:
            flow.request.headers.pop("expect", None)  # nobody should send us what we do not want

    def _misdirected(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Take the credentials out of *flow*, which goes nowhere, and say in the log what is wrong."""
        placeholder(flow.request)
        flow.patchbay = None  # type: ignore[attr-defined]
        self._warnings.tell(refusal.message)

    @_closed_on_failure
    async def request(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if cord is None or flow.response or cord.client is None or cord.exchange:
            return
        content = message_content.unpacked(flow.request, self._router().config.limits.body)
        if isinstance(content, Refusal):
            if not cord.shadow:
                flow.request.raw_content = b""  # nobody else should try to unpack it
                flow.response = cord.refusal(content)
            return
        body = Body(content)
        body.names()
        if body.is_too_deep and not cord.shadow:
            flow.response = cord.refusal(guards.body_too_deep())
            return
        await self._open(flow, cord, body)

    async def _open(self, flow: http.HTTPFlow, cord: ExchangeDriver, body: Body) -> None:
        """Open the exchange of *flow* with *body* and give it its first route, or an answer that says why not."""
        assert cord.client is not None
        assert self._keeping is not None
        left = await self._keeping.caught_up()
        asked = Request(
            method=flow.request.method,
            path=flow.request.path,
            headers=cord.asked_headers(),
            body=body,
            endpoint=cord.asked.endpoint,
            destination=cord.asked.destination,
            client=cord.client,
            replay=replay.served(flow, self._router(), self._secret),
            address=cord.asked.address,
            credential_form=cord.asked.form,
        )
        opened = self._router().open(asked, self._surroundings().now(), reverse=_reverse(flow))
        if isinstance(opened, Refusal):
            flow.response = None if cord.shadow else cord.refusal(opened)
            return
        cord.exchange = opened
        self._under_way[cord] = flow
        self._opened(flow, opened)
        if self._keeping.shared and self._router().is_new(opened, time.time()):
            await asyncio.sleep(persistence.NEW)
            await self._keeping.caught_up(left)
            self._router().look_again(opened, time.time())
        if cord.shadow:
            self._decide(cord, opened)
            return
        refusal = await self._plug(flow, cord)
        if refusal:
            flow.response = cord.refusal(refusal)

    async def patchbay_next(self, turn: upstream_stream.Turn) -> None:
        try:
            cord = _cord(turn.flow)
            if cord and not cord.gone.is_set():
                turn.again = await self._plug(turn.flow, cord, moving=True) is None
                if not turn.again and cord.exchange:
                    turn.instead = self._router().instead(cord.exchange)
        except Exception as e:
            logger.error("patchbay_next failed: %s", type(e).__name__, exc_info=logger.isEnabledFor(logging.DEBUG))

    async def patchbay_give_way(self, pause: upstream_stream.Pause) -> None:
        resume = _stop_reading(pause)  # what arrives would be kept in a queue
        try:
            while pause.over and not pause.over():
                await asyncio.sleep(_GLANCE)
            if not pause.over:
                await asyncio.sleep(self._turns.wait(pause.seconds))
        finally:
            resume()

    @_closed_on_failure
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if flow.response and isinstance(plugged := getattr(flow, "patchbay", None), Passthrough):
            plugged.answered(flow.response)
        if cord is None or flow.response is None:
            return
        if "origin" in flow.request.headers and not cord.shadow:
            cors.admit(flow.response, self._guards.allowed_origin(header_fields.read(flow.request.headers)))
        if cord.own_answer or (cord.route is None and not cord.shadow):
            return
        cord.answering = True
        headers = flow.response.headers
        if cord.shadow:
            cord.covered.answered(flow.response)
            flow.response.stream = cord.streaming = not _is_json(headers.get("content-type", ""))
            return
        assert cord.route is not None
        told = _without_private(headers)
        told.drop_hops(b"Upgrade" if flow.response.status_code == 101 else b"")
        if cord.exchange and cord.exchange.refusal:  # it is the last of several answers, and none was good
            told.put(b"x-patchbay-gave-up", cord.exchange.refusal.code.encode())
        told.put(b"x-patchbay-request-id", cord.route.request_id.encode())
        told.put(b"x-patchbay-account", cord.route.account.id.encode())
        if cord.route.session_id:
            told.put(b"x-patchbay-session-id", cord.route.session_id.encode())
        cord.found_addresses(told, flow.response.status_code)
        told.on(headers)
        asked = cord.exchange is not None and cord.exchange.stream  # JSON may then be an array that grows, or lines
        read = COLLECTED if cord.asked.endpoint.kind == "generation" else answer_urls.READ
        asked = asked or _length(told) > read  # nobody reads it
        if flow.response.status_code < 400 and (asked or not _is_json(told.first(b"content-type").decode("latin-1"))):
            flow.response.stream = cord.streaming = True
            if self._router().config.crosstalk.reaction != "observe" and _is_events(told):
                cord.in_events = EventBuffer()

    @_closed_on_failure
    async def response(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if cord is None and self._again:
            self._again.take(flow)
        if cord is None or flow.response is None:
            return
        if cord.naming:
            await asyncio.wait(cord.naming)
        if cord.streaming:
            flow.response.raw_content = bytes(cord.copy)  # the stream has gone out already; this is for looking at it
        elif flow.response.raw_content and not cord.shadow:
            cord.answering = False
            cord.with_addresses(flow.response)
        if flow.response.trailers and not cord.shadow:
            _without_private(flow.response.trailers).on(flow.response.trailers)
        if cord.exchange and not (cord.streaming or cord.own_answer or cord.shadow):
            flow.response.headers["x-patchbay-verdict"] = self._router().verdict(cord.exchange).kind
        self._close(flow, cord, "")

    @_closed_on_failure
    def error(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if cord is None and self._again:
            self._again.take(flow)
        if cord is None:
            return
        if cord.streaming and flow.response:
            flow.response.raw_content = bytes(cord.copy)
        self._close(flow, cord, flow.error.msg if flow.error else "ended")

    def websocket_start(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if cord is not None:
            self._socket(flow, cord)

    def _socket(self, flow: http.HTTPFlow, cord: ExchangeDriver) -> Socket:
        if cord not in self._sockets:  # also when the script was loaded anew while the socket stood
            self._sockets[cord] = Socket(flow, cord, self._surroundings())
        return self._sockets[cord]

    async def websocket_message(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        if cord is None or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        try:
            await self._socket(flow, cord).message(message)
        except Exception as e:
            logger.error("websocket_message failed: %s", type(e).__name__)
            message.drop()

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        cord = _cord(flow)
        socket = self._sockets.pop(cord, None) if cord else None
        if socket:
            socket.ended()

    def broken(self, flow: http.HTTPFlow) -> None:
        """Turn *flow*, in which a hook failed, into an error answer; nothing of it may leave."""
        cord = _cord(flow)
        placeholder(flow.request)
        if cord is None:
            flow.patchbay = None  # type: ignore[attr-defined]
            dialect = dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0]).dialect
            flow.response = flow.response or own_responses.refusal(dialect, _BROKEN, "")
        else:
            cord.route = None
            if cord.answering:  # an upstream's body would be poured into any answer we made now
                flow.kill()
            else:
                flow.response = cord.refusal(_BROKEN)
            if not cord.closed:
                self._close(flow, cord, _BROKEN.code)

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _plug(self, flow: http.HTTPFlow, cord: ExchangeDriver, *, moving: bool = False) -> Refusal | None:
        """Give *cord* its next route with the credential at hand, waiting where one must; or say why there is none."""
        exchange = cord.exchange
        assert exchange is not None
        exchange.woken = cord.stirred.set
        while True:
            if moving:
                moving = False
                await self._reread(exchange)
            decided = self._router().next(exchange, time.time())
            match decided:
                case Refusal():
                    return decided
                case Wait(until=until):
                    if not await _wait(cord, until):
                        return Refusal(499, "client_left", "The client left while the request waited")
                    if refused := self._asked_again(flow, exchange):
                        return refused
                case Route():
                    try:
                        for secret in decided.account.secrets:
                            await self.keys.ready(secret)
                    except KeyUnavailable as e:
                        logger.warning("account %s: %s", decided.account.id, e)
                        self._router().unsent(exchange, str(e), time.time())
                        continue
                    cord.route = decided
                    placeholder(flow.request, decided.account.id, decided.origin)
                    return None

    def _asked_again(self, flow: http.HTTPFlow, exchange: Exchange) -> Refusal | None:
        """Say why *exchange*, which waited, may not be sent any more: the settings may be others by now."""
        client = clients.again(exchange.request.client, self._clients, self._secret)
        if flow.is_replay or client == exchange.request.client:
            return None
        if client is None:
            return clients.GONE
        exchange.request = replace(exchange.request, client=client)
        return self._router().oversteps(exchange.request)

    def _decide(self, cord: ExchangeDriver, exchange: Exchange) -> None:
        """Decide as if *exchange* were served; it is not, so nothing is waited for and nothing refused."""
        decided = self._router().next(exchange, time.time())
        match decided:
            case Route():
                cord.route = decided
            case Refusal():
                exchange.refusal = decided
            case Wait():
                exchange.refusal = Refusal(503, "would_wait", decided.reason)

    def _client(self, flow: http.HTTPFlow, headers: Headers) -> Client | Refusal:
        if flow.is_replay == "request":
            return replay.client(flow, self._clients, self._secret)
        path = flow.request.path
        found = clients.identify(headers, path, self._clients, self._secret, loopback=_from_loopback(flow))
        given = None if any(clients.presented(headers, path)) else self._router().given_to(path, time.time())
        return (clients.again(given, self._clients, self._secret) if given else None) or found

    def _destination(self, flow: http.HTTPFlow, endpoint: Endpoint) -> Origin:
        found = _destination(flow)
        mode = flow.client_conn.proxy_mode
        if flow.is_replay == "request" and isinstance(mode, mode_specs.ReverseMode):
            # the flow says where its account was; the client had left that open, so another may serve it now
            anywhere = Origin(mode.scheme, mode.address[0].lower(), mode.address[1])
            if upstream_url.is_anywhere(anywhere) and self._router().serves(endpoint, found, None):
                return anywhere
        return found

    async def _reread(self, exchange: Exchange) -> None:
        """Read the secret of an account that was refused again: it may have been renewed meanwhile."""
        last = exchange.attempts[-1]
        account = last.route.account
        refused = last.outcome is not None and last.outcome.kind == "auth" and last.outcome.scope != "none"
        if refused and any([await self.keys.refresh(secret) for secret in account.secrets]):
            self._router().renewed(exchange, account.id)

    def _close(self, flow: http.HTTPFlow, cord: ExchangeDriver, error: str) -> None:
        if cord.closed or cord.exchange is None:
            return
        cord.closed = True
        self._under_way.pop(cord, None)
        self._leftovers.left(_size(flow))
        status = flow.response.status_code if flow.response else None
        decision = self._router().close(cord.exchange, error, time.time(), status=status)
        self._record(flow, decision)
        sent, kept = self._router().sent(cord.exchange), len(cord.copy) if cord.cut_short else None
        stored_flows.closed(flow, sent, own_answer=cord.own_answer, kept_bytes=kept)
        flow_record.note(flow, cord.exchange, decision, self._secret)
        replay.remark(flow, cord.exchange, decision)
        if kept is not None:
            flow.comment += f" · only the first {kept} bytes of the answer are kept"
        if self._aftermath:
            self._aftermath.closed(flow, decision, sent)

    def _opened(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        if self._aftermath:
            self._aftermath.opened(flow, exchange.id)

    def _record_message(self, flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
        tell_habits(self._router().memory)
        told = journal.line(decision)
        flow_view.on_socket(flow, decision, told)
        if self._journal:
            self._journal.write(told)
        if self._aftermath:
            self._aftermath.keep(flow, decision, self._router().sent(exchange))
        self._settled(decision)

    def _record(self, flow: http.HTTPFlow, decision: Decision) -> None:
        tell_habits(self._router().memory)
        told = journal.line(decision)
        flow_view.on_flow(flow, decision, told)
        if self._journal:
            self._journal.write(told)
        self._settled(decision)

    def _settled(self, decision: Decision) -> None:
        if any(tried.outcome not in ("ok", "request", "cancelled") for tried in decision.attempts):
            for socket in tuple(self._sockets.values()):
                socket.settled()

    def _in_flight(self) -> int:
        return len(self._under_way) + sum(socket.in_flight for socket in self._sockets.values())

    def _cut(self) -> None:
        for cord, flow in tuple(self._under_way.items()):
            self._close(flow, cord, _ENDED)
        for socket in self._sockets.values():
            socket.ended(_ENDED)

    def _alarm(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        cord = _cord(flow)
        shared = self._keeping is not None and self._keeping.shared
        if cord and shared and finding.victim == "unknown" and self._router().is_nameless(exchange):
            cord.naming.add(asyncio.get_running_loop().create_task(self._name(flow, exchange, finding)))
        else:
            self._tell(flow, exchange, finding)

    async def _name(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        """Ask the other instances whose id it is that *finding* is about, and say then what was found."""
        told = [finding]
        try:
            told = await self._named(exchange) or [finding] * self._router().is_nameless(exchange)
        except Exception as e:  # an alarm must not be lost
            logger.error("a victim could not be named: %s", type(e).__name__)
        for each in told:
            if each.strength == "proof":
                self._tell(flow, exchange, each)

    async def _named(self, exchange: Exchange) -> list[Finding]:
        """Return what is found in the answer to *exchange*, once the other instances have told whose ids are in it."""
        assert self._keeping is not None
        left = persistence.CATCH_UP
        for pause in (0.0, persistence.NEW):
            if pause:
                await asyncio.sleep(pause)
            left = await self._keeping.caught_up(left)
            named = self._router().settle(exchange, time.time())
            if named or not self._router().is_nameless(exchange):
                return named
        return []

    def _tell(self, flow: http.HTTPFlow, exchange: Exchange, finding: Finding) -> None:
        route = exchange.attempts[-1].route
        logger.critical(
            "%s event_type=crosstalk expected=%s received=%s where=%s session=%s account=%s victim=%s",
            route.request_id,
            finding.expected,
            finding.received,
            finding.where,
            exchange.identity.affinity or "none",
            route.account.id,
            finding.victim,
        )
        if self._aftermath:
            self._aftermath.alarmed(flow, finding, route.request_id, time.time())
            if finding.victim != "unknown" and self._aftermath.flow_of(finding.victim) is None:
                leak = Leak(finding.victim, route.request_id, finding.disputed)
                self._router().state.leak(leak, time.time())
                self._changed()

    def _guarded(self, flow: http.HTTPFlow, headers: Headers, endpoint: Endpoint, streams: bool) -> Refusal | None:
        """Say why *flow* is refused by its head alone, if it is. What the user replays is the user's own."""
        if flow.is_replay is not None:
            return None
        request, at = flow.request, flow.client_conn.sockname
        hosts = headers.all("host")
        together = ", ".join(hosts)
        called = {request.authority or together, *hosts} | (set() if request.is_http2 else {together})
        arrival = guards.Arrival(
            method=request.method,
            path=request.path,
            headers=headers,
            host=", ".join(sorted(called)),  # several names are none
            here=(request.host.lower(), *(at[:1] if at else ())),
            secure=flow.client_conn.tls,
            target=f"{request.host.lower()}:{request.port}" if _is_proxy(flow) else "",
        )
        refused = self._guards.refusal(arrival, endpoint)
        if refused and refused.code == "host_not_allowed" and _is_reverse(flow) and misdirected.is_absolute(request):
            return misdirected.no_proxy(flow.client_conn, refused.status, refused.code)
        return refused or (None if streams else self._guards.too_large(headers))

    def _lets_be(self, flow: http.HTTPFlow, headers: Headers, destination: Origin) -> bool:
        """Whether what is not ours passes: in regular mode it does, behind a reverse listener it is refused."""
        if other := self._router().config.other:
            return other == "pass"
        # At the host of an account the client's key may be its key for this proxy, which no provider may see.
        keyed = any(clients.presented(headers, flow.request.path))
        return not _is_reverse(flow) and not (keyed and self._router().has_account_at(destination))

    def _resolved(self, endpoint: Endpoint, flow: http.HTTPFlow, destination: Origin) -> Endpoint:
        request = flow.request
        return self._router().resolved(endpoint, request.path, request.headers, destination, _reverse(flow))

    def _router(self) -> Router:
        if self.router is None:
            raise RuntimeError("not configured")
        return self.router

    def _surroundings(self) -> DriverContext:
        if self._around is None:
            raise RuntimeError("not configured")
        return self._around


def _text_of(path: Path) -> bytes:
    """Return what the settings file at *path* holds. Raises OptionsError, which says where settings are looked for."""
    try:
        return environment.text_of(path)
    except (OSError, ValueError) as e:
        wrong = f"no file {path}" if isinstance(e, FileNotFoundError) else _told(e)
        where = f"settings are at --set {_OPTION}=…, $PATCHBAY_CONFIG or ./config.yaml"
        raise exceptions.OptionsError(f"patchbay: {secret_patterns.covered(wrong)}; {where}") from None


def _told(e: Exception) -> str:
    return f"{e.filename}: {e.strerror}" if isinstance(e, OSError) and e.filename and e.strerror else str(e)


def _cord(flow: http.HTTPFlow) -> ExchangeDriver | None:
    plugged = getattr(flow, "patchbay", None)
    return plugged if isinstance(plugged, ExchangeDriver) else None


async def _wait(cord: ExchangeDriver, until: float) -> bool:
    """Wait until it may be *cord*'s turn, or the clock says *until*; return False when the client left meanwhile."""
    cord.stirred.clear()
    if not cord.gone.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(cord.stirred.wait(), max(0.01, until - time.time()))
    return not cord.gone.is_set()


def _handler(flow: http.HTTPFlow) -> Any:
    return replay.handler(flow) or ctx.master.addons.get("proxyserver").connections.get(flow.client_conn.id)


def _hang_up(connection_id: str) -> None:
    handler = ctx.master.addons.get("proxyserver").connections.get(connection_id)
    found = handler.transports.get(handler.client) if handler else None
    if found and found.handler:
        found.handler.cancel("no request came in time")


def _speaks_http(client: connection.Client) -> bool:
    """Whether all that comes on the connection of *client* must begin with a request."""
    mode = client.proxy_mode
    if isinstance(mode, mode_specs.ReverseMode):
        return mode.scheme in ("http", "https")
    return isinstance(mode, mode_specs.RegularMode | mode_specs.UpstreamMode)


def _stop_reading(pause: upstream_stream.Pause) -> Callable[[], None]:
    """Read no more of the connection of *pause*; return what goes on with it."""
    handler = _handler(pause.flow)
    found = handler.transports.get(pause.connection) if handler and pause.connection else None
    transport = getattr(found.writer, "transport", None) if found else None
    if found is None or not isinstance(transport, asyncio.ReadTransport):
        return lambda: None
    if getattr(found.reader, "_paused", False):
        found.reader._paused = False  # it had stopped a quick upstream itself, and would go on at its next reading
    transport.pause_reading()
    return transport.resume_reading


def _wake(flow: http.HTTPFlow, timer: commands.RequestWakeup) -> None:
    _tell(_handler(flow), events.Wakeup(timer))


def _tell(handler: Any, event: events.Event) -> None:
    """Have *handler*, the connection of a client, look at *event*, if it is still there."""
    if handler:
        task = asyncio.get_running_loop().create_task(handler.server_event(event))
        _waking.add(task)
        task.add_done_callback(_waking.discard)


def _size(flow: http.HTTPFlow) -> int:
    """Return how many bytes of bodies *flow* holds."""
    return sum(len(message.raw_content or b"") for message in (flow.request, flow.response) if message)


def _is_reverse(flow: http.HTTPFlow) -> bool:
    return isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode)


def _is_proxy(flow: http.HTTPFlow) -> bool:
    return isinstance(flow.client_conn.proxy_mode, mode_specs.RegularMode | mode_specs.UpstreamMode)


def _reverse(flow: http.HTTPFlow) -> Origin | None:
    mode = flow.client_conn.proxy_mode
    if not isinstance(mode, mode_specs.ReverseMode):
        return None
    upstream = Origin(mode.scheme, mode.address[0].lower(), mode.address[1])
    return None if upstream_url.is_anywhere(upstream) else upstream


def _destination(flow: http.HTTPFlow) -> Origin:
    return Origin(flow.request.scheme, flow.request.host.lower(), flow.request.port)


def _address(flow: http.HTTPFlow, headers: Headers) -> str:
    """Return the address by which *flow*'s client reached this proxy; empty where it named the upstream itself."""
    if not _is_reverse(flow):
        return ""
    scheme = "https" if flow.client_conn.tls else "http"
    return answer_urls.address(headers, flow.request.authority, scheme)


def _from_loopback(flow: http.HTTPFlow) -> bool:
    return bool(flow.client_conn.peername) and is_loopback(flow.client_conn.peername[0])


def _is_private(name: bytes) -> bool:
    """Whether an answer's header is ours to say, or would tell a client whose account served it."""
    return name.startswith(b"x-patchbay-") or name in _REVEALING


def _without_private(headers: http.Headers) -> HeaderFields:
    """Return *headers* of an answer without what is ours to say, or tells whose account served it."""
    told = HeaderFields(headers.fields)
    told.drop(_is_private)
    return told


def _is_events(head: HeaderFields) -> bool:
    return head.first(b"content-type").startswith(b"text/event-stream") and b"content-encoding" not in head


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def _length(told: header_fields.HeaderFields) -> int:
    length = told.first(b"content-length")
    return int(length) if length.isdigit() else 0


def _local(flow: http.HTTPFlow, bare: str, destination: Origin) -> http.Response | None:
    """Answer what clients ask to see whether anybody is there, where there is no one upstream to ask."""
    if bare == "/" and flow.request.method in ("GET", "HEAD") and upstream_url.is_anywhere(destination):
        return http.Response.make(200, b"", {"content-type": "text/plain"})
    return None
