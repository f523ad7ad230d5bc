"""Whatever raises, wherever it raises: no request leaves with the client's key, and the client is told."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import httpx
import pytest

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import Proxy, eventually, generic_config, own_copy, proxy

CLIENT = "sk-client-that-must-not-leave"
NAMES = {name: key for key, name in KEYS.items()}
BREAKER = Path(__file__).with_name("breaker.py")

_SOURCE = BREAKER.read_text()


def _points() -> list[str]:
    # the breaker's own table, read without loading it: it patches what it is imported beside
    from ast import Assign, Constant, Tuple, literal_eval, parse, walk

    names: list[str] = []
    for node in walk(parse(_SOURCE)):
        if isinstance(node, Tuple) and len(node.elts) == 2 and isinstance(node.elts[1], Constant):
            owner = getattr(node.elts[0], "attr", getattr(node.elts[0], "id", ""))
            if isinstance(node.elts[1].value, str) and owner:
                names += [f"{owner}.{name}" for name in node.elts[1].value.split()]
        if isinstance(node, Assign) and getattr(node.targets[0], "id", "") == "HOOKS":
            names += [f"hook.{name}" for name in literal_eval(node.value)]
    return names


POINTS = _points()
# what breaks here breaks before anything has left
REFUSED = frozenset(
    ("hook.requestheaders", "hook.request", "Router.open", "Router.next", "clients.identify", "Credentials.ready")
)
# in these the host itself is what broke: it drops the connection or answers in its own words
_THE_HOST_S = {name for name in POINTS if name.startswith(("PatchbayLayer.", "PatchbayStream.", "upstream_stream."))}


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[tuple[Proxy, Path]]:
    folder = tmp_path_factory.mktemp("broken")
    which = folder / "break"
    which.write_text("")
    with proxy(
        folder, generic_config(folder, NAMES), mode=f"reverse:{simulator.url}", scripts=[str(BREAKER)],
        environment={"BREAK": str(which)},
    ) as running:  # fmt: skip
        yield running, which


def _send(running: Proxy, dialect: str, *, stream: bool, session: str, seconds: float = 30) -> httpx.Response | None:
    headers = credential(dialect, CLIENT) | {"X-Session-ID": session}
    try:
        return httpx.post(
            running.url + path(dialect, stream=stream),
            json=body(dialect, ["hello"], stream=stream, model=session),
            headers=headers,
            timeout=seconds,
            trust_env=False,
        )
    except httpx.HTTPError:
        return None


def test_the_breaker_knows_points_and_an_unbroken_request_passes(breakable: tuple[Proxy, Path]) -> None:
    running, which = breakable
    which.write_text("")
    answer = _send(running, "openai_chat", stream=False, session="sound")

    assert len(POINTS) > 40
    assert set(POINTS) >= REFUSED
    assert answer is not None
    assert answer.status_code == 200


@pytest.mark.parametrize("point", POINTS)
def test_nothing_leaves_with_the_client_s_key(breakable: tuple[Proxy, Path], simulator: Simulator, point: str) -> None:
    running, which = breakable
    simulator.reset()
    simulator.fault("status", {"status": 429}, nth=2)
    which.write_text(point)
    try:
        # a model for each, so that what one of them did to an account does not reach the others
        def send(dialect: str, stream: bool) -> httpx.Response | None:
            seconds = 1.5 if point in _THE_HOST_S else 30
            return _send(running, dialect, stream=stream, session=f"{point}-{dialect}-{stream}", seconds=seconds)

        kinds = product(("openai_chat", "anthropic", "gemini"), (False, True))
        with ThreadPoolExecutor(6) as threads:  # at once, for some wait until they give up
            answers = list(threads.map(lambda kind: send(*kind), kinds))
    finally:
        which.write_text("")

    for record in simulator.truth.requests:
        assert CLIENT not in str(record.headers) + record.query, point
        assert record.credential in KEYS, point
    for answer in answers:
        if answer is not None:
            assert not any(key in answer.text + str(answer.headers) for key in KEYS)
    if point in REFUSED:
        assert len(simulator.truth.requests) == 0
        assert all(answer is not None and answer.status_code in (502, 503) for answer in answers)
        assert "error" in json.loads(answers[0].text)  # type: ignore[union-attr]
        assert json.loads(answers[2].text)["type"] == "error"  # type: ignore[union-attr]
    assert CLIENT not in running.log
    sound = _send(running, "openai_chat", stream=False, session=f"{point}-after")
    assert sound is not None
    assert sound.status_code == 200, "what broke one exchange must not break the next"


def test_a_broken_configuration_ends_the_start(tmp_path: Path, simulator: Simulator) -> None:
    with (
        pytest.raises(RuntimeError, match=r"config\.yaml:1:1: nonsense"),
        proxy(tmp_path, "nonsense: 1\naccounts: []\n", mode=f"reverse:{simulator.url}"),
    ):
        pass


def test_a_configuration_that_breaks_while_running_changes_nothing(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:
        (tmp_path / "config.yaml").write_text("accounts: [}")
        answer = _send(running, "openai_chat", stream=False, session="x")

    assert answer is not None
    assert answer.status_code == 200
    assert all(record.credential in KEYS for record in simulator.truth.requests)


def test_behind_a_reverse_listener_what_is_not_ours_is_refused(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    settings = generic_config(tmp_path, NAMES).replace("base_url: reverse", f"base_url: '{simulator.url}'")
    with proxy(tmp_path, settings, mode="reverse:http://127.0.0.1:9") as running:
        answer = _send(running, "openai_chat", stream=False, session="x")

    assert answer is not None
    assert answer.status_code == 404
    assert simulator.truth.requests == []


def test_a_reload_of_the_script_file_changes_nothing(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    script = own_copy(tmp_path)
    with proxy(
        tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}", script=str(script)
    ) as running:
        os.utime(script)
        assert eventually(lambda: running.log.count("Loading script") == 2)
        answer = _send(running, "openai_chat", stream=False, session="x")

    assert answer is not None
    assert answer.status_code == 200
    assert all(record.credential in KEYS for record in simulator.truth.requests)


def test_a_reload_while_answers_have_their_grace_does_not_forget_the_end(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    simulator.fault("hang")
    script = own_copy(tmp_path)
    settings = generic_config(tmp_path, NAMES).replace("grace_period: 1s", "grace_period: 60s")
    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}", script=str(script)) as running:
        waiting = threading.Thread(
            target=_send, args=(running, "openai_chat"), kwargs={"stream": True, "session": "x", "seconds": 120}
        )
        waiting.start()
        assert eventually(lambda: len(simulator.truth.requests) == 1)
        running.process.send_signal(signal.SIGINT)
        assert eventually(lambda: "answers under way" in running.log)
        os.utime(script)

        assert eventually(lambda: running.process.poll() is not None)
        waiting.join(30)
