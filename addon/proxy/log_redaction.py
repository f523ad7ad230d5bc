"""What mitmproxy and others write into the log passes the same cover as everything else that an upstream may quote."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any


class LogRedaction:
    """Makes log records in which *scrub* has covered every key. `install` puts it in force for all loggers."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._before: Callable[..., logging.LogRecord] | None = None

    def install(self) -> None:
        if self._before is None:
            self._before = logging.getLogRecordFactory()
            logging.setLogRecordFactory(self._made)

    def remove(self) -> None:
        """Take it off, unless somebody has put another one in its place."""
        if self._before is not None and logging.getLogRecordFactory() == self._made:
            logging.setLogRecordFactory(self._before)
        self._before = None

    def _made(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        before = self._before or logging.LogRecord
        record = before(*args, **kwargs)
        try:
            self._cover(record)
        except Exception:  # a message that does not fit its arguments; who formats it will say so
            record.msg, record.args = f"a message that cannot be formatted ({record.name})", ()
        return record

    def _cover(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if (covered := self._scrub(message)) != message:
            record.msg, record.args = covered, ()
        if record.exc_info and record.exc_info[0]:
            told = "".join(traceback.format_exception(*record.exc_info))
            if (covered := self._scrub(told)) != told:
                record.msg, record.args = f"{record.getMessage()}\n{covered}", ()
                record.exc_info = None
