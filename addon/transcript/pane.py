"""
Lines of plain text for a pane of a fixed width: wrapped, bounded, and safe to print.

A terminal must not obey what a client or a provider sent, and a reader must see what is there: control characters and
characters that are invisible or change the direction of text stand in lines as escapes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

BLANK = "\u00a0"  # mitmweb gives an empty line no height
_TAB = 4
_LABELS = 11  # columns that labels take at least, so that cards look alike
_EACH = 32  # characters that a text takes of the budget besides its own: many short ones take the most time
_NARROW = "\u1100"  # characters before this one are one column wide
# Controls but tab and line end, marks and overrides of direction, what is invisible (of the joiners only those that no
# script and no emoji needs), lone surrogates, and the plane of tags and selectors, in which text can be hidden.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def safe(text: str) -> str:
    """Return *text* with what must not reach a terminal, or cannot be seen, as escapes; its lines end in LF alone."""
    if text.isascii() and text.isprintable():
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if "\t" in text:
        text = text.expandtabs(_TAB)
    return _UNSAFE.sub(_escaped, text)


def columns(text: str) -> int:
    """Return how many columns *text*, which is safe and one line, takes."""
    if text.isascii() or max(text) < _NARROW:
        return len(text)
    return sum(map(_columns_of, text))


class Pane:
    """
    Lines of *width* columns, at most *budget* characters of text, of which each text takes a few more than it has.

    What comes when the budget is used up is left out and counted in *left_out*; a text that begins within it is cut.
    """

    def __init__(self, width: int, budget: int) -> None:
        self.width = max(20, width)
        self.left_out = 0
        self._budget = budget
        self._lines: list[str] = []

    @property
    def is_full(self) -> bool:
        """Whether nothing more finds room."""
        return self._budget <= 0

    def text(self, text: str, indent: str = "", first: str | None = None) -> None:
        """Add *text*, wrapped behind *indent*; the first line stands behind *first*, a short label, if given."""
        if len(text) > self._budget:
            self.left_out += len(text) - max(0, self._budget)
            text = text[: max(0, self._budget)]
        if not text:
            return
        shown = safe(text)
        if len(shown) > self._budget:  # escapes take room too
            self.left_out += (len(shown) - self._budget) * len(text) // len(shown)
            shown = shown[: self._budget]
        self._budget -= len(shown) + _EACH
        indent = indent[: self.width // 2]
        head = indent if first is None else first
        begin, mark, rest = shown.partition("\n")
        for line in wrapped(begin, self.width - max(columns(head), len(indent))):
            self._line(head + line)
            head = indent
        for line in wrapped(rest, self.width - len(indent)) if mark else ():
            self._line(indent + line)

    def make_room(self, characters: int) -> None:
        """Let at least *characters* find room, whatever the budget has left."""
        self._budget = max(characters, self._budget)

    def leave_out(self, characters: int) -> None:
        """Count *characters* that are not added because the pane is full."""
        self.left_out += characters

    def items[T](self, items: Sequence[T], told: Callable[[T], str], indent: str = "", between: str = " · ") -> None:
        """Add what is *told* of each of *items*, as many on a line as fit; of those without room, their number."""
        line = ""
        for number, each in enumerate(items):
            if self.is_full:
                self._line(f"{indent[: self.width // 2]}… {len(items) - number + bool(line):,} more")
                return
            item = safe(told(each))
            joined = f"{line}{between}{item}" if line else item
            if line and len(indent) + columns(joined) > self.width:
                self.text(line + between.rstrip(), indent)
                joined = item
            line = joined
        self.text(line, indent)

    def pairs(self, rows: list[tuple[str, str]]) -> None:
        """Add *rows* of a label and its text, the texts below one another."""
        wide = max((_LABELS, *(len(label) + 2 for label, _ in rows)))
        for label, text in rows:
            self.text(text, " " * wide, label.ljust(wide))

    def rule(self, title: str, note: str = "", line: str = "━") -> None:
        """Add a blank line, and a rule with *title* in it and *note* at its end."""
        title, note = (_shortened(safe(text).replace("\n", " "), self.width // 2 - 5) for text in (title, note))
        begin, end = f"{line * 2} {title} ", f" {note} {line * 2}" if note else ""
        fill = self.width - columns(begin) - columns(end)
        self.blank()
        self._lines.append(begin + line * max(2, fill) + end)
        self._budget -= len(self._lines[-1])

    def blank(self) -> None:
        """Add a blank line, unless the last one is blank or there is none yet."""
        if self._lines and self._lines[-1] != BLANK:
            self._lines.append(BLANK)

    def _line(self, line: str) -> None:
        self._lines.append(line.rstrip(" ") or BLANK)

    def __str__(self) -> str:
        return "\n".join(self._lines)


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the lines of *text*, which is safe; those that are wider than *width* are broken, if possible at blanks."""
    for line in text.split("\n"):
        if columns(line) <= width:
            yield line
        else:
            yield from _broken(line, width)


def _shortened(text: str, width: int) -> str:
    return text if columns(text) <= width else f"{text[: _reach(text, 0, width - 1)]}…"


def _broken(line: str, width: int) -> Iterator[str]:
    lead = line[: len(line) - len(line.lstrip(" "))]
    hanging = lead if len(lead) <= width // 2 else ""
    is_narrow = line.isascii() or max(line) < _NARROW
    begin, indent = 0, ""
    while begin < len(line):
        room = width - len(indent)
        end = min(len(line), begin + room) if is_narrow else _reach(line, begin, room)
        if end < len(line) and line[end] != " ":
            blank = line.rfind(" ", begin + len(lead) if not indent and not begin else begin, end)
            end = blank if blank > begin + room // 3 else end
        yield indent + line[begin:end]
        begin = end + (end < len(line) and line[end] == " ")
        indent = hanging


def _reach(line: str, begin: int, room: int) -> int:
    """Return the end of what of *line*, from *begin*, fits into *room* columns; at least one character."""
    end = begin
    while end < len(line) and (room := room - _columns_of(line[end])) >= 0:
        end += 1
    return max(end, begin + 1)


@lru_cache(4096)
def _columns_of(character: str) -> int:
    if character < _NARROW:
        return 1
    if unicodedata.east_asian_width(character) in "WF":
        return 2
    return 0 if unicodedata.combining(character) or character in "\u200c\u200d\ufe0e\ufe0f" else 1


def _escaped(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
