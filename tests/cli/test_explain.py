from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from blake3 import blake3
from mitmproxy import http
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from patchbay.cli.main import main
from patchbay.router import mint_of
from patchbay.store import master_key

from ..proxy.addon import ask, flow, patchbay
from ..proxy.test_stored_flows import BEFORE, KEY as BEFORE_KEY

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


def _explain(capsys: pytest.CaptureFixture[str], settings: Path, *arguments: str, code: int = 0) -> Any:
    assert main(["explain", "--config", str(settings), "--json", *arguments]) == code
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
        ("what?", "neither JSON nor HTTP: the first line is not `METHOD path`; a flow file needs --flow N"),
        ("{", "not JSON"),
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
    assert told["account"] == f"{account} (home)"


@pytest.mark.parametrize("name", ["a" * 8, "a" * 32, "pb1-second"])
def test_a_flow_is_found_by_its_session_or_request_id(tmp_path, keyed, capsys, name):
    """The last one, as that is the news."""
    flows = [_served([text], "one", request_id=f"pb1-{text}") for text in ("first", "second")]
    other = _served(["other"], "two", session="b" * 32, request_id="pb1-third")
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, *flows, other), "--flow", name]) == 0
    assert capsys.readouterr().out.startswith("WHAT HAPPENED, as flow 2 says\n")


def test_a_message_on_a_socket_is_found_too(tmp_path, keyed, capsys):
    flow = _served(["hi"], "one")
    flow.metadata["patchbay.exchanges"] = [{"account": "one", "session": "c" * 32}]
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "cccccccc"]) == 0
    assert "on the socket, 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "error", "told"), [(101, "", "none"), (503, "no_credential", "none: 503 no_credential")]
)
def test_without_an_account_only_an_error_is_told_as_its_reason(tmp_path, keyed, capsys, status, error, told):
    flow = _served(["hi"], "", status=status, error=error)
    main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "1"])
    assert f"account     {told}\n" in capsys.readouterr().out


def test_a_move_says_from_where_and_why(tmp_path, keyed, capsys):
    flow = _served(["hi"], "one", binding="reselected", moved_from="two", moved_because="rate limited (429)")
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "1"]) == 0
    assert "account     one (moved from two: rate limited (429))\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("0123abcd", "there is no flow of '0123abcd' in it"),
        ("x", "--flow takes the number of a flow"),
        ("\u0663", "--flow"),
    ],
)
def test_a_name_that_no_flow_has_is_said(tmp_path, keyed, capsys, name, told):
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, _served(["hi"], "one")), "--flow", name]) == 2
    assert told in capsys.readouterr().err


def test_a_flow_that_is_not_there_is_said(tmp_path, settings, capsys):
    dump = tmp_path / "flows.mitm"
    dump.write_bytes(b"")

    assert main(["explain", "--config", str(settings), str(dump), "--flow", "3"]) == 2
    assert "no flow 3" in capsys.readouterr().err


KEY = bytes(range(32))
SCOPE = blake3(b"key:sk-somebody", key=KEY).digest(16)  # of the client's key, as the proxy makes it


def _served(texts: list[str], account: str, **more: Any) -> http.HTTPFlow:
    """Return a flow as Patchbay leaves it: a placeholder for the client's key, and what happened in its metadata."""
    flow = _flow(texts, "Hello", account)
    flow.request.headers["authorization"] = f"Bearer patchbay:{account}"
    line = {"account": account, "binding": "new", "session": "a" * 32, "session_id": "b" * 32, "tier": "content",
            "client": "local", "request_id": "pb1-x", "exchange": "x1", "status": 200, "error": "", "mode": "serve",
            "verdict": "clean", "attempts": [], "pool": "openai@https://llm.example:443", "time": 1.5}  # fmt: skip
    flow.metadata |= {f"patchbay.{name}": value for name, value in (line | more).items()}
    flow.metadata["patchbay.served"] = {
        "account": account, "session": "a" * 32, "tier": "content", "scope": SCOPE.hex(), "client": "local",
    }  # fmt: skip
    return flow


def _saved(folder: Path, *flows: http.HTTPFlow) -> str:
    dump = folder / "flows.mitm"
    with dump.open("wb") as file:
        for flow in flows:
            FlowWriter(file).add(flow)
    return str(dump)


