"""Covers known keys in every log record, also in those of mitmproxy and its libraries."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable
from typing import Any

from .. import secret_patterns

_QUOTED_BYTES = re.compile(r"\bb(?:'.*'|\".*\")", re.DOTALL)


class LogRedaction:
    """A factory of log records in which *scrub* has covered every key; `install` makes it that of all loggers."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._before: Callable[..., logging.LogRecord] | None = None

    def install(self) -> None:
        if self._before is None:
            self._before = logging.getLogRecordFactory()
            logging.setLogRecordFactory(self._made)

    def remove(self) -> None:
        """Restore the factory from before, unless another one has been installed since."""
        if self._before is not None and logging.getLogRecordFactory() == self._made:
            logging.setLogRecordFactory(self._before)
        self._before = None

    def _made(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        before = self._before or logging.LogRecord
        record = before(*args, **kwargs)
        try:
            self._cover(record)
        except Exception:  # a message that does not fit its arguments
            record.msg, record.args = f"a message that cannot be formatted ({record.name})", ()
        return record

    def _cover(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if (covered := self._scrub(message)) != message:
            record.msg, record.args = covered, ()
        if record.exc_info:
            told = "".join(traceback.format_exception(*record.exc_info))
            if (covered := self._scrub(told)) != told:
                record.msg, record.args = f"{record.getMessage()}\n{covered}", ()
                record.exc_info = None


def discreet(message: str) -> str:
    """Return *message* of mitmproxy without the bytes that it quotes: they may hold a client's key."""
    return secret_patterns.covered(_QUOTED_BYTES.sub("(not shown)", message))
