"""
What may go wrong with an answer: one function a fault, by name in `FAULTS`.

A fault is a coroutine function of the `Play` and its own settings. It replaces the play's reply, its script, or a part
of either. Several may hit one request; they run in the order of their rules, `echo` before all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from . import errors, render
from .packing import packer
from .play import Met, Play
from .reply import Reply, mint
from .steps import Close, Data, End, Pause, Raw, Reset, Script, Step, body_of, head_of

Fault = Callable[..., Awaitable[None]]
FOREVER = 3600.0
STRAY = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"stray":true}'


# --- errors in the provider's own words ------------------------------------------------------------------------------


async def status(
    play: Play,
    status: int | None = None,
    kind: str = "",
    message: str = "",
    code: str | None = None,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    body: Any = None,
) -> None:
    """Answer with an error. *kind* is a word of `errors.TROUBLES`; *body* replaces the dialect's own error document."""
    kind = kind or errors.kind_of(status or 500)
    number = status or errors.status_of(kind, play.dialect)
    fields = dict(headers)
    if retry_after is not None:
        fields["Retry-After"] = str(retry_after)
    echo = play.echoed()
    said = errors.error(play.dialect, kind, message, number, code, echo.error) if body is None else body
    play.script = render.document(said, number, echo, tuple(fields.items()))


async def stream_error(play: Play, kind: str = "overload", message: str = "", after: int = 0) -> None:
    """Answer 200, then say an error in the stream behind *after* events, and end. Buffered: the error under a 200."""
    error = errors.error(play.dialect, kind, message)
    if play.form != "sse":
        play.script = render.document(error, 200)
        return
    said = Data(render.failure(play.dialect, error, after, play.reply if after else None))
    play.script = (head_of(play.script), *_events(play)[:after], said, End())


async def quote_credential(play: Play, status: int = 401, header: str = "X-Debug-Key") -> None:
    """Answer with an error that quotes the credential, in its body and in *header*."""
    key = play.record.credential
    kind = errors.kind_of(status)
    error = errors.error(play.dialect, kind, f"Incorrect API key provided: {key}. Check your account page.", status)
    play.script = render.document(error, status, play.echoed(), ((header, key),))


# --- another request's answer ----------------------------------------------------------------------------------------


async def swap(
    play: Play, part: str = "all", size: int = 2, timeout: float = 20.0, alike: bool = True, room: str = ""
) -> None:
    """
    Hold the answers of *size* concurrent requests until all are there, then give each the next one's.

    *part*: `all`, `head`, `body`, `text` (another's words under one's own ids), or `reply` (all of another's answer
    under one's own ids, the settings that Responses repeats as well). Unless *alike* is off, only requests of one
    dialect and form meet. Who finds nobody within *timeout* seconds gets its own answer.
    """
    if play.failed:
        return
    key = (part, size, room, *(play.shape if alike else ()))
    everyone = await play.stage.meet(key, play, size, timeout)
    if not everyone:
        play.note("swap: nobody came")
        return
    at = next(n for n, met in enumerate(everyone) if met.seq == play.record.seq)
    _take(play, everyone[(at + 1) % len(everyone)], part)


async def shared_session(play: Play, timeout: float = 0.5, size: int = 2) -> None:
    """Mix up concurrent requests that name the same session (`X-Session-ID`, `session_id`), or none: per credential."""
    header = play.incoming.header
    room = header("x-session-id") or header("session_id") or "key " + play.record.credential
    await swap(play, size=size, timeout=timeout, room=room)


async def stale(play: Play, part: str = "all") -> None:
    """Give the answer that the previous request of the same shape should have had: everything is late by one."""
    if play.failed:
        return
    key = ("stale", part, *play.shape)
    before = play.stage.shelf.get(key)
    play.stage.put(key, play.met())
    if before:
        _take(play, before, part)


async def repeat(play: Play, new_id: bool = False) -> None:
    """Give every request of a shape the answer of the first one, under the same id or a *new_id*."""
    key = ("repeat", *play.shape)
    first, own = play.stage.shelf.get(key), play.reply
    if first is None:
        play.stage.put(key, play.met())
        return
    _take(play, first, "all")
    if new_id and own and first.reply:
        play.reply = replace(first.reply, answer_id=own.answer_id, item_id=own.item_id)


async def splice(play: Play, after: int = 2, timeout: float = 20.0, interleave: bool = False) -> None:
    """Go over to another's stream after *after* events, or take an event from each in turn."""
    everyone = await play.stage.meet(("splice", after, interleave, *play.shape), play, 2, timeout)
    other = next((met for met in everyone if met.seq != play.record.seq), None)
    if other is None:
        play.note("splice: nobody came")
        return
    mine, theirs = body_of(play.script), body_of(other.script)
    body = _interleaved(mine, theirs) if interleave else (*mine[:after], *theirs[after:])
    play.script = (head_of(play.script), *body)
    play.record.body_of = other.seq


