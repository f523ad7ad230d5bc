"""
Requests that must not get an account's key anywhere, as bytes: what pages, names, paths and heads can be made to say.

`{own}`, `{provider}` and `{evil}` stand for the addresses of the proxy, the account's provider and a server of somebody
else's; a test puts them in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from .dialogue import DIALECTS, body, credential, path

CLIENT = "sk-client-of-an-attack-0123456789"
FOREIGN_NAMES = (
    "evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1",
    "127.0.0.1@evil.example", "127.0.0.1:{port}:80", "localhost, evil.example", "", "192.0.2.7", "[::ffff:192.0.2.7]",
    "2130706433", "localhost#evil", "localhost/evil", "xn--localhost-.example", "*",
)  # fmt: skip
FOREIGN_PAGES: tuple[dict[str, str], ...] = (
    {"Origin": "http://evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": "null"},
    {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded"},
    {"Origin": "http://localhost:1"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "file://"},
    {"Origin": "chrome-extension://abcdefghijklmnop"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "text/plain;charset=UTF-8", "Origin": "http://evil.example"},
    {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Origin": "http://evil.example",
     "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="},
    {"x_api_key": "x"}, {"X_Patchbay_Account": "one"}, {"Content_Length": "0"},
)  # fmt: skip
LYING_PATHS = (
    "//{evil}{path}", "///{evil}{path}", "/\\{evil}{path}", "/x/..{path}", "/%2e%2e{path}", "/x/%252e%252e{path}",
    "/..;{path}", "/.{path}", "/x/..%2f{path}", "/x%5c..{path}", "/%0d%0aHost:%20{evil}{path}", "/%00{path}",
)  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One attack: *name* for messages, *raw* as it goes on the wire, *then* what follows when a tunnel opens."""

    name: str
    raw: str
    then: str = ""


def request(
    dialect: str, headers: dict[str, str], *, target: str = "", host: str | None = "{own}", version: str = "1.1"
) -> str:
    """Return a POST of *dialect* with *headers* in place of, or beside, the ordinary ones."""
    content = json.dumps(body(dialect, ["hello"]))
    fields = {"Content-Type": "application/json", **credential(dialect, CLIENT), **headers}
    lines = [f"POST {target or path(dialect)} HTTP/{version}", *([] if host is None else [f"Host: {host}"])]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]) + _plain(content)


def everywhere(target: str, host: str) -> Iterator[Attack]:
    """Yield what is tried in every mode; *target* stands before a path, *host* is how one names the service there."""
    for dialect in DIALECTS:
        way = path(dialect)
        for page in FOREIGN_PAGES:
            yield Attack(f"page {page}", request(dialect, page, target=target + way, host=host))
        for lying in LYING_PATHS:
            yield Attack(f"path {lying}", request(dialect, {}, target=target + lying.replace("{path}", way), host=host))
        yield from heads(target + way, host)


def names() -> Iterator[Attack]:
    """Yield foreign names for a listener that is reached directly: what a page has after its name was led here."""
    for dialect in DIALECTS:
        for name in FOREIGN_NAMES:
            yield Attack(f"host {name}", request(dialect, {}, host=name))
        yield Attack("no host", request(dialect, {}, host=None))
        yield Attack("no host, 1.0", request(dialect, {}, host=None, version="1.0"))
        for target in ("http://evil.example{path}", "http://{evil}{path}", "http://u:p@evil.example{path}"):
            absolute = target.replace("{path}", path(dialect))
            yield Attack(f"absolute {target}", request(dialect, {}, target=absolute))
        yield Attack("two hosts", request(dialect, {"host": "evil.example"}))
        yield Attack("connect", "CONNECT {provider} HTTP/1.1\r\nHost: {provider}\r\n\r\n", request(dialect, {}))


def proxied() -> Iterator[Attack]:
    """Yield what is asked of a proxy in regular mode: targets and tunnels that are not what they seem."""
    for dialect in DIALECTS:
        way = path(dialect)
        for host in ("evil.example", "{evil}", ""):
            yield Attack(f"host {host}", request(dialect, {}, target="http://{provider}" + way, host=host))
        for target in (
            "http://{evil}", "http://{provider}@{evil}", "http://{evil}#{provider}", "http://{evil}/?{provider}",
            "https://{provider}", "http://{provider}.evil.example", "http://localhost:1", "ftp://{provider}",
            "http://{provider}:1", "//{provider}", "http:{provider}", "http://{evil}\\@{provider}",
        ):  # fmt: skip
            yield Attack(f"target {target}", request(dialect, {}, target=target + way, host="{provider}"))
        inside = request(dialect, {}, host="{provider}")
        for address in ("{evil}", "localhost:1", "169.254.169.254:80", "{provider}@{evil}", "{evil}#{provider}"):
            yield Attack(f"connect {address}", f"CONNECT {address} HTTP/1.1\r\nHost: {{provider}}\r\n\r\n", inside)
        outside = request(dialect, {}, host="evil.example")
        yield Attack("connect, other host", "CONNECT {provider} HTTP/1.1\r\nHost: {provider}\r\n\r\n", outside)
        page = request(dialect, {"Origin": "http://evil.example"}, host="{provider}")
        yield Attack("connect, page", "CONNECT {provider} HTTP/1.1\r\nHost: {provider}\r\n\r\n", page)


def heads(target: str, host: str) -> Iterator[Attack]:
    """Yield heads that two readers may take for two different requests."""
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    first = f"POST {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {CLIENT}\r\n"
    for name, lines in (
        ("both lengths", f"Content-Length: {len(smuggled) + 5}\r\nTransfer-Encoding: chunked\r\n"),
        ("two lengths", f"Content-Length: 0\r\nContent-Length: {len(smuggled)}\r\n"),
        ("list of lengths", "Content-Length: 0, 40\r\n"),
        ("signed length", "Content-Length: +0\r\n"),
        ("negative length", "Content-Length: -1\r\n"),
        ("hex length", "Content-Length: 0x10\r\n"),
        ("unknown coding", "Transfer-Encoding: xchunked\r\n"),
        ("two codings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ("coded twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("tab coding", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n"),
        ("folded coding", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n"),
        ("space before colon", "Transfer-Encoding : chunked\r\n"),
        ("leading space", " Transfer-Encoding: chunked\r\n"),
        ("folded header", f"X-A: b\r\n c\r\nContent-Length: {len(smuggled)}\r\n"),
        ("bare return", "X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        ("nul", "X-A: b\0c\r\nContent-Length: 5\r\n"),
        ("no name", ": b\r\nContent-Length: 5\r\n"),
        ("no colon", "nonsense\r\nContent-Length: 5\r\n"),
    ):
        yield Attack(f"head: {name}", first + lines + "\r\n0\r\n\r\n" + smuggled)


def _plain(content: str) -> str:
    return content.replace("{", "{{").replace("}", "}}")
