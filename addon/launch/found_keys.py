"""
The keys that an environment holds, and the logins that tools keep on this machine: where each is, never what it is.

A provider's variables stand in its preset, a tool that keeps a login is a row of LOGINS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import secret_patterns
from ..frozen import dataclass
from ..proxy import credentials
from ..settings.presets import PRESETS
from ..values.account import Secret
from ..values.http import is_loopback
from ..visible_text import visible

SHORTEST_KEY = 12  # characters of a value that may be a key: `dummy` and `none` are common

_NO_KEY = frozenset("FILE PATH ID URL NAME HELPER TTL TTL_MS".split())  # suffixes of a variable that holds no key
_SUFFIX = re.compile(r"_?([A-Z0-9]+(?:_[A-Z0-9]+)*)")
_LETTER = re.compile(r"([A-Z]{3,16})_([A-Z]|[0-9]{1,2})")  # `OPENAI_` and a letter, where the value looks like a key


@dataclass(frozen=True, slots=True)
class FoundKey:
    """
    One credential: what the settings call its *key*, for which preset, and *where* it was found, in words.

    *key* is empty where the preset reads a login of a tool, whose file stands in *more*.
    """

    id: str
    preset: str
    key: str
    where: str
    base_url: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)  # further settings of the account


@dataclass(frozen=True, slots=True)
class Login:
    """
    What a tool keeps of its user's login in a JSON file: *folder* is its variable and its usual place under the home.

    *pointer* leads to the key. *more* are the further settings that such an account needs; `{file}` is the file.
    """

    tool: str
    folder: tuple[str, str]
    file: str
    pointer: str
    preset: str
    more: Mapping[str, Any] = field(default_factory=dict)


LOGINS: tuple[Login, ...] = (
    *(
        Login("Codex (API key)", ("CODEX_HOME", ".codex"), "auth.json", f"/{variable}", preset.name)
        for variable in ("OPENAI_API_KEY",)
        for preset in PRESETS.values()
        if variable in preset.variables.keys
    ),
    *(
        Login(tool, folder, login.path.rpartition("/")[2], login.key, name, {"login": "{file}"})
        for tool, folder, name in (
            ("Codex", ("CODEX_HOME", ".codex"), "codex_login"),
            ("Claude Code", ("CLAUDE_CONFIG_DIR", ".claude"), "claude_login"),
        )
        if (login := PRESETS[name].login)
    ),
)


def in_environment(env: Mapping[str, str]) -> tuple[tuple[FoundKey, ...], tuple[str, ...]]:
    """Return the keys in *env*, a value once, and in words which variables were left out."""
    found: list[FoundKey] = []
    left: list[str] = []
    seen: dict[str, str] = {}
    for preset, name, suffix in sorted(_named(env), key=_order):
        value, (base, unknown) = env[name].strip(), _server(preset, env)
        if wrong := _unusable(name, env) or (f"the same key as {seen[value]}" if value in seen else "") or unknown:
            left.append(f"{name}: {wrong}")
        else:
            seen[value] = name
            found.append(_found(preset, name, suffix, base, {each.id for each in found}))
    return tuple(found), tuple(left)


def logins(env: Mapping[str, str], home: Path, taken: Iterable[str] = ()) -> Iterator[FoundKey]:
    """Yield the logins that tools keep under *home*, by the places that *env* names."""
    ids = set(taken)
    for login in LOGINS:
        variable, usual = login.folder
        file = Path(env[variable]) / login.file if env.get(variable) else home / usual / login.file
        if not _holds(file, login.pointer):
            continue
        shown = f"~/{file.relative_to(home)}" if file.is_relative_to(home) else str(file)
        name = _free(re.sub(r"[^a-z0-9]+", "-", login.tool.lower()).strip("-"), ids)
        ids.add(name)
        more = {setting: _filled(value, shown) for setting, value in login.more.items()}
        where = f"{shown}, a login of {login.tool}"
        key = "" if PRESETS[login.preset].login else f"file:{shown}#{login.pointer}"
        yield FoundKey(name, login.preset, key, where, more=more)


def as_yaml(accounts: Iterable[FoundKey]) -> str:
    """Return *accounts* as the settings write them, each below a comment that says where its key is."""
    lines = ["accounts:"]
    for each in accounts:
        members = {"id": each.id, "provider": each.preset, "base_url": each.base_url, "key": each.key, **each.more}
        lines.append(f"  # {visible(each.where)}")
        told = (f"{name}: {_value(value)}" for name, value in members.items() if value)
        lines += [f"  {'-' if at == 0 else ' '} {member}" for at, member in enumerate(told)]
    return "\n".join(lines) + "\n"


def _named(env: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield preset, variable and suffix of what may be a key by its name."""
    for name in env:
        for preset in PRESETS.values():
            keys = preset.variables.keys
            suffix = next((found for base in keys if (found := _suffix(name, base)) is not None), None)
            if suffix is None and (letter := _LETTER.fullmatch(name)) and f"{letter[1]}_API_KEY" in keys[:1]:
                suffix = letter[2] if secret_patterns.may_be_key(env[name]) else None
            if suffix is not None:
                yield preset.name, name, suffix


