"""
What a client, or an account, may not do is not done, whatever carries it.

A row is a way to ask for `big-1`; the lists allow `mini*` or deny `big*`. A row passes when a route would carry it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

import pytest

from patchbay import dialects, requested_models
from patchbay.accounts.lease import Lease
from patchbay.body import Body
from patchbay.exchange import Exchange
from patchbay.guards import Arrival, Guards
from patchbay.requested_models import RequestedModels
from patchbay.router import Router
from patchbay.settings.presets import PRESETS
from patchbay.settings.settings import ClientKey, Config
from patchbay.values.account import Account, Models, Secret
from patchbay.values.answer import Chunk, End, Head
from patchbay.values.decision import Refusal
from patchbay.values.http import Client, Headers, Origin, Request

from .each_row import each_row

UPSTREAM = Origin("http", "127.0.0.1", 9)
ANN = Client(b"ann", "ann", models=("mini*",), key=b"ann")
BOB = Client(b"bob", "bob", key=b"bob")
ALLOWS = Models(allow=("mini*",))
DENIES = Models(deny=("big*",))
JSON = {"content-type": "application/json"}
HELLO = [{"role": "user", "content": "hello"}]


def account(models: Models = Models(), name: str = "a", preset: str = "generic", **more: Any) -> Account:  # noqa: B008
    return Account(name, PRESETS[preset], Secret("literal", "k"), models=models, **more)


def router(*accounts: Account, clients: tuple[str, ...] = ()) -> Router:
    numbers = count()
    keys = tuple(ClientKey(name, Secret("literal", name)) for name in clients)
    config = Config(accounts or (account(),), clients=keys)
    return Router(config, bytes(32), Random(1), lambda size: next(numbers).to_bytes(size))


@dataclass(frozen=True)
class Row:
    """One way to ask."""

    name: str
    path: str
    body: Any = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    socket: bool = False

    def asked(self, client: Client) -> Request:
        raw = self.body if isinstance(self.body, bytes) or self.body is None else json.dumps(self.body).encode()
        endpoint = dialects.endpoint(self.method, self.path.partition("?")[0])
        fields = Headers(self.headers or JSON.items())
        return Request(self.method, self.path, fields, Body(raw), endpoint, UPSTREAM, client)


def decided(of: Router, row: Row, client: Client) -> Lease | Refusal:
    asked = row.asked(client)
    guards = Guards(of.config)
    arrival = Arrival(asked.method, asked.path, asked.headers, "localhost", ())
    if refusal := guards.refusal(arrival, asked.endpoint):
        return refusal
    socket = None
    if row.socket:
        upgraded = of.open(replace(asked, body=Body(b"")), 0.0, reverse=UPSTREAM)
        assert isinstance(upgraded, Exchange)
        route = of.next(upgraded, 0.0)
        assert isinstance(route, Lease)
        socket = route
    opened = of.open(asked, 0.0, reverse=UPSTREAM, socket_lease=socket)
    if isinstance(opened, Refusal):
        return opened
    route_or = of.next(opened, 0.0)
    assert isinstance(route_or, Lease | Refusal)
    return route_or


def form(*fields: tuple[str, str], boundary: str = "xx", end: str = "--\r\n") -> bytes:
    parts = "".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n" for name, value in fields
    )
    return f"{parts}--{boundary}{end}".encode()


FORM = (("content-type", "multipart/form-data; boundary=xx"),)
URLENCODED = (("content-type", "application/x-www-form-urlencoded"),)
UPGRADE = (("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-version", "13"))
FILE = ('name="file"; filename="a.mp3"', "noise")
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GEMINI = "/v1beta/models/{}:generateContent"


def one(model: Any, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": HELLO, "max_tokens": 1, **more}


def batch(*models: Any) -> dict[str, Any]:
    return {"requests": [{"custom_id": str(at), "params": one(model)} for at, model in enumerate(models)]}


def readable() -> Iterator[Row]:
    """Yield rows in which the name can be read: they are refused by every list."""
    yield Row("a model deleted", "/v1/models/big-1", None, method="DELETE")
    yield Row("a tuned model deleted", "/v1beta/tunedModels/big-1", None, method="DELETE")
    yield Row("a tuned model changed", "/v1beta/tunedModels/big-1", {"displayName": "x"}, method="PATCH")
    yield Row("the header of Morpheus", CHAT, one("mini-1"), (("model_id", "big-1"), *JSON.items()))
    members = [
        "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/rerank", "/v1/images/generations",
        "/v1/audio/speech", CHAT, "/api/v1/chat/completions", RESPONSES, "/v1/responses/compact",
        "/v1/responses/input_tokens", MESSAGES, "/v1/complete", "/v1/messages/count_tokens", "/anthropic/v1/messages",
        "/v1beta/interactions", "/v1beta/cachedContents", "/v1internal:generateContent",
        "/v1internal:streamGenerateContent",
        "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
    ]  # fmt: skip
    for path in members:
        yield Row("member", path, one("big-1"))
    for verb in (
        "generateContent", "streamGenerateContent", "batchGenerateContent", "embedContent", "batchEmbedContents",
        "countTokens", "predict", "predictLongRunning",
    ):  # fmt: skip
        yield Row("in the path", f"/v1beta/models/big-1:{verb}", {})
    yield Row("in the path, encoded", "/v1beta/models/big%2D1%3AgenerateContent", {})
    yield Row("tuned", "/v1beta/tunedModels/big-1:generateContent", {})
    yield Row("dynamic", "/v1beta/dynamic/big-1:generateContent", {})
    yield Row("vertex", "/v1/projects/p/locations/l/publishers/google/models/big-1:generateContent", {})
    yield Row("vertex", "/v1/projects/p/locations/l/publishers/anthropic/models/big-1:rawPredict", {})
    yield Row("vertex", "/v1/projects/p/locations/l/endpoints/big-1:predict", {})
    yield Row("deployment", "/openai/deployments/big-1/chat/completions", {"messages": HELLO})
    yield Row("deployment and member", "/openai/deployments/mini-1/chat/completions", one("big-1"))
    yield Row("path and member", GEMINI.format("mini-1"), {"model": "models/big-1"})
    yield Row("engine", "/v1/engines/big-1/completions", one("mini-1"))
    yield Row("gateway", "/models/big-1/v1/chat/completions", one("mini-1"))
    yield Row("query", f"{CHAT}?model=big-1", one("mini-1"))
    yield Row("query, encoded", f"{CHAT}?x=1&%6Dodel=big-1", one("mini-1"))
    yield Row("query, semicolon", f"{CHAT}?x=1;model=big-1", one("mini-1"))
    yield Row("prefixed", "/v1beta/cachedContents", {"model": "models/big-1"})
    yield Row("embed", "/v1beta/models/mini-1:batchEmbedContents", {"requests": [{"model": "models/big-1"}]})
    yield Row("count", "/v1beta/models/mini-1:countTokens", {"generateContentRequest": {"model": "models/big-1"}})
    yield Row("agent", "/v1beta/interactions", {"agent": "big-1", "input": "x"})
    yield Row("escaped name", CHAT, b'{"\\u006dodel": "big-1"}')
    yield Row("escaped value", CHAT, b'{"model": "\\u0062ig-1"}')
    yield Row("another case", CHAT, b'{"Model": "big-1", "model": "mini-1"}')
    yield Row("upper case", CHAT, b'{"MODEL": "big-1"}')
    yield Row("long s", CHAT, '{"model": "mini-1", "model\u017f": ["big-1"]}'.encode())
    yield Row("white space", CHAT, one(" big-1"))
    yield Row("letters", CHAT, one("BIG-1"))
    yield Row("effort", CHAT, one("big-1(high)"))
    yield Row("BOM", CHAT, b"\xef\xbb\xbf" + json.dumps(one("big-1")).encode())
    yield Row("UTF-16", CHAT, json.dumps(one("big-1")).encode("utf-16"))
    yield Row("NaN", CHAT, b'{"model": "big-1", "temperature": NaN}')
    yield Row("a lone surrogate", CHAT, b'{"model": "big-1", "user": "\\ud800"}')
    yield Row("header", CHAT, one("mini-1"), (("x-model", "big-1"),))
    yield Row("header", CHAT, one("mini-1"), (("azureml-model-deployment", "big-1"),))
    yield Row("routing header", GEMINI.format("mini-1"), {}, (("x-goog-request-params", "model=models%2Fbig-1"),))
    yield Row("parameters", CHAT, one("mini-1", parameters={"model": "big-1"}))
    yield Row("models", CHAT, one("mini-1", models=["mini-2", "big-1"]))
    yield Row("fallbacks", MESSAGES, one("mini-1", fallbacks=[{"model": "big-1"}]))
    yield Row("fallbacks", CHAT, one("mini-1", fallbacks=["big-1"]))
    yield Row("fallback_models", CHAT, one("mini-1", fallback_models=["big-1"]))
    yield Row("extra", CHAT, one("mini-1", extra_body={"models": ["big-1"]}))
    yield Row("advisor", MESSAGES, one("mini-1", tools=[{"type": "advisor_20260301", "model": "big-1"}]))
    yield Row("image tool", RESPONSES, one("mini-1", tools=[{"type": "image_generation", "model": "big-1"}]))
    yield Row("tool, escaped", RESPONSES, b'{"model": "mini-1", "tools": [{"\\u006dodel": "big-1"}]}')
    yield Row("session", RESPONSES, one("mini-1", session={"model": "big-1"}))
    yield Row("transcription", RESPONSES, one("mini-1", audio={"input_audio_transcription": {"model": "big-1"}}))
    for other in ("context_window_fallbacks", "fallback", "model_ids", "model ", "model\0"):
        yield Row("another member", CHAT, one("mini-1", **{other: "big-1"}))
    yield Row("a list with commas", CHAT, one("mini-1,big-1"))
    yield Row("a list with commas", CHAT, one("mini-1"), (("x-fallback-model", "mini-1, big-1"),))
    yield Row("a header with underscores", CHAT, one("mini-1"), (("model_id", "big-1"),))
    for letters in ("model\u017f", "fallbac\u212as"):
        yield Row("folded letters", CHAT, json.dumps(one("mini-1", x={letters: ["big-1"]})).encode())
        yield Row(
            "folded letters", CHAT, json.dumps(one("mini-1", x={letters: ["big-1"]}), ensure_ascii=False).encode()
        )
        yield Row("folded letters", "/v1/messages/batches", {
            "requests": [{"params": one("mini-1", **{letters: ["big-1"]})}]
        })  # fmt: skip
    for query in (
        "model[0]", "extra[model]", "extra.model", "model+", "model%00", "mod%2565l", "%EF%BD%8Dodel", "deployment",
        "deployment-id", "engine", "agent", "assistant_id", "modelIds",
    ):  # fmt: skip
        yield Row("a field", f"{CHAT}?{query}=big-1", one("mini-1"))
        yield Row("a field", CHAT, f"model=mini-1&{query}=big-1".encode(), URLENCODED)
    yield Row("a value encoded twice", f"{CHAT}?model=%2562ig-1", one("mini-1"))
    for name in ("model[0]", "model[x]", "extra[model]", "extra.model", " model"):
        fields = (('name="model"', "mini-1"), (f'name="{name}"', "big-1"), FILE)
        yield Row("form, a piece of a name", "/v1/images/edits", form(*fields), FORM)
    yield Row("segments in another case", "/v1/Models/big-1/chat/completions", one("mini-1"))
    yield Row("segments", "/engine/big-1/chat/completions", one("mini-1"))
    yield Row("two deployments", "/openai/deployments/big-1/deployments/mini-1/chat/completions", one("mini-1"))
    for path in ("/v1/conversations", "/v1/conversations/c/items", "/v1/chat/completions/batch"):
        yield Row("what may run a model", path, one("big-1"))  # Mistral's and vLLM's do
    yield Row("what may run a model", "/v1beta/fileSearchStores", {"embeddingModel": "models/big-1"})
    yield Row("batch", "/v1/messages/batches", batch("big-1"))
    yield Row("batch and a member", "/v1/messages/batches", {"model": "mini-1", **batch("big-1")})
    yield Row("one of a batch", "/v1/messages/batches", batch("mini-1", "mini-1", "big-1"))
    yield Row("batch, fallbacks", "/v1/messages/batches", {
        "requests": [{"params": one("mini-1", fallbacks=[{"model": "big-1"}])}]
    })  # fmt: skip
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"):
        yield Row("form", path, form(('name="model"', "big-1"), FILE), FORM)
        yield Row("form, file first", path, form(FILE, ('name="model"', "big-1")), FORM)
    yield Row("form, two", "/v1/images/edits", form(('name="model"', "mini-1"), FILE, ('name="model"', "big-1")), FORM)
    yield Row("form, list", "/v1/images/edits", form(('name="model[]"', "big-1"), FILE), FORM)
    yield Row("urlencoded", CHAT, b"model=big-1&prompt=x", URLENCODED)
    yield Row("urlencoded, two", CHAT, b"model=mini-1&model=big-1", URLENCODED)
    yield Row("urlencoded JSON", CHAT, json.dumps(one("big-1")).encode(), URLENCODED)
    yield Row("JSON and a form", CHAT, b'{"model":"mini-1","x":"&model=big-1&"}', URLENCODED)
    yield Row("another socket", "/v1/realtime?model=big-1", b"", UPGRADE, "GET")
    for text in (
        b'{"type": "response.create", "model": "big-1"}',
        b'{"type":"response.create","response":{"model":"big-1"}}',
    ):
        yield Row("socket", RESPONSES, text, UPGRADE, "GET", socket=True)
    yield Row("socket, tool", RESPONSES, b'{"type":"response.create","model":"mini-1","tools":[{"model":"big-1"}]}',
              UPGRADE, "GET", socket=True)  # fmt: skip


def unreadable() -> Iterator[Row]:
    """Yield rows that two servers may read in two ways, or nobody can read."""
    yield Row("twice", CHAT, b'{"model": "mini-1", "model": "big-1"}')
    yield Row("twice, the other way", CHAT, b'{"model": "big-1", "model": "mini-1"}')
    yield Row("twice, escaped", CHAT, b'{"model": "mini-1", "\\u006dodel": "big-1"}')
    yield Row("twice in a tool", RESPONSES, b'{"model": "mini-1", "tools": [{"model": "mini-1", "model": "big-1"}]}')
    yield Row("twice, and NaN", CHAT, b'{"model": "mini-1", "model": "big-1", "top_p": NaN}')
    yield Row("no JSON", CHAT, b"model: big-1")
    yield Row("two values", CHAT, b'{"model":"mini-1"}{"model":"big-1"}')
    yield Row("lines", CHAT, b'{"model":"mini-1"}\n{"model":"big-1"}')
    yield Row("a list", CHAT, b'[{"model":"big-1"}]')
    yield Row("an object", CHAT, one({"id": "big-1"}))
    yield Row("a number", CHAT, one(1))
    yield Row("packed", CHAT, gzip.compress(json.dumps(one("big-1")).encode()))
    yield Row(
        "a charset", CHAT, json.dumps(one("mini-1")).encode(), (("content-type", "application/json; charset=utf-7"),)
    )
    yield Row("streamed", "/v1/audio/transcriptions", None, FORM)
    yield Row("form without an end", "/v1/images/edits", form(('name="model"', "mini-1"), end=""), FORM)
    yield Row("form, other boundary", "/v1/images/edits", form(('name="model"', "mini-1"), boundary="yy"), FORM)
    yield Row("form, two boundaries", "/v1/images/edits", form(('name="model"', "mini-1")),
              (("content-type", "multipart/form-data; boundary=xx; boundary=yy"),))  # fmt: skip
    yield Row("form, bare newlines", "/v1/images/edits", form(('name="model"', "big-1")).replace(b"\r\n", b"\n"), FORM)
    hidden = ('name="file"; filename="a"', '\n--xx\nContent-Disposition: form-data; name="model"\n\nbig-1\n')
    yield Row("form inside a file", "/v1/images/edits", form(('name="model"', "mini-1"), hidden), FORM)
    yield Row(
        "form, odd name", "/v1/images/edits", form(("name*=utf-8''model", "big-1"), ('name="model"', "mini-1")), FORM
    )
    for file in ('filename="a"', 'filename=""', "filename*=utf-8''a"):
        fields = (('name="model"', "mini-1"), (f'name="model"; {file}', "big-1"))
        yield Row("form, the model is a file", "/v1/images/edits", form(*fields), FORM)
    quoted = ('name="x"; filename="a\\"; name=\\"model"', "big-1")
    yield Row("form, a quote in a file's name", "/v1/images/edits", form(('name="model"', "mini-1"), quoted), FORM)
    long = ('name="model"', "big-1" + " " * 70_000)
    yield Row("form, a long field", "/v1/images/edits", form(('name="model"', "mini-1"), long), FORM)
    lists = (('name="model"', "mini-1"), ('name="fallbacks"', '["big-1"]'))
    yield Row("form, a list in JSON", "/v1/images/edits", form(*lists), FORM)
    yield Row("JSON as a form", CHAT, json.dumps(one("big-1")).encode(), FORM)
    yield Row("form as JSON", "/v1/images/edits", form(('name="model"', "big-1")))
    yield Row(
        "two types", CHAT, json.dumps(one("mini-1")).encode(), (("content-type", "application/json"), *URLENCODED)
    )
    yield Row("batch without a model", "/v1/messages/batches", {"model": "mini-1", "requests": [{"params": {}}]})
    yield Row("batch without requests", "/v1/messages/batches", {"model": "mini-1"})
    yield Row("batch, params twice", "/v1/messages/batches",
              b'{"requests":[{"params":{"model":"mini-1"},"params":{"model":"big-1"}}]}')  # fmt: skip
    yield Row("another socket", "/ws/service", b"", UPGRADE, "GET")
    yield Row("a batch's file", "/v1/batches", {"input_file_id": "file-1", "model": "mini-1"})


def hidden() -> Iterator[Row]:
    """Yield rows that name no model, or one that is not all: a client with a list may not send them."""
    yield Row("none", CHAT, {"messages": HELLO})
    yield Row("none", "/v1/moderations", {"input": "x"})
    yield Row("none", CHAT)
    yield Row("null", CHAT, one(None))
    yield Row("empty", CHAT, one(""))
    yield Row("none but in the query", f"{CHAT}?model=mini-1", {"messages": HELLO})
    yield Row("form without", "/v1/images/edits", form(FILE), FORM)
    yield Row("fine-tuning", "/v1/fine_tuning/jobs", {"model": "mini-1", "training_file": "file-1"})
    yield Row("fine-tuning", "/v1/fine_tuning/jobs", {"model": "mini-1", "requests": [{"params": {"model": "big-1"}}]})
    yield Row("tuning", "/v1beta/tunedModels", {"baseModel": "models/mini-1"})
    yield Row(
        "a file", "/v1beta/models/mini-1:batchGenerateContent", {"batch": {"inputConfig": {"fileName": "files/1"}}}
    )
    yield Row(
        "a file", "/v1beta/models/mini-1:batchGenerateContent", {"batch": {"input_config": {"file_name": "files/1"}}}
    )
    yield Row("unread", "/v1/threads/t/runs", one("mini-1"))
    yield Row("unread", "/api/chat", one("mini-1"))
    yield Row("unread", "/model/big-1/invoke", {})
    yield Row("unread", "/v1/chat/completions", one("mini-1"), method="PUT")
    yield Row("another socket", "/v1/realtime?model=mini-1", b"", UPGRADE, "GET")
    yield Row("another socket", "/v1/models", b"", UPGRADE, "GET")
    yield Row("settings in a header", CHAT, one("mini-1"), (("x-portkey-config", '{"targets": [{"model": "big-1"}]}'),))
    yield Row("stored settings in a header", CHAT, one("mini-1"), (("x-portkey-config", "pc-1"),))
    yield Row("fallbacks in a header", CHAT, one("mini-1"), (("helicone-fallbacks", '[{"model": "big-1"}]'),))
    yield Row("preset", CHAT, one("mini-1", preset="big"))
    yield Row("socket", RESPONSES, b'{"type": "response.create"}', UPGRADE, "GET", socket=True)


READABLE, UNREADABLE, HIDDEN = tuple(readable()), tuple(unreadable()), tuple(hidden())


def ids(rows: tuple[Row, ...]) -> list[str]:
    return [f"{row.name} {row.path}" for row in rows]


@each_row("row", READABLE + UNREADABLE + HIDDEN)
def test_a_client_s_models_are_asked_of_all_that_carries_one(row: Row) -> None:
    """T3, T4, T5: nothing that may run another model than a client's list has is sent."""
    found = decided(router(), row, ANN)

    assert isinstance(found, Refusal), found
    assert found.status in (400, 403)


