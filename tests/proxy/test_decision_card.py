"""The decision at the top of a content view."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.proxy import decision_card, flow_metadata as names
from patchbay.values.decision import Decision

LINE: dict[str, Any] = {
    "account": "home-1", "provider": "anthropic", "binding": "hit", "session": "0123456789abcdef", "tier": "codex",
    "model": "m-1", "tool": "codex", "client": "local", "dialect": "openai_responses", "stream": True, "status": 200,
    "tokens": {"prompt": 19203, "cached": 18820, "cache_write": 12, "completion": 127},
    "first_byte_seconds": 0.617, "duration_seconds": 12.4, "verdict": "unverifiable", "echo": "", "mode": "serve",
    "attempts": [{"account": "home-1", "outcome": "ok", "status": 200, "seconds": 12.3}], "error": "",
}  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({*Decision.__struct_fields__, *(name.removeprefix(names.PREFIX) for name in names.BESIDE_THE_LINE)})


def card(beside: dict[str, Any] | None = None, **line: Any) -> dict[str, str]:
    metadata = {f"{names.PREFIX}{name}": value for name, value in (LINE | line).items()}
    rows = decision_card.rows(metadata | (beside or {}))
    found = {label: text for label, text in rows if label}
    return found | ({"moved": " | ".join(text for _, text in rows)} if len(found) < len(rows) else {})


def test_a_usual_exchange_takes_five_rows() -> None:
    assert card() == {
        "account": "home-1 · home · anthropic",
        "session": "01234567 · by codex",
        "tokens": "19,203 in · 18,820 cached (98%) · 12 written · 127 out",
        "time": "0.62 s to the first word · 12 s in all",
        "request": "m-1 · codex · local · openai_responses · streamed · 200",
    }


def test_a_move_names_every_attempt() -> None:
    attempts = [
        {"account": "away", "outcome": "rate", "status": 429, "seconds": 0.1},
        {"account": "home-1", "outcome": "ok", "status": 200, "seconds": 2.0},
    ]
    found = card({names.CANDIDATES: {"home-1": "", "away": "cooling down", "third": "disabled"}},
                 attempts=attempts, binding="reselected",
                 moved_from="away", moved_because="rate limited (429)")  # fmt: skip

    assert found["account"] == "home-1 · moved from away: rate limited (429) · anthropic"
    assert found["others"] == "away: cooling down · third: disabled"
    assert "away · rate limited · 429 · 0.10 s | home-1 · ok · 200 · 2.00 s" in found["moved"]


def test_at_home_the_other_accounts_do_not_matter() -> None:
    assert "others" not in card({names.CANDIDATES: {"home-1": "", "third": "lower priority"}})


def test_it_says_where_the_name_of_the_session_stood() -> None:
    evidence = [{"where": "body x", "used": False}, {"where": "header x-session-id", "used": True}]

    assert card({names.EVIDENCE: evidence})["session"] == "01234567 · by codex (header x-session-id)"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"verdict": "unverifiable"}, ""),
        ({"verdict": "clean", "echo": "body"}, "clean: the request id came back (body)"),
        (
            {"verdict": "crosstalk", "victim": "v",
             "findings": [{"where": "body id", "expected": "a", "received": "b"}]},
            "CROSSTALK · victim v · body id: expected a, received b",
        ),
        (
            {"verdict": "crosstalk", "victim": "v",
             "findings": [{"victim": "v", "victim_session": "0123456789abcdef"}]},
            "CROSSTALK · victim v of session 01234567 · : expected , received ",
        ),
        ({"verdict": "suspect"}, "suspect · victim unknown"),
    ],
)  # fmt: skip
def test_a_verdict_comes_with_its_reason(more: dict[str, Any], said: str) -> None:
    assert card(**more).get("verdict", "") == said


def test_what_was_edited_stands_apart_from_what_patchbay_changed() -> None:
    edits = {
        "model": ["fast", "m-1"],
        "headers": ["x-request-id"],
        "members": ["metadata.user_id"],
        "without": ["what belongs to another account"],
        "edited": {"members": ["messages"], "headers": ["x-mine"], "path": ["/a", "/b"]},
    }
    found = card({names.EDITS: edits})

    assert found["edited"] == "path /a → /b · headers x-mine · members messages"
    assert found["sent with"] == (
        "model fast → m-1 · headers x-request-id · members metadata.user_id · without what belongs to another account"
    )


def test_a_flow_without_a_decision_has_no_card() -> None:
    assert decision_card.rows({"patchbay.sent": []}) == []


def test_nothing_was_chosen_where_it_only_looks_on() -> None:
    assert card(account="", mode="shadow")["account"] == "the client's own: this proxy only looks on"
    assert card(mode="shadow")["account"].endswith("not carried out: mode shadow")
    assert card(account="")["account"] == "none"


@given(st.dictionaries(st.sampled_from([f"{names.PREFIX}{name}" for name in NAMES]), ANY))
def test_metadata_of_any_kind_is_read(metadata: dict[str, Any]) -> None:
    """A dump may come from anywhere."""
    for label, text in decision_card.rows({"patchbay.account": "a"} | metadata):
        assert isinstance(label, str)
        assert text


def test_an_error_is_told_in_words_with_its_code() -> None:
    assert card(error="model_cooldown")["error"] == "every account rests (model_cooldown)"
    assert card(error="the client left")["error"] == "the client left"
    cut = "HTTP/1 protocol error: peer closed connection without sending complete message body"
    assert card(error=cut)["error"] == "connection closed in its middle"
