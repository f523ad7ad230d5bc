"""What each tool is given."""

from __future__ import annotations

import json
import shlex
import tomllib
from typing import Any

import pytest

from patchbay.dialects import FAMILIES
from patchbay.launch.child_environment import ways
from patchbay.tool_recipes import (
    BASE_PATHS,
    PLACEHOLDER_KEY,
    RECIPES,
    SDKS,
    Change,
    ToolState,
    Way,
    general,
    lines,
    recipe,
)

BASE = "http://127.0.0.1:8080"
BY_ADDRESS = Way(BASE)
BY_PROXY = Way(proxy="http://127.0.0.1:8081", bundle="/state/ca.pem")
LOOK = Way(proxy="http://127.0.0.1:8081", bundle="/state/ca.pem", own_keys=True)


def given(program: str, way: Way, arguments: tuple[str, ...] = (), **env: str) -> Change:
    found = recipe(program)
    assert found
    return found.change(way, ToolState(arguments, env))


def codex(change: Change) -> dict[str, Any]:
    """Return the settings that the arguments of Codex make, as Codex reads them."""
    settings: dict[str, Any] = {}
    for option, text in zip(change.arguments[::2], change.arguments[1::2], strict=True):
        assert option == "-c"
        path, _, value = text.partition("=")
        *folders, name = path.split(".")
        at = settings
        for folder in folders:
            at = at.setdefault(folder, {})
        try:
            at[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            at[name] = value
    return settings


def test_each_tool_gets_the_base_url_in_its_own_form_and_a_key_if_it_has_none() -> None:
    assert given("claude", BY_ADDRESS).variables == {"ANTHROPIC_BASE_URL": BASE, "ANTHROPIC_AUTH_TOKEN": "patchbay"}
    gemini = given("gemini", BY_ADDRESS)
    assert gemini.variables["GOOGLE_GEMINI_BASE_URL"] == BASE
    assert gemini.variables["GEMINI_API_KEY"] == "patchbay"
    assert gemini.variables["GEMINI_DEFAULT_AUTH_TYPE"] == "gemini-api-key"
    qwen = given("qwen", BY_ADDRESS)
    assert qwen.variables == {"OPENAI_API_KEY": "patchbay", "OPENAI_BASE_URL": f"{BASE}/v1"}
    assert qwen.arguments == ("--auth-type", "openai")
    providers = json.loads(given("opencode", BY_ADDRESS).variables["OPENCODE_CONFIG_CONTENT"])["provider"]
    assert {name: each["options"]["baseURL"].removeprefix(BASE) for name, each in providers.items()} == {
        "openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "patchbay": "/v1",
    }  # fmt: skip


def test_codex_gets_the_settings_of_the_readme_as_arguments() -> None:
    change = given("codex", BY_ADDRESS)

    assert codex(change) == tomllib.loads(change.snippet)
    assert change.variables == {"PATCHBAY_KEY": "patchbay"}
    assert codex(given("codex", BY_PROXY))["model_providers"]["patchbay"]["base_url"] == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("program", "name"),
    [("claude", "ANTHROPIC_API_KEY"), ("claude", "ANTHROPIC_AUTH_TOKEN"), ("gemini", "GEMINI_API_KEY"),
     ("gemini", "GOOGLE_API_KEY"), ("qwen", "OPENAI_API_KEY")],
)  # fmt: skip
def test_a_key_of_the_users_own_stays(program: str, name: str) -> None:
    """T6: where the settings have clients, it is the one that Patchbay knows the client by."""
    assert "patchbay" not in given(program, BY_ADDRESS, **{name: "sk-own"}).variables.values()


@pytest.mark.parametrize("program", [each.program for each in RECIPES])
def test_by_proxy_no_base_url_is_set(program: str) -> None:
    assert BASE not in str(given(program, BY_PROXY))
    assert "BASE_URL" not in str([*given(program, BY_PROXY).variables])


@pytest.mark.parametrize("program", [each.program for each in RECIPES])
def test_who_only_looks_keeps_credentials_and_settings(program: str) -> None:
    assert given(program, LOOK) == Change()
    assert general(LOOK, ToolState()) == Change()


@pytest.mark.parametrize("program", [each.program for each in RECIPES])
def test_who_only_looks_at_a_base_url_gets_that_and_no_key(program: str) -> None:
    found = given(program, Way(BASE, own_keys=True))

    assert BASE in str(found)
    assert not found.removed and not any("KEY" in name or "TOKEN" in name for name in found.variables)
    assert PLACEHOLDER_KEY not in [*found.variables.values(), *found.arguments] and "apiKey" not in str(found)
    assert not any("KEY" in name for name in general(Way(BASE, own_keys=True), ToolState()).variables)


def test_behind_a_base_url_codex_keeps_its_own_login_where_it_is_only_looked_at() -> None:
    provider = codex(given("codex", Way(BASE, own_keys=True)))["model_providers"]["patchbay"]

    assert provider["requires_openai_auth"] is True and "env_key" not in provider


