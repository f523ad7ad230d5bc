"""Records of the log as lines of the terminal, and the records of mitmproxy that our own lines replace."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

from mitmproxy.log import ALERT
from mitmproxy.utils import human

from . import terminal_json
from .terminal_text import Colour, broken, cells, painted

# What mitmproxy says of every connection, and of its listeners; our lines say it of exchanges, accounts, the start.
_CONNECTIONS = re.compile(
    r"(\[replay\] )?((client|server) (connect|disconnect)\b|error establishing server connection: "
    r"|Streaming (request|response) |.* (listening at .*|stopped\.)$)"
)
_SPEAKERS = ("mitmproxy.proxy.server", "mitmproxy.proxy.mode_servers", "mitmproxy.addons.clientplayback")
_COLOURS: dict[int, Colour] = {logging.CRITICAL: "bold red", logging.ERROR: "red", logging.WARNING: "yellow",
                               ALERT: "yellow"}  # fmt: skip


class LogLines(logging.Formatter):
    """Formats a record as a line: in *colour*, or as *json*."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = False
        self.json = False
        self.width: Callable[[], int | None] = lambda: None  # cells of the terminal; None: there is none

    def is_shown(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows *record*: as JSON, only what needs a look."""
        return not self.json or record.levelno >= logging.WARNING

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines, of *record*."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        elif not self.json and (width := self.width()):
            message = _broken(message, width - len("00:00:00 "))
        if self.json:
            return terminal_json.encoded(terminal_json.logged(record.levelname.lower(), message, record.created))
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        client = getattr(record, "client", None)
        begin = f"{clock} [{human.format_address(client)}]" if client else clock
        if not self.colour:
            return f"{begin} {message}"
        return f"{painted(begin, 'dim')} {painted(message, _COLOURS.get(record.levelno, ''))}"


def _broken(message: str, width: int) -> str:
    """Return *message* in lines of *width* cells, none of which ends within a word."""
    lines = (broken(line, max(width, 1), 0) if cells(line) > width else [line] for line in message.split("\n"))
    return "\n".join("\n         ".join(each) for each in lines)


def hides_connections(hide: bool) -> None:
    """Keep from all logs what mitmproxy says of each connection, or show it again."""
    for name in _SPEAKERS:
        speaker = logging.getLogger(name)
        speaker.removeFilter(_is_news)
        if hide:
            speaker.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno != logging.INFO or not isinstance(record.msg, str) or not _CONNECTIONS.match(record.msg)
