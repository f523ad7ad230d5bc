"""mitmproxy's options have other defaults here, and listeners open where they say."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons, tflow

from patchbay.proxy import client_connections, option_defaults

from .addon import in_loop


@pytest.fixture(autouse=True)
def _changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(option_defaults, "_changed", set())


@pytest.fixture
def starting() -> Iterator[logging.Handler]:
    """mitmproxy has not started: its check for errors still listens to the log."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def master(monkeypatch: pytest.MonkeyPatch, **addons: Any) -> None:
    found: Any = SimpleNamespace(master=SimpleNamespace(addons=SimpleNamespace(get=addons.get)))
    found.options = SimpleNamespace(listen_host=option_defaults.LISTEN_HOST, keep_host_header=True)
    for module in (option_defaults, client_connections):
        monkeypatch.setattr(module, "ctx", found)


@in_loop
async def test_what_the_user_left_alone_gets_our_defaults() -> None:
    with taddons.context(Proxyserver()) as context:
        context.options.update(connection_strategy="eager")
        option_defaults.apply()

        assert context.options.listen_host == "127.0.0.1"
        assert context.options.keep_host_header is True
        assert context.options.connection_strategy == "eager"  # the user's own


TRUST = "ssl_verify_upstream_trusted_ca"


@in_loop
async def test_the_trust_of_this_system_is_added_unless_the_user_has_his_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "company.pem")
    env = {"SSL_CERT_FILE": str(tmp_path / "company.pem")}
    with taddons.context(Proxyserver()) as context:
        context.options.update(confdir=str(tmp_path / "mitmproxy"))
        option_defaults.apply(env)
        [written] = (tmp_path / "mitmproxy").iterdir()
        assert getattr(context.options, TRUST) == str(written)
        assert (tmp_path / "company.pem").read_text().strip() in written.read_text()

    for name in (TRUST, "ssl_verify_upstream_trusted_confdir"):
        with taddons.context(Proxyserver()) as context:
            context.options.update(**{name: "/mine", "confdir": str(tmp_path / "other")})
            option_defaults.apply(env)
            assert {getattr(context.options, each) for each in option_defaults._TRUST} == {"/mine", None}
            assert not (tmp_path / "other").exists()

    with taddons.context(Proxyserver()) as context:
        context.options.update(confdir=str(tmp_path / "company.pem" / "x"))
        option_defaults.apply(env)
        assert getattr(context.options, TRUST) is None  # mitmproxy's, which verifies too
        assert "by mitmproxy's certificates alone" in caplog.text


@in_loop
async def test_listeners_that_are_about_to_open_are_called_back() -> None:
    opening = asyncio.create_task(asyncio.sleep(30), name="setup_servers: regular")
    other = asyncio.create_task(asyncio.sleep(30), name="other")
    with taddons.context(Proxyserver()) as context:
        option_defaults.apply()
        assert opening.cancelling() and not other.cancelling()
        context.options.reset()

    named = asyncio.create_task(asyncio.sleep(30), name="setup_servers: regular")
    with taddons.context(Proxyserver()) as context:
        context.options.update(listen_host="0.0.0.0")  # noqa: S104 - the user's own
        option_defaults.apply()
        assert not named.cancelling()
    for task in (named, other):
        task.cancel()


@in_loop
@pytest.mark.parametrize(
    ("mode", "host"), [("reverse:http://api.example:81", "127.0.0.1:9"), ("regular", "127.0.0.1:8080")]
)
async def test_what_passes_behind_a_reverse_listener_names_its_upstream(mode: str, host: str) -> None:
    request = tflow.tflow().request
    request.scheme, request.host, request.port, request.headers["host"] = "http", "127.0.0.1", 9, "127.0.0.1:8080"
    with taddons.context(Proxyserver()):
        option_defaults.apply()
        option_defaults.untouched(request, ProxyMode.parse(mode))

    assert request.headers["host"] == host


@in_loop
async def test_where_the_user_keeps_the_host_it_is_kept() -> None:
    request = tflow.tflow().request
    request.headers["host"] = "kept"
    with taddons.context(Proxyserver()) as context:
        context.options.update(keep_host_header=True)
        option_defaults.apply()
        option_defaults.untouched(request, ProxyMode.parse("reverse:http://api.example:81"))

    assert request.headers["host"] == "kept"


def test_the_collector_leaves_alone_what_was_loaded() -> None:
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)  # Python's own: an addon that ran in this process has set others
    try:
        option_defaults.settle()

        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > 700
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@in_loop
async def test_a_client_waits_until_mitmproxy_has_started(
    monkeypatch: pytest.MonkeyPatch, starting: logging.Handler
) -> None:
    master(monkeypatch, errorcheck=SimpleNamespace(logger=starting), proxyserver=SimpleNamespace(connections={}))
    client = tflow.tclient_conn()
    waiting = asyncio.create_task(option_defaults.hold_back(client))
    await asyncio.sleep(3 * option_defaults._GLANCE)
    assert not waiting.done()
    logging.getLogger().removeHandler(starting)
    await waiting

    assert client.error is None
    await option_defaults.hold_back(client)  # at once


