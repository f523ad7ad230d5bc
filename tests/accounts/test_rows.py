"""Every row of the providers' errors: what it makes of the account that answered so, and of its other models."""

from __future__ import annotations

import json

from patchbay.accounts import outcome
from patchbay.accounts.health import Health
from patchbay.accounts.upstream_faults import OutcomeContext
from patchbay.body import Body
from patchbay.values.answer import Head
from patchbay.values.decision import Outcome
from patchbay.values.http import Headers

from ..each_row import each_row
from .test_outcome import NOW, TABLE

# By outcome and by how far it reaches: the state of the model that was asked for, and of any other.
NEXT = {
    ("ok", "lane"): ("healthy", "healthy"),
    ("rate", "lane"): ("cooling", "healthy"),
    ("rate", "account"): ("cooling", "cooling"),
    ("quota", "lane"): ("billing-blocked", "healthy"),
    ("quota", "account"): ("billing-blocked", "billing-blocked"),
    ("overload", "lane"): ("cooling", "healthy"),
    ("server", "lane"): ("cooling", "healthy"),
    ("auth", "account"): ("auth-failed", "auth-failed"),
    ("permission", "lane"): ("forbidden", "healthy"),
    ("permission", "account"): ("auth-failed", "auth-failed"),
    ("server", "exchange"): ("healthy", "healthy"),
    ("model", "lane"): ("unsupported", "healthy"),
    ("request", "exchange"): ("healthy", "healthy"),
    ("cancelled", "exchange"): ("healthy", "healthy"),
}


def judged(family: str, status: int, document: object) -> Outcome:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return outcome.classify(family, Head(status, Headers()), None if document is None else Body(raw), NOW)


@each_row(("family", "status", "document", "kind"), TABLE)
def test_every_row_of_the_error_tables_leads_to_its_state(
    family: str, status: int, document: object, kind: str
) -> None:
    health, found = Health(), judged(family, status, document)
    health.record_outcome("a", "m", found, NOW)
    if found.status_only:
        assert health.state("a", "m", NOW) == "healthy", "a status alone may be about one conversation"
        for other in "no":
            health.record_outcome("a", "m", found, NOW, context=OutcomeContext("", other, other))
    if kind == "server":
        assert health.state("a", "m", NOW) == "healthy", "one alone is no reason"
        health.record_outcome("a", "m", found, NOW + 1)

    assert (health.state("a", "m", NOW + 1), health.state("a", "other", NOW + 1)) == NEXT[kind, found.scope]
    assert health.state("b", "m", NOW + 1) == "healthy"


def test_every_outcome_stands_in_a_row() -> None:
    assert {kind for kind, _ in NEXT} == {row[3] for row in TABLE}
