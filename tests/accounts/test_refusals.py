"""What the client is told when no account can serve: true, short, and of every account."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects
from patchbay.accounts import refusals
from patchbay.accounts.absent import REASONS, Absent
from patchbay.accounts.refusals import NAMED, none_left
from patchbay.values.answer import FailureKind
from patchbay.values.decision import Outcome, Refusal

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC


def absent(account, cause, seconds=None, detail="", *, hinted=False, provider="p"):
    at = None if seconds is None else NOW + seconds
    return Absent(account, provider, cause, detail, hinted, chance=at, deadline=at)


def reasons(refusal):
    """Return the message of *refusal* without its last sentence, which says what to do."""
    return refusal.message.partition(". ")[0]


IN_ITS_MIDDLE = "connection closed in its middle"
ON_THE_WAY = [
    ("connect", "[Errno 111] Connect call failed ('127.0.0.1', 9)", "connection refused"),
    ("connect", "[Errno 61] Connection refused", "connection refused"),
    ("connect", "[Errno -2] Name or service not known", "name not resolved"),
    ("connect", "[Errno -3] Temporary failure in name resolution", "name not resolved"),
    ("connect", "[Errno -5] No address associated with hostname", "name not resolved"),
    ("connect", "Certificate verify failed: unable to get local issuer certificate", "TLS certificate not trusted"),
    ("connect", "TLS handshake failed: wrong version number", "TLS handshake failed"),
    ("connect", "[Errno 101] Network is unreachable", "no route to it"),
    ("connect", "[Errno 113] No route to host", "no route to it"),
    ("connect", "connection timed out", "timed out"),
    ("timeout", "no answer in time", "timed out"),
    ("timeout", "the answer took too long", "timed out"),
    ("reset", "server closed connection", "connection closed without an answer"),
    ("reset", "[Errno 104] Connection reset by peer", "connection closed without an answer"),
    ("reset", "HTTP/1 protocol error: unexpected sk-0123456789abcdef", "no valid HTTP"),
    ("reset", "HTTP/1 protocol error: illegal chunk header: bytearray(b'connection refused')", "no valid HTTP"),
    ("reset", "Cannot parse HTTP response: Bad response line: b'certificate'", "no valid HTTP"),
    ("reset", "unexpected server response: b'timed out'", "no valid HTTP"),
    ("reset", "unexpected server response: b'HTTP/1.1 2'", IN_ITS_MIDDLE),
    ("lost", "HTTP/2 protocol error: Invalid frame", "no valid HTTP"),
    ("reset", "its head cannot be trusted: refused", "no valid HTTP"),
    ("reset", "it switches protocols, which was not asked for", "no valid HTTP"),
    ("reset", "content-encoding 'refused'", "unknown content-encoding"),
    ("reset", "the body does not have its content-encoding: error", "the body does not have its content-encoding"),
    ("reset", "the answer decodes to more than 99 bytes", "the answer decodes to more than 99 bytes"),
    ("lost", "stream refused", "HTTP/2 stream reset: refused"),
    ("reset", "stream reset by client (INTERNAL_ERROR)", "HTTP/2 stream reset: INTERNAL_ERROR"),
    ("lost", "HTTP/2 connection closed by the upstream (NO_ERROR)", "HTTP/2 connection closed: NO_ERROR"),
    ("connect", "", "no connection"),
]


@pytest.mark.parametrize(("kind", "message", "said"), ON_THE_WAY)
def test_what_went_wrong_on_the_way_is_told_in_words_of_ours(kind, message, said):
    """A5: never in those of an upstream, which may quote anything."""
    assert refusals.on_the_way(kind, message) == said


def test_of_an_answer_that_had_begun_it_is_not_said_that_there_was_none():
    for message in ("server closed connection", "?"):
        assert refusals.on_the_way("lost", message, begun=True) == "connection closed"
    assert refusals.on_the_way("reset", "HTTP/1 protocol error: peer closed connection", begun=True) == IN_ITS_MIDDLE


@pytest.mark.parametrize(
    ("causes", "status", "code"),
    [
        ({"rate"}, 429, "model_cooldown"),
        ({"quota"}, 429, "insufficient_quota"),
        ({"rate", "quota"}, 429, "model_cooldown"),
        ({"overload"}, 503, "upstream_overloaded"),
        ({"unreachable"}, 503, "upstream_unreachable"),
        ({"server"}, 503, "upstream_failing"),
        ({"server", "unreachable"}, 503, "upstream_failing"),
        ({"unanswered"}, 503, "upstream_unreachable"),
        ({"unanswered", "unreachable"}, 503, "upstream_unreachable"),
        ({"unreadable"}, 503, "upstream_unreadable"),
        ({"unreadable", "unanswered"}, 503, "upstream_failing"),
        ({"auth"}, 503, "upstream_credentials_exhausted"),
        ({"permission"}, 503, "upstream_credentials_exhausted"),
        ({"auth", "no_key"}, 503, "upstream_credentials_exhausted"),
        ({"no_key"}, 503, "upstream_credentials_exhausted"),
        ({"model"}, 404, "model_not_found"),
        ({"disabled"}, 503, "auth_unavailable"),
        ({"unreachable", "rate"}, 503, "auth_unavailable"),
        ({"unreachable", "quota", "auth"}, 503, "auth_unavailable"),
        ({"tried"}, 503, "auth_unavailable"),
        ({"request"}, 503, "auth_unavailable"),
    ],
)
def test_the_status_is_that_of_the_cause(causes, status, code):
    """A5, A6: only a limit is a rate limit, and nothing looks as if the client's own key were bad."""
    found = none_left("m", [absent(f"a{n}", cause, 20) for n, cause in enumerate(sorted(causes))], NOW)

    assert (found.status, found.code) == (status, code)
    assert all(f"a{n}: " in found.message for n in range(len(causes)))
    assert found.retry_after == 20


