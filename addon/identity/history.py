"""Where the turns of a conversation stand in a request body, in every dialect, and role and texts of each message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..body import Body
from ..dialects import HISTORIES
from ..keyed import fingerprint
from .seeds import encode
from .turns import RESULTS, THINKING, Conversation, Turn, digests_of_instructions, turn_of

MAX_TURNS = 10_000

_INSTRUCTING = frozenset(("system", "instructions", "systemInstruction", "system_instruction", "request"))
_ROLES = {"system": "system", "developer": "system", "assistant": "assistant", "model": "assistant", "tool": "tool"}
_PLAIN_ROLES = {"user": "user", "assistant": "assistant", "model": "assistant"}
_PLAIN_BLOCKS = ("text", "input_text", "output_text")
_SURE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSUVWXYZ0123456789")  # neither blank nor before context


def conversation_of(body: Body) -> Conversation:
    """Read the history of *body* in any dialect. A body without one gives an empty conversation; never raises."""
    try:
        return _gathered(body, messages_of(body), Conversation())
    except RecursionError:
        return Conversation()


def extended(before: Conversation, body: Body, name: str) -> Conversation:
    """
    Read on where *before* ends: member *name* of *body* holds the new messages alone; its other members are complete.

    *before* has an answer in it, so that nothing new can stand before its first turn.
    """
    try:
        return _gathered(body, body.get(name, ())[: MAX_TURNS - before.messages], before)
    except RecursionError:
        return Conversation()


def messages_of(body: Body) -> Sequence[Any]:
    """Return the messages of *body* as they stand there, the oldest first."""
    inner = body.get("request") if "request" in body else None
    for value in (
        *(body.get(name) for name in HISTORIES),
        inner.get("contents") if isinstance(inner, dict) else None,
        body.get("prompt"),
    ):
        if isinstance(value, str | dict) and value:
            return (value,)
        if isinstance(value, list) and any(isinstance(item, str | dict) for item in value):
            return value[:MAX_TURNS]
    return ()


def instructions(body: Body) -> Iterator[str]:
    """Yield the instructions that stand outside the history."""
    if not body.holds_any(_INSTRUCTING):
        return
    inner = body.get("request") if "request" in body else None
    for name in ("system", "instructions", "systemInstruction", "system_instruction"):
        yield from _texts(body.get(name))
        if isinstance(inner, dict):
            yield from _texts(inner.get(name))


def role_of(message: Any) -> str:
    """Return the role of *message*: `system`, `user`, `assistant`, `tool`, or the empty string if it is no turn."""
    if isinstance(message, str):
        return "user"
    if not isinstance(message, dict):
        return ""
    kind = message.get("type")
    role = message.get("role")
    if isinstance(role, str):
        return "tool" if role == "function" else _ROLES.get(role, "user")
    if not isinstance(kind, str) or kind.startswith("input_") or kind in ("message", "text"):
        return "user"
    if kind in THINKING or kind == "item_reference":
        return ""
    return "tool" if kind in RESULTS or kind.endswith("_output") else "assistant"


def text_of(message: Any) -> str:
    """Return all text of *message*, without thinking."""
    return "".join(_texts(_content(message)))


def texts_of(message: Any) -> tuple[str, ...]:
    """Return the texts of *message*, one for each of its blocks, without thinking."""
    return tuple(_texts(_content(message)))


def _gathered(body: Body, messages: Sequence[Any], before: Conversation) -> Conversation:
    leading: list[str] = []
    turns: list[Turn] = list(before.turns)
    context: list[str] = []
    for index, message in enumerate(messages, before.messages):
        if plain := _plain(message):
            turns.append(Turn(*plain, index))
            continue
        role = role_of(message)
        if role == "system":
            if not turns:  # later ones come and go inside a conversation
                leading.extend(_texts(_content(message)))
        elif role and (turn := turn_of(role, _content(message), index, context)):
            turns.append(turn)
    if context and not any(turn.role == "user" for turn in turns):
        turns.append(Turn("user", fingerprint(*map(encode, context)), 0))
    led, found = before.leading + digests_of_instructions(leading), before.context + digests_of_instructions(context)
    system = digests_of_instructions(instructions(body)) + led + found
    count = before.messages + len(messages)
    return Conversation(fingerprint(*system) if system else b"", tuple(turns), count, led, found, before.prefixes)


def _plain(message: Any) -> tuple[str, str] | None:
    if type(message) is not dict or len(message) != 2:
        return None
    name, text = message.get("role"), message.get("content")
    if type(text) is str and text and text[0] in _SURE and (name == "user" or name == "assistant"):
        return name, text
    role = _PLAIN_ROLES.get(name) if type(name) is str else None
    text = text or message.get("parts")
    if type(text) is list and len(text) == 1:
        text = _only_text(text[0])
    if not role or type(text) is not str or not text or text[0].isspace():
        return None
    return None if role == "user" and text[0] in "<#T" else (role, text)


def _only_text(block: Any) -> Any:
    if type(block) is not dict or "text" not in block:
        return None
    return block["text"] if len(block) == 1 or (len(block) == 2 and block.get("type") in _PLAIN_BLOCKS) else None


def _content(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    role = message.get("role")
    if not isinstance(role, str) and not ("content" in message and message.get("type") in (None, "message")):
        return message.get("parts", message)
    pieces: list[Any] = []
    for name in ("content", "parts", "refusal", "tool_calls", "function_call"):
        value = message.get(name)
        pieces.extend(value if isinstance(value, list) else (value,))
    if role in ("tool", "function"):
        return {"type": "tool_result", "content": pieces}
    return pieces


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str | dict):
                yield from _texts(part)
    elif isinstance(content, dict):
        if isinstance(parts := content.get("parts"), list):
            yield from _texts(parts)
        elif content.get("type") not in THINKING and not content.get("thought"):
            yield from (value for name in ("text", "refusal") if isinstance(value := content.get(name), str))
