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
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..simulator import simulator_thread
from .dialogue import body
from .harness import Proxy, eventually, generic_config, proxy
from .http2_upstream import Asked, Link, Upstream, upstream
from .test_http2_faults import ACCOUNTS, MAX, WHERE, ask, client, started
from .tunnel import stop_listening

ONE = {"one": ACCOUNTS["one"]}
TWO = {name: ACCOUNTS[name] for name in ("one", "two")}
_numbers = count(1)


@dataclass
class Place:
    """A proxy and the upstream behind it, in one test: its model is its own, so that nothing rests from another one."""

    running: Proxy
    server: Upstream
    model: str = ""

    def fresh(self) -> Place:
        self.server.fresh()
        return Place(self.running, self.server, f"model {next(_numbers)}")

    def lines(self, number: int) -> list[dict[str, Any]]:
        """Return the *number* lines of the journal that this test has written."""
        found: list[dict[str, Any]] = []

        def written() -> bool:
            told = [json.loads(line) for line in self.running.journal.splitlines()]
            found[:] = [line for line in told if line["model"] == self.model]
            return len(found) >= number

        assert eventually(written), self.running.log[-3000:]
        return found

    async def ask(self, asking: httpx.AsyncClient, session: object, text: str) -> str:
        """Return what is wrong with the answer."""
        return (await ask(asking, f"{self.model} {session}", text, self.model))[1]

    def at_once(self, number: int, text: str = "hi") -> list[str]:
        """Return what is wrong with each of *number* answers of requests of one client at once."""

        async def all_of_them() -> list[str]:
            async with client(self.running) as asking:
                return list(await asyncio.gather(*(self.ask(asking, each, text) for each in range(number))))

        return [wrong for wrong in asyncio.run(all_of_them()) if wrong]

    def do(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Run *work* where the upstream runs."""
        self.server.loop.call_soon_threadsafe(work, *arguments)

    async def waiting(self, number: int) -> None:
        """Wait until *number* requests wait at the upstream."""
        while len(self.server.waits) < number:
            await asyncio.sleep(0.01)


def _place(folder: Path, accounts: dict[str, str], first_byte: str) -> Iterator[Place]:
    with upstream(folder) as server, started(folder, server.port, accounts, first_byte) as running:
        yield Place(running, server)


@pytest.fixture(scope="module")
def _single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from _place(tmp_path_factory.mktemp("single"), ONE, "60s")


@pytest.fixture(scope="module")
def _pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    yield from _place(tmp_path_factory.mktemp("pair"), TWO, "4s")


@pytest.fixture
def single(_single: Place) -> Place:
    return _single.fresh()


@pytest.fixture
def pair(_pair: Place) -> Place:
    return _pair.fresh()


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
def test_a_connection_that_dies_before_it_has_begun_costs_nobody_an_answer(single: Place, name: str) -> None:
    """R31, R32: 20 requests at once, with a single account: all are answered, and it does not rest."""
    single.server.starts.append(STARTS[name])

    assert single.at_once(20) == []
    assert single.at_once(3) == []
    assert {len(line["attempts"]) for line in single.lines(23)} <= {1, 2}


def test_what_was_not_sent_is_nobody_s_fault(single: Place) -> None:
    """R31: what waits for a stream when its connection ends moves on at once."""
    single.server.starts.append(_late(Link.close))
    begun = time.monotonic()

    assert single.at_once(30) == []
    assert time.monotonic() - begun < 20  # seconds; the time for a first byte is three times as long
    assert {len(line["attempts"]) for line in single.lines(30)} == {1}


def test_settings_that_come_late(single: Place) -> None:
    """R37: ten streams go out before them; the time that the others wait is nobody's silence, and they go out once."""
    single.server.starts.append(lambda link: asyncio.get_running_loop().call_later(1.2, link.settings))

    assert single.at_once(30) == []
    assert len(single.server.requests) == 30


# -- a connection that goes away ---------------------------------------------------------------------------------------


def test_the_end_of_one_connection_counts_once(single: Place) -> None:
    """R32: six streams that the client sees break off are one fault, which rests nobody."""
    single.server.released = False

    async def broken() -> list[str]:
        async with client(single.running) as asking:
            tasks = [asyncio.create_task(single.ask(asking, each, "stream")) for each in range(6)]
            await single.waiting(6)
            single.do(single.server.waits[0][0].close)
            return [await task for task in tasks]

    assert all(asyncio.run(broken()))
    single.server.fresh()
    assert single.at_once(3) == []


def test_a_goaway_is_read_to_its_last_stream(single: Place) -> None:
    """R33: what the upstream still answers arrives whole, and what comes after goes on another connection."""
    single.server.released = False

    async def graceful() -> list[str]:
        async with client(single.running) as asking:
            texts = ["stream", "hold"] * 4
            tasks = [asyncio.create_task(single.ask(asking, at, text)) for at, text in enumerate(texts)]
            await single.waiting(8)
            [link] = single.server.links
            single.do(link.go_away, MAX)
            single.do(link.ping)
            while not link.pongs:  # then the GOAWAY was read
                await asyncio.sleep(0.01)
            tasks.append(asyncio.create_task(single.ask(asking, "after", "hi")))
            while len(single.server.links) < 2:
                await asyncio.sleep(0.01)
            single.do(single.server.release)
            wrong = [await task for task in tasks]
            while not link.gone:  # it is closed behind its last stream
                await asyncio.sleep(0.01)
            return wrong

    assert [wrong for wrong in asyncio.run(graceful()) if wrong] == []
    assert [len(link.seen) for link in single.server.links] == [8, 1]


def test_a_silent_connection_is_given_up(pair: Place) -> None:
    """R30: after a timeout no new stream goes on it, of this request or of a later one."""

    async def silent() -> list[str]:
        async with client(pair.running) as asking:
            assert not await pair.ask(asking, "c", "hi")
            [mute] = pair.server.links
            mute.mute = True
            first = await pair.ask(asking, "c", "hello")
            later = await asyncio.gather(*(pair.ask(asking, each, "hello") for each in range(8)))
            assert len(mute.seen) == 2
            return [first, *later]

    assert [wrong for wrong in asyncio.run(silent()) if wrong] == []


# -- streams at a time -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_an_upstream_that_takes_few_streams_gets_no_more(single: Place, limit: int) -> None:
    """R37: the others go on further connections at once, and are sent once."""
    single.server.starts += [lambda link: link.settings(streams=limit)] * 100

    async def many() -> list[str]:
        async with client(single.running) as asking:
            assert not await single.ask(asking, "c", "hi")
            single.server.released = False
            tasks = [asyncio.create_task(single.ask(asking, each, "hold")) for each in range(20)]
            await single.waiting(20)
            single.do(single.server.release)
            return [await task for task in tasks]

    assert [wrong for wrong in asyncio.run(many()) if wrong] == []
    assert max(link.most for link in single.server.links) <= limit
    assert len(single.server.requests) == 21
    assert {len(line["attempts"]) for line in single.lines(21)} == {1}


# -- a kept connection -------------------------------------------------------------------------------------------------


_GONE = {"FIN": Link.close, "RST": Link.break_off, "GOAWAY": lambda link: link.go_away(0)}


@pytest.mark.parametrize("how", _GONE.values(), ids=_GONE)
def test_a_kept_http2_connection_that_has_just_closed_is_nobody_s_fault(single: Place, how: Any) -> None:
    """R36, A15: nothing was read on it, so the request goes again, also one that must not be done twice."""

    def fault(link: Link, asked: Asked) -> None:
        how(link)

    async def batches() -> list[int]:
        async with client(single.running) as asking:
            found = []
            for number in range(6):
                single.server.fault = fault if number % 2 else None
                document = {"model": single.model, "messages": [{"role": "user", "content": "fault"}]}
                found.append((await asking.post("/v1/batches", json=document)).status_code)
            return found

    assert asyncio.run(batches()) == [200] * 6


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
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

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
                accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
                accepted.sendall(b"content-length: %d\r\n\r\n%s" % (len(told), told))


@contextlib.contextmanager
def closing(how: str, after: int = 1) -> Iterator[Closing]:
    server = Closing(how, after)
    try:
        yield server
    finally:
        stop_listening(server.listener, server.thread)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Closing]]:
    folder = tmp_path_factory.mktemp("kept")
    with closing("close") as server:
        config = generic_config(folder, ONE)
        with proxy(folder, config, mode=f"reverse:http://127.0.0.1:{server.port}") as running:
            yield running, server


