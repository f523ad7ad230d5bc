"""Turns of a conversation: the role, and a digest of the content, equal in every dialect and for every client."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any

from ..frozen import dataclass
from ..keyed import fingerprint
from .normalise import arguments, canonical, lasting, masked, normal, squeezed_bytes
from .seeds import encode

_MAX_DEPTH = 6
_SHORT = 65_536  # characters of instructions whose digest is remembered

THINKING = frozenset(("thinking", "redacted_thinking", "reasoning", "reasoning_text", "reasoning_content"))
RESULTS = frozenset(("tool_result", "function_call_output", "custom_tool_call_output", "mcp_tool_result"))
_CALLS = frozenset(("tool_use", "function_call", "custom_tool_call", "function", "server_tool_use", "mcp_tool_use"))
_MEDIA = ("inlineData", "inline_data", "fileData", "file_data", "image_url", "input_audio", "source", "file")
_MEDIA_KEYS = ("data", "url", "fileUri", "file_uri", "file_id", "file_data", "image_url", "file_url", "text")
BILLING = re.compile(r"\s*x-anthropic-billing-header:")
# Blocks of tools in user messages, about date, folder and rules. Each begins with the character its texts begin with.
_TOOL_CONTEXTS = (
    r"<(session_context|environment_context|environment_details|user_instructions|permissions instructions"
    r"|system-reminder)>.*</\1>",
    r"# AGENTS\.md instructions for .*</INSTRUCTIONS>",
    r"This is the [\w -]{1,30}\. We are setting up the context for our chat\..*",
)
_TOOL_CONTEXT = re.compile("|".join(_TOOL_CONTEXTS), re.DOTALL)
_CONTEXT_BEGINS = "".join(each[0] for each in _TOOL_CONTEXTS).encode()

Part = tuple[bytes, bytes]  # the kind of a part (text, call, result, media, other), and its normal form or a digest


class Turn:
    """
    One message: its role (`user`, `assistant`, `tool`), its digest, and its place in the history.

    *said* is the digest, or the text of a message that is nothing else: its digest is made when it is asked for, which
    for most turns is never.
    """

    __slots__ = ("_said", "index", "role")

    def __init__(self, role: str, said: bytes | str, index: int) -> None:
        self.role = role
        self.index = index
        self._said = said

    @property
    def digest(self) -> bytes:
        if isinstance(self._said, str):
            self._said = _digest_of_text(self.role, self._said)
        return self._said

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Turn):
            return NotImplemented
        return (self.role, self.digest, self.index) == (other.role, other.digest, other.index)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A history. *system* is a digest of the leading instructions, masked; empty if there are none."""

    system: bytes = b""
    turns: tuple[Turn, ...] = ()
    # State for incremental reading: message count, digests of leading system texts, known prefix digests.
    messages: int = field(default=0, compare=False)
    leading: tuple[bytes, ...] = field(default=(), compare=False)
    context: tuple[bytes, ...] = field(default=(), compare=False)
    prefixes: tuple[bytes, ...] = field(default=(), compare=False)

    @property
    def root(self) -> int:
        """The place of the first user turn, -1 without one."""
        for place, turn in enumerate(self.turns):
            if turn.role == "user":
                return place
        return -1

    @property
    def first_answer(self) -> int:
        """The place of the first answer to it, -1 in a first turn."""
        is_answer = False
        for place, turn in enumerate(self.turns):
            if is_answer and turn.role == "assistant":
                return place
            is_answer = is_answer or turn.role == "user"
        return -1

    def with_answer(self, answer: Sequence[bytes]) -> Conversation:
        """Return this history as the next request will hold it, with the turns of the *answer*, by digest."""
        turns = (Turn("assistant", digest, place) for place, digest in enumerate(answer, len(self.turns)))
        return replace(self, turns=(*self.turns, *turns))


def turn_of(role: str, content: Any, index: int, context: list[str]) -> Turn | None:
    """Return the turn that *content* is, None for an empty one. Context blocks of a user go to *context*."""
    parts = tuple(_parts(content, 0))
    if role == "user":
        parts = _without_context(parts, context)
    if not parts:
        return None
    kinds = {kind for kind, _ in parts}
    if kinds == {b"result"}:
        role = "tool"  # Anthropic and Gemini send results as the user's messages
    if role == "assistant" and b"text" in kinds:
        parts = _with_one_text(parts)
    return Turn(role, _digest(role, parts), index)


