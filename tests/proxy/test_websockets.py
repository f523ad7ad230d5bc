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
from mitmproxy.proxy.layers.websocket import WebSocketMessageInjected
from mitmproxy.test import tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.clients import GONE
from patchbay.exchange import Exchange
from patchbay.proxy import flow_metadata, websockets
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.exchange_driver import DriverContext, ExchangeDriver, RequestTarget
from patchbay.proxy.websockets import WebSocketDriver
from patchbay.replacement import CROSSTALK
from patchbay.router import Router
from patchbay.settings import reader
from patchbay.values.account import Timeouts
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Decision, Finding, Refusal, Wait
from patchbay.values.http import Client, Headers, Origin, Request

KEY = "sk-real-0123456789abcdef"
SETTINGS = f"""
limits: {{keep_streamed: 4KiB}}
accounts:
  - {{id: one, provider: generic, base_url: "http://127.0.0.1:9", key: {KEY}}}
  - {{id: two, provider: generic, base_url: "http://127.0.0.1:9", key: {KEY}-two}}
"""
REPEATS = 'providers: {openai: {base_url: "http://127.0.0.1:9/v1", echo: metadata}}'
DESTINATION = Origin("http", "127.0.0.1", 9)


class Line:
    """A socket whose upgrade account `one` took, and everything that came out of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: str = SETTINGS) -> None:
        self.router = Router(reader.load(settings, "config.yaml"), b"k" * 32, Random(1), Random(2).randbytes)
        self.keys = Credentials()
        for account in self.router.config.accounts:
            asyncio.run(self.keys.ready(account.secret))
        self.decisions: list[Decision] = []
        self.alarms: list[Finding] = []
        self.said: list[dict[str, Any]] = []
        self.hung_up = 0
        self.flow = tflow.twebsocketflow()
        assert self.flow.websocket
        self.flow.websocket.messages.clear()
        monkeypatch.setattr(websockets, "proxyserver", lambda: self)
        around = DriverContext(
            self.router,
            self.keys,
            lambda: True,
            lambda flow, exchange: self.alarms.append(exchange.id),
            lambda flow, timer: None,
            lambda flow, exchange: None,
            lambda flow, exchange, decision: self.decisions.append(decision),
        )
        self.driver = _upgraded(self.router, self.flow, around)
        self.socket = WebSocketDriver(self.flow, self.driver, around)
        self.pings = 0
        self.closing: list[tuple[int, str]] = []

    def inject_websocket(self, flow: HTTPFlow, to_client: bool, message: bytes, is_text: bool) -> None:
        assert to_client and is_text
        self.said.append(json.loads(message))

    def inject_event(self, event: WebSocketMessageInjected) -> None:
        marks = vars(event.message)
        self.pings += "patchbay_ping" in marks
        self.hung_up += "patchbay_last" in marks
        self.closing += [marks["patchbay_last"]] if "patchbay_last" in marks else []

    def pass_on(self, message: Any, *, from_client: bool, kind: Opcode = Opcode.TEXT) -> WebSocketMessage:
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        passed = WebSocketMessage(kind, from_client, content)
        assert self.flow.websocket
        self.flow.websocket.messages.append(passed)

        async def shown() -> None:
            await self.socket.message(passed)
            await asyncio.sleep(0)

        asyncio.run(shown())
        if last := vars(passed).get("patchbay_last"):
            self.hung_up += 1
            self.closing.append(last)
        return passed

    def look(self) -> None:
        """Let the time come at which the socket looks whether its upstream is there."""

        async def looked() -> None:
            self.socket._check_silence()

        asyncio.run(looked())

    def next_home(self) -> str:
        """Return the account that the next socket of this conversation gets."""
        assert self.driver.exchange
        headers = Headers(
            (name, value) for name, value in self.driver.exchange.request.headers if "patchbay" not in name
        )
        opened = self.router.open(replace(self.driver.exchange.request, headers=headers), time.time())
        assert isinstance(opened, Exchange)
        route = self.router.next(opened, time.time())
        assert isinstance(route, Lease)
        self.router.close(opened, "", time.time())
        return route.account.id

    def up(self, **more: Any) -> WebSocketMessage:
        return self.pass_on({"type": "response.create", "model": "m", "input": "hi", **more}, from_client=True)

    def down(self, kind: str, **response: Any) -> WebSocketMessage:
        event = {"type": kind, "response": {"id": "resp_0123456789abcdef", "model": "m", **response}}
        return self.pass_on(event, from_client=False)


def _upgraded(router: Router, flow: HTTPFlow, around: DriverContext) -> ExchangeDriver:
    headers = Headers((("upgrade", "websocket"), ("x-patchbay-account", "one"), ("session-id", "socket-1")))
    endpoint = dialects.endpoint("GET", "/v1/responses")
    driver = ExchangeDriver(flow, around, endpoint.dialect)
    driver.target = RequestTarget(endpoint, DESTINATION, "bearer")
    request = Request("GET", "/v1/responses", headers, Body(b""), endpoint, DESTINATION, Client(may_pin=True))
    opened = router.open(request, 0.0)
    assert isinstance(opened, Exchange)
    route = router.next(opened, 0.0)
    assert isinstance(route, Lease) and route.account.id == "one"
    driver.exchange, driver.lease, driver.closed = opened, route, True
    router.answered(opened, Head(101, Headers()), 0.0)
    router.answered(opened, End(), 0.0)
    router.close(opened, "", 0.0, status=101)
    return driver


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
    assert decision.tokens and (decision.tokens.prompt, decision.tokens.completion) == (7, 3)
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
    assert line.driver.exchange
    now = time.time()
    headers = Headers((("x-patchbay-account", "two"), ("session-id", "another")))
    body = Body(b'{"model": "m", "input": "hi"}')
    asked = replace(line.driver.exchange.request, method="POST", headers=headers, body=body)
    opened = line.router.open(asked, now)
    assert isinstance(opened, Exchange)
    assert isinstance(line.router.next(opened, now), Lease)
    answer = {"id": "resp_of_account_two_0123", "object": "response", "model": "m", "output": [], "status": "completed"}
    line.router.answered(opened, Head(200, Headers((("content-type", "application/json"),))), now)
    line.router.answered(opened, Chunk(json.dumps(answer).encode()), now)
    line.router.answered(opened, End(), now)
    line.router.close(opened, "", now)
    return "resp_of_account_two_0123"


def test_a_key_that_is_quoted_is_covered(line: Line) -> None:
    line.up()
    quoting = line.pass_on({"type": "error", "error": {"code": "invalid_value", "message": KEY}}, from_client=False)

    assert KEY.encode() not in quoting.content and b"removed-by-patchbay" in quoting.content
    assert KEY not in repr(line.decisions)


def test_too_many_at_once_are_refused_and_the_socket_stays(line: Line) -> None:
    passed = [line.up() for _ in range(websockets.MAX_OPEN + 1)]

    assert [message.dropped for message in passed] == [False] * websockets.MAX_OPEN + [True]
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
    assert {each.in_flight for each in line.router.accounts.status(0)} == {0}
    assert [event["error"]["code"] for event in line.said] == ["patchbay_failed"][: int(from_client)]


FAILURES = {
    "429": {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded", "message": "slow"}},
    "429, a status alone": {"type": "error", "status": 429, "error": {"message": "slow"}},
    "402": {"type": "error", "status": 402, "error": {"message": "pay"}},
    "quota": {"type": "response.failed", "response": {"error": {"code": "insufficient_quota", "message": "pay"}}},
    "503": {"type": "error", "status_code": 503, "error": {"type": "server_error", "message": "busy"}},
    "overload": {"type": "response.failed", "response": {"error": {"code": "server_is_overloaded", "message": "x"}}},
    "500": {"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "oops"}},
}
SHUT_OUT = {
    "401": {"type": "error", "status": 401, "error": {"message": "Unauthorized"}},
    "401, a code alone": {"type": "error", "error": {"code": "invalid_api_key", "message": "Incorrect API key"}},
    "403": {"type": "error", "status": 403, "error": {"message": "Forbidden"}},
    "failed": {"type": "response.failed", "response": {"error": {"code": "invalid_api_key", "message": "x"}}},
}


@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("event", FAILURES.values(), ids=FAILURES)
def test_a_failing_answer_ends_the_socket_right_behind_its_event(line: Line, event: Any, later: bool) -> None:
    """R35: the client gets the one event and has to connect again, which finds another account."""
    line.up()
    if later:
        line.down("response.created")
    last = line.pass_on(event, from_client=False)

    assert not last.dropped and last.content == json.dumps(event).encode()
    assert [code for code, _ in line.closing] == [1013]
    assert not line.said and line.socket.in_flight == 0
    assert [decision.status for decision in line.decisions] == [200]
    assert line.decisions[0].attempts[0].outcome in ("rate", "quota", "overload", "server")
    assert line.next_home() == "two"


@pytest.mark.parametrize("event", SHUT_OUT.values(), ids=SHUT_OUT)
def test_that_an_account_is_shut_out_does_not_log_the_client_out(line: Line, event: Any) -> None:
    """R35: a provider's 401 or 403 is about our key; the client gets an error of ours, and the socket ends."""
    line.up()
    last = line.pass_on(event, from_client=False)

    said = json.loads(last.content)
    assert (said["type"], said["status"]) == ("error", 502)
    assert said["error"]["code"] == "upstream_credentials_exhausted"
    assert "invalid_api_key" not in json.dumps(said) and "401" not in json.dumps(said)
    assert [code for code, _ in line.closing] == [1013]
    assert line.decisions[0].status == 502 and line.decisions[0].error
    assert line.next_home() == "two"


