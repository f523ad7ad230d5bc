"""When to come back: every unit in use, and which hint counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts import limits
from patchbay.body import Body
from patchbay.values.http import Headers

NOW = 1_790_000_000.0


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
    assert limits.moment(text, NOW) == pytest.approx(NOW + seconds, rel=0, abs=1e-3)


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "-5s", "soon", "nan", "inf", "1e9", "9" * 5000, "32d", "2020-01-01T00:00:00Z",
     "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Foo 99999 99:99:99 GMT", None, True, [], {}],
)  # fmt: skip
def test_what_is_no_moment_to_come_is_no_hint(text):
    assert limits.moment(text, NOW) is None


@given(st.text(max_size=80))
def test_reading_a_moment_never_raises_and_never_gives_one_that_is_past(text):
    at = limits.moment(text, NOW)
    assert at is None or NOW < at <= NOW + limits.ABSURD


def test_hints_are_ranked_by_how_directly_they_answer():
    said = {"error": {"message": "Please try again in 3s.", "resets_in_seconds": 4}}
    buckets = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "5s"}
    both = {"retry_after_ms": "1500", "retry_after": "2"}

    assert limits.retry_at(headers(**both, **buckets), body(said), NOW) == NOW + 1.5
    assert limits.retry_at(headers(retry_after="2", **buckets), body(said), NOW) == NOW + 2
    assert limits.retry_at(headers(**buckets), body(said), NOW) == NOW + 4
    del said["error"]["resets_in_seconds"]
    assert limits.retry_at(headers(**buckets), body(said), NOW) == NOW + 3
    assert limits.retry_at(headers(**buckets), None, NOW) == NOW + 5
    assert limits.retry_at(headers(), None, NOW) is None


def test_an_unusable_hint_gives_way_to_the_next():
    assert limits.retry_at(headers(retry_after_ms="0", retry_after="-1"), body({"error": "wait"}), NOW) is None
    assert limits.retry_at(headers(retry_after_ms="0", retry_after="9"), None, NOW) == NOW + 9


def test_only_an_empty_bucket_says_when_to_come_back_and_the_last_of_them_counts():
    fields = headers(
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="20s",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="6m0s",
        x_ratelimit_remaining_day="7",
        x_ratelimit_reset_day="20h",
    )
    assert limits.retry_at(fields, None, NOW) == NOW + 360


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
    at = limits.retry_at(fields, None, NOW)
    assert at == (pytest.approx(NOW + seconds, rel=0, abs=1e-3) if seconds else None)


@pytest.mark.parametrize(
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
    at = limits.retry_at(Headers(), body(document), NOW)
    assert at == (pytest.approx(NOW + seconds, rel=0, abs=1e-3) if seconds else None)


@given(st.binary(max_size=200))
def test_any_body_is_read_without_raising(raw):
    limits.retry_at(Headers(), Body(raw), NOW)
    limits.retry_at(Headers(), Body(b"[" + raw), NOW)


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
    found = limits.headroom(headers(**fields), NOW)
    assert [(bucket.left, bucket.reset) for bucket in found] == [
        (pytest.approx(left), pytest.approx(NOW + seconds, rel=0, abs=1e-3)) for left, seconds in expected
    ]


def test_any_number_of_limits_is_read_in_bounds():
    many = {f"x_ratelimit_{word}_{n}": "5" for n in range(100) for word in ("limit", "remaining", "reset")}
    assert len(limits.headroom(headers(**many), NOW)) == 16


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
    for bucket in limits.headroom(Headers(fields), NOW):
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
    at = limits.retry_at(fields, None, NOW)
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
    at = limits.retry_at(headers(), Body(json.dumps(document).encode()), NOW)
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
    assert limits.is_larger_than_limit(message) is larger
