"""The lines of the terminal, in every width."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts.changes import AccountChange, Rest
from patchbay.proxy import terminal_lines
from patchbay.proxy.terminal_lines import NARROWEST, SAID, LineStyle, columns, count, seconds
from patchbay.proxy.terminal_text import cells
from patchbay.values.answer import Usage
from patchbay.values.decision import AttemptSummary, Decision, Finding, Refusal

NOON = 12 * 3600.0
SESSION = "e718a2c4" + "0" * 24


def style(width: int | None = None, **more: Any) -> LineStyle:
    return LineStyle(
        width,
        account=11,
        clock=lambda at: f"{int(at) // 3600 % 24:02}:{int(at) // 60 % 60:02}:{int(at) % 60:02}",
        **more,
    )


def decision(**more: Any) -> Decision:
    fields: dict[str, Any] = {
        "time": NOON, "event_type": "anthropic_success", "request_id": "pb1-x", "exchange": "x" * 16, "client": "local",
        "client_request_id": "", "account": "claude-work", "provider": "anthropic", "pool": "p",
        "dialect": "anthropic_messages", "method": "POST", "path": "/v1/messages", "model": "claude-opus-5",
        "stream": True, "status": 200, "error": "", "duration_seconds": 1.9, "first_byte_seconds": 0.6,
        "tokens": Usage(19_200, 127, cached=18_900), "session": SESSION, "thread": "", "tier": "claude_session",
        "session_id": "", "binding": "hit", "in_flight": 1,
        "attempts": [AttemptSummary("claude-work", "r", 200, "ok", 1.9)], "verdict": "unverifiable", "echo": "",
        "victim": "", "findings": [], "tool": "claude-code",
    }  # fmt: skip
    return Decision(**(fields | more))


def line(width: int | None = None, **more: Any) -> str:
    return terminal_lines.exchange(decision(**more), NOON, style(width))


FAILED = {
    "status": 503, "error": "auth_unavailable", "tokens": None,
    "attempts": [AttemptSummary("openai-a", "r", 429, "rate", 0.1), AttemptSummary("openai-b", "r", None, "auth", 0.1)],
}  # fmt: skip
MOVED = {"binding": "reselected", "moved_from": "openai-a", "moved_because": "rate limited (429)"}
PROOF = Finding("foreign_id", "id", "proof", "body", "a", "b", "unknown")


def test_an_exchange_is_one_line() -> None:
    assert line() == (
        "12:00:00 claude-code      e718a2c4 claude-work home      claude-opus-5            200"
        " 19.2k in  (98% cached)   127 out  0.6 s  1.9 s"
    )
    assert line(80) == "12:00:00 e718a2c4 claude-work home   claude-opus-5 200 19.2k  98%   127  1.9 s"
    assert terminal_lines.heading(style(80)) == (
        "time     session  account            model                in  hit   out in all"
    )
    assert line(60) == "12:00:00 e718a2c4 claude-work home   claude-opus-5 200"
    assert line(NARROWEST) == "12:00:00 e718a2c4 claude-work home   200"


def test_a_move_says_from_where_and_why() -> None:
    assert line(**MOVED).endswith("1.9 s from openai-a: rate limited (429)")
    assert " moved " in line(60, **MOVED)
    assert line(140, **MOVED).endswith(" 1.9 s\n  from openai-a: rate limited (429)")
    assert line(60, **MOVED).endswith(" 200\n  from openai-a: rate limited (429)")


def test_a_failure_says_why_and_what_was_tried() -> None:
    assert line(**FAILED).endswith("503 no account can serve it now; tried openai-a 429, openai-b no key · 1.9 s")
    assert line(80, **FAILED).split("\n") == [
        "12:00:00 e718a2c4 claude-work home   claude-opus-5 503",
        "  no account can serve it now; tried openai-a 429, openai-b no key · 1.9 s",
    ]
    refused = {"status": 400, "error": "400 invalid_request", "attempts": [AttemptSummary("a", "r", 400, "request", 1)]}
    assert line(**refused).endswith("400 400 invalid_request · 1.9 s")
    assert line(status=404).endswith("404 refused by the provider · 1.9 s")
    assert line(status=None, error="client_left").endswith(" -   the client left · 1.9 s")
    one = {"status": 429, "error": "model_cooldown", "attempts": [AttemptSummary("a", "r", None, "server", 1)]}
    assert line(**one).endswith("429 every account rests · 1.9 s")


@pytest.mark.parametrize(
    ("error", "told"),
    [("[Errno 111] Connect call failed ('127.0.0.1', 9)", "connection refused"), ("401 invalid_api_key",) * 2,
     ("Client disconnected.",) * 2, ("the proxy was ended",) * 2,
     ("peer closed", "connection closed without an answer"), ("word " * 99, "word " * 16 + "·")],
)  # fmt: skip
def test_a_fault_that_is_no_code_of_ours_is_told_in_words(error: str, told: str) -> None:
    assert f"502 {told}" in line(status=502, error=error)


def test_a_verdict_is_shown_where_it_says_something() -> None:
    for usual in ("clean", "unverifiable"):
        assert usual not in line(verdict=usual)
    assert line(verdict="suspect", findings=[PROOF]).endswith(
        " 200 suspect: perhaps the answer of another request · 1.9 s"
    )
    assert line(80, verdict="crosstalk", findings=[PROOF, PROOF]).endswith(
        "\n  CROSSTALK: the answer of another request; see the alarm above · 1.9 s"
    )
    assert line(verdict="crosstalk", error="crosstalk_detected", status=502).count("CROSSTALK") == 1


def test_without_a_model_the_path_is_named_and_in_shadow_mode_the_account_is_in_parentheses() -> None:
    assert " GET /v1/models " in line(model="", method="GET", path="/v1/models", tokens=None)
    assert " (claude-w…) "[:6] in line(mode="shadow")
    assert line(account="", session="", tool="", binding="none").split()[1:5] == ["-", "-", "-", "claude-opus-5"]


def test_colours_change_no_cell() -> None:
    plain = re.compile(r"\x1b\[[0-9;]*m")
    for more in ({}, MOVED, FAILED, {"verdict": "crosstalk"}, {"status": 500}):
        for width in (None, 60, 80, 160):
            coloured = terminal_lines.exchange(decision(**more), NOON, style(width, colour=True))
            assert plain.sub("", coloured).rstrip() == line(width, **more) and "\x1b[" in coloured


NAMES = st.text(max_size=60) | st.sampled_from(["claude-work", "漢字漢字漢字漢字", "a\x1b[2Jb", "x" * 80])


@given(
    st.integers(NARROWEST, 220), NAMES, NAMES, NAMES, st.sampled_from([None, 101, 200, 429, 503]),
    st.sampled_from(["", "model_cooldown", "the client left", "x" * 300]),
    st.sampled_from(["clean", "crosstalk", "suspect"]),
    st.none() | st.builds(Usage, *[st.integers(0, 10**12)] * 3), st.floats(0, 1e7), st.integers(0, 40), st.booleans(),
)  # fmt: skip
def test_no_line_is_longer_than_its_terminal_and_each_has_account_session_and_status(
    width: int, account: str, model: str, tool: str, status: int | None, error: str, verdict: str,
    tokens: Usage | None, length: float, widest: int, moved: bool,
) -> None:  # fmt: skip
    made = decision(
        account=account, model=model, tool=tool, status=status, error=error, verdict=verdict, tokens=tokens,
        duration_seconds=length, first_byte_seconds=length, **(MOVED if moved else {}),
    )  # fmt: skip
    shape = style(width)
    shape.account = widest
    found = terminal_lines.exchange(made, NOON, shape)
    assert all(cells(each) <= width and each.isprintable() for each in found.split("\n"))
    assert SESSION[:8] in found and f" {status or '-'}" in found
    begin = terminal_lines.clean(account)[: columns(width, widest).account // 2 - 1]
    assert begin in found


@pytest.mark.parametrize("width", range(NARROWEST, 201))
@pytest.mark.parametrize("account", [4, 12, 20])
def test_columns_stand_in_line_and_a_wider_terminal_shows_no_less(width: int, account: int) -> None:
    shown, wider = columns(width, account), columns(width + 1, account)
    assert shown.room is not None and shown.room >= 0
    for name in ("time", "tool", "account", "binding", "model", "tokens", "first", "total"):
        assert getattr(shown, name) <= getattr(wider, name), name


@pytest.mark.parametrize("width", range(NARROWEST, 201))
def test_each_name_of_a_column_ends_or_begins_where_its_value_does(width: int) -> None:
    names, row = terminal_lines.heading(style(width)), line(width)
    assert cells(names) <= width
    for name, value in {"time": "12:00", "tool": "claude-code", "session": SESSION[:8], "account": "claude-work",
                        "model": "claude-opus"}.items():  # fmt: skip
        assert (name in names.split()) == (value in row) and names.find(name) == row.find(value)
    for name, value in {"in": "19.2k", "hit": " 98% ", "out": " 127 ", "first": " 0.6 s", "in all": " 1.9 s"}.items():
        if name in ("in", "hit", "out") and "(98%" in row:  # words beside the figures say it
            assert f" {name} " not in names.replace("in all", "")
        elif value in row:
            assert names.find(name) + len(name) == row.find(value) + len(value.rstrip()), name


def test_what_matters_most_is_dropped_last() -> None:
    order = []
    for width in range(NARROWEST, 201):
        shown = columns(width, 12)
        order += [name for name in ("binding", "time", "model", "total", "tokens", "tool", "first")
                  if getattr(shown, name) and name not in order]  # fmt: skip
    assert order == ["binding", "time", "model", "total", "tokens", "tool", "first"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (127, "127"), (999, "999"), (1000, "1.0k"), (19_200, "19.2k"), (99_949, "99.9k"), (99_950, "100k"),
     (999_499, "999k"), (999_500, "1.0M"), (1_234_567, "1.2M"), (10**13, "many")],
)  # fmt: skip
def test_a_count_has_five_characters_at_most(number: int, shown: str) -> None:
    assert count(number) == shown and len(shown) <= 5


@given(st.integers(0, 10**14))
def test_every_count_fits(number: int) -> None:
    assert len(count(number)) <= 5


@pytest.mark.parametrize(
    ("length", "shown"),
    [(0.04, "0.0 s"), (1.9, "1.9 s"), (99.94, "99.9 s"), (99.96, "1m40s"), (125, "2m05s"), (3599.6, "1h00m"),
     (3720, "1h02m"), (-1, "0.0 s")],
)  # fmt: skip
def test_a_length_has_six_characters_at_most(length: float, shown: str) -> None:
    assert seconds(length) == shown


def test_every_refusal_of_the_page_is_said_in_words() -> None:
    page = (Path(__file__).parents[2] / "docs" / "headers.md").read_text(encoding="utf-8")
    table = page.partition("| status | `code` | why |")[2].partition("\n\n")[0]
    codes = {code for row in table.splitlines() for code in re.findall(r"`([a-z_]+)`", "|".join(row.split("|")[:3]))}
    assert codes and codes == set(SAID) - {"client_left", "would_wait"}


def test_a_refused_request_has_a_line_of_its_own() -> None:
    refusal = Refusal(404, "not_an_llm_path", "")
    found = terminal_lines.refused("curl", "GET", "/v1/v1/x", refusal, NOON, style())
    assert found.split() == ["12:00:00", "curl", "GET", "/v1/v1/x", "404", *"no account serves this path".split()]
    for width in range(NARROWEST, 201):
        lines = terminal_lines.refused("curl", "GET", "/" + "x" * 90, refusal, NOON, style(width)).split("\n")
        assert all(cells(each) <= width for each in lines) and lines[-1].endswith("no account serves this path")


# -- accounts ----------------------------------------------------------------------------------------------------------


def changed(kind: str, rest: Rest | None = None, width: int | None = None, **more: Any) -> str:
    made = AccountChange("openai-a", kind, rest, **more)  # type: ignore[arg-type]
    return terminal_lines.account_changed(made, NOON, style(width))


LIMITED = Rest((), "rate", "rate limited (429)", NOON - 41, NOON + 600, 600.0)


def test_a_rest_says_until_when_why_and_what_moves() -> None:
    assert changed("rests", LIMITED, conversations=3, move=True) == (
        "12:00:00 account openai-a rests until 12:10:00: rate limited (429), retry-after 600 s; 3 conversations move"
    )
    assert changed("rests", LIMITED, conversations=1, move=True).endswith("; 1 conversation moves")
    assert changed("rests", LIMITED, conversations=2).endswith("; no other account for 2 conversations")
    refused = Rest((), "auth", "key refused (401)", NOON, NOON + 90_000)
    assert re.search(r" rests until \d{4}-\d\d-\d\d \d\d:\d\d: key refused \(401\)$", changed("rests", refused))
    lanes = Rest(("a", "b", "c", "d", ""), "rate", "rate limited", NOON, NOON + 60)
    assert " rests for a, b, c and 2 more until " in changed("rests", lanes)
    assert " rests for requests without a model until " in changed("rests", Rest(("",), "rate", "x", NOON, NOON + 9))


def test_what_is_back_says_after_how_long() -> None:
    assert changed("back", LIMITED) == "12:00:00 account openai-a back after 41 s"
    assert changed("back", LIMITED, because="woken by a user").endswith(" back after 41 s: woken by a user")
    assert changed("disabled", because="by the settings") == "12:00:00 account openai-a disabled by the settings"


@given(st.integers(NARROWEST, 200), NAMES, st.lists(NAMES, max_size=5))
def test_a_change_is_wrapped_to_its_terminal_and_keeps_account_and_end(
    width: int, reason: str, lanes: list[str]
) -> None:
    rest = Rest(tuple(lanes), "rate", reason, NOON, NOON + 600, 600.0)
    lines = changed("rests", rest, width, conversations=3, move=True).split("\n")
    assert all(cells(each) <= width and each.isprintable() for each in lines)
    assert "account openai-a" in lines[0] and "12:10:00" in " ".join(lines)