@pytest.mark.parametrize("from_client", [True, False], ids=["up", "down"])
def test_nothing_passes_behind_the_end(line: Line, from_client: bool) -> None:
    """R34, R35: what was on its way when the socket was closed is not sent, and begins no exchange."""
    line.up()
    line.pass_on(FAILURES["429"], from_client=False)
    late = line.up() if from_client else line.down("response.created")

    assert late.dropped and line.socket.in_flight == 0
    assert len(line.decisions) == 1 and line.hung_up == 1


def test_an_error_that_the_request_made_leaves_the_socket_open(line: Line) -> None:
    """R35: what another account would refuse as well is no reason to leave this one."""
    line.up()
    event = {"type": "error", "status": 400, "error": {"code": "context_length_exceeded", "message": "too long"}}
    last = line.pass_on(event, from_client=False)

    assert not last.dropped and line.hung_up == 0
    assert not line.up().dropped and line.next_home() == "one"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<html>busy</html>", Opcode.TEXT),
        (b"[1]", Opcode.TEXT),
        (b"\x00\x01", Opcode.BINARY),
        (b'{"type": "x", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", Opcode.TEXT),
    ],
)
def test_garbage_in_place_of_an_answer_is_a_failure(line: Line, content: bytes, kind: Opcode) -> None:
    """R35: the client gets one error that it can read, and the socket ends."""
    line.up()
    garbage = line.pass_on(content, from_client=False, kind=kind)

    assert garbage.dropped
    assert [event["error"]["code"] for event in line.said] == ["upstream_unreadable"]
    assert "(account one)" in line.said[0]["error"]["message"]
    assert [code for code, _ in line.closing] == [1011]
    assert line.decisions[0].attempts[0].outcome == "server" and line.next_home() == "two"


