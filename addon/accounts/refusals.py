"""
Refusals where no account can serve: they name each account, its reason and its end.

Each other `Refusal` stands with its cause, as in `access`, `guards` or `replacement`.

The status is the provider's for the same cause: 429 for a rate limit, 404 for a model that no account serves. It is 502
if an upstream was asked and did not answer, and 503 while it is not asked. It never blames the client's key: a tool
would start a new login at a 401 or 403.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import get_args

from .. import dialects
from ..dialects.errors import LONGEST_WAIT
from ..frozen import dataclass
from ..values import shown_time
from ..values.answer import FailureKind
from ..values.decision import Outcome, Refusal
from . import mends
from .absent import REASONS, Absent, Cause, Failed
from .cooldown import CooldownKind

_MAX_NAME = 256
OF_THE_WAY = frozenset({"upstream_unreachable", "upstream_unreadable", "upstream_failing"})
NAMED = 4  # accounts that a message names; it counts the others
_MAX_ID, _MAX_MODEL, _MAX_DETAIL = 32, 80, 60  # characters, since a tool shows a message in one or two lines
_DAY = 86400.0
FAR = 60.0  # seconds to a reset; beyond it the client gets our refusal instead of the provider's own 429
_LIMITED = frozenset({"model_cooldown", "usage_limit_reached"})


@dataclass(frozen=True, slots=True)
class _Said:
    """The refusal for a cause that all accounts share. *final*: trying again does not help."""

    status: int
    code: str
    message: str
    final: bool = False


_MESSAGES: Mapping[str, _Said] = MappingProxyType({
    # in the words of CLIProxyAPI, which clients of such proxies know
    "rate": _Said(429, "model_cooldown", "All credentials for {what} are cooling down{via}"),
    "usage limit": _Said(429, "usage_limit_reached", "The usage limit of every account for {what} is reached"),
    "quota": _Said(429, "insufficient_quota", "Every account for {what} is out of credit", final=True),
    "overload": _Said(503, "upstream_overloaded", "The provider is overloaded for {what}"),
    "unreachable": _Said(503, "upstream_unreachable", "No upstream for {what} can be reached"),
    "unanswered": _Said(503, "upstream_unreachable", "No upstream for {what} gives a whole answer"),
    "unreadable": _Said(503, "upstream_unreadable", "No upstream for {what} gives an answer that can be read"),
    "server": _Said(503, "upstream_failing", "Every upstream for {what} is failing"),
    "key": _Said(503, "upstream_credentials_exhausted", "No account for {what} was let in by its provider", final=True),
    "no_key": _Said(503, "upstream_credentials_exhausted", "No account for {what} has a key", final=True),
    "model": _Said(404, "model_not_found", "No account has {what}", final=True),
    "disabled": _Said(503, "auth_unavailable", "Every account for {what} is disabled", final=True),
    "no_upstream": _Said(503, "auth_unavailable", "No account for {what} has an upstream", final=True),
    "busy": _Said(503, "queue_exhausted", "Every account for {what} is busy"),
    "": _Said(503, "auth_unavailable", "No account can serve {what} now"),
})  # fmt: skip
# Groups of causes that get one refusal; the first group that contains all of them is used.
_ONE_REFUSAL: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"rate", "usage limit"}), "rate"),
    (frozenset({"usage limit", "quota"}), "usage limit"),
    (frozenset({"rate", "usage limit", "quota"}), "rate"),
    (frozenset({"unreachable", "unanswered"}), "unanswered"),
    (frozenset({"unreachable", "unanswered", "unreadable", "server"}), "server"),
    (frozenset({"key", "no_key"}), "key"),
)
_WORDS: Mapping[str, str] = MappingProxyType({
    "rate": "rate limited", "usage limit": "usage limit reached", "quota": "out of credit", "overload": "overloaded",
    "unreachable": "not reachable", "unanswered": "no whole answer", "unreadable": "answer unreadable",
    "server": "failing", "auth": "key refused", "permission": "access denied", "no_key": "no key",
    "model": "model not found", "disabled": "disabled in the settings", "switched_off": "disabled by a command",
    "paused": "paused by a command", "request": "request refused",
    "no_upstream": "its `base_url: reverse` names none",
    "cancelled": "cancelled", "tried": "failed", "busy": "busy",
    "ok": "another request's answer",  # with `crosstalk: {reaction: retry}`
})  # fmt: skip
_ANEW = "Start a new conversation"
_CLOSED = "connection closed without an answer"
# Errors, as Patchbay, mitmproxy, operating systems and TLS libraries write them, and as they are reported. Those that
# may quote an upstream come first, by their beginning.
_ON_THE_WAY = tuple((re.compile(pattern, re.IGNORECASE), said) for pattern, said in (
    (r"^(the body [a-z -]+|the answer decodes [\w ]+)", r"\1"),
    (r"^content-encoding", "unknown content-encoding"),
    (r"^HTTP/1 protocol error: peer closed .*received (\d+) bytes", r"connection closed after \1 bytes"),
    (r"^HTTP/1 protocol error: peer closed|^unexpected server response: b.HTTP/1", "connection closed in its middle"),
    (r"^(its head|it switches|cannot parse|unexpected server|invalid|received|HTTP/\d protocol)", "no valid HTTP"),
    (r"^(HTTP/2) connection closed .*\((\w+)\)$", r"\1 connection closed: \2"),
    (r"^stream (refused)$|^stream reset by \w+ \((\w+)\)$", r"HTTP/2 stream reset: \1\2"),
    (r"refused|errno 111|errno 61\b|10061", "connection refused"),
    (r"getaddrinfo|name or service|name resolution|nodename|errno -[2-5]\b|no address|\bdns\b", "name not resolved"),
    (r"certificate", "TLS certificate not trusted"),
    (r"\b(tls|ssl)\b|handshake", "TLS handshake failed"),
    (r"unreachable|no route|errno 1(01|13)\b", "no route to it"),
    (r"timed? ?out|errno 110\b|in time|too long", "timed out"),
    (r"reset|broken pipe|closed|disconnect|eof|goaway|errno (32|104)\b", _CLOSED),
))  # fmt: skip
_FAILED: Mapping[str, str] = MappingProxyType({"connect": "no connection", "timeout": "timed out"})
_UNREADABLE = ("the body", "the answer", "unknown content-encoding", "no valid HTTP")


def on_the_way(kind: FailureKind, message: str, *, begun: bool = False) -> str:
    """
    Return in words for people why no answer came, or only its beginning: a failure of *kind*, with this *message*.

    The message may contain text of the upstream, so only a known cause is taken from it.
    """
    why = fault_on_the_way(message) or _FAILED.get(kind, _CLOSED)
    return why.removesuffix(" without an answer") if begun else why


def fault_on_the_way(message: str) -> str:
    """Return the known cause in *message*, of a failed connection, in words for people; empty: it names none."""
    found = ((pattern.search(message), said) for pattern, said in _ON_THE_WAY)
    return next((match.expand(said) for match, said in found if match), "")


def cause_of(outcome: Outcome | None) -> tuple[Cause, str]:
    """Return cause and detail of an account whose attempt ended with *outcome*."""
    if outcome is None:
        return "tried", ""
    if not (failure := outcome.failure):
        return outcome.kind, outcome.detail
    if outcome.kind == "auth" or outcome.detail == "connect":
        return ("no_key" if outcome.kind == "auth" else "unreachable"), failure
    return ("unreadable" if failure.startswith(_UNREADABLE) else "unanswered"), failure


def cause_of_cooldown(kind: CooldownKind, outcome: Outcome | None) -> tuple[Cause, str]:
    """Return cause and detail of an account whose cooldown is of *kind*, by *outcome* as far as it is known."""
    return ("paused", "") if kind == "paused" else cause_of(outcome or Outcome(kind))


def no_key(why: str) -> Outcome:
    """Return the outcome of an attempt that was not sent because its credential is not available: *why*."""
    return Outcome("auth", scope="account", detail=why, failure=why)


def none_left(model: str, absent: Sequence[Absent], now: float, family: str = "") -> Refusal:
    """Refuse a request of *family* because of *absent*, all the accounts that serve *model*."""
    group = _common_cause(absent)
    said = _MESSAGES[group]
    fields = _fields(model, absent)
    via = f" via provider {fields['provider']}" if "provider" in fields else ""
    message = f"{said.message.format(what=_named(model), via=via)}: {_list(absent, now)}"
    message = _with_mend(message, mends.of_accounts(_in_order(absent)))
    wait = _wait(absent, now)
    if group in ("rate", "usage limit"):
        fields |= _reset_fields(absent, now)
    if group == "model" and model:
        fields["param"] = "model"
    status = dialects.of_family(family).quota_status if group == "quota" else said.status
    lasts = _until_first([each.deadline for each in absent], now)
    return Refusal(status, said.code, message, wait, fields, all(_is_final(each, now) for each in absent), lasts)


def all_disabled(
    absent: Sequence[Absent], family: str, now: float, *, anywhere: bool, others: Collection[str] = ()
) -> Refusal:
    """
    Refuse because all accounts for *family* are disabled: *absent*; empty: there are none.

    *others* are the families of which there are accounts.
    """
    if absent:
        return none_left("", absent, now, family)
    name = dialects.of_family(family).vendor or family
    where = "" if anywhere else " at this upstream"
    only = " or ".join(sorted(dialects.of_family(other).vendor or other for other in others))
    message = f"There is no account here for {name}{where}"
    if only:
        message += f", only for {only}. Add an account for {name} to the settings, or use a tool for {only}"
    return Refusal(404, "auth_not_found", message, final=True)


def on_the_way_instead(status: int, refusal: Refusal | None) -> Refusal:
    """Refuse because a proxy or a page answered with *status* instead of the provider; *refusal* names the accounts."""
    message = f"Something on the way to the provider answered {status} in its place"
    if refusal is None:
        return Refusal(502, "upstream_unreachable", message)
    return replace(refusal, status=502, code="upstream_unreachable", message=f"{message}. {refusal.message}",
                   fields={**refusal.fields, "gave_up": refusal.code})  # fmt: skip


def of_upstream(account: str, code: str, what: str, *, status: int = 502, more: str = "") -> Refusal:
    """Refuse because of *what* the upstream of *account* did; *more* follows the account's name."""
    name = f" (account {_on_one_line(account, _MAX_ID)})" if account else ""
    return Refusal(status, code, f"{what}{name}{more}")


