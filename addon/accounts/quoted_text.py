"""
Quoted text: the parts of an error that a client wrote and the provider only repeats.

They are no evidence about an account: otherwise any client could write the sentence that takes an account out of use.
"""

# ruff: noqa: RUF001 - quotation marks of all kinds

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

from ..values.http import Headers

MAX_BODY = 1 << 20  # bytes; a longer request is not searched and counts as unknown
_FILLER = "\0"  # replaces a quoted character; no phrase contains it
_PAIRS = ("“”", "„“", "„”", "””", "‘’", "‚‘", "«»", "»«", "‹›", "›‹", "「」", "『』", "〈〉", "《》", "❝❞", "❛❜",
          "〝〞", "〝〟", "⟨⟩", "⟪⟫", "【】", "〔〕", "（）", "［］", "｢｣", "()", "[]", "{}", "<>")  # fmt: skip
_QUOTED = re.compile(
    "|".join(
        (
            r"(?P<mark>\\*(?:\"\"\"|```|[\"`´＂″])|(?<!\w)\\*(?:'''|['＇′]))(?:\\.|[^\\])*?(?P=mark)(?!\w)",
            r"<(?P<tag>[A-Za-z]+)>.*?</(?P=tag)>",
            r"(?P<stars>\*{1,3}|\|)(?!\s)[^*|]+(?P=stars)",
            *(f"{re.escape(pair[0])}[^{re.escape(pair)}]*{re.escape(pair[1])}" for pair in _PAIRS),
            r"(?:^|(?<=[\s:=,(\[{<]))\\*['\"`´＂＇“„‘‚«‹「『〈《([{].*\Z",  # opened and truncated
        )
    ),
    re.DOTALL,
)  # the leftmost mark opens, so a closing mark does not open the next quotation
# Backslashes first: each pair is one. Then the escapes that must not become a mark of ours.
_BLANKS = (rb"\\", b'\\"', rb"\n", rb"\r", rb"\t", rb"\b", rb"\f", rb"\u0022", rb"\u0001")
_NAME_ENDS = re.compile(rb'"\s*:')
_MAX_VALUE = 200  # bytes of a value that is searched for in a message
_MAX_RUN = 16  # words of such a value
_MARK, _COLON = b"|", b"^"  # in normalised text: a quotation mark, and one that ends a member's name
_TABLE = bytes(
    byte | 32 if 65 <= byte <= 90 else byte if bytes((byte,)).isalnum() or byte >= 128
    else ord(_MARK) if byte == 34 else ord(_COLON) if byte == 1 else 32
    for byte in range(256)
)  # fmt: skip
_WORD = re.compile("[0-9A-Za-z\x80-\U0010ffff]+")
# What the first pass does not decode: escapes of URLs, of HTML, of JSON inside JSON, and characters that may count as a
# blank, in UTF-8 and in JSON.
_ENCODED = re.compile(
    rb"%[0-9A-Fa-f]{2}|&(?:#|[A-Za-z]{2,31};)|\\\\|\\u(?:00[Aa][Dd]|034|061|180|20[0-6]|[Ff][Ee])"
    rb"|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xc2\xad|\xef\xbb\xbf|\xe1\xa0\x8e|\xd8\x9c|\xcd\x8f"
)
_STILL_ENCODED = re.compile(r"%[2-7][0-9A-Fa-f]|&#x?[0-9A-Fa-f]{2,5};|\\u00[2-7]")
# A pattern for all of HTML's entities would cost far more.
_ENTITY = re.compile("&(?:#[0-9]{1,7}|#[Xx][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31});")
_ROUNDS = 3
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")
_JOINT = rb"(?:%[2-7][0-9a-f]|&#x?[0-9a-f]{1,4};|[^a-z0-9]{1,3})"  # between the words of a code
_ACCENTS = re.compile("[\u0300-\u036f]+")
_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+")
_NAME = re.compile(r"[\"'`]([^\"'`]{1,200})[\"'`]")


def own_words(message: str) -> str:
    """Return *message* with the text in quotation marks or brackets blanked, at the same length."""
    return _QUOTED.sub(lambda found: found[0][0] + _FILLER * (len(found[0]) - 2) + found[0][1:][-1:], message)


