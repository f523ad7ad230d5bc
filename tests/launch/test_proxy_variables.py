"""The variables of proxies and certificates."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from patchbay.launch.proxy_variables import BUNDLES, OuterProxy, direct, outer_proxy, variables

PROXY = "http://127.0.0.1:9"
HOSTS = ("api.openai.com", "api.anthropic.com")
LOOPBACK = "127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        ("", ""),
        ("corp.example,10.0.0.0/8", "corp.example,10.0.0.0/8,"),
        (".openai.com corp.example", "corp.example,"),
        ("*.anthropic.com,api.openai.com,com", ""),
        ("api.openai.com:443", ""),
        ("*", ""),
        ("penai.com,xapi.openai.com", "penai.com,xapi.openai.com,"),
    ],
)
def test_exceptions_stay_but_for_those_that_exclude_a_provider(own: str, kept: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = variables(PROXY, "b", HOSTS, {name: own}, local=False)
        assert found["NO_PROXY"] == found["no_proxy"] == kept + LOOPBACK


def test_a_program_finds_proxy_and_certificates_by_every_name() -> None:
    found = variables(PROXY, "/b.pem", HOSTS, {}, local=False)

    assert {found[name] for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")} == {PROXY}
    assert {found[name] for name in BUNDLES} == {"/b.pem"}


def test_a_local_provider_is_asked_through_the_proxy_where_that_is_wanted() -> None:
    found = variables(PROXY, "b", HOSTS, {"NO_PROXY": "localhost,127.0.0.1,corp.example"}, local=True)

    assert found["NO_PROXY"] == "corp.example"
    assert direct({"no_proxy": "corp.example"})["NO_PROXY"] == f"corp.example,{LOOPBACK}"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://corp:3128"}, OuterProxy("http://corp:3128", "HTTPS_PROXY")),
        ({"https_proxy": "corp:3128"}, OuterProxy("http://corp:3128", "https_proxy")),
        ({"HTTP_PROXY": "http://corp:3128"}, None),
        ({"ALL_PROXY": "socks5h://corp:1080"}, OuterProxy("socks5h://corp:1080", "ALL_PROXY")),
        ({"HTTPS_PROXY": "http://me:p%40ss@corp:1"}, OuterProxy("http://corp:1", "HTTPS_PROXY", "me:p@ss")),
        ({"HTTPS_PROXY": "http://me:a#b@corp:1"}, OuterProxy("http://corp:1", "HTTPS_PROXY", "me:a#b")),
        ({"HTTPS_PROXY": "http://me:a/b?c@d@corp:1/"}, OuterProxy("http://corp:1", "HTTPS_PROXY", "me:a/b?c@d")),
        ({"HTTPS_PROXY": "me:a/b@[::1]:1"}, OuterProxy("http://[::1]:1", "HTTPS_PROXY", "me:a/b")),
        ({"HTTPS_PROXY": "http://corp:secret"}, OuterProxy("", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://me:x@co\x1brp:1"}, OuterProxy("", "HTTPS_PROXY", "me:x")),
        ({"HTTPS_PROXY": "http://corp:1", "NO_PROXY": "openai.com,anthropic.com"}, None),
        ({"HTTPS_PROXY": "http://corp:1", "NO_PROXY": "openai.com"}, OuterProxy("http://corp:1", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": PROXY, "PATCHBAY_PROXY": PROXY}, None),
    ],
)
def test_the_proxy_of_the_network_is_found_unless_no_provider_is_asked_through_it(
    env: dict[str, str], expected: OuterProxy | None
) -> None:
    assert outer_proxy(env, HOSTS) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_password_is_part_of_the_address(before: str, behind: str) -> None:
    found = outer_proxy({"HTTPS_PROXY": f"http://{before}SECRET{behind}@corp:3128"}, HOSTS)

    assert found and found.url == "http://corp:3128"


def test_providers_on_this_machine_need_no_outer_proxy() -> None:
    assert outer_proxy({"HTTPS_PROXY": "http://corp:1"}, ("127.0.0.1",)) is None
    assert outer_proxy({"HTTPS_PROXY": "http://corp:1"}, ()) is None


def test_an_outer_proxy_must_speak_http() -> None:
    assert OuterProxy("http://corp:1", "x").is_usable
    assert not OuterProxy("socks5://corp:1", "x").is_usable
    assert not OuterProxy("", "x").is_usable
