"""What a user is told of accounts: once, when it happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.accounts.changes import AccountChange, Rest
from patchbay.accounts.cooldown import SharedCooldown
from patchbay.accounts.lease import Lease
from patchbay.accounts.pool import Accounts
from patchbay.settings.settings import Config
from patchbay.values.account import OutcomeKind, OutcomeScope, Secret
from patchbay.values.decision import Outcome

from .test_pool import account, ask, pool


class Story:
    """A pool, a clock, and a user who is told of changes."""

    def __init__(self, *names: str, **more: str) -> None:
        self.accounts: Accounts = pool(*(account(name, **more) for name in names or ("a", "b")))
        self.calls = 0
        self.accounts.changes.listener = self._called
        self.now = 1000.0

    def _called(self) -> None:
        self.calls += 1

    def begin(self, name: str = "a", session: str = "s", model: str = "m") -> Lease:
        lease = self.accounts.choose(ask(session, pin=name, model=model), self.now)
        assert isinstance(lease, Lease)
        return lease

    def end(self, lease: Lease, kind: OutcomeKind = "ok", until: float | None = None, **more: str) -> None:
        if kind == "ok":
            self.accounts.first_success(lease, self.now)
        scope: OutcomeScope = "account" if more.pop("scope", "") == "account" else "lane"
        self.accounts.record_outcome(lease, Outcome(kind, until, scope, **more), self.now)
        self.accounts.release(lease)

    def home(self, *sessions: str) -> None:
        """Let conversations begin, whose home is `a`."""
        for session in sessions:
            lease = self.accounts.choose(replace(ask(session), tried=frozenset("bcd")), self.now)
            assert isinstance(lease, Lease) and lease.account.id == "a"
            self.end(lease)

    def told(self) -> list[AccountChange]:
        return self.accounts.take_changes(self.now)

    def only(self) -> AccountChange:
        (change,) = self.told()
        return change


def test_without_a_reader_nothing_is_kept() -> None:
    story = Story()
    story.accounts.changes.listener = None
    story.end(story.begin(), "rate", 1600)
    story.accounts.wake("a")
    assert story.told() == [] and not story.calls


def test_an_account_that_serves_is_no_news() -> None:
    story = Story()
    story.end(story.begin())
    story.end(story.begin(), "request")
    assert story.told() == [] and not story.calls


def test_an_account_rests_and_is_back() -> None:
    story = Story()
    story.home("s", "t", "u")
    lease = story.begin()
    story.end(lease, "rate", 1600, detail="429 rate_limit_exceeded", scope="account")

    change = story.only()
    assert story.calls and (change.account, change.kind, change.conversations, change.move) == ("a", "rests", 3, True)
    assert change.rest == Rest((), "rate", "rate limited (429)", 1000.0, 1600.0, 600.0)
    assert story.told() == []

    story.now = 1601.0
    probe = story.begin()
    assert story.told() == []  # it is over, and no success proved it
    story.end(probe)
    back = story.only()
    assert (back.account, back.kind, back.because) == ("a", "back", "") and back.rest == change.rest


def test_where_no_other_account_serves_its_conversations_do_not_move() -> None:
    story = Story("a")
    story.home("s")
    story.end(story.begin(), "rate", 1600, scope="account")
    assert (story.only().conversations, story.told()) == (1, [])
    other = Story()
    other.home("s")
    for name in "ba":
        other.end(other.begin(name), "rate", 1600, scope="account")
    assert [(each.account, each.move) for each in other.told()] == [("b", False), ("a", False)]


def test_conversations_that_are_over_do_not_move() -> None:
    story = Story()
    story.home("s")
    story.now += 1000
    story.home("t")
    story.end(story.begin(), "rate", 9000, scope="account")
    assert story.only().conversations == 1


def test_lanes_that_fail_at_once_rest_once() -> None:
    story = Story()
    for model in ("gpt-5", "gpt-4", "o3"):
        story.end(story.begin(model=model), "rate", 1600)
    change = story.only()
    assert change.rest and change.rest.lanes == ("gpt-4", "gpt-5", "o3")

    story.end(story.begin(model="o4"), "rate", 1600)
    more = story.only()
    assert more.rest and more.rest.lanes == ("gpt-4", "gpt-5", "o3", "o4")


def test_lanes_that_are_back_are_named_and_the_others_rest_on() -> None:
    story = Story()
    story.end(story.begin(model="x"), "rate", 1100)
    story.end(story.begin(model="y"), "rate", 1600)
    story.told()
    story.now = 1101
    story.end(story.begin(model="x"))
    back = story.only()
    assert back.kind == "back" and back.rest and back.rest.lanes == ("x",)
    story.now = 1601
    story.end(story.begin(model="y"))
    last = story.only()
    assert last.kind == "back" and last.rest and last.rest.lanes == ("y",)


def test_a_burst_of_equal_answers_is_one_rest_and_a_much_later_end_is_another() -> None:
    story = Story()
    leases = [story.begin() for _ in range(4)]
    for after, lease in enumerate(leases[:3]):
        story.now = 1000.0 + after
        story.end(lease, "rate", story.now + 600, scope="account")
        assert len(story.told()) == (after == 0)
    story.end(leases[3], "rate", story.now + 6000, scope="account")
    assert story.only().kind == "rests"


def test_a_rest_that_begins_anew_is_told_anew() -> None:
    story = Story()
    for _ in range(3):
        story.end(story.begin(), "rate", story.now + 60, scope="account")
        assert story.only().kind == "rests"
        story.now += 61


def test_a_fault_that_is_taken_back_at_once_was_none() -> None:
    story = Story()
    story.end(story.begin(), "overload")
    story.accounts.wake("a")
    assert story.told() == []


@pytest.mark.parametrize(
    ("kind", "detail", "reason"),
    [("auth", "401 invalid_api_key", "key refused (401)"), ("quota", "402", "out of credit (402)")],
)
def test_the_reason_is_that_of_a_refusal(kind: OutcomeKind, detail: str, reason: str) -> None:
    story = Story()
    story.end(story.begin(), kind, detail=detail, scope="account")
    rest = story.only().rest
    assert rest and (rest.reason, rest.cause, rest.stated, rest.lanes) == (reason, kind, None, ())


def test_an_account_that_cannot_be_reached_or_has_no_key_says_so() -> None:
    story = Story()
    for _ in range(2):
        story.end(story.begin(), "server", failure="connection refused", detail="connect")
        story.now += 1
    rest = story.only().rest
    assert rest and (rest.cause, rest.reason) == ("unreachable", "not reachable (connection refused)")
    why = "environment variable A is not set"
    story.end(story.begin("b"), "auth", detail=why, failure=why, scope="account")
    rest = story.only().rest
    assert rest and (rest.cause, rest.reason) == ("no_key", f"no key ({why})")


def test_a_shared_allowance_rests_for_each_account_of_it() -> None:
    story = Story("a", "b", quota_group="team")
    story.end(story.begin(), "rate", 1600)
    assert [(each.account, each.kind) for each in story.told()] == [("a", "rests"), ("b", "rests")]
    story.now = 1601
    story.end(story.begin("b"))
    assert [(each.account, each.kind) for each in story.told()] == [("a", "back"), ("b", "back")]


def test_a_user_wakes_it_or_changes_its_settings() -> None:
    story = Story()
    a, b = account("a"), account("b")
    story.end(story.begin(), "rate", 1600)
    story.told()
    story.accounts.wake("a")
    assert (story.only().because, story.told()) == ("woken by a user", [])

    story.end(story.begin(), "auth", scope="account")
    story.told()
    story.accounts.reload(Config((replace(a, secret=Secret("env", "OTHER")), b)))
    change = story.only()
    assert (change.kind, change.because) == ("back", "it has another key now")


def test_accounts_come_go_and_are_switched() -> None:
    story = Story()
    a, b = account("a"), account("b")
    story.accounts.reload(Config((a,)))
    story.accounts.reload(Config((a, b)))
    story.accounts.reload(Config((a, replace(b, enabled=False))))
    told = [(each.account, each.kind, each.because) for each in story.told()]
    assert told == [(name, kind, "by the settings") for name, kind in
                    (("b", "removed"), ("b", "added"), ("b", "disabled"))]  # fmt: skip


def test_an_account_that_is_enabled_again_is_back_by_that() -> None:
    story = Story()
    a, b = account("a"), account("b")
    story.end(story.begin(), "rate", 1600)
    story.told()
    story.accounts.reload(Config((replace(a, enabled=False), b)))
    story.accounts.reload(Config((a, b)))
    assert [(each.account, each.kind) for each in story.told()] == [("a", "disabled"), ("a", "enabled")]
    assert story.accounts.changes.present("a", story.now) is None


def test_another_instance_tells_of_a_rest_and_of_its_end() -> None:
    story = Story()
    health = story.accounts.health
    health.adopt(SharedCooldown("a", None, "cooling", "rate", 1600.0, 1600.0, 990.0), story.now)
    rest = story.only().rest
    assert rest and (rest.reason, rest.until, rest.stated) == ("rate limited", 1600.0, None)
    health.adopt(SharedCooldown("a", None, "cooling", "ok", 1600.0, 1600.0, 1001.0), story.now)
    assert story.only().kind == "back"


def test_what_was_told_at_the_start_is_not_told_again() -> None:
    story = Story()
    story.end(story.begin(), "rate", 1600)
    story.accounts.changes.told("ab", story.now)
    assert story.told() == []
    story.now = 1601
    story.end(story.begin())
    assert story.only().kind == "back"
