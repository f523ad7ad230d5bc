"""Bodies of what passes: the flow holds them without credentials, the wire gets them as they came."""

from __future__ import annotations

import gzip
import json

import pytest
from mitmproxy.http import Headers, Request, Response
from mitmproxy.net import encoding
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from patchbay.proxy.passing_bodies import LARGEST_KEPT, PassingBodies
from patchbay.proxy.passing_credentials import PassingCredentials

KEY = "own-key-0123456789-of-no-format"
LOGIN = json.dumps({"access_token": KEY, "scope": "all"}).encode()


def bodies(*known: bytes) -> PassingBodies:
    credentials = PassingCredentials()
    credentials.note(known)
    return PassingBodies(credentials)


def request(body: bytes, **headers: str) -> Request:
    made = Request.make("POST", "http://example.com/", body, Headers(**headers))
    made.raw_content = body
    return made


@pytest.mark.parametrize("coding", ["", "gzip", "br", "zstd", "deflate"])
def test_the_flow_holds_no_credential_and_the_wire_the_bytes_that_came(coding: str) -> None:
    came = bytes(encoding.encode(LOGIN, coding)) if coding else LOGIN
    asked, passing = request(came, content_encoding=coding) if coding else request(came), bodies()
    before = asked.headers.fields
    passing.hide_request(asked, conversation=False)

    stands = asked.raw_content
    assert stands and stands != came and asked.headers.fields == before
    assert json.loads(asked.get_content() or b"")["scope"] == "all"
    assert KEY.encode() not in (asked.get_content() or b"")
    assert passing.request_bytes(stands) == came


def test_an_edited_body_goes_up_as_it_was_edited() -> None:
    asked, passing = request(LOGIN), bodies()
    passing.hide_request(asked, conversation=False)

    assert passing.request_bytes(b"edited") == b"edited"


def test_a_body_without_a_credential_is_left_alone() -> None:
    asked, passing = request(came := gzip.compress(b'{"model": "m"}'), content_encoding="gzip"), bodies()
    passing.hide_request(asked, conversation=False)

    assert asked.raw_content is came or asked.raw_content == came
    assert passing.request_bytes(came) is came


@pytest.mark.parametrize("spelled", [KEY, KEY.encode().hex(), "".join(f"\\u{ord(c):04x}" for c in KEY)])
def test_a_presented_credential_is_covered_wherever_it_is_quoted(spelled: str) -> None:
    answer, passing = Response.make(401, f'{{"message": "wrong: {spelled}"}}'), bodies(KEY.encode())
    passing.hide_answer(answer, conversation=True)

    assert spelled not in (answer.text or "")
    assert passing.answer_bytes(answer.raw_content or b"") == f'{{"message": "wrong: {spelled}"}}'.encode()


def test_what_a_login_gave_is_known_from_then_on() -> None:
    credentials = PassingCredentials()
    PassingBodies(credentials).hide_answer(Response.make(200, LOGIN), conversation=False)
    later = Response.make(200, f"hello, {KEY}")
    PassingBodies(credentials).hide_answer(later, conversation=True)

    assert KEY not in (later.text or "")
    assert KEY not in repr(credentials)


@pytest.mark.parametrize("coding", ["gzip", "rot13"])
def test_of_a_body_that_cannot_be_read_nothing_is_kept(coding: str) -> None:
    body = gzip.compress(LOGIN)[:-20] if coding == "gzip" else LOGIN
    answer = Response.make(200)
    answer.headers["content-encoding"], answer.raw_content = coding, body
    passing = bodies()
    passing.hide_answer(answer, conversation=False)

    stands = answer.raw_content or b""
    plain = gzip.decompress(stands) if coding == "gzip" else stands
    assert KEY.encode() not in plain and stands != body
    assert passing.answer_bytes(stands) == body


def test_a_failure_inside_keeps_nothing_and_passes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PassingCredentials, "without", lambda *_, **__: 1 / 0)
    asked, passing, message = request(LOGIN), bodies(), WebSocketMessage(Opcode.TEXT, True, LOGIN)
    passing.hide_request(asked, conversation=False)
    passing.hide_message(message, conversation=False)

    assert KEY.encode() not in (asked.raw_content or b"") + message.content
    assert passing.message_bytes(message.content) == LOGIN
    assert passing.request_bytes(asked.raw_content or b"") == LOGIN


def test_of_a_stream_the_flow_keeps_a_bounded_copy() -> None:
    passing, answer = bodies(KEY.encode()), Response.make(200)
    chunk = KEY.encode() + b" " * 1_000_000
    passed = [passing.copy_stream(chunk) for _ in range(4)]
    passing.hide_answer(answer, conversation=False)

    assert passed == [chunk] * 4
    assert len(answer.raw_content or b"") == LARGEST_KEPT and KEY.encode() not in (answer.raw_content or b"")


def test_only_the_latest_credentials_are_looked_for() -> None:
    """Each costs a search, and a client may present any number of them."""
    credentials = PassingCredentials()
    credentials.note(f"key-number-{n:03}-0123456789".encode() for n in range(100))

    assert b"number-000" in credentials.without_known(b"key-number-000-0123456789")
    assert b"number-099" not in credentials.without_known(b"key-number-099-0123456789")
