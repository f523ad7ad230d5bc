"""One request on its way to an answer: what faults see and change."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import render
from .echo import echoed
from .exchange import Incoming
from .reply import Echoed, Reply
from .steps import Script, head_of
from .truth import Record


class Play:
    """
    The answer in the making. A fault reads and replaces *reply* (what is said), then *script* (how it is sent).

    Neither exists before somebody asks: an error that replaces the answer leaves the simulated cache untouched.
    """

    def __init__(self, incoming: Incoming, document: Mapping[str, Any], record: Record, stage: Stage) -> None:
        self.incoming = incoming
        self.document = document
        self.record = record
        self.stage = stage
        self.echo = "none"
        self.every = True
        self.form = "json"
        self.compose: Callable[[Play], Reply | Script] | None = None
        self._reply: Reply | None = None
        self._script: Script | None = None

    @property
    def dialect(self) -> str:
        """Return the dialect in which errors are said here."""
        return self.record.dialect or "chat"

    @property
    def shape(self) -> tuple[str, str]:
        """Return what two answers must have in common for a swap to go unseen by a parser."""
        return self.record.dialect, self.form

    @property
    def reply(self) -> Reply | None:
        """Return the reply; None where the answer is no generation, or was replaced by an error."""
        self._ensure()
        return self._reply

    @reply.setter
    def reply(self, reply: Reply) -> None:
        self._reply, self._script = reply, render.answer(reply, self.form)

    @property
    def script(self) -> Script:
        """Return the script."""
        self._ensure()
        assert self._script is not None
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script

    @property
    def failed(self) -> bool:
        """Whether the answer, as it stands, is an error."""
        return head_of(self.script).status >= 400

    def met(self) -> Met:
        """Return the answer as it stands, for those who are given it in place of their own."""
        return Met(self.record.seq, self.script, self.reply)

    def echoed(self) -> Echoed:
        """Return the ids that the answer gives back under the play's echo mode."""
        seed = f"{self.record.seq}"
        return echoed(self.echo, self.incoming, self.document, self.record.dialect, seed, self.every)

    def note(self, text: str) -> None:
        """Write *text* beside the faults of the record."""
        self.record.faults.append(text)

    def _ensure(self) -> None:
        if self._script is None and self.compose is not None:
            made = self.compose(self)
            if isinstance(made, Reply):
                self.reply = made
            else:
                self._script = made


@dataclass(frozen=True, slots=True)
class Met:
    """What one request leaves with those it met: its answer as it was before anyone exchanged anything."""

    seq: int
    script: Script
    reply: Reply | None


@dataclass(slots=True)
class _Room:
    inside: list[tuple[Met, asyncio.Future[list[Met]]]] = field(default_factory=list)


class Stage:
    """What requests share: rooms in which they wait for one another, and a shelf of the last answers of each shape."""

    def __init__(self, shelf: int = 256) -> None:
        self._rooms: dict[Any, _Room] = {}
        self.shelf: OrderedDict[Any, Met] = OrderedDict()
        self._limit = shelf

    async def meet(self, key: Any, play: Play, size: int, timeout: float) -> list[Met]:
        """
        Wait until *size* requests are in the room *key*; return all of them, in order of arrival.

        Returns an empty list when *timeout* seconds pass first. Who goes away while waiting leaves the room.
        """
        room = self._rooms.setdefault(key, _Room())
        me = (play.met(), asyncio.get_running_loop().create_future())
        room.inside.append(me)
        if len(room.inside) >= size:
            del self._rooms[key]
            everyone = [met for met, _ in room.inside]
            for _, waiting in room.inside:
                if not waiting.done():
                    waiting.set_result(everyone)
        try:
            return await asyncio.wait_for(asyncio.shield(me[1]), timeout)
        except TimeoutError:
            return []
        finally:
            if not me[1].done():
                room.inside.remove(me)

    def put(self, key: Any, met: Met) -> None:
        """Put *met* on the shelf; the oldest leaves when there is no room."""
        self.shelf[key] = met
        while len(self.shelf) > self._limit:
            self.shelf.popitem(last=False)

    def clear(self) -> None:
        """Empty the shelf. Those who wait go on waiting."""
        self.shelf.clear()
