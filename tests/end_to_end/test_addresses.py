"""What tools are told as our address, and what upstreams are told as theirs."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from ..simulator import simulator_thread
from .harness import proxy

KEY = "sk-real-0123456789abcdef0123"
BEARER = {"authorization": "Bearer sk-client-own"}


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_an_ipv6_address_is_named_in_brackets(tmp_path: Path, version: str) -> None:
    """P7: in Host, in :authority, and in the upgrade of a WebSocket."""
    tls = {}
    if version == "HTTP/2":
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        authority.issue_cert("::1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        tls = {"tls": tmp_path / "server.pem"}
    with simulator_thread({KEY: "one"}, host="::1", **tls) as upstream:
        scheme, called = "https" if tls else "http", f"[::1]:{upstream.port}"
        config = (
            f"state: {tmp_path / 'state'}\njournal: {{path: {tmp_path / 'journal.jsonl'}}}\ngrace: 1s\n"
            f"accounts:\n  - {{id: one, provider: generic, base_url: '{scheme}://{called}/v1', key: {KEY}}}\n"
        )
        trusted = ("--set", f"ssl_verify_upstream_trusted_ca={tmp_path / 'ca.pem'}") if tls else ()
        with proxy(tmp_path, config, *trusted, mode="reverse:http://patchbay.invalid") as running:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            answer = httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=BEARER, trust_env=False)
            assert answer.status_code == 200, answer.text
            if not tls:
                url = f"ws://127.0.0.1:{running.port}/v1/responses"
                with connect(url, additional_headers=BEARER, proxy=None) as opened:
                    opened.send(json.dumps({"type": "response.create", "model": "m", "input": "x"}))
                    assert json.loads(opened.recv(timeout=10))["type"] == "response.created"
        hosts = {record.header(":authority") or record.header("host") for record in upstream.truth.requests}

    assert hosts == {called}
