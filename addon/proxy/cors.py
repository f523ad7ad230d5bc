"""What the browser of a page that is allowed to ask wants to hear before it asks, and before it shows an answer."""

from __future__ import annotations

from mitmproxy import http

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_SECONDS = "600"  # for which a browser need not ask again


def preflight(request: http.Request, origin: str) -> http.Response | None:
    """Answer a browser that asks whether a page of *origin* may send what it wants to; None: it does not ask."""
    if not origin or request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
        return None
    headers = {
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": request.headers.get("access-control-request-headers", "*"),
        "access-control-max-age": _SECONDS,
    }
    if "access-control-request-private-network" in request.headers:
        headers["access-control-allow-private-network"] = "true"
    return http.Response.make(204, b"", headers)


def admit(response: http.Response, origin: str) -> None:
    """Let a page of *origin* read *response*, which may have been made for another."""
    if origin:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-expose-headers"] = "*"
        response.headers["vary"] = ", ".join(filter(None, (response.headers.get("vary", ""), "origin")))