@each_row("models", [ALLOWS, DENIES])
@each_row("row", READABLE + UNREADABLE)
def test_an_account_s_models_are_asked_of_all_that_carries_one(row: Row, models: Models) -> None:
    """T3, T4, T5, A11: an account that does not serve a model does not get it, by any way of naming it."""
    found = decided(router(account(models)), row, Client())

    assert isinstance(found, Refusal), found
    assert found.status in ((400, 403) if row in UNREADABLE else (400, 403, 404))


def test_the_table_is_large_enough() -> None:
    assert len(READABLE + UNREADABLE + HIDDEN) + 2 * len(READABLE + UNREADABLE) >= 60


def minis() -> Iterator[Row]:
    for row in READABLE:
        if row.name in ("letters", "long s", "another socket", "a value encoded twice"):
            continue
        body = row.body if row.body is None or isinstance(row.body, bytes) else json.dumps(row.body).encode()
        for big, mini in (
            (b"big", b"mini"),
            (b"\\u0062ig", b"\\u006dini"),
            ("big".encode("utf-16-le"), "mini".encode("utf-16-le")),
        ):
            body = body.replace(big, mini) if body else body
        if row.name == "white space":
            continue
        headers = tuple((name, value.replace("big", "mini")) for name, value in row.headers)
        yield replace(row, path=row.path.replace("big", "mini"), body=body, headers=headers)
    yield Row("a tool that has a model", CHAT, one("mini-1", tools=[
        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {"enum": ["big-1"]}}}}},
        {"name": "g", "input_schema": {"properties": {"model": {"type": "string", "default": "big-1"}}}},
    ]))  # fmt: skip
    yield Row("a switch", CHAT, one("mini-1", provider={"allow_fallbacks": False, "model": "mini-1"}))
    yield Row("a switch", CHAT, one("mini-1", allow_fallbacks=True, disable_fallbacks=False, max_fallbacks=2))
    yield Row("words", CHAT, {"model": "mini-1", "messages": [{"role": "user", "content": '{"model": "big-1"}'}],
                              "metadata": {"model": "big-1"}})  # fmt: skip
    for path in ("/v1/conversations", "/v1/conversations/c", "/v1/chat/completions/c", "/v1beta/fileSearchStores"):
        yield Row("names none", path, {"metadata": {}})
        yield Row("no body", path)
    yield Row("register", "/v1beta/files:register", {"uris": []})
    yield Row("files", "/v1/files", {"model": "big-1"})
    yield Row("a file", "/v1/files", form(FILE), FORM)
    yield Row("a list", "/v1/models", method="GET")
    yield Row("an upgrade", RESPONSES, b"", UPGRADE, "GET")
    yield Row("a batch that ends", "/v1/batches/batch_1/cancel")
    yield Row("quoted boundary", "/v1/images/edits", form(('name="model"', "mini-1"), FILE),
              (("content-type", 'multipart/form-data; boundary="xx"'),))  # fmt: skip
    yield Row("a name in Google's words", "/v1beta/cachedContents", {"model": "models/mini-1"})
    yield Row("assist", "/v1internal:loadCodeAssist", {"metadata": {}})


