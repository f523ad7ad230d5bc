"""Rules by which a provider's errors mean an outcome for its account, and the rows that several dialects share."""

from __future__ import annotations

import re

from ..frozen import dataclass
from ..values.account import OutcomeKind, OutcomeScope

BLAMELESS: frozenset[OutcomeKind] = frozenset({"request", "cancelled", "ok"})  # nothing follows for the account
# Some answer with 500 what they would not accept. With 401, 402, 403 and 429 a generic code says less than the status.
CLIENT_ERRORS = "400 404 405 409 412 413 415 422 500"


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """
    One row: any of *codes*, or *phrase* in the message, under one of *statuses* (none: under all) means *kind*.

    A stream has no status. *status_only*: it says no more than the status. *why*, of `absent.REASONS`: for clients.
    """

    kind: OutcomeKind
    codes: frozenset[str] = frozenset()
    phrase: re.Pattern[str] | None = None
    statuses: frozenset[int] = frozenset()
    scope: OutcomeScope | None = None
    status_only: bool = False
    why: str = ""

    @property
    def is_blameless(self) -> bool:
        """Whether nothing follows for the account."""
        return self.kind in BLAMELESS or self.scope == "exchange"


def rule_for(
    kind: OutcomeKind,
    codes: str = "",
    phrase: str = "",
    statuses: str = "",
    scope: OutcomeScope | None = None,
    *,
    status_only: bool = False,
    why: str = "",
) -> OutcomeRule:
    """Return the row of *codes* and *statuses*, separated by blanks, and of the pattern *phrase*."""
    pattern = re.compile(phrase) if phrase else None
    numbers = frozenset(map(int, statuses.split()))
    return OutcomeRule(kind, frozenset(codes.split()), pattern, numbers, scope, status_only, why)


# A 429 that speaks of a plan and of no time. It may be about a feature of this request or about the whole account.
PLAN = rule_for(
    "quota", phrase=r"\b(on|in) your (current )?plan\b|\bupgrade your plan\b", statuses="429", status_only=True
)

# Overload, whatever the status: some providers report it as 400.
BUSY = rule_for("overload", phrase=r"(high|heavy) (demand|load|traffic)|overloaded|too busy|"
                                    r"\b(server|engine|model|service|system|gpus|workers|slots) (is |are )?"
                                    r"(currently |all )?(busy|warming up|starting up|in use)\b|"
                                    r"temporarily (unavailable|overloaded)|"
                                    r"(over|at|exceed(s|ed)) (its |max(imum)? |full )?capacity|capacity exceeded|"
                                    r"(no|insufficient|not enough|limited) capacity",
                 statuses="400 404 409 422 424 429 498 500 502 503 529")  # fmt: skip

AT_ONCE = rule_for("rate", phrase=r"too many (concurrent|simultaneous|pending|queued) requests",
                    statuses="400 409 422 500 503")  # fmt: skip

# What a denial is about: this model, or where the request comes from, which is no better for any other model.
NO_MODEL = rule_for("model", phrase=r"(((not|n't) have|\b(no|without)) access to|\bnot allowed to (access|use)|"
                                    r"\bnot activated) (the |this )?(requested )?model\b|\bmodel access denied",
                    statuses="400 401 403 404", why="model not allowed")  # fmt: skip
FROM_HERE = rule_for("permission", "unsupported_country_region_territory",
                      r"(country|region|territory|location) (is )?not supported|virtual network|firewall rules|"
                      r"public (network )?access is disabled", "403",
                      scope="account", why="region or network not supported")  # fmt: skip

# A limit of zero: the account has no access, and waiting does not help.
ZERO_LIMIT = rule_for("model", phrase=r"\blimit: 0(?![.0-9])", statuses="429")

# The last rows of every table: these codes say no more than a status.
LAST_RULES = (
    rule_for("permission", "permission_error permission_denied forbidden", statuses="403", status_only=True),
    rule_for("request", "invalid_request_error context_length_exceeded invalid_encrypted_content invalid_image "
                        "string_above_max_length unsupported_parameter unsupported_value invalid_value "
                        "invalid_type missing_required_parameter request_too_large previous_response_not_found "
                        "unprocessable_entity bad_request badrequesterror not_found_error invalid_argument "
                        "failed_precondition out_of_range not_found already_exists aborted", statuses=CLIENT_ERRORS),
    rule_for("server", "server_error internal_error internal_server_error api_error timeout_error",
             statuses="500 502 503 504"),
)  # fmt: skip
