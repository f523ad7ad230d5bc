"""When to come back: every unit in use, and which hint counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts import error_body, stated_limits
from patchbay.accounts.quoted_text import ClientText
from patchbay.body import Body
from patchbay.values.http import Headers

from ..each_row import each_row

NOW = 1_790_000_000.0


def retry_at(fields, found, now):
    return stated_limits.retry_at(fields, error_body.read(found), now)


def headers(**fields: str) -> Headers:
    return Headers((name.replace("_", "-"), value) for name, value in fields.items())


def body(document: object) -> Body:
    return Body(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5),
        ("7.66", 7.66),
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("2m59.56s", 179.56),
        ("10h17m5.7s", 37025.7),
        ("46s", 46),
        (str(int(NOW) + 30), 30),
        (str(int(NOW + 30) * 1000), 30),
        ("2026-09-21T14:33:30Z", 1210),
        ("2026-09-21T14:33:30", 1210),
        ("Mon, 21 Sep 2026 14:33:30 GMT", 1210),
    ],
)
def test_a_moment_is_read_in_every_unit(text, seconds):
    assert stated_limits.moment(text, NOW) == pytest.approx(NOW + seconds, rel=0, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "-5s", "soon", "nan", "inf", "1e9", "9" * 5000, "32d", "2020-01-01T00:00:00Z",
     "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Foo 99999 99:99:99 GMT", None, True, [], {}],
)  # fmt: skip
def test_what_is_no_moment_to_come_is_no_hint(text):
    assert stated_limits.moment(text, NOW) is None


@given(st.text(max_size=80))
def test_reading_a_moment_never_raises_and_never_gives_one_that_is_past(text):
    at = stated_limits.moment(text, NOW)
    assert at is None or NOW < at <= NOW + stated_limits.ABSURD


def test_hints_are_ranked_by_how_directly_they_answer():
    said = {"error": {"message": "Please try again in 3s.", "resets_in_seconds": 4}}
    buckets = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "5s"}
    both = {"retry_after_ms": "1500", "retry_after": "2"}

    assert retry_at(headers(**both, **buckets), body(said), NOW) == NOW + 1.5
    assert retry_at(headers(retry_after="2", **buckets), body(said), NOW) == NOW + 2
    assert retry_at(headers(**buckets), body(said), NOW) == NOW + 4
    del said["error"]["resets_in_seconds"]
    assert retry_at(headers(**buckets), body(said), NOW) == NOW + 3
    assert retry_at(headers(**buckets), None, NOW) == NOW + 5
    assert retry_at(headers(), None, NOW) is None


def test_an_unusable_hint_gives_way_to_the_next():
    assert retry_at(headers(retry_after_ms="0", retry_after="-1"), body({"error": "wait"}), NOW) is None
    assert retry_at(headers(retry_after_ms="0", retry_after="9"), None, NOW) == NOW + 9


def test_only_an_empty_bucket_says_when_to_come_back_and_the_last_of_them_counts():
    fields = headers(
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="20s",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="6m0s",
        x_ratelimit_remaining_day="7",
        x_ratelimit_reset_day="20h",
    )
    assert retry_at(fields, None, NOW) == NOW + 360


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (headers(anthropic_ratelimit_tokens_remaining="0",
                 anthropic_ratelimit_tokens_reset="2026-09-21T14:33:30Z"), 1210),
        (headers(anthropic_ratelimit_unified_5h_status="rejected",
                 anthropic_ratelimit_unified_5h_reset=str(int(NOW) + 77),
                 anthropic_ratelimit_unified_7d_status="allowed",
                 anthropic_ratelimit_unified_7d_reset=str(int(NOW) + 500_000)), 77),
        (headers(X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(NOW + 12) * 1000)), 12),
        (headers(x_ratelimitbysize_remaining_minute="0", ratelimitbysize_reset="40"), 40),
        (headers(x_ratelimit_remaining_tokens_usage_based="0", x_ratelimit_reset_tokens_usage_based="9ms"), 0.009),
        (headers(x_ratelimit_remaining_tokens="-1", x_ratelimit_reset_tokens="0"), None),
        (headers(x_ratelimit_reset_tokens="5"), None),
    ],
)  # fmt: skip
def test_each_providers_limit_headers_are_understood(fields, seconds):
    at = retry_at(fields, None, NOW)
    assert at == (pytest.approx(NOW + seconds, rel=0, abs=1e-3) if seconds else None)


@each_row(
    ("document", "seconds"),
    [
        ({"error": {"code": 429, "details": [
            {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "5723.54s"}]}}, 5723.54),
        ([{"error": {"code": 429, "details": [{"retryDelay": "46s"}]}}], 46),
        ({"error": {"details": [{"retryDelay": {"seconds": 3}}]}}, 3),
        ({"error": {"details": [{"metadata": {"quotaResetDelay": "1h2m3.5s"}}]}}, 3723.5),
        ({"error": {"type": "usage_limit_reached", "resets_at": int(NOW) + 99}}, 99),
        ({"error": {"type": "usage_limit_reached", "resets_in_seconds": 7200}}, 7200),
        ({"detail": {"type": "usage_limit_reached", "resets_in_seconds": 60}}, 60),
        ({"error": {"message": "Rate limit reached. Please try again in 5.289s. Visit x"}}, 5.289),
        ({"error": {"message": "Please retry in 10h17m5.7s."}}, 37025.7),
        ({"error": {"message": "try again in 1h2m"}}, 3720),
        ({"error": {"message": "Please retry after 37 seconds."}}, 37),
        ({"error": {"message": "try again in 2 minutes"}}, 120),
        ({"error": {"message": "Try again in 2 min."}}, 120),
        ({"error": {"message": "try again in 20 s"}}, 20),
        ({"error": {"message": "retry after 300 milliseconds"}}, 0.3),
        ({"error": {"message": "retry after 30 and not before"}}, 30),
        ({"message": "Rate limited, try again in 250ms", "type": "rate_limited"}, 0.25),
        ({"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0",
                                             "X-RateLimit-Reset": str(int(NOW + 8) * 1000)}}}}, 8),
        ({"error": {"code": "model_cooldown", "reset_seconds": 30}}, 30),
        ({"error": {"resets_in_seconds": 10**400}}, None),
        ({"error": {"resets_in_seconds": float("inf")}}, None),
        ({"error": {"resets_in_seconds": 1e300, "metadata": {"headers": {"X-RateLimit-Reset": 10**400}}}}, None),
        ({"error": {"resets_at": -1, "message": "try again in a while"}}, None),
    ],
)  # fmt: skip
def test_hints_in_a_body_are_found_in_every_shape(document, seconds):
    at = retry_at(Headers(), body(document), NOW)
    assert at == (pytest.approx(NOW + seconds, rel=0, abs=1e-3) if seconds else None)


@given(st.binary(max_size=200))
def test_any_body_is_read_without_raising(raw):
    retry_at(Headers(), Body(raw), NOW)
    retry_at(Headers(), Body(b"[" + raw), NOW)


# --- what a success says is left


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"x_ratelimit_limit_requests": "60", "x_ratelimit_remaining_requests": "59",
          "x_ratelimit_reset_requests": "1s"}, [(59 / 60, 1)]),
        ({"x_ratelimit_limit_tokens": "150000", "x_ratelimit_remaining_tokens": "7500",
          "x_ratelimit_reset_tokens": "6m0s"}, [(0.05, 360)]),
        ({"x_ratelimit_limit_tokens_usage_based": "100", "x_ratelimit_remaining_tokens_usage_based": "10",
          "x_ratelimit_reset_tokens_usage_based": "9ms"}, [(0.1, 0.009)]),
        ({"anthropic_ratelimit_input_tokens_limit": "1000", "anthropic_ratelimit_input_tokens_remaining": "250",
          "anthropic_ratelimit_input_tokens_reset": "2026-09-21T14:33:30Z"}, [(0.25, 1210)]),
        ({"anthropic_ratelimit_unified_5h_status": "allowed_warning",
          "anthropic_ratelimit_unified_5h_utilization": "0.95",
          "anthropic_ratelimit_unified_5h_reset": str(int(NOW) + 77)}, [(0.05, 77)]),
        ({"ratelimitbysize_reset": "40", "x_ratelimitbysize_limit_minute": "500",
          "x_ratelimitbysize_remaining_minute": "50", "x_ratelimitbysize_limit_month": "9",
          "x_ratelimitbysize_remaining_month": "1"}, [(0.1, 40)]),
        ({"x_ratelimit_limit": "20", "x_ratelimit_remaining": "1",
          "x_ratelimit_reset": str(int(NOW + 12) * 1000)}, [(0.05, 12)]),
        ({"x_ratelimit_limit_requests": "-1", "x_ratelimit_remaining_requests": "-1",
          "x_ratelimit_reset_requests": "0"}, []),
        ({"x_ratelimit_limit_requests": "0", "x_ratelimit_remaining_requests": "0",
          "x_ratelimit_reset_requests": "1s"}, []),
        ({"x_ratelimit_remaining_requests": "5"}, []),
        ({"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "many",
          "x_ratelimit_reset_requests": "1s"}, []),
        ({"x_ratelimit_limit_requests": "5", "x_ratelimit_remaining_requests": "1",
          "x_ratelimit_reset_requests": "99d"}, []),
    ],
)  # fmt: skip
def test_each_provider_says_in_its_way_what_is_left(fields, expected):
    found = stated_limits.headroom(headers(**fields), NOW)
    assert [(bucket.left, bucket.reset) for bucket in found] == [
        (pytest.approx(left), pytest.approx(NOW + seconds, rel=0, abs=1e-3)) for left, seconds in expected
    ]


def test_any_number_of_limits_is_read_in_bounds():
    many = {f"x_ratelimit_{word}_{n}": "5" for n in range(100) for word in ("limit", "remaining", "reset")}
    assert len(stated_limits.headroom(headers(**many), NOW)) == 16


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "x-ratelimit-remaining-x",
                    "x-ratelimit-limit-x",
                    "x-ratelimit-reset-x",
                    "a-ratelimit-utilization",
                    "a-ratelimit-reset",
                ]
            ),
            st.text(max_size=20),
        )
    )
)
def test_reading_what_is_left_never_raises_and_is_a_share(fields):
    for bucket in stated_limits.headroom(Headers(fields), NOW):
        assert 0 <= bucket.left <= 1
        assert bucket.reset > NOW


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (headers(x_codex_primary_reset_after_seconds="90"), 90),
        (headers(x_codex_primary_reset_at=str(int(NOW) + 80)), 80),
        (headers(x_codex_primary_used_percent="100", x_codex_primary_reset_after_seconds="90",
                 x_codex_secondary_used_percent="40", x_codex_secondary_reset_after_seconds="500000"), 90),
        (headers(x_codex_primary_used_percent="12.5", x_codex_primary_reset_after_seconds="90",
                 x_codex_secondary_used_percent="100.0", x_codex_secondary_reset_after_seconds="5000"), 5000),
        (headers(x_codex_bengalfox_primary_reset_at=str(int(NOW) + 70)), 70),
        (headers(x_codex_primary_reset_after_seconds="-1"), None),
        (headers(ratelimit='"minute";r=0;t=30, "day";r=900;t=8000'), 30),
        (headers(ratelimit="limit=10, remaining=0, reset=25"), 25),
        (headers(ratelimit="limit=10, remaining=3, reset=25"), None),
        (headers(x_ratelimit_reset="44"), 44),
        (headers(x_retry_after_ms="1500"), 1.5),
    ],
)  # fmt: skip
def test_a_reset_is_read_wherever_a_family_puts_it(fields, seconds):
    """A9: Codex's windows, the IETF's head, a reset alone."""
    at = retry_at(fields, None, NOW)
    assert at == (pytest.approx(NOW + seconds, rel=0, abs=1e-3) if seconds else None)


@pytest.mark.parametrize(
    ("document", "seconds"),
    [
        ({"error": {"retry_after_ms": 2500}}, 2.5),
        ({"error": {"resetsAt": int(NOW) + 60}}, 60),
        ({"error": {"message": "Please wait 30 seconds before you go on"}}, 30),
        ({"error": {"message": "Retry your request after 37 seconds."}}, 37),
        ({"error": {"message": "try again at 2026-09-21T14:33:30Z."}}, 1210),
        ({"error": {"message": "You will regain access on 2026-09-21 at 14:33 UTC."}}, 1180),
        ({"error": {"message": "Your limit will reset at 2026-09-21 14:33:30"}}, 1210),
        ({"retryAfter": "12s"}, 12),
    ],
)
def test_a_time_in_a_body_is_read_in_every_spelling(document, seconds):
    """A9: members and sentences of other families."""
    at = retry_at(headers(), Body(json.dumps(document).encode()), NOW)
    assert at == pytest.approx(NOW + seconds, rel=0, abs=1e-3)


@pytest.mark.parametrize(
    ("message", "larger"),
    [
        ("tokens per min (tpm): limit 30000, requested 31226.", True),
        ("limit 30,000, requested 31,226", True),
        ("limit 30000, used 29000, requested 2000. please try again in 2s", False),
        ("limit: 0", False),
        ("requested 5", False),
    ],
)
def test_a_request_that_is_larger_than_the_whole_limit_is_known(message, larger):
    """A1: no time makes it smaller."""
    assert stated_limits.is_larger_than_limit(message) is larger


# --- each unit, each bound, each rank


@each_row(
    ("text", "now", "at"),
    [
        ("2d", 0.0, 172_800.0),
        ("2h", 0.0, 7200.0),
        ("2m", 0.0, 120.0),
        ("2s", 0.0, 2.0),
        ("2ms", 0.0, 2e-3),
        ("2us", 0.0, 2e-6),
        ("2µs", 0.0, 2e-6),
        ("2ns", 0.0, 2e-9),
        (" 2 ", 0.0, 2.0),
        ("+2", 0.0, 2.0),
        (2, 0.0, 2.0),
        (0.25, 0.0, 0.25),
        ("31d", 0.0, 31 * 86_400.0),
        ("2678401", 0.0, None),  # a second more than 31 days
        ("1000000000", 999_999_990.0, None),  # so many seconds from now
        ("1000000001", 999_999_990.0, 1_000_000_001.0),  # an epoch
        ("1000000000000", 999_999_999_999.0, 1_000_000_000_000.0),  # an epoch in seconds, still
        ("1000000000001", 1_000_000_000.0, 1_000_000_000.001),  # in milliseconds
        (10**15 - 1, 999_999_999_990.0, 999_999_999_999.999),
        (10**15, 999_999_999_990.0, None),  # beyond any clock
        ("000000000001s" * 4 + "00000000001s", 0.0, 5.0),  # 64 characters
        ("000000000001s" * 5, 0.0, None),  # 65
        ("2026-09-21T16:33:30+02:00", NOW, NOW + 1210),
        ("Mon, 21 Sep 2026 16:33:30 +0200", NOW, NOW + 1210),
    ],
)
def test_a_moment_has_units_and_bounds(text, now, at):
    found = stated_limits.moment(text, now)
    assert found == (None if at is None else pytest.approx(at, rel=1e-12, abs=0))


@pytest.mark.parametrize(
    "text",
    ["Mon, 1 Jan 99999999999999999999 00:00:00 GMT", "Mon, 21 Sep 2026 14:33:30 +9999", "Mon,", ",", "1 2 3 4 5",
     "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"],
)  # fmt: skip
def test_a_date_of_no_calendar_is_no_hint(text):
    assert stated_limits.moment(text, NOW) is None


@each_row(
    ("phrase", "seconds"),
    [
        ("try again in 2 ms", 0.002),
        ("try again in 2 milliseconds", 0.002),
        ("trying again after 2 s", 2),
        ("retry in 2 sec", 2),
        ("retry your request in about 2 seconds", 2),
        ("retry-after: 2", 2),
        ("retry_after 2", 2),
        ("resets in approximately 2 m", 120),
        ("reset in 2 min", 120),
        ("available again in 2 minutes", 120),
        ("please wait 2h", 7200),
        ("wait for 2 h", 7200),
        ("wait for 2 hr", 7200),
        ("wait for 2 hours", 7200),
        ("resets in 2 d", 172_800),
        ("resets in 2 days", 172_800),
        ("resets in 1d2h", 93_600),
        ("try again in a while", None),
        ("restored on 2026-09-21 14:33:30+00:00", 1210),
        ("available again at 2026-09-21 at 14:33:30 utc", 1210),
        ("resets at 2026-99-99 14:33", None),
    ],
)
def test_a_phrase_of_a_message_is_read_in_every_spelling(phrase, seconds):
    at = stated_limits.in_text(f"too many. {phrase}.", NOW)
    assert at == (None if seconds is None else pytest.approx(NOW + seconds, rel=0, abs=1e-3))


def test_nine_ranks_of_hints_are_asked_in_their_order():
    ranked = [
        {"retry_after_ms": "1000"},
        {"retry_after": "2"},
        {"resets_in_seconds": 3},
        {"message": "try again in 4s"},
        {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "5"},
        {"metadata": {"headers": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "6"}}},
        {"x_codex_primary_reset_after_seconds": "7"},
        {"ratelimit": '"a";r=0;t=8'},
        {"a_ratelimit_reset": "9"},
    ]
    in_body = {"resets_in_seconds", "message", "metadata"}
    for first in range(len(ranked)):
        members = {name: value for each in ranked[first:] for name, value in each.items()}
        fields = headers(**{name: value for name, value in members.items() if name not in in_body})
        said = body({"error": {name: value for name, value in members.items() if name in in_body}})
        assert retry_at(fields, said, NOW) == NOW + first + 1


@each_row(
    ("fields", "seconds"),
    [
        (headers(retry_after_ms=" 1500 "), 1.5),
        (headers(x_ms_retry_after_ms="2500"), 2.5),
        (headers(retry_after_ms="soon", x_ms_retry_after_ms="-1", x_retry_after_ms="3500"), 3.5),
        (headers(retry_after_ms="2s"), None),
        # buckets: which is empty
        (headers(A_RateLimit_Remaining=" 0.0 ", A_RateLimit_Reset="5"), 5),
        (headers(a_ratelimit_remaining="0", a_ratelimit_reset="soon"), None),
        (headers(a_ratelimit_remaining="none", a_ratelimit_reset="5"), None),
        (headers(a_ratelimit_remaining="1", a_ratelimit_reset="5"), None),
        (headers(a_ratelimit_status="Rejected", a_ratelimit_reset="5"), 5),
        (headers(a_ratelimit_status="allowed", a_ratelimit_reset="5"), None),
        (headers(a_limit_remaining="0", a_limit_reset="5"), None),
        (headers(ratelimitbysize_remaining="0", ratelimitbysize_reset="5"), 5),
        (headers(x_ratelimitbysize_remaining_minute="0", a_ratelimit_remaining="1", a_ratelimit_reset="5"), None),
        # alone
        (headers(a_ratelimit_reset="6", b_ratelimit_reset="5"), 5),
        (headers(a_ratelimit_reset_tokens="5"), None),
        (headers(a_reset="5"), None),
        # Codex
        (headers(x_codex_primary_reset_after_seconds="90", x_codex_primary_reset_at=str(int(NOW) + 80)), 80),
        (headers(x_codex_primary_reset_at=str(int(NOW) + 80), x_codex_primary_reset_after_seconds="90"), 80),
        (headers(x_codex_primary_reset_after_seconds="90", x_codex_secondary_reset_after_seconds="70"), 70),
        (headers(x_codex_primary_used_percent="99.9", x_codex_primary_reset_after_seconds="90",
                 x_codex_secondary_used_percent="many", x_codex_secondary_reset_after_seconds="70"), 70),
        (headers(X_Codex_Primary_Used_Percent=" 100 ", X_Codex_Primary_Reset_After_Seconds="90",
                 x_codex_secondary_used_percent="101", x_codex_secondary_reset_after_seconds="70"), 90),
        # the IETF's
        (headers(RateLimit='"a";r=0;t=30, "b";r=0;t=40'), 40),
        (headers(ratelimit='"a";r=0;t=0, "b";r=0;t=40'), 40),
        (headers(ratelimit='"a";r=5;t=30'), None),
        (headers(ratelimit='"a";r=0'), None),
    ],
)  # fmt: skip
def test_a_header_counts_where_it_says_enough(fields, seconds):
    at = retry_at(fields, None, NOW)
    assert at == (None if seconds is None else pytest.approx(NOW + seconds, rel=0, abs=1e-3))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"retry_after_ms": True}, None),
        ({"retry_after_ms": "2"}, 2),
        ({"retry_after_ms": 2000.0}, 2),
        ({"retry_after": {"seconds": "3"}}, 3),
        ({"retry_after": {"nanos": 3}}, None),
        ({"retryDelay": "-1s", "retry_after": 4}, 4),
        ({"retry_after": 5, "details": [{"retryDelay": "6s"}]}, 5),  # the outermost first
        ({"metadata": {"headers": "x-ratelimit-reset: 5"}}, None),
        ({"metadata": {"headers": {"a-ratelimit-remaining": 0, "a-ratelimit-reset": 5,
                                   "b-ratelimit-remaining": 0, "b-ratelimit-reset": 6}}}, 6),
        ({"metadata": {"headers": {**{str(n): "" for n in range(30)},
                                   "a-ratelimit-remaining": 0, "a-ratelimit-reset": 5}}}, 5),
        ({"metadata": {"headers": {**{str(n): "" for n in range(31)},
                                   "a-ratelimit-remaining": 0, "a-ratelimit-reset": 5}}}, None),
    ],
)  # fmt: skip
def test_a_member_of_an_error_counts_where_it_is_a_time(error, seconds):
    at = retry_at(Headers(), body({"error": error}), NOW)
    assert at == (None if seconds is None else pytest.approx(NOW + seconds, rel=0, abs=1e-3))


@pytest.mark.parametrize(
    ("error", "same", "other"),
    [
        ({"message": "try again in 5s"}, {"a": "try again in 5s"}, {"a": "5s"}),
        ({"message": "retry at 2026-09-21 14:33"}, {"a": "retry at 2026-09-21 14:33"}, {"a": "no"}),
        ({"retry_after": 5}, {"retry_after": 5}, {"retry_after": 6}),
        ({"retry_after_ms": 5000}, {"retry_after_ms": 5000}, {"retry_after_ms": 5}),
        ({"retry_after": {"seconds": 5}}, {"retry_after": 5}, {"retry_after": 6}),
        ({"metadata": {"headers": {"a-ratelimit-remaining": "0", "a-ratelimit-reset": "5"}}},
         {"a-ratelimit-reset": "5"}, {"a-ratelimit-reset": "6"}),
    ],
)  # fmt: skip
def test_a_time_that_the_client_wrote_is_no_hint(error, same, other):
    said = error_body.read(body({"error": error}))

    assert stated_limits.retry_at(Headers(), said, NOW, ClientText(json.dumps(other).encode())) is not None
    assert stated_limits.retry_at(Headers(), said, NOW, ClientText(json.dumps(same).encode())) is None


@pytest.mark.parametrize(
    ("message", "larger"),
    [
        ("limit 5, requested 5", False),
        ("limit 5, requested 6", True),
        ("limit ,a requested 1", True),  # no number is none
        ("limit 10,000 tokens, requested: about 9,999", False),
    ],
)
def test_a_request_as_large_as_the_limit_fits(message, larger):
    assert stated_limits.is_larger_than_limit(message) is larger


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"A_RateLimit_Utilization": " 0.25 ", "a_ratelimit_reset": "5"}, [0.75]),
        ({"a_ratelimit_utilization": "1.5", "a_ratelimit_reset": "5"}, [0.0]),
        ({"a_ratelimit_utilization": "-1", "a_ratelimit_reset": "5"}, [1.0]),
        ({"a_ratelimit_utilization": "much", "a_ratelimit_reset": "5"}, []),
        ({"a_ratelimit_utilization": "0.5"}, []),
        ({"a_utilization": "0.5", "a_reset": "5"}, []),
        ({"a_ratelimit_limit": " 1 ", "a_ratelimit_remaining": "0", "a_ratelimit_reset": "5"}, [0.0]),
        ({"a_ratelimit_limit": "0.5", "a_ratelimit_remaining": "0.25", "a_ratelimit_reset": "5"}, [0.5]),
        ({"a_ratelimit_limit": "4", "a_ratelimit_remaining": "8", "a_ratelimit_reset": "5"}, [1.0]),
        ({"a_ratelimit_limit": "4", "a_ratelimit_remaining": "-0.5", "a_ratelimit_reset": "5"}, []),
        ({"a_ratelimit_limit": "all", "a_ratelimit_remaining": "1", "a_ratelimit_reset": "5"}, []),
        ({"a_ratelimit_limit": "4", "a_ratelimit_remaining": "1"}, []),
        ({"a_ratelimit_limit": "4", "a_ratelimit_remainingly": "1", "a_ratelimit_reset": "5"}, []),
        ({"x_ratelimitbysize_limit": "4", "x_ratelimitbysize_remaining": "1", "ratelimitbysize_reset": "5"}, []),
    ],
)
def test_a_bucket_counts_where_it_states_its_size_its_rest_and_its_reset(fields, expected):
    found = stated_limits.headroom(headers(**fields), NOW)
    assert [(bucket.left, bucket.reset) for bucket in found] == [(left, NOW + 5) for left in expected]
