"""Whether a transcript holds every text and number of a body: the check itself, for tests and for recorded flows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from patchbay.dialects.members import is_base64
from patchbay.values.transcript import Transcript

# What names the form of a thing, and is shown by the form of the transcript; and what only numbers the events.
FORMS = frozenset({"type", "role", "object", "event_type"})
ENVELOPE = frozenset(
    "index sequence_number item_id output_index content_index summary_index annotation_index command_index obfuscation"
    " stream_id event_id".split()
)
CONTENTS = re.compile(r"data:[^,]*,")


def missing(value: Any, found: Transcript, name: str = "") -> list[tuple[str, str | int | float]]:
    """Return the texts and numbers in the JSON *value* that *found* does not hold, with the member that has them."""
    texts, numbers = _held(found)
    everything = "\n".join(texts)
    return [
        (path, leaf)
        for path, leaf in leaves(value, name)
        if not (leaf in texts or leaf in everything if isinstance(leaf, str) else leaf in numbers or str(leaf) in texts)
    ]


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, str | int | float]]:
    """Yield each text and number in the JSON *value* that a reader could miss, with the member that has it."""
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from leaves(each, inner)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, name)
    elif isinstance(value, str) and value:
        if name not in FORMS and name not in ENVELOPE and not _is_contents(value, name):
            yield name, value
    elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ENVELOPE:
        yield name, value


def _is_contents(value: str, name: str) -> bool:
    return bool(CONTENTS.match(value)) or (
        name in ("data", "b64_json", "file_data", "result", "partial_image_b64", "delta") and is_base64(value)
    )


def _held(found: Transcript) -> tuple[set[str], set[float]]:
    texts: set[str] = set()
    numbers: set[float] = set()
    for value in values(found):
        if isinstance(value, str):
            texts.add(value)
            _add_json(value, texts, numbers)
        elif not isinstance(value, bool):
            numbers.add(value)
    return texts, numbers


def _add_json(text: str, texts: set[str], numbers: set[float]) -> None:
    if text[:1] not in ("{", "["):
        return
    try:
        value = json.loads(text)
    except ValueError:
        return
    for _, leaf in leaves(value):
        texts.add(leaf) if isinstance(leaf, str) else numbers.add(leaf)


def values(found: Any) -> Iterator[str | int | float]:
    """Yield every text and number of a transcript."""
    if isinstance(found, msgspec.Struct):
        for name in found.__struct_fields__:
            yield from values(getattr(found, name))
    elif isinstance(found, tuple):
        for each in found:
            yield from values(each)
    elif isinstance(found, str | int | float):
        yield found
