"""Loaded beside the addon: a request waits as long as it takes for what other instances told a shared store."""

from __future__ import annotations

from patchbay.proxy import keeping

LONG = 20.0  # seconds

keeping.CATCH_UP = LONG
keeping.Keeping.caught_up.__defaults__ = (LONG,)
addons: list[object] = []
