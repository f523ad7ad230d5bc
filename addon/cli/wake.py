"""`patchbay wake ACCOUNT`: an account is well again, whatever it rests for."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

import msgspec

from .. import state
from ..settings import reader
from ..settings.settings import Config
from ..store import Store, StoreError
from .habits import EXIT_NONE, settings_and_store
from .verify import EXIT_USAGE


def wake(arguments: argparse.Namespace) -> int:
    """End what an account rests for, in the store and in every running proxy that shares it."""
    try:
        settings, store = settings_and_store(arguments)
        if store is None:
            message = "no store is set, so that a running proxy hears nothing of this"
            print(f"{message}: use patchbay.wake in mitmproxy", file=sys.stderr)
            return EXIT_USAGE
        with contextlib.closing(store):
            return _wake(settings, store, arguments.account)
    except (OSError, ValueError, reader.ConfigError, StoreError) as e:
        print(e, file=sys.stderr)
        return EXIT_USAGE


def _wake(settings: Config, store: Store, account: str) -> int:
    known = [each.id for each in settings.accounts]
    if account not in known:
        print(f"there is no account {account!r}; there are: {', '.join(known) or 'none'}", file=sys.stderr)
        return EXIT_NONE
    now = time.time()
    over = []
    for record in store.news(now):
        with contextlib.suppress(msgspec.MsgspecError, ValueError):  # another version wrote it
            over += [ended] if (ended := state.ended(record, account, now)) else []
    store.write([*over, state.of_woken(account, now)], now)
    print(f"account {account} may be used again; a running proxy hears of it within a second")
    return 0
