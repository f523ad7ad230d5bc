"""A WebSocket's messages, one by one: what goes on, what is refused, and that nothing passes when something breaks."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay import config, dialects
from patchbay.body import Body
from patchbay.proxy import sockets
from patchbay.proxy.cord import Asked, Cord, Surroundings
from patchbay.proxy.keys import Keys
from patchbay.proxy.sockets import Socket
from patchbay.router import Exchange, Router
from patchbay.values import Chunk, Client, Decision, End, Finding, Head, Headers, Origin, Request, Route, Wait

KEY = "sk-real-0123456789abcdef"
SETTINGS = f"""
limits: {{keep_streamed: 4KiB}}
accounts:
  - {{id: one, provider: generic, base_url: "http://127.0.0.1:9", key: {KEY}}}
  - {{id: two, provider: generic, base_url: "http://127.0.0.1:9", key: {KEY}-two}}
"""
DESTINATION = Origin("http", "127.0.0.1", 9)


class Line:
    """A socket whose upgrade account `one` took, and everything that came out of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.router = Router(config.load(SETTINGS, "config.yaml"), b"k" * 32, Random(1), Random(2).randbytes)
        self.keys = Keys()
        for account in self.router.config.accounts:
            self.keys.now(account.secret)
        self.decisions: list[Decision] = []
        self.alarms: list[Finding] = []
        self.said: list[dict[str, Any]] = []
        self.hung_up = 0
        self.flow = tflow.twebsocketflow()
        assert self.flow.websocket
        self.flow.websocket.messages.clear()
        monkeypatch.setattr(sockets, "_proxy", lambda: self)
        around = Surroundings(
            self.router,
            self.keys,
            lambda: True,
            lambda flow, exchange, finding: self.alarms.append(finding),
            lambda flow, timer: None,
            lambda flow, exchange: None,
            lambda flow, exchange, decision: self.decisions.append(decision),
        )
        self.cord = _upgraded(self.router, self.flow, around)
        self.socket = Socket(self.flow, self.cord, around)
        self.connections = {self.flow.client_conn.id: self}
        self.transports = {self.flow.server_conn: self}
        self.handler = self

    def inject_websocket(self, flow: HTTPFlow, to_client: bool, message: bytes, is_text: bool) -> None:
        assert to_client and is_text
        self.said.append(json.loads(message))

    def cancel(self, why: str) -> None:
        self.hung_up += 1

    def pass_on(self, message: Any, *, from_client: bool, kind: Opcode = Opcode.TEXT) -> WebSocketMessage:
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        passed = WebSocketMessage(kind, from_client, content)
        assert self.flow.websocket
        self.flow.websocket.messages.append(passed)

        async def shown() -> None:
            await self.socket.message(passed)
            await asyncio.sleep(0)

        asyncio.run(shown())
        return passed

    def up(self, **more: Any) -> WebSocketMessage:
        return self.pass_on({"type": "response.create", "model": "m", "input": "hi", **more}, from_client=True)

    def down(self, kind: str, **response: Any) -> WebSocketMessage:
        event = {"type": kind, "response": {"id": "resp_0123456789abcdef", "model": "m", **response}}
        return self.pass_on(event, from_client=False)


def _upgraded(router: Router, flow: HTTPFlow, around: Surroundings) -> Cord:
    headers = Headers((("upgrade", "websocket"), ("x-patchbay-account", "one"), ("session-id", "of-the-socket")))
    endpoint = dialects.endpoint("GET", "/v1/responses")
    cord = Cord(flow, around, endpoint.dialect)
    cord.asked = Asked(endpoint, DESTINATION, "bearer")
    request = Request("GET", "/v1/responses", headers, Body(b""), endpoint, DESTINATION, Client(may_pin=True))
    opened = router.open(request, 0.0)
    assert isinstance(opened, Exchange)
    route = router.next(opened, 0.0)
    assert isinstance(route, Route) and route.account.id == "one"
    cord.exchange, cord.route, cord.closed = opened, route, True
    router.answered(opened, Head(101, Headers()), 0.0)
    router.answered(opened, End(), 0.0)
    router.close(opened, "", 0.0, status=101)
    return cord


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def test_an_exchange_goes_from_the_question_to_the_event_that_ends_it(line: Line) -> None:
    asked = line.up()
    line.down("response.created")
    assert line.socket.in_flight == 1
    line.down("response.completed", usage={"input_tokens": 7, "output_tokens": 3}, status="completed")

    assert not asked.dropped and line.socket.in_flight == 0
    [decision] = line.decisions
    assert (decision.account, decision.status, decision.error) == ("one", 200, "")
    assert decision.usage and (decision.usage.prompt, decision.usage.completion) == (7, 3)
    assert decision.attempts[0].outcome == "ok"


