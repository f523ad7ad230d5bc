"""Heads in a flow: placeholders where credentials were, and the credentials again on the wire."""

from __future__ import annotations

import pytest
from mitmproxy.http import Headers, HTTPFlow
from mitmproxy.test import tflow, tutils

from patchbay.proxy.covered import Covered, bare, lacks_credentials, names_credential, placeholder
from patchbay.proxy.fields import Fields

KEY = "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"
CAME = (
    (b"Host", b"api.example.com"),
    (b"X-LITELLM-Api-Key", KEY.encode()),
    (b"x_api_key", b"short"),
    (b"Cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"X-Note", b"see " + KEY.encode()),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Sec-WebSocket-Protocol", b"realtime, base64url.bearer.authorization.k8s.io." + KEY[7:].encode()),
    (b"Idempotency-Key", b"0123"),
)
PATH = f"/v1/{KEY}/x?a=1&access_token=t&pageToken=p&b={KEY}"


def flow_of(path: str = PATH) -> HTTPFlow:
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(CAME), path
    return flow


def test_the_flow_shows_none_and_the_wire_gets_every_byte() -> None:
    """T7, T8: fields of any name, parameters, a piece of the path, a protocol of a WebSocket."""
    flow = flow_of()
    covered = Covered(flow.request)

    assert KEY[7:] not in repr(flow.get_state())
    assert flow.request.path == "/v1/patchbay/x?a=1&access_token=patchbay&pageToken=p&b=patchbay"
    assert flow.request.headers["sec-websocket-protocol"] == "realtime"
    assert flow.request.headers["sec-websocket-key"] == "dGhlIHNhbXBsZSBub25jZQ=="
    assert flow.request.headers["idempotency-key"] == "0123"
    sent = covered.restored(flow.request)
    assert (sent.headers.fields, sent.path) == (CAME, PATH)
    assert lacks_credentials(flow.request)
    assert KEY not in repr(covered)


@pytest.mark.parametrize(
    "key", ["0f3a9c7be1d24f68a5b7c9d1e3f50718", "correct-horse-battery-staple", "c2VjcmV0IHNlY3JldA=="]
)
@pytest.mark.parametrize("field", ["Authorization: Bearer ", "X-API-Key: ", "api-key: ", "authorization: "])
def test_a_credential_of_no_shape_is_covered_wherever_the_head_repeats_it(field: str, key: str) -> None:
    """T7: in a value, a piece of the path, a parameter; and it goes up under none of these names."""
    name, _, before = field.partition(": ")
    came = (
        (b"host", b"api.example.com"), (b"x-foo", key.encode()), (name.encode(), (before + key).encode()),
        (b"user-agent", f"cli/{key} x".encode()), (b"x-note", b"one"),
    )  # fmt: skip
    flow = tflow.tflow()
    flow.request.headers, flow.request.path = Headers(came), f"/v1/{key}/x?{key}&a={key}&b=1"
    covered = Covered(flow.request)

    assert key not in repr(flow.get_state())
    assert flow.request.headers["x-note"] == "one"
    assert flow.request.path.endswith("&b=1")
    assert covered.by_value == {b"x-foo", b"user-agent"}
    assert covered.restored(flow.request).headers.fields == came
    assert covered.restored(flow.request).path == f"/v1/{key}/x?{key}&a={key}&b=1"


def test_a_name_and_a_password_before_a_host_are_not_shown() -> None:
    """T7: in the header, and in what HTTP/2 calls the authority."""
    flow = tflow.tflow()
    flow.request.headers = Headers(((b"Host", b"me:hunter2@api.example.com"),))
    flow.request.data.authority = b"me:hunter2@api.example.com"
    covered = Covered(flow.request)

    assert "hunter2" not in repr(flow.get_state())
    assert flow.request.headers["host"] == flow.request.authority == "api.example.com"
    assert covered.restored(flow.request).headers["host"] == "me:hunter2@api.example.com"


def test_a_field_called_like_a_key_is_a_credential() -> None:
    """T7: a line that somebody wrote the wrong way round; it goes to no provider."""
    flow = tflow.tflow()
    flow.request.headers = Headers(((f"X-{KEY}".encode(), b"1"), (b"x-note", b"1")))
    Covered(flow.request)

    assert names_credential(f"x-{KEY}".lower().encode())
    assert not names_credential(b"x-stainless-helper-method-of-the-client")
    assert flow.request.headers["x-note"] == "1"


