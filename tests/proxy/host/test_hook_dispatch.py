"""Hooks from the cache reach the same handlers, in the same order, with the same errors, as mitmproxy's own."""

from __future__ import annotations

import asyncio
import json as request  # a module under the name of a hook, which is no handler
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy import addonmanager, exceptions
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


async def _heard(trees: list[Any], put_on: Callable[[], Any]) -> tuple[Called, list[str]]:
    called: Called = []
    logged = _Records()
    addonmanager.logger.addHandler(logged)
    addonmanager.logger.propagate = False  # to the handler of a master whose loop is over
    with taddons.context(loadcore=False) as ctx:
        for addon in _chain(trees, called):
            ctx.master.addons.add(addon)
        with put_on():
            for _ in range(2):
                await ctx.master.addons.handle_lifecycle(HttpRequestHook(tflow.tflow()))
    addonmanager.logger.propagate = True
    addonmanager.logger.removeHandler(logged)
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
    with _PutOn(), taddons.context(loadcore=False) as ctx:
        manager, hook = ctx.master.addons, HttpRequestHook(tflow.tflow())
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
    with _PutOn(), taddons.context(loadcore=False) as ctx:
        ctx.master.addons.add(addon)
        await ctx.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        addon.request = _handler("two", "notes", called)
        await ctx.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))
        del addon.request
        await ctx.master.addons.trigger_event(HttpRequestHook(tflow.tflow()))

    assert [name for name, _ in called] == ["one", "two"]


@pytest.mark.parametrize("put_on", [_Stock, _PutOn])
@in_loop
async def test_an_options_error_is_not_logged_but_raised(put_on: Callable[[], Any]) -> None:
    class Refuses:
        def response(self, flow: object) -> None:
            raise exceptions.OptionsError("no")

    with put_on(), taddons.context(Refuses(), loadcore=False) as ctx, pytest.raises(exceptions.OptionsError):
        await ctx.master.addons.trigger_event(HttpResponseHook(tflow.tflow()))


@in_loop
async def test_an_addon_that_asks_for_updates_is_told_of_every_flow_event() -> None:
    seen: list[object] = []

    class Views:
        def update(self, flows: list[object]) -> None:
            seen.extend(flows)

    flow = tflow.tflow()
    with _PutOn(), taddons.context(Views(), loadcore=False) as ctx:
        await ctx.master.addons.handle_lifecycle(HttpRequestHook(flow))

    assert seen == [flow]
