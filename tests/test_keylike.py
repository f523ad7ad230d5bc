"""What looks like a key, by its characters and by the name it stands under."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay import keylike
from patchbay.identity.signals import SIGNALS
from patchbay.providers import PRESETS

from .slips import PIECE, keys

KEYS = {kind: prefix + secret for kind, (prefix, secret) in keys().items()}
SHAPED = {kind: KEYS[kind] for kind, (prefix, _) in keys().items() if prefix}
NAMES = (
    "claude-3-5-sonnet-20241022", "gpt-4o-2024-08-06", "Meta-Llama-3.1-405B-Instruct-Turbo",
    "DeepSeek-R1-Distill-Qwen-32B",
    "Qwen3-235B-A22B-Instruct-2507", "Llama-4-Maverick-17B-128E-Instruct-FP8", "openai-team-production-1", "account-59",
    "hf_production", "xai-production-europe-west-1", "sk-team", "task-force-one", "OPENAI_API_KEY", "max_concurrent",
    "~/.config/patchbay/anthropic.json", "https://generativelanguage.googleapis.com", "anthropic.claude-3-haiku-v1:0",
    "must be one of memory, sqlite, sqlite:///PATH, redis://HOST:PORT/NUMBER, rediss://… or env:NAME",
)  # fmt: skip

CREDENTIALS = (
    "Authorization Proxy-Authorization x-api-key x-goog-api-key api-key x-litellm-api-key x-bf-vk x-portkey-api-key"
    " cf-aig-authorization X-Auth-Token helicone-auth x-goog-iam-authorization-token x-amz-security-token"
    " ocp-apim-subscription-key cookie set-cookie cookie2 x_api_key access_token key token apiKey accessToken"
    " X-Acme-Token private-token x-vault-token cf-access-client-secret cf-access-jwt-assertion x-session-token"
    " x-csrf-token apikey x-password x-functions-key x-master-key x-authz x-virtual-key x-portkey-virtual-key"
    " xi-api-key client_secret aws_secret_access_key sessionToken x-forwarded-access-token x-auth-request-email"
    " x-api-key2 www-authenticate dpop X-Amz-Credential"
).split()
HARMLESS = (
    "x-request-token-count anthropic-ratelimit-tokens-remaining authority idempotency-key x-idempotency-key"
    " sec-websocket-key prompt-cache-key prompt_cache_key x-session-id session_id max_tokens pageToken page_token"
    " nextPageToken x-author-email x-request-id anthropic-version anthropic-beta openai-beta user-agent content-type"
    " x-goog-api-client x-stainless-lang x-codex-turn-state x-client-request-id traceparent etag after api-version"
    " keyword monkey tokenizer x-ratelimit-limit-tokens x-cache-key x-continuation-token openai-organization"
    " helicone-session-id sec-websocket-accept sec-websocket-protocol access-control-request-headers content-length"
).split()


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_provider_are_recognised(kind: str) -> None:
    """T6: by their shape, or because nobody would choose such a name."""
    assert keylike.may_be_key(KEYS[kind])
    assert keylike.shown(f"x {KEYS[kind]}") == keylike.HIDDEN


@pytest.mark.parametrize("kind", SHAPED)
def test_keys_of_a_known_shape_are_recognised_under_any_name(kind: str) -> None:
    """T7: in the value of a header."""
    assert keylike.is_key(f"a={SHAPED[kind]}; b=1")


@pytest.mark.parametrize("name", NAMES)
def test_what_people_choose_for_names_is_no_key(name: str) -> None:
    assert not keylike.may_be_key(name)
    assert not keylike.is_key(name)
    assert keylike.covered(name) == name


def test_no_preset_looks_like_a_key() -> None:
    assert [p for p in PRESETS.values() if keylike.may_be_key(p.name + " " + p.base_url)] == []


@pytest.mark.parametrize(
    "text",
    ["key=hunter2", "api_key: hunter2", "password = x", "Bearer hunter2", "https://me:pw@host/", "sk-\u200babcd1234"],
)
def test_what_is_said_to_be_a_credential_is_not_shown(text: str) -> None:
    assert keylike.shown(text) == keylike.HIDDEN


@given(st.sampled_from(sorted(KEYS)), st.text(" :/,'\"()[]{}=", max_size=3), st.text("abc: /.", max_size=20))
def test_no_piece_of_a_key_is_left_in_a_line(kind: str, before: str, after: str) -> None:
    """T6: whatever stands around it."""
    secret = keys()[kind][1]
    told = keylike.covered(f"config.yaml:3:1: accounts[0].{before}{KEYS[kind]} {after}: is no setting")

    assert not any(secret[at : at + PIECE] in told for at in range(len(secret) - PIECE + 1))
    assert told.startswith("config.yaml:3:1: ")
    assert told.endswith(": is no setting")


@pytest.mark.parametrize("name", CREDENTIALS)
def test_names_of_credentials(name: str) -> None:
    """T7: whatever stands between the parts of a name."""
    assert keylike.names_key(name)
    assert keylike.names_key(name.upper())
    assert keylike.names_key(name.replace("-", "_"))


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_only_sound_like_it(name: str) -> None:
    assert not keylike.names_key(name)


def test_no_header_that_names_a_conversation_is_taken_for_a_credential() -> None:
    named = {signal.where.removeprefix("header ") for signal in SIGNALS if signal.where.startswith("header ")}

    assert len(named) > 20
    assert [name for name in named if keylike.names_key(name)] == []