@pytest.fixture
def keyed(settings: Path, tmp_path: Path) -> Path:
    (tmp_path / "state" / "master.key").write_bytes(KEY)
    return settings


def test_first_it_says_what_happened_and_then_what_a_fresh_pool_would_do(tmp_path, keyed, capsys):
    """T10: as the flow says, whatever the fresh pool would do."""
    tried = [{"account": "one", "outcome": "rate", "status": 429}, {"account": "two", "outcome": "ok", "status": 200}]
    dump = _saved(tmp_path, _served(["hi"], "two", attempts=tried))
    assert main(["explain", "--config", str(keyed), dump, "--flow", "1"]) == 0
    first, second = capsys.readouterr().out.split("WHAT A FRESH POOL WOULD DO")

    assert "account     two (new)" in first
    assert f"session     {'a' * 8} (content)" in first
    assert f"affinity    {'a' * 32}" in first
    assert f"session id  {'b' * 32}" in first
    assert "attempts    one: rate 429, two: ok 200" in first
    assert "account   " in second


def test_the_identity_is_that_of_the_clients_own_key(tmp_path, keyed, capsys):
    """T10: the placeholder in the flow names no client."""
    raw = _asked(tmp_path, json.loads(_flow(["hi"], "", "").request.content or b""), authorization="Bearer sk-somebody")
    live = _explain(capsys, keyed, raw)
    for header in ("authorization", "x-api-key", "x-goog-api-key", "api-key"):
        flow = _served(["hi"], "two")
        del flow.request.headers["authorization"]
        flow.request.headers[header] = "Bearer patchbay:two" if header == "authorization" else "patchbay:two"
        flow.request.path += "?key=patchbay%3Atwo"
        told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")
        assert told["affinity"] == live["affinity"]
        assert told["client"] == live["client"]


@pytest.mark.parametrize("value", ["patchbay", "patchbay:one", "patchbay:two"])
def test_without_metadata_a_placeholder_is_nobody(tmp_path, keyed, capsys, value):
    """T10: where nothing tells who it was, it is the one client without a key."""
    plain = _explain(capsys, keyed, _saved(tmp_path, _flow(["hi"], "Hello", "one")), "--flow", "1")
    flow = _flow(["hi"], "Hello", "one")
    flow.request.headers["authorization"], flow.request.headers["x-api-key"] = f"Bearer {value}", value
    flow.request.path += f"?key={value}"
    told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")

    assert told["happened"] is None
    assert told["affinity"] == plain["affinity"]
    assert "the flow does not say what happened" in told["notes"]


def test_without_metadata_the_key_that_stands_there_counts(tmp_path, keyed, capsys):
    """T10: a dump that was made in front of Patchbay."""
    raw = _asked(tmp_path, json.loads(_flow(["hi"], "", "").request.content or b""), authorization="Bearer sk-somebody")
    flow = _flow(["hi"], "Hello", "one")
    flow.request.headers["authorization"] = "Bearer sk-somebody"

    told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")
    assert told["affinity"] == _explain(capsys, keyed, raw)["affinity"]


def test_a_refused_exchange_is_said_to_be_refused(tmp_path, keyed, capsys):
    """T10: no account served it."""
    flow = _served(["hi"], "", status=429, error="model_cooldown", binding="none")
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "1"]) == 0

    assert "account     none: 429 model_cooldown" in capsys.readouterr().out


def test_an_edited_flow_is_said_to_be_edited(tmp_path, keyed, capsys):
    """T10: what happened is what happened, and the second part is about what the flow holds now."""
    flow = _served(["hi"], "one", request_id=mint_of(KEY).new(1.0, bytes))
    flow.metadata["patchbay.served"] |= {"request_id": flow.metadata["patchbay.request_id"], "headers": "of then"}
    told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")

    assert told["happened"]["account"] == "one"
    assert any("edited" in note for note in told["notes"])


