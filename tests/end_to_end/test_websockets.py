"""Responses over WebSocket, through a real proxy: accounts, exchanges, identity, verdicts, and keys nowhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ..simulator import Simulator
from .conftest import KEYS
from .harness import Proxy, eventually, generic_config, proxy
from .holding import held, held_inside
from .test_rights import change

CLIENT = "sk-client-0123456789abcdef-its-own"
NAMES = {name: key for key, name in KEYS.items()}
PAIR = {name: NAMES[name] for name in ("one", "two")}


@contextmanager
def socket(running: Proxy, session: str = "", **options: Any) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {CLIENT}", **({"session-id": session} if session else {})}
    url = f"ws://127.0.0.1:{running.port}/v1/responses"
    with connect(url, additional_headers=headers, proxy=None, open_timeout=30, **options) as opened:
        yield opened


def ask(opened: ClientConnection, text: str, **more: Any) -> list[dict[str, Any]]:
    """Send one `response.create` and return all events up to the one that ends it."""
    message = {"type": "response.create", "model": "sim-large", "input": [{"role": "user", "content": text}], **more}
    opened.send(json.dumps(message))
    return answer(opened)


def answer(opened: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while True:
        events.append(json.loads(opened.recv(timeout=30)))
        if events[-1]["type"] in ("response.completed", "response.failed", "error"):
            return events


def echoing(folder: Path, more: str = "") -> str:
    """Return the settings of one account that is stamped in each message, and gives the stamp back."""
    stamp = 'stamp: {body: {request_id: "{request_id}"}}'
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\n{more}\n"
        f"providers:\n  mine: {{preset: generic, {stamp}}}\n"
        f"accounts:\n  - {{id: one, provider: mine, base_url: reverse, key: {NAMES['one']}}}\n"
    )


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


def exchanges(running: Proxy) -> list[dict[str, Any]]:
    return [line for line in lines(running) if line["status"] != 101]


@pytest.fixture
def pooled(tmp_path: Path, simulator: Simulator) -> Iterator[Proxy]:
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}") as running:
        yield running


def test_each_message_is_an_exchange_of_its_own(pooled: Proxy, simulator: Simulator) -> None:
    with socket(pooled, "session-a") as opened:
        for number in (1, 2, 3):
            assert ask(opened, f"turn {number}")[-1]["type"] == "response.completed"

    assert eventually(lambda: len(exchanges(pooled)) == 3)
    found = exchanges(pooled)
    assert len({line["account"] for line in found}) == 1
    assert len({line["session"] for line in found}) == 1
    assert len({line["request_id"] for line in found}) == 3
    assert all(line["tier"] == "codex" and line["tokens"]["completion"] for line in found)
    assert all(line["first_byte_seconds"] <= line["duration_seconds"] for line in found)
    assert not any(line["findings"] for line in lines(pooled))
    assert {line["verdict"] for line in found} == {"unverifiable"}  # the one id of the upgrade is all there is
    sent = simulator.truth.requests
    assert {record.credential for record in sent} == {NAMES[found[0]["account"]]}


def test_a_conversation_finds_its_account_on_every_socket(pooled: Proxy) -> None:
    for _ in range(3):
        for session in ("a", "b", "c", "d", "e"):
            with socket(pooled, f"session-{session}") as opened:
                ask(opened, "hello")

    assert eventually(lambda: len(exchanges(pooled)) == 15)
    homes = {(line["session"], line["account"]) for line in exchanges(pooled)}
    assert len(homes) == 5
    assert len({account for _, account in homes}) > 1


FIRST, SECOND = "0198f3c2-7a41-7b60-9c1d-52e6f0a4b8d1", "0198f3c4-11ce-7d02-8f3a-6b9be2c7150f"


def test_a_message_names_its_conversation_where_the_upgrade_does_not(pooled: Proxy) -> None:
    with socket(pooled) as opened:
        for cache_key in (FIRST, SECOND, FIRST):
            ask(opened, "hello", prompt_cache_key=cache_key)

    assert eventually(lambda: len(exchanges(pooled)) == 3)
    first, second, again = (line["session"] for line in exchanges(pooled))
    assert first == again != second


@pytest.mark.parametrize("status", [401, 429])
def test_an_upgrade_that_is_refused_is_tried_elsewhere(tmp_path: Path, simulator: Simulator, status: int) -> None:
    simulator.reset()
    rule = simulator.fault("status", {"status": status}, method="GET", times=1)
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened:
            events = [ask(opened, "first"), ask(opened, "second")]
        assert eventually(lambda: len(exchanges(running)) == 2)

    assert rule.struck == 1
    assert all(event[-1]["type"] == "response.completed" for event in events)
    upgrade = next(line for line in lines(running) if line["status"] == 101)
    assert [tried["status"] for tried in upgrade["attempts"]] == [status, 101]
    assert {line["account"] for line in exchanges(running)} == {upgrade["account"]}


def test_what_another_account_holds_is_refused_in_the_protocols_words(pooled: Proxy, simulator: Simulator) -> None:
    with socket(pooled, "session-a") as opened:
        first = ask(opened, "hello")[-1]["response"]["id"]
    [home] = {record.account for record in simulator.truth.requests}
    other = next(letter for letter in "bcdefghij" if _home(pooled, simulator, f"session-{letter}") != home)
    before = len(simulator.truth.requests)

    with socket(pooled, f"session-{other}") as opened:
        [refused] = ask(opened, "go on", previous_response_id=first)
        assert ask(opened, "anew")[-1]["type"] == "response.completed"

    assert refused["type"] == "error" and refused["status"] == 400
    assert refused["error"]["code"] == "previous_response_not_found"
    assert [record.method for record in simulator.truth.requests[before:]] == ["GET", "POST"]
    assert eventually(lambda: any(line["error"] == "previous_response_not_found" for line in lines(pooled)))


def _home(running: Proxy, simulator: Simulator, session: str) -> str:
    with socket(running, session) as opened:
        ask(opened, "hello")
    return simulator.truth.last().account


def test_a_chain_goes_on_where_it_began(pooled: Proxy) -> None:
    with socket(pooled) as opened:
        first = ask(opened, "hello", prompt_cache_key="chain")[-1]["response"]["id"]
        events = ask(opened, "go on", prompt_cache_key="chain", previous_response_id=first)

    assert events[-1]["type"] == "response.completed"


def test_an_error_rests_the_account_and_the_next_socket_goes_elsewhere(tmp_path: Path, simulator: Simulator) -> None:
    """R35: the socket is closed right behind the error."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened:
            ask(opened, "hello")
            simulator.fault("status", {"status": 429, "retry_after": 60}, method="POST", times=1)
            limited = ask(opened, "too much")[-1]
            assert closed(opened) == 1013
        with socket(running, "session") as opened:
            assert ask(opened, "elsewhere")[-1]["type"] == "response.completed"
        assert eventually(lambda: len(exchanges(running)) == 3)

    assert limited["status"] == 429
    first, second = (record.account for record in simulator.truth.requests if record.method == "GET")
    assert first != second