MINIS = tuple(minis())


@each_row("row", MINIS)
def test_what_the_lists_allow_is_sent(row: Row) -> None:
    """T5: a `model` member is believed where the path means it; what only speaks of a model names none."""
    for of, client in ((router(), ANN), (router(account(ALLOWS)), Client()), (router(account(DENIES)), Client())):
        found = decided(of, row, client)
        if row.name == "BOM" or row.name in ("UTF-16", "NaN", "a lone surrogate"):
            assert isinstance(found, Lease) or found.code == "body_unusable"
        else:
            assert isinstance(found, Lease), found


def test_a_batch_s_body_is_not_changed_by_the_models_it_names() -> None:
    """T5: the name of one request is no member of the batch."""
    found = decided(router(account(ALLOWS)), Row("", "/v1/messages/batches", batch("mini-1", "mini-2")), Client())

    assert isinstance(found, Lease)
    assert found.body is None


def test_of_two_accounts_the_one_that_serves_all_is_taken() -> None:
    """T5: an account gets a batch when it serves every model in it."""
    accounts = account(ALLOWS, "small"), account(Models(allow=("*",)), "large")
    for row in (*READABLE, *UNREADABLE):
        found = decided(router(*accounts), row, Client())
        assert isinstance(found, Refusal) or found.account.id == "large", row


