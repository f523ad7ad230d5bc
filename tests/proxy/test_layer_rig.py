"""The rig of the self-check: bytes go through the real layer, and its driver decides as it promises."""

from __future__ import annotations

import pytest
from mitmproxy.proxy import events

from patchbay.proxy.layer_rig import KEY, LayerRig, StubDriver
from patchbay.values.answer import End, Failure, Head
from patchbay.values.http import Headers


@pytest.mark.parametrize("ready", [True, False])
def test_a_request_goes_up_when_its_driver_is_ready(ready: bool) -> None:
    rig = LayerRig(ready)
    rig.ask()

    assert (rig.server is not None) is ready
    assert (KEY.encode() in rig.taken(rig.server)) is ready
    assert (b" 502 " in rig.taken(rig.client)) is not ready


def test_bytes_are_taken_once() -> None:
    rig = LayerRig(True)
    rig.ask()

    assert rig.taken(rig.server).endswith(b"\r\n\r\nHI")
    assert rig.taken(rig.server) == b""


def test_the_next_attempt_has_another_key() -> None:
    rig = LayerRig(True)
    rig.ask()
    assert rig.server
    rig.taken(rig.server)
    rig.feed(events.DataReceived(rig.server, b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno"))

    assert f"{KEY}-two".encode() in rig.taken(rig.server)
    assert rig.hooks == ["requestheaders", "request", "patchbay_next"]


@pytest.mark.parametrize(("status", "reaction"), [(200, "deliver"), (399, "deliver"), (400, "hold"), (500, "hold")])
def test_the_driver_holds_errors(status: int, reaction: str) -> None:
    assert StubDriver(True).answered(Head(status, Headers())) == reaction


def test_the_driver_tries_again_after_a_failure_and_a_held_answer() -> None:
    driver = StubDriver(True)

    assert driver.answered(Failure("reset", "")) == driver.answered(End()) == "next"
