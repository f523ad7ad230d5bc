"""Small readers of JSON that may be anything, and the ids of stored things."""

from __future__ import annotations

from typing import Any

import pytest

from patchbay.dialects import tokens
from patchbay.values.answer import Fact

RESOURCES = {
    "file": "file", "batch": "batch", "message_batch": "batch", "conversation": "conversation",
    "container": "container", "vector_store": "file",
}  # fmt: skip
PREFIXES = {"msgbatch_": "batch", "file-": "file", "file_": "file", "conv_": "conversation"}


@pytest.mark.parametrize("kind", RESOURCES)
@pytest.mark.parametrize("member", ["object", "type"])
def test_each_stored_thing_is_told(kind: str, member: str) -> None:
    assert list(tokens.resource({"id": "x_1", member: kind})) == [Fact("token", "x_1", RESOURCES[kind])]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_each_prefix_of_an_id_tells_its_kind(prefix: str) -> None:
    assert list(tokens.resource({"id": f"{prefix}1"})) == [Fact("token", f"{prefix}1", PREFIXES[prefix])]
    assert list(tokens.resource({"id": f"x{prefix}1"})) == []


def test_a_batch_names_its_files_and_a_listing_its_entries() -> None:
    batch = {"object": "batch", "id": "b", "output_file_id": "o", "error_file_id": "e"}
    assert [fact.value for fact in tokens.resource(batch)] == ["b", "o", "e"]
    listing = {"data": [{"object": "file", "id": f"f{number}"} for number in range(101)]}
    assert len(list(tokens.resource(listing))) == 100


@pytest.mark.parametrize(
    ("value", "count"),
    [(1, 1), (2.9, 2), (0, 0), (-1, 0), (True, 0), ("3", 0), (None, 0), (1e15, 0),
     (999_999_999_999_999, 999_999_999_999_999),
     (float("nan"), 0), (10**400, 0)],
)  # fmt: skip
def test_a_count_is_a_sensible_number(value: object, count: int) -> None:
    assert tokens.count({"n": value, "m": 7}, "n", "m") == (count or 7)
    assert tokens.count({"n": value}, "n") == count


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"a": 1}, ['{"a":1}']),
        ({"a": "\ud83d"}, ['{"a": "\\ud83d"}']),
        ({}, []),
        ('{"a"', ['{"a"']),
        ("", []),
        (None, []),
        ([1], []),
    ],
)
def test_arguments_are_json_text_whole_or_in_pieces(arguments: object, told: list[str]) -> None:
    facts = list(tokens.call(3, "read", arguments))

    assert facts == [Fact("called", "read", "3"), *(Fact("arguments", each, "3") for each in told)]
    assert list(tokens.call(3, "", arguments)) == list(tokens.call(3, None, arguments))
    assert [fact.kind for fact in tokens.call(3, None, arguments)] == ["arguments"] * len(told)


def test_strange_values_are_empty() -> None:
    strange: tuple[Any, ...] = (None, 1, "x", [1], {"a": 1}, [{"a": 1}, 2])

    assert [tokens.dicts(value) for value in strange] == [[], [], [], [], [], [{"a": 1}]]
    assert [tokens.member({"m": value}, "m") for value in strange] == [{}, {}, {}, {}, {"a": 1}, {}]
    assert [fact.value for value in strange for fact in tokens.token(value, "x")] == ["x"]
    assert [fact.value for value in (*strange, {"id": "c"}) for fact in tokens.reference(value, "x")] == [
        "x",
        "c",
    ]


def test_the_first_member_that_holds_something_is_told() -> None:
    assert list(tokens.text("id", {"a": "", "b": True, "c": 7, "d": "x"}, "a", "b", "c", "d")) == [
        Fact("id", 7, "body c")
    ]
