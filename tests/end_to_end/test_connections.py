"""What the end of an upstream connection means for the requests on it, and for those that come after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .dialogue import body
from .harness import Proxy, eventually, generic_config, proxy
from .http2_upstream import Asked, Link, upstream
from .test_http2_faults import ACCOUNTS, MAX, WHERE, ask, client, started

ONE = {"one": ACCOUNTS["one"]}
TWO = {name: ACCOUNTS[name] for name in ("one", "two")}


def lines(running: Proxy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.journal.splitlines()]


async def _at_once(running: Proxy, number: int, text: str = "hi") -> list[str]:
    async with client(running) as asking:
        asked = (ask(asking, f"conversation {each}", f"{text} {each}") for each in range(number))
        return [wrong for _, wrong in await asyncio.gather(*asked)]


# -- a connection that has only begun ----------------------------------------------------------------------------------


def _late(then: Callable[[Link], Any], *, settings: bool = False) -> Callable[[Link], None]:
    """End a new connection when the first requests have come in on it."""

    def start(link: Link) -> None:
        if settings:
            link.settings()

        async def end() -> None:
            while not link.seen:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            then(link)

        link.upstream.silent.append(link)
        link.upstream.tasks.append(asyncio.get_running_loop().create_task(end()))

    return start


def _garbage(link: Link) -> None:
    link.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    link.close()


STARTS = {
    "closes at once": Link.close,
    "resets at once": Link.break_off,
    "speaks something else at once": _garbage,
    "closes before its SETTINGS": _late(Link.close),
    "resets before its SETTINGS": _late(Link.break_off),
    "speaks something else in their place": _late(_garbage),
    "goes away before its SETTINGS": _late(lambda link: link.go_away(0)),
    "goes away and closes before its SETTINGS": _late(lambda link: (link.go_away(0), link.close())),
    "closes behind its SETTINGS": _late(Link.close, settings=True),
    "resets behind its SETTINGS": _late(Link.break_off, settings=True),
    "goes away behind its SETTINGS": _late(lambda link: link.go_away(0), settings=True),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_connection_that_dies_before_it_has_begun_costs_nobody_an_answer(tmp_path: Path, name: str) -> None:
    """R31, R32: 20 requests at once, with a single account: all are answered, and it does not rest."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.starts.append(STARTS[name])
        wrong = asyncio.run(_at_once(running, 20))
        after = asyncio.run(_at_once(running, 3))

        assert [each for each in (*wrong, *after) if each] == [], running.log[-3000:]
        assert eventually(lambda: len(lines(running)) == 23)
        assert {attempt["account"] for line in lines(running) for attempt in line["attempts"]} == {"one"}


def test_what_was_not_sent_is_nobody_s_fault(tmp_path: Path) -> None:
    """R31: ten of the twenty wait for a stream when the connection ends: one attempt each, and no waiting."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, TWO) as running:
        server.starts += [_late(Link.close)] * 2
        begun = time.monotonic()
        wrong = asyncio.run(_at_once(running, 20))
        took = time.monotonic() - begun

        assert [each for each in wrong if each] == []
        assert took < 5
        assert eventually(lambda: len(lines(running)) == 20)
        assert [len(line["attempts"]) for line in lines(running)] == [1] * 20


# -- whose connection it is --------------------------------------------------------------------------------------------


def test_accounts_of_one_origin_share_no_connection(tmp_path: Path) -> None:
    """R33: not over HTTP/2, and not one after the other either."""
    with upstream(tmp_path) as server, started(tmp_path, server.port) as running:
        assert [each for each in asyncio.run(_at_once(running, 30)) if each] == []

        assert {key for link in server.links for key in link.keys} == {f"Bearer {key}" for key in ACCOUNTS.values()}
        assert [len(link.keys) for link in server.links] == [1] * len(server.links)
        assert len(server.links) < 10


def test_accounts_of_one_origin_share_no_kept_connection(tmp_path: Path) -> None:
    """R33: over HTTP/1, where a client sends one request after the other."""
    with closing(tmp_path, after=99) as server:
        config = generic_config(tmp_path, ACCOUNTS)
        with proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{server.port}") as running:
            with httpx.Client(base_url=running.url, trust_env=False, timeout=10) as asking:
                for number in range(24):
                    headers = {"x-session-id": f"conversation {number}"}
                    answer = asking.post(WHERE, json=body("openai_chat", ["hi"]), headers=headers)
                    assert answer.status_code == 200, answer.text

    used = {number: {key for each, key in server.keys if each == number} for number, _ in server.keys}
    assert {key for keys in used.values() for key in keys} == {f"Bearer {key}" for key in ACCOUNTS.values()}
    assert {len(keys) for keys in used.values()} == {1}
    assert len(used) == len(ACCOUNTS)


# -- a connection that goes away ---------------------------------------------------------------------------------------


def test_the_end_of_one_connection_counts_once(tmp_path: Path) -> None:
    """R32: six streams that the client sees break off are one fault, which rests nobody; two are two."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:

        async def broken() -> None:
            async with client(running) as asking:
                server.released = False
                tasks = [asyncio.create_task(ask(asking, f"c{each}", "stream")) for each in range(6)]
                while len(server.waits) < 6:
                    await asyncio.sleep(0.01)
                server.loop.call_soon_threadsafe(server.waits[0][0].close)
                assert all([(await task)[1] for task in tasks])
                server.waits.clear()
                server.released = True

        asyncio.run(broken())
        assert [each for each in asyncio.run(_at_once(running, 3)) if each] == []


