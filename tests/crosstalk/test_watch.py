"""Stories of answers: ours, another's, nobody's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from msgspec import to_builtins

from patchbay.body import Body
from patchbay.correlation import Mint, Stamps, stamps
from patchbay.crosstalk import report
from patchbay.crosstalk.attempt_record import VERSION, IdOwner, Moment
from patchbay.crosstalk.detectors import BY_KIND
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import RecentExchanges
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.crosstalk.watch import Watch
from patchbay.ledger import Entry, Ledger
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Echo, Provider
from patchbay.values.answer import Fact
from patchbay.values.http import Headers

from ..answer.whole import facts_of_json
from .detectors.contexts import HOST, request
from .records import record

MINT = Mint(b"k" * 32)
HEADER, BODY = "header x-request-id", "body request_id"
COMPATIBLE = PRESETS["openai_compatible"]
ID = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"


@dataclass
class Bay:
    """One instance with its ledger; every exchange a little later than the one before."""

    provider: Provider = PRESETS["generic"]
    mint: Mint = MINT
    ledger: Ledger = field(default_factory=Ledger)
    random: Random = field(default_factory=lambda: Random(7))
    now: float = 1000.0

    def send(self, exchange: str, digest: bytes | None = None, headers: Headers | None = None, **more: object) -> Line:
        self.now += 1
        request_id = self.mint.new(self.now, self.random.randbytes)
        stamped = stamps(self.provider, headers or Headers(), Body(b"{}"), request_id=request_id)
        sent = record(
            self.provider.echo, stamped, request_id=request_id, exchange=exchange,
            digest=exchange.encode() if digest is None else digest, account="acc-" + exchange,
            affinity="ses-" + exchange, **more,
        )  # fmt: skip
        watch = Watch(sent, self.mint, self.ledger, self.now)
        return Line(request_id, watch, self)


@dataclass
class Line:
    id: str
    watch: Watch
    bay: Bay

    def get(self, *facts: Fact, status: int = 200) -> str:
        for fact in facts:
            self.watch.see(fact, status, self.bay.now)
        return self.watch.verdict().kind


def echo(value: str, where: str = HEADER) -> Fact:
    return Fact("echo", value, where, "handler" if where == HEADER else "body")


def test_an_echo_of_ours_in_the_body_is_clean_and_one_in_the_head_proves_nothing_about_it() -> None:
    line = Bay().send("a")

    assert line.get(echo(line.id)) == "unverifiable"
    assert line.watch.verdict().echo == "header"
    assert (
        report.summary(line.watch.verdict()) == "unverifiable: echo matched (header), which says nothing about the body"
    )
    assert line.get(echo(line.id, BODY)) == "clean"
    assert report.summary(line.watch.verdict()) == "clean: echo matched (body)"


def test_no_echo_is_unverifiable_and_never_clean() -> None:
    line = Bay().send("a")

    assert line.get(Fact("id", ID, "body id"), Fact("content", "text")) == "unverifiable"
    assert report.summary(line.watch.verdict()) == "unverifiable"


@pytest.mark.parametrize("blank", ["", " ", "null", "-"])
def test_a_blank_echo_is_absence(blank: str) -> None:
    assert Bay().send("a").get(echo(blank)) == "unverifiable"


def test_both_sides_of_a_swap_name_each_other() -> None:
    bay = Bay()
    a, b = bay.send("a"), bay.send("b")

    assert (a.get(echo(b.id)), b.get(echo(a.id))) == ("crosstalk", "crosstalk")
    assert (a.watch.verdict().victim, b.watch.verdict().victim) == ("b", "a")
    finding = a.watch.verdict().findings[0]
    assert (finding.strength, finding.expected, finding.received, finding.where) == ("proof", a.id, b.id, HEADER)
    line = f"CROSSTALK: expected {a.id}, received {b.id}, victim b of session ses-b"
    assert report.summary(a.watch.verdict()) == line
    entry = bay.ledger.find("request", b.id, bay.now)
    assert entry is not None
    assert (entry.exchange, entry.account, entry.affinity) == ("b", "acc-b", "ses-b")


def test_a_swap_behind_a_right_head_is_seen_in_the_body() -> None:
    """The gateway answers with the head of its own request, and the body of another's."""
    bay = Bay()
    a, b = bay.send("a"), bay.send("b")

    assert a.get(echo(a.id)) == "unverifiable"
    assert a.get(echo(b.id, BODY)) == "crosstalk"
    assert a.watch.verdict().victim == "b"


