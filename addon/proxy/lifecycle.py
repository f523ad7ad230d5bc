"""From load to done: builds from the settings what serves requests, changes it at a reload, and ends it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader

from .. import clients, secret_patterns
from ..guards import Guards
from ..journal import Journal
from ..router import Router, mint_of
from ..settings.reader import ConfigError
from ..settings.settings import JournalSettings
from ..store import KEY_BYTES, StoreError, master_key
from ..values.http import Client
from . import (
    client_connections,
    compatibility,
    content_view,
    environment,
    option_checks,
    option_defaults,
    reload,
    replay,
    tls_passthrough,
)
from .alarms import Alarms
from .clock import Clock
from .credentials import Credentials, KeyUnavailable
from .exchange_driver import DriverContext
from .exchange_log import ExchangeLog
from .graceful_shutdown import GracefulShutdown
from .host import steps
from .in_flight import InFlight
from .incident_recorder import IncidentRecorder
from .loaded_flows import LoadedFlows
from .log_redaction import LogRedaction
from .persistence import Persistence
from .session_list import SessionList
from .shadow import warn_of_nowhere
from .terminal import Terminal

logger = logging.getLogger(__name__)

_OPTION = "patchbay_config"
_LOOK = "patchbay_look"
_ENDED = "the proxy was ended"
_RANDOM_AT_ONCE = 1024  # bytes


@dataclass(slots=True)
class Service:
    """What serves requests; a reload changes *clients*, *guards*, and the settings inside the other parts."""

    key: bytes
    router: Router
    context: DriverContext
    store: Persistence
    incidents: IncidentRecorder
    loaded: LoadedFlows
    log: ExchangeLog
    sessions: SessionList
    clients: tuple[clients.Known, ...]
    guards: Guards


class Lifecycle:
    """mitmproxy's events about the addon itself. *service* is None until `configure` could use the settings."""

    def __init__(self, keys: Credentials, in_flight: InFlight, terminal: Terminal) -> None:
        self.service: Service | None = None
        self._looks = False  # patchbay_look: there are no settings, and nothing is written
        self.refused = False  # the settings were unusable at the start, and mitmproxy is about to end
        self.shutdown = GracefulShutdown(self._grace, in_flight.count, lambda: in_flight.end_all(_ENDED))
        self._keys = keys
        self._in_flight = in_flight
        self._terminal = terminal
        self._log_redaction = LogRedaction(keys.scrub_text)
        self._reload: reload.Reload | None = None
        self._take_steps_off: Callable[[], None] = lambda: None

    def load(self, loader: Loader) -> None:
        loader.add_option(
            _OPTION,
            str,
            "",
            "The YAML file with the accounts (else $PATCHBAY_CONFIG, ./config.yaml, ~/.config/patchbay/config.yaml)",
        )
        loader.add_option(_LOOK, bool, False, "Only record what passes: no settings, no account, no key is kept")
        try:
            compatibility.check()
        except Exception as e:  # whatever the check meets, it was not passed
            self._refuse(f"patchbay does not run on this mitmproxy: {e}")
            return
        try:
            self._take_steps_off = steps.install()
        except ValueError as e:
            self._refuse(f"patchbay: {e}")
            return
        replay.install()
        self._log_redaction.install()
        option_defaults.apply()
        content_view.install()

    def in_flight(self) -> int:
        """Return how many exchanges have not ended."""
        return self._in_flight.count()

    def configure(self, updated: set[str]) -> None:
        if self.refused:
            return
        if self.service is None:
            try:
                self._begin()
            except exceptions.OptionsError as e:
                self._refuse(str(e))
                return
        elif _LOOK in updated and ctx.options.patchbay_look != self._looks:
            raise exceptions.OptionsError("patchbay: a change of patchbay_look takes effect at the next start")
        elif _OPTION in updated and not self._looks:
            self._load(environment.settings_file(ctx.options.patchbay_config))
        elif updated & option_checks.WATCHED:
            try:
                option_checks.check(self.service.router.config)
            except ValueError as e:
                raise exceptions.OptionsError(f"patchbay: {e}") from None
        else:
            return
        option_checks.warn()

    def running(self) -> None:
        if self.refused:
            return
        option_defaults.settle()
        option_defaults.listen()
        self.shutdown.install()
        assert self.service is not None
        if self._reload:
            self._reload.start()
        self.service.store.start()
        config = self.service.router.config
        tls_passthrough.warn(config)
        warn_of_nowhere(config, ctx.options.mode)

    async def reload_now(self) -> str:
        """Read the settings, and the files with keys, again; return what came of it. Raises NothingChanges."""
        return await self._reload.now() if self._reload else "nothing is loaded"

    def done(self) -> None:
        self.shutdown.remove()
        replay.remove()
        self._take_steps_off()
        self._log_redaction.remove()
        if self._reload:
            self._reload.stop()
        if self.service:
            self.service.store.end()
            if self.service.log.journal:
                self.service.log.journal.close()
                self.service.log.journal = None
            self.service.incidents.close()
            self.service.loaded.log_verdicts()

    def _refuse(self, why: str) -> None:
        # mitmproxy shows what a script raises with a traceback, swallows what `load` raises, and goes on without us.
        # An error in the log ends it once it has started; until then every hook fails closed.
        self.refused = True
        logger.error("%s", why)
        # It ends amid its event loop, and Python would print a traceback for each client that is just connecting.
        logging.getLogger("asyncio").disabled = True
        warnings.simplefilter("ignore", RuntimeWarning)

    def _begin(self) -> None:
        self._looks = ctx.options.patchbay_look
        if not self._looks:
            self._load(environment.settings_file(ctx.options.patchbay_config))
            return
        try:
            self._apply(reload.LOOKING)
        except ValueError as e:
            raise exceptions.OptionsError(f"patchbay: {e}") from None

    def _load(self, path: Path) -> None:
        """Load the settings at *path* and apply them. Raises OptionsError where they are unusable: nothing changes."""
        try:
            with ThreadPoolExecutor(1) as aside:  # a loop may be running here already
                before = self.service.router.config if self.service else None
                found = aside.submit(asyncio.run, reload.load(path, self._keys, before)).result()
            self._apply(found)
        except ConfigError as e:
            raise exceptions.OptionsError(str(e)) from None
        except (OSError, ValueError, KeyUnavailable, StoreError) as e:
            raise exceptions.OptionsError("patchbay: " + secret_patterns.covered(environment.told(e, path))) from None
        reload.warn(found.config, at_start=before is None)
        assert self.service is not None
        is_running = self._reload is not None and self._reload.stop()
        self._reload = reload.Reload(path, self.service.router, self._keys, self._apply)
        if is_running:
            self._reload.start()

    def _apply(self, found: reload.Settings) -> None:
        option_checks.check(found.config)
        if self.service is None:
            self.service = self._started(found)
        else:
            self._change(self.service, found)

    def _started(self, found: reload.Settings) -> Service:
        config, folder = found.config, Path(found.config.state).expanduser()
        # who only looks leaves nothing on the disk: not even a key
        key = secrets.token_bytes(KEY_BYTES) if self._looks else master_key(folder)
        router = Router(config, key, SystemRandom(), _random_bytes())
        incidents = IncidentRecorder(folder, config.crosstalk, self._keys.environment)
        sessions = SessionList()
        log = ExchangeLog(router, key, incidents, sessions, self._terminal.exchange, self._in_flight.account_failed)
        log.journal = _journal(config.journal)
        store = Persistence(config, key, router.state)
        alarms = Alarms(router, store, incidents)
        log.amended = alarms.amended
        context = self._context(router, log, alarms)
        router.editor.unnamed = self._warn_of_model
        router.editor.unstamped = _warn_of_member
        router.changed = store.soon
        router.state.leaked, router.state.amended = incidents.leaked, log.amend
        self._terminal.attach(router)
        self._terminal.account_changed = log.account_changed
        self._terminal.request_refused = sessions.refused
        loaded, guards = LoadedFlows(mint_of(key)), Guards(config)
        return Service(key, router, context, store, incidents, loaded, log, sessions, found.clients, guards)

    def _context(self, router: Router, log: ExchangeLog, alarms: Alarms) -> DriverContext:
        return DriverContext(
            router,
            self._keys,
            verified=lambda: not ctx.options.ssl_insecure,
            alarm=alarms.raise_for,
            wake=client_connections.wake,
            opened=log.opened,
            record=log.message_closed,
            client_now=self._client_now,
            now=Clock(lambda: time.time(), time.monotonic, router.memory.clock_was_set).now,
        )

    def _client_now(self, client: Client) -> Client | None:
        assert self.service is not None
        return clients.with_present_rights(client, self.service.clients, self.service.key)

    def _change(self, service: Service, found: reload.Settings) -> None:
        before, config = service.router.config, found.config
        if config.journal != before.journal:
            _change_journal(service.log, config.journal)
        service.router.reload(config)
        service.incidents.change(config.crosstalk)
        service.clients = found.clients
        service.guards = Guards(config)
        self._terminal.attach(service.router)
        self._in_flight.settings_changed()

    def _grace(self) -> float:
        return self.service.router.config.grace_period if self.service else 0.0

    def _warn_of_model(self, provider: str, model: str) -> None:
        name = ascii(self._keys.scrub(model.encode("utf-8", "replace")).decode()[:64])
        logger.warning("provider %s: model_ids has no entry for %s: its requests carry no model id", provider, name)


def _warn_of_member(provider: str, member: str) -> None:
    setting = "echo: metadata" if member == "metadata" else "attest: true"
    logger.warning("provider %s: its upstream refuses `%s`, so `%s` has no effect there", provider, member, setting)


def _random_bytes() -> Callable[[int], bytes]:
    """Return a source of random bytes that asks the system for many at once: each request takes some twice."""
    rest = b""

    def take(size: int) -> bytes:
        nonlocal rest
        if len(rest) < size:
            rest = secrets.token_bytes(max(_RANDOM_AT_ONCE, size))
        taken, rest = rest[:size], rest[size:]
        return taken

    return take


def _journal(settings: JournalSettings) -> Journal | None:
    return Journal(settings) if settings.path else None


def _change_journal(log: ExchangeLog, settings: JournalSettings) -> None:
    before, log.journal = log.journal, _journal(settings)
    if before:  # it still writes its last lines, which must not hold up the loop
        asyncio.get_running_loop().run_in_executor(None, before.close)
