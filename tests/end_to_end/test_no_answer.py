"""What an upstream sends in place of an answer is not seen while another account can answer; what streams, streams."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import Proxy, eventually, generic_config, proxy
from .quoting import Way, quoting_upstream

SAID = "here it is"
CHOICE = {"index": 0, "message": {"content": SAID}, "finish_reason": "stop"}
GOOD = json.dumps({"id": "c", "object": "chat.completion", "choices": [CHOICE]}).encode()
DELTA = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": SAID}}]}
PAGE = b"<!doctype html><title>Just a moment...</title>"
FAULTY = "sk-faulty-0123456789abcdef"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
GEMINI = "/v1beta/models/{model}:streamGenerateContent"


def head(status: str = "200 OK", kind: str = "application/json", *more: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", *([f"content-type: {kind}"] if kind else []), *more]
    lines += [] if status.startswith("101") else ["connection: close"]  # it is closed behind every answer
    lines += [] if length is None else [f"content-length: {length}"]
    return "\r\n".join((*lines, "", "")).encode()


def whole(body: bytes, *more: str, status: str = "200 OK", kind: str = "application/json") -> list[bytes]:
    return [head(status, kind, *more, length=len(body)), body]


def chunked(*pieces: bytes) -> list[bytes]:
    return [*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


def stalls(*pieces: bytes, seconds: float = 8.0) -> Iterator[bytes]:
    yield from pieces
    time.sleep(seconds)  # nothing comes, and the connection stays open


FAULTS: dict[str, Any] = {
    "HTML": lambda: whole(PAGE, kind="text/html"),
    "HTML as JSON": lambda: whole(PAGE),
    "204": lambda: [head("204 No Content", "")],
    "205": lambda: whole(b"", status="205 Reset"),
    "302": lambda: whole(b"", "location: https://elsewhere.example/", status="302 Found"),
    "308": lambda: whole(PAGE, "location: /login", status="308 Permanent Redirect"),
    "999": lambda: whole(PAGE, status="999 Odd"),
    "101": lambda: [head("101 Switching Protocols", "", "connection: upgrade", "upgrade: x")],
    "broken gzip": lambda: whole(b"\x1f\x8bnonsense", "content-encoding: gzip"),
    "cut gzip": lambda: whole(gzip.compress(GOOD)[:-9], "content-encoding: gzip"),
    "broken br": lambda: whole(b"\xff\xff\xff", "content-encoding: br"),
    "broken zstd": lambda: whole(b"\xff\xff\xff\xff\xff", "content-encoding: zstd"),
    "no choices": lambda: whole(b'{"choices": []}'),
    "null": lambda: whole(b'{"choices": null}'),
    "cut by its length": lambda: whole(GOOD[:-7]),
    "cut by its end": lambda: [head(length=len(GOOD)), GOOD[:-7]],
    "cut while large": lambda: whole(GOOD[:-9] + b" " * 400_000),
    "empty": lambda: whole(b""),
    "both lengths": lambda: [head("200 OK", "", "transfer-encoding: chunked", length=9), *chunked(GOOD)],
    "two lengths": lambda: [head("200 OK", "application/json", f"content-length: {len(GOOD)}", length=3), GOOD],
    "a bad name": lambda: whole(GOOD, "x y: z"),
    "no head": lambda: [b"SSH-2.0-OpenSSH\r\n\r\n"],
    "a broken chunk": lambda: [head("200 OK", "application/json", "transfer-encoding: chunked"), b"zz\r\n" + GOOD],
    "silent inside": lambda: stalls(head(length=len(GOOD)), GOOD[:20]),
    "a stream without an event": lambda: [head("200 OK", "text/event-stream", "transfer-encoding: chunked"),
                                          *chunked(b": ping\n\n")],
    "a silent stream": lambda: stalls(head("200 OK", "text/event-stream", "transfer-encoding: chunked"), b"1\r\n:\r\n"),
}  # fmt: skip
PASSING: dict[str, Any] = {
    "100": lambda: [b"HTTP/1.1 100 Continue\r\n\r\n", *whole(GOOD)],
    "103s": lambda: [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + b"".join(whole(GOOD))],
    "102, cut": lambda: [b"HTTP/1.1 102 Proc", b"essing\r\n\r\nHTTP/1.1 2", b"".join(whole(GOOD))[len(b"HTTP/1.1 2"):]],
    "trailers": lambda: [head("200 OK", "application/json", "transfer-encoding: chunked"),
                         *chunked(GOOD)[:-1], b"0\r\nx-sum: 1\r\n\r\n"],
    "x-gzip": lambda: whole(gzip.compress(GOOD), "content-encoding: x-gzip"),
}  # fmt: skip


arrived = threading.Event()  # what was sent first has arrived at the client


def grows(*pieces: bytes, kind: str) -> Any:
    def sent() -> Iterator[bytes]:
        yield head("200 OK", kind, "transfer-encoding: chunked")
        yield chunked(pieces[0])[0]
        if arrived.wait(20):  # else the client gets no end
            yield from chunked(*pieces[1:])

    return sent


PART = json.dumps({"candidates": [{"content": {"parts": [{"text": SAID}]}}]}).encode()
LAST = json.dumps({"candidates": [{"finishReason": "STOP"}],
                   "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}}).encode()  # fmt: skip
LINE = json.dumps(DELTA).encode()
END = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}).encode()
GROWING: dict[str, Any] = {
    "array": grows(b"[" + PART, b",\r\n" + PART, b",\r\n" + LAST + b"]", kind="application/json"),
    "array cut short": grows(b"[" + PART, b",\r\n" + PART, b",\r\n" + LAST, kind="application/json"),
    "lines": grows(LINE + b"\n", LINE + b"\n", END + b"\n", kind="application/x-ndjson"),
    "events as JSON": grows(*(b"data: " + each + b"\n\n" for each in (LINE, LINE, END)), kind="application/json"),
    "events as nothing": grows(*(b"data: " + each + b"\n\n" for each in (LINE, LINE, END)), kind=""),
    "events as text": grows(*(b"data: " + each + b"\n\n" for each in (LINE, LINE, END)), kind="text/plain"),
}


def _faulty_first(sent: Any) -> Way:
    return lambda key: sent() if key == FAULTY else whole(GOOD)


def _always(sent: Any) -> Way:
    return lambda key: sent()


BEGUN = {"type": "response.created", "response": {"id": "r"}}, {"type": "response.output_text.delta", "delta": SAID}
UNFINISHED = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in BEGUN)
WAYS: dict[str, Way] = {
    **{name: _faulty_first(sent) for name, sent in FAULTS.items()},
    **{f"always {name}": _always(sent) for name, sent in FAULTS.items()},
    **{name: _always(sent) for name, sent in (PASSING | GROWING).items()},
    "unfinished": lambda key: whole(UNFINISHED, kind="text/event-stream"),
    "slow": lambda key: stalls(seconds=12.0),
    "well": lambda key: whole(GOOD),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("none")
    more = "providers: {quick: {preset: generic, timeouts: {idle: 1s}}, generic: {timeouts: {idle: 5s}}}\n"
    more += "failover: {sticky_wait: 0s}\n"
    with quoting_upstream(WAYS) as upstream:
        settings = generic_config(folder, {"faulty": FAULTY}, more=more, account="priority: 9")
        settings = settings.replace("provider: generic", "provider: quick")
        settings += "  - {id: well, provider: generic, base_url: reverse, key: sk-well-0123456789abcdef}\n"
        with proxy(folder, settings, mode=f"reverse:{upstream.url}") as started:
            yield started


def ask(running: Proxy, way: str, path: str = CHAT, *, stream: bool = False, account: str = "") -> Iterator[bytes]:
    """Yield what comes, as it comes."""
    model = way.replace(" ", "-").replace(",", "")
    asked = {"model": model, "messages": [{"role": "user", "content": way}], "input": way}
    body = json.dumps(asked | ({"stream": True} if stream else {})).encode()
    lines = [f"POST {path.format(model=model)} HTTP/1.1", f"x-way: {way}", "host: localhost",
             "authorization: Bearer c", "connection: close", f"x-session-id: {way} {path}",
             f"content-length: {len(body)}", "content-type: application/json"]  # fmt: skip
    lines += [f"x-patchbay-account: {account}"] if account else []
    with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
        connection.settimeout(30)
        connection.sendall("\r\n".join((*lines, "", "")).encode() + body)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                yield data


def line_of(running: Proxy, way: str) -> dict[str, Any]:
    model = way.replace(" ", "-").replace(",", "")
    found: list[dict[str, Any]] = []

    def written() -> bool:
        found[:] = [each for each in map(json.loads, running.journal.splitlines()) if each["model"] == model]
        return bool(found)

    assert eventually(written), running.log
    return found[-1]


@pytest.mark.parametrize("way", FAULTS)
def test_another_account_answers_in_place_of_what_is_no_answer(running: Proxy, way: str) -> None:
    """R9, A10, R10, R39: the client sees one good answer, and the journal what happened."""
    said = b"".join(ask(running, way, stream="stream" in way))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and said.endswith(GOOD), said[:400]
    told = line_of(running, way)
    assert [(each["account"], each["outcome"]) for each in told["attempts"]] == [("faulty", "server"), ("well", "ok")]
    assert told["event_type"] == "chat_completion_success"
    assert "Traceback" not in running.log and "has crashed" not in running.log


@pytest.mark.parametrize("way", ["HTML", "204", "302", "999", "101", "both lengths", "broken gzip", "silent inside"])
def test_where_nobody_answers_the_client_gets_an_error_of_its_protocol(running: Proxy, way: str) -> None:
    """R9, R10: never mitmproxy's page, nor the one that came."""
    said = b"".join(ask(running, f"always {way}"))
    assert said.startswith(b"HTTP/1.1 502 "), said[:200]
    error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] in ("upstream_no_answer", "upstream_unreachable", "upstream_unreadable")
    assert "faulty" in error["message"] or "well" in error["message"]
    assert line_of(running, f"always {way}")["event_type"] == "chat_completion_error"


