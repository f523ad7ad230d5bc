"""mitmproxy options that have another default with us: this machine only, and no upstream connection before a route."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

from mitmproxy import ctx, http, optmanager
from mitmproxy.connection import Client
from mitmproxy.net.http import url
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

logger = logging.getLogger(__name__)

_GLANCE = 0.005  # seconds between two looks at the start of mitmproxy
_COLLECT_AFTER = 10_000  # objects more than before
LISTEN_HOST = "127.0.0.1"
_OURS = {
    "listen_host": LISTEN_HOST,
    # eager opens a connection to wherever the client points, before anybody was asked
    "connection_strategy": "lazy",
    # by which name a client called us: what tells a page that was led here by a name of its owner's
    "keep_host_header": True,
}
_changed: set[str] = set()  # what we set; this module outlives a reload of the addon
_tasks: set[asyncio.Task[None]] = set()


def apply() -> None:
    """Set our defaults for what the user left alone. To be called while the addon loads."""
    ours = {name: value for name, value in _OURS.items() if ctx.options._options[name].value is optmanager.unset}
    ctx.options.update(**ours)
    _changed.update(ours)
    if "listen_host" in ours:
        _call_back()


def untouched(request: http.Request, mode: ProxyMode) -> None:
    """Name the upstream in a request that passes behind a reverse listener, as mitmproxy itself would."""
    if isinstance(mode, ReverseMode) and "keep_host_header" in _changed and ctx.options.keep_host_header:
        request.host_header = url.hostport(request.scheme, request.host, request.port)


def settle() -> None:
    """Let the garbage collector leave alone what was loaded. To be called when the addon is ready."""
    # it lives as long as the process, and to go through it again and again was an eighth of the work
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


async def hold_back(client: Client) -> None:
    """Let *client* wait until mitmproxy has started; with --listen-host it can connect before any script is loaded."""
    if not _is_starting():
        return
    await _started()
    if _has_left(client):
        client.error = "The client left before mitmproxy had started."  # mitmproxy fails where it reads the end at once


def listen() -> None:
    """Open the listeners that are not open, where they should be, once mitmproxy has started."""
    for server in ctx.master.addons.get("proxyserver").servers:
        if not server.is_running or _is_elsewhere(server):
            task = asyncio.get_running_loop().create_task(_listen(server))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)


async def _started() -> None:
    while _is_starting():
        await asyncio.sleep(_GLANCE)


def _is_starting() -> bool:
    """Whether not all of mitmproxy's addons run, or an error in the log would end it."""
    check = ctx.master.addons.get("errorcheck")
    return check is not None and check.logger in logging.getLogger().handlers


def _has_left(client: Client) -> bool:
    handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
    io = handler and handler.transports.get(client)
    reader = io and io.reader
    return isinstance(reader, asyncio.StreamReader) and (reader.at_eof() or reader.exception() is not None)


def _call_back() -> None:
    # mitmproxy opens its listeners while it loads scripts: by now they are about to take every interface
    for task in asyncio.all_tasks():
        if task.get_name().startswith("setup_servers"):
            task.cancel()


def _is_elsewhere(server: ServerInstance[ProxyMode]) -> bool:
    if server.mode.custom_listen_host is not None or ctx.options.listen_host != LISTEN_HOST:
        return False
    return any(address[0] in ("", "0.0.0.0", "::") for address in server.listen_addrs)  # noqa: S104 - looked for


async def _listen(server: ServerInstance[ProxyMode]) -> None:
    await _started()
    try:
        if server.is_running:
            await server.stop()
        await server.start()
    except OSError as e:
        logger.error("%s", e)
        asyncio.get_running_loop().call_soon(sys.exit, 1)
