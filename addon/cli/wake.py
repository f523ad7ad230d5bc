"""`patchbay wake ACCOUNT`: end every cooldown of an account."""

from __future__ import annotations

import argparse
import contextlib
import time

import msgspec

from .. import state
from ..settings.settings import Config
from ..store import Store
from . import inputs
from .inputs import EXIT_FOUND, CommandError


def wake(arguments: argparse.Namespace) -> int:
    """End every cooldown of an account, in the store and in every running proxy that shares it."""
    with inputs.store(arguments, "patchbay.wake") as (settings, store):
        return _wake(settings, store, arguments.account)


def _wake(settings: Config, store: Store, account: str) -> int:
    known = [each.id for each in settings.accounts]
    if account not in known:
        raise CommandError(f"there is no account {account!r}; there are: {', '.join(known) or 'none'}", EXIT_FOUND)
    now = time.time()
    over = []
    for record in store.news(now):
        with contextlib.suppress(msgspec.MsgspecError, ValueError):  # another version wrote it
            over += [ended] if (ended := state.ended(record, account, now)) else []
    store.write([*over, state.of_woken(account, now)], now)
    print(f"account {account} may be used again; running proxies apply this within a second")
    return 0
