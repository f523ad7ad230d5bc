"""Requests as the proxy would hand them over, made from what a client puts on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blake3 import blake3

from patchbay import dialects
from patchbay.answer.reader import facts_of_json
from patchbay.body import Body
from patchbay.client_claim import claim
from patchbay.identity.identify import Identifier
from patchbay.ledger import Ledger
from patchbay.settings.settings import Sessions
from patchbay.values.answer import Fact
from patchbay.values.decision import Identity
from patchbay.values.http import Client, Headers, Origin, Request

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/gemini-2.5-pro:generateContent"


def request(
    path: str,
    body: object = None,
    headers: Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]] = (),
    *,
    method: str = "POST",
) -> Request:
    """Make a request; a *body* of bytes or text is sent as it is, None sends none."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = Headers((name, each) for name, value in pairs for each in ([value] if isinstance(value, str) else value))
    named = claim(fields)
    return Request(
        method=method,
        path=path,
        headers=fields,
        body=Body(_bytes(body)),
        endpoint=dialects.endpoint(method, path.partition("?")[0]),
        destination=Origin("https", "api.example.com", 443),
        client=Client(scope=blake3(named.encode()).digest() if named else b""),
    )


def _bytes(body: object) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """Make a chat body in which user and assistant take turns."""
    return {
        "messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    } | more


class Teller:
    """An identifier with a clock that moves one second with every request, and the accounts that answered."""

    def __init__(self, **settings: Any) -> None:
        self.ledger = Ledger()
        self.identifier = Identifier(b"k" * 32, Sessions(**settings), self.ledger)
        self.now = 0.0

    def ask(self, path: str, body: object = None, headers: Any = (), **more: Any) -> Identity:
        """Identify a request that is not answered."""
        self.now += 1
        return self.identifier.identify(request(path, body, headers, **more), self.now)

    def serve(
        self, path: str, body: object = None, headers: Any = (), answer: object = None, account: str = "a", **more: Any
    ) -> Identity:
        """Identify a request and learn from its *answer*, given as JSON or as facts."""
        self.now += 1
        asked = request(path, body, headers, **more)
        identity = self.identifier.identify(asked, self.now)
        self.identifier.learn(asked, identity, account, facts(asked, answer), self.now)
        return identity


def facts(asked: Request, answer: object) -> list[Fact]:
    if answer is None:
        return []
    if isinstance(answer, list):
        return answer
    return facts_of_json(asked.endpoint.dialect, json.dumps(answer).encode())


def answered(text: str, **more: Any) -> dict[str, Any]:
    """Make a chat answer that says *text*."""
    message = {"role": "assistant", "content": text} | more
    return {"id": "chatcmpl-Zk3v9QxWm2TnB7cL", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
