"""mitmproxy options with another default here: this machine only, and no upstream connection before a lease."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mitmproxy import ctx, http, optmanager
from mitmproxy.connection import Client
from mitmproxy.net.http import url
from mitmproxy.proxy.mode_servers import ServerInstance
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from . import upstream_trust
from .client_connections import proxyserver, transport_of

logger = logging.getLogger(__name__)

_GLANCE = 0.005  # seconds between two checks whether mitmproxy has started
_COLLECT_AFTER = 10_000  # objects more than before
LISTEN_HOST = "127.0.0.1"
_DEFAULTS = {
    "listen_host": LISTEN_HOST,
    # eager opens a connection to the host the client names, before the request is checked
    "connection_strategy": "lazy",
    # the name in Host tells DNS rebinding from a client
    "keep_host_header": True,
    # of mitmweb: the comment begins with the account
    "web_columns": ["path", "status", "comment", "time"],
    # of mitmdump: each exchange has a line of ours
    "flow_detail": 0,
}
_TRUST = ("ssl_verify_upstream_trusted_ca", "ssl_verify_upstream_trusted_confdir")
_changed: set[str] = set()  # set here; this module outlives a reload of the addon
_tasks: set[asyncio.Task[None]] = set()


def apply(env: Mapping[str, str] = os.environ) -> None:
    """Set the defaults for options the user has not set. To be called while the addon loads."""
    ours = {name: value for name, value in _DEFAULTS.items() if _is_unset(name)}
    if all(map(_is_unset, _TRUST)):
        ours |= _trust(env)
    ctx.options.update(**ours)
    _changed.update(ours)
    if "listen_host" in ours:
        _call_back()


def _is_unset(name: str) -> bool:
    """Whether there is an option *name*, which the user has not set."""
    known = ctx.options._options
    return name in known and known[name].value is optmanager.unset


def _trust(env: Mapping[str, str]) -> dict[str, str]:
    """Return the option with which the CAs of this system and of *env* are trusted beside mitmproxy's."""
    folder = Path(ctx.options.confdir).expanduser()
    try:
        return {_TRUST[0]: str(upstream_trust.write(folder, env))}
    except OSError as e:
        told = "providers are trusted by mitmproxy's certificates alone, without this system's"
        logger.warning("patchbay: %s: %s: %s", told, e.filename or folder, e.strerror or e)
        return {}


def untouched(request: http.Request, mode: ProxyMode) -> None:
    """Name the upstream in a request that passes behind a reverse listener, as mitmproxy itself would."""
    if isinstance(mode, ReverseMode) and "keep_host_header" in _changed and ctx.options.keep_host_header:
        request.host_header = url.hostport(request.scheme, request.host, request.port)


def settle() -> None:
    """Exclude what was loaded from garbage collection. To be called when the addon is ready."""
    # it lives as long as the process; collecting it again and again was an eighth of the work
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


async def hold_back(client: Client) -> None:
    """Hold *client* until mitmproxy has started; with --listen-host it can connect before any script is loaded."""
    if not _is_starting():
        return
    await _started()
    if _has_left(client):
        client.error = "The client left before mitmproxy had started."  # mitmproxy fails where it reads the end at once


def listen() -> None:
    """Open the listeners that are closed, or are at the wrong address, once mitmproxy has started."""
    for server in proxyserver().servers:
        if not server.is_running or _is_elsewhere(server):
            task = asyncio.get_running_loop().create_task(_listen(server))
            _tasks.add(task)
            task.add_done_callback(_tasks.discard)


async def listening() -> None:
    """Wait until mitmproxy has started and `listen` has opened its listeners."""
    await _started()
    await asyncio.gather(*_tasks)


async def _started() -> None:
    while _is_starting():
        await asyncio.sleep(_GLANCE)


def _is_starting() -> bool:
    """Whether mitmproxy still starts: until then an error in the log ends it."""
    check = ctx.master.addons.get("errorcheck")
    return check is not None and check.logger in logging.getLogger().handlers


def _has_left(client: Client) -> bool:
    io = transport_of(client.id, client)
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
