"""Answers that belong to other requests are flagged, both sides named; answers that are ours never are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import Simulator, simulator_thread
from .conftest import KEYS
from .dialogue import DIALECTS, body, credential, path
from .harness import eventually, generic_config, proxy

NAMES = {name: key for key, name in KEYS.items()}
EXCHANGES, PAIRS, AT_ONCE = 1080, 60, 32  # each 18th and the one behind it are swapped: in all dialects, in both forms


def journal_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def ask_all(url: str, swapped: int) -> None:
    """Send all exchanges, *swapped* of them marked for the simulator, in four dialects, every other one streaming."""
    gate = asyncio.Semaphore(AT_ONCE)
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        kind = number // 2 % 8  # neighbours are alike, so that those to be swapped meet
        dialect, stream = DIALECTS[kind % 4], kind >= 4
        headers = credential(dialect, "sk-client") | {"x-told": str(number)}
        if swapped and number % (EXCHANGES // (swapped // 2)) < 2:
            headers["x-swap"] = "1"
        async with gate:
            answer = await client.post(
                path(dialect, stream=stream), json=body(dialect, [f"question {number}"], stream=stream), headers=headers
            )
        assert answer.status_code == 200, answer.text

    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(ask(client, number) for number in range(EXCHANGES)))


def test_every_swapped_pair_is_flagged_and_both_sides_are_named(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    simulator.fault("swap", {"timeout": 20}, when=lambda record: bool(record.header("x-swap")))
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:
        asyncio.run(ask_all(running.url, 2 * PAIRS))
        assert eventually(lambda: running.journal.count("\n") == EXCHANGES)
        lines = {line["request_id"]: line for line in journal_of(running.journal)}
        log = running.log

    by_number = {record.seq: record for record in simulator.truth.requests}
    victims = [record for record in by_number.values() if record.is_victim]
    assert len(victims) == 2 * PAIRS
    for record in victims:
        line, other = lines[record.received_id], by_number[record.body_of]
        assert line["verdict"] == "crosstalk"
        assert line["victim"] == lines[other.received_id]["exchange"]
        assert other.received_id in {finding["received"] for finding in line["findings"]}
        [alarm] = [told for told in log.splitlines() if f"{record.received_id} event_type=crosstalk" in told]
        assert f"expected={record.received_id} received={other.received_id}" in alarm
        named = lines[other.received_id]
        assert f"session={line['session'][:8]} account={line['account']} victim={named['exchange']}" in alarm
        assert alarm.endswith(f"victim_session={named['session'][:8]}")
    flagged = [line for line in lines.values() if line["verdict"] == "crosstalk"]
    assert len(flagged) == 2 * PAIRS
    assert {line["verdict"] for line in lines.values()} == {"crosstalk", "clean"}


@pytest.fixture(scope="module")
def own_ids() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="own") as running:
        yield running


PROVIDER_OF = {"openai_chat": "openai", "openai_responses": "openai", "anthropic": "anthropic", "gemini": "gemini"}


def test_clean_answers_with_ids_of_the_provider_s_own_raise_no_alarm(tmp_path: Path, own_ids: Simulator) -> None:
    accounts = "\n".join(
        f"  - {{id: {provider}-{name}, provider: {provider}, base_url: '{own_ids.url}', key: {key}}}"
        for provider in ("openai", "anthropic", "gemini")
        for name, key in NAMES.items()
    )
    settings = f"state: {tmp_path / 'state'}\njournal: {{path: {tmp_path / 'journal.jsonl'}}}\naccounts:\n{accounts}\n"
    with proxy(tmp_path, settings, mode=f"reverse:{own_ids.url}") as running:
        asyncio.run(ask_all(running.url, 0))
        assert eventually(lambda: running.journal.count("\n") == EXCHANGES)
        lines, log = journal_of(running.journal), running.log

    assert {line["verdict"] for line in lines} == {"unverifiable"}
    assert not any(line["findings"] for line in lines)
    assert "crosstalk" not in log
