"""What one WebSocket of a conversation leaves for the next: its last model, and the accounts that were left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.exchange import Exchange
from patchbay.values.http import Client
from patchbay.websocket_history import AVOIDED_SECONDS, WebSocketHistory

from .test_router import opened, request, routed, router, upgrade


def exchange(session: str = "s", *, model: str = "", on_socket: bool = False, **client: Any) -> Exchange:
    """Return an upgrade of the conversation *session*, or a message on its socket; nothing else has seen it."""
    of = router()
    made = opened(of, replace(upgrade(session), client=Client(**client)))
    socket = routed(of, made) if on_socket else None
    made.model, made.socket_lease = model, socket
    return made


def test_the_next_upgrade_asks_for_the_last_model_on_a_socket_of_its_conversation() -> None:
    history = WebSocketHistory(10)
    assert history.asked(exchange(model="m", on_socket=True)) == "m"
    assert history.asked(exchange()) == "m"
    assert history.asked(exchange(model="n", on_socket=True)) == "n"
    assert history.asked(exchange()) == "n"
    assert history.asked(exchange(on_socket=True)) == "n"  # a message without a model is asked as the ones before it


@pytest.mark.parametrize(
    "other", [exchange("other"), exchange(scope=b"another client")], ids=["another conversation", "another client"]
)
def test_a_model_is_remembered_for_its_conversation_and_client_alone(other: Exchange) -> None:
    history = WebSocketHistory(10)
    history.asked(exchange(model="m", on_socket=True))

    assert history.asked(other) == ""


def test_a_model_that_is_asked_for_stands_and_only_a_socket_teaches_one() -> None:
    history = WebSocketHistory(10)
    assert history.asked(exchange(model="m")) == "m"
    assert history.asked(exchange()) == ""
    history.asked(exchange(model="n", on_socket=True))
    assert history.asked(exchange(model="m")) == "m"
    plain = exchange()
    plain.request = replace(plain.request, headers=request(x_session_id="s").headers)
    assert history.asked(plain) == ""  # no upgrade


def test_no_more_than_256_characters_of_a_model_are_remembered() -> None:
    history = WebSocketHistory(10)
    assert len(history.asked(exchange(model="m" * 300, on_socket=True))) == 300
    assert len(history.asked(exchange())) == 256


def test_an_account_that_was_left_is_avoided_for_half_a_minute() -> None:
    history = WebSocketHistory(10)
    history.avoid(exchange(), "a", 100.0)
    history.avoid(exchange(), "b", 110.0)

    assert AVOIDED_SECONDS == 30.0
    assert history.avoided(exchange(), 129.9) == {"a": 100.0, "b": 110.0}
    assert history.avoided(exchange(), 130.0) == {"b": 110.0}
    assert history.avoided(exchange(), 140.0) == {}


def test_only_the_next_socket_of_the_conversation_avoids_it() -> None:
    history = WebSocketHistory(10)
    assert history.avoided(exchange(), 0.0) == {}
    history.avoid(exchange(), "a", 0.0)
    plain = exchange()
    plain.request = replace(plain.request, headers=request(x_session_id="s").headers)

    for other in (exchange(on_socket=True), exchange("other"), exchange(scope=b"another client"), plain):
        assert history.avoided(other, 1.0) == {}
    assert history.avoided(exchange(), 1.0) == {"a": 0.0}


def test_the_longest_unused_conversations_are_forgotten_by_the_bound_of_now() -> None:
    history = WebSocketHistory(3)

    def teach() -> None:
        for name in "stuv":
            history.asked(exchange(name, model=f"m-{name}", on_socket=True))
            history.avoid(exchange(name), "a", 0.0)

    teach()
    assert [history.asked(exchange(name)) for name in "stuv"] == ["", "m-t", "m-u", "m-v"]
    assert [bool(history.avoided(exchange(name), 1.0)) for name in "stuv"] == [False, True, True, True]
    history.reload(2)
    teach()
    assert [history.asked(exchange(name)) for name in "stuv"] == ["", "", "m-u", "m-v"]
    assert [bool(history.avoided(exchange(name), 1.0)) for name in "stuv"] == [False, False, True, True]
