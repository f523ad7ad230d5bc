"""Requests to the wrong kind of listener, or by a base URL with a doubled version, and what to use instead."""

from __future__ import annotations

import logging

from mitmproxy import connection, http
from mitmproxy.proxy import mode_specs

from .. import secret_patterns, upstream_url
from ..values.decision import Refusal
from ..values.http import Endpoint, Origin, is_loopback

logger = logging.getLogger(__name__)

_UNSPECIFIED = frozenset(("0.0.0.0", "::"))  # noqa: S104 - a client that connects to it reaches this machine
MAX_TOLD = 100  # different warnings, so that no client fills the log


def address(client: connection.Client) -> str:
    """Return the URL of the listener that *client* is connected to."""
    host, port = client.sockname[:2] if client.sockname else ("127.0.0.1", 0)
    return f"{'https' if client.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def no_proxy(client: connection.Client, status: int = 405, code: str = "not_a_proxy") -> Refusal:
    """Refuse a request that uses a reverse listener as an HTTP proxy."""
    here = address(client)
    return Refusal(
        status,
        code,
        f"{here} is no HTTP proxy but takes the place of a provider (--mode reverse:…): set it as the tool's base URL "
        "and take it out of HTTPS_PROXY and HTTP_PROXY, or start Patchbay with --mode regular",
    )


def no_base_url(flow: http.HTTPFlow, destination: Origin) -> Refusal | None:
    """Refuse *flow* if it uses an HTTP proxy as its base URL, and so would be sent back here."""
    client = flow.client_conn
    mode = client.proxy_mode
    if not isinstance(mode, mode_specs.RegularMode | mode_specs.UpstreamMode) or not client.sockname:
        return None
    host, port = client.sockname[:2]
    this_machine = is_loopback(destination.host) or destination.host in _UNSPECIFIED
    if destination.port != port or not (
        destination.host == host or (this_machine and is_loopback(host)) or _is_for_a_server(flow)
    ):
        return None
    here = address(client)
    return Refusal(
        400,
        "not_a_base_url",
        f"{here} is an HTTP proxy (--mode {mode.type_name}) and no provider: set HTTPS_PROXY={here} for the tool and "
        f"leave its base URL alone, or start Patchbay with --mode reverse:http://{upstream_url.ANYWHERE} to use {here} "
        "as the base URL",
    )


def _is_for_a_server(flow: http.HTTPFlow) -> bool:
    """Whether *flow*'s client speaks to a server, not to a proxy: it names a path only, and has asked for no tunnel."""
    return not flow.request.data.authority and flow.server_conn.address is None


def tls_to_plain(client: connection.Client) -> str:
    """Return what is wrong where *client* could not agree on TLS with a listener that takes none; empty: nothing."""
    mode = client.proxy_mode
    if not isinstance(mode, mode_specs.ReverseMode) or mode.scheme != "http" or not client.sockname:
        return ""
    here = address(client)
    return (
        f"a tool speaks TLS to {here.replace('https:', 'http:', 1)} and does not trust the certificate that it gets: "
        "its base URL begins with https://, use http://"
    )


def is_absolute(request: http.Request) -> bool:
    """Whether *request* names a whole URL, as requests to a proxy do."""
    return bool(request.data.authority) and not (request.is_http2 or request.is_http3)


class Warnings:
    """Warnings about tools, each logged once."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, message: str) -> None:
        """Log *message*, unless it has been told already."""
        if message not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(message)
            logger.warning("patchbay: %s", secret_patterns.covered(message))

    def tell_path(self, client: connection.Client, bare: str, endpoint: Endpoint) -> None:
        """Log that the path *bare* has its version twice, if it does."""
        if endpoint.dialect and (once := upstream_url.once(bare)) != bare:
            doubled = bare[: -len(endpoint.suffix)] if bare.endswith(endpoint.suffix) else "/v1/v1"
            self.tell(
                f"a tool asks for {doubled}…: its base URL ends in a version that it adds itself; use "
                f"{address(client)} as the base URL (it is served as {once[: len(once) - len(bare) + len(doubled)]}…)"
            )
