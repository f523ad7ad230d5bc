"""
The provider: takes a request, finds out whose it is and what it asks, composes the answer, lets faults happen to it,
sends it, and writes down the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import h2.exceptions
import h11

from . import echo, render, resources, seals
from .asking import Asked, Mistake, Turn
from .cache import PromptCache
from .control import control
from .diagnosis import Binds, Care, Diagnoses, Threads
from .dialects import DIALECTS
from .exchange import Exchange, Incoming
from .keys import credentials
from .manners import Counts, Manners, Repeats
from .play import Play, Stage
from .reply import Reply, Usage, call, completion_tokens, mint, speak
from .responses_store import ResponsesStore, Stored
from .routes import Route, route, split
from .rules import Rules
from .steps import Head, Script, data_of, head_of, perform
from .things import Things
from .truth import Record, Truth
from .websocket import is_upgrade

CONTROL = "/__sim"
_CONTINUES = {"responses": "previous_response_id", "interactions": "previous_interaction_id"}  # the stored ones


@dataclass(frozen=True, slots=True)
class Setup:
    """
    How this provider is.

    *keys*: credential → account. Without *require_key* any or no key will do, and an unknown key is an account by its
    own name. *serves*: the models an account may use, where that is limited. *rejects*: members of a body that are an
    error, as strict providers have it. *every*: whether `request_id` stands in every event of a stream or in the first.
    *care*: how well it compares a request with the one before, *binds*: how well it knows whose reasoning it is,
    *threads*: whether it goes on with a thread whose members are others,
    *counts*: how it counts tokens, *repeats*: which metadata it gives back. *records* is how many requests the truth
    holds; *bodies* whether with their bodies, which may be large.
    """

    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    echo: str = "none"
    every: bool = True
    require_key: bool = True
    models: Sequence[str] = ("sim-large", "sim-small")
    serves: Mapping[str, Collection[str]] = field(default_factory=dict)
    rejects: Collection[str] = ()
    words: int = 12
    seed: int = 0
    cache_ttl: float = 300.0
    cache_least: int = 0
    care: Care = "right"
    binds: Binds = "right"
    threads: Threads = "right"
    counts: Counts = "right"
    repeats: Repeats = "right"
    records: int = 100_000
    bodies: bool = True
    clock: Callable[[], float] = time.time


class Provider:
    """Handles exchanges. *truth* is what happened, *rules* what is to go wrong; both may be used at any time."""

    def __init__(self, setup: Setup) -> None:
        echo.words_of(setup.echo)
        self.setup = setup
        self.echo = setup.echo
        self.truth = Truth(setup.records)
        self.rules = Rules(setup.seed)
        self.stage = Stage()
        self.cache = PromptCache(setup.cache_ttl, setup.cache_least)
        self.stored = ResponsesStore()
        self.things = Things()
        self.diagnoses = Diagnoses(setup.care, setup.binds, setup.threads)
        self.manners = Manners(setup.counts, setup.repeats)

    async def __call__(self, exchange: Exchange) -> None:
        path, _ = split(exchange.incoming.target)
        if path.startswith(CONTROL):
            await perform(control(self, exchange.incoming), exchange)
            return
        play = self._play(exchange.incoming)
        try:
            await self._answer(play, exchange)
        except asyncio.CancelledError:
            if play.record.ended in ("", "complete"):  # else it was we who went away
                play.record.ended = "cancelled"
            raise
        except (h11.LocalProtocolError, h2.exceptions.H2Error):
            play.record.ended = "broken"
            with contextlib.suppress(h2.exceptions.H2Error):
                await exchange.reset()
        except Exception as error:
            play.record.ended = f"bug: {error!r}"
            raise
        finally:
            play.record.finished = self.setup.clock()

    def reset(self) -> None:
        """Forget everything: rules, records, caches, stored things. The echo mode is the constructed one again."""
        self.echo = self.setup.echo
        self.rules.clear()
        self.truth.clear()
        self.stage.clear()
        self.cache.clear()
        self.stored.clear()
        self.things.clear()
        self.diagnoses.clear()
        self.manners.clear()

    async def _answer(self, play: Play, exchange: Exchange) -> None:
        for rule in self.rules.striking(play.record):
            await rule.apply(play)
        script = play.script
        heads = any(isinstance(step, Head) for step in script)
        play.record.status = head_of(script).status if heads else None
        play.record.sent_digest = hashlib.sha256(data_of(script)).hexdigest()
        await perform(script, exchange, play.record.end)
        play.record.ended = play.record.ended or "open"

    def _play(self, incoming: Incoming) -> Play:
        path, query = split(incoming.target)
        document, readable = _document(incoming)
        way = route(incoming.method, path, query, bool(incoming.header("anthropic-version")))
        record = self._record(incoming, path, query, way)
        record.received_id = next((value for value in echo.received_id(incoming, document) if value), "")
        self.truth.add(record)
        play = Play(incoming, document, record, self.stage)
        play.echo, play.every = self.echo, self.setup.every
        try:
            play.compose = self._composer(play, way, readable)
        except Mistake as mistake:
            play.compose = _refusing(mistake)
        return play

    def _record(self, incoming: Incoming, path: str, query: str, way: Route) -> Record:
        found = credentials(incoming, query)
        known = [(form, value) for form, value in found if value in self.setup.keys]
        form, value = (known or found or [("", "")])[0]
        return Record(
            self.truth.number(),
            incoming.method,
            path,
            query,
            incoming.headers,
            incoming.body if self.setup.bodies else b"",
            incoming.http,
            incoming.connection,
            incoming.stream,
            self.setup.clock(),
            value,
            form,
            self.setup.keys.get(value, "" if self.setup.require_key else value),
            way.dialect,
        )

    def _composer(self, play: Play, way: Route, readable: bool) -> Callable[[Play], Reply | Script]:
        """Return what composes the answer when it is wanted. Raises Mistake for what deserves an error."""
        if way.purpose == "health":
            return lambda play: render.document({"status": "ok"}, echo=play.echoed())
        if way.purpose != "other":
            self._check_key(play.record)
        if way.purpose == "socket" and is_upgrade(play.incoming):
            return lambda play: (Head(101, sized=False),)
        if way.purpose not in ("generate", "count"):
            return lambda play: resources.answer(self, play, way)
        if not readable:
            raise Mistake("We could not parse the JSON body of your request.")
        asked = self._asked(play, way)
        if way.purpose == "count":
            return lambda play: resources.count(play, asked)
        return lambda play: self._reply(play, asked)

    def _check_key(self, record: Record) -> None:
        if self.setup.require_key and not record.account:
            shown = f"{record.credential[:4]}***" if record.credential else "none"
            raise Mistake(f"Incorrect API key provided: {shown}.", "auth")

    def _asked(self, play: Play, way: Route) -> Asked:
        for name in self.setup.rejects:
            if name in play.document:
                raise Mistake(f"Unrecognized request argument supplied: {name}")
        document: Mapping[str, Any] = play.document
        if way.dialect == "gemini" and isinstance(document.get("generateContentRequest"), dict):
            document = document["generateContentRequest"]
        asked = DIALECTS[way.dialect].read(document, way.model, way.stream)
        asked = self._continued(asked, play.record.account)
        self._check_model(asked, play.record.account)
        record = play.record
        record.model, record.streaming, record.mark = asked.model, asked.stream, asked.mark
        play.form = "array" if way.array else "sse" if asked.stream else "json"
        return asked

    def _continued(self, asked: Asked, account: str) -> Asked:
        if asked.dialect == "anthropic":
            return self._threaded(asked, account)
        previous = asked.document.get(_CONTINUES[asked.dialect]) if asked.dialect in _CONTINUES else None
        if asked.dialect == "responses":
            seals.check(asked.document, account)
        self.things.check(asked.document, account)
        if not previous:
            return asked
        stored = self.stored.find(str(previous), account)
        if stored is None:
            message = f"Previous response with id '{previous}' not found."
            raise Mistake(message, code=f"{_CONTINUES[asked.dialect].removesuffix('_id')}_not_found")
        return replace(asked, turns=stored.turns + asked.turns)

    def _threaded(self, asked: Asked, account: str) -> Asked:
        """Put what the server holds of a message thread before the new messages; a thread lives with its account."""
        thread = asked.document.get("thread")
        if not isinstance(thread, dict) or thread.get("type") != "continue":
            return asked
        stored = self.stored.find(str(thread.get("previous_message_id")), account)
        if stored is None:
            message = "No usable Thread state was found for `previous_message_id`."
            raise Mistake(message, "model", status=404, code="thread_not_found")
        if differing := self.diagnoses.differing(asked.document, account):
            message = f"This thread cannot be continued: differing field(s): {', '.join(differing)}."
            raise Mistake(message, status=400, code="thread_fingerprint_mismatch")
        return replace(asked, turns=stored.turns + asked.turns)

    def _check_model(self, asked: Asked, account: str) -> None:
        if not asked.model:
            raise Mistake("you must provide a model parameter")
        if account in self.setup.serves and asked.model not in self.setup.serves[account]:
            raise Mistake(f"The model `{asked.model}` does not exist or you do not have access to it.", "model")

    def _reply(self, play: Play, asked: Asked) -> Reply:
        record, dialect = play.record, DIALECTS[asked.dialect]
        seed = f"{self.setup.seed}:{record.seq}:"
        now = self.setup.clock()
        text, stop = speak(asked, self.setup.words)
        tool = call(asked, dialect.TOOL_ID, seed)
        prompt, cached, written = self.cache.serve(record.account, asked.model, asked.turns, now)
        usage = self.manners.usage(Usage(prompt, cached, written, completion_tokens(text, tool)), asked)
        minted = mint(dialect.ANSWER_ID, seed + "answer", 29 if asked.dialect == "chat" else 23)
        identity = echo.answer_id(play.echo, play.incoming, play.document, minted)
        item = mint("fc_" if tool else "msg_", seed + "item", 40)
        sealed = seals.seal(record.account, seed) if seals.wanted(asked.document) else ""
        told = self.diagnoses.told(asked, record.account)
        said, record.metadata_of = self.manners.metadata(asked, record.seq)
        reply = Reply(said, identity, item, asked.model, text, int(now), usage, tool, stop, sealed, play.echoed())
        reply = replace(reply, told=told)
        self.diagnoses.keep(identity, record.account, asked, sealed)
        _write_down(record, reply)
        self._store(reply, record.account)
        return reply

    def _store(self, reply: Reply, account: str) -> None:
        asked = reply.asked
        kept = asked.dialect in _CONTINUES and asked.document.get("store") is not False
        if kept or (asked.dialect == "anthropic" and asked.document.get("thread")):
            said = Turn("assistant", reply.text)
            document = DIALECTS[asked.dialect].whole(reply)
            if reply.echoed.body:
                document["request_id"] = reply.echoed.body
            self.stored.keep(reply.answer_id, Stored(account, document, (*asked.turns, said)))


def _write_down(record: Record, reply: Reply) -> None:
    record.answer_id, record.text = reply.answer_id, reply.text
    record.item_id = reply.item_id if reply.asked.dialect == "responses" else ""
    record.tool_id = reply.tool.call_id if reply.tool else ""
    record.prompt_tokens, record.cached_tokens = reply.usage.prompt, reply.usage.cached
    record.completion_tokens = reply.usage.completion


def _refusing(mistake: Mistake) -> Callable[[Play], Script]:
    return lambda play: resources.refuse(play, mistake)


def _document(incoming: Incoming) -> tuple[dict[str, Any], bool]:
    """Return the body as a JSON object, and whether it is one."""
    try:
        value = json.loads(_decoded(incoming))
    except (ValueError, OSError, EOFError, zlib.error, RecursionError):
        return {}, False
    return (value, True) if isinstance(value, dict) else ({}, False)


def _decoded(incoming: Incoming) -> bytes:
    match incoming.header("content-encoding").lower():
        case "gzip" | "x-gzip":
            return gzip.decompress(incoming.body)
        case "deflate":
            return zlib.decompress(incoming.body)
        case _:
            return incoming.body
