"""What an account serves, and under which name."""

from __future__ import annotations

import pytest

from patchbay.accounts import models
from patchbay.config import Account, Models, Secret
from patchbay.providers import PRESETS


def account(quota="", **rules):
    return Account("a", PRESETS["openai"], Secret("literal", "k"), models=Models(**rules), quota=quota)


@pytest.mark.parametrize(
    ("model", "base"),
    [("m", "m"), ("m(high)", "m"), ("m(8192)", "m"), ("m(none)", "m"), ("m-high", "m-high"), ("m(7b)", "m(7b)"),
     ("(high)", "(high)"), ("", ""), ("m(high)x", "m(high)x")],
)  # fmt: skip
def test_row_d2_only_an_effort_in_brackets_is_taken_off(model, base):
    assert models.base(model) == base


@pytest.mark.parametrize(
    ("rules", "model", "serves"),
    [
        ({}, "anything", True),
        ({"allow": ("gpt-*",)}, "gpt-5", True),
        ({"allow": ("gpt-*",)}, "claude", False),
        ({"allow": ("gpt-5",)}, "gpt-5(high)", True),
        ({"deny": ("*-mini",)}, "gpt-5-mini", False),
        ({"deny": ("*-mini",)}, "gpt-5-mini(low)", False),
        ({"allow": ("gpt-*",), "deny": ("gpt-5",)}, "gpt-5", False),
        ({"allow": ("gpt-*",), "aliases": {"fast": "gpt-5"}}, "fast", True),
        ({"allow": ("fast",), "aliases": {"fast": "gpt-5"}}, "fast", False),
        ({"allow": ()}, "", True),
    ],
)
def test_aliases_come_first_and_deny_wins_over_allow(rules, model, serves):
    assert models.serves(account(**rules), model) is serves


def test_the_provider_is_asked_by_its_own_name_and_the_effort_stays():
    one = account(aliases={"fast": "gpt-5"}, names={"gpt-5": "deploy-7", "slow(high)": "deploy-9"})

    assert models.upstream(one, "fast") == "deploy-7"
    assert models.upstream(one, "fast(high)") == "deploy-7(high)"
    assert models.upstream(one, "slow(high)") == "deploy-9"
    assert models.upstream(one, "other") == "other"
    assert models.upstream(one, "") == ""


def test_an_effort_in_the_new_name_wins():
    assert models.upstream(account(aliases={"think": "gpt-5(max)"}), "think(low)") == "gpt-5(max)"


def test_a_lane_is_the_model_without_alias_and_effort_whatever_is_shared():
    assert models.lane(account(aliases={"fast": "gpt-5"}), "fast(high)") == "gpt-5"
    assert models.lane(account(quota="org"), "gpt-5") == "gpt-5"
    assert len(models.lane(account(), "x" * 10_000)) == 256