def test_what_asks_for_nothing_passes_unchanged(line: Line) -> None:
    for message in ({"type": "response.cancel"}, {"type": "response.append", "input": []}, {"type": "later.event"}):
        passed = line.pass_on(message, from_client=True)
        assert not passed.dropped and passed.content == json.dumps(message).encode()

    assert line.socket.in_flight == 0


@pytest.mark.parametrize("content", [b"not json", b"[1]", b'{"type": 5}', b'{"model": "m"}', b'""', b""])
def test_a_text_that_is_no_event_ends_the_socket(line: Line, content: bytes) -> None:
    """R27: what cannot be read as an event goes nowhere."""
    passed = line.pass_on(content, from_client=True)

    assert passed.dropped and vars(passed)["patchbay_ending"][0] == 1007


def test_a_binary_message_ends_the_socket(line: Line) -> None:
    """R27: a server may take an event in a binary message, so none passes unread."""
    passed = line.pass_on(b'{"type": "response.create"}', from_client=True, kind=Opcode.BINARY)

    assert passed.dropped and vars(passed)["patchbay_ending"][0] == 1003


@pytest.mark.parametrize(
    "content",
    [
        b'{"type": "response.cancel", "type": "response.create", "model": "m"}',
        b'{"type": "response.create", "\\u0074ype": "response.cancel", "model": "m"}',
        b'{"type": "response.create", "model": "m", "model": "n"}',
    ],
)
def test_an_event_that_says_a_thing_twice_is_refused(line: Line, content: bytes) -> None:
    """R27: which of two members counts is the server's choice."""
    passed = line.pass_on(content, from_client=True)

    assert passed.dropped
    assert line.said[-1]["error"]["code"] == "body_unusable"


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"type": "response.create", "model": "m", "input": []}',
        b' \r\n\t{"type": "response.create", "model": "m", "input": []}',
        b'{"\\u0074ype": "response\\u002ecreate", "model": "m", "input": []}',
        b'{"type": "Response.Create ", "model": "m", "input": []}',
    ],
)
def test_a_create_is_found_however_it_is_written(line: Line, content: bytes) -> None:
    """R27: behind a BOM or white space, escaped, in other letters."""
    line.pass_on(content, from_client=True)

    assert line.socket.in_flight == 1


def test_what_another_account_made_is_not_sent(line: Line) -> None:
    first = line.up()
    line.down("response.completed", status="completed")
    elsewhere = _made_by_two(line)
    refused = line.up(previous_response_id=elsewhere)

    assert not first.dropped and refused.dropped
    assert [event["error"]["code"] for event in line.said] == ["previous_response_not_found"]
    assert line.said[0]["type"] == "error" and line.said[0]["error"]["param"] == "previous_response_id"
    assert line.hung_up == 0
    assert line.decisions[-1].error == "previous_response_not_found"


def _made_by_two(line: Line) -> str:
    """Let account `two` answer a request of its own, and return the answer's id."""
    assert line.cord.exchange
    now = time.time()
    headers = Headers((("x-patchbay-account", "two"), ("session-id", "another")))
    body = Body(b'{"model": "m", "input": "hi"}')
    asked = replace(line.cord.exchange.request, method="POST", headers=headers, body=body)
    opened = line.router.open(asked, now)
    assert isinstance(opened, Exchange)
    assert isinstance(line.router.next(opened, now), Route)
    answer = {"id": "resp_of_account_two_0123", "object": "response", "model": "m", "output": [], "status": "completed"}
    line.router.answered(opened, Head(200, Headers((("content-type", "application/json"),))), now)
    line.router.answered(opened, Chunk(json.dumps(answer).encode()), now)
    line.router.answered(opened, End(), now)
    line.router.close(opened, "", now)
    return "resp_of_account_two_0123"