@pytest.mark.parametrize("pools", [("openai",), ("anthropic",), ("gemini",)])
def test_a_client_s_pools_are_asked_of_every_path(pools: tuple[str, ...]) -> None:
    """T3: a pool that is not a client's is not reached, nor a path of none."""
    client = Client(b"ann", "ann", pools=pools, key=b"ann")
    for row in READABLE:
        family = dialects.endpoint(row.method, row.path.partition("?")[0]).family
        found = decided(router(), row, client) if not row.socket or family in pools else None
        if family not in pools:
            assert found is None or isinstance(found, Refusal), row


def test_a_client_s_providers_are_asked_of_every_carrier() -> None:
    """T3: accounts of other providers do not exist for it."""
    client = Client(b"ann", "ann", providers=("other",), key=b"ann")
    for row in READABLE:
        if not row.socket:
            assert isinstance(decided(router(), row, client), Refusal), row


# -- sockets: each message is asked again ------------------------------------------------------------------------------


def test_a_message_is_asked_what_its_client_may_by_then() -> None:
    """R34: a list that changed while the socket was open holds for the next message."""
    of = router()
    row = Row("", RESPONSES, b'{"type": "response.create", "model": "big-1"}', UPGRADE, "GET")
    upgraded = of.open(replace(row.asked(BOB), body=Body(b"")), 0.0, reverse=UPSTREAM)
    assert isinstance(upgraded, Exchange)
    socket = of.next(upgraded, 0.0)
    assert isinstance(socket, Lease)
    assert isinstance(of.open(row.asked(BOB), 0.0, reverse=UPSTREAM, socket_lease=socket), Exchange)

    found = of.open(row.asked(replace(BOB, models=("mini*",))), 0.0, reverse=UPSTREAM, socket_lease=socket)
    assert isinstance(found, Refusal)
    assert found.status == 403

    of.reload(Config((account(DENIES),)))
    opened = of.open(row.asked(BOB), 0.0, reverse=UPSTREAM, socket_lease=socket)
    assert isinstance(opened, Exchange)
    assert isinstance(of.next(opened, 0.0), Refusal)


@pytest.mark.parametrize(
    ("event", "client", "passes"),
    [
        ({"type": "response.cancel"}, ANN, True),
        ({"type": "response.append", "input": []}, ANN, True),
        ({"type": "response.append", "model": "big-1"}, ANN, False),
        ({"type": "response.append", "response": {"model": "big-1"}}, ANN, False),
        ({"type": "session.update", "session": {"model": "mini-1"}}, ANN, False),
        ({"type": "session.update", "session": {"model": "mini-1"}}, BOB, True),
        ({"type": "session.update", "session": {"model": "big-1"}}, BOB, False),
    ],
)
def test_events_that_ask_for_no_answer_have_models_too(event: dict[str, Any], client: Client, passes: bool) -> None:
    """R27: any event may name a model."""
    of = router(account(DENIES))
    upgraded = of.open(Row("", RESPONSES, b"", UPGRADE, "GET").asked(client), 0.0, reverse=UPSTREAM)
    assert isinstance(upgraded, Exchange)
    socket = of.next(upgraded, 0.0)
    assert isinstance(socket, Lease)
    asked = Row("", RESPONSES, event, UPGRADE, "GET").asked(client)

    assert (of.access.refused_event(asked, socket, 0.0) is None) == passes


