"""What may be printed: a dump can come from anywhere, and must neither steer a terminal nor write lines of its own."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return *text* with what cannot be seen, line breaks too, as Python writes it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
