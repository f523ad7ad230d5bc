"""What the terminal says as JSON, one object a line: `event` and `time` (seconds since 1970), then what happened."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from ..accounts.changes import AccountChange, Rest
from ..values.decision import Decision, Refusal, session_name
from . import terminal_lines
from .terminal_text import clean

JsonLine = dict[str, Any]
_encoder = msgspec.json.Encoder()


def encoded(event: JsonLine) -> str:
    """Return *event* as one line; what a terminal would obey, or is no Unicode, stands in it as an escape."""
    with contextlib.suppress(UnicodeEncodeError):
        line = _encoder.encode(event).decode()
        if line.isprintable():
            return line
    return json.dumps(event).replace("\x7f", "\\u007f")


def exchange(decision: Decision, at: float) -> JsonLine:
    """Return the event of an exchange that was over *at* that time. Members of the journal have its names."""
    return {
        "event": "exchange",
        "time": round(at, 3),
        "tool": clean(decision.tool),
        "session": session_name(decision.session),
        "account": clean(decision.account),
        "binding": terminal_lines.binding_word(decision),
        "moved_from": clean(decision.moved_from),
        "moved_because": clean(decision.moved_because, spaces=True),
        "method": decision.method,
        "path": clean(decision.path),
        "model": clean(decision.model),
        "status": decision.status,
        "error": clean(decision.error, spaces=True),
        "reason": terminal_lines.reason(decision),
        "tokens": msgspec.to_builtins(decision.tokens),
        "first_byte_seconds": decision.first_byte_seconds,
        "duration_seconds": decision.duration_seconds,
        "verdict": decision.verdict,
        "exchange": decision.exchange,
        "request_id": decision.request_id,
        "mode": decision.mode,
    }


def refused(tool: str, method: str, path: str, refusal: Refusal, at: float) -> JsonLine:
    """Return the event of a request that was refused before it became an exchange."""
    return {
        "event": "refused",
        "time": round(at, 3),
        "tool": clean(tool),
        "method": clean(method),
        "path": clean(path),
        "status": refusal.status,
        "error": refusal.code,
        "reason": terminal_lines.SAID.get(refusal.code, refusal.code),
    }


def account_changed(change: AccountChange, at: float) -> JsonLine:
    """Return the event of *change*."""
    event: JsonLine = {
        "event": "account",
        "time": round(at, 3),
        "account": clean(change.account),
        "change": change.kind,
    }
    if change.rest:
        event |= rest_members(change.rest)
    if change.kind == "rests":
        event |= {"conversations": change.conversations, "move": change.move}
    if change.kind == "back" and change.rest:
        event["rested_seconds"] = round(at - change.rest.since, 1)
    return event | ({"because": change.because} if change.because else {})


def rest_members(rest: Rest) -> JsonLine:
    """Return the members that say why and until when an account rests."""
    return {
        "models": [clean(lane) for lane in rest.lanes],
        "cause": rest.cause,
        "reason": clean(rest.reason, spaces=True),
        "until": round(rest.until, 3),
        "retry_after": None if rest.stated is None else round(rest.stated, 1),
    }


def started(version: str, addresses: Iterable[str], mode: str, at: float) -> JsonLine:
    """Return the event of the start."""
    return {"event": "start", "time": round(at, 3), "version": version, "addresses": [*addresses], "mode": mode}


def account_stands(account: str, state: str, rest: Rest | None, reason: str, at: float) -> JsonLine:
    """Return the event that says at the start how *account* stands: `ready`, `rests`, `disabled`, `no_key`."""
    event: JsonLine = {"event": "account", "time": round(at, 3), "account": clean(account), "change": state}
    return event | (rest_members(rest) if rest else {"reason": clean(reason, spaces=True)} if reason else {})


def connect(tool: str, command: str, at: float) -> JsonLine:
    """Return the event that says how *tool* is started behind this proxy."""
    return {"event": "connect", "time": round(at, 3), "tool": tool, "command": command}


def logged(level: str, message: str, at: float) -> JsonLine:
    """Return the event of a record of the log."""
    return {"event": "log", "time": round(at, 3), "level": level, "message": message}


def dropped(lines: int, at: float) -> JsonLine:
    """Return the event that says how many lines were dropped."""
    return {"event": "dropped", "time": round(at, 3), "lines": lines}
