"""Places that the settings name: of a conversation's id, and of an account's key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..simulator import Simulator
from .conftest import KEYS
from .dialogue import body, path
from .harness import Proxy, eventually, generic_config, proxy
from .test_websockets import ask, exchanges, socket

NAMES = {name: key for key, name in KEYS.items()}
PAIR = {name: NAMES[name] for name in ("one", "two")}
PLACES = "sessions: {headers: [X-Acme-Chat], body: [chat.id]}"


@pytest.fixture
def named(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    more = f"{PLACES}\nstrategy: round_robin"
    config = generic_config(tmp_path, PAIR, more=more, account="websockets: true")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        yield running


def sessions(running: Proxy, count: int) -> list[tuple[str, str]]:
    """Return the tier and the session of the *count* exchanges there must be."""
    assert eventually(lambda: len(exchanges(running)) >= count)
    return [(line["tier"], line["session"]) for line in exchanges(running)]


def test_a_header_of_the_user_names_the_conversation_and_goes_up(named: Proxy, simulator: Simulator) -> None:
    for number, chat in enumerate(("a", "b", "a")):
        question = body("openai_chat", [f"question {number}"])
        httpx.post(named.url + path("openai_chat"), json=question, headers={"X-Acme-Chat": chat}).raise_for_status()

    (tier, first), (_, other), (_, again) = sessions(named, 3)
    assert (tier, first, other == first) == ("custom_header", again, False)
    assert [record.header("x-acme-chat") for record in simulator.truth.requests[-3:]] == ["a", "b", "a"]


def test_a_member_of_the_user_names_the_conversation_also_on_a_socket(named: Proxy) -> None:
    with socket(named) as opened:
        for number, chat in enumerate((7, 8, 7)):
            ask(opened, f"question {number}", chat={"id": chat})

    (tier, first), (_, other), (_, again) = sessions(named, 3)
    assert (tier, first, other == first) == ("custom_body", again, False)
