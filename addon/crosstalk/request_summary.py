"""The members of a request that its answer can be compared with, read from the body on demand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from blake3 import blake3

from .. import dialects
from ..body import Body, encoded
from ..values.http import Endpoint
from . import words
from .words import Words

_TOOLS = 4096  # names of one request
_RESULTS = 64  # turns at the end of a history that are looked at for results
_MEDIA = (b"base64", b"nlineData", b"nline_data", b"input_audio", b"file_id", b"ileUri", b"image_url", b"ile_url")
UNSEEN = 2048  # bytes at the end of a turn that are worth remembering
_LOOKED_AT = 65_536  # bytes of a history's end, for the beginning of its last turn
# Members near the beginning of a turn, or of a part; within a text, their quotes are escaped. They may end one too.
_BEGINNINGS = (b'"role"', b'"type"')
_ENDING = re.compile(rb'(?:,\s*"cache_control"\s*:\s*\{[^{}]*+\}|,\s*"role"\s*:\s*"\w+"|[\]}\s])*+\Z')
_SIGNATURE = re.compile(rb'"signature"\s*:\s*"([^"\\]+)"')  # within a text, the quotes are escaped
_OF_ENDING = 160  # bytes in which it lies
_FIELDS, _NAMED = 64, 64  # members that a kept conversation may hold, and characters of a name: a store has them too
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


class RequestSummary:
    """One request. *model* is the model that went up, which may differ from the client's."""

    __slots__ = ("_body", "_dialect", "_settings", "_tail", "_tools", "dialect", "model", "stream", "suffix")

    def __init__(self, endpoint: Endpoint, body: Body, model: str = "", stream: bool = False) -> None:
        self.dialect, self.suffix = endpoint.dialect, endpoint.suffix
        self.model, self.stream = model, stream
        self._body, self._dialect = body, dialects.of(endpoint.dialect)
        self._tools: frozenset[str] | None = None
        self._settings: dict[str, str] | None = None
        self._tail: Words | None = None

    @property
    def shape(self) -> str:
        """The shape of the answer, one of `dialects.SHAPES`; empty where several are possible."""
        return self._dialect.answer_shape(self.suffix)

    @property
    def size(self) -> int:
        """The bytes of the request's body."""
        return len(self._body.raw or b"")

    @property
    def settings(self) -> dict[str, str]:
        """The settings that answers in the dialect repeat."""
        if self._settings is None:
            self._settings = self._dialect.settings(self._body)
        return self._settings

    @property
    def tools(self) -> frozenset[str] | None:
        """The names of the offered tools; None where the provider adds tools of its own."""
        if self._tools is None:
            names = _names(self._body.get("tools"))
            self._tools = frozenset(list(names)[:_TOOLS]) if names is not None else frozenset({_ANY})
        return None if _ANY in self._tools else self._tools

    @property
    def sampled(self) -> bool:
        """Whether two answers should differ: no temperature of 0, no seed."""
        config = self._body.get("generationConfig")
        inside = config if isinstance(config, dict) else {}
        heat = self._body.get("temperature", inside.get("temperature"))
        return heat != 0 and "seed" not in self._body and "seed" not in inside

    @property
    def history_name(self) -> str:
        """The member that holds the history."""
        return self._dialect.history

    @property
    def history(self) -> bytes | msgspec.Raw:
        """The JSON text of the history; empty when there is none."""
        return self._body.view(self._dialect.history)

    @property
    def compared_id(self) -> str | None:
        """The id of the answer whose request the provider compares with this one; None where it compares none."""
        return self._dialect.compared_id(self._body)

    @property
    def continued_id(self) -> str | None:
        """The id of the answer whose conversation the provider keeps and goes on with; empty: it is to keep this."""
        return self._dialect.continued_id(self._body)

    def differing(self, error: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the members that, *error* says, are not those of the conversation that it goes on with."""
        return self._dialect.differing(error)

    def fields(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and JSON text of the members beside the history that a kept conversation may hold."""
        if self.continued_id is not None:
            for name in self._body.names()[:_FIELDS]:
                if name not in (self.history_name, "thread") and len(name) <= _NAMED and name.isprintable():
                    raw = self.model.encode("utf-8", "surrogatepass") if name == "model" else self._body.slice(name)
                    yield name, raw

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and JSON text of the members that a provider compares, beside the history."""
        yield "model", self.model.encode("utf-8", "surrogatepass") + self._body.slice(self._dialect.model_mode)
        for name in self._dialect.prompt_parts:
            yield name, self._body.slice(name)

    def signatures(self, places: object) -> Iterator[tuple[int, str]]:
        """Yield for each of *places*, (message, block) of the history, the message and the block's signature."""
        messages = self._body.get(self._dialect.history)
        for message, block in places if isinstance(places, tuple) else ():
            with suppress(LookupError, TypeError, AttributeError):
                found = messages[message]["content"][block]
                signature = found.get("signature") or found.get("data")
                if isinstance(signature, str):
                    yield message, signature

    @property
    def last_signature(self) -> str:
        """The signature of the last reasoning in the history, as far as is looked; empty where there is none."""
        found = _SIGNATURE.findall(bytes(memoryview(self.history)[-_LOOKED_AT:]))
        return found[-1].decode("utf-8", "replace") if found else ""

    @property
    def tail(self) -> Words:
        """The words in the end of the history."""
        if self._tail is None:
            self._tail = words.of_json(bytes(self._body.view(self._dialect.history)))
        return self._tail

    @property
    def has_media(self) -> bool:
        """Whether there are pictures or the like in it, whose tokens do not go by their bytes."""
        raw = self._body.raw or b""
        return any(mark in raw for mark in _MEDIA)

    @property
    def adds(self) -> bool:
        """Whether the provider has the earlier turns, so that the request holds new ones alone."""
        return self._dialect.adds(self._body)

    def forget_body(self) -> None:
        """Keep the words of the history's end, and let the body go."""
        self._tail = self.tail
        self._body = Body(None)

    @property
    def last_turn(self) -> bytes:
        """A digest of the last turn as it was sent; empty when there is none."""
        turns = self._body.view(self._dialect.history)
        with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            found = _ARRAY.decode(turns)
            return blake3(found[-1]).digest(16) if found else b""
        return blake3(turns).digest(16) if turns else b""  # a text in place of a list

    @property
    def end(self) -> bytes:
        """A digest of the end of the history."""
        return blake3(memoryview(self.history)[-UNSEEN:]).digest(16)

    @property
    def end_size(self) -> int:
        """The bytes, as far as is looked, that lie behind the beginning of the last turn, or of a part of it."""
        tail = bytes(memoryview(self.history)[-_LOOKED_AT:])
        ending = _ENDING.search(tail, max(0, len(tail) - _OF_ENDING))
        end = ending.start() if ending else len(tail)
        return len(tail) - max(0, *(tail.rfind(name, 0, end) for name in _BEGINNINGS))

    @property
    def results(self) -> tuple[str, ...]:
        """The ids of the tool calls whose results end the request: parallel calls of one answer."""
        found: list[str] = []
        for turn in _backwards(self._body.view(self._dialect.history)):
            ids = _result_ids(turn)
            if not ids:
                break
            found += ids
        return tuple(found[:_TOOLS])

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """The further models that the request allows: a provider or gateway may answer as any of them."""
        found: list[str] = []
        for name in _FALLBACKS:
            _strings(self._body.get(name), found)
        return tuple(found)

    def quotes(self, text: str) -> bool:
        """Whether the request holds *text* already, so that an answer may repeat it."""
        piece = encoded(text[:80])[1:-1]
        return piece in (self._body.raw or b"")


_ANY = "\0any"
# Anthropic and LiteLLM; OpenRouter (`route` says that `models` is meant so); further gateways
_FALLBACKS = ("fallbacks", "fallback", "models", "fallback_models", "fallback_model", "context_window_fallbacks")


def _strings(value: Any, into: list[str], depth: int = 0) -> None:
    """Collect all texts in *value*, names of members included: `["a", {"model": "b"}, {"c": ["d"]}]`."""
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, dict | list) and depth < 4:
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            if len(into) < _RESULTS:
                _strings(each, into, depth + 1)


