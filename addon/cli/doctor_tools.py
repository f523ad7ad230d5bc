"""What `patchbay doctor` finds in the settings of tools on this machine: do they point here, and rightly?"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any
from urllib.parse import urlsplit

from .. import dialects
from ..frozen import dataclass
from ..tool_recipes import BASE_PATHS
from ..values.http import is_loopback
from .examined import ExaminedMachine, MachineFault, place

_ODD = (ValueError, AttributeError, TypeError, RecursionError)  # a tool's file may be anything
_LARGEST = 4 << 20  # bytes of a settings file
_LINE = re.compile(r"^\s*(?:export\s+)?([A-Z_][A-Z0-9_]*)\s*=\s*[\"']?([^\"'\s#]+)", re.MULTILINE)
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_HERE = frozenset(("127.0.0.1", "localhost", "*", "127.0.0.0/8"))
# Switches by which a tool asks another service than its base URL names: the tool, and its base URL's variable.
_SWITCHES = {
    "CLAUDE_CODE_USE_BEDROCK": ("Claude Code", "ANTHROPIC_BASE_URL"),
    "CLAUDE_CODE_USE_VERTEX": ("Claude Code", "ANTHROPIC_BASE_URL"),
    "GOOGLE_GENAI_USE_VERTEXAI": ("Gemini CLI", "GOOGLE_GEMINI_BASE_URL"),
    "GOOGLE_GENAI_USE_GCA": ("Gemini CLI", "GOOGLE_GEMINI_BASE_URL"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NamedUrl:
    """
    A base URL, and *where* it is named. One of ours has the *path* there.

    What mends it is *before*, the right one, and *after*.
    """

    where: str
    path: str
    url: str
    before: str
    after: str = ""


def base_urls(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Base URLs that do not lead here although they look so, or lead here wrongly."""
    for named in found(machine):
        yield from _of(named, machine)


def found(machine: ExaminedMachine) -> Iterator[NamedUrl]:
    """Yield the base URLs in the environment and in the settings of known tools."""
    for name, path in BASE_PATHS.items():
        if value := machine.env.get(name, ""):
            yield NamedUrl(name, path, value, f"export {name}=")
    for file, read in _files(machine):
        with suppress(OSError, *_ODD):  # `settings` tells of it
            yield from read(file, file.read_text(encoding="utf-8"))


