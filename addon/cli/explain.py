"""
`patchbay explain`: whose conversation a request is, tier by tier, and which account it would get.

What a running proxy remembers is not known here; of a dump, the flows before the one in question are gone through.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from .. import clients, config, dialects, keylike, paths
from ..body import Body
from ..router import Exchange, Router
from ..store import master_key
from ..values import Chunk, Client, End, Evidence, Origin, Refusal, Request, Route, Wait
from . import asked
from .asked import Asked

EXIT_MISTAKES, EXIT_USAGE = 1, 2
_SHOWN = 64  # characters of an id
_NO_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class Explained:
    """A request, what was found out about it, and what was decided."""

    request: Request
    exchange: Exchange | None
    decided: Route | Wait | Refusal
    notes: tuple[str, ...] = ()


def explain(arguments: argparse.Namespace) -> int:
    """Say tier by tier what names a request's conversation, the three outputs, and the account it would get."""
    try:
        settings, notes = _settings(arguments)
        router = Router(settings, *_instance(settings, notes))
        explained = _of_flow(arguments, router, notes) if arguments.flow else _of_text(arguments, router, notes)
    except config.ConfigError as e:
        return _complain(str(e), EXIT_MISTAKES)
    except OSError as e:
        return _complain(f"{e.filename or arguments.file}: {e.strerror or e}", EXIT_USAGE)
    except ValueError as e:
        return _complain(f"{arguments.file}: {e}", EXIT_USAGE)
    order = settings.sessions.order
    print(json.dumps(plain(explained, order), indent=2) if arguments.json else "\n".join(lines(explained, order)))
    return 0


def lines(explained: Explained, order: Sequence[str]) -> Iterator[str]:
    """Yield what there is to say, for people."""
    told = plain(explained, order)
    for title in ("request", "client", "binds"):
        yield f"{title:10}{told[title]}"
    yield "\ntier by tier"
    for tier in told["tiers"]:
        yield f"  {tier['tier']:15}{'→ ' if tier['used'] else '  '}{tier['said']}"
    yield "\nwhose"
    for title in ("owner", "affinity", "thread"):
        yield f"  {title:15}{told[title] or 'none'}"
    yield f"\naccount   {told['account']}"
    for candidate in told["candidates"]:
        yield f"  {candidate['account']:15}{candidate['reason'] or '← this one'}"
    for note in told["notes"]:
        yield f"\nnote: {note}"


def plain(explained: Explained, order: Sequence[str]) -> dict[str, Any]:
    """Return what there is to say as plain values."""
    request, exchange = explained.request, explained.exchange
    identity = exchange.identity if exchange else None
    evidence = identity.evidence if identity else ()
    endpoint = request.endpoint
    what = ", ".join(
        filter(None, (endpoint.dialect or "no dialect", endpoint.kind, exchange.model if exchange else ""))
    )
    return {
        "request": f"{request.method} {clients.without_key(request.path, '…')} ({what})",
        "client": request.client.name + (f" {request.client.scope.hex()[:8]}" if request.client.scope else ""),
        "binds": "yes" if identity and identity.binds else "no, it may only follow",
        "tiers": [tier for name in _tiers(order, evidence) for tier in _said(name, evidence)],
        "owner": " or ".join(sorted(identity.owner)) if identity and identity.owner else "",
        "affinity": f"{identity.affinity} ({identity.tier}, {identity.strength})"
        if identity and identity.affinity
        else "",
        "thread": identity.thread if identity else "",
        "account": _account(explained.decided),
        "candidates": [{"account": c.account, "reason": c.reason} for c in exchange.candidates] if exchange else [],
        "notes": list(explained.notes),
    }


def _tiers(order: Sequence[str], evidence: Sequence[Evidence]) -> list[str]:
    return list(dict.fromkeys(("owner", *order, *(found.tier for found in evidence))))


def _said(tier: str, evidence: Sequence[Evidence]) -> list[dict[str, Any]]:
    found = [each for each in evidence if each.tier == tier]
    return [
        {"tier": tier, "used": each.used, "said": _place(each) + (f": ignored, {each.why}" if each.why else "")}
        for each in found
    ] or [{"tier": tier, "used": False, "said": "nothing found"}]


