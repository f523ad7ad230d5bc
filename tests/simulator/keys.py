"""Whose credential a request carries, in whichever of the usual places."""

from __future__ import annotations

from urllib.parse import parse_qs

from .exchange import Incoming

OWN_HEADER = "x-acme-ticket"  # of a provider with a place of its own, whose name says nothing of a key


def credentials(incoming: Incoming, query: str) -> list[tuple[str, str]]:
    """Return every credential of the request as (form, value), in the order in which providers look for them."""
    found: list[tuple[str, str]] = []
    for name, value in incoming.headers:
        form = name.lower()
        if form == "authorization":
            scheme, _, token = value.partition(" ")
            found.append((scheme.lower(), token.strip()))
        elif form == OWN_HEADER:
            found.append((form, value.removeprefix("Token ")))
        elif form in ("x-api-key", "x-goog-api-key", "api-key"):
            found.append((form, value))
    return found + [("query", value) for value in parse_qs(query).get("key", [])]
