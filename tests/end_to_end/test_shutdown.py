"""Ctrl-C: answers under way get their time, nothing new is taken, and what is to be kept is written."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy import io
from mitmproxy.http import HTTPFlow
from websockets.sync.client import connect

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import Proxy, eventually, generic_config, proxy
from .holding import held, held_inside

CLIENT = "sk-client-0123456789abcdef-its-own"
NAMES = {name: key for key, name in KEYS.items()}
CHAT = path("openai_chat")
HEADERS = credential("openai_chat", CLIENT)


class Asking(threading.Thread):
    """A client that waits for an answer, and says what became of it."""

    def __init__(self, url: str, *, stream: bool) -> None:
        super().__init__()
        self._url, self._stream = url, stream
        self.answer = b""
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        asked = body("openai_chat", ["hi"], stream=self._stream)
        try:
            with httpx.stream(
                "POST", self._url + CHAT, json=asked, headers=HEADERS, timeout=30, trust_env=False
            ) as answer:
                for piece in answer.iter_raw():
                    self.answer += piece
        except httpx.HTTPError as e:
            self.error = e


@contextmanager
def patient(folder: Path, simulator: Simulator, grace: str, *arguments: str, **options: Any) -> Iterator[Proxy]:
    simulator.reset()
    settings = generic_config(folder, NAMES, more=f"grace_period: {grace}")
    with proxy(folder, settings, *arguments, mode=f"reverse:{simulator.url}", **options) as running:
        yield running


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


def in_flight(simulator: Simulator, count: int = 1) -> bool:
    return eventually(lambda: len(simulator.truth.requests) == count)


@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_answers_under_way_are_finished(
    tmp_path: Path, simulator: Simulator, number: signal.Signals, program: str
) -> None:
    with patient(tmp_path, simulator, "60s", program=program) as running:
        go_on = threading.Event()
        simulator.fault(held_inside, {"until": go_on, "after": 4})
        stream = Asking(running.url, stream=True)
        assert in_flight(simulator) and eventually(lambda: stream.answer)
        simulator.mend()
        simulator.fault(held, {"until": go_on})
        whole = Asking(running.url, stream=False)
        assert in_flight(simulator, 2)
        running.process.send_signal(number)
        assert eventually(lambda: not _accepts(running))
        assert running.process.poll() is None
        go_on.set()
        for asking in (stream, whole):
            asking.join(30)
        assert running.process.wait(30) == 0

    assert stream.error is whole.error is None
    assert stream.answer.rstrip().endswith(b"data: [DONE]")
    assert json.loads(whole.answer)["choices"]
    assert [line["status"] for line in lines(running)] == [200, 200]
    assert not any(line["error"] for line in lines(running))


def test_an_answer_that_takes_longer_is_cut(tmp_path: Path, simulator: Simulator) -> None:
    dump = tmp_path / "all.mitm"
    with patient(tmp_path, simulator, "1s", "-w", str(dump)) as running:
        simulator.fault("hang", {"after": 2})
        asking = Asking(running.url, stream=True)
        assert in_flight(simulator) and eventually(lambda: asking.answer)
        began = time.monotonic()
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        took = time.monotonic() - began
        asking.join(30)

    assert took > 0.9
    assert asking.error is not None  # told from one that is complete
    assert [line["error"] for line in lines(running)] == ["the proxy was ended"]
    with dump.open("rb") as file:
        [flow] = io.FlowReader(file).stream()
    assert isinstance(flow, HTTPFlow) and flow.metadata["patchbay.error"] == "the proxy was ended"


def test_a_second_wish_is_carried_out_at_once(tmp_path: Path, simulator: Simulator) -> None:
    with patient(tmp_path, simulator, "60s") as running:
        simulator.fault("hang", {"after": 2})
        asking = Asking(running.url, stream=True)
        assert in_flight(simulator) and eventually(lambda: asking.answer)
        running.process.send_signal(signal.SIGINT)
        assert eventually(lambda: not _accepts(running))
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        asking.join(30)

    assert [line["error"] for line in lines(running)] == ["the proxy was ended"]


def test_with_nothing_under_way_the_end_comes_at_once(tmp_path: Path, simulator: Simulator) -> None:
    with patient(tmp_path, simulator, "60s") as running, httpx.Client(trust_env=False, timeout=30) as idle:
        assert idle.post(running.url + CHAT, json=body("openai_chat", ["hi"]), headers=HEADERS).status_code == 200
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0


def test_an_open_connection_gets_no_new_answers(tmp_path: Path, simulator: Simulator) -> None:
    with patient(tmp_path, simulator, "60s") as running, httpx.Client(trust_env=False, timeout=30) as kept:
        assert kept.post(running.url + CHAT, json=body("openai_chat", ["hi"]), headers=HEADERS).status_code == 200
        go_on = threading.Event()
        simulator.fault(held, {"until": go_on})
        asking = Asking(running.url, stream=False)
        assert in_flight(simulator, 2)
        running.process.send_signal(signal.SIGINT)
        assert eventually(lambda: not _accepts(running))
        late = kept.post(running.url + CHAT, json=body("openai_chat", ["late"]), headers=HEADERS)
        go_on.set()
        asking.join(30)

    assert late.status_code == 503 and late.json()["error"]["code"] == "shutting_down"
    assert asking.error is None
    assert len(simulator.truth.requests) == 2


def test_an_answer_on_a_socket_is_waited_for(tmp_path: Path, simulator: Simulator) -> None:
    with patient(tmp_path, simulator, "60s") as running:
        url = f"ws://127.0.0.1:{running.port}/v1/responses"
        with connect(url, additional_headers=HEADERS, proxy=None) as opened:
            go_on = threading.Event()
            simulator.fault(held, {"until": go_on}, method="POST")
            opened.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "hi"}))
            assert in_flight(simulator, 2)
            running.process.send_signal(signal.SIGINT)
            assert eventually(lambda: not _accepts(running))
            go_on.set()
            while json.loads(opened.recv(timeout=30))["type"] != "response.completed":
                pass
            assert running.process.wait(30) == 0

    assert [line["status"] for line in lines(running)] == [101, 200]


def _accepts(running: Proxy) -> bool:
    try:
        socket.create_connection(("127.0.0.1", running.port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)], ids=["two Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("pause", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_it_ends_quietly(
    tmp_path: Path, simulator: Simulator, signals: tuple[signal.Signals, ...], pause: float, busy: bool
) -> None:
    """T16, R22: the second Ctrl-C finds asyncio at work or gone, and connections are open: no traceback either way."""
    with patient(tmp_path, simulator, "0s" if len(signals) == 1 else "10s") as running:
        simulator.fault("slow", {"seconds": 3})
        with socket.create_connection(("127.0.0.1", running.port)) as open_all_the_time:
            asking = Asking(running.url, stream=False) if busy else None
            assert not busy or in_flight(simulator)
            for each in signals:
                if running.process.poll() is None:
                    running.process.send_signal(each)
                time.sleep(pause)  # where the second one arrives is what this is about
            assert running.process.wait(30) == 0
            open_all_the_time.recv(1)
        if asking:
            asking.join(30)
        simulator.mend()

    assert "Traceback" not in running.log
    assert "rror" not in running.log