def test_a_goaway_is_read_to_its_last_stream(tmp_path: Path) -> None:
    """R33: what the upstream still answers arrives whole, and what comes after goes on another connection."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:

        async def graceful() -> list[str]:
            async with client(running) as asking:
                server.released = False
                texts = ["stream", "hold"] * 4
                tasks = [asyncio.create_task(ask(asking, f"c{at}", text)) for at, text in enumerate(texts)]
                while len(server.waits) < 8:
                    await asyncio.sleep(0.01)
                [link] = server.links
                server.loop.call_soon_threadsafe(link.go_away, MAX)
                await asyncio.sleep(0.05)
                after = await ask(asking, "c9", "hi")
                server.loop.call_soon_threadsafe(server.release)
                wrong = [after[1], *[(await task)[1] for task in tasks]]
                for _ in range(100):
                    await asyncio.sleep(0 if link.gone else 0.02)
                assert link.gone  # closed behind its last stream
                return wrong

        assert [each for each in asyncio.run(graceful()) if each] == []
        assert [len(link.seen) for link in server.links] == [8, 1]


def test_a_refused_stream_goes_again_at_once(tmp_path: Path) -> None:
    """R31: also where asking twice would do harm, for the upstream has not looked at it."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.refusals = 2

        async def create() -> httpx.Response:
            async with client(running) as asking:
                return await asking.post("/v1/batches", json={"input_file_id": "f", "endpoint": WHERE})

        assert asyncio.run(create()).status_code == 200
        assert [asked.path for asked in server.requests] == ["/v1/batches"] * 3
        assert eventually(lambda: len(lines(running)) == 1)
        assert [len(line["attempts"]) for line in lines(running)] == [1]


def test_who_refuses_every_stream_is_left_in_the_end(tmp_path: Path) -> None:
    """R31: it is a fault all the same when a stream is refused again and again."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.refusals = 1000
        [wrong] = asyncio.run(_at_once(running, 1))

        assert wrong.startswith("50")
        assert len(server.requests) < 10


# -- a connection that says nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [TWO, ONE], ids=["two accounts", "one"])
def test_a_silent_connection_is_given_up(tmp_path: Path, accounts: dict[str, str]) -> None:
    """R30: after a timeout no new stream goes on it, of this request or of a later one."""
    with upstream(tmp_path) as server, started(tmp_path, server.port, accounts) as running:

        async def silent() -> list[str]:
            async with client(running) as asking:
                assert not (await ask(asking, "c", "hi"))[1]
                for link in server.links:
                    link.mute = True
                first = await ask(asking, "c", "hello")
                later = await asyncio.gather(*(ask(asking, f"c{each}", "hello") for each in range(4)))
                return [first[1] if len(accounts) > 1 else "", *(wrong for _, wrong in later)]

        assert [each for each in asyncio.run(silent()) if each] == []
        assert [len(link.seen) for link in server.links if link.mute] == [2]


# -- streams at a time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_an_upstream_that_takes_few_streams_gets_no_more(tmp_path: Path, limit: int) -> None:
    """R37: the others go on further connections at once: the time in a line is no silence of the account's."""

    def few(link: Link) -> None:
        link.settings(streams=limit)

    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.starts += [few] * 100

        async def many() -> list[str]:
            async with client(running) as asking:
                assert not (await ask(asking, "c", "hi"))[1]
                server.released = False
                tasks = [asyncio.create_task(ask(asking, f"c{each}", f"hold {each}")) for each in range(20)]
                while len(server.waits) < 20:
                    await asyncio.sleep(0.01)
                server.loop.call_soon_threadsafe(server.release)
                return [(await task)[1] for task in tasks]

        assert [each for each in asyncio.run(many()) if each] == []
        assert max(link.most for link in server.links) <= limit
        assert len(server.requests) == 21
        assert eventually(lambda: len(lines(running)) == 21)
        assert {len(line["attempts"]) for line in lines(running)} == {1}


def test_a_slow_line_is_not_the_account_s_silence(tmp_path: Path) -> None:
    """R37: SETTINGS that come late: ten streams go out before them, and the others are sent once."""

    def late(link: Link) -> None:
        asyncio.get_running_loop().call_later(1.2, link.settings)

    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.starts.append(late)
        assert [each for each in asyncio.run(_at_once(running, 30)) if each] == []
        assert len(server.requests) == 30


# -- a client that leaves ----------------------------------------------------------------------------------------------


