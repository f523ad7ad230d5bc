"""`patchbay habits`: rules that are not held against a host any more, as the store has them."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from .. import state
from ..crosstalk.host_habits import Demotion
from ..proxy.persistence import store_of
from ..settings import reader
from ..settings.settings import Config
from ..store import Store, StoreError
from .verify import EXIT_USAGE, key_in

EXIT_NONE = 1


def habits(arguments: argparse.Namespace) -> int:
    """List what is not held against a host any more; with --reset HOST [DETECTOR], have it held against it again."""
    try:
        _, store = settings_and_store(arguments)
        if store is None:
            message = "no store is set, so that nothing is kept beside the running proxy"
            print(f"{message}: use patchbay.habits in mitmproxy", file=sys.stderr)
            return EXIT_USAGE
        with contextlib.closing(store):
            return _reset(store, *arguments.reset[:2]) if arguments.reset else _list(store)
    except (OSError, ValueError, reader.ConfigError, StoreError) as e:
        print(e, file=sys.stderr)
        return EXIT_USAGE


def settings_and_store(arguments: argparse.Namespace) -> tuple[Config, Store | None]:
    """Return the settings that *arguments* name, and their store, if there is one. Raises what reading them raises."""
    file = Path(arguments.config or os.environ.get("PATCHBAY_CONFIG") or "config.yaml").expanduser()
    settings = reader.load(file.read_bytes(), str(file)) if file.exists() else Config(())
    if arguments.state:
        settings = replace(settings, state=arguments.state)
    return settings, store_of(settings, key_in(Path(settings.state).expanduser()))[1]


def _list(store: Store) -> int:
    found = sorted(_demoted(store), key=lambda told: (told.host, told.rule))
    for told in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(told.since))
        print(f"{at}  {told.host}  {told.rule}")
    print(f"{len(found)} rules are demoted")
    return 0


def _reset(store: Store, host: str, detector: str = "") -> int:
    now = time.time()
    found = [each for each in _demoted(store) if each.host == host and detector in ("", each.detector)]
    over = [Demotion(each.host, each.rule, max(now, each.since + 1e-3), over=True) for each in found]
    if not over:
        print(f"nothing is demoted at {host} {detector}".rstrip(), file=sys.stderr)
        return EXIT_NONE
    store.write([state.of_demotion(each) for each in over], now)
    print(f"{len(over)} rules of {host} count again; a running proxy hears of it within a second")
    return 0


def _demoted(store: Store) -> Iterator[Demotion]:
    for record in store.news(time.time()):
        if record.kind == state.HABIT and record.value == state.DEMOTED:
            try:
                yield state.to_demotion(record)
            except (msgspec.MsgspecError, ValueError):  # another version wrote it
                print(f"a habit cannot be read: {record.key[:80]!r}", file=sys.stderr)