def test_a_foreign_value_breaks_a_promise() -> None:
    line = Bay().send("a")

    assert line.get(echo("req_somebody_elses")) == "crosstalk"
    assert line.watch.verdict().victim == "unknown"
    assert line.watch.verdict().findings[0].received == "req_somebody_elses"


@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "openai_compatible"])
def test_ids_of_a_provider_that_promises_nothing_stay_silent(name: str) -> None:
    line = Bay(PRESETS[name]).send("a")
    facts = (
        Fact("provider_id", "req_011CPR5Cxyz8f3k", HEADER),
        Fact("id", ID, "body id"),
        Fact("token", "call_1", "tool"),
    )

    assert line.get(*facts) == "unverifiable"
    assert line.watch.verdict().findings == ()


@pytest.mark.parametrize("kind", ["provider_id", "id", "token", "echo"])
def test_an_id_of_ours_of_another_exchange_is_proof_in_every_place(kind: str) -> None:
    bay = Bay(COMPATIBLE)
    a, b = bay.send("a"), bay.send("b")

    assert a.get(Fact(kind, f"chatcmpl-{b.id}", "body id")) == "crosstalk"
    assert a.watch.verdict().victim == "b"


def test_an_echo_that_may_come_but_is_not_promised_breaks_nothing() -> None:
    learned = Provider("p", "p", frozenset({"openai"}), echo=Echo(body={"request_id": "body"}))
    line = Bay(learned).send("a")

    assert line.get(echo("req_of_its_own", BODY)) == "unverifiable"
    assert line.get(echo(line.id, BODY)) == "clean"


def test_text_that_quotes_an_id_proves_nothing() -> None:
    bay = Bay(COMPATIBLE)
    a, b = bay.send("a"), bay.send("b")

    assert a.get(Fact("text", b.id), Fact("content", b.id), Fact("tool", b.id)) == "unverifiable"


def test_an_engine_that_builds_its_id_from_ours_is_a_deep_echo() -> None:
    line = Bay(COMPATIBLE).send("a")

    assert line.get(Fact("id", f"chatcmpl-{line.id}", "body id")) == "clean"


@pytest.mark.parametrize("status", [400, 429, 500, 502])
def test_an_error_answer_breaks_no_promise(status: int) -> None:
    line = Bay().send("a")

    assert line.get(echo("req_of_some_gateway"), echo("req_2", BODY), status=status) == "unverifiable"


def test_an_id_of_another_exchange_in_an_error_is_a_suspicion() -> None:
    bay = Bay()
    a, b = bay.send("a"), bay.send("b")

    assert a.get(echo(b.id), status=502) == "suspect"
    assert report.summary(a.watch.verdict()).startswith("suspect: expected ")


def test_a_late_answer_of_an_earlier_attempt_is_no_crosstalk() -> None:
    bay = Bay()
    first = bay.send("a")
    second = bay.send("a", earlier=(first.id,))

    assert second.get(echo(first.id)) == "unverifiable"
    assert second.watch.verdict().note == "late attempt"
    assert report.summary(second.watch.verdict()) == "unverifiable: late attempt"


def test_the_answer_of_an_equal_request_before_ours_is_a_replay() -> None:
    bay = Bay()
    first, second = bay.send("a", b"same"), bay.send("b", b"same")

    assert second.get(echo(first.id), Fact("id", ID, "body id")) == "unverifiable"
    assert second.watch.verdict().note == "replay of an equal request"


def test_the_answer_of_an_equal_request_after_ours_is_none() -> None:
    """No cache and no retry answers with what was asked only later."""
    bay = Bay()
    first, second = bay.send("a", b"same"), bay.send("b", b"same")

    assert first.get(echo(second.id)) == "crosstalk"


def test_an_id_of_an_instance_we_never_heard_of_breaks_a_promise() -> None:
    bay, neighbour = Bay(), Bay(random=Random(8))
    theirs, mine = neighbour.send("x"), bay.send("a")

    assert mine.get(echo(theirs.id)) == "crosstalk"
    assert mine.watch.verdict().victim == "unknown"


def test_the_owner_of_such_an_id_is_named_once_the_neighbour_has_told_of_it() -> None:
    """R15: the finding names the exchange of the other instance, and stands once."""
    bay, neighbour = Bay(), Bay(random=Random(8))
    theirs, mine = neighbour.send("x"), bay.send("a")
    mine.get(echo(theirs.id), echo(theirs.id, BODY))
    assert mine.watch.settle(bay.now) == []
    assert mine.watch.is_nameless

    known = neighbour.ledger.find("request", theirs.id, neighbour.now)
    assert known is not None
    bay.ledger.note("request", theirs.id, known, bay.now)
    assert {finding.victim for finding in mine.watch.settle(bay.now)} == {"x"}

    verdict = mine.watch.verdict()
    assert (verdict.kind, verdict.victim) == ("crosstalk", "x")
    assert not mine.watch.is_nameless
    assert "unknown" not in {finding.victim for finding in verdict.findings}
    assert mine.watch.settle(bay.now) == []
    owner = IdOwner("x", theirs.id, known.at, known.digest.hex(), "ses-x")
    assert mine.watch.record.owners == {theirs.id: owner}


