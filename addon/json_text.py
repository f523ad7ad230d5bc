"""
Where things stand in a JSON text, so that a few bytes of it change and no other does.

The text is not checked: of what is no JSON nothing useful is said, and nothing is raised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:]', re.DOTALL)
_OPENS, _CLOSES = b"{[", b"}]"
_DEPTH = 256  # of names that are known; what stands deeper has those of the last of them


@dataclass(frozen=True, slots=True)
class Text:
    """A string that is a value. *names* are those of the members it stands in, the outermost first."""

    start: int
    end: int
    names: tuple[str, ...]


def strings(text: bytes) -> Iterator[Text]:
    """Yield every string of *text* that is a value, in order."""
    names: list[str] = [""]  # by depth: of the member that is read there, empty in a list
    deeper = 0
    last: re.Match[bytes] | None = None  # a string, of which is not known yet whether it is a name
    for found in _TOKEN.finditer(text):
        token = text[found.start() : found.start() + 1]
        if last is not None and token == b":":
            names[-1] = names[-1] if deeper else string(last[0])
            last = None
            continue
        if last is not None:
            yield _text(last, names)
            last = None
        if token == b'"':
            last = found
        elif token in _OPENS and len(names) < _DEPTH:
            names.append("")
        elif token in _OPENS:
            deeper += 1
        elif token in _CLOSES and deeper:
            deeper -= 1
        elif token in _CLOSES and len(names) > 1:
            names.pop()
    if last is not None:
        yield _text(last, names)


def string(text: bytes) -> str:
    """Return the string whose JSON is *text*; empty where it is none."""
    if b"\\" not in text:
        return text[1:-1].decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def with_strings(text: bytes, change: Callable[[str, tuple[str, ...]], str], mark: bytes) -> bytes:
    """
    Return *text* with every string put through *change*, which is told the names it stands under.

    Only strings that hold *mark* are looked at. What does not change stays as it is written.
    """
    if mark not in text:
        return text
    out, at = bytearray(), 0
    for found in strings(text):
        if text.find(mark, found.start, found.end) < 0:
            continue
        before = string(text[found.start : found.end])
        after = change(before, found.names)
        if after != before:
            out += text[at : found.start] + json.dumps(after).encode()
            at = found.end
    return bytes(out + text[at:]) if at else text


def _text(found: re.Match[bytes], names: list[str]) -> Text:
    return Text(found.start(), found.end(), tuple(filter(None, names)))
