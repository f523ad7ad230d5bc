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

    *snippet* is the same for its settings file, for a tool that has no variable for it. *note* says what its own
    settings keep from working.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    snippet: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ToolState:
    """A tool as it would be without Patchbay: its *arguments*, its *env*, and what its settings files hold."""

    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolRecipe:
    """
    One tool. *files* are those of its settings, in JSON, the stronger ones last; `$NAME` stands for a variable.

    Where an account's provider is *by_proxy_at*, the tool reaches it better by a proxy than by its base URL.
    """

    program: str
    change: Callable[[Way, ToolState], Change]
    files: tuple[str, ...] = ()
    by_proxy_at: str = ""


def general(way: Way, tool: ToolState) -> Change:
    """Return what programs of any kind need: the variables of the SDKs, and of each tool that has some."""
    env = tool.env
    tools = [_claude(way, tool), _gemini(way, tool), _opencode(way, tool)]
    variables: dict[str, str] = {} if way.own_keys else _missing(env, "OPENAI_API_KEY")
    if not way.own_keys and not env.get("ANTHROPIC_API_KEY") and not env.get("ANTHROPIC_AUTH_TOKEN"):
        variables["ANTHROPIC_API_KEY"] = PLACEHOLDER_KEY
    if way.base:
        variables |= dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), f"{way.base}/v1")
    for each in tools:
        variables |= {name: value for name, value in each.variables.items() if name != "ANTHROPIC_AUTH_TOKEN"}
    return Change(variables, tuple(name for each in tools for name in each.removed))


_OTHER_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX")  # with these it does not ask Anthropic's API


def _claude(way: Way, tool: ToolState) -> Change:
    if way.own_keys:
        return Change()
    variables: dict[str, str] = {}
    if way.base:
        variables["ANTHROPIC_BASE_URL"] = way.base
    if not tool.env.get("ANTHROPIC_API_KEY"):
        # The token, as it asks its user to confirm a key of a variable.
        variables |= _missing(tool.env, "ANTHROPIC_AUTH_TOKEN")
    arguments, note = _over_claudes_settings(way, tool)
    return Change(variables, _OTHER_CLOUDS, arguments, note=note)


def _over_claudes_settings(way: Way, tool: ToolState) -> tuple[tuple[str, ...], str]:
    """Return arguments that come before variables in its settings files, which come before those of the environment."""
    named = tool.settings.get("env")
    wrong = [name for name in ("ANTHROPIC_BASE_URL", *_OTHER_CLOUDS) if isinstance(named, dict) and named.get(name)]
    if not wrong:
        return (), ""
    if any(word.partition("=")[0] == "--settings" for word in tool.arguments):
        return (), f"Claude Code takes {', '.join(wrong)} from its settings, so it may not ask Patchbay"
    values = {name: way.base if name == "ANTHROPIC_BASE_URL" else "" for name in wrong}
    if not way.base and "ANTHROPIC_BASE_URL" in values:
        values["ANTHROPIC_BASE_URL"] = "https://api.anthropic.com"
    return ("--settings", json.dumps({"env": values})), ""


_CODEX = """\
model_provider = "patchbay"

[model_providers.patchbay]
name = "Patchbay"
base_url = "{base}"
wire_api = "responses"
env_key = "PATCHBAY_KEY"
supports_websockets = false"""


def _codex(way: Way, tool: ToolState) -> Change:
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
    key = tool.env.get("PATCHBAY_KEY") or tool.env.get("OPENAI_API_KEY") or PLACEHOLDER_KEY
    return Change({"PATCHBAY_KEY": key}, arguments=tuple(arguments), snippet=_CODEX.format(base=base))


def _gemini(way: Way, tool: ToolState) -> Change:
    if way.own_keys:
        return Change()
    variables = {} if tool.env.get("GOOGLE_API_KEY") else _missing(tool.env, "GEMINI_API_KEY")
    if way.base:
        variables["GOOGLE_GEMINI_BASE_URL"] = way.base
        variables["GEMINI_DEFAULT_AUTH_TYPE"] = "gemini-api-key"  # what it proposes where nothing was chosen yet
    removed = ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA")
    chosen = _member(tool.settings, "security", "auth", "selectedType")
    if chosen == "gemini-api-key" or not (chosen or way.base):
        return Change(variables, removed)
    login = f"is set to the login {chosen}" if chosen else "takes no key before one is chosen"
    return Change(variables, removed, note=f'Gemini CLI {login}: choose "Gemini API key" in it with /auth, once')


def _qwen(way: Way, tool: ToolState) -> Change:
    if way.own_keys:
        return Change()
    variables = _missing(tool.env, "OPENAI_API_KEY")
    if way.base:
        variables["OPENAI_BASE_URL"] = f"{way.base}/v1"
    chosen = any(word.partition("=")[0] == "--auth-type" for word in tool.arguments)
    return Change(variables, arguments=() if chosen else ("--auth-type", "openai"))


def _opencode(way: Way, tool: ToolState) -> Change:
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
    elif model := tool.env.get("OPENAI_MODEL"):
        providers["patchbay"]["models"] = {model: {"name": model}}
    content = merged(json_object(tool.env.get("OPENCODE_CONFIG_CONTENT", "")), {"provider": providers})
    return Change({"OPENCODE_CONFIG_CONTENT": json.dumps(content)})


RECIPES: tuple[ToolRecipe, ...] = (
    ToolRecipe(
        "claude",
        _claude,
        ("$CLAUDE_CONFIG_DIR/settings.json", ".claude/settings.json", ".claude/settings.local.json"),
    ),
    ToolRecipe("codex", _codex),
    # With a base URL it takes no key but from a user who has chosen one in its settings.
    ToolRecipe(
        "gemini",
        _gemini,
        ("$HOME/.gemini/settings.json", ".gemini/settings.json"),
        by_proxy_at="generativelanguage.googleapis.com",
    ),
    ToolRecipe("qwen", _qwen),
    ToolRecipe("opencode", _opencode),
)


def recipe(program: str) -> ToolRecipe | None:
    """Return the recipe of *program*, or None for a program that is not known."""
    return next((each for each in RECIPES if each.program == program), None)


def _missing(env: Mapping[str, str], name: str) -> dict[str, str]:
    return {} if env.get(name) else {name: PLACEHOLDER_KEY}


def _member(found: object, *names: str) -> object:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def json_object(text: str) -> dict[str, Any]:
    """Return the object that *text* holds, empty where it holds none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return *one* with the members of *other*, objects member by member."""
    found = dict(one)
    for name, value in other.items():
        mine = found.get(name)
        found[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found
