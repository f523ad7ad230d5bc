"""The values that hold where the settings name none."""

from __future__ import annotations

from dataclasses import asdict, replace

from patchbay.settings.settings import ClientKey, Config
from patchbay.values.account import Account, Provider, Secret

DEFAULTS = {
    "state": "~/.local/state/patchbay",
    "store": "",
    "strategy": "rendezvous",
    "sessions": {
        "order": ("own", "parent", "custom_header", "custom_body", "claude_session", "codex", "harness",
                  "generic_header", "body_session", "conversation", "token", "cache_key", "user", "content"),
        "ttl": 3600.0, "limit": 10_000, "subagents": "share", "on_error": "keep", "prompt_cache_ttl": 300.0,
        "failback": "idle", "headers": (), "body": (),
    },
    "clients": (),
    "failover": {
        "attempts": 24, "timeout": 30.0, "sticky_wait": 3.0, "hold_until_content": True, "hold_timeout": 10.0,
        "repeat_slow": "streams", "encrypted_reasoning": "strip",
    },
    "queue": {"limit": 1000, "timeout": 30.0, "preferred_wait": 2.0},
    "journal": {"path": "", "max_bytes": 10_000_000, "keep": 5},
    "crosstalk": {"reaction": "observe", "incidents": 200, "on_incident": (), "on_incident_interval": 10.0},
    "limits": {
        "body": 67_108_864, "keep_streamed": 2_097_152, "header_size": 262_144, "header_count": 256,
        "known_ids": 100_000,
    },
    "other_traffic": "",
    "mode": "serve",
    "grace_period": 20.0,
    "allowed_hosts": (),
    "allowed_origins": (),
}  # fmt: skip


def test_every_default() -> None:
    found = asdict(Config(()))

    assert {name: value for name, value in found.items() if name not in ("accounts", "warnings", "places")} == DEFAULTS
    client = ClientKey("ann", Secret("literal"))
    assert (client.may_pin, client.scope, client.pools, client.providers, client.models) == (False, "", (), (), ())


def test_no_secret_is_shown_by_a_settings_repr() -> None:
    shown = repr(Config((), store="redis://:hunter2@host", clients=(ClientKey("ann", Secret("literal", "hunter2")),)))

    assert "hunter2" not in shown


def test_without_an_enabled_account_a_proxy_that_changes_nothing_only_looks() -> None:
    off = Account("a", Provider("p", "p", frozenset({"openai"})), Secret("literal"), enabled=False)

    assert [Config((), mode="shadow").shown_mode, Config((off,), mode="shadow").shown_mode] == ["look", "look"]
    assert Config((replace(off, enabled=True),), mode="shadow").shown_mode == "shadow"
    assert Config((off,)).shown_mode == "serve"
