"""
Conversations as clients hold them, each an iterator of turns; and a run of many of them through the real router.

No socket and no clock: answers are written here, in the words of each dialect, and time is a number.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import Config
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Client, Headers, Origin, Request

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"
HERE = Origin("https", "llm.example", 443)
NAMES = ("amber", "birch", "cedar", "dune", "elder", "fern", "grove", "hazel")
Order = Literal["at once", "in turns", "one by one"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an answer. *id* is empty where the dialect gives none."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answers: a text, calls, or both; *id* names the answer, *signature* belongs to its thinking."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    id: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """
    One request and its answer. *side*: a call beside the conversation, which is no turn of it. *ending*: how it goes;
    a request that is `cut` gets no answer.
    """

    path: str
    body: Mapping[str, Any]
    reply: Reply
    headers: Mapping[str, str] = field(default_factory=dict)
    side: bool = False
    ending: Literal["whole", "cut"] = "whole"


Talk = Iterator[Turn]
Kind = Callable[[int, Random], Talk]


class History:
    """The messages of one conversation in the dialect of *path*, as a client writes them down."""

    def __init__(self, path: str, system: str = "", **more: Any) -> None:
        self.path, self.system, self.more = path, system, more
        self.messages: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Add what the user says."""
        self.messages.append(self._text("user", text))

    def example(self, asked: str, told: str) -> None:
        """Add a question and an answer that no model gave."""
        self.messages += [self._text("user", asked), self._text("assistant", told)]

    def hear(self, reply: Reply, ids: Sequence[str] = ()) -> None:
        """Add the *reply*; *ids* are those that the client writes for its calls."""
        names = list(ids) or [call.id for call in reply.calls]
        match self.path:
            case "/v1/chat/completions":
                calls = [
                    {"id": name, "type": "function",
                     "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
                    for name, call in zip(names, reply.calls, strict=True)
                ]  # fmt: skip
                self.messages.append(
                    {"role": "assistant", "content": reply.text or None} | ({"tool_calls": calls} if calls else {})
                )
            case "/v1/responses":
                if reply.text:
                    self.messages.append(self._text("assistant", reply.text))
                self.messages += [
                    {"type": "function_call", "call_id": name, "name": call.name,
                     "arguments": json.dumps(call.arguments)}
                    for name, call in zip(names, reply.calls, strict=True)
                ]  # fmt: skip
            case "/v1/messages":
                self.messages.append({"role": "assistant", "content": blocks(reply, names)})
            case _:
                self.messages.append({"role": "model", "parts": parts(reply)})

    def result(self, reply: Reply, text: str, ids: Sequence[str] = ()) -> None:
        """Add what the tools that *reply* called gave back."""
        names = list(ids) or [call.id for call in reply.calls]
        for name, call in zip(names, reply.calls, strict=True):
            match self.path:
                case "/v1/chat/completions":
                    self.messages.append({"role": "tool", "tool_call_id": name, "content": text})
                case "/v1/responses":
                    self.messages.append({"type": "function_call_output", "call_id": name, "output": text})
                case "/v1/messages":
                    block = {"type": "tool_result", "tool_use_id": name, "content": text}
                    self.messages.append({"role": "user", "content": [block]})
                case _:
                    answer = {"functionResponse": {"name": call.name, "response": {"output": text}}}
                    self.messages.append({"role": "user", "parts": [answer]})

    def body(self, messages: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return the request's body, with *messages* in place of all."""
        told = list(self.messages if messages is None else messages)
        match self.path:
            case "/v1/chat/completions":
                first = [{"role": "system", "content": self.system}] if self.system else []
                return {"model": "m", "messages": first + told, **self.more}
            case "/v1/responses":
                return {"model": "m", "instructions": self.system, "input": told, "store": False, **self.more}
            case "/v1/messages":
                return {"model": "m", "max_tokens": 1000, "system": self.system, "messages": told, **self.more}
            case _:
                system = {"systemInstruction": {"parts": [{"text": self.system}]}} if self.system else {}
                return {"contents": told, **system, **self.more}

    def _text(self, role: str, text: str) -> dict[str, Any]:
        match self.path, role:
            case "/v1/responses", "assistant":
                item = {"type": "output_text", "text": text}
                return {"type": "message", "role": role, "content": [item]}
            case "/v1/responses", _:
                return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
            case (str(path), _) if path == GEMINI:
                return {"role": "model" if role == "assistant" else role, "parts": [{"text": text}]}
        return {"role": role, "content": text}


def blocks(reply: Reply, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the *reply* as blocks of Anthropic's."""
    thought = [{"type": "thinking", "thinking": "hm", "signature": reply.signature}] if reply.signature else []
    text = [{"type": "text", "text": reply.text}] if reply.text else []
    calls = [
        {"type": "tool_use", "id": name, "name": call.name, "input": dict(call.arguments)}
        for name, call in zip(names, reply.calls, strict=True)
    ]
    return thought + text + calls


def parts(reply: Reply) -> list[dict[str, Any]]:
    """Return the *reply* as parts of Gemini's."""
    signed = {"thoughtSignature": reply.signature} if reply.signature else {}
    text: list[dict[str, Any]] = [{"text": reply.text}] if reply.text else []
    calls = [
        {"functionCall": ({"id": call.id} if call.id else {}) | {"name": call.name, "args": dict(call.arguments)}}
        for call in reply.calls
    ]
    told = text + calls
    return [told[0] | signed, *told[1:]]


def answer(path: str, reply: Reply, *, stream: bool) -> tuple[str, bytes]:
    """Return the content type and the bytes of *reply* in the dialect of *path*."""
    whole, events = {
        CHAT: (_chat, _chat_events), RESPONSES: (_responses, _responses_events), MESSAGES: (_messages, _messages_events)
    }.get(path, (_gemini, _gemini_events))  # fmt: skip
    if not stream:
        return "application/json", json.dumps(whole(reply)).encode()
    lines = [
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n"
        for event in events(reply)
    ]
    return "text/event-stream", "".join(lines + (["data: [DONE]\n\n"] if path == CHAT else [])).encode()


def _halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def _tools(reply: Reply) -> list[dict[str, Any]]:
    return [
        {"index": place, "id": call.id, "type": "function",
         "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for place, call in enumerate(reply.calls)
    ]  # fmt: skip


def _chat(reply: Reply) -> dict[str, Any]:
    tools = [{name: value for name, value in call.items() if name != "index"} for call in _tools(reply)]
    message = {"role": "assistant", "content": reply.text or None} | ({"tool_calls": tools} if tools else {})
    return {"id": reply.id, "object": "chat.completion", "choices": [
        {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}]}  # fmt: skip


def _chat_events(reply: Reply) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": half} for half in _halves(reply.text) if half]
    for call in _tools(reply):
        first, second = _halves(call["function"]["arguments"])
        deltas += [
            {"tool_calls": [call | {"function": {"name": call["function"]["name"], "arguments": ""}}]},
            {"tool_calls": [{"index": call["index"], "function": {"arguments": first}}]},
            {"tool_calls": [{"index": call["index"], "function": {"arguments": second}}]},
        ]
    ends: list[Any] = [{}, "tool_calls" if reply.calls else "stop"]
    for delta, reason in [*((delta, None) for delta in deltas), tuple(ends)]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield {"id": reply.id, "object": "chat.completion.chunk", "choices": [choice]}


def _items(reply: Reply) -> list[dict[str, Any]]:
    said = [{"type": "output_text", "text": reply.text, "annotations": []}]
    text = [{"type": "message", "id": f"msg_{reply.id}", "role": "assistant", "content": said}] if reply.text else []
    return text + [
        {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name,
         "arguments": json.dumps(call.arguments)}
        for call in reply.calls
    ]  # fmt: skip


def _responses(reply: Reply) -> dict[str, Any]:
    return {"id": reply.id, "object": "response", "status": "completed", "output": _items(reply)}


def _responses_events(reply: Reply) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": {"id": reply.id, "object": "response", "status": "in_progress"}}
    for place, item in enumerate(_items(reply)):
        yield {"type": "response.output_item.added", "output_index": place, "item": item | {"arguments": ""}}
        name = "output_text" if item["type"] == "message" else "function_call_arguments"
        text = reply.text if item["type"] == "message" else item["arguments"]
        for half in _halves(text):
            yield {"type": f"response.{name}.delta", "output_index": place, "item_id": item["id"], "delta": half}
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
    yield {"type": "response.completed", "response": _responses(reply)}


def _messages(reply: Reply) -> dict[str, Any]:
    return {"id": reply.id, "type": "message", "role": "assistant",
            "content": blocks(reply, [call.id for call in reply.calls]),
            "stop_reason": "tool_use" if reply.calls else "end_turn"}  # fmt: skip


def _messages_events(reply: Reply) -> Iterator[dict[str, Any]]:
    whole = _messages(reply)
    yield {"type": "message_start", "message": whole | {"content": [], "stop_reason": None}}
    for place, block in enumerate(whole["content"]):
        kind, told = block["type"], {"text": "text", "thinking": "thinking", "tool_use": "input"}[block["type"]]
        empty: Any = {} if kind == "tool_use" else ""
        start = {name: value for name, value in block.items() if name != "signature"} | {told: empty}
        yield {"type": "content_block_start", "index": place, "content_block": start}
        text = json.dumps(block[told]) if kind == "tool_use" else block[told]
        delta = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking"),
                 "tool_use": ("input_json_delta", "partial_json")}[kind]  # fmt: skip
        for half in _halves(text):
            yield {"type": "content_block_delta", "index": place, "delta": {"type": delta[0], delta[1]: half}}
        if "signature" in block:
            signed = {"type": "signature_delta", "signature": block["signature"]}
            yield {"type": "content_block_delta", "index": place, "delta": signed}
        yield {"type": "content_block_stop", "index": place}
    yield {"type": "message_delta", "delta": {"stop_reason": whole["stop_reason"]}}
    yield {"type": "message_stop"}


def _gemini(reply: Reply) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": parts(reply)}, "finishReason": "STOP"}
    return {"candidates": [candidate], "responseId": reply.id}


def _gemini_events(reply: Reply) -> Iterator[dict[str, Any]]:
    told = parts(reply)
    for place, part in enumerate(told):
        last = {"finishReason": "STOP"} if place == len(told) - 1 else {}
        yield {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}} | last],
               "responseId": reply.id}  # fmt: skip


