"""Requests to the wrong kind of listener are told what to use instead."""

from __future__ import annotations

import pytest
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from patchbay.proxy import misdirected
from patchbay.values.http import Endpoint, Origin


def flow(mode: str = "regular", sockname: tuple[str, int] | None = ("127.0.0.1", 8080)) -> HTTPFlow:
    made = tflow.tflow()
    made.client_conn.proxy_mode, made.client_conn.sockname = ProxyMode.parse(mode), sockname  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("sockname", "tls", "url"),
    [
        (("127.0.0.1", 8080), False, "http://127.0.0.1:8080"),
        (("::1", 8080, 0, 0), True, "https://[::1]:8080"),
        (None, False, "http://127.0.0.1:0"),
    ],
)
def test_a_listener_is_named_by_its_url(sockname: tuple[str, int] | None, tls: bool, url: str) -> None:
    client = flow(sockname=sockname).client_conn
    client.tls = tls
    assert misdirected.address(client) == url


def test_a_reverse_listener_is_no_proxy() -> None:
    refused = misdirected.no_proxy(flow().client_conn)
    assert (refused.status, refused.code) == (405, "not_a_proxy")
    assert refused.message.startswith("http://127.0.0.1:8080 is no HTTP proxy")
    assert misdirected.no_proxy(flow().client_conn, 403, "host_not_allowed").status == 403


@pytest.mark.parametrize(
    ("mode", "listener", "host", "port", "refused"),
    [
        ("regular", "127.0.0.1", "127.0.0.1", 8080, True),
        ("upstream:http://127.0.0.1:1", "127.0.0.1", "localhost", 8080, True),
        ("regular", "127.0.0.1", "0.0.0.0", 8080, True),  # noqa: S104
        ("regular", "127.0.0.1", "::", 8080, True),
        ("regular", "192.168.1.5", "192.168.1.5", 8080, True),
        ("regular", "192.168.1.5", "localhost", 8080, False),
        ("regular", "127.0.0.1", "api.example.com", 8080, False),
        ("regular", "127.0.0.1", "127.0.0.1", 11434, False),
        ("reverse:http://127.0.0.1:8080", "127.0.0.1", "127.0.0.1", 8080, False),
    ],
)
def test_a_proxy_is_no_base_url(mode: str, listener: str, host: str, port: int, refused: bool) -> None:
    asked = flow(mode, (listener, 8080))
    asked.request.data.authority = b"x"
    found = misdirected.no_base_url(asked, Origin("http", host, port))

    assert (found is not None) == refused
    if found:
        assert (found.status, found.code) == (400, "not_a_base_url")
        assert f"set HTTPS_PROXY=http://{listener}:8080" in found.message


@pytest.mark.parametrize(
    ("authority", "tunnel", "refused"), [(b"", False, True), (b"x", False, False), (b"", True, False)]
)
def test_a_client_that_names_a_path_only_speaks_to_a_server(authority: bytes, tunnel: bool, refused: bool) -> None:
    """Also by a name of this machine that is not known here; inside a tunnel every request names a path only."""
    asked = flow()
    asked.request.data.authority = authority
    asked.server_conn.address = ("box.lan", 8080) if tunnel else None

    assert (misdirected.no_base_url(asked, Origin("http", "box.lan", 8080)) is not None) == refused


def test_without_a_listener_nothing_is_refused() -> None:
    assert misdirected.no_base_url(flow(sockname=None), Origin("http", "127.0.0.1", 8080)) is None


@pytest.mark.parametrize(
    ("authority", "version", "found"),
    [(b"x", b"HTTP/1.1", True), (b"", b"HTTP/1.1", False), (b"x", b"HTTP/2.0", False), (b"x", b"HTTP/3", False)],
)
def test_a_whole_url_is_named_to_proxies(authority: bytes, version: bytes, found: bool) -> None:
    request = flow().request
    request.data.authority, request.data.http_version = authority, version
    assert misdirected.is_absolute(request) == found


def test_each_warning_is_logged_once_and_they_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    warnings = misdirected.Warnings()
    for number in range(2 * (misdirected.MAX_TOLD + 1)):
        warnings.tell(f"message {number // 2} sk-proj-0123456789abcdef0123456789abcdef")

    assert len(caplog.messages) == misdirected.MAX_TOLD
    assert caplog.messages[0].startswith("patchbay: message 0")
    assert "0123456789abcdef0123" not in caplog.text


@pytest.mark.parametrize(
    ("path", "suffix", "said"),
    [
        ("/v1/v1/chat/completions", "/chat/completions", "a tool asks for /v1/v1…"),
        ("/v1/chat/completions", "/chat/completions", ""),
        ("/v1/v1/models", "/else", "a tool asks for /v1/v1…"),
    ],
)
def test_a_doubled_version_is_told_with_the_base_url_to_use(
    caplog: pytest.LogCaptureFixture, path: str, suffix: str, said: str
) -> None:
    endpoint = Endpoint(dialect="openai_chat", suffix=suffix)
    misdirected.Warnings().tell_path(flow().client_conn, path, endpoint)
    assert (said in caplog.text) and bool(caplog.messages) == bool(said)
    if said:
        assert "use http://127.0.0.1:8080 as the base URL (it is served as /v1…)" in caplog.text

    caplog.clear()
    misdirected.Warnings().tell_path(flow().client_conn, path, Endpoint(suffix=suffix))
    assert not caplog.messages


def test_a_hundred_different_warnings_are_logged_at_most() -> None:
    assert misdirected.MAX_TOLD == 100


def test_an_ipv6_listener_is_compared_by_host_and_port() -> None:
    """Its address has four members."""
    asked = flow("regular", ("::1", 8080, 0, 0))  # type: ignore[arg-type]
    asked.request.data.authority = b"x"

    assert misdirected.no_base_url(asked, Origin("http", "::1", 8080)) is not None
