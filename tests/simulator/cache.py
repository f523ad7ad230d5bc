"""The simulated prompt cache: per credential and model, by equal beginnings, as the real ones work."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from .asking import Turn
from .reply import prompt_tokens


class PromptCache:
    """
    Remembers every beginning of every prompt for *ttl* seconds, at most *limit* of them.

    A beginning is cut between turns and counts from *least* tokens on. Another account's prompts never count.
    """

    def __init__(self, ttl: float = 300.0, least: int = 0, limit: int = 200_000) -> None:
        self.ttl = ttl
        self.least = least
        self._limit = limit
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def serve(self, account: str, model: str, turns: Sequence[Turn], now: float) -> tuple[int, int, int]:
        """Return the tokens of the prompt, those read from the cache and those written to it; remember the prompt."""
        total = cached = 0
        beginning = hashlib.blake2b(f"{account}\x1f{model}".encode(), digest_size=16).digest()
        for turn, count in zip(turns, prompt_tokens(turns), strict=True):
            text = f"{turn.role}\x1f{turn.text}".encode("utf-8", "replace")
            beginning = hashlib.blake2b(beginning + text, digest_size=16).digest()
            total += count
            if self._alive(beginning, now) and total >= self.least:
                cached = total
            self._seen[beginning] = now + self.ttl
            self._seen.move_to_end(beginning)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)
        return total, cached, total - cached if total >= self.least else 0

    def clear(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def _alive(self, beginning: bytes, now: float) -> bool:
        return self._seen.get(beginning, 0.0) > now
