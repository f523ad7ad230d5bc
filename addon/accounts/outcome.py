"""
What does an answer say about its account? By status, code words and phrases, never by the status alone.

Each family has a table, read from the top; the first row that fits decides. What no row knows is judged by its status,
and never as something an account cannot come back from.

A phrase is the weakest evidence, since providers quote what clients write. It counts only in the provider's own words,
not where a code or a place in the request says that the request is at fault, and if the request itself holds the words,
for this exchange alone: it moves on, and nothing follows for the account.

Before a lane rests there is one question: can waiting cure this? A refusal about the request alone has the scope
`none`. One that only its status speaks for is `bare`: `shared.Shared.doubts` decides whether an account rests for it.
What is no answer of an API at all (a page, a challenge, a proxy's refusal) is a passing fault of the way: `server`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from ..body import Body
from ..values.account import ErrorRule, OutcomeKind
from ..values.answer import Head
from ..values.decision import Outcome
from ..values.http import Headers
from . import error_body, limits, quoted_text
from .error_body import ErrorBody
from .quoted_text import ClientText

Scope = Literal["lane", "account", "none"]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One row: any of *codes*, or *phrase* in the message, under one of *statuses* (none: under all) means *kind*.

    Inside a stream there is no status; codes and phrases decide alone. *bare*: the row says no more than the status.
    """

    kind: OutcomeKind
    codes: frozenset[str] = frozenset()
    phrase: re.Pattern[str] | None = None
    statuses: frozenset[int] = frozenset()
    scope: Scope | None = None
    bare: bool = False
    why: str = ""  # one of `refusals.REASONS`, where the client is to be told more than the kind

    @property
    def is_blameless(self) -> bool:
        """Whether nothing follows for the account."""
        return self.kind in BLAMELESS or self.scope == "none"

    def fits(self, status: int, said: ErrorBody) -> bool:
        """Say whether this row is about an error of *status* (0: inside a stream) that said *said*."""
        if status and self.statuses and status not in self.statuses:
            return False
        return bool(self.coded(said)) or bool(self.found(said))

    def coded(self, said: ErrorBody) -> frozenset[str]:
        """Return the codes of this row that were said; those of a model, unless another place has the fault."""
        elsewhere = self.kind == "model" and said.place and not _ABOUT["model"].search(said.place)
        return frozenset() if elsewhere else self.codes & said.codes

    def found(self, said: ErrorBody) -> re.Match[str] | None:
        """Find the phrase in the provider's own words; a row without consequences is also met by quoted ones."""
        if not self.phrase:
            return None
        if self.is_blameless:
            return self.phrase.search(said.message)
        at_fault = _blames_request(said.codes) or (bool(said.place) and not _ABOUT[self.kind].search(said.place))
        found = None if at_fault else self.phrase.search(said.own)
        return None if found and _ELSEWHERE.search(said.own, 0, found.start()) else found

    def is_told_by_client(self, said: ErrorBody, sent: ClientText) -> bool:
        """Say whether everything for which this row fits may be words of the client's."""
        if self.is_blameless:
            return False
        codes, found = self.coded(said), self.found(said)
        if codes and not all(sent.hold_code(code) for code in codes):
            return self.kind == "model" and sent.is_known and sent.hold_other_name(said.message)
        if not found or self.kind != "model":
            return not found or sent.hold(said.own, *found.span())
        # quotation marks stand around the name of a model too, so what is in them is looked at
        is_end = "end" in found.re.groupindex and sent.hold_end(said.own, *found.span("end"))
        return is_end or sent.hold(said.message, *found.span(), names_model=True)


def _rule(
    kind: OutcomeKind,
    codes: str = "",
    phrase: str = "",
    statuses: str = "",
    scope: Scope | None = None,
    *,
    bare: bool = False,
    why: str = "",
) -> Rule:
    pattern = re.compile(phrase) if phrase else None
    return Rule(kind, frozenset(codes.split()), pattern, frozenset(map(int, statuses.split())), scope, bare, why)


