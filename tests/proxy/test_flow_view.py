"""The comment and the mark that a user sees on a flow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import flowfilter
from mitmproxy.test import tflow

from patchbay.proxy import flow_view
from patchbay.proxy.terminal_text import cells
from patchbay.state import Leak
from patchbay.values.answer import Usage
from patchbay.values.decision import Finding, Placement, Verdict

TRIED = (("a", "rate"), ("b", "auth"), ("one", "ok"))


def decided(kind: str = "clean", **more: Any) -> tuple[Any, Any]:
    """Return an exchange and its decision."""
    members = {
        "mode": "serve", "account": "one", "binding": "hit", "tier": "codex", "session": "0123456789abcdef",
        "attempts": [SimpleNamespace(account="one", outcome="ok")], "error": "", "verdict": kind, "tokens": None,
        "moved_from": "", "moved_because": "", "findings": [], "provider": "anthropic", "model": "sim-1",
    }  # fmt: skip
    verdict: Any = kind
    refusal = more.pop("refusal", None)
    return SimpleNamespace(verdict=Verdict(verdict), refusal=refusal), SimpleNamespace(**members | more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "one home · 01234567 · clean"),
        ({"mode": "shadow"}, "shadow: one home · 01234567 · clean"),
        ({"account": ""}, "no account · 01234567 · clean"),
        ({"account": "", "mode": "shadow", "refusal": "no"}, "shadow: 01234567 · clean"),
        ({"account": "", "mode": "shadow"}, "anthropic sim-1 · 01234567"),
        ({"tier": "content"}, "one home · 01234567 (content) · clean"),
        ({"kind": "unverifiable"}, "one home · 01234567"),
        ({"session": "", "binding": "none"}, "one · clean"),
        ({"binding": "new"}, "one new · 01234567 · clean"),
        ({"binding": "inherited"}, "one inherited · 01234567 · clean"),
        ({"tokens": Usage(19_200, 7, cached=18_900)}, "one home · 98% cached · 01234567 · clean"),
        ({"tokens": Usage(19_200, 7)}, "one home · 0% cached · 01234567 · clean"),
        ({"tokens": Usage(1000, 7)}, "one home · 01234567 · clean"),  # too short to be cached
        ({"tokens": Usage(19_200, 7), "binding": "new"}, "one new · 01234567 · clean"),
        (
            {"binding": "reselected", "moved_from": "b", "moved_because": "rate limited (429)"},
            "one moved · 01234567 · from b: rate limited (429) · clean",
        ),
        ({"error": "the client left"}, "one home · 01234567 · the client left · clean"),
        ({"error": "model_cooldown"}, "one home · 01234567 · every account rests · clean"),
        (
            {"attempts": [SimpleNamespace(account=account, outcome=outcome) for account, outcome in TRIED]},
            "one home · 01234567 · after a: rate limited, b: key refused · clean",
        ),
    ],
)  # fmt: skip
def test_the_comment_begins_with_the_account(more: dict[str, Any], said: str) -> None:
    assert flow_view.comment(*decided(**more)) == said


def test_what_matters_fits_a_narrow_column() -> None:
    told = flow_view.comment(*decided(account="claude-work", tokens=Usage(100, 1, cached=98)))
    assert told[:30].startswith("claude-work home · 98% cached")


@pytest.mark.parametrize(
    ("account", "binding", "shown"),
    [
        ("research-team-shared-account-eu", "hit", "research-tea…d-account-eu home"),
        ("research-team-shared-account-eu", "reselected", "research-tea…-account-eu moved"),
        ("a" * 25, "hit", "a" * 25 + " home"),
        ("研究チームの共有アカウント欧州", "hit", "研究チームの…カウント欧州 home"),
    ],
)
def test_a_long_account_is_cut_inside_so_that_a_narrow_column_shows_its_ends_and_its_binding(
    account: str, binding: str, shown: str
) -> None:
    told = flow_view.comment(*decided(account=account, binding=binding)).split(" · ")[0]
    assert (told, cells(told) <= 30) == (shown, True)


@pytest.mark.parametrize(
    ("kind", "begins"),
    [("crosstalk", "CROSSTALK: one home · "), ("suspect", "suspect: one home · "), ("clean", "one")],
)
def test_a_verdict_stands_first_only_where_it_needs_a_look(kind: str, begins: str) -> None:
    exchange, decision = decided(kind)
    found = Finding("tag", "ids", "proof", "body id", "ours", "theirs", "0011", victim_session="ffeeddccbbaa")
    exchange.verdict, decision.findings = Verdict(exchange.verdict.kind, (found,), "body", "0011"), [found]
    told = flow_view.comment(exchange, decision)

    assert told.startswith(begins)
    evidence = "expected ours, received theirs, victim 0011 of session ffeeddcc"
    assert (evidence in told) == (kind != "clean")


def test_a_proxy_that_only_looks_shows_a_verdict_that_needs_a_look() -> None:
    exchange, decision = decided("crosstalk", account="", mode="shadow", tokens=Usage(19_200, 7, cached=18_900))

    assert flow_view.comment(exchange, decision) == "CROSSTALK: anthropic sim-1 · 98% cached · 01234567"


@pytest.mark.parametrize(
    ("kind", "mark"), [("crosstalk", ":rotating_light:"), ("suspect", ":warning:"), ("clean", ":mine:"), ("", ":mine:")]
)
def test_only_what_needs_a_look_is_marked(kind: str, mark: str) -> None:
    flow = tflow.tflow()
    flow.marked = ":mine:"
    flow_view.show(flow, *decided(kind))

    assert flow.marked == mark
    assert flow.comment


LEAK = Leak("0011", "pb1-theirs", session="e718a2c4")
TOLD = "the answer of exchange 0011 went to pb1-theirs of session e718a2c4"


def leased(*placed: str) -> Any:
    placement = Placement(*(placed or ("hit",)))  # type: ignore[arg-type]
    return SimpleNamespace(account=SimpleNamespace(id="one"), placement=placement)


def under_way(session: str = "0123456789abcdef", tier: str = "codex") -> Any:
    return SimpleNamespace(identity=SimpleNamespace(affinity=session, tier=tier))


def test_a_request_under_way_shows_its_account_and_its_session() -> None:
    flow = tflow.tflow()
    flow_view.show_lease(flow, under_way(), leased())
    assert flow.comment == "one home · 01234567 · under way"
    flow_view.show_lease(flow, under_way(), leased("reselected", "b", "busy"))
    assert flow.comment == "one moved · 01234567 · from b: busy · under way"


def test_a_comment_that_cannot_be_made_costs_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, however often it happens."""
    flow = tflow.tflow()
    for _ in range(3):
        flow_view.show_lease(flow, under_way(), leased("of another release"))
    flow_view.show(flow, *decided(binding="of another release"))
    assert flow.comment == ""
    assert caplog.messages == ["a comment could not be made: KeyError"] * 2  # under way, and at the end


