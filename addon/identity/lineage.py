"""Tokens of our answers, each with the conversation and the account that it came from."""

from __future__ import annotations

from ..frozen import replace
from ..ledger import Entry, Ledger
from .references import resource_name
from .seeds import Seeds

LINEAGES = ("lineage", "recall")  # tokens that only an answer gives, and words that other conversations may hold


class Lineage:
    """
    Tokens of a *kind* in the ledger, by keyed digest: it holds neither texts nor signatures.

    A token of two conversations names neither, for as long as it is remembered.
    """

    def __init__(self, seeds: Seeds, ledger: Ledger, kind: str = LINEAGES[0]) -> None:
        self._seeds = seeds
        self._ledger = ledger
        self._kind, self._demoted = kind, demoted(kind)

    def find(self, scope: bytes, token: str, now: float) -> Entry | None:
        """Return the entry of *token*; without affinity and thread if several conversations were given it."""
        seed = self._seed(scope, token)
        entry = self._ledger.find(self._kind, seed, now)
        if entry and self._ledger.find(self._demoted, seed, now):
            return replace(entry, affinity="", thread="")
        return entry

    def note(self, scope: bytes, token: str, entry: Entry, now: float, ttl: float) -> None:
        """Remember for *ttl* seconds that *token* was given to *entry*."""
        seed = self._seed(scope, token)
        before = self._ledger.find(self._kind, seed, now)
        if before and before.affinity:
            if not entry.affinity:
                entry = replace(entry, affinity=before.affinity, thread=before.thread)
            elif entry.affinity != before.affinity:
                self._ledger.note(self._demoted, seed, Entry(exchange="", at=now), now, ttl)
        self._ledger.note(self._kind, seed, entry, now, ttl)

    def is_empty(self) -> bool:
        """Whether there are no tokens at all."""
        return not self._ledger.holds(self._kind)

    def tie(self, scope: bytes, now: float, ttl: float) -> None:
        """Remember that *scope* was given a token that a history may hold and only one account can honour."""
        self._ledger.note(self._kind, self._seeds.of_id("ties", scope), Entry(exchange="", at=now), now, ttl)

    def ties(self, scope: bytes, now: float) -> bool:
        """
        Whether a history of *scope* may hold a token that only one account can honour.

        The mark is read before each look-up and lives as long as the last such token, so that no eviction takes it
        before them.
        """
        return not self.is_empty() and self._ledger.find(self._kind, self._seeds.of_id("ties", scope), now) is not None

    def _seed(self, scope: bytes, token: str) -> str:
        return self._seeds.derive("token", scope, resource_name(token))


def demoted(kind: str) -> str:
    """Return the ledger kind for the tokens of *kind* that several conversations were given."""
    return f"{kind} demoted"
