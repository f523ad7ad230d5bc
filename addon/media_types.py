"""Content types: the media type of a Content-Type, and the types that are read as JSON."""

from __future__ import annotations

EVENTS = "text/event-stream"
FORM = "application/x-www-form-urlencoded"
JSON_LINES = frozenset(
    "application/x-ndjson application/ndjson application/jsonl application/x-jsonl application/jsonlines"
    " application/x-jsonlines application/json-lines application/stream+json".split()
)


def media_type(content_type: str) -> str:
    """Return the media type in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether the media type *kind* is JSON."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")
