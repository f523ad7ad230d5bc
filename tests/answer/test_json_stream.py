"""JSON objects out of bytes, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.answer.json_stream import JsonElements, JsonObjects, WholeText
from patchbay.answer.sse import Event

ARRAY = b'[{"a": "}\\"{\\\\"},\r\n {"b": {"c": [{}, "]"]}}\n,{"d": "\xc3\xa9"}]'
OBJECTS = [b'{"a": "}\\"{\\\\"}', b'{"b": {"c": [{}, "]"]}}', b'{"d": "\xc3\xa9"}']


def elements(*pieces: bytes, limit: int = 4096) -> list[Event]:
    array = JsonElements(limit)
    return [event for piece in pieces for event in array.feed(piece)] + array.end()


def test_every_cut_gives_the_same_elements() -> None:
    wanted = [Event("", each) for each in OBJECTS]

    assert elements(ARRAY) == wanted
    for at in range(len(ARRAY) + 1):
        assert elements(ARRAY[:at], ARRAY[at:]) == wanted, at
    assert elements(*(ARRAY[i : i + 1] for i in range(len(ARRAY)))) == wanted


def test_an_element_is_given_as_soon_as_its_brace_has_come() -> None:
    array = JsonElements()

    assert array.feed(b'[{"a":1') == []
    assert array.feed(b"}") == [Event("", b'{"a":1}')]


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_an_overlong_element_is_dropped_and_said_so_once(size: int) -> None:
    stream = b'[{"a":1},{"b":"' + b"x" * 500 + b'"},{"c":1}]'
    found = elements(*(stream[i : i + size] for i in range(0, len(stream), size)), limit=100)

    assert [event for event in found if not event.dropped] == [Event("", b'{"a":1}'), Event("", b'{"c":1}')]
    assert sum(event.dropped for event in found) == 1


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    for framing in (JsonElements(), JsonObjects(), WholeText(100)):
        framing.feed(data)
        framing.end()


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize(("length", "dropped"), [(100, False), (101, True)])
def test_an_element_may_have_exactly_as_many_bytes_as_the_limit(length: int, dropped: bool, size: int) -> None:
    stream = b'[{"a":"' + b"x" * (length - 8) + b'"}]'
    found = elements(*(stream[i : i + size] for i in range(0, len(stream), size)), limit=100)

    assert [(event.dropped, len(event.data)) for event in found] == [(dropped, 0 if dropped else length)]


def test_an_endless_element_holds_no_memory() -> None:
    array = JsonElements(limit=1000)
    for _ in range(1000):
        array.feed(b'[{"a":"' + b"x" * 100)

    assert len(array.rest()) <= 1100


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"", False), (b"[", True), (b'[{"a":1}', True), (b'[{"a":1}]', False), (b'[{"a":1}, ', True),
        (b'{"a":1}', False), (b'{"a":1}\n{"b"', True), (b'{"a":1}\n{"b":2}\n', False), (b"[]", False),
        (b'[{"a":1}] [', False), (b'{"a":1} [', False), (b"x", False),
    ],
)  # fmt: skip
def test_an_array_or_an_object_without_its_end_is_cut(data: bytes, cut: bool) -> None:
    for at in range(len(data) + 1):
        array = JsonElements()
        array.feed(data[:at])
        array.feed(data[at:])

        assert array.is_cut is cut, at


def objects(*pieces: bytes) -> tuple[list[Event], list[Event], bool]:
    """Return the events before the end, those at the end, and whether it was a stream."""
    framing = JsonObjects()
    before = [event for piece in pieces for event in framing.feed(piece)]
    return before, framing.end(), framing.is_stream


@pytest.mark.parametrize(
    ("data", "before", "at_the_end"),
    [
        (b'{"a":1}', [], [b'{"a":1}']),
        (b'{"a":1}\n', [], [b'{"a":1}']),
        (b'{"a":', [], [b'{"a":']),
        (b'{"a":1}\n{"b":', [], [b'{"a":1}{"b":']),
        (b'{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}'], []),
        (b'{"a":1}\n{"b":2}\n{"c":3}\n{"d"', [b'{"a":1}', b'{"b":2}', b'{"c":3}'], []),
    ],
)
def test_the_second_object_makes_a_stream(data: bytes, before: list[bytes], at_the_end: list[bytes]) -> None:
    for at in range(len(data) + 1):
        found = objects(data[:at], data[at:])

        assert [event.data for event in found[0]] == before
        assert [event.data for event in found[1]] == at_the_end
        assert found[2] is bool(before)


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ((), []),
        ((b" ", b"\n"), []),
        ((b'{"a"', b":1}"), [Event("", b'{"a":1}')]),
        ((b"x" * 10,), [Event("", b"x" * 10)]),
        ((b"x" * 5, b"y" * 6), [Event("", b"", dropped=True)]),
        ((b"x" * 11, b"y"), [Event("", b"", dropped=True)]),
    ],
)
def test_a_whole_text_is_one_event_up_to_its_limit(pieces: tuple[bytes, ...], found: list[Event]) -> None:
    text = WholeText(10)

    assert [event for piece in pieces for event in text.feed(piece)] == []
    assert text.end() == found


@pytest.mark.parametrize("framing", [JsonElements, JsonObjects])
def test_an_object_of_four_megabytes_is_read_and_a_longer_one_is_not(framing: type[JsonElements | JsonObjects]) -> None:
    for size, dropped in ((4 * 2**20, False), (4 * 2**20 + 1, True)):
        objects = framing()
        long = b'{"a":"' + b"x" * (size - 8) + b'"}'
        found = objects.feed(long[:-1]) + objects.feed(long[-1:] + b"{}")
        assert [(event.dropped, len(event.data)) for event in found] == [(dropped, 0 if dropped else size), (False, 2)]


def test_texts_and_brackets_outside_of_objects_open_nothing() -> None:
    assert elements(b'] "{" {"a":1} ]}{"b":[2]}') == [Event("", each) for each in (b'{"a":1}', b" ]}", b'{"b":[2]}')]
    assert JsonElements().rest() == b""


def test_what_stands_between_objects_is_not_kept() -> None:
    array = JsonElements()
    for data, rest in (
        (b"[ ", b""),
        (b'{"a"', b'{"a"'),
        (b":1}", b""),
        (b" ,\n", b""),
        (b'"x{', b""),
        (b'" {', b"{"),
        (b'}"xx\\', b"\\"),
    ):
        array.feed(data)
        assert array.rest() == rest


def test_a_backslash_at_the_end_of_a_piece_hides_the_first_mark_of_the_next() -> None:
    assert elements(b'[{"a":"\\', b'"}', b'\\\\"', b"}]") == [Event("", b'{"a":"\\"}\\\\"}')]


def test_an_unfinished_element_is_dropped_as_soon_as_it_is_longer_than_the_limit() -> None:
    array = JsonElements(limit=10)

    assert array.feed(b'{"a":"xxxx') == []
    assert array.feed(b"x") == [Event("", b"", dropped=True)]
    assert array.feed(b"x" * 20) == []
    assert array.rest() == b""
    assert array.feed(b'"}{"b":1}') == [Event("", b'{"b":1}')]


def test_what_is_kept_of_a_text_is_never_more_than_its_limit() -> None:
    text = WholeText(10)
    for _ in range(3):
        text.feed(b"x" * 11)
        assert not text._buffer
    text.feed(b"x")
    assert text.end() == [Event("", b"", dropped=True)]


def test_the_end_of_objects_tells_what_the_stream_did_not() -> None:
    assert JsonObjects().end() == []
    long = JsonObjects(limit=10)
    assert long.feed(b'{"a":"xxxxxxxx"}') == []
    assert long.end() == [Event("", b"", dropped=True)]
    for data, cut in ((b'{"a"', True), (b'{"a":1}', False)):
        framing = JsonObjects()
        framing.feed(data)
        assert framing.is_cut is cut
