from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from patchbay.cli.main import main
from patchbay.store import master_key

SETTINGS = """\
state: {state}
accounts:
  - {{id: one, provider: generic, base_url: "https://llm.example/v1", key: secret-of-one}}
  - {{id: two, provider: generic, base_url: "https://llm.example/v1", key: secret-of-two}}
  - {{id: off, provider: generic, base_url: "https://llm.example/v1", key: secret-of-off, enabled: false}}
"""
HI = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(SETTINGS.format(state=tmp_path / "state"))
    master_key(tmp_path / "state")
    return file


def _explain(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str) -> Any:
    assert main(["explain", "--config", str(settings), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def _asked(folder: Path, body: object = HI, **headers: str) -> str:
    file = folder / "request.json"
    file.write_text(json.dumps({"method": "POST", "path": "/v1/chat/completions", "headers": headers, "body": body}))
    return str(file)


def _tier(told: Any, name: str) -> str:
    return str(next(tier["said"] for tier in told["tiers"] if tier["tier"] == name))


def test_it_says_what_each_tier_found_and_why_it_was_not_used(tmp_path, settings, capsys):
    headers = {"X-Session-ID": "s-1", "X-Claude-Code-Session-Id": "undefined"}
    told = _explain(capsys, settings, _asked(tmp_path, {**HI, "metadata": {"user_id": "ann"}}, **headers))

    assert _tier(told, "claude_session") == "header x-claude-code-session-id: ignored, not usable as an id"
    assert _tier(told, "generic_header") == "header x-session-id = s-1"
    assert _tier(told, "user") == "body metadata.user_id = ann: ignored, generic_header comes first"
    assert _tier(told, "own") == "nothing found"
    assert told["affinity"].endswith("(generic_header, exact)")


def test_it_names_the_account_and_why_not_the_others(tmp_path, settings, capsys):
    told = _explain(capsys, settings, _asked(tmp_path))
    reasons = {candidate["account"]: candidate["reason"] for candidate in told["candidates"]}

    assert told["account"] in ("one (new)", "two (new)")
    assert reasons["off"] == "disabled"
    assert sorted(reasons) == ["off", "one", "two"]
    assert list(reasons.values()).count("") == 1


def test_it_uses_the_instances_own_key_so_it_says_what_the_proxy_says(tmp_path, settings, capsys):
    first, again = (_explain(capsys, settings, _asked(tmp_path))["affinity"] for _ in range(2))
    (tmp_path / "state" / "master.key").unlink()
    other = _explain(capsys, settings, _asked(tmp_path))

    assert first == again != other["affinity"]
    assert any("there is no key" in note for note in other["notes"])
    assert not (tmp_path / "state" / "master.key").exists()


def test_raw_http_from_stdin_is_read(settings, capsys, monkeypatch):
    raw = b"POST /v1/messages HTTP/1.1\r\nX-Session-ID: raw-1\r\n\r\n" + json.dumps(HI).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))

    assert _tier(_explain(capsys, settings, "-"), "generic_header") == "header x-session-id = raw-1"


def test_for_people_it_is_a_page(tmp_path, settings, capsys):
    assert main(["explain", "--config", str(settings), _asked(tmp_path, **{"x-session-id": "s-1"})]) == 0
    said = capsys.readouterr().out

    assert "generic_header → header x-session-id = s-1" in said
    assert "← this one" in said
    assert "secret-of" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("what?", "neither JSON nor HTTP"),
        ("{", "no JSON"),
        ("{}", "no member `path`"),
        ('{"path": "/", "headers": 1}', "headers"),
    ],
)
def test_what_is_no_request_is_said(tmp_path, settings, capsys, text, said):
    file = tmp_path / "request"
    file.write_text(text)

    assert main(["explain", "--config", str(settings), str(file)]) == 2
    assert said in capsys.readouterr().err


def _flow(texts: list[str], answer: str, account: str) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    assert flow.response
    flow.request.scheme, flow.request.host, flow.request.port = "https", "llm.example", 443
    flow.request.method, flow.request.path = "POST", "/v1/chat/completions"
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    flow.request.content = json.dumps({"model": "m", "messages": messages}).encode()
    message = {"role": "assistant", "content": answer}
    flow.response.headers = http.Headers(content_type="application/json", x_patchbay_account=account)
    flow.response.content = json.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    ).encode()
    return flow


@pytest.mark.parametrize("account", ["one", "two"])
def test_a_flow_of_a_dump_is_seen_after_those_before_it(tmp_path, settings, capsys, account):
    dump = tmp_path / "flows.mitm"
    with dump.open("wb") as file:
        writer = FlowWriter(file)
        writer.add(_flow(["hi"], "Hello, what can I do for you this morning, and how?", account))
        writer.add(_flow(["hi", "Hello, what can I do for you this morning, and how?", "go"], "Gone.", account))

    told = _explain(capsys, settings, str(dump), "--flow", "2")

    assert _tier(told, "token") == "history text"
    assert told["account"] == f"{account} (hit)"


def test_a_flow_that_is_not_there_is_said(tmp_path, settings, capsys):
    dump = tmp_path / "flows.mitm"
    dump.write_bytes(b"")

    assert main(["explain", "--config", str(settings), str(dump), "--flow", "3"]) == 2
    assert "no flow 3" in capsys.readouterr().err
