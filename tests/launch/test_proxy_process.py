"""The proxy beside a command."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchbay.launch import proxy_process
from patchbay.launch.command_line import LaunchError
from patchbay.launch.proxy_process import ProxyProcess, free_ports, remove_old_logs
from patchbay.proxy import control_socket
from patchbay.proxy.control_answers import ProxyStatus, Totals


@pytest.fixture
def proxy(tmp_path: Path) -> ProxyProcess:
    return ProxyProcess(tmp_path, {})


def test_ports_are_free_and_different() -> None:
    ports = free_ports(3)

    assert len(set(ports)) == 3
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))


def test_the_last_lines_of_its_output_are_told_without_their_times(proxy: ProxyProcess) -> None:
    assert proxy.told() == ""
    lines = [f"[06:00:00.123] line {number}" for number in range(30)]
    proxy.log.write_text("\n".join(["[06:00:00.000] Loading script x", "", *lines[:5], "end"]))

    assert proxy.told() == "line 0\nline 1\nline 2\nline 3\nline 4\nend"
    proxy.log.write_text("\n".join(lines))
    assert proxy.told().splitlines()[0] == "line 10"


def test_it_is_counted_when_the_exchanges_of_the_command_have_ended(
    proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statuses() -> Iterator[ProxyStatus]:
        for left in (2, 1, 0):
            yield ProxyStatus(in_flight=left, totals=Totals(exchanges=3 - left))

    slept: list[float] = []
    monkeypatch.setattr(proxy, "_statuses", statuses)
    monkeypatch.setattr(proxy_process.time, "sleep", slept.append)
    found = proxy.status()

    assert found and found.totals.exchanges == 3
    assert len(slept) == 2


def test_a_proxy_that_is_gone_has_no_status(proxy: ProxyProcess) -> None:
    assert proxy.status() is None
    assert proxy.exit_code is None
    proxy.end()


def test_each_has_a_socket_and_a_log_of_its_own(tmp_path: Path) -> None:
    """Containers that share a state folder may all be process 7."""
    one, other = ProxyProcess(tmp_path, {}), ProxyProcess(tmp_path, {})

    assert one.control != other.control and one.log != other.log
    assert control_socket._pid(one.control) == os.getpid()


def test_a_proxy_that_cannot_be_asked_is_not_waited_for(proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"patchbay: {control_socket.NO_SOCKET}, so x: disk full"
    started(proxy, monkeypatch, f"print({told!r}, flush=True); import time; time.sleep(60)")

    with pytest.raises(LaunchError, match=r"the proxy cannot be asked:\n.*disk full"):
        proxy.start("dump", ())
    assert proxy.exit_code == -signal.SIGTERM


def test_a_stopped_proxy_ends_and_one_that_does_not_end_is_killed(
    proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "is_live", lambda path: path.with_name("ready").exists())
    ready = f"open({str(proxy.control.with_name('ready'))!r}, 'w'); time.sleep(60)"
    started(proxy, monkeypatch, f"import time; {ready}")
    proxy.start("dump", ())
    proxy._signal(signal.SIGSTOP)
    proxy.end()
    assert proxy.exit_code == -signal.SIGTERM

    proxy.control.with_name("ready").unlink()
    monkeypatch.setattr(proxy_process, "_END_SECONDS", 0.05)
    started(proxy, monkeypatch, f"import signal, time; signal.signal(15, signal.SIG_IGN); {ready}")
    proxy.start("dump", ())
    proxy.end()
    assert proxy.exit_code == -signal.SIGKILL


def started(proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Make *code* what is started as the proxy."""
    monkeypatch.setattr(proxy_process, "host_command", lambda *_: [sys.executable, "-c", code])


def test_logs_of_runs_that_went_wrong_stay_for_some_days(tmp_path: Path) -> None:
    for name, age in (("run-1.log", 8), ("run-2.log", 6), ("other.log", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 1_000_000 - age * 86_400))
    remove_old_logs(tmp_path, 1_000_000)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.log", "run-2.log"]
