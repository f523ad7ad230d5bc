"""A mitmproxy that is not the one we know is noticed before anything passes."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons import clientplayback
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.layers import http as mitm, tcp
from mitmproxy.proxy.layers.http import HttpResponseHook

from patchbay.proxy import compatibility, upstream_stream
from patchbay.proxy.layer_rig import LayerRig


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


def test_what_one_file_alone_overrides_stands_with_that_file() -> None:
    folder = Path(compatibility.__file__).parent
    overrides = {file: set(re.findall(r"def (\w+)\(", (folder / f"{file}.py").read_text("utf-8")))
                 for file in compatibility._RELIED_ON_BY}  # fmt: skip
    for file, rows in compatibility._RELIED_ON_BY.items():
        relied_on = {name for owner, _, names in rows if owner is mitm.HttpStream for name in names.split()}
        assert relied_on & set().union(*overrides.values()) <= overrides[file]


@pytest.mark.parametrize(
    ("file", "owner", "name"),
    [(file, owner, name) for file, rows in compatibility._READ_BY.items() for owner, names in rows
     for name in names.split()],
)  # fmt: skip
def test_an_attribute_that_is_gone_is_noticed(
    monkeypatch: pytest.MonkeyPatch, file: str, owner: type, name: str
) -> None:
    source = Path(compatibility.__file__).with_name(f"{file}.py").read_text(encoding="utf-8")
    changed = type(owner.__name__, (owner,), {"__init__": lambda self: None, "__annotations__": {}})
    monkeypatch.setattr(compatibility, "_READ_BY", {file: ((changed, name),)})

    assert re.search(rf"\b{name}\b", source)
    with pytest.raises(RuntimeError, match=f"{owner.__name__}.{name} is gone"):
        compatibility.check()


def test_every_private_part_that_is_used_is_checked() -> None:
    """What begins with an underscore belongs to mitmproxy, its libraries or asyncio; asyncio's are excepted."""
    folder = Path(compatibility.__file__).parent
    used = {
        (file.stem, node.attr)
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and not _is_own(node.value)
    }
    checked = {
        *((file, name) for file, rows in compatibility._RELIED_ON_BY.items() for _, _, names in rows
          for name in names.split()),
        *((file, name) for file, rows in compatibility._READ_BY.items() for _, names in rows for name in names.split()),
    }  # fmt: skip
    of_asyncio = {("client_connections", "_paused"), ("graceful_shutdown", "_run")}

    assert used - checked == of_asyncio


def _is_own(value: ast.expr) -> bool:
    return ast.unparse(value) in ("self", "cls", "super()")


def test_other_parameters_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitm.HttpStream, "send_response", lambda self, already_streamed, trailers: None)

    with pytest.raises(RuntimeError, match=r"send_response takes \(self already_streamed trailers\)"):
        compatibility.check()


def test_a_name_of_ours_that_became_the_host_s_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mitm.HttpStream, "upstream_open", True, raising=False)

    with pytest.raises(RuntimeError, match="upstream_open"):
        compatibility.check()


def _key_left_out(self: Any, command: Any) -> Any:
    return command


def _never_next(self: Any, reaction: str, failure: str = "") -> Any:
    yield from self._release()


def _open_gate(self: Any) -> Any:
    return (yield from mitm.HttpStream.make_server_connection(self))


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


_FLOW_DONE = mitm.HttpStream.flow_done


def _as_plain_tcp(self: Any) -> Any:
    if self.flow.response.status_code != 101:
        yield from _FLOW_DONE(self)
        return
    self.flow.websocket = None
    self.child_layer = tcp.TCPLayer(self.context)
    self._handle_event = self.passthrough
    yield from self.child_layer.handle_event(events.Start())


DEMANDED = [
    "a connection is made for a request without a lease",
    "a request without a lease is not answered with an error",
    "the copy for the wire is not what is sent",
    "an answer does not arrive",
    "a key is in the flow",
    "other hooks: ['requestheaders', 'request', 'responseheaders', 'response']",
    "the copy for the wire is not what is sent",
    "a held answer reached the client",
    "a request is not sent again",
    "Layer._paused_event_queue is gone",
    "an upgrade goes up without its credential",
    "a message is not shown before it goes on",
    "a message does not arrive",
    "a ping does not arrive",
    "a message that was dropped goes up",
    "a message above the bound does not end a WebSocket",
    "the copy for the wire is not what is sent",
    "a connection is not used again",
    "a kept connection that closed is not replaced",
    "what a kept connection did not answer is not sent again",
    "what a kept connection did not answer counts as an attempt",
    "a stream that a GOAWAY leaves out is not sent again",
    "a stream that a GOAWAY leaves in is not read to its end",
    "a connection that goes away is not closed behind its last stream",
]


