"""Bounded maps against a plain model, and the log of changed keys."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, strategies as st

from patchbay.bounded import BoundedMap, ChangeLog, ExpiringMap

KEYS = st.sampled_from("abcde")


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(["set", "use", "get", "pop", "setdefault"]), KEYS)))
def test_it_evicts_what_was_used_longest_ago(limit: int, steps: list[tuple[str, str]]) -> None:
    """The model is a plain list of pairs, in the order of their last use."""
    found: BoundedMap[str, int] = BoundedMap(limit)
    model: list[tuple[str, int]] = []
    for number, (step, key) in enumerate(steps):
        before = dict(model).get(key)
        match step:
            case "set":
                found[key] = number
                model = [pair for pair in model if pair[0] != key] + [(key, number)]
            case "use":
                assert found.use(key) == before
                model.sort(key=lambda pair: pair[0] == key)
            case "get":
                assert found.get(key) == before
            case "pop":
                assert found.pop(key, None) == before
                model = [pair for pair in model if pair[0] != key]
            case _:
                assert found.setdefault(key, number) == (number if before is None else before)
                model += [(key, number)] if before is None else []
        model = model[-limit:]
        assert list(found.items()) == model


def test_an_entry_without_content_is_used_too() -> None:
    found: BoundedMap[str, str] = BoundedMap(2)
    found["a"], found["b"] = "", "b"

    assert found.use("a") == ""
    found["c"] = "c"

    assert list(found) == ["a", "c"]


def test_a_lower_limit_holds_from_the_next_write_or_at_once() -> None:
    found: BoundedMap[str, int] = BoundedMap(9)
    found |= {"a": 1, "b": 2, "c": 3, "d": 4}
    found.limit = 2
    assert len(found) == 4

    found["a"] = 5
    assert list(found.items()) == [("d", 4), ("a", 5)]

    found.resize(1)
    assert list(found) == ["a"]
    assert found.limit == 1


@dataclass(frozen=True)
class Value:
    text: str
    expires: float = 10


def test_a_value_is_found_until_it_expires() -> None:
    found: ExpiringMap[str, Value] = ExpiringMap(9)
    found["a"] = Value("once")

    assert found.find("a", now=9.9) == Value("once")
    assert found.find("a", now=10) is None
    assert "a" not in found
    assert found.find("a", now=0) is None  # deleted, not hidden

    found["a"] = Value("again", expires=20)
    found["a"] = Value("and again", expires=30)
    assert found.find("a", now=25) == Value("and again", expires=30)


def test_a_found_value_outlives_others() -> None:
    found: ExpiringMap[str, Value] = ExpiringMap(2)
    found["a"], found["b"] = Value("a"), Value("b", expires=20)
    found.find("a", now=0)
    found["c"] = Value("c")

    assert list(found) == ["a", "c"]


def test_every_value_leaves_through_delete() -> None:
    """A subclass that counts its values relies on it."""
    gone = []

    class Counted(ExpiringMap[str, Value]):
        def __delitem__(self, key: str) -> None:
            gone.append(key)
            super().__delitem__(key)

    found = Counted(3)
    for key in "abcd":
        found[key] = Value(key)
    found.find("b", now=10)
    del found["c"]
    found.resize(0)

    assert gone == ["a", "b", "c", "d"]


def test_changes_are_logged_once_each_and_only_when_watched() -> None:
    log: ChangeLog[str] = ChangeLog()
    log.note("early")
    assert log.take() == []
    assert "early" not in log

    log.watch()
    for key in "bab":
        log.note(key)
    log.watch()
    assert "a" in log
    assert log.take() == ["b", "a"]
    assert log.take() == []

    log.note("c")
    assert log.take() == ["c"]