@pytest.mark.parametrize("way", PASSING)
def test_interim_heads_and_trailers_hide_no_answer(running: Proxy, way: str) -> None:
    """P3, R16: what stands before and behind an answer does not cost it."""
    said = b"".join(ask(running, way, account="well"))
    assert said.startswith(b"HTTP/1.1 200 OK\r\n") and SAID.encode() in said, said[:400]
    assert len(line_of(running, way)["attempts"]) == 1
    assert "has crashed" not in running.log


@pytest.mark.parametrize("way", GROWING)
def test_what_was_asked_for_as_a_stream_arrives_as_it_comes(running: Proxy, way: str) -> None:
    """P2: an array that grows, lines, events under another type."""
    path = GEMINI if "array" in way else CHAT
    arrived.clear()
    for piece in ask(running, way, path, stream="array" not in way, account="well"):
        if SAID.encode() in piece:
            arrived.set()  # and only now the upstream goes on
    assert arrived.is_set()
    told = line_of(running, way)
    cut = "cut" in way
    assert told["event_type"].endswith("_error" if cut else "_success") and len(told["attempts"]) == 1
    if "array" in way:
        assert told["tokens"]["prompt"] == 3 and told["tokens"]["completion"] == 5
    if cut:
        assert told["error"] == "it ends without its end"


