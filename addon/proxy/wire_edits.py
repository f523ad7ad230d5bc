"""What differs on the wire from what the client sent: names and the model alone, since another value may be a key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mitmproxy import http

from .. import body, credential_places
from ..exchange import Exchange
from ..values.http import Headers
from . import message_content
from .exchange_driver import ExchangeDriver

_NAMES = 20  # of each kind


def of(flow: http.HTTPFlow, driver: ExchangeDriver) -> dict[str, Any]:
    """
    Return, as plain types, how the last request of *driver*'s exchange differs from what its client sent.

    *model* and *path* are pairs of before and after; *headers* and *members* were set, *without* was left out. *edited*
    names what a user or another addon changed in *flow*, as far as the exchange saw it before.
    """
    exchange = driver.exchange
    if exchange is None or not exchange.attempts or driver.shadow:
        return {}
    found: dict[str, Any] = _shown(exchange, _by_patchbay(exchange))
    if edited := _shown(exchange, _by_user(flow, driver, exchange)):
        found["edited"] = edited
    return found


def _shown(exchange: Exchange, edits: Iterator[tuple[str, list[str]]]) -> dict[str, list[str]]:
    return {kind: list(map(exchange.shown, names)) for kind, names in edits}


def _by_patchbay(exchange: Exchange) -> Iterator[tuple[str, list[str]]]:
    attempt, asked = exchange.attempts[-1], exchange.request.path.partition("?")[0]
    edit, model = attempt.lease.edit, attempt.lease.model
    if model and exchange.model and model != exchange.model:
        yield "model", [exchange.model, model]
    if (path := edit.path.partition("?")[0]) and path != asked:
        yield "path", [asked, path]
    if names := [name for name, value in edit.headers if value is not None]:
        yield "headers", names[:_NAMES]
    if names := [name for name in edit.body if name != "model"]:
        yield "members", names[:_NAMES]
    without = [name for name, value in edit.headers if value is None]
    if attempt.stripped:
        without.append("what belongs to another account")
    if without:
        yield "without", without[:_NAMES]


def _by_user(flow: http.HTTPFlow, driver: ExchangeDriver, exchange: Exchange) -> Iterator[tuple[str, list[str]]]:
    request, came = flow.request, exchange.request
    if not credential_places.is_same_path(request.path, came.path):
        yield "path", [came.path.partition("?")[0], request.path.partition("?")[0]]
    before, is_touched = came.body.raw, flow.modified()
    if before is not None and _may_differ(request, before, is_touched=is_touched):
        after = message_content.content(request, driver.body_limit)
        if after != before:
            is_touched = True
            if members := _changed_members(before, after):
                yield "members", members
    if is_touched:
        placed = driver.placed_fields  # Patchbay itself sets fields of the flow, such as Host
        known = came.headers if placed is None else driver.request_headers(placed)
        if names := _changed_headers(known, driver.request_headers()):
            yield "headers", names


def _may_differ(request: http.Request, before: bytes, *, is_touched: bool) -> bool:
    """Whether the body is worth a look: one with a content coding is decoded only where *is_touched* by a user."""
    return (request.raw_content or b"") != before and (is_touched or not message_content.coding_of(request))


def _changed_members(before: bytes, after: bytes) -> list[str]:
    """Return the members with another value; the same values in other spellings are no change."""
    try:
        was, now = body.members(before), body.members(after)
    except ValueError:
        return ["body"]
    if not (was and now):
        return ["body"]
    return [name for name in {**was, **now} if not _is_same(was.get(name), now.get(name))][:_NAMES]


def _is_same(before: bytes | None, after: bytes | None) -> bool:
    if before is None or after is None or before == after:
        return before == after
    return _canonical(before) == _canonical(after)


def _canonical(text: bytes) -> str:
    return json.dumps(body.decoded(text), sort_keys=True, default=repr)


def _changed_headers(before: Headers, after: Headers) -> list[str]:
    names = {name.lower(): None for name, _ in (*before, *after)}
    changed = (name for name in names if list(before.all(name)) != list(after.all(name)))
    return [name for name in changed if name != "content-length"][:_NAMES]