# How far an outcome reaches when its row does not say: credentials and money belong to the account, the rest to a lane.
SCOPES: Mapping[OutcomeKind, Scope] = MappingProxyType({
    "ok": "lane", "rate": "lane", "overload": "lane", "server": "lane", "permission": "lane", "model": "lane",
    "auth": "account", "quota": "account", "request": "none", "cancelled": "none",
})  # fmt: skip

BLAMELESS: frozenset[OutcomeKind] = frozenset({"request", "cancelled", "ok"})  # nothing follows for the account

# A place in the request that is named as wrong rules a phrase out, unless that is what the phrase is about.
_KEY_PLACE = re.compile(r"api.?key|authorization|credential|token$")
_NOWHERE = re.compile(r"(?!)")
_ABOUT: Mapping[OutcomeKind, re.Pattern[str]] = MappingProxyType({
    **dict.fromkeys(("rate", "server", "quota", "permission", "request", "cancelled", "ok"), _NOWHERE),
    **dict.fromkeys(("model", "overload"), re.compile(r"^(model|deployment|engine)(_?id|_?name)?$")),
    "auth": _KEY_PLACE,
})  # fmt: skip

# What stands behind these words was said by another service that the request names: the host of an image, a tool's or
# an MCP server. It says nothing about our account. So does what follows a place in the request (`tools.0: …`).
_ELSEWHERE = re.compile(
    r"\b(downloading|download (the|image|file)|fetch(ing)?|retriev(e|ing)|connect(ing)? to (the )?(url|mcp|remote)|"
    r"mcp|connector|webhook|tool (call|server|execution)|(tool|function|plugin)s? \S{1,80} (failed|returned|error))\b|"
    r"\b(provided|remote|image|file|document) url\b|"
    r"(\A|\s)(messages|contents|input|tools|mcp_servers|instructions|system|attachments)(\.\d+|\[\d+\])+"
)

# Some answer with 500 what they would not accept. With 401, 402, 403 and 429 a generic code says less than the status.
_CLIENT = "400 404 405 409 412 413 415 422 500"

# Refusals about this request alone: waiting cures none of them, and another account may have the plan, the feature or
# the larger limit that it needs. They stand before everything else, and a client that quotes them gains nothing.
_TOO_LARGE = (
    r"request (is )?too large|tokens must be reduced|"
    r"reduce (the (length|size|number)|your (message|prompt|input|request))|"
    r"(prompt|input|request|message) is too (long|large)|(context|prompt) (length |window )?(exceed|too (long|large))|"
    r"exceeds? the (model'?s? )?(maximum|context|max)|maximum context length"
)
# What a request may name, and be denied by itself.
_THING = (
    r"(files?|cached ?contents?|caches?|tools?|connectors?|mcp|vector stores?|containers?|prompts?|batch(es)?|"
    r"assistants?|threads?|skills?|conversations?|features?|web_search|attachments?|tuned ?models?)"
)
_ALONE = (
    _rule("quota", phrase=r"extra usage is required|requires? extra usage|\blong[ -]context\b.{0,60}\b(requires?|"
                          r"not (yet )?(available|enabled|supported|included))|"
                          r"usage credits? (is|are) required|draws? from your extra usage|"
                          r"requires more credits, or fewer|can only afford", scope="none"),
    _rule("permission", phrase=r"organization must be verified|only authorized for use with claude code|"
                               r"\bbeta\b.{0,80}\bnot (yet )?(available|enabled|supported|allowed|authorized)|"
                               r"(unexpected|unsupported|unknown|invalid) value.{0,80}\banthropic-beta\b",
          scope="none"),
    _rule("auth", phrase=r"oauth authentication is currently not supported", scope="none"),  # without its beta header
    _rule("rate", phrase=_TOO_LARGE, statuses="413 429", scope="none"),
    _rule("request", phrase=r"\bonly supported in (the )?v1/|not supported in the v1/|not a chat model",
          statuses="400 404"),
    # Another account may have the thing that the request names; a file or a cache that is gone, no account has.
    _rule("permission", "missing_scope missing_scopes",
          rf"\b(permissions?|access|authorized|allowed|entitled|enabled)\b.{{0,60}}\b{_THING}\b|"
          rf"\b{_THING}\b.{{0,120}}\b(not (be )?(accessible|found|available|allowed|permitted|enabled|supported)|"
          r"(may|does) not exist)|\bmissing scopes?\b", "403", "none"),
    _rule("permission", phrase=r"\bdata policy\b|\bprivacy settings\b", statuses="403 404", scope="none"),
    # What a tool's server or a connector of the user's did, and what a model made of a prompt, no account cures.
    _rule("request", "external_connector_error connector_error mcp_error tool_error",
          r"\bmcp server\b|\b(external|your) connector\b|\btool list\b", "424 500 502"),
    _rule("request", phrase=r"\bmodify(ing)? (your|the) (prompt|input|request)\b", statuses="500"),
)  # fmt: skip

