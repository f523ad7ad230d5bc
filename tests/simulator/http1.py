"""HTTP/1.1 on one connection: keep-alive, chunked bodies, 100-continue, one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import h11

from .exchange import Exchange, Fields, Incoming
from .websocket import Session

if TYPE_CHECKING:
    from .link import Link

MAX_HEAD = 1 << 20  # Claude Code's and Codex's heads are far above h11's default of 16 kB at times


class Http1:
    """Reads requests from *link* and answers each before it reads the next."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.conn = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._wake = asyncio.Event()
        self._session: Session | None = None
        self._task = link.spawn(self._run())

    def receive(self, data: bytes) -> None:
        if self._session is not None:
            self._session.receive(data)
            return
        self.conn.receive_data(data)
        self._wake.set()

    def lost(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        try:
            while not self.link.closing and (incoming := await self._request()):
                await self.link.handler(_Exchange(self, incoming))
                if self._session is not None:
                    await self._session.run()
                    break
                if self.link.closing or self.conn.our_state is not h11.DONE:
                    break
                if self.conn.their_state is not h11.DONE:
                    break
                self.conn.start_next_cycle()
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
        finally:
            if not self.link.closing:
                self.link.close()

    async def _request(self) -> Incoming | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _incoming(head, bytes(body), self.link.number)
            else:
                return None

    async def _event(self) -> Any:
        while True:
            event = self.conn.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.conn.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._wake.clear()
            await self._wake.wait()

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers = [("content-length", "0"), ("connection", "close")]
            await self.send(h11.Response(status_code=error.error_status_hint, headers=headers))
            await self.send(h11.EndOfMessage())

    async def upgrade(self, incoming: Incoming) -> None:
        """Accept the WebSocket that *incoming* asks for."""
        session = Session(self.link, incoming, self.link.handler)
        await self.send(h11.InformationalResponse(status_code=101, headers=session.headers()))
        self._session = session
        if early := self.conn.trailing_data[0]:
            session.receive(early)

    async def send(self, event: Any) -> None:
        """Put *event* on the wire."""
        await self.link.write(self.conn.send(event) or b"")


def _incoming(head: h11.Request, body: bytes, connection: int) -> Incoming:
    fields = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers.raw_items())
    version = head.http_version.decode()
    return Incoming(head.method.decode(), head.target.decode("latin-1"), fields, body, version, connection)


class _Exchange(Exchange):
    def __init__(self, speaker: Http1, incoming: Incoming) -> None:
        super().__init__(incoming)
        self._speaker = speaker
        self._link = speaker.link

    async def send_head(self, status: int, headers: Fields) -> None:
        if status == 101:
            await self._speaker.upgrade(self.incoming)
            return
        if not self._link.closing:
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            await self._speaker.send(h11.Response(status_code=status, headers=raw))

    async def send_data(self, data: bytes) -> None:
        if data and self.incoming.method != "HEAD" and not self._link.closing:
            await self._speaker.send(h11.Data(data=data))

    async def end(self) -> None:
        if self._link.closing:
            return
        try:
            await self._speaker.send(h11.EndOfMessage())
        except h11.LocalProtocolError:  # fewer bytes than were promised: all that is left is to close
            self._link.close()

    async def reset(self) -> None:
        self._link.abort()

    async def close(self) -> None:
        self._link.close()

    async def send_raw(self, data: bytes) -> None:
        await self._link.write(data)

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self._link.spawn(work)
