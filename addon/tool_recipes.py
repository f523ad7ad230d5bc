"""
What each tool needs to reach its models through Patchbay: variables, and arguments.

Nothing of the user's own settings files is changed. A new tool is a function and a row of RECIPES, an SDK a row of
SDKS: what is run, printed and said at the start is made of them.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from .frozen import dataclass

_DEEPEST = 64  # levels of a tool's settings
PLACEHOLDER_KEY = "patchbay"  # what a tool is told its key is, where it has none: Patchbay replaces it


@dataclass(frozen=True, slots=True)
class Way:
    """
    How a tool reaches the proxy: *base* as its provider's address, *proxy* as an HTTP proxy with *bundle* to trust.

    What is empty is not used. A tool without a key gets *key*; with *own_keys* it keeps its own credentials.
    """

    base: str = ""
    proxy: str = ""
    bundle: str = ""
    own_keys: bool = False
    key: str = PLACEHOLDER_KEY


@dataclass(frozen=True, slots=True)
class Change:
    """
    What a tool gets: *variables* that are set and *removed* ones, and *arguments* behind its name.

    *copied* variables get the value that another one has, which is named and not told: it may be a key. *snippet* is
    the same for its settings file, for a tool that has no variable for it. *note* says what its own settings keep from
    working; it is printed for a shell, so nothing that stands in a file of the user or of the folder is part of it.
    """

    variables: Mapping[str, str] = field(default_factory=dict)
    copied: Mapping[str, str] = field(default_factory=dict)
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
    One tool, for the models of one *family*, and its npm *package*; what it needs is *made*.

    *files* are those of its settings, in JSON, the stronger ones last; `$NAME` stands for a variable. Where an
    account's provider is *by_proxy_at*, the tool reaches it better by a proxy than by its base URL. Whether it trusts
    the certificates that Node's variable names: *is_of_node*.
    """

    name: str
    program: str
    family: str
    package: str
    made: Callable[[Way, ToolState], Change]
    files: tuple[str, ...] = ()
    by_proxy_at: str = ""
    is_of_node: bool = False

    def change(self, way: Way, tool: ToolState) -> Change:
        """Return what *tool* gets: where it keeps its keys, no more than a base URL."""
        if not way.own_keys:
            return self.made(way, tool)
        return replace(self.made(way, tool), removed=(), note="") if way.base else Change()


@dataclass(frozen=True, slots=True)
class Sdk:
    """A provider's SDK: the variables of its base URL, which ends in *path*, and the variable of its *key*."""

    name: str
    family: str
    bases: tuple[str, ...]
    path: str
    key: str

    def change(self, way: Way) -> Change:
        """Return what programs with this SDK get."""
        base = {self.bases[0]: way.base + self.path} if way.base else {}
        return Change(base if way.own_keys else {**base, self.key: way.key})


SDKS: tuple[Sdk, ...] = (
    Sdk("OpenAI SDK", "openai", ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "/v1", "OPENAI_API_KEY"),
    Sdk("Anthropic SDK", "anthropic", ("ANTHROPIC_BASE_URL",), "", "ANTHROPIC_API_KEY"),
    Sdk("Google SDK", "gemini", ("GOOGLE_GEMINI_BASE_URL",), "", "GEMINI_API_KEY"),
)
# Each variable of a base URL, and the path that one of ours has there.
BASE_PATHS: Mapping[str, str] = {name: sdk.path for sdk in SDKS for name in sdk.bases}


def general(way: Way, tool: ToolState) -> Change:
    """Return what programs of any kind need: the variables of the SDKs, and of each tool that needs nothing else."""
    tools = [change for each in RECIPES if not (change := each.change(way, tool)).arguments]
    variables = _missing(way, tool, "OPENAI_API_KEY")
    if not tool.env.get("ANTHROPIC_AUTH_TOKEN"):
        variables |= _missing(way, tool, "ANTHROPIC_API_KEY")
    if way.base:
        variables |= {name: way.base + path for name, path in BASE_PATHS.items()}
    for each in tools:
        variables |= {name: value for name, value in each.variables.items() if name != "ANTHROPIC_AUTH_TOKEN"}
    return Change(variables, removed=tuple(name for each in tools for name in each.removed))


