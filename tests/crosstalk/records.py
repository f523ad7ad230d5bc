"""Records of attempts for tests: what was sent, with a preset's echo and stamps."""

from __future__ import annotations

from typing import Any

from patchbay.correlation import Stamps
from patchbay.crosstalk.attempt_record import AttemptRecord, Moment
from patchbay.values.account import Echo


def record(echo: Echo, stamps: Stamps, *, request_id: str, exchange: str, digest: bytes, **more: Any) -> AttemptRecord:
    """Return the record of a generation that went up with *stamps*."""
    plain: dict[str, Any] = {
        "account": "", "affinity": "", "thread": "", "own": sorted(stamps.sent), "earlier": [], "host": "",
        "client_id": stamps.client_id, "generation": True, "silent": [], "model": "", "stream": False, "dialect": "",
        "suffix": "", "at": Moment(0, 0.0),
    }  # fmt: skip
    return AttemptRecord(
        request_id=request_id,
        exchange=exchange,
        digest=digest.hex(),
        expected=dict(stamps.expected),
        promised=echo.promised,
        headers=dict(echo.headers),
        body=dict(echo.body),
        **(plain | more),
    )