# A 429 that speaks of a plan and of no time. It may be about a feature of this request or about the whole account.
_PLAN = _rule("quota", phrase=r"\b(on|in) your (current )?plan\b|\bupgrade your plan\b", statuses="429", bare=True)

# Too much to do for the moment, whatever the status: some say it under 400.
_BUSY = _rule("overload", phrase=r"(high|heavy) (demand|load|traffic)|overloaded|too busy|"
                                 r"\b(server|engine|model|service|system|gpus|workers|slots) (is |are )?"
                                 r"(currently |all )?(busy|warming up|starting up|in use)\b|"
                                 r"temporarily (unavailable|overloaded)|"
                                 r"(over|at|exceed(s|ed)) (its |max(imum)? |full )?capacity|capacity exceeded|"
                                 r"(no|insufficient|not enough|limited) capacity",
              statuses="400 404 409 422 424 429 498 500 502 503 529")  # fmt: skip

_AT_ONCE = _rule("rate", phrase=r"too many (concurrent|simultaneous|pending|queued) requests",
                 statuses="400 409 422 500 503")  # fmt: skip

# What a denial is about: this model, or where the request comes from, which is no better for any other model.
_NO_MODEL = _rule(
    "model",
    phrase=r"\b(not have|no|without) access to (the |this )?(requested )?model\b",
    statuses="403 404",
    why="model not allowed",
)
_FROM_HERE = _rule("permission", "unsupported_country_region_territory",
                   r"(country|region|territory|location) (is )?not supported|virtual network|firewall rules|"
                   r"public (network )?access is disabled", "403",
                   scope="account", why="region or network not supported")  # fmt: skip

OPENAI = (
    _rule("rate", "in_flight_budget_exhausted"),
    _rule("quota", "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded "
                   "project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached "
                   "billing_not_active usage_limit_reached usage_not_included insufficient_balance "
                   "insufficient_credits payment_required openrouter_credits openrouter_key_limit budget_exceeded "
                   "insufficient_user_quota exceeded_current_quota_error arrearage"),
    _rule("quota", phrase=r"insufficient (balance|credits?|funds)|balance is insufficient|"
                          r"exceeded your current quota|credit balance|used all (of )?(your )?available credits|"
                          r"(monthly|spending|spend) limit|"
                          r"(doesn't|does not) have any credits|key limit exceeded", statuses="400 402 403 412 429"),
    _rule("auth", "invalid_api_key incorrect_api_key authentication_error token_invalidated token_revoked "
                  "token_expired expired_token expired_key invalid_token account_deactivated unauthenticated "
                  "organization_restricted",
          statuses="400 401 403"),
    _rule("auth", phrase=r"(incorrect|invalid) api key|api key (is )?(not valid|invalid|expired|revoked|disabled)|"
                         r"no auth credentials|ip (address )?(is )?not authorized|"
                         r"security token included in the request is (invalid|expired)", statuses="400 401 403"),
    _rule("auth", phrase=r"authentication fail|token (has )?expired|"
                         r"invalid (authentication|credentials|subscription key)", statuses="401"),
    _rule("request", "content_policy_violation content_filter moderation_blocked moderation flagged_input "
                     "invalid_prompt", statuses="400 403"),
    _rule("request", phrase=r"\bmoderation\b|\bflagged\b|content polic", statuses="400 403"),
    _NO_MODEL,
    _rule("model", "model_not_found model_not_available unsupported_model invalid_model deploymentnotfound "
                   "model_decommissioned", statuses="400 403 404"),
    # "No endpoints found that support image input" is about the request
    _rule("model", phrase=r"\bmodel\b.{0,160}(?P<end>does not exist|not found|is not available)|"
                          r"\S{1,160} is not a valid model|^no endpoints found(?! (that|with|matching)\b)",
          statuses="400 403 404"),
    _rule("model", phrase=r"\bmodel\b.{0,80}(?P<end>not (available|supported) in (your|this) (region|country))",
          statuses="400 403 404", why="not in this region"),
    _rule("overload", "server_is_overloaded overloaded overloaded_error engine_overloaded engine_overloaded_error "
                      "model_overloaded model_at_capacity capacity_exceeded service_tier_capacity_exceeded"),
    _rule("overload", "service_unavailable_error service_unavailable unavailable",
          statuses="429 498 500 502 503 529"),
    _BUSY,
    _AT_ONCE,
    _PLAN,
    _rule("rate", "rate_limit_exceeded rate_limit_error rate_limited slow_down too_many_requests "
                  "resource_exhausted tokens requests", statuses="429 500 503"),
    _FROM_HERE,
    _rule("permission", "permission_error permission_denied forbidden", statuses="403", bare=True),
    _rule("request", "invalid_request_error context_length_exceeded invalid_encrypted_content invalid_image "
                     "string_above_max_length unsupported_parameter unsupported_value invalid_value "
                     "invalid_type missing_required_parameter request_too_large previous_response_not_found "
                     "unprocessable_entity bad_request badrequesterror", statuses=_CLIENT),
    _rule("server", "server_error internal_error internal_server_error api_error", statuses="500 502 503 504"),
)  # fmt: skip