# -- a run -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Record:
    """Where the turns of one conversation went."""

    kind: str
    accounts: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)

    @property
    def strayed(self) -> int:
        """How many later turns were not at the account of the first."""
        return sum(account != self.accounts[0] for account in self.accounts[1:])


@dataclass(frozen=True, slots=True)
class Shares:
    """What became of a run: *load* is that of the fullest account, in shares of conversations and of turns."""

    conversations: int
    load: float
    load_of_turns: float
    shared: int  # upstream sessions that two conversations have in common
    at_home: float  # share of the later turns
    split: int  # conversations of which some turn was not at home

    def __str__(self) -> str:
        return (
            f"{self.conversations:4} conversations, fullest account {self.load:.2f} times its share"
            f" ({self.load_of_turns:.2f} of turns), {self.shared} shared sessions, {self.at_home:.1%} at home"
        )


def shares(records: Sequence[Record], accounts: int = len(NAMES)) -> Shares:
    """Reckon up *records*: a conversation's home is where its first turn went."""
    homes = Counter(record.accounts[0] for record in records)
    turns = Counter(account for record in records for account in record.accounts)
    users = defaultdict(set)
    for number, record in enumerate(records):
        for session in record.sessions:
            users[session].add(number)
    later = sum(len(record.accounts) - 1 for record in records)
    return Shares(
        len(records),
        max(homes.values()) * accounts / len(records),
        max(turns.values()) * accounts / turns.total(),
        sum(len(each) > 1 for each in users.values()),
        1 - sum(record.strayed for record in records) / later if later else 1.0,
        sum(record.strayed > 0 for record in records),
    )


