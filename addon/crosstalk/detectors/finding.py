"""How a detector says what it saw: values from outside shortened and made printable, a victim named or unknown."""

from __future__ import annotations

from typing import Literal

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding

Strength = Literal["proof", "strong", "weak"]
_SHOWN = 160  # characters of a value that came from outside


def found(
    detector: str,
    family: str,
    strength: Strength,
    fact: Fact,
    expected: str,
    victim: Entry | None = None,
    *,
    received: str = "",
    disputed: bool = False,
) -> Finding:
    """Return the finding of *detector* about *fact*; *received* stands for its value where that is not to be shown."""
    return Finding(
        detector=detector,
        family=family,
        strength=strength,
        where=fact.where,
        expected=shown(expected),
        received=shown(received or str(fact.value)),
        victim=victim.exchange if victim else "unknown",
        disputed=disputed,
    )


def shown(value: str) -> str:
    """Return what came from outside as it may stand in a log: one line, printable, not endless."""
    text = value if value.isprintable() else value.encode("unicode_escape").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
