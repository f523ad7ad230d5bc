"""
An answer as a script: the steps in which it goes over the wire.

A fault is most often a change to such a script: a step taken out, put in, cut in two or taken from someone else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Event

from .exchange import Exchange


@dataclass(frozen=True, slots=True)
class Head:
    """Status and fields. With *sized*, a content-length over all the `Data` of the script is added."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    sized: bool = True


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of the body: of a stream one event, of a buffered answer all of it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds of silence."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """Silence until a test says so."""

    event: Event


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes past the protocol, straight to the connection."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The protocol's end of the answer. Steps behind it run beside the connection, which is free for a next request."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break off rudely."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection politely, complete or not."""


Step = Head | Data | Pause | Until | Raw | End | Reset | Close
Script = tuple[Step, ...]


def head_of(script: Sequence[Step]) -> Head:
    """Return the script's head, or a plain one when it has none."""
    return next((step for step in script if isinstance(step, Head)), Head())


def body_of(script: Sequence[Step]) -> Script:
    """Return everything but the head."""
    return tuple(step for step in script if not isinstance(step, Head))


def data_of(script: Iterable[Step]) -> bytes:
    """Return the body's bytes in one piece."""
    return b"".join(step.data for step in script if isinstance(step, Data))


async def perform(script: Script, exchange: Exchange, ending: Callable[[str], None] = lambda _: None) -> None:
    """
    Carry *script* out.

    *ending* is told how it ends, `complete`, `reset` or `closed`, just before the client can see it. Of a script
    without an end it hears nothing.
    """
    for number, step in enumerate(script):
        match step:
            case Head(status, headers, sized):
                await exchange.send_head(status, _sized(headers, script) if sized else headers)
            case End() | Reset() | Close():
                ending(_ENDINGS[type(step)])
                await _finish(step, script[number + 1 :], exchange)
                return
            case Data() if isinstance(
                _step(script, number + 1), End
            ):  # with a content-length, this is where the client sees the end
                ending("complete")
                await _small(step, exchange)
            case _:
                await _small(step, exchange)


def _step(script: Script, number: int) -> Step | None:
    return script[number] if number < len(script) else None


_ENDINGS: dict[type[Step], str] = {End: "complete", Reset: "reset", Close: "closed"}


async def _finish(step: End | Reset | Close, rest: Script, exchange: Exchange) -> None:
    match step:
        case End():
            await exchange.end()
            if rest:
                exchange.later(_afterwards(rest, exchange))
        case Reset():
            await exchange.reset()
        case Close():
            await exchange.close()


async def _small(step: Step, exchange: Exchange) -> None:
    match step:
        case Data(data):
            await exchange.send_data(data)
        case Pause(seconds):
            await asyncio.sleep(seconds)
        case Until(event):
            while not event.is_set():
                await asyncio.sleep(0.005)
        case Raw(data):
            await exchange.send_raw(data)


async def _afterwards(script: Script, exchange: Exchange) -> None:
    for step in script:
        match step:
            case Reset():
                await exchange.reset()
            case Close():
                await exchange.close()
            case _:
                await _small(step, exchange)


def _sized(headers: tuple[tuple[str, str], ...], script: Script) -> tuple[tuple[str, str], ...]:
    return (*headers, ("content-length", str(len(data_of(script)))))
