"""The provider's back door under `/__sim/`: for programs in another process that need its truth or its faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from . import echo, render
from .exchange import Incoming
from .routes import split
from .rules import Rule
from .steps import Script

if TYPE_CHECKING:
    from .provider import Provider


def control(provider: Provider, incoming: Incoming) -> Script:
    """
    Return the answer to a request for the back door.

    `GET requests[?since=N&bodies=0]` · `GET|DELETE faults` · `POST fault` {"fault", "settings", fields of a rule} ·
    `POST echo` {"mode"} · `POST reset` · `GET stats`.
    """
    path, query = split(incoming.target)
    try:
        return render.document(_value(provider, incoming, path.rpartition("/")[2], query))
    except (ValueError, TypeError, KeyError) as error:
        return render.document({"error": str(error)}, 400)


def _value(provider: Provider, incoming: Incoming, name: str, query: str) -> Any:
    match incoming.method, name:
        case "GET", "requests":
            return {"requests": _requests(provider, query)}
        case "GET", "faults":
            return {"faults": [_rule(rule) for rule in provider.rules.rules]}
        case "DELETE", "faults":
            provider.rules.clear()
        case "POST", "fault":
            return _rule(provider.rules.add(**json.loads(incoming.body)))
        case "POST", "echo":
            mode = str(json.loads(incoming.body)["mode"])
            echo.words_of(mode)
            provider.echo = mode
        case "POST", "reset":
            provider.reset()
        case "GET", "stats":
            return _stats(provider)
        case _:
            raise ValueError(f"{incoming.method} {name}: nothing of that name here")
    return {"ok": True}


def _requests(provider: Provider, query: str) -> list[dict[str, Any]]:
    wanted = parse_qs(query)
    since = int(wanted.get("since", ["0"])[0])
    bodies = wanted.get("bodies") != ["0"]
    return [record.as_json(body=bodies) for record in provider.truth if record.seq > since]


def _rule(rule: Rule) -> dict[str, Any]:
    return {"fault": rule.name, "settings": dict(rule.settings), "matched": rule.matched, "struck": rule.struck}


def _stats(provider: Provider) -> dict[str, Any]:
    records = provider.truth.requests
    return {
        "requests": len(records),
        "victims": len(provider.truth.victims()),
        "running": sum(not record.ended for record in records),
        "connections": len({record.connection for record in records}),
        "echo": provider.echo,
    }
