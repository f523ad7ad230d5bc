"""CORS: the preflight and the response headers for pages that the settings allow."""

from __future__ import annotations

from mitmproxy import http

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_SECONDS = "600"  # for which a browser caches the preflight


def preflight(request: http.Request, origin: str) -> http.Response | None:
    """Return the answer to a preflight of an allowed page of *origin*; None where *request* is none."""
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
    """Let a page of *origin* read *response*, whatever other origin its upstream allowed."""
    if origin:
        response.headers["access-control-allow-origin"] = origin
        response.headers["access-control-expose-headers"] = "*"
        response.headers["vary"] = ", ".join(filter(None, (response.headers.get("vary", ""), "origin")))
