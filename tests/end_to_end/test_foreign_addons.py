"""Other addons are called as they are without Patchbay: one that changes, answers, waits, fails, or ends the event."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.simulator import simulator_thread

from .dialogue import body
from .harness import generic_config, proxy

KEY = "sk-foreign-0123456789abcdef"
FOREIGN = """
import asyncio
import json
import pathlib

from mitmproxy import exceptions, http

LOG = pathlib.Path(__file__).with_name("called.jsonl")


def case(flow):
    return flow.request.headers.get("x-case", "")


class Called:
    def note(self, hook, flow):
        with LOG.open("a") as file:
            file.write(json.dumps([type(self).__name__, hook, case(flow)]) + "\\n")


class Modifies(Called):
    def request(self, flow):
        self.note("request", flow)
        flow.request.headers["x-modified"] = "1"

    def response(self, flow):
        self.note("response", flow)
        flow.response.headers["x-modified"] = "1"


class Blocks(Called):
    def requestheaders(self, flow):
        self.note("requestheaders", flow)

    def request(self, flow):
        self.note("request", flow)
        if case(flow) == "blocked":
            flow.response = http.Response.make(451, b"blocked", {"x-by": "Blocks"})


class Waits(Called):
    async def requestheaders(self, flow):
        await asyncio.sleep(0.01)
        self.note("requestheaders", flow)

    async def request(self, flow):
        await asyncio.sleep(0.01)
        self.note("request", flow)

    async def responseheaders(self, flow):
        await asyncio.wait_for(asyncio.sleep(0.01), 5)
        self.note("responseheaders", flow)


class Raises(Called):
    def request(self, flow):
        self.note("request", flow)
        if case(flow) == "raises":
            raise ValueError("of a foreign addon")

    async def response(self, flow):
        self.note("response", flow)
        if case(flow) == "raises":
            await asyncio.sleep(0.01)
            raise ValueError("of a foreign addon")


class Halts(Called):
    def response(self, flow):
        self.note("response", flow)
        if case(flow) == "halts":
            raise exceptions.AddonHalt


class Last(Called):
    def request(self, flow):
        self.note("request", flow)

    def response(self, flow):
        self.note("response", flow)
        flow.response.headers["x-last"] = "1"


addons = [Modifies(), Blocks(), Waits(), Raises(), Halts(), Last()]
"""
CASES = ("", "blocked", "raises", "halts")


def _seen(folder: Path, *, alone: bool, environment: dict[str, str]) -> tuple[list[object], list[object], int]:
    """Return what the addons were called with, what the client got, and how many errors were logged."""
    folder.mkdir()
    script = folder / "foreign.py"
    script.write_text(FOREIGN)
    answers: list[object] = []
    with simulator_thread({KEY: "one"}) as simulator:
        settings, mode = generic_config(folder, {"one": KEY}), f"reverse:{simulator.url}"
        loaded = {"script": str(script)} if alone else {"scripts": [str(script)]}
        with proxy(folder, settings, mode=mode, environment=environment, **loaded) as running:  # type: ignore[arg-type]
            with httpx.Client(trust_env=False, timeout=30) as client:
                for stream in (False, True):
                    for case in CASES:
                        answer = client.post(
                            f"{running.url}/v1/chat/completions",
                            json=body("openai_chat", ["hi"]) | {"stream": stream},
                            headers={"x-case": case, "authorization": f"Bearer {KEY}"},
                        )
                        marks = {name: answer.headers.get(name) for name in ("x-modified", "x-by", "x-last")}
                        answers.append((answer.status_code, {} if stream else marks))
            errors = running.log.count("Addon error: of a foreign addon")
    called = [json.loads(line) for line in (folder / "called.jsonl").read_text().splitlines()]
    return called, answers, errors


def test_they_are_called_as_without_patchbay(tmp_path: Path) -> None:
    alone = _seen(tmp_path / "alone", alone=True, environment={})
    ours = _seen(tmp_path / "ours", alone=False, environment={})
    stock = _seen(tmp_path / "stock", alone=False, environment={"PATCHBAY_STOCK": "all"})

    assert ours == stock == alone
    assert [answer[0] for answer in ours[1]] == [200, 451, 200, 200] * 2  # type: ignore[index]
    assert ours[2] == 4


@pytest.mark.parametrize("switch", ["dispatch", "inline", "contexts", "heads", "routing"])
def test_each_host_step_can_be_left_off(tmp_path: Path, switch: str) -> None:
    called, answers, errors = _seen(tmp_path / "one", alone=False, environment={"PATCHBAY_STOCK": switch})

    assert [answer[0] for answer in answers] == [200, 451, 200, 200] * 2  # type: ignore[index]
    assert len(called) > 60
    assert errors == 4
