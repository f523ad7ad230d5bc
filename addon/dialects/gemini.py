"""Google's generateContent, caches, files and interactions (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .. import json_splice
from ..body import Body, members
from ..json_splice import JsonPart, Splice
from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from ..values.http import Endpoint, Kind, ModelSource
from . import errors, gemini_transcript, tokens
from .dialect import Dialect, Keeps
from .order import StreamOrder, index_of
from .outcome_rules import AT_ONCE, BUSY, ZERO_LIMIT, rule_for

_NAME = "gemini"

_VERSION = r"/v\d+(?:alpha|beta)?\d*"
_MODEL = re.compile(
    _VERSION
    + r"/(?:projects/.*/)?(?:publishers/[^/]+/)?(?:models|tunedModels|endpoints|dynamic)/"
    + r"(?P<model>[^/:]+):(?P<verb>\w+)$"
)
_ASSIST = re.compile(r"/v1internal:(?P<verb>\w+)$")  # Code Assist: the model stands in the body
_RESOURCE = re.compile(
    r"(?:/upload)?" + _VERSION + r"/(?:projects/.*/)?(?:(?:models|tunedModels|cachedContents|files|batches|operations"
    r"|fileSearchStores|corpora)(?:[/:].*)?|interactions/.+)$"
)
_INTERACTIONS = re.compile(_VERSION + r"/(?:projects/.*/)?interactions$")
_TEXT = re.compile(r":(?:g|streamG)enerateContent$")
# Members in which other verbs answer. An answer has one of them, and not an empty one; other shapes are not judged.
_RESULTS = ("embedding", "embeddings", "predictions", "answer", "candidates")
_READS = ("GET", "DELETE", "POST", "PATCH", "PUT")
_MADE = frozenset({"image", "audio", "document", "video", "arguments_delta"})  # outputs that are no text
_OF_MODELS = re.compile(r"/models(?:[/:]|$)")
_KEEPS = frozenset(
    "cancel wait register download query importFile uploadToFileSearchStore batchCreate batchUpdate batchDelete"
    " transferOwnership updateGenerateContentBatch updateEmbedContentBatch".split()
)
_ADMINISTERS = frozenset(  # verbs of Code Assist that run no model
    "loadCodeAssist onboardUser fetchAdminControls getCodeAssistGlobalUserSetting"
    " setCodeAssistGlobalUserSetting recordCodeAssistMetrics recordClientEvent listExperiments"
    " retrieveUserQuota fetchAvailableModels listRemoteRepositories".split()
)
_GENERATES = frozenset(
    "generateContent streamGenerateContent embedContent batchEmbedContents generateAnswer predict"
    " predictLongRunning batchGenerateContent asyncBatchEmbedContent generateMessage generateText".split()
)
_OTHERS = frozenset(
    "countTokens countTextTokens countMessageTokens computeTokens fetchPredictOperation rawPredict streamRawPredict"
    " serverStreamingPredict".split()
)
_VERBS = _GENERATES | _KEEPS | _ADMINISTERS | _OTHERS

_ERROR_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "RESOURCE_EXHAUSTED", 403: "PERMISSION_DENIED",
    404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    501: "UNIMPLEMENTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_FILES = (b"fileUri", b"file_uri")
_SIGNATURES = ("thoughtSignature", "thought_signature")
_UNSIGNED = b'"skip_thought_signature_validator"'  # the API's word for "no signature": function calls need one

# "Exceeded your current quota" stands in every 429 of Gemini, the harmless ones too; the quota's id tells them apart.
_OUTCOME_RULES = (
    ZERO_LIMIT,
    rule_for("quota", "payment_required quota_exceeded billing_disabled"),
    rule_for("auth", "api_key_invalid api_key_expired api_key_service_blocked validation_required unauthenticated "
                     "access_token_expired account_state_invalid consumer_suspended api_key_ip_address_blocked "
                     "api_key_http_referrer_blocked"),
    rule_for("permission", phrase=r"^user location is not supported", statuses="400", scope="account",
             why="region or network not supported"),
    BUSY,
    AT_ONCE,
    rule_for("rate", "resource_exhausted rate_limit_exceeded", statuses="429"),
    rule_for("permission", "service_disabled", statuses="403"),
    rule_for("cancelled", "cancelled", statuses="499"),
    rule_for("server", "internal deadline_exceeded unknown", statuses="500 504"),
)  # fmt: skip


def _endpoint(method: str, path: str) -> Endpoint | None:
    if method == "POST" and (found := _MODEL.search(path)):
        return _verb(found[0], found["verb"], found["model"])
    if method == "POST" and (found := _ASSIST.search(path)):
        return _verb(found[0], found["verb"], "")
    if method == "POST" and (found := _INTERACTIONS.search(path)):
        return Endpoint(_NAME, _NAME, "generation", found[0])
    if method in _READS and (found := _RESOURCE.search(path)):
        return Endpoint(_NAME, _NAME, "resource", found[0], source=_model_source(method, found[0]))
    return None


def _model_source(method: str, suffix: str) -> ModelSource:
    last = suffix.rpartition("/")[2]
    if method in ("GET", "DELETE"):
        return "nothing"
    if ":" in last:
        return "nothing" if last.rpartition(":")[2] in _KEEPS and "/models/" not in suffix else "unread"
    if method == "POST" and last == "cachedContents":
        return "model"
    if method == "POST" and last == "fileSearchStores":
        return "named"
    if method == "POST" and last == "tunedModels":
        return "tuning"
    if _OF_MODELS.search(suffix):
        return "unread"
    return "model" if "/interactions/" in suffix and last != "cancel" else "nothing"


def _verb(suffix: str, verb: str, model: str) -> Endpoint:
    kind: Kind = "generation" if verb in _GENERATES else "resource"
    source: ModelSource = "model" if verb in _VERBS else "unread"  # an unknown verb could administer the account
    if not model and verb in _ADMINISTERS:
        source = "nothing"
    return Endpoint(_NAME, _NAME, kind, suffix, model, verb == "streamGenerateContent", source)


def _error(refusal: Refusal, request_id: str) -> bytes:
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refusal.code, "domain": "patchbay"}
    ]
    wait = refusal.retry_after
    if wait is not None and refusal.final:  # Gemini CLI retries unless the delay is above five minutes
        wait = max(wait, refusal.lasts or 0.0)
    if wait is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{max(wait, 1):g}s"})
    inner = {
        "code": refusal.status,
        "message": refusal.message,
        "status": errors.word(_ERROR_STATUS, refusal.status, "INTERNAL"),
        "details": details,
    }
    extra = {name: value for name, value in refusal.fields.items() if name not in inner}
    return msgspec.json.encode({"error": {**inner, **extra}})


def _read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    inner = tokens.member(data, "response")
    if "candidates" in inner or "usageMetadata" in inner:  # Code Assist wraps what the API gives
        data = inner
    if refused := errors.read(data, "event" if name else "body"):
        yield refused
        return
    if _is_interaction(data):
        yield from _interaction(data)
        return
    yield from tokens.text("id", data, "responseId")
    yield from tokens.text("model", data, "modelVersion")
    yield from tokens.text("created", data, "createTime")
    for candidate in tokens.dicts(data.get("candidates")):
        yield from _candidate(candidate)
    yield from _usage(data.get("usageMetadata"))
    yield from _blocked(tokens.member(data, "promptFeedback"))
    if "candidates" not in data:
        yield from _resource(data)


def _holds_answer(suffix: str, data: dict[str, Any]) -> bool:
    # a blocked prompt is answered by the reason; where every picture is blocked, `:predict` answers `{}`
    if _TEXT.search(suffix):
        return any(fact.kind in ("content", "finish") for fact in _read("", data))
    named = [name for name in _RESULTS if name in data]
    return bool(data or suffix.endswith(":predict")) and (not named or any(data[name] for name in named))


def _candidate(candidate: dict[str, Any]) -> Iterator[Fact]:
    first = not candidate.get("index")
    for part in tokens.dicts(tokens.member(candidate, "content").get("parts")):
        yield from _part(part, first)
    reason = candidate.get("finishReason")
    if isinstance(reason, str) and reason != "FINISH_REASON_UNSPECIFIED":
        yield Fact("finish", reason, str(candidate.get("index") or 0))
        yield Fact("end", "finishReason")


def _part(part: dict[str, Any], first: bool) -> Iterator[Fact]:
    text = part.get("text")
    if isinstance(text, str) and text:
        yield Fact("content", "reasoning" if part.get("thought") else "text")
        if first and not part.get("thought"):
            yield Fact("text", text)
    elif call := tokens.member(part, "functionCall"):
        yield Fact("content", "tool")
        yield from tokens.token(call.get("id"), "tool")
        if isinstance(call.get("name"), str):
            yield Fact("tool", call["name"])
    elif any(member in part for member in ("inlineData", "executableCode", "codeExecutionResult", "fileData")):
        yield Fact("content", "tool")
    yield from tokens.signature(part.get("thoughtSignature"))


def _blocked(feedback: dict[str, Any]) -> Iterator[Fact]:
    if isinstance(feedback.get("blockReason"), str):
        yield Fact("finish", feedback["blockReason"], "0")
        yield Fact("end", "blockReason")


def _is_interaction(data: dict[str, Any]) -> bool:
    return "event_type" in data or data.get("object") == "interaction" or ("steps" in data and "status" in data)


def _interaction(data: dict[str, Any]) -> Iterator[Fact]:
    event = str(data.get("event_type") or "")
    whole = tokens.member(data, "interaction") or ({} if event else data)
    yield from tokens.text("id", whole, "id")
    yield from tokens.text("model", whole, "model")
    for output in tokens.dicts(whole.get("outputs")):
        yield from _output(output, "whole" if event else "")
    for step in (*tokens.dicts(whole.get("steps")), tokens.member(data, "step")):
        yield from _step(step, "whole" if event and whole else "")
    yield from _output(tokens.member(data, "delta"), "")
    yield from _usage(whole.get("usage"))
    if event in ("interaction.complete", "interaction.completed"):
        yield Fact("finish", str(whole.get("status") or "completed"), "0")
        yield Fact("end", event)


def _step(step: dict[str, Any], where: str) -> Iterator[Fact]:
    kind = step.get("type")  # inputs of the user and results of tools are no answer
    if kind == "model_output":
        for content in tokens.dicts(step.get("content")):
            yield from _output(content, where)
    elif isinstance(kind, str) and kind not in ("user_input", "") and not kind.endswith("_result"):
        yield from _output(step, where)
        if isinstance(step.get("name"), str):
            yield Fact("tool", step["name"])


def _output(output: dict[str, Any], where: str) -> Iterator[Fact]:
    text, kind = output.get("text"), output.get("type")
    if isinstance(text, str) and text and kind in (None, "text"):
        yield Fact("content", "text")
        yield Fact("text", text, where)
    elif isinstance(kind, str) and (kind.endswith("_call") or kind in _MADE):
        yield Fact("content", "tool")
        yield from tokens.token(output.get("id"), "tool")
    elif kind in ("thought", "thought_summary"):
        yield Fact("content", "reasoning")
    yield from tokens.signature(output.get("signature"))


def _resource(data: dict[str, Any]) -> Iterator[Fact]:
    thing = tokens.member(data, "file") or data
    name = thing.get("name")
    for prefix, where in (("cachedContents/", "cache"), ("files/", "file"), ("batches/", "batch")):
        if isinstance(name, str) and (name.startswith(prefix) or f"/{prefix}" in name):
            yield from tokens.token(name, where)
            yield from tokens.token(thing.get("uri"), where)
    for listing in ("files", "cachedContents", "operations"):
        for entry in tokens.dicts(data.get(listing))[:100]:
            yield from _resource(entry)


def _usage(usage: object) -> Iterator[Fact]:
    if not isinstance(usage, dict):
        return
    yield Fact(
        "usage",
        Usage(
            prompt=tokens.count(usage, "promptTokenCount", "total_input_tokens")
            + tokens.count(usage, "toolUsePromptTokenCount", "total_tool_use_tokens"),
            completion=tokens.count(usage, "candidatesTokenCount", "total_output_tokens")
            + tokens.count(usage, "thoughtsTokenCount", "total_thought_tokens", "total_reasoning_tokens"),
            cached=tokens.count(usage, "cachedContentTokenCount", "total_cached_tokens"),
        ),
    )


def _read_calls(data: dict[str, Any]) -> Iterator[Fact]:
    data = tokens.member(data, "response") or data  # Code Assist wraps what the API gives
    for candidate in tokens.dicts(data.get("candidates"))[:1]:
        for part in tokens.dicts(tokens.member(candidate, "content").get("parts")):
            call = tokens.member(part, "functionCall")
            # a call comes in one piece and without a number: a name begins the next call
            yield from tokens.call("", call.get("name"), call.get("args"))


class _CandidateOrder(StreamOrder):
    """Every chunk with candidates bears the id of its answer."""

    __slots__ = ()

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        data = inner if isinstance(inner := data.get("response"), dict) else data
        candidates = data.get("candidates")
        if candidates and isinstance(candidates, list):
            yield from self.name(data.get("responseId"), index_of(candidates[0]))


def _hides_models(suffix: str, raw: bytes) -> bool:
    if "batch" not in suffix.lower():
        return False
    try:
        batch = _folded(raw).get("batch", b"{}")
        source = _folded(_folded(batch).get("inputconfig", b"{}"))
    except ValueError:
        return False  # the body is sealed already: its members could not be read either
    return bool(source.keys() - {"requests"})


def _folded(raw: bytes) -> dict[str, bytes]:
    return {name.replace("_", "").casefold(): value for name, value in members(raw).items()}


def _without_sealed(body: Body, keeps: Keeps) -> bytes:
    raw = body.raw or b""
    edits: list[Splice] = []
    if span := body.span("contents"):
        edits += _unsigned(raw, span[0], keeps)
    if span := body.span("request"):  # Code Assist wraps what the API takes
        for member in json_splice.members(raw, span[0]):
            if member.name == "contents":
                edits += _unsigned(raw, member.value, keeps)
    return json_splice.edited(raw, edits)


def _unsigned(raw: bytes, at: int, keeps: Keeps) -> Iterator[Splice]:
    for content in json_splice.items(raw, at):
        if raw.find(b"ignature", content.start, content.end) < 0:
            continue
        for member in json_splice.members(raw, content.value):
            for part in json_splice.items(raw, member.value) if member.name == "parts" else ():
                yield from _unsigned_part(raw, json_splice.members(raw, part.value), keeps)


def _unsigned_part(raw: bytes, part: list[JsonPart], keeps: Keeps) -> Iterator[Splice]:
    calls = any(member.name in ("functionCall", "function_call") for member in part)
    for place, member in enumerate(part):
        if member.name in _SIGNATURES and not keeps(json_splice.string(raw[member.value : member.end])):
            if calls:
                yield member.value, member.end, _UNSIGNED
            else:
                yield from json_splice.removed(part, {place})


DIALECT = Dialect(
    name=_NAME,
    family=_NAME,
    vendor="Gemini",
    endpoint=_endpoint,
    models_path="/v1beta/models",
    path_words=_VERBS
    | frozenset(
        "models projects publishers tunedModels endpoints dynamic cachedContents files batches operations"
        " fileSearchStores corpora interactions upload cancel".split()
    ),
    shared_paths=frozenset({"/models", "/files"}),
    is_marked=lambda headers, query: "x-goog-api-key" in headers or "&key=" in f"&{query}",
    names_model_in_path=True,
    credential_form="x-goog-api-key",
    history="contents",
    owning_marks={"contents": _FILES, "request": _FILES},
    without_sealed=_without_sealed,
    hides_models=_hides_models,
    adds=lambda body: bool(body.get("previous_interaction_id")),
    read=_read,
    read_calls=_read_calls,
    order=_CandidateOrder,
    terminal=frozenset({"finishReason", "blockReason", "interaction.complete", "interaction.completed"}),
    is_text=lambda suffix: bool(_TEXT.search(suffix) or _INTERACTIONS.search(suffix)),
    holds_answer=_holds_answer,
    streams_array=True,
    has_shape=lambda data: "candidates" in data or "candidates" in tokens.member(data, "response"),
    answer_shape=lambda suffix: _NAME if suffix.endswith((":generateContent", ":streamGenerateContent")) else "",
    transcript=gemini_transcript.TRANSCRIPT,
    outcome_rules=_OUTCOME_RULES,
    error=_error,
    error_event=lambda refusal, request_id: b"data: " + _error(refusal, request_id) + b"\n\n",
)
