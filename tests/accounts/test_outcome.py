"""What an answer says about its account: one row per thing a provider is known to answer."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts import outcome
from patchbay.accounts.quoted_text import ClientText
from patchbay.body import Body
from patchbay.values.account import ErrorRule
from patchbay.values.answer import FailureKind, Head
from patchbay.values.http import Headers

from ..each_row import each_row

NOW = 1_790_000_000.0


def classify(family, status, document=None, **fields):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = Head(status, Headers((name.replace("_", "-"), value) for name, value in fields.items()))
    return outcome.classify(family, head, None if document is None else Body(raw), NOW)


def error(**members):
    return {"error": members}


def anthropic(kind, message="", **members):
    return {"type": "error", "error": {"type": kind, "message": message, **members}}


def google(code, status, message="", *details):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


TABLE = [
    # OpenAI, and what speaks like it
    ("openai", 429, error(code="rate_limit_exceeded", type="tokens"), "rate"),
    ("openai", 429, error(code="slow_down"), "rate"),
    ("openai", 503, error(code="slow_down"), "rate"),
    ("openai", 429, error(type="insufficient_quota", code="credit_balance_exhausted"), "quota"),
    ("openai", 429, error(message="You exceeded your current quota, please check your plan"), "quota"),
    ("openai", 429, error(code="project_spend_limit_exceeded"), "quota"),
    ("openai", 429, error(type="usage_limit_reached", resets_in_seconds=60), "quota"),
    ("openai", 503, error(code="server_is_overloaded", type="service_unavailable_error"), "overload"),
    ("openai", 401, error(type="invalid_request_error", code="invalid_api_key"), "auth"),
    ("openai", 401, error(type="authentication_error", code="invalid_request_error"), "auth"),
    ("openai", 401, error(code="token_revoked"), "auth"),
    ("openai", 401, {"error": "Unauthorized"}, "auth"),
    ("openai", 401, {"error": "unauthorized", "signin_url": "https://x"}, "auth"),
    ("openai", 400, error(type="invalid_request_error"), "request"),
    ("openai", 400, error(code="context_length_exceeded", type="invalid_request_error"), "request"),
    ("openai", 400, error(code="invalid_encrypted_content"), "request"),
    ("openai", 404, error(code="model_not_found", type="invalid_request_error"), "model"),
    ("openai", 404, error(message="The model `m` does not exist.", type="NotFoundError", code=404), "model"),
    ("openai", 404, error(message="Item with id 'rs_1' not found. Items are not persisted"), "request"),
    ("openai", 403, error(code="unsupported_country_region_territory"), "permission"),
    ("openai", 500, error(type="server_error"), "server"),
    ("openai", 500, error(type="invalid_request_error", message="schema is wrong"), "request"),
    # Azure
    ("openai", 429, error(code="429", message="Rate limit is exceeded. Try again in 3 seconds."), "rate"),
    ("openai", 429, error(code="429", message="System is experiencing high demand"), "overload"),
    ("openai", 400, error(code="content_filter"), "request"),
    ("openai", 404, error(code="DeploymentNotFound"), "model"),
    # OpenRouter
    ("openai", 402, error(code=402, message="Insufficient credits", metadata={"limit_source": "x"}), "quota"),
    ("openai", 402, error(code=402, metadata={"error_type": "in_flight_budget_exhausted"}), "rate"),
    ("openai", 403, error(code=403, message="x", metadata={"flagged_input": "…", "reasons": []}), "request"),
    ("openai", 403, error(code=403, message="Your chosen model requires moderation"), "request"),
    ("openai", 400, error(code=400, message="foo/bar is not a valid model ID"), "model"),
    ("openai", 200, error(code=429, message="Provider returned error"), "rate"),
    # DeepSeek, Mistral, Groq, xAI, Ollama, vLLM: flat shapes too
    ("openai", 402, error(message="Insufficient Balance", code="invalid_request_error"), "quota"),
    ("openai", 429, {"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited"}, "rate"),
    ("openai", 400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model"}, "model"),
    ("openai", 422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "request"),
    ("openai", 498, error(type="capacity_exceeded"), "overload"),
    ("openai", 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided"}, "auth"),
    ("openai", 403, {"code": "x", "error": "Your team has used all available credits"}, "quota"),
    ("openai", 404, {"error": 'model "x" not found, try pulling it first'}, "model"),
    ("openai", 503, {"error": "server busy, please try again"}, "overload"),
    ("openai", 400, b"Incorrect API key", "auth"),
    ("openai", 429, error(message="Authentication Fails, too many requests"), "rate"),
    ("openai", 503, error(message="Service is too busy, please try again later"), "overload"),
    ("openai", 402, {"object": "error", "message": "Payment required", "type": "payment_required"}, "quota"),
    ("openai", 503, {"object": "error", "message": "Service unavailable.", "type": "service_unavailable"}, "overload"),
    ("openai", 429, error(code="rate_limit_exceeded", message="on tokens per day (TPD). try again in 5.289s"), "rate"),
    ("openai", 413, error(code="request_too_large"), "request"),
    ("openai", 429, {"code": "RESOURCE_EXHAUSTED", "error": "Too many requests for team"}, "rate"),
    ("openai", 503, {"code": "UNAVAILABLE", "error": "The service is currently unavailable"}, "overload"),
    ("openai", 429, {"code": "x", "error": "reached its monthly spending limit"}, "quota"),
    ("openai", 422, {"code": "x", "error": "Failed to deserialize the JSON body"}, "request"),
    ("openai", 429, {"error": "you have reached your usage limit, please try again later"}, "rate"),
    ("openai", 503, {"error": "server busy, please try again. maximum pending requests exceeded"}, "overload"),
    ("openai", 400, {"object": "error", "message": "max_tokens is too large", "type": "BadRequestError"}, "request"),
    ("openai", 500, {"error": "engine died"}, "server"),
    ("openai", 401, error(message="IP address is not authorized"), "auth"),
    ("openai", 403, error(message="Your IP is not authorized"), "auth"),
    ("openai", 401, error(code="token_invalidated"), "auth"),
    ("openai", 403, error(code="AuthenticationTypeDisabled", message="blocked by policy"), "permission"),
    ("openai", 401, error(code="401", message="Access denied due to invalid subscription key"), "auth"),
    ("openai", 503, error(code="503"), "overload"),
    ("openai", 502, error(code=502, message="x", metadata={"provider_name": "y"}), "server"),
    ("openai", 413, error(code=413), "request"),
    ("openai", 404, error(code=404, message="No endpoints found for foo/bar."), "model"),
    ("openai", 200, error(code=502, message="Upstream error"), "server"),
    # Rows of the same tables in other spellings
    ("openai", 429, error(type="insufficient_quota", code="organization_spend_limit_exceeded"), "quota"),
    ("openai", 429, error(type="insufficient_quota", code="organization_usage_limit_exceeded"), "quota"),
    ("openai", 429, error(type="requests", code="rate_limit_exceeded"), "rate"),
    ("openai", 503, error(type="service_unavailable_error"), "overload"),
    ("openai", 401, error(message="Incorrect API key provided: sk-x", code="invalid_api_key"), "auth"),
    ("openai", 403, error(message="Country, region, or territory not supported"), "permission"),
    ("openai", 403, error(message="Project `p` does not have access to model `m`", code="model_not_found"), "model"),
    ("openai", 403, error(message="You have no access to this model"), "model"),
    ("openai", 403, error(message="Access denied due to Virtual Network/Firewall rules."), "permission"),
    ("openai", 403, error(message="Public access is disabled. Please configure private endpoint."), "permission"),
    ("openai", 403, error(message="no"), "permission"),
    ("openai", 409, error(message="conflict"), "request"),
    ("openai", 429, error(code="usage_limit_reached", resets_at=int(NOW) + 9000), "quota"),
    ("openai", 402, error(code=402, metadata={"limit_source": "openrouter_credits"}), "quota"),
    ("openai", 402, error(code=402, metadata={"limit_source": "openrouter_key_limit"}), "quota"),
    ("openai", 503, error(code=503, message="No instances available"), "overload"),
    ("openai", 401, error(code=401, message="No auth credentials found"), "auth"),
    ("openai", 402, error(message="Insufficient Balance"), "quota"),
    ("openai", 429, error(message="Rate limit reached"), "rate"),
    ("openai", 503, error(message="Server overloaded"), "overload"),
    ("openai", 401, error(type="authentication_error", message="Authentication Fails", code="invalid_request_error"),
     "auth"),
    ("openai", 401, {"object": "error", "message": "Unauthorized", "type": "unauthorized"}, "auth"),
    ("openai", 422, {"object": "error", "message": {"detail": []}, "type": "invalid_request_error"}, "request"),
    ("openai", 400, error(code="organization_restricted", message="Organization has been restricted"), "auth"),
    ("openai", 498, None, "overload"),
    ("openai", 401, {"error": "Unauthorized"}, "auth"),
    ("openai", 500, {"object": "error", "message": "Internal", "type": "InternalServerError"}, "server"),
    ("openai", 503, None, "overload"),
    ("openai", 429, {"error": "too many concurrent requests"}, "rate"),
    # Anthropic
    ("anthropic", 403, anthropic("permission_error", "Your organization does not have access to this model"), "model"),
    ("anthropic", 403, anthropic("forbidden", "Request not allowed"), "permission"),
    ("anthropic", 429, anthropic("rate_limit_error"), "rate"),
    ("anthropic", 402, anthropic("billing_error"), "quota"),
    ("anthropic", 400, anthropic("invalid_request_error", "Your credit balance is too low to access"), "quota"),
    ("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified API usage limits"), "quota"),
    ("anthropic", 429, anthropic("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}), "quota"),
    ("anthropic", 529, anthropic("overloaded_error"), "overload"),
    ("anthropic", 401, anthropic("authentication_error", "invalid x-api-key"), "auth"),
    ("anthropic", 400, anthropic("invalid_request_error", "This organization has been disabled."), "auth"),
    ("anthropic", 403, anthropic("permission_error"), "permission"),
    ("anthropic", 400, anthropic("invalid_request_error", "messages: signature is wrong"), "request"),
    ("anthropic", 413, anthropic("request_too_large"), "request"),
    ("anthropic", 404, anthropic("not_found_error", "model: claude-x"), "model"),
    ("anthropic", 404, anthropic("not_found_error", "Not Found"), "request"),
    ("anthropic", 500, anthropic("api_error"), "server"),
    ("anthropic", 400, anthropic("invalid_request_error", "You have reached your specified workspace API usage limits"),
     "quota"),
    ("anthropic", 429, anthropic("rate_limit_error", details={"error_code": "credits_required"}), "quota"),
    ("anthropic", 504, anthropic("timeout_error"), "server"),
    ("anthropic", 403, anthropic("permission_error", "OAuth token has been revoked"), "auth"),
    # Gemini
    ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check"), "rate"),
    ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "…", {"violations": [{"quotaId": "PerDay"}]}), "quota"),
    ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "…", {"violations": [{"quotaId": "ReqPerMinute"}]}), "rate"),
    ("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: g",
                           {"violations": [{"quotaId": "PerDay"}]}), "model"),
    ("gemini", 402, google(402, "RESOURCE_EXHAUSTED"), "quota"),
    ("gemini", 503, google(503, "UNAVAILABLE", "The model is overloaded"), "overload"),
    ("gemini", 500, google(500, "INTERNAL"), "server"),
    ("gemini", 400, google(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}), "auth"),
    ("gemini", 403, google(403, "PERMISSION_DENIED"), "permission"),
    ("gemini", 403, google(403, "PERMISSION_DENIED", "Your API key was reported as leaked"), "auth"),
    ("gemini", 403, google(403, "PERMISSION_DENIED", "…", {"reason": "VALIDATION_REQUIRED"}), "auth"),
    ("gemini", 400, google(400, "FAILED_PRECONDITION", "User location is not supported for it"), "permission"),
    ("gemini", 400, google(400, "INVALID_ARGUMENT"), "request"),
    ("gemini", 400, google(400, "INVALID_ARGUMENT", "the text says: user location is not supported"), "request"),
    ("gemini", 401, google(401, "UNAUTHENTICATED"), "auth"),
    ("gemini", 429, {"error": {"code": "rate_limit_exceeded", "message": "x"}}, "rate"),
    ("gemini", 404, google(404, "NOT_FOUND", "models/gemini-x is not found for API version v1beta"), "model"),
    ("gemini", 404, google(404, "NOT_FOUND", "file not there"), "request"),
    ("gemini", 429, [google(429, "RESOURCE_EXHAUSTED")], "rate"),
    ("gemini", 402, {"error": {"code": "payment_required", "message": "x"}}, "quota"),
    ("gemini", 429, {"error": {"code": "quota_exceeded", "message": "x"}}, "quota"),
    ("gemini", 503, google(503, "UNAVAILABLE", "This model is currently experiencing high demand"), "overload"),
    ("gemini", 504, google(504, "DEADLINE_EXCEEDED"), "server"),
    ("gemini", 400, google(400, "FAILED_PRECONDITION"), "request"),
    ("gemini", 499, google(499, "CANCELLED"), "cancelled"),
    ("gemini", 403, google(403, "PERMISSION_DENIED", "x", {"reason": "CONSUMER_SUSPENDED"}), "auth"),
    ("gemini", 403, google(403, "PERMISSION_DENIED", "x", {"reason": "BILLING_DISABLED"}), "quota"),
    # Gateways: LiteLLM, OpenRouter with the error of the provider behind it; Mistral, Groq
    ("openai", 400, error(message="Budget has been exceeded!", type="budget_exceeded", code="400"), "quota"),
    ("openai", 400, error(message="Provider returned error", code=400, metadata={
        "raw": '{"type":"error","error":{"message":"Your credit balance is too low"}}'}), "quota"),
    ("openai", 429, {"object": "error", "message": "x", "type": "service_tier_capacity_exceeded"}, "overload"),
    ("openai", 400, error(message="The model `m` has been decommissioned", code="model_decommissioned"), "model"),
    # Bedrock, DashScope, one-api, Moonshot, SiliconFlow
    ("openai", 403, {"message": "The security token included in the request is invalid."}, "auth"),
    ("openai", 403, {"message": "The security token included in the request is expired"}, "auth"),
    ("openai", 400, error(code="Arrearage", type="Arrearage", message="Access denied"), "quota"),
    ("openai", 403, error(code="insufficient_user_quota", message="user quota is not enough"), "quota"),
    ("openai", 429, error(type="exceeded_current_quota_error", message="Your account is suspended"), "quota"),
    ("openai", 429, error(type="engine_overloaded_error", message="x"), "overload"),
    ("openai", 403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, "quota"),
    # Nobody's words
    ("openai", 200, {"id": "x", "object": "chat.completion", "choices": []}, "ok"),
    ("openai", 200, {"id": "x", "object": "response", "error": None}, "ok"),
    ("openai", 200, None, "ok"),
    ("", 204, None, "ok"),
    ("openai", 302, None, "request"),
    ("openai", 408, None, "server"),
    ("openai", 429, None, "rate"),
    ("openai", 429, b"<html>slow</html>", "rate"),
    ("openai", 502, b"<html>invalid api key</html>", "server"),
    ("openai", 504, None, "server"),
    ("openai", 418, {"error": {"code": "teapot"}}, "request"),
    ("unheard-of", 529, None, "overload"),
]  # fmt: skip


@each_row(("family", "status", "document", "kind"), TABLE)
def test_an_answer_is_judged_by_all_it_says(family, status, document, kind):
    assert classify(family, status, document).kind == kind


@pytest.mark.parametrize(
    ("family", "code", "message", "kind"),
    [
        ("anthropic", "overloaded_error", "Overloaded", "overload"),
        ("anthropic", "rate_limit_error", "", "rate"),
        ("anthropic", "api_error", "", "server"),
        ("anthropic", "invalid_request_error", "", "request"),
        ("anthropic", "authentication_error", "", "auth"),
        ("openai", "server_error", "", "server"),
        ("openai", "rate_limit_exceeded", "Please try again in 2s", "rate"),
        ("openai", "server_is_overloaded", "", "overload"),
        ("openai", "insufficient_quota", "", "quota"),
        ("openai", "context_length_exceeded", "", "request"),
        ("openai", "502", "Provider disconnected", "server"),
        ("openai", "429", "", "rate"),
        ("gemini", "UNAVAILABLE", "", "overload"),
        ("gemini", "RESOURCE_EXHAUSTED", "", "rate"),
        ("gemini", "503", "", "overload"),
        ("openai", "", "", "server"),
        ("openai", "never_heard_of", "what is this", "server"),
    ],
)
def test_an_error_inside_a_stream_is_judged_like_one_outside(family, code, message, kind):
    assert outcome.classify_error(family, code, message, NOW).kind == kind


def test_an_error_inside_a_stream_may_say_when_to_come_back():
    assert outcome.classify_error("openai", "rate_limit_exceeded", "Please try again in 2s", NOW).until == NOW + 2


@given(st.sampled_from(["openai", "anthropic", "gemini", ""]), st.integers(500, 599), st.text(max_size=40))
def test_an_unknown_error_never_takes_an_account_out_for_good(family, status, word):
    found = outcome.classify(family, Head(status, Headers()), Body(json.dumps({"error": word + "~"}).encode()), NOW)
    assert found.kind in ("server", "overload", "rate", "request")


def test_a_days_quota_belongs_to_the_lane_and_its_minutes_hint_is_not_believed():
    daily = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    short = classify("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "", daily, {"retryDelay": "46s"}))
    long = classify("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "", daily, {"retryDelay": "5723.5s"}))

    assert (short.kind, short.scope, short.until) == ("quota", "lane", None)
    assert long.until == NOW + 5723.5


@pytest.mark.parametrize(
    ("family", "status", "document", "scope"),
    [
        ("openai", 403, error(code="unsupported_country_region_territory"), "account"),
        ("openai", 403, error(message="Access denied due to Virtual Network/Firewall rules."), "account"),
        ("gemini", 400, google(400, "FAILED_PRECONDITION", "User location is not supported for it"), "account"),
        ("openai", 403, error(message="no"), "lane"),
        ("gemini", 403, google(403, "PERMISSION_DENIED"), "lane"),
        ("anthropic", 403, anthropic("permission_error"), "lane"),
    ],
)
def test_where_a_request_comes_from_is_denied_to_the_whole_account(family, status, document, scope):
    found = classify(family, status, document)
    assert (found.kind, found.scope) == ("permission", scope)


def test_how_far_an_outcome_reaches_is_said():
    assert classify("openai", 429).scope == "lane"
    assert classify("openai", 401).scope == "account"
    assert classify("openai", 429, error(code="insufficient_quota")).scope == "account"
    assert classify(
        "anthropic", 429, anthropic("rate_limit_error", details={"error_code": "credits_required"})
    ).scope == ("lane")
    assert classify("openai", 400).scope == "exchange"


def test_a_window_over_all_models_rests_the_account_and_one_over_a_model_does_not():
    wide = classify("anthropic", 429, anthropic("rate_limit_error"), anthropic_ratelimit_unified_5h_status="rejected")
    narrow = classify(
        "anthropic", 429, anthropic("rate_limit_error"), anthropic_ratelimit_unified_7d_oi_status="rejected"
    )

    assert (wide.kind, wide.scope) == ("rate", "account")
    assert (narrow.kind, narrow.scope) == ("rate", "lane")


def test_only_what_can_pass_by_itself_carries_a_time():
    assert classify("openai", 429, None, retry_after="7").until == NOW + 7
    assert classify("openai", 503, None, retry_after="7").until == NOW + 7
    assert classify("openai", 401, None, retry_after="7").until is None


def test_the_detail_quotes_our_table_and_never_the_upstream():
    told = classify("openai", 401, error(code="invalid_api_key", message="Incorrect API key provided: sk-secret"))
    strange = classify("openai", 400, error(code="sk-secret", message="sk-secret"))

    assert told.detail == "401 invalid_api_key"
    assert strange.detail == "400"


@given(st.binary(max_size=300), st.integers(100, 599))
def test_no_answer_makes_it_raise(raw, status):
    for family in ("openai", "anthropic", "gemini", ""):
        outcome.classify(family, Head(status, Headers()), Body(raw), NOW)


def test_a_deeply_nested_body_is_read_in_bounds():
    deep = b'{"error":' * 400 + b'"x"' + b"}" * 400
    wide = json.dumps({"error": {str(i): {"code": "insufficient_quota"} for i in range(10_000)}}).encode()

    assert classify("openai", 500, deep).kind == "server"
    assert len(outcome.error_body.read(Body(wide)).parts) <= 24


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_no_answer_at_all_is_the_servers(kind):
    found = outcome.classify_failure(kind)
    assert (found.kind, found.detail) == ("server", kind)


# --- what a user says of a provider


RULES = (
    ErrorRule(frozenset({400, 403}), "balance used up", "quota", 3600.0),
    ErrorRule(contains="come back later", outcome="overload"),
    ErrorRule(frozenset({404}), "", "server"),
    ErrorRule(frozenset({429}), "", None, 90.0),
    ErrorRule(contains="not_ours", outcome="request"),
)


def told(status, message="", code="", family="openai", **fields):
    head = Head(status, Headers((name.replace("_", "-"), value) for name, value in fields.items()))
    return outcome.classify(family, head, Body(json.dumps(error(message=message, code=code)).encode()), NOW, RULES)


@pytest.mark.parametrize(
    ("status", "message", "code", "kind", "wait"),
    [
        (400, "Your BALANCE used up!", "", "quota", 3600),
        (402, "balance used up", "", "quota", None),
        (500, "Come back later", "", "overload", None),
        (404, "whatever", "", "server", None),
        (429, "x", "", "rate", 90),
        (401, "x", "NOT_OURS", "request", None),
        (401, "x", "invalid_api_key", "auth", None),
    ],
)
def test_an_accounts_own_rules_go_before_the_tables(status, message, code, kind, wait):
    found = told(status, message, code)
    assert (found.kind, found.until) == (kind, None if wait is None else NOW + wait)


def test_a_rule_reaches_as_far_as_what_it_says():
    assert told(400, "balance used up").scope == "account"
    assert told(429).scope == "lane"
    assert told(401, code="not_ours").scope == "exchange"
    assert told(400, "balance used up sk-secret").detail == "400 by your rule"


def test_a_rules_time_goes_before_the_providers():
    assert told(429, retry_after="7").until == NOW + 90
    assert told(500, "come back later", retry_after="7").until == NOW + 7


def test_rules_are_asked_inside_a_stream_and_under_a_good_status_too():
    assert outcome.classify_error("openai", "x", "balance used up", NOW, RULES).kind == "server", "it has no status"
    assert outcome.classify_error("openai", "x", "please come back later", NOW, RULES).kind == "overload"
    assert told(200, "come back later").kind == "overload"


# --- can waiting cure it?

PAGE = b"<!DOCTYPE html><title>Just a moment...</title>"


@pytest.mark.parametrize(
    ("family", "status", "document", "kind"),
    [
        ("anthropic", 429, anthropic("rate_limit_error", "Extra usage is required for long context requests."),
         "quota"),
        ("anthropic", 400, anthropic("invalid_request_error", "The long context beta is not yet available for this "
                                     "subscription."), "quota"),
        ("anthropic", 403, anthropic("permission_error", "This beta is not enabled for your workspace"), "permission"),
        ("anthropic", 401, anthropic("authentication_error", "OAuth authentication is currently not supported."),
         "auth"),
        ("openai", 429, error(code="rate_limit_exceeded", message="Request too large: Limit 30000, Requested 31226."),
         "rate"),
        ("openai", 413, error(code="rate_limit_exceeded", message="Limit 6000, Requested 20000"), "request"),
        ("openai", 402, error(code=402, message="You requested up to 64000 tokens, but can only afford 5000"), "quota"),
        ("openai", 400, error(code="unsupported_value", message="Your organization must be verified"), "permission"),
        ("openai", 429, error(code="context_length_exceeded"), "rate"),
        ("openai", 403, error(code="unsupported_parameter", message="no"), "permission"),
    ],
)  # fmt: skip
def test_what_no_waiting_cures_is_for_another_account_and_rests_none(family, status, document, kind):
    """A1: a refusal that is about the request rests no account."""
    found = classify(family, status, document)
    assert (found.kind, found.scope) == (kind, "exchange")


@pytest.mark.parametrize(
    ("status", "document", "fields"),
    [
        (403, PAGE, {"cf_mitigated": "challenge"}),
        (403, None, {"cf_mitigated": "challenge"}),
        (403, None, {"via": "1.1 squid"}),
        (402, PAGE, {}),
        (401, b"\xef\xbb\xbf <html>", {}),
        (404, PAGE, {}),
        (405, PAGE, {}),
        (403, b"error code: 1020", {}),
        (404, b"404 page not found\n", {}),
        (407, None, {}),
        (418, None, {}),
        (426, b"Upgrade Required", {}),
    ],
)
def test_what_is_no_answer_of_an_api_is_a_fault_of_the_way(status, document, fields):
    """A2, A10: a challenge, a captive portal, a proxy, a server that knows no API."""
    found = classify("openai", status, document, **fields)
    assert (found.kind, found.detail) == ("server", f"{status} {outcome.NO_API}")
    assert classify("openai", 403, error(message="no"), **fields).kind == "permission", "an API said so"


@pytest.mark.parametrize(
    "message", ["Selected model is at capacity. Please try a different model.", "no capacity", "The server is too busy"]
)
@pytest.mark.parametrize("family", ["openai", "anthropic", "gemini"])
def test_no_capacity_is_an_overload_under_400_as_well(family, message):
    """A8: and with the model as the place of the fault."""
    assert classify(family, 400, error(type="invalid_request_error", message=message, param="model")).kind == "overload"
    assert classify(family, 400, error(code="invalid_value", message=message, param="tools")).kind == "request"


def test_what_only_a_status_says_is_bare():
    """A1: a code, words or a head of the provider's are evidence; a code that repeats the status is none."""
    for status, document in (
        (401, None),
        (402, None),
        (403, error(message="no")),
        (403, error(code="permission_denied")),
    ):
        assert classify("openai", status, document).status_only
    evidence = error(code="invalid_api_key"), error(message="Incorrect API key provided")
    assert not any(classify("openai", 401, document).status_only for document in evidence)
    assert not classify("openai", 401, None, www_authenticate='Bearer error="invalid_token"').status_only
    assert not classify("openai", 402, None, retry_after="600").status_only


