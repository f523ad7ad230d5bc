"""
`patchbay explain`: the conversation a request belongs to, tier by tier, and the account it would get.

The memory of a running proxy is not available here. Of a flow file, the flows before the explained one are replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Literal

from .. import clients, credential_places, dialects, secret_patterns, upstream_url
from ..accounts.lease import Lease
from ..body import Body
from ..credential_places import KeyHeaders
from ..exchange import Exchange
from ..frozen import dataclass
from ..guards import Arrival, Guards
from ..launch import unwritten
from ..proxy import environment
from ..router import Router
from ..settings import reader
from ..settings.settings import Config
from ..values.answer import AnswerEvent, Chunk, End, Head, Message
from ..values.decision import SESSION_NAME_LENGTH, Evidence, Refusal, Wait, in_words, session_name
from ..values.http import Client, Headers, Origin, PriorServing, Request
from ..visible_text import visible
from . import inputs, request_file, shown
from .inputs import EXIT_FOUND, CommandError
from .request_file import RequestFile

if TYPE_CHECKING:
    from ..proxy.stored_flows import FlowRecord, StoredFlow

_SHOWN = 64  # characters of an id
_HARMLESS = frozenset({"alt=sse", "beta=true"})  # of a query
_NO_KEY = bytes(32)
# the name of a session, or a part of its affinity; the id of an exchange; a request id
_RUNNING = re.compile(r"[0-9a-f]{4,32}|pb1-[0-9a-z]{8,64}")
_OF_A_SOCKET: AnswerEvent = Head(200, Headers())  # messages have no head of their own
_ByHead = Refusal | Literal["passes"] | None
_Decided = Lease | Wait | Refusal | Literal["passes"]


@dataclass(frozen=True, slots=True)
class Explained:
    """
    A request, its exchange, and the decision of a fresh pool ("passes": by its head).

    *happened* is the record in its flow, the one at *place* in the file; both are empty without a flow.
    """

    request: Request
    exchange: Exchange | None
    decided: _Decided
    notes: tuple[str, ...] = ()
    happened: FlowRecord | None = None
    place: int = 0


def explain(arguments: argparse.Namespace) -> int:
    """
    Print tier by tier what identifies a request's conversation, and the account it would get.

    Of a session, print what happened to its last exchange in the running proxy.
    """
    if not arguments.flow and _RUNNING.fullmatch(arguments.file) and not Path(arguments.file).exists():
        return shown.explain(arguments, arguments.file)
    settings, notes = _settings(arguments)
    key = _key(settings, notes)
    router = Router(settings, key, SystemRandom(), secrets.token_bytes)
    try:
        explained = (_of_flow if arguments.flow else _of_text)(arguments, router, key)
    except ValueError as e:
        raise CommandError(f"{arguments.file}: {e}") from e
    explained = replace(explained, notes=(*notes, *explained.notes))
    order = settings.sessions.order
    if arguments.json:
        print(json.dumps(plain(explained, order), indent=2, default=repr))
    else:
        print("\n".join(map(_shown, lines(explained, order))))
    return EXIT_FOUND if isinstance(explained.decided, Refusal) else 0


def lines(explained: Explained, order: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the report."""
    told = plain(explained, order)
    if explained.place:
        yield from _what_happened(told["happened"], explained.place)
        yield "\nWHAT A FRESH POOL WOULD DO, after the flows before this one and with nothing else remembered"
    for title in ("request", "client", "binds"):
        yield f"{title:10}{told[title]}"
    yield "\ntier by tier"
    for tier in told["tiers"]:
        yield f"  {tier['tier']:15}{'→ ' if tier['used'] else '  '}{tier['said']}"
    yield "\nwhose"
    for title in ("owner", "session", "affinity", "thread"):
        yield f"  {title:15}{told[title] or 'none'}"
    yield f"\naccount   {told['account']}"
    for candidate in told["candidates"]:
        yield f"  {candidate['account']:15}{candidate['reason'] or '← this one'}"
    for note in told["notes"]:
        yield f"\nnote: {note}"


def _shown(line: str) -> str:
    """Escape *line*, but for a line break that begins it."""
    return "\n" + visible(line[1:]) if line.startswith("\n") else visible(line)


