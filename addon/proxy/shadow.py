"""Shadow: everything passes as it came, while decisions are made and recorded as if they were carried out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, context
from mitmproxy.proxy.layers import websocket

from ..credential_places import PROTOCOL_KEYS, KeyHeaders
from ..settings.settings import Config
from ..upstream_url import ANYWHERE
from ..values.account import Timeouts
from ..values.answer import AnswerEvent, Reaction
from .answer_filter import AnswerFilter, Unchanged
from .credentials import Credentials
from .exchange_driver import DriverContext, ExchangeDriver
from .passing_bodies import PassingBodies
from .redacted_heads import RedactedHeads
from .websocket_layer import ObservedWebsocket

logger = logging.getLogger(__name__)


class ShadowDriver(ExchangeDriver):
    """Keeps the client's credentials out of the flow; on the wire, its own destination alone gets them."""

    shadow = True
    may_resend = False
    owner = None
    body_limit = sys.maxsize
    timeouts = Timeouts(0.0, 0.0, 0.0, 0.0)

    def __init__(
        self, flow: http.HTTPFlow, around: DriverContext, dialect: str, places: KeyHeaders = PROTOCOL_KEYS
    ) -> None:
        super().__init__(flow, around, dialect, places)
        self.redacted_heads.hide_login(flow.request)
        self.bodies = PassingBodies(around.keys.passing)

    def __repr__(self) -> str:
        return "ShadowDriver()"

    @property
    def is_conversation(self) -> bool:
        """Whether the bodies are those of a model's request and answer."""
        return self.target.endpoint.dialect != "" and self.target.endpoint.model_source == "model"

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
        return self.bodies.request_bytes(content)

    def client_body(self, content: bytes) -> bytes:
        return self.bodies.answer_bytes(content)

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
    ) -> websocket.WebsocketLayer:
        return ObservedWebsocket(above, flow, self.bodies.message_bytes)


class Passthrough:
    """Attached to a flow that is no request for a model: it passes as the client sent it."""

    is_conversation = False

    def __init__(self, flow: http.HTTPFlow, keys: Credentials) -> None:
        self.redacted_heads = RedactedHeads(flow.request, keys.key_headers, keys.cover_of_heads())
        self.redacted_heads.hide_login(flow.request)
        self.bodies = PassingBodies(keys.passing)

    def __repr__(self) -> str:
        return "Passthrough()"

    def wire_request(self, request: http.Request) -> http.Request:
        return self.redacted_heads.with_credentials(request)

    def redact_answer(self, response: http.Response) -> None:
        """Put placeholders for cookies and tokens on *response*, the flow's."""
        self.redacted_heads.redact_answer(response)

    def client_response(self, response: http.Response) -> http.Response:
        return self.redacted_heads.for_client(response)

    def wire_body(self, content: bytes) -> bytes:
        return self.bodies.request_bytes(content)

    def client_body(self, content: bytes) -> bytes:
        return self.bodies.answer_bytes(content)

    def websocket(
        self, above: context.Context, flow: http.HTTPFlow, pause: Callable[[], commands.Command]
    ) -> websocket.WebsocketLayer:
        return ObservedWebsocket(above, flow, self.bodies.message_bytes)


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
