"""Responses over WebSocket: each `response.create` is answered as a request would be, in messages instead of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import wsproto
from wsproto.connection import Connection, ConnectionState
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.utilities import generate_accept_token, split_comma_header

from .exchange import Exchange, Fields, Handler, Incoming

if TYPE_CHECKING:
    from .link import Link


def is_upgrade(incoming: Incoming) -> bool:
    """Whether *incoming* asks for a WebSocket."""
    return incoming.method == "GET" and incoming.header("upgrade").lower() == "websocket"


class Session:
    """One WebSocket on *link*, after the upgrade *incoming* was accepted."""

    def __init__(self, link: Link, incoming: Incoming, handler: Handler) -> None:
        self._link = link
        self._incoming = incoming
        self._handler = handler
        self._deflate = _deflate(incoming)
        extensions: list[Extension] = [self._deflate[0]] if self._deflate else []
        self._conn = Connection(wsproto.ConnectionType.SERVER, extensions)
        self._wake = asyncio.Event()
        self._text = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the fields of the answer 101."""
        token = generate_accept_token(self._incoming.header("sec-websocket-key").encode())
        fields = [(b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"sec-websocket-accept", token)]
        if self._deflate:
            fields.append((b"sec-websocket-extensions", self._deflate[1].encode()))
        return fields

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._conn.receive_data(data)
        self._wake.set()

    async def run(self) -> None:
        """Answer messages one after the other until the socket is closed."""
        while True:
            for event in self._conn.events():
                match event:
                    case wsproto.events.TextMessage(data=data, message_finished=finished):
                        self._text += data
                        if finished:
                            text, self._text = self._text, ""
                            await self._message(text)
                    case wsproto.events.Ping() if self._conn.state is ConnectionState.OPEN:
                        await self._link.write(self._conn.send(event.response()))
                    case wsproto.events.CloseConnection():
                        if self._conn.state is not ConnectionState.CLOSED:
                            await self._link.write(self._conn.send(event.response()))
                        return
            self._wake.clear()
            await self._wake.wait()

    async def say(self, text: str) -> None:
        """Send one message."""
        if not self._link.closing and self._conn.state is ConnectionState.OPEN:
            await self._link.write(self._conn.send(wsproto.events.TextMessage(text)))

    async def close(self, *, rudely: bool = False) -> None:
        """End the socket."""
        if rudely:
            self._link.abort()
        elif self._conn.state is ConnectionState.OPEN:
            await self._link.write(self._conn.send(wsproto.events.CloseConnection(1001, "going away")))

    async def _message(self, text: str) -> None:
        asked = json.loads(text)
        if asked.get("type") != "response.create":
            return
        body = json.dumps({**asked, "stream": True}).encode()
        incoming = replace(self._incoming, method="POST", body=body, http="websocket")
        await self._handler(_Messages(incoming, self, self._link))


class _Messages(Exchange):
    """An answer whose events go out as messages."""

    def __init__(self, incoming: Incoming, session: Session, link: Link) -> None:
        super().__init__(incoming)
        self._session = session
        self._link = link
        self._status = 200
        self._rest = b""

    async def send_head(self, status: int, headers: Fields) -> None:
        self._status = status

    async def send_data(self, data: bytes) -> None:
        *events, self._rest = (self._rest + data).split(b"\n\n") if self._status < 400 else (self._rest + data,)
        for event in events:
            for line in event.split(b"\n"):
                if line.startswith(b"data: {"):
                    await self._session.say(line[6:].decode())

    async def end(self) -> None:
        if self._status >= 400:
            said = json.loads(self._rest or b"{}")
            await self._session.say(json.dumps({"type": "error", "status": self._status, **said}))

    async def reset(self) -> None:
        await self._session.close(rudely=True)

    async def close(self) -> None:
        await self._session.close()

    async def send_raw(self, data: bytes) -> None:
        await self._link.write(data)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self._link.spawn(work)


def _deflate(incoming: Incoming) -> tuple[PerMessageDeflate, str] | None:
    for offer in split_comma_header(incoming.header("sec-websocket-extensions").encode()):
        if offer.split(";")[0].strip() == PerMessageDeflate.name:
            deflate = PerMessageDeflate()
            accepted = deflate.accept(offer)
            if accepted is not None and accepted is not False:
                answer = f"{deflate.name}; {accepted}" if isinstance(accepted, str) and accepted else deflate.name
                return deflate, answer
    return None
