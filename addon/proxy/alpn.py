"""Which HTTP a client gets that offers several: mitmproxy asks the upstream first, with us there is none yet."""

from __future__ import annotations

from collections import OrderedDict

from mitmproxy import ctx
from mitmproxy.connection import Server
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.tls import ClientHelloData

from .. import upstream_url
from ..values.http import Origin

REMEMBERED = 1000  # upstreams


class Upstreams:
    """The upstreams that were offered HTTP/2 and took HTTP/1; a client may as well speak that with us."""

    def __init__(self) -> None:
        self._http1: OrderedDict[tuple[str, int], None] = OrderedDict()

    def connected(self, server: Server) -> None:
        """Take note of what *server* has chosen."""
        if server.address is None or b"h2" not in server.alpn_offers:
            return
        self._http1.pop(server.address, None)
        if server.alpn != b"h2":
            self._http1[server.address] = None
            if len(self._http1) > REMEMBERED:
                self._http1.popitem(last=False)

    def greeted(self, hello: ClientHelloData) -> None:
        """Choose HTTP/2 for a client that offers it, where its upstream may speak that; else its first offer holds."""
        client, address = hello.context.client, hello.context.server.address
        # with `eager`, mitmproxy has asked the upstream by the time it answers
        asks = ctx.options.connection_strategy != "eager" and ctx.options.http2
        if asks and b"h2" in hello.client_hello.alpn_protocols and address and not _is_anywhere(client.proxy_mode):
            client.alpn = None if address in self._http1 else b"h2"


def _is_anywhere(mode: object) -> bool:
    if not isinstance(mode, ReverseMode):
        return False
    return upstream_url.is_anywhere(Origin(mode.scheme, mode.address[0].lower(), mode.address[1]))