ANTHROPIC = (
    _rule("quota", "credits_required", scope="lane"),
    _rule("quota", "billing_error enforced_spend_limit_reached"),
    _rule("quota", phrase=r"credit balance is too low|reached your specified (workspace )?api usage limits",
          statuses="400 402 403 429"),
    _rule("auth", "authentication_error"),
    _rule("auth", phrase=r"organization has been disabled", statuses="400 401 403", why="organization disabled"),
    _rule("auth", phrase=r"invalid x-api-key|oauth token (has|is|was) "
                         r"(been )?(expired|revoked)", statuses="400 401 403"),
    _rule("overload", "overloaded_error"),
    _BUSY,
    _AT_ONCE,
    _PLAN,
    _rule("rate", "rate_limit_error"),
    _NO_MODEL,
    _rule("model", phrase=r"(^|\s)model: ?\S", statuses="404"),
    _rule("permission", "permission_error", statuses="403", bare=True),
    _rule("request", "invalid_request_error request_too_large not_found_error", statuses=_CLIENT),
    _rule("server", "api_error timeout_error", statuses="500 502 503 504"),
)  # fmt: skip

# "Exceeded your current quota" stands in every 429 of Gemini, the harmless ones too; the quota's id tells them apart.
GEMINI = (
    _rule("model", phrase=r"\blimit: 0(?![.0-9])", statuses="429"),
    _rule("quota", "payment_required quota_exceeded billing_disabled"),
    _rule("auth", "api_key_invalid api_key_expired api_key_service_blocked validation_required unauthenticated "
                  "access_token_expired account_state_invalid consumer_suspended api_key_ip_address_blocked "
                  "api_key_http_referrer_blocked"),
    _rule("auth", phrase=r"api key (not valid|expired|not found)|reported as leaked|api_key_invalid",
          statuses="400 401 403"),
    _NO_MODEL,
    _FROM_HERE,
    _rule("permission", phrase=r"^user location is not supported", statuses="400", scope="account",
          why="region or network not supported"),
    _rule("model", phrase=r"\bmodels/\S{1,160} is not (found|supported)", statuses="400 404"),
    _BUSY,
    _AT_ONCE,
    _rule("rate", "resource_exhausted rate_limit_exceeded", statuses="429"),
    _rule("overload", "unavailable", statuses="503"),
    _rule("permission", "service_disabled", statuses="403"),
    _rule("permission", "permission_denied", statuses="403", bare=True),
    _rule("request", "invalid_argument failed_precondition out_of_range not_found already_exists aborted",
          statuses=_CLIENT),
    _rule("cancelled", "cancelled", statuses="499"),
    _rule("server", "internal deadline_exceeded unknown", statuses="500 504"),
)  # fmt: skip

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType({
    # Anyone may stand in front of anyone, so every family knows the others' words after its own.
    "openai": (*_ALONE, *OPENAI, *ANTHROPIC),
    "anthropic": (*_ALONE, *ANTHROPIC, *OPENAI),
    "gemini": (*_ALONE, *GEMINI, *OPENAI),
    "": (*_ALONE, *OPENAI, *ANTHROPIC, *GEMINI),
})  # fmt: skip