def of_tool(refusal: Refusal) -> Refusal:
    """Return *refusal* as the answer to a request for no model: the tool does without, and does not wait or retry."""
    return replace(refusal, status=404, code="not_an_llm_path", retry_after=None, final=True)


def is_far(refusal: Refusal | None) -> bool:
    """Whether *refusal* is about a limit of all accounts that lasts longer than FAR."""
    return refusal is not None and refusal.code in _LIMITED and (refusal.retry_after or 0.0) > FAR


def no_account() -> Refusal:
    """Refuse because this client has no account for the request."""
    return Refusal(404, "auth_not_found", "There is no account here for this request", final=True)


def unserved(model: str, mend: str = "") -> Refusal:
    """Refuse because no account serves *model*; a retry does not help. *mend* says which models are served."""
    fields: dict[str, object] = {"model": model[:_MAX_NAME], "param": "model"} if model else {}
    message = _with_mend(f"No account here serves {_named(model)}", mend)
    return Refusal(404, "model_not_found", message, fields=fields, final=True)


def owner_unavailable(absent: Sequence[Absent], now: float) -> Refusal:
    """Refuse because the request names a resource of the *absent* accounts; empty: of accounts elsewhere."""
    if not absent:
        message = f"This request names something that belongs to an account which is not in this pool. {_ANEW}"
        return Refusal(503, "owner_unavailable", message, final=True)
    message = f"This request names something that belongs to an account which cannot be used now: {_list(absent, now)}"
    return Refusal(503, "owner_unavailable", f"{message}. Wait, or start a new conversation", _wait(absent, now))