_OTHER_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX")  # with these it does not ask Anthropic's API


def _claude(way: Way, tool: ToolState) -> Change:
    variables = {"ANTHROPIC_BASE_URL": way.base} if way.base else {}
    if not tool.env.get("ANTHROPIC_API_KEY"):
        # The token, as it asks its user to confirm a key of a variable.
        variables |= _missing(way, tool, "ANTHROPIC_AUTH_TOKEN")
    arguments, note = _over_claudes_settings(way, tool)
    return Change(variables, removed=_OTHER_CLOUDS, arguments=arguments, note=note)


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


# The member of a provider that says whose key is sent: that of a variable, or Codex's own.
_PATCHBAYS_KEY, _OWN_KEY = 'env_key = "PATCHBAY_KEY"', "requires_openai_auth = true"
_CODEX = """\
name = "Patchbay"
base_url = "{base}"
wire_api = "responses"
{key}
supports_websockets = false"""


def _codex(way: Way, tool: ToolState) -> Change:
    base = f"{way.base}/v1" if way.base else "https://api.openai.com/v1"
    members = _CODEX.format(base=base, key=_OWN_KEY if way.own_keys else _PATCHBAYS_KEY)
    inline = members.replace(" = ", "=").replace("\n", ",")
    has_own = way.own_keys or bool(tool.env.get("PATCHBAY_KEY"))
    copied = {"PATCHBAY_KEY": "OPENAI_API_KEY"} if not has_own and tool.env.get("OPENAI_API_KEY") else {}
    return Change(
        {} if has_own or copied else {"PATCHBAY_KEY": way.key},
        copied,
        arguments=("-c", "model_provider=patchbay", "-c", f"model_providers.patchbay={{{inline}}}"),
        snippet=f'model_provider = "patchbay"\n\n[model_providers.patchbay]\n{members}',
    )


_GEMINI_LOGINS = ("oauth-personal", "vertex-ai", "cloud-shell", "compute-default-credentials")


def _gemini(way: Way, tool: ToolState) -> Change:
    variables = {"GOOGLE_GEMINI_BASE_URL": way.base} if way.base else {}
    if not tool.env.get("GOOGLE_API_KEY"):
        variables |= _missing(way, tool, "GEMINI_API_KEY")
    if way.base and not way.own_keys:
        variables["GEMINI_DEFAULT_AUTH_TYPE"] = "gemini-api-key"  # what it proposes where nothing was chosen yet
    removed = ("GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA")
    chosen = _member(tool.settings, "security", "auth", "selectedType")
    if chosen == "gemini-api-key" or not (chosen or way.base):
        return Change(variables, removed=removed)
    # The file may be another person's: of what it says, only what the tool itself writes there is repeated.
    login = f"is set to the login {chosen}" if chosen in _GEMINI_LOGINS else "is set to another login"
    login = login if chosen else "takes no key before one is chosen"
    return Change(
        variables, removed=removed, note=f'Gemini CLI {login}: choose "Gemini API key" in it with /auth, once'
    )


def _qwen(way: Way, tool: ToolState) -> Change:
    variables = {"OPENAI_BASE_URL": f"{way.base}/v1"} if way.base else {}
    variables |= _missing(way, tool, "OPENAI_API_KEY")
    chosen = any(word.partition("=")[0] == "--auth-type" for word in tool.arguments)
    return Change(variables, arguments=() if chosen or way.own_keys else ("--auth-type", "openai"))


