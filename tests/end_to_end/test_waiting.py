"""One client's refusals are no other's: a real proxy before a provider that refuses in every documented way."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..accounts.provider_refusals import ABOUT_THE_REQUEST, Kind
from ..simulator import Simulator, steps
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import ROOT, Proxy, eventually, generic_config, proxy

MARK = "MARK-" + "fedcba9876543210" * 2
DIALECTS = {"openai": "openai_chat", "anthropic": "anthropic", "gemini": "gemini"}
NAMES = {name: key for key, name in KEYS.items()}
CONSOLE = """
import asyncio
import pathlib

from mitmproxy import ctx

HERE = pathlib.Path(__file__).parent


class Console:
    def running(self):
        self.task = asyncio.get_running_loop().create_task(self.serve())

    async def serve(self):
        while not (HERE / "asked").exists():
            await asyncio.sleep(0.02)
        (HERE / "told").write_text(ctx.master.commands.execute((HERE / "asked").read_text()))


addons = [Console()]
"""


def refusing(kind: Kind) -> Any:
    """Return the fault that is *kind*."""

    async def refuse(play: Any) -> None:
        said = (steps.Data(kind.raw),) if kind.raw else ()
        play.script = (steps.Head(kind.status, kind.fields), *said, steps.End())

    return refuse


def ask(client: httpx.Client, running: Proxy, dialect: str, who: str) -> httpx.Response:
    sent = body(dialect, [f"I am {who}, {dialect}"])
    headers = credential(dialect, "sk-client") | {"x-session-id": f"session of {who} {dialect}"}
    return client.post(running.url + path(dialect), json=sent, headers=headers)


@pytest.mark.parametrize("size", [1, 4])
def test_can_waiting_cure_it_no_then_the_other_client_is_served_at_home_at_the_first_attempt(
    tmp_path: Path, simulator: Simulator, size: int
) -> None:
    """A1, A2: after each of two refusals, and while they are under way, by every kind of them."""
    simulator.reset()
    config = generic_config(tmp_path, dict(list(NAMES.items())[:size]), more="failover: {attempts: 8, sticky_wait: 0s}")
    with (
        proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running,
        httpx.Client(timeout=30, trust_env=False) as client,
    ):
        homes = {d: ask(client, running, d, "ann").headers["x-patchbay-account"] for d in DIALECTS.values()}
        for kind in ABOUT_THE_REQUEST:
            dialect = DIALECTS[kind.family]
            simulator.fault(refusing(kind), mark=MARK)
            bob = threading.Thread(target=_ask_twice, args=(running, dialect))
            bob.start()
            during = ask(client, running, dialect, "ann")
            bob.join()
            after = ask(client, running, dialect, "ann")
            for answer in (during, after):
                found = answer.status_code, answer.headers.get("x-patchbay-account")
                assert found == (200, homes[dialect]), (kind, answer.text)
            simulator.mend()
        before = len(simulator.truth.requests)
        assert before > 2 * len(ABOUT_THE_REQUEST)
    marked = sum(1 for record in simulator.truth.requests if record.mark == MARK)
    assert before - marked == len(DIALECTS) + 2 * len(ABOUT_THE_REQUEST), "each was sent once"


def _ask_twice(running: Proxy, dialect: str) -> None:
    with httpx.Client(timeout=30, trust_env=False) as client:
        for _ in range(2):
            ask(client, running, dialect, f"bob {MARK}")


@pytest.fixture
def dead(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    """A proxy whose one account was seen to have no valid key."""
    simulator.reset()
    (tmp_path / "console.py").write_text(CONSOLE)
    config = generic_config(tmp_path, {"one": NAMES["one"]}, more="store: sqlite")
    scripts = [str(tmp_path / "console.py")]
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}", scripts=scripts) as running:
        simulator.fault("status", {"status": 401, "code": "invalid_api_key"})
        assert httpx.post(
            running.url + path("openai_chat"), json=body("openai_chat", ["hello"]), trust_env=False, timeout=30
        ).is_error
        simulator.mend()
        yield running


def test_an_account_is_woken_by_a_command(dead: Proxy, tmp_path: Path) -> None:
    """A14, R8: until then it says when it is looked at again, half a minute at most."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        refused = ask(client, dead, "openai_chat", "ann")
        assert refused.is_error
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        (tmp_path / "asked.part").write_text("patchbay.wake one")
        (tmp_path / "asked.part").rename(tmp_path / "asked")
        assert _eventually_served(client, dead)
    assert (tmp_path / "told").read_text() == "account one may be used again"


def test_an_account_is_woken_by_the_command_line(dead: Proxy, tmp_path: Path) -> None:
    """A14: a running proxy hears of it."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        assert ask(client, dead, "openai_chat", "ann").is_error
        command = [str(ROOT / "scripts" / "python"), "-m", "patchbay.cli", "wake", "one"]
        command += ["--config", str(tmp_path / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert _eventually_served(client, dead)


def _eventually_served(client: httpx.Client, running: Proxy) -> bool:
    return eventually(lambda: ask(client, running, "openai_chat", "ann").status_code == 200)