def unreadable(why: str) -> Refusal:
    """Refuse because the accounts serve some models only and the request's cannot be read: *why*."""
    message = f"Every account here serves some models only, and which this request asks for cannot be read: {why}"
    return Refusal(403, "model_not_allowed", message)


def broken_json() -> Refusal:
    """Refuse a body that must be read and is not a JSON object."""
    return Refusal(400, "body_unusable", "The body of this request is not a valid JSON object")


def account_unknown(account: str, there: Sequence[str] = ()) -> Refusal:
    """Refuse because the request names an *account* that is not in its pool, which has those *there*."""
    more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
    known = f"There are: {', '.join(_on_one_line(each, _MAX_ID) for each in there[:NAMED])}{more}" if there else ""
    message = _with_mend(f"There is no account {account[:_MAX_NAME]!r} for this request", known)
    return Refusal(400, "account_unknown", message)


def queue_full(limit: int, absent: Sequence[Absent], now: float) -> Refusal:
    """Refuse because all accounts are busy and the queue is full."""
    waiting = "1 request waits" if limit == 1 else f"{limit} requests wait"
    message = f"All accounts are busy, and {waiting} already: {_list(absent, now)}"
    return Refusal(503, "queue_full", message, 1.0)


def gave_up(code: str, why: str, absent: Sequence[Absent], now: float) -> Refusal:
    """Refuse because the settings allow no further attempt: *why*."""
    message = f"Patchbay gave up: {why}" + (f": {_list(absent, now)}" if absent else "")
    return Refusal(503, code, message, _wait(absent, now))


def unanswered(refusal: Refusal, last: Outcome | None) -> Refusal:
    """Return *refusal*, which says why there is no further attempt, where no answer came of which *last* is the end."""
    if refusal.status < 500:
        return refusal
    code = "upstream_unreadable" if cause_of(last)[0] == "unreadable" else "upstream_unreachable"
    return replace(refusal, status=502, code=code, fields={**refusal.fields, "gave_up": refusal.code})


