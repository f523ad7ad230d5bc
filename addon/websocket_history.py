"""What is remembered of a conversation's WebSockets for the next one: its last model, and the accounts it left."""

from __future__ import annotations

from .bounded import BoundedMap
from .exchange import Exchange

AVOIDED_SECONDS = 30.0  # in which a conversation whose WebSocket failed opens no other one on that account


class WebSocketHistory:
    """Bounded by *limit* conversations; the longest unused leave first."""

    def __init__(self, limit: int) -> None:
        self._models: BoundedMap[tuple[bytes, str], str] = BoundedMap(limit)
        self._avoided: BoundedMap[tuple[bytes, str], dict[str, float]] = BoundedMap(limit)

    def reload(self, limit: int) -> None:
        """Let *limit* hold from now on."""
        self._models.limit = self._avoided.limit = limit

    def asked(self, exchange: Exchange) -> str:
        """
        Return the model of *exchange*, and remember it on a socket.

        An upgrade names no model, so the last one on such a socket stands for it: an account that rests for that model
        alone would get every new socket of the conversation otherwise.
        """
        key = _key(exchange)
        if exchange.socket_lease is not None and exchange.model:
            self._models[key] = exchange.model[:256]
        return exchange.model or (self._models.get(key, "") if exchange.is_upgrade else "")

    def avoid(self, exchange: Exchange, account: str, now: float) -> None:
        """Remember that a WebSocket of *exchange*'s conversation ends because of *account*: the next avoids it."""
        key = _key(exchange)
        self._avoided[key] = {**self._avoided.get(key, {}), account: now}

    def avoided(self, exchange: Exchange, now: float) -> dict[str, float]:
        """Return the accounts that a new WebSocket of *exchange*'s conversation avoids, and since when."""
        if exchange.socket_lease is not None or not exchange.is_upgrade:
            return {}
        avoided = self._avoided.get(_key(exchange), {})
        return {account: at for account, at in avoided.items() if now < at + AVOIDED_SECONDS}


def _key(exchange: Exchange) -> tuple[bytes, str]:
    return exchange.request.client.scope, exchange.identity.affinity
