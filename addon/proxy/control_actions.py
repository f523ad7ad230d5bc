"""
What a user asks of a running proxy and changes in it: the commands, as functions that return values.

Names that are not known are refused with those that are. Nothing here waits, but for a reload.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mitmproxy import ctx

from ..router import Router
from ..values.account import Account
from ..values.decision import SESSION_NAME_LENGTH
from ..values.shown_time import end_clock
from . import (
    account_list,
    client_connections,
    control_socket,
    decision_card,
    flow_metadata,
    flow_record,
    incident_files,
    release,
    session_list,
)
from .control_answers import AccountShown, ExchangeShown, ProxyStatus, SessionShown
from .control_socket import ControlFailed
from .lifecycle import Lifecycle, Service
from .reload import NothingChanges
from .session_list import LastExchange

MOST_SESSIONS = 1000  # that one answer lists
_SHOWN = 8  # names that a message lists


class ControlActions:
    """On what *lifecycle* has started; *settings_changed* is called after a change of an account."""

    def __init__(self, lifecycle: Lifecycle, settings_changed: Callable[[], None]) -> None:
        self._lifecycle = lifecycle
        self._settings_changed = settings_changed
        self._began = time.monotonic()

    # -- shown -----------------------------------------------------------------------------------------------------

    def status(self) -> ProxyStatus:
        """Return how this proxy is reached, and the totals since its start."""
        service, listeners = self._service(), client_connections.addresses()
        return ProxyStatus(
            pid=os.getpid(),
            version=release.version(),
            addresses=list(listeners),
            kinds=list(listeners.values()),
            in_flight=self._lifecycle.in_flight(),
            mode=service.router.config.shown_mode,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            totals=service.sessions.totals(),
            store_fault=service.store.fault,
            trusted_ca=ctx.options.ssl_verify_upstream_trusted_ca or "",
            trusted_confdir=ctx.options.ssl_verify_upstream_trusted_confdir or "",
        )

    def accounts(self) -> list[AccountShown]:
        """Return how every account stands, in the order of the settings."""
        return account_list.shown(self._router(), self._service().sessions.totals(), time.time())

    def sessions(self, name: str = "") -> list[SessionShown]:
        """Return the conversations, the latest use first; those that *name* begins, if it is given."""
        found = self._sessions()
        return (session_list.named(name, found) if name else found)[:MOST_SESSIONS]

    def explain(self, name: str) -> ExchangeShown:
        """Return what happened to the exchange *name*, by its id or a request id, or to the last one of a session."""
        service = self._service()
        last = service.sessions.exchange(name) or self._last_of(name)
        decision = last.decision
        metadata = flow_record.metadata_of(decision.encoded(), last.candidates, last.evidence)
        metadata[flow_metadata.LEAKED_TO] = service.incidents.leaks_of(decision.exchange)
        rows = decision_card.rows(metadata)
        if decision.verdict == "crosstalk":
            rows.append(("incident", f"`patchbay incidents {decision.request_id}`"))
        if last.refusal:
            rows.append(("refused", last.refusal))
        return ExchangeShown(decision.session, decision.time + decision.duration_seconds, decision.request_id, rows)

    def _last_of(self, name: str) -> LastExchange:
        if len(name) > SESSION_NAME_LENGTH and not session_list.named(name, self._sessions()):
            raise ControlFailed(
                "no session and no exchange of late has this id; `patchbay incidents ID` shows what is kept of an alarm"
            )
        found = self._session(name)
        if last := self._service().sessions.last(found.session):
            return last
        raise ControlFailed(f"session {found.name} had no exchange since the proxy started; its home is {found.home}")

    def incidents(self) -> list[str]:
        """Return a line for each recorded incident, the newest last."""
        folder = Path(self._router().config.state).expanduser() / incident_files.FOLDER
        return [incident_files.line(each) for each in incident_files.newest(folder)]

    # -- changed ---------------------------------------------------------------------------------------------------

    def wake(self, account: str) -> str:
        """End every cooldown of *account*."""
        found = self._account(account)
        self._router().state.wake(account, time.time())
        self._settings_changed()
        if not found.enabled:
            return f"account {account} has no cooldown any more, and is disabled{_how_to_enable(found)}"
        return f"account {account} may be used again"

    def cool(self, account: str, seconds: str = "") -> str:
        """Send nothing to *account* for so many *seconds* (default: 600)."""
        self._account(account)
        length, now = _seconds(seconds), time.time()
        self._router().state.pause(account, now + length, now)
        self._settings_changed()
        until = end_clock(now + length, now)
        return f"account {account} rests until {until}: paused by a command; `patchbay wake {account}` ends this"

    def disable(self, account: str) -> str:
        """Send nothing to *account* until it is enabled, after a restart too if a store keeps it; its sessions move."""
        found = self._account(account)
        if not found.enabled and not found.switched_off:
            return f"account {account} is disabled in the settings"
        self._router().state.switch(account, time.time(), on=False)
        self._settings_changed()
        until = "also after a restart" if self._service().store.keeps else "until this proxy ends"
        return f"account {account} is disabled, {until}; `patchbay enable {account}` ends this"

    def enable(self, account: str) -> str:
        """Use *account* again after `disable`, and end its cooldowns."""
        found = self._account(account)
        if not found.enabled and not found.switched_off:
            raise ControlFailed(f"account {account} is disabled in the settings: set enabled: true there")
        self._router().state.switch(account, time.time(), on=True)
        self._router().state.wake(account, time.time())
        self._settings_changed()
        return f"account {account} is enabled"

    def unbind(self, session: str) -> str:
        """Forget the account of the conversation *session*: its next request gets another one where it can."""
        found = self._session(session)
        left = self._router().accounts.unbind(found.session)
        if not left:
            return f"session {found.name} is bound to no account"
        return f"session {found.name} is no longer bound to {', '.join(sorted(left))}; its next request chooses anew"

    async def reload(self) -> str:
        """Read the settings and the keys in files again."""
        try:
            return await self._lifecycle.reload_now()
        except NothingChanges as e:
            raise ControlFailed(str(e)) from None

    # -- names -----------------------------------------------------------------------------------------------------

    def account_names(self) -> list[str]:
        """Return the ids of all accounts."""
        return [account.id for account in self._router().config.accounts]

    def session_names(self) -> list[str]:
        """Return the short names of all conversations, the latest use first."""
        return [each.name for each in self._sessions()]

    def _account(self, name: str) -> Account:
        found = next((account for account in self._router().config.accounts if account.id == name), None)
        if found is None:
            raise ControlFailed(f"there is no account {name[:64]}; there are: {_listed(self.account_names())}")
        return found

    def _sessions(self) -> list[SessionShown]:
        router = self._router()
        bound = router.accounts.bindings.all(time.time())
        return self._service().sessions.shown(bound, router.config.sessions.ttl)

    def _session(self, name: str) -> SessionShown:
        among = self._sessions()
        found = session_list.named(name, among)
        if len(found) > 1:
            raise ControlFailed(f"several sessions begin with {name[:32]}: {_listed([each.session for each in found])}")
        if not found:
            raise ControlFailed(f"there is no session {name[:32]}; there are: {_listed([e.name for e in among])}")
        return found[0]

    def _service(self) -> Service:
        if self._lifecycle.service is None:
            raise ControlFailed("this proxy could not start: its log says why")
        return self._lifecycle.service

    def _router(self) -> Router:
        return self._service().router


def _how_to_enable(account: Account) -> str:
    return f": `patchbay enable {account.id}` ends this" if account.switched_off else " in the settings"


def _seconds(given: str) -> float:
    try:
        return control_socket.seconds_of(given) if given else control_socket.COOL
    except ValueError as e:
        raise ControlFailed(str(e)) from e


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more
