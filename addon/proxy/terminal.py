"""
The terminal: a line for each exchange, refusal and change of an account, and at the start how Patchbay is used.

An addon of its own under the main one. Its lines, and the log's, are written by a thread (`line_writer`), so that no
exchange waits for a terminal. In mitmweb and the console they stand in the event log; in the console nowhere else,
because its screen is the terminal.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Concatenate, Literal, TextIO

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader
from mitmproxy.utils import vt_codes

from .. import client_tool
from ..accounts.changes import AccountChange
from ..router import Router
from ..values.decision import Decision, Refusal
from . import client_connections, option_defaults, start_lines, terminal_json, terminal_lines, terminal_text
from .header_fields import read
from .key_cover import KeyCover
from .line_writer import LineWriter
from .terminal_lines import LineStyle
from .terminal_log import LogLines, hides_connections

logger = logging.getLogger(__name__)

_QUIET, _FORMAT = "patchbay_quiet", "patchbay_log_format"
_VERBOSITIES = ("termlog_verbosity", "console_eventlog_verbosity")
_TOGETHER = 0.05  # seconds in which changes of accounts are collected
_FULL_WIDTH = 1_000  # cells: more than a terminal has
_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

Lines = Callable[[LineStyle], str]
JsonLines = Callable[[], terminal_json.JsonLine]


def _shown[**Given](show: Callable[Concatenate[Terminal, Given], None]) -> Callable[Concatenate[Terminal, Given], None]:
    """Let no exchange end because *show* fails; the first failure is logged."""

    @wraps(show)
    def guarded(self: Terminal, /, *args: Given.args, **named: Given.kwargs) -> None:
        try:
            show(self, *args, **named)
        except Exception as e:
            if not self.failed:
                self.failed = True
                logger.warning("patchbay: a line could not be shown: %s", type(e).__name__)

    return guarded


class Terminal:
    """Writes to mitmproxy's own terminal log and to its event log, whichever there are. Nothing here raises."""

    name = "patchbay_terminal"

    def __init__(self, cover: KeyCover) -> None:
        self._cover = cover
        self._router: Router | None = None
        self._termlog: Any = None  # the handler of mitmproxy's terminal log; None: there is none
        self._before: tuple[Any, Any] | None = None  # its file and formatter, while they are replaced
        self._writer: LineWriter | None = None
        self._log_lines = LogLines()
        self._style = LineStyle()
        self._plain = LineStyle(with_time=False)  # for an event log, which adds the time
        self._headed: terminal_lines.Columns | None = None  # the columns whose names were written last
        self._level = logging.INFO
        self._format: Literal["text", "json"] = "text"
        self._start: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self.failed = False  # to show a line
        self.account_changed: Callable[[AccountChange, float], None] = lambda _change, _at: None  # who else is told
        self.request_refused: Callable[[Refusal], None] = lambda _refusal: None

    # -- mitmproxy's events ----------------------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        loader.add_option(_QUIET, bool, False, "Show alarms and errors only")
        loader.add_option(_FORMAT, str, "text", "The form of lines in the terminal", choices=["text", "json"])
        self._take_over()

    def configure(self, updated: set[str]) -> None:
        if updated & {_QUIET, _FORMAT, *_VERBOSITIES}:
            options = ctx.options
            asked = [getattr(options, name, "info") for name in _VERBOSITIES]  # each program has one of them
            quiet = logging.ERROR if options.patchbay_quiet else logging.NOTSET
            self._level = max(_LEVELS.get(asked[0], logging.INFO), quiet)
            self._format = options.patchbay_log_format
            self._log_lines.json = self._format == "json"
            if self._termlog:
                self._termlog.setLevel(self._level)
            if self._writer:
                self._lead_dumper(self._writer)
            hides_connections("debug" not in asked or options.patchbay_quiet)

    def running(self) -> None:
        if self._router is None:
            return
        if self._writer:
            self._writer.start()
        self._start = asyncio.get_running_loop().create_task(self._started(self._router), name="patchbay-terminal")

    def done(self) -> None:
        if self._start:
            self._start.cancel()
        self._causes_first()
        hides_connections(False)
        if self._writer:
            self._writer.stop()
        self._give_back()

    # -- what there is to say --------------------------------------------------------------------------------------

    def attach(self, router: Router) -> None:
        """Tell of the accounts of *router* from now on."""
        self._router = router
        self._style.account = max((terminal_text.cells(each.id) for each in router.config.accounts), default=0)
        router.accounts.changes.listener = self._soon

    @_shown
    def exchange(self, decision: Decision) -> None:
        """Say that an exchange is over."""
        if decision.is_handshake:
            return  # its messages were told
        if len(decision.attempts) > 1 or decision.moved_from or terminal_lines.is_bad(decision):
            self._causes_first()
        at = time.time()
        level = logging.WARNING if terminal_lines.is_bad(decision) else logging.INFO
        self._say(
            level,
            partial(self._with_heading, partial(terminal_lines.exchange, decision, at)),
            partial(terminal_json.exchange, decision, at),
            terminal_lines.texts(decision),
        )

    @_shown
    def refused(self, flow: http.HTTPFlow, refusal: Refusal) -> None:
        """Say that *flow* was refused before it became an exchange, unless a browser sent it by itself."""
        tool, at = client_tool.of(read(flow.request.headers)), time.time()
        if tool == "browser" and refusal.code == "not_an_llm_path":
            return
        self.request_refused(refusal)
        asked = tool, flow.request.method, flow.request.path.partition("?")[0]
        self._say(
            logging.WARNING,
            partial(self._with_heading, partial(terminal_lines.refused, *asked, refusal, at)),
            partial(terminal_json.refused, *asked, refusal, at),
        )

    def _soon(self) -> None:
        if self._due is None:
            self._due = ctx.master.event_loop.call_later(_TOGETHER, self._changed)

    def _causes_first(self) -> None:
        """Say now what happened to accounts: the line that follows may be an effect of it."""
        if self._due:
            self._due.cancel()
            self._changed()

    @_shown
    def _changed(self) -> None:
        self._due = None
        if self._router is None:
            return
        at = time.time()
        for change in self._router.accounts.take_changes(at):
            self.account_changed(change, at)
            self._say(
                logging.WARNING if change.kind == "rests" else logging.INFO,
                partial(terminal_lines.account_changed, change, at),
                partial(terminal_json.account_changed, change, at),
            )

    async def _started(self, router: Router) -> None:
        await option_defaults.listening()
        self._begun(router)

    @_shown
    def _begun(self, router: Router) -> None:
        at = time.time()
        router.accounts.changes.told([account.id for account in router.config.accounts], at)
        for line in start_lines.of(router, client_connections.addresses(), at):
            self._say(line.level, line.text, line.json)

    # -- how it is said --------------------------------------------------------------------------------------------

    def _say(self, level: int, text: Lines, event: JsonLines, texts: tuple[str, ...] = ()) -> None:
        """
        Write a line of *level*: *text* for people, *event* for programs; neither is made where it is not read.

        *texts*: as of `KeyCover`.
        """
        if self._writer and level >= self._level:
            self._write(self._writer, text, event, texts)
        if store := getattr(ctx.master, "events", None):
            line = self._cover.over(text(self._plain), texts)
            store.logger.handle(logging.LogRecord("patchbay", level, "", 0, line, None, None))

    def _with_heading(self, line: Lines, style: LineStyle) -> str:
        """Return *line* for *style*, in a terminal below the names of its columns when they are others than before."""
        shown = None if style.width is None else terminal_lines.columns(style.width, style.account)
        if shown is None or shown == self._headed:
            return line(style)
        self._headed = shown
        return f"{terminal_lines.heading(style)}\n{line(style)}"

    def _write(self, writer: LineWriter, text: Lines, event: JsonLines, texts: tuple[str, ...]) -> None:
        if writer.is_full:
            writer.drop()
        elif self._format == "json":
            writer.line(self._cover.over(terminal_json.encoded(event()), texts))
        else:
            self._style.width = _width(writer)
            writer.line(self._cover.over(text(self._style), texts))

    def _dropped(self, lines: int) -> str:
        at = time.time()
        if self._format == "json":
            return terminal_json.encoded(terminal_json.dropped(lines, at))
        return f"{self._style.clock(at)} {lines} lines are not shown: they were not taken in time"

    def _take_over(self) -> None:
        """Put our writer and our form of lines into mitmproxy's own terminal log, so that the order is kept."""
        termlog = ctx.master.addons.get("termlog")
        self._termlog = getattr(termlog, "logger", None)
        out = getattr(self._termlog, "file", None)
        try:
            self._writer = LineWriter(out, self._dropped)  # type: ignore[arg-type]
        except (AttributeError, OSError, ValueError):  # no terminal log, or one that has no descriptor
            return
        is_terminal = self._writer.isatty() and vt_codes.ensure_supported(out)  # type: ignore[arg-type]
        self._style.colour = terminal_text.uses_colour(os.environ, is_terminal=is_terminal)
        self._log_lines.colour = self._style.colour
        self._log_lines.width = partial(_width, self._writer)
        self._before = self._termlog.file, self._termlog.formatter
        self._termlog.file, self._termlog.formatter = self._writer, self._log_lines
        self._termlog.addFilter(self._log_lines.is_shown)
        self._lead_dumper(self._writer)

    def _lead_dumper(self, out: TextIO | LineWriter) -> None:
        """Let what mitmdump prints of flows, with `-v` as well, go to *out*; among lines of JSON it has no place."""
        if dumper := ctx.master.addons.get("dumper"):
            dumper.outfp = _Nowhere() if self._format == "json" else out

    def _give_back(self) -> None:
        if self._before is None:
            return
        self._termlog.removeFilter(self._log_lines.is_shown)
        if self._writer and not self._writer.is_stuck:
            self._termlog.file, self._termlog.formatter = self._before
            self._format = "text"
            self._lead_dumper(self._before[0])
        self._before = None


class _Nowhere(io.TextIOBase):
    """Takes text and drops it."""

    def write(self, text: str) -> int:
        return len(text)


def _width(writer: LineWriter) -> int | None:
    """Return the cells of a line in the terminal; None where there is no terminal."""
    if not writer.isatty():
        return None
    try:
        return min(os.get_terminal_size(writer.fileno()).columns, _FULL_WIDTH) or None
    except OSError:
        return None
