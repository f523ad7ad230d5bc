"""A thread between the memory and a store, so that nothing ever waits for a disk or a server."""

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

EVERY = 0.2  # seconds between two looks at the store
RETRY = 1.0  # seconds until a store that failed is asked again
MAX_WAITING = 200_000  # records in either direction; the oldest leave first
_Waiting = dict[tuple[str, str], Record]


class WriteBehind:
    """
    Write behind to *store* and bring its news, from a thread of its own.

    A store that fails is asked again every second; what was to be written waits meanwhile, of each key the last.
    *name* is what messages call it.
    """

    def __init__(self, store: Store, name: str, clock: Callable[[], float] = time.time, every: float = EVERY) -> None:
        self._store = store
        self._name = name
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._out: _Waiting = {}
        self._in: _Waiting = {}
        self._asking: list[Callable[[], None]] = []
        self._wake = threading.Event()
        self._looked = threading.Event()
        self._ended = threading.Event()
        self._failing = False
        self._came_back = False
        self._thread = threading.Thread(target=self._work, name="patchbay-store", daemon=True)
        self._thread.start()

    def put(self, records: Iterable[Record]) -> None:
        """Have *records* written, soon."""
        with self._lock:
            _add(self._out, records)
        self._wake.set()

    def take(self, most: int = MAX_WAITING) -> list[Record]:
        """Return what the store told, *most* at a time."""
        with self._lock:
            keys = list(itertools.islice(self._in, most))
            return [self._in.pop(key) for key in keys]

    @property
    def shared(self) -> bool:
        """Whether other instances work on this store as well."""
        return self._store.shared

    def ask(self, told: Callable[[], None]) -> bool:
        """
        Ask the store for news at once; *told* is called, from the thread, when they are there to `take`.

        Return False, and call nothing, while the store fails: then nobody should wait for it.
        """
        if self._failing or self._ended.is_set():
            return False
        with self._lock:
            self._asking.append(told)
        self._wake.set()
        return True

    def came_back(self) -> bool:
        """Say, once, that the store had failed and works again: it may have lost everything."""
        came, self._came_back = self._came_back, False
        return came

    def looked(self, seconds: float) -> bool:
        """Wait until the store was asked for the first time, *seconds* at most; return whether it told anything."""
        return self._looked.wait(seconds) and not self._failing

    def close(self, seconds: float = 5.0) -> None:
        """Write what is left, *seconds* at most, and let go of the store."""
        self._ended.set()
        self._wake.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        while not self._ended.is_set():
            worked = self._turn()
            self._looked.set()
            if worked:
                self._wake.wait(self._every)
                self._wake.clear()
            else:  # a store that fails is not asked at every word
                self._ended.wait(RETRY)
        if not self._turn():
            self._turn()  # a file that went since the last turn is an error once, and is made anew
        self._store.close()

    def _turn(self) -> bool:
        with self._lock:
            out, self._out = self._out, {}
            asking, self._asking = self._asking, []
        try:
            if out:
                self._store.write(list(out.values()), self._clock())
            news = self._store.news(self._clock())
        except Exception as e:  # whatever a store does, the thread goes on
            self._failed(out, e)
            return False
        else:
            self._worked(news)
            return True
        finally:
            for told in asking:
                told()

    def _failed(self, out: _Waiting, e: Exception) -> None:
        with self._lock:
            self._out = out | self._out
        if not self._failing:
            reason = secret_patterns.covered(str(e)) if isinstance(e, StoreError) else type(e).__name__
            logger.warning("the store (%s) cannot be used; going on without it: %s", self._name, reason)
        self._failing = True

    def _worked(self, news: list[Record]) -> None:
        with self._lock:
            _add(self._in, news)
        if self._failing:
            logger.info("the store (%s) can be used again", self._name)
            self._came_back = True
        self._failing = False


def _add(waiting: _Waiting, records: Iterable[Record]) -> None:
    for record in records:
        key = record.kind, record.key
        before = waiting.get(key)
        if before is None or before.order < record.order:
            waiting[key] = record
    while len(waiting) > MAX_WAITING:
        del waiting[next(iter(waiting))]