def test_each_account_has_its_own_reason_and_time():
    """A5: also where the reasons are mixed."""
    accounts = [
        absent("work", "rate", 300, "429 rate_limit_error", hinted=True),
        absent("home", "unreachable", 10, "connection refused"),
        absent("spare", "auth", 86_400 * 2, "401 invalid_api_key"),
        absent("new", "no_key", None, "env:NEW_KEY: is not set"),
    ]

    assert none_left("m", accounts, NOW).message == (
        "No account can serve model m now: home: not reachable (connection refused), next try at 11:06:50 UTC (10 s);"
        " work: rate limited (429) until 11:11:40 UTC (5m00s);"
        " spare: key refused (401), next try at 2026-11-20 11:06 UTC (2d00h);"
        " new: no key (env:NEW_KEY: is not set)."
        " Account home: check that the provider runs, and base_url in the settings"
    )


def test_a_message_fits_into_two_lines_of_a_terminal():
    """A5: with 200 accounts of long names that all have troubles of their own, and a name of many lines."""
    causes = ("rate", "auth", "quota", "unreachable", "disabled")
    many = [absent("界" * 90 + str(n), causes[n % 5], 90_000 + n, "y" * 500, hinted=n % 2 == 0) for n in range(200)]
    message = none_left("m\n\x1b[31m\u202e" + "y" * 300, many, NOW).message

    assert len(message) < 640
    assert message.isprintable()
    assert f"; {200 - NAMED} more. " in message


@pytest.mark.parametrize(
    ("accounts", "final"),
    [
        ([absent("a", "quota", 30), absent("b", "auth", 30)], True),
        ([absent("a", "quota", 7200, hinted=True), absent("b", "no_key", None)], True),
        ([absent("a", "model", 600), absent("b", "auth", 30)], True),
        ([absent("a", "quota", 30), absent("b", "overload", 5)], False),
        ([absent("a", "rate", 20, hinted=True), absent("b", "auth", 600)], False),
    ],
)
def test_asking_again_is_advised_only_where_one_account_may_be_back(accounts, final):
    """A5: mixed reasons that waiting does not cure are as final as each of them alone, and no overload."""
    refusal = none_left("m", accounts, NOW)

    assert refusal.final is final
    assert dict(dialects.of("anthropic").error_headers(refusal)).get("x-should-retry") == ("false" if final else None)
    assert (said("anthropic", refusal)["type"] == "api_error") is (refusal.status == 503 and final)


