"""
Events that are alike: in a stream nearly every event is the one before it with another piece of text.

Such an event says nothing new but its text, so it need not be read: it is known by the bytes around the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from .sse import Event
from .values import Fact

MISSES = 8  # forms that were learned and never met again, after which a stream is taken for one without any
_PROBE = '\0"probe\\'
_TEXT = msgspec.json.Decoder(str)
_PLAIN = frozenset({"id", "model", "created", "object", "content", "text"})  # what has no effect when it comes again

Read = Callable[[str, dict[str, Any]], Iterable[Fact]]


class Alike:
    """The form of the last event that was read, if its text is all that it may differ in from the next one."""

    __slots__ = ("_after", "_before", "_met", "_misses", "_name")

    def __init__(self) -> None:
        self._name, self._before, self._after = "", b"", b""
        self._met = True
        self._misses = 0

    def text(self, event: Event) -> str:
        """Return the text of *event* if it is the last one with another text; else nothing, and it is to be read."""
        before, after, data = self._before, self._after, event.data
        if not before or event.name != self._name or not (data.startswith(before) and data.endswith(after)):
            return ""
        try:
            found = _TEXT.decode(data[len(before) : len(data) - len(after)])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        self._met = True
        return found

    def learn(self, event: Event, name: str, found: Sequence[Fact], read: Read) -> None:
        """Take the form of *event*, which `read` under *name* as *found* and which told nothing new."""
        self.forget()
        texts = [fact for fact in found if fact.kind == "text"]
        if self._misses >= MISSES or len(texts) != 1 or texts[0].where or any(f.kind not in _PLAIN for f in found):
            return
        try:
            text = msgspec.json.encode(str(texts[0].value))
        except UnicodeEncodeError:  # half a character
            return
        before, quoted, after = event.data.partition(text)
        if quoted and text not in after and self._is_all(before, after, name, found, read):
            self._name, self._before, self._after, self._met = event.name, before, after, False

    def forget(self) -> None:
        """Know no form: an event of another one has come."""
        self._misses += not self._met
        self._before, self._met = b"", True

    @staticmethod
    def _is_all(before: bytes, after: bytes, name: str, found: Sequence[Fact], read: Read) -> bool:
        """Whether the text between *before* and *after* is the text that was read, and nothing else hangs on it."""
        try:
            data = msgspec.json.decode(before + msgspec.json.encode(_PROBE) + after)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return False
        wanted = [Fact("text", _PROBE) if fact.kind == "text" else fact for fact in found]
        return isinstance(data, dict) and list(read(name, data)) == wanted
