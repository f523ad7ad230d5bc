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
from typing import Any

from .contexts import CONTEXTS
from .hook_dispatch import DISPATCH
from .host_step import HostStep, Replaced
from .http1_heads import HEADS
from .inline_hooks import INLINE

logger = logging.getLogger(__name__)

STEPS: Mapping[str, HostStep] = {"dispatch": DISPATCH, "inline": INLINE, "contexts": CONTEXTS, "heads": HEADS}
SWITCH = "PATCHBAY_STOCK"
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
                _put(step.replaced)
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
    if unknown := sorted(names - STEPS.keys()):
        raise ValueError(f"{SWITCH} names {', '.join(unknown)}, and there are: all, {', '.join(STEPS)}")
    return names


def _is_known(name: str, step: HostStep) -> bool:
    try:
        found = step.digest()
    except (OSError, TypeError, AttributeError) as e:
        found = type(e).__name__
    if found != step.written_for and name not in _told:
        _told.add(name)
        logger.info("mitmproxy is another than the one that the step %s was written for: its own way is used", name)
    return found == step.written_for


def _put(rows: Iterable[Replaced]) -> None:
    for owner, name, by in rows:
        held: Any = vars(owner).get(name, _ABSENT)
        _put_on.append((owner, name, held))
        setattr(owner, name, by)
