"""Right answers stay right when our own clock is set."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest

from patchbay.values.answer import Chunk, End, Head
from patchbay.values.http import Headers

from ..test_router import answer, opened, request, routed, router

BEGIN = 1_790_000_000.0


def served(of: object, number: int, host: float, ours: float, ends: float | None = None) -> str:
    """Let a host whose clock says *host* answer rightly while ours says *ours* (and *ends*, at the answer's end)."""
    exchange = opened(of, request({"model": "m", "messages": [{"role": "user", "content": f"{number}"}]}), ours)  # type: ignore[arg-type]
    route = routed(of, exchange, ours)  # type: ignore[arg-type]
    if ends is not None:
        of.memory.clock_was_set()  # type: ignore[attr-defined]
    later = ours + 0.5 if ends is None else ends
    said = {"id": f"chatcmpl-{number:024}", "object": "chat.completion", "created": int(host), "model": "m",
            "choices": [{"index": 0, "message": {"content": f"hi {number}"}, "finish_reason": "stop"}]}  # fmt: skip
    head = Headers(
        [("content-type", "application/json"), ("date", formatdate(host, usegmt=True)),
         ("x-request-id", route.request_id), ("openai-processing-ms", "400")]
    )  # fmt: skip
    answer(of, exchange, Head(200, head), Chunk(json.dumps(said).encode()), End(), now=later)  # type: ignore[arg-type]
    return of.close(exchange, "", later, status=200).verdict.kind  # type: ignore[attr-defined]


@pytest.mark.parametrize("by", [3600.0, -3600.0, 30.0, 86_400.0])
def test_a_clock_that_was_set_makes_no_right_answer_suspect(by: float) -> None:
    """R26: neither those behind the jump nor the one under way."""
    of = router()
    for number in range(40):
        assert served(of, number, BEGIN + number, BEGIN + number) != "suspect"
    assert served(of, 40, BEGIN + 40, BEGIN + 40, ends=BEGIN + 41 + by) != "suspect"
    for number in range(41, 80):
        assert served(of, number, BEGIN + number, BEGIN + number + by) != "suspect", number


def test_an_old_answer_is_still_suspect_by_our_clock() -> None:
    """R26: the rule itself stands where no clock was set."""
    of = router()
    for number in range(40):
        served(of, number, BEGIN + number, BEGIN + number)
    assert served(of, 40, BEGIN + 40 - 3600, BEGIN + 40) == "suspect"
