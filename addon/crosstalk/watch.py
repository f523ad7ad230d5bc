"""One attempt's answer, watched: facts go in, findings and in the end a verdict come out."""

from __future__ import annotations

from collections.abc import Mapping

from ..correlation import Mint
from ..ledger import Entry, Ledger
from ..providers import Echo
from ..values import Depth, Fact, Finding, Verdict
from . import verdict as verdicts
from .detectors import DETECTORS
from .sent import Sent

_ID_LENGTH = 512  # characters of a client's id that are worth remembering
_FINDINGS = 32  # of one answer; a stream that is mixed up would find one per chunk


class Watch:
    """
    The watch over one attempt, from its sending on.

    *expected*: place → what must come back there. *client_id* is an id of the client that went up in place of ours;
    *sent* are all ids the client brought. *exchange*, *account*, *affinity*, *thread* and *digest* are what the ledger
    will say of our id to whoever receives it. *generation*: the answer is made for this request and not fetched from
    a store, so that its ids must be new.
    """

    def __init__(
        self,
        echo: Echo,
        expected: Mapping[str, str],
        *,
        request_id: str,
        exchange: str,
        mint: Mint,
        ledger: Ledger,
        now: float,
        earlier: tuple[str, ...] = (),
        client_id: str = "",
        sent: frozenset[str] = frozenset(),
        account: str = "",
        affinity: str = "",
        thread: str = "",
        digest: bytes = b"",
        generation: bool = False,
    ) -> None:
        self._sent = Sent(
            entry=Entry(exchange, request_id, account, affinity, thread, digest, now),
            mint=mint,
            ledger=ledger,
            expected=expected,
            own=sent | {client_id} if client_id else sent,
            earlier=earlier,
            promised=echo.promised,
            generation=generation,
        )
        self._depths: dict[str, Depth] = {f"header {name.lower()}": depth for name, depth in echo.headers.items()}
        self._depths |= {f"body {name}": depth for name, depth in echo.body.items()}
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._matched: dict[str, Depth] = {}
        self._notes: dict[str, None] = {}
        self._verdict: Verdict | None = None
        ledger.note("request", request_id, self._sent.entry, now)
        for other_form in {value for value in expected.values() if len(value) == 36 and mint.recognise(value)}:
            ledger.note("request", other_form, self._sent.entry, now)
        self._reused = 0 < len(client_id) <= _ID_LENGTH and self._note_own(client_id, now)

    def see(self, fact: Fact, status: int, now: float) -> list[Finding]:
        """Take note of *fact* in an answer of *status* (0: unknown); return what was found by it for the first time."""
        if fact.kind not in ("echo", "id", "provider_id", "token"):
            return []
        self._sent.status = status
        if fact.kind in ("echo", "id"):
            self._match(fact, now)
        fresh: list[Finding] = []
        for detector in DETECTORS:
            for finding in detector(self._sent, fact, now):
                key = (finding.detector, finding.where, finding.received)
                if key not in self._findings and len(self._findings) < _FINDINGS:
                    self._findings[key] = finding
                    fresh.append(finding)
        if fresh:
            self._verdict = None
        return fresh

    def verdict(self) -> Verdict:
        """Say what is known so far."""
        if self._verdict is None:
            findings = tuple(self._findings.values())
            self._verdict = verdicts.weigh(findings, self._matched, "; ".join(self._notes))
        return self._verdict

    def _match(self, fact: Fact, now: float) -> None:
        sent, value = self._sent, str(fact.value)
        returned = sent.returned(value, now)
        if returned.kind == "earlier":
            self._remark("late attempt")
        elif returned.kind == "another" and returned.entry and sent.repeats(returned.entry):
            self._remark("replay of an equal request")
        expected = sent.expected.get(fact.where, "")
        if returned.kind == "own" and returned.value == expected and self._reused:
            self._remark("the client uses one id for several requests")
        elif returned.kind == "mine" or (returned.kind == "own" and returned.value == expected):
            # An answer whose own id is made of ours (vLLM) went through the engine under it, promised or not.
            self._matched[fact.where] = "engine" if fact.kind == "id" else self._depths.get(fact.where, fact.depth)
            self._verdict = None

    def _remark(self, note: str) -> None:
        self._notes[note] = None
        self._verdict = None

    def _note_own(self, client_id: str, now: float) -> bool:
        """Remember the client's own id as ours, and say whether another request carried it: then it proves nothing."""
        before = self._sent.ledger.note("request", client_id, self._sent.entry, now)
        mine = self._sent.entry
        return before is not None and before.exchange != mine.exchange and before.digest != mine.digest
