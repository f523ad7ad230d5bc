"""What unpacks to a gigabyte holds nobody up and is not kept: each coding and status, whole, streamed, on a socket."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import brotli  # type: ignore[import-untyped]
import httpx
import pytest
from backports import zstd

from .harness import Proxy, generic_config, proxy
from .quoting import Way, ask, quoting_upstream

SIZE = 1 << 30
BLOCK = 1 << 20
WAIT = 0.2  # seconds that another client's request may wait
PAUSE = 0.02  # seconds between two of them; they count as waited
SLOW = 20  # where the machine is so slow that a request takes a twentieth of them anyway, as many times that
GROWTH = 100 * 1024  # kB
TRIES = 5  # the machine has other things to do: the best of them counts, beside what it takes when nothing is up
STATUSES = (200, 429, 500)
CODINGS = ("gzip", "deflate", "br", "zstd")
_EVENT = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"and so on"}}]}\n\n'
CONTENT = {
    "application/json": b" " * BLOCK,
    "text/event-stream": (_EVENT * (BLOCK // len(_EVENT))).ljust(BLOCK, b"\n"),
}
ACCOUNTS = {f"account-{n}": f"sk-real-{n:03}-0123456789abcdef0123" for n in range(200)}


@cache
def bomb(coding: str, kind: str) -> bytes:
    """Return a few bytes that unpack to SIZE bytes."""
    block = CONTENT[kind]
    match coding:
        case "gzip" | "deflate" | "raw":
            packer = zlib.compressobj(1, wbits={"gzip": 31, "deflate": 15, "raw": -15}[coding])
            first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
            again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # nothing before it is referred to
            return first + again * (SIZE // BLOCK - 1)
        case "br":
            many = brotli.Compressor(quality=1)
            return b"".join(many.process(block) for _ in range(SIZE // BLOCK)) + many.finish()
        case _:
            return zstd.compress(block * 64, 1) * (SIZE // BLOCK // 64)


def _answer(coding: str, kind: str, status: int) -> Way:
    def sent(key: str) -> list[bytes]:
        body = bomb(coding, kind)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-encoding: {coding}\r\n"
        return [f"{head}content-length: {len(body)}\r\n\r\n".encode(), body]

    return sent


def _packed_message(key: str) -> list[bytes]:
    return [b"\xc1\x7f" + struct.pack("!Q", len(bomb("raw", "application/json"))), bomb("raw", "application/json")]


ANSWERS: dict[str, Way] = {
    f"{coding}, {kind}, {status}": _answer(coding, kind, status)
    for coding in CODINGS
    for kind in CONTENT
    for status in STATUSES
}
FINE = b'{"choices": [{"finish_reason": "stop"}]}'
WAYS: dict[str, Way] = {
    "fine": lambda key: [
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(FINE), FINE)
    ],
    "socket": _packed_message,
    **ANSWERS,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("bombs")
    for coding in CODINGS:
        for kind in CONTENT:
            assert len(bomb(coding, kind)) < SIZE // 50
    with quoting_upstream(WAYS) as upstream:
        settings = generic_config(folder, ACCOUNTS, more="failover: {attempts: 2}\n")
        with proxy(folder, settings, mode=f"reverse:{upstream.url}") as started:
            for _ in range(5):
                _wait_of_another(started)
            yield started


def _wait_of_another(running: Proxy, pause: float = 0.0) -> float:
    """Return the seconds that a pause and a request take, without those in which others had the processor."""
    began, kept = time.perf_counter(), _kept_waiting(running)
    time.sleep(pause)
    assert ask(running.port, "fine").endswith(FINE)
    return time.perf_counter() - began - (_kept_waiting(running) - kept)


def _kept_waiting(running: Proxy) -> float:
    """Return the seconds in which the proxy, and we, could have run and had no processor, as far as it is known."""
    pid = running.process.pid
    files = (Path(f"/proc/{pid}/task/{pid}/schedstat"), Path("/proc/thread-self/schedstat"))
    return sum(int(file.read_text().split()[1]) for file in files if file.exists()) / 1e9


def _waits_too_long(running: Proxy, waited: float, times: int = 1) -> str:
    """Return what is wrong when *waited* is longer than *times* what another client may wait at most, else nothing."""
    if waited <= times * WAIT:  # no machine is given less than this: there is no need to measure it
        return ""
    usual = [_wait_of_another(running) for _ in range(20)]
    bound = times * (max(usual) + max(WAIT, SLOW * median(usual)))
    return f"{waited:.3f} s; usually {max(usual):.3f} s, at most {bound:.3f} s" if waited > bound else ""


def _memory(running: Proxy) -> dict[str, int]:
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return {name: int(size) for name, size in re.findall(r"(VmHWM|VmRSS):\s+(\d+) kB", status)}


def _endured(running: Proxy, way: str, at_once: int = 1) -> tuple[float, int, bytes]:
    """Ask *at_once* times for *way*: how long another waited at most, by how much memory grew, and what came first."""
    Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")  # the peak is counted from now on
    before, answers, waited = _memory(running)["VmRSS"], list[bytes](), [0.0]

    def asking() -> None:
        with contextlib.suppress(OSError):
            answers.append(ask(running.port, way))

    threads = [threading.Thread(target=asking) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        waited.append(_wait_of_another(running, PAUSE))
    return max(waited), _memory(running)["VmHWM"] - before, answers[0] if answers else b""


@pytest.mark.parametrize("way", [*ANSWERS, "socket"])
def test_a_bomb_holds_nobody_up_and_is_not_kept(running: Proxy, way: str) -> None:
    """R2, R29: another client waits at most 0.2 s, and memory grows by at most 100 MB."""
    found = [_endured(running, way)]
    while (wrong := _waits_too_long(running, min(found)[0])) and len(found) < TRIES:
        found.append(_endured(running, way))
    _, _, answer = found[0]

    assert not wrong
    assert max(growth for _, growth, _ in found) <= GROWTH
    assert len(answer) < 20 * BLOCK
    if "429" in way or "500" in way:  # what can be read of an error is passed on
        assert answer.startswith(b"HTTP/1.1 " + way[-3:].encode())
    elif "json" in way:
        assert answer.startswith(b"HTTP/1.1 502")
        assert b"upstream_un" in answer


@pytest.mark.parametrize(
    "way", ["br, application/json, 429", "gzip, application/json, 200", "zstd, text/event-stream, 200"]
)
def test_many_at_once_hold_others_up_little_longer(running: Proxy, way: str) -> None:
    """R2: twelve of them, at accounts that each get two."""
    found = [_endured(running, way, 12)]
    while (wrong := _waits_too_long(running, min(found)[0], 3)) and len(found) < TRIES:
        found.append(_endured(running, way, 12))

    assert not wrong
    assert max(growth for _, growth, _ in found) <= 2 * GROWTH


def test_after_all_of_them_it_serves_on(running: Proxy) -> None:
    assert httpx.post(
        f"{running.url}/v1/chat/completions",
        json={"model": "m", "messages": []},
        headers={"x-way": "fine", "authorization": "Bearer c"},
        trust_env=False,
        timeout=30,
    ).json() == json.loads(FINE)
    assert "Traceback" not in running.log
    journal = [json.loads(line) for line in running.journal.splitlines()]
    assert any("decodes to more than" in json.dumps(line) for line in journal)
