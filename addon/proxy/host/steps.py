"""
Puts the faster ways on mitmproxy, and takes them off again.

Each is put on only where the source that it stands for is the one it was written for; else mitmproxy's own way stays,
and the log says so once. `PATCHBAY_STOCK` names those to leave off, parted by commas: `all`, or names of STEPS.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from .host_step import HostStep, Replaced

logger = logging.getLogger(__name__)

_PLACES = {
    "dispatch": ("hook_dispatch", "DISPATCH"),
    "inline": ("inline_hooks", "INLINE"),
    "contexts": ("contexts", "CONTEXTS"),
    "heads": ("http1_heads", "HEADS"),
    "routing": ("http_routing", "ROUTING"),
}


def _of(module: str, name: str) -> HostStep | None:
    """Return the step *name* of *module*; None where mitmproxy lacks a name that it uses."""
    try:
        found: HostStep = getattr(import_module(f".{module}", __package__), name)
    except (ImportError, AttributeError):
        return None
    return found


STEPS: Mapping[str, HostStep | None] = {name: _of(*place) for name, place in _PLACES.items()}
SWITCH = "PATCHBAY_STOCK"
_LOOP = "uvloop"  # which `patchbay run` looks at
_ABSENT = object()
_put_on: list[Replaced] = []  # an owner, a name, and what it held itself
_users = 0
_told: set[str] = set()


def install() -> Callable[[], None]:
    """Put on the steps, and return what takes them off. Raises ValueError where the switch names none that exists."""
    global _users
    left_off = _left_off(os.environ.get(SWITCH, ""))
    _users += 1
    if _users == 1:
        for name, step in STEPS.items():
            if name not in left_off and _is_known(name, step):
                _put(step.replaced if step else ())
    return cache(_remove)  # once: another addon may have put them on as well


def _remove() -> None:
    global _users
    _users -= 1
    while _put_on and not _users:
        owner, name, held = _put_on.pop()
        if held is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, held)


def _left_off(switch: str) -> Iterable[str]:
    names = {name.strip() for name in switch.split(",")} - {""}
    if names == {"all"}:
        return STEPS.keys()
    if unknown := sorted(names - STEPS.keys() - {_LOOP}):
        raise ValueError(f"{SWITCH} names {', '.join(unknown)}, and there are: all, {', '.join(STEPS)}, {_LOOP}")
    return names


def _is_known(name: str, step: HostStep | None) -> bool:
    try:
        known = step is not None and step.digest() in step.written_for
    except (OSError, TypeError, AttributeError):
        known = False
    if not known and name not in _told:
        _told.add(name)
        logger.info("mitmproxy is another than the one that the step %s was written for: its own way is used", name)
    return known


def _put(rows: Iterable[Replaced]) -> None:
    for owner, name, by in rows:
        held: Any = vars(owner).get(name, _ABSENT)
        _put_on.append((owner, name, held))
        setattr(owner, name, by)
