"""What is proved to be another's does not reach the client, where the settings say so."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, eventually, generic_config, proxy
from .test_no_key_anywhere import _trusting

NAMES = {name: key for key, name in KEYS.items()}
MARKS = tuple("MARK-" + digit * 32 for digit in "ab")


@pytest.fixture(params=["block", "retry"])
def reaction(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def running(tmp_path: Path, simulator: Simulator, reaction: str) -> Iterator[Proxy]:
    simulator.reset()
    settings = generic_config(tmp_path, NAMES, more=f"crosstalk: {{reaction: {reaction}}}")
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}") as started:
        yield started


def ask(running: Proxy, dialect: str, mark: str, *, stream: bool, http2: bool = False) -> tuple[int, str, bool]:
    """Return the status, what arrived of the body, and whether it arrived whole."""
    context: ssl.SSLContext | bool = _trusting() if http2 else True
    received = b""
    with httpx.Client(http1=not http2, http2=http2, verify=context, timeout=30, trust_env=False) as client:
        url = f"{'https' if http2 else 'http'}://127.0.0.1:{running.port}{path(dialect, stream=stream)}"
        asked = body(dialect, [f"say {mark}"], stream=stream)
        with client.stream("POST", url, json=asked, headers=credential(dialect, "k")) as answer:
            try:
                for piece in answer.iter_raw():
                    received += piece
            except httpx.HTTPError:
                return answer.status_code, received.decode(), False
            return answer.status_code, received.decode(), True


def both(running: Proxy, dialect: str, *, stream: bool, http2: bool = False) -> list[tuple[int, str, bool]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda mark: ask(running, dialect, mark, stream=stream, http2=http2), MARKS))


@pytest.mark.parametrize("stream", [False, True], ids=["buffered", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_exchanged_answers_are_kept_back(
    running: Proxy, simulator: Simulator, reaction: str, dialect: str, stream: bool
) -> None:
    simulator.fault("swap", {"timeout": 30.0}, times=2)
    answers = both(running, dialect, stream=stream)

    for (status, text, whole), own, other in zip(answers, MARKS, reversed(MARKS), strict=True):
        assert whole
        assert other not in text
        assert status == (200 if reaction == "retry" else 502)
        assert (own in text) == (reaction == "retry")
        assert ("crosstalk_detected" in text) == (reaction == "block")


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_a_stream_that_turns_into_another_s_is_cut(running: Proxy, simulator: Simulator, http2: bool) -> None:
    simulator.fault("splice", {"after": 5, "timeout": 30.0}, times=2)
    simulator.fault("delay_events", {"seconds": 0.05})
    answers = both(running, "openai_chat", stream=True, http2=http2)

    for status, text, whole in answers:
        assert status == 200
        assert not whole
        assert "crosstalk_detected" in text
        assert "[DONE]" not in text
    assert eventually(lambda: running.journal.count("\n") >= 2)
    lines = [json.loads(line) for line in running.journal.splitlines()]
    assert {line["verdict"] for line in lines} == {"crosstalk"}
    assert all(line["error"] for line in lines)
    simulator.mend()
    status, text, whole = ask(running, "openai_chat", MARKS[0], stream=True, http2=http2)
    assert (status, whole) == (200, True)
    assert MARKS[0] in text


def test_when_the_second_answer_is_another_s_too_the_client_gets_an_error(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    simulator.fault("swap", {"timeout": 30.0}, times=4)
    settings = generic_config(tmp_path, NAMES, more="crosstalk: {reaction: retry}")
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}") as running:
        answers = both(running, "anthropic", stream=False)

    assert [status for status, _, _ in answers] == [502, 502]
    assert len(simulator.truth.requests) == 4
