"""What one process knows, the next one and its neighbours know too, whatever the order in which they hear of it."""

from __future__ import annotations

import inspect
import math
import random
import re
from dataclasses import replace

import pytest

from patchbay import state
from patchbay.accounts.bindings import Bindings, Key
from patchbay.accounts.cooldown import SharedCooldown
from patchbay.accounts.health import Health
from patchbay.crosstalk.host_habits import BREAKS_FOR_HABIT, Demotion
from patchbay.crosstalk.judgement import Judgement, LateReport
from patchbay.crosstalk.recent import RecentExchanges
from patchbay.crosstalk.sent_prefixes import Answered, Prefix
from patchbay.identity.aliases import Aliases
from patchbay.ledger import Entry, Ledger
from patchbay.state import Leak, State
from patchbay.store import redis_store
from patchbay.values.decision import Finding, Outcome
from patchbay.values.record import Record

from .each_row import each_row

KEY = Key("openai@any", b"\x00\xff", "aff", "gpt")
TTL = 100.0
ANSWERED = Answered(
    Entry("x", "pb1-x", "a", "aff", "t", b"d", 4.0, words=b"w"), Prefix({"model": b"m"}, 2, b"p"), 5.5,
    (Entry("y", "pb1-y", affinity="s"),), (b"s",),
)  # fmt: skip
FOUND = Finding("words", "words", "strong", "w", "e", "r", "v")


class Instance:
    """The memory of one process."""

    def __init__(self, *records: Record, now: float = 0.0) -> None:
        self.bindings = Bindings(TTL, 100)
        self.health = Health()
        self.ledger = Ledger(100, TTL)
        self.aliases = Aliases(100, TTL)
        self.memory = RecentExchanges()
        self.habits = self.memory.habits
        self.state = State(self.bindings, self.health, self.ledger, self.aliases, self.memory)
        self.state.watch()
        self.state.adopt(records, now)

    def bind(self, account: str, now: float, key: Key = KEY) -> int:
        generation = self.bindings.hold(key, account, now)
        self.bindings.bind(key, account, generation, now)
        self.bindings.release(key, account)
        return generation


def tell(teller: Instance, listener: Instance, now: float) -> list[Record]:
    """Let *listener* hear what changed at *teller*, as through a store."""
    records = teller.state.changes(now)
    listener.state.adopt(records, now)
    return records


def test_the_next_process_knows_everything() -> None:
    one = Instance()
    one.bind("a", 1)
    one.health.record_outcome("a", "gpt", Outcome("rate", until=50.0), 1)
    one.ledger.note("lineage", "seed", Entry("x", account="a", affinity="aff", thread="t", at=1.0), 1)
    one.aliases.lead("id", "aff", 1)

    two = Instance(*one.state.everything(2), now=2)

    assert two.bindings.home(KEY, 3) == "a"
    assert two.health.deadline("a", "gpt", 3) == one.health.deadline("a", "gpt", 3)
    assert two.ledger.find("lineage", "seed", 3) == Entry("", account="a", affinity="aff", thread="t", at=1.0)
    assert two.aliases.resolve("id", 3) == "aff"


def test_ids_of_requests_are_told_only_where_instances_share_a_store() -> None:
    """R15: with them one instance names the exchange of another one."""
    entry = Entry("x", "pb1-x", "a", "aff", "t", b"digest", 5.0, words=b"words")
    alone, one, two = Instance(), Instance(), Instance()
    one.state.watch(shared=True)
    for each in (alone, one):
        each.ledger.note("request", "pb1-x", entry, 5)

    assert alone.state.changes(6) == []
    tell(one, two, 6)
    assert two.ledger.find("request", "pb1-x", 7) == replace(entry, thread="")


def test_an_answer_that_went_astray_is_told_once() -> None:
    """R15: whoever knows the victim marks it."""
    one, two = Instance(), Instance()
    heard: list[Leak] = []
    two.state.leaked = heard.append
    one.state.leak(Leak("victim", "pb1-receiver", disputed=True), 5)

    tell(one, two, 6)
    assert heard == [Leak("victim", "pb1-receiver", disputed=True)]

    assert one.state.changes(7) == []


