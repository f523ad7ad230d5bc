"""
For every detector an exchange that it alone finds something in: without the detector nothing is found there.

So whoever takes one out of the table, or breaks it, hears of it here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from patchbay.crosstalk.detectors import DETECTORS
from patchbay.crosstalk.host_habits import RUN_AFTER_BREAK
from patchbay.values.answer import Fact, Usage
from patchbay.values.decision import Finding

from .detectors.test_lengths import tokens_of
from .world import Line, World

PAGE = (Path(__file__).parent.parent.parent / "docs" / "crosstalk.md").read_text(encoding="utf-8")

ID = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"
CALL = "call_a81Kx02bQz77TyLm3"
TEXT = " ".join(f"word{number}" for number in range(60))


@dataclass(frozen=True)
class Case:
    """
    *facts* are what an answer says that follows on *usual* ones, of another exchange with *beside* as what it asked.

    *whole*: the answer ends as it should, and what is missing in it is missed.
    """

    facts: Callable[[World, Line, Line], list[Fact]]
    depth: str = "none"
    dialect: str = "openai_chat"
    usual: Callable[[World, Line], list[Fact]] = lambda world, line: [Fact("framing", "whole", "body")]
    asks: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)
    strength: str = "strong"
    stream: bool = False
    late: Callable[[World, Line, Line], Line] | None = None  # what is told of an earlier answer: returns its line


def _settings(world: World, line: Line, other: Line) -> list[Fact]:
    return [Fact("settings", {"prompt_cache_key": "the-other-s"}, "body response")]


def _results(dialect_call: str) -> list[dict[str, Any]]:
    return [{"role": "tool", "tool_call_id": f"{CALL}{name}", "content": "x"} for name in ("one", dialect_call)]


def _long(number: int, words: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": " ".join(f"w{number}x{at}" for at in range(words))}]}


def _count(line: Line, cached: int = 0, completion: int = 0) -> list[Fact]:
    return [Fact("usage", Usage(tokens_of(line), completion, cached))]


def _cached(world: World, line: Line, other: Line) -> list[Fact]:
    return _count(line, tokens_of(line))


def _turn(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _asks(previous: str | None, *texts: str) -> dict[str, Any]:
    signed = {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "seal"}]}
    first, *rest = texts
    turns = [_turn(first), *[each for text in rest for each in (signed, _turn(text))]]
    return {"messages": turns, "diagnostics": {"previous_message_id": previous}}


def _kept(rule: str, *facts: Fact, cached: int = -1) -> Callable[[World, Line], list[Fact]]:
    def usual(world: World, line: Line) -> list[Fact]:
        world.memory.habits.kept("http://host", rule, world.now)
        return _count(line, cached) if cached >= 0 else list(facts)

    return usual


def _swapped_words(world: World, line: Line, other: Line) -> list[Fact]:
    mine, theirs = (" ".join(f"w{number}x{at}" for at in range(100, 160)) for number in (1, 2))
    answered(world, other, [Fact("text", mine)])
    return [Fact("text", theirs)]


def _told_later(fact: Fact) -> Callable[[World, Line, Line], Line]:
    def told(world: World, line: Line, beside: Line) -> Line:
        earlier = world.send(**_asks(None, "hello"))
        answered(world, earlier, [Fact("id", "msg_00000000000a1", "body id"), Fact("token", "seal", "signature")])
        answered(world, world.send(**_asks("msg_00000000000a1", "hello", "go on")), [fact])
        return earlier

    return told


# what each finds, with all others looking on
CASES: dict[str, Case] = {
    "contract": Case(lambda w, a, b: [Fact("echo", "somebody-else-s", "body request_id", "body")], "body",
                     strength="proof"),
    "tag": Case(lambda w, a, b: [Fact("token", b.request_id, "item")], strength="proof"),
    "duplicate": Case(lambda w, a, b: [Fact("id", ID, "body id")], strength="proof",
                      usual=lambda w, a: [Fact("id", f"{ID[:-3]}{a.number:03}", "body id")]),
    "tool-call": Case(lambda w, a, b: [Fact("token", CALL, "tool")],
                      usual=lambda w, a: [Fact("token", f"{CALL}{a.number}", "tool")]),
    "strange-id": Case(lambda w, a, b: [Fact("id", ID, "body id")], "engine",
                       usual=lambda w, a: [Fact("id", f"chatcmpl-{a.request_id}", "body id")]),
    "stripped": Case(lambda w, a, b: [], "body", strength="weak",
                     usual=lambda w, a: [Fact("echo", a.request_id, "body request_id", "body")]),
    "settings": Case(_settings, dialect="openai_responses", asks={"prompt_cache_key": "mine"},
                     beside={"prompt_cache_key": "the-other-s"}, strength="proof",
                     usual=lambda w, a: [Fact("settings", {"prompt_cache_key": "mine"}, "body response")]),
    "shape": Case(lambda w, a, b: [Fact("shape", "anthropic", "body")], strength="proof"),
    "framing": Case(lambda w, a, b: [Fact("framing", "events", "body")],
                    usual=lambda w, a: [Fact("framing", "whole", "body")]),
    "stray-head": Case(lambda w, a, b: [Fact("stray", "HTTP/1.1 200", "body")], strength="proof"),
    "disorder": Case(lambda w, a, b: [Fact("disorder", "a → b", "two-starts")], strength="proof",
                     stream=True),
    "created": Case(lambda w, a, b: [Fact("created", int(w.now) - 60, "body created")],
                    usual=lambda w, a: [Fact("created", int(w.now), "body created")]),
    "id-order": Case(lambda w, a, b: [Fact("id", "msg_01abcdef0000000x", "body id")],
                     usual=lambda w, a: [Fact("id", f"msg_01abcdef{a.number:08}", "body id")]),
    "took": Case(lambda w, a, b: [Fact("took", 90.0, "header openai-processing-ms")],
                 usual=lambda w, a: [Fact("took", 0.0, "header openai-processing-ms")]),
    "age": Case(lambda w, a, b: [Fact("age", 90, "header age")], usual=lambda w, a: [Fact("age", 0, "header age")]),
    "early": Case(lambda w, a, b: [Fact("early", "the head", "head")], strength="weak"),
    "model": Case(lambda w, a, b: [Fact("model", "sim-small", "body model")], beside={"model": "sim-small"},
                  usual=lambda w, a: [Fact("model", "sim-large", "body model")]),
    "tool-name": Case(lambda w, a, b: [Fact("tool", "book_flight")], asks={"tools": ("shell",)},
                      beside={"tools": ("book_flight",)}, usual=lambda w, a: [Fact("tool", "shell")]),
    "same-text": Case(lambda w, a, b: [Fact("text", TEXT)]),
    "prompt-length": Case(lambda w, a, b: _count(b), asks=_long(1, 300), beside=_long(2, 3000),
                          usual=lambda w, a: _count(a)),
    "cached-tokens": Case(_cached, asks=_long(1, 600), usual=_kept("cached-tokens", cached=10)),
    "answer-length": Case(
        lambda w, a, b: [Fact("usage", Usage(0, 20)), Fact("text", "word " * 1000)],
        usual=_kept("answer-length", Fact("usage", Usage(0, 20)), Fact("text", "word " * 20)),
    ),
    "words": Case(_swapped_words, asks=_long(1, 200), beside=_long(2, 200), usual=_kept("words")),
    "next-turn": Case(lambda w, a, b: [], dialect="anthropic", usual=_kept("next-turn"),
                      late=_told_later(Fact("compared", "messages", "body diagnostics"))),
    "binding": Case(lambda w, a, b: [], dialect="anthropic", usual=_kept("binding"),
                    late=_told_later(Fact("bound", ((1, 0),), "body input_transformations"))),
    "results": Case(lambda w, a, b: [], asks={"messages": _results("two")}),
}  # fmt: skip


def answered(world: World, line: Line, facts: list[Fact]) -> tuple[Finding, ...]:
    for fact in facts:
        line.watch.see(fact, 200, world.now)
    line.watch.end(world.now)
    return line.verdict().findings


def findings(case: Case, silent: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    """Let a host be known, then another exchange be answered, and then the one that is looked at, beside a third."""
    return [(each.detector, each.strength) for each in struck(case, silent)[1]]


def struck(case: Case, silent: frozenset[str] = frozenset()) -> tuple[World, tuple[Finding, ...]]:
    world = World(case.depth, case.dialect, case.stream, 1)
    for _ in range(64):
        line = world.send(**case.asks if "messages" not in case.asks else {})
        answered(world, line, case.usual(world, line))
    given = world.send()
    answered(world, given, _given(case))
    second = world.send()
    answered(world, second, [Fact("token", f"{CALL}two", "tool")])
    world.silent = silent
    beside, line = world.send(**case.beside), world.send(**case.asks)
    if case.late is not None:
        return world, case.late(world, line, beside).verdict().findings
    return world, answered(world, line, case.facts(world, line, beside))


def _given(case: Case) -> list[Fact]:
    """What another exchange was answered with, once in a way that nobody minds."""
    facts = [Fact("token", f"{CALL}one", "tool"), Fact("token", CALL, "tool"), Fact("text", TEXT)]
    return facts if case.depth == "engine" else [*facts, Fact("id", ID, "body id")]


def test_there_is_a_case_for_every_detector() -> None:
    assert CASES.keys() == DETECTORS.keys()


@pytest.mark.parametrize("name", DETECTORS)
def test_each_detector_finds_what_no_other_does(name: str) -> None:
    case = CASES[name]

    assert findings(case) == [(name, case.strength)]
    assert findings(case, frozenset({name})) == []


MISDELIVERED = {
    "disorder", "duplicate", "same-text", "settings", "stray-head", "prompt-length", "cached-tokens", "words",
    "next-turn", "binding",
}  # fmt: skip


def test_the_page_names_the_rules_that_misdelivery_breaks() -> None:
    (named,) = re.findall(r"Rules other than (.*) and two answers in one stream also need", PAGE)

    assert {*re.findall(r"`([a-z-]+)`", named), "disorder"} == MISDELIVERED


@pytest.mark.parametrize("name", sorted(DETECTORS.keys() - {"contract", "tag", "results", "stripped", "words"}))
def test_a_rule_that_misdelivery_breaks_counts_again_after_the_usual_run(name: str) -> None:
    """Another rule must be kept twice as often as before its break: a habit that returns is suspected once."""
    case = CASES[name] if name != "settings" else replace(CASES[name], beside={})
    misdelivered = name in MISDELIVERED
    shown = struck(case)[0].memory.habits.shown()["http://host"]
    broken = [each for rule, each in shown.items() if rule.split()[0] == name and each.broken and each.before > 50]

    assert [each.needs == RUN_AFTER_BREAK for each in broken] == [misdelivered]


@pytest.mark.parametrize("name", DETECTORS)
def test_an_answer_that_says_nothing_strange_is_found_by_nobody(name: str) -> None:
    case = CASES[name]
    world = World(case.depth, case.dialect, case.stream, 1)
    for _ in range(6):
        line = world.send(**{key: value for key, value in case.asks.items() if key != "messages"})
        assert answered(world, line, case.usual(world, line)) == ()