# --- what follows from each part of an answer


@pytest.mark.parametrize(
    ("kind", "scope"),
    [("rate", "lane"), ("overload", "lane"), ("server", "lane"), ("permission", "lane"), ("model", "lane"),
     ("auth", "account"), ("quota", "account"), ("request", "exchange"), ("cancelled", "exchange"), ("ok", "lane")],
)  # fmt: skip
def test_an_outcome_reaches_as_far_as_its_kind_where_a_rule_states_none(kind, scope):
    rule = ErrorRule(frozenset({500}), "", kind)
    found = outcome.classify("openai", Head(500, Headers()), Body(b"x"), NOW, (rule,))
    assert (found.kind, found.scope) == (kind, scope)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "auth"), (402, "quota"), (403, "permission"), (408, "server"), (424, "server"), (425, "server"),
     (429, "rate"), (498, "overload"), (499, "cancelled"), (503, "overload"), (529, "overload"), (400, "request"),
     (498 - 1, "request"), (500, "server"), (599, "server")],
)  # fmt: skip
def test_a_status_alone_is_judged_by_a_table(status, kind):
    found = classify("openai", status)
    assert (found.kind, found.certain, found.status_only) == (
        kind, status in (401, 402), kind in ("auth", "quota", "permission"),
    )  # fmt: skip
    assert found.scope == ("exchange" if status == 408 else outcome.SCOPES[kind])


