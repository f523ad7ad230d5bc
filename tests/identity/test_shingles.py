"""Passages of a text, wherever it is quoted."""

from __future__ import annotations

import html
import json
import textwrap

import pytest
from hypothesis import given, settings, strategies as st

from patchbay.identity import shingles
from patchbay.identity.shingles import LENGTH, MAX_TEXT, letters

TEXT = (
    "The user asked for a parser of configuration files. We wrote parser.py with 3 functions, and tests for two of "
    'them; the third, "merge", fails when a key is <missing>. Next: decide what a missing key means & write it down.'
)
words = st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=2, max_size=9)
texts = st.lists(words, min_size=60, max_size=120).map(lambda found: ". ".join(" ".join(found).split("  ")))

QUOTED = {
    "as it is": lambda text: text,
    "in tags": lambda text: f"<state_snapshot>{text}</state_snapshot>",
    "behind a prefix": lambda text: f"Summary of all that was said before: {text}",
    "indented": lambda text: textwrap.indent(text.replace(". ", ".\n"), "      "),
    "wrapped": lambda text: textwrap.fill(text, 40),
    "as a quotation": lambda text: textwrap.indent(textwrap.fill(text, 50), "> "),
    "as bullets": lambda text: "\n".join(f"* {line}" for line in text.split(". ")),
    "in JSON": lambda text: json.dumps({"summary": text.replace(". ", ".\n")}),
    "in HTML": lambda text: f"<p>{html.escape(text)}</p>",
    "in the middle": lambda text: f"{'before ' * 300}\n{text}\n{'after ' * 300}",
    "with Windows' line ends": lambda text: text.replace(". ", ".\r\n"),
}


@pytest.mark.parametrize("way", QUOTED)
def test_a_text_is_found_however_it_is_quoted(way):
    """I2: what a client puts around an answer, and how it breaks its lines, makes no difference."""
    of_text = shingles.shingles(TEXT, 100)
    of_quote = shingles.shingles(QUOTED[way](TEXT), 1000)

    assert len(of_text) > 4
    assert len(set(of_text) & set(of_quote)) >= len(of_text) - 2  # where a line ends, one may be another


@settings(max_examples=60, deadline=None)
@given(texts, st.text(max_size=200), st.text(max_size=200))
def test_what_stands_around_a_text_hides_none_of_its_passages(text, before, after):
    """I2: a part of a text has the passages that the whole has there."""
    inside = set(shingles.shingles(text, 1000))

    assert inside <= set(shingles.shingles(f"{before}\n{text}\n{after}", 2000))


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 9))
def test_fewer_are_chosen_the_same_way_each_time(text, limit):
    """I2: of a quotation that is longer than the text, the same few are chosen first."""
    every = shingles.shingles(text, 1000)
    chosen = shingles.shingles(text, limit)

    assert chosen == shingles.shingles(text, limit)
    assert len(chosen) == min(limit, len(every))
    assert set(chosen) <= set(every)


def _first(text):
    return shingles.shingles(text, 1000)[0]


def test_the_first_one_is_chosen_where_it_is_asked_for():
    """I2: a quotation that was cut off keeps the beginning."""
    assert {_first(TEXT), *shingles.shingles(TEXT, 1)} == set(shingles.shingles(TEXT, 1, first=True))


@given(st.text(max_size=300))
def test_every_passage_is_of_its_length(text):
    found = shingles.shingles(text, 1000)

    assert all(len(passage) == LENGTH for passage in found)
    assert all(passage in letters(text) for passage in found)


def test_a_paragraph_of_120_characters_has_one_and_a_line_of_80_has_none():
    """I2: prose of 120 characters is enough."""
    assert _first(TEXT[:120])
    assert shingles.shingles(TEXT[:120], 9)
    assert shingles.shingles(TEXT[:80], 9) == ()


def test_another_text_has_others():
    other = TEXT.replace("parser", "printer").replace("key", "lock").replace("tests", "proofs")

    assert not set(shingles.shingles(TEXT, 100)) & set(shingles.shingles(other, 100))


