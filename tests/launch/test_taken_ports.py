"""A port that is taken, and by what."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from patchbay.launch import taken_ports
from patchbay.launch.command_line import LaunchError
from patchbay.proxy.control_socket import RunningProxy


def test_a_port_is_free_until_a_program_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not taken_ports.is_free("127.0.0.1", port)
        if Path("/proc/net/tcp").exists():
            assert f"(pid {os.getpid()})" in taken_ports.owner(port)
    assert taken_ports.is_free("127.0.0.1", port)
    assert taken_ports.is_free("192.0.2.1", port)  # no address of this machine: another error than a taken port


def test_a_running_proxy_is_told_with_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_ports, "is_free", lambda host, port: port > 8081)
    monkeypatch.setattr(taken_ports, "owner", lambda port: "python3 (pid 7)")
    monkeypatch.setattr(taken_ports.control_socket, "running", lambda *_: [RunningProxy(tmp_path, 7)])
    status = {"pid": 7, "addresses": ["http://127.0.0.1:8080"]}
    monkeypatch.setattr(taken_ports.control_socket, "ask", lambda *_, **__: status)

    told = r"^Patchbay runs already at http://127\.0\.0\.1:8080 \(pid 7\); another port:  patchbay run -p 8082$"
    with pytest.raises(LaunchError, match=told):
        taken_ports.check([("127.0.0.1", 8080)], "-p", tmp_path, {})
    status["addresses"] = ["http://127.0.0.1:18080"]
    with pytest.raises(LaunchError, match=r"^port 8080 is in use by python3 \(pid 7\); another"):
        taken_ports.check([("127.0.0.1", 8080)], "-p", tmp_path, {})
    taken_ports.check([("127.0.0.1", 8082)], "-p", tmp_path, {})
