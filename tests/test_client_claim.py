"""What names a client, and what only looks as if it did."""

from __future__ import annotations

import base64
import json

import pytest

from patchbay.client_claim import claim
from patchbay.values.header_names import CREDENTIALS
from patchbay.values.http import Headers


def jwt(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{payload}.sig"


@pytest.mark.parametrize("name", [name.title() for name, prefix in CREDENTIALS.items() if not prefix])
def test_an_api_key_names_the_same_client_in_every_header(name):
    assert claim(Headers([(name, "key-a")])) == claim(Headers([("Authorization", "Bearer key-a")])) != ""


def test_two_keys_name_two_clients():
    assert claim(Headers([("x-api-key", "key-a")])) != claim(Headers([("x-api-key", "key-b")]))


@pytest.mark.parametrize("token", ["sk-ant-oat01-AAAA", "ya29.a0Af", "eyJhbGciOi.broken", "eyJ.e30.x", "eyJ.!!!.x"])
def test_a_token_that_rotates_names_nobody(token):
    assert claim(Headers([("authorization", f"Bearer {token}")])) == ""


def test_a_jwt_names_the_account_inside_it_and_not_itself():
    earlier, later = (Headers([("authorization", f"Bearer {jwt(sub='ann', exp=when)}")]) for when in (1, 2))

    assert claim(earlier) == claim(later) == "sub:ann"


def test_an_account_header_outranks_the_token():
    assert claim(Headers([("authorization", "Bearer k"), ("chatgpt-account-id", "acc-1")])) == "account:acc-1"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer   ", "Basic abc", "Negotiate"])
def test_without_a_key_there_is_the_one_local_scope(value):
    assert claim(Headers([("authorization", value)])) == ""


def test_a_deeply_nested_or_huge_jwt_is_left_alone():
    deep = base64.urlsafe_b64encode(b"[" * 9000).decode()

    assert claim(Headers([("authorization", f"Bearer eyJ.{deep}.x")])) == ""
    assert claim(Headers([("authorization", f"Bearer {jwt(sub='a' * 20_000)}")])) == ""


@pytest.mark.parametrize("rest", [16_383, 16_384, 16_385])
def test_so_long_a_jwt_is_read(rest):
    token = jwt(sub="ann")
    token += "s" * (rest - len(token))

    assert claim(Headers([("authorization", f"Bearer {token}")])) == ("sub:ann" if rest <= 16_384 else "")


@pytest.mark.parametrize("claims", [b"[]", b"7", b'"sub"', b"null", b'{"sub": 7}', b'{"sub": ""}', b"{}"])
def test_claims_that_name_no_account(claims):
    payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")

    assert claim(Headers([("authorization", f"Bearer eyJ.{payload}.x")])) == ""
    assert claim(Headers([("authorization", f"Bearer eyJ.{payload}")])) == ""


@pytest.mark.parametrize("name", ["sub", "account_uuid", "chatgpt_account_id", "email"])
def test_each_claim_that_names_an_account(name):
    nested = jwt(**{"https://api.openai.com/auth": {name: "a"}, name: "b"})

    assert claim(Headers([("authorization", f"Bearer {jwt(**{name: 'a'})}")])) == f"{name}:a"
    assert claim(Headers([("authorization", f"Bearer {nested}")])) == f"{name}:a"


@pytest.mark.parametrize("token", ["sk-ant-oat", "eyJ", "ya29.", "tid=", "gho_", "ghu_"])
def test_each_kind_of_rotating_token(token):
    assert claim(Headers([("authorization", f"Bearer {token}x")])) == ""
    assert claim(Headers([("authorization", f"Bearer x{token}")])) == f"key:x{token}"


def test_a_bearer_without_a_value_leaves_the_other_headers_to_name_the_client():
    headers = Headers([("authorization", "Bearer "), ("x-api-key", "key-a")])

    assert claim(headers) == "key:key-a"
    assert claim(Headers([("authorization", "Basic abc"), ("x-api-key", "key-a")])) == "key:key-a"


@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd", "abcde"])
def test_a_payload_of_any_length_is_read(name):
    assert claim(Headers([("authorization", f"Bearer {jwt(sub=name)}")])) == f"sub:{name}"
