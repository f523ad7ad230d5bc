"""
What follows from an event of an upstream's answer: deliver it, hold it back, make the next attempt, or cut it off.

Pure functions of the exchange, its attempt (which has read the event already) and the settings' bounds.
"""

from __future__ import annotations

from dataclasses import replace

from .accounts import refusals
from .accounts.cooldown import TRANSIENT
from .accounts.outcome import classify, classify_error, classify_failure
from .answer.reader import BODY_BYTES
from .body import Body, encoded
from .exchange import Attempt, Exchange
from .frozen import dataclass
from .media_types import is_json, media_type
from .settings.settings import CrosstalkSettings, FailoverSettings
from .values.answer import Fact, Failure, Head, Reaction
from .values.decision import Outcome
from .values.http import Headers

HELD_BYTES = 256 * 1024  # of an error or a whole answer: enough to read any error, small enough to keep many
HELD_STREAM_BYTES = 64 * 1024  # of a stream without content
HELD_SECONDS = 5.0  # for the body of an error
SLOW = "slow"  # the detail of the outcome of a request that was given up while it may be worked on
PAUSE = 1.0  # seconds before a conversation retries its home, where the home does not say when
MOVABLE = frozenset({"rate", "quota", "overload", "auth", "permission", "model", "server"})  # another account may help
_EMPTY = (204, 205)
_INPUT_LISTS = ("input", "documents", "requests", "instances", "texts", "inputs")  # an answer has one part for each


@dataclass(frozen=True, slots=True)
class Step:
    """What follows. *outcome* is set where the attempt is over; its answer is none because of what it *lacks*."""

    reaction: Reaction
    outcome: Outcome | None = None
    lacks: str = ""


DELIVER, HOLD = Step("deliver"), Step("hold")


def after_head(exchange: Exchange, head: Head, bounds: FailoverSettings) -> Step:
    """Say what follows from the *head* of an answer."""
    if why := _no_answer_by_head(exchange, head):
        return _no_answer(why)
    # a good head waits for what comes behind it: an error may, while another account could still take over
    holds = bounds.hold_until_content and 200 <= head.status < 300 and exchange.is_generation
    return HOLD if head.status >= 400 or holds else DELIVER


def after_chunk(exchange: Exchange, attempt: Attempt) -> Step | None:
    """Say what follows from a chunk; None where the answer counts as ended."""
    if not attempt.held:
        return DELIVER
    if attempt.is_error:
        return None if attempt.held_bytes >= HELD_BYTES else HOLD
    if attempt.outcome and not attempt.content_began:  # an error, before any content
        return None
    reader = attempt.reader
    if reader.is_foreign and (why := reader.lacks(exchange.request.endpoint)):
        return _no_answer(why)
    return DELIVER if attempt.held_bytes >= _bound(exchange, attempt) else HOLD


def _bound(exchange: Exchange, attempt: Attempt) -> int:
    """Return how many bytes of a good answer are held back."""
    reader = attempt.reader
    if reader.is_text:  # a client can make nothing of a part of it
        return BODY_BYTES
    if reader.streamed:
        return 0 if attempt.content_began or reader.answers(exchange.request.endpoint) else HELD_STREAM_BYTES
    return 0 if reader.is_foreign else HELD_BYTES  # nothing but blanks so far


def when_overdue(exchange: Exchange, attempt: Attempt) -> Step | None:
    """Say what follows when an answer was held back as long as it may be; None where it counts as ended."""
    if attempt.is_error:  # an error whose body does not come is an error all the same
        return None
    content_type = attempt.head.headers.get("content-type") if attempt.head else ""
    collected = not exchange.stream and is_json(media_type(content_type))
    return HOLD if collected else DELIVER  # what is collected anyway need not be released early


def hold_seconds(exchange: Exchange, bounds: FailoverSettings) -> float:
    """Return how long the present answer may be held back."""
    return HELD_SECONDS if exchange.attempt and exchange.attempt.is_error else bounds.hold_timeout


def after_end(exchange: Exchange, attempt: Attempt, head: Head, now: float) -> tuple[Outcome, str]:
    """Return the outcome of an answer that has ended, and what it lacks to be one."""
    outcome = attempt.outcome
    if head.status == 101:
        outcome = Outcome("ok")
    elif outcome is None or outcome.kind == "ok":
        # of a good answer no body is kept: the reader has told of an error in it
        outcome = Outcome("ok") if 200 <= head.status < 300 else _classified(exchange, attempt, head, now)
    why = _lack(exchange, attempt) if outcome.kind == "ok" and exchange.is_generation else ""
    return (Outcome("server", detail=why), why) if why else (outcome, "")


def _classified(exchange: Exchange, attempt: Attempt, head: Head, now: float) -> Outcome:
    account = attempt.lease.account
    body = Body(attempt.reader.decoded(bytes(attempt.body))) if attempt.body else None
    family = exchange.request.endpoint.family or min(account.provider.families)
    outcome = classify(family, head, body, now, account.error_rules, exchange.client_text)
    if 300 <= head.status < 400 and exchange.request.method in ("GET", "HEAD"):
        return Outcome("ok")  # not modified, or to be had elsewhere
    if outcome.kind == "model" and not exchange.model:  # `GET /v1/models/x` is about no lane
        return Outcome("request", scope="exchange", detail=outcome.detail)
    return outcome


