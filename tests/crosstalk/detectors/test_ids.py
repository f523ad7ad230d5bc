"""Ids of another exchange, missing or twice: which are compared, and what they are worth by what the host kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.body import Body
from patchbay.crosstalk.detector_context import DetectorContext
from patchbay.crosstalk.detectors.ids import _random, is_distinctive
from patchbay.crosstalk.host_habits import Standing
from patchbay.crosstalk.recent import LiveAttempt
from patchbay.crosstalk.request_summary import RequestSummary
from patchbay.ledger import Entry
from patchbay.values.answer import Fact
from patchbay.values.http import Endpoint

from ...each_row import each_row
from .contexts import AT, MINE, MINT, broken, context, found, habits, kept, request, told


@pytest.mark.parametrize(
    "value",
    [
        "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "msg_bdrk_01XFDUDYJgAACzvnptvVoYEL",
        "gen-1733756123-xYzAbCdEfGh",
        "req_011CPR5Cxyz8f3k",
        "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f",
        "cmpl-1a2b3c4d5e6f7a8b",
    ],
)
def test_a_random_id_is_telling(value: str) -> None:
    assert is_distinctive(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "chatcmpl-417",
        "cmpl-9",
        "resp_999999",
        "chat.id.12",
        "chatcmpl-",
        "0",
        "chatcmpl-000000000000000",
        "x" * 500,
    ],
)
def test_a_counter_is_not(value: str) -> None:
    assert not is_distinctive(value)


@pytest.mark.parametrize("value", ["toolu_01abc", "call_a1", "call_1a", "call_XyZaBcDeFgHi", "fc_qWeRtYuIoP"])
def test_letters_among_digits_or_capitals_strewn_about_look_drawn(value: str) -> None:
    assert _random(value)


@pytest.mark.parametrize("value", ["call_weather", "123456", "call_getWeatherToday", "CALL", ""])
def test_a_word_a_count_and_a_name_with_humps_do_not(value: str) -> None:
    assert not _random(value)


@pytest.mark.parametrize(
    ("value", "tells"),
    [("chatcmpl-abcdef123456", True), ("chatcmpl-abcdef12345", False), ("abcdef" * 2, True), ("abcde" * 3, False),
     ("a1b2c3" + "d" * 250, True), ("a1b2c3" + "d" * 251, False)],
)  # fmt: skip
def test_an_id_tells_from_twelve_characters_of_six_kinds_on(value: str, tells: bool) -> None:
    assert is_distinctive(value) == tells


@pytest.mark.parametrize(
    ("value", "looks_random"),
    [("abCde", False), ("abCdeFghIj", True), ("getWeather_XyZ", True), ("XyZ_getWeather", False)],
)
def test_letters_look_random_where_more_than_two_of_five_change_case_in_the_last_word(
    value: str, looks_random: bool
) -> None:
    assert _random(value) is looks_random


# -- contract ----------------------------------------------------------------------------------------------------------

HEADER, BODY = "header x-request-id", "body request_id"
FOREIGN = "gateway-8f3a1c9b7d2e4f60"
THEIRS = MINT.new(AT - 1, lambda size: b"b" * size)
EXPECTED = {HEADER: MINE, BODY: MINE}
B = Entry("b", THEIRS, digest=b"b", at=AT - 1)
AGAIN = Entry("b", THEIRS, digest=b"d", at=AT - 1)  # the same request before ours


def mangled(value: str) -> str:
    return value[:30] + ("0" if value[30] != "0" else "1") + value[31:]


def echoed(ctx: DetectorContext, value: str, where: str = HEADER) -> list[tuple[str, str]]:
    return told(found(ctx, "contract", Fact("echo", value, where)))


def promised(owner: Entry | None = B, **more: Any) -> DetectorContext:
    """Return the context at a provider that promises an echo, with *owner* as that of `THEIRS`."""
    ctx = context(request(), **({"expected": EXPECTED, "earlier": ["earlier-id-1"]} | more))
    ctx.client_ids = frozenset({"client-id-1"})
    if owner is not None:
        ctx.ledger.note("request", THEIRS, owner, AT)
    return ctx


@pytest.mark.parametrize("where", [HEADER, BODY])
@pytest.mark.parametrize(("value", "owner", "victim"), [
    (FOREIGN, None, "unknown"), (mangled(MINE), None, "unknown"), (THEIRS, None, "unknown"), (THEIRS, B, "b"),
])  # fmt: skip
def test_another_value_in_a_promised_place_is_proof(where: str, value: str, owner: Entry | None, victim: str) -> None:
    ctx = promised(owner)

    (finding,) = found(ctx, "contract", Fact("echo", value, where))

    assert (finding.strength, finding.victim, finding.expected, finding.received) == ("proof", victim, MINE, value)
    assert f"stripped {where}" in ctx.broken  # so it is not missing too
    never_ours, in_header = value != THEIRS, where == HEADER
    assert broken(ctx, f"contract {where}") == ((1, 1.0) if never_ours and in_header else (0, 0.0))
    assert habits(ctx, f"contract {where}").kept == (in_header and not never_ours)
    assert echoed(promised(owner, memory=False), value, where) == [("proof", victim)]


@pytest.mark.parametrize("where", [HEADER, BODY])
@pytest.mark.parametrize("value", [MINE, "client-id-1", "earlier-id-1", THEIRS])
def test_our_own_ids_and_those_of_an_equal_request_break_no_promise(where: str, value: str) -> None:
    ctx = promised(AGAIN)

    assert echoed(ctx, value, where) == []
    assert (f"stripped {where}" in ctx.broken) is (value == THEIRS)
    assert habits(ctx, f"contract {where}").kept == (where == HEADER)


def test_a_blank_value_is_neither_kept_nor_broken() -> None:
    ctx = promised()

    assert echoed(ctx, " null ") == []
    assert not ctx.broken
    assert habits(ctx, f"contract {HEADER}") == Standing()


@pytest.mark.parametrize(("value", "finds"), [(FOREIGN, False), (mangled(MINE), False), (THEIRS, True)])
def test_foreign_ids_in_a_header_that_is_the_hosts_own_are_exempt(value: str, finds: bool) -> None:
    own = {f"contract {place}": Standing(demoted=True) for place in (HEADER, BODY)}

    assert bool(echoed(promised(habits=own), value)) is finds
    assert echoed(promised(habits=own), value, BODY) != []


@pytest.mark.parametrize(
    ("change", "finds"),
    [
        ({"status": 399}, True),
        ({"status": 400}, False),
        ({"promised": False}, False),
        ({"expected": {BODY: MINE}}, False),
        ({"expected": {HEADER: "", BODY: MINE}}, False),
    ],
)
def test_a_value_is_compared_where_one_is_promised_and_in_no_error(change: dict[str, Any], finds: bool) -> None:
    assert bool(echoed(promised(**change), FOREIGN)) is finds


# -- tag ---------------------------------------------------------------------------------------------------------------


def tagged(ctx: DetectorContext, value: object, kind: str = "token") -> list[tuple[str, str, str]]:
    return [(each.detector, each.strength, each.victim) for each in found(ctx, "tag", Fact(kind, value, "item"))]


@each_row("kind", ["echo", "id", "provider_id", "token"])
@each_row(("status", "strength"), [(0, "proof"), (200, "proof"), (399, "proof"), (400, "strong"), (502, "strong")])
def test_an_id_of_another_exchange_is_proof_and_strong_in_an_error(kind: str, status: int, strength: str) -> None:
    ctx = promised(status=status)
    guid = MINT.guid(THEIRS)
    ctx.ledger.note("request", guid, B, AT)

    for value in (THEIRS, f"chatcmpl-{THEIRS.upper()}", f'["{THEIRS}"]', guid, f"chatcmpl-{guid}"):
        assert tagged(ctx, value, kind) == [("tag", strength, "b")]
    assert found(ctx, "tag", Fact(kind, THEIRS))[0].expected == MINE
    assert not ctx.kept


@pytest.mark.parametrize(
    "value", [None, 7, FOREIGN, "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f", f"{THEIRS} {'x' * 204}", "x" * 36]
)
def test_other_values_are_no_tags(value: object) -> None:
    assert tagged(promised(), value) == []
    assert tagged(promised(), f"{THEIRS} {'x' * 203}") == [("tag", "proof", "b")]


def test_an_id_of_another_client_is_no_tag() -> None:
    ctx = promised()
    ctx.ledger.note("request", "client-id-2", B, AT)

    assert tagged(ctx, "client-id-2") == []


def test_our_id_keeps_the_rule_of_its_place_and_that_of_an_equal_request_is_exempt() -> None:
    ctx = promised(AGAIN)

    assert tagged(ctx, THEIRS) == []
    assert not ctx.kept
    assert tagged(ctx, MINE) == []
    assert ctx.kept == {"tag item"}


@pytest.mark.parametrize("name", ["unknown-tag", "mangled-tag"])
@pytest.mark.parametrize(
    ("standing", "strength"),
    [
        (Standing(), "strong"),
        (Standing(doubted=True), "weak"),
        (Standing(broken=1, run=7), "weak"),
        (Standing(broken=1, run=8), "strong"),
    ],
)
def test_an_id_that_we_did_not_mint_is_strong_at_its_first_break(name: str, standing: Standing, strength: str) -> None:
    value = THEIRS if name == "unknown-tag" else mangled(MINE)
    ctx = promised(None, habits={"tag item": standing})

    (finding,) = found(ctx, "tag", Fact("id", value, "item"))

    assert (finding.detector, finding.strength, finding.victim, finding.expected, finding.received) == (
        name, strength, "unknown", MINE, value,
    )  # fmt: skip
    assert broken(ctx, "tag item") == (1, 1.0)


@pytest.mark.parametrize("value", [THEIRS, mangled(MINE)])
@pytest.mark.parametrize(("status", "breaks"), [(399, 1), (400, 0)])
def test_an_id_in_an_error_shows_no_habit(value: str, status: int, breaks: int) -> None:
    ctx = promised(None, status=status)

    assert tagged(ctx, value)[0][1] == "strong"
    assert broken(ctx, "tag item") == (breaks, float(breaks))


@pytest.mark.parametrize("later", [0.0, 1.0])
def test_an_unknown_id_that_is_not_older_than_the_request_may_be_of_an_instance_upstream(later: float) -> None:
    ctx = promised(None)

    assert tagged(ctx, MINT.new(AT + later, lambda size: b"c" * size)) == [("unknown-tag", "weak", "unknown")]
    assert broken(ctx, "tag item") == (0, 0.0)


# -- duplicate ---------------------------------------------------------------------------------------------------------

ID, CALL = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "call_a81Kx02bQz77TyLm3"
DURING, BEFORE = AT + 0.5, AT - 0.5
SHORT = Standing(kept=8, broken=1, row=1.0)  # its last answer broke the rule


def duplicate(seen: float = DURING, kind: str = "id", other: Entry = B, born: str = "", **more: Any) -> DetectorContext:
    """Return the context of an exchange after *other* received the id at *seen*."""
    ctx = context(**({"asked": request()} | more))
    ctx.ledger.note("answer", ID, replace(other, seen=seen, born=born), AT)
    ctx.born = "event"
    return ctx


def received(ctx: DetectorContext, kind: str = "id", value: object = ID) -> list[tuple[str, str, bool]]:
    findings = found(ctx, "duplicate", Fact(kind, value, "body id" if kind == "id" else HEADER))
    assert all(each.expected == "an id of its own" for each in findings)
    return [(each.strength, each.victim, each.disputed) for each in findings]


def of_body(standing: Standing) -> dict[str, Standing]:
    return {"duplicate body": standing}


WEAK = [("weak", "unknown", False)]


@pytest.mark.parametrize(
    ("seen", "standing", "findings"),
    [
        (BEFORE, kept(23), WEAK),
        (BEFORE, kept(24), [("proof", "b", False)]),
        (AT, kept(23), WEAK),
        (AT, kept(24), [("proof", "b", True)]),
        (DURING, kept(2), WEAK),
        (DURING, kept(3), [("proof", "b", True)]),
        (DURING, kept(3, doubted=True), [("proof", "b", True)]),
        (DURING, kept(3, demoted=True), []),
        (DURING, SHORT, [("proof", "b", True)]),
        (DURING, Standing(kept=7, broken=1, row=1.0), WEAK),
        (DURING, Standing(kept=8, broken=2, row=1.0), WEAK),
        (AT, SHORT, WEAK),
    ],
)
def test_an_id_of_another_answer_is_proof_after_fewer_answers_where_it_came_during_ours(
    seen: float, standing: Standing, findings: list[tuple[str, str, bool]]
) -> None:
    ctx = duplicate(seen, habits=of_body(standing))

    assert received(ctx) == findings
    assert broken(ctx, "duplicate body") == (1, 1.0)


def test_an_id_that_comes_a_third_time_is_the_hosts_own() -> None:
    ctx = duplicate(habits=of_body(SHORT))
    assert received(ctx) == [("proof", "b", True)]
    assert received(ctx) == WEAK

    third = duplicate(habits=of_body(SHORT))
    third.ledger, third.entry = ctx.ledger, replace(ctx.entry, exchange="third")
    assert received(third) == WEAK

    unborn = duplicate(habits=of_body(SHORT))
    unborn.born = ""
    assert received(unborn) == WEAK


@pytest.mark.parametrize(("answers", "findings"), [(2, WEAK), (3, [("proof", "b", False)])])
def test_a_second_id_is_that_of_an_answer_mixed_into_this_one(answers: int, findings: list[Any]) -> None:
    ctx = duplicate(AT, habits=of_body(Standing(kept=answers)), born="another event")
    ctx.first_ids["body id"] = "another id"

    assert received(ctx) == findings


@pytest.mark.parametrize(
    ("kind", "born", "same"),
    [("id", "", True), ("id", "event", True), ("id", "another", False), ("provider_id", "another", True)],
)
def test_an_answer_of_another_beginning_is_another_answer(kind: str, born: str, same: bool) -> None:
    rule = "duplicate body" if kind == "id" else f"duplicate {HEADER}"
    ctx = duplicate(kind=kind, born=born, habits={rule: kept(24)})

    assert (received(ctx, kind) != WEAK) is same
    assert broken(ctx, rule) == (1, 1.0)
    if kind == "id":
        ctx.born = ""
        assert received(ctx) != WEAK


@pytest.mark.parametrize(
    ("kind", "asked", "cached", "strength"),
    [
        ("id", None, False, "proof"),
        ("id", request("anthropic"), False, "proof"),
        ("id", request("embeddings"), False, "strong"),
        ("id", request("files"), False, "strong"),
        ("id", request(), True, "strong"),
        ("provider_id", request(), False, "strong"),
    ],
)
def test_an_id_of_a_cache_of_an_embedding_or_in_a_head_is_strong_and_weak_in_doubt(
    kind: str, asked: Any, cached: bool, strength: str
) -> None:
    for doubted in (False, True):
        habit = {f"duplicate {place}": kept(24, doubted=doubted) for place in ("body", HEADER)}
        ctx = duplicate(kind=kind, asked=asked, habits=habit)
        ctx.cached = cached

        expected = [(strength, "b", True)] if strength == "proof" or not doubted else WEAK
        assert received(ctx, kind) == expected


def test_the_owner_is_disputed_where_another_exchange_asked_the_same_before() -> None:
    ctx = duplicate(BEFORE, habits=of_body(kept(24)))
    assert ctx.memory is not None
    ctx.memory.begin(LiveAttempt(Entry("c", "id-c", digest=b"d"), request(), "http://host"))

    assert received(ctx) == [("proof", "b", True)]
    assert received(duplicate(BEFORE, memory=False)) == [("proof", "b", False)]


@pytest.mark.parametrize("kind", ["id", "provider_id"])
def test_the_first_id_at_a_place_is_noted_with_the_beginning_of_its_answer(kind: str) -> None:
    ctx = context(request())
    found(ctx, "duplicate", Fact("born", "first event"))
    found(ctx, "duplicate", Fact("born", "second event"))

    assert received(ctx, kind) == received(ctx, kind, ID[::-1]) == received(ctx, kind) == []
    noted = ctx.ledger.find("answer", ID, AT)
    assert noted is not None
    assert (noted.exchange, noted.born, noted.seen) == ("a", "first event", AT + 1)
    assert ctx.ledger.find("answer", ID[::-1], AT) is None
    assert ctx.kept == {"duplicate body" if kind == "id" else f"duplicate {HEADER}"}
    assert broken(ctx, "duplicate body") == (0, 0.0)


def test_an_id_in_a_misdelivered_answer_is_not_noted() -> None:
    ctx = context(request())
    ctx.misdelivered = True

    assert received(ctx) == []
    assert not ctx.noted
    assert not ctx.kept


@pytest.mark.parametrize("value", [7, None, "chatcmpl-417", f"chatcmpl-{MINE}", f"chatcmpl-{THEIRS}"])
def test_numbers_counters_and_ids_of_ours_are_no_duplicates(value: object) -> None:
    ctx = promised()
    ctx.ledger.note("answer", str(value), B, AT)

    assert received(ctx, value=value) == []
    assert not ctx.broken


@pytest.mark.parametrize("other", [replace(B, exchange="a"), replace(B, digest=b"d"), replace(B, words=b"w")])
def test_an_id_of_an_equal_request_comes_from_a_cache(other: Entry) -> None:
    ctx = duplicate(other=other, habits=of_body(kept(24)))

    assert received(ctx) == []
    assert ctx.cached is (other.exchange != "a")
    assert broken(ctx, "duplicate body") == (0, 0.0)


# -- tool calls --------------------------------------------------------------------------------------------------------


def called(seen: float = DURING, other: Entry = B, **more: Any) -> DetectorContext:
    ctx = context(request(), **more)
    ctx.ledger.note("call", CALL, replace(other, seen=seen), AT)
    return ctx


def call(ctx: DetectorContext, value: object = CALL, where: str = "tool") -> list[tuple[str, str]]:
    return told(found(ctx, "tool-call", Fact("token", value, where)))


@pytest.mark.parametrize(
    ("seen", "standing", "strength"),
    [
        (AT, kept(15), "weak"),
        (AT, kept(16), "strong"),
        (DURING, kept(2), "weak"),
        (DURING, kept(3), "strong"),
        (DURING, kept(16, doubted=True), "weak"),
    ],
)
def test_a_call_of_another_answer_is_worth_what_the_host_kept(seen: float, standing: Standing, strength: str) -> None:
    ctx = called(seen, habits={"tool-call": standing})

    assert call(ctx) == [(strength, "b" if strength == "strong" else "unknown")]
    assert broken(ctx, "tool-call") == (1, 1.0)
    ctx.cached = True
    assert call(ctx) == [("weak", "unknown")]


@pytest.mark.parametrize("other", [replace(B, exchange="a"), replace(B, digest=b"d"), replace(B, words=b"w")])
def test_a_call_of_an_equal_request_is_no_sign(other: Entry) -> None:
    ctx = called(other=other, habits={"tool-call": kept(16)})

    assert call(ctx) == []
    assert broken(ctx, "tool-call") == (0, 0.0)


def test_a_new_call_is_noted_and_keeps_the_rule() -> None:
    ctx = context(request())

    assert call(ctx) == []
    noted = ctx.ledger.find("call", CALL, AT)
    assert noted is not None
    assert (noted.exchange, noted.seen) == ("a", AT + 1)
    assert ctx.kept == {"tool-call"}


@pytest.mark.parametrize(
    ("value", "where"),
    [(CALL, "item"), (7, "tool"), ("call_1", "tool"), (f"{CALL}:0", "tool"), (f"functions.{CALL}", "tool"),
     ("get_weather_in_a_town", "tool")],
)  # fmt: skip
def test_names_numbers_and_other_tokens_are_no_calls(value: object, where: str) -> None:
    ctx = context(request())

    assert call(ctx, value, where) == []
    assert not ctx.noted


@pytest.mark.parametrize("detector", ["duplicate", "tool-call", "strange-id", "stripped"])
@pytest.mark.parametrize(
    ("change", "finds"), [({"status": 399}, True), ({"status": 400}, False), ({"generation": False}, False)]
)
def test_ids_of_errors_and_fetched_answers_are_not_compared(detector: str, change: dict[str, Any], finds: bool) -> None:
    habit = {"strange-id openai_chat /chat/completions": kept(8), f"stripped {BODY}": kept(8)}
    ctx = context(request(), habits=habit, expected={BODY: MINE}, **change)
    ctx.ledger.note("answer", ID, B, AT)
    ctx.ledger.note("call", CALL, B, AT)
    fact = {"tool-call": Fact("token", CALL, "tool"), "stripped": Fact("over")}.get(detector, Fact("id", ID, "body id"))

    assert bool(found(ctx, detector, fact)) is finds
    assert bool(ctx.broken) is finds


# -- strange ids and missing ones --------------------------------------------------------------------------------------

RULE = "strange-id openai_chat /chat/completions"


@pytest.mark.parametrize(
    ("standing", "strengths"),
    [
        (kept(7), []),
        (kept(8), ["strong"]),
        (kept(8, doubted=True), []),
        (kept(63, broken=1), []),
        (kept(64, broken=1), ["strong"]),
    ],
)
def test_an_id_that_is_not_made_from_ours_is_strong_where_it_always_was(
    standing: Standing, strengths: list[str]
) -> None:
    ctx = context(request(), habits={RULE: standing})

    findings = found(ctx, "strange-id", Fact("id", ID, "body id"))

    assert [each.strength for each in findings] == strengths
    assert {(each.expected, each.victim) for each in findings} <= {(MINE, "unknown")}
    assert broken(ctx, RULE) == (1, 1.0)


@pytest.mark.parametrize(("value", "keeps"), [(f"chatcmpl-{MINE}", True), ("client-id-1", True), (THEIRS, False),
                                              ("-", False), (None, False)])  # fmt: skip
def test_an_id_made_from_ours_keeps_the_rule_and_one_of_ours_is_not_strange(value: object, keeps: bool) -> None:
    ctx = promised(habits={RULE: kept(8)})

    assert found(ctx, "strange-id", Fact("id", value, "body id")) == []
    assert ctx.kept == ({RULE} if keeps else set())
    assert broken(ctx, RULE) == (0, 0.0)


def test_an_id_of_a_cache_is_not_strange() -> None:
    ctx = context(request(), habits={RULE: kept(8)})
    ctx.cached = True

    assert found(ctx, "strange-id", Fact("id", ID, "body id")) == []
    assert broken(ctx, RULE) == (0, 0.0)
    assert found(context(), "strange-id", Fact("id", ID, "body id")) == []


def test_the_rule_of_strange_ids_is_that_of_the_endpoint_bounded() -> None:
    ctx = context(RequestSummary(Endpoint("openai_chat", suffix="/" + "x" * 100), Body(None)))
    found(ctx, "strange-id", Fact("id", MINE, "body id"))

    assert ctx.kept == {"strange-id openai_chat /" + "x" * 63}


@pytest.mark.parametrize(
    ("standing", "finds"),
    [
        (Standing(kept=2), False),
        (Standing(kept=3), True),
        (Standing(kept=4, broken=1), False),
        (Standing(kept=5, broken=1), True),
        (Standing(kept=500, demoted=True), False),
    ],
)
def test_a_missing_id_is_weak_where_the_host_usually_returns_it(standing: Standing, finds: bool) -> None:
    ctx = promised(habits={f"stripped {HEADER}": standing, f"stripped {BODY}": Standing()})

    findings = found(ctx, "stripped", Fact("over"))

    assert [(each.strength, each.where, each.received, each.expected) for each in findings] == (
        [("weak", HEADER, "nothing", MINE)] if finds else []
    )
    assert broken(ctx, f"stripped {HEADER}") == broken(ctx, f"stripped {BODY}") == (1, 1.0)


def test_an_id_that_came_or_was_wrong_is_not_missing() -> None:
    ctx = promised(habits={f"stripped {place}": kept(8) for place in (HEADER, BODY)})
    ctx.kept.add(f"stripped {HEADER}")
    ctx.broken.add(f"stripped {BODY}")

    assert found(ctx, "stripped", Fact("over")) == []
    assert broken(ctx, f"stripped {HEADER}") == (0, 0.0)