# -- stored ids --------------------------------------------------------------------------------------------------------

ANNS, BOBS = replace(ANN, models=()), BOB


def stored(of: Router, path: str, answer: dict[str, Any], client: Client, body: Any = None) -> None:
    exchange = of.open(Row("", path, one("m") if body is None else body).asked(client), 0.0, reverse=UPSTREAM)
    assert isinstance(exchange, Exchange)
    assert isinstance(of.next(exchange, 0.0), Lease)
    for what in (Head(200, Headers(JSON.items())), Chunk(json.dumps(answer).encode()), End()):
        of.answered(exchange, what, 0.0)
    of.close(exchange, "", 0.0, status=200)


def filled() -> Router:
    of = router(clients=("ann", "bob"))
    output = [{"id": "msg_item1", "type": "message", "content": [{"text": "hi"}]}]
    told = {"id": "resp_ann1", "object": "response", "status": "completed", "conversation": {"id": "conv_ann1"}}
    stored(of, RESPONSES, {**told, "output": output}, ANNS)
    stored(of, "/v1/files", {"id": "file-ann1", "object": "file"}, ANNS, b"{}")
    stored(of, "/v1/batches", {"id": "batch_ann1", "object": "batch"}, ANNS, {"input_file_id": "file-ann1"})
    stored(of, "/v1/vector_stores", {"id": "vs_ann1", "object": "vector_store"}, ANNS, {})
    stored(of, "/v1/messages/batches", {"id": "msgbatch_ann1", "type": "message_batch"}, ANNS, batch("m"))
    stored(of, MESSAGES, {"id": "msg_ann1", "type": "message", "content": [{"type": "text", "text": "hi"}],
                          "container": {"id": "container_ann1"}}, ANNS)  # fmt: skip
    stored(of, "/v1beta/cachedContents", {"name": "cachedContents/ann1"}, ANNS, {"model": "models/m"})
    stored(
        of,
        "/upload/v1beta/files",
        {"file": {"name": "files/ann1", "uri": "https://g.example/v1beta/files/ann1"}},
        ANNS,
        {},
    )
    stored(
        of,
        "/v1beta/interactions",
        {"id": "int_ann1", "object": "interaction", "status": "completed", "steps": []},
        ANNS,
    )
    stored(of, "/v1/threads", {"id": "thread_ann1", "object": "thread"}, ANNS, {})
    return of


URI = "https://g.example/v1beta/files/ann1"
FOREIGN = (
    Row("", "/v1/responses/resp_ann1", method="GET"),
    Row("", "/v1/responses/resp_ann1", method="DELETE"),
    Row("", "/v1/responses/resp%5Fann1", method="GET"),
    Row("", "/v1/responses/resp_ann1/cancel"),
    Row("", "/v1/responses/resp_ann1/input_items", method="GET"),
    Row("", RESPONSES, one("m", previous_response_id="resp_ann1")),
    Row("", RESPONSES, b'{"type":"response.create","model":"m","previous_response_id":"resp_ann1"}', UPGRADE, "GET",
        True),
    Row("", RESPONSES, one("m", conversation="conv_ann1")),
    Row("", RESPONSES, one("m", conversation={"id": "conv_ann1"})),
    Row("", RESPONSES, {"model": "m", "input": [{"type": "item_reference", "id": "msg_item1"}]}),
    Row("", RESPONSES, {"model": "m", "input": [{"id": "msg_item1"}]}),
    Row("", RESPONSES, {"model": "m", "input": [{"type": None, "id": "msg_item1"}]}),
    Row("", RESPONSES, {"model": "m", "input": [{"type": "image_generation_call", "id": "msg_item1"}]}),
    Row("", RESPONSES, {"model": "m", "input": [
        {"type": "mcp_approval_response", "approval_request_id": "msg_item1", "approve": True}]}),
    Row("", RESPONSES, one("m", tools=[
        {"type": "shell", "environment": {"type": "container_reference", "container_id": "container_ann1"}}])),
    Row("", CHAT, {"model": "m", "messages": [{"role": "assistant", "audio": {"id": "msg_item1"}}]}),
    Row("", RESPONSES, {"model": "m", "input": [{"role": "user", "content": [
        {"type": "input_file", "file_id": "file-ann1"}]}]}),
    Row("", RESPONSES, one("m", tools=[{"type": "file_search", "vector_store_ids": ["vs_ann1"]}])),
    Row("", "/v1/conversations/conv_ann1/items", method="GET"),
    Row("", "/v1/conversations/conv_ann1", {"metadata": {}}),
    Row("", "/v1/files/file-ann1/content", method="GET"),
    Row("", "/v1/files/file-ann1", method="DELETE"),
    Row("", "/v1/batches/batch_ann1", method="GET"),
    Row("", "/v1/batches", {"input_file_id": "file-ann1"}),
    Row("", "/v1/fine_tuning/jobs", {"model": "m", "training_file": "file-1", "validation_file": "file-ann1"}),
    Row("", "/v1/vector_stores/vs_ann1/search", {"query": "x"}),
    Row("", "/v1/vector_stores/vs_1/files", {"file_id": "file-ann1"}),
    Row("", "/v1/containers/c/files", form(('name="file_id"', "file-ann1")), FORM),
    Row("", "/v1/vector_stores", {"file_ids": ["file-1", "file-ann1"]}),
    Row("", "/v1/threads/t/runs?batch=batch_ann1", {}),
    Row("", "/v1/threads", {"tool_resources": {"file_search": {"vector_store_ids": ["vs_ann1"]}}}),
    Row("", "/v1/messages/batches/msgbatch_ann1/results", method="GET"),
    Row("", "/v1/messages/batches/msgbatch_ann1/cancel"),
    Row("", MESSAGES, one("m", thread={"type": "continue", "previous_message_id": "msg_ann1"})),
    Row("", MESSAGES, one("m", container="container_ann1")),
    Row("", MESSAGES, one("m", container={"id": "container_ann1", "skills": []})),
    Row("", MESSAGES, {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "file", "file_id": "file-ann1"}}]}]}),
    Row("", "/v1/messages/batches", {"requests": [{"params": one("m", container="container_ann1")}]}),
    Row("", "/v1/messages/batches", {"requests": [{"params": {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "file", "file_id": "file-ann1"}}]}]}}]}),
    Row("", "/v1beta/cachedContents/ann1", method="GET"),
    Row("", "/v1/projects/p/locations/l/cachedContents/ann1", method="DELETE"),
    Row("", GEMINI.format("m"), {"cachedContent": "cachedContents/ann1", "contents": []}),
    Row("", GEMINI.format("m"), {"contents": [{"parts": [{"fileData": {"fileUri": "https://g.example/v1beta/files/ann1"}}]}]}),
    Row("", "/v1beta/files/ann1", method="GET"),
    Row("", "/v1beta/files/ann1:download?alt=media", method="GET"),
    Row("", "/v1beta/interactions/int_ann1", method="GET"),
    Row("", "/v1beta/interactions", {"model": "m", "previous_interaction_id": "int_ann1", "input": "x"}),
    Row("", "/v1beta/interactions", {"model": "m", "input": [{"type": "document", "uri": URI}]}),
    Row("", "/v1beta/interactions", {"model": "m", "input": [{"role": "user", "content": [
        {"type": "image", "uri": URI}]}]}),
    *(Row("", GEMINI.format("m"), {"contents": [{"parts": [{"fileData": {"fileUri": uri}}]}]}) for uri in (
        URI.replace("ann1", "%61nn1"), URI + "#x", URI + "?alt=media", URI + ":download?alt=media")),
    *(Row("", f"/v1/responses/{spelled}", method="GET") for spelled in (
        "resp%255Fann1", "resp_ann1;x=1", "resp_ann1.", "resp_ann1%20", "resp_ann1%3F", "resp_ann1%2Finput_items",
        "resp%EF%BC%BFann1")),
    Row("", "/v1/vector_stores/vs_1/files?filter=x;after=file-ann1", method="GET"),
    Row("", "/v1/vector_stores/vs_1/files?after=file%252Dann1", method="GET"),
    Row("", RESPONSES, {"model": "m", "input": [{"id": "msg_item1"}]}),
    Row("", RESPONSES, b'{"model":"m","input":[{"type":"item\\u005freference","id":"msg_item1"}]}'),
    Row("", RESPONSES, b'{"model":"m","input":[{"content":[{"\\u0066ile_id":"file-ann1"}]}]}'),
    Row("", RESPONSES, {"model": "m", "input": [{"type": "function_call_output", "output": [
        {"type": "input_file", "file_id": "file-ann1"}]}]}),
    Row("", RESPONSES, {"model": "m", "input": [{"type": "computer_call_output", "output": {"file_id": "file-ann1"}}]}),
    Row("", RESPONSES, one("m", tools=[{"type": "shell", "environment": {
        "type": "container_reference", "container_id": "container_ann1"}}])),
    Row("", RESPONSES, one("m", prompt={"id": "p", "variables": {"x": {"type": "input_file",
        "file_id": "file-ann1"}}})),
    Row("", "/v1/threads/t/messages", {"role": "user", "content": [
        {"type": "image_file", "image_file": {"file_id": "file-ann1"}}]}),
    Row("", "/v1/images/edits", form(('name="model"', "m"), ('name="x"', "file-ann1"), end=""), FORM),
    Row("", "/v1/images/edits", form(("name=model", "m"), ("name=x", "file-ann1")), FORM),
    Row("", "/v1/containers/c/files", form(('name="file_id"; filename="a"', "file-ann1")), FORM),
    Row("", "/v1/containers/c/files", b"file_id=file%2Dann1", URLENCODED),
    Row("", "/v1/threads/thread_ann1/messages", method="GET"),
    Row("", "/v1/threads/thread_ann1/runs", {"assistant_id": "asst_1"}),
)  # fmt: skip