def test_a_leak_that_an_earlier_release_told_of_names_no_session() -> None:
    heard: list[Leak] = []
    state = Instance().state
    state.leaked = heard.append
    assert state.adopt([Record("leak", "victim", '["pb1-receiver",true]', 2, 3602.0)], 3) == 0
    assert heard == [Leak("victim", "pb1-receiver", disputed=True)]


def test_only_what_changed_is_told() -> None:
    one = Instance()
    one.bind("a", 1)
    assert [record.kind for record in one.state.changes(1)] == ["binding"]

    assert one.state.changes(2) == []
    one.health.record_outcome("a", "gpt", Outcome("rate", until=50.0), 3)
    assert [record.kind for record in one.state.changes(3)] == ["rest"]
    assert one.state.changes(4) == []


def test_nothing_is_kept_track_of_before_anybody_asks() -> None:
    bindings, ledger, aliases = Bindings(TTL, 100), Ledger(), Aliases(100, TTL)
    generation = bindings.hold(KEY, "a", 1)
    bindings.bind(KEY, "a", generation, 1)
    ledger.note("lineage", "seed", Entry("x"), 1)
    aliases.lead("id", "aff", 1)

    assert State(bindings, Health(), ledger, aliases).changes(1) == []


def test_the_newer_home_holds_whoever_hears_of_it_first() -> None:
    one, two = Instance(), Instance()
    one.bind("a", 1)
    two.bind("b", 2)

    first, second = one.state.changes(3), two.state.changes(3)
    one.state.adopt(second, 3)
    two.state.adopt(first, 3)

    assert one.bindings.home(KEY, 4) == two.bindings.home(KEY, 4) == "b"


def test_a_home_that_is_used_elsewhere_lives_on_here() -> None:
    one, two = Instance(), Instance()
    one.bind("a", 0)
    tell(one, two, 0)
    one.bind("a", 90)
    tell(one, two, 90)

    assert two.bindings.home(KEY, 150) == "a"


def test_a_home_that_was_lost_is_lost_everywhere() -> None:
    one, two = Instance(), Instance()
    generation = one.bind("a", 1)
    tell(one, two, 1)

    one.bindings.unbind(KEY, "a", generation)
    (gone,) = tell(one, two, 2)

    assert gone.value == ""
    assert two.bindings.home(KEY, 3) == ""


def test_old_news_do_not_bring_back_a_home_that_was_just_lost() -> None:
    one = Instance()
    generation = one.bind("a", 1)
    old = one.state.changes(1)
    one.bindings.unbind(KEY, "a", generation)

    one.state.adopt(old, 2)
    assert one.bindings.home(KEY, 2) == ""
    assert [record.value for record in one.state.changes(2)] == [""]


def test_a_home_that_only_aged_here_is_not_taken_from_others() -> None:
    one, two = Instance(), Instance()
    one.bind("a", 0)
    tell(one, two, 0)
    two.bind("a", 90)

    assert one.bindings.home(KEY, 110) == ""
    tell(one, two, 110)
    assert two.bindings.home(KEY, 111) == "a"


def test_a_request_under_way_cannot_bind_over_a_home_it_was_told_of() -> None:
    one, two = Instance(), Instance()
    two.bind("b", 1)
    generation = one.bindings.hold(KEY, "a", 1)
    tell(two, one, 2)

    assert not one.bindings.bind(KEY, "a", generation, 3)
    assert one.bindings.home(KEY, 3) == "b"
    one.bindings.release(KEY, "a")
    assert (one.bindings.sessions("a"), one.bindings.sessions("b")) == (0, 1)


def test_the_later_rest_holds_whoever_hears_of_it_first() -> None:
    one, two = Instance(), Instance()
    one.health.record_outcome("a", "gpt", Outcome("rate", until=50.0), 1)
    two.health.record_outcome("a", "gpt", Outcome("rate", until=80.0), 1)
    first, second = one.state.changes(1), two.state.changes(1)
    one.state.adopt(second, 1)
    two.state.adopt(first, 1)

    assert one.health.deadline("a", "gpt", 2) == two.health.deadline("a", "gpt", 2)
    assert (one.health.deadline("a", "gpt", 2) or 0) >= 80