@pytest.mark.parametrize("scope", ["x", 7, None, "ab"])
def test_metadata_that_somebody_broke_is_no_error(tmp_path, keyed, capsys, scope):
    """T10: scripts may write what they like on a flow."""
    flow = _served(["hi"], "one", attempts=None, tier=None)
    flow.metadata["patchbay.served"] = {"scope": scope, "account": 3, "slot": "x"}

    assert _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")["happened"]["account"] == "one"


@pytest.mark.parametrize("number", [1, 3, 12, 20, 33, 34])
def test_a_flow_of_an_earlier_release_has_the_identity_that_it_had(tmp_path, capsys, number):
    """T10: though it does not keep its client's scope: whether it was edited can be told all the same."""
    accounts = "\n".join(
        f"  - {{id: {name}, provider: generic, base_url: reverse, key: sk-{name}-0123456789}}"
        for name in ("one", "two", "three", "four")
    )
    settings, dump = tmp_path / "config.yaml", tmp_path / "day.mitm"
    settings.write_text(f"state: {tmp_path / 'state'}\naccounts:\n{accounts}\n")
    master_key(tmp_path / "state")
    (tmp_path / "state" / "master.key").write_bytes(BEFORE_KEY)
    dump.write_bytes(gzip.decompress(BEFORE.read_bytes()))
    told = _explain(capsys, settings, str(dump), "--flow", str(number))

    assert told["affinity"].split()[0] == told["happened"]["session"]
    assert told["happened"]["account"] in ("one", "two", "three", "four")
    assert not any("edited" in note or "scope" in note for note in told["notes"])


def test_a_dump_neither_steers_the_terminal_nor_writes_our_lines(tmp_path, keyed, capsys):
    """T10: metadata and requests of a dump may hold anything."""
    odd = "\x1b]0;t\x07\nWHAT HAPPENED, as flow 1 says\naccount     two"
    flow = _served(["hi"], odd, session=odd, error=odd, attempts=[{"account": odd, "outcome": odd}, {}], mode="shadow")
    flow.metadata["patchbay.candidates"] = {odd: odd}
    flow.metadata["patchbay.exchanges"] = [{"account": odd}, 7]
    flow.request.headers["x-session-id"] = "s\x1b[31m"
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "1"]) == 0
    told = capsys.readouterr().out

    assert all(line.isprintable() for line in told.split("\n"))
    assert [line.startswith("WHAT HAPPENED") for line in told.split("\n")].count(True) == 1
    assert not any(line.startswith("account     two") for line in told.split("\n"))


@pytest.mark.parametrize(
    "query", ["KEY=@", "token=@", "subscription-key=@", "sig=@", "x;key=@", "@", "%6bey=@", "#key=@"]
)
def test_no_value_of_a_query_is_shown(tmp_path, keyed, capsys, query):
    """T10: a dump that was made elsewhere has keys under any name."""
    flow = _flow(["hi"], "Hello", "one")
    flow.request.path += "?alt=sse&" + query.replace("@", "sk-secret-0123456789")
    for form in ([], ["--json"]):
        assert main(["explain", "--config", str(keyed), *form, _saved(tmp_path, flow), "--flow", "1"]) == 0
        told = capsys.readouterr().out
        assert "sk-secret" not in told
        assert "alt=sse" in told


@pytest.mark.parametrize(
    ("member", "value"),
    [("host", "::1"), ("host", "a[b"), ("host", ""), ("port", 99999), ("path", "*"), ("path", "http://[x/y"),
     ("path", ""), ("scheme", ""), ("method", "CONNECT"), ("content", b"[" * 100_000), ("content", None)],
)  # fmt: skip
def test_an_odd_flow_does_not_hide_those_behind_it(tmp_path, keyed, capsys, member, value):
    """T10: an address that nobody can parse, a body that nobody can read."""
    for odd in (_flow(["hi"], "Hello", "one"), _served(["hi"], "one")):
        setattr(odd.request, member, value)
        dump = _saved(tmp_path, odd, _served(["hi"], "two"))
        assert main(["explain", "--config", str(keyed), dump, "--flow", "1"]) in (0, 1)
        assert capsys.readouterr().out.startswith("WHAT HAPPENED")
        assert _explain(capsys, keyed, dump, "--flow", "2")["happened"]["account"] == "two"


