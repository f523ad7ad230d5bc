"""Rights through a real proxy: frames of a WebSocket, forms, settings that change, stored ids, paths without a key."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, eventually, generic_config, proxy
from .holding import held

NAMES = {name: key for key, name in KEYS.items()}
ONE = {"one": NAMES["one"]}
ANN, BOB = "ann-0123456789abcdef", "bob-0123456789abcdef"
BIG, MINI = "big-1", "mini-1"


def settings(folder: Path, *, models: str = "", clients: str = "", account: str = "") -> str:
    found = clients or (f"clients:\n  - {{name: ann, key: {ANN}{models}}}\n  - {{name: bob, key: {BOB}}}")
    return generic_config(folder, ONE, more=found, account=account)


LISTED = ", models: ['mini*']"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, simulator: Simulator) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("listed")
    with proxy(folder, settings(folder, models=LISTED), mode=f"reverse:{simulator.url}") as running:
        yield running


@contextmanager
def socket(running: Proxy, key: str = ANN) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"ws://127.0.0.1:{running.port}/v1/responses"
    with connect(url, additional_headers=headers, proxy=None, open_timeout=30) as opened:
        yield opened


def create(model: str, **more: Any) -> str:
    return json.dumps({"type": "response.create", "model": model, "input": [{"role": "user", "content": "x"}], **more})


def told(opened: ClientConnection) -> tuple[str, int]:
    """Return the kind of the last event, with its status; or that the socket was closed, with the code."""
    while True:
        try:
            event = json.loads(opened.recv(timeout=30))
        except ConnectionClosed as e:
            return "closed", e.rcvd.code if e.rcvd else 1006
        if event["type"] in ("response.completed", "response.failed", "error"):
            return event["type"], event.get("status", 0)


def asked(simulator: Simulator) -> list[str]:
    """Return the models that were asked for upstream; an upgrade names none."""
    return [record.model for record in simulator.truth.requests if record.model]


FRAMES: dict[str, Any] = {
    "text": create(BIG),
    "fragments": [create(BIG)[:9], create(BIG)[9:30], create(BIG)[30:]],
    "white space": " \r\n\t" + create(BIG),
    "BOM": "\ufeff" + create(BIG),
    "escaped name": create(BIG).replace('"model"', '"\\u006dodel"'),
    "escaped type": create(BIG).replace('"type"', '"\\u0074ype"'),
    "twice": create(MINI)[:-1] + f', "model": "{BIG}"}}',
    "type twice": '{"type": "response.cancel", ' + create(BIG)[1:],
    "another case": create(BIG).replace('"model"', '"Model"'),
    "nested": json.dumps({"type": "response.create", "response": {"model": BIG}}),
    "tool": create(MINI, tools=[{"type": "image_generation", "model": BIG}]),
    "none": json.dumps({"type": "response.create", "input": []}),
    "another event": json.dumps({"type": "session.update", "session": {"model": BIG}}),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_client_s_models_are_asked_of_every_message(listed: Proxy, simulator: Simulator, frame: str) -> None:
    """T3, R27: a model that is not a client's goes up in no text message."""
    simulator.reset()
    with socket(listed) as opened:
        opened.send(FRAMES[frame])
        kind, status = told(opened)
        assert kind == "error"
        assert status == (400 if "twice" in frame else 403)
        opened.send(create(MINI))  # the socket goes on
        assert told(opened)[0] == "response.completed"

    assert asked(simulator) == [MINI]


@pytest.mark.parametrize(
    ("message", "code"),
    [(create(MINI).encode(), 1003), (b"\x00", 1003), ("no JSON", 1007), ("[1]", 1007), ("{}", 1007)],
)
def test_what_is_no_event_ends_its_socket(listed: Proxy, simulator: Simulator, message: Any, code: int) -> None:
    """R27: nothing passes that was not read."""
    simulator.reset()
    with socket(listed) as opened:
        opened.send(message)
        assert told(opened) == ("closed", code)

    assert asked(simulator) == []
    assert "Traceback" not in listed.log


