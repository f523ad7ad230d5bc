"""
What users see of a decision on its flow, in the list of mitmweb and the console: the comment and the mark.

A comment begins with what a narrow column must show: a verdict only where it says something, then the account, what it
is to the conversation, and how much of the prompt came from a cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps

from mitmproxy import http

from ..accounts import refusals
from ..accounts.lease import Lease
from ..crosstalk import report
from ..exchange import Exchange
from ..state import Leak
from ..values.answer import Usage
from ..values.decision import BINDING_WORDS, Amendment, BindingKind, Decision, session_name
from . import flow_metadata as names, terminal_lines
from .terminal_text import cut_inside

logger = logging.getLogger(__name__)

_MARKS = {"crosstalk": ":rotating_light:", "suspect": ":warning:"}
_COLUMN = 30  # cells that a narrow column shows: the account and what it is to the conversation stand in them
_VICTIM, _DISPUTED = "VICTIM: ", "DISPUTED: "  # begin the comment of a flow whose answer another request got
# Where the conversation was recognised otherwise than by an id of its own that the client sent.
_GUESSED = frozenset({"cache_key", "content", "conversation", "parent", "token", "user"})
_FIRST = (
    *(f"{before}{report.word(kind)}: " for before in ("", "shadow: ") for kind in ("crosstalk", "suspect")),
    _VICTIM,
    _DISPUTED,
)
_CACHED_FROM = 1024  # tokens of a prompt from which providers cache it; a shorter one tells nothing


def _harmless[**P](shown: Callable[P, None]) -> Callable[P, None]:
    """Let a failure of *shown* cost the comment alone, and one line of the log: no exchange ends by it."""
    told: set[str] = set()

    @wraps(shown)
    def harmless(*args: P.args, **more: P.kwargs) -> None:
        try:
            shown(*args, **more)
        except Exception as e:
            if (kind := type(e).__name__) not in told:
                told.add(kind)
                logger.error("a comment could not be made: %s", kind)

    return harmless


@_harmless
def show(flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
    """Put the comment and the mark of *decision* on *flow*."""
    leaks = _leaks(flow)
    flow.comment = _with_leaks(comment(exchange, decision), leaks)
    flow.marked = _MARKS.get(decision.verdict, flow.marked) or (":warning:" if leaks else "")


@_harmless
def show_message(flow: http.HTTPFlow, exchange: Exchange, decision: Decision) -> None:
    """Do the same for an exchange on the WebSocket *flow*; crosstalk in an earlier one stays in the comment."""
    show(flow, exchange, decision)
    earlier = [each for each in names.records(flow.metadata.get(names.SOCKET_RECORDS)) if _is_crosstalk(each)]
    if earlier and decision.verdict != "crosstalk":
        flow.comment += (
            f" · {report.word('crosstalk')} in an earlier answer on this WebSocket: {_request_id(earlier[-1])}"
        )


@_harmless
def show_lease(flow: http.HTTPFlow, exchange: Exchange, lease: Lease) -> None:
    """Put the comment of a request that is under way on *flow*: its account and its session."""
    placed = lease.placement
    parts = [*_placed(lease.account.id, placed.binding), *_named(exchange.identity.affinity, exchange.identity.tier)]
    parts += [*_moved(placed.moved_from, placed.because), "under way"]
    flow.comment = _with_leaks(" · ".join(parts), _leaks(flow))


def show_leak(flow: http.HTTPFlow, leak: Leak) -> bool:
    """Say on *flow*, which carries the victim of *leak*, where its answer went; return whether that is news."""
    told = {"exchange": leak.victim, "to": leak.receiver, "session": leak.session, "disputed": leak.disputed}
    known = _leaks(flow)
    if any((each.get("exchange"), each.get("to")) == (leak.victim, leak.receiver) for each in known):
        return False
    flow.metadata[names.LEAKED_TO] = [*known, told]
    flow.comment = _with_leaks(flow.comment, [told])
    flow.marked = flow.marked or ":warning:"
    return True


@_harmless
def show_amendment(flow: http.HTTPFlow, change: Amendment) -> None:
    """Say on *flow*, whose exchange got another verdict after its end, what it is now and since when."""
    begin = f"{report.word(change.verdict)}: " if change.verdict in _MARKS else ""
    begin = "" if flow.comment.startswith(_FIRST) else begin
    flow.comment = begin + " · ".join(filter(None, (flow.comment, report.amendment(change))))
    flow.marked = _MARKS.get(change.verdict, flow.marked)


def comment(exchange: Exchange, decision: Decision) -> str:
    """
    Return one line, what matters most first.

    Of an answer that needs a look the verdict; the account, what it is to the conversation, the cached share, the
    session; then why it moved, the evidence, the attempts before and the error.
    """
    needs_look = decision.verdict in _MARKS
    found = exchange.verdict
    if decision.findings:  # those that are shown
        found = replace(found, findings=tuple(decision.findings))
    only_seen = decision.mode == "shadow" and not decision.account and exchange.refusal is None
    parts = [
        *_by_whom(decision, only_seen=only_seen),
        cached_share(decision.tokens, decision.binding),
        *_named(decision.session, decision.tier),
        *_moved(decision.moved_from, decision.moved_because),
        report.evidence(found) if needs_look else "",
    ]
    if len(decision.attempts) > 1:
        parts.append(
            "after "
            + ", ".join(f"{each.account}: {refusals.kind_words(each.outcome)}" for each in decision.attempts[:-1])
        )
    usual = found.kind == "unverifiable" and not found.note  # most answers carry no id of ours
    parts += [terminal_lines.error_words(decision.error)]
    parts += [] if needs_look or only_seen or usual else [report.summary(found)]
    begin = f"{report.word(decision.verdict)}: " if needs_look else ""
    return ("shadow: " if decision.mode == "shadow" and not only_seen else "") + begin + " · ".join(filter(None, parts))


def _by_whom(decision: Decision, *, only_seen: bool) -> list[str]:
    """Return the account, or the provider and the model where no account was to be chosen."""
    if only_seen:
        return [f"{decision.provider} {decision.model}".strip()]
    return [*_placed(decision.account, decision.binding)] or ["no account"] * (decision.mode != "shadow")


def cached_share(tokens: Usage | None, binding: BindingKind) -> str:
    """Return how much of a prompt came from the provider's cache, such as `98% cached`; empty where it says nothing."""
    if (
        tokens is None
        or tokens.prompt <= 0
        or not (tokens.cached or (binding == "hit" and tokens.prompt >= _CACHED_FROM))
    ):
        return ""
    return f"{min(100 * tokens.cached // tokens.prompt, 100)}% cached"


