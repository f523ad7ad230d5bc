"""The fields of a form: read as every server reads them, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay import forms

TYPE = "multipart/form-data; boundary=xx"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\%\r\n', exclude_categories=["Cc"]), max_size=8)
VALUES = st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda value: "--xx" not in value)


def written(fields: list[tuple[str, str]]) -> bytes:
    parts = (f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return ("".join(parts) + "--xx--\r\n").encode()


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5))
def test_fields_are_read_as_they_were_written(fields: list[tuple[str, str]]) -> None:
    assert list(forms.multipart(written(fields), TYPE)) == fields


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3), st.data())
def test_a_form_that_was_cut_is_never_read(fields: list[tuple[str, str]], data: st.DataObject) -> None:
    """T3: half a form may name anything in its other half."""
    whole = written(fields)
    cut = data.draw(st.integers(0, len(whole) - 5))

    with pytest.raises(ValueError, match="form"):
        forms.multipart(whole[:cut], TYPE)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_whatever_comes_is_read_or_refused(raw: bytes, content_type: str) -> None:
    for kind in (content_type, TYPE):
        try:
            found = forms.multipart(b"--xx\r\n" + raw + b"\r\n--xx--", kind)
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
    assert forms.urlencoded(text) == expected