@pytest.mark.parametrize("ended", [False, True])
def test_a_victim_says_where_its_answer_went_whether_it_had_ended_or_ends_later(ended: bool) -> None:
    flow = tflow.tflow()
    if ended:
        flow_view.show(flow, *decided())
    assert flow_view.show_leak(flow, LEAK)
    assert not flow_view.show_leak(flow, LEAK)
    if not ended:
        flow_view.show_lease(flow, under_way(), leased())  # another attempt
        assert flow.comment == f"VICTIM: one home · 01234567 · under way · {TOLD}"
        flow_view.show(flow, *decided())

    assert flow.comment == f"VICTIM: one home · 01234567 · clean · {TOLD}"
    assert flow.marked == ":warning:"


def test_a_victim_that_got_another_answer_itself_keeps_that_verdict_first() -> None:
    flow = tflow.tflow()
    flow_view.show_leak(flow, LEAK)
    flow_view.show(flow, *decided("crosstalk"))
    assert flow.comment.startswith("CROSSTALK: one home") and flow.comment.endswith(TOLD)
    assert flow.marked == ":rotating_light:"


def test_an_answer_that_two_requests_got_is_disputed() -> None:
    flow = tflow.tflow()
    flow.marked = ":mine:"
    flow_view.show_leak(flow, Leak("0011", "pb1-theirs", disputed=True))
    assert flow.comment == "DISPUTED: exchange 0011 got the same answer as pb1-theirs: one of the two is another's"
    assert flow.marked == ":mine:"  # a mark of the user's stays


def test_one_search_finds_both_sides_of_a_crosstalk() -> None:
    """By what an alarm names: the victim's exchange, the request that received its answer, either session."""
    receiver, victim, other = tflow.tflow(), tflow.tflow(), tflow.tflow()
    exchange, decision = decided("crosstalk", session="e718a2c40b1d4f6e")
    found = Finding("tag", "ids", "proof", "body id", "pb1-theirs", "pb1-own", "0011", victim_session="1d31dd26ffff")
    exchange.verdict, decision.findings = Verdict("crosstalk", (found,), "", "0011"), [found]
    flow_view.show(receiver, exchange, decision)
    flow_view.show_leak(victim, LEAK)
    flow_view.show(victim, *decided(session="1d31dd26ffffffff"))
    flow_view.show(other, *decided())

    for searched in ("0011", "pb1-theirs", "e718a2c4", "1d31dd26"):
        matches = flowfilter.parse(f"~comment {searched}")
        assert matches is not None
        assert [bool(matches(flow)) for flow in (receiver, victim, other)] == [True, True, False], searched


def test_crosstalk_on_a_socket_stays_in_the_comment_of_later_answers() -> None:
    flow = tflow.tflow()
    sent = [{"request_id": "pb1-first"}]
    flow.metadata["patchbay.on_socket"] = [{"verdict": "crosstalk", "sent": sent}, {"verdict": "clean", "sent": sent}]
    flow_view.show_message(flow, *decided())
    assert flow.comment.endswith("clean · CROSSTALK in an earlier answer on this WebSocket: pb1-first")
    flow_view.show_message(flow, *decided("crosstalk"))
    assert "earlier" not in flow.comment
