"""
What in a request belongs to one account and is no use elsewhere: what is left out when another account gets it.

Ids and tokens of an account go by the table below. Encrypted reasoning and signatures of thinking, which only the
account that made them can read, are taken out where another one has refused them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from . import json_splice
from .body import Body
from .json_splice import Edit, Part
from .values.http import Request


@dataclass(frozen=True, slots=True)
class Tie:
    """
    One place in the requests of *family*: a *member* of the body (dotted: one level down) or a *header*.

    What stands there belongs to the account whose answer gave it; with *accepted*, to the one that first served a
    request with it, since no answer gives it. *instead* is the JSON that takes its place; empty: the member goes.
    """

    family: str
    member: str = ""
    header: str = ""
    instead: bytes = b""
    accepted: bool = False


TIES = (
    # null asks for the diagnosis all the same, as in a first turn
    Tie("anthropic", member="diagnostics.previous_message_id", instead=b"null"),
    Tie("anthropic", member="fallback_credit_token"),
    Tie("anthropic", member="workspace_id", accepted=True),
    Tie("anthropic", header="anthropic-workspace-id", accepted=True),
    Tie("openai", member="prompt_cache_options.comparison_response_id"),
    Tie("openai", header="x-codex-turn-state"),
)
_MEMBERS = frozenset(tie.member.partition(".")[0] for tie in TIES if tie.member)

# How providers refuse what another account sealed.
_REFUSED = re.compile(
    r"invalid_encrypted_content|encrypted.content.{0,200}(could not|cannot|can't|failed to) be (verified|decrypted)"
    r"|(invalid|verif\w+|match).{0,40}signature.{0,40}(thinking|reasoning)"
    r"|(thinking|thought).{0,40}signature.{0,80}(invalid|not valid|corrupt\w*|mismatch|verif\w+|match|expired)"
    r"|(invalid|corrupt\w*|mismatched|expired).{0,20}thought.?signature"
    r"|organization_binding_mismatch",
    re.IGNORECASE | re.DOTALL,
)
_MISSES_THINKING = re.compile(r"expected .{0,3}thinking.{0,80}but found", re.IGNORECASE | re.DOTALL)
# Gemini's word for "no signature": calls of a function need one.
_UNSIGNED = b'"skip_thought_signature_validator"'
_SIGNATURES = ("thoughtSignature", "thought_signature")
_THINKING = ("thinking", "redacted_thinking")

Keeps = Callable[[str], bool]


def ties(request: Request) -> Iterator[tuple[Tie, str]]:
    """Yield what of *request* belongs to one account, with its value."""
    family, body = request.endpoint.family, request.body
    holds = body.holds_any(_MEMBERS)
    for tie in TIES:
        if tie.family != family:
            continue
        if tie.header:
            yield from ((tie, value) for value in request.headers.all(tie.header))
        elif holds and (value := _value(body, tie.member)):
            yield tie, value


def without(body: Body, left: Iterable[Tie]) -> bytes:
    """Return the bytes of *body* without what stands at the members of *left*."""
    raw = body.raw or b""
    for tie in left:
        outer, _, inner = tie.member.partition(".")
        at = next((place for place, byte in enumerate(raw[:64]) if byte == ord("{")), -1)
        raw = json_splice.edited(raw, _taken_out(raw, at, outer, inner, tie.instead)) if at >= 0 and outer else raw
    return raw


def is_refused(said: str) -> bool:
    """Whether an error that *said* this is about what another account sealed or signed."""
    return _REFUSED.search(said) is not None


def wants_thinking(said: str) -> bool:
    """Whether an error that *said* this misses thinking that was left out (Anthropic)."""
    return _MISSES_THINKING.search(said) is not None


def unsealed(body: Body, keeps: Keeps) -> bytes:
    """
    Return the bytes of *body* without the sealed reasoning and the signed thinking that it *keeps* not.

    Thinking is switched off where the request would be refused without what was signed. Every other byte is as it was;
    where nothing is taken out, it is the body's own bytes.
    """
    raw = body.raw or b""
    edits: list[Edit] = []
    for name, found in (("input", _reasoning), ("messages", _thinking), ("contents", _signatures)):
        if span := body.span(name) if name in body else None:
            edits += found(raw, span[0], keeps)
    if span := body.span("request") if "request" in body else None:  # Code Assist wraps what the API takes
        for member in json_splice.members(raw, span[0]):
            if member.name == "contents":
                edits += _signatures(raw, member.value, keeps)
    raw = json_splice.edited(raw, edits)
    return json_splice.edited(raw, _thinks_no_more(Body(raw))) if "thinking" in body else raw


def _value(body: Body, name: str) -> str:
    outer, _, inner = name.partition(".")
    value = body.get(outer)
    if inner:
        value = value.get(inner) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("token")
    return value if isinstance(value, str) else ""


def _taken_out(raw: bytes, at: int, outer: str, inner: str, instead: bytes) -> Iterator[Edit]:
    parts = json_splice.members(raw, at)
    for place, part in enumerate(parts):
        if part.name != outer:
            continue
        if inner:
            yield from _taken_out(raw, part.value, inner, "", instead)
        elif instead:
            yield part.value, part.end, instead
        else:
            yield from json_splice.removed(parts, {place})


def _reasoning(raw: bytes, at: int, keeps: Keeps) -> Iterator[Edit]:
    """Take out items of reasoning (Responses): without what is sealed in them, nothing of them is known elsewhere."""
    parts = json_splice.items(raw, at)
    sealed = {place for place, part in enumerate(parts) if _is_sealed(_object(raw, part, b"encrypted_content"), keeps)}
    yield from json_splice.removed(parts, sealed)


def _is_sealed(item: dict[str, object], keeps: Keeps) -> bool:
    content = item.get("encrypted_content")
    return item.get("type") == "reasoning" and isinstance(content, str) and content != "" and not keeps(content)


def _thinking(raw: bytes, at: int, keeps: Keeps) -> Iterator[Edit]:
    """Take out blocks of thinking (Anthropic), and a message that holds nothing else."""
    messages = json_splice.items(raw, at)
    empty: set[int] = set()
    for place, message in enumerate(messages):
        if raw.find(b"thinking", message.start, message.end) < 0:
            continue
        content = next((part for part in json_splice.members(raw, message.value) if part.name == "content"), None)
        blocks = json_splice.items(raw, content.value) if content else []
        signed = {at for at, block in enumerate(blocks) if _is_signed(_object(raw, block, b"thinking"), keeps)}
        if signed and len(signed) == len(blocks):
            empty.add(place)
        else:
            yield from json_splice.removed(blocks, signed)
    yield from json_splice.removed(messages, empty)


def _is_signed(block: dict[str, object], keeps: Keeps) -> bool:
    mark = block.get("data") if block.get("type") == "redacted_thinking" else block.get("signature")
    return block.get("type") in _THINKING and not (isinstance(mark, str) and mark != "" and keeps(mark))


def _thinks_no_more(body: Body) -> Iterator[Edit]:
    """
    Switch thinking off (Anthropic) in a tool loop whose last turn of the assistant begins with none.

    Where it is `enabled`, such a request is refused; the next question of the user may be thought about again.
    """
    thinking, messages = body.get("thinking"), body.get("messages")
    if not (isinstance(thinking, dict) and thinking.get("type") == "enabled" and isinstance(messages, list)):
        return
    turns = [message for message in messages if isinstance(message, dict)]
    last = max((place for place, turn in enumerate(turns) if turn.get("role") == "assistant"), default=-1)
    answered = {kind for turn in turns[last + 1 :] for kind in _kinds(turn)}
    begins = next(iter(_kinds(turns[last])), "text") if last >= 0 else ""
    if "tool_result" not in answered or begins in _THINKING:
        return
    raw = body.raw or b""
    if span := body.span("thinking"):
        yield *span, b'{"type":"disabled"}'
    managed = body.span("context_management") if "context_management" in body else None
    for member in json_splice.members(raw, managed[0]) if managed else ():
        if member.name == "edits":  # what clears thinking is refused where there is none
            edits = json_splice.items(raw, member.value)
            clears = (at for at, part in enumerate(edits) if b"clear_thinking" in raw[part.start : part.end])
            yield from json_splice.removed(edits, set(clears))


def _kinds(turn: dict[str, object]) -> Iterator[str]:
    content = turn.get("content")
    for block in content if isinstance(content, list) else ():
        yield str(block.get("type")) if isinstance(block, dict) else ""


def _signatures(raw: bytes, at: int, keeps: Keeps) -> Iterator[Edit]:
    """Take the signatures off parts (Gemini); a call of a function needs one, or the word that says there is none."""
    for content in json_splice.items(raw, at):
        if raw.find(b"ignature", content.start, content.end) < 0:
            continue
        for member in json_splice.members(raw, content.value):
            for part in json_splice.items(raw, member.value) if member.name == "parts" else ():
                yield from _signature(raw, json_splice.members(raw, part.value), keeps)


def _signature(raw: bytes, members: list[Part], keeps: Keeps) -> Iterator[Edit]:
    calls = any(member.name in ("functionCall", "function_call") for member in members)
    for place, member in enumerate(members):
        if member.name in _SIGNATURES and not keeps(json_splice.string(raw[member.value : member.end])):
            if calls:
                yield member.value, member.end, _UNSIGNED
            else:
                yield from json_splice.removed(members, {place})


def _object(raw: bytes, part: Part, mark: bytes) -> dict[str, object]:
    """Return the object that *part* is, if it is one and holds *mark*."""
    if raw.find(mark, part.start, part.end) < 0:
        return {}
    try:
        found = msgspec.json.decode(raw[part.value : part.end])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
