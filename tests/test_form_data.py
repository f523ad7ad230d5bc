"""The fields of a form: read as every server reads them, or not at all."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given, strategies as st

from patchbay import form_data

URLENCODED = "application/x-www-form-urlencoded; charset=utf-8"
TYPE = "multipart/form-data; boundary=xx"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\%\r\n', exclude_categories=["Cc"]), max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda value: "--xx" not in value)


def written(fields: list[tuple[str, str]]) -> bytes:
    parts = (f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return ("".join(parts) + "--xx--\r\n").encode()


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5))
def test_fields_are_read_as_they_were_written(fields: list[tuple[str, str]]) -> None:
    assert list(form_data.multipart(written(fields), TYPE)) == fields


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3), st.data())
def test_a_form_that_was_cut_is_never_read(fields: list[tuple[str, str]], data: st.DataObject) -> None:
    """T3: half a form may name anything in its other half."""
    whole = written(fields)
    cut = data.draw(st.integers(0, len(whole) - 5))

    with pytest.raises(ValueError, match="form"):
        form_data.multipart(whole[:cut], TYPE)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_whatever_comes_is_read_or_refused(raw: bytes, content_type: str) -> None:
    for kind in (content_type, TYPE):
        try:
            found = form_data.multipart(b"--xx\r\n" + raw + b"\r\n--xx--", kind)
        except ValueError:
            continue
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model=a&x=1", (("model", "a"), ("x", "1"))),
        ("%6Dodel=%61", (("model", "a"),)),
        ("x=1;model=a", (("x", "1;model=a"), ("x", "1"), ("model", "a"))),
        ("model", (("model", ""),)),
        ("", ()),
    ],
)
def test_a_query_is_read_in_both_ways(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    """T3: some servers split at a semicolon."""
    assert form_data.urlencoded(text) == expected


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4), VALUES, VALUES, st.integers(0, 4))
def test_a_field_is_replaced_and_nothing_else(fields: list[tuple[str, str]], old: str, new: str, at: int) -> None:
    """A11: a property of both kinds of form."""
    others = [(name, value) for name, value in fields if name != "model"]
    whole = [*others[:at], ("model", old), *others[at:]]
    wanted = [*others[:at], ("model", new), *others[at:]]

    assert form_data.value(written(whole), TYPE, "model") == old
    assert form_data.replaced(written(whole), TYPE, {"model": new}) == written(wanted)
    pairs = urlencode(whole).encode()
    assert form_data.value(pairs, URLENCODED, "model") == old
    assert form_data.replaced(pairs, URLENCODED, {"model": new}) == urlencode(wanted).encode()


@pytest.mark.parametrize(
    "raw",
    [
        written([("model", "a"), ("model", "b")]),
        written([("other", "a")]),
        written([("model", "a")])[:-4],
        b'--xx\r\nContent-Disposition: form-data; name="model"; filename="f"\r\n\r\na\r\n--xx--\r\n' + b"--xx\r\n",
        b"",
    ],
)
def test_a_form_without_the_one_field_is_not_changed(raw: bytes) -> None:
    """A11: which of two counts is the server's choice."""
    assert form_data.value(raw, TYPE, "model") == ""
    with pytest.raises(ValueError, match="form"):
        form_data.replaced(raw, TYPE, {"model": "c"})


def test_the_length_of_a_part_is_that_of_its_new_value() -> None:
    """A11: some clients say it in the part's own head."""
    raw = written([("model", "old")]).replace(b"\r\n\r\nold", b"\r\nContent-Length: 3\r\n\r\nold")

    changed = form_data.replaced(raw, TYPE, {"model": "longer"})
    assert changed == raw.replace(b"Length: 3\r\n\r\nold", b"Length: 6\r\n\r\nlonger")


def test_of_an_urlencoded_form_every_other_byte_stays() -> None:
    """A11: also its spellings, and what is no UTF-8."""
    raw = b"a=%6D&%6Dodel=o+ld&b=\xff&&c"

    assert form_data.value(raw, URLENCODED, "model") == "o ld"
    assert form_data.replaced(raw, URLENCODED, {"model": "n&w"}) == b"a=%6D&%6Dodel=n%26w&b=\xff&&c"
    with pytest.raises(ValueError, match="form"):
        form_data.replaced(b"model=a&model=b", URLENCODED, {"model": "c"})


def part(head: bytes, value: bytes = b"v") -> bytes:
    return b"--xx\r\n" + head + b"\r\n\r\n" + value + b"\r\n--xx--\r\n"


NAMED = b'Content-Disposition: form-data; name="a"'


@pytest.mark.parametrize("coding", [b"7bit", b"8bit", b"binary", b"BINARY "])
def test_a_part_that_stands_as_it_is_may_say_so(coding: bytes) -> None:
    raw = part(NAMED + b"\r\nContent-Transfer-Encoding: " + coding)

    assert form_data.multipart(raw, TYPE) == (("a", "v"),)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (part(NAMED + b"\r\nContent-Transfer-Encoding: base64"), "is encoded"),
        (part(b"X: y"), "has no name, or two"),
        (part(NAMED + b"\r\n" + NAMED), "has no name, or two"), (part(NAMED + b"\r\n:"), "cannot be read"),
        (part(b"Content-Disposition: form-data"), "is ambiguous"), (b"x" + part(NAMED), "does not begin with"),
        (b"--xx\r\n" + NAMED + b"\r\n--xx--\r\n", "has no head"),
        (b"--xx\r\n" + NAMED + b"\r\n\r\nv\r\n--xx\r\n", "does not end with"),
        (part(NAMED, b"a --xx b"), "stands where none belongs"),
        (b"--xx\r\n" + NAMED + b"\r\n\r\nv\r\n--xx " + NAMED + b"\r\n\r\nv\r\n--xx--", "has no head"),
    ],
)  # fmt: skip
def test_why_a_form_is_not_read(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        form_data.multipart(raw, TYPE)


@pytest.mark.parametrize(("size", "read"), [(64 * 1024, 64 * 1024), (64 * 1024 + 1, 0)])
def test_a_field_of_64_kilobytes_is_read_and_a_longer_one_or_a_file_is_empty(size: int, read: int) -> None:
    assert form_data.multipart(part(NAMED, b"x" * size), TYPE) == (("a", "x" * read),)
    assert form_data.multipart(part(NAMED + b'; filename="f"'), TYPE) == (("a", ""),)


def test_kinds_of_forms_and_words_in_them() -> None:
    kinds = [URLENCODED, TYPE, "Multipart/Form-Data", "application/json", ""]
    assert [form_data.is_form(kind) for kind in kinds] == [True, True, True, False, False]
    assert list(form_data.words(part(NAMED, b"word") + part(NAMED, b"two words"))) == ["word"]
    assert form_data.replaced(b"x=1&a=2&b=3", URLENCODED, {"b": "4"}) == b"x=1&a=2&b=4"
    assert form_data.replaced(b"a=1&b=2", URLENCODED, {"a": "4"}) == b"a=4&b=2"
