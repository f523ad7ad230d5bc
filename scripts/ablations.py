"""The mechanisms of the router and its accounts, and how to switch each of them off for an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from patchbay.accounts import health, pool, selection, upstream_faults
from patchbay.router import Router


def _nothing(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _method(owner: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Let the function *name* of *owner* return *value* and do nothing."""
    return lambda: patch.object(owner, name, _nothing(value))


def _penalties(**changes: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Change these fields of every penalty."""
    table = {
        kind: replace(row, **changes) if isinstance(row, health.Penalty) else row
        for kind, row in health.TRANSITIONS.items()
    }
    return lambda: patch.object(health, "TRANSITIONS", table)


MECHANISMS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = MappingProxyType({
    "shared faults taken back": _method(upstream_faults.UpstreamFaults, "_excuse", None),
    "… and imposed again": _method(upstream_faults, "_blame", None),
    "last chance": _method(pool.Accounts, "_last_chance", None),
    "half-forgetting": _penalties(remembers=False),
    "hint verification": _method(health, "_belief", math.inf),
    "low headroom": _method(health.Health, "is_low", False),
    "crowd splitting": _method(selection, "has_room", True),
    "priority wait": _method(pool.Accounts, "_better", []),
    "leaving of a cold home": _method(pool.Accounts, "_leaves", None),
    "staying at home": _method(Router, "_staying", None),
    "growing penalties": _penalties(grows=None),
    "conversation kept apart": _method(health.Health, "apart", frozenset()),
    "doubted faults": _method(upstream_faults.UpstreamFaults, "doubts", False),
    "going on despite doubt": _method(health.Health, "may_go_on", False),
    "rests that end together": _method(health.Health, "_hope", None),
    "bounded load": lambda: patch.object(selection, "admit", lambda order, sessions: order[0]),
    "jitter": lambda: patch.object(health, "JITTER", (0.0, 0.0)),
})  # fmt: skip