@pytest.mark.parametrize(
    ("silent", "detectors"), [("contract", ["tag"]), ("tag", ["contract"]), ("age", ["contract", "tag"])]
)
def test_a_disabled_detector_names_no_owner_later_either(silent: str, detectors: list[str]) -> None:
    bay, neighbour = Bay(), Bay(random=Random(8))
    theirs, mine = neighbour.send("x"), bay.send("a", silent=[silent])
    mine.get(echo(theirs.id))
    known = neighbour.ledger.find("request", theirs.id, neighbour.now)
    assert known is not None
    bay.ledger.note("request", theirs.id, known, bay.now)

    assert [(each.detector, each.victim) for each in mine.watch.settle(bay.now)] == [(each, "x") for each in detectors]


def test_an_answer_that_a_neighbour_got_to_an_equal_request_is_taken_back() -> None:
    """R15: a cache that two instances share is no crosstalk."""
    bay, neighbour = Bay(), Bay(random=Random(8), now=0)
    theirs, mine = neighbour.send("x", digest=b"same"), bay.send("a", digest=b"same")
    assert mine.get(echo(theirs.id)) == "crosstalk"

    known = neighbour.ledger.find("request", theirs.id, neighbour.now)
    assert known is not None
    bay.ledger.note("request", theirs.id, known, bay.now)
    assert mine.watch.settle(bay.now) == []
    assert mine.watch.verdict().kind == "unverifiable"


def test_without_a_promise_such_an_id_is_a_suspicion_only_if_it_is_older_than_our_request() -> None:
    """A newer one may have been made by an instance upstream of us, which asked in our name."""
    bay, neighbour = Bay(COMPATIBLE, now=5000), Bay(COMPATIBLE, random=Random(8))
    older, mine, again = neighbour.send("x"), bay.send("a"), bay.send("b")
    neighbour.now = 9000
    newer = neighbour.send("y")

    assert mine.get(Fact("provider_id", older.id, HEADER)) == "suspect"
    assert again.get(Fact("provider_id", newer.id, HEADER)) == "unverifiable"


def test_a_mangled_id_is_a_suspicion_where_nothing_is_promised() -> None:
    line = Bay(COMPATIBLE).send("a")
    changed = line.id[:30] + ("0" if line.id[30] != "0" else "1") + line.id[31:]

    assert line.get(Fact("provider_id", changed, HEADER)) == "suspect"


def test_the_client_s_own_id_is_what_must_come_back() -> None:
    headers = Headers([("X-Request-ID", "client-17")])
    bay = Bay()
    line, other = bay.send("a", headers=headers), bay.send("b", headers=Headers([("X-Request-ID", "client-18")]))

    assert line.get(echo("client-17", BODY)) == "clean"
    assert other.get(echo("client-17", BODY)) == "crosstalk"
    assert other.watch.verdict().victim == "a"


def test_an_id_that_the_client_uses_for_all_its_requests_clears_nothing() -> None:
    headers = Headers([("X-Request-ID", "always-the-same")])
    bay = Bay()
    bay.send("a", headers=headers)
    second = bay.send("b", headers=headers)

    assert second.get(echo("always-the-same", BODY)) == "unverifiable"
    assert "one id for several requests" in second.watch.verdict().note


def test_a_retry_with_the_same_id_is_no_reuse() -> None:
    headers = Headers([("X-Request-ID", "client-17")])
    bay = Bay()
    bay.send("a", b"same", headers)

    assert bay.send("b", b"same", headers).get(echo("client-17", BODY)) == "clean"


def test_one_answer_delivered_twice_is_proof() -> None:
    bay = Bay(COMPATIBLE)
    a, b = bay.send("a"), bay.send("b")

    assert a.get(Fact("id", ID, "body id"), Fact("id", ID, "body id")) == "unverifiable"
    assert b.get(Fact("id", ID, "body id")) == "crosstalk"
    assert b.watch.verdict().victim == "a"