def test_a_rest_that_ended_early_ends_everywhere_and_the_next_one_counts_again() -> None:
    one, two = Instance(), Instance()
    one.health.record_outcome("a", "gpt", Outcome("quota", until=80.0, scope="account"), 1)
    tell(one, two, 1)
    assert two.health.deadline("a", "gpt", 2)

    one.health.credential_changed("a")
    told = [*tell(one, two, 3)]
    assert two.health.deadline("a", "gpt", 4) is None
    assert Instance(*told, now=4).health.deadline("a", "gpt", 4) is None

    two.health.record_outcome("a", "gpt", Outcome("quota", until=70.0, scope="account"), 5)
    (again,) = tell(two, one, 5)
    assert one.health.deadline("a", "gpt", 6) is not None
    assert again.order > max(record.order for record in told)


def test_a_bad_credential_is_nobody_elses_business() -> None:
    one = Instance()
    one.health.record_outcome("a", "gpt", Outcome("auth", scope="account"), 1)

    assert list(one.state.everything(2)) == []


@pytest.mark.parametrize(
    "record",
    [
        Record("binding", "not json", "a", 1.0, 50.0),
        Record("binding", '["p","zz","a",""]', "a", 1.0, 50.0),
        Record("rest", '["a",null,"levitating"]', '["rate",null]', 1.0, 50.0),
        Record("owner", '["mint","x"]', '["a","",""]', 1.0, 50.0),
        Record("alias", "x", "{}", 1.0, 50.0),
    ],
)
def test_what_cannot_be_read_is_counted_and_left(record: Record) -> None:
    instance = Instance()

    assert instance.state.adopt([record], 1) == 1
    assert list(instance.state.everything(1)) == []


def test_a_kind_of_a_later_version_is_left() -> None:
    assert Instance().state.adopt([Record("weather", "x", "fine", 1.0, 50.0)], 1) == 0


@each_row("seed", range(20))
def test_instances_that_heard_the_same_know_the_same(seed: int) -> None:
    """Three instances act at random and hear of one another late and in any order; in the end they agree."""
    chance = random.Random(seed)
    instances = [Instance() for _ in range(3)]
    said: list[Record] = []
    keys = [Key("p", b"", name) for name in "xyz"]
    for now in range(1, 40):
        actor = chance.choice(instances)
        key, account = chance.choice(keys), chance.choice("ab")
        match chance.randrange(4):
            case 0 | 1:
                actor.bind(account, now, key)
            case 2:
                actor.bindings.drop(key)
            case _:
                actor.health.record_outcome(account, "m", Outcome("rate", until=now + chance.randrange(5, 90)), now)
        said += actor.state.changes(now)
        actor.state.adopt(chance.sample(said, min(len(said), 3)), now)
    for _ in range(2):
        for instance in instances:
            said += instance.state.changes(40)
            instance.state.adopt(chance.sample(said, len(said)), 40)
    for instance in instances:
        instance.state.adopt(sorted(said, key=lambda record: record.order), 40)

    assert len({tuple(instance.bindings.home(key, 41) for key in keys) for instance in instances}) == 1
    assert len({tuple(instance.health.deadline(name, "m", 41) for name in "ab") for instance in instances}) == 1


def demoted(*instances: Instance) -> list[bool]:
    return [each.habits.standing("http://host", "age").demoted for each in instances]


def test_a_habit_of_a_host_is_known_to_the_next_process_and_to_neighbours_and_so_is_its_end() -> None:
    """H1: kept over a restart, shared, and reset everywhere."""
    one = Instance()
    for _ in range(12):
        one.habits.kept("http://host", "age", 1)
    for _ in range(3):
        one.habits.broke("http://host", "age", 2)
    two, three = Instance(*one.state.everything(3), now=3), Instance()
    records = tell(one, three, 3)
    assert demoted(one, two, three) == [True, True, True]

    three.habits.reset("http://host", "age", 9)
    ended = tell(three, one, 9)
    two.state.adopt([*ended, *records], 10)

    assert demoted(one, two, three, Instance(*ended, *records, now=10)) == [False] * 4