@pytest.mark.parametrize("name", ["account", "attempts", "candidates", "exchanges", "forgotten", "served", "sent"])
def test_metadata_of_any_type_is_told(tmp_path, keyed, capsys, name):
    """T10: as text and as JSON."""
    for odd in (None, True, 1.5, "x", b"\xff", [1, None], [{}], {"a": 1}):
        flow = _served(["hi"], "one")
        flow.metadata[f"patchbay.{name}"] = odd
        for form in ([], ["--json"]):
            assert main(["explain", "--config", str(keyed), *form, _saved(tmp_path, flow), "--flow", "1"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("number", ["x", "-1", "1e3", "\uff11"])
def test_what_is_no_number_of_a_flow_is_said(tmp_path, keyed, capsys, number):
    """T10: flows are counted from 1."""
    dump = _saved(tmp_path, _served(["hi"], "one"))
    assert main(["explain", "--config", str(keyed), dump, f"--flow={number}"]) == 2
    assert "counted from 1" in capsys.readouterr().err


def test_what_stands_before_the_break_of_a_dump_is_judged(tmp_path, keyed, capsys):
    """T12: a proxy that was killed leaves half a flow; that is said."""
    sent = {"request_id": "pb1-x", "version": 99}
    whole, half = _served(["hi"], "one", sent=[sent]), _served(["hi"], "two", sent=[sent])
    dump = Path(_saved(tmp_path, whole, half))
    dump.write_bytes(dump.read_bytes()[:-9])
    assert main(["verify", "--all", "--state", str(tmp_path / "state"), str(dump)]) == 2
    told = capsys.readouterr()

    assert "1 clean" in told.out
    assert "broken there" in told.err


# -- the report, line by line ------------------------------------------------------------------------------------------

PAGE = """\
request   POST /v1/chat/completions (openai_chat, generation, m)
client    local
binds     yes

tier by tier
  owner            nothing found
  own              nothing found
  parent           nothing found
  custom_header    nothing found
  custom_body      nothing found
  claude_session   nothing found
  codex            nothing found
  harness          nothing found
  generic_header → header x-session-id = s-1
  body_session     nothing found
  conversation     nothing found
  token            nothing found
  cache_key        nothing found
  user             body metadata.user_id = ann: ignored, generic_header comes first
  content          nothing found

whose
  owner          none
  session        9878f446
  affinity       9878f4466ea0be15a9fde39f613cac07 (generic_header, exact)
  thread         73cced73b0d2327f645a93e808dd0765

account   one (new)
  one            ← this one
  two            later in the order
  off            disabled

note: not looked at here: the memory of a running proxy, preflights, `GET /`, the limits of a body
"""
HAPPENED = f"""\
WHAT HAPPENED, as flow 1 says
account     two (new), in shadow mode: sent with the client's own key
session     {"a" * 8} (content)
affinity    {"a" * 32}
session id  {"b" * 32}
client      local
request id  pb1-x
answered    200 e clean
attempts    one: rate 429, two: ok
  two            ← this one
  one            cooling

  on the socket, 1
  account     two (home)
  session     none (nothing named it)
  affinity    none
  session id  none
  client      ann
  request id  none
  answered    200

  on the socket, 2
  account     none: 503 x
  session     none (nothing named it)
  affinity    none
  session id  none
  client      None
  request id  none
  answered    503 x

WHAT A FRESH POOL WOULD DO, after the flows before this one and with nothing else remembered
request   POST /v1/chat/completions (openai_chat, generation, m)
client    local 0054f680
"""


def test_the_page_of_a_request(tmp_path, keyed, capsys):
    asked = _asked(tmp_path, {**HI, "metadata": {"user_id": "ann"}}, **{"x-session-id": "s-1"})
    assert main(["explain", "--config", str(keyed), asked]) == 0

    assert capsys.readouterr().out == PAGE


def test_the_page_of_a_flow_says_first_what_happened(tmp_path, keyed, capsys):
    tried = [{"account": "one", "outcome": "rate", "status": 429}, {"account": "two", "outcome": "ok"}]
    flow = _served(["hi"], "two", attempts=tried, mode="shadow", error="e")
    flow.metadata["patchbay.candidates"] = {"one": "cooling", "two": ""}
    flow.metadata["patchbay.exchanges"] = [
        {"account": "two", "binding": "hit", "status": 200, "client": "ann"}, {"status": 503, "error": "x"}
    ]  # fmt: skip
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, flow), "--flow", "1"]) == 0

    assert capsys.readouterr().out.startswith(HAPPENED)


