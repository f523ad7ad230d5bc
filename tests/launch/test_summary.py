"""The lines at the end of a run."""

from __future__ import annotations

import pytest

from patchbay.launch.summary import _short, is_flagged, lines
from patchbay.proxy.control_answers import TokenTotals, Totals


def test_three_lines_say_what_was_asked_what_it_used_and_which_accounts_served_it() -> None:
    totals = Totals(14, 1, 2, TokenTotals(231_400, 226_772, 4_100), {"b": 4, "a": 10}, {"clean": 12, "crosstalk": 1})

    assert list(lines(totals, looked=False)) == [
        "14 calls, 1 failed",
        "tokens: 231k in (98% from cache), 4.1k out",
        "accounts: a 10, b 4 (2 moves); 1 crosstalk (patchbay incidents)",
    ]
    assert is_flagged(totals)


def test_nothing_is_said_that_did_not_happen() -> None:
    totals = Totals(1, 0, 0, TokenTotals(0, 0, 0), {"a": 1}, {"unverifiable": 1})

    assert list(lines(totals, looked=False)) == [
        "1 call, none failed", "tokens: 0 in, 0 out", "accounts: a 1; nothing flagged",
    ]  # fmt: skip
    assert not is_flagged(totals)
    assert list(lines(Totals(2, verdicts={"suspect": 2}), looked=True))[2] == "2 suspect"


def test_a_run_without_a_call_says_why_that_may_be() -> None:
    (line,) = lines(Totals(), looked=False)

    assert line.startswith("no calls: ")


def test_many_accounts_are_counted() -> None:
    totals = Totals(9, accounts={f"a{n}": 9 - n for n in range(9)})

    assert list(lines(totals, looked=False))[2].startswith("accounts: a0 9, a1 8, a2 7, a3 6, a4 5, a5 4, 3 more 6;")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (1_000, "1.0k"), (19_240, "19.2k"), (99_949, "99.9k"), (99_999, "99k"), (231_400, "231k"),
     (1_400_000, "1.4M"), (123_000_000, "123M")],
)  # fmt: skip
def test_counts_are_short(count: int, text: str) -> None:
    assert _short(count) == text


def test_the_reason_of_the_last_failure_is_said() -> None:
    """The log of the proxy is gone by then."""
    why = "There is no account here for Anthropic, only for OpenAI"

    assert list(lines(Totals(refused=1, last_failure=why), looked=False)) == [f"1 call refused: {why}"]
    assert list(lines(Totals(refused=3, last_failure=why), looked=False)) == [f"3 calls refused, the last: {why}"]
    assert next(lines(Totals(4, 1, last_failure=why), looked=False)) == f"4 calls, 1 failed: {why}"
    assert next(lines(Totals(4, 1, refused=2, last_failure=why), looked=True)) == (
        f"4 calls, 1 failed, and 2 refused, the last: {why}"
    )