def router(accounts: int = len(NAMES), seed: int = 1) -> Router:
    """Return a router with so many accounts, whose memory is kept."""
    found = tuple(Account(name, PRESETS["generic"], Secret("literal", name), origin=HERE) for name in NAMES[:accounts])
    made = Router(Config(found), b"k" * 32, Random(seed), Random(seed + 1).randbytes)
    made.state.watch()
    return made


def restarted(before: Router, now: float, seed: int = 9) -> Router:
    """Return a new router that knows what *before* keeps."""
    after = router(len(before.config.accounts), seed)
    assert after.state.adopt(before.state.everything(now), now) == 0
    return after


class Run:
    """Holds conversations in an order, up to *width* exchanges at a time, and restarts after so many of the turns."""

    def __init__(self, accounts: int = len(NAMES), seed: int = 1, restart_at: int | None = None) -> None:
        self.router = router(accounts, seed)
        self.random = Random(seed)
        self.now = 1000.0
        self.served = 0
        self.restart_at = restart_at

    def hold(self, talks: Sequence[tuple[str, Talk]], order: Order, width: int = 30) -> list[Record]:
        """Hold all *talks*, each with the name of its kind."""
        records = [Record(kind) for kind, _ in talks]
        waiting = list(range(len(talks)))
        if order == "one by one":
            for number in waiting:
                for turn in talks[number][1]:
                    self._finish(turn, self._begin(turn, records[number]))
            return records
        width = 1 if order == "in turns" else width
        under_way: list[tuple[int, Turn, Exchange]] = []
        while waiting or under_way:
            if waiting and len(under_way) < width and (not under_way or self.random.random() < 0.7):
                number = waiting.pop(self.random.randrange(len(waiting)))
                if (following := next(talks[number][1], None)) is not None:
                    under_way.append((number, following, self._begin(following, records[number])))
                continue
            number, turn, exchange = under_way.pop(self.random.randrange(len(under_way)))
            self._finish(turn, exchange)
            waiting.append(number)
            if self.restart_at is not None and self.served >= self.restart_at:
                for _, other, open_ in under_way:  # they are given their time
                    self._finish(other, open_)
                waiting += [number for number, _, _ in under_way]
                under_way, self.restart_at = [], None
                self.router = restarted(self.router, self.now)
        return records

    def _begin(self, turn: Turn, record: Record) -> Exchange:
        self.now += 0.1
        exchange = self.router.open(self._request(turn), self.now)
        assert isinstance(exchange, Exchange), exchange
        route = self.router.next(exchange, self.now)
        assert isinstance(route, Lease), route
        if not turn.side and (turn.ending == "whole" or record.accounts):  # at home is where it was answered first
            record.accounts.append(route.account.id)
            record.threads.append(exchange.identity.thread)
        if exchange.identity.binds:
            went = dict(route.edit.headers)  # what the client sent stays, unless ours takes its place
            record.sessions.append(went.get("X-Session-ID") or turn.headers.get("X-Session-ID") or route.session_id)
        return exchange

    def _finish(self, turn: Turn, exchange: Exchange) -> None:
        self.now += 0.1
        self.served += 1
        if turn.ending == "cut":
            self.router.close(exchange, "client_disconnect", self.now)
            return
        kind, body = answer(turn.path.partition("?")[0], turn.reply, stream=_streams(turn))
        self.router.answered(exchange, Head(200, Headers([("content-type", kind)])), self.now)
        self.router.answered(exchange, Chunk(body), self.now)
        self.router.answered(exchange, End(), self.now)
        self.router.close(exchange, "", self.now, status=200)

    def _request(self, turn: Turn) -> Request:
        path = turn.path.partition("?")[0]
        raw = json.dumps(turn.body).encode()
        return Request(
            "POST", turn.path, Headers(turn.headers.items()), Body(raw), dialects.endpoint("POST", path), HERE,
            Client(scope=b"one"),
        )  # fmt: skip


