"""What a running proxy tells of itself as lines for people. Knows nothing of mitmproxy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..accounts.status import STATE_WORDS
from ..values.shown_time import end_clock, length_words
from . import terminal_text
from .control_answers import AccountShown, ProxyStatus, SessionShown, TokenTotals

_NOTES = {
    "throttled": "little is left of a limit: no conversation begins here",
    "half-open": "a rest is over; the next request tells",
}


# The columns that a narrow terminal goes without, the first ones first.
_ACCOUNTS_DROP = ("EXCHANGES", "IN FLIGHT", "QUEUE", "TPM", "RPM", "TOKENS", "SESSIONS")
_SESSIONS_DROP = (
    "CLIENT", "VERDICT", "TOOL", "FAILED", "MODEL", "TOKENS", "LAST ON", "MOVED", "LAST", "TURNS",
)  # fmt: skip
_BELOW = 4  # blanks before a text below its row


def table(
    titles: Sequence[str],
    lines: Iterable[Sequence[str]],
    width: int | None = None,
    drop: Sequence[str] = (),
    below: str = "",
) -> list[str]:
    """
    Return *lines* of cells in columns under *titles*. What is not printable is escaped.

    In a terminal of *width* (None: none) that they do not fit into, empty columns are left out, then the text of the
    column *below* stands below its row, then columns are left out in the order of *drop*.
    """
    columns = dict(zip(titles, zip(*(map(_visible, line) for line in lines), strict=True), strict=False))
    columns = {title: columns.get(title, ()) for title in titles}
    texts: Sequence[str] = ()
    if not _fits(columns, width):
        columns = {title: cells for title, cells in columns.items() if any(cells) or title == titles[0]}
    if not _fits(columns, width):
        texts = columns.pop(below, ())
    for title in drop:
        if not _fits(columns, width):
            columns.pop(title, None)
    sizes = _sizes(columns)
    shown = ["  ".join(map(str.ljust, line, sizes)).rstrip() for line in zip(*_with_titles(columns), strict=True)]
    if not texts or width is None:
        return shown
    return [shown[0], *(part for row, text in zip(shown[1:], texts, strict=True) for part in _row(row, text, width))]


def _row(row: str, text: str, width: int) -> list[str]:
    parts = terminal_text.broken(text, max(width - _BELOW, 1), 0) if text else []
    return [row, *(" " * _BELOW + part for part in parts)]


def _with_titles(columns: Mapping[str, Sequence[str]]) -> list[Sequence[str]]:
    return [(title, *cells) for title, cells in columns.items()]


def _sizes(columns: Mapping[str, Sequence[str]]) -> list[int]:
    return [max(map(len, each)) for each in _with_titles(columns)]


def _fits(columns: Mapping[str, Sequence[str]], width: int | None) -> bool:
    return width is None or sum(_sizes(columns)) + 2 * (len(columns) - 1) <= width


def rows(found: Iterable[tuple[str, str]]) -> list[str]:
    """Return pairs of a label and its text, a line each."""
    return [f"{_visible(label):9} {_visible(text)}" for label, text in found]


def status(found: ProxyStatus) -> list[str]:
    """Return the addresses of a proxy and its totals."""
    totals = found.totals
    served = ", ".join(f"{account} {count:,}" for account, count in sorted(totals.accounts.items()))
    verdicts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(totals.verdicts.items()))
    counts = (
        ("", totals.exchanges),
        (" in flight", found.in_flight),
        (" failed", totals.failed),
        *((" refused", count) for count in (totals.refused,) if count),
        (" moved", totals.moved),
    )
    return rows([
        ("proxy", f"{' '.join(found.addresses) or 'no listener'} · process {found.pid} · patchbay {found.version}"),
        ("mode", found.mode),
        ("up", length_words(found.uptime_seconds)),
        ("exchanges", " · ".join(f"{count:,}{word}" for word, count in counts)),
        ("accounts", served or "none was used"),
        ("tokens", tokens(totals.tokens) or "none counted"),
        ("verdicts", verdicts or "none"),
        *(("store", f"cannot be used: {fault}") for fault in (found.store_fault,) if fault),
    ])  # fmt: skip


def accounts(found: Sequence[AccountShown], now: float, width: int | None = None) -> list[str]:
    """Return a line for each account, and one for each of its models that cannot be used while others can."""
    titles = "ACCOUNT,STATE,UNTIL,SESSIONS,IN FLIGHT,QUEUE,RPM,TPM,EXCHANGES,TOKENS,REASON".split(",")
    lines = (line for each in found for line in _account(each, now))
    return table(titles, lines, width, _ACCOUNTS_DROP, below="REASON")


def _account(each: AccountShown, now: float) -> Iterator[Sequence[str]]:
    yield (
        each.account,
        STATE_WORDS.get(each.state, each.state),
        until(each.until, now),
        str(each.sessions),
        str(each.in_flight),
        str(each.queue),
        _rate(each.rpm_used, each.rpm),
        _rate(each.tpm_used, each.tpm),
        f"{each.exchanges:,}",
        tokens(each.tokens),
        each.reason or _NOTES.get(each.state, ""),
    )
    for lane in each.lanes if len(each.lanes) > 1 else ():
        yield (
            f"  {lane.model}",
            STATE_WORDS.get(lane.state, lane.state),
            until(lane.until, now),
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            lane.reason or _NOTES.get(lane.state, ""),
        )


def sessions(found: Sequence[SessionShown], now: float, width: int | None = None, *, moves: bool = False) -> list[str]:
    """Return a line for each conversation; with *moves*, also one for each change of its account."""
    titles = (
        "SESSION",
        "TOOL",
        "CLIENT",
        "HOME",
        "LAST ON",
        "MODEL",
        "TURNS",
        "FAILED",
        "TOKENS",
        "LAST",
        "VERDICT",
        "MOVED",
    )
    lines = table(titles, (_session(each, now) for each in found), width, _SESSIONS_DROP)
    if not moves:
        return lines
    shown = [lines[0]]
    for each, line in zip(found, lines[1:], strict=True):
        shown += [line, *(_move(move.time, move.origin, move.account, move.reason) for move in each.moves)]
    return shown


def _session(each: SessionShown, now: float) -> Sequence[str]:
    if not each.first:  # bound by an earlier process, and not used since
        return (each.name, "", "", each.home, "", "", "", "", "", ago(each.last, now), "", "")
    return (
        each.name,
        each.tool,
        each.client,
        each.home or "none",
        each.account,
        each.model,
        f"{each.turns:,}",
        f"{each.failed or ''}",
        tokens(each.tokens),
        ago(each.last, now),
        each.verdict,
        str(each.moved or ""),
    )


def _move(at: float, origin: str, account: str, reason: str) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    return _visible(f"  {when}  {origin} → {account}: {reason}")


def tokens(found: TokenTotals) -> str:
    """Return counts of tokens, such as `12,345 in (80% cached) 678 out`."""
    if not (found.input or found.output):
        return ""
    share = f" ({100 * found.cached // found.input}% cached)" if found.input else ""
    return f"{found.input:,} in{share} {found.output:,} out"


def until(at: float | None, now: float) -> str:
    """Return the time *at* with what is left to it, such as `14:05:10 (9m12s)`; empty for None."""
    if at is None or at <= now:
        return ""
    return f"{end_clock(at, now)} ({length_words(at - now)})"


def ago(at: float, now: float) -> str:
    """Return how long ago *at* was."""
    return f"{length_words(now - at)} ago" if at else ""


def _rate(used: float, limit: int) -> str:
    return f"{used:,.0f}/{limit:,}" if limit else ""


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