# Codes that stand beside what is no fault of the request too, at some; the others say that it is at fault, and rule
# every phrase out.
_GENERIC = frozenset(
    "invalid_request_error not_found_error bad_request badrequesterror invalid_argument failed_precondition not_found "
    "already_exists aborted out_of_range moderation".split()
)
_AT_FAULT = frozenset(
    code for rules in RULES.values() for rule in rules if rule.kind == "request" for code in rule.codes - _GENERIC
)

# What such codes look like: they name what a request is made of. Providers have many, and new ones every month.
_BLAMES = re.compile(
    r"(?!.*(key|token|auth|grant|credential))(invalid|unsupported|unknown|missing|malformed|unexpected|duplicate)_\w*"
    r"(image|file|url|tool|param|argument|value|schema|json|format|message|content|function|body|field|input|prompt|"
    r"media|encoding|size|audio|video|document|base64|propert)\w*"
)

BY_STATUS: Mapping[int, OutcomeKind] = MappingProxyType({
    401: "auth", 402: "quota", 403: "permission", 407: "server", 408: "server", 424: "server", 425: "server",
    429: "rate", 498: "overload", 499: "cancelled", 503: "overload", 529: "overload",
})  # fmt: skip

_CERTAIN = frozenset({401, 402})  # statuses that have no other meaning
_DENIED = frozenset({401, 402, 403, 429})  # statuses that rest an account, but for a code that blames the request
_NEEDS_EVIDENCE: frozenset[OutcomeKind] = frozenset({"auth", "quota", "permission"})
NO_API = "no API answer"
ALONE = "for this request alone"
# Under these a page, too, is about the request, or about a rate.
_PAGE_IS_ANSWER = frozenset({411, 413, 414, 415, 416, 417, 422, 429, 431})
_EDGES = re.compile(
    r"cloudflare|cloudfront|akamai|squid|zscaler|blue ?coat|forcepoint|fortigate|varnish|imperva|incapsula|sucuri|"
    r"mcafee|barracuda|sophos|awselb|nginx|envoy|haproxy|traefik|caddy|apache|bigip|iboss|netskope"
)
_EDGE_HEADERS = (
    "cf-mitigated",
    "x-squid-error",
    "proxy-authenticate",
    "x-iinfo",
    "ngrok-error-code",
    "x-amzn-waf-action",
)
# How Cloudflare refuses who takes no HTML, and Go's server a path that it does not know.
_EDGE_TEXT = re.compile(r"\A(error code: 1\d{3}|404 page not found)\s*\Z")
_NO_API_STATUS = frozenset({407, 418, 426})  # no API of a model says this
_HINTED: frozenset[OutcomeKind] = frozenset({"rate", "quota", "overload", "server"})
_ACCOUNT_WINDOWS = ("", "-5h", "-7d")  # Anthropic's windows over all models; others are of one model
_A_DAY = re.compile(r"per_?day")
_MINUTES = 900.0  # seconds; a day's quota does not come back earlier than this


