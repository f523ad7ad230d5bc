"""
The order of a stream: what may follow what, in each dialect, and what stands there that belongs to another answer.

An `Order` sees every event of one streamed answer. It tells disorder as facts of kind `disorder`; *where* is the word
for what is wrong. What that word is worth is for the detectors to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..values.answer import Fact
from . import tokens

_MEMBERS = 512  # blocks, items and choices of one stream that are followed
_SHOWN = 80  # characters of an id in a fact
# Anthropic: what each kind of delta goes into, by the end of the block's type; other kinds are not judged.
_DELTAS = {
    "text_delta": "text", "citations_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}  # fmt: skip
_BLOCKS = frozenset({"text", "thinking", "tool_use", "server_tool_use", "mcp_tool_use"})
_SERVED = ("server_", "mcp_", "web_", "code_", "bash_", "text_editor_", "tool_search")
_INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_RESPONSE_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})


class Order:
    """Follows one stream in *dialect*; a dialect without an order of its own is never out of order."""

    __slots__ = (
        "_began", "_called", "_closed", "_ended", "_kinds", "_named_last", "_names", "_open", "_plain", "_prompt",
        "_sequence", "_step",
    )  # fmt: skip

    def __init__(self, dialect: str) -> None:
        steps: dict[str, Callable[[dict[str, Any]], Iterator[Fact]]] = {
            "openai_chat": self._chat,
            "openai_responses": self._responses,
            "anthropic": self._anthropic,
            "gemini": self._gemini,
        }
        self._step = steps.get(dialect)
        self._names: dict[object, _Names] = {}  # by choice: some servers give every choice an id of its own
        self._named_last: _Names | None = None  # those of the last event, if it bore an id that is followed
        self._began = ""
        self._ended = False
        self._open: set[object] = set()
        self._closed: set[object] = set()
        self._sequence: int | None = None
        self._plain: set[object] = set()  # choices whose content came without a role
        self._kinds: dict[object, str] = {}  # of the blocks that were opened
        self._called = False  # a tool of the client's was called
        self._prompt = 0  # tokens that it is said to have at the beginning

    def feed(self, data: dict[str, Any]) -> Iterator[Fact]:
        """Yield what *data*, the next event, is out of order with."""
        self._named_last = None
        if self._step is not None:
            yield from self._step(data)

    def again(self, number: int | None) -> Iterator[Fact]:
        """Yield what an event is out of order with that differs from the last one in its text and its *number*."""
        if self._named_last is not None:
            self._named_last.runs[-1][1] += 1
        if number is not None:
            yield from self._counted(number)

    def end(self) -> Iterator[Fact]:
        """Yield what is known at the end only: that the stream went over from one answer to another."""
        for names in self._names.values():
            runs = names.runs
            if len(runs) == 2 and all(length >= 2 for _, length in runs):
                yield _disorder("switch", f"{runs[0][0]} → {runs[1][0]}")

    def done(self) -> Iterator[Fact]:
        """Take note of `[DONE]`, after which nothing may come."""
        self._ended = True
        yield from ()

    # -- one dialect each ------------------------------------------------------------------------------------------

    def _chat(self, data: dict[str, Any]) -> Iterator[Fact]:
        choices = data.get("choices")
        if not choices or not isinstance(choices, list):
            return  # usage alone, or what a filter says first: their ids are often blank
        yield from self._named(data.get("id"), _index(choices[0]))
        if self._ended:
            yield _disorder("after-end", "a chunk after [DONE]")
        for choice in choices:
            if isinstance(choice, dict):
                yield from self._choice(choice)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Fact]:
        index, delta = _index(choice), choice.get("delta")
        called = isinstance(delta, dict) and bool(delta.get("tool_calls") or delta.get("function_call"))
        self._called = self._called or called
        if choice.get("finish_reason") == "tool_calls" and not self._called:
            yield _disorder("no-call", f"choice {_shown(index)}")
        said = isinstance(delta, dict) and bool(delta.get("content") or delta.get("tool_calls"))
        role = isinstance(delta, dict) and bool(delta.get("role"))
        if said and index in self._closed:
            yield _disorder("after-finish", f"choice {_shown(index)}")
        if role and index in self._plain and not said:
            yield _disorder("role-again", f"choice {_shown(index)}")
        if said and not role and len(self._plain) < _MEMBERS:
            self._plain.add(index)
        if choice.get("finish_reason") and len(self._closed) < _MEMBERS:
            self._closed.add(index)

    def _responses(self, data: dict[str, Any]) -> Iterator[Fact]:
        kind, response = data.get("type"), data.get("response")
        if not isinstance(kind, str):
            return
        yield from self._counted(data.get("sequence_number"))
        if self._ended and kind.startswith("response."):
            yield _disorder("after-end", kind[:_SHOWN])
        if kind == "response.created" and isinstance(response, dict):
            yield from self._started(response.get("id"))
        elif isinstance(response, dict) and self._began and response.get("id") not in ("", None, self._began):
            yield _disorder("another-end", f"{self._began} → {_shown(response.get('id'))}")
        elif kind == "response.output_item.added" and isinstance(data.get("item"), dict):
            self._opened(data["item"].get("id"))
        elif (item := data.get("item_id")) and isinstance(item, str) and self._open and item not in self._open:
            yield _disorder("unopened", _shown(item))
        self._ended = self._ended or kind in _RESPONSE_ENDS

    def _counted(self, number: object) -> Iterator[Fact]:
        if not isinstance(number, int) or isinstance(number, bool):
            return
        before, self._sequence = self._sequence, number
        if before is not None and number <= before:
            yield _disorder("sequence-back", f"{before} → {number}")
        elif before is not None and number > before + 1:
            yield _disorder("sequence-gap", f"{before} → {number}")

    def _anthropic(self, data: dict[str, Any]) -> Iterator[Fact]:
        kind, index = data.get("type"), data.get("index")
        if self._ended and kind not in ("ping", "error"):
            yield _disorder("after-end", str(kind)[:_SHOWN])
        match kind:
            case "message_start":
                message = tokens.member(data, "message")
                yield from self._started(message.get("id"))
                self._prompt = _prompt_of(message)
            case "content_block_start" if isinstance(index, int):
                if index in self._open or index in self._closed:
                    yield _disorder("opened-twice", f"block {index}")
                self._opened(index)
                self._kind(index, str(tokens.member(data, "content_block").get("type") or ""))
            case "content_block_delta" if isinstance(index, int) and index not in self._open:
                yield _disorder("unopened", f"block {index}")
            case "content_block_delta":
                yield from self._fits(index, tokens.member(data, "delta").get("type"))
            case "content_block_stop" if isinstance(index, int):
                if index not in self._open:
                    yield _disorder("unopened", f"block {index}")
                self._open.discard(index)
                if len(self._closed) < _MEMBERS:
                    self._closed.add(index)
            case "message_delta":
                yield from self._closing(data)
            case "message_stop":
                self._ended = True

    def _kind(self, index: int, kind: str) -> None:
        if len(self._kinds) < _MEMBERS:
            self._kinds[index] = kind[:_SHOWN]
            self._called = self._called or kind == "tool_use"

    def _fits(self, index: object, delta: object) -> Iterator[Fact]:
        kind = self._kinds.get(index, "") if isinstance(index, int) else ""
        wanted = _DELTAS.get(delta) if isinstance(delta, str) else None
        if wanted and kind in _BLOCKS and not kind.endswith(wanted):
            yield _disorder("wrong-delta", f"{delta} in {kind}")

    def _closing(self, data: dict[str, Any]) -> Iterator[Fact]:
        if tokens.member(data, "delta").get("stop_reason") == "tool_use" and not self._called:
            yield _disorder("no-call", "tool_use")
        if "context_management" in data or "iterations" in tokens.member(data, "usage"):
            return
        if any(kind.startswith(_SERVED) for kind in self._kinds.values()):  # they add to the prompt as they go
            return
        begun, ended = self._prompt, _prompt_of(data)
        if begun and ended and begun != ended:  # 0 is a server that does not count there
            yield _disorder("another-prompt", f"{begun} → {ended} tokens")

    def _gemini(self, data: dict[str, Any]) -> Iterator[Fact]:
        inner = data.get("response")
        if isinstance(inner, dict):
            data = inner
        candidates = data.get("candidates")
        if candidates and isinstance(candidates, list):
            yield from self._named(data.get("responseId"), _index(candidates[0]))

    # -- what they share -------------------------------------------------------------------------------------------

    def _named(self, name: object, choice: int) -> Iterator[Fact]:
        """
        Follow the id that every event of a *choice* carries. Two that come in turn are two answers in one stream.

        Once is not enough: gateways put an id of their own on the first and the last event.
        """
        if not isinstance(name, str) or not name:
            return
        names = self._names.get(choice)
        if names is None:
            if len(self._names) >= _MEMBERS:
                return
            names = self._names[choice] = _Names()
        self._named_last = names
        runs = names.runs
        if runs and runs[-1][0] == name:
            runs[-1][1] += 1
            return
        if any(run[0] == name for run in runs[:-1]):
            names.returns += 1
        if names.returns > 1:
            yield _disorder("alternates", f"{runs[-1][0]} → {_shown(name)}")
        if len(runs) < 8:
            runs.append([_shown(name), 1])

    def _started(self, name: object) -> Iterator[Fact]:
        if not isinstance(name, str) or not name:
            return
        if self._began and name != self._began:
            yield _disorder("two-starts", f"{self._began} → {_shown(name)}")
        self._began = self._began or _shown(name)

    def _opened(self, name: object) -> None:
        if isinstance(name, str | int) and len(self._open) < _MEMBERS:
            self._open.add(name)


class _Names:
    """The ids that the events of one choice bear: runs of [id, how many events in a row], and returns to an old one."""

    __slots__ = ("returns", "runs")

    def __init__(self) -> None:
        self.runs: list[list[Any]] = []
        self.returns = 0


def _index(choice: object) -> int:
    index = choice.get("index") if isinstance(choice, dict) else 0
    return index if isinstance(index, int) else 0


def _prompt_of(data: dict[str, Any]) -> int:
    """Return the tokens of the whole prompt, as Anthropic counts them: what the cache had stands beside the rest."""
    usage = tokens.member(data, "usage")
    return sum(tokens.count(usage, name) for name in _INPUT)


def _disorder(what: str, shown: str) -> Fact:
    return Fact("disorder", shown, what)


def _shown(value: object) -> str:
    return str(value)[:_SHOWN]
