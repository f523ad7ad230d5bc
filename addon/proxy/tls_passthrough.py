"""
Which tunnels are decrypted, and how many upstream connections a client gets.

Only connections to the configured providers are decrypted, in shadow mode without an account all of them. The rest
passes as it is, so that the client sees the TLS handshake of its server and needs no certificate of mitmproxy's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator

from mitmproxy import ctx, http
from mitmproxy.connection import Client
from mitmproxy.proxy import context, layer, mode_specs
from mitmproxy.proxy.layers import TCPLayer, UDPLayer
from mitmproxy.proxy.layers.http import HttpStream

from .. import upstream_url
from ..settings.settings import Config
from ..values.http import Origin
from . import upstream_layer
from .client_connections import handler_of, proxyserver

logger = logging.getLogger(__name__)

# mitmproxy allows five upstream connections at a time to each address for one client connection. An HTTP/2 client puts
# all it does on one, and where the provider speaks HTTP/1 each of its streams needs a connection of its own.
UPSTREAM_CONNECTIONS = 256  # to one address: more than the 100 streams of a client and its idle connections
_HTTP = frozenset(("http", "https", "http3"))  # what a reverse listener may be for
_PROXIES = (mode_specs.RegularMode, mode_specs.UpstreamMode)


def ours(config: Config, address: tuple[str, int] | None) -> bool:
    """Whether *address* is that of an enabled account's provider; without one, shadow observes every host."""
    if address is None or config.looks:
        return address is not None
    host, port = address[0].lower(), address[1]
    return any(
        account.enabled and account.origin and (account.origin.host, account.origin.port) == (host, port)
        for account in config.accounts
    )


def next_layer(decided: layer.NextLayer, config: Config) -> None:
    """Decide what reads the bytes of *decided*: our stream, mitmproxy's choice, or nothing where none may pass."""
    if decide(decided, config):
        return
    ctx.master.addons.get("nextlayer").next_layer(decided)
    if passes_unread(decided, config):
        logger.info("patchbay: closed a connection to a provider: what it carries is not read as HTTP")
        decided.layer = upstream_layer.Closed(decided.context)
    if config.looks and isinstance(decided.layer, TCPLayer | UDPLayer):
        decided.layer.flow = None  # a credential among these bytes could not be told: they pass, and are not recorded
    upstream_layer.install(decided)


def decide(decided: layer.NextLayer, config: Config) -> bool:
    """Let a tunnel to another host pass, and return whether it does. Called before mitmproxy decides."""
    at = decided.context
    if decided.layer or not _in_tunnel(at) or ours(config, _address(at.server.address)):
        return False
    if config.other_traffic == "refuse":
        decided.layer = upstream_layer.Closed(at)
    else:
        decided.layer = TCPLayer(at, ignore=not ctx.options.show_ignored_hosts)
    return True


def passes_unread(decided: layer.NextLayer, config: Config) -> bool:
    """
    Whether bytes would pass unread to a configured provider, or through a reverse listener for HTTP.

    The client's own key may be among them. mitmproxy forwards bytes that are no HTTP, and those of a host in
    `ignore_hosts`, `allow_hosts` or `tcp_hosts`. Called when mitmproxy has decided.
    """
    if config.mode == "shadow" or not any(isinstance(each, TCPLayer | UDPLayer) for each in _decided(decided.layer)):
        return False
    mode = decided.context.client.proxy_mode
    reads = isinstance(mode, mode_specs.ReverseMode) and mode.scheme in _HTTP
    return reads or ours(config, _address(decided.context.server.address))


def _decided(found: layer.Layer | None) -> Iterator[layer.Layer]:
    while found is not None:
        yield found
        found = getattr(found, "child_layer", None)


def error_response(flow: http.HTTPFlow, config: Config) -> http.Response | None:
    """Return the refusal of the CONNECT of *flow* where the settings let no other traffic pass."""
    if config.other_traffic != "refuse" or ours(config, (flow.request.host, flow.request.port)):
        return None
    return http.Response.make(403, b"Patchbay lets nothing pass but LLM traffic (other_traffic: refuse)\n")


def warn(config: Config) -> None:
    """Warn of accounts on one port that only the name of a model could tell apart."""
    if not any(_is_anywhere(server.mode) for server in proxyserver().servers):
        return
    for family, accounts in upstream_url.mixed(config.accounts).items():
        logger.warning(
            "patchbay: on one port, %s serve every %s model, so any of them may get any conversation;"
            " say in `models` what each has",
            " and ".join(accounts),
            family,
        )


def widen(client: Client) -> None:
    """Allow *client* as many upstream connections as it has streams."""
    handler = handler_of(client.id)
    if handler is not None:
        handler.max_conns = defaultdict(lambda: asyncio.Semaphore(UPSTREAM_CONNECTIONS))


def _is_anywhere(mode: mode_specs.ProxyMode) -> bool:
    if not isinstance(mode, mode_specs.ReverseMode):
        return False
    return upstream_url.is_anywhere(Origin(mode.scheme, mode.address[0].lower(), mode.address[1]))


def _in_tunnel(at: context.Context) -> bool:
    if isinstance(at.client.proxy_mode, mode_specs.Socks5Mode):
        return True
    return isinstance(at.client.proxy_mode, _PROXIES) and any(isinstance(each, HttpStream) for each in at.layers)


def _address(address: tuple[object, ...] | None) -> tuple[str, int] | None:
    match address:
        case (str(host), int(port), *_):
            return host, port
    return None
