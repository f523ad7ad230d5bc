"""Shadow: a cord that lets everything pass as it came, while all is decided and written down as if it were served."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mitmproxy import http
from mitmproxy.connection import Server

from ..settings.settings import Config
from ..upstream_url import ANYWHERE
from ..values.account import Timeouts
from ..values.answer import AnswerEvent, Reaction
from .answer_filter import AnswerFilter, Unchanged
from .exchange_driver import ExchangeDriver
from .redacted_heads import RedactedHeads

logger = logging.getLogger(__name__)


class ShadowDriver(ExchangeDriver):
    """
    Keeps the client's own credentials out of the flow, and puts them back on the wire.

    They go to where the client wanted them to go, and nowhere else.
    """

    shadow = True
    timeouts = Timeouts(0.0, 0.0, 0.0, 0.0)

    def __repr__(self) -> str:
        return "ShadowDriver()"

    @property
    def ready(self) -> bool:
        return not self.closed

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        wanted = self.asked.destination
        if server.address is None or (server.address[0].lower(), server.address[1]) != (wanted.host, wanted.port):
            raise PermissionError("this connection does not go where the client wanted")
        return self.covered.restored(request)

    def client_response(self, response: http.Response) -> http.Response:
        return self.covered.told(response)

    def wire_body(self, content: bytes) -> bytes:
        return content

    def answered(self, what: AnswerEvent) -> Reaction:
        super().answered(what)
        return "deliver"

    def intake(self) -> AnswerFilter:
        return Unchanged(self._around.keys, self.body_limit)

    def passing(self, data: bytes) -> bytes:
        super().passing(data)
        return data


class Passthrough:
    """Attached to a flow that is no request for a model: it passes as the client sent it."""

    def __init__(self, flow: http.HTTPFlow) -> None:
        self._covered = RedactedHeads(flow.request)

    def __repr__(self) -> str:
        return "Passthrough()"

    def wire_request(self, request: http.Request) -> http.Request:
        return self._covered.restored(request)

    def answered(self, response: http.Response) -> None:
        """Put placeholders for cookies and tokens on *response*, which is the flow's own."""
        self._covered.answered(response)

    def client_response(self, response: http.Response) -> http.Response:
        return self._covered.told(response)


def warn_of_nowhere(settings: Config, modes: Sequence[str]) -> None:
    """Log that *settings* and *modes* of mitmproxy together let nothing pass, if that is so."""
    if settings.mode == "shadow" and any(ANYWHERE in mode for mode in modes):
        logger.warning(
            "patchbay: in shadow a request goes where the client sends it, and behind %s nobody answers; "
            "give the provider as the target, as in --mode reverse:https://api.openai.com",
            ANYWHERE,
        )
