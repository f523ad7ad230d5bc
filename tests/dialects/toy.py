"""
A dialect of a test's own: `POST /toy/talk` with `turns`, answered by `{"toy": "a1", "says": "…", "over": true}`.

A test copies this file into `dialects/` of a copy of the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..values.answer import Fact
from ..values.decision import Refusal
from ..values.http import Endpoint
from .dialect import Dialect
from .order import StreamOrder, disorder


def _endpoint(method: str, path: str) -> Endpoint | None:
    found = method == "POST" and path.endswith("/toy/talk")
    return Endpoint("toy", "toys", "generation", "/toy/talk") if found else None


def _read(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    yield Fact("id", data["toy"], "body toy")
    if data.get("says"):
        yield Fact("content", "text")
        yield Fact("text", data["says"])
    if data.get("over"):
        yield Fact("finish", "over", "0")
        yield Fact("end", "over")


def _error(refusal: Refusal, request_id: str) -> bytes:
    return msgspec.json.encode({"toy": None, "broken": refusal.code})


class _Order(StreamOrder):
    __slots__ = ()

    def step(self, data: dict[str, Any]) -> Iterator[Fact]:
        if self._ended:
            yield disorder("after-end", "over")
        self._ended = self._ended or bool(data.get("over"))


DIALECT = Dialect(
    name="toy",
    family="toys",
    vendor="Toys",
    endpoint=_endpoint,
    path_words=frozenset({"toy", "talk"}),
    credential_form="x-api-key",
    history="turns",
    read=_read,
    order=_Order,
    terminal=frozenset({"over"}),
    is_text=lambda suffix: True,
    holds_answer=lambda suffix, data: bool(data.get("says")),
    has_shape=lambda data: "toy" in data,
    answer_shape=lambda suffix: "toy",
    error=_error,
    error_event=lambda refusal, request_id: b"data: " + _error(refusal, request_id) + b"\n\n",
)