def test_garbage_behind_the_first_event_passes(line: Line) -> None:
    line.up()
    line.down("response.created")

    assert not line.pass_on(b"keep-alive", from_client=False).dropped
    line.down("response.completed", status="completed")
    assert line.hung_up == 0


@pytest.mark.parametrize("asked", [True, False], ids=["under way", "at once"])
def test_a_socket_that_the_upstream_breaks_off_is_followed_by_one_elsewhere(line: Line, asked: bool) -> None:
    """R35: in the middle of an answer, or before anything was asked."""
    if asked:
        line.up()
    assert line.flow.websocket
    line.flow.websocket.closed_by_client = False
    line.socket.ended()

    assert line.next_home() == "two"


def test_a_socket_that_served_and_is_closed_while_idle_is_followed_by_one_at_home(line: Line) -> None:
    line.up()
    line.down("response.completed", status="completed", output=[])
    assert line.flow.websocket
    line.flow.websocket.closed_by_client = False
    line.socket.ended()

    assert line.next_home() == "one"


def test_an_account_that_rests_ends_the_socket(line: Line) -> None:
    elsewhere = line.up()
    line.down("response.completed", status="completed")
    _rest(line, "one")
    refused = line.up()

    assert not elsewhere.dropped and refused.dropped and line.hung_up == 1
    assert line.said[0]["status"] in (429, 503)