def test_a_key_that_is_quoted_is_covered(line: Line) -> None:
    line.up()
    quoting = line.pass_on({"type": "error", "error": {"code": "invalid_api_key", "message": KEY}}, from_client=False)

    assert KEY.encode() not in quoting.content and b"removed-by-patchbay" in quoting.content
    assert KEY not in repr(line.decisions)


def test_too_many_at_once_are_refused_and_the_socket_stays(line: Line) -> None:
    passed = [line.up() for _ in range(sockets.MAX_OPEN + 1)]

    assert [message.dropped for message in passed] == [False] * sockets.MAX_OPEN + [True]
    assert [event["status"] for event in line.said] == [429]
    assert line.hung_up == 0


def test_one_that_would_wait_for_its_own_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waited, the answer that it waits for could not pass either."""
    line = Line(monkeypatch)
    line.router.accounts.choose = _busy(line.router.accounts.choose)  # type: ignore[method-assign]
    first, second = line.up(), line.up()

    assert not first.dropped and second.dropped
    assert [event["status"] for event in line.said] == [429] and line.hung_up == 0


def _busy(choose: Any) -> Any:
    taken: list[str] = []

    def once(ask: Any, now: float) -> Any:
        if taken:
            return Wait(now + 60, "busy")
        taken.append("taken")
        return choose(ask, now)

    return once


@pytest.mark.parametrize("from_client", [True, False], ids=["up", "down"])
def test_what_breaks_lets_nothing_pass_and_hangs_up(line: Line, from_client: bool) -> None:
    line.up()
    line.router.answered = line.router.open = None  # type: ignore[assignment, method-assign]
    broken = line.up() if from_client else line.down("response.created")

    assert broken.dropped and broken.content == b""
    assert line.hung_up == 1 and line.socket.in_flight == 0
    assert line.router.accounts.in_flight("one") == 0
    assert [event["error"]["code"] for event in line.said] == ["patchbay_failed"][: int(from_client)]


def test_an_account_that_rests_ends_the_socket(line: Line) -> None:
    line.up()
    line.pass_on(
        {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded", "message": "slow"}}, from_client=False
    )
    refused = line.up()

    assert refused.dropped and line.hung_up == 1
    assert line.said[0]["status"] in (429, 503)
    assert [decision.attempts[0].outcome for decision in line.decisions if decision.attempts] == ["rate"]


def test_a_socket_that_is_closed_ends_what_is_open(line: Line) -> None:
    line.up()
    line.up()
    assert line.flow.websocket
    line.flow.websocket.closed_by_client = True
    line.socket.ended()

    assert line.socket.in_flight == 0
    assert [decision.attempts[0].outcome for decision in line.decisions] == ["cancelled", "cancelled"]
    assert line.router.accounts.in_flight("one") == 0


def test_the_oldest_messages_are_forgotten(line: Line) -> None:
    for _ in range(100):
        line.pass_on(b"x" * 1000, from_client=False)

    assert line.flow.websocket
    assert 1 <= len(line.flow.websocket.messages) <= 5


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        (Client(may_pin=True), False),
        (None, True),
        (Client(may_pin=True, models=("mini*",)), True),
        (Client(may_pin=True, pools=("gemini",)), True),
        (Client(may_pin=False), False),
    ],
)
def test_a_socket_that_nobody_reads_ends_with_its_client_s_rights(line: Line, now: Client | None, ends: bool) -> None:
    """R34: what a client may is asked for every message, also where its messages are not read."""
    endpoint = dialects.endpoint("GET", "/v1/realtime")
    line.cord.asked = Asked(endpoint, DESTINATION, "bearer")
    assert line.cord.exchange
    line.cord.exchange.request = replace(line.cord.exchange.request, path="/v1/realtime?model=m", endpoint=endpoint)
    line.socket._around = replace(line.socket._around, client_now=lambda client: now)

    passed = line.pass_on(b"anything", from_client=True, kind=Opcode.BINARY)

    assert passed.dropped == ends
    assert ("patchbay_ending" in vars(passed)) == ends
    if ends:
        assert vars(passed)["patchbay_ending"][0] == 1008
