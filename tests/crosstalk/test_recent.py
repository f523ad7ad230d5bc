"""The recent exchanges of one instance: which overlap, which sent a setting alone, and what a host answered."""

from __future__ import annotations

import msgspec
import pytest

from patchbay.body import Body
from patchbay.crosstalk import recent
from patchbay.crosstalk.host_habits import BY_OUR_CLOCK
from patchbay.crosstalk.recent import LiveAttempt, RecentExchanges
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.ledger import Entry
from patchbay.values.http import Endpoint

HOST = "http://host"


def entry(exchange: str, at: float = 0.0, digest: bytes = b"") -> Entry:
    return Entry(exchange, f"id-{exchange}", digest=digest, at=at)


def live(of: Entry, host: str = HOST, **members: object) -> LiveAttempt:
    body = Body(msgspec.json.encode(members))
    return LiveAttempt(of, RequestSummary(Endpoint("openai_responses", suffix="/responses"), body), host)


def others(memory: RecentExchanges, of: Entry, host: str = HOST) -> list[str]:
    return [each.entry.exchange for each in memory.others(of, host)]


def test_each_tick_is_the_next_number() -> None:
    memory = RecentExchanges()

    assert [memory.tick(), memory.tick(), memory.tick()] == [1, 2, 3]


def test_a_set_clock_is_counted_and_only_the_rule_by_our_clock_is_forgotten() -> None:
    memory = RecentExchanges()
    for rule in (BY_OUR_CLOCK, "age"):
        memory.habits.kept(HOST, rule, 1.0)
    assert memory.clock == 0

    memory.clock_was_set()
    memory.clock_was_set()

    assert memory.clock == 2
    assert [memory.habits.standing(HOST, rule).kept for rule in (BY_OUR_CLOCK, "age")] == [0, 1]


def test_attempts_under_way_at_the_host_are_beside_those_of_other_exchanges() -> None:
    memory = RecentExchanges()
    for each in (live(entry("a")), live(entry("b")), live(entry("c"), "http://elsewhere")):
        memory.begin(each)

    assert others(memory, entry("a", 5.0)) == ["b"]
    assert others(memory, entry("x", 5.0)) == ["a", "b"]
    assert others(memory, entry("a"), "http://elsewhere") == ["c"]


@pytest.mark.parametrize(("sent", "beside"), [(9.9, ["a"]), (10.0, ["a"]), (10.1, [])])
def test_an_attempt_that_ended_was_beside_those_sent_before_its_end(sent: float, beside: list[str]) -> None:
    memory = RecentExchanges()
    memory.begin(live(entry("a")))
    memory.finish("id-a", 10.0)
    memory.finish("never begun", 11.0)

    assert others(memory, entry("x", sent)) == beside
    assert others(memory, entry("a", sent)) == []


@pytest.mark.parametrize(("more", "is_kept"), [(0, True), (1, False)])
def test_an_ended_attempt_with_a_large_request_is_not_kept(more: int, is_kept: bool) -> None:
    memory, of = RecentExchanges(), entry("a")
    endpoint = Endpoint("openai_responses", suffix="/responses")
    memory.begin(LiveAttempt(of, RequestSummary(endpoint, Body(b" " * (256 * 1024 + more))), HOST))
    memory.finish("id-a", 10.0)

    assert others(memory, entry("x")) == (["a"] if is_kept else [])


def test_the_last_32_ended_attempts_are_kept() -> None:
    memory = RecentExchanges()
    for number in range(40):
        memory.begin(live(entry(str(number))))
        memory.finish(f"id-{number}", 1.0)

    assert others(memory, entry("x")) == [str(number) for number in range(8, 40)]


def test_the_first_exchange_that_sent_a_request_may_have_filled_a_cache() -> None:
    memory = RecentExchanges()
    for each in (entry("a", digest=b"same"), entry("b", digest=b"same"), entry("c"), entry("d")):
        memory.begin(live(each))

    assert memory.asked_before(entry("b", digest=b"same"))
    assert not memory.asked_before(entry("a", digest=b"same"))
    assert not memory.asked_before(entry("b", digest=b"other"))
    assert not memory.asked_before(entry("d"))  # no digest: nothing says that the requests were equal


def test_the_sender_of_a_setting_is_the_exchange_that_alone_sent_its_value() -> None:
    memory = RecentExchanges()
    a, again, b = entry("a"), entry("a", 2.0), entry("b")
    memory.begin(live(a, user="ann"))
    assert memory.sender(HOST, "user", "ann") == a
    memory.begin(live(again, user="ann"))
    assert memory.sender(HOST, "user", "ann") is again  # a further attempt of the exchange
    assert [memory.sender(*key) for key in ((HOST, "user", "bob"), (HOST, "model", "ann"), ("", "user", "ann"))] == [
        None, None, None,
    ]  # fmt: skip

    memory.begin(live(b, user="ann"))
    assert memory.sender(HOST, "user", "ann") is None
    memory.begin(live(a, user="ann"))
    assert memory.sender(HOST, "user", "ann") is None  # for good


def test_a_value_that_came_to_two_exchanges_is_the_hosts_own() -> None:
    memory = RecentExchanges()

    def came(exchange: str, value: str = "ann", name: str = "user", host: str = HOST) -> bool:
        return memory.received(host, name, value, exchange)

    assert [came("a"), came("a"), came("b"), came("c"), came("a")] == [False, False, True, True, False]
    assert [came("b", "bob"), came("b", name="model"), came("b", host="http://elsewhere")] == [False] * 3


def test_a_model_is_known_by_host_by_the_asked_model_and_by_name() -> None:
    memory = RecentExchanges()
    memory.answers(HOST, "large", "large-2026")

    assert memory.has_answered(HOST, "large", "large-2026")
    for other in (("", "large", "large-2026"), (HOST, "small", "large-2026"), (HOST, "large", "large")):
        assert not memory.has_answered(*other)


def test_each_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"_LIVE": 10_000, "_SENT": 50_000, "_MODELS": 20_000, "_RECEIVED": 20_000}
    assert {name: getattr(recent, name) for name in limits} == limits
    for name in limits:
        monkeypatch.setattr(recent, name, 2)
    memory = RecentExchanges()
    for number in range(3):
        of = entry(str(number), digest=str(number).encode())
        memory.begin(live(of, user=f"user-{number}"))
        memory.received(HOST, "user", f"user-{number}", "a")
        memory.answers(HOST, "large", str(number))

    assert others(memory, entry("x")) == ["1", "2"]
    assert [memory.sender(HOST, "user", f"user-{number}") is None for number in range(3)] == [True, False, False]
    assert [memory.has_answered(HOST, "large", str(number)) for number in range(3)] == [False, True, True]
    assert [memory.received(HOST, "user", f"user-{number}", "b") for number in (2, 1, 0)] == [True, True, False]
    assert [memory.asked_before(entry("x", digest=str(number).encode())) for number in range(3)] == [False, True, True]