def not_let_in(refusal: Refusal | None, tried: int) -> Refusal:
    """
    Return the refusal that replaces a provider's 401 or 403.

    *refusal* says why no further account is asked; None: not known. *tried* counts the attempts.
    """
    if refusal is not None and refusal.code == "auth_unavailable":
        return refusal
    if refusal is not None and refusal.code == "upstream_credentials_exhausted":
        return replace(refusal, status=502, fields={**refusal.fields, "tried": tried})
    message = f"No account was let in by its provider ({tried} tried)" + (f". {refusal.message}" if refusal else "")
    return Refusal(502, "upstream_credentials_exhausted", message, fields={"tried": tried}, final=True)


def reason(one: Absent) -> str:
    """Return in words why *one* cannot serve."""
    word = _WORDS["usage limit" if _class(one) == "usage limit" else one.cause]
    detail = one.detail[:_MAX_DETAIL]
    if one.cause == "busy":
        return detail or word
    if why := next((why for why in REASONS if one.detail.endswith(why)), ""):
        word = f"{word}: {why}"
    if one.cause not in get_args(Failed) and not detail.startswith("it ended"):
        detail = detail.partition(" ")[0] if detail[:3].isdigit() else ""  # the status; codes are in the journal
    return f"{word} ({detail})" if detail else word


def kind_words(kind: str) -> str:
    """Return in words how an attempt ended whose outcome is of *kind*."""
    return _WORDS.get(kind, kind) if kind != "ok" else kind


def _go_duration(seconds: int) -> str:
    """Format *seconds* as Go does, for programs: `1h2m5s`."""
    hours, rest = divmod(max(seconds, 0), 3600)
    minutes, seconds = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _common_cause(absent: Sequence[Absent]) -> str:
    classes = {_class(each) for each in absent}
    if len(classes) == 1:
        return next(iter(classes))
    return next((name for alike, name in _ONE_REFUSAL if classes <= alike), "")


def _class(one: Absent) -> str:
    if one.cause in ("auth", "permission"):
        return "key"
    if one.cause == "switched_off":
        return "disabled"
    if one.cause == "quota" and one.hinted:
        return "usage limit"
    return one.cause if one.cause in _MESSAGES else ""


def _is_final(one: Absent, now: float) -> bool:
    return _MESSAGES[_class(one)].final or (one.hinted and one.chance is not None and one.chance - now > LONGEST_WAIT)


def _with_mend(message: str, mend: str) -> str:
    return f"{message}. {mend}" if mend else message


def _in_order(absent: Sequence[Absent]) -> list[Absent]:
    return sorted(absent, key=lambda each: math.inf if each.deadline is None else each.deadline)


def _list(absent: Sequence[Absent], now: float) -> str:
    order = _in_order(absent)
    told = [f"{_on_one_line(each.account, _MAX_ID)}: {reason(each)}{_named_end(each, now)}" for each in order[:NAMED]]
    more = [f"{len(order) - NAMED} more"] if len(order) > NAMED else []
    return "; ".join([*told, *more])


def _named_end(one: Absent, now: float) -> str:
    at = one.deadline if one.hinted else one.chance
    if at is None or at <= now:
        return ""
    at = min(at, now + 400 * _DAY)
    told = f"{shown_time.end_clock(at, now, zone=True)} ({shown_time.length_words(math.ceil(at - now))})"
    return f" until {told}" if one.hinted else f", next try at {told}"


def _reset_fields(absent: Sequence[Absent], now: float) -> dict[str, object]:
    back = min((each.deadline for each in absent if each.deadline is not None), default=now)
    seconds = max(math.ceil(back - now), 0)
    return {"reset_time": _go_duration(seconds), "reset_seconds": seconds,
            "resets_at": math.ceil(back), "resets_in_seconds": seconds}  # fmt: skip


def _wait(absent: Sequence[Absent], now: float) -> float | None:
    return _until_first([each.chance for each in absent], now)


def _until_first(times: Sequence[float | None], now: float) -> float | None:
    known = [at for at in times if at is not None]
    return max(min(known) - now, 0.0) if known else None


def _fields(model: str, absent: Sequence[Absent]) -> dict[str, object]:
    fields: dict[str, object] = {"model": model[:_MAX_NAME]} if model else {}
    providers = {each.provider for each in absent}
    if len(providers) == 1:
        fields["provider"] = providers.pop()
    return fields


def _named(model: str) -> str:
    return f"model {_on_one_line(model, _MAX_MODEL)}" if model else "this request"


def _on_one_line(name: str, most: int) -> str:
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"
