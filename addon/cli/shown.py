"""`patchbay status`, `accounts`, `sessions`: what running proxies do, or what the store knows where none is running."""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path
from random import SystemRandom

import msgspec

from ..proxy import account_list, control_tables, session_list
from ..proxy.control_answers import AccountShown, ExchangeShown, ProxyStatus, SessionShown, Totals
from ..proxy.control_socket import RunningProxy
from ..router import Router
from . import inputs, running
from .inputs import EXIT_FOUND, CommandError, NoStore
from .running import Told


def status(arguments: argparse.Namespace) -> int:
    """Print the addresses of each running proxy, and what it has done since its start."""
    found = running.proxies(arguments)
    if not found:
        raise running.no_proxy(arguments)
    return running.show(arguments, running.ask_each(found, "status"), ProxyStatus, control_tables.status)


def accounts(arguments: argparse.Namespace) -> int:
    """Print how every account stands: why it is not used, until when, and what uses it."""
    found = running.proxies(arguments)
    told = running.ask_each(found, "accounts") if found else [_stored_accounts(arguments)]
    return running.show(
        arguments, told, list[AccountShown], lambda each: control_tables.accounts(each, time.time(), running.width())
    )


def sessions(arguments: argparse.Namespace) -> int:
    """Print the conversations, the latest first; with a name, its changes of account too."""
    found, name = running.proxies(arguments), arguments.name or ""
    told = running.ask_each(found, "sessions", *([name] if name else [])) if found else [_stored_sessions(arguments)]
    if name and not any(each.result for each in told):
        raise CommandError(f"there is no session {name}", EXIT_FOUND)
    return running.show(
        arguments,
        told,
        list[SessionShown],
        lambda each: control_tables.sessions(each, time.time(), running.width(), moves=bool(name)),
    )


def explain(arguments: argparse.Namespace, session: str) -> int:
    """Print what happened to the last exchange of *session* in a running proxy, and why."""
    found = running.proxies(arguments)
    if not found:
        raise running.no_proxy(arguments)
    return running.show(arguments, running.ask_each(found, "explain", session), ExchangeShown, _explained)


def _explained(found: ExchangeShown) -> list[str]:
    ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.time))
    head = [("session", found.session), ("ended", ended), ("request id", found.request_id)]
    return control_tables.rows([*head, *found.rows])


# -- without a running proxy ------------------------------------------------------------------------------------------


def _stored_accounts(arguments: argparse.Namespace) -> Told:
    return _told(account_list.shown(_restored(arguments), Totals(), time.time()))


def _stored_sessions(arguments: argparse.Namespace) -> Told:
    router = _restored(arguments)
    bound = router.accounts.bindings.all(time.time())
    found = session_list.SessionList().shown(bound, router.config.sessions.ttl)
    return _told(session_list.named(arguments.name, found) if arguments.name else found)


def _told(result: object) -> Told:
    return Told(RunningProxy(Path(), 0), msgspec.to_builtins(result))


def _restored(arguments: argparse.Namespace) -> Router:
    """Return a router that knows what the store does."""
    try:
        with inputs.store(arguments, "") as (settings, store):
            router = Router(settings, secrets.token_bytes(32), SystemRandom(), secrets.token_bytes)
            router.state.adopt(store.news(time.time()), time.time())
            return router
    except NoStore as e:
        raise running.no_proxy(arguments) from e
