"""The one thing that a user can do about a refusal, as the last sentence of its message; empty where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from types import MappingProxyType

from ..logins import renewal
from ..requested_models import matches
from ..values.account import Account
from .absent import REASONS, Absent

MODELS_NAMED = 5  # models that a message names; it counts the others
_COMPARED = 500  # names that are compared with the one that was asked for
_LONGEST = 80  # characters of a name that is compared or shown
_ID = 32  # characters of an account's id that a message shows
_WILD = frozenset("*?[")

_ON_PURPOSE = frozenset({"disabled", "switched_off", "paused"})
COMPANY_CA = (
    "if a company's CA signs there, start Patchbay with SSL_CERT_FILE=ca.pem"
    " or --set ssl_verify_upstream_trusted_ca=ca.pem"
)
_ON_THE_WAY: Mapping[str, str] = MappingProxyType({
    "connection refused": "Check that the provider runs, and base_url in the settings",
    "name not resolved": "Check the network, and the name in base_url",
    "no route to it": "Check the network",
    "TLS certificate not trusted": f"Check base_url; {COMPANY_CA}",
    "TLS handshake failed": "Check whether base_url must begin with http:// or https://",
    "no valid HTTP": "Check base_url in the settings: what answers there speaks no HTTP",
})  # fmt: skip


def of_accounts(absent: Sequence[Absent]) -> str:
    """
    Return what mends a refusal because of *absent*, the account that is free first at the begin.

    Of several causes the first one that can be mended is, and then its account is named; one that is on purpose comes
    last.
    """
    if len({each.cause for each in absent}) == 1:
        return _of_cause(absent)
    by_chance = sorted(absent, key=lambda each: each.cause in _ON_PURPOSE)
    return next(filter(None, map(_of_one, by_chance)), "")


def _of_one(absent: Absent) -> str:
    mend, name = _of_cause([absent]), _name([absent])
    return mend if not mend or name in mend else f"Account {name}: {mend[0].lower()}{mend[1:]}"


def _of_cause(absent: Sequence[Absent]) -> str:
    make = _BY_CAUSE.get(absent[0].cause)
    return make(absent) if make else ""


def _wait(absent: Sequence[Absent]) -> str:
    if all(each.hinted for each in absent):
        return f"Wait, or add an account; if the limit is over already: {_command('wake', absent)}"
    return f"To try it at once: {_command('wake', absent)}"


def _credit(absent: Sequence[Absent]) -> str:
    if all(each.hinted for each in absent):
        return "Wait, or add an account"
    return f"Add credit there, then: {_command('wake', absent)}"


def _key(absent: Sequence[Absent]) -> str:
    if any(each.detail.endswith(REASONS) for each in absent):  # another key would not help
        return ""
    which = f"the key of account {_name(absent)}" if len(absent) == 1 else "the keys of these accounts"
    return f"Replace {which} in the settings; `patchbay doctor --ask` tries every key"


def _no_key(absent: Sequence[Absent]) -> str:
    renewed = (renewal(each.detail) for each in absent)
    return next(filter(None, renewed), "Put the key where `key:` points; `patchbay doctor` says which are missing")


def _on_the_way(absent: Sequence[Absent]) -> str:
    found = {mend for each in absent for why, mend in _ON_THE_WAY.items() if why in each.detail}
    return found.pop() if len(found) == 1 else "Check the network, and base_url in the settings"


def _unreadable(absent: Sequence[Absent]) -> str:
    return _ON_THE_WAY["no valid HTTP"] if all("no valid HTTP" in each.detail for each in absent) else ""


def _disabled(absent: Sequence[Absent]) -> str:
    return f"Set `enabled: true` for one in the settings, such as {_name(absent)}"


def _command(name: str, absent: Sequence[Absent]) -> str:
    return f"patchbay {name} {_name(absent)}"


def _name(absent: Sequence[Absent]) -> str:
    name = absent[0].account
    return name if name.isprintable() and len(name) <= _ID else "ACCOUNT"


_BY_CAUSE: Mapping[str, Callable[[Sequence[Absent]], str]] = MappingProxyType({
    "rate": _wait,
    "quota": _credit,
    "auth": _key,
    "no_key": _no_key,
    "unreachable": _on_the_way,
    "unreadable": _unreadable,
    "model": lambda absent: "Check the name of the model, and `models:` of these accounts in the settings",
    "disabled": _disabled,
    "no_upstream": lambda absent: "Start with `--mode reverse:URL`, or name a base_url in the settings",
    "switched_off": lambda absent: f"To use one again: {_command('enable', absent)}",
    "paused": lambda absent: f"To use one again: {_command('wake', absent)}",
})  # fmt: skip


def of_model(model: str, accounts: Iterable[Account], allowed: Sequence[str]) -> str:
    """
    Return which models *accounts* serve, and which of them *model* may have meant.

    *allowed* are the patterns of the client's models (empty: all); it is told of no other.
    """
    patterns = {name[:_LONGEST]: None for each in accounts if each.enabled for name in _names(each)}
    served = [name for name in islice(patterns, _COMPARED) if not allowed or matches(tuple(allowed), {name})]
    if not served or "*" in served:
        return ""
    whole = {name.casefold(): name for name in served if _WILD.isdisjoint(name)}
    meant = get_close_matches(model[:_LONGEST].casefold(), whole, 1, 0.6)
    more = f" and {len(served) - MODELS_NAMED} more" if len(served) > MODELS_NAMED else ""
    asked = f"Did you mean {whole[meant[0]]}? " if meant else ""
    return f"{asked}Served: {', '.join(served[:MODELS_NAMED])}{more}"


def _names(account: Account) -> Iterable[str]:
    return (*account.models.aliases, *(name for name in account.models.allow if name not in account.models.deny))
