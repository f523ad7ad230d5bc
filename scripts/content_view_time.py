"""How long pages of 5 MB take in the content view, as a share of the time of mitmproxy's own JSON view."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from mitmproxy import contentviews, http
from mitmproxy.test import tflow

from tests.transcript.samples import request_of

SIZE = 5_000_000  # bytes
WANTED = 0.5
PATHS = {
    "anthropic": "/v1/messages",
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "gemini": "/v1beta/models/m:generateContent",
}
_HISTORIES = {"openai_responses": "input", "gemini": "contents"}


def measured(size: int = SIZE, rounds: int = 5) -> bool:
    """Print the share of each shape in each dialect; return whether all are as wanted."""
    shares = {}
    for shape, make in SHAPES.items():
        row = {dialect: share(PATHS[dialect], make(dialect, size), rounds) for dialect in PATHS}
        shares[shape] = row
        print(f"{shape:28}", *(f"{dialect} {value:.2f}" for dialect, value in row.items()), sep="  ", flush=True)
    return all(value < WANTED for row in shares.values() for value in row.values())


def share(path: str, body: bytes, rounds: int) -> float:
    """Return the time of the page of the request *body*, as a share of that of the JSON view: both in turns."""
    flow = tflow.tflow()
    flow.request.method, flow.request.path, flow.request.content = "POST", path, body
    taken: dict[str, list[float]] = {"conversation": [], "json": []}
    for _ in range(rounds):
        for view, seconds in taken.items():
            seconds.append(seconds_of(flow.request, flow, view))
    return median(taken["conversation"]) / median(taken["json"])


def seconds_of(message: http.Message, flow: http.HTTPFlow, view: str) -> float:
    """Return the processor's seconds for the page of *message* in *view*."""
    at = time.process_time()
    contentviews.prettify_message(message, flow, view)
    return time.process_time() - at


def _said(text: str, dialect: str) -> Any:
    if dialect == "gemini":
        return {"role": "user", "parts": [{"text": text}]}
    return {"role": "user", "content": text}


def _called(dialect: str, at: int, arguments: Any) -> Any:
    text, name = json.dumps(arguments), f"call-{at}"
    match dialect:
        case "gemini":
            return {"role": "model", "parts": [{"functionCall": {"name": "f", "args": arguments}}]}
        case "anthropic":
            use = {"type": "tool_use", "id": name, "name": "f", "input": arguments}
            return {"role": "assistant", "content": [use]}
        case "openai_chat":
            call = {"id": name, "type": "function", "function": {"name": "f", "arguments": text}}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"type": "function_call", "call_id": name, "name": "f", "arguments": text}


def _request(dialect: str, turns: list[Any], **more: Any) -> bytes:
    return json.dumps({"model": "m", _HISTORIES.get(dialect, "messages"): turns, **more}).encode()


def _messages(words: int) -> Callable[[str, int], bytes]:
    return lambda dialect, size: request_of(dialect, size, words)


def _one(dialect: str, size: int) -> bytes:
    return _request(dialect, [_said("some words of a text\n" * (size // 21), dialect)])


def _line(dialect: str, size: int) -> bytes:
    return _request(dialect, [_said("é" + "x" * size, dialect)])


def _calls(dialect: str, size: int) -> bytes:
    return _request(dialect, [_called(dialect, at, {"path": f"{at}.py", "n": at}) for at in range(size // 110)])


def _one_turn_of_calls(dialect: str, size: int) -> bytes:
    turns = [_called(dialect, at, {"path": f"{at}.py", "n": at}) for at in range(size // 110)]
    for name in ("content", "parts", "tool_calls"):
        if isinstance(turns[0].get(name), list):
            turns = [{**turns[0], name: [part for turn in turns for part in turn[name]]}]
    return _request(dialect, turns)


def _deep(dialect: str, size: int) -> bytes:
    value: Any = "w" * 40
    for _ in range(200):
        value = {"a": [value]}
    return _request(dialect, [_called(dialect, at, value) for at in range(size // (len(json.dumps(value)) + 100))])


def _wide(dialect: str, size: int) -> bytes:
    return _request(dialect, [_called(dialect, 0, {f"member-{at}": [at, {"b": "c"}] for at in range(size // 32)})])


def _tools(dialect: str, size: int) -> bytes:
    schema = {"type": "object", "properties": {"path": {"type": "string", "description": "a path " * 20}}}
    tools = [_offered(dialect, f"tool-{at}", schema) for at in range(size // 300)]
    return _request(dialect, [_said("a question", dialect)], tools=tools)


def _offered(dialect: str, name: str, schema: Any) -> Any:
    match dialect:
        case "gemini":
            return {"functionDeclarations": [{"name": name, "description": "does", "parameters": schema}]}
        case "anthropic":
            return {"name": name, "description": "does", "input_schema": schema}
        case "openai_chat":
            return {"type": "function", "function": {"name": name, "description": "does", "parameters": schema}}
    return {"type": "function", "name": name, "description": "does", "parameters": schema}


def _picture(dialect: str, size: int) -> bytes:
    data = "QUJD" * (size // 4)
    match dialect:
        case "gemini":
            return _request(
                dialect, [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]
            )
        case "anthropic":
            source = {"type": "base64", "media_type": "image/png", "data": data}
            part: Any = {"type": "image", "source": source}
        case "openai_chat":
            part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        case _:
            part = {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}
    return _request(dialect, [{"role": "user", "content": [part]}])


def _settings(dialect: str, size: int) -> bytes:
    return _request(dialect, [_said("a question", dialect)], metadata={f"m{at}": f"v{at}" for at in range(size // 20)})


SHAPES: Mapping[str, Callable[[str, int], bytes]] = {
    "messages of 50 bytes": _messages(8),
    "messages of 250 bytes": _messages(40),
    "messages of 1 kB": _messages(160),
    "messages of 10 kB": _messages(1600),
    "one message": _one,
    "one line": _line,
    "calls": _calls,
    "calls in one turn": _one_turn_of_calls,
    "deep arguments": _deep,
    "wide arguments": _wide,
    "tools": _tools,
    "a picture": _picture,
    "settings": _settings,
}
