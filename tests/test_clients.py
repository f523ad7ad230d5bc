"""Clients are known by their keys, and may do what their rights say."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from patchbay import clients, dialects, requested_models
from patchbay.accounts.lease import Ask, Lease
from patchbay.accounts.pool import Accounts
from patchbay.body import Body
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import ClientKey, Config
from patchbay.values.account import Account, Secret
from patchbay.values.decision import Identity, Refusal
from patchbay.values.http import Client, Endpoint, Headers, Origin, Request

from .each_row import each_row

SECRET = bytes(32)
KNOWN = (
    clients.Known(ClientKey("ann", Secret("literal", ""), may_pin=True), b"ann-key"),
    clients.Known(ClientKey("bob", Secret("literal", "")), b"bob-key"),
)


def who(headers: dict[str, str], path: str = "/v1/x", known: tuple[clients.Known, ...] = KNOWN) -> Client | Refusal:
    return clients.identify(Headers(headers.items()), path, known, SECRET, loopback=True)


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({"Authorization": "Bearer ann-key"}, "/"),
        ({"authorization": "bearer ann-key"}, "/"),
        ({"X-Api-Key": "ann-key"}, "/"),
        ({"x-goog-api-key": "ann-key"}, "/"),
        ({"api-key": "ann-key"}, "/"),
        ({}, "/v1beta/models/m:generateContent?alt=sse&key=ann-key"),
        ({}, "/a?alt=sse&k%65y=ann-key"),
        ({}, "/a?access_token=ann-key"),
        ({"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.ann-key"}, "/"),
    ],
)
def test_a_client_is_known_by_its_key_in_every_form(headers: dict[str, str], path: str) -> None:
    client = who(headers, path)

    assert isinstance(client, Client)
    assert client.name == "ann"
    assert client.may_pin


def test_who_has_no_known_key_is_refused() -> None:
    for headers in ({}, {"authorization": "Bearer ann-kez"}, {"authorization": "ann"}):
        refusal = who(headers)
        assert isinstance(refusal, Refusal)
        assert refusal.status == 401


def test_scopes_of_clients_differ_and_hold() -> None:
    ann, bob = who({"x-api-key": "ann-key"}), who({"x-api-key": "bob-key"})

    assert isinstance(ann, Client)
    assert isinstance(bob, Client)
    assert ann.scope != bob.scope
    assert who({"authorization": "Bearer ann-key"}) == ann


def test_without_configured_clients_a_key_is_a_scope_and_its_spelling_does_not_matter() -> None:
    bearer, header = who({"authorization": "Bearer k1-key-one"}, known=()), who({"x-api-key": "k1-key-one"}, known=())

    assert bearer == header
    assert bearer != who({"x-api-key": "k2-key-two"}, known=())
    assert who({}, known=()) == Client(may_pin=True)


def test_clients_of_one_scope_share_it() -> None:
    known = tuple(
        clients.Known(ClientKey(name, Secret("literal", ""), scope="home"), name.encode()) for name in ("ann", "bob")
    )
    ann, bob = who({"x-api-key": "ann"}, known=known), who({"x-api-key": "bob"}, known=known)

    assert isinstance(ann, Client)
    assert isinstance(bob, Client)
    assert ann.scope == bob.scope
    assert (ann.name, bob.name) == ("ann", "bob")


def test_rights_come_with_the_key() -> None:
    key = ClientKey("ann", Secret("literal", ""), pools=("openai",), providers=("vllm-*",), models=("gpt-*",))
    ann = who({"x-api-key": "ann"}, known=(clients.Known(key, b"ann"),))

    assert isinstance(ann, Client)
    assert (ann.pools, ann.models) == (("openai",), ("gpt-*",))
    assert ann.may_use("vllm-at-work")
    assert not ann.may_use("openai")
    assert Client().may_use("anything")


CHAT = Endpoint("openai_chat", "openai", "generation", "/chat/completions")
FILES = Endpoint("openai_chat", "openai", "resource", "/files")
BATCHES = dialects.endpoint("POST", "/v1/batches")
ANYWHERE = Origin("http", "patchbay.invalid", 80)
MESSAGES = Endpoint("anthropic", "anthropic", "generation", "/v1/messages")


@pytest.mark.parametrize(
    ("rights", "endpoint", "method", "model", "code"),
    [
        ({}, CHAT, "POST", "anything", ""),
        ({"pools": ("openai",)}, CHAT, "POST", "anything", ""),
        ({"pools": ("openai",)}, MESSAGES, "POST", "anything", "pool_not_allowed"),
        ({"pools": ("openai",)}, Endpoint(), "GET", "", "pool_not_allowed"),
        ({"models": ("gpt-*",)}, CHAT, "POST", "gpt-5", ""),
        ({"models": ("gpt-*",)}, CHAT, "POST", "o3", "model_not_allowed"),
        ({"models": ("gpt-*",)}, CHAT, "POST", "", "model_not_allowed"),
        ({"models": ("gpt-*",)}, FILES, "POST", "", ""),
        ({"models": ("gpt-*",)}, BATCHES, "POST", "", "model_not_allowed"),
        ({"models": ("gpt-*",)}, dialects.endpoint("GET", "/v1/batches"), "GET", "", ""),
    ],
)
def test_a_client_may_do_what_its_rights_say(
    rights: dict[str, tuple[str, ...]], endpoint: Endpoint, method: str, model: str, code: str
) -> None:
    asked = Request(method, endpoint.suffix, Headers(), Body(json.dumps({"model": model}).encode()), endpoint, ANYWHERE)
    refusal = clients.exceeded_right(Client(**rights), endpoint, requested_models.anywhere(asked))  # type: ignore[arg-type]

    assert (refusal.code if refusal else "") == code
    assert refusal is None or refusal.status == 403


def test_to_a_client_there_are_no_accounts_but_those_it_may_use() -> None:
    accounts = tuple(
        Account(name, replace(PRESETS["openai"], name=name), Secret("literal", ""), Origin("https", "a", 443))
        for name in ("openai", "vllm-one")
    )
    pool = Accounts(Config(accounts), bytes(32), Random(1))

    def served(client: Client, pin: str = "") -> str:
        ask = Ask("openai", None, None, "m", Identity(), client, pin)
        chosen = pool.choose(ask, 0)
        return chosen.account.id if isinstance(chosen, Lease) else "nobody"

    assert {served(Client(providers=("vllm-*",))) for _ in range(9)} == {"vllm-one"}
    assert served(Client(providers=("azure",))) == "nobody"
    assert served(Client(providers=("vllm-*",)), pin="openai") == "nobody"
    assert {served(Client()) for _ in range(30)} == {"openai", "vllm-one"}


def test_what_a_client_may_is_asked_again_by_its_key() -> None:
    """R34: after a reload a client is what the settings say by then, or gone."""
    ann = who({"x-api-key": "ann-key"})
    assert isinstance(ann, Client)
    fewer = clients.Known(ClientKey("ann", Secret("literal", ""), models=("mini*",)), b"ann-key")
    other = clients.Known(ClientKey("ann", Secret("literal", "")), b"another-key")

    assert clients.with_present_rights(ann, KNOWN, SECRET) == ann
    found = clients.with_present_rights(ann, (fewer,), SECRET)
    assert found is not None
    assert found.models == ("mini*",)
    assert clients.with_present_rights(ann, (other,), SECRET) is None
    assert clients.with_present_rights(Client(), KNOWN, SECRET) is None
    assert clients.with_present_rights(ann, (), SECRET) == ann


@each_row("kind", clients._LISTINGS.pattern.rpartition("(?:")[2].rstrip(")").split("|"))
def test_every_kind_of_stored_objects_has_a_list(kind: str) -> None:
    def lists(method: str, suffix: str) -> bool:
        endpoint = Endpoint("openai_chat", "openai", "resource", suffix)
        request = Request(method, suffix, Headers(), Body(b""), endpoint, ANYWHERE)
        return clients.is_list(request)

    assert all(lists("GET", f"{before}/{kind}{after}") for before in ("", "/v1", "/v1beta") for after in ("", "/"))
    assert lists("HEAD", f"/v1/{kind}")
    assert not lists("POST", f"/v1/{kind}")
    assert not lists("GET", f"/v1/{kind}/id-1")


def test_a_model_has_to_match_one_of_several_patterns() -> None:
    client = Client(models=("mini-*", "gpt-*"), providers=("vllm-*", "openai"))
    named = {model: requested_models.RequestedModels(model) for model in ("gpt-5", "mini-1", "o3")}

    refused = [model for model, naming in named.items() if clients.exceeded_right(client, CHAT, naming)]
    assert refused == ["o3"]
    assert [client.may_use(name) for name in ("vllm-1", "openai", "azure")] == [True, True, False]


def test_only_the_upgrade_of_a_socket_is_no_list() -> None:
    upgrade = Headers([("upgrade", " WebSocket ")])

    def lists(path: str, headers: Headers) -> bool:
        endpoint = dialects.endpoint("GET", path)
        return clients.is_list(Request("GET", path, headers, Body(b""), endpoint, ANYWHERE))

    assert dialects.endpoint("GET", "/v1/responses").model_source == "socket"
    assert [lists("/v1/responses", each) for each in (Headers(), upgrade)] == [True, False]
    assert [lists("/v1/files", each) for each in (Headers(), upgrade)] == [True, True]


def test_a_long_name_of_a_model_is_cut_in_its_refusal() -> None:
    refusal = clients.exceeded_right(Client(models=("a",)), CHAT, requested_models.RequestedModels("m" * 300))

    assert refusal is not None
    assert f"'{'m' * 256}'" in refusal.message


def test_a_client_that_is_gone_is_told_so() -> None:
    assert Refusal(401, "client_unknown", "This client is no longer known to the proxy") == clients.GONE


def test_without_configured_clients_a_key_in_the_query_is_a_scope_too() -> None:
    first, second, none = (who({}, path, known=()) for path in ("/x?key=one-key", "/x?key=two-key", "/x?other=one-key"))

    assert isinstance(first, Client) and isinstance(none, Client)
    assert first.scope and first != second
    assert none.scope == b""


@pytest.mark.parametrize(
    ("allowed", "model", "may"),
    [
        ("gpt-5", "gpt-5", True),
        ("models/gpt-5", "models/gpt-5", True),
        ("gpt-5", "models/gpt-5", True),
        ("gpt-5", "gpt-6", False),
        ("*", " gpt-5", False),
        ("*", "gpt-5\x00", False),
        ("*", "gpt-5\n", False),
    ],
)
def test_a_model_is_allowed_by_its_full_name_or_its_bare_one(allowed: str, model: str, may: bool) -> None:
    naming = requested_models.RequestedModels(model)
    refused = clients.exceeded_right(Client(models=(allowed,)), Endpoint(), naming)

    assert (refused is None) is may
    assert refused is None or (refused.status, refused.code) == (403, "model_not_allowed")
