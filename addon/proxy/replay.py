"""Replays: mitmproxy sends a flow again past every layer that `next_layer` puts in place, so ours is put in here."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from mitmproxy import http
from mitmproxy.addons import clientplayback
from mitmproxy.options import Options

from .. import clients
from ..values import Client, Headers, Refusal
from . import wire

_THEIRS = clientplayback.ReplayHandler
_running: WeakValueDictionary[str, Replay] = WeakValueDictionary()


class Replay(_THEIRS):
    """A replay through our layer: it gets an account, a fresh request id and a real credential, like any request."""

    def __init__(self, flow: http.HTTPFlow, options: Options) -> None:
        super().__init__(flow, options)
        wire.adopt(self.layer)
        _running[flow.id] = self


def install() -> None:
    """Let replays go through our layer from now on."""
    clientplayback.ReplayHandler = Replay  # type: ignore[misc]


def remove() -> None:
    """Leave replays to mitmproxy. What they send then names no account's secret, since no flow holds one."""
    clientplayback.ReplayHandler = _THEIRS  # type: ignore[misc]


def handler(flow: http.HTTPFlow) -> Replay | None:
    """Return what replays *flow* now, if it is being replayed."""
    return _running.get(flow.id) if flow.is_replay == "request" else None


def client(flow: http.HTTPFlow, known: Sequence[clients.Known], secret: bytes) -> Client:
    """
    Return on whose behalf *flow* is replayed: the client that sent it first, as far as its record tells.

    Whoever sits at the proxy replays it, and needs no client's key for that.
    """
    name = flow.metadata.get("patchbay.client")
    for one in known:
        if one.key.name == name:
            sent = Headers((("x-api-key", one.value.decode("utf-8", "surrogateescape")),))
            found = clients.identify(sent, "/", (one,), secret, loopback=True)
            if not isinstance(found, Refusal):
                return found
    return Client(may_pin=True)