def test_a_habit_that_another_version_wrote_is_left_out() -> None:
    assert (
        Instance().state.adopt(
            [Record("habit", "no json", "demoted", 1, 100), Record("habit", '["a","b"]', "?", 1, 100)], 2
        )
        == 2
    )


YEAR = 365 * 86_400.0
NOW = 1_790_000_000.0


@pytest.mark.parametrize("hint", [60.0, 18_000.0, None])
@pytest.mark.parametrize("ahead", [YEAR, 86_400.0, 3_600.0])
def test_a_rest_that_a_wrong_clock_wrote_keeps_nobody_out(ahead: float, hint: float | None) -> None:
    """R7: not the writer, nor another instance, nor a process that starts later, however often."""
    wrong, right = Instance(now=NOW + ahead), Instance(now=NOW)
    until = None if hint is None else NOW + ahead + hint
    wrong.health.record_outcome("a", "gpt", Outcome("quota", until=until, scope="account"), NOW + ahead)
    records = wrong.state.changes(NOW + ahead)

    right.state.adopt(records, NOW)
    assert right.health.available("a", "gpt", NOW + 31)
    for started in (NOW + 100, NOW + 1_000, NOW + 10_000):
        later = Instance(*records, now=started)
        assert later.health.available("a", "gpt", started + 31)

    assert wrong.health.clock(NOW) == 0, "the first look at it"
    wrong = Instance(now=NOW + ahead)
    wrong.health.clock(NOW + ahead)
    wrong.health.record_outcome("a", "gpt", Outcome("quota", until=until, scope="account"), NOW + ahead)
    assert wrong.health.clock(NOW) == -ahead
    assert wrong.health.available("a", "gpt", NOW + (1.1 * hint if hint else 1_801))
    assert not wrong.health.available("a", "gpt", NOW + 50), "it rests as long as it was told to"


def test_what_remains_of_a_rest_goes_over_a_restart_and_to_clocks_that_differ_a_little() -> None:
    """R7: a length, counted from when it was found out."""
    one = Instance(now=NOW)
    one.health.record_outcome("a", "gpt", Outcome("quota", until=NOW + 600, scope="account"), NOW)
    (record,) = one.state.changes(NOW)

    for now, left in ((NOW + 100, 500), (NOW, 600), (NOW - 20, 600)):
        two = Instance(record, now=now)
        assert two.health.deadline("a", "gpt", now) == pytest.approx(now + left, abs=6)
    assert Instance(record, now=NOW + 700).health.available("a", "gpt", NOW + 700)


def test_what_is_told_is_told_once_whatever_the_clocks() -> None:
    """R7: two instances do not tell each other the same for ever."""
    one, two = Instance(now=NOW), Instance(now=NOW)
    one.health.record_outcome("a", "gpt", Outcome("quota", until=NOW + 600, scope="account"), NOW)
    for ahead in (-3_600, -30, 0, 30, 3_600):
        tell(one, two, NOW + ahead)
        tell(two, one, NOW)
    assert (one.state.changes(NOW), two.state.changes(NOW)) == ([], [])


def test_a_right_clock_has_the_last_word_on_a_rest_of_a_wrong_one() -> None:
    """R7: in the store, where the later end wins, a year ahead would win for a year."""
    wrong, right = Instance(), Instance()
    wrong.health.record_outcome("a", "gpt", Outcome("quota", scope="account"), NOW + YEAR)
    (record,) = wrong.state.changes(NOW + YEAR)
    right.state.adopt([record], NOW)
    (mended,) = right.state.changes(NOW)
    assert mended.order > record.order
    assert mended.expires < NOW + 60


# -- each record, to the letter: a store outlives a release ------------------------------------------------------------


def each_kind() -> tuple[Instance, dict[str, Record]]:
    """Return an instance, and a record of it of each kind that has no function of its own here."""
    one = Instance()
    one.state.watch(shared=True)
    one.bind("a", 1)
    one.health.record_outcome("a", "gpt", Outcome("rate", until=50.0), 1.0)
    one.ledger.note("lineage", "seed", Entry("x", account="a", affinity="aff", thread="t", at=1.0), 1)
    one.ledger.note("request", "pb1-x", Entry("x", "pb1-x", "a", "aff", "t", b"d", 5.0, words=b"w"), 5)
    one.aliases.lead("id", "aff", 1)
    one.state.leak(Leak("victim", "receiver", session="e718a2c4"), 2)
    one.state.wake("nobody", 3)
    one.state.switch("b", 3, on=False)
    one.memory.sent.note("h", "msg_1", ANSWERED)
    one.memory.late.found("x0", FOUND, "x1", 4.0)
    return one, {record.kind: record for record in one.state.changes(4)}