def test_an_idle_socket_ends_when_its_account_begins_to_rest(line: Line) -> None:
    """R35: so that the client connects anew before it asks, and loses nothing; one that is busy goes on."""
    line.up()
    _rest(line, "one")
    line.socket.account_failed()
    assert line.hung_up == 0
    line.down("response.completed", status="completed", output=[])
    line.socket.account_failed()
    line.socket.account_failed()

    assert [code for code, _ in line.closing] == [1013] and line.said == []


def test_an_idle_socket_on_an_account_that_is_well_stays(line: Line) -> None:
    line.up()
    line.down("response.completed", status="completed", output=[])
    _rest(line, "two")
    line.socket.account_failed()

    assert line.hung_up == 0


def _rest(line: Line, account: str) -> None:
    """Let *account* meet a rate limit in a request of its own."""
    assert line.driver.exchange
    headers = Headers((("x-patchbay-account", account),))
    asked = replace(line.driver.exchange.request, method="POST", headers=headers, body=Body(b'{"model": "m"}'))
    opened = line.router.open(asked, time.time())
    assert isinstance(opened, Exchange) and isinstance(line.router.next(opened, time.time()), Lease)
    line.router.answered(opened, Head(429, Headers((("retry-after", "60"),))), time.time())
    line.router.answered(opened, End(), time.time())
    line.router.close(opened, "", time.time())


def test_a_message_that_waits_leaves_with_its_socket(line: Line) -> None:
    """R34: nothing is sent once the client has left, and its place in line is given up at once."""
    waits = _waiting(line)
    assert not any(each.waiting for each in line.router.accounts.status(0)) and waits.dropped
    assert [(decision.status, decision.error) for decision in line.decisions] == [(499, "client_left")]
    assert line.said == [] and line.hung_up == 0


@pytest.mark.parametrize(
    ("client", "status", "closed"),
    [(None, 401, [1008]), (Client(may_pin=True, models=("mini*",)), 403, []), (Client(may_pin=True), None, [])],
)
def test_a_message_that_waited_is_asked_again(line: Line, client: Client | None, status: Any, closed: Any) -> None:
    """R34: its client may have less by then, or be gone."""
    now = line.driver.exchange.request.client if line.driver.exchange else Client()
    line.socket._context = replace(line.socket._context, client_now=lambda _: now)

    def changed() -> None:
        nonlocal now
        now = client  # type: ignore[assignment]

    waits = _waiting(line, changed)

    assert waits.dropped == (status is not None)
    assert [event["status"] for event in line.said] == ([status] if status else [])
    assert [code for code, _ in line.closing] == closed


def _waiting(line: Line, meanwhile: Any = None) -> WebSocketMessage:
    """Let a message wait for an account that is busy until *meanwhile* was called; without one the client leaves."""
    choose, decided = line.router.accounts.choose, [Wait(time.time() + 60, "busy")]
    line.router.accounts.choose = lambda ask, now: decided[0] if decided else choose(ask, now)  # type: ignore
    content = json.dumps({"type": "response.create", "model": "m", "input": "hi"}).encode()
    waits = WebSocketMessage(Opcode.TEXT, True, content)
    assert line.flow.websocket
    line.flow.websocket.messages.append(waits)

    async def wait() -> None:
        task = asyncio.ensure_future(line.socket.message(waits))
        await asyncio.sleep(0)
        assert not task.done() and line.socket.in_flight == 1
        decided.clear()
        if meanwhile:
            meanwhile()
            line.socket.settings_changed()
        else:
            line.driver.client_left()
        await task

    asyncio.run(wait())
    return waits


WITHOUT = {
    "removed": SETTINGS.replace("id: one", "id: other"),
    "disabled": SETTINGS.replace("id: one,", "id: one, enabled: false,"),
    "elsewhere": SETTINGS.replace("127.0.0.1:9", "127.0.0.1:7", 1),
}


