"""
Heads of HTTP/1, whole and damaged, read by the step `heads` and by mitmproxy itself: every result is compared.

A head is put together from pieces that clients and providers send and from wrong ones, or is one of theirs as it is;
both are damaged at random.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from mitmproxy import http
from mitmproxy.net.http import url, validate
from mitmproxy.net.http.http1 import read

from patchbay.proxy.host import http1_heads as ours

_METHODS = (b"POST", b"GET", b"HEAD", b"CONNECT", b"OPTIONS", b"post", b"P\xc3\xb6st", b"")
_TARGETS = (
    b"/v1/messages?beta=true", b"/v1/chat/completions", b"/", b"*", b"http://api.example.com/v1", b"//", b"api:443",
    b"HTTPS://[::1]:8/a?b#c", b"http://bad host/", b"http://x:99999/", b"ftp://host/", b"/a b", b"example.com", b"",
)  # fmt: skip
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/3", b"HTTP/1.", b"http/1.1", b"HTTP/9.9", b"")
_STATUS = (b"200", b"204", b"304", b"101", b"100", b"429", b"1000", b"-1", b"2e2", b"0", b" 200", b"")
_NAMES = (
    b"content-length", b"Content-Length", b"transfer-encoding", b"Transfer-Encoding", b"host", b"Host", b"cookie",
    b"authorization", b"X-Api-Key", b"accept", b"Accept", b"connection", b"set-cookie", b"content-type", b"x" * 200,
    b"bad name", b"n\xc3\xa4me", b"", b"a\x00b", b"content-length ", b"x_y",
)  # fmt: skip
_VALUES = (
    b"17", b"0", b"017", b"-1", b"+1", b"1, 1", b"99999999999999999999", b"chunked", b"gzip, chunked", b"identity",
    b"gzip", b"Chunked ", b"x\xe2\x84\xaachunked", b"", b" ", b"a, b", b"application/json", b"close", b"keep-alive",
    b"api.example.com", b"api.example.com:8443", b"[::1]:80", b"a b", b"\xff\xfe", b"text\twith\ttabs", b"\xb9",
    b"x" * 300,
)  # fmt: skip
_ASKED = ("content-length", b"Content-Length", "TRANSFER-ENCODING", "host", "accept", "x-y", "n\xe4me", "", b"\xff")
_SENT = (
    b"POST /v1/messages?beta=true HTTP/1.1\nhost: 127.0.0.1:8080\nAccept: application/json\n"
    b"X-Stainless-Retry-Count: 0\nX-Stainless-Lang: js\nX-Stainless-OS: Linux\nX-Stainless-Runtime: node\n"
    b"anthropic-version: 2023-06-01\nanthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\nx-app: cli\n"
    b"User-Agent: claude-cli/2.0.0 (external, cli)\nContent-Type: application/json\nAuthorization: Bearer any\n"
    b"Connection: keep-alive\nAccept-Encoding: gzip, deflate, br, zstd\nContent-Length: 20480",
    b"POST /v1/responses HTTP/1.1\nhost: 127.0.0.1:8080\nauthorization: Bearer any\nversion: 0.60.0\n"
    b"session_id: 0199c0de-0000-7000-8000-000000000000\noriginator: codex_cli_rs\naccept: text/event-stream\n"
    b"content-type: application/json\nuser-agent: codex_cli_rs/0.60.0 (Linux; x86_64) xterm\ncontent-length: 9731",
    b"POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse HTTP/1.1\nx-goog-api-key: any\n"
    b"Content-Type: application/json\nUser-Agent: GeminiCLI/0.9.0 (linux; x64)\nAccept: */*\nAccept-Language: *\n"
    b"Sec-Fetch-Mode: cors\nAccept-Encoding: br, gzip, deflate\nHost: 127.0.0.1:8080\nConnection: keep-alive\n"
    b"Transfer-Encoding: chunked",
    b"GET /v1/realtime?model=gpt-realtime HTTP/1.1\nHost: api.openai.com\nUpgrade: websocket\nConnection: Upgrade\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\nAuthorization: Bearer any",
)
_ANSWERED = (
    b"HTTP/1.1 200 OK\nDate: Thu, 26 Nov 2026 10:00:00 GMT\nContent-Type: text/event-stream; charset=utf-8\n"
    b"Transfer-Encoding: chunked\nConnection: keep-alive\nCache-Control: no-cache\nrequest-id: req_011CXYZ\n"
    b"anthropic-ratelimit-unified-status: allowed\nServer: cloudflare\nCF-RAY: 9a1-FRA",
    b"HTTP/1.1 429 Too Many Requests\ncontent-type: application/json\ncontent-length: 240\nretry-after: 12\n"
    b"x-ratelimit-remaining-requests: 0\nset-cookie: __cf_bm=a; path=/; HttpOnly\nset-cookie: _cfuvid=b; path=/\n"
    b'alt-svc: h3=":443"; ma=86400',
    b"HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
)


def head(chance: random.Random, *, answer: bool) -> list[bytes]:
    """Return the lines of a request's head, or of an answer's."""
    if chance.random() < 0.3:
        lines = chance.choice(_ANSWERED if answer else _SENT).split(b"\n")
        for _ in range(chance.randrange(3)):
            at, other = chance.randrange(len(lines)), chance.choice(lines)
            lines[at] = chance.choice((_damaged(lines[at], chance), other, b" " + other, lines[at].swapcase()))
    else:
        lines = _put_together(chance, answer=answer)
    return [line for line in lines if line] or [b"x"]


def _put_together(chance: random.Random, *, answer: bool) -> list[bytes]:
    pick = chance.choice
    first: tuple[bytes, ...] = (pick(_METHODS), pick(_TARGETS), pick(_VERSIONS))
    if answer:
        first = (pick(_VERSIONS), pick(_STATUS), pick((b"OK", b"", b"Not Found", b"\xff")))
    usual = chance.random() < 0.5
    if usual:
        first = (
            (b"HTTP/1.1", pick((b"200", b"429", b"204")), b"OK")
            if answer
            else (b"POST", pick(_TARGETS[:3]), b"HTTP/1.1")
        )
    lines = [pick((b" ", b" ", b" ", b"  ", b"\t")).join(first)]
    for _ in range(chance.randrange(7)):
        name, value = pick(_NAMES[:14]) if usual else pick(_NAMES), pick(_VALUES)
        lines.append(name + pick((b": ", b": ", b":", b" : ", b"")) + value + pick((b"", b" ", b"\t")))
        if chance.random() < 0.05:
            lines.append(pick((b" ", b"\t")) + value)  # goes on
    if chance.random() < 0.2:
        at = chance.randrange(len(lines))
        lines[at] = _damaged(lines[at], chance)
    return lines


def _damaged(line: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(line) + 1)
    return chance.choice((line[:at], line[at:], line[:at] + bytes([chance.randrange(256)]) + line[at:], line * 2))


def _outcome(read_it: Callable[..., Any], *given: Any) -> Any:
    try:
        return read_it(*given)
    except Exception as e:
        return type(e).__name__, str(e)


def _state(message: Any) -> Any:
    if isinstance(message, tuple):
        return message
    held = dict(vars(message.data), timestamp_start=0)
    held["headers"] = held["headers"].fields
    return type(message), type(message.data), sorted(vars(message)), list(held.items()), message.stream


def difference(lines: list[bytes], *, answer: bool) -> str:
    """Return what the two read differently in *lines*, empty where they agree."""
    theirs_read, ours_read = (
        (_THEIR_RESPONSE, ours._read_response_head) if answer else (_THEIR_REQUEST, ours._read_request_head)
    )
    theirs, mine = _outcome(theirs_read, lines), _outcome(ours_read, lines)
    if _state(theirs) != _state(mine):
        return f"head: {_state(theirs)} / {_state(mine)}"
    if isinstance(theirs, tuple):
        return ""
    for name, their_way, our_way in _checks(theirs, answer=answer):
        told, found = _outcome(their_way), _outcome(our_way)
        if told != found:
            return f"{name}: {told} / {found}"
    return ""


def _checks(message: Any, *, answer: bool) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    headers, known = message.headers, ours._THEIRS
    for name in _ASKED:
        yield f"get {name!r}", partial(known["get"], headers, name), partial(ours._get, headers, name)
        yield f"in {name!r}", partial(known["contains"], headers, name), partial(ours._contains, headers, name)
        yield f"[{name!r}]", partial(known["getitem"], headers, name), partial(ours._getitem, headers, name)
        yield f"all {name!r}", partial(known["get_all"], headers, name), partial(ours._get_all, headers, name)
    yield "validate", partial(known["validate"], message), partial(ours._validate_headers, message)
    pairs = [(_REQUESTS[0], message), (_REQUESTS[1], message)] if answer else [(message, None)]
    for pair in pairs:
        yield "size", partial(known["size"], *pair), partial(ours._expected_http_body_size, *pair)
    host = headers.get("host", "")
    for check in (True, False):
        yield "authority", partial(known["authority"], host, check), partial(ours._parse_authority, host, check)


_THEIR_REQUEST, _THEIR_RESPONSE = read.read_request_head, read.read_response_head
_REQUESTS = tuple(http.Request.make(method, "http://a/") for method in ("POST", "HEAD"))


def run(count: int, seed: int) -> list[str]:
    """Compare *count* heads; return what differs."""
    assert read.read_request_head is _THEIR_REQUEST
    assert (url.parse_authority, validate.validate_headers) == (ours._THEIRS["authority"], ours._THEIRS["validate"])
    chance, found = random.Random(seed), []
    for number in range(count):
        answer = bool(number % 2)
        lines = head(chance, answer=answer)
        if told := difference(lines, answer=answer):
            found.append(f"{lines}\n    {told}")
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="scripts/fuzz_heads", description=__doc__)
    asked.add_argument("count", type=int, nargs="?", default=1_000_000, help="of heads; 1,000,000")
    asked.add_argument("seed", type=int, nargs="?", default=random.randrange(1 << 30), help="by chance")
    count, seed = vars(asked.parse_args()).values()
    began, part = time.monotonic(), max(1, count // 20)
    sizes = [part] * (count // part) + ([count % part] if count % part else [])
    with ProcessPoolExecutor() as processes:
        found = [told for each in processes.map(run, sizes, range(seed, seed + len(sizes))) for told in each]
    for told in found[:20]:
        print(told)
    print(f"{count:,} heads (seed {seed}): {len(found)} read unlike mitmproxy; {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
