"""Chat completions and their streams as transcripts, text completions, embeddings, moderations and rankings."""

from __future__ import annotations

from typing import Any

from ..values.transcript import Block, Transcript, TranscriptTurn
from .members import Json, JsonMembers, error, json_text, of_contents, other, result
from .openai_blocks import audio, call, instructions, merged, offered, part, parts
from .stream_join import StreamJoin, coalesced, extend, grow, merge
from .transcript_form import TranscriptForm

_THOUGHTS = ("reasoning_content", "reasoning")  # two names of one thing: some servers send both
_PLAIN = ("system", "user", "assistant")
_LISTS = {"/embeddings": "embedding", "/moderations": "moderation", "/rerank": "ranking"}


def _request(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    said = [_turn(message) for message in members.items("messages")]
    if not said:  # completions and images; embeddings, moderations and speech
        said = [*_given(members.take("prompt")), *_given(members.take("input"))]
    system, turns = instructions(said)
    tools = tuple(offered(tool) for tool in (*members.items("tools"), *members.items("functions")))
    return Transcript(members.text("model"), system, tools, merged(turns), settings=members.rest())


def _given(value: Any) -> list[TranscriptTurn]:
    if value is None:
        return []
    several = isinstance(value, list) and value and isinstance(value[0], str | dict)
    if isinstance(value, list) and not several:  # tokens, or lists of them
        return [TranscriptTurn("user", (Block("other", json_text(value), "tokens"),))]
    return [TranscriptTurn("user", (part(entry),)) for entry in (value if isinstance(value, list) else [value])]


def _answer(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    failed = error(members)
    choices = members.items("choices")
    turns = [_choice(choice, at) for at, choice in enumerate(choices)] or _listed(suffix, members)
    stop = JsonMembers(choices[0]).text("finish_reason") if choices else ""
    model, usage = members.text("model"), members.numbers("usage")
    members.text("object")
    return Transcript(model, turns=tuple(turns), usage=usage, stop=stop, error=failed, settings=members.rest())


def _choice(choice: Any, at: int) -> TranscriptTurn:
    members = JsonMembers(choice)
    index = members.take("index") if isinstance(members.peek("index"), int) else at
    if not at:
        members.text("finish_reason")  # the transcript's own
    said = _turn(members.take("message")) if isinstance(members.peek("message"), dict) else TranscriptTurn("")
    text = members.text("text")  # of the old completions
    blocks = (*said.blocks, Block("text", text)) if text else said.blocks
    return TranscriptTurn(said.role or "assistant", blocks, (*said.details, *members.rest()), index)


def _listed(suffix: str, members: JsonMembers) -> list[TranscriptTurn]:
    """Read an answer that is a list of results, or a transcription."""
    kind = _LISTS.get(suffix, "")
    blocks = [Block("text", text)] if (text := members.text("text")) else []
    blocks += [_entry(entry, kind) for name in ("data", "results") for entry in members.items(name)]
    return [TranscriptTurn("assistant", tuple(blocks))] if blocks else []


def _entry(entry: Any, kind: str) -> Block:
    members = JsonMembers(entry)
    if isinstance(members.peek("embedding"), list):
        return Block("other", json_text(members.take("embedding")), "embedding", details=members.rest())
    if coded := members.text("embedding"):
        return Block("other", name="embedding", media=of_contents(coded, "base64"), details=members.rest())
    if picture := members.text("b64_json"):
        return Block("image", media=of_contents(picture, ""), details=members.rest())
    return other(members, kind or members.text("object"))


def _turn(message: Any) -> TranscriptTurn:
    if not isinstance(message, dict):
        return _any_turn(message)
    role, content, size = message.get("role"), message.get("content"), len(message)  # the plain forms first: nearly all
    if size == 2 and content and isinstance(content, str) and role in _PLAIN:
        return TranscriptTurn(role, (Block("text", content),))
    if size == 3 and role == "tool" and isinstance(content, str) and isinstance(at := message.get("tool_call_id"), str):
        return TranscriptTurn("tool", (Block("result", content, id=at),))
    if size == 3 and role == "assistant" and "content" in message and isinstance(message.get("tool_calls"), list):
        return TranscriptTurn("assistant", (*parts(content), *[call(each) for each in message["tool_calls"]]))
    return _any_turn(message)


def _any_turn(message: Any) -> TranscriptTurn:
    members = JsonMembers(message)
    role = members.text("role")
    blocks = [*_thoughts(members), *parts(members.take("content"))]
    if refusal := members.text("refusal"):
        blocks.append(Block("refusal", refusal))
    if isinstance(members.peek("audio"), dict):
        source = members.inner("audio")
        blocks.append(audio(source, source))
    blocks += [part(picture) for picture in members.items("images")]  # OpenRouter's
    blocks += [call(entry) for entry in members.items("tool_calls")]
    if isinstance(members.peek("function_call"), dict):
        blocks.append(call({"function": members.take("function_call")}))
    if role in ("tool", "function"):
        name, call_id = members.text("name"), members.text("tool_call_id")
        return TranscriptTurn("tool", (result(blocks, name=name, id=call_id, details=members.rest()),))
    return TranscriptTurn(role, tuple(blocks), members.rest())


def _thoughts(members: JsonMembers) -> list[Block]:
    found = [text for name in _THOUGHTS if (text := members.text(name))]
    return [Block("thinking", text) for text in dict.fromkeys(found)]


class _ChatJoin(StreamJoin):
    envelope = frozenset({"created", "obfuscation"})

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, Json] = {}

    def feed(self, name: str, event: Json) -> None:
        if event.get("error") or name == "error":
            self.fail(event)
        elif "choices" not in event and "usage" not in event:
            self.put_aside(event)
        else:
            choices = event.get("choices")
            kept = [choice for choice in choices if not self._take(choice)] if isinstance(choices, list) else choices
            if kept:
                self.put_aside({"choices": kept})
            if "created" in event:
                self.document.setdefault("created", event["created"])
            self.merge_rest(event, ("choices", "object"))

    def end(self) -> None:
        self.document["choices"] = [self._choices[index] for index in sorted(self._choices)]
        super().end()
        for choice in self.document["choices"]:
            if isinstance(content := choice["message"].get("content"), list):
                choice["message"]["content"] = coalesced(content)

    def _take(self, choice: Any) -> bool:
        if not isinstance(choice, dict):
            return False
        index = choice.get("index")
        known = self._choices.setdefault(index if isinstance(index, int) else 0, {"index": index, "message": {}})
        for name, value in choice.items():
            if name in ("delta", "message"):
                grow(known["message"], value if isinstance(value, dict) else {"content": value})
            elif name == "text" and isinstance(value, str):
                extend(known, name, value)
            elif name == "logprobs" and isinstance(value, dict):
                grow(known, {name: value})
            elif isinstance(value, dict):
                merge(known, {name: value})
            elif name != "index" and value is not None:
                known[name] = value
        self.ended = self.ended or isinstance(choice.get("finish_reason"), str)
        return True


TRANSCRIPT = TranscriptForm(_request, _answer, _ChatJoin)
