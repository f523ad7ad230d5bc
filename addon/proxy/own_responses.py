"""Answers of Patchbay's own, in the dialect of the client."""

from __future__ import annotations

from mitmproxy import http

from .. import dialects
from ..values import header_names
from ..values.decision import Refusal


def error_response(dialect: str, refusal: Refusal, request_id: str, session: str = "") -> http.Response:
    """Return *refusal* as an HTTP answer whose body a client of *dialect* understands; *session* is a short name."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if request_id:
        headers[header_names.REQUEST_ID] = request_id
    if session:
        headers[header_names.SESSION] = session
    shape = dialects.of(dialect)
    headers |= shape.error_headers(refusal)
    return http.Response.make(refusal.status, shape.error(refusal, request_id), headers)
