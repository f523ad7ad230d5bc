"""Shadow: everything passes as it came, while decisions are made and recorded as if they were carried out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, context

from ..settings.settings import Config
from ..upstream_url import ANYWHERE
from ..values.account import Timeouts
from ..values.answer import AnswerEvent, Reaction
from .answer_filter import AnswerFilter, Unchanged
from .exchange_driver import ExchangeDriver
from .redacted_heads import RedactedHeads
from .websocket_layer import PatchbayWebsocket

logger = logging.getLogger(__name__)


class ShadowDriver(ExchangeDriver):
    """Keeps the client's credentials out of the flow; on the wire, its own destination alone gets them."""

    shadow = True
    may_resend = False
    owner = None
    body_limit = sys.maxsize
    timeouts = Timeouts(0.0, 0.0, 0.0, 0.0)

    def __repr__(self) -> str:
        return "ShadowDriver()"

    @property
    def ready(self) -> bool:
        return not self.closed

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        wanted = self.target.destination
        if server.address is None or (server.address[0].lower(), server.address[1]) != (wanted.host, wanted.port):
            raise PermissionError("this connection does not go to the client's destination")
        return self.redacted_heads.with_credentials(request)

    def client_response(self, response: http.Response) -> http.Response:
        return self.redacted_heads.for_client(response)

    def wire_body(self, content: bytes) -> bytes:
        return content

    def answered(self, event: AnswerEvent) -> Reaction:
        super().answered(event)
        return "deliver"

    def answer_filter(self) -> AnswerFilter:
        return Unchanged(self._around.keys, self.body_limit)

    def deliver(self, data: bytes) -> bytes:
        super().deliver(data)
        return data

    def websocket(
        self, above: context.Context, flow: http.HTTPFlow, pause: Callable[[], commands.Command]
    ) -> PatchbayWebsocket | None:
        return None


class Passthrough:
    """Attached to a flow that is no request for a model: it passes as the client sent it."""

    def __init__(self, flow: http.HTTPFlow) -> None:
        self._heads = RedactedHeads(flow.request)

    def __repr__(self) -> str:
        return "Passthrough()"

    def wire_request(self, request: http.Request) -> http.Request:
        return self._heads.with_credentials(request)

    def redact_answer(self, response: http.Response) -> None:
        """Put placeholders for cookies and tokens on *response*, the flow's."""
        self._heads.redact_answer(response)

    def client_response(self, response: http.Response) -> http.Response:
        return self._heads.for_client(response)


def warn_of_nowhere(settings: Config, modes: Sequence[str]) -> None:
    """Warn when *settings* and *modes* of mitmproxy together let nothing pass, at all or to an account."""
    upstream = any(mode.startswith("reverse:") and ANYWHERE not in mode for mode in modes)
    for account in settings.accounts:
        if account.enabled and account.origin is None and not upstream:
            logger.warning("patchbay: account %s: `base_url: reverse` needs `--mode reverse:URL`", account.id)
    if settings.mode == "shadow" and any(ANYWHERE in mode for mode in modes):
        logger.warning(
            "patchbay: in shadow a request goes where the client sends it, and nothing answers behind %s; "
            "give the provider as the target, as in --mode reverse:https://api.openai.com",
            ANYWHERE,
        )
