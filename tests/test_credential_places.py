"""Where a credential stands in a request: found, taken out and put in."""

from __future__ import annotations

import pytest

from patchbay import credential_places
from patchbay.values import header_names
from patchbay.values.account import CredentialHeader
from patchbay.values.http import Headers

KEY = "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"


@pytest.mark.parametrize(
    ("path", "instead", "expected"),
    [
        ("/a", "x", "/a"),
        ("/a?key=secret", "patchbay", "/a?key=patchbay"),
        ("/a?alt=sse&key=secret&b=%20", "patchbay:one", "/a?alt=sse&key=patchbay:one&b=%20"),
        ("/a?key=1&key=2", None, "/a"),
        ("/a?monkey=1&key=2", None, "/a?monkey=1"),
        ("/a?", "x", "/a?"),
    ],
)
def test_the_key_of_a_query_is_replaced_and_nothing_else(path: str, instead: str | None, expected: str) -> None:
    assert credential_places.without_key(path, instead) == expected


def test_a_key_is_put_in_a_query_once() -> None:
    assert credential_places.with_key("/a?key=old&alt=sse", "n/w") == "/a?alt=sse&key=n%2Fw"
    assert credential_places.with_key("/a", "new") == "/a?key=new"


@pytest.mark.parametrize(
    "name", ["%6bey", "k%65y", "access_token", "%61ccess_token", "api_key", "api-key", "oauth_token"]
)
def test_a_key_of_a_query_is_found_however_it_is_spelled(name: str) -> None:
    path = f"/a?alt=sse&{name}=ann-key"

    assert credential_places.without_key(path) == "/a?alt=sse"
    assert "ann-key" not in credential_places.without_key(path, "patchbay")
    assert (
        list(credential_places.PROTOCOL_KEYS.keys_in(Headers(), path))
        == [credential_places.in_query(path)]
        == ["ann-key"]
    )


@pytest.mark.parametrize("name", header_names.CREDENTIALS)
def test_a_key_is_found_in_every_header_for_one(name: str) -> None:
    prefix = header_names.CREDENTIALS[name]
    headers = Headers([(name, f"{prefix} the-key ")])

    assert list(credential_places.PROTOCOL_KEYS.keys_in(headers, "/")) == ["the-key"]
    assert credential_places.PROTOCOL_KEYS.form(headers, "/") == ("bearer" if name == "authorization" else name)


@pytest.mark.parametrize("name", sorted(credential_places.QUERY_KEYS))
def test_a_key_is_found_in_every_parameter_for_one(name: str) -> None:
    path = f"/v1/x?alt=sse&{name}=the-key"

    assert list(credential_places.PROTOCOL_KEYS.keys_in(Headers(), path)) == ["the-key"]
    assert credential_places.PROTOCOL_KEYS.form(Headers(), path) == "query"
    assert credential_places.without_key(path) == "/v1/x?alt=sse"


def test_a_key_in_a_segment_of_the_path_is_replaced_in_any_case() -> None:
    path = f"/v1/{KEY}/x"

    assert credential_places.without_key(path) == "/v1/patchbay/x"
    assert credential_places.without_key(path, "other") == "/v1/other/x"


def test_a_parameter_whose_name_is_a_key_loses_its_name() -> None:
    assert credential_places.without_key(f"/x?{KEY}=1&a=b", "placeholder") == "/x?patchbay=placeholder&a=b"
    assert credential_places.without_key(f"/x?{KEY}=1&a=b") == "/x?a=b"


def test_parameters_are_found_by_name_as_they_are_written() -> None:
    assert credential_places.parameters("/x?a%62=1%20&c=2&d", {"ab", "d"}) == {"a%62": "1%20", "d": ""}
    assert credential_places.parameters("/x", {"ab"}) == {}


def test_a_path_is_shown_without_what_is_a_key_and_with_what_may_pass() -> None:
    passing = {"sig": "of-the-account"}

    assert credential_places.without_key("/a?sig=theirs&b=1", None, passing) == "/a?sig=of-the-account&b=1"
    assert credential_places.without_key("/a?x=patchbay&y=patchbay:one&z=patchbayed", None) == "/a?z=patchbayed"
    assert credential_places.without_key(f"/a?x={KEY}&b=1", "in its place") == "/a?x=in%20its%20place&b=1"
    assert credential_places.without_key(f"/a?{KEY}=1", "patchbay") == "/a?patchbay=patchbay"
    assert credential_places.without_key(f"/a/{KEY}/b", None) == "/a/patchbay/b"
    assert credential_places.is_same_path("/a?key=1", "/a?key=2")
    assert not credential_places.is_same_path("/a?b=1", "/a?b=2")


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [("authorization", "x", True), ("x-api-key", "x", True), ("accept", "text/html", False),
     ("x-other", KEY, True), (KEY, "x", True)],
)  # fmt: skip
def test_a_credential_is_known_by_its_name_or_its_value(name: str, value: str, is_one: bool) -> None:
    assert credential_places.is_credential(name, value) is is_one


def test_a_key_is_found_among_the_subprotocols_of_a_socket() -> None:
    headers = Headers([("sec-websocket-protocol", "realtime, openai-insecure-api-key.the-key ,v1")])

    assert list(credential_places.PROTOCOL_KEYS.keys_in(headers, "/?key=another")) == ["the-key", "another"]
    assert credential_places.PROTOCOL_KEYS.form(headers, "/") == ""


@pytest.mark.parametrize(
    ("protocol", "is_one"),
    [("realtime", False), ("openai-beta.realtime-v1", False), ("openai-insecure-api-key.a.b", True),
     (f"other.{KEY}", True), (KEY, True), ("api-key.x", True), ("x.api-key", False)],
)  # fmt: skip
def test_a_subprotocol_with_a_key_is_known(protocol: str, is_one: bool) -> None:
    assert credential_places.is_key_protocol(protocol) is is_one


OWN = credential_places.KeyHeaders(
    (CredentialHeader("X-Acme-Ticket", "Token "), CredentialHeader("Authorization", "Token "))
)


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (("X-Acme-Ticket", "Token the-key"), "x-acme-ticket"),
        (("x-acme-ticket", "the-key"), "x-acme-ticket"),
        (("Authorization", "token the-key"), "bearer"),
        (("Authorization", "Bearer the-key"), "bearer"),
        (("X-Api-Key", "the-key"), "x-api-key"),
    ],
)
def test_a_key_is_found_in_a_header_of_the_settings(header: tuple[str, str], form: str) -> None:
    headers = Headers([header])

    assert list(OWN.keys_in(headers, "/")) == ["the-key"]
    assert OWN.form(headers, "/") == form
    assert OWN.in_own(headers) == ("the-key" if form == "x-acme-ticket" else "")


def test_the_headers_of_the_protocols_stay_what_they_are_beside_those_of_the_settings() -> None:
    assert (OWN.prefix("authorization"), OWN.prefix("x-acme-ticket")) == ("Bearer ", "Token ")
    assert OWN.own_names == {"x-acme-ticket"}
    assert b"x-acme-ticket" in OWN.encoded and b"x-api-key" in OWN.encoded
