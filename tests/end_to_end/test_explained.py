"""`patchbay explain --flow` and replays name the account and the session that a flow really had."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy import io
from mitmproxy.http import HTTPFlow
from websockets.sync.client import connect

from patchbay.cli.main import main

from ..simulator import simulator_thread
from .dialogue import DIALECTS, body, path
from .harness import certificates, ended, eventually, generic_config, main_script, proxy

KEYS = {f"sk-real-{number}-{'0123456789abcdef' * 2}": f"account-{number}" for number in range(8)}
NAMES = {name: key for key, name in KEYS.items()}
TEAM = "sk-team-0123456789abcdef"
FORMS = ("bearer", "x-api-key", "x-goog-api-key", "api-key", "query", "none", "oauth", "jwt")
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzb21lYm9keSJ9.c2lnbmF0dXJl"  # its claims: {"sub": "somebody"}
SAME = ("account", "session_id", "session", "client")
CLIENTS = f"clients: [{{name: laptop, key: {TEAM}, scope: team}}, {{name: desk, key: {TEAM}-2}}]"


def _sent(dialect: str, number: int, key: str) -> tuple[str, dict[str, str]]:
    """Return the path and the headers of a request that carries *key* in the form of *number*."""
    where, form = path(dialect, stream=number % 3 == 0), FORMS[number % len(FORMS)]
    if form == "query":
        return f"{where}{'&' if '?' in where else '?'}key={key}", {}
    headers = {
        "none": {},
        "bearer": {"authorization": f"Bearer {key}"},
        "oauth": {"authorization": f"Bearer sk-ant-oat01-{key}", "chatgpt-account-id": f"of-{number % 5}"},
        "jwt": {"authorization": f"Bearer {JWT}"},
    }
    return where, dict(headers.get(form, {form: key}))


async def _ask_all(url: str, count: int, key: str) -> None:
    """Ask in all dialects, with every form of credential, named conversations and unnamed ones, of one turn and two."""

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        dialect = DIALECTS[number // len(FORMS) % 4]
        where, headers = _sent(dialect, number, key or f"sk-client-{number % 7}-0123456789")
        if key and not {"authorization", "x-api-key"} & headers.keys() and "key=" not in where:
            headers |= {"x-api-key": key}
        if key and headers.get("authorization") not in (None, f"Bearer {key}"):
            headers |= {"authorization": f"Bearer {key}"}
        if number % 2:
            headers |= {"x-session-id": f"conversation-{number // 4}"}
        turns = [f"question {number}"] if number % 5 else [f"question {number - 1}", "An answer", "and more"]
        await client.post(where, json=body(dialect, turns, stream=number % 3 == 0), headers=headers)

    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(0, count, 8):  # some at once
            await asyncio.gather(*(ask(client, each) for each in range(number, min(count, number + 8))))


@dataclass
class Day:
    """A dump, its journal by request id, and the settings."""

    folder: Path
    url: str
    lines: dict[str, dict[str, Any]]

    @property
    def dump(self) -> Path:
        return self.folder / "day.mitm"

    def flows(self) -> list[HTTPFlow]:
        with self.dump.open("rb") as file:
            return [flow for flow in io.FlowReader(file).stream() if isinstance(flow, HTTPFlow)]


KINDS = {
    "rendezvous": ("", "", "", 40),
    "round_robin": ("strategy: round_robin", "", "", 24),
    "clients": (CLIENTS, "", TEAM, 16),
    "slots": ("", "slots: 3", "", 16),
    "one port": ("", "", "", 8),
    "shadow": ("mode: shadow", "", "", 8),
}


@pytest.fixture(scope="module", params=list(KINDS))
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    more, account, key, count = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    with simulator_thread(KEYS, echo="both", require_key="shadow" not in more) as provider:
        settings, mode = generic_config(folder, NAMES, more=more, account=account), f"reverse:{provider.url}"
        if request.param == "one port":
            settings = settings.replace("base_url: reverse", f"base_url: {provider.url}")
            mode = "reverse:http://patchbay.invalid"
        with proxy(folder, settings, "-w", str(folder / "day.mitm"), mode=mode) as running:
            if request.param == "rendezvous":  # some move to another account
                provider.fault("status", {"status": 429}, probability=0.1)
            asyncio.run(_ask_all(running.url, count, key))
            provider.mend()
            assert eventually(lambda: running.journal.count("\n") == count)
            running.interrupt()
        lines = [json.loads(line) for line in running.journal.splitlines()]
        yield Day(folder, provider.url, {line["exchange"]: line for line in lines})


def explained(folder: Path, number: int, dump: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    out = StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["explain", "--flow", str(number), "--json", "--config", str(folder / "config.yaml"), str(dump)]) == 0
    return dict(json.loads(out.getvalue()))


def test_explain_names_the_account_and_the_session_that_it_was(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: of every flow, in every dialect, with every form of credential; and the fresh pool has the same identity."""
    flows = day.flows()
    for number, flow in enumerate(flows, 1):
        told = explained(day.folder, number, day.dump, monkeypatch)
        line = day.lines[flow.metadata["patchbay.exchange"]]
        happened = told["happened"]
        assert {name: happened[name] for name in SAME} == {name: line[name] for name in SAME}
        assert happened["attempts"] == line["attempts"]
        assert told["affinity"].split(" ")[0] == line["session"], (line["tier"], told["tiers"])
        assert not any("edited" in note for note in told["notes"])
    assert len(flows) == len(day.lines)