def test_a_text_without_blanks_is_read_as_well():
    """I2: Chinese and Japanese have no blanks."""
    text = "。".join(chr(0x4E00 + place * 7) * 3 + "的" * (place % 5) for place in range(80))

    assert set(shingles.shingles(text, 1000)) & set(shingles.shingles(f"摘要\uff1a{text}", 1000))


def test_of_a_huge_text_both_ends_are_read():
    """I2: memory and time are bounded."""
    text = f"{TEXT} {'x y z ' * 1_000_000} {TEXT[::-1]}"

    assert _first(text) == _first(TEXT)
    assert len(shingles._bounded(text)) == MAX_TEXT + 1
    assert set(shingles.shingles(TEXT[::-1], 100)) & set(shingles.shingles(text, 10_000))


@pytest.mark.parametrize(("size", "count"), [(89, 0), (90, 1)])
def test_a_shingle_has_90_letters(size, count):
    assert len(shingles.shingles("x" * size, 9)) == count


@pytest.mark.parametrize(("size", "whole"), [(8_192, True), (8_193, False)])
def test_so_long_a_text_is_read_in_whole(size, whole):
    text = "x" * 6_144 + "y" + "z" * (size - 6_145)

    assert (shingles._bounded(text) == text) == whole
    assert shingles._bounded(text).replace("\n", "")[:6_144] == text[:6_144]


@pytest.mark.parametrize(
    ("text", "kept"),
    [("a-b c\nd", "abcd"), (r"a\nb\tc\x", "abcx"), ("a&amp;b&#39;c", "abc"), ("é: ü", "éü"), ("", ""), ("1_2", "12")],
)
def test_letters_and_digits_are_kept(text, kept):
    assert letters(text) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\x7fb", "ab"),
        ("a\x00b", "ab"),
        ("é\x7fb", "éb"),
        ("a\u2014b…c", "abc"),
        ('a:b<c>d"e|f', "abcdef"),
        ("a\\b", "ab"),
    ],
)
def test_signs_drop_out(text, kept):
    assert letters(text) == kept


@pytest.mark.parametrize("mark", '\n:<>"|')
@pytest.mark.parametrize("last", ["x", "é"])
def test_a_shingle_may_begin_after_each_break(mark, last):
    text = "x" * 7 + mark + "y" * 89 + last

    assert shingles.shingles(text, 9) == (text.replace(mark, "")[:90], "y" * 89 + last)


@pytest.mark.parametrize("letters", ["ba", "ki", "\u0433a", "\u0431\u0435", "\u043f\u043e"])
def test_a_shingle_may_begin_inside_a_line(letters):
    """A text in Cyrillic without breaks has as many beginnings as one in Latin letters."""
    begins = letters.isascii() or letters[1] > "z"
    filler = "x" if letters.isascii() else "щ"
    text = filler * 7 + letters + filler * 88

    assert len(shingles.shingles(text, 9)) == 1 + begins


@pytest.mark.parametrize(("before", "count"), [(7, 2), (8, 2), (9, 1)])
def test_a_shingle_begins_early_enough_to_have_all_its_letters(before, count):
    text = "x" * before + "ba" + "x" * (96 - before)

    assert len(shingles.shingles(text, 9)) == count


def test_the_first_one_is_not_chosen_twice():
    chosen = shingles.shingles(TEXT, 1)
    begun = next(
        text for text in (TEXT[place:] for place in range(len(TEXT))) if shingles.shingles(text, 1)[0] == _first(text)
    )

    assert shingles.shingles(begun, 1, first=True) == (_first(begun),)
    assert len(shingles.shingles(TEXT, 1, first=True)) == 1 + (_first(TEXT) not in chosen)


def test_the_end_of_a_long_text_has_2048_characters():
    text = "x" * 8_192 + "y" * 2_049

    assert shingles._bounded(text) == "x" * 6_144 + "\n" + "y" * 2_048