def classify(
    family: str,
    head: Head,
    body: Body | None,
    now: float,
    own: Sequence[ErrorRule] = (),
    sent: ClientText = quoted_text.NOTHING,
) -> Outcome:
    """
    Say what an answer of *family* means for the account that gave it.

    *body* is that of an error, or None. A good status is `ok`, unless the body is nothing but an error. The account's
    *own* rules are asked first. *sent* is what the client wrote. The scope `none` means: for this exchange alone.
    """
    if head.status < 400:
        if 200 <= head.status < 300:
            said = error_body.read(body) if error_body.is_error(body) else None
            if said is None:
                return Outcome("ok")
            return _settled(family, _spoken_status(said, sent), said, head.headers, now, own, sent)
        return _outcome("request", detail=str(head.status))
    said = error_body.read(body)
    if _is_no_api_answer(head, body, said) and not any(_is_meant(rule, head.status, said) for rule in own):
        until = limits.hint(head.headers, said, now)
        return _outcome("server", until=until, detail=f"{head.status} {NO_API}")
    return _settled(family, head.status, said, head.headers, now, own, sent)


def classify_error(
    family: str,
    code: str,
    message: str,
    now: float,
    own: Sequence[ErrorRule] = (),
    sent: ClientText = quoted_text.NOTHING,
    part: Mapping[str, object] | None = None,
) -> Outcome:
    """
    Say what an error event inside a stream of *family* means for the account.

    *code* is its type or code, *part* its object, the rest as in `classify`.
    """
    said = error_body.spoken(code, message, part)
    return _settled(family, _spoken_status(said, sent), said, Headers(), now, own, sent)


def classify_failure(kind: str) -> Outcome:
    """Say what it means that no answer came, or only a part: *kind* is that of a `Failure`."""
    return _outcome("cancelled" if kind == "cancelled" else "server", detail=kind)


def _settled(
    family: str,
    status: int,
    said: ErrorBody,
    headers: Headers,
    now: float,
    own: Sequence[ErrorRule],
    sent: ClientText,
) -> Outcome:
    judged = _judge(family, status, said, headers, now, sent)
    rule = next((rule for rule in own if _is_meant(rule, status, said)), None)
    if rule is None:
        return judged
    kind = rule.outcome or judged.kind
    detail = f"{judged.detail.partition(' ')[0]} by your rule"
    if kind not in BLAMELESS and _is_met_by_client(rule, said, sent):
        return Outcome(kind, scope="none", detail=detail)
    until = judged.until if rule.cooldown is None else now + rule.cooldown
    kept = rule.outcome is None or (kind == judged.kind and judged.scope != "none")
    bare = judged.bare and rule.outcome is None and rule.cooldown is None
    return Outcome(kind, until, judged.scope if kept else SCOPES[kind], detail, bare=bare)


def _is_meant(rule: ErrorRule, status: int, said: ErrorBody) -> bool:
    if rule.status and status not in rule.status:
        return False
    text = rule.contains.lower()
    return text in said.message or any(text in code for code in said.codes)


def _is_met_by_client(rule: ErrorRule, said: ErrorBody, sent: ClientText) -> bool:
    """Say whether the text a user's rule asks for may stand in an error only because the client wrote it."""
    text = rule.contains.lower()
    if not text or any(text in code and not sent.hold_code(code) for code in said.codes):
        return False
    at = said.message.find(text)
    return at < 0 or sent.hold(said.message, at, at + len(text))


def _judge(family: str, status: int, said: ErrorBody, headers: Headers, now: float, sent: ClientText) -> Outcome:
    until = limits.hint(headers, said, now, sent)
    if _is_daily(said, sent):
        # The delay stated beside a day's quota is often that of its minute window.
        until = until if until is not None and until - now > _MINUTES else None
        return _outcome("quota", "lane", until, f"{status} per day")
    fitting = [rule for rule in RULES.get(family, RULES[""]) if rule.fits(status, said)]
    if until is not None:  # one that says when to come back is no matter of size
        fitting = [rule for rule in fitting if (rule.kind, rule.scope) != ("rate", "none")]
    rule = next((rule for rule in fitting if not rule.is_told_by_client(said, sent)), None)
    doubted = fitting[0] if fitting and fitting[0] is not rule else None
    kind: OutcomeKind = rule.kind if rule else _by_status(status, said)
    if kind == "request" and doubted:  # true or not: another account may serve it, and this one is none the worse
        return Outcome(doubted.kind, scope="none", detail=f"{_detail(status, None, said)} in the request's own words")
    if _is_about_request(status, rule, said):
        return Outcome(kind, scope="none", detail=f"{_detail(status, rule, said)} {ALONE}")
    scope = rule.scope if rule else None
    if kind == "rate" and _is_account_wide(headers):
        scope = "account"
    found = _outcome(kind, scope, until, _detail(status, rule, said))
    bare = kind in _NEEDS_EVIDENCE and found.until is None and (rule.bare if rule else not _is_challenged(headers))
    certain = status in _CERTAIN
    if rule is not None and kind not in BLAMELESS:
        certain = certain or not all(map(sent.hold_code, rule.coded(said)))
    return replace(found, certain=certain, bare=bare)


