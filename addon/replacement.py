"""The answer that a client gets in place of the upstream's, where that must not reach it or is none."""

from __future__ import annotations

import math
from dataclasses import replace

from .accounts import refusals
from .accounts.outcome import ALONE, NO_API
from .exchange import Attempt, Exchange, continued_thread
from .identity import references
from .values import shown_time
from .values.decision import Outcome, Refusal

CROSSTALK = Refusal(502, "crosstalk_detected", "The provider gave this request an answer that belongs to another one")
OWNER_UNAVAILABLE, _NO_THREAD = "owner_unavailable", "thread_not_found"
_NOT_LET_IN = "The account of this WebSocket was not let in by its provider; connect again for another one"
# What only one account has of a conversation, by where it stands in a request.
_OWNED = {
    "reasoning": "encrypted reasoning",
    "state": "turn state",
    "sealed": "compacted history",
    "reference": "stored response",
    "file": "file",
    "container": "container",
    "cache": "cached content",
}


def replacement(exchange: Exchange) -> Refusal | None:
    """
    Return what the client gets in place of the last real answer; None where that is delivered.

    A tool that sees 401 or 403 logs its user out, but the account that was not let in is ours.
    """
    refusal = exchange.refusal
    if exchange.attempt and exchange.attempt.withheld:
        return CROSSTALK
    if refusal and refusal.code == _NO_THREAD:  # its clients send the whole conversation then
        return refusal
    if refused := _no_answer(exchange) or _unanswered(exchange):
        return refused
    last = next((attempt for attempt in reversed(exchange.attempts) if attempt.head), None)
    return _of_answer(exchange, last) if last is not None else None


def _of_answer(exchange: Exchange, last: Attempt) -> Refusal | None:
    """Return what replaces the answer of *last*, an error that is about the account and not about the request."""
    refusal, outcome, head = exchange.refusal, last.outcome, last.error_head or last.head
    if outcome is None or head is None:
        return None
    status = head.status
    if status == 403 and outcome.detail.endswith(ALONE):  # no login cures it, and its words tell a user what does
        return None
    if status in (401, 403, 407) and outcome.detail.endswith(NO_API):
        return refusals.on_the_way_instead(status, refusal)
    if status == 429 and not exchange.socket_lease and refusals.is_far(refusal):
        return refusal
    if status == 403 and outcome.kind == "model" and refusal and outcome.scope != "exchange":
        return refusal
    if not _is_about_the_account(exchange, outcome, status):
        return None
    if refusal and refusal.code == OWNER_UNAVAILABLE:  # it names the account
        return refusal
    if exchange.socket_lease:
        fields = {"tried": len(exchange.attempts)}
        return Refusal(502, "upstream_credentials_exhausted", _NOT_LET_IN, fields=fields)
    return refusals.not_let_in(refusal, len(exchange.attempts))


def _is_about_the_account(exchange: Exchange, outcome: Outcome, status: int) -> bool:
    kind, scope = outcome.kind, outcome.scope
    if status in (401, 403, 407) and kind in ("auth", "permission", "quota"):
        return True
    # a socket's event says what is wrong in a code, and need not name a status
    told = exchange.socket_lease is not None or (status == 400 and scope == "account" and exchange.refusal is not None)
    return told and kind in ("auth", "permission")


def _unanswered(exchange: Exchange) -> Refusal | None:
    """Return why there are no more attempts, where none of them brought an answer that could be delivered."""
    last, refusal = exchange.attempt, exchange.refusal
    whole = any(each.is_error and not each.broken for each in exchange.attempts)
    if last is None or refusal is None or not last.broken or whole:
        return None
    return refusals.unanswered(refusal, last.outcome)


def _no_answer(exchange: Exchange) -> Refusal | None:
    """Return the replacement for a too slow attempt, or for a body that is no answer (other than JSON)."""
    last, refusal = exchange.attempt, exchange.refusal
    if last is None:
        return None
    if last.slow:
        what = f"The upstream did not begin its answer within the setting timeouts.first_byte ({last.error})"
        more = "; it may still be working on it, so it was not asked again"
        return refusals.of_upstream(last.lease.account.id, "upstream_slow", what, status=504, more=more)
    if not last.lacks or last.reader.is_object:
        return None
    what = f"What the upstream sent is no answer: {last.lacks}"
    told = refusals.of_upstream(last.lease.account.id, "upstream_no_answer", what)
    if refusal is None:
        return told
    message, fields = f"{told.message}. {refusal.message}", {"gave_up": refusal.code}
    return replace(told, message=message, retry_after=refusal.retry_after, fields=fields)


def owner_unavailable(exchange: Exchange, refused: Refusal, setting: str) -> Refusal:
    """
    Return *refused* in words that say which account is out, what of this conversation it alone has, and until when.

    *setting* is `failover.encrypted_reasoning`, which may offer a way out.
    """
    owner, thread = ", ".join(sorted(exchange.identity.owner or ())), continued_thread(exchange.request.body)
    place = next((each.where for each in exchange.identity.evidence if each.tier == "owner" and each.used), "")
    what = "message thread" if thread else _OWNED.get(place, "stored data")
    wait = refused.retry_after
    until = f"is out for {shown_time.length_words(math.ceil(wait))}" if wait is not None else "cannot be used"
    told = f"Account {owner} owns this conversation's {what} and {until}"
    if thread and setting != "refuse":
        return thread_not_found(f"{told}; send the whole conversation")
    way = "start a new conversation"
    if setting == "refuse" and place in references.SPARED:
        way += ", or set failover.encrypted_reasoning to strip"
    return replace(refused, message=f"{told}; {way}")


def thread_not_found(message: str) -> Refusal:
    """Refuse to continue a message thread in the provider's words: its clients then send the whole conversation."""
    return Refusal(404, _NO_THREAD, message, fields={"details": {"error_code": _NO_THREAD}})
