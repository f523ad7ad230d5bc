"""
Hooks from a cache: which addons have a handler for an event is found once, not at every event.

mitmproxy asks each of its thirty addons, and their children, at every event. The handlers, their order, what ends them
(AddonHalt) and what is logged of their errors are the same here. A handler is looked up when it is called; who has one
is found again when the chain of addons changes, or the children of one of them, as when a script is loaded again.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import types
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from mitmproxy import addonmanager, exceptions, flow, hooks

from .host_step import HostStep

Handlers = tuple[tuple[object, int], ...]  # an addon, and where the next one of the chain begins
_CACHE = "_patchbay_handlers"  # the attribute of an AddonManager


@dataclass(slots=True)
class Waiting:
    """A handler that waits: what to await, and where its addon and the next one of the chain go on."""

    awaitable: Awaitable[Any]
    at: int
    after: int


@dataclass(slots=True)
class KnownHandlers:
    """The handlers of a *chain* of addons, whose *parents* had those *children*."""

    chain: list[object]
    parents: list[Any]
    children: list[Any]
    by_name: dict[str, Handlers]

    def of(self, name: str) -> Handlers:
        found = self.by_name.get(name)
        if found is None:
            found = self.by_name[name] = _found(self.chain, name)
        return found


def handlers(manager: Any, name: str) -> Handlers:
    """Return the addons of *manager* that have something under *name*, in the order in which they are called."""
    return known(manager).of(name)


def known(manager: Any) -> KnownHandlers:
    """Return what is known of the addons of *manager* as they are now."""
    found: KnownHandlers | None = manager.__dict__.get(_CACHE)
    if found is None or found.chain != manager.chain or [each.addons for each in found.parents] != found.children:
        found = manager.__dict__[_CACHE] = _made(manager.chain)
    return found


def run(found: Handlers, name: str, arguments: list[Any], at: int = 0) -> Waiting | None:
    """Call the handlers of *found* from *at* on, until one waits. Raises OptionsError, as mitmproxy does."""
    while at < len(found):
        addon, after = found[at]
        at += 1
        try:
            handler = getattr(addon, name, None)
            result = handler(*arguments) if callable(handler) else _uncallable(addon, name, handler)
        except exceptions.AddonHalt:
            return None
        except exceptions.OptionsError:
            raise
        except Exception as e:
            _log(e)
            at = after
            continue
        if result is not None and inspect.isawaitable(result):
            return Waiting(result, at, after)
    return None


async def run_on(found: Handlers, name: str, arguments: list[Any], waiting: Waiting | None) -> None:
    """Await *waiting*, and call the handlers behind it."""
    while waiting is not None:
        at = waiting.at
        try:
            await waiting.awaitable
        except exceptions.AddonHalt:
            return
        except exceptions.OptionsError:
            raise
        except Exception as e:
            _log(e)
            at = waiting.after
        waiting = run(found, name, arguments, at)


def arguments(hook: hooks.Hook) -> list[Any]:
    """Return what the handlers of *hook* are called with."""
    kind = type(hook)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(hook))  # type: ignore[arg-type]
    return [getattr(hook, name) for name in names]


async def _trigger_event(self: Any, event: hooks.Hook) -> None:
    found = handlers(self, event.name)
    if found:
        given = arguments(event)
        await run_on(found, event.name, given, run(found, event.name, given))


async def _handle_lifecycle(self: Any, event: hooks.Hook) -> None:
    message = arguments(event)[0]
    await _trigger_event(self, event)
    if isinstance(message, flow.Flow) and handlers(self, "update"):
        await _trigger_event(self, hooks.UpdateHook([message]))


def _made(chain: list[Any]) -> KnownHandlers:
    parents = [found for found in addonmanager.traverse(chain) if hasattr(found, "addons")]
    return KnownHandlers(list(chain), parents, [copy.copy(found.addons) for found in parents], {})


def _found(chain: list[Any], name: str) -> Handlers:
    found: list[tuple[object, int]] = []
    for top in chain:
        having = [addon for addon in addonmanager.traverse([top]) if getattr(addon, name, None)]
        after = len(found) + len(having)
        found += [(addon, after) for addon in having]
    return tuple(found)


def _uncallable(addon: object, name: str, handler: object) -> object:
    if handler and not isinstance(handler, types.ModuleType):
        raise exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable")
    return None


def _log(error: Exception) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
        trace = trace.tb_next
    addonmanager.logger.error(f"Addon error: {error}", exc_info=(type(error), error, trace))


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