@pytest.mark.parametrize(("cause", "seconds"), [("auth", 600), ("quota", 600), ("overload", 30), ("unreachable", 30)])
def test_gemini_cli_is_not_told_to_wait_for_what_waiting_seldom_cures(cause, seconds):
    """A5: Patchbay looks after 30 seconds whatever it is; Gemini CLI, told so of a key, asks again and again."""
    resting = [Absent(name, "gemini", cause, chance=NOW + 30, deadline=NOW + 600) for name in "ab"]
    refusal = none_left("m", resting, NOW, "gemini")
    details = said("gemini", refusal)["details"]

    assert dict(dialects.of("gemini").error_headers(refusal))["retry-after"] == "30"
    assert [each["retryDelay"] for each in details if "retryDelay" in each] == [f"{seconds}s"]


def test_of_many_accounts_the_first_to_return_are_named():
    many = [absent("x" * 300 + str(n), "rate", 1000 - n, "429", hinted=True) for n in range(900)]
    message = none_left("y" * 5000, many, NOW).message

    assert message.endswith(
        f"; {900 - NAMED} more. Wait, or add an account; if the limit is over already: patchbay wake ACCOUNT"
    )
    assert len(message) < 1200


@given(
    st.text(), st.text(), st.text(), st.sampled_from(list(refusals._WORDS)), st.one_of(st.none(), st.floats(-1e9, 1e9))
)
def test_whatever_is_wrong_it_is_told_shortly_in_every_dialect(model, account, detail, cause, seconds):
    found = none_left(model, [absent(account, cause, seconds, detail)] * 9, NOW)

    assert len(found.message) < 1500
    for dialect in ("openai_chat", "openai_responses", "anthropic", "gemini", ""):
        assert json.loads(dialects.of(dialect).error(found, "id"))["error"]["message"] == found.message
        assert all(value.isascii() for _, value in dialects.of(dialect).error_headers(found))


# --- a limit that is reached

WINDOW = none_left(
    "m", [absent("a", "quota", 7200, "429", hinted=True), absent("b", "quota", 9000, "429", hinted=True)], NOW
)  # fmt: skip


def said(dialect: str, refusal: Refusal) -> dict[str, object]:
    found = json.loads(dialects.of(dialect).error(refusal, "id"))["error"]
    assert isinstance(found, dict)
    return found


def test_a_used_up_window_is_told_in_the_word_that_codex_knows():
    """A7: with the reset as it reads it, and no retries."""
    error = said("openai_responses", WINDOW)

    assert (WINDOW.status, WINDOW.code) == (429, "usage_limit_reached")
    assert error["type"] == "usage_limit_reached"
    assert (error["resets_at"], error["resets_in_seconds"]) == (NOW + 7200, 7200)


def test_a_used_up_window_is_told_in_the_words_of_the_other_families():
    """A7: Anthropic's 429 has the headers that Claude Code reads, Google's a RetryInfo."""
    anthropic, headers = said("anthropic", WINDOW), dict(dialects.of("anthropic").error_headers(WINDOW))
    assert anthropic["type"] == "rate_limit_error"
    assert headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert headers["anthropic-ratelimit-unified-reset"] == str(int(NOW + 7200))
    assert headers["retry-after"] == "7200"

    gemini = said("gemini", WINDOW)
    assert gemini["status"] == "RESOURCE_EXHAUSTED"
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7200s"} in gemini["details"]


def test_a_rate_limit_that_lasts_is_one_for_codex_as_well():
    """A7: at every other 429 it tries again for as long as it is told to wait."""
    short, long = (none_left("m", [absent("a", "rate", wait, "429", hinted=True)], NOW) for wait in (30, 600))

    assert said("openai_responses", short)["type"] == "rate_limit_error"
    assert said("openai_responses", long)["type"] == "usage_limit_reached"
    assert {short.code, long.code} == {"model_cooldown"}


def test_out_of_credit_is_told_in_the_family_s_own_word():
    """A7: nobody said when it comes back."""
    out = [absent("a", "quota", 1800, "429 insufficient_quota")]

    assert said("openai_chat", none_left("m", out, NOW, "openai"))["type"] == "insufficient_quota"
    anthropic = none_left("m", out, NOW, "anthropic")
    assert (anthropic.status, said("anthropic", anthropic)["type"]) == (402, "billing_error")


# --- asking again


