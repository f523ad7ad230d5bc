"""Settings change under load, and no request notices."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import body, credential, path
from .harness import Proxy, eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
RELOADS = int(os.environ.get("PATCHBAY_RELOADS", "12"))  # 100 in the long run
CLIENTS = 8


def write(running: Proxy, text: str) -> None:
    """Write as editors do: aside, then over it."""
    aside = running.folder / "config.new"
    aside.write_text(text)
    aside.replace(running.folder / "config.yaml")


def taken_over(running: Proxy) -> int:
    return running.log.count("is applied")


def variants(folder: Path) -> list[str]:
    """Settings that differ in all that may differ while requests run."""
    names = list(NAMES)
    fewer = {name: NAMES[name] for name in names[:2]}
    return [
        generic_config(folder, NAMES, account="weight: 3"),
        generic_config(folder, fewer),
        generic_config(folder, NAMES, more="strategy: round_robin\nsessions: {ttl: 10m}"),
        generic_config(folder, dict(reversed(NAMES.items())), account="max_concurrent: 50"),
        generic_config(folder, {name: NAMES[name] for name in names[1:]}, account="priority: 2"),
        generic_config(folder, NAMES, more="failover: {attempts: 4}\nlimits: {body: 8MB}"),
    ]


async def under_load(url: str, meanwhile: Callable[[], Any]) -> list[int]:
    """Ask again and again, streamed and not, until *meanwhile* (in a thread) is done; return every status."""
    done, answers = asyncio.Event(), []
    limits = httpx.Limits(max_connections=CLIENTS)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        for turn in itertools.count():
            if done.is_set():
                return
            stream = bool((turn + number) % 2)
            asked = body("openai_chat", [f"client {number}, turn {turn}"], stream=stream)
            headers = credential("openai_chat", "sk-client") | {"x-session-id": f"s-{number}"}
            answer = await client.post(path("openai_chat", stream=stream), json=asked, headers=headers)
            whole = not stream or answer.text.rstrip().endswith("data: [DONE]")
            answers.append(answer.status_code if whole else -1)

    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False, limits=limits) as client:
        tasks = [asyncio.create_task(ask(client, number)) for number in range(CLIENTS)]
        try:
            await asyncio.to_thread(meanwhile)
        finally:
            done.set()
            await asyncio.gather(*tasks)
    return answers


def test_no_request_fails_while_settings_change(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:

        def change() -> None:
            for number, text in zip(range(RELOADS), itertools.cycle(variants(tmp_path)), strict=False):
                write(running, text + f"# version {number}\n")
                assert eventually(lambda number=number: taken_over(running) > number), running.log

        statuses = asyncio.run(under_load(running.url, change))

    assert len(statuses) > RELOADS * CLIENTS
    assert set(statuses) == {200}
    print(f"{RELOADS} reloads, {len(statuses)} requests, none failed")


def test_an_account_that_was_taken_out_ends_what_it_began_and_gets_nothing_new(
    tmp_path: Path, simulator: Simulator
) -> None:
    simulator.reset()
    keys = {"one": NAMES["one"]}
    with proxy(tmp_path, generic_config(tmp_path, keys), mode=f"reverse:{simulator.url}") as running:

        async def story() -> tuple[str, int]:
            simulator.fault("delay_events", {"seconds": 0.25}, account="one")
            async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as client:
                asked = body("openai_chat", ["a long story, please"], stream=True)
                request = client.build_request("POST", path("openai_chat"), json=asked)
                answer = await client.send(request, stream=True)
                chunks = answer.aiter_text()
                text = await anext(chunks)
                write(running, generic_config(tmp_path, {"two": NAMES["two"]}))
                assert await asyncio.to_thread(eventually, lambda: taken_over(running) == 1)
                after = await client.post(path("openai_chat"), json=body("openai_chat", ["something new"]))
                return text + "".join([chunk async for chunk in chunks]), after.status_code

        text, status = asyncio.run(story())
        simulator.mend()

    assert text.rstrip().endswith("data: [DONE]")
    assert status == 200
    assert [record.account for record in simulator.truth.requests] == ["one", "two"]


def test_a_bad_file_changes_nothing_and_every_mistake_is_in_the_log(tmp_path: Path, simulator: Simulator) -> None:
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:
        write(running, "strategy: random\nbogus: 1\naccounts: []\n")
        assert eventually(lambda: "nothing changes" in running.log and "accounts: must hold" in running.log)
        assert "strategy: 'random' is none of" in running.log
        assert "bogus: is not a setting" in running.log

        answer = httpx.post(
            running.url + path("openai_chat"), json=body("openai_chat", ["hello"]), trust_env=False, timeout=30
        )
        assert answer.status_code == 200


def test_a_new_key_in_a_file_wakes_an_account_that_was_locked_out(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("sk-no-longer-good")
    settings = generic_config(tmp_path, {"one": f"file:{key}"})

    def ask(running: Proxy) -> int:
        asked = body("openai_chat", ["hello"])
        return httpx.post(running.url + path("openai_chat"), json=asked, trust_env=False, timeout=30).status_code

    with proxy(tmp_path, settings, mode=f"reverse:{simulator.url}") as running:
        assert ask(running) >= 400
        key.write_text(NAMES["one"])
        assert eventually(lambda: "was read again and can be used" in running.log), running.log
        assert ask(running) == 200
        assert "sk-no-longer-good" not in running.log + running.journal
        assert NAMES["one"] not in running.log + running.journal