@pytest.mark.parametrize(
    "path",
    [f"/v1/x?{KEY}", f"/v1/x?{KEY}=1&b=1", f"/v1/x?a=b;c={KEY}", "/v1/x?a=b;key=hunter2secret", f"/v1/x;key={KEY}",
     "/v1/x;token=hunter2secret?b=1", f"/v1/{KEY}?b", f"/{KEY}", f"/v1/x#{KEY}"],
)  # fmt: skip
def test_a_path_shows_no_key_with_or_without_a_name(path: str) -> None:
    """T7: a parameter without a name, or whose name is the key; parameters behind a semicolon."""
    flow = flow_of(path)
    covered = Covered(flow.request)

    assert KEY[7:] not in flow.request.path
    assert "hunter2" not in flow.request.path
    assert covered.restored(flow.request).path == path


def test_to_another_place_they_do_not_go() -> None:
    """T8: the flow was edited, or sent elsewhere by another addon."""
    flow = flow_of()
    covered = Covered(flow.request)
    flow.request.host = "evil.example"

    assert KEY[7:] not in repr(covered.restored(flow.request).get_state())


def test_nothing_to_cover_is_nothing_to_copy() -> None:
    flow = tflow.tflow()
    covered = Covered(flow.request)

    assert covered.restored(flow.request) is flow.request
    assert not lacks_credentials(flow.request)


def test_cookies_of_an_answer_are_the_clients_alone() -> None:
    """T8: the flow shows them covered."""
    told = (
        (b"Set-Cookie", b"a=secret"),
        (b"set-cookie", b"b=secret"),
        (b"X-Plain", b"1"),
        (b"x-auth-token", b"secret"),
    )
    response = tutils.tresp(headers=Headers(told))
    covered = Covered(tflow.tflow().request)
    covered.answered(response)

    assert b"secret" not in repr(response.headers.fields).encode()
    assert covered.told(response).headers.fields == told
    response.headers["x-plain"] = "2"
    assert covered.told(response).headers.get_all("set-cookie") == ["a=secret", "b=secret"]
    assert covered.told(response).headers["x-plain"] == "2"


def test_an_account_is_named_where_a_credential_was() -> None:
    flow = flow_of("/x?key=k")
    placeholder(flow.request)
    placeholder(flow.request, "one")

    assert flow.request.headers["x-litellm-api-key"] == "patchbay:one"
    assert flow.request.path == "/x?key=patchbay:one"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"close", {b"host", b"authorization", b"x-a", b"x-b"}),
        (b"X-A , x-b,", {b"host", b"authorization"}),
        (b"authorization, host, Content-Length, x-a", {b"host", b"authorization", b"x-b"}),
    ],
)
def test_what_connection_lists_is_taken_off_but_never_what_is_needed(value: bytes, expected: set[bytes]) -> None:
    """R6"""
    names = (b"Host", b"Authorization", b"X-A", b"x-B", b"TE", b"Keep-Alive", b"HTTP2-Settings", b"Upgrade", b"Trailer")
    fields = Fields(((b"Connection", value), *((name, b"1") for name in names)))
    fields.drop_hops()

    assert set(fields.names()) == expected


@pytest.mark.parametrize("value", [b"Upgrade", b"keep-alive, Upgrade", b"upgrade"])
def test_an_upgrade_to_a_websocket_keeps_what_says_so(value: bytes) -> None:
    """R6"""
    fields = Fields(((b"Connection", value), (b"Upgrade", b"websocket"), (b"Keep-Alive", b"1")))
    fields.drop_hops(b"Upgrade")

    assert fields.names() == [b"connection", b"upgrade"]
    assert fields.first(b"connection").lower() == b"upgrade"


def test_trailers_carry_no_credential() -> None:
    """T7: they come when the head has left, and the flow keeps them."""
    trailers = Headers(((b"X-Auth-Token", b"secret"), (b"x-note", KEY.encode()), (b"X-Checksum", b"1")))

    assert bare(trailers).fields == ((b"X-Checksum", b"1"),)


@pytest.mark.parametrize("value", [b"close", b"keep-alive, X-A", b"Keep-Alive"])
def test_the_next_connection_is_kept_whatever_the_client_says_of_its_own(value: bytes) -> None:
    """R6"""
    fields = Fields(((b"Connection", value), (b"X-A", b"1"), (b"Keep-Alive", b"timeout=5"), (b"X-B", b"1")))
    fields.drop_hops(b"keep-alive")

    assert fields.first(b"connection").lower() == b"keep-alive"
    assert set(fields.names()) - {b"x-a"} == {b"connection", b"x-b"}