def test_each_kind_of_record_as_it_is_stored() -> None:
    one, found = each_kind()

    assert found["binding"] == Record("binding", '["openai@any","00ff","aff","gpt"]', "a", 1, 101.0)
    assert found["owner"] == Record("owner", '["lineage","seed"]', '["a","aff","t"]', 1.0, 101.0)
    assert found["request"] == Record("request", "pb1-x", '["x","pb1-x","a","aff","64","77"]', 5.0, 105.0)
    assert found["alias"] == Record("alias", "id", '["aff",""]', 0.0, found["alias"].expires)
    assert found["leak"] == Record("leak", "victim", '["receiver",false,"e718a2c4"]', 2, 3602.0)
    assert found["woken"] == Record("woken", "nobody", "well", 3, 603.0)
    assert found["switched"] == Record("switched", "b", "off", 3, 3 + 315_360_000)
    value = (
        '["x","pb1-x","a","aff","t",1500,"ZA==","dw==",[{"model":"bQ=="},2,"cA==",{},[]],[["y","pb1-y","s"]],["cw=="]]'
    )
    assert found["answered"] == Record("answered", '["h","msg_1"]', value, 5.5, 3605.5)
    value = '[{"detector":"words","family":"words","strength":"strong","where":"w","expected":"e",'
    value += '"received":"r","victim":"v"},false]'
    assert found["late"] == Record("late", '["x0","x1","words"]', value, 4.0, 3604.0)
    assert (found["rest"].kind, found["rest"].rank, found["rest"].expires) == ("rest", 0.0, 50.0)
    assert one.state.changes(4) == []


def test_an_answered_request_is_known_to_the_others_with_its_times() -> None:
    one, two = Instance(), Instance()
    one.state.watch(shared=True)
    one.memory.sent.note("h", "msg_1", ANSWERED)
    tell(one, two, 6)

    assert two.memory.sent.compared("h", "msg_1") == (replace(ANSWERED, ours=False),)
    assert (two.memory.sent.last("a", "t"), two.memory.sent.sealed(b"s")) == ("msg_1", replace(ANSWERED, ours=False))
    assert list(two.memory.elsewhere.during(Entry("z", account="a", at=5.0), 6.0, ours=False)) == [ANSWERED.entry]
    assert two.state.changes(7) == []


def test_half_a_surrogate_in_what_others_named_costs_no_record() -> None:
    """A tool or a provider may write `\\ud800` wherever it names something."""
    odd, one, two = "odd \ud800", Instance(), Instance()
    one.state.watch(shared=True)
    one.bind("a", 1, replace(KEY, model=odd))
    one.health.record_outcome("a", odd, Outcome("rate", until=50.0), 1)
    one.ledger.note("lineage", odd, Entry("x", odd, "a", odd, odd, b"d", 1.0), 1)
    one.ledger.note("request", odd, Entry("x", odd, "a", odd, odd, b"d", 1.0), 1)
    one.aliases.lead("id", odd, 1)
    one.memory.sent.note(odd, odd, replace(ANSWERED, prefix=Prefix({odd: b"m"}, 2, b"p", {odd: b"f"})))
    one.memory.late.found(odd, Finding("words", "words", "strong", "w", "e", odd, "v"), odd, 4.0)
    one.state.leak(Leak("victim", odd, session=odd), 2)
    one.bind("b", 3)

    told = one.state.changes(4)

    assert two.state.adopt(told, 5) == 0
    assert two.bindings.home(KEY, 5) == "b"
    assert {each.kind for each in told} == {"binding", "rest", "owner", "request", "alias", "answered", "late", "leak"}


