"""Where requests may go: paths and origins of the enabled accounts."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from patchbay import dialects
from patchbay.accounts.pool import Accounts
from patchbay.destinations import Destinations
from patchbay.settings.settings import Config
from patchbay.upstream_url import ANYWHERE
from patchbay.values.account import Account, Models
from patchbay.values.http import Client, Endpoint, Headers, Origin, Request

from .test_router import account, opened, request, router

HERE = Origin("https", "api.here.example", 443)
THERE = Origin("https", "api.there.example", 443)
EVERYWHERE = Origin("http", ANYWHERE, 80)
CHAT = dialects.endpoint("POST", "/v1/chat/completions")
GEMINI = dialects.endpoint("POST", "/v1beta/models/g:generateContent")
FILES = dialects.endpoint("GET", "/v1/files")
NO_DIALECT = dialects.endpoint("GET", "/v1/unknown")


def destinations(*accounts: Account) -> Destinations:
    config = Config(accounts)
    return Destinations(config, Accounts(config, bytes(32), Random(1)))


def speaks(family: str, name: str = "a", **more: Any) -> Account:
    made = account(name, **more)
    return replace(made, provider=replace(made.provider, families=frozenset({family})))


@pytest.mark.parametrize(
    ("endpoint", "destination", "served"),
    [
        (CHAT, HERE, True),
        (CHAT, THERE, False),
        (CHAT, EVERYWHERE, True),
        (GEMINI, HERE, False),
        (GEMINI, EVERYWHERE, False),
        (NO_DIALECT, HERE, True),
        (NO_DIALECT, THERE, False),
        (NO_DIALECT, EVERYWHERE, False),  # such a path says nothing about its provider
        (dialects.endpoint("GET", "/v1/admin"), HERE, False),  # nor may every key go with it
    ],
)
def test_a_request_is_served_where_an_account_speaks_its_protocol(
    endpoint: Endpoint, destination: Origin, served: bool
) -> None:
    here = speaks("openai", origin=HERE)
    of = destinations(replace(here, provider=replace(here.provider, paths=("/v1/unknown",))))

    assert (CHAT.family, GEMINI.family, NO_DIALECT.family) == ("openai", "gemini", "")
    assert of.serves(endpoint, destination) is served
    assert of.has_account_at(destination) is (destination == HERE)


def test_an_account_without_an_origin_of_its_own_is_at_the_reverse_upstream() -> None:
    of = destinations(speaks("openai"))

    assert of.serves(CHAT, HERE, HERE)
    assert of.serves(CHAT, EVERYWHERE, HERE)
    assert not of.serves(CHAT, HERE)
    assert not of.serves(CHAT, HERE, THERE)
    assert not of.has_account_at(HERE)


def test_a_disabled_account_answers_for_nothing_and_is_named_as_disabled() -> None:
    of = destinations(speaks("openai", origin=HERE, enabled=False))

    assert not of.serves(CHAT, HERE)
    assert not of.has_account_at(HERE)
    for destination in (HERE, EVERYWHERE):
        refused = of.unserved(CHAT, destination, None, Client(), 0.0)
        assert "a: disabled" in refused.message
    assert of.unserved(NO_DIALECT, HERE, None, Client(), 0.0).code == "not_an_llm_path"


def test_what_no_account_serves_is_said_for_the_place_that_was_asked() -> None:
    of = destinations(speaks("openai", origin=HERE, enabled=False), speaks("openai", "b", enabled=False))

    def told(destination: Origin, reverse: Origin | None) -> str:
        refused = of.unserved(CHAT, destination, reverse, Client(), 0.0)
        return refused.message if refused else ""

    assert ("a: disabled" in told(HERE, None), "b: disabled" in told(HERE, None)) == (True, False)
    assert ("a: disabled" in told(THERE, THERE), "b: disabled" in told(THERE, THERE)) == (False, True)
    assert ("a: disabled" in told(EVERYWHERE, THERE), "b: disabled" in told(EVERYWHERE, THERE)) == (True, True)


@pytest.mark.parametrize(
    ("change", "still"),
    [
        ({"weight": 2.0, "models": Models(allow=("x",))}, True),
        ({"enabled": False}, False),
        ({"id": "another"}, False),
        ({"origin": THERE}, False),
        ({"base_path": "/v2"}, False),
    ],
)
def test_an_account_still_serves_while_it_is_enabled_at_the_same_place(change: dict[str, Any], still: bool) -> None:
    before = account("a", origin=HERE, base_path="/v1")
    of = destinations(account("first", origin=THERE), replace(before, **change), account("last", origin=THERE))

    assert of.still_serves(before) is still


def test_a_path_that_dialects_spell_alike_is_read_as_an_account_here_speaks_it() -> None:
    path, no_mark = "/v1/models", Headers()
    endpoint = dialects.endpoint("GET", path)
    openai, claude = speaks("openai", origin=HERE), speaks("anthropic", "b", origin=THERE)
    of = destinations(openai, claude)

    def meant(destination: Origin, headers: Headers = no_mark, reverse: Origin | None = None) -> str:
        return of.resolve(endpoint, path, headers, destination, reverse).family

    assert meant(HERE) == "openai"
    assert meant(THERE) == "anthropic"
    assert meant(EVERYWHERE) == endpoint.family
    marked = Headers([("anthropic-version", "2023-06-01")])
    assert meant(EVERYWHERE, marked) == "anthropic"
    assert meant(HERE, marked) == "openai"
    nowhere = Origin("https", "nowhere.example", 443)
    assert of.resolve(endpoint, path, marked, nowhere, None) is endpoint
    assert of.resolve(CHAT, "/v1/chat/completions", marked, THERE, None) is CHAT
    assert destinations(speaks("anthropic")).resolve(endpoint, path, no_mark, HERE, HERE).family == "anthropic"


def asked(path: str, body: dict[str, Any], destination: Origin = EVERYWHERE, **headers: str) -> Request:
    method = "GET" if path == "/v1/files" else "POST"
    made = request(body, path, **headers)
    return replace(made, method=method, endpoint=dialects.endpoint(method, path), destination=destination)


@pytest.mark.parametrize(
    ("made", "goes"),
    [
        (asked("/v1/files", {}, THERE), THERE),  # the client named the place
        (asked("/v1/files", {}), HERE),  # the first pool of its family
        (asked("/v1/files", {}, x_patchbay_account="a"), None),
        (asked("/v1/chat/completions", {"messages": []}), None),
    ],
    ids=["named", "first pool", "pinned", "generation"],
)
def test_a_resource_that_names_nothing_goes_to_the_first_pool(made: Request, goes: Origin | None) -> None:
    of = router(speaks("gemini", "z", origin=THERE), speaks("openai", origin=HERE), speaks("openai", "b", origin=THERE))

    assert of.destinations.of(opened(of, made)) == goes


def test_a_resource_that_an_account_owns_or_that_names_a_model_goes_by_that() -> None:
    of = router(speaks("openai", origin=HERE))
    owned, named = (opened(of, asked("/v1/files", {})) for _ in range(2))
    owned.identity = replace(owned.identity, owner=frozenset({"a"}))
    named.model = "m"

    assert (of.destinations.of(owned), of.destinations.of(named)) == (None, None)


def test_the_first_pool_may_be_at_the_reverse_upstream() -> None:
    of = router(speaks("openai"))
    exchange = opened(of, asked("/v1/files", {}))
    exchange.reverse = THERE

    assert of.destinations.of(exchange) == THERE


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/skills"])
def test_every_path_that_dialects_spell_alike_is_read_as_the_account_there_speaks(path: str) -> None:
    endpoint, of = dialects.endpoint("GET", path), destinations(speaks("anthropic", origin=THERE))

    assert of.resolve(endpoint, path, Headers(), THERE, None).family == "anthropic"
