"""What the terminal says of exchanges, refusals and accounts: one line each, in columns that fit its width."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache

from ..accounts import refusals
from ..accounts.changes import AccountChange, Rest
from ..crosstalk import report
from ..frozen import dataclass
from ..values.answer import Usage
from ..values.decision import BINDING_WORDS, AttemptSummary, Decision, Refusal, session_name
from ..values.shown_time import end_clock, length_words
from .terminal_text import Colour, cells, clean, padded, painted, wrapped

NARROWEST = 40  # cells; in a narrower terminal lines break
_LONGEST_ACCOUNT, _SHORTEST_ACCOUNT = 20, 4
_LONGEST_FAULT = 80  # characters
_DAY = 86_400.0
_JOINED = "\N{NO-BREAK SPACE}"  # in a text that may be broken
_INDENT = 2  # of what follows the first line
# Why there is no answer, by the code of a refusal or of a fault, in a few words.
SAID: Mapping[str, str] = {
    "account_gone": "its account was removed",
    "account_unknown": "no such account for it",
    "attempts_exhausted": "no further attempt is allowed",
    "auth_not_found": "no account for it",
    "auth_unavailable": "no account can serve it now",
    "body_too_deep": "body nested too deeply",
    "body_too_large": "body larger than limits.body",
    "body_unusable": "body unreadable",
    "client_left": "the client left",
    "client_stalled": "the client does not read its answer",
    "client_unknown": "no key of the configured clients",
    "content_encoding": "unknown content coding",
    "content_type": "content type of a page's form",
    "credential_not_kept": "its own credential was not kept",
    "cross_site": "a page of another site",
    "crosstalk_detected": "the answer belonged to another request",
    "head_too_large": "too many headers",
    "header_unusable": "ambiguous header",
    "host_not_allowed": "unknown name in Host",
    "insufficient_quota": "every account is out of credit",
    "list_not_allowed": "the list would show things of other clients",
    "method_unusable": "no method",
    "model_cooldown": "every account rests",
    "model_elsewhere": "its account lacks the model",
    "model_not_allowed": "the client may not use this model",
    "model_not_found": "no account serves this model",
    "not_a_base_url": "this is an HTTP proxy, not a base URL",
    "not_a_proxy": "this is a base URL, not an HTTP proxy",
    "not_an_llm_path": "no account serves this path",
    "not_found": "of another client",
    "not_repeatable": "it must not be sent twice",
    "owner_unavailable": "the account that owns what it names cannot be used",
    "patchbay_failed": "a fault of Patchbay's own, see the log",
    "path_unusable": "ambiguous path",
    "pin_not_allowed": "the client may not choose the account",
    "pool_not_allowed": "the client may not use this pool",
    "previous_response_not_found": "only another account can answer it",
    "queue_exhausted": "waited too long for a free account",
    "queue_full": "the queue is full",
    "shutting_down": "Patchbay is shutting down",
    "thread_not_found": "the account of its thread cannot be used",
    "time_exhausted": "no time for a further attempt",
    "too_many_in_flight": "too many responses at once",
    "upload_waited": "the upload waited too long",
    "upstream_credentials_exhausted": "every key is refused or missing",
    "upstream_failing": "every upstream fails",
    "upstream_no_answer": "no answer of its protocol",
    "upstream_overloaded": "every upstream is overloaded",
    "upstream_slow": "the answer did not begin in time",
    "upstream_unreachable": "no upstream reached, or no whole answer",
    "upstream_unreadable": "an answer that cannot be read",
    "usage_limit_reached": "every usage limit is reached",
    "would_wait": "every account is busy",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are shown, by their cells; 0: not shown. *room*: for what follows them, None: any number."""

    time: int
    tool: int
    account: int
    binding: int
    model: int
    tokens: int  # 32 in words, 16 without
    first: int
    total: int
    room: int | None

    @property
    def head(self) -> int:
        """The cells of the columns up to the status."""
        return sum(each + 1 for each in (self.time, self.tool, 8, self.account, self.binding, self.model) if each) + 3

    def after_head(self, style: LineStyle) -> int | None:
        """Return the cells that are left after the status; None: any number."""
        return None if style.width is None else max(style.width, NARROWEST) - self.head


