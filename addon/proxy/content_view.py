"""
The content view `conversation`, for mitmweb, the console and mitmdump: the decision, then the newest turn first.

mitmproxy renders it on its event loop, so a page is bounded; it must never raise, and what it shows is as safe to
print as `transcript.pane` makes it.
"""

from __future__ import annotations

import gc
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import msgspec
from mitmproxy import contentviews, ctx, http

from .. import dialects, transcript
from ..exchange import decide
from ..media_types import media_type
from ..transcript.pane import Pane
from ..transcript.text import TranscriptText
from ..values.http import Endpoint
from . import decision_card, flow_metadata as names, flow_record, message_content, socket_view, wire_edits
from .in_flight import driver_of

logger = logging.getLogger(__name__)

PRIORITY = 20.0  # above every view of mitmproxy
FOLDED_PAGE, WHOLE_PAGE = 200_000, 32_000_000  # characters of a page
WEB_COLUMNS = 84  # of a pane that takes half of a window 1440 pixels wide
_NARROWEST, _WIDEST = 40, 120  # columns
_INDENT = 4  # columns before what mitmdump prints
_BEGINS = (b"{", b"[", b"event:", b"data:", b": ", b"id:")  # of a JSON text, and of a stream
_ENDS_OF_REQUESTS = (b'"messages"', b'"input"', b'"contents"', b'"prompt"')  # members, of which a request has one
_UNREAD = 2_000  # bytes of an answer that is no conversation
_REMEMBERED = 1000  # flows that were shown while their exchange ran
_shown_under_way: set[str] = set()
_SENTENCE = "Patchbay could not read this as a conversation; its text follows as it is."


class _SafeText(str):
    """Text of a pane: mitmproxy need not look for control characters again, which takes longer than all the rest."""

    __slots__ = ()

    def translate(self, table: object) -> str:
        return self


class ConversationView(contentviews.Contentview):
    """A page about one message of a flow. *everything*: nothing is folded; `auto` never chooses that view."""

    syntax_highlight = "none"

    def __init__(self, *, everything: bool = False) -> None:
        self._everything = everything

    @property
    def name(self) -> str:
        return "conversation-full" if self._everything else "conversation"

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        try:
            with _without_collection():
                return _SafeText(self._page(data, metadata))
        except Exception as e:  # a page must not break the view of a flow
            logger.debug("%s failed: %s", self.name, type(e).__name__, exc_info=True)
            pane = Pane(WEB_COLUMNS, FOLDED_PAGE)
            pane.text(_SENTENCE)
            pane.blank()
            pane.text(data[:FOLDED_PAGE].decode("utf-8", "replace"))
            return _SafeText(pane)

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        flow = metadata.flow
        if self._everything or not isinstance(flow, http.HTTPFlow):
            return -1
        if metadata.websocket_message is not None:
            return PRIORITY if socket_view.reads(flow) else -1
        if not _is_text(data):
            return -1
        return PRIORITY if _is_served(flow) or _is_generation(flow) else -1

    def _pane(self) -> Pane:
        return Pane(_columns(), WHOLE_PAGE if self._everything else FOLDED_PAGE)

    def _page(self, data: bytes, metadata: contentviews.Metadata) -> str:
        flow, pane = metadata.flow, self._pane()
        writer = TranscriptText(pane, everything=self._everything, elsewhere=_elsewhere(everything=self._everything))
        if not isinstance(flow, http.HTTPFlow):
            pane.text(data[:FOLDED_PAGE].decode("utf-8", "replace"))
        elif (said := metadata.websocket_message or (None if _is_printed() else socket_view.newest(flow))) is not None:
            socket_view.write(pane, writer, flow, said)
        else:
            is_answer = isinstance(metadata.http_message, http.Response)
            if not (is_answer and _is_printed()):
                pane.pairs(_decision(flow))
            _write(pane, writer, flow, data, is_answer=is_answer)
        return str(pane)


