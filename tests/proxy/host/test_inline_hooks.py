"""Events, hooks and writes of a connection come in the order in which mitmproxy's own handler brings them."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st
from mitmproxy import exceptions, flow as mitm_flow
from mitmproxy.proxy import commands, events, layer, mode_servers, server
from mitmproxy.proxy.layers.http import HttpRequestHook, HttpResponseHook
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow
from mitmproxy.utils import asyncio_utils

from patchbay.proxy.host.inline_hooks import INLINE

Log = list[object]
HOOKS: dict[str, type[Any]] = {"runs": HttpRequestHook, "waits": HttpResponseHook}
STEPS = st.sampled_from(("runs", "waits", "send", "log", "wake", "close upstream"))
EVENTS = st.lists(st.lists(STEPS, max_size=4), min_size=1, max_size=4)


class Scripted(layer.Layer):
    """A layer that follows a script: for each event that comes from outside, some commands."""

    def __init__(self, context: Any, script: list[list[str]], seen: Log, flow: mitm_flow.Flow) -> None:
        super().__init__(context)
        self._script, self._seen, self._flow = iter(script), seen, flow

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        self._seen.append(type(event).__name__)
        if not isinstance(event, events.DataReceived):
            return
        for number, step in enumerate(next(self._script)):
            if step in HOOKS:
                yield HOOKS[step](self._flow)
            elif step == "send":
                yield commands.SendData(self.context.client, b"%d" % number)
            elif step == "log":
                yield commands.Log("said", logging.DEBUG)
            elif step == "wake":
                yield commands.RequestWakeup(0)
            else:
                yield commands.CloseConnection(self.context.server)  # it was never opened
            self._seen.append(f"behind {step}")


class Handlers:
    def __init__(self, seen: Log) -> None:
        self._seen = seen

    def request(self, flow: object) -> None:
        self._seen.append("request")

    async def response(self, flow: object) -> None:
        self._seen.append("response begins")
        await asyncio.sleep(0)
        self._seen.append("response ends")


class Writer:
    def __init__(self, seen: Log) -> None:
        self._seen = seen

    def write(self, data: bytes) -> None:
        self._seen.append(data)

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)


@contextmanager
def _put_on() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, by in INLINE.replaced:
            patch.setattr(owner, name, by, raising=False)
        yield


@contextmanager
def _stock() -> Iterator[None]:
    yield


async def _ran(
    script: list[list[str]], way: Callable[[], Any], addons: Iterable[object] = (), *, at_once: bool = False
) -> Log:
    seen: Log = []
    with way(), taddons.context(Handlers(seen), *addons) as ctx, asyncio_utils.set_eager_task_factory():
        reader, writer = asyncio.StreamReader(), Writer(seen)
        made = mode_servers.ProxyConnectionHandler(ctx.master, reader, writer, ctx.options, ProxyMode.parse("regular"))
        made.layer = Scripted(made.layer.context, script, seen, tflow.tflow())
        for _ in script:
            arrived = asyncio.ensure_future(made.server_event(events.DataReceived(made.client, b"")))
            for _ in range(0 if at_once else 12):
                await asyncio.sleep(0)
        for _ in range(40):
            await asyncio.sleep(0)
        await arrived
    return seen


@given(EVENTS)
def test_the_order_is_mitmproxys(script: list[list[str]]) -> None:
    assert asyncio.run(_ran(script, _put_on)) == asyncio.run(_ran(script, _stock))


@given(EVENTS)
def test_what_comes_at_once_is_all_handled_in_turn(script: list[list[str]]) -> None:
    ours, stock = (asyncio.run(_ran(script, way, at_once=True)) for way in (_put_on, _stock))

    assert sorted(map(str, ours)) == sorted(map(str, stock))
    assert [each for each in ours if each == "DataReceived" or isinstance(each, bytes)] == [
        each for each in stock if each == "DataReceived" or isinstance(each, bytes)
    ]


def test_an_event_from_inside_a_hook_follows_the_present_one() -> None:
    async def ran() -> Log:
        seen: Log = []

        class Sends:
            async def request(self, flow: object) -> None:
                self.sent = asyncio.ensure_future(self.handler.server_event(events.Wakeup(None)))  # type: ignore[arg-type]
                seen.append("hook over")

            handler: Any = None

        sends = Sends()
        with _put_on(), taddons.context(sends) as ctx, asyncio_utils.set_eager_task_factory():
            made = mode_servers.ProxyConnectionHandler(
                ctx.master, asyncio.StreamReader(), Writer(seen), ctx.options, ProxyMode.parse("regular")
            )
            sends.handler = made
            made.layer = Scripted(made.layer.context, [["runs", "send"]], seen, tflow.tflow())
            await made.server_event(events.DataReceived(made.client, b""))
        return seen

    assert asyncio.run(ran()) == ["DataReceived", "hook over", "behind runs", b"1", "behind send", "Wakeup"]


class ClosesAtOnce(layer.Layer):
    """A layer that closes its client when a hook is over, at the first event of a kind."""

    def __init__(self, context: Any, kind: type[events.Event], hook: type[Any]) -> None:
        super().__init__(context)
        self._kind, self._hook = kind, hook

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        if isinstance(event, self._kind):
            yield self._hook(tflow.tflow())
            yield commands.CloseConnection(self.context.client)


@pytest.mark.parametrize("way", [_put_on, _stock])
@pytest.mark.parametrize("hook", [HttpRequestHook, HttpResponseHook])
@pytest.mark.parametrize("kind", [events.Start, events.DataReceived])
def test_a_client_that_is_closed_behind_the_hook_of_a_first_event_is_closed(
    way: Callable[[], Any], hook: Any, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed: Log = []

    class Closes(Writer):
        def close(self) -> None:
            closed.append("closed")

        async def drain(self) -> None:
            pass

    async def ran() -> None:
        with way(), taddons.context(Handlers([])) as ctx, asyncio_utils.set_eager_task_factory():
            reader = asyncio.StreamReader()
            if kind is events.DataReceived:
                reader.feed_data(b"early")
            made = mode_servers.ProxyConnectionHandler(
                ctx.master, reader, Closes([]), ctx.options, ProxyMode.parse("regular")
            )
            made.layer = ClosesAtOnce(made.layer.context, kind, hook)
            await asyncio.wait_for(made.handle_client(), 10)

    asyncio.run(ran())

    assert closed == ["closed"]
    assert "crashed" not in caplog.text


@pytest.mark.parametrize("script", [["runs"], ["waits", "runs"]])
def test_behind_a_handler_that_raises_what_is_no_exception_events_wait_for_nothing(script: list[str]) -> None:
    class Cancels:
        def request(self, flow: object) -> None:
            raise asyncio.CancelledError

    async def ran() -> None:
        seen: Log = []
        with _put_on(), taddons.context(Handlers(seen), Cancels()) as ctx, asyncio_utils.set_eager_task_factory():
            made = mode_servers.ProxyConnectionHandler(
                ctx.master, asyncio.StreamReader(), Writer(seen), ctx.options, ProxyMode.parse("regular")
            )
            made.layer = Scripted(made.layer.context, [script], seen, tflow.tflow())
            with suppress(asyncio.CancelledError):
                await made.server_event(events.DataReceived(made.client, b""))
            for _ in range(20):
                await asyncio.sleep(0)
            assert "request" in seen
            assert "_patchbay_following" not in vars(made)

    asyncio.run(ran())


CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("CONTEXT", default="unset")


def test_what_a_hook_sets_in_its_context_is_seen_by_what_follows_from_it_alone() -> None:
    class Sets:
        def __init__(self, seen: Log) -> None:
            self._seen, self._number = seen, 0

        def request(self, flow: object) -> None:
            self._seen.append(("request", CONTEXT.get()))
            self._number += 1
            CONTEXT.set(f"of {self._number}")

        async def response(self, flow: object) -> None:
            await asyncio.sleep(0)
            self._seen.append(("response", CONTEXT.get()))

    async def ran(way: Callable[[], Any]) -> Log:
        seen: Log = []
        return await _ran([["runs", "waits", "runs"]] * 3, way, [Sets(seen)]) and seen

    ours = asyncio.run(ran(_put_on))
    assert ours == asyncio.run(ran(_stock))
    assert [value for name, value in ours if name == "request"][::2] == ["unset"] * 3  # type: ignore[misc]


def test_a_flow_that_is_intercepted_goes_on_when_it_is_resumed() -> None:
    async def ran() -> tuple[Log, Log]:
        seen: Log = []

        class Intercepts:
            def request(self, flow: mitm_flow.Flow) -> None:
                flow.intercept()

        with _put_on(), taddons.context(Intercepts()) as ctx, asyncio_utils.set_eager_task_factory():
            made = mode_servers.ProxyConnectionHandler(
                ctx.master, asyncio.StreamReader(), Writer(seen), ctx.options, ProxyMode.parse("regular")
            )
            flow = tflow.tflow()
            made.layer = Scripted(made.layer.context, [["runs", "send"]], seen, flow)
            await made.server_event(events.DataReceived(made.client, b""))
            await asyncio.sleep(0)
            before = [*seen]
            flow.resume()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return before, seen

    before, seen = asyncio.run(ran())
    assert before == ["DataReceived"]
    assert seen == ["DataReceived", "behind runs", b"1", "behind send"]


@pytest.mark.parametrize("way", [_put_on, _stock])
def test_a_layer_that_fails_is_logged_and_the_next_event_is_handled(
    way: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def ran() -> Log:
        return await _ran([["send", "unknown"], ["send"]], way)

    class Unknown(commands.Command):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "CloseConnection", lambda connection: Unknown())
        seen = asyncio.run(ran())

    assert seen.count(b"0") == 2
    assert "mitmproxy has crashed!" in caplog.text


def test_a_hook_that_refuses_an_option_stops_its_event_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Refuses:
        def request(self, flow: object) -> None:
            raise exceptions.OptionsError("no")

    seen = asyncio.run(_ran([["runs", "send"], ["send"]], _put_on, [Refuses()]))

    assert "behind runs" not in seen  # as with mitmproxy, which waits for that hook


def test_a_replay_keeps_its_own_way() -> None:
    from mitmproxy.addons import clientplayback

    with _put_on():
        assert clientplayback.ReplayHandler.server_event is server.ConnectionHandler.server_event
