"""
The commands of Patchbay, in mitmproxy's command bar and at the control socket.

An addon of its own under the main one. Names of mitmproxy commands begin with `patchbay.`.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from mitmproxy import command

from ..router import Router
from . import client_connections, option_defaults, release
from .control import ControlServer
from .control_answers import ProxyStatus
from .control_socket import ControlFailed
from .credentials import Credentials
from .lifecycle import Lifecycle, Service


class PatchbayCommands:
    """Asks and changes what *lifecycle* has started; no answer holds a value of *keys*."""

    name = "patchbay_commands"

    def __init__(self, lifecycle: Lifecycle, keys: Credentials) -> None:
        self._lifecycle = lifecycle
        self._began = time.monotonic()
        self._control = ControlServer(self.run, keys.scrub)
        self._start: asyncio.Task[None] | None = None
        # by the name at the control socket
        self._run: Mapping[str, Callable[..., object]] = {
            "status": self.status,
            "wake": self.wake,
        }

    # -- mitmproxy's events ----------------------------------------------------------------------------------------

    def running(self) -> None:
        self._began = time.monotonic()
        if self._lifecycle.service and not self._lifecycle.refused:
            self._start = asyncio.get_running_loop().create_task(self._open(), name="patchbay-control")

    def done(self) -> None:
        if self._start:
            self._start.cancel()
        self._control.stop()

    async def _open(self) -> None:
        await option_defaults.listening()  # that the socket is there says that the proxy is ready
        await self._control.start(Path(self._router().config.state).expanduser(), os.environ)

    # -- the control socket ----------------------------------------------------------------------------------------

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

    def status(self) -> ProxyStatus:
        """Return how this proxy is reached, and the totals since its start."""
        listeners = client_connections.addresses()
        return ProxyStatus(
            pid=os.getpid(),
            version=release.version(),
            addresses=list(listeners),
            kinds=list(listeners.values()),
            in_flight=self._lifecycle.in_flight(),
            mode=self._router().config.mode,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            totals=self._service().sessions.totals(),
        )

    # -- mitmproxy's commands --------------------------------------------------------------------------------------

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

    @command.command("patchbay.wake")  # type: ignore[untyped-decorator]
    def wake(self, account: str) -> str:
        """Use *account* again, whatever it rests for."""
        known = [each.id for each in self._router().config.accounts]
        if account not in known:
            return f"there is no account {account}; there are: {', '.join(known) or 'none'}"
        self._router().state.wake(account, time.time())
        return f"account {account} may be used again"

    # --------------------------------------------------------------------------------------------------------------

    # methods, since mitmproxy reads every attribute when it looks for commands

    def _service(self) -> Service:
        if self._lifecycle.service is None:
            raise ControlFailed("this proxy could not start")
        return self._lifecycle.service

    def _router(self) -> Router:
        return self._service().router
