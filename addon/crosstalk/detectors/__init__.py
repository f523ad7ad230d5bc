"""
The detectors: functions of one fact and of what its attempt sent up. One family a file, one line here.

A detector yields findings. It remembers nothing: memory is the ledger's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...values import Fact, Finding
from ..sent import Sent
from . import ids

Detector = Callable[[Sent, Fact, float], Iterator[Finding]]

DETECTORS: tuple[Detector, ...] = (
    ids.contract,
    ids.tag,
    ids.duplicate,
)
