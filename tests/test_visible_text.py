from __future__ import annotations

from hypothesis import given, strategies as st

from patchbay.visible_text import visible


@given(st.text())
def test_what_is_printed_is_one_printable_line(text: str) -> None:
    assert visible(text).isprintable()
    assert text.isprintable() == (visible(text) == text)


def test_control_characters_are_escaped() -> None:
    assert visible("a\x1b[2J\nb\t\u202e") == r"a\x1b[2J\nb\t\u202e"
