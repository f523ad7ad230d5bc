"""The lane of a stream: a chunk of an answer goes to its client in one call, past events, commands and generators."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mitmproxy.proxy.layers.http._base import HttpEvent

from ..replacement import CROSSTALK
from ..values.answer import Chunk
from ..values.decision import Refusal
from .answer_filter import AnswerFilter
from .exchange_driver import ExchangeDriver
from .upstream_attempt import UpstreamAttempt
from .upstream_connections import Commands


@dataclass
class OffLane(HttpEvent):
    """What follows a chunk that was carried: *following* returns the commands of the stream."""

    following: Callable[[], Commands]


class LaneStream(UpstreamAttempt):
    """An attempt whose answer may be carried; the stream says what a cut is."""

    answering = False  # an answer of ours is on its way
    answer_filter: AnswerFilter | None = None  # of the present attempt's answer

    def in_lane(self, stream_id: int) -> bool:
        """Whether a chunk for *stream_id* may be carried: the answer streams as it came, and nothing waits in it."""
        return (
            self._paused is None
            and self.upstream_open
            and self.server_state == self.state_stream_response_body
            and self.answer_filter is not None
            and not (self.answer_filter.is_encoded or self.answering)
            and stream_id == self.wire_id
            and self.driver is not None
            and self.flow.response is not None
            and self.flow.response.stream is True
            and not (self.debug or self.context.options.store_streamed_bodies)
        )

    def carry(self, data: bytes) -> bytes | OffLane:
        """
        Return what the client gets of *data*, a chunk that is `in_lane`, or what follows instead.

        It is what the stream does with a chunk, in one call: no event, command or generator is made for it.
        """
        driver, filtering = self.driver, self.answer_filter
        assert driver is not None and filtering is not None
        self.heard_at = time.monotonic()
        try:
            data = filtering.plain(data)
            if not data:
                return b""
            if driver.answered(Chunk(data)) == "cut":
                return OffLane(self.stream_id, partial(self._cut, driver, CROSSTALK))
            data = driver.deliver(data)
            return driver.client_body(data) if data else b""
        except Exception as e:
            return OffLane(self.stream_id, partial(_raise, e))  # there it ends the exchange, as any failure inside

    def _cut(self, driver: ExchangeDriver, refusal: Refusal) -> Commands:
        raise NotImplementedError


def _raise(error: Exception) -> Commands:
    yield from ()
    raise error
