"""`patchbay habits`: the rules that are demoted at a host, as the store has them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

import msgspec

from .. import state
from ..crosstalk.host_habits import Demotion
from ..store import Store
from . import inputs
from .inputs import EXIT_FOUND, CommandError


def habits(arguments: argparse.Namespace) -> int:
    """List the rules that are demoted at each host; with --reset HOST [DETECTOR], restore those of the host."""
    with inputs.store(arguments, "patchbay.habits") as (_, store):
        return _reset(store, *arguments.reset[:2]) if arguments.reset else _list(store)


def _list(store: Store) -> int:
    found = sorted(_demoted(store), key=lambda told: (told.host, told.rule))
    for told in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.since))
        print(f"{at}  {told.host}  {told.rule}")
    print(f"demoted rules: {len(found)}")
    return 0


def _reset(store: Store, host: str, detector: str = "") -> int:
    now = time.time()
    found = [each for each in _demoted(store) if each.host == host and detector in ("", each.detector)]
    over = [Demotion(each.host, each.rule, max(now, each.since + 1e-3), over=True) for each in found]
    if not over:
        raise CommandError(f"nothing is demoted at {host} {detector}".rstrip(), EXIT_FOUND)
    store.write([state.of_demotion(each) for each in over], now)
    print(f"restored rules of {host}: {len(over)}; running proxies apply this within a second")
    return 0


def _demoted(store: Store) -> Iterator[Demotion]:
    for record in store.news(time.time()):
        if record.kind == state.HABIT and record.value == state.DEMOTED:
            try:
                yield state.to_demotion(record)
            except (msgspec.MsgspecError, ValueError):  # another version wrote it
                print(f"unreadable record of a habit: {record.key[:80]!r}", file=sys.stderr)