@pytest.mark.parametrize("status", [199, 200, 204, 299, 300, 302, 399])
def test_a_good_status_is_ok_and_a_redirect_is_none_of_the_accounts(status):
    found = classify("openai", status)
    assert (found.kind, found.detail) == (("ok", "") if 200 <= status < 300 else ("request", str(status)))


@pytest.mark.parametrize(
    ("window", "scope"), [("", "account"), ("-5h", "account"), ("-7d", "account"), ("-7d_oi", "lane")]
)
def test_each_window_over_all_models_rests_the_account(window, scope):
    fields = Headers([(f"anthropic-ratelimit-unified{window}-status", "Rejected")])
    body = Body(json.dumps(anthropic("rate_limit_error")).encode())
    assert outcome.classify("anthropic", Head(429, fields), body, NOW).scope == scope
    assert outcome.classify("anthropic", Head(401, fields), None, NOW).scope == "account"
    allowed = Headers([(f"anthropic-ratelimit-unified{window}-status", "allowed")])
    assert outcome.classify("anthropic", Head(429, allowed), body, NOW).scope == "lane"


@each_row(
    ("status", "message", "no_api"),
    [(status, PAGE, status not in (411, 413, 414, 415, 416, 417, 422, 429, 431)) for status in range(400, 432)]
    + [(500, PAGE, False), (502, PAGE, False), (407, b'{"error": "x"}', True), (418, b'{"error": "x"}', False),
       (426, b'{"error": "x"}', False), (404, b"error code: 1010 ", True), (404, b"error code: 2010", False),
       (404, b"404 page not found at all", False), (403, b" " * 256 + b"<html>", False)],
)  # fmt: skip
def test_a_page_is_no_answer_of_an_api_except_where_the_status_is_about_the_request(status, message, no_api):
    found = classify("openai", status, message)
    assert found.detail.endswith(outcome.NO_API) is no_api
    assert no_api <= (found.kind == "server")