def plain(explained: Explained, order: Sequence[str]) -> dict[str, Any]:
    """Return the report as plain values."""
    request, exchange = explained.request, explained.exchange
    identity = exchange.identity if exchange else None
    evidence = identity.evidence if identity else ()
    names = dict.fromkeys(("owner", *order, *(found.tier for found in evidence)))
    endpoint = request.endpoint
    what = ", ".join(
        filter(None, (endpoint.dialect or "no dialect", endpoint.kind, exchange.model if exchange else ""))
    )
    return {
        "happened": _plain(explained.happened) if explained.happened else None,
        "fresh_pool": "all below is what a fresh pool would do"
        + (", after the flows before this one" if explained.place else ""),
        "request": f"{request.method} {_path(request.path)} ({what})",
        "client": request.client.name + (f" {request.client.scope.hex()[:8]}" if request.client.scope else ""),
        "binds": "yes" if identity and identity.binds else "no, it uses existing bindings only",
        "tiers": [tier for name in names for tier in _said(name, evidence)],
        "owner": " or ".join(sorted(identity.owner)) if identity and identity.owner else "",
        "session": session_name(identity.affinity) if identity else "",
        "affinity": f"{identity.affinity} ({identity.tier}, {identity.strength})"
        if identity and identity.affinity
        else "",
        "thread": identity.thread if identity else "",
        "account": _account(explained.decided),
        "candidates": [{"account": c.account, "reason": c.reason} for c in exchange.candidates] if exchange else [],
        "notes": list(explained.notes),
    }


# members of an exchange's journal line, in the order of the report
_TOLD = (
    "time", "exchange", "request_id", "client", "method", "path", "dialect", "model", "provider", "pool", "account",
    "binding", "moved_from", "moved_because", "session", "session_id", "thread", "tier", "status", "error", "verdict",
    "attempts", "mode",
)  # fmt: skip


def _plain(happened: FlowRecord) -> dict[str, Any]:
    told = {name: happened.line.get(name) for name in _TOLD}
    messages = [{name: line.get(name) for name in _TOLD} for line in happened.messages]
    return {**told, "candidates": dict(happened.candidates or {}), "on_socket": messages}


def _what_happened(told: dict[str, Any] | None, place: int) -> Iterator[str]:
    """Yield the report on the exchange of the flow at *place*."""
    yield f"WHAT HAPPENED, as flow {place} says"
    if told is None:
        yield "nothing: the flow was refused before it got an account, is under way, or did not pass Patchbay"
        return
    yield from _exchange(told)
    for account, reason in told["candidates"].items():
        yield f"  {account:15}{reason or '← this one'}"
    for number, message in enumerate(told["on_socket"], 1):
        yield f"\n  on the socket, {number}"
        yield from (f"  {line}" for line in _exchange(message))


def _exchange(told: dict[str, Any]) -> Iterator[str]:
    account = f"none: {told['status']} {told['error']}" if told["error"] else "none"
    if told["account"]:
        account = _placed(*(str(told[name] or "") for name in ("account", "binding", "moved_from", "moved_because")))
    if told["mode"] == "shadow":
        account += ", in shadow mode: sent with the client's own key"
    yield f"account     {account}"
    session = str(told["session"] or "")
    yield f"session     {session_name(session) or 'none'} ({told['tier'] or 'nothing named it'})"
    yield f"affinity    {session or 'none'}"
    yield f"session id  {told['session_id'] or 'none'}"
    yield f"client      {told['client']}"
    yield f"request id  {told['request_id'] or 'none'}"
    answered = " ".join(str(told[name]) for name in ("status", "error", "verdict") if told[name])
    yield f"answered    {answered or 'nothing'}"
    tried = [f"{a.get('account')}: {a.get('outcome')} {a.get('status') or ''}".strip() for a in told["attempts"] or ()]
    if len(tried) > 1:
        yield f"attempts    {', '.join(tried)}"


def _path(path: str) -> str:
    """Return *path* without the values of its query: any of them may be a key."""
    bare, mark, query = path.partition("#")[0].partition("?")
    parts = re.split("[&;]", query) if query else []
    return bare + mark + "&".join(part if part in _HARMLESS else _without_value(part) for part in parts)


def _without_value(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}=…" if equals else "…"