def _streams(turn: Turn) -> bool:
    return bool(turn.body.get("stream")) or "streamGenerateContent" in turn.path


# -- what models say -------------------------------------------------------------------------------------------------

WORDS = (
    "river stone ember maple delta ocean cedar amber turbine gearbox rotor blade ledger parser token branch commit"
    " cache index socket buffer thread kernel module vector matrix filter signal account bridge valley summit harbor"
).split()


def words(random: Random, count: int) -> str:
    """Return so many words of no meaning."""
    return " ".join(random.choice(WORDS) for _ in range(count))


def token(random: Random, prefix: str) -> str:
    """Return an id as providers mint them."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return prefix + "".join(random.choice(letters) for _ in range(23)) + random.choice("0123456789")


def text(random: Random, path: str, count: int = 14) -> Reply:
    """Return an answer of so many words; fewer than seven are too short to link by themselves."""
    return Reply(words(random, count).capitalize() + ".", id=_answer_id(random, path))


def call(random: Random, path: str, name: str = "read_file", said: str = "", **arguments: Any) -> Reply:
    """Return an answer that calls one tool."""
    prefix = {CHAT: "call_", RESPONSES: "call_", MESSAGES: "toolu_01"}.get(path)
    told = arguments or {"path": words(random, 4).replace(" ", "/") + ".py"}
    return Reply(said, (Call(token(random, prefix) if prefix else "", name, told),), id=_answer_id(random, path))


def _answer_id(random: Random, path: str) -> str:
    return token(random, {CHAT: "chatcmpl-", RESPONSES: "resp_", MESSAGES: "msg_01"}.get(path, ""))