@pytest.mark.parametrize(
    ("refusal", "wait", "again"),
    [
        (Refusal(503, "c", "m", 0.2), "1", True),
        (Refusal(429, "c", "m", 59.2), "60", True),
        (Refusal(429, "c", "m", 61), "61", False),
        (Refusal(502, "c", "m", final=True), None, False),
        (Refusal(503, "c", "m", 5, final=True), "5", False),
        (Refusal(503, "c", "m"), None, True),
    ],
)
def test_a_client_is_told_whether_to_ask_again(refusal, wait, again):
    """A6: for longer than the SDKs wait, they would ask again at once, and in vain."""
    for dialect in ("openai_chat", "anthropic", "gemini", ""):
        headers = dict(dialects.of(dialect).error_headers(refusal))
        assert headers.get("retry-after") == wait
        assert headers.get("x-should-retry") == (None if again else "false")


def test_codex_is_not_told_to_wait_for_what_waiting_does_not_cure():
    """A5: it would show nothing for so long."""
    refused = none_left("m", [absent("a", "auth", 600, "401")], NOW)

    assert "retry-after" not in dict(dialects.of("openai_responses").error_headers(refused))
    assert dict(dialects.of("openai_chat").error_headers(refused))["retry-after"] == "600"
    assert "retry-after" in dict(dialects.of("openai_responses").error_headers(WINDOW))


@pytest.mark.parametrize(
    ("dialect", "type_"),
    [("openai_chat", "invalid_request_error"), ("openai_responses", "invalid_request_error"),
     ("anthropic", "not_found_error"), ("gemini", None)],
)  # fmt: skip
def test_a_model_that_nobody_serves_is_told_in_the_dialect_s_words(dialect, type_):
    """A6: a 404 of the words that clients do not ask again at."""
    refusal = refusals.unserved("m")
    error = said(dialect, refusal)

    assert refusal.status == 404
    assert error.get("type") == type_
    if dialect == "gemini":
        assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    else:
        assert error["code"] == "model_not_found"


def test_an_upstream_that_fails_is_no_overload_to_claude_code():
    """A5: it asks an overloaded API again and again."""
    for cause in ("unreachable", "server", "auth"):
        assert said("anthropic", none_left("m", [absent("a", cause)], NOW))["type"] == "api_error"
    assert said("anthropic", none_left("m", [absent("a", "overload")], NOW))["type"] == "overloaded_error"


def test_an_outcome_without_an_answer_says_why():
    assert refusals.cause_of(Outcome("server", detail="connect", failure="connection refused")) == (
        "unreachable", "connection refused",
    )  # fmt: skip
    assert refusals.cause_of(refusals.no_key("env:X: is not set")) == ("no_key", "env:X: is not set")
    assert refusals.cause_of(Outcome("auth", detail="401 invalid_api_key")) == ("auth", "401 invalid_api_key")
    assert refusals.cause_of(None) == ("tried", "")
    for said in ("the body ends in the middle", "unknown content-encoding", "no valid HTTP", "the answer decodes to"):
        assert refusals.cause_of(Outcome("server", detail="reset", failure=said)) == ("unreadable", said)
    assert refusals.cause_of(Outcome("server", detail="timeout", failure="timed out")) == ("unanswered", "timed out")


@pytest.mark.parametrize("why", REASONS)
def test_a_reason_is_told_in_a_fixed_word(why):
    """A6: a lasting refusal says why, in our words."""
    said = none_left("m", [absent("a", "permission", 60, f"403 {why}")], NOW)
    assert f"a: access denied: {why} (403)" in said.message


def test_who_was_answered_by_something_on_the_way_is_named_with_its_time():
    """A9: the message says of each account why and until when."""
    said = refusals.on_the_way_instead(403, none_left("m", [absent("a", "server", 60)], NOW))
    assert said.status == 502
    assert "answered 403 in its place" in said.message
    assert "a: failing, next try at" in said.message


@pytest.mark.parametrize(("seconds", "far"), [(30, False), (3600, True)])
def test_a_limit_that_lasts_is_told_by_us_at_the_first_answer(seconds, far):
    """A4: beyond a minute the client gets our refusal, and not one provider's own 429."""
    assert refusals.is_far(none_left("m", [absent("a", "rate", seconds, hinted=True)], NOW)) is far


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("rate", "rate limited"), ("quota", "out of credit"), ("overload", "overloaded"),
        ("unreachable", "not reachable"), ("unanswered", "no whole answer"),
        ("unreadable", "answer unreadable"), ("server", "failing"), ("auth", "key refused"),
        ("permission", "access denied"), ("no_key", "no key"), ("model", "model not found"),
        ("disabled", "disabled in the settings"), ("request", "request refused"), ("cancelled", "cancelled"),
        ("tried", "failed"), ("busy", "busy"),
    ],
)  # fmt: skip
def test_every_cause_is_told_in_words(cause, words):
    assert reasons(none_left("", [absent("a", cause)], NOW)).endswith(f"a: {words}")


