"""Which of two records is kept."""

from __future__ import annotations

from patchbay.values.record import Record


def test_the_later_record_is_kept_then_the_one_that_lasts_longer_then_the_greater_value():
    records = [Record("k", "key", value, rank, expires) for rank, expires, value in
               [(1.0, 9.0, "z"), (2.0, 1.0, "z"), (2.0, 2.0, "a"), (2.0, 2.0, "b")]]  # fmt: skip
    assert sorted([*records[2:], *records[:2]], key=lambda each: each.order) == records
