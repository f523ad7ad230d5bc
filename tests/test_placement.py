"""Home, new and moved have one meaning: what the account that answered is to the conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from patchbay.accounts.lease import Lease
from patchbay.exchange import Exchange, placement
from patchbay.proxy import decision_card, flow_record, flow_view, terminal_json, terminal_lines
from patchbay.proxy.control_answers import SessionShown
from patchbay.proxy.session_list import SessionList
from patchbay.router import Router
from patchbay.values.answer import AnswerEvent, End, Head, Message
from patchbay.values.decision import Decision, Refusal, Wait
from patchbay.values.http import Headers

from .test_router import JSON, account, answer, bad, good, opened, request, routed, router

Step = Callable[["Talk"], None]


class Talk:
    """One conversation behind account a, which comes first, and account b; its last decision, and the sessions."""

    def __init__(self) -> None:
        self.router: Router = router(account("a", priority=1), account("b"))
        self.now = 1000.0
        self.sessions = SessionList()
        self.decision: Decision = None  # type: ignore[assignment]
        self.exchange: Exchange = None  # type: ignore[assignment]

    def turn(self, *answers: tuple[AnswerEvent, ...]) -> None:
        """Ask once; the attempts get *answers*, in this order."""
        self.now += 1
        exchange = opened(self.router, request(x_session_id="s"), self.now)
        for each in answers:
            while isinstance(decided := self.router.next(exchange, self.now), Wait):
                self.now = decided.until
            assert isinstance(decided, Lease)
            reactions = answer(self.router, exchange, *each, now=self.now)
        if reactions[-1] == "next":
            self.router.next(exchange, self.now)
        status = exchange.refusal.status if exchange.refusal else exchange.attempts[-1].status
        self.close(exchange, status)

    def close(self, exchange: Exchange, status: int) -> None:
        self.exchange = exchange
        self.decision = self.router.close(exchange, "", self.now, status=status)
        self.sessions.record(exchange, self.decision)

    @property
    def told(self) -> tuple[str, str, str]:
        return terminal_lines.binding_word(self.decision), self.decision.account, self.decision.moved_because

    @property
    def session(self) -> SessionShown:
        return self.sessions.shown(self.router.accounts.bindings.all(self.now), 3600.0)[0]


def after(seconds: float) -> Step:
    def step(talk: Talk) -> None:
        talk.now += seconds

    return step


def turn(*answers: tuple[AnswerEvent, ...]) -> Step:
    return lambda talk: talk.turn(*answers)


def cool(talk: Talk) -> None:
    talk.router.state.pause("a", talk.now + 600, talk.now)


def wake(talk: Talk) -> None:
    talk.router.state.wake("a", talk.now)


def unbind(talk: Talk) -> None:
    assert talk.router.accounts.unbind(talk.decision.session)


LIMITED = Head(429, Headers([*JSON, ("retry-after", "600")])), *bad(429)[1:]
FAILING, REFUSED = bad(500), bad(401)
STORIES: dict[str, tuple[list[Step], tuple[str, str, str], int]] = {
    # the steps, the last turn as (word, account, why), and how many turns moved
    "the first": ([turn(good())], ("new", "a", ""), 0),
    "the second": ([turn(good()), turn(good())], ("home", "a", ""), 0),
    "new, though another account was tried": ([turn(LIMITED, good())], ("new", "b", ""), 0),
    "new, though another account failed": ([turn(FAILING, good())], ("new", "b", ""), 0),
    "none answered a new one": ([turn(LIMITED, LIMITED)], ("", "b", ""), 0),
    "at home after a first turn elsewhere": ([turn(LIMITED, good()), turn(good())], ("home", "b", ""), 0),
    "limited at home": ([turn(good()), turn(LIMITED, good())], ("moved", "b", "rate limited (429)"), 1),
    "still limited at home": (
        [turn(good()), turn(LIMITED, good()), turn(good())], ("moved", "b", "rate limited (429)"), 2,
    ),
    "failing at home": ([turn(good()), turn(FAILING, FAILING, good())], ("moved", "b", "failing (500)"), 1),
    "failing at home for this conversation, the turn after": (
        [turn(good()), turn(FAILING, FAILING, good()), turn(good())], ("moved", "b", "failing (500)"), 2,
    ),
    "its key was refused at home": ([turn(good()), turn(REFUSED, good())], ("moved", "b", "key refused (401)"), 1),
    "none answered a bound one": ([turn(good()), turn(LIMITED, LIMITED)], ("", "b", ""), 0),
    "a mistake of the request": ([turn(good()), turn(bad(400))], ("", "a", ""), 0),
    "back after a limit": ([turn(good()), turn(LIMITED, good()), after(3000), turn(good())], ("home", "a", ""), 1),
    "cooled by a user": ([turn(good()), cool, turn(good())], ("moved", "b", "paused by a command"), 1),
    "woken by a user": ([turn(good()), cool, turn(good()), wake, turn(good())], ("home", "a", ""), 1),
    "unbound": ([turn(good()), unbind, turn(good())], ("moved", "b", "this conversation was unbound from it"), 1),
    "unbound, the turn after": ([turn(good()), unbind, turn(good()), turn(good())], ("home", "b", ""), 1),
    "unbound, and back since none else can": ([turn(good()), unbind, turn(LIMITED, good())], ("home", "a", ""), 0),
    "forgotten after an hour": ([turn(good()), after(4000), turn(good())], ("new", "a", ""), 0),
    "refused at home in an earlier turn": (
        [turn(good()), turn(REFUSED, bad(400)), turn(good())], ("moved", "b", "key refused (401)"), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_what_an_account_is_to_a_conversation(name: str) -> None:
    steps, expected, moved = STORIES[name]
    talk = Talk()
    for step in steps:
        step(talk)

    assert talk.told == expected
    assert (talk.sessions.totals().moved, talk.session.moved) == (moved, moved)


@pytest.mark.parametrize("name", STORIES)
def test_every_reader_is_told_the_same(name: str) -> None:
    steps, (word, account_id, why), _ = STORIES[name]
    talk = Talk()
    for step in steps:
        step(talk)
    decision, exchange = talk.decision, talk.exchange
    metadata = flow_record.metadata_of(decision.encoded(), exchange.candidates, exchange.identity.evidence)
    card = dict(decision_card.rows(metadata))
    began = f"moved from a: {why}" if word == "moved" else word

    assert card["account"] == " · ".join(filter(None, (account_id, began, "generic")))
    assert flow_view.comment(exchange, decision).startswith(f"{account_id} {word} ".replace("  ", " "))
    event = terminal_json.exchange(decision, talk.now)
    assert (event["binding"], event["moved_from"]) == (word, "a" if word == "moved" else "")
    assert ("others" in card) == (word in ("moved", "") and len(exchange.candidates) > 1)
    if word == "moved":
        assert card["others"] == f"a: {why}" and talk.session.moves[0].reason == why
        assert talk.session.account == "b"


def test_a_return_has_its_reason_and_is_no_move() -> None:
    talk = Talk()
    for step in (turn(good()), turn(LIMITED, good()), after(3000), turn(good())):
        step(talk)
    assert [(each.origin, each.account, each.reason) for each in talk.session.moves] == [
        ("a", "b", "rate limited (429)"), ("b", "a", "a is back"),
    ]  # fmt: skip
    assert (talk.session.moved, talk.session.turns, talk.session.failed) == (1, 3, 0)


def test_an_account_that_answered_only_with_an_error_is_not_where_a_conversation_was() -> None:
    talk = Talk()
    for step in (turn(good()), turn(LIMITED, LIMITED)):
        step(talk)
    assert (talk.session.account, talk.session.moves, talk.session.turns, talk.session.failed) == ("a", [], 1, 1)
    assert talk.sessions.totals().failed == 1


def test_replays_and_handshakes_are_no_turns() -> None:
    talk = Talk()
    talk.turn(good())
    exchange = opened(talk.router, request(x_session_id="s"), talk.now)
    routed(talk.router, exchange, talk.now)
    answer(talk.router, exchange, *good(), now=talk.now)
    exchange.request = replace(exchange.request, replay=SimpleNamespace())  # type: ignore[arg-type]
    decided = talk.router.close(exchange, "", talk.now, status=200)
    talk.sessions.record(exchange, decided)
    talk.sessions.record(exchange, _switched(decided))

    assert (talk.session.turns, talk.session.failed, talk.sessions.totals().exchanges) == (1, 0, 2)


def _switched(decision: Decision) -> Decision:
    members: Any = {name: getattr(decision, name) for name in decision.__struct_fields__}
    return Decision(**(members | {"status": 101}))


# -- on a WebSocket ---------------------------------------------------------------------------------------------------


class SocketTalk(Talk):
    """The same conversation on WebSockets; `open` opens one, `message` asks on it."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = False

    def open(self) -> None:
        asked = request(path="/v1/responses", x_session_id="s", upgrade="websocket", connection="Upgrade")
        endpoint = replace(asked.endpoint, stream=False)
        self.asked = replace(asked, method="GET", endpoint=endpoint)
        upgrade = opened(self.router, self.asked, self.now)
        self.lease = routed(self.router, upgrade, self.now)
        answer(self.router, upgrade, Head(101, JSON), End(), now=self.now)
        self.answered = False
        self.close(upgrade, 101)

    def message(self, *events: dict[str, Any]) -> None:
        self.now += 1
        asked = replace(self.asked, body=request({"type": "response.create", "model": "m", "input": "hi"}).body)
        exchange = self.router.open(asked, self.now, reverse=asked.destination, socket_lease=self.lease)
        assert not isinstance(exchange, Refusal)
        exchange.is_first_on_socket = not self.answered
        routed(self.router, exchange, self.now)
        answer(self.router, exchange, Head(200, JSON), *_messages(events), now=self.now)
        self.answered = self.answered or placement(exchange).binding != "none"
        self.close(exchange, 200 if self.answered else 429)


COMPLETED = {"type": "response.completed", "response": {"id": "resp_1", "object": "response", "status": "completed"}}
FAILED = {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded", "message": "slow down"}}


def _messages(events: tuple[dict[str, Any], ...]) -> Iterator[AnswerEvent]:
    import json

    yield from (Message(json.dumps(each).encode()) for each in events)


def test_messages_on_a_socket_are_new_then_at_home_and_move_with_the_socket() -> None:
    talk = SocketTalk()
    talk.open()
    assert talk.decision.is_handshake
    told = []
    for _ in range(2):
        talk.message(COMPLETED)
        told.append(talk.told)
    talk.message(FAILED)
    told.append(talk.told)
    talk.open()
    for _ in range(2):
        talk.message(COMPLETED)
        told.append(talk.told)

    assert told == [
        ("new", "a", ""), ("home", "a", ""), ("", "a", ""), ("moved", "b", "rate limited (429)"), ("home", "b", ""),
    ]  # fmt: skip
    assert (talk.session.turns, talk.session.failed, talk.session.moved) == (4, 1, 1)
