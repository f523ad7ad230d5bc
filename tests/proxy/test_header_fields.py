"""Fields in one's own hand do what mitmproxy's multi-map does, in one pass."""

from __future__ import annotations

from hypothesis import given, strategies as st
from mitmproxy import http

from patchbay.proxy import header_fields
from patchbay.proxy.header_fields import HeaderFields

NAMES = st.sampled_from([b"Host", b"host", b"X-A", b"x-a", b"Accept", b"cookie"])
HEADERS = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=8).map(tuple)


@given(HEADERS, NAMES, st.binary(max_size=4))
def test_putting_is_what_the_multi_map_does(raw, name, value):
    there, ours = http.Headers(raw), HeaderFields(raw)
    there[name] = value
    ours.put(name, value)
    assert ours.raw() == there.fields
    assert name.lower() in ours
    assert ours.first(name.lower()) == value


@given(HEADERS, NAMES)
def test_dropping_is_what_the_multi_map_does(raw, name):
    there, ours = http.Headers(raw), HeaderFields(raw)
    there.pop(name, None)
    ours.drop(name.lower().__eq__)
    assert ours.raw() == there.fields
    assert name.lower() not in ours
    assert ours.first(name.lower()) == b""


@given(HEADERS, st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=4))
def test_what_is_changed_often_is_put_back_once(raw, changes):
    there, ours, back = http.Headers(raw), HeaderFields(raw), http.Headers()
    for name, value in changes:
        there[name] = value
        ours.put(name, value)
    ours.each(bytes.upper)
    ours.on(back)
    assert back.fields == tuple((name, value.upper()) for name, value in there.fields)
    assert ours.values() == b"\n".join(value for _, value in back.fields)


@given(HEADERS)
def test_no_byte_is_lost_where_they_are_read_as_text(raw):
    read = header_fields.read(http.Headers(raw))
    assert tuple((n.encode(), v.encode("utf-8", "surrogateescape")) for n, v in read) == raw
