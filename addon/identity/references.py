"""
References of a request: ids, signatures and texts of earlier answers, and the resources that it needs.

They are read from structured places, never from free text; lazily, from the newest message back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import unquote

from .. import dialects, secret_patterns, upstream_url
from ..body import Body
from ..frozen import dataclass
from ..values import header_names
from ..values.http import Request
from .history import messages_of, role_of, text_of
from .normalise import squeezed

FoundIn = Literal[
    "tool", "signature", "item", "text", "reference", "reasoning", "file", "container", "cache", "state", "address",
    "sealed",
]  # fmt: skip
LINKS = frozenset(("tool", "signature", "item", "text", "reference", "reasoning", "sealed"))
OWNS = frozenset(("reference", "reasoning", "file", "container", "cache", "state", "address", "sealed"))
SPARED = frozenset(("reasoning", "state"))  # of those, the places that a conversation can go on without
MIN_TEXT = 40  # characters of an answer, white space aside, below which it names no conversation
MAX_REFERENCES = 512  # of one request
MAX_TEXTS = 262_144  # characters of answers that are looked up, from the newest back
_MAX_DEPTH = 8
_MAX_NODES = 4096  # of one message
_WORDS = re.compile(r"(?:[A-Za-z]{2,16}[_.-])+")
_COUNTED = re.compile(r".*[:_-]\d{1,4}")
_FILE_KEYS = frozenset(("file_id", "fileUri", "file_uri", "uri"))
_MAX_PARTS = 32  # of a query
_NUMBERED = re.compile(r"\d")
_VERSION = re.compile(r"v\d[\w.]*")
_MODELS = frozenset(("models", "deployments"))
_CHAINS = frozenset(("responses", "conversations", "completions", "interactions"))
_OWNING_MEMBERS = frozenset(
    (
        "previous_response_id", "previous_interaction_id", "conversation", "container", "batch_id", "cachedContent",
        "cached_content", "request", "input_file_id", "file_id", "training_file", "thread",
    )
)  # fmt: skip
# Bytes that mark references to one account's resources, by the member they may stand in. A history without any of them
# is not decoded for its owner.
_OWNING_MARKS: Mapping[str, tuple[bytes, ...]] = {
    **dialects.owning_marks(),
    "tools": (b"vector_store_id", b'"container"', b"container_reference", b"file_id"),
}
_ALONE = re.compile(rb'\{\s*"id"\s*:\s*"[^"]*"\s*\}')  # an item reference whose type was left out
_ESCAPED = re.compile(rb"\\.00[4-7].")  # letters, so that marks are not seen


@dataclass(frozen=True, slots=True)
class Reference:
    """A *value* that an answer gave; the kind of *place* where it stands now gives its meaning."""

    place: FoundIn
    value: str

    @property
    def links(self) -> bool:
        """Whether it names the conversation it came from. A weak id does so only in the place of a reference."""
        return self.place in LINKS and (self.place in ("text", "reference") or is_strong(self.value))

    @property
    def owns(self) -> bool:
        """Whether only the account it came from can honour it."""
        return self.place in OWNS


def is_strong(token: str) -> bool:
    """Whether *token* is unique: long and irregular after its prefix, not a counter such as `call_0`."""
    prefix = _WORDS.match(token)
    core = token[prefix.end() :] if prefix else token
    if ":" in token and _COUNTED.fullmatch(token):
        return False
    return len(core) >= 16 and len(set(core)) >= 6 and not core.isalpha()


def newest_first(body: Body) -> Iterator[Reference]:
    """Yield the references of *body*'s history that link, from the newest message back."""
    count = characters = 0
    for message in reversed(messages_of(body)):
        for reference in of_message(message, texts=characters < MAX_TEXTS):
            if reference.links:
                yield reference
                count += 1
                characters += len(reference.value)
        if count >= MAX_REFERENCES:
            return


def of_message(message: Any, *, texts: bool = True) -> Iterator[Reference]:
    """Yield the references of one *message*; without *texts*, ids alone."""
    yield from _structured(message)
    if texts and role_of(message) == "assistant":
        text = squeezed(text_of(message))
        if len(text) >= MIN_TEXT:
            yield Reference("text", text)


def owning(request: Request, *, in_history: bool = True) -> Iterator[Reference]:
    """
    Yield the references that tie *request* to one account: the response it continues, then its history, newest first.

    Without *in_history* its history and its tools are not searched.
    """
    body = request.body
    if body.holds_any(_OWNING_MEMBERS):
        yield from _beside_history(body)
    for value in request.headers.all(header_names.TURN_STATE):
        yield Reference("state", value)
    if in_history and _may_own(body):
        yield from _owning_history(body)


def _beside_history(body: Body) -> Iterator[Reference]:
    for name in ("previous_response_id", "previous_interaction_id", "conversation", "container", "batch_id"):
        if value := _id(body.get(name)):
            yield Reference("container" if name == "container" else "reference", value)
    # Anthropic's message threads: the account that answered keeps them
    thread = body.get("thread") if "thread" in body else None
    if isinstance(thread, dict) and (previous := _id(thread.get("previous_message_id"))):
        yield Reference("reference", previous)
    for value in (body.get("cachedContent"), body.get("cached_content"), _inner(body, "cachedContent")):
        if isinstance(value, str) and value:
            yield Reference("cache", value)
    for name in ("input_file_id", "file_id", "training_file"):
        if value := body.text(name):
            yield Reference("file", value)