def test_the_line_of_a_tool_gives_it_what_its_recipe_says() -> None:
    """What is said at the start is the same as what a run gives: both are made of the recipe."""
    for name, line in lines(FAMILIES, BY_ADDRESS):
        *words, program = [word for word in shlex.split(line) if not word.startswith(("-c", "model_provider"))]
        known = recipe(program)
        change = known.change(BY_ADDRESS, ToolState()) if known else None
        assert name == (known.name if known else name)
        assert not change or dict(word.split("=", 1) for word in words) == change.variables
        assert not change or shlex.split(line)[len(words) + 1 :] == list(change.arguments)
    assert len([*lines(FAMILIES, BY_ADDRESS)]) == len(FAMILIES) + len(SDKS)
    assert [*lines((), BY_ADDRESS)] == []


def test_the_path_of_a_base_url_is_that_of_its_sdk() -> None:
    assert BASE_PATHS["OPENAI_API_BASE"] == BASE_PATHS["OPENAI_BASE_URL"] == "/v1"
    assert BASE_PATHS["ANTHROPIC_BASE_URL"] == BASE_PATHS["GOOGLE_GEMINI_BASE_URL"] == ""


def test_arguments_and_settings_of_the_user_come_first() -> None:
    assert given("qwen", BY_ADDRESS, ("--auth-type=gemini",)).arguments == ()
    own = {"model": "mine/x", "provider": {"openai": {"options": {"timeout": 1}}}}
    merged = json.loads(
        given("opencode", BY_ADDRESS, OPENCODE_CONFIG_CONTENT=json.dumps(own)).variables["OPENCODE_CONFIG_CONTENT"]
    )
    assert merged["model"] == "mine/x"
    assert merged["provider"]["openai"]["options"] == {"timeout": 1, "apiKey": "patchbay", "baseURL": f"{BASE}/v1"}
    for odd in ("[1]", "{nonsense", "3"):
        assert (
            "provider"
            in given("opencode", BY_ADDRESS, OPENCODE_CONFIG_CONTENT=odd).variables["OPENCODE_CONFIG_CONTENT"]
        )


def test_a_model_of_the_variable_is_one_of_opencodes() -> None:
    content = given("opencode", BY_ADDRESS, OPENAI_MODEL="m").variables["OPENCODE_CONFIG_CONTENT"]

    assert json.loads(content)["provider"]["patchbay"]["models"] == {"m": {"name": "m"}}


def test_any_other_program_gets_what_the_sdks_and_the_tools_read() -> None:
    change = general(BY_ADDRESS, ToolState())

    assert {
        "OPENAI_BASE_URL": f"{BASE}/v1", "OPENAI_API_BASE": f"{BASE}/v1", "OPENAI_API_KEY": "patchbay",
        "ANTHROPIC_BASE_URL": BASE, "ANTHROPIC_API_KEY": "patchbay",
        "GOOGLE_GEMINI_BASE_URL": BASE, "GEMINI_API_KEY": "patchbay",
    }.items() <= change.variables.items()  # fmt: skip
    assert "ANTHROPIC_AUTH_TOKEN" not in change.variables  # the SDK would send both
    assert "ANTHROPIC_API_KEY" not in general(BY_ADDRESS, ToolState(env={"ANTHROPIC_AUTH_TOKEN": "sk-own"})).variables


def test_a_tool_is_given_the_way_that_suits_its_provider() -> None:
    google = ("generativelanguage.googleapis.com",)

    assert ways("gemini", google) == ("proxy",)
    assert ways("gemini", ("127.0.0.1",)) == ways("claude", google) == ("base",)
    assert ways("python", google) == ("base", "proxy")


def with_settings(program: str, way: Way, settings: dict[str, Any], *arguments: str) -> Change:
    found = recipe(program)
    assert found
    return found.change(way, ToolState(arguments, {}, settings))


def test_an_address_in_the_settings_of_claude_code_is_overruled() -> None:
    own = {"env": {"ANTHROPIC_BASE_URL": "http://elsewhere", "CLAUDE_CODE_USE_BEDROCK": "1", "OTHER": "x"}}
    option, text = with_settings("claude", BY_ADDRESS, own).arguments

    assert (option, json.loads(text)) == (
        "--settings", {"env": {"ANTHROPIC_BASE_URL": BASE, "CLAUDE_CODE_USE_BEDROCK": ""}},
    )  # fmt: skip
    kept = with_settings("claude", BY_ADDRESS, own, "--settings=mine.json")
    assert kept.arguments == ()
    assert "ANTHROPIC_BASE_URL, CLAUDE_CODE_USE_BEDROCK from its settings" in kept.note
    assert with_settings("claude", BY_ADDRESS, {"env": "odd"}).arguments == ()


@pytest.mark.parametrize(
    ("way", "chosen", "note"),
    [
        (BY_ADDRESS, "gemini-api-key", ""),
        (BY_PROXY, "gemini-api-key", ""),
        (BY_PROXY, None, ""),
        (BY_ADDRESS, None, "Gemini CLI takes no key before one is chosen: "),
        (BY_PROXY, "oauth-personal", "Gemini CLI is set to the login oauth-personal: "),
        (BY_ADDRESS, "x\ntouch y #", "Gemini CLI is set to another login: "),
    ],
)
def test_a_login_of_gemini_cli_that_does_not_reach_patchbay_is_told(way: Way, chosen: str | None, note: str) -> None:
    found = with_settings("gemini", way, {"security": {"auth": {"selectedType": chosen}}}).note

    assert found.startswith(note) and bool(found) == bool(note)