def test_an_account_s_deny_is_asked_of_every_message(tmp_path: Path, simulator: Simulator) -> None:
    """R27: an account that denies a model does not get it on a socket."""
    simulator.reset()
    config = settings(tmp_path, account="models: {deny: ['big*']}")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running, socket(running, BOB) as opened:
        opened.send(create(MINI))
        assert told(opened)[0] == "response.completed"
        opened.send(create(MINI, tools=[{"type": "image_generation", "model": "BIG-2"}]))
        assert told(opened)[0] in ("error", "closed")

    assert asked(simulator) == [MINI]


def test_a_message_is_asked_again_after_the_settings_changed(tmp_path: Path, simulator: Simulator) -> None:
    """R34: a client gets less, and then is gone, while its socket is open."""
    simulator.reset()
    with proxy(tmp_path, settings(tmp_path), mode=f"reverse:{simulator.url}") as running, socket(running) as opened:
        opened.send(create(BIG))
        assert told(opened)[0] == "response.completed"

        change(running, settings(tmp_path, models=LISTED), 1)
        opened.send(create(BIG))
        assert told(opened) == ("error", 403)
        opened.send(create(MINI))
        assert told(opened)[0] == "response.completed"

        change(running, settings(tmp_path, clients=f"clients:\n  - {{name: bob, key: {BOB}}}"), 2)
        opened.send(create(MINI))
        assert told(opened) == ("error", 401)
        assert told(opened)[0] == "closed"

    assert asked(simulator) == [BIG, MINI]


@pytest.mark.parametrize(("now", "status"), [(LISTED, 403), ("", 200), (None, 401)])
def test_what_waited_in_line_is_asked_again(tmp_path: Path, simulator: Simulator, now: str | None, status: int) -> None:
    """R34: a request, as well as a message; its client has less by then, or as much, or is gone."""
    simulator.reset()
    config = settings(tmp_path, account="max_concurrent: 1")
    bob = f"clients:\n  - {{name: bob, key: {BOB}}}"
    later = settings(tmp_path, models=now or "", clients="" if now is not None else bob, account="max_concurrent: 1")
    with (
        proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running,
        socket(running) as opened,
        ThreadPoolExecutor(2) as pool,
    ):
        free = threading.Event()
        rule = simulator.fault(held, {"until": free}, method="POST", times=1)
        busy = pool.submit(post, running, CHAT, BOB, json=chat(MINI))
        assert eventually(lambda: rule.struck == 1)
        waits = pool.submit(post, running, CHAT, json=chat(BIG))
        opened.send(create(BIG))
        change(running, later, 1)
        free.set()
        assert busy.result().status_code == 200
        assert waits.result().status_code == status
        assert told(opened) == (("response.completed", 0) if status == 200 else ("error", status))

    assert asked(simulator).count(BIG) == (2 if status == 200 else 0)


CHAT = "/v1/chat/completions"


def chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "x"}]}


def change(running: Proxy, text: str, times: int) -> None:
    aside = running.folder / "config.new"
    aside.write_text(text)
    aside.chmod(0o600)
    aside.replace(running.folder / "config.yaml")
    assert eventually(lambda: running.log.count("is applied") >= times)


