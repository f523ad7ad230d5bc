"""
Hooks inside the event that asks for them: no task, no lock and no second event for a handler that does not wait.

mitmproxy starts a task for every hook, which runs at once and then waits for the lock of its connection. Here what does
not wait is done when it returns, and the layers go on behind the present event, as they do there. One that waits goes
on in a task of its own, as `asyncio.wait_for` and time limits need. As with tasks, each hook has a context (PEP 567) of
its own: what it sets is seen by what follows from it, and by nothing else.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import logging
import time
from typing import Any

from mitmproxy import flow, hooks
from mitmproxy.proxy import commands, events, mode_servers, server
from mitmproxy.utils import asyncio_utils

from .hook_dispatch import Handlers, Waiting, arguments, handlers, run, run_on
from .host_step import HostStep

_Handler = mode_servers.ProxyConnectionHandler
_FOLLOWING = "_patchbay_following"  # the attribute of a handler: what waits for the present event
_HAS_TASK = "_patchbay_has_task"  # … True once it is known to have one
_CRASHED = "mitmproxy has crashed!"  # its own words
_Left = tuple[hooks.Hook, Handlers, list[Any], Waiting]  # an event, and what `run_on` needs of it
_Following = collections.deque[tuple[events.Event, contextvars.Context]]


async def _server_event(self: Any, event: events.Event) -> None:
    own = self.__dict__
    following: _Following | None = own.get(_FOLLOWING)
    if following is not None:
        following.append((event, contextvars.copy_context()))  # of inside another event of this connection
        return
    following = own[_FOLLOWING] = collections.deque()
    try:
        _handle(self, event, following)
    except BaseException:  # as when a handler raises CancelledError: later events are no longer of inside this one
        del own[_FOLLOWING]
        raise
    if following and not (own.get(_HAS_TASK) or _has_task(self)):
        asyncio.get_running_loop().call_soon(_go_on, self, following)
    else:
        _go_on(self, following)


def _has_task(self: Any) -> bool:
    """Whether the client's connection has its task, without which it cannot be closed: its first events have not."""
    client = self.transports.get(self.client)
    has = client is None or client.handler is not None
    self.__dict__[_HAS_TASK] = has
    return has


def _go_on(self: Any, following: _Following) -> None:
    try:
        while following:
            event, context = following.popleft()
            context.run(_handle, self, event, following)
    finally:
        del self.__dict__[_FOLLOWING]


def _handle(self: Any, event: events.Event, following: _Following) -> None:
    self.timeout_watchdog.last_activity = time.time()
    try:
        for command in self.layer.handle_event(event):
            _carry_out(self, command, following)
    except Exception:
        self.log(_CRASHED, logging.ERROR, exc_info=True)


def _carry_out(self: Any, command: commands.Command, following: _Following) -> None:
    if type(command) is commands.SendData:
        io = self.transports.get(command.connection)
        if io is not None and not io.writer.is_closing():
            io.writer.write(command.data)
    elif isinstance(command, commands.StartHook):
        context = contextvars.copy_context()
        if _is_done(self, command, context) and command.blocking:
            following.append((events.HookCompleted(command), context))
    elif isinstance(command, commands.OpenConnection):
        assert command.connection not in self.transports
        name = f"server connection handler {command.connection.address}"
        made = _task(self, self.open_connection(command), name)
        self.transports[command.connection] = server.ConnectionIO(handler=made)
    elif isinstance(command, commands.RequestWakeup):
        self.wakeup_timer.add(_task(self, self.wakeup(command), f"wakeup timer ({command.delay:.1f}s)"))
    elif isinstance(command, commands.Log):
        self.log(command.message, command.level)
    elif not isinstance(command, commands.ConnectionCommand):
        raise RuntimeError(f"Unexpected command: {command}")
    elif command.connection in self.transports:
        _carry_out_on_connection(self, command)


def _carry_out_on_connection(self: Any, command: commands.ConnectionCommand) -> None:
    if isinstance(command, commands.SendData):
        writer = self.transports[command.connection].writer
        if not writer.is_closing():
            writer.write(command.data)
    elif isinstance(command, commands.CloseTcpConnection):
        self.close_connection(command.connection, command.half_close)
    elif isinstance(command, commands.CloseConnection):
        self.close_connection(command.connection, False)
    else:
        raise RuntimeError(f"Unexpected command: {command}")


def _task(self: Any, work: Any, name: str) -> Any:
    return asyncio_utils.create_task(work, name=name, keep_ref=False, client=self.client.peername)


def _is_done(self: Any, hook: commands.StartHook, context: contextvars.Context) -> bool:
    """Call the handlers of *hook*; return False where one waits, or the flow does, and it goes on in a task."""
    (about,) = arguments(hook)
    try:
        left = context.run(_called, self.master.addons, hook, about)
    except Exception as e:  # an OptionsError: mitmproxy lets the task of the hook end with it
        asyncio.get_running_loop().call_exception_handler({"message": f"{hook.name} failed", "exception": e})
        return False
    if left is None and not (isinstance(about, flow.Flow) and about.intercepted):
        return True
    made: asyncio.Task[None] = asyncio.Task(
        _finish(self, hook, about, left), loop=asyncio.get_running_loop(), context=context, eager_start=True
    )
    if not made.done():
        asyncio_utils.set_task_debug_info(made, name=f"handle_hook({hook.name})", client=self.client.peername)
        asyncio_utils._KEEP_ALIVE.add(made)  # the loop itself would forget it
        made.add_done_callback(asyncio_utils._KEEP_ALIVE.discard)
    return False


def _called(addons: Any, hook: hooks.Hook, about: object) -> _Left | None:
    """Call the handlers of *hook*, and those of the update that follows; return the event of which one waits."""
    event = hook
    while True:
        found, given = handlers(addons, event.name), arguments(event)
        waiting = run(found, event.name, given)
        if waiting is not None:
            return event, found, given, waiting
        if event is not hook or not isinstance(about, flow.Flow):
            return None
        event = hooks.UpdateHook([about])


async def _finish(self: Any, hook: commands.StartHook, about: object, left: _Left | None) -> None:
    with self.timeout_watchdog.disarm():
        if left is not None:
            event, found, given, waiting = left
            await run_on(found, event.name, given, waiting)
            if event is hook and isinstance(about, flow.Flow):
                await self.master.addons.trigger_event(hooks.UpdateHook([about]))
        if isinstance(about, flow.Flow):
            await about.wait_for_resume()
    if hook.blocking:
        await self.server_event(events.HookCompleted(hook))


INLINE = HostStep(
    replaced=((_Handler, "server_event", _server_event),),
    known=(
        _Handler.handle_hook,
        server.ConnectionHandler.server_event,
        server.ConnectionHandler.hook_task,
        server.ConnectionHandler.close_connection,
        server.TimeoutWatchdog,
        asyncio_utils.create_task,
        flow.Flow.wait_for_resume,
    ),
    written_for=("2c72528a255eddfb",),  # 12.2.0 to 12.3.1
)