def settings(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Settings files of tools that hold something else."""
    for file, read in _files(machine):
        try:
            list(read(file, file.read_text(encoding="utf-8")))
        except OSError as e:
            yield MachineFault("warning", f"{file} cannot be read: {e.strerror or e}", f"chmod u+r {quote(str(file))}")
        except _ODD as e:
            line = f" (line {e.lineno})" if isinstance(e, json.JSONDecodeError) else ""
            told = f"{file} is damaged{line}, so a tool may not find its base URL there"
            yield MachineFault("warning", told, f"correct it, or move it away: {quote(str(file))}")


def _files(machine: ExaminedMachine) -> Iterator[tuple[Path, Callable[[Path, str], Iterator[NamedUrl]]]]:
    """Yield the settings files of known tools in the home and in this folder, each with what reads it."""
    for path, read in _FILES:
        for root in dict.fromkeys((machine.home, machine.folder)):
            file = root / path
            with suppress(OSError):
                if file.is_file() and file.stat().st_size <= _LARGEST:
                    yield file, read


def _of(named: NamedUrl, machine: ExaminedMachine) -> Iterator[MachineFault]:
    host, port = place(named.url)
    if not is_loopback(host):
        yield MachineFault(
            "note", f"{named.where} leads to {host or 'no server'}, past Patchbay", _mend(named, machine)
        )
        return
    if machine.is_ours(named.url, "proxy") and not machine.is_ours(named.url, "base"):
        told = f"{named.where} names the listener on port {port}, which is an HTTP proxy"
        yield MachineFault("problem", told, f"use it as HTTPS_PROXY, or start with --mode reverse:…: {named.url}")
    elif not machine.is_ours(named.url):
        ours = ", ".join(machine.addresses())
        yield MachineFault(
            "problem", f"{named.where} leads to port {port}, and Patchbay's are {ours}", _mend(named, machine)
        )
    elif wrong := _wrong(named):
        yield MachineFault("problem", f"{named.where}: {wrong}", _mend(named, machine))


def _wrong(named: NamedUrl) -> str:
    """Return what is wrong with the scheme or the path of a base URL of ours."""
    parts, right = urlsplit(named.url), named.path
    if parts.scheme == "https":
        return "it begins with https://, and the listener takes http://"
    path = parts.path
    if path.endswith("/") and path != "/":
        return f"it ends in `/` ({path}), so every request has `//`"
    path = path.rstrip("/")
    if path == right:
        return ""
    if dialects.endpoint("POST", path).kind == "generation":
        return f"it ends in the path of an endpoint ({path})"
    if path in (right + "/v1", right + "/v1beta"):
        return f"it ends in {path}, and the tool adds its version itself, so that it is there twice"
    if not path:
        return f"it lacks {right} at its end"
    return f"its path is {path}, and should be {right or 'empty'}"


def _mend(named: NamedUrl, machine: ExaminedMachine) -> str:
    ours = machine.addresses("base") or machine.addresses()
    return f"{named.before}{ours[0]}{named.path}{named.after}" if ours else ""


# -- files of tools ----------------------------------------------------------------------------------------------------


def _json(text: str) -> dict[str, Any]:
    """Read JSON with comments and trailing commas, as these tools do. Raises ValueError."""
    read = json.loads(_COMMENT.sub(lambda match: match[1] or "", text))
    return read if isinstance(read, dict) else {}


def _claude(file: Path, text: str) -> Iterator[NamedUrl]:
    yield from _in_json(file, _json(text).get("env", {}), "env")


def _gemini(file: Path, text: str) -> Iterator[NamedUrl]:
    for name, value in _LINE.findall(text):
        if name in BASE_PATHS:
            yield NamedUrl(f"{name} in {file}", BASE_PATHS[name], value, f"{name}=", f" in {file}")


def _qwen(file: Path, text: str) -> Iterator[NamedUrl]:
    read = _json(text)
    yield from _in_json(file, read.get("env", {}), "env")
    if url := read.get("security", {}).get("auth", {}).get("baseUrl"):
        yield NamedUrl(f"security.auth.baseUrl in {file}", "/v1", str(url), '"baseUrl": "', f'" in {file}')


def _in_json(file: Path, variables: dict[str, Any], section: str) -> Iterator[NamedUrl]:
    for name, value in variables.items():
        if name in BASE_PATHS and value:
            after = f'" under {section} in {file}'
            yield NamedUrl(f"{name} in {file}", BASE_PATHS[name], str(value), f'"{name}": "', after)


def _codex(file: Path, text: str) -> Iterator[NamedUrl]:
    read = tomllib.loads(text)
    for name, provider in read.get("model_providers", {}).items():
        if url := provider.get("base_url"):
            after = f'" under [model_providers.{name}] in {file}'
            yield NamedUrl(f"model_providers.{name} in {file}", "/v1", str(url), 'base_url = "', after)


_OPENCODE = {"google": "/v1beta"}  # its providers whose base URL ends in another version


def _opencode(file: Path, text: str) -> Iterator[NamedUrl]:
    for name, provider in _json(text).get("provider", {}).items():
        if url := provider.get("options", {}).get("baseURL"):
            after = f'" of provider {name} in {file}'
            yield NamedUrl(f"provider {name} in {file}", _OPENCODE.get(name, "/v1"), str(url), '"baseURL": "', after)


_FILES: tuple[tuple[str, Callable[[Path, str], Iterator[NamedUrl]]], ...] = (
    (".claude/settings.json", _claude),
    (".claude/settings.local.json", _claude),
    (".codex/config.toml", _codex),
    (".gemini/.env", _gemini),
    (".qwen/.env", _gemini),
    (".qwen/settings.json", _qwen),
    (".config/opencode/opencode.json", _opencode),
    (".config/opencode/opencode.jsonc", _opencode),
    ("opencode.json", _opencode),
    ("opencode.jsonc", _opencode),
)


# -- variables ---------------------------------------------------------------------------------------------------------


def proxy_variables(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """A proxy that is none, or one that takes what is meant for this machine."""
    used = {name: machine.env[name] for name in _PROXIES if machine.env.get(name)}
    for name, value in used.items():
        if machine.is_ours(value, "base") and not machine.is_ours(value, "proxy"):
            told = f"{name} names Patchbay's listener, which takes the place of a provider and is no HTTP proxy"
            yield MachineFault(
                "problem", told, f"unset {name}; export ANTHROPIC_BASE_URL={shlex.quote(value)} (or its like)"
            )
    passed = {each.strip() for name in ("NO_PROXY", "no_proxy") for each in machine.env.get(name, "").split(",")}
    ours = [each.where for each in found(machine) if machine.is_ours(each.url)]
    outer = [name for name, value in used.items() if not machine.is_ours(value)]
    if outer and ours and not passed & _HERE:
        told = f"{outer[0]} is set and NO_PROXY lacks 127.0.0.1: requests for {ours[0]} go to that proxy"
        yield MachineFault("problem", told, "export NO_PROXY=127.0.0.1,localhost")


def switches(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Switches by which a tool does not ask its base URL."""
    for name, (tool, variable) in _SWITCHES.items():
        if machine.env.get(name, "").lower() not in ("", "0", "false") and machine.is_ours(
            machine.env.get(variable, "")
        ):
            yield MachineFault("problem", f"{name} is set: {tool} does not ask {variable}", f"unset {name}")
