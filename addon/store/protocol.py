"""What a store is, whatever keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..values.record import Record


class StoreError(Exception):
    """A store cannot be used, now or at all. The message never holds a password."""


class Store(Protocol):
    """
    Records beyond this process. Used by one thread at a time; `write` and `news` may raise StoreError.

    What is past its time is not told, and forgotten soon after.
    """

    shared: bool
    """Whether several instances work on it at once, so that what one of them just wrote matters to the others."""

    def write(self, records: Sequence[Record], now: float) -> None:
        """Merge *records* into what is there: of two with one key, that of the greater `order` stays."""

    def news(self, now: float) -> list[Record]:
        """
        Return what came in since the last call; the first time, and the first after a failure, all there is.

        What this very store wrote is left out, except for what it wrote to be over.
        """

    def close(self) -> None:
        """Let go of files and connections. Raises nothing; the store may be used again."""