def _backwards(turns: bytes | msgspec.Raw) -> Iterator[dict[str, Any]]:
    """Yield the last few of *turns*, a JSON array, from its end; each is decoded only when it is needed."""
    with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        for raw in reversed(_ARRAY.decode(turns)[-_RESULTS:]):
            turn = msgspec.json.decode(raw)
            if isinstance(turn, dict):
                yield turn


def _result_ids(turn: dict[str, Any]) -> list[str]:
    if turn.get("role") == "tool":
        ids: list[Any] = [turn.get("tool_call_id")]
    elif str(turn.get("type")).endswith("_call_output"):
        ids = [turn.get("call_id")]
    else:
        inside = turn.get("content") or turn.get("parts")
        blocks = [block for block in inside if isinstance(block, dict)] if isinstance(inside, list) else []
        ids = [block.get("tool_use_id") or _of_function(block) for block in blocks]
    return [each for each in ids if isinstance(each, str) and each]


def _of_function(block: dict[str, Any]) -> object:
    response = block.get("functionResponse")
    return response.get("id") if isinstance(response, dict) else None


def _names(tools: Any) -> set[str] | None:
    """Return the names in *tools* of any dialect; None where a tool is the provider's own, with names of its own."""
    names: set[str] = set()
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            return None
        declared = tool.get("functionDeclarations") or tool.get("function_declarations")
        inner = tool.get("function")
        for each in declared if isinstance(declared, list) else (inner if isinstance(inner, dict) else tool,):
            name = each.get("name") if isinstance(each, dict) else None
            if not isinstance(name, str) or ("type" in tool and tool["type"] not in ("function", "custom")):
                return None
            names.add(name)
    return names