def test_one_answer_to_two_equal_requests_is_a_cache() -> None:
    bay = Bay(COMPATIBLE)
    a, b = bay.send("a", b"same"), bay.send("b", b"same")

    a.get(Fact("id", ID, "body id"))
    assert b.get(Fact("id", ID, "body id")) == "unverifiable"


def test_a_stored_answer_may_be_fetched_by_anybody() -> None:
    bay = Bay(COMPATIBLE)
    bay.send("a").get(Fact("id", ID, "body id"))
    fetch = bay.send("b")
    fetch.watch.record.generation = False

    assert fetch.get(Fact("id", ID, "body id")) == "unverifiable"


def test_an_answer_that_names_itself_in_two_attempts_of_one_exchange_is_one_answer() -> None:
    bay = Bay(COMPATIBLE)
    bay.send("a", b"").get(Fact("id", ID, "body id"))

    assert bay.send("a", b"").get(Fact("id", ID, "body id")) == "unverifiable"


def test_a_head_that_a_gateway_kept_is_only_a_suspicion() -> None:
    bay = Bay(COMPATIBLE)
    fact = Fact("provider_id", "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f", HEADER)
    bay.send("a").get(fact)

    assert bay.send("b").get(fact) == "suspect"


def test_ids_that_repeat_by_nature_are_not_compared() -> None:
    bay = Bay(COMPATIBLE)
    for number in range(300):
        line = bay.send(str(number))
        for value in (f"chatcmpl-{number % 7}", "", f"chat.id.{number % 9}"):
            assert line.get(Fact("id", value, "body id")) == "unverifiable"


def test_a_shallow_echo_never_clears_a_suspicion() -> None:
    bay = Bay()
    fact = Fact("provider_id", "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f", "header request-id")
    bay.send("a").get(fact)
    line = bay.send("b")

    assert line.get(echo(line.id), fact) == "suspect"


def test_an_edge_proves_nothing_about_the_answer() -> None:
    edge = Provider("p", "p", frozenset({"openai"}), echo=Echo(headers={"x-request-id": "edge"}, promised=True))
    line = Bay(edge).send("a")

    assert line.get(Fact("echo", line.id, HEADER, "edge")) == "unverifiable"
    assert line.watch.verdict().echo == "header"
    assert line.get(echo("something else")) == "crosstalk"


def test_a_stream_that_switches_to_another_s_chunks_is_caught_in_the_middle() -> None:
    bay = Bay()
    a, b = bay.send("a"), bay.send("b")
    assert a.get(echo(a.id, BODY)) == "clean"

    found = a.watch.see(echo(b.id, BODY), 200, bay.now)

    assert [finding.victim for finding in found if finding.strength == "proof"] == ["b", "b"]
    assert a.watch.see(echo(b.id, BODY), 200, bay.now) == []
    assert a.watch.verdict().kind == "crosstalk"


def test_a_client_s_endless_id_is_not_kept() -> None:
    bay = Bay()
    line = bay.send("a", headers=Headers([("X-Request-ID", "x" * 60_000)]))

    assert line.get(echo("x" * 60_000, BODY)) == "clean"
    assert len(bay.ledger) == 1


def test_findings_are_bounded_and_printable() -> None:
    line = Bay().send("a")
    for number in range(500):
        line.get(echo(f"x{number}\r\n\x1b[31m" + "y" * 1000))

    findings = line.watch.verdict().findings
    assert len(findings) <= 32
    assert all(finding.received.isprintable() and len(finding.received) < 200 for finding in findings)


def test_facts_of_a_reader_go_straight_in() -> None:
    bay = Bay(PRESETS["morpheus"])
    a, b = bay.send("a"), bay.send("b")
    body = f'{{"id":"x","request_id":"{b.id}","choices":[]}}'.encode()

    for fact in facts_of_json("openai_chat", body, bay.provider.echo):
        a.watch.see(fact, 200, bay.now)

    assert a.watch.verdict().victim == "b"


def test_evidence_is_made_of_plain_types() -> None:
    bay = Bay()
    a, b = bay.send("a"), bay.send("b")
    a.get(echo(b.id))
    plain = report.verdict(a.watch.verdict())

    assert (plain["verdict"], plain["victim"]) == ("crosstalk", "b")
    assert plain["findings"] == [to_builtins(each) for each in a.watch.verdict().findings]


def test_twenty_thousand_clean_exchanges_are_clean_and_cheap() -> None:
    bay = Bay(ledger=Ledger(limit=5000))
    began = time.thread_time()
    open_lines: list[Line] = []
    for number in range(20_000):
        open_lines.append(bay.send(str(number)))
        if len(open_lines) > 50:
            line = open_lines.pop(number % 50)
            assert line.get(echo(line.id, BODY), Fact("id", f"chatcmpl-{line.id[-20:]}", "body id")) == "clean"

    assert time.thread_time() - began < 20
    assert len(bay.ledger) <= 5000


