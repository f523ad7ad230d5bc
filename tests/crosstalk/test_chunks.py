"""No answer, however broken and however cut, stops what reads it, or makes it keep more than it should."""

from __future__ import annotations

import os

from .chunks import survive

CHUNKS = int(os.environ.get("PATCHBAY_CHUNKS", "20000"))
SEED = int(os.environ.get("PATCHBAY_SEED", "1"))


def test_the_readers_survive() -> None:
    tally = survive(CHUNKS, SEED)
    print(
        f"\n{tally.chunks} pieces of {tally.answers} broken answers, {sum(tally.facts.values())} facts, verdicts "
        f"{dict(sorted(tally.verdicts.items()))}; {tally.bodies} packed bodies; at most {tally.most} bytes held by a "
        f"reader; the process grew by {tally.grown:.1f} MB after the first quarter"
    )

    assert tally.chunks >= CHUNKS
    assert tally.strange == {}
    assert tally.facts.keys() >= {"id", "echo", "model", "usage", "content", "finish", "end", "disorder", "malformed"}
    assert tally.verdicts.keys() >= {"crosstalk", "unverifiable"}
    assert tally.grown < 64