def test_what_is_asked_and_answered_is_told_only_where_instances_share_a_store() -> None:
    one = Instance()
    one.memory.sent.note("h", "msg_1", ANSWERED)
    one.memory.late.attested("x0", "x1", 4.0)

    assert not one.memory.late.found("x0", FOUND, "x1", 4.0)
    assert one.state.changes(6) == []


@pytest.mark.parametrize("found", [FOUND, None])
def test_what_is_found_about_an_answer_reaches_the_instance_that_received_it(found: Finding | None) -> None:
    one, two, three = Instance(), Instance(), Instance()
    told: list[tuple[str, str]] = []
    for name, each in (("two", two), ("three", three)):
        each.state.amended = lambda by, name=name: told.append((name, by))  # type: ignore[misc]
    one.state.watch(shared=True)
    here = Judgement(Entry("x0"))
    here.told = here.verdict()
    two.memory.late.note(here)
    if found:
        assert one.memory.late.found("x0", found, "x1", 4.0)
    else:
        one.memory.late.attested("x0", "x1", 4.0)
    records = one.state.changes(5)
    for each in (two, three):
        each.state.adopt(records, 5)

    assert told == [("two", "x1")]
    (change,) = two.memory.late.amendments("x1")
    assert (change.exchange, change.was, change.verdict) == ("x0", "unverifiable", "suspect" if found else "clean")
    assert here.told_elsewhere is (found is None)
    assert three.memory.late.amendments("x1") == []


def test_a_finding_about_an_answer_of_another_instance_is_withdrawn_there() -> None:
    one, two = Instance(), Instance()
    one.state.watch(shared=True)
    here = Judgement(Entry("x0"))
    here.told = here.verdict()
    two.memory.late.note(here)
    one.memory.late.found("x0", FOUND, "x1", 4.0)
    tell(one, two, 5)
    one.memory.late.withdrawn("x0", FOUND, "x2", 6.0)
    tell(one, two, 7)

    assert [change.verdict for by in ("x1", "x2") for change in two.memory.late.amendments(by)] == [
        "suspect",
        "unverifiable",
    ]


def test_an_attestation_of_our_own_stays_ours_when_another_instance_repeats_it() -> None:
    two = Instance()
    here = Judgement(Entry("x0"))
    two.memory.late.note(here)
    two.memory.late.attested("x0", "x1", 4.0)
    two.memory.late.adopt(LateReport("x0", "x2", None, 5.0))

    assert not here.told_elsewhere


def test_a_record_with_a_time_in_its_value_names_its_own_clock() -> None:
    """A shared server moves `rank` and `expires` to its own clock, but does not know the times of a value."""
    kinds = set(re.findall(r'case "(\w+)"', inspect.getsource(State._adopt)))
    found = {**each_kind()[1], "habit": state.of_demotion(Demotion("h", "r", 5.0, over=True, row=1))}
    timed = {kind for kind, record in found.items() if re.search(r"\d\.\d", record.value)}

    assert set(found) == kinds
    assert timed == redis_store._OWN_CLOCK


@pytest.mark.parametrize(
    ("told", "value"),
    [
        (Demotion("h", "r", 5.0), "demoted"),
        (Demotion("h", "r", 5.0, over=True), ""),
        (Demotion("h", "r", 5.0, over=True, row=1), "1"),
        (Demotion("h", "r", 5.0, over=True, row=BREAKS_FOR_HABIT - 1), str(BREAKS_FOR_HABIT - 1)),
    ],
)
def test_a_demotion_is_kept_for_90_days(told: Demotion, value: str) -> None:
    record = state.of_demotion(told)

    assert record == Record("habit", '["h","r"]', value, 5.0, 5.0 + 90 * 86_400)
    assert state.to_demotion(record) == told
    for odd in ("0", str(BREAKS_FOR_HABIT), "x"):
        with pytest.raises(ValueError, match="no value"):
            state.to_demotion(replace(record, value=odd))


def test_an_account_is_woken_here_and_there_once() -> None:
    one, two = Instance(), Instance()
    woken: list[str] = []
    one.state.woken = two.state.woken = woken.append
    one.state.wake("a", 5)
    assert woken == ["a"]
    tell(one, two, 6)

    assert woken == ["a", "a"]
    assert one.state.changes(7) == []


