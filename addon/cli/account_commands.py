"""
`patchbay wake`, `cool`, `disable`, `enable`, `unbind`, `reload`: changes of running proxies.

Where none is running, what concerns an account is written to the store, for the one that is started next.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence

import msgspec

from .. import state
from ..proxy.control_socket import COOL, RunningProxy, seconds_of
from ..settings.settings import Config
from ..values.record import Record
from ..values.shown_time import length_words
from . import inputs, running
from .inputs import EXIT_FOUND, CommandError

_SAID = {
    "wake": "account {account} may be used again",
    "cool": "account {account} rests for {length}: paused by a command",
    "disable": "account {account} is disabled",
    "enable": "account {account} is enabled",
}


def wake(arguments: argparse.Namespace) -> int:
    """End every cooldown of an account, in every running proxy and in the store."""
    return _changed(arguments, "wake")


def cool(arguments: argparse.Namespace) -> int:
    """Send nothing to an account for a time; `wake` ends it."""
    return _changed(arguments, "cool", *filter(None, [arguments.seconds]))


def disable(arguments: argparse.Namespace) -> int:
    """Send nothing to an account until `enable`, also after a restart if a store keeps it; its conversations move."""
    return _changed(arguments, "disable")


def enable(arguments: argparse.Namespace) -> int:
    """Use an account again after `disable`."""
    return _changed(arguments, "enable")


def unbind(arguments: argparse.Namespace) -> int:
    """Forget the account of a conversation: its next request gets another one where it can."""
    return _in_proxies(arguments, "unbind", arguments.session)


def reload(arguments: argparse.Namespace) -> int:
    """Read the settings and the keys in files again, and print what came of it. 1: a proxy cannot use the settings."""
    return running.say(running.ask_all(_proxies(arguments), "reload"))


def _in_proxies(arguments: argparse.Namespace, command: str, *words: str) -> int:
    return running.say(running.ask_each(_proxies(arguments), command, *words))


def _proxies(arguments: argparse.Namespace) -> list[RunningProxy]:
    found = running.proxies(arguments)
    if not found:
        raise running.no_proxy(arguments)
    return found


def _changed(arguments: argparse.Namespace, command: str, *words: str) -> int:
    if found := running.proxies(arguments):
        return running.say(running.ask_each(found, command, arguments.account, *words))
    try:
        seconds = seconds_of(words[0]) if words else COOL
    except ValueError as e:
        raise CommandError(str(e), EXIT_FOUND) from e
    with inputs.store(arguments, f"patchbay.{command}") as (settings, store):
        _check(settings, arguments.account)
        now = time.time()
        store.write(_records(command, arguments.account, store.news(now), now, seconds), now)
    said = _SAID[command].format(account=arguments.account, length=length_words(seconds))
    print(f"{said}; running proxies apply this within a second")
    return 0


def _check(settings: Config, account: str) -> None:
    known = [each.id for each in settings.accounts]
    if account not in known:
        raise CommandError(f"there is no account {account!r}; there are: {', '.join(known) or 'none'}", EXIT_FOUND)


def _records(command: str, account: str, stored: Sequence[Record], now: float, seconds: float) -> list[Record]:
    switched = next((each for each in stored if (each.kind, each.key) == (state.SWITCHED, account)), None)
    match command:
        case "cool":
            return state.of_pause(account, now + seconds, stored, now)
        case "disable":
            return [state.of_switch(account, switched, now, on=False)]
        case "enable":
            return [state.of_switch(account, switched, now, on=True), *_woken(account, stored, now)]
        case _:
            return _woken(account, stored, now)


def _woken(account: str, stored: Sequence[Record], now: float) -> list[Record]:
    return [*_ended(account, stored, now), state.of_woken(account, now)]


def _ended(account: str, stored: Sequence[Record], now: float) -> Iterator[Record]:
    for record in stored:
        with contextlib.suppress(msgspec.MsgspecError, ValueError):  # another version wrote it
            if over := state.ended(record, account, now):
                yield over
