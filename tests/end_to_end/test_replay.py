"""Flows that are looked at, edited, replayed, intercepted, and read from a file: keys stay out, records stay."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy import io
from mitmproxy.http import HTTPFlow
from websockets.sync.client import connect

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import ROOT, Proxy, certificates, ended, eventually, generic_config, proxy

CLIENT = "sk-client-0123456789abcdef-its-own"
NAMES = {name: key for key, name in KEYS.items()}
CHAT = path("openai_chat")


class Web:
    """mitmweb's own interface, as its page uses it."""

    def __init__(self, running: Proxy) -> None:
        self._url = f"http://127.0.0.1:{running.web_port}"
        assert eventually(self._is_up)

    def _call(self, method: str, where: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": "Bearer look", "X-XSRFToken": "x", "Cookie": "_xsrf=x; _mitmproxy_xsrf=x"}
        return httpx.request(method, self._url + where, headers=headers, trust_env=False, **more, timeout=30)

    def _is_up(self) -> bool:
        try:
            return self._call("GET", "/flows").status_code == 200
        except httpx.HTTPError:
            return False

    def flows(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/flows").json())

    def post(self, where: str) -> None:
        assert self._call("POST", where).is_success, where

    def put(self, flow: str, **change: Any) -> None:
        assert self._call("PUT", f"/flows/{flow}", json=change).is_success

    def everything(self) -> bytes:
        return self._call("GET", "/flows").content + self._call("GET", "/flows/dump").content


@contextmanager
def web(folder: Path, simulator: Simulator, *arguments: str, more: str = "") -> Iterator[tuple[Proxy, Web]]:
    simulator.reset()
    settings = generic_config(folder, NAMES, more=more)
    with proxy(folder, settings, *arguments, mode=f"reverse:{simulator.url}", program="mitmweb") as running:
        yield running, Web(running)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[tuple[Proxy, Web]]:
    with web(tmp_path_factory.mktemp("shared"), simulator) as found:
        yield found


@pytest.fixture
def cleared(shared: tuple[Proxy, Web], simulator: Simulator) -> tuple[Proxy, Web]:
    """The shared mitmweb, with nothing in it."""
    simulator.reset()
    running, page = shared
    page.post("/clear")
    (running.folder / "journal.jsonl").write_text("")  # it is appended to
    return shared


def ask(
    running: Proxy, dialect: str = "openai_chat", text: str = "hi", *, stream: bool = False, **headers: str
) -> httpx.Response:
    return httpx.post(
        running.url + path(dialect, stream=stream),
        json=body(dialect, [text], stream=stream),
        headers={**credential(dialect, CLIENT), **headers},
        trust_env=False,
        timeout=30,
    )


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


def secrets_in(text: bytes) -> list[str]:
    return [key for key in (*KEYS, CLIENT) if key.encode() in text]


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "streamed"])
def test_a_replay_gets_an_account_and_an_id_of_its_own(
    cleared: tuple[Proxy, Web], simulator: Simulator, stream: bool
) -> None:
    running, page = cleared
    for number, dialect in enumerate(DIALECTS, 1):
        assert ask(running, dialect, stream=stream).status_code == 200
        flow = page.flows()[-1]
        page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda wanted=2 * number: len(lines(running)) == wanted)
        first, second = simulator.truth.requests[-2:]
        assert first.credential == second.credential in KEYS
        assert first.body == second.body
        one, two = lines(running)[-2:]
        assert all(one[name] == two[name] != "" for name in ("account", "session", "session_id", "thread"))
        assert first.received_id != second.received_id
    everything = page.everything()
    assert all(flow["response"]["status_code"] == 200 for flow in page.flows())

    assert b"patchbay:" in everything
    assert secrets_in(everything) == []
    assert all(line["verdict"] == "clean" and line["status"] == 200 for line in lines(running))


def test_an_edited_flow_is_replayed_as_it_was_edited(cleared: tuple[Proxy, Web], simulator: Simulator) -> None:
    running, page = cleared
    ask(running, text="as it was")
    [flow] = page.flows()
    edited = json.dumps(body("openai_chat", ["as it was edited"]))
    page.put(flow["id"], request={"content": edited})
    page.post(f"/flows/{flow['id']}/replay")
    assert eventually(lambda: len(lines(running)) == 2)
    everything = page.everything()

    assert simulator.truth.last().body == edited.encode()
    assert simulator.truth.last().credential in KEYS
    assert secrets_in(everything) == []


