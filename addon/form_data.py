"""
The fields of a form, multipart or urlencoded: read, or replaced with no other byte changed. Files are not read.

A form is read strictly (RFC 7578): two servers must not find two different forms in the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from .media_types import FORM, media_type

_PARAMETER = re.compile(r';\s*([a-z*]+)=(?:"([^"\\\r\n]*)"|([^\s";]+))\s*', re.IGNORECASE)
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)")
_DISPOSITION = re.compile(
    rb'form-data; ?name="([^"\\\r\n%]*)"((?:; ?filename\*?=(?:"(?:[^"\\\r\n]|\\[^"\r\n])*"|[^\s";]+)){0,2})',
    re.IGNORECASE,
)
_LENGTH = re.compile(rb"(\r\ncontent-length:[ \t]*)\d+", re.IGNORECASE)
_MULTIPART = "multipart/form-data"
_ONE_WORD = re.compile(rb"\n\r?\n([!-~]{1,512})[ \t]*\r?\n--")
_PLAIN = frozenset((b"7bit", b"8bit", b"binary"))
MAX_FIELD = 64 * 1024  # bytes; a longer field reads as empty

Field = tuple[str, str]


def multipart(raw: bytes, content_type: str) -> tuple[Field, ...]:
    """
    Return names and values of the fields of *raw*, a body of *content_type*; of a file its value is empty.

    Raises ValueError where it is no form that all servers read alike.
    """
    mark = b"--" + _boundary(content_type).encode()
    if not raw.startswith(mark + b"\r\n"):
        raise ValueError("the form does not begin with its boundary")
    pieces = (b"\r\n" + raw).split(b"\r\n" + mark)
    if len(pieces) != raw.count(mark) + 1:
        raise ValueError("the boundary of the form stands where none belongs")
    if pieces[-1].rstrip(b"\r\n") != b"--":
        raise ValueError("the form does not end with its boundary")
    return tuple(_part(piece) for piece in pieces[1:-1])


def words(raw: bytes) -> Iterator[str]:
    """Yield the parts of the form *raw* that are one word, also where the form is malformed."""
    yield from (found[1].decode() for found in _ONE_WORD.finditer(raw))


def urlencoded(text: str) -> tuple[Field, ...]:
    """Return names and values of a query or an urlencoded body, split at `;` as well, as some servers do."""
    pairs: dict[Field, None] = {}
    for separator in "&;" if ";" in text else "&":
        pairs |= dict.fromkeys(parse_qsl(text, keep_blank_values=True, separator=separator, errors="replace"))
    return tuple(pairs)


def is_form(content_type: str) -> bool:
    """Whether a body of *content_type* is a form, of either kind."""
    return media_type(content_type) in (_MULTIPART, FORM)


def value(raw: bytes, content_type: str, name: str) -> str:
    """Return the value of the field *name* of the form *raw*; empty unless there is exactly one, and readable."""
    try:
        if media_type(content_type) == FORM:
            found = [_unquoted(value) for _, key, value in _parts_names_values(raw) if key == name]
        else:
            found = [value for key, value in multipart(raw, content_type) if key == name]
    except ValueError:
        return ""
    return found[0] if len(found) == 1 else ""


def replaced(raw: bytes, content_type: str, values: Mapping[str, str]) -> bytes:
    """
    Return the form *raw* with *values* in their fields, every other byte as it was.

    Raises ValueError unless each field is there exactly once and the form can be read.
    """
    for name, new in values.items():
        raw = (_replaced_pair if media_type(content_type) == FORM else _replaced_part)(raw, content_type, name, new)
    return raw


def _replaced_part(raw: bytes, content_type: str, name: str, new: str) -> bytes:
    multipart(raw, content_type)
    between = b"\r\n--" + _boundary(content_type).encode()
    pieces = (b"\r\n" + raw).split(between)
    found = [at for at, piece in enumerate(pieces[1:-1], 1) if _part(piece)[0] == name]
    if len(found) != 1:
        raise ValueError(f"the form does not have the field {name} once")
    at = found[0]
    head = pieces[at].partition(b"\r\n\r\n")[0]
    text = new.encode()
    pieces[at] = _LENGTH.sub(rb"\g<1>%d" % len(text), head) + b"\r\n\r\n" + text
    return between.join(pieces)[2:]


def _replaced_pair(raw: bytes, content_type: str, name: str, new: str) -> bytes:
    parts = list(_parts_names_values(raw))
    found = [at for at, (_, key, _) in enumerate(parts) if key == name]
    if len(found) != 1:
        raise ValueError(f"the form does not have the field {name} once")
    key = parts[found[0]][0].partition("=")[0]
    texts = [text for text, _, _ in parts]
    texts[found[0]] = f"{key}={quote_plus(new)}"
    return "&".join(texts).encode("latin-1")


def _parts_names_values(raw: bytes) -> Iterator[tuple[str, str, str]]:
    for part in raw.decode("latin-1").split("&"):
        key, _, value = part.partition("=")
        yield part, _unquoted(key), value


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="replace")


def _boundary(content_type: str) -> str:
    kind, _, _ = content_type.partition(";")
    rest = content_type[len(kind) :].rstrip()
    found, at = [], 0
    while at < len(rest):
        parameter = _PARAMETER.match(rest, at)
        if parameter is None:
            raise ValueError("the Content-Type of the form cannot be read")
        if parameter[1].lower().startswith("boundary"):
            found.append(parameter[2] if parameter[2] is not None else parameter[3])
        at = parameter.end()
    if kind.strip().lower() != _MULTIPART or len(found) != 1 or not _BOUNDARY.fullmatch(found[0]):
        raise ValueError("the body is no form with one boundary")
    return found[0]


def _part(piece: bytes) -> Field:
    head, end, value = piece.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"\r\n"):
        raise ValueError("a part of the form has no head")
    names: list[tuple[str, bool]] = []
    for line in head[2:].split(b"\r\n"):
        found = _HEADER.fullmatch(line)
        if found is None:
            raise ValueError("a head of the form cannot be read")
        if found[1].lower() == b"content-disposition":
            names.append(_name(found[2]))
        elif found[1].lower() == b"content-transfer-encoding" and found[2].strip().lower() not in _PLAIN:
            raise ValueError("a part of the form is encoded")
    if len(names) != 1:
        raise ValueError("a part of the form has no name, or two")
    name, is_file = names[0]
    return name, "" if is_file or len(value) > MAX_FIELD else value.decode("utf-8")


def _name(disposition: bytes) -> tuple[str, bool]:
    found = _DISPOSITION.fullmatch(disposition.strip())
    if found is None:
        raise ValueError("the name of a part of the form is ambiguous")
    return found[1].decode("utf-8"), bool(found[2])