class ClientText:
    """
    The text of one request, searched for the words of an error.

    *raw* is the body, None when it is not known; *model* is the model it asks for. Nothing is parsed before the first
    search. Case, blanks, punctuation, accents, invisible characters, and the escapes of JSON, URLs and HTML, also
    nested, make no difference.
    """

    __slots__ = ("_headers", "_joined", "_lower", "_model", "_path", "_raw", "_text", "_values")

    def __init__(self, raw: bytes | None, path: str = "", headers: Headers | None = None, model: str = "") -> None:
        self._raw, self._path, self._headers, self._model = raw, path, headers, model
        self._text: bytes = b""
        self._joined: bytes = b""
        self._lower: bytes = b""
        self._values: frozenset[bytes] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether the request can be searched: its body was kept and is not too long."""
        return self._raw is not None and len(self._raw) <= MAX_BODY

    def hold(self, message: str, start: int, end: int, *, names_model: bool = False) -> bool:
        """
        Whether the part of *message* from *start* to *end* may be the client's text, in whole or in part.

        In part: it contains a value of the request; the model's name does not count where the message *names_model*
        anyway. True if the request is not known.
        """
        if not self.is_known:
            return True
        self._read()
        told = {_plain(message[start:end]), _plain(message[slice(*_widened_to_words(message, start, end))])} - {b""}
        if not told or any(b" %b " % each in self._text for each in told):
            return bool(told)
        if names_model:
            return self.hold_other_name(message[start:end]) or any(
                run in self._values and run != _plain(self._model) for run in _runs(message, start, end)
            )
        if not self._joined:  # a path of members may read as a sentence
            self._joined = self._text.replace(b" " + _MARK, b"").replace(b" " + _COLON, b"")
        parts = any(run in self._values for run in _runs(message, start, end))
        return parts or any(b" %b " % each in self._joined for each in told)

    def hold_other_name(self, message: str) -> bool:
        """Whether *message* quotes a value of the request other than the model's name."""
        if not self.is_known:
            return True
        names = {_plain(found[1]) for found in _NAME.finditer(message)} - {b""}
        if not names or _plain(self._model) in names:
            return False
        self._read()
        return not names.isdisjoint(self._values)

    def hold_end(self, message: str, start: int, end: int) -> bool:
        """
        Whether the words from *start* to *end* and the word before them are the client's: the end of a fragment.

        False if there is no word right before them. True if the request is not known.
        """
        if not self.is_known:
            return True
        before = re.search(r"[^\W_]+[ ,]+\Z", message[max(0, start - 80) : start])
        if not before:
            return False
        self._read()
        return b" %b " % _plain(before[0] + message[start:end]) in self._text

    def hold_code(self, code: str) -> bool:
        """Whether *code* is a value or a member's name in the request. False if the request is not known."""
        if not self.is_known or not self._may_hold(code):
            return False
        self._read()
        word = _plain(code)
        if word in self._values or b" | %b ^ " % word in self._text:
            return True
        return code.isdecimal() and self._has_member(("code", "status"), code)

    def hold_member(self, name: str, value: str) -> bool:
        """Whether the request has a member *name* with that *value*. False if the request is not known."""
        if not self.is_known or not self._may_hold(name.lower()):
            return False
        self._read()
        return self._has_member((name,), value)

    def _has_member(self, names: tuple[str, ...], value: str) -> bool:
        told = _plain(value)
        forms = (b" %b ^ %b ", b" %b ^ | %b ")
        return any(form % (_plain(name), told) in self._text for name in names for form in forms)

    def _may_hold(self, code: str) -> bool:
        """Whether *code* can be in the request: a cheap check, since most errors have codes, also in a flood."""
        raw = self._raw or b""
        if _ESCAPED_ASCII.search(raw) or b"\0" in raw[:8]:
            return True
        words = re.compile(_JOINT.join(re.findall(rb"[a-z0-9]+", code.encode("utf-8", "replace"))))
        values = (value for _, value in self._headers or ())
        texts = (unquote_plus(unquote(self._path)), *values)
        if not self._lower:
            self._lower = raw.lower()
        return any(words.search(text) for text in (self._lower, *(t.lower().encode("utf-8", "replace") for t in texts)))

    def _read(self) -> None:
        if self._text:
            return
        raw = _as_utf8(self._raw or b"")
        parts = [_normal(_NAME_ENDS.sub(b"\x01", _unescaped(raw)))]
        if _ENCODED.search(raw):
            parts += map(_normal, _read_again(raw))
        if raw.lstrip()[:1] not in (b"{", b"["):  # a form
            form = re.sub(rb"[&=\r\n]", b'"', raw).decode("utf-8", "replace")
            parts.append(_normal(unquote_plus(form).encode("utf-8", "replace")))
        for path in (self._path, unquote(self._path)):
            parts += [_plain(unquote_plus(part)) for part in (path, *re.split(r"[/?&=]", path))]
        parts += [_plain(f"{name}: {value}") for name, value in self._headers or ()]
        for _, value in self._headers or ():
            parts += [_plain(each) for each in (value, unquote_plus(value), *re.split("[,;=]", value))]
        self._text = b" | ".join((b"", *parts, b""))
        pieces = self._text.split(_MARK)
        values = {piece.strip() for piece in pieces if len(piece) <= _MAX_VALUE and _COLON not in piece}
        self._values = frozenset(values - {b""})


