"""What is looked at when it starts."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from patchbay.proxy import option_checks
from patchbay.settings.settings import ClientKey, Config, LimitSettings
from patchbay.values.account import Secret

HARMLESS = {
    "ssl_insecure": False, "proxy_debug": False, "stream_large_bodies": None, "listen_host": "127.0.0.1",
    "mode": ["regular"], "keep_host_header": True, "validate_inbound_headers": True,
}  # fmt: skip
EVERY = "0.0.0.0"  # noqa: S104
WITH_KEYS = Config((), clients=(ClientKey("ann", Secret("literal", "")),))


def said(settings: Config = Config(()), **options: object) -> str:  # noqa: B008 - a frozen value
    return "\n".join(option_checks.refused(SimpleNamespace(**{**HARMLESS, **options}), settings))  # type: ignore[arg-type]


def test_nothing_is_wrong_with_what_is_usual() -> None:
    assert said() == ""


@pytest.mark.parametrize(
    ("options", "what", "instead"),
    [
        ({"ssl_insecure": True}, "ssl_insecure", "ssl_verify_upstream_trusted_ca"),
        ({"proxy_debug": True}, "proxy_debug", "turn it off"),
        ({"stream_large_bodies": "1m"}, "stream_large_bodies=1m", "limits.body to 1048576"),
        ({"listen_host": EVERY}, EVERY, "127.0.0.1"),
        ({"listen_host": ""}, "every interface", "clients:"),
        ({"listen_host": "::"}, "::", "clients:"),
        ({"listen_host": "192.168.1.5"}, "192.168.1.5", "clients:"),
        ({"mode": ["regular", f"reverse:http://a.example@{EVERY}:8080"]}, EVERY, "clients:"),
        ({"mode": ["transparent@box.lan:80"]}, "box.lan", "clients:"),
    ],
)
def test_what_gives_keys_away_is_named_with_what_to_do(options: dict[str, object], what: str, instead: str) -> None:
    assert what in said(**options)
    assert instead in said(**options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_this_machine_is_no_other(host: str) -> None:
    assert said(listen_host=host) == ""
    assert said(listen_host="", mode=["local"]) == ""


def test_with_client_keys_it_may_be_reached() -> None:
    assert said(WITH_KEYS, listen_host=EVERY) == ""


def test_bodies_may_stream_above_what_is_read() -> None:
    assert said(Config((), limits=LimitSettings(body=1024)), stream_large_bodies="1k") == ""


def test_a_log_of_session_keys_is_warned_about() -> None:
    for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"):
        assert [name in warning for warning in option_checks._logged_sessions({name: "x"})] == [True]
    assert list(option_checks._logged_sessions({"SSLKEYLOGFILE": ""})) == []


@pytest.mark.parametrize("option", ["emudhra", "emudhra_old"])
def test_a_ca_whose_key_is_public_is_warned_about(option: str) -> None:
    """T15: an option of mitmproxy 12.3, which older ones do not have."""
    on, off = (SimpleNamespace(**HARMLESS, **{option: value}) for value in (True, False))

    assert [f"{option} is on" in told for told in option_checks._open_doors(on)] == [True]  # type: ignore[arg-type]
    assert list(option_checks._open_doors(off)) == []  # type: ignore[arg-type]
    assert option in option_checks.WATCHED


def test_root_is_warned_about() -> None:
    """R23"""
    assert ["root" in told for told in option_checks._as_root(0)] == [True]
    assert list(option_checks._as_root(1000)) == []


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({}, ""),
        ({"keep_host_header": False}, ""),
        ({"keep_host_header": False, "mode": ["reverse:http://a.example"]}, "keep_host_header"),
        ({"validate_inbound_headers": False}, "validate_inbound_headers"),
    ],
)
def test_doors_that_are_left_open_are_warned_about(options: dict[str, object], warned: str) -> None:
    found = "\n".join(option_checks._open_doors(SimpleNamespace(**{**HARMLESS, **options})))  # type: ignore[arg-type]

    assert warned in found
    assert bool(warned) == bool(found)


@pytest.mark.parametrize(("debug", "raised"), [(False, False), (True, True)])
def test_a_start_is_refused_for_the_first_mistake(monkeypatch: pytest.MonkeyPatch, debug: bool, raised: bool) -> None:
    options = SimpleNamespace(**{**HARMLESS, "proxy_debug": debug, "listen_host": EVERY})
    monkeypatch.setattr(option_checks, "ctx", SimpleNamespace(options=options))
    with pytest.raises(ValueError, match="proxy_debug") if raised else nullcontext():
        option_checks.check(WITH_KEYS)


def test_warnings_are_logged_with_our_name(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    options = SimpleNamespace(**{**HARMLESS, "validate_inbound_headers": False})
    monkeypatch.setattr(option_checks, "ctx", SimpleNamespace(options=options))
    monkeypatch.setattr(option_checks.os, "geteuid", lambda: 0)
    option_checks.warn({"SSLKEYLOGFILE": "x"})

    assert [words in told for told, words in zip(caplog.messages, ("SSLKEYLOGFILE", "validate", "root"), strict=True)]
    assert all(told.startswith("patchbay: ") for told in caplog.messages)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


def test_every_option_that_is_checked_is_watched() -> None:
    assert {*HARMLESS, "emudhra", "emudhra_old"} == option_checks.WATCHED


def test_each_address_beyond_this_machine_is_named_once_and_any_listener_counts() -> None:
    assert said(mode=["regular@10.0.0.1:80", "regular@10.0.0.2:80"]).count("would listen on") == 1
    modes = ["regular", "reverse:http://a.example"]
    found = option_checks._open_doors(SimpleNamespace(**{**HARMLESS, "mode": modes, "keep_host_header": False}))  # type: ignore[arg-type]
    assert ["keep_host_header" in told for told in found] == [True]