def post(running: Proxy, path: str, key: str = ANN, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
    return httpx.post(running.url + path, headers=headers, timeout=30, trust_env=False, **options)


def large_form(*models: str, first: bool) -> dict[str, Any]:
    """Return what makes a form of more than a megabyte; the file *first*, or last."""
    file = ("file", ("a.mp3", b"\0" * 1_500_000))
    fields = [("model", (None, model)) for model in models]
    return {"files": [file, *fields] if first else [*fields, file]}


CARRIERS: dict[str, tuple[str, dict[str, Any]]] = {
    "form": ("/v1/audio/transcriptions", large_form(BIG, first=False)),
    "form, file first": ("/v1/audio/transcriptions", large_form(BIG, first=True)),
    "form, two": ("/v1/images/edits", large_form(MINI, BIG, first=True)),
    "form, none": ("/v1/images/edits", large_form(first=True)),
    "packed": (
        "/v1/chat/completions",
        {"content": gzip.compress(json.dumps({"model": BIG}).encode()), "headers": {"Content-Encoding": "gzip"}},
    ),
    "broken": ("/v1/chat/completions", {"content": b"\x1f\x8b\x08", "headers": {"Content-Encoding": "gzip"}}),
    "batch": ("/v1/messages/batches", {"json": {"model": MINI, "requests": [{"params": {"model": BIG}}]}}),
    "tuning": ("/v1/fine_tuning/jobs", {"json": {"model": MINI, "training_file": "file-1"}}),
    "encoded colon": ("/v1beta/models/big-1%3AgenerateContent", {"json": {}}),
    "twice": ("/v1beta/models/models/big-1:generateContent", {"json": {}}),
    "case": ("/v1/Chat/Completions", {"json": {"model": BIG}}),
    "slash": ("/v1/chat/completions/", {"json": {"model": BIG}}),
    "query": (f"/v1/chat/completions?model={BIG}", {"json": {"model": MINI}}),
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_client_s_models_are_asked_of_every_body(listed: Proxy, simulator: Simulator, carrier: str) -> None:
    """T3, T4, T5: what carries a model over HTTP, also where it would stream through."""
    simulator.reset()
    path, options = CARRIERS[carrier]

    answer = post(listed, path, **options)

    assert answer.status_code in (400, 403), answer.text
    assert answer.json()["error"]["message"]
    assert simulator.truth.requests == []


def test_a_large_form_with_a_model_of_the_list_is_sent_as_it_came(listed: Proxy, simulator: Simulator) -> None:
    """T3: reading a form does not change it."""
    simulator.reset()

    post(listed, "/v1/audio/transcriptions", **large_form(MINI, first=True))

    (sent,) = simulator.truth.requests
    assert len(sent.body) > 1_500_000
    assert sent.credential == NAMES["one"]


def test_what_another_client_stored_is_not_there(listed: Proxy, simulator: Simulator) -> None:
    """R5: a response of Bob's is 404 for Ann, over HTTP and on a WebSocket, and nothing is sent."""
    made = post(listed, "/v1/responses", BOB, json={"model": "sim-large", "input": "hello", "store": True}).json()["id"]
    simulator.reset()
    url = f"{listed.url}/v1/responses/{made}"
    for method in ("GET", "DELETE"):
        answer = httpx.request(method, url, headers={"Authorization": f"Bearer {ANN}"}, trust_env=False, timeout=30)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
    answer = post(listed, "/v1/responses", json={"model": MINI, "input": "go on", "previous_response_id": made})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "previous_response_not_found")
    with socket(listed) as opened:
        opened.send(create(MINI, previous_response_id=made))
        assert told(opened) == ("error", 404)
    listing = httpx.get(
        f"{listed.url}/v1/files", headers={"Authorization": f"Bearer {BOB}"}, trust_env=False, timeout=30
    )
    assert (listing.status_code, listing.json()["error"]["code"]) == (403, "list_not_allowed")

    assert [record.path for record in simulator.truth.requests if record.header("upgrade") == ""] == []
    httpx.get(url, headers={"Authorization": f"Bearer {BOB}"}, trust_env=False, timeout=30)
    assert [record.credential for record in simulator.truth.requests if record.method == "GET"][-1] == NAMES["one"]


@pytest.mark.parametrize("mode", ["reverse", "regular"])
def test_a_path_that_is_no_endpoint_gets_no_key(tmp_path: Path, simulator: Simulator, mode: str) -> None:
    """R38: at a preset's host, in any mode, unless the settings name it."""
    simulator.reset()
    config = (
        f"state: {tmp_path / 'state'}\ngrace_period: 1s\nproviders:\n  mine: {{preset: openai, paths: [/v1/named]}}\n"
        f"accounts:\n  - {{id: one, provider: mine, base_url: '{simulator.url}/v1', key: {NAMES['one']}}}\n"
    )
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}" if mode == "reverse" else "regular") as running:
        through = running.url if mode == "regular" else None
        base = simulator.url if mode == "regular" else running.url
        with httpx.Client(
            proxy=through, trust_env=False, headers={"Authorization": "Bearer own-key"}, timeout=30
        ) as client:
            answers = [client.post(base + path, json={}) for path in ("/admin", "/v1/organization/users")]
            client.post(base + "/v1/named", json={})
            client.post(base + "/v1/chat/completions", json={"model": MINI, "messages": []})

    assert [answer.status_code for answer in answers] == [404, 404]
    sent = {record.path: record.credential for record in simulator.truth.requests}
    assert set(sent) == {"/v1/named", "/v1/chat/completions"}  # nor does the client's own key go there
    assert sent["/v1/named"] == sent["/v1/chat/completions"] == NAMES["one"]
