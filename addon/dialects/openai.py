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
from .outcome_rules import AT_ONCE, BUSY, FROM_HERE, NO_MODEL, PLAN, ZERO_LIMIT, rule_for

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

_UNSERVED = "400 401 403 404 410 422"  # the statuses with which hosts say that they do not serve a model
_PART = (r"(?<!\S)(tool|function|file|image|adapter|response|message|prompt|conversation|item|url|output|template|"
         r"param|field|input|support|in request)")  # fmt: skip

OUTCOME_RULES = (
    ZERO_LIMIT,
    rule_for("rate", "type.googleapis.com/google.rpc.quotafailure type.googleapis.com/google.rpc.retryinfo",
             statuses="429"),  # its message has the words of a used up quota
    rule_for("rate", "in_flight_budget_exhausted"),
    rule_for("quota", "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded "
                      "project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached "
                      "billing_not_active usage_limit_reached usage_not_included insufficient_balance "
                      "insufficient_credits payment_required openrouter_credits openrouter_key_limit budget_exceeded "
                      "insufficient_user_quota exceeded_current_quota_error arrearage accountoverdueerror"),
    rule_for("quota", phrase=r"insufficient (balance|credits?|funds)|balance is insufficient|overdue balance|"
                             r"exceeded your current quota|credit balance|used all (of )?(your )?available credits|"
                             r"(monthly|spending|spend) limit|^\w{0,12}(欠费|余额不足)|"
                             r"(doesn't|does not) have any credits|key limit exceeded", statuses="400 402 403 412 429"),
    rule_for("auth", "invalid_api_key incorrect_api_key authentication_error token_invalidated token_revoked "
                     "token_expired expired_token expired_key invalid_token account_deactivated unauthenticated "
                     "organization_restricted",
             r"(incorrect|invalid|expired) (x-)?api[\s-]?(key|token)|oauth token (has|is|was) (been )?(expired|revoked)"
             r"|api[\s-]?(key|token)( you| provided| is| was| has| been){0,4} "
             r"(not valid|invalid|incorrect|expired|revoked|disabled|not found)|reported as leaked|no auth credentials|"
             r"api_key_invalid|ip (address )?(is )?not authorized|"
             r"security token included in the request is (invalid|expired)", "400 401 403"),
    rule_for("auth", phrase=r"authentication fail|token (has )?expired|"
                            r"invalid (authentication|credentials|subscription key)", statuses="401"),
    rule_for("request", "content_policy_violation content_filter moderation_blocked moderation flagged_input "
                        "invalid_prompt", r"\bmoderation\b|\bflagged\b|content polic", "400 403"),
    NO_MODEL,
    rule_for("model", "model_not_found model_not_available model_not_supported unsupported_model invalid_model "
                      "unknown_model unavailable_model deploymentnotfound invalidendpointormodel.notfound "
                      "modelnotfound model_decommissioned", statuses=_UNSERVED),
    # "No endpoints found that support image input" and "model m: tool t not found" are about the request
    rule_for("model", phrase=rf"\bmodel\b(?:(?!{_PART}).){{0,160}}(?P<end>(does(n't| not)|not) exist|"
                             r"not (be )?found|is (currently )?not available|no longer (available|supported)(?! with)|"
                             r"(has been|is|was) (deprecated|decommissioned|retired)|"
                             r"not supported.{0,60}\b(account|plan|provider|tier)\b)|"
                             r"\S{1,160} is not a valid model|^no endpoints found(?! (that|with|matching)\b)|"
                             r"\bmodels/\S{1,160} is not (found|supported)|\bnot found for account\b|"
                             rf"\bmodel( (?!{_PART})\S{{1,160}})? is (not supported|invalid)(?=[.!]|\Z)|"
                             r"\b(invalid|unknown|no such) model( name| id)?(?= ?[:=,.;'\"`(]| (passed|specified)\b|"
                             r" \S*\d|\Z)|"
                             r"\b((can)?not find|not found|unable to (access|find|load)|failed to (find|load)) (the )?"
                             rf"(requested )?model\b(?! ?{_PART})|^\w{{0,8}}模型[\0-~]{{0,80}}(不存在|未开通)",
             statuses=_UNSERVED),
    rule_for("model", phrase=r"\bmodel\b.{0,80}(?P<end>not (available|supported|servable) in (your|this)? ?"
                             r"(region|country))", statuses=_UNSERVED, why="not in this region"),
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
            cache_write=tokens.count(details, "cache_write_tokens", "cache_creation_tokens") if details else 0,
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
