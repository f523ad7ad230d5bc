"""The stored record of an attempt: what it holds, what a new sending resets, and which stored forms are read."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import NODEFAULT
from msgspec.structs import fields

from patchbay.correlation import Stamps
from patchbay.crosstalk.attempt_record import (
    BROKEN,
    LATER,
    VERSION,
    AttemptRecord,
    IdOwner,
    Moment,
    read,
    version,
)
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.prompt_lengths import Expected
from patchbay.ledger import Entry
from patchbay.values.account import Echo

from .records import record

ECHO = Echo(headers={"x-request-id": "handler"}, body={"request_id": "body"}, promised=True)
KINDS_OF_0 = (
    "age created date disorder early echo framing id kept loose model over provider_id settings shape stray text token"
    " took tool"
).split()


def sent(**more: Any) -> AttemptRecord:
    stamps = Stamps(expected={"body request_id": "pb1-a"})
    members = {"account": "acc", "affinity": "ses", "thread": "thr", **more}
    return record(ECHO, stamps, request_id="pb1-a", exchange="a", digest=b"\x01\xff", **members)


def test_a_record_holds_the_echo_and_the_entry_of_its_attempt() -> None:
    of = sent()

    assert of.echo == ECHO
    assert of.entry(7.0, b"words") == Entry("a", "pb1-a", "acc", "ses", "thr", b"\x01\xff", 7.0, words=b"words")
    assert of.entry(7.0).words == b""


def test_the_end_is_a_moment_once_the_answer_has_ended() -> None:
    assert sent().end is None
    assert sent(ended=[4.0, 2.5]).end == Moment(4, 2.5)


def test_a_record_that_is_sent_again_has_no_answer_and_keeps_the_standings() -> None:
    standings = {"age": Standing(kept=3)}
    of_answer: dict[str, Any] = {
        "seen": [Moment(2, 1.0)], "ended": [3.0, 2.0], "early": True, "whole": True,
        "owners": {"x": IdOwner("x", "pb1-x", 1.0, "")},
    }  # fmt: skip
    of_sending: dict[str, Any] = {
        "version": 1,
        "kinds": ["age"],
        "habits": standings,
        "lengths": Expected(7.0),
        "compared": "msg_1",
        "elsewhere": [IdOwner("x", "pb1-x", 1.0, "")],  # the other instances are not there when it is judged again
    }
    later = {each.name for each in fields(AttemptRecord) if (each.default, each.default_factory) != (NODEFAULT,) * 2}

    again = sent(**of_sending, **of_answer).sent_again()

    assert later == of_sending.keys() | of_answer.keys(), "a new field is of the sending or of the answer"
    assert again == sent(**of_sending)
    assert again.habits is not standings  # a new watch adds to it
    assert sent(habits=None).sent_again().habits == {}


def test_a_new_record_is_empty() -> None:
    of = sent()

    assert (of.seen, of.ended, of.owners, of.habits, of.early, of.whole, of.version) == (
        [],
        [],
        {},
        None,
        False,
        False,
        0,
    )


def test_a_stored_record_is_read_as_it_was() -> None:
    of = sent(at=Moment(1, 1.5), seen=[Moment(2, 1.0)], owners={"x": IdOwner("x", "pb1-x", 1.0, "ff")}, version=VERSION)
    stored = of.encoded()

    assert stored["at"] == [1, 1.5]
    assert stored["owners"] == {"x": ["x", "pb1-x", 1.0, "ff", ""]}
    assert read(stored) == of
    assert read({**stored, "a member of a later release": 1}) == of


def test_a_record_without_version_and_kinds_is_of_version_0_and_counts_the_kinds_of_that_time() -> None:
    stored = {name: value for name, value in sent().encoded().items() if name not in ("version", "kinds")}
    found = read(stored)

    assert isinstance(found, AttemptRecord)
    assert (found.version, found.kinds) == (0, KINDS_OF_0)


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ({}, 0),
        ({"version": 0}, 0),
        ({"version": 1}, 1),
        ({"version": 9}, 9),
        ({"version": "1"}, 2),
        ({"version": None}, 2),
    ],
)
def test_a_version_that_is_no_number_is_a_later_one(stored: dict[str, Any], wanted: int) -> None:
    assert VERSION == 1
    assert version(stored) == wanted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "recorded by a later release of Patchbay"),
        ({"version": "1", "digest": 7}, "recorded by a later release of Patchbay"),
        ({"digest": "f"}, "its record is broken"),
        ({"digest": "FF"}, "its record is broken"),
        ({"own": "x"}, "its record is broken"),
        ({"ended": [1.0]}, "its record is broken"),
        ({"ended": [1.0, 2.0, 3.0]}, "its record is broken"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(change: dict[str, Any], reason: str) -> None:
    assert read({**sent().encoded(), **change}) == reason
    assert reason in (LATER, BROKEN)


@pytest.mark.parametrize("ended", [[], [1.0, 2.0]])
def test_a_record_has_an_end_or_none(ended: list[float]) -> None:
    assert isinstance(read({**sent().encoded(), "ended": ended}), AttemptRecord)
