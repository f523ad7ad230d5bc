"""What a provider of bad manners says of right answers, and that the truth has whose metadata it repeated."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from simulator import simulator_thread

from .conftest import KEYS, NOBODY

HEADERS = {"Authorization": "Bearer sk-a"}


def asked(count: int, body: Any, path: str, **manners: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return so many answers to *body* of the number, and what was true of them."""
    with (
        simulator_thread(KEYS, **manners) as sim,
        httpx.Client(base_url=sim.url, headers=HEADERS, verify=NOBODY, timeout=60, trust_env=False) as client,
    ):
        answers = [client.post(path, json=body(number)).json() for number in range(count)]
        return answers, sim.truth.requests


@pytest.mark.parametrize(("counts", "told"), [
    ("right", "own"), ("sloppy", 100), ("another's", "before"), ("at times", "own"), ("guessed", "fourth"),
])  # fmt: skip
def test_counts(counts: str, told: str | int) -> None:
    def body(number: int) -> dict[str, Any]:
        return {"model": "sim", "messages": [{"role": "user", "content": "one two three " * (number + 1)}]}

    answers, _ = asked(2, body, "/v1/chat/completions", counts=counts)
    right, _ = asked(2, body, "/v1/chat/completions")
    count, before, own = (each["usage"]["prompt_tokens"] for each in (answers[1], right[0], right[1]))

    assert before < own
    assert count == {"own": own, 100: 100, "before": before, "fourth": len("one two three " * 2) // 4}[told]


@pytest.mark.parametrize(("repeats", "told", "of"), [
    ("right", ["0", "1", "2"], [0, 1, 2]), ("another's", ["0", "0", "1"], [0, 0, 1]),
    ("first", ["0", "0", "0"], [0, 0, 0]), ("dropped", [None] * 3, [0, 1, 2]),
    ("capitals", ["0", "1", "2"], [0, 1, 2]),
])  # fmt: skip
def test_metadata(repeats: str, told: list[str | None], of: list[int]) -> None:
    def body(number: int) -> dict[str, Any]:
        return {"model": "sim", "input": "the same", "metadata": {"n": str(number), "text": "small"}}

    answers, truth = asked(3, body, "/v1/responses", repeats=repeats)

    assert [each["metadata"].get("n") for each in answers] == told
    assert [record.metadata_of - truth[0].seq for record in truth] == of
    assert [record.is_victim for record in truth] == [record.metadata_of != record.seq for record in truth]
    assert (answers[0]["metadata"].get("text") == "SMALL") == (repeats == "capitals")


@pytest.mark.parametrize(("binds", "told"), [("right", 0), ("wrong", 8), ("sloppy", 1), ("missing", 0)])
def test_reasoning(binds: str, told: int) -> None:
    history: list[dict[str, Any]] = []

    def body(number: int) -> dict[str, Any]:
        history.append({"role": "user", "content": f"question {number}"})
        thinks = {"thinking": {"type": "adaptive"}}
        return {"model": "sim", "max_tokens": 99, "messages": history, **thinks}

    found = []
    with (
        simulator_thread(KEYS, binds=binds) as sim,
        httpx.Client(base_url=sim.url, headers=HEADERS, verify=NOBODY, timeout=60, trust_env=False) as client,
    ):
        for number in range(9):
            answer = client.post("/v1/messages", json=body(number)).json()
            history.append({"role": "assistant", "content": answer["content"]})
            found.append("input_transformations" in answer)

    assert sum(found) == told


@pytest.mark.parametrize(("threads", "changed", "refused"), [
    ("right", False, 0), ("right", True, 9), ("wrong", False, 9), ("sloppy", False, 1), ("missing", True, 0),
])  # fmt: skip
def test_threads(threads: str, changed: bool, refused: int) -> None:
    told = []
    with (
        simulator_thread(KEYS, threads=threads) as sim,
        httpx.Client(base_url=sim.url, headers=HEADERS, verify=NOBODY, timeout=60, trust_env=False) as client,
    ):
        body: dict[str, Any] = {"model": "sim", "max_tokens": 9, "messages": [{"role": "user", "content": "one"}]}
        first = client.post("/v1/messages", json={**body, "thread": {"type": "create"}, "system": "be brief"}).json()
        asked = {**body, "thread": {"type": "continue", "previous_message_id": first["id"]}}
        for _ in range(9):
            answer = client.post("/v1/messages", json=asked | ({"model": "other"} if changed else {}))
            told.append(answer.json().get("error"))

    errors = [each for each in told if each]
    assert len(errors) == refused
    assert all(each["details"] == {"error_code": "thread_fingerprint_mismatch"} for each in errors)
    assert all(each["message"].endswith("differing field(s): model.") for each in errors)
