"""Texts and JSON values in the form that is hashed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay.identity.normalise import (
    _THINK_TAGS,
    VOLATILE,
    arguments,
    canonical,
    clipped,
    lasting,
    masked,
    normal,
    squeezed,
)

from ..each_row import each_row

DOT = "\N{BULLET}"
# One text for each entry of VOLATILE, in its order, that no other entry masks in whole.
MASKED = [
    "12345678-1234-1234-1234-123456789abc", "2026-11-21T10:00:00.5Z", "10:05 pm", "21/11/2026", "Tue,  ",
    "Nov 21st, 2026", "21 November 2026", "Working directory: /home/ann", "gitStatus: M a\n M b", "1,234/5,000 tokens",
    "1780000000123",
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(VOLATILE)))
def test_each_volatile_form_is_masked(at: int) -> None:
    text = MASKED[at] + ("• 7" if at == 4 else "")

    assert VOLATILE[at].search(text), text
    assert masked(text) == DOT + ("• 7" if at == 4 else "")


@pytest.mark.parametrize(
    "text", ["", "no digit", "v1.2", "7 files", "12345", "tokens", "1380000000", "12345678-1234", "a cwd", "sunday"]
)
def test_other_texts_are_not_masked(text: str) -> None:
    assert masked(text) == text


def test_a_masked_line_ends_at_its_end() -> None:
    assert masked("a\ncwd: /x\nb") == f"a\n{DOT}\nb"
    assert masked("gitStatus: x\n\nrules") == f"{DOT}rules"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a b\n c", "abc"), ("a\u3000b\u00a0c", "abc"), ("<think>x</think>a", "a"), ("<thinking>x</thinking>a", "a"),
        ("<think>x</think>a<think>y</think>b", "ab"), ("<think>x", "<think>x"), ("x</think>", "x</think>"),
        ("<think>x</think>é", "é"), ("e\u0301", "\u00e9"), ("\ud83d", "\ud83d"), ("", ""), ("\x1c a\x1f", "a"),
    ],
)  # fmt: skip
def test_an_answer_is_squeezed(text: str, kept: str) -> None:
    assert squeezed(text) == kept


@pytest.mark.parametrize(("opening", "closing"), _THINK_TAGS)
def test_the_thinking_of_every_tag_drops_out(opening: str, closing: str) -> None:
    assert squeezed(f"{opening}x{closing}a") == "a"


@given(st.text())
def test_squeezing_and_normalising_again_changes_nothing(text: str) -> None:
    assert normal(normal(text)) == normal(text)
    assert "\r" not in normal(text)
    assert not any(letter.isspace() for letter in squeezed(text) if ord(letter) < 128)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON)
def test_the_order_of_keys_does_not_count(value: Any) -> None:
    def turned(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: turned(node[name]) for name in reversed(node)}
        return [turned(each) for each in node] if isinstance(node, list) else node

    assert canonical(value) == canonical(turned(value))
    if not isinstance(value, str):
        assert arguments(json.dumps(value, indent=2)) == arguments(value)


def test_a_long_value_is_a_digest_and_a_short_one_is_not() -> None:
    assert canonical("x" * 2046) == b'"' + b"x" * 2046 + b'"'
    assert len(canonical("x" * 2047)) == 32
    assert canonical("x" * 2047) != canonical("x" * 2048)


def test_what_no_encoder_takes_has_a_form_too() -> None:
    nested: list[Any] = []
    nested.append(nested)

    assert canonical(2**70) == str(2**70).encode()
    assert canonical(nested) == b"unreadable"
    assert arguments("{not json") == b"{not json"


@pytest.mark.parametrize(
    "name",
    ["cache_control", "id", "status", "signature", "thoughtSignature", "thought_signature", "citations", "annotations"],
)
def test_each_volatile_member_drops_out(name: str) -> None:
    assert lasting({name: 1, "type": "x", "empty": None, "zero": 0}) == {"type": "x", "zero": 0}


@each_row("blank", [chr(code) for code in range(0x3002) if chr(code).isspace()])
def test_each_blank_drops_out_of_an_answer(blank: str) -> None:
    assert squeezed(f"a{blank}b") == "ab"
    assert squeezed(f"é{blank}b") == "éb"


@pytest.mark.parametrize("text", ["a\x7fb", "a\u3001b", "a\u200bb"])
def test_other_signs_stay(text: str) -> None:
    assert squeezed(text) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [(" a\r\nb\rc\n", "a\nb\nc"), ("\n\r", ""), ("e\u0301\r\n", "é"), ("é", "é"), ("Å", "Å"), ("a\n\rb", "a\n\nb")],
)
def test_a_text_has_one_kind_of_line_end_and_is_composed(text: str, found: str) -> None:
    assert normal(text) == found


@pytest.mark.parametrize(
    ("text", "most", "found"),
    [("abcd", 4, "abcd"), ("abcde", 4, "ab\nde"), ("abcde", 5, "abcde"), ("abcdefg", 5, "ab\nefg"), ("", 4, "")],
)
def test_a_long_text_is_clipped_to_both_ends(text: str, most: int, found: str) -> None:
    assert clipped(text, most) == found
