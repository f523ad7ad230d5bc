"""The head of an upstream's answer, as the client gets it, and whether the body streams through."""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy import http

from .. import answer_urls
from ..media_types import EVENTS, is_json, media_type
from ..returned_stamps import repeats_stamp, without_stamp
from ..unasked_counts import without_count
from ..values import header_names
from ..values.account import COUNT
from ..values.decision import session_name
from .exchange_driver import ExchangeDriver
from .header_fields import HeaderFields

COLLECTED = 64 << 20  # bytes up to which a JSON answer goes out in one piece; a larger one is not read
_OUR_PREFIX = header_names.OURS.encode()
_REQUEST_ID, _ACCOUNT = header_names.REQUEST_ID.encode(), header_names.ACCOUNT.encode()
_SESSION, _SESSION_ID = header_names.SESSION.encode(), header_names.SESSION_ID.encode()
_OF_ACCOUNT = header_names.encoded({*header_names.ACCOUNTS, "set-cookie"})  # whose account ours is


def without_private(headers: http.Headers) -> HeaderFields:
    """Return *headers* of an answer without those that are Patchbay's to set, or reveal the account."""
    fields = HeaderFields(headers.fields)
    fields.drop(_is_private)
    return fields


def for_client(response: http.Response, driver: ExchangeDriver) -> HeaderFields:
    """Return the head that the client gets of *response*, an upstream's."""
    assert driver.lease is not None
    fields, exchange = without_private(response.headers), driver.exchange
    fields.drop_hops(b"Upgrade" if response.status_code == 101 else b"")
    if exchange and exchange.refusal:  # this is the last of several answers, and all were failures
        fields.put(header_names.GAVE_UP.encode(), exchange.refusal.code.encode())
    fields.add(_REQUEST_ID, driver.lease.request_id.encode())
    fields.add(_ACCOUNT, driver.lease.account.id.encode())
    if exchange and (session := session_name(exchange.identity.affinity)):
        fields.add(_SESSION, session.encode())
    if driver.lease.session_id:
        fields.add(_SESSION_ID, driver.lease.session_id.encode())
    driver.rewrite_head(fields, response.status_code)
    return fields


def taken_off(driver: ExchangeDriver) -> Callable[[bytes], bytes] | None:
    """Return what takes out of the answer what is there for our sake; None where there is nothing."""
    if driver.lease is None or driver.exchange is None:
        return None
    if repeats_stamp(driver.lease.account.provider, driver.exchange.request):
        return without_stamp
    return without_count if COUNT in driver.lease.edit.body else None


def streams(fields: HeaderFields, status: int, driver: ExchangeDriver) -> bool:
    """Whether the body behind the head *fields* goes to the client as it comes."""
    if status >= 400:
        return False
    if driver.exchange is not None and driver.exchange.stream:  # JSON may then be an array that grows, or lines
        return True
    read = COLLECTED if driver.target.endpoint.kind == "generation" else answer_urls.READ
    return _length(fields) > read or not is_json(media_type(fields.first(b"content-type").decode("latin-1")))


def is_events(fields: HeaderFields) -> bool:
    """Whether the body is a stream of events that can be read."""
    kind = media_type(fields.first(b"content-type").decode("latin-1"))
    return kind == EVENTS and b"content-encoding" not in fields


def _is_private(name: bytes) -> bool:
    return name.startswith(_OUR_PREFIX) or name in _OF_ACCOUNT


def _length(fields: HeaderFields) -> int:
    length = fields.first(b"content-length")
    return int(length) if length.isdigit() else 0
