"""Shadow: a cord that lets everything pass as it came, while all is decided and written down as if it were served."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mitmproxy import http
from mitmproxy.connection import Server

from .. import clients
from ..config import Config
from ..paths import ANYWHERE
from ..providers import Timeouts
from ..values import Answer, Headers, Reaction
from .cord import Cord, Surroundings, placeholder
from .intake import Intake, Unchanged

logger = logging.getLogger(__name__)

_NO_HEADERS = Headers()


class ShadowCord(Cord):
    """
    Keeps the client's own credentials out of the flow, and puts them back on the wire.

    They go to where the client wanted them to go, and nowhere else.
    """

    shadow = True
    timeouts = Timeouts(0.0, 0.0, 0.0, 0.0)

    def __init__(self, flow: http.HTTPFlow, around: Surroundings, dialect: str) -> None:
        super().__init__(flow, around, dialect)
        request = flow.request
        self._came = request.headers.fields, request.path
        placeholder(request)
        self._stands = request.headers.fields, request.path

    def __repr__(self) -> str:
        return "ShadowCord()"

    @property
    def ready(self) -> bool:
        return not self.closed

    def wire_request(self, request: http.Request, server: Server) -> http.Request:
        wanted = self.asked.destination
        if server.address is None or (server.address[0].lower(), server.address[1]) != (wanted.host, wanted.port):
            raise PermissionError("this connection does not go where the client wanted")
        copy = request.copy()
        copy.headers = self._with_credentials(copy.headers)
        (_, came), (_, stands) = self._came, self._stands
        if copy.path == stands:
            copy.path = came
        elif key := next(clients.presented(_NO_HEADERS, came), ""):
            copy.path = clients.with_key(copy.path, key)
        return copy

    def wire_body(self, content: bytes) -> bytes:
        return content

    def answered(self, what: Answer) -> Reaction:
        super().answered(what)
        return "deliver"

    def intake(self) -> Intake:
        return Unchanged(self._around.keys, self.body_limit)

    def passing(self, data: bytes) -> bytes:
        super().passing(data)
        return data

    def _with_credentials(self, headers: http.Headers) -> http.Headers:
        came, stands = http.Headers(self._came[0]), http.Headers(self._stands[0])
        if headers.fields == stands.fields:
            return came
        for name in {name.lower() for name in came if came.get_all(name) != stands.get_all(name)}:  # edited meanwhile
            if headers.get_all(name) == stands.get_all(name):
                headers.set_all(name, came.get_all(name))
        return headers


def warn_of_nowhere(settings: Config, modes: Sequence[str]) -> None:
    """Log that *settings* and *modes* of mitmproxy together let nothing pass, if that is so."""
    if settings.mode == "shadow" and any(ANYWHERE in mode for mode in modes):
        logger.warning(
            "patchbay: in shadow a request goes where the client sends it, and behind %s nobody answers; "
            "give the provider as the target, as in --mode reverse:https://api.openai.com",
            ANYWHERE,
        )
