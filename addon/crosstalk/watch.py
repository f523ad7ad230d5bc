"""One attempt's answer, watched: facts go in, findings and in the end a verdict come out."""

from __future__ import annotations

from collections.abc import Mapping

from ..correlation import Mint
from ..ledger import Entry, Ledger
from ..values.account import Depth, Echo
from ..values.answer import Fact
from ..values.decision import Finding, Verdict
from . import verdict as verdicts
from .attempt_record import AttemptRecord
from .detectors import BY_KIND, finding, ids
from .host_habits import Standing
from .recent import LiveAttempt, RecentExchanges
from .request_summary import RequestSummary

_ID_LENGTH = 512  # characters of a client's id that are worth remembering
_FINDINGS = 32  # of one answer; a stream that is mixed up would find one per chunk
SEEN = 256  # facts of one answer whose time is kept
VERSION = 1  # of `record`; see there
_OVER = Fact("over")
_UNOWNED = frozenset({"contract", "unknown-tag"})  # what is found of an id whose owner is not known
_OF_ALL = frozenset({"contract", "tag", "settings", "shape"})  # their proofs are about the answer, not a part of it


class Watch:
    """
    The watch over one attempt, from its sending on.

    *expected*: place → what must come back there. *client_id* is an id of the client that went up in place of ours;
    *sent* are all ids the client brought. *exchange*, *account*, *affinity*, *thread* and *digest* are what the ledger
    will say of our id to whoever receives it. *generation*: the answer is made for this request and not fetched from
    a store, so that its ids must be new. *memory*, *asked* and *host* are what the detectors beyond ids need; *silent*
    are those that have nothing to say about this provider. *judged*, of a stored exchange, is how the host's rules
    stood then.

    `see` takes facts in their order, `end` says that the answer is over. *at* is when the attempt was sent, *seen*
    when each fact came, as (number, clock): with the facts they are all it takes to come to the same verdict again.
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
        memory: RecentExchanges | None = None,
        asked: RequestSummary | None = None,
        host: str = "",
        silent: frozenset[str] = frozenset(),
        judged: Mapping[str, Standing] | None = None,
    ) -> None:
        words = asked.words if asked and generation else b""
        self._sent = AttemptRecord(
            entry=Entry(exchange, request_id, account, affinity, thread, digest, now, words=words),
            mint=mint,
            ledger=ledger,
            expected=expected,
            own=sent | {client_id} if client_id else sent,
            earlier=earlier,
            promised=echo.promised,
            generation=generation,
            memory=memory,
            asked=asked,
            host=host,
            judged=dict(judged or {}),
            clock=memory.clock if memory else 0,
        )
        self._silent = silent
        self._echo = echo
        self._client_id = client_id
        self._over = self._whole = False
        self._ended: tuple[int, float] | None = None
        self.at = (memory.tick() if memory else 0, now)
        self.seen: list[tuple[int, float]] = []
        self._depths: dict[str, Depth] = {f"header {name.lower()}": depth for name, depth in echo.headers.items()}
        self._depths |= {f"body {name}": depth for name, depth in echo.body.items()}
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._matched: dict[str, Depth] = {}
        self._notes: dict[str, None] = {}
        self._strangers: list[Fact] = []  # ids whose owner was not known when they came
        self._owners: dict[str, Entry] = {}  # of ids in the answer that belong to another exchange
        self._verdict: Verdict | None = None
        self._loose = self._early = False
        ledger.note("request", request_id, self._sent.entry, now)
        if memory and asked and generation:
            memory.begin(LiveAttempt(self._sent.entry, asked, host))
        for other_form in {value for value in expected.values() if len(value) == 36 and mint.recognise(value)}:
            ledger.note("request", other_form, self._sent.entry, now)
        self._reused = 0 < len(client_id) <= _ID_LENGTH and self._note_own(client_id, now)

    def see(self, fact: Fact, status: int, now: float) -> list[Finding]:
        """Take note of *fact* in an answer of *status* (0: unknown); return what was found by it for the first time."""
        detectors = BY_KIND.get(fact.kind)
        if detectors is None or self._over:
            return []
        self._clocked(now)
        if status and not self._sent.status:
            self._sent.headed = now
        self._sent.status = status
        if fact.kind in ("echo", "id"):
            self._match(fact, now)
        elif fact.kind == "loose":
            self._loose, self._verdict = bool(fact.value), None
        elif fact.kind == "early":
            self._early = True
        fresh: list[Finding] = []
        for name, detector in detectors:
            if name not in self._silent:
                fresh += [finding for finding in detector(self._sent, fact, now) if self._is_new(finding)]
        self._note_owner()
        if fresh:
            self._verdict = None
            if any(finding.detector in _UNOWNED and finding.victim == "unknown" for finding in fresh):
                self._strangers.append(fact)
            proofs = {finding.detector for finding in fresh if finding.strength == "proof"}
            self._sent.foreign = self._sent.foreign or bool(proofs)
            if proofs & _OF_ALL:
                self._sent.disown()
            if self._sent.memory is not None and self.verdict().kind == "suspect":
                for told in {finding.detector for finding in fresh if finding.strength == "strong"}:
                    self._sent.memory.habits.suspected(self._sent.host, told, self._sent.entry.request_id)
        return fresh

    def end(self, now: float, *, whole: bool = True) -> list[Finding]:
        """Take note that the answer is over, and learn how this host answers from one that came *whole*."""
        if self._over:
            return []
        fresh = self.see(_OVER, self._sent.status, now) if whole else []
        self._over, self._whole = True, whole
        if self._sent.memory is not None:
            self._ended = (self._sent.memory.tick(), now)
            if whole:
                self._sent.memory.habits.answered(self._sent.host)
                self._learn(self._sent.memory, now)
            self._sent.memory.finish(self._sent.entry.request_id, now)
        return fresh

    @property
    def is_nameless(self) -> bool:
        """Whether the answer holds an id whose owner was not known when it came."""
        return bool(self._strangers)

    def settle(self, now: float) -> list[Finding]:
        """
        Look again at the ids whose owner was not known when they came; return the findings that name one now.

        Another instance may have told of it meanwhile. What it asked for in the same words as we did is taken back.
        """
        fresh: list[Finding] = []
        for fact in tuple(self._strangers):
            self._sent.last = None
            returned = self._sent.returned(str(fact.value), now)
            if returned.entry is None:
                continue
            self._strangers.remove(fact)
            self._note_owner()
            self._take_back(fact)
            self._match(fact, now)
            named = (*ids.contract(self._sent, fact, now), *ids.tag(self._sent, fact, now))
            fresh += [finding for finding in named if self._is_new(finding)]
        self._verdict = None
        return fresh

    def _note_owner(self) -> None:
        """Keep for `record` whose id it was that was asked about last: another instance's stands in no other record."""
        returned = self._sent.last[2] if self._sent.last else None
        if returned is None or returned.entry is None or len(self._owners) >= _FINDINGS:
            return
        if returned.entry.exchange != self._sent.entry.exchange:
            self._owners[returned.value] = returned.entry

    def _take_back(self, fact: Fact) -> None:
        told = finding.shown(str(fact.value))
        for detector in _UNOWNED:
            self._findings.pop((detector, fact.where, told), None)

    def verdict(self) -> Verdict:
        """Say what is known so far."""
        if self._verdict is None:
            findings = tuple(self._findings.values())
            self._verdict = verdicts.weigh(findings, self._matched, "; ".join(self._notes), loose=self._loose)
        return self._verdict

    def record(self) -> dict[str, object]:
        """
        Return, as plain types, everything but the answer that this verdict comes from; see `again`.

        *kinds* names the kinds of facts that *seen* counts, since another release may look at more or fewer of them.
        Members may be added at any time: readers skip those they do not know. A change in what a member means needs a
        new VERSION, and a record of a version above its own is not judged again by a reader.
        """
        sent, entry = self._sent, self._sent.entry
        asked = sent.asked
        return {
            "version": VERSION,
            "request_id": entry.request_id,
            "exchange": entry.exchange,
            "account": entry.account,
            "affinity": entry.affinity,
            "thread": entry.thread,
            "digest": entry.digest.hex(),
            "expected": dict(sent.expected),
            "own": sorted(sent.own),
            "earlier": list(sent.earlier),
            "client_id": self._client_id,
            "promised": self._echo.promised,
            "headers": dict(self._echo.headers),
            "body": dict(self._echo.body),
            "generation": sent.generation,
            "host": sent.host,
            "silent": sorted(self._silent),
            "model": asked.model if asked else "",
            "stream": asked.stream if asked else False,
            "dialect": asked.dialect if asked else "",
            "suffix": asked.suffix if asked else "",
            "at": list(self.at),
            "early": self._early,
            "whole": self._whole,
            "ended": list(self._ended or ()),
            "seen": [list(seen) for seen in self.seen],
            "kinds": sorted(BY_KIND),
            "owners": {value: _owner(entry) for value, entry in self._owners.items()},
            "habits": {rule: standing.told() for rule, standing in sent.judged.items()},
        }

    def _match(self, fact: Fact, now: float) -> None:
        sent, value = self._sent, str(fact.value)
        returned = sent.returned(value, now)
        if returned.kind == "earlier":
            self._remark("late attempt")
        elif returned.kind == "another" and returned.entry and sent.repeats(returned.entry):
            sent.kept = True
            self._remark("replay of an equal request")
        expected = sent.expected.get(fact.where, "")
        if returned.kind == "own" and returned.value == expected and self._reused:
            self._remark("the client uses one id for several requests")
        elif returned.kind == "mine" or (returned.kind == "own" and returned.value == expected):
            # An answer whose own id is made of ours (vLLM) went through the engine under it, promised or not.
            self._matched[fact.where] = "engine" if fact.kind == "id" else self._depths.get(fact.where, fact.depth)
            self._sent.held.add(f"stripped {fact.where}")
            self._verdict = None

    def _clocked(self, now: float) -> None:
        if self._sent.memory is not None and len(self.seen) < SEEN:
            self.seen.append((self._sent.memory.tick(), now))

    def _is_new(self, finding: Finding) -> bool:
        key = (finding.detector, finding.where, finding.received)
        if key in self._findings or len(self._findings) >= _FINDINGS:
            return False
        self._findings[key] = finding
        return True

    def _learn(self, memory: RecentExchanges, now: float) -> None:
        """Remember which rules the host kept; what an answer did that our own ids prove another's says nothing."""
        sent = self._sent
        if sent.status >= 400 or not sent.status or any(_is_tagged(finding) for finding in self._findings.values()):
            return
        for rule in sent.held - sent.broken:
            memory.habits.kept(sent.host, rule, now)
        if self.verdict().kind not in ("suspect", "crosstalk") and sent.asked is not None:
            for model in sent.models[:4]:
                memory.answers(sent.host, sent.asked.model, model)

    def _remark(self, note: str) -> None:
        self._notes[note] = None
        self._verdict = None

    def _note_own(self, client_id: str, now: float) -> bool:
        """Remember the client's own id as ours, and say whether another request carried it: then it proves nothing."""
        before = self._sent.ledger.note("request", client_id, self._sent.entry, now)
        mine = self._sent.entry
        return before is not None and before.exchange != mine.exchange and before.digest != mine.digest


def _owner(entry: Entry) -> list[str | float]:
    return [entry.exchange, entry.request_id, entry.at, entry.digest.hex()]


def _is_tagged(finding: Finding) -> bool:
    return finding.detector == "tag" and finding.strength == "proof"
