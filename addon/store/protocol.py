"""The interface of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..values.record import Record


class StoreError(Exception):
    """A store is unavailable, now or at all. The message never holds a password."""


class Store(Protocol):
    """
    Records outside this process. Used by one thread at a time; `write` and `news` may raise StoreError.

    Expired records are not returned, and deleted soon after.
    """

    shared: bool
    """Whether several instances use it at once, so that requests wait for the latest records."""

    def write(self, records: Sequence[Record], now: float) -> None:
        """Merge *records* into the store: of two with one key, that of the greater `order` stays."""

    def news(self, now: float) -> list[Record]:
        """
        Return the records since the last call; the first call, and the first after a failure, returns all.

        Records that this store wrote are left out, except for deletions.
        """

    def close(self) -> None:
        """Close files and connections. Raises nothing; the store may be used again."""
