"""
Every way in which an upstream's HTTP/2 can fail, each with other requests on the same connection and on others.

A fault strikes one request. Requests of another account at the same origin never notice. Those of the same account are
served as well, but for those that the client has begun to see on a connection that is gone.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hyperframe import frame as frames

from .harness import Proxy, proxy
from .http2_upstream import CONTENT, STOP, WHOLE, Asked, Link, Upstream, upstream

ACCOUNTS = {name: f"sk-real-{name}-0123456789abcdef0123" for name in ("one", "two", "three")}
WHERE = "/v1/chat/completions"
MAX = 2**31 - 1
Fault = Callable[[Link, Asked], Any]


@dataclass(frozen=True)
class Kind:
    """A fault; whether the connection *stands* after it, and whether the request that it strikes is *served*."""

    fault: Fault
    stands: bool = True
    served: bool = True


def _answer_until(after: str, link: Link, asked: Asked) -> None:
    """Send the answer up to its head, its content or its end; nothing of it when *after* is empty."""
    if after:
        link.head(asked.stream)
    if after in ("content", "end"):
        link.data(asked.stream, CONTENT)
    if after == "end":
        link.data(asked.stream, STOP, end=True)


def _reset(code: int, *, after: str = "") -> Fault:
    def fault(link: Link, asked: Asked) -> None:
        _answer_until(after, link, asked)
        link.reset(asked.stream, code)

    return fault


def _end(how: Callable[[Link], None], *, after: str = "") -> Fault:
    def fault(link: Link, asked: Asked) -> None:
        _answer_until(after, link, asked)
        how(link)

    return fault


def _go_away(code: int, last: int, *, step: bool = False, then: str = "") -> Fault:
    """GOAWAY with a *last* stream that is absolute, or if negative below that of the request."""

    def fault(link: Link, asked: Asked) -> None:
        if step:
            link.go_away(MAX, 0)
        if then == "content":
            link.head(asked.stream)
            link.data(asked.stream, CONTENT)
        if then == "late":
            link.answer(asked.stream)
        link.go_away(last if last >= 0 else asked.stream + last, code)
        if then == "content":
            link.data(asked.stream, STOP, end=True)
        if then == "answer":
            link.answer(asked.stream)
        if then == "close":
            link.close()

    return fault


def _frame(data: bytes | Callable[[Link, int], bytes], *, answer: bool = False) -> Fault:
    """Something on the connection; with *answer* the request is answered all the same."""

    def fault(link: Link, asked: Asked) -> None:
        link.raw(data if isinstance(data, bytes) else data(link, asked.stream))
        if answer:
            link.answer(asked.stream)

    return fault


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _settings(*pairs: tuple[int, int]) -> bytes:
    return raw(4, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def _answered(head: tuple[tuple[str, str], ...] = (), *, before: Fault | None = None, trailers: bool = False) -> Fault:
    def fault(link: Link, asked: Asked) -> None:
        if before:
            before(link, asked)
        link.head(asked.stream, 200, *head)
        link.data(asked.stream, WHOLE, end=not trailers)
        if trailers:
            link.trailers(asked.stream, ("x-after", "1"))

    return fault


def _drip(link: Link, asked: Asked) -> None:
    link.head(asked.stream)

    async def drip() -> None:
        for at in range(0, len(WHOLE), 16):
            link.data(asked.stream, WHOLE[at : at + 16], end=at + 16 >= len(WHOLE))
            await asyncio.sleep(0.001)

    asyncio.get_running_loop().create_task(drip())


def _mute(link: Link, asked: Asked) -> None:
    link.mute = True


def _nothing(link: Link, asked: Asked) -> None: ...


def _limit(streams: int) -> Fault:
    def fault(link: Link, asked: Asked) -> None:
        link.settings(streams=streams)
        link.answer(asked.stream)

    return fault


def _bad_head(link: Link, stream: int) -> bytes:
    head = link._encoder.encode([("content-type", "text/event-stream")])
    return bytes(frames.HeadersFrame(stream, head, flags=["END_HEADERS"]).serialize())


def _double_status(link: Link, stream: int) -> bytes:
    head = link._encoder.encode([(":status", "200"), (":status", "500")])
    return bytes(frames.HeadersFrame(stream, head, flags=["END_HEADERS"]).serialize())


def _promise(link: Link, stream: int) -> bytes:
    head = link._encoder.encode([(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "x")])
    return bytes(frames.PushPromiseFrame(stream, 2, head, flags=["END_HEADERS"]).serialize())


def _continuations(link: Link, stream: int) -> bytes:
    return raw(1, 0, stream, b"\x88") + raw(9, 0, stream, b"") * 200


def _after_end(link: Link, stream: int) -> bytes:
    answer = link.head_frame(stream, 200).serialize() + raw(0, 1, stream, WHOLE)
    return bytes(answer) + raw(0, 0, stream, b"more")


CODES = {
    "no-error": 0, "protocol-error": 1, "internal-error": 2, "flow-control": 3, "settings-timeout": 4,
    "stream-closed": 5, "frame-size": 6, "refused-stream": 7, "cancel": 8, "compression": 9, "connect": 10,
    "enhance-your-calm": 11, "inadequate-security": 12, "http-1-1-required": 13, "unknown": 0x99,
}  # fmt: skip
STAGES = ("head", "content", "end")
KINDS: dict[str, Kind] = {
    **{f"reset {name} before the head": Kind(_reset(code)) for name, code in CODES.items()},
    **{f"reset {name} after {stage}": Kind(_reset(CODES[name], after=stage), served=stage != "content")
       for name in ("no-error", "internal-error", "refused-stream", "cancel") for stage in STAGES},
    **{f"goaway {name} of all": Kind(_go_away(CODES[name], 0), stands=False)
       for name in ("no-error", "internal-error", "enhance-your-calm")},
    **{f"goaway {name} of this one": Kind(_go_away(CODES[name], -1))
       for name in ("no-error", "internal-error", "enhance-your-calm")},
    "goaway no-error of none": Kind(_go_away(0, MAX, then="answer")),
    "goaway enhance-your-calm of none": Kind(_go_away(11, MAX, then="answer")),
    "goaway in two steps, of this one": Kind(_go_away(0, -1, step=True)),
    "goaway in two steps, of none": Kind(_go_away(0, MAX, step=True, then="answer")),
    "goaway in the body": Kind(_go_away(0, MAX, then="content")),
    "goaway after the end": Kind(_go_away(0, MAX, then="late")),
    "goaway and close": Kind(_go_away(0, -1, then="close"), stands=False),
    "goaway of all and close": Kind(_go_away(2, 0, then="close"), stands=False),
    **{f"close after {stage or 'the request'}": Kind(_end(Link.close, after=stage), False, stage != "content")
       for stage in ("", *STAGES)},
    **{f"tcp reset after {stage or 'the request'}": Kind(_end(Link.break_off, after=stage), False, stage != "content")
       for stage in ("", *STAGES[:2])},
    "garbage": Kind(_frame(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4), stands=False),
    "a frame that is too large": Kind(_frame(raw(0, 0, 1, bytes(1 << 18))), stands=False),
    "data on stream 0": Kind(_frame(raw(0, 0, 0, b"x")), stands=False),
    "a head that cannot be decoded": Kind(_frame(lambda link, at: raw(1, 4, at, b"\xff" * 4)), stands=False),
    "a head without a status": Kind(_frame(_bad_head)),
    "a head with two": Kind(_frame(_double_status)),
    "data before the head": Kind(_frame(lambda link, stream: raw(0, 0, stream, b"x")), stands=False),
    "data for a stream that nobody opened": Kind(_frame(raw(0, 0, 9999, b"x")), stands=False),
    "data after the end": Kind(_frame(_after_end), stands=False),
    "a window of 0": Kind(_frame(raw(8, 0, 0, bytes(4))), stands=False),
    "a window that overflows": Kind(_frame(raw(8, 0, 0, b"\x7f\xff\xff\xff")), stands=False),
    "a stream's window that overflows": Kind(_frame(lambda link, at: raw(8, 0, at, b"\x7f" + b"\xff" * 3))),
    "settings of an odd length": Kind(_frame(raw(4, 0, 0, b"\0")), stands=False),
    "settings of an impossible value": Kind(_frame(_settings((4, 2**32 - 1))), stands=False),
    "a ping of an odd length": Kind(_frame(raw(6, 0, 0, b"\0")), stands=False),
    "a promise": Kind(_frame(_promise), stands=False),
    "a flood of continuations": Kind(_frame(_continuations), stands=False),
    "a continuation of nothing": Kind(_frame(lambda link, stream: raw(9, 4, stream, b"")), stands=False),
    "a flood of pings": Kind(_frame(raw(6, 0, 0, bytes(8)) * 2000, answer=True)),
    "a flood of settings": Kind(_frame(_settings() * 1000, answer=True)),
    "a flood of unknown frames": Kind(_frame(raw(0xBE, 0, 0, b"x") * 3000, answer=True)),
    "an unknown frame": Kind(_frame(lambda link, stream: raw(0xBE, 0xFF, stream, b"x"), answer=True)),
    "a priority": Kind(_frame(lambda link, stream: raw(2, 0, stream, bytes(5)), answer=True)),
    "unknown settings": Kind(_frame(_settings((0xABCD, 7)), answer=True)),
    "a window of 0 and back": Kind(_frame(_settings((4, 0)) + _settings((4, 65535)), answer=True)),
    "a header table of 0": Kind(_frame(_settings((1, 0)), answer=True)),
    "one stream at a time": Kind(_limit(1)),
    "no stream at all": Kind(_limit(0)),
    "an interim head": Kind(_answered(before=lambda link, asked: link.head(asked.stream, 103))),
    "many interim heads": Kind(_answered(before=lambda link, asked: [link.head(asked.stream, 100) for _ in range(50)])),
    "trailers": Kind(_answered(trailers=True)),
    "a body that is shorter than it says": Kind(_answered((("content-length", "9999"),))),
    "a body that is longer than it says": Kind(_answered((("content-length", "9"),))),
    "100 KiB of headers": Kind(_answered((("x-large", "x" * 100_000),)), served=False),
    "60 KiB of headers": Kind(_answered((("x-large", "x" * 60_000),))),
    "a drip": Kind(_drip),
    "a silent stream": Kind(_nothing),
    "silence": Kind(_mute, stands=False),
}  # fmt: skip


@dataclass
class House:
    """The proxy, and the upstream behind it."""

    running: Proxy
    upstream: Upstream
    numbers: Iterator[int]


def settings(folder: Path, port: int, accounts: dict[str, str], first_byte: str) -> str:
    rows = "\n".join(
        f"  - {{id: {name}, provider: generic, base_url: 'https://localhost:{port}', key: {key}}}"
        for name, key in accounts.items()
    )
    return (
        f"state: {folder / 'state'}\njournal: {{path: {folder / 'journal.jsonl'}}}\ngrace_period: 1s\n"
        f"providers: {{generic: {{timeouts: {{connect: 5s, first_byte: {first_byte}, idle: 6s}}}}}}\n"
        f"accounts:\n{rows}\n"
    )


def started(folder: Path, port: int, accounts: dict[str, str], first_byte: str) -> Any:
    """Return the proxy before the upstream at *port*, with *accounts* there."""
    trusted = f"ssl_verify_upstream_trusted_ca={folder / 'providers.pem'}"
    config = settings(folder, port, accounts, first_byte)
    return proxy(folder, config, "--set", trusted, mode=f"reverse:https://localhost:{port}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("http2")
    with upstream(folder) as server, started(folder, server.port, ACCOUNTS, "5s") as running:
        yield House(running, server, count(1))


class _OnlyHttp2(ssl.SSLContext):
    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        super().set_alpn_protocols(["h2"])


def client(running: Proxy) -> httpx.AsyncClient:
    trusting = _OnlyHttp2(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{running.port}"
    return httpx.AsyncClient(base_url=url, http1=False, http2=True, verify=trusting, timeout=90, trust_env=False)


async def ask(asking: httpx.AsyncClient, session: str, text: str, model: str = "m") -> tuple[str, str]:
    """Return which account served, and what is wrong with the answer if anything is."""
    document = {"model": model, "messages": [{"role": "user", "content": text}], "stream": True}
    try:
        answer = await asking.post(WHERE, json=document, headers={"x-session-id": session})
    except httpx.HTTPError as e:
        return "", f"{type(e).__name__} {e}"
    good = answer.status_code == 200 and answer.content == WHOLE
    wrong = "" if good else f"{answer.status_code} {answer.content[:200]!r}"
    return answer.headers.get("x-patchbay-account", ""), wrong


async def _round(house: House, kind: Kind, model: str) -> dict[str, str]:
    """Let *kind* happen in the middle of six requests; return what is wrong with each answer."""
    async with client(house.running) as asking:
        homes: dict[str, list[str]] = {}
        while True:  # until one account has four conversations and another one two
            session = f"conversation {next(house.numbers)}"
            account, wrong = await ask(asking, session, "hi", model)
            assert not wrong, wrong
            homes.setdefault(account, []).append(session)
            ranked = sorted(homes.values(), key=len, reverse=True)
            if len(ranked) > 1 and len(ranked[0]) > 3 and len(ranked[1]) > 1:
                break
        same, other = ranked[0], ranked[1]
        house.upstream.released = False
        before = {
            "seen, same account": (same[0], "stream a"),
            "unseen, same account": (same[1], "hold a"),
            "seen, other account": (other[0], "stream b"),
            "unseen, other account": (other[1], "hold b"),
        }
        tasks = {name: asyncio.create_task(ask(asking, *which, model)) for name, which in before.items()}
        while len(house.upstream.waits) < len(before):
            await asyncio.sleep(0.002)
        house.upstream.fault = kind.fault
        tasks["struck"] = asyncio.create_task(ask(asking, same[2], "fault", model))
        while house.upstream.fault:
            await asyncio.sleep(0.002)
        tasks["after, same account"] = asyncio.create_task(ask(asking, same[3], "hi", model))
        return {name: (await task)[1] for name, task in tasks.items()}


@pytest.mark.parametrize("name", KINDS)
def test_no_fault_of_http2_reaches_another_request(house: House, name: str) -> None:
    """R30, R32, R33: bystanders of another account lose nothing, those of the same account what no retry could save."""
    kind = KINDS[name]

    wrong = asyncio.run(_round(house, kind, f"model {name}"))

    if not kind.served:
        wrong.pop("struck")
    if not kind.stands:
        wrong.pop("seen, same account")
    assert {who: what for who, what in wrong.items() if what} == {}
    assert [link.keys for link in house.upstream.links if len(link.keys) > 1] == []
    house.upstream.links[:] = [link for link in house.upstream.links if not link.gone]


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith(("goaway", "reset refused"))])
def test_what_comes_in_one_piece_with_a_fault_is_read(house: House, name: str) -> None:
    """R33: as what comes behind it."""
    house.upstream.at_once = True
    try:
        test_no_fault_of_http2_reaches_another_request(house, name)
    finally:
        house.upstream.at_once = False


def test_there_are_62_kinds() -> None:
    assert len(KINDS) >= 62