def _placed(account: str, binding: BindingKind) -> list[str]:
    word = BINDING_WORDS[binding]
    return [f"{cut_inside(account, _COLUMN - len(word) - 1)} {word}".strip()] if account else []


def _named(session: str, tier: str) -> list[str]:
    """Return the short name of *session*, with the *tier* where the client named none."""
    return [f"{session_name(session)} ({tier})" if tier in _GUESSED else session_name(session)] if session else []


def _moved(moved_from: str, why: str) -> list[str]:
    return [f"from {moved_from}: {why}" if why else f"from {moved_from}"] if moved_from else []


def _leaks(flow: http.HTTPFlow) -> list[dict[str, object]]:
    return names.records(flow.metadata.get(names.LEAKED_TO))


def _with_leaks(comment: str, leaks: Iterable[dict[str, object]]) -> str:
    """Return *comment* with what is known of *leaks*: the flow is then found by the ids on both sides."""
    for leak in leaks:
        begin = "" if comment.startswith(_FIRST) else _DISPUTED if leak.get("disputed") else _VICTIM
        comment = begin + " · ".join(filter(None, (comment, leaked(leak))))
    return comment


def leaked(leak: Mapping[str, object]) -> str:
    """Return where the answer of an exchange went."""
    to = f"{leak.get('to')}" + (f" of session {leak.get('session')}" if leak.get("session") else "")
    if leak.get("disputed"):
        return f"exchange {leak.get('exchange')} got the same answer as {to}: one of the two is another's"
    return f"the answer of exchange {leak.get('exchange')} went to {to}"


def _is_crosstalk(record: Mapping[str, object]) -> bool:
    return record.get("verdict") == "crosstalk"


def _request_id(record: Mapping[str, object]) -> str:
    sent = names.records(record.get("sent"))
    return names.text(sent[-1], "request_id") if sent else ""
