"""Stored things of the simulated provider: whose they are, and who may use them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ..simulator import simulator_thread


@pytest.fixture(scope="module")
def url() -> Any:
    with simulator_thread({"sk-a": "a", "sk-b": "b"}) as simulator:
        yield simulator.url


def _call(url: str, key: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30) as client:
        answer = client.request(method, path, json=body)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("collection", ["files", "batches", "containers", "conversations", "vector_stores"])
def test_a_thing_is_there_for_the_account_that_made_it(url, collection):
    _, made = _call(url, "sk-a", "POST", f"/v1/{collection}", {})
    path = f"/v1/{collection}/{made['id']}"

    assert _call(url, "sk-a", "GET", path)[1]["id"] == made["id"]
    assert _call(url, "sk-b", "GET", path)[0] == 404
    assert _call(url, "sk-b", "DELETE", path)[0] == 404
    assert _call(url, "sk-a", "DELETE", path)[1]["deleted"] is True
    assert _call(url, "sk-a", "GET", path)[0] == 404


def test_a_cache_of_another_account_cannot_be_used(url):
    _, made = _call(url, "sk-a", "POST", "/v1beta/cachedContents", {"model": "models/m"})
    body = {"contents": [{"parts": [{"text": "hi"}]}], "cachedContent": made["name"]}

    assert _call(url, "sk-a", "POST", "/v1beta/models/m:generateContent", body)[0] == 200
    assert _call(url, "sk-b", "POST", "/v1beta/models/m:generateContent", body)[0] == 404
