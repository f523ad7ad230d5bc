"""
What a flow keeps of its exchange beyond what it shows: written when the exchange ends, read by `explain` and replays.

The flow holds a placeholder where the client's credential was, so whoever needs the client's scope finds it here, as
the keyed digest it is everywhere else. Nothing is read from texts that are meant for people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from blake3 import blake3
from mitmproxy import http, io

from .. import clients
from ..body import Body
from ..router import Exchange
from ..values.answer import Head
from ..values.decision import Decision
from ..values.http import Headers, Origin, Request, Served
from . import header_fields, message_content, stored_flows

_SERVED = "patchbay.served"
_CONTEXT = "patchbay 2026 headers of a flow"
_SCOPE = 16  # bytes
_SEED = re.compile(r"[0-9A-Za-z._:-]{1,64}")  # our own are 32 hexadecimal characters
# What stands in the place of a credential: with the account's id behind it, and maybe a scheme before it.
_PLACEHOLDER = re.compile(rb"(?:[\w-]+ )?patchbay(?::.*)?", re.DOTALL)
_OF_THE_WIRE = frozenset((b"host", b"content-length", b"connection", b"transfer-encoding"))  # they change by themselves
_MESSAGES, _CANDIDATES, _EVIDENCE = "patchbay.exchanges", "patchbay.candidates", "patchbay.evidence"
_BESIDE = frozenset((_SERVED, _MESSAGES, _CANDIDATES, _EVIDENCE, "patchbay.sent", "patchbay.on_socket"))


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """
    What a flow says of its exchange.

    *line* is what the journal said, *messages* the lines of the exchanges on its WebSocket. *scope* is the client's;
    None where the flow does not tell. *candidates* says by account why it was not taken.
    """

    line: Mapping[str, Any]
    served: Served
    scope: bytes | None = None
    candidates: Mapping[str, str] | None = None
    messages: tuple[Mapping[str, Any], ...] = ()

    def text(self, name: str) -> str:
        """Return the member *name* of the journal's line, empty where it holds no text."""
        found = self.line.get(name)
        return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True)
class SocketRecord:
    """One exchange on a stored WebSocket: the message that asked, and those that answered."""

    request: Body
    answer: tuple[bytes, ...]
    served: Served


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """
    One flow: where it went, what was sent, what came back, and what it says of the exchange, if anything.

    *account* is the one that served it, if that is known; *messages* are the exchanges on its WebSocket.
    """

    method: str
    origin: Origin
    path: str
    headers: Headers
    body: bytes
    head: Head | None = None
    answer: bytes = b""
    happened: FlowRecord | None = None
    account: str = ""
    messages: tuple[SocketRecord, ...] = ()


def note(flow: http.HTTPFlow, exchange: Exchange, decision: Decision, key: bytes) -> None:
    """
    Keep with *flow*, under the master *key*, what its replay and `explain` need beside the journal's line.

    A replay that no account served leaves what is known of the exchange before it.
    """
    if not decision.account and flow.is_replay:
        return
    attempt = exchange.attempt
    flow.metadata[_SERVED] = {
        "account": decision.account,
        "session": decision.identity.affinity,
        "thread": decision.identity.thread,
        "tier": decision.identity.tier,
        "session_id": decision.session_id,
        "slot": attempt.choice.slot if attempt else None,
        "request_id": decision.request_id,
        "scope": exchange.request.client.scope.hex(),
        "client": decision.client,
        "digest": exchange.digest.hex() if _is_as_it_came(flow.request, exchange.request) else "",
        "headers": _digest(flow.request, key),
    }


