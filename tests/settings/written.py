"""Settings as a user writes them, and what is wrong with them."""

from __future__ import annotations

import pytest

from patchbay.settings.reader import ConfigError, load
from patchbay.values.account import Account, Secret

ONE = "accounts: [{id: a, provider: generic, base_url: reverse, key: example-key}]\n"


def account(text: str, more: str = "") -> Account:
    """Return the account that *text* adds to a good one."""
    return load(f"{more}\naccounts:\n- {{id: a, provider: openai, key: example-key, {text}}}\n", "c").accounts[0]


def mistakes(text: str, name: str = "c") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, name)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return list(caught.value.mistakes)


def wrong_account(text: str) -> list[str]:
    """Return what is wrong with *text* in an account, without places."""
    found = mistakes(f"accounts:\n- {{id: a, provider: openai, key: example-key, {text}}}\n")
    return [one.partition(" ")[2].removeprefix("accounts[0].") for one in found]


def key(text: str) -> Secret:
    return load(f"accounts: [{{id: a, provider: openai, key: {text}}}]", "c").accounts[0].secret


def wrong_key(text: str) -> str:
    (found,) = mistakes(f"accounts: [{{id: a, provider: openai, key: {text}}}]")
    return found.partition(" ")[2].removeprefix("accounts[0].")
