"""The parts that both OpenAI dialects share (errors, usage, account-bound fields), and the dialect of other paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..values import header_names
from ..values.answer import Fact, Usage
from ..values.decision import Refusal
from . import errors, tokens
from .dialect import BoundField, Dialect
from .outcome_rules import AT_ONCE, BUSY, CLIENT_ERRORS, FROM_HERE, NO_MODEL, PLAN, rule_for

FAMILY = "openai"
VENDOR = "OpenAI"
BOUND_FIELDS = (BoundField("prompt_cache_options.comparison_response_id"), BoundField(header=header_names.TURN_STATE))
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 408: "timeout_error", 429: "rate_limit_error", 503: "server_error", 504: "timeout_error",
    529: "server_error",
}  # fmt: skip
_TYPES_OF_CODES = {"insufficient_quota": "insufficient_quota", "model_not_found": "invalid_request_error"}
# Things that a path of no dialect may store, by the beginning of their `object` or `type`.
_STORED = tuple("thread assistant video eval chatkit agent session environment vault memory_store".split())

OUTCOME_RULES = (
    rule_for("rate", "in_flight_budget_exhausted"),
    rule_for("quota", "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded "
                      "project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached "
                      "billing_not_active usage_limit_reached usage_not_included insufficient_balance "
                      "insufficient_credits payment_required openrouter_credits openrouter_key_limit budget_exceeded "
                      "insufficient_user_quota exceeded_current_quota_error arrearage"),
    rule_for("quota", phrase=r"insufficient (balance|credits?|funds)|balance is insufficient|"
                             r"exceeded your current quota|credit balance|used all (of )?(your )?available credits|"
                             r"(monthly|spending|spend) limit|"
                             r"(doesn't|does not) have any credits|key limit exceeded", statuses="400 402 403 412 429"),
    rule_for("auth", "invalid_api_key incorrect_api_key authentication_error token_invalidated token_revoked "
                     "token_expired expired_token expired_key invalid_token account_deactivated unauthenticated "
                     "organization_restricted",
             statuses="400 401 403"),
    rule_for("auth", phrase=r"(incorrect|invalid) api key|api key (is )?(not valid|invalid|expired|revoked|disabled)|"
                            r"no auth credentials|ip (address )?(is )?not authorized|"
                            r"security token included in the request is (invalid|expired)", statuses="400 401 403"),
    rule_for("auth", phrase=r"authentication fail|token (has )?expired|"
                            r"invalid (authentication|credentials|subscription key)", statuses="401"),
    rule_for("request", "content_policy_violation content_filter moderation_blocked moderation flagged_input "
                        "invalid_prompt", statuses="400 403"),
    rule_for("request", phrase=r"\bmoderation\b|\bflagged\b|content polic", statuses="400 403"),
    NO_MODEL,
    rule_for("model", "model_not_found model_not_available unsupported_model invalid_model deploymentnotfound "
                      "model_decommissioned", statuses="400 403 404"),
    # "No endpoints found that support image input" is about the request
    rule_for("model", phrase=r"\bmodel\b.{0,160}(?P<end>does not exist|not found|is not available)|"
                             r"\S{1,160} is not a valid model|^no endpoints found(?! (that|with|matching)\b)",
             statuses="400 403 404"),
    rule_for("model", phrase=r"\bmodel\b.{0,80}(?P<end>not (available|supported) in (your|this) (region|country))",
             statuses="400 403 404", why="not in this region"),
    rule_for("overload", "server_is_overloaded overloaded overloaded_error engine_overloaded engine_overloaded_error "
                         "model_overloaded model_at_capacity capacity_exceeded service_tier_capacity_exceeded"),
    rule_for("overload", "service_unavailable_error service_unavailable unavailable",
             statuses="429 498 500 502 503 529"),
    BUSY,
    AT_ONCE,
    PLAN,
    rule_for("rate", "rate_limit_exceeded rate_limit_error rate_limited slow_down too_many_requests "
                     "resource_exhausted tokens requests", statuses="429 500 503"),
    FROM_HERE,
    rule_for("permission", "permission_error permission_denied forbidden", statuses="403", status_only=True),
    rule_for("request", "invalid_request_error context_length_exceeded invalid_encrypted_content invalid_image "
                        "string_above_max_length unsupported_parameter unsupported_value invalid_value "
                        "invalid_type missing_required_parameter request_too_large previous_response_not_found "
                        "unprocessable_entity bad_request badrequesterror", statuses=CLIENT_ERRORS),
    rule_for("server", "server_error internal_error internal_server_error api_error", statuses="500 502 503 504"),
)  # fmt: skip


def usage(data: object, prompt: str, completion: str) -> Iterator[Fact]:
    """Yield the `usage` of an answer. Some servers name *prompt* and *completion* as the other dialect does."""
    if not isinstance(data, dict):
        return
    details = tokens.member(data, f"{prompt}_details")
    yield Fact(
        "usage",
        Usage(
            prompt=tokens.count(data, prompt, "prompt_tokens", "input_tokens"),
            completion=tokens.count(data, completion, "completion_tokens", "output_tokens"),
            cached=tokens.count(details, "cached_tokens") or tokens.count(data, "prompt_cache_hit_tokens"),
            cache_write=tokens.count(details, "cache_write_tokens", "cache_creation_tokens"),
        ),
    )


def error_object(refusal: Refusal) -> dict[str, Any]:
    """Return the object that stands under `error`."""
    kind = _TYPES_OF_CODES.get(refusal.code) or errors.word(_TYPES, refusal.status, "api_error")
    kind = "usage_limit_reached" if errors.is_limit(refusal) else kind
    inner = {"message": refusal.message, "type": kind, "param": refusal.fields.get("param"), "code": refusal.code}
    return {**inner, **{name: value for name, value in refusal.fields.items() if name not in inner}}


def error(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error answer. The shape has no place for *request_id*; it travels in a header."""
    return msgspec.json.encode({"error": error_object(refusal)})


def error_event(refusal: Refusal, request_id: str) -> bytes:
    """Return the event that ends a stream with an error: no `[DONE]` follows, or it would read as success."""
    return b"data: " + error(refusal, request_id) + b"\n\n"


def _read_stored(name: str, data: dict[str, Any]) -> Iterator[Fact]:
    # no other fact: not even an `error` in a good answer means the same everywhere
    kind = data.get("object") or data.get("type")
    if not name and isinstance(kind, str) and kind.startswith(_STORED):
        yield from tokens.token(data.get("id"), "file")


NO_DIALECT = Dialect(
    name="",
    family="",
    endpoint=lambda method, path: None,
    read=_read_stored,
    error=error,  # the shape that most tools can show
    error_event=error_event,
)