def _said(tier: str, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    found = [each for each in evidence if each.tier == tier]
    return [
        {"tier": tier, "used": each.used, "said": _place(each) + (f": ignored, {each.why}" if each.why else "")}
        for each in found
    ] or [{"tier": tier, "used": False, "said": "nothing found"}]


def _place(found: Evidence) -> str:
    value = found.value if len(found.value) <= _SHOWN else found.value[:_SHOWN] + "…"
    return f"{found.where} = {value}" if value else found.where


def _placed(account: str, binding: str, moved_from: str, why: str) -> str:
    word = in_words(binding, moved_from, why)
    return f"{account} ({word})" if word else account


def _account(decided: _Decided) -> str:
    match decided:
        case Lease():
            placed = decided.placement
            return _placed(decided.account.id, placed.binding, placed.moved_from, placed.because)
        case Wait():
            return f"waits: {decided.reason}"
        case Refusal():
            return f"none: {decided.status} {decided.code}, {decided.message}"
        case "passes":
            return "none: no account serves it, and it passes with the client's own key"


# -- what is read ----------------------------------------------------------------------------------------------------


def _settings(arguments: argparse.Namespace) -> tuple[Config, list[str]]:
    file = environment.settings_file(arguments.config)
    made = unwritten.in_place_of(file, arguments.config, os.environ)
    settings = reader.load(made.text if made else file.read_bytes(), str(file), env=os.environ)
    notes = ["not looked at here: the memory of a running proxy, preflights, `GET /`, the limits of a body"]
    if settings.clients and not arguments.flow:
        notes.append("client keys are not read here: the request counts as an unnamed client's")
    if made:
        notes.append(made.told())
    return settings, notes


def _key(settings: Config, notes: list[str]) -> bytes:
    """Return the key of this instance, or a constant where there is none yet: explaining makes none."""
    folder = inputs.state_folder(settings)
    if (folder / "master.key").exists():
        return inputs.existing_key(folder)
    where = secret_patterns.covered(str(folder))
    notes.append(f"there is no key in {where}, so ids and the account of a new conversation are only examples")
    return _NO_KEY


def _of_text(arguments: argparse.Namespace, router: Router, key: bytes) -> Explained:
    text = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    upstream = None if (named := request_file.split(arguments.upstream or "")[1]) == upstream_url.ANY_ORIGIN else named
    given = request_file.read(text)
    client = _unnamed(given.headers, given.path, key, router.config)
    return _explained(_request(given, router, upstream, client), router, upstream, now=0.0)


def _of_flow(arguments: argparse.Namespace, router: Router, key: bytes) -> Explained:
    from ..proxy import stored_flows  # the host is loaded only when it is needed

    now, number = 0.0, _number(arguments, router, key)
    for place, flow in enumerate(stored_flows.flows(Path(arguments.file), key, router.is_own_id), 1):
        now += 1.0
        given = _given(flow)
        upstream = None if given.destination == upstream_url.ANY_ORIGIN else given.destination
        request = _request(given, router, upstream, _client(flow, router.config, key))
        if place == number:
            last = _explained(request, router, upstream, now, flow.record.served if flow.record else None)
            return replace(last, happened=flow.record, place=place, notes=tuple(_notes(flow, last)))
        _again(flow, request, router, upstream, now)
    raise ValueError(f"there is no flow {number} in it")


def _number(arguments: argparse.Namespace, router: Router, key: bytes) -> int:
    """Return the number of the flow that `--flow` names: by itself, or as the last one of a session or a request id."""
    from ..proxy import stored_flows

    wanted = arguments.flow
    if wanted.isascii() and wanted.isdecimal() and len(wanted) < SESSION_NAME_LENGTH:
        return int(wanted)
    if len(wanted) < SESSION_NAME_LENGTH:
        raise ValueError("--flow takes the number of a flow, counted from 1, the name of a session, or a request id")
    flows = enumerate(stored_flows.flows(Path(arguments.file), key, router.is_own_id), 1)
    found = [place for place, flow in flows if flow.record and _is_named(flow.record, wanted)]
    if not found:
        raise ValueError(f"there is no flow of {wanted!r} in it")
    return found[-1]


def _is_named(record: FlowRecord, wanted: str) -> bool:
    lines = (record.line, *record.messages)
    return any(str(line.get(name) or "").startswith(wanted) for line in lines for name in ("session", "request_id"))


def _given(flow: StoredFlow) -> RequestFile:
    """Return the request of *flow* as the proxy read it: with the client's placeholder, not the account's."""
    path, origin = flow.path, flow.origin
    if flow.record is None:
        return RequestFile(flow.method, path, flow.headers, flow.body, origin)
    if str(flow.record.line.get("pool")).endswith("@any"):  # on one port; the flow names the account's own host
        origin = upstream_url.ANY_ORIGIN
    return RequestFile(flow.method, credential_places.without_key(path, "patchbay"), flow.headers, flow.body, origin)


def _client(flow: StoredFlow, settings: Config, key: bytes) -> Client:
    """Return the client of *flow*: its recorded scope with the present rights, else by its own credential."""
    from ..proxy import stored_flows

    scope = flow.record.scope if flow.record else None
    if scope is None:
        path = flow.path
        kept = stored_flows.without_placeholders(flow.headers)
        if stored_flows.is_placeholder(credential_places.in_query(path)):
            path = credential_places.without_key(path)
        return _unnamed(kept, path, key, settings)
    name = str(flow.record.line.get("client") or "") if flow.record else ""
    for one in settings.clients:
        if one.name == name:
            return Client(scope, one.name, one.may_pin, one.pools, one.providers, one.models)
    return Client(scope, name or "local", may_pin=True)


def _unnamed(headers: Headers, path: str, key: bytes, settings: Config) -> Client:
    places = KeyHeaders(settings.credential_headers)
    found = clients.identify(headers, path, (), key, loopback=True, places=places)
    return Client() if isinstance(found, Refusal) else found  # refused only with configured clients


def _notes(flow: StoredFlow, explained: Explained) -> Iterator[str]:
    happened, exchange = flow.record, explained.exchange
    if happened is None:
        yield "the flow does not say what happened"
        return
    digest = happened.served.digest
    same = exchange is not None and exchange.digest.hex() == digest and not happened.served.edited
    if happened.scope is None and not same:
        yield "the flow does not hold its client's scope, so its conversation may have another name here"
    if happened.served.edited or (digest and not same):
        yield "the flow was edited since; the second part is about its present content"


def _again(flow: StoredFlow, request: Request, router: Router, upstream: Origin | None, now: float) -> None:
    """Replay *flow* in *router*: its account, and the ids of its answer."""
    before = flow.record.served if flow.record else PriorServing(flow.account)
    exchange = router.open(request, now, reverse=upstream)
    if isinstance(exchange, Refusal):
        return
    lease = _served(router, exchange, before, now)
    head = flow.head
    if lease is None or head is None:
        return
    for what in (head, Chunk(flow.answer), End()):
        router.answered(exchange, what, now)
    router.close(exchange, "", now, status=head.status)
    for each in flow.messages:
        message = router.open(replace(request, body=each.request), now, reverse=upstream, socket_lease=lease)
        if isinstance(message, Refusal) or _served(router, message, each.served, now) is None:
            continue
        for answer in (_OF_A_SOCKET, *map(Message, each.answer)):
            router.answered(message, answer, now)
        router.close(message, "", now, status=200)


def _served(router: Router, exchange: Exchange, before: PriorServing, now: float) -> Lease | None:
    """Lease *exchange* as it was *before*, as far as that is known."""
    if before.account:
        known = {"affinity": before.affinity, "thread": before.thread} if before.affinity else {}
        exchange.identity = replace(exchange.identity, home=before.account, **known)  # type: ignore[arg-type]
        exchange.prior_serving = before
    decided = router.next(exchange, now)
    if isinstance(decided, Lease):
        return decided
    router.close(exchange, "", now)
    return None


def _request(given: RequestFile, router: Router, upstream: Origin | None, client: Client) -> Request:
    destination = given.destination or upstream or upstream_url.ANY_ORIGIN
    endpoint = dialects.endpoint(given.method, given.path.partition("?")[0])
    endpoint = router.destinations.resolve(endpoint, given.path, given.headers, destination, upstream)
    return Request(given.method, given.path, given.headers, Body(given.body), endpoint, destination, client)


def _explained(
    request: Request, router: Router, upstream: Origin | None, now: float, before: PriorServing | None = None
) -> Explained:
    """Open and route *request*; unchanged since *before*, it keeps the identity it had."""
    by_head = _by_head(request, router, upstream, now, recorded=before is not None)
    opened = by_head or router.open(request, now, reverse=upstream)
    if not isinstance(opened, Exchange):
        return Explained(request, None, opened)
    if before and before.tier and not before.edited and before.digest == opened.digest.hex():
        opened.identity = replace(opened.identity, affinity=before.affinity, thread=before.thread, tier=before.tier)
    return Explained(request, opened, router.next(opened, now))


def _by_head(request: Request, router: Router, upstream: Origin | None, now: float, *, recorded: bool) -> _ByHead:
    """Return what the head of *request* decides in the proxy; one *recorded* has passed the guards."""
    endpoint, to, there = request.endpoint, request.destination, router.destinations
    places = KeyHeaders(router.config.credential_headers)
    serves, keyed = there.serves(endpoint, to, upstream), any(places.keys_in(request.headers, request.path))
    if not serves and there.passes(endpoint, to, reverse=to in (upstream, upstream_url.ANY_ORIGIN), keyed=keyed):
        return "passes"
    if router.config.mode == "shadow":
        return None
    host = ", ".join(request.headers.all("host")) or to.host
    arrival = Arrival(request.method, request.path, request.headers, host, here=(to.host,))
    refused = None if recorded else Guards(router.config).refusal(arrival, endpoint)
    return refused or (None if serves else there.unserved(endpoint, to, upstream, request.client, now))
