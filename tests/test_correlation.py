"""Request ids: what they look like, what is recognised, what goes up and what must come back."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, strategies as st

from patchbay import correlation
from patchbay.body import Body
from patchbay.correlation import Mint, Stamps, session_id, stamps
from patchbay.ledger import Entry, Ledger
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Echo, Provider, Stamp
from patchbay.values.http import Headers

from .each_row import each_row

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
    if found.kind == "other":
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
    assert [MINT.time_of(each) for each in (STRANGE, "", "req_1", MINE[:-1], MINE + "0", "pb1-" + "!" * 48)] == [
        None
    ] * 6
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


@given(st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=48, max_size=48))
def test_noise_in_the_form_of_an_id_is_not_ours(text: str) -> None:
    assert MINT.recognise(f"pb1-{text}") == ""
    assert MINT.time_of(f"pb1-{text}") is None


@each_row(
    ("value", "wanted"),
    [
        (MINE, "match"),
        (f"  {MINE} ", "match"),
        (MINE.upper(), "match"),
        (f"chatcmpl-{MINE}", "match"),
        (f"cmpl-{MINE}", "match"),
        (f"resp_{MINE}", "match"),
        (f"chatcmpl-{MINE}-a8f3c2", "match"),
        (f"{MINE}#12", "match"),
        (f"gateway-7f3a1c, {MINE}", "match"),
        (f'"{MINE}"', "match"),
        (f"Root=1-{MINE}", "match"),
        (MINE[:36], "match"),
        (MINE[:24], "match"),
        (MINE[:12], "mangled"),
        (EARLIER, "earlier"),
        (f"chatcmpl-{EARLIER}", "earlier"),
        (THEIRS, "other"),
        (THEIRS.upper(), "other"),
        (f"chatcmpl-{THEIRS}-0", "other"),
        ("their-own-id", "other"),
        (f"gateway-7f3a1c, {THEIRS}", "other"),
        (f'"{THEIRS}"', "other"),
        (f"req_{THEIRS}", "other"),
        (f"{THEIRS}, {MINE}", "other"),
        (ELSEWHERE, "unknown"),
        (f"chatcmpl-{ELSEWHERE}", "unknown"),
        (STRANGE, "mangled"),
        (THEIRS[:40], "mangled"),
        (THEIRS[:-1] + "!", "mangled"),
        (CLIENT, "client"),
        (CLIENT.upper(), "client"),
        (f"chatcmpl-{CLIENT}", "client"),
        (CLIENT[:14] + "9" + CLIENT[15:], "client"),  # Envoy's trace decision
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
    provider = Provider("p", "openai", frozenset({"openai"}), stamp=Stamp(patchbay_headers=False))

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


# -- what is in an id, to the bit --------------------------------------------------------------------------------------

GUID = MINT.guid(MINE)


def test_ids_of_one_key_time_and_noise_are_always_the_same() -> None:
    """Dumps and journals of earlier releases hold such ids."""
    assert MINE == "pb1-yprpa8jab2vs3qvay7cbdbgkh6zejs12evzbz4ct401wdr00"
    assert GUID == "59e980f2-8b90-86e0-b30f-13ee17e86e34"
    assert session_id(KEY, "s", "a") == "9452fb3b410f15f154512581d581c584"


@pytest.mark.parametrize(
    ("now", "told"), [(-5.0, 0.0), (0.0, 0.0), (0.001, 0.001), (12.3456, 12.345), ((1 << 48) / 1000 + 1, 1.0)]
)
def test_an_id_tells_its_time_to_the_millisecond(now: float, told: float) -> None:
    made = MINT.new(now, noise())

    assert (MINT.time_of(made), MINT.time_of(MINT.guid(made))) == (told, told)


def test_a_guid_is_known_in_each_spelling_and_a_changed_one_is_not() -> None:
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", GUID)
    traced = GUID[:14] + "9" + GUID[15:]
    assert [MINT.recognise(each) for each in (GUID, GUID.upper(), traced, f"chatcmpl-{GUID}")] == [GUID] * 4
    assert Mint(OTHER_KEY).recognise(GUID) == ""
    assert (MINT.time_of(CLIENT), MINT.recognise(CLIENT)) == (None, "")
    for at in range(36):
        if GUID[at] != "-" and at not in (14, 19):
            changed = GUID[:at] + ("0" if GUID[at] != "0" else "1") + GUID[at + 1 :]
            assert MINT.recognise(changed) == "", at
    assert [kind(each) for each in (GUID, traced, GUID.upper())] == ["match"] * 3
    assert kind(MINT.guid(THEIRS)) == "unknown"


@pytest.mark.parametrize("prefix", ["chatcmpl-", "cmpl-", "resp_", "resp-", "msg_", "embd-"])
def test_engines_put_their_own_prefix_before_an_id(prefix: str) -> None:
    assert (kind(prefix + MINE), kind(prefix + THEIRS), MINT.recognise(prefix + MINE)) == ("match", "other", MINE)


@pytest.mark.parametrize(("length", "wanted"), [(52, "match"), (20, "match"), (19, "mangled")])
def test_an_id_that_is_cut_off_is_known_by_its_first_20_characters(length: int, wanted: str) -> None:
    assert kind(MINE[:length]) == wanted


def test_of_what_comes_back_the_id_and_its_owner_are_told() -> None:
    ledger = Ledger()
    entry = Entry("me", EARLIER)
    ledger.note("request", EARLIER, entry, NOW)
    ledger.note("request", THEIRS, Entry("them", THEIRS), NOW)

    def told(value: str) -> tuple[str, str, Entry | None]:
        found = MINT.classify(
            value, mine=MINE, sent=frozenset({CLIENT}), earlier=(ELSEWHERE,), exchange="me", ledger=ledger, now=NOW
        )
        return found.kind, found.value, found.entry

    assert told(MINE.upper()) == ("match", MINE, None)
    assert told(CLIENT.upper()) == ("client", CLIENT, None)
    assert told(ELSEWHERE) == ("earlier", ELSEWHERE, None)
    assert told(f"x, {EARLIER}") == ("earlier", EARLIER, entry)
    assert told(THEIRS)[:2] == ("other", THEIRS)
    assert told(" other ") == ("foreign", "other", None)
    assert told(STRANGE)[:2] == ("mangled", STRANGE)
    later = MINT.new(NOW, noise(9))
    assert told(f'"{later}"') == ("unknown", later, None)


def test_an_empty_id_is_no_one_s() -> None:
    for value in ("x", "chatcmpl-"):
        assert MINT.classify(value, mine="", sent=frozenset({""}), ledger=Ledger(), now=NOW).kind == "foreign"


@pytest.mark.parametrize(("at", "stamped_there"), [("/chat/completions", True), ("/responses", False), ("", False)])
def test_a_member_goes_only_to_the_endpoints_that_take_it(at: str, stamped_there: bool) -> None:
    stamp = Stamp(body={"trace": "{request_id}"}, body_paths=frozenset({"/chat/completions"}))
    provider = Provider("p", "generic", frozenset({"openai"}), stamp=stamp)
    everywhere = Provider("p", "generic", frozenset({"openai"}), stamp=Stamp(body={"trace": "{request_id}"}))

    def members(of: Provider) -> object:
        return stamps(of, Headers(), Body(b"{}"), request_id=MINE, at=at).body

    assert members(provider) == ({"trace": MINE} if stamped_there else {})
    assert members(everywhere) == {"trace": MINE}


@pytest.mark.parametrize(
    "name",
    ["x-request-id", "request-id", "x-correlation-id", "x-client-request-id", "x-litellm-call-id", "idempotency-key",
     "x-trace-id", "traceparent"],
)  # fmt: skip
def test_ids_of_the_client_s_own_may_come_back(name: str) -> None:
    found = stamps(OPENAI, Headers([(name, f" {CLIENT} "), (name, "null"), (name, "x" * 513)]), Body(b"{}"),
                   request_id=MINE)  # fmt: skip

    assert found.sent == ({CLIENT} if name in correlation._CLIENT_ID_HEADERS else frozenset())
    assert {"x-litellm-call-id", "x-trace-id", "idempotency-key", "x-request-id"} <= set(correlation._CLIENT_ID_HEADERS)


def test_the_id_that_replaces_ours_is_the_first_that_is_not_blank() -> None:
    echo = Echo(headers={"X-One": "edge", "X-Two": "edge"}, body={"one": "body", "two": "body"})
    provider = Provider("p", "generic", frozenset({"openai"}), echo=echo)

    def client_id(body: str, **headers: str) -> str:
        return stamped(provider, body, **headers).client_id

    assert client_id('{"one": "a"}', x_one=" ", x_two="b") == "b"
    assert client_id('{"one": " ", "two": "c"}', x_one=" ") == "c"
    assert client_id("{}") == ""


def test_a_value_that_cannot_stand_in_a_header_is_left_out() -> None:
    provider = Provider("p", "generic", frozenset({"openai"}), stamp=Stamp(headers={"X-S": "{session_id}"}))
    found = stamps(provider, Headers(), Body(b"{}"), request_id=MINE, session_id="a\nb")

    assert [name for name, _ in found.headers] == ["X-Patchbay-Request-Id"]
