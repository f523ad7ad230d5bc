"""Where credentials stand in bodies, and what only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import credential_members
from patchbay.credential_members import anywhere, covered, in_conversation

VALUE, DRAWN = "a-value.of-0123456789", "Zq8wNfT2vXb7RkLm4HcJdP9sGyU1e"


def found(body: str) -> list[str]:
    data = body.encode()
    return sorted({data[start:end].decode() for start, end in anywhere(data)})


@pytest.mark.parametrize(
    "body",
    [
        f'{{"access_token": "{VALUE}"}}',
        f'{{"refreshToken":"{VALUE}","n":1}}',
        f'{{\n  "raw_key" : "{VALUE}"\n}}',
        f'{{"device_code": "{VALUE}"}}',
        f'{{"authorization_code": "{VALUE}"}}',
        json.dumps({"event": json.dumps({"api_key": VALUE})}),
        json.dumps({"event": json.dumps({"deep": json.dumps({"apiKey": VALUE})})}),
        f'{{"id_token": "{VALUE}',  # cut off
        f"grant_type=refresh_token&refresh_token={VALUE}",
        f"client_secret={VALUE}&x=1",
        f"grant_type=authorization_code&code={VALUE}",
        json.dumps({"grant_type": "authorization_code", "code": VALUE}),
        f'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n{VALUE}\r\n--x--',
        f'--x\r\nContent-Disposition: form-data; name=password\r\nContent-Type: text/plain\r\n\r\n{VALUE}\r\n--x--',
        f"postgres://me:{VALUE}@db.example/x",
        f'{{"verification_uri_complete": "https://example.com/device?code={VALUE}"}}'.replace(VALUE, "x"),
    ],
)  # fmt: skip
def test_a_credential_is_found_by_its_place(body: str) -> None:
    [value] = found(body)
    assert value == VALUE or value == "https://example.com/device?code=x"


@pytest.mark.parametrize(
    "key", ["sk-ant-api03-0123456789abcdefABCDEF", "AIzaSyA0123456789abcdefghijklmno", "ghp_0123456789abcdefABCD"]
)
def test_a_key_is_found_by_its_format(key: str) -> None:
    assert found(f"it began with {key}, as usual") == [key]


@pytest.mark.parametrize(
    "body",
    [
        '{"max_tokens": 128000, "token_type": "Bearer", "expires_in": 3600, "token_count": "123456789"}',
        '{"error": {"code": "invalid_request_error", "message": "no token here"}}',
        '{"key": "theme.color.primary", "author": "Somebody", "keys": "up-and-down"}',
        '{"token_endpoint": "https://auth.example/oauth/token", "authorization_endpoint": "https://auth.example/a"}',
        '{"token": "a text with blanks", "secret": null, "password": ""}',
        '{"request_id": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"}',
        "plain words, and a question: token or key?",
    ],
)
def test_what_only_looks_like_one_stays(body: str) -> None:
    assert found(body) == []


def test_in_a_conversation_only_the_members_of_tools_servers_count() -> None:
    said = "my api_key is sk-ant-api03-0123456789abcdefABCDEF and {'authorization': 'x'}"
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": said + json.dumps({"authorization": "Bearer said-by-the-user"})}],
            "mcp_servers": [{"authorization_token": VALUE, "headers": {"X-API-Key": f"{VALUE}2"}}],
            "tools": [{"type": "mcp", "authorization": f"Bearer {VALUE}3"}],
        }
    ).encode()

    assert [body[start:end].decode() for start, end in in_conversation(body)] == [
        VALUE,
        f"{VALUE}2",
        f"Bearer {VALUE}3",
    ]


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_a_cover_keeps_the_length_and_all_else(body: bytes) -> None:
    places = list(anywhere(body))
    result, values = covered(body, places, lambda length: b"#" * length)

    assert len(result) == len(body) and len(values) == len(places)
    inside = {at for start, end in places for at in range(start, end)}
    assert all(result[at] == (ord("#") if at in inside else body[at]) for at in range(len(body)))


@pytest.mark.parametrize(
    "text",
    ['"a' * 40_000, '"token":"' * 20_000, "\\" * 80_000, '"token\\":' * 20_000, "=" * 80_000, "name=x\r\n" * 20_000],
)
def test_no_body_takes_long(text: str) -> None:
    """Each is searched in steps that grow with its length alone: a quadratic search would not end here."""
    assert len(list(anywhere(text.encode()))) <= 20_000
    assert len(list(in_conversation(text.encode()))) <= 20_000


def test_short_values_are_none() -> None:
    assert credential_members.SHORTEST == 6
    assert found('{"token": "12345"}') == [] and found('{"token": "123456"}') == ["123456"]


def test_in_a_conversation_a_key_in_the_address_of_a_tool_counts() -> None:
    body = (
        b'{"input":{"api_key":"words-of-a-call"},"tools":[{"server_url":"https://x/?a=1&api_key=plain-secret-2"}],'
        b'"messages":[{"content":"see https://y/?api_key=plain-words"},{"url":"https://z/?page_token=abcdefgh"}]}'
    )
    assert covered(body, in_conversation(body), lambda size: b"#" * size)[1] == (b"plain-secret-2",)


def test_in_a_conversation_the_password_in_the_address_of_a_tool_counts() -> None:
    address = f"https://me:{VALUE}@x.example/mcp"
    body = json.dumps({"input": {"url": address}, "tools": [{"server_url": address}, {"parameters": {"url": address}}]})
    [(start, end)] = in_conversation(body.encode())

    assert body[start:end] == VALUE and body.index("tools") < start < body.index("parameters")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "api_key": VALUE, "messages": [{"role": "user", "content": "api_key"}]},
        {"apiKey": VALUE, "tools": [{"input": {"api_key": "words-of-a-call"}}]},
        {"messages": [{"tool_calls": [{"input": {"token": "words-of-a-call"}}]}], "access_token": VALUE},
        {
            "tools": [
                {"type": "mcp", "headers": {"X-Custom": DRAWN, "Accept": "application/json", "X-Env": "production"}}
            ]
        },
        {
            "mcp_servers": [{"name": "a"}, {"headers": {"X-Tenant-Token": VALUE}}],
            "headers": {"X-Custom": "a-word-of-it"},
        },
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_in_a_conversation_members_of_the_body_and_headers_of_tools_count(body: Any, indent: int | None) -> None:
    text = json.dumps(body, indent=indent).encode()

    assert {text[start:end].decode() for start, end in in_conversation(text)} <= {VALUE, DRAWN}
    assert list(in_conversation(text))


@pytest.mark.parametrize(
    "body",
    [
        {"prompt_cache_key": "conversation-0123456789", "max_tokens": 100, "safety_identifier": "0123456789abcdef"},
        {"api_key": "a text with blanks", "token": 123456, "secret": None, "password": ["a-long-text-of-it"]},
        {"messages": [{"content": [{"input": {"headers": {"X-Custom": VALUE}}}]}]},
        {"tools": {"headers": {"X-Custom": VALUE}}},
    ],
)
def test_in_a_conversation_all_other_members_stay(body: Any) -> None:
    assert list(in_conversation(json.dumps(body).encode())) == []
