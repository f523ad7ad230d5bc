"""Whether a page of the content view shows every text and number of a body: the check itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from patchbay.transcript.pane import safe

from .completeness import ENVELOPE, leaves

Leaf = tuple[str, str | int | float]

_BLANKS = re.compile(r"[\s\u00a0┊]+")
_CONTINUED = frozenset(
    "text thinking signature partial_json content reasoning_content reasoning arguments refusal".split()
)


def squeezed(text: str) -> str:
    """Return *text*, safe as on a page, without blanks and the marks of thinking."""
    return _BLANKS.sub("", safe(text))


def missing_on(page: str, values: Sequence[Any]) -> list[Leaf]:
    """Return the texts and numbers of the JSON *values*, a body or the events of a stream, that *page* lacks."""
    shown = squeezed(page)
    # an item that is being made says so until another event says how it ended
    return [
        leaf for leaf in (*_whole(values), *_continued(values)) if leaf[1] != "in_progress" and not _is_on(shown, *leaf)
    ]


def _is_on(shown: str, name: str, value: str | int | float) -> bool:
    if isinstance(value, str):
        inner = _json(value)
        if inner is not None:
            return all(_is_on(shown, *leaf) for leaf in leaves(inner, name))
        return any(squeezed(text) in shown for text in (value, json.dumps(value, ensure_ascii=False)[1:-1]))
    numbers = {str(value), json.dumps(value)}
    return any(re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", shown) for number in numbers)


def _json(text: str) -> Any:
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _whole(values: Sequence[Any]) -> Iterator[Leaf]:
    for value in values:
        for name, leaf in leaves(value):
            if len(values) == 1 or not (isinstance(leaf, str) and (name in _CONTINUED or name == "delta")):
                yield name, leaf


def _continued(values: Sequence[Any]) -> Iterator[Leaf]:
    """Yield the texts that come in pieces, joined: those with one path and one place."""
    texts: dict[tuple[Any, ...], list[str]] = {}
    for value in values if len(values) > 1 else ():
        for place, piece in _pieces(value, ()):
            texts.setdefault(place, []).append(piece)
    for place, pieces in texts.items():
        yield str(place[-1]), "".join(pieces)


def _pieces(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, list):
        for each in value:
            yield from _pieces(each, place)
    elif isinstance(value, dict):
        marks = tuple(
            (name, value[name]) for name in sorted(ENVELOPE & {*value}) if name.endswith(("index", "item_id"))
        )
        kind = value["type"] if isinstance(value.get("type"), str) else bool(value.get("thought"))
        for name, inner in value.items():
            at = (*place, *marks, kind, name)
            if isinstance(inner, str) and (name in _CONTINUED or name == "delta"):
                yield at, inner
            else:
                yield from _pieces(inner, at)
