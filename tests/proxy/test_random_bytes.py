"""Random bytes that are asked for many at once: none is given twice."""

from __future__ import annotations

from patchbay.proxy.lifecycle import _random_bytes


def test_every_byte_is_given_once() -> None:
    take = _random_bytes()
    taken = [take(size) for size in (16, 1, 1000, 5000, 0, 16) * 40]

    assert [len(each) for each in taken] == [16, 1, 1000, 5000, 0, 16] * 40
    assert len({each for each in taken if len(each) >= 16}) == 4 * 40
