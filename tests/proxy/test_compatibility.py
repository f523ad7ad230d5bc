"""A mitmproxy that is not the one we know is noticed before anything passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons import clientplayback
from mitmproxy.proxy import events
from mitmproxy.proxy.layers import http as host, tcp

from patchbay.proxy import compatibility, upstream_stream


def test_this_mitmproxy_is_the_one_we_know() -> None:
    compatibility.check()

    assert not upstream_stream.logger.disabled


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, name, _ in compatibility._RELIED_ON if not name.startswith("_")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_renamed_method_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises((RuntimeError, AttributeError)):
        compatibility.check()


@pytest.mark.parametrize("file", compatibility._RELIED_ON_BY)
def test_the_file_that_is_named_uses_what_it_relies_on(file: str) -> None:
    source = Path(compatibility.__file__).with_name(f"{file}.py").read_text(encoding="utf-8")

    for owner, _, names in compatibility._RELIED_ON_BY[file]:
        assert [
            name for name in names.split() if name not in source and owner.__name__.lower() not in source.lower()
        ] == []


def test_other_parameters_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.HttpStream, "send_response", lambda self, already_streamed, trailers: None)

    with pytest.raises(RuntimeError, match=r"send_response takes \(self already_streamed trailers\)"):
        compatibility.check()


def test_a_name_of_ours_that_became_the_host_s_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.HttpStream, "upstream_open", True, raising=False)

    with pytest.raises(RuntimeError, match="upstream_open"):
        compatibility.check()


def _key_left_out(self: Any, command: Any) -> Any:
    return command


def _never_next(self: Any, reaction: str, failure: str = "") -> Any:
    yield from self._release()


def _open_gate(self: Any) -> Any:
    return (yield from host.HttpStream.make_server_connection(self))


@pytest.mark.parametrize(
    ("name", "broken", "noticed"),
    [
        ("_gated", _key_left_out, "copy for the wire"),
        ("_carry_out", _never_next, "reached the client"),
        ("make_server_connection", _open_gate, "without a lease"),
    ],
)
def test_what_no_longer_works_is_noticed(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., Any], noticed: str
) -> None:
    monkeypatch.setattr(upstream_stream.PatchbayStream, name, broken)

    with pytest.raises(RuntimeError, match=noticed):
        compatibility.check()


def test_replays_that_are_made_elsewhere_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They skip `next_layer`, so one that our layer does not get into would go out without an account."""

    async def playback(self: Any) -> None: ...

    monkeypatch.setattr(clientplayback.ClientPlayback, "playback", playback)

    with pytest.raises(RuntimeError, match="replays"):
        compatibility.check()


def test_messages_that_pass_unseen_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_stream.PatchbayStream, "flow_done", _as_plain_tcp)

    with pytest.raises(RuntimeError, match="a message is not shown"):
        compatibility.check()


_FLOW_DONE = host.HttpStream.flow_done


def _as_plain_tcp(self: Any) -> Any:
    if self.flow.response.status_code != 101:
        yield from _FLOW_DONE(self)
        return
    self.flow.websocket = None
    self.child_layer = tcp.TCPLayer(self.context)
    self._handle_event = self.passthrough
    yield from self.child_layer.handle_event(events.Start())
