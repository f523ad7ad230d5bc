"""How each account's attempt ended, in the words and the code that a client gets where no account answers."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from patchbay.accounts import mends

from ..ports import free_port
from .harness import Proxy, proxy
from .http2_upstream import CONTENT, Asked, Link, Upstream, upstream
from .quoting import quoting_upstream
from .test_http2_faults import client
from .test_no_answer import GOOD, Way, head, stalls, whole

REACHED, READ = "upstream_unreachable", "upstream_unreadable"
BOMB = gzip.compress(b'{"id":"' + b"a" * 8_000_000 + b'"}')
GZIP, CHUNKS = "content-encoding: gzip", head("200 OK", "application/json", "transfer-encoding: chunked")

# over HTTP/1: what comes → what is said of the account
UNREADABLE: dict[str, tuple[Way, str]] = {
    "cut gzip": (lambda _: whole(gzip.compress(GOOD)[:-9], GZIP), "the body ends in the middle"),
    "broken gzip": (lambda _: whole(b"\x1f\x8bnonsense", GZIP), "the body does not have its content-encoding"),
    "a coding": (lambda _: whole(GOOD, "content-encoding: refused"), "unknown content-encoding"),
    "a bomb": (lambda _: whole(BOMB, GZIP), "the body decodes to more than its size allows"),
    "no HTTP": (lambda _: [b"SSH-2.0 connection refused\r\n\r\n"], "no valid HTTP"),
    "no line": (lambda _: [b"certificate"], "no valid HTTP"),
    "no chunk": (lambda _: [CHUNKS, b"timed out\r\n"], "no valid HTTP"),
}
NOT_WHOLE: dict[str, tuple[Way, str]] = {
    "a short body": (lambda _: [head(length=len(GOOD)), GOOD[:7]], "connection closed after 7 bytes"),
    "half a chunk": (lambda _: [CHUNKS, b"20\r\n" + GOOD[:5]], "connection closed in its middle"),
    "half a head": (lambda _: [b"HTTP/1.1 200 OK\r\ncontent-le"], "connection closed in its middle"),
    "nothing": (lambda _: [], "connection closed without an answer"),
    "silence inside": (lambda _: stalls(head(length=len(GOOD)), GOOD[:20]), "timed out"),
}
HTTP1 = {
    **{name: (way, f"answer unreadable ({said})", READ) for name, (way, said) in UNREADABLE.items()},
    **{name: (way, f"no whole answer ({said})", REACHED) for name, (way, said) in NOT_WHOLE.items()},
}


def _resets(link: Link, asked: Asked, code: int) -> None:
    link.reset(asked.stream, code)


def _ends(link: Link, asked: Asked, code: int) -> None:
    link.go_away(0, code)


def _breaks(link: Link, asked: Asked, code: int) -> None:
    link.head(asked.stream)
    link.data(asked.stream, CONTENT[:9])
    link.close()


# over HTTP/2
HTTP2 = {
    "REFUSED_STREAM": (_resets, 7, "no whole answer (HTTP/2 stream reset: refused)"),
    "INTERNAL_ERROR": (_resets, 2, "no whole answer (HTTP/2 stream reset: INTERNAL_ERROR)"),
    "ENHANCE_YOUR_CALM": (_resets, 11, "no whole answer (HTTP/2 stream reset: ENHANCE_YOUR_CALM)"),
    "HTTP_1_1_REQUIRED": (_resets, 13, "no whole answer (HTTP/2 stream reset: HTTP_1_1_REQUIRED)"),
    "an unknown code": (_resets, 0x99, "no whole answer (HTTP/2 stream reset: 153)"),
    "GOAWAY": (_ends, 11, "no whole answer (HTTP/2 connection closed: ENHANCE_YOUR_CALM)"),
    "a close inside": (_breaks, 0, "no whole answer (connection closed)"),
}
NOT_REACHED = {
    "refused": "not reachable (connection refused)",
    "name": "not reachable (name not resolved)",
    "certificate": "not reachable (TLS certificate not trusted)",
}


def _fault(of: Upstream, name: str) -> None:
    """Let every request of HTTP/2 end as *name* says, those that go again included."""
    end, code, _ = HTTP2[name]

    def fault(link: Link, asked: Asked) -> None:
        of.fault = fault
        end(link, asked, code)

    of.fault = fault


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Upstream]]:
    folder = tmp_path_factory.mktemp("ends")
    ways: dict[str, Way] = {name: way for name, (way, _, _) in HTTP1.items()}
    with ExitStack() as ends:
        plain = ends.enter_context(quoting_upstream(ways))
        secure = ends.enter_context(upstream(folder))
        at = {
            "plain": plain.url,
            "h2": f"https://localhost:{secure.port}",
            "refused": f"http://127.0.0.1:{free_port()}",
            "name": "https://nowhere.invalid",
            "certificate": f"https://127.0.0.1:{secure.port}",
        }
        more = f"state: {folder / 'state'}\nproviders: {{quick: {{preset: generic, timeouts: {{idle: 1s}}}}}}\n"
        accounts = "".join(
            f"  - {{id: {name}, provider: quick, base_url: '{url}', key: sk-real-{name}-0123456789abcdef}}\n"
            for name, url in at.items()
        )
        trusted = f"ssl_verify_upstream_trusted_ca={folder / 'providers.pem'}"
        mode = "reverse:https://patchbay.invalid"
        settings = f"{more}failover: {{sticky_wait: 0s}}\naccounts:\n{accounts}"
        yield ends.enter_context(proxy(folder, settings, "--set", trusted, mode=mode)), secure


def ask(running: Proxy, account: str, way: str) -> tuple[int, str, str]:
    """Return status, code and message of the error that *account* alone leads to."""

    async def asked() -> tuple[int, str, str]:
        body = {"model": f"m {way}", "messages": [{"role": "user", "content": "fault"}]}
        async with client(running) as asking:  # over HTTP/2, which an upstream that speaks it gets too
            headers = {"x-patchbay-account": account, "x-way": way}
            answer = await asking.post("/v1/chat/completions", json=body, headers=headers)
        error = json.loads(answer.content)["error"]
        return answer.status_code, error["code"], error["message"]

    return asyncio.run(asked())


@pytest.mark.parametrize("way", HTTP1)
def test_an_answer_over_http1_that_is_none_says_what_came(running: tuple[Proxy, Upstream], way: str) -> None:
    _, said, code = HTTP1[way]
    told = ask(running[0], "plain", way)
    assert told[:2] == (502, code) and f"plain: {said}" in told[2], told
    assert "can be reached" not in told[2]


@pytest.mark.parametrize("way", HTTP2)
def test_an_answer_over_http2_that_is_none_says_how_it_ended(running: tuple[Proxy, Upstream], way: str) -> None:
    _fault(running[1], way)
    told = ask(running[0], "h2", way)
    assert told[:2] == (502, REACHED) and f"h2: {HTTP2[way][2]}" in told[2], told
    assert "can be reached" not in told[2]


@pytest.mark.parametrize("way", NOT_REACHED)
def test_an_upstream_without_a_connection_is_not_reachable(running: tuple[Proxy, Upstream], way: str) -> None:
    told = ask(running[0], way, way)
    assert told[:2] == (502, REACHED) and f"can be reached: {way}: {NOT_REACHED[way]}" in told[2], told
    assert (mends.COMPANY_CA in told[2]) == (way == "certificate"), told
