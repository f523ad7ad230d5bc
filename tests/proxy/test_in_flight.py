"""What is under way is counted, found by its client, and ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mitmproxy.http import HTTPFlow
from mitmproxy.test import tflow

from patchbay.proxy.in_flight import InFlight, driver_of


@dataclass(eq=False)
class Socket:
    flow: HTTPFlow
    in_flight: int = 0
    told: list[str] = field(default_factory=list)

    def ended(self, error: str) -> None:
        self.told.append(error)

    def settings_changed(self) -> None:
        self.told.append("settings")

    def account_failed(self) -> None:
        self.told.append("account")


def made() -> tuple[InFlight, list[tuple[Any, ...]], Any]:
    closed: list[tuple[Any, ...]] = []
    found = InFlight(lambda *what: closed.append(what))
    drivers: Any = [object(), object(), object()]
    found.flows |= {drivers[0]: tflow.tflow(), drivers[1]: tflow.tflow()}
    found.sockets[drivers[2]] = Socket(tflow.twebsocketflow(), 3)  # type: ignore[assignment]
    return found, closed, drivers


def test_answers_are_counted_also_those_on_sockets() -> None:
    found, _, _ = made()
    assert found.count() == 5


def test_the_drivers_of_a_client_are_found() -> None:
    found, _, (first, _, third) = made()
    assert found.of(found.flows[first].client_conn) == [first]
    assert found.of(found.sockets[third].flow.client_conn) == [third]
    assert found.of(tflow.tclient_conn()) == []


def test_what_is_still_under_way_is_ended() -> None:
    found, closed, (first, second, third) = made()
    flow, socket = found.flows[first], found.sockets[third]
    found.end([first, third, object()], "gone")  # type: ignore[list-item]

    assert closed == [(flow, first, "gone")]
    assert socket.told == ["gone"]  # type: ignore[attr-defined]
    assert third not in found.sockets
    assert second in found.flows


def test_everything_is_ended() -> None:
    found, closed, drivers = made()
    socket = found.sockets[drivers[2]]
    found.end_all("ended")

    assert [(driver, error) for _, driver, error in closed] == [(drivers[0], "ended"), (drivers[1], "ended")]
    assert socket.told == ["ended"]  # type: ignore[attr-defined]


def test_sockets_hear_of_other_settings_and_of_failed_accounts() -> None:
    found, _, drivers = made()
    found.settings_changed()
    found.account_failed()

    assert found.sockets[drivers[2]].told == ["settings", "account"]  # type: ignore[attr-defined]


def test_only_a_driver_is_one() -> None:
    flow = tflow.tflow()
    assert driver_of(flow) is None
    flow.patchbay = object()  # type: ignore[attr-defined]
    assert driver_of(flow) is None
