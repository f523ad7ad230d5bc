"""
The commands of Patchbay, in mitmproxy's command bar and at the control socket.

An addon of its own under the main one. What the commands do is in `control_actions`; here they get their names, and
their results become lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import mitmproxy.types
from mitmproxy import command, ctx, exceptions, flow, http

from ..router import Router
from . import control_tables, curl, decision_card, option_defaults
from .control import ControlServer
from .control_actions import ControlActions
from .control_socket import ControlFailed
from .credentials import Credentials
from .in_flight import InFlight
from .lifecycle import Lifecycle

_ACCOUNT = mitmproxy.types.Choice("patchbay.accounts.options")
_VIEWER = 0.8  # of the screen; the rest and two cells are around it
_NO_FILE = mitmproxy.types.Path()
_SESSION = mitmproxy.types.Choice("patchbay.sessions.options")


class PatchbayCommands:
    """Asks and changes what *lifecycle* has started; no answer holds a value of *keys*."""

    name = "patchbay_commands"

    def __init__(self, lifecycle: Lifecycle, keys: Credentials, in_flight: InFlight) -> None:
        self._lifecycle = lifecycle
        self._keys = keys
        self._actions = actions = ControlActions(lifecycle, in_flight.settings_changed)
        self._control = ControlServer(self.run, keys.scrub)
        self._tasks: set[asyncio.Task[object]] = set()
        # at the control socket; what returns the content of a request is not among them
        self._run: Mapping[str, Callable[..., object]] = {
            "status": actions.status,
            "accounts": actions.accounts,
            "sessions": actions.sessions,
            "explain": actions.explain,
            "incidents": actions.incidents,
            "wake": actions.wake,
            "cool": actions.cool,
            "disable": actions.disable,
            "enable": actions.enable,
            "unbind": actions.unbind,
            "reload": actions.reload,
        }

    # -- mitmproxy's events ----------------------------------------------------------------------------------------

    def running(self) -> None:
        if self._lifecycle.service and not self._lifecycle.refused:
            self._start(self._open())

    def done(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        self._control.stop()

    async def _open(self) -> None:
        await option_defaults.listening()  # that the socket is there says that the proxy is ready
        await self._control.start(Path(self._router().config.state).expanduser(), os.environ)

    def _start(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, name: str, arguments: Sequence[str]) -> object:
        """Carry out the command *name* of the control socket. Raises ControlFailed."""
        function = self._run.get(name)
        if function is None:
            raise ControlFailed(f"this proxy has no command {name[:40]}; there are: {', '.join(sorted(self._run))}")
        try:
            inspect.signature(function).bind(*arguments)
        except TypeError as e:
            raise ControlFailed(f"{name}: {e}") from e
        found = function(*arguments)
        return await found if isinstance(found, Awaitable) else found

    # -- mitmproxy's commands --------------------------------------------------------------------------------------

    @command.command("patchbay.status")  # type: ignore[untyped-decorator]
    def status(self) -> Sequence[str]:
        """The addresses of this proxy, and what it has done since its start."""
        return control_tables.status(_said(self._actions.status))

    @command.command("patchbay.accounts")  # type: ignore[untyped-decorator]
    def accounts(self) -> Sequence[str]:
        """How every account stands: why it is not used, until when, and what uses it."""
        return control_tables.accounts(_said(self._actions.accounts), time.time(), _width())

    @command.command("patchbay.sessions")  # type: ignore[untyped-decorator]
    def sessions(self, name: str = "") -> Sequence[str]:
        """The conversations, the latest first; with the begin of a *name*, its account changes too."""
        return control_tables.sessions(_said(self._actions.sessions, name), time.time(), _width(), moves=bool(name))

    @command.command("patchbay.wake")  # type: ignore[untyped-decorator]
    @command.argument("account", type=_ACCOUNT)  # type: ignore[untyped-decorator]
    def wake(self, account: str) -> str:
        """Use *account* again, whatever it rests for."""
        return _in_bar(_said(self._actions.wake, account))

    @command.command("patchbay.cool")  # type: ignore[untyped-decorator]
    @command.argument("account", type=_ACCOUNT)  # type: ignore[untyped-decorator]
    def cool(self, account: str, seconds: str = "") -> str:
        """Send nothing to *account* for so many *seconds*, or `10m`, `2h`; 600 if none are given."""
        return _in_bar(_said(self._actions.cool, account, seconds))

    @command.command("patchbay.disable")  # type: ignore[untyped-decorator]
    @command.argument("account", type=_ACCOUNT)  # type: ignore[untyped-decorator]
    def disable(self, account: str) -> str:
        """Send nothing to *account* until it is enabled, also after a restart if a store keeps it."""
        return _in_bar(_said(self._actions.disable, account))

    @command.command("patchbay.enable")  # type: ignore[untyped-decorator]
    @command.argument("account", type=_ACCOUNT)  # type: ignore[untyped-decorator]
    def enable(self, account: str) -> str:
        """Use *account* again after patchbay.disable."""
        return _in_bar(_said(self._actions.enable, account))

    @command.command("patchbay.unbind")  # type: ignore[untyped-decorator]
    @command.argument("session", type=_SESSION)  # type: ignore[untyped-decorator]
    def unbind(self, session: str) -> str:
        """Forget the account of *session*: its next request gets another one where it can."""
        return _said(self._actions.unbind, session)

    @command.command("patchbay.explain")  # type: ignore[untyped-decorator]
    def explain(self, flow: flow.Flow) -> Sequence[str]:
        """What was decided about *flow*, and why."""
        rows = decision_card.rows(flow.metadata)
        return control_tables.rows(rows) or ["no account was chosen for this flow: it passed, or it was refused before"]

    @command.command("patchbay.curl")  # type: ignore[untyped-decorator]
    def curl(self, flow: flow.Flow, file: mitmproxy.types.Path = _NO_FILE) -> str:
        """A curl command that sends *flow* again: this proxy, same session, same account. Into *file*, if named."""
        if not isinstance(flow, http.HTTPFlow):
            raise exceptions.CommandError("only an HTTP request has a command line")
        line: str = _said(curl.command_line, flow, self._key(), self._keys.key_headers)
        if not file:
            return line
        text = f"{line}\n".encode()
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            written.write(text)
        return f"written to {file}: run it with bash within an hour"

    @command.command("patchbay.reload")  # type: ignore[untyped-decorator]
    def reload(self) -> str:
        """Read the settings and the keys in files again; the log says what came of it."""
        self._start(self._reloaded())
        return "the settings are read again; the log says what came of it"

    async def _reloaded(self) -> None:
        with contextlib.suppress(ControlFailed):  # it is logged
            await self._actions.reload()

    @command.command("patchbay.incidents")  # type: ignore[untyped-decorator]
    def incidents(self) -> Sequence[str]:
        """The recorded answers that belonged to another request."""
        return _said(self._actions.incidents) or ["no incidents"]

    @command.command("patchbay.habits")  # type: ignore[untyped-decorator]
    def habits(self) -> Sequence[str]:
        """What was learned of each host's answers: the rules it keeps, and those it breaks (see docs/crosstalk.md)."""
        return [
            f"{host} {rule}: kept {each.kept}, broken {each.broken}" + (", demoted" if each.demoted else "")
            for host, rules in sorted(self._router().memory.habits.shown().items())
            for rule, each in sorted(rules.items())
        ]

    @command.command("patchbay.habits.reset")  # type: ignore[untyped-decorator]
    def reset_habits(self, host: str, detector: str = "") -> str:
        """Forget what was learned of *host*, a line of patchbay.habits begins with it; or of one *detector* there."""
        found = self._router().memory.habits.reset(host, detector, time.time())
        return f"{found} rules of {host} are forgotten" if found else f"nothing is known of {host} {detector}".rstrip()

    @command.command("patchbay.accounts.options")  # type: ignore[untyped-decorator]
    def account_options(self) -> Sequence[str]:
        """The ids of the accounts, for completion."""
        return _said(self._actions.account_names)

    @command.command("patchbay.sessions.options")  # type: ignore[untyped-decorator]
    def session_options(self) -> Sequence[str]:
        """The short names of the sessions, for completion."""
        return _said(self._actions.session_names)

    # methods, since mitmproxy reads every attribute when it looks for commands

    def _router(self) -> Router:
        assert self._lifecycle.service is not None
        return self._lifecycle.service.router

    def _key(self) -> bytes:
        assert self._lifecycle.service is not None
        return self._lifecycle.service.key


def _width() -> int | None:
    """Return the cells of a line in the console's data viewer; None elsewhere."""
    ui = getattr(ctx.master, "ui", None)
    return math.ceil(ui.get_cols_rows()[0] * _VIEWER) - 2 if ui else None


def _in_bar(told: str) -> str:
    """Return *told*, which names a sub-command of `patchbay`, with the name of the same command here."""
    return told.replace("`patchbay ", "`patchbay.")


def _said[**P, T](function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what *function* returns; its refusal is an error of mitmproxy's command."""
    try:
        return function(*arguments, **named)
    except ControlFailed as e:
        raise exceptions.CommandError(str(e)) from e