def after_failure(exchange: Exchange, attempt: Attempt, failure: Failure, bounds: FailoverSettings) -> Step:
    """Say what follows when no answer came, or half of one."""
    unseen = attempt.head is None or attempt.held
    if _is_slow(exchange, attempt, failure, bounds):
        outcome = Outcome("cancelled", scope="exchange", detail=SLOW)  # it says nothing about the account
    else:
        why = refusals.on_the_way(failure.kind, failure.message, begun=attempt.head is not None)
        outcome = replace(classify_failure(failure.kind), failure=why)
    return Step("next" if unseen else "deliver", replace(outcome, scope="exchange") if failure.counted else outcome)


def _is_slow(exchange: Exchange, attempt: Attempt, failure: Failure, bounds: FailoverSettings) -> bool:
    """Whether *failure* gives up a request that was sent whole and may not be sent again while it may be worked on."""
    repeats = exchange.is_safe or bounds.repeat_slow == "all" or (bounds.repeat_slow == "streams" and exchange.stream)
    return failure.kind == "timeout" and attempt.head is None and not repeats


def after_proof(exchange: Exchange, unseen: bool, crosstalk: CrosstalkSettings) -> Reaction:
    """Return the reaction to a misdelivered answer: once the next attempt if it is *unseen*, else the end."""
    earlier = any(each.proof for each in exchange.attempts[:-1])
    again = crosstalk.reaction == "retry" and unseen and exchange.repeatable and not earlier
    return "next" if again else "cut"


def exhausted(exchange: Exchange, bounds: FailoverSettings, now: float) -> tuple[str, str] | None:
    """Return the code and the reason for which no other attempt may be made; None where it may."""
    attempt = exchange.attempt
    if attempt is None:
        return None
    if attempt.slow:
        return "upstream_slow", "the upstream may still be working on the request"
    if attempt.reached and not exchange.repeatable:
        return "not_repeatable", "the request may have been carried out and must not be sent twice"
    # a second attempt at the home is free, and so is the one without what another account sealed, or without our id
    free = bool(exchange.retry_home) + len(exchange.unsealed) + bool(exchange.unstamped)
    if len(exchange.attempts) - free >= bounds.attempts:
        return "attempts_exhausted", f"{bounds.attempts} attempts failed, and failover.attempts allows no more"
    if now - exchange.opened > bounds.timeout:
        return "time_exhausted", f"there was no answer within the {bounds.timeout:g} seconds of failover.timeout"
    return None


def retry_home_at(exchange: Exchange, bounds: FailoverSettings, now: float) -> float | None:
    """
    Return when a conversation may retry its home after a transient fault (`sticky_wait`); None: another account serves.

    Another account would answer at once, but has nothing of the conversation in its cache.
    """
    attempt = exchange.attempt
    if attempt is None or attempt.outcome is None or exchange.retry_home or len(exchange.attempts) != 1:
        return None
    if not (attempt.lease.binding == "hit" or attempt.lost) or attempt.outcome.kind not in TRANSIENT:
        return None
    if not (attempt.reached and exchange.repeatable):
        return None
    pause = 0.0 if attempt.lost else PAUSE
    if attempt.outcome.until is not None:
        pause = max(PAUSE, attempt.outcome.until - now)
    return now + pause if pause <= bounds.sticky_wait else None


def has_failed(exchange: Exchange) -> bool:
    """Whether the answer of the present attempt says that its account fails, so that another may do better."""
    attempt = exchange.attempt
    return attempt is not None and attempt.outcome is not None and attempt.outcome.kind in MOVABLE


def error_head(fact: Fact) -> Head | None:
    """Return the head that the error of an error event would have had as an answer of its own; None if it has none."""
    told = fact.value if isinstance(fact.value, dict) else {}
    status, headers = told.get("status"), told.get("headers")
    if not isinstance(status, int) or not 400 <= status < 600:
        return None
    given = headers.items() if isinstance(headers, dict) else ()
    return Head(status, Headers((name, value) for name, value in given if isinstance(value, str)))


def outcome_of_event(exchange: Exchange, attempt: Attempt, fact: Fact, now: float) -> Outcome:
    """Return the outcome that an error event, *fact*, stands for."""
    told = fact.value if isinstance(fact.value, dict) else {}
    code, message = str(told.get("code") or told.get("type") or ""), str(told.get("message") or "")
    raw = told.get("raw")
    part = raw if isinstance(raw, dict) else None
    family, own, text = exchange.request.endpoint.family, attempt.lease.account.error_rules, exchange.client_text
    if attempt.error_head is None:
        return classify_error(family, code, message, now, own, text, part)
    body = Body(encoded({"error": part or {"code": code, "message": message}}))
    return classify(family, attempt.error_head, body, now, own, text)


def _no_answer(why: str) -> Step:
    return Step("next", Outcome("server", detail=why), why)


def _no_answer_by_head(exchange: Exchange, head: Head) -> str:
    """Return why a model's answer, or a WebSocket, cannot come with *head*; empty where it can."""
    status = head.status
    if exchange.request.endpoint.kind != "generation" or exchange.socket_lease or 400 <= status < 600:
        return ""
    if exchange.is_upgrade:
        return "" if status == 101 else f"a WebSocket was asked for, and the status is {status}"
    if exchange.request.method == "POST" and (status in _EMPTY or not 200 <= status < 300):
        return f"its status is {status}"
    return ""


def _lack(exchange: Exchange, attempt: Attempt) -> str:
    """Return what a model's answer lacks, now that it has ended."""
    why, body = attempt.reader.lacks(exchange.request.endpoint), exchange.request.body
    if why and (body.get("deferred") is True or any(body.get(name) == [] for name in _INPUT_LISTS)):
        return ""  # a deferred answer (xAI) is fetched later; a request about nothing gets nothing
    return why