def _order(named: tuple[str, str, str]) -> tuple[int, bool, str]:
    preset, name, suffix = named
    return list(PRESETS).index(preset), suffix != "", name


def _suffix(name: str, base: str) -> str | None:
    """Return what *name* has behind *base*, None where it is another variable."""
    if not name.startswith(base):
        return None
    if name == base:
        return ""
    found = _SUFFIX.fullmatch(name[len(base) :])
    is_apart = name[len(base)] == "_" or name[len(base) :].isdecimal()
    return found[1] if found and is_apart and found[1] not in _NO_KEY else None


def _unusable(name: str, env: Mapping[str, str]) -> str:
    if wrong := credentials.unusable(Secret("env", name), env):
        return str(wrong).partition(": ")[2]
    return "too short for a key" if len(env[name].strip()) < SHORTEST_KEY else ""


def _server(preset: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the server that *env* names for *preset*, empty for the usual one; or why none can be used."""
    variables = PRESETS[preset].variables.servers
    variable = next((name for name in variables if env.get(name)), "")
    named, usual = env.get(variable, "").strip().rstrip("/"), PRESETS[preset].base_url
    host = _host(named)
    if usual and (not named or host == _host(usual) or is_loopback(host)):  # this machine: it may be Patchbay itself
        return "", ""
    if not named:
        return "", f"{variables[0]} is not set, so its server is not known"
    if not host or not named.startswith("https://") or secret_patterns.shown(named) != named:
        return "", f"{variable} is no plain https address"
    return named, ""


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _found(preset: str, name: str, suffix: str, base: str, taken: set[str]) -> FoundKey:
    provider = preset
    if base and (elsewhere := PRESETS[preset].variables.elsewhere):
        provider = next((one.name for one in PRESETS.values() if one.base_url == base), elsewhere)
        base = "" if provider != elsewhere else base
    ident = f"{preset}-{suffix.lower().replace('_', '-')}" if suffix else preset
    return FoundKey(_free(ident, taken), provider, f"env:{name}", f"{name} in the environment", base)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(2, 1000))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _holds(file: Path, pointer: str) -> bool:
    """Whether the JSON *file* has a text at *pointer*."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    for step in pointer.split("/")[1:]:
        value = value.get(step) if isinstance(value, dict) else None
    return isinstance(value, str) and value != ""


def _filled(value: Any, file: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(each, file) for name, each in value.items()}
    return value.replace("{file}", file) if isinstance(value, str) else value


def _value(value: object) -> str:
    """Return *value* as YAML on one line: JSON is YAML, and a plain word needs no quotes."""
    plain = isinstance(value, str) and value.isascii() and all(c.isalnum() or c in "_-.:/~#" for c in value)
    return str(value) if plain and not str(value).endswith(":") else json.dumps(value, ensure_ascii=False)
