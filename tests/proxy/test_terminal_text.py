"""Text in cells: what is cut, what is covered, when there are colours."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from patchbay.proxy.terminal_text import cells, clean, cut, cut_inside, padded, painted, uses_colour, wrapped


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("abc", 3), ("漢字", 4), ("é", 1), ("e\u0301", 1), ("\uff46\uff55", 4), ("🚨", 2), ("…", 1)],
)
def test_a_wide_character_takes_two_cells_and_a_combining_one_none(text: str, size: int) -> None:
    assert cells(text) == size


@given(st.text(max_size=40), st.integers(0, 30))
def test_a_cut_text_fits_and_what_fits_is_not_cut(text: str, width: int) -> None:
    text = clean(text)
    found = cut(text, width)
    assert cells(found) <= width
    assert (found == text) == (cells(text) <= width)
    assert cells(padded(text, width)) == cells(padded(text, width, right=True)) == width


@given(st.text(max_size=40), st.integers(1, 30))
def test_a_text_that_is_cut_inside_fits_and_keeps_its_ends(text: str, width: int) -> None:
    text = clean(text)
    found = cut_inside(text, width)
    assert cells(found) <= width
    begin, ellipsis, end = found.partition("…")
    assert found == text if cells(text) <= width else ellipsis
    assert text.startswith(begin)
    assert text.endswith(end)


@given(st.text(max_size=500), st.booleans())
def test_no_text_holds_what_a_terminal_would_obey(text: str, spaces: bool) -> None:
    found = clean(text, spaces=spaces)
    assert found.isprintable() and len(found) <= 410
    assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") for sign in found)


def test_prose_keeps_its_blanks_and_a_key_is_covered() -> None:
    assert clean("a\n b\t\x1b[31mc", spaces=True) == "a b \ufffd[31mc"
    assert clean("a\nb") == "a\ufffdb"
    key = "sk-ant-api03-" + "a1B2c3D4" * 11
    assert key[:20] not in clean(f"model {key}", spaces=True) and key[:20] not in clean(key)


@given(st.lists(st.text("abc漢", min_size=1, max_size=12), max_size=12), st.integers(16, 60))
def test_wrapped_text_fits_and_loses_no_word(words: list[str], width: int) -> None:
    lines = wrapped(" ".join(words), width, 2)
    assert all(cells(line) <= width for line in lines)
    assert all(line.startswith("  ") for line in lines[1:])
    if all(cells(word) <= width - 2 for word in words):
        assert " ".join(lines).split() == words


def test_a_colour_surrounds_its_text() -> None:
    assert painted("x", "red") == "\x1b[31mx\x1b[0m" and painted("x", "") == "x"


@pytest.mark.parametrize(
    ("env", "terminal", "expected"),
    [
        ({}, True, True), ({}, False, False), ({"TERM": "dumb"}, True, False), ({"TERM": "xterm"}, True, True),
        ({"NO_COLOR": "1"}, True, False), ({"NO_COLOR": ""}, True, True), ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False), ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)  # fmt: skip
def test_colours_are_for_terminals_that_have_them(env: dict[str, str], terminal: bool, expected: bool) -> None:
    assert uses_colour(env, is_terminal=terminal) is expected
