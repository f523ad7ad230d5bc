"""How each account stands, as commands and pages show it."""

from __future__ import annotations

from ..accounts import refusals
from ..accounts.absent import Absent
from ..accounts.status import AccountStatus
from ..router import Router
from ..values.account import Account
from .control_answers import AccountShown, LaneShown, TokenTotals, Totals
from .terminal_text import clean


def shown(router: Router, totals: Totals, now: float) -> list[AccountShown]:
    """Return how every account of *router* stands; *totals* are those of the exchanges."""
    named = {account.id: account for account in router.config.accounts}
    return [_account(router, each, named.get(each.account), totals, now) for each in router.accounts.status(now)]


def _account(
    router: Router, status: AccountStatus, account: Account | None, totals: Totals, now: float
) -> AccountShown:
    lanes = [LaneShown(clean(each.lane), each.state, each.reason, each.until) for each in status.lanes]
    return AccountShown(
        account=status.account,
        provider=status.provider,
        state=status.state,
        reason=_reason(router, status, now),
        until=None if status.state == "disabled" else status.deadline,
        in_flight=status.in_flight,
        queue=status.waiting,
        rpm_used=status.minute,
        rpm=account.rpm if account else 0,
        tpm_used=status.tokens,
        tpm=account.tpm if account else 0,
        sessions=status.sessions,
        exchanges=totals.accounts.get(status.account, 0),
        tokens=totals.account_tokens.get(status.account, TokenTotals()),
        lanes=lanes,
    )


def _reason(router: Router, status: AccountStatus, now: float) -> str:
    """Return why an account is not used, each cause with its models; that of the longest rest first."""
    if status.state == "disabled":
        return status.reason or "in the settings"
    models: dict[str, list[str]] = {}
    found = [each for each in router.accounts.health.troubles(status.account) if each[1].until > now]
    for lane, cooldown in sorted(found, key=lambda each: -each[1].until):
        cause, detail = refusals.cause_of_cooldown(cooldown.kind, cooldown.outcome)
        reason = refusals.reason(Absent(status.account, status.provider, cause, detail, cooldown.hinted))
        models.setdefault(reason, []).extend([clean(lane)] if lane else [])
    return "; ".join(f"{reason} for {', '.join(lanes)}" if lanes else reason for reason, lanes in models.items())