@each_row("row", FOREIGN)
def test_an_id_of_another_client_s_is_not_there(row: Row) -> None:
    """R5: what one client has stored is 404 for another, and its own for itself."""
    of = filled()

    found = decided(of, row, BOBS)
    assert isinstance(found, Refusal), found
    assert found.status == 404
    assert isinstance(decided(of, row, ANNS), Lease)


def test_a_body_that_holds_a_member_twice_is_refused_where_clients_are_kept_apart() -> None:
    """R5: two servers must not find two different ids in one body."""
    row = Row("", RESPONSES, b'{"model":"m","previous_response_id":"resp_ann1","previous_response_id":"x"}')
    found = decided(filled(), row, BOBS)

    assert isinstance(found, Refusal)
    assert found.code == "body_unusable"
    assert isinstance(decided(router(clients=("bob",)), row, BOBS), Lease)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/vector_stores/vs_shared", {"id": "vs_shared", "object": "vector_store"}),
        ("/v1/files/file-shared", {"id": "file-shared", "object": "file"}),
        ("/v1beta/files/shared", {"name": "files/shared", "uri": "https://g.example/v1beta/files/shared"}),
        ("/v1/assistants/asst_shared", {"id": "asst_shared", "object": "assistant"}),
    ],
)
def test_who_looks_at_a_thing_does_not_take_it(path: str, answer: dict[str, Any]) -> None:
    """R5: what somebody made elsewhere for all clients stays there for all of them."""
    of = router(clients=("ann", "bob"))
    for client in (ANNS, BOBS, ANNS):
        stored(of, path, answer, client, {})


def test_a_model_is_no_stored_thing() -> None:
    """R5: the description of a model gives its name to nobody."""
    of = router(clients=("ann", "bob"))
    stored(of, "/v1/language-models", {"id": "grok-4", "object": "model"}, ANNS, {})

    assert isinstance(decided(of, Row("", CHAT, one("grok-4")), BOBS), Lease)


def test_an_id_that_nobody_was_handed_passes() -> None:
    """R5: of an id that nobody here knows, nothing can be said."""
    for row in FOREIGN:
        assert isinstance(decided(router(clients=("ann", "bob")), row, BOBS), Lease)


def test_words_that_hold_an_id_are_no_id() -> None:
    """R5: what is said, is said."""
    row = Row(
        "", CHAT, {"model": "m", "messages": [{"role": "user", "content": "resp_ann1"}], "metadata": {"x": "resp_ann1"}}
    )

    assert isinstance(decided(filled(), row, BOBS), Lease)


def test_an_id_that_two_clients_were_handed_is_nobody_s() -> None:
    """R5: a server that gives one id to everybody keeps nobody out."""
    of = router(clients=("ann", "bob"))
    for client in (ANNS, BOBS):
        stored(of, CHAT, {"id": "chatcmpl-1", "choices": [{"message": {"content": "hi"}}]}, client)
    row = Row("", "/v1/chat/completions/chatcmpl-1", method="GET")

    assert isinstance(decided(of, row, BOBS), Lease)
    assert isinstance(decided(of, row, ANNS), Lease)


def test_what_is_known_of_ids_survives_a_restart() -> None:
    """R5: a store keeps whose an id is."""
    of, later = filled(), router(clients=("ann", "bob"))
    of.state.watch()
    stored(of, "/v1/files", {"id": "file-ann2", "object": "file"}, ANNS, b"{}")
    assert later.state.adopt(of.state.changes(1.0), 1.0) == 0

    assert isinstance(decided(later, Row("", "/v1/files/file-ann2", method="GET"), BOBS), Refusal)


LISTS = (
    "/v1/files", "/v1/files/", "/v1/files?limit=2", "/v1/batches", "/v1/responses", "/v1/conversations", CHAT,
    "/v1/vector_stores", "/v1/containers", "/v1/fine_tuning/jobs", "/v1/messages/batches", "/v1/skills",
    "/v1beta/files", "/v1beta/cachedContents", "/v1beta/batches", "/v1beta/operations", "/v1beta/tunedModels",
    "/v1beta/fileSearchStores", "/v1beta/corpora", "/v1/projects/p/locations/l/cachedContents",
)  # fmt: skip