@pytest.mark.parametrize("settings", WITHOUT.values(), ids=WITHOUT)
def test_a_socket_ends_with_its_account(line: Line, settings: str) -> None:
    """R34: once it is idle, so that the client's next try gets another account."""
    line.router.reload(reader.load(settings, "config.yaml"))
    line.socket.settings_changed()

    assert [code for code, _ in line.closing] == [1012]


@pytest.mark.parametrize("settings", WITHOUT.values(), ids=WITHOUT)
def test_what_is_under_way_ends_on_an_account_that_is_gone(line: Line, settings: str) -> None:
    """R34: the socket is closed behind the last event of it."""
    line.up()
    line.router.reload(reader.load(settings, "config.yaml"))
    line.socket.settings_changed()
    assert line.hung_up == 0
    last = line.down("response.completed", status="completed", output=[])

    assert not last.dropped
    assert [code for code, _ in line.closing] == [1012]
    assert [decision.attempts[0].outcome for decision in line.decisions] == ["ok"]


@pytest.mark.parametrize("kind", ["response.create", "response.cancel", "response.append", "other"])
def test_no_event_goes_to_an_account_that_is_gone(line: Line, kind: str) -> None:
    """R34: also one that asks for no answer, and one that came before the socket was closed."""
    line.router.reload(reader.load(WITHOUT["disabled"], "config.yaml"))
    passed = line.pass_on({"type": kind, "model": "m"}, from_client=True)

    assert passed.dropped and line.said == []
    assert [code for code, _ in line.closing] == [1012]


def test_a_model_that_was_taken_away_is_asked_for_elsewhere(line: Line) -> None:
    """R34: the socket's account serves it no more, another one does."""
    line.router.reload(reader.load(SETTINGS.replace("id: one,", "id: one, models: [other],"), "config.yaml"))
    refused = line.up()

    assert refused.dropped and [event["status"] for event in line.said] == [503]
    assert [code for code, _ in line.closing] == [1013]
    assert line.next_home() == "two"


def test_a_silent_upstream_that_answers_pings_is_waited_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """R35: slow is not dead."""
    line.up()
    clock = _clock(monkeypatch)
    for _ in range(5):
        clock[0] += websockets.SILENCE + 1
        line.look()
        line.driver.upstream_heard()  # its pong
        line.look()

    assert line.pings == 5 and line.hung_up == 0 and line.socket.in_flight == 1


def test_an_upstream_that_answers_no_ping_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """R35: the client gets one error, and its next try another account."""
    line.up()
    clock = _clock(monkeypatch)
    line.look()
    assert line.pings == 0
    clock[0] += websockets.SILENCE
    line.look()
    assert line.pings == 1 and line.hung_up == 0
    clock[0] += websockets.PONG
    line.look()

    assert [event["status"] for event in line.said] == [502]
    assert [code for code, _ in line.closing] == [1011]
    assert line.decisions[0].attempts[0].outcome == "server" and line.next_home() == "two"


def _clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_socket_that_is_closed_ends_what_is_open(line: Line) -> None:
    line.up()
    line.up()
    assert line.flow.websocket
    line.flow.websocket.closed_by_client = True
    line.socket.ended()

    assert line.socket.in_flight == 0
    assert [decision.attempts[0].outcome for decision in line.decisions] == ["cancelled", "cancelled"]
    assert {each.in_flight for each in line.router.accounts.status(0)} == {0}


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
    line.driver.target = RequestTarget(endpoint, DESTINATION, "bearer")
    assert line.driver.exchange
    line.driver.exchange.request = replace(line.driver.exchange.request, path="/v1/realtime?model=m", endpoint=endpoint)
    line.socket._context = replace(line.socket._context, client_now=lambda client: now)

    passed = line.pass_on(b"anything", from_client=True, kind=Opcode.BINARY)

    assert passed.dropped == ends
    assert ("patchbay_ending" in vars(passed)) == ends
    if ends:
        assert vars(passed)["patchbay_ending"][0] == 1008