def test_a_replay_binds_nobody(cleared: tuple[Proxy, Web], simulator: Simulator) -> None:
    """An edited session id makes a new conversation; were it bound, its next request would be a hit."""
    running, page = cleared
    ask(running, **{"X-Session-ID": "first"})
    [flow] = page.flows()
    headers = [[n, "second" if n.lower() == "x-session-id" else v] for n, v in flow["request"]["headers"]]
    page.put(flow["id"], request={"headers": headers})
    page.post(f"/flows/{flow['id']}/replay")
    assert eventually(lambda: len(lines(running)) == 2)
    ask(running, **{"X-Session-ID": "first"})
    ask(running, **{"X-Session-ID": "second"})
    assert eventually(lambda: len(lines(running)) == 4)

    assert [line["binding"] for line in lines(running)] == ["new", "new", "hit", "new"]


def test_a_failing_replay_moves_on_like_any_request(cleared: tuple[Proxy, Web], simulator: Simulator) -> None:
    running, page = cleared
    ask(running)
    [flow] = page.flows()
    simulator.fault("status", {"status": 429}, times=1)
    page.post(f"/flows/{flow['id']}/replay")
    assert eventually(lambda: len(lines(running)) == 2)
    page.post(f"/flows/{flow['id']}/replay")  # the queue goes on
    assert eventually(lambda: len(lines(running)) == 3)

    assert [tried["status"] for tried in lines(running)[1]["attempts"]] == [429, 200]


def test_a_replay_needs_no_client_key(tmp_path: Path, simulator: Simulator) -> None:
    with web(tmp_path, simulator, more=f"clients: [{{name: laptop, key: {CLIENT}}}]") as (running, page):
        assert ask(running).status_code == 200
        [flow] = page.flows()
        page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: len(lines(running)) == 2)

    assert [(line["client"], line["status"]) for line in lines(running)] == [("laptop", 200)] * 2


def test_on_one_port_a_replay_may_go_to_any_account(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    settings = generic_config(tmp_path, NAMES).replace("base_url: reverse", f"base_url: {simulator.url}")
    with proxy(tmp_path, settings, mode="reverse:http://patchbay.invalid", program="mitmweb") as running:
        page = Web(running)
        assert ask(running).status_code == 200
        [flow] = page.flows()
        page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: len(lines(running)) == 2)

    first, second = lines(running)
    assert second["status"] == 200
    assert first["pool"] == second["pool"]


def test_an_intercepted_request_goes_on_as_it_was_edited(tmp_path: Path, simulator: Simulator) -> None:
    """T11: and its replay goes to the same account, in the same session."""
    answers: list[httpx.Response] = []
    with web(tmp_path, simulator, "--set", "intercept=~q") as (running, page):
        asking = threading.Thread(target=lambda: answers.append(ask(running, text="as it was")))
        asking.start()
        assert eventually(lambda: any(flow["intercepted"] for flow in page.flows()))
        [flow] = page.flows()
        assert secrets_in(page.everything()) == []
        edited = json.dumps(body("openai_chat", ["as it was edited"]))
        page.put(flow["id"], request={"content": edited, "path": f"{CHAT}?edited=1"})
        page.post(f"/flows/{flow['id']}/resume")
        asking.join(30)
        assert eventually(lambda: len(lines(running)) == 1)
        everything = page.everything()
        page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: len(lines(running)) == 2)

    first, again = lines(running)  # what it was before the edit named its conversation
    assert (first["account"], first["session_id"]) == (again["account"], again["session_id"])
    assert answers[0].status_code == 200
    assert simulator.truth.last().body == edited.encode()
    assert simulator.truth.last().query == "edited=1"
    assert simulator.truth.last().credential in KEYS
    assert secrets_in(everything) == []


def test_a_host_that_was_edited_gets_no_credential(tmp_path: Path, simulator: Simulator) -> None:
    answers: list[httpx.Response] = []
    with (
        simulator_thread({}, require_key=False) as stranger,
        web(tmp_path, simulator, "--set", "intercept=~q") as (running, page),
    ):
        asking = threading.Thread(target=lambda: answers.append(ask(running)))
        asking.start()
        assert eventually(lambda: any(flow["intercepted"] for flow in page.flows()))
        [flow] = page.flows()
        page.put(flow["id"], request={"port": stranger.port})
        page.post(f"/flows/{flow['id']}/resume")
        asking.join(30)

    assert answers[0].status_code == 502
    assert len(stranger.truth) == len(simulator.truth) == 0


