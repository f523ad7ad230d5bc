"""OpenAI's chat completions, embeddings, images, audio, models, files: https://platform.openai.com/docs/api-reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..body import Body
from ..values.account import COUNT
from ..values.answer import Fact
from ..values.http import Endpoint, ModelSource
from . import errors, openai, openai_chat_transcript, tokens
from .dialect import Dialect
from .order import MEMBERS, StreamOrder, disorder, index_of, shown

_NAME = "openai_chat"

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
_VERB = re.compile(r":[a-z][A-Za-z]+$")  # Gemini's action on a model
_READS = ("GET", "DELETE", "POST")
_KEEPS = ("/files", "/uploads", "/vector_stores", "/containers", "/skills")
_FROM_FILES = ("/batches", "/fine_tuning")
# Members in which other endpoints answer. An answer has one of them, and not an empty one; other shapes are not judged.
_RESULTS = ("data", "results", "embeddings", "embedding")
# Members of a message that answer without its text: pictures are OpenRouter's, lists of thoughts Mistral's.
_OTHER_CONTENT = frozenset({"reasoning_content", "reasoning", "refusal", "audio", "images"})
_SHAPES = {"/chat/completions": _NAME, "/completions": _NAME, "/embeddings": "embedding"}
_STORED = re.compile(r"/chat/completions/[^/]+")  # a completion that was kept, or a batch of them (vLLM)


def _endpoint(method: str, path: str) -> Endpoint | None:
    if method == "POST" and (found := _GENERATION.search(path)):
        return Endpoint(_NAME, openai.FAMILY, "generation", found["suffix"], found["model"] or "")
    if method not in _READS or not (found := _RESOURCE.search(path)):
        return None
    suffix = found["suffix"]
    if suffix.startswith("/models") and (method == "POST" or _VERB.search(suffix)):
        return None
    return Endpoint(_NAME, openai.FAMILY, "resource", suffix, source=_model_source(method, suffix))


def _model_source(method: str, suffix: str) -> ModelSource:
    if method != "POST" or suffix.startswith(_KEEPS):
        return "nothing"
    if suffix.startswith(_FROM_FILES):
        ends = suffix.endswith(("/cancel", "/pause"))
        return "nothing" if ends else "file" if suffix.startswith("/batches") else "tuning"
    return "named" if _STORED.fullmatch(suffix) else "unread"


def _read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    if refused := errors.read(data, "event" if name else "body"):
        yield refused
        return
    yield from tokens.text("id", data, "id")
    yield from tokens.text("model", data, "model")
    yield from tokens.text("created", data, "created", "created_at")
    for choice in tokens.dicts(data.get("choices")):
        yield from _choice(choice)
    usage = data.get("usage") or tokens.member(data, "x_groq").get("usage")
    yield from openai.usage(usage, "prompt_tokens", "completion_tokens")
    if "choices" not in data:
        yield from tokens.resource(data)


def _counting(suffix: str, body: Body) -> dict[str, object]:
    options, is_stream = body.get("stream_options"), suffix.endswith("/completions") and body.get("stream") is True
    asks = options is None or (isinstance(options, dict) and "include_usage" not in options)
    return {COUNT: True} if is_stream and asks else {}


def _is_text(suffix: str) -> bool:
    return suffix.endswith("/completions")


def _holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    if _is_text(suffix):
        return any(
            isinstance(choice.get("finish_reason"), str) or any(fact.kind == "content" for fact in _choice(choice))
            for choice in tokens.dicts(data.get("choices"))
        )
    named = [name for name in _RESULTS if name in data]
    return bool(data) and (not named or any(data[name] for name in named))


def _choice(choice: dict[str, Any]) -> Iterator[Fact]:
    message = tokens.member(choice, "delta") or tokens.member(choice, "message")
    first, content = not choice.get("index"), message.get("content")
    for text in (*_texts(content), *_texts(choice.get("text"))):
        yield Fact("content", "text")
        if first:
            yield Fact("text", text)
    if not _OTHER_CONTENT.isdisjoint(message) and any(message.get(member) for member in _OTHER_CONTENT):
        yield Fact("content", "reasoning")
    if isinstance(content, list) and any(part.get("thinking") for part in tokens.dicts(content)):
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
    if not content:
        return []
    if isinstance(content, str):
        return [content]
    parts = (part.get("text") for part in tokens.dicts(content))
    return [part for part in parts if isinstance(part, str) and part]


def _read_calls(data: dict[str, Any]) -> Iterator[Fact]:
    for choice in tokens.dicts(data.get("choices"))[:1]:
        message = tokens.member(choice, "delta") or tokens.member(choice, "message")
        for place, call in enumerate(tokens.dicts(message.get("tool_calls"))):
            function = tokens.member(call, "function")
            yield from tokens.call(call.get("index", place), function.get("name"), function.get("arguments"))


class _ChatOrder(StreamOrder):
    """Every chunk bears the id of its answer; a choice that is finished says no more."""

    __slots__ = ("_without_role",)

    def __init__(self) -> None:
        super().__init__()
        self._without_role: set[object] = set()  # choices whose content came without a role

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        choices = data.get("choices")
        if not choices or not isinstance(choices, list):
            return  # usage alone, or the report of a content filter: their ids are often blank
        yield from self.name(data.get("id"), index_of(choices[0]))
        if self._ended:
            yield disorder("after-end", "a chunk after [DONE]")
        for choice in tokens.dicts(choices):
            yield from self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Fact]:
        index, delta = index_of(choice), tokens.member(choice, "delta")
        self._called = self._called or bool(delta.get("tool_calls") or delta.get("function_call"))
        if choice.get("finish_reason") == "tool_calls" and not self._called:
            yield disorder("no-call", f"choice {shown(index)}")
        says, role = bool(delta.get("content") or delta.get("tool_calls")), bool(delta.get("role"))
        if says and index in self._closed:
            yield disorder("after-finish", f"choice {shown(index)}")
        if role and index in self._without_role and not says:
            yield disorder("role-again", f"choice {shown(index)}")
        if says and not role and len(self._without_role) < MEMBERS:
            self._without_role.add(index)
        if choice.get("finish_reason"):
            self.close(index)


def _is_embeddings(data: dict[str, Any]) -> bool:
    entries = data.get("data")
    first = entries[0] if isinstance(entries, list) and entries else None
    return isinstance(first, dict) and first.get("object") == "embedding"


DIALECT = Dialect(
    name=_NAME,
    family=openai.FAMILY,
    vendor=openai.VENDOR,
    event_type="chat_completion",
    endpoint=_endpoint,
    path_words=frozenset(
        "chat completions embeddings moderations rerank images generations edits variations audio speech transcriptions"
        " translations models files batches uploads vector_stores containers fine_tuning cancel pause skills openai"
        " deployments codex".split()
    ),
    shared_paths=frozenset({"/models", "/files", "/skills"}),
    has_deployments=True,
    owning_marks={"messages": (b"file_id",)},
    bound_fields=openai.BOUND_FIELDS,
    read=_read,
    read_calls=_read_calls,
    order=_ChatOrder,
    terminal=frozenset({"[DONE]", "finish"}),
    counting=_counting,
    is_text=_is_text,
    holds_answer=_holds_answer,
    has_shape=lambda data: "choices" in data,
    other_shapes={"embedding": _is_embeddings},
    answer_shape=lambda suffix: _SHAPES.get(suffix, ""),
    transcript=openai_chat_transcript.TRANSCRIPT,
    outcome_rules=openai.OUTCOME_RULES,
    error=openai.error,
    error_event=openai.error_event,
)
