"""The responses that were stored, each belonging to the account that asked for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .asking import Turn


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored response: whose it is, what it says, and the history that ends in it."""

    account: str
    document: Mapping[str, Any]
    turns: tuple[Turn, ...]


class ResponsesStore:
    """At most *limit* stored responses; the oldest leave first."""

    def __init__(self, limit: int = 10_000) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._limit = limit

    def keep(self, item: str, stored: Stored) -> None:
        """Store a response under its id."""
        self._stored[item] = stored
        while len(self._stored) > self._limit:
            self._stored.popitem(last=False)

    def find(self, item: str, account: str) -> Stored | None:
        """Return the response *item* if it is *account*'s."""
        stored = self._stored.get(item)
        return stored if stored and stored.account == account else None

    def drop(self, item: str) -> None:
        """Forget the response *item*."""
        self._stored.pop(item, None)

    def clear(self) -> None:
        """Forget every response."""
        self._stored.clear()
