"""Loaded beside the addon: a request waits as long as it takes for what other instances told a shared store."""

from __future__ import annotations

from patchbay.proxy import persistence

LONG = 20.0  # seconds

persistence.CATCH_UP = LONG
persistence.Persistence.caught_up.__defaults__ = (LONG,)
addons: list[object] = []
