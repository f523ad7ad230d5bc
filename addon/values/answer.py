"""An upstream's answer: its events, the reactions of the router, and the facts in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .account import Depth
from .http import Headers


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an upstream's answer; *early*: it came before the request had gone up."""

    status: int
    headers: Headers
    early: bool = False


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer's body, as it came (content-encoding still on)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a WebSocket, as the upstream sent it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The upstream finished its answer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """
    The upstream could not be reached, or broke off. *kind*: connect | reset | lost | timeout.

    `lost`: the connection ended, and other requests that shared it may be the reason. *counted*: it was told before of
    another request on the same connection.
    """

    kind: str
    message: str
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """The answer has been held back as long as it may be."""


AnswerEvent = Head | Chunk | Message | End | Failure | Overdue
Reaction = Literal["deliver", "hold", "next", "cut"]


@dataclass(frozen=True, slots=True)
class Fact:
    """
    One statement of an answer about itself.

    *kind*: `id` (the provider's id of the answer), `echo` (a value in a place where a request id may come back),
    `model`, `usage`, `content` (the first semantic event), `text`, `tool`, `error`, `created`, `end`, `malformed` ….
    *where* names the place (`header x-request-id`, `body request_id`); *depth* grades its writer.
    """

    kind: str
    value: object = None
    where: str = ""
    depth: Depth = "none"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them. *prompt* includes what was read from its cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
