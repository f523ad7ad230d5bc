"""Lines of a fixed width that a terminal may print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from patchbay.transcript.pane import BLANK, Pane, columns, safe, wrapped

TEXTS = st.text(alphabet=st.characters(max_codepoint=0x10FFFF), max_size=400)


def pane(width: int = 40, budget: int = 10_000) -> Pane:
    return Pane(width, budget)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("a\u202eb\u2066c\u200e", r"a\u202eb\u2066c\u200e"),
        ("hidden \U000e0041\ufeff\u200b", r"hidden \U000e0041\ufeff\u200b"),
        ("lone \ud800", r"lone \ud800"),
        ("a\r\nb\rc", "a\nb" + r"\x0dc"),
        ("a\tb", "a   b"),
        ("👩‍👩‍👧 日本 é", "👩‍👩‍👧 日本 é"),
    ],
)
def test_what_a_terminal_would_obey_or_a_reader_could_not_see_is_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(TEXTS)
def test_nothing_unsafe_is_left(text: str) -> None:
    kinds = {unicodedata.category(character) for character in safe(text) if character != "\n"}

    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}


@given(TEXTS, st.integers(20, 120))
def test_a_line_is_never_wider_than_the_pane(text: str, width: int) -> None:
    shown = pane(width, 100_000)
    shown.text(text, "  ")

    assert all(columns(line) <= width for line in str(shown).split("\n"))


@given(TEXTS, st.integers(10, 60))
def test_wrapping_loses_nothing_but_blanks(text: str, width: int) -> None:
    assert "".join("".join(wrapped(safe(text), width)).split()) == "".join(safe(text).split())


def test_a_line_is_broken_at_a_blank_and_keeps_its_indent() -> None:
    assert [*wrapped("    one two three four", 14)] == ["    one two", "    three four"]


def test_a_word_that_is_too_long_is_broken_where_the_line_ends() -> None:
    assert [*wrapped("x" * 25, 10)] == ["x" * 10, "x" * 10, "x" * 5]


def test_wide_characters_take_two_columns() -> None:
    assert [*wrapped("日本語日本語", 6)] == ["日本語", "日本語"]


def test_no_line_is_empty() -> None:
    shown = pane()
    shown.text("a\n\nb\n \nc")
    shown.blank()
    shown.rule("next")

    assert "" not in str(shown).split("\n")
    assert str(shown).split("\n")[:2] == ["a", BLANK]


def test_what_finds_no_room_is_counted() -> None:
    shown = pane(budget=10)
    shown.text("12345678901234")
    shown.text("more")

    assert (str(shown), shown.left_out, shown.is_full) == ("1234567890", 8, True)


def test_labels_stand_below_one_another() -> None:
    shown = pane(24)
    shown.pairs([("a", "one two three four"), ("long", "x")])

    assert str(shown).split("\n") == ["a          one two three", "           four", "long       x"]


def test_items_are_not_broken() -> None:
    shown = pane(20)
    shown.items(["one 1", "two 2", "three 3", "four 4"], str)

    assert str(shown).split("\n") == ["one 1 · two 2 ·", "three 3 · four 4"]


def test_a_rule_fills_the_line() -> None:
    shown = pane(30)
    shown.rule("user\n", "the newest")

    assert str(shown) == "━━ user  ━━━━━ the newest ━━".replace("━━━━━ t", "━━━━━━━ t")
    assert columns(str(shown)) == 30


@given(TEXTS, TEXTS, st.integers(20, 120))
def test_a_rule_is_never_wider_than_the_pane(title: str, note: str, width: int) -> None:
    shown = pane(width, 100)
    shown.rule(title, note)

    assert columns(str(shown)) <= width


def test_escapes_and_rules_count_as_they_stand() -> None:
    pane = Pane(80, 5_000)
    pane.text("\x1b\u202e" * 4_000)
    assert pane.is_full and len(str(pane)) < 5_500 and pane.left_out > 6_000

    pane = Pane(80, 5_000)
    while not pane.is_full:
        pane.rule("user")
    assert len(str(pane)) < 5_500
