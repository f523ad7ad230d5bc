"""
Which words of an error are the provider's own, and which are a client's that the provider quotes.

A quotation is no evidence about an account: any client could write the sentence that takes an account out of use.
"""

# ruff: noqa: RUF001 - quotation marks of all kinds are what it is about

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from ..values import Headers

MAX_BODY = 1 << 20  # bytes of a request that are searched; a longer one counts as unknown
_FILLER = "\0"  # stands for a quoted character: no phrase holds it
_PAIRS = ("“”", "„“", "„”", "””", "‘’", "‚‘", "«»", "»«", "‹›", "›‹", "「」", "『』", "〈〉", "《》", "()", "[]", "{}",
          "<>")  # fmt: skip
_QUOTED = re.compile(
    "|".join(
        (
            r"(?P<mark>\\*(?:\"\"\"|```|[\"`´＂″])|(?<!\w)\\*(?:'''|['＇′]))(?:\\.|[^\\])*?(?P=mark)(?!\w)",
            *(f"{re.escape(pair[0])}[^{re.escape(pair)}]*{re.escape(pair[1])}" for pair in _PAIRS),
            r"(?:^|(?<=[\s:=,(\[{<]))\\*['\"`´＂＇“„‘‚«‹「『〈《([{].*\Z",  # opened and cut off before its end
        )
    ),
    re.DOTALL,
)  # the leftmost mark opens, so what closes one quotation does not open the next
# A backslash first: in a run of them each pair is one. Then what must not become a mark or a border of our own.
_BLANKS = (rb"\\", b'\\"', rb"\n", rb"\r", rb"\t", rb"\b", rb"\f", rb"\u0022", rb"\u0001")
_NAME_ENDS = re.compile(rb'"\s*:')
_MAX_VALUE = 200  # bytes of a value that is looked for in a message
_MAX_RUN = 16  # words of such a value
_MARK, _COLON = b"|", b"^"  # in normal text: a quotation mark, and one that ends the name of a member
_TABLE = bytes(
    byte | 32 if 65 <= byte <= 90 else byte if bytes((byte,)).isalnum() or byte >= 128
    else ord(_MARK) if byte == 34 else ord(_COLON) if byte == 1 else 32
    for byte in range(256)
)  # fmt: skip
_WORD = re.compile("[0-9A-Za-z\x80-\U0010ffff]+")


def own_words(message: str) -> str:
    """Return *message* with what stands in quotation marks or brackets blanked, length kept."""
    return _QUOTED.sub(lambda found: found[0][0] + _FILLER * (len(found[0]) - 2) + found[0][1:][-1:], message)


class ClientWords:
    """
    What a client wrote in one request, to be searched for words of an error.

    *raw* is the body, None when it is not known; *model* is the model it asks for. Nothing is
    read before the first question. Case, blanks, punctuation, and the escapes of JSON and URLs make no difference.
    """

    __slots__ = ("_headers", "_model", "_path", "_raw", "_text", "_values")

    def __init__(self, raw: bytes | None, path: str = "", headers: Headers | None = None, model: str = "") -> None:
        self._raw, self._path, self._headers, self._model = raw, path, headers, model
        self._text: bytes = b""
        self._values: frozenset[bytes] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether the request can be searched: its body was kept and is not too long."""
        return self._raw is not None and len(self._raw) <= MAX_BODY

    def hold(self, message: str, start: int, end: int, *, names_model: bool = False) -> bool:
        """
        Say whether what *message* says from *start* to *end* may be the client's, in whole or in part.

        In part: a value of the request stands there, be it that of the model unless the message *names_model* anyway.
        True if the request is not known.
        """
        if not self.is_known:
            return True
        self._read()
        told = _plain(message[start:end])
        if not told or b" %b " % told in self._text:
            return bool(told)
        model = _plain(self._model) if names_model else b""
        return any(run in self._values and run != model for run in _runs(message, start, end))

    def hold_code(self, code: str) -> bool:
        """Say whether *code* is a value of the request. False if the request is not known."""
        if not self.is_known or not self._may_hold(code):
            return False
        self._read()
        return _plain(code) in self._values

    def _may_hold(self, code: str) -> bool:
        """Say at little cost whether *code* can be in the request: codes come with most errors, also in a flood."""
        raw = self._raw or b""
        if rb"\u" in raw or code.encode("utf-8", "replace") in raw.lower():
            return True
        values = (value for _, value in self._headers or ())
        return any(code in text.lower() for text in (unquote_plus(self._path), *values))

    def _read(self) -> None:
        if self._text:
            return
        raw = self._raw or b""
        parts = [_normal(_NAME_ENDS.sub(b"\x01", _unescaped(raw)))]
        if raw.lstrip()[:1] not in (b"{", b"["):  # a form
            form = raw.replace(b"&", b'"').replace(b"=", b'"').decode("utf-8", "replace")
            parts.append(_normal(unquote_plus(form).encode("utf-8", "replace")))
        steps = re.split(r"[/?&=]", self._path)
        parts += [_plain(unquote_plus(part)) for part in (self._path, *steps)]
        parts += [_plain(f"{name}: {value}") for name, value in self._headers or ()]
        parts += [_plain(value) for _, value in self._headers or ()]
        self._text = b" | ".join((b"", *parts, b""))
        pieces = self._text.split(_MARK)
        values = {piece.strip() for piece in pieces if len(piece) <= _MAX_VALUE and _COLON not in piece}
        self._values = frozenset(values - {b""})


NOTHING = ClientWords(b"")


def _normal(text: bytes) -> bytes:
    """Return the words of *text* in lower case with one blank between them, quotation marks as words of their own."""
    if not text.isascii():
        text = text.decode("utf-8", "replace").lower().encode("utf-8", "replace")
    return b" ".join(text.translate(_TABLE).replace(_MARK, b" | ").replace(_COLON, b" ^ ").split())


def _plain(text: str) -> bytes:
    return _normal(text.replace('"', " ").encode("utf-8", "replace"))


def _unescaped(raw: bytes) -> bytes:
    """Return JSON with its escapes undone, without a step of ours for each of them; escaped marks become blanks."""
    if b"\\" not in raw:
        return raw
    for escape in _BLANKS:
        raw = raw.replace(escape, b" ")
    raw = raw.replace(b"\\/", b"/")
    if b"\\u" not in raw:
        return raw
    text = raw.decode("utf-8", "replace").encode("raw_unicode_escape").decode("raw_unicode_escape", "replace")
    pairs = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # what is written as two surrogates
    return pairs.encode("utf-8", "replace")


def _runs(message: str, start: int, end: int) -> Iterator[bytes]:
    """
    Go through the runs of words of *message* that reach into the part from *start* to *end*.

    One word alone stands in many requests by chance; only `model`, on which whole rows turn, counts as a name.
    """
    places = [(found.start(), found.end()) for found in _WORD.finditer(message)]
    words = [message[a:b].lower().encode("utf-8", "replace") for a, b in places]
    for first in range(len(places)):
        for last in range(first, min(first + _MAX_RUN, len(places))):
            inside = places[first][0] < end and places[last][1] > start
            if inside and (first != last or words[first] in (b"model", b"models")):
                yield b" ".join(words[first : last + 1])
