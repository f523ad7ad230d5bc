"""
Hooks from a cache: which of mitmproxy's addons have a handler for an event is found once, not at every event.

mitmproxy asks each of its thirty addons, and their children, at every event. The handlers, their order, what ends them
(AddonHalt) and what is logged of their errors are the same here. Only mitmproxy's own addons without children are
looked up once, until the chain changes; any other addon may get a handler or a child at any moment, even from its own
handler, and is asked at every event, as is one that joins the chain meanwhile.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Awaitable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mitmproxy import addonmanager, exceptions, flow, hooks

from .host_step import HostStep

_CACHE = "_patchbay_handlers"  # the attribute of an AddonManager
_OWN = "mitmproxy.addons."  # where the addons are whose handlers do not change


@dataclass(slots=True)
class Handlers:
    """Those of *chain* to ask for an event: *rows* of its first *count* addons, each with whether it may change."""

    chain: list[Any]
    count: int
    rows: tuple[tuple[Any, bool], ...]

    def of(self, at: int) -> Iterable[Any] | None:
        """Return the addon at *at* and what hangs on it; None behind the last one."""
        if at < len(self.rows):
            addon, changes = self.rows[at]
            return _tree(addon) if changes else iter((addon,))
        joined = self.count + at - len(self.rows)
        return _tree(self.chain[joined]) if joined < len(self.chain) else None


@dataclass(slots=True)
class Waiting:
    """A handler that waits: what to await, which addons are left beside it, and where the chain goes on."""

    awaitable: Awaitable[Any]
    beside: Iterable[Any]
    at: int


@dataclass(slots=True)
class KnownHandlers:
    """The handlers of a *chain* of addons, which were those *addons*."""

    chain: list[Any]
    addons: list[Any]
    by_name: dict[str, Handlers]

    def of(self, name: str) -> Handlers:
        found = self.by_name.get(name)
        if found is None:
            rows = ((addon, _may_change(addon)) for addon in self.addons)
            asked = tuple(row for row in rows if row[1] or getattr(row[0], name, None))
            found = self.by_name[name] = Handlers(self.chain, len(self.addons), asked)
        return found


def handlers(manager: Any, name: str) -> Handlers:
    """Return the addons of *manager* to ask for something under *name*, in the order in which they are called."""
    chain, found = manager.chain, manager.__dict__.get(_CACHE)
    # what is taken out leaves a new list behind; an addon may say that it equals another one
    if found is None or found.chain is not chain or found.addons != chain:
        found = manager.__dict__[_CACHE] = KnownHandlers(chain, list(chain), {})
    known: Handlers = found.of(name)
    return known


def run(found: Handlers, name: str, arguments: list[Any], at: int = 0, beside: Iterable[Any] = ()) -> Waiting | None:
    """Call the handlers of *beside*, then those of *found* from *at* on, until one waits. Raises OptionsError."""
    nodes: Iterable[Any] | None = beside
    while nodes is not None:
        try:
            for addon in nodes:
                handler = getattr(addon, name, None)
                if not handler:
                    continue
                result = handler(*arguments) if callable(handler) else _uncallable(addon, name, handler)
                if result is not None and inspect.isawaitable(result):
                    return Waiting(result, nodes, at)
        except exceptions.AddonHalt:
            return None
        except exceptions.OptionsError:
            raise
        except Exception as e:
            _log(e)
        nodes = found.of(at)
        at += 1
    return None


async def run_on(found: Handlers, name: str, arguments: list[Any], waiting: Waiting | None) -> None:
    """Await *waiting*, and call the handlers behind it."""
    while waiting is not None:
        beside = waiting.beside
        try:
            await waiting.awaitable
        except exceptions.AddonHalt:
            return
        except exceptions.OptionsError:
            raise
        except Exception as e:
            _log(e)
            beside = ()
        waiting = run(found, name, arguments, waiting.at, beside)


def arguments(hook: hooks.Hook) -> list[Any]:
    """Return what the handlers of *hook* are called with."""
    kind = type(hook)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(hook))  # type: ignore[arg-type]
    return [getattr(hook, name) for name in names]


async def _trigger_event(self: Any, event: hooks.Hook) -> None:
    found, given = handlers(self, event.name), arguments(event)
    await run_on(found, event.name, given, run(found, event.name, given))


async def _handle_lifecycle(self: Any, event: hooks.Hook) -> None:
    message = arguments(event)[0]
    await _trigger_event(self, event)
    if isinstance(message, flow.Flow):
        await _trigger_event(self, hooks.UpdateHook([message]))


def _tree(addon: Any) -> Iterator[Any]:
    """Yield *addon* and what hangs on it as it is then, as `addonmanager.traverse`, without a generator a level."""
    levels: list[Iterator[Any]] = []
    while True:
        yield addon
        if hasattr(addon, "addons"):
            levels.append(iter(addon.addons))
        while levels:
            addon = next(levels[-1], _NONE)
            if addon is not _NONE:
                break
            levels.pop()
        else:
            return


def _may_change(addon: Any) -> bool:
    return not type(addon).__module__.startswith(_OWN) or hasattr(addon, "addons")


def _uncallable(addon: object, name: str, handler: object) -> object:
    if not isinstance(handler, types.ModuleType):
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")
    return None


def _log(error: Exception) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    addonmanager.logger.error(f"Addon error: {error}", exc_info=(type(error), error, trace))


_NONE = object()
_FIELDS: dict[type, tuple[str, ...]] = {}
DISPATCH = HostStep(
    replaced=(
        (addonmanager.AddonManager, "trigger_event", _trigger_event),
        (addonmanager.AddonManager, "handle_lifecycle", _handle_lifecycle),
        (hooks.Hook, "args", arguments),
    ),
    known=(
        addonmanager.traverse,
        addonmanager.safecall,
        addonmanager.AddonManager._iter_hooks,
        addonmanager.AddonManager.invoke_addon,
    ),
    written_for=("6d45306b6bdac7a3",),  # 12.2.0 to 12.3.1
)
