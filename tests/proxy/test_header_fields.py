"""Fields in one's own hand do what mitmproxy's multi-map does, in one pass."""

from __future__ import annotations

from typing import Any

import pytest
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
    ours.each_field(lambda _, value: value.upper())
    ours.on(back)
    assert back.fields == tuple((name, value.upper()) for name, value in there.fields)
    assert ours.values() == b"\n".join(value for _, value in back.fields)


@given(HEADERS)
def test_no_byte_is_lost_where_they_are_read_as_text(raw):
    read = header_fields.read(http.Headers(raw))
    assert tuple((n.encode(), v.encode("utf-8", "surrogateescape")) for n, v in read) == raw


RAW = ((b"Host", b"a"), (b"X-A", b"1"), (b"x-a", b"2"))


def test_a_field_is_found_by_its_name_in_lower_case() -> None:
    fields = HeaderFields(RAW)

    assert (b"x-a" in fields, b"X-A" in fields, b"x-b" in fields) == (True, False, False)
    assert (fields.first(b"x-a"), fields.first(b"x-b")) == (b"1", b"")
    assert fields.names() == [b"host", b"x-a", b"x-a"]
    assert fields.values() == b"a\n1\n2"


def test_a_field_is_added_at_the_end_beside_those_of_its_name() -> None:
    fields = HeaderFields(RAW)
    fields.add(b"X-A", b"3")

    assert fields.raw() == (*RAW, (b"X-A", b"3"))
    assert fields.names() == [b"host", b"x-a", b"x-a", b"x-a"]


def test_a_change_of_every_field_knows_its_name_in_lower_case() -> None:
    fields = HeaderFields(RAW)
    fields.each_field(lambda name, value: name + value)

    assert fields.raw() == ((b"Host", b"hosta"), (b"X-A", b"x-a1"), (b"x-a", b"x-a2"))


def connection(*values: bytes) -> HeaderFields:
    return HeaderFields(tuple((b"Connection", value) for value in values))


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ((), set()),
        ((b"",), {b""}),
        ((b"close",), {b"close"}),
        ((b" X-A ,x-b", b"X-C"), {b"x-a", b"x-b", b"x-c"}),
        # what no hop can do without
        ((b"Host, Content-Length, content-type, content-encoding, transfer-encoding, authorization, upgrade",), set()),
        ((b"keep-alive, x-api-key",), {b"keep-alive", b"x-api-key"}),
    ],
)
def test_connection_lists_names(values: tuple[bytes, ...], listed: set[bytes]) -> None:
    assert connection(*values).listed() == listed


def test_only_connection_lists_them() -> None:
    assert HeaderFields(((b"X-A", b"x-b"),)).listed() == frozenset()
    assert HeaderFields(((b"X-A", b"x-b"), (b"connection", b"x-c"), (b"X-D", b"x-e"))).listed() == {b"x-c"}


SWITCH = [(b"connection", b"upgrade"), (b"upgrade", b"ws")]
ONE_HOP = (b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"http2-settings")


@pytest.mark.parametrize(
    ("came", "now", "stay"),
    [
        ([(name, b"x") for name in ONE_HOP], b"", []),
        ([(b"Connection", b"x-a"), (b"X-A", b"1"), (b"X-B", b"2")], b"", [(b"X-B", b"2")]),
        # `Proxy-*` is for one hop, but the report of what a proxy did
        (
            [(b"Proxy-Authorization", b"x"), (b"proxy-x", b"x"), (b"Proxy-Status", b"ok"), (b"proxyx", b"y")],
            b"",
            [(b"Proxy-Status", b"ok"), (b"proxyx", b"y")],
        ),
        # a connection that is to stay is named only where one was
        ([(b"Host", b"a")], b"keep-alive", [(b"Host", b"a")]),
        ([(b"Keep-Alive", b"x"), (b"Upgrade", b"h2c")], b"keep-alive", []),
        ([(b"Connection", b"close"), (b"Upgrade", b"x")], b"keep-alive", [(b"Connection", b"keep-alive")]),
        ([(b"Connection", b"Keep-Alive")], b"keep-alive", [(b"Connection", b"Keep-Alive")]),  # its spelling stays
        ([(b"Connection", b"keep-alive"), (b"connection", b"x")], b"keep-alive", [(b"Connection", b"keep-alive")]),
        (SWITCH, b"Upgrade", SWITCH),
        ([(b"connection", b"x"), (b"upgrade", b"ws")], b"Upgrade", [(b"connection", b"Upgrade"), (b"upgrade", b"ws")]),
    ],
)  # fmt: skip
def test_the_fields_of_one_hop_are_taken_off(came: Any, now: bytes, stay: Any) -> None:
    fields = HeaderFields(tuple(came))
    fields.drop_hops(now)

    assert list(fields.raw()) == stay
    assert fields.names() == [name.lower() for name, _ in stay]


def test_fields_that_stay_are_not_built_anew() -> None:
    """Most messages have none that goes, and each has its fields dropped."""
    fields = HeaderFields(((b"Host", b"a"), (b"X-A", b"1")))
    before = fields.names()
    fields.drop(b"x-b".__eq__)
    assert fields.names() is before
    fields.put(b"x-a", b"2")
    assert fields.names() is before


X, BETA = b"x", b"anthropic-beta"


@pytest.mark.parametrize(
    ("came", "expected"),
    [
        ([], [(b"Anthropic-Beta", X)]),
        ([(BETA, b"a, b")], [(BETA, b"a,b,x")]),
        ([(BETA, b"a"), (b"Other", b"o"), (BETA, b"b")], [(BETA, b"a,b,x"), (b"Other", b"o")]),
        ([(BETA, b"a, x")], [(BETA, b"a, x")]),
        ([(BETA, b"a"), (BETA, X)], [(BETA, b"a"), (BETA, X)]),
        ([(BETA, b"")], [(BETA, X)]),
    ],
)
def test_an_item_stands_in_a_list_once(came: list[tuple[bytes, bytes]], expected: list[tuple[bytes, bytes]]) -> None:
    fields = HeaderFields(tuple(came))
    fields.put_item(b"Anthropic-Beta", X)

    assert list(fields.raw()) == expected
