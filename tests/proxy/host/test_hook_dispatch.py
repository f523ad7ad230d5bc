"""Hooks from the cache reach the same handlers, in the same order, with the same errors, as mitmproxy's own."""

from __future__ import annotations

import asyncio
import json as request  # a module under the name of a hook, which is no handler
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy import addonmanager, ctx, exceptions
from mitmproxy.proxy.layers.http import HttpRequestHook, HttpResponseHook
from mitmproxy.test import taddons, tflow

from patchbay.proxy.host import hook_dispatch

Called = list[tuple[str, str]]


def in_loop(test: Callable[..., Any]) -> Callable[..., None]:
    @wraps(test)
    def ran(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return ran


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Each:
    """An addon with one handler of a kind, and children."""

    def __init__(self, name: str, kind: str, called: Called, children: list[Each]) -> None:
        self.name = name
        if children:
            self.addons = children
        handler = _handler(name, kind, called)
        if handler is not None:
            self.request = handler

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _handler(name: str, kind: str, called: Called) -> Any:
    def notes(flow: object) -> None:
        called.append((name, kind))

    def raises(flow: object) -> None:
        notes(flow)
        raise ValueError(name)

    def halts(flow: object) -> None:
        notes(flow)
        raise exceptions.AddonHalt

    async def waits(flow: object) -> None:
        await asyncio.sleep(0)
        notes(flow)

    async def raises_later(flow: object) -> None:
        await asyncio.sleep(0)
        raises(flow)

    async def halts_later(flow: object) -> None:
        await asyncio.sleep(0)
        halts(flow)

    def awaitable(flow: object) -> object:
        return asyncio.ensure_future(waits(flow))

    kinds: dict[str, Any] = {
        "notes": notes, "raises": raises, "halts": halts, "waits": waits, "raises later": raises_later,
        "halts later": halts_later, "awaitable": awaitable, "module": request, "not callable": 7, "nothing": None,
        "too few": lambda: called.append((name, kind)),
    }  # fmt: skip
    return kinds[kind]


KINDS = (
    "notes", "raises", "halts", "waits", "raises later", "halts later", "awaitable", "module", "not callable",
    "nothing", "too few",
)  # fmt: skip
TREES = st.recursive(
    st.tuples(st.sampled_from(KINDS), st.just(())),
    lambda inner: st.tuples(st.sampled_from(KINDS), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=5,
)


def _chain(trees: list[Any], called: Called, at: str = "a") -> list[Each]:
    return [
        Each(f"{at}{number}", kind, called, _chain(inner, called, f"{at}{number}"))
        for number, (kind, inner) in enumerate(trees)
    ]


@contextmanager
def _logged() -> Iterator[_Records]:
    logged = _Records()
    addonmanager.logger.addHandler(logged)
    addonmanager.logger.propagate = False  # to the handler of a master whose loop is over
    yield logged
    addonmanager.logger.propagate = True
    addonmanager.logger.removeHandler(logged)


async def _heard(trees: list[Any], put_on: Callable[[], Any]) -> tuple[Called, list[str]]:
    called: Called = []
    with _logged() as logged, taddons.context(loadcore=False) as context:
        for addon in _chain(trees, called):
            context.master.addons.add(addon)
        with put_on():
            for _ in range(2):
                await context.master.addons.handle_lifecycle(HttpRequestHook(tflow.tflow()))
    return called, [record.getMessage() for record in logged.records]


class _PutOn:
    def __enter__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        for owner, name, by in hook_dispatch.DISPATCH.replaced:
            self._patch.setattr(owner, name, by)

    def __exit__(self, *_: object) -> None:
        self._patch.undo()


class _Stock:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@given(st.lists(TREES, max_size=5))
def test_every_chain_is_called_as_mitmproxy_calls_it(trees: list[Any]) -> None:
    assert asyncio.run(_heard(trees, _PutOn)) == asyncio.run(_heard(trees, _Stock))


@in_loop
async def test_a_chain_that_changes_is_looked_at_again() -> None:
    called: Called = []
    parent = Each("parent", "nothing", called, [Each("child", "notes", called, [])])
    with _PutOn(), taddons.context(loadcore=False) as context:
        manager, hook = context.master.addons, HttpRequestHook(tflow.tflow())
        manager.add(parent)
        await manager.trigger_event(hook)
        parent.addons = [Each("new child", "notes", called, [])]  # as a script that was loaded again, unregistered
        await manager.trigger_event(hook)
        manager.add(Each("late", "notes", called, []))
        await manager.trigger_event(hook)
        manager.chain.remove(parent)
        await manager.trigger_event(hook)

    names = [name for name, _ in called]
    assert names == ["child", "new child", "new child", "late", "late"]


@in_loop
async def test_a_handler_that_is_replaced_is_called_in_its_new_form() -> None:
    called: Called = []
    addon = Each("one", "notes", called, [])
    with _PutOn(), taddons.context(loadcore=False) as context:
        context.master.addons.add(addon)
        await context.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        addon.request = _handler("two", "notes", called)
        await context.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        del addon.request
        await context.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))

    assert [name for name, _ in called] == ["one", "two"]


