"""The commands, asked as mitmproxy's command bar and the control socket ask them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.http import HTTPFlow

from patchbay.proxy import control_socket
from patchbay.proxy.commands import PatchbayCommands
from patchbay.proxy.control_socket import ControlFailed
from patchbay.proxy.hooks import Patchbay
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Headers

from .addon import answer, ask, driver, flow, in_loop, patchbay_of_a_fixture, service


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[Patchbay]:
    with patchbay_of_a_fixture(tmp_path) as made:
        yield made


def commands(addon: Patchbay) -> PatchbayCommands:
    (found,) = addon.addons
    return found


async def exchanged(addon: Patchbay, **headers: str) -> HTTPFlow:
    """Let an exchange pass, in which the upstream tells its tokens."""
    asked = await ask(addon, flow(**headers))
    exchange, router = driver(asked).exchange, service(addon).router
    assert exchange
    usage = b'{"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}'
    said = b'[{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]'
    body = b'{"id": "chatcmpl-x", "model": "m", "choices": %s, "usage": %s}' % (said, usage)
    for event in (Head(200, Headers((("content-type", "application/json"),))), Chunk(body), End()):
        router.answered(exchange, event, time.time())
    answer(asked, body)
    addon.responseheaders(asked)
    await addon.response(asked)
    return asked


@in_loop
async def test_habits_are_listed_and_forgotten(addon: Patchbay) -> None:
    asks = commands(addon)
    assert asks.habits() == []
    assert asks.reset_habits("api.example.com") == "nothing is known of api.example.com"

    router = service(addon).router
    asked = await ask(addon, flow())
    exchange = driver(asked).exchange
    assert exchange
    for event in (
        Head(200, Headers((("content-type", "application/json"),))),
        Chunk(b'{"id": "x", "model": "m"}'),
        End(),
    ):
        router.answered(exchange, event, 1.0)
    router.close(exchange, "", 2.0, status=200)
    lines = asks.habits()
    assert lines == ["http://127.0.0.1:9 strange-id openai_chat /chat/completions: kept 0, broken 1"]
    assert asks.reset_habits(lines[0].split()[0]) == f"{len(lines)} rules of {lines[0].split()[0]} are forgotten"
    assert asks.habits() == [lines[0].replace("broken 1", "broken 0")]


@in_loop
async def test_an_account_that_is_woken_is_named(addon: Patchbay) -> None:
    assert commands(addon).wake("three") == "there is no account three; there are: one, two"
    assert commands(addon).wake("one") == "account one may be used again"


@in_loop
async def test_the_status_counts_every_exchange(addon: Patchbay) -> None:
    await exchanged(addon, x_session_id="s")
    await exchanged(addon, x_session_id="t")
    found: Any = await commands(addon).run("status", ())

    totals = found.totals
    assert (found.pid, found.mode, totals.exchanges, totals.failed, totals.moved) == (os.getpid(), "serve", 2, 0, 0)
    assert (totals.tokens.input, totals.tokens.cached, totals.tokens.output) == (18, 8, 4)
    assert sum(totals.accounts.values()) == sum(totals.verdicts.values()) == 2


@in_loop
async def test_a_command_that_is_not_there_or_is_called_otherwise_is_refused(addon: Patchbay) -> None:
    with pytest.raises(ControlFailed, match=r"no command nothing; there are: .*status"):
        await commands(addon).run("nothing", ())
    with pytest.raises(ControlFailed, match="wake: missing a required argument"):
        await commands(addon).run("wake", ())


@in_loop
async def test_the_socket_is_there_while_the_proxy_runs(addon: Patchbay, tmp_path: Path) -> None:
    asks = commands(addon)
    asks.running()
    await asyncio.wait_for(asks._start or asyncio.sleep(0), 10)
    (found,) = control_socket.running(tmp_path / "state", {})

    told = await asyncio.to_thread(control_socket.ask, found.path, "status")
    assert (found.pid, told["pid"], told["totals"]["exchanges"]) == (os.getpid(), os.getpid(), 0)

    asks.done()
    assert not list((tmp_path / "state").glob("control*"))
