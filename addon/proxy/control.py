"""
The control socket of this proxy: commands from the same user's other processes, for as long as it runs.

Bounded in what a peer can send and hold: the length of a line, the number of connections, the time for each step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from . import control_socket
from .control_socket import LONGEST_LINE, ControlAnswer, ControlCommand, ControlFailed

logger = logging.getLogger(__name__)

CONNECTIONS = 16
IDLE = 60.0  # seconds a connection may be silent
WORK = 10.0  # seconds until a command is answered, and until the peer has taken the answer
_BUSY = ControlAnswer(ok=False, error="too many processes ask this proxy at once; ask again")
_STRANGER = ControlAnswer(ok=False, error="only the user that runs this proxy may ask it")
_TOO_LONG = ControlAnswer(ok=False, error=f"a command is one line of at most {LONGEST_LINE} bytes")
_UNREADABLE = ControlAnswer(ok=False, error='a command is one line of JSON: {"command": "status", "arguments": []}')
_TOO_SLOW = ControlAnswer(ok=False, error=f"the command was not done within {WORK:g} seconds")


class ControlServer:
    """
    Listens in a state folder; `run` carries out a command and returns what is encoded as its result.

    `run` raises ControlFailed to refuse. *scrub* covers what must not stand in an answer.
    """

    def __init__(
        self, run: Callable[[str, tuple[str, ...]], Awaitable[object]], scrub: Callable[[bytes], bytes]
    ) -> None:
        self._run = run
        self._scrub = scrub
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._idle: dict[asyncio.Task[None], None] = {}  # those that wait for a command, the longest first

    async def start(self, folder: Path, env: Mapping[str, str]) -> None:
        """Listen from now on. A socket that cannot be made is logged: the proxy serves without it."""
        try:
            found = control_socket.listening(folder, env, os.getpid())
            if found is None:
                return
            opened, self._path = found
            self._server = await asyncio.start_unix_server(self._accept, sock=opened, limit=LONGEST_LINE)
        except OSError as e:
            logger.warning(
                "patchbay: %s, so `patchbay status` finds no proxy: %s", control_socket.NO_SOCKET, e.strerror or e
            )

    def stop(self) -> None:
        """Listen no more, and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._connections):
            task.cancel()
        if self._path is not None:
            control_socket.remove(self._path)
            self._path = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        if len(self._connections) > CONNECTIONS and self._idle:
            next(iter(self._idle)).cancel()  # each holds a descriptor, and silent ones would keep all others out
        try:
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                await self._serve(task, reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            self._idle[task] = None
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE)
            except ValueError:  # longer than the reader's limit
                await self._send(writer, _TOO_LONG)
                return
            finally:
                self._idle.pop(task, None)
            if not line:
                return
            if refusal := self._refusal(writer):  # a peer whose line is not read would not read why
                await self._send(writer, refusal)
                return
            await self._send(writer, await self._answer(line))

    def _refusal(self, writer: asyncio.StreamWriter) -> ControlAnswer | None:
        if not _is_same_user(writer):
            return _STRANGER
        return _BUSY if len(self._connections) > CONNECTIONS else None

    async def _answer(self, line: bytes) -> ControlAnswer:
        try:
            asked = msgspec.json.decode(line, type=ControlCommand)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return _UNREADABLE
        try:
            return ControlAnswer(
                ok=True, result=await asyncio.wait_for(self._run(asked.command, asked.arguments), WORK)
            )
        except ControlFailed as e:
            return ControlAnswer(ok=False, error=str(e))
        except TimeoutError:
            return _TOO_SLOW
        except Exception as e:  # its message may quote anything
            logger.warning("patchbay: a command failed: %s", type(e).__name__, exc_info=_debugs())
            return ControlAnswer(ok=False, error=f"the command failed in the proxy ({type(e).__name__}); see its log")

    async def _send(self, writer: asyncio.StreamWriter, answer: ControlAnswer) -> None:
        writer.write(self._scrub(_encoded(answer)) + b"\n")
        await asyncio.wait_for(writer.drain(), WORK)


def _encoded(answer: ControlAnswer) -> bytes:
    try:
        return msgspec.json.encode(answer)
    except Exception as e:  # a text that is no Unicode, say; the peer is to learn that nothing comes
        logger.warning("patchbay: an answer could not be written: %s", type(e).__name__, exc_info=_debugs())
        return msgspec.json.encode(ControlAnswer(ok=False, error=f"the answer cannot be written ({type(e).__name__})"))


def _debugs() -> bool:
    return logger.isEnabledFor(logging.DEBUG)


def _is_same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer is this user, or root; where the system does not tell, the socket's mode has decided."""
    peer = writer.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or peer is None:
        return True
    _, user, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return user in (0, os.geteuid())