@pytest.mark.parametrize(
    ("cause", "detail", "told"),
    [
        ("rate", "429 slow_down", "rate limited (429)"),
        ("rate", "sk-secret", "rate limited"),
        ("auth", "401 organization disabled", "key refused: organization disabled (401)"),
        ("unreachable", "timed out", "not reachable (timed out)"),
        ("unanswered", "connection closed", "no whole answer (connection closed)"),
        ("unreadable", "no valid HTTP", "answer unreadable (no valid HTTP)"),
        ("no_key", "x" * 61, f"no key ({'x' * 60})"),
        ("server", "it ended early", "failing (it ended early)"),
        ("busy", "busy (2 at once)", "busy (2 at once)"),
    ],
)
def test_of_a_detail_the_status_is_told_and_what_is_ours(cause, detail, told):
    assert reasons(none_left("", [absent("a", cause, detail=detail)], NOW)).endswith(f"a: {told}")


@pytest.mark.parametrize(
    ("seconds", "hinted", "told"),
    [
        (5.2, True, "rate limited until 11:06:46 UTC (6 s)"),
        (5.0, False, "rate limited, next try at 11:06:45 UTC (5 s)"),
        (86399, True, "rate limited until 11:06:39 UTC (23h59m)"),
        (86400, True, "rate limited until 2026-11-19 11:06 UTC (1d00h)"),
        (9e9, True, "rate limited until 2027-12-23 11:06 UTC (400d00h)"),
        (0, True, "rate limited"),
        (None, True, "rate limited"),
    ],
)
def test_the_end_of_a_cooldown_is_told_to_the_second_or_with_its_day(seconds, hinted, told):
    refusal = none_left("", [absent("a", "rate", seconds, hinted=hinted)], NOW)
    assert reasons(refusal).endswith(f"a: {told}")


def test_the_fields_of_a_limit_say_when_the_first_account_is_back():
    accounts = [absent("a", "rate", 90.5), absent("b", "rate", 3700), absent("c", "rate")]
    refusal = none_left("m" * 257, accounts, NOW)
    assert refusal.fields == {
        "model": "m" * 256, "provider": "p", "reset_time": "1m31s", "reset_seconds": 91,
        "resets_at": NOW + 91, "resets_in_seconds": 91,
    }  # fmt: skip
    assert (refusal.retry_after, refusal.lasts) == (90.5, 90.5)
    other = none_left("", [absent("a", "rate", -5), absent("b", "rate", provider="q")], NOW)
    assert (other.fields["reset_seconds"], other.retry_after, "provider" in other.fields) == (0, 0.0, False)
    assert "model" not in other.fields
    assert none_left("m", [absent("a", "server", 5)], NOW).fields == {"model": "m", "provider": "p"}
    assert none_left("m", [absent("a", "model")], NOW).fields == {"model": "m", "provider": "p", "param": "model"}
    assert "param" not in none_left("", [absent("a", "model")], NOW).fields


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0s"), (59, "59s"), (60, "1m0s"), (3599, "59m59s"), (3600, "1h0m0s"), (90_061, "25h1m1s")],
)
def test_a_duration_is_written_as_go_does(seconds, told):
    assert refusals._go_duration(seconds) == told


def test_long_and_unprintable_names_are_shown_on_one_line():
    def named(account):
        return refusals.of_upstream(account, "code", "It broke", status=504, more=": so").message

    assert named("a" * 32) == f"It broke (account {'a' * 32}): so"
    assert named("a" * 33) == f"It broke (account {'a' * 31}…): so"
    assert named("a\nb") == "It broke (account a\ufffdb): so"
    assert named("") == "It broke: so"
    assert refusals.of_upstream("a", "code", "It broke") == Refusal(502, "code", "It broke (account a)")
    assert refusals.unserved("m" * 81).message == f"No account here serves model {'m' * 79}…"
    assert refusals.unserved("m").fields == {"model": "m", "param": "model"} and refusals.unserved("").fields == {}