def _take(play: Play, other: Met, part: str) -> None:
    record = play.record
    if part == "text":
        if play.reply and other.reply:
            play.reply = replace(play.reply, text=other.reply.text, tool=other.reply.tool)
            record.text_of = other.seq
        return
    if part == "reply":
        if play.reply and other.reply:
            own = play.reply
            play.reply = replace(other.reply, answer_id=own.answer_id, item_id=own.item_id, echoed=own.echoed)
            record.text_of = other.seq
        return
    mine, theirs = play.script, other.script
    head = theirs if part in ("all", "head") else mine
    body = theirs if part in ("all", "body") else mine
    play.script = (head_of(head), *body_of(body))
    record.head_of = other.seq if head is theirs else record.seq
    record.body_of = record.text_of = other.seq if body is theirs else record.seq


def _interleaved(mine: Script, theirs: Script) -> Script:
    mixed: list[Step] = []
    for pair in zip(mine[:-1], theirs[:-1], strict=False):
        mixed += pair
    return (*mixed, End())


# --- what the answer says of itself ----------------------------------------------------------------------------------


async def echo(play: Play, mode: str = "none") -> None:
    """Give ids back in another way than this provider usually does."""
    play.echo = mode


async def wrong_model(play: Play, model: str = "another-model") -> None:
    """Name another model than the one that was asked for."""
    _change(play, model=model)


async def foreign_id(play: Play, value: str = "", part: str = "all") -> None:
    """Give back a request id that nobody sent, in the header, the body or both (*part*)."""
    strange = value or mint("req-", f"foreign {play.record.seq}", 32)
    _change_echo(play, lambda _: strange, part)


