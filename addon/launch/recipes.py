"""
What each tool needs to reach its models through Patchbay: variables, and arguments.

Nothing of the user's own settings files is changed. A new tool is a function and a row of RECIPES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PLACEHOLDER_KEY = "patchbay"  # what a tool is told its key is, where it has none: Patchbay replaces it


@dataclass(frozen=True, slots=True)
class Way:
    """
    How a tool reaches the proxy: *base* as its provider's address, *proxy* as an HTTP proxy with *bundle* to trust.

    What is empty is not used. With *own_keys* the tool keeps its own credentials.
    """

    base: str = ""
    proxy: str = ""
    bundle: str = ""
    own_keys: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """
    What a tool gets: *variables* that are set and *removed* ones, and *arguments* behind its name.

    *snippet* is the same for its settings file, for a tool that has no variable for it.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class ToolRecipe:
    """
    One tool. *change* gets the way, the tool's own arguments and the environment that it would have.

    Where an account's provider is *by_proxy_at*, the tool reaches it better by a proxy than by its base URL.
    """

    program: str
    change: Callable[[Way, Sequence[str], Mapping[str, str]], Change]
    by_proxy_at: str = ""


def general(way: Way, _: Sequence[str], env: Mapping[str, str]) -> Change:
    """Return what programs of any kind need: the variables of the SDKs, and of each tool that has some."""
    tools = [_claude(way, (), env), _gemini(way, (), env), _opencode(way, (), env)]
    variables: dict[str, str] = {} if way.own_keys else _missing(env, "OPENAI_API_KEY")
    if not way.own_keys and not env.get("ANTHROPIC_API_KEY") and not env.get("ANTHROPIC_AUTH_TOKEN"):
        variables["ANTHROPIC_API_KEY"] = PLACEHOLDER_KEY
    if way.base:
        variables |= dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), f"{way.base}/v1")
    for tool in tools:
        variables |= {name: value for name, value in tool.variables.items() if name != "ANTHROPIC_AUTH_TOKEN"}
    return Change(
        variables,
        tuple(name for tool in tools for name in tool.removed),
    )


def _claude(way: Way, _: Sequence[str], env: Mapping[str, str]) -> Change:
    variables: dict[str, str] = {}
    if way.base:
        variables["ANTHROPIC_BASE_URL"] = way.base
    if not way.own_keys and not env.get("ANTHROPIC_API_KEY"):
        # The token, as it asks its user to confirm a key of a variable.
        variables |= _missing(env, "ANTHROPIC_AUTH_TOKEN")
    # With these it would not ask Anthropic's API.
    return Change(variables, () if way.own_keys else ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"))


_CODEX = """\
model_provider = "patchbay"

[model_providers.patchbay]
name = "Patchbay"
base_url = "{base}"
wire_api = "responses"
env_key = "PATCHBAY_KEY"
supports_websockets = false"""


def _codex(way: Way, _: Sequence[str], env: Mapping[str, str]) -> Change:
    if way.own_keys:
        return Change()
    base = f"{way.base}/v1" if way.base else "https://api.openai.com/v1"
    values = {
        "name": "Patchbay",
        "base_url": base,
        "wire_api": "responses",
        "env_key": "PATCHBAY_KEY",
        "supports_websockets": False,
    }
    arguments = ["-c", 'model_provider="patchbay"']
    for name, value in values.items():
        arguments += ["-c", f"model_providers.patchbay.{name}={json.dumps(value)}"]
    key = {"PATCHBAY_KEY": env.get("PATCHBAY_KEY") or env.get("OPENAI_API_KEY") or PLACEHOLDER_KEY}
    return Change(key, arguments=tuple(arguments), snippet=_CODEX.format(base=base))


def _gemini(way: Way, _: Sequence[str], env: Mapping[str, str]) -> Change:
    if way.own_keys:
        return Change()
    variables = {} if env.get("GOOGLE_API_KEY") else _missing(env, "GEMINI_API_KEY")
    if way.base:
        variables["GOOGLE_GEMINI_BASE_URL"] = way.base
        variables["GEMINI_DEFAULT_AUTH_TYPE"] = "gemini-api-key"  # what it proposes where nothing was chosen yet
    return Change(variables, ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"))


def _qwen(way: Way, arguments: Sequence[str], env: Mapping[str, str]) -> Change:
    if way.own_keys:
        return Change()
    variables = _missing(env, "OPENAI_API_KEY")
    if way.base:
        variables["OPENAI_BASE_URL"] = f"{way.base}/v1"
    chosen = any(word.partition("=")[0] == "--auth-type" for word in arguments)
    return Change(variables, arguments=() if chosen else ("--auth-type", "openai"))


def _opencode(way: Way, _: Sequence[str], env: Mapping[str, str]) -> Change:
    if way.own_keys:
        return Change()
    bases = {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "patchbay": "/v1"}
    providers: dict[str, Any] = {
        name: {"options": {"apiKey": PLACEHOLDER_KEY} | ({"baseURL": way.base + path} if way.base else {})}
        for name, path in bases.items()
    }
    providers["patchbay"] = {"npm": "@ai-sdk/openai-compatible", "name": "Patchbay", **providers["patchbay"]}
    if not way.base:
        del providers["patchbay"]
    elif model := env.get("OPENAI_MODEL"):
        providers["patchbay"]["models"] = {model: {"name": model}}
    content = _merged(_read(env.get("OPENCODE_CONFIG_CONTENT", "")), {"provider": providers})
    return Change({"OPENCODE_CONFIG_CONTENT": json.dumps(content)})


RECIPES: tuple[ToolRecipe, ...] = (
    ToolRecipe("claude", _claude),
    ToolRecipe("codex", _codex),
    # With a base URL it takes no key but from a user who has chosen one in its settings.
    ToolRecipe("gemini", _gemini, by_proxy_at="generativelanguage.googleapis.com"),
    ToolRecipe("qwen", _qwen),
    ToolRecipe("opencode", _opencode),
)


def recipe(program: str) -> ToolRecipe | None:
    """Return the recipe of *program*, or None for a program that is not known."""
    return next((each for each in RECIPES if each.program == program), None)


def _missing(env: Mapping[str, str], name: str) -> dict[str, str]:
    return {} if env.get(name) else {name: PLACEHOLDER_KEY}


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return *one* with the members of *other*, objects member by member."""
    merged = dict(one)
    for name, value in other.items():
        mine = merged.get(name)
        merged[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged
