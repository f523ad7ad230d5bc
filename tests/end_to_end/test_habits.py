"""What a host does every day is said once, known after a restart, and forgotten when somebody says so."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from .dialogue import body, credential, path
from .harness import ROOT, Proxy, eventually, generic_config, proxy

# Runs in mitmdump what a user types into mitmproxy's console.
CONSOLE = """
import asyncio
import pathlib

from mitmproxy import ctx

HERE = pathlib.Path(__file__).parent


class Console:
    def running(self):
        self.task = asyncio.get_running_loop().create_task(self.serve())

    async def serve(self):
        while True:
            if (HERE / "asked").exists():
                asked = (HERE / "asked").read_text()
                told = ctx.master.commands.execute(asked)
                (HERE / "asked").unlink()
                (HERE / "told").write_text(told if isinstance(told, str) else "\\n".join(told))
            await asyncio.sleep(0.02)


addons = [Console()]
"""
TAKEN_FOR_ITS_OWN = "they count as the host's own"


class _OwnIds(BaseHTTPRequestHandler):
    """A server that puts a request id of its own on every answer."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Good day."}}
        answer = json.dumps({"object": "chat.completion", "model": "m", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Request-ID", f"own-7f3a1c9b-{next(self.numbers)}")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OwnIds)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def verdicts(running: Proxy, count: int) -> list[str]:
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
        headers = credential("openai_chat", "sk-client")
        answers = [
            client.post(path("openai_chat"), json=body("openai_chat", [f"question {n}"]), headers=headers)
            for n in range(count)
        ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.headers["x-patchbay-verdict"] for answer in answers]


def typed(running: Proxy, command: str) -> str:
    (running.folder / "told").unlink(missing_ok=True)
    (running.folder / "asked.new").write_text(command)
    (running.folder / "asked.new").rename(running.folder / "asked")
    assert eventually((running.folder / "told").exists), running.log
    assert eventually((running.folder / "told").read_text)
    return (running.folder / "told").read_text()


def patchbay_habits(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "patchbay.cli", "habits", "--config", str(folder / "config.yaml"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_habit_is_said_once_kept_over_a_restart_and_forgotten_when_told(tmp_path: Path, host: str) -> None:
    """H1, H6: a header that is the host's own is flagged three times, then no more, until the habit is reset."""
    config = generic_config(tmp_path, {"one": "key-one"}, more="store: sqlite")
    (tmp_path / "console.py").write_text(CONSOLE)
    scripts = [str(tmp_path / "console.py")]

    with proxy(tmp_path, config, mode=f"reverse:{host}", scripts=scripts) as running:
        assert verdicts(running, 8) == ["crosstalk"] * 3 + ["unverifiable"] * 5
        assert eventually(lambda: TAKEN_FOR_ITS_OWN in running.log)
        assert running.log.count(TAKEN_FOR_ITS_OWN) == 1
        assert f"patchbay habits --reset {host} contract" in running.log
        told = typed(running, "patchbay.habits").splitlines()
        assert [line for line in told if "demoted" in line] == [
            f"{host} contract header x-request-id: kept 0, broken 8, demoted"
        ]

    with proxy(tmp_path, config, mode=f"reverse:{host}", scripts=scripts) as running:
        assert verdicts(running, 4) == ["unverifiable"] * 4
        assert TAKEN_FOR_ITS_OWN not in running.log
        assert typed(running, f"patchbay.habits.reset {host} contract")
        assert verdicts(running, 4) == ["crosstalk"] * 3 + ["unverifiable"]
        assert f"{host}  contract header x-request-id" in patchbay_habits(tmp_path)
        patchbay_habits(tmp_path, "--reset", host, "contract")
        assert eventually(lambda: "demoted" not in typed(running, "patchbay.habits"))
        assert verdicts(running, 1) == ["crosstalk"]
