"""
Writes lines to the terminal, a file or a pipe from a thread of its own.

A terminal that is stopped (Ctrl-S) or a pipe that is not read would hold up the event loop, and with it every exchange.
Here a bounded number of lines waits; further ones are dropped, and counted.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_WAITING = 2_000  # lines
_TOGETHER = 0.02  # seconds in which lines are collected, so that a busy proxy writes seldom
_NOT_READY = 0.05  # seconds until a descriptor without blocking is tried again
_LAST = 1.0  # seconds at most for what is left at the end


class LineWriter:
    """
    A file to print to, in front of *out*, which has a descriptor.

    Before `start` and after `stop` it writes at once. *told_dropped* makes a line of the number of lines dropped.
    """

    def __init__(self, out: TextIO, told_dropped: Callable[[int], str]) -> None:
        self.dropped = 0
        self.encoding = out.encoding or "utf-8"
        self._out = out
        self._fd = out.fileno()
        self._told_dropped = told_dropped
        self._told = 0  # of those dropped
        self._waiting: deque[str] = deque()
        self._part = ""  # of a line
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._ends = False
        self._error: OSError | None = None
        self.is_stuck = False  # at the end, what was left could not be written

    # -- a file, for print -----------------------------------------------------------------------------------------

    def write(self, text: str) -> int:
        """Write *text*; a part of a line with the rest of it. Raises OSError once no line can be written."""
        if self._error is not None:
            raise self._error
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            self.line(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are written soon, and waited for by `stop` alone."""

    def isatty(self) -> bool:
        """Whether *out* is a terminal."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """Return the descriptor of *out*."""
        return self._fd

    # -- lines -----------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether a line would be dropped now."""
        return self._error is not None or len(self._waiting) >= MOST_WAITING

    def drop(self) -> None:
        """Count a line that was not even made, because it would be dropped."""
        self.dropped += 1

    def line(self, text: str) -> None:
        """Write *text* as a line, if there is room for it."""
        if self.is_stuck:
            return
        if self._thread is None:
            self._put(text + "\n")
        elif self.is_full:
            self.drop()
        else:
            self._waiting.append(text)
            if not self._some.is_set():
                self._some.set()

    def start(self) -> None:
        """Write from a thread from now on."""
        if self._thread is None:
            with contextlib.suppress(OSError, ValueError):
                self._out.flush()
            self._ends = False
            self._thread = threading.Thread(target=self._run, name="patchbay-terminal", daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Write what is left, for a second at most, and at once from now on."""
        thread, self._thread = self._thread, None
        if thread is not None:
            atexit.unregister(self.stop)
            self._ends = True
            self._some.set()
            thread.join(_LAST)
            self.is_stuck = thread.is_alive()

    def _run(self) -> None:
        while not self._ends:
            self._some.wait()
            if not self._ends:
                time.sleep(_TOGETHER)
            self._some.clear()
            self._write_waiting()

    def _write_waiting(self) -> None:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if (dropped := self.dropped) > self._told:
            lines.append(self._told_dropped(dropped - self._told))
            self._told = dropped
        if lines:
            self._put("".join(f"{line}\n" for line in lines))

    def _put(self, text: str) -> None:
        left = memoryview(text.encode(self.encoding, "replace"))
        try:
            while left and self._error is None:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:
                    time.sleep(_NOT_READY)
        except OSError as e:  # the terminal is gone, or the reader of the pipe
            self._error = e
