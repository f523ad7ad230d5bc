"""The same world with the router in between: what is done about an answer can be seen too, not only what is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, Literal

from patchbay import dialects
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.crosstalk.watch import Watch
from patchbay.dialects import FAMILIES
from patchbay.exchange import Exchange
from patchbay.router import Router
from patchbay.settings.settings import Config, CrosstalkSettings
from patchbay.values.account import Account, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Refusal, Verdict, Wait
from patchbay.values.http import Client, Endpoint, Headers, Origin, Request

from .world import DEPTHS, PATHS, Line, Wire, World

HOST = Origin("http", "127.0.0.1", 9)
ACCOUNTS = ("a", "b")  # two, so that a request may be asked again elsewhere
Policy = Literal["observe", "block", "retry"]


class Routed(World):
    """
    A world whose exchanges go through a real `Router` with *reaction*, to two accounts at one host.

    *blocked* are the numbers of the lines that got an error in place of their answer, or whose answer was cut;
    *again* of those that were asked once more. *silent* are detectors that are switched off at the provider.
    """

    def __init__(
        self, depth: str, dialect: str, stream: bool, seed: int, reaction: Policy = "observe",
        silent: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__(depth, dialect, stream, seed)
        provider = replace(DEPTHS[depth], families=frozenset(FAMILIES), disabled_detectors=silent)
        accounts = tuple(Account(name, provider, Secret("literal", f"key-{name}")) for name in ACCOUNTS)
        config = Config(accounts, crosstalk=CrosstalkSettings(reaction=reaction))
        self.router = Router(config, b"k" * 32, Random(seed), self.random.randbytes)
        self.exchanges: dict[int, Exchange] = {}
        self.blocked: set[int] = set()
        self.again: set[int] = set()
        self._at = self._session = ""

    def send(self, *, at: str = "", session: str = "", **asks: Any) -> Line:
        """
        Begin an exchange, in the conversation *session* if it is named.

        *at* is another path than that of the dialect's generation; it is got, unless a body can be posted there.
        """
        self._at, self._session = at, session
        return super().send(**asks)

    def opened(self, endpoint: Endpoint, body: Body, model: str, digest: bytes) -> tuple[str, Watch]:
        verb = "streamGenerateContent" if self.stream else "generateContent"
        path = self._at or PATHS[endpoint.dialect].format(model=model, verb=verb)
        posted = dialects.endpoint("POST", path)
        method = "POST" if posted is not None and posted.kind == "generation" else "GET"
        found = dialects.endpoint(method, path)
        assert found is not None, path
        exchange = self.router.open(
            Request(
                method=method,
                path=path,
                headers=Headers((("x-session-id", self._session or f"conversation-{self.number}"),)),
                body=body if method == "POST" else Body(b""),
                endpoint=found,
                destination=HOST,
                client=Client(),
            ),
            self.now,
            reverse=HOST,
        )
        assert isinstance(exchange, Exchange), exchange
        self.exchanges[self.number] = exchange
        route = self._next(exchange)
        while isinstance(route, Refusal) and route.retry_after:  # an answer before was an error: both accounts rest
            self.now += route.retry_after + 1
            route = self._next(exchange)
        assert isinstance(route, Lease) and exchange.attempt is not None, route
        return route.request_id, exchange.attempt.watch

    def delivering(
        self, line: Line, wire: Wire, *, status: int = 200, extra: tuple[tuple[str, str], ...] = ()
    ) -> Iterator[None]:
        exchange = self.exchanges[line.number]
        head = Head(status, Headers((*wire.headers, *extra)))
        line.got = (head, b"".join(wire.pieces))
        self.now += 0.01
        events: list[Head | Chunk | End] = [head, *(Chunk(piece) for piece in wire.pieces), End()]
        for what in events:
            reaction = self.router.answered(exchange, what, self.now)
            if reaction == "cut":
                self.blocked.add(line.number)
                break
            if reaction == "next":
                break
            yield
            self.now += 0.001
        else:
            reaction = "deliver"
        if reaction == "next" and exchange.attempt is not None and exchange.attempt.withheld:
            yield from self._asked_again(line, exchange)
            return
        self._closed(exchange, "crosstalk_detected" if reaction == "cut" else "", status)

    def give_up(self, line: Line) -> None:
        """Let the client of *line* leave before its answer comes."""
        self._closed(self.exchanges[line.number], "client_disconnected", 499)

    def verdict(self, line: Line) -> Verdict:
        """Return what was said in the end of the answer that *line*'s client got."""
        return self.exchanges[line.number].verdict

    def later(self, line: Line) -> Verdict:
        """Return the same, with what later answers said of it."""
        at_once, judged = self.verdict(line), self.router.memory.late.of(self.name(line))
        return judged.verdict() if judged is not None and at_once.kind != "crosstalk" else at_once

    def name(self, line: Line) -> str:
        """Return the name under which *line* is a victim."""
        return self.exchanges[line.number].id

    def _asked_again(self, line: Line, exchange: Exchange) -> Iterator[None]:
        """Let the host answer the second attempt as it should have answered the first."""
        route = self._next(exchange)
        if isinstance(route, Refusal):  # it is too late for that
            self.blocked.add(line.number)
            self._closed(exchange, route.code, route.status)
            return
        self.again.add(line.number)
        line.request_id = route.request_id
        line.reply = self._reply(line.dialect, line.document, line.model, route.request_id)
        line.own = self.wire(line)
        yield from self.delivering(line, line.own)

    def _next(self, exchange: Exchange) -> Lease | Refusal:
        decided = self.router.next(exchange, self.now)
        while isinstance(decided, Wait):
            self.now = decided.until
            decided = self.router.next(exchange, self.now)
        return decided

    def _closed(self, exchange: Exchange, error: str, status: int) -> None:
        self.router.close(exchange, error, self.now, status=status)