def _left(line: Line, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the exchanges whose conversation leaves its account, as they come."""
    left: list[str] = []
    monkeypatch.setattr(line.router, "avoid_account", lambda exchange, now: left.append(exchange.id))
    return left


def test_the_conversations_of_the_answer_and_of_the_upgrade_leave_a_failed_account(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R35: the next socket is found by either of them."""
    left = _left(line, monkeypatch)
    line.up()
    asked, upgrade = line.socket._exchanges[0], line.driver.exchange
    line.pass_on(FAILURES["429"], from_client=False)

    assert upgrade and left == [asked.id, upgrade.id]


def test_a_message_for_a_model_that_is_served_elsewhere_takes_its_conversation_there(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _left(line, monkeypatch)
    line.router.reload(reader.load(SETTINGS.replace("id: one,", "id: one, models: [other],"), "config.yaml"))
    line.up()

    assert line.driver.exchange and left[1:] == [line.driver.exchange.id]
    assert line.said[0]["error"]["code"] == "model_elsewhere"


@pytest.mark.parametrize(
    ("closed_by_client", "error", "closing", "leaves", "outcome", "why"),
    [
        (False, "", False, True, "server", "the WebSocket was closed"),
        (True, "", False, False, "cancelled", "Client disconnected."),
        (False, "it broke", False, False, "cancelled", "it broke"),
        (False, "", True, False, "cancelled", "the WebSocket was closed"),
    ],
)
def test_only_a_close_by_the_upstream_is_the_account_s_failure(
    line: Line, monkeypatch: pytest.MonkeyPatch,
    closed_by_client: bool, error: str, closing: bool, leaves: bool, outcome: str, why: str,
) -> None:  # fmt: skip
    """R35: not one by the client, after a failure of ours, or behind a close frame of ours."""
    left = _left(line, monkeypatch)
    line.up()
    assert line.flow.websocket
    line.flow.websocket.closed_by_client, line.socket._is_closing = closed_by_client, closing
    line.socket.ended(error)

    assert bool(left) == leaves
    assert [each.attempts[0].outcome for each in line.decisions] == [outcome]
    assert [each.error for each in line.decisions] == [why]
    assert line.driver.client_gone.is_set() and line.driver.recheck.is_set()


@pytest.mark.parametrize(
    ("refusal", "said", "closed"),
    [
        (GONE, True, [1008]),
        (Refusal(503, "account_gone", "x"), True, [1012]),
        (Refusal(503, "no_account", "x"), True, [1013]),
        (Refusal(429, "rate_limited", "x"), True, [1013]),
        (Refusal(400, "account_unknown", "x"), True, [1013]),
        (Refusal(400, "body_unusable", "x"), True, []),
        (websockets._CROWDED, True, []),
        (websockets._CLIENT_LEFT, False, []),
    ],
)
def test_a_refusal_closes_the_socket_where_another_one_may_be_served(
    line: Line, refusal: Refusal, said: bool, closed: list[int]
) -> None:
    line.router.open = lambda *_, **__: refusal  # type: ignore[method-assign]

    assert line.up().dropped
    assert [(each["status"], each["error"]["code"]) for each in line.said] == [(refusal.status, refusal.code)] * said
    assert [code for code, _ in line.closing] == closed


def test_a_message_behind_one_that_is_under_way_is_refused_where_the_account_is_gone(line: Line) -> None:
    """R34: with the error that says so, and the close frame behind it."""
    line.up()
    line.router.reload(reader.load(WITHOUT["disabled"], "config.yaml"))
    refused = line.up()

    assert refused.dropped
    assert [(each["status"], each["error"]["code"]) for each in line.said] == [(503, "account_gone")]
    assert "Connect again" in line.said[0]["error"]["message"]
    assert line.closing == [
        (1012, "the account of this WebSocket is not served any more; connect again for another one")
    ]


def test_the_response_of_another_account_is_named_with_the_status_that_clients_act_on(line: Line) -> None:
    refused = line.up(previous_response_id=_made_by_two(line))

    assert refused.dropped and line.said[0]["status"] == 400
    assert "whole input" in line.said[0]["error"]["message"]


def test_an_event_that_is_nested_too_deeply_is_refused(line: Line) -> None:
    """R27: no parser can tell what it asks for."""
    deep = b'{"type": "response.create", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    line.driver.shadow = True
    assert not line.pass_on(deep, from_client=True).dropped
    line.driver.shadow = False

    assert line.pass_on(deep, from_client=True).dropped
    assert [(each["status"], each["error"]["code"]) for each in line.said] == [(400, "body_too_deep")]


def test_an_event_that_the_client_may_not_send_is_refused(line: Line) -> None:
    """R34: also one that asks for no answer names a model."""
    allowed = Client(may_pin=True, models=("mini*",))
    line.socket._context = replace(line.socket._context, client_now=lambda _: allowed)
    event = {"type": "session.update", "session": {"model": "large"}}

    assert line.pass_on(event, from_client=True).dropped
    assert [each["status"] for each in line.said] == [403] and line.hung_up == 0


@pytest.mark.parametrize(
    ("content", "from_client"),
    [
        (b"not json", True),
        (b'{"type": "response.create", "model": "m", "model": "n"}', True),
        (b'{"type": "response.create", "model": "m", "previous_response_id": "resp_of_account_two_0123"}', True),
        (f"quotes {KEY}".encode(), False),
        (b"\x00", False),
        (json.dumps(FAILURES["429"]).encode(), False),
        (json.dumps(SHUT_OUT["401"]).encode(), False),
    ],
)
def test_in_shadow_every_message_passes_as_it_is(line: Line, content: bytes, from_client: bool) -> None:
    line.up()
    _made_by_two(line)
    line.driver.shadow = True
    line.router.reload(reader.load(WITHOUT["disabled"], "config.yaml"))
    passed = line.pass_on(content, from_client=from_client)
    _rest(line, "two")
    line.socket.settings_changed()
    line.socket.account_failed()

    assert (passed.dropped, passed.content) == (False, content)
    assert (line.said, line.closing, "patchbay_ending" in vars(passed)) == ([], [], False)


@pytest.mark.parametrize("shadow", [False, True])
def test_an_answer_that_belongs_to_another_request_is_cut_with_its_socket(line: Line, shadow: bool) -> None:
    line.up()
    line.driver.shadow = shadow
    line.router.answered = lambda *_: "cut"  # type: ignore[method-assign]
    foreign = line.down("response.created")

    assert foreign.dropped is not shadow
    assert [each["error"]["code"] for each in line.said] == [CROSSTALK.code] * (not shadow)
    assert line.closing == [(1011, "an answer that belongs to another request came")] * (not shadow)
    assert [each.status for each in line.decisions] == [CROSSTALK.status] * (not shadow)
    assert line.socket.in_flight == shadow


def test_the_record_of_an_exchange_says_where_its_messages_stand(line: Line) -> None:
    """T12: counted from the first of the socket, whether it is kept or not."""
    line.pass_on({"type": "response.cancel"}, from_client=True)
    line.up()
    line.down("response.created", padding="x" * 3000)
    line.down("response.in_progress", padding="x" * 3000)
    line.down("response.completed", status="completed", output=[])
    line.up()
    line.down("response.completed", status="completed", output=[])

    records = line.flow.metadata[flow_metadata.SOCKET_RECORDS]
    assert [(each["request"], each["first"], each["last"]) for each in records] == [(1, 2, 4), (5, 6, 6)]
    assert [each["verdict"] for each in records] == [each.verdict for each in line.decisions]
    assert line.flow.websocket
    assert flow_metadata.forgotten(line.flow) == 7 - len(line.flow.websocket.messages) > 0


def test_a_message_that_no_request_waits_for_passes(line: Line) -> None:
    assert not line.down("response.created").dropped
    assert line.hung_up == 0 and line.decisions == []


def test_no_more_is_forgotten_than_has_to_be(line: Line) -> None:
    """The flow keeps `limits.keep_streamed`, 512 bytes for each message among it, and always the latest."""
    assert line.flow.websocket
    for kept in (1, 2, 2, 2):
        line.pass_on(b"x" * (2048 - 512), from_client=False)
        assert len(line.flow.websocket.messages) == kept
    line.pass_on(b"x" * 9000, from_client=False)
    assert len(line.flow.websocket.messages) == 1
    assert flow_metadata.forgotten(line.flow) == 4


@pytest.mark.parametrize(("idle", "limit"), [(0.0, 20.0), (60.0, 20.0), (7.0, 7.0)])
def test_an_upstream_is_pinged_after_its_silence_and_has_five_seconds_to_answer(
    line: Line, monkeypatch: pytest.MonkeyPatch, idle: float, limit: float
) -> None:
    """R35: 20 seconds, or the account's idle timeout where that is shorter."""
    due: list[float] = []
    monkeypatch.setattr(ExchangeDriver, "timeouts", Timeouts(idle=idle))
    monkeypatch.setattr(line.socket, "_schedule", lambda seconds, look: due.append(seconds))
    clock = _clock(monkeypatch)
    line.up()
    clock[0] += limit - 2
    line.look()
    clock[0] += 2
    line.look()
    assert due == pytest.approx([limit, 2, 5]) and line.pings == 1
    line.driver.upstream_heard()
    clock[0] += 1
    line.look()
    clock[0] += limit - 1
    line.look()

    assert due == pytest.approx([limit, 2, 5, limit - 1, 5]) and line.pings == 2


def test_nothing_is_pinged_once_the_socket_is_idle_or_over(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _clock(monkeypatch)
    line.up()
    clock[0] += 60
    line.driver.client_left()
    line.look()
    line.driver.client_gone.clear()
    line.down("response.completed", status="completed", output=[])
    line.look()

    assert (line.pings, line.socket._silence_timer) == (0, None)


def test_a_silent_upstream_fails_the_oldest_answer_and_cancels_the_others(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _left(line, monkeypatch)
    line.up()
    line.up()
    oldest, clock = line.socket._exchanges[0], _clock(monkeypatch)
    clock[0] += websockets.SILENCE
    line.look()
    line.look()

    assert line.driver.exchange and left == [oldest.id, line.driver.exchange.id]
    assert [each.attempts[0].outcome for each in line.decisions] == ["server", "cancelled"]


def test_a_refused_message_is_not_in_flight(line: Line) -> None:
    """Its neighbours are."""
    first = line.up()
    line.router.access.is_served_elsewhere = lambda exchange: True  # type: ignore[method-assign]
    second = line.up()

    assert (first.dropped, second.dropped, line.socket.in_flight) == (False, True, 1)
    assert [(each.status, each.error) for each in line.decisions] == [(503, "model_elsewhere")]


def test_an_error_event_carries_the_headers_of_the_dialect(line: Line) -> None:
    line.up(previous_response_id=_made_by_two(line))

    dialect, refusal = dialects.of("openai_responses"), replace(websockets._ELSEWHERE)
    assert line.said[0]["headers"] == dict(dialect.error_headers(refusal))


STAMP = "pb1-" + "0" * 48


def repeating(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Return a socket of a provider that repeats metadata."""
    return Line(monkeypatch, SETTINGS.replace("provider: generic", "provider: openai") + REPEATS)


def got(message: WebSocketMessage) -> dict[str, Any]:
    """Return the event that the client gets of *message*."""
    found: dict[str, Any] = json.loads(vars(message).get("patchbay_instead", message.content))
    return found


def test_the_client_gets_no_id_of_ours_in_metadata_not_even_behind_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    line = repeating(monkeypatch)
    line.up()
    messages = [line.down(kind, metadata={"pb": STAMP}) for kind in ("response.created", *["response.completed"] * 2)]

    assert [got(message)["response"]["metadata"] for message in messages] == [{}, {}, {}]
    assert all(STAMP.encode() in message.content for message in messages)


def test_an_id_that_the_client_sent_itself_in_metadata_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    line = repeating(monkeypatch)
    line.up(metadata={"pb": STAMP})
    message = line.down("response.created", metadata={"pb": STAMP})

    assert got(message)["response"]["metadata"] == {"pb": STAMP}


@pytest.mark.parametrize("event", SHUT_OUT.values(), ids=SHUT_OUT)
def test_our_error_in_place_of_the_provider_s_is_what_a_client_gets_there_too(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any]
) -> None:
    line = repeating(monkeypatch)
    line.up()
    message = line.pass_on(event, from_client=False)

    assert got(message)["error"]["code"] == "upstream_credentials_exhausted"
