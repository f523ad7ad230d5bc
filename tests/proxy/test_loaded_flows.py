"""Flows that mitmproxy loads from a file are judged at the end."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from types import SimpleNamespace

import pytest
from mitmproxy import io
from mitmproxy.http import HTTPFlow

from patchbay.proxy import loaded_flows, stored_flows
from patchbay.proxy.loaded_flows import LoadedFlows
from patchbay.router import mint_of

from .test_stored_flows import BEFORE, KEY


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> list[HTTPFlow]:
    path = tmp_path_factory.mktemp("loaded") / "day.mitm"
    path.write_bytes(gzip.decompress(BEFORE.read_bytes()))
    with path.open("rb") as file:
        return [flow for flow in io.FlowReader(file).stream() if isinstance(flow, HTTPFlow)]


def taken(flows: list[HTTPFlow], rfile: str) -> LoadedFlows:
    loaded = LoadedFlows(mint_of(KEY))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loaded_flows, "ctx", SimpleNamespace(options=SimpleNamespace(rfile=rfile)))
        for flow in flows:
            loaded.take(flow)
    return loaded


def test_each_exchange_gets_its_verdict_once(flows: list[HTTPFlow], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = [flow.get_state() for flow in flows]
    loaded = taken(flows, "day.mitm")
    loaded.log_verdicts()
    loaded.log_verdicts()

    assert Counter(record.levelno for record in caplog.records) == {logging.CRITICAL: 13, logging.INFO: 27}
    assert all(message.startswith("pb1-") for message in caplog.messages)
    assert not any("said then" in message for message in caplog.messages)
    assert [flow.get_state() for flow in flows] == before


def test_a_verdict_that_differs_from_the_one_of_then_says_so(
    flows: list[HTTPFlow], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    flow = next(
        each for each in flows if each.metadata.get("patchbay.verdict") == "clean" and not each.websocket
    ).copy()
    flow.metadata["patchbay.verdict"] = "suspect"
    taken([flow], "day.mitm").log_verdicts()

    assert caplog.messages and all("(said then: suspect)" in message for message in caplog.messages)


def test_what_is_live_or_not_from_a_file_is_not_judged(flows: list[HTTPFlow], monkeypatch: pytest.MonkeyPatch) -> None:
    live = flows[0].copy()
    live.live = True
    assert taken([live], "day.mitm")._exchanges == []
    assert taken(flows, "")._exchanges == []

    monkeypatch.setattr(stored_flows, "LIMIT", 2)
    assert len(taken([flow for flow in flows if not flow.websocket], "day.mitm")._exchanges) == 2
