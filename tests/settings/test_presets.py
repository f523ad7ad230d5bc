"""The presets: what each puts on a request, where, and what it makes of what comes back."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from patchbay import dialects
from patchbay.body import Body
from patchbay.correlation import Mint, Stamps, stamps
from patchbay.crosstalk.watch import Watch
from patchbay.ledger import Ledger
from patchbay.settings import reader
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Echo, Provider, Stamp
from patchbay.values.answer import Fact
from patchbay.values.decision import Finding
from patchbay.values.http import Headers

from ..crosstalk.records import record
from ..each_row import each_row

MINT = Mint(b"k" * 32)
NOW = 1_800_000_000.0
MINE, THEIRS = (MINT.new(NOW, Random(seed).randbytes) for seed in (1, 2))
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def stamped(provider: Provider, path: str = "/v1/chat/completions", body: object = CHAT, **headers: str) -> Stamps:
    return stamps(
        provider,
        Headers((name.replace("_", "-"), value) for name, value in headers.items()),
        Body(json.dumps(body).encode()),
        request_id=MINE,
        request_guid=MINT.guid(MINE) if provider.stamp.uses("request_guid") else "",
        session_id="s" * 32,
        thread_id="t" * 32,
        at=dialects.endpoint("POST", path).suffix,
    )


def watch(ledger: Ledger, provider: Provider, request_id: str, exchange: str, sent: Stamps) -> Watch:
    told = record(provider.echo, sent, request_id=request_id, exchange=exchange, digest=exchange.encode())
    return Watch(told, MINT, ledger, NOW)


def verdict(name: str, fact: Fact, **headers: str) -> tuple[str, list[Finding]]:
    """Return what a fact amounts to in an answer of the preset *name*, while another exchange is under way there."""
    provider, ledger = PRESETS[name], Ledger()
    other = stamps(
        provider, Headers(), Body(b"{}"), request_id=THEIRS, request_guid=MINT.guid(THEIRS), at="/chat/completions"
    )
    watch(ledger, provider, THEIRS, "them", other)
    mine = watch(ledger, provider, MINE, "me", stamped(provider, **headers))
    found = mine.see(fact, 200, NOW)
    return mine.verdict().kind, found


def identity(name: str, value: str) -> Fact:
    """Return the fact that *value* came back where the preset *name* gives ids back."""
    echo = PRESETS[name].echo
    if echo.body:
        return Fact("id", f"chatcmpl-{value}", "body id")
    [(header, depth)] = echo.headers.items()
    return Fact("echo", value, f"header {header}", depth)


def test_every_preset_is_found_under_its_name() -> None:
    assert all(name == preset.name == preset.preset for name, preset in PRESETS.items())


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"generic", "morpheus"}))
def test_nothing_is_promised_but_by_those_who_keep_to_it(name: str) -> None:
    assert not PRESETS[name].echo.promised


@each_row("name", sorted(set(PRESETS) - {"morpheus", "sglang"}))
@each_row("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"])
def test_no_body_gets_a_member_that_could_be_refused(name: str, path: str) -> None:
    assert stamped(PRESETS[name], path).body == {}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/responses"])
def test_sglang_gets_its_rid_in_chat_alone(path: str) -> None:
    assert stamped(PRESETS["sglang"]).body == {"rid": MINE}
    assert stamped(PRESETS["sglang"], body={**CHAT, "rid": "own"}).body == {}
    assert stamped(PRESETS["sglang"], path).body == {}


@pytest.mark.parametrize("name", ["openai", "openrouter", "groq", "mistral", "deepseek", "xai", "ollama"])
def test_those_without_a_place_for_an_id_get_our_header_alone(name: str) -> None:
    assert [header for header, _ in stamped(PRESETS[name]).headers] == ["X-Patchbay-Request-Id"]


def test_pristine_adds_nothing_at_all() -> None:
    found = stamped(PRESETS["pristine"], x_session_id="own")

    assert (found.headers, found.body, found.expected) == ((), {}, {})


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("azure", "x-ms-client-request-id", MINT.guid(MINE)),
        ("vllm", "X-Request-ID", MINE),
        ("litellm", "x-litellm-call-id", MINE),
    ],
)
def test_a_header_that_comes_back_goes_up_unless_the_client_has_its_own(name: str, header: str, value: str) -> None:
    assert dict(stamped(PRESETS[name]).headers)[header] == value
    assert header not in dict(stamped(PRESETS[name], **{header.lower(): "own"}).headers)


@pytest.mark.parametrize("name", ["azure", "vllm", "sglang", "litellm"])
def test_our_id_that_comes_back_clears_the_answer_where_the_engine_gives_it_back(name: str) -> None:
    value = MINT.guid(MINE) if name == "azure" else MINE
    deep = name in ("vllm", "sglang")  # a right head says nothing about the body behind it

    assert verdict(name, identity(name, value)) == ("clean" if deep else "unverifiable", [])


@pytest.mark.parametrize("name", ["azure", "vllm", "sglang", "litellm"])
def test_another_s_id_is_crosstalk_and_names_it(name: str) -> None:
    value = MINT.guid(THEIRS) if name == "azure" else THEIRS
    kind, found = verdict(name, identity(name, value))

    assert kind == "crosstalk"
    assert [(finding.detector, finding.victim) for finding in found] == [("tag", "them")]


@pytest.mark.parametrize("name", ["azure", "vllm", "sglang", "litellm"])
@pytest.mark.parametrize("value", ["5f0c2d4e-8a1b-4c3d-9e0f-112233445566", "0b9c8d7e6f5a4b3c2d1e", "req_other", "417"])
def test_an_id_of_the_provider_s_own_is_no_alarm(name: str, value: str) -> None:
    assert verdict(name, identity(name, value)) == ("unverifiable", [])


def test_vllm_s_answer_under_the_client_s_own_id_is_clean() -> None:
    own = {"x_request_id": "build-4711-step-3"}

    assert verdict("vllm", Fact("id", "chatcmpl-build-4711-step-3", "body id"), **own) == ("clean", [])


def test_an_id_as_a_guid_is_one_and_is_known_again() -> None:
    guid = MINT.guid(MINE)

    assert len(guid) == 36
    assert (guid[14], guid[19] in "89ab") == ("8", True)
    assert MINT.guid(MINE) == guid != MINT.guid(THEIRS)
    assert MINT.recognise(guid) == guid
    assert MINT.recognise(guid[:14] + "b" + guid[15:].upper()) == guid  # Envoy's trace decision
    assert MINT.recognise("5f0c2d4e-8a1b-4c3d-9e0f-112233445566") == ""
    assert Mint(b"o" * 32).recognise(guid) == ""
    assert MINT.time_of(guid) == NOW


def test_guids_of_one_moment_are_told_apart_and_share_nothing() -> None:
    random = Random(3).randbytes
    guids = {MINT.guid(MINT.new(NOW, random)) for _ in range(64)}

    assert len(guids) == 64
    assert len({guid[:8] for guid in guids}) == 64


@each_row("at", [at for at in range(36) if at not in (8, 13, 14, 18, 19, 23)])
def test_a_changed_guid_is_not_ours(at: int) -> None:
    guid = MINT.guid(MINE)

    assert MINT.recognise(guid[:at] + ("0" if guid[at] != "0" else "1") + guid[at + 1 :]) == ""


def test_a_provider_of_the_file_s_own_can_be_any_of_this() -> None:
    found = reader.load(
        "providers:\n"
        "  mine:\n"
        "    preset: azure\n"
        "    base_url: https://mine.openai.azure.com\n"
        "    api_version: 2024-10-21\n"
        "    families: [openai, anthropic]\n"
        "    stamp: {body: {rid: '{request_guid}'}, body_paths: [/chat/completions]}\n"
        "accounts: [{id: a, provider: mine, key: example-key}]\n",
        "c",
    )
    provider = found.accounts[0].provider

    assert (provider.layout, provider.api_version) == ("azure", "2024-10-21")
    assert provider.families == {"openai", "anthropic"}
    assert provider.stamp == Stamp(
        PRESETS["azure"].stamp.headers, {"rid": "{request_guid}"}, frozenset({"/chat/completions"})
    )
    assert provider.echo == Echo(headers={"x-ms-client-request-id": "handler"})


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("families: []", "must name at least one of openai, anthropic, gemini"),
        ("families: [openia]", "'openia' is none of openai, anthropic, gemini"),
        ("api_version: 'a b'", "must be a version such as 2024-10-21"),
        ("stamp: {body_paths: [chat]}", "must be the end of a path, as in /chat/completions"),
    ],
)
def test_a_mistake_in_a_provider_is_told(setting: str, said: str) -> None:
    text = f"providers: {{mine: {{preset: azure, base_url: 'https://a.example', {setting}}}}}\naccounts: []\n"

    with pytest.raises(reader.ConfigError) as caught:
        reader.load(text, "c")
    assert said in str(caught.value)


def test_every_preset_is_described() -> None:
    told = (Path(__file__).parent.parent.parent / "docs" / "providers.md").read_text(encoding="utf-8")

    assert [name for name in PRESETS if f"`{name}`" not in told] == []


IDS = {"X-Request-ID": "{request_id}", "X-Session-ID": "{session_id}"}
ECHO = ({"x-request-id": "handler"}, {"request_id": "body"}, True)
GUID, CALL = "x-ms-client-request-id", "x-litellm-call-id"
STAMPED = {  # headers, members; then the echo's headers, its members, and whether it is promised
    "generic": (IDS, {}, *ECHO),
    "morpheus": (
        {**IDS, "session_id": "{session_id}", "model_id": "{model_id}"},
        {"request_id": "{request_id}"},
        *ECHO,
    ),
    "azure": ({GUID: "{request_guid}"}, {}, {GUID: "handler"}, {}, False),
    "vllm": ({"X-Request-ID": "{request_id}"}, {}, {"x-request-id": "handler"}, {"id": "engine"}, False),
    "sglang": ({}, {"rid": "{request_id}"}, {}, {"id": "engine"}, False),
    "litellm": ({CALL: "{request_id}"}, {}, {CALL: "handler"}, {}, False),
}
PATHS = {  # how many paths of no dialect get a key, and one of them
    "generic": (1, "*"), "openai": (12, "/v1/audio/voices"), "openai_compatible": (5, "/v1/videos"),
    "anthropic": (6, "/v1/vaults"), "gemini": (3, "/v1alpha/auth_tokens"), "morpheus": (0, ""),
    "azure": (11, "/openai/threads"), "vllm": (18, "/tokenize"), "sglang": (27, "/generate"),
    "litellm": (32, "/model/info"), "openrouter": (9, "/api/v1/credits"), "ollama": (9, "/api/chat"), "groq": (0, ""),
    "mistral": (11, "/v1/ocr"), "deepseek": (1, "/user/balance"), "xai": (12, ""), "pristine": (1, "*"),
    "claude_login": (0, ""), "codex_login": (0, ""),
}  # fmt: skip


def test_what_each_preset_stamps_and_awaits() -> None:
    for name, preset in PRESETS.items():
        stamp, echo = preset.stamp, preset.echo
        found = (dict(stamp.headers), dict(stamp.body), dict(echo.headers), dict(echo.body), echo.promised)
        assert found == STAMPED.get(name, ({}, {}, {}, {}, False)), name
        assert (preset.slots, preset.layout) == (
            5 if name == "morpheus" else 0,
            "azure" if name == "azure" else "plain",
        )
        assert stamp.patchbay_headers is (name != "pristine")
    assert PRESETS["sglang"].stamp.body_paths == {"/chat/completions"}


def test_the_paths_of_each_preset() -> None:
    assert {name: len(preset.paths) for name, preset in PRESETS.items()} == {name: n for name, (n, _) in PATHS.items()}
    assert all(one in PRESETS[name].paths for name, (_, one) in PATHS.items() if one)