NOTHING = ClientText(b"")


def _normal(text: bytes) -> bytes:
    """Return the words of *text* in lower case, one blank between them; quotation marks are words."""
    if not text.isascii():
        text = _folded(text.decode("utf-8", "replace")).encode("utf-8", "replace")
    return b" ".join(text.translate(_TABLE).replace(_MARK, b" | ").replace(_COLON, b" ^ ").split())


def _folded(text: str) -> str:
    return _UNSEEN.sub("", _ACCENTS.sub("", unicodedata.normalize("NFKD", text))).upper().lower()


def _as_utf8(raw: bytes) -> bytes:
    """Return JSON in UTF-8; some servers accept UTF-16 and UTF-32."""
    is_wide = b"\0" in raw[:8]
    return raw.decode(json.detect_encoding(raw), "replace").encode("utf-8", "replace") if is_wide else raw


def _read_again(raw: bytes) -> Iterator[bytes]:
    """Yield JSON with the escapes inside its strings decoded too; once more with invisible characters as blanks."""
    text = _unescaped(re.sub(rb"\\{2,}", rb"\\", raw)).decode("utf-8", "replace")
    for _ in range(_ROUNDS):
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), unquote_plus(unquote(text)))
        if not _STILL_ENCODED.search(text):
            break
        text = _unescaped(text.encode("utf-8", "replace")).decode("utf-8", "replace")
    yield text.encode("utf-8", "replace")
    if _UNSEEN.search(text):
        yield _UNSEEN.sub(" ", text).encode("utf-8", "replace")


def _widened_to_words(message: str, start: int, end: int) -> tuple[int, int]:
    while start > 0 and _WORD.match(message[start - 1]):
        start -= 1
    while end < len(message) and _WORD.match(message[end]):
        end += 1
    return start, end


def _plain(text: str) -> bytes:
    return _normal(text.replace('"', " ").replace("\x01", " ").encode("utf-8", "replace"))  # both are marks of ours


def _unescaped(raw: bytes) -> bytes:
    for escape in _BLANKS:
        raw = raw.replace(escape, b" ")
    if b"\\u" not in raw:
        return raw
    text = raw.decode("utf-8", "replace").encode("raw_unicode_escape").decode("raw_unicode_escape", "replace")
    pairs = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # surrogate pairs
    return pairs.encode("utf-8", "replace")


def _runs(message: str, start: int, end: int) -> Iterator[bytes]:
    """Yield the runs of words that overlap the part; of single words only `model`: others are in requests by chance."""
    places = [(found.start(), found.end()) for found in _WORD.finditer(message)]
    words = [_plain(message[a:b]) for a, b in places]
    for first in range(len(places)):
        for last in range(first, min(first + _MAX_RUN, len(places))):
            inside = places[first][0] < end and places[last][1] > start
            if inside and (first != last or words[first] in (b"model", b"models")):
                yield b" ".join(words[first : last + 1])
