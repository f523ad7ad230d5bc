"""
Whether what is installed works: sticky, stamped, flagged, and read in every content coding.

`scripts/wheel` runs this against the wheel in empty environments; without PATCHBAY_BIN it runs against the checkout.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from ..simulator import Simulator
from ..simulator.packing import packed
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path, text_of
from .harness import BIN, INSTALLED, ROOT, Proxy, eventually, generic_config, proxy

CODINGS = ("gzip", "br", "zstd")
OWN = "sk-client-key-that-stays-here"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("installed")
    config = generic_config(folder, {name: key for key, name in KEYS.items()})
    with proxy(folder, config, mode=f"reverse:{simulator.url}") as started:
        yield started


def ask(running: Proxy, dialect: str, turns: list[str], *, stream: bool = False, **more: str) -> httpx.Response:
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
        answer = client.post(
            path(dialect, stream=stream),
            json=body(dialect, turns, stream=stream),
            headers=credential(dialect, OWN) | more,
        )
    assert answer.status_code == 200, answer.text
    return answer


def line(running: Proxy, answer: httpx.Response) -> dict[str, Any]:
    """Return the journal's line about *answer*."""
    request_id = answer.headers["x-patchbay-request-id"]
    found: list[dict[str, Any]] = []

    def written() -> bool:
        found[:] = [json.loads(each) for each in running.journal.splitlines() if request_id in each]
        return bool(found)

    assert eventually(written), running.log
    return found[0]


def test_the_command_works() -> None:
    if not INSTALLED:
        pytest.skip("only where it is installed")
    said = subprocess.run([str(BIN / "patchbay"), "version"], capture_output=True, text=True, timeout=60, check=True)

    assert said.stdout.startswith("patchbay 0.")
    assert str(ROOT / "addon") not in said.stdout


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_conversation_stays_on_its_account_and_every_request_is_stamped(
    running: Proxy, simulator: Simulator, dialect: str
) -> None:
    """T1: streaming and not, with the account's key on the wire and the client's own nowhere."""
    simulator.reset()
    first = ask(running, dialect, [f"{dialect}: what is a tide?"])
    turns = [f"{dialect}: what is a tide?", text_of(dialect, first.content), "and a spring tide?"]
    second = ask(running, dialect, turns, stream=True)
    third = ask(running, dialect, turns)

    records = simulator.truth.requests
    assert len({record.account for record in records}) == 1
    assert [record.received_id for record in records] == [
        answer.headers["x-patchbay-request-id"] for answer in (first, second, third)
    ]
    assert all(OWN not in str(record.headers) for record in records)
    assert [line(running, answer)["verdict"] for answer in (first, second, third)] == ["clean"] * 3


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_exchanged_answers_are_flagged(running: Proxy, simulator: Simulator, dialect: str, stream: bool) -> None:
    """T1: both of the two."""
    simulator.reset()
    simulator.fault("swap", {"timeout": 20})
    with ThreadPoolExecutor(2) as aside:
        asked = [aside.submit(ask, running, dialect, [f"question {n}"], stream=stream) for n in range(2)]
        answers = [each.result() for each in asked]
    simulator.mend()

    assert [line(running, answer)["verdict"] for answer in answers] == ["crosstalk"] * 2
    for answer in answers:
        assert re.search(f"event_type=crosstalk expected={answer.headers['x-patchbay-request-id']} ", running.log)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("swapped", [False, True], ids=["own", "exchanged"])
def test_an_answer_is_read_in_every_content_coding(
    running: Proxy, simulator: Simulator, coding: str, stream: bool, swapped: bool
) -> None:
    """
    T1: a coding that cannot be read would leave its answers unverifiable, without a word.

    The client gets them unpacked, since a key that they quote could not be covered otherwise.
    """
    simulator.reset()
    if swapped:
        simulator.fault("swap", {"timeout": 20, "part": "body"})
    simulator.fault("compress", {"coding": coding})
    with ThreadPoolExecutor(2) as aside:
        asked = [
            aside.submit(ask, running, "openai_chat", [f"question {n}"], stream=stream, **{"accept-encoding": coding})
            for n in range(2)
        ]
        answers = [each.result() for each in asked]
    simulator.mend()

    expected = "crosstalk" if swapped else "clean"
    assert [answer.headers.get("content-encoding") for answer in answers] == [None] * 2
    lines = [line(running, answer) for answer in answers]
    assert [each["verdict"] for each in lines] == [expected] * 2
    assert [bool(each["tokens"]) for each in lines] == [not stream] * 2  # this stream has no usage in it


@pytest.mark.parametrize("coding", CODINGS)
def test_a_packed_request_is_read(running: Proxy, simulator: Simulator, coding: str) -> None:
    """T1: its model and its conversation are known."""
    simulator.reset()
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
        answer = client.post(
            path("openai_chat"),
            content=packed(json.dumps(body("openai_chat", ["packed"])).encode(), coding),
            headers={"authorization": f"Bearer {OWN}", "content-type": "application/json", "content-encoding": coding},
        )

    assert line(running, answer)["model"] == "sim-1"
