"""Google's generateContent and its streams as transcripts, in camel and snake case, and as Code Assist wraps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from ..values.transcript import Block, Detail, OfferedTool, Transcript, TranscriptTurn
from . import interaction_transcript
from .members import Json, JsonMembers, error, json_text, media_kind, of_contents, of_place, other, result
from .order import index_of
from .stream_join import StreamJoin, extend, merge, taken_list
from .transcript_form import TranscriptForm

_ROLES = {"model": "assistant", "function": "tool"}
_PLAIN = {"role", "parts"}
_PLAIN_CALL, _PLAIN_RESPONSE = {"name", "args"}, {"name", "response"}
_ANSWERS = ("candidates", "usageMetadata", "promptFeedback")


def _request(suffix: str, body: Json) -> Transcript:
    if "input" in body and "contents" not in body:
        return interaction_transcript.of_request(body)
    members = JsonMembers(body)
    if isinstance(members.peek("request"), dict):  # Code Assist
        inner, outer = members.inner("request"), members
    elif isinstance(members.peek("generateContentRequest"), dict):  # of countTokens
        inner, outer = members.inner("generateContentRequest"), members
    else:
        inner, outer = members, JsonMembers(None)
    contents = [_turn(content) for content in inner.items("contents")]
    if isinstance(inner.peek("content"), dict):  # an embedding
        contents.append(_turn(inner.take("content")))
    system = _turn(inner.take("systemInstruction") or inner.take("system_instruction"))
    settings = (*(Detail(f"systemInstruction.{each.name}", each.value) for each in system.details),)
    model = outer.text("model") or inner.text("model")
    tools = tuple(found for tool in inner.items("tools") for found in _tools(tool))
    return Transcript(model, system.blocks, tools, tuple(contents), settings=(*settings, *outer.rest(), *inner.rest()))


def _answer(suffix: str, body: Json) -> Transcript:
    if interaction_transcript.is_interaction(body):
        return interaction_transcript.of_answer(body)
    inner = body.get("response")
    if isinstance(inner, dict) and any(name in inner for name in _ANSWERS):  # Code Assist
        body = {**{name: value for name, value in body.items() if name != "response"}, **inner}
    members = JsonMembers(body)
    failed = error(members)
    stop, turns = "", []
    for at, candidate in enumerate(members.items("candidates")):
        found = JsonMembers(candidate)
        if not at:
            stop = found.text("finishReason", "finish_reason")
        turns.append(_candidate(found, at))
    feedback = members.inner("promptFeedback", "prompt_feedback")
    stop = stop or feedback.text("blockReason", "block_reason")
    usage = members.numbers("usageMetadata") or members.numbers("usage_metadata")
    if "totalTokens" in members:
        usage = (Detail("totalTokens", members.take("totalTokens")), *usage)
    model = members.text("modelVersion", "model_version")
    settings = (*feedback.rest("promptFeedback."), *members.rest())
    return Transcript(model, turns=tuple(turns), usage=usage, stop=stop, error=failed, settings=settings)


def _candidate(members: JsonMembers, at: int) -> TranscriptTurn:
    index = members.take("index") if isinstance(members.peek("index"), int) else at
    said = _turn(members.take("content")) if "content" in members else TranscriptTurn("")
    details = (*said.details, *members.rest())
    return TranscriptTurn(said.role or "assistant", said.blocks, details, index)


def _turn(content: Any) -> TranscriptTurn:
    if isinstance(content, dict) and {*content} == _PLAIN:  # nearly all
        role, parts = content["role"], content["parts"]
        if isinstance(role, str) and isinstance(parts, list):
            return _turn_of(role, [_part(part) for part in parts], ())
    if isinstance(content, list):  # parts without their content
        content = {"parts": content}
    members = JsonMembers(content if not isinstance(content, str) else {"parts": [{"text": content}]})
    role = members.text("role")
    parts = members.take("parts")
    blocks = [_part(part) for part in (parts if isinstance(parts, list) else [] if parts is None else [parts])]
    return _turn_of(role, blocks, members.rest())


def _turn_of(role: str, blocks: Sequence[Block], rest: tuple[Detail, ...]) -> TranscriptTurn:
    is_tools = bool(blocks) and role in ("", "user") and all(block.kind == "result" for block in blocks)
    return TranscriptTurn("tool" if is_tools else _ROLES.get(role, role), tuple(blocks), rest)


def _tools(tool: Any) -> Iterator[OfferedTool]:
    members = JsonMembers(tool)
    for function in members.items("functionDeclarations", "function_declarations"):
        each = JsonMembers(function)
        name, description = each.text("name"), each.text("description")
        schema = each.json("parameters", "parametersJsonSchema", "parameters_json_schema")
        yield OfferedTool(name, description, schema, each.rest())
    if isinstance(tool, dict):
        for name in tool:
            if members.peek(name) is not None:
                yield OfferedTool(name, details=JsonMembers(members.take(name)).rest())
    elif rest := members.rest():
        yield OfferedTool("", details=rest)


def _part(part: Any) -> Block:
    if isinstance(part, str):
        return Block("text", part)
    if isinstance(part, dict) and len(part) == 1:  # nearly all
        if isinstance(text := part.get("text"), str):
            return Block("text", text)
        if isinstance(call := part.get("functionCall"), dict) and {*call} == _PLAIN_CALL:
            name, arguments = call["name"], call["args"]
            if isinstance(name, str) and isinstance(arguments, dict):
                return Block("call", json_text(arguments), name)
        answer = part.get("functionResponse")
        if isinstance(answer, dict) and {*answer} == _PLAIN_RESPONSE and isinstance(answer["name"], str):
            return Block("result", _said(answer["response"]), answer["name"])
    return _any_part(part)


def _any_part(part: Any) -> Block:
    members = JsonMembers(part)
    if isinstance(members.peek("text"), str):
        thinks = members.peek("thought") is True and members.take("thought")
        return Block("thinking" if thinks else "text", members.text("text"), details=members.rest())
    for name, read in _PARTS.items():
        if isinstance(members.peek(name), dict):
            block = read(members.inner(name))
            return replace(block, details=(*block.details, *members.rest()))
    return other(members)


def _call(members: JsonMembers) -> Block:
    name, call_id = members.text("name", "toolType", "tool_type"), members.text("id")
    return Block("call", members.json("args"), name, call_id, details=members.rest())


def _response(members: JsonMembers) -> Block:
    name, call_id = members.text("name", "toolType", "tool_type"), members.text("id")
    parts = [_part(part) for part in members.items("parts")]
    text = _said(members.take("response"))
    if parts:
        return Block("result", text, name, call_id, blocks=tuple(parts), details=members.rest())
    return result(text, name=name, id=call_id, details=members.rest())


def _said(response: Any) -> str:
    if isinstance(response, str) or response is None:
        return response or ""
    if isinstance(response, dict) and len(response) == 1:
        text = response.get("output", response.get("result"))  # so most clients put it
        if isinstance(text, str):
            return text
    return json_text(response)


def _inline(members: JsonMembers) -> Block:
    kind = members.text("mimeType", "mime_type")
    return Block(media_kind(kind), media=of_contents(members.text("data"), kind), details=members.rest())


def _file(members: JsonMembers) -> Block:
    kind = members.text("mimeType", "mime_type")
    return Block(media_kind(kind), media=of_place(members.text("fileUri", "file_uri"), kind), details=members.rest())


def _code(members: JsonMembers) -> Block:
    return Block("call", members.text("code"), "code_execution", members.text("id"), details=members.rest())


def _outcome(members: JsonMembers) -> Block:
    return Block("result", members.text("output"), "code_execution", members.text("id"), details=members.rest())


_PARTS = {
    "functionCall": _call, "function_call": _call, "functionResponse": _response, "function_response": _response,
    "inlineData": _inline, "inline_data": _inline, "fileData": _file, "file_data": _file,
    "executableCode": _code, "executable_code": _code, "codeExecutionResult": _outcome,
    "code_execution_result": _outcome, "toolCall": _call, "tool_call": _call, "toolResponse": _response,
    "tool_response": _response,
}  # fmt: skip


class _CandidateJoin(StreamJoin):
    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[int, Json] = {}
        self._parts: dict[int, list[Any]] = {}
        self._steps = interaction_transcript.StepJoin()

    def feed(self, name: str, event: Json) -> None:
        if "event_type" in event:
            self._steps.feed(name, event)
            return
        inner = event.pop("response", None) if isinstance(event.get("response"), dict) else None
        if isinstance(inner, dict):  # Code Assist
            event = {**event, **inner}
        if event.get("error"):
            self.fail(event)
            return
        candidates = event.get("candidates")
        kept = [one for one in candidates if not self._take(one)] if isinstance(candidates, list) else candidates
        if kept:
            self.put_aside({"candidates": kept})
        feedback = event.get("promptFeedback")
        self.ended = self.ended or (isinstance(feedback, dict) and isinstance(feedback.get("blockReason"), str))
        self.merge_rest(event, ("candidates",))

    def end(self) -> None:
        self._steps.end()
        self.ended = self.ended or self._steps.ended
        self.aside += self._steps.aside
        for index, candidate in sorted(self._candidates.items()):
            merge(candidate, {"content": {"parts": self._parts[index]}} if self._parts[index] else {})
            self.document.setdefault("candidates", []).append(candidate)
        self.document.update(self._steps.document)
        super().end()

    def _take(self, candidate: Any) -> bool:
        if not isinstance(candidate, dict):
            return False
        index = index_of(candidate)
        known = self._candidates.setdefault(index, {})
        parts = self._parts.setdefault(index, [])
        content = candidate.get("content")
        if isinstance(content, dict):
            for part in taken_list(content, "parts"):
                self._append(parts, part)
        merge(known, candidate)
        self.ended = self.ended or isinstance(candidate.get("finishReason"), str)
        return True

    def _append(self, parts: list[Any], part: Any) -> None:
        last = parts[-1] if parts else None
        if isinstance(part, dict) and isinstance(last, dict):
            if isinstance(part.get("text"), str) and "text" in last and _continues(last, part):
                extend(last, "text", part["text"])
                merge(last, {name: value for name, value in part.items() if name != "text"})
                return
            before, call = last.get("functionCall"), part.get("functionCall")
            if isinstance(before, dict) and isinstance(call, dict) and before.get("willContinue") is True:
                last["functionCall"] = _continued(before, call)
                merge(last, {name: value for name, value in part.items() if name != "functionCall"})
                return
        parts.append(part)


def _continues(last: Json, part: Json) -> bool:
    # a signature ends a text: what follows it is another one
    return last.keys() <= {"text", "thought"} and (last.get("thought") or None) == (part.get("thought") or None)


def _continued(before: Json, call: Json) -> Json:
    """Return a call whose arguments come in pieces: texts of one place go on."""
    found = {**before, **{name: value for name, value in call.items() if name != "partialArgs"}}
    pieces, more = ([*args] if isinstance(args := one.get("partialArgs"), list) else [] for one in (before, call))
    for piece in more:
        last = pieces[-1] if pieces else None
        if last is not None and _goes_on(last, piece):
            pieces[-1] = {**last, **piece, "stringValue": last["stringValue"] + piece["stringValue"]}
        else:
            pieces.append(piece)
    if "willContinue" not in call:
        found.pop("willContinue", None)
    return {**found, "partialArgs": pieces} if pieces else found


def _goes_on(last: Any, piece: Any) -> bool:
    entries = (last, piece)
    texts = all(isinstance(one, dict) and isinstance(one.get("stringValue"), str) for one in entries)
    return texts and last.get("jsonPath") == piece.get("jsonPath")


TRANSCRIPT = TranscriptForm(_request, _answer, _CandidateJoin)
