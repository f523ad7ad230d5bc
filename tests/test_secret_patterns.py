"""What looks like a key, by its characters and by the name it stands under."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay import secret_patterns
from patchbay.identity.signals import SIGNALS
from patchbay.settings.presets import PRESETS

from .each_row import each_row
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
    " x-api-key2 www-authenticate dpop X-Amz-Credential x-appkey userkey x-privatekey secretaccesskey x-creds x-totp"
    " x-azure-sas x-saml-assertion x-signature X-Amz-Signature x-hub-signature-256 x-csrf"
).split()
HARMLESS = (
    "x-request-token-count anthropic-ratelimit-tokens-remaining authority idempotency-key x-idempotency-key"
    " sec-websocket-key prompt-cache-key prompt_cache_key x-session-id session_id max_tokens pageToken page_token"
    " nextPageToken x-author-email x-request-id anthropic-version anthropic-beta openai-beta user-agent content-type"
    " x-goog-api-client x-stainless-lang x-codex-turn-state x-client-request-id traceparent etag after api-version"
    " keyword monkey tokenizer x-ratelimit-limit-tokens x-cache-key x-continuation-token openai-organization"
    " authType x-auth-method x-signature-version x-public-key-id monkeys hotkey primarykey"
    " helicone-session-id sec-websocket-accept sec-websocket-protocol access-control-request-headers content-length"
).split()


@each_row("kind", KEYS)
def test_keys_of_every_provider_are_recognised(kind: str) -> None:
    """T6: by their shape, or because nobody would choose such a name."""
    assert secret_patterns.may_be_key(KEYS[kind])
    assert secret_patterns.shown(f"x {KEYS[kind]}") == secret_patterns.NOT_SHOWN


@pytest.mark.parametrize("kind", SHAPED)
def test_keys_of_a_known_shape_are_recognised_under_any_name(kind: str) -> None:
    """T7: in the value of a header."""
    assert secret_patterns.is_key(f"a={SHAPED[kind]}; b=1")


@pytest.mark.parametrize(
    "value",
    [
        "Bearer abcdefabcdef1234", "Basic dXNlcjpwYXNzd29yZA==", "x\nToken open-sesame-open-sesame\ny",
        "https://host.example/?key=hunter2secret", "/v1beta/x?alt=sse&access_token=hunter2secret",
        "https://me:pw@host.example/", "{'apiKey': 'hunter2-secret'}",
        '{"provider":"openai","api_key":"hunter2-secret"}',
        '{"api_key": "12345678"}', '{"headers":{"Authorization":"Bearer hunter2"}}',
        "<https://h/?sig=abcdefgh>; rel=next",
        '{"type":"service_account","x":"-----BEGIN PRIVATE KEY-----\\nMII"}',
    ],
)  # fmt: skip
def test_a_value_says_itself_that_it_holds_a_credential(value: str) -> None:
    """T7: of whatever shape, under a name that says nothing."""
    assert secret_patterns.holds_key(value)
    assert secret_patterns.holds_key(f"one: two\n{value}\nthree")


@pytest.mark.parametrize(
    "value",
    [
        "Basic research, for beginners", "Token counting", '{"authType":"oauth-personal","clientName":"gemini-cli"}',
        '{"user_api_key_alias":"team-alias-x","max_tokens":100000}', '{"input_token":123456,"key":"v"}',
        "https://chat.example/c/8b3a2b6e?author=johnsmith&pageToken=abcdefgh&idempotency_key=abcdefgh",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "sentry-environment=production,sentry-release=1.2.3",
        "sentry-public_key=49d0f7386ad645858ae85020e393bef3,sentry-trace_id=771a43a4192642f0b136d5159a501700",
        'W/"33a64df551425fcc55e4d42a148795d9f25f89d4"', '"Chromium";v="128", "Not;A=Brand";v="24"',
        "claude-code-20250219,oauth-2025-04-20,token-efficient-tools-2025-02-19",
        "Root=1-67891233-abcdef012345678912345678",
        "stainless-node-retry-8b3a2b6e-5a3e-4f3c-9d2b-7c1d2e3f4a5b", '{"turn_id":"0199f0a1-7c52","sandbox":"seatbelt"}',
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Cursor/0.45.14",
    ],
)  # fmt: skip
def test_what_clients_send_besides_holds_no_credential(value: str) -> None:
    """T7: it goes up as it came."""
    assert not secret_patterns.holds_key(value)


@pytest.mark.parametrize("name", NAMES)
def test_what_people_choose_for_names_is_no_key(name: str) -> None:
    assert not secret_patterns.may_be_key(name)
    assert not secret_patterns.is_key(name)
    assert secret_patterns.covered(name) == name


def test_no_preset_looks_like_a_key() -> None:
    assert [p for p in PRESETS.values() if secret_patterns.may_be_key(p.name + " " + p.base_url)] == []


@pytest.mark.parametrize(
    "text",
    ["key=hunter2", "api_key: hunter2", "password = x", "Bearer hunter2", "https://me:pw@host/", "sk-\u200babcd1234"],
)
def test_what_is_said_to_be_a_credential_is_not_shown(text: str) -> None:
    assert secret_patterns.shown(text) == secret_patterns.NOT_SHOWN


@given(st.sampled_from(sorted(KEYS)), st.text(" :/,'\"()[]{}=", max_size=3), st.text("abc: /.", max_size=20))
def test_no_piece_of_a_key_is_left_in_a_line(kind: str, before: str, after: str) -> None:
    """T6: whatever stands around it."""
    secret = keys()[kind][1]
    told = secret_patterns.covered(f"config.yaml:3:1: accounts[0].{before}{KEYS[kind]} {after}: is not a setting")

    assert not any(secret[at : at + PIECE] in told for at in range(len(secret) - PIECE + 1))
    assert told.startswith("config.yaml:3:1: ")
    assert told.endswith(": is not a setting")


@each_row("name", CREDENTIALS)
def test_names_of_credentials(name: str) -> None:
    """T7: whatever stands between the parts of a name."""
    assert secret_patterns.names_key(name)
    assert secret_patterns.names_key(name.upper())
    assert secret_patterns.names_key(name.replace("-", "_"))


@each_row("name", HARMLESS)
def test_names_that_only_sound_like_it(name: str) -> None:
    assert not secret_patterns.names_key(name)


def test_no_header_that_names_a_conversation_is_taken_for_a_credential() -> None:
    named = {signal.where.removeprefix("header ") for signal in SIGNALS if signal.where.startswith("header ")}

    assert len(named) > 20
    assert [name for name in named if secret_patterns.names_key(name)] == []


def test_names_of_any_length_are_judged_and_only_usual_ones_remembered() -> None:
    """T7: a client that makes up long names fills no memory."""
    asked: list[str] = []

    @secret_patterns.remembered
    def judge(name: str) -> bool:
        asked.append(name)
        return name.endswith("token")

    long = "x" * 10_000 + "-token"
    assert [judge(name) for name in ("a-token", "a-token", long, long)] == [True] * 4
    assert asked == ["a-token", long, long]


@each_row("word", sorted(secret_patterns._OWN_WORDS | set(secret_patterns._ENDINGS)))
def test_every_word_for_a_credential_names_one(word: str) -> None:
    assert secret_patterns.names_key(f"x-{word}")
    assert not secret_patterns.names_key(f"x-{word[0]}q")


@each_row("word", sorted(secret_patterns._HARMLESS_BEFORE))
def test_every_word_before_a_key_that_is_none(word: str) -> None:
    assert not any(secret_patterns.names_key(f"x-{word}-{kind}") for kind in ("key", "keys", "token"))


@pytest.mark.parametrize("word", sorted(secret_patterns._HARMLESS_BEHIND))
def test_every_word_after_a_token_that_counts_it(word: str) -> None:
    assert not secret_patterns.names_key(f"x-token-{word}")
    assert secret_patterns.names_key("x-token-word")


@pytest.mark.parametrize("word", sorted(secret_patterns._HARMLESS_BEHIND_AUTH))
def test_every_word_after_auth_that_describes_it(word: str) -> None:
    assert not secret_patterns.names_key(f"x-auth-{word}")
    assert secret_patterns.names_key("x-auth-word")


@pytest.mark.parametrize("word", sorted(secret_patterns._NO_AUTH))
def test_every_word_that_only_begins_like_auth(word: str) -> None:
    assert not secret_patterns.names_key(f"x-{word}")


def test_authored_is_no_word_for_a_credential() -> None:
    for word in ("author", "authors", "authored", "authority", "authorities", "authoring"):
        assert not secret_patterns.names_key(f"x-{word}-by")


def test_a_long_word_of_letters_alone_is_a_key_from_32_letters() -> None:
    assert not secret_patterns.may_be_key("internationalizationally" + "abcdefg")
    assert secret_patterns.may_be_key("internationalizationally" + "abcdefgh")


def test_one_word_of_letters_and_digits_behind_a_prefix_makes_a_key() -> None:
    assert secret_patterns.is_key("npm_hello-abcdefghi1")
    assert not secret_patterns.is_key("npm_hello-abcdefghij")


def test_a_key_with_blanks_in_it_is_hidden() -> None:
    assert secret_patterns.shown("sk-ant a3Zq wNfT vXbRk Lmcj dpSg") == secret_patterns.NOT_SHOWN
    assert secret_patterns.shown("gpt 5 mini") == "gpt 5 mini"


@pytest.mark.parametrize(("length", "asked"), [(64, 1), (65, 2)])
def test_names_of_up_to_64_characters_are_remembered(length: int, asked: int) -> None:
    judged: list[str] = []

    @secret_patterns.remembered
    def judge(name: str) -> bool:
        judged.append(name)
        return True

    assert judge("x" * length) and judge("x" * length)
    assert len(judged) == asked


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a ----- b", False),
        ("-----BEGIN PRIVATE KEY", True),
        ("-----BEGIN RSA PRIVATE KEY-----", True),
        ("a;api_key=abcdefgh", True),
        ("?api_key=abcdefgh", True),
        ('"api_key": "abcdefgh"', True),
        ("'api_key': 'abcdefgh'", True),
        ("api_key=abcdefgh", False),
        ("https://user:pass@host/", True),
        ("https://user@host/", False),
        ("Bearer abcdefghijkl", True),
        ("Bearer abcdefghijk", False),
    ],
)
def test_marks_make_a_credential(text: str, holds: bool) -> None:
    assert secret_patterns.holds_key(text) is holds


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("12345678-1234-1234-1234-123456789012", True),  # a UUID
        ("1" * 32, True),
        ("a1b2c3", False),
        ("a1b2c3d4e5f6a1b", False),  # 15 characters
        ("a1b2aaaaaaaaaaaa", True),  # 16, with three turns
        ("a1baaaaaaaaaaaaa", False),
        ("a" * 31, False),
        ("a" * 32, True),
        ("internationaliseIt", False),
        ("thisIsCamelCaseText", False),  # 19 letters
        ("thisIsCamelCaseTexts", True),
        ("thisiscamelcasetexts", False),
        ("a" * 19 + "1", True),
        ("1" * 20, True),
    ],
)
def test_a_word_looks_random_by_its_length_and_its_turns(text: str, may: bool) -> None:
    assert secret_patterns.may_be_key(text) is may


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("token-limit-x", False), ("token-x-limit", True), ("x-key-secret", True), ("x-key-value", True),
        ("x-key-other", False), ("x-key", True), ("x-keys", True), ("key2", True), ("signature", True),
        ("signature2", True), ("signature-2", True), ("signature-text", False),
        ("x-auth-type", False), ("x-auth", True),
    ],
)  # fmt: skip
def test_what_stands_beside_a_word_decides(name: str, names: bool) -> None:
    assert secret_patterns.names_key(name) is names


def test_an_address_in_a_line_is_covered_and_a_line_without_stays() -> None:
    assert secret_patterns.covered("see https://user:pw@host/x and stay") == "see https://…@host/x and stay"
    assert secret_patterns.covered("nothing here") == "nothing here"


@each_row(
    "word",
    "secret secrets password passwd passphrase passcode pwd credential credentials cookie cookies jwt bearer dpop creds"
    " csrf otp totp vk pat sas saml sig signature apikeys mytoken mysecret mypassword myapikey myappkey myuserkey"
    " myauthkey myaccesskey mysecretkey myprivatekey mycookie mycredential mycredentials myauth".split(),
)
def test_each_word_and_each_ending_of_a_credential(word: str) -> None:
    assert secret_patterns.names_key(word)


def test_a_format_counts_from_20_characters_and_a_hash_is_none() -> None:
    assert secret_patterns.is_key("sk-" + "aB3dE6gH9jK2mN5pQ")  # 20 characters
    assert not secret_patterns.is_key("x/sk-" + "aB3dE6gH9jK2mN5p")  # 19 of them
    assert secret_patterns.is_no_host("sk-aB3dE6gH9jK2mN5pQ7") and not secret_patterns.is_no_host(
        "sk-cloud-hosting.example"
    )
