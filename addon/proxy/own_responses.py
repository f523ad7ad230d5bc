"""Answers of our own, in the dialect of whoever asked."""

from __future__ import annotations

from mitmproxy import http

from .. import dialects
from ..values.decision import Refusal


def refusal(dialect: str, refusal: Refusal, request_id: str) -> http.Response:
    """Return *refusal* as an HTTP answer whose body a client of *dialect* understands."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if request_id:
        headers["x-patchbay-request-id"] = request_id
    shape = dialects.of(dialect)
    headers |= shape.error_headers(refusal)
    return http.Response.make(refusal.status, shape.error(refusal, request_id), headers)
