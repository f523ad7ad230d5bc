"""One request as it arrived, and the hand that answers it: whatever the HTTP version, down to the socket."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Incoming:
    """One request: header fields in wire order with the spelling of the wire, the body with its encoding still on."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    http: str
    connection: int
    stream: int = 0

    def header(self, name: str, default: str = "") -> str:
        """Return the first value of *name* (lower case), or *default*."""
        return next((value for field, value in self.headers if field.lower() == name), default)


class Exchange(ABC):
    """
    How a handler answers one request, or fails to.

    The handler is cancelled when the client goes away. What is sent after `reset` or `close` goes nowhere.
    """

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming

    @abstractmethod
    async def send_head(self, status: int, headers: Fields) -> None:
        """Send the head. Without a content-length among *headers* the body is chunked (HTTP/1) or framed (HTTP/2)."""

    @abstractmethod
    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body, in a chunk or frame of its own. Nothing is sent in answer to HEAD."""

    @abstractmethod
    async def end(self) -> None:
        """End the answer as the protocol says."""

    @abstractmethod
    async def reset(self) -> None:
        """Break off rudely: a TCP reset on HTTP/1, RST_STREAM on HTTP/2."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connection politely, whether the answer is complete or not."""

    @abstractmethod
    async def send_raw(self, data: bytes) -> None:
        """Write *data* straight to the connection, past the protocol."""

    @abstractmethod
    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* beside the connection, after the answer; it ends with the connection."""


Handler = Callable[[Exchange], Awaitable[None]]