def test_all_of_it_is_demanded_and_no_error_is_logged_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    demanded: list[tuple[bool, str]] = []
    quiet: list[bool] = []

    def demand(holds: bool, what: str) -> None:
        demanded.append((bool(holds), what))
        quiet.append(upstream_stream.logger.disabled)

    monkeypatch.setattr(compatibility, "_demand", demand)
    compatibility.check()

    assert all(holds for holds, _ in demanded)
    names = len(demanded) - len(DEMANDED)
    assert [what for _, what in demanded[names:]] == DEMANDED
    attributes = [name for rows in compatibility._READ_BY.values() for _, names in rows for name in names.split()]
    assert names == 2 * len(compatibility._RELIED_ON) + len(attributes) + 2
    assert quiet == [False] * names + [True] * len(DEMANDED)


def test_each_name_is_demanded_with_its_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    demanded: list[str] = []
    monkeypatch.setattr(compatibility, "_demand", lambda holds, what: demanded.append(what))
    monkeypatch.delattr(mitm.HttpStream, "send_response")
    compatibility._names()

    assert "HttpStream.send_response is gone" in demanded
    assert "HttpStream.send_response takes () instead of (self already_streamed)" in demanded
    assert demanded[-3:] == [
        "BufferedH2Connection.stream_buffers is gone",
        "replays are not made by clientplayback.ReplayHandler",
        "HttpStream has names of its own that we use: ",
    ]


def test_errors_are_logged_again_when_the_check_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LayerRig, "taken", lambda self, connection: b"")
    with pytest.raises(RuntimeError, match=r"^a request without a lease is not answered with an error$"):
        compatibility.check()

    assert not upstream_stream.logger.disabled


OWN_CLASSES = upstream_stream.PatchbayStream.__mro__[: upstream_stream.PatchbayStream.__mro__.index(mitm.HttpStream)]


@pytest.mark.parametrize("own", OWN_CLASSES, ids=lambda own: own.__name__)
def test_a_name_of_each_class_of_ours_that_became_the_host_s_is_noticed(
    monkeypatch: pytest.MonkeyPatch, own: type
) -> None:
    known = {name for _, name, _ in compatibility._RELIED_ON}
    others = {name for each in OWN_CLASSES if each is not own for name in vars(each)}
    name = min({name for name in vars(own) if not name.startswith("__")} - known - others - set(dir(mitm.HttpStream)))
    monkeypatch.setattr(mitm.HttpStream, name, None, raising=False)

    with pytest.raises(RuntimeError, match=f"HttpStream has names of its own that we use: {name}$"):
        compatibility.check()


def test_several_names_are_told_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("upstream_open", "answer_filter"):
        monkeypatch.setattr(mitm.HttpStream, name, None, raising=False)

    with pytest.raises(RuntimeError, match=r"that we use: answer_filter, upstream_open$"):
        compatibility.check()


class _Keeps(LayerRig):
    """Drops no message."""

    def run_hook(self, hook: Any) -> None:
        self.drops = False
        super().run_hook(hook)


class _ShowsTheKey(LayerRig):
    """A key that comes to stand in the flow."""

    def run_hook(self, hook: Any) -> None:
        super().run_hook(hook)
        if hook.name == "response" and self.flow:
            self.flow.comment = compatibility.KEY


class _NeverAgain(LayerRig):
    """No connection is used twice, as where each closes behind its answer."""

    def carry_out(self, command: Any) -> Any:
        done = super().carry_out(command)
        if isinstance(command, HttpResponseHook) and self.server:
            self.server.state = ConnectionState.CLOSED
        return done


@pytest.mark.parametrize(
    ("rig", "noticed"),
    [
        (_Keeps, "a message that was dropped goes up"),
        (_ShowsTheKey, "a key is in the flow"),
        (_NeverAgain, "a connection is not used again"),
    ],
)
def test_a_rig_in_which_it_is_otherwise_is_noticed(
    monkeypatch: pytest.MonkeyPatch, rig: type[LayerRig], noticed: str
) -> None:
    monkeypatch.setattr(compatibility, "LayerRig", rig)

    with pytest.raises(RuntimeError, match=noticed):
        compatibility.check()
