"""Loaded beside Patchbay: takes the guards away, to show what they are for."""

from __future__ import annotations

from patchbay.guards import Guards

Guards.refusal = lambda *_: None  # type: ignore[method-assign]


class Unguarded:
    """mitmproxy wants an addon in a script."""

    name = "patchbay-unguarded"


addons = [Unguarded()]
