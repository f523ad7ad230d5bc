"""Strings of a JSON text: found where they stand, changed without another byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import json_splice

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=4),
    max_leaves=30,
)


def expected(value: Any, names: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, ...]]]:
    """Return every string of *value*, with the names above it, by reading it the ordinary way."""
    if isinstance(value, str):
        return [(value, names)]
    if isinstance(value, list):
        return [found for item in value for found in expected(item, names)]
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in expected(inner, (*names, name))]
    return []


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_every_string_is_found_with_its_names(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = [(json_splice.string(text[each.start : each.end]), each.names) for each in json_splice.strings(text)]

    assert found == expected(json.loads(text))


@given(VALUES, st.text(min_size=1, max_size=4))
def test_only_what_changes_is_written_anew(value: Any, word: str) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    mark = json.dumps(word, ensure_ascii=False)[1:-1].encode()
    changed = json_splice.with_strings(text, lambda found, names: found.replace(word, ""), mark)
    untouched = json_splice.with_strings(text, lambda found, names: found, mark)

    assert untouched == text
    assert json.loads(changed) == without(value, word)


def without(value: Any, word: str) -> Any:
    if isinstance(value, str):
        return value.replace(word, "")
    if isinstance(value, list):
        return [without(item, word) for item in value]
    return {name: without(inner, word) for name, inner in value.items()} if isinstance(value, dict) else value


@given(st.binary(max_size=200))
def test_what_is_no_json_raises_nothing(text: bytes) -> None:
    list(json_splice.strings(text))
    json_splice.with_strings(text, lambda found, names: found + "!", text[:2])


def test_depth_has_no_end() -> None:
    text = b"[" * 5000 + b'{"a": {"b": "x"}}' + b"]" * 5000 + b', "y"'

    assert [text[found.start : found.end] for found in json_splice.strings(text)] == [b'"x"', b'"y"']


@pytest.mark.parametrize("text", [b'{"a": "x', b'"', b'{"a"', b"", b'{"a": "\\'])
def test_a_text_that_is_cut_off_is_left_alone(text: bytes) -> None:
    assert json_splice.with_strings(text, lambda found, names: "no", b"x") == text
