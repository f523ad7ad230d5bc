"""What the stream is told by the driver of its exchange, and what the client gets of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from mitmproxy.connection import Client as ClientConnection
from mitmproxy.http import Response
from mitmproxy.proxy import commands, context

from patchbay.answer.sse import EventBuffer
from patchbay.proxy.answer_filter import AnswerFilter
from patchbay.proxy.header_fields import HeaderFields
from patchbay.proxy.shadow import ShadowDriver
from patchbay.proxy.websocket_layer import ObservedWebsocket, PatchbayWebsocket
from patchbay.values.account import Timeouts
from patchbay.values.answer import Chunk, End, Failure, Head
from patchbay.values.decision import Refusal
from patchbay.values.http import Headers

from .driven import BASE, CLIENT_KEY, KEY, Driven

GENERIC = f'provider: generic, base_url: "{BASE}/v1"'
HERE = "http://127.0.0.1:8080"


def opened(*args: Any, **more: Any) -> Driven:
    driven = Driven(*args, **more)
    driven.open()
    return driven


# -- the attempt -------------------------------------------------------------------------------------------------------


def test_a_driver_is_ready_from_its_route_to_its_end() -> None:
    driven = Driven()
    assert not driven.driver.ready
    driven.open()
    assert driven.driver.ready
    driven.driver.closed = True
    assert not driven.driver.ready


def test_accounts_share_no_connection() -> None:
    driven = Driven(more="")
    assert driven.driver.owner is None
    driven.open()
    owner, lease = driven.driver.owner, driven.driver.lease
    assert lease
    driven.driver.lease = replace(lease, account=replace(lease.account, id="other"))
    other = driven.driver.owner
    driven.driver.lease = replace(lease, account=replace(lease.account, secret=replace(lease.account.secret, ttl=1.0)))

    assert owner is not None
    assert len({owner, other, driven.driver.owner}) == 3


@pytest.mark.parametrize(
    ("method", "path", "whole"), [("POST", "/v1/chat/completions", True), ("GET", "/v1/models", False)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_of_a_model_has_its_own_timeouts(method: str, path: str, whole: bool, stream: bool) -> None:
    body = json.dumps({"model": "m", "messages": [], "stream": stream}).encode() if method == "POST" else b""
    driven = opened(GENERIC, path, body=body, method=method)
    lease = driven.driver.lease
    assert lease
    timeouts = Timeouts(1, 2, 3, 4, whole_first_byte=20, whole_idle=30)
    provider = replace(lease.account.provider, timeouts=timeouts)
    driven.driver.lease = replace(lease, account=replace(lease.account, provider=provider))

    assert driven.driver.timeouts == (timeouts.for_whole_answer if whole and not stream else timeouts)


@pytest.mark.parametrize("repeatable", [True, False])
def test_whether_a_request_goes_again_is_the_exchanges_choice(
    repeatable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven = opened()
    monkeypatch.setattr(type(driven.driver.exchange), "repeatable", repeatable)

    assert driven.driver.repeatable is repeatable


def test_a_connection_that_is_not_verified_gets_no_credential() -> None:
    driven = opened()
    driven.verified = False

    with pytest.raises(PermissionError):
        driven.sent()


def test_an_upload_has_the_timeouts_of_any_answer() -> None:
    driven = opened(GENERIC, "/v1/files", body=b"{}")

    assert driven.driver.lease
    assert driven.driver.timeouts == driven.driver.lease.account.provider.timeouts


def test_without_an_exchange_nothing_is_repeated_and_all_is_delivered() -> None:
    driver = Driven().driver

    assert not driver.repeatable
    assert driver.answered(Head(500, Headers())) == "deliver"
    assert driver.deliver(b"as it is") == b"as it is"
    assert driver.deliver_rest() == b""
    assert driver.wire_body(b"as it is") == b"as it is"


def test_limits_are_those_of_the_settings() -> None:
    driven = opened(GENERIC, more="limits: {body: 7KiB}\nfailover: {hold_timeout: 3}")

    assert driven.driver.body_limit == 7 << 10
    assert driven.driver.hold_seconds == 3.0


def test_the_router_says_what_follows_an_answer() -> None:
    driven = opened(GENERIC, more="")
    assert driven.driver.repeatable == driven.driver.exchange.repeatable  # type: ignore[union-attr]

    assert driven.driver.answered(Head(200, Headers())) in ("deliver", "hold")
    assert driven.driver.answered(Failure("reset", "gone")) == "next"


def test_a_wake_up_is_told_to_the_connection_of_the_flow() -> None:
    driven = opened()
    woken: list[Any] = []
    around = replace(driven.driver._around, wake=lambda flow, timer: woken.append((flow, timer)))
    driven.driver._around = around
    timer = commands.RequestWakeup(0)

    async def wakes() -> None:
        assert driven.driver.wake(0.0, timer)
        cancelled = driven.driver.wake(0.0, commands.RequestWakeup(0))
        assert cancelled
        cancelled.cancel()
        await asyncio.sleep(0.01)

    asyncio.run(wakes())
    assert woken == [(driven.flow, timer)]


# -- alarms ------------------------------------------------------------------------------------------------------------


ECHO = f"""
providers:
  own: {{preset: generic, base_url: "{BASE}/v1", echo: {{headers: {{X-Request-ID: handler}}, promised: true}}}}