REFUSED = Refusal(503, "some_code", "Why.", 5.0, {"a": 1})


def test_a_refusal_that_stands_for_a_missing_answer_names_what_gave_up():
    way = refusals.on_the_way_instead(403, REFUSED)
    assert (way.status, way.code, way.retry_after, way.fields) == (
        502, "upstream_unreachable", 5.0, {"a": 1, "gave_up": "some_code"},
    )  # fmt: skip
    assert way.message == "Something on the way to the provider answered 403 in its place. Why."
    alone = refusals.on_the_way_instead(403, None)
    assert (alone.status, alone.code, alone.message) == (
        502, "upstream_unreachable", "Something on the way to the provider answered 403 in its place",
    )  # fmt: skip
    unanswered = refusals.unanswered(Refusal(500, "some_code", "Why.", 5.0, {"a": 1}), None)
    assert (unanswered.status, unanswered.code, unanswered.fields) == (
        502, "upstream_unreachable", {"a": 1, "gave_up": "some_code"},
    )  # fmt: skip
    limit = Refusal(499, "some_code", "Why.")
    unread = Outcome("server", detail="reset", failure="no valid HTTP")
    assert refusals.unanswered(limit, unread) is limit
    assert refusals.unanswered(REFUSED, unread).code == "upstream_unreadable"


def test_a_refusal_in_place_of_a_refused_key_counts_the_attempts():
    off = Refusal(503, "auth_unavailable", "Off.")
    assert refusals.not_let_in(off, 2) is off
    out = refusals.not_let_in(Refusal(503, "upstream_credentials_exhausted", "Out.", fields={"a": 1}), 2)
    assert (out.status, out.message, out.fields) == (502, "Out.", {"a": 1, "tried": 2})
    for refusal, more in ((REFUSED, ". Why."), (None, "")):
        other = refusals.not_let_in(refusal, 2)
        message = f"No account was let in by its provider (2 tried){more}"
        assert other == Refusal(502, "upstream_credentials_exhausted", message, fields={"tried": 2}, final=True)


@pytest.mark.parametrize(
    ("code", "wait", "far"),
    [("model_cooldown", 60.1, True), ("model_cooldown", 60.0, False), ("usage_limit_reached", 61, True),
     ("usage_limit_reached", None, False), ("upstream_failing", 99, False)],
)  # fmt: skip
def test_a_limit_is_far_when_it_lasts_longer_than_a_minute(code, wait, far):
    assert refusals.is_far(Refusal(429, code, "", wait)) is far
    assert not refusals.is_far(None)


def test_a_pool_without_accounts_and_one_that_is_full_say_so():
    for anywhere, where in ((True, ""), (False, " at this upstream")):
        none = refusals.all_disabled([], "openai", NOW, anywhere=anywhere)
        assert (none.status, none.code, none.final) == (404, "auth_not_found", True)
        assert none.message == f"There is no account here for OpenAI{where}"
    assert "and 1 request waits already: a: busy" in refusals.queue_full(1, [absent("a", "busy")], NOW).message
    full = refusals.queue_full(2, [absent("a", "busy")], NOW)
    assert (full.status, full.code, full.retry_after) == (503, "queue_full", 1.0) and "2 requests wait" in full.message
    assert refusals.gave_up("code", "why", [], NOW) == Refusal(503, "code", "Patchbay gave up: why")
    assert refusals.gave_up("code", "why", [absent("a", "rate", 5)], NOW).retry_after == 5
    assert refusals.unreadable("why").status == 403 and refusals.unreadable("why").code == "model_not_allowed"
    assert (refusals.broken_json().status, refusals.account_unknown("x").status) == (400, 400)


def test_the_codes_of_the_way_are_those_of_upstreams_that_gave_no_answer():
    causes = ("unreachable", "unanswered", "unreadable", "server")

    assert {none_left("m", [absent("a", cause)], NOW).code for cause in causes} == refusals.OF_THE_WAY


def test_a_failure_without_a_known_message_is_told_by_its_kind():
    closed = "connection closed without an answer"
    said = {"connect": "no connection", "reset": closed, "lost": closed, "timeout": "timed out"}

    assert {kind: refusals.on_the_way(kind, "?") for kind in get_args(FailureKind)} == said
