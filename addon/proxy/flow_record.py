"""
What a flow keeps of its exchange beside its bytes: written when the exchange ends, read by `stored_flows`.

Values are of plain types; with others mitmproxy saves no flow. The flow holds a placeholder where the client's
credential was, so the client's scope stands here, as a keyed digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mitmproxy import http

from .. import credential_places, keyed
from ..exchange import Exchange
from ..values.decision import Candidate, Decision, Evidence
from ..values.http import Request
from . import flow_metadata as names
from .flow_metadata import text

MAX_LINES = 50  # exchanges of one WebSocket whose lines its flow keeps
MAX_RECORDS = 200  # … whose records it keeps
_PURPOSE = "patchbay 2026 headers of a flow"
_CHANGED_BY_MITMPROXY = frozenset(
    (b"host", b"content-length", b"connection", b"transfer-encoding")
)  # they change by themselves
# What stands in the place of a credential: with the account's id behind it, and maybe a scheme before it.
PLACEHOLDER = re.compile(rb"(?:[\w-]+ )?patchbay(?::.*)?", re.DOTALL)


def write_decision(flow: http.HTTPFlow, exchange: Exchange, line: Mapping[str, Any]) -> None:
    """Write the journal's *line* of *exchange* on *flow*, and how its account and its conversation were found."""
    flow.metadata |= decision_metadata(exchange, line)


def decision_metadata(exchange: Exchange, line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `write_decision` writes, as plain types."""
    return metadata_of(line, exchange.candidates, exchange.identity.evidence)


def metadata_of(
    line: Mapping[str, Any], candidates: Iterable[Candidate], evidence: Iterable[Evidence]
) -> dict[str, Any]:
    """Return the metadata of a flow whose exchange has the journal's *line*."""
    found = {f"{names.PREFIX}{name}": value for name, value in line.items()}
    found[names.CANDIDATES] = {each.account: each.reason for each in candidates}
    found[names.EVIDENCE] = [
        {"tier": each.tier, "where": each.where, "used": each.used, "why": each.why} for each in evidence
    ]
    return found


def write_edits(flow: http.HTTPFlow, edits: Mapping[str, Any]) -> None:
    """Write on *flow* how its request differed on the wire, from `wire_edits.of`; a replay leaves no former edits."""
    flow.metadata.pop(names.EDITS, None)
    if edits:
        flow.metadata[names.EDITS] = dict(edits)


def write_attempts(
    flow: http.HTTPFlow, sent: Sequence[Mapping[str, Any]], *, own_answer: bool = False, kept_bytes: int | None = None
) -> None:
    """
    Write on *flow* what another verdict on its exchange takes: the records of its attempts as *sent*.

    *own_answer*: the client got an answer of Patchbay's. *kept_bytes*: how much of a longer answer the flow holds.
    """
    written = {names.OWN_ANSWER: own_answer or None, names.KEPT_BYTES: kept_bytes, names.SENT: list(sent)}
    for name, value in written.items():
        flow.metadata.pop(name, None)  # a replay leaves nothing of the exchange before it
        if value is not None:
            flow.metadata[name] = value


def write_served(flow: http.HTTPFlow, exchange: Exchange, decision: Decision, key: bytes) -> None:
    """
    Write on *flow*, under the master *key*, what its replay and `explain` need beside the journal's line.

    A replay that no account served leaves what is known of the exchange before it.
    """
    if not decision.account and flow.is_replay:
        return
    attempt = exchange.attempt
    flow.metadata[names.SERVED] = {
        "account": decision.account,
        "session": decision.session,
        "thread": decision.thread,
        "tier": decision.tier,
        "session_id": decision.session_id,
        "slot": attempt.lease.slot if attempt else None,
        "request_id": decision.request_id,
        "scope": exchange.request.client.scope.hex(),
        "client": decision.client,
        "digest": exchange.digest.hex() if _is_as_it_came(flow.request, exchange.request) else "",
        "headers": headers_digest(flow.request, key),
    }


def add_line(flow: http.HTTPFlow, line: Mapping[str, Any]) -> None:
    """Add the journal's *line* of one exchange to the WebSocket *flow*, beside the line of its upgrade."""
    flow.metadata[names.SOCKET_LINES] = [*flow.metadata.get(names.SOCKET_LINES, []), line][-MAX_LINES:]


def add_record(flow: http.HTTPFlow, exchange: Mapping[str, Any]) -> None:
    """
    Add to the WebSocket *flow* what another verdict on one of its exchanges takes.

    *exchange* has its attempts' records as `sent`, its `verdict` and `victim`, and which messages of the socket,
    counted from its first, were its `request`, the `first` of its answer and the `last`; -1 where there was none.
    """
    before = names.records(flow.metadata.get(names.SOCKET_RECORDS))
    flow.metadata[names.SOCKET_RECORDS] = [*before[1 - MAX_RECORDS :], dict(exchange)]


def add_amendment(flow: http.HTTPFlow, told: Mapping[str, Any]) -> None:
    """Add to *flow* a verdict on another exchange that its answer changed, as `Amendment.encoded` has it."""
    flow.metadata[names.AMENDS] = [*names.records(flow.metadata.get(names.AMENDS)), dict(told)][-MAX_RECORDS:]


def amend(flow: http.HTTPFlow, told: Mapping[str, Any]) -> None:
    """
    Write on *flow* the verdict that took the place of the one on its exchange, as `Amendment.encoded` has it.

    On a WebSocket the records of that exchange are changed; the flow's own members are those of its last one.
    """
    changed = {name: told[name] for name in ("verdict", "victim", "findings")}
    flow.metadata[names.AMENDED] = [*names.records(flow.metadata.get(names.AMENDED)), dict(told)][-MAX_RECORDS:]
    if text(flow.metadata, f"{names.PREFIX}exchange") == told["exchange"]:
        flow.metadata |= {f"{names.PREFIX}{name}": value for name, value in changed.items()}
    for line in names.records(flow.metadata.get(names.SOCKET_LINES)):
        if line.get("exchange") == told["exchange"]:
            line |= changed
    for record in names.records(flow.metadata.get(names.SOCKET_RECORDS)):
        sent = names.records(record.get("sent"))
        if sent and sent[-1].get("exchange") == told["exchange"]:
            record |= {"verdict": told["verdict"], "victim": told["victim"]}


def add_forgotten(flow: http.HTTPFlow, messages: int) -> None:
    """Count *messages* more, the oldest ones, as no longer kept with the WebSocket *flow*."""
    flow.metadata[names.FORGOTTEN] = names.forgotten(flow) + messages


def headers_digest(request: http.Request, key: bytes) -> str:
    """Return a digest of the headers of *request* that only a user changes, under the master *key*."""
    kept = [
        lower + b":" + value
        for name, value in request.headers.fields
        if (lower := name.lower()) not in _CHANGED_BY_MITMPROXY
        and not (b"patchbay" in value and PLACEHOLDER.fullmatch(value))
    ]
    return keyed.tag(keyed.derive(key, _PURPOSE), b"\n".join(kept)).hex()


def _is_as_it_came(request: http.Request, came: Request) -> bool:
    """
    Whether the digest of what *came* is that of the *request* as it ends.

    It is not where the request was edited while it was intercepted, nor where its body streamed through unread: then
    a later edit could not be told.
    """
    if came.body.raw is None or not credential_places.is_same_path(request.path, came.path):
        return False
    return "content-encoding" in request.headers or (request.raw_content or b"") == came.body.raw
