"""Carries records between the state of the router and the store, a few times a second."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import keyed
from ..settings.settings import Config
from ..state import State
from ..store import Store, StoreError, WriteBehind, opened
from ..values.record import Record

logger = logging.getLogger(__name__)

VARIABLE = "PATCHBAY_STORE"  # the store where the settings name none
HAND_ON_EVERY = 0.2  # seconds between two rounds of reading the news and writing the changes
FIRST_READ_WAIT = 2.0  # seconds at the start for the records of earlier processes
RECORDS_AT_ONCE = 2000  # records at a time, so that no request waits long
CATCH_UP = 0.25  # seconds a request may wait for the latest records of other instances
NEW = 0.02  # seconds until an unknown conversation is looked up again: its last turn may just have ended elsewhere


class Persistence:
    """
    Connects *state* to the store of *settings*, if there is one; *key* is the master key.

    The constructor loads what the store holds, within FIRST_READ_WAIT. Raises StoreError for an unusable store.
    """

    def __init__(self, settings: Config, key: bytes, state: State) -> None:
        self._state = state
        self._behind: WriteBehind | None = None
        self._resend: Iterator[Record] = iter(())
        self._task: asyncio.Task[None] | None = None
        self._handing = False
        self._slow = False  # the store took longer than CATCH_UP the last time, so no request waits for it
        url, store = store_of(settings, key)
        if store is not None:
            self._behind = WriteBehind(store, url.partition(":")[0])
            self._begin(self._behind)

    @property
    def fault(self) -> str:
        """Why the store cannot be used now; empty: it can, or there is none."""
        return self._behind.fault if self._behind else ""

    def start(self) -> None:
        """Read news and write changes from now on; to be called in the loop."""
        if self._behind is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._behind), name="patchbay-keeping")

    def end(self) -> None:
        """Write what is left, within a few seconds."""
        if self._task is not None:
            self._task.cancel()
        if self._behind is not None:
            self._hand_on(self._behind, time.time(), most=None)
            self._behind.close()
            self._behind = None

    @property
    def keeps(self) -> bool:
        """Whether anything is kept beyond this process."""
        return self._behind is not None

    @property
    def shared(self) -> bool:
        """Whether other instances work on the same store."""
        return self._behind is not None and self._behind.shared

    def soon(self) -> None:
        """Write changes at once where other instances share the store: their next request may need them."""
        if self._behind is not None and self._behind.shared and self._task is not None and not self._handing:
            self._handing = True
            asyncio.get_running_loop().call_soon(self._now, self._behind)

    async def caught_up(self, seconds: float = CATCH_UP) -> float:
        """
        Read what other instances have written to a shared store until now; return what is left of *seconds*.

        Does not wait for a store that is not shared, fails, or was too slow the last time.
        """
        if self._behind is None or not self._behind.shared:
            return seconds
        loop = asyncio.get_running_loop()
        asked, told = loop.time(), asyncio.Event()

        def said() -> None:
            self._slow = loop.time() - asked > CATCH_UP
            told.set()

        if self._behind.request_news(lambda: _said(loop, said)) and seconds > 0 and not self._slow:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), seconds)
            self._slow = self._slow or loop.time() - asked > CATCH_UP
        if self._behind is not None:
            self._state.adopt(self._behind.take(RECORDS_AT_ONCE), time.time())
        return max(0.0, seconds - (loop.time() - asked))

    def _now(self, behind: WriteBehind) -> None:
        self._handing = False
        self._hand_on(behind, time.time(), RECORDS_AT_ONCE)

    def look(self, behind: WriteBehind, now: float) -> None:
        """Read news, and write changes."""
        self._state.adopt(behind.take(RECORDS_AT_ONCE), now)
        self._hand_on(behind, now, RECORDS_AT_ONCE)

    def _hand_on(self, behind: WriteBehind, now: float, most: int | None) -> None:
        """Write changes; to a store that was lost and came back also *most* records of the whole state."""
        if behind.recovered():
            self._resend = self._state.everything(now)
        records = [*itertools.islice(self._resend, most), *self._state.changes(now)]
        if records:
            behind.put(records)

    def _begin(self, behind: WriteBehind) -> None:
        self._state.watch(shared=behind.shared)
        if behind.wait_for_first_read(FIRST_READ_WAIT):
            news = behind.take()
            unread = self._state.adopt(news, time.time())
            logger.debug("patchbay: records read from the store: %d", len(news) - unread)

    async def _run(self, behind: WriteBehind) -> None:
        while True:
            await asyncio.sleep(HAND_ON_EVERY)
            try:
                self.look(behind, time.time())
            except Exception as e:  # the proxy goes on without its store
                logger.warning("patchbay: state could not be handed on: %s", type(e).__name__)


def _said(loop: asyncio.AbstractEventLoop, said: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(said)


def store_of(settings: Config, key: bytes) -> tuple[str, Store | None]:
    """Return the URL of the store of *settings*, and the store, if there is one. Raises StoreError."""
    url = _resolved(settings.store or os.environ.get(VARIABLE, ""))
    space = keyed.derive(key, "patchbay 2026 store")[:8].hex()
    return url, opened(url, Path(settings.state).expanduser(), space)


def _resolved(url: str) -> str:
    source, _, name = url.partition(":")
    if source != "env":
        return url
    if not os.environ.get(name):
        raise StoreError(f"store: the environment variable {name} is not set")
    return os.environ[name]