def test_a_flow_from_a_file_is_replayed(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    dump, mode = tmp_path / "all.mitm", f"reverse:{simulator.url}"
    with proxy(tmp_path / "first", generic_config(tmp_path / "first", NAMES), "-w", str(dump), mode=mode) as running:
        ask(running)
        running.interrupt()
    with web(tmp_path / "second", simulator, "-r", str(dump)) as (running, page):
        assert eventually(lambda: len(page.flows()) == 1)
        [flow] = page.flows()
        page.post(f"/flows/{flow['id']}/replay")
        assert eventually(lambda: len(lines(running)) == 1)
        assert secrets_in(page.everything()) == []

    assert [(record.credential in KEYS, record.status) for record in simulator.truth] == [(True, 200)]


def test_what_is_stamped_into_a_body_survives_an_edit(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    settings = generic_config(tmp_path, NAMES).replace("provider: generic", "provider: morpheus")
    answers: list[httpx.Response] = []
    mode = f"reverse:{simulator.url}"
    with proxy(tmp_path, settings, "--set", "intercept=~q", mode=mode, program="mitmweb") as running:
        page = Web(running)
        asking = threading.Thread(target=lambda: answers.append(ask(running, text="as it was")))
        asking.start()
        assert eventually(lambda: any(flow["intercepted"] for flow in page.flows()))
        [flow] = page.flows()
        page.put(flow["id"], request={"content": json.dumps(body("openai_chat", ["as it was edited"]))})
        page.post(f"/flows/{flow['id']}/resume")
        asking.join(30)

    sent = json.loads(simulator.truth.last().body)
    assert sent["messages"][0]["content"] == "as it was edited"
    assert sent["request_id"] == answers[0].headers["x-patchbay-request-id"]


def test_a_saved_file_is_read_and_not_rewritten(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    dump, again = tmp_path / "all.mitm", tmp_path / "again.mitm"
    mode = f"reverse:{simulator.url}"
    with proxy(tmp_path / "first", generic_config(tmp_path / "first", NAMES), "-w", str(dump), mode=mode) as running:
        for stream in (False, True):
            ask(running, stream=stream)
        assert eventually(lambda: len(lines(running)) == 2)
    before = len(simulator.truth.requests)

    with proxy(
        tmp_path / "second", generic_config(tmp_path / "second", NAMES), "-r", str(dump), "-w", str(again), mode=mode
    ) as second:
        assert eventually(lambda: again.exists() and len(_flows(again)) == 2)

    assert [flow.get_state() for flow in _flows(again)] == [flow.get_state() for flow in _flows(dump)]
    assert all(flow.metadata["patchbay.account"] for flow in _flows(again))
    assert len(simulator.truth.requests) == before
    assert second.journal == ""


def _flows(path: Path) -> list[HTTPFlow]:
    with path.open("rb") as file:
        return [flow for flow in io.FlowReader(file).stream() if isinstance(flow, HTTPFlow)]


def test_without_a_proxy_a_file_is_copied_byte_for_byte_and_the_end_comes_by_itself(
    tmp_path: Path, simulator: Simulator
) -> None:
    """Sockets, answers and errors alike: what is written is what mitmdump writes without us."""
    simulator.reset()
    dump, plain, again = (tmp_path / name for name in ("all.mitm", "plain.mitm", "again.mitm"))
    folder, mode = tmp_path / "first", f"reverse:{simulator.url}"
    with proxy(folder, generic_config(folder, NAMES), "-w", str(dump), mode=mode) as running:
        ask(running)
        simulator.fault("status", {"status": 400}, times=1)
        ask(running)
        with connect(f"ws://127.0.0.1:{running.port}/v1/responses", proxy=None) as opened:
            opened.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "hi"}))
            while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
                pass
        assert eventually(lambda: len(lines(running)) == 4)
        running.interrupt()
    before = (folder / "journal.jsonl").read_bytes()
    ours = ["-s", str(ROOT / "addon" / "main.py"), "--set", f"patchbay_config={folder / 'config.yaml'}"]
    copy(dump, plain, folder)
    copy(dump, again, folder, *ours)

    assert dump.stat().st_size > 1000
    assert [flow.get_state() for flow in _flows(again)] == [flow.get_state() for flow in _flows(dump)]
    assert again.read_bytes() == plain.read_bytes()
    assert (folder / "journal.jsonl").read_bytes() == before


def copy(dump: Path, to: Path, folder: Path, *more: str) -> None:
    """Let mitmdump read *dump* and write *to*, as one filters a dump."""
    confdir = ["--set", f"confdir={certificates(folder)}"]
    code, printed = ended(folder, "-nr", str(dump), "-w", str(to), *confdir, *more, timeout=120)
    assert code == 0, printed