@pytest.mark.parametrize("path", [WHERE, "/v1/batches"], ids=["a generation", "what must not be done twice"])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_kept_connection_that_has_just_closed_is_nobody_s_fault(
    kept: tuple[Proxy, Closing], how: str, path: str
) -> None:
    """R36, A15: with a single account every request is answered, at once, and by one attempt."""
    running, server = kept
    server.how, served, written = how, server.served, running.journal.count("\n")
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as asking:
        answers, times = [], [time.monotonic()]
        for _ in range(20):
            answers.append(asking.post(path, json=body("openai_chat", ["hi"])))
            times.append(time.monotonic())
    assert eventually(lambda: running.journal.count("\n") == written + 20)

    assert [answer.status_code for answer in answers] == [200] * 20
    assert server.served - served == 20
    # a second for each of the ten that were overtaken would be ten times a second
    assert sum(after - before > 0.9 for before, after in pairwise(times)) < 5
    lines = [json.loads(line) for line in running.journal.splitlines()[written:]]
    assert [len(line["attempts"]) for line in lines] == [1] * 20


def test_a_new_connection_that_closes_is_a_fault(kept: tuple[Proxy, Closing]) -> None:
    """R36: only one that had served is replaced in silence."""
    running, server = kept
    asked, server.after, written = len(server.paths), 0, running.journal.count("\n")
    try:
        answer = httpx.post(f"{running.url}{WHERE}", json=body("openai_chat", ["hi"]), trust_env=False, timeout=30)
    finally:
        server.after = 1

    assert answer.status_code >= 429
    assert eventually(lambda: running.journal.count("\n") == written + 1)
    assert len(server.paths) - asked == len(json.loads(running.journal.splitlines()[-1])["attempts"])