@contextmanager
def _without_collection() -> Iterator[None]:
    """
    Pause the garbage collector: a page makes a hundred thousand objects and no cycle among them.

    Searching all of them for cycles, again and again, takes up to half of the time of a page of 5 MB.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


VIEWS = (ConversationView(), ConversationView(everything=True))


def install() -> None:
    """Let mitmproxy offer the views from now on."""
    for view in VIEWS:
        if contentviews.registry.get(view.name) is not view:
            contentviews.add(view)


def ended(flow: http.HTTPFlow) -> None:
    """Let the console, which keeps pages, show *flow* anew if it showed it while its exchange ran. Never raises."""
    if flow.id not in _shown_under_way:
        return
    _shown_under_way.discard(flow.id)
    try:
        contentviews.registry.on_change.send(VIEWS[0])
    except Exception as e:  # a page is not worth an exchange
        logger.debug("no new page: %s", type(e).__name__, exc_info=True)


def endpoint(flow: http.HTTPFlow) -> Endpoint:
    """Return what the path of *flow* means, in the dialect in which it was served, if it was."""
    found = dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0])
    dialect = names.text(flow.metadata, f"{names.PREFIX}dialect")
    return replace(found, dialect=dialect) if dialect else found


def _write(pane: Pane, writer: TranscriptText, flow: http.HTTPFlow, data: bytes, *, is_answer: bool) -> None:
    """
    Write the message *data* of *flow*, and its other message.

    mitmweb shows the request of a flow that is selected, and a reader wants its answer too. mitmdump prints both.
    """
    at, alone = endpoint(flow), _is_printed()
    if at.kind != "generation":
        _write_json(pane, data)
        return
    asked, answered = (b"", data) if is_answer else (data, b"")
    if not (is_answer or alone) and flow.response:
        answered = _content(flow.response)
        if not _is_text(answered):
            answered = _write_unread(pane, flow.response, answered)
    if is_answer and not alone:
        asked = _content(flow.request)
    if answered:
        writer.answer(transcript.of_answer(answered, at.dialect, at.suffix, _kind(flow.response)))
    elif so_far := _so_far(flow):
        found = transcript.of_answer(so_far, at.dialect, at.suffix, _kind(flow.response))
        writer.answer(msgspec.structs.replace(found, is_cut=False))
        pane.text("(more is to come)")
    if asked:
        writer.request(transcript.of_request(asked, at.dialect, at.suffix, _kind(flow.request)))


def _write_unread(pane: Pane, response: http.Response, data: bytes) -> bytes:
    """Write the begin of an answer that is no conversation, such as a page with an error; return nothing."""
    pane.rule("the answer", f"{response.status_code} · {_kind(response) or 'no type'} · {len(data):,} bytes")
    text = data[:_UNREAD].decode("utf-8", "replace")
    is_readable = text.count("\ufffd") * 10 <= len(text)
    pane.text(text + (" …" if len(data) > _UNREAD else "") if is_readable else "(bytes that are no text)")
    return b""


def _content(message: http.Message) -> bytes:
    return message_content.content(message, message_content.KEPT)


def _so_far(flow: http.HTTPFlow) -> bytes:
    """Return what came of an answer that still streams: the flow has no body before its end."""
    driver = driver_of(flow)
    return b"" if driver is None or driver.closed else bytes(driver.streamed_copy)


def _kind(message: http.Message | None) -> str:
    return media_type(message.headers.get("content-type", "")) if message else ""


def _write_json(pane: Pane, data: bytes) -> None:
    """Write *data*, which is no conversation: JSON with a member a line."""
    if not data:
        return
    pane.rule("body", f"{len(data):,} bytes")
    with suppress(msgspec.DecodeError):  # it stands as it is
        data = msgspec.json.format(data, indent=2) if len(data) <= FOLDED_PAGE else data
    pane.text(data.decode("utf-8", "replace"))


def _decision(flow: http.HTTPFlow) -> list[decision_card.Row]:
    """Return the decision about the exchange of *flow* as it stands by now."""
    driver = driver_of(flow)
    if driver is None or driver.closed or driver.exchange is None:
        return decision_card.rows(flow.metadata)
    if len(_shown_under_way) < _REMEMBERED:
        _shown_under_way.add(flow.id)
    mode = "shadow" if driver.shadow else "serve"
    line = decide(driver.exchange, "", time.time(), status=None, mode=mode).encoded()
    edits = {names.EDITS: wire_edits.of(flow, driver)}
    return decision_card.rows(flow_record.decision_metadata(driver.exchange, line) | edits, under_way=True)


def _is_served(flow: http.HTTPFlow) -> bool:
    if f"{names.PREFIX}account" in flow.metadata:
        return True
    driver = driver_of(flow)
    return driver is not None and driver.exchange is not None


def _is_generation(flow: http.HTTPFlow) -> bool:
    """Whether *flow*, of which nothing is recorded, asks a model, by its path and its body."""
    found = endpoint(flow)
    if found.kind != "generation" or flow.request.method != "POST":
        return False
    body = flow.request.raw_content or b""
    return bool(message_content.coding_of(flow.request)) or any(member in body for member in _ENDS_OF_REQUESTS)


def _is_text(data: bytes) -> bool:
    """Whether *data* may be JSON or a stream of events; of an empty body the decision is all there is to show."""
    return not data or data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_BEGINS)


def _elsewhere(*, everything: bool) -> str:
    return "; the view raw has them" if everything else "; the view conversation-full has them"


def _is_printed() -> bool:
    """Whether mitmdump prints both messages of a flow, one below the other."""
    master = getattr(ctx, "master", None)
    return master is not None and not hasattr(master, "ui") and "web_port" not in ctx.options


def _columns() -> int:
    """Return how many columns the pane has in which the view is about to stand."""
    if screen := getattr(getattr(ctx, "master", None), "ui", None):  # the console
        wide: int = screen.get_cols_rows()[0]
        is_half = getattr(ctx.options, "console_layout", "") == "horizontal"
        return max(_NARROWEST, min(wide // 2 if is_half else wide, _WIDEST))
    if not _is_printed():
        return WEB_COLUMNS
    return max(_NARROWEST, min(shutil.get_terminal_size((WEB_COLUMNS, 24))[0] - _INDENT, _WIDEST))
