"""What our answers gave away, and to whom: tokens that name the conversation and the account they came from."""

from __future__ import annotations

from dataclasses import replace

from ..ledger import Entry, Ledger
from .quotes import resource_name
from .seeds import Seeds

_KIND = "lineage"
_DEMOTED = "lineage demoted"


class Lineage:
    """
    Tokens in the ledger, by keyed digest: neither a text nor a signature stands there as it is.

    A token that came up in two conversations says nothing about either, for as long as it is remembered.
    """

    def __init__(self, seeds: Seeds, ledger: Ledger) -> None:
        self._seeds = seeds
        self._ledger = ledger

    def find(self, scope: bytes, token: str, now: float) -> Entry | None:
        """Return to whom *token* was handed; without affinity and thread if it was handed to more than one."""
        seed = self._seed(scope, token)
        entry = self._ledger.find(_KIND, seed, now)
        if entry and self._ledger.find(_DEMOTED, seed, now):
            return replace(entry, affinity="", thread="")
        return entry

    def note(self, scope: bytes, token: str, entry: Entry, now: float, ttl: float) -> None:
        """Remember that *token* was handed to *entry*, for *ttl* seconds."""
        seed = self._seed(scope, token)
        before = self._ledger.find(_KIND, seed, now)
        if before and before.affinity:
            if not entry.affinity:
                entry = replace(entry, affinity=before.affinity, thread=before.thread)
            elif entry.affinity != before.affinity:
                self._ledger.note(_DEMOTED, seed, Entry(exchange="", at=now), now, ttl)
        self._ledger.note(_KIND, seed, entry, now, ttl)

    def _seed(self, scope: bytes, token: str) -> str:
        return self._seeds.derive("token", scope, resource_name(token))