@in_loop
@pytest.mark.parametrize(
    ("at_end", "failed", "error"), [(True, None, True), (False, OSError(), True), (False, None, False)]
)
async def test_a_client_that_left_meanwhile_is_not_served(
    monkeypatch: pytest.MonkeyPatch, starting: logging.Handler, at_end: bool, failed: Exception | None, error: bool
) -> None:
    client, reader = tflow.tclient_conn(), asyncio.StreamReader()
    if at_end:
        reader.feed_eof()
    if failed:
        reader.set_exception(failed)
    connection = SimpleNamespace(transports={client: SimpleNamespace(reader=reader)})
    proxyserver = SimpleNamespace(connections={client.id: connection})
    master(monkeypatch, errorcheck=SimpleNamespace(logger=starting), proxyserver=proxyserver)
    asyncio.get_running_loop().call_soon(logging.getLogger().removeHandler, starting)
    await option_defaults.hold_back(client)

    assert bool(client.error) is error


class Listener:
    def __init__(
        self, address: str = "127.0.0.1", *, runs: bool = True, own_host: str = "", fails: bool = False
    ) -> None:
        mode = f"regular@{own_host}:8080" if own_host else "regular"
        self.mode = ProxyMode.parse(mode)
        self.is_running, self.fails = runs, fails
        self.listen_addrs = ((address, 8080),)
        self.told: list[str] = []

    async def stop(self) -> None:
        self.told.append("stop")

    async def start(self) -> None:
        self.told.append("start")
        if self.fails:
            raise OSError("address in use")


@in_loop
@pytest.mark.parametrize(
    ("listener", "told"),
    [
        (Listener(), []),
        (Listener(runs=False), ["start"]),
        (Listener("0.0.0.0"), ["stop", "start"]),  # noqa: S104
        (Listener("::"), ["stop", "start"]),
        (Listener("0.0.0.0", own_host="0.0.0.0"), []),  # noqa: S104 - the mode says so
    ],
)
async def test_listeners_are_opened_where_they_should_be(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, told: list[str]
) -> None:
    master(monkeypatch, proxyserver=SimpleNamespace(servers=[listener]))
    option_defaults.listen()
    await asyncio.gather(*option_defaults._tasks)

    assert listener.told == told


@in_loop
async def test_a_host_of_the_user_s_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener("0.0.0.0")  # noqa: S104
    master(monkeypatch, proxyserver=SimpleNamespace(servers=[listener]))
    option_defaults.ctx.options.listen_host = "0.0.0.0"  # type: ignore[misc]  # noqa: S104
    option_defaults.listen()
    await asyncio.gather(*option_defaults._tasks)

    assert listener.told == []


@in_loop
async def test_a_listener_that_cannot_be_opened_ends_the_proxy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(option_defaults.sys, "exit", ended.append)
    master(monkeypatch, proxyserver=SimpleNamespace(servers=[Listener(runs=False, fails=True)]))
    option_defaults.listen()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*option_defaults._tasks)
    await asyncio.sleep(0)

    assert ended == [1]
    assert "address in use" in caplog.text


def test_the_collector_runs_for_many_objects_only() -> None:
    before = gc.get_threshold()
    try:
        option_defaults.settle()
        assert gc.get_threshold()[:2] == (option_defaults._COLLECT_AFTER, 20)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


@in_loop
async def test_a_client_that_comes_after_the_start_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    client, reader = tflow.tclient_conn(), asyncio.StreamReader()
    reader.feed_eof()
    connection = SimpleNamespace(transports={client: SimpleNamespace(reader=reader)})
    master(monkeypatch, proxyserver=SimpleNamespace(connections={client.id: connection}))
    await option_defaults.hold_back(client)

    assert client.error is None


@pytest.mark.parametrize(
    ("address", "own_host", "listen_host", "elsewhere"),
    [
        ("0.0.0.0", "", "", True),  # noqa: S104
        ("::", "", "", True),
        ("", "", "", True),
        ("127.0.0.1", "", "", False),
        ("0.0.0.0", "10.0.0.1", "", False),  # noqa: S104
        ("0.0.0.0", "", "0.0.0.0", False),  # noqa: S104
    ],
)
def test_a_listener_is_elsewhere_where_it_takes_every_interface_unasked(
    monkeypatch: pytest.MonkeyPatch, address: str, own_host: str, listen_host: str, elsewhere: bool
) -> None:
    master(monkeypatch)
    option_defaults.ctx.options.listen_host = listen_host or option_defaults.LISTEN_HOST

    assert option_defaults._is_elsewhere(Listener(address, own_host=own_host)) is elsewhere  # type: ignore[arg-type]
