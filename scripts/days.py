"""The kinds of days: each has the conditions that some mechanisms of `addon/accounts` were built for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from patchbay.values.account import Account
from patchbay.values.http import Origin

from .simulated_day import Day, Fault, Sky, Talk, account

Episode = tuple[float, float, Fault]

HOURS = 16
HOUR, MINUTE = 3600.0, 60.0
# Most faults of an ordinary day hit one request and are over; some last.
SHOWERS = (Fault(429, 1), Fault(429, 2), Fault(529), Fault(503), Fault(500))
LASTING = (Fault(429, 20), Fault(429), Fault(529), Fault(503))
REVOKED = Fault(401, code="invalid_api_key", message="Incorrect API key provided")
DENIED = Fault(403, code="permission_denied", message="not allowed")
SECOND = Origin("http", "127.0.0.1", 10)
FIVE = tuple(account(f"account-{n}") for n in range(5))


def spread(luck: Random, conversations: int, hours: float = HOURS, mean: float = 40.0) -> list[Talk]:
    """Return conversations over so many *hours*, few of them long, with pauses of *mean* seconds between turns."""
    talks = []
    for number in range(conversations):
        turns = min(150, int(luck.paretovariate(1.2) * 20))
        start = luck.uniform(0, (hours - 2) * HOUR)
        pauses = (start, *(luck.expovariate(1 / mean) for _ in range(turns - 1)))
        talks.append(Talk(number, pauses, f"conversation {number}"))
    return talks


def short(luck: Random) -> list[Talk]:
    """Return many short conversations."""
    talks = []
    for number in range(180):
        start = luck.uniform(0, (HOURS - 1) * HOUR)
        pauses = (start, *(luck.expovariate(1 / 60) for _ in range(luck.randint(3, 24))))
        talks.append(Talk(number, pauses, f"conversation {number}"))
    return talks


def with_breaks(luck: Random, conversations: int) -> list[Talk]:
    """Return conversations whose users leave for some minutes now and then."""
    talks = spread(luck, conversations, hours=5)
    return [
        Talk(
            talk.number,
            tuple(pause + (luck.uniform(6, 30) * MINUTE if luck.random() < 0.06 else 0.0) for pause in talk.pauses),
            talk.opening,
        )
        for talk in talks
    ]


def equal(luck: Random) -> list[Talk]:
    """Return two fleets of a hundred conversations without ids; those of a fleet begin with equal words."""
    talks = []
    for fleet in range(2):
        start = (2 + 5 * fleet) * HOUR
        for number in range(100):
            pauses = (start + luck.uniform(0, 60), *(luck.expovariate(1 / 10) for _ in range(7)))
            talks.append(Talk(100 * fleet + number, pauses, f"Review one file of release {fleet}.", named=False))
    return talks


def busy(luck: Random) -> list[Talk]:
    """Return sixty conversations that go on all the time for an hour."""
    return [
        Talk(
            number,
            (luck.uniform(0, 5 * MINUTE), *(luck.expovariate(1 / 60) for _ in range(45))),
            f"conversation {number}",
        )
        for number in range(60)
    ]


def episodes(luck: Random, every: float, length: tuple[float, float], faults: tuple[Fault, ...]) -> list[Episode]:
    """Return the times in which one account fails, *every* so many seconds on average."""
    found: list[Episode] = []
    now = luck.expovariate(1 / every)
    while now < HOURS * HOUR:
        end = now + luck.uniform(*length)
        found.append((now, end, luck.choice(faults)))
        now = end + luck.expovariate(1 / every)
    return found


def _each(
    luck: Random, accounts: tuple[Account, ...], make: Callable[[Random], list[Episode]]
) -> dict[str, list[Episode]]:
    return {one.id: make(Random(f"{luck.random()}")) for one in accounts}


def ordinary(luck: Random) -> Sky:
    """Return passing faults, and some that last up to a minute."""
    found = _each(luck, FIVE, lambda each: episodes(each, HOUR, (10, 60), LASTING))
    return Sky(found, passing=0.03, showers=SHOWERS)


def clear(luck: Random) -> Sky:
    """Return no faults."""
    return Sky()


TWO_UPSTREAMS = tuple(account(f"account-{n}", origin=SECOND) if n > 2 else account(f"account-{n}") for n in range(5))


def outage(luck: Random) -> Sky:
    """Return outages, of the first upstream alone and of both; in some of them it refuses every key."""
    faults = (Fault(503), Fault(529, code="overloaded_error", message="Overloaded"), Fault(500), Fault(0), REVOKED)
    first = episodes(luck, 80 * MINUTE, (20, 300), faults)
    second = [each for each in first if luck.random() < 0.4]
    found = {one.id: first if n < 3 else second for n, one in enumerate(TWO_UPSTREAMS)}
    return Sky(found, passing=0.01, showers=SHOWERS)


def wrong_hints(luck: Random) -> Sky:
    """Return limits of minutes whose hints say days, at accounts that take three requests at a time."""
    faults = (Fault(429, 2 * 86400), Fault(429, 5 * 86400))
    found = _each(luck, FIVE, lambda each: episodes(each, 3 * HOUR, (60, 900), faults))
    return Sky(found, at_once=3, at_once_after=5)


def quota(luck: Random) -> Sky:
    """Return quotas of which some are used up before they are renewed; two accounts say when that is."""
    most = {one.id: luck.choice((60, 90, 500)) for one in FIVE}
    spent = Fault(429, code="insufficient_quota", message="You exceeded your current quota")
    return Sky(quota=most, period=4 * HOUR, exhausted=spent, hinted=frozenset(("account-0", "account-1")))


PRIORITIES = (
    *(account(f"account-{n}", priority=1, max_concurrent=2) for n in range(2)),
    *(account(f"account-{n}") for n in range(2, 5)),
)


def priorities(luck: Random) -> Sky:
    """Return faults of minutes at the accounts of the higher priority."""
    found = _each(luck, PRIORITIES[:2], lambda each: episodes(each, HOUR, (60, 600), (Fault(429), Fault(503))))
    return Sky(found, passing=0.01, showers=SHOWERS)


def limited(luck: Random) -> Sky:
    """Return a bound on the requests that one account takes at a time."""
    return Sky(at_once=12, at_once_after=5)


def burst(luck: Random) -> Sky:
    """Return outages of all accounts, and limits by the minute that the requests behind them exceed."""
    found = [(at, at + luck.uniform(60, 180), Fault(503)) for at in (900.0, 2100.0, 3300.0)]
    return Sky({one.id: found for one in FIVE}, quota={one.id: 14 for one in FIVE}, period=MINUTE)


def denials(luck: Random) -> Sky:
    """Return conversations that every account denies, and an account that denies everything for hours."""
    denied = dict.fromkeys(range(3, 40, 9), DENIED)
    shut = luck.uniform(2, 6) * HOUR
    return Sky({"account-1": [(shut, shut + 5 * HOUR, DENIED)]}, denied=denied)


DAYS = (
    Day(
        "ordinary", "Passing faults, and some that last up to a minute.", FIVE, lambda luck: spread(luck, 40), ordinary
    ),
    Day(
        "outage",
        "One of two upstreams is down for minutes, or both are.",
        TWO_UPSTREAMS,
        lambda luck: spread(luck, 40),
        outage,
    ),
    Day(
        "wrong hints",
        "Limits of minutes whose Retry-After says days; each account takes three requests at a time.",
        FIVE,
        lambda luck: spread(luck, 120),
        wrong_hints,
    ),
    Day("daily quota", "Quotas that are used up before they are renewed.", FIVE, short, quota),
    Day(
        "priorities",
        "Two accounts of a higher priority, two requests at a time each.",
        PRIORITIES,
        lambda luck: with_breaks(luck, 50),
        priorities,
    ),
    Day(
        "equal openings",
        "A hundred conversations in a minute, without ids, with equal first words; twelve requests at a time for each.",
        FIVE,
        equal,
        limited,
    ),
    Day("burst", "All accounts are down, then each takes 14 requests a minute.", FIVE, busy, burst),
    Day(
        "denials",
        "Some conversations are denied everywhere, again and again; one account denies all for hours.",
        FIVE,
        lambda luck: spread(luck, 40),
        denials,
    ),
)
