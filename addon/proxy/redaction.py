"""Covers known values in every spelling: plain, escaped for JSON, C, URLs or HTML, in base64, hex or UTF."""

from __future__ import annotations

import json
import re
import string
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from html.entities import html5
from urllib.parse import quote, quote_plus

Raw = tuple[tuple[bytes, bytes], ...]

MARK = b"removed-by-patchbay"
MIN_COVERED = 8  # characters; anything shorter is too likely to be a piece of ordinary text

_GOOD_PART = 16  # characters of a value's beginning that are covered at the end of a text
_GROUPED = 6  # common bytes of forms that are searched for together
_SHORT = 2048  # bytes up to which one search for all beats one for each
_MANY = 700  # beginnings of forms, above which a look at each word of the data costs less than a search
_WORD = 8  # bytes of such a word; by MIN_COVERED no form is shorter
_ROUNDS = 4  # escapes inside escapes: JSON in a URL in HTML
_OPEN_ESCAPE = re.compile(rb"[\\%&][\\%&#;{}+A-Za-z0-9]{0,40}\Z")
_ESCAPING = (b"\\", b"%", b"&")  # what every escape begins with
_WIDEST = 48  # bytes that an escaped character takes at most, with escapes inside escapes
_ENTITIES = {
    name[:-1].encode(): text.encode()
    for name, text in html5.items()
    if name.endswith(";") and len(text) == 1 and "!" <= text <= "~"
}
# From the first of several backslashes: from each of them, a long row would take quadratic time.
_ESCAPES = (
    rb"(?<!\\)\\+(?:(?:[uU](?:0000)?00|[xX])([2-7][0-9a-fA-F])|(?:[uxX]\{|N\{U\+)0{0,6}([2-7][0-9a-fA-F])\}"
    rb"|(?:0?|o\{0{0,4})([01][0-7]{2})\}?|o\{([4-7][0-7])\}|(%s))"
    rb"|%%(?:25)*(?:u00)?([2-7][0-9a-fA-F])"
    rb"|&(?:amp;)*(?:#0{0,16}([0-9]{2,3});?|#[xX]0{0,16}([2-7][0-9a-fA-F]);?|([a-zA-Z]{2,16});)"
)
_OCTAL, _QUOTED, _DECIMAL, _NAMED = (3, 4), 5, 7, 9  # groups of it; the others are hexadecimal
_ONES = bytes.maketrans(b"0123456789", b"1111111111")
_IN_ESCAPES = b"\\%&#;{}+" + (string.ascii_letters + string.digits).encode()


