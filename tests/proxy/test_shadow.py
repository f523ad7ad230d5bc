"""The client's own credentials: out of the flow, back on the wire, and nowhere but where the client wanted."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.connection import Server
from mitmproxy.http import Headers, HTTPFlow, Response
from mitmproxy.test import tflow

from patchbay.proxy.answer_filter import Unchanged
from patchbay.proxy.credentials import Credentials
from patchbay.proxy.exchange_driver import RequestTarget
from patchbay.proxy.shadow import Passthrough, ShadowDriver, warn_of_nowhere
from patchbay.settings import reader
from patchbay.values.account import Timeouts
from patchbay.values.answer import End
from patchbay.values.http import Endpoint, Origin

KEY = "sk-the-clients-own-0123456789"
CAME = (
    (b"Host", b"api.example.com"),
    (b"AUTHORIZATION", b"Bearer " + KEY.encode()),
    (b"x-api-key", KEY.encode()),
    (b"X-Api-Key", KEY.encode() + b"-2"),
    (b"Sec-WebSocket-Protocol", b"realtime, openai-insecure-api-key." + KEY.encode()),
    (b"Accept-Encoding", b"br"),
)


def hung(path: str = f"/v1/x?a=1&key={KEY}&b=%2F") -> tuple[HTTPFlow, ShadowDriver]:
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(CAME), path
    around: Any = SimpleNamespace(keys=Credentials())
    driver = ShadowDriver(flow, around, "")
    driver.target = RequestTarget(Endpoint(), Origin("https", "api.example.com", 443), "")
    return flow, driver


def server(host: str = "api.example.com", port: int = 443) -> Server:
    return Server(address=(host, port))


def test_no_credential_stands_in_the_flow() -> None:
    flow, _ = hung()

    assert KEY not in repr(flow.get_state())


def test_the_wire_gets_what_the_client_sent_byte_for_byte() -> None:
    flow, driver = hung()
    sent = driver.wire_request(flow.request, server())

    assert (sent.headers.fields, sent.path) == (CAME, f"/v1/x?a=1&key={KEY}&b=%2F")
    assert KEY not in repr(flow.get_state())


def test_what_was_edited_stays_edited_and_the_credentials_come_back() -> None:
    flow, driver = hung()
    flow.request.headers["accept-encoding"] = "gzip"
    flow.request.path = "/v1/other?key=whatever"
    sent = driver.wire_request(flow.request, server())

    assert sent.headers["accept-encoding"] == "gzip"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.path == f"/v1/other?key={KEY}"


@pytest.mark.parametrize("elsewhere", [server("evil.example"), server(port=80), Server(address=None)])
def test_they_go_nowhere_else(elsewhere: Server) -> None:
    flow, driver = hung()

    with pytest.raises(PermissionError):
        driver.wire_request(flow.request, elsewhere)


def test_a_cord_shows_nothing() -> None:
    _, driver = hung()

    assert KEY not in repr(driver)


def test_shadow_on_one_port_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    accounts = "accounts: [{id: a, provider: openai, key: example-key}]"
    with caplog.at_level(logging.WARNING):
        warn_of_nowhere(reader.load(f"mode: shadow\n{accounts}", "x"), ["reverse:https://api.openai.com"])
        warn_of_nowhere(reader.load(accounts, "x"), ["reverse:http://patchbay.invalid"])
        assert caplog.messages == []
        warn_of_nowhere(reader.load(f"mode: shadow\n{accounts}", "x"), ["regular", "reverse:http://patchbay.invalid"])

    assert "nothing answers" in caplog.text


@pytest.mark.parametrize(
    ("modes", "warned"),
    [
        (["reverse:http://patchbay.invalid"], True),
        (["regular"], True),
        (["reverse:https://up.example"], False),
        (["regular", "reverse:https://up.example@8081"], False),
    ],
)
def test_an_account_at_an_upstream_that_no_listener_names_is_warned_about(
    caplog: pytest.LogCaptureFixture, modes: list[str], warned: bool
) -> None:
    accounts = ["{id: a, provider: openai, key: example-a}", "{id: c, provider: generic, base_url: reverse, key: k}"]
    accounts = [accounts[0], accounts[1], accounts[1].replace("id: c", "id: off, enabled: false")]
    warn_of_nowhere(reader.load(f"accounts: [{', '.join(accounts)}]", "x"), modes)

    told = "patchbay: account c: `base_url: reverse` needs `--mode reverse:URL`"
    assert caplog.messages == ([told] if warned else [])


def test_shadow_waits_for_nothing_shares_no_connection_and_never_sends_again() -> None:
    _, driver = hung()

    assert driver.ready
    assert driver.timeouts == Timeouts(connect=0, first_byte=0, idle=0, total=0)
    assert (driver.shadow, driver.may_resend, driver.owner, driver.body_limit) == (True, False, None, sys.maxsize)
    assert repr(driver) == "ShadowDriver()"
    driver.closed = True
    assert not driver.ready


def test_in_shadow_answers_pass_as_they_came() -> None:
    """The router is told of them, its reaction is not carried out."""
    _, driver = hung()
    told: list[object] = []
    driver._around = SimpleNamespace(  # type: ignore[assignment]
        keys=Credentials(),
        now=lambda: 0.0,
        router=SimpleNamespace(
            answered=lambda exchange, event, now: told.append(event) or "cut",  # type: ignore[func-returns-value]
            config=SimpleNamespace(limits=SimpleNamespace(keep_streamed=3)),
        ),
    )
    driver.exchange = SimpleNamespace(attempt=None)  # type: ignore[assignment]
    end = End()
    assert driver.answered(end) == "deliver" and told == [end]
    driver.streaming, driver._body = True, b"another"
    assert (driver.deliver(b"chunk"), bytes(driver.streamed_copy)) == (b"chunk", b"chu")
    assert driver.wire_body(b"as it is") == b"as it is"
    kept = driver.answer_filter()
    assert isinstance(kept, Unchanged) and kept.plain(KEY.encode()) == KEY.encode()
    assert (kept._keys, kept._limit) == (driver._around.keys, sys.maxsize)


ANSWER = ((b"Set-Cookie", b"session=0123456789abcdef"), (b"content-type", b"text/plain"))


@pytest.mark.parametrize("of", ["ShadowDriver", "Passthrough"])
def test_what_a_provider_gives_its_client_stands_in_no_flow(of: str) -> None:
    flow, shadow = hung()
    flow.response = Response.make(200)
    flow.response.headers = Headers(ANSWER)
    passing = Passthrough(flow, Credentials()) if of == "Passthrough" else None
    if passing:
        passing.redact_answer(flow.response)
    else:
        shadow.redacted_heads.redact_answer(flow.response)
    given = (passing or shadow).client_response(flow.response)

    assert b"0123456789abcdef" not in repr(flow.response.headers.fields).encode()
    assert given.headers.fields == ANSWER


def test_other_traffic_passes_with_its_own_credentials() -> None:
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(CAME), f"/x?key={KEY}"
    passing = Passthrough(flow, Credentials())
    sent = passing.wire_request(flow.request)

    assert KEY not in repr(flow.get_state()) and repr(passing) == "Passthrough()"
    assert (sent.headers.fields, sent.path) == (CAME, f"/x?key={KEY}")