"""


def test_the_alarm_is_raised_for_an_answer_with_a_proof() -> None:
    """The answer carries the request id of another exchange."""
    driven = opened("provider: own", more=ECHO)
    first = driven.driver.lease
    driven.open()
    assert first and driven.driver.lease
    stolen = Headers((("x-request-id", first.request_id), ("content-type", "application/json")))
    driven.driver.answered(Head(200, stolen))
    driven.driver.answered(Chunk(b"{}"))
    driven.driver.answered(End())

    [finding] = driven.alarms
    assert (finding.received, finding.expected) == (first.request_id, driven.driver.lease.request_id)


def test_an_answer_of_its_own_raises_no_alarm() -> None:
    driven = opened("provider: own", more=ECHO)
    assert driven.driver.lease
    driven.driver.answered(Head(200, Headers((("x-request-id", driven.driver.lease.request_id),))))

    assert driven.alarms == []


# -- what the client gets ----------------------------------------------------------------------------------------------


def test_an_answer_passes_a_filter_that_knows_the_keys() -> None:
    driven = opened()
    found = driven.driver.answer_filter()

    assert type(found) is AnswerFilter
    assert KEY.encode() not in found.bytes(b"your key " + KEY.encode())
    assert found is not driven.driver.answer_filter(), "one answer, one filter"


def test_the_head_of_an_answer_goes_to_the_client_as_it_is() -> None:
    response = Response.make(200)

    assert opened().driver.client_response(response) is response


def test_a_driver_begins_without_anything() -> None:
    driver = Driven().driver

    assert (driver.heard_at, driver.lease, driver.exchange, driver.client) == (0.0, None, None, None)
    assert not (driver.own_answer or driver.head_taken or driver.closed or driver.streaming or driver.copy_is_partial)


def test_without_a_lease_a_closing_event_names_no_request() -> None:
    driven = Driven()
    driven.flow.response = Response.make(200, headers={"content-type": "text/event-stream"})

    assert b"pb1-" not in driven.driver.closing_event(Refusal(502, "broken", "it broke"))


def test_a_whole_body_that_needs_no_change_keeps_its_length() -> None:
    """Its bytes and its `Content-Length` are the upstream's, also where that is written oddly."""
    driven, head = listing()
    driven.driver.rewrite_head(head, 200)
    response = Response.make(200, b'{ "a":  1 }', {"content-type": "application/json"})
    response.headers["content-length"] = "011"
    driven.driver.rewrite_body(response)

    assert response.headers["content-length"] == "011"


def test_a_stream_that_may_be_cut_is_delivered_in_whole_events() -> None:
    driver = opened().driver
    driver.event_buffer = EventBuffer()

    assert driver.deliver(b"data: a\n\ndata: b") == b"data: a\n\n"
    assert driver.deliver(b"\n\n") == b"data: b\n\n"
    assert driver.deliver(b"data: c") == b""
    assert driver.deliver_rest() == b"data: c"


@pytest.mark.parametrize("streaming", [True, False])
def test_of_a_stream_so_much_is_kept_for_the_flow(streaming: bool) -> None:
    driver = opened(GENERIC, more="limits: {keep_streamed: 10B}").driver
    driver.streaming = streaming
    assert driver.deliver(b"12345") == b"12345"
    assert (bytes(driver.streamed_copy), driver.copy_is_partial) == (b"12345" if streaming else b"", False)
    driver.deliver(b"67890")
    assert not driver.copy_is_partial
    assert driver.deliver(b"abc") == b"abc"

    assert (bytes(driver.streamed_copy), driver.copy_is_partial) == (
        (b"1234567890", True) if streaming else (b"", False)
    )