class Redactor:
    """Covers *values* in every spelling; a cover is as long as its value, so lengths, JSON and headers stay valid."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = tuple(value.encode() for value in values if len(value) >= MIN_COVERED)
        self._longest_first = tuple(sorted(self._values, key=lambda value: (-len(value), value)))
        forms = {form for value in self._values for form in _forms(value)}
        # what escapes may hide: a value, and its base64 with the characters that URLs and JSON escape
        packed = {form for value in self._values for form in _all_base64(value) if b"+" in form or b"/" in form}
        self._escaped = tuple(sorted(packed.union(self._values), key=lambda form: (-len(form), form)))
        self._groups = tuple(_groups(forms))
        self._endings = tuple((anchor, forms, frozenset(b"".join(forms))) for anchor, forms in self._groups)
        self._anchors = tuple(anchor for anchor, _ in self._groups)
        self._words, self._folded_words = _words(forms), _words(map(bytes.lower, forms))
        self._are_many = len(self._anchors) > _MANY
        folded = {anchor.lower() for anchor in self._anchors}
        self._hints = re.compile(b"" if self._are_many else _any_of(self._anchors)).search
        self._folded_hints = re.compile(b"" if self._are_many else _any_of(folded)).search
        self._suspicious = re.compile(b"" if self._are_many else _any_of((*self._anchors, *_ESCAPING))).search
        self._ends = frozenset(b"".join(forms))
        self._inside = frozenset(b"".join(forms) + _IN_ESCAPES) if forms else frozenset()
        self._window = _WIDEST * max(map(len, self._escaped), default=0)
        punctuation = sorted({char for form in self._escaped for char in form if not chr(char).isalnum()})
        quoted = b"[" + b"".join(re.escape(bytes((char,))) for char in punctuation) + b"]" if punctuation else b"(?!)"
        self._escape = re.compile(_ESCAPES % quoted)

    def scrub(self, data: bytes) -> bytes:
        """Return *data* with every value covered."""
        if len(data) < _SHORT and not self._suspicious(data):
            return data
        if self._may_hold(data):
            data = self._literally(data)
        if (b"\\" in data or b"%" in data or b"&" in data) and self._values and self._escape.search(data):
            return self._unescaped(data)
        return data

    def name(self, data: bytes) -> bytes:
        """Return *data*, the name of a header, with every value covered, in whatever case."""
        folded = data.lower()
        for value in self._longest_first:
            if value.lower() in folded:
                data = re.sub(re.escape(value), lambda at: cover_of_length(len(at[0])), data, flags=re.IGNORECASE)
        return self.scrub(data)

    def fields(self, fields: Raw) -> Raw:
        """Return the header *fields* with every value covered in their names and values."""
        names = b"\n".join([name for name, _ in fields]).lower()
        values = b"\n".join([value for _, value in fields])
        known = _has_word(names, self._folded_words) if self._are_many else self._folded_hints(names)
        if known or self.scrub(names) is not names:
            fields = tuple((self.name(name), value) for name, value in fields)
        if self.scrub(values) is not values:
            fields = tuple((name, self.scrub(value)) for name, value in fields)
        return fields

    def begun(self, data: bytes) -> int:
        """Return how many bytes at the end of *data*, which is scrubbed, may be the beginning of a value."""
        if not data or data[-1] not in self._inside:
            return 0
        kept = self._prefix(data)
        window = data[-self._window :]
        if b"\\" in window or b"%" in window or b"&" in window:
            cut = _open(window)
            kept = max(kept, len(window) - cut, self._escaped_prefix(window, cut), self._escaped_prefix(window))
        return kept

    def ended(self, data: bytes) -> bytes:
        """Return *data*, the end of a text, with a good part of a value covered too: it may be cut off."""
        if not data:
            return b""
        start = len(data)
        if (part := self._prefix(data)) >= _GOOD_PART:
            start -= part
        text, places = self._plain(data)
        for cut in {_open(text), len(text)}:
            if (part := self._longest(text[:cut])) >= _GOOD_PART:
                start = min(start, places[cut - part])
        return data[:start] + cover_of_length(len(data) - start)

    def _may_hold(self, data: bytes) -> bool:
        """Whether one of the forms may be in *data*; of many the time does not grow with their number."""
        if self._are_many:
            return _has_word(data, self._words)
        return bool(self._hints(data)) if len(data) < _SHORT else any(anchor in data for anchor in self._anchors)

    def _literally(self, data: bytes) -> bytes:
        there = [form for anchor, forms in self._groups if anchor in data for form in forms]
        for form in sorted(there, key=len, reverse=True):  # a form may be a part of another
            if form in data:
                data = data.replace(form, _cover_of(form))
        return data

    def _unescaped(self, data: bytes) -> bytes:
        """Cover the values that appear once the escapes in *data* are undone."""
        text, places = self._plain(data)
        out: bytearray | None = None
        for value in self._escaped:
            at = text.find(value)
            while at >= 0:
                start, end = places[at], places[at + len(value)]
                out = bytearray(data) if out is None else out
                out[start:end] = cover_of_length(end - start)
                at = text.find(value, at + 1)
        return data if out is None else bytes(out)

    def _plain(self, data: bytes) -> tuple[bytes, list[int] | range]:
        """Return *data* without its escapes, where in it each byte begins, and where the last one ends."""
        text = data
        places: list[int] | range = range(len(data) + 1)
        for _ in range(_ROUNDS):
            out: list[bytes] = []
            at: list[int] = []
            done = 0
            for found in self._escape.finditer(text):
                char = _char(found)
                if char:
                    out += [text[done : found.start()], char]
                    at += places[done : found.start() + 1]
                    done = found.end()
            if not done:
                break
            text, places = b"".join((*out, text[done:])), [*at, *places[done:]]
        return text, places

    def _escaped_prefix(self, window: bytes, end: int | None = None) -> int:
        """Return how many bytes before the end of *window* a value begins whose bytes before *end* are known."""
        text, places = self._plain(window[:end])
        cut = _open(text)
        return len(window) - places[cut - self._longest(text[:cut])]

    def _longest(self, text: bytes) -> int:
        return max((_overlap(text, form) for form in self._escaped), default=0)

    def _prefix(self, data: bytes) -> int:
        """Return the length of the longest end of *data*, which is not empty, that is the beginning of a form."""
        longest = 0
        for anchor, forms, inside in self._endings if data[-1] in self._ends else ():
            if data[-1] not in inside:
                continue
            if (found := _overlap(data, anchor)) > longest:
                longest = found
            if data.rfind(anchor, -len(forms[0])) >= 0:  # the longest comes first
                longest = max(longest, *(_overlap(data, form) for form in forms))
        return longest


class RedactedStream:
    """
    Covers values in a stream, also those that are split between chunks.

    Only bytes that may begin a value are kept back, until the next chunk or the `rest`. *cover* returns the present
    Redactor: values may become known while the stream runs.
    """

    __slots__ = ("_cover", "_kept")

    def __init__(self, cover: Callable[[], Redactor]) -> None:
        self._cover = cover
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """Return what passes with *data*."""
        cover = self._cover()
        data = cover.scrub(self._kept + data if self._kept else data)
        kept = cover.begun(data)
        self._kept = data[-kept:] if kept else b""
        return data[:-kept] if kept else data

    def rest(self) -> bytes:
        """Return what was kept back, at the end of the stream; a good part of a value is covered."""
        kept, self._kept = self._kept, b""
        return self._cover().ended(kept)


def _words(forms: Iterable[bytes]) -> frozenset[int]:
    return frozenset(int.from_bytes(form[:_WORD], sys.byteorder) for form in forms)


def _has_word(data: bytes, words: frozenset[int]) -> bool:
    """Whether one of *words* stands anywhere in *data*; the time does not grow with their number."""
    view, size = memoryview(data), len(data)
    rows = (view[at : at + (size - at) // _WORD * _WORD].cast("Q") for at in range(min(_WORD, size - _WORD + 1)))
    return not all(map(words.isdisjoint, rows))


def _char(found: re.Match[bytes]) -> bytes:
    """Return the printable character that an escape stands for, or nothing."""
    kind = found.lastindex
    if kind is None:
        return b""
    value = found[kind]
    if kind == _QUOTED:
        return value
    if kind == _NAMED:
        return _ENTITIES.get(value, b"")
    number = int(value, 8 if kind in _OCTAL else 10 if kind == _DECIMAL else 16)
    return bytes((number,)) if 0x20 < number < 0x7F else b""


def _open(data: bytes) -> int:
    """Return where an escape begins that may be cut off in *data*; its length where there is none."""
    found = _OPEN_ESCAPE.search(data)
    return found.start() if found else len(data)


def _overlap(data: bytes, form: bytes) -> int:
    """Return the length of the longest end of *data* that is a true prefix of *form*."""
    at = data.find(form[:1], 1 - len(form)) if len(form) > 1 else -1
    while at >= 0:
        if form.startswith(data[at:]):
            return len(data) - at
        at = data.find(form[:1], at + 1)
    return 0


def _groups(forms: set[bytes]) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
    """Yield *forms* by their common beginning, the longest first: a form may be a prefix of another."""
    groups: dict[bytes, list[bytes]] = {}
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        groups.setdefault(form[:_GROUPED], []).append(form)
    for group in groups.values():
        yield _common_prefix(min(group), max(group)), tuple(group)


def _any_of(words: Iterable[bytes]) -> bytes:
    """Return an expression for any of *words*, by their first byte, which decides its cost; of none: of nothing."""
    rests: dict[bytes, list[bytes]] = {}
    for word in words:
        rests.setdefault(word[:1], []).append(re.escape(word[1:]))
    return b"|".join(re.escape(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in rests.items()) or b"(?!)"


def _common_prefix(first: bytes, last: bytes) -> bytes:
    at = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:at]


def _forms(value: bytes) -> Iterator[bytes]:
    text = value.decode()
    escaped = json.dumps(text)[1:-1]
    for spelled in (text, quote(text), quote(text, safe=""), quote_plus(text), escaped, escaped.replace("/", "\\/")):
        yield spelled.encode()
    yield from _all_base64(value)
    yield value.hex().encode()
    yield value.hex().upper().encode()
    if len(value) >= _GOOD_PART:  # a shorter value could be an ordinary word
        yield value.lower()
        yield value.upper()
    yield text.encode("utf-16-le")[:-1]  # in either byte order
    yield text.encode("utf-32-le")[:-3]
    for comma in (",", ", "):  # a JSON list of its bytes
        yield comma.join(map(str, value)).encode()


def _all_base64(value: bytes) -> Iterator[bytes]:
    """Yield the base64 characters that depend on *value* alone, behind any number of bytes."""
    for before in range(3):
        packed = b64encode(bytes(before) + value)
        inner = packed[(before * 8 + 5) // 6 : (before + len(value)) * 8 // 6]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _cover_of(form: bytes) -> bytes:
    # a list of numbers stays a list of numbers
    return cover_of_length(len(form)) if form.strip(b"0123456789, ") else form.translate(_ONES)


def cover_of_length(length: int) -> bytes:
    """Return what stands in the place of *length* bytes that are not shown."""
    return (MARK + b"-" * length)[:length]
