"""Conversations that are equal for several turns: nothing tells them apart, and still no two share a session."""

from __future__ import annotations

from typing import Any

import pytest

from .test_router import account, answer, good, opened, request, routed, router

CONVERSATIONS, TURNS = 12, 5


@pytest.mark.parametrize("equal", [0, 1, 2, 3])
@pytest.mark.parametrize("side_by_side", [True, False])
def test_equal_histories_become_conversations_of_their_own(equal: int, side_by_side: bool) -> None:
    """I1: from the first turn that differs on, each has a session upstream of its own, and stays where that was."""
    of = router(*(account(f"account-{number}") for number in range(8)))
    histories: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": "Hello, help me"}] for _ in range(CONVERSATIONS)
    ]
    sessions: list[list[str]] = [[] for _ in range(CONVERSATIONS)]
    order = [(number, turn) for turn in range(TURNS) for number in range(CONVERSATIONS)]
    for now, (number, turn) in enumerate(order if side_by_side else sorted(order), start=1):
        exchange = opened(of, request({"model": "m", "messages": histories[number]}), now)
        sessions[number].append(routed(of, exchange, now).session_id)
        alike = turn < equal
        said = (
            "Of course, what is it about?" if alike else f"What only number {number} was told in turn {turn}, in full"
        )
        answer(of, exchange, *good(said), now=now)
        of.close(exchange, "", now, status=200)
        asked = "Go on, please" if alike else f"question {turn} of number {number}"
        histories[number] += [{"role": "assistant", "content": said}, {"role": "user", "content": asked}]

    told_apart = [set(each[equal + 1 :]) for each in sessions]
    assert all(len(each) == 1 for each in told_apart)
    assert len(set.union(*told_apart)) == CONVERSATIONS