def listing(kind: str = "application/json") -> tuple[Driven, HeaderFields]:
    """A list of files, whose head and body hold addresses of the upstream."""
    driven = Driven(GENERIC, "/v1/files", method="GET", body=b"")
    driven.open(address=HERE)
    head = HeaderFields(
        (
            (b"Content-Type", kind.encode()),
            (b"Content-Length", b"99"),
            (b"Location", f"{BASE}/v1/files/f1".encode()),
            (b"X-Fine", b"fine"),
        )
    )
    return driven, head


def test_addresses_of_the_upstream_become_addresses_here() -> None:
    driven, head = listing()
    driven.driver.rewrite_head(head, 200)
    response = Response.make(
        200, json.dumps({"next": f"{BASE}/v1/files?after=2"}), {"content-type": "application/json"}
    )
    before = len(response.raw_content or b"")
    driven.driver.rewrite_body(response)

    assert head.first(b"location") == f"{HERE}/v1/files/f1".encode()
    assert head.first(b"x-fine") == b"fine"
    assert json.loads(response.content or b"") == {"next": f"{HERE}/v1/files?after=2"}
    assert response.headers["content-length"] == str(len(response.raw_content or b"")) != str(before)
    assert head.first(b"content-length") == b"99", "the body's is set when it is whole"


def test_a_body_without_addresses_stays_as_it_is() -> None:
    driven, head = listing()
    driven.driver.rewrite_head(head, 200)
    response = Response.make(200, b'{ "a":  1 }', {"content-type": "application/json"})
    del response.headers["content-length"]
    driven.driver.rewrite_body(response)

    assert (response.raw_content, "content-length" in response.headers) == (b'{ "a":  1 }', False)


@pytest.mark.parametrize(
    ("version", "method", "framed"),
    [
        ("HTTP/1.1", "GET", (b"", b"chunked")),
        ("HTTP/2.0", "GET", (b"", b"")),
        ("HTTP/1.1", "HEAD", (b"99", b"")),
    ],
)
def test_addresses_in_lines_change_as_they_pass(version: str, method: str, framed: tuple[bytes, bytes]) -> None:
    driven, head = listing("text/event-stream")
    driven.flow.request.http_version, driven.flow.request.method = version, method
    driven.driver.rewrite_head(head, 200)
    line = f'data: {{"next": "{BASE}/v1/files/f2"}}\n'.encode()
    passed = driven.driver.deliver(line[:30]) + driven.driver.deliver(line[30:] + b"data: x")

    assert (head.first(b"content-length"), head.first(b"transfer-encoding")) == framed
    assert passed + driven.driver.deliver_rest() == line.replace(BASE.encode(), HERE.encode()) + b"data: x"


def test_each_address_that_a_client_is_given_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    driven, head = listing()
    given: list[str] = []

    def remember(exchange: object, addresses: Any, now: float) -> None:
        given.extend(addresses.given)
        addresses.given.clear()

    monkeypatch.setattr(driven.router.addresses, "note", remember)
    driven.driver.rewrite_head(head, 200)
    assert len(given) == 1
    driven.driver.rewrite_body(Response.make(200, json.dumps({"next": f"{BASE}/v1/files/f9"})))

    assert len(given) == 2


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain"])
def test_other_bodies_are_not_looked_into(kind: str) -> None:
    driven, head = listing(kind)
    driven.driver.rewrite_head(head, 200)
    data = f"{BASE}/v1/files/f2".encode()
    response = Response.make(200, data)
    driven.driver.rewrite_body(response)

    assert driven.driver.deliver(data) == response.raw_content == data


# -- answers of ours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_refusal_speaks_the_callers_dialect(path: str) -> None:
    driven = Driven(GENERIC, path)
    refusal = Refusal(429, "all_busy", "All accounts are busy", 7.0)
    before = driven.driver.error_response(refusal)
    exchange = driven.open()
    after = driven.driver.error_response(refusal)

    assert driven.driver.own_answer
    assert exchange.refusal is refusal
    assert (before.status_code, after.status_code, after.headers["retry-after"]) == (429, 429, "7")
    assert driven.driver.lease
    assert after.headers["x-patchbay-request-id"] == driven.driver.lease.request_id
    assert "x-patchbay-request-id" not in before.headers
    assert ("type" in json.loads(after.content or b"")) == (path == "/v1/messages")


def test_a_refusal_about_an_upstream_names_its_account() -> None:
    driven = Driven()
    found = driven.driver.upstream_refusal("upstream_unreachable", "It is gone")
    assert (found.status, found.message) == (502, "It is gone")
    driven.open()
    found = driven.driver.upstream_refusal("upstream_unreachable", "It is gone", status=504)

    assert (found.status, found.code) == (504, "upstream_unreachable")
    assert "account main" in found.message