def test_an_account_that_a_user_disabled_is_disabled_everywhere_until_it_is_enabled() -> None:
    one, two = Instance(), Instance()
    heard: list[frozenset[str]] = []
    two.state.switched = lambda: heard.append(two.state.disabled())
    one.state.switch("a", 5, on=False)
    one.state.switch("a", 6, on=False)
    (told,) = tell(one, two, 7)
    assert (one.state.disabled(), heard) == ({"a"}, [{"a"}])
    assert Instance(*one.state.everything(8), now=8).state.disabled() == {"a"}

    two.state.switch("a", 5.0, on=True)  # its clock is behind
    tell(two, one, 9)
    assert one.state.disabled() == two.state.disabled() == frozenset()
    one.state.adopt([told], 10)
    assert one.state.disabled() == frozenset(), "what is older changes nothing"


def test_a_pause_outlives_that_the_account_was_woken_before() -> None:
    one, store = Instance(), dict[tuple[str, str], Record]()
    one.state.wake("a", 5)
    written = one.state.changes(5)
    one.state.pause("a", 500.0, 6)
    for record in (*written, *one.state.changes(7)):
        store[record.kind, record.key] = max(record, store.get((record.kind, record.key), record), key=_order)
    kept = [record for record in store.values() if record.value]  # an empty one deletes
    assert not one.health.available("a", "gpt", 8)
    for order in (kept, kept[::-1]):
        assert not Instance(*order, now=8).health.available("a", "gpt", 8)

    two = Instance(*kept, now=8)
    one.state.wake("a", 9)
    tell(one, two, 10)
    assert two.health.available("a", "gpt", 10)


def _order(record: Record) -> tuple[float, float, str]:
    return record.order


REST = Record("rest", '["a","gpt","cooling"]', '["rate",40.0,1.0]', 7.0, 50.0)


@pytest.mark.parametrize(
    ("record", "account", "now", "rank"),
    [
        (REST, "a", 20.0, 20.0),
        (REST, "a", 7.0, math.nextafter(7.0, math.inf)),
        (REST, "a", 1.0, math.nextafter(7.0, math.inf)),
        (REST, "b", 20.0, None),
        (replace(REST, value='["ok",null]'), "a", 20.0, None),
        (replace(REST, kind="binding"), "a", 20.0, None),
    ],
)
def test_a_rest_is_ended_by_a_later_record(record: Record, account: str, now: float, rank: float | None) -> None:
    found = state.ended(record, account, now)

    assert found == (None if rank is None else replace(record, value='["ok",null]', rank=rank))


@pytest.mark.parametrize("verify_at", [40.0, math.inf])
def test_a_rest_comes_back_as_it_was(verify_at: float) -> None:
    told = SharedCooldown("a", "gpt", "cooling", "rate", 50.0, verify_at, 1.0)
    record = state._of_rest(told)

    assert state._to_rest(record) == told
    assert (record.value, record.rank) == (f'["rate",{"null" if verify_at == math.inf else "40.0"},1.0]', 0.0)


def test_the_newest_record_of_a_rest_is_the_one_that_later_ones_follow() -> None:
    one = Instance()
    one.state.adopt([replace(REST, rank=9.0), REST], 1)
    assert one.state._rests[REST.key].rank == 9.0
    same = replace(REST, rank=9.0)
    one.state.adopt([same], 1)

    assert one.state._rests[REST.key] is not same


def test_other_kinds_of_owners_are_not_read() -> None:
    owner = Record("owner", '["held","file-1"]', '["a","",""]', 1.0, 50.0)
    one = Instance()

    assert one.state.adopt([owner], 2) == 0
    assert one.ledger.find("held", "file-1", 3) == Entry("", account="a", at=1.0)
    assert one.state.adopt([replace(owner, key='["answer","x"]'), replace(owner, key="x")], 2) == 2


def test_aliases_and_habits_are_told_from_the_watch_on() -> None:
    one, two = Instance(), Instance()
    one.aliases.lead("id", "aff", 1)
    tell(one, two, 2)

    assert two.aliases.resolve("id", 3) == "aff"
