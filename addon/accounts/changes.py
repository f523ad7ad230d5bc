"""
What happens to accounts, as a user is told it: collected when it happens, merged, and given out once.

An account whose lanes all fail at once rests once; a fault that is taken back at once was none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

from ..frozen import dataclass
from ..values.account import Account
from . import refusals
from .absent import Absent, Cause
from .bindings import Bindings
from .health import Health

ChangeKind = Literal["rests", "back", "disabled", "enabled", "added", "removed"]
# An end that is later by no more than this many seconds, or this part of the whole, is the same rest.
SAME_END, SAME_PART = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Rest:
    """
    Why and until when an account, or some *lanes* of it (empty: all), is not used.

    *reason* is in the words of a refusal, *cause* the word for programs. *stated*: the seconds for which the provider
    asked, None where it did not.
    """

    lanes: tuple[str, ...]
    cause: Cause
    reason: str
    since: float
    until: float
    stated: float | None = None

    def covers(self, other: Rest, now: float) -> bool:
        """Whether *other* is no news to a user who was told of this rest."""
        if self.until <= now or (self.cause != other.cause and other.until > self.until):
            return False
        later = other.until - self.until
        return self.has(other) and later <= max(SAME_END, SAME_PART * (self.until - self.since))

    def has(self, other: Rest) -> bool:
        """Whether all lanes of *other* rest here."""
        return not self.lanes or (bool(other.lanes) and {*other.lanes} <= {*self.lanes})


@dataclass(frozen=True, slots=True)
class AccountChange:
    """
    What happened to *account*. *rest*: what began, or is over (`back`). *because*: on whose behalf, in words.

    *conversations* counts those that were under way there; *move*: another account can serve them.
    """

    account: str
    kind: ChangeKind
    rest: Rest | None = None
    because: str = ""
    conversations: int = 0
    move: bool = False


class Changes:
    """
    The changes that were not given out yet. `listener` is called when there are some; None: nothing is collected.

    *warm_for*: a conversation that was used within so many seconds is under way.
    """

    def __init__(self, health: Health, bindings: Bindings, warm_for: Callable[[], float]) -> None:
        self.listener: Callable[[], None] | None = None
        self._health = health
        self._bindings = bindings
        self._warm_for = warm_for
        self._told: dict[str, Rest] = {}
        self._touched: dict[str, int] = {}  # account → conversations under way when it was touched
        self._because: dict[str, str] = {}
        self._other: list[AccountChange] = []
        health.touched = self._touch

    def because(self, account: str, why: str) -> None:
        """Record on whose behalf *account* is changed now."""
        if self.listener:
            self._because[account] = why

    def note(self, account: str, kind: ChangeKind, because: str) -> None:
        """Record a change of *account* that is none of its health."""
        if kind == "removed":
            self._told.pop(account, None)
        if self.listener:
            self._other.append(AccountChange(account, kind, because=because))
            self.listener()

    def present(self, account: str, now: float) -> Rest | None:
        """Return why *account* rests now; None: no part of it does."""
        found = [(lane, each) for lane, each in self._health.troubles(account) if each.until > now]
        whole = [each for each in found if each[0] is None]
        if not found:
            return None
        worst = max(whole or found, key=lambda each: each[1].until)[1]
        outcome = worst.outcome
        cause, detail = refusals.cause_of_cooldown(worst.kind, outcome)
        reason = refusals.reason(Absent(account, "", cause, detail, worst.hinted))
        lanes = () if whole else tuple(sorted({lane or "" for lane, _ in found}))
        stated = worst.until - worst.set_at if worst.hinted and outcome and not outcome.failure else None
        return Rest(lanes, cause, reason, worst.since, worst.until, stated)

    def told(self, accounts: Iterable[str], now: float) -> None:
        """Record that a user was told how *accounts* are now."""
        self._touched.clear()
        self._other.clear()
        self._told = {account: rest for account in accounts if (rest := self.present(account, now))}

    def take(self, accounts: Mapping[str, Account], now: float) -> list[AccountChange]:
        """Return what happened to *accounts* since the last call."""
        touched, self._touched = self._touched, {}
        because, self._because = self._because, {}
        other, self._other = self._other, []
        found = [self._change(name, count, now) for name, count in touched.items() if name in accounts]
        enabled = {each.account for each in other if each.kind == "enabled"}  # which says that it is back
        changes = [replace(each, because=because.get(each.account, "")) for each in found
                   if each is not None and (each.kind != "back" or each.account not in enabled)]  # fmt: skip
        return other + [replace(each, move=self._others_serve(accounts, each, now)) for each in changes]

    def _touch(self, name: str, now: float) -> None:
        if self.listener is None:
            return
        for account in self._health.sharing(name):
            if account not in self._touched:
                self._touched[account] = self._bindings.active(account, now, self._warm_for())
        self.listener()

    def _change(self, account: str, conversations: int, now: float) -> AccountChange | None:
        told, rest = self._told.get(account), self.present(account, now)
        if rest is None:
            if told is None or any(True for _ in self._health.troubles(account)):  # it is to be probed
                return None
            del self._told[account]
            return AccountChange(account, "back", told)
        if told is not None and told.covers(rest, now):
            back = tuple(lane for lane in told.lanes if lane not in rest.lanes)
            self._told[account] = replace(told, lanes=rest.lanes)
            return AccountChange(account, "back", replace(told, lanes=back)) if back else None
        self._told[account] = rest
        return AccountChange(account, "rests", rest, conversations=conversations)

    def _others_serve(self, accounts: Mapping[str, Account], change: AccountChange, now: float) -> bool:
        if change.rest is None or not change.conversations:
            return False
        families, lane = accounts[change.account].provider.families, (change.rest.lanes or ("",))[0]
        return any(
            other.enabled
            and other.id != change.account
            and not {*families}.isdisjoint(other.provider.families)
            and self._health.available(other.id, lane, now)
            for other in accounts.values()
        )
