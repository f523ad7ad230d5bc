"""Which rules misdelivered or mixed answers break, at any interval: after a break they need no longer run than any."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.crosstalk.detectors import state
from patchbay.ledger import Entry
from patchbay.values.answer import Fact

from .contexts import AT, HOST, context, found, habits, request
from .test_ids import CALL, ID, B
from .test_provenance import OVER, TEXT

MIXED = ("switch", "another-end", "another-prompt", "two-starts", "alternates")
CASES = {
    "duplicate body": ("duplicate", Fact("id", ID, "body id"), True),
    "same-text": ("same-text", Fact("text", TEXT), True),
    "settings user": ("settings", Fact("settings", {"user": "person-of-theirs"}, "body"), True),
    "stray-head": ("stray-head", Fact("stray", "HTTP/1.1 200", "body"), True),
    **{f"disorder {rule}": ("disorder", Fact("disorder", "a", rule), rule in MIXED) for rule in state.DISORDERS},
    "shape openai_responses": ("shape", Fact("shape", "anthropic", "body"), False),
    "framing": ("framing", Fact("framing", "events", "body"), False),
    "tool-call": ("tool-call", Fact("token", CALL, "tool"), False),
    "results": ("results", OVER, False),
    "created clock": ("created", Fact("created", AT - 60, "body"), False),
    "tool-name": ("tool-name", Fact("tool", "never_offered"), False),
    "strange-id openai_responses /responses": ("strange-id", Fact("id", ID, "body id"), False),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_needs_twice_the_run_before_unless_misdelivered_answers_break_it(rule: str) -> None:
    detector, fact, misdelivery = CASES[rule]
    calls = [{"type": "function_call_output", "call_id": each, "output": "x"} for each in ("call-1", "call-2")]
    ctx = context(request("openai_responses", input=calls, user="person-of-mine"))
    assert ctx.memory is not None
    tokens = [("answer", ID), ("call", CALL), ("call", "call-1")] if detector != "strange-id" else []
    for kind, token in tokens:
        ctx.ledger.note(kind, token, replace(B, seen=AT), AT)
    ctx.ledger.note("call", "call-2", Entry("c", affinity="s-c"), AT)
    if detector == "same-text":
        found(ctx, detector, fact)
        ctx.entry, ctx.request = replace(ctx.entry, exchange="z"), request("openai_responses", input="another turn")
    for _ in range(30):
        ctx.memory.habits.kept(HOST, rule, 1.0)

    found(ctx, detector, fact)

    assert (habits(ctx, rule).broken, habits(ctx, rule).needs) == (1, 40 if misdelivery else 60)
