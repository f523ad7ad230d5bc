"""The mechanisms of the router and its accounts, and how to switch each of them off for an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

from patchbay.accounts import health, pool, selection
from patchbay.accounts.cooldown import PENALTIES, Cooldown, Penalty
from patchbay.accounts.upstream_faults import UpstreamFaults
from patchbay.router import Router


def _nothing(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def _method(owner: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Let the function *name* of *owner* return *value* and do nothing."""
    return lambda: patch.object(owner, name, _nothing(value))


def _penalties(**changes: Any) -> Callable[[], AbstractContextManager[Any]]:
    """Change these fields of every penalty."""
    table = {kind: replace(row, **changes) if isinstance(row, Penalty) else row for kind, row in PENALTIES.items()}
    return lambda: patch.object(health, "PENALTIES", table)


MECHANISMS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = MappingProxyType({
    "shared faults taken back": _method(UpstreamFaults, "_excuse", None),
    "last chance": _method(pool.Accounts, "_last_chance", None),
    "hint verification": _method(Cooldown, "verify_delay", math.inf),
    "low headroom": _method(health.Health, "is_low", False),
    "crowd splitting": _method(selection, "has_room", True),
    "priority wait": _method(pool.Accounts, "_better_busy", []),
    "leaving a cold home": lambda: patch.object(pool.Accounts, "_home_from_now", lambda self, key, home, *_: home),
    "retrying the home": _method(Router, "_retries_home", None),
    "escalating denials": _penalties(escalates=None),
    "spreading after a refusal": _method(health.Health, "refused_by", frozenset()),
    "doubted faults": _method(UpstreamFaults, "doubts", False),
    "probing a doubted fault": _method(health.Health, "may_probe_doubtful", False),
    "recovering together": _method(health.Health, "_verify_alike", None),
    "bounded load": lambda: patch.object(selection, "admit", lambda order, sessions: order[0]),
})  # fmt: skip

# Mechanisms whose effect no day shows, and what shows it.
ELSEWHERE: Mapping[str, str] = MappingProxyType({
    "recovering together": "none; `tests/accounts/test_waiting.py`",
})  # fmt: skip
