"""A background thread between the memory and a store, so that nothing else waits for a disk or a server."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable

from .. import secret_patterns
from ..values.record import Record
from .protocol import Store, StoreError

logger = logging.getLogger(__name__)

POLLING = 0.2  # seconds between two reads of the store
STORE_RETRY = 1.0  # seconds until a failed store is tried again
MAX_WAITING = 200_000  # records in either direction; the oldest are dropped
_ByKey = dict[tuple[str, str], Record]


class WriteBehind:
    """
    Writes to *store* and reads its news in a thread.

    A failed store is tried again every second; meanwhile the last record of each key waits. *name* is for messages.
    """

    def __init__(self, store: Store, name: str, clock: Callable[[], float] = time.time, every: float = POLLING) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._out: _ByKey = {}
        self._in: _ByKey = {}
        self._requests: list[Callable[[], None]] = []
        self._wake = threading.Event()
        self._first_read = threading.Event()
        self._ended = threading.Event()
        self._failing = False
        self.fault = ""  # why the store cannot be used now
        self._recovered = False
        self._thread = threading.Thread(target=self._work, name="patchbay-store", daemon=True)
        self._thread.start()

    def put(self, records: Iterable[Record]) -> None:
        """Queue *records* for writing."""
        with self._lock:
            _add(self._out, records)
        self._wake.set()

    def take(self, most: int = MAX_WAITING) -> list[Record]:
        """Return and remove the news that were read, *most* at a time."""
        with self._lock:
            keys = list(itertools.islice(self._in, most))
            return [self._in.pop(key) for key in keys]

    @property
    def shared(self) -> bool:
        """Whether several instances use this store at once."""
        return self._store.shared

    def request_news(self, ready: Callable[[], None]) -> bool:
        """
        Read the news of the store at once; the thread calls *ready* when `take` returns them.

        Return False, and call nothing, while the store fails.
        """
        if self._failing or self._ended.is_set():
            return False
        with self._lock:
            self._requests.append(ready)
        self._wake.set()
        return True

    def recovered(self) -> bool:
        """Whether the store works again after a failure, once: it may have lost its records."""
        recovered, self._recovered = self._recovered, False
        return recovered

    def wait_for_first_read(self, seconds: float) -> bool:
        """Wait at most *seconds* for the first read of the store; return whether it succeeded."""
        return self._first_read.wait(seconds) and not self._failing

    def close(self, seconds: float = 5.0) -> None:
        """Write the queued records and close the store, within *seconds*."""
        self._ended.set()
        self._wake.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        while not self._ended.is_set():
            worked = self._turn()
            self._first_read.set()
            if worked:
                self._wake.wait(self._every)
                self._wake.clear()
            else:  # not at every `put`
                self._ended.wait(STORE_RETRY)
        if not self._turn():
            self._turn()  # a file that was removed is an error once, and is created again
        self._store.close()

    def _turn(self) -> bool:
        with self._lock:
            out, self._out = self._out, {}
            requests, self._requests = self._requests, []
        try:
            if out:
                self._store.write(list(out.values()), self._clock())
            news = self._store.news(self._clock())
        except Exception as e:  # the thread survives any error of a store
            self._failed(out, e)
            return False
        else:
            self._worked(news)
            return True
        finally:
            for ready in requests:
                ready()

    def _failed(self, out: _ByKey, e: Exception) -> None:
        with self._lock:
            self._out = out | self._out
        if not self._failing:
            self.fault = reason = secret_patterns.covered(str(e)) if isinstance(e, StoreError) else type(e).__name__
            logger.warning("the store (%s) is unavailable; continuing without it: %s", self._name, reason)
        self._failing = True

    def _worked(self, news: list[Record]) -> None:
        with self._lock:
            _add(self._in, news)
        if self._failing:
            logger.info("the store (%s) is available again", self._name)
            self._recovered = True
            self.fault = ""
        self._failing = False


def _add(waiting: _ByKey, records: Iterable[Record]) -> None:
    for record in records:
        key = record.kind, record.key
        before = waiting.get(key)
        if before is None or before.order < record.order:
            waiting[key] = record
    while len(waiting) > MAX_WAITING:
        del waiting[next(iter(waiting))]
