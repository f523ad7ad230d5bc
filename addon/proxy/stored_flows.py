"""Flows as they were stored, for replays, `explain` and `verify`. Reading them changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mitmproxy import exceptions, http, io

from .. import dialects
from ..body import Body
from ..correlation import Mint
from ..crosstalk.attempt_record import VERSION, AttemptRecord, Moment, version
from ..crosstalk.detectors import KINDS
from ..crosstalk.reverify import StoredExchange
from ..frozen import dataclass
from ..replacement import CROSSTALK
from ..values import header_names
from ..values.answer import Head
from ..values.http import Headers, Origin, PriorServing
from . import flow_metadata as names, header_fields, message_content
from .flow_metadata import records, text
from .flow_record import PLACEHOLDER, headers_digest

LIMIT = 200_000  # flows that are judged together
_SCOPE = 16  # bytes
_SEED = re.compile(r"[0-9A-Za-z._:-]{1,64}")  # our own are 32 hexadecimal characters
_SERVED_TEXTS = ("account", "session", "thread", "tier", "session_id", "digest")
_ID_HEADERS = (header_names.REQUEST_ID, "x-request-id")


class BrokenDump(ValueError):
    """The file is no dump, or broken in the middle."""


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """
    What a flow says of its exchange.

    *line* is the journal's, *messages* are the lines of the exchanges on its WebSocket. *scope* is the client's, None
    where the flow does not tell. *candidates* says by account why it was not taken.
    """

    line: Mapping[str, Any]
    served: PriorServing
    scope: bytes | None = None
    candidates: Mapping[str, str] | None = None
    messages: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One exchange on a stored WebSocket: the message that asked, and those that answered."""

    request: Body
    answer: tuple[bytes, ...]
    served: PriorServing


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """
    One flow: where it went, what was sent, what came back, and what it says of the exchange, if anything.

    *account* served it, where that is known; *messages* are the exchanges on its WebSocket.
    """

    method: str
    origin: Origin
    path: str
    headers: Headers
    body: bytes
    head: Head | None = None
    answer: bytes = b""
    record: FlowRecord | None = None
    account: str = ""
    messages: tuple[StoredMessage, ...] = ()


def flows(path: Path, key: bytes, ours: Callable[[str], bool]) -> Iterator[StoredFlow]:
    """
    Yield the HTTP flows of the dump at *path*. Raises OSError and BrokenDump.

    *ours* says of a request id whether it was made under the master *key*.
    """
    for _, flow in _http_flows(path):
        yield _stored(flow, key, ours=ours(request_id(flow)))


def exchanges(path: Path, mint: Mint) -> Iterator[StoredExchange]:
    """Yield the exchanges of the dump at *path*, in its first LIMIT flows. Raises OSError and BrokenDump."""
    for number, flow in _http_flows(path):
        if number >= LIMIT:
            return
        yield from exchanges_of(flow, mint)


def exchanges_of(flow: http.HTTPFlow, mint: Mint) -> Iterator[StoredExchange]:
    """Yield what *flow* holds: nothing when it is none of ours, one exchange, or all those of a WebSocket."""
    attempts = records(flow.metadata.get(names.SENT)) or ([] if flow.websocket else _on_the_wire(flow, mint))
    if attempts:
        yield _exchange(flow, attempts)
    yield from _socket_exchanges(flow)


