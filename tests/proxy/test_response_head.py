"""What the client gets of an answer's head, and which bodies stream through."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.http import Headers, Response

from patchbay.proxy import response_head
from patchbay.proxy.header_fields import HeaderFields
from patchbay.values import header_names
from patchbay.values.decision import Identity, Refusal


def driver(
    session_id: str = "",
    refusal: Refusal | None = None,
    stream: bool = False,
    kind: str = "generation",
    affinity: str = "",
    **more: Any,
) -> Any:
    members = {
        "lease": SimpleNamespace(request_id="pb1-x", account=SimpleNamespace(id="one"), session_id=session_id),
        "exchange": SimpleNamespace(refusal=refusal, stream=stream, identity=Identity(affinity)),
        "target": SimpleNamespace(endpoint=SimpleNamespace(kind=kind)),
        "takes_off": None,
        "rewrite_head": lambda fields, status: fields.put(b"x-rewritten", b"%d" % status),
    }
    return SimpleNamespace(**members | more)


def fields(**headers: str) -> HeaderFields:
    return HeaderFields(tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()))


def test_what_reveals_the_account_is_dropped() -> None:
    revealing = [(name.title().encode(), b"x") for name in (*header_names.ACCOUNTS, "set-cookie")]
    headers = Headers([*revealing, (b"X-Patchbay-Verdict", b"clean"), (b"X-Fine", b"1"), (b"Cookie", b"c")])

    assert len(revealing) == 6
    assert response_head.without_private(headers).raw() == ((b"X-Fine", b"1"), (b"Cookie", b"c"))


def test_the_head_names_the_attempt() -> None:
    response = Response.make(200, b"", {"x-fine": "1", "keep-alive": "1", "x-patchbay-account": "forged"})
    found = dict(response_head.for_client(response, driver()).raw())

    assert found == {
        b"x-fine": b"1", b"content-length": b"0", b"x-patchbay-request-id": b"pb1-x", b"x-patchbay-account": b"one",
        b"x-rewritten": b"200",
    }  # fmt: skip


def test_the_session_and_the_reason_of_a_last_failure_are_named_too() -> None:
    refusal = Refusal(503, "no_account", "")
    found = response_head.for_client(Response.make(500), driver(session_id="s-1", refusal=refusal))

    assert found.first(b"x-patchbay-session-id") == b"s-1"
    assert b"x-patchbay-session" not in found  # its conversation is not known
    named = response_head.for_client(Response.make(200), driver(affinity="e718a2c40b1d4f6e"))
    assert named.first(b"x-patchbay-session") == b"e718a2c4"
    assert found.first(b"x-patchbay-gave-up") == b"no_account"
    assert b"x-patchbay-gave-up" not in response_head.for_client(Response.make(500), driver(exchange=None))


def test_an_upgrade_keeps_its_connection_header() -> None:
    headers = {"connection": "upgrade", "upgrade": "websocket"}
    assert response_head.for_client(Response.make(101, b"", headers), driver()).first(b"connection") == b"upgrade"
    assert b"connection" not in response_head.for_client(Response.make(200, b"", headers), driver())


JSON = {"content_type": "application/json"}
LARGE = {"content_length": str(response_head.COLLECTED + 1)}


@pytest.mark.parametrize(
    ("headers", "status", "more", "streams"),
    [
        (JSON, 200, {}, False),
        ({"content_type": "text/event-stream"}, 200, {}, True),
        ({}, 200, {}, True),
        (JSON, 399, {"stream": True}, True),
        (JSON, 400, {"stream": True}, False),
        ({"content_type": "text/event-stream"}, 400, {}, False),
        (JSON | LARGE, 200, {}, True),
        (JSON | {"content_length": str(response_head.COLLECTED)}, 200, {}, False),
        (JSON | {"content_length": str(response_head.COLLECTED)}, 200, {"kind": "plain"}, True),
        (JSON | {"content_length": "x" + LARGE["content_length"]}, 200, {}, False),
        (JSON, 200, {"exchange": None}, False),
    ],
)
def test_which_bodies_stream(headers: dict[str, str], status: int, more: dict[str, Any], streams: bool) -> None:
    assert response_head.streams(fields(**headers), status, driver(**more)) is streams


def test_events_can_be_read_where_they_are_not_compressed() -> None:
    assert response_head.is_events(fields(content_type="text/event-stream; charset=utf-8"))
    assert response_head.is_events(fields(content_type="Text/Event-Stream"))
    assert not response_head.is_events(fields(content_type="text/event-streams"))
    assert not response_head.is_events(fields(content_type="text/event-stream", content_encoding="gzip"))
    assert not response_head.is_events(fields(content_type="text/plain"))