def test_a_swapped_answer_is_flagged_on_the_exchange_it_came_to(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, echoing(tmp_path), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session-a") as opened:
            simulator.fault("stale", {}, method="POST")  # every answer is late by one
            ask(opened, "mine")
            ask(opened, "mine again")
        assert eventually(lambda: len(exchanges(running)) == 2)

    clean, mixed = exchanges(running)
    assert clean["verdict"] == "clean" and clean["echo"] == "body"
    assert mixed["verdict"] == "crosstalk" and mixed["victim"] == clean["exchange"]
    assert "event_type=crosstalk" in running.log
    assert [path for path in (tmp_path / "state").rglob("*") if mixed["request_id"] in path.name]


def test_what_is_proved_to_be_anothers_is_kept_from_the_client(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(tmp_path, echoing(tmp_path, "crosstalk: {reaction: block}"), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session-a") as opened:
            simulator.fault("stale", {}, method="POST")
            first = ask(opened, "MARK-" + "a" * 32)
            cut = ask(opened, "MARK-" + "b" * 32)
            with pytest.raises(ConnectionClosed):
                opened.recv(timeout=30)
        assert eventually(lambda: len(exchanges(running)) == 2)

    assert "a" * 32 in json.dumps(first)
    assert "a" * 32 not in json.dumps(cut)
    assert cut[-1]["type"] == "error" and cut[-1]["status"] == 502
    assert exchanges(running)[1]["verdict"] == "crosstalk"


@pytest.mark.parametrize("compression", ["deflate", None])
def test_no_key_in_what_is_kept_of_a_socket(tmp_path: Path, simulator: Simulator, compression: str | None) -> None:
    simulator.reset()
    simulator.fault("quote_credential", {"status": 400}, method="POST", nth=2)
    dump = tmp_path / "all.mitm"
    settings = generic_config(tmp_path, {"one": NAMES["one"]})
    with proxy(
        tmp_path, settings, "-w", str(dump), "--set", "flow_detail=4", mode=f"reverse:{simulator.url}"
    ) as running:
        with socket(running, "session", compression=compression) as opened:
            ask(opened, "hello")
            said = json.dumps(ask(opened, "quote"))
        assert eventually(lambda: len(exchanges(running)) == 2)
        running.interrupt()

    kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != "config.yaml")
    assert b"response.create" in kept
    for key in (NAMES["one"], CLIENT):
        assert key not in said and key.encode() not in kept
    assert {record.credential for record in simulator.truth.requests} == {NAMES["one"]}


def test_accounts_that_take_sockets_come_first(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    config = generic_config(tmp_path, NAMES).replace(
        f"key: {NAMES['three']}", f"key: {NAMES['three']}, websockets: true"
    )
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        for number in range(4):
            with socket(running, f"session-{number}") as opened:
                ask(opened, "hello")

    assert {record.account for record in simulator.truth.requests} == {"three"}


def test_an_answer_that_breaks_off_is_told_from_one_the_client_left(pooled: Proxy, simulator: Simulator) -> None:
    simulator.fault("reset_body", {"after": 2}, method="POST", times=1)
    with socket(pooled, "session-a") as opened, pytest.raises(ConnectionClosed):
        ask(opened, "broken off")
    assert eventually(lambda: len(exchanges(pooled)) == 1)
    simulator.fault("hang", method="POST", times=1)
    with socket(pooled, "session-b") as opened:
        opened.send(json.dumps({"type": "response.create", "model": "sim-large", "input": "left"}))
        assert eventually(lambda: simulator.truth.last().method == "POST")
    assert eventually(lambda: len(exchanges(pooled)) == 2)

    broken, left = exchanges(pooled)
    assert broken["attempts"][0]["outcome"] == "server"
    assert left["attempts"][0]["outcome"] == "cancelled"


def test_on_one_port_a_browsers_key_stays_with_us(tmp_path: Path, simulator: Simulator) -> None:
    """Browsers cannot set headers on a socket, so theirs names the key as a protocol."""
    simulator.reset()
    dump = tmp_path / "all.mitm"
    config = generic_config(tmp_path, NAMES).replace("base_url: reverse", f"base_url: {simulator.url}")
    with proxy(tmp_path, config, "-w", str(dump), mode="reverse:http://patchbay.invalid") as running:
        url = f"ws://127.0.0.1:{running.port}/v1/responses"
        protocols = ["realtime", f"openai-insecure-api-key.{CLIENT}"]
        with connect(url, subprotocols=protocols, proxy=None) as opened:  # type: ignore[arg-type]
            assert ask(opened, "hello")[-1]["type"] == "response.completed"
        assert eventually(lambda: len(exchanges(running)) == 1)
        running.interrupt()

    upgrade = simulator.truth.requests[0]
    assert upgrade.credential in KEYS
    assert upgrade.header("sec-websocket-protocol") == "realtime"
    kept = dump.read_bytes() + running.log.encode() + running.journal.encode()
    assert CLIENT.encode() not in kept and not any(key.encode() in kept for key in KEYS)


def test_a_message_that_is_put_in_by_hand_is_an_exchange_too(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    with proxy(
        tmp_path, generic_config(tmp_path, NAMES), mode=f"reverse:{simulator.url}", program="mitmweb"
    ) as running:
        with socket(running, "session") as opened:
            headers = {"Authorization": "Bearer look", "X-XSRFToken": "x", "Cookie": "_xsrf=x; _mitmproxy_xsrf=x"}
            page = httpx.Client(
                base_url=f"http://127.0.0.1:{running.web_port}", headers=headers, trust_env=False, timeout=30
            )
            with page:
                [flow] = page.get("/flows").json()
                message = {"type": "response.create", "model": "sim-large", "input": "by hand"}
                arguments = ["@all", "false", json.dumps(message)]
                assert page.post("/commands/inject.websocket", json={"arguments": arguments}).is_success, flow
            assert answer(opened)[-1]["type"] == "response.completed"
        assert eventually(lambda: len(exchanges(running)) == 1)


def test_a_socket_may_be_silent_for_longer_than_an_answer(tmp_path: Path, simulator: Simulator) -> None:
    simulator.reset()
    timeouts = "timeouts: {first_byte: 2s, idle: 2s, total: 2s}"
    config = echoing(tmp_path).replace("{preset: generic,", f"{{preset: generic, {timeouts},")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened, pytest.raises(TimeoutError):
            assert ask(opened, "first")[-1]["type"] == "response.completed"
            opened.recv(timeout=2.5)
        with socket(running, "session") as opened:
            simulator.fault("delay_body", {"seconds": 2.5}, method="POST")
            assert ask(opened, "second")[-1]["type"] == "response.completed"
        assert eventually(lambda: len(exchanges(running)) == 2)
        log = running.log

    assert "crashed" not in log and "Traceback" not in log


# -- sockets end with what allowed them (R34, R35), and as they ended upstream (P6) ------------------------------------


def closed(opened: ClientConnection) -> int | None:
    """Wait for the end of the socket and return its close code; None where it was broken off."""
    with pytest.raises(ConnectionClosed):
        while True:
            opened.recv(timeout=30)
    return opened.close_code


def create(text: str) -> str:
    return json.dumps({"type": "response.create", "model": "sim-large", "input": [{"role": "user", "content": text}]})


def test_a_message_in_line_is_not_sent_once_its_socket_left(tmp_path: Path, simulator: Simulator) -> None:
    """R34: politely or not; the message of a socket that stays is sent."""
    simulator.reset()
    config = generic_config(tmp_path, {"one": NAMES["one"]}, account="max_concurrent: 1")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        free = threading.Event()
        rule = simulator.fault(held, {"until": free}, method="POST", times=1)
        with ExitStack() as stack:
            busy, leaving, cut, staying = (stack.enter_context(socket(running, name)) for name in "abcd")
            busy.send(create("busy"))
            assert eventually(lambda: rule.struck == 1)
            for each, text in ((leaving, "leaves"), (cut, "is cut"), (staying, "stays")):
                each.send(create(text))
            leaving.close()
            cut.socket.shutdown(2)
            assert eventually(lambda: len(exchanges(running)) == 2)
            free.set()
            answer(busy)
            assert answer(staying)[-1]["type"] == "response.completed"
        assert eventually(lambda: len(exchanges(running)) == 4)

    sent = [json.dumps(record.as_json()) for record in simulator.truth.requests if record.method == "POST"]
    assert len(sent) == 2 and not any("leaves" in each or "is cut" in each for each in sent)
    assert sorted(line["error"] for line in exchanges(running)) == ["", "", "client_left", "client_left"]


def test_a_socket_opens_whatever_its_nonce_looks_like(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of a million random values look like a provider's key; the upstream answers what the client drew."""
    monkeypatch.setattr("websockets.client.generate_key", lambda: "AKIAIOSFODNN7EXAMPLEAA==")
    simulator.reset()
    with (
        proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running,
        socket(running) as opened,
    ):
        assert ask(opened, "hello")[-1]["type"] == "response.completed"


@pytest.mark.parametrize("gone", ["removed", "disabled"])
def test_a_socket_is_closed_when_its_account_is_gone(tmp_path: Path, simulator: Simulator, gone: str) -> None:
    """R34: at once when idle, behind the answer when one is under way; the next try lands elsewhere."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as idle, socket(running, "session") as busy:
            ask(idle, "hello")
            first = simulator.truth.last().account
            go_on = threading.Event()
            rule = simulator.fault(held_inside, {"until": go_on, "after": 0}, method="POST", times=1)
            busy.send(create("under way"))
            assert eventually(lambda: rule.struck == 1)
            rest = {name: key for name, key in PAIR.items() if name != first}
            left = generic_config(tmp_path, rest)
            if gone == "disabled":
                left = generic_config(tmp_path, PAIR).replace(f"id: {first},", f"id: {first}, enabled: false,")
            change(running, left, 1)
            assert closed(idle) == 1012
            go_on.set()
            assert answer(busy)[-1]["type"] == "response.completed"
            assert closed(busy) == 1012
        with socket(running, "session") as opened:
            assert ask(opened, "elsewhere")[-1]["type"] == "response.completed"

    assert simulator.truth.last().account != first


@pytest.mark.parametrize("after", [0, 2], ids=["first", "later"])
def test_an_upstream_that_breaks_off_is_not_a_clean_end(tmp_path: Path, simulator: Simulator, after: int) -> None:
    """P6, R35: the client sees 1011, and its next socket is on another account."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened:
            ask(opened, "hello")
            first = simulator.truth.last().account
            simulator.fault("reset_body", {"after": after}, method="POST", times=1)
            opened.send(create("broken off"))
            assert closed(opened) == 1011
        with socket(running, "session") as opened:
            assert ask(opened, "elsewhere")[-1]["type"] == "response.completed"

    assert simulator.truth.last().account != first


def test_a_close_code_of_the_upstream_reaches_the_client(pooled: Proxy, simulator: Simulator) -> None:
    """P6: as it is."""
    simulator.fault("close_head", {}, method="POST", times=1)
    with socket(pooled, "session-a") as opened:
        opened.send(create("closed"))
        assert closed(opened) == 1001


@pytest.mark.parametrize("status", [401, 402, 403, 429, 503])
def test_a_failing_account_costs_one_error(tmp_path: Path, simulator: Simulator, status: int) -> None:
    """R35: the socket is closed behind it, the next one is elsewhere, and nobody is told to log in anew."""
    simulator.reset()
    with proxy(tmp_path, generic_config(tmp_path, PAIR), mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened:
            simulator.fault("status", {"status": status}, method="POST", times=1)
            failed = ask(opened, "first")
            assert closed(opened) == 1013
        first = simulator.truth.last().account
        with socket(running, "session") as opened:
            assert ask(opened, "again")[-1]["type"] == "response.completed"

    assert simulator.truth.last().account != first
    assert failed[-1]["status"] == (502 if status in (401, 403) else status)
    assert status not in (401, 403) or failed[-1]["error"]["code"] == "upstream_credentials_exhausted"


def test_a_silent_upstream_is_given_up(tmp_path: Path, simulator: Simulator) -> None:
    """R35: what answers neither a message nor a ping costs one error."""
    simulator.reset()
    config = generic_config(tmp_path, PAIR, more="providers:\n  quick: {preset: generic, timeouts: {idle: 500ms}}")
    config = config.replace("provider: generic", "provider: quick")
    with proxy(tmp_path, config, mode=f"reverse:{simulator.url}") as running:
        with socket(running, "session") as opened:
            simulator.fault("hang", {}, method="POST", times=1)
            assert ask(opened, "silence")[-1]["error"]["code"] == "upstream_unreachable"
            assert closed(opened) == 1011
        first = simulator.truth.last().account
        with socket(running, "session") as opened:
            assert ask(opened, "again")[-1]["type"] == "response.completed"

    assert simulator.truth.last().account != first


def test_new_sockets_open_on_accounts_that_rest_for_no_model(pooled: Proxy, simulator: Simulator) -> None:
    """A3: after one account was refused for a while, every new conversation opens its socket on another one."""
    simulator.fault("status", {"status": 429, "retry_after": 60}, method="POST", times=1)
    with socket(pooled, "first") as opened:
        ask(opened, "refused")
    for number in range(8):
        with socket(pooled, f"new-{number}") as opened:
            assert ask(opened, f"hello {number}")[-1]["type"] == "response.completed"