def test_a_stream_without_its_end_is_seen_as_it_came_and_is_an_error(running: Proxy) -> None:
    """R11: a Responses stream that ends properly, and never says `response.completed`."""
    said = b"".join(ask(running, "unfinished", RESPONSES, stream=True, account="well"))
    assert said.endswith(UNFINISHED) or UNFINISHED in said
    told = line_of(running, "unfinished")
    assert (told["event_type"], told["error"]) == ("openai_responses_error", "it ends without its end")


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_answer_is_paid_once(tmp_path: Path, stream: bool) -> None:
    """A4: a POST that was sent whole does not run on two accounts, because a bound that the user set is over."""
    with quoting_upstream(WAYS) as upstream:
        more = "providers: {generic: {timeouts: {first_byte: 4s}}}\nfailover: {repeat_slow: none}\n"
        more = more if stream else more.partition("failover")[0]
        accounts = {"one": FAULTY, "two": "sk-two-0123456789abcdef"}
        with proxy(tmp_path, generic_config(tmp_path, accounts, more=more), mode=f"reverse:{upstream.url}") as running:
            said = b"".join(ask(running, "slow", stream=stream))
            assert said.startswith(b"HTTP/1.1 504 ") and b"upstream_slow" in said
            assert b"".join(ask(running, "well")).endswith(GOOD)
            assert len(line_of(running, "slow")["attempts"]) == 1
        assert len(upstream.keys) <= 2


def test_a_request_with_trailers_is_answered(running: Proxy) -> None:
    """R16: chunked, with a trailer; its slot is free again."""
    body = b'{"model": "trailers", "messages": []}'
    asked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer c\r\nx-way: well\r\n"
        b"content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        + b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\nx-sum: 1\r\n\r\n"
    )  # fmt: skip
    with socket.create_connection(("127.0.0.1", running.port), 30) as connection:
        connection.settimeout(30)
        connection.sendall(asked)
        said = b""
        while data := connection.recv(65536):
            said += data
    assert said.startswith(b"HTTP/1.1 200 OK")
