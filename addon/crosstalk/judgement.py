"""What was found about the answer to one attempt, and the verdict on it; a later answer may add to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..bounded import BoundedMap, ChangeLog
from ..ledger import Entry
from ..values.account import Depth
from ..values.decision import Amendment, Finding, Verdict
from . import verdict as verdicts

FINDINGS = 32  # of one answer; a stream that is mixed up would find one per chunk
_JUDGED = 10_000  # answers whose verdicts may still change
_AMENDED = 1_000  # exchanges whose amendments were not fetched yet
ATTESTED = "attested"  # the place of an echo that the provider gave with a later answer


@dataclass(slots=True)
class Judgement:
    """
    The findings about one answer, the places where our id came back, and remarks; `verdict` weighs them.

    *entry* is the attempt's. *loose*: later events of the stream carry no id. *told* is the verdict in the decision,
    None before that was made. *told_elsewhere*: another instance said that the answer was given to this request.
    """

    entry: Entry
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)
    matched: dict[str, Depth] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    loose: bool = False
    told: Verdict | None = None
    told_elsewhere: bool = False
    _verdict: Verdict | None = None

    def verdict(self) -> Verdict:
        """Return the verdict so far."""
        if self._verdict is None:
            note = "; ".join(self.notes)
            self._verdict = verdicts.weigh(tuple(self.findings.values()), self.matched, note, loose=self.loose)
        return self._verdict

    def changed(self) -> None:
        """Weigh anew when the verdict is next asked for."""
        self._verdict = None

    def add(self, finding: Finding) -> bool:
        """Add *finding*, unless too many are known, or the same one; return whether it was added."""
        key = key_of(finding)
        known = self.findings.get(key)
        if known is None and len(self.findings) >= FINDINGS:
            return False
        if known is not None and not _is_more(finding, known):
            return False
        self.findings[key] = finding
        self._verdict = None
        return True


def key_of(finding: Finding) -> tuple[str, str, str]:
    """Return what tells one finding from another about the same answer."""
    return finding.detector, finding.where, finding.received


def _is_more(finding: Finding, known: Finding) -> bool:
    """Whether *finding* replaces *known*, which is the same: it is stronger, or as strong and about another victim."""
    if known.strength == finding.strength:
        return known.victim != finding.victim
    return known.strength == "weak"


@dataclass(frozen=True, slots=True)
class LateReport:
    """
    What the answer to the exchange *by* says about that to *exchange*: a *finding*, or that it was given to it.

    *withdrawn*: the finding was none.
    """

    exchange: str
    by: str
    finding: Finding | None
    at: float
    withdrawn: bool = False


class LateFindings:
    """
    The judgements on recent answers, under way or ended, and what other answers say about them.

    An exchange whose verdict changes after its decision was made is amended. All tables evict the least recently used.
    """

    def __init__(self) -> None:
        self._judged: BoundedMap[str, Judgement] = BoundedMap(_JUDGED)
        self._amended: BoundedMap[str, list[Amendment]] = BoundedMap(_AMENDED)
        self._reports: ChangeLog[LateReport] = ChangeLog()

    def watch(self) -> None:
        """Keep what is found about exchanges of other instances from now on, for `reports`."""
        self._reports.watch()

    def reports(self) -> list[LateReport]:
        """Return what was found about exchanges that are not here since the last call."""
        return self._reports.take()

    def adopt(self, report: LateReport) -> bool:
        """Add what another instance found; return whether its exchange is here."""
        judgement = self._judged.get(report.exchange)
        if judgement is None:
            return False
        if report.finding is not None and report.withdrawn:
            self.withdrawn(report.exchange, report.finding, report.by, report.at)
        elif report.finding is not None:
            self.found(report.exchange, report.finding, report.by, report.at)
        else:
            judgement.told_elsewhere = ATTESTED not in judgement.matched
            self.attested(report.exchange, report.by, report.at)
        return True

    def note(self, judgement: Judgement) -> None:
        """Remember *judgement*. A later attempt of the exchange takes the place of an earlier one."""
        self._judged[judgement.entry.exchange] = judgement

    def of(self, exchange: str) -> Judgement | None:
        """Return the judgement on the answer to *exchange*, if it is recent."""
        return self._judged.get(exchange)

    def found(self, exchange: str, finding: Finding, by: str, now: float) -> bool:
        """Add *finding* about the answer to *exchange*, which the answer to *by* showed; return whether it is news."""
        judgement = self._judged.get(exchange)
        if judgement is None:
            report = LateReport(exchange, by, finding, now)
            self._reports.note(report)
            return report in self._reports
        if not judgement.add(finding):
            return False
        self._amend(judgement, by, now)
        return True

    def withdrawn(self, exchange: str, finding: Finding, by: str, now: float) -> None:
        """Take *finding* about the answer to *exchange* back: the answer to *by* shows that it was none."""
        judgement = self._judged.get(exchange)
        if judgement is None:
            self._reports.note(LateReport(exchange, by, finding, now, withdrawn=True))
        elif judgement.findings.pop(key_of(finding), None) is not None:
            self._amend(judgement, by, now)

    def attested(self, exchange: str, by: str, now: float) -> None:
        """Note that the answer to *by* says that *exchange* received its own answer."""
        judgement = self._judged.get(exchange)
        if judgement is None:
            self._reports.note(LateReport(exchange, by, None, now))
        elif ATTESTED not in judgement.matched:
            judgement.matched[ATTESTED] = "body"
            judgement.loose = False  # it is said of the whole answer
            self._amend(judgement, by, now)

    def amendments(self, by: str) -> list[Amendment]:
        """Return the verdicts that the answer to *by* has changed, once."""
        return self._amended.pop(by, []) if self._amended else []

    def _amend(self, judgement: Judgement, by: str, now: float) -> None:
        judgement.changed()
        was, new = judgement.told, judgement.verdict()
        if was is None or (was.kind, was.victim) == (new.kind, new.victim):
            return
        judgement.told, entry = new, judgement.entry
        change = Amendment(
            now, entry.exchange, entry.request_id, entry.affinity, entry.account, new.kind, was.kind, new.victim,
            list(new.findings), by,
        )  # fmt: skip
        self._amended[by] = [*self._amended.get(by, []), change]
