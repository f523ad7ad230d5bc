"""From a reply, a document or an error to the script that puts it on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .dialects import DIALECTS
from .reply import Echoed, Reply
from .steps import Data, End, Head, Script

_NAMED = frozenset({"responses", "anthropic", "interactions"})  # dialects whose events have an `event:` line
_NOTHING = Echoed()


def document(
    value: Any, status: int = 200, echo: Echoed = _NOTHING, fields: tuple[tuple[str, str], ...] = ()
) -> Script:
    """Return the script of a buffered JSON answer."""
    if isinstance(value, dict) and echo.body:
        value = {**value, "request_id": echo.body}
    headers = (("Content-Type", "application/json"), *echo.headers, *fields)
    return Head(status, headers), Data(_json(value)), End()


def answer(reply: Reply, form: str) -> Script:
    """Return the script of *reply*: `json`, `sse` or `array` (Gemini's stream without `alt=sse`)."""
    dialect = DIALECTS[reply.asked.dialect]
    if form == "json":
        return document({**dialect.whole(reply), **reply.extra}, echo=reply.echoed)
    events = [(name, _with_echo(value, at, reply)) for at, (name, value) in enumerate(dialect.events(reply))]
    if form == "array":
        return _array([value for _, value in events], reply)
    headers = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"))
    data = (Data(event(reply.asked.dialect, name, value)) for name, value in events)
    return Head(200, headers + reply.echoed.headers, sized=False), *data, End()


def event(dialect: str, name: str, value: Any) -> bytes:
    """Return one server-sent event as *dialect* writes it. Literal text stands for itself."""
    text = value.encode() if isinstance(value, str) else _json(value)
    if dialect == "gemini":
        return b"data: " + text + b"\r\n\r\n"
    line = f"event: {name}\n".encode() if dialect in _NAMED and name else b""
    return line + b"data: " + text + b"\n\n"


def failure(dialect: str, error: Mapping[str, Any], number: int, reply: Reply | None) -> bytes:
    """Return the event that says *error* in a running stream of *dialect*."""
    return event(dialect, *DIALECTS[dialect].failure(error, number, reply))


def _with_echo(value: Any, at: int, reply: Reply) -> Any:
    if not isinstance(value, dict) or not reply.echoed.body or (at and not reply.echoed.every):
        return value
    return {**value, "request_id": reply.echoed.body}


def _array(values: list[Any], reply: Reply) -> Script:
    headers = (("Content-Type", "application/json; charset=UTF-8"), *reply.echoed.headers)
    data = [Data((b"[" if at == 0 else b",\r\n") + _json(value)) for at, value in enumerate(values)]
    return Head(200, headers, sized=False), *data, Data(b"]"), End()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
