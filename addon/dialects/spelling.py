"""Spellings of a path: in its simplest form (RFC 3986), and as servers that are less strict than that may read it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from string import ascii_letters, digits
from urllib.parse import unquote

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_NEEDLESS = frozenset(ascii_letters + digits + "-._~:@!$&'()*+,=")  # characters that need no percent-encoding
_ENCODINGS = 4  # how often a path may be encoded, the last of them being none
_DOTS = re.compile(r"\.+")
_CUTS = re.compile(r"[;?#]")  # some servers end a segment here, once it is decoded
_BLANK = "\0 \t\r\n\v\f"
_MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(r"v\d+(?:alpha|beta)?\d*|v1internal")


def plain(path: str) -> str:
    """Return *path* (without its query) without needless percent-encodings (RFC 3986, 6.2.2.2)."""
    return _ENCODED.sub(_decoded_mark, path) if "%" in path else path


def _decoded_mark(found: re.Match[str]) -> str:
    mark = chr(int(found[1], 16))
    return mark if mark in _NEEDLESS else found[0].upper()


def decoded(path: str) -> str:
    """Return *path* decoded until nothing changes. Raises ValueError where its encodings have no end."""
    for _ in range(_ENCODINGS):
        if _MALFORMED.search(path):
            raise ValueError("a percent sign that encodes nothing")
        path, before = unquote(path, errors="strict"), path
        if path == before:
            break
    else:
        raise ValueError("encoded too often")
    return unicodedata.normalize("NFKC", path).replace("\\", "/")


def loosest(path: str) -> str:
    """Return *path* (without its query) as the least strict server reads it; unchanged where it cannot be decoded."""
    try:
        path = decoded(path)
    except ValueError:
        return path
    return "/".join(_cut(segment).rstrip(". ") for segment in path.split("/"))


def climbs(path: str) -> bool:
    """Whether a segment of *path*, which is decoded, is nothing but dots."""
    return "." in path and any(_DOTS.fullmatch(_cut(segment)) for segment in path.split("/"))


def simplest(path: str, words: Mapping[str, str]) -> str:
    """Return the decoded *path* without empty segments, parameters and trailing dots, spelled as in *words*."""
    return "/" + "/".join(filter(None, (_simple(part, words) for part in path.partition("?")[0].split("/"))))


def _cut(segment: str) -> str:
    return _CUTS.split(segment)[0].strip(_BLANK)


def _simple(segment: str, words: Mapping[str, str]) -> str:
    segment = segment.partition(";")[0].strip().rstrip(". ")
    return ":".join(_word(part, words) for part in segment.split(":"))


def _word(part: str, words: Mapping[str, str]) -> str:
    folded = part.casefold()
    return folded if _VERSION.fullmatch(folded) else words.get(folded, part)
