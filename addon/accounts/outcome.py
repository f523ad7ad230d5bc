"""
Classification of errors: what an answer says about its account, by status, code words and phrases.

Each dialect family has a table; the first row that fits decides. An error that fits no row is judged by its status, and
never as permanent.

Phrases are the weakest evidence, since providers quote the client's text. A phrase counts only in the provider's own
words, and not where a code or a place in the request says that the request is at fault. If the request holds the words,
the outcome has the scope `exchange`: the exchange moves to another account, and nothing follows for this one.

A refusal about the request alone also has the scope `exchange`, because waiting does not cure it. An error without more
evidence than its status is `status_only`: see `upstream_faults`. A page, challenge or proxy's refusal is no answer of
an API, but a transient fault on the way: `server`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..body import Body
from ..dialects import FAMILIES, of_family
from ..dialects.outcome_rules import BLAMELESS, LAST_RULES, ZERO_LIMIT, OutcomeRule, rule_for
from ..values.account import ErrorRule, OutcomeKind, OutcomeScope
from ..values.answer import FailureKind, Head
from ..values.decision import Outcome
from ..values.http import Headers
from . import error_body, quoted_text, stated_limits
from .error_body import ErrorBody
from .quoted_text import ClientText

# The scope where the row states none: credentials and money are the account's, the rest is the lane's.
SCOPES: Mapping[OutcomeKind, OutcomeScope] = MappingProxyType({
    "ok": "lane", "rate": "lane", "overload": "lane", "server": "lane", "permission": "lane", "model": "lane",
    "auth": "account", "quota": "account", "request": "exchange", "cancelled": "exchange",
})  # fmt: skip

# If the error names a place in the request, a phrase counts only if it is about that place.
_KEY_PLACE = re.compile(r"api.?key|authorization|credential|token$")
_NOWHERE = re.compile(r"(?!)")
_ABOUT: Mapping[OutcomeKind, re.Pattern[str]] = MappingProxyType({
    **dict.fromkeys(("rate", "server", "quota", "permission", "request", "cancelled", "ok"), _NOWHERE),
    **dict.fromkeys(("model", "overload"), re.compile(r"^(model|deployment|engine)(_?id|_?name)?$")),
    "auth": _KEY_PLACE,
})  # fmt: skip

# After these words follows the error of another service that the request names (the host of an image, a tool, an MCP
# server), or of a place in the request (`tools.0: …`). It says nothing about our account.
_ELSEWHERE = re.compile(
    r"\b(downloading|download (the|image|file)|fetch(ing)?|retriev(e|ing)|connect(ing)? to (the )?(url|mcp|remote)|"
    r"mcp|connector|webhook|tool (call|server|execution)|(tool|function|plugin)s? \S{1,80} (failed|returned|error))\b|"
    r"\b(provided|remote|image|file|document) url\b|"
    r"(\A|\s)(messages|contents|input|tools|mcp_servers|instructions|system|attachments)(\.\d+|\[\d+\])+"
)

# Refusals about this request alone: waiting does not cure them, but another account may have the plan, the feature or
# the larger limit that it needs. They come first; a client that quotes them gains nothing.
_TOO_LARGE = (
    r"request (is )?too large|tokens must be reduced|"
    r"reduce (the (length|size|number)|your (message|prompt|input|request))|"
    r"(prompt|input|request|message) is too (long|large)|(context|prompt) (length |window )?(exceed|too (long|large))|"
    r"exceeds? the (model'?s? )?(maximum|context|max)|maximum context length"
)
# Things that a request may name and be denied.
_THING = (
    r"(files?|cached ?contents?|caches?|tools?|connectors?|mcp|vector stores?|containers?|prompts?|batch(es)?|"
    r"assistants?|threads?|skills?|conversations?|features?|web_search|attachments?|tuned ?models?)"
)
_ALONE = (
    rule_for("quota", phrase=r"extra usage is required|requires? extra usage|\blong[ -]context\b.{0,60}\b(requires?|"
                             r"not (yet )?(available|enabled|supported|included))|"
                             r"usage credits? (is|are) required|draws? from your extra usage|"
                             r"requires more credits, or fewer|can only afford", scope="exchange"),
    rule_for("permission", phrase=r"organization must be verified|only authorized for use with claude code|"
                                  r"\bbeta\b.{0,80}\bnot (yet )?(available|enabled|supported|allowed|authorized)|"
                                  r"(unexpected|unsupported|unknown|invalid) value.{0,80}\banthropic-beta\b",
             scope="exchange"),
    rule_for("auth", phrase=r"oauth authentication is currently not supported", scope="exchange"),  # no beta header
    rule_for("rate", phrase=_TOO_LARGE, statuses="413 429", scope="exchange"),
    rule_for("request", phrase=r"\bonly supported in (the )?v1/|not supported in the v1/|not a chat model",
             statuses="400 404"),
    # Another account may have the thing that the request names; a file or a cache that is gone, no account has.
    rule_for("permission", "missing_scope missing_scopes",
             rf"\b(permissions?|access|authorized|allowed|entitled|enabled)\b.{{0,60}}\b{_THING}\b|"
             rf"\b{_THING}\b.{{0,120}}\b(not (be )?(accessible|found|available|allowed|permitted|enabled|supported)|"
             r"(may|does) not exist)|\bmissing scopes?\b", "403", "exchange"),
    rule_for("permission", phrase=r"\bdata policy\b|\bprivacy settings\b", statuses="403 404", scope="exchange"),
    # What a tool's server or a connector of the user's did, and what a model made of a prompt, no account cures.
    rule_for("request", "external_connector_error connector_error mcp_error tool_error",
             r"\bmcp server\b|\b(external|your) connector\b|\btool list\b", "424 500 502"),
    rule_for("request", phrase=r"\bmodify(ing)? (your|the) (prompt|input|request)\b", statuses="500"),
)  # fmt: skip

# A host of any vendor may speak any dialect, so the table of a family is followed by those of the others.
RULES: Mapping[str, tuple[OutcomeRule, ...]] = MappingProxyType({
    first: (*_ALONE, *(row for each in dict.fromkeys((first, *FAMILIES)) for row in of_family(each).outcome_rules),
            *LAST_RULES)
    for first in ("", *FAMILIES)
})  # fmt: skip

# Codes that some providers use for faults that are not the request's. Any other code of a `request` row blames the
# request, and rules every phrase out.
_GENERIC = frozenset(
    "invalid_request_error not_found_error bad_request badrequesterror invalid_argument failed_precondition not_found "
    "already_exists aborted out_of_range moderation".split()
)
_AT_FAULT = frozenset(
    code for rules in RULES.values() for rule in rules if rule.kind == "request" for code in rule.codes - _GENERIC
)

# The form of such codes: they name a part of a request. Providers have many, and new ones every month.
_BLAMES = re.compile(
    r"(?!.*(key|token|auth|grant|credential))(invalid|unsupported|unknown|missing|malformed|unexpected|duplicate)_\w*"
    r"(image|file|url|tool|param|argument|value|schema|json|format|message|content|function|body|field|input|prompt|"
    r"media|encoding|size|audio|video|document|base64|propert)\w*"
)

# The last resort, for an error that met no rule. An ordinary body meets one before: the `request` rules of
# CLIENT_ERRORS, under its statuses; and `_is_about_request` judges by the codes. Other statuses: `_by_status`.
BY_STATUS: Mapping[int, OutcomeKind] = MappingProxyType({
    401: "auth", 402: "quota", 403: "permission", 407: "server", 408: "server", 424: "server", 425: "server",
    429: "rate", 498: "overload", 499: "cancelled", 503: "overload", 529: "overload",
})  # fmt: skip

_CERTAIN = frozenset({401, 402})  # statuses that have no other meaning
_DENIED = frozenset({401, 402, 403, 429})  # statuses with consequences for an account, unless a code blames the request
_NEEDS_EVIDENCE: frozenset[OutcomeKind] = frozenset({"auth", "quota", "permission"})
NO_API = "no API answer"
ALONE = "for this request alone"
# With these statuses a page, too, is about the request, or about a rate.
_PAGE_IS_ANSWER = frozenset({411, 413, 414, 415, 416, 417, 422, 429, 431})
_EDGES = re.compile(
    r"cloudflare|cloudfront|akamai|squid|zscaler|blue ?coat|forcepoint|fortigate|varnish|imperva|incapsula|sucuri|"
    r"mcafee|barracuda|sophos|awselb|nginx|envoy|haproxy|traefik|caddy|apache|bigip|iboss|netskope"
)
_EDGE_HEADERS = tuple(
    "cf-mitigated x-squid-error proxy-authenticate x-iinfo ngrok-error-code x-amzn-waf-action".split()
)
# Cloudflare's refusal for clients without HTML, and Go's for an unknown path.
_EDGE_TEXT = re.compile(r"\A(error code: 1\d{3}|404 page not found)\s*\Z")
_NO_API_STATUS = frozenset({407, 418, 426})  # no model API uses these
_HINTED: frozenset[OutcomeKind] = frozenset({"rate", "quota", "overload", "server"})
_ACCOUNT_WINDOWS = ("", "-5h", "-7d")  # Anthropic's windows for all models; others are for one model
_A_DAY = re.compile(r"per_?day")
_MINUTES = 900.0  # seconds; a daily quota is not renewed earlier


def classify(
    family: str,
    head: Head,
    body: Body | None,
    now: float,
    own: Sequence[ErrorRule] = (),
    sent: ClientText = quoted_text.NOTHING,
) -> Outcome:
    """
    Classify an answer of *family*: what it means for the account that gave it.

    *body* is that of an error, or None. A good status is `ok`, unless the body is an error and nothing else. The
    account's *own* rules come first. *sent* is the client's text. The scope `exchange` means: for this exchange alone.
    """
    if head.status < 400:
        if 200 <= head.status < 300:
            said = error_body.read(body) if error_body.is_error(body) else None
            if said is None:
                return Outcome("ok")
            return _classified(family, _spoken_status(said, sent), said, head.headers, now, own, sent)
        return _outcome("request", detail=str(head.status))
    said = error_body.read(body)
    if _is_no_api_answer(head, body, said) and not any(_is_meant(rule, head.status, said) for rule in own):
        until = stated_limits.retry_at(head.headers, said, now)
        return _outcome("server", until=until, detail=f"{head.status} {NO_API}")
    return _classified(family, head.status, said, head.headers, now, own, sent)


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
    Classify an error event inside a stream of *family*.

    *code* is its type or code, *part* its object, the rest as in `classify`.
    """
    said = error_body.of_event(code, message, part)
    return _classified(family, _spoken_status(said, sent), said, Headers(), now, own, sent)


