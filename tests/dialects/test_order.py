"""What may follow what in a stream, and what is told when it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.dialects.order import StreamOrder, index_of

from ..each_row import each_row


def disorder(dialect: str, *events: dict[str, Any]) -> list[str]:
    following = dialects.of(dialect).order()
    found = [fact.where for event in events for fact in following.feed(event)]
    return found + [fact.where for fact in following.end()]


def chunk(name: str, text: str = "x", finish: str | None = None, role: str = "") -> dict[str, Any]:
    delta = {"content": text} | ({"role": role} if role else {})
    return {"id": name, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def created(name: str, number: int = 0) -> dict[str, Any]:
    return {"type": "response.created", "sequence_number": number, "response": {"id": name}}


def block(kind: str, index: int) -> dict[str, Any]:
    return {"type": f"content_block_{kind}", "index": index}


def start(index: int, kind: str) -> dict[str, Any]:
    return {**block("start", index), "content_block": {"type": kind}}


def delta(index: int, kind: str) -> dict[str, Any]:
    return {**block("delta", index), "delta": {"type": f"{kind}_delta"}}


def begun(prompt: int) -> dict[str, Any]:
    usage = {"input_tokens": prompt // 2, "cache_read_input_tokens": prompt - prompt // 2}
    return {"type": "message_start", "message": {"id": "a", "usage": usage}}


def closing(reason: str, prompt: int = 0) -> dict[str, Any]:
    usage = {"input_tokens": prompt} if prompt else {}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


@each_row(
    ("dialect", "events", "told"),
    [
        ("openai_chat", [chunk("a"), chunk("a"), chunk("a", "", "stop")], []),
        ("openai_chat", [chunk("", ""), chunk("a"), chunk("a")], []),
        ("openai_chat", [chunk("1"), chunk("2"), chunk("3"), chunk("4")], []),
        ("openai_chat", [chunk("own"), chunk("b"), chunk("b")], []),
        ("openai_chat", [chunk("own"), chunk("b"), chunk("b"), chunk("own")], []),
        ("openai_chat", [chunk("a"), chunk("a"), chunk("b"), chunk("b")], ["switch"]),
        ("openai_chat", [chunk("a"), chunk("b"), chunk("a"), chunk("b")], ["alternates"]),
        ("openai_chat", [chunk("a", finish="stop"), chunk("a", "more")], ["after-finish"]),
        ("openai_chat", [chunk("a"), chunk("a"), chunk("a", "", role="assistant")], ["role-again"]),
        ("openai_chat", [chunk("a", role="assistant"), chunk("a", "", role="assistant")], []),
        ("openai_responses", [created("a"), {"type": "response.in_progress", "sequence_number": 1}], []),
        ("openai_responses", [created("a"), created("b", 1)], ["two-starts"]),
        ("openai_responses", [created("a", 5), created("a", 5)], ["sequence-back"]),
        ("openai_responses", [created("a", 0), created("a", 2)], ["sequence-gap"]),
        ("openai_responses", [created("a"), {"type": "response.completed", "response": {"id": "b"}}], ["another-end"]),
        (
            "openai_responses",
            [
                {"type": "response.output_item.added", "item": {"id": "i"}},
                {"type": "response.output_text.delta", "item_id": "j"},
            ],
            ["unopened"],
        ),
        ("anthropic", [block("start", 0), block("delta", 0), block("stop", 0), block("start", 1)], []),
        ("anthropic", [block("delta", 0)], ["unopened"]),
        ("anthropic", [block("start", 0), block("start", 0)], ["opened-twice"]),
        ("anthropic", [{"type": "message_stop"}, {"type": "ping"}], []),
        ("anthropic", [{"type": "message_stop"}, {"type": "message_delta"}], ["after-end"]),
        (
            "anthropic",
            [{"type": "message_start", "message": {"id": "a"}}, {"type": "message_start", "message": {"id": "b"}}],
            ["two-starts"],
        ),
        ("anthropic", [start(0, "text"), delta(0, "text"), block("stop", 0)], []),
        ("anthropic", [start(0, "text"), delta(0, "input_json")], ["wrong-delta"]),
        ("anthropic", [start(0, "server_tool_use"), delta(0, "input_json"), delta(0, "thinking")], ["wrong-delta"]),
        ("anthropic", [start(0, "some_future"), delta(0, "text"), start(1, "text"), delta(1, "some_future")], []),
        ("anthropic", [start(0, "tool_use"), closing("tool_use")], []),
        ("anthropic", [start(0, "text"), closing("tool_use")], ["no-call"]),
        ("anthropic", [begun(70), closing("end_turn", 70)], []),
        ("anthropic", [begun(70), closing("end_turn")], []),
        ("anthropic", [begun(0), closing("end_turn", 70)], []),
        ("anthropic", [begun(70), closing("end_turn", 90)], ["another-prompt"]),
        ("anthropic", [begun(70), start(0, "server_tool_use"), closing("end_turn", 90)], []),
        ("openai_chat", [chunk("a", finish="tool_calls")], ["no-call"]),
        ("anthropic", [begun(70), {**closing("end_turn", 20), "context_management": {}}], []),
        ("gemini", [{"candidates": [{}], "responseId": name} for name in "aabb"], ["switch"]),
        ("gemini", [{"candidates": [{}], "responseId": name} for name in "ababab"], ["alternates"]),
        ("gemini", [{"usageMetadata": {}, "responseId": name} for name in "ab"], []),
        ("", [{"anything": 1}], []),
    ],
)
def test_order_is_told(dialect: str, events: list[dict[str, Any]], told: list[str]) -> None:
    assert list(dict.fromkeys(disorder(dialect, *events))) == told


MEMBERS = [
    *"type index id response choices delta item item_id message candidates responseId sequence_number usage".split(),
    *"content_block usageMetadata finish_reason stop_reason".split(),
]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(["openai_chat", "openai_responses", "anthropic", "gemini"]), st.lists(JSON, max_size=6))
def test_no_event_stops_it(dialect: str, events: list[Any]) -> None:
    following = dialects.of(dialect).order()
    for event in events:
        if isinstance(event, dict):
            list(following.feed(event))
            dialects.shape_of(event)
    list(following.end())


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        ({"object": "chat.completion", "choices": []}, "openai_chat"),
        ({"object": "response", "output": []}, "openai_responses"),
        ({"type": "response.created"}, "openai_responses"),
        ({"type": "message", "stop_reason": None}, "anthropic"),
        ({"type": "message_start"}, "anthropic"),
        ({"candidates": []}, "gemini"),
        ({"response": {"candidates": []}}, "gemini"),
        ({"object": "list", "data": [{"object": "embedding"}]}, "embedding"),
        ({"choices": [], "candidates": []}, ""),
        ({"error": {}}, ""),
        ({}, ""),
    ],
)
def test_an_object_looks_like_one_dialect_or_none(data: dict[str, Any], looks: str) -> None:
    assert dialects.shape_of(data) == looks


def test_a_choice_by_a_strange_number_is_the_first() -> None:
    strange = {"index": [{}], "delta": {"content": "x"}, "finish_reason": "stop"}

    assert disorder("openai_chat", *({"id": "a", "choices": [strange]} for _ in range(2))) == ["after-finish"]


def test_an_event_that_repeats_the_last_counts_for_its_id_alone() -> None:
    """The run of an id grows by each repetition, but not by those of an event without one."""
    named, nameless = chunk("a"), {"choices": [], "usage": {}}
    for between, told in ((named, ["switch"]), (nameless, [])):
        order = dialects.of("openai_chat").order()
        for event in (named, between) if between is nameless else (named,):
            assert not list(order.feed(event))
        assert not list(order.repeat(None))
        assert not [*order.feed(chunk("b")), *order.feed(chunk("b"))]
        assert [fact.where for fact in order.end()] == told


def test_numbers_of_repeated_events_go_on() -> None:
    order = dialects.of("openai_responses").order()

    assert [fact.where for number in (5, 6, 8, 8) for fact in order.repeat(number)] == ["sequence-gap", "sequence-back"]


def test_a_choice_that_is_none_has_the_first_index() -> None:
    assert [index_of(choice) for choice in ({"index": 2}, {"index": "2"}, {}, None, "x")] == [2, 0, 0, 0, 0]


def disordered(order: StreamOrder, *names: object, choice: int = 0) -> list[tuple[str, object]]:
    return [(fact.where, fact.value) for name in names for fact in order.name(name, choice)]


@pytest.mark.parametrize(("ids", "alternates"), [(3, True), (8, True), (9, False), (10, False)])
def test_the_first_eight_ids_of_a_choice_are_remembered(ids: int, alternates: bool) -> None:
    names = [f"a{number}" for number in range(ids)]
    found = disordered(StreamOrder(), *names, names[-2], names[-1], names[-2])

    assert bool(found) is alternates


def test_ids_are_compared_whole_and_shown_by_their_first_80_characters() -> None:
    first, second = "a" * 80 + "1", "b" * 80 + "2"

    assert disordered(StreamOrder(), first[:80], second[:80], first[:80], second[:80]) == [
        ("alternates", f"{first[:80]} → {second[:80]}")
    ]
    order = StreamOrder()
    assert [fact.value for name in (first, second) for fact in order.start(name)] == [f"{first[:80]} → {second[:80]}"]
    assert disordered(order, first, second) == []


def test_what_is_no_id_is_not_compared() -> None:
    order = StreamOrder()

    assert disordered(order, "", None, 7, "", None, "a", "a") == []
    assert [*order.start(""), *order.start(None), *order.start("a"), *order.start(7), *order.start("a")] == []
    assert list(order.end()) == []


def test_a_switch_takes_two_events_of_each_of_two_ids() -> None:
    for names, switches in (("aabb", True), ("abb", False), ("aab", False), ("aabbcc", False), ("aa", False)):
        order = StreamOrder()
        assert disordered(order, *names) == []
        assert [fact.value for fact in order.end()] == (["a → b"] if switches else [])


def test_512_choices_are_followed() -> None:
    order = StreamOrder()
    for choice in range(513):
        found = disordered(order, "a", "b", "a", "b", choice=choice)
        assert [rule for rule, _ in found] == (["alternates"] if choice < 512 else []), choice


@pytest.mark.parametrize(("before", "violated"), [(511, ["opened-twice"]), (512, [])])
def test_512_open_blocks_are_followed(before: int, violated: list[str]) -> None:
    blocks = (block("start", number) for number in range(before))

    assert disorder("anthropic", *blocks, block("start", 9999), block("start", 9999)) == violated


@pytest.mark.parametrize(("before", "violated"), [(511, ["after-finish"]), (512, [])])
def test_512_closed_choices_are_followed(before: int, violated: list[str]) -> None:
    def choice(index: int, **more: object) -> dict[str, Any]:
        return {"index": index, "delta": {"role": "assistant", **more}, "finish_reason": None if more else "stop"}

    choices = [choice(index) for index in (*range(before), 9999)]
    assert disorder("openai_chat", {"choices": choices}, {"choices": [choice(9999, content="x")]}) == violated


@pytest.mark.parametrize(
    ("numbers", "told"),
    [((0, 1, 2), []), ((3, 4), []), ((1, 1), ["1 → 1"]), ((2, 1), ["2 → 1"]), ((1, 3), ["1 → 3"]),
     ((True, 0, "1", None, 1.5, 1), []), ((5, False, 6), [])],
)  # fmt: skip
def test_sequence_numbers_grow_by_one(numbers: tuple[object, ...], told: list[str]) -> None:
    order = StreamOrder()

    assert [fact.value for number in numbers for fact in order.count(number)] == told


def test_nothing_follows_done() -> None:
    order = dialects.of("openai_chat").order()
    order.done()

    assert [(fact.where, fact.value) for fact in order.feed(chunk("a"))] == [("after-end", "a chunk after [DONE]")]