@pytest.mark.parametrize(("tried", "told"), [([{"account": "one"}], False), ([{}, {"account": "two"}], True)])
def test_attempts_are_told_where_there_was_more_than_one(tmp_path, keyed, capsys, tried, told):
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, _served(["hi"], "one", attempts=tried)),
                 "--flow", "1"]) == 0  # fmt: skip
    assert ("attempts " in capsys.readouterr().out) is told


def test_a_flow_without_a_record_says_so(tmp_path, keyed, capsys):
    assert main(["explain", "--config", str(keyed), _saved(tmp_path, _flow(["hi"], "Hello", "one")),
                 "--flow", "1"]) == 0  # fmt: skip
    said = capsys.readouterr().out

    assert said.startswith(
        "WHAT HAPPENED, as flow 1 says\n"
        "nothing: the flow was refused before it got an account, is under way, or did not pass Patchbay\n\nWHAT A FRESH"
    )
    assert said.endswith("\nnote: the flow does not say what happened\n")


def test_the_report_as_json(tmp_path, keyed, capsys):
    told = _explain(capsys, keyed, _asked(tmp_path))
    assert told["fresh_pool"] == "all below is what a fresh pool would do"
    assert (told["happened"], told["owner"], told["client"]) == (None, "", "local")
    assert told["tiers"][0] == {"tier": "owner", "used": False, "said": "nothing found"}

    asked = [{"account": "one", "outcome": "ok"}]
    flow = _served(["hi"], "one", attempts=asked)
    flow.metadata["patchbay.exchanges"] = [{"account": "two"}]
    told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")
    assert told["fresh_pool"] == "all below is what a fresh pool would do, after the flows before this one"
    assert set(told["happened"]) == {
        "time", "exchange", "request_id", "client", "method", "path", "dialect", "model", "provider", "pool", "account",
        "binding", "moved_from", "moved_because", "session", "session_id", "thread", "tier", "status", "error",
        "verdict", "attempts", "mode", "candidates", "on_socket",
    }  # fmt: skip
    assert (told["happened"]["attempts"], told["happened"]["on_socket"][0]["account"]) == (asked, "two")


def test_what_is_refused_and_what_is_of_no_dialect_is_told(tmp_path, keyed, capsys):
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"path": "/v1/chat/completions", "headers": {"x-patchbay-account": "off"}, "body": HI}))
    told = _explain(capsys, keyed, str(file), code=1)
    assert told["account"].startswith("none: 503 ")
    assert {each["account"] for each in told["candidates"]} == set()
    assert (told["binds"], bool(told["affinity"])) == ("yes", True)

    file.write_text(json.dumps({"method": "GET", "path": "/nothing?a=1", "body": ""}))
    told = _explain(capsys, keyed, str(file), code=1)
    assert told["request"] == "GET /nothing?a=… (no dialect, other)"
    assert told["account"].startswith("none: 404 not_an_llm_path, ")


NOWHERE, UP = "http://patchbay.invalid", "https://up.example"
PASSES = "none: no account serves it, and it passes with the client's own key"
HEADS = [
    ("POST", "/v1//chat/completions", {}, 400, "path_unusable"),
    ("POST", "/v1/chat/completions", {"host": "evil.example"}, 403, "host_not_allowed"),
    ("POST", "/v1/chat/completions", {"origin": "https://evil.example"}, 403, "cross_site"),
    ("POST", "/v1/chat/completions", {"content-type": "text/plain"}, 415, "content_type"),
    ("POST", "/v1/chat/completions", {"x-http-method": "PUT"}, 400, "header_unusable"),
    ("GET", "/favicon.ico", {}, 404, "not_an_llm_path"),
    ("POST", "/v1/chat/completions", {}, 0, ""),
    ("POST", "/v1/chat/completions", {"host": "localhost:8080", "origin": "http://localhost:8080"}, 0, ""),
]


