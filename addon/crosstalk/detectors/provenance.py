"""The family of content: an answer that was given before, word for word, to somebody who asked for something else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from blake3 import blake3

from ...ledger import Entry
from ...values import Fact, Finding
from ..sent import Sent
from .found import found

FAMILY = "content"
_LENGTH, _WORDS = 200, 20  # characters and distinct words below which texts are alike by chance
_COMMON = Entry("")


def same_text(sent: Sent, fact: Fact, now: float) -> Iterator[Finding]:
    """
    One long text in answer to two requests that end in different words.

    Not where either was asked to be repeatable, nor where the request holds the text already. A text that was found
    twice is taken for a form letter and not looked at again.
    """
    asked, text = sent.asked, fact.value
    if fact.kind != "text" or asked is None or not isinstance(text, str) or len(text) < _LENGTH:
        return
    if not sent.generation or sent.status >= 400 or not asked.sampled or len(set(text.split())) < _WORDS:
        return
    token = blake3(text.encode("utf-8", "surrogatepass")).hexdigest(16)
    last = asked.last_turn
    other = sent.ledger.find("text", token, now)
    if other is None:
        sent.ledger.note("text", token, replace(sent.entry, digest=last), now)
    elif other.exchange and other.exchange != sent.entry.exchange and other.digest != last and not asked.quotes(text):
        sent.ledger.note("text", token, _COMMON, now)
        yield found("same-text", FAMILY, "strong", fact, "a text of its own", other, received=f"{len(text)} characters")