def answer_turns(text: str, calls: Sequence[tuple[str, str]], *, apart: bool) -> tuple[bytes, ...]:
    """
    Return the digests of the turns that a later request will have for an answer: its *text* and its *calls*.

    *apart*: in the dialect of the answer each of these is an item of its own.
    """
    squeezed = squeezed_bytes(text)
    parts = [(b"text", squeezed)] if squeezed else []
    parts += [(b"call", fingerprint(encode(name), arguments(given or "{}"))) for name, given in calls]
    if not parts:
        return ()
    return tuple(_digest("assistant", (part,)) for part in parts) if apart else (_digest("assistant", parts),)


def digests_of_instructions(texts: Iterable[str]) -> tuple[bytes, ...]:
    """Return a digest for each of *texts* that instructs, masked."""
    kept = [text for text in texts if text.strip() and not BILLING.match(text)]
    return tuple(_remembered_digest(text) if len(text) <= _SHORT else _masked_digest(text) for text in kept)


def _masked_digest(text: str) -> bytes:
    return fingerprint(encode(masked(normal(text))))


_remembered_digest = lru_cache(64)(_masked_digest)  # a tool sends the same instructions with each of its requests


def _digest_of_text(role: str, text: str) -> bytes:
    data = squeezed_bytes(text) if role == "assistant" else encode(normal(text))
    return _digest(role, ((b"text", data),) if data else ())


def _digest(role: str, parts: Iterable[Part]) -> bytes:
    return fingerprint(role.encode(), *(piece for part in parts for piece in part))


def _with_one_text(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Join the texts: an answer's may come back in one block or in several. A user's blocks stay as they are."""
    texts = (data.decode("utf-8", "surrogatepass") for kind, data in parts if kind == b"text")
    squeezed = squeezed_bytes("".join(texts))
    rest = tuple(part for part in parts if part[0] != b"text")
    return ((b"text", squeezed), *rest) if squeezed else rest


def _without_context(parts: tuple[Part, ...], context: list[str]) -> tuple[Part, ...]:
    kept = []
    for kind, data in parts:
        text = data.decode("utf-8", "surrogatepass") if kind == b"text" and data[:1] in _CONTEXT_BEGINS else ""
        if text and _TOOL_CONTEXT.fullmatch(text):
            context.append(text)
        else:
            kept.append((kind, data))
    return tuple(kept)


def _parts(content: Any, depth: int) -> Iterator[Part]:
    if isinstance(content, str):
        if text := normal(content):
            yield b"text", encode(text)
    elif isinstance(content, dict):
        yield from _part(content, depth)
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str | dict):
                yield from _parts(part, depth)


def _part(part: dict[str, Any], depth: int) -> Iterator[Part]:
    kind = part.get("type")
    if kind in THINKING or part.get("thought") is True:
        return
    if call := _call(part, kind):
        yield b"call", fingerprint(*call)
    elif (result := _result(part, kind)) is not None:
        yield b"result", _digest("result", _parts(result, depth + 1)) if depth < _MAX_DEPTH else canonical(result)
    elif isinstance(text := part.get("text", part.get("refusal")), str):
        if text := normal(text):
            yield b"text", encode(text)
    elif media := _media(part):
        yield b"media", media
    elif kept := lasting(part):
        yield b"other", canonical(kept)


def _call(part: dict[str, Any], kind: object) -> tuple[bytes, ...]:
    inner = part.get("functionCall", part.get("function_call", part.get("function")))
    if isinstance(inner, dict):
        part = inner
    elif kind not in _CALLS and not (isinstance(part.get("name"), str) and "arguments" in part):
        return ()
    for name in ("arguments", "input", "args"):
        if name in part:
            return encode(str(part.get("name"))), arguments(part[name])
    return encode(str(part.get("name"))), b""


def _result(part: dict[str, Any], kind: object) -> Any:
    inner = part.get("functionResponse", part.get("function_response"))
    if isinstance(inner, dict):
        value = inner.get("response")
    elif kind in RESULTS or (isinstance(kind, str) and kind.endswith(("_output", "_tool_result"))):
        value = part.get("content", part.get("output"))
    else:
        return None
    return "" if value is None else value


def _media(part: dict[str, Any]) -> bytes:
    kind = part.get("type")
    inner = next((part[name] for name in _MEDIA if name in part), None)
    if inner is None and not (isinstance(kind, str) and kind.startswith("input_")):
        return b""
    places = [part if inner is None else inner]
    while places:
        place = places.pop()
        if isinstance(place, str):
            return fingerprint(encode(place))
        if isinstance(place, dict):
            places = [place[name] for name in reversed(_MEDIA_KEYS) if isinstance(place.get(name), str | dict)]
    return fingerprint(canonical(lasting(part)))
