"""The greatest ids so far, by host, place and form."""

from __future__ import annotations

import pytest

from patchbay.crosstalk import id_order
from patchbay.crosstalk.id_order import IdOrder, form


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("msg_01A", "msg_02B", True),
        ("msg_01A", "msg_01AB", False),
        ("msg_01A", "req_01A", False),
        ("msg-01A", "msg_01A", False),
        ("0123", "9876", True),
        ("", "", True),
    ],
)
def test_ids_are_compared_that_begin_alike_and_are_as_long(one: str, other: str, alike: bool) -> None:
    assert (form(one) == form(other)) is alike


def test_the_greatest_before_a_time_is_returned() -> None:
    order = IdOrder()
    for now, value in ((1.0, "id_5"), (2.0, "id_3"), (3.0, "id_7"), (4.0, "id_6")):
        order.note("h", "p", value, now)

    before = [order.before("h", "p", "id_0", at) for at in (1.0, 1.5, 2.5, 3.0, 9.0)]
    assert before == ["", "id_5", "id_5", "id_5", "id_7"]


def test_the_documented_sizes() -> None:
    assert (id_order.SLACK, id_order._KEPT) == (2.0, 64)


@pytest.mark.parametrize("asked", [("other", "p", "id_0"), ("h", "other", "id_0"), ("h", "p", "no_0")])
def test_hosts_places_and_forms_are_kept_apart(asked: tuple[str, str, str]) -> None:
    order = IdOrder()
    order.note("h", "p", "id_5", 1.0)

    assert order.before(*asked, 9.0) == ""


def test_both_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_order, "_KEPT", 2)
    monkeypatch.setattr(id_order, "_HOSTS", 2)
    order = IdOrder()
    for number in range(4):
        order.note("h", "p", f"id_{number}", float(number))
    assert [order.before("h", "p", "id_0", at) for at in (1.5, 2.5)] == ["", "id_2"]

    order.note("h2", "p", "id_1", 1.0)
    order.note("h", "p", "id_9", 5.0)  # used again, so that another makes room
    order.note("h3", "p", "id_1", 1.0)
    assert [order.before(host, "p", "id_0", 9.0) for host in ("h", "h2", "h3")] == ["id_9", "", "id_1"]
