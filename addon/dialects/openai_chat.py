"""
OpenAI's chat completions and what belongs to them: completions, embeddings, images, audio, models, files, batches.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from ..values.http import Endpoint, Runs
from . import errors, tokens

NAME = "openai_chat"
FAMILY = "openai"

_GENERATION = re.compile(
    r"(?:/deployments/(?P<model>[^/]+))?(?P<suffix>/(?:chat/completions|completions|embeddings|moderations|rerank"
    r"|images/(?:generations|edits|variations)|audio/(?:speech|transcriptions|translations)))$"
)
# An id needs a prefix that belongs to an API, so that not every web page below some `/files/` is taken for ours.
# Models, files and skills are spelled alike by Anthropic. Method and path cannot tell; the destination can.
_RESOURCE = re.compile(
    r"(?:^(?=/models$)|/v\d+|/openai|/codex)(?P<suffix>/(?:models|files|batches|uploads|vector_stores|containers|fine_tuning"
    r"|chat/completions|skills)(?:/.*)?)$"
)
_VERB = re.compile(r":[a-z][A-Za-z]+$")  # Gemini's way to say what is to be done with a model
_READS = ("GET", "DELETE", "POST")
_KEEPS = ("/files", "/uploads", "/vector_stores", "/containers", "/skills")
_FROM_FILES = ("/batches", "/fine_tuning")
TERMINAL = frozenset({"[DONE]", "finish"})
_TEXT = re.compile(r"/(?:chat/)?completions$")
# Members in which other endpoints answer. An answer has one of them, and not an empty one; other shapes are not judged.
_RESULTS = ("data", "results", "embeddings", "embedding")
# Members of a message that answer without its text: pictures are OpenRouter's, lists of thoughts Mistral's.
_OTHER_CONTENT = ("reasoning_content", "reasoning", "refusal", "audio", "images")
_STORED = re.compile(r"/chat/completions/[^/]+")  # a completion that was kept, or a batch of them (vLLM)


def endpoint(method: str, path: str) -> Endpoint | None:
    """Say what *path* means here, or None when this dialect does not know it."""
    if method == "POST" and (found := _GENERATION.search(path)):
        return Endpoint(NAME, FAMILY, "generation", found["suffix"], found["model"] or "")
    if method not in _READS or not (found := _RESOURCE.search(path)):
        return None
    suffix = found["suffix"]
    if suffix.startswith("/models") and (method == "POST" or _VERB.search(suffix)):
        return None
    return Endpoint(NAME, FAMILY, "resource", suffix, runs=_runs(method, suffix))


def _runs(method: str, suffix: str) -> Runs:
    if method != "POST" or suffix.startswith(_KEEPS):
        return "nothing"
    if suffix.startswith(_FROM_FILES):
        ends = suffix.endswith(("/cancel", "/pause"))
        return "nothing" if ends else "file" if suffix.startswith("/batches") else "tuning"
    return "named" if _STORED.fullmatch(suffix) else "unread"


def error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error answer. The shape has no place for *request_id*; it travels in a header."""
    return msgspec.json.encode({"error": errors.openai_error(refusal)})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """Return the event that ends a stream with an error: no `[DONE]` follows, or it would read as success."""
    return b"data: " + error(refusal, request_id) + b"\n\n"


def read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    """Yield the facts of one chunk of a stream, or of a whole body."""
    if refused := errors.read(data, "event" if name else "body"):
        yield refused
        return
    yield from tokens.text("id", data, "id")
    yield from tokens.text("model", data, "model")
    yield from tokens.text("created", data, "created", "created_at")
    yield from tokens.text("object", data, "object")
    for choice in tokens.dicts(data.get("choices")):
        yield from _choice(choice)
    yield from _usage(data.get("usage") or tokens.member(data, "x_groq").get("usage"))
    if "choices" not in data:
        yield from tokens.resource(data)


def is_text(suffix: str) -> bool:
    """Whether a generation at *suffix* is always answered in this dialect's JSON or events (audio is not)."""
    return bool(_TEXT.search(suffix))


def holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    """Whether *data*, the whole body of a good answer to a generation at *suffix*, answers it."""
    if is_text(suffix):
        return any(
            isinstance(choice.get("finish_reason"), str) or any(fact.kind == "content" for fact in _choice(choice))
            for choice in tokens.dicts(data.get("choices"))
        )
    named = [name for name in _RESULTS if name in data]
    return bool(data) and (not named or any(data[name] for name in named))


def _choice(choice: dict[str, Any]) -> Iterator[Fact]:
    message = tokens.member(choice, "delta") or tokens.member(choice, "message")
    first = not choice.get("index")
    for text in (*_texts(message.get("content")), *_texts(choice.get("text"))):
        yield Fact("content", "text")
        if first:
            yield Fact("text", text)
    if any(message.get(member) for member in _OTHER_CONTENT):
        yield Fact("content", "reasoning")
    if any(part.get("thinking") for part in tokens.dicts(message.get("content"))):
        yield Fact("content", "reasoning")
    for call in tokens.dicts(message.get("tool_calls")):
        yield Fact("content", "tool")
        yield from _call(call)
    if message.get("function_call"):
        yield Fact("content", "tool")
    for detail in tokens.dicts(message.get("reasoning_details")):
        yield from tokens.signature(detail.get("signature") or detail.get("data"))
    if isinstance(choice.get("finish_reason"), str):
        yield Fact("finish", choice["finish_reason"], str(choice.get("index") or 0))


def _call(call: dict[str, Any]) -> Iterator[Fact]:
    yield from tokens.token(call.get("id"), "tool")
    if tool := tokens.member(call, "function").get("name"):
        yield Fact("tool", tool)
    google = tokens.member(tokens.member(call, "extra_content"), "google")
    yield from tokens.signature(google.get("thought_signature"))


def _texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content] if content else []
    parts = (part.get("text") for part in tokens.dicts(content))
    return [part for part in parts if isinstance(part, str) and part]


def _usage(usage: object) -> Iterator[Fact]:
    if not isinstance(usage, dict):
        return
    details = tokens.member(usage, "prompt_tokens_details")
    yield Fact(
        "usage",
        Usage(
            prompt=tokens.count(usage, "prompt_tokens", "input_tokens"),
            completion=tokens.count(usage, "completion_tokens", "output_tokens"),
            cached=tokens.count(details, "cached_tokens") or tokens.count(usage, "prompt_cache_hit_tokens"),
            cache_write=tokens.count(details, "cache_write_tokens", "cache_creation_tokens"),
        ),
    )
