"""Strings of a JSON text: found where they stand, changed without another byte."""

from __future__ import annotations

import json
from itertools import combinations
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


def parts(text: bytes, found: list[json_splice.JsonPart]) -> list[tuple[bytes, bytes, str]]:
    return [(text[each.start : each.end], text[each.value : each.end], each.name) for each in found]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{}", []), (b"[1]", []), (b'"a"', []), (b"", []), (b"{1}", []),
        (b'{"a":1}', [(b'"a":1', b"1", "a")]),
        (b'{ "a" : {"b": "}"} , "c\\u0064":[[], "]"]}', [
            (b'"a" : {"b": "}"}', b'{"b": "}"}', "a"), (b'"c\\u0064":[[], "]"]', b'[[], "]"]', "cd")]),
        (b'{"a":"x\\"y","b":tru', [(b'"a":"x\\"y"', b'"x\\"y"', "a"), (b'"b":tru', b"tru", "b")]),
        (b'{"a":"x', [(b'"a":"x', b'"x', "a")]), (b'{"a":[1', [(b'"a":[1', b"[1", "a")]),
        (b'{"a":', [(b'"a":', b"", "a")]),
    ],
)  # fmt: skip
def test_the_members_of_an_object_are_found(text: bytes, found: list[tuple[bytes, bytes, str]]) -> None:
    assert parts(text, json_splice.members(text, 0)) == found
    assert parts(b"[ " + text, json_splice.members(b"[ " + text, 2)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"[]", []), (b"{}", []), (b"", []), (b"[ ]", []), (b"1", []), (b"[1", [b"1"]), (b"[,", []), (b'["a', [b'"a']),
        (b"[1]2]", [b"1"]), (b' [1]', []),
        (b'[1, "a]" ,{"b":[2]},[3,{}] , null]', [b"1", b'"a]"', b'{"b":[2]}', b"[3,{}]", b"null"]),
    ],
)  # fmt: skip
def test_the_items_of_a_list_are_found(text: bytes, found: list[bytes]) -> None:
    assert parts(text, json_splice.items(text, 0)) == [(each, each, "") for each in found]
    assert parts(b"{ " + text, json_splice.items(b"{ " + text, 2)) == [(each, each, "") for each in found]


@pytest.mark.parametrize("gone", [set(places) for size in range(5) for places in combinations(range(4), size)])
def test_removed_parts_take_their_commas_with_them(gone: set[int]) -> None:
    text = b' {"0" : 0 , "1":{"x": 1},"2":[2] ,  "3":3 } '
    found = json_splice.members(text, 1)
    left = json_splice.edited(text, json_splice.removed(found, gone))

    assert json.loads(left) == {name: value for name, value in json.loads(text).items() if int(name) not in gone}
    assert (left is text) == (not gone)
    listed = b"[0 , 1, [2],3 ]"
    left = json_splice.edited(listed, json_splice.removed(json_splice.items(listed, 0), gone))
    assert json.loads(left) == [value for at, value in enumerate(json.loads(listed)) if at not in gone]


@pytest.mark.parametrize(
    ("edits", "text"),
    [
        ([], b"abcdef"), ([(0, 0, b"x")], b"abcdef"), ([(1, 3, b"x")], b"axdef"),
        ([(4, 6, b""), (0, 1, b"yy")], b"yybcd"),
        ([(1, 2, b""), (2, 3, b"z")], b"azdef"), ([(6, 6, b"!")], b"abcdef!"),
    ],
)  # fmt: skip
def test_edits_are_made_in_the_order_of_their_places(edits: list[json_splice.Splice], text: bytes) -> None:
    assert json_splice.edited(b"abcdef", edits) == text


def test_without_an_edit_the_text_is_the_same_object() -> None:
    text = b'{"a": "x"}'

    assert json_splice.edited(text, []) is text
    assert json_splice.with_strings(text, lambda found, names: "no", b"y") is text
    assert json_splice.with_strings(text, lambda found, names: found, b"x") == text


@pytest.mark.parametrize(
    ("value", "mark", "found"),
    [
        (b'{"type": "thinking"}', b"thinking", {"type": "thinking"}), (b'{"type": "text"}', b"thinking", {}),
        (b'["thinking"]', b"thinking", {}), (b'{"thinking": }', b"thinking", {}),
        (b'{"thinking": ' + b"[" * 9000 + b"]" * 9000 + b"}", b"thinking", {}),
    ],
)  # fmt: skip
def test_an_object_is_read_only_where_the_mark_occurs_in_it(value: bytes, mark: bytes, found: object) -> None:
    text = b'["thinking", ' + value + b', "thinking"]'
    part = json_splice.JsonPart(13, 13, 13 + len(value))

    assert json_splice.object_with(mark, text, part) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [(b'"a"', "a"), (b'"\\u0061\\n"', "a\n"), (b'"a\xff"', "a\ufffd"), (b'"\\x"', ""), (b'["\\n"]', "")],
)
def test_a_string_is_read_from_its_json(text: bytes, found: str) -> None:
    assert json_splice.string(text) == found


@pytest.mark.parametrize(("depth", "known"), [(255, True), (256, False), (300, False)])
def test_the_names_of_255_levels_are_known(depth: int, known: bool) -> None:
    text = b'{"a":' * depth + b'"x"' + b"}" * (depth - 1) + b',"b":["y"],"c":{"d":"z"}}'
    deep, *others = json_splice.strings(text)

    assert deep.names == ("a",) * min(depth, 255)
    assert [each.names for each in others] == [("b",), ("c", "d")]
    closed = b"]}" + text
    assert [each.names for each in json_splice.strings(closed)][1:] == [("b",), ("c", "d")]


def test_a_mark_is_found_in_any_case_and_only_in_the_strings_that_hold_it() -> None:
    seen: list[tuple[str, tuple[str, ...]]] = []

    def change(found: str, names: tuple[str, ...]) -> str:
        seen.append((found, names))
        return found + "!"

    text = b'{"KEY": "a Key", "b": ["none", "\\u006bey KEY"], "c": "key"} '
    assert json_splice.with_strings(text, change, b"kEy") == (
        b'{"KEY": "a Key!", "b": ["none", "key KEY!"], "c": "key!"} '
    )
    assert seen == [("a Key", ("KEY",)), ("key KEY", ("b",)), ("key", ("c",))]