def _is_about_request(status: int, rule: Rule | None, said: ErrorBody) -> bool:
    """Say whether nothing follows for an account: a row says so, or a code that blames the request, and no better."""
    if limits.is_larger_than_limit(said.message) and status in (413, 429):
        return True
    if rule is None and status == 408:  # the request did not come in time, which says nothing of an account
        return True
    if rule is None or rule.bare:
        return status in _DENIED and _blames_request(said.codes)
    return rule.kind not in BLAMELESS and rule.scope == "none"


def _blames_request(codes: frozenset[str]) -> bool:
    """Say whether one of *codes* says that the request is at fault."""
    return bool(codes & _AT_FAULT) or any(map(_BLAMES.fullmatch, codes))


def _is_challenged(headers: Headers) -> bool:
    """Whether a 401 says in its head that the token itself is bad (RFC 6750)."""
    return "invalid_token" in headers.get("www-authenticate").lower()


def _is_no_api_answer(head: Head, body: Body | None, said: ErrorBody) -> bool:
    """Say whether an error comes from something on the way: a challenge, a captive portal, a page, a proxy."""
    if head.status == 407 or (head.status in _NO_API_STATUS and not said.parts):
        return True
    if head.status >= 500 or head.status in _PAGE_IS_ANSWER or said.parts:
        return False
    if any(name in head.headers for name in _EDGE_HEADERS):
        return True
    start = (body.raw or b"")[:256].removeprefix(b"\xef\xbb\xbf").lstrip() if body else b""
    if start:
        return start.startswith(b"<") or bool(_EDGE_TEXT.match(said.message))
    edge = head.headers.get("server").lower()
    return "via" in head.headers or bool(_EDGES.search(edge))


def _outcome(kind: OutcomeKind, scope: Scope | None = None, until: float | None = None, detail: str = "") -> Outcome:
    return Outcome(kind, until if kind in _HINTED else None, scope or SCOPES[kind], detail)


def _spoken_status(said: ErrorBody, sent: ClientText) -> int:
    """Return the status that an error without one names, if it is not a client's word."""
    return 0 if said.status and sent.hold_code(str(said.status)) else said.status


def _by_status(status: int, said: ErrorBody) -> OutcomeKind:
    if status == 403 and said.place and _blames_request(said.codes):
        return "request"
    return BY_STATUS.get(status, "request" if 400 <= status < 500 else "server")


def _is_daily(said: ErrorBody, sent: ClientText) -> bool:
    """Gemini names the quota that is used up; zero quota is another matter, since waiting does not help there."""
    quotas = [quota for part in said.parts if isinstance(quota := part.get("quotaId"), str)]
    daily = [quota for quota in quotas if _A_DAY.search(quota.lower())]
    return any(not sent.hold_code(quota.lower()) for quota in daily) and not GEMINI[0].fits(429, said)


def _is_account_wide(headers: Headers) -> bool:
    return any(
        headers.get(f"anthropic-ratelimit-unified{window}-status").lower() == "rejected" for window in _ACCOUNT_WINDOWS
    )


def _detail(status: int, rule: Rule | None, said: ErrorBody) -> str:
    """Name the status and the word of *our* table that was found: what an upstream wrote may hold anything."""
    word = min(rule.codes & said.codes, default="") if rule else ""
    why = rule.why if rule else ""
    return " ".join(filter(None, (str(status) if status else "in stream", word, why)))
