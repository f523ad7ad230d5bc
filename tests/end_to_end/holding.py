"""Faults of the simulator that last until a test says so: no time has to be guessed for what happens meanwhile."""

from __future__ import annotations

from threading import Event

from ..simulator.play import Play
from ..simulator.steps import Until, body_of, head_of


async def held(play: Play, until: Event) -> None:
    """Give no answer before something has happened."""
    play.script = (Until(until), *play.script)


async def held_inside(play: Play, until: Event, after: int = 2) -> None:
    """Stop behind the head and *after* pieces of the body before something has happened."""
    body = body_of(play.script)
    play.script = (head_of(play.script), *body[:after], Until(until), *body[after:])
