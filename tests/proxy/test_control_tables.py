from __future__ import annotations

import time

import pytest
from hypothesis import given, strategies as st

from patchbay.proxy import control_tables
from patchbay.proxy.control_answers import AccountShown, ProxyStatus, SessionShown, TokenTotals


def test_a_time_is_told_with_what_is_left_to_it() -> None:
    now = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
    assert control_tables.until(now + 552, now) == "12:09:12 (9m12s)"
    assert control_tables.until(now + 2 * 86_400, now) == "2026-11-29 12:00 (2d00h)"
    assert control_tables.until(None, now) == control_tables.until(now, now) == ""
    assert (control_tables.ago(now - 5, now), control_tables.ago(now + 5, now)) == ("5 s ago", "0 s ago")
    assert control_tables.ago(0.0, now) == ""


def test_tokens_are_told_with_their_cached_share() -> None:
    assert control_tables.tokens(TokenTotals(12_345, 9_875, 678)) == "12,345 in (79% cached) 678 out"
    assert control_tables.tokens(TokenTotals(0, 0, 5)) == "0 in 5 out"
    assert control_tables.tokens(TokenTotals()) == ""


def test_columns_stand_below_each_other_and_nothing_in_them_moves_a_cursor() -> None:
    lines = control_tables.accounts(
        [AccountShown("a\x1b[2J", "p", "healthy"), AccountShown("b\n", state="cooling")], 0.0
    )
    assert [line.find("ready") for line in lines[1:2]] == [lines[0].find("STATE")] == [lines[2].find("rests")]
    assert lines[1].startswith("a\\x1b[2J") and lines[2].startswith("b\\n")


@given(st.builds(SessionShown, name=st.text(), tool=st.text(), model=st.text(), turns=st.integers(0, 10)))
def test_a_session_is_one_line_whatever_it_is_called(session: SessionShown) -> None:
    lines = control_tables.sessions([session], 10.0)
    assert len(lines) == 2 and all(line.isprintable() for line in lines)


def test_an_empty_list_has_its_titles() -> None:
    assert len(control_tables.sessions([], 0.0)) == len(control_tables.accounts([], 0.0)) == 1
    assert "accounts  none was used" in control_tables.status(ProxyStatus())
    assert "tokens    none counted" in control_tables.status(ProxyStatus())


REASON = "rate limited (429) for claude-opus-5, claude-haiku-4-5; paused"
ACCOUNT = AccountShown("claude-home", "p", "cooling", REASON, 9e8, sessions=3, exchanges=1_234)
SESSION = SessionShown(
    "e718a2c4", "e718a2c4" * 4, "claude-code", "local", "claude-home", "claude-work", "claude-opus-5", 12,
    first=1.0, last=2.0, tokens=TokenTotals(123_456, 98_765, 4_321), verdict="unverifiable",
)  # fmt: skip


@pytest.mark.parametrize("width", [40, 62, 80, 126, 200])
def test_a_table_fits_its_terminal_and_keeps_what_matters_most(width: int) -> None:
    told = control_tables.accounts([ACCOUNT] * 2, 0.0, width)
    assert all(len(line) <= max(width, 50) for line in told)
    assert told[1].startswith("claude-home  rests") and "for claude-opus-5, claude-haiku-4-5; paused" in " ".join(
        " ".join(told).split()
    )
    table = control_tables.sessions([SESSION], 10.0, width)
    assert len(table) == 2 and all(len(line) <= width for line in table)
    assert "e718a2c4" in table[1] and "claude-home" in table[1]


def test_a_table_that_fits_or_goes_elsewhere_is_whole() -> None:
    for width in (None, 500):
        assert len(control_tables.accounts([ACCOUNT], 0.0, width)) == 2
        assert "IN FLIGHT" in control_tables.accounts([ACCOUNT], 0.0, width)[0]


def test_an_account_shows_what_it_used() -> None:
    used = AccountShown("one", "p", "healthy", exchanges=2, tokens=TokenTotals(12_000, 9_000, 345))

    assert "12,000 in (75% cached) 345 out" in control_tables.accounts([used], 0.0)[1]


def test_a_long_label_does_not_touch_its_text() -> None:
    assert control_tables.rows([("request id", "pb1"), ("up", "1 s")]) == ["request id pb1", "up        1 s"]
