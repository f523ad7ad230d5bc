"""The list of sessions and the totals follow every exchange, and stay small."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from patchbay.accounts.bindings import Binding, Key
from patchbay.proxy import session_list, terminal_lines
from patchbay.proxy.control_answers import TokenTotals
from patchbay.proxy.session_list import MOVES, SessionList, named
from patchbay.values.answer import Usage
from patchbay.values.decision import AttemptSummary, Decision, Refusal

A, B = "a" * 32, "b" * 32


def decision(session: str = A, account: str = "one", at: float = 10.0, **more: Any) -> Decision:
    members = {
        "time": at, "event_type": "chat_completion_success", "request_id": "pb1-x", "exchange": "x", "client": "local",
        "client_request_id": "", "account": account, "provider": "p", "pool": "openai", "dialect": "openai_chat",
        "method": "POST", "path": "/v1", "model": "m", "stream": False, "status": 200, "error": "",
        "duration_seconds": 1.0, "first_byte_seconds": None, "tokens": Usage(10, 3, 5), "session": session,
        "thread": "t", "tier": "content", "session_id": "i", "binding": "hit", "in_flight": 1, "attempts": [],
        "verdict": "clean", "echo": "", "victim": "", "findings": [], "tool": "codex",
    }  # fmt: skip
    return Decision(**(members | more))  # type: ignore[arg-type]


def told(*decisions: Decision) -> SessionList:
    """Return the list after exchanges that ended with *decisions*."""
    made = SessionList()
    exchange: Any = SimpleNamespace(candidates=(), identity=SimpleNamespace(evidence=()), refusal=None,
                                    is_turn=True, is_answered=True)  # fmt: skip

    for each in decisions:
        made.record(exchange, each)
    return made


def bound(affinity: str, home: str, expires: float = 1000.0, model: str = "") -> Binding:
    return Binding(Key("openai@any", b"", affinity, model), home, 1.0, expires)


def test_each_exchange_is_added_to_its_session() -> None:
    made = told(decision(), decision(B, at=20.0), decision(at=30.0, model="n", verdict="suspect"))
    last, first = made.shown([bound(A, "two"), bound(A, "one", model="n")], 100.0)
    assert (last.name, last.turns, last.tokens, last.tool) == ("aaaaaaaa", 2, TokenTotals(20, 10, 6), "codex")
    assert (last.home, last.account, last.model, last.verdict) == ("two", "one", "n", "suspect")
    assert (last.first, last.last, last.moves) == (10.0, 31.0, [])
    assert (first.session, first.home) == (B, "")


def test_totals_count_what_belongs_to_no_session_too() -> None:
    totals = told(
        decision(), decision("", status=503, account="", error="queue_exhausted", tokens=None),
        decision(B, status=429, verdict="unverifiable"), decision(status=None, error="ended"),
    ).totals()  # fmt: skip
    assert (totals.exchanges, totals.failed, totals.tokens) == (4, 3, TokenTotals(30, 15, 9))
    assert (totals.accounts, totals.verdicts) == ({"one": 3}, {"clean": 3, "unverifiable": 1})


@pytest.mark.parametrize(
    ("more", "why", "moved"),
    [
        (
            {"binding": "reselected", "moved_from": "one", "moved_because": "rate limited (429)"},
            "rate limited (429)",
            1,
        ),
        ({"binding": "reselected", "moved_from": "three", "moved_because": "busy"}, "three: busy", 1),
        ({"binding": "hit"}, "it is the home of this conversation by now", 0),
        ({"binding": "new"}, "the conversation had no home any more", 0),
        ({"binding": "inherited"}, "it answered a related request", 0),
        ({"binding": "none"}, "the request was bound to no home", 0),
    ],
)
def test_a_change_of_the_account_has_a_reason(more: dict[str, Any], why: str, moved: int) -> None:
    made = told(decision(), decision(account="two", at=50.0, **more))
    (session,) = made.shown([], 100.0)
    (move,) = session.moves
    assert (move.time, move.origin, move.account, move.reason) == (51.0, "one", "two", why)
    assert (session.moved, made.totals().moved) == (moved, moved)


def test_each_account_has_the_tokens_of_its_exchanges() -> None:
    totals = told(decision(), decision(B, "two"), decision(B, "two"), decision(account="")).totals()

    assert totals.account_tokens == {"one": TokenTotals(10, 5, 3), "two": TokenTotals(20, 10, 6)}
    assert totals.tokens == TokenTotals(40, 20, 12)


def test_an_account_counts_only_when_it_was_reached() -> None:
    made = SessionList()
    exchange: Any = SimpleNamespace(candidates=(), identity=SimpleNamespace(evidence=()), refusal=None,
                                    is_turn=True, is_answered=False)  # fmt: skip
    without_key = AttemptSummary("one", "", None, "auth", 0.0)
    made.record(exchange, decision(status=503, error="auth_unavailable", attempts=[without_key]))
    assert (made.totals().failed, made.totals().accounts) == (1, {})
    made.record(exchange, decision(status=429, attempts=[AttemptSummary("one", "", 429, "rate", 1.0)]))
    assert made.totals().accounts == {"one": 1}
    made.record(exchange, decision(attempts=[], mode="shadow"))
    assert made.totals().accounts == {"one": 2}


def test_the_last_failure_has_its_reason() -> None:
    made = told(decision(status=529, error="overloaded"))
    assert made.totals().last_failure == terminal_lines.reason(decision(status=529, error="overloaded")) != ""
    exchange: Any = SimpleNamespace(candidates=(), identity=SimpleNamespace(evidence=()), is_turn=True,
                                    is_answered=False, refusal=Refusal(503, "x", "no key"))  # fmt: skip
    made.record(exchange, decision(status=503, error="x"))
    assert made.totals().last_failure == "no key"
    made.refused(Refusal(404, "not_an_llm_path", "no account for it"))
    made.record(exchange, decision())  # a success
    assert (made.totals().refused, made.totals().last_failure) == (1, "no account for it")


def test_only_so_many_moves_and_sessions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_list, "SESSIONS", 3)
    many = [decision(account=f"{number % 2}", at=float(number)) for number in range(3 * MOVES)]
    (session,) = told(*many).shown([], 1.0)
    assert (len(session.moves), session.moves[-1].time) == (MOVES, 3 * MOVES)
    made = told(*(decision(f"{number}" * 32, at=float(number)) for number in range(5)))
    assert [each.session[0] for each in made.shown([], 1.0)] == ["4", "3", "2"]
    assert (made.last("4" * 32) is None, made.last("0" * 32)) == (False, None)


def test_a_session_that_is_only_bound_has_its_home_and_last_use() -> None:
    (found,) = told().shown([bound(A, "one", expires=1000.0), bound(B, "")], 100.0)
    assert (found.session, found.home, found.last, found.turns) == (A, "one", 900.0, 0)


def test_names_are_the_begin_of_an_affinity() -> None:
    shown = told(decision(), decision(B)).shown([], 1.0)
    assert [each.session for each in named("AAAA ", shown)] == [A]
    assert [each.session for each in named(A, shown)] == [A]
    assert named("", shown) == named("c", shown) == []


def test_what_cannot_be_counted_ends_no_exchange(caplog: pytest.LogCaptureFixture) -> None:
    broken: Any = SimpleNamespace()
    made = SessionList()
    made.record(broken, broken)
    made.record(broken, broken)
    assert caplog.text.count("not complete") == 1