def test_the_guid_form_of_our_id_is_known_as_ours_and_a_client_s_own_guid_is_not() -> None:
    bay = Bay()
    line = bay.send("a")
    ours, own = MINT.guid(line.id), "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f"
    stamped = Stamps(expected={"header x-request-id": own, "body request_id": ours})
    sent = record(bay.provider.echo, stamped, request_id=line.id, exchange="a", digest=b"a")

    Watch(sent, MINT, bay.ledger, bay.now)

    assert bay.ledger.find("request", own, bay.now) is None
    assert bay.ledger.find("request", ours, bay.now) is not None


# -- beside others at one host -----------------------------------------------------------------------------------------

AT = 1000.0
TEXT = " ".join(f"word{number:05}" for number in range(30))
STRONG = Fact("framing", "events", "body")  # at a host that is known
WEAK = Fact("early", "", "head")


@dataclass
class Host:
    """One host of a provider that promises nothing, and what is known of it."""

    memory: RecentExchanges = field(default_factory=RecentExchanges)
    ledger: Ledger = field(default_factory=Ledger)
    asked: RequestSummary | None = field(default_factory=lambda: request(model="mine-7b"))

    def send(self, exchange: str = "a", now: float = AT, **more: Any) -> Watch:
        stamped = Stamps(expected=more.pop("expected", {}), client_id=more.pop("client_id", ""))
        sent = record(
            more.pop("echo", Echo()), stamped, request_id=self.id_of(exchange), exchange=exchange, host=HOST,
            digest=more.pop("digest", exchange.encode()), **more,
        )  # fmt: skip
        return Watch(sent, MINT, self.ledger, now, self.memory, self.asked)

    @staticmethod
    def id_of(exchange: str) -> str:
        return MINT.new(AT, lambda size: exchange.encode() * size)

    def know(self, *rules: str, answers: int = 16) -> None:
        for rule in rules:
            for _ in range(answers):
                self.memory.habits.kept(HOST, rule, 1.0)

    def doubts(self, *detectors: str) -> list[bool]:
        return [self.memory.habits.standing(HOST, each, "another answer").doubted for each in detectors]


def tell(watch: Watch, *facts: Fact, status: int = 200, now: float = AT + 1) -> list[tuple[str, str]]:
    found = [finding for fact in facts for finding in watch.see(fact, status, now)]
    return [(finding.detector, finding.strength) for finding in found]


def test_a_sending_is_noted_with_its_moment_its_kinds_and_its_ids() -> None:
    host = Host()
    watch = host.send(own=["z", "b"], client_id="m")
    entry = host.ledger.find("request", host.id_of("a"), AT)

    assert watch.record.at == Moment(1, AT)
    assert host.send("b", AT + 1).record.at == Moment(2, AT + 1)
    assert (watch.record.version, sorted(watch.record.kinds)) == (VERSION, sorted(BY_KIND))
    assert watch.record.own == ["b", "m", "z"]
    assert host.send("c", own=["z", "b"]).record.own == ["b", "z"]
    assert entry is not None
    assert (entry.exchange, entry.at) == ("a", AT)
    assert watch.record.habits == {}
    assert Bay().send("a").watch.record.at == Moment(0, 1001.0)


@pytest.mark.parametrize(("generation", "live"), [(True, ["a"]), (False, [])])
def test_a_generation_is_beside_the_others_until_it_ends_and_its_words_are_known(
    generation: bool, live: list[str]
) -> None:
    host = Host(asked=request(messages=[{"role": "user", "content": "hello"}]))
    watch = host.send(generation=generation)
    entry = host.ledger.find("request", host.id_of("a"), AT)
    assert entry is not None and host.asked is not None

    assert [each.entry.exchange for each in host.memory.others(Entry("b"), HOST)] == live
    assert entry.words == (MINT.keyed(host.asked.history) if generation else b"")
    watch.end(AT + 1)
    assert list(host.memory.others(Entry("b", at=AT + 2), HOST)) == []


def test_standings_of_a_record_are_used_and_new_ones_added() -> None:
    known, fresh = Host(), Host()
    for host in (known, fresh):
        host.know("framing")
    watch = fresh.send()

    assert tell(known.send(habits={"framing": Standing()}), STRONG) == [("framing", "weak")]
    assert tell(watch, STRONG) == [("framing", "strong")]
    assert watch.record.habits == {"framing": Standing(kept=16, run=16)}


