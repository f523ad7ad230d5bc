"""Request ids: what they look like, what is recognised, what goes up and what must come back."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, strategies as st

from patchbay.body import Body
from patchbay.correlation import Mint, Stamps, session_id, stamps
from patchbay.ledger import Entry, Ledger
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Echo, Provider, Stamp
from patchbay.values.http import Headers

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
MINT = Mint(KEY)
NOW = 1_800_000_000.0


def noise(seed: int = 1):
    return Random(seed).randbytes


MINE, THEIRS, EARLIER, ELSEWHERE = (MINT.new(NOW, noise(seed)) for seed in (1, 2, 3, 4))
STRANGE = Mint(OTHER_KEY).new(NOW, noise(5))
CLIENT = "0b1f6a4e-3c55-4a8e-9b1d-2f6a7c8d9e0f"


def kind(value: str, **more: str) -> str:
    ledger = Ledger()
    ledger.note("request", MINE, Entry("me", MINE), NOW)
    ledger.note("request", THEIRS, Entry("them", THEIRS, account="b", affinity="s"), NOW)
    ledger.note("request", "their-own-id", Entry("them", THEIRS), NOW)
    found = MINT.classify(
        value, mine=MINE, sent=frozenset({CLIENT}), earlier=(EARLIER,), exchange="me", ledger=ledger, now=NOW
    )
    if found.kind == "another":
        assert found.entry is not None
        assert found.entry.exchange == "them"
    return found.kind


def test_an_id_is_52_characters_that_survive_every_sanitiser() -> None:
    assert re.fullmatch(r"pb1-[0-9a-hjkmnp-tv-z]{48}", MINE)
    assert len(MINE) == 52


def test_ids_are_fresh_even_within_one_moment() -> None:
    random = noise()

    assert len({MINT.new(NOW, random) for _ in range(1000)}) == 1000


def test_an_id_tells_its_time_to_us_and_to_nobody_else() -> None:
    assert MINT.time_of(MINE) == NOW
    assert MINT.time_of(STRANGE) is None
    # Two ids of one moment share nothing that could be seen: the time is sealed under fresh noise.
    assert sum(a == b for a, b in zip(MINE[4:], THEIRS[4:], strict=True)) < 12


def test_an_id_is_known_with_the_key_alone() -> None:
    assert Mint(KEY).recognise(MINE) == MINE
    assert Mint(OTHER_KEY).recognise(MINE) == ""


@given(st.integers(4, 51), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_a_changed_id_is_not_ours(at: int, to: str) -> None:
    changed = MINE[:at] + to + MINE[at + 1 :]

    assert (MINT.recognise(changed) == MINE) == (changed == MINE)


@given(st.text(max_size=80))
def test_no_text_is_taken_for_ours(text: str) -> None:
    assert MINT.recognise(text) == ""
    assert kind(text) in ("foreign", "blank", "mangled")


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (MINE, "mine"),
        (f"  {MINE} ", "mine"),
        (MINE.upper(), "mine"),
        (f"chatcmpl-{MINE}", "mine"),
        (f"cmpl-{MINE}", "mine"),
        (f"resp_{MINE}", "mine"),
        (f"chatcmpl-{MINE}-a8f3c2", "mine"),
        (f"{MINE}#12", "mine"),
        (f"gateway-7f3a1c, {MINE}", "mine"),
        (f'"{MINE}"', "mine"),
        (f"Root=1-{MINE}", "mine"),
        (MINE[:36], "mine"),
        (MINE[:24], "mine"),
        (MINE[:12], "mangled"),
        (EARLIER, "earlier"),
        (f"chatcmpl-{EARLIER}", "earlier"),
        (THEIRS, "another"),
        (THEIRS.upper(), "another"),
        (f"chatcmpl-{THEIRS}-0", "another"),
        ("their-own-id", "another"),
        (f"gateway-7f3a1c, {THEIRS}", "another"),
        (f'"{THEIRS}"', "another"),
        (f"req_{THEIRS}", "another"),
        (f"{THEIRS}, {MINE}", "another"),
        (ELSEWHERE, "ours"),
        (f"chatcmpl-{ELSEWHERE}", "ours"),
        (STRANGE, "mangled"),
        (THEIRS[:40], "mangled"),
        (THEIRS[:-1] + "!", "mangled"),
        (CLIENT, "own"),
        (CLIENT.upper(), "own"),
        (CLIENT[:14] + "9" + CLIENT[15:], "own"),  # Envoy's trace decision
        (CLIENT[:13] + "99" + CLIENT[15:], "foreign"),
        (CLIENT + "-1", "foreign"),
        ("req_011CPR5Cxyz", "foreign"),
        ("chatcmpl-417", "foreign"),
        ("", "blank"),
        ("   ", "blank"),
        ("null", "blank"),
        ("-", "blank"),
    ],
)
def test_what_comes_back_is_told_apart(value: str, wanted: str) -> None:
    assert kind(value) == wanted


def test_an_id_of_this_exchange_that_nobody_listed_is_an_earlier_attempt() -> None:
    ledger = Ledger()
    ledger.note("request", THEIRS, Entry("me", THEIRS), NOW)

    assert MINT.classify(THEIRS, mine=MINE, exchange="me", ledger=ledger, now=NOW).kind == "earlier"


def test_a_session_id_links_no_two_accounts() -> None:
    ids = {session_id(KEY, affinity, account) for affinity in ("s", "t") for account in ("a", "b")}

    assert len(ids) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in ids)
    assert session_id(KEY, "s", "a") == session_id(KEY, "s", "a")
    assert session_id(KEY, "sa", "b") != session_id(KEY, "s", "ab")


def stamped(provider: Provider, body: str = "{}", **headers: str) -> Stamps:
    fields = Headers((name.replace("_", "-"), value) for name, value in headers.items())
    return stamps(provider, fields, Body(body.encode()), request_id=MINE, session_id="s" * 32, model_id="0xabc")


GENERIC, MORPHEUS, OPENAI = PRESETS["generic"], PRESETS["morpheus"], PRESETS["openai"]


def test_generic_stamps_two_headers_and_awaits_the_id_in_two_places() -> None:
    found = stamped(GENERIC)

    assert dict(found.headers) == {
        "X-Request-ID": MINE, "X-Session-ID": "s" * 32, "X-Patchbay-Request-Id": MINE,
    }  # fmt: skip
    assert found.body == {}
    assert found.expected == {"header x-request-id": MINE, "body request_id": MINE}


def test_morpheus_gets_its_own_names_too() -> None:
    found = stamped(MORPHEUS)

    assert dict(found.headers) == {
        "X-Request-ID": MINE, "X-Session-ID": "s" * 32, "session_id": "s" * 32, "model_id": "0xabc",
        "X-Patchbay-Request-Id": MINE,
    }  # fmt: skip
    assert found.body == {"request_id": MINE}


def test_a_template_with_an_empty_field_is_left_out() -> None:
    found = stamps(MORPHEUS, Headers(), Body(b"{}"), request_id=MINE)

    assert [name for name, _ in found.headers] == ["X-Request-ID", "X-Patchbay-Request-Id"]


def test_the_client_s_own_id_goes_up_and_is_what_must_come_back() -> None:
    found = stamped(GENERIC, x_request_id=CLIENT)

    assert "X-Request-ID" not in dict(found.headers)
    assert found.expected == {"header x-request-id": CLIENT, "body request_id": CLIENT}
    assert found.client_id == CLIENT
    assert CLIENT in found.sent


def test_the_client_s_own_member_is_left_alone() -> None:
    found = stamped(MORPHEUS, '{"request_id": "mine-17"}')

    assert found.body == {}
    assert found.expected == {"header x-request-id": MINE, "body request_id": "mine-17"}
    assert found.sent == {"mine-17"}


def test_a_body_that_is_no_object_gets_no_stamp() -> None:
    assert stamped(MORPHEUS, "[1]").body == {}
    assert stamped(MORPHEUS, "").expected["body request_id"] == MINE


def test_an_id_that_the_client_left_blank_is_left_blank_and_nothing_is_expected_there() -> None:
    """A provider that receives a blank id makes one of its own."""
    found = stamped(MORPHEUS, x_request_id="  ")

    assert "X-Request-ID" not in dict(found.headers)
    assert found.expected == {"body request_id": MINE}
    assert stamped(GENERIC, x_request_id="").expected == {}


@pytest.mark.parametrize("stamp", [Stamp(headers={"X-Trace": "{request_id}"}), Stamp()])
def test_an_id_may_go_up_under_one_name_and_come_back_under_another(stamp: Stamp) -> None:
    echo = Echo(headers={"X-Trace-Back": "handler"}, body={"trace": "body"}, promised=True)
    provider = Provider("p", "generic", frozenset({"openai"}), stamp=stamp, echo=echo)

    assert stamped(provider).expected == {"header x-trace-back": MINE, "body trace": MINE}


def test_nothing_is_expected_where_nothing_is_promised() -> None:
    found = stamped(OPENAI)

    assert dict(found.headers) == {"X-Patchbay-Request-Id": MINE}
    assert found.expected == {}


def test_pristine_adds_nothing() -> None:
    provider = Provider("p", "openai", frozenset({"openai"}), stamp=Stamp(namespace=False))

    assert stamped(provider) == Stamps()


def test_nested_members_and_texts_around_a_field() -> None:
    provider = Provider(
        "p", "generic", frozenset({"openai"}),
        stamp=Stamp(headers={"X-Trace": "a-{request_id}"}, body={"metadata.trace": "{request_id}"}),
        echo=Echo(body={"metadata.trace": "body"}, promised=True),
    )  # fmt: skip
    found = stamped(provider, '{"metadata": {"k": "v"}}')

    assert ("X-Trace", f"a-{MINE}") in found.headers
    assert found.body == {"metadata.trace": MINE}
    assert found.expected == {"body metadata.trace": MINE}
    assert stamped(provider, '{"metadata": {"trace": "own"}}').expected == {"body metadata.trace": "own"}