def record_of(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> FlowRecord | None:
    """
    Return what *flow* says of its exchange, None when it says nothing.

    *ours* says whether it was written under the master *key*: only then can be told whether it was edited since.
    """
    line = {
        name.removeprefix(names.PREFIX): value
        for name, value in flow.metadata.items()
        if name.startswith(names.PREFIX) and name not in names.BESIDE_THE_LINE
    }
    if "account" not in line:
        return None
    candidates = flow.metadata.get(names.CANDIDATES)
    return FlowRecord(
        _with_attempts(line),
        served(flow, key, ours=ours),
        scope(flow),
        {str(name): str(why) for name, why in candidates.items()} if isinstance(candidates, dict) else None,
        tuple(map(_with_attempts, records(flow.metadata.get(names.SOCKET_LINES)))),
    )


def served(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> PriorServing:
    """Return how *flow* was served, as far as it tells; *ours* as in `record_of`."""
    known = _served_record(flow)
    if known is None:  # before flows kept more than the journal's line, and the records of their attempts
        sent = records(flow.metadata.get(names.SENT)) or [{}]
        line = {name: flow.metadata.get(f"{names.PREFIX}{name}") for name in _SERVED_TEXTS}
        known = line | {"digest": sent[-1].get("digest")}
    account, tier, digest = (text(known, name) for name in ("account", "tier", "digest"))
    session, thread, session_id = (_seed(known, name) for name in ("session", "thread", "session_id"))
    slot, headers = known.get("slot"), known.get("headers")
    found = PriorServing(account, session, thread, tier, session_id, slot if isinstance(slot, int) else None)
    if not ours:
        return found
    return replace(found, digest=digest, edited=bool(headers) and headers != headers_digest(flow.request, key))


def scope(flow: http.HTTPFlow) -> bytes | None:
    """Return the scope of the client that sent *flow*; None where the flow does not tell."""
    known = _served_record(flow)
    try:
        found = bytes.fromhex(text(known or {}, "scope"))
    except ValueError:
        return None
    return found if known is not None and len(found) in (0, _SCOPE) else None


def client(flow: http.HTTPFlow) -> str:
    """Return the name of the client that sent *flow*, empty where the flow does not tell."""
    return text(_served_record(flow) or {}, "client") or text(flow.metadata, names.CLIENT)


def request_id(flow: http.HTTPFlow) -> str:
    """Return the id of the attempt that served *flow*, empty where the flow does not tell."""
    return text(_served_record(flow) or {}, "request_id") or text(flow.metadata, names.REQUEST_ID)


def without_placeholders(headers: Headers) -> Headers:
    """Return *headers* without those that held a credential, of which only a placeholder is left."""
    return Headers((name, value) for name, value in headers if not is_placeholder(value))


def is_placeholder(value: str) -> bool:
    """Whether *value* stands in the place of a credential."""
    return PLACEHOLDER.fullmatch(value.encode("utf-8", "surrogateescape")) is not None


def _http_flows(path: Path) -> Iterator[tuple[int, http.HTTPFlow]]:
    with path.open("rb") as file:
        try:
            for number, flow in enumerate(io.FlowReader(file).stream()):
                if isinstance(flow, http.HTTPFlow):
                    yield number, flow
        # the last three where a length in the file is absurd
        except (exceptions.FlowReadException, MemoryError, OverflowError, RecursionError) as e:
            raise BrokenDump(f"no dump, or broken there: {e}") from e


def _stored(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> StoredFlow:
    request, response = flow.request, flow.response
    found = record_of(flow, key, ours=ours)
    # an answer that was stored between Patchbay and the client still names its account
    named = response.headers.get(header_names.ACCOUNT, "") if response else ""
    return StoredFlow(
        method=request.method,
        origin=Origin(request.scheme.lower(), request.host.lower(), request.port),
        path=request.path,
        headers=header_fields.read(request.headers),
        body=message_content.content(request, message_content.KEPT),
        head=Head(response.status_code, header_fields.read(response.headers)) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        record=found,
        account=found.served.account if found else named,
        messages=tuple(_messages(flow)),
    )


def _messages(flow: http.HTTPFlow) -> Iterator[StoredMessage]:
    for each in _socket_exchanges(flow):
        last = each.attempts[-1] if each.attempts else {}
        if each.request.raw is not None:
            before = PriorServing(text(last, "account"), _seed(last, "affinity"), _seed(last, "thread"))
            yield StoredMessage(each.request, each.messages or (), before)


def _exchange(flow: http.HTTPFlow, attempts: Sequence[Mapping[str, Any]]) -> StoredExchange:
    response = flow.response
    return StoredExchange(
        attempts=tuple(attempts),
        request=Body(message_content.content(flow.request, message_content.KEPT)),
        head=Head(response.status_code, header_fields.read(response.headers)) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        recorded=str(flow.metadata.get(names.VERDICT, "")),
        victim=str(flow.metadata.get(names.VICTIM, "")),
        # of an answer that was cut, the proof itself is not stored, but our last words are
        ours=bool(flow.metadata.get(names.OWN_ANSWER))
        or (flow.error is not None and flow.metadata.get(names.ERROR) == CROSSTALK.code),
        cut=_is_cut(flow, attempts[-1]),
        amends=_amends(flow, attempts),
        amended=tuple(records(flow.metadata.get(names.AMENDED))),
    )


def _amends(flow: http.HTTPFlow, attempts: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Return the verdicts that the answer to the exchange of *attempts* changed."""
    by = attempts[-1].get("exchange") if attempts else None
    return tuple(told for told in records(flow.metadata.get(names.AMENDS)) if told.get("by") == by)


def _is_cut(flow: http.HTTPFlow, record: Mapping[str, Any]) -> bool:
    # before version 1 only the comment said so
    return names.KEPT_BYTES in flow.metadata or (version(record) < 1 and "bytes of the answer are kept" in flow.comment)


def _socket_exchanges(flow: http.HTTPFlow) -> Iterator[StoredExchange]:
    gone, kept = names.forgotten(flow), flow.websocket.messages if flow.websocket else []
    for each in records(flow.metadata.get(names.SOCKET_RECORDS)) if flow.websocket else ():
        places = [each.get(name) for name in ("request", "first", "last")]
        request, first, last = [place if isinstance(place, int) else -1 for place in places]
        at = request - gone
        answer = kept[max(0, first - gone) : max(0, last + 1 - gone)] if first >= 0 else []
        yield StoredExchange(
            attempts=tuple(records(each.get("sent"))),
            request=Body(kept[at].content if 0 <= at < len(kept) else None),
            head=Head(200, Headers()) if answer else None,  # as the messages of a socket are taken, which have none
            messages=tuple(message.content for message in answer if not (message.from_client or message.injected)),
            recorded=str(each.get("verdict", "")),
            victim=str(each.get("victim", "")),
            ours=at < 0,  # what was forgotten cannot be judged again
            cut=at < 0,
            amends=_amends(flow, records(each.get("sent"))),
        )


def _on_the_wire(flow: http.HTTPFlow, mint: Mint) -> list[dict[str, Any]]:
    """Return a record of a flow that was stored between Patchbay and a provider: our id stands in its request."""
    headers = {name.lower(): value for name, value in flow.request.headers.items(multi=True)}
    request_id = next((known for name in _ID_HEADERS if (known := mint.recognise(headers.get(name, "")))), "")
    if not request_id:
        return []
    began, ended = flow.request.timestamp_start, flow.response.timestamp_end if flow.response else None
    endpoint = dialects.endpoint(flow.request.method, flow.request.path.partition("?")[0])
    places = {"header x-request-id": headers.get("x-request-id", ""), "body request_id": request_id}
    record = AttemptRecord(
        request_id=request_id, exchange=request_id, account="", affinity="", thread="", digest="",
        expected={place: value for place, value in places.items() if value}, own=[], earlier=[], client_id="",
        promised=False, headers={"x-request-id": "handler"}, body={"request_id": "body"},
        host=flow.request.host, silent=[], model="", stream=False, dialect=endpoint.dialect, suffix="",
        generation=endpoint.kind == "generation" and flow.request.method == "POST",
        at=Moment(0, began), version=VERSION, kinds=sorted(KINDS),
        seen=[Moment(number, ended or began) for number in range(256)],
    )  # fmt: skip
    return [record.encoded()]


def _with_attempts(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "attempts": records(line.get("attempts"))}


def _served_record(flow: http.HTTPFlow) -> Mapping[str, Any] | None:
    found = flow.metadata.get(names.SERVED)
    return found if isinstance(found, dict) else None


def _seed(of: Mapping[str, Any], name: str) -> str:
    """Return the seed or session id *name*, empty where Patchbay cannot have written it: it goes upstream."""
    found = text(of, name)
    return found if _SEED.fullmatch(found) else ""
