"""Which cache keys are shared by so many conversations that they name none."""

from __future__ import annotations

from patchbay.identity.shared_keys import SEVERAL, SharedKeys


def test_a_key_is_a_bucket_from_one_opening_too_many_on():
    keys = SharedKeys(10, 60)
    seen = [keys.is_shared("k", f"opening {number}", 0) for number in range(SEVERAL + 3)]

    assert seen == [False] * SEVERAL + [True] * 3
    assert keys.is_shared("k", "opening 0", 50)
    assert not keys.is_shared("other", "opening 0", 50)


def test_one_conversation_never_makes_a_bucket():
    keys = SharedKeys(10, 60)
    assert not any(keys.is_shared("k", f"opening {number % SEVERAL}", number) for number in range(100))


def test_a_key_unused_for_the_ttl_begins_anew():
    keys = SharedKeys(10, 60)
    for number in range(SEVERAL + 1):
        keys.is_shared("k", f"opening {number}", 0)

    assert keys.is_shared("k", "opening 0", 59)
    assert keys.is_shared("k", "opening 0", 118)
    assert not keys.is_shared("k", "opening 0", 200)


def test_keys_and_openings_are_remembered_in_bounds():
    keys = SharedKeys(3, 60)
    for number in range(1000):
        keys.is_shared(f"k{number % 5}", f"opening {number}", number / 100)

    assert len(keys) == 3
    assert all(len(openings) <= SEVERAL + 1 for _, openings in keys._keys.values())


def test_nine_openings_make_a_key_shared():
    keys = SharedKeys(10, 60)

    assert [keys.is_shared("k", str(number), 0) for number in range(10)] == [False] * 8 + [True] * 2


def test_a_new_limit_and_a_new_life_hold_from_the_next_key_on():
    keys = SharedKeys(10, 60)
    keys.resize(1, 600)
    for number in range(9):
        keys.is_shared("k", str(number), 0)

    assert keys.is_shared("k", "0", 599)
    assert not keys.is_shared("other", "0", 599)
    assert not keys.is_shared("k", "0", 599)


def test_nine_openings_of_a_key_are_remembered():
    keys = SharedKeys(3, 60)
    for number in range(100):
        keys.is_shared("k", f"opening {number}", 0)

    assert [len(openings) for _, openings in keys._keys.values()] == [SEVERAL + 1] == [9]