def test_who_leaves_while_it_waits_for_a_stream_is_not_sent(tmp_path: Path) -> None:
    """R37: a stream that is cancelled in the line goes up neither then nor later."""

    def late(link: Link) -> None:
        asyncio.get_running_loop().call_later(0.8, link.settings)

    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:
        server.starts.append(late)
        server.released = False

        async def leave() -> None:
            async with client(running) as asking:
                tasks = [asyncio.create_task(ask(asking, f"c{each}", f"hold {each}")) for each in range(14)]
                while len(server.waits) < 10:
                    await asyncio.sleep(0.01)
                late_ones = [asyncio.create_task(ask(asking, f"left {each}", "left")) for each in range(4)]
                await asyncio.sleep(0.2)
                for task in late_ones:
                    task.cancel()
                while len(server.waits) < 14:
                    await asyncio.sleep(0.01)
                server.loop.call_soon_threadsafe(server.release)
                assert [wrong for _, wrong in await asyncio.gather(*tasks) if wrong] == []

        asyncio.run(leave())
        assert [asked for asked in server.requests if asked.text == "left"] == []


# -- a kept connection -------------------------------------------------------------------------------------------------


class Closing:
    """An HTTP/1 upstream that ends each connection when it is asked on it for the second time, unread."""

    def __init__(self, how: str, after: int) -> None:
        self.how, self.after = how, after
        self.served = 0
        self.keys: list[tuple[int, str]] = []
        self.paths: list[str] = []
        self.numbers = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.listener.accept()
                self.numbers += 1
                threading.Thread(target=self._serve, args=(accepted, self.numbers), daemon=True).start()

    def _serve(self, accepted: socket.socket, number: int) -> None:
        told = b'{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant",'
        told += b'"content":"ok"},"finish_reason":"stop"}]}'
        with accepted, contextlib.suppress(OSError):
            for at in range(1000):
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = accepted.recv(1 << 16)
                    if not piece:
                        return
                    data += piece
                head, _, rest = data.partition(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode("latin-1").splitlines()[1:])
                names = {name.lower(): value for name, value in fields.items()}
                while len(rest) < int(names.get("content-length", 0)):
                    rest += accepted.recv(1 << 16)
                self.keys.append((number, names.get("authorization", "")))
                self.paths.append(head.split(b" ")[1].decode())
                if at == self.after:
                    if self.how == "reset":
                        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                self.served += 1
                accepted.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(told)
                )
                accepted.sendall(told)


@contextlib.contextmanager
def closing(folder: Path, how: str = "close", after: int = 1) -> Iterator[Closing]:
    server = Closing(how, after)
    try:
        yield server
    finally:
        server.listener.close()


@pytest.mark.parametrize("path", [WHERE, "/v1/batches"], ids=["a generation", "what must not be done twice"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_that_has_just_closed_is_nobody_s_fault(tmp_path: Path, how: str, path: str) -> None:
    """R36, A15: with a single account every request is answered, at once, and by one attempt."""
    with closing(tmp_path, how) as server:
        config = generic_config(tmp_path, ONE)
        with proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{server.port}") as running:
            with httpx.Client(base_url=running.url, trust_env=False, timeout=10) as asking:
                begun = time.monotonic()
                answers = [asking.post(path, json=body("openai_chat", ["hi"])) for _ in range(20)]
                took = time.monotonic() - begun
            assert eventually(lambda: len(lines(running)) == 20)

        assert [answer.status_code for answer in answers] == [200] * 20
        assert server.served == 20
        assert took < 5  # a second for each of the ten that were overtaken would be ten
        assert [len(line["attempts"]) for line in lines(running)] == [1] * 20


def test_a_new_connection_that_closes_is_a_fault(tmp_path: Path) -> None:
    """R36: only one that had served is asked for again in silence."""
    with closing(tmp_path, after=0) as server:
        config = generic_config(tmp_path, TWO)
        with proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{server.port}") as running:
            answer = httpx.post(f"{running.url}{WHERE}", json=body("openai_chat", ["hi"]), trust_env=False, timeout=20)
            assert eventually(lambda: len(lines(running)) == 1)

        assert answer.status_code >= 500
        assert len(server.paths) == len(lines(running)[0]["attempts"]) == 2


@pytest.mark.parametrize("how", [Link.close, Link.break_off, lambda link: link.go_away(0)])
def test_a_kept_http2_connection_that_has_just_closed_is_nobody_s_fault(tmp_path: Path, how: Any) -> None:
    """R36, A15: the same over HTTP/2, also for what must not be done twice."""

    def fault(link: Link, asked: Asked) -> None:
        how(link)

    with upstream(tmp_path) as server, started(tmp_path, server.port, ONE) as running:

        async def batches() -> list[int]:
            async with client(running) as asking:
                found = []
                for _ in range(4):
                    server.fault = fault if found else None
                    document = {"messages": [{"role": "user", "content": "fault"}]}
                    found.append((await asking.post("/v1/batches", json=document)).status_code)
                return found

        assert asyncio.run(batches()) == [200] * 4
        assert eventually(lambda: len(lines(running)) == 4)
        assert [len(line["attempts"]) for line in lines(running)] == [1] * 4