def _place(found: Evidence) -> str:
    value = found.value if len(found.value) <= _SHOWN else found.value[:_SHOWN] + "…"
    return f"{found.where} = {value}" if value else found.where


def _account(decided: Route | Wait | Refusal) -> str:
    match decided:
        case Route():
            return f"{decided.account.id} ({decided.binding})"
        case Wait():
            return f"waits: {decided.reason}"
        case Refusal():
            return f"none: {decided.status} {decided.code}, {decided.message}"


# -- what is read ----------------------------------------------------------------------------------------------------


def _settings(arguments: argparse.Namespace) -> tuple[config.Config, list[str]]:
    file = Path(arguments.config or os.environ.get("PATCHBAY_CONFIG") or "config.yaml").expanduser()
    settings = config.load(file.read_bytes(), str(file), env=os.environ)
    notes = ["what a running proxy remembers is not known here"]
    if settings.clients:
        notes.append("clients' keys are not read here: the request is taken for an unnamed client's")
    return settings, notes


def _instance(settings: config.Config, notes: list[str]) -> tuple[bytes, Random, Any]:
    """Return the key of this instance, if it has one already, and randomness: it is never used up by asking."""
    folder = Path(settings.state).expanduser()
    if (folder / "master.key").exists():
        return master_key(folder), SystemRandom(), secrets.token_bytes
    where = keylike.covered(str(folder))
    notes.append(f"there is no key in {where}, so seeds and a new conversation's account are only examples")
    return _NO_KEY, SystemRandom(), secrets.token_bytes


def _of_text(arguments: argparse.Namespace, router: Router, notes: Sequence[str]) -> Explained:
    text = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    upstream = asked.split(arguments.upstream)[1] if arguments.upstream else None
    return _explained(asked.read(text), router, upstream, notes, now=0.0)[0]


def _of_flow(arguments: argparse.Namespace, router: Router, notes: Sequence[str]) -> Explained:
    from ..proxy import flows  # the host is loaded only when it is needed

    now, number = 0.0, int(arguments.flow)
    for place, flow in enumerate(flows.read(Path(arguments.file)), 1):
        now += 1.0
        path, origin = asked.split(flow.url)
        explained, exchange = _explained(Asked(flow.method, path, flow.headers, flow.body, origin), router, origin,
                                         notes, now, account=flow.account if place < number else "")  # fmt: skip
        if place == number:
            return explained
        if exchange and isinstance(explained.decided, Route):
            for what in (flow.head, Chunk(flow.answer), End()) if flow.head else ():
                router.answered(exchange, what, now)
            router.close(exchange, "", now, status=flow.head.status if flow.head else None)
    raise ValueError(f"there is no flow {number} in it")


def _explained(
    given: Asked, router: Router, upstream: Origin | None, notes: Sequence[str], now: float, account: str = ""
) -> tuple[Explained, Exchange | None]:
    """Let *given* be opened and routed; *account* is the one that is known to have served it."""
    anywhere = Origin("http", paths.ANYWHERE, 80)
    known = given.destination and router.serves(
        dialects.endpoint(given.method, given.path), given.destination, upstream
    )
    client = clients.identify(given.headers, given.path, (), _NO_KEY, loopback=True)
    if isinstance(client, Refusal):  # only where clients are configured, and here none are
        client = Client()
    request = Request(
        given.method,
        given.path,
        given.headers,
        Body(given.body),
        dialects.endpoint(given.method, given.path.partition("?")[0]),
        given.destination if given.destination and known else anywhere,
        client,
    )
    opened = router.open(request, now, reverse=upstream or Origin("https", "the-reverse-upstream.invalid", 443))
    if isinstance(opened, Refusal):
        return Explained(request, None, opened, tuple(notes)), None
    if account:
        opened.identity = replace(opened.identity, home=account)
    decided = router.next(opened, now)
    return Explained(request, opened, decided, tuple(notes)), opened


def _complain(message: str, code: int) -> int:
    print(keylike.covered(message), file=sys.stderr)
    return code
