"""Stories of answers: ours, another's, nobody's."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random

import pytest
from msgspec import to_builtins

from patchbay.body import Body
from patchbay.correlation import Mint, Stamps, stamps
from patchbay.crosstalk import report
from patchbay.crosstalk.attempt_record import Owner
from patchbay.crosstalk.watch import Watch
from patchbay.ledger import Ledger
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Echo, Provider
from patchbay.values.answer import Fact
from patchbay.values.http import Headers

from ..answer.whole import facts_of_json
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
    assert report.comment(line.watch.verdict()) == "echo matched (header), which says nothing about the body"
    assert line.get(echo(line.id, BODY)) == "clean"
    assert report.comment(line.watch.verdict()) == "echo matched (body)"


def test_no_echo_is_unverifiable_and_never_clean() -> None:
    line = Bay().send("a")

    assert line.get(Fact("id", ID, "body id"), Fact("content", "text")) == "unverifiable"
    assert report.comment(line.watch.verdict()) == "no echo"


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
    assert report.comment(a.watch.verdict()) == f"CROSSTALK: expected {a.id}, received {b.id}, victim b"
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
    assert report.comment(a.watch.verdict()).startswith("suspect: expected ")


def test_a_late_answer_of_an_earlier_attempt_is_no_crosstalk() -> None:
    bay = Bay()
    first = bay.send("a")
    second = bay.send("a", earlier=(first.id,))

    assert second.get(echo(first.id)) == "unverifiable"
    assert second.watch.verdict().note == "late attempt"
    assert report.comment(second.watch.verdict()) == "no echo; late attempt"


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
    assert mine.watch.record.owners == {theirs.id: Owner("x", theirs.id, known.at, known.digest.hex())}


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