class Acts:
    """An addon that changes something among the addons when it is first called."""

    def __init__(self, called: Called, act: Callable[[Acts, Any], None]) -> None:
        self.name, self._called, self._act = "acts", called, act

    def request(self, flow: object) -> None:
        self._called.append(("acts", ""))
        act, self._act = self._act, lambda *_: None
        act(self, ctx.master.addons)


class Equal(Each):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    __hash__ = None  # type: ignore[assignment]


def _a_new_addon(called: Called, acts: Acts, manager: Any) -> None:
    manager.add(Each("new", "notes", called, []))


def _two_new_addons_the_first_of_which_halts(called: Called, acts: Acts, manager: Any) -> None:
    manager.add(Each("new", "halts", called, []), Each("never", "notes", called, []))


def _a_handler_for_another_addon(called: Called, acts: Acts, manager: Any) -> None:
    manager.get("last").request = _handler("last", "notes", called)


def _a_handler_for_an_addon_before(called: Called, acts: Acts, manager: Any) -> None:
    manager.get("first").request = _handler("first", "notes", called)


def _a_child_of_its_own(called: Called, acts: Acts, manager: Any) -> None:
    acts.addons = [Each("child", "waits", called, [Each("inner", "notes", called, [])])]  # type: ignore[attr-defined]


def _an_equal_addon_in_the_place_of_one(called: Called, acts: Acts, manager: Any) -> None:
    manager.remove(manager.get("equal"))
    manager.add(Equal("other", "notes", called, []))


def _an_addon_less(called: Called, acts: Acts, manager: Any) -> None:
    manager.remove(manager.get("equal"))


class Faulty:
    name = "faulty"

    def __getattr__(self, name: str) -> object:
        if name == "request":
            raise KeyError(name)
        raise AttributeError(name)


@pytest.mark.parametrize(
    "act",
    [
        _a_new_addon, _two_new_addons_the_first_of_which_halts, _a_handler_for_another_addon,
        _a_handler_for_an_addon_before, _a_child_of_its_own, _an_equal_addon_in_the_place_of_one, _an_addon_less,
    ],
)  # fmt: skip
def test_what_changes_while_a_handler_runs_is_noticed_when_mitmproxy_notices_it(act: Callable[..., None]) -> None:
    async def heard(put_on: Callable[[], Any]) -> Called:
        called: Called = []
        with put_on(), taddons.context(loadcore=False) as context:
            equal, last = Equal("equal", "waits", called, []), Each("last", "nothing", called, [])
            addons = Each("first", "nothing", called, []), Acts(called, partial(act, called)), equal, last
            context.master.addons.add(*addons)
            for _ in range(3):
                await context.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        return called

    assert asyncio.run(heard(_PutOn)) == asyncio.run(heard(_Stock))


def test_an_addon_whose_attributes_cannot_be_asked_for_stops_no_other() -> None:
    async def heard(put_on: Callable[[], Any]) -> Called:
        called: Called = []
        with put_on(), _logged() as logged, taddons.context(loadcore=False) as context:
            for addon in Each("first", "notes", called, []), Faulty(), Each("last", "notes", called, []):
                context.master.addons.chain.append(addon)
            await context.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        assert [record.getMessage() for record in logged.records] == ["Addon error: 'request'"]
        return called

    assert asyncio.run(heard(_PutOn)) == asyncio.run(heard(_Stock)) == [("first", "notes"), ("last", "notes")]


@pytest.mark.parametrize("put_on", [_Stock, _PutOn])
@in_loop
async def test_an_options_error_is_not_logged_but_raised(put_on: Callable[[], Any]) -> None:
    class Refuses:
        def response(self, flow: object) -> None:
            raise exceptions.OptionsError("no")

    with put_on(), taddons.context(Refuses(), loadcore=False) as context, pytest.raises(exceptions.OptionsError):
        await context.master.addons.trigger_event(HttpResponseHook(tflow.tflow()))


@in_loop
async def test_an_addon_that_asks_for_updates_is_told_of_every_flow_event() -> None:
    seen: list[object] = []

    class Views:
        def update(self, flows: list[object]) -> None:
            seen.extend(flows)

    flow = tflow.tflow()
    with _PutOn(), taddons.context(Views(), loadcore=False) as context:
        await context.master.addons.handle_lifecycle(HttpRequestHook(flow))

    assert seen == [flow]
