"""What went through the proxy while a command ran, in three lines."""

from __future__ import annotations

from collections.abc import Iterator

from ..proxy.control_answers import Totals

_FLAGS = ("crosstalk", "suspect")
_ACCOUNTS = 6  # that are named


def lines(totals: Totals, *, looked: bool) -> Iterator[str]:
    """Yield the lines; one, which says why, where nothing was asked. *looked*: there are no accounts."""
    if not totals.exchanges:
        yield _refused(totals) or "no calls: the command asked no model, or not through Patchbay"
        return
    yield f"{_counted(totals.exchanges, 'call')}, {_failed(totals)}"
    tokens = totals.tokens
    share = f" ({tokens.cached / tokens.input:.0%} from cache)" if tokens.input else ""
    yield f"tokens: {_short(tokens.input)} in{share}, {_short(tokens.output)} out"
    flagged = [f"{totals.verdicts[flag]} {flag}" for flag in _FLAGS if totals.verdicts.get(flag)]
    told = ", ".join(flagged) or "nothing flagged"
    if totals.verdicts.get("crosstalk") and not looked:
        told += " (patchbay incidents)"
    yield told if looked else f"accounts: {_accounts(totals)}; {told}"


def _refused(totals: Totals) -> str:
    return f"{_counted(totals.refused, 'call')} refused{_why(totals)}" if totals.refused else ""


def _failed(totals: Totals) -> str:
    """Return how many calls failed or were refused, and why the last of them."""
    refused = f", and {totals.refused} refused" if totals.refused else ""
    return f"{totals.failed or 'none'} failed{refused}{_why(totals)}"


def _why(totals: Totals) -> str:
    before = ": " if totals.failed + totals.refused == 1 else ", the last: "
    return before + totals.last_failure if totals.last_failure else ""


def is_flagged(totals: Totals) -> bool:
    """Whether an answer did not belong to its request, or may not have."""
    return any(totals.verdicts.get(flag) for flag in _FLAGS)


def _accounts(totals: Totals) -> str:
    found = sorted(totals.accounts.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{account} {count}" for account, count in found[:_ACCOUNTS]]
    if more := found[_ACCOUNTS:]:
        named.append(f"{len(more)} more {sum(count for _, count in more)}")
    moved = f" ({_counted(totals.moved, 'move')})" if totals.moved else ""
    return (", ".join(named) or "none") + moved


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(count: int) -> str:
    """Return *count* in at most five characters: 870, 19.2k, 231k, 1.4M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{letter}" if count < 99.95 * size else f"{count // size}{letter}"
    return str(count)
