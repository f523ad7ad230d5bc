"""Asks the running proxies of a state folder over their control sockets, and prints what they say."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from .. import secret_patterns
from ..frozen import dataclass
from ..proxy import control_socket
from ..proxy.control_answers import ProxyStatus
from ..proxy.control_socket import ControlFailed, RunningProxy
from . import inputs
from .inputs import EXIT_FOUND, CommandError


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of one proxy."""

    proxy: RunningProxy
    result: Any


def proxies(arguments: argparse.Namespace) -> list[RunningProxy]:
    """Return the running proxies that *arguments* name. Raises CommandError where `--pid` names none of them."""
    found = control_socket.running(inputs.state_folder(inputs.settings(arguments)), os.environ)
    if len(found) > 1 or arguments.pid:
        found = sorted(map(_with_own_pid, found), key=lambda each: each.pid)
    if not arguments.pid:
        return found
    chosen = [each for each in found if each.pid == arguments.pid]
    if not chosen:
        raise CommandError(f"no proxy is running as process {arguments.pid}{_others(found)}", EXIT_FOUND)
    return chosen


def no_proxy(arguments: argparse.Namespace) -> CommandError:
    """Return the error where no proxy is running."""
    folder = secret_patterns.covered(str(inputs.state_folder(inputs.settings(arguments))))
    return CommandError(
        f"no proxy is running with the state folder {folder}: start one with `patchbay run`, or name its folder with"
        " --state",
        EXIT_FOUND,
    )


def ask_each(found: Sequence[RunningProxy], command: str, *words: str) -> list[Told]:
    """
    Return what those of the proxies *found* say that carry out *command*.

    Raises CommandError where all refuse it.
    """
    told, refused = [], []
    for proxy in found:
        try:
            told.append(Told(proxy, control_socket.ask(proxy.path, command, *words)))
        except ControlFailed as e:
            refused.append(str(e))
    if refused and not told:
        raise CommandError("\n".join(dict.fromkeys(refused)), EXIT_FOUND)
    return told


def ask_all(found: Sequence[RunningProxy], command: str) -> list[Told]:
    """Return what the proxies *found* say to *command*. Raises CommandError, once all were asked, where one refuses."""
    told, refused = [], []
    for proxy in found:
        try:
            told.append(Told(proxy, control_socket.ask(proxy.path, command)))
        except ControlFailed as e:
            refused.append(str(e))
    if refused:
        say(told)
        raise CommandError("\n".join(dict.fromkeys(refused)), EXIT_FOUND)
    return told


def show[T](
    arguments: argparse.Namespace, told: Sequence[Told], kind: type[T], lines: Callable[[T], Iterable[str]]
) -> int:
    """Print what was *told*, values of *kind*: as JSON, or as *lines*, with a title for each of several proxies."""
    if arguments.json:
        if len(told) > 1:
            processes = ", ".join(str(each.proxy.pid) for each in told)
            raise CommandError(f"several proxies are running: name the process with --pid; there are: {processes}")
        print(json.dumps(told[0].result, indent=2, ensure_ascii=False))
        return 0
    for number, each in enumerate(told):
        if len(told) > 1:
            print(("\n" if number else "") + f"process {each.proxy.pid}")
        print("\n".join(lines(_converted(each, kind))))
    return 0


def _converted[T](told: Told, kind: type[T]) -> T:
    try:
        return msgspec.convert(told.result, kind)
    except msgspec.ValidationError as e:
        another = f"the proxy of process {told.proxy.pid} is of another release, whose answer this one cannot read"
        raise CommandError(f"{another}: {e}; start it anew") from None


def width() -> int | None:
    """Return the cells of a line in the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(told: Iterable[Told]) -> int:
    """Print the sentences that were *told*, each once."""
    for sentence in dict.fromkeys(str(each.result) for each in told):
        print(sentence)
    return 0


def _with_own_pid(proxy: RunningProxy) -> RunningProxy:
    """Return *proxy* with the id of its process: the name of its socket may hold that of the one that started it."""
    with contextlib.suppress(ControlFailed):
        return RunningProxy(proxy.path, msgspec.convert(control_socket.ask(proxy.path, "status"), ProxyStatus).pid)
    return proxy


def _others(found: Sequence[RunningProxy]) -> str:
    return f"; there are: {', '.join(str(each.pid) for each in found)}" if found else ""
