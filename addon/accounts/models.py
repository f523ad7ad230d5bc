"""The models of an account: aliases, allow and deny lists, the provider's names, effort suffixes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..given_text import printable
from ..requested_models import bare, matches
from ..values.account import Account

# Only words that can be an effort or a budget: some model names contain brackets.
_EFFORT = re.compile(r"(?P<base>.+?)(?P<effort>\((?:none|auto|minimal|low|medium|high|xhigh|max|-1|[0-9]{1,7})\))")
_MAX_LANE = 256


def base(model: str) -> str:
    """Remove the effort: `model(high)` becomes `model`. No other ending is an effort."""
    return _split(model)[0]


def serves(account: Account, model: str) -> bool:
    """Whether *account* serves what a client calls *model*; every account serves a request without a model."""
    if not model:
        return True
    named = _through(account.models.aliases, model)
    return _matches(account.models.allow, named) and not _is_denied(account.models.deny, named)


def restricts(account: Account) -> bool:
    """Whether there are models that *account* does not serve."""
    return "*" not in account.models.allow or bool(account.models.deny)


def upstream(account: Account, model: str) -> str:
    """Return the provider's name of *model*, with its effort."""
    return _through(account.models.upstream_names, _through(account.models.aliases, model))


def lane(account: Account, model: str) -> str:
    """Return the lane of *model* at *account*: the model that is meant, without its effort."""
    return bounded(_through(account.models.aliases, model))


def bounded(model: str) -> str:
    """Return *model* without its effort, of bounded length and well-formed, as the name of a lane or a binding."""
    return printable(base(model)[:_MAX_LANE])


def _split(model: str) -> tuple[str, str]:
    found = _EFFORT.fullmatch(model) if model.endswith(")") else None
    return (found["base"].rstrip(), found["effort"]) if found else (model, "")


def _through(table: Mapping[str, str], model: str) -> str:
    """Look *model* up as it is, then without its effort, which the new name gets unless it has its own."""
    if model in table:
        return table[model]
    name, effort = _split(model)
    if name not in table:
        return model
    found = table[name]
    return found if _split(found)[1] else found + effort


def _matches(patterns: tuple[str, ...], model: str) -> bool:
    return "*" in patterns or matches(patterns, {model, base(model), bare(model)})


def _is_denied(patterns: tuple[str, ...], model: str) -> bool:
    if not patterns:
        return False
    plain = model.strip().casefold()
    return _matches(tuple(pattern.casefold() for pattern in patterns), plain) or _matches(patterns, model)
