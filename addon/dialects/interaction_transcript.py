"""Google's interactions as transcripts: their steps, the outputs of earlier versions, and their streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..values.transcript import Block, Detail, OfferedTool, Transcript, TranscriptTurn
from .members import Json, JsonMembers, error, json_text, media_kind, of_contents, other, result
from .stream_join import StreamJoin, extend, merge, settled

_ENDS = frozenset({"interaction.complete", "interaction.completed"})
_MEDIA = frozenset({"image", "audio", "video", "document"})
_THOUGHTS = frozenset({"thought", "thought_summary"})


def is_interaction(body: Json) -> bool:
    """Whether *body* is an interaction rather than an answer with candidates."""
    return body.get("object") == "interaction" or ("status" in body and ("steps" in body or "outputs" in body))


def of_request(body: Json) -> Transcript:
    """Return a request that begins or continues an interaction."""
    members = JsonMembers(body)
    model = members.text("model", "agent")
    tools = tuple(_tool(tool) for tool in members.items("tools"))
    turns = tuple(_steps(members.take("input")))
    return Transcript(model, _system(members), tools, turns, settings=members.rest())


def of_answer(body: Json) -> Transcript:
    """Return an interaction."""
    members = JsonMembers(body)
    failed = error(members)
    members.text("object")
    steps = (*_steps(members.take("input")), *_steps(members.take("steps")), *_steps(members.take("outputs"), "model"))
    model, usage, stop = members.text("model", "agent"), members.numbers("usage"), members.text("status")
    tools = tuple(_tool(tool) for tool in members.items("tools"))
    return Transcript(model, _system(members), tools, steps, usage, members.rest(), stop, failed)


def _system(members: JsonMembers) -> tuple[Block, ...]:
    given = members.take("system_instruction")
    return tuple(_contents(given)) if given else ()


def _tool(tool: Any) -> OfferedTool:
    members = JsonMembers(tool)
    kind = members.text("type")
    name, description, schema = members.text("name"), members.text("description"), members.json("parameters")
    known = (Detail("type", kind),) if name and kind not in ("", "function") else ()
    return OfferedTool(name or kind, description, schema, (*known, *members.rest()))


def _steps(given: Any, role: str = "user") -> Iterator[TranscriptTurn]:
    if given is None or given == "":
        return
    entries = given if isinstance(given, list) else [given]
    for turn in map(_step, entries):
        if turn.role:
            yield turn
        else:  # contents without a step
            yield TranscriptTurn("assistant" if role == "model" else role, turn.blocks, turn.details)


def _step(step: Any) -> TranscriptTurn:
    members = JsonMembers(step if not isinstance(step, str) else {"type": "text", "text": step})
    kind, role = members.text("type"), members.text("role")
    if role or kind in ("user_input", "model_output"):
        said = tuple(_contents(members.take("content")))
        role = role or ("user" if kind == "user_input" else "assistant")
        return TranscriptTurn("assistant" if role == "model" else role, said, members.rest())
    if kind.endswith("_call"):
        return TranscriptTurn("assistant", (_call(kind, members),))
    if kind.endswith("_result"):
        return TranscriptTurn("tool", (_result(kind, members),))
    if kind in _THOUGHTS:
        return TranscriptTurn("assistant", (_thought(members),))
    return TranscriptTurn("", (_content(kind, members),))


def _contents(given: Any) -> list[Block]:
    if given is None or given == "":
        return []
    found = []
    for entry in given if isinstance(given, list) else [given]:
        members = JsonMembers(entry if not isinstance(entry, str) else {"type": "text", "text": entry})
        found.append(_content(members.text("type"), members))
    return found


def _content(kind: str, members: JsonMembers) -> Block:
    if kind in ("text", "") and isinstance(members.peek("text"), str):
        return Block("text", members.text("text"), details=members.rest())
    if kind in _MEDIA:
        media_type, contents, place = members.text("mime_type"), members.text("data"), members.text("uri")
        media = of_contents(contents, media_type, place)
        return Block(media_kind(media_type or kind), media=media, details=members.rest())
    return other(members, kind)


def _thought(members: JsonMembers) -> Block:
    told = _contents(members.take("summary")) or _contents(members.take("content"))
    if all(block.kind == "text" and not block.details for block in told):
        return Block("thinking", "\n\n".join(block.text for block in told), details=members.rest())
    return Block("thinking", blocks=tuple(told), details=members.rest())


def _call(kind: str, members: JsonMembers) -> Block:
    name, call_id = members.text("name"), members.text("id")
    known = (Detail("type", kind),) if name and kind != "function_call" else ()
    return Block("call", members.json("arguments"), name or kind, call_id, details=(*known, *members.rest()))


def _result(kind: str, members: JsonMembers) -> Block:
    name, call_id, said = members.text("name"), members.text("call_id"), members.take("result")
    given: str | list[Block] = said if isinstance(said, str) else "" if said is None else json_text(said)
    if isinstance(said, list) and all(isinstance(one, dict) and "type" in one for one in said):
        given = _contents(said)
    known = (Detail("type", kind),) if kind != "function_result" else ()
    return result(given, name=name, id=call_id, details=(*known, *members.rest()))


class StepJoin(StreamJoin):
    """Puts the steps of an interaction together."""

    envelope = frozenset({"event_type", "event_id", "index"})

    def __init__(self) -> None:
        super().__init__()
        self._steps: dict[Any, Json] = {}

    def feed(self, name: str, event: Json) -> None:
        kind, place = str(event.get("event_type")), str(event.get("index"))
        known: tuple[str, ...] = ()
        if isinstance(whole := event.get("interaction"), dict):
            merge(self.document, {name: value for name, value in whole.items() if value != [] or name != "steps"})
            self.ended = self.ended or kind in _ENDS
            known = ("interaction",)
        elif isinstance(step := event.get("step"), dict):
            if place in self._steps:
                self.put_aside({"earlier": self._steps[place]})
            self._steps[place] = step
            known = ("step",)
        elif isinstance(delta := event.get("delta"), dict):
            self._continue(place, delta)
            known = ("delta",)
        elif kind == "error":
            self.fail({name: value for name, value in event.items() if name not in self.envelope})
            return
        self.merge_rest(event, known)

    def end(self) -> None:
        if self._steps:
            self.document.setdefault("status", None)  # of a stream that lacks its begin
        if self._steps and not self.document.get("steps"):
            self.document["steps"] = [*self._steps.values()]
        elif self._steps:
            self.put_aside({"steps": [*self._steps.values()]})
        super().end()
        self.aside = [*map(settled, self.aside)]

    def _continue(self, place: str, delta: Json) -> None:
        step = self._steps.setdefault(place, {"type": _step_type(delta)})
        match delta:
            case {"type": "text", "text": str(text)}:
                extend(self._last(step, "content", "text"), "text", text)
            case {"type": "arguments_delta", "arguments": str(text)}:
                if not isinstance(step.get("arguments"), str | list):
                    step["arguments"] = ""
                extend(step, "arguments", text)
            case {"type": "thought_summary"}:
                self._list(step, "summary").append(delta.get("content"))
            case {"type": "text_annotation_delta", "annotations": list(found)}:
                self._list(self._last(step, "content", "text"), "annotations").extend(found)
            case {"type": "image" | "audio" | "video" | "document"}:
                self._list(step, "content").append(delta)
            case _:
                merge(step, {name: value for name, value in delta.items() if name != "type"})

    def _last(self, step: Json, name: str, kind: str) -> Json:
        entries = self._list(step, name)
        if not entries or not isinstance(entries[-1], dict) or entries[-1].get("type") != kind:
            entries.append({"type": kind})
        found: Json = entries[-1]
        return found

    def _list(self, into: Json, name: str) -> list[Any]:
        if not isinstance(into.get(name), list):
            into[name] = []
        found: list[Any] = into[name]
        return found


def _step_type(delta: Json) -> str:
    kind = str(delta.get("type"))
    if kind in ("text", "text_annotation_delta", *_MEDIA):
        return "model_output"
    return {"arguments_delta": "function_call", "thought_summary": "thought", "thought_signature": "thought"}.get(
        kind, kind
    )
