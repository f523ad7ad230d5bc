"""What a user can do about a refusal is its last sentence, where there is such a thing."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.accounts import mends
from patchbay.accounts.absent import REASONS, Absent
from patchbay.accounts.refusals import account_unknown, none_left, owner_unavailable, unserved
from patchbay.logins import expired
from patchbay.values.account import Models

from .test_pool import account

NOW = 1_795_000_000.0


def absent(cause, detail="", *, hinted=False, name="amber"):
    return Absent(name, "p", cause, detail, hinted, NOW + 60, NOW + 60)


@pytest.mark.parametrize(
    ("accounts", "mend"),
    [
        ([absent("rate")], "To try it at once: patchbay wake amber"),
        ([absent("rate", hinted=True)], "Wait, or add an account; if the limit is over already: patchbay wake amber"),
        ([absent("quota", hinted=True)], "Wait, or add an account"),
        ([absent("quota")], "Add credit there, then: patchbay wake amber"),
        (
            [absent("auth", "401")],
            "Replace the key of account amber in the settings; `patchbay doctor --ask` tries every key",
        ),
        (
            [absent("auth", "401"), absent("auth", "401", name="birch")],
            "Replace the keys of these accounts in the settings; `patchbay doctor --ask` tries every key",
        ),
        ([absent("auth", f"403 {REASONS[0]}")], ""),
        ([absent("no_key", "env:KEY")], "Put the key where `key:` points; `patchbay doctor` says which are missing"),
        ([absent("unreachable", "connection refused")], "Check that the provider runs, and base_url in the settings"),
        ([absent("unreachable", "name not resolved")], "Check the network, and the name in base_url"),
        ([absent("unreachable", "timed out")], "Check the network, and base_url in the settings"),
        (
            [absent("unreachable", "connection refused"), absent("unreachable", "name not resolved")],
            "Check the network, and base_url in the settings",
        ),
        ([absent("unreadable", "no valid HTTP")], "Check base_url in the settings: what answers there speaks no HTTP"),
        ([absent("unreadable", "unknown content-encoding")], ""),
        ([absent("model")], "Check the name of the model, and `models:` of these accounts in the settings"),
        ([absent("disabled")], "Set `enabled: true` for one in the settings, such as amber"),
        ([absent("switched_off")], "To use one again: patchbay enable amber"),
        ([absent("paused")], "To use one again: patchbay wake amber"),
        ([absent("overload")], ""),
        ([absent("server", "503")], ""),
        ([absent("busy")], ""),
        # each needs another thing: the first that there is
        ([absent("rate"), absent("auth", name="birch")], "To try it at once: patchbay wake amber"),
        ([absent("overload"), absent("auth", name="birch"), absent("rate")],
         "Replace the key of account birch in the settings; `patchbay doctor --ask` tries every key"),
        ([absent("quota", hinted=True), absent("rate")], "Account amber: wait, or add an account"),
        ([absent("busy"), absent("server", "503")], ""),
        ([absent("disabled"), absent("rate", name="birch")], "To try it at once: patchbay wake birch"),
        ([absent("disabled"), absent("busy", name="birch")],
         "Set `enabled: true` for one in the settings, such as amber"),
        ([absent("no_upstream")], "Start with `--mode reverse:URL`, or name a base_url in the settings"),
        ([absent("no_key", expired(NOW, "codex"))], "Run `codex` once, which renews the login"),
        ([absent("no_key", expired(NOW, ""))], "Log in again with the tool that keeps this login"),
        ([absent("no_key", "env:KEY"), absent("no_key", expired(NOW, "claude"))],
         "Run `claude` once, which renews the login"),
        ([absent("no_key", expired(NOW, "claude")), absent("rate")],
         "Account amber: run `claude` once, which renews the login"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_cause_decides_what_to_do(accounts, mend):
    assert mends.of_accounts(accounts) == mend


def test_it_stands_behind_the_reasons_and_names_the_account_that_is_free_first():
    late = Absent("late", "p", "rate", "429", False, NOW + 90, NOW + 90)
    message = none_left("m", [late, absent("rate", "429")], NOW).message
    assert message.endswith("(1m30s). To try it at once: patchbay wake amber")


@given(st.text(), st.sampled_from(["rate", "quota", "auth", "disabled"]))
def test_a_name_is_part_of_a_command_only_where_it_fits_one(name, cause):
    told = mends.of_accounts([absent(cause, name=name)])
    assert told.isprintable()
    assert len(told) < 130


def test_what_belongs_to_an_account_needs_that_account_or_a_new_conversation():
    assert owner_unavailable([], NOW).message.endswith(". Start a new conversation")
    assert owner_unavailable([absent("rate")], NOW).message.endswith(". Wait, or start a new conversation")


def test_an_unknown_account_is_answered_with_those_there_are():
    assert account_unknown("ambr").message == "There is no account 'ambr' for this request"
    assert account_unknown("ambr", ["amber", "birch"]).message.endswith(". There are: amber, birch")
    assert account_unknown("x", list("abcdefg")).message.endswith(". There are: a, b, c, d and 3 more")


SERVING = [
    account("a", models=Models(allow=("gpt-5.1", "gpt-5.1-mini", "claude-*"), aliases={"fast": "gpt-5.1-mini"})),
    account("b", models=Models(allow=("o3", "denied"), deny=("denied",))),
    account("off", enabled=False, models=Models(allow=("gpt-9",))),
]


@pytest.mark.parametrize(
    ("model", "allowed", "mend"),
    [
        ("gtp-5.1", (), "Did you mean gpt-5.1? Served: fast, gpt-5.1, gpt-5.1-mini, claude-*, o3"),
        ("GPT-5.1-MINY", (), "Did you mean gpt-5.1-mini? Served: fast, gpt-5.1, gpt-5.1-mini, claude-*, o3"),
        ("llama", (), "Served: fast, gpt-5.1, gpt-5.1-mini, claude-*, o3"),
        ("gtp-5.1", ("o*",), "Served: o3"),  # the client may use no other, and hears of no other
        ("llama", ("nothing",), ""),
    ],
)
def test_the_models_that_are_served_are_named(model, allowed, mend):
    assert mends.of_model(model, SERVING, allowed) == mend


def test_only_some_of_many_are_named():
    many = [account("a", models=Models(allow=tuple(f"m-{n}" for n in range(900))))]
    assert mends.of_model("x", many, ()) == "Served: m-0, m-1, m-2, m-3, m-4 and 495 more"
    assert mends.of_model("x", [account("a", models=Models(deny=("x",)))], ()) == ""  # it serves all but one


@given(st.text(max_size=400))
def test_any_name_of_a_model_is_compared(model):
    assert mends.of_model(model, SERVING, ()).endswith("claude-*, o3")
    assert unserved(model, "Served: x").message.endswith(". Served: x")