@pytest.mark.parametrize(
    ("kind", "said"), [("text/event-stream; charset=utf-8", True), ("application/json", False), ("", False)]
)
def test_a_stream_of_events_is_closed_with_an_event(kind: str, said: bool) -> None:
    driven = opened()
    driven.flow.response = Response.make(200, b"", {"content-type": kind} if kind else {})
    driven.driver.streaming = True
    event = driven.driver.closing_event(Refusal(502, "crosstalk_detected", "It is another's"))

    assert (b"crosstalk_detected" in event) == said
    assert bytes(driven.driver.streamed_copy) == event


def test_before_an_answer_there_is_nothing_to_close() -> None:
    driven = opened()
    driven.flow.response = None

    assert driven.driver.closing_event(Refusal(502, "x", "x")) == b""


# -- the client --------------------------------------------------------------------------------------------------------


def test_a_client_that_left_wakes_what_waits_for_it() -> None:
    driver = Driven().driver
    assert not driver.left
    driver.client_left()

    assert driver.left
    assert driver.recheck.is_set() and driver.client_gone.is_set()


def test_the_headers_of_a_client_hold_no_secret_and_nothing_of_its_hop() -> None:
    headers = Driven(
        headers=[
            ("Authorization", f"Bearer {CLIENT_KEY}"), ("Cookie", "a=b"), ("Connection", "x-hop"), ("X-Hop", "1"),
            ("X-Odd", "sk-proj-" + "a1B2" * 12), ("Session-Id", "s1"), ("X-Auth-Token", "t"),
        ]
    ).driver.request_headers()  # fmt: skip

    assert CLIENT_KEY not in repr(list(headers))
    assert headers.get("session-id") == "s1"
    assert "authorization" in headers
    assert [name for name in ("cookie", "x-hop", "x-odd", "x-auth-token") if name in headers] == []


# -- WebSockets and shadow ---------------------------------------------------------------------------------------------


def layers() -> context.Context:
    here = ("127.0.0.1", 1)
    return context.Context(ClientConnection(peername=here, sockname=here), None)  # type: ignore[arg-type]


@pytest.fixture
def shadowed() -> Iterator[ShadowDriver]:
    driven = opened(GENERIC)
    driver = ShadowDriver(driven.flow, driven.driver._around, driven.endpoint.dialect)
    driver.exchange, driver.lease, driver.target = driven.driver.exchange, driven.driver.lease, driven.driver.target
    yield driver


def test_a_websocket_has_the_bounds_of_the_exchange() -> None:
    driven = opened(GENERIC, more="limits: {body: 7KiB}")
    found = driven.driver.websocket(layers(), driven.flow, lambda: commands.Log(""))
    assert isinstance(found, PatchbayWebsocket)
    before = driven.driver.heard_at
    found._heard()
    found._left()

    assert found._limit == 7 << 10
    assert KEY.encode() not in found._scrub(KEY.encode())
    assert driven.driver.heard_at > before
    assert driven.driver.left


def test_in_shadow_nothing_is_changed_bounded_or_sent_again(shadowed: ShadowDriver) -> None:
    assert shadowed.ready
    assert not shadowed.may_resend
    assert shadowed.owner is None
    assert shadowed.body_limit > 1 << 60
    assert shadowed.timeouts == Timeouts(0, 0, 0, 0)
    assert type(shadowed.websocket(layers(), shadowed._flow, lambda: commands.Log(""))) is ObservedWebsocket
    assert shadowed.answered(Failure("reset", "gone")) == "deliver"
    shadowed.event_buffer = EventBuffer()
    assert shadowed.deliver(b"half an event") == b"half an event"
    assert shadowed.wire_body(b"mine") == b"mine"


def test_in_shadow_the_route_decides_nothing(shadowed: ShadowDriver) -> None:
    shadowed.lease = None
    assert shadowed.ready
    shadowed.closed = True
    assert not shadowed.ready


@pytest.mark.parametrize("replaced", [True, False])
def test_a_key_that_was_replaced_meanwhile_is_not_held_against_its_account(replaced: bool) -> None:
    """Other requests may have been sent under the former key of a login that its tool has renewed."""
    driven = Driven()
    driven.sent()
    if replaced:
        driven.driver.sent_with = ("the state of the former key",)
    refusal = b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}'
    for event in (Head(401, Headers([("content-type", "application/json")])), Chunk(refusal), End()):
        driven.driver.answered(event)

    rests = driven.router.accounts.health.reason("main", "m", driven.driver._around.now())
    assert (rests == "") is replaced
    exchange = driven.driver.exchange
    assert exchange and exchange.attempts[-1].outcome and exchange.attempts[-1].outcome.kind == "auth"