def test_a_replay_goes_to_the_account_and_session_that_it_had(day: Day, tmp_path: Path) -> None:
    """
    T11: in another proxy that remembers nothing, under the same key; only what was served is asked for again.

    In shadow the client's own credential would have to go up, and no flow keeps it (T8): that is said, nothing is sent.
    """
    settings = (day.folder / "config.yaml").read_text().replace("/journal.jsonl", "/again.jsonl")
    (day.folder / "state" / "state.db").unlink(missing_ok=True)
    before = {flow.id: day.lines[flow.metadata["patchbay.exchange"]] for flow in day.flows()}
    again = _replayed(day.folder, settings, day.dump, tmp_path / "again.mitm")

    assert len(again) == len(before)
    for flow in again:
        line = before[flow.id]
        assert {name: flow.metadata[f"patchbay.{name}"] for name in SAME} == {name: line[name] for name in SAME}
        if line["mode"] == "shadow" and flow.response and b"credential_not_kept" in flow.response.content:
            continue
        assert flow.metadata["patchbay.exchange"] != line["exchange"]
        assert "replay:" not in flow.comment


def _replayed(folder: Path, settings: str, dump: Path, to: Path) -> list[HTTPFlow]:
    file = folder / "again.yaml"
    file.write_text(settings)
    options = ["--set", f"patchbay_config={file}", "--set", f"confdir={certificates(folder)}", "--listen-port", "0"]
    code, printed = ended(folder, "-s", main_script(), *options, "-C", str(dump), "-w", str(to))
    assert code == 0, printed
    with to.open("rb") as opened:
        return [flow for flow in io.FlowReader(opened).stream() if isinstance(flow, HTTPFlow)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """A day of few flows: three requests, and a WebSocket on which two conversations asked."""
    folder = tmp_path_factory.mktemp("small")
    with simulator_thread(KEYS, echo="both") as provider:
        mode = f"reverse:{provider.url}"
        with proxy(folder, generic_config(folder, NAMES), "-w", str(folder / "day.mitm"), mode=mode) as running:
            asyncio.run(_ask_all(running.url, 3, ""))
            url = f"ws://127.0.0.1:{running.port}/v1/responses"
            offered = ["realtime", "openai-insecure-api-key.sk-client-0123456789"]
            with connect(
                url, additional_headers=[("sec-websocket-protocol", ", ".join(offered))], proxy=None
            ) as opened:
                for key in ("first", "second", "first"):
                    asks = {"type": "response.create", "model": "sim-large", "input": "hi", "prompt_cache_key": key}
                    opened.send(json.dumps(asks))
                    while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
                        pass
            assert eventually(lambda: running.journal.count("\n") == 7)
            running.interrupt()
        lines = [json.loads(line) for line in running.journal.splitlines()]
        yield Day(folder, provider.url, {line["exchange"]: line for line in lines})


def test_each_exchange_on_a_socket_is_named(small: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """T10: the upgrade, and every message that asked."""
    number = next(at for at, flow in enumerate(small.flows(), 1) if flow.websocket)
    told = explained(small.folder, number, small.dump, monkeypatch)["happened"]

    assert len(told["on_socket"]) == 3
    for each in (told, *told["on_socket"]):
        assert {name: each[name] for name in SAME} == {name: small.lines[each["exchange"]][name] for name in SAME}


def test_an_account_that_is_gone_is_said(small: Day, tmp_path: Path) -> None:
    """T11: another account serves the replay then, and the flow says so."""
    flows = [flow for flow in small.flows() if not flow.websocket]
    gone = flows[0].metadata["patchbay.account"]
    settings = (small.folder / "config.yaml").read_text().replace("/journal.jsonl", "/again.jsonl")
    settings = "\n".join(line for line in settings.splitlines() if f"id: {gone}," not in line)

    for flow in _replayed(small.folder, settings, small.dump, tmp_path / "again.mitm"):
        if flow.id in {each.id for each in flows if each.metadata["patchbay.account"] == gone}:
            assert flow.metadata["patchbay.account"] not in ("", gone)
            assert f"replay: {gone} served it before, and cannot now (gone)" in flow.comment


def test_another_instance_sends_a_replay_there_as_well(small: Day, tmp_path: Path) -> None:
    """T11: a dump may be replayed elsewhere, under another key; the provider sees the session that it knows."""
    settings = (small.folder / "config.yaml").read_text().replace("/journal.jsonl", "/again.jsonl")
    settings = settings.replace(f"state: {small.folder / 'state'}", f"state: {tmp_path / 'state'}")
    before = {flow.id: flow for flow in small.flows()}
    again = _replayed(small.folder, settings, small.dump, tmp_path / "again.mitm")

    assert len(again) == 3
    for flow in again:
        for name in SAME:
            assert flow.metadata[f"patchbay.{name}"] == before[flow.id].metadata[f"patchbay.{name}"]
