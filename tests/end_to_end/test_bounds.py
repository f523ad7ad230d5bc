"""When nobody answers, the client is told which bound was reached, in its own protocol, and when to come back."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from .dialogue import DIALECTS, body, credential, path
from .harness import Proxy, free_port, proxy


def nowhere(folder: Path, count: int, more: str = "") -> str:
    """Return a configuration of *count* accounts where nothing listens."""
    rows = "".join(
        f"  - {{id: a{n}, provider: generic, base_url: 'http://127.0.0.1:{free_port()}', key: sk-{n}-0123456789}}\n"
        for n in range(count)
    )
    return f"state: {folder / 'state'}\ngrace: 1s\n{more}accounts:\n{rows}"


def ask(running: Proxy, dialect: str, *, stream: bool, model: str) -> httpx.Response:
    where = path(dialect, stream=stream).replace("gemini-sim", model)
    said = body(dialect, ["is anybody there?"], stream=stream, model=model)
    headers = credential(dialect, "sk-client")
    return httpx.post(running.url + where, json=said, headers=headers, timeout=20, trust_env=False)


@pytest.mark.parametrize("accounts", [2, 5], ids=["all were tried", "attempts ran out"])
def test_an_upstream_that_cannot_be_reached_is_told_with_the_bound(tmp_path: Path, accounts: int) -> None:
    code = "attempts_exhausted" if accounts > 3 else "auth_unavailable"
    with proxy(tmp_path, nowhere(tmp_path, accounts), "-q", mode="reverse:http://patchbay.invalid") as running:
        for dialect in DIALECTS:
            for stream in (False, True):
                answer = ask(running, dialect, stream=stream, model=f"{dialect}-{stream}")

                assert answer.status_code == 502, answer.text
                assert answer.json()["error"]["gave_up"] == code
                assert "upstream_unreachable" in answer.text


def test_when_all_rest_because_of_it_the_client_hears_until_when(tmp_path: Path) -> None:
    with proxy(tmp_path, nowhere(tmp_path, 2), "-q", mode="reverse:http://patchbay.invalid") as running:
        answers = [ask(running, "openai_chat", stream=False, model="m") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [502, 429, 429]
    assert all(answer.json()["error"]["code"] == "model_cooldown" for answer in answers[1:])
    assert all(0 < int(answer.headers["retry-after"]) <= 10 for answer in answers[1:])
