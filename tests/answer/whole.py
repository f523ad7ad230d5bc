"""The facts of an answer that is one JSON text."""

from __future__ import annotations

from patchbay.answer.reader import AnswerReader
from patchbay.values.account import Echo
from patchbay.values.answer import Fact


def facts_of_json(dialect: str, body: bytes, echo: Echo | None = None) -> list[Fact]:
    """Return the facts of a whole JSON *body* of a successful answer."""
    reader = AnswerReader(dialect, echo)
    facts = reader.feed(body)
    return facts + reader.end()
