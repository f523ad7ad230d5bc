"""Contexts for a detector by itself: the attempt, the standing of the host's rules and the exchanges beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from patchbay import dialects
from patchbay.body import Body
from patchbay.correlation import Mint, Stamps
from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.detectors import DETECTORS
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import LiveAttempt, RecentExchanges
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.ledger import Entry, Ledger
from patchbay.values.account import Echo
from patchbay.values.answer import Fact
from patchbay.values.decision import Finding

from ...simulator import render
from ..records import record

HOST = "http://host"
MINT = Mint(b"k" * 32)
AT = 100.0  # the sending of the attempt
MINE = MINT.new(AT, lambda size: b"a" * size)
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "files": "/v1/files",
}


def request(path: str = "openai_chat", model: str = "", stream: bool = False, **members: Any) -> RequestSummary:
    return RequestSummary(dialects.endpoint("POST", PATHS[path]), Body(render._json(members)), model, stream)


def context(
    asked: RequestSummary | None = None,
    *,
    status: int = 200,
    memory: bool = True,
    habits: Mapping[str, Standing] | None = None,
    expected: Mapping[str, str] | None = None,
    **more: Any,
) -> DetectorContext:
    """Return the context of exchange `a`; *habits* is the standing of each rule, *more* goes into its record."""
    echo = Echo(promised=more.pop("promised", True))
    stamps = Stamps(expected=expected or {})
    sent = record(echo, stamps, request_id=MINE, exchange="a", digest=b"d", host=HOST, **more)
    entry = replace(sent.entry(AT, b"w"), affinity="s-a")
    beside = RecentExchanges() if memory else None
    return DetectorContext(sent, entry, MINT, Ledger(), dict(habits or {}), memory=beside, request=asked, status=status)


def beside(ctx: DetectorContext, exchange: str, asked: RequestSummary | None = None, host: str = HOST) -> Entry:
    """Let another exchange wait for its answer; return its entry."""
    assert ctx.memory is not None
    entry = Entry(exchange, f"id-{exchange}", affinity=f"s-{exchange}", digest=exchange.encode(), at=AT)
    ctx.memory.begin(LiveAttempt(entry, asked or request(), host))
    return entry


def found(ctx: DetectorContext, detector: str, fact: Fact, now: float = AT + 1) -> list[Finding]:
    assert fact.kind in DETECTORS[detector].kinds
    return list(DETECTORS[detector].find(ctx, fact, now))


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    """Return the strength and the victim of each of *findings*."""
    return [(each.strength, each.victim) for each in findings]


def kept(answers: int, **more: Any) -> Standing:
    """Return the standing of a rule that the last *answers* kept."""
    return Standing(**({"kept": answers, "run": answers} | more))


def habits(ctx: DetectorContext, rule: str) -> Standing:
    """Return the standing of *rule* at the host now, after what the detector noted."""
    assert ctx.memory is not None
    return ctx.memory.habits.standing(HOST, rule)


def broken(ctx: DetectorContext, rule: str) -> tuple[float, float]:
    """Return the breaks of *rule* at the host: their number, and their weight in a row."""
    standing = habits(ctx, rule)
    return standing.broken, standing.row
