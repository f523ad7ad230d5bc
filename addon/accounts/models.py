"""What an account serves and what its provider calls it: aliases, allow and deny, names, effort suffixes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..requested_models import bare, matches
from ..values.account import Account

# Only words that can be an effort or a budget: some models have brackets of their own.
_EFFORT = re.compile(r"(?P<base>.+?)(?P<effort>\((?:none|auto|minimal|low|medium|high|xhigh|max|-1|[0-9]{1,7})\))")
_MAX_LANE = 256


def base(model: str) -> str:
    """Take the effort off: `model(high)` is `model`. No other ending is an effort."""
    return _split(model)[0]


def serves(account: Account, model: str) -> bool:
    """Say whether *account* serves what a client calls *model*; a request without a model is served by all."""
    if not model:
        return True
    named = _through(account.models.aliases, model)
    return _matches(account.models.allow, named) and not _is_denied(account.models.deny, named)


def restricts(account: Account) -> bool:
    """Whether there is a model that *account* does not serve, so that it matters which one a request means."""
    return "*" not in account.models.allow or bool(account.models.deny)


def upstream(account: Account, model: str) -> str:
    """Return what the provider of *account* calls *model*. An effort stays where it was."""
    return _through(account.models.names, _through(account.models.aliases, model))


def lane(account: Account, model: str) -> str:
    """Return the lane of *account* in which *model* runs: the model it means, without its effort."""
    return base(_through(account.models.aliases, model))[:_MAX_LANE]


def _split(model: str) -> tuple[str, str]:
    found = _EFFORT.fullmatch(model) if model.endswith(")") else None
    return (found["base"].rstrip(), found["effort"]) if found else (model, "")


def _through(table: Mapping[str, str], model: str) -> str:
    """Look *model* up as it stands, then without its effort, which the new name gets unless it has one itself."""
    if model in table:
        return table[model]
    name, effort = _split(model)
    if not effort or name not in table:
        return model
    found = table[name]
    return found if _split(found)[1] else found + effort


def _matches(patterns: tuple[str, ...], model: str) -> bool:
    if "*" in patterns:
        return True
    return matches(patterns, {model, base(model), bare(model)})


def _is_denied(patterns: tuple[str, ...], model: str) -> bool:
    """Whether a pattern matches *model* in any spelling that a provider may take for the same."""
    if not patterns:
        return False
    plain = model.strip().casefold()
    return _matches(tuple(pattern.casefold() for pattern in patterns), plain) or _matches(patterns, model)