def _opencode(way: Way, tool: ToolState) -> Change:
    bases = {"openai": "/v1", "anthropic": "/v1", "google": "/v1beta", "patchbay": "/v1"}
    key = {} if way.own_keys else {"apiKey": way.key}
    providers: dict[str, Any] = {
        name: {"options": key | ({"baseURL": way.base + path} if way.base else {})} for name, path in bases.items()
    }
    providers["patchbay"] = {"npm": "@ai-sdk/openai-compatible", "name": "Patchbay", **providers["patchbay"]}
    if not way.base:
        del providers["patchbay"]
    elif model := tool.env.get("OPENAI_MODEL"):
        providers["patchbay"]["models"] = {model: {"name": model}}
    content = merged(json_object(tool.env.get("OPENCODE_CONFIG_CONTENT", "")), {"provider": providers})
    return Change({"OPENCODE_CONFIG_CONTENT": json.dumps(content)})


RECIPES: tuple[ToolRecipe, ...] = (  # of each family, the tool that is proposed stands first
    ToolRecipe(
        "Claude Code",
        "claude",
        "anthropic",
        "@anthropic-ai/claude-code",
        _claude,
        ("$CLAUDE_CONFIG_DIR/settings.json", ".claude/settings.json", ".claude/settings.local.json"),
        is_of_node=True,
    ),
    ToolRecipe("Codex", "codex", "openai", "@openai/codex", _codex),
    # With a base URL it takes no key but from a user who has chosen one in its settings.
    ToolRecipe(
        "Gemini CLI",
        "gemini",
        "gemini",
        "@google/gemini-cli",
        _gemini,
        ("$HOME/.gemini/settings.json", ".gemini/settings.json"),
        by_proxy_at="generativelanguage.googleapis.com",
        is_of_node=True,
    ),
    ToolRecipe("Qwen Code", "qwen", "openai", "@qwen-code/qwen-code", _qwen),
    ToolRecipe("OpenCode", "opencode", "openai", "opencode-ai", _opencode),
)


def recipe(program: str) -> ToolRecipe | None:
    """Return the recipe of *program*, or None for a program that is not known."""
    return next((each for each in RECIPES if each.program == program), None)


def of_family(family: str) -> tuple[ToolRecipe, ...]:
    """Return the tools for models of *family*, the one that is proposed first."""
    return tuple(each for each in RECIPES if each.family == family)


def lines(families: Collection[str], way: Way) -> Iterator[tuple[str, str]]:
    """Yield the name and the line for a shell of the tool that is proposed for each of *families*, and of each SDK."""
    for tool in RECIPES:
        if tool.family in families and tool is of_family(tool.family)[0]:
            yield tool.name, shell_line(tool.change(way, ToolState()), tool.program)
    for sdk in SDKS:
        if sdk.family in families:
            yield sdk.name, shell_line(sdk.change(way), "COMMAND")


def shell_line(change: Change, command: str) -> str:
    """Return the line that starts *command* with *change*, for a shell."""
    variables = (f"{name}={shlex.quote(value)}" for name, value in change.variables.items())
    return " ".join((*variables, command, *map(shlex.quote, change.arguments)))


def _missing(way: Way, tool: ToolState, name: str) -> dict[str, str]:
    return {} if way.own_keys or tool.env.get(name) else {name: way.key}


def _member(found: object, *names: str) -> object:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def json_object(text: str) -> dict[str, Any]:
    """Return the object that *text* holds, empty where it holds none, or one too deep for the settings of a tool."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and not _is_deep(found) else {}


def _is_deep(found: object) -> bool:
    level = [found]
    for _ in range(_DEEPEST):
        level = [member for each in level for member in _members(each)]
    return bool(level)


def _members(found: object) -> Collection[object]:
    if isinstance(found, dict):
        return found.values()
    return found if isinstance(found, list) else ()


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return *one* with the members of *other*, objects member by member."""
    found = dict(one)
    for name, value in other.items():
        mine = found.get(name)
        found[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found
