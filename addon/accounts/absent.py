"""An account that serves such requests but cannot now, and why."""

from __future__ import annotations

from typing import Literal

from ..frozen import dataclass
from ..values.account import OutcomeKind

# Reasons that a row of `outcome` may give beyond the kind; never a provider's own words.
REASONS = ("region or network not supported", "not in this region", "organization disabled", "model not allowed")

# `unreachable`: no connection; `unanswered`: no whole answer; `tried`: it failed in this exchange, for no known reason.
Failed = Literal["unreachable", "unanswered", "unreadable", "no_key"]
Cause = OutcomeKind | Failed | Literal["no_upstream", "disabled", "tried", "busy", "paused", "switched_off"]


@dataclass(frozen=True, slots=True)
class Absent:
    """
    An account that serves such requests but cannot now.

    *cause* and *detail* say why; *hinted*: the provider stated the end. *chance* is when a request may go there next,
    *deadline* when its cooldown ends; None: not known, or nothing to wait for.
    """

    account: str
    provider: str
    cause: Cause
    detail: str = ""
    hinted: bool = False
    chance: float | None = None
    deadline: float | None = None
