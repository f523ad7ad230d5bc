"""The proxy beside a command."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchbay.launch import proxy_process
from patchbay.launch.proxy_process import ProxyProcess, free_ports, remove_old_logs
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


def test_logs_of_runs_that_went_wrong_stay_for_some_days(tmp_path: Path) -> None:
    for name, age in (("run-1.log", 8), ("run-2.log", 6), ("other.log", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 1_000_000 - age * 86_400))
    remove_old_logs(tmp_path, 1_000_000)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.log", "run-2.log"]