_LONG, _SHORT = 32, 16
# What is added to session, account and status while there is room; what matters most comes first.
_BY_WORTH: tuple[tuple[str, int], ...] = (
    ("binding", 6), ("time", 8), ("model", 13), ("total", 6), ("tokens", _SHORT), ("tool", 11), ("tokens", _LONG),
    ("first", 6), ("binding", 9), ("model", 24), ("room", 33), ("tool", 16),
)  # fmt: skip


@lru_cache(64)
def columns(width: int | None, account: int) -> Columns:
    """Return the columns for a terminal of *width* cells (None: no terminal), where accounts take *account* cells."""
    account = min(max(account, _SHORTEST_ACCOUNT), _LONGEST_ACCOUNT)
    total = 10_000 if width is None else max(width, NARROWEST)
    if 8 + 1 + account + 1 + 3 > total:
        account = total - 13
    chosen: dict[str, int] = {}
    left = total - (8 + 1 + account + 1 + 3)
    for name, size in _BY_WORTH:
        more = size - chosen[name] if name in chosen else size + 1
        if more > left:
            break
        chosen[name], left = size, left - more
    sizes = {name: chosen.get(name, 0) for name, _ in _BY_WORTH}
    if reserved := sizes.pop("room"):
        left += reserved + 1
    return Columns(account=account, room=None if width is None else left, **sizes)