def of_path(path: str) -> Iterator[Reference]:
    """Yield the ids that *path* may name, the last first: single segments, and pairs such as `cachedContents/abc`."""
    segments = [unquote(segment) for segment in path.partition("?")[0].split("/") if segment][:32]
    for place in range(len(segments) - 1, 0, -1):
        before, segment = segments[place - 1], segments[place].partition(":")[0]
        yield Reference("reference" if before in _CHAINS else "file", segment)
        yield Reference("file", f"{before}/{segment}")


def of_address(path: str) -> Iterator[Reference]:
    """
    Yield the references of *path* (with its query) as an address that an answer gave: all of it but keys, and the ids
    in its query, such as that of an upload.
    """
    bare, mark, query = path.partition("?")
    parts = [part.partition("=") for part in query.split("&")[:_MAX_PARTS]] if mark else []
    named = [(unquote(name), value) for name, _, value in parts]
    kept = "&".join(f"{name}={value}" for name, value in named if not secret_patterns.names_key(name))
    yield Reference("address", f"{bare}?{kept}" if kept else bare)
    for name, value in named:
        if upstream_url.names_id(name) and is_strong(value := unquote(value)):
            yield Reference("file", value)


def names_one(path: str) -> bool:
    """
    Whether the address *path* (with its query) is that of one resource, and not of a collection or an endpoint.

    Answers name those too (`self`, `Content-Location`), and every account serves them.
    """
    bare, _, query = path.partition("?")
    segments = [unquote(segment) for segment in bare.split("/") if segment][:32]
    for before, segment in zip(["", *segments], segments, strict=False):
        if _NUMBERED.search(segment) and not _VERSION.fullmatch(segment) and before not in _MODELS:
            return True
    parts = [unquote(part.partition("=")[0]) for part in query.split("&")[:_MAX_PARTS]]
    return any(upstream_url.names_id(name) or secret_patterns.names_key(name) for name in parts if name)


def resource_name(value: str) -> str:
    """Return the short name of a resource: a file's address and its name (`files/abc`) are the same."""
    if value.startswith(("https://", "http://")):
        return "/".join(value.partition("?")[0].rsplit("/", 2)[1:])
    return value


def _may_own(body: Body) -> bool:
    raw = body.raw or b""
    marks = {mark for name in _OWNING_MARKS if name in body for mark in _OWNING_MARKS[name]}
    if any(mark in raw for mark in marks) or ("input" in body and _ALONE.search(raw)):
        return True
    return bool(marks) and bool(_ESCAPED.search(raw))


def _owning_history(body: Body) -> Iterator[Reference]:
    count = 0
    for message in (*reversed(messages_of(body)), body.get("tools")):
        for reference in _structured(message):
            if reference.owns:
                yield reference
                count += 1
        if count >= MAX_REFERENCES:
            return


def _structured(message: Any) -> Iterator[Reference]:
    pending: list[tuple[Any, int]] = [(message, 0)]
    seen = 0
    while pending and seen < _MAX_NODES:
        node, depth = pending.pop()
        seen += 1
        if isinstance(node, dict):
            yield from _of_node(node, depth)
            pending.extend((value, depth + 1) for name, value in node.items() if _is_entered(node, name, value, depth))
        elif isinstance(node, list):
            pending.extend((item, depth + 1) for item in node if isinstance(item, dict))


def _is_entered(node: dict[str, Any], name: str, value: Any, depth: int) -> bool:
    """Whether to walk into *value*: ids in arguments and results are the tools' own, but for files in a result."""
    if name == "output" and str(node.get("type")).endswith("_call_output"):
        return isinstance(value, dict | list) and depth < _MAX_DEPTH
    if name in ("input", "args", "arguments", "response", "output", "metadata"):
        return False
    return isinstance(value, dict | list) and depth < _MAX_DEPTH


def _of_node(node: dict[str, Any], depth: int) -> Iterator[Reference]:
    kind = node.get("type")
    for name, value in node.items():
        if name in ("vector_store_ids", "file_ids") and isinstance(value, list):
            yield from (Reference("file", item) for item in value if isinstance(item, str))
        if not isinstance(value, str) or not value:
            continue
        if name in _FILE_KEYS:
            yield Reference("file", resource_name(value))
        elif name in ("tool_use_id", "tool_call_id", "call_id"):
            yield Reference("tool", value)
        elif name in ("signature", "thoughtSignature", "thought_signature"):
            yield Reference("signature", value)
        elif name == "container" or (name == "container_id" and kind == "container_reference"):
            yield Reference("container", value)
        elif name == "encrypted_content":
            yield Reference("reasoning" if kind == "reasoning" else "sealed", value)  # compaction
        elif name == "id":
            yield _of_id(node, kind, value, depth)
        elif name == "data" and kind == "redacted_thinking":
            yield Reference("signature", value)


def _of_id(node: dict[str, Any], kind: object, value: str, depth: int) -> Reference:
    alone = kind is None and depth == 0 and len(node) == 1  # a reference whose type was left out
    if alone or kind == "item_reference" or (kind == "reasoning" and not node.get("encrypted_content")):
        return Reference("reference", value)
    return Reference("item" if depth == 0 else "tool", value)


def _id(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def _inner(body: Body, name: str) -> Any:
    inner = body.get("request") if "request" in body else None
    return inner.get(name) if isinstance(inner, dict) else None
