"""The watch over one attempt's answer: facts go in, findings and a verdict come out."""

from __future__ import annotations

from collections.abc import Iterable

from ..correlation import Mint
from ..ledger import Ledger
from ..values.account import Depth
from ..values.answer import Fact
from ..values.decision import Finding, Verdict
from .attempt_record import VERSION, AttemptRecord, Moment
from .detector_context import DetectorContext
from .detectors import BY_KIND, DETECTORS, Detector, finding, ids
from .judgement import Judgement
from .prompt_lengths import Prompt
from .recent import LiveAttempt, RecentExchanges
from .request_summary import RequestSummary

_ID_LENGTH = 512  # characters of a client's id that are worth remembering
SEEN = 256  # facts of one answer whose time is kept
_OVER = Fact("over")
_UNOWNED = frozenset(each.unowned for each in DETECTORS.values() if each.unowned)
_OF_WHOLE = frozenset(name for name, each in DETECTORS.items() if each.of_whole)
BY_OUR_ID = frozenset(name for name, each in DETECTORS.items() if each.by_our_id)


class Watch:
    """
    The watch over the answer to one attempt, from the sending on.

    `see` takes the facts in order, `end` ends the answer; both complete *record*, from which `reverify` computes the
    verdict again. Detectors beyond ids need *memory* and *request*.
    """

    def __init__(
        self,
        record: AttemptRecord,
        mint: Mint,
        ledger: Ledger,
        now: float,
        memory: RecentExchanges | None = None,
        request: RequestSummary | None = None,
    ) -> None:
        record.at = Moment(memory.tick() if memory else 0, now)
        record.version, record.kinds = VERSION, list(BY_KIND)
        record.habits = judged = record.habits or {}
        own = frozenset((*record.own, record.client_id) if record.client_id else record.own)
        record.own = sorted(own)
        entry = record.entry(now, mint.keyed(request.history) if request and record.generation else b"")
        self.record = record
        self._ctx = DetectorContext(
            record, entry, mint, ledger, judged, own, memory=memory, request=request,
            clock=memory.clock if memory else 0,
        )  # fmt: skip
        self._over = False
        self.judgement = Judgement(entry)
        if memory:
            memory.late.note(self.judgement)
        self._strangers: list[Fact] = []  # ids whose owner was not known when they came
        ledger.note("request", record.request_id, entry, now)
        if memory and request and record.generation:
            self._prompt = Prompt(record.host, record.model, record.thread, request.size, request.adds)
            if record.lengths is None:
                record.lengths = memory.lengths.expected(self._prompt)
            memory.begin(LiveAttempt(entry, request, record.host, record.lengths))
        for other_form in {value for value in record.expected.values() if len(value) == 36 and mint.recognise(value)}:
            ledger.note("request", other_form, entry, now)
        self._reused = 0 < len(record.client_id) <= _ID_LENGTH and self._note_own(record.client_id, now)

    def see(self, fact: Fact, status: int, now: float) -> list[Finding]:
        """Run the detectors on *fact* of an answer of *status* (0: unknown); return the new findings."""
        detectors = BY_KIND.get(fact.kind)
        if detectors is None or self._over:
            return []
        if self._ctx.memory is not None and len(self.record.seen) < SEEN:
            self.record.seen.append(Moment(self._ctx.memory.tick(), now))
        if status and not self._ctx.status:
            self._ctx.head_at = now
        self._ctx.status = status
        if fact.kind in ("echo", "id"):
            self._match(fact, now)
        elif fact.kind == "loose":
            self.judgement.loose = bool(fact.value)
            self.judgement.changed()
        elif fact.kind == "early":
            self.record.early = True
        # where nothing is generated, the body is a stored object, with the ids of the requests that made it
        judged = self.record.generation or fact.kind in ("early", "over") or fact.where.startswith("header ")
        fresh = self._detect(detectors, fact, now) if judged else []
        if fresh:
            if any(finding.detector in _UNOWNED and finding.victim == "unknown" for finding in fresh):
                self._strangers.append(fact)
            proofs = {finding.detector for finding in fresh if finding.strength == "proof"}
            self._ctx.misdelivered = self._ctx.misdelivered or bool(proofs)
            if proofs & _OF_WHOLE:
                self._ctx.disown()
            if self._ctx.memory is not None and self.verdict().kind == "suspect":
                self._doubt(self._ctx.memory, {finding.detector for finding in fresh if finding.strength == "strong"})
        return fresh

    def end(self, now: float, *, whole: bool = True) -> list[Finding]:
        """End the answer; learn the host's habits from a *whole* one."""
        if self._over:
            return []
        fresh = self.see(_OVER, self._ctx.status, now) if whole else []
        self._over, self.record.whole = True, whole
        if self._ctx.memory is not None:
            self.record.ended = [self._ctx.memory.tick(), now]
            if whole:
                self._ctx.memory.habits.answered(self.record.host)
                self._learn(self._ctx.memory, now)
            self._ctx.memory.finish(self._ctx.entry.request_id, now)
        return fresh

    @property
    def is_nameless(self) -> bool:
        """Whether the answer holds an id whose owner is not known yet."""
        return bool(self._strangers)

    def settle(self, now: float) -> list[Finding]:
        """
        Look up the owners of unknown ids again, since another instance may have sent them; return the new findings.

        The finding without an owner is withdrawn, for good where the owner sent the same request.
        """
        fresh: list[Finding] = []
        for fact in tuple(self._strangers):
            self._ctx.classified = None
            returned = self._ctx.returned(str(fact.value), now)
            if returned.entry is None:
                continue
            self._strangers.remove(fact)
            self._take_back(fact)
            self._match(fact, now)
            fresh += self._detect([each for each in BY_KIND[fact.kind] if each[1].unowned], fact, now)
        self.judgement.changed()
        return fresh

    def _detect(self, detectors: Iterable[tuple[str, Detector]], fact: Fact, now: float) -> list[Finding]:
        return [
            found
            for name, detector in detectors
            if name not in self.record.silent
            for found in detector.find(self._ctx, fact, now)
            if self.judgement.add(found)
        ]

    def _doubt(self, memory: RecentExchanges, told: set[str]) -> None:
        for name in told.union(*(DETECTORS[name].doubts for name in told & DETECTORS.keys())):
            memory.habits.suspected(self.record.host, name, self._ctx.entry.request_id)

    def _take_back(self, fact: Fact) -> None:
        told = finding.shown(str(fact.value))
        for detector in _UNOWNED:
            self.judgement.findings.pop((detector, fact.where, told), None)

    def verdict(self) -> Verdict:
        """Return the verdict so far."""
        return self.judgement.verdict()

    def _match(self, fact: Fact, now: float) -> None:
        ctx, value = self._ctx, str(fact.value)
        returned = ctx.returned(value, now)
        if returned.kind == "earlier":
            self._remark("late attempt")
        elif returned.kind == "other" and returned.entry and ctx.repeats(returned.entry):
            ctx.cached = True
            self._remark("replay of an equal request")
        expected = ctx.record.expected.get(fact.where, "")
        if returned.kind == "client" and returned.value == expected and self._reused:
            self._remark("the client uses one id for several requests")
        elif returned.kind == "match" or (returned.kind == "client" and returned.value == expected):
            # An answer whose own id is made from ours (vLLM) comes from the engine, promised or not.
            self.judgement.matched[fact.where] = "engine" if fact.kind == "id" else self._depth(fact)
            ctx.kept.add(ids.echoed(fact.where))
            self.judgement.changed()

    def _depth(self, fact: Fact) -> Depth:
        record = self.record
        depths = {f"header {name.lower()}": depth for name, depth in record.headers.items()}
        depths |= {f"body {name}": depth for name, depth in record.body.items()}
        return depths.get(fact.where, fact.depth)

    def _learn(self, memory: RecentExchanges, now: float) -> None:
        """Learn the rules that the host kept, but not from an answer that our ids prove to be misdelivered."""
        ctx = self._ctx
        proofs = {each.detector for each in self.judgement.findings.values() if each.strength == "proof"}
        if ctx.status >= 400 or not ctx.status or proofs & BY_OUR_ID:
            return
        for rule in ctx.kept - ctx.broken:
            memory.habits.kept(ctx.record.host, rule, now)
        if self.verdict().kind not in ("suspect", "crosstalk") and ctx.request is not None:
            for model in ctx.models[:4]:
                memory.answers(ctx.record.host, ctx.request.model, model)
        if ctx.request is not None and self.record.generation:
            self._learn_lengths(memory)

    def _learn_lengths(self, memory: RecentExchanges) -> None:
        ctx, record, prompt = self._ctx, self.record, self._prompt
        if ctx.misfits or self.verdict().kind in ("suspect", "crosstalk"):
            memory.lengths.forget(prompt)
            return
        if ctx.prompt_tokens:
            memory.lengths.learn(prompt, ctx.prompt_tokens)
        if ctx.answer_tokens and ctx.said:
            memory.lengths.learn_answer(record.host, record.model, sum(map(len, ctx.said)), ctx.answer_tokens)

    def _remark(self, note: str) -> None:
        self.judgement.notes[note] = None
        self.judgement.changed()

    def _note_own(self, client_id: str, now: float) -> bool:
        """Enter the client's id as ours; return whether another request carried it, so that it proves nothing."""
        before = self._ctx.ledger.note("request", client_id, self._ctx.entry, now)
        mine = self._ctx.entry
        return before is not None and before.exchange != mine.exchange and before.digest != mine.digest