@pytest.mark.parametrize(
    ("upstream", "method", "path", "headers", "status", "code"),
    [(NOWHERE, *head) for head in HEADS] + [(UP, *head) for head in HEADS if head[1] != "/favicon.ico"],
)
def test_what_the_proxy_refuses_by_its_head_is_refused(
    tmp_path, settings, capsys, upstream, method, path, headers, status, code
):
    """Of text, and of a flow without a record. The hooks of the proxy are asked too."""
    settings.write_text(settings.read_text().replace("https://llm.example/v1", "reverse", 1))
    asked = tmp_path / "request.json"
    asked.write_text(json.dumps({"method": method, "path": path, "headers": headers, "body": HI}))
    told = _explain(capsys, settings, str(asked), "--upstream", upstream, code=1 if code else 0)
    assert told["account"].startswith(f"none: {status} {code}, ") is bool(code), told

    mode, to = f"reverse:{upstream}", urlsplit(upstream)
    sent = flow(path, HI, mode=mode)
    sent.request.method, sent.request.scheme = method, to.scheme
    sent.request.host, sent.request.port = str(to.hostname), {"http": 80, "https": 443}[to.scheme]
    sent.request.headers.update(headers)
    told = _explain(capsys, settings, _saved(tmp_path, sent), "--flow", "1", code=1 if code else 0)
    assert told["account"].startswith(f"none: {status} {code}, ") is bool(code), told

    async def proxied() -> None:
        with patchbay(tmp_path, settings.read_text().partition("\n")[2], mode=[mode]) as addon:
            await ask(addon, sent)

    asyncio.run(proxied())
    assert (sent.response.status_code if sent.response else 0) == status


@pytest.mark.parametrize(
    ("more", "path", "said"),
    [
        ("other_traffic: pass\n", "/nothing", PASSES),
        ("mode: shadow\n", "/nothing", PASSES),
        ("mode: shadow\n", "https://llm.example/v1//chat/completions", "one (new)"),  # nothing is refused in shadow
        ("", "https://elsewhere.example/v1/chat/completions", PASSES),
        ("other_traffic: refuse\n", "https://elsewhere.example/v1/chat/completions", "none: 404 auth_not_found, "),
    ],
)
def test_what_passes_is_said_to_pass(tmp_path, settings, capsys, more, path, said):
    settings.write_text(more + settings.read_text().replace("id: two", "id: two, enabled: false"))
    asked = tmp_path / "request.json"
    asked.write_text(json.dumps({"path": path, "body": HI}))
    assert _explain(capsys, settings, str(asked), code=int("404" in said))["account"].startswith(said)


def test_without_an_upstream_no_account_at_it_is_named(tmp_path, settings, capsys):
    settings.write_text(settings.read_text().replace("https://llm.example/v1", "reverse"))
    assert _explain(capsys, settings, _asked(tmp_path), code=1)["account"] == (
        "none: 503 auth_unavailable, No account can serve this request now: one: its `base_url: reverse` names none; "
        "two: its `base_url: reverse` names none; off: disabled in the settings. "
        "Account one: start with `--mode reverse:URL`, or name a base_url in the settings"
    )


def test_the_models_of_a_client_are_asked_before_anything_is_identified(tmp_path, keyed, capsys):
    """A refused request has no conversation."""
    keyed.write_text(keyed.read_text() + "clients:\n  - {name: ann, key: example-ann, models: [x]}\n")
    flow = _served(["hi"], "two", client="ann")
    told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1", code=1)

    assert told["account"].startswith("none: 403 model_not_allowed, ")
    assert (told["affinity"], told["thread"], told["owner"], told["candidates"]) == ("", "", "", [])
    assert told["binds"] == "no, it uses existing bindings only"
    assert told["client"] == f"ann {SCOPE.hex()[:8]}"
    assert told["request"].endswith("(openai_chat, generation)")


