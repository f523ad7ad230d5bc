"""Text for a terminal: a dump may come from anywhere, so its control characters and line breaks are escaped."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return *text* with unprintable characters, line breaks included, as Python escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
