"""The exchanges under way, each with its flow, and the open WebSockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mitmproxy import http
from mitmproxy.connection import Client

from .exchange_driver import ExchangeDriver
from .websockets import WebSocketDriver


class InFlight:
    """`close` ends the exchange of a flow; it is called with the reason."""

    def __init__(self, close: Callable[[http.HTTPFlow, ExchangeDriver, str], None]) -> None:
        self._close = close
        self.flows: dict[ExchangeDriver, http.HTTPFlow] = {}
        self.sockets: dict[ExchangeDriver, WebSocketDriver] = {}

    def count(self) -> int:
        """Return how many answers are under way."""
        return len(self.flows) + sum(socket.in_flight for socket in self.sockets.values())

    def of(self, client: Client) -> list[ExchangeDriver]:
        """Return the drivers on the connection of *client*."""
        drivers = [driver for driver, flow in self.flows.items() if flow.client_conn is client]
        return drivers + [driver for driver, socket in self.sockets.items() if socket.flow.client_conn is client]

    def end(self, drivers: Iterable[ExchangeDriver], error: str) -> None:
        """End what is still under way of *drivers*, because of *error*."""
        for driver in drivers:
            if flow := self.flows.get(driver):
                self._close(flow, driver, error)
            if socket := self.sockets.pop(driver, None):
                socket.ended(error)

    def end_all(self, error: str) -> None:
        """End everything, because of *error*."""
        self.end([*self.flows, *self.sockets], error)

    def settings_changed(self) -> None:
        """Let each WebSocket check that its account is still served."""
        for socket in tuple(self.sockets.values()):
            socket.settings_changed()

    def account_failed(self) -> None:
        """Let each WebSocket check that its account may still be used."""
        for socket in tuple(self.sockets.values()):
            socket.account_failed()


def driver_of(flow: http.HTTPFlow) -> ExchangeDriver | None:
    """Return the driver that is attached to *flow*, None for a flow that passes untouched or is refused."""
    attached = getattr(flow, "patchbay", None)
    return attached if isinstance(attached, ExchangeDriver) else None
