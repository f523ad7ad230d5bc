"""
A key that stands in for a client's own, which is kept nowhere, in a command line that a user pastes.

It names the client and its scope under the master key, so that the request belongs to the same conversation, and it
expires. It opens nothing at a provider.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import replace

from . import clients, keyed
from .values.decision import Refusal
from .values.http import Client

_BEGIN = "pbc1."
LIFETIME = 3600.0  # seconds
EXPIRED = Refusal(
    401, "client_unknown", "The key of this command line has expired: make a new one by the command patchbay.curl"
)
_PURPOSE = "patchbay 2026 stand-in key"
_SIZE = 16  # bytes of the tag


def issued(client: str, scope: bytes, secret: bytes, now: float) -> str:
    """Return a key for the *client* of that name and *scope*, under the master key *secret*."""
    payload = f"{int(now + LIFETIME)}.{_text(scope)}.{_text(client.encode())}"
    return f"{_BEGIN}{payload}.{_tag(payload, secret)}"


def client(keys: Iterable[str], known: Sequence[clients.Known], secret: bytes, now: float) -> Client | Refusal | None:
    """Return on whose behalf a request with such a key among *keys* is sent; None: it has none that was issued here."""
    payload, _, tag = next((key for key in keys if key.startswith(_BEGIN)), "").removeprefix(_BEGIN).rpartition(".")
    if not payload or not hmac.compare_digest(_tag(payload, secret).encode(), tag.encode("utf-8", "surrogateescape")):
        return None
    expires, scope, name = payload.split(".")
    if float(expires) <= now:
        return EXPIRED
    if not known:
        return Client(_bytes(scope), may_pin=True)
    found = clients.of_name(_bytes(name).decode(), known, secret)
    return replace(found, scope=_bytes(scope), may_pin=True) if found else clients.GONE


def _tag(payload: str, secret: bytes) -> str:
    return keyed.tag(keyed.derive(secret, _PURPOSE), payload.encode("utf-8", "surrogateescape"), _SIZE).hex()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
