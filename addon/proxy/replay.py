"""Replays: mitmproxy sends a flow again past every layer that `next_layer` puts in place, so ours is put in here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from mitmproxy import http
from mitmproxy.addons import clientplayback
from mitmproxy.options import Options

from .. import clients
from ..exchange import Exchange
from ..router import Router
from ..values.decision import Decision
from ..values.http import Client, PriorServing
from . import stored_flows, upstream_layer

logger = logging.getLogger(__name__)

_THEIRS = clientplayback.ReplayHandler
_running: WeakValueDictionary[str, Replay] = WeakValueDictionary()


class Replay(_THEIRS):
    """A replay through our layer: it gets an account, a fresh request id and a real credential, like any request."""

    def __init__(self, flow: http.HTTPFlow, options: Options) -> None:
        super().__init__(flow, options)
        upstream_layer.adopt(self.layer)
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
    Return on whose behalf *flow* is replayed: the client that sent it first, as far as the flow tells.

    The client has its present rights and the scope that it had. The user at the proxy needs no client key for a replay.
    """
    name, scope = stored_flows.client(flow), stored_flows.scope(flow)
    if found := clients.of_name(name, known, secret):
        return found if scope is None else replace(found, scope=scope)
    return Client(scope or b"", may_pin=True)


def served(flow: http.HTTPFlow, router: Router, key: bytes) -> PriorServing | None:
    """Return how *flow* was served before, None when it is no replay; *key* is the master key."""
    if flow.is_replay is None:
        return None
    return stored_flows.served(flow, key, ours=router.is_own_id(stored_flows.request_id(flow)))


def remark(flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
    """Say in the log and the comment of a replayed *flow* that another account or session served it than before."""
    before = exchange.request.replay
    if before is None or not before.account or not decision.account:
        return
    if why := _differs(before, exchange, decision):
        logger.warning("%s replay: %s", decision.request_id, why)
        flow.comment += f" · replay: {why}"


def _differs(before: PriorServing, exchange: Exchange, decision: Decision) -> str:
    if exchange.prior_serving is None:
        return f"it was edited into another conversation than the one {before.account} served"
    if decision.account != before.account:
        reasons = {each.account: each.reason for each in exchange.candidates}
        tried = next((each.outcome for each in decision.attempts if each.account == before.account), "")
        return f"{before.account} served it before, and cannot now ({tried or reasons.get(before.account) or 'gone'})"
    if before.session_id and decision.session_id != before.session_id:
        return "the upstream session it had is in use"
    return ""
