"""The listener: accepts connections, plain or TLS, and knows which are open."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from pathlib import Path

from .exchange import Handler
from .link import Link


class Server:
    """
    Serves *handler* on *host*:*port* (0: any free port) between `start` and `stop`.

    *tls* is a context, or the path of a PEM file with certificate and key, or a pair of such files.
    """

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | str | Path | tuple[str | Path, str | Path] | None = None,
        *,
        http2: bool = True,
    ) -> None:
        self.host = host
        self.port = port
        self.links: set[Link] = set()
        self.accepted = 0
        self._handler = handler
        self._tls = tls if tls is None or isinstance(tls, ssl.SSLContext) else _context(tls, http2=http2)
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Return scheme, host and port, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self.host, self.port, ssl=self._tls, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            for link in tuple(self.links):
                link.transport.abort()
            await asyncio.sleep(0)
            self._server = None

    def _accept(self) -> Link:
        self.accepted += 1
        return Link(next(self._numbers), self._handler, self.links)


def _context(files: str | Path | tuple[str | Path, str | Path], *, http2: bool) -> ssl.SSLContext:
    certificate, key = files if isinstance(files, tuple) else (files, None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context