@pytest.mark.parametrize(
    ("name", "value", "no_api"),
    [("cf-mitigated", "", True), ("x-squid-error", "x", True), ("proxy-authenticate", "x", True),
     ("x-iinfo", "x", True), ("ngrok-error-code", "x", True), ("x-amzn-waf-action", "x", True), ("via", "x", True),
     ("server", "CloudFront", True), ("server", "nginx/1.2", True), ("server", "uvicorn", False)],
)  # fmt: skip
def test_an_empty_answer_with_a_header_of_an_edge_is_no_answer_of_an_api(name, value, no_api):
    head = Head(403, Headers([(name, value)]))
    assert (outcome.classify("openai", head, None, NOW).kind == "server") is no_api
    edge = name not in ("via", "server")
    assert (outcome.classify("openai", head, Body(b"no entry"), NOW).kind == "server") is edge


@pytest.mark.parametrize("age", [900.0, 900.1])
def test_the_delay_of_a_daily_quota_is_believed_above_a_quarter_of_an_hour(age):
    daily = {"violations": [{"quotaId": "RequestsPerDay"}]}
    found = classify("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "", daily, {"retryDelay": f"{age}s"}))
    assert (found.until, found.detail) == (NOW + age if age > 900 else None, "429 per day")


def test_a_fault_by_a_code_is_certain_and_by_words_it_is_not():
    assert classify("openai", 403, error(code="insufficient_quota")).certain
    assert not classify("openai", 403, error(message="You exceeded your current quota")).certain
    assert not classify("openai", 400, error(code="context_length_exceeded")).certain


@pytest.mark.parametrize(
    ("place", "kind"),
    [("model", "model"), ("model_id", "model"), ("deployment", "model"), ("tools", "request"), ("models", "request")],
)
def test_a_code_about_a_model_counts_only_where_the_model_is_the_place(place, kind):
    assert classify("openai", 400, error(code="model_not_found", param=place)).kind == kind


def test_a_code_that_is_about_another_matter_counts_whatever_the_place():
    assert classify("openai", 401, error(code="invalid_api_key", param="tools")).detail == "401 invalid_api_key"


@pytest.mark.parametrize(("place", "kind"), [("", "auth"), ("api_key", "auth"), ("tools", "request")])
def test_a_phrase_counts_only_where_the_place_is_what_it_is_about(place, kind):
    assert classify("openai", 400, error(message="Incorrect API key provided", param=place)).kind == kind


@pytest.mark.parametrize(
    "elsewhere", ["Error while downloading https://x: ", "MCP server said: ", "tools.0: ", "The image URL: "]
)
def test_what_another_service_said_is_nothing_about_the_account(elsewhere):
    assert classify("openai", 400, error(message=f"{elsewhere}Incorrect API key provided")).kind == "request"
    assert classify("openai", 400, error(message=f"Incorrect API key provided. {elsewhere}")).kind == "auth"


def test_a_403_whose_code_blames_a_place_is_the_requests():
    assert classify("openai", 403, error(code="invalid_image_url", param="messages")).kind == "request"
    assert classify("openai", 403, error(code="invalid_image_url")).scope == "exchange"
    assert classify("openai", 500, error(code="invalid_image_url")).scope == "lane"


# --- a rule of the user's that the client's text meets


def by_rule(rule, sent, status=500, **members):
    body = Body(json.dumps(error(**members)).encode())
    return outcome.classify("openai", Head(status, Headers()), body, NOW, (rule,), ClientText(sent))


@pytest.mark.parametrize(
    ("sent", "members", "scope"),
    [
        (b'{"input": "balance used up"}', {"message": "balance used up"}, "exchange"),
        (b'{"input": "hello"}', {"message": "balance used up"}, "account"),
        (b'{"input": "x"}', {"code": "balance used up"}, "account"),
        (b'{"input": "balance used up"}', {"code": "balance used up"}, "exchange"),
    ],
)
def test_a_rule_that_the_clients_own_words_meet_costs_the_account_nothing(sent, members, scope):
    found = by_rule(ErrorRule(contains="Balance used up", outcome="quota", cooldown=60.0), sent, **members)
    assert (found.kind, found.scope, found.until) == ("quota", scope, None if scope == "exchange" else NOW + 60)
    assert found.detail == "500 by your rule"
    blameless = by_rule(ErrorRule(contains="balance used up", outcome="request"), sent, **members)
    assert (blameless.kind, blameless.scope) == ("request", "exchange")


@pytest.mark.parametrize(
    ("rule", "status_only", "scope"),
    [
        (ErrorRule(frozenset({403})), True, "lane"),
        (ErrorRule(frozenset({403}), cooldown=5.0), False, "lane"),
        (ErrorRule(frozenset({403}), outcome="permission"), False, "lane"),
        (ErrorRule(frozenset({403}), outcome="auth"), False, "account"),
    ],
)
def test_what_a_rule_states_is_no_longer_judged_by_the_status_alone(rule, status_only, scope):
    found = by_rule(rule, b"{}", 403, message="no")
    assert (found.status_only, found.scope) == (status_only, scope)


def test_a_rule_that_names_the_kind_gives_what_is_for_one_request_the_reach_of_that_kind():
    too_large = {"code": "rate_limit_exceeded", "message": "Request too large: Limit 3, Requested 4"}
    assert by_rule(ErrorRule(), b"{}", 429, **too_large).scope == "exchange"
    assert by_rule(ErrorRule(outcome="rate"), b"{}", 429, **too_large).scope == "lane"


QUOTED = "in the request's own words"


@pytest.mark.parametrize(
    ("status", "text", "members", "kind", "scope", "detail"),
    [
        (400, "incorrect api key provided", {"message": "Incorrect API key provided"}, "auth", "exchange", QUOTED),
        (400, "hello", {"message": "Incorrect API key provided"}, "auth", "account", "400"),
        (500, "incorrect api key provided", {"message": "Incorrect API key provided"}, "server", "lane", "500"),
        (429, "insufficient_quota", {"code": "insufficient_quota"}, "rate", "lane", "429"),
        (429, "hello", {"code": "insufficient_quota"}, "quota", "account", "429 insufficient_quota"),
        (429, "insufficient_quota", {"code": "insufficient_quota", "message": "You exceeded your current quota"},
         "quota", "account", "429"),
        (400, "context_length_exceeded", {"code": "context_length_exceeded"}, "request", "exchange",
         "400 context_length_exceeded"),
        (404, "other", {"code": "model_not_found", "message": "The model `other` does not exist"}, "model", "exchange",
         QUOTED),
        (404, "hello", {"code": "model_not_found", "message": "The model `m` does not exist"}, "model", "lane",
         "404 model_not_found"),
        (404, None, {"code": "model_not_found", "message": "The model `other` does not exist"}, "model", "lane",
         "404 model_not_found"),
        (404, "hello", {"message": "The model `m` does not exist"}, "model", "lane", "404"),
        (404, "the model `other` does not exist", {"message": "The model `other` does not exist"}, "model", "exchange",
         QUOTED),
        (404, None, {"message": "The model `m` does not exist"}, "model", "exchange", QUOTED),
    ],
)  # fmt: skip
def test_words_and_codes_that_the_request_holds_are_held_against_no_account(status, text, members, kind, scope, detail):
    raw = None if text is None else json.dumps({"model": "m", "input": text}).encode()
    body = Body(json.dumps(error(**members)).encode())
    found = outcome.classify("openai", Head(status, Headers()), body, NOW, (), ClientText(raw, model="m"))
    assert (found.kind, found.scope) == (kind, scope)
    assert found.detail == (f"{status} {QUOTED}" if detail == QUOTED else detail)


@pytest.mark.parametrize("status", [413, 429, 500])
def test_a_request_that_is_larger_than_a_limit_is_refused_alone(status):
    found = classify("openai", status, error(message="Limit 6000, Requested 20000"))
    assert found.detail == (f"{status} {outcome.ALONE}" if status != 500 else "500")
    assert found.scope == ("exchange" if status != 500 else "lane")


def test_an_error_that_states_a_time_is_not_about_the_size():
    too_large = error(message="Request too large")
    assert classify("openai", 429, too_large).scope == "exchange"
    timed = classify("openai", 429, too_large, retry_after="7")
    assert (timed.scope, timed.until, timed.detail) == ("lane", NOW + 7, "429")


def test_a_detail_names_our_code_and_our_reason():
    found = classify("openai", 403, error(code="unsupported_country_region_territory"))
    assert found.detail == "403 unsupported_country_region_territory region or network not supported"
    assert outcome.classify_error("openai", "overloaded_error", "", NOW).detail.startswith("in stream")


# --- facts of hosts, in whatever dialect they are asked

KEY_DETAILS = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
BAD = "invalid_request_error"
# How hosts say that the model, the key or the money of the account is the matter.
OF_HOSTS = [
    (400, google(400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", KEY_DETAILS), "auth"),
    (400, [google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", KEY_DETAILS)], "auth"),
    (400, [google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")], "auth"),
    (403, [google(403, "PERMISSION_DENIED", "Your API key was reported as leaked.")], "auth"),
    (400, error(message=json.dumps(google(400, "x", "API key not valid. Please pass a valid API key.")), code=400),
     "auth"),
    (404, [google(404, "NOT_FOUND", "models/x is not found for API version v1main, or is not supported for "
                  "generateContent.")], "model"),
    (404, google(404, "NOT_FOUND", "Publisher Model `projects/p/models/x` was not found or your project does not have "
                 "access to it."), "model"),
    (400, [google(400, "FAILED_PRECONDITION", "User location is not supported for the API use.")], "permission"),
    (429, [google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing",
                  {"@type": "type.googleapis.com/google.rpc.QuotaFailure"})], "rate"),
    (429, [google(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, limit: 0, model: g",
                  {"@type": "type.googleapis.com/google.rpc.Help"})], "model"),
    (400, anthropic(BAD, "This organization has been disabled."), "auth"),
    (400, anthropic(BAD, "Your credit balance is too low to access the Anthropic API."), "quota"),
    # LiteLLM in its four shapes
    (400, error(message="/chat/completions: Invalid model name passed in model=x. Call `/v1/models` to view available "
                "models for your key.", type="None", param="None", code="400"), "model"),
    (400, error(message={"error": "/chat/completions: Invalid model name passed in model=x."}, code="400"), "model"),
    (400, error(message="400: {'error': '/responses: Invalid model name passed in model=x. Call it'}"), "model"),
    (400, {"detail": {"error": "Invalid model name passed in model=x"}}, "model"),
    (401, error(message="key not allowed to access model. Tried to access x", type="key_model_access_denied",
                param="model", code="401"), "model"),
    (401, error(message="Team not allowed to access model. Team=t, Model=x", code="401"), "model"),
    (400, error(message="Model Not Exist", type=BAD, code=BAD), "model"),
    (404, error(message="Not found the model x or Permission denied", type="resource_not_found_error"), "model"),
    (400, error(code="unknown_model", message="no", details="no"), "model"),
    (400, error(message="Unknown model: gpt-9"), "model"),
    (400, error(message="Invalid model 'x'. Permitted models are listed", type="invalid_model"), "model"),
    (400, {"object": "error", "message": "Invalid model: x", "type": BAD, "param": None, "code": "1500"}, "model"),
    (400, error(code="1211", message="模型不存在,请检查模型代码。"), "model"),
    (429, error(code="1113", message="您的账户已欠费,请充值后重试。"), "quota"),
    (400, {"message": "invalid api token"}, "auth"),
    (401, {"message": "invalid api token"}, "auth"),
    (400, error(message="The API key you provided is invalid", type=BAD), "auth"),
    (400, {"errors": ["API key has been revoked"]}, "auth"),
    (400, {"errors": [{"message": "Invalid API key"}]}, "auth"),
    (400, {"fault": {"faultstring": "Invalid API key", "detail": {"errorcode": "x"}}}, "auth"),
    (403, error(code="AccountOverdueError", message="The request failed.", type="Forbidden"), "quota"),
    (403, error(message="The request failed because your account has an overdue balance."), "quota"),
    (404, error(code="InvalidEndpointOrModel.NotFound", message="no", type="NotFound"), "model"),
    (404, error(code="x", message="The model or endpoint m does not exist or you do not have access to it."), "model"),
    (404, error(code="ModelNotOpen", message="Your account 1 has not activated the model m."), "model"),
    (400, error(message="The requested model is not supported.", code="model_not_supported", param="model", type=BAD),
     "model"),
    (400, error(message="The requested model is not supported.", type=BAD), "model"),
    (400, error(message="The requested model 'x' is not supported by any provider you have enabled.", type=BAD),
     "model"),
    (401, error(message="Model minimax-m3-free is not supported"), "model"),
    (400, {"detail": "The 'x' model is not supported when using Codex with a ChatGPT account."}, "model"),
    (410, {"error": "The requested model is deprecated and no longer supported by provider y."}, "model"),
    (400, error(message="The model `x` has been decommissioned and is no longer supported.", type=BAD), "model"),
    (404, {"message": "Model x does not exist or you do not have access to it.", "type": "not_found_error",
           "param": "model"}, "model"),
    (400, {"code": 20012, "message": "Model does not exist. Please check it carefully.", "data": None}, "model"),
    (404, error(message="Model not found, inaccessible, and/or not deployed", code="NOT_FOUND"), "model"),
    (404, error(message="Unable to access model foo. Please visit the list of models.", type=BAD), "model"),
    (404, error(message='Failed to load model "x"', type=BAD, param="model"), "model"),
    (404, {"code": "Some requested entity was not found", "error": "The model x does not exist or your team t does not "
           "have access to it."}, "model"),
    (400, {"object": "error", "message": "The model x does not exist", "type": "BadRequestError", "code": 400},
     "model"),
    (404, {"error": 'model "x" not found, try pulling it first'}, "model"),
    (404, {"error": {"message": "model 'x' not found", "type": "api_error", "param": None, "code": None}}, "model"),
    (400, {"message": "The provided model identifier is invalid.", "__type": "ValidationException"}, "model"),
    (403, {"message": "You don't have access to the model with the specified model ID."}, "model"),
    (404, {"status": 404, "title": "Not Found", "detail": "Function '1-2': Not found for account 'a'"}, "model"),
    (400, error(message="Model x is not servable in region us-central1"), "model"),
    (400, error(message="foo/bar is not a valid model ID", code=400), "model"),
    (404, error(message="Cannot find model x", type=BAD), "model"),
    (404, error(message="Model x is currently not available", type=BAD), "model"),
    (404, error(code="DeploymentNotFound", message="The API deployment for this resource does not exist."), "model"),
]  # fmt: skip


@each_row(("status", "document", "kind"), OF_HOSTS)
@each_row("family", ["openai", "anthropic", "gemini", ""])
def test_what_a_host_says_of_an_account_means_the_same_in_every_dialect(family, status, document, kind):
    found = classify(family, status, document)
    assert (found.kind, found.scope) == (kind, "account" if kind == "permission" else outcome.SCOPES[kind])


# How hosts say that the request is the matter, with the words of the table above near by.
OF_REQUESTS = [
    (400, error(message="This model does not support images", type=BAD)),
    (400, error(message="The model does not support image input. Invalid content type.", type=BAD)),
    (400, error(message="max_tokens is too large for model x: 99999", type=BAD, param="max_tokens")),
    (400, error(message="max_tokens: 9 > 8, which is the maximum allowed number of output tokens for x", type=BAD)),
    (404, error(message="Tool 'x' not found", type=BAD)),
    (400, error(message="The model called tool t, and the tool was not found", type=BAD)),
    (404, error(message="File file-1 not found", type=BAD)),
    (404, error(message="The model could not read the file: file not found", type=BAD)),
    (400, error(message="Previous response with id 'resp_1' not found.", type=BAD, code="previous_response_not_found")),
    (404, error(message="Item with id 'rs_1' not found. Items are not persisted", type=BAD)),
    (404, error(message="Conversation with id 'c' not found.", type=BAD)),
    (404, error(message="Vector store vs_1 does not exist", type=BAD)),
    (404, error(message="No tool call found for function call output with call_id c", type=BAD)),
    (400, error(message="Invalid model parameters: temperature is above 2", type=BAD)),
    (400, error(message="Invalid model response format", type=BAD)),
    (400, error(message="Unsupported model feature: logprobs", type=BAD)),
    (400, error(message="Unsupported parameter: 'top_p' is not supported with this model.", type=BAD)),
    (400, error(message="Function calling is not supported for model x in this mode", type=BAD)),
    (400, error(message="Model x is not supported for tool use", type=BAD)),
    (400, error(message="The `functions` member was removed: model output message not found", type=BAD)),
    (400, error(message="could not find model response with id 3", type=BAD)),
    (400, error(message="not find model file", type=BAD)),
    (400, error(message="Could not find model in request body", type=BAD)),
    (400, error(message="This model is no longer supported with the seed parameter", type=BAD)),
    (400, error(message="Model m does not support the developer role: not found", type=BAD)),
    (404, error(message="No endpoints found that support image input", code=404)),
    (404, error(message="Not Found")),
    (400, error(message="Model's maximum context length is 8 tokens", type=BAD, code="context_length_exceeded")),
    (400, error(message="Invalid token in JSON at position 3", type=BAD)),
    (400, error(message="The image's key is expired", type=BAD)),
    (400, error(message="tool web_search failed: API token expired", type=BAD)),
    (400, error(message="Invalid value for 'model': unknown", type=BAD, param="tools[0].model")),
    (400, {"object": "error", "message": "model m: Invalid API key", "type": BAD, "param": "tools"}),
    (400, error(message="The text “the model x does not exist” was rejected", type=BAD)),
    (400, error(message="Bad prompt: 'invalid model name passed in model=x'", type=BAD)),
    (400, error(message="请求内容不合法: 模型不存在", type=BAD)),
    (400, error(message="内容不合法: 账户已欠费", type=BAD)),
    (422, {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]}),
    (422, {"detail": ["messages: unknown role"]}),
    (400, [google(400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name \"foo\"")]),
    (404, [google(404, "NOT_FOUND", "Requested entity was not found.")]),
    *((status, None) for status in (404, 405, 409, 410, 451)),
]  # fmt: skip


@each_row(("status", "document"), OF_REQUESTS)
@each_row("family", ["openai", "anthropic", "gemini", ""])
def test_a_fault_of_the_request_is_delivered_in_every_dialect(family, status, document):
    found = classify(family, status, document)
    assert (found.kind, found.scope) == ("request", "exchange")


@pytest.mark.parametrize(
    "words",
    ["invalid model name passed in model=x", "the requested model is not supported.", "not found the model x",
     "api key not valid", "model access denied", "model x has been retired", "模型不存在"],
)  # fmt: skip
def test_the_words_of_a_host_count_for_nothing_where_the_client_wrote_them(words):
    sent = ClientText(json.dumps({"model": "m", "input": f"Please explain: {words}"}, ensure_ascii=False).encode())
    body = Body(json.dumps(error(message=words, type=BAD)).encode())
    assert outcome.classify("openai", Head(400, Headers()), body, NOW).scope != "exchange"
    found = outcome.classify("openai", Head(400, Headers()), body, NOW, (), sent)
    assert found.scope == "exchange"