def test_accounts_of_one_origin_share_no_kept_connection(tmp_path: Path) -> None:
    """R33: over HTTP/1, where a client sends one request after the other."""
    with closing("close", after=99) as server:
        config = generic_config(tmp_path, ACCOUNTS)
        with (
            proxy(tmp_path, config, mode=f"reverse:http://127.0.0.1:{server.port}") as running,
            httpx.Client(base_url=running.url, trust_env=False, timeout=30) as asking,
        ):
            for number in range(24):
                headers = {"x-session-id": f"conversation {number}"}
                answer = asking.post(WHERE, json=body("openai_chat", ["hi"]), headers=headers)
                assert answer.status_code == 200, answer.text

    used = {number: {key for each, key in server.keys if each == number} for number, _ in server.keys}
    assert {key for keys in used.values() for key in keys} == {f"Bearer {key}" for key in ACCOUNTS.values()}
    assert {len(keys) for keys in used.values()} == {1}
    assert len(used) == len(ACCOUNTS)


def test_more_accounts_than_a_client_may_have_connections_are_all_reached(tmp_path: Path) -> None:
    """R33: with a connection for each account, those that idle make room for the next."""
    keys = {f"sk-many-{number:03}-0123456789": f"account-{number:03}" for number in range(300)}
    settings = generic_config(tmp_path, {name: key for key, name in keys.items()}, more="strategy: round_robin")
    with (
        simulator_thread(keys, echo="both") as many,
        proxy(tmp_path, settings, "-q", mode=f"reverse:{many.url}") as running,
        httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client,
    ):
        for number in range(len(keys)):
            asked = {"model": "sim-1", "messages": [{"role": "user", "content": f"question {number}"}]}
            answer = client.post("/v1/chat/completions", json=asked, headers={"authorization": "Bearer sk-client"})
            assert answer.status_code == 200, answer.text
        assert len({record.account for record in many.truth.requests}) == len(keys)
        assert len(many.server.links) <= 64
