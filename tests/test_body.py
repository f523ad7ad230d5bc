"""What a body gives away, and that changing it changes nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay.body import Body

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


@pytest.mark.parametrize("raw", [b'{"model":"a","model":"b"}', b'{"a":1,"model":"a","a":2}', b"[]", b"nonsense", b""])
def test_an_ambiguous_or_unreadable_body_is_not_changed(raw: bytes) -> None:
    with pytest.raises(ValueError, match="body"):
        Body(raw).splice({"model": "new"})


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
