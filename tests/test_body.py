"""What a body gives away, and that changing it changes nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay.body import Body, items, members, text_of

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_a_member_is_read_as_its_json_value() -> None:
    body = Body(b'{"model": "m", "n": [1, {"a": null}], "s": true}')

    assert body.get("model") == "m"
    assert body.get("n") == [1, {"a": None}]
    assert body.names() == ("model", "n", "s")
    assert "missing" not in body
    assert body.text("n") == ""


@pytest.mark.parametrize(
    "raw",
    [None, b"", b"[]", b"1", b"{", b'{"a":1} x', b"\xff\xfe", b'{"a":' + b"[" * 200_000, b"--boundary\r\n", b"null"],
)
def test_what_is_no_object_has_no_members_and_raises_nothing(raw: bytes | None) -> None:
    body = Body(raw)

    assert not body.is_object
    assert body.get("a") is None
    assert body.names() == ()


def test_a_lone_surrogate_or_nan_does_not_hide_the_other_members() -> None:
    assert Body(b'{"a": "\\ud800", "model": "m"}').text("model") == "m"
    assert Body(b'{"a": NaN, "model": "m"}').text("model") == "m"


def test_only_the_bytes_of_the_value_change() -> None:
    raw = b'{ "messages" : [ {"content":"\\u00e9 model"} ],\n "model"\t:\t"old" , "stream":true }\n'

    assert Body(raw).splice({"model": "new"}) == raw.replace(b'"old"', b'"new"')


def test_a_new_member_is_added_at_the_end() -> None:
    assert Body(b'{"a": 1 }').splice({"request_id": "x"}) == b'{"a": 1,"request_id":"x" }'
    assert json.loads(Body(b" {} ").splice({"request_id": "x"})) == {"request_id": "x"}


def test_a_dotted_name_reaches_one_level_in() -> None:
    assert json.loads(Body(b'{"metadata":{"a":"b"}}').splice({"metadata.id": "x"})) == {
        "metadata": {"a": "b", "id": "x"}
    }
    assert json.loads(Body(b'{"m":1}').splice({"metadata.id": "x"})) == {"m": 1, "metadata": {"id": "x"}}


@pytest.mark.parametrize(
    "raw",
    [
        *(b'{"model":"a","model":"b"}', b'{"model":"a","mod\\u0065l":"b"}', b'\xef\xbb\xbf{"model":"a","model":"b"}'),
        *(b"[]", b"nonsense", b"", '{"model": "a"}'.encode("utf-16")),
    ],
)
def test_an_ambiguous_or_unreadable_body_is_not_changed(raw: bytes) -> None:
    with pytest.raises(ValueError, match="body"):
        Body(raw).splice({"model": "new"})


STRANGE = {
    "half a surrogate": b'{"a": "\\ud800", "model" : "old", "z": {"model": "\\udfff"}}',
    "half a surrogate in a name": b'{"\\ud800": 1, "model": "old"}',
    "half a surrogate in the value": b'{"model": "old", "metadata": {"\\ud800": 1}}',
    "a surrogate as bytes": b'{"a": "\xed\xa0\x80", "model": "old"}',
    "a BOM": b'\xef\xbb\xbf{"model": "old"}',
    "a BOM and white space": b'\xef\xbb\xbf\r\n {"a":1, "model": "old" }\r\n',
    "invalid UTF-8": b'{"a": "\xff\xfe\x80", "model": "old"}',
    "invalid UTF-8 in a name": b'{"a\xff": 1, "model": "old"}',
    "invalid UTF-8 behind a BOM": b'\xef\xbb\xbf{"a": "\xff", "model": "old"}',
    "NaN": b'{"a": NaN, "b": [-Infinity, {"c": NaN}], "model": "old"}',
    "a name twice": b'{"a": 1, "model": "old", "a": 2}',
    "control characters": b'{"a": "x\n\ty\x00", "model": "old"}',
    "brackets in strings": b'{"a": "}\\"],{:\\\\", "b": NaN, "model": "old"}',
}


@pytest.mark.parametrize("raw", STRANGE.values(), ids=STRANGE)
def test_a_strange_body_is_changed_in_one_place(raw: bytes) -> None:
    """A13: what a strict reader refuses is spliced all the same, and every other byte stays."""
    body = Body(raw)

    assert body.text("model") == "old"
    assert body.splice({"model": "new"}) == raw.replace(b'"old"', b'"new"')
    added = body.splice({"model": "new", "id": 1, "metadata.id": "x"})
    assert Body(added).get("id") == 1 and Body(added).get("metadata")["id"] == "x"
    assert b"\\ud800" not in raw or b"\\ud800" in added


def test_reaching_into_a_member_leaves_its_other_bytes() -> None:
    """A13: also where the member holds what cannot be encoded again."""
    raw = b'{"metadata" : { "a":"\\ud800\xff" , "id" : 1 },"b":{ },"c":[]}'

    changed = Body(raw).splice({"metadata.id": 2, "metadata.new": 3, "b.x": 4, "c.y": 5, "d.z": 6})

    assert changed == b'{"metadata" : { "a":"\\ud800\xff" , "id" : 2,"new":3 },"b":{"x":4 },"c":{"y":5},"d":{"z":6}}'


@given(
    st.dictionaries(st.text(max_size=4) | st.just("\ud800"), _JSON | st.floats() | st.just("\udfff"), max_size=5),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from([None, 1]),
)
def test_splicing_a_strange_body_is_setting_a_member(
    content: dict[str, object], mark: bytes, indent: int | None
) -> None:
    """A13: whatever else stands in the body."""
    raw = mark + json.dumps({**content, "model": "old", "last": "\ud800"}, indent=indent).encode()

    changed = json.loads(Body(raw).splice({"model": "new", "extra": [1]}))

    assert repr(changed) == repr({**json.loads(raw), "model": "new", "extra": [1]})


@given(st.dictionaries(st.text(max_size=6), _JSON, max_size=6), _JSON, st.booleans(), st.sampled_from([None, 2]))
def test_splicing_is_setting_a_member(
    content: dict[str, object], value: object, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps({**content, "model": "old"}, ensure_ascii=ascii_only, indent=indent).encode()

    changed = json.loads(Body(raw).splice({"model": value, "extra": value}))

    assert changed == {**content, "model": value, "extra": value}


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(raw: bytes) -> None:
    body = Body(raw)
    body.get("model")
    body.slice("model")
    assert isinstance(body.is_object, bool)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b'{"a": 1 , "b":[ 2]}', {"a": b"1", "b": b"[ 2]"}), (b" {} ", {}), (b'{"a": NaN, "b": "\\ud800"}', {
            "a": b"NaN", "b": b'"\\ud800"'}), (b'\xef\xbb\xbf{"a": [1,  2]}', {"a": b"[1, 2]"}),
    ],
)  # fmt: skip
def test_the_members_of_an_object_are_its_json(raw: bytes, found: dict[str, bytes]) -> None:
    assert members(raw) == found


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a":1,"a":2}', "holds a member twice"), (b'{"a":1,"b":NaN,"a":2}', "holds a member twice"),
        (b'{"b":{"a":NaN,"a":1}}', "holds a member twice"), (b"[1]", "is no JSON object"),
        (b"NaN", "is no JSON object"),
        (b"", "is no JSON object"), (b"{", "is no JSON object"), (b'{"a":' + b"[" * 200_000, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_has_no_members_that_all_read_alike_is_an_error(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        members(raw)


def test_the_items_of_a_list_are_their_json_and_anything_else_is_an_error() -> None:
    assert items(b'[1 , {"a":  2}, "x"]') == [b"1", b'{"a":  2}', b'"x"']
    assert items(b'[NaN, {"a":  2}]') == [b"NaN", b'{"a": 2}']
    for raw in (b"{}", b"NaN", b'"x"', b"", b"["):
        with pytest.raises(ValueError, match="must be a list"):
            items(raw)


def test_the_text_of_a_string_is_read_and_of_anything_else_is_empty() -> None:
    assert [text_of(raw) for raw in (b'"a\\n"', b'"\\ud800"', b"1", b"[]", b"", b'"')] == ["a\n", "\ud800", *[""] * 4]


@pytest.mark.parametrize(
    ("raw", "text", "span"),
    [
        (b'{"b": 1, "a" : [1,  2] }', b"[1,  2]", (15, 22)), (b'{"a":"x"}', b'"x"', (5, 8)), (b'{"b":1}', b"", None),
        (b'{"a":1,"a":2}', b"2", None), (b'{"a":1,"b":1,"b":2}', b"1", None), (b'{"a": [1,  NaN]}', b"[1, NaN]", None),
        (None, b"", None), (b"[]", b"", None),
    ],
)  # fmt: skip
def test_a_member_has_its_text_and_where_the_body_is_strict_its_place(
    raw: bytes | None, text: bytes, span: tuple[int, int] | None
) -> None:
    body = Body(raw)

    assert body.slice("a") == text
    assert body.span("a") == span
    assert span is None or (raw or b"")[slice(*span)] == text


@pytest.mark.parametrize(
    ("raw", "is_object", "is_plain", "names"),
    [
        (b'{"a":1}', True, True, ("a",)), (b"{}", True, False, ()), (b"\xef\xbb\xbf { } ", True, False, ()),
        (b'{"a":NaN}', True, False, ("a",)), (b"{} {}", False, False, ()), (None, False, False, ()),
    ],
)  # fmt: skip
def test_what_kind_of_object_a_body_is(raw: bytes | None, is_object: bool, is_plain: bool, names: tuple[str]) -> None:
    body = Body(raw)

    assert (body.is_object, body.is_plain, body.names()) == (is_object, is_plain, names)
    assert ("a" in body, body.holds_any(frozenset({"a", "b"}))) == (bool(names), bool(names))
    assert not body.holds_any(frozenset({"b"})) and not body.is_too_deep


def test_a_nesting_too_deep_for_any_parser_is_known() -> None:
    body = Body(b'{"a":' + b"[" * 200_000)

    assert not body.is_object and body.is_too_deep


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "not a JSON object"), (b"[]", "not a JSON object"), (b'{"model":1,"model":2}', "a member twice"),
        ('{"a": 1}'.encode("utf-16-le"), "not in UTF-8"),
    ],
)  # fmt: skip
def test_why_a_body_is_not_changed(raw: bytes | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Body(raw).splice({"model": "new"})


@pytest.mark.parametrize(
    ("raw", "changes", "changed"),
    [
        (b'{"a":1,"a":2,"model":"x"}', {"model": "y"}, b'{"a":1,"a":2,"model":"y"}'),
        (b'{"m":{"a":1}}', {"m": 7, "m.b": 2}, b'{"m":{"b":2}}'),
        (b'{"m":{"a":1}}', {"m": {"c": 3}, "m.b": 2}, b'{"m":{"c":3,"b":2}}'),
        (b'{"m":{"a":1,"a":2}}', {"m.b": 2}, b'{"m":{"a":1,"a":2,"b":2}}'),
        (b'{"m":[1]}', {"m.b.c": 2}, b'{"m":{"b.c":2}}'), (b'{"m":1}', {}, b'{"m":1}'),
        (b'{"m":1}', {"a": "\ud800"}, b'{"m":1,"a":"\\ud800"}'),
    ],
)  # fmt: skip
def test_members_are_set_whole_or_inside(raw: bytes, changes: dict[str, object], changed: bytes) -> None:
    assert Body(raw).splice(changes) == changed
