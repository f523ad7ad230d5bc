"""A table that is one test runs every row, and shows every row that fails."""

from __future__ import annotations

import inspect

import pytest

from .each_row import each_row


def test_tables_multiply_and_fixtures_come_along() -> None:
    seen: list[tuple[str, int, str, int]] = []

    @each_row("number", [1, 2])
    @each_row(("text", "length"), [("a", 1), ("bb", 2)])
    def check(fixture: str, number: int, text: str, length: int) -> None:
        seen.append((fixture, number, text, length))

    assert [*inspect.signature(check).parameters] == ["fixture"]
    check(fixture="f")
    assert seen == [("f", 1, "a", 1), ("f", 1, "bb", 2), ("f", 2, "a", 1), ("f", 2, "bb", 2)]


def test_each_row_that_fails_is_shown_and_the_others_are_run_too() -> None:
    run: list[int] = []

    @each_row("number", range(5))
    def check(number: int) -> None:
        run.append(number)
        if number == 4:
            pytest.fail("is four")
        assert number % 3 != 0

    with pytest.raises(BaseExceptionGroup, match="3 of 5 rows fail") as raised:
        check()

    assert run == [0, 1, 2, 3, 4]
    assert [each.__notes__ for each in raised.value.exceptions] == [[f"row: {{'number': {at}}}"] for at in (0, 3, 4)]


def test_a_test_that_is_skipped_is_skipped() -> None:
    @each_row("number", range(2))
    def check(number: int) -> None:
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        check()


def test_a_table_has_rows_and_each_row_all_names() -> None:
    with pytest.raises(ValueError, match="without rows"):
        each_row("number", [])
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        each_row(("a", "b"), [(1,)])
