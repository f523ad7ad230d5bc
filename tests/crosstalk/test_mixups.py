"""Misfits that form a ring are told with whose answer each is; one alone never is."""

from __future__ import annotations

from itertools import permutations

import pytest

from patchbay.crosstalk import mixups
from patchbay.crosstalk.mixups import NEAREST, Misfit, Mixups, nearest


def misfit(exchange: str, **others: float) -> Misfit:
    return Misfit(exchange, others, "", "")


def told(found: list[tuple[Misfit, str]]) -> dict[str, str]:
    return {each.exchange: other for each, other in found}


def test_one_alone_and_a_path_without_return_are_no_ring() -> None:
    mixed = Mixups()

    assert mixed.note(misfit("a", b=0.1)) == []
    assert mixed.note(misfit("b", c=0.1)) == []
    assert mixed.note(misfit("lonely")) == []
    assert mixed.note(misfit("itself", itself=0.1)) == []


@pytest.mark.parametrize("order", list(permutations("abcd")))
def test_a_ring_of_up_to_four_is_found_whatever_comes_last(order: tuple[str, ...]) -> None:
    ring = {"a": "b", "b": "c", "c": "d", "d": "a"}
    mixed = Mixups()

    found = [mixed.note(misfit(each, **{ring[each]: 0.1})) for each in order]
    assert [told(each) for each in found] == [{}, {}, {}, ring]


def test_a_ring_of_five_is_none() -> None:
    mixed = Mixups()
    for here, there in ("ab", "bc", "cd", "de"):
        mixed.note(misfit(here, **{there: 0.1}))

    assert mixed.note(misfit("e", a=0.1)) == []


def test_what_stands_beside_a_ring_is_no_part_of_it() -> None:
    mixed = Mixups()
    mixed.note(misfit("a", b=0.1))
    mixed.note(misfit("beside", a=0.1))

    assert told(mixed.note(misfit("b", a=0.1))) == {"a": "b", "b": "a"}


def test_an_answer_that_fits_after_all_breaks_the_ring() -> None:
    mixed = Mixups()
    mixed.note(misfit("a", b=0.1))
    mixed.fits("a")
    mixed.fits("unknown")

    assert mixed.note(misfit("b", a=0.1)) == []


@pytest.mark.parametrize(("further", "name"), [(0.39, ""), (0.41, "b")])
def test_it_names_the_one_that_it_fits_far_better_than_any_other(further: float, name: str) -> None:
    mixed = Mixups()
    mixed.note(misfit("a", b=0.1, c=further))

    assert told(mixed.note(misfit("b", a=0.1)))["a"] == name


def test_the_ring_counts_where_it_is_nearer_than_the_answer_by_itself() -> None:
    mixed = Mixups()
    mixed.note(misfit("a", b=0.3, c=0.7))

    assert told(mixed.note(misfit("b", a=0.0)))["a"] == "b"  # 0.15 on average, and 0.7 is more than 0.55


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixups, "_KNOWN", 2)
    mixed = Mixups()
    for each in ("a", "x", "y"):
        mixed.note(misfit(each, b=0.1))

    assert mixed.note(misfit("b", a=0.1)) == []


def test_the_nearest_few_are_kept() -> None:
    others = {str(number): float(number) for number in reversed(range(NEAREST + 2))}

    assert list(nearest(others)) == ["0", "1", "2", "3"]
