"""What is said at the start: where Patchbay listens, how each account stands, and how each kind of tool is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..router import Router
from ..settings.settings import Config
from ..values.account import Account
from . import credentials, release, terminal_json, terminal_lines
from .terminal_json import JsonLine
from .terminal_lines import LineStyle

_CA = "~/.mitmproxy/mitmproxy-ca-cert.pem"


@dataclass(frozen=True, slots=True)
class StartLine:
    """One thing that is said, for people and for programs."""

    text: Callable[[LineStyle], str]
    json: Callable[[], JsonLine]


@dataclass(frozen=True, slots=True)
class _Tool:
    """How a tool of one family is started with *address* as its provider; *key* is what the tool sends as its key."""

    name: str
    family: str
    command: str


_BY_ADDRESS: Sequence[_Tool] = (
    _Tool("Claude Code", "anthropic", "ANTHROPIC_BASE_URL={address} ANTHROPIC_AUTH_TOKEN={key} claude"),
    _Tool("Codex", "openai", "PATCHBAY_KEY={key} codex -c model_provider=patchbay -c 'model_providers.patchbay="
          '{{name="Patchbay",base_url="{address}/v1",wire_api="responses",env_key="PATCHBAY_KEY"}}\''),
    _Tool("Gemini CLI", "gemini", "GOOGLE_GEMINI_BASE_URL={address} GEMINI_API_KEY={key} gemini"),
    _Tool("OpenAI SDK", "openai", "OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY={key} COMMAND"),
    _Tool("Anthropic SDK", "anthropic", "ANTHROPIC_BASE_URL={address} ANTHROPIC_API_KEY={key} COMMAND"),
    _Tool("Google SDK", "gemini", "GOOGLE_GEMINI_BASE_URL={address} GEMINI_API_KEY={key} COMMAND"),
)  # fmt: skip
_KEY_OF_TOOL = re.compile(r"(?:ANTHROPIC|OPENAI|GEMINI)_\w+=\{key\} ")
_AS_PROXY: Sequence[_Tool] = (
    _Tool("Claude Code", "anthropic", f"HTTPS_PROXY={{address}} NODE_EXTRA_CA_CERTS={_CA} claude"),
    _Tool("Gemini CLI", "gemini", f"HTTPS_PROXY={{address}} NODE_EXTRA_CA_CERTS={_CA} gemini"),
    _Tool("other tools", "", f"HTTPS_PROXY={{address}} SSL_CERT_FILE=BUNDLE COMMAND (BUNDLE: your CAs and {_CA})"),
)


def of(router: Router, addresses: Mapping[str, str], at: float) -> Iterator[StartLine]:
    """Yield what is said at the start, in order; *addresses* as of `client_connections`."""
    config, version = router.config, release.version()
    where = ", ".join(addresses) or "no address"
    remembered = len(router.accounts.bindings)
    known = f"; {remembered} conversations of earlier are remembered" if remembered else ""
    yield StartLine(
        lambda style: _line(f"Patchbay {version} listens at {where}{known}", at, style),
        lambda: terminal_json.started(version, addresses, config.mode, at),
    )
    if config.looks:
        told = "it only looks: requests pass with their own credentials, which are not kept"
        yield StartLine(lambda style: _line(told, at, style), lambda: terminal_json.logged("info", told, at))
    for account in config.accounts:
        yield _account(account, router, at)
    for tool, command in commands(config, addresses):
        yield _command(tool, command, at)


def commands(config: Config, addresses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each kind of tool for which there is an account, and the command that starts it behind this proxy."""
    families = {family for account in config.accounts if account.enabled for family in account.provider.families}
    key = "YOUR_CLIENT_KEY" if config.clients else "any"
    first = {kind: address for address, kind in reversed([*addresses.items()])}
    for kind, tools in (("base", _BY_ADDRESS), ("proxy", _AS_PROXY)):
        for tool in tools if kind in first else ():
            if config.looks:
                yield tool.name, _with_own_key(tool).format(address=first[kind], key='"$OPENAI_API_KEY"')
            elif not tool.family or tool.family in families:
                yield tool.name, tool.command.format(address=first[kind], key=key)


def _with_own_key(tool: _Tool) -> str:
    """Return the command of *tool* without a key: behind a proxy that only looks, the tool keeps its own."""
    return _KEY_OF_TOOL.sub("", tool.command)


def _command(tool: str, command: str, at: float) -> StartLine:
    return StartLine(
        lambda style: _line(f"{tool}: {command}", at, style), lambda: terminal_json.connect(tool, command, at)
    )


def _account(account: Account, router: Router, at: float) -> StartLine:
    rest = router.accounts.changes.present(account.id, at)
    wrong = "" if not account.enabled else _no_key(account, os.environ)
    state = "disabled" if not account.enabled else "no_key" if wrong else "rests" if rest else "ready"

    def text(style: LineStyle) -> str:
        told = {"disabled": "disabled in the settings", "no_key": f"no key: {wrong}"}.get(state, state)
        if rest and state == "rests":
            told = terminal_lines.rest_words(rest, at, style)
        return terminal_lines.account_stands(account.id, told, at, style)

    return StartLine(text, lambda: terminal_json.account_stands(account.id, state, rest, wrong, at))


def _no_key(account: Account, env: Mapping[str, str]) -> str:
    found = (credentials.unusable(secret, env) for secret in account.secrets)
    return next((str(wrong) for wrong in found if wrong), "")


def _line(text: str, at: float, style: LineStyle) -> str:
    """Return *text* unbroken, so that a command in it can be pasted."""
    return f"{style.paint(style.clock(at), 'dim')} {text}" if style.with_time else text
