"""What an account, a provider and their parts are where the settings say nothing."""

from __future__ import annotations

import pytest

from patchbay.values.account import Account, Echo, ErrorRule, Models, Provider, Secret, SecretHeader, Stamp, Timeouts


def test_an_account_of_which_only_the_key_is_stated_has_no_limits_and_serves_every_model():
    account = Account("a", Provider("p", "openai", frozenset()), Secret("env", "KEY"))
    assert (account.origin, account.base_path, account.enabled, account.weight, account.priority) == (
        None, "", True, 1.0, 0,
    )  # fmt: skip
    assert (account.group, account.quota_group, account.place, account.error_rules) == ("", "", "", ())
    assert (account.max_concurrent, account.rpm, account.tpm, account.slots) == (0, 0, 0, 0)
    assert (account.serialize, account.trust_reset, account.models) == ("none", "verify", Models(("*",)))
    assert (account.headers, account.secret_headers) == ({}, ())
    assert account.websockets is account.insecure_http is False


def test_a_provider_of_which_only_the_preset_is_stated_adds_nothing_and_lets_nothing_pass():
    provider = Provider("p", "openai", frozenset())
    assert (provider.base_url, provider.credential, provider.layout, provider.api_version) == ("", "auto", "plain", "")
    assert (provider.stamp, provider.echo, provider.timeouts) == (Stamp(), Echo(), Timeouts())
    assert (provider.model_ids, provider.slots, provider.serialize) == ({}, 0, "none")
    assert (provider.error_rules, provider.disabled_detectors, provider.paths) == ((), (), ())
    assert provider.pass_headers == provider.pass_query == frozenset()


def test_a_secret_is_valid_for_five_minutes_its_command_has_ten_seconds_and_it_is_never_shown():
    secret = Secret("cmd", "sk-hidden", argv=("print", "sk-hidden"))
    assert (secret.ttl, secret.timeout, secret.pointer) == (300, 10, "")
    assert "sk-hidden" not in repr(SecretHeader("x-key", secret))
    assert (Secret("env").value, Secret("env").argv, SecretHeader("x", secret).scheme) == ("", (), "")


def test_an_attempt_has_ten_seconds_to_connect_and_five_minutes_to_begin_and_between_chunks():
    bounds = Timeouts()
    assert (bounds.connect, bounds.first_byte, bounds.idle, bounds.total) == (10, 300, 300, 0)
    assert (bounds.whole_first_byte, bounds.whole_idle) == (0, 0)


def test_the_bounds_of_a_whole_answer_are_its_own_and_the_others_stay():
    bounds = Timeouts(1, 2, 3, 4, 5, 6)
    assert bounds.for_whole_answer == Timeouts(1, 5, 6, 4, 5, 6)


@pytest.mark.parametrize("field", ["request_id", "session_id"])
def test_a_stamp_uses_the_fields_of_its_templates(field):
    template = {"x": f"a-{{{field}}}-b"}
    assert Stamp(headers=template).uses(field) and Stamp(body=template).uses(field)
    assert not Stamp(headers=template).uses("thread_id") and not Stamp(headers={"x": field}).uses(field)
    assert not Stamp().uses(field)


def test_a_stamp_has_our_headers_and_no_others_unless_stated_and_no_echo_is_promised():
    stamp, echo, rule = Stamp(), Echo(), ErrorRule()
    assert (stamp.headers, stamp.body, stamp.body_paths, stamp.patchbay_headers) == ({}, {}, frozenset(), True)
    assert (echo.headers, echo.body, echo.promised) == ({}, {}, False)
    assert (rule.status, rule.contains, rule.outcome, rule.cooldown) == (frozenset(), "", None, None)


def test_what_an_account_serves_is_stated_by_four_tables():
    models = Models()
    assert (models.allow, models.deny, models.aliases, models.upstream_names) == (("*",), (), {}, {})


def test_the_secrets_of_an_account_are_its_key_and_those_of_its_headers():
    key, other = Secret("env", "KEY"), Secret("env", "OTHER")
    account = Account("a", Provider("p", "openai", frozenset()), key, secret_headers=(SecretHeader("x", other),))
    assert account.secrets == (key, other)
