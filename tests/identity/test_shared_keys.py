"""Which cache keys are shared by so many conversations that they name none."""

from __future__ import annotations

from patchbay.identity.shared_keys import SEVERAL, SharedKeys


def test_a_key_is_a_bucket_from_one_opening_too_many_on():
    buckets = SharedKeys(10, 60)
    seen = [buckets.is_shared("k", f"opening {number}", 0) for number in range(SEVERAL + 3)]

    assert seen == [False] * SEVERAL + [True] * 3
    assert buckets.is_shared("k", "opening 0", 50)
    assert not buckets.is_shared("other", "opening 0", 50)


def test_one_conversation_never_makes_a_bucket():
    buckets = SharedKeys(10, 60)
    assert not any(buckets.is_shared("k", f"opening {number % SEVERAL}", number) for number in range(100))


def test_a_key_that_nobody_used_for_long_begins_anew():
    buckets = SharedKeys(10, 60)
    for number in range(SEVERAL + 1):
        buckets.is_shared("k", f"opening {number}", 0)

    assert buckets.is_shared("k", "opening 0", 59)
    assert buckets.is_shared("k", "opening 0", 118)
    assert not buckets.is_shared("k", "opening 0", 200)


def test_keys_and_openings_are_remembered_in_bounds():
    buckets = SharedKeys(3, 60)
    for number in range(1000):
        buckets.is_shared(f"k{number % 5}", f"opening {number}", number / 100)

    assert len(buckets) == 3
    assert all(len(key.openings) <= SEVERAL + 1 for key in buckets._keys.values())
