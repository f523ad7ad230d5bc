"""The lease of a request that is only observed: no account is chosen, and the client's own credential goes with it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from urllib.parse import urlsplit

from ..settings.presets import PRESETS
from ..values.account import Account, Secret
from ..values.http import Origin
from .lease import Ask, Lease

_BY_HOST = {  # the first preset of a host counts: the second is of a login there
    urlsplit(preset.base_url).hostname: preset
    for preset in reversed(PRESETS.values())
    if preset.base_url.startswith("https:")
}
_NO_TICKET = -1  # nothing is held, so there is nothing to release


def lease(ask: Ask, destination: Origin) -> Lease:
    """Return the lease of a request for *destination* that names no account; its provider is the one of that host."""
    return Lease(
        account=_account_at(destination),
        origin=destination,
        model=ask.model,
        pool="",
        lane="",
        binding="none",
        candidates=(),
        generation=0,
        ask=ask,
        key=None,
        ticket=_NO_TICKET,
        slot=None,
    )


@lru_cache(1024)
def _account_at(origin: Origin) -> Account:
    provider = _BY_HOST.get(origin.host) or replace(PRESETS["pristine"], name=origin.host)
    return Account(id="", provider=provider, secret=Secret("literal"), origin=origin)
