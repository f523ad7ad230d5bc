"""The events and facts of an answer, where the upstream says no more."""

from __future__ import annotations

from patchbay.values.answer import Fact, Failure, Head, Usage
from patchbay.values.http import Headers


def test_what_is_not_said_of_an_answer_is_not_so():
    fact, usage = Fact("model"), Usage()
    assert Head(200, Headers()).early is Failure("reset", "x").counted is False
    assert (fact.value, fact.where, fact.depth) == (None, "", "none")
    assert (usage.prompt, usage.completion, usage.cached, usage.cache_write) == (0, 0, 0, 0)