def test_facts_that_no_detector_reads_and_those_after_the_end_have_no_time() -> None:
    watch = Host().send()

    assert tell(watch, Fact("finish"), Fact("content")) == []
    assert watch.record.seen == []
    tell(watch, WEAK, now=AT + 2)
    tell(watch, Fact("loose", False), now=AT + 3)
    watch.end(AT + 4, whole=False)
    assert tell(watch, STRONG, now=AT + 5) == watch.end(AT + 5) == []
    assert watch.record.seen == [Moment(2, AT + 2), Moment(3, AT + 3)]
    assert watch.record.ended == [4, AT + 4]


def test_the_times_of_256_facts_are_kept() -> None:
    watch = Host().send()
    tell(watch, *[Fact("loose", False)] * 300)

    assert len(watch.record.seen) == 256
    line = Bay().send("a")
    line.get(Fact("loose", False))
    line.watch.end(line.bay.now)
    assert (line.watch.record.seen, line.watch.record.ended) == ([], [])


def test_the_head_came_with_the_first_status() -> None:
    """By its own clock the answer is four seconds older than the wait for its head."""
    watch = Host().send()
    ahead = AT + 86_400
    tell(watch, Fact("loose", False), status=0, now=AT + 1)
    tell(watch, Fact("date", ahead), now=AT + 2)

    assert tell(watch, Fact("created", ahead - 5.0), now=AT + 9) == []
    assert tell(watch, Fact("created", ahead - 5.1), now=AT + 9) == [("created", "weak")]


def test_an_early_head_is_recorded() -> None:
    watch = Host().send()

    assert not watch.record.early
    tell(watch, WEAK)
    assert watch.record.early


def test_an_echo_clears_an_answer_as_long_as_no_later_event_goes_without() -> None:
    line = Bay().send("a")

    assert line.get(echo(line.id, BODY)) == "clean"
    assert line.get(Fact("loose", True)) == "unverifiable"
    assert line.get(Fact("loose", False)) == "clean"


@pytest.mark.parametrize(
    ("fact", "nameless"),
    [
        (Fact("id", MINT.new(1.0, lambda size: b"x" * size), "body id"), True),
        (Fact("id", MINT.new(AT, lambda size: b"b" * size), "body id"), False),  # that of exchange b
        (Fact("id", "pb1-" + "0" * 48, "body id"), False),  # mangled
        (WEAK, False),
    ],
)
def test_an_answer_is_nameless_that_holds_an_id_of_an_unknown_exchange(fact: Fact, nameless: bool) -> None:
    host = Host()
    host.send("b")
    watch = host.send()
    found = watch.see(fact, 200, AT + 1)

    assert len(found) == 1
    assert watch.is_nameless is nameless


def test_each_unknown_id_is_settled_by_itself() -> None:
    host, watch = Host(), Host().send()
    one, two = (MINT.new(1.0, lambda size, of=each: of * size) for each in (b"x", b"y"))  # type: ignore[misc]
    watch = host.send()
    tell(watch, Fact("id", one, "body id"), Fact("token", two, "item"))
    host.ledger.note("request", two, Entry("y", two, digest=b"y"), AT)

    assert [(each.detector, each.victim) for each in watch.settle(AT + 1)] == [("tag", "y")]
    assert watch.is_nameless
    assert [(each.detector, each.received) for each in watch.verdict().findings] == [("unknown-tag", one), ("tag", two)]
    host.ledger.note("request", one, Entry("x", one, digest=b"a", at=1.0), AT)
    assert watch.verdict().note == ""
    assert watch.settle(AT + 1) == []
    assert not watch.is_nameless
    assert watch.verdict().note == "replay of an equal request"
    assert [each.detector for each in watch.verdict().findings] == ["tag"]


@pytest.mark.parametrize(
    ("proof", "kept", "noted"),
    [
        (Fact("echo", Host.id_of("b"), "body id"), [], False),  # tag: the whole answer is another's
        (Fact("stray", "HTTP/1.1 200", "body"), ["call"], False),
        (STRONG, ["call"], True),
    ],
)
def test_after_a_proof_nothing_is_noted_and_one_about_the_whole_answer_withdraws_what_was(
    proof: Fact, kept: list[str], noted: bool
) -> None:
    host = Host()
    host.know("stray-head")
    host.send("b")
    watch = host.send()
    tell(watch, Fact("token", "call_a81Kx02bQz77TyLm3", "tool"), proof, STRONG, Fact("text", TEXT))

    assert ["call"] * host.ledger.holds("call") == kept
    assert host.ledger.holds("text") is noted