def classify_failure(kind: FailureKind) -> Outcome:
    """Classify a missing or partial answer."""
    return _outcome("server", detail=kind)


def _classified(
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
    if kind not in BLAMELESS and _is_met_by_client_text(rule, said, sent):
        return Outcome(kind, scope="exchange", detail=detail)
    until = judged.until if rule.cooldown is None else now + rule.cooldown
    kept = rule.outcome is None or (kind == judged.kind and judged.scope != "exchange")
    status_only = judged.status_only and rule.outcome is None and rule.cooldown is None
    return Outcome(kind, until, judged.scope if kept else SCOPES[kind], detail, status_only=status_only)


def _is_meant(rule: ErrorRule, status: int, said: ErrorBody) -> bool:
    if rule.status and status not in rule.status:
        return False
    text = rule.contains.lower()
    return text in said.message or any(text in code for code in said.codes)


def _is_met_by_client_text(rule: ErrorRule, said: ErrorBody, sent: ClientText) -> bool:
    text = rule.contains.lower()
    if not text or any(text in code and not sent.hold_code(code) for code in said.codes):
        return False
    at = said.message.find(text)
    return at < 0 or sent.hold(said.message, at, at + len(text))


def _judge(family: str, status: int, said: ErrorBody, headers: Headers, now: float, sent: ClientText) -> Outcome:
    """Judge by a daily quota, then by the rules, then by the request's own share in the error; at last the evidence."""
    until = stated_limits.retry_at(headers, said, now, sent)
    if _is_daily(said, sent):
        # The delay stated with a daily quota is often that of the minute window.
        until = until if until is not None and until - now > _MINUTES else None
        return _outcome("quota", "lane", until, f"{status} per day")
    rule, doubted = _rules_met(family, status, said, sent, states_time=until is not None)
    kind: OutcomeKind = rule.kind if rule else _by_status(status, said)
    if kind == "request" and doubted:  # another account may serve it, and nothing follows for this one
        detail = f"{_detail(status, None, said)} in the request's own words"
        return Outcome(doubted.kind, scope="exchange", detail=detail)
    if _is_about_request(status, rule, said):
        return Outcome(kind, scope="exchange", detail=f"{_detail(status, rule, said)} {ALONE}")
    scope = rule.scope if rule else None
    if kind == "rate" and _is_account_wide(headers):
        scope = "account"
    found = _outcome(kind, scope, until, _detail(status, rule, said))
    unproved = rule.status_only if rule else not _is_token_invalid(headers)
    status_only = kind in _NEEDS_EVIDENCE and found.until is None and unproved
    return replace(found, certain=_is_certain(status, rule, said, sent), status_only=status_only)


def _rules_met(
    family: str, status: int, said: ErrorBody, sent: ClientText, *, states_time: bool
) -> tuple[OutcomeRule | None, OutcomeRule | None]:
    """Return the first rule met in the provider's words, and the first before it met in the client's words alone."""
    fitting = [rule for rule in RULES.get(family, RULES[""]) if _fits(rule, status, said)]
    if states_time:  # an error that states a time is not about the size
        fitting = [rule for rule in fitting if (rule.kind, rule.scope) != ("rate", "exchange")]
    rule = next((rule for rule in fitting if not _is_told_by_client(rule, said, sent)), None)
    return rule, fitting[0] if fitting and fitting[0] is not rule else None


def _is_certain(status: int, rule: OutcomeRule | None, said: ErrorBody, sent: ClientText) -> bool:
    """Whether the status has no other meaning, or a code of *rule* says it that the client did not write."""
    if status in _CERTAIN:
        return True
    return rule is not None and rule.kind not in BLAMELESS and not all(map(sent.hold_code, _coded(rule, said)))


def _fits(rule: OutcomeRule, status: int, said: ErrorBody) -> bool:
    if status and rule.statuses and status not in rule.statuses:
        return False
    return bool(_coded(rule, said)) or bool(_found(rule, said))


def _coded(rule: OutcomeRule, said: ErrorBody) -> frozenset[str]:
    """Return the codes of *rule* that were said; those of a model, unless another place has the fault."""
    elsewhere = rule.kind == "model" and said.place and not _ABOUT["model"].search(said.place)
    return frozenset() if elsewhere else rule.codes & said.codes


def _found(rule: OutcomeRule, said: ErrorBody) -> re.Match[str] | None:
    """Find the phrase in the provider's own words; a row without consequences is also met by quoted ones."""
    if not rule.phrase:
        return None
    if rule.is_blameless:
        return rule.phrase.search(said.message)
    at_fault = _blames_request(said.codes) or (bool(said.place) and not _ABOUT[rule.kind].search(said.place))
    found = None if at_fault else rule.phrase.search(said.own)
    return None if found and _ELSEWHERE.search(said.own, 0, found.start()) else found


def _is_told_by_client(rule: OutcomeRule, said: ErrorBody, sent: ClientText) -> bool:
    if rule.is_blameless:
        return False
    codes, found = _coded(rule, said), _found(rule, said)
    if codes and not all(sent.hold_code(code) for code in codes):
        return rule.kind == "model" and sent.is_known and sent.hold_other_name(said.message)
    if not found or rule.kind != "model":
        return not found or sent.hold(said.own, *found.span())
    # quotation marks stand around the name of a model too, so what is in them is looked at
    is_end = bool(found.groupdict().get("end")) and sent.hold_end(said.own, *found.span("end"))
    return is_end or sent.hold(said.message, *found.span(), names_model=True)


def _is_about_request(status: int, rule: OutcomeRule | None, said: ErrorBody) -> bool:
    if stated_limits.is_larger_than_limit(said.message) and status in (413, 429):
        return True
    if rule is None and status == 408:  # the request did not arrive in time
        return True
    if rule is None or rule.status_only:
        return status in _DENIED and _blames_request(said.codes)
    return rule.kind not in BLAMELESS and rule.scope == "exchange"


def _blames_request(codes: frozenset[str]) -> bool:
    return bool(codes & _AT_FAULT) or any(map(_BLAMES.fullmatch, codes - _GENERIC))


def _is_token_invalid(headers: Headers) -> bool:
    return "invalid_token" in headers.get("www-authenticate").lower()


def _is_no_api_answer(head: Head, body: Body | None, said: ErrorBody) -> bool:
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


def _outcome(
    kind: OutcomeKind, scope: OutcomeScope | None = None, until: float | None = None, detail: str = ""
) -> Outcome:
    return Outcome(kind, until if kind in _HINTED else None, scope or SCOPES[kind], detail)


def _spoken_status(said: ErrorBody, sent: ClientText) -> int:
    return 0 if said.status and sent.hold_code(str(said.status)) else said.status


def _by_status(status: int, said: ErrorBody) -> OutcomeKind:
    if status == 403 and said.place and _blames_request(said.codes):
        return "request"
    return BY_STATUS.get(status, "request" if 400 <= status < 500 else "server")


def _is_daily(said: ErrorBody, sent: ClientText) -> bool:
    """Whether a daily quota of Gemini is used up; a quota of zero is different, since waiting does not help."""
    quotas = [quota for part in said.parts if isinstance(quota := part.get("quotaId"), str)]
    daily = [quota for quota in quotas if _A_DAY.search(quota.lower())]
    return any(not sent.hold_code(quota.lower()) for quota in daily) and not _fits(ZERO_LIMIT, 429, said)


def _is_account_wide(headers: Headers) -> bool:
    return any(
        headers.get(f"anthropic-ratelimit-unified{window}-status").lower() == "rejected" for window in _ACCOUNT_WINDOWS
    )


def _detail(status: int, rule: OutcomeRule | None, said: ErrorBody) -> str:
    """Name the status and the word of *our* table that was found: what an upstream wrote may hold anything."""
    word = min(rule.codes & said.codes, default="") if rule else ""
    why = rule.why if rule else ""
    return " ".join(filter(None, (str(status) if status else "in stream", word, why)))
