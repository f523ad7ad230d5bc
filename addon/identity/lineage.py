"""What our answers gave away, and to whom: tokens that name the conversation and the account they came from."""

from __future__ import annotations

from dataclasses import replace

from ..ledger import Entry, Ledger
from .references import resource_name
from .seeds import Seeds

KINDS = ("lineage", "recall")  # what only an answer gave away, and what others may say in the same words


class Lineage:
    """
    Tokens of a *kind* in the ledger, by keyed digest: neither a text nor a signature stands there as it is.

    A token that came up in two conversations says nothing about either, for as long as it is remembered.
    """

    def __init__(self, seeds: Seeds, ledger: Ledger, kind: str = KINDS[0]) -> None:
        self._seeds = seeds
        self._ledger = ledger
        self._kind, self._demoted = kind, demoted(kind)

    def find(self, scope: bytes, token: str, now: float) -> Entry | None:
        """Return to whom *token* was handed; without affinity and thread if it was handed to more than one."""
        seed = self._seed(scope, token)
        entry = self._ledger.find(self._kind, seed, now)
        if entry and self._ledger.find(self._demoted, seed, now):
            return replace(entry, affinity="", thread="")
        return entry

    def note(self, scope: bytes, token: str, entry: Entry, now: float, ttl: float) -> None:
        """Remember that *token* was handed to *entry*, for *ttl* seconds."""
        seed = self._seed(scope, token)
        before = self._ledger.find(self._kind, seed, now)
        if before and before.affinity:
            if not entry.affinity:
                entry = replace(entry, affinity=before.affinity, thread=before.thread)
            elif entry.affinity != before.affinity:
                self._ledger.note(self._demoted, seed, Entry(exchange="", at=now), now, ttl)
        self._ledger.note(self._kind, seed, entry, now, ttl)

    def is_empty(self) -> bool:
        """Whether nothing was handed to anybody, so that no look-up finds anything."""
        return not self._ledger.holds(self._kind)

    def tie(self, scope: bytes, now: float, ttl: float) -> None:
        """Remember that *scope* was handed something which a history may hold and only one account can honour."""
        self._ledger.note(self._kind, self._seeds.of_id("ties", scope), Entry(exchange="", at=now), now, ttl)

    def ties(self, scope: bytes, now: float) -> bool:
        """
        Whether a history of *scope* may hold something that only one account can honour.

        What says so is asked for before each look-up and lives as long as the last thing it stands for, so that it
        outlasts them all in the ledger.
        """
        return not self.is_empty() and self._ledger.find(self._kind, self._seeds.of_id("ties", scope), now) is not None

    def _seed(self, scope: bytes, token: str) -> str:
        return self._seeds.derive("token", scope, resource_name(token))


def demoted(kind: str) -> str:
    """Return the kind of the ledger under which the tokens of *kind* stand that several conversations were given."""
    return f"{kind} demoted"
