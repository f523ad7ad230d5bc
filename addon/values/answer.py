"""An upstream's answer: its events, the router's reactions, and the facts that it states."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..frozen import dataclass
from .account import Depth
from .http import Headers


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an upstream's answer; *early*: it came before the request was sent completely."""

    status: int
    headers: Headers
    early: bool = False


class Chunk(Struct, frozen=True):
    """A piece of an answer's body as received, with its content coding."""

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
    The upstream could not be reached or ended the answer early.

    `lost`: the connection ended, perhaps because of another request on it. *counted*: health already counted this end
    for another request on the same connection.
    """

    kind: FailureKind
    message: str
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """The time for which an answer may be held back is over."""


FailureKind = Literal["connect", "reset", "lost", "timeout"]
AnswerEvent = Head | Chunk | Message | End | Failure | Overdue
Reaction = Literal["deliver", "hold", "next", "cut"]


class Fact(Struct, frozen=True):
    """
    One observation in an answer.

    *kind*: `id` (the provider's id of the answer), `echo` (a value in a place where a request id may come back),
    `model`, `usage`, `content` (the first semantic event), `text`, `tool`, `error`, `created`, `end`, `malformed` ….
    *where* names the place (`header x-request-id`, `body request_id`); *depth* is that of its writer.
    """

    kind: str
    value: object = None
    where: str = ""
    depth: Depth = "none"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them. *prompt* includes *cached*, those read from its cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_write: int = 0
