"""The constructor of findings: foreign values are shortened and made printable, the victim is named or unknown."""

from __future__ import annotations

from typing import Literal

from ...ledger import Entry
from ...values.answer import Fact
from ...values.decision import Finding

FindingStrength = Literal["proof", "strong", "weak"]
UNKNOWN = "unknown"  # the victim of a finding that names none
_SHOWN = 160  # characters of a value that came from outside


def finding(
    detector: str,
    family: str,
    strength: FindingStrength,
    fact: Fact,
    expected: str,
    victim: Entry | None = None,
    *,
    received: str = "",
    disputed: bool = False,
) -> Finding:
    """Return the finding of *detector* about *fact*; *received* replaces a value that must not be shown."""
    return Finding(
        detector=detector,
        family=family,
        strength=strength,
        where=fact.where,
        expected=shown(expected),
        received=shown(received or str(fact.value)),
        victim=victim.exchange if victim else UNKNOWN,
        disputed=disputed,
        victim_session=victim.affinity if victim else "",
    )


def shown(value: str) -> str:
    """Return a foreign *value* fit for a log: one line, printable, bounded."""
    text = value if value.isprintable() else value.encode("unicode_escape").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
