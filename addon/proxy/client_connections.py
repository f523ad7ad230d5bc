"""The connections of clients as mitmproxy's proxyserver keeps them: found, read no further, sent an event, closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mitmproxy import connection, ctx, http
from mitmproxy.proxy import commands, events, mode_specs

from . import replay, upstream_stream

_KINDS = {"reverse": "base", "regular": "proxy", "upstream": "proxy"}
_sending: set[asyncio.Task[None]] = set()  # the loop itself would forget them


def proxyserver() -> Any:
    """Return mitmproxy's own addon that listens for clients."""
    return ctx.master.addons.get("proxyserver")


def addresses(mode: mode_specs.ProxyMode | None = None) -> dict[str, str]:
    """
    Return the URLs of the open listeners, of *mode* if it is given, as a client on this machine uses them.

    Each has what it is to a client: `base` for a provider's base URL, `proxy` for an HTTP proxy, or nothing.
    """
    return {
        _url(str(address[0]), int(address[1])): _KINDS.get(server.mode.type_name, "")
        for server in proxyserver().servers
        for address in server.listen_addrs
        if mode is None or _is_alike(server.mode, mode)
    }


def handler_of(client_id: str) -> Any:
    """Return the handler of the connection *client_id*, None when the client has left."""
    return proxyserver().connections.get(client_id)


def transport_of(client_id: str, end: connection.Connection | None) -> Any:
    """Return the reader and writer of *end*, the client's or an upstream's, at the connection *client_id*; or None."""
    handler = handler_of(client_id)
    return handler.transports.get(end) if handler else None


def close_client(client_id: str, why: str = "no request came in time") -> None:
    """Close the connection *client_id*."""
    handler = handler_of(client_id)
    found = handler.transports.get(handler.client) if handler else None
    if found and found.handler:
        found.handler.cancel(why)


def speaks_http(client: connection.Client) -> bool:
    """Whether everything on the connection of *client* must begin with a request."""
    mode = client.proxy_mode
    if isinstance(mode, mode_specs.ReverseMode):
        return mode.scheme in ("http", "https")
    return isinstance(mode, mode_specs.RegularMode | mode_specs.UpstreamMode)


def stop_reading(pause: upstream_stream.Pause) -> Callable[[], None]:
    """Read no more from the upstream of *pause*; return a function that resumes."""
    handler = _handler(pause.flow)
    found = handler.transports.get(pause.connection) if handler and pause.connection else None
    transport = getattr(found.writer, "transport", None) if found else None
    if found is None or not isinstance(transport, asyncio.ReadTransport):
        return lambda: None
    if getattr(found.reader, "_paused", False):
        found.reader._paused = False  # asyncio's own pause for a full buffer, which would end at its next reading
    transport.pause_reading()
    return transport.resume_reading


def wake(flow: http.HTTPFlow, timer: commands.RequestWakeup) -> None:
    """Let the connection of *flow* know that *timer* is up."""
    send(_handler(flow), events.Wakeup(timer))


def send(handler: Any, event: events.Event) -> None:
    """Let *handler*, the connection of a client, handle *event*, unless it is gone (None)."""
    if handler:
        task = asyncio.get_running_loop().create_task(handler.server_event(event))
        _sending.add(task)
        task.add_done_callback(_sending.discard)


def _handler(flow: http.HTTPFlow) -> Any:
    return replay.handler(flow) or handler_of(flow.client_conn.id)


def _is_alike(one: mode_specs.ProxyMode, other: mode_specs.ProxyMode) -> bool:
    return (one.type_name, one.data) == (other.type_name, other.data)


def _url(host: str, port: int) -> str:
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - every interface
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