@each_row("path", LISTS)
def test_a_list_of_what_is_stored_is_refused_where_clients_are_kept_apart(path: str) -> None:
    """R5: a list shows what everybody has stored."""
    row = Row("", path, method="GET")
    for asked in (row, replace(row, headers=(("upgrade", "x"),)), replace(row, method="HEAD")):
        found = decided(router(clients=("ann", "bob")), asked, BOBS)
        assert isinstance(found, Refusal)
        assert (found.status, found.code) == (403, "list_not_allowed")
    assert isinstance(decided(router(clients=("bob",)), row, BOBS), Lease)
    assert isinstance(decided(router(), row, Client()), Lease)


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/models", "/v1/vector_stores/vs_1/files", "/v1/files/file-1"])
def test_other_lists_are_not(path: str) -> None:
    assert isinstance(decided(router(clients=("ann", "bob")), Row("", path, method="GET"), BOBS), Lease)


# -- paths that are no endpoints ---------------------------------------------------------------------------------------

ADMIN = (
    "/admin", "/v1/organization/admin_api_keys", "/v1/organization/users", "/v1/organizations/me", "/dashboard/billing",
    "/", "/v1/usage", "/api/organizations", "/v1/api_keys", "/v1beta/projects", "/v2/anything", "/v1/chat",
)  # fmt: skip


@each_row("preset", sorted(PRESETS))
@each_row("method", ["GET", "POST"])
def test_a_path_that_is_no_endpoint_gets_no_key(preset: str, method: str) -> None:
    """R38: at the host of a service we know, a path we do not know is not served; elsewhere every path is."""
    everything = preset in ("generic", "pristine")
    of = router(account(preset=preset, origin=UPSTREAM))
    behind = router(account(preset=preset))
    for path in ADMIN:
        endpoint = dialects.endpoint(method, path)
        assert of.destinations.serves(endpoint, UPSTREAM) == everything, path
        assert behind.destinations.serves(endpoint, UPSTREAM, UPSTREAM)
        assert isinstance(decided(of, Row("", path, method=method), Client()), Lease) == everything
        assert isinstance(decided(behind, Row("", path, method=method), Client()), Lease)


ENDPOINTS = {
    "openai": "/v1/skills /v1/skills/s/versions /v1/audio/voices /v1/evals/e/runs /v1/videos/v/content"
    " /v1/realtime/calls /v1/memories/trace_summarize /backend-api/codex/memories/trace_summarize",
    "openai_compatible": "/v1/threads/t/runs /v1/realtime/sessions /v1/videos",
    "anthropic": "/v1/skills /v1/skills/s/versions /v1/files/f/content /v1/messages/batches/b/results"
    " /v1/complete /v1/experimental/generate_prompt",
    "gemini": "/v1beta/files:register /v1beta/fileSearchStores/s:importFile /v1beta/corpora/c/documents",
    "azure": "/openai/v1/video/generations/jobs /openai/v1/evals /openai/realtimeapi/sessions /openai/v1/skills",
    "vllm": "/tokenizer_info /invocations /inference/v1/generate /v2/embed /v1/chat/completions/batch",
    "sglang": "/health_generate /v1/classify /separate_reasoning /api/chat /api/tags",
    "litellm": "/models/m:generateContent /v1/ocr /search/x /mcp /files /batches /realtime /videos",
    "openrouter": "/api/v1/auth/key /api/v1/embeddings/models /api/v1/endpoints/zdr /api/v1/videos/v",
    "ollama": "/api/chat /api/web_search",
    "mistral": "/v1/chat/classifications /v1/audio/voices /v1/connectors /v1/fim/completions /v1/conversations",
    "xai": "/v1/chat/deferred-completion/c /v1/tts /v1/video-generation-models",
    "deepseek": "/beta/completions /user/balance",
    "groq": "/openai/v1/batches /openai/v1/responses",
}  # fmt: skip


@pytest.mark.parametrize("preset", ENDPOINTS)
def test_an_endpoint_of_the_service_gets_a_key(preset: str) -> None:
    """R38: what a service offers to those who use its models is served."""
    of = router(account(preset=preset, origin=UPSTREAM, base_path=PRESETS[preset].base_url.partition("/v1")[1]))
    for path in ENDPOINTS[preset].split():
        endpoint = of.destinations.resolve(dialects.endpoint("POST", path), path, Headers(), UPSTREAM, None)
        assert of.destinations.serves(endpoint, UPSTREAM), path


@each_row("preset", ["vllm", "sglang", "ollama", "litellm", "openai"])
@each_row("path", ["/v1/load_lora_adapter", "/flush_cache", "/key/generate", "/api/delete", "/api/pull"])
def test_what_changes_a_server_gets_no_key(preset: str, path: str) -> None:
    """R38: nor does the administration of a server."""
    assert not router(account(preset=preset, origin=UPSTREAM)).destinations.serves(
        dialects.endpoint("POST", path), UPSTREAM
    )


def test_settings_name_further_paths() -> None:
    """R38: a path of the settings, and what is below it, gets a key."""
    provider = replace(PRESETS["openai"], paths=("/v1/threads", "/x/*/y"))
    of = router(Account("a", provider, Secret("literal", "k"), UPSTREAM, "/v1"))

    for path, served in {
        "/v1/threads": True, "/v1/threads/t/runs": True, "/threads": True, "/x/1/y": True, "/v1/%74hreads": True,
        "/v1/threadsx": False, "/v1/assistants": False, "/x/y": False, "/admin": False,
    }.items():  # fmt: skip
        assert isinstance(decided(of, Row("", path, {}), Client()), Lease) == served, path


def test_an_account_that_takes_every_path_is_taken_beside_one_that_does_not() -> None:
    """R38: the key of the preset's account stays here, also where another account has the same origin."""
    of = router(account(name="theirs", preset="openai", origin=UPSTREAM), account(name="own", origin=UPSTREAM))
    for session in range(20):
        row = Row("", "/admin", {}, (("x-session-id", str(session)),))
        found = decided(of, row, Client())
        assert isinstance(found, Lease)
        assert found.account.id == "own"


# -- what hooks and sockets ask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reads"),
    [(Row("", CHAT), True), (Row("", "/v1/messages/batches"), True), (Row("", "/v1/files", method="GET"), False)],
)
def test_a_body_is_read_first_where_it_names_models_and_somebody_s_models_are_limited(row: Row, reads: bool) -> None:
    endpoint = row.asked(BOB).endpoint

    assert router().access.must_read(ANN, endpoint) == reads
    assert router(account(ALLOWS)).access.must_read(BOB, endpoint) == reads
    assert router(account(Models(upstream_names={"m": "theirs"}))).access.must_read(BOB, endpoint) == reads
    assert not router().access.must_read(BOB, endpoint)


