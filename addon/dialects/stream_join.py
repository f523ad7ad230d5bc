"""The events of a stream → one document, shaped like the answer that is not streamed."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

Json = dict[str, Any]

_ASIDE = 10_000  # events that are kept apart; of more, the number
_SEARCHED = 64  # entries of a list, from its end
_EARLIER = 64  # values that a later event replaced
NAMES = frozenset({"type", "id", "role", "object", "index", "call_id", "format"})  # repeated rather than continued


class StreamJoin:
    """
    Puts events together: `feed` for each, then `end`. This one, of no dialect, keeps every event apart.

    *document* is what a whole answer would have been; *aside* holds the events and values that have no place in it;
    *ended*: an event said that nothing follows. Events are taken over and changed.
    """

    envelope: frozenset[str] = frozenset()  # members of events that differ from event to event and mean nothing

    def __init__(self) -> None:
        self.document: Json = {}
        self.aside: list[Json] = []
        self.ended = False
        self._earlier = 0

    def feed(self, name: str, event: Json) -> None:
        """Take *event*; *name* is empty or what its `event:` line says."""
        self.put_aside(event)

    def end(self) -> None:
        """Finish *document*."""
        self.document = settled(self.document)

    def done(self) -> None:
        """Note `[DONE]`."""
        self.ended = True

    def begin(self, answer: Json) -> None:
        """Note that *answer* begins or goes on; if it is another one than before, the former is kept apart."""
        if self.document.get("id") and answer.get("id") not in (None, self.document["id"]):
            self.put_aside({"earlier": self.document})
            self.document = {}

    def fail(self, event: Json) -> None:
        """Take *event* for the error that ends the stream."""
        self.ended = True
        if event.get("error"):
            self.merge_rest(event, ("type", "error"))
            self.document["error"] = event["error"]
        else:
            self.document["error"] = event

    def put_aside(self, event: Json) -> None:
        """Keep *event* apart."""
        if len(self.aside) < _ASIDE:
            self.aside.append(event)
        elif len(self.aside) == _ASIDE:
            self.aside.append({"type": "more", "events": 1})
        else:
            self.aside[-1]["events"] += 1

    def merge_rest(self, event: Json, known: Container[str]) -> None:
        """Merge the members of *event* that are neither *known* nor of the envelope; keep texts that they replace."""
        for name, value in event.items():
            if name in known or name in self.envelope or value is None:
                continue
            before = self.document.get(name)
            if isinstance(before, str) and before and before != value and self._earlier < _EARLIER:
                self._earlier += 1
                self.put_aside({"earlier": {name: before}})
            merge(self.document, {name: value})


class Pieces(list[str]):
    """The pieces of a text, joined at the end."""


def merge(into: Json, new: Json) -> None:
    """Put the members of *new* in the place of those of *into*, level by level; null replaces nothing."""
    for name, value in new.items():
        before = into.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            merge(before, value)
        elif value is not None or before is None:
            into[name] = value


def extend(into: Json, name: str, piece: str) -> None:
    """Continue the text *name* of *into* by *piece*."""
    before = into.get(name)
    if isinstance(before, Pieces):
        before.append(piece)
    else:
        into[name] = Pieces([before, piece] if isinstance(before, str) else [piece])


def taken_list(data: Json, name: str) -> list[Any]:
    """Take the list *name* out of *data*; what is no list stays there."""
    found = data.get(name)
    if not isinstance(found, list):
        return []
    del data[name]
    return found


def grow(into: Json, delta: Json) -> None:
    """
    Continue *into* by *delta*, as the SDKs do: texts and lists go on, objects level by level, entries by their `index`.

    The members of NAMES are repeated rather than continued.
    """
    for name, value in delta.items():
        before = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif isinstance(value, str) and name not in NAMES:
            if name != "name" or before != value:
                extend(into, name, value)
        elif isinstance(value, dict) and isinstance(before, dict):
            grow(before, value)
        elif isinstance(value, dict):
            into[name] = {}
            grow(into[name], value)
        elif isinstance(value, list):
            into[name] = before if isinstance(before, list) and not isinstance(before, Pieces) else []
            for entry in value:
                _grow_list(into[name], entry)
        else:
            into[name] = value


def _grow_list(into: list[Any], entry: object) -> None:
    if not isinstance(entry, dict) or not isinstance(entry.get("index"), int):
        into.append(entry)
        return
    place = _entry_at(into, entry["index"])
    if place is None or _is_another(place, entry):
        place = {}
        into.append(place)
    grow(place, entry)


def _entry_at(entries: list[Any], index: int) -> Any:
    at = entries[index] if 0 <= index < len(entries) else None
    later = reversed(entries[-_SEARCHED:])  # where entries do not stand at their index, or one index was used twice
    found = next((one for one in later if isinstance(one, dict) and one.get("index") == index), None)
    return found or (at if isinstance(at, dict) and at.get("index") == index else None)


def _is_another(place: Json, entry: Json) -> bool:
    # some servers give every call the index 0
    return bool(place.get("id") and entry.get("id")) and place["id"] != entry["id"]


def settled(value: Any) -> Any:
    """Return *value* with all pieces joined."""
    if isinstance(value, Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: settled(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [settled(inner) for inner in value]
    return value


def coalesced(entries: list[Any]) -> list[Any]:
    """Return *entries*, parts of a content, with texts of one type that follow each other made one."""
    found: list[Any] = []
    for entry in entries:
        name = next(
            (name for name in ("text", "thinking") if isinstance(entry, dict) and {*entry} == {"type", name}), ""
        )
        last = found[-1] if found else None
        if not name or not isinstance(last, dict) or {*last} != {"type", name} or last["type"] != entry["type"]:
            found.append(entry)
        elif isinstance(last[name], str) and isinstance(entry[name], str):
            found[-1] = {**last, name: last[name] + entry[name]}
        elif isinstance(last[name], list) and isinstance(entry[name], list):
            found[-1] = {**last, name: coalesced([*last[name], *entry[name]])}
        else:
            found.append(entry)
    return found
