"""A mitmproxy that is not the one we know is noticed before anything passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy.proxy.layers import http as host

from patchbay.proxy import internals, wire


def test_this_mitmproxy_is_the_one_we_know() -> None:
    internals.check()

    assert not wire.logger.disabled


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, name, _ in internals._RELIED_ON if not name.startswith("_")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_renamed_method_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises((RuntimeError, AttributeError)):
        internals.check()


def test_other_parameters_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.HttpStream, "send_response", lambda self, already_streamed, trailers: None)

    with pytest.raises(RuntimeError, match=r"send_response takes \(self already_streamed trailers\)"):
        internals.check()


def test_a_name_of_ours_that_became_the_host_s_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.HttpStream, "upstream_open", True, raising=False)

    with pytest.raises(RuntimeError, match="upstream_open"):
        internals.check()


def _key_left_out(self: Any, command: Any) -> Any:
    return command


def _never_next(self: Any, reaction: str, failure: str = "") -> Any:
    yield from self._release()


def _open_gate(self: Any) -> Any:
    return (yield from host.HttpStream.make_server_connection(self))


@pytest.mark.parametrize(
    ("name", "broken", "noticed"),
    [
        ("_dressed", _key_left_out, "copy for the wire"),
        ("_settle", _never_next, "reached the client"),
        ("make_server_connection", _open_gate, "without a route"),
    ],
)
def test_what_no_longer_works_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., Any], noticed: str
) -> None:
    monkeypatch.setattr(wire.PatchbayStream, name, broken)

    with pytest.raises(RuntimeError, match=noticed):
        internals.check()
