"""What an account serves, and under which name."""

from __future__ import annotations

import pytest

from patchbay import clients
from patchbay.accounts import models
from patchbay.requested_models import RequestedModels
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Account, Models, Secret
from patchbay.values.http import Client, Endpoint


def account(quota_group="", **rules):
    return Account("a", PRESETS["openai"], Secret("literal", "k"), models=Models(**rules), quota_group=quota_group)


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
    one = account(aliases={"fast": "gpt-5"}, upstream_names={"gpt-5": "deploy-7", "slow(high)": "deploy-9"})

    assert models.upstream(one, "fast") == "deploy-7"
    assert models.upstream(one, "fast(high)") == "deploy-7(high)"
    assert models.upstream(one, "slow(high)") == "deploy-9"
    assert models.upstream(one, "other") == "other"
    assert models.upstream(one, "") == ""


def test_an_effort_in_the_new_name_wins():
    assert models.upstream(account(aliases={"think": "gpt-5(max)"}), "think(low)") == "gpt-5(max)"


def test_a_lane_is_the_model_without_alias_and_effort_whatever_is_shared():
    assert models.lane(account(aliases={"fast": "gpt-5"}), "fast(high)") == "gpt-5"
    assert models.lane(account(quota_group="org"), "gpt-5") == "gpt-5"
    assert len(models.lane(account(), "x" * 10_000)) == 256


@pytest.mark.parametrize(
    ("entry", "model", "matched"),
    [
        ("claude-x[1m]", "claude-x[1m]", True),
        ("claude-x[1m]", "claude-x[1m](high)", True),
        ("claude-x[1m]", "claude-x1", False),
        ("claude-x[1m]", "claude-xm", False),
        ("claude-*[1m]", "claude-x[1m]", True),
        ("claude-*[1m]", "claude-x1", False),
        ("*[200K]", "claude-x[200K]", True),
        ("gpt-[45]", "gpt-5", True),
        ("gpt-[45]", "gpt-[45]", True),
        ("gpt-[45]", "gpt-6", False),
        ("odd[", "odd[", True),
        ("what?*", "what?*", True),
    ],
)
def test_an_entry_that_equals_a_name_matches_it_everywhere(entry, model, matched):
    """A12: in an account's lists and in a client's, literally and as a pattern."""
    client = Client(models=(entry,))

    assert models.serves(account(allow=(entry,)), model) is matched
    assert models.serves(account(deny=(entry,)), model) is not matched
    bare = clients.exceeded_right(
        client, Endpoint("openai_chat", "openai", "generation"), RequestedModels(models.base(model))
    )
    assert (bare is None) is matched


def test_a_name_with_brackets_is_found_in_every_table():
    """A12: aliases, names and model_ids are looked up by the name as it stands."""
    one = account(
        aliases={"claude-x[1m]": "claude-y[1m]"}, allow=("claude-y[1m]",), upstream_names={"claude-y[1m]": "deploy"}
    )

    assert models.serves(one, "claude-x[1m]") and not models.serves(one, "claude-x1")
    assert models.upstream(one, "claude-x[1m]") == "deploy"
    assert models.base("claude-x[1m]") == "claude-x[1m]"


@pytest.mark.parametrize(
    ("deny", "model", "served"),
    [
        (("GPT-*",), "gpt-5", False),
        (("gpt-5",), " GPT-5 ", False),
        (("m ",), "m ", False),
        (("m ",), "m", True),
        (("GPT-5",), "models/gpt-5", False),
        (("*",), "anything", False),
        ((), "m", True),
    ],
)
def test_a_denied_model_is_denied_in_any_case_and_with_blanks_around_it(deny, model, served):
    assert models.serves(account(deny=deny), model) is served


@pytest.mark.parametrize(
    ("allow", "model", "served"),
    [
        (("m(high)",), "m(high)", True),
        (("m(high)",), "m", False),
        (("m",), "models/m", True),
        (("m (high)",), "m (high)", True),
        (("m",), "M", False),
        (("x", "*"), "m", True),
    ],
)
def test_an_allowed_model_is_found_with_its_effort_without_it_and_without_its_path(allow, model, served):
    assert models.serves(account(allow=allow), model) is served


@pytest.mark.parametrize(
    ("rules", "restricts"),
    [({}, False), ({"allow": ("a", "*")}, False), ({"allow": ("a",)}, True), ({"allow": ()}, True),
     ({"deny": ("a",)}, True)],
)  # fmt: skip
def test_an_account_restricts_models_unless_it_allows_all_and_denies_none(rules, restricts):
    assert models.restricts(account(**rules)) is restricts


@pytest.mark.parametrize(
    "effort", ["none", "auto", "minimal", "low", "medium", "high", "xhigh", "max", "-1", "1234567"]
)
def test_every_effort_is_taken_off_with_the_blank_before_it(effort):
    assert models.base(f"m ({effort})") == "m"
    assert models.upstream(account(aliases={"m": "n"}), f"m({effort})") == f"n({effort})"


@pytest.mark.parametrize("ending", ["(12345678)", "()", "(-2)", "(High)", "(high"])
def test_no_other_ending_is_an_effort(ending):
    assert models.base(f"m{ending}") == f"m{ending}"


@pytest.mark.parametrize("model", ["m(high)", "models/m(high)", "m", "models/m", "M(HIGH)", " m "])
def test_a_model_is_denied_by_any_of_its_names(model):
    assert not models.serves(account(deny=("m", "m(high)")), model)
    assert models.serves(account(deny=()), model)


def test_an_entry_with_an_effort_names_that_effort_alone():
    assert models.serves(account(allow=("m (high)",)), "m (high)")
    assert not models.serves(account(allow=("m(high)",)), "m(low)")
    assert models.serves(account(deny=("m(high)",)), "m(low)")