@lru_cache(4)
def _clock(at: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


@dataclass(slots=True)
class LineStyle:
    """How lines are written: for a terminal of *width* cells (None: none), *colour*, the cells of an account's name."""

    width: int | None = None
    colour: bool = False
    account: int = 12
    with_time: bool = True
    clock: Callable[[float], str] = field(default=lambda at: _clock(int(at)))

    def paint(self, text: str, colour: Colour) -> str:
        """Return *text*, in *colour* if there are colours."""
        return painted(text, colour) if self.colour and text.strip() else text

    def ends_at(self, at: float, now: float) -> str:
        """Return the time *at* as a user reads it *now*."""
        return self.clock(math.ceil(at)) if at - now < _DAY else end_clock(at, now)


# -- exchanges ---------------------------------------------------------------------------------------------------------


def exchange(decision: Decision, at: float, style: LineStyle) -> str:
    """Return the line of an exchange that was over *at* that time."""
    shown = columns(style.width, style.account)
    head = _head(decision, at, shown, style)
    told, colour = _told(decision)
    if told:
        return _with_reason(head, shown.after_head(style), f"{told} ·{_JOINED}{_whole(decision)}", colour, style)
    line = f"{head}{_usage(decision.tokens, shown.tokens)}{_times(decision, shown)}"
    moved = _moved(decision)
    return _with_reason(line, shown.room, moved, "yellow", style) if moved else line.rstrip()


def heading(style: LineStyle) -> str:
    """Return the names of the columns of `exchange`, for a terminal; those that their values explain have none."""
    shown = columns(style.width, style.account)
    parts = [
        *(["time".ljust(8)] if style.with_time and shown.time else []),
        *(["tool".ljust(shown.tool)] if shown.tool else []),
        "session".ljust(8),
        padded("account", shown.account),
        *([" " * shown.binding] if shown.binding else []),
        *(["model".ljust(shown.model)] if shown.model else []),
        "   ",
    ]
    tokens = {_SHORT: f" {'in':>5} {'hit':>4} {'out':>5}", _LONG: " " * (_LONG + 1)}.get(shown.tokens, "")
    times = (f" {'first':>6}" if shown.first else "") + (f" {'in all':>6}" if shown.total else "")
    return style.paint(f"{' '.join(parts)}{tokens}{times}".rstrip(), "dim")


def _with_reason(line: str, room: int | None, why: str, colour: Colour, style: LineStyle) -> str:
    """Return *line* with *why* behind it, or below it where that takes more than *room* cells and a blank."""
    if room is None or style.width is None or cells(why) < room:
        return f"{line} {style.paint(why.replace(_JOINED, ' '), colour)}"
    below = [each.replace(_JOINED, " ") for each in wrapped(why, max(style.width, NARROWEST) - _INDENT, 0)]
    return "\n".join([line.rstrip(), *(" " * _INDENT + style.paint(each, colour) for each in below)])


def _whole(decision: Decision) -> str:
    return seconds(decision.duration_seconds).replace(" ", _JOINED)


def refused(tool: str, method: str, path: str, refusal: Refusal, at: float, style: LineStyle) -> str:
    """Return the line of a request that was refused before it became an exchange."""
    shown = columns(style.width, style.account)
    span = 8 + sum(each + 1 for each in (shown.account, shown.binding, shown.model) if each)
    parts = [
        *_begin(tool, at, shown, style),
        padded(clean(f"{method} {path}", spaces=True), span),
        style.paint(str(refusal.status), _of_status(refusal.status)),
    ]
    why = SAID.get(refusal.code, refusal.code)
    return _with_reason(" ".join(parts), shown.after_head(style), why, "yellow", style)


def _head(decision: Decision, at: float, shown: Columns, style: LineStyle) -> str:
    what = decision.model or f"{decision.method} {decision.path}"
    account = decision.account if decision.mode != "shadow" or not decision.account else f"({decision.account})"
    binding = binding_word(decision)
    parts = [
        *_begin(decision.tool, at, shown, style),
        padded(session_name(decision.session) or "-", 8),
        padded(clean(account) or "-", shown.account),
        _cell(binding, shown.binding, "yellow" if binding == "moved" else "", style),
        _cell(clean(what), shown.model, "", style),
        style.paint(padded(str(decision.status or "-"), 3), _of_status(decision.status)),
    ]
    return " ".join(part for part in parts if part)


def _begin(tool: str, at: float, shown: Columns, style: LineStyle) -> list[str]:
    parts = [style.paint(style.clock(at), "dim")] if style.with_time and shown.time else []
    return [*parts, padded(clean(tool) or "-", shown.tool)] if shown.tool else parts


def _cell(text: str, width: int, colour: Colour, style: LineStyle) -> str:
    return style.paint(padded(text, width), colour) if width else ""


def _of_status(status: int | None) -> Colour:
    if status is None or status >= 500:
        return "red"
    return "yellow" if status >= 400 else "green"


def _told(decision: Decision) -> tuple[str, Colour]:
    """Return what is to be said in place of figures, and its colour; empty: all went well."""
    if decision.verdict == "crosstalk":
        return f"{report.word(decision.verdict)}: the answer of another request; see the alarm above", "bold red"
    if why := reason(decision):
        return why, "red" if decision.mode == "serve" else ""
    if decision.verdict == "suspect":
        return f"{report.word(decision.verdict)}: perhaps the answer of another request", "yellow"
    return "", ""


def texts(decision: Decision) -> tuple[str, ...]:
    """Return all that a line about *decision* holds of others: of clients, providers and the settings."""
    of_attempts = [each.account for each in decision.attempts if each.account != decision.account]
    return (
        decision.tool, decision.account, decision.model, decision.method, decision.path, decision.error,
        decision.moved_from, decision.moved_because, *of_attempts,
    )  # fmt: skip


def is_bad(decision: Decision) -> bool:
    """Whether the client got no answer, not a whole one, or perhaps another one's."""
    return decision.verdict in ("crosstalk", "suspect") or bool(decision.error) or (decision.status or 0) >= 400


def reason(decision: Decision) -> str:
    """Return in words why the client got no answer, or not a whole one, and what was tried; empty: it got one."""
    status = decision.status or 0
    if not decision.error and status < 400:
        return ""
    why = error_words(decision.error) or "refused by the provider"
    failed = [each for each in decision.attempts if each.account and each.outcome not in ("ok", "cancelled", "")]
    told = len(failed) == 1 and failed[0].status in (None, decision.status)
    tried = [] if told else [f"{clean(each.account)} {_ended(each)}" for each in failed]
    return f"{why}; tried {', '.join(tried)}" if tried else why


def error_words(error: str) -> str:
    """Return in words the *error* of an exchange: a code of ours, what a provider said, how a connection failed."""
    if error in SAID or not error:
        return SAID.get(error, "")
    of_the_client = error.lower().startswith(("client ", "the client ", "the proxy "))
    known = "" if of_the_client or error[:3].isdigit() else refusals.fault_on_the_way(error)
    return known or clean(error, spaces=True)[:_LONGEST_FAULT].rstrip()


def _ended(attempt: AttemptSummary) -> str:
    return str(attempt.status or ("no key" if attempt.outcome == "auth" else "no answer"))


def binding_word(decision: Decision) -> str:
    """Return what the account is to the conversation of *decision*, in a word; empty: nothing."""
    return BINDING_WORDS[decision.binding]


def _moved(decision: Decision) -> str:
    if not decision.moved_from:
        return ""
    because = f": {clean(decision.moved_because, spaces=True)}" if decision.moved_because else ""
    return f"from {clean(decision.moved_from)}{because}"


def _usage(tokens: Usage | None, width: int) -> str:
    if not width:
        return ""
    if tokens is None:
        return " " * (width + 1)
    cached = f"{tokens.cached * 100 // tokens.prompt}%" if tokens.prompt else ""
    if width == _SHORT:
        return f" {count(tokens.prompt):>5} {cached:>4} {count(tokens.completion):>5}"
    cached = f"({cached} cached)" if cached else ""
    return f" {count(tokens.prompt):>5} in {cached:>13} {count(tokens.completion):>5} out"


def _times(decision: Decision, shown: Columns) -> str:
    first = "" if decision.first_byte_seconds is None else seconds(decision.first_byte_seconds)
    line = f" {first:>6}" if shown.first else ""
    return f"{line} {seconds(decision.duration_seconds):>6}" if shown.total else line


def count(number: int) -> str:
    """Return *number* in at most five characters, such as `127`, `19.2k`, `1.2M`."""
    for size, unit in ((1, ""), (1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        scaled = number / size
        if scaled < 99.95 and unit:
            return f"{scaled:.1f}{unit}"
        if scaled < 999.5:
            return f"{scaled:.0f}{unit}"
    return "many"


def seconds(length: float) -> str:
    """Return *length* in at most six characters, such as `0.6 s`, `2m05s`, `1h02m`."""
    if length < 99.95:
        return f"{max(length, 0.0):.1f} s"
    minutes, rest = divmod(round(length), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    return f"{min(minutes // 60, 999)}h{minutes % 60:02}m"


# -- accounts ----------------------------------------------------------------------------------------------------------


def account_changed(change: AccountChange, at: float, style: LineStyle) -> str:
    """Return the line, or in a narrow terminal the lines, about *change*."""
    told = f"account {clean(change.account)} {change_words(change, at, style)}"
    return _wrapped(told, at, "yellow" if change.kind == "rests" else "green" if change.kind == "back" else "", style)


def account_stands(account: str, told: str, at: float, style: LineStyle) -> str:
    """Return the line that says at the start how *account* stands: *told*."""
    name = padded(clean(account), max(style.account, cells(clean(account))))
    return _wrapped(f"account {name} {told}", at, "" if told.startswith("ready") else "yellow", style)


def change_words(change: AccountChange, now: float, style: LineStyle) -> str:
    """Return what happened to the account of *change*, in words that follow its name."""
    rest, because = change.rest, f": {change.because}" if change.because else ""
    if change.kind == "rests" and rest is not None:
        return rest_words(rest, now, style) + _conversations(change)
    if change.kind == "back" and rest is not None:
        return f"back{_for(rest)} after {length_words(now - rest.since)}{because}"
    return f"{change.kind} {change.because}".rstrip()


def rest_words(rest: Rest, now: float, style: LineStyle) -> str:
    """Return that an account rests, for what, until when and why."""
    stated = f", retry-after {rest.stated:.0f} s" if rest.stated is not None else ""
    return f"rests{_for(rest)} until {style.ends_at(rest.until, now)}: {clean(rest.reason, spaces=True)}{stated}"


def _for(rest: Rest) -> str:
    if not rest.lanes:
        return ""
    names = [clean(lane) or "requests without a model" for lane in rest.lanes[:3]]
    more = f" and {len(rest.lanes) - 3} more" if len(rest.lanes) > 3 else ""
    return f" for {', '.join(names)}{more}"


def _conversations(change: AccountChange) -> str:
    number = change.conversations
    if not number:
        return ""
    named = "1 conversation" if number == 1 else f"{number} conversations"
    if change.move:
        return f"; {named} move{'s' * (number == 1)}"
    return f"; no other account for {named}"


def _wrapped(told: str, at: float, colour: Colour, style: LineStyle) -> str:
    begin = f"{style.clock(at)} " if style.with_time else ""
    if style.width is None:
        lines: Sequence[str] = [told]
    else:
        lines = wrapped(told, max(style.width, NARROWEST) - len(begin), _INDENT)
    first, *others = [style.paint(line, colour) for line in lines]
    return "\n".join([style.paint(begin, "dim") + first, *(" " * len(begin) + each for each in others)])
