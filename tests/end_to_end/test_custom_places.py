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
        httpx.post(
            named.url + path("openai_chat"), json=question, timeout=30, headers={"X-Acme-Chat": chat}
        ).raise_for_status()

    (tier, first), (_, other), (_, again) = sessions(named, 3)
    assert (tier, first, other == first) == ("custom_header", again, False)
    assert [record.header("x-acme-chat") for record in simulator.truth.requests[-3:]] == ["a", "b", "a"]


def test_a_member_of_the_user_names_the_conversation_also_on_a_socket(named: Proxy) -> None:
    with socket(named) as opened:
        for number, chat in enumerate((7, 8, 7)):
            ask(opened, f"question {number}", chat={"id": chat})

    (tier, first), (_, other), (_, again) = sessions(named, 3)
    assert (tier, first, other == first) == ("custom_body", again, False)


OWN = '{header: X-Acme-Ticket, prefix: "Token "}'
TICKET = {"X-Acme-Ticket": "Token the-clients-own-ticket"}


def ticketed(folder: Path, more: str = "") -> str:
    config = generic_config(folder, {"one": NAMES["one"]}, more=more).replace("provider: generic", "provider: acme")
    return f"{config}\nproviders: {{acme: {{preset: generic, credential: {OWN}}}}}\n"


def test_a_key_goes_up_in_the_header_of_the_settings_and_stands_nowhere(tmp_path: Path, simulator: Simulator) -> None:
    saved, har = tmp_path / "flows", tmp_path / "all.har"
    options = ("-w", str(saved), "--set", f"hardump={har}")
    with proxy(tmp_path, ticketed(tmp_path), *options, mode=f"reverse:{simulator.url}") as running:
        url, question = running.url + path("openai_chat"), body("openai_chat", ["hi"])
        httpx.post(url, json=question, timeout=30, headers=TICKET).raise_for_status()
        assert eventually(lambda: running.journal)

    sent = simulator.truth.last()
    assert (sent.header("x-acme-ticket"), sent.header("authorization")) == (f"Token {NAMES['one']}", "")
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "config.yaml"]
    written = b"".join(file.read_bytes() for file in files)
    assert b"patchbay:one" in saved.read_bytes() and b"patchbay:one" in har.read_bytes()
    assert [key for key in (NAMES["one"], "the-clients-own-ticket") if key.encode() in written] == []


def test_a_client_shows_its_key_in_the_header_of_the_settings(tmp_path: Path, simulator: Simulator) -> None:
    clients = "clients: [{name: ann, key: the-clients-own-ticket}]"
    with proxy(tmp_path, ticketed(tmp_path, clients), mode=f"reverse:{simulator.url}") as running:
        url, question = running.url + path("openai_chat"), body("openai_chat", ["hi"])

        assert httpx.post(url, json=question, timeout=30, headers=TICKET).status_code == 200
        assert httpx.post(url, json=question, timeout=30, headers={"X-Acme-Ticket": "Token another"}).status_code == 401
        assert httpx.post(url, json=question, timeout=30, headers={"X_Acme_Ticket": "Token another"}).status_code == 400