def test_where_clients_are_configured_a_request_is_said_to_be_an_unnamed_one_s(tmp_path, keyed, capsys):
    note = "client keys are not read here: the request counts as an unnamed client's"
    assert note not in _explain(capsys, keyed, _asked(tmp_path))["notes"]
    keyed.write_text(keyed.read_text() + "clients:\n  - {name: ann, key: example-ann}\n")
    assert note in _explain(capsys, keyed, _asked(tmp_path))["notes"]
    assert note not in _explain(capsys, keyed, _saved(tmp_path, _served(["hi"], "one")), "--flow", "1")["notes"]


def test_an_id_is_shown_up_to_64_characters(tmp_path, keyed, capsys):
    for length, shown in ((64, "s" * 64), (65, "s" * 64 + "…")):
        told = _explain(capsys, keyed, _asked(tmp_path, **{"x-session-id": "s" * length}))
        assert _tier(told, "generic_header") == f"header x-session-id = {shown}"


def test_the_upstream_of_a_reverse_listener_decides(tmp_path, keyed, capsys):
    text = keyed.read_text().replace("https://llm.example/v1", "reverse")
    keyed.write_text(text)
    told = _explain(capsys, keyed, _asked(tmp_path), "--upstream", "https://up.example/v1")
    assert told["account"].endswith(" (new)")
    keyed.write_text(text.replace('"reverse"', '"https://llm.example/v1"', 1))
    named = tmp_path / "request.json"
    named.write_text(json.dumps({"path": "https://up.example/v1/chat/completions", "body": HI}))
    assert _explain(capsys, keyed, str(named), "--upstream", "https://up.example")["account"] == "two (new)"
    named.write_text(json.dumps({"path": "https://llm.example/v1/chat/completions", "body": HI}))
    assert _explain(capsys, keyed, str(named), "--upstream", "https://up.example")["account"] == "one (new)"


def test_notes_about_the_scope_and_edits_of_a_flow(tmp_path, keyed, capsys):
    def notes(flow: http.HTTPFlow, **before: Any) -> list[str]:
        made = mint_of(KEY).new(1.0, bytes)
        flow.metadata |= {"patchbay.request_id": made, "patchbay.served": {
            "account": "one", "session": "a" * 32, "tier": "content", "request_id": made, **before,
        }}  # fmt: skip
        told = _explain(capsys, keyed, _saved(tmp_path, flow), "--flow", "1")["notes"]
        return [note.partition(",")[0].partition(";")[0] for note in told[1:]]

    edited, scopeless = "the flow was edited since", "the flow does not hold its client's scope"
    assert notes(_served(["hi"], "one"), scope=SCOPE.hex()) == []
    assert notes(_served(["hi"], "one"), scope=SCOPE.hex(), digest="ab") == [edited]
    assert notes(_served(["hi"], "one"), scope="x") == [scopeless]
    assert notes(_served(["hi"], "one"), scope="x", digest="ab") == [scopeless, edited]


def test_the_rights_of_a_client_are_those_of_its_name(tmp_path, keyed, capsys):
    clients = "clients:\n  - {name: bob, key: example-bob, models: [x]}\n  - {name: ann, key: example-ann}\n"
    keyed.write_text(keyed.read_text() + clients)
    for name, code in (("ann", 0), ("bob", 1), ("gone", 0), (None, 0)):
        told = _explain(capsys, keyed, _saved(tmp_path, _served(["hi"], "two", client=name)), "--flow", "1", code=code)
        assert told["client"].split()[0] == (name or "local")
        assert told["account"].startswith("none: 403") is bool(code)


def test_flows_that_were_refused_or_not_answered_hide_none_behind_them(tmp_path, keyed, capsys):
    unanswered, refused = _served(["hi"], "two"), _served(["hi"], "two")
    unanswered.response = None
    refused.request.headers["x-patchbay-account"] = "nobody"
    last = _flow(["hi", "Hello", "go"], "Gone.", "one")
    told = _explain(capsys, keyed, _saved(tmp_path, unanswered, refused, last), "--flow", "3")

    assert told["account"] in ("one (new)", "two (new)")
    assert told["happened"] is None


def test_without_settings_the_accounts_are_the_keys_of_the_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real-0123456789abcdef0123")

    assert main(["explain", _asked(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "openai" in {each["account"] for each in told["candidates"]}
    assert any(note.startswith("no config.yaml: uses OPENAI_API_KEY as account openai") for note in told["notes"])
