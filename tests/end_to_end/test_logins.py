"""A login that a tool keeps in its file is used, and renewed by the tool while requests are under way."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx

from ..simulator import Simulator, simulator_thread
from .dialogue import body, path
from .harness import Proxy, eventually, proxy

FAR = 4_000_000_000  # seconds since 1970


class Tool:
    """Keeps its login in a file, as Codex does, and renews it: the provider then refuses the former token at once."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.file = folder / "auth.json"
        self._keys = simulator.provider.setup.keys
        self._numbers = count(1)
        self.tokens: list[str] = []

    def renew(self, over: float = FAR, *, torn: bool = False) -> None:
        token = f"tok-{next(self._numbers):04}-0123456789abcdef"
        self.tokens.append(token)
        assert isinstance(self._keys, dict)
        self._keys[token] = "mine"
        text = json.dumps({"tokens": {"access_token": token, "account_id": f"acc-{token}", "expires_at": over}})
        fresh = self.file.with_suffix(".new")
        if torn:
            self.file.write_text(text[: len(text) // 2])
        fresh.touch(mode=0o600)
        fresh.write_text(text)
        os.replace(fresh, self.file)
        for former in self.tokens[:-1]:
            self._keys.pop(former, None)


@contextmanager
def kept(folder: Path) -> Iterator[tuple[Proxy, Tool, Simulator]]:
    with simulator_thread({}, require_key=True) as simulator:
        tool = Tool(folder, simulator)
        tool.renew()
        config = (
            f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
            f"providers: {{mine: {{preset: codex_login, base_url: '{simulator.url}/backend-api/codex'}}}}\n"
            f"accounts: [{{id: me, provider: mine, login: '{tool.file}'}}]\n"
        )
        with proxy(folder, config, mode="reverse:http://patchbay.invalid") as running:
            yield running, tool, simulator


def asked(running: Proxy, text: str, client: httpx.Client | None = None) -> httpx.Response:
    post = client.post if client else httpx.post
    return post(running.url + path("openai_responses"), json=body("openai_responses", [text]), timeout=30)


def test_a_login_that_is_renewed_under_traffic_gives_no_client_an_error(tmp_path: Path) -> None:
    with (
        kept(tmp_path) as (running, tool, simulator),
        ThreadPoolExecutor(4) as pool,
        httpx.Client(timeout=30) as client,
    ):
        ended = threading.Event()

        def renews() -> None:
            for number in range(1, 5):
                eventually(lambda least=number * 8: len(simulator.truth) >= least or ended.is_set())
                tool.renew(torn=number % 2 == 0)

        renewing = threading.Thread(target=renews)
        renewing.start()
        answers = list(pool.map(lambda number: asked(running, f"question {number}", client), range(40)))
        ended.set()
        renewing.join()

        assert [answer.text for answer in answers if answer.status_code != 200] == []
        sent = [record for record in simulator.truth.requests if record.status == 200]
        assert {record.credential for record in sent} >= set(tool.tokens[1:3])
        assert all(record.header("chatgpt-account-id") == f"acc-{record.credential}" for record in sent)

    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p != tool.file)
    assert [token for token in tool.tokens if token.encode() in written] == []


def test_a_login_that_is_over_says_what_renews_it_and_is_back_when_it_is_renewed(tmp_path: Path) -> None:
    with kept(tmp_path) as (running, tool, simulator):
        assert asked(running, "hi").status_code == 200
        tool.renew(over=1_600_000_000)
        before = len(simulator.truth)
        refused = asked(running, "hi")

        assert refused.status_code == 503
        assert "login expired at 2020-09-13 12:26:40 UTC; run `codex` once" in refused.json()["error"]["message"]
        assert len(simulator.truth) == before
        tool.renew()
        assert eventually(lambda: asked(running, "hi").status_code == 200, 10)
