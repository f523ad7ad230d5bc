"""When nobody answers, the client is told which bound was reached, in its own protocol, and when to come back."""

from __future__ import annotations

from pathlib import Path

import httpx

from ..ports import free_port
from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, proxy


def nowhere(folder: Path, count: int, more: str = "") -> str:
    """Return a configuration of *count* accounts where nothing listens."""
    rows = "".join(
        f"  - {{id: a{n}, provider: generic, base_url: 'http://127.0.0.1:{free_port()}', key: sk-{n}-0123456789}}\n"
        for n in range(count)
    )
    return f"state: {folder / 'state'}\ngrace_period: 1s\n{more}accounts:\n{rows}"


def ask(running: Proxy, dialect: str, *, stream: bool, model: str) -> httpx.Response:
    where = path(dialect, stream=stream).replace("gemini-sim", model)
    said = body(dialect, ["is anybody there?"], stream=stream, model=model)
    headers = credential(dialect, "sk-client")
    return httpx.post(running.url + where, json=said, headers=headers, timeout=30, trust_env=False)


def test_an_upstream_that_cannot_be_reached_is_told_with_each_account_and_its_reason(tmp_path: Path) -> None:
    """A5, R13: more accounts than three are all asked, and each is named with what was wrong with it."""
    with proxy(tmp_path, nowhere(tmp_path, 4), "-q", mode="reverse:http://patchbay.invalid") as running:
        for dialect in DIALECTS:
            for stream in (False, True):
                answer = ask(running, dialect, stream=stream, model=f"{dialect}-{stream}")

                assert answer.status_code == 502, answer.text
                assert "upstream_unreachable" in answer.text
                for account in ("a0", "a1", "a2", "a3"):
                    assert f"{account}: not reachable (connection refused)" in answer.text


def test_where_the_settings_allow_fewer_attempts_the_bound_is_told(tmp_path: Path) -> None:
    few = nowhere(tmp_path, 5, more="failover: {attempts: 2}\n")
    with proxy(tmp_path, few, "-q", mode="reverse:http://patchbay.invalid") as running:
        for dialect in DIALECTS:
            answer = ask(running, dialect, stream=False, model=dialect)

            assert answer.status_code == 502, answer.text
            assert answer.json()["error"]["gave_up"] == "attempts_exhausted"
            assert "upstream_unreachable" in answer.text
            assert answer.text.count("not reachable (connection refused)") == 2


def test_when_all_rest_because_of_it_the_client_hears_until_when(tmp_path: Path) -> None:
    """A5: an upstream that cannot be reached is no rate limit, also while its accounts rest."""
    with proxy(tmp_path, nowhere(tmp_path, 2), "-q", mode="reverse:http://patchbay.invalid") as running:
        answers = [ask(running, "openai_chat", stream=False, model="m") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [502, 502, 503]
    assert all(answer.json()["error"]["code"] == "upstream_unreachable" for answer in answers)
    assert all(0 < int(answer.headers["retry-after"]) <= 10 for answer in answers[1:])
    assert all("a1: not reachable (connection refused), next try at" in answer.text for answer in answers[1:])
