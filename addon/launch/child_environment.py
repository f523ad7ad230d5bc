"""The environment and the arguments with which a command finds the proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from ..frozen import dataclass
from ..settings.presets import PRESETS
from ..tool_recipes import BASE_PATHS, Change, ToolRecipe, ToolState, Way, general, json_object, merged, recipe
from ..values.http import is_loopback
from . import certificates, client_programs, proxy_variables
from .command_line import LaunchError

KNOWN_HOSTS = tuple(sorted({host for each in PRESETS.values() if (host := urlsplit(each.base_url).hostname)}))
_LARGEST = 4 << 20  # bytes of a settings file


@dataclass(frozen=True, slots=True)
class ChildSetup:
    """The proxy's addresses (empty: none), the *folder* for files, the providers' *hosts*, and whose keys are used."""

    base: str
    proxy: str
    folder: Path
    hosts: tuple[str, ...]
    own_keys: bool


def prepared(
    command: Sequence[str], setup: ChildSetup, env: Mapping[str, str], confdir: Path
) -> tuple[list[str], dict[str, str], str]:
    """
    Return *command* and its environment, made of *env*, so that its requests go through the proxy of *setup*, and what
    the settings of the program keep from working.

    Writes the files that it needs: *confdir* holds the certificate of the running mitmproxy. Raises LaunchError.
    """
    name, at = client_programs.find(command)
    change, variables = changed(name, command[at + 1 :], setup, env, confdir)
    gone = {*change.removed, *(proxy_variables.REMOVED if setup_uses_proxy(name, setup) else ())}
    child = {key: value for key, value in env.items() if key not in gone} | variables
    return [*command[: at + 1], *change.arguments, *command[at + 1 :]], child, change.note


def changed(
    program: str, arguments: Sequence[str], setup: ChildSetup, env: Mapping[str, str], confdir: Path
) -> tuple[Change, dict[str, str]]:
    """Return what *program* gets, and all variables for it. Writes the files. Raises LaunchError."""
    known = recipe(program)
    by_proxy = setup_uses_proxy(program, setup)
    try:
        bundle = str(_bundle(setup, env, confdir)) if by_proxy else ""
        way = Way(setup.base, setup.proxy if by_proxy else "", bundle, setup.own_keys)
        tool = ToolState(arguments, env, _settings(known, env) if known else {})
        change = (known.change if known else general)(way, tool)
    except OSError as e:
        raise LaunchError(f"{e.filename or setup.folder}: {e.strerror or e}") from e
    variables = {**change.variables, **{name: env[of] for name, of in change.copied.items()}}
    if by_proxy:
        variables |= proxy_variables.variables(
            setup.proxy, bundle, setup.hosts, env, local=setup.own_keys and _asks_locally(env)
        )
    elif any(env.get(name) for name in (*proxy_variables.PROXIES, *proxy_variables.REMOVED)):
        variables |= proxy_variables.direct(env)
    printed = {name: value for name, value in variables.items() if name not in change.copied}
    return replace(change, variables=printed), variables


def _settings(tool: ToolRecipe, env: Mapping[str, str]) -> dict[str, Any]:
    """Return what the settings files of *tool* hold, those of the working directory included."""
    home = env.get("HOME", "")
    variables = {"HOME": home, "CLAUDE_CONFIG_DIR": env.get("CLAUDE_CONFIG_DIR") or f"{home}/.claude"}
    found: dict[str, Any] = {}
    for file in tool.files:
        path = Path(Template(file).safe_substitute(variables))
        found = merged(found, json_object(_text(path)))
    return found


def _text(path: Path) -> str:
    """Return the text of the file *path*, empty where there is none, or something that is no file of settings."""
    with contextlib.suppress(OSError, ValueError):
        if path.is_file() and path.stat().st_size <= _LARGEST:
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def ways(program: str, hosts: Sequence[str]) -> tuple[str, ...]:
    """Return how *program* is best given the providers at *hosts*: by `base`, by `proxy`, or both for one not known."""
    known = recipe(program)
    if known is None:
        return ("base", "proxy")
    return ("proxy",) if known.by_proxy_at in hosts else ("base",)


def setup_uses_proxy(program: str, setup: ChildSetup) -> bool:
    """Whether *program* uses Patchbay as an HTTP proxy: without a base URL, or beside it for what ignores one."""
    return bool(setup.proxy) and not (setup.base and recipe(program))


def _bundle(setup: ChildSetup, env: Mapping[str, str], confdir: Path) -> Path:
    own = confdir / "mitmproxy-ca-cert.pem"
    if not own.is_file():
        raise LaunchError(f"mitmproxy has made no certificate at {own}", 1)
    return certificates.write_bundle(setup.folder, own, env)


def _asks_locally(env: Mapping[str, str]) -> bool:
    """Whether a tool of *env* is to ask a server of this machine, which is no exception then."""
    hosts = (urlsplit(env.get(name, "")).hostname for name in BASE_PATHS)
    return any(host and is_loopback(host) for host in hosts)
