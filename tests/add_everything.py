"""Use what `test_how_to_add` added to a copy of the package; print what came of it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from itertools import count
from random import Random

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.cli.main import main as command
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings import reader
from patchbay.upstream_url import ANYWHERE
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Decision
from patchbay.values.http import Headers, Origin, Request

UPSTREAM = Origin("http", ANYWHERE, 80)
QUESTION = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
ANSWER = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "model": "m!", "choices": []}).encode()
ACME = "accounts: [{id: one, provider: acme, key: example-1}, {id: two, provider: acme, key: example-2}]\n"


def _router(text: str) -> Router:
    numbers = count()
    return Router(reader.load(text, "c"), bytes(32), Random(1), lambda size: next(numbers).to_bytes(size))


def _served(router: Router, **headers: str) -> tuple[Lease, Decision]:
    path = "/v1/chat/completions"
    fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    request = Request("POST", path, fields, Body(QUESTION), dialects.endpoint("POST", path), UPSTREAM)
    exchange = router.open(request, 0.0, reverse=UPSTREAM)
    assert isinstance(exchange, Exchange), exchange
    lease = router.next(exchange, 0.0)
    assert isinstance(lease, Lease), lease
    for event in (Head(200, Headers([("content-type", "application/json")])), Chunk(ANSWER), End()):
        router.answered(exchange, event, 0.0)
    decision = router.close(exchange, "", 0.0, status=200)
    assert decision is not None
    return lease, decision


def _found(decision: Decision) -> list[str]:
    return [finding.detector for finding in decision.findings]


def _results() -> Iterator[tuple[str, object]]:
    lease, decision = _served(_router(ACME))
    yield "provider", [lease.account.provider.name, str(lease.account.origin), decision.status]
    yield "detector", _found(decision)
    yield (
        "detector, disabled",
        _found(_served(_router(ACME + "providers: {acme: {disabled_detectors: [loud-model]}}"))[1]),
    )
    router = _router(ACME)
    sessions = [_served(router, x_acme_session=name)[1] for name in ("first", "second", "first")]
    yield "session signal", [len({each.session for each in sessions}), *{each.tier for each in sessions}]
    yield "strategy", _served(_router(ACME + "strategy: last_first"))[0].account.id
    yield "setting", [reader.load(ACME + more, "c").failover.pause for more in ("", "failover: {pause: 2s}")]  # type: ignore[attr-defined]
    noted = ACME.replace("example-2", "example-2, note: mine")
    yield "setting of an account", [account.note for account in reader.load(noted, "c").accounts]  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()) as told:
        code = command(["greet"])
    yield "sub-command", [code, told.getvalue()]


if __name__ == "__main__":
    print(json.dumps(dict(_results())))