@pytest.mark.parametrize(
    ("facts", "known", "doubted"),
    [
        ([STRONG], ["framing"], ["framing"]),
        ([STRONG, WEAK], ["framing"], ["framing"]),
        ([STRONG], [], []),
        ([Fact("created", AT - 60, "body")], ["created clock"], ["created", "duplicate"]),
        ([STRONG, Fact("id", Host.id_of("b"), "body id")], ["framing"], ["framing"]),
        ([Fact("id", Host.id_of("b"), "body id"), STRONG], ["framing"], []),  # crosstalk already
        ([Fact("id", "pb1-" + "0" * 48, "body id")], [], ["mangled-tag"]),
    ],
)
def test_a_suspicion_puts_its_detector_in_doubt_and_those_that_change_with_it(
    facts: list[Fact], known: list[str], doubted: list[str]
) -> None:
    host = Host()
    host.know(*known)
    host.send("b")
    tell(host.send(), *facts)

    names = ["framing", "created", "duplicate", "mangled-tag", "early", "tag"]
    assert host.doubts(*names) == [name in doubted for name in names]


@pytest.mark.parametrize(("whole", "doubted"), [(True, False), (False, True)])
def test_a_complete_answer_counts_against_the_doubts_about_its_host(whole: bool, doubted: bool) -> None:
    host = Host()
    host.memory.habits.suspected(HOST, "framing", "an answer")
    for number in range(40):
        watch = host.send(str(number))
        watch.end(AT + 1, whole=whole)
        assert (watch.record.whole, len(watch.record.ended)) == (whole, 2)

    assert host.doubts("framing") == [doubted]


@pytest.mark.parametrize(
    ("status", "whole", "learned"),
    [(200, True, 1), (399, True, 1), (0, True, 0), (400, True, 0), (200, False, 0)],
)
def test_rules_are_learned_from_a_complete_answer_that_is_no_error(status: int, whole: bool, learned: int) -> None:
    host = Host()
    watch = host.send()
    tell(watch, Fact("framing", "whole", "body"), Fact("age", 0, "header age"), Fact("age", 90, "header age"),
         status=status)  # fmt: skip
    watch.end(AT + 1, whole=whole)

    assert host.memory.habits.standing(HOST, "framing").kept == learned
    assert host.memory.habits.standing(HOST, "age").kept == 0  # it was broken too


@pytest.mark.parametrize(
    ("fact", "strengths", "rules", "models"),
    [
        (WEAK, ["weak"], 1, 1),
        (Fact("id", Host.id_of("b"), "body id"), ["proof"], 0, 0),
        (Fact("echo", "another", "body request_id"), ["proof"], 1, 0),
        (Fact("created", AT - 60, "body"), ["strong"], 1, 0),
    ],
)
def test_no_rule_is_learned_from_a_misdelivered_answer_and_no_model_from_a_suspect_one(
    fact: Fact, strengths: list[str], rules: int, models: int
) -> None:
    host = Host()
    host.know("created clock")
    host.send("b")
    watch = host.send(echo=Echo(body={"request_id": "body"}, promised=True), expected={BODY: host.id_of("a")})
    tell(watch, Fact("framing", "whole", "body"), Fact("model", "other-1b", "body model"))

    assert [each.strength for each in watch.see(fact, 200, AT + 1)] == strengths
    watch.end(AT + 2)

    assert host.memory.habits.standing(HOST, "framing").kept == rules
    assert host.memory.has_answered(HOST, "mine-7b", "other-1b") == models


def test_four_models_of_one_answer_are_learned() -> None:
    host = Host()
    watch = host.send()
    names = ["alpha", "beta", "gamma", "delta", "epsilon"]
    tell(watch, *[Fact("model", name, "body model") for name in names])
    watch.end(AT + 1)

    assert [host.memory.has_answered(HOST, "mine-7b", name) for name in names] == [True] * 4 + [False]


def test_without_a_request_or_a_memory_only_ids_are_compared_to_the_end() -> None:
    bare, line = Host(asked=None), Bay().send("a")
    watch = bare.send()
    tell(watch, STRONG, Fact("model", "other", "body"))

    assert watch.end(AT + 1) == []
    assert not bare.memory.habits.standing(HOST, "model").broken
    assert line.watch.end(line.bay.now) == line.watch.end(line.bay.now) == []
    assert line.watch.record.whole


def test_a_complete_answer_is_judged_for_what_is_missing_and_a_broken_one_is_not() -> None:
    for whole, findings in ((True, [("stripped", "weak")]), (False, [])):
        host = Host()
        host.know("stripped body request_id")
        watch = host.send(expected={BODY: host.id_of("a")})
        tell(watch, Fact("framing", "whole", "body"))
        assert [(each.detector, each.strength) for each in watch.end(AT + 1, whole=whole)] == findings


