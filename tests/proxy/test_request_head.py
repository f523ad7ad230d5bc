"""What the head of a request decides before its body comes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from patchbay.clients import Known
from patchbay.guards import Guards
from patchbay.proxy import redacted_heads, request_head
from patchbay.router import Router
from patchbay.settings import reader
from patchbay.settings.settings import ClientKey, Config
from patchbay.values.account import Secret
from patchbay.values.decision import Refusal
from patchbay.values.http import Client, Endpoint, Headers, Origin

from .addon import ACCOUNTS, CLIENT_KEY, flow

KEY = bytes(32)
ANYWHERE = "reverse:http://patchbay.invalid"


def router(settings: str = "", provider: str = "generic") -> Router:
    return Router(
        reader.load(settings + ACCOUNTS.replace("generic", provider), "config.yaml"),
        KEY,
        Random(1),
        Random(2).randbytes,
    )


def at(host: str = "127.0.0.1", port: int = 9, path: str = "/v1/chat/completions", **more: Any) -> Any:
    asked = flow(path, host=f"{host}:{port}", **more)
    asked.request.host, asked.request.port = host, port
    return asked


def test_a_head_is_read_without_its_query() -> None:
    head = request_head.read(at(path="/v1/chat/completions?a=1"), router())

    assert (head.path, head.endpoint.dialect, head.serves) == ("/v1/chat/completions", "openai_chat", True)
    assert (head.destination, head.reverse) == (Origin("http", "127.0.0.1", 9), None)
    assert CLIENT_KEY in head.headers.get("authorization")


@pytest.mark.parametrize(
    ("authorization", "replay", "incomplete"),
    [
        ("Bearer patchbay", "request", True),
        ("Bearer patchbay:one", "response", True),
        ("Bearer patchbay", None, False),
        (f"Bearer {CLIENT_KEY}", "request", False),
    ],
)
def test_a_replay_with_a_placeholder_is_incomplete(authorization: str, replay: str | None, incomplete: bool) -> None:
    asked = at(authorization=authorization)
    asked.is_replay = replay

    assert request_head.read(asked, router()).incomplete is incomplete


@pytest.mark.parametrize(
    ("mode", "reverse"),
    [("regular", None), ("reverse:http://API.example:81", Origin("http", "api.example", 81)), (ANYWHERE, None)],
)
def test_the_upstream_of_a_reverse_listener(mode: str, reverse: Origin | None) -> None:
    assert request_head.reverse(at(mode=mode)) == reverse


ELSEWHERE = {"host": "api.example", "port": 80}
CHAT, OTHER = "/v1/chat/completions", "/whatever"


@pytest.mark.parametrize(
    ("settings", "where", "mode", "authorization", "passes"),
    [
        ("", {}, "regular", CLIENT_KEY, False),
        ("", {}, "regular", "", False),  # an account serves it
        ("", ELSEWHERE, "regular", CLIENT_KEY, True),
        ("", ELSEWHERE, "reverse:http://api.example", CLIENT_KEY, False),
        ("other_traffic: pass", ELSEWHERE, "reverse:http://api.example", CLIENT_KEY, True),
        ("other_traffic: refuse", ELSEWHERE, "regular", CLIENT_KEY, False),
        ("", {"path": OTHER}, "regular", CLIENT_KEY, False),  # the client's key may be its key for this proxy
        ("", {"path": OTHER}, "regular", "", True),
        ("mode: shadow", ELSEWHERE | {"path": OTHER}, "regular", CLIENT_KEY, True),
        ("mode: shadow", ELSEWHERE, "regular", CLIENT_KEY, False),  # a request to a model is observed
    ],
)
def test_what_passes(settings: str, where: dict[str, Any], mode: str, authorization: str, passes: bool) -> None:
    asked, of = at(**where, mode=mode), router(settings, "openai_compatible")  # which serves no other path
    asked.request.headers["authorization"] = f"Bearer {authorization}"
    if not authorization:
        del asked.request.headers["authorization"]
    assert request_head.passes(asked, request_head.read(asked, of), of) is passes


@pytest.mark.parametrize(
    ("replayed", "mode", "host", "goes"),
    [
        ("request", ANYWHERE, "127.0.0.1", "patchbay.invalid"),
        (None, ANYWHERE, "127.0.0.1", "127.0.0.1"),
        ("request", "reverse:http://127.0.0.1:9", "127.0.0.1", "127.0.0.1"),
        ("request", "reverse:http://api.example:9", "127.0.0.1", "127.0.0.1"),  # which names its upstream
        ("request", "regular", "127.0.0.1", "127.0.0.1"),
        ("request", ANYWHERE, "api.example", "api.example"),  # no account serves it there
    ],
)
def test_a_replay_may_go_to_another_account_where_its_client_left_that_open(
    replayed: str | None, mode: str, host: str, goes: str
) -> None:
    asked = at(host=host, mode=mode)
    asked.is_replay = replayed
    head = request_head.read(asked, router())

    assert head.destination.host == goes


@pytest.mark.parametrize(
    ("path", "mode", "host", "answered"),
    [
        ("/", ANYWHERE, "patchbay.invalid", True),
        ("/x", ANYWHERE, "patchbay.invalid", False),
        ("/", "regular", "api.example", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_probe_is_answered(path: str, mode: str, host: str, answered: bool, method: str) -> None:
    asked = at(host=host, port=80, path=path, mode=mode)
    asked.request.method = method
    found = request_head.presence_answer(asked, request_head.read(asked, router()))

    assert (found is not None) is (answered and method != "POST")
    assert found is None or (found.status_code, found.raw_content) == (200, b"")


def test_the_address_by_which_a_client_came() -> None:
    asked = at(mode="reverse:http://127.0.0.1:9")
    assert request_head.address(asked, Headers((("host", "here:8080"),))) == "http://here:8080"
    asked.client_conn.tls = True
    assert request_head.address(asked, Headers((("host", "here:8080"),))) == "https://here:8080"
    assert request_head.address(at(), Headers((("host", "here:8080"),))) == ""


def test_the_endpoint_after_a_key_in_the_path_was_replaced() -> None:
    asked, of = at(path=f"/{CLIENT_KEY}/v1/chat/completions"), router()
    head = request_head.read(asked, of)
    other = replace(head, endpoint=Endpoint(suffix="/as/it/was/read"))
    assert request_head.endpoint_shown(asked, other, of) is other.endpoint  # the path is as it was
    asked.request.path = "/v1/chat/completions"
    assert request_head.endpoint_shown(asked, head, of).dialect == "openai_chat"


def test_a_client_is_known_by_its_key_or_by_an_address_it_was_given() -> None:
    known = (Known(ClientKey("ann", Secret("literal", "")), b"sk-ann-0123456789"),)
    given = request_head.client(at(), Headers((("x-api-key", "sk-ann-0123456789"),)), known, KEY, router())
    assert isinstance(given, Client)
    assert given.name == "ann"
    of: Any = SimpleNamespace(addresses=SimpleNamespace(client_of=lambda path, now: given))

    assert request_head.client(at(), Headers(), known, KEY, of) == given
    refused = request_head.client(at(), Headers((("x-api-key", "another"),)), known, KEY, of)
    assert isinstance(refused, Refusal) and refused.status == 401  # a key that is presented decides


@pytest.mark.parametrize(("replayed", "refused"), [(None, True), ("response", True), ("request", False)])
def test_the_user_s_own_replay_needs_no_key_of_a_client(replayed: str | None, refused: bool) -> None:
    known, asked = (Known(ClientKey("ann", Secret("literal", "")), b"sk-ann-0123456789"),), at()
    asked.is_replay = replayed
    found = request_head.client(asked, Headers((("x-api-key", "another"),)), known, KEY, router())

    assert isinstance(found, Refusal) is refused
    assert refused or found == Client(may_pin=True)


@pytest.mark.parametrize(("peer", "pins"), [("127.0.0.1", True), ("192.168.1.9", False), ("", False)])
def test_only_a_client_on_this_machine_may_pin_without_a_key(peer: str, pins: bool) -> None:
    asked = at()
    asked.client_conn.peername = (peer, 1) if peer else None
    found = request_head.client(asked, Headers(), (), KEY, router())

    assert isinstance(found, Client) and found.may_pin is pins


def test_the_guards_see_every_name_of_the_host_and_a_large_body_unless_it_streams(tmp_path: Path) -> None:
    guard = Guards(Config(()))

    def refused(asked: Any, *, streams: bool = False) -> str:
        head = request_head.read(asked, router())
        found = request_head.guarded(asked, head.headers, head.endpoint, guard, streams=streams)
        return found.code if found else ""

    assert refused(at()) == ""
    assert refused(at(host="127.0.0.1", mode="reverse:http://127.0.0.1:9")) == ""
    two = at(mode="reverse:http://127.0.0.1:9")
    two.request.headers.add("host", "evil.example")
    assert refused(two) == "host_not_allowed"
    target = at()
    target.request.headers["host"] = "127.0.0.1:10"
    assert refused(target) == "host_not_allowed"  # a proxy's client names in Host where the request goes
    large = at()
    large.request.headers["content-length"] = "99999999999"
    assert refused(large) == "body_too_large"
    assert refused(large, streams=True) == ""
    large.is_replay = "request"
    assert refused(large) == ""


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-patchbay-account", "sk-proj-Zq16Xw7TtB3kLmNpQrSvUyAcEfGhJ16", "account_unknown"),
        ("x-patchbay-account", "as-it-was-sent-as-the-key", "account_unknown"),
        ("x-patchbay-session-id", "sk-proj-Zq16Xw7TtB3kLmNpQrSvUyAcEfGhJ16", "header_unusable"),
        ("x-patchbay-account", "patchbay", ""),
        ("x-patchbay-session-id", "d\xe9j\xe0 vu", ""),
        ("x-session-id", "sk-proj-Zq16Xw7TtB3kLmNpQrSvUyAcEfGhJ16", ""),
    ],
)
def test_a_choice_that_is_hidden_as_a_key_is_refused_and_not_dropped(name: str, value: str, code: str) -> None:
    asked = at()
    asked.request.headers["x-api-key"] = "as-it-was-sent-as-the-key"
    asked.request.headers.add(name, value)
    head = request_head.read(asked, router())
    redacted_heads.placeholder(asked.request)
    guard = Guards(Config(()))
    found = request_head.guarded(asked, head.headers, head.endpoint, guard, streams=False)

    assert (found.code if found else "") == code
    assert found is None or (found.status == 400 and name in found.message and value not in found.message)
    asked.request.headers["host"] = "evil.example"
    first = request_head.guarded(asked, request_head.read(asked, router()).headers, head.endpoint, guard, streams=False)
    assert first is not None and first.code == "host_not_allowed"


@pytest.mark.parametrize(("mode", "misdirected"), [("reverse:http://127.0.0.1:9", True), ("regular", False)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_whole_url_at_a_reverse_listener_is_taken_for_a_proxy_s(mode: str, misdirected: bool, whole: bool) -> None:
    asked = at(mode=mode)
    asked.request.headers["host"] = "evil.example"
    asked.request.data.authority = b"evil.example" if whole else b""
    head = request_head.read(asked, router())
    found = request_head.guarded(asked, head.headers, head.endpoint, Guards(Config(())), streams=False)

    assert found is not None
    assert (found.status, found.code) == (403, "host_not_allowed")
    assert ("is no HTTP proxy" in found.message) is (misdirected and whole)
