"""Times and lengths as users read them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from patchbay.values import shown_time

NOON = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0 s"), (0.6, "1 s"), (59.4, "59 s"), (59.6, "1m00s"), (552, "9m12s"), (3_599, "59m59s"), (3_600, "1h00m"),
     (86_399, "23h59m"), (90_000, "1d01h")],
)  # fmt: skip
def test_a_length_has_two_units_at_most(seconds: float, words: str) -> None:
    assert shown_time.length_words(seconds) == words


@pytest.mark.parametrize(
    ("zone", "clock", "named"),
    [("UTC", "11:06:41", "UTC"), ("Asia/Kolkata", "16:36:41", "IST"), ("America/New_York", "06:06:41", "EST")],
)
def test_an_end_is_rounded_up_and_in_local_time(
    in_zone: Callable[[str], None], zone: str, clock: str, named: str
) -> None:
    in_zone(zone)
    shown_time._local.cache_clear()
    assert shown_time.end_clock(NOON + 0.2, NOON) == clock
    assert shown_time.end_clock(NOON + 0.2, NOON, zone=True) == f"{clock} {named}"
    assert shown_time.end_clock(NOON + 86_400, NOON) == time.strftime("%Y-%m-19 %H:%M", time.localtime(NOON))