def test_a_client_whose_rights_were_taken_meanwhile_oversteps() -> None:
    access = router().access

    assert access.oversteps(Row("", CHAT, one("mini-1")).asked(ANN)) is None
    assert access.oversteps(Row("", CHAT, one("big-1")).asked(BOB)) is None
    refused = access.oversteps(Row("", CHAT, one("big-1")).asked(ANN))
    assert refused is not None and refused.status == 403


def on_socket(*accounts: Account) -> tuple[Router, Lease]:
    of = router(*accounts)
    upgraded = of.open(Row("", RESPONSES, b"", UPGRADE, "GET").asked(BOB), 0.0, reverse=UPSTREAM)
    assert isinstance(upgraded, Exchange)
    socket = of.next(upgraded, 0.0)
    assert isinstance(socket, Lease)
    return of, socket


def test_an_event_that_names_a_model_of_another_account_is_refused_by_name() -> None:
    of, socket = on_socket(account(DENIES))
    event = {"type": "response.append", "model": "big-1"}

    refused = of.access.refused_event(Row("", RESPONSES, event, UPGRADE, "GET").asked(BOB), socket, 0.0)

    assert refused is not None and (refused.status, refused.code) == (403, "model_not_allowed")
    assert "big-1" in refused.message


@pytest.mark.parametrize(
    ("other", "elsewhere"),
    [(account(name="b"), True), (account(name="b", enabled=False), False), (account(DENIES, "b"), False)],
    ids=["an account that serves it", "disabled", "denied"],
)
def test_a_model_that_the_socket_s_account_lacks_may_be_served_elsewhere(other: Account, elsewhere: bool) -> None:
    of, socket = on_socket(account(DENIES), other)
    socket = replace(socket, account=of.config.accounts[0])
    event = {"type": "response.create", "model": "big-1"}
    exchange = of.open(Row("", RESPONSES, event, UPGRADE, "GET").asked(BOB), 0.0, reverse=UPSTREAM, socket_lease=socket)
    assert isinstance(exchange, Exchange)

    assert of.access.is_served_elsewhere(exchange) == elsewhere
    exchange.socket_lease = None
    assert not of.access.is_served_elsewhere(exchange)


def test_a_model_that_the_socket_s_account_serves_is_not_served_elsewhere() -> None:
    of, socket = on_socket(account(DENIES), account(name="b"))
    event = {"type": "response.create", "model": "mini-1"}
    exchange = of.open(Row("", RESPONSES, event, UPGRADE, "GET").asked(BOB), 0.0, reverse=UPSTREAM, socket_lease=socket)

    assert isinstance(exchange, Exchange) and not of.access.is_served_elsewhere(exchange)


def test_a_client_that_may_not_pin_is_refused() -> None:
    row = Row("", CHAT, one("m"), (*JSON.items(), ("x-patchbay-account", "a")))

    refused = decided(router(), row, BOB)
    assert isinstance(refused, Refusal) and (refused.status, refused.code) == (403, "pin_not_allowed")
    assert isinstance(decided(router(), row, replace(BOB, may_pin=True)), Lease)


@pytest.mark.parametrize(
    ("headers", "raw", "broken"),
    [(JSON.items(), b"{", True), ((("content-type", "application/json; charset=utf-8"),), b"[1]", True),
     ((), b"{", True), ((("content-type", "text/plain"),), b"{", False), (JSON.items(), b"", False)],
)  # fmt: skip
def test_json_that_cannot_be_read_is_refused_where_models_are_limited(headers: Any, raw: bytes, broken: bool) -> None:
    asked = Row("", CHAT, raw, tuple(headers)).asked(BOB)
    asked = replace(asked, headers=Headers(headers))
    of = router(account(ALLOWS))

    refused = of.access.refusal(asked, of.access.models_of(asked), 0.0)

    assert (refused is not None and "not a valid JSON object" in refused.message) == broken


def test_clients_of_one_scope_are_one() -> None:
    row = Row("", "/v1/files", method="GET")

    def listed(*keys: ClientKey) -> bool:
        config = Config((account(),), clients=keys)
        of = Router(config, bytes(32), Random(1), lambda size: bytes(size))
        return isinstance(decided(of, row, BOB), Lease)

    ann, bob = (ClientKey(name, Secret("literal", name), scope="team") for name in ("ann", "bob"))
    assert listed(ann, bob)
    assert not listed(ann, replace(bob, scope=""))
    assert not listed(replace(ann, scope=""), replace(bob, scope=""))
    assert listed(replace(ann, scope="bob"), replace(bob, scope=""))


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b'{"model":"m","previous_response_id":"resp_ann1"}', 404, "previous_response_not_found",
         "There is no 'resp_ann1'"),
        (b'{"model":"m","input":[{"type":"item_reference","id":"resp_ann1"}]}', 404, "not_found",
         "There is no 'resp_ann1'"),
        (b'{"model":"m","thread":{"previous_message_id":"resp_ann1"}}', 404, "thread_not_found",
         "There is no thread 'resp_ann1'"),
        (b'{"model":"m","model":"m"}', 400, "body_unusable", "The body holds a member twice, so that it is ambiguous"),
    ],
)  # fmt: skip
def test_a_foreign_id_is_refused_in_the_words_of_its_place(body: bytes, status: int, code: str, message: str) -> None:
    of = filled()
    refused = of.access.refusal(Row("", RESPONSES, body).asked(BOBS), in_usual_place(Row("", RESPONSES, body)), 0.0)

    assert refused is not None
    assert (refused.status, refused.code, refused.message) == (status, code, message)


def in_usual_place(row: Row) -> RequestedModels:
    return requested_models.in_usual_place(row.asked(BOBS))


def test_a_client_without_a_key_is_kept_from_nothing() -> None:
    of = filled()
    row = Row("", RESPONSES, b'{"model":"m","previous_response_id":"resp_ann1"}')

    assert isinstance(decided(of, row, Client()), Lease)
    assert isinstance(decided(of, Row("", "/v1/files", method="GET"), Client()), Lease)


def test_a_body_that_does_not_come_is_no_json_and_names_nothing() -> None:
    of = router(account(), clients=("ann", "bob"))
    assert isinstance(decided(of, Row("", CHAT, b""), BOBS), Lease)
    assert isinstance(decided(of, Row("", CHAT, None), BOBS), Lease)
    limited = router(account(ALLOWS))
    other = Row("", "/v1/nothing", b"{")
    names = limited.access.models_of(other.asked(BOB))
    refused = limited.access.refusal(other.asked(BOB), names, 0.0)
    assert refused is None or refused.code != "body_unusable"


@pytest.mark.parametrize(
    ("event", "passes"),
    [("response.append", True), ("response.cancel", True), ("response.processed", True), ("session.update", False)],
)
def test_an_event_that_is_unknown_here_may_run_any_model(event: str, passes: bool) -> None:
    of, socket = on_socket(account())
    asked = Row("", RESPONSES, {"type": event}).asked(ANN)
    refused = of.access.refused_event(asked, socket, 0.0)

    assert (refused is None) is passes
    assert refused is None or "this event is unknown here" in refused.message
    both = Row("", RESPONSES, b'{"type": "session.update", "model": 7}').asked(ANN)
    refused = of.access.refused_event(both, socket, 0.0)
    assert refused is not None and "cannot be read" in refused.message
