"""A provider in a thread, a client for it, and one question in each of the four dialects."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from simulator import Simulator, simulator_thread

NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # for plain HTTP: to read the roots takes longer than a test
KEYS = {"sk-a": "a", "sk-b": "b"}


@dataclass(frozen=True)
class Question:
    """How one dialect is asked: its path when whole and when streamed, and its body around a text."""

    dialect: str

    def path(self, stream: bool = False) -> str:
        if self.dialect == "gemini":
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/sim:{method}"
        return {"chat": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}[self.dialect]

    def body(self, text: str, stream: bool = False) -> dict[str, Any]:
        message = [{"role": "user", "content": text}]
        return {
            "chat": {"model": "sim", "messages": message, "stream": stream},
            "responses": {"model": "sim", "input": message, "stream": stream},
            "anthropic": {"model": "sim", "max_tokens": 100, "messages": message, "stream": stream},
            "gemini": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        }[self.dialect]

    def ask(
        self, client: httpx.Client, text: str, stream: bool = False, key: str = "sk-a", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}", **more.pop("headers", {})}
        return client.post(self.path(stream), json=self.body(text, stream) | more, headers=headers)


@pytest.fixture(params=["chat", "responses", "anthropic", "gemini"])
def question(request: pytest.FixtureRequest) -> Question:
    return Question(request.param)


@pytest.fixture
def chat() -> Question:
    return Question("chat")


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator_thread(KEYS, echo="both") as simulator:
        yield simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[httpx.Client]:
    with httpx.Client(verify=NOBODY, base_url=sim.url, timeout=30) as client:
        yield client
