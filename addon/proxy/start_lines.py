"""What is said at the start: where Patchbay listens, how each account stands, and how each kind of tool is started."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping

from .. import tool_recipes
from ..dialects import FAMILIES
from ..frozen import dataclass
from ..router import Router
from ..settings.settings import Config
from ..tool_recipes import Way
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
    level: int = logging.INFO


def of(router: Router, addresses: Mapping[str, str], at: float) -> Iterator[StartLine]:
    """Yield what is said at the start, in order; *addresses* as of `client_connections`."""
    config, version = router.config, release.version()
    where = ", ".join(addresses) or "no address"
    known = f"; conversations remembered: {count}" if (count := len(router.accounts.bindings)) else ""
    yield StartLine(
        lambda style: _line(f"Patchbay {version} listens at {where}{known}", at, style),
        lambda: terminal_json.started(version, addresses, config.shown_mode, at),
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
    served = {family for account in config.accounts if account.enabled for family in account.provider.families}
    families = FAMILIES if config.looks else served
    first = {kind: address for address, kind in reversed([*addresses.items()])}
    if base := first.get("base"):
        key = "YOUR_CLIENT_KEY" if config.clients else "any"
        yield from tool_recipes.lines(families, Way(base, own_keys=config.looks, key=key))
    if proxy := first.get("proxy"):
        yield from _by_proxy(families, proxy)


def _by_proxy(families: Collection[str], proxy: str) -> Iterator[tuple[str, str]]:
    for tool in tool_recipes.RECIPES:
        if tool.is_of_node and tool.family in families:
            yield tool.name, f"HTTPS_PROXY={proxy} NODE_EXTRA_CA_CERTS={_CA} {tool.program}"
    yield "other tools", f'eval "$({release.CALLED} env)" && COMMAND'


def _command(tool: str, command: str, at: float) -> StartLine:
    return StartLine(
        lambda style: _line(f"{tool}: {command}", at, style), lambda: terminal_json.connect(tool, command, at)
    )


def _account(account: Account, router: Router, at: float) -> StartLine:
    rest = router.accounts.changes.present(account.id, at)
    wrong = "" if not account.enabled else _no_key(account, os.environ)
    state = "disabled" if not account.enabled else "no_key" if wrong else "rests" if rest else "ready"

    def text(style: LineStyle) -> str:
        off = "disabled by a command" if account.switched_off else "disabled in the settings"
        told = {"disabled": off, "no_key": f"no key: {wrong}"}.get(state, state)
        if rest and state == "rests":
            told = terminal_lines.rest_words(rest, at, style)
        return terminal_lines.account_stands(account.id, told, at, style)

    level = logging.WARNING if wrong else logging.INFO
    return StartLine(text, lambda: terminal_json.account_stands(account.id, state, rest, wrong, at), level)


def _no_key(account: Account, env: Mapping[str, str]) -> str:
    return "; ".join(str(wrong) for _, wrong in credentials.faults(account.secrets, env))


def _line(text: str, at: float, style: LineStyle) -> str:
    """Return *text* unbroken, so that a command in it can be pasted."""
    return f"{style.paint(style.clock(at), 'dim')} {text}" if style.with_time else text
