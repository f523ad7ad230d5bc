"""Which requests of other instances were under way at a time."""

from __future__ import annotations

import pytest

from patchbay.crosstalk.elsewhere import Elsewhere
from patchbay.ledger import Entry


def sent(name: str, at: float, account: str = "one") -> Entry:
    return Entry(name, account=account, at=at)


@pytest.mark.parametrize(
    ("other", "ended", "during"),
    [
        (sent("o", 90.0), None, True),
        (sent("o", 90.0), 99.0, False),  # before ours was sent
        (sent("o", 90.0), 100.0, True),
        (sent("o", 90.0), 300.0, True),
        (sent("o", 111.0), None, False),  # after ours had ended
        (sent("o", 90.0, "two"), None, False),
        (sent("o", -600.0), None, False),  # its end was never told
        (sent("o", -500.0), None, True),
    ],
)
def test_a_request_is_beside_ours_where_their_times_overlap(other: Entry, ended: float | None, during: bool) -> None:
    elsewhere = Elsewhere()
    elsewhere.asked(other)
    if ended is not None:
        elsewhere.answered(other, ended, ours=False)

    assert list(elsewhere.during(sent("ours", 100.0), 110.0, ours=False)) == [other] * during


def test_an_end_that_is_told_first_holds() -> None:
    elsewhere = Elsewhere()
    elsewhere.answered(sent("o", 90.0), 99.0, ours=False)
    elsewhere.asked(sent("o", 90.0))

    assert list(elsewhere.during(sent("ours", 100.0), 110.0, ours=False)) == []


@pytest.mark.parametrize("asked", [False, True])
def test_ours_are_told_where_they_are_asked_for(asked: bool) -> None:
    elsewhere = Elsewhere()
    elsewhere.asked(sent("theirs", 90.0))
    elsewhere.answered(sent("ours", 90.0), 109.0, ours=True)

    found = [each.exchange for each in elsewhere.during(sent("theirs too", 100.0), 110.0, ours=asked)]
    assert found == ["theirs", "ours"][: 1 + asked]


def test_the_oldest_are_forgotten() -> None:
    elsewhere = Elsewhere()
    for number in range(1_001):
        elsewhere.asked(sent(str(number), 90.0))

    assert next(elsewhere.during(sent("ours", 100.0), 110.0, ours=False)).exchange == "1"