async def mangle_id(play: Play, how: str = "cut", part: str = "all") -> None:
    """Give our request id back damaged: `cut`, `case`, `nibble` (position 14, as Envoy does) or `space`."""
    ways: dict[str, Callable[[str], str]] = {
        "cut": lambda value: value[: len(value) // 2],
        "case": str.upper,
        "nibble": lambda value: value[:14] + ("a" if value[14:15] != "a" else "9") + value[15:],
        "space": lambda value: value + " ",
    }
    _change_echo(play, ways[how], part)


async def strip_id(play: Play) -> None:
    """Leave the answer's own id out of its body."""
    _change(play, answer_id="")


async def answer_id(play: Play, value: str) -> None:
    """Give the answer this id, so that two answers may share one."""
    _change(play, answer_id=value)


async def per_chunk_ids(play: Play) -> None:
    """Give every event of a stream an id of its own, as old llama.cpp did."""
    mine = play.reply.answer_id.encode() if play.reply else b""
    fresh = (mint("chatcmpl-", f"{play.record.seq}:{n}", 24).encode() for n in range(1_000_000))
    play.script = tuple(
        Data(step.data.replace(mine, next(fresh))) if isinstance(step, Data) and mine else step for step in play.script
    )


async def other_dialect(play: Play, dialect: str = "") -> None:
    """Answer in another dialect than was asked in."""
    if play.reply:
        other = dialect or ("anthropic" if play.record.dialect != "anthropic" else "chat")
        asked = replace(play.reply.asked, dialect=other)
        play.script = render.answer(replace(play.reply, asked=asked), "json" if play.form == "json" else "sse")


async def old(play: Play, seconds: float = 3600.0) -> None:
    """Say that the answer was made *seconds* ago."""
    if play.reply:
        _change(play, created=play.reply.created - int(seconds))


async def other_tool(play: Play, name: str = "never_offered") -> None:
    """Call a tool by another name than was offered."""
    if play.reply and play.reply.tool:
        _change(play, tool=replace(play.reply.tool, name=name))


async def other_usage(play: Play, prompt: int = 7, completion: int = 3) -> None:
    """Count other tokens than were spent."""
    if play.reply:
        _change(play, usage=replace(play.reply.usage, prompt=prompt, completion=completion))


async def blank_first(play: Play) -> None:
    """Begin a chat stream as Azure does: a frame with empty ids and no choices."""
    blank = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    play.script = (head_of(play.script), Data(render.event("chat", "", blank)), *body_of(play.script))


async def fields(play: Play, headers: Mapping[str, str]) -> None:
    """Add header fields: rate limit numbers, cookies, cache marks."""
    head = head_of(play.script)
    play.script = (replace(head, headers=(*head.headers, *headers.items())), *body_of(play.script))


def _change(play: Play, **values: Any) -> None:
    if play.reply:
        play.reply = replace(play.reply, **values)


def _change_echo(play: Play, change: Callable[[str], str], part: str) -> None:
    reply: Reply | None = play.reply
    if reply is None:
        return
    echoed = reply.echoed
    if part in ("all", "head"):
        echoed = replace(echoed, headers=tuple((name, change(value)) for name, value in echoed.headers))
    if part in ("all", "body") and echoed.body:
        echoed = replace(echoed, body=change(echoed.body))
    play.reply = replace(reply, echoed=echoed)


# --- the wire --------------------------------------------------------------------------------------------------------


async def reset_head(play: Play) -> None:
    """Reset before the first byte."""
    play.script = (Reset(),)


async def close_head(play: Play) -> None:
    """Close without a byte, politely."""
    play.script = (Close(),)


async def reset_body(play: Play, after: int = 2, polite: bool = False) -> None:
    """Break off after *after* pieces of the body; a buffered answer is cut in the middle of its bytes."""
    pieces = _events(play)
    if len(pieces) == 1:
        data = pieces[0].data
        pieces = [Data(data[: len(data) // 2]), Data(data[len(data) // 2 :])]
        after = 1
    # The pause lets the pieces leave: a reset throws away what the kernel still holds.
    broken: Script = (*pieces[:after], Pause(0.05), Close() if polite else Reset(), *pieces[after:])
    play.script = (head_of(play.script), *broken)


async def empty(play: Play) -> None:
    """Send a good head and no body at all."""
    play.script = (head_of(play.script), End())


async def cut(play: Play, leave: int = -1) -> None:
    """End a stream as if it were complete, without its last events (the *leave* first ones are sent)."""
    play.script = (head_of(play.script), *_events(play)[:leave], End())


async def twice(play: Play) -> None:
    """Send the last event of a stream twice."""
    pieces = _events(play)
    play.script = (head_of(play.script), *pieces, pieces[-1], End())


async def delay_head(play: Play, seconds: float = 1.0) -> None:
    """Wait before the head."""
    play.script = (Pause(seconds), *play.script)


async def delay_body(play: Play, seconds: float = 1.0) -> None:
    """Send the head, then wait before the body."""
    play.script = (head_of(play.script), Pause(seconds), *body_of(play.script))


async def delay_events(play: Play, seconds: float = 0.05) -> None:
    """Wait before every piece of the body."""
    play.script = tuple(part for step in play.script for part in _after_pause(step, seconds))


async def hang(play: Play, after: int | None = None) -> None:
    """Say nothing for an hour: before the head, or after *after* pieces of the body."""
    if after is None:
        play.script = (Pause(FOREVER), *play.script)
    else:
        body = body_of(play.script)
        play.script = (head_of(play.script), *body[:after], Pause(FOREVER), *body[after:])


async def split(play: Play, at: int = 1, seconds: float = 0.0) -> None:
    """Cut the body into pieces of *at* bytes, each in a write (chunk, frame) of its own, *seconds* apart."""
    pieces = [
        Data(step.data[start : start + at])
        for step in play.script
        if isinstance(step, Data)
        for start in range(0, len(step.data), at)
    ]
    apart = tuple(part for piece in pieces for part in (piece, Pause(seconds)))
    play.script = (head_of(play.script), *apart, End())


async def join(play: Play) -> None:
    """Send the whole body in one write."""
    whole = b"".join(piece.data for piece in _events(play))
    play.script = (head_of(play.script), Data(whole), End())


async def unsolicited(play: Play, data: str = "", seconds: float = 0.05) -> None:
    """After the answer, while the connection is idle, send an answer nobody asked for."""
    play.script = (*play.script, Pause(seconds), Raw(data.encode() or STRAY))


async def close_after(play: Play, seconds: float = 0.0) -> None:
    """Close the connection after the answer, without having said so."""
    play.script = (*play.script, Pause(seconds), Close())


async def head_in_body(play: Play, after: int = 1) -> None:
    """Let the head of another HTTP answer appear inside the body."""
    stray = Data(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    body = body_of(play.script)
    play.script = (head_of(play.script), *body[:after], stray, *body[after:])


async def compress(play: Play, coding: str = "gzip") -> None:
    """Send the body with *coding* (gzip, br or zstd), piece by piece, whether that was asked for or not."""
    head = head_of(play.script)
    pack, finish = packer(coding)
    packed = [Data(pack(piece.data)) for piece in _events(play)]
    headers = (*head.headers, ("Content-Encoding", coding))
    play.script = (replace(head, headers=headers), *packed, Data(finish()), End())


async def slow(play: Play, seconds: float = 1.0) -> None:
    """Think for *seconds* before anything else happens; faults behind this one wait too."""
    await asyncio.sleep(seconds)


def _events(play: Play) -> list[Data]:
    return [step for step in play.script if isinstance(step, Data)]


def _after_pause(step: Step, seconds: float) -> tuple[Step, ...]:
    return (Pause(seconds), step) if isinstance(step, Data) else (step,)


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        *(status, stream_error, quote_credential),
        *(swap, shared_session, stale, repeat, splice),
        *(echo, wrong_model, foreign_id, mangle_id, strip_id, answer_id, blank_first, fields),
        *(per_chunk_ids, other_dialect, old, other_tool, other_usage),
        *(reset_head, close_head, reset_body, empty, cut, twice),
        *(delay_head, delay_body, delay_events, hang, split, join, slow),
        *(unsolicited, close_after, head_in_body, compress),
    )
}