def happened(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> FlowRecord | None:
    """
    Return what *flow* says of its exchange, None when it says nothing.

    *ours* says whether it was written under the master *key*: only then can be told whether it was edited since.
    """
    line = {name.removeprefix("patchbay."): value for name, value in flow.metadata.items()
            if name.startswith("patchbay.") and name not in _BESIDE}  # fmt: skip
    if "account" not in line:
        return None
    candidates, messages = flow.metadata.get(_CANDIDATES), flow.metadata.get(_MESSAGES)
    line["attempts"] = stored_flows.records(line.get("attempts"))
    return FlowRecord(
        line,
        served(flow, key, ours=ours),
        scope(flow),
        {str(name): str(why) for name, why in candidates.items()} if isinstance(candidates, dict) else None,
        tuple(
            {**each, "attempts": stored_flows.records(each.get("attempts"))} for each in stored_flows.records(messages)
        ),
    )


def served(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> Served:
    """Return how *flow* was served, as far as it tells; *ours* as in `happened`."""
    known = _known(flow)
    if known is None:  # before flows kept more than the journal's line, and the records of their attempts
        sent = stored_flows.records(flow.metadata.get("patchbay.sent")) or [{}]
        known = {name: flow.metadata.get(f"patchbay.{name}") for name in _TEXTS} | {"digest": sent[-1].get("digest")}
    account, tier, digest = (_text(known, name) for name in ("account", "tier", "digest"))
    session, thread, session_id = (_seed(known, name) for name in ("session", "thread", "session_id"))
    slot = known.get("slot")
    found = Served(account, session, thread, tier, session_id, slot if isinstance(slot, int) else None)
    headers = known.get("headers")
    return (
        replace(found, digest=digest, edited=bool(headers) and headers != _digest(flow.request, key)) if ours else found
    )


_TEXTS = ("account", "session", "thread", "tier", "session_id", "digest")


def scope(flow: http.HTTPFlow) -> bytes | None:
    """Return the scope of the client that sent *flow*; None where the flow does not tell."""
    try:
        found = bytes.fromhex(_text(_known(flow) or {}, "scope"))
    except ValueError:
        return None
    return found if _known(flow) is not None and len(found) in (0, _SCOPE) else None


def client(flow: http.HTTPFlow) -> str:
    """Return the name of the client that sent *flow*, empty where the flow does not tell."""
    return _text(_known(flow) or {}, "client") or _text(flow.metadata, "patchbay.client")


def request_id(flow: http.HTTPFlow) -> str:
    """Return the id of the attempt that served *flow*, empty where the flow does not tell."""
    return _text(_known(flow) or {}, "request_id") or _text(flow.metadata, "patchbay.request_id")


def read(path: Path, key: bytes, ours: Callable[[str], bool]) -> Iterator[StoredAnswer]:
    """
    Yield the HTTP flows of the dump at *path*. Raises OSError, and ValueError for what is no dump.

    *ours* says of a request id whether it was made under the master *key*.
    """
    with path.open("rb") as file:
        try:
            for flow in io.FlowReader(file).stream():
                if isinstance(flow, http.HTTPFlow):
                    yield _stored(flow, key, ours=ours(request_id(flow)))
        except stored_flows.NO_DUMP as e:
            raise ValueError(f"no dump, or broken there: {e}") from e


def without_placeholders(headers: Headers) -> Headers:
    """Return *headers* without those that held a credential, of which only a placeholder is left."""
    return Headers((name, value) for name, value in headers if not is_placeholder(value))


def is_placeholder(value: str) -> bool:
    """Whether *value* stands in the place of a credential."""
    return _PLACEHOLDER.fullmatch(value.encode("utf-8", "surrogateescape")) is not None


def _stored(flow: http.HTTPFlow, key: bytes, *, ours: bool) -> StoredAnswer:
    request, response = flow.request, flow.response
    found = happened(flow, key, ours=ours)
    return StoredAnswer(
        method=request.method,
        origin=Origin(request.scheme.lower(), request.host.lower(), request.port),
        path=request.path,
        headers=header_fields.read(request.headers),
        body=message_content.content(request, message_content.KEPT),
        head=Head(response.status_code, header_fields.read(response.headers)) if response else None,
        answer=(response.raw_content or b"") if response else b"",
        happened=found,
        # an answer that was kept by somebody between Patchbay and the client still names its account
        account=found.served.account if found else response.headers.get("x-patchbay-account", "") if response else "",
        messages=tuple(_on_socket(flow)),
    )


def _is_as_it_came(request: http.Request, came: Request) -> bool:
    """
    Whether the digest of what *came* is that of the *request* as it ends.

    It is not where it was edited while it was intercepted, nor where its body streamed through and was not read: of
    those nobody can say later whether they were edited.
    """
    if came.body.raw is None or not clients.is_same_path(request.path, came.path):
        return False
    return "content-encoding" in request.headers or (request.raw_content or b"") == came.body.raw


def _on_socket(flow: http.HTTPFlow) -> Iterator[SocketRecord]:
    for each in stored_flows.on_socket(flow):
        last = each.attempts[-1] if each.attempts else {}
        if each.request.raw is not None:
            before = Served(_text(last, "account"), _seed(last, "affinity"), _seed(last, "thread"))
            yield SocketRecord(each.request, each.messages or (), before)


def _known(flow: http.HTTPFlow) -> Mapping[str, Any] | None:
    found = flow.metadata.get(_SERVED)
    return found if isinstance(found, dict) else None


def _text(of: Mapping[str, Any], name: str) -> str:
    found = of.get(name)
    return found if isinstance(found, str) else ""


def _seed(of: Mapping[str, Any], name: str) -> str:
    """Return the seed or session id *name*; whoever wrote something else there was not us, and it goes upstream."""
    found = _text(of, name)
    return found if _SEED.fullmatch(found) else ""


def _digest(request: http.Request, key: bytes) -> str:
    """Return a digest of the headers of *request* that only a user changes."""
    kept = [
        lower + b":" + value
        for name, value in request.headers.fields
        if (lower := name.lower()) not in _OF_THE_WIRE and not (b"patchbay" in value and _PLACEHOLDER.fullmatch(value))
    ]
    return blake3(b"\n".join(kept), key=_purpose(key)).hexdigest(16)


@lru_cache(4)
def _purpose(key: bytes) -> bytes:
    return blake3(key, derive_key_context=_CONTEXT).digest()
