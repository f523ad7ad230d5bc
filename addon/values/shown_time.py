"""Times and lengths as users read them, in the same form everywhere: local time, and at most two units of a length."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

_DAY = 86_400.0
_LAST = 200_000_000_000  # a time in the year 8307; datetime ends soon after


def length_words(seconds: float) -> str:
    """Return a length of *seconds*, such as `28 s`, `9m56s`, `1h02m`, `2d03h`."""
    whole = max(round(seconds), 0)
    for size, unit, below, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // below:02}{smaller}"
    return f"{whole} s"


def end_clock(at: float, now: float, *, zone: bool = False) -> str:
    """Return the local time *at*, at which something ends, as read *now*: never earlier than it; with its *zone*."""
    return _local(math.ceil(at), at - now < _DAY, zone)


@lru_cache(256)
def _local(at: int, today: bool, zone: bool) -> str:
    form = "%H:%M:%S" if today else "%Y-%m-%d %H:%M"
    local = datetime.fromtimestamp(min(at, _LAST), UTC).astimezone()
    return local.strftime(f"{form} %Z" if zone else form)