def test_an_id_of_ours_that_came_back_is_not_missing() -> None:
    host = Host()
    host.know(f"stripped {BODY}")
    watch = host.send(expected={BODY: host.id_of("a")})
    tell(watch, echo(host.id_of("a"), BODY))

    assert watch.end(AT + 1) == []
    assert host.memory.habits.standing(HOST, f"stripped {BODY}").kept == 17


def test_a_place_has_the_depth_that_the_provider_states_and_else_that_of_its_writer() -> None:
    host = Host()
    echo_of = Echo(headers={"X-Request-ID": "body"}, body={"request_id": "handler"})
    places = (("echo", HEADER, "edge", "clean"), ("echo", BODY, "body", "unverifiable"),
              ("echo", "body other", "body", "clean"), ("echo", "body other", "handler", "unverifiable"),
              ("id", "body id", "none", "clean"))  # fmt: skip
    for kind, where, depth, verdict in places:
        watch = host.send(echo=echo_of)
        watch.see(Fact(kind, f"chatcmpl-{host.id_of('a')}", where, depth), 200, AT + 1)  # type: ignore[arg-type]
        assert (where, watch.verdict().kind) == (where, verdict)


@pytest.mark.parametrize(("value", "verdict"), [("client-1", "clean"), ("client-2", "unverifiable")])
def test_of_the_client_s_ids_only_the_expected_one_clears(value: str, verdict: str) -> None:
    watch = Host().send(own=["client-1", "client-2"], expected={BODY: "client-1"})
    watch.see(echo(value, BODY), 200, AT + 1)

    assert watch.verdict().kind == verdict
    assert watch.verdict().echo == ("body" if verdict == "clean" else "")


@pytest.mark.parametrize(
    ("length", "digest", "exchange", "verdict"),
    [
        (1, b"b", "b", "unverifiable"),
        (512, b"b", "b", "unverifiable"),
        (513, b"b", "b", "clean"),  # it is not remembered
        (9, b"a", "b", "clean"),  # a retry
        (9, b"b", "a", "clean"),  # another attempt
    ],
)
def test_a_client_s_id_clears_nothing_where_another_request_carried_it(
    length: int, digest: bytes, exchange: str, verdict: str
) -> None:
    own, host = "c" * length, Host()
    first = host.send("a", digest=b"a", client_id=own, expected={BODY: own})
    second = host.send(exchange, digest=digest, client_id=own, expected={BODY: own})
    first.see(echo(own, BODY), 200, AT + 1)
    second.see(echo(own, BODY), 200, AT + 1)

    assert [first.verdict().kind, second.verdict().kind] == ["clean", verdict]


def test_notes_stand_once_and_in_their_order() -> None:
    bay = Bay()
    first, equal = bay.send("a"), bay.send("x", digest=b"a")
    second = bay.send("a", earlier=(first.id,))
    assert second.watch.verdict().note == ""
    second.get(echo(first.id), echo(first.id, BODY))
    assert second.watch.verdict().note == "late attempt"
    second.get(echo(equal.id))

    assert second.watch.verdict().note == "late attempt; replay of an equal request"


def test_owners_of_other_exchanges_are_recorded_and_bounded() -> None:
    host = Host()
    watch = host.send()
    for number in range(40):
        other = MINT.new(AT, lambda size, of=number: bytes([of]) * size)  # type: ignore[misc]
        host.ledger.note("request", other, Entry(f"x{number}", other, digest=b"\xff", at=7.0), AT)
        tell(watch, Fact("token", other, "item"))

    owner = next(iter(watch.record.owners.values()))
    assert len(watch.record.owners) == len(watch.verdict().findings) == 32
    assert (owner.exchange, owner.at, owner.digest) == ("x0", 7.0, "ff")
    again = host.send(earlier=[])
    host.ledger.note("request", "pb1-earlier", Entry("a"), AT)
    tell(again, Fact("id", host.id_of("a"), "body id"), Fact("id", "pb1-earlier", "body id"))
    assert again.record.owners == {}


def test_a_finding_is_told_once_for_each_place_and_value() -> None:
    host = Host()
    host.send("b")
    host.send("c")
    watch = host.send()
    one, two = Fact("token", host.id_of("b"), "item"), Fact("token", host.id_of("c"), "item")

    assert tell(watch, one, one, two, Fact("token", one.value, "call"), two) == [("tag", "proof")] * 3
