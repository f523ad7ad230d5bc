"""The lease without an account."""

from __future__ import annotations

import pytest

from patchbay.accounts import observed
from patchbay.accounts.lease import Ask
from patchbay.values.decision import Identity
from patchbay.values.http import Client, Origin


@pytest.mark.parametrize(
    ("host", "provider"), [("api.anthropic.com", "anthropic"), ("api.x.ai", "xai"), ("chat.example", "chat.example")]
)
def test_its_provider_is_that_of_the_host(host: str, provider: str) -> None:
    origin = Origin("https", host, 443)
    lease = observed.lease(Ask("openai", origin, None, "gpt-5", Identity(), Client()), origin)

    assert lease.is_observed and lease.account.provider.name == provider
    assert (lease.origin, lease.model, lease.binding, lease.key) == (origin, "gpt-5", "none", None)
