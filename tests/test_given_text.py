"""Names of clients: bounded, well-formed, and without anything that a terminal or a reader would obey."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.given_text import MOST_OF_A_NAME, fit

KEY = "Zq02clientsown0123456789abcdef"
_ANY = st.text(st.characters(), max_size=2 * MOST_OF_A_NAME)  # surrogates, controls and marks included


@given(_ANY)
def test_any_name_becomes_one_bounded_line(text: str) -> None:
    found = fit(text)

    assert len(found) <= MOST_OF_A_NAME and found.isprintable()
    assert found.encode().decode() == found
    assert fit(found) == found


@given(st.text(st.characters(categories=("L", "N", "P")), max_size=MOST_OF_A_NAME))
def test_a_usual_name_stays_as_it_is(text: str) -> None:
    assert fit(text) is text


@pytest.mark.parametrize("sign", ["\n", "\x1b", "\x9b", "\u202e", "\u2066", "\ud83d"])
def test_what_a_reader_would_obey_is_replaced(sign: str) -> None:
    assert fit(f"a{sign}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "place", [0, MOST_OF_A_NAME - len(KEY), MOST_OF_A_NAME - 20, MOST_OF_A_NAME - 1, MOST_OF_A_NAME + 5]
)
def test_no_half_of_a_key_stays_where_a_name_is_cut(place: int) -> None:
    text = "." * place + KEY + "." * MOST_OF_A_NAME

    assert not any(KEY[:part] in fit(text, lambda found: found.replace(KEY, "#" * len(KEY))) for part in (1, 8))
